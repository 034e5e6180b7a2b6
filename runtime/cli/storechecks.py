"""`toolkiln store verify | checkpoint | sign`: what holds of a store, and who vouches for it."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from runtime.cli.invocation import settings_of
from runtime.cli.output import (
    AsJson,
    answer_no,
    json_of,
    print_columns,
    print_json,
    run_async,
    say,
)
from runtime.storekeys import open_signed_store

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from runtime.settings import Settings
    from toolstore.attest.signing import SignedState, SignReport
    from toolstore.models import VerifyReport
    from toolstore.store import ToolStore


def verify(ctx: typer.Context, *, as_json: AsJson = False) -> None:
    """Check every byte, version, link, signature and checkpoint.

    Exit code 1 if anything is wrong. Says what is damaged, and which versions can still be trusted.
    """
    report = run_async(_verify(settings_of(ctx)))
    if as_json:
        print_json(json_of(report))
    else:
        _show(report)
    if not report.intact:
        answer_no()


def _show(report: VerifyReport) -> None:
    rows = [("damaged", damage.where, damage.problem) for damage in report.damage]
    rows += [("trusted", ref, "") for ref in report.trusted]
    print_columns(rows, ("", "WHAT", "PROBLEM"))
    said = f"{len(report.damage)} problem(s)" if report.damage else "intact"
    say(
        f"{said}: {report.versions} versions, {report.statements} statements, {report.events} "
        f"events (signed as far as {report.signed_to}), {report.blobs} blobs; "
        f"{len(report.trusted)} version(s) can be trusted"
    )


async def _verify(settings: Settings) -> VerifyReport:
    async with _opened(settings) as store:
        return await store.verify()


def checkpoint(
    ctx: typer.Context,
    *,
    accept: Annotated[
        bool,
        typer.Option(
            "--accept", help="Go on from the store as it is, though this host saw a later state."
        ),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Sign where the log stands. What --json prints is worth keeping away from this host."""
    state = run_async(_checkpoint(settings_of(ctx), accept=accept))
    if as_json:
        print_json(json_of(state))
    else:
        print_columns([_line(state)], _HEADS)


async def _checkpoint(settings: Settings, *, accept: bool) -> SignedState:
    async with await open_signed_store(settings, accept_older=accept) as store:
        if accept:
            await store.signatures.accept()
        return await store.signatures.checkpoint()


def sign(ctx: typer.Context, *, as_json: AsJson = False) -> None:
    """Vouch for what was kept without signatures.

    Such as a store of an earlier toolkiln. Everything is checked first, as far as digests and
    hashes tell; the rest is your word.
    """
    settings = settings_of(ctx)
    report = run_async(_sign(settings))
    if as_json:
        print_json(json_of(report))
        return
    print_columns([("signed", ref, "") for ref in report.signed], ("", "VERSION", ""))
    print_columns([_line(report.checkpoint)], _HEADS)


async def _sign(settings: Settings) -> SignReport:
    async with await open_signed_store(settings) as store:
        return await store.signatures.sign(actor=settings.principal)


@asynccontextmanager
async def _opened(settings: Settings) -> AsyncIterator[ToolStore]:
    """The store, to be looked at: also one that is older than what this host has seen."""
    async with await open_signed_store(settings, accept_older=True) as store:
        yield store


_HEADS = ("EVENT", "HASH", "SIGNED")


def _line(state: SignedState) -> tuple[str, str, str]:
    at = "" if state.at is None else state.at.isoformat(timespec="seconds")
    return (str(state.sequence), state.head, at)
