"""Whose process a label names, and whether it has certainly ended."""

from __future__ import annotations

import contextlib
import os
import resource
from collections.abc import Iterator
from dataclasses import replace

import pytest

from sandbox.identity import ProcessIdentity


@contextlib.contextmanager
def no_descriptor_left() -> Iterator[None]:
    """This process can open nothing."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, limits[1]))
    try:
        with pytest.raises(OSError, match="Too many open files"):
            os.open("/dev/null", os.O_RDONLY)
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)


def test_who_cannot_look_takes_nobody_for_dead() -> None:
    """Else a process without a descriptor left would remove the containers of those that live."""
    own = ProcessIdentity.own()
    assert own is not None

    with no_descriptor_left():
        gone = own.is_gone(own)

    assert not gone


def test_a_process_is_gone_when_its_number_is_nobodys_or_anothers() -> None:
    own = ProcessIdentity.own()
    assert own is not None
    nobodys = replace(own, pid=(1 << 22) + 1)  # beyond what Linux gives
    beyond_all = replace(own, pid=1 << 70)
    anothers = replace(own, start_ticks=own.start_ticks - 1)

    assert [other.is_gone(own) for other in (nobodys, beyond_all, anothers)] == [True] * 3
    assert not own.is_gone(own)


@pytest.mark.parametrize("number", ["²", "-1", "", "x"])
def test_a_label_of_somebody_elses_making_is_no_identity(number: str) -> None:
    assert ProcessIdentity.parse(f"machine boot 4026531836 {number} 1") is None
