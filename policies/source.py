"""A tool as it was proposed, before anyone has reason to trust it."""

from __future__ import annotations

from typing import Self

from pydantic import Field, JsonValue, model_validator

from policies.permissions import Permissions
from policies.value import JsonObject, Value, canonical_json, sha256_digest


class Example(Value):
    """One call of the proposed tool and what must come of it: `returns` or `raises`.

    The expected part stays on the host: guest code never sees it.
    """

    arguments: JsonObject
    returns: JsonValue = None
    """The value, compared after JSON: tuples are lists, floats within a relative 1e-6."""

    raises: str | None = Field(default=None, min_length=1, max_length=100)
    """The name of the exception's class, such as `ValueError`."""

    @model_validator(mode="after")
    def _exactly_one_expectation(self) -> Self:
        if self.raises is None and "returns" not in self.model_fields_set:
            raise ValueError(
                "an example needs the expected outcome: `returns` with the value (null counts), "
                'or `raises` with the name of the exception, such as "ValueError"'
            )
        if self.raises is not None and self.returns is not None:
            raise ValueError("an example has either `returns` or `raises`, not both")
        return self

    @property
    def expectation(self) -> JsonObject:
        """The expected outcome alone, in the form it was written in."""
        return {"returns": self.returns} if self.raises is None else {"raises": self.raises}

    def to_json(self) -> JsonObject:
        """The example as JSON, without the expectation that it does not have."""
        return {"arguments": self.arguments, **self.expectation}


class ToolSource(Value):
    """The text of one proposed tool.

    Untrusted: the host reads and lints it, and never imports or runs any of it. Nothing is
    checked here but the shapes; what is wrong with the content are findings, so that the
    author hears of all of it at once.
    """

    name: str
    """Also the name of the function in `code` that is called."""

    description: str
    """Goes back to the model verbatim in later turns, so it is reviewed like the code."""

    code: str
    examples: tuple[Example, ...] = ()
    permissions: Permissions = Permissions()

    def to_json(self) -> JsonObject:
        """The fields as JSON, in the form that digests, exports and `define FILE` use."""
        return {
            "name": self.name,
            "description": self.description,
            "code": self.code,
            "examples": [example.to_json() for example in self.examples],
            "permissions": self.permissions.model_dump(mode="json"),
        }

    @property
    def digest(self) -> str:
        """`sha256:<hex>` over all fields: two sources are the same submission iff equal."""
        return sha256_digest(canonical_json(self.to_json()))
