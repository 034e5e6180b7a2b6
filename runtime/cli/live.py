"""What happens, shown while it happens: one renderer for `define`, `run`, `chat` and `demo`.

On a terminal, what is still going on stands below as a spinner with the seconds it has taken, and
what is done scrolls up above it. Elsewhere the same lines come plainly, one after the other.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field
from types import TracebackType
from typing import Final, Self, assert_never

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.spinner import Spinner
from rich.text import Text

from policies.display import escape_text
from policies.evidence import Trial, TrialKind
from policies.report import lines_of
from policies.value import JsonObject
from runtime.cli.render import (
    brief,
    code_view,
    one_line,
    outcome_text,
    safe,
    verdict_mark,
)
from runtime.events import (
    AdmissionEvent,
    CallFinished,
    CallProgress,
    CallStarted,
    RequestFinished,
    RequestRetried,
    RequestStarted,
    ReviewNoted,
    SessionEvent,
    SessionStopped,
    StageFinished,
    StageStarted,
    TextStreamed,
    TrialFinished,
)
from runtime.messages import ToolCall, ToolResult
from runtime.outcome import FINDINGS_HEAD
from runtime.tools import DEFINE_TOOL

RESULT_CHARACTERS: Final = 2_000
"""More of one result does not help on a screen; the transcript has all of it."""

_REFRESHES_PER_SECOND: Final = 10


@dataclass(slots=True)
class _Activity:
    """Something that has begun and not ended."""

    label: str
    started: float = field(default_factory=time.monotonic)
    steps: int | None = None
    done: int = 0


def _progress(activity: _Activity) -> str:
    return "" if activity.steps is None else f" {activity.done}/{activity.steps}"


class EventRenderer:
    """Shows session and admission events on a console, as they are fed to it.

    `show_text` and `show_findings` are false where the answer, or the findings, are printed by
    somebody else afterwards.
    """

    def __init__(
        self,
        console: Console,
        *,
        show_text: bool = True,
        show_findings: bool = True,
        spinner: bool | None = None,
    ) -> None:
        """Show on `console`; with a spinner where that is a terminal, unless said otherwise."""
        self._console = console
        self._spins = console.is_terminal if spinner is None else spinner
        self._show_text = show_text
        self._show_findings = show_findings
        self._activities: dict[str, _Activity] = {}
        self._mid_line = False
        self._streamed = False
        self._live: Live | None = None
        self._spinner = Spinner("dots")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Take the spinner away and end an unfinished line; the renderer may be used again."""
        self._activities = {}
        self._refresh()
        self._end_line()

    def __call__(self, event: SessionEvent) -> None:
        """Show one event of a session."""
        match event:
            case TextStreamed():
                self._text(event.text)
            case RequestStarted():
                self._streamed = False
                self._begin("model", "waiting for the model")
            case RequestRetried():
                self._retried(event)
            case RequestFinished():
                self._answered(event)
            case CallStarted():
                self._end_line()
                self._print(call_panel(event.call))
                self._begin(event.call.call_id, f"running {event.call.name}")
            case CallProgress():
                self.admission(event.event, key=event.call_id)
            case CallFinished():
                self._end("progress")
                self._end(event.result.call_id)
                self._print(result_panel(event.result, event.seconds))
            case ReviewNoted():
                self.say("\n".join(event.text.split("\n")[1:]), "cyan")
            case SessionStopped():
                self.close()
                self._print(safe(f"stopped ({event.reason}): {event.message}", "bold yellow"))
            case _:
                self._unshown(event)

    def admission(self, event: AdmissionEvent, *, key: str = "admission") -> None:
        """Show one event of an admission."""
        match event:
            case StageStarted():
                self._begin(key, f"{event.tool}: {event.stage}", steps=event.steps)
            case TrialFinished():
                self._end("progress")
                self._step(key)
                if event.trial.kind is not TrialKind.PROPERTY or not event.trial.passed:
                    self._print(trial_line(event.trial))
            case StageFinished():
                steps = self._activities[key].done if key in self._activities else 0
                self._end(key)
                self._print(stage_line(event, steps, show_findings=self._show_findings))
            case _:
                assert_never(event)

    def say(self, text: str, style: str = "") -> None:
        """Say something of our own between the events."""
        self._end_line()
        self._print(safe(text, style))

    def progress(self, text: str) -> None:
        """Say what is being set up; a passing line on a terminal."""
        self._activities.pop("progress", None)
        self._begin("progress", text)
        if not self._spins:
            self._print(safe(text, "dim"))

    def progress_done(self) -> None:
        """Nothing is being set up any more."""
        self._end("progress")

    def _unshown(self, event: object) -> None:
        """Kinds that exist for the transcript alone."""

    def _text(self, text: str) -> None:
        self._end("progress")
        self._end("model")
        if not self._show_text or not text:
            return
        self._streamed = True
        self._console.print(safe(text), end="", soft_wrap=True)
        self._mid_line = not text.endswith("\n")

    def _retried(self, event: RequestRetried) -> None:
        self._end_line()
        words = f"attempt {event.attempt} failed: {event.reason}; again in"
        self._print(safe(f"{words} {event.delay_seconds:.1f} s", "yellow"))
        self._begin("model", "waiting for the model")

    def _answered(self, event: RequestFinished) -> None:
        self._end("model")
        if event.text and not self._streamed:
            self._text(event.text)
        self._end_line()

    def _begin(self, key: str, label: str, *, steps: int | None = None) -> None:
        self._activities = {**self._activities, key: _Activity(label, steps=steps)}
        self._refresh()

    def _step(self, key: str) -> None:
        if key in self._activities:
            self._activities[key].done += 1

    def _end(self, key: str) -> None:
        self._activities = {k: v for k, v in self._activities.items() if k != key}
        self._refresh()

    def _refresh(self) -> None:
        """Have the spinner exactly while something is going on and no line is half written."""
        wanted = bool(self._activities) and self._spins
        if wanted and self._live is None:
            self._end_line()
            self._live = Live(
                console=self._console,
                transient=True,
                refresh_per_second=_REFRESHES_PER_SECOND,
                get_renderable=self._going_on,
                redirect_stdout=False,
                redirect_stderr=False,
            )
            self._live.start()
        elif not wanted and self._live is not None:
            self._live.stop()
            self._live = None

    def _going_on(self) -> RenderableType:
        now = time.monotonic()
        going = [
            f"{activity.label}{_progress(activity)}  {now - activity.started:.1f} s"
            for activity in self._activities.values()  # replaced, never changed: see _begin
        ]
        lines = Text(escape_text("\n  ".join(going)), style="dim")
        self._spinner.update(text=lines)
        return self._spinner

    def _end_line(self) -> None:
        if self._mid_line:
            self._console.print()
            self._mid_line = False

    def _print(self, part: RenderableType) -> None:
        self._end_line()
        self._console.print(part)


def call_panel(call: ToolCall) -> RenderableType:
    """A call as the model wrote it; the code of a `define_tool` with colour."""
    arguments = _object(call.arguments)
    title = Text.assemble(("call ", "dim"), one_line(call.name, "bold cyan"))
    if arguments is None:
        return Panel(safe(call.arguments), title=title, title_align="left", border_style="cyan")
    code = arguments.get("code")
    if call.name != "define_tool" or not isinstance(code, str):
        body: RenderableType = Text(brief(arguments, RESULT_CHARACTERS))
        return Panel(body, title=title, title_align="left", border_style="cyan")
    rest = {key: value for key, value in arguments.items() if key != "code"}
    facts = Text()
    for key, value in rest.items():
        shown = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        facts.append_text(one_line(key, "bold")).append(" ")
        facts.append_text(one_line(shown)).append("\n")
    return Panel(
        Group(facts, code_view(code)), title=title, title_align="left", border_style="magenta"
    )


def result_panel(result: ToolResult, seconds: float) -> RenderableType:
    """The one result of a call, as the model reads it; findings stand at their stage already."""
    colour = "red" if result.is_error else "green"
    content = escape_text(result.content)
    if result.name == DEFINE_TOOL:
        content = content.partition(FINDINGS_HEAD)[0]
    if len(content) > RESULT_CHARACTERS:
        missing = len(content) - RESULT_CHARACTERS
        content = f"{content[:RESULT_CHARACTERS]}\n[… {missing} more characters]"
    title = Text.assemble(
        verdict_mark(passed=not result.is_error), " ", one_line(result.name), f" {seconds:.2f} s"
    )
    return Panel(Text(content), title=title, title_align="left", border_style=colour)


def stage_line(
    event: StageFinished, steps: int = 0, *, show_findings: bool = True
) -> RenderableType:
    """A stage ticked off, with what it found and how many `steps` it took."""
    line = Text.assemble("  ", verdict_mark(passed=event.passed), f" {event.stage}")
    if steps:
        line.append(f", {steps} runs")
    line.append(f"  {event.seconds:.2f} s", style="dim")
    for finding in event.findings if show_findings else ():
        for part in lines_of(finding, finding.stage):
            line.append("\n    " + part)
    return line


def trial_line(trial: Trial) -> RenderableType:
    """One trial with its verdict."""
    line = Text.assemble("    ", verdict_mark(passed=trial.passed), f" {trial.kind} ")
    line.append(brief(trial.arguments, 60)).append(" → ").append_text(outcome_text(trial))
    return line.append(f"  {trial.wall_seconds * 1000:.0f} ms", style="dim")


def _object(text: str) -> JsonObject | None:
    """The arguments of a call, where they are a JSON object at all."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None
