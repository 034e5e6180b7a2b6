"""What a guest may ask of the host during a call: each kind of help is one `Service`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol, TypeAlias

from policies.value import JsonObject
from sandbox.frames import Frame, Kind

__all__ = ["SendFrame", "Service"]

SendFrame: TypeAlias = Callable[[Kind, bytes], None]
"""Queues one frame for the guest; never blocks, and does nothing once the guest has ended."""


class Service(Protocol):
    """The host's side of one grant, made for one call (or batch) and thrown away after it.

    Its other side is the module of the same name in the guest. Everything happens on the event
    loop; what takes time runs in tasks of its own and is ended by `end`.
    """

    @property
    def name(self) -> str:
        """Name of the grant, and of the module in the guest."""
        ...

    @property
    def kinds(self) -> Mapping[Kind, int]:
        """The frames of the guest that it takes, and how large their payloads may be."""
        ...

    def begin(self, send: SendFrame) -> JsonObject:
        """Start; the answer is what the guest is told of the grant.

        What is sent from here on reaches the guest after that, and before the arguments.
        """
        ...

    def receive(self, frame: Frame) -> None:
        """A frame of the guest has come; must not block.

        Raises:
            FrameError: The frame is not one that the guest's side would send.
        """
        ...

    async def end(self) -> None:
        """The call is over, however it ended: stop everything. May be called twice."""
        ...
