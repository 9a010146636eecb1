"""The graph of a run: the question, its sub-questions, and which of them needs the answer of which.

An edge (u, v) says that v needs or follows from u. The graph has no cycle at any time: an edge that would close one is
refused, as is one to a node that is not there. `root` is the question, `response` the end; all others are searched.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from foveal.errors import InputError

ROOT, RESPONSE = "root", "response"
Kind = Literal["root", "searcher", "end"]
STATES = ("waiting", "running", "finished", "failed", "cancelled", "stale")
"""`stale`: the answer is older than a change of the question, or of one that it builds on."""

OVER = frozenset(("finished", "failed", "cancelled"))
"""States after which what builds on a node may begin."""


@dataclass
class Node:
    """One question, and what was found for it. All values are plain, so that they can be sent and stored."""

    name: str
    content: str
    kind: Kind = "searcher"
    state: str = "waiting"
    queries: list[str] = field(default_factory=list)
    results: list[dict[str, Any]] = field(default_factory=list)  # index, url, title, summ
    selected: list[int] = field(default_factory=list)
    pages: list[dict[str, Any]] = field(default_factory=list)  # as the event node.page tells of them
    answer: str = ""  # its citations numbered as in the whole run
    draft: str = ""  # what was written so far, numbered as in `results`
    error: str = ""
    broken: bool = False  # whether it failed because a search or the model did: it may be found once these are back
    unsearched: dict[str, str] = field(default_factory=dict)  # sources that did not answer, and why; others did
    bad_citations: int = 0
    quotes: dict[str, list[dict[str, Any]]] = field(default_factory=dict)  # by number: citations.References.quotes
    reused: str = ""  # the question of an earlier run whose answer this is
    started: float | None = None  # seconds since the epoch
    ended: float | None = None


class Graph:
    """Nodes by name, in the order in which they were added, and edges."""

    def __init__(self) -> None:
        self.nodes: dict[str, Node] = {}
        self.edges: dict[tuple[str, str], str] = {}  # (start, end) -> id

    def add(self, node: Node) -> None:
        """InputError: there is a node of that name."""
        if node.name in self.nodes:
            raise InputError(f"There is already a node called {node.name!r}. Give another name.")
        self.nodes[node.name] = node

    def connect(self, start: str, end: str, edge: str = "") -> None:
        """`end` needs `start`. InputError: no such node, or a cycle. An edge that is there stays as it is."""
        for name in (start, end):
            self.get(name)
        if start == end or start in self.descendants(end):
            raise InputError(f"The edge from {start!r} to {end!r} would close a cycle. Leave it out.")
        self.edges.setdefault((start, end), edge)

    def get(self, name: str) -> Node:
        """The node of that name. InputError lists those there are."""
        if name not in self.nodes:
            raise InputError(f"No node is called {name!r}. There are: {', '.join(self.nodes) or 'none yet'}.")
        return self.nodes[name]

    def called(self, name: str) -> str:
        """The node's name as it is written, where `name` differs from just one in case or blanks. InputError: none."""
        if name in self.nodes:
            return name
        alike = [one for one in self.nodes if folded(one) == folded(name)]
        return alike[0] if len(alike) == 1 else self.get(name).name

    def parents(self, name: str) -> list[str]:
        """Nodes that `name` needs, in the order of the edges."""
        return [start for start, end in self.edges if end == name]

    def children(self, name: str) -> list[str]:
        """Nodes that need `name`."""
        return [end for start, end in self.edges if start == name]

    def descendants(self, name: str) -> set[str]:
        """All nodes that need `name`, be it through others."""
        found, left = set[str](), [name]
        while left:
            for child in self.children(left.pop()):
                if child not in found:
                    found.add(child)
                    left.append(child)
        return found

    def searchers(self) -> list[Node]:
        """The nodes that are searched, parents before children."""
        return [self.nodes[name] for name in self.order() if self.nodes[name].kind == "searcher"]

    def order(self) -> list[str]:
        """All names, by levels (the longest path that leads there), so parents before children; in a level as added."""
        done: dict[str, None] = {}
        left = list(self.nodes)
        while left:
            ready = [name for name in left if all(parent in done for parent in self.parents(name))]
            if not ready:  # cannot be, as no edge closes a cycle; and must not hang
                break
            done.update(dict.fromkeys(ready))
            left = [name for name in left if name not in done]
        return list(done)

    def depths(self) -> dict[str, int]:
        """Name -> edges of the longest path that leads to it: its column in a drawing."""
        depths: dict[str, int] = {}
        for name in self.order():
            depths[name] = max((depths[parent] + 1 for parent in self.parents(name)), default=0)
        return depths

    def copy(self) -> Graph:
        """A graph of its own; what the nodes' lists hold is shared, for nobody changes it."""
        new = Graph()
        new.edges = dict(self.edges)
        for name, node in self.nodes.items():
            lists: dict[str, Any] = {
                key: list(getattr(node, key)) for key in ("queries", "results", "selected", "pages")
            }
            new.nodes[name] = replace(node, **lists)
        return new


def folded(name: str) -> str:
    """A name without case, blanks and underscores."""
    return "".join(name.casefold().replace("_", " ").split())


def same_question(one: str, other: str) -> bool:
    """Whether two questions differ only in case, blanks and the marks around them."""
    return _plain(one) == _plain(other)


def _plain(question: str) -> str:
    return " ".join(question.casefold().split()).strip(" .?!¿¡？。！")


def listed(names: Iterable[str]) -> str:
    """Names for a message."""
    return ", ".join(map(repr, names)) or "none"
