"""A planner that learns from its own runs, and its training by name: a small world, and a real model of kilobytes."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from recordings import world
from tiny import tiny

from foveal.errors import InputError
from foveal.research.planner_evolving import EvolvingSettings, drawing, evolve
from foveal.research.planner_reinforcement import METRIC as RECALL
from foveal.research.planner_runs import Stage, Training, joined, train_planner
from foveal.research.planner_settings import PlannerSettings, RewardSettings
from foveal.research.planner_training import METRIC as LIKELIHOOD
from foveal.research.planner_training import Parted, distil, held_out, vocabulary
from foveal.research.recorded_search import RecordedSearch, found_answer, pooled
from foveal.research.trained_planner import PlannerModel
from foveal.research.trajectories import Step
from foveal.research.transcripts import Format, Transcript, TranscriptSettings
from foveal.training.checkpoints import read
from foveal.training.loop import LoopSettings
from foveal.training.runs import RunSettings

SHORT = TranscriptSettings(passages=1, passage_tokens=40, question_tokens=40, query_tokens=16)
SURE = PlannerSettings(
    transcript=SHORT, upper=2, rank=8, alpha=16.0, budget=3, first=1, dev_share=0.2,
    loop=LoopSettings(epochs=60, batch=4, learning_rate=2e-2, seed=0, evaluate_every=30),
)  # fmt: skip
"""Enough for a planner that finds again what it learnt."""

QUICK = replace(SURE, loop=replace(SURE.loop, epochs=2))
OWN = EvolvingSettings(samples=4, temperature=0.2)
NOTHING = EvolvingSettings(samples=1, temperature=50.0)
"""Plans that find nothing."""

BY = RewardSettings(
    questions=2, samples=4, passes=2,
    loop=LoopSettings(steps=4, batch=2, learning_rate=1e-2, evaluate_every=2, checkpoint_every=1),
)  # fmt: skip
FOREIGN = "XQ Archiorra pupil"
"""A query that finds the first run's answer, of which the recorded set lacks some tokens."""


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return tiny("qwen", tmp_path_factory.mktemp("qwen"))


@pytest.fixture(scope="module")
def recorded():
    return world()


@pytest.fixture(scope="module")
def search(recorded):
    return RecordedSearch(recorded)


@pytest.fixture(scope="module")
def sure(model, recorded, search, tmp_path_factory):
    folder = tmp_path_factory.mktemp("sure")
    return distil(model, recorded, recorded.trajectories, SURE, folder=folder / "run", search=search)[0]


# -- its own runs -----------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_run_may_hold_what_the_recorded_ones_lack(model, recorded, search, tmp_path):
    own = replace(recorded.trajectories[0], id="q0@1", steps=(Step(FOREIGN, ()),))
    assert not set(Format(model, SHORT).query(FOREIGN)) <= vocabulary(Format(model, SHORT), recorded)
    runs = (*recorded.trajectories, own)
    _, curves = distil(model, recorded, runs, QUICK, folder=tmp_path / "run", search=search)
    assert curves.steps
    other = replace(own, steps=(Step("Archiorra pupil", ()),))
    with pytest.raises(InputError, match="runs: "):  # the same ids are not the same runs
        distil(model, recorded, (*recorded.trajectories, other), QUICK, folder=tmp_path / "run", search=search)


def test_plans_are_drawn_among_the_tokens_that_were_taught(model, recorded, sure):
    own = replace(recorded.trajectories[0], id="q0@1", steps=(Step(FOREIGN, ()),))
    form, learnt = Format(model, SHORT), (*recorded.trajectories, own)
    known = vocabulary(form, recorded, learnt)
    assert known > vocabulary(form, recorded)
    made = [Transcript(run.question) for run in recorded.trajectories]
    drawn = {}
    for name, writer in (
        ("taught", drawing(model, recorded, sure, learnt, SURE)),
        ("any", PlannerModel(model, SURE, sure).writer),
    ):
        lines = writer.write(made, must_search=True, temperature=3.0, seeds=range(len(made)))
        drawn[name] = {token for one in lines for token in one.ids}
    assert drawn["taught"] <= known
    assert not drawn["any"] <= known


@pytest.mark.slow
def test_a_round_learns_recorded_and_own_runs_and_none_that_is_held_out(model, recorded, search, sure, tmp_path):
    learnt, held = held_out(recorded.trajectories, 0.25)
    by = replace(OWN, rounds=2)
    rounds = evolve(model, search, sure, Parted(learnt, held), SURE, by, folder=tmp_path)
    assert rounds
    for number, one in enumerate(rounds, start=1):
        assert {run.id for run in one.own} <= {f"{run.id}@{number}" for run in learnt}
        for run in one.own:
            queries = [step.query for step in run.steps]
            assert found_answer(recorded, run, pooled(search, run.question, queries, budget=SURE.budget, first=1))
        told = read(tmp_path / f"round-{number}" / "run.json")["runs"].split(",")
        assert [name.split()[0] for name in told] == [run.id for run in (*held, *learnt, *one.own)]
    with pytest.raises(InputError, match="rounds = 0"):
        EvolvingSettings(rounds=0)


@pytest.mark.slow
def test_own_runs_are_drawn_once(model, recorded, search, sure, tmp_path):
    learnt, held = held_out(recorded.trajectories, 0.25)
    notes = []

    def evolved(by, on_progress=lambda _: None):
        def heard(progress):
            notes.append(progress.note or "")
            on_progress(progress)

        notes.clear()
        return evolve(model, search, sure, Parted(learnt, held), QUICK, by, folder=tmp_path, on_progress=heard)

    def planned():
        return any("planning for" in note for note in notes)

    class Killed(Exception):
        pass

    def kill(progress):
        if progress.step == 2:
            raise Killed

    with pytest.raises(Killed):
        evolved(OWN, kill)
    assert planned()
    kept = (tmp_path / "round-1" / "own.json").read_bytes()
    (made,) = evolved(OWN)
    assert not planned()
    assert (tmp_path / "round-1" / "own.json").read_bytes() == kept
    (again,) = evolved(OWN)
    assert not planned()
    assert again.own == made.own
    assert not evolved(NOTHING)
    assert planned()


def test_a_round_that_finds_nothing_is_the_last_and_is_not_planned_again(model, recorded, search, sure, tmp_path):
    learnt, held = held_out(recorded.trajectories, 0.25)
    notes = []
    for planned in (True, False):
        notes.clear()
        assert not evolve(
            model, search, sure, Parted(learnt, held), QUICK, NOTHING, folder=tmp_path,
            on_progress=lambda progress: notes.append(progress.note),
        )  # fmt: skip
        assert bool(notes) == planned


# -- as a run by name -------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_training_by_name_keeps_a_planner_and_its_report(recorded, tmp_path):
    folder = tmp_path / "base"
    tiny("qwen", folder)
    made, report = train_planner(
        recorded, str(folder), SURE, BY, OWN, run=RunSettings(home=tmp_path, name="mills", cache=tmp_path)
    )
    run = tmp_path / "runs" / "train" / "mills"
    assert {"report.json", "curves.png", "rewards.json", "rewards.png"} <= {path.name for path in run.iterdir()}
    assert report.kept == (made is not None)
    assert set(report.measured["held out"][1]) == {"log-likelihood", "recall of held-out questions"}
    assert any("question alone" in note for note in report.notes)
    for stage in ("distilled planner: ", r"evolved \(\d+ runs of its own, round 1\) planner: ", "rewarded planner: "):
        assert any(re.match(stage, note) for note in report.notes)
    assert report.settings["evolving"] == {"rounds": 1, "samples": 4, "temperature": 0.2}
    again = train_planner(
        recorded, str(folder), SURE, BY, OWN, run=RunSettings(home=tmp_path, name="mills", cache=tmp_path)
    )
    assert again == (made, report)
    with pytest.raises(InputError, match="is there already"):
        train_planner(world(11), str(folder), SURE, BY, run=RunSettings(home=tmp_path, name="mills", cache=tmp_path))


@pytest.mark.slow
def test_a_round_that_finds_nothing_is_told_of(recorded, tmp_path):
    folder = tmp_path / "base"
    tiny("qwen", folder)
    _, report = train_planner(
        recorded, str(folder), QUICK, None, NOTHING, run=RunSettings(home=tmp_path, name="mills", cache=tmp_path)
    )
    assert "Round 1 found no plan that holds the answer; no more rounds." in report.notes
    assert not any(note.startswith("evolved") for note in report.notes)


@pytest.fixture
def work(model, recorded, search, tmp_path):
    parted = Parted(*held_out(recorded.trajectories, 0.25))
    return Training(tmp_path, model, recorded, search, parted, SURE, lambda _: None)


@pytest.mark.slow
def test_the_report_is_of_the_stage_that_is_kept(work, model, recorded, search, sure, tmp_path):
    other, curves = distil(model, recorded, recorded.trajectories, QUICK, folder=tmp_path / "quick", search=search)
    distilled = Stage("distilled", other, 0.0, replace(curves, steps=1))
    evolved, rewarded = Stage("evolved", sure, 2.0, curves), Stage("rewarded", other, 2.0, replace(curves, steps=2))
    report = work.report("mills", "base", (distilled, evolved, rewarded), ["a note"], {})
    before, after = report.measured["held out"]
    assert report.curves == curves
    assert after == {LIKELIHOOD: work.likelihood(sure), RECALL: 2.0}
    assert before[LIKELIHOOD] == work.likelihood(None) != work.likelihood(other) != after[LIKELIHOOD]
    assert report.kept
    assert report.notes[1:] == (
        "distilled planner: 0.0000", "evolved planner: 2.0000", "rewarded planner: 2.0000", "a note",
        "Kept: the evolved planner.",
    )  # fmt: skip


def test_a_likelihood_is_that_of_the_curve(work):
    learned, curves = distil(
        work.model, work.recorded, (*work.parted.held, *work.parted.learnt), replace(QUICK, dev_share=0.25),
        folder=work.folder / "quick", search=work.search,
    )  # fmt: skip
    seen = dict(curves.metrics)
    assert work.likelihood(None) == pytest.approx(seen[0][LIKELIHOOD])
    assert work.likelihood(learned) == pytest.approx(seen[curves.best_step][LIKELIHOOD])


@pytest.mark.slow
def test_what_reward_made_is_measured_as_it_will_be_used(work, sure):
    everything = replace(work, parted=Parted(work.parted.learnt, work.recorded.trajectories))
    slow = replace(BY, loop=replace(BY.loop, steps=1, learning_rate=1e-6))
    stage, _ = everything.rewarded(Stage("distilled", sure, 0.0, None), slow)
    assert stage.recall == everything.recall(stage.learned)


def test_held_out_runs_are_not_learnt_from(recorded):
    learnt, held = held_out(recorded.trajectories, 0.25)
    assert len(held) == 3
    assert not set(learnt) & set(held)


def test_sets_are_joined_without_mixing_their_ids(recorded):
    both = joined([recorded, replace(world(3), name="more")])
    assert len(both.sources) == len(recorded.sources) + 9
    assert both.trajectories[-1].steps[0].passages == ("more/m2",)
    assert joined([recorded]) is recorded
