"""Who sends a request: sessions, the sign-in page, signing out."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from datetime import datetime
from typing import Final

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from runtime.review.web.forms import SignInForms, check_csrf, read_form
from runtime.review.web.pages import render
from runtime.review.web.sessions import SignedIn, SignIns
from runtime.review.web.site import Site
from runtime.review.web.throttle import Throttle
from runtime.review.web.tokens import TokenBook

_NEXT: Final = re.compile(r"/versions/[0-9a-f]{64}")
_HASHES_AT_ONCE: Final = 2
"""Each takes 32 MiB and a processor."""

_MAX_SECRET: Final = 200


class NotSignedInError(Exception):
    """The request has no session; the page of the answer is the sign-in page."""


class Visitors:
    """Signs people in and out, and knows them again."""

    def __init__(
        self,
        *,
        site: Site,
        book: TokenBook,
        clock: Callable[[], datetime],
        seconds: Callable[[], float],
    ) -> None:
        self._site = site
        self._book = book
        self._clock = clock
        self._sign_ins = SignIns(seconds)
        self._throttle = Throttle(seconds)
        self._forms = SignInForms()
        self._hashing = asyncio.Semaphore(_HASHES_AT_ONCE)

    def session(self, request: Request, *, touch: bool = True) -> SignedIn:
        """The session of a request.

        Raises:
            NotSignedInError: there is none, it has ended, or its token was taken back.
            TokenFileError: the file of tokens cannot be trusted.
        """
        cookie = self._cookie(request)
        found = self._sign_ins.find(cookie, touch=touch)
        if found is None:
            raise NotSignedInError
        if not self._book.stands(found.reviewer, at=self._clock()):
            self._sign_ins.end(cookie)
            raise NotSignedInError
        return found

    def notice(self, request: Request) -> str | None:
        """What there is to say on the next page; only once."""
        return self._sign_ins.take_notice(self._cookie(request))

    def leave_notice(self, request: Request, words: str) -> None:
        """Say `words` on the next page of this session."""
        self._sign_ins.leave_notice(self._cookie(request), words)

    async def show_sign_in(self, request: Request) -> Response:
        """The form, or the queue for those who need none."""
        try:
            self.session(request)
        except NotSignedInError:
            return self._form(request)
        return RedirectResponse("/", status_code=303)

    async def sign_in(self, request: Request) -> Response:
        """Check name and token; slow on purpose, and not too often."""
        form = await read_form(request)
        if not self._forms.fits(request.cookies.get(self._form_cookie, ""), form):
            raise HTTPException(403, "the form is not from this page, or too old; open it anew")
        name, secret = form.get("name", "")[:_MAX_SECRET], form.get("token", "")
        address = request.client.host if request.client else ""
        wait = self._throttle.wait_seconds(address)
        if wait > 0:
            words = f"Too many tries. Try again in {wait:.0f} seconds."
            answer = self._form(request, problem=words, name=name, status=429)
            answer.headers["Retry-After"] = f"{wait + 1:.0f}"
            return answer
        reviewer = None
        if len(secret) <= _MAX_SECRET:
            async with self._hashing:
                reviewer = await asyncio.to_thread(
                    self._book.check, name, secret.strip(), at=self._clock()
                )
        if reviewer is None:
            words = "This name and token do not go together, or the token has expired."
            return self._form(request, problem=words, name=name, status=401)
        self._throttle.give_back(address)
        self._sign_ins.end(self._cookie(request))
        wanted = form.get("next", "")
        target = wanted if _NEXT.fullmatch(wanted) else "/"
        onward = RedirectResponse(target, status_code=303)
        self._set_cookie(onward, self._site.cookie_name, self._sign_ins.begin(reviewer))
        self._drop_cookie(onward, self._form_cookie)
        return onward

    async def sign_out(self, request: Request) -> Response:
        """End the session, here and in the browser."""
        session = self.session(request)
        check_csrf(session, await read_form(request))
        self._sign_ins.end(self._cookie(request))
        answer = RedirectResponse("/sign-in", status_code=303)
        self._drop_cookie(answer, self._site.cookie_name)
        answer.headers["Clear-Site-Data"] = '"cache"'
        return answer

    def to_sign_in(self, request: Request) -> Response:
        """Where a request without a session is sent; one that would change something is refused."""
        if request.method == "POST":
            return HTMLResponse(
                render(
                    "problem.html",
                    heading="You are not signed in",
                    words="Nothing was changed. Sign in, look at it again, and decide then.",
                ),
                status_code=401,
            )
        path = request.url.path
        query = f"?next={path}" if _NEXT.fullmatch(path) else ""
        return RedirectResponse(f"/sign-in{query}", status_code=303)

    def _form(
        self, request: Request, *, problem: str = "", name: str = "", status: int = 200
    ) -> HTMLResponse:
        cookie = self._forms.cookie()
        wanted = request.query_params.get("next", "")
        answer = HTMLResponse(
            render(
                "sign_in.html",
                csrf_token=self._forms.field(cookie),
                problem=problem,
                name=name,
                next=wanted if _NEXT.fullmatch(wanted) else "",
            ),
            status_code=status,
        )
        self._set_cookie(answer, self._form_cookie, cookie)
        return answer

    def _cookie(self, request: Request) -> str:
        return request.cookies.get(self._site.cookie_name, "")

    @property
    def _form_cookie(self) -> str:
        return f"{self._site.cookie_name}_form"

    def _set_cookie(self, answer: Response, name: str, value: str) -> None:
        answer.set_cookie(
            name, value, path="/", httponly=True, samesite="strict", secure=self._site.secure
        )

    def _drop_cookie(self, answer: Response, name: str) -> None:
        answer.delete_cookie(
            name, path="/", httponly=True, samesite="strict", secure=self._site.secure
        )
