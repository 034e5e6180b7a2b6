"""What changed between the page that somebody saw and the vote that they send."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterator, Mapping
from typing import Final

from policies.value import canonical_json
from runtime.review.item import ReviewItem
from runtime.review.shown import Shown

_DIGITS: Final = len("sha256:") + 12


def shown_fields(item: ReviewItem, key: bytes) -> dict[str, str]:
    """The hidden fields of the form: what is on the page, sealed for the session of `key`.

    With the seal a vote is believed only from a session that was given this very page.
    """
    fields = {"shown": item.shown, "base": _base(item)}
    return {**fields, "seal": _seal(fields, key)}


def was_shown(form: Mapping[str, str], digest: str, key: bytes) -> bool:
    """Whether the session of `key` was given a page about `digest` with these fields."""
    fields = {name: form.get(name, "") for name in ("shown", "base")}
    given = form.get("seal", "").encode(errors="surrogatepass")
    return hmac.compare_digest(given, _seal(fields, key).encode()) and fields["shown"].startswith(
        f"{digest}/"
    )


def differences(form: Mapping[str, str], item: ReviewItem) -> tuple[str, ...]:
    """What is not as it was shown, in words; nothing if all of it is.

    Another person's yes is no difference: it alters nothing that was shown.
    """
    return tuple(_differences(form, item))


def _differences(form: Mapping[str, str], item: ReviewItem) -> Iterator[str]:
    shown, now = Shown.parse(form["shown"]), Shown.parse(item.shown)
    for what, before, after in (
        ("the version", shown.version, now.version),
        ("the evidence", shown.evidence, now.evidence),
        ("the policy in force", shown.policy, now.policy),
    ):
        if before != after:
            yield f"{what}: {_short(before)} was shown, and it is {_short(after)} now"
    if form["base"] != _base(item):
        was, comes = form["base"] or "no version", _base(item) or "no version"
        yield f"it was compared with {was}, and would take the place of {comes} now"
    for line in item.history:
        if line.event > (shown.event or 0) and line.version.plain == item.ref.plain:
            yield f"{line.what} by {line.actor.plain}: {line.reason.plain}"


def _base(item: ReviewItem) -> str:
    return "" if item.before is None else item.before.plain


def _seal(fields: Mapping[str, str], key: bytes) -> str:
    return hmac.new(key, canonical_json(dict(fields)), hashlib.sha256).hexdigest()


def _short(digest: str | None) -> str:
    return "nothing" if digest is None else f"{digest[:_DIGITS]}…"
