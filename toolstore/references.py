"""What refers to what: all that the log names is there, and nothing is there that nobody named.

Digests and hashes say that what is there was not changed. They say nothing of what was taken away
whole, or put beside it whole: for that, both directions are looked at.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from typing import Final

from sqlalchemy import Connection, select

from toolstore import tables
from toolstore.assemble import VersionRow
from toolstore.blobs import read_raw_blobs
from toolstore.derived import Told
from toolstore.events import skeleton
from toolstore.models import Damage

_POLICY_FIELDS: Final = frozenset({"name", "admission", "evidence"})
"""A text with these is a policy's: one is kept before anything was decided under it, and stays
where nothing was."""


def problems(
    connection: Connection, log: Sequence[Told], rows: Sequence[VersionRow], blobs: frozenset[str]
) -> Iterator[Damage]:
    """What is missing and what is too much; `blobs` are the digests that there are bytes under."""
    yield from _check_tools(connection, rows)
    yield from _check_evidence(connection, log)
    named = _named(log, rows)
    for digest in sorted(named.keys() - blobs):
        yield Damage(where=f"blob {digest}", problem=f"it is missing, and is {named[digest]}")
    strays = blobs - named.keys() - {each.event.policy_digest for each in log}
    for digest, content in read_raw_blobs(connection, strays).items():
        if not _is_policy(content):
            yield Damage(where=f"blob {digest}", problem="nothing that the log has refers to it")


def _check_tools(connection: Connection, rows: Iterable[VersionRow]) -> Iterator[Damage]:
    versions: dict[int, set[int]] = defaultdict(set)
    for row in rows:
        versions[row.tool].add(row.sequence)
    forms: dict[str, str] = {}
    table = tables.tool.c
    for number, name, form in connection.execute(select(table.id, table.name, table.skeleton)):
        where = f"tool {name}"
        wanted = skeleton(str(name))
        if form != wanted:
            yield Damage(where=where, problem=f"names that read like it are kept apart by {form!r}")
        if wanted in forms:
            yield Damage(where=where, problem=f"its name reads like that of {forms[wanted]!r}")
        forms[wanted] = str(name)
        if number not in versions:
            yield Damage(where=where, problem="it has no version")


def _check_evidence(connection: Connection, log: Iterable[Told]) -> Iterator[Damage]:
    """Which version evidence is about, also of evidence that nothing stands on any more."""
    table = tables.evidence.c
    kept = {
        (row.digest, row.version) for row in connection.execute(select(table.digest, table.version))
    }
    named = {
        (each.detail.evidence, each.event.digest)
        for each in log
        if each.detail.evidence is not None
    }
    for digest, version in sorted(kept - named, key=str):
        problem = f"it is kept as being about {version}, and the log does not say so"
        yield Damage(where=f"evidence {digest}", problem=problem)
    for digest, version in sorted(named - kept):
        problem = f"the log says that it is about {version}, and it is not kept so"
        yield Damage(where=f"evidence {digest}", problem=problem)


def _named(log: Iterable[Told], rows: Iterable[VersionRow]) -> dict[str, str]:
    """The digest of everything that must be there, with what it is."""
    named: dict[str, str] = {}
    for row in rows:
        named[row.source] = f"the source of {row.ref}"
        named[row.source_schema] = f"the schema of {row.ref}"
    for event, detail in ((each.event, each.detail) for each in log):
        for digest, what in (
            (detail.evidence, "evidence"),
            (detail.proof, "the second proof"),
            (detail.bundle, "an imported file"),
            (detail.policy, "the policy"),
        ):
            if digest is not None:
                named[digest] = f"{what} of event {event.sequence}"
    return named


def _is_policy(content: bytes) -> bool:
    with suppress(ValueError, RecursionError):
        found = json.loads(content)
        return isinstance(found, dict) and found.keys() >= _POLICY_FIELDS
    return False
