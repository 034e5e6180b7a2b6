"""A conversation in a terminal: prompts, slash commands, and Ctrl-C for one turn."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from policies.access import Action
from policies.display import escape_text
from policies.errors import PoliciesError
from runtime.cli.live import EventRenderer
from runtime.cli.opening import parse_ref, version_before
from runtime.cli.permission import require
from runtime.cli.reader import LineReader
from runtime.cli.render import one_line, safe, version_view
from runtime.errors import RuntimeFailure, UsageError
from runtime.review.waiting import waiting_for
from runtime.sessions import Session
from runtime.wiring import Runtime
from sandbox.errors import SandboxError
from toolstore.errors import ToolStoreError
from toolstore.models import Lifecycle, ToolVersion

EXPECTED: Final = (RuntimeFailure, PoliciesError, SandboxError, ToolStoreError)
"""What ends a turn or a slash command, and not the conversation."""

HELP: Final = {
    "/tools": "list the tools that can be called",
    "/tool NAME": "show one tool: source, proof, what changed",
    "/review": "list what waits for a person",
    "/review approve NAME": "show it, and approve what was shown",
    "/review reject NAME REASON": "say no for good",
    "/usage": "what this session has used of its budget",
    "/help": "this list; Ctrl-C stops a turn, Ctrl-D quits",
    "/quit": "end; the session can be resumed",
}
WORDS: Final = tuple(usage.split(" NAME")[0] for usage in HELP)
"""What is completed at the start of a line."""


@dataclass(slots=True)
class Conversation:
    """Reads lines and answers them until the person has had enough."""

    runtime: Runtime
    session: Session
    reader: LineReader
    renderer: EventRenderer
    console: Console

    async def run(self) -> None:
        """Answer line after line; returns at the end of input or on `/quit`."""
        while True:
            try:
                line = await self.reader.read("> ")
            except KeyboardInterrupt:
                continue  # the line was given up, nothing else
            if line is None or line.strip() == "/quit":
                return
            if line.strip():
                await self._guarded(self._answer(line.strip()))

    async def _guarded(self, work: Awaitable[None]) -> None:
        try:
            await work
        except EXPECTED as error:
            self.renderer.close()
            self.console.print(safe(f"error: {error}", "red"))

    async def _answer(self, line: str) -> None:
        if line.startswith("/"):
            await self._command(line)
        else:
            await self._turn(line)

    async def _turn(self, prompt: str) -> None:
        """One prompt; Ctrl-C meanwhile stops it and everything that it started."""
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGINT, self.session.cancel)
        try:
            await self.session.send(prompt)
        finally:
            loop.remove_signal_handler(signal.SIGINT)
            self.renderer.close()

    async def _command(self, line: str) -> None:
        name, _, rest = line.partition(" ")
        commands: dict[str, Callable[[str], Awaitable[None]]] = {
            "/tools": self._tools,
            "/tool": self._tool,
            "/review": self._review,
            "/usage": self._usage,
            "/help": self._help,
        }
        command = commands.get(name)
        if command is None:
            raise UsageError(f"there is no {name!r}; /help lists the commands")
        await command(rest.strip())

    async def _help(self, _rest: str) -> None:
        self._grid((Text(name, style="cyan"), Text(what)) for name, what in HELP.items())

    async def _tools(self, _rest: str) -> None:
        approved = await self.runtime.store.summaries((Lifecycle.APPROVED,))
        self._list(
            [(f"{each.name}@{each.sequence}", each.level, each.description) for each in approved],
            "no tools yet",
        )

    def _list(self, rows: Sequence[tuple[str, str, str]], nothing: str) -> None:
        if not rows:
            self.console.print(Text(nothing, style="dim"))
        self._grid(
            (one_line(ref, "cyan"), Text(level), one_line(about)) for ref, level, about in rows
        )

    async def _tool(self, rest: str) -> None:
        version = await self.runtime.store.find(parse_ref(_needed(rest, "/tool NAME")))
        await self._show(version)

    async def _show(self, version: ToolVersion) -> None:
        require(self.runtime.settings, Action.READ_SOURCE, version)
        before = await version_before(self.runtime.store, version)
        self.console.print(*version_view(version, before), sep="\n")

    async def _review(self, rest: str) -> None:
        verb, _, rest = rest.partition(" ")
        name, _, reason = rest.strip().partition(" ")
        match verb:
            case "":
                await self._queue()
            case "approve":
                await self._approve(_needed(name, "/review approve NAME"))
            case "reject":
                _needed(reason.strip(), "/review reject NAME REASON")
                waiting = await self._waiting(name)
                await self.runtime.reject(
                    str(waiting.ref),
                    principal=self.runtime.settings.principal,
                    reason=reason.strip(),
                )
                self.console.print(one_line(f"{waiting.ref} is rejected", "yellow"))
            case _:
                raise UsageError("write /review, /review approve NAME or /review reject NAME WHY")

    async def _queue(self) -> None:
        """What waits, as far as this person may read it."""
        reader, access = self.runtime.settings.principal, self.runtime.equipment.access
        waiting = await waiting_for(self.runtime.store, access, reader)
        self._list(
            [(str(each.ref), each.level, each.source.description) for each in waiting],
            "nothing waits for review",
        )

    async def _approve(self, name: str) -> None:
        version = await self._waiting(name)
        await self._show(version)
        try:
            answer = await self.reader.read(f"approve {version.ref}? [y/N] ")
        except KeyboardInterrupt:
            answer = None
        if (answer or "").strip().lower() not in {"y", "yes"}:
            self.console.print(Text("nothing was approved", style="dim"))
            return
        approved = await self.runtime.approve(
            str(version.ref),
            principal=self.runtime.settings.principal,
            shown_digest=version.digest,
        )
        self.console.print(one_line(f"{approved.ref} is {approved.state}", "green"))

    async def _waiting(self, name: str) -> ToolVersion:
        """The version that waits under `name`, or the one that an exact reference names."""
        ref = parse_ref(name)
        waiting = [
            version
            for version in await self.runtime.store.pending()
            if version.name == ref.name and ref.sequence in (None, version.sequence)
        ]
        if len(waiting) != 1:
            several = ", ".join(str(version.ref) for version in waiting)
            raise UsageError(
                f"say which one: {several}" if waiting else f"{name} does not wait for review"
            )
        return waiting[0]

    async def _usage(self, _rest: str) -> None:
        budget = self.session.budget
        usage, limits = budget.usage, budget.limits
        cost = "no price is set" if budget.cost is None else f"{budget.cost:.4f}"
        ceiling = "" if limits.cost is None else f" of {limits.cost:g}"
        facts = {
            "requests": f"{usage.requests}",
            "tokens": f"{usage.total_tokens:,} of {limits.tokens:,} ({usage.input_tokens:,} in, "
            f"{usage.cached_input_tokens:,} of them cached, {usage.output_tokens:,} out)",
            "cost": cost + ceiling,
            "time": f"{budget.wall_seconds:.0f} s of {limits.wall_seconds:g} s",
            "definitions": f"{budget.tool_definitions} of {limits.tool_definitions}",
            "session": self.session.id,
        }
        self._grid((Text(name, style="bold"), Text(value)) for name, value in facts.items())

    def _grid(self, rows: Iterable[Sequence[RenderableType]]) -> None:
        table = Table.grid(padding=(0, 2))
        for row in rows:
            table.add_row(*row)
        self.console.print(table)


def _needed(text: str, usage: str) -> str:
    if not text:
        raise UsageError(f"something is missing; write {escape_text(usage)}")
    return text
