"""The benchmark runs and says what it has measured; what it measures is not judged here."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

import pytest

from runtime.bench.report import BenchReport, Kind
from sandbox.engine import Engine
from sandbox.identity import PROCESS_LABEL, ProcessIdentity
from sandbox.runtimes import list_runtimes


@pytest.mark.heavy
@pytest.mark.timeout(120)
async def test_a_quick_run_measures_everything_and_leaves_nothing(
    engine: Engine, image_digest: str, image_state: Path, tmp_path: Path
):
    runtime = (await list_runtimes(engine))[0].name
    (tmp_path / "sandbox").symlink_to(image_state)  # the image is there already
    arguments = ("sandbox", "bench", "--quick", "--json", "--runtime", runtime)

    bench = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "runtime", "--home", str(tmp_path), *arguments),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    printed, said = await bench.communicate()

    assert bench.returncode == 0, said.decode()
    report = BenchReport.model_validate(json.loads(printed))
    rows = {row.kind: row for row in report.rows}
    missing = set(Kind) - set(rows) - {Kind.PEER_FRESH, Kind.PEER_REUSED}
    if missing == {Kind.PROCESS}:
        assert any("no process of its own" in line for line in report.skipped)
    else:
        assert missing == set()
    for kind, row in rows.items():
        assert kind is Kind.MEMORY or row.latency is not None, kind
    hit = rows[Kind.POOL_HIT]
    assert hit.latency
    assert hit.pool_hits == hit.latency.count
    # Of this process alone: other tests have containers too.
    made_by = [
        ProcessIdentity.parse(container.labels.get(PROCESS_LABEL, ""))
        for container in await engine.list_by_label(PROCESS_LABEL)
    ]
    assert bench.pid not in [each.pid for each in made_by if each]
