"""The few calls of the kernel that Python has no name for.

They go through the interpreter's foreign function module, which guests do not have: it lies in
a folder of the image that only user 0 may enter. The fork server loads it from there; to import
it by name is not possible, before or after.
"""

# ruff: noqa: ANN001, ANN002, ANN201, ANN204  annotations cost start time; types are plain

import _imp
import os
import struct
import sys

PR_SET_SECCOMP, SECCOMP_MODE_FILTER = 22, 2
FOLDER = "/opt/private"


class Spec:
    """What the loader of extension modules wants to know of one."""

    def __init__(self, name, origin):
        self.name = name
        self.origin = origin
        self.loader = None
        self.submodule_search_locations = None


def load_library(path):
    """Map a library, so that an extension module which needs it finds it by its name."""
    try:
        _imp.create_dynamic(Spec("library", path))
    except ImportError:  # it is no module, but stays mapped
        return


def load_module():
    """The foreign function module; it is in no table of modules afterwards."""
    if "_ctypes" in sys.builtin_module_names:
        import _ctypes as module  # noqa: PLC0415  part of this interpreter's binary
    else:
        names = sorted(os.listdir(FOLDER))  # noqa: PTH208  pathlib costs start time
        extension = next(name for name in names if name.startswith("_ctypes"))
        for name in names:
            if name != extension:
                load_library(f"{FOLDER}/{name}")
        module = _imp.create_dynamic(Spec("_ctypes", f"{FOLDER}/{extension}"))
        _imp.exec_dynamic(module)
    for name in [name for name in sys.modules if name.startswith("_ctypes")]:
        del sys.modules[name]
    return module


class Native:
    """Calls into the C library by name."""

    def __init__(self):
        module = load_module()
        library = module.dlopen(None, 0)
        self.call_function = module.call_function
        self.address_of_prctl = module.dlsym(library, "prctl")
        self.address_of_syscall = module.dlsym(library, "syscall")

    def prctl(self, *arguments):
        """The answer of `prctl`; -1 is a refusal. Bytes are passed as their address."""
        return self.call_function(self.address_of_prctl, (*arguments, 0, 0, 0, 0)[:5])

    def syscall(self, number, *arguments):
        """The answer of a system call; -1 is a refusal."""
        return self.call_function(self.address_of_syscall, (number, *arguments))

    def syscall_step(self, number, *arguments):
        """The same for later, as a function and its arguments."""
        return self.call_function, (self.address_of_syscall, (number, *arguments))

    def filter_step(self, program):
        """A step that filters the system calls of whoever takes it; `program` must stay."""
        # A bytes object keeps its text behind its header, one byte of which is the closing zero.
        address = id(program) + bytes.__basicsize__ - 1
        head = struct.pack("=HxxxxxxQ", len(program) // 8, address)
        arguments = (PR_SET_SECCOMP, SECCOMP_MODE_FILTER, head, 0, 0)
        return self.call_function, (self.address_of_prctl, arguments)
