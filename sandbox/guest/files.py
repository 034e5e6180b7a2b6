"""Files of a call: what it was given lies in one folder, what it leaves is taken from another.

A tool that returns leaves everything that lies directly in the output folder; a tool that raises
leaves nothing. The host holds all of it against the ceilings once more.
"""

# ruff: noqa: ANN001, ANN201, ANN204  annotations cost start time; types are plain
# ruff: noqa: PTH101, PTH102, PTH123  so does pathlib

import os
import stat
import sys

from toolkiln_guest.channel import ARTEFACT

INPUT_FOLDER = "/tmp/input"  # noqa: S108  the container's own
OUTPUT_FOLDER = "/tmp/output"  # noqa: S108  same
NAME_CHARACTERS = 100
PLAIN = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-")


class InputRefused(Exception):  # noqa: N818  the name is what the author of a tool reads
    """A file that was handed in could not be put into the container."""


class OutputRefused(Exception):  # noqa: N818  same
    """What lies in the output folder cannot be kept as it is."""


def check_name(name):
    """Refuse what is no plain file name."""
    if type(name) is not str:
        raise TypeError(f"the name of a file is a str, not {type(name).__name__}")
    if not (0 < len(name) <= NAME_CHARACTERS and PLAIN.issuperset(name)) or name[0] in ".-":
        raise OutputRefused(
            f"{name[:60]!r} is no plain file name: use at most {NAME_CHARACTERS} of the letters "
            "A-Z and a-z, digits, '.', '_' and '-', beginning with a letter, a digit or '_', and "
            "no folder"
        )


def listed(names):
    """Some names for a message."""
    shown = ", ".join(sorted(names)[:10])
    return shown + (f" and {len(names) - 10} more" if len(names) > 10 else "") or "none"  # noqa: PLR2004


class Inputs:
    """The files that the call was given."""

    def __init__(self, expected):
        self.expected = set(expected)
        self.names = sorted(expected)
        self.problem = None
        os.mkdir(INPUT_FOLDER, 0o700)
        self.seal_when_whole()

    def take(self, payload):
        """Write one file; runs on the listening thread, so that a problem waits for the tool."""
        end = 1 + payload[0]
        name = payload[1:end].decode()
        path = f"{INPUT_FOLDER}/{name}"
        try:
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            with open(os.open(path, flags, 0o444), "wb") as file:
                file.write(memoryview(payload)[end:])
        except (OSError, MemoryError) as error:
            self.problem = (
                f"the input file {name!r} of {len(payload) - end:,} bytes does not fit into the "
                f"container ({error}): hand in less, or ask whoever keeps the policy to "
                "raise run.tmp_bytes and run.memory_bytes"
            )
        self.expected.discard(name)
        self.seal_when_whole()

    def seal_when_whole(self):
        """Let nothing be added to the folder once everything is there."""
        if not self.expected:
            os.chmod(INPUT_FOLDER, 0o555)  # noqa: S103  all may read what nobody may change

    def check(self):
        """Raise what went wrong while the files were written."""
        if self.problem:
            raise InputRefused(self.problem)

    def input_names(self):
        """The names of the files that this call was given, sorted."""
        self.check()
        return list(self.names)

    def read_input_bytes(self, name):
        """The bytes of the input file `name`."""
        self.check()
        if name not in self.names:
            raise FileNotFoundError(
                f"no input file is named {str(name)[:100]!r}; there are: {listed(self.names)}"
            )
        with open(f"{INPUT_FOLDER}/{name}", "rb") as file:
            return file.read()

    def read_input(self, name):
        """The text of the input file `name`, which must be UTF-8; a byte-order mark is dropped."""
        data = self.read_input_bytes(name)
        try:
            return data.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise ValueError(
                f"the input file {name!r} is not text in UTF-8 ({error.reason} at byte "
                f"{error.start}); read it with read_input_bytes"
            ) from None


class Outputs:
    """The folder whose files are kept."""

    def __init__(self, artefacts, artefact_bytes, send):
        self.artefacts = artefacts
        self.artefact_bytes = artefact_bytes
        self.send = send
        os.mkdir(OUTPUT_FOLDER, 0o700)

    def write_output(self, name, data):
        """Leave `data`, a str or bytes, behind as the file `name`, in place of one before it."""
        check_name(name)
        if isinstance(data, str):
            data = data.encode()
        elif not isinstance(data, (bytes, bytearray, memoryview)):
            raise TypeError(f"write_output takes str or bytes, not {type(data).__name__}")
        if len(data) > self.artefact_bytes:
            raise self.too_large(len(data))
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
        with open(os.open(f"{OUTPUT_FOLDER}/{name}", flags, 0o600), "wb") as file:
            file.write(data)

    def collect(self):
        """Send every file to the host and remove it; all of them fit, or none is sent."""
        folder = self.open_folder()
        try:
            files = []
            try:
                for name in self.listing(folder):
                    files.append((name, self.open_file(name, folder)))  # noqa: PERF401  closed below
                self.check_sizes(files)
                for name, file in files:
                    self.send_file(name, file)
            finally:
                for _, file in files:
                    os.close(file)
            for name, _ in files:
                os.unlink(name, dir_fd=folder)
        finally:
            os.close(folder)

    def open_folder(self):
        """The folder itself, and nothing that was put in its place."""
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            return os.open(OUTPUT_FOLDER, flags)
        except OSError as error:
            raise OutputRefused(
                f"{OUTPUT_FOLDER} is gone or no folder any more ({error.strerror}); "
                "leave the folder as it is and write files into it"
            ) from None

    def listing(self, folder):
        """The names in the folder, no more than are allowed."""
        names = []
        with os.scandir(folder) as entries:
            for entry in entries:
                names.append(entry.name)
                if len(names) > self.artefacts:
                    raise OutputRefused(
                        f"{OUTPUT_FOLDER} holds more than {self.artefacts} files, which is all "
                        "that the policy allows (files.artefacts): write fewer, or join them"
                    )
        names.sort()
        for name in names:
            check_name(name)
        return names

    def open_file(self, name, folder):
        """A descriptor of a regular file, never of what a link names."""
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        try:
            file = os.open(name, flags, dir_fd=folder)
        except OSError as error:
            raise OutputRefused(
                f"{OUTPUT_FOLDER}/{name} is a link or cannot be opened ({error.strerror}): "
                "write a regular file"
            ) from None
        if not stat.S_ISREG(os.fstat(file).st_mode):
            os.close(file)
            raise OutputRefused(
                f"{OUTPUT_FOLDER}/{name} is a folder or no regular file: write regular files "
                f"directly into {OUTPUT_FOLDER}"
            )
        return file

    def check_sizes(self, files):
        """Refuse more bytes than are allowed, before any is read."""
        total = sum(os.fstat(file).st_size for _, file in files)
        if total > self.artefact_bytes:
            raise self.too_large(total)

    def too_large(self, size):
        """What to say of `size` bytes."""
        return OutputRefused(
            f"the output files have {size:,} bytes, where the policy allows "
            f"{self.artefact_bytes:,} (files.artefact_bytes): write less, or compress it"
        )

    def send_file(self, name, file):
        """Send what lies in a file now, and no more than it had when it was checked."""
        left = os.fstat(file).st_size
        parts = [bytes((len(name),)), name.encode()]
        while left > 0 and (piece := os.read(file, left)):
            parts.append(piece)
            left -= len(piece)
        self.send(ARTEFACT, b"".join(parts))


class Service:
    """The guest's side of the grant "files"."""

    def __init__(self, grant, send):
        self.names = {}
        self.inputs = self.outputs = None
        if grant["input"]:
            inputs = self.inputs = Inputs(grant["inputs"])
            self.names["input_names"] = inputs.input_names
            self.names["read_input"] = inputs.read_input
            self.names["read_input_bytes"] = inputs.read_input_bytes
        if grant["output"]:
            outputs = self.outputs = Outputs(grant["artefacts"], grant["artefact_bytes"], send)
            self.names["write_output"] = outputs.write_output

    def receive(self, _kind, payload):
        """A file that was handed in."""
        if self.inputs is not None:
            self.inputs.take(payload)

    def finish(self):
        """Take what the tool leaves, unless it raised."""
        if self.inputs is not None:
            self.inputs.check()
        if self.outputs is not None and sys.exc_info()[0] is None:
            self.outputs.collect()
