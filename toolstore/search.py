"""Finding tools by words: BM25 over names, descriptions, parameters and docstrings.

Exact, in memory, without a model. The ranking function is Robertson's, with the weight of a
term never below zero.
"""

from __future__ import annotations

import heapq
import math
import re
from collections import Counter, defaultdict
from collections.abc import Iterable
from typing import Final, Generic, TypeVar

from policies.schema import ToolSchema
from policies.source import ToolSource
from policies.value import JsonObject

K = TypeVar("K", bound=str)

SATURATION: Final = 1.2
"""How fast a second and third occurrence of a term stop to count (k1)."""

LENGTH_WEIGHT: Final = 0.75
"""How much a long document is marked down (b)."""

_WORD: Final = re.compile(r"[^\W\d_]+|\d+")
_HUMP: Final = re.compile(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
_QUOTES: Final = re.compile(r'"""|\'\'\'')
_SHORT: Final = 3
"""Words up to this length have no plural worth cutting: `as`, `its`."""

_LONGEST: Final = 200
"""Of a longer word so much is compared: what an index holds has a greatest length."""

_DEPTH: Final = 8
"""How deep the properties of properties are read."""


def terms(text: str) -> list[str]:
    """The words of `text` in the form that is compared.

    Names fall apart at `_`, digits and humps: `parseHTTPDates_v2` is parse, http, date, v, 2.
    """
    return [_singular(word.casefold())[:_LONGEST] for word in _WORD.findall(_HUMP.sub(" ", text))]


def _singular(word: str) -> str:
    """Plural and singular meet in one form; which one need not be a word."""
    if len(word) <= _SHORT or not word.endswith("s") or word.endswith(("ss", "us", "is")):
        return word
    if word.endswith("sses"):
        return word[:-2]
    return word[:-3] + "y" if word.endswith("ies") else word[:-1]


class Bm25Index(Generic[K]):
    """Ranks texts by the words they share with a query. Documents come and go one at a time."""

    def __init__(self, documents: Iterable[tuple[K, str]] = ()) -> None:
        self._frequencies: dict[K, Counter[str]] = {}
        self._lengths: dict[K, int] = {}
        self._postings: dict[str, dict[K, int]] = defaultdict(dict)
        self._total_length = 0
        for key, text in documents:
            self.add(key, text)

    def __len__(self) -> int:
        return len(self._frequencies)

    def __contains__(self, key: object) -> bool:
        return key in self._frequencies

    def add(self, key: K, text: str) -> None:
        """Take in `text` under `key`, in place of what is there."""
        self.remove(key)
        words = terms(text)
        frequencies = Counter(words)
        self._frequencies[key] = frequencies
        self._lengths[key] = len(words)
        self._total_length += len(words)
        for term, count in frequencies.items():
            self._postings[term][key] = count

    def remove(self, key: K) -> None:
        """Forget what is under `key`; nothing happens where there is nothing."""
        frequencies = self._frequencies.pop(key, None)
        if frequencies is None:
            return
        self._total_length -= self._lengths.pop(key)
        for term in frequencies:
            postings = self._postings[term]
            del postings[key]
            if not postings:
                del self._postings[term]

    def search(self, query: str, limit: int) -> list[K]:
        """The best matches for `query`, best first; equal ones by key.

        Only what shares a word with the query is a match, so there may be fewer than `limit`.
        """
        return [key for key, _ in self.ranked(query, limit)]

    def ranked(self, query: str, limit: int) -> list[tuple[K, float]]:
        """What `search` gives, with the scores."""
        scores: defaultdict[K, float] = defaultdict(float)
        for term in sorted(set(terms(query))):
            postings = self._postings.get(term)
            if postings:
                self._score(postings, scores)
        return heapq.nsmallest(limit, scores.items(), key=lambda match: (-match[1], match[0]))

    def _score(self, postings: dict[K, int], scores: defaultdict[K, float]) -> None:
        count, matching = len(self._frequencies), len(postings)
        weight = math.log(1 + (count - matching + 0.5) / (matching + 0.5))
        mean = self._total_length / count
        for key, frequency in postings.items():
            length = 1 - LENGTH_WEIGHT + LENGTH_WEIGHT * self._lengths[key] / mean
            saturated = frequency * (SATURATION + 1) / (frequency + SATURATION * length)
            scores[key] += weight * saturated


def searchable_text(source: ToolSource, schema: ToolSchema) -> str:
    """What of a tool is searched; the name counts twice, for it is what people remember."""
    parts = [source.name, source.name, source.description, docstring(source)]
    parts += _schema_texts(schema.parameters, _DEPTH)
    return "\n".join(parts)


def docstring(source: ToolSource) -> str:
    """What stands in the first triple quotes after the function's `def`, or nothing.

    Found by plain search: parsing can exhaust the interpreter, and thousands of tools would wait
    for it. For finding tools this is near enough.
    """
    _, found, rest = source.code.partition(f"def {source.name}(")
    opening = _QUOTES.search(rest) if found else None
    if opening is None:
        return ""
    return rest[opening.end() :].partition(opening[0])[0]


def _schema_texts(schema: JsonObject, depth: int) -> list[str]:
    """Names and descriptions of the properties of an object, however they are nested."""
    texts: list[str] = []
    description = schema.get("description")
    if isinstance(description, str):
        texts.append(description)
    properties = schema.get("properties")
    nested = list(properties.items()) if isinstance(properties, dict) else []
    texts += [name for name, _ in nested]
    inner = [value for _, value in nested]
    inner += [schema.get("items"), schema.get("additionalProperties")]
    for key in ("anyOf", "prefixItems"):
        several = schema.get(key)
        inner += several if isinstance(several, list) else []
    if depth > 0:
        for value in inner:
            if isinstance(value, dict):
                texts += _schema_texts(value, depth - 1)
    return texts
