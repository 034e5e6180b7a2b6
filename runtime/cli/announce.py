"""Says what became of a version."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from runtime.cli.output import print_json, print_lines

if TYPE_CHECKING:
    from toolstore.models import ToolVersion


def announce(
    version: ToolVersion, what: str, *, as_json: bool, callers: Sequence[str] = ()
) -> None:
    """Say what became of a version; as JSON with the tools that are pinned to it."""
    if as_json:
        print_json(
            {
                "ref": str(version.ref),
                "digest": version.digest,
                "state": version.state.value,
                "reason": version.state_reason,
                **({"place": str(version.place)} if version.place else {}),
                **({"callers": [*callers]} if callers else {}),
            }
        )
    else:
        print_lines([f"{version.ref} {what}, {version.digest}"])
