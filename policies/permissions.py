"""What a tool declares that it needs, and the lint level that follows from it."""

from __future__ import annotations

from enum import StrEnum
from typing import Literal

from pydantic import Field

from policies.value import JsonObject, Value


class LintLevel(StrEnum):
    """How much of Python a tool may use; a version states the level it passed."""

    L0 = "L0"
    """Pure: RestrictedPython widened, standard library without I/O."""

    L1 = "L1"
    """Data: L0 and locked packages."""

    L2 = "L2"
    """Code: a syntax-tree policy without RestrictedPython; the container is the only boundary."""

    L3 = "L3"
    """Network and secrets through the broker."""


class Permissions(Value):
    """What a tool may use beyond pure computation. Everything is off until declared."""

    level: LintLevel = LintLevel.L0
    imports: tuple[str, ...] = Field(default=(), max_length=50)
    """Standard-library modules beyond the L0 list; naming any asks for L2."""

    packages: tuple[str, ...] = Field(default=(), max_length=50)
    """Requirements such as `numpy` or `pandas>=2`; asks for L1."""

    hosts: tuple[str, ...] = Field(default=(), max_length=50)
    """Where it sends requests: `https://api.example.com/v1/`, with methods before it where they
    are not GET and HEAD: `GET,POST https://api.example.com/v1/`. Asks for L3."""

    secrets: tuple[str, ...] = Field(default=(), max_length=50)
    """Names of secrets that the broker puts into its requests; asks for L3."""

    files: tuple[Literal["input", "output"], ...] = Field(default=(), max_length=2)
    """`input`: reads the files that a call is given. `output`: leaves files behind."""

    tools: tuple[str, ...] = Field(default=(), max_length=50)
    """Other tools that it calls; in an admitted version each is pinned, `name@sha256:…`."""

    @property
    def lint_level(self) -> LintLevel:
        """The lowest level that has all of this."""
        wanted = [self.level]
        if self.packages:
            wanted.append(LintLevel.L1)
        if self.imports:
            wanted.append(LintLevel.L2)
        if self.hosts or self.secrets:
            wanted.append(LintLevel.L3)
        return max(wanted)  # the spellings sort in the order of the levels

    def to_json(self) -> JsonObject:
        """All fields as JSON, but for `tools` where there are none.

        Sources without any so keep their digests, which are older than that field.
        """
        fields: JsonObject = self.model_dump(mode="json")
        if not self.tools:
            del fields["tools"]
        return fields

    @property
    def any_beyond_l0(self) -> bool:
        """Whether anything at all was asked for."""
        return self != Permissions()
