"""The search index that the database keeps: words of stable tools, and the BM25 over them.

The ranking is that of `search.Bm25Index`, term by term, computed by the database from what it
keeps beside the versions. So a store of any size can be searched as soon as it is open. What is
indexed is derived: the audit compares it with the tools, and `rebuild` makes it anew.

Scores are whole billionths, so that equal texts have equal scores in whatever order they are
summed up.
"""

from __future__ import annotations

import heapq
import math
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Self

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    Float,
    Select,
    cast,
    delete,
    func,
    insert,
    literal,
    select,
    union_all,
    update,
)

from policies.decision import Channel
from toolstore import tables
from toolstore.assemble import VersionRow, read_content
from toolstore.blobs import BATCH, read_raw_blobs
from toolstore.errors import StoreDamagedError
from toolstore.search import LENGTH_WEIGHT, SATURATION, searchable_text, terms

MAX_QUERY_TERMS: Final = 64
"""More words than this say no more about what is looked for; the rarest count."""

SMALL: Final = 2_000
"""In a store of at most so many documents no term is common."""

_COMMON_SHARE: Final = 4
"""A term that more than one document in so many has is common: it orders what the others find."""

_CANDIDATES: Final = (200, 2_000)
"""How many matches of the other terms are looked at; more only if they may change the answer."""

_NEWEST: Final = 1_000
"""So many are looked at where every term of a query is common."""

_SCALE: Final = 1e9

_posting = tables.search_posting.c
_document = tables.search_document.c
_term = tables.search_term.c
_total = tables.search_total.c


def follow(connection: Connection, rows: Iterable[VersionRow]) -> None:
    """Bring the index to what `rows` have become: it holds what is stable, and nothing else."""
    wanted = {row.digest: row for row in rows}
    known = _numbers(connection, wanted)
    for row in wanted.values():
        number, stable = known.get(row.digest), row.channel == Channel.STABLE
        if stable and number is None:
            add(connection, [row])
        elif not stable and number is not None:
            _remove(connection, row, number)


def add(connection: Connection, rows: Sequence[VersionRow]) -> None:
    """Index versions that are not indexed yet.

    Raises:
        StoreDamagedError: the bytes of one are not what was put in.
    """
    number = connection.scalar(select(func.max(_document.id))) or 0
    documents, postings = [], []
    seen, total = Counter[str](), 0
    for row, counts in words_of(connection, rows):
        number += 1
        length = counts.total()
        documents.append({"id": number, "version": row.digest, "name": row.name, "length": length})
        postings += [
            {"term": term, "document": number, "count": count, "length": length}
            for term, count in counts.items()
        ]
        seen.update(counts.keys())
        total += length
    if not documents:
        return
    connection.execute(insert(tables.search_document), documents)
    if postings:
        connection.execute(insert(tables.search_posting), postings)
    _count(connection, seen, 1)
    _count_documents(connection, len(documents), total)


def words_of(
    connection: Connection, rows: Sequence[VersionRow]
) -> Iterable[tuple[VersionRow, Counter[str]]]:
    """Each version with how often each of its terms occurs; from verified bytes.

    Raises:
        StoreDamagedError: the bytes of one are not what was put in.
    """
    for start in range(0, len(rows), BATCH):
        chunk = rows[start : start + BATCH]
        wanted = [digest for row in chunk for digest in (row.source, row.source_schema)]
        blobs = read_raw_blobs(connection, wanted)
        for row in chunk:
            yield row, Counter(terms(searchable_text(*read_content(row, blobs))))


def find(connection: Connection, query: str, limit: int, *, small: int = SMALL) -> list[str]:
    """Names of the best matches among the stable tools, best first; equal ones by name.

    Terms that very many tools have only order what the others find. Where there are no others,
    the newest tools that have the rarest of them are ranked.
    """
    asked = _asked_terms(connection, query, small)
    if not asked or limit < 1:
        return []
    telling = [term for term in asked if not term.common]
    others = asked[len(telling) :]
    if not others:
        return _find_by_all(connection, asked, limit)
    if not telling:
        newest = _scored(asked[:1], newest=_NEWEST)
        return _Candidates.of(connection, newest, asked[1:], _NEWEST).best(connection, limit)
    few, enough = (max(take, 2 * limit) for take in _CANDIDATES)
    found = _Candidates.of(connection, _scored(telling), others, few)
    if not found.is_whole_answer(limit):
        found = _Candidates.of(connection, _scored(telling), others, enough)
    return found.best(connection, limit)


def clear(connection: Connection) -> None:
    """Forget everything."""
    for table in (
        tables.search_posting,
        tables.search_term,
        tables.search_total,
        tables.search_document,
    ):
        connection.execute(delete(table))


@dataclass(frozen=True, slots=True)
class _Asked:
    """A term of a query, as it weighs in this store."""

    term: str
    weight: float
    mean: float
    """Mean length of a document, in terms."""

    common: bool

    def score(self, posting: Any) -> ColumnElement[int]:
        """What a posting of the term counts."""
        count = cast(posting.count, Float)
        base = SATURATION * (1 - LENGTH_WEIGHT)
        by_length = SATURATION * LENGTH_WEIGHT / self.mean
        gain = literal(_SCALE * self.weight * (SATURATION + 1), Float)
        saturated = count / (
            count + literal(base, Float) + literal(by_length, Float) * posting.length
        )
        return cast(gain * saturated, BigInteger)

    @property
    def most(self) -> int:
        """No posting counts more."""
        return math.ceil(_SCALE * self.weight * (SATURATION + 1)) + 1


def _asked_terms(connection: Connection, query: str, small: int) -> list[_Asked]:
    """The terms of a query that the store has, the rarest first."""
    words = sorted(set(terms(query)))
    total = connection.execute(select(_total.documents, _total.length)).first()
    if not words or total is None or total.documents == 0:
        return []
    number, mean = total.documents, max(total.length / total.documents, 1.0)
    found = connection.execute(
        select(_term.term, _term.documents).where(
            _term.term.in_(words[:BATCH]), _term.documents > 0
        )
    )
    return [
        _Asked(
            term=term,
            weight=math.log(1 + (number - matching + 0.5) / (matching + 0.5)),
            mean=mean,
            common=number > small and matching * _COMMON_SHARE > number,
        )
        for term, matching in sorted(found, key=lambda row: (row.documents, row.term))
    ][:MAX_QUERY_TERMS]


def _scored(
    asked: Sequence[_Asked], *, among: Collection[int] | None = None, newest: int | None = None
) -> Select[Any]:
    """Each document that has one of the terms, with its score: all, some, or the newest."""
    parts = []
    for term in asked:
        part = select(_posting.document, term.score(_posting).label("score")).where(
            _posting.term == term.term
        )
        if among is not None:
            part = part.where(_posting.document.in_(among))
        if newest is not None:
            part = part.order_by(_posting.document.desc()).limit(newest)
        parts.append(part)
    if len(parts) == 1:
        return parts[0]
    each = union_all(*parts).subquery()
    score = cast(func.sum(each.c.score), BigInteger).label("score")
    return select(each.c.document, score).group_by(each.c.document)


@dataclass(frozen=True, slots=True)
class _Candidates:
    """Documents that the first terms of a query rank first, with their scores for all terms."""

    scores: dict[int, int]
    left_out: int
    """No document that is not among them has a higher score; -1 where there is none."""

    @classmethod
    def of(
        cls, connection: Connection, first: Select[Any], others: Sequence[_Asked], take: int
    ) -> Self:
        """The `take` best of `first`, and what the other terms add."""
        ranked = first.subquery()
        query = select(ranked.c.document, ranked.c.score).order_by(ranked.c.score.desc())
        scores = {row.document: row.score for row in connection.execute(query.limit(take))}
        left_out = -1
        if len(scores) == take:
            left_out = min(scores.values()) + sum(term.most for term in others)
        if scores and others:
            for row in connection.execute(_scored(others, among=tuple(scores))):
                scores[row.document] += row.score
        return cls(scores, left_out)

    def is_whole_answer(self, limit: int) -> bool:
        """Whether no document that was left out can be among the first `limit`."""
        best = heapq.nlargest(limit, self.scores.values())
        return not best or best[-1] > self.left_out

    def best(self, connection: Connection, limit: int) -> list[str]:
        """Names of the first `limit`."""
        least = min(heapq.nlargest(limit, self.scores.values()), default=0)
        names = _names(connection, [d for d, score in self.scores.items() if score >= least])
        order = sorted(names, key=lambda document: (-self.scores[document], names[document]))
        return [names[document] for document in order[:limit]]


def _find_by_all(connection: Connection, asked: Sequence[_Asked], limit: int) -> list[str]:
    """The best of the documents that have any of the terms."""
    scored = _scored(asked).cte("scored")
    best = select(scored.c.score).order_by(scored.c.score.desc()).limit(limit).subquery()
    query = (
        select(_document.name)
        .select_from(scored.join(tables.search_document, _document.id == scored.c.document))
        .where(scored.c.score >= select(func.min(best.c.score)).scalar_subquery())
        .order_by(scored.c.score.desc(), _document.name)
        .limit(limit)
    )
    return list(connection.scalars(query))


def _names(connection: Connection, documents: Sequence[int]) -> dict[int, str]:
    found: dict[int, str] = {}
    for start in range(0, len(documents), BATCH):
        chunk = documents[start : start + BATCH]
        query = select(_document.id, _document.name).where(_document.id.in_(chunk))
        found.update((row[0], row[1]) for row in connection.execute(query))
    return found


def _numbers(connection: Connection, digests: Collection[str]) -> dict[str, int]:
    query = select(_document.version, _document.id).where(_document.version.in_(list(digests)))
    return {row[0]: row[1] for row in connection.execute(query)}


def _remove(connection: Connection, row: VersionRow, number: int) -> None:
    here = _posting.document == number
    try:
        ((_, counts),) = words_of(connection, [row])
        found = sorted(counts)
    except StoreDamagedError:
        # Taking back what is damaged must work too: the long way, past all postings.
        found = list(connection.scalars(select(_posting.term).where(here)))
    for start in range(0, len(found), BATCH):
        chunk = found[start : start + BATCH]
        connection.execute(delete(tables.search_posting).where(_posting.term.in_(chunk), here))
    length = connection.scalar(select(_document.length).where(_document.id == number)) or 0
    connection.execute(delete(tables.search_document).where(_document.id == number))
    _count(connection, Counter(found), -1)
    _count_documents(connection, -1, -length)


def _count(connection: Connection, seen: Counter[str], sign: int) -> None:
    """In how many documents each term stands."""
    words = sorted(seen)
    for start in range(0, len(words), BATCH):
        chunk = words[start : start + BATCH]
        known = list(connection.scalars(select(_term.term).where(_term.term.in_(chunk))))
        new = [{"term": w, "documents": sign * seen[w]} for w in chunk if w not in known]
        if new:
            connection.execute(insert(tables.search_term), new)
        by_count: dict[int, list[str]] = {}
        for word in known:
            by_count.setdefault(sign * seen[word], []).append(word)
        for change, those in by_count.items():
            connection.execute(
                update(tables.search_term)
                .where(_term.term.in_(those))
                .values(documents=_term.documents + change)
            )
        if sign < 0:
            gone = delete(tables.search_term).where(_term.term.in_(chunk), _term.documents <= 0)
            connection.execute(gone)


def _count_documents(connection: Connection, documents: int, length: int) -> None:
    changed = connection.execute(
        update(tables.search_total).values(
            documents=_total.documents + documents, length=_total.length + length
        )
    )
    if changed.rowcount == 0:
        connection.execute(
            insert(tables.search_total).values(id=1, documents=documents, length=length)
        )
