"""What a tool declares against what a policy grants, and the names that a permission brings."""

from __future__ import annotations

from typing import Any

import pytest
from proposals import CLEAN, errors, findings

from policies.config import PolicyProfile
from policies.grants import grant_problems
from policies.permissions import Permissions
from policies.toolcalls import callee_name, missing_rights
from runtime.profiles import read_profile

READER = CLEAN.replace("len(text.split())", "len(read_input(text).split())")
WRITER = CLEAN.replace("    return", "    write_output('a.txt', text)\n    return")
CALLER = CLEAN.replace("len(text.split())", "call_tool('split', text=text)")


def profile(**sections: Any) -> PolicyProfile:
    local = read_profile("local").model_dump(mode="json")
    return PolicyProfile.model_validate({**local, **sections})


def problems(permissions: dict[str, Any], **sections: Any) -> list[tuple[str, str]]:
    found = grant_problems(Permissions.model_validate(permissions), profile(**sections))
    return [(problem.rule, problem.message) for problem in found]


@pytest.mark.parametrize("kind", ["input", "output"])
def test_files_are_off_until_the_policy_grants_them(kind: str) -> None:
    ((rule, message),) = problems({"files": [kind]}, files={})

    assert rule == "RP405"
    assert kind in message
    assert not problems({"files": [kind]}, files={kind: True})


def test_a_policy_may_let_no_tool_call_another() -> None:
    ((rule, message),) = problems({"tools": ["one"]}, tools={"allow": False})

    assert rule == "RP406"
    assert "'one'" in message
    assert not problems({"tools": ["one", "two@3", "three@sha256:" + "a" * 64]})


@pytest.mark.parametrize(
    "declared", ["", "a b", "../x", "one@", "one@0", "one@latest", "one@sha256:zz", "é", "1x"]
)
def test_what_is_no_reference_to_a_tool_is_refused(declared: str) -> None:
    ((rule, message),) = problems({"tools": [declared]})

    assert rule == "RP406"
    assert "no reference" in message
    assert callee_name(declared) is None


def test_a_tool_is_named_once() -> None:
    ((rule, message),) = problems({"tools": ["one", "one@2"]})

    assert rule == "RP406"
    assert "more than once" in message


def test_a_callee_needs_no_more_than_its_caller_declares() -> None:
    callee = Permissions(
        hosts=("https://a.example/", "https://b.example/"), secrets=("KEY",), files=("input",)
    )
    caller = Permissions(hosts=("https://a.example/",), tools=("callee",))

    assert missing_rights(callee, caller) == (
        "permissions.hosts: 'https://b.example/'",
        "permissions.secrets: 'KEY'",
        "permissions.files: 'input'",
    )
    assert not missing_rights(callee, callee)
    assert not missing_rights(caller, callee)


def test_what_runs_inside_its_own_walls_is_no_right() -> None:
    callee = Permissions(imports=("os",), packages=("numpy",), tools=("third",))

    assert not missing_rights(callee, Permissions())


@pytest.mark.parametrize(
    ("code", "permissions"),
    [
        (READER, {"files": ["input"]}),
        (WRITER, {"files": ["output"]}),
        (CALLER, {"tools": ["split"]}),
        (CALLER, {"tools": ["split@2"]}),
        (CALLER.replace("'split'", "text"), {"tools": ["split"]}),
    ],
)
@pytest.mark.parametrize("level", ["L0", "L2"])
def test_a_permission_brings_its_names(code: str, permissions: dict[str, Any], level: str) -> None:
    assert not errors(code, permissions={**permissions, "level": level})


@pytest.mark.parametrize(
    ("code", "permissions", "advice"),
    [
        (READER, {}, 'permissions.files = ["input"]'),
        (READER, {"files": ["output"]}, 'permissions.files = ["input"]'),
        (WRITER, {"files": ["input"]}, 'permissions.files = ["output"]'),
        (CALLER, {"files": ["input"]}, "permissions.tools"),
    ],
)
@pytest.mark.parametrize("level", ["L0", "L2"])
def test_without_it_they_are_unknown_and_the_finding_says_what_to_declare(
    code: str, permissions: dict[str, Any], advice: str, level: str
) -> None:
    (finding,) = [
        f for f in findings(code, permissions={**permissions, "level": level}) if f.rule == "RP315"
    ]

    assert advice in finding.suggestion


def test_a_tool_may_define_such_a_name_itself() -> None:
    own = "def read_input(name):\n    return name\n\n\n" + READER

    assert not errors(own)


def test_a_call_of_a_tool_that_is_not_declared_is_seen() -> None:
    (finding,) = [f for f in findings(CALLER, permissions={"tools": ["join"]}) if f.rule == "RP406"]

    assert "'split'" in finding.message
    assert "join" in finding.message
