"""Programs of this folder, run as processes of their own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

_SUPPORT = Path(__file__).parent
_ROOT = _SUPPORT.parents[1]


def run_program(name: str, *arguments: object) -> Any:
    """What the program printed, which is one JSON document."""
    done = subprocess.run(
        [sys.executable, _SUPPORT / name, *map(str, arguments)],
        cwd=_ROOT,
        env={**os.environ, "PYTHONPATH": str(_ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)
