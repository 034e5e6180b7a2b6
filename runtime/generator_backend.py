"""A Hypothesis backend whose values depend on the seed alone.

The usual one mixes in constants that it finds in the modules which happen to be loaded: the
same tool would be tried with other arguments from another program, and reading all those
modules takes longer than generating.
"""

from __future__ import annotations

from typing import Final

from hypothesis.internal.conjecture.providers import AVAILABLE_PROVIDERS, HypothesisProvider
from hypothesis.internal.constants_ast import Constants

BACKEND: Final = "toolkiln"


class SeededProvider(HypothesisProvider):
    """The usual provider, without the constants of loaded modules."""

    _local_constants = Constants()


def register() -> str:
    """Make the backend known to Hypothesis; gives its name for the settings."""
    AVAILABLE_PROVIDERS[BACKEND] = f"{__name__}.{SeededProvider.__name__}"
    return BACKEND
