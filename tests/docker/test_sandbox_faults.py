"""What comes of a call when the engine, its disk, the host or somebody else fails it.

Each case: the right outcome or a typed error, in bounded time; afterwards the next call works
and, once the sandbox is closed, nothing is left of any of it.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import resource
import select
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from private_engine import PrivateEngine
from scenes import (
    ADD,
    BOUND_SECONDS,
    PATIENT,
    Scene,
    bounded,
    eventually,
    has_begun,
    janitors,
    settled,
    sleeping,
)

from policies.limits import ResourceLimits
from policies.permissions import LintLevel
from policies.value import JsonObject
from sandbox.base import (
    ApprovedVersion,
    CallOptions,
    ExecutionResult,
    Outcome,
    Program,
    Tier,
)
from sandbox.docker_sandbox import DockerSandbox, open_docker_sandbox
from sandbox.engine import Engine
from sandbox.errors import ImageError, SandboxError, SandboxLostError, SandboxUnavailableError
from sandbox.hardening import container_options
from sandbox.identity import owner_labels
from sandbox.images import engine_reference
from sandbox.janitor import ask
from sandbox.runtimes import RUNC

# --- the engine


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL], ids=["stopped", "killed"])
async def test_an_engine_restarted_in_mid_call(scene: Scene, how: signal.Signals) -> None:
    call, container = await scene.busy()

    await bounded(asyncio.to_thread(scene.engine.restart, how))

    with pytest.raises(SandboxLostError, match="is unknown") as caught:
        await bounded(call)
    assert not caught.value.retry_safe
    await scene.works()
    await bounded(scene.sandbox.settle())
    assert container not in scene.engine.containers()


async def test_a_call_needs_no_engine_to_end(scene: Scene) -> None:
    call, container = await scene.busy(PATIENT)
    await asyncio.to_thread(scene.engine.stop, signal.SIGKILL)

    scene.let_go(container)
    result = await bounded(call)

    assert (result.outcome, result.value) == (Outcome.RETURNED, "went")


async def test_an_engine_killed_while_the_pool_is_warm(scene: Scene) -> None:
    await scene.warm(2)
    await asyncio.to_thread(scene.engine.stop, signal.SIGKILL)

    warm = [await bounded(scene.sandbox.run(ADD, {"a": n})) for n in range(2)]
    with pytest.raises(SandboxUnavailableError, match="No tool code was run") as caught:
        await bounded(scene.sandbox.run(ADD, {"a": 1}))

    assert [(end.value, end.pool_hit) for end in warm] == [(1, True), (2, True)]
    assert caught.value.retry_safe
    await asyncio.to_thread(scene.engine.start)
    await scene.works()


async def test_an_engine_restarted_under_a_warm_pool(scene: Scene) -> None:
    await scene.warm(3)

    await bounded(asyncio.to_thread(scene.engine.restart, signal.SIGKILL))

    for _ in range(3):
        await scene.works()


def refused_or_slept(end: ExecutionResult | SandboxError) -> bool:
    if isinstance(end, SandboxError):
        return isinstance(end, SandboxUnavailableError)
    return end.value == "slept"


async def test_an_engine_that_hangs(scene: Scene) -> None:
    await scene.warm(1)
    call, _ = await scene.busy(sleeping(60, wall_seconds=2))
    scene.engine.pause()
    try:
        end = await bounded(call)
        await scene.works()  # in the warm one
    finally:
        scene.engine.resume()

    assert (end.outcome, end.limit) == (Outcome.TIMED_OUT, "wall_time")
    await scene.works()


async def test_the_engines_socket_removed(scene: Scene) -> None:
    await scene.warm(1)
    call, container = await scene.busy(PATIENT)
    scene.engine.socket.unlink()

    scene.let_go(container)
    assert (await bounded(call)).value == "went"
    ends = [await settled(scene.sandbox.run(sleeping(0), {})) for _ in range(8)]

    for end in ends:  # kept connections still reach it
        assert isinstance(end, SandboxUnavailableError) or getattr(end, "value", "") == "slept"
    await bounded(asyncio.to_thread(scene.engine.restart))
    await scene.works()


async def test_the_engines_disk_full(scene: Scene) -> None:
    await scene.warm(1)
    call, container = await scene.busy(PATIENT)
    scene.engine.fill_disk()

    scene.let_go(container)
    assert (await bounded(call)).value == "went"
    await scene.works()  # in the warm one
    with pytest.raises(SandboxUnavailableError, match="No tool code was run") as caught:
        await bounded(scene.sandbox.run(sleeping(0), {}))

    assert "no space left" in str(caught.value)
    scene.engine.free_disk()
    await scene.works()


async def test_the_guest_image_removed(
    scene: Scene, private_engine: PrivateEngine, tmp_path: Path
) -> None:
    archive = tmp_path / "image.tar"
    archive.write_bytes(ask(private_engine.url, "GET", f"/images/{scene.sandbox.image_digest}/get"))
    call, container = await scene.busy(PATIENT)
    remove_image(private_engine, scene.sandbox.image_digest)
    scene.let_go(container)
    assert (await bounded(call)).value == "went"
    await bounded(scene.sandbox.settle())
    remove_image(private_engine, scene.sandbox.image_digest)

    with pytest.raises(ImageError, match="No tool code was run") as caught:
        await bounded(scene.sandbox.run(ADD, {"a": 1}))

    assert caught.value.retry_safe
    await scene.sandbox.engine.load_image(archive)
    await scene.works()


def remove_image(engine: PrivateEngine, digest: str) -> None:
    """As far as the engine lets it go."""
    ask(engine.url, "DELETE", f"/images/{digest}?force=1")


# --- other ways to call


async def test_an_engine_restarted_in_mid_call_over_its_own_stream(
    scene: Scene, private_engine: PrivateEngine
) -> None:
    engine = await Engine.connect(private_engine.url)
    streams = replace(RUNC, fifo=False)
    async with DockerSandbox(
        engine, image_digest=scene.sandbox.image_digest, runtime=streams, owns_engine=True
    ) as sandbox:
        call, _ = await Scene(private_engine, sandbox).busy()

        await bounded(asyncio.to_thread(scene.engine.restart, signal.SIGKILL))

        with pytest.raises(SandboxLostError, match="is unknown"):
            await bounded(call)
        assert (await bounded(sandbox.run(ADD, {"a": 1}))).value == 2


APPROVED = CallOptions(
    approved=ApprovedVersion(version_digest="sha256:1", policy_digest="sha256:2", tenant="tests")
)


async def in_a_process(scene: Scene, program: Program, arguments: JsonObject) -> ExecutionResult:
    """Called in a warm container, once there is one."""
    async with asyncio.timeout(BOUND_SECONDS):
        while True:
            end = await scene.sandbox.run(program, arguments, APPROVED)
            if end.tier is Tier.PROCESS:
                return end


async def test_a_warm_container_of_many_calls_needs_no_engine(scene: Scene) -> None:
    await in_a_process(scene, ADD, {"a": 1})
    await asyncio.to_thread(scene.engine.stop, signal.SIGKILL)

    ends = [await bounded(scene.sandbox.run(ADD, {"a": n}, APPROVED)) for n in range(20)]

    assert [(end.value, end.tier) for end in ends] == [(n + 1, Tier.PROCESS) for n in range(20)]
    await asyncio.to_thread(scene.engine.start)
    await scene.works()


async def test_a_warm_container_of_many_calls_killed_by_somebody_else(scene: Scene) -> None:
    code = "import time\ndef f(a):\n    time.sleep(a)\n    return a\n"
    limits = ResourceLimits(wall_seconds=60)
    program = Program(code=code, function="f", level=LintLevel.L2, limits=limits)
    await in_a_process(scene, program, {"a": 0})
    call = asyncio.create_task(scene.sandbox.run(program, {"a": 59}, APPROVED))
    await asyncio.sleep(0.1)

    for pid in (await scene.pids(1)).values():
        os.kill(pid, signal.SIGKILL)

    with pytest.raises(SandboxLostError):
        await bounded(call, 50)
    assert (await in_a_process(scene, program, {"a": 0})).value == 0


# --- one container


def ask_to_kill(engine: PrivateEngine, container: str, _pid: int) -> None:
    engine.post(f"/containers/{container}/kill")


def kill_from_host(_engine: PrivateEngine, _container: str, pid: int) -> None:
    os.kill(pid, signal.SIGKILL)


def remove(engine: PrivateEngine, container: str, _pid: int) -> None:
    ask(engine.url, "DELETE", f"/containers/{container}?force=1")


def kill_its_shim(_engine: PrivateEngine, _container: str, pid: int) -> None:
    parent = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()[1]
    os.kill(int(parent), signal.SIGKILL)


KILLS = {
    "by the engine": ask_to_kill,
    "from the host": kill_from_host,
    "with its shim": kill_its_shim,
    "and removed": remove,
}


@pytest.mark.parametrize("way", KILLS)
async def test_a_container_killed_by_somebody_else(scene: Scene, way: str) -> None:
    call, container = await scene.busy()
    pid = (await scene.sandbox.engine.inspect(container)).pid

    await asyncio.to_thread(KILLS[way], scene.engine, container, pid)

    with pytest.raises(SandboxLostError, match="is unknown") as caught:
        await bounded(call)
    assert not caught.value.retry_safe
    await scene.works()


@pytest.mark.parametrize("way", KILLS)
async def test_warm_containers_killed_by_somebody_else(scene: Scene, way: str) -> None:
    await scene.warm(2)
    warm = await scene.pids(2)
    processes = [os.pidfd_open(pid) for pid in warm.values()]
    for container, pid in warm.items():
        KILLS[way](scene.engine, container, pid)
    for process in processes:  # they die, and the event loop does not hear of it
        assert select.select([process], [], [], BOUND_SECONDS)[0]
        os.close(process)

    await scene.works()


async def test_a_container_paused_by_somebody_else(scene: Scene) -> None:
    call, container = await scene.busy(sleeping(60, wall_seconds=4))
    await asyncio.to_thread(scene.engine.post, f"/containers/{container}/pause")

    with pytest.raises(SandboxLostError, match="paused"):
        await bounded(call)

    await bounded(scene.sandbox.settle())
    assert container not in scene.engine.containers()
    await scene.works()


async def test_the_folder_of_the_channels_removed(scene: Scene) -> None:
    await scene.warm(1)
    call, container = await scene.busy(PATIENT)
    for folder in scene.folders():
        shutil.rmtree(folder)

    scene.let_go(container)
    assert (await bounded(call)).value == "went"
    await scene.works()
    await scene.works()


async def test_the_folder_of_the_channels_removed_while_containers_start(scene: Scene) -> None:
    await scene.works()
    calls = [asyncio.create_task(settled(scene.sandbox.run(sleeping(0), {}))) for _ in range(8)]
    while not all(call.done() for call in calls):
        for folder in scene.folders():
            shutil.rmtree(folder, ignore_errors=True)
        await asyncio.sleep(0.05)

    for end in [await call for call in calls]:
        assert isinstance(end, SandboxUnavailableError) or getattr(end, "value", "") == "slept"
    await scene.works()


MANY = 400
"""More descriptors than all containers need that are started at once."""


@contextlib.contextmanager
def spare_descriptors(count: int) -> Iterator[None]:
    """This process can open so many more, and no others."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    held = max(int(entry.name) for entry in Path("/proc/self/fd").iterdir())
    resource.setrlimit(resource.RLIMIT_NOFILE, (held + 1 + MANY, limits[1]))
    plugs: list[int] = []
    try:
        with contextlib.suppress(OSError):
            while True:
                plugs.append(os.open("/dev/null", os.O_RDONLY))
        for _ in range(min(count, len(plugs))):
            os.close(plugs.pop())
        yield
    finally:
        for plug in plugs:
            os.close(plug)
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)


async def test_no_descriptor_is_left_on_the_host(scene: Scene) -> None:
    await scene.works()
    await scene.sandbox.settle()
    ends = []
    for count in (*range(0, 30, 5), MANY):
        with spare_descriptors(count):
            ends.append(await settled(scene.sandbox.run(sleeping(0), {})))

    refused = [end for end in ends if isinstance(end, SandboxError)]
    assert 0 < len(refused) < len(ends), ends
    assert {type(end) for end in refused} == {SandboxUnavailableError}
    assert {end.value for end in ends if not isinstance(end, SandboxError)} == {"slept"}
    await scene.works()


# --- the death of the host

HOST = """
import asyncio, sys
from pathlib import Path
from sandbox.base import Program
from sandbox.docker_sandbox import DockerSandbox, open_docker_sandbox
from sandbox.launcher import Walls

CODE = (
    "import time\\ndef f():\\n    open('/tmp/began', 'w').close()\\n    time.sleep(300)\\n"
)
LIMITS = {"wall_seconds": 300}
SLEEP = Program(code=CODE, function="f", level="L2", limits=LIMITS)
IDLE = Program(code=CODE, function="f", level="L0", limits=LIMITS)

async def main(url, state, calls, warm):
    sandbox = await open_docker_sandbox(
        state_dir=Path(state), docker_host=url, progress=lambda line: None
    )
    print(sandbox.owner, flush=True)
    sandbox.prepare(IDLE, int(warm))
    async with asyncio.TaskGroup() as tasks:
        for _ in range(int(calls)):
            tasks.create_task(sandbox.run(SLEEP, {}))
        walls = Walls.of(IDLE, image=sandbox.image_digest, calls=1)
        while sandbox.pool.ready(walls) < int(warm):
            await asyncio.sleep(0.02)
        print("warm", flush=True)

asyncio.run(main(*sys.argv[1:]))
"""


class Host:
    """A process with a sandbox of its own, containers that stand ready, and calls in flight."""

    def __init__(self, engine: PrivateEngine, process: asyncio.subprocess.Process) -> None:
        self._engine = engine
        self.process = process
        self.owner = ""

    @classmethod
    async def start(cls, engine: PrivateEngine, state: Path, *, calls: int, warm: int) -> Host:
        """As soon as all of them are at work, so that nothing of it is only being made."""
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-c",
            HOST,
            engine.url,
            str(state),
            str(calls),
            str(warm),
            stdout=asyncio.subprocess.PIPE,
        )
        host = cls(engine, process)
        host.owner = await host._line()
        assert await host._line() == "warm"
        await eventually(lambda: host._begun() == calls)
        return host

    async def _line(self) -> str:
        assert self.process.stdout is not None
        return (await bounded(self.process.stdout.readline())).decode().strip()

    def _begun(self) -> int:
        return sum(has_begun(pid) for pid in self._engine.guests())

    def janitor(self) -> int:
        (found,) = janitors(self.process.pid)
        return found

    async def kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):  # it has ended, having lost its calls
            self.process.send_signal(signal.SIGKILL)
        await self.process.wait()

    def folders(self) -> list[Path]:
        return list(Path(tempfile.gettempdir()).glob(f"toolkiln-channels-{self.owner[:12]}-*"))


CALLS_IN_FLIGHT = 32
DEADLINE_SECONDS = 2.0


async def test_a_host_killed_with_calls_in_flight_leaves_nothing(
    private_engine: PrivateEngine, image_state: Path
) -> None:
    seconds = await seconds_to_nothing(private_engine, image_state)

    assert seconds <= DEADLINE_SECONDS


async def seconds_to_nothing(engine: PrivateEngine, image_state: Path) -> float:
    """From the death of a host to the end of all that was there because of it."""
    host = await Host.start(engine, image_state, calls=CALLS_IN_FLIGHT, warm=3)
    janitor = host.janitor()
    await host.kill()
    begin = time.monotonic()

    await eventually(
        lambda: not (engine.containers() or len(engine.processes()) > 2 or host.folders())
    )

    seconds = time.monotonic() - begin
    await eventually(lambda: not Path(f"/proc/{janitor}").exists())
    return seconds


async def test_a_host_and_its_janitor_killed(
    private_engine: PrivateEngine, image_state: Path
) -> None:
    host = await Host.start(private_engine, image_state, calls=4, warm=3)
    os.kill(host.janitor(), signal.SIGKILL)

    await host.kill()

    # The guests end by themselves, because their input does;
    await eventually(lambda: len(private_engine.processes()) == 2)
    # the next process of this host removes what is left.
    sandbox = await open_docker_sandbox(
        state_dir=image_state, docker_host=private_engine.url, progress=print
    )
    try:
        assert not private_engine.containers()
        assert not host.folders()
    finally:
        await sandbox.close()


async def test_a_guest_that_comes_when_its_host_has_gone_ends_by_itself(
    scene: Scene, tmp_path: Path
) -> None:
    pipes_of_nobody(tmp_path)
    engine = scene.sandbox.engine
    image = await engine_reference(engine, scene.sandbox.image_digest)
    options = container_options(
        level=ADD.level,
        limits=ADD.limits,
        image=str(image),
        labels=owner_labels(scene.sandbox.owner),
        calls=1,
        channel_folder=str(tmp_path),
        sockets=False,
        runtime=RUNC,
    )
    container = await engine.create(options, name="toolkiln-without-host")

    await engine.start(container)

    async with asyncio.timeout(BOUND_SECONDS):
        while (await engine.inspect(container)).running:  # noqa: ASYNC110  no event tells
            await asyncio.sleep(0.02)
    await engine.remove(container)


def pipes_of_nobody(folder: Path) -> None:
    """A channel as a host makes it, with no host at the other end."""
    for name in ("in", "out", "print"):
        os.mkfifo(folder / name)
        (folder / name).chmod(0o666)
    folder.chmod(0o755)


async def test_a_janitor_killed_is_replaced(scene: Scene) -> None:
    await scene.works()
    (janitor,) = janitors()
    os.kill(janitor, signal.SIGKILL)

    await eventually(lambda: ") Z " in Path(f"/proc/{janitor}/stat").read_text())
    call, _ = await scene.busy()

    assert len(janitors() - {janitor}) == 1
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
