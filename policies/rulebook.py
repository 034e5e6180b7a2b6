"""Every rule of the static stages: its code, weight and meaning; `docs/rules.md` tells the same."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from policies.findings import Severity, Stage

_STAGES: Final = {"LM": Stage.LIMITS, "RP": Stage.LINT, "SC": Stage.SCHEMA}


@dataclass(frozen=True, slots=True)
class RuleInfo:
    """What one rule is about, whatever source it fires on."""

    code: str
    name: str
    """Kebab-case, for people and for SARIF."""

    severity: Severity
    summary: str
    """One sentence: what the rule refuses, and why it exists."""

    @property
    def stage(self) -> Stage:
        """The stage that the code's letters stand for."""
        return _STAGES[self.code[:2]]


_ERRORS: Final = (
    ("LM101", "code-too-large", "The code has more bytes than a reviewer or the store takes."),
    ("LM102", "too-many-lines", "The code has too many lines."),
    ("LM103", "line-too-long", "A line is too wide to be seen whole in a review."),
    ("LM104", "code-behind-spaces", "A long run of spaces pushes code out of the reader's sight."),
    ("LM105", "empty-code", "There is no code at all."),
    ("LM111", "control-character", "A control character stands in the code."),
    ("LM112", "carriage-return", "A carriage return is a line end to Python, not to a reader."),
    ("LM113", "line-separator", "A Unicode line end that Python does not take for one."),
    ("LM114", "bidirectional-text", "Text of which the shown order is not the order that runs."),
    ("LM115", "invisible-character", "A character that takes no room and cannot be reviewed."),
    (
        "LM116",
        "unassigned-character",
        "A private, unassigned or half character, shown arbitrarily.",
    ),
    ("LM117", "coding-cookie", "A coding line makes tools disagree on what the bytes mean."),
    ("LM118", "byte-order-mark", "A byte-order mark stands in the code."),
    ("LM201", "no-description", "The description is empty, so no model would find the tool."),
    ("LM202", "description-too-long", "The description is longer than prompts should carry."),
    ("LM203", "description-unprintable", "The description has characters that do not print."),
    ("LM301", "bad-name", "The tool's name is not a plain ASCII identifier."),
    (
        "LM302",
        "name-of-the-language",
        "The name is a keyword or a built-in that tools may not use.",
    ),
    ("LM303", "reserved-name", "The name, or one that reads like it, is the runtime's own."),
    ("LM304", "name-like-a-built-in", "The name is one typing slip away from a built-in tool."),
    ("LM305", "device-name", "The name is a device on Windows, so exports of it would not open."),
    ("LM401", "too-many-examples", "There are more examples than the trials run."),
    (
        "LM402",
        "examples-too-large",
        "One example, or all together, are too large to keep and show.",
    ),
    ("LM403", "example-not-json", "An example holds something that JSON cannot carry."),
    ("LM501", "nested-too-deep", "The syntax tree is deeper than the checks may go."),
    ("LM502", "too-much-syntax", "The syntax tree has too many nodes."),
    ("LM503", "comprehensions-nested", "Comprehensions are nested so deep that compilers crash."),
    ("LM504", "try-nested", "`try` statements are nested so deep that compiling explodes."),
    ("RP101", "syntax-error", "The code is not Python."),
    ("RP102", "joined-statements", "Two statements stand on one line, joined by a semicolon."),
    ("RP103", "non-ascii-identifier", "An identifier has letters that look like others."),
    ("RP201", "import-beyond-level", "The module is available only at level L2, when declared."),
    ("RP202", "import-never-allowed", "The module is available to no tool."),
    ("RP203", "star-import", "A star import hides where names come from."),
    ("RP204", "relative-import", "A tool is one module; there is nothing to be relative to."),
    ("RP205", "package-import", "The module is in a package that is not declared."),
    ("RP206", "network-import", "A module for the network, without hosts that are declared."),
    ("RP207", "module-member", "This member of an allowed module reaches further than it."),
    ("RP208", "module-through-module", "A module reached through another one is not on the list."),
    ("RP209", "import-not-declared", "An L2 module is imported but not declared."),
    ("RP210", "module-as-value", "A module is handed around instead of being used by its members."),
    ("RP213", "unknown-permission", "A declared import cannot be granted to any tool."),
    ("RP301", "forbidden-name", "A built-in that runs text, reads files or opens up the frame."),
    ("RP302", "private-name", "A name with underscores that belongs to the language."),
    ("RP303", "reserved-word", "A name that RestrictedPython keeps for itself."),
    ("RP304", "private-attribute", "An attribute with underscores of somebody else's object."),
    ("RP305", "frame-attribute", "An attribute that leads to frames, code objects or globals."),
    ("RP306", "computed-attribute", "An attribute is named by a computed string."),
    ("RP307", "format-reaches-attributes", "A format string reads attributes or items."),
    ("RP308", "special-method", "A special method that changes how objects are made or seen."),
    ("RP309", "metaclass", "A metaclass can rewrite what a class does."),
    ("RP310", "except-star", "`except*` can hand out objects past the checks."),
    ("RP311", "unknown-construct", "A construct that has not been reviewed."),
    ("RP312", "unpacking-comprehension", "Unpacking inside a comprehension has not been reviewed."),
    ("RP313", "pattern-reads-attribute", "A class pattern reads a private attribute."),
    ("RP314", "process-control", "A call that starts, ends or traces processes."),
    ("RP315", "undefined-name", "A name that nothing defines, so reading it can only fail."),
    ("RP399", "restricted", "Another refusal by RestrictedPython."),
    (
        "RP403",
        "host-not-granted",
        "A declared host is not inside of what the policy grants, or cannot be understood.",
    ),
    (
        "RP404",
        "secret-not-granted",
        "A declared secret is not granted, or no declared request would get it.",
    ),
    (
        "RP402",
        "package-not-granted",
        "A declared package is malformed, not granted by the policy, or cannot be had.",
    ),
    ("RP405", "files-not-granted", "The policy lets no tool read, or leave behind, files."),
    ("RP406", "tool-not-granted", "Another tool is called that may not be, or is not declared."),
    ("RP901", "not-analysable", "The source could not be analysed within its limits."),
    ("SC101", "no-function", "No function could be found that a call of the tool runs."),
    ("SC102", "which-function", "Several functions could be the tool."),
    ("SC103", "star-parameters", "`*args` or `**kwargs` cannot be described to a model."),
    ("SC107", "type-not-json", "A type that cannot come from, or go into, JSON."),
    ("SC112", "too-many-parameters", "There are more parameters than a model fills well."),
    ("SC113", "schema-too-large", "The schema is larger than prompts should carry."),
    ("SC114", "schema-too-deep", "A type is nested too deep."),
    ("SC116", "parameter-name", "A parameter's name is not a plain ASCII identifier."),
    ("SC117", "generator", "The tool yields, but a call has one result."),
    ("SC201", "example-arguments", "The arguments of an example do not fit the schema."),
    ("SC202", "example-returns", "The expected result of an example is not of the declared type."),
)

_WARNINGS: Final = (
    ("LM204", "long-description", "The description has many lines; prompts show it whole."),
    ("LM205", "description-markup", "The description holds links or markup that models obey."),
    ("RP211", "unused-permission", "A permission is declared and not used."),
    ("RP214", "unclear-import", "It is not known whether a declared package has the module."),
    ("SC104", "no-annotation", "A parameter has no type, so a model must guess."),
    ("SC105", "vague-type", "A type says nothing about what is inside."),
    ("SC106", "unread-annotation", "An annotation that cannot be read without running the code."),
    ("SC108", "record-arrives-as-json", "A record or enum arrives as the JSON that describes it."),
    ("SC109", "undescribed-parameter", "A parameter is not described in the docstring."),
    ("SC110", "no-docstring", "The function has no docstring."),
    ("SC111", "closed-set-of-strings", "A free string is compared with a fixed set of values."),
    ("SC118", "no-return-type", "The result has no declared type, so it cannot be checked."),
    ("SC119", "default-of-other-type", "A default is not of the declared type."),
    ("SC203", "undeclared-exception", "An example raises what the docstring does not declare."),
)

_NOTES: Final = (("RP990", "more-findings", "There are more findings than are shown."),)

RULES: Final = {
    code: RuleInfo(code=code, name=name, severity=severity, summary=summary)
    for severity, rows in (
        (Severity.ERROR, _ERRORS),
        (Severity.WARNING, _WARNINGS),
        (Severity.NOTE, _NOTES),
    )
    for code, name, summary in rows
}
"""All rules by code."""
