"""The text of a policy file becomes one policy. What is not exactly understood is refused."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from difflib import get_close_matches
from types import MappingProxyType
from typing import Annotated, Literal

from pydantic import Field, ValidationError, field_validator

from policies.decision import AllOf, Policy, Verdict
from policies.errors import PolicyConfigError
from policies.lifecycle import LifecycleSettings
from policies.limits import MIB, ResourceLimits, SourceLimits
from policies.network import CONNECTION_HEADERS, parse_grant, parse_network
from policies.packages import read_allowed
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
from policies.sequential import CanarySettings
from policies.signatures import SignatureSettings
from policies.upgrades import BehavesAsBefore
from policies.value import Value, canonical_json, sha256_digest
from policies.waivers import Waiving

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


class SandboxSettings(Value):
    """Where calls run. Trials of drafts always run in a fresh container each."""

    tier: Literal["container", "process"] = "container"
    """What is fresh for each call of an approved version."""

    runtime: str = Field(default="", pattern=r"^[A-Za-z0-9._-]{0,64}$")
    """OCI runtime that the engine must list (`runc`, `runsc`, `kata`); empty is its default."""

    require_limits: bool = True
    """Refuse a runtime on which the control group's limits on memory, processes or processor do
    not hold; otherwise resource limits of the process stand in where they can."""


class PackageSettings(Value):
    """Which packages a tool may declare."""

    allow: tuple[str, ...] = Field(default=(), max_length=200)
    """Requirements such as `numpy` or `pandas>=2,<3`; a tool may narrow them, never widen."""

    index: str = ""
    """Address of the package index; empty is the installer's own setting."""

    layer_bytes: int = Field(default=1024 * MIB, ge=MIB, le=16384 * MIB)
    """Ceiling of one dependency set, unpacked."""

    @field_validator("allow")
    @classmethod
    def _is_understood(cls, allow: tuple[str, ...]) -> tuple[str, ...]:
        read_allowed(allow)
        return allow


class NetworkSettings(Value):
    """Which requests a tool may declare."""

    allow: tuple[str, ...] = Field(default=(), max_length=200)
    """In the spelling of `Permissions.hosts`; a tool may narrow them, never widen."""

    private_addresses: tuple[str, ...] = Field(default=(), max_length=50)
    """Networks (`10.0.0.0/8`, `127.0.0.1/32`) that may be reached although they are private."""

    in_trials: bool = True
    """Whether trials of drafts may send requests as well."""

    requests: int = Field(default=50, ge=1, le=10_000)
    """Of one call."""

    request_bytes: int = Field(default=1 * MIB, ge=0, le=1024 * MIB)
    response_bytes: int = Field(default=16 * MIB, ge=0, le=1024 * MIB)
    """All requests and all responses of one call."""

    ca_file: str = ""
    """Certificate authorities (PEM) that are trusted beside those of the system."""

    @field_validator("allow")
    @classmethod
    def _grants(cls, texts: tuple[str, ...]) -> tuple[str, ...]:
        return _readable_grants(texts)

    @field_validator("private_addresses")
    @classmethod
    def _networks(cls, texts: tuple[str, ...]) -> tuple[str, ...]:
        for text in texts:
            parse_network(text)
        return texts


SecretName = Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_]{0,63}$")]


def _readable_grants(texts: tuple[str, ...]) -> tuple[str, ...]:
    for text in texts:
        parse_grant(text)
    return texts


class SecretGrant(Value):
    """Where the broker puts one secret; its value is never in a policy file."""

    hosts: tuple[str, ...] = Field(min_length=1, max_length=50)
    """In the spelling of `Permissions.hosts`: the requests that get it."""

    header: str = Field(pattern=r"^[A-Za-z][A-Za-z0-9-]{0,63}$")
    format: str = Field(default="{secret}", pattern=r"^[!-z|~ ]*\{secret\}[!-z|~ ]*$")
    """The header's value, such as `Bearer {secret}`."""

    in_trials: bool = False
    """Whether requests of trials get it as well."""

    @field_validator("hosts")
    @classmethod
    def _grants(cls, texts: tuple[str, ...]) -> tuple[str, ...]:
        return _readable_grants(texts)

    @field_validator("header")
    @classmethod
    def _own_header(cls, name: str) -> str:
        if name.lower() in CONNECTION_HEADERS:
            raise ValueError(f"{name} is about the connection, and the broker writes it itself")
        return name


class FileSettings(Value):
    """Files that go into a call and come out of it."""

    input: bool = False
    output: bool = False
    input_bytes: int = Field(default=8 * MIB, ge=1, le=512 * MIB)
    """All files that one call is given."""

    artefacts: int = Field(default=16, ge=1, le=1_000)
    artefact_bytes: int = Field(default=8 * MIB, ge=1, le=512 * MIB)
    """All files that one call leaves."""


class ToolCallSettings(Value):
    """Tools that call tools."""

    allow: bool = True
    depth: int = Field(default=3, ge=1, le=10)
    """How many calls may stand inside one another."""

    calls: int = Field(default=20, ge=1, le=1_000)
    """Of one outermost call, at all depths together."""


class ReplaySettings(Value):
    """Which calls are recorded, and what a new version's other behaviour means."""

    calls: bool = True
    """Whether calls are recorded: digests of arguments and result, outcome, times, memory."""

    bodies: bool = False
    """Whether arguments and results themselves are kept as well, redacted."""

    redact: tuple[str, ...] = Field(default=(), max_length=50)
    """Regular expressions; what they match in a body is struck out, besides granted secrets."""

    body_bytes: int = Field(default=16_384, ge=64, le=MIB)
    """Ceiling of the arguments and result of one call together; larger ones are not kept."""

    keep_calls: int = Field(default=1_000, ge=1, le=1_000_000)
    """Of each version, the latest."""

    keep_days: int = Field(default=90, ge=1, le=3_650)
    runs: int = Field(default=100, ge=0, le=500)
    """At most so many recorded calls are run again, the most diverse ones."""

    at_least: int = Field(default=25, ge=0, le=500)
    """Where fewer calls are recorded, generated arguments make up for it."""

    on_difference: Literal["allow", "review", "refuse"] = "allow"
    """What it means that a new version answers differently from the approved one. Under the
    others, a person is asked as well where nothing could be compared."""

    @field_validator("redact")
    @classmethod
    def _patterns(cls, texts: tuple[str, ...]) -> tuple[str, ...]:
        for text in texts:
            try:
                re.compile(text)
            except re.error as error:
                raise ValueError(f"{text!r} is no regular expression: {error}") from None
        return texts


class DuplicateSettings(Value):
    """Tools that are there already."""

    check: Literal["none", "text", "behaviour"] = "behaviour"
    """How far a proposed tool is compared with those of the store: by its text alone (without
    names of locals, comments and the like), or also by what it does on the same arguments."""


CedarName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}\.cedar$")]
RoleName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_-]{0,63}$")]
Member = Annotated[str, Field(min_length=1, max_length=200)]


class AccessSettings(Value):
    """Who may do what. Without Cedar files: people everything, models make and call tools."""

    policies: tuple[CedarName, ...] = Field(default=(), max_length=20)
    """Cedar files that stand beside the policy file; all their rules count."""

    roles: dict[RoleName, tuple[Member, ...]] = Field(default={}, max_length=200)
    """Who is in which role: `ada` or `person:ada`, `agent:MODEL`, `role:OTHER`."""

    files: dict[str, str] = Field(default={}, max_length=20)
    """The text of each of `policies`, put in where the policy file is read, so that the policy's
    digest covers it; it cannot be written in a policy file."""

    @property
    def texts(self) -> tuple[tuple[str, str], ...]:
        """Name and text of the Cedar files, in their order."""
        return tuple((name, self.files[name]) for name in self.policies)


class PolicyProfile(Value):
    """A policy file, exactly as understood."""

    name: str = Field(pattern=r"^[a-z][a-z0-9_-]{0,40}$")
    description: str = ""
    admission: AdmissionSettings
    evidence: EvidenceSettings
    run: ResourceLimits = ResourceLimits()
    """Ceilings of every run, in trials and in calls."""

    source: SourceLimits = SourceLimits()
    sandbox: SandboxSettings = SandboxSettings()
    packages: PackageSettings = PackageSettings()
    network: NetworkSettings = NetworkSettings()
    secrets: dict[SecretName, SecretGrant] = Field(default={}, max_length=100)
    files: FileSettings = FileSettings()
    tools: ToolCallSettings = ToolCallSettings()
    lifecycle: LifecycleSettings = LifecycleSettings()
    replay: ReplaySettings = ReplaySettings()
    duplicates: DuplicateSettings = DuplicateSettings()
    signatures: SignatureSettings = SignatureSettings()
    """Whose keys must have vouched for a version before it is called."""
    access: AccessSettings = AccessSettings()

    @property
    def text(self) -> bytes:
        """Every setting as canonical JSON, Cedar files included: what `digest` is over."""
        return canonical_json(self.model_dump(mode="json"))

    @property
    def digest(self) -> str:
        """Identity of the rules: equal iff every setting is."""
        return sha256_digest(self.text)

    @property
    def policy(self) -> Policy:
        """What decides about admissions under this profile."""
        return self.rules

    @property
    def rules(self) -> AllOf:
        """The rules that this profile stands for."""
        admission, evidence = self.admission, self.evidence
        waiving = Waiving(
            rules=frozenset(self.lifecycle.waivable_rules), author_may=admission.author_may_approve
        )
        return AllOf(
            (
                EvidenceIsAboutThis(),
                NoErrorFindings(waiving=waiving),
                TrialsWereReal(),
                ExamplesProven(minimum=evidence.examples, runs=evidence.runs_per_example),
                PropertyRunsDone(
                    minimum=evidence.property_runs,
                    on_failure=Verdict(evidence.property_failures),
                    waiving=waiving,
                ),
                BehavesAsBefore(on_difference=Verdict(self.replay.on_difference)),
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


NO_FILES: Mapping[str, str] = MappingProxyType({})


def cedar_files(text: str) -> tuple[str, ...]:
    """The Cedar files that the text of a policy file names; none where it is not understood."""
    try:
        named = tomllib.loads(text)["access"]["policies"]
        return AccessSettings(policies=named).policies
    except (KeyError, TypeError, tomllib.TOMLDecodeError, ValidationError):
        return ()  # `load_profile` says what is wrong with it


def load_profile(text: str, *, origin: str, files: Mapping[str, str] = NO_FILES) -> PolicyProfile:
    """Read the text of a policy file; `origin` names it in messages.

    `files` has the text of each Cedar file that `cedar_files` gives. Their rules are checked by
    `policies.authorizers`, where they are used.

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
        raise PolicyConfigError(origin, _explain(error, text)) from None
    if profile.access.files:
        raise PolicyConfigError(origin, "access.files cannot be written; name them in policies")
    missing = [name for name in profile.access.policies if name not in files]
    if missing:
        raise PolicyConfigError(origin, f"the Cedar file {missing[0]!r} is not beside it")
    access = profile.access.model_copy(
        update={"files": {name: files[name] for name in profile.access.policies}}
    )
    profile = profile.model_copy(update={"access": access})
    stray = set(profile.admission.automatic_levels) - set(profile.admission.levels)
    if stray:
        raise PolicyConfigError(
            origin,
            f"admission.automatic_levels has {', '.join(sorted(stray))}, "
            "which admission.levels has not",
        )
    return profile


def _explain(error: ValidationError, text: str) -> str:
    """The first problem in words, with its line, and the nearest key where one is unknown."""
    problems = error.errors(include_url=False)
    unknown = [problem for problem in problems if problem["type"] == "extra_forbidden"]
    problem = (unknown or problems)[0]
    path = ".".join(str(part) for part in problem["loc"])
    line = _line_of(text, [str(part) for part in problem["loc"] if isinstance(part, str)])
    where = f"line {line}: " if line else ""
    if problem["type"] != "extra_forbidden":
        given = "" if problem["type"] == "missing" else f" (given: {problem['input']!r:.80})"
        return f"{where}{path}: {problem['msg']}{given}"
    section, _, key = path.rpartition(".")
    known = _keys_of(section)
    near = get_close_matches(key, known, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"known here: {', '.join(known)}"
    return f"{where}unknown key {path!r}; {hint}"


def _line_of(text: str, path: list[str]) -> int | None:
    """The line of a key, as far as a look at the lines can tell: the TOML reader says none."""
    section = ""
    best: int | None = None
    for number, line in enumerate(text.splitlines(), 1):
        stripped = line.strip()
        if stripped.startswith("["):
            section = stripped.split("]")[0].strip("[ ")
            if section == ".".join(path) or section == ".".join(path[:-1]):
                best = number
        key = stripped.partition("=")[0].strip().strip("\"'")
        if section == ".".join(path[:-1]) and path and key == path[-1]:
            return number
    return best


def _keys_of(section: str) -> list[str]:
    sections: dict[str, type[Value]] = {
        "": PolicyProfile,
        "admission": AdmissionSettings,
        "evidence": EvidenceSettings,
        "run": ResourceLimits,
        "source": SourceLimits,
        "sandbox": SandboxSettings,
        "packages": PackageSettings,
        "network": NetworkSettings,
        "files": FileSettings,
        "tools": ToolCallSettings,
        "lifecycle": LifecycleSettings,
        "lifecycle.canary": CanarySettings,
        "replay": ReplaySettings,
        "duplicates": DuplicateSettings,
        "signatures": SignatureSettings,
        "access": AccessSettings,
    }
    if section.startswith("secrets."):
        return sorted(SecretGrant.model_fields)
    return sorted(sections.get(section, PolicyProfile).model_fields)
