"""Queries: rows and bytes out of the tables, and whole versions by way of `assemble`."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from typing import Final

from sqlalchemy import (
    ColumnElement,
    Connection,
    RowMapping,
    bindparam,
    null,
    or_,
    select,
    union_all,
)

from policies.decision import Channel
from toolstore import logbook, tables
from toolstore.assemble import Record, VersionRow, assemble, details_of, kept, read_content
from toolstore.attest.chain import RUNNABLE, Kept
from toolstore.attest.guard import gather
from toolstore.blobs import BATCH, as_bytes, read_raw_blobs
from toolstore.channels import Offer
from toolstore.errors import StoreDamagedError, ToolNotFoundError
from toolstore.listing import summaries_of
from toolstore.models import Lifecycle, ToolRef, ToolSummary, ToolVersion
from toolstore.search import searchable_text

_version = tables.tool_version.c
_state = tables.version_state.c
_event = tables.event.c
_channel = tables.channel.c

_VERSION_ROWS: Final = select(
    _version.digest,
    tables.tool.c.name,
    _version.tool,
    _version.sequence,
    _version.parent,
    _version.source,
    _version.source_schema,
    _version.image_digest,
    _version.level,
    _version.description,
    _version.author,
    _version.origin,
    _version.created_at,
    _state.state,
    _state.event.label("state_event"),
    _channel.channel,
    _channel.weight,
    _channel.session.label("place_session"),
).select_from(
    tables.tool_version.join(tables.tool)
    .outerjoin(tables.version_state, _state.version == _version.digest)
    .outerjoin(tables.channel, _channel.version == _version.digest)
)

_SUMMARIES: Final = (
    select(
        tables.tool.c.name,
        _version.sequence,
        _version.digest,
        _state.state,
        _version.level,
        _version.description,
        _version.origin,
        _version.author,
        _version.created_at,
        _channel.channel,
        _channel.weight,
        _channel.session,
    )
    .select_from(
        tables.tool_version.join(tables.tool)
        .join(tables.version_state, _state.version == _version.digest)
        .outerjoin(tables.channel, _channel.version == _version.digest)
    )
    .order_by(tables.tool.c.name, _version.sequence)
)

_CONTENTS: Final = union_all(
    select(tables.blob.c.digest, null().label("version"), tables.blob.c.bytes).where(
        tables.blob.c.digest.in_(bindparam("contents", expanding=True))
    ),
    select(tables.evidence.c.digest, tables.evidence.c.version, tables.blob.c.bytes)
    .select_from(
        tables.evidence.outerjoin(tables.blob, tables.blob.c.digest == tables.evidence.c.digest)
    )
    .where(tables.evidence.c.version.in_(bindparam("versions", expanding=True))),
)
"""Sources and schemas by their digests, and the evidence of versions."""

OnDamage = Callable[[VersionRow, StoreDamagedError], None]


def rows_of_name(connection: Connection, name: str) -> list[VersionRow]:
    """All versions of a name, oldest first."""
    return _rows(connection, tables.tool.c.name == name)


def rows_in_state(connection: Connection, states: Collection[Lifecycle]) -> list[VersionRow]:
    """All versions that are in one of `states`, by name and sequence."""
    return _rows(connection, _state.state.in_([state.value for state in states]))


def stable_rows(connection: Connection) -> list[VersionRow]:
    """The stable version of every name, by name."""
    return _rows(connection, _channel.channel == Channel.STABLE.value)


def row_of_digest(connection: Connection, digest: str) -> VersionRow | None:
    """The version with this whole digest."""
    return next(iter(_rows(connection, _version.digest == digest)), None)


def all_rows(connection: Connection) -> list[VersionRow]:
    """All versions, by name and sequence."""
    return _rows(connection)


def names(connection: Connection) -> list[str]:
    """All names."""
    return list(connection.scalars(select(tables.tool.c.name).order_by(tables.tool.c.name)))


def matching(rows: Iterable[VersionRow], ref: ToolRef) -> list[VersionRow]:
    """Those of `rows` that `ref` can mean."""
    return [
        row
        for row in rows
        if (ref.sequence is None or row.sequence == ref.sequence)
        and (ref.digest is None or row.digest.startswith(ref.digest))
    ]


def only_match(rows: Sequence[VersionRow], ref: ToolRef) -> VersionRow:
    """The one of `rows` that the exact reference `ref` means.

    Raises:
        ToolNotFoundError: none, or several begin with its digest.
    """
    found = matching(rows, ref)
    if len(found) == 1:
        return found[0]
    if found:
        raise ToolNotFoundError(str(ref), ambiguous=[row.ref for row in found])
    raise ToolNotFoundError(str(ref), known=[row.ref for row in rows])


def find_row(connection: Connection, ref: ToolRef) -> VersionRow:
    """The version that `ref` means; for a bare name the stable one, the canary, or the latest.

    Raises:
        ToolNotFoundError: there is none, or the reference means several.
    """
    rows = require_name(connection, ref.name)
    if ref.sequence is None and ref.digest is None:
        approved = [row for row in rows if row.channel in {Channel.STABLE, Channel.CANARY}]
        return max(approved, key=lambda row: row.channel == Channel.STABLE, default=rows[-1])
    return only_match(rows, ref)


def require_name(connection: Connection, name: str) -> list[VersionRow]:
    """All versions of a name, oldest first.

    Raises:
        ToolNotFoundError: there are none.
    """
    rows = rows_of_name(connection, name)
    if not rows:
        raise ToolNotFoundError(name, known=names(connection))
    return rows


def require_digest(connection: Connection, digest: str) -> VersionRow:
    """The version with this whole digest.

    Raises:
        ToolNotFoundError: there is none.
    """
    row = row_of_digest(connection, digest)
    if row is None:
        raise ToolNotFoundError(digest)
    return row


def summaries(
    connection: Connection,
    states: Collection[Lifecycle] | None = None,
    limit: int | None = None,
    after: tuple[str, int] | None = None,
    names: Collection[str] | None = None,
) -> tuple[ToolSummary, ...]:
    """One line a version, by name and sequence: all, or those in `states` and of `names`.

    At most `limit`, from the first one behind the name and sequence that `after` gives.
    """
    query = _SUMMARIES.limit(limit)
    if states is not None:
        leading = limit is not None and connection.dialect.name == "sqlite"
        # For a page the names must lead: an expression keeps SQLite from the index of states.
        state = _state.state.concat("") if leading else _state.state
        query = query.where(state.in_([each.value for each in states]))
    if names is not None:
        query = query.where(tables.tool.c.name.in_(names))
    if limit is not None or after is not None:
        name, sequence = after or ("", 0)
        # The first half lets the index of names begin in the right place.
        query = query.where(
            tables.tool.c.name >= name,
            or_(tables.tool.c.name > name, _version.sequence > sequence),
        )
    return summaries_of(connection.execute(query))


def summaries_of_name(connection: Connection, name: str) -> tuple[ToolSummary, ...]:
    """One line for each version of a name, oldest first."""
    return summaries_of(connection.execute(_SUMMARIES.where(tables.tool.c.name == name)))


def offers(connection: Connection, names: Collection[str] | None = None) -> dict[str, Offer]:
    """What is approved under each name, or under each of `names`. Not verified.

    Only what choosing needs: a session on a store with very many tools asks for all at its start.
    """
    table, name = tables.channel.c, tables.tool.c.name
    query = (
        select(name, table.version, table.channel, table.weight, table.session)
        .select_from(tables.channel.join(tables.tool))
        .order_by(name)
    )
    found: dict[str, Offer] = {}
    for row in connection.execute(query if names is None else query.where(name.in_(names))):
        offer = found.get(row[0])
        if offer is None:
            offer = found[row[0]] = Offer()
        offer.add(row[1], row[2], row[3], row[4])
    return found


def load(connection: Connection, row: VersionRow, *, to_call: bool = False) -> ToolVersion:
    """One version, verified, with the links beside its last event and the end of the log.

    `to_call` asks as well whether what vouches for it counts now, and is enough.

    Raises:
        StoreDamagedError: anything about it is not what was put in.
        NotInForceError: it is whole, and may not be called: too old, or by too few keys.
    """
    logbook.checked_head(connection)
    gathered = _Gathered(connection, [row])
    record = gathered.record(row)
    logbook.check_links(connection, record.events[-1])
    version = assemble(record)
    if to_call and gathered.attested is not None and version.state in RUNNABLE:
        gathered.attested.check_in_force(row.digest)
    return version


def kept_of(connection: Connection, row: VersionRow) -> Kept:
    """What the store has about a version, for whoever checks or completes what is signed of it.

    Raises:
        StoreDamagedError: it is not what its digests say.
    """
    gathered = _Gathered(connection, [row])
    record = gathered.record(row)
    envelopes = gathered.attested.envelopes(row.digest) if gathered.attested else {}
    return kept(record, envelopes)


def load_all(
    connection: Connection, rows: Sequence[VersionRow], on_damage: OnDamage | None = None
) -> Iterator[ToolVersion]:
    """Many versions, each verified by itself; the chain as a whole is the audit's matter.

    Raises:
        StoreDamagedError: one is damaged, and there is no `on_damage` to hear of it.
    """
    for start in range(0, len(rows), BATCH):
        chunk = rows[start : start + BATCH]
        gathered = _Gathered(connection, chunk)
        for row in chunk:
            try:
                yield assemble(gathered.record(row))
            except StoreDamagedError as error:
                if on_damage is None:
                    raise
                on_damage(row, error)


def search_documents(
    connection: Connection, on_damage: OnDamage | None = None
) -> Iterator[tuple[str, str]]:
    """Name and searchable text of every stable version, from verified bytes.

    Raises:
        StoreDamagedError: one is damaged, and there is no `on_damage` to hear of it.
    """
    rows = stable_rows(connection)
    for start in range(0, len(rows), BATCH):
        chunk = rows[start : start + BATCH]
        wanted = [digest for row in chunk for digest in (row.source, row.source_schema)]
        blobs = read_raw_blobs(connection, wanted)
        for row in chunk:
            try:
                source, schema = read_content(row, blobs)
            except StoreDamagedError as error:
                if on_damage is None:
                    raise
                on_damage(row, error)
            else:
                yield row.name, searchable_text(source, schema)


class _Gathered:
    """What the tables have about some versions, read in few queries."""

    def __init__(self, connection: Connection, rows: Sequence[VersionRow]) -> None:
        digests = [row.digest for row in rows]
        contents = {digest for row in rows for digest in (row.source, row.source_schema)}
        self._events: dict[str, list[RowMapping]] = defaultdict(list)
        for row in connection.execute(logbook.ABOUT, {"versions": digests}).mappings():
            self._events[row["digest"]].append(row)
        self._evidence_of: dict[str, str] = {}
        self._blobs: dict[str, bytes] = {}
        wanted = {"versions": digests, "contents": sorted(contents)}
        for digest, version, content in connection.execute(_CONTENTS, wanted):
            if content is not None:
                self._blobs[digest] = as_bytes(content)
            if version is not None:
                self._evidence_of[digest] = version
        self.attested = gather(connection, digests)

    def record(self, row: VersionRow) -> Record:
        """What is about `row`.

        Raises:
            StoreDamagedError: an event of it is not what was put in.
        """
        entries = tuple(logbook.read_event(entry) for entry in self._events[row.digest])
        return Record(
            row=row,
            events=entries,
            details=details_of(row, entries),
            evidence_of=self._evidence_of,
            blobs=self._blobs,
            attested=self.attested,
        )


def _rows(connection: Connection, *conditions: ColumnElement[bool]) -> list[VersionRow]:
    query = _VERSION_ROWS.where(*conditions).order_by(tables.tool.c.name, _version.sequence)
    return [VersionRow.read(row) for row in connection.execute(query).mappings()]
