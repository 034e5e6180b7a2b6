"""Options that several commands share, and the settings that they stand for."""

from __future__ import annotations

from typing import Annotated, Final, TypeAlias

import typer

from policies.value import JsonObject
from runtime.cli.completion import tool_names
from runtime.settings import Api

Model: TypeAlias = Annotated[
    str | None, typer.Option(metavar="NAME", help="Default: $TOOLKILN_MODEL.")
]
ApiName: TypeAlias = Annotated[
    Api | None,
    typer.Option("--api", help="Shape of requests. Default: responses on OpenAI, else chat."),
]
BaseUrl: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--base-url", metavar="URL", help="The model's service. Default: $OPENAI_BASE_URL."
    ),
]
PolicyArgument: TypeAlias = Annotated[
    str | None,
    typer.Argument(
        metavar="POLICY",
        help="A shipped profile (local, team, production) or a file. Default: the one in force.",
    ),
]
Resume: TypeAlias = Annotated[
    str | None, typer.Option("--resume", metavar="ID", help="Go on with an earlier session.")
]
BudgetTurns: TypeAlias = Annotated[
    int | None, typer.Option("--budget-turns", help="Requests to the model for one prompt.")
]
BudgetTokens: TypeAlias = Annotated[
    int | None, typer.Option("--budget-tokens", help="Tokens of the session, in and out.")
]
BudgetCost: TypeAlias = Annotated[
    float | None, typer.Option("--budget-cost", help="Cost of the session, if prices are set.")
]
BudgetSeconds: TypeAlias = Annotated[
    float | None, typer.Option("--budget-seconds", help="Time spent on answering.")
]
BudgetDefinitions: TypeAlias = Annotated[
    int | None, typer.Option("--budget-definitions", help="Tools that the session may define.")
]
MOST_DAYS: Final = 36_500
"""A hundred years; more than that is a slip of the keys, or worse."""

REF_WORDS: Final = "NAME, NAME@3 or NAME@sha256:…"
Ref: TypeAlias = Annotated[
    str, typer.Argument(metavar="REF", help=REF_WORDS, autocompletion=tool_names)
]
Name: TypeAlias = Annotated[
    str, typer.Argument(metavar="NAME", help="Name of the tool.", autocompletion=tool_names)
]
Reason: TypeAlias = Annotated[str, typer.Option(metavar="TEXT", help="Why; kept in the log.")]
NeededReason: TypeAlias = Annotated[
    str, typer.Option(metavar="TEXT", help="Why; kept in the log. It must be given.")
]


def budget_flags(
    turns: int | None,
    tokens: int | None,
    cost: float | None,
    seconds: float | None,
    definitions: int | None,
) -> JsonObject:
    """The flags of a budget as the settings call them."""
    return {
        "turns": turns,
        "tokens": tokens,
        "cost": cost,
        "wall_seconds": seconds,
        "tool_definitions": definitions,
    }
