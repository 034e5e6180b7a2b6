"""The program: which commands there are, and the one place where failures become exit codes."""

from __future__ import annotations

import gc
import importlib
import sys
from collections.abc import Collection, Sequence
from io import TextIOWrapper
from typing import Annotated, Final

import typer

from runtime.cli.failures import guarded
from runtime.cli.invocation import Invocation
from runtime.errors import ExitCode, UsageError
from runtime.settings import Colour

COMMANDS: Final = {
    "demo": "Show the main job, end to end, without a key.",
    "chat": "Talk with a model that makes its own tools.",
    "run": "Ask once and print the answer.",
    "define": "Lint a tool, prove it, and keep it if the policy allows.",
    "call": "Call a tool and print its value as JSON.",
    "tools": "Look at, check and change the tools in the store.",
    "verify": "Check an exported tool, offline: what holds, who signed it.",
    "review": "Approve or reject what waits for a person.",
    "policy": "Show, check, explain and try policies.",
    "artefacts": "Look at and save the files that calls left behind.",
    "packages": "Look at and make the sets of packages of tools.",
    "sandbox": "Prepare the sandbox.",
    "doctor": "Say what is missing, and what the engine really holds.",
    "store": "Check, sign, migrate and copy the store of tools.",
    "sessions": "Look at earlier sessions.",
}
"""Each is a module of `runtime.cli.commands`, imported only when the command is asked for."""

_GLOBAL_VALUES: Final = {
    "--home": "FOLDER",
    "--store": "PLACE",
    "--policy": "POLICY",
    "--as": "PRINCIPAL",
    "--docker-host": "URL",
}
"""The program's own options that take a value, and what it is called."""

_GLOBAL_SWITCHES: Final = ("--debug", "--no-color")
_EVERYWHERE: Final = (
    "Every command: --home, --store, --policy, --as, --debug (see toolkiln --help)."
)


def run(arguments: Sequence[str]) -> int:
    """Run one command line and answer its exit code."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a lone surrogate must not end us
    return guarded(lambda: _start(arguments), debug="--debug" in arguments)


def _start(arguments: Sequence[str]) -> None:
    front, rest = hoist(arguments)
    wanted = next((word for word in rest if not word.startswith("-")), None)
    # A shell that completes names gives no words here, and asks about every command.
    program = assemble([wanted] if wanted in COMMANDS else [] if arguments else COMMANDS)
    gc.freeze()
    gc.enable()
    program([*front, *rest], prog_name="toolkiln")


def hoist(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """Part the program's own options from the rest, so that they may stand anywhere before `--`.

    Raises:
        UsageError: One that takes a value stands last.
    """
    front: list[str] = []
    rest: list[str] = []
    words = iter(arguments)
    for word in words:
        if word == "--":
            return front, [*rest, word, *words]
        if word in _GLOBAL_VALUES:
            value = next(words, None)
            if value is None:
                raise UsageError(
                    f"{word} stands last and needs a value: {word} {_GLOBAL_VALUES[word]}"
                )
            front += [word, value]
        elif word in _GLOBAL_SWITCHES or word.startswith(tuple(f"{o}=" for o in _GLOBAL_VALUES)):
            front.append(word)
        else:
            rest.append(word)
    return front, rest


def assemble(wanted: Collection[str]) -> typer.Typer:
    """The program with the commands in `wanted`; without any, with all lines of its help alone."""
    program = typer.Typer(
        name="toolkiln",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
        callback=_root,
        epilog="The options above may also stand behind the command. "
        "Exit codes: 0 done, 1 answered no, 2 wrong usage, 3 something outside is missing "
        "(engine, model, key), 4 a fault of toolkiln.",
    )
    for name in wanted or COMMANDS:
        if name not in wanted:
            program.command(name, short_help=COMMANDS[name])(_not_assembled)
            continue
        module = importlib.import_module(f"runtime.cli.commands.{name}")
        if hasattr(module, "app"):
            program.add_typer(module.app, name=name)
        else:
            program.command(name, short_help=COMMANDS[name])(module.command)
    _mention_everywhere(program)
    return program


def _not_assembled() -> None:
    """Stand in the help for a command that this start does not run."""


def _mention_everywhere(app: typer.Typer) -> None:
    """Let the help of each command say that there are the program's own options."""
    for command in app.registered_commands:
        command.epilog = _EVERYWHERE
    for group in app.registered_groups:
        if group.typer_instance is not None:
            _mention_everywhere(group.typer_instance)


def _version(asked: bool) -> None:  # noqa: FBT001 - typer's callbacks take the value alone
    if asked:
        from importlib.metadata import version  # noqa: PLC0415 - takes time to import

        typer.echo(f"toolkiln {version('toolkiln')}")
        raise typer.Exit(ExitCode.OK)


def _root(  # noqa: PLR0913 - one parameter an option
    ctx: typer.Context,
    *,
    home: Annotated[
        str | None,
        typer.Option(
            metavar=_GLOBAL_VALUES["--home"],
            help="Folder of all state. Default: $TOOLKILN_HOME, else ~/.toolkiln.",
        ),
    ] = None,
    store: Annotated[
        str | None,
        typer.Option(
            metavar=_GLOBAL_VALUES["--store"],
            help="Folder or postgresql://… of the tools. Default: $TOOLKILN_STORE, else in home.",
        ),
    ] = None,
    policy: Annotated[
        str | None,
        typer.Option(
            metavar=_GLOBAL_VALUES["--policy"],
            help="Profile (local, team, production) or policy file. Default: $TOOLKILN_POLICY, "
            "else local.",
        ),
    ] = None,
    principal: Annotated[
        str | None,
        typer.Option(
            "--as",
            metavar=_GLOBAL_VALUES["--as"],
            help="Who does this. Default: $TOOLKILN_PRINCIPAL, else the user's name.",
        ),
    ] = None,
    docker_host: Annotated[
        str | None,
        typer.Option(
            metavar=_GLOBAL_VALUES["--docker-host"],
            help="Address of the container engine. Default: $DOCKER_HOST.",
        ),
    ] = None,
    no_color: Annotated[bool, typer.Option("--no-color", help="Print without colour.")] = False,
    debug: Annotated[
        bool, typer.Option("--debug", help="Show the traceback of a failure.")
    ] = False,
    version: Annotated[
        bool,
        typer.Option("--version", callback=_version, is_eager=True, help="Print the version."),
    ] = False,
) -> None:
    """An agent that lacks a tool writes it; toolkiln proves it in a sandbox and keeps it."""
    del version
    ctx.obj = Invocation(
        flags={
            "home": home,
            "store": store,
            "policy": policy,
            "principal": principal,
            "docker_host": docker_host,
            "colour": Colour.NEVER.value if no_color else None,
        },
        debug=debug,
    )
