"""What `toolkiln doctor` finds on the engine: its runtimes, and what each of them holds."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Final

from policies.config import SandboxSettings
from policies.errors import PoliciesError
from runtime.cli.checkup import Checked, failed, ok, warning
from runtime.errors import ExitCode
from runtime.profiles import read_profile
from runtime.settings import Settings
from sandbox.doctor import probe
from sandbox.engine import Engine, EngineError, default_docker_host
from sandbox.errors import SandboxError
from sandbox.images import ensure_image
from sandbox.probe_results import ProbeResult
from sandbox.runtimes import Runtime, check_limits, find_runtime, list_runtimes

__all__ = ["check_engine"]

_START: Final = "start it, or point DOCKER_HOST at one that this user may use"
_WALL: Final = "do not run tools on this engine; see docs for what it must hold"
_OTHER: Final = "do not name it in a policy"
_SHIM_PREFIX: Final = "io.containerd."
"""How some engines list their default runtime a second time."""


async def check_engine(settings: Settings, progress: Callable[[str], None]) -> tuple[Checked, ...]:
    """Whether the engine is there, and for each of its runtimes which walls stand."""
    url = settings.docker_host or default_docker_host()
    try:
        engine = await Engine.connect(url)
    except EngineError as error:
        return (failed("engine", f"{url}: {error}", _START, ExitCode.MISSING),)
    try:
        image = await ensure_image(engine, settings.home / "sandbox", progress=progress)
        found = [ok("engine", f"{url}, image {image[:19]}…")]
        found += [row async for row in _check_runtimes(engine, image, settings, progress)]
        return tuple(found)
    except (SandboxError, EngineError) as error:
        return (failed("engine", str(error), _START, ExitCode.MISSING),)
    finally:
        await engine.close()


async def _check_runtimes(
    engine: Engine, image: str, settings: Settings, progress: Callable[[str], None]
) -> AsyncIterator[Checked]:
    policy = _sandbox_settings(settings)
    in_use: Runtime | None = None
    try:
        in_use = await find_runtime(engine, policy.runtime)
    except SandboxError as error:
        yield failed("runtime", str(error), "change the policy or the engine", ExitCode.MISSING)
    for runtime in await list_runtimes(engine):
        used = in_use is not None and runtime.name == in_use.name
        if runtime.name.startswith(_SHIM_PREFIX) and not used:
            continue
        progress(f"probing the walls of {runtime.name}")
        rows = [
            _limits(runtime, policy, used=used),
            *await _probe(engine, image, runtime, used=used),
        ]
        for row in rows:
            yield row.model_copy(update={"runtime": runtime.name})


def _sandbox_settings(settings: Settings) -> SandboxSettings:
    try:
        return read_profile(settings.policy).sandbox
    except PoliciesError:  # told among the checks of this side
        return SandboxSettings()


def _limits(runtime: Runtime, policy: SandboxSettings, *, used: bool) -> Checked:
    """Whether a policy that demands the real limits accepts it."""
    try:
        check_limits(runtime)
    except SandboxError as error:
        if used and policy.require_limits:
            return failed("limits", str(error), _WALL, ExitCode.MISSING)
        weak = ", ".join(runtime.weak_limits)
        advice = "a policy with `require_limits = true` refuses it"
        detail = f"no control group holds {weak}; limits of single processes stand in"
        return warning("limits", detail, advice)
    return ok("limits", "control groups hold memory, processes and processor")


async def _probe(engine: Engine, image: str, runtime: Runtime, *, used: bool) -> list[Checked]:
    try:
        results = await probe(engine, image, runtime)
    except (SandboxError, EngineError) as error:
        return [_bad("container", str(error), used=used)]
    return [_checked(result, used=used) for result in results]


def _checked(result: ProbeResult, *, used: bool) -> Checked:
    if result.ok:
        return ok(result.name, result.detail)
    if not result.required:
        return warning(result.name, result.detail, "")
    return _bad(result.name, result.detail, used=used)


def _bad(name: str, detail: str, *, used: bool) -> Checked:
    """A wall that is down matters where the policy in force has tools run."""
    if used:
        return failed(name, detail, _WALL, ExitCode.MISSING)
    return warning(name, detail, _OTHER)
