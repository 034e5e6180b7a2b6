from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

import pytest
from proposals import CLEAN, LIMITS, body, proposal

from policies.findings import Finding
from policies.limits import SourceLimits
from runtime.analyzer import Analyzer
from runtime.errors import AnalyzerError

WIDE = SourceLimits(
    code_bytes=256_000,
    lines=10_000,
    line_characters=2_000,
    tree_depth=100,
    tree_nodes=100_000,
    comprehension_depth=10,
    try_depth=10,
)
"""The widest limits that can be configured: what they let through must do no harm either."""


def deep_finally(depth: int) -> str:
    """`try: pass finally: (try: pass finally: (...))`: the compiler copies each `finally`."""
    lines = ["def f():"]
    for level in range(depth):
        indent = " " * (level + 1)
        lines += [indent + "try:", indent + " x = 1", indent + "finally:"]
    lines.append(" " * (depth + 1) + "x = 2")
    return "\n".join(lines)


BOMBS = {
    "99 nested comprehensions": "x = (\n" + "[\n" * 99 + "a" + "\nfor a in b]" * 99 + ")",
    "25 nested comprehensions": "x = (\n" + "[" * 25 + "a" + "\nfor a in b]" * 25 + ")",
    "finally in finally, 16": deep_finally(16),
    "finally in finally, 20": deep_finally(20),
    "many lines": "a=1\n" * 1_000_000,
    "a long list": "x = [" + "1,\n" * 60_000 + "]",
    "unary chain": "x = (\n" + "-\n" * 9_000 + "1)",
    "sum chain": "x = (1" + "\n+ 1" * 9_000 + ")",
    "attribute chain": "x = (a" + "\n.b" * 9_000 + ")",
    "call chain": "x = a" + "(\n)" * 9_000,
    "ternary chain": "x = (" + "1 if a else\n" * 5_000 + "1)",
    "elif chain": "if a: pass\n" + "elif a: pass\n" * 5_000,
    "lambda chain": "x = (" + "lambda:\n" * 5_000 + "1)",
    "not chain": "x = (" + "not\n" * 9_000 + "1)",
    "parentheses": "x = " + "(\n" * 250 + "1" + ")" * 250,
    "indents": "".join(" " * i + "if a:\n" for i in range(110)) + " " * 110 + "pass",
    "integer literal": "x = (" + "9" * 1_999 + ")",
    "integer literals of many digits": "x = 1_" + "9" * 280,
    "static blocks": "".join(" " * i + "for a in b:\n" for i in range(25)) + " " * 25 + "pass",
    "nested f-strings": "x = " + "f'{f\"{" * 1 + "1" + "}\"}'",
    "f-string with many fields": "x = f'''" + "{a}\n" * 5_000 + "'''",
    "constant folding": "x = 'a' * 10 ** 9\ny = 2 ** 10 ** 8\nz = (0,) * 10 ** 9",
    "many decorators": "@a\n" * 9_000 + "def g(): pass",
    "dict display": "x = {" + "1: {\n" * 90 + "1: 1" + "}" * 90 + "}",
    "match": "match a:\n case " + "[\n" * 95 + "b" + "]" * 95 + ":\n  pass",
    "backslashes": "x = 1 + \\\n" * 2_000 + "1",
    "open string": "x = '''" + "a\n" * 5_000,
    "annotation": "def g(x: " + "list[\n" * 90 + "int" + "]" * 90 + "): pass",
    "string annotation": 'def count_words(x: "' + "list[" * 60 + "int" + "]" * 60 + '"): pass',
}


@pytest.mark.parametrize("code", BOMBS.values(), ids=BOMBS.keys())
@pytest.mark.parametrize("limits", [LIMITS, WIDE], ids=["default limits", "widest limits"])
async def test_the_host_survives_compile_bombs(code: str, limits: SourceLimits) -> None:
    analysis = await Analyzer().analyse(proposal(body(code)), limits)

    assert analysis.report.findings or analysis.source_schema is not None


async def test_a_clean_source_is_analysed_as_in_process() -> None:
    analysis = await Analyzer().analyse(
        proposal(examples=[{"arguments": {"text": "a"}, "returns": 1}]), LIMITS
    )

    assert analysis.report.findings == ()
    assert analysis.source_schema is not None


async def test_the_hostile_text_runs_nowhere(tmp_path: Path) -> None:
    mark = tmp_path / "ran"
    code = body(f"import os\nos.mkdir({str(mark)!r})")
    await Analyzer().analyse(proposal(code), LIMITS)
    await Analyzer().analyse(proposal(code, permissions={"imports": ["os"]}), LIMITS)

    assert not mark.exists()


async def test_many_at_once_and_started_ahead() -> None:
    async with Analyzer() as analyzer:
        analyses = await asyncio.gather(
            *(analyzer.analyse(proposal(body(f"x = {i}")), LIMITS) for i in range(6))
        )

    assert all(analysis.report.passed for analysis in analyses)


def shell(script: str) -> tuple[str, ...]:
    return ("/bin/sh", "-c", script)


async def finding_of(analyzer: Analyzer) -> Finding:
    analysis = await analyzer.analyse(proposal(), LIMITS)
    (finding,) = analysis.report.findings
    assert analysis.source_schema is None
    return finding


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("echo ready; cat >/dev/null; kill -SEGV $$", "crashed with SIGSEGV"),
        ("echo ready; cat >/dev/null; kill -XCPU $$", "processor time or memory"),
        ("echo ready; exec cat /dev/zero", "larger than"),
        ("echo ready; exec sleep 100", "longer than 0.5 seconds"),
        ("echo ready; cat >/dev/null; exit 1", "status 1"),
        ("echo ready; cat >/dev/null; echo '{}'", "no well-formed answer"),
        ("echo ready; cat >/dev/null", "no well-formed answer"),
        ("echo ready", "no well-formed answer"),
    ],
)
async def test_a_worker_that_dies_or_babbles_is_a_finding(script: str, words: str) -> None:
    finding = await finding_of(Analyzer(command=shell(script), wall_seconds=0.5))

    assert finding.rule == "RP901"
    assert words in finding.message


@pytest.mark.parametrize(
    "command",
    [("/no/such/program",), shell("exit 1"), shell("echo something else; cat >/dev/null")],
)
async def test_a_worker_that_is_not_ours_is_our_failure(command: tuple[str, ...]) -> None:
    with pytest.raises(AnalyzerError, match="Nothing was analysed"):
        await Analyzer(command=command).analyse(proposal(), LIMITS)


async def test_cancelling_kills_the_worker(tmp_path: Path) -> None:
    note = tmp_path / "pid"
    analyzer = Analyzer(command=shell(f"echo $$ > {note}.new; mv {note}.new {note}; sleep 100"))
    task = asyncio.create_task(analyzer.analyse(proposal(), LIMITS))
    while not note.exists():  # noqa: ASYNC110 - another process writes it
        await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    with pytest.raises(ProcessLookupError):
        os.kill(int(note.read_text()), 0)


async def test_the_worker_has_ceilings(tmp_path: Path) -> None:
    program = (
        "import resource as r, runtime.analysis_worker as w; w.limit_this_process(); "
        "print([r.getrlimit(k)[0] for k in (r.RLIMIT_AS, r.RLIMIT_CPU, r.RLIMIT_CORE)])"
    )
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-I", "-c", program, stdout=asyncio.subprocess.PIPE
    )
    output, _ = await process.communicate()

    assert output.decode().strip() == str([1 << 30, 5, 0])


async def test_the_worker_loads_nothing_that_it_does_not_need() -> None:
    program = (
        "import sys, runtime.analysis_worker; "
        "print([m for m in ('openai', 'docker', 'sqlalchemy', 'hypothesis', 'typer', 'rich')"
        " if m in sys.modules])"
    )
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-I", "-c", program, stdout=asyncio.subprocess.PIPE
    )
    output, _ = await process.communicate()

    assert output.decode().strip() == "[]"


async def test_text_that_is_refused_unparsed_needs_no_worker() -> None:
    analyzer = Analyzer(command=("/no/such/program",))
    analysis = await analyzer.analyse(proposal(CLEAN + "\r"), LIMITS)

    assert [f.rule for f in analysis.report.findings] == ["LM112"]
