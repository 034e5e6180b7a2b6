"""Files go in and come out, tools call tools, and a session passes files from call to call."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from toolmaking import asks, says

from policies.permissions import Permissions
from policies.source import Example, ToolSource
from runtime.models.scripted import ScriptedModel
from runtime.settings import Settings
from runtime.wiring import Runtime, open_runtime
from sandbox.docker_sandbox import DockerSandbox

POLICY = """
name = "files-and-tools"
[admission]
levels = ["L0", "L2"]
automatic_levels = ["L0"]
review = "never"
author_may_approve = true
[evidence]
examples = 1
runs_per_example = 1
property_runs = 0
property_failures = "allow"
[files]
input = true
output = true
[tools]
depth = 2
calls = 5
"""

WRITER = ToolSource(
    name="write_report",
    description="Writes a line into a file.",
    code="def write_report(line: str) -> int:\n"
    '    """Write a line into report.txt.\n\n    Args:\n        line: What to write.\n    """\n'
    "    write_output('report.txt', line)\n"
    "    return len(line)\n",
    examples=(Example(arguments={"line": "abc"}, returns=3),),
    permissions=Permissions(files=("output",)),
)
READER = ToolSource(
    name="count_words",
    description="Counts the words of every file.",
    code="def count_words() -> dict[str, int]:\n"
    '    """Count the words of each file that was handed in."""\n'
    "    return {name: len(read_input(name).split()) for name in input_names()}\n",
    examples=(Example(arguments={}, returns={}),),
    permissions=Permissions(files=("input",)),
)
DOUBLE = ToolSource(
    name="double_it",
    description="Doubles a number.",
    code="def double_it(a: int) -> int:\n"
    '    """Double.\n\n    Args:\n        a: A number.\n    """\n'
    "    return 2 * a\n",
    examples=(Example(arguments={"a": 2}, returns=4),),
)
QUADRUPLE = ToolSource(
    name="quadruple",
    description="Doubles a number twice.",
    code="def quadruple(a: int, times: int) -> int:\n"
    '    """Double a number.\n\n'
    '    Args:\n        a: A number.\n        times: How often.\n    """\n'
    "    for _ in range(times):\n"
    "        a = call_tool('double_it', a=a)\n"
    "    return a\n",
    examples=(Example(arguments={"a": 3, "times": 2}, returns=12),),
    permissions=Permissions(tools=("double_it",)),
)


@pytest.fixture
async def granted(tmp_path: Path, sandbox: DockerSandbox) -> AsyncIterator[Runtime]:
    policy = tmp_path / "policy.toml"
    policy.write_text(POLICY)
    settings = Settings(home=tmp_path / "home", policy=str(policy))
    async with open_runtime(settings=settings, sandbox=sandbox) as runtime:
        yield runtime


async def admit(runtime: Runtime, *sources: ToolSource) -> None:
    for source in sources:
        outcome = await runtime.define_tool(source)
        assert outcome.admitted, outcome.to_text()


async def test_files_go_in_and_come_out(granted: Runtime) -> None:
    await admit(granted, WRITER, READER)

    made = await granted.call_tool("write_report", {"line": "one two"})
    counted = await granted.call_tool("count_words", {}, files={"a.txt": b"one two three"})

    assert [(file.name, file.data) for file in made.artefacts] == [("report.txt", b"one two")]
    assert "report.txt (text/plain" in made.to_text()
    assert granted.artefacts.read(made.artefacts[0].digest) == b"one two"
    assert made.execution is not None
    assert [file.name for file in made.execution.artefacts] == ["report.txt"]
    assert counted.content == {"a.txt": 3}


async def test_a_session_hands_files_from_one_call_to_the_next(granted: Runtime) -> None:
    await admit(granted, WRITER, READER)
    model = ScriptedModel.of(
        [asks("write_report", {"line": "a b c"}), asks("count_words", {}), says("done")]
    )

    async with granted.session(model=model, files={"own.txt": b"one"}) as session:
        await session.send("write, then count")
        results = [
            result.content
            for message in session._agent.messages
            for result in getattr(message, "results", ())
        ]

    assert '"result":{"own.txt":1,"report.txt":3}' in results[1]


async def test_a_tool_calls_the_version_that_it_was_proven_with(granted: Runtime) -> None:
    await admit(granted, DOUBLE, QUADRUPLE)
    callee = await granted.store.find((await granted.store.history("double_it"))[0].ref)

    called = await granted.call_tool("quadruple", {"a": 5, "times": 2})
    too_often = await granted.call_tool("quadruple", {"a": 5, "times": 6})
    caller = (await granted.store.history("quadruple"))[0]
    await granted.store.revoke(callee.digest, actor="eve", reason="no longer trusted")
    revoked = await granted.call_tool("quadruple", {"a": 5, "times": 1})

    assert called.content == 20, called.content
    assert caller.source.permissions.tools == (f"double_it@{callee.digest}",)
    assert too_often.is_error
    assert "5 calls of other tools are all that the policy allows" in str(too_often.content)
    assert revoked.is_error
    assert "revoked" in str(revoked.content)


async def test_what_the_policy_does_not_grant_is_refused_before_any_trial(
    runtime: Runtime,
) -> None:
    outcome = await runtime.define_tool(WRITER)

    assert [finding.rule for finding in outcome.findings] == ["RP405"]
    assert "policy local does not grant" in outcome.to_text()


async def test_the_command_line_hands_files_in_and_writes_them_out(
    granted: Runtime, tmp_path: Path
) -> None:
    await admit(granted, WRITER, READER)
    text = tmp_path / "words.txt"
    text.write_text("x y")

    def toolkiln(*words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "runtime", "--home", str(granted.settings.home), *words]
        environment = {**os.environ, "TOOLKILN_POLICY": granted.settings.policy}
        return subprocess.run(
            command, capture_output=True, check=False, text=True, env=environment, timeout=120
        )

    out = tmp_path / "out"
    written = toolkiln("call", "write_report", '{"line": "hi"}', "--output-dir", str(out))
    again = toolkiln("call", "write_report", '{"line": "hi"}', "--output-dir", str(out))
    counted = toolkiln("call", "count_words", "--file", f"w.txt={text}")
    listed = toolkiln("artefacts", "list")
    saved = toolkiln("artefacts", "save", "report.txt", str(tmp_path / "saved"))

    assert written.returncode == 0, written.stderr
    assert (out / "report.txt").read_text() == "hi"
    assert again.returncode == 2
    assert "--force" in again.stderr
    assert counted.stdout.split() == ['{"w.txt":2}'], counted.stderr
    assert "report.txt" in listed.stdout
    assert saved.returncode == 0, saved.stderr
    assert (tmp_path / "saved" / "report.txt").read_text() == "hi"
