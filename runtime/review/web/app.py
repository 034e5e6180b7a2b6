"""The application: which address is answered by what, and what failures look like."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp

from policies.display import escape_text
from policies.errors import PoliciesError
from runtime.errors import AccessRefusedError, RuntimeFailure
from runtime.review.desk import ReviewDesk
from runtime.review.web.guard import Guard
from runtime.review.web.live import Live
from runtime.review.web.pages import HERE, render
from runtime.review.web.site import Site
from runtime.review.web.tokens import TokenBook, TokenFileError
from runtime.review.web.views import Views
from runtime.review.web.visitors import NotSignedInError, Visitors
from toolstore.errors import (
    StoreBusyError,
    StoreUnusableError,
    ToolNotFoundError,
    ToolStoreError,
)

_HEADINGS = {
    400: "That was no request",
    403: "Refused",
    404: "Not here",
    405: "Not like this",
    413: "Too much",
    503: "Not now",
}


def _now() -> datetime:
    return datetime.now(UTC)


def _never() -> bool:
    return False


def make_app(  # noqa: PLR0913 - its parts
    desk: ReviewDesk,
    *,
    site: Site,
    book: TokenBook,
    head: Callable[[], int],
    stopping: Callable[[], bool] = _never,
    clock: Callable[[], datetime] = _now,
    seconds: Callable[[], float] = time.monotonic,
) -> ASGIApp:
    """The review page of `desk` at `site`.

    Args:
        desk: What waits, and votes.
        site: Names and addresses that it answers to.
        book: Who may sign in.
        head: The sequence of the last event of the log.
        stopping: Whether the server was told to end; live updates then end by themselves.
        clock: The time of day.
        seconds: Seconds from anywhere, for time-outs.
    """
    visitors = Visitors(site=site, book=book, clock=clock, seconds=seconds)
    views = Views(desk, visitors, clock)

    async def not_signed_in(request: Request, _: Exception) -> Response:
        return visitors.to_sign_in(request)

    app = Starlette(
        routes=[
            Route("/", views.queue, methods=["GET"]),
            Route("/keys", views.keys, methods=["GET"]),
            Route("/versions/{digits}", views.item, methods=["GET"]),
            Route("/versions/{digits}/decision", views.decide, methods=["POST"]),
            Route("/queue/events", Live(desk, visitors, head, stopping).events, methods=["GET"]),
            Route("/sign-in", visitors.show_sign_in, methods=["GET"]),
            Route("/sign-in", visitors.sign_in, methods=["POST"]),
            Route("/sign-out", visitors.sign_out, methods=["POST"]),
            Mount("/static", StaticFiles(directory=HERE / "static"), name="static"),
        ],
        exception_handlers={
            NotSignedInError: not_signed_in,
            ClientDisconnect: _nobody_there,
            HTTPException: _http_problem,
            RuntimeFailure: _known_problem,
            ToolStoreError: _known_problem,
            PoliciesError: _known_problem,
            Exception: _our_fault,
        },
    )
    app.router.redirect_slashes = False
    return Guard(app, site)


async def _nobody_there(_: Request, __: Exception) -> Response:
    return Response(status_code=400)  # whoever sent half a form hears nothing of it


async def _http_problem(_: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 400
    words = error.detail if isinstance(error, HTTPException) else ""
    return _problem(status, words)


async def _known_problem(_: Request, error: Exception) -> Response:
    match error:
        case ToolNotFoundError():
            status = 404
        case AccessRefusedError():
            status = 403
        case StoreBusyError() | StoreUnusableError() | TokenFileError():
            status = 503
        case _:
            status = 409
    return _problem(status, str(error))


async def _our_fault(_: Request, __: Exception) -> Response:
    return _problem(500, "A fault of toolkiln; its log has the traceback. Nothing was recorded.")


def _problem(status: int, words: str) -> HTMLResponse:
    page = render(
        "problem.html",
        heading=_HEADINGS.get(status, "That did not work"),
        words=escape_text(words, keep_newlines=False),
    )
    return HTMLResponse(page, status_code=status)
