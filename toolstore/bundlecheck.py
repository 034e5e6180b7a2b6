"""What holds of a bundle, without a store, an engine or a network: one line a link of the chain.

digest -> evidence -> decision -> policy, each statement with its signature and key, thresholds,
and the seal over the file. Whatever the bytes are, the answer is a report and no exception.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from pydantic import ValidationError

from policies.value import JsonObject
from toolstore.bundle import AnyBundle, Bundle, SignedBundle, check_content, parse_bundle
from toolstore.bundlechain import chain_lines, log_lines
from toolstore.bundlereader import BundleReading, Trust
from toolstore.bundlereport import BundleReport, Line, Standing
from toolstore.bundlestatements import seal_line, statement_lines
from toolstore.errors import BundleError


def check_bundle(content: bytes, trust: Trust, *, at: datetime) -> BundleReport:
    """Say what holds of `content` for a reader with that trust.

    `at` is now: approvals that ended count no more.
    """
    try:
        bundle, document = parse_bundle(content)
        evidence = check_content(bundle)
    except BundleError as error:
        broken = Line(part="bundle", standing=Standing.BROKEN, detail=error.problem)
        return BundleReport(ref=None, digest=None, format=None, lines=(broken,))
    if isinstance(bundle, Bundle):
        return _report(bundle, *_unsigned_lines())
    try:
        reading = BundleReading(bundle, evidence, bundle.details, trust, at)
    except ValidationError:
        broken = Line(part="log", standing=Standing.BROKEN, detail="an event cannot be read")
        return BundleReport(ref=None, digest=bundle.digest, format=bundle.format, lines=(broken,))
    return _report(bundle, *_lines(reading), seal_line(reading, document))


def check_document(document: JsonObject, trust: Trust, *, at: datetime) -> BundleReport:
    """Say what holds of a version as its store has it: a bundle that nobody sealed yet."""
    bundle = SignedBundle.model_validate({**document, "seal": None})
    reading = BundleReading(bundle, check_content(bundle), bundle.details, trust, at)
    return _report(bundle, *_lines(reading))


def _lines(reading: BundleReading) -> Iterator[Line]:
    """All lines from the digest to the policy."""
    content = f"source, schema, examples and image give {reading.bundle.digest[:19]}…"
    yield Line(part="version", standing=Standing.HOLDS, detail=content)
    yield from log_lines(reading)
    yield from statement_lines(reading)
    yield from chain_lines(reading)


def _unsigned_lines() -> Iterator[Line]:
    content = "source, schema and image give its digest, and the evidence names it"
    yield Line(part="version", standing=Standing.HOLDS, detail=content)
    unsigned = (
        "this file is of format 1, which has none: anybody may have written its evidence. "
        "Export the tool again"
    )
    yield Line(part="signatures", standing=Standing.MISSING, detail=unsigned)


def _report(bundle: AnyBundle, *lines: Line) -> BundleReport:
    return BundleReport(ref=bundle.ref, digest=bundle.digest, format=bundle.format, lines=lines)
