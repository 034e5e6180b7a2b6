"""What can be called: the `Tool` Protocol that built-ins, host tools and made tools share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from policies.value import JsonObject
from runtime.events import AdmissionListener
from runtime.messages import ToolSpec
from sandbox.artefacts import Artefact

DEFINE_TOOL = "define_tool"
"""The built-in that makes a tool; counted by the budget."""

FIND_TOOLS = "find_tools"
"""The built-in that looks for tools which are not in the request."""


def ignore_progress(_event: object) -> None:
    """Listen to nothing."""


@dataclass(frozen=True, slots=True)
class CallContext:
    """Where a call comes from."""

    call_id: str
    session_id: str | None = None
    model: str | None = None
    on_progress: AdmissionListener = ignore_progress
    files: Mapping[str, bytes] = field(default_factory=dict)
    """What is given to a tool that reads files, by name."""


@dataclass(frozen=True, slots=True)
class ToolAnswer:
    """What a call came to, in the words that the model reads."""

    content: str
    is_error: bool = False
    made_tools: tuple[str, ...] = ()
    """Tools that this call added; they belong into this session's next request."""

    found_tools: tuple[str, ...] = field(default=())
    """Tools that this call found; they belong into this session's next request."""

    waiting_tools: tuple[str, ...] = ()
    """Versions (`name@sha256:…`) that this call made and that wait for a person."""

    admitted_tools: tuple[str, ...] = ()
    """Versions (`name@sha256:…`) that this call made and that the policy let in by itself."""

    made_files: tuple[Artefact, ...] = ()
    """Files that this call left; tools of this session that read files are given them too."""


class Tool(Protocol):
    """Something that the model may call. Arguments were validated against the spec before."""

    @property
    def spec(self) -> ToolSpec:
        """What the model sees."""
        ...

    async def call(self, arguments: JsonObject, context: CallContext) -> ToolAnswer:
        """Run the call. What goes wrong in the tool is an answer with `is_error`."""
        ...


class Catalog(Protocol):
    """The tools that the store offers now; the store may change under a running session."""

    async def refresh(self) -> None:
        """Notice what changed in the store since the last time; cheap when nothing did."""
        ...

    async def get(self, name: str) -> Tool | None:
        """The tool that `name` means at the last refresh, verified as it is loaded, or None."""
        ...

    async def search(self, query: str, limit: int) -> Sequence[ToolSpec]:
        """The best matches for `query`, best first; fewer when fewer match at all."""
        ...

    def names(self) -> Sequence[str]:
        """All names, for hints about misspelt ones."""
        ...
