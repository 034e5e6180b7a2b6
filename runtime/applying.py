"""A policy applied to the whole store at once: what it would set aside, and what may come back.

The same decisions as at the next load of each version, only now; and the way back for what an
earlier policy set aside, where the one in force allows it without a person.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from enum import StrEnum

from policies.decision import Decision
from policies.value import Value
from runtime.equipment import Equipment
from runtime.redecision import decide_again
from runtime.terms import terms_of
from toolstore.errors import StoreDamagedError, TransitionError
from toolstore.events import EventType
from toolstore.models import STABLE, ToolVersion
from toolstore.store import ToolStore


class Effect(StrEnum):
    """What a policy does to one version."""

    STAYS = "stays"
    SET_ASIDE = "set aside"
    """Approved, and no longer allowed: to quarantine."""

    COMES_BACK = "comes back"
    """Set aside by an earlier policy, and allowed by this one."""

    STAYS_ASIDE = "stays aside"


class Applied(Value):
    """One version under the policy in force."""

    ref: str
    digest: str
    effect: Effect
    rules: tuple[str, ...]
    reasons: tuple[str, ...]


async def apply_policy(
    store: ToolStore, equipment: Equipment, at: datetime, *, dry_run: bool
) -> tuple[Applied, ...]:
    """Decide about every approved version, and about those that a policy set aside.

    Damaged versions are left out; loading one says what is damaged.

    Raises:
        ToolStoreError: The store could not keep what was decided.
    """
    waiting = await store.pending(on_damage=_leave_out)  # before this adds to them
    approved = await store.current_versions(on_damage=_leave_out)
    aside = [version for version in waiting if await _was_set_aside(store, version)]
    aside.sort(key=lambda version: (version.name, -version.sequence))  # the latest comes back
    found = [await _apply(store, equipment, each, at, dry_run=dry_run) for each in approved]
    gone = {each.ref for each in found if each.effect is Effect.SET_ASIDE}
    current: dict[str, str] = {}
    for version in aside:
        other = current.get(version.name) or await _current(store, version, gone)
        each = await _reconsider(store, equipment, version, at, other, dry_run=dry_run)
        if each.effect is Effect.COMES_BACK:
            current[version.name] = each.ref
        found.append(each)
    return tuple(found)


async def _apply(
    store: ToolStore, equipment: Equipment, version: ToolVersion, at: datetime, *, dry_run: bool
) -> Applied:
    decision = decide_again(version, equipment, at)
    known = version.decision.policy_digest == decision.policy_digest
    if not dry_run and not (known and decision.allowed):
        await store.decisions.decided_again(
            version.digest, decision, policy=equipment.profile.text, actor=equipment.tenant
        )
    return _applied(version, Effect.STAYS if decision.allowed else Effect.SET_ASIDE, decision)


async def _reconsider(  # noqa: PLR0913 - each is one part of the question
    store: ToolStore,
    equipment: Equipment,
    version: ToolVersion,
    at: datetime,
    other: str | None,
    *,
    dry_run: bool,
) -> Applied:
    """What becomes of a version that was set aside; `other` is what callers get by now, if any."""
    decision = decide_again(version, equipment, at)
    if decision.allowed and other is not None:
        words = f"{other} is current by now, and no policy turns a tool back; a person may"
        decision = decision.model_copy(update={"allowed": False, "reasons": (words,)})
    if not decision.allowed:
        return _applied(version, Effect.STAYS_ASIDE, decision)
    if not dry_run:
        profile = equipment.profile
        await store.decisions.keep_policy(
            profile.text, digest=decision.policy_digest, actor=equipment.tenant
        )
        try:
            await store.lifecycle.readmit(
                version.digest, decision, actor=equipment.tenant, terms=terms_of(profile)
            )
        except TransitionError:  # somebody decided about it meanwhile, and that counts
            return _applied(version, Effect.STAYS_ASIDE, decision)
    return _applied(version, Effect.COMES_BACK, decision)


async def _current(store: ToolStore, version: ToolVersion, gone: Collection[str]) -> str | None:
    """What callers of its name get, if they get anything but what is `gone`."""
    versions = await store.versions_of(version.name)
    stable = (f"{each.name}@{each.sequence}" for each in versions if each.place == STABLE)
    return next((ref for ref in stable if ref not in gone), None)


async def _was_set_aside(store: ToolStore, version: ToolVersion) -> bool:
    """Whether a policy's decision, and nothing that a person did, brought it to quarantine."""
    events = await store.events(version.name)
    moves = [e for e in events if e.digest == version.digest and e.from_state != e.to_state]
    return bool(moves) and (
        moves[-1].type == EventType.SUSPENDED and moves[-1].policy_digest is not None
    )


def _applied(version: ToolVersion, effect: Effect, decision: Decision) -> Applied:
    return Applied(
        ref=str(version.ref),
        digest=version.digest,
        effect=effect,
        rules=decision.rules,
        reasons=decision.reasons,
    )


def _leave_out(_ref: str, _error: StoreDamagedError) -> None:
    """Go on without it."""
