"""Records calls beside the way that they take: in batches, bounded, never in a call's way."""

from __future__ import annotations

import asyncio
import builtins
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from policies.config import PolicyProfile
from policies.outcomes import Outcome
from policies.redaction import Redaction
from policies.value import JsonObject, canonical_json, sha256_digest
from sandbox.base import ExecutionResult
from toolstore.calls import CallBody, CallRecord
from toolstore.errors import ToolStoreError
from toolstore.models import ToolVersion
from toolstore.store import ToolStore

BATCH: Final = 200
WAIT_SECONDS: Final = 1.0
"""So long a record waits for others at the most."""

MOST_WAITING: Final = 2_000
"""What comes while so many wait, because the store does not answer, is counted and let go."""

_BUILT_IN_ERRORS: Final = frozenset(
    name
    for name, value in vars(builtins).items()
    if isinstance(value, type) and issubclass(value, BaseException)
)


@dataclass(frozen=True)
class SeenCall:
    """One call that came back from the sandbox."""

    version: ToolVersion
    arguments: JsonObject
    result: ExecutionResult
    session: str | None


class CallRecorder:
    """Keeps calls in the store, as the policy says; a call never waits for it, nor fails by it."""

    def __init__(
        self,
        store: ToolStore,
        profile: PolicyProfile,
        *,
        secrets: Callable[[str], str | None],
        tenant: str,
        clock: Callable[[], datetime],
    ) -> None:
        self._store = store
        self._settings = profile.replay
        self._secrets = secrets
        self._secret_names = tuple(profile.secrets)
        self._tenant = tenant
        self._clock = clock
        self._waiting: list[CallRecord] = []
        self._full = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._closed = False
        self.lost = 0
        """Calls that were not recorded: too many at once, or the store did not take them."""

    def note(self, call: SeenCall) -> None:
        """Take down one call; returns at once. Needs a running event loop."""
        if not self._settings.calls or self._closed:
            return
        if len(self._waiting) >= MOST_WAITING:
            self.lost += 1
            return
        try:
            self._waiting.append(self._record(call))
        except ValueError:  # text that is no Unicode has no digest
            self.lost += 1
            return
        if len(self._waiting) >= BATCH:
            self._full.set()
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._keep_soon(), name="keep recorded calls")

    async def flush(self) -> None:
        """Put what waits into the store now."""
        while self._waiting:
            batch, self._waiting = self._waiting[:BATCH], self._waiting[BATCH:]
            before = self._clock() - timedelta(days=self._settings.keep_days)
            try:
                await self._store.record_calls(batch, keep=self._settings.keep_calls, before=before)
            except ToolStoreError:
                self.lost += len(batch)

    async def close(self) -> None:
        """Keep what waits; later calls are not recorded."""
        self._closed = True
        self._full.set()
        if self._task is not None:
            await self._task
        await self.flush()

    async def _keep_soon(self) -> None:
        try:
            async with asyncio.timeout(WAIT_SECONDS):
                await self._full.wait()
        except TimeoutError:
            pass
        self._full.clear()
        await self.flush()

    def _record(self, call: SeenCall) -> CallRecord:
        result = call.result
        returned = result.outcome is Outcome.RETURNED
        arguments = canonical_json(call.arguments)
        value = canonical_json(result.value) if returned else b""
        return CallRecord(
            version=call.version.digest,
            session=call.session,
            tenant=self._tenant,
            arguments_digest=sha256_digest(arguments),
            result_digest=sha256_digest(value) if returned else None,
            outcome=result.outcome,
            error_type=_error_type(call),
            execute_seconds=result.timings.execute,
            total_seconds=result.timings.total,
            memory_bytes=result.usage.memory_peak_bytes,
            at=self._clock(),
            body=self._body(call, len(arguments) + len(value)),
        )

    def _body(self, call: SeenCall, size_bytes: int) -> CallBody | None:
        permissions = call.version.source.permissions
        if not self._settings.bodies or size_bytes > self._settings.body_bytes:
            return None
        if permissions.files or permissions.hosts:
            return None
        # Not the tool's own alone: somebody may have pasted another one into the arguments.
        values = map(self._secrets, {*self._secret_names, *permissions.secrets})
        redaction = Redaction(
            secrets=tuple(value for value in values if value), patterns=self._settings.redact
        )
        arguments = redaction.apply(call.arguments)
        value = redaction.apply(call.result.value)
        return CallBody(
            arguments=arguments if isinstance(arguments, dict) else {},
            value=value,
            redacted=(arguments, value) != (call.arguments, call.result.value),
        )


def _error_type(call: SeenCall) -> str | None:
    """The exception's class, if it is built in or declared.

    The tool chooses the name of any other, and could put into it what it was called with.
    """
    name = call.result.error_type
    declared = call.version.source_schema.raises
    return name if name in _BUILT_IN_ERRORS or name in declared else None
