"""The rule on upgrades: what it means that a new version behaves differently from the old one."""

from __future__ import annotations

from dataclasses import dataclass

from policies.decision import AdmissionRequest, Ruling, Verdict


@dataclass(frozen=True, slots=True)
class BehavesAsBefore:
    """A new version does on known inputs what the approved one does, or somebody is asked."""

    on_difference: Verdict

    def judge(self, request: AdmissionRequest) -> Ruling:
        """Treat differences as the profile says; where nothing was compared, ask a person."""
        replay = request.evidence.replay
        if replay is None:
            return Ruling(verdict=Verdict.ALLOW, reason="no version before it to compare with")
        if self.on_difference is Verdict.ALLOW or (replay.runs and not replay.differences):
            return Ruling(verdict=Verdict.ALLOW, reason=replay.summary)
        if replay.runs:
            return self._unless_approved(request, self.on_difference, replay.summary)
        return self._unless_approved(request, Verdict.REVIEW, replay.summary)

    @staticmethod
    def _unless_approved(request: AdmissionRequest, verdict: Verdict, reason: str) -> Ruling:
        """A person who was asked and said yes has seen the difference."""
        if verdict is Verdict.REVIEW and request.approvals:
            return Ruling(verdict=Verdict.ALLOW, reason=f"approved though it {reason}")
        return Ruling(verdict=verdict, reason=f"this version {reason}")
