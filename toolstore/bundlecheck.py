"""What holds of a bundle, without a store, an engine or a network: one line a link of the chain.

digest -> evidence -> decision -> policy, each statement with its signature and key, thresholds,
and the seal over the file. Whatever the bytes are, the answer is a report and no exception.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from pydantic import ValidationError

from policies.config import PolicyProfile
from policies.decision import AdmissionRequest
from policies.evidence import Evidence
from policies.statements import (
    Admission,
    BundlePredicate,
    Check,
    EvidencePredicate,
    Kind,
    ReviewPredicate,
    checks_of,
    value_digest,
)
from policies.value import JsonObject, sha256_digest
from policies.waivers import in_force
from toolstore.attest.chain import Chain, Kept, check_in_force, read_chain
from toolstore.attest.envelopes import Envelope, open_envelope
from toolstore.attest.errors import AttestationError, NotInForceError
from toolstore.attest.trust import TrustedKey
from toolstore.bundle import (
    Bundle,
    SealedStatement,
    SignedBundle,
    check_content,
    document_digest,
    parse_bundle,
)
from toolstore.bundlereport import BundleReport, Line, Standing
from toolstore.errors import BundleError, StoreDamagedError
from toolstore.events import EventDetail, entry_problem
from toolstore.models import Event, Lifecycle

_PLAIN_KEYS: Final = frozenset({"ed25519", "ecdsa", "rsa", "ml-dsa"})
"""Types of keys that a bundle may bring: those that are checked without a program or a network."""

_MAX_PUBLIC_CHARACTERS: Final = 8_192


def check_bundle(
    content: bytes, trusted: Mapping[str, TrustedKey], *, at: datetime
) -> BundleReport:
    """Say what holds of `content`, given the keys that the reader trusts, by their identity.

    `at` is now: approvals that ended count no more.
    """
    try:
        bundle, document = parse_bundle(content)
        evidence = check_content(bundle)
    except BundleError as error:
        return BundleReport(
            ref=None,
            digest=None,
            format=None,
            lines=(Line(part="bundle", standing=Standing.BROKEN, detail=error.problem),),
        )
    if isinstance(bundle, Bundle):
        return _unsigned(bundle)
    try:
        details = bundle.details
    except ValidationError:
        broken = Line(part="log", standing=Standing.BROKEN, detail="an event cannot be read")
        return BundleReport(ref=None, digest=bundle.digest, format=bundle.format, lines=(broken,))
    checker = _Checker(bundle, document, evidence, details, trusted, at)
    lines = (*checker.run(), *checker.run_seal())
    return BundleReport(ref=bundle.ref, digest=bundle.digest, format=bundle.format, lines=lines)


def check_document(
    document: JsonObject, trusted: Mapping[str, TrustedKey], *, at: datetime
) -> BundleReport:
    """Say what holds of a version as its store has it: a bundle that nobody sealed yet."""
    bundle = SignedBundle.model_validate({**document, "seal": None})
    evidence = check_content(bundle)
    checker = _Checker(bundle, document, evidence, bundle.details, trusted, at)
    return BundleReport(
        ref=bundle.ref, digest=bundle.digest, format=bundle.format, lines=checker.run()
    )


def _unsigned(bundle: Bundle) -> BundleReport:
    lines = (
        Line(
            part="version",
            standing=Standing.HOLDS,
            detail="source, schema and image give its digest, and the evidence names it",
        ),
        Line(
            part="signatures",
            standing=Standing.MISSING,
            detail="this file is of format 1, which has none: anybody may have written its "
            "evidence. Export the tool again",
        ),
    )
    return BundleReport(ref=bundle.ref, digest=bundle.digest, format=bundle.format, lines=lines)


@dataclass
class _Checker:
    """Collects the lines about one bundle of which the content is verified."""

    bundle: SignedBundle
    document: JsonObject
    evidence: Evidence
    details: tuple[EventDetail, ...]
    trusted: Mapping[str, TrustedKey]
    at: datetime
    lines: list[Line] = field(default_factory=list)

    def run(self) -> tuple[Line, ...]:
        """All lines from the digest to the policy."""
        self.add(
            "version",
            Standing.HOLDS,
            f"source, schema, examples and image give {self.bundle.digest[:19]}…",
        )
        self.check_log()
        opened = [
            envelope
            for number, sealed in enumerate(self.bundle.envelopes, 1)
            if (envelope := self.open(sealed, f"statement {number}")) is not None
        ]
        self.show_statements(opened)
        profile = self.check_policy()
        self.check_chain(profile)
        return tuple(self.lines)

    def run_seal(self) -> tuple[Line, ...]:
        """The line about the file as a whole."""
        before = len(self.lines)
        self.check_seal()
        return tuple(self.lines[before:])

    def add(self, part: str, standing: Standing, detail: str) -> None:
        """A line that no key is behind."""
        self.lines.append(Line(part=part, standing=standing, detail=detail))

    # -- the log -----------------------------------------------------------------------------

    def check_log(self) -> None:
        """Each event is what its hash says, about this version, in an order that there is."""
        bundle, events = self.bundle, self.bundle.events
        problem = next(filter(None, map(_entry_problem, events)), None)
        if problem is None and any(
            (event.digest, event.name) != (bundle.digest, bundle.source.name) for event in events
        ):
            problem = "an event is about another version"
        before = None
        sequence = 0
        for event in events:
            if problem is None and (event.from_state is not before or event.sequence <= sequence):
                problem = f"an event is missing before event {event.sequence}"
            before, sequence = event.to_state, event.sequence
        birth = self.details[0].birth
        if problem is None and (birth is None or birth.level is not self.evidence.report.level):
            problem = "its first event does not say how it came, or says another level"
        named = [detail.evidence for detail in self.details if detail.evidence is not None]
        if problem is None and named[-1:] != [bundle.evidence_digest]:
            problem = "the last evidence that the log names is not the one in this file"
        if problem is not None or birth is None:
            self.add("log", Standing.BROKEN, problem or "")
            return
        came = birth.provenance
        self.add(
            "log",
            Standing.HOLDS,
            f"{len(events)} event(s): by {came.author} ({came.origin.value}) on "
            f"{came.created_at:%Y-%m-%d}, state {events[-1].to_state.value}",
        )
        if events[-1].to_state not in _LIVING:
            self.add("state", Standing.REFUSED, f"{before}: {events[-1].reason}")

    # -- statements --------------------------------------------------------------------------

    def key(self, keyid: str) -> TrustedKey | None:
        """The key that is meant; as the reader trusts it, before what the bundle says of it."""
        found = self.trusted.get(keyid)
        if found is not None:
            return found
        mine = (key for key in self.bundle.keys if key.keyid == keyid and _is_plain(key))
        return next(mine, None)

    def open(self, sealed: SealedStatement, part: str) -> Envelope | None:
        """The statement in an envelope; None, and a line that says why, where it does not hold."""
        keyid = sealed.signatures[0].keyid
        key = self.key(keyid)
        problem = None
        standing = Standing.BROKEN
        if not sealed.is_canonical:
            problem = "its Base64 is not in the form that was written"
        elif key is None:
            standing = Standing.MISSING
            problem = f"it is signed with the key {keyid[:16]}…, which the file does not have"
        else:
            try:
                return open_envelope(sealed.content, self.key)
            except AttestationError as error:
                problem = error.what
            except Exception as error:  # noqa: BLE001 - a key of others may break any library
                problem = f"its key or signature cannot be read ({type(error).__name__})"
        self.lines.append(
            Line(
                part=part,
                standing=standing,
                detail=problem,
                role=None if key is None else key.role,
                keyid=keyid,
                trusted=keyid in self.trusted,
            )
        )
        return None

    def show_statements(self, opened: Sequence[Envelope]) -> None:
        """A line a statement, and one for each that is missing."""
        said = {value_digest(each.approval) for each in self.details if each.approval is not None}
        decisions = {value_digest(d.decision) for d in self.details if d.decision is not None}
        last = [value_digest(d.decision) for d in self.details if d.decision is not None][-1:]
        vouched: set[Check] = set()
        for envelope in opened:
            standing, detail = Standing.HOLDS, ""
            if envelope.statement.digest != self.bundle.digest:
                standing, detail = Standing.BROKEN, "it is about another version"
            else:
                match envelope.predicate:
                    case EvidencePredicate() as predicate:
                        standing, detail = self.about_evidence(predicate)
                        if standing is Standing.HOLDS:
                            vouched.update(predicate.parts)
                    case ReviewPredicate() as predicate:
                        standing, detail = self.about_review(predicate, said)
                    case Admission() as predicate:
                        standing, detail = _about_admission(predicate, decisions, last)
                    case _:
                        standing, detail = Standing.BROKEN, "it is not about a version"
            self.show(envelope.kind.value, envelope, standing, detail)
        for check in sorted(checks_of(self.evidence) - vouched):
            self.add(check.value, Standing.MISSING, "nobody signed this part of the evidence")

    def about_evidence(self, predicate: EvidencePredicate) -> tuple[Standing, str]:
        """What the linter or the sandbox said."""
        parts = (f"{check.value} {part.result.value}" for check, part in predicate.parts.items())
        words = f"{', '.join(parts).lower()}, by {predicate.producer}"
        if predicate.evidence.sha256 != self.bundle.evidence_digest:
            return Standing.ASIDE, f"{words}; on earlier evidence that is not in this file"
        return Standing.HOLDS, words

    def about_review(self, predicate: ReviewPredicate, said: Iterable[str]) -> tuple[Standing, str]:
        """What a person said."""
        words = f"{predicate.principal}: {predicate.vote}"
        if predicate.scope:
            words += f" for {predicate.scope}"
        if predicate.vote != "approve" or predicate.said.sha256 not in said:
            return Standing.ASIDE, words
        if predicate.expires_at is not None:
            words += f", until {predicate.expires_at:%Y-%m-%d %H:%M}"
        return Standing.HOLDS, words

    def show(self, part: str, envelope: Envelope, standing: Standing, detail: str) -> None:
        """The line of a statement whose signature holds."""
        key = envelope.key
        if standing is Standing.HOLDS and key.keyid not in self.trusted:
            standing = Standing.UNTRUSTED
        self.lines.append(
            Line(
                part=part,
                standing=standing,
                detail=detail,
                role=key.role,
                keyid=key.keyid,
                person=key.person,
                trusted=key.keyid in self.trusted,
                at=_said_at(envelope),
            )
        )

    # -- policy, chain, seal -----------------------------------------------------------------

    def check_policy(self) -> PolicyProfile | None:
        """The policy that decided last, if its text has the digest that the decision names."""
        decisions = [each.decision for each in self.details if each.decision is not None]
        if not decisions:
            self.add("decision", Standing.MISSING, "the log has no decision about it")
            return None
        decision, text = decisions[-1], self.bundle.policy
        if text is None:
            self.add(
                "policy",
                Standing.MISSING,
                f"nobody kept the text of {decision.policy_digest[:19]}…",
            )
            return None
        if sha256_digest(text.encode(errors="surrogatepass")) != decision.policy_digest:
            self.add(
                "policy",
                Standing.BROKEN,
                f"its text is not that of {decision.policy_digest[:19]}…, which decided",
            )
            return None
        try:
            profile = PolicyProfile.model_validate_json(text)
        except ValidationError:
            self.add(
                "policy",
                Standing.MISSING,
                "this program does not understand its text; use the one that exported the file",
            )
            return None
        self.add(
            "policy", Standing.HOLDS, f"{profile.name}, {decision.policy_digest[:19]}…, is here"
        )
        return profile

    def check_chain(self, profile: PolicyProfile | None) -> None:
        """The links between all of it, as a store checks them at each load; then thresholds."""
        kept = Kept(
            ref=self.bundle.ref,
            digest=self.bundle.digest,
            events=self.bundle.events,
            details=self.details,
            evidence=self.evidence,
            evidence_digest=self.bundle.evidence_digest,
            envelopes={sha256_digest(each.content): each.content for each in self.bundle.envelopes},
        )
        try:
            chain = read_chain(kept, self.key)
        except StoreDamagedError as error:
            self.add("chain", Standing.BROKEN, error.what.removeprefix(f"{kept.ref}: "))
            return
        except Exception as error:  # noqa: BLE001 - see `open`
            self.add("chain", Standing.BROKEN, f"it cannot be read ({type(error).__name__})")
            return
        self.add("chain", Standing.HOLDS, "digest, evidence, decision and policy belong together")
        if profile is not None:
            self.check_thresholds(chain, profile)
            self.decide_again(profile)

    def check_thresholds(self, chain: Chain, profile: PolicyProfile) -> None:
        """As many keys and people as the policy wants, and none of it too old."""
        try:
            check_in_force(chain, profile.signatures, self.at)
        except NotInForceError as error:
            self.add("thresholds", Standing.MISSING, error.reason)
            return
        standing, words = Standing.HOLDS, f"as many keys vouch for it as {profile.name} wants"
        if any(each.key.keyid not in self.trusted for each in chain.envelopes):
            standing, words = Standing.UNTRUSTED, f"{words}, if they are whose they say"
        self.add("thresholds", standing, words)

    def decide_again(self, profile: PolicyProfile) -> None:
        """The policy in the file, asked again about what is in the file, for then and for now."""
        decided = [
            (event.at, detail.decision)
            for event, detail in zip(self.bundle.events, self.details, strict=True)
            if detail.decision is not None
        ]
        at, said = decided[-1]
        then, now = (profile.policy.decide(self.request(when)) for when in (at, self.at))
        if said.allowed and not then.allowed:
            standing = Standing.BROKEN
            words = f"the policy in the file does not admit this: {'; '.join(then.reasons)}"
        elif said.allowed and not now.allowed:
            standing = Standing.MISSING
            words = f"what it was admitted on has ended since: {'; '.join(now.reasons)}"
        else:
            standing, words = Standing.HOLDS, "asked again, the policy says the same of it"
        self.add("again", standing, words)

    def request(self, at: datetime) -> AdmissionRequest:
        """What the policy is asked, with the approvals and waivers that count at that time."""
        birth = self.details[0].birth
        approvals = (detail.approval for detail in self.details if detail.approval is not None)
        waivers = [detail.waiver for detail in self.details if detail.waiver is not None]
        return AdmissionRequest(
            digest=self.bundle.digest,
            source=self.bundle.source,
            evidence=self.evidence,
            author=birth.provenance.author if birth else "",
            approvals=tuple(each for each in approvals if each.counts(at)),
            waivers=in_force(waivers, digest=self.bundle.digest, at=at),
        )

    def check_seal(self) -> None:
        """The exporter's word on every byte of the file."""
        sealed = self.bundle.seal
        if sealed is None:
            self.add("seal", Standing.MISSING, "nobody signed the file as a whole")
            return
        envelope = self.open(sealed, "seal")
        if envelope is None:
            return
        standing, detail = Standing.HOLDS, "every byte of the file is as it was exported"
        if envelope.kind is not Kind.BUNDLE:
            standing, detail = Standing.BROKEN, "what stands in its place is no seal"
        elif envelope.statement.digest != document_digest(self.document):
            standing, detail = Standing.BROKEN, "the file is not the one that was sealed"
        self.show("seal", envelope, standing, detail)


_LIVING: Final = frozenset({Lifecycle.APPROVED, Lifecycle.DEPRECATED, Lifecycle.ARCHIVED})
"""States of a version that was let in and not taken back."""


def _entry_problem(event: Event) -> str | None:
    problem = entry_problem(event)
    return None if problem is None else f"event {event.sequence}: {problem}"


def _is_plain(key: TrustedKey) -> bool:
    """Whether the key can be used without starting a program or asking a server."""
    scheme, value = key.public.get("scheme"), key.public.get("keyval")
    public = value.get("public") if isinstance(value, dict) else None
    return (
        key.public.get("keytype") in _PLAIN_KEYS
        and isinstance(scheme, str)
        and not scheme.startswith("pgp")
        and isinstance(public, str)
        and len(public) <= _MAX_PUBLIC_CHARACTERS
    )


def _about_admission(
    predicate: Admission, decisions: Iterable[str], last: Sequence[str]
) -> tuple[Standing, str]:
    """What the policy said."""
    words = (
        f"{'admitted' if predicate.result == 'PASSED' else 'not admitted'} under "
        f"{predicate.policy.sha256[:19]}…, on {len(predicate.inputs)} statement(s)"
    )
    if predicate.decision.sha256 not in decisions:
        return Standing.BROKEN, f"{words}; the log has no such decision"
    if predicate.decision.sha256 not in last:
        return Standing.ASIDE, f"{words}; decided again later"
    return (Standing.HOLDS if predicate.result == "PASSED" else Standing.REFUSED), words


def _said_at(envelope: Envelope) -> datetime | None:
    match envelope.predicate:
        case EvidencePredicate() as predicate:
            return predicate.signed_at
        case ReviewPredicate() as predicate:
            return predicate.reviewed_at
        case Admission() as predicate:
            return predicate.verified_at
        case BundlePredicate() as seal:
            return seal.sealed_at
        case _:
            return None
