"""A policy in sentences, for people who do not read its file."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from policies.config import PolicyProfile


def policy_words(profile: PolicyProfile) -> tuple[str, ...]:
    """A policy in sentences."""
    admission, evidence, run = profile.admission, profile.evidence, profile.run
    review = {
        "never": "No person is asked because of permissions.",
        "permissions": "A person is asked for any permission beyond pure computation.",
        "always": "A person is asked for every tool.",
    }[admission.review]
    by_hand = sorted(set(admission.levels) - set(admission.automatic_levels))
    properties = {
        "allow": "is noted and stops nothing",
        "review": "asks for a person",
        "refuse": "refuses the tool",
    }[evidence.property_failures]
    return (
        f"{profile.name}: {profile.description}",
        "Refused: any finding of severity error, and evidence that is not about this very text.",
        f"Levels that may be admitted: {', '.join(admission.levels)}; "
        f"without a person: {', '.join(admission.automatic_levels) or 'none'}"
        + (f"; only with a person: {', '.join(by_hand)}." if by_hand else "."),
        review,
        f"An admission by review takes {admission.approvers} approval(s); the author "
        + ("may be one of them." if admission.author_may_approve else "cannot be one of them."),
        (
            f"At least {evidence.examples} example(s), each passed {evidence.runs_per_example} "
            "time(s), every time in a fresh container."
        ),
        (
            f"{evidence.property_runs} generated calls; a crash, time-out or limit there "
            f"{properties}, a result of another type than declared refuses the tool."
        ),
        (
            f"Every run has at most {run.wall_seconds:g} s, {run.memory_bytes / 2**20:g} MiB of "
            f"memory, {run.pids} processes and threads, {run.cpus:g} CPU."
        ),
        _access_sentence(profile),
    )


def _access_sentence(profile: PolicyProfile) -> str:
    if not profile.access.policies:
        return (
            "People may do everything; models may make, call and read tools, and never approve, "
            "waive, deprecate, revoke or export."
        )
    return (
        f"Who may do what stands in {', '.join(profile.access.policies)} "
        f"(`toolkiln policy show {profile.name}`)."
    )
