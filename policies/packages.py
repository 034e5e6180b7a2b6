"""Packages that a tool declares, against those that a policy allows.

A requirement is a name, extras and a range of versions, and nothing else: no address, no path,
no marker. What is installed is the range that tool and policy both name, so that a tool can
narrow what it was granted and never widen it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import TYPE_CHECKING, Final

from policies.display import escape_text, excerpt
from policies.problems import Problem

# `packaging` is imported where it is used: most commands declare and allow no packages, and
# importing it takes longer than all of them.
if TYPE_CHECKING:
    from packaging.specifiers import SpecifierSet

    from policies.config import PackageSettings, PolicyProfile
    from policies.permissions import Permissions

__all__ = [
    "PackageRequirement",
    "RequirementError",
    "constraints",
    "granted_requirements",
    "package_problems",
    "read_allowed",
    "read_requirement",
    "versions_outside",
]

_RULE: Final = "RP402"
_CHARACTERS: Final = 200
_SPELLING: Final = "write a name with or without versions, such as numpy or pandas>=2,<3"


class RequirementError(ValueError):
    """A requirement cannot be understood, or is not granted."""

    def __init__(self, message: str, suggestion: str) -> None:
        super().__init__(f"{message}; {suggestion}")
        self.message = message
        self.suggestion = suggestion


@dataclass(frozen=True)
class PackageRequirement:
    """One distribution, and which of its versions."""

    name: str
    """Normalised: lower case, words joined by single hyphens."""

    extras: frozenset[str]
    versions: SpecifierSet

    def __str__(self) -> str:
        extras = f"[{','.join(sorted(self.extras))}]" if self.extras else ""
        return f"{self.name}{extras}{self.versions}"

    def narrowed(self, other: PackageRequirement) -> PackageRequirement:
        """What both ask for; the extras are this one's."""
        return PackageRequirement(self.name, self.extras, self.versions & other.versions)

    def joined(self, other: PackageRequirement) -> PackageRequirement:
        """What both ask for, with the extras of either."""
        return PackageRequirement(
            self.name, self.extras | other.extras, self.versions & other.versions
        )


def read_requirement(text: str) -> PackageRequirement:
    """Read one requirement.

    Raises:
        RequirementError: It is malformed, or says more than name, extras and versions.
    """
    from packaging.requirements import InvalidRequirement, Requirement  # noqa: PLC0415  see above
    from packaging.utils import canonicalize_name  # noqa: PLC0415

    given = excerpt(escape_text(text, keep_newlines=False), characters=60)
    if len(text) > _CHARACTERS:
        raise RequirementError(
            f"the requirement {given!r} has more than {_CHARACTERS} characters", _SPELLING
        )
    try:
        parsed = Requirement(text)
    except InvalidRequirement:
        if _looks_like_a_place(text):
            raise _place_error(given) from None
        raise RequirementError(f"{given!r} is not a requirement", _SPELLING) from None
    if parsed.url is not None:
        raise _place_error(given)
    if parsed.marker is not None:
        raise RequirementError(
            f"the requirement {given!r} has a condition (behind the semicolon)",
            "leave the condition out: every tool runs on the same Python and platform",
        )
    if any(specifier.operator == "===" for specifier in parsed.specifier):
        raise RequirementError(
            f"the requirement {given!r} compares versions as text", "write == instead of ==="
        )
    extras = frozenset(canonicalize_name(extra) for extra in parsed.extras)
    return PackageRequirement(canonicalize_name(parsed.name), extras, parsed.specifier)


def _looks_like_a_place(text: str) -> bool:
    return any(mark in text for mark in ("/", "\\", "://")) or text.strip().startswith(".")


def _place_error(given: str) -> RequirementError:
    return RequirementError(
        f"{given!r} names a file or an address; packages come from the policy's index alone",
        _SPELLING,
    )


def read_allowed(allow: Iterable[str]) -> dict[str, PackageRequirement]:
    """What a policy's `packages.allow` says, by name.

    Raises:
        RequirementError: An entry cannot be understood, or a package has two.
    """
    allowed: dict[str, PackageRequirement] = {}
    for text in allow:
        requirement = read_requirement(text)
        if requirement.name in allowed:
            raise RequirementError(
                f"packages.allow has {requirement.name!r} twice",
                "write one entry with all its conditions, such as pandas>=2,<3",
            )
        allowed[requirement.name] = requirement
    return allowed


def package_problems(permissions: Permissions, profile: PolicyProfile) -> tuple[Problem, ...]:
    """Every package that `profile` does not grant, or that cannot be understood."""
    if not permissions.packages:
        return ()
    allowed = read_allowed(profile.packages.allow)
    problems: list[Problem] = []
    together: dict[str, PackageRequirement] = {}
    for text in permissions.packages:
        try:
            wanted = read_requirement(text)
            granted = _granted(wanted, allowed, profile.name)
            before = together.get(granted.name)
            together[granted.name] = _satisfiable(before.joined(granted)) if before else granted
        except RequirementError as error:
            problems.append(Problem(_RULE, error.message, error.suggestion))
    return tuple(problems)


def granted_requirements(packages: Iterable[str], settings: PackageSettings) -> tuple[str, ...]:
    """What is to be installed for `packages`: the range that tool and policy both name, sorted.

    The same set for the same packages in any order and spelling.

    Raises:
        RequirementError: One is malformed or not granted.
    """
    allowed = read_allowed(settings.allow)
    together: dict[str, PackageRequirement] = {}
    for text in packages:
        granted = _granted(read_requirement(text), allowed, "in force")
        before = together.get(granted.name)
        together[granted.name] = _satisfiable(before.joined(granted)) if before else granted
    return tuple(sorted(str(requirement) for requirement in together.values()))


def constraints(settings: PackageSettings) -> tuple[str, ...]:
    """What the policy says of versions, for packages that come along as well; without extras."""
    allowed = read_allowed(settings.allow).values()
    return tuple(sorted(f"{grant.name}{grant.versions}" for grant in allowed if grant.versions))


def versions_outside(settings: PackageSettings, versions: Mapping[str, str]) -> tuple[str, ...]:
    """Installed `versions` by name that the policy's ranges leave out, as `name version`.

    A package that came along as another's dependency is held to the policy's range too, if it
    has one.
    """
    allowed = read_allowed(settings.allow)
    return tuple(
        f"{name} {version}"
        for name, version in sorted(versions.items())
        if name in allowed and not allowed[name].versions.contains(version, prereleases=True)
    )


def _granted(
    wanted: PackageRequirement, allowed: Mapping[str, PackageRequirement], policy: str
) -> PackageRequirement:
    grant = allowed.get(wanted.name)
    if grant is None:
        raise _not_allowed(wanted, allowed, policy)
    beyond = sorted(wanted.extras - grant.extras)
    if beyond:
        raise RequirementError(
            f"permissions.packages asks for the extra(s) {', '.join(beyond)} of {wanted.name}, "
            f"which policy {policy} does not grant",
            f"declare {wanted.name}{wanted.versions} without them",
        )
    granted = wanted.narrowed(grant)
    if granted.versions.is_unsatisfiable():
        raise RequirementError(
            f"permissions.packages asks for {wanted}, but policy {policy} grants {grant}: "
            "no version is both",
            f"declare {wanted.name} alone, or a range inside of {grant}",
        )
    return granted


def _satisfiable(requirement: PackageRequirement) -> PackageRequirement:
    if requirement.versions.is_unsatisfiable():
        raise RequirementError(
            f"permissions.packages names {requirement.name} twice, and no version fits both: "
            f"{requirement.versions}",
            f"declare {requirement.name} once",
        )
    return requirement


def _not_allowed(
    wanted: PackageRequirement, allowed: Mapping[str, PackageRequirement], policy: str
) -> RequirementError:
    near = get_close_matches(wanted.name, allowed, n=1)
    if near:
        suggestion = f"did you mean {near[0]!r}? Otherwise"
    elif allowed:
        suggestion = f"use one of {', '.join(sorted(allowed)[:12])}, or"
    else:
        suggestion = "none is granted:"
    return RequirementError(
        f"permissions.packages asks for {wanted.name!r}, which policy {policy} does not grant",
        f"{suggestion} do without it, or ask whoever keeps the policy to add it to packages.allow",
    )
