"""Which tool of the store is nearest to a version, and who depends on it."""

from __future__ import annotations

from collections import Counter
from typing import Final

from policies.marking import mark_text
from runtime.review.parts import Neighbour, Users
from toolstore.errors import ToolStoreError
from toolstore.models import Lifecycle, ToolRef, ToolVersion
from toolstore.search import searchable_text, terms
from toolstore.store import ToolStore

_CANDIDATES: Final = 5
_WORDS: Final = 60
"""Of a description, for a search: more only takes longer."""

_LEAST_LIKENESS: Final = 0.25
"""Below that, what is nearest is not near."""

_COUNTED_CALLS: Final = 10_000
_MANY_TOOLS: Final = 5_000
"""Above that, going through all tools for who is pinned takes longer than a reviewer waits."""


async def nearest(store: ToolStore, version: ToolVersion) -> Neighbour | None:
    """The approved tool of another name that is nearest; None where none is near."""
    text = searchable_text(version.source, version.source_schema)
    query = " ".join(terms(text)[:_WORDS])
    best: Neighbour | None = None
    for name in await store.search(query, _CANDIDATES + 1):
        if name == version.name:
            continue
        try:
            other = await store.find(ToolRef(name=name))
        except ToolStoreError:
            continue  # it went, or is damaged: `store verify` says so
        found = _compare(text, version, other)
        if best is None or (found.same_code, found.likeness) > (best.same_code, best.likeness):
            best = found
    if best is None or (best.likeness < _LEAST_LIKENESS and not best.same_code):
        return None
    return best


def _compare(text: str, version: ToolVersion, other: ToolVersion) -> Neighbour:
    mine, theirs = (
        Counter(terms(text)),
        Counter(terms(searchable_text(other.source, other.source_schema))),
    )
    shared, total = (mine & theirs).total(), (mine | theirs).total()
    return Neighbour(
        ref=mark_text(str(other.ref)),
        description=mark_text(other.source.description, characters=500),
        same_code=_bare(version) == _bare(other),
        likeness=shared / total if total else 0.0,
    )


def _bare(version: ToolVersion) -> list[str]:
    """The code without comments of whole lines, empty lines and its own name."""
    lines = version.source.code.replace(version.name, "").split("\n")
    return [line.rstrip() for line in lines if line.strip() and not line.lstrip().startswith("#")]


async def users_of(store: ToolStore, version: ToolVersion) -> Users:
    """Approved tools that are pinned to a version of the name, and how often it was called."""
    siblings = await store.versions_of(version.name)
    some = await store.summaries((Lifecycle.APPROVED,), limit=_MANY_TOOLS + 1)
    pinned: list[str] | None = None
    if len(some) <= _MANY_TOOLS:
        mine = {f"{version.name}@{each.digest}" for each in siblings}
        current = await store.current_versions(on_damage=_pass_over)
        pinned = [str(each.ref) for each in current if mine & set(each.source.permissions.tools)]
    calls = 0
    for each in siblings:
        calls += len(await store.calls_of(each.digest, limit=_COUNTED_CALLS))
    return Users(
        pinned=None if pinned is None else tuple(map(mark_text, pinned)),
        calls=calls,
    )


def _pass_over(_ref: str, _error: ToolStoreError) -> None:
    """`store verify` says what is damaged."""
