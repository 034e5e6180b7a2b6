"""Hosts of tests that export tools: each with a store, keys and a policy of its own."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from factories import NOON, make_submission

from policies.config import load_profile
from policies.decision import AdmissionRequest, Approval, Decision
from policies.value import JsonObject, canonical_json
from toolstore.attest.keys import KeyRing
from toolstore.attest.trust import TrustedKey
from toolstore.bundlecheck import check_bundle
from toolstore.bundlereader import Trust
from toolstore.bundlereport import BundleReport
from toolstore.models import Submission, ToolVersion
from toolstore.store import ToolStore

NOW: Final = datetime(2026, 1, 3, tzinfo=UTC)
Keys = dict[str, TrustedKey]


class Exported:
    """A bundle, the version in it, and the keys of the host that it came from."""

    def __init__(self, version: ToolVersion, content: bytes, keys: Keys) -> None:
        self.version = version
        self.content = content
        self.keys = keys

    def report(self, content: bytes | None = None, keys: Keys | None = None) -> BundleReport:
        trust = Trust(self.keys if keys is None else keys)
        return check_bundle(content or self.content, trust, at=NOW)

    def changed(self, change: Callable[[JsonObject], None]) -> bytes:
        document = json.loads(self.content)
        change(document)
        return canonical_json(document) + b"\n"


POLICY = load_profile(
    """
name = "tests"

[admission]
levels = ["L0"]
automatic_levels = ["L0"]
review = "always"
author_may_approve = false

[evidence]
examples = 1
runs_per_example = 1
property_runs = 0
property_failures = "allow"
""",
    origin="tests",
)


class Exporter:
    """A host with a store and keys of its own, under one policy."""

    def __init__(self, folder: Path) -> None:
        self.ring = KeyRing(folder / "keys", clock=lambda: NOON)
        self._folder = folder / "store"

    @property
    def keys(self) -> Keys:
        return {key.keyid: key for key in self.ring.ring().keys}

    def open(self) -> Awaitable[ToolStore]:
        return ToolStore.open(self._folder, keys=self.ring, clock=lambda: NOON)

    async def submit(self, store: ToolStore, code: str | None = None) -> ToolVersion:
        await store.decisions.keep_policy(POLICY.text, digest=POLICY.digest, actor="ada")
        made = make_submission(code=code)
        return await store.admit(make_submission(code=code, decision=decide(made)), actor="ada")

    async def approve(
        self, store: ToolStore, version: ToolVersion, ends: datetime | None = None
    ) -> ToolVersion:
        yes = Approval(principal="bob", digest=version.digest, at=NOON, expires_at=ends)
        made = make_submission(code=version.source.code)
        return await store.approve(version.digest, yes, decide(made, yes), actor="bob")

    async def export(self, store: ToolStore, version: ToolVersion) -> bytes:
        return await store.exchange.export(version.ref)

    def one(self, code: str | None = None, ends: datetime | None = None) -> Exported:
        """A version that a person approved after the policy asked, exported."""

        async def work() -> Exported:
            async with await self.open() as store:
                waiting = await self.submit(store, code)
                version = await self.approve(store, waiting, ends)
                return Exported(version, await self.export(store, version), self.keys)

        return asyncio.run(work())


def decide(submission: Submission, *approvals: Approval) -> Decision:
    return POLICY.policy.decide(
        AdmissionRequest(
            digest=submission.digest,
            source=submission.source,
            evidence=submission.evidence,
            author=submission.provenance.author,
            approvals=approvals,
        )
    )
