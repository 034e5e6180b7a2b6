"""Why a request was not answered by the server that it was for."""

from __future__ import annotations

from http import HTTPStatus

__all__ = ["RefusedError", "RequestError", "UnreachableError"]


class RequestError(Exception):
    """A request that is answered by the broker itself; the text is for whoever wrote the tool."""

    status = HTTPStatus.BAD_REQUEST


class RefusedError(RequestError):
    """No grant covers it, or a bound is reached."""

    status = HTTPStatus.FORBIDDEN


class UnreachableError(RequestError):
    """It was granted, and the server did not answer it."""

    status = HTTPStatus.BAD_GATEWAY
