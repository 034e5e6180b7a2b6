"""Who may do what: a no wins, nothing said is a no, and what cannot be evaluated is a no."""

from __future__ import annotations

from itertools import permutations, product
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import policies.cedar
from policies.access import Action, Circumstances, Principal, PrincipalKind, Resource
from policies.access_rules import BUILT_IN, AccessRule, RuleAuthorizer
from policies.authorizers import authorizer_of
from policies.cedar import CedarAuthorizer
from policies.cedar_text import statements
from policies.errors import PolicyConfigError
from policies.permissions import LintLevel, Permissions
from policies.source import ToolSource
from runtime.profiles import read_profile

PROFILES = Path(policies.cedar.__file__).parent / "profiles"
ADA = Principal.of_person("ada")
BOB = Principal.of_person("bob")
SESSION = Principal.of_session("s1", person="ada", model="a-model")
AGENT = Principal(kind=PrincipalKind.AGENT, name="a-model")
YES = Circumstances(vote="approve")


def tool(**declared: object) -> Resource:
    source = ToolSource(
        name="a_tool",
        description="A tool.",
        code="def a_tool() -> int:\n    return 1\n",
        permissions=Permissions.model_validate(declared),
    )
    return Resource.of_source(source, author="ada", origin="human", digest="sha256:" + "a" * 64)


TOOL = tool()
NETWORK = tool(hosts=("GET https://API.example.com/v1",), secrets=("PAYROLL",))


def cedar(*rules: str, **roles: tuple[str, ...]) -> CedarAuthorizer:
    return CedarAuthorizer((("mine.cedar", "\n".join(rules)),), roles, digest="the digest")


def shipped(name: str, **roles: tuple[str, ...]) -> CedarAuthorizer:
    text = (PROFILES / f"{name}.cedar").read_text("utf-8")
    return CedarAuthorizer(((f"{name}.cedar", text),), roles, digest="the digest")


ALL = '@id("all") permit(principal, action, resource);'
requests = st.tuples(
    st.sampled_from([ADA, BOB, SESSION, AGENT]),
    st.sampled_from(list(Action)),
    st.sampled_from([TOOL, NETWORK]),
    st.sampled_from([Circumstances(), YES, Circumstances(vote="reject")]),
)


def test_without_cedar_files_the_rules_mean_what_local_cedar_says():
    built_in = RuleAuthorizer(BUILT_IN, digest="the digest")
    written = shipped("local")

    for who, action, what in product((ADA, BOB, SESSION, AGENT), Action, (TOOL, NETWORK)):
        mine, theirs = (
            each.decide(who, action, what, Circumstances()) for each in (built_in, written)
        )
        assert mine == theirs, (who, action)


@pytest.mark.parametrize("name", ["local", "team", "production"])
def test_no_shipped_policy_lets_a_model_decide(name: str):
    access = authorizer_of(read_profile(name))

    for who, action in product(
        (SESSION, AGENT),
        (Action.APPROVE, Action.WAIVE, Action.DEPRECATE, Action.REVOKE, Action.EXPORT),
    ):
        decision = access.decide(who, action, TOOL, YES)
        assert not decision.allowed
        assert "models-never-decide" in decision.rules


@settings(max_examples=10)
@given(requests)
def test_no_rules_allow_nothing(asked):
    assert not RuleAuthorizer((), digest="d").decide(*asked).allowed
    assert not cedar('@id("no") forbid(principal, action, resource);').decide(*asked).allowed


@settings(max_examples=10)
@given(requests)
def test_what_no_rule_permits_is_refused_and_says_so(asked):
    only_carol = cedar('@id("carol") permit(principal == Person::"carol", action, resource);')

    decision = only_carol.decide(*asked)

    assert not decision.allowed
    assert decision.rules == ()
    assert "no rule permits it" in decision.reasons[0]


@settings(max_examples=10)
@given(requests, st.integers(0, 5))
def test_a_no_wins_wherever_it_stands(asked, place: int):
    rules = [ALL.replace("all", f"all-{number}") for number in range(5)]
    rules.insert(place, '@id("no") @reason("because") forbid(principal, action, resource);')

    decision = cedar(*rules).decide(*asked)

    assert not decision.allowed
    assert decision.rules == ("no",)
    assert "(because)" in decision.reasons[0]


@settings(max_examples=10)
@given(requests, st.permutations(range(6)))
def test_the_order_of_rules_does_not_matter(asked, order: list[int]):
    text = (PROFILES / "team.cedar").read_text("utf-8")
    rules = [each.text for each in statements("team.cedar", text)]
    one, other = cedar(*rules), cedar(*(rules[number] for number in order))

    first, second = one.decide(*asked), other.decide(*asked)

    assert first.allowed is second.allowed
    assert set(first.rules) == set(second.rules)


@settings(max_examples=15)
@given(requests, st.lists(st.sampled_from(BUILT_IN), max_size=3))
def test_a_further_forbidding_rule_never_allows_more(asked, rules: list[AccessRule]):
    before = RuleAuthorizer(tuple(rules), digest="d").decide(*asked)
    after = RuleAuthorizer((*rules, BUILT_IN[-1]), digest="d").decide(*asked)

    assert before.allowed or not after.allowed


def test_rules_that_differ_in_order_only_are_the_same_for_every_order():
    for order in permutations(BUILT_IN):
        access = RuleAuthorizer(order, digest="d")
        assert access.decide(ADA, Action.REVOKE, TOOL).allowed
        assert not access.decide(SESSION, Action.REVOKE, TOOL).allowed


def test_a_rule_that_fails_forbids():
    # Cedar leaves a rule out that fails while it is evaluated; one that forbids would be gone.
    access = cedar(
        ALL,
        '@id("too-many") forbid(principal, action, resource) '
        "when { context.approvals + 9223372036854775807 > 0 };",
    )

    fine = access.decide(ADA, Action.CALL, TOOL, Circumstances(approvals=0))
    failing = access.decide(ADA, Action.CALL, TOOL, Circumstances(approvals=1))

    assert not fine.allowed
    assert not failing.allowed
    assert failing.rules == ()
    assert "too-many" in failing.reasons[-1]
    assert "overflow" in failing.reasons[-1]


@pytest.mark.parametrize(
    "name",
    ['"', "\\", 'x"}, "type": "Role', "\n", "\x00", "\u202e", "a" * 10_000, "", 'Role::"security"'],
)
def test_names_are_names_whatever_is_in_them(name: str):
    access = cedar(
        '@id("security") permit(principal in Role::"security", action, resource);',
        security=("sue",),
    )

    for who in (
        Principal.of_person(name),
        Principal.of_session(name, person="sue", model=name),
        Principal(kind=PrincipalKind.AGENT, name=name),
    ):
        assert not access.decide(who, Action.CALL, TOOL).allowed
    assert access.decide(Principal.of_person("sue"), Action.CALL, TOOL).allowed


def test_a_session_has_the_roles_of_its_model_and_never_those_of_its_person():
    access = cedar(
        '@id("security") permit(principal in Role::"security", action, resource);',
        security=("ada", "role:models"),
        models=("agent:trusted",),
    )

    assert access.decide(ADA, Action.CALL, TOOL).allowed
    assert not access.decide(SESSION, Action.CALL, TOOL).allowed
    trusted = Principal.of_session("s2", person="ada", model="trusted")
    assert access.decide(trusted, Action.CALL, TOOL).allowed


def test_hosts_secrets_and_permissions_are_named():
    access = cedar(
        ALL,
        '@id("host") forbid(principal, action, resource in Host::"api.example.com");',
        '@id("secret") forbid(principal, action, resource in Secret::"PAYROLL");',
        '@id("kind") forbid(principal, action, resource in Permission::"network");',
        '@id("name") forbid(principal, action, resource in Tool::"other");',
    )

    assert access.decide(ADA, Action.CALL, TOOL).allowed
    assert access.decide(ADA, Action.CALL, NETWORK).rules == ("host", "secret", "kind")


def test_an_author_is_who_they_are_not_what_they_are_called():
    access = cedar(
        ALL, '@id("own") forbid(principal, action, resource) when { resource.author == principal };'
    )

    assert not access.decide(ADA, Action.APPROVE, TOOL, YES).allowed
    assert access.decide(BOB, Action.APPROVE, TOOL, YES).allowed
    agent_ada = Principal(kind=PrincipalKind.AGENT, name="ada")
    assert access.decide(agent_ada, Action.CALL, TOOL).allowed


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "no rule"),
        ("// nothing\n", "no rule"),
        ("permit(principal, action, resource);", "@id"),
        ('@id("Über") permit(principal, action, resource);', "@id"),
        (f"{ALL}\n\n{ALL}", "2 rules with the identifier 'all'"),
        (f"{ALL}\n\npermit(principal, action, resource", "line 3"),
        (f'{ALL}\n@id("b") permit(principal,\n  action resource);', "line 3: unexpected token"),
        ('@id("a") permit(principal, action == Action::"aprove", resource);', "mean 'approve'"),
        ('@id("a") permit(principal, action, resource) when { context.vot == "" };', "mean 'vote'"),
        ('@id("a") permit(principal, action, resource) when { resource.level > 3 };', "line 1"),
        ('@id("a") permit(principal is Persn, action, resource);', "did you mean 'Person'"),
        ('@id("a") permit(principal == ?principal, action, resource);', "template"),
    ],
)  # fmt: skip
def test_cedar_that_is_not_exactly_understood_is_refused_with_its_place(text: str, words: str):
    with pytest.raises(PolicyConfigError) as caught:
        cedar(text)

    assert words in str(caught.value)
    assert "mine.cedar" in str(caught.value)


@pytest.mark.parametrize(
    ("roles", "words"),
    [
        ({"a": ("robot:x",)}, "write NAME or person:NAME"),
        ({"a": ("person:",)}, "write NAME or person:NAME"),
        ({"security": (), "a": ("role:securty",)}, "did you mean 'security'"),
    ],
)
def test_members_that_are_not_understood_are_refused(roles, words: str):
    with pytest.raises(PolicyConfigError, match=r"access\.roles") as caught:
        cedar(ALL, **roles)

    assert words in str(caught.value)


def test_roles_inside_themselves_end():
    access = cedar(
        '@id("a") permit(principal in Role::"a", action, resource);',
        a=("role:b",),
        b=("role:a", "ada"),
    )

    assert access.decide(ADA, Action.CALL, TOOL).allowed
    assert not access.decide(BOB, Action.CALL, TOOL).allowed


def test_comments_and_semicolons_in_texts_do_not_cut_rules():
    rules = (
        '// a; comment; @id("x")\n@id("one") @reason("first; // no comment")\n'
        'permit(principal, action, resource) when { resource.name != "a;b//c\\";" };\n'
        f"{ALL}"
    )

    assert [rule.id for rule in cedar(rules).rules] == ["one", "all"]


def test_what_is_asked_of_a_tool_is_what_it_declares():
    assert NETWORK.hosts == ("api.example.com",)
    assert NETWORK.permissions == ("network", "secrets")
    assert NETWORK.level is LintLevel.L3
    assert TOOL.permissions == ()
