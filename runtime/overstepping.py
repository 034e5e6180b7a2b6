"""What a working folder's `toolkiln.toml` may not say.

It comes from whoever wrote the project that one happens to stand in. So it may choose, and it may
tighten, but it may not widen what is allowed or move where anything goes:

- `model`, `api`, `toolset_size` and `colour` as it likes, except that with a cost budget the
  model must be one whose price is configured (else the budget would not hold);
- `budget` downwards only;
- `policy` only to a shipped profile that is stricter than the one in force;
- nothing else: neither `home`, `store`, `base_url`, `api_key`, `docker_host`, `prices` nor
  `principal`.
"""

from __future__ import annotations

from typing import Final

from policies.value import JsonObject
from runtime.errors import SettingsError
from runtime.settingfiles import FILE_NAME
from runtime.settingvalues import BudgetSettings, Settings

STRICTER_PROFILES: Final = ("local", "team", "production")
"""The shipped profiles, each at least as strict as the one before it."""

_FOLDER_FREE: Final = frozenset({"model", "api", "toolset_size", "colour"})


def refuse_overstepping(
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
