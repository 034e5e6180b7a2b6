"""`toolkiln store keys`: with what this host signs, and whose signatures count."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from policies.statements import Role
from runtime.cli.invocation import settings_of
from runtime.cli.output import AsJson, json_of, print_columns, print_json, say
from runtime.errors import UsageError
from runtime.storekeys import key_ring

if TYPE_CHECKING:
    from toolstore.attest.trust import Ring, TrustedKey

app = typer.Typer(no_args_is_help=True, help="With what this host signs, and whom it trusts.")

RoleArgument = Annotated[
    Role, typer.Argument(metavar="ROLE", help="linter, sandbox, reviewer or admitter.")
]
KeyArgument = Annotated[str, typer.Argument(metavar="KEY", help="Identity, or its beginning.")]


@app.callback()
def _group() -> None:
    """With what this host signs, and whom it trusts."""


@app.command("list")
def list_keys(ctx: typer.Context, *, as_json: AsJson = False) -> None:
    """List the trusted keys: whose, since and until when, where."""
    ring = key_ring(settings_of(ctx)).ring()
    if as_json:
        print_json(json_of(ring))
        return
    print_columns([_row(ring, key) for key in ring.keys], _HEADS)


@app.command()
def rotate(ctx: typer.Context, role: RoleArgument, *, as_json: AsJson = False) -> None:
    """Give a role a new key.

    What the old one signed until now goes on counting.
    """
    _tell(key_ring(settings_of(ctx)).rotate(role), as_json=as_json)


@app.command()
def person(
    ctx: typer.Context,
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="The principal, as it decides in reviews.")
    ],
    *,
    as_json: AsJson = False,
) -> None:
    """Make a key for somebody who decides on this host, or a new one."""
    if not name.isprintable() or not name.strip():
        raise UsageError(f"{name!r} is no name of a person: give printable characters")
    _tell(key_ring(settings_of(ctx)).add_person(name), as_json=as_json)


@app.command()
def use(
    ctx: typer.Context,
    role: RoleArgument,
    uri: Annotated[
        str, typer.Argument(metavar="URI", help="A signer: hsm:…, awskms:…, gcpkms:…, azurekms:… .")
    ],
    *,
    public_key: Annotated[
        Path | None,
        typer.Option(
            "--public-key",
            metavar="FILE",
            help="Its public key, in PEM. A token (hsm:…) is asked for it.",
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Let a role sign with a key that is not on this host.

    Once it has signed for a trial.
    `hsm:ID?label=TOKEN` is a key on a PKCS#11 token: PYKCS11LIB names its library, and the PIN is
    in TOOLKILN_HSM_PIN or in the file `pin` in the folder of the keys.
    """
    ring = key_ring(settings_of(ctx))
    pem = None if public_key is None else _read(public_key)
    _tell(ring.use(role, uri, pem), as_json=as_json)


@app.command()
def export(ctx: typer.Context) -> None:
    """Print the public keys as JSON, for `keys trust` on another host."""
    print_json(json_of(key_ring(settings_of(ctx)).public_keys()))


@app.command()
def trust(
    ctx: typer.Context,
    file: Annotated[
        Path,
        typer.Argument(metavar="FILE", help="What `keys export` printed elsewhere; - reads it."),
    ],
    *,
    again: Annotated[
        bool, typer.Option("--again", help="Also keys that were distrusted here once.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Let the keys of another host count here, for their roles. Ask its owner whether it is it.

    Read its file again after it has rotated a key: what it has retired is retired here as well.
    """
    from pydantic import ValidationError  # noqa: PLC0415 - `--help` does without

    from toolstore.attest.trust import PublicKeys  # noqa: PLC0415 - same

    text = sys.stdin.buffer.read() if str(file) == "-" else _read(file)
    try:
        keys = PublicKeys.model_validate_json(text)
    except ValidationError as error:
        problem = error.errors(include_url=False, include_input=False)[0]["msg"]
        raise UsageError(f"{file} is nothing that `keys export` printed: {problem}") from None
    came = key_ring(settings_of(ctx)).trust(keys, again=again)
    changed = (*came.added, *came.retired)
    if came.left_out:
        names = ", ".join(key.keyid[:16] for key in came.left_out)
        say(f"left out, because they were distrusted here: {names}; --again lets them count")
    if as_json:
        print_json([json_of(key) for key in changed])
        return
    print_columns([_cells(key, "") for key in changed], _HEADS)
    if not changed:
        say("nothing is new in it")


@app.command()
def distrust(
    ctx: typer.Context,
    key: KeyArgument,
    *,
    since: Annotated[
        datetime | None,
        typer.Option(help="What it signed before (UTC) goes on counting. Default: nothing does."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Let a key count no more: what rests on it is not loaded."""
    at = None if since is None else since.replace(tzinfo=since.tzinfo or UTC)
    _tell(key_ring(settings_of(ctx)).distrust(key, since=at), as_json=as_json)


_HEADS = ("ROLE", "KEY", "PERSON", "MADE", "UNTIL", "SIGNS WITH")


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise UsageError(f"cannot read {file}: {error.strerror or error}") from None


def _tell(key: TrustedKey, *, as_json: bool) -> None:
    if as_json:
        print_json(json_of(key))
    else:
        print_columns([(key.role.value, key.keyid, key.person or "")], ("ROLE", "KEY", "PERSON"))


def _row(ring: Ring, key: TrustedKey) -> tuple[str, ...]:
    places = (*ring.signers.values(), *ring.people.values())
    return _cells(key, next((place.uri for place in places if place.keyid == key.keyid), ""))


def _cells(key: TrustedKey, uri: str) -> tuple[str, ...]:
    until = "" if key.valid_until is None else key.valid_until.isoformat(timespec="seconds")
    made = key.made_at.isoformat(timespec="seconds")
    return (key.role.value, key.keyid[:16], key.person or "", made, until, uri)
