"""Files handed into real containers and taken out of them, by honest and by hostile tools."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Mapping

import pytest

from policies.config import FileSettings
from policies.limits import ResourceLimits
from policies.permissions import LintLevel
from policies.value import JsonObject
from sandbox.base import CallOptions, ExecutionResult, Outcome, Program
from sandbox.docker_sandbox import DockerSandbox
from sandbox.files import FileService

SETTINGS = FileSettings(
    input=True, output=True, input_bytes=1 << 20, artefacts=8, artefact_bytes=1 << 20
)
LIMITS = ResourceLimits(wall_seconds=60.0)


def program(body: str, limits: ResourceLimits = LIMITS) -> Program:
    code = "import os, sys, time\ndef f():\n" + textwrap.indent(textwrap.dedent(body), "    ")
    return Program(code=code, function="f", level=LintLevel.L2, limits=limits)


async def call(
    sandbox: DockerSandbox,
    body: str,
    inputs: Mapping[str, bytes] | None = None,
    settings: FileSettings = SETTINGS,
) -> tuple[ExecutionResult, FileService]:
    files = FileService(inputs or {}, settings)
    result = await sandbox.run(program(body), {}, CallOptions(services=(files,)))
    return result, files


async def test_inputs_are_there_and_outputs_come_back(sandbox: DockerSandbox) -> None:
    result, files = await call(
        sandbox,
        """
        with open("/tmp/input/b.bin", "rb") as file:
            data = file.read()
        write_output("copy.bin", data)
        write_output("note.csv", read_input("a.txt") + "\\n")
        with open("/tmp/output/by_hand.txt", "w") as file:
            file.write("x")
        return [input_names(), read_input("a.txt"), len(read_input_bytes("b.bin"))]
        """,
        {"a.txt": "\ufeffgrün,1".encode(), "b.bin": bytes(range(256)) * 1000},
    )

    assert result.outcome is Outcome.RETURNED, result.error_message
    assert result.value == [["a.txt", "b.bin"], "grün,1", 256_000]
    made = {each.name: each for each in files.artefacts}
    assert sorted(made) == ["by_hand.txt", "copy.bin", "note.csv"]
    assert made["copy.bin"].data == bytes(range(256)) * 1000
    assert made["copy.bin"].media_type == "application/octet-stream"
    assert made["note.csv"].media_type == "text/csv"


async def test_inputs_cannot_be_changed(sandbox: DockerSandbox) -> None:
    result, _ = await call(
        sandbox,
        """
        tried = []
        for attempt in (
            lambda: open("/tmp/input/a.txt", "a"),
            lambda: open("/tmp/input/new.txt", "w"),
            lambda: os.unlink("/tmp/input/a.txt"),
        ):
            try:
                attempt()
                tried.append("done")
            except OSError as error:
                tried.append(error.strerror)
        return tried
        """,
        {"a.txt": b"1"},
    )

    assert result.value == ["Permission denied"] * 3


RUN = """
import os, shutil

def f(body):
    for name in os.listdir("/tmp/output"):
        path = os.path.join("/tmp/output", name)
        shutil.rmtree(path) if os.path.isdir(path) and not os.path.islink(path) else os.unlink(path)
    exec(body, globals())
"""

WRONG_AT_ONCE = {
    'read_input("b.txt")': "no input file is named 'b.txt'; there are: a.txt",
    'read_input("../../etc/passwd")': "no input file is named",
    'read_input("latin1.txt")': "is not text in UTF-8",
    'write_output("../x", "1")': "no plain file name",
    'write_output(".hidden", "1")': "no plain file name",
    'write_output("a" * 101, "1")': "no plain file name",
    'write_output("é", "1")': "no plain file name",
    'write_output("", "1")': "no plain file name",
    'write_output("x", 1)': "takes str or bytes, not int",
    'write_output("x", b"1" * (1 << 21))': "the policy allows 1,048,576",
}
LEFT_BEHIND = {
    'os.symlink("/etc/passwd", "/tmp/output/x")': "is a link",
    'os.symlink("/tmp/output", "/tmp/output/x")': "is a link",
    'os.symlink("/nowhere", "/tmp/output/x")': "is a link",
    'os.mkdir("/tmp/output/x")': "is a folder or no regular file",
    '[open(f"/tmp/output/{i}", "w").close() for i in range(450)]': "more than 8 files",
    'open("/tmp/output/a b", "w").close()': "no plain file name",
    'open("/tmp/output/\\n\\x1b[2J", "w").close()': "no plain file name",
    'open(b"/tmp/output/\\xff", "w").close()': "no plain file name",
    'open("/tmp/output/x", "wb").truncate(15 << 20)': "15,728,640 bytes",
    'for i in range(8): open(f"/tmp/output/{i}", "wb").write(b"1" * (1 << 18))': "2,097,152 bytes",
    'open("/tmp/output/x", "w").close(); os.chmod("/tmp/output/x", 0)': "cannot be opened",
    # Last, as it leaves no folder for another.
    'os.rename("/tmp/output", "/tmp/o"); os.symlink("/etc", "/tmp/output")': "no folder any more",
}


async def one_by_one(
    sandbox: DockerSandbox, bodies: Iterable[str]
) -> tuple[tuple[ExecutionResult, ...], FileService]:
    """Each of `bodies`, one after the other in one container."""
    batch: list[JsonObject] = [{"body": body} for body in bodies]
    inputs = {"a.txt": b"1", "latin1.txt": b"\xe9"}
    files = FileService(inputs, SETTINGS, calls=len(batch))
    tool = Program(code=RUN, function="f", level=LintLevel.L2, limits=LIMITS)
    return await sandbox.run_batch(tool, batch, CallOptions(services=(files,))), files


async def test_what_a_tool_does_wrong_is_said_at_once(sandbox: DockerSandbox) -> None:
    results, files = await one_by_one(sandbox, WRONG_AT_ONCE)

    for result, says in zip(results, WRONG_AT_ONCE.values(), strict=True):
        assert result.outcome is Outcome.RAISED
        assert says in result.error_message
    assert not files.artefacts


async def test_what_does_not_fit_is_the_answer(sandbox: DockerSandbox) -> None:
    results, files = await one_by_one(sandbox, LEFT_BEHIND)

    for result, says in zip(results, LEFT_BEHIND.values(), strict=True):
        assert result.error_type == "OutputRefused", result.error_message
        assert says in result.error_message
    assert not files.artefacts


async def test_a_missing_folder_is_the_answer(sandbox: DockerSandbox) -> None:
    result, _ = await call(sandbox, 'os.rmdir("/tmp/output")')

    assert "is gone" in result.error_message


async def test_a_tool_that_raises_leaves_nothing(sandbox: DockerSandbox) -> None:
    result, files = await call(sandbox, 'write_output("x", "1")\nraise ValueError("no")')

    assert result.error_message == "no"
    assert not files.artefacts


async def test_inputs_that_fill_the_container_are_the_answer(sandbox: DockerSandbox) -> None:
    limits = LIMITS.model_copy(update={"tmp_bytes": 64 * 1024})
    files = FileService({"big.bin": b"1" * (1 << 19)}, SETTINGS)
    result = await sandbox.run(program("return 1", limits), {}, CallOptions(services=(files,)))

    assert result.error_type == "InputRefused"
    assert "'big.bin' of 524,288 bytes does not fit" in result.error_message
    assert "tmp_bytes" in result.error_message


async def test_the_calls_of_a_batch_do_not_mix_their_outputs(sandbox: DockerSandbox) -> None:
    code = "def f(n):\n    write_output(f'{n}.txt', str(n))\n    return n\n"
    files = FileService({}, SETTINGS.model_copy(update={"artefacts": 1}), calls=3)
    results = await sandbox.run_batch(
        Program(code=code, function="f", limits=LIMITS),
        [{"n": 1}, {"n": 2}, {"n": 3}],
        CallOptions(services=(files,)),
    )

    assert [result.value for result in results] == [1, 2, 3]
    assert [each.data for each in files.artefacts] == [b"1", b"2", b"3"]


def forged(*frames: str) -> str:
    """A tool that writes frames of its own to the host's channel."""
    sends = "\n".join(f"send({frame})" for frame in frames)
    return f"""
import stat
def send(payload, kind=8):
    for number in range(3, 20):
        try:
            if stat.S_ISFIFO(os.fstat(number).st_mode):
                head = bytes([kind]) + bytes(4) + len(payload).to_bytes(4, "big")
                os.write(number, head + payload)
        except OSError:
            pass
{sends}
"""


@pytest.mark.parametrize(
    "frame",
    [
        r'b"\x04../x" + b"a"',
        r'b"\x01a" + b"1" * (1 << 20) + b"1"',
        r'b"\x01a" + b"1" * (1 << 21)',
    ],
)
async def test_forged_artefacts_are_held_against_the_ceilings_again(
    sandbox: DockerSandbox, frame: str
) -> None:
    result, files = await call(sandbox, forged(frame))

    assert result.outcome in (Outcome.PROTOCOL_BROKEN, Outcome.LIMIT_EXCEEDED), result
    assert not files.artefacts


async def test_artefacts_of_a_tool_that_was_not_granted_them_break_the_protocol(
    sandbox: DockerSandbox,
) -> None:
    only_input = SETTINGS.model_copy(update={"output": False})
    result, files = await call(sandbox, forged(r'b"\x01a" + b"1"'), settings=only_input)

    assert result.outcome is Outcome.PROTOCOL_BROKEN
    assert not files.artefacts


@pytest.mark.parametrize("kind", ["input", "output"])
async def test_what_was_not_declared_is_not_there(sandbox: DockerSandbox, kind: str) -> None:
    files = FileService({"a.txt": b"1"}, SETTINGS, declared=[kind])
    body = (
        'return [os.path.exists("/tmp/input"), os.path.exists("/tmp/output"), '
        '"read_input" in globals(), "write_output" in globals()]'
    )
    result = await sandbox.run(program(body), {}, CallOptions(services=(files,)))

    given, left = kind == "input", kind == "output"
    assert result.value == [given, left, given, left]


async def test_arguments_reach_a_guest_that_was_granted_nothing(sandbox: DockerSandbox) -> None:
    arguments: JsonObject = {}
    result = await sandbox.run(program('return os.path.exists("/tmp/output")'), arguments)

    assert result.value is False
