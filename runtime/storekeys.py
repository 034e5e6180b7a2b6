"""The store with the keys of this home: how every part of the program opens it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from runtime.settings import Settings

if TYPE_CHECKING:
    from policies.signatures import SignatureSettings
    from toolstore.attest.guard import Guard
    from toolstore.attest.keys import KeyRing
    from toolstore.store import ToolStore


def key_ring(settings: Settings) -> KeyRing:
    """The keys that this home signs with and trusts; made when they are used first."""
    from toolstore.attest.keys import KeyRing  # noqa: PLC0415 - `--help` does without

    return KeyRing(settings.home / "keys", pin=settings.hsm_pin)


def key_guard(settings: Settings) -> Guard:
    """What verifies signatures of a store with the keys of this home."""
    from policies.signatures import DEFAULT_SIGNATURES  # noqa: PLC0415 - `--help` does without
    from toolstore.attest.guard import Guard  # noqa: PLC0415 - same
    from toolstore.store import utc_now  # noqa: PLC0415 - same

    return Guard(key_ring(settings), DEFAULT_SIGNATURES, utc_now)


async def open_signed_store(
    settings: Settings,
    *,
    signatures: SignatureSettings | None = None,
    accept_older: bool = False,
) -> ToolStore:
    """The store of these settings: what is written is signed, what is read is verified.

    To be called, a version needs what `signatures` say: those of the defaults unless given.
    `accept_older` opens it even if this host has seen a later state of it.

    Raises:
        ToolStoreError: the store or the keys cannot be used, or an older store was put back.
    """
    from policies.signatures import DEFAULT_SIGNATURES  # noqa: PLC0415 - lists do without
    from toolstore.store import ToolStore  # noqa: PLC0415 - the database takes time to import

    return await ToolStore.open(
        settings.store_location,
        keys=key_ring(settings),
        signatures=signatures or DEFAULT_SIGNATURES,
        seen=settings.home / "checkpoints",
        accept_older=accept_older,
    )
