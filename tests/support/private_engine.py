"""An engine of the tests' own, which they may restart, kill, fill up and end.

It lives in namespaces of its own for mounts and network: its disk is a file system in memory
that goes with its last process, and no address, bridge or rule of this host changes. Its
containers are ordinary children of this host's kernel, with the numbers and groups that the
host sees. Needs root, and the programs of an engine.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pytest
from docker_fixtures import must_have_engine

from sandbox.engine import Engine
from sandbox.images import ensure_image
from sandbox.janitor import ask

_PROGRAMS = ("dockerd", "containerd", "unshare", "nsenter", "mount")
_DISK_MEGABYTES = 400
_SECONDS = 180.0
"""Against hangs: on a machine that has just been installed the programs come from a cold disk."""

_KEEPER = """
set -e
mount -t tmpfs -o size={disk}m,mode=711 tmpfs {data}
mkdir -p /run/containerd
mount -t tmpfs -o size=8m,mode=711 tmpfs /run/containerd
echo ready
read -r done && exit
sleep 8
kill -KILL $(cat {folder}/*.pid)
umount --lazy {data}
rm -rf {folder}
"""
"""Holds the namespaces; the sockets of containerd's shims have one fixed folder for all.

Where the tests end without a word, it gives their watchers time and ends the engine.
"""


class PrivateEngine:
    """One engine, `dockerd` and `containerd`; blocking, to be called from a thread."""

    def __init__(self) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="tk-engine-"))
        self._folder.chmod(0o711)
        self._data = self._folder / "data"
        self._data.mkdir()
        self.socket = self._folder / "s"
        self.url = f"unix://{self.socket}"
        self._keeper = self._keep()
        self._containerd: subprocess.Popen[bytes] | None = None
        self._dockerd: subprocess.Popen[bytes] | None = None

    def _keep(self) -> subprocess.Popen[bytes]:
        script = _KEEPER.format(disk=_DISK_MEGABYTES, data=self._data, folder=self._folder)
        keeper = subprocess.Popen(
            ["unshare", "--mount", "--net", "--propagation", "private", "sh", "-c", script],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
        )
        assert keeper.stdout is not None
        if keeper.stdout.readline() != b"ready\n":
            keeper.wait()
            raise OSError("this user may not make namespaces")
        return keeper

    def _inside(self, *command: str) -> subprocess.Popen[bytes]:
        """Start a program in the engine's namespaces."""
        enter = ("nsenter", "--target", str(self._keeper.pid), "--mount", "--net", "--")
        with (self._folder / "log").open("ab") as log:
            return subprocess.Popen(
                [*enter, *command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    @property
    def log(self) -> str:
        """The last words of both programs."""
        return (self._folder / "log").read_text(encoding="utf-8", errors="replace")[-2000:]

    @property
    def runs(self) -> bool:
        """Whether `dockerd` does."""
        return self._dockerd is not None

    def start(self) -> None:
        """Start what does not run, and wait until it answers."""
        control = self._folder / "c"
        if self._containerd is None:
            self._containerd = self._inside(
                "containerd",
                f"--root={self._data}/containerd",
                f"--state={self._folder}/containerd",
                f"--address={control}",
                "--log-level=error",
            )
            (self._folder / "containerd.pid").write_text(f"{self._containerd.pid}\n")
            self._wait(lambda: _answers(control))
        config = self._folder / "daemon.json"
        config.write_text("{}", encoding="ascii")
        self._dockerd = self._inside(
            "dockerd",
            f"--config-file={config}",
            f"--containerd={control}",
            f"--data-root={self._data}/docker",
            f"--exec-root={self._folder}/exec",
            f"--pidfile={self._folder}/dockerd.pid",
            f"--host={self.url}",
            "--bridge=none",
            "--iptables=false",
            "--ip-forward=false",
            "--log-level=error",
        )
        self._wait(self._pings)

    def _wait(self, condition: Callable[[], bool]) -> None:
        end = time.monotonic() + _SECONDS
        while not condition():
            running = [self._containerd, self._dockerd]
            if time.monotonic() > end or any(p and p.poll() is not None for p in running):
                raise OSError(f"a private engine did not come up: {self.log}")
            time.sleep(0.02)

    def _pings(self) -> bool:
        try:
            return ask(self.url, "GET", "/_ping") == b"OK"
        except OSError:
            return False

    def stop(self, how: signal.Signals = signal.SIGTERM) -> None:
        """End `dockerd` alone, as a restart of its service does."""
        process, self._dockerd = self._dockerd, None
        if process is not None:
            process.send_signal(how)
            process.wait(_SECONDS)

    def restart(self, how: signal.Signals = signal.SIGTERM) -> None:
        """End it in that way and start it again."""
        self.stop(how)
        self.start()

    def pause(self) -> None:
        """`dockerd` takes no step more, as one that hangs."""
        assert self._dockerd is not None
        self._dockerd.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """It goes on."""
        assert self._dockerd is not None
        self._dockerd.send_signal(signal.SIGCONT)

    def post(self, path: str) -> bytes:
        """One request that changes something, as another client of the engine would send it."""
        return ask(self.url, "POST", path)

    def containers(self) -> set[str]:
        """Ids of all containers that it has on its disk, the ended ones included."""
        folder = self._inner(self._data / "docker" / "containers")
        return {entry.name for entry in folder.iterdir()} if folder.is_dir() else set()

    def _inner(self, path: Path) -> Path:
        """A path in the engine's namespace, as this process reaches it."""
        return Path(f"/proc/{self._keeper.pid}/root") / path.relative_to("/")

    def fill_disk(self) -> None:
        """Leave no byte on it."""
        with (
            self._inner(self._data / "filler").open("ab", buffering=0) as file,
            contextlib.suppress(OSError),
        ):
            for size in (1 << 20, 1 << 12):
                with contextlib.suppress(OSError):
                    while True:
                        file.write(bytes(size))

    def free_disk(self) -> None:
        """Take that back."""
        self._inner(self._data / "filler").unlink(missing_ok=True)

    def processes(self) -> set[int]:
        """Everything that lives in its mount namespace: both programs and their shims."""
        own = _mounts(self._keeper.pid)
        pids = (int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit())
        return {pid for pid in pids if _mounts(pid) == own} - {self._keeper.pid}

    def guests(self) -> set[int]:
        """Everything that lives in its containers, by its numbers on this host."""
        found: set[int] = set()
        for group in self._groups():
            with contextlib.suppress(OSError):  # it has ended meanwhile
                found.update(map(int, (group / "cgroup.procs").read_text().split()))
        return found

    def close(self) -> None:
        """End all of it: containers, programs, mounts, folders."""
        try:
            for container in self.containers():
                with contextlib.suppress(OSError):
                    ask(self.url, "DELETE", f"/containers/{container}?force=1")
            _kill_all(self.guests())
            self.stop()
            _kill_all(self.processes())
            if self._containerd is not None:
                self._containerd.wait(_SECONDS)
            for group in self._groups():
                with contextlib.suppress(OSError):
                    group.rmdir()
        finally:
            self._keeper.communicate(b"done\n")
            shutil.rmtree(self._folder)

    def _groups(self) -> Iterator[Path]:
        for container in self.containers():
            for pattern in ("*/docker/{}", "docker/{}", "system.slice/docker-{}.scope"):
                yield from Path("/sys/fs/cgroup").glob(pattern.format(container))


def _answers(address: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as door:
        return door.connect_ex(str(address)) == 0


def _mounts(pid: int) -> str:
    try:
        return str(Path(f"/proc/{pid}/ns/mnt").readlink())
    except OSError:
        return f"none of {pid}"


def _kill_all(numbers: Iterable[int]) -> None:
    """End processes by number, and wait until they are gone."""
    for pid in numbers:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    end = time.monotonic() + _SECONDS
    while any(_lives(pid) for pid in numbers) and time.monotonic() < end:
        time.sleep(0.01)


def _lives(pid: int) -> bool:
    try:
        status = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace")
    except OSError:
        return False
    return status.rpartition(")")[2].split()[0] != "Z"


def _obstacle() -> str | None:
    """Why there can be no private engine here."""
    if os.geteuid() != 0:
        return "this user is not root"
    missing = [name for name in _PROGRAMS if shutil.which(name) is None]
    return f"not installed: {', '.join(missing)}" if missing else None


@pytest.fixture(scope="module")
def private_engine(pytestconfig: pytest.Config, image_state: Path) -> Iterator[PrivateEngine]:
    """A private engine with the guest image in it, for one module."""
    if obstacle := _obstacle():
        words = f"a private engine cannot be started: {obstacle}"
        if must_have_engine(pytestconfig):
            pytest.fail(words, pytrace=False)
        pytest.skip(words)
    private = PrivateEngine()
    try:
        private.start()
        asyncio.run(_load_image(private.url, image_state))
        yield private
    finally:
        private.close()


async def _load_image(url: str, image_state: Path) -> str:
    engine = await Engine.connect(url)
    try:
        return await ensure_image(engine, image_state, progress=print)
    finally:
        await engine.close()
