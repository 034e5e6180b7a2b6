"""Values of secrets: from the environment or a private file, and nothing that could leak."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from pydantic import SecretStr

from runtime.errors import SettingsError
from runtime.secrets import SecretProblem, SecretSource
from runtime.settings import read_settings

VALUE = "correct-horse-battery"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "secrets"
    folder.mkdir(mode=0o700)
    return folder


def write(folder: Path, text: str = VALUE, *, mode: int = 0o600, name: str = "github") -> Path:
    path = folder / name
    path.write_text(text)
    path.chmod(mode)
    return path


def source(folder: Path, **variables: str) -> SecretSource:
    return SecretSource({name: SecretStr(text) for name, text in variables.items()}, folder)


def test_the_environment_comes_before_the_file(folder: Path) -> None:
    write(folder)

    assert source(folder)("github") == VALUE
    assert source(folder, GITHUB="another-value")("github") == "another-value"
    assert source(folder)("gitlab") is None


@pytest.mark.parametrize("end", ["\n", "\r\n", ""])
def test_the_last_line_end_of_a_file_is_not_the_values(folder: Path, end: str) -> None:
    write(folder, VALUE + end)

    assert source(folder).read("github") == VALUE


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o602, 0o610, 0o644, 0o666])
def test_a_file_that_others_can_get_at_is_not_read(folder: Path, mode: int) -> None:
    write(folder, mode=mode)

    with pytest.raises(SecretProblem, match=f"{mode:04o}.*chmod 600"):
        source(folder).read("github")
    assert source(folder)("github") is None


def test_no_link_and_no_pipe_is_followed(folder: Path, tmp_path: Path) -> None:
    elsewhere = write(tmp_path, name="elsewhere")
    (folder / "github").symlink_to(elsewhere)
    os.mkfifo(folder / "pipe", 0o600)

    for name in ("github", "pipe"):
        with pytest.raises(SecretProblem):
            source(folder).read(name)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_a_file_of_another_user_is_not_read(folder: Path) -> None:
    os.chown(write(folder), 12_345, -1)

    with pytest.raises(SecretProblem, match="another user"):
        source(folder).read("github")


@pytest.mark.parametrize(
    "value", ["", "short", "with\nline-end", " blank-first", "blank-last ", "tab\tinside", "é" * 9]
)
def test_a_value_that_no_header_can_have_is_refused_without_being_shown(
    folder: Path, value: str
) -> None:
    write(folder, value)

    with pytest.raises(SecretProblem) as problem:
        source(folder).read("github")
    assert not value or value not in str(problem.value)


@pytest.mark.parametrize("name", ["../github", "a/b", "", ".hidden", "a b", "a\0b", "x" * 65])
def test_a_name_never_leads_out_of_the_folder(folder: Path, name: str) -> None:
    with pytest.raises(SecretProblem):
        source(folder).read(name)


def test_settings_take_secrets_from_the_environment_alone(tmp_path: Path) -> None:
    home = tmp_path / "home"
    environment = {"TOOLKILN_HOME": str(home), "TOOLKILN_SECRET_GITHUB": VALUE}

    settings = read_settings(environment=environment, folder=tmp_path)

    assert SecretSource(settings.secrets, settings.secrets_folder)("github") == VALUE
    assert VALUE not in repr(settings)
    assert VALUE not in settings.model_dump_json()
    (tmp_path / "toolkiln.toml").write_text(f'[secrets]\nGITHUB = "{VALUE}"\n')
    with pytest.raises(SettingsError, match="TOOLKILN_SECRET_<NAME>"):
        read_settings(environment=environment, folder=tmp_path)
