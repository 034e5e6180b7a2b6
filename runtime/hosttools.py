"""Host tools: a typed Python function of ours becomes a tool with one decorator."""

from __future__ import annotations

import asyncio
import contextvars
import functools
import inspect
import json
import re
import sys
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Executor, Future
from typing import Any, TypeVar, get_type_hints, overload

import docstring_parser
import pydantic
import pydantic_core
from pydantic.fields import FieldInfo
from pydantic.json_schema import GenerateJsonSchema

from policies.value import JsonObject
from runtime.errors import UsageError
from runtime.jsonschemas import inlined
from runtime.messages import ToolSpec
from runtime.tools import CallContext, ToolAnswer

DEFAULT_TIMEOUT_SECONDS = 60.0
MAX_ERROR_CHARACTERS = 2_000
_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")

Function = Callable[..., Any]
_T = TypeVar("_T")


class DaemonThreads(Executor):
    """A thread for each blocking call: none waits for another, and none holds up the exit.

    A pool's threads are joined when the interpreter ends, so one function that never returns
    would keep a finished process alive; Python cannot end a thread from outside.
    """

    def submit(self, fn: Callable[..., _T], /, *args: Any, **kwargs: Any) -> Future[_T]:
        """Run `fn` in a thread of its own, with the caller's context variables."""
        future: Future[_T] = Future()
        work = functools.partial(contextvars.copy_context().run, fn, *args, **kwargs)
        thread = threading.Thread(
            target=_settle, args=(future, work), name="toolkiln-host-tool", daemon=True
        )
        thread.start()
        return future


def _settle(future: Future[_T], work: Callable[[], _T]) -> None:
    if not future.set_running_or_notify_cancel():
        return
    try:
        result = work()
    except BaseException as error:  # noqa: BLE001 - it belongs to whoever awaits the future
        future.set_exception(error)
    else:
        future.set_result(result)


class HostTool:
    """A typed function of the host as a `Tool`; calling the object calls the function."""

    def __init__(
        self,
        function: Function,
        *,
        name: str | None = None,
        description: str | None = None,
        timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS,
        namespace: Mapping[str, object] | None = None,
    ) -> None:
        """Read the function's signature and docstring.

        Args:
            function: Sync or async; every parameter annotated. A parameter annotated with
                `CallContext` is filled by the runtime and hidden from the model.
            name: What the model calls it; the function's own name if None.
            description: What the model reads; the docstring's prose if None.
            timeout_seconds: After this the call is answered with an error.
            namespace: Names that annotations may use beside the function's module.

        Raises:
            UsageError: The signature cannot be offered to a model.
        """
        _refuse_what_is_no_function(function)
        self._function = function
        self._timeout_seconds = timeout_seconds
        self._is_async = inspect.iscoroutinefunction(function)
        self._executor = DaemonThreads()
        name = name or function.__name__
        if not _NAME.fullmatch(name):
            raise UsageError(
                f"{name!r} is no name for a host tool: providers take 1 to 64 letters, digits, "
                "'_' and '-' of ASCII. Pass name=..."
            )
        docstring = docstring_parser.parse(inspect.getdoc(function) or "")
        self._parameters = _parameters(function, name, namespace or {})
        descriptions = {param.arg_name: param.description for param in docstring.params}
        try:
            self._model = _arguments_model(name, self._parameters, descriptions)
            schema = self._model.model_json_schema(schema_generator=_WireSchema)
            _require_json(schema)
        except (
            pydantic.PydanticUserError,
            pydantic_core.SchemaError,
            TypeError,
            ValueError,
        ) as error:
            raise UsageError(
                f"the parameters of host tool {name!r} cannot be described as JSON Schema: {error}"
            ) from error
        description = description or docstring.description
        if not description:
            raise UsageError(
                f"host tool {name!r} has no description: give the function a docstring whose "
                "first line says what it does, or pass description=..."
            )
        schema.pop("description", None)
        self.spec = ToolSpec(
            name=name, description=description.strip(), parameters=inlined(schema, name)
        )
        functools.update_wrapper(self, function)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the function itself, as if it had not been decorated."""
        return self._function(*args, **kwargs)

    async def call(self, arguments: JsonObject, context: CallContext) -> ToolAnswer:
        """Convert the arguments, run the function, and render what it returns as JSON."""
        try:
            call = self._bind(arguments, context)
        except pydantic.ValidationError as error:
            return ToolAnswer(self._explain(error), is_error=True)
        limit = asyncio.timeout(self._timeout_seconds)
        try:
            async with limit:
                value = await self._run(call)
        except (Exception, SystemExit) as error:  # noqa: BLE001 - it is the answer
            if isinstance(error, TimeoutError) and limit.expired():
                return ToolAnswer(self._timed_out(), is_error=True)
            return ToolAnswer(_in_words(error), is_error=True)
        return self._render(value)

    async def _run(self, call: Callable[[], Any]) -> object:
        if self._is_async:
            return await call()
        loop = asyncio.get_running_loop()
        value = await loop.run_in_executor(self._executor, _without_stop_iteration, call)
        # An async function behind a decorator that is none itself.
        return await value if inspect.isawaitable(value) else value

    def _bind(self, arguments: JsonObject, context: CallContext) -> Callable[[], Any]:
        """The function with its converted arguments, ready to run."""
        values = self._model.model_validate(arguments)
        positional, named = [], {}
        for index, parameter in enumerate(self._parameters):
            is_context = parameter.annotation is CallContext
            value = context if is_context else getattr(values, f"p{index}")
            if parameter.kind is parameter.POSITIONAL_ONLY:
                positional.append(value)
            else:
                named[parameter.name] = value
        return functools.partial(self._function, *positional, **named)

    def _render(self, value: object) -> ToolAnswer:
        try:
            text = pydantic_core.to_json(value, inf_nan_mode="strings", bytes_mode="base64")
        except (pydantic_core.PydanticSerializationError, ValueError, RecursionError) as error:
            return ToolAnswer(
                f"{self.spec.name} ran, but what it returned ({type(value).__name__}) cannot be "
                f"written as JSON: {error}. A fault of the tool: the same call fails again.",
                is_error=True,
            )
        return ToolAnswer(text.decode())

    def _explain(self, error: pydantic.ValidationError) -> str:
        lines = [
            f"- {'.'.join(str(part) for part in item['loc']) or 'arguments'}: {item['msg']} "
            f"(given: {_cut(repr(item['input']), 200)})"
            for item in error.errors(include_url=False)
        ]
        return "\n".join(
            [f"the arguments of {self.spec.name} do not fit; nothing was run.", *lines]
        )

    def _timed_out(self) -> str:
        ending = (
            "It was stopped."
            if self._is_async
            else "It could not be stopped and may still be running."
        )
        return (
            f"{self.spec.name} did not finish within {self._timeout_seconds:g} s. {ending} "
            "It may have had effects: repeat the call only if repeating is harmless."
        )


@overload
def tool(function: Function, /) -> HostTool: ...


@overload
def tool(
    *,
    name: str | None = None,
    description: str | None = None,
    timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS,
) -> Callable[[Function], HostTool]: ...


def tool(
    function: Function | None = None,
    /,
    *,
    name: str | None = None,
    description: str | None = None,
    timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS,
) -> HostTool | Callable[[Function], HostTool]:
    """Make a typed function a tool: `@tool`, or `@tool(timeout_seconds=5)`.

    The schema comes from the annotations, the descriptions from the docstring.

    Raises:
        UsageError: The signature cannot be offered to a model; says what to change.
    """

    def decorate(decorated: Function) -> HostTool:
        return HostTool(
            decorated,
            name=name,
            description=description,
            timeout_seconds=timeout_seconds,
            # Annotations of a function inside a function may name the outer one's locals.
            namespace=sys._getframe(1 if function is None else 2).f_locals,  # noqa: SLF001
        )

    return decorate if function is None else decorate(function)


def _refuse_what_is_no_function(function: Function) -> None:
    """Refuse what has no signature to read, or no one answer to a call."""
    if not inspect.isroutine(function):
        raise UsageError(
            f"{_cut(repr(function), 200)} is no function, so it cannot become a host tool: "
            "write a function with annotations and a docstring that calls it."
        )
    if inspect.isasyncgenfunction(function):
        raise UsageError(
            f"host tool {function.__name__!r} is an async generator, and a call has one answer: "
            "return a list of what it yields."
        )


class _WireSchema(GenerateJsonSchema):
    """Leaves out defaults that JSON cannot hold; the function has them all the same."""

    ignored_warning_kinds = GenerateJsonSchema.ignored_warning_kinds | {"non-serializable-default"}

    def encode_default(self, dft: Any) -> Any:
        """The default as JSON."""
        value = super().encode_default(dft)
        try:
            _require_json(value)
        except ValueError as error:
            raise pydantic_core.PydanticSerializationError(str(error)) from error
        return value


def _require_json(value: object) -> None:
    """Raise ValueError unless JSON in UTF-8 holds `value`: no infinity, no half character."""
    json.dumps(value, allow_nan=False, ensure_ascii=False).encode()


def _parameters(
    function: Function, name: str, namespace: Mapping[str, object]
) -> tuple[inspect.Parameter, ...]:
    try:
        hints = get_type_hints(function, localns=dict(namespace), include_extras=True)
    except (NameError, AttributeError, SyntaxError, TypeError) as error:
        raise UsageError(
            f"an annotation of host tool {name!r} cannot be read: {error}. "
            "Define the type in the function's module."
        ) from error
    parameters = inspect.signature(function).parameters.values()
    for parameter in parameters:
        if parameter.kind in {parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD}:
            raise UsageError(
                f"host tool {name!r} takes {parameter}: a model needs named parameters. "
                "Take a list or a dict as one parameter instead."
            )
        if parameter.name not in hints:
            raise UsageError(
                f"parameter {parameter.name!r} of host tool {name!r} has no annotation, "
                f"so the model cannot know what to give: write `{parameter.name}: int`, say."
            )
    return tuple(parameter.replace(annotation=hints[parameter.name]) for parameter in parameters)


def _arguments_model(
    name: str,
    parameters: tuple[inspect.Parameter, ...],
    descriptions: Mapping[str, str | None],
) -> type[pydantic.BaseModel]:
    """A model with one field a parameter; only the aliases carry names of the author's."""
    fields: dict[str, Any] = {}
    for index, parameter in enumerate(parameters):
        if parameter.annotation is CallContext:
            continue
        default = ... if parameter.default is parameter.empty else parameter.default
        field = FieldInfo.from_annotated_attribute(parameter.annotation, default)
        field.alias = field.validation_alias = field.serialization_alias = parameter.name
        field.alias_priority = 2
        field.description = field.description or descriptions.get(parameter.name)
        fields[f"p{index}"] = (parameter.annotation, field)
    config = pydantic.ConfigDict(extra="forbid")
    model: type[pydantic.BaseModel] = pydantic.create_model(
        f"{name}_arguments", __config__=config, **fields
    )
    return model


def _without_stop_iteration(call: Callable[[], object]) -> object:
    """A future cannot carry StopIteration; a generator's rule for it (PEP 479) serves here."""
    try:
        return call()
    except StopIteration as error:
        raise RuntimeError("the function raised StopIteration") from error


def _in_words(error: BaseException) -> str:
    return _cut(f"{type(error).__name__}: {error}", MAX_ERROR_CHARACTERS)


def _cut(text: str, limit: int) -> str:
    return text if len(text) <= limit else text[:limit] + "…"
