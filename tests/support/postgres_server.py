"""A PostgreSQL server of the tests' own: Debian's programs, a free loopback port, no durability."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Final
from urllib.parse import quote

import psycopg
import pytest

from toolstore.index import database_at

PASSWORD: Final = "p%ss/wörd:@1"
"""Awkward on purpose: it must pass through URLs, and never into a message."""

_START_SECONDS: Final = 180
_PORTS: Final = 5
"""So many are tried: between the search for a free one and the start, others may take it."""

_SETTINGS: Final = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "fsync": "off",
    "full_page_writes": "off",
    "synchronous_commit": "off",  # what the store asks for must not depend on it
    "max_connections": "300",
    "shared_buffers": "64MB",
    "autovacuum": "off",
}


class PostgresServer:
    """One server in a temporary folder; each store gets a database of its own."""

    def __init__(self, programs: Path, folder: Path, **settings: str) -> None:
        self._programs = programs
        self._data = folder / "data"
        self._settings = {**_SETTINGS, **settings}
        self._numbers = count(1)
        self._template: str | None = None
        self._has_answered = False
        self._process: subprocess.Popen[bytes] | None = None
        # The server refuses to run as root.
        self._as_user = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"]
        if os.getuid() == 0:
            shutil.chown(folder, "postgres", "postgres")
        else:
            self._as_user = ["setpriv"]
        self.port = _free_port()

    def make(self) -> None:
        """Make the cluster, sorted as people sort, which is not how the store does."""
        with tempfile.NamedTemporaryFile("w", suffix=".password") as password:
            password.write(PASSWORD)
            password.flush()
            if os.getuid() == 0:
                shutil.chown(password.name, "postgres")
            subprocess.run(
                [
                    *self._as_user,
                    self._programs / "initdb",
                    f"--pgdata={self._data}",
                    "--username=keeper",
                    f"--pwfile={password.name}",
                    "--auth=scram-sha-256",
                    "--encoding=UTF8",
                    "--locale=C.UTF-8",
                    "--locale-provider=icu",
                    "--icu-locale=en-US",
                    "--no-sync",
                ],
                check=True,
                capture_output=True,
                cwd="/",
            )

    def start(self) -> None:
        """Start it and wait until it answers; it ends with this process, however that ends.

        A server that has answered once keeps its port, which is in the URLs of its stores.
        """
        for _ in range(1 if self._has_answered else _PORTS):
            if self._starts():
                self._has_answered = True
                return
            self.stop(signal.SIGQUIT)
            if not self._has_answered:
                self.port = _free_port()
        log = (self._data.parent / "log").read_text(errors="replace")
        raise OSError(f"the server did not start: {log[-2000:]}")

    def _starts(self) -> bool:
        """Whether it has started, and not another one answers in its place."""
        options = [f"--{name}={value}" for name, value in self._settings.items()]
        with (self._data.parent / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [
                    *self._as_user,
                    "--pdeathsig=INT",
                    self._programs / "postgres",
                    "-D",
                    self._data,
                    f"--port={self.port}",
                    *options,
                ],
                stdout=log,
                stderr=log,
                cwd="/",
            )
        deadline = time.monotonic() + _START_SECONDS
        while time.monotonic() < deadline and self._process.poll() is None:
            with (
                contextlib.suppress(psycopg.OperationalError),
                psycopg.connect(self.url("postgres")) as connection,
            ):
                row = connection.execute("SHOW data_directory").fetchone()
                return row == (str(self._data),)
            time.sleep(0.05)
        return False

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """End it: SIGINT in order, SIGQUIT as in a power cut of its processes."""
        if self._process is not None:
            self._process.send_signal(how)
            self._process.wait(_START_SECONDS)
            self._process = None

    @contextmanager
    def standing_still(self) -> Iterator[None]:
        """Its processes are stopped: the kernel goes on acknowledging what comes."""
        assert self._process is not None
        first = self._process.pid
        listed = Path(f"/proc/{first}/task/{first}/children").read_text(encoding="ascii")
        pids = [first, *map(int, listed.split())]
        try:
            for pid in pids:
                os.kill(pid, signal.SIGSTOP)
            yield
        finally:
            for pid in pids:
                os.kill(pid, signal.SIGCONT)

    def url(self, database: str, *, user: str = "keeper", password: str = PASSWORD) -> str:
        """The URL of a database on it."""
        return f"postgresql://{user}:{quote(password, safe='')}@127.0.0.1:{self.port}/{database}"

    def new_database(self, template: str = "template1") -> str:
        """The URL of an empty database."""
        name = f"store_{next(self._numbers)}"
        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name} TEMPLATE {template}".encode())
        return self.url(name)

    def new_store(self) -> str:
        """The URL of a store without tools; it was made once, and is copied since."""
        if self._template is None:
            self._template = self.new_database()
            database_at(self._template).prepare()
        return self.new_database(self._template.rpartition("/")[2])


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port


def find_programs() -> Path | None:
    """Where Debian, or the path, has the server's programs; the latest first."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda p: int(p.parts[-2]))
    if found:
        return found[-1]
    beside = shutil.which("initdb")
    return Path(beside).parent if beside else None


@pytest.fixture(scope="session")
def postgres_server(request: pytest.FixtureRequest) -> Iterator[PostgresServer]:
    """A running server; a skip for a person who has none, a failure in CI."""
    programs = find_programs()
    if programs is None:
        reason = "no PostgreSQL server is installed (Debian: apt-get install postgresql)"
        if os.environ.get("CI") == "true" or request.config.getoption("--require-docker"):
            pytest.fail(reason, pytrace=False)
        pytest.skip(reason)
    with tempfile.TemporaryDirectory(prefix="toolkiln-postgres-") as folder:
        server = PostgresServer(programs, Path(folder))
        server.make()
        server.start()
        yield server
        server.stop(signal.SIGQUIT)  # nobody needs its last checkpoint


@pytest.fixture
def empty_url(postgres_server: PostgresServer) -> str:
    """An empty database of its own."""
    return postgres_server.new_database()


@pytest.fixture
def postgres_url(postgres_server: PostgresServer) -> str:
    """A store of its own, without tools."""
    return postgres_server.new_store()
