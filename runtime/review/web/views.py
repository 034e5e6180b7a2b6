"""The pages: queue, one version, decision, keys."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Final

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from policies.decision import Channel
from runtime.errors import ReviewChangedError, UsageError
from runtime.review.desk import ReviewDesk
from runtime.review.item import ReviewItem, Vote
from runtime.review.voting import Ballot
from runtime.review.web.forms import check_csrf, read_form
from runtime.review.web.overtaken import differences, shown_fields, was_shown
from runtime.review.web.pages import EXPIRY_DAYS, SCOPES, fingerprint, item_view, render
from runtime.review.web.roles import Role
from runtime.review.web.sessions import SignedIn
from runtime.review.web.visitors import Visitors
from toolstore.errors import TransitionError

_DIGITS: Final = re.compile(r"[0-9a-f]{64}")
_EMPTY: Final = {"vote": "", "reason": "", "scope": "", "days": ""}
_NO_CHOICE: Final = "Choose what you vote: approve, ask for a change, or reject."


class Views:
    """The pages of one desk."""

    def __init__(self, desk: ReviewDesk, visitors: Visitors, clock: Callable[[], datetime]) -> None:
        self._desk = desk
        self._visitors = visitors
        self._clock = clock

    async def queue(self, request: Request) -> Response:
        """What waits for a person."""
        live = "live" in request.query_params  # a page that keeps itself up to date is no reviewer
        session = self._visitors.session(request, touch=not live)
        lines = await self._desk.queue(reader=session.reviewer.name)
        notice = None if live else self._visitors.notice(request)
        page = render(
            "queue.html",
            session=session,
            notice=notice,
            here="queue",
            lines=lines,
            fingerprint=fingerprint(lines),
        )
        return HTMLResponse(page)

    async def keys(self, request: Request) -> Response:
        """Which keys there are."""
        return HTMLResponse(
            render("keys.html", session=self._visitors.session(request), here="keys")
        )

    async def item(self, request: Request) -> Response:
        """One version, and the form to decide about it."""
        session = self._visitors.session(request)
        item = await self._desk.item(_digest_of(request), reader=session.reviewer.name)
        notice = self._visitors.notice(request)
        return await self._item_page(session, item, notice=notice)

    async def decide(self, request: Request) -> Response:
        """Keep a vote on what was shown to this very session."""
        session = self._visitors.session(request)
        form = await read_form(request)
        check_csrf(session, form)
        digest = _digest_of(request)
        if session.reviewer.role is not Role.REVIEWER:
            raise HTTPException(403, "your token is good for reading alone; nothing was changed")
        if not was_shown(form, digest, session.seal_key):
            raise HTTPException(
                403, "the form is not about what this session was shown; nothing was changed"
            )
        item = await self._again(session, digest)
        if changed := differences(form, item):
            return _overtaken(session, item, changed)
        try:
            ballot = self._ballot(session, form)
            outcome = await self._desk.decide(
                form["shown"],
                ballot.vote,
                principal=ballot.principal,
                reason=ballot.reason,
                scope=ballot.scope,
                expires_at=ballot.expires_at,
            )
        except UsageError as error:
            return await self._item_page(session, item, problem=str(error), form=form, status=422)
        except (ReviewChangedError, TransitionError) as error:
            item = await self._again(session, digest)
            return _overtaken(session, item, differences(form, item) or (str(error),))
        self._visitors.leave_notice(request, f"{outcome.words.plain}.")
        return RedirectResponse("/", status_code=303)

    async def _again(self, session: SignedIn, digest: str) -> ReviewItem:
        return await self._desk.item(digest, measured=False, reader=session.reviewer.name)

    def _ballot(self, session: SignedIn, form: Mapping[str, str]) -> Ballot:
        scope, days = form.get("scope", ""), form.get("days", "")
        if form.get("vote") not in set(Vote):
            raise UsageError(_NO_CHOICE)
        if scope not in dict(SCOPES) or days not in dict(EXPIRY_DAYS):
            raise UsageError("Choose scope and expiry from the lists.")
        return Ballot(
            vote=Vote(form["vote"]),
            principal=session.reviewer.name,
            reason=form.get("reason", "").replace("\r\n", "\n"),
            scope=Channel(scope) if scope else Channel.STABLE,
            expires_at=self._clock() + timedelta(days=int(days)) if days else None,
        )

    async def _item_page(  # noqa: PLR0913 - what a page has
        self,
        session: SignedIn,
        item: ReviewItem,
        *,
        notice: str | None = None,
        problem: str = "",
        form: Mapping[str, str] | None = None,
        status: int = 200,
    ) -> Response:
        view = await asyncio.to_thread(item_view, item)
        page = render(
            "item.html",
            session=session,
            notice=notice,
            item=item,
            view=view,
            may_vote=session.reviewer.role is Role.REVIEWER,
            hidden=shown_fields(item, session.seal_key),
            problem=problem,
            form={name: (form or _EMPTY).get(name, "") for name in _EMPTY},
            scopes=SCOPES,
            expiries=EXPIRY_DAYS,
        )
        return HTMLResponse(page, status_code=status)


def _overtaken(session: SignedIn, item: ReviewItem, changed: tuple[str, ...]) -> Response:
    page = render("overtaken.html", session=session, digest=item.digest, differences=changed)
    return HTMLResponse(page, status_code=409)


def _digest_of(request: Request) -> str:
    digits = str(request.path_params["digits"])
    if not _DIGITS.fullmatch(digits):
        raise HTTPException(404, "there is no such version")
    return f"sha256:{digits}"
