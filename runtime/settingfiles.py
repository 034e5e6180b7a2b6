"""Settings out of one file, and out of the environment; neither is checked against the others."""

from __future__ import annotations

import stat
import tomllib
from collections.abc import Collection, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from policies.value import JsonObject
from runtime.errors import SettingsError
from runtime.settingvalues import BudgetSettings, Colour, Settings, expanded, names_a_file

FILE_NAME: Final = "toolkiln.toml"
MAX_FILE_BYTES: Final = 256 * 1024

_PREFIX: Final = "TOOLKILN_"
_SECRET_PREFIX: Final = _PREFIX + "SECRET_"
_FOREIGN: Final = {
    "OPENAI_API_KEY": "api_key",
    "OPENAI_BASE_URL": "base_url",
    "DOCKER_HOST": "docker_host",
}
_NOT_IN_FILES: Final = {
    "home": "use --home or TOOLKILN_HOME",
    "hsm_pin": "use TOOLKILN_HSM_PIN, or a file `pin` of mode 0600 in keys/ of the home",
    "policy_of_folder": "it follows from where `policy` is set",
    "secrets": "use TOOLKILN_SECRET_<NAME>, or a file of mode 0600 in secrets/ of the home",
}


def read_file(path: Path) -> JsonObject:
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


def paths_beside(layer: JsonObject, folder: Path) -> JsonObject:
    """A relative path of policy or store starts at its own file, not where the process stands."""
    policy, store = layer.get("policy"), layer.get("store")
    moved: JsonObject = {}
    try:
        if isinstance(policy, str) and names_a_file(policy):
            moved["policy"] = str(folder / expanded(policy))
        if isinstance(store, str) and store and "://" not in store:
            moved["store"] = str(folder / expanded(store))
    except ValueError as error:
        raise SettingsError(f"{folder / FILE_NAME}: {error}") from None
    return layer | moved


def from_environment(environment: Mapping[str, str]) -> JsonObject:
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
            raise unknown(name, known, "the environment")
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


def unknown(key: str, known: Collection[str], origin: str) -> SettingsError:
    """A setting that there is not, with the one that may be meant."""
    near = get_close_matches(key, known, n=1)
    hint = f"Did you mean `{near[0]}`?" if near else f"There are: {', '.join(sorted(known))}."
    return SettingsError(f"{origin}: unknown setting {key!r}. {hint}")
