"""What a tool asked of the network, as a value."""

from __future__ import annotations

from pydantic import Field

from policies.value import Value

__all__ = ["NetworkEvent"]


class NetworkEvent(Value):
    """One request that a tool sent, or wanted to send."""

    at_seconds: float = Field(ge=0)
    """After the call began."""

    method: str
    url: str
    """Without the query, which may carry what nobody should read."""

    allowed: bool
    reason: str = ""
    """Why it was refused or failed, or what the tool should know of it; in words."""

    status: int | None = None
    """The server's answer; None where there was none."""

    secrets: tuple[str, ...] = ()
    """Names of those that were put into it."""

    address: str = ""
    """The address that was connected to."""

    request_bytes: int = Field(default=0, ge=0)
    response_bytes: int = Field(default=0, ge=0)
