"""bench research-protocol: MindSearch's promises, without any model's wit in them: order, isolation, numbers, speed.

exact     two hops hand the parent's answer on; no cycle at any event; numbers only grow; hostile programs are refused,
          and two in a turn; a searcher that breaks leaves the others; a client that comes back hears each event once
time      8 nodes of a second, side by side and one after the other; cancelling, and what is still asked after it
speed     300 pages of 50 KB, 0.3 s each, over loopback from a process of its own, 25 nodes, a model of 0.2 s a call:
          beside the same code one after the other (parallelism 1 in searchers, searches and pages), and the reference's
          design (research_pool.py): seconds, and how many of the pages' facts the searchers tell

The model is a few rules (research_world.py) behind a server that answers as OpenAI's do, so that what is measured is
the machinery. The bars are the spec's. The reference's own code is not run: it executes what the model writes.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from foveal.bench.research_pool import CUT, SEARCHERS, facts_in, pooled
from foveal.bench.research_world import Heard, World, WorldSettings, program
from foveal.bench.settings import BenchSettings
from foveal.errors import FovealError
from foveal.evaluation.tables import Row, all_hold
from foveal.models.chat import Cancel, Messages
from foveal.models.openai_chat import OpenAIChat
from foveal.research.answers import Researched
from foveal.research.citations import cited
from foveal.research.events import Event
from foveal.research.mindsearch import MindSearch, MindSettings
from foveal.research.run import Run, RunLimits
from foveal.research.searcher import SearchSettings
from foveal.research.sources import Found
from foveal.research.state import RunState
from foveal.research.web_sources import Pages, SearxngSource, WebSettings
from foveal.text.fetching import FetchSettings
from foveal.types import Document

NODES, QUICK_NODES = 25, 6
PAGES_OF_NODE = 12
HOSTILE = (
    program("import os\nos.system('true')"),
    program("graph.add_node(node_name=(lambda: 'a')(), node_content='x')"),
    program("graph.add_edge(start_node='root', end_node='nobody')"),
    program("graph.add_node('a', 'x')\ngraph.add_node('b', 'y')\ngraph.add_edge('a', 'b')\ngraph.add_edge('b', 'a')"),
    program("graph.add_node(node_name='a', node_content=open('/dev/null').read())"),
    program("graph.__class__.__init__(graph)"),
)
TWO_AT_ONCE = program("graph.add_node('a', 'x')") + "\n" + program("graph.add_node('b', 'y')")
"""Turns of a planner, each of which must be refused and must not end the run."""

TEXTS = {
    "architect": "Petra Lindqvist designed the mill at Orra.",
    "teacher": "Petra Lindqvist was taught by Olof Brandt in Vasa.",
}
TWO_HOPS = (
    program(
        'graph = WebSearchGraph()\ngraph.add_root_node(node_content="Who taught the architect?", node_name="root")\n'
        'graph.add_node("architect", "Who designed the mill at Orra?")\ngraph.add_edge("root", "architect")\n'
        'graph.add_node("teacher", "Who taught that architect?")\ngraph.add_edge("architect", "teacher")\n'
        'graph.node("architect"), graph.node("teacher")'
    ),
    program('graph.add_response_node(node_name="response")'),
)


@dataclass
class Shelf:
    """A `Source` of a few texts, any of which any query finds; a search and a page take `seconds` each."""

    seconds: float = 0.0
    broken: str = ""  # queries that hold this fail
    name: str = "shelf"
    asked: list[str] = field(default_factory=list)

    def search(self, query: str, k: int, *, cancel: Cancel | None = None) -> list[Found]:
        """All texts."""
        self._wait(query, cancel)
        if self.broken and self.broken in query:
            raise FovealError("The shelf fell.")
        return [Found(url=f"https://shelf.example/{name}", title=name, snippet=text) for name, text in TEXTS.items()][
            :k
        ]

    def read(self, found: Found, *, cancel: Cancel | None = None) -> Document:
        """One text."""
        self._wait(found.url, cancel)
        return Document.of(found.url, TEXTS[found.title], found.title, url=found.url)

    def _wait(self, what: str, cancel: Cancel | None) -> None:
        self.asked.append(what)
        until = time.monotonic() + self.seconds
        while time.monotonic() < until:
            if cancel:
                cancel.check()
            time.sleep(0.01)


def protocol(settings: BenchSettings) -> Iterator[Row]:
    """The rows of `foveal bench research-protocol`."""
    yield from exact_rows()
    yield from time_rows()
    yield from speed_rows(settings)


@contextmanager
def played(programs: Sequence[str]) -> Iterator[tuple[OpenAIChat, list[Messages]]]:
    """A server that plays planner and searchers by these programs, and what it is sent."""
    rules = Heard(programs)
    with World(rules=rules) as world:
        yield OpenAIChat("rules", world.chat_url, context_tokens=100_000), rules.prompts


# -- exact ------------------------------------------------------------------------------------------------------------


def exact_rows() -> Iterator[Row]:
    """What must hold of every run."""
    with played(TWO_HOPS) as (model, prompts):
        run = MindSearch(model, Shelf()).start("Who taught the architect?")
        answer, events = run.result(), run.log.so_far()
    yield all_hold(
        "two hops", "child is sent its parent's answer", [_sent(prompts, "Answer: Petra Lindqvist designed")]
    )
    yield all_hold("two hops", "numbers that lead to a quote in what was read", _quoted(answer))
    wide = _run(_nodes_program(8), Shelf())
    yield all_hold("all runs", "events after which the graph has no cycle", _acyclic([*events, *wide.log.so_far()]))
    yield all_hold("all runs", "numbers that were given once and never moved", _appended(wide.log.so_far()))
    yield all_hold("hostile programs", "refused, and the run goes on", [_refused(turn) for turn in HOSTILE])
    yield all_hold("two programs in a turn", "refused, and the run goes on", [_refused(TWO_AT_ONCE)])
    broken = _run(_nodes_program(4), Shelf(broken="part 2?"))
    states = [node.state for node in broken.state.graph.searchers()]
    yield all_hold("a searcher that breaks", "alone", [states == ["finished", "finished", "failed", "finished"]])
    heard = _heard_by_one_who_breaks_off(wide)
    ids = [event.id for event in wide.log.so_far()]
    yield all_hold("a client that comes back", "hears each event once", [heard == ids])


def _run(written: str, source: Shelf, *, parallel: int = 10) -> Run:
    settings = MindSettings(limits=RunLimits(max_parallel=parallel))
    with played([written, TWO_HOPS[1]]) as (model, _):
        run = MindSearch(model, source, settings=settings).start("q")
        run.result()
    return run


def _nodes_program(count: int) -> str:
    lines = ["graph = WebSearchGraph()"]
    for one in range(count):
        lines += [f'graph.add_node("n{one}", "What of part {one}?")', f'graph.add_edge("root", "n{one}")']
    return program("\n".join([*lines, ", ".join(f'graph.node("n{one}")' for one in range(count))]))


def _sent(prompts: Sequence[Messages], wanted: str) -> bool:
    asked = [one[-1]["content"] for one in prompts if "## Current problem\nWho taught" in one[-1]["content"]]
    return bool(asked) and all(wanted in one for one in asked)


def _quoted(answer: Researched) -> list[bool]:
    texts = {f"https://shelf.example/{name}": text for name, text in TEXTS.items()}
    known = [one.quote == texts[one.url or ""][one.span.start : one.span.end] for one in answer.citations]
    return [*known, set(cited(answer.text)) == set(answer.numbers), bool(answer.numbers)]


def _acyclic(events: Sequence[Event]) -> list[bool]:
    """For each event that changes a graph, whether all nodes can be put in an order after it."""
    held, state = [], RunState()
    for event in events:
        state = RunState() if event.id == 1 else state
        state.apply(event)
        if event.kind in ("graph.node", "graph.edge"):
            held.append(len(state.graph.order()) == len(state.graph.nodes))
    return held


def _appended(events: Sequence[Event]) -> list[bool]:
    held: list[bool] = []
    for event in events:
        for number in event.data["added"] if event.kind == "refs" else ():
            held.append(int(number) == len(held) + 1)
    return held


def _refused(turn: str) -> bool:
    with played([turn, *TWO_HOPS]) as (model, _):
        run = MindSearch(model, Shelf()).start("Who taught the architect?")
        answer = run.result()
    first = next(event for event in run.log.so_far() if event.kind == "plan.observation")
    return bool(first.data["refused"]) and "Olof Brandt" in answer.text


def _heard_by_one_who_breaks_off(run: Run) -> list[int]:
    heard: list[int] = []
    last = len(run.log.so_far())
    while not heard or heard[-1] < last:
        for event in run.log.follow(heard[-1] if heard else 0):
            heard.append(event.id)
            if event.id % 13 == 0:
                break
    return heard


# -- time -------------------------------------------------------------------------------------------------------------


def time_rows() -> Iterator[Row]:
    """Side by side, and stopping."""
    for parallel, most, least in ((10, 1.6, None), (1, None, 8.0)):
        source = Shelf(seconds=0.5)  # a search and its pages: a second a node
        begun = time.monotonic()
        _run(_nodes_program(8), source, parallel=parallel)
        seconds = time.monotonic() - begun
        yield Row.of(f"8 nodes of 1 s, {parallel} at a time", "seconds", seconds, at_most=most, at_least=least)
    yield from _cancelled_searches()
    yield from _cancelled_fetches()


def _cancelled_searches() -> Iterator[Row]:
    """Cancel while searches are under way, and count what is asked of the model and the source after it."""
    source = Shelf(seconds=5.0)
    with played([_nodes_program(8), TWO_HOPS[1]]) as (model, prompts):
        run = MindSearch(model, source).start("q")
        while not source.asked:
            time.sleep(0.01)
        begun = time.monotonic()
        run.cancel()
        run.result()
        yield Row.of("cancel while searching", "seconds", time.monotonic() - begun, at_most=1.0)
        time.sleep(0.5)  # what was sent before may be heard of by the server after it
        before = len(prompts) + len(source.asked)
        time.sleep(1.0)
        yield Row.of("cancel while searching", "asked after it", len(prompts) + len(source.asked) - before, at_most=0)


def _cancelled_fetches() -> Iterator[Row]:
    """Cancel while pages and a model's answer are under way over real connections."""
    with World(WorldSettings(page_seconds=30.0)) as world:
        run = _over(world, parallel=4).start("What is known of 2 mills?")
        while not any(path.startswith("/page/") for path in list(world.asked)):
            time.sleep(0.02)
        begun = time.monotonic()
        run.cancel()
        run.result()
        yield Row.of("cancel while fetching", "seconds", time.monotonic() - begun, at_most=1.0)
        time.sleep(max(0.0, 1.0 - (time.monotonic() - begun)))
        left = [one.name for one in threading.enumerate() if one.name.startswith(("foveal-request", "foveal-searcher"))]
        yield Row.of("cancel while fetching", "threads at work a second later", len(left), at_most=0)


# -- speed ------------------------------------------------------------------------------------------------------------


def speed_rows(settings: BenchSettings) -> Iterator[Row]:
    """Pages a second, beside the same code one after the other, and the reference's design."""
    nodes = QUICK_NODES if settings.quick else NODES
    pages = nodes * PAGES_OF_NODE
    slow = WorldSettings(sites=NODES, page_seconds=0.3, model_seconds=0.2, page_bytes=50_000)
    with World(slow, in_process=False) as world:
        _timed(world, 1, parallel=NODES)  # warm: parsers are imported once
        together, told = _timed(world, nodes, parallel=NODES)
        alone, _ = _timed(world, nodes, parallel=1)
        pool = pooled(world, nodes=nodes, pages=PAGES_OF_NODE)
    yield Row.of("pages and nodes", "size", pages, note=f"{nodes} nodes")
    bar = 25.0 if not settings.quick else 12.0
    yield Row.of(
        "side by side", f"seconds for {pages} pages", together, at_most=bar, note=f"{pages / together:.1f} a second"
    )
    yield Row.of("one after the other", f"seconds for {pages} pages", alone, note=f"{pages / alone:.1f} a second")
    least = 8.0 if not settings.quick else 4.0
    yield Row.of("side by side", "times as fast as one after the other", alone / together, at_least=least)
    design = f"the reference's design ({SEARCHERS} searchers in threads, {CUT:,} characters of a page)"
    yield Row.of(design, f"seconds for {pool.pages} pages", pool.seconds, note="no main text is looked for")
    share = "share of the pages' facts that searchers tell"
    yield Row.of(design, share, pool.facts / pages, note="each stands in the middle of its page")
    yield Row.of("side by side", share, told / pages, at_least=1.0)


def _timed(world: World, nodes: int, *, parallel: int) -> tuple[float, int]:
    """Seconds, and the facts that the searchers tell."""
    begun = time.monotonic()
    answer = _over(world, parallel=parallel).ask(f"What is known of {nodes} mills?")
    seconds = time.monotonic() - begun
    wanted = nodes * PAGES_OF_NODE
    if answer.usage["pages"] != wanted or len(answer.citations) != wanted:
        raise FovealError(
            f"The run read {answer.usage['pages']} pages and cited {len(answer.citations)}, not {wanted}: "
            f"{answer.missing or answer.errors}. Run the bench again; if it stays so, report it."
        )
    return seconds, facts_in([node.answer for node in answer.graph.searchers()])


def _over(world: World, *, parallel: int) -> MindSearch:
    """A search of the world, with so many searchers and four times as many requests at a time; 1: one request."""
    fetch = FetchSettings(timeout_s=60.0, max_bytes=2 * 2**20, allow_private=True)
    web = WebSettings(fetch=fetch, search_timeout_s=60.0)
    limits = RunLimits(max_parallel=parallel, max_requests=1 if parallel == 1 else 4 * parallel)
    settings = MindSettings(limits=limits, search=SearchSettings(max_pages=PAGES_OF_NODE, topk=4))
    model = OpenAIChat("rules", world.chat_url, context_tokens=100_000)
    return MindSearch(model, SearxngSource(world.url, Pages(web)), settings=settings)
