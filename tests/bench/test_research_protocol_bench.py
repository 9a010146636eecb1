"""`foveal bench research-protocol`: its exact rows hold, over a server that plays the model, and can fail."""

from __future__ import annotations

from dataclasses import replace

import pytest

from foveal.bench.research_pool import facts_in, pooled
from foveal.bench.research_protocol import (
    HOSTILE,
    PAGES_OF_NODE,
    TWO_AT_ONCE,
    TWO_HOPS,
    Shelf,
    _acyclic,
    _appended,
    _cancelled_searches,
    _heard_by_one_who_breaks_off,
    _quoted,
    _refused,
    _sent,
    _timed,
    exact_rows,
    played,
)
from foveal.bench.research_world import World, WorldSettings, facts_of, program
from foveal.research.mindsearch import MindSearch


@pytest.fixture(scope="module")
def run():
    with played(TWO_HOPS) as (model, prompts):
        made = MindSearch(model, Shelf()).start("Who taught the architect?")
        made.result()
    made.prompts = prompts
    return made


def test_every_exact_row_holds():
    rows = list(exact_rows())
    assert [(row.system, row.metric, row.note) for row in rows if not row.ok] == []
    notes = {row.system: row.note for row in rows}
    assert notes["hostile programs"] == f"{len(HOSTILE)} of {len(HOSTILE)}"
    assert notes["two programs in a turn"] == "1 of 1"


def test_what_is_cancelled_asks_nothing_more():
    rows = {row.metric: row for row in _cancelled_searches()}  # how long it took is for the bench to tell
    assert rows["asked after it"].ok


def test_the_rows_see_what_must_not_be(run):
    events = run.log.so_far()
    assert _sent(run.prompts, "Answer: Petra Lindqvist designed")
    assert not _sent(run.prompts, "Answer: nobody")
    assert not _sent([], "Answer: Petra Lindqvist designed")
    assert all(_appended(events))
    moved = [
        replace(one, data={"added": {str(int(key) + 1): ref for key, ref in one.data["added"].items()}})
        if one.kind == "refs"
        else one
        for one in events
    ]
    assert not all(_appended(moved))
    assert all(_acyclic(events))
    assert all(_quoted(run.result()))
    assert not all(_quoted(replace(run.result(), text="Nobody [[9]].")))
    assert not _refused(program('graph.add_node("a", "Who designed the mill?")\ngraph.node("a")'))
    assert _refused(TWO_AT_ONCE)
    assert _heard_by_one_who_breaks_off(run) == [one.id for one in events]


@pytest.mark.parametrize(("size", "told"), [(4_000, 24), (40_000, 0)], ids=["short pages", "long pages"])
def test_the_reference_s_design_reads_all_and_loses_what_stands_behind_its_cut(size, told):
    with World(WorldSettings(page_bytes=size)) as world:
        found = pooled(world, nodes=2, pages=12)
    assert (found.pages, found.facts) == (24, told)
    assert facts_in([facts_of(1, 0, 2), facts_of(1, 0, 2), facts_of(1, 0, 3), "Mill 1 was given nothing."]) == 2


@pytest.mark.slow
def test_ours_tells_the_fact_of_each_page():
    with World(WorldSettings(page_bytes=40_000)) as world:
        assert _timed(world, 1, parallel=4)[1] == PAGES_OF_NODE
