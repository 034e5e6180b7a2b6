# ruff: noqa: RUF001  look-alike letters are what some tests are about
from __future__ import annotations

import gzip
import json

import pytest
from humaneval import DATA
from hypothesis import given
from hypothesis import strategies as st
from proposals import rules

from policies.names import BUILTIN_NAMES, RESERVED_NAMES, check_tool_name, name_skeleton
from policies.reporter import Reporter

NAMING = {"LM301", "LM302", "LM303", "LM304", "LM305"}


def naming(name: str) -> set[str]:
    return rules(name=name) & NAMING


@pytest.mark.parametrize(
    ("name", "rule"),
    [
        ("", "LM301"),
        ("rеad_file", "LM301"),
        ("read-file", "LM301"),
        ("read_file ", "LM301"),
        ("../x", "LM301"),
        ("a/b", "LM301"),
        ("a\x00b", "LM301"),
        (".hidden", "LM301"),
        ("--privileged", "LM301"),
        ("_private", "LM301"),
        ("1st", "LM301"),
        ("a" * 65, "LM301"),
        ("name\n", "LM301"),
        ("𝓮𝓿𝓪𝓵", "LM301"),
        ("١", "LM301"),
        ("class", "LM302"),
        ("None", "LM302"),
        ("eval", "LM302"),
        ("open", "LM302"),
        ("CON", "LM305"),
        ("nul", "LM305"),
        ("lpt9", "LM305"),
        ("define_tool", "LM303"),
        ("Define_Tool", "LM303"),
        ("definetool", "LM303"),
        ("def1ne_too1", "LM303"),
        ("read_file", "LM303"),
        ("Read_File", "LM303"),
        ("readfile", "LM303"),
        ("bash", "LM303"),
        ("BASH", "LM303"),
        ("transfer_to_billing", "LM303"),
        ("define_tools", "LM304"),
        ("defin_tool", "LM304"),
        ("dfeine_tool", "LM304"),
        ("find_tool", "LM304"),
        ("creat_task", "LM304"),
        ("check_tasks", "LM304"),
        ("cancel_tusk", "LM304"),
    ],
)
def test_a_bad_name_is_refused(name: str, rule: str) -> None:
    assert rule in naming(name)


@pytest.mark.parametrize(
    "name",
    ["f", "bf", "add", "digitSum", "Strongest_Extension", "refine_tool_steps", "a" * 64, "x_1"],
)
def test_a_plain_name_is_taken(name: str) -> None:
    assert naming(name) == set()


@pytest.mark.parametrize("name", sorted(RESERVED_NAMES))
def test_every_reserved_name_is_refused(name: str) -> None:
    assert naming(name)


@given(st.sampled_from(sorted(BUILTIN_NAMES)), st.data())
def test_one_edit_of_a_built_in_is_refused(name: str, data: st.DataObject) -> None:
    letters = st.sampled_from("abcdefghijklmnopqrstuvwxyz_")
    place = data.draw(st.integers(1, len(name) - 1))
    letter = data.draw(letters)
    edited = data.draw(
        st.sampled_from(
            [
                name[:place] + letter + name[place:],
                name[:place] + letter + name[place + 1 :],
                name[:place] + name[place + 1 :],
            ]
        )
    )

    assert naming(edited)


@given(st.text(st.characters()))
def test_no_name_breaks_the_check(name: str) -> None:
    report = Reporter("")
    check_tool_name(name, report)

    assert all(f.rule in NAMING for f in report.findings)


@given(st.text())
def test_a_skeleton_is_its_own_skeleton_but_for_case(name: str) -> None:
    assert name_skeleton(name.upper()) == name_skeleton(name.upper().lower())


def test_a_suggested_name_is_a_good_one() -> None:
    report = Reporter("")
    for name in ("read file!", "Ünïcode", "--", "eval()", "9 lives", "def"):
        check_tool_name(name, report)
    suggested = [f.suggestion.split("'")[1] for f in report.findings if f.rule == "LM301"]

    assert len(suggested) == 5
    assert [naming(name) for name in suggested] == [set()] * 5


def test_humaneval_entry_points_are_names() -> None:
    with gzip.open(DATA, "rt") as lines:
        points = [json.loads(line)["entry_point"] for line in lines]

    assert {name: naming(name) for name in points if naming(name)} == {}
