"""What is compared of two versions, how inputs are chosen, and what evidence keeps of them."""

from __future__ import annotations

from pathlib import Path

import pytest
from factories import make_evidence, make_schema, make_source, make_submission, needs_review
from hypothesis import given, settings
from hypothesis import strategies as st

from policies.decision import AdmissionRequest, Approval, Verdict
from policies.diversity import kind_of, most_diverse
from policies.outcomes import Outcome
from policies.redaction import STRUCK_OUT, Redaction
from policies.replay import Answer, Difference, InputOrigin, Replay
from policies.upgrades import BehavesAsBefore
from policies.value import sha256_digest
from runtime.beside import MOST_SHOWN, difference_of, run_of, without_bodies
from runtime.review.views import overtaken_words
from toolstore.store import ToolStore

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)


def returned(value: object, seconds: float | None = None) -> Answer:
    return Answer(outcome=Outcome.RETURNED, value=value, wall_seconds=seconds)


def raised(error: str) -> Answer:
    return Answer(outcome=Outcome.RAISED, error_type=error)


STOPPED = Answer(outcome=Outcome.TIMED_OUT)


@pytest.mark.parametrize(
    ("before", "after", "difference"),
    [
        (returned(1), returned(1.0), Difference.SAME),
        (returned(1), returned(True), Difference.DIFFERS),
        (returned(0.1 + 0.2), returned(0.3), Difference.SAME),
        (returned(1, 0.01), returned(1, 0.4), Difference.SAME),
        (returned(1, 0.1), returned(1, 0.7), Difference.SLOWER),
        (returned(1), raised("ValueError"), Difference.NOW_RAISES),
        (returned(1), STOPPED, Difference.NOW_STOPPED),
        (raised("ValueError"), returned(1), Difference.NOW_RETURNS),
        (raised("ValueError"), raised("ValueError"), Difference.SAME),
        (raised("ValueError"), raised("KeyError"), Difference.RAISES_OTHERWISE),
        (raised("ValueError"), STOPPED, Difference.NOW_STOPPED),
        (STOPPED, returned(1), Difference.NOW_RETURNS),
        (STOPPED, Answer(outcome=Outcome.CRASHED), Difference.SAME),
    ],
)
def test_differences(before: Answer, after: Answer, difference: Difference):
    assert difference_of(before, after) is difference


def replay(*afters: Answer) -> Replay:
    runs = [
        run_of(InputOrigin.RECORDED, sha256_digest(b"%d" % n), {"number": n}, (returned(n), after))
        for n, after in enumerate(afters)
    ]
    return Replay(predecessor="sha256:0", predecessor_ref="double@1", runs=without_bodies(runs))


def test_evidence_keeps_few_bodies_and_none_of_what_is_the_same():
    found = replay(*(returned("secret") for _ in range(30)), returned(30), STOPPED)

    shown = [run for run in found.runs if run.arguments is not None]
    assert len(shown) == MOST_SHOWN
    assert all("secret" not in run.detail for run in found.runs[MOST_SHOWN:])
    assert found.runs[-1].difference is Difference.SAME
    assert "31 of 32 recorded and 0 generated" in found.summary


def test_what_the_author_reads_names_no_input_of_other_callers():
    recorded = replay(returned("their own"))
    assert "their own" in recorded.runs[0].detail
    assert "their own" not in recorded.summary
    run = recorded.runs[0].model_copy(update={"origin": InputOrigin.GENERATED})
    assert run.detail in recorded.model_copy(update={"runs": (*recorded.runs, run)}).summary


def test_evidence_keeps_no_answer_that_the_policy_strikes_out():
    mail = Redaction(patterns=(r"[^ @]+@[^ @]+",))
    answers = (returned("ada@example.org"), returned("bob@example.org"))
    run = run_of(InputOrigin.RECORDED, "sha256:0", {"of": "eve@example.org"}, answers, mail)
    assert run.difference is Difference.DIFFERS  # compared as they are
    named = run_of(
        InputOrigin.RECORDED, "sha256:0", {}, (raised("A"), raised("b@example.org")), mail
    )
    assert "example.org" not in named.model_dump_json()
    assert "example.org" not in run.model_dump_json()


def judged(verdict: Verdict, found: Replay | None, *, approved: bool = False) -> Verdict:
    source, schema = make_source(), make_schema()
    evidence = make_evidence(source, schema).model_copy(update={"replay": found})
    approval = Approval(principal="bob", digest=evidence.subject, at=evidence.produced_at)
    request = AdmissionRequest(
        digest=evidence.subject,
        source=source,
        evidence=evidence,
        author="ada",
        approvals=(approval,) if approved else (),
    )
    return BehavesAsBefore(on_difference=verdict).judge(request).verdict


def test_a_difference_is_let_through_shown_or_refused():
    other, same = replay(returned(7)), replay(returned(0))
    assert judged(Verdict.ALLOW, other) is Verdict.ALLOW
    assert judged(Verdict.REVIEW, other) is Verdict.REVIEW
    assert judged(Verdict.REVIEW, other, approved=True) is Verdict.ALLOW
    assert judged(Verdict.REFUSE, other) is Verdict.REFUSE
    assert judged(Verdict.REFUSE, other, approved=True) is Verdict.REFUSE
    for verdict in Verdict:
        assert judged(verdict, None) is Verdict.ALLOW
        assert judged(verdict, same) is Verdict.ALLOW


def test_where_nothing_was_compared_a_person_is_asked():
    nothing = Replay(predecessor="sha256:0", predecessor_ref="double@1", left_out="no calls")
    assert judged(Verdict.ALLOW, nothing) is Verdict.ALLOW
    assert judged(Verdict.REVIEW, nothing) is Verdict.REVIEW
    assert judged(Verdict.REFUSE, nothing) is Verdict.REVIEW


def test_evidence_without_a_replay_has_the_digest_that_it_always_had():
    evidence = make_evidence(make_source(), make_schema())
    assert "replay" not in evidence.model_dump(mode="json")
    other = evidence.model_copy(update={"replay": replay(returned(7))})
    assert other.digest != evidence.digest
    assert type(other).model_validate_json(other.model_dump_json()) == other


def test_few_inputs_are_of_many_kinds():
    many = [*range(100, 200), 0, -5, "text", "", [1], [], {"a": 1}, None, 0.5]
    chosen = most_diverse(many, kind_of, 12)
    assert {type(each) for each in chosen} >= {int, str, list, dict, type(None), float}
    assert 0 in chosen
    assert -5 in chosen


@settings(max_examples=15)
@given(st.lists(JSON, max_size=8), st.integers(0, 25))
def test_choosing_gives_what_is_there_each_once(values: list[object], count: int):
    items = list(enumerate(values))
    chosen = most_diverse(items, lambda item: kind_of(item[1]), count)  # type: ignore[arg-type]
    assert len(chosen) == min(count, len(items))
    assert len({number for number, _ in chosen}) == len(chosen)


@settings(max_examples=15)
@given(JSON, st.text(min_size=4))
def test_a_secret_is_nowhere_in_what_is_kept(value: object, secret: str):
    hidden = Redaction(secrets=(secret,)).apply([value, f"a {secret} b", {secret: secret}])  # type: ignore[list-item]
    assert secret not in _texts(hidden) or secret in STRUCK_OUT


def test_patterns_strike_out_text_keys_and_numbers_and_leave_the_rest():
    rules = Redaction(patterns=(r"\d{6,}",))
    value = {"card": 123456789, "note 1234567": "no. 987654", "n": 5, "ok": True, "f": 1.5}
    assert rules.apply(value) == {  # type: ignore[arg-type]
        "card": STRUCK_OUT,
        f"note {STRUCK_OUT}": f"no. {STRUCK_OUT}",
        "n": 5,
        "ok": True,
        "f": 1.5,
    }


def _texts(value: object) -> str:
    match value:
        case str():
            return value + "\n"
        case list():
            return "".join(map(_texts, value))
        case dict():
            return "".join(f"{key}\n{_texts(each)}" for key, each in value.items())
        case _:
            return ""


async def test_a_reviewer_hears_that_another_version_came_since_it_was_compared(tmp_path: Path):
    def text(number: int) -> str:
        return f"def double(number: int) -> int:\n    return number * 2 + {number} - {number}\n"

    async with await ToolStore.open(tmp_path) as store:
        first = await store.admit(make_submission(), actor="ada")
        beside = Replay(predecessor=first.digest, predecessor_ref=str(first.ref))
        waiting = make_submission(code=text(1), decision=needs_review("look"))
        evidence = waiting.evidence.model_copy(update={"replay": beside})
        upgrade = await store.admit(waiting.model_copy(update={"evidence": evidence}), actor="ada")
        assert overtaken_words(upgrade, first) == ()
        second = await store.admit(make_submission(code=text(2)), actor="ada")

    (words,) = overtaken_words(upgrade, second)
    assert "compared with double@1, and callers get double@3 by now" in words
    assert overtaken_words(second, upgrade) == ()
