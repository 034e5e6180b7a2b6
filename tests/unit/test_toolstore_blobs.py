"""Bytes under their digest."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from factories import make_schema, make_source
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection
from storekit import tampering

from policies.source import Example, ToolSource
from policies.value import canonical_json, sha256_digest
from toolstore import sqlite
from toolstore.blobs import put_blobs, read_blobs
from toolstore.errors import StoreDamagedError
from toolstore.models import version_digest

unhurried = settings(deadline=None)
shared = settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
names = st.from_regex(r"[a-z][a-z0-9_]{2,10}", fullmatch=True)
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
sources = st.builds(
    make_source,
    names,
    code=texts,
    description=texts,
    examples=st.lists(
        st.builds(
            lambda number: Example(arguments={"number": number}, returns=number),
            st.integers()
            | st.floats(allow_nan=False, allow_infinity=False)
            | texts
            | st.lists(st.sampled_from("zyxabc"), unique=True).map(
                lambda keys: dict.fromkeys(keys, 1)
            ),
        ),
        max_size=3,
    ).map(tuple),
)


@pytest.fixture
def connection(tmp_path: Path) -> Iterator[Connection]:
    database = sqlite.prepare(tmp_path, 5.0)
    with sqlite.connect(database, 5.0, writes=True) as opened:
        yield opened


@shared
@given(st.lists(st.binary(max_size=200), max_size=8))
def test_bytes_come_back_under_their_digest(connection: Connection, contents: list[bytes]) -> None:
    digests = [sha256_digest(content) for content in contents]
    with connection.begin():
        put_blobs(connection, contents)
        put_blobs(connection, contents)
        found = read_blobs(connection, digests)

    assert found == dict(zip(digests, contents, strict=True))


def test_more_digests_than_one_statement_takes(connection: Connection) -> None:
    contents = [str(number).encode() for number in range(1_234)]
    with connection.begin():
        put_blobs(connection, contents)
        found = read_blobs(connection, map(sha256_digest, contents))

    assert len(found) == len(contents)


def test_what_is_not_there_is_not_found(connection: Connection) -> None:
    with connection.begin():
        assert read_blobs(connection, [sha256_digest(b"x")]) == {}


@pytest.mark.parametrize("spoilt", [b"something else", "something", 3, None])
def test_other_bytes_under_a_digest_are_damage(
    tmp_path: Path, connection: Connection, spoilt: object
) -> None:
    with connection.begin():
        put_blobs(connection, [b"something"])
    with tampering(tmp_path) as hand:
        hand.execute("PRAGMA ignore_check_constraints=ON")
        hand.execute("CREATE TABLE loose (digest, bytes)")
        hand.execute("INSERT INTO loose VALUES (?, ?)", (sha256_digest(b"something"), spoilt))
        hand.execute("DROP TABLE blob")
        hand.execute("ALTER TABLE loose RENAME TO blob")
        hand.execute("CREATE TABLE other_blob (digest)")

    with connection.begin():
        with pytest.raises(StoreDamagedError, match="are not what it says"):
            read_blobs(connection, [sha256_digest(b"something")])
        with pytest.raises(StoreDamagedError, match="are not what it says"):
            put_blobs(connection, [b"something"])


@unhurried
@given(sources, sources)
def test_digests_are_equal_exactly_when_what_runs_is(a: ToolSource, b: ToolSource) -> None:
    schema = make_schema()
    digests = {version_digest(source, schema, "sha256:1") for source in (a, b)}

    assert (len(digests) == 1) == (repr(a.to_json()) == repr(b.to_json()))
    assert version_digest(a, schema, "sha256:2") not in digests


@unhurried
@given(sources)
def test_a_digest_survives_a_round_trip_through_json(source: ToolSource) -> None:
    again = ToolSource.model_validate_json(canonical_json(source.to_json()))

    assert version_digest(again, make_schema(), "i") == version_digest(source, make_schema(), "i")
