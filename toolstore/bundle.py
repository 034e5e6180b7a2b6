"""The file that a tool travels in: one version with everything that was said about it.

A bundle proves that it is what was exported, not that the exporter was honest: whoever takes it
in runs the whole pipeline again, and keeps the evidence of others as what it is.
"""

from __future__ import annotations

import json
from typing import Final, Literal

from pydantic import Field, JsonValue, ValidationError

from policies.decision import Approval, Decision
from policies.evidence import Evidence
from policies.permissions import LintLevel
from policies.schema import ToolSchema
from policies.source import ToolSource
from policies.value import JsonObject, Value, canonical_json
from toolstore.errors import BundleError
from toolstore.models import Provenance, ToolVersion, version_digest

FORMAT: Final = "toolkiln.tool-bundle/1"
MAX_BYTES: Final = 16 * 1024 * 1024


class Bundle(Value):
    """A version outside of a store; its digest and what its evidence is about were checked."""

    format: Literal["toolkiln.tool-bundle/1"] = FORMAT
    digest: str
    sequence: int = Field(ge=1)
    """In the store that it came from."""

    source: ToolSource
    source_schema: ToolSchema
    image_digest: str
    level: LintLevel
    provenance: Provenance
    evidence: Evidence
    decision: Decision
    approvals: tuple[Approval, ...]

    def to_json(self) -> JsonObject:
        """The bundle as JSON, in the form that it is written in."""
        return {**self.model_dump(mode="json"), "source": self.source.to_json()}


def export_bundle(version: ToolVersion) -> bytes:
    """The one byte form of `version` outside of a store: canonical JSON and a line's end."""
    bundle = Bundle(
        digest=version.digest,
        sequence=version.sequence,
        source=version.source,
        source_schema=version.source_schema,
        image_digest=version.image_digest,
        level=version.level,
        provenance=version.provenance,
        evidence=version.evidence,
        decision=version.decision,
        approvals=version.approvals,
    )
    return canonical_json(bundle.to_json()) + b"\n"


def read_bundle(content: bytes) -> Bundle:
    """The bundle that `content` is, to the last byte.

    Raises:
        BundleError: it is none, or not what its digest says.
    """
    if len(content) > MAX_BYTES:
        raise BundleError(f"it has {len(content)} bytes, and {MAX_BYTES} are the most")
    body = content.removesuffix(b"\n")
    try:
        parsed: JsonValue = json.loads(body)
        # One byte form: what a lenient parser would pass over (a key twice, NaN, spaces) is not it.
        if canonical_json(parsed) != body:
            raise BundleError("it is not in the form that `export` writes")
        bundle = Bundle.model_validate_json(body)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "the document"
        raise BundleError(f"{where}: {first['msg']}") from error
    except (ValueError, RecursionError) as error:
        raise BundleError(f"it is no JSON document ({error})") from error
    _check(bundle)
    return bundle


def _check(bundle: Bundle) -> None:
    digest = version_digest(bundle.source, bundle.source_schema, bundle.image_digest)
    if digest != bundle.digest:
        raise BundleError(f"it says that it is {bundle.digest}, and its content is {digest}")
    if bundle.evidence.subject != digest:
        raise BundleError(f"its evidence is about {bundle.evidence.subject}, and it is {digest}")
    if any(approval.digest != digest for approval in bundle.approvals):
        raise BundleError("an approval in it is of another version")
