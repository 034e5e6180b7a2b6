"""On which arguments two versions are compared: recorded calls first, then generated ones.

What was recorded is used as the policy in force wants it: not at all where it keeps no bodies,
and with its patterns struck out, whatever was struck out when the call came.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from policies.config import ReplaySettings
from policies.diversity import kind_of, most_diverse
from policies.outcomes import Outcome
from policies.redaction import Redaction
from policies.replay import Answer, InputOrigin
from policies.source import Example
from policies.validation import validate
from policies.value import JsonObject, canonical_json, sha256_digest
from runtime.trials import inputs_for
from toolstore.calls import MOST_LOOKED_AT, CallRecord
from toolstore.errors import StoreDamagedError, ToolNotFoundError
from toolstore.models import ToolRef, ToolVersion
from toolstore.store import ToolStore

REPLAY_SEED: Final = 20_260_101
"""Another one than that of the trials, so that both together see more."""

_ANCESTORS: Final = 3


@dataclass(frozen=True, slots=True)
class ReplayInput:
    """One input, with what the predecessor made of it where that is known."""

    origin: InputOrigin
    arguments: JsonObject
    digest: str
    before: Answer | None = None
    seconds: float = 0.0
    """How long it took when it was recorded."""


async def replay_inputs(
    store: ToolStore, settings: ReplaySettings, old: ToolVersion, examples: Sequence[Example]
) -> list[ReplayInput]:
    """Recorded calls, the most diverse of them, and generated ones where they are few.

    `examples` are those of both versions: generated arguments are made from them as well.
    """
    kept = settings.calls and settings.bodies
    recorded = await _recorded(store, settings, old) if kept else []
    chosen = most_diverse(
        recorded, lambda each: kind_of([each.arguments, _kind(each)]), settings.runs
    )
    missing = settings.at_least - len(chosen)
    if missing <= 0:
        return chosen
    known = {each.digest for each in chosen}
    generated = [
        ReplayInput(InputOrigin.GENERATED, arguments, sha256_digest(canonical_json(arguments)))
        for arguments in await inputs_for(
            old.source_schema, tuple(examples), missing, seed=REPLAY_SEED
        )
    ]
    return [*chosen, *(each for each in generated if each.digest not in known)]


async def _recorded(
    store: ToolStore, settings: ReplaySettings, old: ToolVersion
) -> list[ReplayInput]:
    """One input of each kind of arguments: calls of `old`, then of those before it."""
    redaction = Redaction(patterns=settings.redact)
    found: dict[str, ReplayInput] = {}
    version: ToolVersion | None = old
    for _ in range(_ANCESTORS):
        if version is None:
            break
        for record in await store.calls_of(version.digest, limit=MOST_LOOKED_AT, with_body=True):
            each = _input_of(record, redaction, of_predecessor=version is old)
            if each is not None and not validate(each.arguments, old.source_schema.parameters):
                found.setdefault(each.digest, each)
        version = await _parent(store, version)
    return list(found.values())


async def _parent(store: ToolStore, version: ToolVersion) -> ToolVersion | None:
    if version.parent is None:
        return None
    with suppress(ToolNotFoundError, StoreDamagedError):
        return await store.find(ToolRef(name=version.name, digest=version.parent))
    return None


def _input_of(
    record: CallRecord, redaction: Redaction, *, of_predecessor: bool
) -> ReplayInput | None:
    body = record.body
    if body is None:
        return None
    arguments = redaction.apply(body.arguments)
    if not isinstance(arguments, dict):
        return None
    return ReplayInput(
        origin=InputOrigin.RECORDED if of_predecessor else InputOrigin.EARLIER,
        arguments=arguments,
        digest=sha256_digest(canonical_json(arguments)),
        before=_answer_of(record, redaction) if of_predecessor else None,
        seconds=record.execute_seconds,
    )


def _answer_of(record: CallRecord, redaction: Redaction) -> Answer | None:
    """What was answered then; None where some of the call was struck out or not kept."""
    body = record.body
    if body is None or body.redacted:
        return None
    whole: list[object] = [body.arguments, body.value]
    if [redaction.apply(body.arguments), redaction.apply(body.value)] != whole:
        return None
    if record.outcome is Outcome.RAISED and record.error_type is None:
        return None
    return Answer(
        outcome=record.outcome,
        value=body.value if record.outcome is Outcome.RETURNED else None,
        error_type=record.error_type,
        wall_seconds=record.execute_seconds,
    )


def _kind(each: ReplayInput) -> str:
    return "" if each.before is None else each.before.outcome.value
