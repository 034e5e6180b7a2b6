"""What code finds around itself in each sandbox, seen by the same program in all of them."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeAlias

from pydantic import JsonValue
from rich.console import Group as Stack
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from policies.limits import MIB
from policies.value import JsonObject, Value, sha256_digest
from runtime.bench.errors import BenchError
from sandbox.base import ApprovedVersion, CallOptions, Program, Sandbox, Tier

__all__ = [
    "ASPECTS",
    "HOST_MARK",
    "PostureReport",
    "SeenPosture",
    "posture_markdown",
    "posture_report",
    "posture_view",
    "probe_program",
    "probe_script",
    "probe_tiers",
    "seen_of",
]

_PROBE: Final = Path(__file__).parent / "posture_probe.py"
HOST_MARK: Final = "TOOLKILN_BENCH_HOST_MARK"
"""Set in the environment of whoever starts a sandbox, and looked for inside."""

_UNLIMITED: Final = "unlimited"
_NOT_SHOWN: Final = "not shown"
"""What cannot be seen from inside: on gVisor the limits and a flag, in the process tier whatever
Landlock hides. `toolkiln doctor` tries the limits."""

Seen: TypeAlias = Mapping[str, JsonValue]


class SeenPosture(Value):
    """What one sandbox showed."""

    who: str
    seen: JsonObject | None
    error: str = ""
    """Why nothing was seen."""


class PostureReport(Value):
    """What all of them showed."""

    format: int = 1
    host_kernel: str
    subjects: tuple[SeenPosture, ...]


def probe_program() -> Program:
    """The probe as our sandbox runs it."""
    return Program(code=_PROBE.read_text(encoding="utf-8"), function="probe")


def probe_script() -> str:
    """The probe as a program that prints its answer."""
    source = _PROBE.read_text(encoding="utf-8")
    return f"{source}\n\nimport json\n\nprint(json.dumps(probe()))\n"


async def probe_tiers(sandbox: Sandbox, runtime: str) -> tuple[SeenPosture, ...]:
    """Look around in a fresh container, and in a fresh process where there is that tier.

    Raises:
        SandboxError: Nothing could be run.
        BenchError: The probe failed.
    """
    program = probe_program()
    approved = ApprovedVersion(
        version_digest=sha256_digest(program.code.encode()),
        policy_digest=sha256_digest(b"benchmark"),
        tenant="benchmark",
    )
    found = []
    for options in (CallOptions(), CallOptions(approved=approved)):
        result = await sandbox.run(program, {}, options)
        if not isinstance(result.value, dict):
            raise BenchError(f"the probe on {runtime}: {result.outcome}: {result.error_message}")
        if options.approved is None or result.tier is Tier.PROCESS:
            who = f"toolkiln {result.tier}, {runtime}"
            found.append(SeenPosture(who=who, seen=result.value))
    return tuple(found)


@dataclass(frozen=True)
class Aspect:
    """One line of the table."""

    name: str
    say: Callable[[Seen], str]
    good: Callable[[Seen], bool]


def _list(value: JsonValue) -> list[JsonValue]:
    return value if isinstance(value, list) else []


def _names(value: JsonValue) -> str:
    if value is None:
        return _NOT_SHOWN
    return ", ".join(str(each) for each in _list(value)) or "none"


def _yes(value: JsonValue) -> str:
    return "yes" if value else "no"


def _limit(value: JsonValue, unit: int = 1, word: str = "") -> str:
    if value is None:
        return _NOT_SHOWN
    return f"{value / unit:g}{word}" if isinstance(value, int | float) else "none"


def _status(value: JsonValue, wanted: str) -> str:
    return _yes(value == wanted) if value else _NOT_SHOWN


def _capabilities(seen: Seen) -> str:
    mask = str(seen.get("capabilities") or "")
    return str(int(mask, 16).bit_count()) if mask else _NOT_SHOWN


def _leaked(seen: Seen) -> bool:
    return HOST_MARK in _list(seen.get("environment"))


ASPECTS: Final = (
    Aspect("user id", lambda s: str(s.get("uid")), lambda s: s.get("uid") != 0),
    Aspect("capabilities", _capabilities, lambda s: _capabilities(s) in ("0", _NOT_SHOWN)),
    Aspect(
        "no new privileges",
        lambda s: _status(s.get("no_new_privileges"), "1"),
        lambda s: s.get("no_new_privileges") in ("1", ""),
    ),
    Aspect(
        "system-call filter",
        lambda s: _status(s.get("seccomp"), "2"),
        lambda s: s.get("seccomp") in ("2", ""),
    ),
    Aspect(
        "interfaces but loopback",
        lambda s: _names(s.get("interfaces")),
        lambda s: not s.get("interfaces"),
    ),
    Aspect(
        "way out to a network",
        lambda s: "yes" if s.get("way_out") == "route" else f"no: {s.get('way_out')}",
        lambda s: s.get("way_out") != "route",
    ),
    Aspect(
        "root can be written",
        lambda s: _yes(s.get("writable_root")),
        lambda s: not s.get("writable_root"),
    ),
    Aspect(
        "host's folders, writable",
        lambda s: _names(s.get("host_mounts")),
        lambda s: not s.get("host_mounts"),
    ),
    Aspect(
        "memory limit",
        lambda s: _limit(s.get("memory_bytes"), MIB, " MiB"),
        lambda s: s.get("memory_bytes") != _UNLIMITED,
    ),
    Aspect(
        "limit on processes",
        lambda s: _limit(s.get("pids")),
        lambda s: s.get("pids") != _UNLIMITED,
    ),
    Aspect("CPU limit", lambda s: _limit(s.get("cpus")), lambda s: s.get("cpus") != _UNLIMITED),
    Aspect(
        "engine's socket inside",
        lambda s: _yes(s.get("engine_socket")),
        lambda s: not s.get("engine_socket"),
    ),
    Aspect("host's environment", lambda s: _yes(_leaked(s)), lambda s: not _leaked(s)),
    Aspect(
        "told by /proc and /sys",
        lambda s: _names(s.get("told_by_proc")),
        lambda s: not s.get("told_by_proc"),
    ),
    Aspect("may fork", lambda s: _yes(s.get("can_fork")), lambda s: not s.get("can_fork")),
    Aspect("has a shell", lambda s: _yes(s.get("shell")), lambda s: not s.get("shell")),
)
"""What is asked; `good` is what a sandbox for a function of a stranger would have."""


def posture_view(report: PostureReport) -> RenderableType:
    """The table, and why some of it is empty."""
    return Stack(_table(report), *(Text(line, style="yellow") for line in _unseen(report)))


def _unseen(report: PostureReport) -> Iterable[str]:
    for subject in report.subjects:
        if subject.seen is None:
            yield f"{subject.who}: the probe cannot run there: {subject.error}"


def _table(report: PostureReport) -> Table:
    """A column for each sandbox, a line for each thing; what is not good stands out."""
    table = Table(title="What code finds around itself", title_justify="left")
    table.add_column("", overflow="fold")
    for subject in report.subjects:
        table.add_column(subject.who, overflow="fold")
    for aspect in ASPECTS:
        table.add_row(aspect.name, *(_cell(aspect, subject) for subject in report.subjects))
    table.add_row("kernel", *(_kernel(subject, report) for subject in report.subjects))
    return table


def _cell(aspect: Aspect, subject: SeenPosture) -> Text:
    if subject.seen is None:
        return Text("?", style="dim")
    return Text(aspect.say(subject.seen), style="" if aspect.good(subject.seen) else "bold red")


def _kernel(subject: SeenPosture, report: PostureReport) -> Text:
    if subject.seen is None:
        return Text("?", style="dim")
    kernel = str(subject.seen.get("kernel"))
    return Text("the host's" if kernel == report.host_kernel else kernel)


def posture_markdown(report: PostureReport) -> str:
    """The same for a document."""
    heads = ["", *(subject.who for subject in report.subjects)]
    rows = [heads, ["---"] * len(heads)]
    rows += [
        [aspect.name, *(_cell(aspect, subject).plain for subject in report.subjects)]
        for aspect in ASPECTS
    ]
    rows.append(["kernel", *(_kernel(subject, report).plain for subject in report.subjects)])
    return "".join((*map(_markdown_row, rows), *(f"\n{line}\n" for line in _unseen(report))))


def _markdown_row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |\n"


def posture_report(subjects: Iterable[SeenPosture]) -> PostureReport:
    """All of them, beside the kernel of this host."""
    return PostureReport(host_kernel=os.uname().release, subjects=tuple(subjects))


def seen_of(who: str, printed: JsonValue) -> SeenPosture:
    """What a probe elsewhere answered."""
    if isinstance(printed, dict):
        return SeenPosture(who=who, seen=printed)
    return SeenPosture(who=who, seen=None, error=f"not understood: {json.dumps(printed)[:200]}")
