"""The statistics and the report of the benchmark; no engine."""

from __future__ import annotations

import asyncio
import io
import itertools
import json
import statistics
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from benchmarks.peers.ask import MODULES, open_peers
from benchmarks.peers.work import last_line, program
from runtime.bench import meters, posture
from runtime.bench.errors import BenchError
from runtime.bench.groups import Group
from runtime.bench.ledger import Ledger
from runtime.bench.loops import Sample, all_at_once, for_a_while, in_turn, shared_out
from runtime.bench.meters import CpuReading, cpu_per_call, read_cpu
from runtime.bench.plan import FULL, QUICK, plan_of
from runtime.bench.plot import draw, needs
from runtime.bench.report import BenchReport, Check, CpuPerCall, Kind, Machine, Row
from runtime.bench.samples import percentile, summarise
from runtime.bench.table import markdown, report_view
from runtime.bench.targets import checks_of, compare
from runtime.errors import UsageError

ROOT = Path(__file__).parents[2]
TIMES = st.lists(st.floats(0, 1e6), min_size=1, max_size=300)
MACHINE = Machine(python="3.11", kernel="6.1", cpus=2, memory_bytes=2**33, engine="20.10", load=0.1)


# --- statistics


@given(TIMES, st.floats(0, 1), st.floats(0, 1))
def test_a_percentile_lies_among_the_values_and_grows_with_its_share(
    values: list[float], one: float, other: float
):
    ordered = sorted(values)
    low, high = sorted((one, other))
    assert ordered[0] <= percentile(ordered, low) <= percentile(ordered, high) <= ordered[-1]


@given(st.lists(st.floats(0, 1e6), min_size=2, max_size=300))
def test_percentiles_are_those_of_the_standard_library(values: list[float]):
    ordered = sorted(values)
    expected = statistics.quantiles(ordered, n=20, method="inclusive")

    for number, each in enumerate(expected, start=1):
        assert percentile(ordered, number / 20) == pytest.approx(each)


@pytest.mark.parametrize(("values", "share"), [([], 0.5), ([1.0], 1.1), ([1.0], -0.1)])
def test_what_is_no_percentile_is_refused(values: list[float], share: float):
    with pytest.raises(ValueError, match=r"values|share"):
        percentile(values, share)


@pytest.mark.parametrize(
    ("count", "tails"), [(19, (False, False)), (20, (True, False)), (100, (True, True))]
)
def test_tails_are_told_only_where_there_are_samples_enough(count: int, tails: tuple[bool, bool]):
    summary = summarise([0.001 * number for number in range(1, count + 1)])

    assert (summary.p95_ms is not None, summary.p99_ms is not None) == tails
    assert summary.count == count
    assert summary.best_ms == pytest.approx(1)
    assert summary.worst_ms == pytest.approx(count)
    assert summary.median_ms == pytest.approx((count + 1) / 2)


# --- loops


class Calls:
    """Work that takes no time, and says how many did it at once."""

    def __init__(self) -> None:
        self.count = 0
        self.now = 0
        self.most = 0

    async def __call__(self) -> float:
        self.count += 1
        self.now += 1
        self.most = max(self.most, self.now)
        await asyncio.sleep(0.001)
        self.now -= 1
        return float(self.count)


async def test_in_turn_waits_for_rest_around_each_call():
    work, rests = Calls(), itertools.count()

    async def settle() -> None:
        assert work.now == 0
        next(rests)

    sample = await in_turn(work, 5, settle)

    assert sample.seconds == (1.0, 2.0, 3.0, 4.0, 5.0)
    assert (work.most, next(rests), sample.cpu_calls) == (1, 6, 5)


async def test_a_burst_begins_together():
    work = Calls()
    sample = await all_at_once(work, 16)
    assert (len(sample.seconds), work.most) == (16, 16)


async def test_calls_are_shared_out_to_the_last_one():
    work = Calls()
    sample = await shared_out(work, 4, 30)
    assert (work.count, work.most, len(sample.seconds)) == (30, 4, 30)


async def test_what_stood_ready_does_not_count_in_a_steady_load():
    work = Calls()
    sample = await for_a_while(work, 2, 0.05, lead_in=10)

    assert sample.wall_seconds == 0.05
    assert min(sample.seconds) > 10
    assert len(sample.seconds) <= work.count - 10
    assert work.most == 2


async def test_a_call_longer_than_the_time_still_counts():
    async def slow() -> float:
        await asyncio.sleep(0.05)
        return 0.05

    sample = await for_a_while(slow, 2, 0.01)

    assert sample.seconds == (0.05,)
    assert sample.wall_seconds >= 0.05


async def test_a_call_that_fails_ends_the_loop():
    async def fail() -> float:
        raise BenchError("no")

    with pytest.RaisesGroup(pytest.RaisesExc(BenchError)):
        await for_a_while(fail, 1, 5.0)


# --- meters


def test_the_busy_time_of_a_machine_leaves_out_waiting_and_what_others_took():
    ticks = "cpu  100 10 50 9999 8888 5 35 7777 0 0\ncpu0 1 2 3\n"
    assert meters._machine_seconds(ticks) == pytest.approx(2.0)
    assert meters._machine_seconds("") is None


@pytest.mark.parametrize(
    ("stat", "cache", "expected"),
    [
        ("total_cache 600\ntotal_shmem 50\nhierarchical x y\n", "total_cache", 450),
        ("file 600\nshmem 50\n", "file", 450),
        ("", "file", 1000),
    ],
)
def test_page_cache_is_not_a_containers_own_but_its_tmpfs_is(stat: str, cache: str, expected: int):
    assert meters._own("1000\n", stat, cache) == expected
    assert meters._own("", stat, cache) is None


def test_processor_time_is_shared_among_the_calls():
    spent = CpuReading(machine=2.0, host=0.5, guest=0.0)

    assert cpu_per_call(spent, 4) == CpuPerCall(machine_ms=500, host_ms=125, guest_ms=None)
    assert cpu_per_call(spent, 0) is None


def test_the_counters_of_this_machine_only_grow():
    before = read_cpu()
    sum(range(200_000))
    after = read_cpu()
    spent = after.since(before)

    assert spent.host > 0
    assert spent.machine is None or spent.machine >= 0
    assert spent.plus(spent).host == pytest.approx(2 * spent.host)


def test_only_the_processes_of_the_runtime_are_a_containers():
    name = "ab" * 32
    assert meters._is_of(name, ["runsc-sandbox", "--root=/x", name])
    assert not meters._is_of(name, ["/usr/bin/containerd-shim-runc-v2", "-id", name])
    assert not meters._is_of(name, ["runsc-sandbox", "--root=/x", "cd" * 32])


# --- rows and what is wanted


def sample(*seconds: float, wall: float = 1.0) -> Sample:
    return Sample(seconds, wall, CpuReading(machine=0.1, host=0.1, guest=0.1), len(seconds))


def ledger() -> Ledger:
    book = Ledger()
    book.add_times(Kind.FORK, [0.001])
    for runtime, slow in (("runc", 1), ("runsc", 3)):
        book.add(Kind.ENGINE_ATTACH, sample(0.1 * slow), runtime=runtime)
        book.add(Kind.COLD, sample(0.11 * slow), runtime=runtime)
        book.add(Kind.POOL_HIT, sample(*[0.001 * slow] * 20), runtime=runtime, hits=20)
        book.add(Kind.ENGINE_REMOVE, sample(0.2, 0.2, wall=0.4), runtime=runtime, at_once=8)
        book.add(Kind.STEADY, sample(*[0.1] * 9, wall=2.0), runtime=runtime, at_once=8)
        book.add(Kind.TIMEOUT, sample(0.15 * slow), runtime=runtime)
        book.add_memory(runtime, 6_000_000 * slow, "from somewhere")
    book.add(Kind.PROCESS, sample(*[0.002] * 1000, wall=1.0), runtime="runc", at_once=8)
    book.add_times(Kind.PEER_FRESH, [10.0], name="other", wall_seconds=10.0)
    return book


def rows() -> tuple[Row, ...]:
    return compare(ledger().rows())


def row(kind: Kind, on: str, at_once: int = 1) -> Row:
    (found,) = [r for r in rows() if (r.kind, r.runtime, r.at_once) == (kind, on, at_once)]
    return found


def test_rounds_of_the_same_thing_come_together():
    book = Ledger()
    for _ in range(3):
        book.add(Kind.STEADY, sample(0.5, 0.5, wall=2.0), runtime="runc", at_once=4, hits=1)
    (only,) = book.rows()

    assert only.calls_per_second == pytest.approx(1.0)
    assert only.latency
    assert (only.latency.count, only.pool_hits) == (6, 3)


def test_each_is_held_against_the_floor_of_its_own_runtime():
    assert row(Kind.COLD, "runc").ratio == pytest.approx(1.1)
    assert row(Kind.COLD, "runsc").ratio == pytest.approx(1.1)
    assert row(Kind.STEADY, "runc", 8).ratio == pytest.approx(0.9)
    assert row(Kind.PEER_FRESH, "fresh").what == "other"
    assert row(Kind.FORK, "").ratio is None


def test_a_pause_between_calls_gives_no_rate():
    assert row(Kind.POOL_HIT, "runc").calls_per_second is None
    assert row(Kind.PROCESS, "runc", 8).calls_per_second == pytest.approx(1000)


def test_what_is_wanted_is_held_against_the_first_runtime():
    found = {
        (check.what, check.runtime): check.ok for check in checks_of(rows(), ["runc", "runsc"])
    }

    assert found == {
        ("container, pool hit, median", "runc"): True,
        ("container, pool hit, p95", "runc"): True,
        ("process tier, median", "runc"): None,
        ("cold, of create+start+attach", "runc"): True,
        ("warm container, own memory", "runc"): True,
        ("steady, 8 at once, of the engine", "runc"): True,
        ("process tier, 8 at once", "runc"): True,
        ("time-out, worst over the limit", "runc"): True,
        ("time-out, worst over the limit", "runsc"): False,
    }
    assert checks_of(rows(), []) == ()


@pytest.mark.parametrize(
    ("measured", "at_least", "ok"),
    [(1.0, False, True), (1.01, False, False), (1.0, True, True), (0.99, True, False)],
)
def test_a_bound_itself_is_good_enough(measured: float, at_least: bool, ok: bool):
    check = Check(what="x", measured=measured, wanted=1.0, unit="ms", at_least=at_least)
    assert check.ok is ok


# --- what a person sees


def report() -> BenchReport:
    return BenchReport(
        command="x",
        quick=True,
        machine=MACHINE,
        seconds=1.0,
        rows=rows(),
        checks=checks_of(rows(), ["runc", "runsc"]),
        skipped=("kata: not ready",),
    )


def test_eighty_columns_hold_the_tables():
    paper = io.StringIO()
    Console(file=paper, width=80).print(report_view(report()))
    text = paper.getvalue()

    assert "…" not in text
    assert all(len(line) <= 80 for line in text.splitlines())
    for words in ("engine create+start+attach", "missed", "not measured", "kata: not ready"):
        assert words in text


def test_the_document_has_every_timed_row():
    lines = markdown(report()).splitlines()
    timed = [r for r in rows() if r.latency]

    assert sum(line.startswith("| ") for line in lines) == len(timed) + 2 + 9 + 2
    assert len({line.count("|") for line in lines if line.startswith("| engine")}) == 1


def test_a_report_survives_json():
    again = BenchReport.model_validate_json(report().model_dump_json())
    assert again == report()


@pytest.mark.parametrize("suffix", ["svg", "png"])
def test_a_picture_is_drawn(tmp_path: Path, suffix: str):
    file = tmp_path / f"bench.{suffix}"
    draw(report(), file)
    assert file.read_bytes().startswith({"svg": b"<?xml", "png": b"\x89PNG"}[suffix])


def test_an_unknown_kind_of_picture_is_refused_before_the_run(tmp_path: Path):
    with pytest.raises(UsageError, match=r"\.svg or \.png"):
        needs(tmp_path / "bench.gif")


def test_a_plan_is_what_was_asked_for():
    assert plan_of("x", quick=False, groups=(), runtimes=()).groups == frozenset(Group)
    plan = plan_of("x", quick=True, groups=[Group.COLD], runtimes=["runsc"])
    assert plan.groups == frozenset({Group.COLD})
    assert (plan.runtimes, plan.quick) == (("runsc",), True)
    assert (plan.first, FULL.quick) == (QUICK.first, False)


def test_steady_means_a_minute_and_every_number_at_once_is_there():
    minutes = {each.at_once: each.pieces * each.seconds for each in FULL.slices}
    assert minutes[8] == 60
    assert {1, 4, 8, 16} == set(minutes) == {each.at_once for each in FULL.other_slices}


# --- peers and posture


def test_the_work_of_the_peers_is_what_it_says():
    printed = subprocess.run(
        [sys.executable, "-c", program(4, 5)], capture_output=True, check=True, text=True
    ).stdout
    assert last_line("noise\n" + printed) == {"sum": 9}


@pytest.mark.parametrize("printed", ["", "hello", "{"])
def test_what_is_no_answer_is_refused(printed: str):
    with pytest.raises(ValueError, match="printed"):
        last_line(printed)


async def test_peers_that_are_not_installed_are_named():
    async with open_peers(Path(sys.executable)) as peers:
        await peers.take_turn(0, Ledger())
        seen = await peers.look_around()

    assert (peers.versions, peers.failed, seen) == ({}, [], [])
    assert [line.split(":")[0] for line in peers.missing] == list(MODULES)
    assert all("not installed" in line for line in peers.missing)


def test_the_probe_answers_every_aspect_on_this_host():
    done = subprocess.run(
        [sys.executable, "-c", posture.probe_script()],
        capture_output=True,
        check=True,
        text=True,
        env={posture.HOST_MARK: "1"},
    )
    seen = json.loads(done.stdout)
    said = {aspect.name: (aspect.say(seen), aspect.good(seen)) for aspect in posture.ASPECTS}

    assert said["host's environment"] == ("yes", False)
    assert said["may fork"] == ("yes", False)
    assert said["user id"][0].isdigit()


def test_what_could_not_be_seen_is_said():
    made = posture.posture_report(
        [posture.SeenPosture(who="x", seen=None, error="no os"), posture.seen_of("y", [1])]
    )
    paper = io.StringIO()
    Console(file=paper, width=120).print(posture.posture_view(made))

    assert "x: the probe cannot run there: no os" in paper.getvalue()
    assert "y: the probe cannot run there: not understood: [1]" in posture.posture_markdown(made)
