"""A signed store with a version in every state, and every step that there is from there."""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Final

from factories import allowed, make_submission, needs_review, refused
from sqlalchemy import select

from policies.decision import Approval, Channel
from policies.outcomes import Outcome
from policies.sequential import CanarySettings
from policies.value import canonical_json, sha256_digest
from policies.waivers import Waiver
from runtime.profiles import read_profile
from toolstore import tables
from toolstore.attest.keys import KeyRing
from toolstore.calls import CallBody, CallRecord
from toolstore.errors import TransitionError
from toolstore.forgetting import Which
from toolstore.index import database_at
from toolstore.models import Submission, ToolRef, ToolVersion
from toolstore.proposals import ProposalQuota
from toolstore.store import ToolStore
from toolstore.terms import Terms

AT: Final = datetime.now(UTC).replace(microsecond=0)
"""When each step happens: the same in each try, so that the same comes of it."""

BEFORE: Final = AT - timedelta(minutes=10)
"""When the store was filled; the keys were made still earlier."""

POLICY: Final = read_profile("local")
CANARY: Final = Terms(channel=Channel.CANARY, weight=0.5)
JUMPY: Final = CanarySettings(false_alarm=0.9)
LATE: Final = (("id", "call"), ("id", "proposal"))
"""Numbers that a step which did not come about uses up on a server."""


@dataclass(frozen=True)
class Scene:
    """Where a store is, and the home of its keys."""

    location: str
    home: Path

    def ring(self, at: datetime = AT) -> KeyRing:
        """The keys of the home, at a time."""
        return KeyRing(self.home / "keys", clock=lambda: at)

    async def open(self, *, keys: bool = True, at: datetime = AT) -> ToolStore:
        """Open the store as any process of this home does."""
        ring = self.ring(at - timedelta(minutes=10)) if keys else None
        return await ToolStore.open(
            self.location if "://" in self.location else Path(self.location),
            busy_seconds=5.0,
            clock=lambda: at,
            keys=ring,
            seen=self.home / "checkpoints" if keys else None,
        )

    def content(self) -> str:
        """A digest over all that the store keeps."""
        whole = hashlib.sha256()
        place = self.location if "://" in self.location else Path(self.location)
        with database_at(place).connect(writes=False) as connection, connection.begin():
            for table in tables.metadata.sorted_tables:
                columns = [c for c in table.columns if (c.name, table.name) not in LATE]
                rows = connection.execute(select(*columns))
                whole.update(repr((table.name, sorted(map(repr, rows)))).encode())
        return whole.hexdigest()


def version(name: str, number: int, **changes: object) -> Submission:
    """One of several versions of a tool."""
    code = f"def {name}(number: int) -> int:\n    return {number}\n"
    return make_submission(name, code, created_at=AT, **changes)  # type: ignore[arg-type]


async def furnish(scene: Scene, *, keys: bool = True) -> None:
    """Fill an empty store: something for every step."""
    async with await scene.open(keys=keys, at=BEFORE) as store:
        for name in ("gone", "ready", "pinned", "tried", "fails"):
            await store.admit(version(name, 1), actor="ada")
        await store.admit(version("ready", 2), actor="ada")
        for name in ("tried", "fails"):
            await store.admit(version(name, 2), actor="ada", terms=CANARY)
        await store.revoke(ToolRef(name="gone"), actor="bob", reason="wrong")
        waiting = version("waits", 1, decision=needs_review())
        await store.admit(waiting, actor="ada")
        old = await store.admit(version("old", 1), actor="ada")
        await store.lifecycle.deprecate(old.ref, actor="bob", reason="old")
        pin = ToolRef(name="pinned")
        await store.lifecycle.pin(pin, session="p", actor="bob", reason="works")
        aside = await store.admit(version("aside", 1), actor="ada")
        await store.lifecycle.suspend(aside.digest, refused(), actor="ada", reason="new policy")
        await count_calls(store, name="fails", times=2)
        await store.record_calls([call(aside, n) for n in range(3)], keep=9, before=AT)


def call(of: ToolVersion, number: int) -> CallRecord:
    """A recorded call."""
    return CallRecord(
        version=of.digest,
        session="s",
        tenant="ada",
        arguments_digest=sha256_digest(canonical_json({"number": number})),
        result_digest=sha256_digest(canonical_json(number)),
        outcome=Outcome.RETURNED,
        execute_seconds=0.1,
        total_seconds=0.1,
        at=AT + timedelta(seconds=number),
        body=CallBody(arguments={"number": number}, value=number),
    )


async def approve(store: ToolStore, *, late: bool = False, more: bool = False) -> None:
    """A yes: the last one, one of several, or one that comes too late."""
    of = await store.find(ToolRef(name="ready" if late else "waits"))
    decision = needs_review() if more else allowed()
    said = Approval(principal="bob", digest=of.digest, at=AT, comment="fine")
    with suppress(TransitionError):  # what came too late is in the log all the same
        await store.approve(of.digest, said, decision, actor="bob")


async def reject(store: ToolStore, *, late: bool = False) -> None:
    """A no."""
    of = await store.find(ToolRef(name="ready" if late else "waits"))
    with suppress(TransitionError):
        await store.reject(of.digest, actor="eve", reason="no")


async def revoked_again(store: ToolStore) -> None:
    """The very bytes that were revoked come again."""
    with suppress(TransitionError):
        await store.admit(version("gone", 1), actor="ada")


async def waive(store: ToolStore, *, admits: bool) -> None:
    """A finding is taken, and what waits for nothing else comes out by it."""
    of = await store.find(ToolRef(name="waits"))
    waiver = Waiver(
        rule="TR202",
        digest=of.digest,
        principal="bob",
        reason="known",
        at=AT,
        expires_at=AT + timedelta(days=1),
    )
    await store.lifecycle.waive(waiver, allowed() if admits else None, actor="bob")


async def decide_again(store: ToolStore, *, passes: bool) -> None:
    """Another policy decides about what was approved."""
    of = await store.find(ToolRef(name="ready"))
    digest = sha256_digest(b"another policy")
    decision = (allowed() if passes else refused()).model_copy(update={"policy_digest": digest})
    await store.decisions.decided_again(of.digest, decision, policy=b"another policy", actor="ada")


async def count_calls(store: ToolStore, name: str, times: int) -> None:
    """Calls of a canary that fail."""
    for _ in range(times):
        digest = (await store.find(ToolRef(name=name, sequence=2))).digest
        await store.lifecycle.count_call(name, digest, JUMPY, actor="toolkiln", succeeded=False)


async def record_calls(store: ToolStore) -> None:
    """Some calls more, and all before them forgotten."""
    of = await store.find(ToolRef(name="aside"))
    await store.record_calls(
        [call(of, n) for n in range(2, 5)], keep=4, before=AT + timedelta(seconds=1)
    )


async def bundle(store: ToolStore) -> None:
    """A file from elsewhere is kept beside a version."""
    of = await store.find(ToolRef(name="ready"))
    await store.exchange.keep(of.digest, b'{"from": "elsewhere"}', actor="ada")


async def use(store: ToolStore) -> None:
    """A version was used, and its form is known."""
    of = await store.find(ToolRef(name="ready"))
    await store.lifecycle.note_use(of.digest, actor="ada")


async def form(store: ToolStore) -> None:
    """What a version looks like is kept."""
    of = await store.find(ToolRef(name="ready"))
    await store.note_form(of.digest, normal="n", shape="s")


async def prove(store: ToolStore) -> None:
    """The same version is proven once more."""
    of = await store.find(ToolRef(name="ready"))
    again = of.evidence.model_copy(update={"produced_at": AT})
    await store.proofs.add(of.digest, again, actor="ada")


async def suspend(store: ToolStore) -> None:
    """What is stable is set aside."""
    of = await store.find(ToolRef(name="ready"))
    await store.lifecycle.suspend(of.digest, refused(), actor="ada", reason="found out")


async def readmit(store: ToolStore) -> None:
    """What was set aside comes back."""
    of = await store.find(ToolRef(name="aside"))
    await store.lifecycle.readmit(of.digest, allowed(), actor="ada")


def _ref(text: str) -> ToolRef:
    return ToolRef.parse(text)


BECAUSE: Final = {"actor": "bob", "reason": "because"}
Step = Callable[[ToolStore], Awaitable[object]]

STEPS: Final[Mapping[str, Step]] = {
    "admit": lambda s: s.admit(version("fresh", 1), actor="ada"),
    "admit a later version": lambda s: s.admit(version("ready", 3), actor="ada"),
    "admit to review": lambda s: s.admit(version("new", 1, decision=needs_review()), actor="ada"),
    "admit a canary": lambda s: s.admit(version("ready", 3), actor="ada", terms=CANARY),
    "admit what waited": lambda s: s.admit(version("waits", 1), actor="ada"),
    "admit what was replaced": lambda s: s.admit(version("ready", 1), actor="ada"),
    "admit what was revoked": revoked_again,
    "approve": approve,
    "approve, and more are wanted": partial(approve, more=True),
    "approve too late": partial(approve, late=True),
    "reject": reject,
    "reject too late": partial(reject, late=True),
    "ask for a change": lambda s: s.ask_change(
        version("waits", 1).digest, actor="bob", reason="shorter"
    ),
    "revoke": lambda s: s.revoke(_ref("ready@2"), **BECAUSE),
    "roll back": lambda s: s.rollback("ready", actor="bob", reason="slow"),
    "roll a canary back": lambda s: s.rollback("tried", actor="bob", reason="slow"),
    "promote": lambda s: s.lifecycle.promote(_ref("tried@2"), **BECAUSE),
    "start a canary": lambda s: s.lifecycle.canary(_ref("ready@1"), weight=0.5, **BECAUSE),
    "count a call": partial(count_calls, name="tried", times=1),
    "count a call too many": partial(count_calls, name="fails", times=1),
    "pin": lambda s: s.lifecycle.pin(_ref("ready@1"), session="s", **BECAUSE),
    "unpin": lambda s: s.lifecycle.unpin("pinned", session="p", **BECAUSE),
    "waive": partial(waive, admits=False),
    "waive and admit": partial(waive, admits=True),
    "deprecate": lambda s: s.lifecycle.deprecate(
        _ref("ready@2"), successor=_ref("ready@1"), **BECAUSE
    ),
    "archive": lambda s: s.lifecycle.archive(_ref("old@1"), **BECAUSE),
    "suspend": suspend,
    "readmit": readmit,
    "decide again: yes": partial(decide_again, passes=True),
    "decide again: no": partial(decide_again, passes=False),
    "keep a policy": lambda s: s.decisions.keep_policy(
        POLICY.text, digest=POLICY.digest, actor="ada"
    ),
    "import": bundle,
    "record calls": record_calls,
    "forget calls": lambda s: s.forget_calls(Which(name="aside", before=AT + timedelta(seconds=2))),
    "prove again": prove,
    "note a use": use,
    "note a form": form,
    "propose": lambda s: s.lifecycle.propose(
        "x", author="ada", session="s", quota=ProposalQuota(per_session=9, per_author=9)
    ),
    "index anew": lambda s: s.reindex(),
    "checkpoint": lambda s: s.signatures.checkpoint(),
}
"""Each is done by one call of the store."""
