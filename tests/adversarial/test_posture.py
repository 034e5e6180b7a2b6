"""What code finds around itself is what we claim; and the probe sees it where it is otherwise."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest

from policies.value import JsonObject
from runtime.bench.posture import ASPECTS, HOST_MARK, SeenPosture, probe_program, probe_tiers
from sandbox.docker_sandbox import DockerSandbox
from sandbox.engine import Engine
from sandbox.hardening import container_options
from sandbox.identity import OWNER_LABEL
from sandbox.observation import observe
from sandbox.runtimes import Runtime, list_runtimes

BY_NAME = {aspect.name: aspect for aspect in ASPECTS}


def bad(subject: SeenPosture) -> dict[str, str]:
    assert subject.seen is not None
    return {a.name: a.say(subject.seen) for a in ASPECTS if not a.good(subject.seen)}


async def runtimes(engine: Engine) -> list[Runtime]:
    """Those that every engine of these tests may have; others come and go with other tests."""
    return [each for each in await list_runtimes(engine) if each.name in ("runc", "runsc")]


async def test_nothing_is_found_in_any_tier_on_any_runtime(
    engine: Engine, owner: str, image_digest: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv(HOST_MARK, "1")
    found: list[SeenPosture] = []
    for runtime in await runtimes(engine):
        async with DockerSandbox(
            engine, image_digest=image_digest, owner=owner, runtime=runtime
        ) as sandbox:
            found += await probe_tiers(sandbox, runtime.name)

    assert {subject.who: bad(subject) for subject in found} == {
        subject.who: {} for subject in found
    }
    assert len(found) >= 1


def without(*names: str) -> Callable[[dict[str, Any]], None]:
    def change(host: dict[str, Any]) -> None:
        for name in names:
            del host[name]

    return change


def given(**values: Any) -> Callable[[dict[str, Any]], None]:
    return lambda host: host.update(values)


WEAKER: dict[str, Callable[[dict[str, Any]], None]] = {
    "system-call filter": given(SecurityOpt=["no-new-privileges", "seccomp=unconfined"]),
    "no new privileges": lambda host: host.update(SecurityOpt=host["SecurityOpt"][1:]),
    "root can be written": given(ReadonlyRootfs=False),
    "host's folders, writable": given(Binds=["/home:/mnt"]),
    "memory limit": without("Memory", "MemorySwap"),
    "limit on processes": without("PidsLimit"),
    "CPU limit": without("CpuPeriod", "CpuQuota"),
    "engine's socket inside": given(Binds=["/var/run/docker.sock:/var/run/docker.sock"]),
    "told by /proc and /sys": given(MaskedPaths=[]),
    "may fork": given(SecurityOpt=["no-new-privileges", "seccomp=unconfined"]),
}
"""What stands out when a wall is taken away."""


@pytest.mark.parametrize("name", WEAKER)
async def test_a_wall_that_is_not_there_stands_out(
    name: str, engine: Engine, owner: str, image_digest: str
):
    program = probe_program()
    options: JsonObject = copy.deepcopy(
        container_options(
            level=program.level,
            limits=program.limits,
            image=image_digest,
            labels={OWNER_LABEL: owner},
        )
    )
    host = options["HostConfig"]
    assert isinstance(host, dict)
    WEAKER[name](host)
    if name in ("root can be written", "host's folders, writable"):  # whose owner is root
        options["User"] = "0:0"

    seen = await observe(engine, options, program)

    assert isinstance(seen.value, dict)
    assert not BY_NAME[name].good(seen.value), BY_NAME[name].say(seen.value)


async def test_a_network_and_a_name_of_the_host_stand_out(
    engine: Engine, owner: str, image_digest: str
):
    program = probe_program()
    options = container_options(
        level=program.level,
        limits=program.limits,
        image=image_digest,
        labels={OWNER_LABEL: owner},
        sockets=True,
    )
    host = options["HostConfig"]
    assert isinstance(host, dict)
    weaker = {**options, "User": "0:0", "HostConfig": {**host, "NetworkMode": "bridge"}}

    seen = await observe(engine, weaker, program)

    assert isinstance(seen.value, dict)
    for name in ("user id", "interfaces but loopback", "way out to a network"):
        assert not BY_NAME[name].good(seen.value), BY_NAME[name].say(seen.value)
