"""The picture of a graph: boxes that do not overlap, lines from left to right, fewer crossings, text that fits."""

from __future__ import annotations

import re
from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from foveal.research.graph import RESPONSE, ROOT, Graph, Node
from foveal.web.research_graph import HEIGHT, LINE, LINES, WIDTH, crossings, drawn, wrapped


def graph_of(*edges: tuple[str, str], response: bool = True) -> Graph:
    graph = Graph()
    for name in dict.fromkeys([ROOT, *(one for edge in edges for one in edge)]):
        graph.add(Node(name, f"What of {name}?", "root" if name == ROOT else "searcher"))
    for start, end in edges:
        graph.connect(start, end)
    if response:
        leaves = [name for name in graph.nodes if not graph.children(name)]
        graph.add(Node(RESPONSE, "q", "end"))
        for name in leaves:
            graph.connect(name, RESPONSE)
    return graph


@st.composite
def graphs(draw: st.DrawFn) -> Graph:
    """Any graph that a run can have: each node needs some of those before it."""
    names = [f"n{number}" for number in range(draw(st.integers(0, 9)))]
    edges = []
    for place, name in enumerate(names):
        parents = draw(st.sets(st.sampled_from([ROOT, *names[:place]]), min_size=1, max_size=3))
        edges += [(parent, name) for parent in sorted(parents)]
    return graph_of(*edges, response=draw(st.booleans()))


@given(graphs())
def test_boxes_keep_apart_and_lines_lead_from_left_to_right(graph: Graph) -> None:
    drawing = drawn(graph)
    boxes = {box.name: box for box in drawing.boxes}
    assert list(boxes) == list(graph.nodes)
    assert [box.number for box in drawing.boxes] == list(range(len(graph.nodes)))
    for one, other in combinations(drawing.boxes, 2):
        assert abs(one.x - other.x) >= WIDTH or abs(one.y - other.y) >= HEIGHT
    for box in drawing.boxes:
        assert 0 <= box.x <= drawing.width - WIDTH
        assert 0 <= box.y <= drawing.height - HEIGHT
    for (start, end), line in zip(graph.edges, drawing.lines, strict=True):
        places = [float(one) for one in re.findall(r"-?[\d.]+", line.path)]
        assert places[:2] == [boxes[start].x + WIDTH, boxes[start].y + HEIGHT / 2]
        assert places[-2:] == [boxes[end].x, boxes[end].y + HEIGHT / 2]
        assert boxes[start].x < boxes[end].x


def test_a_picture_of_five_columns_is_seen_whole_and_one_of_six_is_scrolled() -> None:
    hops = [(ROOT, "a"), ("a", "b"), ("b", "c"), ("c", "d")]
    assert [drawn(graph_of(*hops[:many])).fits for many in (0, 3, 4)] == [True, True, False]


@given(graphs())
def test_a_line_runs_through_no_box(graph: Graph) -> None:
    drawing = drawn(graph)
    for line in drawing.lines:  # over a column it runs straight, from a place of its own: `C… x y H x`
        for x, y, end in re.findall(r" (-?[\d.]+) (-?[\d.]+)H(-?[\d.]+)", line.path):
            for box in drawing.boxes:
                assert not (box.x < float(end) and float(x) < box.x + WIDTH and box.y < float(y) < box.y + HEIGHT)


def test_rows_are_ordered_so_that_fewer_lines_cross() -> None:
    graph = graph_of((ROOT, "a"), (ROOT, "b"), (ROOT, "c"), ("a", "z"), ("b", "y"), ("c", "x"), response=False)
    rows = {box.name: box.y for box in drawn(graph).boxes}
    assert (rows["a"] < rows["b"]) == (rows["z"] < rows["y"])
    tangled = graph_of((ROOT, "a"), (ROOT, "b"), ("b", "x"), ("a", "y"), response=False)
    rows = {box.name: box.y for box in drawn(tangled).boxes}
    assert (rows["a"] < rows["b"]) == (rows["y"] < rows["x"])


def test_crossings_by_their_definition() -> None:
    a, b, x, y = (("a", "", 0), ("b", "", 0), ("x", "", 0), ("y", "", 0))
    after = {a: [y], b: [x]}
    assert crossings([[a, b], [x, y]], lambda item: after.get(item, ())) == 1
    assert crossings([[b, a], [x, y]], lambda item: after.get(item, ())) == 0


def test_the_answer_stands_behind_all() -> None:
    graph = graph_of((ROOT, "a"), ("a", "b"), ("b", "c"), (ROOT, "short"))
    boxes = {box.name: box for box in drawn(graph, selected="b").boxes}
    assert boxes[RESPONSE].x > max(box.x for name, box in boxes.items() if name != RESPONSE)
    assert boxes[RESPONSE].title == "Answer"
    assert [name for name, box in boxes.items() if box.selected] == ["b"]
    empty = drawn(Graph())
    assert (empty.boxes, empty.lines) == ((), ())


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("Who taught him?", ("Who taught him?",)),
        ("Who designed the old mill at Orra?", ("Who designed the old", "mill at Orra?")),
        ("x" * 30, ("x" * 21, "x" * 9)),
        ("", ()),
        ("磨坊" * 5 + "在哪里", ("磨坊" * 5, "在哪里")),
    ],
)
def test_text_is_wrapped(text: str, lines: tuple[str, ...]) -> None:
    assert wrapped(text) == lines


@given(st.text(max_size=120))
def test_text_fits_whatever_it_is(text: str) -> None:
    lines = wrapped(text)
    assert len(lines) <= LINES
    for line in lines:
        assert line.strip()
        assert len(line) <= LINE


def test_a_word_without_end_is_cut():
    assert wrapped("a" * 500_000) == wrapped("a" * 500)
