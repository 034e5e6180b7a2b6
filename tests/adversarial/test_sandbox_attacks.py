"""Programs that attack the container, the host or the channel between: each with its one end.

They skip the lint, because the container must hold without it. All run first, some at once;
then each is judged by its name. Where another runtime contains an attack in another way, its
other end stands here with the reason.
"""

from __future__ import annotations

import asyncio
import os
import sys
from dataclasses import dataclass, field, replace

import pytest
from docker_fixtures import RUNTIMES, listed_runtime
from pydantic import JsonValue

from policies.limits import MIB, ResourceLimits
from policies.permissions import LintLevel
from sandbox.base import ExecutionResult, Outcome, Program
from sandbox.docker_sandbox import DockerSandbox, SandboxCapacity
from sandbox.engine import Engine
from sandbox.identity import OWNER_LABEL
from sandbox.runtimes import Runtime, RuntimeKind

LIMITS = ResourceLimits(
    memory_bytes=64 * MIB,
    pids=32,
    tmp_bytes=4 * MIB,
    tmp_files=64,
    file_bytes=2 * MIB,
)

# The harness's own end of the frame channel, found as any program can find it.
CHANNEL = """
import os, struct, sys, json, time
def frame(kind, payload, call=1):
    return struct.pack('>BII', kind, call, len(payload)) + payload
def channel():
    here = sys._getframe()
    while 'channel' not in here.f_locals or here.f_code.co_name != 'serve':
        here = here.f_back
    return here.f_locals['channel']
def put(descriptor, data):
    while data:
        data = data[os.write(descriptor, data):]
"""


@dataclass(frozen=True)
class Attack:
    code: str
    outcome: Outcome
    also: tuple[Outcome, ...] = ()
    limit: str | None = None
    error: str | None = None
    value: JsonValue = None
    exit_codes: tuple[int | None, ...] = field(default=())
    level: LintLevel = LintLevel.L2
    wall_seconds: float = 60


def timed_out(code: str) -> Attack:
    return Attack(code, Outcome.TIMED_OUT, limit="wall_time", wall_seconds=1.5)


def out_of_memory(code: str) -> Attack:
    return Attack(code, Outcome.OUT_OF_MEMORY, limit="memory")


def raised(code: str, error: str, level: LintLevel = LintLevel.L2) -> Attack:
    return Attack(code, Outcome.RAISED, error=error, level=level)


def returned(code: str, value: JsonValue) -> Attack:
    return Attack(code, Outcome.RETURNED, value=value)


def crashed(code: str, *exit_codes: int) -> Attack:
    return Attack(code, Outcome.CRASHED, exit_codes=exit_codes)


def broken(code: str) -> Attack:
    return Attack(CHANNEL + code, Outcome.PROTOCOL_BROKEN)


def exceeded(code: str, limit: str) -> Attack:
    return Attack(CHANNEL + code, Outcome.LIMIT_EXCEEDED, limit=limit)


def in_c() -> Attack:
    """Recursion that the interpreter did not count before 3.12."""
    code = (
        "import sys\ndef f():\n sys.setrecursionlimit(1 << 30)\n"
        " class A:\n  def __repr__(self): return '%r' % self\n"
        " return repr(A())\n"
    )
    counted = sys.version_info >= (3, 12)
    return raised(code, "RecursionError") if counted else crashed(code, 139)


ATTACKS: dict[str, Attack] = {
    # --- time
    "endless loop": timed_out("def f():\n while True: pass\n"),
    "endless loop in one instruction": timed_out("def f():\n return 10 ** 10 ** 8 > 1\n"),
    "endless regular expression": timed_out(
        "import re\ndef f():\n return re.match('(a|aa)+$', 'a' * 60 + 'b')\n"
    ),
    "every signal ignored": timed_out(
        "import signal\ndef f():\n"
        " for s in signal.valid_signals():\n"
        "  try: signal.signal(s, signal.SIG_IGN)\n"
        "  except (OSError, ValueError): pass\n"
        " while True: signal.pause()\n"
    ),
    "waits on its own pipe": timed_out("import os\ndef f():\n r, w = os.pipe()\n os.read(r, 1)\n"),
    "a destructor without end": timed_out(
        "class A:\n def __del__(self):\n  while True: pass\ndef f():\n A()\n"
    ),
    "an exception's text without end": timed_out(
        "class E(Exception):\n def __str__(self):\n  while True: pass\ndef f():\n raise E\n"
    ),
    "closes all streams and sleeps": timed_out(
        "import os, time\ndef f():\n os.closerange(0, 100)\n time.sleep(60)\n"
    ),
    "stops itself": returned(
        "import os, signal\ndef f():\n os.kill(os.getpid(), signal.SIGSTOP)\n return 1\n", 1
    ),
    "kills itself": returned(
        "import os, signal\ndef f():\n os.kill(os.getpid(), signal.SIGKILL)\n return 1\n", 1
    ),
    "reads its input": returned("import sys\ndef f():\n return sys.stdin.read()\n", ""),
    "moves the clock": raised(
        "import time\ndef f():\n time.clock_settime(time.CLOCK_REALTIME, 0)\n", "PermissionError"
    ),
    "a daemon behind": returned(
        "import os, time\ndef f():\n"
        " if os.fork() == 0:\n"
        "  os.setsid()\n"
        "  if os.fork() == 0:\n   time.sleep(60)\n"
        "  os._exit(0)\n"
        " return os.wait()[1]\n",
        0,
    ),
    "a forked child that answers too": returned(
        "import os, time\ndef f():\n pid = os.fork()\n if pid: time.sleep(.3)\n return 'one'\n",
        "one",
    ),
    # --- memory
    "memory": out_of_memory("def f():\n a = []\n while True: a.append(bytearray(1 << 20))\n"),
    "memory in another process": timed_out(
        "import os\ndef f():\n"
        " while True:\n"
        "  if os.fork() == 0:\n"
        "   a = []\n"
        "   while True: a.append(bytearray(1 << 20))\n"
        "  os.wait()\n"
    ),
    "more than any memory at once": raised("def f():\n return 'a' * (1 << 42)\n", "MemoryError"),
    "text that unpacks": out_of_memory(
        "import zlib\ndef f():\n"
        " c = zlib.compressobj()\n"
        " z = b''.join(c.compress(bytes(1 << 20)) for _ in range(100)) + c.flush()\n"
        " return len(zlib.decompress(z))\n"
    ),
    "recursion": raised("def f():\n return f()\n", "RecursionError"),
    "recursion without its limit": Attack(
        "import sys\ndef f():\n sys.setrecursionlimit(1 << 30)\n def g(n): return [g(n + 1)]\n"
        " return g(0)\n",
        Outcome.OUT_OF_MEMORY,
    ),
    "recursion on the C stack": in_c(),
    # --- processes and threads
    "fork bomb": timed_out(
        "import os\ndef f():\n while True:\n  try: os.fork()\n  except OSError: pass\n"
    ),
    "fork at a level without": raised(
        "import os\ndef f():\n os.fork()\n", "PermissionError", LintLevel.L0
    ),
    "a program at a level without": raised(
        "import subprocess\ndef f():\n subprocess.run(['/opt/python/bin/python3', '-V'])\n",
        "PermissionError",
        LintLevel.L0,
    ),
    "thread bomb": raised(
        "import threading, time\ndef f():\n"
        " while True: threading.Thread(target=time.sleep, args=(60,), daemon=True).start()\n",
        "RuntimeError",
    ),
    # --- files
    "fills the disk": raised(
        "def f():\n"
        " for n in range(99):\n"
        "  with open(f'/tmp/{n}', 'wb') as file: file.write(bytes(1 << 20))\n",
        "OSError",
    ),
    "fills the names": raised(
        "def f():\n for n in range(9999): open(f'/tmp/{n}', 'w').close()\n", "OSError"
    ),
    "a file too large": raised(
        "def f():\n with open('/tmp/a', 'wb') as file: file.truncate(1 << 40)\n", "OSError"
    ),
    "memory as a file": raised("import os\ndef f():\n os.memfd_create('a')\n", "PermissionError"),
    "fills shared memory": raised("def f():\n open('/dev/shm/a', 'w')\n", "FileNotFoundError"),
    "fills message queues": raised("def f():\n open('/dev/mqueue/a', 'w')\n", "OSError"),
    "descriptors": raised("import os\ndef f():\n while True: os.open('/dev/null', 0)\n", "OSError"),
    "writes the system": raised("def f():\n open('/etc/passwd', 'a')\n", "PermissionError"),
    "writes its own harness": raised(
        "def f():\n open('/opt/harness/__main__.pyc', 'r+b')\n", "PermissionError"
    ),
    "writes the kernel's settings": raised(
        "def f():\n open('/proc/sys/kernel/core_pattern', 'w')\n", "OSError"
    ),
    "looks for the engine": raised(
        "def f():\n open('/var/run/docker.sock')\n", "FileNotFoundError"
    ),
    "reads the environment": returned(
        "import os\ndef f():\n"
        " words = open('/proc/self/environ').read().split('\\0')\n"
        " return [dict(os.environ), sorted(w.partition('=')[0] for w in words if w)]\n",
        [{}, ["HOME", "HOSTNAME", "PATH"]],
    ),
    # --- network and privilege
    "socket": raised("import socket\ndef f():\n socket.socket()\n", "PermissionError"),
    "unix socket": raised(
        "import socket\ndef f():\n socket.socket(socket.AF_UNIX)\n", "PermissionError"
    ),
    "virtual machine socket": raised(
        "import socket\ndef f():\n socket.socket(40, 1)\n", "PermissionError"
    ),
    "a name on the network": raised(
        "import socket\ndef f():\n socket.getaddrinfo('example.com', 80)\n", "gaierror"
    ),
    "becomes root": raised("import os\ndef f():\n os.setuid(0)\n", "PermissionError"),
    "raises its limits": raised(
        "import resource\ndef f():\n resource.setrlimit(resource.RLIMIT_NOFILE, (9999, 9999))\n",
        "ValueError",
    ),
    "loads foreign code": raised("import ctypes\ndef f():\n pass\n", "ModuleNotFoundError"),
    "has itself killed": raised(
        "import resource, signal\ndef f():\n"
        " signal.signal(signal.SIGXCPU, signal.SIG_IGN)\n"
        " resource.setrlimit(resource.RLIMIT_CPU, (1, 1))\n while True: pass\n",
        "ValueError",
    ),
    # --- output
    "floods its output": exceeded("def f():\n while True: os.write(1, b'x' * 65536)\n", "output"),
    "floods its other output": exceeded(
        "def f():\n while True: sys.stderr.write('x' * 65536)\n", "output"
    ),
    "floods, answered before": exceeded("def f():\n put(2, b'x' * 70000)\n return 1\n", "output"),
    "prints what ends a terminal": returned("def f():\n print('\\x1b]8;;x\\x07')\n return 1\n", 1),
    # --- ends without an answer
    "exits": raised("import sys\ndef f():\n sys.exit(0)\n", "SystemExit"),
    "exits at once": crashed("import os\ndef f():\n os._exit(0)\n", 0),
    "exits after the word": crashed(
        "import os\ndef f():\n print('{\"value\": 1}', flush=True)\n os._exit(0)\n", 0
    ),
    "aborts": crashed("import os\ndef f():\n os.abort()\n", 134, 139),
    # --- the channel
    "floods the channel": exceeded(
        "def f():\n c = channel()\n os.write(c, frame(4, b'')[:5] + b'\\xff' * 4)\n"
        " while True: os.write(c, bytes(65536))\n",
        "result",
    ),
    "floods the channel with nothing": broken(
        "def f():\n c = channel()\n while True: os.write(c, bytes(65536))\n"
    ),
    "floods the channel with answers": broken(
        "def f():\n c = channel()\n while True: os.write(c, frame(4, b'1') * 1000)\n"
    ),
    "answers twice": broken("def f():\n os.write(channel(), frame(4, b'1'))\n return 2\n"),
    # The channel tells which container spoke, never that the harness did: this one answer
    # counts, and the container is gone before another comes.
    "answers in the harness's place": returned(
        CHANNEL + "def f():\n os.write(channel(), frame(4, b'2')); time.sleep(60)\n", 2
    ),
    "answers another call": broken(
        "def f():\n os.write(channel(), frame(4, b'1', 7)); time.sleep(60)\n"
    ),
    "answers before it ends, in part": broken(
        "def f():\n os.write(channel(), frame(4, b'[1,2,3]')[:-2]); os._exit(0)\n"
    ),
    "a posture again": broken("def f():\n os.write(channel(), frame(1, b'{}')); time.sleep(60)\n"),
    "a program for the host": broken(
        "def f():\n os.write(channel(), frame(2, b'{}')); time.sleep(60)\n"
    ),
    "an error without its parts": broken(
        "def f():\n os.write(channel(), frame(5, b'{}')); time.sleep(60)\n"
    ),
    "json too deep": broken("def f():\n put(channel(), frame(4, b'[' * 100000)); time.sleep(60)\n"),
    "json of nothing": broken("def f():\n os.write(channel(), frame(4, b'')); time.sleep(60)\n"),
    "json not finite": broken(
        "def f():\n os.write(channel(), frame(4, b'[1e999]')); time.sleep(60)\n"
    ),
    "json not a number": broken(
        "def f():\n os.write(channel(), frame(4, b'NaN')); time.sleep(60)\n"
    ),
    "json with a name twice": broken(
        'def f():\n os.write(channel(), frame(4, b\'{"a":1,"a":2}\')); time.sleep(60)\n'
    ),
    "json with half a character": broken(
        "def f():\n os.write(channel(), frame(4, b'\"\\\\ud800\"')); time.sleep(60)\n"
    ),
    "json not in utf-8": broken(
        "def f():\n os.write(channel(), frame(4, b'\"\\xff\"')); time.sleep(60)\n"
    ),
    "json with an endless number": broken(
        "def f():\n os.write(channel(), frame(4, b'9' * 5000)); time.sleep(60)\n"
    ),
    "json of too many values": exceeded(
        "def f():\n put(channel(), frame(4, b'[' + b'[],' * 300000 + b'[]]'))\n time.sleep(60)\n",
        "result",
    ),
    "another json module": broken(
        "def f():\n json.encoder.c_make_encoder = lambda *a: lambda *b: ['gotcha']\n return [1]\n"
    ),
    "json with a function changed": returned(
        "import json\ndef f():\n json.dumps = lambda *a, **k: 'gotcha'\n return 1\n", 1
    ),
    "an int that lies": returned(
        "class Lie(int):\n def __eq__(self, other): return True\n __hash__ = int.__hash__\n"
        "def f():\n return Lie(3)\n",
        3,
    ),
    "an attribute that lies": raised(
        "class Lie:\n __class__ = dict\ndef f():\n return Lie()\n", "AttributeError"
    ),
}


@dataclass(frozen=True)
class Elsewhere:
    """How an attack ends on another runtime, and why it is contained there all the same."""

    why: str
    outcomes: tuple[Outcome, ...]
    error: str | None = None
    value: JsonValue = None
    wall_seconds: float | None = None

    def of(self, attack: Attack) -> Attack:
        """The attack with this end; the first of the outcomes stands for all."""
        return replace(
            attack,
            outcome=self.outcomes[0],
            also=self.outcomes[1:],
            limit=None,
            error=self.error,
            value=self.value,
            wall_seconds=self.wall_seconds or attack.wall_seconds,
        )


_SIGNALS = "its kernel does not shield the first process from its own signals"
_ONE = "to the host's kernel all its processes are one, and end together"

ON_GVISOR: dict[str, Elsewhere] = {
    "stops itself": Elsewhere(_SIGNALS, (Outcome.TIMED_OUT,), wall_seconds=1.5),
    "kills itself": Elsewhere(_SIGNALS, (Outcome.CRASHED,)),
    "memory in another process": Elsewhere(_ONE, (Outcome.OUT_OF_MEMORY, Outcome.TIMED_OUT)),
    "fork bomb": Elsewhere(
        "each of its processes costs memory of the host's, which counts first",
        (Outcome.OUT_OF_MEMORY, Outcome.TIMED_OUT),
    ),
    "fills the names": Elsewhere(
        "it counts no files; their bytes and its own memory are counted", (Outcome.RETURNED,)
    ),
    "fills shared memory": Elsewhere(
        "the folder is there, and root's", (Outcome.RAISED,), error="PermissionError"
    ),
    "fills message queues": Elsewhere(
        "it has no such folder", (Outcome.RAISED,), error="FileNotFoundError"
    ),
    "writes the kernel's settings": Elsewhere(
        "the file is its own, and root's", (Outcome.RAISED,), error="PermissionError"
    ),
}

_FORKS = "its own kernel makes the process, and counts it"
_LOOPBACK = "its own kernel makes the socket; there is no interface but loopback"

WITHOUT_FILTER: dict[str, Elsewhere] = {
    "has itself killed": Elsewhere("the call counts as crashed there", (Outcome.CRASHED,)),
    "fork at a level without": Elsewhere(_FORKS, (Outcome.RETURNED,)),
    "a program at a level without": Elsewhere(_FORKS, (Outcome.RETURNED,)),
    "memory as a file": Elsewhere("it counts as any other memory", (Outcome.RETURNED,)),
    "socket": Elsewhere(_LOOPBACK, (Outcome.RETURNED,)),
    "unix socket": Elsewhere(_LOOPBACK, (Outcome.RETURNED,)),
    "virtual machine socket": Elsewhere(
        "its own kernel has none", (Outcome.RAISED,), error="OSError"
    ),
}

_REFUSED = "the process is refused more, before any control group counts"

WITHOUT_GROUPS: dict[str, Elsewhere] = {
    "memory": Elsewhere(_REFUSED, (Outcome.RAISED,), error="MemoryError"),
    "text that unpacks": Elsewhere(_REFUSED, (Outcome.RAISED,), error="MemoryError"),
    "recursion without its limit": Elsewhere(
        _REFUSED, (Outcome.TIMED_OUT, Outcome.RAISED, Outcome.CRASHED), wall_seconds=5
    ),
}


def attacks_on(runtime: Runtime) -> dict[str, Attack]:
    """Each attack with the end that it has there."""
    elsewhere = {
        **(ON_GVISOR if runtime.kind is RuntimeKind.RUNSC else {}),
        **({} if runtime.system_call_filter else WITHOUT_FILTER),
        **({} if runtime.limits_hold else WITHOUT_GROUPS),
    }
    return {
        name: elsewhere[name].of(attack) if name in elsewhere else attack
        for name, attack in ATTACKS.items()
    }


@dataclass(frozen=True)
class Ends:
    """What came of every attack on one runtime."""

    attacks: dict[str, Attack]
    results: dict[str, ExecutionResult]


@pytest.fixture(scope="module", params=RUNTIMES)
def ends(request: pytest.FixtureRequest, image_digest: str, owner: str) -> Ends:
    async def run_all() -> Ends:
        engine = await Engine.connect(os.environ.get("DOCKER_HOST"))
        try:
            runtime = await listed_runtime(engine, request.config, request.param)
            attacks = attacks_on(runtime)
            async with (
                DockerSandbox(
                    engine,
                    image_digest=image_digest,
                    owner=owner,
                    capacity=SandboxCapacity(concurrency=4, wait_seconds=3_600),
                    runtime=runtime,
                ) as sandbox,
                asyncio.TaskGroup() as tasks,
            ):
                runs = {
                    name: tasks.create_task(sandbox.run(_program(attack), {}))
                    for name, attack in attacks.items()
                }
            left = await engine.list_by_label(f"{OWNER_LABEL}={owner}")
        finally:
            await engine.close()
        assert not left, f"{len(left)} container(s) are left"
        return Ends(attacks, {name: run.result() for name, run in runs.items()})

    return asyncio.run(run_all())


def _program(attack: Attack) -> Program:
    limits = LIMITS.model_copy(update={"wall_seconds": attack.wall_seconds})
    return Program(code=attack.code, function="f", level=attack.level, limits=limits)


@pytest.mark.parametrize("name", ATTACKS)
def test_the_attack_ends_as_it_must(name: str, ends: Ends) -> None:
    attack, end = ends.attacks[name], ends.results[name]

    said = f"{end.outcome} {end.limit} {end.error_type}: {end.error_message} ({end.exit_code})"
    assert end.outcome in (attack.outcome, *attack.also), said
    if attack.limit is not None:
        assert end.limit == attack.limit, said
    if attack.error is not None:
        assert end.error_type == attack.error, said
    if attack.outcome is Outcome.RETURNED:
        assert end.value == attack.value, said
    if attack.exit_codes:
        assert end.exit_code in attack.exit_codes, said
    assert len(end.output.encode()) <= LIMITS.output_bytes


def test_every_other_end_is_of_an_attack_there_is() -> None:
    for table in (ON_GVISOR, WITHOUT_FILTER, WITHOUT_GROUPS):
        assert set(table) <= set(ATTACKS)
        assert all(elsewhere.why for elsewhere in table.values())
