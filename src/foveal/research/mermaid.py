"""The graph of a run as text: Mermaid, Graphviz DOT, and an outline for readers of the screen and of the terminal."""

from __future__ import annotations

from collections.abc import Callable

from foveal.research.graph import Graph, Node

_STYLES = {
    "waiting": "stroke-dasharray: 4",
    "running": "stroke-width:3px",
    "finished": "stroke-width:2px",
    "failed": "stroke:#b3261e",
    "cancelled": "stroke:#888888",
    "stale": "stroke:#8a6d00,stroke-dasharray: 4",
}


def to_mermaid(graph: Graph) -> str:
    """A flowchart from left to right; names of the graph never become syntax."""
    ids = {name: f"n{place}" for place, name in enumerate(graph.nodes)}
    lines = ["flowchart LR"]
    lines += [f'    {ids[name]}["{_entities(_label(node))}"]:::{node.state}' for name, node in graph.nodes.items()]
    lines += [f"    {ids[start]} --> {ids[end]}" for start, end in graph.edges]
    lines += [f"    classDef {state} {style}" for state, style in _STYLES.items()]
    return "\n".join(lines) + "\n"


def to_dot(graph: Graph) -> str:
    """A digraph for Graphviz."""
    ids = {name: f"n{place}" for place, name in enumerate(graph.nodes)}
    lines = ["digraph research {", "  rankdir=LR;", "  node [shape=box];"]
    lines += [f'  {ids[name]} [label="{_escaped(_label(node))}"];' for name, node in graph.nodes.items()]
    lines += [f"  {ids[start]} -> {ids[end]};" for start, end in graph.edges]
    return "\n".join([*lines, "}"]) + "\n"


def outline(graph: Graph, line: Callable[[Node], str] | None = None) -> str:
    """The graph as nested lines, each node once, below the last of its parents to come."""
    shown = line or (lambda node: f"{_label(node)} ({node.state})")
    rows: list[str] = []

    def add(name: str, depth: int) -> None:
        rows.append(f"{'  ' * depth}- {shown(graph.nodes[name])}")
        for child in tree_children(graph, name):
            add(child, depth + 1)

    for name in graph.nodes:
        if not graph.parents(name):
            add(name, 0)
    return "\n".join(rows)


def tree_children(graph: Graph, name: str) -> list[str]:
    """The children of a node in the graph drawn as a tree: a child hangs below the deepest of its parents."""
    depths = graph.depths()

    def above(child: str) -> str:
        parents = graph.parents(child)
        return max(parents, key=lambda parent: (depths[parent], -parents.index(parent)))

    return [child for child in dict.fromkeys(graph.children(name)) if above(child) == name]


def _label(node: Node) -> str:
    return node.name if node.kind == "end" else " ".join(node.content.split())


def _entities(text: str) -> str:
    """A label whose marks Mermaid cannot take for its own."""
    return "".join(one if one.isalnum() or one in " ,.-?'" else f"#{ord(one)};" for one in text)


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"')
