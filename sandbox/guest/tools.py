"""Calls of other tools: a question to the host and its answer, from as many threads as there are.

What is called runs elsewhere, in a sandbox of its own; nothing but JSON comes back.
"""

# ruff: noqa: ANN001, ANN003, ANN201, ANN202, ANN204  annotations cost start time; types are plain

import _thread

from toolkiln_guest.channel import TOOL_CALL


class ToolCallError(Exception):
    """Another tool was not called, or it failed; the text says why."""


class Question:
    """A call that waits for its answer."""

    def __init__(self):
        self.answered = _thread.allocate_lock()
        self.answered.acquire()
        self.answer = None

    def give(self, answer):
        """Wake up who waits."""
        self.answer = answer
        self.answered.release()

    def wait(self):
        """The answer, when it is there."""
        self.answered.acquire()
        return self.answer


class Service:
    """The guest's side of the grant "tools"."""

    def __init__(self, grant, send):
        self.tools = grant["tools"]
        self.call_bytes = grant["call_bytes"]
        self.max_depth = grant["max_depth"]
        self.send = send
        self.turn = _thread.allocate_lock()
        self.asked = 0
        self.waiting = {}

        def call_tool(name, /, **arguments):
            """Call the tool `name` with these arguments and give what it returns."""
            return self.call(name, arguments)

        self.names = {"call_tool": call_tool, "ToolCallError": ToolCallError}

    def call(self, name, arguments):
        """Ask the host, and wait for its answer."""
        if name not in self.tools:
            raise ToolCallError(
                f"{str(name)[:100]!r} was not called: permissions.tools does not name it, it has "
                f"{', '.join(self.tools)}"
            )
        fields = self.encode(name, arguments)
        question = Question()
        with self.turn:
            self.asked += 1
            number = self.asked
            self.waiting[number] = question
        self.send(TOOL_CALL, b'{"id":%d,%s' % (number, fields))
        answer = question.wait()
        if "error" in answer:
            raise ToolCallError(answer["error"])
        return answer["value"]

    def encode(self, name, arguments):
        """The rest of the question, as JSON without its opening brace."""
        import json  # noqa: PLC0415  loaded when it is needed

        from toolkiln_guest.results import ResultEncoder, ResultNotJSON  # noqa: PLC0415

        try:
            plain = ResultEncoder(self.max_depth).plain(arguments, "arguments", 0)
            fields = {"name": str(name), "arguments": plain}
            data = json.dumps(fields, ensure_ascii=False, allow_nan=False).encode()[1:]
        except (ResultNotJSON, ValueError) as error:
            raise ToolCallError(
                f"{name} was not called: its arguments are not JSON: {error}"
            ) from None
        if len(data) > self.call_bytes:
            raise ToolCallError(
                f"{name} was not called: its arguments have {len(data):,} bytes as JSON, where "
                f"{self.call_bytes:,} are allowed; pass less"
            )
        return data

    def receive(self, _kind, payload):
        """An answer of the host; runs on the listening thread."""
        import json  # noqa: PLC0415  loaded when it is needed

        answer = json.loads(payload)
        question = self.waiting.pop(answer["id"], None)
        if question is not None:
            question.give(answer)

    def finish(self):
        """Nothing: what still waits ends with the process."""
