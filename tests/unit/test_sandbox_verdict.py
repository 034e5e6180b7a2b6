"""Who is to blame for an end without an answer: the guest, its limits, or somebody else."""

from __future__ import annotations

import pytest

from policies.limits import ResourceLimits
from sandbox.base import Outcome
from sandbox.ceilings import cpu_seconds
from sandbox.engine import ContainerState
from sandbox.errors import SandboxLostError
from sandbox.usage import GroupReading
from sandbox.verdict import Verdict, judge_exit

LIMITS = ResourceLimits(wall_seconds=10)
USED_UP = GroupReading(cpu_seconds=float(cpu_seconds(LIMITS, 1)), oom_kills=0)
OF_MEMORY = GroupReading(cpu_seconds=0.1, oom_kills=1)
UNTOUCHED = GroupReading(cpu_seconds=0.1, oom_kills=0)


def judge(
    exit_code: int,
    *,
    group: GroupReading | None = None,
    oom_killed: bool = False,
    half_a_frame: bool = False,
    can_kill_itself: bool = False,
) -> Verdict:
    state = ContainerState(
        running=False, exit_code=exit_code, oom_killed=oom_killed, error="", pid=0
    )
    return judge_exit(
        state,
        half_a_frame=half_a_frame,
        limits=LIMITS,
        group=group,
        can_kill_itself=can_kill_itself,
        engine="unix:///engine",
    )


@pytest.mark.parametrize(
    ("group", "oom_killed"),
    [(OF_MEMORY, False), (UNTOUCHED, True), (None, True), (OF_MEMORY, True)],
    ids=["the kernel's word", "the engine's", "the engine's alone", "both"],
)
def test_either_word_for_memory_is_enough(group: GroupReading | None, oom_killed: bool) -> None:
    verdict = judge(137, group=group, oom_killed=oom_killed)

    assert (verdict.outcome, verdict.limit) == (Outcome.OUT_OF_MEMORY, "memory")


def test_a_guest_that_ignores_the_warning_is_killed_at_its_processor_limit() -> None:
    verdict = judge(137, group=USED_UP)

    assert (verdict.outcome, verdict.limit) == (Outcome.LIMIT_EXCEEDED, "cpu")


@pytest.mark.parametrize("group", [None, UNTOUCHED, GroupReading()])
@pytest.mark.parametrize("half_a_frame", [False, True])
def test_a_kill_from_outside_is_no_guests_doing(
    group: GroupReading | None, half_a_frame: bool
) -> None:
    with pytest.raises(SandboxLostError, match="killed from outside") as caught:
        judge(137, group=group, half_a_frame=half_a_frame)

    assert not caught.value.retry_safe
    assert "unix:///engine" in str(caught.value)


def test_a_guest_that_can_kill_itself_may_have() -> None:
    assert judge(137, can_kill_itself=True).outcome is Outcome.CRASHED


@pytest.mark.parametrize("code", [0, 1, 134, 139, 143])
def test_other_ends_are_the_guests(code: int) -> None:
    verdict = judge(code, oom_killed=True, group=OF_MEMORY)  # of a process that it started

    assert (verdict.outcome, verdict.exit_code) == (Outcome.CRASHED, code)


@pytest.mark.parametrize(("code", "limit"), [(152, "cpu"), (153, "file_size")])
def test_ceilings_have_exit_codes_of_their_own(code: int, limit: str) -> None:
    verdict = judge(code)

    assert (verdict.outcome, verdict.limit) == (Outcome.LIMIT_EXCEEDED, limit)


def test_half_a_frame_is_no_answer() -> None:
    assert judge(0, half_a_frame=True).outcome is Outcome.PROTOCOL_BROKEN
