"""The rules that policies are made of: each asks one question and fails closed."""

from __future__ import annotations

from dataclasses import dataclass

from policies.decision import AdmissionRequest, Ruling, Verdict
from policies.evidence import Outcome, Trial, TrialKind
from policies.findings import Severity
from policies.people import distinct
from policies.permissions import LintLevel
from policies.source import example_identity
from policies.value import canonical_json
from policies.waivers import NOTHING_WAIVED, Waiving


def _allow(reason: str) -> Ruling:
    return Ruling(verdict=Verdict.ALLOW, reason=reason)


def _review(reason: str) -> Ruling:
    return Ruling(verdict=Verdict.REVIEW, reason=reason)


def _refuse(reason: str) -> Ruling:
    return Ruling(verdict=Verdict.REFUSE, reason=reason)


_GENERATED = "TR2"
"""Beginning of the rules of findings about generated arguments."""


def _lifted(waiving: Waiving, request: AdmissionRequest) -> frozenset[str]:
    return waiving.lifted(request.waivers, digest=request.digest, author=request.author)


@dataclass(frozen=True, slots=True)
class EvidenceIsAboutThis:
    """The evidence names this version and this source, and nothing else."""

    def judge(self, request: AdmissionRequest) -> Ruling:
        """Refuse evidence that was gathered about other bytes."""
        evidence = request.evidence
        if (evidence.subject, evidence.source_digest) != (request.digest, request.source.digest):
            return _refuse(
                f"the evidence is about {evidence.subject[:19]}…, not {request.digest[:19]}…; "
                "define the tool again so that this very text is tried"
            )
        return _allow("the evidence is about exactly this version")


@dataclass(frozen=True, slots=True)
class NoErrorFindings:
    """No check found an error, but what a person took on themselves."""

    waiving: Waiving = NOTHING_WAIVED

    def judge(self, request: AdmissionRequest) -> Ruling:
        """Refuse when any stage found an error."""
        lifted = _lifted(self.waiving, request)
        errors = [
            f
            for f in request.evidence.all_findings
            if f.severity is Severity.ERROR and f.rule not in lifted
        ]
        if errors:
            rules = ", ".join(sorted({finding.rule for finding in errors}))
            return _refuse(f"{len(errors)} finding(s) must be mended first: {rules}")
        return _allow("no check found an error")


@dataclass(frozen=True, slots=True)
class ExamplesProven:
    """Enough examples, each of them passed, each as often as demanded, none left out."""

    minimum: int
    runs: int

    def judge(self, request: AdmissionRequest) -> Ruling:
        """Refuse too few examples, an example without its trials, or one that failed."""
        examples = request.source.examples
        if len(examples) < self.minimum:
            return _refuse(
                f"{len(examples)} example(s) given, at least {self.minimum} wanted: add examples "
                "with `arguments` and the `returns` or `raises` that you expect"
            )
        first = request.evidence.trials_of(TrialKind.EXAMPLE)
        repeats = request.evidence.trials_of(TrialKind.REPEAT)
        for number, example in enumerate(examples, 1):
            wanted = canonical_json(example.identity)
            mine = [trial for trial in (*first, *repeats) if _example_of(trial) == wanted]
            if len(mine) < self.runs:
                return _refuse(
                    f"example {number} was tried {len(mine)} time(s), {self.runs} wanted: "
                    "the evidence is incomplete; define the tool again"
                )
        failed = [trial for trial in (*first, *repeats) if not trial.passed]
        if failed:
            return _refuse(f"{len(failed)} trial(s) of the examples failed: {failed[0].detail}")
        return _allow(f"{len(examples)} example(s) passed, {self.runs} run(s) each")


def _example_of(trial: Trial) -> bytes:
    """The example that a trial was made from; as bytes, because in Python 1 equals True."""
    return canonical_json(example_identity(trial.arguments, trial.files, trial.expected))


@dataclass(frozen=True, slots=True)
class PropertyRunsDone:
    """Generated arguments were tried; what failed is let through, shown to a person, or refused."""

    minimum: int
    on_failure: Verdict
    waiving: Waiving = NOTHING_WAIVED

    def judge(self, request: AdmissionRequest) -> Ruling:
        """Refuse missing runs; treat failing ones as the profile says, unless they are waived."""
        trials = request.evidence.trials_of(TrialKind.PROPERTY)
        takes_arguments = bool(request.source.examples) and any(
            example.arguments for example in request.source.examples
        )
        if self.minimum and not trials and takes_arguments:
            return _refuse("no run with generated arguments was made: the evidence is incomplete")
        failed = [trial for trial in trials if not trial.passed]
        # A person who said yes has seen what failed; a waiver says yes to that alone, for a time.
        seen = self.on_failure is Verdict.REVIEW and bool(request.approvals)
        settled = self.on_failure is Verdict.ALLOW or seen or self._waived(request)
        if failed and not settled:
            return Ruling(
                verdict=self.on_failure,
                reason=f"{len(failed)} of {len(trials)} runs with generated arguments failed: "
                f"{failed[0].detail}",
            )
        return _allow(f"{len(trials) - len(failed)} of {len(trials)} generated runs passed")

    def _waived(self, request: AdmissionRequest) -> bool:
        """Whether a person took on themselves everything that generated arguments showed."""
        shown = {f.rule for f in request.evidence.findings if f.rule.startswith(_GENERATED)}
        return bool(shown) and shown <= _lifted(self.waiving, request)


@dataclass(frozen=True, slots=True)
class TrialsWereReal:
    """Every trial has an outcome that fits its verdict: nothing passed without an answer."""

    def judge(self, request: AdmissionRequest) -> Ruling:
        """Refuse a trial that is marked as passed though the guest never answered."""
        for trial in request.evidence.trials:
            answered = trial.outcome in {Outcome.RETURNED, Outcome.RAISED}
            if trial.passed and not answered:
                return _refuse(f"a trial is marked as passed, but the tool {trial.outcome.value}")
        return _allow("every passed trial has an answer from the sandbox")


@dataclass(frozen=True, slots=True)
class LevelAllowed:
    """The lint level was reached, and it is one that this policy admits."""

    allowed: frozenset[LintLevel]
    automatic: frozenset[LintLevel]

    def judge(self, request: AdmissionRequest) -> Ruling:
        """Refuse a level off the list; ask a person for one that is not automatic."""
        wanted = request.source.permissions.lint_level
        if request.evidence.report.level is not wanted:
            return _refuse(
                f"linted at {request.evidence.report.level}, but its permissions ask for {wanted}"
            )
        if wanted not in self.allowed:
            names = ", ".join(sorted(self.allowed)) or "none"
            return _refuse(f"level {wanted} is not admitted here; admitted: {names}")
        if wanted not in self.automatic and not request.approvals:
            return _review(f"level {wanted} needs a person's approval")
        return _allow(f"level {wanted} is admitted")


@dataclass(frozen=True, slots=True)
class ReviewedByPeople:
    """As many people as demanded said yes to this digest."""

    always: bool
    for_permissions: bool
    approvers: int
    author_may_approve: bool

    def judge(self, request: AdmissionRequest) -> Ruling:
        """Ask for people where they are demanded and have not said yes yet."""
        demanded = self.always or (
            self.for_permissions and request.source.permissions.any_beyond_l0
        )
        stray = [a for a in request.approvals if a.digest != request.digest]
        if stray:
            return _refuse(
                f"the approval of {stray[0].principal} is about {stray[0].digest[:19]}…, "
                f"not about {request.digest[:19]}…: what was shown is not what would run"
            )
        if not demanded and not request.approvals:
            return _allow("no person is needed")
        names = [approval.principal for approval in request.approvals]
        people = distinct(names)
        counted = people if self.author_may_approve else distinct(names, but=request.author)
        if len(counted) >= self.approvers:
            return _allow(f"approved by {', '.join(counted)}")
        if counted != people:
            return _refuse(f"{request.author} is the author and so cannot approve this version")
        return _review(f"waiting for review: {len(people)} of {self.approvers} approval(s)")
