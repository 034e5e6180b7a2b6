"""What was on the screen when somebody voted, in a form that a page or a script can hand back."""

from __future__ import annotations

import re
from typing import Final, Self

from policies.value import Value
from runtime.errors import UsageError

_DIGEST: Final = r"sha256:[0-9a-f]{64}"
_TEXT: Final = re.compile(rf"({_DIGEST})(?:/({_DIGEST})/({_DIGEST})/(\d{{1,15}}))?")


class Shown(Value):
    """Version, evidence, policy, and how far the log about the version went."""

    version: str
    """Digest; covers source, schema, examples, permissions and image."""

    evidence: str | None = None
    """Digest; None, as are the others, where only the version was named: by a script."""

    policy: str | None = None
    """Digest of the policy in force."""

    event: int | None = None
    """Sequence of the last event about the version."""

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read what `str` gives, or the digest of a version alone.

        Raises:
            UsageError: it is neither.
        """
        match = _TEXT.fullmatch(text)
        if match is None:
            raise UsageError(
                f"{text[:100]!r} does not say what was shown: expected the digest of a version "
                "(sha256: and 64 hexadecimal digits), or the `shown` of a review item as it stands"
            )
        version, evidence, policy, event = match.groups()
        return cls(
            version=version,
            evidence=evidence,
            policy=policy,
            event=None if event is None else int(event),
        )

    def __str__(self) -> str:
        if self.evidence is None:
            return self.version
        return f"{self.version}/{self.evidence}/{self.policy}/{self.event}"
