"""Budgets: what one session may spend, and the typed reason when it may not go on."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from runtime.errors import SettingsError
from runtime.events import SessionStopped
from runtime.messages import Usage
from runtime.settings import BudgetSettings, Price
from runtime.tools import DEFINE_TOOL

_PLENTY_OF_TOKENS: Final = 16_000
_LEAST_OUTPUT_TOKENS: Final = 16
"""Fewer are refused by OpenAI's Responses API."""


class Budget:
    """The account of one session: turns for each prompt, everything else for the session.

    Wall time runs while a prompt is being answered, not while the person thinks.
    """

    def __init__(
        self,
        limits: BudgetSettings | None = None,
        *,
        price: Price | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Start an account with nothing spent.

        Raises:
            SettingsError: A cost limit without a price of the model, which could not hold.
        """
        self.limits = limits or BudgetSettings()
        if self.limits.cost is not None and price is None:
            raise SettingsError(
                f"the cost of a session is limited to {self.limits.cost:g}, but the model has no "
                "price, so the limit could not hold. Add the model to `prices` in toolkiln.toml, "
                "or remove `budget.cost`."
            )
        self._price = price
        self._clock = clock
        self._started_at: float | None = None
        self._earlier_seconds = 0.0
        self.usage = Usage()
        self.turns = 0
        """Requests for the present prompt."""

        self.tool_definitions = 0
        self._refused_definitions = 0

    def restore(self, *, usage: Usage, tool_definitions: int, wall_seconds: float) -> None:
        """Count what a resumed session spent before."""
        self.usage = self.usage + usage
        self.tool_definitions += tool_definitions
        self._earlier_seconds += wall_seconds

    def start_prompt(self) -> None:
        """A prompt came: its turns and the clock start."""
        self.turns = 0
        self._refused_definitions = 0
        self._started_at = self._clock()

    def end_prompt(self) -> None:
        """The prompt is answered, stopped or interrupted: the clock stops."""
        self._earlier_seconds = self.wall_seconds
        self._started_at = None

    def add_request(self, usage: Usage) -> None:
        """A request was answered."""
        self.turns += 1
        self.usage = self.usage + usage

    def admits_definition(self) -> bool:
        """Count one more `define_tool`; False if it may not run."""
        if self.tool_definitions >= self.limits.tool_definitions:
            self._refused_definitions += 1
            return False
        self.tool_definitions += 1
        return True

    @property
    def wall_seconds(self) -> float:
        """Time spent on answering so far."""
        running = 0.0 if self._started_at is None else self._clock() - self._started_at
        return self._earlier_seconds + running

    @property
    def remaining_seconds(self) -> float:
        """Wall time left; what runs longer is interrupted."""
        return max(0.0, self.limits.wall_seconds - self.wall_seconds)

    @property
    def cost(self) -> float | None:
        """What the session cost so far, in the currency of the price; None without a price."""
        return None if self._price is None else cost_of(self.usage, self._price)

    @property
    def output_ceiling(self) -> int | None:
        """Tokens that the next answer may have at most; None while plenty are left.

        Only near the end: a ceiling above what a model can give is an error to some servers.
        """
        left = self.limits.tokens - self.usage.total_tokens
        return max(_LEAST_OUTPUT_TOKENS, left) if left < _PLENTY_OF_TOKENS else None

    def exceeded(self) -> SessionStopped | None:
        """Why no further request may be made, or None."""
        limits, cost = self.limits, self.cost
        if self.turns >= limits.turns:
            return SessionStopped(
                reason="turns",
                message=f"the prompt used all its {limits.turns} turns (`budget.turns`)",
            )
        if self.usage.total_tokens >= limits.tokens:
            return SessionStopped(
                reason="tokens",
                message=f"the session used {self.usage.total_tokens:,} of {limits.tokens:,} "
                "tokens (`budget.tokens`)",
            )
        if limits.cost is not None and cost is not None and cost >= limits.cost:
            return SessionStopped(
                reason="cost",
                message=f"the session cost {cost:.4f} of {limits.cost:g} (`budget.cost`)",
            )
        if self.remaining_seconds <= 0:
            return self.out_of_time()
        if self._refused_definitions > 1:
            return SessionStopped(
                reason="tool_definitions",
                message=f"the session used all its {limits.tool_definitions} tool definitions "
                "(`budget.tool_definitions`), was told so, and asked for more",
            )
        return None

    def out_of_time(self) -> SessionStopped:
        """The stop for wall time, also when it comes in mid-call."""
        return SessionStopped(
            reason="wall_time",
            message=f"the session used its {self.limits.wall_seconds:g} s (`budget.wall_seconds`)",
        )

    def no_more_definitions(self) -> str:
        """What the model hears instead of a definition."""
        return (
            f"{DEFINE_TOOL} was not run: this session may define "
            f"{self.limits.tool_definitions} tools, and has. Answer with the tools that there "
            f"are, or say what is missing; another {DEFINE_TOOL} ends the session's turn."
        )


def cost_of(usage: Usage, price: Price) -> float:
    """What `usage` costs at `price`, in the currency of the price."""
    cached_price = price.cached_input_per_million
    if cached_price is None:
        cached_price = price.input_per_million
    return (
        (usage.input_tokens - usage.cached_input_tokens) * price.input_per_million
        + usage.cached_input_tokens * cached_price
        + usage.output_tokens * price.output_per_million
    ) / 1_000_000
