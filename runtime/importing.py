"""Tools from elsewhere: checked before anything runs, proven anew, and what others said kept."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from policies.source import ToolSource
from policies.value import canonical_json
from runtime.outcome import DefinitionOutcome
from toolstore.bundle import AnyBundle, SignedBundle, read_bundle
from toolstore.bundlereport import Verdict
from toolstore.errors import BundleError
from toolstore.models import Lifecycle
from toolstore.store import ToolStore

Define = Callable[[ToolSource], Awaitable[DefinitionOutcome]]


async def take_in(
    store: ToolStore, content: bytes, define: Define, *, actor: str
) -> DefinitionOutcome:
    """Take the tool of a bundle through the admission here, and keep the file beside it.

    Nothing in the file counts for the decision: its signatures say whether it is what was
    exported, and its evidence is what others found. Where it is about the very version that was
    proven here, image included, and by keys that this store trusts, it counts as a further proof.

    Raises:
        BundleError: it is none, a link or a signature in it does not hold, or it was revoked
            where it came from. Nothing ran and nothing was stored.
    """
    bundle = read_bundle(content)
    report = await store.exchange.check(content)
    if report.verdict is Verdict.BROKEN:
        raise BundleError("; ".join(f"{each.part}: {each.detail}" for each in report.problems[:3]))
    _refuse_revoked(bundle)
    outcome = await define(bundle.source)
    if outcome.ref is not None and outcome.digest is not None and outcome.duplicate_of is None:
        await store.exchange.keep(outcome.digest, content, actor=actor)
        if isinstance(bundle, SignedBundle) and bundle.digest == outcome.digest:
            await store.proofs.take_over(
                bundle.digest,
                canonical_json(bundle.evidence_document),
                [each.content for each in bundle.envelopes],
                actor=actor,
            )
    return outcome


def _refuse_revoked(bundle: AnyBundle) -> None:
    if isinstance(bundle, SignedBundle) and bundle.events[-1].to_state is Lifecycle.REVOKED:
        raise BundleError(f"it was revoked where it came from: {bundle.events[-1].reason}")
