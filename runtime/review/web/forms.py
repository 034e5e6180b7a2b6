"""Forms: read strictly, and only believed with the secret of the page that they stand on."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Mapping
from typing import Final
from urllib.parse import parse_qsl

from starlette.exceptions import HTTPException
from starlette.requests import Request

from runtime.review.web.sessions import SignedIn

CSRF_FIELD: Final = "csrf_token"
_MAX_FIELDS: Final = 40


async def read_form(request: Request) -> dict[str, str]:
    """The fields of a form; each stands once.

    Raises:
        HTTPException: it is not a form that one of our pages can send (400), or too long (413).
    """
    body = await request.body()
    try:
        pairs = parse_qsl(
            body.decode("ascii"),
            keep_blank_values=True,
            strict_parsing=bool(body),
            encoding="utf-8",
            errors="strict",
            max_num_fields=_MAX_FIELDS,
        )
    except ValueError:
        raise HTTPException(400, "the form is not written as a form is") from None
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise HTTPException(400, "the form has a field twice")
    return fields


def check_csrf(session: SignedIn, form: Mapping[str, str]) -> None:
    """Refuse a form that does not come from a page of this session.

    Raises:
        HTTPException: it does not (403).
    """
    if not _same(form.get(CSRF_FIELD, ""), session.csrf_token):
        raise HTTPException(
            403, "the form is not from a page of this session, so nothing was changed; open it anew"
        )


class SignInForms:
    """Secrets for the form of those who have no session yet: a cookie and a field that fit.

    Nobody can then be signed in by another site's form as somebody else.
    """

    def __init__(self) -> None:
        self._key = secrets.token_bytes(32)

    def cookie(self) -> str:
        """A new value for the cookie."""
        return secrets.token_urlsafe(32)

    def field(self, cookie: str) -> str:
        """What the form has beside that cookie."""
        message = cookie.encode(errors="surrogatepass")
        return hmac.new(self._key, message, hashlib.sha256).hexdigest()

    def fits(self, cookie: str, form: Mapping[str, str]) -> bool:
        """Whether the form came from the page that the cookie came with."""
        return bool(cookie) and _same(form.get(CSRF_FIELD, ""), self.field(cookie))


def _same(given: str, expected: str) -> bool:
    return hmac.compare_digest(
        given.encode(errors="surrogatepass"), expected.encode(errors="surrogatepass")
    )
