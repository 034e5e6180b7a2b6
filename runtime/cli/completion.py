"""What the shell offers where a tool is to be named; wherever it cannot be known, nothing."""

from __future__ import annotations

import typer

from runtime.cli.failures import exit_code_of
from runtime.settings import read_settings


def tool_names(ctx: typer.Context, incomplete: str) -> list[str]:
    """The names of the store that begin so; behind an `@`, the versions."""
    from toolstore.listing import summaries_sync  # noqa: PLC0415 - `--help` does without
    from toolstore.models import Lifecycle  # noqa: PLC0415 - same

    root = ctx.find_root().params
    try:
        settings = read_settings({"home": root.get("home"), "store": root.get("store")})
        found = summaries_sync(settings.store_location, tuple(Lifecycle)) or ()
    except Exception as error:
        if exit_code_of(error) is None:
            raise
        return []  # the command itself will say what is wrong
    offered = {f"{each.name}@{each.sequence}" if "@" in incomplete else each.name for each in found}
    return sorted(each for each in offered if each.startswith(incomplete))
