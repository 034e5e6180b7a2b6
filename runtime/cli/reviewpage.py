"""`toolkiln review serve` and `toolkiln review token`: the review desk in a browser."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from pydantic import JsonValue

from runtime.cli.invocation import settings_of
from runtime.cli.output import AsJson, print_columns, print_json, run_async, say
from runtime.errors import UsageError
from runtime.review.web.roles import Role

if TYPE_CHECKING:
    from runtime.review.web.serve import Door
    from runtime.review.web.tokens import ReviewerToken, TokenBook
    from runtime.settings import Settings

tokens = typer.Typer(no_args_is_help=True, help="Who may sign in to the review page.")


def serve(  # noqa: PLR0913 - one parameter an option
    ctx: typer.Context,
    *,
    listen: Annotated[
        str, typer.Option(help="HOST:PORT; port 0 takes a free one.")
    ] = "127.0.0.1:8421",
    origin: Annotated[
        list[str] | None,
        typer.Option(
            metavar="URL",
            help="How browsers reach it, such as https://review.example.org; all else is refused. "
            "Default: the address it listens at.",
        ),
    ] = None,
    tls_cert: Annotated[Path | None, typer.Option(help="Certificate, with its chain.")] = None,
    tls_key: Annotated[Path | None, typer.Option(help="Its key.")] = None,
    insecure: Annotated[
        bool, typer.Option("--insecure", help="Let others reach it without TLS of its own.")
    ] = False,
) -> None:
    """Open the review desk for browsers.

    On this machine alone, unless told otherwise.
    People sign in with their tokens; see `toolkiln review token add`.
    """
    settings = settings_of(ctx)
    try:
        from runtime.review.web.serve import Door  # noqa: PLC0415 - lists do without
    except ModuleNotFoundError as error:
        raise UsageError(
            f"the review page needs {error.name}; install toolkiln with its extra `web`"
        ) from None
    from runtime.review.web.site import parse_listen  # noqa: PLC0415 - as above

    host, port = parse_listen(listen)
    door = Door(
        host=host,
        port=port,
        origins=tuple(origin or ()),
        tls_certificate=tls_cert,
        tls_key=tls_key,
        insecure=insecure,
    )
    run_async(_serve(settings, door))


async def _serve(settings: Settings, door: Door) -> None:
    from runtime.review.web.serve import check_door, serve  # noqa: PLC0415 - lists do without
    from runtime.wiring import open_runtime  # noqa: PLC0415 - as above

    check_door(door)
    book = _book(settings)
    if not book.entries():
        say("nobody can sign in yet: toolkiln review token add NAME")
    async with open_runtime(settings=settings) as runtime:
        await serve(
            runtime.desk,
            door=door,
            book=book,
            head=runtime.store.head,
            on_ready=lambda address: say(f"review page at {address}  (Ctrl-C ends it)"),
        )


@tokens.command()
def add(
    ctx: typer.Context,
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="The principal whose votes are given with it.")
    ],
    *,
    role: Annotated[Role, typer.Option(help="Reads and votes, or reads.")] = Role.REVIEWER,
    days: Annotated[
        int | None, typer.Option(min=1, max=3_650, help="Days until it expires. Default: never.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Make a token and print it, this once: it is kept as a hash."""
    now = datetime.now(UTC)
    entry, secret = _book(settings_of(ctx)).add(
        name, role=role, at=now, expires_at=now + timedelta(days=days) if days else None
    )
    if as_json:
        print_json({**_row(entry), "token": secret})
        return
    say(f"token {entry.id} of {name}, {role.value}; it is shown this once:")
    print_columns([(secret,)], ("TOKEN",))


@tokens.command("list")
def list_(ctx: typer.Context, *, as_json: AsJson = False) -> None:
    """List the tokens, without what would let anybody in."""
    entries = _book(settings_of(ctx)).entries()
    if as_json:
        rows: list[JsonValue] = [_row(entry) for entry in entries]
        print_json(rows)
        return
    print_columns(
        [
            (
                entry.id,
                entry.name,
                entry.role.value,
                f"{entry.created_at:%Y-%m-%d %H:%M}",
                "never" if entry.expires_at is None else f"{entry.expires_at:%Y-%m-%d %H:%M}",
            )
            for entry in entries
        ],
        ("ID", "NAME", "ROLE", "MADE", "EXPIRES"),
    )


@tokens.command()
def remove(
    ctx: typer.Context,
    token_id: Annotated[str, typer.Argument(metavar="ID", help="As `token list` shows it.")],
    *,
    as_json: AsJson = False,
) -> None:
    """Take a token back, and sign out whoever is in with it."""
    gone = _book(settings_of(ctx)).remove(token_id)
    if as_json:
        print_json(_row(gone))
        return
    say(f"token {gone.id} of {gone.name} is taken back")


def _book(settings: Settings) -> TokenBook:
    from runtime.review.web.tokens import TokenBook  # noqa: PLC0415 - beside the type alone

    return TokenBook(settings.home / "review" / "tokens.json")


def _row(entry: ReviewerToken) -> dict[str, JsonValue]:
    return {
        "id": entry.id,
        "name": entry.name,
        "role": entry.role.value,
        "created_at": entry.created_at.isoformat(),
        "expires_at": None if entry.expires_at is None else entry.expires_at.isoformat(),
    }
