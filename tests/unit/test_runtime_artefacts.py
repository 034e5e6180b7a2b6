"""Files that calls left behind: kept by digest, verified, found again, pruned."""

from __future__ import annotations

import json
import os
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from runtime.artefacts import ArtefactStore
from runtime.errors import ArtefactError
from runtime.outcome import CallOutcome
from sandbox.artefacts import Artefact

PLOT = Artefact.of("plot.png", b"\x89PNG\r\n\x1a\n...")
TABLE = Artefact.of("table.csv", b"a,b\n1,2\n")


@pytest.fixture
def store(tmp_path: Path) -> ArtefactStore:
    return ArtefactStore(tmp_path / "artefacts")


def test_what_is_kept_can_be_read_again(store: ArtefactStore) -> None:
    store.keep([PLOT, TABLE], tool="chart@1")

    assert [record.artefact for record in store.records()] == [PLOT.info, TABLE.info]
    assert store.read(PLOT.digest) == PLOT.data
    assert store.find("plot.png").tool == "chart@1"
    assert store.find(TABLE.digest[:15]).artefact == TABLE.info
    assert store.find(TABLE.digest.removeprefix("sha256:")).artefact == TABLE.info


def test_a_name_means_the_latest_file_that_has_it(store: ArtefactStore) -> None:
    later = Artefact.of("plot.png", b"later")
    store.keep([PLOT], tool="chart@1")
    store.keep([later], tool="chart@2")

    assert store.find("plot.png").artefact.digest == later.digest


def test_nothing_is_made_before_something_is_kept(store: ArtefactStore, tmp_path: Path) -> None:
    assert store.records() == ()
    store.keep([], tool="chart@1")
    assert store.prune(datetime.now(UTC)) == 0
    assert not list(tmp_path.iterdir())


def test_only_the_owner_may_look(store: ArtefactStore, tmp_path: Path) -> None:
    store.keep([PLOT], tool="chart@1")

    for path in (tmp_path / "artefacts").rglob("*"):
        assert path.stat().st_mode & 0o077 == 0, path


@pytest.mark.parametrize("which", ["none.txt", "abcdef", "../../etc/passwd", "", "sha256:"])
def test_what_is_not_there_is_said(store: ArtefactStore, which: str) -> None:
    with pytest.raises(ArtefactError, match="artefacts list"):
        store.find(which)


def test_bytes_that_were_changed_are_not_used(store: ArtefactStore, tmp_path: Path) -> None:
    store.keep([PLOT], tool="chart@1")
    (path,) = (tmp_path / "artefacts").glob("??/*")
    path.chmod(0o600)
    path.write_bytes(b"other")

    with pytest.raises(ArtefactError, match="does not hold what was kept"):
        store.read(PLOT.digest)


def test_a_link_is_not_followed(store: ArtefactStore, tmp_path: Path) -> None:
    store.keep([PLOT], tool="chart@1")
    (path,) = (tmp_path / "artefacts").glob("??/*")
    path.rename(tmp_path / "elsewhere")
    path.symlink_to(tmp_path / "elsewhere")

    with pytest.raises(ArtefactError):
        store.read(PLOT.digest)


@pytest.mark.parametrize("digest", ["", "sha256:../../x", "sha256:" + "A" * 64, "md5:" + "0" * 32])
def test_only_a_whole_digest_becomes_a_path(store: ArtefactStore, digest: str) -> None:
    with pytest.raises(ArtefactError, match="no whole digest"):
        store.read(digest)


def test_a_torn_record_hides_no_other(store: ArtefactStore, tmp_path: Path) -> None:
    store.keep([PLOT], tool="chart@1")
    with (tmp_path / "artefacts" / "records.jsonl").open("ab") as file:
        file.write(b'{"artefact": {"na\n')
    store.keep([TABLE], tool="chart@1")

    assert [record.artefact.name for record in store.records()] == ["plot.png", "table.csv"]


def test_pruning_takes_what_is_old_and_named_by_nothing_else(store: ArtefactStore) -> None:
    store.keep([PLOT, TABLE], tool="chart@1")
    later = datetime.now(UTC) + timedelta(seconds=0)
    store.keep([PLOT], tool="chart@1")

    assert store.prune(later) == 2
    assert [record.artefact.name for record in store.records()] == ["plot.png"]
    assert store.read(PLOT.digest) == PLOT.data
    with pytest.raises(ArtefactError):
        store.read(TABLE.digest)


def test_several_writers_keep_at_once(tmp_path: Path) -> None:
    """Each opens the file of records anew, as processes do, so that the lock parts them."""

    def keep_many(number: int) -> None:
        for index in range(20):
            artefact = Artefact.of(f"{number}-{index}.txt", os.urandom(10))
            ArtefactStore(tmp_path).keep([artefact], tool="chart@1")

    with ThreadPoolExecutor(3) as pool:
        list(pool.map(keep_many, range(3)))

    store = ArtefactStore(tmp_path)
    records = store.records()
    assert len(records) == 60
    assert all(store.read(record.artefact.digest) for record in records)


def test_the_model_is_told_in_words_and_gets_no_bytes() -> None:
    outcome = CallOutcome(ref="chart@1", content=1, is_error=False, artefacts=(PLOT, TABLE))

    text = outcome.to_text()
    assert f"- plot.png (image/png, 11 bytes, {PLOT.digest})" in text
    assert "- table.csv (text/csv, 8 bytes" in text
    assert "data" not in json.loads(outcome.model_dump_json())["artefacts"][0]
