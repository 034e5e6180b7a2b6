"""The audit: everything in the store checked, with damage as the answer and never as an error."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from sqlalchemy import Connection, func, select

from policies.decision import Channel
from policies.value import sha256_digest
from toolstore import calls, counts, derived, logbook, reading, references, searching, tables
from toolstore.assemble import VersionRow
from toolstore.attest.auditing import signed_log
from toolstore.attest.guard import Guard, bind, guard_of
from toolstore.blobs import as_bytes
from toolstore.derived import Told, told
from toolstore.errors import StoreDamagedError
from toolstore.events import chain_damage
from toolstore.index import structure_problems
from toolstore.lane import Lane
from toolstore.models import Damage, Event, VerifyReport


async def verify(lane: Lane) -> VerifyReport:
    """Check the whole store in one snapshot.

    Raises:
        StoreUnusableError: the file cannot be read at all.
    """
    try:
        return await lane.run(audit)
    except StoreDamagedError as error:
        damage = Damage(where="database", problem=error.what)
        return VerifyReport(versions=0, events=0, blobs=0, damage=(damage,))


def audit(connection: Connection) -> VerifyReport:
    """Check every page, blob, link, version and derived state."""
    findings = _Findings()
    findings.add("database", *structure_problems(connection))
    blobs = _check_blobs(connection, findings)
    guard = guard_of(connection)
    log = _check_log(connection, findings, guard)
    rows = reading.all_rows(connection)
    _check_channels(rows, findings)
    findings.damage.extend(references.problems(connection, log.told, rows, blobs))
    if guard is not None:  # the log as a whole is checked by now
        bind(connection, replace(guard, maps_checked=True))
    whole = _check_versions(connection, rows, findings)
    bind(connection, guard)
    findings.add("search index", *searching.problems(connection))
    findings.add("recorded calls", *calls.problems(connection))
    findings.add("counts", *counts.problems(connection, log.told))
    return VerifyReport(
        versions=len(rows),
        events=log.length,
        blobs=len(blobs),
        statements=connection.scalar(select(func.count()).select_from(tables.attestation)) or 0,
        signed_to=log.signed_to,
        damage=tuple(findings.damage),
        trusted=tuple(row.ref for row in whole if log.born.get(row.digest, 0) > log.last_break),
    )


@dataclass
class _Findings:
    damage: list[Damage] = field(default_factory=list)

    def add(self, where: str, *problems: str) -> None:
        self.damage.extend(Damage(where=where, problem=problem) for problem in problems)


@dataclass
class _Log:
    """What the log is good for."""

    length: int = 0
    last_break: int = 0
    """Whatever came before this may have lost an event that says otherwise."""

    signed_to: int | None = None
    """The last event that a checkpoint vouches for; None in a store without keys."""

    born: dict[str, int] = field(default_factory=dict)
    """Sequence of the first event of each version."""

    told: list[Told] = field(default_factory=list)
    """What of it can be read."""


def _check_blobs(connection: Connection, findings: _Findings) -> frozenset[str]:
    """The digests that there are bytes under."""
    found = set()
    for digest, content in connection.execute(
        select(tables.blob.c.digest, tables.blob.c.bytes).execution_options(yield_per=100)
    ):
        found.add(str(digest))
        if sha256_digest(as_bytes(content)) != digest:
            findings.add(f"blob {digest}", "its bytes are not what its digest says")
    return frozenset(found)


def _check_log(connection: Connection, findings: _Findings, guard: Guard | None) -> _Log:
    log = _Log()
    entries: list[Event] = []
    for row in logbook.raw_events(connection):
        log.length += 1
        try:
            entries.append(logbook.read_event(row))
        except StoreDamagedError as error:
            findings.add(f"event {row['sequence']}", error.what)
            log.last_break = int(row["sequence"])
    for sequence, damage in chain_damage(entries):
        findings.damage.append(damage)
        log.last_break = max(log.last_break, sequence)
    log.told = told(entries)
    findings.add("derived tables", *derived.problems(connection, log.told))
    findings.add("log", *_check_head(connection))
    for entry in reversed(entries):
        log.born[entry.digest] = entry.sequence
    try:
        logbook.checked_head(connection)
    except StoreDamagedError as error:
        findings.add("log", error.what)
        log.last_break = max((log.length, *log.born.values()))
    signed = signed_log(connection, guard, entries)
    if signed is not None:
        findings.damage.extend(signed.damage)
        log.signed_to = signed.good.sequence
        if not signed.head_holds:  # what came later may be a revocation
            log.last_break = max((log.last_break, log.length, *log.born.values()))
    return log


def _check_head(connection: Connection) -> Iterator[str]:
    """The end of the log is kept once; whatever stood beside it could be read instead."""
    kept = [tuple(row) for row in connection.execute(select(tables.log_head))]
    if len(kept) > 1 or any(row[0] != 1 for row in kept):
        yield f"its end is kept {len(kept)} times, and must be once, as number 1"


def _check_channels(rows: list[VersionRow], findings: _Findings) -> None:
    for channel in (Channel.STABLE, Channel.CANARY):
        found = Counter(row.name for row in rows if row.channel == channel)
        for name, count in found.items():
            if count > 1:
                findings.add(name, f"{count} versions of it are {channel} at a time")


def _check_versions(
    connection: Connection, rows: list[VersionRow], findings: _Findings
) -> list[VersionRow]:
    """Those of `rows` that are whole."""
    damaged: set[str] = set()

    def note(row: VersionRow, error: StoreDamagedError) -> None:
        damaged.add(row.digest)
        findings.add(row.ref, error.what)

    for _version in reading.load_all(connection, rows, note):
        pass
    lost = connection.scalar(select(func.count()).select_from(tables.tool_version)) or 0
    if lost != len(rows):
        findings.add("versions", f"{lost - len(rows)} belong to no tool")
    return [row for row in rows if row.digest not in damaged]
