"""What tests of the Research pages share: a site over a few facts, a scripted model, and one that can be held."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from html import unescape
from pathlib import Path
from threading import Event
from typing import Any

from fastapi import FastAPI
from reading_site import OwnModels, made_app

from foveal.bench.research_world import Rules, RulesModel, program
from foveal.models.chat import GREEDY, Cancel, Messages, Sampling
from foveal.types import Document

QUESTION = "Who taught the architect of the mill at Orra?"
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
        'graph.add_node(node_name="born", node_content="When was Petra Lindqvist born?")\n'
        'graph.add_edge(start_node="root", end_node="born")\n'
        'graph.add_node(node_name="teacher", node_content="Who taught Petra Lindqvist?")\n'
        'graph.add_edge(start_node="architect", end_node="teacher")\n'
        'graph.node("architect"), graph.node("teacher"), graph.node("born")'
    ),
    program('graph.add_response_node(node_name="response")'),
)


@dataclass
class Held(RulesModel):
    """A model by rules that waits before each answer to messages that hold `at`, until it is let go."""

    at: str = "\0"
    go: Event = field(default_factory=Event)
    began: Event = field(default_factory=Event)

    def stream(self, messages: Messages, sampling: Sampling = GREEDY, *, cancel: Cancel | None = None) -> Iterator[str]:
        """The answer; Cancelled within a hundredth of a second."""
        if any(self.at in one["content"] for one in messages):
            self.began.set()
            while not self.go.wait(0.01):
                if cancel:
                    cancel.check()
        yield from super().stream(messages, sampling, cancel=cancel)


def research_app(
    home: Path, model: Any = None, facts: dict[str, str] | None = None, programs: Sequence[str] = TWO_HOPS, **site: Any
) -> FastAPI:
    """The app over a library of facts."""
    app = made_app(home, OwnModels(model or RulesModel(Rules(programs))), **site)
    documents = (
        Document.of(f"https://facts.example/{name}", text, name, url=f"https://facts.example/{name}")
        for name, text in (FACTS if facts is None else facts).items()
    )
    app.state.site.library.add_documents(list(documents))
    return app


def ended(client: Any, key: str, seconds: float = 60.0) -> str:
    """The page of a run, once the run is over."""
    until = time.monotonic() + seconds
    while True:
        page = client.get(f"/research/{key}").text
        if "sse-connect" not in page:
            return str(page)
        assert time.monotonic() < until, page
        time.sleep(0.05)


def key_of(answer: Any) -> str:
    """The run that a form began."""
    found = re.search(r"/research/([0-9a-f]{32})", answer.headers.get("location", "") or str(answer.url))
    assert found, answer.text
    return found[1]


def words_of(page: str) -> str:
    """What of a page, or of a part of it, is read."""
    return " ".join(unescape(re.sub(r"<[^>]*>", " ", page.split("<main", 1)[-1].split("</main>")[0])).split())


def sent(text: str) -> list[tuple[int, str, str]]:
    """The events of a stream: (id, event, data)."""
    found = []
    for block in text.split("\n\n"):
        fields: dict[str, list[str]] = {}
        for line in block.splitlines():
            name, _, value = line.partition(":")
            fields.setdefault(name, []).append(value.removeprefix(" "))
        if "id" in fields:
            found.append((int(fields["id"][0]), fields["event"][0], "\n".join(fields.get("data", []))))
    return found
