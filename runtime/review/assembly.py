"""Everything about one version that a person should see before a vote, brought together."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from policies.marking import mark_text
from runtime.equipment import Equipment
from runtime.review.capability import capabilities_of
from runtime.review.diff import diff_versions, schema_lines
from runtime.review.item import MAX_REASON, ReviewItem
from runtime.review.neighbours import nearest, users_of
from runtime.review.parts import Coverage
from runtime.review.readers import require_reading
from runtime.review.shown import Shown
from runtime.review.standing import (
    history_lines,
    others_views,
    place_text,
    statement_views,
    version_views,
)
from runtime.review.views import (
    behaviour_view,
    finding_views,
    oddities,
    overtaken_words,
    people_of,
    source_view,
    trial_views,
    vote_views,
    waits_since,
)
from sandbox.packages import list_package_images
from toolstore.errors import StoreDamagedError, ToolNotFoundError
from toolstore.models import Lifecycle, ToolRef, ToolVersion
from toolstore.store import ToolStore


@dataclass(frozen=True, slots=True)
class Assembly:
    """Reads a store, and what images were made here, for reviewers."""

    store: ToolStore
    equipment: Equipment
    package_folder: Path
    clock: Callable[[], datetime]

    async def item(self, digest: str, coverage: Coverage | str, *, reader: str) -> ReviewItem:
        """All about the version with `digest`, beside the one that it is compared with.

        Raises:
            AccessRefusedError: The policy does not let `reader` read one of the two.
            ToolNotFoundError: There is no such version.
            StoreDamagedError: It is not what was put in.
        """
        store, profile, now = self.store, self.equipment.profile, self.clock()
        name = (await store.version(digest)).name
        events = await store.events(name)
        mine = [event for event in events if event.digest == digest]
        version = await store.version(digest)  # no older than its events
        before = await self._before(version)
        for each in (version, before):
            if each is not None:
                require_reading(self.equipment.access, reader, each)
        locked = await self._locked(version)
        parts = diff_versions(
            before, version, () if before is None else await self._locked(before), locked
        )
        known = coverage if isinstance(coverage, Coverage) else None
        provenance, siblings = version.provenance, await store.versions_of(name)
        report = await store.exchange.report(version.ref)
        shown = Shown(
            version=digest,
            evidence=version.evidence.digest,
            policy=profile.digest,
            event=mine[-1].sequence if mine else 0,
        )
        return ReviewItem(
            shown=str(shown),
            digest=digest,
            name=mark_text(name),
            ref=mark_text(str(version.ref)),
            state=version.state,
            state_reason=mark_text(version.state_reason, characters=MAX_REASON),
            waits=version.state is Lifecycle.QUARANTINED,
            level=version.level,
            description=mark_text(version.source.description, keep_newlines=True),
            author=mark_text(provenance.author),
            origin=provenance.origin,
            model=None if provenance.model is None else mark_text(provenance.model),
            session=None if provenance.session is None else mark_text(provenance.session),
            created_at=provenance.created_at,
            since=waits_since(version, mine),
            image_digest=version.image_digest,
            evidence_digest=version.evidence.digest,
            policy_digest=profile.digest,
            policy_name=profile.name,
            why=tuple(map(mark_text, version.decision.reasons)),
            votes=len(people_of(version.approvals, now)),
            needed=profile.admission.approvers,
            before=None if before is None else mark_text(str(before.ref)),
            diff=parts,
            capabilities=capabilities_of(version.source.permissions, locked),
            source=source_view(version.source.code, known),
            schema_lines=tuple(map(mark_text, schema_lines(version))),
            findings=finding_views(version, now),
            trials=trial_views(version.evidence),
            coverage=known,
            coverage_missing=coverage if isinstance(coverage, str) else "",
            neighbour=await nearest(store, version),
            users=await users_of(store, version),
            behaviour=behaviour_view(version.evidence.replay),
            place=place_text(version.place),
            versions=version_views(siblings, await store.lifecycle.tallies(name)),
            vouchers=None if report is None else statement_views(report.lines),
            others=others_views(await store.exchange.words(version)),
            history=history_lines(events, siblings),
            earlier_votes=vote_views(mine, now),
            warnings=(*overtaken_words(version, before), *oddities(version, parts)),
        )

    async def _before(self, version: ToolVersion) -> ToolVersion | None:
        """What the name means now, if that is another version, or else what it came after."""
        try:
            current = await self.store.find(ToolRef(name=version.name))
            if current.place is not None and current.digest != version.digest:
                return current
            return None if version.parent is None else await self.store.version(version.parent)
        except (StoreDamagedError, ToolNotFoundError):
            return None

    async def _locked(self, version: ToolVersion) -> tuple[str, ...]:
        """What the lock of its image has; nothing where the image was not made here."""
        if not version.source.permissions.packages:
            return ()
        for image in await list_package_images(self.package_folder):
            if image.digest == version.image_digest:
                return tuple(image.lock.pins)
        return ()
