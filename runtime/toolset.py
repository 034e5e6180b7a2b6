"""What goes into a request: few tools, the right ones, in an order that caches survive."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Sequence
from difflib import get_close_matches
from itertools import chain
from typing import Final

from policies.value import JsonObject
from runtime.errors import UsageError
from runtime.messages import ToolSpec
from runtime.tools import DEFINE_TOOL, FIND_TOOLS, CallContext, Catalog, Tool, ToolAnswer
from toolstore.errors import ToolStoreError
from toolstore.search import Bm25Index

DEFAULT_SIZE: Final = 15
MAX_FOUND: Final = 10
DEFAULT_FOUND: Final = 5
_DESCRIPTION_CHARACTERS: Final = 300


class Toolset:
    """The tools of one session: what it may call, and what the model is shown of them.

    A name means the built-in, else the host tool, else what the catalog has.
    """

    def __init__(
        self,
        *,
        builtins: Sequence[Tool] = (),
        host_tools: Sequence[Tool] = (),
        catalog: Catalog | None = None,
        size: int = DEFAULT_SIZE,
    ) -> None:
        """Take the tools; `find_tools` is added to the built-ins.

        Raises:
            UsageError: Two tools have one name.
        """
        self._builtins = _by_name((*builtins, FindTools(self)))
        self._host_tools = _by_name(host_tools)
        if both := self._builtins.keys() & self._host_tools.keys():
            raise UsageError(f"{_quoted(both)}: the name of a built-in; call the host tool else.")
        self._catalog = catalog
        self._size = size
        # Dictionaries as ordered sets; the most recent stands last.
        self._active: dict[str, None] = {}
        self._found: dict[str, None] = {}
        self._sent: tuple[str, ...] = ()

    async def refresh(self) -> None:
        """Notice what changed in the store; once before each request."""
        if self._catalog is not None:
            await self._catalog.refresh()

    async def get(self, name: str) -> Tool | None:
        """The tool that `name` means now, whether or not the request carried it.

        Raises:
            ToolStoreError: The store has it, and it could not be read or trusted.
        """
        tool = self._builtins.get(name) or self._host_tools.get(name)
        if tool is None and self._catalog is not None:
            return await self._catalog.get(name)
        return tool

    async def for_request(self, prompt: str) -> tuple[Tool, ...]:
        """The tools of the next request: at most `size`, unless the built-ins are more.

        Built-ins come first, then what this session made or used, what it found, and the best
        matches for the prompt. Who is in is decided by that rank; the order is that of the
        request before, with newcomers at the end, so that a provider's prompt cache holds.
        """
        chosen: dict[str, Tool] = {}
        async for name in self._ranked(prompt):
            if len(chosen) >= max(self._size, len(self._builtins)):
                break
            if name not in chosen and (tool := await self._get_sound(name)) is not None:
                chosen[name] = tool
        stayed = [name for name in self._sent if name in chosen]
        self._sent = tuple(dict.fromkeys((*stayed, *chosen)))
        return tuple(chosen[name] for name in self._sent)

    def note_used(self, *names: str) -> None:
        """These were called or made here: they stay in the requests, the latest first."""
        for name in names:
            if name not in self._builtins:
                self._active.pop(name, None)
                self._active[name] = None

    def note_found(self, *names: str) -> None:
        """These were found here, the best first."""
        for name in reversed(names):
            self._found.pop(name, None)
            self._found[name] = None

    async def search(self, query: str, limit: int) -> list[ToolSpec]:
        """Host tools and tools of the catalog that match, best first; built-ins are known."""
        own = rank([tool.spec for tool in self._host_tools.values()], query)[:limit]
        if self._catalog is None:
            return own
        taken = self._builtins.keys() | self._host_tools.keys()
        found = await self._catalog.search(query, limit + len(own))
        others = [spec for spec in found if spec.name not in taken]
        return _interleaved(own, others)[:limit]

    def explain_unknown(self, name: str) -> str:
        """What to tell a model that called a tool which is not there."""
        known = [*self._builtins, *self._host_tools, *self._catalog_names()]
        near = get_close_matches(name, known, n=3)
        hint = f" Near names: {', '.join(near)}." if near else ""
        return (
            f"there is no tool named {name!r}; nothing was run.{hint} "
            f"Look for one with {FIND_TOOLS}. {self.advice}"
        )

    @property
    def advice(self) -> str:
        """What else a model can do that lacks a tool."""
        if DEFINE_TOOL in self._builtins:
            return f"If there is none, make one with {DEFINE_TOOL}."
        return "If there is none, say what is missing."

    async def _get_sound(self, name: str) -> Tool | None:
        """As `get`; a tool that cannot be trusted is not offered, and no reason to stop."""
        try:
            return await self.get(name)
        except ToolStoreError:
            return None

    async def _ranked(self, prompt: str) -> AsyncIterator[str]:
        """All candidates, the most deserving first; may repeat and may be gone from the store."""
        for name in (*self._builtins, *reversed(self._active), *reversed(self._found)):
            yield name
        room = self._size - len(self._builtins)
        others = self._catalog_names()
        everything_fits = len(self._host_tools) + len(others) <= room
        if everything_fits or len(self._host_tools) <= room // 2:
            for name in self._host_tools:
                yield name
        matches = others
        if not everything_fits:
            matches = [spec.name for spec in await self.search(prompt, max(room, 0))]
        for name in (*matches, *self._sent, *self._host_tools):
            yield name

    def _catalog_names(self) -> Sequence[str]:
        return () if self._catalog is None else self._catalog.names()


class FindTools:
    """The built-in that reaches every tool which is not in the request."""

    def __init__(self, toolset: Toolset) -> None:
        self._toolset = toolset
        self.spec = ToolSpec(
            name=FIND_TOOLS,
            description=(
                "Look for tools that exist but are not listed here. Lists the best matches and "
                "makes them callable from your next answer on."
            ),
            parameters={
                "type": "object",
                "properties": {
                    "query": {
                        "type": "string",
                        "minLength": 1,
                        "description": "What the tool should do, in a few words.",
                    },
                    "limit": {
                        "type": "integer",
                        "minimum": 1,
                        "maximum": MAX_FOUND,
                        "default": DEFAULT_FOUND,
                        "description": "How many to list at most.",
                    },
                },
                "required": ["query"],
                "additionalProperties": False,
            },
        )

    async def call(self, arguments: JsonObject, context: CallContext) -> ToolAnswer:
        """Search, and load what was found into the session's next request."""
        del context
        query, limit = str(arguments["query"]), arguments.get("limit", DEFAULT_FOUND)
        found = await self._toolset.search(
            query, limit if isinstance(limit, int) else DEFAULT_FOUND
        )
        if not found:
            return ToolAnswer(f"No tool matches {query!r}. {self._toolset.advice}")
        lines = [f"- {_signature(spec)}: {_one_line(spec.description)}" for spec in found]
        head = f"{len(found)} found, callable from your next answer on:"
        return ToolAnswer("\n".join([head, *lines]), found_tools=tuple(spec.name for spec in found))


def rank(specs: Sequence[ToolSpec], query: str) -> list[ToolSpec]:
    """Those of `specs` that share words with `query`, best first; a name counts twice."""
    by_name = {spec.name: spec for spec in specs}
    index = Bm25Index((s.name, f"{s.name} {s.name} {s.description}") for s in specs)
    return [by_name[name] for name in index.search(query, len(specs))]


def _interleaved(own: Iterable[ToolSpec], others: Iterable[ToolSpec]) -> list[ToolSpec]:
    """Both by turns: the two rankings have no common scale."""
    left, right = list(own), list(others)
    pairs = chain.from_iterable(zip(left, right, strict=False))
    shorter = min(len(left), len(right))
    return [*pairs, *left[shorter:], *right[shorter:]]


def _signature(spec: ToolSpec) -> str:
    properties = spec.parameters.get("properties")
    return f"{spec.name}({', '.join(properties) if isinstance(properties, dict) else ''})"


def _one_line(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _DESCRIPTION_CHARACTERS else line[:_DESCRIPTION_CHARACTERS] + "…"


def _by_name(tools: Sequence[Tool]) -> dict[str, Tool]:
    by_name = {tool.spec.name: tool for tool in tools}
    if len(by_name) < len(tools):
        names = [tool.spec.name for tool in tools]
        raise UsageError(
            f"{_quoted({n for n in names if names.count(n) > 1})}: two tools, one name."
        )
    return by_name


def _quoted(names: Iterable[str]) -> str:
    return ", ".join(repr(name) for name in sorted(names))
