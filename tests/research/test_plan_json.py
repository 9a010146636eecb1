"""Plans as JSON: the grammar lets no edge lead to nowhere; a model of random weights cannot break a run."""

from __future__ import annotations

import json
from datetime import date

import pytest
from pydantic import ValidationError
from worlds import Facts

from foveal.bench.research_world import Rules, RulesModel, World, WorldSettings
from foveal.models.chat import Sampling
from foveal.models.grammar import checked_schema
from foveal.models.openai_chat import OpenAIChat
from foveal.research.graph import Graph, Node
from foveal.research.mindsearch import MindSearch, MindSettings
from foveal.research.plan_json import plan_from, step_schema
from foveal.research.plans import Refused
from foveal.research.prompts import Problem, answer_messages, query_messages, select_messages
from foveal.research.run import RunLimits
from foveal.research.searcher import Queries, SearchSettings, Selected
from foveal.types import Passage, Span

STEPS = (
    {
        "thought": "a",
        "entities": [],
        "action": "search",
        "nodes": [{"name": "architect", "question": "Who designed the mill at Orra?", "parents": ["root"]}],
    },
    {
        "thought": "b",
        "entities": ["Petra Lindqvist"],
        "action": "search",
        "nodes": [{"name": "teacher", "question": "Who taught Petra Lindqvist?", "parents": ["architect"]}],
    },
    {"thought": "c", "entities": [], "action": "answer", "nodes": []},
)


def graph_of(*names: str) -> Graph:
    graph = Graph()
    graph.add(Node("root", "q", "root"))
    for name in names:
        graph.add(Node(name, f"question {name}"))
    return graph


def test_the_forms_are_bounded_so_that_a_grammar_ends():
    for schema in (step_schema(graph_of()), step_schema(graph_of("a b", 'c"')), Queries, Selected):
        checked_schema(schema)


def test_a_parent_is_a_node_there_is_and_nothing_searched_means_no_answer():
    empty, one = step_schema(graph_of()), step_schema(graph_of("a"))
    with pytest.raises(ValidationError):
        empty.model_validate(STEPS[2])
    one.model_validate(STEPS[2])
    with pytest.raises(ValidationError, match="parents"):
        one.model_validate(STEPS[1])


@pytest.mark.parametrize("changed", [{"action": "answer"}, {"nodes": []}])
def test_a_step_that_contradicts_itself_is_refused(changed):
    with pytest.raises(Refused):
        plan_from(step_schema(graph_of("architect")).model_validate(STEPS[1] | changed), graph_of("architect"))


def test_nodes_that_are_called_alike_get_numbers():
    step = STEPS[0] | {"nodes": [{"name": "A", "question": f"q{one}", "parents": ["root"]} for one in range(2)]}
    plan = plan_from(step_schema(graph_of("a")).model_validate(step), graph_of("a"))
    assert [one.name for one in plan.nodes] == ["A 2", "A 3"]


def test_a_run_in_json():
    model = RulesModel(Rules([json.dumps(one) for one in STEPS]))
    answer = MindSearch(model, Facts(), settings=MindSettings(front_end="json")).ask("Who taught the architect?")
    assert "Olof Brandt" in answer.text
    assert answer.graph.parents("teacher") == ["architect"]


def test_a_local_model_of_random_weights_ends_with_a_graph_and_no_invented_source(tmp_path):
    from tiny import tiny

    from foveal.models.local_chat import LocalChat

    chat = LocalChat(tiny("qwen", tmp_path, positions=16_384))
    search = SearchSettings(page_tokens=64, answer_tokens=16, max_turns=1, max_queries=1)
    limits = RunLimits(max_turns=1, answer_tokens=16)
    run = MindSearch(chat, Facts(), settings=MindSettings(search=search, limits=limits)).start("Who taught Petra?")
    answer = run.result()
    assert answer.graph.searchers()
    assert len(answer.graph.order()) == len(answer.graph.nodes)
    assert set(answer.numbers) <= set(run.state.refs)
    assert all(one.url in {f"https://facts.example/{name}" for name in Facts().pages} for one in answer.citations)


def test_the_prompts_of_all_searchers_begin_alike_so_that_a_local_model_reads_that_once(tmp_path):
    from tiny import tiny

    from foveal.models.decoding import CHUNK, shared_chunks
    from foveal.models.local_chat import LocalChat

    model = tiny("qwen", tmp_path, merges=140)
    today = date(2026, 1, 31)
    one, other = (Problem(root="Who taught her?", question=question, today=today) for question in ("Who?", "When?"))
    tasks = [
        query_messages(one, 3),
        select_messages(other, [], 4),
        answer_messages(other, [(0, "u", "t", [Passage(Span("d", 0, 4), "text")])]),
    ]
    prompts = [model.encode(model.render(messages)) for messages in tasks]
    system = len(model.encode(tasks[0][0]["content"]))
    for prompt in prompts[1:]:
        assert shared_chunks(prompts[0], prompt, CHUNK["cpu"]) >= min(256, system // 256 * 256) >= 256
    chat = LocalChat(model)
    chat.chat(tasks[0], Sampling(max_tokens=1))
    held = list(chat._spare.chunks)
    assert shared_chunks(held, prompts[2], CHUNK["cpu"]) >= 256  # what the next call does not read again


@pytest.mark.parametrize("kind", ["fenced", "mended", "never"])
def test_a_run_in_json_over_a_connection_and_answers_that_are_no_json(kind):
    written = [json.dumps(one) for one in STEPS]
    steps = {
        "fenced": [f"```json\n{one}\n```" for one in written],
        "mended": ["no json at all", *written],  # asked once more within the turn
        "never": ["no json at all"],
    }[kind]
    with World(WorldSettings(), Rules(steps)) as world:
        model = OpenAIChat("rules", world.chat_url, context_tokens=32_000)
        run = MindSearch(model, Facts(), settings=MindSettings(front_end="json")).start("Who taught Petra Lindqvist?")
        answer = run.result()
    assert "Olof Brandt" in answer.text
    refused = [event.data["refused"] for event in run.log.so_far() if event.kind == "plan.observation"]
    expected = {"fenced": [False, False], "mended": [False, True, False], "never": [True, True, True, False]}
    assert refused == expected[kind]  # "mended": the script then writes its first step once more
    assert [node.name for node in answer.graph.searchers()] == (
        ["question"] if kind == "never" else ["architect", "teacher"]
    )
