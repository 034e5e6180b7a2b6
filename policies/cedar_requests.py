"""A question about access as Cedar takes it: the request, and the entities that it is about."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from pydantic import JsonValue

from policies.access import Principal, PrincipalKind, Resource
from policies.access_samples import Asked
from policies.cedar_roles import RolesOf
from policies.value import JsonObject

_KINDS: Final = {
    PrincipalKind.PERSON: "Person",
    PrincipalKind.AGENT: "Agent",
    PrincipalKind.SESSION: "Session",
}


def request_of(asked: Asked) -> dict[str, JsonValue]:
    """Who asks for what, and the circumstances."""
    return {
        "principal": _uid(_KINDS[asked.principal.kind], asked.principal.name),
        "action": _uid("Action", asked.action.value),
        "resource": _uid("Version", asked.resource.digest),
        "context": asked.context.model_dump(mode="json"),
    }


def entities_of(asked: Asked, roles: RolesOf) -> list[JsonObject]:
    """The principal with its roles and the version with what it declares."""
    return [_principal(asked.principal, asked.roles, roles), _version(asked.resource)]


def _principal(principal: Principal, more: Sequence[str], roles: RolesOf) -> JsonObject:
    """The principal with its roles; of a session, those of its model."""
    kind, name = _KINDS[principal.kind], principal.name
    if principal.kind is not PrincipalKind.SESSION:
        return _entity(kind, name, parents=_in_roles((kind, name), more, roles))
    model = ("Agent", principal.model)
    return _entity(
        kind,
        name,
        attributes={"person": {"__entity": _uid("Person", principal.person)}},
        parents=[_uid(*model), *_in_roles(model, more, roles)],
    )


def _in_roles(member: tuple[str, str], more: Sequence[str], roles: RolesOf) -> list[JsonObject]:
    return [_uid("Role", role) for role in (*roles.get(member, ()), *more)]


def _version(resource: Resource) -> JsonObject:
    parents = [
        _uid("Tool", resource.name),
        *(_uid("Host", host) for host in resource.hosts),
        *(_uid("Secret", secret) for secret in resource.secrets),
        *(_uid("Permission", kind) for kind in resource.permissions),
    ]
    attributes: JsonObject = {
        "name": resource.name,
        "level": resource.level.value,
        "author": {"__entity": _uid("Person", resource.author)},
        "origin": resource.origin,
        "state": resource.state,
    }
    return _entity("Version", resource.digest, attributes=attributes, parents=parents)


def _entity(
    kind: str,
    name: str,
    *,
    attributes: JsonObject | None = None,
    parents: Sequence[JsonObject] = (),
) -> JsonObject:
    return {"uid": _uid(kind, name), "attrs": attributes or {}, "parents": [*parents]}


def _uid(kind: str, name: str) -> JsonObject:
    return {"type": kind, "id": name}
