"""Builders of valid values: each test says only what it is about."""

from __future__ import annotations

from datetime import UTC, datetime

from policies.decision import Decision
from policies.evidence import Evidence, LintReport, Outcome, Trial, TrialKind
from policies.permissions import LintLevel
from policies.schema import ToolSchema
from policies.source import Example, ToolSource
from policies.value import JsonObject, sha256_digest
from toolstore.models import Origin, Provenance, Submission, version_digest

NOON = datetime(2026, 1, 2, 12, 0, tzinfo=UTC)
IMAGE = sha256_digest(b"the guest image of the tests")
POLICY = sha256_digest(b"the policy of the tests")
NUMBER: JsonObject = {"type": "integer", "description": "The number."}


ALWAYS_ASKS = """
name = "tests"
[admission]
levels = ["L0"]
automatic_levels = []
review = "always"
author_may_approve = false
[evidence]
examples = 1
runs_per_example = 1
property_runs = 0
property_failures = "allow"
"""
"""A policy under which a person, not the author, is asked for every tool."""


def make_source(
    name: str = "double",
    *,
    code: str | None = None,
    description: str = "Double a number.",
    examples: tuple[Example, ...] = (Example(arguments={"number": 2}, returns=4),),
) -> ToolSource:
    """A small tool that doubles a number."""
    if code is None:
        code = (
            f'def {name}(number: int) -> int:\n    """Double a number."""\n    return number * 2\n'
        )
    return ToolSource(name=name, description=description, code=code, examples=examples)


def make_schema(
    function: str = "double",
    *,
    properties: JsonObject | None = None,
    returns: JsonObject | None = None,
) -> ToolSchema:
    """The schema of a function of required parameters."""
    properties = {"number": NUMBER} if properties is None else properties
    return ToolSchema(
        function=function,
        parameters={
            "type": "object",
            "properties": properties,
            "required": list(properties),
            "additionalProperties": False,
        },
        returns={"type": "integer"} if returns is None else returns,
    )


def make_trials(source: ToolSource) -> tuple[Trial, ...]:
    """A passed trial for each example."""
    return tuple(
        Trial(
            kind=TrialKind.EXAMPLE,
            arguments=example.arguments,
            expected=example.expectation,
            outcome=Outcome.RETURNED if example.raises is None else Outcome.RAISED,
            value=example.returns,
            error=None if example.raises is None else f"{example.raises}: no",
            passed=True,
            detail="It gave what was expected.",
            wall_seconds=0.01,
            memory_bytes=10_000_000,
        )
        for example in source.examples
    )


def make_evidence(
    source: ToolSource,
    schema: ToolSchema,
    *,
    image_digest: str = IMAGE,
    level: LintLevel = LintLevel.L0,
    produced_at: datetime = NOON,
) -> Evidence:
    """Complete evidence about the version that these make."""
    return Evidence(
        subject=version_digest(source, schema, image_digest),
        source_digest=source.digest,
        image_digest=image_digest,
        report=LintReport(level=level),
        trials=make_trials(source),
        produced_by="toolkiln tests",
        produced_at=produced_at,
    )


def allowed(*reasons: str) -> Decision:
    """Yes, without a person."""
    return _decision(reasons or ("the evidence is complete",), allowed=True)


def needs_review(*reasons: str) -> Decision:
    """A person must look."""
    return _decision(reasons or ("a person must look",), review=True)


def refused(*reasons: str) -> Decision:
    """No."""
    return _decision(reasons or ("an example failed",))


def make_submission(
    name: str = "double",
    code: str | None = None,
    *,
    description: str = "Double a number.",
    source: ToolSource | None = None,
    schema: ToolSchema | None = None,
    image_digest: str = IMAGE,
    level: LintLevel = LintLevel.L0,
    evidence: Evidence | None = None,
    decision: Decision | None = None,
    author: str = "ada",
    origin: Origin = Origin.AGENT,
    session: str | None = "session-1",
    model: str | None = "scripted",
    created_at: datetime = NOON,
) -> Submission:
    """A version on its way in that nothing is wrong with: allowed, with matching evidence."""
    source = source or make_source(name, code=code, description=description)
    schema = schema or make_schema(source.name)
    return Submission(
        source=source,
        source_schema=schema,
        image_digest=image_digest,
        level=level,
        evidence=evidence or make_evidence(source, schema, image_digest=image_digest, level=level),
        decision=decision or allowed(),
        provenance=Provenance(
            author=author, origin=origin, session=session, model=model, created_at=created_at
        ),
    )


def _decision(reasons: tuple[str, ...], *, allowed: bool = False, review: bool = False) -> Decision:
    return Decision(allowed=allowed, needs_review=review, reasons=reasons, policy_digest=POLICY)
