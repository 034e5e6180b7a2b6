"""`toolkiln packages`: the sets of packages that tools run with."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Final

import typer

from policies.value import JsonObject
from runtime.cli.invocation import settings_of
from runtime.cli.opening import open_store
from runtime.cli.output import AsJson, console, print_columns, print_json, print_lines, run_async
from runtime.profiles import read_profile
from toolstore.models import Lifecycle, ToolRef

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager

    from runtime.settings import Settings
    from sandbox.engine import Engine
    from sandbox.packages import PackageImage

app = typer.Typer(no_args_is_help=True, help="Look at and make the sets of packages of tools.")

_CALLABLE: Final = (Lifecycle.APPROVED, Lifecycle.QUARANTINED, Lifecycle.DEPRECATED)
"""Versions in these states can be called, or come to be."""


@app.callback()
def _group() -> None:
    """Look at and make the sets of packages of tools."""


@app.command("list")
def list_(ctx: typer.Context, *, as_json: AsJson = False) -> None:
    """List the images with packages, and how many versions use each."""
    settings = settings_of(ctx)
    rows = run_async(_list(settings))
    if as_json:
        print_json([_as_json(image, used) for image, used in rows])
        return
    print_columns(
        [
            (
                image.digest[:19],
                f"{image.unpacked_bytes / 2**20:.0f} MiB",
                str(len(used)),
                " ".join(image.requirements),
                " ".join(image.lock.pins),
            )
            for image, used in rows
        ],
        ("IMAGE", "SIZE", "VERSIONS", "MADE FOR", "HAS"),
    )


async def _list(settings: Settings) -> list[tuple[PackageImage, tuple[str, ...]]]:
    from sandbox.packages import list_package_images  # noqa: PLC0415 - `--help` does without

    images = await list_package_images(settings.home / "sandbox")
    used = await _used(settings) if images else {}
    return [(image, used.get(image.digest, ())) for image in images]


async def _used(settings: Settings) -> dict[str, tuple[str, ...]]:
    """References of the versions proven in each image, by its digest; every one is verified."""
    found: dict[str, tuple[str, ...]] = {}
    if not settings.has_store:  # looking at nothing makes nothing
        return found
    async with open_store(settings) as store:
        for summary in await store.summaries(_CALLABLE):
            version = await store.find(ToolRef(name=summary.name, digest=summary.digest))
            before = found.get(version.image_digest, ())
            found[version.image_digest] = (*before, str(version.ref))
    return found


def _as_json(image: PackageImage, used: tuple[str, ...]) -> JsonObject:
    fields: JsonObject = image.model_dump(mode="json")
    return {**fields, "versions": [*used]}


@app.command()
def build(
    ctx: typer.Context,
    requirements: Annotated[
        list[str],
        typer.Argument(metavar="REQUIREMENT...", help="As a tool declares them: numpy 'pandas>=2'"),
    ],
    *,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Choose the newest versions, also if it was made.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Make the image for these packages, and print its digest.

    The policy in force must allow them. Versions proven in an earlier image keep that one.
    """
    image = run_async(_build(settings_of(ctx), requirements, fresh=fresh))
    if as_json:
        print_json(_as_json(image, ()))
    else:
        print_lines([image.digest])


async def _build(settings: Settings, requirements: list[str], *, fresh: bool) -> PackageImage:
    from runtime.cli.live import EventRenderer  # noqa: PLC0415 - `--help` does without
    from sandbox.packages import ensure_packages  # noqa: PLC0415 - same

    profile = read_profile(settings.policy)
    with EventRenderer(console(settings, file=sys.stderr)) as renderer:
        async with _engine(settings) as engine:
            return await ensure_packages(
                engine,
                settings.home / "sandbox",
                requirements,
                profile.packages,
                renderer.progress,
                fresh=fresh,
            )


@app.command()
def prune(ctx: typer.Context, *, as_json: AsJson = False) -> None:
    """Remove the images that no version needs, and print their digests."""
    removed = run_async(_prune(settings_of(ctx)))
    if as_json:
        print_json([_as_json(image, ()) for image in removed])
    else:
        print_lines([image.digest for image in removed])


async def _prune(settings: Settings) -> tuple[PackageImage, ...]:
    from sandbox.packages import collect_garbage  # noqa: PLC0415 - `--help` does without

    keep = await _used(settings)
    async with _engine(settings) as engine:
        return await collect_garbage(engine, settings.home / "sandbox", keep)


def _engine(settings: Settings) -> AbstractAsyncContextManager[Engine]:
    from runtime.cli.engines import open_engine  # noqa: PLC0415 - `--help` does without

    return open_engine(settings.docker_host)
