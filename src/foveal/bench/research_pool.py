"""The reference's design of a search, beside ours in bench research-protocol: pools of threads, pages cut at the head.

MindSearch's own code (over lagent) has at most 10 searchers at a time in a pool of threads, and each of them a pool of
its own for queries and pages; of a page it keeps the words between the tags, menus too, up to 8,192 characters. It is
written anew from that: the reference itself executes what the model writes.

    found = pooled(world, nodes=25, pages=12)        # seconds, pages read, and the pages whose one fact an answer holds
"""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from foveal.bench.research_world import World
from foveal.models.chat import Sampling
from foveal.models.openai_chat import OpenAIChat
from foveal.research.board import today
from foveal.research.graph import ROOT, Graph, Node
from foveal.research.plan_code import CodePlanner
from foveal.research.plans import PastTurn, Turn
from foveal.research.prompts import Problem, Shown, answer_messages, query_messages, select_messages, writer_messages
from foveal.research.searcher import Queries, Selected
from foveal.types import Passage, Span

SEARCHERS, REQUESTS = 10, 12
CUT = 8192
"""Characters of a page."""

SAMPLING = Sampling(max_tokens=8192)
_FACT = re.compile(r"Mill \d+ was given its wheel number \d+ by the carpenter of Orra in \d+")


@dataclass(frozen=True)
class Pooled:
    """How long it took, and what came of it."""

    seconds: float
    pages: int
    facts: int


def facts_in(answers: Sequence[str]) -> int:
    """How many of the world's facts stand in answers."""
    return len({found for answer in answers for found in _FACT.findall(answer)})


def pooled(world: World, *, nodes: int, pages: int) -> Pooled:
    """Plan, search and answer by that design; `pages` are read of a node."""
    import httpx  # noqa: F401  (before there are threads: two that import one module at once may both fail)

    model = OpenAIChat("rules", world.chat_url, context_tokens=100_000)
    question, graph = f"What is known of {nodes} mills?", Graph()
    graph.add(Node(ROOT, question, "root"))
    begun = time.monotonic()
    planner = CodePlanner(model)
    plan = planner.plan(Turn(question=question, graph=graph), on_text=_unheard)
    with ThreadPoolExecutor(SEARCHERS) as pool:
        found = list(pool.map(lambda one: _searched(world, model, question, one.question, pages), plan.nodes))
    for one, (answer, _) in zip(plan.nodes, found, strict=True):
        graph.add(Node(one.name, one.question, answer=answer))
    told = "\n\n".join(f"## {node.content}\n{node.answer}" for node in graph.searchers())
    planner.plan(Turn(question=question, graph=graph, past=(PastTurn(plan.source, told),), number=2), on_text=_unheard)
    model.chat(writer_messages(question, graph, model, today=today(), room=1024), SAMPLING)
    seconds = time.monotonic() - begun
    return Pooled(seconds, sum(read for _, read in found), facts_in([answer for answer, _ in found]))


def _searched(world: World, model: OpenAIChat, root: str, question: str, most: int) -> tuple[str, int]:
    """The answer of one searcher, and how many pages it read."""
    problem = Problem(root=root, question=question, today=today())
    with ThreadPoolExecutor(REQUESTS) as pool:
        queries = model.parse(query_messages(problem, 3), Queries).queries
        hits = {hit["url"]: hit for some in pool.map(lambda one: _hits(world, one), queries) for hit in some}
        results = [
            {"index": place, "url": one["url"], "title": one["title"], "summ": one["content"]}
            for place, one in enumerate(hits.values())
        ]
        chosen = model.parse(select_messages(problem, results, most), Selected).selected
        texts = list(pool.map(lambda place: _read(results[place]["url"]), chosen))
    shown: list[Shown] = [
        (place, results[place]["url"], results[place]["title"], [Passage(Span("", 0, len(text)), text)])
        for place, text in zip(chosen, texts, strict=True)
    ]
    return model.chat(answer_messages(problem, shown), SAMPLING), len(texts)


def _hits(world: World, query: str) -> list[dict[str, Any]]:
    import httpx

    found: list[dict[str, Any]] = httpx.get(f"{world.url}/search", params={"q": query}, timeout=60).json()["results"]
    return found


def _read(url: str) -> str:
    import httpx
    from lxml import html

    tree = html.fromstring(httpx.get(url, timeout=60).content)
    for one in tree.xpath("//script | //style"):
        one.drop_tree()
    return " ".join(tree.text_content().split())[:CUT]


def _unheard(_: str) -> None:
    """Nobody watches."""
