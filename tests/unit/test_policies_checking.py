"""What is odd about a policy is said, and what it decides is tried on cases."""

from __future__ import annotations

from pathlib import Path

import pytest

import policies.cedar
from policies.cases import read_cases, run_cases
from policies.checking import check_policy
from policies.config import SHIPPED_PROFILES, PolicyProfile, cedar_files, load_profile
from policies.errors import PolicyConfigError
from policies.remarks import RemarkKind
from runtime.profiles import read_profile

PROFILES = Path(policies.cedar.__file__).parent / "profiles"
LOCAL = (PROFILES / "local.toml").read_text("utf-8")
ALL = '@id("all") permit(principal, action, resource);'


def mine(*rules: str, more: str = "", roles: str = "") -> PolicyProfile:
    text = f'{LOCAL}\n{more}\n[access]\npolicies = ["mine.cedar"]\n[access.roles]\n{roles}\n'
    return load_profile(text, origin="mine.toml", files={"mine.cedar": "\n".join(rules)})


def odd(profile: PolicyProfile) -> set[tuple[RemarkKind, str]]:
    return {(each.kind, each.where) for each in check_policy(profile).remarks}


@pytest.mark.parametrize("name", SHIPPED_PROFILES)
def test_nothing_is_odd_about_a_shipped_policy(name: str):
    found = check_policy(read_profile(name))

    assert found.remarks == ()
    assert found.nobody_may == ()


@pytest.mark.parametrize("name", SHIPPED_PROFILES)
def test_a_shipped_policy_decides_as_its_cases_say(name: str):
    cases = read_cases((PROFILES / f"{name}.cases.toml").read_text("utf-8"), origin=name)

    results = run_cases(cases, read_profile(name))

    assert [result.problem for result in results if not result.passed] == []
    assert {result.decided for result in results} >= {"allow", "refuse"}


def test_a_policy_that_allows_everything_or_nothing_is_odd():
    assert (RemarkKind.ALLOWS_EVERYTHING, "access") in odd(mine(ALL))
    nothing = mine(ALL, '@id("no") forbid(principal, action, resource);')
    assert (RemarkKind.ALLOWS_NOTHING, "access") in odd(nothing)


def test_rules_that_never_decide_are_odd():
    found = odd(
        mine(
            '@id("calls") permit(principal, action == Action::"call", resource);',
            '@id("calls-of-people") permit(principal is Person, action == Action::"call", '
            "resource);",
            '@id("exports") permit(principal, action == Action::"export", resource);',
            '@id("no-exports") forbid(principal, action == Action::"export", resource);',
            '@id("never") permit(principal is Person, action == Action::"define", resource)\n'
            "  when { principal is Session };",
            '@id("rare") permit(principal in Role::"a", action == Action::"waive", '
            'resource in Host::"h") when { context.rule == "RP101" && resource.level == "L3" };',
            roles="a = []",
        )
    )

    assert found == {
        (RemarkKind.REDUNDANT, "mine.cedar, line 2, rule 'calls-of-people'"),
        (RemarkKind.SHADOWED, "mine.cedar, line 3, rule 'exports'"),
        (RemarkKind.UNREACHABLE, "mine.cedar, line 5, rule 'never'"),
    }


def test_a_role_that_nobody_can_be_in_is_odd():
    profile = mine(
        ALL,
        '@id("s") forbid(principal in Role::"securty", action, resource);',
        roles="security = []",
    )

    (remark,) = check_policy(profile).remarks

    assert remark.kind is RemarkKind.UNKNOWN_NAME
    assert "did you mean 'security'" in remark.message


EVERY = 'levels = ["L0", "L1", "L2", "L3"]'
ADMITTED = 'levels = ["L0", "L2"]\nautomatic_levels = ["L0"]\nreview = "permissions"'
GENERATED = 'property_runs = 25\nproperty_failures = "allow"'
HOSTS = 'allow = ["https://example.com/"]'
SECRET = '[secrets.KEY]\nhosts = ["https://example.com/"]\nheader = "X-Key"'


@pytest.mark.parametrize(
    ("change", "where"),
    [
        ((ADMITTED, 'levels = []\nautomatic_levels = []\nreview = "never"'), "admission.levels"),
        ((ADMITTED, f'{EVERY}\nautomatic_{EVERY}\nreview = "never"'), "admission"),
        (
            (
                f"{ADMITTED}\napprovers = 1",
                'levels = ["L0"]\nautomatic_levels = ["L0"]\nreview = "never"\napprovers = 2',
            ),
            "admission.approvers",
        ),
        ((GENERATED, 'property_runs = 0\nproperty_failures = "allow"'), ""),
        (
            (GENERATED, 'property_runs = 0\nproperty_failures = "refuse"'),
            "evidence.property_failures",
        ),
        (("[run]", f"[network]\n{HOSTS}\n[run]"), "network.allow"),
        (("[run]", "[signatures]\nperson_keys = 2\n[run]"), "signatures.person_keys"),
        (("[run]", "[signatures]\nperson_keys = 1\n[run]"), "admission.automatic_levels"),
        (("[run]", "[signatures]\nreview = 2\n[run]"), "signatures.review"),
        (("[run]", "[signatures]\nreview = 1\n[run]"), "admission.automatic_levels"),
        (
            ("[run]", "[replay]\nruns = 0\nat_least = 0\n[signatures]\nreplay = 1\n[run]"),
            "signatures.replay",
        ),
        (("[run]", "[signatures]\nlint = 2\nexamples = 2\n[run]"), ""),
        (
            (
                GENERATED,
                'property_runs = 0\nproperty_failures = "allow"\n[signatures]\nproperties = 1',
            ),
            "signatures.properties",
        ),
        (("[run]", f"{SECRET}\n[run]"), "secrets.KEY.hosts"),
        (("[run]", '[access.roles]\nsecurity = ["sue"]\n[run]'), "access.roles"),
    ],
)
def test_settings_without_effect_are_odd(change: tuple[str, str], where: str):
    assert change[0] in LOCAL

    found = check_policy(load_profile(LOCAL.replace(*change), origin="mine.toml"))

    assert [each.where for each in found.remarks] == ([where] if where else [])


def test_a_comparison_with_the_version_before_is_made_by_one_host_alone():
    text = LOCAL.replace("[run]", "[signatures]\nreplay = 2\n[run]")

    with pytest.raises(PolicyConfigError, match=r"signatures\.replay: .*less than or equal to 1"):
        load_profile(text, origin="mine.toml")


def test_a_mistake_in_a_policy_file_is_told_with_its_line():
    lines = LOCAL.splitlines()
    for wrong, right in (("aprovers", "approvers"), ("exmples", "examples"), ("pid", "pids")):
        text = LOCAL.replace(f"{right} =", f"{wrong} =")
        number = next(n for n, line in enumerate(lines, 1) if line.startswith(f"{right} ="))

        with pytest.raises(PolicyConfigError, match=f"line {number}: .*did you mean '{right}'"):
            load_profile(text, origin="mine.toml")


def test_the_text_of_cedar_files_is_part_of_a_policy():
    one, other = mine(ALL), mine(f"{ALL} // with a comment")

    assert one.digest != other.digest
    assert PolicyProfile.model_validate_json(one.text) == one


def test_a_cedar_file_is_beside_its_policy_or_the_policy_is_refused(tmp_path: Path):
    text = f'{LOCAL}\n[access]\npolicies = ["mine.cedar"]\n'
    (tmp_path / "mine.toml").write_text(text)

    assert cedar_files(text) == ("mine.cedar",)
    with pytest.raises(PolicyConfigError, match=r"mine\.cedar.*cannot be read"):
        read_profile(tmp_path / "mine.toml")
    (tmp_path / "mine.cedar").write_text(ALL)
    assert read_profile(tmp_path / "mine.toml").access.texts == (("mine.cedar", ALL),)


@pytest.mark.parametrize(
    "name", ["../mine.cedar", "/etc/mine.cedar", "mine", ".cedar", "a/b.cedar", "a\\b.cedar\n"]
)
def test_a_policy_names_no_file_elsewhere(name: str):
    text = f"{LOCAL}\n[access]\npolicies = [{name!r}]\n".replace("'", '"')

    assert cedar_files(text) == ()
    with pytest.raises(PolicyConfigError):
        load_profile(text, origin="mine.toml", files={name: ALL})


def test_the_text_of_cedar_files_cannot_be_written_into_a_policy():
    text = f'{LOCAL}\n[access.files]\n"mine.cedar" = "permit(principal, action, resource);"\n'

    with pytest.raises(PolicyConfigError, match=r"access\.files"):
        load_profile(text, origin="mine.toml")


def test_a_case_that_does_not_hold_says_what_was_decided_and_by_which_rule():
    cases = read_cases(
        """
        [[access]]
        name = "a model approves"
        principal = "session:s1"
        action = "approve"
        expect = "allow"

        [[access]]
        name = "a model does not approve"
        principal = "session:s1"
        action = "approve"
        expect = "refuse"
        rule = "models-never-decid"

        [[admission]]
        name = "without examples"
        evidence = { examples = 0 }
        expect = "review"
        """,
        origin="mine",
    )

    wrong, other_rule, admitted = run_cases(cases, read_profile("local"))

    assert not wrong.passed
    assert "expected allow, decided refuse" in wrong.problem
    assert "models-never-decide" in wrong.problem
    assert not other_rule.passed
    assert "did you mean 'models-never-decide'" in other_rule.problem
    assert admitted.rules == ("examples-proven",)
    assert "expected review, decided refuse" in admitted.problem


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "no case"),
        ("[[access]", "not TOML"),
        ('[[access]]\nname = "a"\naction = "fly"\nexpect = "allow"', "access.0.action"),
        ('[[access]]\nname = "a"\naction = "call"\nexpct = "allow"', "did you mean 'expect'"),
        (
            '[[access]]\nname = "a"\naction = "call"\nexpect = "allow"\nprincipal = "god:x"',
            "person:NAME",
        ),
    ],
)
def test_a_file_of_cases_that_is_not_understood_is_refused(text: str, words: str):
    with pytest.raises(PolicyConfigError) as caught:
        read_cases(text, origin="mine.cases.toml")

    assert words in str(caught.value)
