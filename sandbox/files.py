"""Files of a call: handed in read-only, and what it leaves behind taken in within ceilings.

What arrives is the word of a guest, so everything that the guest's side should have seen to
(names, number, size) is held against the ceilings once more.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from policies.config import FileSettings
from policies.filenames import MAX_FILE_NAME_CHARACTERS, file_name_problem
from policies.value import JsonObject
from sandbox.artefacts import Artefact
from sandbox.frames import Frame, FrameError, Kind
from sandbox.services import SendFrame

__all__ = ["FileService", "FilesRefusedError", "check_inputs"]

_HEADER_BYTES: Final = 1 + MAX_FILE_NAME_CHARACTERS


class FilesRefusedError(ValueError):
    """Files cannot be handed into a call; says which, and what is allowed."""


def check_inputs(inputs: Mapping[str, bytes], settings: FileSettings) -> None:
    """Hold files that are to be handed in against the ceilings of the policy.

    Raises:
        FilesRefusedError: There may be none, a name is not plain, or together they are too large.
    """
    if inputs and not settings.input:
        raise FilesRefusedError("the policy grants no tool to read files (files.input)")
    for name in inputs:
        if problem := file_name_problem(name):
            raise FilesRefusedError(f"input file: {problem}")
    total = sum(map(len, inputs.values()))
    if total > settings.input_bytes:
        raise FilesRefusedError(
            f"the input files have {total:,} bytes, where the policy allows "
            f"{settings.input_bytes:,} (files.input_bytes); hand in fewer or smaller files"
        )


class FileService:
    """The service "files" of one call, or of one batch of calls.

    Inputs that were not declared are not handed in; outputs that were not declared are refused.
    """

    name = "files"

    def __init__(
        self,
        inputs: Mapping[str, bytes],
        settings: FileSettings,
        *,
        declared: Iterable[str] = ("input", "output"),
        calls: int = 1,
        keep: bool = True,
    ) -> None:
        """Take what is handed in and what may come out.

        Args:
            inputs: Bytes by name.
            settings: The ceilings, each for one call.
            declared: `permissions.files`; what the policy does not grant is left out of it.
            calls: How many calls share the service.
            keep: False counts and checks what comes out without keeping its bytes.

        Raises:
            FilesRefusedError: `inputs` do not fit into the ceilings.
        """
        wanted = frozenset(declared)
        self._input = settings.input and "input" in wanted
        self._output = settings.output and "output" in wanted
        self._inputs = dict(inputs) if self._input else {}
        check_inputs(self._inputs, settings)
        self._settings = settings
        self._left = settings.artefacts * calls
        self._left_bytes = settings.artefact_bytes * calls
        self._single = calls == 1
        self._keep = keep
        self._artefacts: dict[str, Artefact] = {}

    @property
    def artefacts(self) -> tuple[Artefact, ...]:
        """What was left behind so far; of a batch, the latest of each name."""
        return tuple(self._artefacts.values())

    @property
    def kinds(self) -> Mapping[Kind, int]:
        """Artefacts, each no larger than all together may be."""
        if not self._output:
            return {}
        return {Kind.ARTEFACT: _HEADER_BYTES + self._settings.artefact_bytes}

    def begin(self, send: SendFrame) -> JsonObject:
        """Hand in the files; the guest is told their names and the ceilings."""
        for name, data in self._inputs.items():
            send(Kind.INPUT, bytes((len(name),)) + name.encode() + data)
        return {
            "input": self._input,
            "inputs": list(self._inputs),
            "output": self._output,
            "artefacts": self._settings.artefacts,
            "artefact_bytes": self._settings.artefact_bytes,
        }

    def receive(self, frame: Frame) -> None:
        """Take a file that the call leaves behind.

        Raises:
            FrameError: It is not what the guest's side would send.
        """
        name, data = _parse(frame.payload)
        if self._single and name in self._artefacts:
            raise FrameError(f"two artefacts named {name!r}")
        self._left -= 1
        self._left_bytes -= len(data)
        if self._left < 0:
            raise FrameError(f"more than {self._settings.artefacts} artefacts of a call")
        if self._left_bytes < 0:
            raise FrameError(
                f"artefacts of more than {self._settings.artefact_bytes} bytes of a call"
            )
        if self._keep:
            self._artefacts[name] = Artefact.of(name, data)

    async def end(self) -> None:
        """Nothing goes on by itself."""


def _parse(payload: bytes) -> tuple[str, bytes]:
    if not payload or len(payload) < 1 + payload[0]:
        raise FrameError("an artefact without a whole name")
    end = 1 + payload[0]
    name = payload[1:end].decode("ascii", "replace")
    if problem := file_name_problem(name):
        raise FrameError(f"an artefact: {problem}")
    return name, payload[end:]
