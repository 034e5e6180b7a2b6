"""The adapter and the sandbox where the engine is slow, gone, interrupted or left alone."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from scenes import eventually, janitors

from policies.limits import ResourceLimits
from policies.permissions import LintLevel
from policies.value import JsonObject
from sandbox.base import CallOptions, Outcome, Program
from sandbox.container import GuestContainer, attached
from sandbox.conversation import Conversation, greet, program_frame
from sandbox.deadlines import Deadlines
from sandbox.docker_sandbox import DockerSandbox, open_docker_sandbox
from sandbox.engine import Engine, EngineError
from sandbox.errors import ImageError, SandboxLostError, SandboxUnavailableError
from sandbox.frames import Kind, encode_frame
from sandbox.hardening import container_options
from sandbox.identity import OWNER_LABEL, PROCESS_LABEL, ProcessIdentity, new_owner, owner_labels
from sandbox.reaper import Janitor, reap_orphans

ADD = Program(code="def f(a):\n    return a + 1\n", function="f", level=LintLevel.L2)
SLEEP = Program(
    code="import time\ndef f():\n    time.sleep(60)\n", function="f", level=LintLevel.L2
)


def silent(_line: str) -> None:
    """Nobody watches."""


def options(owner: str, image: str) -> JsonObject:
    return container_options(
        level=LintLevel.L2, limits=ResourceLimits(), image=image, labels={OWNER_LABEL: owner}
    )


async def owned(engine: Engine, owner: str) -> int:
    return len(await engine.list_by_label(f"{OWNER_LABEL}={owner}"))


def held_by(pid: int) -> set[Path]:
    held = set()
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # closed meanwhile
            held.add(entry.readlink())
    return held


def alive(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


def running(pid: int) -> bool:
    """Whether it is there and more than the memory of a process."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8")
    except OSError:
        return False
    return status.rpartition(")")[2].split()[0] != "Z"


# --- the engine is not there, or not any more


async def test_no_engine_means_that_nothing_ran(tmp_path: Path) -> None:
    with pytest.raises(SandboxUnavailableError, match="nothing listens there") as caught:
        await open_docker_sandbox(
            state_dir=tmp_path, docker_host=f"unix://{tmp_path}/none.sock", progress=silent
        )

    assert caught.value.retry_safe


async def test_an_address_that_cannot_be_used_is_named() -> None:
    with pytest.raises(EngineError, match="expected unix:///path/to/socket"):
        await Engine.connect("ssh://somebody@somewhere")


async def test_a_missing_image_means_that_nothing_ran(engine: Engine, owner: str) -> None:
    async with DockerSandbox(engine, image_digest=f"sha256:{'0' * 64}", owner=owner) as sandbox:
        with pytest.raises(ImageError, match="No tool code was run"):
            await sandbox.run(ADD, {"a": 1})


async def test_a_closed_sandbox_runs_nothing(sandbox: DockerSandbox) -> None:
    await sandbox.close()

    with pytest.raises(SandboxUnavailableError, match="closed"):
        await sandbox.run(ADD, {"a": 1})


class Relay:
    """Stands between a client and the engine, and can be cut."""

    def __init__(self, path: Path, target: Path) -> None:
        self.path = path
        self._target = target
        self._server: asyncio.Server | None = None
        self._writers: list[asyncio.StreamWriter] = []
        self._copies: set[asyncio.Task[None]] = set()

    async def open(self) -> None:
        self._server = await asyncio.start_unix_server(self._serve, self.path)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        other_reader, other_writer = await asyncio.open_unix_connection(self._target)
        self._writers += [writer, other_writer]
        for source, sink in ((reader, other_writer), (other_reader, writer)):
            task = asyncio.create_task(self._copy(source, sink))
            self._copies.add(task)
            task.add_done_callback(self._copies.discard)

    async def _copy(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await source.read(65536):
                sink.write(data)
                await sink.drain()
        sink.close()

    async def cut(self) -> None:
        if self._server is not None:
            self._server.close()
        self.path.unlink(missing_ok=True)
        for writer in self._writers:
            writer.close()
        for copy in list(self._copies):
            copy.cancel()
        await asyncio.gather(*self._copies, return_exceptions=True)


@pytest.fixture
async def relay(engine: Engine, tmp_path: Path) -> AsyncIterator[Relay]:
    assert engine.socket_path is not None
    relay = Relay(tmp_path / "engine.sock", engine.socket_path)
    await relay.open()
    yield relay
    await relay.cut()


async def test_an_engine_lost_in_mid_call_is_said_so(
    relay: Relay, engine: Engine, owner: str, image_digest: str
) -> None:
    behind = await Engine.connect(f"unix://{relay.path}")
    guest = await GuestContainer.create(
        behind, lambda _: options(owner, image_digest), attached(SLEEP.limits)
    )
    try:
        await guest.start()
        await greet(behind, guest)
        deadlines = Deadlines()
        talk = Conversation(behind, guest, SLEEP, CallOptions(), deadlines=deadlines)
        running = asyncio.create_task(talk.hold([b"{}"]))
        await asyncio.sleep(0.2)
        await relay.cut()

        with pytest.raises(SandboxLostError, match="is unknown") as caught:
            await running

        assert not caught.value.retry_safe
    finally:
        guest.channel.close()
        deadlines.close()
        await behind.close()
        await engine.remove(guest.id)


# --- interruptions


async def test_cancelling_at_any_moment_leaves_nothing(
    sandbox: DockerSandbox, engine: Engine, owner: str
) -> None:
    async def interrupted(after: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(after):
                await sandbox.run(SLEEP, {})

    async with asyncio.TaskGroup() as tasks:
        for step in range(16):
            tasks.create_task(interrupted(0.004 * step * step))

    await sandbox.pool.close()
    assert await owned(engine, owner) == 0


async def test_cancelling_while_a_container_is_made_removes_it(
    engine: Engine, owner: str, image_digest: str
) -> None:
    async def interrupted(after: float) -> None:
        making = asyncio.create_task(
            engine.create(options(owner, image_digest), name=f"toolkiln-{new_owner()}")
        )
        await asyncio.sleep(after)
        making.cancel()
        try:
            container = await making
        except asyncio.CancelledError:
            return
        await engine.remove(container)

    async with asyncio.TaskGroup() as tasks:
        for step in range(12):
            tasks.create_task(interrupted(0.003 * step))

    assert await owned(engine, owner) == 0


async def test_a_reader_that_stopped_does_not_keep_a_container_alive(
    engine: Engine, owner: str, image_digest: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sandbox.container._REMOVE_SECONDS", 1.0)  # the first try cannot succeed
    code = "import os\ndef f():\n    while True: os.write(1, b'x' * 65536)\n"
    program = Program(code=code, function="f", level=LintLevel.L2)
    channel = attached(program.limits)
    guest = await GuestContainer.create(engine, lambda _: options(owner, image_digest), channel)
    try:
        await guest.start()
        await greet(engine, guest)
        channel.stop_listening()
        channel.send(program_frame(program, 1) + encode_frame(Kind.ARGUMENTS, 1, b"{}"))
        await asyncio.sleep(0.5)
        pid = (await engine.inspect(guest.id)).pid

        await guest.kill()

        assert not running(pid)
    finally:
        await guest.dispose()


async def test_a_storm_of_short_runs_leaves_nothing(
    sandbox: DockerSandbox, engine: Engine, owner: str
) -> None:
    async with asyncio.TaskGroup() as tasks:
        runs = [tasks.create_task(sandbox.run(ADD, {"a": number})) for number in range(12)]

    assert [run.result().value for run in runs] == list(range(1, 13))
    await sandbox.pool.close()
    assert await owned(engine, owner) == 0


async def test_closing_destroys_what_still_runs(engine: Engine, image_digest: str) -> None:
    owner = new_owner()
    sandbox = DockerSandbox(engine, image_digest=image_digest, owner=owner)
    running = asyncio.create_task(sandbox.run(SLEEP, {}))
    while await owned(engine, owner) == 0:  # noqa: ASYNC110  no event tells
        await asyncio.sleep(0.01)

    await sandbox.close()

    with pytest.raises((SandboxLostError, SandboxUnavailableError)):
        await running
    assert await owned(engine, owner) == 0


# --- residue


async def test_no_call_sees_what_another_left(sandbox: DockerSandbox) -> None:
    code = (
        "import builtins, os, socket, sys, time\n"
        "def f():\n"
        "    pids = [p for p in os.listdir('/proc') if p.isdigit()]\n"
        "    seen = [os.listdir('/tmp'), dict(os.environ), sorted(pids, key=int),\n"
        "            getattr(builtins, 'mark', None), 'mark' in sys.modules]\n"
        "    open('/tmp/mark', 'w').close()\n"
        "    os.environ['MARK'] = '1'\n"
        "    builtins.mark = sys.modules['mark'] = 1\n"
        "    socket.socketpair()[0].set_inheritable(True)\n"
        "    if os.fork() == 0:\n"
        "        time.sleep(60)\n"
        "    return seen\n"
    )
    program = Program(code=code, function="f", level=LintLevel.L2)

    results = [await sandbox.run(program, {}) for _ in range(3)]

    assert [result.value for result in results] == [[[], {}, ["1"], None, False]] * 3


# --- the death of the host

HOST = """
import asyncio, sys
from sandbox.base import Program
from sandbox.docker_sandbox import DockerSandbox
from sandbox.engine import Engine

async def main(digest, owner):
    engine = await Engine.connect(None)
    sandbox = DockerSandbox(engine, image_digest=digest, owner=owner)
    sleep = Program(code="import time\\ndef f():\\n    time.sleep(60)\\n", function="f", level="L2")
    async with asyncio.TaskGroup() as tasks:
        for _ in range(6):
            tasks.create_task(sandbox.run(sleep, {}))
        print("running", flush=True)

asyncio.run(main(*sys.argv[1:]))
"""


@pytest.mark.parametrize("moment", ["as they are made", "as some are made", "as all run"])
async def test_a_host_that_is_killed_leaves_no_container(
    moment: str, engine: Engine, image_digest: str
) -> None:
    owner = new_owner()
    wanted = {"as they are made": 0, "as some are made": 3, "as all run": 6}[moment]
    host = await asyncio.create_subprocess_exec(
        sys.executable, "-c", HOST, image_digest, owner, stdout=asyncio.subprocess.PIPE
    )
    assert host.stdout is not None
    assert await host.stdout.readline() == b"running\n"
    await eventually(lambda: bool(janitors(host.pid)))
    (janitor,) = janitors(host.pid)
    while await owned(engine, owner) < wanted:  # noqa: ASYNC110  no event tells
        await asyncio.sleep(0.01)
    if moment == "as they are made":
        await asyncio.sleep(0.15)

    host.send_signal(signal.SIGKILL)
    await host.wait()
    await eventually(lambda: not running(janitor))

    assert await owned(engine, owner) == 0


async def test_the_janitor_ends_quietly_when_all_is_clean(engine: Engine) -> None:
    janitor = Janitor(engine.url, new_owner())
    await janitor.ensure()
    pid = janitor.pid
    assert pid is not None
    assert os.getsid(pid) == pid

    await janitor.close()

    assert not alive(pid)


async def test_a_janitor_that_died_is_replaced(engine: Engine) -> None:
    janitor = Janitor(engine.url, new_owner())
    await janitor.ensure()
    first = janitor.pid
    assert first is not None
    os.kill(first, signal.SIGKILL)
    while janitor.pid == first:
        await janitor.ensure()

    assert janitor.pid is not None
    await janitor.close()


@pytest.mark.timeout(120)
async def test_no_child_of_the_host_holds_the_janitors_pipe(engine: Engine) -> None:
    janitor = Janitor(engine.url, new_owner())
    await janitor.ensure()
    pid = janitor.pid
    assert pid is not None
    executed = await asyncio.create_subprocess_exec("sleep", "60")
    forked = os.fork()
    if forked == 0:
        signal.pause()
        os._exit(0)
    try:
        (pipe,) = {entry for entry in held_by(pid) if entry.name.startswith("pipe:")}
        for child in (executed.pid, forked):
            while pipe in held_by(child):  # noqa: ASYNC110  a fork closes it in a moment
                await asyncio.sleep(0.01)
    finally:
        executed.kill()
        await executed.wait()
        os.kill(forked, signal.SIGKILL)
        await asyncio.to_thread(os.waitpid, forked, 0)
        await janitor.close()


async def test_containers_of_a_process_that_is_gone_are_reaped_and_no_others(
    engine: Engine, image_digest: str, owner: str
) -> None:
    own = ProcessIdentity.own()
    assert own is not None
    dead = ProcessIdentity(own.machine, own.boot, own.pid_namespace, own.pid, own.start_ticks - 1)
    foreign = ProcessIdentity("elsewhere", own.boot, own.pid_namespace, own.pid, 1)
    made = {}
    try:
        for name, process in {"own": own, "dead": dead, "foreign": foreign}.items():
            labels = {**owner_labels(owner), PROCESS_LABEL: str(process)}
            config: JsonObject = {**options(owner, image_digest), "Labels": {**labels}}
            made[name] = await engine.create(config, name=f"toolkiln-{new_owner()}")

        await reap_orphans(engine)

        left = {container.id for container in await engine.list_by_label(PROCESS_LABEL)}
        assert {name for name, container in made.items() if container in left} == {
            "own",
            "foreign",
        }
    finally:
        for container in made.values():
            await engine.remove(container)


async def test_what_a_run_used_is_counted_by_the_host(sandbox: DockerSandbox) -> None:
    code = "def f():\n    held = bytearray(b'x') * (30 << 20)\n    return len(held)\n"
    result = await sandbox.run(Program(code=code, function="f", level=LintLevel.L2), {})

    assert result.outcome is Outcome.RETURNED
    if result.usage.memory_peak_bytes is None:
        pytest.skip("this host cannot read the engine's control groups")
    assert result.usage.memory_peak_bytes > 30 << 20
    assert result.usage.cpu_seconds is not None
    assert result.usage.cpu_seconds > 0
