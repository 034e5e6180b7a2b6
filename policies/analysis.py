"""The static stages, one after the other, on one proposed tool: limits, lint, schema."""

from __future__ import annotations

from policies.evidence import LintReport
from policies.extraction import check_examples, extract_schema
from policies.findings import Finding
from policies.limits import SourceLimits
from policies.lint import lint
from policies.normal import normal_digest
from policies.permissions import LintLevel
from policies.reporter import Reporter, arrange
from policies.schema import ToolSchema
from policies.source import ToolSource
from policies.syntax import parse
from policies.textcheck import check_text, may_be_parsed
from policies.value import Value


class Analysis(Value):
    """What can be said of a tool without running it."""

    report: LintReport
    """Findings of all static stages, sorted by stage, line and column."""

    source_schema: ToolSchema | None
    """None where the source did not parse or has no callable function."""

    normal: str | None = None
    """Digest of the normal form: see `policies.normal`. None where there is no schema."""


def analyse(source: ToolSource, limits: SourceLimits) -> Analysis:
    """Check `source` at the level that its permissions ask for. Never raises for its content.

    Parsing hostile text can exhaust or crash the interpreter, so this belongs in a disposable
    process (`runtime.analyzer`); only the limits before parsing are safe anywhere.
    """
    findings = check_text(source, limits)
    if not may_be_parsed(findings):
        return without_parsing(source, findings)
    report = Reporter(source.code)
    tree = parse(source.code, limits, report)
    findings += report.findings
    if tree is None:
        return without_parsing(source, findings)
    findings += lint(source.code, tree, source.permissions)
    schema, schema_findings = extract_schema(tree, source)
    findings += schema_findings
    if schema is not None:
        findings += check_examples(schema, source.examples)
    normal = None if schema is None else normal_digest(tree, schema.function)
    return _analysis(source, findings, schema, normal)


def analyse_text(source: ToolSource, limits: SourceLimits) -> Analysis | None:
    """The whole analysis where the text may not even be parsed; None where it may.

    Linear and safe in any process.
    """
    findings = check_text(source, limits)
    return None if may_be_parsed(findings) else without_parsing(source, findings)


def without_parsing(source: ToolSource, findings: list[Finding]) -> Analysis:
    """An analysis of a source that was not parsed: these findings alone."""
    return _analysis(source, findings, None)


def not_analysable(source: ToolSource, limits: SourceLimits, reason: str) -> Analysis:
    """The analysis of a source that the process analysing it did not survive."""
    report = Reporter(source.code)
    report.on(
        "RP901",
        None,
        f"the source could not be analysed: {reason}",
        "make it simpler: fewer nested expressions, shorter literals, smaller functions",
    )
    return without_parsing(source, [*check_text(source, limits), *report.findings])


def _analysis(
    source: ToolSource,
    findings: list[Finding],
    schema: ToolSchema | None,
    normal: str | None = None,
) -> Analysis:
    level: LintLevel = source.permissions.lint_level
    return Analysis(
        report=LintReport(level=level, findings=arrange(findings)),
        source_schema=schema,
        normal=normal,
    )
