"""Which names a tool may have: plain, not the runtime's own, and not mistakable for them."""

from __future__ import annotations

import keyword
import re
from typing import Final

from policies.reporter import Reporter, shown

BUILTIN_NAMES: Final = frozenset(
    {"define_tool", "find_tools", "create_task", "check_task", "cancel_task"}
)
"""The tools that the runtime itself offers to a model."""

RESERVED_NAMES: Final = BUILTIN_NAMES | frozenset(
    {
        *("call_tool", "list_tools", "run_tool", "get_tool", "load_tool", "search_tools"),
        *("update_tool", "remove_tool", "delete_tool", "approve_tool", "reject_tool"),
        *("review_tool", "revoke_tool", "rollback_tool", "import_tool", "export_tool"),
        *("list_tasks", "get_task", "run_task", "stay_silent", "hand_over", "hand_off"),
        *("transfer_to", "transfer_to_agent", "ask_user", "end_session", "submit", "finish"),
        *("read_file", "write_file", "edit_file", "delete_file", "list_files", "open_file"),
        *("run_command", "run_code", "run_python", "run_shell", "execute_code", "shell"),
        *("bash", "python", "terminal", "code_interpreter", "computer", "apply_patch"),
        *("web_search", "fetch_url", "http_request", "browse", "file_search", "tool_search"),
        *("get_secret", "set_secret", "remember", "recall", "forget"),
        *("multi_tool_use", "parallel", "functions", "assistant", "system", "developer"),
    }
)
"""Names that the runtime has, will have, or that models take for part of their harness."""

FORBIDDEN_BARE_NAMES: Final = frozenset(
    {
        *("open", "eval", "exec", "compile", "globals", "locals", "vars", "dir", "input"),
        *("memoryview", "breakpoint", "__import__", "getattr", "setattr", "delattr"),
        *("exit", "quit", "help", "license", "copyright", "credits", "print", "printed"),
        *("builtins", "self", "cls", "super", "type", "object"),
    }
)
"""Words that a tool named like them would shadow, or that its own lint would refuse."""

_NAME: Final = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,63}", re.ASCII)
_DEVICES: Final = frozenset(
    {"con", "prn", "aux", "nul", *(f"{port}{n}" for port in ("com", "lpt") for n in range(10))}
)
_CONFUSABLE: Final = str.maketrans({"0": "o", "1": "l", "3": "e", "5": "s", "7": "t", "i": "l"})
_RENAME: Final = "rename the tool, and the function in the code with it, to say what it does"


def name_skeleton(name: str) -> str:
    """What a hasty reader sees of `name`: names with equal skeletons are taken for each other."""
    plain = name.casefold().replace("_", "").replace("-", "")
    return plain.translate(_CONFUSABLE).replace("rn", "m").replace("vv", "w")


_RESERVED_SKELETONS: Final = {name_skeleton(name): name for name in sorted(RESERVED_NAMES)}


def check_tool_name(name: str, report: Reporter) -> None:
    """Report everything that is wrong with `name` as the name of a tool."""
    if _NAME.fullmatch(name) is None:
        report.on(
            "LM301",
            None,
            f"the name is {shown(name)!r}; expected an ASCII letter followed by at most 63 "
            "ASCII letters, digits or underscores",
            f"use a name such as {_plain_form(name)!r}",
        )
        return
    if keyword.iskeyword(name) or name in FORBIDDEN_BARE_NAMES:
        report.on("LM302", None, f"the name {name!r} means something else in Python", _RENAME)
    if name.casefold() in _DEVICES:
        report.on("LM305", None, f"the name {name!r} is a device on Windows", _RENAME)
    reserved = _RESERVED_SKELETONS.get(name_skeleton(name))
    if reserved is None and name_skeleton(name).startswith("transferto"):
        reserved = "transfer_to"
    if reserved is not None:
        same = name == reserved
        reads_like = "is" if same else f"reads like {reserved!r}, which is"
        report.on("LM303", None, f"the name {name!r} {reads_like} the runtime's own", _RENAME)
        return
    near = next((b for b in sorted(BUILTIN_NAMES) if _within_one_edit(name.casefold(), b)), None)
    if near is not None:
        report.on(
            "LM304", None, f"the name {name!r} is one slip away from the built-in {near!r}", _RENAME
        )


def _plain_form(name: str) -> str:
    words = re.findall(r"[a-z0-9]+", name.casefold())
    plain = "_".join(words).lstrip("0123456789_")[:64].rstrip("_")
    if not plain or keyword.iskeyword(plain) or plain in FORBIDDEN_BARE_NAMES:
        return "count_words"
    return f"my_{plain[:61]}" if name_skeleton(plain) in _RESERVED_SKELETONS else plain


def _within_one_edit(left: str, right: str) -> bool:
    """Whether one insertion, deletion, replacement or swap of neighbours makes them equal."""
    if abs(len(left) - len(right)) > 1:
        return False
    start = next(
        (i for i, (a, b) in enumerate(zip(left, right, strict=False)) if a != b),
        min(len(left), len(right)),
    )
    rest_left, rest_right = left[start:], right[start:]
    swapped = rest_left[1:2] + rest_left[:1] + rest_left[2:]
    return (
        rest_left[1:] == rest_right[1:]
        or rest_left[1:] == rest_right
        or rest_left == rest_right[1:]
        or swapped == rest_right
    )
