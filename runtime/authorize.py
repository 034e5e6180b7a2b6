"""Who may do what, asked in one way wherever something is done."""

from __future__ import annotations

from policies.access import Action, Authorizer, Circumstances, Principal, Resource
from policies.decision import Decision
from runtime.errors import AccessRefusedError
from toolstore.models import Origin, Provenance, ToolVersion

NO_CIRCUMSTANCES = Circumstances()


def authorize(
    access: Authorizer,
    principal: Principal,
    action: Action,
    resource: Resource,
    context: Circumstances = NO_CIRCUMSTANCES,
) -> Decision:
    """The decision that lets `principal` do it.

    Raises:
        AccessRefusedError: The policy does not let it; the error has the decision.
    """
    decision = access.decide(principal, action, resource, context)
    if not decision.allowed:
        raise AccessRefusedError(decision)
    return decision


def resource_of(version: ToolVersion) -> Resource:
    """A stored version, as rules see it."""
    return Resource.of_source(
        version.source,
        author=version.provenance.author,
        origin=version.provenance.origin.value,
        digest=version.digest,
        state=version.state.value,
    )


def author_of(provenance: Provenance) -> Principal:
    """Who proposes what comes from there: a model in its session, or the person themselves."""
    if provenance.origin is Origin.AGENT:
        return Principal.of_session(
            provenance.session or "", person=provenance.author, model=provenance.model or ""
        )
    return Principal.of_person(provenance.author)


def caller_of(person: str, session: str | None, model: str | None) -> Principal:
    """Who calls: a model in a session of `person`, or the person themselves."""
    if session is None:
        return Principal.of_person(person)
    return Principal.of_session(session, person=person, model=model or "")


def admitted_by(
    decision: Decision, access: Authorizer, author: Principal, resource: Resource
) -> Decision:
    """`decision`, where nobody was asked: a person is, unless `author` may do without."""
    if not decision.allowed:
        return decision
    may = access.decide(author, Action.ADMIT, resource)
    if may.allowed:
        return decision
    return may.model_copy(update={"needs_review": True})
