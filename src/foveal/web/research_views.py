"""What the pages of a run show of its events: answers with numbers that open, the graph in words, a node.

Numbers    each [[n]] of a text becomes a button that opens its source: title, host, the sentence that bears out what
           stands before the number, and its place. Numbers side by side are one button
Safety     what models and pages wrote is Markdown without HTML, links and pictures; the only links are the sources',
           to http and https, or to places of the library
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

from markupsafe import Markup

from foveal.research.answers import STOPPED, UNREAD
from foveal.research.citations import MARK, cited, fitting, said_before, said_by
from foveal.research.graph import RESPONSE, ROOT, Graph, Node
from foveal.research.markdown import number_of
from foveal.research.mermaid import tree_children
from foveal.research.state import RunState
from foveal.web.answers import one_line
from foveal.web.document_text import place_address

if TYPE_CHECKING:
    from markdown_it import MarkdownIt

STATES = {
    "waiting": "waits",
    "running": "is being searched",
    "finished": "answered",
    "failed": "not found",
    "cancelled": "not searched",
    "stale": "to be searched anew",
}
"""A node's state, for people."""

ENDED = {
    "": "Answered",
    "budget": "Stopped: the budget is spent",
    "cancelled": "Cancelled",
    "asked": "Answered before all was searched, as you asked",
    "turns": "Stopped: the planner had no more turns",
    "model": "Stopped: the model could not be reached any more",
    "error": "Broken off by an error",
    "waits": "Waits for you",
}
"""How a run ended, for people; the keys are those of `answers.STOPPED`."""

NOTHING = {"": "Nothing was found", "asked": "Nothing was found before you asked for an answer"}
"""In their places where no searcher found anything."""

assert ENDED.keys() - {""} == STOPPED.keys()

LONGEST_QUOTE = 600
_HELD = re.compile("\ue000(\\d+)\ue001")
_NOT_OURS = dict.fromkeys((0xE000, 0xE001))
_RUN = re.compile(rf"{MARK.pattern}(?:[ \t]*{MARK.pattern})*")

Known = Callable[[Sequence[str]], Mapping[str, str]]
"""Ids of documents -> their revisions, for those that the site's library holds."""


@dataclass(frozen=True, slots=True)
class Source:
    """A numbered source, as a list or a pop-up shows it."""

    number: int
    title: str
    address: str  # "" where it has none that may be followed
    host: str
    quote: str
    where: str
    ours: bool  # whether the address is a page of this site


@dataclass(frozen=True)
class Written:
    """A text with its numbers: HTML, and the sources of each of its buttons."""

    html: Markup
    popups: tuple[tuple[str, tuple[Source, ...]], ...]  # (id, sources)


@dataclass(frozen=True)
class Branch:
    """A node of the outline, with those that hang below it."""

    number: int
    node: Node
    said: str
    below: tuple[Branch, ...] = ()


@dataclass(frozen=True)
class Panel:
    """All that is known of one node."""

    number: int
    node: Node
    said: str
    parents: tuple[tuple[str, str], ...]  # (name, question) of what it builds on
    read: Mapping[int, Mapping[str, Any]]  # index of a result -> the event of its page
    answer: Written
    quotes: tuple[Source, ...]
    plan: tuple[tuple[str, str], ...] = ()  # of the question: what the planner wrote, what it was told


@dataclass
class Views:
    """Texts and nodes of one site's runs, for its templates."""

    known: Known = field(default=lambda _: {})

    def sources(
        self, state: RunState, numbers: Sequence[int] | None = None, said: Callable[[int], str] = lambda _: ""
    ) -> list[Source]:
        """The sources of a run, or those of some numbers, each with its quote that fits best what is `said` by it."""
        wanted = sorted(state.refs) if numbers is None else [number for number in numbers if number in state.refs]
        return self._opened([(number, fitting(said(number), state.quotes(number))) for number in wanted])

    def written(self, text: str, state: RunState, prefix: str) -> Written:
        """A text as HTML; ids of its pop-ups begin with `prefix`."""
        groups: dict[tuple[tuple[int, str], ...], tuple[tuple[int, Mapping[str, Any]], ...]] = {}

        def held(found: re.Match[str]) -> str:
            numbers = dict.fromkeys(number for number in cited(found[0]) if number in state.refs)
            if not numbers:
                return ""
            said = said_before(found.string, found.start())
            chosen = tuple((number, fitting(said, state.quotes(number))) for number in numbers)
            key = tuple((number, str(place["span"])) for number, place in chosen)
            groups.setdefault(key, chosen)
            return f"\ue000{list(groups).index(key)}\ue001"

        marked = _RUN.sub(held, text.translate(_NOT_OURS))
        opened = iter(self._opened([one for group in groups.values() for one in group]))
        popups: list[tuple[str, tuple[Source, ...]]] = []
        for group in groups.values():
            own = tuple(next(opened) for _ in group)
            name = f"{prefix}-{'-'.join(str(one.number) for one in own)}"
            again = sum([one.number for one in others] == [one.number for one in own] for _, others in popups)
            popups.append((f"{name}_{again + 1}" if again else name, own))
        rendered = _markdown().render(marked)
        html = _HELD.sub(lambda found: str(_button(*popups[int(found[1])])), rendered)
        return Written(Markup(html), tuple(popups))  # Markdown without HTML, and our own buttons

    def _opened(self, places: Sequence[tuple[int, Mapping[str, Any]]]) -> list[Source]:
        """Numbers and quotes as sources; the library is asked once for all of them."""
        held = self.known([place["span"]["document_id"] for _, place in places])
        return [_source(number, place, held) for number, place in places]

    def panel(self, state: RunState, name: str) -> Panel | None:
        """A node; None: there is none of that name."""
        node = state.graph.nodes.get(name)
        if node is None:
            return None
        parents = tuple((one, state.graph.nodes[one].content) for one in state.graph.parents(name) if one != ROOT)
        shown = node.answer or MARK.sub("", node.draft)
        return Panel(
            number=list(state.graph.nodes).index(name),
            node=node,
            said=said_of(node),
            parents=parents if node.kind == "searcher" else (),
            read={page["index"]: page for page in node.pages},
            answer=self.written(shown, state, "p"),
            quotes=tuple(self.sources(state, cited(node.answer), lambda number: said_by(node.answer, number))),
            plan=tuple((turn.source, turn.observation) for turn in state.turns) if node.kind == "root" else (),
        )


def outline(graph: Graph) -> tuple[Branch, ...]:
    """The graph as nested lists: each node once, below the deepest of those that it needs."""
    numbers = {name: number for number, name in enumerate(graph.nodes)}

    def branch(name: str) -> Branch:
        node = graph.nodes[name]
        below = tuple(branch(child) for child in tree_children(graph, name) if child != RESPONSE)
        return Branch(numbers[name], node, said_of(node), below)

    return tuple(branch(name) for name in graph.nodes if not graph.parents(name) and name != RESPONSE)


def flat(branches: Sequence[Branch]) -> Iterator[Branch]:
    """All branches, each before those below it."""
    for one in branches:
        yield one
        yield from flat(one.below)


def said_of(node: Node) -> str:
    """How far a node is, in words."""
    if node.kind == "root":
        return "the question"
    if node.kind == "end":
        return "the answer"
    if node.state == "running" and node.selected:
        read = sum("error" not in page for page in node.pages)
        return f"reading, {read} of {len(node.selected)} pages"
    if node.state == "cancelled" and node.answer:
        return "cut short"
    return STATES[node.state]


def counted(state: RunState) -> str:
    """What a run has done, in one line."""
    nodes = state.graph.searchers()
    answered = sum(bool(node.answer) for node in nodes)
    parts = [f"{answered} of {number_of(len(nodes), 'sub-question')} answered"] if nodes else []
    used = state.usage
    if used:
        parts += [number_of(used.get("pages", 0), "page"), f"{used.get('tokens', 0):,} tokens"]
        parts.append(f"{used.get('seconds', 0.0):.0f} s")
    return " · ".join(parts)


def _source(number: int, ref: Mapping[str, Any], held: Mapping[str, str]) -> Source:
    span, url, text = ref["span"], str(ref["url"]), one_line(str(ref["quote"]), LONGEST_QUOTE)
    unread = bool(ref.get("unread"))
    ours = span["document_id"] in held and not unread
    parts = urlsplit(url) if _is_web(url) else None
    if unread:
        address = url if parts else ""  # its words may not stand in the page
    elif ours:
        address = place_address(span["document_id"], span["start"], span["end"], ref["revision"] or None)
    else:
        address = f"{url}{'' if parts and parts.fragment else _fragment(text)}" if parts else ""
    host = "this library" if ours else (parts.hostname or "" if parts else url.partition(":")[0])
    where = UNREAD if unread else f"characters {span['start'] + 1:,} to {span['end']:,}"
    return Source(number, one_line(str(ref["title"]) or url, 200), address, host, text, where, ours)


def _fragment(text: str) -> str:
    """What makes a browser show the sentence in its page."""
    words = text.rstrip("…").split()
    start, end = " ".join(words[:6]), " ".join(words[-4:])
    parts = [start, end] if len(words) > 12 else [" ".join(words)]
    return f"#:~:text={','.join(quote(one, safe='').replace('-', '%2D') for one in parts)}" if words else ""


def _is_web(url: str) -> bool:
    return url.lower().startswith(("http://", "https://")) and not re.search(r"[\s\"'<>]", url)


def _button(popup: str, sources: Sequence[Source]) -> Markup:
    numbers = ", ".join(str(one.number) for one in sources)
    name = "; ".join(one.title for one in sources)
    word = "Source" if len(sources) == 1 else "Sources"
    return Markup('<button type="button" class="cite" popovertarget="{}" aria-label="{} {}: {}">{}</button>').format(
        popup, word, numbers, name, numbers
    )


@cache
def _markdown() -> MarkdownIt:
    from markdown_it import MarkdownIt

    return MarkdownIt("commonmark", {"html": False}).disable(["image", "link", "autolink", "reference"])
