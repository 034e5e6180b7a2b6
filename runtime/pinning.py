"""Names of other tools in a proposal become the versions that they mean now, for good.

What was proven is then what is called later, whatever else gets the name.
"""

from __future__ import annotations

from typing import Final

from policies.findings import Finding
from policies.permissions import Permissions
from policies.rulebook import RULES
from policies.source import ToolSource
from policies.toolcalls import callee_name, missing_rights
from toolstore.errors import StoreDamagedError, ToolNotCallableError, ToolNotFoundError
from toolstore.models import ToolRef, ToolVersion
from toolstore.store import ToolStore

__all__ = ["callers_of", "pin_tools"]

_RULE: Final = RULES["RP406"]


async def pin_tools(
    source: ToolSource, store: ToolStore, *, session: str | None = None
) -> tuple[ToolSource, tuple[Finding, ...]]:
    """`source` with each tool that it declares pinned to one version, and what stands against it.

    A bare name means what it means in `session`; a reference to one version means that, as long
    as it may be called. What is pinned already stays as it is, and so does the source's digest.
    """
    pinned: list[str] = []
    findings: list[Finding] = []
    for declared in source.permissions.tools:
        version = None
        if callee_name(declared) is not None:  # what is no reference is a finding already
            version = await _find(declared, store, session, findings)
        if version is None:
            pinned.append(declared)
            continue
        pinned.append(f"{version.name}@{version.digest}")
        findings += _rights(version, source.permissions)
    if tuple(pinned) == source.permissions.tools:
        return source, tuple(findings)
    permissions = source.permissions.model_copy(update={"tools": tuple(pinned)})
    return source.model_copy(update={"permissions": permissions}), tuple(findings)


async def callers_of(store: ToolStore, callee: ToolVersion) -> tuple[ToolVersion, ...]:
    """The approved versions that are pinned to `callee`; damaged ones are passed over."""
    versions = await store.current_versions(on_damage=_pass_over)
    return tuple(
        version
        for version in versions
        if f"{callee.name}@{callee.digest}" in version.source.permissions.tools
    )


def _pass_over(_ref: str, _error: StoreDamagedError) -> None:
    """`tools verify` says what is damaged."""


async def _find(
    declared: str, store: ToolStore, session: str | None, findings: list[Finding]
) -> ToolVersion | None:
    try:
        return await store.get(ToolRef.parse(declared), session=session)
    except ToolNotFoundError as error:
        findings.append(
            _finding(
                f"permissions.tools: {error}",
                "name a tool that is there and approved, or define the missing one first",
            )
        )
    except (ToolNotCallableError, StoreDamagedError) as error:
        findings.append(
            _finding(
                f"permissions.tools: {error}",
                "name another tool or version, or have this one approved first",
            )
        )
    return None


def _rights(callee: ToolVersion, caller: Permissions) -> list[Finding]:
    missing = missing_rights(callee.source.permissions, caller)
    if not missing:
        return []
    return [
        _finding(
            f"{callee.ref} needs rights that this tool does not declare: {'; '.join(missing)}",
            "declare them here as well, since a tool reaches nothing through another that it may "
            "not reach itself; or call another tool",
        )
    ]


def _finding(message: str, suggestion: str) -> Finding:
    return Finding(
        rule=_RULE.code,
        severity=_RULE.severity,
        stage=_RULE.stage,
        message=message,
        suggestion=suggestion,
    )
