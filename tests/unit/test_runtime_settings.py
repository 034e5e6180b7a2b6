"""Layers of settings, strict keys, and what a working folder may not do."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.errors import SettingsError
from runtime.settings import Api, BudgetSettings, Colour, Settings, names_a_file, read_settings


@pytest.fixture
def home(tmp_path: Path) -> Path:
    folder = tmp_path / "home"
    folder.mkdir()
    return folder


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "project"
    folder.mkdir()
    return folder


def write(folder: Path, text: str) -> Path:
    path = folder / "toolkiln.toml"
    path.write_text(text)
    path.chmod(0o600)
    return path


def read(home: Path, project: Path, flags=None, **environment: str) -> Settings:
    return read_settings(
        flags, environment={"TOOLKILN_HOME": str(home), **environment}, folder=project
    )


def test_defaults_name_a_home_and_the_laxest_shipped_policy(project: Path) -> None:
    settings = read_settings(environment={}, folder=project)

    assert settings.home == Path("~/.toolkiln").expanduser()
    assert (settings.policy, settings.model, settings.toolset_size) == ("local", None, 15)
    assert settings.principal


def test_later_layers_win(home: Path, project: Path) -> None:
    write(home, 'model = "from-home"\ntoolset_size = 20\n[budget]\nturns = 9\ntokens = 1000\n')
    write(project, 'model = "from-project"\n[budget]\nturns = 8\n')

    settings = read(home, project, TOOLKILN_BUDGET_TURNS="7")
    assert (settings.model, settings.toolset_size) == ("from-project", 20)
    assert (settings.budget.turns, settings.budget.tokens) == (7, 1000)

    flagged = read(
        home, project, {"model": "flag", "budget": {"turns": None, "tokens": 5}}, TOOLKILN_MODEL="e"
    )
    assert (flagged.model, flagged.budget.turns, flagged.budget.tokens) == ("flag", 8, 5)


def test_the_environment_of_others_is_understood(home: Path, project: Path) -> None:
    settings = read(
        home,
        project,
        OPENAI_API_KEY="sk-secret",
        OPENAI_BASE_URL="http://127.0.0.1:9/v1",
        DOCKER_HOST="unix:///run/d.sock",
        NO_COLOR="1",
        TOOLKILN_API="chat",
        OPENAI_ORG_ID="ignored",
    )

    assert settings.api_key is not None
    assert settings.api_key.get_secret_value() == "sk-secret"
    assert "sk-secret" not in repr(settings)
    assert "sk-secret" not in settings.model_dump_json()
    assert settings.base_url == "http://127.0.0.1:9/v1"
    assert settings.docker_host == "unix:///run/d.sock"
    assert (settings.colour, settings.api) == (Colour.NEVER, Api.CHAT)


def test_an_empty_variable_is_unset(home: Path, project: Path) -> None:
    assert read(home, project, TOOLKILN_MODEL="", OPENAI_API_KEY="").model is None


@pytest.mark.parametrize(
    ("text", "nearest"),
    [
        ('modle = "x"', "`model`"),
        ("[budget]\nturn = 3", "`budget.turns`"),
        ('[prices."m"]\ninput_per_milion = 1\noutput_per_million = 1', "input_per_million"),
    ],
)
def test_an_unknown_key_is_refused_with_the_nearest_one(
    home: Path, project: Path, text: str, nearest: str
) -> None:
    path = write(home, text)

    with pytest.raises(SettingsError, match="Did you mean") as caught:
        read(home, project)
    assert nearest in str(caught.value)
    assert str(path) in str(caught.value)


def test_an_unknown_variable_is_refused_with_the_nearest_one(home: Path, project: Path) -> None:
    with pytest.raises(SettingsError, match="Did you mean `TOOLKILN_POLICY`"):
        read(home, project, TOOLKILN_POLCIY="production")


@pytest.mark.parametrize(
    "text",
    [
        "= 1",
        "\x00",
        "a = " + "[" * 5000,
        "[budget]\nturns = 0",
        'api = "soap"',
        "toolset_size = []",
    ],
    ids=["syntax", "nul", "deep", "range", "choice", "type"],
)
def test_what_is_not_exactly_understood_is_refused(home: Path, project: Path, text: str) -> None:
    write(home, text)

    with pytest.raises(SettingsError):
        read(home, project)


def test_a_key_in_a_file_that_others_can_read_is_refused(home: Path, project: Path) -> None:
    path = write(home, 'api_key = "sk-1"')
    assert read(home, project).api_key is not None

    path.chmod(0o644)
    with pytest.raises(SettingsError, match="chmod 600") as caught:
        read(home, project)
    assert "sk-1" not in str(caught.value)


def test_home_cannot_be_moved_by_a_file(home: Path, project: Path) -> None:
    write(home, 'home = "/elsewhere"')

    with pytest.raises(SettingsError, match="cannot be set in a file"):
        read(home, project)


@pytest.mark.parametrize(
    "line",
    [
        'home = "/tmp"',
        'base_url = "http://evil.example/v1"',
        'api_key = "sk-theirs"',
        'docker_host = "tcp://evil.example:2375"',
        'principal = "boss"',
        'prices = {"m" = {input_per_million = 0, output_per_million = 0}}',
        'policy = "./lax.toml"',
        'policy = "lax"',
        "budget = {turns = 51}",
        "budget = {turns = '51'}",
        "budget = {wall_seconds = 604800.0}",
        "budget = {tokens = 3000000}",
        "budget = {tool_definitions = 1000}",
    ],
)
def test_a_working_folder_cannot_widen_or_redirect(home: Path, project: Path, line: str) -> None:
    write(project, line)

    with pytest.raises(SettingsError, match=r"not from you|cannot be set in a file"):
        read(home, project)


def test_a_working_folder_can_choose_and_tighten(home: Path, project: Path) -> None:
    write(project, 'policy = "production"\napi = "chat"\nbudget = {turns = 3, cost = 1.5}')

    settings = read(home, project)
    assert (settings.policy, settings.api) == ("production", Api.CHAT)
    assert (settings.budget.turns, settings.budget.cost) == (3, 1.5)


def test_it_is_known_whether_the_working_folder_chose_the_policy(home: Path, project: Path):
    assert not read(home, project).policy_of_folder
    write(project, 'policy = "production"')

    assert read(home, project).policy_of_folder
    assert not read(home, project, TOOLKILN_POLICY="production").policy_of_folder
    assert not read(home, project, {"policy": "team"}).policy_of_folder
    write(home, 'policy = "production"')
    assert not read(home, project).policy_of_folder


@pytest.mark.parametrize("line", ["policy_of_folder = false", "policy_of_folder = true"])
def test_nobody_says_who_chose_the_policy(home: Path, project: Path, line: str):
    write(project, line)
    with pytest.raises(SettingsError, match="follows from"):
        read(home, project)
    with pytest.raises(SettingsError):
        read(home, home, TOOLKILN_POLICY_OF_FOLDER="true")


@pytest.mark.parametrize("in_force", ["team", "production", "/etc/toolkiln/ours.toml"])
def test_a_working_folder_cannot_loosen_the_policy_in_force(
    home: Path, project: Path, in_force: str
) -> None:
    write(home, f'policy = "{in_force}"')
    write(project, 'policy = "local"')

    with pytest.raises(SettingsError, match="stricter"):
        read(home, project)


def test_a_working_folder_cannot_flee_a_cost_budget_into_a_model_without_a_price(
    home: Path, project: Path
) -> None:
    write(
        home,
        'model = "a"\nbudget = {cost = 1.0}\n'
        "[prices.a]\ninput_per_million = 1\noutput_per_million = 1\n"
        "[prices.b]\ninput_per_million = 2\noutput_per_million = 2\n",
    )
    write(project, 'model = "b"')
    assert read(home, project).model == "b"

    write(project, 'model = "unpriced"')
    with pytest.raises(SettingsError, match="has no price"):
        read(home, project)


def test_standing_in_the_home_is_no_foreign_folder(home: Path) -> None:
    write(home, 'base_url = "http://mine.example/v1"')

    assert read(home, home).base_url == "http://mine.example/v1"


def test_a_relative_policy_file_is_beside_the_file_that_names_it(home: Path, project: Path) -> None:
    write(home, 'policy = "ours.toml"')
    (project / "ours.toml").write_text("a trap")

    assert read(home, project).policy == str(home / "ours.toml")


def test_names_and_paths_of_policies_do_not_mix() -> None:
    assert [names_a_file(each) for each in ("local", "./local", "x.toml", "/a")] == [
        False,
        True,
        True,
        True,
    ]


@given(st.builds(BudgetSettings, turns=st.integers(1, 50), tokens=st.integers(1, 2_000_000)))
def test_any_budget_of_a_working_folder_ends_at_or_below_the_one_in_force(
    tmp_path_factory: pytest.TempPathFactory, wanted: BudgetSettings
) -> None:
    folder = tmp_path_factory.mktemp("folder")
    write(folder, f"budget = {{turns = {wanted.turns}, tokens = {wanted.tokens}}}")

    settings = read_settings(environment={"TOOLKILN_HOME": str(folder / "no")}, folder=folder)
    assert settings.budget.turns <= BudgetSettings().turns
    assert settings.budget.tokens <= BudgetSettings().tokens


def test_a_store_is_a_folder_or_a_server(home: Path, project: Path) -> None:
    url = "postgresql://keeper:s3cret@db.example/tools"
    assert read(home, project).store_location == home / "store"
    assert not read(home, project).has_store
    assert read(home, project, TOOLKILN_STORE="/srv/tools").store_location == Path("/srv/tools")
    settings = read(home, project, {"store": url}, TOOLKILN_STORE="/srv/tools")
    assert settings.store_location == url
    assert settings.has_store
    assert "s3cret" not in repr(settings)
    assert "s3cret" not in settings.model_dump_json()

    write(home, 'store = "kept/here"\n')
    assert read(home, project).store_location == home / "kept" / "here"


@pytest.mark.parametrize("store", ["mysql://keeper:s3cret@h/x", "http://h", ""])
def test_no_other_store_is_understood(home: Path, project: Path, store: str) -> None:
    with pytest.raises(SettingsError, match="postgresql://USER@HOST") as caught:
        read(home, project, {"store": store})
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize("url", ["postgresql://u:p@h/x", "postgresql://u@h/x?password=p"])
def test_a_password_of_a_store_that_others_can_read_is_refused(
    home: Path, project: Path, url: str
) -> None:
    write(home, f'store = "{url}"\n').chmod(0o644)
    with pytest.raises(SettingsError, match="chmod 600"):
        read(home, project)

    write(home, 'store = "postgresql://u@h/x"\n').chmod(0o644)
    assert read(home, project).store_location == "postgresql://u@h/x"


def test_a_working_folder_cannot_choose_the_store(home: Path, project: Path) -> None:
    write(project, 'store = "postgresql://eve@h/x"\n')
    with pytest.raises(SettingsError, match="may not be set by a working folder"):
        read(home, project)
