"""Every setting, read once; the only reader of the environment in the project.

Later layers win: built-in defaults, `<home>/toolkiln.toml`, `./toolkiln.toml`, the environment,
flags. All of them are the user's own words except the working folder's file: see `overstepping`.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from pathlib import Path

from pydantic import JsonValue, ValidationError

from policies.value import JsonObject
from runtime.errors import SettingsError
from runtime.overstepping import refuse_overstepping
from runtime.settingfiles import FILE_NAME, from_environment, paths_beside, read_file, unknown
from runtime.settingvalues import (
    DEFAULT_HOME,
    Api,
    BudgetSettings,
    Colour,
    Price,
    Settings,
    expanded,
    names_a_file,
    store_place,
)

__all__ = [
    "Api",
    "BudgetSettings",
    "Colour",
    "Price",
    "Settings",
    "expanded",
    "names_a_file",
    "read_settings",
    "store_place",
]


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
    variables = from_environment(os.environ if environment is None else environment)
    wanted_home = given.get("home", variables.get("home", str(DEFAULT_HOME)))
    home = _checked({"home": wanted_home}, "the home folder").home

    merged: JsonObject = {"home": str(home)}
    home_file, folder_file = home / FILE_NAME, (folder or Path.cwd()) / FILE_NAME
    merged = _layer(merged, paths_beside(read_file(home_file), home), str(home_file))
    borrowed = False
    if not _same_file(home_file, folder_file):
        asked, trusted = read_file(folder_file), _checked(merged, str(home_file))
        merged = _layer(merged, asked, str(folder_file))
        refuse_overstepping(asked, trusted, _checked(merged, str(folder_file)), str(folder_file))
        borrowed = merged.get("policy", trusted.policy) != trusted.policy
    merged = _layer(merged, variables, "the environment")
    merged = _layer(merged, given, "the command line")
    chosen = "policy" in variables or "policy" in given
    merged["policy_of_folder"] = borrowed and not chosen
    return _checked(merged, "the settings")


def _layer(below: JsonObject, layer: JsonObject, origin: str) -> JsonObject:
    """`layer` over `below`, checked as it stands so that a mistake is blamed on its origin."""
    _refuseunknown(layer, Settings.model_fields, origin)
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
            raise unknown(".".join(place), _known_beside(place), origin) from None
        raise SettingsError(
            f"{origin}: `{'.'.join(place)}`: {first['msg'].removeprefix('Value error, ')}"
        ) from None


def _known_beside(place: tuple[str, ...]) -> Collection[str]:
    fields = {
        "budget": BudgetSettings.model_fields,
        "prices": Price.model_fields,
    }.get(place[0], Settings.model_fields)
    return [".".join((*place[:-1], name)) for name in fields]


def _refuseunknown(layer: JsonObject, known: Collection[str], origin: str) -> None:
    for key in layer:
        if key not in known:
            raise unknown(key, known, origin)


def _same_file(one: Path, other: Path) -> bool:
    return one.exists() and other.exists() and one.samefile(other)


def _without_none(layer: JsonObject) -> JsonObject:
    return {
        key: _without_none(value) if isinstance(value, dict) else value
        for key, value in layer.items()
        if value is not None
    }
