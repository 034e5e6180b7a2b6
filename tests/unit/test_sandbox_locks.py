"""Locks name wheels exactly; records of them are whole or none; the installer's words are told."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from wheelhouse import lock_of, write_wheel

from sandbox import locks
from sandbox.errors import PackagesRefusedError, PackagesUnavailableError
from sandbox.locks import LockedWheel, PackageLock
from sandbox.packagerecords import PackageChoice, PackageImage, PackageRecords

SHA = "0" * 64
BASE = "sha256:base"


@pytest.fixture
def lock(tmp_path: Path) -> PackageLock:
    return lock_of(write_wheel(tmp_path, "demo", "1.0", {"demo.py": b""}))


def image(lock: PackageLock, digest: str = "sha256:made") -> PackageImage:
    return PackageImage(
        digest=digest,
        base=BASE,
        layers=("a", "b"),
        lock=lock,
        requirements=("demo",),
        modules=("demo",),
        unpacked_bytes=1,
    )


def test_a_lock_is_known_by_its_files_alone(lock: PackageLock) -> None:
    (wheel,) = lock.wheels
    other = wheel.model_copy(update={"sha256": SHA})

    assert lock.digest == PackageLock.model_validate_json(lock.model_dump_json()).digest
    assert lock.digest != lock.model_copy(update={"wheels": (other,)}).digest
    assert (lock.pins, lock.versions) == (("demo==1.0",), {"demo": "1.0"})


@pytest.mark.parametrize(
    "fields",
    [
        {"filename": "../demo-1.0-py3-none-any.whl"},
        {"filename": "--index-url=x.whl"},
        {"filename": "demo-1.0.tar.gz"},
        {"name": "demo --index-url x"},
        {"version": "1.0 --hash=sha256:x"},
        {"version": "1.0\n--index-url x"},
        {"sha256": SHA[1:]},
    ],
    ids=repr,
)
def test_nothing_in_a_lock_can_be_more_than_a_name(fields: dict[str, str]) -> None:
    good = {
        "name": "demo",
        "version": "1.0",
        "filename": "demo-1.0-py3-none-any.whl",
        "sha256": SHA,
    }
    LockedWheel.model_validate(good)

    with pytest.raises(ValidationError):
        LockedWheel.model_validate(good | fields)


def test_an_index_of_the_policy_is_the_only_source() -> None:
    present = {"PATH": "/bin", "PIP_FIND_LINKS": "/evil", "PIP_EXTRA_INDEX_URL": "https://evil"}

    assert locks._environment(present, "") == present
    environment = locks._environment(present, "https://user:word@index.example/simple")
    assert environment == {
        "PATH": "/bin",
        "PIP_INDEX_URL": "https://user:word@index.example/simple",
        "PIP_CONFIG_FILE": "/dev/null",
    }


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("ERROR: No matching distribution found for nope", PackagesRefusedError),
        ("ERROR: ResolutionImpossible", PackagesRefusedError),
        ("", PackagesRefusedError),
        ("WARNING: Retrying (Retry(total=0)) after\nERROR: none", PackagesUnavailableError),
        ("OSError: [Errno 28] No space left on device", PackagesUnavailableError),
    ],
)
def test_who_is_to_blame_is_read_from_what_the_installer_says(
    text: str, kind: type[Exception]
) -> None:
    assert isinstance(locks._failure(text, ("nope",)), kind)


def test_passwords_of_an_index_are_not_told() -> None:
    told = str(locks._failure("ERROR: at https://user:word@index.example/simple", ("nope",)))

    assert "index.example" in told
    assert "word@" not in told


@given(st.text(max_size=500))
def test_what_the_installer_says_cannot_act_on_a_terminal(text: str) -> None:
    assert str(locks._failure(f"ERROR: {text}", ("nope",))).isprintable()


def test_what_is_kept_is_found_again(lock: PackageLock, tmp_path: Path) -> None:
    records = PackageRecords(tmp_path)
    choice = PackageChoice(requirements=("demo",), lock=lock)
    records.keep_choice(choice, "")
    records.keep_image(image(lock))

    again = PackageRecords(tmp_path)
    assert again.choice(("demo",), "") == choice
    assert again.choice(("demo",), "https://another.example") is None
    assert again.choice(("demo>1",), "") is None
    assert again.image(lock, BASE) == image(lock)
    assert again.image(lock, "sha256:another") is None
    assert again.images() == (image(lock),)


def test_a_record_that_cannot_be_read_is_none_and_goes(lock: PackageLock, tmp_path: Path) -> None:
    records = PackageRecords(tmp_path / "state")
    records.folder.mkdir()
    records.keep_choice(PackageChoice(requirements=("demo",), lock=lock), "")
    records.keep_image(image(lock))
    for path in records.folder.glob("*.json"):
        path.write_text(path.read_text()[:-5])

    assert records.choice(("demo",), "") is None
    assert records.images() == ()
    records.tidy()
    assert list(records.folder.glob("*.json")) == []


def test_a_choice_goes_with_its_last_image(lock: PackageLock, tmp_path: Path) -> None:
    records = PackageRecords(tmp_path)
    records.keep_choice(PackageChoice(requirements=("demo",), lock=lock), "")
    records.keep_image(image(lock))

    records.tidy()
    assert records.choice(("demo",), "") is not None
    records.forget_image(image(lock))
    records.tidy()
    assert records.choice(("demo",), "") is None


async def test_builders_take_turns_and_clear_up_after_killed_ones(tmp_path: Path) -> None:
    records = PackageRecords(tmp_path / "state")
    left = records.folder / f"{records.work_prefix}killed" / "deep"
    left.mkdir(parents=True)
    inside = 0

    async def build() -> None:
        nonlocal inside
        async with PackageRecords(records.folder).only_builder():
            inside += 1
            assert inside == 1
            await asyncio.sleep(0)
            inside -= 1

    await asyncio.gather(*(build() for _ in range(3)))

    assert not left.parent.exists()
