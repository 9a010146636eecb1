"""Steps of a deep run: done once, whatever kills it; two runs at once do not mix."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from report_worlds import PAGES, QUESTION, Filler, Pages, page

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


def the_same(ledger):
    """A report without its times and its run's name."""
    row = {name: value for name, value in ledger.items() if name not in ("created_at", "key")}
    row["usage"] = {name: value for name, value in row["usage"].items() if name != "seconds"}
    row["sources"] = [{name: value for name, value in one.items() if name != "fetched_at"} for one in row["sources"]]
    return row


def without_times(steps):
    text = json.loads(json.dumps(steps))
    for name, output in text.items():
        if name.startswith("read "):
            output.pop("fetched_at", None)
    return text


@pytest.mark.slow
def test_killed_at_every_kind_of_step_a_run_ends_as_one_that_was_not(tmp_path: Path):
    path = os.pathsep.join([str(Path(__file__).parent), *filter(None, sys.path)])
    done = subprocess.run(
        [sys.executable, str(Path(__file__).parent / "deep_kills.py"), str(tmp_path)],
        env=os.environ | {"PYTHONPATH": path}, capture_output=True, text=True, timeout=240, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    whole, *killed = [json.loads(line) for line in done.stdout.splitlines()]
    assert whole["report"]["conflicts"] or whole["report"]["claims"]
    kinds = {name.partition(" ")[0] for name in whole["steps"]}
    assert kinds == set(KINDS) - {"experiment"}
    assert whole["memory"]
    for one in killed:
        assert one["memory"] == whole["memory"], one["place"]
        assert one["killed"] == 9, one["place"]
        assert one["gone_on"] == 0, one["place"]
        assert the_same(one["report"]) == the_same(whole["report"]), one["place"]
        assert without_times(one["steps"]) == without_times(whole["steps"]), one["place"]
        assert one["events"] == list(range(1, len(one["events"]) + 1))
    last = killed[-1]
    assert last["place"] == ["report", "done"]
    assert last["again"] == {"calls": 0, "queries": [], "reads": []}  # all was paid for
    later = next(one for one in killed if one["place"] == ["write", "begun"])
    assert later["again"]["queries"] == []
    assert 0 < later["again"]["calls"] < whole["again"]["calls"]


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
