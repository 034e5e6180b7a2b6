"""A tool as an Agent Skill: a folder with instructions, the script, examples and the evidence.

The form is https://agentskills.io/specification: `SKILL.md` with front matter, `scripts`, and
`assets`. Whoever reads the folder runs the script without our sandbox, and is told so; where the
tool needs what only the runtime gives (network, files, other tools), there is no script to run.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Final

from pydantic import JsonValue

from policies.display import escape_text
from policies.permissions import Permissions
from policies.source import Example
from policies.value import JsonObject, sha256_digest
from runtime.exporting.mcp import ascii_json, describe, title_of
from toolstore.models import ToolVersion

RUNNER: Final = Path(__file__).with_name("runner.py")
MAX_DESCRIPTION: Final = 1024
MAX_COMPATIBILITY: Final = 500
SHOWN_EXAMPLES: Final = 5
BUNDLE: Final = "assets/bundle.json"
_WORDS: Final = re.compile("[a-z0-9]+")


def skill_name(name: str) -> str:
    """A tool's name as the name of a skill: lower case, words parted by single hyphens.

    Different tools of a store keep different names: the store has no two names that are equal
    without underscores and case. Nothing of a name can lead into another folder.
    """
    return "-".join(_WORDS.findall(name.lower())) or "tool"


def skill_files(version: ToolVersion, bundle: bytes) -> dict[str, bytes]:
    """The files of the skill by their path below its folder, which is named `skill_name`.

    `bundle` is the version with all its evidence.
    """
    source = version.source
    tool: JsonObject = {
        "name": version.name,
        "function": version.source_schema.function,
        "code_digest": sha256_digest(source.code.encode()),
        "version_digest": version.digest,
        "description": describe(version),
    }
    files = {
        "SKILL.md": instructions(version).encode(),
        "scripts/tool.py": source.code.encode(),
        "assets/tool.json": _pretty(tool),
        "assets/examples.json": _pretty([example.to_json() for example in source.examples]),
        BUNDLE: bundle,
    }
    if runs_alone(source.permissions):
        files["scripts/run.py"] = RUNNER.read_bytes()
    return files


def runs_alone(permissions: Permissions) -> bool:
    """Whether plain Python, with packages, can run the tool: nothing of the runtime is needed."""
    return not (permissions.hosts or permissions.secrets or permissions.files or permissions.tools)


def instructions(version: ToolVersion) -> str:
    """The text of `SKILL.md`; what the tool's author wrote is escaped and fenced in it."""
    sections = [
        _front_matter(version),
        f"# {title_of(version.name)}\n\n{_prose(version.source.description)}\n",
        _how_to_run(version),
        _schema_section(version),
        _examples_section(version),
        _evidence_section(version),
    ]
    return "\n".join(sections)


def _front_matter(version: ToolVersion) -> str:
    permissions = version.source.permissions
    description = f"{version.source.description.strip()} Use it instead of writing such code."
    lines = [
        "---",
        f"name: {skill_name(version.name)}",
        f"description: {_scalar(description, MAX_DESCRIPTION)}",
        f"compatibility: {_scalar(_needs(permissions), MAX_COMPATIBILITY)}",
        "metadata:",
        f"  toolkiln-ref: {_scalar(str(version.ref), MAX_COMPATIBILITY)}",
        f"  toolkiln-digest: {_scalar(version.digest, MAX_COMPATIBILITY)}",
        f"  toolkiln-level: {_scalar(version.level.value, MAX_COMPATIBILITY)}",
        f"  toolkiln-author: {_scalar(version.provenance.author, MAX_COMPATIBILITY)}",
        "---",
        "",
    ]
    return "\n".join(lines)


def _scalar(text: str, characters: int) -> str:
    r"""A string of YAML in double quotes, as every parser of front matter takes it.

    Two dashes never stand before a third: some readers look for the end of the front matter by
    its three dashes alone. `\u002d` is one of them to YAML.
    """
    shown = escape_text(" ".join(text.split()), keep_newlines=False)
    if len(shown) > characters:
        shown = shown[: characters - 1] + "…"
    return json.dumps(shown, ensure_ascii=False).replace("--", r"-\u002d")


def _needs(permissions: Permissions) -> str:
    if not runs_alone(permissions):
        return "Needs toolkiln: the tool uses network, files, secrets or other tools through it."
    if permissions.packages:
        return f"Needs Python 3.11 or later with {', '.join(permissions.packages)}."
    return "Needs Python 3.11 or later, and nothing else."


def _how_to_run(version: ToolVersion) -> str:
    arguments = version.source.examples[0].arguments if version.source.examples else {}
    call = _shell_word(ascii_json(arguments))
    with_toolkiln = (
        "With toolkiln, in its sandbox, after it proved the tool again:\n\n"
        f"```sh\ntoolkiln verify {BUNDLE}\n"
        f"toolkiln tools import {BUNDLE}\n"
        f"toolkiln call {version.name} {call}\n```\n"
    )
    if not runs_alone(version.source.permissions):
        return (
            f"## How to run it\n\n{with_toolkiln}\n"
            "`scripts/tool.py` is its source, to be read: it does not run without toolkiln.\n"
        )
    return (
        "## How to run it\n\n"
        "Arguments are one JSON object, the result is JSON on standard output:\n\n"
        f"```sh\npython scripts/run.py {call}\n```\n\n"
        "It runs without a sandbox of its own: give it one. Exit code 1 means that the tool\n"
        "raised, 2 that it was called wrongly or that `scripts/tool.py` was changed.\n\n"
        f"{with_toolkiln}"
    )


def _schema_section(version: ToolVersion) -> str:
    schema = version.source_schema
    parts = [
        "## Arguments and result\n",
        _fenced(schema.parameters),
        "The result:\n",
        _fenced(schema.returns),
    ]
    if schema.raises:
        parts.append(f"It raises {_prose(', '.join(schema.raises))}.\n")
    return "\n".join(parts)


def _examples_section(version: ToolVersion) -> str:
    examples = version.source.examples[:SHOWN_EXAMPLES]
    lines = ["## Examples\n", *(_fenced(_shown(example)) for example in examples)]
    left = len(version.source.examples) - len(examples)
    if left > 0:
        lines.append(f"{left} more are in `assets/examples.json`.\n")
    return "\n".join(lines)


def _shown(example: Example) -> JsonObject:
    """An example with the names of its files alone; their texts are in the assets."""
    files: list[JsonValue] = [*sorted(example.files)]
    return {**example.to_json(), **({"files": files} if files else {})}


def _evidence_section(version: ToolVersion) -> str:
    evidence = version.evidence
    passed = sum(trial.passed for trial in evidence.trials)
    return (
        "## What stands behind it\n\n"
        f"- Version `{version.ref}`, digest `{version.digest}`, level {version.level.value}.\n"
        f"- {passed} of {len(evidence.trials)} trials passed in sandboxes made of\n"
        f"  `{version.image_digest}`.\n"
        f"- `{BUNDLE}` has source, schema, examples, evidence, decision and every signature;\n"
        f"  `toolkiln verify {BUNDLE}` checks them without a store or a network.\n"
    )


def _fenced(value: object) -> str:
    """JSON in a fence that nothing in it can close: its characters are ASCII, without backticks."""
    text = ascii_json(value, indent=2).replace("`", r"\u0060")
    return f"```json\n{text}\n```\n"


def _prose(text: str) -> str:
    """An author's words as one line of text: no markup in them is markup."""
    shown = escape_text(" ".join(text.split()), keep_newlines=False)
    return "".join(f"\\{each}" if each in _MARKUP else each for each in shown)


_MARKUP: Final = frozenset("\\`*_[]<>#|!")


def _shell_word(text: str) -> str:
    """`text` as one word of a shell, on one line, that closes no fence."""
    plain = text.replace("`", r"\u0060").replace("'", r"\u0027")
    return f"'{plain}'"


def _pretty(value: object) -> bytes:
    return (ascii_json(value, indent=2) + "\n").encode()
