"""`toolkiln tools`: what the store holds, and what can be done with it."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Final, NamedTuple

import typer
from pydantic import JsonValue

from policies.value import JsonObject
from runtime.cli import exchange, moves
from runtime.cli.announce import announce
from runtime.cli.invocation import settings_of
from runtime.cli.opening import open_store, parse_ref, version_before
from runtime.cli.options import Principal
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
from runtime.cli.permission import require, require_of
from toolstore.listing import summaries_sync
from toolstore.models import STABLE, Event, Lifecycle, ToolSummary, ToolVersion, VerifyReport

if TYPE_CHECKING:
    from policies.evidence import Trial
    from runtime.admission import Proof
    from runtime.messages import ToolSpec
    from runtime.settings import Settings
    from toolstore.bundlereport import BundleReport
    from toolstore.exchange import OthersWord, Signed

app = typer.Typer(no_args_is_help=True, help="Look at, check and change the tools in the store.")

LISTED_STATES: Final = (Lifecycle.APPROVED, Lifecycle.QUARANTINED)

Ref = Annotated[str, typer.Argument(metavar="REF", help="NAME, NAME@3 or NAME@sha256:…")]
Reason = Annotated[str, typer.Option(help="Why; kept in the log.")]


@app.command("list")
def list_(
    ctx: typer.Context,
    *,
    state: Annotated[
        list[Lifecycle] | None, typer.Option(help="Only versions in this state. Repeatable.")
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="Versions in every state.")] = False,
    as_json: AsJson = False,
) -> None:
    """List the tools that are callable or wait for review, one version a line."""
    states = tuple(Lifecycle) if everything else (state or LISTED_STATES)
    summaries = summaries_of(settings_of(ctx), states)
    if as_json:
        print_json([json_of(summary) for summary in summaries])
        return
    print_columns(
        [
            (
                f"{each.name}@{each.sequence}",
                _standing(each),
                each.level.value,
                each.author,
                each.description,
            )
            for each in summaries
        ],
        ("TOOL", "STATE", "LEVEL", "AUTHOR", "DESCRIPTION"),
    )


def _standing(summary: ToolSummary) -> str:
    """Its state, and for whom it is callable where that is not everybody."""
    if summary.place is None or summary.place == STABLE:
        return summary.state.value
    return f"{summary.state} ({summary.place})"


def summaries_of(settings: Settings, states: Sequence[Lifecycle]) -> tuple[ToolSummary, ...]:
    """The versions in these states, by the quick look where it can be had."""
    found = summaries_sync(settings.store_location, states)
    if found is not None:
        return found
    if not settings.has_store:  # looking at nothing makes nothing
        return ()

    async def work() -> tuple[ToolSummary, ...]:
        async with open_store(settings) as store:
            return await store.summaries(states)

    return run_async(work())


@app.command()
def show(ctx: typer.Context, ref: Ref, *, as_json: AsJson = False) -> None:
    """Show one version: source, schema, findings, trials, permissions, what changed, who signed."""
    settings = settings_of(ctx)
    shown = run_async(_shown(settings, ref))
    if as_json:
        signatures: list[JsonValue] | None = None
        if shown.report is not None:
            signatures = [json_of(line) for line in shown.report.lines]
        others: list[JsonValue] = [json_of(word) for word in shown.others]
        print_json({**version_json(shown.version), "signatures": signatures, "others": others})
        return
    from runtime.cli.signing import show_view  # noqa: PLC0415 - lists do without

    print_rich(settings, *show_view(shown.version, shown.before, shown.report, shown.others))


class _Shown(NamedTuple):
    """What `show` prints of one version."""

    version: ToolVersion
    before: ToolVersion | None
    report: BundleReport | None
    others: Sequence[OthersWord]


async def _shown(settings: Settings, ref: str) -> _Shown:
    """A version, verified, with who vouches for it, and the one that it came to replace."""
    async with open_store(settings) as store:
        version = await store.find(parse_ref(ref))
        require(settings, "read_source", version)
        return _Shown(
            version,
            await version_before(store, version),
            await store.exchange.report(version.ref),
            await store.exchange.words(version),
        )


def version_json(version: ToolVersion) -> JsonObject:
    """A version as JSON, with its reference."""
    fields: JsonObject = version.model_dump(mode="json")
    return {"ref": str(version.ref), **fields}


@app.command()
def history(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(help="Name of the tool.")],
    *,
    as_json: AsJson = False,
) -> None:
    """List the versions of a tool, oldest first, and every event in the log about it."""
    settings = settings_of(ctx)

    versions, events, signed = run_async(_history(settings, name))
    sequences = {version.digest: version.sequence for version in versions}
    if as_json:
        print_json(
            {
                "versions": [version_json(version) for version in versions],
                "events": [json_of(event) for event in events],
                "signatures": {digest: json_of(each) for digest, each in signed.items()},
            }
        )
    elif sys.stdout.isatty():
        from runtime.cli.signing import history_view  # noqa: PLC0415 - lists do without

        print_rich(settings, *history_view(events, sequences, signed))
    else:
        print_columns([_event_row(event, sequences, signed) for event in events], _EVENT_HEADS)


async def _history(
    settings: Settings, name: str
) -> tuple[tuple[ToolVersion, ...], tuple[Event, ...], Mapping[str, Signed]]:
    async with open_store(settings) as store:
        versions = await store.history(name)
        require(settings, "read_source", *versions)
        return versions, await store.events(name), await store.exchange.signatures(versions)


_EVENT_HEADS: Final = (
    *("TIME", "VERSION", "EVENT", "STATES", "ACTOR", "REASON"),
    *("POLICY", "SIGNED BY"),
)


def _event_row(
    event: Event, sequences: Mapping[str, int], signed: Mapping[str, Signed]
) -> tuple[str, ...]:
    from runtime.cli.signing import signers_of  # noqa: PLC0415 - lists do without

    return (
        f"{event.at:%Y-%m-%d %H:%M:%S}",
        f"{event.name}@{sequences.get(event.digest, '?')}",
        str(event.type),
        f"{event.from_state or '-'} -> {event.to_state}",
        event.actor,
        event.reason,
        event.policy_digest or "",
        ", ".join(signers_of(event, signed)),
    )


@app.command()
def diff(
    ctx: typer.Context,
    ref: Ref,
    other: Annotated[
        str | None,
        typer.Argument(metavar="[REF]", help="Default: REF against the version before it."),
    ] = None,
    *,
    as_json: AsJson = False,
) -> None:
    """Show what differs between two versions: source, schema, permissions, examples, behaviour."""
    from runtime.cli.differences import find_differences  # noqa: PLC0415 - lists do without

    settings = settings_of(ctx)
    found = run_async(find_differences(settings, ref, other))
    if as_json:
        print_json(found.to_json())
    else:
        print_rich(settings, *found.view())


@app.command()
def search(
    ctx: typer.Context,
    query: Annotated[str, typer.Argument(help="What the tool should do.")],
    *,
    limit: Annotated[int, typer.Option(min=1, max=100, help="At most this many.")] = 10,
    as_json: AsJson = False,
) -> None:
    """Find the callable tools that match best, as a model finds them."""
    found = run_async(_search(settings_of(ctx), query, limit))
    if as_json:
        print_json([json_of(spec) for spec in found])
    else:
        print_columns([(spec.name, spec.description) for spec in found], ("TOOL", "DESCRIPTION"))


async def _search(settings: Settings, query: str, limit: int) -> Sequence[ToolSpec]:
    from runtime.wiring import open_runtime  # noqa: PLC0415 - lists do without

    async with open_runtime(settings=settings) as runtime:
        return await runtime.search(query, limit)


@app.command("test")
def retest(ctx: typer.Context, ref: Ref, *, as_json: AsJson = False) -> None:
    """Run the trials of a version again, in fresh containers; exit code 1 if any example fails."""
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
            return await runtime.retest(ref, on_event=renderer.admission)


@app.command()
def verify(
    ctx: typer.Context,
    name: Annotated[
        str | None, typer.Argument(metavar="[NAME]", help="Only this tool's versions.")
    ] = None,
    *,
    as_json: AsJson = False,
) -> None:
    """Check every byte of the store against its digest, and the log; exit code 1 on damage."""
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


@app.command()
def rollback(  # noqa: PLR0913 - one parameter an option
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(help="Name of the tool.")],
    *,
    to: Annotated[
        str | None, typer.Option(metavar="REF", help="Default: the version replaced last.")
    ] = None,
    reason: Reason = "rolled back on the command line",
    principal: Principal = None,
    as_json: AsJson = False,
) -> None:
    """Make an earlier version of a tool the one that its name means again."""
    settings = settings_of(ctx, principal=principal)
    target = None if to is None else parse_ref(to if "@" in to else f"{name}@{to}")

    async def work() -> ToolVersion:
        async with open_store(settings) as store:
            await require_of(settings, "deprecate", store, parse_ref(name))
            return await store.rollback(name, actor=settings.principal, reason=reason, to=target)

    announce(run_async(work()), "is approved again", as_json=as_json)


@app.command()
def revoke(
    ctx: typer.Context,
    ref: Ref,
    *,
    reason: Annotated[str, typer.Option(help="Why; kept in the log. Needed: it is for good.")],
    principal: Principal = None,
    as_json: AsJson = False,
) -> None:
    """Take a version back for good: nobody can call it any more; its bytes are kept for audit."""
    settings = settings_of(ctx, principal=principal)

    async def work() -> tuple[ToolVersion, list[str]]:
        from runtime.pinning import callers_of  # noqa: PLC0415 - lists do without

        async with open_store(settings) as store:
            await require_of(settings, "revoke", store, parse_ref(ref))
            version = await store.revoke(parse_ref(ref), actor=settings.principal, reason=reason)
            return version, [str(caller.ref) for caller in await callers_of(store, version)]

    version, callers = run_async(work())
    announce(version, "is revoked", as_json=as_json, callers=callers)
    if callers and not as_json:
        say(
            f"pinned to it, so that their calls of it fail from now on: {', '.join(callers)}. "
            "Define them again with another version of it"
        )


app.command("export")(exchange.export)
app.command("import")(exchange.import_)
moves.register(app)
