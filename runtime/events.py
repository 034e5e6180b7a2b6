"""What happens in a session, as values: shown live, and kept as JSON lines in its transcript."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Literal, TypeAlias

from pydantic import Field

from policies.evidence import Trial
from policies.findings import Finding, Stage
from policies.value import JsonObject, Value
from runtime.messages import ToolCall, ToolResult, Usage
from sandbox.artefacts import ArtefactInfo


class StageStarted(Value):
    """An admission entered a stage."""

    kind: Literal["stage_started"] = "stage_started"
    tool: str
    stage: Stage | Literal["decision"]
    steps: int | None = None
    """How many trials there will be; None where a stage is one step."""


class StageFinished(Value):
    """An admission left a stage, with what it found."""

    kind: Literal["stage_finished"] = "stage_finished"
    tool: str
    stage: Stage | Literal["decision"]
    seconds: float
    findings: tuple[Finding, ...] = ()
    passed: bool


class TrialFinished(Value):
    """One trial has its verdict."""

    kind: Literal["trial_finished"] = "trial_finished"
    tool: str
    trial: Trial


AdmissionEvent: TypeAlias = Annotated[
    StageStarted | StageFinished | TrialFinished, Field(discriminator="kind")
]


class TextStreamed(Value):
    """A piece of the answer. Live only: the transcript has the whole answer."""

    kind: Literal["text_streamed"] = "text_streamed"
    text: str


class RequestStarted(Value):
    """A request went to the model, with these tools."""

    kind: Literal["request_started"] = "request_started"
    turn: int
    tools: tuple[str, ...]


class RequestRetried(Value):
    """A request failed and is made again; text streamed for it so far is void."""

    kind: Literal["request_retried"] = "request_retried"
    attempt: int
    delay_seconds: float
    reason: str


class RequestFinished(Value):
    """The model answered."""

    kind: Literal["request_finished"] = "request_finished"
    turn: int
    text: str
    tool_calls: tuple[ToolCall, ...]
    usage: Usage
    native: tuple[JsonObject, ...] = ()
    """`AssistantMessage.native`, kept so that a resumed session can echo it."""

    api: str = ""


class CallStarted(Value):
    """A call began."""

    kind: Literal["call_started"] = "call_started"
    call: ToolCall


class CallProgress(Value):
    """Something to show while a `define_tool` runs. Live only."""

    kind: Literal["call_progress"] = "call_progress"
    call_id: str
    event: AdmissionEvent


class CallFinished(Value):
    """A call has its one result."""

    kind: Literal["call_finished"] = "call_finished"
    result: ToolResult
    seconds: float
    made_tools: tuple[str, ...] = ()
    found_tools: tuple[str, ...] = ()
    made_files: tuple[ArtefactInfo, ...] = ()
    waiting_tools: tuple[str, ...] = ()
    """Versions (`name@sha256:…`) that this call made and that wait for a person."""

    admitted_tools: tuple[str, ...] = ()
    """Versions that this call made and that the policy let in by itself."""


class ReviewNoted(Value):
    """The session was told what became of its tools in review; the model reads it as a message."""

    kind: Literal["review_noted"] = "review_noted"
    text: str
    event: int
    """Sequence of the last entry of the store's log that it tells of."""

    settled: tuple[str, ...] = ()
    """Digests of versions of which nothing more will be told."""

    made_tools: tuple[str, ...] = ()
    """Names that can be called from now on."""


class SessionStopped(Value):
    """A budget or the person ended the turn; `reason` is one of a closed set."""

    kind: Literal["session_stopped"] = "session_stopped"
    reason: StopReason
    message: str


StopReason: TypeAlias = Literal[
    "turns", "tokens", "cost", "wall_time", "tool_definitions", "interrupted"
]

SessionEvent: TypeAlias = Annotated[
    TextStreamed
    | RequestStarted
    | RequestRetried
    | RequestFinished
    | CallStarted
    | CallProgress
    | CallFinished
    | ReviewNoted
    | SessionStopped,
    Field(discriminator="kind"),
]

AdmissionListener: TypeAlias = Callable[[AdmissionEvent], None]
SessionListener: TypeAlias = Callable[[SessionEvent], None]

SessionStopped.model_rebuild()
