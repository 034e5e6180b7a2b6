"""`toolkiln tools`: what the store holds, and what can be done with it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import typer

from runtime.cli import exchange, moves, retiring, toolchecks, toollists, toolviews

app = typer.Typer(no_args_is_help=True, help="Look at, check and change the tools in the store.")

COMMANDS: Final[dict[str, Callable[..., None]]] = {
    "list": toollists.list_,
    "search": toollists.search,
    "show": toolviews.show,
    "history": toolviews.history,
    "diff": toolviews.diff,
    "channels": toollists.channels,
    "test": toolchecks.retest,
    "prove": toolchecks.prove,
    "verify": toolchecks.verify,
    "export": exchange.export,
    "import": exchange.import_,
    "promote": moves.promote,
    "canary": moves.canary,
    "rollback": moves.rollback,
    "pin": moves.pin,
    "unpin": moves.unpin,
    "waive": moves.waive,
    "deprecate": moves.deprecate,
    "archive": moves.archive,
    "retire": retiring.retire,
    "revoke": moves.revoke,
}
for _name, _command in COMMANDS.items():
    app.command(_name)(_command)
