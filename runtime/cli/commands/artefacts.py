"""`toolkiln artefacts`: the files that calls left behind."""

from __future__ import annotations

import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from policies.display import escape_text
from runtime.cli.invocation import settings_of
from runtime.cli.options import MOST_DAYS
from runtime.cli.output import (
    AsJson,
    json_of,
    print_columns,
    print_json,
    print_lines,
    print_rich,
    say,
)

if TYPE_CHECKING:
    from runtime.artefacts import ArtefactRecord, ArtefactStore
    from runtime.settings import Settings

app = typer.Typer(no_args_is_help=True, help="Look at and save the files that calls left behind.")

_TEXT_CHARACTERS: Final = 20_000
_IMAGE_BYTES: Final = 8 * 1024 * 1024
_IMAGE_PIXELS: Final = 25_000_000

Which = Annotated[
    str, typer.Argument(metavar="FILE", help="Its name, or the beginning of its digest.")
]


@app.callback()
def _group() -> None:
    """Look at and save the files that calls left behind."""


@app.command("list")
def list_(ctx: typer.Context, *, as_json: AsJson = False) -> None:
    """List the files, the latest last."""
    records = _store(settings_of(ctx)).records()
    if as_json:
        print_json([json_of(record) for record in records])
        return
    print_columns([_row(record) for record in records], ("NAME", "TYPE", "SIZE", "TOOL", "DIGEST"))


def _row(record: ArtefactRecord) -> tuple[str, ...]:
    file = record.artefact
    return (file.name, file.media_type, f"{file.size_bytes:,}", record.tool, file.digest[:19])


@app.command()
def show(ctx: typer.Context, which: Which, *, as_json: AsJson = False) -> None:
    """Show a text, or an image where the terminal can.

    Images need the extra `images`.
    """
    settings = settings_of(ctx)
    store = _store(settings)
    record = store.find(which)
    data = store.read(record.artefact.digest)
    file = record.artefact
    is_text = file.media_type.startswith("text/") or file.media_type == "application/json"
    if as_json:
        shown = data.decode("utf-8", "replace")[:_TEXT_CHARACTERS] if is_text else None
        print_json({"artefact": json_of(record), "text": shown})
        return
    say(f"{file.name} ({file.media_type}, {file.size_bytes:,} bytes, of {record.tool})")
    if is_text:
        text = data.decode("utf-8", "replace")
        print_lines([escape_text(text[:_TEXT_CHARACTERS])])
        if len(text) > _TEXT_CHARACTERS:
            say(f"({len(text) - _TEXT_CHARACTERS} more characters)")
    elif not (file.media_type.startswith("image/") and _show_image(settings, data)):
        say("It cannot be shown here; `toolkiln artefacts save` writes it to a file.")


def _show_image(settings: Settings, data: bytes) -> bool:
    """Draw an image of a guest's; whether that was possible."""
    if not sys.stdout.isatty() or len(data) > _IMAGE_BYTES:
        return False
    try:
        from io import BytesIO  # noqa: PLC0415 - only for an image

        from PIL import Image, UnidentifiedImageError  # noqa: PLC0415 - of the extra `images`
        from textual_image.renderable import Image as Drawn  # noqa: PLC0415 - same
    except ImportError:
        say("The extra `images` shows images: pip install 'toolkiln[images]'.")
        return False
    try:
        # The kinds that tools draw; the other decoders of the library stay out of reach.
        with Image.open(BytesIO(data), formats=("PNG", "JPEG", "GIF")) as image:
            if image.width * image.height > _IMAGE_PIXELS:  # known before anything is decoded
                say(f"It has {image.width} by {image.height} pixels, too many to show here.")
                return False
            print_rich(settings, Drawn(image.convert("RGB")))
    except (UnidentifiedImageError, OSError, ValueError, Image.DecompressionBombError) as error:
        say(f"It is no sound image: {error}")
        return False
    return True


@app.command()
def save(
    ctx: typer.Context,
    which: Which,
    folder: Annotated[
        Path, typer.Argument(metavar="FOLDER", help="Where to; it is made.")
    ] = Path(),
    *,
    force: Annotated[bool, typer.Option("--force", help="Replace what is there.")] = False,
    as_json: AsJson = False,
) -> None:
    """Write a file into FOLDER under its own name."""
    from runtime.cli.files import write_artefacts  # noqa: PLC0415 - `--help` does without
    from sandbox.artefacts import Artefact  # noqa: PLC0415 - same

    store = _store(settings_of(ctx))
    record = store.find(which)
    artefact = Artefact.of(record.artefact.name, store.read(record.artefact.digest))
    paths = [str(path) for path in write_artefacts([artefact], folder, force=force)]
    if as_json:
        print_json([*paths])
    else:
        print_lines(paths)


@app.command()
def prune(
    ctx: typer.Context,
    *,
    days: Annotated[
        int, typer.Option(min=0, max=MOST_DAYS, help="Keep what is younger than so many days.")
    ] = 30,
    as_json: AsJson = False,
) -> None:
    """Remove what is older, and say how much that was."""
    dropped = _store(settings_of(ctx)).prune(datetime.now(UTC) - timedelta(days=days))
    if as_json:
        print_json({"removed": dropped})
    else:
        say(f"removed {dropped} file(s)")


def _store(settings: Settings) -> ArtefactStore:
    from runtime.artefacts import ArtefactStore  # noqa: PLC0415 - `--help` does without

    return ArtefactStore(settings.home / "artefacts")
