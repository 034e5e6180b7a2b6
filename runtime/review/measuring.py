"""What the trials reach, measured when a version is first looked at, and kept."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

from runtime.composition import Composition
from runtime.equipment import Equipment
from runtime.review.coverage import measure_coverage
from runtime.review.parts import Coverage
from sandbox.base import Sandbox
from sandbox.errors import SandboxError
from toolstore.models import ToolVersion

NOT_YET: Final = "not measured yet"
_KEPT: Final = 200


class Measuring:
    """Runs trials once more for their coverage; without a `sandbox` nothing is measured."""

    def __init__(
        self,
        sandbox: Callable[[], Awaitable[Sandbox]] | None,
        equipment: Equipment,
        composition: Composition,
    ) -> None:
        self._sandbox = sandbox
        self._equipment = equipment
        self._composition = composition
        self._kept: dict[str, Coverage | str] = {}

    def known(self, version: ToolVersion) -> Coverage | str:
        """What was measured before, or why there is nothing."""
        return self._kept.get(version.digest, NOT_YET)

    async def measure(self, version: ToolVersion) -> Coverage | str:
        """The coverage, or why it cannot be measured; it does not change, so once is enough."""
        if version.digest in self._kept:
            return self._kept[version.digest]
        if self._sandbox is None:
            return "not measured: no sandbox here"
        try:
            sandbox = await self._sandbox()
            found = await measure_coverage(version, sandbox, self._equipment, self._composition)
        except SandboxError as error:
            return f"not measured: {str(error).partition('. ')[0]}"
        if len(self._kept) >= _KEPT:
            del self._kept[next(iter(self._kept))]
        self._kept[version.digest] = found
        return found
