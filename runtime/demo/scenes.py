"""The scenes of the demonstration, and what must have happened in each for it to count."""

from __future__ import annotations

from importlib.resources import files

from pydantic import ValidationError

from policies.value import Value
from runtime.errors import SettingsError
from runtime.models.scripted import Recording
from runtime.sessions import Reply
from runtime.wiring import Runtime
from toolstore.models import Lifecycle

TOOL = "evaluate_formula"
HOSTILE = "word_count"


class Scene(Value):
    """One session: the person's prompt, and the model's side as it was recorded."""

    title: str
    prompt: str
    recording: Recording


class _Scenes(Value):
    scenes: tuple[Scene, ...]


def load_scenes() -> tuple[Scene, ...]:
    """The scenes that are shipped with the program.

    Raises:
        SettingsError: The installation is damaged.
    """
    try:
        text = files("runtime.demo").joinpath("recording.json").read_text("utf-8")
        return _Scenes.model_validate_json(text).scenes
    except (OSError, ValidationError) as error:
        raise SettingsError(f"the demonstration's recording is damaged: {error}") from None


class Check(Value):
    """One claim of the demonstration, looked up in the store afterwards, not believed."""

    claim: str
    holds: bool


async def check_scenes(
    runtime: Runtime, replies: tuple[Reply, ...], *, containers_left: int
) -> tuple[Check, ...]:
    """What must be so after all scenes; read from the store, the replies and the engine."""
    current = {
        summary.name: summary for summary in await runtime.store.summaries((Lifecycle.APPROVED,))
    }
    report = await runtime.store.verify()
    first, second, *_ = (reply.text for reply in replies)
    return (
        Check(claim="the answer is right: 56.5", holds="56.5" in first),
        Check(claim=f"{TOOL} is kept, with its evidence", holds=TOOL in current),
        Check(claim="the second session used it: 9", holds="9" in second),
        Check(
            claim="the second session defined nothing",
            holds=current[TOOL].sequence == 1 if TOOL in current else False,
        ),
        Check(claim="neither hostile tool was admitted", holds=HOSTILE not in current),
        Check(claim="no container is left", holds=containers_left == 0),
        Check(claim="every byte of the store verifies", holds=report.intact),
    )
