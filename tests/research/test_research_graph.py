"""The graph: acyclic at all times, mended names, order; plans that are taken whole or not at all."""

from __future__ import annotations

import networkx as nx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from foveal.errors import InputError
from foveal.research.graph import RESPONSE, ROOT, Graph, Node
from foveal.research.mermaid import outline, to_dot, to_mermaid, tree_children
from foveal.research.plans import NewNode, Plan, extended


def graph_of(*names: str) -> Graph:
    graph = Graph()
    graph.add(Node(ROOT, "the question", "root"))
    for name in names:
        graph.add(Node(name, f"question {name}"))
    return graph


@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), max_size=40))
def test_edges_are_refused_exactly_where_they_would_close_a_cycle(pairs):
    names = [ROOT, *"abcdef"]
    graph, plain = graph_of(*"abcdef"), nx.DiGraph()
    plain.add_nodes_from(names)
    for start, end in pairs:
        tried = plain.copy()
        tried.add_edge(names[start], names[end])
        if nx.is_directed_acyclic_graph(tried):
            graph.connect(names[start], names[end])
            plain = tried
        else:
            with pytest.raises(InputError, match="cycle"):
                graph.connect(names[start], names[end])
    assert set(graph.edges) == set(plain.edges)
    place = {name: number for number, name in enumerate(graph.order())}
    assert all(place[start] < place[end] for start, end in graph.edges)
    assert {name: graph.descendants(name) for name in names} == {name: nx.descendants(plain, name) for name in names}
    longest = {
        name: max((len(path) - 1 for other in names for path in nx.all_simple_paths(plain, other, name)), default=0)
        for name in names
    }
    assert graph.depths() == longest


def test_the_order_goes_by_levels_and_in_a_level_by_when_names_were_added():
    graph = graph_of("a", "b", "c")
    graph.connect("c", "a")
    assert graph.order() == [ROOT, "b", "c", "a"]


def test_a_name_is_mended_where_only_one_is_alike():
    graph = graph_of("First Step", "other")
    assert graph.called("first_step") == "First Step"
    with pytest.raises(InputError, match="There are: root, First Step, other"):
        graph.called("third")
    graph.add(Node("FIRST STEP", "again"))
    with pytest.raises(InputError, match="No node"):
        graph.called("first step")


def test_a_plan_is_taken_whole_or_not_at_all():
    graph = graph_of("a")
    plan = Plan(nodes=(NewNode("b", "new"), NewNode("c", "newer")), edges=(("b", "c"), ("c", "b")))
    with pytest.raises(InputError, match="cycle"):
        extended(graph, plan, most_nodes=9)
    assert list(graph.nodes) == [ROOT, "a"]


def test_an_edge_that_leads_to_the_question_is_left_out():
    plan = Plan(nodes=(NewNode("a", "x"), NewNode("b", "y", ("a",))), edges=(("a", "root"), ("b", "Root")))
    graph = extended(graph_of(), plan, most_nodes=9)
    assert set(graph.edges) == {("root", "a"), ("a", "b")}


def test_nodes_without_parents_hang_on_the_question_and_a_response_takes_no_edges():
    plan = Plan(nodes=(NewNode("b", "new"), NewNode("c", "newer", ("B",))), edges=(("c", "response"),))
    graph = extended(graph_of("a"), plan, most_nodes=9)
    assert set(graph.edges) == {(ROOT, "b"), ("b", "c")}
    assert RESPONSE not in graph.nodes


@pytest.mark.parametrize(
    ("nodes", "match"),
    [
        ((NewNode("b", "QUESTION  a."),), "asks what 'a' asks"),
        ((NewNode("Root", "x"),), "kept for the root"),
        ((NewNode("b", "  "),), "1 to 1000"),
        ((NewNode("", "x"),), "name"),
        ((NewNode("b" * 81, "x"),), "name"),
        ((NewNode("a", "something else"),), "already a node"),
        (tuple(NewNode(f"n{one}", f"x{one}") for one in range(9)), "may hold 9"),
        ((NewNode("b", "x", ("nobody",)),), "No node is called 'nobody'"),
    ],
)
def test_plans_that_are_refused(nodes, match):
    with pytest.raises(InputError, match=match):
        extended(graph_of("a"), Plan(nodes=nodes), most_nodes=9)


def test_a_program_that_is_written_again_as_a_whole_changes_nothing():
    graph = graph_of("a")
    assert list(extended(graph, Plan(nodes=(NewNode("a", "question a"),)), most_nodes=9).nodes) == list(graph.nodes)


def test_reset_leaves_the_question():
    assert list(extended(graph_of("a"), Plan(reset=True, nodes=(NewNode("b", "x"),)), most_nodes=9).nodes) == [
        ROOT,
        "b",
    ]


def test_drawings_hold_every_node_once_and_no_syntax_of_a_name():
    graph = graph_of("a", "b", "c")
    graph.nodes["b"].content = 'quote " and ]--> n9;\nend'
    for start, end in ((ROOT, "a"), (ROOT, "b"), ("a", "c"), ("b", "c")):
        graph.connect(start, end)
    assert tree_children(graph, ROOT) == ["a", "b"]
    assert tree_children(graph, "a") == ["c"]
    assert tree_children(graph, "b") == []
    assert outline(graph).count("question c") == 1
    mermaid = to_mermaid(graph)
    assert mermaid.count("-->") == 4
    assert "n9" not in mermaid.replace("n9#59;", "")
    assert to_dot(graph).count("->") == 4 + 1  # the name's own arrow stands in quotes


def test_a_copy_has_its_edges_and_changes_alone():
    graph = graph_of("a", "b")
    graph.add(Node(RESPONSE, "", "end"))
    graph.connect(ROOT, "a", "first")
    copy = graph.copy()
    assert (copy.edges, list(copy.nodes)) == (graph.edges, list(graph.nodes))
    copy.connect("a", "b")
    copy.get("a").queries.append("asked")
    assert (list(graph.edges), graph.get("a").queries) == ([(ROOT, "a")], [])
    assert sorted(node.name for node in graph.searchers()) == ["a", "b"]  # neither the question nor the answer


def test_an_edge_needs_both_its_nodes():
    graph = graph_of("a")
    for start, end in (("a", "x"), ("x", "a")):
        with pytest.raises(InputError, match="No node is called 'x'"):
            graph.connect(start, end)
    assert graph.edges == {}
