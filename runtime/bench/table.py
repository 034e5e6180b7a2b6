"""The tables that a person reads."""

from __future__ import annotations

from collections.abc import Iterable

from rich.console import Group as Stack
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from runtime.bench.report import BenchReport, Check, Machine, Row
from runtime.bench.targets import MEGABYTE

__all__ = ["checks_table", "machine_line", "report_view", "rows_table"]

_NOTHING = "-"


def report_view(report: BenchReport) -> RenderableType:
    """Everything: machine, rows, what is wanted, what was left out."""
    parts: list[RenderableType] = [
        Text(machine_line(report.machine), style="dim"),
        rows_table(report.rows),
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
    """A line for each thing that was measured."""
    table = Table(title="Times in ms, CPU in ms a call", title_justify="left")
    table.add_column("what", overflow="fold")
    table.add_column("runtime")
    for name in ("at once", "calls", "median", "p95", "p99", "calls/s", "CPU all", "host", "guest"):
        table.add_column(name, justify="right")
    table.add_column("MB", justify="right")
    table.add_column("to baseline", justify="right")
    table.add_column("note", overflow="fold")
    for row in rows:
        table.add_row(*_cells(row))
    return table


def _cells(row: Row) -> tuple[str, ...]:
    latency, cpu = row.latency, row.cpu
    return (
        row.what,
        row.runtime,
        str(row.at_once),
        str(latency.count) if latency else "",
        *(
            (_ms(latency.median_ms), _ms(latency.p95_ms), _ms(latency.p99_ms))
            if latency
            else ("", "", "")
        ),
        "" if row.calls_per_second is None else _short(row.calls_per_second),
        *((_ms(cpu.machine_ms), _ms(cpu.host_ms), _ms(cpu.guest_ms)) if cpu else ("", "", "")),
        "" if row.memory_bytes is None else f"{row.memory_bytes / MEGABYTE:.1f}",
        "" if row.ratio is None else f"x {_short(row.ratio)}",
        _note(row),
    )


def _note(row: Row) -> str:
    parts = [row.note] if row.note else []
    if row.pool_hits is not None and row.latency:
        parts.append(f"{row.pool_hits} pool hits")
    if row.against:
        parts.append(f"baseline: {row.against}")
    return "; ".join(parts)


def checks_table(checks: Iterable[Check]) -> Table:
    """A line for each thing that is wanted."""
    table = Table(title="Wanted", title_justify="left")
    table.add_column("what", overflow="fold")
    table.add_column("runtime")
    table.add_column("measured", justify="right")
    table.add_column("wanted", justify="right")
    table.add_column("")
    marks = {
        True: Text("ok", style="green"),
        False: Text("missed", style="bold red"),
        None: Text("not measured", style="dim"),
    }
    for check in checks:
        measured = _NOTHING if check.measured is None else _short(check.measured)
        bound = "≥" if check.at_least else "≤"
        table.add_row(
            check.what,
            check.runtime,
            f"{measured} {check.unit}",
            f"{bound} {check.wanted:g} {check.unit}",
            marks[check.ok],
        )
    return table


def _ms(value: float | None) -> str:
    return _NOTHING if value is None else _short(value)


def _short(value: float) -> str:
    """Three digits that count."""
    if value >= 100:  # noqa: PLR2004  no digit after the point is left then
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"  # noqa: PLR2004  as above
