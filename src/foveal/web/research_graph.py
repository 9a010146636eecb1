"""The graph of a run as a picture: places of boxes and lines, which a template writes as SVG.

    drawing = drawn(graph, selected="founder")        # drawing.boxes, drawing.lines, drawing.width, drawing.height

Columns   the longest way from the question (`Graph.depths`), from left to right; the answer stands behind all
Rows      in each column by the mean place of the neighbours (barycentre), some sweeps there and back; an edge over
          several columns holds a place in each of them, and runs between the boxes (Sugiyama, Tagawa and Toda, 1981)
Text      three lines by the count of characters, wide ones as two: a server has no font to measure with
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from foveal.research.graph import RESPONSE, Graph, Node

WIDTH, HEIGHT, LANE = 204, 66, 16
"""Of a box, and the height of an edge that passes through a column."""

ACROSS, DOWN, MARGIN = 52, 14, 10
FITS = 1300
"""Width up to which a picture is made a little smaller where a screen is: not so much that its text cannot be read."""

SWEEPS = 4
LINE, LINES, LEADING = 21, 3, 16
"""Characters of a line, lines of a box, and from line to line."""

Place = tuple[float, float]
_Item = tuple[str, str, int]  # (name, "", 0), or (start, end, step) of an edge that passes


@dataclass(frozen=True, slots=True)
class Box:
    """A node of the picture; `number` is its place in the graph, which its address and its events name."""

    number: int
    name: str
    kind: str
    state: str
    lines: tuple[str, ...]
    title: str
    x: float
    y: float
    selected: bool
    width: float = WIDTH
    height: float = HEIGHT

    @property
    def middle(self) -> float:
        """Half its height."""
        return self.y + HEIGHT / 2

    @property
    def baseline(self) -> float:
        """Of its first line, so that all stand in the middle."""
        return self.middle + 4.5 - (len(self.lines) - 1) * LEADING / 2


@dataclass(frozen=True, slots=True)
class Line:
    """An edge: a path of SVG, and whether its answer has come."""

    path: str
    state: str


@dataclass(frozen=True)
class Drawing:
    """All that the template draws."""

    width: float
    height: float
    boxes: tuple[Box, ...]
    lines: tuple[Line, ...]

    @property
    def fits(self) -> bool:
        """Whether it may be drawn smaller to be seen whole; a wider one is scrolled."""
        return self.width <= FITS


@dataclass
class _Layers:
    """Items by column, and the neighbours of each in the columns beside it."""

    columns: list[list[_Item]]
    before: dict[_Item, list[_Item]] = field(default_factory=dict)
    after: dict[_Item, list[_Item]] = field(default_factory=dict)


def drawn(graph: Graph, *, selected: str = "") -> Drawing:
    """The picture of a graph; an empty one has no boxes."""
    depths = _depths(graph)
    routes = {edge: _route(edge, depths) for edge in graph.edges}
    layers = _layers(graph, depths, routes)
    _ordered(layers)
    places = _places(layers)
    height = max((y + _height(item) for item, (_, y) in places.items()), default=0.0) + MARGIN
    width = MARGIN + len(layers.columns) * (WIDTH + ACROSS) - ACROSS + MARGIN if layers.columns else 0.0
    boxes = tuple(
        _box(number, node, places[node.name, "", 0], selected) for number, node in enumerate(graph.nodes.values())
    )
    lines = tuple(Line(_path(route, places), graph.nodes[start].state) for (start, _), route in routes.items())
    return Drawing(width, height, boxes, lines)


def crossings(columns: Sequence[Sequence[_Item]], after: Callable[[_Item], Sequence[_Item]]) -> int:
    """How many pairs of edges between neighbouring columns cross."""
    count = 0
    for left, right in pairwise(columns):
        rows = {item: row for row, item in enumerate(right)}
        ends = [(row, rows[end]) for row, start in enumerate(left) for end in after(start) if end in rows]
        count += sum((a - c) * (b - d) < 0 for place, (a, b) in enumerate(ends) for c, d in ends[:place])
    return count


def wrapped(text: str, width: int = LINE, most: int = LINES) -> tuple[str, ...]:
    """A text in at most `most` lines of `width` characters, cut with an ellipsis."""
    lines, line = list[str](), ""
    for word in " ".join(text.split()).split(" "):
        if len(lines) > most:
            break
        while len(lines) <= most and _cells(word) > width:  # one that no line holds
            head = _fitting(word, width - _cells(line) - bool(line))
            if head:
                line, word = f"{line} {head}".strip(), word[len(head) :]
            lines.append(line)
            line = ""
        if line and _cells(f"{line} {word}") > width:
            lines.append(line)
            line = word
        else:
            line = f"{line} {word}".strip()
    lines = [one for one in [*lines, line] if one]
    if len(lines) > most:
        lines = [*lines[: most - 1], f"{_fitting(lines[most - 1], width - 1).rstrip()}…"]
    return tuple(lines)


def _depths(graph: Graph) -> dict[str, int]:
    depths = graph.depths()
    if RESPONSE in depths:
        depths[RESPONSE] = max((depth for name, depth in depths.items() if name != RESPONSE), default=-1) + 1
    return depths


def _route(edge: tuple[str, str], depths: dict[str, int]) -> list[_Item]:
    """The items that an edge leads through, both ends included."""
    start, end = edge
    passed = [(start, end, step) for step in range(1, depths[end] - depths[start])]
    return [(start, "", 0), *passed, (end, "", 0)]


def _layers(graph: Graph, depths: dict[str, int], routes: dict[tuple[str, str], list[_Item]]) -> _Layers:
    layers = _Layers([[] for _ in range(max(depths.values(), default=-1) + 1)])
    for name in graph.nodes:
        layers.columns[depths[name]].append((name, "", 0))
    for (start, _), route in routes.items():
        for step, item in enumerate(route[1:-1], start=1):
            layers.columns[depths[start] + step].append(item)
        for left, right in pairwise(route):
            layers.after.setdefault(left, []).append(right)
            layers.before.setdefault(right, []).append(left)
    return layers


def _ordered(layers: _Layers) -> None:
    """Sort each column by its neighbours, and keep the order with the fewest crossings."""
    best = [list(column) for column in layers.columns]
    fewest = crossings(best, lambda item: layers.after.get(item, ()))
    for sweep in range(SWEEPS):
        forth = sweep % 2 == 0
        near = layers.before if forth else layers.after
        order = range(len(layers.columns)) if forth else reversed(range(len(layers.columns)))
        for number in order:
            beside = number - 1 if forth else number + 1
            if 0 <= beside < len(layers.columns):
                rows = {item: row for row, item in enumerate(layers.columns[beside])}
                layers.columns[number] = _by_neighbours(layers.columns[number], near, rows)
        found = crossings(layers.columns, lambda item: layers.after.get(item, ()))
        if found < fewest:
            fewest, best = found, [list(column) for column in layers.columns]
    layers.columns[:] = best


def _by_neighbours(column: list[_Item], near: dict[_Item, list[_Item]], rows: dict[_Item, int]) -> list[_Item]:
    def mean(place: int) -> float:
        found = [rows[one] for one in near.get(column[place], ()) if one in rows]
        return sum(found) / len(found) if found else float(place)

    return [column[place] for place in sorted(range(len(column)), key=lambda place: (mean(place), place))]


def _places(layers: _Layers) -> dict[_Item, Place]:
    """Upper left corners: columns stand side by side, each in the middle of the height."""
    heights = [sum(_height(item) + DOWN for item in column) - DOWN for column in layers.columns]
    tallest = max(heights, default=0.0)
    places: dict[_Item, Place] = {}
    for number, column in enumerate(layers.columns):
        y = MARGIN + (tallest - heights[number]) / 2
        for item in column:
            places[item] = (MARGIN + number * (WIDTH + ACROSS), round(y, 1))
            y += _height(item) + DOWN
    return places


def _height(item: _Item) -> float:
    return LANE if item[1] else HEIGHT


def _path(route: Sequence[_Item], places: dict[_Item, Place]) -> str:
    """Curves from the right side of a box, along what it passes, to the left side of the last."""
    x, y = places[route[0]]
    x, y = x + WIDTH, y + HEIGHT / 2
    path = f"M{x:g} {y:g}"
    for item in route[1:]:
        left, top = places[item]
        middle = top + _height(item) / 2
        path += f"C{x + ACROSS / 2:g} {y:g} {left - ACROSS / 2:g} {middle:g} {left:g} {middle:g}"
        x, y = left + WIDTH, middle
        path += f"H{x:g}" if item[1] else ""
    return path


def _box(number: int, node: Node, place: Place, selected: str) -> Box:
    title = "Answer" if node.kind == "end" else " ".join(node.content.split())
    x, y = place
    return Box(number, node.name, node.kind, node.state, wrapped(title), title, x, y, node.name == selected)


def _cells(text: str) -> int:
    return sum(2 if unicodedata.east_asian_width(one) in "WF" else 1 for one in text)


def _fitting(text: str, width: int) -> str:
    """The beginning of a text that `width` cells hold."""
    end = 0
    while end < len(text) and _cells(text[: end + 1]) <= width:
        end += 1
    return text[:end]
