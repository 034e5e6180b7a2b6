"""What `toolkiln doctor` looks at on this side of the engine: packages, home, store, key."""

from __future__ import annotations

import base64
import hashlib
import os
import stat
import sys
from collections.abc import Collection, Iterator
from enum import StrEnum
from importlib.metadata import Distribution, PackageNotFoundError, packages_distributions
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from policies.errors import PoliciesError
from policies.value import Value
from runtime.cli.opening import open_store
from runtime.errors import ExitCode
from runtime.profiles import read_profile
from runtime.settings import Settings
from toolstore.errors import ToolStoreError

PACKAGES: Final = ("policies", "runtime", "sandbox", "toolstore")
DISTRIBUTION: Final = "toolkiln"
OLDEST: Final = (3, 11)
FIRST_UNKNOWN: Final = (3, 15)


class Health(StrEnum):
    """What a check came to."""

    OK = "ok"
    WARNING = "warning"
    """Some commands will not work; the others will."""

    FAILED = "failed"


class Checked(Value):
    """One thing that was looked at."""

    name: str
    health: Health
    detail: str
    advice: str = ""
    exit_code: ExitCode = ExitCode.OK
    """What the command ends with if this is what failed."""

    runtime: str = ""
    """Of the engine, if it was looked at with one of its runtimes."""


def ok(name: str, detail: str) -> Checked:
    """All is well."""
    return Checked(name=name, health=Health.OK, detail=detail)


def warning(name: str, detail: str, advice: str) -> Checked:
    """Something is missing that not everything needs."""
    return Checked(name=name, health=Health.WARNING, detail=detail, advice=advice)


def failed(name: str, detail: str, advice: str, code: ExitCode) -> Checked:
    """Something must be mended."""
    return Checked(name=name, health=Health.FAILED, detail=detail, advice=advice, exit_code=code)


async def check_host(settings: Settings) -> tuple[Checked, ...]:
    """Everything but the engine."""
    shipped_by = packages_distributions()
    return (
        check_python(),
        *(check_package(name, shipped_by.get(name, ())) for name in PACKAGES),
        check_home(settings.home),
        await check_store(settings),
        check_policy(settings),
        check_model(settings),
    )


def check_python() -> Checked:
    """A version that this was tried on."""
    version = ".".join(map(str, sys.version_info[:3]))
    if OLDEST <= sys.version_info[:2] < FIRST_UNKNOWN:
        return ok("python", version)
    return failed("python", version, "use Python 3.11 to 3.14", ExitCode.MISSING)


def check_package(name: str, distributions: Collection[str]) -> Checked:
    """Whether the package of this plain name is ours, and as it was installed."""
    what = f"package {name}"
    advice = (
        f"install {DISTRIBUTION} into an environment of its own (pipx, uv tool, a container): "
        f"another project here also has a package called {name!r}"
    )
    spec = find_spec(name)
    place = Path(spec.origin).parent.parent if spec and spec.origin else None
    ours = Path(__file__).resolve().parents[2]
    if place is None or place.resolve() != ours:
        return failed(what, f"comes from {place}, not from {ours}", advice, ExitCode.INTERNAL)
    strangers = sorted(set(distributions) - {DISTRIBUTION})
    if strangers:
        return failed(what, f"also shipped by {', '.join(strangers)}", advice, ExitCode.INTERNAL)
    changed = [str(path) for path in _changed_files(name)]
    if changed:
        detail = f"not as installed: {', '.join(changed[:3])}"
        return failed(what, detail, f"reinstall {DISTRIBUTION}", ExitCode.INTERNAL)
    return ok(what, str(ours / name))


def _changed_files(package: str) -> Iterator[Path]:
    """Files of ours whose bytes are not what the installer wrote down; none if it wrote nothing."""
    try:
        files = Distribution.from_name(DISTRIBUTION).files or []
    except PackageNotFoundError:
        return
    for file in files:
        if file.parts[0] != package or file.hash is None or file.hash.mode != "sha256":
            continue
        path = Path(str(file.locate()))
        data = path.read_bytes() if path.is_file() else b""
        digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
        if digest != file.hash.value:
            yield path


def check_home(home: Path) -> Checked:
    """A folder that this user, and nobody else, can write to."""
    if not home.exists():
        return ok("home", f"{home} (made when it is needed)")
    mode = stat.S_IMODE(home.stat().st_mode)
    if not os.access(home, os.R_OK | os.W_OK | os.X_OK):
        return failed("home", f"{home} cannot be written", "give another --home", ExitCode.MISSING)
    if mode & 0o022:
        advice = f"run `chmod go-w {home}`: who can write there can change what is approved"
        return failed("home", f"{home} can be written by others", advice, ExitCode.NO)
    return ok("home", str(home))


async def check_store(settings: Settings) -> Checked:
    """Opens, and every byte is what its digest says."""
    if not settings.has_store:
        return ok("store", "none yet (made when it is needed)")
    try:
        async with open_store(settings) as store:
            report = await store.verify()
    except ToolStoreError as error:
        return failed("store", str(error), "see `toolkiln tools verify`", ExitCode.NO)
    if not report.intact:
        detail = f"{len(report.damage)} thing(s) damaged"
        return failed("store", detail, "see `toolkiln tools verify`", ExitCode.NO)
    return ok("store", f"{report.versions} versions, {report.events} events, intact")


def check_policy(settings: Settings) -> Checked:
    """The policy in force is exactly understood."""
    try:
        profile = read_profile(settings.policy)
    except PoliciesError as error:
        return failed("policy", str(error), "see `toolkiln policy check`", ExitCode.USAGE)
    return ok("policy", f"{profile.name}, {profile.digest[:19]}…")


def check_model(settings: Settings) -> Checked:
    """A model and a key, which only `run` and `chat` need."""
    place = settings.base_url or "OpenAI"
    missing = [
        words
        for there, words in (
            (settings.model, "no model is named (--model, TOOLKILN_MODEL)"),
            (settings.api_key, "no key (OPENAI_API_KEY)"),
        )
        if there is None
    ]
    if not missing:
        return ok("model", f"{settings.model} at {place}, a key is set")
    return warning(
        "model", f"at {place}: {'; '.join(missing)}", "only `run`, `chat` and `demo --live` need it"
    )
