"""A duplicate is what a call of its name runs, and agrees where agreement says something."""

from __future__ import annotations

from pathlib import Path

import pytest
from factories import make_source, make_submission

from policies.decision import Channel
from policies.normal import shape_digest
from policies.outcomes import Outcome
from policies.replay import Answer
from policies.value import JsonObject
from runtime.analyzer import Analyzer
from runtime.composition import CallScope, Composition
from runtime.duplicates import Duplicate, DuplicateFinder, says_something
from runtime.equipment import Equipment
from runtime.outcome import CallOutcome
from runtime.profiles import read_profile
from runtime.replay import Replayer
from toolstore.models import ToolRef, ToolVersion
from toolstore.store import ToolStore
from toolstore.terms import Terms

TEXT = (
    'def {}(number: int) -> int:\n    """Double.\n\n    Args:\n        number: It.\n    """\n    '
)
FIRST, SECOND = f"{TEXT}return number * 2\n", f"{TEXT}return number + number\n"


async def nothing_runs(
    version: ToolVersion, arguments: JsonObject, scope: CallScope
) -> CallOutcome:
    raise AssertionError((version, arguments, scope))


async def test_what_others_are_given_is_no_duplicate(tmp_path: Path):
    profile, analyzer = read_profile("local"), Analyzer()
    equipment = Equipment(profile=profile, secrets=lambda _name: None, tenant="ada")
    proposed = make_source("twice", code=SECOND.format("twice"))
    analysis = await analyzer.analyse(proposed, profile.source)
    assert analysis.normal is not None
    assert analysis.source_schema is not None
    schema = analysis.source_schema.model_copy(update={"function": "double"})

    async with await ToolStore.open(tmp_path) as store:
        replayer = Replayer(store, equipment, Composition(store.get, nothing_runs))

        async def twin(session: str | None) -> Duplicate | None:
            finder = DuplicateFinder(store, analyzer, replayer, profile.source, session)
            return await finder.by_text(proposed, analysis, canary.image_digest)

        async def admitted(code: str, terms: Terms) -> ToolVersion:
            source = make_source(code=code.format("double"))
            submission = make_submission(source=source, schema=schema)
            version = await store.admit(submission, actor="ada", terms=terms)
            await store.note_form(
                version.digest, normal=str(analysis.normal), shape=shape_digest(schema)
            )
            return version

        stable = await admitted(FIRST, Terms())
        canary = await admitted(SECOND, Terms(channel=Channel.CANARY, weight=0.001))
        assert (stable.place, canary.place) != (None, None)

        assert await twin(None) is None  # who calls `double` gets the other one
        ref = ToolRef(name="double", sequence=2)
        await store.lifecycle.pin(ref, session="mine", actor="ada", reason="it is to stay")
        found = await twin("mine")
        assert found is not None
        assert found.version.digest == canary.digest


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ([False] * 40, False),
        ([False] * 38 + [True] * 2, False),
        ([False] * 20 + [True] * 3, True),
        (list(range(9)), False),
        (list(range(10)), True),
        ([], False),
    ],
)
def test_agreement_where_nearly_all_answers_are_one_says_nothing(
    values: list[bool | int],
    says: bool,
):
    answers: dict[bytes, tuple[JsonObject, Answer]] = {
        b"%d" % n: ({"n": n}, Answer(outcome=Outcome.RETURNED, value=value, wall_seconds=n / 7))
        for n, value in enumerate(values)
    }
    assert says_something(answers) is says
