"""How the parts of a bundle hang together: log, policy, chain, thresholds, the decision again."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Final

from pydantic import ValidationError

from policies.config import PolicyProfile
from policies.decision import AdmissionRequest, Decision
from policies.value import sha256_digest
from policies.waivers import in_force
from toolstore.attest.chain import Chain, Kept, read_chain
from toolstore.attest.errors import Flaw, NotInForceError
from toolstore.attest.thresholds import check_in_force
from toolstore.bundlereader import BundleReading
from toolstore.bundlereport import Line, Standing
from toolstore.errors import StoreDamagedError
from toolstore.events import entry_problem
from toolstore.models import Event, Lifecycle

_LIVING: Final = frozenset({Lifecycle.APPROVED, Lifecycle.DEPRECATED, Lifecycle.ARCHIVED})
"""States of a version that was let in and not taken back."""


def log_lines(reading: BundleReading) -> Iterator[Line]:
    """Each event is what its hash says, about this version, in an order that there is."""
    problem = _log_problem(reading)
    if problem is not None:
        yield Line(part="log", standing=Standing.BROKEN, detail=problem)
        return
    events, birth = reading.bundle.events, reading.details[0].birth
    came = birth.provenance if birth else None
    who = f"by {came.author} ({came.origin.value}) on {came.created_at:%Y-%m-%d}" if came else ""
    last = events[-1]
    words = f"{len(events)} event(s): {who}, state {last.to_state.value}"
    yield Line(part="log", standing=Standing.HOLDS, detail=words)
    if last.to_state not in _LIVING:
        words = f"{last.to_state}: {last.reason}"
        yield Line(part="state", standing=Standing.REFUSED, detail=words)


def _log_problem(reading: BundleReading) -> str | None:
    bundle, events = reading.bundle, reading.bundle.events
    for event in events:
        if (problem := entry_problem(event)) is not None:
            return f"event {event.sequence}: {problem}"
    if any((each.digest, each.name) != (bundle.digest, bundle.source.name) for each in events):
        return "an event is about another version"
    if (gap := _gap(events)) is not None:
        return f"an event is missing before event {gap.sequence}"
    birth = reading.details[0].birth
    if birth is None or birth.level is not reading.evidence.report.level:
        return "its first event does not say how it came, or says another level"
    named = [each.evidence for each in reading.details if each.evidence is not None]
    if named[-1:] != [bundle.evidence_digest]:
        return "the last evidence that the log names is not the one in this file"
    return None


def _gap(events: tuple[Event, ...]) -> Event | None:
    """The first event that does not go on where the one before it stopped."""
    state, sequence = None, 0
    for event in events:
        if event.from_state is not state or event.sequence <= sequence:
            return event
        state, sequence = event.to_state, event.sequence
    return None


def chain_lines(reading: BundleReading) -> Iterator[Line]:
    """The links between all of it, as a store checks them at each load."""
    policy, profile = _policy(reading)
    yield policy
    chain = _chain(reading)
    if isinstance(chain, Line):
        yield chain
        return
    words = "digest, evidence, decision and policy belong together"
    yield Line(part="chain", standing=Standing.HOLDS, detail=words)
    if profile is not None:
        yield _thresholds(reading, chain, profile)
        yield _again(reading, profile)


def _policy(reading: BundleReading) -> tuple[Line, PolicyProfile | None]:
    """The policy that decided last, if its text has the digest that the decision names."""
    decided = _decisions(reading)
    if not decided:
        words = "the log has no decision about it"
        return Line(part="decision", standing=Standing.MISSING, detail=words), None
    digest, text = decided[-1][1].policy_digest, reading.bundle.policy
    profile, standing = None, Standing.MISSING
    if text is None:
        words = f"nobody kept the text of {digest[:19]}…"
    elif sha256_digest(text.encode(errors="surrogatepass")) != digest:
        standing, words = Standing.BROKEN, f"its text is not that of {digest[:19]}…, which decided"
    else:
        try:
            profile = PolicyProfile.model_validate_json(text)
            standing, words = Standing.HOLDS, f"{profile.name}, {digest[:19]}…, is here"
        except ValidationError:
            words = "this program does not understand its text; use the one that exported the file"
    return Line(part="policy", standing=standing, detail=words), profile


def _chain(reading: BundleReading) -> Chain | Line:
    bundle = reading.bundle
    kept = Kept(
        ref=bundle.ref,
        digest=bundle.digest,
        events=bundle.events,
        details=reading.details,
        evidence=reading.evidence,
        evidence_digest=bundle.evidence_digest,
        envelopes={sha256_digest(each.content): each.content for each in bundle.envelopes},
    )
    try:
        return read_chain(kept, reading.key)
    except StoreDamagedError as error:
        words = error.what.removeprefix(f"{kept.ref}: ")
    except Exception as error:  # noqa: BLE001 - a key of others may break any library
        words = f"it cannot be read ({type(error).__name__})"
    return Line(part="chain", standing=Standing.BROKEN, detail=words)


def _thresholds(reading: BundleReading, chain: Chain, profile: PolicyProfile) -> Line:
    """As many keys and people as the policy wants, and none of it too old."""
    try:
        check_in_force(chain, profile.signatures, reading.at)
    except NotInForceError as error:
        # Too few hosts is a no that may become a yes elsewhere, where another one proves it.
        standing = Standing.REFUSED if error.flaw is Flaw.MISSING else Standing.MISSING
        return Line(part="thresholds", standing=standing, detail=error.reason)
    standing, words = Standing.HOLDS, f"as many keys vouch for it as {profile.name} wants"
    if any(each.key.keyid not in reading.trust.keys for each in chain.envelopes):
        standing, words = Standing.UNTRUSTED, f"{words}, if they are whose they say"
    return Line(part="thresholds", standing=standing, detail=words)


def _again(reading: BundleReading, profile: PolicyProfile) -> Line:
    """The policy in the file, asked again about what is in the file, for then and for now."""
    at, said = _decisions(reading)[-1]
    then, now = (profile.policy.decide(_request(reading, when)) for when in (at, reading.at))
    standing, words = Standing.HOLDS, "asked again, the policy says the same of it"
    if said.allowed and not then.allowed:
        standing = Standing.BROKEN
        words = f"the policy in the file does not admit this: {'; '.join(then.reasons)}"
    elif said.allowed and not now.allowed:
        standing = Standing.MISSING
        words = f"what it was admitted on has ended since: {'; '.join(now.reasons)}"
    return Line(part="again", standing=standing, detail=words)


def _decisions(reading: BundleReading) -> list[tuple[datetime, Decision]]:
    pairs = zip(reading.bundle.events, reading.details, strict=True)
    return [(event.at, each.decision) for event, each in pairs if each.decision is not None]


def _request(reading: BundleReading, at: datetime) -> AdmissionRequest:
    """What the policy is asked, with the approvals and waivers that count at that time."""
    birth = reading.details[0].birth
    approvals = (each.approval for each in reading.details if each.approval is not None)
    waivers = [each.waiver for each in reading.details if each.waiver is not None]
    return AdmissionRequest(
        digest=reading.bundle.digest,
        source=reading.bundle.source,
        evidence=reading.evidence,
        author=birth.provenance.author if birth else "",
        approvals=tuple(each for each in approvals if each.counts(at)),
        waivers=in_force(waivers, digest=reading.bundle.digest, at=at),
    )
