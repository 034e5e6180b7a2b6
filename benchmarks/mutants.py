"""Which mistakes an admission notices: mutants of known-good tools, by each kind of evidence.

    python benchmarks/mutants.py [--problems 164] [--mutants 12] [--seed 1] [--json FILE]

Tools are the canonical solutions of HumanEval, their checks are examples. Each mutant is one small
change of the syntax tree (`benchmarks/mutation.py`); one that answers as the original does on all
inputs of a large set (all checks, all inputs of all columns, and 300 generated ones) counts as
equivalent and is left out. Everything runs in the sandbox, many inputs and mutants to a container.
docs/mutants.md has the table and says what the columns mean.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "support"))
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from humaneval import Problem, load_problems

from benchmarks.mutation import Mutant, mutants_of, program_of
from policies.analysis import analyse
from policies.limits import ResourceLimits, SourceLimits
from policies.schema import ToolSchema
from policies.source import Example, ToolSource
from policies.validation import validate
from policies.value import JsonObject, canonical_json
from runtime.compare import matches
from runtime.generate import generate_arguments
from runtime.trials import PROPERTY_SEED
from sandbox.base import Outcome, Program, Sandbox
from sandbox.docker_sandbox import open_docker_sandbox

GENERATED: Final = 25
"""Generated inputs of a proof, as under the profile `local`."""

RECORDED: Final = (1, 10, 100)
LARGE: Final = 300
CHUNK: Final = 150
"""Inputs to a call of the sandbox; of the original fewer, for one of them may end the container."""

FEW: Final = 10

Answer = list[Any]
Answers = dict[bytes, Answer]

_LIMITS = ResourceLimits(wall_seconds=6.0, memory_bytes=256 * 1024 * 1024)


@dataclass(frozen=True, slots=True)
class Inputs:
    """The inputs that each kind of evidence runs, for one tool."""

    examples: list[JsonObject]
    """All checks; the first is the one example, the first three are what an author gives."""

    generated: list[JsonObject]
    recorded: list[JsonObject]
    large: list[JsonObject]

    @property
    def every(self) -> list[JsonObject]:
        """All of them, each once."""
        together = [*self.examples, *self.generated, *self.recorded, *self.large]
        return list({canonical_json(each): each for each in together}.values())


@dataclass
class Counts:
    """What came of all mutants."""

    problems: int = 0
    mutants: int = 0
    equivalent: int = 0
    gave_out: int = 0
    """Mutants that ended their container: they are in no column."""

    skipped: list[str] = field(default_factory=list)
    caught: dict[str, int] = field(default_factory=dict)
    by_operator: dict[str, list[int]] = field(default_factory=dict)
    """Killed by all together, and how many there are."""

    @property
    def judged(self) -> int:
        """Mutants that differ and could be tried."""
        return self.mutants - self.equivalent - self.gave_out


def inputs_of(problem: Problem, schema: ToolSchema, seed: int) -> Inputs:
    """The same inputs each time for one seed.

    Recorded calls are made up, for nobody has called these tools: the checks that are no examples
    and variations of all checks, in a random order.
    """
    checks = [call["arguments"] for call in problem.calls]
    examples = tuple(Example.model_validate(call) for call in problem.calls)
    generated = generate_arguments(schema, examples[:3], count=GENERATED, seed=PROPERTY_SEED)
    usage = generate_arguments(schema, examples, count=max(RECORDED), seed=seed)
    calls = [*checks[3:], *usage]
    random.Random(f"{seed} {problem.task_id}").shuffle(calls)  # noqa: S311 - a sample
    large = generate_arguments(schema, examples, count=LARGE, seed=seed + 1)
    return Inputs(checks, list(generated), calls[: max(RECORDED)], list(large))


async def answers_of(
    program: Program, sandbox: Sandbox, jobs: Sequence[tuple[int, list[JsonObject]]]
) -> dict[int, Answers]:
    """What each function answers; inputs of a call that ends the container have no answer."""
    left = list(jobs)
    answers: dict[int, Answers] = {}
    while left:
        calls: list[JsonObject] = [{"which": which, "inputs": [*part]} for which, part in left]
        results = await sandbox.run_batch(program, calls)
        for (which, part), result in zip(left, results, strict=False):
            if result.outcome is Outcome.RETURNED and isinstance(result.value, list):
                mine = answers.setdefault(which, {})
                for each, answer in zip(part, result.value, strict=True):
                    assert isinstance(answer, list)
                    mine[canonical_json(each)] = answer
        left = left[max(1, len(results)) :]
    return answers


def is_same(before: Answer, after: Answer | None) -> bool:
    """Whether a caller would see the same."""
    return after is not None and before[0] == after[0] and matches(before[1], after[1])


def breaks_contract(answer: Answer | None, schema: ToolSchema) -> bool:
    """What a property run alone can see: no value is known, only what is declared."""
    if answer is None or answer[0] == "stuck":
        return True
    if answer[0] == "raised":
        return answer[1] not in schema.raises
    return bool(validate(answer[1], schema.returns))


def columns(
    inputs: Inputs, original: Answers, schema: ToolSchema
) -> dict[str, Callable[[Answers], bool]]:
    """Each kind of evidence: whether it catches a mutant with these answers."""

    def differs(some: Sequence[JsonObject]) -> Callable[[Answers], bool]:
        keys = [key for key in map(canonical_json, some) if key in original]
        return lambda mutant: any(not is_same(original[k], mutant.get(k)) for k in keys)

    def contract(mutant: Answers) -> bool:
        return any(
            breaks_contract(mutant.get(key), schema) and not breaks_contract(original[key], schema)
            for key in map(canonical_json, inputs.generated)
            if key in original
        )

    def either(*tests: Callable[[Answers], bool]) -> Callable[[Answers], bool]:
        return lambda mutant: any(test(mutant) for test in tests)

    beside = differs(inputs.generated)
    first = either(differs(inputs.examples[:3]), contract)
    named = {
        "1 example": differs(inputs.examples[:1]),
        "3 examples": differs(inputs.examples[:3]),
        "all checks as examples": differs(inputs.examples),
        "25 property runs alone": contract,
        "25 generated inputs beside the predecessor": beside,
    }
    for count in RECORDED:
        calls = f"{count} recorded call{'s' if count > 1 else ''}"
        named[f"replay of {calls}"] = differs(inputs.recorded[:count])
    named["a first version: 3 examples, 25 property runs"] = first
    for count in RECORDED:
        calls = f"{count} recorded call{'s' if count > 1 else ''}"
        named[f"an upgrade: that, 25 generated inputs beside, {calls}"] = either(
            first, beside, differs(inputs.recorded[:count])
        )
    return named


async def judge(
    problem: Problem, options: argparse.Namespace, sandbox: Sandbox, all_: Counts
) -> None:
    """Try the mutants of one tool and count them."""
    source = ToolSource(name=problem.entry_point, description=problem.task_id, code=problem.code)
    schema = analyse(source, SourceLimits()).source_schema
    mutants = mutants_of(problem.code, options.mutants, f"{options.seed} {problem.task_id}")
    if schema is None or len(problem.calls) < 4 or not mutants:
        all_.skipped.append(problem.task_id)
        return
    inputs = await asyncio.to_thread(inputs_of, problem, schema, options.seed)
    original = await _original(problem, inputs.every, sandbox)
    usable = [each for each in inputs.every if canonical_json(each) in original]
    parts = [usable[i : i + CHUNK] for i in range(0, len(usable), CHUNK)]
    numbers = range(len(mutants))
    program = _program(problem, [mutant.code for mutant in mutants])
    answers = await answers_of(program, sandbox, [(n, part) for n in numbers for part in parts])
    tests = columns(inputs, original, schema)
    all_.problems += 1
    for number, mutant in zip(numbers, mutants, strict=True):
        _count(mutant, answers.get(number, {}), original, tests, all_)


async def _original(problem: Problem, inputs: list[JsonObject], sandbox: Sandbox) -> Answers:
    """What the tool itself answers; inputs on which it is stuck or stopped are left out."""
    parts = [inputs[i : i + FEW] for i in range(0, len(inputs), FEW)]
    found = await answers_of(_program(problem, [problem.code]), sandbox, [(0, p) for p in parts])
    return {key: answer for key, answer in found.get(0, {}).items() if answer[0] != "stuck"}


def _program(problem: Problem, codes: list[str]) -> Program:
    code = program_of(codes, problem.entry_point)
    return Program(code=code, function="try_all", limits=_LIMITS)


def _count(
    mutant: Mutant,
    answers: Answers,
    original: Answers,
    tests: dict[str, Callable[[Answers], bool]],
    all_: Counts,
) -> None:
    all_.mutants += 1
    if len(answers) < len(original):
        all_.gave_out += 1
        return
    if all(is_same(answer, answers[key]) for key, answer in original.items()):
        all_.equivalent += 1
        return
    tally = all_.by_operator.setdefault(mutant.operator, [0, 0])
    tally[1] += 1
    caught = {name: test(answers) for name, test in tests.items()}
    for name, is_caught in caught.items():
        all_.caught[name] = all_.caught.get(name, 0) + is_caught
    tally[0] += any(caught.values())


def table(counts: Counts) -> Iterator[str]:
    """The table, in Markdown."""
    yield "| evidence | caught | of all |"
    yield "|---|---:|---:|"
    for name, caught in counts.caught.items():
        yield f"| {name} | {caught:,} | {100 * caught / max(1, counts.judged):.1f} % |"


async def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description="Which mistakes an admission notices.")
    parser.add_argument("--problems", type=int, default=164, help="So many tools, spread evenly.")
    parser.add_argument("--mutants", type=int, default=12, help="Of each tool, at the most.")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--parallel", type=int, default=2, help="Tools at a time.")
    parser.add_argument("--json", type=Path, help="File for everything that was counted.")
    options = parser.parse_args()
    problems = load_problems()
    step = max(1, len(problems) // options.problems)
    chosen = problems[::step][: options.problems]
    counts, places, started = Counts(), asyncio.Semaphore(options.parallel), time.monotonic()

    with tempfile.TemporaryDirectory() as folder:
        async with await open_docker_sandbox(
            state_dir=Path(folder), docker_host=None, progress=_say
        ) as sandbox:

            async def one(problem: Problem) -> None:
                async with places:
                    await judge(problem, options, sandbox, counts)
                    _say(f"{problem.task_id}: {counts.mutants} mutants so far")

            await asyncio.gather(*map(one, chosen))
    seconds = time.monotonic() - started
    print("\n".join(table(counts)))
    print(
        f"\n{counts.judged:,} mutants of {counts.problems} tools (seed {options.seed}); "
        f"{counts.equivalent:,} more are equivalent, {counts.gave_out} ended their container, "
        f"{len(counts.skipped)} tools have too few checks. {seconds:.0f} seconds."
    )
    if options.json:
        document = {
            "seed": options.seed,
            "tools": counts.problems,
            "mutants": counts.judged,
            "equivalent": counts.equivalent,
            "gave_out": counts.gave_out,
            "skipped": counts.skipped,
            "caught": counts.caught,
            "by_operator": counts.by_operator,
            "seconds": round(seconds, 1),
        }
        options.json.write_text(json.dumps(document, indent=2) + "\n", "utf-8")


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    asyncio.run(main())
