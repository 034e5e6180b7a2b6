"""One provider: its address, key and time-outs, and the asking again when a request fails."""

from __future__ import annotations

import asyncio
import importlib
import json
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass
from functools import partial
from itertools import count
from types import ModuleType
from typing import TYPE_CHECKING, TypeVar

from policies.value import JsonObject
from runtime.errors import ModelError, ModelUnavailableError
from runtime.models.base import ModelEvent, Retrying
from runtime.models.failures import BrokenAnswerError, failure_of_answer, failure_of_request
from runtime.models.retries import Failure, RetryPolicy

if TYPE_CHECKING:
    from openai import AsyncOpenAI

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class TimeOuts:
    """How long to wait for a provider."""

    connect_seconds: float = 10.0
    event_seconds: float = 300.0
    """For the first event of a stream and between any two; reasoning may pass in silence."""

    answer_seconds: float = 900.0
    """For a whole answer that is not streamed."""


class Connection:
    """Asks one provider, and asks again when that may help."""

    def __init__(
        self,
        *,
        base_url: str,
        api_key: str | None,
        timeouts: TimeOuts | None = None,
        retries: RetryPolicy | None = None,
    ) -> None:
        self.base_url = base_url
        self._api_key = api_key
        self._timeouts = timeouts or TimeOuts()
        self._retries = retries or RetryPolicy()
        self._client: AsyncOpenAI | None = None
        self._openai: ModuleType | None = None

    async def answer(
        self, model: str, attempt: Callable[[], AsyncGenerator[ModelEvent, None]]
    ) -> AsyncIterator[ModelEvent]:
        """The events of `attempt`, begun anew after each failure that a retry may mend.

        Raises:
            ModelError: It cannot be mended, or was tried often enough.
        """
        openai = await self._package()
        for made in count(1):
            try:
                async with aclosing(attempt()) as events:
                    async for event in events:
                        yield event
            except BrokenAnswerError as error:
                failure = failure_of_answer(error, model)
            except (json.JSONDecodeError, UnicodeDecodeError, RecursionError) as error:
                failure = failure_of_answer(BrokenAnswerError(f"not JSON: {error}"), model)
            except openai.OpenAIError as error:
                failure = failure_of_request(error, model, self.base_url)
            else:
                return
            delay = self._retries.delay_seconds(made, failure)
            if delay is None:
                raise _model_error(model, failure, made)
            yield Retrying(attempt=made, delay_seconds=delay, reason=failure.reason)
            await asyncio.sleep(delay)

    async def post(self, path: str, body: JsonObject) -> object:
        """One whole JSON answer.

        Raises:
            openai.OpenAIError: There was none.
        """
        from openai import Timeout  # noqa: PLC0415 - 0.7 s

        client = await self._ready()
        limits = Timeout(self._timeouts.answer_seconds, connect=self._timeouts.connect_seconds)
        send = partial(client.post, path, cast_to=object, options={"timeout": limits})
        return await _sent(send, body)

    async def events(self, path: str, body: JsonObject) -> AsyncGenerator[object, None]:
        """The events of one streamed answer, as JSON.

        Raises:
            openai.OpenAIError: The request failed or its stream broke.
            BrokenAnswerError: The stream fell silent.
        """
        from openai import AsyncStream  # noqa: PLC0415 - 0.7 s

        client = await self._ready()
        send = partial(
            client.post, path, cast_to=object, stream=True, stream_cls=AsyncStream[object]
        )
        stream = await _sent(send, body)
        async with stream:
            while True:
                try:
                    async with asyncio.timeout(self._timeouts.event_seconds):
                        event = await anext(stream)
                except StopAsyncIteration:
                    return
                except TimeoutError:
                    seconds = self._timeouts.event_seconds
                    raise BrokenAnswerError(f"nothing came for {seconds:g} s") from None
                yield event

    async def close(self) -> None:
        """Give back the connections; may be called more than once."""
        client, self._client = self._client, None
        if client is not None:
            await client.close()

    async def _package(self) -> ModuleType:
        """`openai`, which takes 0.7 s to import: in a thread, so that nothing else waits."""
        if self._openai is None:
            self._openai = await asyncio.to_thread(importlib.import_module, "openai")
        return self._openai

    async def _ready(self) -> AsyncOpenAI:
        if self._client is None:
            from openai import AsyncOpenAI, Timeout  # noqa: PLC0415 - 0.7 s

            limits = self._timeouts
            self._client = AsyncOpenAI(
                base_url=self.base_url,
                # The package insists on a key; a server on loopback reads none.
                api_key=self._api_key or "none",
                max_retries=0,
                timeout=Timeout(limits.event_seconds, connect=limits.connect_seconds),
            )
        return self._client


async def _sent(send: Callable[..., Awaitable[_T]], body: JsonObject) -> _T:
    """The answer to `body`; half characters in it are replaced, since UTF-8 has none.

    JSON can spell half of a surrogate pair, so models and tools do write them.
    """
    try:
        return await send(body=body)
    except UnicodeEncodeError:  # before anything was sent
        text = json.dumps(body, ensure_ascii=False).encode("utf-16", "surrogatepass")
        return await send(body=json.loads(text.decode("utf-16", "replace")))


def _model_error(model: str, failure: Failure, made: int) -> ModelError:
    tried = f" (asked {made} times)" if made > 1 else ""
    kind = ModelUnavailableError if failure.unavailable else ModelError
    return kind(model, f"{failure.reason}{tried}", advice=failure.advice)
