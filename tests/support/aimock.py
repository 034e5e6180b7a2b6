"""aimock for tests: a model server from npm that answers from fixtures and keeps a journal.

    server = shared_aimock.serving([
        {"match": {"userMessage": "weather", "turnIndex": 0},
         "response": {"toolCalls": [{"id": "call_1", "name": "get_weather",
                                     "arguments": {"city": "Oslo"}}]}},
        {"match": {"userMessage": "weather", "turnIndex": 1},
         "response": {"content": "It rains."}},
    ])
    model = make_model("gpt-test", api="chat", base_url=server.base_url)
    ...
    assert server.tool_names() == [["get_weather"], ["get_weather"]]

The first fixture whose `match` holds answers. A match may name `userMessage` (part of the last
user message), `turnIndex` (assistant messages in the request so far), `hasToolResult`,
`toolResultContains`, `toolName`, `model`, `sequenceIndex` (the nth time that this fixture
would match). A response has `content`, `toolCalls`, or `error` with `status` and `retryAfter`,
and may have `usage` and `finishReason`. Beside `match` and `response` a fixture may have
`truncateAfterChunks` or `disconnectAfterMs` to drop a stream in the middle.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self, TypeAlias

import pytest

VERSION = "1.43.0"
_PACKAGE = "@copilotkit/aimock"
_CACHE = Path(__file__).resolve().parents[2] / ".cache" / "aimock"
_READY = "listening on "
_START_SECONDS = 180
_INSTALL_SECONDS = 300

Fixture: TypeAlias = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class JournalEntry:
    """One request that the server got."""

    path: str
    status: int
    body: dict[str, Any]

    @property
    def tool_names(self) -> list[str]:
        """Names of the tools that the request offered, in either API's spelling."""
        return [(tool.get("function") or tool)["name"] for tool in self.body.get("tools") or []]


@dataclass(frozen=True, slots=True)
class Aimock:
    """A running server."""

    url: str

    @property
    def base_url(self) -> str:
        """What goes into a client's `base_url`."""
        return f"{self.url}/v1"

    def journal(self) -> list[JournalEntry]:
        """Every request so far, oldest first."""
        return [
            JournalEntry(
                path=entry["path"], status=entry["response"]["status"], body=entry["body"] or {}
            )
            for entry in self._control("GET", "journal")
        ]

    def tool_names(self) -> list[list[str]]:
        """For each request so far, the names of its tools."""
        return [entry.tool_names for entry in self.journal()]

    def add(self, *fixtures: Fixture) -> None:
        """Add fixtures behind those that are there."""
        self._control("POST", "fixtures", {"fixtures": list(fixtures)})

    def fail_next(self, status: int, message: str, *, code: str | None = None) -> None:
        """Answer the next request, whatever it is, with this error."""
        body = {"message": message, "type": "error"} | ({"code": code} if code else {})
        self._control("POST", "error", {"status": status, "body": body})

    def serving(self, fixtures: Sequence[Fixture]) -> Self:
        """The server with these fixtures alone, and nothing in its journal."""
        self._control("POST", "reset")
        self.add(*fixtures)
        return self

    def _control(self, method: str, path: str, body: object = None) -> Any:
        request = urllib.request.Request(  # noqa: S310 - our own server on loopback
            f"{self.url}/__aimock/{path}",
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Content-Type": "application/json"},
        )
        try:
            with urllib.request.urlopen(request, timeout=60) as response:  # noqa: S310 - same
                return json.load(response)
        except urllib.error.HTTPError as error:
            with error:
                pytest.fail(f"aimock refused {method} {path}: {error.read().decode()}")


@contextmanager
def aimock_process(fixtures: Sequence[Fixture] = ()) -> Iterator[Aimock]:
    """Run a server with these fixtures, which may be broken: it checks those that are added."""
    command = _command()
    with tempfile.TemporaryDirectory(prefix="aimock-") as folder:
        file = Path(folder) / "fixtures.json"
        file.write_text(json.dumps({"fixtures": list(fixtures)}), encoding="utf-8")
        log = Path(folder) / "log"
        # A file, not a pipe: the server would stop once a pipe that nobody reads is full.
        with log.open("w", encoding="utf-8") as output:
            process = subprocess.Popen(
                [*command, "--port", "0", "--fixtures", str(file)],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        try:
            yield Aimock(url=_address(process, log))
        finally:
            process.kill()
            process.wait(timeout=_START_SECONDS)


@pytest.fixture(scope="session")
def shared_aimock() -> Iterator[Aimock]:
    """One server for all tests; `Aimock.serving` makes it a test's own."""
    with aimock_process() as running:
        yield running


def _address(process: subprocess.Popen[bytes], log: Path) -> str:
    """Wait for the line that names the port, which the server prints once it accepts."""
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        _, _, address = log.read_text(encoding="utf-8").partition(_READY)
        if "\n" in address:
            return address.partition("\n")[0].strip()
        time.sleep(0.02)
    said = log.read_text(encoding="utf-8")
    pytest.fail(f"aimock did not begin to listen; it said:\n{said}", pytrace=False)


def _command() -> list[str]:
    """The server's command line up to its options, installed if need be."""
    # Node may come from a wheel, beside this interpreter; that one is known to be new enough.
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
    node, npm = shutil.which("node", path=path), shutil.which("npm", path=path)
    if node is None or npm is None:
        reason = "aimock needs node (20.15 or newer) and npm on PATH; install Node.js"
        if os.environ.get("CI") == "true":
            pytest.fail(reason, pytrace=False)
        pytest.skip(reason)
    package = _CACHE / "node_modules" / _PACKAGE
    _CACHE.mkdir(parents=True, exist_ok=True)
    # Tests run in several processes; the first installs, the others wait for it.
    with (_CACHE / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if _installed_version(package) != VERSION:
            _install(npm, path)
    return [node, str(package / "dist" / "cli.js")]


def _installed_version(package: Path) -> str | None:
    try:
        manifest = json.loads((package / "package.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return str(manifest.get("version"))


def _install(npm: str, path: str) -> None:
    done = subprocess.run(
        [npm, "install", "--prefix", str(_CACHE), "--no-audit", "--no-fund", "--ignore-scripts",
         f"{_PACKAGE}@{VERSION}"],
        capture_output=True, text=True, timeout=_INSTALL_SECONDS, check=False,
        env=os.environ | {"PATH": path},
    )  # fmt: skip
    if done.returncode != 0:
        pytest.fail(f"npm could not install {_PACKAGE}@{VERSION}:\n{done.stderr}", pytrace=False)
