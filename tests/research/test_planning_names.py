"""The planner of deep research that asks no model: the question, then the names that it found."""

from __future__ import annotations

import pytest
from report_worlds import PAGES, QUESTION, Filler, Pages

from foveal.research.deep import DeepResearch
from foveal.research.planning import PlanSettings, choose, predicted


@pytest.fixture(scope="module")
def done():
    model, source = Filler(), Pages()
    run = DeepResearch(model, source).start(QUESTION, mode="quick", planner="names")
    run.result()
    return run, model, source


def test_the_question_is_searched_first_then_names_that_it_does_not_have(done):
    run, _, source = done
    first, *names = source.queries
    assert first == QUESTION
    assert names
    assert all(one.endswith(QUESTION) for one in names)  # a search by bare name is left to desks of small models
    held = " ".join(f"{one.title} {one.text}" for one in PAGES)
    for one in names:
        name = one.removesuffix(QUESTION).strip()
        assert name in held
        assert name not in QUESTION
    graph = run.state.graph
    assert [graph.parents(node.name) for node in graph.searchers()[1:]] == [["search 1"]] * len(names)


def test_no_model_is_asked_what_to_search(done):
    _, model, _ = done
    assert not {"Goals", "Queries", "Next"} & set(model.calls)


@pytest.mark.parametrize(("iterations", "searches"), [(1, 1), (3, 3), (6, 4)])
def test_it_makes_no_more_searches_than_it_says(iterations, searches):
    assert predicted("names", PlanSettings(iterations=iterations)) == searches


def test_auto_takes_it_where_a_name_must_be_found_first_and_the_model_is_small():
    nested = "Who is the mother of the director of Iron Sky?"
    assert choose(nested)[0] == "sequential"
    assert choose(nested, plain=True)[0] == "names"
    assert choose("Compare barley, oats and rye on three points", plain=True)[0] == "parallel"
