"""Every setting, read once; the only reader of the environment in the project.

Later layers win: built-in defaults, `<home>/toolkiln.toml`, `./toolkiln.toml`, the environment,
flags. All of them are the user's own words except one: the working folder's file comes from
whoever wrote the project that one happens to stand in. So it may choose, and it may tighten, but
it may not widen what is allowed or move where anything goes:

- `model`, `api`, `toolset_size` and `colour` as it likes, except that with a cost budget the
  model must be one whose price is configured (else the budget would not hold);
- `budget` downwards only;
- `policy` only to a shipped profile that is stricter than the one in force;
- nothing else: neither `home`, `store`, `base_url`, `api_key`, `docker_host`, `prices` nor
  `principal`.
"""

from __future__ import annotations

import os
import pwd
import stat
import tomllib
from collections.abc import Collection, Mapping
from difflib import get_close_matches
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Final
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, JsonValue, SecretStr, ValidationError

from policies.value import JsonObject, Value
from runtime.errors import SettingsError

FILE_NAME: Final = "toolkiln.toml"
DEFAULT_HOME: Final = Path("~/.toolkiln")
MAX_FILE_BYTES: Final = 256 * 1024

STRICTER_PROFILES: Final = ("local", "team", "production")
"""The shipped profiles, each at least as strict as the one before it."""

_SERVERS: Final = ("postgresql://", "postgres://")
_PREFIX: Final = "TOOLKILN_"
_FOREIGN: Final = {
    "OPENAI_API_KEY": "api_key",
    "OPENAI_BASE_URL": "base_url",
    "DOCKER_HOST": "docker_host",
}
_FOLDER_FREE: Final = frozenset({"model", "api", "toolset_size", "colour"})
_NOT_IN_FILES: Final = {
    "home": "use --home or TOOLKILN_HOME",
    "policy_of_folder": "it follows from where `policy` is set",
    "secrets": "use TOOLKILN_SECRET_<NAME>, or a file of mode 0600 in secrets/ of the home",
}
_SECRET_PREFIX: Final = _PREFIX + "SECRET_"


class Api(StrEnum):
    """The two shapes of requests that models are spoken to in."""

    RESPONSES = "responses"
    CHAT = "chat"


class Colour(StrEnum):
    """When output is coloured."""

    AUTO = "auto"
    """On a terminal."""

    ALWAYS = "always"
    NEVER = "never"


class BudgetSettings(Value):
    """Where a session stops. Each is a hard stop; there is no way to write "unlimited"."""

    turns: int = Field(default=50, ge=1, le=10_000)
    """Requests to the model for one prompt."""

    tokens: int = Field(default=2_000_000, ge=1, le=1_000_000_000)
    """Input and output together."""

    cost: float | None = Field(default=None, gt=0, le=1_000_000)
    """In the currency of `prices`; only for models that have a price."""

    wall_seconds: float = Field(default=3_600.0, gt=0, le=604_800)
    tool_definitions: int = Field(default=50, ge=0, le=10_000)
    """Calls of `define_tool`, admitted or not."""


class Price(Value):
    """What one model costs, in any one currency, per million tokens."""

    input_per_million: float = Field(ge=0)
    output_per_million: float = Field(ge=0)
    cached_input_per_million: float | None = Field(default=None, ge=0)
    """None: as dear as other input."""


def _absolute(path: object) -> object:
    return Path(path).expanduser().absolute() if isinstance(path, str | Path) else path


def _store(given: SecretStr) -> SecretStr:
    """A server's URL as it is, a folder absolute; the text may hold a password."""
    text = given.get_secret_value()
    if text.startswith(_SERVERS):
        return given
    if not text or "://" in text:
        raise ValueError("write a folder, or postgresql://USER@HOST:PORT/DATABASE")
    return SecretStr(str(Path(text).expanduser().absolute()))


def _os_user() -> str:
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:  # a user id without a name, as in containers
        return f"uid-{os.getuid()}"


class Settings(Value):
    """What one process works with; made once and passed in."""

    home: Annotated[Path, BeforeValidator(_absolute)] = Field(
        default=DEFAULT_HOME, validate_default=True
    )
    """The folder that all state lives under."""

    store: Annotated[SecretStr, AfterValidator(_store)] | None = None
    """Where the tool store is: a folder, or `postgresql://…`. None: `store` under the home."""

    policy: str = Field(default="local", min_length=1)
    """Name of a shipped profile, or the path of a policy file (anything with a `/` or `.toml`)."""

    policy_of_folder: bool = False
    """Whether the working folder's file chose the policy: then what it refuses is refused here,
    and nothing in the store changes for that."""

    model: str | None = Field(default=None, min_length=1)
    api: Api | None = None
    """None: Responses on OpenAI's own address, Chat elsewhere."""

    base_url: str | None = Field(default=None, pattern=r"^https?://")
    api_key: SecretStr | None = None
    docker_host: str | None = Field(default=None, min_length=1)
    budget: BudgetSettings = BudgetSettings()
    prices: dict[str, Price] = Field(default_factory=dict)
    """By the model's name."""

    toolset_size: int = Field(default=15, ge=3, le=100)
    """How many tools one request to the model carries."""

    principal: str = Field(default_factory=_os_user, min_length=1, max_length=200)
    """Who is answerable for what is defined and approved here."""

    colour: Colour = Colour.AUTO
    secrets: dict[str, SecretStr] = Field(default_factory=dict)
    """Values that tools' requests get, by name in capitals; from the environment alone."""

    @property
    def store_location(self) -> Path | str:
        """Where the tool store is: a folder, or a server's URL, which may hold a password."""
        if self.store is None:
            return self.home / "store"
        text = self.store.get_secret_value()
        return text if text.startswith(_SERVERS) else Path(text)

    @property
    def has_store(self) -> bool:
        """Whether there is a store already; a server is always taken to have one."""
        location = self.store_location
        return isinstance(location, str) or location.exists()

    @property
    def sessions_folder(self) -> Path:
        """Where the transcripts are."""
        return self.home / "sessions"

    @property
    def secrets_folder(self) -> Path:
        """Where secrets are that are not in the environment, a file of mode 0600 each."""
        return self.home / "secrets"

    @property
    def history_file(self) -> Path:
        """What was typed into `toolkiln chat`."""
        return self.home / "chat_history"


def read_settings(
    flags: Mapping[str, JsonValue] | None = None,
    *,
    environment: Mapping[str, str] | None = None,
    folder: Path | None = None,
) -> Settings:
    """Read all layers.

    `flags` has the fields of `Settings`, nested alike; None means that a flag was not given.
    `environment` and `folder` are the process's own unless given.

    Raises:
        SettingsError: Something is not exactly understood, or the working folder oversteps.
    """
    given = _without_none(dict(flags or {}))
    variables = _from_environment(os.environ if environment is None else environment)
    wanted_home = given.get("home", variables.get("home", str(DEFAULT_HOME)))
    home = _checked({"home": wanted_home}, "the home folder").home

    merged: JsonObject = {"home": str(home)}
    home_file, folder_file = home / FILE_NAME, (folder or Path.cwd()) / FILE_NAME
    merged = _layer(merged, _paths_beside(_read_file(home_file), home), str(home_file))
    borrowed = False
    if not _same_file(home_file, folder_file):
        asked, trusted = _read_file(folder_file), _checked(merged, str(home_file))
        merged = _layer(merged, asked, str(folder_file))
        _refuse_overstepping(asked, trusted, _checked(merged, str(folder_file)), str(folder_file))
        borrowed = merged.get("policy", trusted.policy) != trusted.policy
    merged = _layer(merged, variables, "the environment")
    merged = _layer(merged, given, "the command line")
    chosen = "policy" in variables or "policy" in given
    merged["policy_of_folder"] = borrowed and not chosen
    return _checked(merged, "the settings")


def _layer(below: JsonObject, layer: JsonObject, origin: str) -> JsonObject:
    """`layer` over `below`, checked as it stands so that a mistake is blamed on its origin."""
    _refuse_unknown(layer, Settings.model_fields, origin)
    merged = _merge(below, layer)
    _checked(merged, origin)
    return merged


def _merge(below: JsonObject, above: JsonObject) -> JsonObject:
    merged = dict(below)
    for key, value in above.items():
        old = merged.get(key)
        merged[key] = (
            _merge(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
        )
    return merged


def _checked(merged: JsonObject, origin: str) -> Settings:
    try:
        return Settings.model_validate(merged)
    except ValidationError as error:
        problems = error.errors(include_url=False, include_input=False)
        misspelt = [problem for problem in problems if problem["type"] == "extra_forbidden"]
        first = (misspelt or problems)[0]
        place = tuple(str(part) for part in first["loc"])
        if misspelt:
            raise _unknown(".".join(place), _known_beside(place), origin) from None
        raise SettingsError(f"{origin}: `{'.'.join(place)}`: {first['msg']}") from None


def _known_beside(place: tuple[str, ...]) -> Collection[str]:
    fields = {
        "budget": BudgetSettings.model_fields,
        "prices": Price.model_fields,
    }.get(place[0], Settings.model_fields)
    return [".".join((*place[:-1], name)) for name in fields]


def _refuse_unknown(layer: JsonObject, known: Collection[str], origin: str) -> None:
    for key in layer:
        if key not in known:
            raise _unknown(key, known, origin)


def _unknown(key: str, known: Collection[str], origin: str) -> SettingsError:
    near = get_close_matches(key, known, n=1)
    hint = f"Did you mean `{near[0]}`?" if near else f"There are: {', '.join(sorted(known))}."
    return SettingsError(f"{origin}: unknown setting {key!r}. {hint}")


def _read_file(path: Path) -> JsonObject:
    """The settings that one file holds; none where there is no file."""
    if not path.is_file():
        return {}
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise SettingsError(f"{path}: larger than {MAX_FILE_BYTES} bytes, so it was not read")
        found = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, RecursionError) as error:
        raise SettingsError(f"{path}: cannot be read as TOML: {_reason(error)}") from None
    for key in sorted(_NOT_IN_FILES.keys() & found.keys()):
        raise SettingsError(f"{path}: `{key}` cannot be set in a file; {_NOT_IN_FILES[key]}")
    held = "`api_key`" if "api_key" in found else "a password in `store`"
    secret = "api_key" in found or _has_password(found)
    if secret and stat.S_IMODE(path.stat().st_mode) & 0o077:
        raise SettingsError(
            f"{path}: holds {held} and can be read by others; run `chmod 600 {path}`"
        )
    return found


def _has_password(found: JsonObject) -> bool:
    store = found.get("store")
    try:
        return isinstance(store, str) and (
            urlsplit(store).password is not None or "password=" in store
        )
    except ValueError:
        return True  # nobody can tell


def _reason(error: Exception) -> str:
    return "nested too deeply" if isinstance(error, RecursionError) else str(error)


def _same_file(one: Path, other: Path) -> bool:
    return one.exists() and other.exists() and one.samefile(other)


def _paths_beside(layer: JsonObject, folder: Path) -> JsonObject:
    """A relative path of policy or store starts at its own file, not where the process stands."""
    policy, store = layer.get("policy"), layer.get("store")
    moved: JsonObject = {}
    if isinstance(policy, str) and names_a_file(policy):
        moved["policy"] = str(folder / Path(policy).expanduser())
    if isinstance(store, str) and store and "://" not in store:
        moved["store"] = str(folder / Path(store).expanduser())
    return layer | moved


def names_a_file(policy: str) -> bool:
    """Whether `Settings.policy` is the path of a file rather than a shipped profile's name."""
    return "/" in policy or policy.endswith(".toml")


def _refuse_overstepping(
    asked: JsonObject, trusted: Settings, result: Settings, origin: str
) -> None:
    """Hold the working folder's file to the rule at the top of this module."""
    for key in asked.keys() - _FOLDER_FREE - {"policy", "budget"}:
        raise _overstep(origin, f"`{key}` may not be set by a working folder")
    if result.policy != trusted.policy and not _is_stricter(result.policy, trusted.policy):
        raise _overstep(
            origin,
            f"`policy` {result.policy!r} is not a shipped profile stricter than {trusted.policy!r}",
        )
    _refuse_raised(result.budget, trusted.budget, origin)
    model, cost = result.model, trusted.budget.cost
    if model != trusted.model and cost is not None and model not in trusted.prices:
        raise _overstep(origin, f"`model` {model!r} has no price, and a cost budget is in force")


def _is_stricter(wanted: str, in_force: str) -> bool:
    order = STRICTER_PROFILES
    if wanted not in order or in_force not in order:
        return False
    return order.index(wanted) > order.index(in_force)


def _refuse_raised(wanted: BudgetSettings, trusted: BudgetSettings, origin: str) -> None:
    for name, ceiling in trusted:
        value = getattr(wanted, name)
        if ceiling is not None and (value is None or value > ceiling):
            raise _overstep(origin, f"`budget.{name}` may be lowered only; {ceiling} is in force")


def _overstep(origin: str, problem: str) -> SettingsError:
    return SettingsError(
        f"{origin}: {problem}: this file comes with the folder you stand in, not from you. "
        f"Remove the line, or put it into {FILE_NAME} in your home folder of toolkiln, "
        "into the environment or on the command line."
    )


def _from_environment(environment: Mapping[str, str]) -> JsonObject:
    """`OPENAI_*`, `DOCKER_HOST`, `NO_COLOR`, and over them `TOOLKILN_*`; empty means unset."""
    found: JsonObject = {
        key: environment[name] for name, key in _FOREIGN.items() if environment.get(name)
    }
    if environment.get("NO_COLOR"):
        found["colour"] = Colour.NEVER.value
    known = _variables()
    for name, text in environment.items():
        if not name.startswith(_PREFIX) or not text:
            continue
        if name.startswith(_SECRET_PREFIX):
            _put(found, ("secrets", name.removeprefix(_SECRET_PREFIX)), text)
            continue
        if name not in known:
            raise _unknown(name, known, "the environment")
        _put(found, known[name], text)
    return found


def _variables() -> dict[str, tuple[str, ...]]:
    """Each variable that is understood, and the field that it sets; prices stay in files."""
    fields: list[tuple[str, ...]] = [
        (key,)
        for key in Settings.model_fields
        if key not in {"prices", "budget", "secrets", "policy_of_folder"}
    ]
    fields += [("budget", key) for key in BudgetSettings.model_fields]
    return {_PREFIX + "_".join(place).upper(): place for place in fields}


def _put(target: JsonObject, place: tuple[str, ...], text: str) -> None:
    if len(place) == 1:
        target[place[0]] = text
        return
    table = target.setdefault(place[0], {})
    if isinstance(table, dict):
        table[place[1]] = text


def _without_none(layer: JsonObject) -> JsonObject:
    return {
        key: _without_none(value) if isinstance(value, dict) else value
        for key, value in layer.items()
        if value is not None
    }
