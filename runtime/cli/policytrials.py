"""`toolkiln policy test`: a policy tried on cases that say what it must decide."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer
from pydantic import JsonValue

from policies.config import SHIPPED_PROFILES
from runtime.cli.invocation import invocation, settings_of
from runtime.cli.output import AsJson, answer_no, print_columns, print_json, say
from runtime.profiles import policy_text, read_profile
from runtime.settings import names_a_file

if TYPE_CHECKING:
    from policies.cases import CaseFile, CaseResult

CASES: Final = ".cases.toml"
"""How the files of cases end that stand beside shipped profiles."""


def try_cases(
    ctx: typer.Context,
    file: Annotated[
        Path | None,
        typer.Argument(metavar="FILE", help="A file of cases. Default: the shipped ones."),
    ] = None,
    *,
    as_json: AsJson = False,
) -> None:
    """Try a policy on cases: what is asked, what must be decided.

    Exit code 1 if one fails.

    The policy is that of --policy, else the one that the file names, else the one in force.
    """
    from policies.cases import read_cases, run_cases  # noqa: PLC0415 - `--help` does without

    given = invocation(ctx).flags.get("policy")
    rows: list[tuple[str, CaseResult]] = []
    for origin, text in _case_files(file):
        cases = read_cases(text, origin=origin)
        profile = read_profile(str(given or _policy_of(cases, file) or settings_of(ctx).policy))
        rows += [(profile.name, result) for result in run_cases(cases, profile)]
    _print(rows, as_json=as_json)
    if not all(result.passed for _, result in rows):
        answer_no()


def _policy_of(cases: CaseFile, file: Path | None) -> str:
    """The policy that a file of cases names; a path starts where the file is."""
    if file is not None and cases.policy and names_a_file(cases.policy):
        relative = not cases.policy.startswith("~")
        return str(file.parent / cases.policy) if relative else cases.policy
    return cases.policy


def _print(rows: Sequence[tuple[str, CaseResult]], *, as_json: bool) -> None:
    passed = sum(result.passed for _, result in rows)
    if as_json:
        results: list[JsonValue] = [
            {"policy": name, **result.model_dump(mode="json")} for name, result in rows
        ]
        print_json({"passed": passed == len(rows), "results": results})
    else:
        print_columns(
            [
                (
                    "ok" if result.passed else "FAILED",
                    name,
                    result.name,
                    result.decided if result.passed else result.problem,
                )
                for name, result in rows
            ],
            ("", "POLICY", "CASE", "DECIDED"),
        )
        say(f"{passed} of {len(rows)} cases passed")


def _case_files(file: Path | None) -> list[tuple[str, str]]:
    if file is not None:
        return [(str(file), policy_text(str(file)))]
    return [(name, policy_text(f"{name}{CASES}", shipped=True)) for name in SHIPPED_PROFILES]
