"""From `Settings.policy` to the policy: a shipped profile by its name, or a file by its path."""

from __future__ import annotations

from difflib import get_close_matches
from importlib import resources
from pathlib import Path
from typing import Final

from policies.config import SHIPPED_PROFILES, PolicyProfile, cedar_files, load_profile
from policies.errors import PolicyConfigError
from runtime.settings import expanded, names_a_file

MAX_POLICY_BYTES: Final = 256 * 1024


def read_profile(policy: str | Path) -> PolicyProfile:
    """Read the policy that `policy` names; anything with a `/` or ending in `.toml` is a path.

    Raises:
        PolicyConfigError: There is none of that name or path, or it is not exactly understood.
    """
    name = str(policy)
    is_file = names_a_file(name)
    text = _file_text(name) if is_file else _shipped_text(name)
    try:
        files = {
            beside: _file_text(str(Path(name).parent / beside)) if is_file else _shipped(beside)
            for beside in cedar_files(text)
        }
        return load_profile(text, origin=name, files=files)
    except RecursionError:
        raise PolicyConfigError(name, "nested too deeply") from None


def policy_text(name: str, *, shipped: bool = False) -> str:
    """The text of a file that belongs to policies: one of a person's, or one that is shipped.

    Raises:
        PolicyConfigError: It cannot be read.
    """
    return _shipped(name) if shipped else _file_text(name)


def _shipped_text(name: str) -> str:
    if name not in SHIPPED_PROFILES:
        near = get_close_matches(name, SHIPPED_PROFILES, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(SHIPPED_PROFILES)}"
        raise PolicyConfigError(
            repr(name), f"no profile of that name; {hint}; a file needs a path, such as ./{name}"
        )
    return _shipped(f"{name}.toml")


def _shipped(name: str) -> str:
    """The text of a file that the program brings."""
    return resources.files("policies").joinpath("profiles", name).read_text("utf-8")


def _file_text(name: str) -> str:
    try:
        with expanded(name).open("rb") as file:
            data = file.read(MAX_POLICY_BYTES + 1)
        if len(data) > MAX_POLICY_BYTES:
            raise PolicyConfigError(name, f"larger than {MAX_POLICY_BYTES} bytes")
        return data.decode("utf-8")
    except OSError as error:
        raise PolicyConfigError(name, f"cannot be read: {error.strerror or error}") from None
    except UnicodeDecodeError as error:
        raise PolicyConfigError(name, f"no UTF-8 at byte {error.start}") from None
    except ValueError as error:  # no user, or no name of a file
        raise PolicyConfigError(repr(name), str(error)) from None
