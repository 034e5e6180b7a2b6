"""Hosts that share a store on a server: each has a home, keys, a policy and a person of its own."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from runtime.settings import Settings
from toolstore.attest.keys import KeyRing

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Host:
    """A machine of a team."""

    home: Path
    store: str
    policy: Path
    person: str

    @property
    def settings(self) -> Settings:
        """What a runtime on it is opened with."""
        return Settings(
            home=self.home, store=self.store, policy=str(self.policy), principal=self.person
        )

    @property
    def ring(self) -> KeyRing:
        """Its keys."""
        return KeyRing(self.home / "keys")

    async def answers(self, *arguments: str, store: str | None = None, text: str = "") -> Any:
        """What a command on it prints as JSON; it must end well."""
        options = {"home": self.home, "policy": self.policy, "as": self.person}
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "runtime",
            *(f"--{name}={value}" for name, value in options.items()),
            *arguments,
            cwd=ROOT,
            env={**os.environ, "TOOLKILN_STORE": store or self.store},
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        out, err = await process.communicate(text.encode())
        assert process.returncode == 0, (arguments, out.decode(), err.decode())
        return json.loads(out)


def two_hosts(folder: Path, store: str, policy: Path) -> tuple[Host, Host]:
    """Those of ada and bob, who trust each other's keys."""
    ada, bob = (Host(folder / name, store, policy, name) for name in ("ada", "bob"))
    ada.ring.trust(bob.ring.public_keys())
    bob.ring.trust(ada.ring.public_keys())
    return ada, bob


def reviewing_policy(file: Path, more: str = "") -> Path:
    """A policy under which another person looks at every tool."""
    text = (files("policies") / "profiles" / "local.toml").read_text()
    text = text.replace('review = "permissions"', 'review = "always"')
    text = text.replace("author_may_approve = true", "author_may_approve = false")
    file.write_text(text + more)
    return file
