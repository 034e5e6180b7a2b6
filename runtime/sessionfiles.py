"""Files of one session: what the person attached, and what its calls left behind.

A tool that reads files is given all of them. What would not fit into a call is not held at all,
so that a session which makes many files goes on: the oldest that its calls left make room.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from policies.config import FileSettings
from runtime.outcome import describe_file
from sandbox.artefacts import Artefact
from sandbox.files import check_inputs

__all__ = ["SessionFiles"]


class SessionFiles:
    """Files by name; of two with one name the later."""

    def __init__(self, settings: FileSettings) -> None:
        """Hold what one call under `settings` may be given."""
        self._settings = settings
        self._attached: dict[str, Artefact] = {}
        self._made: dict[str, Artefact] = {}
        self._untold: list[Artefact] = []

    def attach(self, files: Mapping[str, bytes]) -> None:
        """Take files of the person; the model is told with the next prompt.

        Raises:
            FilesRefusedError: The policy grants no tool to read files, or not these.
        """
        check_inputs({**self._attached_bytes(), **files}, self._settings)
        for name, data in files.items():
            artefact = Artefact.of(name, data)
            self._attached[name] = artefact
            self._made.pop(name, None)
            self._untold.append(artefact)
        self._make_room()

    def add(self, artefacts: Iterable[Artefact]) -> None:
        """Take what a call left behind."""
        for artefact in artefacts:
            self._made.pop(artefact.name, None)  # the latest stands last
            self._made[artefact.name] = artefact
        self._make_room()

    def current(self) -> dict[str, bytes]:
        """What a tool that reads files is given now."""
        made = {name: artefact.data for name, artefact in self._made.items()}
        return {**self._attached_bytes(), **made}

    def announcement(self) -> str:
        """What the model is to be told of newly attached files, once; empty where there are none.

        The names are plain, so nothing in it can be taken for something else.
        """
        untold, self._untold = self._untold, []
        if not untold:
            return ""
        return "\n".join(
            [
                "Attached files; tools that read files are given them by name:",
                *(f"- {describe_file(artefact)}" for artefact in untold),
            ]
        )

    def _attached_bytes(self) -> dict[str, bytes]:
        return {name: artefact.data for name, artefact in self._attached.items()}

    def _make_room(self) -> None:
        while self._made and sum(map(len, self.current().values())) > self._settings.input_bytes:
            del self._made[next(iter(self._made))]
