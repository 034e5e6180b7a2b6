"""A tool as it was proposed, before anyone has reason to trust it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Self

from pydantic import Field, JsonValue, field_validator, model_validator

from policies.filenames import file_name_problem
from policies.permissions import Permissions
from policies.value import JsonObject, Value, canonical_json, sha256_digest


def example_identity(
    arguments: JsonObject, file_digests: Mapping[str, str], expectation: JsonObject | None
) -> JsonObject:
    """What tells one example from others: its arguments, its files and what it expects."""
    files: JsonObject = {"files": {**file_digests}} if file_digests else {}
    return {"arguments": arguments, **files, **(expectation or {})}


class Example(Value):
    """One call of the proposed tool and what must come of it: `returns` or `raises`.

    The expected part stays on the host: guest code never sees it.
    """

    arguments: JsonObject
    returns: JsonValue = None
    """The value, compared after JSON: tuples are lists, floats within a relative 1e-6."""

    raises: str | None = Field(default=None, min_length=1, max_length=100)
    """The name of the exception's class, such as `ValueError`."""

    files: dict[str, str] = Field(default={})
    """Texts of the files that the call is given, by name; for tools that declare them."""

    @field_validator("files", mode="before")
    @classmethod
    def _none_is_none(cls, files: object) -> object:
        return {} if files is None else files

    @field_validator("files")
    @classmethod
    def _plain_names(cls, files: dict[str, str]) -> dict[str, str]:
        for name in files:
            if problem := file_name_problem(name):
                raise ValueError(problem)
        return files

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

    @property
    def identity(self) -> JsonObject:
        """What tells it from other examples, in a form that trials have too."""
        return example_identity(self.arguments, self.file_digests, self.expectation)

    @property
    def file_digests(self) -> dict[str, str]:
        """The digest of each file's bytes, by name."""
        return {name: sha256_digest(data) for name, data in self.inputs.items()}

    @property
    def inputs(self) -> dict[str, bytes]:
        """The bytes of its files, by name.

        Half a character becomes a question mark; no such example is run, as a finding says.
        """
        return {name: text.encode(errors="replace") for name, text in self.files.items()}

    def to_json(self) -> JsonObject:
        """The example as JSON, without the files and the expectation that it does not have."""
        files: JsonObject = {"files": {**self.files}} if self.files else {}
        return {"arguments": self.arguments, **files, **self.expectation}


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
            "permissions": self.permissions.to_json(),
        }

    @property
    def digest(self) -> str:
        """`sha256:<hex>` over all fields: two sources are the same submission iff equal."""
        return sha256_digest(canonical_json(self.to_json()))
