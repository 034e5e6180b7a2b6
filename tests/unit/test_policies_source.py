"""Examples with files, and digests that stay what they were."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from policies.config import PolicyProfile
from policies.examplefiles import example_file_problems
from policies.permissions import Permissions
from policies.source import Example, ToolSource
from policies.value import sha256_digest
from runtime.profiles import read_profile

OLD = ToolSource(
    name="double",
    description="Double a number.",
    code="def double(number: int) -> int:\n    return number * 2\n",
    examples=(
        Example(arguments={"number": 2}, returns=4),
        Example(arguments={"number": "x"}, raises="TypeError"),
    ),
)


def with_files(texts: dict[str, str], **permissions: Any) -> ToolSource:
    example = Example(arguments={}, returns=1, files=texts)
    changed = {"examples": (example,), "permissions": Permissions(**permissions)}
    return OLD.model_copy(update=changed)


def profile(**files: Any) -> PolicyProfile:
    return PolicyProfile.model_validate({**read_profile("local").model_dump(), "files": files})


def test_a_source_without_files_and_tools_has_the_digest_that_it_always_had() -> None:
    assert OLD.digest == "sha256:db33ba5cda73509b30d98b3d1a44de55d53d2d2636708357e916f0795f7aefaf"


def test_files_and_tools_are_part_of_the_digest() -> None:
    sources = [
        with_files({}),
        with_files({"a.txt": "1"}),
        with_files({"a.txt": "2"}),
        with_files({"b.txt": "1"}),
        with_files({}, tools=("other",)),
    ]

    assert len({source.digest for source in sources}) == len(sources)
    for source in sources:
        assert ToolSource.model_validate(source.to_json()) == source


def test_an_example_says_what_its_files_hold() -> None:
    example = Example(arguments={}, returns=1, files={"a.txt": "grün"})

    assert example.inputs == {"a.txt": "grün".encode()}
    assert example.identity == {
        "arguments": {},
        "files": {"a.txt": sha256_digest("grün".encode())},
        "returns": 1,
    }
    assert Example.model_validate({"arguments": {}, "returns": 1, "files": None}).files == {}


@pytest.mark.parametrize("name", ["../x", "a/b", "", ".x", "a b"])
def test_the_name_of_a_file_is_plain(name: str) -> None:
    with pytest.raises(ValidationError, match="no plain file name"):
        Example(arguments={}, returns=1, files={name: ""})


def test_files_of_examples_must_fit_what_is_declared_and_granted() -> None:
    undeclared = example_file_problems(with_files({"a.txt": "1"}), profile(input=True))
    large = example_file_problems(
        with_files({"a.txt": "12345"}, files=("input",)), profile(input=True, input_bytes=4)
    )
    fine = example_file_problems(
        with_files({"a.txt": "1234"}, files=("input",)), profile(input=True, input_bytes=4)
    )

    assert [problem.rule for problem in (*undeclared, *large)] == ["RP405", "RP405"]
    assert "does not declare" in undeclared[0].message
    assert "5 bytes, where policy local allows 4" in large[0].message
    assert not fine
