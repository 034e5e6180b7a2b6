"""What a tool returned or raised, as bytes for the host."""

# ruff: noqa: ANN001, ANN201, ANN204  annotations cost start time; types are plain

# ruff: noqa: PLC0415  slow modules wait until the posture is on its way: the host checks it then

MESSAGE_CHARACTERS = 4_000
TRACEBACK_CHARACTERS = 16_000
CHAINED_EXCEPTIONS = 4
TOOL_FILE = "<tool>"
PLAIN = frozenset({type(None), bool, int, float, str})


class ResultNotJSON(Exception):  # noqa: N818  the name is what the author of a tool reads
    """The tool returned something that JSON cannot hold."""


class ResultEncoder:
    """Turns what a tool returned into values that JSON has."""

    def __init__(self, max_depth):
        from enum import Enum
        from json import JSONEncoder

        self.max_depth = max_depth
        self.enum = Enum
        self.text_of = JSONEncoder(
            ensure_ascii=False, allow_nan=False, separators=(",", ":")
        ).encode

    def encode(self, value):
        """The bytes of the value.

        Raises:
            ResultNotJSON: With the place and the type that cannot be sent.
        """
        try:
            return self.text_of(self.plain(value, "result", 0)).encode()
        except UnicodeEncodeError:
            raise ResultNotJSON("the result has a string with half a surrogate pair") from None
        except ValueError as error:
            raise ResultNotJSON(f"the result is not JSON: {error}") from None

    def plain(self, value, place, depth):
        """`value` made of None, bool, int, float, str, list and dict."""
        if type(value) in PLAIN:
            return value
        if isinstance(value, self.enum):
            value = value.value
        if value is None or isinstance(value, (bool, int, float, str)):
            return value
        if depth >= self.max_depth:
            raise ResultNotJSON(f"the result is nested deeper than {self.max_depth}, at {place}")
        if isinstance(value, dict):
            return self.plain_dict(value, place, depth)
        if isinstance(value, (list, tuple)):
            return [
                self.plain(item, f"{place}[{index}]", depth + 1) for index, item in enumerate(value)
            ]
        if hasattr(type(value), "__dataclass_fields__"):
            return self.plain_dataclass(value, place, depth)
        raise ResultNotJSON(
            f"{place} is of type {type(value).__name__}, which is not JSON; return None, bool, "
            "int, float, str, list, tuple, dict, an Enum or a dataclass"
        )

    def plain_dict(self, value, place, depth):
        """A dict; its keys become strings as the json module makes them."""
        result = {}
        for key, item in value.items():
            name = self.plain_key(key, place)
            if name in result:
                raise ResultNotJSON(f"{place} has two keys that are both {name!r} in JSON")
            result[name] = self.plain(item, f"{place}[{name!r}]", depth + 1)
        return result

    def plain_key(self, key, place):
        """The JSON name of a dict's key."""
        if isinstance(key, self.enum):
            key = key.value
        if isinstance(key, str):
            return str(key)
        if key is None or isinstance(key, bool):
            return {None: "null", True: "true", False: "false"}[key]
        if isinstance(key, (int, float)):
            return repr(key)
        raise ResultNotJSON(
            f"{place} has a key of type {type(key).__name__}, which is not JSON; use strings"
        )

    def plain_dataclass(self, value, place, depth):
        """A dataclass, field by field."""
        import dataclasses

        return {
            field.name: self.plain(getattr(value, field.name), f"{place}.{field.name}", depth + 1)
            for field in dataclasses.fields(value)
        }


def bounded(text, size):
    """The beginning and the end of a text, without anything that UTF-8 cannot hold."""
    if len(text) > size:
        half = size // 2
        text = f"{text[:half]}\n... {len(text) - 2 * half} characters left out ...\n{text[-half:]}"
    return text.encode("utf-8", "backslashreplace").decode()


def own_frames(error):
    """The lines of a traceback that are the tool's own."""
    import traceback

    frames = [f for f in traceback.extract_tb(error.__traceback__) if f.filename == TOOL_FILE]
    return traceback.StackSummary.from_list(frames).format()


def format_one(error):
    """One exception as Python would show it, with the tool's own lines only."""
    import traceback

    lines = own_frames(error)
    header = ["Traceback (most recent call last):\n"] if lines else []
    return "".join(header + lines + traceback.format_exception_only(type(error), error))


def format_error(error):
    """An exception with those that led to it, the first of them first."""
    parts = []
    for _ in range(CHAINED_EXCEPTIONS):
        parts.append(format_one(error))
        if error.__cause__ is not None:
            error, link = error.__cause__, "the direct cause of"
        elif error.__context__ is not None and not error.__suppress_context__:
            error, link = error.__context__, "followed by"
        else:
            break
        parts.append(f"\nThe above was {link}:\n\n")
    return "".join(reversed(parts))


def describe(error):
    """The payload of an error frame; the tool's own `__str__` may do anything but end it."""
    import json

    try:
        message = str(error)
    except BaseException:  # noqa: BLE001  the tool's own code
        message = "(the exception's text cannot be made)"
    try:
        shown = format_error(error)
    except BaseException:  # noqa: BLE001  the tool's own code
        shown = ""
    report = {
        "type": bounded(type(error).__name__, 200),
        "message": bounded(message, MESSAGE_CHARACTERS),
        "traceback": bounded(shown, TRACEBACK_CHARACTERS),
    }
    return json.dumps(report).encode()
