"""A sub-question of a report's graph, as the page shows it: its queries, its pages, what it is worth to a tree."""

from __future__ import annotations

import re
from typing import Any

import pytest
from report_worlds import QUESTION, Filler, Pages

from foveal.research.deep import DeepResearch
from foveal.research.events import Event
from foveal.research.state import RunState
from foveal.web.pages import environment
from foveal.web.research_views import Views


def panel(state: RunState, name: str) -> str:
    known: dict[str, Any] = {"panel": Views().panel(state, name), "state": state, "live": False, "mine": False}
    template = environment.get_template("research/_panel.html")
    return " ".join(template.render(known | {"writable": False, "view": None, "node_query": str}).split())


@pytest.mark.parametrize("told", [True, False])
def test_a_node_of_a_report_shows_its_pages(told: bool) -> None:
    run = DeepResearch(Filler(), Pages()).start(QUESTION, mode="quick")
    run.result()
    events = run.log.so_far()
    if not told:  # as runs were kept before they told of it
        events = [
            Event(one.id, one.kind, {name: value for name, value in one.data.items() if name != "characters"}, one.at)
            for one in events
        ]
    shown = panel(RunState.of(events), "search 1")
    assert "Orra mill" in shown
    assert bool(re.search(r"· read, \d+ characters", shown)) is told
    assert "· read" in shown


def test_a_branch_of_a_tree_shows_what_it_is_worth() -> None:
    run = DeepResearch(Filler(), Pages()).start(QUESTION, mode="quick", planner="tree")
    run.result()
    worth = run.state.values["search 1"]
    told = f"value {worth['value']:.2f} after {worth['visits']} visit"
    assert told in panel(run.state, "search 1")
    assert "value" not in panel(run.state, "root")
