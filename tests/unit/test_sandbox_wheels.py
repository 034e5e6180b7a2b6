"""Wheels are archives of strangers: what they may bring into an image, and what refuses them."""

from __future__ import annotations

import stat
import zipfile
from pathlib import Path

import pytest
from wheelhouse import Entries, lock_of, write_wheel

from sandbox.errors import PackagesRefusedError
from sandbox.hardening import PACKAGES_PATH
from sandbox.locks import check_wheels
from sandbox.wheels import Unpacked, unpack_wheels

MIB = 1 << 20


def unpack(folder: Path, *entries: Entries, ceiling_bytes: int = MIB) -> Unpacked:
    wheels = [
        write_wheel(folder, f"demo{number}", "1.0", each) for number, each in enumerate(entries)
    ]
    return unpack_wheels(lock_of(*wheels), wheels, folder / "out", ceiling_bytes=ceiling_bytes)


def names(unpacked: Unpacked) -> list[str]:
    return [
        str(file.target.relative_to(PACKAGES_PATH))
        for file in unpacked.files
        if ".dist-info" not in str(file.target)
    ]


def special(name: str, mode: int) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(name)
    entry.external_attr = mode << 16
    return entry


def test_modules_and_data_come_out_below_one_folder(tmp_path: Path) -> None:
    unpacked = unpack(
        tmp_path,
        {
            "demo/__init__.py": b"x = 1",
            "demo/data.bin": b"\0" * 10,
            "single.py": b"",
            "fast.cpython-311-x86_64-linux-gnu.so": b"",
            "demo0-1.0.data/purelib/more/__init__.py": b"",
        },
    )

    assert names(unpacked) == [
        "demo/__init__.py",
        "demo/data.bin",
        "fast.cpython-311-x86_64-linux-gnu.so",
        "more/__init__.py",
        "single.py",
    ]
    assert unpacked.modules == {"demo", "fast", "more", "single"}


@pytest.mark.parametrize(
    "name",
    [
        "demo.pth",
        "demo0-1.0.data/scripts/run",
        "demo0-1.0.data/headers/demo.h",
        "demo0-1.0.data/data/etc/passwd",
        "demo/tests/test_it.py",
        "demo/__pycache__/x.cpython-311.pyc",
        "demo0-1.0.dist-info/direct_url.json",
    ],
)
def test_what_guests_have_no_use_for_is_left_out(name: str, tmp_path: Path) -> None:
    assert names(unpack(tmp_path, {"demo/__init__.py": b"", name: b"import os"})) == [
        "demo/__init__.py"
    ]


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("../outside.py", "leads out of its folder"),
        ("demo/../../outside.py", "leads out of its folder"),
        ("demo//x.py", "leads out of its folder"),
        ("demo\\..\\x.py", "leads out of its folder"),
        ("demo/new\nline.py", "is no name for a file"),
        ("demo/\u202egnp.py", "is no name for a file"),
        ("x" * 201, "is no name for a file"),
        ("/".join("x" * 41), "is no name for a file"),
        (special("demo/link", stat.S_IFLNK | 0o777), "is a link or a device"),
        (special("demo/pipe", stat.S_IFIFO | 0o666), "is a link or a device"),
        (special("demo/disk", stat.S_IFBLK | 0o666), "is a link or a device"),
    ],
    ids=repr,
)
def test_a_hostile_entry_refuses_the_set(
    name: str | zipfile.ZipInfo, told: str, tmp_path: Path
) -> None:
    with pytest.raises(PackagesRefusedError, match=told):
        unpack(tmp_path, {"demo/__init__.py": b"", name: b"/etc/passwd"})

    assert not (tmp_path / "outside.py").exists()


def test_an_absolute_name_refuses_the_set(tmp_path: Path) -> None:
    # Below the test's own folder: were it not refused, it must not reach the machine either.
    outside = tmp_path / "absolute" / "outside.py"

    with pytest.raises(PackagesRefusedError, match="leads out of its folder"):
        unpack(tmp_path, {str(outside): b"x"})

    assert not outside.exists()


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ({"same/__init__.py": b"1"}, {"same/__init__.py": b"2"}),
        ({"place.py": b"1"}, {"place.py/inner.py": b"2"}),
        ({"place.py/inner.py": b"2"}, {"place.py": b"1"}),
    ],
)
def test_two_wheels_cannot_have_one_place(first: Entries, second: Entries, tmp_path: Path) -> None:
    with pytest.raises(PackagesRefusedError, match="both have"):
        unpack(tmp_path, first, second)


def test_two_wheels_may_share_the_same_file(tmp_path: Path) -> None:
    shared: Entries = {"names/__init__.py": b""}

    unpacked = unpack(tmp_path, {**shared, "names/a.py": b""}, {**shared, "names/b.py": b""})

    assert set(names(unpacked)) == {"names/__init__.py", "names/a.py", "names/b.py"}


def test_a_bomb_stops_at_the_ceiling(tmp_path: Path) -> None:
    with pytest.raises(PackagesRefusedError, match="more than the 1 MiB"):
        unpack(tmp_path, {f"demo/{n}.bin": b"\0" * (MIB // 2) for n in range(3)})


def test_an_archive_that_lies_about_sizes_is_damaged(tmp_path: Path) -> None:
    wheel = write_wheel(tmp_path, "demo", "1.0", {"demo.bin": b"\0" * MIB})
    data = wheel.read_bytes()
    size = MIB.to_bytes(4, "little")
    assert data.count(size) == 2
    wheel.write_bytes(data.replace(size, (100).to_bytes(4, "little")))

    with pytest.raises(PackagesRefusedError, match="is damaged"):
        unpack_wheels(lock_of(wheel), [wheel], tmp_path / "out", ceiling_bytes=10 * MIB)

    assert sum(f.stat().st_size for f in (tmp_path / "out").rglob("*") if f.is_file()) <= 100


@pytest.mark.parametrize("data", [b"", b"PK", b"not an archive"])
def test_what_is_no_archive_is_damaged(data: bytes, tmp_path: Path) -> None:
    wheel = write_wheel(tmp_path, "demo", "1.0", {})
    wheel.write_bytes(data)

    with pytest.raises(PackagesRefusedError, match="is damaged"):
        unpack_wheels(lock_of(wheel), [wheel], tmp_path / "out", ceiling_bytes=MIB)


def test_the_same_wheels_come_out_in_the_same_order(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    entries: dict[str | zipfile.ZipInfo, bytes] = {"z.py": b"1", "a/__init__.py": b"2"}

    first = unpack(tmp_path / "a", entries)
    second = unpack(tmp_path / "b", dict(reversed(entries.items())))

    assert [file.target for file in first.files] == [file.target for file in second.files]


def test_a_wheel_with_other_bytes_than_locked_is_refused(tmp_path: Path) -> None:
    wheel = write_wheel(tmp_path, "demo", "1.0", {"demo.py": b"good"})
    lock = lock_of(wheel)
    assert check_wheels(lock, tmp_path) == (wheel,)

    write_wheel(tmp_path, "demo", "1.0", {"demo.py": b"evil"})
    with pytest.raises(PackagesRefusedError, match="is locked to sha256"):
        check_wheels(lock, tmp_path)
    wheel.unlink()
    with pytest.raises(PackagesRefusedError, match="no file of that name"):
        check_wheels(lock, tmp_path)
