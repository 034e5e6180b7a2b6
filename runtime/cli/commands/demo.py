"""`toolkiln demo`: the main job, end to end, in under a minute and without a key."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated

import typer

from runtime.cli.invocation import settings_of
from runtime.cli.output import answer_no, console, run_async

if TYPE_CHECKING:
    from runtime.demo.scenes import Check, Scene
    from runtime.models.scripted import ScriptedModel
    from runtime.settings import Settings

_WORD_SECONDS = 0.02


def command(
    ctx: typer.Context,
    *,
    live: Annotated[
        bool, typer.Option("--live", help="Put the same prompts to a real model.")
    ] = False,
    model: Annotated[
        str | None, typer.Option(metavar="NAME", help="The model to ask, with --live.")
    ] = None,
) -> None:
    """Show the main job: a tool is written, proven, kept, used, and an attack contained.

    Needs no key: the model's side is a recorded conversation. Lint, containers, store and
    hot-load are real. It works in a store of its own, which is gone afterwards.
    """
    settings = settings_of(ctx, model=model)
    checks = run_async(_play(settings, live=live))
    if not all(check.holds for check in checks):
        answer_no()


async def _play(settings: Settings, *, live: bool) -> tuple[Check, ...]:
    from rich.panel import Panel  # noqa: PLC0415 - `--help` does without
    from rich.text import Text  # noqa: PLC0415

    from runtime.cli.live import EventRenderer  # noqa: PLC0415
    from runtime.demo.scenes import check_scenes, load_scenes  # noqa: PLC0415
    from runtime.wiring import open_runtime  # noqa: PLC0415
    from sandbox.docker_sandbox import open_docker_sandbox  # noqa: PLC0415
    from sandbox.identity import OWNER_LABEL  # noqa: PLC0415

    shown = console(settings)
    shown.print(Panel(Text(_introduction(settings, live=live)), title="toolkiln demo"))
    with EventRenderer(shown) as renderer, TemporaryDirectory(prefix="toolkiln-demo-") as folder:
        # The guest image is built once for all stores, so it stays in the real home.
        sandbox = await open_docker_sandbox(
            state_dir=settings.home / "sandbox",
            docker_host=settings.docker_host,
            progress=renderer.progress,
        )
        renderer.progress_done()
        try:
            own = settings.model_copy(update={"home": Path(folder), "policy": "local"})
            async with open_runtime(settings=own, sandbox=sandbox) as runtime:
                replies = []
                for number, scene in enumerate(load_scenes(), 1):
                    shown.rule(Text(f"{number}. {scene.title}", style="bold"))
                    shown.print(Text(f"you> {scene.prompt}\n", style="bold cyan"))
                    session = runtime.session(model=_model(scene, live=live), on_event=renderer)
                    async with session:
                        replies.append(await session.send(scene.prompt))
                await sandbox.pool.close()  # the next call would have used those that stand ready
                left = await sandbox.engine.list_by_label(f"{OWNER_LABEL}={sandbox.owner}")
                checks = await check_scenes(runtime, tuple(replies), containers_left=len(left))
        finally:
            await sandbox.close()
        shown.rule(Text("What holds now", style="bold"))
        for check in checks:
            mark, style = ("✓", "green") if check.holds else ("✗", "bold red")
            shown.print(Text(f"{mark} {check.claim}", style=style))
    return checks


def _model(scene: Scene, *, live: bool) -> ScriptedModel | None:
    from runtime.models.scripted import ScriptedModel as Model  # noqa: PLC0415 - for `--help`

    return None if live else Model(scene.recording, piece_seconds=_WORD_SECONDS)


def _introduction(settings: Settings, *, live: bool) -> str:
    side = (
        f"The model is {settings.model or 'not named yet: give --model'}, asked for real."
        if live
        else "The model's side is a recorded conversation, shipped with toolkiln and replayed."
    )
    return (
        f"{side} Everything else happens here and now: the lint, each container, the store, the "
        "hot-load, the second session, the attack."
    )
