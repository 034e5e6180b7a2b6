"""The life-cycle as a table, and the chain that seals its log."""

from __future__ import annotations

from datetime import timedelta, timezone

import pytest
from factories import NOON, allowed
from hypothesis import given, settings
from hypothesis import strategies as st

from toolstore.events import (
    GENESIS_HASH,
    TRANSITIONS,
    EventDetail,
    EventType,
    Link,
    Step,
    chain_damage,
    entry_hash,
    entry_problem,
    is_allowed,
    leads_to,
    seal,
    skeleton,
    time_text,
)
from toolstore.models import Event, Lifecycle

LEADS_TO = {
    None: {"draft"},
    Lifecycle.DRAFT: {"draft", "quarantined", "revoked"},
    Lifecycle.QUARANTINED: {"quarantined", "approved", "revoked"},
    Lifecycle.APPROVED: {"approved", "deprecated", "quarantined", "revoked"},
    Lifecycle.DEPRECATED: {"deprecated", "approved", "archived", "quarantined", "revoked"},
    Lifecycle.ARCHIVED: {"archived", "approved", "revoked"},
    Lifecycle.REVOKED: {"revoked"},
}

unhurried = settings(deadline=None)
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
kinds = st.sampled_from(EventType)


@st.composite
def logs(draw: st.DrawFn) -> list[Event]:
    """Logs that the life-cycle allows, of up to three versions."""
    states: dict[str, Lifecycle | None] = dict.fromkeys(["a", "b", "c"])
    link, log = Link(), list[Event]()
    for _ in range(draw(st.integers(0, 12))):
        digest = draw(st.sampled_from(sorted(states)))
        possible = [kind for kind in EventType if is_allowed(kind, states[digest])]
        if not possible:
            continue
        step = Step(
            type=draw(st.sampled_from(possible)),
            digest=digest,
            name=digest,
            from_state=states[digest],
            reason=draw(texts),
        )
        event = seal(step, link, at=NOON, actor=draw(texts))
        log.append(event)
        states[digest] = event.to_state
        link = Link(sequence=event.sequence, hash=event.hash)
    return log


def test_the_life_cycle_is_this_and_nothing_else() -> None:
    seen: dict[Lifecycle | None, set[str]] = {state: set() for state in [None, *Lifecycle]}
    for kind, (sources, _) in TRANSITIONS.items():
        for source in sources:
            seen[source].add(leads_to(kind, source).value)

    assert set(TRANSITIONS) == set(EventType)
    assert seen == LEADS_TO


@unhurried
@given(kinds, st.none() | st.sampled_from(Lifecycle))
def test_only_steps_of_the_table_are_sealed(kind: EventType, state: Lifecycle | None) -> None:
    step = Step(type=kind, digest="d", name="n", from_state=state, reason="r")

    if is_allowed(kind, state):
        event = seal(step, Link(), at=NOON, actor="a")
        assert event.to_state.value in LEADS_TO[state]
        assert entry_problem(event) is None
    else:
        with pytest.raises(ValueError, match="no step"):
            seal(step, Link(), at=NOON, actor="a")


@unhurried
@given(logs())
def test_a_log_that_was_sealed_step_by_step_is_whole(log: list[Event]) -> None:
    assert list(chain_damage(log)) == []
    assert all(event.hash == entry_hash(event) for event in log)
    assert [event.sequence for event in log] == list(range(1, len(log) + 1))


@unhurried
@given(logs(), st.data())
def test_nobody_leaves_revoked(log: list[Event], data: st.DataObject) -> None:
    revoked = {event.digest for event in log if event.to_state is Lifecycle.REVOKED}

    for digest in revoked:
        last = [event for event in log if event.digest == digest][-1]
        assert last.to_state is Lifecycle.REVOKED


@unhurried
@given(logs().filter(lambda log: len(log) > 1), st.data())
def test_every_missing_entry_but_the_last_breaks_the_chain(
    log: list[Event], data: st.DataObject
) -> None:
    missing = data.draw(st.integers(0, len(log) - 2))

    assert list(chain_damage(log[:missing] + log[missing + 1 :]))


@unhurried
@given(logs().filter(lambda log: len(log) > 1), st.data())
def test_every_other_order_breaks_the_chain(log: list[Event], data: st.DataObject) -> None:
    order = data.draw(st.permutations(log))

    assert bool(list(chain_damage(order))) == (order != log)


CHANGES: dict[str, object] = {
    "sequence": 77,
    "previous_hash": "sha256:1",
    "hash": "sha256:2",
    "at": NOON + timedelta(microseconds=1),
    "actor": "eve!",
    "type": "else",
    "digest": "other",
    "name": "other",
    "from_state": Lifecycle.REVOKED,
    "to_state": Lifecycle.DRAFT,
    "policy_digest": "sha256:3",
    "reason": "another reason",
    "detail": '{"x":1}',
}


@pytest.mark.parametrize("field", Event.model_fields)
def test_every_field_is_under_the_hash(field: str) -> None:
    step = Step(
        type=EventType.ADMITTED,
        digest="d",
        name="n",
        from_state=Lifecycle.QUARANTINED,
        reason="r",
        detail=EventDetail(decision=allowed()),
    )
    event = seal(step, Link(), at=NOON, actor="a")

    changed = event.model_copy(update={field: CHANGES[field]})

    assert entry_problem(event) is None
    assert entry_problem(changed) is not None


def test_an_event_records_the_policy_of_its_decision() -> None:
    step = Step(
        type=EventType.SUBMITTED,
        digest="d",
        name="n",
        from_state=None,
        reason="r",
        detail=EventDetail(decision=allowed()),
    )

    event = seal(step, Link(), at=NOON, actor="a")

    assert event.policy_digest == allowed().policy_digest
    assert event.previous_hash == GENESIS_HASH


def test_a_moment_has_one_spelling() -> None:
    there = NOON.astimezone(timezone(timedelta(hours=5, minutes=30)))

    assert time_text(there) == time_text(NOON) == "2026-01-02T12:00:00.000000+00:00"


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("read_file", "ReadFile", True),
        ("read_file", "_read__file_", True),
        ("read_file", "read_files", False),
        ("a1", "al", False),
    ],
)
def test_skeletons(one: str, other: str, same: bool) -> None:
    assert (skeleton(one) == skeleton(other)) is same


def test_the_seal_of_an_entry_outlives_the_program_that_made_it() -> None:
    step = Step(
        type=EventType.REVOKED,
        digest="sha256:1",
        name="double",
        from_state=Lifecycle.APPROVED,
        reason="wrong for 0",
    )

    event = seal(step, Link(), at=NOON, actor="bob")

    # A change here makes every store that exists look damaged.
    assert event.hash == ("sha256:6e8954b7380df53e2a80a101f74ac68556dc17f58c3c7c5faea0975c8829db28")
