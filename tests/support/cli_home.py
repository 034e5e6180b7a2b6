"""A home and a working folder of a test's own, and nothing of the caller's environment."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


def stand_at_home(folder: Path, patch: pytest.MonkeyPatch) -> Path:
    """Let commands run in `folder`, with the home below it, which nothing has made yet."""
    for name in list(os.environ):
        if name.startswith(("TOOLKILN_", "OPENAI_")) or name in {"DOCKER_HOST", "NO_COLOR"}:
            patch.delenv(name)
    home = folder / "home"
    patch.setenv("TOOLKILN_HOME", str(home))
    patch.chdir(folder)
    return home
