"""When two names are one person's: what a count of people must not be fooled by.

Principals are names. Whoever may choose one could vote twice as `bob` and `Bob`, or approve their
own tool under a name with a letter of another alphabet in it. So what is counted, or held against
an author, is how a name reads, and not how it is spelt.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from functools import lru_cache

from policies.display import is_visible
from policies.marking import look_alike


@lru_cache(maxsize=1024)
def reads_as(name: str) -> str:
    """What names of one person have in common: no case, no look-alikes, nothing invisible."""
    plain = unicodedata.normalize("NFKC", name)
    seen = "".join(look_alike(each) or each for each in plain if is_visible(each))
    return " ".join(seen.casefold().split())


def is_same_person(one: str, other: str) -> bool:
    """Whether two names are to be taken for one person's."""
    return reads_as(one) == reads_as(other)


def distinct(names: Iterable[str], *, but: str | None = None) -> tuple[str, ...]:
    """One name for each person, sorted; without the person whom `but` names."""
    left_out = None if but is None else reads_as(but)
    found = {reads_as(name): name for name in sorted(names, reverse=True)}
    return tuple(sorted(name for form, name in found.items() if form != left_out))
