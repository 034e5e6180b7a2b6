"""Text at its limits: every database keeps the same, sorts it alike, and refuses the same."""

from __future__ import annotations

import random
import unicodedata
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta

import pytest
from factories import NOON, allowed, make_source, make_submission, needs_review
from store_places import Place

from policies.decision import Approval
from policies.outcomes import Outcome
from policies.waivers import Waiver
from toolstore.calls import CallRecord
from toolstore.errors import TextError, ToolNotFoundError, TransitionError
from toolstore.models import ToolRef, ToolVersion
from toolstore.store import ToolStore
from toolstore.texts import KEY_BYTES

BAD = {"a\0b": "a NUL character", "a\ud800b": "half of a surrogate pair"}
NEVER_HALF = ("a name", "a description", "who takes a finding")
"""These have no digest, or no value at all, with half a character in them."""


@pytest.fixture
async def store(place: Place) -> AsyncIterator[ToolStore]:
    async with await ToolStore.open(place.location) as opened:
        yield opened


Attempt = Callable[[ToolStore, ToolVersion, str], Awaitable[object]]


def yes(version: ToolVersion, **texts: str) -> Approval:
    said = {"principal": "bob", "comment": "", **texts}
    return Approval(digest=version.digest, at=NOON, **said)


def waiver(version: ToolVersion, **texts: str) -> Waiver:
    said = {"principal": "bob", "reason": "known", **texts}
    until = NOON + timedelta(days=1)
    return Waiver(rule="TR202", digest=version.digest, at=NOON, expires_at=until, **said)


def called(version: ToolVersion, **texts: str) -> CallRecord:
    return CallRecord(
        version=version.digest,
        **{"tenant": "ada", **texts},
        arguments_digest="sha256:0",
        outcome=Outcome.RAISED,
        execute_seconds=0.1,
        total_seconds=0.1,
        at=NOON,
    )


ATTEMPTS: dict[str, Attempt] = {
    "a name": lambda s, _, t: s.admit(make_submission(t), actor="ada"),
    "a description": lambda s, _, t: s.admit(make_submission("more", description=t), actor="ada"),
    "an author": lambda s, _, t: s.admit(make_submission("more", author=t), actor="ada"),
    "a session": lambda s, _, t: s.admit(make_submission("most", session=t), actor="ada"),
    "an actor": lambda s, v, t: s.revoke(v.ref, actor=t, reason="no"),
    "a reason": lambda s, v, t: s.reject(v.digest, actor="bob", reason=t),
    "a person": lambda s, v, t: s.approve(
        v.digest, yes(v, principal=t), allowed(), actor=t, after=None
    ),
    "who takes a finding": lambda s, v, t: s.lifecycle.waive(
        waiver(v, principal=t), None, actor="bob"
    ),
    "a session's pin": lambda s, _, t: s.lifecycle.pin(
        ToolRef(name="ready"), session=t, actor="bob", reason="works"
    ),
    "a tenant's call": lambda s, v, t: s.record_calls([called(v, tenant=t)], keep=9, before=NOON),
    "a call's error": lambda s, v, t: s.record_calls(
        [called(v, error_type=t)], keep=9, before=NOON
    ),
    "a name that is asked for": lambda s, _, t: s.find(ToolRef(name=t)),
    "a session that is asked for": lambda s, _, t: s.get(ToolRef(name="ready"), session=t),
}


async def test_what_no_store_keeps_is_refused_by_all_before_anything_is_written(
    store: ToolStore,
) -> None:
    version = await store.admit(make_submission(decision=needs_review()), actor="ada")
    await store.admit(make_submission("ready"), actor="ada")
    head = store.head()
    for what, attempt in ATTEMPTS.items():
        for text, problem in BAD.items():
            if what in NEVER_HALF and "\0" not in text:
                continue
            with pytest.raises(TextError, match=problem) as refused:
                await attempt(store, version, text)
            assert "leave it out. Nothing was written" in str(refused.value), what
            assert str(refused.value).isprintable()

    assert store.head() == head
    assert await store.calls_of(version.digest, limit=9) == ()
    await store.reject(version.digest, actor="bob", reason="\U0001f600 no\n\x07")
    assert (await store.verify()).damage == ()


async def test_a_name_of_anything_has_one_greatest_length(store: ToolStore) -> None:
    version = await store.admit(make_submission(decision=needs_review()), actor="ada")
    await store.admit(make_submission("ready"), actor="ada")
    # Random, so that no database can make it small enough for its index.
    letters = random.Random(4)  # noqa: S311 - any letters will do
    fits = "".join(chr(letters.randrange(0x1F300, 0x1F500)) for _ in range(KEY_BYTES // 4))

    for what in ("an author", "a session", "who takes a finding", "a session's pin"):
        with pytest.raises(TextError, match=f"has {KEY_BYTES + 1} bytes, and names"):
            await ATTEMPTS[what](store, version, fits + "a")
        await ATTEMPTS[what](store, version, fits)
    assert (await store.verify()).damage == ()


async def test_long_and_strange_text_comes_back_as_it_was(store: ToolStore) -> None:
    letters = random.Random(5)  # noqa: S311 - any letters will do
    word = "".join(letters.choice("abcdefghijklmnopqrtuvwxyz") for _ in range(20_000))
    code = f'def big(number):\n    """{word} \U0001f600"""\n    return "\\0{"é" * 500_000}"\n'
    source = make_source("big", code=code, description=f"Says \U0001f680 {word[:5_000]}.")

    version = await store.admit(make_submission("big", source=source), actor="ada")
    await store.revoke(
        (await store.admit(make_submission("gone"), actor="ada")).digest,
        actor="bob",
        reason="x" * 1_000_000 + "\U0001f480",
    )

    assert (await store.get(version.ref)).source == source
    assert (await store.find(ToolRef(name="gone"))).state_reason.endswith("xx\U0001f480")
    assert await store.search(word, 3) == ("big",)
    assert (await store.verify()).damage == ()


async def test_names_sort_by_their_characters_and_none_reads_like_another(store: ToolStore) -> None:
    names = ["caf\u00e9", "\u0394elta", "Zebra", "apple", "_b", "a-c", "ab1", "A_d", "\U0001d4d0"]
    for name in names:
        await store.admit(make_submission(name), actor="ada")

    assert [each.name for each in await store.summaries()] == sorted(names)
    pages, after = list[str](), None
    while page := await store.summaries(limit=2, after=after):
        pages += [each.name for each in page]
        after = (page[-1].name, page[-1].sequence)
    assert pages == sorted(names)

    for alike in (unicodedata.normalize("NFD", names[0]), "CAF\u00c9", "ca_f\u00e9"):
        with pytest.raises(TransitionError, match="reads like that of the tool"):
            await store.admit(make_submission(alike), actor="ada")
        with pytest.raises(ToolNotFoundError):
            await store.find(ToolRef(name=alike))
    assert (await store.get(ToolRef(name=names[0]))).name == names[0]
