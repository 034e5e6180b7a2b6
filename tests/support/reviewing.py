"""A review desk on a real store with tools that wait, for tests and pictures of the review page."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Final

from factories import IMAGE, make_schema, make_source

from policies.config import PolicyProfile
from policies.decision import AdmissionRequest, Decision
from policies.evidence import Evidence, LintReport, Outcome, Trial, TrialKind
from policies.findings import Finding, Severity, Stage
from policies.permissions import LintLevel, Permissions
from policies.replay import Answer, Difference, InputOrigin, Replay, ReplayRun
from policies.schema import ToolSchema
from policies.sequential import CanarySettings
from policies.source import Example, ToolSource
from policies.value import JsonObject
from runtime.composition import Composition
from runtime.equipment import Equipment
from runtime.profiles import read_profile
from runtime.review.desk import ReviewDesk
from toolstore.attest.keys import KeyRing
from toolstore.models import Origin, Provenance, Submission, ToolVersion, version_digest
from toolstore.store import ToolStore

STARTED: Final = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
POLICY: Final = read_profile("team")

PRICE_BEFORE: Final = '''\
"""Prices as people write them."""

import re

_PRICE = re.compile(r"(?P<amount>\\d+(?:\\.\\d+)?)")


def parse_price(text: str) -> float:
    """Read the price in a text.

    Args:
        text: Such as `EUR 12.50`.
    """
    found = _PRICE.search(text)
    if found is None:
        raise ValueError(f"no price in {text!r}")
    return float(found["amount"])
'''
PRICE_NOW: Final = '''\
"""Prices as people write them."""

import re

_PRICE = re.compile(r"(?P<whole>\\d{1,3}(?:[ ,.]?\\d{3})*)(?:[.,](?P<cents>\\d{2}))?")


def parse_price(text: str) -> float:
    """Read the price in a text, with thousands grouped or not.

    Args:
        text: Such as `EUR 1,250.00` or `1.250,00 EUR`.
    """
    found = _PRICE.search(text)
    if found is None:
        raise ValueError(f"no price in {text!r}")
    whole = int(re.sub("[ ,.]", "", found["whole"]))
    cents = int(found["cents"] or 0)
    return whole + cents / 100
'''
TEXT: Final[JsonObject] = {"text": {"type": "string", "description": "The text."}}

HOSTILE: Final = (
    "Sum numbers.\u202e gnidaeh <script>document.title='owned'</script>\x1b[2J "
    '"><img src=x onerror=alert(1)> p\u0430ypal'
)
HOSTILE_CODE: Final = (
    "def add_up(text: str) -> str:\n"
    '    """Add up.</textarea><script>document.title=\'owned\'</script>"""\n'
    "    # \u202e reversed \u2066 and \u200b hidden; p\u0430ypal\n"
    "    x = 1" + " " * 300 + "; y = 2\n"
    "    return '<!--<script>' + text  # {{ 7 * 7 }} {% raw %}\n"
)


@asynccontextmanager
async def review_desk(
    folder: Path, profile: PolicyProfile = POLICY, *, keys: Path | None = None
) -> AsyncIterator[tuple[ReviewDesk, ToolStore]]:
    """A desk without a sandbox, under the team's policy or another; signed where it has keys."""
    minutes = count(STARTED.timestamp(), 60)

    def clock() -> datetime:
        return datetime.fromtimestamp(next(minutes), UTC)

    ring = None if keys is None else KeyRing(keys, clock=clock)
    async with await ToolStore.open(folder, keys=ring, clock=clock) as store:
        yield desk_of(store, profile), store


def desk_of(store: ToolStore, profile: PolicyProfile = POLICY) -> ReviewDesk:
    """A desk of an open store."""

    async def run(*_: object) -> object:
        raise AssertionError("nothing is called in a review")

    return ReviewDesk(
        store=store,
        equipment=Equipment(profile=profile, secrets=lambda _: None, tenant="ada"),
        composition=Composition(store.get, run),  # type: ignore[arg-type]  # never called
        sandbox=None,
        package_folder=Path("/nonexistent"),
        clock=lambda: STARTED + timedelta(hours=2),
    )


async def submit(
    store: ToolStore,
    source: ToolSource,
    *,
    schema: ToolSchema | None = None,
    minutes: int = 0,
    author: str = "ada",
    replay: Replay | None = None,
    findings: tuple[Finding, ...] = (),
    failed: int = 0,
) -> ToolVersion:
    """Propose `source` with complete evidence; the team's policy says what becomes of it."""
    schema = schema or make_schema(source.name, properties=TEXT)
    level = source.permissions.lint_level
    at = STARTED + timedelta(minutes=minutes)
    digest = version_digest(source, schema, IMAGE)
    evidence = Evidence(
        subject=digest,
        source_digest=source.digest,
        image_digest=IMAGE,
        report=LintReport(level=level, findings=findings),
        trials=_trials(source, failed),
        replay=replay,
        produced_by="toolkiln tests",
        produced_at=at,
    )
    request = AdmissionRequest(digest=digest, source=source, evidence=evidence, author=author)
    decision: Decision = POLICY.policy.decide(request)
    await store.decisions.keep_policy(POLICY.text, digest=decision.policy_digest, actor=author)
    submission = Submission(
        source=source,
        source_schema=schema,
        image_digest=IMAGE,
        level=level,
        evidence=evidence,
        decision=decision,
        provenance=Provenance(
            author=author,
            origin=Origin.AGENT,
            session="20260302-090000-7f3a",
            model="gpt-5-mini",
            created_at=at,
        ),
    )
    return await store.admit(submission, actor=author)


def _trials(source: ToolSource, failed: int) -> tuple[Trial, ...]:
    trials = [
        Trial(
            kind=kind,
            arguments=example.arguments,
            expected=example.expectation,
            outcome=Outcome.RETURNED,
            value=example.returns,
            passed=True,
            detail="It gave what was expected.",
            wall_seconds=0.004,
            memory_bytes=11_000_000,
        )
        for example in source.examples
        for kind in (TrialKind.EXAMPLE, TrialKind.REPEAT)
    ]
    trials += [
        Trial(
            kind=TrialKind.PROPERTY,
            arguments={"text": f"EUR {number}.00"},
            outcome=Outcome.RAISED if number < failed else Outcome.RETURNED,
            value=None if number < failed else float(number),
            error="OverflowError: too large" if number < failed else None,
            passed=number >= failed,
            detail="OverflowError is not one that it declares." if number < failed else "It held.",
            wall_seconds=0.001,
        )
        for number in range(50)
    ]
    return tuple(trials)


def price_source(code: str, *examples: tuple[str, float]) -> ToolSource:
    """A version of `parse_price`."""
    return make_source("parse_price", code=code).model_copy(
        update={
            "description": "Read the price in a text, thousands grouped or not.",
            "examples": tuple(
                Example(arguments={"text": text}, returns=value) for text, value in examples
            ),
        }
    )


async def changed_tool(store: ToolStore) -> ToolVersion:
    """`parse_price@1` is approved, and `@2` waits because it behaves differently."""
    first = await submit(store, price_source(PRICE_BEFORE, ("EUR 12.50", 12.5)))
    run = ReplayRun(
        origin=InputOrigin.RECORDED,
        arguments_digest=first.digest,
        difference=Difference.DIFFERS,
        detail="for text='USD 1,250.00' it returned 1.0 and returns 1250.0 now",
        arguments={"text": "USD 1,250.00"},
        before=Answer(outcome=Outcome.RETURNED, value=1.0),
        after=Answer(outcome=Outcome.RETURNED, value=1250.0),
    )
    same = [
        run.model_copy(
            update={
                "difference": Difference.SAME,
                "detail": "",
                "arguments": None,
                "before": None,
                "after": None,
            }
        )
    ] * 23
    return await submit(
        store,
        price_source(PRICE_NOW, ("EUR 12.50", 12.5), ("1.250,00 EUR", 1250.0)),
        minutes=12,
        replay=Replay(predecessor=first.digest, predecessor_ref=str(first.ref), runs=(run, *same)),
    )


async def files_tool(store: ToolStore) -> ToolVersion:
    """A first version that reads files and has a warning."""
    code = (
        "import csv\nimport io\n\n\ndef count_rows(text: str) -> int:\n"
        '    """Count the rows of a table.\n\n    Args:\n        text: Name of the file.\n    """\n'
        "    with open(text, encoding='utf-8') as file:\n"
        "        return sum(1 for _ in csv.reader(io.StringIO(file.read())))\n"
    )
    source = make_source("count_rows", code=code).model_copy(
        update={
            "description": "Count the rows of a table in a file.",
            "examples": (Example(arguments={"text": "a.csv"}, returns=3),),
            "permissions": Permissions(files=("input",), imports=("csv", "io")),
        }
    )
    warning = Finding(
        stage=Stage.LINT,
        rule="RP310",
        severity=Severity.WARNING,
        line=11,
        message="the whole file is read into memory at once",
        suggestion="read it line by line: `csv.reader(file)`",
    )
    return await submit(store, source, minutes=25, author="grace", findings=(warning,))


async def hostile_tool(store: ToolStore) -> ToolVersion:
    """A tool whose every word tries to be something else."""
    source = make_source("add_up", code=HOSTILE_CODE).model_copy(
        update={
            "description": HOSTILE,
            "examples": (
                Example(arguments={"text": "</td><script>x</script>"}, returns="<b>\u202e"),
            ),
            "permissions": Permissions(level=LintLevel.L2, imports=("json",)),
        }
    )
    return await submit(store, source, minutes=40, author="mallory<b>")


async def canary_tool(store: ToolStore) -> ToolVersion:
    """`parse_price@1` is stable, `@2` a canary with calls, and `@3` waits."""
    first = await submit(store, price_source(PRICE_BEFORE, ("EUR 12.50", 12.5)))
    second = await submit(
        store, price_source("# faster\n" + PRICE_BEFORE, ("EUR 12.50", 12.5)), minutes=3
    )
    await store.rollback("parse_price", actor="grace", reason="too early for everybody")
    await store.lifecycle.canary(second.ref, weight=0.1, actor="grace", reason="try it first")
    for number in range(5):
        await store.lifecycle.count_call(
            first.name, second.digest, CanarySettings(), actor="ada", succeeded=number > 0
        )
    return await changed_tool(store)


async def travelled_tool(store: ToolStore, elsewhere: Path) -> ToolVersion:
    """`count_rows@1` was proven here, and came with the word of the store at `elsewhere`."""
    keys = KeyRing(elsewhere / "keys")
    async with await ToolStore.open(elsewhere / "store", keys=keys) as other:
        theirs = await files_tool(other)
        bundle = await other.exchange.export(theirs.ref)
    mine = await files_tool(store)
    assert mine.digest == theirs.digest
    return await store.exchange.keep(mine.digest, bundle, actor="grace")
