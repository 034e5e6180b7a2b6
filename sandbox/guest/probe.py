"""What `toolkiln doctor` runs in a container: tries each wall and says what happened.

Guest source like a tool's, read as text and never imported. Each attempt answers in a word what
the kernel said to it: the name of an error, or what was possible.
"""

# ruff: noqa: ANN001, ANN201, PLR2004  guest source, in the style of tools
# ruff: noqa: PTH108, PTH110, PTH123, S108  the guest's own folder, by the system's own calls
# ruff: noqa: PLC0415  a module that is missing is an answer

import errno
import mmap
import os
import threading


def told(attempt):
    """The word for what came of an attempt."""
    try:
        answer = attempt()
    except OSError as error:
        return errno.errorcode.get(error.errno, str(error.errno))
    except Exception as error:  # noqa: BLE001  its name is the answer
        return type(error).__name__
    return "possible" if answer is None else answer


def write_root():
    """Make a file outside of /tmp."""
    with open("/mark", "w", encoding="ascii"):
        pass


def run_from_tmp():
    """Map a file of /tmp as a program would be."""
    path = "/tmp/program"
    with open(path, "wb") as file:
        file.write(b"\x90" * mmap.PAGESIZE)
    with open(path, "rb") as file:
        mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ | mmap.PROT_EXEC, flags=mmap.MAP_PRIVATE)


def become_root():
    """Change to user 0."""
    os.setuid(0)


def open_socket():
    """Make a network socket."""
    import socket

    socket.socket(socket.AF_INET).close()


def make_process():
    """Fork, and end the child."""
    if os.fork() == 0:
        os._exit(0)
    os.wait()


def read_symbols():
    """Read the kernel's addresses, or what stands in their place."""
    with open("/proc/kallsyms", "rb") as file:
        return "possible" if file.read(1) else "empty"


def use_shared_memory():
    """Write where containers of one engine could share memory."""
    with open("/dev/shm/mark", "w", encoding="ascii"):
        pass


def name_group():
    """Whether the names of control groups tell of the host."""
    with open("/proc/self/cgroup", encoding="ascii") as file:
        paths = {line.rstrip("\n").split(":", 2)[2] for line in file}
    return "private" if paths <= {"/"} else "shown"


def fill_tmp():
    """How many KiB go into /tmp, over several files."""
    piece, written = b"\0" * 65536, 0
    try:
        for number in range(64):
            with open(f"/tmp/fill{number}", "wb", buffering=0) as file:
                for _ in range(64):
                    written += file.write(piece)
    except OSError as error:
        word = errno.errorcode.get(error.errno, "?")
    else:
        word = "possible"
    for number in range(64):
        if os.path.exists(f"/tmp/fill{number}"):
            os.unlink(f"/tmp/fill{number}")
    return [written // 1024, word]


def fill_names():
    """How many files fit into /tmp."""
    made = 0
    try:
        for number in range(5000):
            os.close(os.open(f"/tmp/name{number}", os.O_CREAT | os.O_WRONLY))
            made += 1
    except OSError as error:
        word = errno.errorcode.get(error.errno, "?")
    else:
        word = "possible"
    for number in range(made):
        os.unlink(f"/tmp/name{number}")
    return [made, word]


def open_files():
    """How many files can be open."""
    held = []
    try:
        while len(held) < 10_000:
            held.append(os.open("/dev/null", os.O_RDONLY))
    except OSError as error:
        word = errno.errorcode.get(error.errno, "?")
    else:
        word = "possible"
    for descriptor in held:
        os.close(descriptor)
    return [len(held), word]


def one_large_file():
    """How large one file can be, without writing it."""
    descriptor = os.open("/tmp/large", os.O_CREAT | os.O_WRONLY)
    try:
        os.ftruncate(descriptor, 1 << 40)
    finally:
        os.close(descriptor)
        os.unlink("/tmp/large")


def start_threads():
    """How many threads can run."""
    done = threading.Event()
    threads = []
    try:
        while len(threads) < 2000:
            thread = threading.Thread(target=done.wait, daemon=True)
            thread.start()
            threads.append(thread)
    except RuntimeError:
        word = "refused"
    else:
        word = "possible"
    done.set()
    for thread in threads:
        thread.join()
    return [len(threads), word]


def raise_limit():
    """Raise a limit above its ceiling."""
    import resource

    resource.setrlimit(resource.RLIMIT_NOFILE, (100_000, 100_000))


def probe():
    """Try everything that does not end the process."""
    attempts = (
        write_root,
        run_from_tmp,
        become_root,
        open_socket,
        make_process,
        read_symbols,
        use_shared_memory,
        name_group,
        fill_tmp,
        fill_names,
        open_files,
        one_large_file,
        start_threads,
        raise_limit,
    )
    return {attempt.__name__: told(attempt) for attempt in attempts}


def use_memory(size):
    """Use `size` bytes of memory."""
    held = bytearray(size)
    held[:: mmap.PAGESIZE] = b"x" * len(held[:: mmap.PAGESIZE])
    return len(held)


def flood():
    """Print without end."""
    while True:
        os.write(1, b"x" * 65536)
