"""Steps of a deep run: done once, whatever kills it; two runs at once do not mix."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from report_worlds import PAGES, QUESTION, Filler, Pages, page

from foveal.bench.report_kills import PLACES, compared, told_of_runs, two_rows, without_times
from foveal.errors import InputError
from foveal.research.board import Board
from foveal.research.deep import DeepResearch
from foveal.research.events import EventLog
from foveal.research.report import Report
from foveal.research.state import RunState
from foveal.research.steps import KINDS, Steps, used_by


def test_a_step_gives_what_it_gave_and_asks_nobody_again():
    board, model, done = Board(EventLog()), Filler(), []

    def work(chat):
        done.append(chat.chat([{"role": "user", "content": "Passage: The mill grinds. It is old."}]))
        return {"said": done[-1], "pair": (1, 2)}

    steps = Steps(board, model)
    first = steps.once("reflect", "a", work)
    assert first == {"said": "The mill grinds.", "pair": [1, 2]}  # as it comes back from the disk
    again = Steps(Board(EventLog(board.log.so_far())), model)
    assert again.once("reflect", "a", work) == first
    assert len(done) == len(model.calls) == 1
    assert again.once("reflect", "b", lambda _: None) is None
    used = used_by(board)
    assert used.pop("seconds") >= 0
    assert used == {"tokens": 10, "calls": 1, "pages": 0, "searches": 0, "steps": 1}


def test_seconds_in_which_several_steps_went_on_count_once():
    moments = iter((100.0, 100.0, 110.0, 112.0, 130.0))
    log = EventLog(clock=lambda: next(moments))
    for key, seconds in (("a", 0.0), ("b", 10.0), ("c", 10.0), ("d", 12.0), ("e", 3.0)):  # 90-100, 100-112, 127-130
        log.append("step", step="read", key=key, output={}, tokens=0, calls=0, seconds=seconds)
    assert used_by(Board(log))["seconds"] == 10 + 12 + 3


def test_a_step_that_breaks_leaves_nothing_and_a_kind_or_value_that_is_none_is_refused():
    board = Board(EventLog())
    steps = Steps(board, Filler())
    with pytest.raises(ZeroDivisionError):
        steps.once("read", "a", lambda _: 1 / 0)
    assert not steps.is_done("read", "a")
    with pytest.raises(InputError, match="clarify, plan, search"):
        steps.once("dream", "a", lambda _: 1)
    with pytest.raises(InputError, match="JSON does not hold"):
        steps.once("read", "a", lambda _: {1, 2})


@pytest.mark.slow
def test_killed_at_every_kind_of_step_a_run_ends_as_one_that_was_not(tmp_path: Path):
    whole, *killed = told_of_runs(tmp_path)
    assert whole["report"]["conflicts"] or whole["report"]["claims"]
    kinds = {name.partition(" ")[0] for name in whole["steps"]}
    assert kinds == set(KINDS) == {kind for kind, _ in PLACES} - {"report"}
    assert whole["report"]["experiment"]["output"] == "52 paddles\n"
    assert whole["memory"]
    rows = list(compared(whole, killed))
    assert [one for one in rows if not one.ok] == []
    assert len(killed) == len(PLACES)
    for part, changed, metric in (
        ("report", {"title": "another"}, "the same report"),
        ("steps", {"read x": {}}, "the same steps"),
        ("memory", {"search 1": {}}, "the same memory"),
    ):
        other = killed[0] | {part: killed[0][part] | changed}
        fell = [one.metric for one in compared(whole, [other, *killed[1:]]) if not one.ok]
        assert fell == [metric]
    paid = killed[-1] | {"again": {"calls": 1, "queries": [], "reads": [], "experiments": 0}}
    assert [one.system for one in compared(whole, [*killed[:-1], paid]) if not one.ok] == ["killed behind its report"]
    place = PLACES.index(("experiment", "done"))
    ran = killed[place] | {"again": killed[place]["again"] | {"experiments": 1}}
    others = [*killed[:place], ran, *killed[place + 1 :]]
    assert [one.system for one in compared(whole, others) if not one.ok] == ["killed behind its experiment"]
    lived = killed[0] | {"killed": 0}
    assert "were killed" in next(one.metric for one in compared(whole, [lived, *killed[1:]]) if not one.ok)


def test_the_row_of_two_runs_at_once_holds():
    assert [one.ok for one in two_rows()] == [True]


def the_same(ledger):
    """A report without its times and its run's name."""
    return without_times(ledger | {"key": ""})


def test_two_runs_at_once_do_not_mix():
    other = page("Fallow mill", "The Fallow mill grinds rye. Karin Ek designed the Fallow mill in 1903.")
    source = Pages((*PAGES, other))
    research = DeepResearch(Filler(), source)
    questions = [QUESTION, "What does the Fallow mill grind and who designed the Fallow mill?"]
    alone = [research.report(one) for one in questions]
    runs = [research.start(one) for one in questions * 3]
    for run, lone in zip(runs, alone * 3, strict=True):
        assert the_same(run.result().ledger()) == the_same(lone.ledger())
        state = RunState.of(run.log.so_far())
        assert Report.of_ledger(json.loads(json.dumps(state.report))) == run.result()
        assert set(state.evidence) == {one.key for one in run.result().evidence}
