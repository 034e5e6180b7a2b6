"""The program inside the container: says what walls it sees, then runs a tool's source.

It is read as a file and copied into the guest image; nothing on the host imports it, and it
imports nothing but the standard library. What it says before it gets the source (the posture)
can be trusted as far as the image; what it says afterwards is the word of the tool, because the
tool runs in the same process and can do whatever the harness can.

Wire: frames of kind (1 byte), call number (4), length (4), payload. The host speaks on file
descriptor 0, the answers leave on what was 1; both are moved out of the way, so that everything
the tool prints goes to the other stream.
"""

# ruff: noqa: ANN001, ANN002, ANN201, ANN202, ANN204  annotations cost start time; types are plain
# ruff: noqa: PLC0415  slow modules wait until the posture is on its way: the host checks it then
# ruff: noqa: PTH123  pathlib alone takes as long to load as the interpreter

import _signal
import _thread
import os
import resource
import sys
from _json import encode_basestring_ascii
from _queue import SimpleQueue

POSTURE, PROGRAM, ARGUMENTS, VALUE, ERROR = 1, 2, 3, 4, 5
HEADER_BYTES = 9
TOOL_FILE = "<tool>"
TOOL_MODULE = "tool"
MESSAGE_CHARACTERS = 4_000
TRACEBACK_CHARACTERS = 16_000
CHAINED_EXCEPTIONS = 4
EXIT_CPU_LIMIT = 152  # 128 + SIGXCPU: as PID 1 the signal itself would be ignored


# --- the frame channel


def write_frame(channel, kind, call, payload):
    """Send one frame, whole."""
    data = bytes((kind,)) + call.to_bytes(4, "big") + len(payload).to_bytes(4, "big") + payload
    view = memoryview(data)
    while view:
        view = view[os.write(channel, view) :]


def read_exactly(channel, size):
    """Read `size` bytes, or None when the host has closed its end."""
    data = bytearray()
    while len(data) < size:
        piece = os.read(channel, min(size - len(data), 1 << 20))
        if not piece:
            return None
        data += piece
    return bytes(data)


def listen(channel, inbox):
    """Pass on what the host sends, and end the process when the host has gone."""
    while True:
        header = read_exactly(channel, HEADER_BYTES)
        size = int.from_bytes(header[5:9], "big") if header else 0
        payload = read_exactly(channel, size) if header else None
        if payload is None:
            os._exit(0)
        inbox.put((header[0], int.from_bytes(header[1:5], "big"), payload))


def take_channels():
    """Move the host's channels away from 0 and 1; what is printed goes to 2 from now on."""
    incoming, outgoing = os.dup(0), os.dup(1)
    nothing = os.open("/dev/null", os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)
    sys.stdout.reconfigure(errors="backslashreplace", line_buffering=True)
    return incoming, outgoing


# --- the posture


def read_text(path):
    """What a file of the kernel's says, or nothing where it cannot be read."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return ""


def read_number(*paths):
    """The number in the first of `paths` that has one."""
    for path in paths:
        text = read_text(path).strip()
        if text.isdigit():
            return int(text)
    return None


def read_cpus():
    """How many processors' worth of time the control group allows."""
    quota, _, period = read_text("/sys/fs/cgroup/cpu.max").strip().partition(" ")
    if not quota:
        quota = read_text("/sys/fs/cgroup/cpu/cpu.cfs_quota_us").strip()
        period = read_text("/sys/fs/cgroup/cpu/cpu.cfs_period_us").strip()
    if quota.isdigit() and period.isdigit():
        return int(quota) / int(period)
    return None


def read_mounts():
    """Options by path, those of the file system included; of mounts over mounts the topmost."""
    mounts = {}
    for line in read_text("/proc/self/mountinfo").splitlines():
        own, _, shared = line.partition(" - ")
        fields, tail = own.split(" "), shared.split(" ")
        path, of_mount, of_system = fields[4], fields[5].split(","), tail[2].split(",")
        options = {*of_mount, *of_system}
        if "ro" in options:
            options.discard("rw")
        mounts[path] = options
    return mounts


def read_interfaces():
    """Names of the network interfaces."""
    lines = read_text("/proc/net/dev").splitlines()[2:]
    return sorted(line.partition(":")[0].strip() for line in lines)


def read_rlimits():
    """The soft limits that the host asks about; -1 is unlimited."""
    names = ("as", "core", "cpu", "fsize", "msgqueue", "nofile")
    return {
        name: resource.getrlimit(getattr(resource, "RLIMIT_" + name.upper()))[0] for name in names
    }


def read_posture(environment):
    """The walls as seen from inside."""
    status = dict(
        line.split(":\t", 1)
        for line in read_text("/proc/self/status").splitlines()
        if ":\t" in line
    )
    mounts = read_mounts()
    memory, shared = "/sys/fs/cgroup/memory", "/sys/fs/cgroup"
    swap = read_number(shared + "/memory.swap.max")
    limit = read_number(memory + "/memory.limit_in_bytes", shared + "/memory.max")
    if swap is not None and limit is not None:
        swap += limit
    host = os.uname()
    return {
        "uid": os.getuid(),
        "gid": os.getgid(),
        "groups": sorted(os.getgroups()),
        "capabilities_effective": status.get("CapEff", "?").strip(),
        "capabilities_bounding": status.get("CapBnd", "?").strip(),
        "no_new_privileges": status.get("NoNewPrivs", "0").strip() == "1",
        "seccomp_mode": int(status.get("Seccomp", "0")),
        "interfaces": read_interfaces(),
        "root_read_only": "ro" in mounts.get("/", ()),
        "writable_mounts": sorted(
            path + ":" + ",".join(sorted(options))
            for path, options in mounts.items()
            if "rw" in options
        ),
        "memory_limit_bytes": limit,
        "memory_and_swap_limit_bytes": swap
        if swap is not None
        else read_number(memory + "/memory.memsw.limit_in_bytes"),
        "pids_limit": read_number("/sys/fs/cgroup/pids/pids.max", shared + "/pids.max"),
        "cpus": read_cpus(),
        "oom_score_adjustment": int(read_text("/proc/self/oom_score_adj") or 0),
        "rlimits": read_rlimits(),
        "environment": sorted(environment),
        "hostname": host.nodename,
        "kernel": host.release,
        "python": ".".join(map(str, sys.version_info[:3])),
    }


def plain_json(value):
    """JSON of the posture's few kinds of value, without loading the json package."""
    if value is None or value is True or value is False:
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, dict):
        return "{" + ",".join(f"{plain_json(k)}:{plain_json(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(plain_json, value)) + "]"
    return encode_basestring_ascii(value) if isinstance(value, str) else repr(value)


# --- results


class ResultNotJSON(Exception):  # noqa: N818  the name is what the author of a tool reads
    """The tool returned something that JSON cannot hold."""


class ResultEncoder:
    """Turns what a tool returned into values that JSON has."""

    def __init__(self, max_depth):
        self.max_depth = max_depth

    def encode(self, value):
        """The bytes of the value.

        Raises:
            ResultNotJSON: With the place and the type that cannot be sent.
        """
        import json

        try:
            text = json.dumps(
                self.plain(value, "result", 0),
                ensure_ascii=False,
                allow_nan=False,
                separators=(",", ":"),
            )
            return text.encode()
        except UnicodeEncodeError:
            raise ResultNotJSON("the result has a string with half a surrogate pair") from None
        except ValueError as error:
            raise ResultNotJSON(f"the result is not JSON: {error}") from None

    def plain(self, value, place, depth):
        """`value` made of None, bool, int, float, str, list and dict."""
        from enum import Enum

        if isinstance(value, Enum):
            value = value.value
        if value is None or isinstance(value, (bool, int, float, str)):
            return value
        if depth >= self.max_depth:
            raise ResultNotJSON(f"the result is nested deeper than {self.max_depth}, at {place}")
        if isinstance(value, dict):
            return self.plain_dict(value, place, depth)
        if isinstance(value, (list, tuple)):
            return [
                self.plain(item, f"{place}[{index}]", depth + 1) for index, item in enumerate(value)
            ]
        if hasattr(type(value), "__dataclass_fields__"):
            return self.plain_dataclass(value, place, depth)
        raise ResultNotJSON(
            f"{place} is of type {type(value).__name__}, which is not JSON; return None, bool, "
            "int, float, str, list, tuple, dict, an Enum or a dataclass"
        )

    def plain_dict(self, value, place, depth):
        """A dict; its keys become strings as the json module makes them."""
        result = {}
        for key, item in value.items():
            name = self.plain_key(key, place)
            if name in result:
                raise ResultNotJSON(f"{place} has two keys that are both {name!r} in JSON")
            result[name] = self.plain(item, f"{place}[{name!r}]", depth + 1)
        return result

    def plain_key(self, key, place):
        """The JSON name of a dict's key."""
        from enum import Enum

        if isinstance(key, Enum):
            key = key.value
        if isinstance(key, str):
            return str(key)
        if key is None or isinstance(key, bool):
            return {None: "null", True: "true", False: "false"}[key]
        if isinstance(key, (int, float)):
            return repr(key)
        raise ResultNotJSON(
            f"{place} has a key of type {type(key).__name__}, which is not JSON; use strings"
        )

    def plain_dataclass(self, value, place, depth):
        """A dataclass, field by field."""
        import dataclasses

        return {
            field.name: self.plain(getattr(value, field.name), f"{place}.{field.name}", depth + 1)
            for field in dataclasses.fields(value)
        }


# --- errors


def bounded(text, size):
    """The beginning and the end of a text, without anything that UTF-8 cannot hold."""
    if len(text) > size:
        half = size // 2
        text = f"{text[:half]}\n... {len(text) - 2 * half} characters left out ...\n{text[-half:]}"
    return text.encode("utf-8", "backslashreplace").decode()


def own_frames(error):
    """The lines of a traceback that are the tool's own."""
    import traceback

    frames = [f for f in traceback.extract_tb(error.__traceback__) if f.filename == TOOL_FILE]
    return traceback.StackSummary.from_list(frames).format()


def format_one(error):
    """One exception as Python would show it, with the tool's own lines only."""
    import traceback

    lines = own_frames(error)
    header = ["Traceback (most recent call last):\n"] if lines else []
    return "".join(header + lines + traceback.format_exception_only(type(error), error))


def format_error(error):
    """An exception with those that led to it, the first of them first."""
    parts = []
    for _ in range(CHAINED_EXCEPTIONS):
        parts.append(format_one(error))
        if error.__cause__ is not None:
            error, link = error.__cause__, "the direct cause of"
        elif error.__context__ is not None and not error.__suppress_context__:
            error, link = error.__context__, "followed by"
        else:
            break
        parts.append(f"\nThe above was {link}:\n\n")
    return "".join(reversed(parts))


def describe(error):
    """The payload of an error frame; the tool's own `__str__` may do anything but end it."""
    import json

    try:
        message = str(error)
    except BaseException:  # noqa: BLE001  the tool's own code
        message = "(the exception's text cannot be made)"
    try:
        shown = format_error(error)
    except BaseException:  # noqa: BLE001  the tool's own code
        shown = ""
    report = {
        "type": bounded(type(error).__name__, 200),
        "message": bounded(message, MESSAGE_CHARACTERS),
        "traceback": bounded(shown, TRACEBACK_CHARACTERS),
    }
    return json.dumps(report).encode()


# --- calls


class Program:
    """A tool's source, run anew for each call."""

    def __init__(self, source, function):
        self.source = source
        self.function = function
        self.code = None

    def call(self, arguments):
        """Run the source in a fresh module and call its function."""
        function = self.load()
        positional, keywords = bind(function, arguments)
        result = function(*positional, **keywords)
        return finish(result) if hasattr(type(result), "__await__") else result

    def load(self):
        """The function, from a fresh module that dataclasses and typing find by its name."""
        import linecache

        if self.code is None:
            lines = self.source.splitlines(keepends=True)
            linecache.cache[TOOL_FILE] = (len(self.source), None, lines, TOOL_FILE)
            self.code = compile(self.source, TOOL_FILE, "exec", dont_inherit=True)
        module = type(sys)(TOOL_MODULE)
        sys.modules[TOOL_MODULE] = module
        exec(self.code, module.__dict__)  # noqa: S102  this is the place where tools run
        try:
            return module.__dict__[self.function]
        except KeyError:
            raise NameError(f"the source defines no function {self.function!r}") from None


def bind(function, arguments):
    """Arguments by name, but for those that the function takes by position only."""
    plain = function
    while hasattr(plain, "__wrapped__"):
        plain = plain.__wrapped__
    code = getattr(plain, "__code__", None)
    if code is None or not code.co_posonlyargcount:
        return [], arguments
    names = code.co_varnames[: code.co_posonlyargcount]
    defaults = plain.__defaults__ or ()
    optional = dict(zip(code.co_varnames[: code.co_argcount][::-1], defaults[::-1], strict=False))
    keywords, positional = dict(arguments), []
    for name in names:
        if not any(later in keywords for later in names[len(positional) :]):
            break
        if name not in keywords and name not in optional:
            break
        positional.append(keywords.pop(name, optional.get(name)))
    return positional, keywords


def finish(awaitable):
    """The result of an `async def`."""
    import asyncio

    async def wait():
        return await awaitable

    return asyncio.run(wait())


def flush():
    """Let out what was printed; the tool may have broken the streams."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except BaseException:  # noqa: BLE001, S112  the tool's own doing, and nothing of ours
            continue


def answer(program, arguments, encoder):
    """Kind and payload of the answer to one call."""
    try:
        return VALUE, encoder.encode(program.call(arguments))
    except BaseException as error:  # noqa: BLE001  whatever the tool raises is its answer
        return ERROR, describe(error)


def serve(inbox, channel):
    """Take the program, then answer its calls until the host ends the container."""
    import json

    process = os.getpid()
    _, _, payload = inbox.get()
    order = json.loads(payload)
    program = Program(order["code"], order["function"])
    encoder = ResultEncoder(order["max_depth"])
    while True:
        _, call, payload = inbox.get()
        kind, reply = answer(program, json.loads(payload), encoder)
        flush()
        if os.getpid() != process:
            os._exit(
                0
            )  # a child that the tool forked came back here: the answer is not its to give
        write_frame(channel, kind, call, reply)


def stop_for_cpu(_number, _frame):
    """The soft limit on processor time is used up."""
    os._exit(EXIT_CPU_LIMIT)


def main():
    """Lower what is left to lower, tell the posture, serve."""
    address_space = int(sys.argv[1])
    resource.setrlimit(resource.RLIMIT_AS, (address_space, address_space))
    _signal.signal(_signal.SIGXCPU, stop_for_cpu)
    environment = list(os.environ)
    os.environ.clear()
    sys.argv[:] = [TOOL_MODULE]
    incoming, outgoing = take_channels()
    write_frame(outgoing, POSTURE, 0, plain_json(read_posture(environment)).encode())

    inbox = SimpleQueue()
    _thread.start_new_thread(listen, (incoming, inbox))
    serve(inbox, outgoing)


if __name__ == "__main__":
    main()
