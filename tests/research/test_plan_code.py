"""Programs of a planner are read and never run; whatever is not a call of the graph is refused."""

from __future__ import annotations

import pytest
from worlds import TWO_HOPS

from foveal.bench.research_world import program
from foveal.research.plan_code import _IMPORT, METHODS, plan_of, programs_in
from foveal.research.plans import Refused


def test_the_papers_program_is_read():
    plan = plan_of(TWO_HOPS[0])
    assert [(one.name, one.question) for one in plan.nodes] == [
        ("architect", "Who designed the mill at Orra?"),
        ("teacher", "Who taught that architect?"),
    ]
    assert plan.edges == (("root", "architect"), ("architect", "teacher"))
    assert plan.asked == ("architect", "teacher")
    assert plan.thought == "To be found out."
    assert not plan.answer
    assert plan_of(TWO_HOPS[1]).answer


@pytest.mark.parametrize(
    "written",
    [
        "thought\n```python\ngraph.node('a')\n```\nmore",
        "<|action_start|><|interpreter|>```python\ngraph.node('a')\n```<|action_end|>",
        "<|action_start|><|interpreter|>graph.node('a')",
        "I look at `graph.node('a')` now",
        "graph.node('a')",
        "```\nfrom mindsearch.graph import WebSearchGraph\ngraph = WebSearchGraph()\ngraph.node('a')\n```",
        "```python\ng = WebSearchGraph()\ng.node('a'),\n```",
        "```python\r\ngraph.node('a')\r\n```",
        "thought\n   ```python\n   graph.node('a')\n   ```",
        "thought, then it stops\n```python\ngraph.node('a')",
        "graph.node('a')\n```\n",
        "<|action_start|><|interpreter|>\n```python\ngraph.node('a')",
    ],
)
def test_delimiters(written):
    assert plan_of(written).asked == ("a",)


def test_without_a_program_the_text_is_the_answer():
    assert plan_of("Two and two is four.").text == "Two and two is four."
    with pytest.raises(Refused, match="nothing in it"):
        plan_of(" \n")
    assert programs_in("The graph shows growth.") == ("The graph shows growth.", [])


@pytest.mark.parametrize(
    "code",
    [
        "import os\nos.system('touch owned')",
        "__import__('os').system('touch owned')",
        "graph.add_node(node_name=(lambda: 'a')(), node_content='x')",
        "graph.add_node(node_name='a', node_content=open('owned', 'w').name)",
        "graph.add_node(node_name='a', node_content=f'{1}')",
        "graph.add_node(node_name='a', node_content='x' + 'y')",
        "graph.add_node(node_name='a', node_content=b'x')",
        "graph.add_node(node_name='a', node_content=7)",
        "graph.add_node(*['a', 'x'])",
        "graph.add_node(**{'node_name': 'a', 'node_content': 'x'})",
        "graph.add_node('a', 'x', 'y')",
        "graph.add_node(node_name='a', nodeName='b', node_content='x')",
        "graph.add_node(node_name='a')",
        "graph.add_node(node_name='a', colour='red', node_content='x')",
        "graph.__class__",
        "graph.__class__()",
        "graph.nodes.clear()",
        "graph.drop('a')",
        "other.node('a')",
        "graph = 5",
        "graph = WebSearchGraph(1)",
        "graph.x = WebSearchGraph()",
        "a = b = WebSearchGraph()",
        "for i in range(3):\n    graph.node('a')",
        "def f():\n    pass\ngraph.node('a')",
        "[graph.node('a') for _ in '12']",
        "graph.node('a'), graph.reset()",
        "print(graph.node('a'))",
        "graph.node('a') if 1 else graph.node('b')",
        "(x := graph.node('a'))",
        "graph.node('a'",
        "graph.node('a\0')\0",
        "graph.node(" + "(" * 4000 + "'a'" + ")" * 4000 + ")",
        "graph.node('" + "a" * 30_000 + "')",
    ],
)
def test_hostile_programs_are_refused(code, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(Refused) as refused:
        plan_of(program(code))
    assert refused.value.source
    assert list(tmp_path.iterdir()) == []


def test_two_programs_are_refused():
    with pytest.raises(Refused, match="2 programs"):
        plan_of(program("graph.node('a')") + "\n" + program("graph.node('b')"))


@pytest.mark.parametrize("written", ["start_node='a', endNode='b'", "startNode='a', end_Node='b'", "'a', 'b'"])
def test_arguments_that_are_spelt_otherwise_are_mended(written):
    assert plan_of(program(f"graph.add_edge({written})")).edges == (("a", "b"),)


def test_what_stands_before_a_reset_is_void():
    plan = plan_of(program("graph.add_node('a', 'x')\ngraph.reset()\ngraph.add_node('b', 'y')"))
    assert plan.reset
    assert [one.name for one in plan.nodes] == ["b"]


def test_a_backslash_in_a_text_warns_nobody():
    assert plan_of("```\ngraph.node('a\\d')\n```").asked == ("a\\d",)


def test_there_are_the_calls_of_the_paper():
    assert set(METHODS) == {"add_root_node", "add_node", "add_edge", "add_response_node", "reset", "node"}


def test_blanks_and_lines_without_end_around_a_program():
    assert programs_in(f"```{' ' * 300_000}x")[1] == []
    assert _IMPORT.sub("", "\n" * 300_000 + "import WebSearchGraph\n  from mind.search import WebSearchGraph \n") == (
        "\n" * 300_002
    )
