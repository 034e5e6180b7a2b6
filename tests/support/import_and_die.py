"""A program that imports a bundle and is killed when the version is in and the file is not.

`python import_and_die.py FOLDER BUNDLE`: FOLDER is that of an `Exporter`.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

from exporters import Exporter

from runtime.importing import take_in
from runtime.outcome import DefinitionOutcome


async def main(folder: Path, content: bytes) -> None:
    """Import, as far as it goes."""
    importer = Exporter(folder)
    async with await importer.open() as store:

        async def define(_source: object) -> DefinitionOutcome:
            outcome = DefinitionOutcome.stored(await importer.submit(store))
            os.kill(os.getpid(), signal.SIGKILL)
            return outcome

        await take_in(store, content, define, actor="zoe")


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), Path(sys.argv[2]).read_bytes()))
