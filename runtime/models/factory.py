"""From a model's name and a few settings to a `ChatModel`."""

from __future__ import annotations

import ipaddress
from typing import Literal
from urllib.parse import urlsplit

from runtime.errors import ModelUnavailableError, SettingsError
from runtime.models.base import ChatModel
from runtime.models.chat import ChatCompletionsModel
from runtime.models.connection import Connection, TimeOuts
from runtime.models.responses import ResponsesModel
from runtime.models.retries import RetryPolicy
from runtime.settings import Api

OPENAI_URL = "https://api.openai.com/v1"
_OPENAI_HOST = "api.openai.com"


def make_model(  # noqa: PLR0913 - each is a setting of its own, all but the name optional
    name: str,
    *,
    api: Api | Literal["responses", "chat"] | None = None,
    base_url: str | None = None,
    api_key: str | None = None,
    stream: bool = True,
    timeouts: TimeOuts | None = None,
    retries: RetryPolicy | None = None,
) -> ChatModel:
    """The adapter for a model.

    Without `api`, OpenAI's own address is spoken to through Responses and any other through Chat
    Completions.

    Raises:
        ModelUnavailableError: No key, and the address is not on this machine; or what is no key.
        SettingsError: `base_url` is no address.
    """
    url = base_url or OPENAI_URL
    host = _host(url)
    if not api_key and not _is_loopback(host):
        raise ModelUnavailableError(
            name,
            f"there is no key for {url}",
            advice="Set OPENAI_API_KEY or TOOLKILN_API_KEY; only a base URL on this machine "
            "(http://127.0.0.1:…) goes without.",
        )
    if api_key and not (api_key.isascii() and api_key.isprintable()):
        raise ModelUnavailableError(
            name,
            f"the key for {url} holds a character that no key has, as an ellipsis or a line end",
            advice="Set OPENAI_API_KEY or TOOLKILN_API_KEY to the whole key and nothing else.",
        )
    connection = Connection(base_url=url, api_key=api_key, timeouts=timeouts, retries=retries)
    own = host == _OPENAI_HOST
    chosen = Api(api) if api else Api.RESPONSES if own else Api.CHAT
    if chosen is Api.RESPONSES:
        return ResponsesModel(name, connection, stream=stream)
    return ChatCompletionsModel(
        name,
        connection,
        stream=stream,
        # OpenAI's reasoning models refuse the old field, many other servers ignore the new one.
        output_limit_field="max_completion_tokens" if own else "max_tokens",
    )


def _host(url: str) -> str:
    try:
        parts = urlsplit(url)
    except ValueError:
        parts = urlsplit("")
    if parts.hostname is None or parts.scheme not in ("http", "https"):
        raise SettingsError(
            f"the base URL {url!r} is no address; write it like {OPENAI_URL} or "
            "http://127.0.0.1:8000/v1"
        )
    return parts.hostname


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")
