"""Makes the images that the peers run in, without a registry: Debian with python3 and a shell.

    PEERS-PYTHON benchmarks/peers/image.py [--mirror URL] [--again]

Needs root, `debootstrap` and a mirror of Debian; packages for the Jupyter kernel come through
pip. Where `python:3-slim` and a kernel gateway's image are at hand, tag them as the two names in
work.py instead. Does nothing where the engine has both.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import docker

from benchmarks.peers.work import IMAGE, IMAGE_WITH_KERNEL

SUITE: Final = "bookworm"
PACKAGES: Final = "python3,python3-venv,python-is-python3"
KERNEL: Final = ("jupyter_kernel_gateway", "jupyter_client", "ipykernel")
GATEWAY: Final = (
    '["python3", "-m", "kernel_gateway", "--KernelGatewayApp.ip=0.0.0.0", '
    '"--KernelGatewayApp.port=8888"]'
)
NOT_IN_IMAGE: Final = ("./var/cache/apt", "./var/lib/apt/lists", "./proc", "./sys", "./dev")


def has_image(engine: docker.DockerClient, name: str) -> bool:
    """Whether the engine has an image of that name."""
    try:
        engine.images.get(name)
    except docker.errors.ImageNotFound:
        return False
    return True


def mirror_of_this_machine() -> str:
    """Where apt gets Debian's packages here, or Debian's own address."""
    apt = shutil.which("apt-get")
    if apt is not None:
        asked = subprocess.run(  # noqa: S603  apt itself
            [apt, "indextargets", "--format", "$(REPO_URI) $(CODENAME) $(COMPONENT)"],
            capture_output=True,
            text=True,
            check=False,
        )
        for line in asked.stdout.splitlines():
            if line.endswith(f" {SUITE} main"):
                return line.split()[0]
    return "http://deb.debian.org/debian"


def make_root(folder: Path, mirror: str) -> None:
    """A small Debian in `folder`."""
    program = shutil.which("debootstrap")
    if program is None:
        sys.exit("debootstrap is not installed; on Debian: apt-get install debootstrap")
    command = [program, "--variant=minbase", f"--include={PACKAGES}", SUITE, str(folder), mirror]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)  # noqa: S603  as above
    if done.returncode != 0:
        sys.exit(f"debootstrap failed:\n{done.stdout[-2000:]}")


def add_kernel(root: Path) -> None:
    """Install the Jupyter kernel gateway beside the Python in `root`."""
    version = (root / "usr/bin/python3").readlink().name.removeprefix("python")
    subprocess.run(  # noqa: S603  our own interpreter
        [
            *(sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"),
            *("--only-binary=:all:", "--python-version", version),
            *("--target", str(root / f"usr/local/lib/python{version}/dist-packages")),
            *KERNEL,
        ],
        check=True,
    )


def load(engine: docker.DockerClient, root: Path, name: str, command: str) -> None:
    """Hand `root` to the engine as the image `name`."""
    repository, _, tag = name.partition(":")
    archive = root.parent / f"{tag}.tar"
    subprocess.run(  # noqa: S603  nothing of it comes from outside
        [
            *("/usr/bin/tar", "--numeric-owner", "-C", str(root), "-cf", str(archive)),
            *(f"--exclude={path}/*" for path in NOT_IN_IMAGE),
            ".",
        ],
        check=True,
    )
    engine.api.import_image_from_file(
        str(archive), repository=repository, tag=tag, changes=[f"CMD {command}"]
    )
    archive.unlink()


def main() -> int:
    """Make both images, or nothing where they are there."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--mirror", help="of Debian; default: the one that apt uses here")
    parser.add_argument("--again", action="store_true", help="make them although they are there")
    options = parser.parse_args()
    engine = docker.from_env(timeout=300)
    if not options.again and all(has_image(engine, name) for name in (IMAGE, IMAGE_WITH_KERNEL)):
        return 0
    with tempfile.TemporaryDirectory(prefix="peers-image-") as folder:
        root = Path(folder, "root")
        make_root(root, options.mirror or mirror_of_this_machine())
        load(engine, root, IMAGE, '["python3"]')
        add_kernel(root)
        load(engine, root, IMAGE_WITH_KERNEL, GATEWAY)
    return 0


if __name__ == "__main__":
    sys.exit(main())
