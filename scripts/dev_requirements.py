"""Print the requirements of the `dev` group in pyproject.toml, one a line."""

import tomllib
from pathlib import Path

project = tomllib.loads(Path("pyproject.toml").read_text())
print("\n".join(project["dependency-groups"]["dev"]))
