"""Runs the static stages on a source in a process that is thrown away afterwards."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from contextlib import suppress
from dataclasses import dataclass
from typing import Final, Self

from pydantic import ValidationError

from policies.analysis import Analysis, analyse_text, not_analysable
from policies.limits import SourceLimits
from policies.source import ToolSource
from runtime.analysis_worker import READY
from runtime.errors import AnalyzerError

WALL_SECONDS: Final = 10.0
MAX_ANSWER_BYTES: Final = 1 << 20
WORKER: Final = (sys.executable, "-I", "-m", "runtime.analysis_worker")
_ENVIRONMENT: Final = {
    "LC_ALL": "C.UTF-8",
    "PYDANTIC_DISABLE_PLUGINS": "__all__",  # looking for plug-ins takes a tenth of the start
}
_CHUNK_BYTES: Final = 1 << 16


@dataclass(frozen=True, slots=True)
class _Silence:
    """Why a worker gave no answer."""

    reason: str


class Analyzer:
    """Analyses sources, each in a process of its own with ceilings on memory and time.

    As an async context manager it keeps one process started ahead, so that an analysis need
    not wait for an interpreter; each process serves one source, then ends.
    """

    def __init__(
        self,
        *,
        parallel: int = 2,
        wall_seconds: float = WALL_SECONDS,
        command: tuple[str, ...] = WORKER,
    ) -> None:
        self._places = asyncio.Semaphore(parallel)
        self._wall_seconds = wall_seconds
        self._command = command
        self._ahead: asyncio.Task[Process] | None = None
        self._keeps_ahead = False

    async def __aenter__(self) -> Self:
        self.keep_ahead()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    def keep_ahead(self) -> None:
        """From now on have one process waiting; `aclose` ends it. Needs a running event loop."""
        if not self._keeps_ahead:
            self._keeps_ahead = True
            self._start_ahead()

    async def aclose(self) -> None:
        """End the process that was started ahead."""
        self._keeps_ahead = False
        ahead, self._ahead = self._ahead, None
        if ahead is not None:
            with suppress(AnalyzerError):
                await _end(await ahead)

    async def analyse(self, source: ToolSource, limits: SourceLimits) -> Analysis:
        """Check `source` at the level that its permissions ask for.

        What the source does to the process, crash, exhaustion or silence, becomes the finding
        RP901. Cancelling the call kills the process.

        Raises:
            AnalyzerError: The process could not be started, or it is not ours that answered.
        """
        refused = analyse_text(source, limits)
        if refused is not None:
            return refused
        async with self._places:
            answer = await self._ask(_request(source, limits))
        if isinstance(answer, _Silence):
            return not_analysable(source, limits, answer.reason)
        try:
            return Analysis.model_validate_json(answer)
        except ValidationError:
            return not_analysable(source, limits, "the analysis gave no well-formed answer")

    async def _ask(self, request: bytes) -> bytes | _Silence:
        process = await self._take()
        try:
            async with asyncio.timeout(self._wall_seconds):
                return await _converse(process, request)
        except TimeoutError:
            return _Silence(f"it took longer than {self._wall_seconds:g} seconds")
        finally:
            await _end(process)

    async def _take(self) -> Process:
        ahead, self._ahead = self._ahead, None
        if self._keeps_ahead:
            self._start_ahead()
        if ahead is None:
            return await self._start()
        try:
            process = await asyncio.shield(ahead)
        except asyncio.CancelledError:
            ahead.add_done_callback(_kill_started)
            raise
        if process.returncode is None:
            return process
        await _end(process)  # it died waiting: somebody ended it, which says nothing of the source
        return await self._start()

    def _start_ahead(self) -> None:
        self._ahead = asyncio.create_task(self._start(), name="analysis process started ahead")

    async def _start(self) -> Process:
        try:
            return await asyncio.create_subprocess_exec(
                *self._command,
                stdin=PIPE,
                stdout=PIPE,
                stderr=DEVNULL,
                env=_ENVIRONMENT,
                start_new_session=True,  # Ctrl-C is for the host: it decides what to end
            )
        except OSError as error:
            raise AnalyzerError(
                f"cannot start {self._command[0]} to analyse the source: {error}. "
                "Nothing was analysed; check the installation and the limits on processes."
            ) from error


def _request(source: ToolSource, limits: SourceLimits) -> bytes:
    return json.dumps(
        {"source": source.to_json(), "limits": limits.model_dump(mode="json")}
    ).encode()


async def _converse(process: Process, request: bytes) -> bytes | _Silence:
    """Send the request, read the answer up to its ceiling, and judge how the process ended."""
    if process.stdin is None or process.stdout is None:
        raise AnalyzerError("the analysis process has no pipes; this is a fault of the runtime")
    with suppress(BrokenPipeError, ConnectionResetError):  # it died: its status tells why
        process.stdin.write(request)
        await process.stdin.drain()
        process.stdin.close()
    answer = bytearray()
    while chunk := await process.stdout.read(_CHUNK_BYTES):
        answer += chunk
        if len(answer) > MAX_ANSWER_BYTES:
            return _Silence(f"the answer was larger than {MAX_ANSWER_BYTES} bytes")
    status = await process.wait()
    if not answer.startswith(READY):
        raise AnalyzerError(
            f"the analysis process ended with status {status} before it read the source. "
            "Nothing was analysed; `toolkiln doctor` checks the installation."
        )
    return bytes(answer[len(READY) :]) if status == 0 else _Silence(_ending(status))


def _ending(status: int) -> str:
    """How a process ended, in words."""
    if status in {-signal.SIGXCPU, -signal.SIGKILL}:
        return "it used up its processor time or memory"
    if status < 0:
        try:
            return f"the interpreter crashed with {signal.Signals(-status).name}"
        except ValueError:
            return f"the interpreter ended by signal {-status}"
    return f"the analysis ended with status {status}, which is what exhausted memory looks like"


async def _end(process: Process) -> None:
    """Make sure that the process is gone, and its pipes with it."""
    if process.returncode is None:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # it leads a group of its own
    if process.stdin is not None:
        process.stdin.close()
    await process.wait()


def _kill_started(task: asyncio.Task[Process]) -> None:
    """End a process whose start went on after its user was cancelled."""
    if not task.cancelled() and task.exception() is None:
        with suppress(ProcessLookupError):
            os.killpg(task.result().pid, signal.SIGKILL)
