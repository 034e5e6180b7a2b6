"""Stored and proposed tools, as a person reviews them. Every piece of untrusted text is escaped."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Final

from pydantic import JsonValue
from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.syntax import Syntax
from rich.table import Table
from rich.text import Text

from policies.display import escape_text
from policies.evidence import Evidence, Trial, TrialKind
from policies.findings import Finding, Severity
from policies.permissions import Permissions
from policies.report import lines_of
from policies.schema import ToolSchema
from policies.value import JsonObject
from runtime.cli.diffview import changes_view
from toolstore.models import Lifecycle, ToolVersion

THEME: Final = "ansi_dark"
CELL_CHARACTERS: Final = 200
SHOWN_GENERATED: Final = 5
"""More of one value does not fit a table; `--json` has all of it."""

_SEVERITY_STYLES: Final = {
    Severity.ERROR: "bold red",
    Severity.WARNING: "yellow",
    Severity.NOTE: "cyan",
}
_STATE_STYLES: Final = {
    Lifecycle.APPROVED: "green",
    Lifecycle.QUARANTINED: "yellow",
    Lifecycle.REVOKED: "red",
}


def safe(text: str, style: str = "") -> Text:
    """Untrusted text, escaped; never read as markup."""
    return Text(escape_text(text), style=style)


def one_line(text: str, style: str = "") -> Text:
    """Untrusted text, escaped to a single line."""
    return Text(escape_text(text, keep_newlines=False), style=style)


def brief(value: JsonValue, characters: int = CELL_CHARACTERS) -> str:
    """A JSON value on one line, escaped, and cut with a note of how much is missing."""
    text = escape_text(json.dumps(value, ensure_ascii=False), keep_newlines=False)
    if len(text) <= characters:
        return text
    return f"{text[:characters]} [… {len(text) - characters} more characters]"


def code_view(code: str, *, first_line: int = 1) -> Syntax:
    """Source with colour and line numbers; long lines wrap, so that nothing hides at their end."""
    return Syntax(
        escape_text(code),
        "python",
        theme=THEME,
        line_numbers=True,
        start_line=first_line,
        word_wrap=True,
        background_color="default",
    )


def findings_view(findings: Sequence[Finding]) -> RenderableType:
    """Findings under each other, coloured by severity."""
    if not findings:
        return Text("no findings", style="green")
    view = Text()
    for finding in findings:
        head, *rest = lines_of(finding, finding.stage)
        view.append(head + "\n", style=_SEVERITY_STYLES[finding.severity])
        view.append("".join(line + "\n" for line in rest))
    view.rstrip()
    return view


def schema_view(schema: ToolSchema) -> RenderableType:
    """Parameters as a table, and the result."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for head in ("parameter", "type", "default", "description"):
        table.add_column(head, overflow="fold")
    properties = schema.parameters.get("properties")
    required = schema.parameters.get("required")
    parts = properties if isinstance(properties, dict) else {}
    needed = [str(name) for name in required] if isinstance(required, list) else []
    for name in dict.fromkeys((*needed, *parts)):  # stored objects have lost their order
        part = parts.get(name)
        fields = part if isinstance(part, dict) else {}
        table.add_row(
            one_line(name, "cyan"),
            type_words(fields),
            "required" if name in needed else Text(brief(fields.get("default"))),
            one_line(str(fields.get("description", ""))),
        )
    result = Text.assemble(("returns ", "bold"), type_words(schema.returns))
    if schema.raises:
        result.append("   raises ", style="bold").append_text(one_line(", ".join(schema.raises)))
    return Group(table, result)


def type_words(schema: JsonObject) -> Text:
    """The type that a JSON schema describes, in a few words."""
    return Text(_type_words(schema))


def _type_words(schema: JsonValue) -> str:
    if not isinstance(schema, dict):
        return "anything"
    choices = [schema["const"]] if "const" in schema else schema.get("enum")
    if isinstance(choices, list):
        return " | ".join(brief(choice, 40) for choice in choices)
    options = schema.get("anyOf", schema.get("oneOf", schema.get("type", "anything")))
    if isinstance(options, list):
        return " | ".join(
            _type_words(option if isinstance(option, dict) else {"type": option})
            for option in options
        )
    inner = schema.get("items" if options == "array" else "additionalProperties")
    words = escape_text(str(options), keep_newlines=False)
    return f"{words} of {_type_words(inner)}" if isinstance(inner, dict) else words


def trials_view(trials: Sequence[Trial]) -> RenderableType:
    """The trials: what went in, what was expected, what came, the verdict, time and memory.

    Of the generated ones that passed a few are shown, all that failed, and how many more there
    are; `--json` has every one.
    """
    if not trials:
        return Text("no trials", style="yellow")
    table = Table(box=None, pad_edge=False, header_style="bold")
    for head in ("", "kind", "arguments", "expected", "outcome"):
        table.add_column(head, overflow="fold")
    for head in ("ms", "MiB"):
        table.add_column(head, justify="right", no_wrap=True)
    shown = _worth_showing(trials)
    for trial in shown:
        table.add_row(
            verdict_mark(passed=trial.passed),
            str(trial.kind),
            _given(trial),
            "" if trial.expected is None else brief(trial.expected),
            outcome_text(trial),
            f"{trial.wall_seconds * 1000:.0f}",
            "" if trial.memory_bytes is None else f"{trial.memory_bytes / 2**20:.1f}",
        )
    failed = sum(not trial.passed for trial in trials)
    count = "1 trial" if len(trials) == 1 else f"{len(trials)} trials"
    words = f"{count}, {failed} failed" if failed else f"{count}, all passed"
    if len(shown) < len(trials):
        words += f"; {len(trials) - len(shown)} generated ones that passed are not listed"
    return Group(table, Text(words, style="red" if failed else "green"))


def _given(trial: Trial) -> str:
    files = f" with {', '.join(trial.files)}" if trial.files else ""
    return brief(trial.arguments) + escape_text(files, keep_newlines=False)


def _worth_showing(trials: Sequence[Trial]) -> list[Trial]:
    passed = [t for t in trials if t.passed and t.kind is TrialKind.PROPERTY]
    hidden = {id(trial) for trial in passed[SHOWN_GENERATED:]}
    return [trial for trial in trials if id(trial) not in hidden]


def outcome_text(trial: Trial) -> Text:
    """What came of a trial; for a failed one why it failed, which says what came of it too."""
    if not trial.passed:
        return Text.assemble((f"{trial.outcome}: ", "yellow"), one_line(trial.detail, "red"))
    if trial.outcome == "returned":
        return Text(brief(trial.value))
    return Text.assemble((f"{trial.outcome}: ", "yellow"), one_line(trial.error or ""))


def verdict_mark(*, passed: bool) -> Text:
    """A tick or a cross."""
    return Text("✓", style="bold green") if passed else Text("✗", style="bold red")


def permissions_view(permissions: Permissions) -> RenderableType:
    """What the tool declared that it needs."""
    wanted = [
        f"{name}: {', '.join(values)}"
        for name, values in (
            ("imports", permissions.imports),
            ("packages", permissions.packages),
            ("hosts", permissions.hosts),
            ("secrets", permissions.secrets),
            ("files", permissions.files),
            ("calls", permissions.tools),
        )
        if values
    ]
    level = f"level {permissions.lint_level}"
    if not wanted:
        return Text(f"{level}; nothing beyond computation")
    return safe("\n".join([level, *wanted]), "yellow")


def evidence_words(evidence: Evidence) -> str:
    """Which proof stands behind a version, in one line."""
    return (
        f"{evidence.digest[:19]}… by {evidence.produced_by}, "
        f"{evidence.produced_at:%Y-%m-%d %H:%M:%S %Z}, image {evidence.image_digest[:19]}…"
    )


def version_view(version: ToolVersion, before: ToolVersion | None = None) -> list[RenderableType]:
    """Everything that a person needs to decide about one version."""
    facts = Table.grid(padding=(0, 2))
    facts.add_column(style="bold")
    facts.add_column(overflow="fold")
    for name, value in _facts(version):
        facts.add_row(name, value)
    sections: list[tuple[str, RenderableType]] = [
        ("code", code_view(version.source.code)),
        ("schema", schema_view(version.source_schema)),
        ("permissions", permissions_view(version.source.permissions)),
        ("findings", findings_view(version.evidence.all_findings)),
        ("trials", trials_view(version.evidence.trials)),
    ]
    if before is not None:
        sections.append((f"changes since {before.ref}", changes_view(before, version)))
    title = Text.assemble(one_line(str(version.ref), "bold"), "  ", _state(version.state))
    panels: list[RenderableType] = [Panel(facts, title=title, title_align="left")]
    panels += [Panel(body, title=one_line(name), title_align="left") for name, body in sections]
    return [*panels, Text(f"digest {version.digest}", style="bold")]


def _facts(version: ToolVersion) -> Iterable[tuple[str, Text]]:
    provenance, decision = version.provenance, version.decision
    origin = f"{provenance.author} ({provenance.origin})"
    if provenance.model:
        origin += f", model {provenance.model}"
    if provenance.session:
        origin += f", session {provenance.session}"
    yield "description", safe(version.source.description)
    state = f"{version.state} ({version.place})" if version.place else version.state
    yield "state", one_line(f"{state}: {version.state_reason}")
    yield "author", one_line(origin)
    yield "created", Text(f"{provenance.created_at:%Y-%m-%d %H:%M:%S %Z}")
    yield "level", Text(str(version.level))
    yield "parent", Text(version.parent or "none")
    yield "evidence", one_line(evidence_words(version.evidence))
    verdict = "allowed" if decision.allowed else "review" if decision.needs_review else "refused"
    under = f"{verdict} under policy {decision.policy_digest[:19]}…"
    yield "decision", one_line(f"{under}: {'; '.join(decision.reasons)}")
    for approval in version.approvals:
        words = f"{approval.principal}, {approval.at:%Y-%m-%d %H:%M:%S %Z}"
        yield "approved by", one_line(words + (f": {approval.comment}" if approval.comment else ""))
    for waiver in version.waivers:
        until = f"{waiver.expires_at:%Y-%m-%d %H:%M:%S %Z}"
        words = f"{waiver.rule} by {waiver.principal} until {until}: {waiver.reason}"
        yield "waiver", one_line(words)


def _state(state: Lifecycle) -> Text:
    return Text(str(state), style=_STATE_STYLES.get(state, "dim"))
