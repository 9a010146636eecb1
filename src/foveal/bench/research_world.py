"""A small world to research: a web of invented pages behind a search, and a model of a few rules that plans and reads.

    with World(WorldSettings(page_seconds=0.3)) as world:      # in a thread; in_process=False: in a process of its own
        SearxngSource(world.url, …); OpenAIChat("rules", world.chat_url)

Pages     "mill #7 part 1" finds four pages on that part of mill 7: HTML of a given size, the fact in its middle
Model     follows the prompts of research/prompts.py as a good model would, without any understanding: plans by a
          script, writes the queries of a node, selects what it may, repeats the fact of each source with its number
Server    HTTP/1.1, one connection a request, latencies by a clock and not by a thread each; a port is a site
"""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from threading import Event, Thread
from typing import Any
from urllib.parse import parse_qs, urlsplit

from foveal.errors import FovealError
from foveal.models.chat import GREEDY, Cancel, Messages, Sampling, SchemaT

PARTS, PAGES_OF_PART = 3, 4
PARAGRAPH = 360
LONGEST_FACT = 200  # characters; a menu without a full stop is none
PIECE = 48  # characters that the server streams at once
WATERS = ("low", "high", "frozen from bank to bank", "brown with clay", "as clear as glass", "full of leaves", "loud")
_SOURCE = re.compile(r"^Source (\d+): .*?\nBEGIN SOURCE \1\n(.*?)\nEND SOURCE \1$", re.DOTALL | re.MULTILINE)
_FINDING = re.compile(r"^## .*?\n(.*?)(?=\n\n## |\n\nAnswer the question\.\Z)", re.DOTALL | re.MULTILINE)


@dataclass(frozen=True, kw_only=True)
class WorldSettings:
    """How large the world is, and how slow."""

    sites: int = 1  # ports
    page_seconds: float = 0.0
    search_seconds: float = 0.0
    model_seconds: float = 0.0  # of a call
    page_bytes: int = 4_000


# -- the model --------------------------------------------------------------------------------------------------------


@dataclass
class Rules:
    """Text for messages, by rules. `programs` is the planner's script; without one it asks for N mills and answers."""

    programs: Sequence[str] = ()

    def text(self, messages: Messages) -> str:
        """What the model writes."""
        system, last = messages[0]["content"], messages[-1]["content"]
        if system.startswith("You plan"):
            return self._program(messages)
        if system.startswith("You answer"):
            return "\n\n".join(found[1].strip() for found in _FINDING.finditer(last)) or "There is nothing."
        if '{"queries"' in last:
            return json.dumps({"queries": queries_of(_current(last))})
        if '{"selected"' in last:
            numbers = [int(one[1]) for one in _SOURCE.finditer(last)]
            most = int(re.findall(r"name 1 to (\d+) of", last)[-1])
            return json.dumps({"selected": numbers[:most]})
        facts = (f"{_first_fact(one[2])} [[{one[1]}]]" for one in _SOURCE.finditer(last))
        return " ".join(facts) or "The sources do not hold the answer."

    def _program(self, messages: Messages) -> str:
        asked = max(place for place, one in enumerate(messages) if one["content"].startswith("A new question: "))
        turn = sum(one["role"] == "assistant" for one in messages[asked:])
        question = messages[asked]["content"].removeprefix("A new question: ").partition("\n\n")[0]
        programs = self.programs or plan_of_mills(question)
        return programs[min(turn, len(programs) - 1)]


@dataclass
class Heard(Rules):
    """Rules that keep what they were sent."""

    prompts: list[Messages] = field(default_factory=list)

    def text(self, messages: Messages) -> str:
        """What the model writes."""
        self.prompts.append(messages)
        return super().text(messages)


def plan_of_mills(question: str) -> list[str]:
    """Two programs: a node for each of the N mills that the question names, then the response."""
    found = re.search(r"\d+", question)
    names = range(int(found[0]) if found else 1)
    nodes = (
        f'graph.add_node(node_name="mill {one}", node_content="What is known of mill #{one}?")\n'
        f'graph.add_edge(start_node="root", end_node="mill {one}")\n'
        for one in names
    )
    shown = ", ".join(f'graph.node("mill {one}")' for one in names)
    root = f'graph = WebSearchGraph()\ngraph.add_root_node(node_content="{question}", node_name="root")\n'
    return [program(f"{root}{''.join(nodes)}{shown}"), program('graph.add_response_node(node_name="response")')]


def program(code: str, thought: str = "To be found out.") -> str:
    """A turn of the planner as it is written."""
    return f"{thought}\n```python\n{code}\n```"


def queries_of(question: str) -> list[str]:
    """A query for each part of a mill; the question itself where it names none."""
    found = re.search(r"#\d+", question)
    return [f"mill {found[0]} part {part}" for part in range(PARTS)] if found else [question]


def _current(prompt: str) -> str:
    return prompt.partition("## Current problem\n")[2].partition("\n")[0]


def _first_fact(text: str) -> str:
    found = re.search(r"Mill \d+ was given [^.]*\.", text) or re.search(r"[^\W\d][^.。\n]*[.。]", text)
    return found[0][:LONGEST_FACT] if found else text[:80]


@dataclass
class RulesModel:
    """A `ChatModel` by rules, on this machine; it waits as long as a call takes, and leaves when it is cancelled."""

    rules: Rules = field(default_factory=Rules)
    seconds: float = 0.0
    name: str = "rules"
    context_tokens: int = 100_000
    prompts: list[Messages] = field(default_factory=list)

    def chat(self, messages: Messages, sampling: Sampling = GREEDY, *, cancel: Cancel | None = None) -> str:
        """The whole answer."""
        return "".join(self.stream(messages, sampling, cancel=cancel))

    def stream(
        self,
        messages: Messages,
        sampling: Sampling = GREEDY,  # noqa: ARG002
        *,
        cancel: Cancel | None = None,
    ) -> Iterator[str]:
        """The answer, a word at a time."""
        self.prompts.append(messages)
        until = time.monotonic() + self.seconds
        while (left := until - time.monotonic()) > 0:
            if cancel:
                cancel.check()
            time.sleep(min(left, 0.02))
        for piece in re.findall(r"\s*\S+\s*\Z|\s*\S+", self.rules.text(messages)):
            if cancel:
                cancel.check()
            yield piece

    def parse(
        self, messages: Messages, schema: type[SchemaT], sampling: Sampling = GREEDY, *, cancel: Cancel | None = None
    ) -> SchemaT:
        """The answer as JSON."""
        return schema.model_validate_json(self.chat(messages, sampling, cancel=cancel))

    def score(
        self,
        messages: Messages,  # noqa: ARG002
        continuation: str,  # noqa: ARG002
        *,
        cancel: Cancel | None = None,  # noqa: ARG002
    ) -> list[float]:
        """Rules have no probabilities."""
        raise FovealError("Rules give no probabilities.")

    def chat_many(
        self, conversations: Sequence[Messages], sampling: Sampling = GREEDY, *, cancel: Cancel | None = None
    ) -> list[str]:
        """The answer to each."""
        return [self.chat(one, sampling, cancel=cancel) for one in conversations]

    def count_tokens(self, text: str) -> int:
        """About a token for four characters."""
        return -(-len(text) // 4)


# -- the web ----------------------------------------------------------------------------------------------------------


def facts_of(mill: int, part: int, number: int) -> str:
    """The one sentence that only this page says."""
    return f"Mill {mill} was given its wheel number {part}{number} by the carpenter of Orra in {1600 + mill + number}."


def page_html(mill: int, part: int, number: int, size: int) -> bytes:
    """A page of about `size` bytes: as much script and menu as text, the fact in the middle of the text."""
    menu = "".join(f'<li><a href="/other/{one}">Other page {one}</a></li>' for one in range(size // 400))
    script = f"<script>var data = [{','.join(map(str, range(size // 20)))}];</script>"
    paragraphs = [_paragraph(mill, one) for one in range(max(2, size // 2 // PARAGRAPH))]
    half = "".join(paragraphs[: len(paragraphs) // 2])
    rest = "".join(paragraphs[len(paragraphs) // 2 :])
    title = f"Mill {mill}, part {part}, page {number}"
    body = f"<h1>{title}</h1>{half}<p>{facts_of(mill, part, number)}</p>{rest}"
    return (
        f"<!doctype html><html><head><title>{title}</title>{script}</head><body><nav><ul>{menu}</ul></nav>"
        f"<main><article>{body}</article></main><footer>Mills of Orra</footer></body></html>"
    ).encode()


def _paragraph(mill: int, number: int) -> str:
    """A paragraph of about `PARAGRAPH` characters that says nothing of any use, in other words than the one before."""
    sentences = (
        f"In the year {1500 + 7 * number + line} the river at mill {mill} was {WATERS[(number + line) % len(WATERS)]}, "
        f"and the miller wrote {number * 4 + line + 2} lines on it. "
        for line in range(4)
    )
    return f"<p>{''.join(sentences)}</p>"


def hits_of(query: str, ports: Sequence[int]) -> list[dict[str, Any]]:
    """What the search of the world finds: four pages, for a query that names a mill and a part."""
    found = re.search(r"#(\d+) part (\d+)", query)
    if not found:
        return []
    mill, part = int(found[1]), int(found[2])
    site = f"http://127.0.0.1:{ports[mill % len(ports)]}"
    return [
        {
            "url": f"{site}/page/{mill}/{part}/{number}",
            "title": f"Mill {mill}, part {part}, page {number}",
            "content": f"A page on mill {mill}.",
            "score": 1.0 / (1 + number),
        }
        for number in range(PAGES_OF_PART)
    ]


Answer = tuple[int, str, bytes]


class World:
    """The server; use it as a context."""

    def __init__(
        self,
        settings: WorldSettings = WorldSettings(),
        rules: Rules | None = None,
        *,
        in_process: bool = True,
        pages: Mapping[str, str] | None = None,
        hits: Callable[[str], list[dict[str, Any]]] | None = None,
    ) -> None:
        """`pages` (path -> HTML) and `hits` stand beside, or in the place of, the mills; in a process of its own there
        are only mills.
        """
        self.settings = settings
        self.rules = rules or Rules()
        self.pages = dict(pages or {})
        self.asked: list[str] = []  # paths, in order
        self.open = 0  # requests that wait for their answer
        self._hits = hits
        self._in_process = in_process
        self._ports: list[int] = []
        self._ready = Event()
        self._process: subprocess.Popen[str] | None = None

    @property
    def url(self) -> str:
        """The first site."""
        return f"http://127.0.0.1:{self._ports[0]}"

    @property
    def chat_url(self) -> str:
        """Of the model."""
        return f"{self.url}/v1"

    def __enter__(self) -> World:
        if self._in_process:
            Thread(target=lambda: asyncio.run(self._serve()), name="world", daemon=True).start()
            self._ready.wait(10)
        else:
            self._spawn()
        if not self._ports:
            raise FovealError("The world of the bench did not start. Run the bench again with -v.")
        return self

    def __exit__(self, *_: object) -> None:
        if self._process:
            self._process.terminate()
            self._process.wait(timeout=10)
        elif self._ports:
            self._loop.call_soon_threadsafe(self._ended.set)

    def _spawn(self) -> None:
        told = json.dumps(asdict(self.settings))
        command = [sys.executable, "-c", f"from foveal.bench.research_world import main; main({told!r})"]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        line = self._process.stdout.readline() if self._process.stdout else ""
        self._ports = json.loads(line or "[]")

    async def _serve(self) -> None:
        self._loop, self._ended = asyncio.get_running_loop(), asyncio.Event()
        servers = [await asyncio.start_server(self._met, "127.0.0.1", 0) for _ in range(self.settings.sites)]
        self._ports = [server.sockets[0].getsockname()[1] for server in servers]
        self._ready.set()
        await self._ended.wait()
        for server in servers:
            server.close()
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()

    async def _met(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            path, body = await _request(reader)
            self.asked.append(path)
            self.open += 1
            try:
                if path.startswith("/v1/chat/completions"):
                    async for piece in self._chat(json.loads(body)):
                        writer.write(piece)
                        await writer.drain()
                else:
                    writer.write(_head(*await self._get(path)))
                    await writer.drain()
            finally:
                self.open -= 1
        except (OSError, EOFError, asyncio.CancelledError):
            pass  # the other side went away, or the world ends
        finally:
            writer.close()

    async def _get(self, target: str) -> Answer:
        parts = urlsplit(target)
        if parts.path == "/search":
            await asyncio.sleep(self.settings.search_seconds)
            query = parse_qs(parts.query).get("q", [""])[0]
            hits = self._hits(query) if self._hits else hits_of(query, self._ports)
            return 200, "application/json", json.dumps({"query": query, "results": hits}).encode()
        if parts.path in self.pages:
            await asyncio.sleep(self.settings.page_seconds)
            return 200, "text/html; charset=utf-8", self.pages[parts.path].encode()
        if found := re.fullmatch(r"/page/(\d+)/(\d+)/(\d+)", parts.path):
            await asyncio.sleep(self.settings.page_seconds)
            mill, part, number = map(int, found.groups())
            return 200, "text/html; charset=utf-8", page_html(mill, part, number, self.settings.page_bytes)
        return 404, "text/plain", b"not here"

    async def _chat(self, asked: Mapping[str, Any]) -> AsyncIterator[bytes]:
        """An answer as OpenAI's servers stream it."""
        await asyncio.sleep(self.settings.model_seconds)
        yield b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"
        text = self.rules.text(asked["messages"])
        for start in range(0, len(text), PIECE):
            yield _chunk({"content": text[start : start + PIECE]}, None)
        yield _chunk({}, "stop")
        yield b"data: [DONE]\n\n"


async def _request(reader: asyncio.StreamReader) -> tuple[str, bytes]:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    length = re.search(r"^content-length:\s*(\d+)", head, re.IGNORECASE | re.MULTILINE)
    body = await reader.readexactly(int(length[1])) if length else b""
    return head.split(" ", 2)[1], body


def _head(status: int, media_type: str, body: bytes) -> bytes:
    head = (f"HTTP/1.1 {status} OK", f"Content-Type: {media_type}", f"Content-Length: {len(body)}", "Connection: close")
    return "\r\n".join([*head, "", ""]).encode() + body


def _chunk(delta: Mapping[str, str], finish: str | None) -> bytes:
    row = {
        "id": "1",
        "object": "chat.completion.chunk",
        "created": 0,
        "model": "rules",
        "choices": [{"index": 0, "delta": delta, "finish_reason": finish}],
    }
    return b"data: " + json.dumps(row).encode() + b"\n\n"


def main(settings: str) -> None:
    """Serve a world until the process is ended; its ports are the first line that is printed."""
    world = World(WorldSettings(**json.loads(settings)))

    def tell() -> None:
        world._ready.wait()
        sys.stdout.write(json.dumps(world._ports) + "\n")
        sys.stdout.flush()

    Thread(target=tell, daemon=True).start()
    asyncio.run(world._serve())
