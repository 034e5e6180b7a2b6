"""One call of a program: from its arguments to the bytes of its answer."""

# ruff: noqa: ANN001, ANN201  annotations cost start time; types are plain

import sys

from toolkiln_guest.channel import ERROR, VALUE
from toolkiln_guest.results import describe


def flush():
    """Let out what was printed; the tool may have broken the streams."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except BaseException:  # noqa: BLE001, S112  the tool's own doing, and nothing of ours
            continue


def answer(program, arguments, encoder, granted):
    """Kind and payload of the answer to one call."""
    try:
        try:
            value = program.call(arguments, granted.names)
        finally:
            granted.finish()
        return VALUE, encoder.encode(value)
    except BaseException as error:  # noqa: BLE001  whatever the tool raises is its answer
        return ERROR, describe(error)
