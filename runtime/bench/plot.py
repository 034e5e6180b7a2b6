"""A picture of a run: medians with their tails, and calls a second."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from runtime.bench.errors import PlotError
from runtime.bench.report import BenchReport, Kind, Row
from runtime.bench.table import machine_line, short
from runtime.errors import UsageError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["draw", "needs"]

_FLOORS: Final = frozenset(
    {Kind.FORK, Kind.PIPE, Kind.PYTHON, Kind.ENGINE_ATTACH, Kind.ENGINE_REMOVE}
)
_PEERS: Final = frozenset({Kind.PEER_FRESH, Kind.PEER_REUSED})
_COLOURS: Final = {"floor": "#9aa5b1", "ours": "#1f77b4", "peer": "#d98236"}
_SUFFIXES: Final = (".svg", ".png")
_ROW_INCHES: Final = 0.28
_WIDTH_INCHES: Final = 11.0


def needs(file: Path) -> None:
    """See before a long run that its picture can be drawn.

    Raises:
        PlotError: matplotlib is not installed.
        UsageError: The file's kind is not known.
    """
    if file.suffix not in _SUFFIXES:
        raise UsageError(f"--plot {file}: expected a name that ends in {' or '.join(_SUFFIXES)}")
    if importlib.util.find_spec("matplotlib") is None:
        raise PlotError(
            "a plot needs matplotlib, which is not installed: pip install 'toolkiln[bench]'"
        )


def draw(report: BenchReport, file: Path) -> None:
    """Write the picture of `report` to `file`.

    Raises:
        PlotError: matplotlib is not installed.
        UsageError: The file's kind is not known.
        OSError: The file cannot be written.
    """
    needs(file)
    # Not pyplot: it keeps figures for the life of the process and looks for a display.
    from matplotlib.figure import Figure  # noqa: PLC0415 - slow, and only some have it

    timed = [row for row in report.rows if row.latency]
    rated = [row for row in report.rows if row.calls_per_second]
    height = _ROW_INCHES * (len(timed) + len(rated)) + 2.5
    figure = Figure(figsize=(_WIDTH_INCHES, height), layout="constrained")
    shares = (max(len(timed), 1), max(len(rated), 1))
    times, rates = figure.subplots(2, 1, height_ratios=shares)
    _draw_times(times, timed)
    _draw_rates(rates, rated)
    figure.suptitle(machine_line(report.machine), fontsize=8)
    figure.savefig(file)


def _draw_times(axes: Axes, rows: Sequence[Row]) -> None:
    places = range(len(rows))
    medians = [row.latency.median_ms if row.latency else 0.0 for row in rows]
    tails = [
        max(0.0, (row.latency.p95_ms or row.latency.worst_ms) - row.latency.median_ms)
        if row.latency
        else 0.0
        for row in rows
    ]
    bars = axes.barh(places, medians, color=[_colour(row) for row in rows])
    labels = [f" {short(median)}" for median in medians]
    axes.bar_label(bars, labels, label_type="center", fontsize=6, color="white")
    axes.errorbar(
        medians, places, xerr=[[0.0] * len(rows), tails], fmt="none", ecolor="#333333", lw=0.8
    )
    axes.set_xlabel("ms, median; the line ends at p95 (worst, where there are too few)")
    _finish(axes, rows)


def _draw_rates(axes: Axes, rows: Sequence[Row]) -> None:
    rates = [row.calls_per_second or 0.0 for row in rows]
    bars = axes.barh(range(len(rows)), rates, color=[_colour(row) for row in rows])
    labels = [short(rate) for rate in rates]
    axes.bar_label(bars, labels, label_type="center", fontsize=6, color="white")
    axes.set_xlabel("calls a second")
    _finish(axes, rows)


def _finish(axes: Axes, rows: Sequence[Row]) -> None:
    axes.set_yticks(range(len(rows)), [_name(row) for row in rows], fontsize=7)
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.invert_yaxis()
    axes.grid(visible=True, axis="x", alpha=0.3)
    axes.set_axisbelow(True)


def _name(row: Row) -> str:
    many = f", {row.at_once} at once" if row.at_once > 1 else ""
    return f"{row.what}{many} {f'({row.runtime})' if row.runtime else ''}".strip()


def _colour(row: Row) -> str:
    if row.kind in _FLOORS:
        return _COLOURS["floor"]
    return _COLOURS["peer" if row.kind in _PEERS else "ours"]
