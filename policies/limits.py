"""Ceilings: for the text of a tool, and for one run of it. There is no way to write "unlimited"."""

from __future__ import annotations

from typing import Final

from pydantic import Field

from policies.value import Value

MIB: Final = 1024 * 1024


class SourceLimits(Value):
    """Ceilings for the text of a proposed tool, checked before anything parses it.

    The defaults cover every compile bomb that was measured (nested comprehensions, nested
    `finally`, long operator chains, huge literals) and the widths that hide code in review.
    """

    code_bytes: int = Field(default=64_000, gt=0, le=256_000)
    lines: int = Field(default=2_000, gt=0, le=10_000)
    line_characters: int = Field(default=300, gt=0, le=2_000)
    description_characters: int = Field(default=1_024, gt=0, le=4_096)
    examples: int = Field(default=50, ge=1, le=200)
    example_bytes: int = Field(default=64_000, gt=0, le=1_000_000)
    """Of one example, as JSON."""

    all_examples_bytes: int = Field(default=256_000, gt=0, le=4_000_000)
    tree_depth: int = Field(default=60, gt=0, le=100)
    tree_nodes: int = Field(default=20_000, gt=0, le=100_000)
    comprehension_depth: int = Field(default=6, gt=0, le=10)
    try_depth: int = Field(default=8, gt=0, le=10)


class ResourceLimits(Value):
    """Ceilings for one run of a program in the sandbox."""

    wall_seconds: float = Field(default=10.0, gt=0, le=600)
    memory_bytes: int = Field(default=128 * MIB, ge=16 * MIB, le=8192 * MIB)
    """Memory and swap together, file systems in memory included."""

    pids: int = Field(default=48, ge=1, le=1024)
    """Processes and threads together."""

    cpus: float = Field(default=1.0, gt=0, le=64)
    tmp_bytes: int = Field(default=16 * MIB, ge=4096, le=1024 * MIB)
    tmp_files: int = Field(default=512, ge=8, le=100_000)
    file_bytes: int = Field(default=16 * MIB, ge=4096, le=1024 * MIB)
    open_files: int = Field(default=128, ge=16, le=4096)
    output_bytes: int = Field(default=64 * 1024, ge=0, le=16 * MIB)
    """What the program prints, kept for people; beyond it the run is stopped."""

    result_bytes: int = Field(default=1 * MIB, ge=64, le=16 * MIB)
    """The value that it returns, as JSON."""
