from __future__ import annotations

import gzip
import json
import sys

from humaneval import DATA
from hypothesis import given, settings
from hypothesis import strategies as st
from proposals import CLEAN, LIMITS, analysed, body, errors, findings, proposal, rules

from policies.analysis import analyse, analyse_text, not_analysable
from policies.findings import MAX_FINDINGS, Severity
from policies.permissions import LintLevel
from policies.reporter import finding_order

PIECES = [
    "x", "=", "(", ")", "[", "]", "{", "}", ":", "\n", "    ", "\t", "def f", "class A", "import ",
    "from ", "eval", "__class__", ".", ",", "'", '"', "\\", "#", ";", "async ", "await ", "lambda",
    "for ", " in ", "if ", "else", "try", "except", "match ", "case ", "*", "**", "@", "->", "|",
    "1", "1.5", "None", "Literal", "list", "int", "return ", "yield ", "os", "re", "\u202e", "é",
    "f'{", "}'", "global ", "nonlocal ", "with ", "as ", ":=", "not ", "\r", "\x00", "漢",
]  # fmt: skip
soup = st.lists(st.sampled_from(PIECES), max_size=60).map("".join)


def test_a_clean_tool_has_a_schema_and_no_findings() -> None:
    analysis = analysed()

    assert analysis.report.passed
    assert analysis.report.findings == ()
    assert analysis.report.level is LintLevel.L0
    assert analysis.source_schema is not None
    assert analysis.source_schema.function == "count_words"


@settings(max_examples=400, deadline=None)
@given(soup)
def test_no_source_breaks_the_analysis(code: str) -> None:
    analysis = analyse(proposal(code), LIMITS)
    found = analysis.report.findings

    assert list(found) == sorted(found, key=finding_order)
    for finding in found:
        if finding.line is not None:
            assert 1 <= finding.line <= code.count("\n") + 1
            assert finding.column is not None
            assert finding.column >= 1
            assert finding.end_line is not None
            assert finding.end_line >= finding.line
    if analysis.source_schema is None:
        assert not analysis.report.passed


@settings(max_examples=150, deadline=None)
@given(soup)
def test_analysis_depends_on_the_source_alone(code: str) -> None:
    assert analyse(proposal(body(code)), LIMITS) == analyse(proposal(body(code)), LIMITS)


@settings(max_examples=200, deadline=None)
@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=200))
def test_any_text_is_analysed(code: str) -> None:
    analyse(proposal(code), LIMITS)


def test_findings_are_capped_with_errors_kept_first() -> None:
    imports = "\n".join(f"import no_such_{i}" for i in range(60))
    found = findings(f"{imports}\n\n\ndef count_words(a, b, c):\n    return a\n")

    assert len(found) == MAX_FINDINGS
    assert found[-1].rule == "RP990"
    assert all(f.severity is Severity.ERROR for f in found[:-1])
    assert "11 of them errors" in found[-1].message


def test_several_stages_report_together() -> None:
    found = rules(
        "x = eval('1')\n\n\ndef count_words(*a):\n    return 1\n",
        name="count-words",
        description="",
    )

    assert {"LM201", "LM301", "RP301", "SC103"} <= found


def test_text_that_may_not_be_parsed_is_judged_without_parsing() -> None:
    assert analyse_text(proposal(), LIMITS) is None
    analysis = analyse_text(proposal("x = 1\r"), LIMITS)

    assert analysis is not None
    assert [f.rule for f in analysis.report.findings] == ["LM112"]


def test_a_source_that_killed_its_analysis_keeps_its_other_findings() -> None:
    analysis = not_analysable(proposal(name="read_file"), LIMITS, "it crashed")

    assert [f.rule for f in analysis.report.findings] == ["LM303", "RP901"]
    assert analysis.source_schema is None


def test_deep_but_legal_code_needs_little_of_the_stack() -> None:
    frames = sys.getrecursionlimit()
    expression = "(-" * 45 + "1" + ")" * 45
    try:
        sys.setrecursionlimit(600)
        assert errors(body(f"x = {expression}")) == []
    finally:
        sys.setrecursionlimit(frames)


def test_humaneval_passes_but_for_the_one_that_uses_eval() -> None:
    refused = {}
    with gzip.open(DATA, "rt") as lines:
        for problem in map(json.loads, lines):
            code = problem["prompt"] + problem["canonical_solution"]
            found = errors(code, name=problem["entry_point"])
            if found:
                refused[problem["task_id"]] = [text[:5] for text in found]

    assert refused == {"HumanEval/160": ["RP301"]}


def test_crlf_is_told_apart_from_other_problems() -> None:
    assert rules(CLEAN.replace("\n", "\r\n")) == {"LM112"}
