"""The `Sandbox` Protocol and the values that go in and come out of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from pydantic import Field, JsonValue

from policies.evidence import Outcome
from policies.limits import ResourceLimits
from policies.permissions import LintLevel
from policies.value import JsonObject, Value
from sandbox.artefacts import ArtefactInfo
from sandbox.services import Service
from sandbox.traffic import NetworkEvent

__all__ = [
    "ApprovedVersion",
    "CallOptions",
    "ExecutionResult",
    "Outcome",
    "Posture",
    "Program",
    "Sandbox",
    "Tier",
    "Timings",
    "Usage",
]


class Tier(StrEnum):
    """What is fresh for each call."""

    CONTAINER = "container"
    PROCESS = "process"
    """A fresh process in a warm container of one approved version."""


class Program(Value):
    """Source text and the function in it to call. The text reaches the guest unchanged."""

    code: str
    function: str
    level: LintLevel = LintLevel.L0
    """L0 and L1 may not create processes; the system-call filter follows it."""

    limits: ResourceLimits = ResourceLimits()
    """`wall_seconds` holds for each call; everything else for the container."""

    image: str | None = None
    """Digest of a guest image with packages; None is the sandbox's own image without any."""

    sockets: bool = False
    """Whether it may open sockets; there is no interface but loopback in any case."""


@dataclass(frozen=True, kw_only=True)
class ApprovedVersion:
    """The one thing that a warm container of the process tier may serve.

    Two calls share a container only if all three are equal.
    """

    version_digest: str
    policy_digest: str
    tenant: str


@dataclass(frozen=True, kw_only=True)
class CallOptions:
    """What belongs to one call (or batch) and not to the program."""

    services: tuple[Service, ...] = ()
    """Help from the host that was granted."""

    approved: ApprovedVersion | None = None
    """Set only where the version is approved and the policy allows the process tier for it."""

    nested: bool = False
    """Whether another call waits for this one; it then takes no place in the queue."""

    wall_seconds: float | None = None
    """Less time for each call than the program's limits say; None leaves it at those."""


class Timings(Value):
    """Where the time of one call went, in seconds of the host's monotonic clock."""

    queue: float = 0.0
    """Waiting for a free place."""

    claim: float = 0.0
    """Until the guest was ready and its posture was checked (create and start, when cold)."""

    execute: float = 0.0
    """From the arguments sent to the answer received."""

    teardown: float = 0.0

    @property
    def total(self) -> float:
        """All stages together."""
        return self.queue + self.claim + self.execute + self.teardown


class Usage(Value):
    """What one container used, as the host's kernel counted it; None where it cannot be read."""

    memory_peak_bytes: int | None = None
    cpu_seconds: float | None = None


class Posture(Value):
    """The walls as seen from inside, reported before any byte of guest code was sent."""

    uid: int
    gid: int
    groups: tuple[int, ...]
    capabilities_effective: str
    capabilities_bounding: str
    no_new_privileges: bool
    seccomp_mode: int
    interfaces: tuple[str, ...]
    root_read_only: bool
    writable_mounts: tuple[str, ...]
    """`path:options` of every mount that can be written, options sorted."""

    memory_limit_bytes: int | None
    """As the control group says; None where it cannot be seen from inside."""

    memory_and_swap_limit_bytes: int | None = None
    """None where the kernel does not count swap."""

    pids_limit: int | None
    cpus: float | None = None
    oom_score_adjustment: int = 0
    rlimits: dict[str, int]
    """Soft limits by name; -1 is unlimited."""

    landlock: bool | None = None
    """Process tier: whether Landlock keeps it from what it must not read."""

    seccomp_filters: int | None = None
    """Process tier: how many filters of system calls stand one inside the other."""

    environment: tuple[str, ...]
    """Names only."""

    hostname: str = ""

    kernel: str
    python: str


class ExecutionResult(Value):
    """What came of one call. Everything the guest said is untrusted text or JSON."""

    outcome: Outcome
    value: JsonValue = None
    """The returned value; only for `returned`."""

    error_type: str | None = None
    """Class name of the exception; only for `raised`."""

    error_message: str = ""
    """The exception's text, or our sentence about what stopped the run."""

    traceback: str = ""
    """Frames of the tool's own source; only for `raised`."""

    limit: str | None = None
    """Which ceiling stopped it; only for `timed_out`, `out_of_memory`, `limit_exceeded`."""

    output: str = ""
    """What the program printed, cut to the ceiling."""

    output_bytes: int = Field(default=0, ge=0)
    """How much it printed in all, also beyond what is kept."""

    artefacts: tuple[ArtefactInfo, ...] = ()
    """The files that it left behind; only for `returned`."""

    exit_code: int | None = None
    tier: Tier = Tier.CONTAINER
    runtime: str = "runc"
    image_digest: str
    container: str = ""
    """The container's id, for logs."""

    pool_hit: bool = False
    timings: Timings = Timings()
    usage: Usage = Usage()
    posture: Posture
    traffic: tuple[NetworkEvent, ...] = ()
    """What it asked of the network, allowed or not."""


class Sandbox(Protocol):
    """Runs untrusted code somewhere it can do no harm."""

    @property
    def image_digest(self) -> str:
        """Identity of the environment that programs run in."""
        ...

    async def run(
        self, program: Program, arguments: JsonObject, options: CallOptions = CallOptions()
    ) -> ExecutionResult:
        """Call `program` once in a fresh environment, then destroy the environment.

        What the guest does wrong is data and comes back in the result; what we or the engine
        do wrong is an exception. Cancelling also destroys the environment.

        Raises:
            SandboxUnavailableError: No environment could be started. Nothing was run.
            SandboxBusyError: Too much is waiting already. Nothing was run.
            SandboxPostureError: The environment was not as demanded. Nothing was run.
            SandboxLostError: The engine failed in mid-call. Whether it ran is unknown.
        """
        ...

    async def run_batch(
        self,
        program: Program,
        batch: Sequence[JsonObject],
        options: CallOptions = CallOptions(),
    ) -> tuple[ExecutionResult, ...]:
        """Call `program` with each of `batch` in turn inside one fresh environment.

        Weaker than `run`: later calls see what earlier ones left. Each call executes the
        source anew. The results are shorter than `batch` when a call ended the environment
        (its result is the last). Raises as `run` does.
        """
        ...

    async def image_for(self, packages: Sequence[str], *, wanted: str | None = None) -> str:
        """Identity of the environment that has these packages, made where it is not there yet.

        It is the one that is `wanted`, where that can be had.

        Raises:
            PackagesRefusedError: The packages are not granted, or there is no such set.
            PackagesUnavailableError: The installer, its index or the engine failed.
        """
        ...

    def prepare(self, program: Program, count: int = 1) -> None:
        """Expect `count` calls of programs with the same walls soon; a hint, never an error."""
        ...

    async def settle(self) -> None:
        """Wait until every environment that has been used is gone; they go by themselves."""
        ...

    async def close(self) -> None:
        """Destroy whatever is still there and give back connections."""
        ...
