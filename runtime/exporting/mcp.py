"""Tools as the Model Context Protocol describes them: the result of `tools/list`.

Written so that it is valid under the revisions 2025-11-25 and 2026-07-28 of the protocol's schema
(https://github.com/modelcontextprotocol/modelcontextprotocol, folder `schema`): the older one
wants an object at the root of `outputSchema`, the newer one wants the fields about caching.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Final

from pydantic import JsonValue

from policies.network import DEFAULT_METHODS, AddressError, parse_grant
from policies.permissions import Permissions
from policies.value import JsonObject
from toolstore.models import ToolVersion

META_PREFIX: Final = "toolkiln/"
"""Of our keys in `_meta`; names without an owner are the protocol's."""

RESULT_FIELD: Final = "result"
"""Where a result stands that is no object by itself."""


def list_tools_result(versions: Iterable[ToolVersion]) -> JsonObject:
    """What a server that offers exactly these versions answers to `tools/list`."""
    tools: list[JsonValue] = [describe(version) for version in versions]
    return {"resultType": "complete", "ttlMs": 0, "cacheScope": "private", "tools": tools}


def list_tools_text(versions: Iterable[ToolVersion]) -> str:
    """The same as text in which nothing acts on a terminal or hides from a reader."""
    return ascii_json(list_tools_result(versions), indent=2) + "\n"


def ascii_json(value: object, indent: int | None = None) -> str:
    """JSON of printable ASCII alone."""
    return json.dumps(value, indent=indent, ensure_ascii=True).replace("\x7f", r"\u007f")


def describe(version: ToolVersion) -> JsonObject:
    """One version as a `Tool` of the protocol."""
    return {
        "name": version.name,
        "title": title_of(version.name),
        "description": version.source.description,
        "inputSchema": version.source_schema.parameters,
        "outputSchema": output_schema(version.source_schema.returns),
        "annotations": annotations_of(version.source.permissions),
        "_meta": meta_of(version),
    }


def title_of(name: str) -> str:
    """A tool's name as words."""
    words = " ".join(name.split("_")).strip()
    return words[:1].upper() + words[1:]


def output_schema(returns: JsonObject) -> JsonObject:
    """The schema of `structuredContent`: an object, so other results stand in a field of one."""
    if returns.get("type") == "object":
        return returns
    return {
        "type": "object",
        "properties": {RESULT_FIELD: returns},
        "required": [RESULT_FIELD],
        "additionalProperties": False,
    }


def annotations_of(permissions: Permissions) -> JsonObject:
    """The hints about behaviour, from what the tool may touch; nothing else is reached by it.

    A tool without hosts runs where there is nothing to change; requests other than GET and HEAD
    may change anything.
    """
    reading = all(_only_reads(host) for host in permissions.hosts)
    touches_nothing = reading and "output" not in permissions.files
    return {
        "readOnlyHint": touches_nothing,
        "destructiveHint": not reading,
        "idempotentHint": reading,
        "openWorldHint": bool(permissions.hosts),
    }


def _only_reads(host: str) -> bool:
    try:
        return parse_grant(host).methods <= DEFAULT_METHODS
    except AddressError:  # what cannot be read is not believed to be harmless
        return False


def meta_of(version: ToolVersion) -> JsonObject:
    """Which version it is and what stands behind it, for clients that want to check."""
    evidence = version.evidence
    return {
        f"{META_PREFIX}version": {
            "ref": str(version.ref),
            "digest": version.digest,
            "state": version.state.value,
            "level": version.level.value,
            "image": version.image_digest,
        },
        f"{META_PREFIX}evidence": {
            "digest": evidence.digest,
            "producedBy": evidence.produced_by,
            "producedAt": evidence.produced_at.isoformat(),
            "trials": len(evidence.trials),
            "passed": sum(trial.passed for trial in evidence.trials),
        },
        f"{META_PREFIX}decision": {
            "allowed": version.decision.allowed,
            "policy": version.decision.policy_digest,
            "approvedBy": [approval.principal for approval in version.approvals],
        },
    }
