"""The OCI runtimes that an engine lists: which kind each is, and what it passes and holds.

What is told here comes from the engine's configuration; whether it is so is seen in the posture
of each container (`attestation.posture_differences`) and, for limits that a guest cannot see, in
its control group (`hostlimits`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from difflib import get_close_matches
from enum import StrEnum
from itertools import zip_longest
from pathlib import PurePosixPath
from typing import Final

from pydantic import JsonValue

from policies.value import JsonObject
from sandbox.engine import Engine, EngineError
from sandbox.errors import LimitsNotHeldError, SandboxUnavailableError, UnknownRuntimeError

__all__ = [
    "RUNC",
    "Runtime",
    "RuntimeKind",
    "check_limits",
    "distinct",
    "find_runtime",
    "list_runtimes",
    "read_runtimes",
]


class RuntimeKind(StrEnum):
    """What stands between a guest and the host's kernel."""

    RUNC = "runc"
    CRUN = "crun"
    RUNSC = "runsc"
    """gVisor: a kernel of its own, in a process of the host."""

    KATA = "kata"
    """A kernel of its own, in a virtual machine."""

    OTHER = "other"


_WORDS: Final = (
    ("runsc", RuntimeKind.RUNSC),
    ("gvisor", RuntimeKind.RUNSC),
    ("kata", RuntimeKind.KATA),
    ("crun", RuntimeKind.CRUN),
    ("runc", RuntimeKind.RUNC),
)
"""In this order, so that what promises more is demanded: a `runsc` that starts runc is refused."""

_STAND_IN_LIMITS: Final = ("memory", "processes", "processor")


@dataclass(frozen=True, kw_only=True)
class Runtime:
    """One runtime, as the engine lists it."""

    name: str
    """What the engine calls it."""

    kind: RuntimeKind
    is_default: bool = True
    """Whether the engine takes it when nobody names one."""

    fifo: bool = True
    """Whether a pipe in a folder of the host can be opened inside."""

    system_call_filter: bool = True
    """Whether our filter of system calls stands inside. Without it gVisor answers them all, and
    none of them reaches the host's kernel."""

    limits_hold: bool = True
    """Whether control groups hold memory, processes and processor. Without them the process's
    own limits stand in: of memory per process, of processor time in all."""

    host_kernel: str = ""
    """Release of the kernel of the engine's host; empty where the engine does not tell."""

    @property
    def own_kernel(self) -> bool:
        """Whether a guest talks to another kernel than the host's."""
        return self.kind in (RuntimeKind.RUNSC, RuntimeKind.KATA)

    @property
    def can_kill_itself(self) -> bool:
        """Whether a guest can kill its first process: gVisor's kernel does not protect it."""
        return self.kind is RuntimeKind.RUNSC

    @property
    def limits_seen_inside(self) -> bool:
        """Whether a guest can see its control group, so that its posture tells of the limits."""
        return self.kind is not RuntimeKind.RUNSC

    @property
    def weak_limits(self) -> tuple[str, ...]:
        """The limits that only the process's own limits stand in for."""
        return () if self.limits_hold else _STAND_IN_LIMITS


RUNC: Final = Runtime(name="runc", kind=RuntimeKind.RUNC)
"""What an engine has when nobody configured it."""


async def list_runtimes(engine: Engine) -> tuple[Runtime, ...]:
    """All runtimes that the engine lists, its default first.

    Raises:
        SandboxUnavailableError: The engine does not answer.
    """
    try:
        return read_runtimes(await engine.info())
    except EngineError as error:
        raise SandboxUnavailableError(str(error), engine=engine.url) from error


def distinct(runtimes: Iterable[Runtime]) -> tuple[Runtime, ...]:
    """The first of those that differ in their names alone: engines list runc up to three times."""
    found: dict[Runtime, Runtime] = {}
    for runtime in runtimes:
        found.setdefault(replace(runtime, name="", is_default=False), runtime)
    return tuple(found.values())


async def find_runtime(engine: Engine, name: str) -> Runtime:
    """The runtime of that name, or the engine's default for no name; never another instead.

    Raises:
        UnknownRuntimeError: The engine lists none of that name.
        SandboxUnavailableError: The engine does not answer.
    """
    listed = await list_runtimes(engine)
    for runtime in listed:
        if runtime.name == name or (runtime.is_default and not name):
            return runtime
    names = tuple(runtime.name for runtime in listed)
    nearest = get_close_matches(name, names, n=1)
    raise UnknownRuntimeError(name, listed=names, nearest=nearest[0] if nearest else None)


def check_limits(runtime: Runtime) -> None:
    """For a policy that demands the real limits: nothing, where they hold.

    Raises:
        LimitsNotHeldError: They do not.
    """
    if runtime.weak_limits:
        raise LimitsNotHeldError(runtime.name, limits=runtime.weak_limits)


def read_runtimes(info: JsonObject) -> tuple[Runtime, ...]:
    """The runtimes in what an engine says about itself, its default first."""
    default = str(info.get("DefaultRuntime") or "runc")
    kernel = str(info.get("KernelVersion") or "")
    listed = info.get("Runtimes")
    entries = listed if isinstance(listed, dict) else {default: {}}
    runtimes = [
        _read_runtime(name, entry if isinstance(entry, dict) else {}, default, kernel)
        for name, entry in entries.items()
    ]
    return tuple(sorted(runtimes, key=lambda runtime: (not runtime.is_default, runtime.name)))


def _read_runtime(name: str, entry: JsonObject, default: str, kernel: str) -> Runtime:
    kind = _kind(name, entry)
    flags = dict(_flags(entry.get("runtimeArgs")))
    gvisor = kind is RuntimeKind.RUNSC
    return Runtime(
        name=name,
        kind=kind,
        is_default=name == default,
        fifo=flags.get("host-fifo") == "open"
        if gvisor
        else kind in (RuntimeKind.RUNC, RuntimeKind.CRUN),
        system_call_filter=not gvisor or _is_on(flags, "oci-seccomp"),
        limits_hold=not gvisor or not _is_on(flags, "ignore-cgroups"),
        host_kernel=kernel,
    )


def _kind(name: str, entry: JsonObject) -> RuntimeKind:
    program = PurePosixPath(str(entry.get("path") or "")).name
    said = (name, program, str(entry.get("runtimeType") or ""))
    for word, kind in _WORDS:
        if any(word in text.lower() for text in said):
            return kind
    return RuntimeKind.OTHER


def _flags(arguments: JsonValue) -> Iterator[tuple[str, str]]:
    """Name and value of each `--name=value`, `--name value` or `--name`."""
    words = [str(word) for word in arguments] if isinstance(arguments, list) else []
    for word, following in zip_longest(words, words[1:], fillvalue="-"):
        if word.startswith("-"):
            name, given, value = word.lstrip("-").partition("=")
            yield name, value if given else _value_after(following)


def _value_after(word: str) -> str:
    return "true" if word.startswith("-") else word


def _is_on(flags: Mapping[str, str], name: str) -> bool:
    return flags.get(name, "false").lower() in ("1", "t", "true")
