"""Print the requirements of a group in pyproject.toml (`dev` if none is named), one a line."""

import sys
import tomllib
from pathlib import Path

group = sys.argv[1] if len(sys.argv) > 1 else "dev"
project = tomllib.loads(Path("pyproject.toml").read_text())
print("\n".join(project["dependency-groups"][group]))
