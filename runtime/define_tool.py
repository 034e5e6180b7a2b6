"""The built-in `define_tool`: the model's way to a tool that does not exist yet."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final, Literal, Protocol

from pydantic import ValidationError

from policies.config import PolicyProfile
from policies.source import ToolSource
from policies.value import JsonObject
from runtime.events import AdmissionListener
from runtime.messages import ToolSpec
from runtime.outcome import DefinitionOutcome
from runtime.tools import DEFINE_TOOL, CallContext, ToolAnswer

_DESCRIPTION = """\
Make a new tool when no listed tool fits and find_tools found none. You write one Python function; \
it is checked, tried in a sandbox on your examples and on generated arguments, and once admitted \
you can call it from your next answer on, in this and every later session. If it is refused, mend \
everything that the findings name and call define_tool again with the complete tool. \
Do not use it for a calculation that you can do at once."""

_CODE = """\
Python source with one top-level function named like the tool: annotate every parameter and the \
result, describe the tool, each parameter and declared exceptions in the docstring (Google style: \
Args, Returns, Raises). The result must be JSON (numbers, strings, lists, dicts with string keys, \
true, false, null). Pure computation only: standard library modules without I/O such as math, re, \
json, datetime, itertools, collections, statistics, decimal; no files, network, processes, eval, \
exec, open or input, except where a permission below brings it."""

_EXAMPLE: Final[JsonObject] = {
    "arguments": {"type": "object", "description": "Keyword arguments of the call."},
    "returns": {"description": "The JSON value that it must return."},
    "raises": {
        "type": ["string", "null"],
        "description": 'Instead of returns: the exception, such as "ValueError".',
    },
}
_EXAMPLE_FILES: Final[JsonObject] = {
    "files": {
        "type": ["object", "null"],
        "additionalProperties": {"type": "string"},
        "description": "For a tool that reads files: the text of each by its name.",
    },
}


def parameters(profile: PolicyProfile) -> JsonObject:
    """The schema of the arguments; the descriptions say what `profile` grants."""
    return {
        "type": "object",
        "properties": {
            "name": {
                "type": "string",
                "description": "Lower-case words joined by underscores, such as roman_to_int.",
            },
            "description": {
                "type": "string",
                "description": "What the tool does and when to use it, in one or two plain "
                "sentences.",
            },
            "code": {"type": "string", "description": _CODE},
            "examples": {
                "type": "array",
                "minItems": 1,
                "description": "Calls with the outcome you expect; they are run, and must hold. "
                "Cover ordinary input, edge cases and errors.",
                "items": _example(profile),
            },
            "permissions": {
                "type": ["object", "null"],
                "description": "Leave out for pure computation. Anything asked for here may need "
                "a person's approval.",
                "properties": _permissions(profile),
                "additionalProperties": False,
            },
            "insist": {
                "type": ["boolean", "null"],
                "description": "Only after the answer that the store has a tool that does this: "
                "store it all the same.",
            },
        },
        "required": ["name", "description", "code", "examples"],
        "additionalProperties": False,
    }


def _example(profile: PolicyProfile) -> JsonObject:
    return {
        "type": "object",
        "properties": _EXAMPLE | (_EXAMPLE_FILES if profile.files.input else {}),
        "required": ["arguments"],
        "additionalProperties": False,
    }


def _permissions(profile: PolicyProfile) -> JsonObject:
    files: dict[Literal["input", "output"], str] = {
        "input": "input_names(), read_input(name) and read_input_bytes(name) give the files that "
        "a call is handed.",
        "output": "write_output(name, data), or files in /tmp/output, are what a call leaves.",
    }
    granted = [kind for kind in files if getattr(profile.files, kind)]
    return {
        "level": {"type": "string", "enum": [str(level) for level in profile.admission.levels]},
        "imports": _texts("Standard-library modules beyond the pure ones."),
        "packages": _granted(
            "Packages that the code may import, at level L1 and above.", profile.packages.allow
        ),
        "hosts": _granted(
            "Where it sends HTTP requests (urllib; no sockets), level L3: "
            "`https://host/path-prefix`, with methods before it where they are not GET and HEAD: "
            "`POST https://host/`.",
            profile.network.allow,
        ),
        "secrets": _granted(
            "Secrets that are put into its requests on the way, level L3; the code never sees "
            "them.",
            profile.secrets,
        ),
        "files": _granted(" ".join(f"{kind}: {files[kind]}" for kind in granted), granted),
        "tools": _texts(
            "Tools of the store that it calls, with call_tool(name, **arguments)."
            if profile.tools.allow
            else _NOTHING
        ),
    }


_NOTHING: Final = "The policy grants none; leave it out."


def _granted(description: str, granted: Collection[str]) -> JsonObject:
    return _texts(f"{description} Granted: {', '.join(granted)}." if granted else _NOTHING)


def _texts(description: str) -> JsonObject:
    return {"type": "array", "items": {"type": "string"}, "description": description}


class Define(Protocol):
    """Takes a proposed tool through the admission."""

    async def __call__(
        self,
        source: ToolSource,
        context: CallContext,
        on_event: AdmissionListener,
        *,
        insist: bool,
    ) -> DefinitionOutcome:
        """Admit, quarantine or refuse; see `runtime.admission`."""
        ...


class DefineTool:
    """`define_tool` as the model sees it."""

    def __init__(self, define: Define, profile: PolicyProfile) -> None:
        self._define = define
        self.spec = ToolSpec(
            name=DEFINE_TOOL, description=_DESCRIPTION, parameters=parameters(profile)
        )

    async def call(self, arguments: JsonObject, context: CallContext) -> ToolAnswer:
        """Define the tool; the answer says what came of it and how to mend a refusal."""
        fields = {key: value for key, value in arguments.items() if value is not None}
        insist = fields.pop("insist", False) is True
        try:
            source = ToolSource.model_validate(fields)
        except ValidationError as error:
            return ToolAnswer(_explain(error), is_error=True)
        outcome = await self._define(source, context, context.on_progress, insist=insist)
        return ToolAnswer(
            outcome.to_text(),
            is_error=not (outcome.admitted or outcome.needs_review or outcome.duplicate_of),
            made_tools=(outcome.name,) if outcome.admitted else (),
            found_tools=(outcome.duplicate_of,) if outcome.duplicate_of else (),
            waiting_tools=_version(outcome) if outcome.needs_review else (),
            admitted_tools=_version(outcome) if outcome.admitted else (),
        )


def _version(outcome: DefinitionOutcome) -> tuple[str, ...]:
    return () if outcome.digest is None else (f"{outcome.name}@{outcome.digest}",)


def _explain(error: ValidationError) -> str:
    problems = [
        f"- {'.'.join(str(part) for part in problem['loc']) or 'tool'}: "
        f"{problem['msg'].removeprefix('Value error, ')}"
        for problem in error.errors(include_url=False, include_input=False)
    ]
    return "\n".join(
        [
            "define_tool was not run: its arguments are not as expected.",
            "Mend these and call it again with the complete tool:",
            *problems,
        ]
    )
