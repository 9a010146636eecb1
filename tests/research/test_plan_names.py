"""A plan that no model writes: the question, then the names that its best hits hold."""

from __future__ import annotations

import pytest
from worlds import Facts, model_of

from foveal.errors import InputError
from foveal.models.local_chat import LocalChat
from foveal.research.deep import settings_of
from foveal.research.graph import ROOT, Graph, Node
from foveal.research.mindsearch import MindSearch, MindSettings
from foveal.research.plan_names import NamesPlanner, names_found
from foveal.research.plans import PastTurn, Turn, extended
from foveal.research.searcher import SearchSettings

QUESTION = "Who taught the architect of the Orra mill?"
HITS = [
    {"title": "Orra mill", "summ": "It grinds rye. Its architect was Petra Lindqvist, taught in Vasa."},
    {"title": "Mills", "summ": "Orra mill, by the architect Olof Brandt's pupil Petra Lindqvist."},
    {"title": "Far away", "summ": "The mill of Tove Jansson."},
]


def graph_of(*nodes):
    graph = Graph()
    graph.add(Node(ROOT, QUESTION, "root", "finished"))
    for node in nodes:
        graph.add(node)
        graph.connect(ROOT, node.name)
    return graph


def planned(graph, number, *, most=5, history=(), planner=None):
    words = []
    turn = Turn(question=QUESTION, graph=graph, past=(PastTurn("", ""),) * (number - 1), number=number, most=most,
                history=history)  # fmt: skip
    return (planner or NamesPlanner()).plan(turn, on_text=words.append), words


def test_names_come_from_the_sentences_that_fit_and_the_question_has_none_of_them():
    hits = [(one["title"], one["summ"]) for one in HITS]
    assert names_found(QUESTION, hits) == ["Petra Lindqvist", "Vasa", "Olof Brandt"]
    assert names_found(QUESTION, hits, 1) == ["Petra Lindqvist"]
    assert names_found(QUESTION, []) == []
    assert names_found("磨坊的建筑师是谁?", [("磨坊", "建筑师在瓦萨学习。")]) == []


def test_the_question_then_its_names_then_the_answer():
    graph = graph_of()
    first, words = planned(graph, 1)
    assert [(one.name, one.question, one.parents) for one in first.nodes] == [("question", QUESTION, (ROOT,))]
    assert words == [f"Search {QUESTION}"]
    graph = extended(graph, first, most_nodes=9)
    graph.nodes["question"].state, graph.nodes["question"].results = "finished", HITS
    second, _ = planned(graph, 2)
    assert [(one.name, one.question, one.parents) for one in second.nodes] == [
        (f"about {name}", f"{name}: {QUESTION}", ("question",)) for name in ("Petra Lindqvist", "Vasa", "Olof Brandt")
    ]
    third, words = planned(extended(graph, second, most_nodes=9), 3)
    assert third.answer
    assert words == ["Done"]


@pytest.mark.parametrize(("results", "most", "planner"), [([], 5, None), (HITS, 2, None), (HITS, 5, NamesPlanner(0))])
def test_it_answers_where_there_is_no_name_no_turn_or_none_is_wanted(results, most, planner):
    plan, _ = planned(
        graph_of(Node("question", QUESTION, state="finished", results=results)), 2, most=most, planner=planner
    )
    assert plan.answer
    assert not plan.nodes


def test_in_a_talk_it_asks_of_whom_was_spoken():
    history = ({"role": "user", "content": "Where does Selma Ek live?"}, {"role": "assistant", "content": "In Åbo."})
    plan, _ = planned(graph_of(Node("question", QUESTION, state="finished", results=HITS)), 2, history=history)
    assert [one.name for one in plan.nodes] == ["about Selma Ek", "about Petra Lindqvist", "about Vasa"]


def test_a_negative_number_of_names_is_refused():
    with pytest.raises(InputError, match="most = -1"):
        NamesPlanner(-1)


def test_a_run_by_names_needs_no_model_to_plan():
    question = "Who taught the architect of the mill at Orra?"
    source, model = Facts(), model_of()
    settings = MindSettings(front_end="names", search=SearchSettings(plain=True, in_context=True))
    run = MindSearch(model, source, settings=settings).start(question)
    run.result()
    nodes = [node.content for node in run.state.graph.searchers()]
    assert nodes[0] == question
    assert any(one.startswith("Petra Lindqvist: ") for one in nodes)
    assert not any(one[0]["content"].startswith("You plan") for one in model.prompts)
    assert not any("QUERIES" in one[-1]["content"] for one in model.prompts)  # nor to write queries


def test_it_is_what_a_model_on_this_machine_plans_by(tmp_path):
    from tiny import tiny

    search = MindSearch(LocalChat(tiny("qwen", tmp_path)), Facts())
    assert isinstance(search._planner(search.model), NamesPlanner)


def test_so_does_a_servers_small_model():
    model = model_of()
    model.weights = 500_000_000
    search = MindSearch(model, Facts())
    assert isinstance(search._planner(search.model), NamesPlanner)
    assert search.settings.search.plain
    assert settings_of("normal", model).plain
    model.weights = 8_000_000_000
    assert not MindSettings.of(model).search.plain
    assert not settings_of("normal", model).plain
