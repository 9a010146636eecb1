"""Sources and planners for tests of research: small, honest, and recorded."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from foveal.bench.research_world import Rules, RulesModel, program
from foveal.errors import FetchFailed
from foveal.models.chat import Cancel
from foveal.research.sources import Found
from foveal.types import Document

FACTS = {
    "architect": "Petra Lindqvist designed the mill at Orra.",
    "teacher": "Petra Lindqvist was taught by Olof Brandt in Vasa.",
    "born": "Petra Lindqvist was born in 1871.",
}
TWO_HOPS = (
    program(
        'graph = WebSearchGraph()\ngraph.add_root_node(node_content="Who taught the architect?", node_name="root")\n'
        'graph.add_node(node_name="architect", node_content="Who designed the mill at Orra?")\n'
        'graph.add_edge(start_node="root", end_node="architect")\n'
        'graph.add_node(node_name="teacher", node_content="Who taught that architect?")\n'
        'graph.add_edge(start_node="architect", end_node="teacher")\n'
        'graph.node("architect"), graph.node("teacher")'
    ),
    program('graph.add_response_node(node_name="response")'),
)


@dataclass
class Facts:
    """A Source of a few pages, found by the words that they share with the query; calls take `seconds`."""

    pages: dict[str, str] = field(default_factory=lambda: dict(FACTS))
    seconds: float = 0.0
    broken: Callable[[str], bool] = lambda _: False
    name: str = "facts"
    queries: list[str] = field(default_factory=list)
    read_urls: list[str] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def search(self, query: str, k: int, *, cancel: Cancel | None = None) -> list[Found]:
        with self._lock:
            self.queries.append(query)
        if self.broken(query):
            raise FetchFailed("The search is down.")
        self._wait(cancel)
        wanted = _words(query)
        scored = [(len(wanted & _words(text)), name) for name, text in self.pages.items()]
        best = sorted((one for one in scored if one[0]), key=lambda one: (-one[0], one[1]))[:k]
        return [
            Found(url=f"https://facts.example/{name}", title=name, snippet=self.pages[name][:200]) for _, name in best
        ]

    def read(self, found: Found, *, cancel: Cancel | None = None) -> Document:
        with self._lock:
            self.read_urls.append(found.url)
        self._wait(cancel)
        text = self.pages[found.url.rpartition("/")[2]]
        return Document.of(found.url, text, found.title, url=found.url)

    def _wait(self, cancel: Cancel | None) -> None:
        until = time.monotonic() + self.seconds
        while time.monotonic() < until:
            if cancel:
                cancel.check()
            time.sleep(0.01)


def _words(text: str) -> set[str]:
    return {word.strip(".,?!").lower() for word in text.split()} - {"the", "at", "who", "was", "in", "by", "that"}


def model_of(programs: Sequence[str] = TWO_HOPS, seconds: float = 0.0) -> RulesModel:
    """A model that plays the planner by a script."""
    return RulesModel(Rules(programs), seconds)


def nodes_program(count: int, *, chain: bool = False) -> str:
    """A program of `count` nodes, side by side or one after the other."""
    lines = ['graph = WebSearchGraph()\ngraph.add_root_node(node_content="q", node_name="root")']
    for one in range(count):
        parent = f"n{one - 1}" if chain and one else "root"
        lines.append(f'graph.add_node(node_name="n{one}", node_content="Petra question {one}?")')
        lines.append(f'graph.add_edge(start_node="{parent}", end_node="n{one}")')
    lines.append(", ".join(f'graph.node("n{one}")' for one in range(count)))
    return program("\n".join(lines))


RESPOND = program('graph.add_response_node(node_name="response")')
