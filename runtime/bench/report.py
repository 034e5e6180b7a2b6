"""What a run of the benchmark has found: rows, and whether what is wanted holds."""

from __future__ import annotations

from enum import StrEnum

from pydantic import Field

from policies.value import Value
from runtime.bench.samples import Summary

__all__ = ["BenchReport", "Check", "CpuPerCall", "Kind", "Machine", "Row"]


class Kind(StrEnum):
    """One thing that is measured."""

    FORK = "fork"
    PIPE = "pipe"
    PYTHON = "python"
    ENGINE_ATTACH = "engine_attach"
    ENGINE_REMOVE = "engine_remove"
    COLD = "cold"
    POOL_HIT = "pool_hit"
    BURST = "burst"
    STEADY = "steady"
    PROCESS = "process"
    MEMORY = "memory"
    TIMEOUT = "timeout"
    PEER_FRESH = "peer_fresh"
    PEER_REUSED = "peer_reused"


class CpuPerCall(Value):
    """Processor time of one call, in milliseconds; None where it cannot be read."""

    machine_ms: float | None
    """Of everything that ran meanwhile: true on a machine that does nothing else."""

    host_ms: float | None
    """Of this process and its children."""

    guest_ms: float | None
    """Of all containers of the engine."""


class Row(Value):
    """One line of the table."""

    kind: Kind
    what: str
    runtime: str = ""
    """OCI runtime; empty for what needs none."""

    at_once: int = 1
    latency: Summary | None = None
    calls_per_second: float | None = None
    cpu: CpuPerCall | None = None
    memory_bytes: int | None = None
    pool_hits: int | None = None
    ratio: float | None = None
    """To the row of this run that `against` names: of rates if both have one, else of medians."""

    against: str = ""
    note: str = ""


class Check(Value):
    """One thing that is wanted, and what was measured."""

    what: str
    runtime: str = ""
    measured: float | None
    """None where it was not measured in this run."""

    wanted: float
    unit: str
    at_least: bool = False
    """Whether more is better; otherwise `wanted` is a ceiling."""

    @property
    def ok(self) -> bool | None:
        """Whether it holds; None where it was not measured."""
        if self.measured is None:
            return None
        return self.measured >= self.wanted if self.at_least else self.measured <= self.wanted


class Machine(Value):
    """Where it was measured."""

    python: str
    kernel: str
    cpus: int
    memory_bytes: int
    engine: str
    storage: str = ""
    cgroups: str = ""
    load: float
    """Of the last minute before the run, as the kernel counts it."""


class BenchReport(Value):
    """Everything about one run."""

    format: int = 1
    command: str
    quick: bool
    machine: Machine
    seconds: float = Field(ge=0)
    rows: tuple[Row, ...]
    checks: tuple[Check, ...]
    peers: tuple[str, ...] = ()
    """Other libraries that did the same work, with their versions."""

    skipped: tuple[str, ...] = ()
    """What could not be measured, and why."""
