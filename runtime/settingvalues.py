"""The settings as values: what there is, of which type, with which default."""

from __future__ import annotations

import os
import pwd
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Final

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr

from policies.value import Value

DEFAULT_HOME: Final = Path("~/.toolkiln")
_SERVERS: Final = ("postgresql://", "postgres://")


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


def expanded(path: str | Path) -> Path:
    """`path` with the home of a user in place of `~`.

    Raises:
        ValueError: There is no such user, or no file system takes such a path.
    """
    try:
        if b"\0" in str(path).encode():
            raise ValueError(f"{str(path)!r} has a zero byte in it; write a path")
        return Path(path).expanduser()
    except RuntimeError:
        raise ValueError(
            f"{str(path)!r} begins with the home of a user that there is not; write the whole path"
        ) from None
    except UnicodeEncodeError:
        raise ValueError(
            f"{str(path)!r} is no UTF-8, which a database cannot have in its path"
        ) from None


def _absolute(path: object) -> object:
    return expanded(path).absolute() if isinstance(path, str | Path) else path


def store_place(text: str) -> str:
    """Where a store is: a server's URL as it is, a folder absolute.

    Raises:
        ValueError: It is neither.
    """
    if text.startswith(_SERVERS):
        return text
    if not text or "://" in text:
        raise ValueError("write a folder, or postgresql://USER@HOST:PORT/DATABASE")
    return str(expanded(text).absolute())


def _store(given: SecretStr) -> SecretStr:
    """The same; the text may hold a password."""
    return SecretStr(store_place(given.get_secret_value()))


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
    hsm_pin: SecretStr | None = None
    """Of the token that a role's key is on; from the environment alone."""

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


def names_a_file(policy: str) -> bool:
    """Whether `Settings.policy` is the path of a file rather than a shipped profile's name."""
    return "/" in policy or policy.endswith(".toml")
