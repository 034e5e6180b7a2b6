"""Proposals that hold what has no bytes: refused with what to mend, and never an error of ours."""

from __future__ import annotations

from pathlib import Path

import pytest
from factories import make_source

from policies.permissions import Permissions
from policies.source import Example, ToolSource
from runtime.settings import Settings
from runtime.wiring import open_runtime

HALF = "\ud800"
CASES: dict[str, tuple[ToolSource, str]] = {
    "name": (make_source("dou" + HALF), "LM301"),
    "description": (make_source(description="Double " + HALF), "LM203"),
    "code": (make_source(code=f"def double(number: int) -> int:\n    return '{HALF}'\n"), "LM116"),
    "argument": (make_source(examples=(Example(arguments={"number": HALF}, returns=4),)), "LM403"),
    "key": (make_source(examples=(Example(arguments={HALF: 2}, returns=4),)), "LM403"),
    "value": (make_source(examples=(Example(arguments={"number": 2}, returns=HALF),)), "LM403"),
    "no number": (
        make_source(examples=(Example(arguments={"number": 2}, returns=float("nan")),)),
        "LM403",
    ),
    **{
        field: (
            make_source().model_copy(update={"permissions": Permissions(**{field: (HALF,)})}),
            "LM116",
        )
        for field in ("imports", "packages", "secrets", "tools")
    },
}


async def test_a_proposal_without_bytes_is_refused_with_what_to_mend(tmp_path: Path) -> None:
    async with open_runtime(settings=Settings(home=tmp_path)) as runtime:
        for what, (source, rule) in CASES.items():
            with pytest.raises(ValueError, match=r"surrogates not allowed|not JSON compliant"):
                _ = source.digest
            outcome = await runtime.define_tool(source)

            assert not outcome.admitted, what
            assert rule in {finding.rule for finding in outcome.findings}, what
            outcome.name.encode()
