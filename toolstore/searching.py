"""The search index as a whole: made anew from the tools, and compared with them."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import Any, Final

from sqlalchemy import Connection, Select, func, select

from toolstore import postings, reading, tables
from toolstore.assemble import VersionRow
from toolstore.blobs import BATCH
from toolstore.errors import StoreDamagedError

SHOWN: Final = 5
"""So many of the tools that the index is wrong about are named."""


def rebuild(connection: Connection) -> None:
    """Forget the index, and make it from every stable version that is whole."""
    postings.clear(connection)
    rows = reading.stable_rows(connection)
    for start in range(0, len(rows), BATCH):
        chunk = rows[start : start + BATCH]
        try:
            postings.add(connection, chunk)
        except StoreDamagedError:
            for row in chunk:
                _add_if_whole(connection, row)


def problems(connection: Connection) -> list[str]:
    """Where the index says something else than the tools do."""
    document = tables.search_document.c
    numbers = _pairs(connection, select(document.version, document.id))
    names = _pairs(connection, select(document.version, document.name))
    kept = _kept(connection)
    wrong, seen = list[str](), Counter[str]()
    for row in reading.stable_rows(connection):
        number = numbers.pop(row.digest, None)
        found = kept.pop(number, 0) if number is not None else 0
        try:
            ((_, counts),) = postings.words_of(connection, [row])
        except StoreDamagedError:
            continue  # said already, where versions are checked
        seen.update(counts.keys())
        expected = sum(hash((term, n, counts.total())) for term, n in counts.items())
        if number is None or found != expected or names[row.digest] != row.name:
            wrong.append(f"{row.ref} is not indexed as it reads")
    if len(wrong) > SHOWN:
        wrong[SHOWN:] = [f"{len(wrong) - SHOWN} more are not either"]
    if numbers or kept:
        wrong.append(f"it has entries of {max(len(numbers), len(kept))} that are not stable")
    if not wrong:
        wrong += _wrong_counts(connection, seen)
    return wrong


def _pairs(connection: Connection, query: Select[Any]) -> dict[str, Any]:
    return {row[0]: row[1] for row in connection.execute(query)}


def _kept(connection: Connection) -> dict[int, int]:
    """For each document a sum over its entries; only this process can compare it."""
    kept: defaultdict[int, int] = defaultdict(int)
    posting = tables.search_posting.c
    query = select(posting.document, posting.term, posting.count, posting.length)
    for number, term, count, length in connection.execute(
        query.execution_options(yield_per=10_000)
    ):
        kept[number] += hash((term, count, length))
    return dict(kept)


def _wrong_counts(connection: Connection, seen: Counter[str]) -> list[str]:
    """What is kept beside the entries, against them."""
    document, total, term = (
        tables.search_document.c,
        tables.search_total.c,
        tables.search_term.c,
    )
    sums = select(func.count(document.id), func.coalesce(func.sum(document.length), 0))
    said = connection.execute(select(total.documents, total.length)).first() or (0, 0)
    found = connection.execute(sums).one()
    wrong = [] if tuple(said) == tuple(found) else ["its number and length of texts are wrong"]
    if _pairs(connection, select(term.term, term.documents)) != seen:
        wrong.append("in how many tools a word stands is wrong")
    return wrong


def _add_if_whole(connection: Connection, row: VersionRow) -> None:
    try:
        postings.add(connection, [row])
    except StoreDamagedError:
        return  # it cannot be called either, and the audit says why
