"""What the `openai` package's errors mean, and what to do about each."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING

from runtime.models.retries import Failure

if TYPE_CHECKING:
    import openai

_LONGEST_REASON = 600
_RETRIED_STATUSES = frozenset({408, 409, 429})
_SERVER_ERRORS = 500
_RETRIED_CODES = frozenset(
    {"server_error", "rate_limit_exceeded", "internal_error", "overloaded", "overloaded_error"}
    # Servers in between give the status of the provider behind them as the code.
    | {"408", "429", "500", "502", "503", "504"}
)
_QUOTA_CODES = frozenset({"insufficient_quota", "billing_hard_limit_reached"})
_TRY_LATER = "Try again later"
_TOO_LONG = ("context_length_exceeded", "context length", "context window", "maximum context")


class BrokenAnswerError(Exception):
    """The provider began an answer and did not give it whole."""

    def __init__(self, reason: str, *, code: str | None = None, retryable: bool = True) -> None:
        super().__init__(reason)
        self.reason = reason
        self.code = code
        self.retryable = retryable


def failure_of_answer(error: BrokenAnswerError, model: str) -> Failure:
    """What an answer that is not whole means."""
    if error.code is not None:
        return _coded(error.code, error.reason, model, retryable=error.code in _RETRIED_CODES)
    return Failure(reason=error.reason, advice=f"{_TRY_LATER}.", retryable=error.retryable)


def failure_of_request(error: openai.OpenAIError, model: str, base_url: str) -> Failure:
    """What an error of the `openai` package means."""
    import openai  # noqa: PLC0415 - 0.7 s; loaded long since where there is an error of its own

    match error:
        case openai.APITimeoutError():
            return Failure(
                reason=f"no answer from {base_url} in time",
                advice=f"{_TRY_LATER}, or allow more time.",
                retryable=True,
            )
        case openai.APIConnectionError():
            return Failure(
                reason=f"the connection to {base_url} failed ({_root_cause(error)})",
                advice="Check the base URL and that the server behind it runs.",
                retryable=True,
                unavailable=True,
            )
        case openai.APIStatusError():
            return _of_status(error, model, base_url)
        case openai.APIError():
            code = str(error.code or error.type or "")
            return _coded(code, error.message, model, retryable=code in _RETRIED_CODES or not code)
        case _:
            return Failure(reason=str(error), advice="Check the model's settings.")


def _of_status(error: openai.APIStatusError, model: str, base_url: str) -> Failure:
    code, said = str(error.code or ""), _said(error)
    reason = f"the provider answered HTTP {error.status_code}: {said}"
    headers = error.response.headers
    match error.status_code:
        case 401:
            return Failure(
                reason=f"the provider refused the key: {said}",
                advice="Set OPENAI_API_KEY or TOOLKILN_API_KEY to a key that is valid "
                f"for {base_url}.",
                unavailable=True,
            )
        case 403:
            return Failure(
                reason=f"the key may not do this: {said}",
                advice=f"Ask for access to {model!r}, or choose another model.",
                unavailable=True,
            )
        case 404:
            return Failure(
                reason=reason,
                advice=f"Check the model's name {model!r} and the base URL {base_url}, and "
                "whether the server speaks this API (--api chat or --api responses).",
                unavailable=True,
            )
        case status if status in _RETRIED_STATUSES or status >= _SERVER_ERRORS:
            refused = headers.get("x-should-retry") == "false" or code in _QUOTA_CODES
            wait = retry_after_seconds(headers, datetime.now(UTC))
            asked = "" if wait is None else f" (it asks to wait {wait:g} s)"
            failure = _coded(code, f"{reason}{asked}", model, retryable=not refused)
            return Failure(
                reason=failure.reason,
                advice=failure.advice,
                retryable=failure.retryable,
                unavailable=failure.unavailable,
                retry_after_seconds=wait,
            )
        case _:
            return _coded(code, reason, model, retryable=False)


def _coded(code: str, reason: str, model: str, *, retryable: bool) -> Failure:
    lowered = f"{code} {reason}".lower()
    if code in _QUOTA_CODES:
        return Failure(
            reason=reason, advice="Add credit to the account behind the key.", unavailable=True
        )
    if any(mark in lowered for mark in _TOO_LONG):
        return Failure(
            reason=f"the conversation is longer than the model can read: {reason}",
            advice=f"Start a new session, or choose a model that reads more than {model!r}.",
        )
    if retryable:
        return Failure(reason=reason, advice=f"{_TRY_LATER}.", retryable=True)
    return Failure(
        reason=reason,
        advice=f"The request itself was refused; check that {model!r} supports tools and "
        "the options in use.",
    )


def retry_after_seconds(headers: Mapping[str, str], now: datetime) -> float | None:
    """How long the provider asks to wait: milliseconds, seconds or a date; None if it does not."""
    for name, unit in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        seconds = _seconds(headers.get(name, ""), unit, now)
        if seconds is not None and math.isfinite(seconds):
            return max(seconds, 0.0)
    return None


def _seconds(text: str, unit: float, now: datetime) -> float | None:
    try:
        return float(text) * unit
    except ValueError:
        pass
    try:
        date = parsedate_to_datetime(text)
    except ValueError:
        return None
    return (date.replace(tzinfo=date.tzinfo or UTC) - now).total_seconds()


def _said(error: openai.APIStatusError) -> str:
    """The provider's own sentence, from whichever shape it chose to put it in."""
    body = error.body
    if isinstance(body, dict):
        inner = body.get("error", body)
        message = inner.get("message") if isinstance(inner, dict) else inner
        body = message or body
    text = body if isinstance(body, str) else json.dumps(body, default=str) if body else ""
    text = " ".join((text or error.message).split())
    return text if len(text) <= _LONGEST_REASON else text[:_LONGEST_REASON] + "…"


def _root_cause(error: BaseException) -> str:
    while (cause := error.__cause__ or error.__context__) is not None:
        error = cause
    return str(error) or type(error).__name__
