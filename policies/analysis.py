"""The static stages, one after the other, on one proposed tool: limits, lint, schema."""

from __future__ import annotations

from policies.evidence import LintReport
from policies.limits import SourceLimits
from policies.schema import ToolSchema
from policies.source import ToolSource
from policies.value import Value


class Analysis(Value):
    """What can be said of a tool without running it."""

    report: LintReport
    """Findings of all static stages, sorted by stage, line and column."""

    source_schema: ToolSchema | None
    """None where the source did not parse or has no callable function."""


def analyse(source: ToolSource, limits: SourceLimits) -> Analysis:
    """Check `source` at the level that its permissions ask for. Never raises for its content.

    Parsing hostile text can exhaust or crash the interpreter, so this belongs in a disposable
    process (`runtime.analyzer`); only the limits before parsing are safe anywhere.
    """
    raise NotImplementedError
