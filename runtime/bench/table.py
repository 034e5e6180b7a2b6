"""The tables that a person reads."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from rich.console import Group as Stack
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from runtime.bench.report import BenchReport, Check, Machine, Row
from runtime.bench.samples import Summary
from runtime.bench.targets import MEGABYTE

__all__ = [
    "checks_table",
    "machine_line",
    "markdown",
    "memory_lines",
    "report_view",
    "rows_table",
    "short",
]

_NOTHING = "-"


def report_view(report: BenchReport) -> RenderableType:
    """Everything: machine, rows, what is wanted, what was left out."""
    parts: list[RenderableType] = [
        Text(machine_line(report.machine), style="dim"),
        rows_table(report.rows),
        *map(Text, memory_lines(report.rows)),
    ]
    if report.checks:
        parts.append(checks_table(report.checks))
    if report.quick:
        parts.append(Text("A quick run: its times say little.", style="yellow"))
    parts += [Text(f"Not measured: {line}", style="yellow") for line in report.skipped]
    parts.append(Text(f"{report.seconds:.0f} s", style="dim"))
    return Stack(*parts)


def machine_line(machine: Machine) -> str:
    """Where it was measured, in a line."""
    return (
        f"Python {machine.python}, Linux {machine.kernel}, {machine.cpus} CPUs, "
        f"{machine.memory_bytes / 2**30:.0f} GiB, Docker Engine {machine.engine} "
        f"({machine.storage}, cgroups {machine.cgroups}), load before {machine.load:.2f}"
    )


def rows_table(rows: Iterable[Row]) -> Table:
    """A line for each thing that was timed; eighty columns hold it."""
    table = Table(title="Times in ms", title_justify="left", box=None, padding=(0, 1, 0, 0))
    table.add_column("what", no_wrap=True)
    table.add_column("on", no_wrap=True)
    for name in ("n", "median", "p95", "p99", "calls/s", "CPU", "ratio"):
        table.add_column(name, justify="right", no_wrap=True)
    last = None
    for row in rows:
        if row.latency is not None:
            if last is not None and row.kind is not last:
                table.add_row()
            table.add_row(*_cells(row, row.latency))
            last = row.kind
    return table


def _cells(row: Row, latency: Summary) -> tuple[str, ...]:
    machine = row.cpu.machine_ms if row.cpu else None
    return (
        row.what,
        row.runtime,
        str(row.at_once),
        short(latency.median_ms),
        _or_nothing(latency.p95_ms),
        _or_nothing(latency.p99_ms),
        "" if row.calls_per_second is None else short(row.calls_per_second),
        "" if machine is None else short(machine),
        "" if row.ratio is None else f"x{short(row.ratio)}",
    )


def memory_lines(rows: Iterable[Row]) -> Iterator[str]:
    """What a warm container needs on each runtime, and how that was found out."""
    for row in rows:
        if row.memory_bytes is not None:
            size = short(row.memory_bytes / MEGABYTE)
            yield f"{row.what} on {row.runtime}: {size} MB ({row.note})"


def checks_table(checks: Iterable[Check]) -> Table:
    """A line for each thing that is wanted."""
    table = Table(title="Wanted", title_justify="left", box=None, padding=(0, 1, 0, 0))
    table.add_column("what", overflow="fold")
    table.add_column("runtime")
    table.add_column("measured", justify="right")
    table.add_column("wanted", justify="right")
    table.add_column("")
    styles = {True: "green", False: "bold red", None: "dim"}
    for check in checks:
        *cells, verdict = _check_cells(check)
        table.add_row(*cells, Text(verdict, style=styles[check.ok]))
    return table


def _check_cells(check: Check) -> tuple[str, ...]:
    bound = "≥" if check.at_least else "≤"
    words = {True: "ok", False: "missed", None: "not measured"}
    return (
        check.what,
        check.runtime,
        f"{_or_nothing(check.measured)} {check.unit}",
        f"{bound} {check.wanted:g} {check.unit}",
        words[check.ok],
    )


def markdown(report: BenchReport) -> str:
    """The same for a document."""
    heads = ("what", "on", "at once", "median", "p95", "p99", "calls/s", "CPU", "ratio")
    rows: list[tuple[str, ...]] = [heads, ("---", "---", *["---:"] * 7)]
    rows += [_cells(row, row.latency) for row in report.rows if row.latency]
    wanted: list[tuple[str, ...]] = [
        ("wanted", "on", "measured", "bound", ""),
        ("---", "---", "---:", "---:", "---"),
    ]
    wanted += [_check_cells(check) for check in report.checks]
    return "\n".join(
        (
            f"{machine_line(report.machine)}; {report.seconds:.0f} s.\n",
            *map(_markdown_row, rows),
            "",
            *(f"{line}\n" for line in memory_lines(report.rows)),
            *map(_markdown_row, wanted),
            "",
            *(f"Not measured: {line}\n" for line in report.skipped),
        )
    )


def _markdown_row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _or_nothing(value: float | None) -> str:
    return _NOTHING if value is None else short(value)


def short(value: float) -> str:
    """Three digits that count."""
    if value >= 100:  # noqa: PLR2004  no digit after the point is left then
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"  # noqa: PLR2004  as above
