"""Tools with files and tools that call tools, from their definitions to their calls."""

from __future__ import annotations

import asyncio
import os
import sys
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from toolmaking import adder, asks, says

from policies.evidence import Outcome
from policies.source import ToolSource
from runtime.errors import UsageError
from runtime.messages import ToolMessage
from runtime.models.scripted import ScriptedModel
from runtime.settings import Settings
from runtime.wiring import Runtime, open_runtime
from sandbox.docker_sandbox import DockerSandbox
from toolstore.models import ToolRef

POLICY = """
name = "handy"

[admission]
levels = ["L0"]
automatic_levels = ["L0"]
review = "never"
author_may_approve = true

[evidence]
examples = 1
runs_per_example = 1
property_runs = 1
property_failures = "allow"

[files]
input = true
output = true
input_bytes = 1000
artefacts = 4

[tools]
depth = 1
calls = 6
"""
TOTAL = '''def total(name: str) -> int:
    """Sum up the numbers of a file, one on a line, and leave the sum behind.

    Args:
        name: The file.

    Raises:
        FileNotFoundError: There is no such file.
    """
    sum_of_all = sum(int(line) for line in read_input(name).splitlines())
    write_output("total.csv", f"name,total\\n{name},{sum_of_all}\\n")
    return sum_of_all
'''
CALLER = '''def {name}(a: int) -> int:
    """Call another tool.

    Args:
        a: The number.
    """
    return call_tool("{callee}", a=a)
'''


@pytest.fixture
async def handy(home: Path, tmp_path: Path, sandbox: DockerSandbox) -> AsyncIterator[Runtime]:
    policy = tmp_path / "handy.toml"
    policy.write_text(POLICY)
    settings = Settings(home=home, policy=str(policy))
    async with open_runtime(settings=settings, sandbox=sandbox) as opened:
        yield opened


def tool(code: str, *examples: dict[str, Any], **permissions: Any) -> ToolSource:
    return ToolSource.model_validate(
        {
            "name": code.removeprefix("def ").partition("(")[0],
            "description": "A tool of a test.",
            "code": code,
            "examples": examples,
            "permissions": permissions,
        }
    )


def total(**files: str) -> ToolSource:
    example = {"arguments": {"name": "a.txt"}, "returns": 6, "files": {"a.txt": "1\n2\n3\n"}}
    return tool(TOTAL, example | files, files=["input", "output"])


def caller(name: str, callee: str, returns: int) -> ToolSource:
    example = {"arguments": {"a": 1}, "returns": returns}
    return tool(CALLER.format(name=name, callee=callee.partition("@")[0]), example, tools=[callee])


async def define(runtime: Runtime, source: ToolSource) -> str:
    outcome = await runtime.define_tool(source)
    assert outcome.admitted, outcome.to_text()
    return str(outcome.digest)


async def test_a_tool_is_proven_with_files_and_called_with_others(handy: Runtime) -> None:
    await define(handy, total())

    outcome = await handy.call_tool("total", {"name": "b.txt"}, files={"b.txt": b"40\n2\n"})

    assert (outcome.content, outcome.is_error) == (42, False)
    (made,) = outcome.artefacts
    assert (made.name, made.media_type) == ("total.csv", "text/csv")
    assert made.data == b"name,total\nb.txt,42\n"
    assert handy.artefacts.read(made.digest) == made.data
    assert handy.artefacts.find("total.csv").tool == "total@1"
    assert outcome.execution is not None
    assert outcome.execution.artefacts == (made.info,)
    assert "total.csv (text/csv, 20 bytes" in outcome.to_text()


async def test_a_call_without_its_file_fails_and_leaves_nothing(handy: Runtime) -> None:
    await define(handy, total())

    outcome = await handy.call_tool("total", {"name": "b.txt"}, files={"a.txt": b"1"})
    assert outcome.outcome is Outcome.RAISED
    assert "there are: a.txt" in str(outcome.content)
    outcome = await handy.call_tool("total", {"name": "b.txt"}, files={"b.txt": b"1" * 1001})
    assert "1,001 bytes, where the policy allows 1,000" in str(outcome.content)
    assert not handy.artefacts.records()
    await define(handy, adder("add", 1))
    with pytest.raises(UsageError, match="does not read files"):
        await handy.call_tool("add", {"a": 1}, files={"b.txt": b"1"})


async def test_an_example_fails_by_what_its_file_holds(handy: Runtime) -> None:
    wrong = {"arguments": {"name": "a.txt"}, "returns": 6, "files": {"a.txt": "1\n"}}
    outcome = await handy.define_tool(tool(TOTAL, wrong, files=["input", "output"]))

    assert not outcome.admitted
    (finding,) = [f for f in outcome.findings if f.rule == "TR101"]
    assert "with the files a.txt: returned 1, expected 6" in finding.message


async def test_what_the_policy_does_not_grant_is_not_proven(runtime: Runtime) -> None:
    outcome = await runtime.define_tool(total())

    assert not outcome.admitted
    assert {f.rule for f in outcome.findings if f.severity == "error"} == {"RP405"}
    assert outcome.evidence is None


async def test_tools_are_built_of_tools_pinned_where_they_were_proven(handy: Runtime) -> None:
    first = await define(handy, adder("add", 1))
    await define(handy, caller("twice", "add", 2))
    version = await handy.store.get(ToolRef(name="twice"))
    assert version.source.permissions.tools == (f"add@{first}",)

    await define(handy, adder("add", 100))
    assert (await handy.call_tool("twice", {"a": 5})).content == 6
    deep = await handy.define_tool(caller("thrice", "twice", 2))
    assert not deep.admitted
    assert "1 call(s) stand inside one another" in deep.to_text()

    await handy.store.revoke(first, actor="ada", reason="it lied")
    outcome = await handy.call_tool("twice", {"a": 5})
    assert outcome.is_error
    assert "add@1 is revoked and cannot be called: it lied" in str(outcome.content)
    missing = await handy.define_tool(caller("other", "twise", 1))
    assert "Did you mean 'twice'?" in missing.to_text()


async def test_a_session_hands_files_from_one_call_to_the_next(handy: Runtime) -> None:
    await define(handy, total())
    model = ScriptedModel.of(
        [
            asks("total", {"name": "b.txt"}),
            asks("total", {"name": "total.csv"}, "call_2"),
            says("done"),
        ]
    )
    async with handy.session(model=model, files={"b.txt": b"1\n2\n"}) as session:
        await session.send("add them up")
        results = [
            result.content
            for message in session.messages
            if isinstance(message, ToolMessage)
            for result in message.results
        ]

    assert '"result":3' in results[0]
    assert "total.csv (text/csv" in results[0]
    assert "invalid literal for int" in results[1]  # it was there, and is no list of numbers


async def test_the_command_line_hands_files_in_and_writes_them_out(
    handy: Runtime, tmp_path: Path
) -> None:
    await define(handy, total())
    numbers = tmp_path / "numbers"
    numbers.write_text("40\n2\n")

    async def toolkiln(*words: str) -> tuple[int | None, str, str]:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "runtime", "--home", str(handy.settings.home), *words),
            env={**os.environ, "TOOLKILN_POLICY": handy.settings.policy},
            stdout=PIPE,
            stderr=PIPE,
        )
        out, err = await process.communicate()
        return process.returncode, out.decode(), err.decode()

    out = tmp_path / "out"
    call = ("call", "total", '{"name": "b.txt"}', "--file", f"b.txt={numbers}")
    status, said, told = await toolkiln(*call, "--output-dir", str(out))
    assert (status, said.split()) == (0, ["42"]), told
    assert (out / "total.csv").read_text() == "name,total\nb.txt,42\n"
    status, said, told = await toolkiln(*call, "--output-dir", str(out))
    assert (status, said.split()) == (2, ["42"])  # what it returned is not lost
    assert "--force" in told
    _, said, _ = await toolkiln("artefacts", "list")
    assert "total.csv\ttext/csv" in said
    _, said, _ = await toolkiln("artefacts", "show", "total.csv")
    assert "b.txt,42" in said
    status, _, told = await toolkiln("artefacts", "save", "total.csv", str(tmp_path / "saved"))
    assert status == 0, told
    assert (tmp_path / "saved" / "total.csv").is_file()
