"""Further proofs of a version that is there: `ToolStore.proofs`.

A version is decided on once, on the evidence of one host. Another host, or the same one later, may
prove the very same version: its evidence stands beside that, under its own keys, and counts for
thresholds and age.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from policies.evidence import Evidence
from policies.value import canonical_json, sha256_digest
from toolstore import reading
from toolstore.attest.errors import KeysError
from toolstore.blobs import put_blobs
from toolstore.commit import Commit
from toolstore.errors import TransitionError
from toolstore.events import EventDetail, EventType
from toolstore.models import ToolVersion
from toolstore.writing import Writer

_HERE = "proven again, on this host"
_ELSEWHERE = "proven on another host, which this one trusts"


class Proofs:
    """Keeps further proofs of versions."""

    def __init__(self, write: Commit) -> None:
        self._write = write

    async def add(self, digest: str, evidence: Evidence, *, actor: str) -> ToolVersion:
        """Vouch for evidence that this host gathered about a version, with its own keys.

        Raises:
            ToolNotFoundError: no version has this digest.
            TransitionError: it is about another version or text, or nobody can call that one.
            KeysError: the store was opened without keys.
        """
        content = canonical_json(evidence.model_dump(mode="json"))
        return await self._write(actor, partial(_add, digest=digest, content=content))

    async def take_over(
        self, digest: str, content: bytes, envelopes: Sequence[bytes], *, actor: str
    ) -> ToolVersion:
        """Keep what another host found about this very version, in its own words.

        `content` is its evidence, and of `envelopes` those are kept that are about these bytes, by
        keys that this store trusts; nothing is where there is none.

        Raises:
            ToolNotFoundError: no version has this digest.
            TransitionError: it is about another version or text, or nobody can call that one.
            KeysError: the store was opened without keys.
        """
        work = partial(_add, digest=digest, content=content, envelopes=envelopes)
        return await self._write(actor, work)


def _add(
    writer: Writer, digest: str, content: bytes, envelopes: Sequence[bytes] | None = None
) -> ToolVersion:
    row = reading.require_digest(writer.connection, digest)
    version = reading.load(writer.connection, row)
    writer.require(row, EventType.PROVEN)
    _check_subject(version, Evidence.model_validate_json(content))
    notary = writer.journal.notary
    if notary is None:
        raise KeysError(
            "(none)",
            "the store was opened without keys, and a further proof is worth its signature",
            advice="Open it with a key ring.",
        )
    taken: tuple[str, ...] | None = None
    if envelopes is not None:
        taken = notary.take_over(digest, sha256_digest(content), envelopes)
        if not taken:
            return version
    put_blobs(writer.connection, [content])
    detail = EventDetail(proof=sha256_digest(content), attestations=taken)
    reason = _HERE if envelopes is None else _ELSEWHERE
    writer.journal.record(row, EventType.PROVEN, reason, detail)
    return writer.finish(digest)


def _check_subject(version: ToolVersion, evidence: Evidence) -> None:
    found = (evidence.subject, evidence.source_digest, evidence.image_digest)
    wanted = (version.digest, version.source.digest, version.image_digest)
    if found != wanted:
        raise TransitionError(
            str(version.ref),
            f"the evidence is about {evidence.subject[:19]}…, and this is {version.digest[:19]}…; "
            "prove this very version",
        )
