"""Who may do what: principals, actions, resources, and what an authorizer is asked and answers."""

from __future__ import annotations

from enum import StrEnum
from typing import Literal, Protocol, Self

from policies.decision import Decision
from policies.network import AddressError, parse_grant
from policies.permissions import LintLevel, Permissions
from policies.source import ToolSource
from policies.value import Value


class Action(StrEnum):
    """What can be asked for; each is about one version of a tool."""

    DEFINE = "define"
    """Propose it: have it checked and tried."""

    ADMIT = "admit"
    """Have it approved by the evidence alone, without a person."""

    CALL = "call"
    APPROVE = "approve"
    """Decide in review; `Circumstances.vote` says what."""

    WAIVE = "waive"
    """Let one finding pass; `Circumstances.rule` says which."""

    DEPRECATE = "deprecate"
    """Make another version the one that the name means, or that a session gets; a way back too."""

    REVOKE = "revoke"
    EXPORT = "export"
    READ_SOURCE = "read_source"


class PrincipalKind(StrEnum):
    """Who asks."""

    PERSON = "person"
    AGENT = "agent"
    """A model, whoever it works for."""

    SESSION = "session"
    """A model in one conversation, for one person."""


class Principal(Value):
    """Who asks. A session has no rights of the person that it works for, only a name to blame."""

    kind: PrincipalKind
    name: str
    """Of the person or the model; the identifier of a session."""

    person: str = ""
    """Whom a session works for."""

    model: str = ""
    """The model of a session."""

    @classmethod
    def of_person(cls, name: str) -> Self:
        """A person, or an account of one."""
        return cls(kind=PrincipalKind.PERSON, name=name)

    @classmethod
    def of_session(cls, session: str, *, person: str, model: str) -> Self:
        """A model in a conversation that `person` answers for."""
        return cls(kind=PrincipalKind.SESSION, name=session, person=person, model=model)

    @property
    def is_person(self) -> bool:
        """Whether a human being asks."""
        return self.kind is PrincipalKind.PERSON

    @property
    def answerable(self) -> str:
        """The person behind it; empty for a model by itself."""
        return self.name if self.is_person else self.person

    def __str__(self) -> str:
        behind = f" for {self.person}" if self.person else ""
        return f"{self.kind.value} {self.name}{behind}"


class Resource(Value):
    """One version of a tool, as proposed or as stored."""

    name: str
    digest: str
    """Of the version; of the source where it is only proposed."""

    level: LintLevel
    author: str
    origin: Literal["human", "agent", "import"]
    state: str
    """Of its life-cycle; `proposed` before it has one."""

    hosts: tuple[str, ...] = ()
    """Names of the hosts that it sends requests to."""

    secrets: tuple[str, ...] = ()
    permissions: tuple[str, ...] = ()
    """Which kinds it declares: imports, packages, network, secrets, files-input, files-output,
    tools."""

    @classmethod
    def of_source(
        cls,
        source: ToolSource,
        *,
        author: str,
        origin: Literal["human", "agent", "import"],
        digest: str | None = None,
        state: str = "proposed",
    ) -> Self:
        """What `source` asks for, on the way in or stored as `digest`."""
        declared = source.permissions
        return cls(
            name=source.name,
            digest=digest or source.digest,
            level=declared.lint_level,
            author=author,
            origin=origin,
            state=state,
            hosts=_host_names(declared.hosts),
            secrets=tuple(sorted(set(declared.secrets))),
            permissions=kinds_of(declared),
        )


class Circumstances(Value):
    """What else a rule may look at; only what the action has."""

    vote: Literal["", "approve", "reject", "change"] = ""
    """Of `approve`: what the person decides."""

    rule: str = ""
    """Of `waive`: the rule that the finding is about."""

    approvals: int = 0
    """How many people have said yes so far."""


class Authorizer(Protocol):
    """Decides who may do what; pure, and no for whatever it does not know."""

    @property
    def digest(self) -> str:
        """Identity of the policy that the rules are part of."""
        ...

    def decide(
        self,
        principal: Principal,
        action: Action,
        resource: Resource,
        context: Circumstances = ...,
    ) -> Decision:
        """Allow or refuse, with the rules that said so; never raise for what is asked."""
        ...


def kinds_of(permissions: Permissions) -> tuple[str, ...]:
    """The kinds of permissions that are declared, sorted."""
    declared = {
        "imports": bool(permissions.imports),
        "packages": bool(permissions.packages),
        "network": bool(permissions.hosts),
        "secrets": bool(permissions.secrets),
        "files-input": "input" in permissions.files,
        "files-output": "output" in permissions.files,
        "tools": bool(permissions.tools),
    }
    return tuple(sorted(kind for kind, is_declared in declared.items() if is_declared))


def _host_names(grants: tuple[str, ...]) -> tuple[str, ...]:
    """`api.example.com` of `GET https://api.example.com/v1`, `*.example.com` of a wildcard."""
    names = set()
    for text in grants:
        try:
            grant = parse_grant(text)
        except AddressError:  # refused elsewhere; by its own spelling no rule forgets it
            names.add(text)
        else:
            names.add(f"*.{grant.host}" if grant.wildcard else grant.host)
    return tuple(sorted(names))
