"""What a tool can reach, in the words of a person who has to answer for it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from policies.marking import mark_text
from policies.permissions import LintLevel, Permissions
from runtime.review.parts import Capability, Risk


def capabilities_of(permissions: Permissions, locked: Sequence[str] = ()) -> tuple[Capability, ...]:
    """What `permissions` amount to; `locked` is what came with the declared packages."""
    return tuple(_capabilities(permissions, locked))


def _capabilities(permissions: Permissions, locked: Sequence[str]) -> Iterator[Capability]:
    yield _files(permissions)
    if permissions.hosts:
        yield _say(f"sends requests to {_listed(permissions.hosts)}", Risk.CARE)
    else:
        yield _say("no network", Risk.NONE)
    if permissions.secrets:
        yield _say(f"secrets put into its requests: {_listed(permissions.secrets)}", Risk.CARE)
    yield _packages(permissions, locked)
    if permissions.imports:
        yield _say(f"imports beyond the pure modules: {_listed(permissions.imports)}", Risk.LOOK)
    if permissions.tools:
        count = len(permissions.tools)
        yield _say(f"calls {count} other tool{_s(count)}: {_listed(permissions.tools)}", Risk.LOOK)
    if permissions.lint_level >= LintLevel.L2:
        yield _say("the container is the only wall: its code is hardly restricted", Risk.LOOK)


def _files(permissions: Permissions) -> Capability:
    reads, writes = "input" in permissions.files, "output" in permissions.files
    if reads and writes:
        return _say("reads the files of a call and leaves files", Risk.LOOK)
    if reads:
        return _say("reads the files of a call", Risk.LOOK)
    if writes:
        return _say("reads nothing, leaves files", Risk.LOOK)
    return _say("reads nothing", Risk.NONE)


def _packages(permissions: Permissions, locked: Sequence[str]) -> Capability:
    count = len(permissions.packages)
    if not count:
        return _say("no packages", Risk.NONE)
    others = max(0, len(locked) - count)
    brought = f" ({others} more come with them)" if others else ""
    names = _listed(permissions.packages)
    return _say(f"{count} package{_s(count)}: {names}{brought}", Risk.LOOK)


def _say(words: str, risk: Risk) -> Capability:
    return Capability(words=mark_text(words), risk=risk)


def _listed(values: Sequence[str]) -> str:
    return ", ".join(values)


def _s(count: int) -> str:
    return "" if count == 1 else "s"
