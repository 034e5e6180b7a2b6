"""The review page on a real store, as a browser without a window sees it."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from html import unescape
from pathlib import Path
from typing import Final

from httpx2 import ASGITransport, AsyncClient, Response
from reviewing import POLICY, review_desk
from starlette.types import ASGIApp

from policies.config import PolicyProfile
from runtime.review.desk import ReviewDesk
from runtime.review.web.app import make_app
from runtime.review.web.roles import Role
from runtime.review.web.site import make_site
from runtime.review.web.tokens import TokenBook
from toolstore.store import ToolStore

ORIGIN: Final = "http://127.0.0.1:8421"


@dataclass
class Clock:
    """Seconds that pass when a test says so."""

    seconds: float = 1_000.0

    def __call__(self) -> float:
        return self.seconds


@dataclass
class Page:
    """One browser at one server."""

    client: AsyncClient
    desk: ReviewDesk
    store: ToolStore
    book: TokenBook
    clock: Clock
    app: ASGIApp
    secrets: dict[str, str] = field(default_factory=dict)

    async def get(self, path: str, **headers: str) -> Response:
        return await self.client.get(path, headers=headers)

    async def post(self, path: str, form: dict[str, str], **headers: str) -> Response:
        sent = {"Origin": ORIGIN, **{name.replace("_", "-"): v for name, v in headers.items()}}
        return await self.client.post(path, data=form, headers=sent)

    def token(self, name: str, role: Role = Role.REVIEWER) -> str:
        _, secret = self.book.add(name, role=role, at=datetime.now(UTC))
        return secret

    async def sign_in(self, name: str = "bob", role: Role = Role.REVIEWER) -> Response:
        """Sign in with a new token of `name`."""
        self.secrets[name] = self.token(name, role)
        form = fields(await self.get("/sign-in"))
        return await self.post("/sign-in", {**form, "name": name, "token": self.secrets[name]})

    async def form_of(self, digest: str) -> dict[str, str]:
        """The fields of the form to decide about a version."""
        return fields(await self.get(address(digest)), action="/decision")

    async def vote(self, digest: str, form: dict[str, str], **values: str) -> Response:
        """Send the form back, with `values` over it."""
        return await self.post(f"{address(digest)}/decision", {**form, **values})


def address(digest: str) -> str:
    """Of the page of one version."""
    return f"/versions/{digest.removeprefix('sha256:')}"


def fields(answer: Response, *, action: str = "") -> dict[str, str]:
    """The hidden fields of the first form whose address ends with `action` (not signing out)."""
    for form in re.findall(r"<form.*?</form>", answer.text, re.DOTALL):
        target = re.search(r'action="([^"]*)"', form)
        if target and target[1].endswith(action) and (action or "sign-out" not in target[1]):
            found = re.findall(r'type="hidden" name="([^"]*)" value="([^"]*)"', form)
            return {name: unescape(value) for name, value in found}
    raise AssertionError(f"no form in {answer.text[:2_000]}")


@asynccontextmanager
async def review_page(
    folder: Path, profile: PolicyProfile = POLICY, *, keys: Path | None = None
) -> AsyncIterator[Page]:
    """A server on a new store, and a browser that has not signed in."""
    async with review_desk(folder / "store", profile, keys=keys) as (desk, store):
        book, clock = TokenBook(folder / "review" / "tokens.json", cost=2), Clock()
        app = make_app(
            desk,
            site=make_site("127.0.0.1", 8421, origins=(), tls=False),
            book=book,
            head=store.head,
            seconds=clock,
        )
        transport = ASGITransport(app, raise_app_exceptions=False)
        async with AsyncClient(transport=transport, base_url=ORIGIN) as client:
            yield Page(client, desk, store, book, clock, app)
