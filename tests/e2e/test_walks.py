"""Seven ways through a gate that another system left open; each must end at ours.

All on the real path: define, and call where anything was admitted.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from policies.source import Example, ToolSource
from runtime.wiring import Runtime
from toolstore.errors import ToolNotCallableError, ToolNotFoundError
from toolstore.models import Lifecycle

ADD = 'def add_two(a: int) -> int:\n    """Add two.\n\n    Args:\n        a: A number.\n    """\n'

LYING = (
    "class Three(int):\n"
    "        def __eq__(self, other: object) -> bool:\n            return True\n"
    "    return Three(99)\n"
)


def source(code: str, *examples: Example, name: str = "add_two") -> ToolSource:
    return ToolSource(name=name, description="Adds two.", code=code, examples=examples)


GOOD = source(ADD + "    return a + 2\n", Example(arguments={"a": 1}, returns=3))


async def nothing_is_callable(runtime: Runtime, name: str = "add_two") -> None:
    with pytest.raises((ToolNotFoundError, ToolNotCallableError)):
        await runtime.call_tool(name, {"a": 1})
    assert await runtime.store.summaries((Lifecycle.APPROVED,)) == ()


async def test_walk_1_an_empty_set_of_examples_proves_nothing(runtime: Runtime):
    outcome = await runtime.define_tool(source(ADD + "    return a + 2\n"))

    assert not (outcome.admitted or outcome.needs_review)
    assert "example" in " ".join(outcome.reasons)
    await nothing_is_callable(runtime)


@pytest.mark.parametrize(
    "body",
    [
        'print(\'{"ok": true, "value": 3}\', flush=True)\n    import os\n    os._exit(0)\n',
        "raise SystemExit(0)\n",
        LYING,
        "return True\n",
    ],
    ids=["marker and os._exit", "SystemExit", "lying equality", "true is not one"],
)
async def test_walk_2_a_tool_cannot_make_its_own_trial_pass(runtime: Runtime, body: str):
    example = Example(arguments={"a": 1}, returns=1 if "True\n" in body[-9:] else 3)

    outcome = await runtime.define_tool(source(ADD + "    " + body, example))

    assert not (outcome.admitted or outcome.needs_review)
    await nothing_is_callable(runtime)


async def test_walk_3_the_hosts_environment_is_not_in_the_sandbox(
    runtime: Runtime, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("CANARY_SECRET", "canary-7f3a")
    result = await (await runtime.sandbox()).run(
        program("import os\ndef look():\n    return dict(os.environ)\n", "look"), {}
    )

    assert result.value == {} or set(result.value) <= {"LC_CTYPE"}  # type: ignore[arg-type]
    assert "canary-7f3a" not in result.model_dump_json()
    assert os.environ["CANARY_SECRET"] == "canary-7f3a"


@pytest.mark.parametrize(
    "reach",
    [
        'getattr(__builtins__, "__imp" + "ort__")("os").getpid()',
        '__builtins__["__import__"]("os").getpid()',
        "().__class__.__base__.__subclasses__()",
        '"{0.__class__}".format(a)',
        "__import__('os').getpid()",
        "eval('1')",
        "(lambda f=eval: f('1'))()",
        "[f for f in [open]][0]('/etc/passwd').read()",
        "type(a).mro()[-1].__subclasses__()",
        "vars()",
    ],
)
async def test_walk_4_the_import_list_is_not_beaten_by_another_spelling(
    runtime: Runtime, reach: str
):
    outcome = await runtime.define_tool(
        source(ADD + f"    {reach}\n    return a + 2\n", Example(arguments={"a": 1}, returns=3))
    )

    assert not (outcome.admitted or outcome.needs_review)
    assert any(finding.rule.startswith("RP") and finding.line == 7 for finding in outcome.findings)
    await nothing_is_callable(runtime)


async def test_walk_5_an_admitted_tool_never_runs_in_the_host_process(
    runtime: Runtime, tmp_path: Path
):
    seen = ADD.replace("return a + 2", "") + (
        "    import os\n    return [os.getpid(), os.getuid()]\n"
    ).replace("return a", "return a")
    result = await (await runtime.sandbox()).run(program(seen, "add_two"), {"a": 1})

    assert result.value[1] == 65534  # type: ignore[index]
    outcome = await runtime.define_tool(GOOD)
    assert outcome.admitted
    called = await runtime.call_tool("add_two", {"a": 40})
    assert (called.content, called.is_error) == (42, False)
    assert called.execution is not None
    assert called.execution.posture.uid == 65534
    assert called.execution.container


async def test_walk_6_an_import_is_proven_like_everything_else(runtime: Runtime, other: Runtime):
    await runtime.define_tool(GOOD)
    data = await runtime.store.exchange.export(_ref("add_two"))

    imported = await other.import_bundle(data)
    assert imported.admitted
    assert imported.evidence is not None
    assert len(imported.evidence.trials) > 2
    here = await other.store.find(_ref("add_two"))
    (word,) = await other.store.exchange.words(here)
    assert word.report.verdict == "untrusted"
    assert here.evidence.digest != (await runtime.store.find(_ref("add_two"))).evidence.digest

    with pytest.raises(Exception, match=r"digest|bundle"):
        await other.import_bundle(data.replace(b"a + 2", b"a + 3"))


async def test_walk_7_one_version_of_a_name_is_active(runtime: Runtime):
    first = await runtime.define_tool(GOOD)
    second = await runtime.define_tool(
        source(ADD + "    return 2 + a\n", Example(arguments={"a": 1}, returns=3))
    )

    assert (first.ref, second.ref) == ("add_two@1", "add_two@2")
    assert [
        (version.sequence, version.state) for version in await runtime.store.history("add_two")
    ] == [(1, Lifecycle.DEPRECATED), (2, Lifecycle.APPROVED)]


def program(code: str, function: str):
    from policies.permissions import LintLevel  # noqa: PLC0415
    from sandbox.base import Program  # noqa: PLC0415

    return Program(code=code, function=function, level=LintLevel.L2)


def _ref(name: str):
    from toolstore.models import ToolRef  # noqa: PLC0415

    return ToolRef(name=name)
