"""Runs the review screen: its parts on the terminal, from the first drawing to the last."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from prompt_toolkit.application import Application
from prompt_toolkit.filters import Condition
from prompt_toolkit.formatted_text import StyleAndTextTuples
from prompt_toolkit.layout import Layout
from prompt_toolkit.layout.containers import ConditionalContainer, HSplit, Window
from prompt_toolkit.layout.controls import BufferControl, FormattedTextControl
from prompt_toolkit.output import ColorDepth
from prompt_toolkit.styles import Style as Colours

from runtime.cli.reviewdrawing import drawn
from runtime.cli.reviewkeys import bindings
from runtime.cli.reviewlines import Line
from runtime.cli.reviewscreen import ReviewScreen
from runtime.review.desk import ReviewDesk

_COLOURS: Final = Colours.from_dict(
    {
        "head": "bold",
        "faint": "ansibrightblack",
        "good": "ansigreen",
        "bad": "ansired",
        "care": "ansiyellow",
        "name": "ansicyan",
        "odd": "reverse ansired",
        "bar": "reverse",
        "chosen": "bold noreverse",
    }
)


async def run_screen(desk: ReviewDesk, principal: str, *, colour: bool) -> None:
    """Show the queue until the person leaves."""
    screen = ReviewScreen(desk, principal)
    screen.application = assemble(screen, colour=colour)
    screen.read_again()
    try:
        await screen.application.run_async()
    finally:
        for task in screen.tasks:
            task.cancel()
        await asyncio.gather(*screen.tasks, return_exceptions=True)


def assemble(screen: ReviewScreen, *, colour: bool) -> Application[None]:
    """Title, body, what is asked or said, and the keys, one under the other."""
    body = Window(FormattedTextControl(_shown(screen.body_rows), focusable=True))
    asked = HSplit([_rows(screen.question_rows), Window(BufferControl(screen.buffer), height=1)])
    parts = [
        _rows(screen.title_rows, style="class:bar"),
        body,
        ConditionalContainer(asked, Condition(lambda: screen.draft is not None)),
        ConditionalContainer(
            _rows(screen.message_rows), Condition(lambda: screen.message_rows() != [])
        ),
        _rows(screen.hint_rows, style="class:bar"),
    ]
    return Application(
        layout=Layout(HSplit(parts), focused_element=body),
        key_bindings=bindings(screen),
        style=_COLOURS,
        full_screen=True,
        color_depth=None if colour else ColorDepth.DEPTH_1_BIT,
    )


def _rows(rows: Callable[[], list[Line]], *, style: str = "") -> Window:
    """As high as what it shows."""
    return Window(FormattedTextControl(_shown(rows)), height=lambda: len(rows()) or 1, style=style)


def _shown(rows: Callable[[], list[Line]]) -> Callable[[], StyleAndTextTuples]:
    return lambda: drawn(rows())
