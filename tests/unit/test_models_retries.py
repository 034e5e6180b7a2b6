"""When a request is made again, what errors mean, and what is made from a model's name."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime
from typing import Literal

import httpx2
import openai
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from runtime.errors import ModelUnavailableError, SettingsError
from runtime.models.chat import ChatCompletionsModel
from runtime.models.factory import make_model
from runtime.models.failures import (
    BrokenAnswerError,
    failure_of_answer,
    failure_of_request,
    retry_after_seconds,
)
from runtime.models.responses import ResponsesModel
from runtime.models.retries import Failure, RetryPolicy

# How long an example takes says something about the machine alone.
LAW = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
PASSING = Failure("overloaded", "Try again later.", retryable=True)


@LAW
@given(st.integers(1, 40), st.floats(0, 1), st.none() | st.floats(0, 10_000))
def test_waiting_is_bounded_in_number_and_length(
    made: int, jitter: float, asked: float | None
) -> None:
    policy = RetryPolicy(requests=5, longest_delay_seconds=30.0, jitter=lambda: jitter)
    failure = Failure("", "", retryable=True, retry_after_seconds=asked)

    delay = policy.delay_seconds(made, failure)

    if delay is not None:
        assert made < 5
        assert 0 <= delay <= 30 * 1.1
        assert asked is None or delay >= asked
    else:
        assert made >= 5 or (asked is not None and asked > 30)


def test_each_wait_is_twice_the_one_before() -> None:
    policy = RetryPolicy(first_delay_seconds=0.5, jitter=lambda: 1.0)

    assert [policy.delay_seconds(made, PASSING) for made in range(1, 6)] == [0.5, 1, 2, 4, None]


def test_what_asking_again_cannot_mend_is_not_asked_again() -> None:
    assert RetryPolicy().delay_seconds(1, Failure("refused", "")) is None


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "7"}, 7.0),
        ({"retry-after": "-7"}, 0.0),
        ({"retry-after-ms": "250", "retry-after": "7"}, 0.25),
        ({"retry-after": "Mon, 23 Nov 2026 12:00:30 GMT"}, 30.0),
        ({"retry-after": "Mon, 23 Nov 2026 11:00:00 GMT"}, 0.0),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "inf"}, None),
    ],
)
def test_the_providers_word_on_when_to_ask_again(
    headers: dict[str, str], seconds: float | None
) -> None:
    assert retry_after_seconds(headers, NOW) == seconds


def status_error(status: int, body: object, **headers: str) -> openai.APIStatusError:
    """The error that the package makes of such an answer."""
    request = httpx2.Request("POST", "http://127.0.0.1:1/v1/responses")
    response = httpx2.Response(status, request=request, headers=headers)
    client = openai.AsyncOpenAI(api_key="none", base_url="http://127.0.0.1:1/v1")
    return client._make_status_error("HTTP error", body=body, response=response)


def failure(status: int, body: object, **headers: str) -> Failure:
    return failure_of_request(status_error(status, body, **headers), "gpt-x", "http://host/v1")


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"error": {"message": "No such thing."}}, "No such thing."),
        ({"error": "No such thing."}, "No such thing."),
        ({"detail": "No such thing."}, '{"detail": "No such thing."}'),
        ("<html>\n  No such\n  thing.", "<html> No such thing."),
        (None, "HTTP error"),
    ],
)
def test_the_providers_sentence_is_found_in_whatever_shape_it_comes(
    body: object, said: str
) -> None:
    assert failure(400, body).reason == f"the provider answered HTTP 400: {said}"


def test_a_page_instead_of_a_sentence_is_cut() -> None:
    assert len(failure(502, "<p>" * 10_000).reason) < 700


@pytest.mark.parametrize("status", [408, 409, 429, 500, 502, 503, 504, 529])
def test_passing_states_of_a_provider_are_waited_out(status: int) -> None:
    assert failure(status, {"error": {"message": "Busy."}}).retryable


@pytest.mark.parametrize("status", [400, 401, 403, 404, 413, 422])
def test_refusals_of_a_provider_are_final(status: int) -> None:
    assert not failure(status, {"error": {"message": "No."}}).retryable


def test_a_provider_that_says_not_to_ask_again_is_not_asked_again() -> None:
    assert not failure(500, None, **{"x-should-retry": "false"}).retryable


def test_an_account_without_credit_is_not_waited_for() -> None:
    broke = failure(429, {"error": {"message": "Quota.", "code": "insufficient_quota"}})

    assert (broke.retryable, broke.unavailable) == (False, True)


def test_the_wait_that_a_provider_asks_for_is_told() -> None:
    told = failure(429, {"error": {"message": "Slow down."}}, **{"retry-after": "3600"})

    assert told.retry_after_seconds == 3600
    assert told.reason.endswith("(it asks to wait 3600 s)")
    assert RetryPolicy().delay_seconds(1, told) is None


@pytest.mark.parametrize(
    ("code", "retryable"),
    [("server_error", True), ("rate_limit_exceeded", True), ("invalid_prompt", False)],
)
def test_an_answer_that_failed_on_its_way_is_judged_by_its_code(code: str, retryable: bool) -> None:
    broken = BrokenAnswerError("it broke", code=code)

    assert failure_of_answer(broken, "gpt-x").retryable == retryable


def test_an_answer_that_stopped_is_asked_for_again() -> None:
    assert failure_of_answer(BrokenAnswerError("it stopped"), "gpt-x").retryable


@pytest.mark.parametrize(
    ("base_url", "api", "kind"),
    [
        (None, None, ResponsesModel),
        ("https://api.openai.com/v1", None, ResponsesModel),
        ("https://api.openai.com/v1", "chat", ChatCompletionsModel),
        ("https://models.example/v1", None, ChatCompletionsModel),
        ("https://models.example/v1", "responses", ResponsesModel),
        ("http://api.openai.com.example/v1", None, ChatCompletionsModel),
    ],
)
def test_the_address_decides_on_the_api_unless_it_is_given(
    base_url: str | None, api: Literal["chat", "responses"] | None, kind: type
) -> None:
    model = make_model("gpt-x", base_url=base_url, api=api, api_key="key")

    assert type(model) is kind


@pytest.mark.parametrize("key", ["sk-…", "sk-a\nb", "“sk-ab”"])
def test_what_cannot_be_a_key_is_refused_before_anything_is_sent(key: str) -> None:
    with pytest.raises(ModelUnavailableError, match="no key has"):
        make_model("m", api_key=key)


@pytest.mark.parametrize("base_url", [None, "https://models.example/v1", "http://10.0.0.1/v1"])
def test_a_model_elsewhere_wants_a_key(base_url: str | None) -> None:
    with pytest.raises(ModelUnavailableError, match=r"Set OPENAI_API_KEY or TOOLKILN_API_KEY"):
        make_model("gpt-x", base_url=base_url)


@pytest.mark.parametrize(
    "base_url", ["http://127.0.0.1:8000/v1", "http://localhost:8000/v1", "http://[::1]:8000/v1"]
)
def test_a_model_on_this_machine_wants_none(base_url: str) -> None:
    assert make_model("gpt-x", base_url=base_url).name == "gpt-x"


@pytest.mark.parametrize("base_url", ["models.example/v1", "ftp://host", "http://[::1", "https://"])
def test_what_is_no_address_is_refused(base_url: str) -> None:
    with pytest.raises(SettingsError, match="is no address"):
        make_model("gpt-x", base_url=base_url, api_key="key")


def test_the_models_are_imported_without_the_client_package() -> None:
    program = (
        "import sys, runtime.models.factory, runtime.models.scripted; "
        "sys.exit('openai' in sys.modules)"
    )

    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
