"""Which modules a tool may import at each level, and which of their members it may not use."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from difflib import get_close_matches
from enum import StrEnum
from typing import Final

from policies.permissions import LintLevel


class Access(StrEnum):
    """What a level says about one module."""

    ALLOWED = "allowed"
    DECLARE = "declare"
    """Available at L2, when `Permissions.imports` names it."""

    NETWORK = "network"
    """Available at L3, or of no use to any tool: only HTTP leaves a container."""

    PACKAGE = "package"
    """Not in the standard library: available at L1, in a package that is declared."""

    NEVER = "never"


PURE: Final = frozenset(
    {
        *("__future__", "abc", "array", "ast", "base64", "binascii", "bisect", "calendar"),
        *("cmath", "collections", "collections.abc", "colorsys", "contextlib", "copy", "csv"),
        *("dataclasses", "datetime", "decimal", "difflib", "enum", "fnmatch", "fractions"),
        *("functools", "graphlib", "hashlib", "heapq", "hmac", "html", "html.entities"),
        *("html.parser", "io", "ipaddress", "itertools", "json", "json.decoder"),
        *("json.encoder", "keyword", "math", "numbers", "operator", "pathlib", "pprint"),
        *("queue", "random", "re", "secrets", "statistics", "string", "struct", "sys"),
        *("textwrap", "time", "tomllib", "types", "typing", "unicodedata", "urllib"),
        *("urllib.parse", "uuid", "zlib", "zoneinfo"),
    }
)
"""L0: computation alone. Some of them only with the members of `ONLY`."""

DECLARABLE: Final = frozenset(
    {
        *("argparse", "asyncio", "bz2", "codecs", "concurrent", "concurrent.futures"),
        *("configparser", "contextvars", "email", "email.header", "email.message"),
        *("email.mime", "email.mime.multipart", "email.mime.text", "email.parser"),
        *("email.policy", "email.utils", "errno", "filecmp", "fileinput", "getopt", "glob"),
        *("gzip", "locale", "logging", "lzma", "mimetypes", "ntpath", "os", "os.path"),
        *("posixpath", "sched", "shlex", "shutil", "sqlite3", "stat", "stringprep"),
        *("tarfile", "tempfile", "threading", "traceback", "warnings", "weakref", "xml"),
        *("xml.dom", "xml.dom.minidom", "xml.etree", "xml.etree.ElementTree", "xml.sax"),
        *("xml.sax.saxutils", "zipfile"),
    }
)
"""L2: files, threads and the event loop inside of the container."""

CLIENTS: Final = frozenset(
    {
        *("http", "http.client", "http.cookiejar", "http.cookies", "select", "selectors"),
        *("socket", "ssl", "urllib.error", "urllib.request", "urllib.response"),
        "urllib.robotparser",
    }
)
"""L3: HTTP through the broker. Sockets reach its proxy and nothing else, so they do no harm."""

NETWORK: Final = CLIENTS | {
    *("ftplib", "imaplib", "nntplib", "poplib", "smtplib", "socketserver", "telnetlib"),
    *("webbrowser", "wsgiref", "xmlrpc"),
    *("aiohttp", "httpx", "requests", "urllib3", "websockets"),
}
"""Everything that is for the network, packages included."""

WELL_KNOWN_PACKAGES: Final = frozenset(
    {"numpy", "pandas", "scipy", "sympy", "matplotlib", "pydantic", "requests", "httpx", "yaml"}
)

ONLY: Final[dict[str, frozenset[str]]] = {
    "io": frozenset({"StringIO", "BytesIO", "SEEK_SET", "SEEK_CUR", "SEEK_END"}),
    "pathlib": frozenset({"PurePath", "PurePosixPath", "PureWindowsPath"}),
    "sys": frozenset(
        {
            *("maxsize", "float_info", "int_info", "hash_info", "byteorder", "version_info"),
            *("maxunicode", "version", "getsizeof", "getrecursionlimit", "platform"),
        }
    ),
    "types": frozenset(
        {
            *("SimpleNamespace", "MappingProxyType", "GeneratorType", "NoneType", "UnionType"),
            *("GenericAlias", "EllipsisType", "NotImplementedType", "MethodType"),
        }
    ),
    "ast": frozenset(
        {
            *("parse", "literal_eval", "dump", "walk", "unparse", "iter_child_nodes"),
            *("iter_fields", "get_docstring", "NodeVisitor", "NodeTransformer", "AST"),
            *("Expression", "Constant", "BinOp", "UnaryOp", "BoolOp", "Compare", "Call", "Name"),
            *("Attribute", "Subscript", "List", "Tuple", "Dict", "Set", "Load", "Module", "Expr"),
            *("Add", "Sub", "Mult", "Div", "FloorDiv", "Mod", "Pow", "USub", "UAdd", "Not"),
            *("And", "Or", "Eq", "NotEq", "Lt", "LtE", "Gt", "GtE", "In", "NotIn", "Is", "IsNot"),
            *("BitAnd", "BitOr", "BitXor", "Invert", "LShift", "RShift", "MatMult", "IfExp"),
            *("FunctionDef", "AsyncFunctionDef", "ClassDef", "Import", "ImportFrom", "Assign"),
            *("Return", "If", "For", "While", "Try", "With", "Lambda", "operator", "unaryop"),
            *("cmpop", "expr", "stmt", "expr_context", "boolop", "keyword", "Slice"),
        }
    ),
}
"""Modules of L0 of which only these members are harmless."""

LIFTED: Final = frozenset({"ast", "io", "pathlib", "sys"})
"""Modules of `ONLY` that are whole again, but for the denied members, when declared at L2."""

_PROCESS: Final = frozenset(
    {
        *("abort", "chroot", "fork", "forkpty", "kill", "killpg", "nice", "pidfd_open", "popen"),
        *("posix_openpt", "posix_spawn", "posix_spawnp", "register_at_fork", "setns", "setsid"),
        *("startfile", "system", "unshare", "wait", "wait3", "wait4", "waitid", "waitpid"),
        *("openpty", "login_tty", "memfd_create", "eventfd", "pidfd_send_signal", "setpgid"),
        *("execl", "execle", "execlp", "execlpe", "execv", "execve", "execvp", "execvpe"),
        *("spawnl", "spawnle", "spawnlp", "spawnlpe", "spawnv", "spawnve", "spawnvp"),
        *("spawnvpe", "setuid", "setgid", "setreuid", "setregid", "setresuid", "setresgid"),
        *("seteuid", "setegid", "setgroups", "initgroups", "dup2", "sched_setaffinity"),
    }
)

DENIED: Final[dict[str, frozenset[str]]] = {
    "ast": frozenset({"main"}),
    "io": frozenset({"OpenWrapper"}),
    "base64": frozenset({"main", "test"}),
    "calendar": frozenset({"main"}),
    "contextlib": frozenset({"chdir"}),
    "dataclasses": frozenset({"make_dataclass"}),
    "enum": frozenset({"global_enum", "global_enum_repr", "global_flag_repr"}),
    "random": frozenset({"main"}),
    "string": frozenset({"Formatter"}),
    "time": frozenset({"clock_settime", "clock_settime_ns", "tzset"}),
    "functools": frozenset({"singledispatch", "singledispatchmethod", "update_wrapper"}),
    "typing": frozenset({"get_type_hints", "ForwardRef", "evaluate_forward_ref", "get_args"}),
    "uuid": frozenset({"getnode", "main", "uuid1", "uuid6"}),
    "zoneinfo": frozenset({"reset_tzpath"}),
    "asyncio": frozenset(
        {
            *("create_subprocess_exec", "create_subprocess_shell", "subprocess"),
            *("open_connection", "start_server", "open_unix_connection", "start_unix_server"),
        }
    ),
    "concurrent.futures": frozenset({"ProcessPoolExecutor", "InterpreterPoolExecutor", "process"}),
    "logging": frozenset({"config", "handlers"}),
    "os": _PROCESS,
    "threading": frozenset(
        {"setprofile", "settrace", "setprofile_all_threads", "settrace_all_threads"}
    ),
    "sys": frozenset(
        {
            *("modules", "meta_path", "path_hooks", "path_importer_cache", "settrace"),
            *("setprofile", "addaudithook", "displayhook", "excepthook", "unraisablehook"),
            *("breakpointhook", "monitoring", "activate_stack_trampoline", "setdlopenflags"),
            *("exc_info", "last_traceback", "call_tracing", "remote_exec", "path"),
            *("set_asyncgen_hooks", "set_coroutine_origin_tracking_depth"),
        }
    ),
}
"""Members that no tool may use, at any level, of modules that it may: they lead to processes and
frames, evaluate text (annotations included), or read attributes by computed names."""

_KNOWN: Final = sorted(PURE | DECLARABLE | NETWORK | WELL_KNOWN_PACKAGES)


@dataclass(frozen=True, slots=True)
class ImportRules:
    """What one tool may import: its level, and what its permissions name."""

    level: LintLevel
    declared: frozenset[str] = field(default=frozenset())

    @property
    def code_level(self) -> bool:
        """Whether the wider rules of L2 hold."""
        return self.level in {LintLevel.L2, LintLevel.L3}

    def allows(self, module: str) -> bool:
        """Whether `module` may be imported as things are declared."""
        if module in PURE or (self.level is LintLevel.L3 and module in CLIENTS):
            return True
        return self.code_level and module in DECLARABLE and self.is_declared(module)

    def is_declared(self, module: str) -> bool:
        """Whether `module`, or a package that it belongs to, is declared."""
        parts = module.split(".")
        parents = {".".join(parts[: end + 1]) for end in range(len(parts))}
        return bool(parents & self.declared) or any(
            name.startswith(module + ".") for name in self.declared
        )

    def only(self, module: str) -> frozenset[str] | None:
        """The members that alone may be used; None where all but the denied ones may."""
        if self.code_level and module in LIFTED and self.is_declared(module):
            return None
        return ONLY.get(module)

    def can_lift(self, module: str) -> bool:
        """Whether declaring `module` would make more of it available."""
        return module in LIFTED


def access(module: str) -> Access:
    """Where `module` stands, whatever a tool declares."""
    if module in PURE:
        return Access.ALLOWED
    if module in DECLARABLE:
        return Access.DECLARE
    root = module.partition(".")[0]
    if module in NETWORK or root in NETWORK:
        return Access.NETWORK
    if root in sys.stdlib_module_names or root in {"nntplib", "telnetlib", "distutils"}:
        return Access.NEVER
    return Access.PACKAGE


def nearest_module(module: str) -> str | None:
    """A known module that `module` may be a misspelling of."""
    near = get_close_matches(module, _KNOWN, n=1, cutoff=0.75)
    return near[0] if near else None
