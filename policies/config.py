"""The text of a policy file becomes one policy. What is not exactly understood is refused."""

from __future__ import annotations

import tomllib
from difflib import get_close_matches
from typing import Literal

from pydantic import Field, ValidationError

from policies.decision import AllOf, Policy, Verdict
from policies.errors import PolicyConfigError
from policies.limits import ResourceLimits, SourceLimits
from policies.permissions import LintLevel
from policies.rules import (
    EvidenceIsAboutThis,
    ExamplesProven,
    LevelAllowed,
    NoErrorFindings,
    PropertyRunsDone,
    ReviewedByPeople,
    TrialsWereReal,
)
from policies.value import Value, canonical_json, sha256_digest

SHIPPED_PROFILES = ("local", "production", "team")
"""Names of the files in `policies/profiles`, without `.toml`."""


class AdmissionSettings(Value):
    """Which levels are admitted, and when people are asked."""

    levels: tuple[LintLevel, ...]
    automatic_levels: tuple[LintLevel, ...]
    """Levels that need no person by themselves; a subset of `levels`."""

    review: Literal["never", "permissions", "always"]
    approvers: int = Field(default=1, ge=1, le=10)
    author_may_approve: bool


class EvidenceSettings(Value):
    """How much proof is wanted."""

    examples: int = Field(ge=1, le=50)
    """At least this many; zero cannot be written, because no examples prove nothing."""

    runs_per_example: int = Field(ge=1, le=5)
    """Each in a container of its own; two or more show that the tool is deterministic."""

    property_runs: int = Field(ge=0, le=500)
    property_failures: Literal["allow", "review", "refuse"]
    """What a crash, a time-out or a limit on generated arguments means. A result of another
    type than declared is an error under every profile."""


class PolicyProfile(Value):
    """A policy file, exactly as understood."""

    name: str = Field(pattern=r"^[a-z][a-z0-9_-]{0,40}$")
    description: str = ""
    admission: AdmissionSettings
    evidence: EvidenceSettings
    run: ResourceLimits = ResourceLimits()
    """Ceilings of every run, in trials and in calls."""

    source: SourceLimits = SourceLimits()

    @property
    def digest(self) -> str:
        """Identity of the rules: equal iff every setting is."""
        return sha256_digest(canonical_json(self.model_dump(mode="json")))

    @property
    def policy(self) -> Policy:
        """The rules that this profile stands for."""
        admission, evidence = self.admission, self.evidence
        return AllOf(
            (
                EvidenceIsAboutThis(),
                NoErrorFindings(),
                TrialsWereReal(),
                ExamplesProven(minimum=evidence.examples, runs=evidence.runs_per_example),
                PropertyRunsDone(
                    minimum=evidence.property_runs,
                    on_failure=Verdict(evidence.property_failures),
                ),
                LevelAllowed(
                    allowed=frozenset(admission.levels),
                    automatic=frozenset(admission.automatic_levels),
                ),
                ReviewedByPeople(
                    always=admission.review == "always",
                    for_permissions=admission.review == "permissions",
                    approvers=admission.approvers,
                    author_may_approve=admission.author_may_approve,
                ),
            ),
            digest=self.digest,
        )


def load_profile(text: str, *, origin: str) -> PolicyProfile:
    """Read the text of a policy file; `origin` names it in messages.

    Raises:
        PolicyConfigError: Not TOML, an unknown or missing key, or a value out of its range.
    """
    try:
        fields = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise PolicyConfigError(origin, f"not TOML: {error}") from None
    try:
        profile = PolicyProfile.model_validate(fields)
    except ValidationError as error:
        raise PolicyConfigError(origin, _explain(error)) from None
    stray = set(profile.admission.automatic_levels) - set(profile.admission.levels)
    if stray:
        raise PolicyConfigError(
            origin,
            f"admission.automatic_levels has {', '.join(sorted(stray))}, "
            "which admission.levels has not",
        )
    return profile


def _explain(error: ValidationError) -> str:
    """The first problem in words, with the nearest key where one is unknown."""
    problems = error.errors(include_url=False)
    unknown = [problem for problem in problems if problem["type"] == "extra_forbidden"]
    problem = (unknown or problems)[0]
    path = ".".join(str(part) for part in problem["loc"])
    if problem["type"] != "extra_forbidden":
        return f"{path}: {problem['msg']} (given: {problem['input']!r:.80})"
    section, _, key = path.rpartition(".")
    known = _keys_of(section)
    near = get_close_matches(key, known, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"known here: {', '.join(known)}"
    return f"unknown key {path!r}; {hint}"


def _keys_of(section: str) -> list[str]:
    sections: dict[str, type[Value]] = {
        "": PolicyProfile,
        "admission": AdmissionSettings,
        "evidence": EvidenceSettings,
        "run": ResourceLimits,
        "source": SourceLimits,
    }
    return sorted(sections.get(section, PolicyProfile).model_fields)
