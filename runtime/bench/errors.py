"""What can go wrong with a measurement, beside the sandbox itself.

BenchError      a call did not do what it was called for (exit 4)
PlotError       a picture cannot be drawn here (exit 3)
"""

from __future__ import annotations

from runtime.errors import ExitCode, RuntimeFailure


class BenchError(RuntimeFailure):
    """A call did not do what it was called for, so its time says nothing."""


class PlotError(RuntimeFailure):
    """The library that draws is not installed."""

    exit_code = ExitCode.MISSING
