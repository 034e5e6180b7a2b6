"""What the loop costs beside the bare `openai` client, in processor time.

    python benchmarks/loop.py [--repeats 200] [--tools 15] [--json FILE]

One turn is two requests: the prompt, one tool call, its result, a text; streamed, and sent to
the same server (aimock) in the same run with the same tools. Four ways take turns, so that what
the machine does meanwhile hits all of them alike:

    bare      `client.responses.create` or `client.chat.completions.create`, read to the end,
              the call's arguments parsed, the function called: the least a person would write
    adapter   our `ChatModel` alone, driven as the bare client is
    loop      a whole `Session`: toolset, validation, budgets, events
    recorded  the same with its transcript on disk

Medians of processor time of this process alone (all threads); garbage is collected before each
turn, so that none pays for another's.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "support"))
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # before `sandbox.py` beside us

import openai
from aimock import Aimock, aimock_process

from runtime.hosttools import HostTool
from runtime.messages import Message, ToolMessage, ToolResult, ToolSpec, UserMessage
from runtime.models.base import ChatModel, Completed, ModelRequest
from runtime.models.chat_wire import tool_json as chat_tool_json
from runtime.models.factory import make_model
from runtime.models.responses_wire import tool_json as responses_tool_json
from runtime.models.strict import to_wire
from runtime.sessions import Session
from runtime.toolset import Toolset
from runtime.transcript import Transcript

PROMPT = "What is the weather in Oslo, and what should I wear?"
INSTRUCTIONS = "You help with the weather. Be brief."
ANSWER = (
    "It is three degrees in Oslo with a light rain coming in from the fjord, so take a warm "
    "coat, a scarf and an umbrella; towards the evening it clears, and the night will be cold."
)
FIXTURES = [
    {
        "match": {"hasToolResult": False},
        "response": {
            "toolCalls": [{"id": "call_1", "name": "tool_0", "arguments": '{"city":"Oslo"}'}],
            "usage": {"prompt_tokens": 900, "completion_tokens": 20, "total_tokens": 920},
        },
    },
    {
        "match": {"hasToolResult": True},
        "response": {
            "content": ANSWER,
            "usage": {"prompt_tokens": 950, "completion_tokens": 60, "total_tokens": 1010},
        },
    },
]
TARGET_MS = 2.0

Api = Literal["responses", "chat"]
Turn = Callable[[], Awaitable[str]]


async def weather(city: str, unit: Literal["C", "F"] = "C", days: int = 1) -> str:
    """The weather in a city.

    Args:
        city: Name of the city, in its own language.
        unit: Degrees Celsius or Fahrenheit.
        days: How many days to look ahead.
    """
    return f"{city}: 3 {unit}, rain, for {days} days"


def make_tools(count: int) -> list[HostTool]:
    """Tools that differ in name alone."""
    return [HostTool(weather, name=f"tool_{number}") for number in range(count)]


@dataclass
class Ways:
    """The ways to take one turn, all on one server."""

    server: Aimock
    api: Api
    tools: list[HostTool]
    folder: Path

    def __post_init__(self) -> None:
        self.client = openai.AsyncOpenAI(
            base_url=self.server.base_url, api_key="none", max_retries=0
        )
        self.model: ChatModel = make_model("gpt-4o", api=self.api, base_url=self.server.base_url)
        # Requests carry `find_tools` too, in all ways alike.
        self.specs: tuple[ToolSpec, ...] = ()

    async def prepare(self) -> None:
        """Learn which tools a session sends, so that every way sends the same."""
        chosen = await self._toolset().for_request(PROMPT)
        self.specs = tuple(tool.spec for tool in chosen)
        shape = responses_tool_json if self.api == "responses" else chat_tool_json
        self.tools_json: Any = [shape(to_wire(spec)) for spec in self.specs]

    def turns(self) -> dict[str, Turn]:
        """Each way under its name."""
        bare = self.bare_responses if self.api == "responses" else self.bare_chat
        return {
            "bare": bare,
            "adapter": self.adapter,
            "loop": self.loop,
            "recorded": self.recorded,
        }

    async def bare_responses(self) -> str:
        """Responses, by hand."""
        items: list[Any] = [{"role": "user", "content": PROMPT}]
        while True:
            stream = await self.client.responses.create(
                model="gpt-4o",
                instructions=INSTRUCTIONS,
                input=items,
                tools=self.tools_json,
                store=False,
                stream=True,
            )
            response = None
            async for event in stream:
                if event.type == "response.completed":
                    response = event.response
            assert response is not None
            calls = [item for item in response.output if item.type == "function_call"]
            if not calls:
                return response.output_text
            items += [item.to_dict() for item in response.output]
            for call in calls:
                output = await weather(**json.loads(call.arguments))
                items.append(
                    {"type": "function_call_output", "call_id": call.call_id, "output": output}
                )

    async def bare_chat(self) -> str:
        """Chat Completions, by hand."""
        messages: list[Any] = [
            {"role": "system", "content": INSTRUCTIONS},
            {"role": "user", "content": PROMPT},
        ]
        while True:
            stream = await self.client.chat.completions.create(
                model="gpt-4o",
                messages=messages,
                tools=self.tools_json,
                stream=True,
                stream_options={"include_usage": True},
            )
            text = ""
            calls: dict[int, dict[str, str]] = {}
            async for chunk in stream:
                for choice in chunk.choices:
                    text += choice.delta.content or ""
                    for piece in choice.delta.tool_calls or ():
                        call = calls.setdefault(piece.index, {"id": "", "name": "", "text": ""})
                        call["id"] = piece.id or call["id"]
                        if piece.function is not None:
                            call["name"] = piece.function.name or call["name"]
                            call["text"] += piece.function.arguments or ""
            if not calls:
                return text
            written = [
                {
                    "id": call["id"],
                    "type": "function",
                    "function": {"name": call["name"], "arguments": call["text"]},
                }
                for call in calls.values()
            ]
            messages.append({"role": "assistant", "content": text or None, "tool_calls": written})
            for call in calls.values():
                output = await weather(**json.loads(call["text"]))
                messages.append({"role": "tool", "tool_call_id": call["id"], "content": output})

    async def adapter(self) -> str:
        """The `ChatModel` alone."""
        messages: tuple[Message, ...] = (UserMessage(text=PROMPT),)
        while True:
            request = ModelRequest.model_construct(
                instructions=INSTRUCTIONS, messages=messages, tools=self.specs
            )
            answer = None
            async for event in self.model.stream(request):
                answer = event
            assert isinstance(answer, Completed)
            if not answer.message.tool_calls:
                return answer.message.text
            results = [
                ToolResult(
                    call_id=call.call_id,
                    name=call.name,
                    content=await weather(**json.loads(call.arguments)),
                )
                for call in answer.message.tool_calls
            ]
            messages += (answer.message, ToolMessage(results=tuple(results)))

    async def loop(self) -> str:
        """A session that keeps no record."""
        async with Session(
            model=self.model, toolset=self._toolset(), instructions=INSTRUCTIONS
        ) as session:
            return (await session.send(PROMPT)).text

    async def recorded(self) -> str:
        """A session with its transcript on disk."""
        async with Session(
            model=self.model,
            toolset=self._toolset(),
            instructions=INSTRUCTIONS,
            transcript=Transcript.create(self.folder, model=self.model.name),
        ) as session:
            return (await session.send(PROMPT)).text

    def _toolset(self) -> Toolset:
        return Toolset(host_tools=self.tools)

    async def close(self) -> None:
        """Give back connections."""
        await self.client.close()
        await self.model.close()


async def measure(ways: Ways, repeats: int) -> dict[str, list[float]]:
    """Milliseconds of processor time of each turn, the ways taking turns."""
    turns = ways.turns()
    milliseconds: dict[str, list[float]] = {name: [] for name in turns}
    for number in range(repeats + 10):
        for name, turn in turns.items():
            gc.collect()
            start = time.process_time()
            text = await turn()
            spent = time.process_time() - start
            assert text == ANSWER, f"{name} answered {text!r}"
            if number >= 10:  # the first ones warm up
                milliseconds[name].append(spent * 1_000)
    return milliseconds


async def run(tools: int, repeats: int) -> dict[str, dict[str, float]]:
    """Medians for both APIs."""
    found: dict[str, dict[str, float]] = {}
    apis: tuple[Api, ...] = ("responses", "chat")
    with aimock_process(FIXTURES) as server, tempfile.TemporaryDirectory() as folder:
        for api in apis:
            ways = Ways(server, api, make_tools(tools - 1), Path(folder))
            await ways.prepare()
            try:
                measured = await measure(ways, repeats)
            finally:
                await ways.close()
            found[api] = {name: statistics.median(each) for name, each in measured.items()}
    return found


def show(found: dict[str, dict[str, float]]) -> None:
    """Print the table."""
    print(f"{'':<12}{'way':<10}{'CPU ms':>8}{'more':>8}")
    for api, medians in found.items():
        for name, median in medians.items():
            print(f"{api:<12}{name:<10}{median:>8.2f}{median - medians['bare']:>+8.2f}")


def main() -> int:
    """Measure, print a table and, if asked, write JSON; 1 if the loop costs more than it may."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=200)
    parser.add_argument("--tools", type=int, default=15, help="tools in each request")
    parser.add_argument("--json", type=Path, help="write the figures here too")
    options = parser.parse_args()
    found = asyncio.run(run(options.tools, options.repeats))
    show(found)
    worst = max(medians["recorded"] - medians["bare"] for medians in found.values())
    print(f"\nA recorded turn costs {worst:+.2f} ms beside the bare client; {TARGET_MS} allowed.")
    if options.json is not None:
        report = {
            "python": platform.python_version(),
            "openai": openai.__version__,
            "tools": options.tools,
            "repeats": options.repeats,
            "cpu_ms_median": found,
            "recorded_more_ms": worst,
            "target_ms": TARGET_MS,
        }
        options.json.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    return 0 if worst <= TARGET_MS else 1


if __name__ == "__main__":
    sys.exit(main())
