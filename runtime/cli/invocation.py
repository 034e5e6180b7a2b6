"""What one start of the program was told, for the command that it runs."""

from __future__ import annotations

from dataclasses import dataclass

import typer
from pydantic import JsonValue

from policies.value import JsonObject
from runtime.settings import Settings, read_settings


@dataclass(frozen=True, slots=True)
class Invocation:
    """The program's own options; a command adds its own when it asks for the settings."""

    flags: JsonObject
    debug: bool

    def settings(self, **flags: JsonValue) -> Settings:
        """All layers of settings, with this command's flags on top; None is "not given"."""
        given = {name: value for name, value in flags.items() if value is not None}
        return read_settings(self.flags | given)


def invocation(ctx: typer.Context) -> Invocation:
    """The invocation that the root command put into `ctx`."""
    found = ctx.obj
    if not isinstance(found, Invocation):  # a command called without its root
        return Invocation(flags={}, debug=False)
    return found


def settings_of(ctx: typer.Context, **flags: JsonValue) -> Settings:
    """The settings of the command that `ctx` belongs to."""
    return invocation(ctx).settings(**flags)
