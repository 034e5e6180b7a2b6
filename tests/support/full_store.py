"""A signed store that has every kind of row, for whoever wants to spoil each of them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from factories import POLICY, allowed, make_evidence, make_schema, make_source, make_submission
from factories import needs_review as asks_a_person

from policies.config import SHIPPED_PROFILES
from policies.decision import Approval, Channel, Decision
from policies.outcomes import Outcome
from policies.sequential import CanarySettings
from policies.statements import Role
from policies.value import sha256_digest
from policies.waivers import Waiver
from runtime.profiles import read_profile
from toolstore.attest.keys import KeyRing
from toolstore.calls import CallBody, CallRecord
from toolstore.models import Submission, ToolRef, ToolVersion
from toolstore.proposals import ProposalQuota
from toolstore.store import ToolStore
from toolstore.terms import NO_TERMS, Terms

POLICY_TEXT: Final = b"the policy of the tests"
"""What `factories.POLICY` is the digest of."""

LATER_POLICY: Final = b"another policy of the tests"
START: Final = datetime(2026, 6, 1, 12, 0, tzinfo=UTC)
FOR_LONG: Final = START + timedelta(days=3_650)


class Clock:
    """Time that goes on by a second whenever it is looked at, so that no two events share one."""

    def __init__(self) -> None:
        self._now = START

    def __call__(self) -> datetime:
        self._now += timedelta(seconds=1)
        return self._now


async def fill(location: Path | str, folder: Path) -> None:
    """Put one version of each fate into a new store; keys and checkpoints lie in `folder`."""
    clock = Clock()
    ring = KeyRing(folder / "keys", clock=clock)
    ring.add_person("carol")
    opened = ToolStore.open(location, keys=ring, seen=folder / "seen", clock=clock)
    async with await opened as store:
        for text in (POLICY_TEXT, read_profile(SHIPPED_PROFILES[0]).text):
            await store.decisions.keep_policy(text, digest=sha256_digest(text), actor="ada")
        await _alpha(store)
        await _beta(store)
        await _gamma(store)
        await _delta_to_theta(store)
        await _iota(store)
        await _calls(store)
        await store.signatures.checkpoint()
        ring.rotate(Role.SANDBOX)
        await store.admit(make_submission("last"), actor="ada")


async def _admit(store: ToolStore, submission: Submission, terms: Terms = NO_TERMS) -> ToolVersion:
    version = await store.admit(submission, actor="ada", terms=terms)
    shape = sha256_digest(submission.source.name.encode())
    await store.note_form(version.digest, normal=version.digest, shape=shape)
    return version


def _numbered(name: str, number: int, **more: object) -> Submission:
    code = f"def {name}(number: int) -> int:\n    return number * 2  # {number}\n"
    return make_submission(name, code, **more)  # type: ignore[arg-type]  # as given


async def _alpha(store: ToolStore) -> None:
    """Three versions, pins that were set, moved and ended."""
    first, second, _third = [await _admit(store, _numbered("alpha", n)) for n in (1, 2, 3)]
    pin = store.lifecycle.pin
    await pin(first.ref, session="s-first", actor="ada", reason="it is known")
    await pin(first.ref, session="s-moved", actor="ada", reason="it is known")
    await pin(second.ref, session="s-moved", actor="ada", reason="it is better")
    await pin(second.ref, session="s-ended", actor="ada", reason="for a try")
    await store.lifecycle.unpin("alpha", session="s-ended", actor="ada", reason="tried")


async def _beta(store: ToolStore) -> None:
    """A stable version, a canary beside it with counts, and one for a session alone."""
    stable = await _admit(store, _numbered("beta", 1))
    canary = await _admit(store, _numbered("beta", 2), Terms(channel=Channel.CANARY, weight=0.25))
    await _admit(store, _numbered("beta", 3, session="s-own"), Terms(channel=Channel.SESSION))
    settings = CanarySettings()
    for version, succeeded in ((stable, True), (stable, False), (canary, True)):
        await store.lifecycle.count_call(
            "beta", version.digest, settings, actor="ada", succeeded=succeeded
        )
    await store.lifecycle.note_use(stable.digest, actor="ada")


async def _gamma(store: ToolStore) -> None:
    """Waiting: one yes of two, a wish for a change, a waiver."""
    waiting = await _admit(store, make_submission("gamma", decision=asks_a_person("two people")))
    yes = Approval(principal="bob", digest=waiting.digest, at=START, expires_at=FOR_LONG)
    await store.approve(waiting.digest, yes, asks_a_person("one of two"), actor="bob")
    await store.ask_change(waiting.digest, actor="carol", reason="name it better")
    waiver = Waiver(
        rule="RP101",
        digest=waiting.digest,
        principal="bob",
        reason="it is known",
        at=START,
        expires_at=FOR_LONG,
    )
    await store.lifecycle.waive(waiver, None, actor="bob")


async def _delta_to_theta(store: ToolStore) -> None:
    """Revoked, rejected, deprecated, archived; approved by two, one with a key of their own."""
    revoked = await _admit(store, make_submission("delta"))
    await store.revoke(revoked.digest, actor="bob", reason="wrong")
    rejected = await _admit(store, make_submission("epsilon", decision=asks_a_person()))
    await store.reject(rejected.digest, actor="carol", reason="no")
    old = await _admit(store, make_submission("zeta"))
    successor = ToolRef.parse("alpha@3")
    await store.lifecycle.deprecate(old.ref, actor="bob", reason="old", successor=successor)
    gone = await _admit(store, make_submission("eta"))
    await store.lifecycle.deprecate(gone.ref, actor="bob", reason="old")
    await store.lifecycle.archive(gone.ref, actor="bob", reason="unused")
    seen = await _admit(store, make_submission("theta", decision=asks_a_person()))
    for person, decision in (("bob", asks_a_person("one of two")), ("carol", allowed("two"))):
        yes = Approval(principal=person, digest=seen.digest, at=START, expires_at=FOR_LONG)
        await store.approve(seen.digest, yes, decision, actor=person)


async def _iota(store: ToolStore) -> None:
    """Proven twice, decided about again under another policy, exported and brought back."""
    source, schema = make_source("iota"), make_schema("iota")
    first = make_submission("iota", source=source, schema=schema, decision=asks_a_person())
    await _admit(store, first)
    again = make_evidence(source, schema, produced_at=START)
    version = await _admit(
        store, first.model_copy(update={"evidence": again, "decision": allowed()})
    )
    decision = Decision(
        allowed=True,
        needs_review=False,
        reasons=("it still passes",),
        policy_digest=sha256_digest(LATER_POLICY),
    )
    await store.decisions.decided_again(version.digest, decision, policy=LATER_POLICY, actor="ada")
    bundle = await store.exchange.export(version.ref)
    await store.exchange.keep(version.digest, bundle, actor="ada")


async def _calls(store: ToolStore) -> None:
    """What no log covers: proposals, and calls with and without what went in and came out."""
    quota = ProposalQuota(per_session=10, per_author=10)
    for session in ("s-own", None):
        await store.lifecycle.propose("beta", author="ada", session=session, quota=quota)
    version = await store.find(ToolRef(name="beta"))
    body = CallBody(arguments={"number": 2}, value=4)
    record = CallRecord(
        version=version.digest,
        session="s-own",
        tenant="ada",
        arguments_digest=sha256_digest(b'{"number":2}'),
        result_digest=sha256_digest(b"4"),
        outcome=Outcome.RETURNED,
        execute_seconds=0.5,
        total_seconds=0.75,
        memory_bytes=1_000,
        at=START,
        body=body,
    )
    raised = record.model_copy(
        update={
            "session": None,
            "result_digest": None,
            "outcome": Outcome.RAISED,
            "error_type": "ValueError",
            "body": None,
        }
    )
    await store.record_calls([record, raised], keep=10, before=START - timedelta(days=1))


assert sha256_digest(POLICY_TEXT) == POLICY
