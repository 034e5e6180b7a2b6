"""The keys of the review screen."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from prompt_toolkit.filters import Condition, Filter
from prompt_toolkit.key_binding import KeyBindings
from prompt_toolkit.key_binding.key_processor import KeyPressEvent

from runtime.cli.reviewscreen import ReviewScreen
from runtime.cli.reviewtabs import TABS
from runtime.review.item import Vote

_FAR: Final = 10**9


def bindings(screen: ReviewScreen) -> KeyBindings:
    """What each key does, and when."""
    keys = KeyBindings()
    voting = Condition(lambda: screen.draft is not None)
    choosing = Condition(lambda: screen.item is None)
    reading = ~choosing & ~voting

    def bind(names: Sequence[str], when: Filter, act: Callable[[], None]) -> None:
        def pressed(_event: KeyPressEvent) -> None:
            screen.heed()
            act()

        for name in names:
            keys.add(name, filter=when, eager=True)(pressed)

    bind(["down", "j"], choosing, lambda: screen.choose(+1))
    bind(["up", "k"], choosing, lambda: screen.choose(-1))
    bind(["pagedown", "space"], choosing, lambda: screen.choose(screen.page()))
    bind(["pageup"], choosing, lambda: screen.choose(-screen.page()))
    bind(["home"], choosing, lambda: screen.choose(-_FAR))
    bind(["end"], choosing, lambda: screen.choose(_FAR))
    bind(["enter", "right"], choosing, screen.open_chosen)
    bind(["r"], choosing, screen.read_again)
    bind(["down", "j"], reading, lambda: screen.scroll(+1))
    bind(["up", "k"], reading, lambda: screen.scroll(-1))
    bind(["pagedown", "space"], reading, lambda: screen.scroll(screen.page()))
    bind(["pageup"], reading, lambda: screen.scroll(-screen.page()))
    bind(["home"], reading, lambda: screen.scroll(-_FAR))
    bind(["end"], reading, lambda: screen.scroll(_FAR))
    bind(["tab", "right", "l"], reading, lambda: screen.turn_by(+1))
    bind(["s-tab", "left", "h"], reading, lambda: screen.turn_by(-1))
    for number in range(len(TABS)):
        bind([str(number + 1)], reading, _turning(screen, number))
    bind(["a"], reading, lambda: screen.begin(Vote.APPROVE))
    bind(["x"], reading, lambda: screen.begin(Vote.REJECT))
    bind(["c"], reading, lambda: screen.begin(Vote.ASK))
    bind(["n"], reading, screen.go_on)
    bind(["b", "escape"], reading, screen.go_back)
    bind(["enter"], voting, screen.hand_in)
    bind(["escape", "c-c"], voting, screen.leave_vote)
    bind(["c-s"], voting, screen.change_scope)
    bind(["c-e"], voting, screen.change_expiry)
    for name in ("q", "c-c", "c-d"):
        keys.add(name, filter=~voting)(_quit)
    return keys


def _turning(screen: ReviewScreen, tab: int) -> Callable[[], None]:
    return lambda: screen.turn(tab)


def _quit(event: KeyPressEvent) -> None:
    event.app.exit()
