from __future__ import annotations

import json

from hypothesis import given, settings
from hypothesis import strategies as st
from proposals import body, findings, proposal

from policies.analysis import analyse
from policies.display import is_visible
from policies.findings import Finding, Severity, Stage
from policies.limits import SourceLimits
from policies.report import as_json, as_sarif, as_sarif_text, as_text
from policies.rulebook import RULES


def test_text_shows_the_place_with_a_caret() -> None:
    found = [f for f in findings(body("x = [eval]")) if f.rule == "RP301"]

    assert as_text(found, file="tool.py") == (
        "tool.py:1:6: error RP301 the built-in 'eval' is not available to tools\n"
        "    1 | x = [eval]\n"
        "      |      ^^^^\n"
        "      = use ast.literal_eval for literals, or parse the text yourself\n"
        "found 1 error\n"
    )


def test_carets_stand_below_wide_characters_and_tabs() -> None:
    found = [f for f in findings(body("if True:\n\tx = '漢字', eval")) if f.rule == "RP301"]
    lines = as_text(found).splitlines()

    assert lines[1] == "    2 | \tx = '漢字', eval"
    assert lines[2] == "      | \t" + " " * 12 + "^^^^"


def test_no_findings_are_no_text() -> None:
    assert as_text([]) == ""
    assert as_json([]) == []


def test_colour_is_only_there_when_asked_for() -> None:
    found = findings(body("x = eval"))

    assert "\x1b" not in as_text(found)
    assert "\x1b[31merror RP301\x1b[0m" in as_text(found, colour=True)


@settings(max_examples=150, deadline=None)
@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=80), st.text(max_size=20))
def test_text_acts_on_no_terminal(code: str, file: str) -> None:
    found = analyse(proposal(code, name=code, description=code), SourceLimits()).report.findings

    assert all(is_visible(c) or c in "\n\t" for c in as_text(found, file=file))


def test_untrusted_words_of_other_stages_are_escaped_too() -> None:
    finding = Finding(
        rule="TR101",
        severity=Severity.ERROR,
        stage=Stage.TRIALS,
        message="got \x1b[2J",
        suggestion="a\nb",
    )

    assert as_text([finding]).splitlines()[:2] == [
        r"<tool>: error TR101 got \x1b[2J",
        r"      = a\nb",
    ]
    assert as_sarif([finding])["version"] == "2.1.0"


def test_json_has_the_fields_that_are_set() -> None:
    found = findings(body("x = eval"), name="read_file")
    first, second = as_json(found)

    assert first == {
        "rule": "LM303",
        "severity": "error",
        "stage": "limits",
        "message": "the name 'read_file' is the runtime's own",
        "suggestion": "rename the tool, and the function in the code with it, to say what it does",
    }
    assert isinstance(second, dict)
    assert (second["line"], second["column"], second["end_column"]) == (1, 5, 9)
    assert [Finding.model_validate(item) for item in as_json(found)] == list(found)


def test_sarif_has_results_and_the_metadata_of_their_rules() -> None:
    found = findings(body("x = eval\ny = exec\nimport os"))
    log = json.loads(as_sarif_text(found, file="count.py", version="1.2"))
    (run,) = log["runs"]
    rules = run["tool"]["driver"]["rules"]

    assert log["$schema"].endswith("sarif-2.1.0.json")
    assert [rule["id"] for rule in rules] == ["RP201", "RP301"]
    assert rules[1]["shortDescription"]["text"] == RULES["RP301"].summary
    for result in run["results"]:
        assert rules[result["ruleIndex"]]["id"] == result["ruleId"]
        assert result["level"] in {"error", "warning", "note"}
        region = result["locations"][0]["physicalLocation"]["region"]
        assert region["startLine"] >= 1
        assert region["startColumn"] >= 1
