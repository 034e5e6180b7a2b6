"""What one call may ask of the network: its grants, its secrets, and how much is left of each."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeAlias

from policies.network import METHODS, HostGrant, Target, parse_grant
from sandbox.broker.errors import RefusedError

if TYPE_CHECKING:
    from policies.config import PolicyProfile
    from policies.permissions import Permissions

__all__ = ["Budget", "Gate", "SecretProvider", "SentSecrets"]

SecretProvider: TypeAlias = Callable[[str], str | None]
"""From a secret's name to its value; None where this host has none."""

_SHOWN: Final = 8


@dataclass(frozen=True)
class SentSecrets:
    """What secrets add to one request."""

    headers: tuple[tuple[str, str], ...] = ()
    names: tuple[str, ...] = ()
    note: str = ""
    """What the event says of secrets that were held back."""


@dataclass(frozen=True)
class _Secret:
    name: str
    header: str
    text: str | None
    """The header's value; None where it is held back or there is none."""

    held_back: bool

    places: tuple[HostGrant, ...]


class Budget:
    """What is left of the bounds of one call."""

    def __init__(self, *, requests: int, request_bytes: int, response_bytes: int) -> None:
        self._bounds = (requests, request_bytes, response_bytes)
        self._requests = requests
        self._request_bytes = request_bytes
        self._response_bytes = response_bytes

    def take_request(self) -> None:
        """Count a request, granted or not.

        Raises:
            RefusedError: There were as many as there may be.
        """
        if self._requests <= 0:
            raise RefusedError(
                f"this call has made {self._bounds[0]} requests, and the policy lets one call "
                "make no more (network.requests); ask for more with each, or do less in one call"
            )
        self._requests -= 1

    def send(self, size: int) -> None:
        """Count bytes of a request.

        Raises:
            RefusedError: They are too many.
        """
        self.expect_request(size)
        self._request_bytes -= size

    def expect_request(self, size: int) -> None:
        """Look whether so many bytes of a request would be too many.

        Raises:
            RefusedError: They would.
        """
        if size > self._request_bytes:
            raise RefusedError(
                f"the requests of this call go over {self._bounds[1]} bytes, all that the policy "
                "lets one call send (network.request_bytes); send less"
            )

    def expect(self, size: int) -> None:
        """Look whether so many bytes of a response would be too many.

        Raises:
            RefusedError: They would.
        """
        if size > self._response_bytes:
            raise RefusedError(
                f"the responses of this call go over {self._bounds[2]} bytes, all that the policy "
                f"lets one call receive (network.response_bytes; this one has {size} or more, and "
                f"{self._response_bytes} were left); ask the server for less"
            )

    def receive(self, size: int) -> None:
        """Count bytes of a response.

        Raises:
            RefusedError: They are too many.
        """
        self.expect(size)
        self._response_bytes -= size


class Gate:
    """Compares requests with what the tool declared and what the policy grants."""

    def __init__(
        self,
        permissions: Permissions,
        profile: PolicyProfile,
        *,
        secrets: SecretProvider,
        in_trial: bool,
    ) -> None:
        self._declared = tuple(parse_grant(text) for text in permissions.hosts)
        self._allowed = tuple(parse_grant(text) for text in profile.network.allow)
        self._policy = profile.name
        self._in_trial = in_trial
        self._closed = in_trial and not profile.network.in_trials
        self._values: list[str] = []
        self._secrets = tuple(
            self._load(name, profile, secrets)
            for name in permissions.secrets
            if name in profile.secrets
        )
        self._redirects: set[str] = set()

    @property
    def secret_values(self) -> tuple[str, ...]:
        """What must not come back to the tool."""
        return tuple(self._values)

    def check(self, method: str, target: Target) -> None:
        """Let a granted request pass.

        Raises:
            RefusedError: It is not granted; says in words what is missing.
        """
        if self._closed:
            raise RefusedError(
                f"policy {self._policy} lets trials send no requests (network.in_trials); a tool "
                "must pass its examples without, or return what was expected when it gets this"
            )
        if not any(grant.covers(method, target) for grant in self._declared):
            raise RefusedError(self._undeclared(method, target))
        if not any(grant.covers(method, target) for grant in self._allowed):
            raise RefusedError(
                f"{method} {target.shown} is declared by this tool and not granted by policy "
                f"{self._policy}, which grants {_listed(self._allowed)}"
            )

    def secrets_for(self, method: str, target: Target) -> SentSecrets:
        """The secrets that a request gets.

        Raises:
            RefusedError: One has no value here, or two are for one header.
        """
        due = [
            secret
            for secret in self._secrets
            if any(place.covers(method, target) for place in secret.places)
        ]
        held = [secret.name for secret in due if secret.held_back]
        missing = [s.name for s in due if s.text is None and not s.held_back]
        if missing:
            raise RefusedError(
                f"secret {missing[0]} has no usable value on this host; whoever runs it must set "
                f"one before {method} {target.shown} can be sent"
            )
        sent = [(secret, secret.text) for secret in due if secret.text is not None]
        headers = tuple((secret.header, text) for secret, text in sent)
        if len({name.lower() for name, _ in headers}) < len(headers):
            raise RefusedError(f"two secrets go into one header of {method} {target.shown}")
        note = f"sent without secret {', '.join(held)}, which trials do not get" if held else ""
        return SentSecrets(headers, tuple(secret.name for secret, _ in sent), note)

    def redirected_to(self, target: Target) -> None:
        """Remember where an answer sent the tool, for the words of a refusal."""
        self._redirects.add(target.shown)

    def _load(self, name: str, profile: PolicyProfile, provider: SecretProvider) -> _Secret:
        grant = profile.secrets[name]
        held_back = self._in_trial and not grant.in_trials
        value = None if held_back else provider(name)
        if value is not None:
            self._values.append(value)
        text = None if value is None else grant.format.replace("{secret}", value)
        return _Secret(name, grant.header, text, held_back, tuple(map(parse_grant, grant.hosts)))

    def _undeclared(self, method: str, target: Target) -> str:
        origin = "; a redirect led there" if target.shown in self._redirects else ""
        near = [grant for grant in self._declared if grant.covers_place(target)]
        methods = set[str]().union(*(grant.methods for grant in near))
        if methods:
            granted = ", ".join(m for m in METHODS if m in methods)
            declared = f"only {granted} there"
        else:
            declared = _listed(self._declared)
        if any(grant.covers(method, target) for grant in self._allowed):
            advice = (
                f"policy {self._policy} grants it, so declare {_wish(methods, method, target)!r}"
            )
        else:
            advice = f"policy {self._policy} does not grant it either: {_listed(self._allowed)}"
        return (
            f"no grant for {method} {target.shown}{origin}; permissions.hosts of this tool "
            f"declares {declared}; {advice}"
        )


def _wish(methods: set[str], method: str, target: Target) -> str:
    """The grant that would let a request pass."""
    folder = target.path[: target.path.rfind("/") + 1]
    wanted = ",".join(m for m in METHODS if m in {*methods, method})
    return f"{wanted} {target.origin}{folder}"


def _listed(grants: Iterable[HostGrant]) -> str:
    words = [str(grant) for grant in grants]
    if not words:
        return "none"
    more = f" and {len(words) - _SHOWN} more" if len(words) > _SHOWN else ""
    return ", ".join(words[:_SHOWN]) + more
