"""Files of the command line: attached by name, written without following or replacing."""

from __future__ import annotations

from pathlib import Path

import pytest

from runtime.cli.files import read_attachments, write_artefacts
from runtime.errors import UsageError
from sandbox.artefacts import Artefact

PLOT = Artefact.of("plot.png", b"new")


def test_a_file_is_attached_under_its_own_name_or_another(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("1")
    (tmp_path / "b (1).txt").write_text("2")

    given = read_attachments([str(tmp_path / "a.txt"), f"b.txt={tmp_path / 'b (1).txt'}"])
    assert given == {"a.txt": b"1", "b.txt": b"2"}
    assert read_attachments(None) == {}


@pytest.mark.parametrize(
    ("texts", "says"),
    [
        (["{}/b (1).txt"], "Name it: --file NAME="),
        (["../x={}/a.txt"], "no plain file name"),
        (["{}/a.txt", "{}/a.txt"], "two files are named a.txt"),
        (["{}/none.txt"], "No such file"),
        (["x={}"], "Is a directory"),
        ([""], "no plain file name"),
    ],
)
def test_what_cannot_be_attached_is_said(tmp_path: Path, texts: list[str], says: str) -> None:
    (tmp_path / "a.txt").write_text("1")
    (tmp_path / "b (1).txt").write_text("2")

    with pytest.raises(UsageError) as caught:
        read_attachments([text.format(tmp_path) for text in texts])
    assert says in str(caught.value)


def test_files_are_written_into_a_folder_that_is_made(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "out"

    assert write_artefacts([PLOT], folder, force=False) == [folder / "plot.png"]
    assert (folder / "plot.png").read_bytes() == b"new"


@pytest.mark.parametrize("force", [False, True])
def test_what_is_there_is_replaced_only_when_told(tmp_path: Path, *, force: bool) -> None:
    (tmp_path / "plot.png").write_bytes(b"old")
    other = Artefact.of("other.txt", b"other")

    if force:
        write_artefacts([other, PLOT], tmp_path, force=True)
    else:
        with pytest.raises(UsageError, match=r"plot.png: there already; nothing was written"):
            write_artefacts([other, PLOT], tmp_path, force=False)

    assert (tmp_path / "plot.png").read_bytes() == (b"new" if force else b"old")
    assert (tmp_path / "other.txt").exists() is force


@pytest.mark.parametrize("force", [False, True])
@pytest.mark.parametrize("target", ["precious", "missing"])
def test_a_link_is_not_followed(tmp_path: Path, *, force: bool, target: str) -> None:
    (tmp_path / "precious").write_bytes(b"old")
    out = tmp_path / "out"
    out.mkdir()
    (out / "plot.png").symlink_to(tmp_path / target)

    if force:
        write_artefacts([PLOT], out, force=True)
        assert not (out / "plot.png").is_symlink()
    else:
        with pytest.raises(UsageError, match="there already"):
            write_artefacts([PLOT], out, force=False)
    assert (tmp_path / "precious").read_bytes() == b"old"
    assert not (tmp_path / "missing").exists()


def test_a_folder_that_is_none_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    with pytest.raises(UsageError, match="file: File exists"):
        write_artefacts([PLOT], tmp_path / "file", force=True)
