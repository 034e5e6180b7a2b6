"""Modules reachable as attributes of allowed modules; made by scripts/module_leaks.py.

The union over the supported interpreters. Submodules count whether or not they are loaded.
"""

from __future__ import annotations

from typing import Final

LEAKS: Final[dict[str, frozenset[str]]] = {
    "argparse": frozenset({"warnings"}),
    "ast": frozenset({"re", "sys"}),
    "asyncio": frozenset(
        {
            "base_events",
            "base_futures",
            "base_subprocess",
            "base_tasks",
            "constants",
            "coroutines",
            "events",
            "exceptions",
            "format_helpers",
            "futures",
            "locks",
            "log",
            "mixins",
            "proactor_events",
            "protocols",
            "queues",
            "runners",
            "selector_events",
            "sslproto",
            "staggered",
            "streams",
            "subprocess",
            "sys",
            "taskgroups",
            "tasks",
            "threads",
            "timeouts",
            "transports",
            "trsock",
            "unix_events",
            "windows_events",
            "windows_utils",
        }
    ),
    "base64": frozenset({"binascii", "re", "struct"}),
    "bz2": frozenset({"io", "os"}),
    "calendar": frozenset({"datetime", "sys", "warnings"}),
    "codecs": frozenset({"builtins", "sys"}),
    "collections.abc": frozenset({"sys"}),
    "concurrent.futures": frozenset({"process", "thread"}),
    "configparser": frozenset(
        {"contextlib", "functools", "io", "itertools", "os", "re", "sys", "types", "warnings"}
    ),
    "contextlib": frozenset({"abc", "os", "sys"}),
    "csv": frozenset({"re", "types"}),
    "dataclasses": frozenset(
        {
            "abc",
            "builtins",
            "copy",
            "functools",
            "inspect",
            "itertools",
            "keyword",
            "re",
            "sys",
            "types",
        }
    ),
    "datetime": frozenset({"sys"}),
    "email": frozenset(
        {
            "base64mime",
            "charset",
            "contentmanager",
            "encoders",
            "errors",
            "feedparser",
            "generator",
            "headerregistry",
            "iterators",
            "quoprimime",
        }
    ),
    "email.header": frozenset({"binascii", "email", "re"}),
    "email.message": frozenset({"binascii", "errors", "quopri", "re", "utils"}),
    "email.mime": frozenset({"application", "audio", "base", "image", "message", "nonmultipart"}),
    "email.policy": frozenset({"re", "sys"}),
    "email.utils": frozenset({"datetime", "os", "random", "re", "socket", "time", "urllib"}),
    "enum": frozenset({"bltns", "sys"}),
    "filecmp": frozenset({"os", "stat"}),
    "fileinput": frozenset({"io", "os", "sys"}),
    "fnmatch": frozenset({"functools", "os", "posixpath", "re"}),
    "fractions": frozenset({"functools", "math", "numbers", "operator", "re", "sys"}),
    "getopt": frozenset({"os"}),
    "glob": frozenset(
        {"contextlib", "fnmatch", "functools", "itertools", "operator", "os", "re", "stat", "sys"}
    ),
    "gzip": frozenset({"builtins", "io", "os", "struct", "sys", "time", "zlib"}),
    "html.parser": frozenset({"re"}),
    "http": frozenset({"server"}),
    "http.client": frozenset(
        {"collections", "email", "errno", "http", "io", "re", "socket", "ssl", "sys"}
    ),
    "http.cookiejar": frozenset({"copy", "datetime", "http", "os", "re", "time", "urllib"}),
    "http.cookies": frozenset({"re", "string", "types"}),
    "io": frozenset({"abc"}),
    "ipaddress": frozenset({"functools"}),
    "json": frozenset({"codecs", "scanner", "tool"}),
    "json.decoder": frozenset({"re", "scanner"}),
    "json.encoder": frozenset({"re"}),
    "locale": frozenset({"encodings", "functools", "re", "sys"}),
    "logging": frozenset(
        {
            "atexit",
            "collections",
            "config",
            "handlers",
            "io",
            "os",
            "re",
            "sys",
            "threading",
            "time",
            "traceback",
            "warnings",
            "weakref",
        }
    ),
    "lzma": frozenset({"builtins", "io", "os"}),
    "mimetypes": frozenset({"os", "posixpath", "sys", "urllib"}),
    "ntpath": frozenset({"genericpath", "os", "stat", "sys"}),
    "os": frozenset({"abc", "st", "sys"}),
    "os.path": frozenset({"genericpath", "os", "stat", "sys"}),
    "pathlib": frozenset(
        {"fnmatch", "functools", "io", "ntpath", "os", "posixpath", "re", "sys", "warnings"}
    ),
    "posixpath": frozenset({"genericpath", "os", "stat", "sys"}),
    "pprint": frozenset({"re"}),
    "queue": frozenset({"threading", "types"}),
    "re": frozenset({"copyreg", "enum", "functools"}),
    "sched": frozenset({"heapq", "threading", "time"}),
    "secrets": frozenset({"base64", "binascii"}),
    "selectors": frozenset({"math", "select", "sys"}),
    "shlex": frozenset({"os", "re", "sys"}),
    "shutil": frozenset(
        {"collections", "errno", "fnmatch", "os", "posix", "stat", "sys", "warnings"}
    ),
    "socket": frozenset({"array", "errno", "io", "os", "selectors", "sys"}),
    "sqlite3": frozenset({"collections", "datetime", "dbapi2", "dump", "time"}),
    "ssl": frozenset({"base64", "errno", "os", "sys", "warnings"}),
    "statistics": frozenset({"math", "numbers", "random", "sys"}),
    "sys": frozenset({"monitoring"}),
    "tarfile": frozenset(
        {
            "copy",
            "grp",
            "io",
            "os",
            "pwd",
            "re",
            "shutil",
            "stat",
            "struct",
            "sys",
            "time",
            "warnings",
        }
    ),
    "textwrap": frozenset({"re"}),
    "threading": frozenset({"functools", "warnings"}),
    "traceback": frozenset(
        {"collections", "itertools", "linecache", "sys", "textwrap", "warnings"}
    ),
    "typing": frozenset(
        {
            "collections",
            "contextlib",
            "copyreg",
            "functools",
            "operator",
            "stdlib_re",
            "sys",
            "types",
            "warnings",
        }
    ),
    "urllib": frozenset({"error", "request", "response", "robotparser"}),
    "urllib.error": frozenset({"io", "urllib"}),
    "urllib.parse": frozenset({"functools", "ipaddress", "math", "re", "sys", "types", "warnings"}),
    "urllib.request": frozenset(
        {
            "base64",
            "bisect",
            "contextlib",
            "email",
            "hashlib",
            "http",
            "io",
            "os",
            "posixpath",
            "re",
            "socket",
            "ssl",
            "string",
            "sys",
            "tempfile",
            "time",
            "warnings",
        }
    ),
    "urllib.response": frozenset({"tempfile"}),
    "urllib.robotparser": frozenset({"collections", "urllib"}),
    "uuid": frozenset({"os", "platform", "sys"}),
    "warnings": frozenset({"sys"}),
    "weakref": frozenset({"itertools", "sys"}),
    "xml": frozenset({"parsers"}),
    "xml.dom": frozenset(
        {"NodeFilter", "domreg", "expatbuilder", "minicompat", "pulldom", "xmlbuilder"}
    ),
    "xml.dom.minidom": frozenset({"domreg", "io", "xml"}),
    "xml.etree": frozenset({"ElementInclude", "ElementPath", "cElementTree"}),
    "xml.etree.ElementTree": frozenset(
        {"ElementPath", "collections", "contextlib", "io", "re", "sys", "warnings", "weakref"}
    ),
    "xml.sax": frozenset({"expatreader", "handler", "xmlreader"}),
    "xml.sax.saxutils": frozenset({"codecs", "handler", "io", "os", "urllib", "xmlreader"}),
    "zipfile": frozenset(
        {
            "binascii",
            "bz2",
            "contextlib",
            "importlib",
            "io",
            "itertools",
            "lzma",
            "os",
            "pathlib",
            "posixpath",
            "shutil",
            "stat",
            "struct",
            "sys",
            "threading",
            "time",
            "zlib",
        }
    ),
}
