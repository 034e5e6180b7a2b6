"""What is odd about a policy that is understood: rules that never decide, or always do."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from enum import StrEnum
from typing import Final

from policies.access import Action
from policies.access_samples import Mentioned, Samples
from policies.config import PolicyProfile
from policies.network import parse_grant
from policies.permissions import LintLevel
from policies.value import Value


class RemarkKind(StrEnum):
    """What is odd."""

    ALLOWS_NOTHING = "allows-nothing"
    ALLOWS_EVERYTHING = "allows-everything"
    UNREACHABLE = "unreachable"
    """A rule, or a setting, that can never decide anything."""

    SHADOWED = "shadowed"
    """A permission that other rules always forbid."""

    REDUNDANT = "redundant"
    """A rule that says nothing which another one does not say already."""

    UNKNOWN_NAME = "unknown-name"
    """A role that nobody can be in, or the like."""


class Remark(Value):
    """One thing that is odd, and where."""

    kind: RemarkKind
    where: str
    """The key, or the file, line and rule."""

    message: str


@dataclass(frozen=True, slots=True)
class AccessRuleSeen:
    """One access rule, and on which of the tried requests it applies."""

    id: str
    where: str
    permits: bool


def setting_remarks(profile: PolicyProfile) -> Iterator[Remark]:
    """What is odd about the settings of a policy file, its access rules left aside."""
    admission, evidence = profile.admission, profile.evidence
    automatic = set(admission.automatic_levels)
    if not admission.levels:
        yield _remark(
            RemarkKind.ALLOWS_NOTHING, "admission.levels", "no level is admitted, so no tool is"
        )
    if automatic == set(LintLevel) and admission.review == "never":
        yield _remark(
            RemarkKind.ALLOWS_EVERYTHING,
            "admission",
            "every level is admitted without a person: whatever passes its own examples runs, "
            "network and secrets included",
        )
    if not evidence.property_runs and evidence.property_failures != "allow":
        yield _remark(
            RemarkKind.UNREACHABLE,
            "evidence.property_failures",
            "there are no generated runs (evidence.property_runs is 0), so none can fail",
        )
    if automatic == set(admission.levels) and admission.review == "never" and admission.levels:
        idle = {
            "approvers": admission.approvers > 1,
            "author_may_approve": not admission.author_may_approve,
        }
        for key, is_set in idle.items():
            if is_set:
                yield _remark(
                    RemarkKind.UNREACHABLE,
                    f"admission.{key}",
                    "nobody is ever asked: review is never, and every level is automatic",
                )
    yield from _signature_remarks(profile)
    yield from _grant_remarks(profile)
    if profile.access.roles and not profile.access.policies:
        yield _remark(
            RemarkKind.UNREACHABLE,
            "access.roles",
            "roles are for Cedar files, and access.policies names none",
        )


def _signature_remarks(profile: PolicyProfile) -> Iterator[Remark]:
    """Signatures that nobody is asked for."""
    admission, wanted = profile.admission, profile.signatures
    if wanted.properties and not profile.evidence.property_runs:
        yield _remark(
            RemarkKind.ALLOWS_NOTHING,
            "signatures.properties",
            "there are no generated runs (evidence.property_runs is 0) to vouch for",
        )
    if wanted.replay and not (profile.replay.runs or profile.replay.at_least):
        yield _remark(
            RemarkKind.ALLOWS_NOTHING,
            "signatures.replay",
            "nothing is run beside the version before (replay.runs and replay.at_least are 0)",
        )
    for key, count, whose in (
        ("person_keys", wanted.person_keys, "people's keys"),
        ("review", wanted.review, "keys of reviews"),
    ):
        if count > admission.approvers:
            yield _remark(
                RemarkKind.ALLOWS_NOTHING,
                f"signatures.{key}",
                f"{count} {whose} are wanted, and admission.approvers asks "
                f"{admission.approvers}: what is approved cannot be called",
            )
        elif count and admission.automatic_levels and admission.review != "always":
            yield _remark(
                RemarkKind.SHADOWED,
                "admission.automatic_levels",
                f"what is admitted without a person has no key of a review, which "
                f"signatures.{key} wants: it cannot be called",
            )
            return  # once is enough


def _grant_remarks(profile: PolicyProfile) -> Iterator[Remark]:
    levels = set(profile.admission.levels)
    if levels and profile.network.allow and LintLevel.L3 not in levels:
        yield _remark(
            RemarkKind.UNREACHABLE,
            "network.allow",
            "hosts ask for level L3, which admission.levels has not",
        )
    if levels and profile.packages.allow and levels <= {LintLevel.L0}:
        yield _remark(
            RemarkKind.UNREACHABLE,
            "packages.allow",
            "packages ask for level L1 or above, which admission.levels has not",
        )
    allowed = [parse_grant(text) for text in profile.network.allow]
    for name, grant in profile.secrets.items():
        if not any(each.overlaps(parse_grant(text)) for text in grant.hosts for each in allowed):
            yield _remark(
                RemarkKind.UNREACHABLE,
                f"secrets.{name}.hosts",
                "network.allow has none of these hosts, so no tool can send it there",
            )


Probe = Callable[[Sequence[str]], Sequence[frozenset[str]]]
"""Which rules apply to each of the requests that are made of the names in some rules alone."""


def access_remarks(
    rules: Sequence[AccessRuleSeen],
    tried: Samples,
    applying: Sequence[frozenset[str]],
    probe: Probe,
) -> Iterator[Remark]:
    """What is odd about access rules, from which of them apply to each of the tried requests.

    What looks odd there is looked at again by `probe`, on requests that are about it alone: those
    that were tried may be a part of what the names in all rules give.
    """
    by_id = {rule.id: rule for rule in rules}
    permits = frozenset(rule.id for rule in rules if rule.permits)
    allowed = [bool(found & permits) and found <= permits for found in applying]
    basis = f"{len(tried.requests):,} requests made of the names in the rules"
    if not any(allowed):
        yield _remark(RemarkKind.ALLOWS_NOTHING, "access", f"none of {basis} is allowed")
    if allowed and all(allowed):
        yield _remark(RemarkKind.ALLOWS_EVERYTHING, "access", f"each of {basis} is allowed")
    for rule in rules:
        mine = [found for found in applying if rule.id in found]
        if not mine:
            never = f"rule {rule.id!r} applies to none of {basis}"
            yield _remark(RemarkKind.UNREACHABLE, rule.where, never)
            continue
        forbids = sorted(frozenset().union(*mine) - permits)
        if (
            rule.permits
            and not any(found <= permits for found in mine)
            and not any(
                found <= permits for found in probe([rule.id, *forbids]) if rule.id in found
            )
        ):
            yield _remark(
                RemarkKind.SHADOWED,
                rule.where,
                f"whatever rule {rule.id!r} permits is forbidden by {_names(forbids)}",
            )
        twins = frozenset.intersection(*mine) - {rule.id}
        same = sorted(
            twin
            for twin in twins
            if by_id[twin].permits is rule.permits
            and all(twin in found for found in probe([rule.id, twin]) if rule.id in found)
        )
        if same:
            yield _remark(
                RemarkKind.REDUNDANT,
                rule.where,
                f"whenever rule {rule.id!r} applies, so does {_names(same)}, which says the same",
            )


def unused_actions(
    rules: Sequence[AccessRuleSeen], tried: Samples, applying: Sequence[frozenset[str]]
) -> tuple[Action, ...]:
    """The actions that nobody at all may do."""
    permits = frozenset(rule.id for rule in rules if rule.permits)
    done = {
        asked.action
        for asked, found in zip(tried.requests, applying, strict=True)
        if found & permits and found <= permits
    }
    return tuple(action for action in Action if action not in done)


KNOWN_PERMISSIONS: Final = (
    "files-input",
    "files-output",
    "imports",
    "network",
    "packages",
    "secrets",
    "tools",
)


def name_remarks(found: Mentioned, profile: PolicyProfile) -> Iterator[Remark]:
    """Names in access rules that nothing can have."""
    known: Mapping[str, tuple[tuple[str, ...], str]] = {
        "Role": (tuple(profile.access.roles), "[access.roles] has no such role"),
        "Permission": (KNOWN_PERMISSIONS, "there is no such kind of permission"),
    }
    for kind, (names, problem) in known.items():
        for name in found.of(kind):
            if name not in names:
                near = get_close_matches(name, names, n=1)
                hint = f"; did you mean {near[0]!r}?" if near else ""
                yield _remark(RemarkKind.UNKNOWN_NAME, f'{kind}::"{name}"', f"{problem}{hint}")


def _names(rules: Sequence[str]) -> str:
    return ", ".join(repr(rule) for rule in rules)


def _remark(kind: RemarkKind, where: str, message: str) -> Remark:
    return Remark(kind=kind, where=where, message=message)
