"""`toolkiln chat`: a conversation in the terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from runtime.cli import options
from runtime.cli.files import Attachments, read_attachments
from runtime.cli.invocation import settings_of
from runtime.cli.output import console, run_async

if TYPE_CHECKING:
    from runtime.settings import Settings


def command(  # noqa: PLR0913 - one parameter an option
    ctx: typer.Context,
    *,
    model: options.Model = None,
    api: options.ApiName = None,
    base_url: options.BaseUrl = None,
    resume: options.Resume = None,
    file: Attachments = None,
    budget_turns: options.BudgetTurns = None,
    budget_tokens: options.BudgetTokens = None,
    budget_cost: options.BudgetCost = None,
    budget_seconds: options.BudgetSeconds = None,
    budget_definitions: options.BudgetDefinitions = None,
) -> None:
    """Talk with a model that makes its own tools.

    Ctrl-C stops a turn and everything that it started, Ctrl-D quits, /help lists the rest.
    """
    settings = settings_of(
        ctx,
        model=model,
        api=api,
        base_url=base_url,
        budget=options.budget_flags(
            budget_turns, budget_tokens, budget_cost, budget_seconds, budget_definitions
        ),
    )
    run_async(_chat(settings, model, resume, read_attachments(file)))


async def _chat(
    settings: Settings, model: str | None, resume: str | None, files: dict[str, bytes]
) -> None:
    from runtime.cli.conversation import WORDS, Conversation  # noqa: PLC0415 - `--help` does without
    from runtime.cli.live import EventRenderer  # noqa: PLC0415 - same
    from runtime.cli.reader import open_reader  # noqa: PLC0415 - same
    from runtime.wiring import open_runtime  # noqa: PLC0415 - same

    screen = console(settings)
    with EventRenderer(screen) as renderer:
        async with open_runtime(settings=settings, progress=renderer.progress) as runtime:
            session = runtime.session(model=model, resume=resume, files=files, on_event=renderer)
            screen.print(f"session {session.id}; /help lists the commands", style="dim")
            conversation = Conversation(
                runtime=runtime,
                session=session,
                reader=open_reader(settings.history_file, WORDS),
                renderer=renderer,
                console=screen,
            )
            await conversation.run()
            screen.print(f"toolkiln chat --resume {session.id}", style="dim")
