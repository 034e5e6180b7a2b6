"""Arguments for property runs: generated from the schema, and varied from the examples.

The same schema, examples and seed give the same arguments, for one version of Hypothesis.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from policies.schema import ToolSchema
from policies.source import Example
from policies.validation import validate
from policies.value import JsonObject, canonical_json

if TYPE_CHECKING:
    from hypothesis.strategies import SearchStrategy

_TRIES_PER_RESULT: Final = 2
_FEWEST_TRIES: Final = 30


def generate_arguments(
    schema: ToolSchema, examples: Sequence[Example], *, count: int, seed: int
) -> tuple[JsonObject, ...]:
    """At most `count` distinct arguments that fit the schema and are in no example.

    Fewer come back where the schema has fewer values, none where it has no parameters.
    """
    if count <= 0 or not schema.parameters.get("properties"):
        return ()
    known = [e.arguments for e in examples if not validate(e.arguments, schema.parameters)]
    seen = {canonical_json(arguments) for arguments in known}
    found: list[JsonObject] = []
    for arguments in _draw(
        schema.parameters, known, max(_FEWEST_TRIES, count * _TRIES_PER_RESULT), seed
    ):
        if len(found) == count:
            break
        identity = canonical_json(arguments)
        if identity not in seen and not validate(arguments, schema.parameters):
            seen.add(identity)
            found.append(arguments)
    return tuple(found)


def _draw(
    parameters: JsonObject, known: list[JsonObject], tries: int, seed_value: int
) -> list[JsonObject]:
    """Let Hypothesis generate `tries` times; it is imported here because it takes its time."""
    import hypothesis  # noqa: PLC0415

    from runtime.generator_backend import register  # noqa: PLC0415
    from runtime.generators import arguments_strategy  # noqa: PLC0415

    drawn: list[JsonObject] = []
    strategy: SearchStrategy[JsonObject] = arguments_strategy(parameters, known)

    @hypothesis.seed(seed_value)
    @hypothesis.settings(
        max_examples=tries,
        derandomize=True,
        backend=register(),
        database=None,
        deadline=None,
        phases=[hypothesis.Phase.generate],
        suppress_health_check=list(hypothesis.HealthCheck),
        verbosity=hypothesis.Verbosity.quiet,
    )
    @hypothesis.given(strategy)
    def collect(arguments: JsonObject) -> None:
        drawn.append(arguments)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        collect()
    return drawn
