"""Commands of `toolkiln tools` that prove versions again: their trials, and their bytes."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer
from pydantic import JsonValue

from policies.access import Action
from policies.value import JsonObject
from runtime.cli.invocation import settings_of
from runtime.cli.opening import open_store, parse_ref
from runtime.cli.options import Ref
from runtime.cli.output import (
    AsJson,
    answer_no,
    console,
    json_of,
    print_columns,
    print_json,
    print_rich,
    run_async,
    say,
)
from runtime.cli.permission import require

if TYPE_CHECKING:
    from policies.evidence import Trial
    from runtime.corroboration import Corroborated
    from runtime.proving import Proof
    from runtime.settings import Settings
    from toolstore.models import VerifyReport


def retest(ctx: typer.Context, ref: Ref, *, as_json: AsJson = False) -> None:
    """Run the trials of a version again, in fresh containers.

    Exit code 1 if any example fails.
    """
    from policies.findings import has_errors  # noqa: PLC0415 - lists do without

    settings = settings_of(ctx)
    proof = run_async(_test(settings, ref))
    passed = not has_errors(proof.findings) and _examples_passed(proof.trials)
    if as_json:
        trials: list[JsonValue] = [json_of(trial) for trial in proof.trials]
        findings: list[JsonValue] = [json_of(finding) for finding in proof.findings]
        print_json({"ref": ref, "passed": passed, "trials": trials, "findings": findings})
    else:
        from runtime.cli.render import findings_view, trials_view  # noqa: PLC0415 - see above

        print_rich(settings, trials_view(proof.trials), findings_view(proof.findings))
    if not passed:
        answer_no()


def _examples_passed(trials: Sequence[Trial]) -> bool:
    examples = [trial for trial in trials if trial.expected is not None]
    return bool(examples) and all(trial.passed for trial in examples)


async def _test(settings: Settings, ref: str) -> Proof:
    from runtime.cli.live import EventRenderer  # noqa: PLC0415 - lists do without
    from runtime.wiring import open_runtime  # noqa: PLC0415 - same

    with EventRenderer(console(settings, file=sys.stderr), show_findings=False) as renderer:
        async with open_runtime(settings=settings, progress=renderer.progress) as runtime:
            require(settings, Action.READ_SOURCE, await runtime.store.find(parse_ref(ref)))
            return await runtime.retest(ref, on_event=renderer.admission)


def prove(ctx: typer.Context, ref: Ref, *, as_json: AsJson = False) -> None:
    """Prove a version once more here, and sign what that found.

    For a policy that wants several hosts ([signatures] in its file), or where the evidence has
    grown too old. Exit code 1 if it does not hold here; nothing is kept then.
    """
    settings = settings_of(ctx)
    done = run_async(_prove(settings, ref))
    if as_json:
        print_json(json_of(done))
    else:
        if done.findings:
            from runtime.cli.render import findings_view  # noqa: PLC0415 - lists do without

            print_rich(settings, findings_view(done.findings))
        if done.proven:
            say(f"{done.ref} holds here too: {done.runs} runs, signed with the keys of this host")
        else:
            reasons = "; ".join(done.reasons) or "what was found stands above"
            say(f"{done.ref} does not hold here, and nothing was kept: {reasons}")
    if not done.proven:
        answer_no()


async def _prove(settings: Settings, ref: str) -> Corroborated:
    from runtime.cli.live import EventRenderer  # noqa: PLC0415 - lists do without
    from runtime.wiring import open_runtime  # noqa: PLC0415 - same

    with EventRenderer(console(settings, file=sys.stderr), show_findings=False) as renderer:
        async with open_runtime(settings=settings, progress=renderer.progress) as runtime:
            return await runtime.prove(ref, on_event=renderer.admission)


def verify(
    ctx: typer.Context,
    name: Annotated[
        str | None, typer.Argument(metavar="NAME", help="Only this tool's versions.")
    ] = None,
    *,
    as_json: AsJson = False,
) -> None:
    """Say of each version whether it is what was put in.

    Exit code 1 if one is not. `toolkiln store verify` says everything about the store.
    """
    settings = settings_of(ctx)
    report, wanted = run_async(_verify(settings, name))
    bad = [ref for ref in wanted if ref not in report.trusted]
    if as_json:
        document: JsonObject = report.model_dump(mode="json")
        not_trusted: list[JsonValue] = [*bad]
        print_json({**document, "intact": report.intact, "not_trusted": not_trusted})
    else:
        rows = [(ref, "ok" if ref in report.trusted else "DAMAGED") for ref in wanted]
        print_columns(rows, ("VERSION", "BYTES"))
        for damage in report.damage:
            say(f"{damage.where}: {damage.problem}")
        say(f"{report.versions} versions, {report.events} events, {report.blobs} blobs checked")
    if bad or (name is None and not report.intact):
        answer_no()


async def _verify(settings: Settings, name: str | None) -> tuple[VerifyReport, tuple[str, ...]]:
    async with open_store(settings) as store:
        report = await store.verify()
        summaries = await store.summaries()
        if name is not None and all(each.name != name for each in summaries):
            await store.history(name)  # says which names there are
    refs = (
        f"{each.name}@{each.sequence}" for each in summaries if name is None or each.name == name
    )
    return report, tuple(refs)
