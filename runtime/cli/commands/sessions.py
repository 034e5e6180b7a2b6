"""`toolkiln sessions`: the transcripts of earlier conversations."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from runtime.cli.invocation import settings_of
from runtime.cli.output import AsJson, json_of, print_columns, print_json, print_rich, write

if TYPE_CHECKING:
    from runtime.history import SessionDetail, SessionSummary
    from runtime.settings import Settings

app = typer.Typer(no_args_is_help=True, help="Look at earlier sessions.")


@app.command("list")
def list_(ctx: typer.Context, *, as_json: AsJson = False) -> None:
    """List the sessions, the latest first."""
    from runtime.history import list_sessions  # noqa: PLC0415 - `--help` does without

    summaries = list_sessions(settings_of(ctx).sessions_folder)
    if as_json:
        print_json([json_of(summary) for summary in summaries])
        return
    print_columns(
        [_row(summary) for summary in summaries],
        ("SESSION", "STATE", "MODEL", "TURNS", "CALLS", "TOKENS", "PROMPT"),
    )


@app.command()
def show(
    ctx: typer.Context,
    session: Annotated[
        str, typer.Argument(metavar="SESSION", help="Id of the session, as `sessions list` has it.")
    ],
    *,
    as_json: AsJson = False,
) -> None:
    """Show everything that was said and called in one session."""
    from runtime.history import show_session  # noqa: PLC0415 - `--help` does without

    settings = settings_of(ctx)
    detail = show_session(settings.sessions_folder, session)
    if as_json:
        print_json(json_of(detail))
    else:
        _show(settings, detail)


def _row(summary: SessionSummary) -> tuple[str, ...]:
    return (
        summary.session_id,
        str(summary.stopped or summary.state),
        summary.model or "",
        str(summary.turns),
        str(summary.tool_calls),
        str(summary.usage.total_tokens),
        (summary.problem or summary.first_prompt)[:80],
    )


def _show(settings: Settings, detail: SessionDetail) -> None:
    from rich.text import Text  # noqa: PLC0415 - `sessions list` does without

    from runtime.cli.live import EventRenderer  # noqa: PLC0415 - same
    from runtime.cli.output import console  # noqa: PLC0415 - same
    from runtime.cli.render import safe  # noqa: PLC0415 - same
    from runtime.transcript import PromptGiven  # noqa: PLC0415 - same

    summary = detail.summary
    write(f"session {summary.session_id}\n")
    print_rich(settings, safe(f"model {summary.model}, {summary.state}"))
    screen = console(settings)
    renderer = EventRenderer(screen, spinner=False)
    for entry in detail.entries:
        if isinstance(entry.record, PromptGiven):
            screen.print(Text.assemble(("> ", "bold"), safe(entry.record.text, "bold")))
        else:
            renderer(entry.record)
    renderer.close()
    screen.print(safe(usage_words(summary), "dim"))


def usage_words(summary: SessionSummary) -> str:
    """What a session used, in one line."""
    usage = summary.usage
    return (
        f"{summary.turns} turns, {summary.tool_calls} calls, "
        f"{usage.input_tokens} tokens in, {usage.output_tokens} out"
    )
