"""Sets of packages on a real engine: the real ones once, and small ones for what may go wrong."""

from __future__ import annotations

import textwrap
from pathlib import Path

import pytest
from pydantic import JsonValue
from wheelhouse import Wheelhouse

from policies.config import PackageSettings
from policies.limits import ResourceLimits
from policies.permissions import LintLevel, Permissions
from policies.source import Example, ToolSource
from runtime.settings import Settings
from runtime.wiring import Runtime, open_runtime
from sandbox.base import ApprovedVersion, CallOptions, Outcome, Program, Tier
from sandbox.docker_sandbox import DockerSandbox
from sandbox.engine import Engine
from sandbox.errors import PackagesRefusedError
from sandbox.images import engine_reference
from sandbox.packages import PackageImages, collect_garbage, list_package_images

REAL = ("matplotlib", "numpy", "pandas")
LIMITS = ResourceLimits(wall_seconds=120)

POLICY = """
name = "data"
[admission]
levels = ["L0", "L1"]
automatic_levels = ["L0", "L1"]
review = "never"
author_may_approve = true
[evidence]
examples = 1
runs_per_example = 1
property_runs = 2
property_failures = "allow"
[packages]
allow = [{allow}]
index = "{index}"
[files]
output = true
[run]
wall_seconds = 120.0
"""

VERSION = "def f():\n    import demo\n    return demo.VERSION\n"


def settings_of(folder: Path, *allow: str, index: str = "") -> Settings:
    policy = folder / "policy.toml"
    listed = ", ".join(f'"{each}"' for each in allow)
    policy.write_text(POLICY.format(allow=listed, index=index))
    return Settings(home=folder / "home", policy=str(policy))


def source(name: str, body: str, packages: tuple[str, ...], example: Example) -> ToolSource:
    imports, rest = body.split("\n\n", 1)
    code = (
        f"{imports}\n\ndef {name}(values: list[int]) -> float:\n"
        '    """Work on values.\n\n    Args:\n        values: Numbers.\n\n'
        '    Returns:\n        What came of it.\n    """\n' + textwrap.indent(rest, "    ")
    )
    files = ("output",) if "/tmp/output" in code else ()  # noqa: S108  the guest's own
    return ToolSource(
        name=name,
        description=f"Works on numbers: {name}.",
        code=code,
        examples=(example,),
        permissions=Permissions(packages=packages, files=files),
    )


EXAMPLE = Example(arguments={"values": [1, 2, 6]}, returns=3.0)

TOOLS = {
    "numpy": "import numpy\n\nreturn float(numpy.array([*values, 0][:3]).mean())\n",
    "pandas": (
        "import pandas as pd\n\n"
        'frame = pd.DataFrame({"value": [*values, 0][:3]})\n'
        'return float(frame["value"].mean())\n'
    ),
    "matplotlib": (
        "import matplotlib.pyplot as plt\n\n"
        "figure, axes = plt.subplots()\n"
        "axes.plot(values)\n"
        'figure.savefig("/tmp/output/plot.png")\n'
        "return 3.0\n"
    ),
}


@pytest.mark.timeout(600)  # the index may be slow
async def test_numpy_pandas_and_plots(
    engine: Engine, owner: str, image_digest: str, image_state: Path, tmp_path: Path
) -> None:
    settings = settings_of(tmp_path, *REAL)
    images = PackageImages(
        engine, image_state, PackageSettings(allow=REAL), base=image_digest, progress=print
    )
    sandbox = DockerSandbox(engine, image_digest=image_digest, owner=owner, packages=images)
    async with sandbox, open_runtime(settings=settings, sandbox=sandbox) as runtime:
        for name, body in TOOLS.items():
            tool = source(f"{name}_tool", body, REAL, EXAMPLE)
            outcome = await runtime.define_tool(tool, insist=True)  # they do the same
            assert outcome.admitted, (outcome.reasons, outcome.findings)

            result = await runtime.call_tool(f"{name}_tool", {"values": [1, 2, 6]})

            assert (result.content, result.is_error) == (3.0, False)
            assert result.execution is not None
            assert result.execution.output == ""
            plots = [each for each in result.artefacts if each.info.media_type == "image/png"]
            assert [each.info.name for each in plots] == (
                ["plot.png"] if name == "matplotlib" else []
            )
            assert all(each.data.startswith(b"\x89PNG\r\n\x1a\n") for each in plots)
        image = await sandbox.image_for(REAL)
        await check_threads(sandbox, image)
        await check_home(sandbox, image)


async def check_threads(sandbox: DockerSandbox, image: str) -> None:
    """Numpy starts no thread for each processor of the host: these may be more than a guest's."""
    code = "import numpy\ndef f():\n    return float((numpy.ones((9, 9)) @ numpy.ones(9)).sum())\n"
    limits = LIMITS.model_copy(update={"pids": 1})
    program = Program(code=code, function="f", level=LintLevel.L1, image=image, limits=limits)

    result = await sandbox.run(program, {})

    assert (result.value, result.output) == (81.0, ""), result.traceback


async def check_home(sandbox: DockerSandbox, image: str) -> None:
    """A process of the process tier, whose user nobody knows, finds where to keep things."""
    code = "import matplotlib\ndef f():\n    return matplotlib.get_cachedir()\n"
    program = Program(code=code, function="f", level=LintLevel.L1, image=image, limits=LIMITS)
    approved = ApprovedVersion(version_digest=image, policy_digest="policy", tenant="tests")

    result = await sandbox.run(program, {}, CallOptions(approved=approved))

    assert (result.tier, result.output) == (Tier.PROCESS, "")
    assert str(result.value).startswith("/tmp/.cache/")  # noqa: S108  the guest's own


class Shop:
    """A home, an index, and the packages of both."""

    def __init__(self, engine: Engine, base: str, folder: Path) -> None:
        self.engine = engine
        self.base = base
        self.state = folder / "home" / "sandbox"
        self.index = Wheelhouse(folder / "index")
        self.told: list[str] = []

    def images(self, *allow: str) -> PackageImages:
        """As a process that has just been started has them."""
        settings = PackageSettings(allow=allow or ("demo",), index=self.index.url)
        return PackageImages(
            self.engine, self.state, settings, base=self.base, progress=self.told.append
        )

    async def lose(self, digest: str) -> None:
        """Take an image from the engine."""
        reference = await engine_reference(self.engine, digest)
        assert reference is not None
        await self.engine.remove_image(reference)


@pytest.fixture
async def shop(engine: Engine, image_digest: str, tmp_path: Path) -> Shop:
    return Shop(engine, image_digest, tmp_path)


async def version_in(sandbox: DockerSandbox, image: str) -> JsonValue:
    program = Program(code=VERSION, function="f", level=LintLevel.L1, image=image, limits=LIMITS)
    result = await sandbox.run(program, {})
    assert result.outcome is Outcome.RETURNED, result.error_message
    return result.value


@pytest.mark.heavy
async def test_a_set_is_chosen_once_kept_and_made_again(shop: Shop, sandbox: DockerSandbox) -> None:
    shop.index.add("helper", "1.0", {"helper.py": b"WORD = 'one'\n"})
    shop.index.add(
        "demo", "1.0", {"demo.py": b"import helper\nVERSION = helper.WORD\n"}, needs="helper"
    )
    old = await shop.images().image_for(("demo",))
    assert await version_in(sandbox, old) == "one"
    assert shop.told[0] == "choosing versions of demo"

    # Another process: neither the installer nor a newer version changes what was chosen.
    shop.index.add("demo", "2.0", {"demo.py": b"VERSION = 'two'\n"})
    shop.told.clear()
    assert (await shop.images().image_for(("demo",)), shop.told) == (old, [])

    # Chosen anew: another image, and who was proven in the old one keeps it.
    images = shop.images()
    new = (await images.ensure(images.granted(("demo",)), fresh=True)).digest
    assert new != old
    assert await version_in(sandbox, new) == "two"
    assert await images.image_for(("demo",)) == new
    assert await images.image_for(("demo",), wanted=old) == old

    # A policy that leaves out a version stops those that have it.
    with pytest.raises(PackagesRefusedError, match=r"leaves out demo 1\.0"):
        await shop.images("demo>=2").image_for(("demo",), wanted=old)

    # What nobody needs goes; what was lost is made again of its lock, byte for byte.
    await sandbox.pool.close()
    await sandbox.settle()
    assert [each.digest for each in await collect_garbage(shop.engine, shop.state, {old})] == [new]
    assert await engine_reference(shop.engine, new) is None
    await shop.lose(old)
    assert await shop.images().image_for(("demo",), wanted=old) == old
    assert await engine_reference(shop.engine, old) is not None
    assert [each.digest for each in await list_package_images(shop.state)] == [old]
    await collect_garbage(shop.engine, shop.state, ())
    assert await engine_reference(shop.engine, old) is None
    assert list(shop.state.rglob("*.json")) == []


async def test_what_a_wheel_brings_neither_runs_at_start_nor_hides_the_library(
    shop: Shop, sandbox: DockerSandbox
) -> None:
    shop.index.add(
        "demo",
        "1.0",
        {
            "demo.pth": b"import sys; sys.modules['started'] = sys\n",
            "sitecustomize.py": b"import sys; sys.modules['started'] = sys\n",
            "json/__init__.py": b"raise RuntimeError('not the library')\n",
            "statistics.py": b"raise RuntimeError('not the library')\n",
            "demo.py": b"import json, statistics, sys\nVERSION = 'started' in sys.modules\n",
            "broken.py": b"this is not Python",
        },
    )

    image = await shop.images().image_for(("demo",))

    assert await version_in(sandbox, image) is False
    await sandbox.pool.close()
    await collect_garbage(shop.engine, shop.state, ())


async def test_what_is_refused_leaves_nothing(shop: Shop, tmp_path: Path) -> None:
    marker = tmp_path / "ran"
    setup = f"from pathlib import Path\nPath({str(marker)!r}).touch()\n"
    shop.index.add_source("source", "1.0", setup)
    shop.index.add("hostile", "1.0", {"../../outside.py": b""})
    wheel = shop.index.add("changed", "1.0", {"changed.py": b"good = 1\n"})
    images = shop.images("source", "hostile", "changed")

    with pytest.raises(PackagesRefusedError, match="source"):
        await images.image_for(("source",))
    assert not marker.exists()
    with pytest.raises(PackagesRefusedError, match="leads out of its folder"):
        await images.image_for(("hostile",))
    with pytest.raises(PackagesRefusedError, match="does not grant"):
        await images.image_for(("other",))
    assert list(shop.state.rglob("*.json")) == list(shop.state.rglob("work-*")) == []

    made = await images.image_for(("changed",))
    await shop.lose(made)
    wheel.unlink()
    shop.index.add("changed", "1.0", {"changed.py": b"evil = 1\n"})
    with pytest.raises(PackagesRefusedError, match=r"(?i)hash"):
        await shop.images("changed").image_for(("changed",), wanted=made)


@pytest.mark.heavy
async def test_a_tool_keeps_its_image_while_newer_packages_are_chosen(
    shop: Shop, owner: str, tmp_path: Path
) -> None:
    shop.index.add("demo", "1.0", {"demo.py": b"def work(values):\n    return 3.0\n"})
    settings = settings_of(tmp_path, "demo", index=shop.index.url)
    tool = source("demo_tool", "import demo\n\nreturn demo.work(values)\n", ("demo",), EXAMPLE)

    async def opened(images: PackageImages) -> DockerSandbox:
        return DockerSandbox(shop.engine, image_digest=shop.base, owner=owner, packages=images)

    async def called(runtime: Runtime) -> JsonValue:
        return (await runtime.call_tool("demo_tool", {"values": []})).content

    async with (
        await opened(shop.images()) as sandbox,
        open_runtime(settings=settings, sandbox=sandbox) as runtime,
    ):
        outcome = await runtime.define_tool(tool)
        assert outcome.admitted, (outcome.reasons, outcome.findings)
        assert await called(runtime) == 3.0

        beyond = tool.permissions.model_copy(update={"packages": ("demo>=7",)})
        refused = await runtime.define_tool(
            tool.model_copy(update={"name": "demo_tool_7", "permissions": beyond})
        )
        (finding,) = [each for each in refused.findings if each.rule == "RP402"]
        assert not refused.admitted
        assert "demo>=7" in finding.message

    shop.index.add("demo", "2.0", {"demo.py": b"def work(values):\n    return 4.0\n"})
    await shop.images().ensure(("demo",), fresh=True)
    async with (
        await opened(shop.images()) as sandbox,
        open_runtime(settings=settings, sandbox=sandbox) as runtime,
    ):
        assert await called(runtime) == 3.0
    async with (
        await opened(shop.images("demo>=2")) as sandbox,
        open_runtime(settings=settings, sandbox=sandbox) as runtime,
    ):
        told = await called(runtime)
        assert isinstance(told, str)
        assert "leaves out demo 1.0" in told
    await collect_garbage(shop.engine, shop.state, ())
