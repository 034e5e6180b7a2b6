"""A connection that has been given up writes to nobody."""

from __future__ import annotations

import asyncio
import socket

import pytest

from policies.limits import ResourceLimits
from sandbox.channel import AttachChannel


async def test_what_is_sent_after_the_end_reaches_nobody_else() -> None:
    here, there = socket.socketpair()
    channel = AttachChannel(ResourceLimits())
    channel.connect(here)
    number = here.fileno()
    channel.close()
    other, heard = socket.socketpair()  # gets the number that has become free
    assert other.fileno() == number

    channel.send(b"for a guest that is gone")
    await asyncio.sleep(0)

    heard.setblocking(False)
    with pytest.raises(BlockingIOError):
        heard.recv(1)
    for end in (there, other, heard):
        end.close()
