"""`foveal bench research-retrieval` and `research-answers` on a small world in the layout of the recorded sets."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import pytest
from research.recordings import world, written
from tiny import tiny

from foveal.bench import research_answers, research_arms
from foveal.bench.research_answers import (
    WINDOW,
    Answering,
    AnswerSizes,
    answers,
    documents,
    measured,
    noise_for,
    with_noise,
)
from foveal.bench.research_arms import Arms, Sizes, append_kept, example, read_kept
from foveal.bench.research_react import ReAct
from foveal.bench.research_retrieval import react_plans, retrieval, reward_rows, taught_rows, without_model
from foveal.bench.settings import BenchSettings
from foveal.errors import InputError
from foveal.research.planner_reinforcement import Rewards
from foveal.research.planner_settings import PlannerSettings, RewardSettings
from foveal.research.transcripts import Transcript, TranscriptSettings
from foveal.training.loop import LoopSettings

SHORT = TranscriptSettings(passages=1, passage_tokens=32, question_tokens=32, query_tokens=12)
SIZES = Sizes(
    planner=PlannerSettings(
        transcript=SHORT, upper=1, rank=2, alpha=4.0, dev_share=0.2, loop=LoopSettings(steps=2, batch=4)
    ),
    reward=RewardSettings(
        questions=1, samples=2, passes=2, loop=LoopSettings(steps=2, batch=1, evaluate_every=2, checkpoint_every=1)
    ),
    compared=2, questions=3, slack=100.0,
)  # fmt: skip


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return tiny("qwen", tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def settings(tmp_path_factory):
    place = tmp_path_factory.mktemp("data")
    for name in ("hotpotqa", "2wiki"):
        recorded = world(12 if name == "hotpotqa" else 6)
        written(replace(recorded, name=name), place / "r1searcher" / name)
    return BenchSettings(data=place, cache=place / "cache", quick=True)


class Clerk:
    """A `ChatModel` that answers with the last word of what it is shown."""

    name, context_tokens = "clerk", 1000

    def __init__(self):
        self.asked = 0

    def chat_many(self, conversations, *_):
        self.asked += len(conversations)
        return [one[-1]["content"].split("\n\nQuestion:")[0].split()[-1] for one in conversations]

    def count_tokens(self, text):
        return len(text.split())


@pytest.fixture(scope="module")
def rows(settings, model):
    return list(retrieval(settings, model, SIZES))


def test_every_way_to_search_has_a_row_of_each_set(rows):
    systems = {row.system for row in rows}
    for name in ("HotpotQA", "2Wiki"):
        for side in (
            "the question alone (one-shot RAG)", "names without a model", "ReAct, not taught", "planner, not taught",
            "taken apart at once, not taught", "planner, taught, less taken apart at once, not taught",
            "planner, taught", "recorded agent (7B)", "planner, taught, less the question alone",
        ):  # fmt: skip
            assert f"{name}: {side}" in systems
    recalls = [row.value for row in rows if row.metric == "recall, 9 passages"]
    assert all(0 <= value <= 100 for value in recalls)


def test_the_bars_of_the_gains_can_fail(settings, model):
    strict = replace(SIZES, slack=-200.0)
    made = {row.system: row for row in retrieval(settings, model, strict)}
    assert made["HotpotQA: planner, taught, less the question alone"].ok is False
    assert made["2Wiki: planner, taught, less shown what another question found"].ok is False


def test_a_planner_that_learnt_nothing_falls_short(settings, model):
    still = replace(SIZES, planner=replace(SIZES.planner, loop=LoopSettings(steps=2, batch=4, learning_rate=1e-30)))
    assert [row.ok for row in taught_rows(Arms(settings, still, model))] == [False, False]


@pytest.mark.parametrize(("means", "risen"), [((0.5, 0.5), False), ((0.5, 0.4), False), ((0.5, 0.6), True)])
def test_a_reward_that_does_not_rise_falls_short(settings, model, means, risen):
    class Rewarded(Arms):
        def rewarded(self, _):
            return None, SimpleNamespace(steps=2, seconds=1.0), Rewards(means=dict(enumerate(means)))

    assert next(reward_rows(Rewarded(settings, replace(SIZES, slack=0.0), model))).ok is risen


def test_a_held_out_set_that_is_not_there_is_named(rows):
    (row,) = [row for row in rows if row.system.startswith("held-out set")]
    assert "bamboogle" in row.note
    assert row.ok is None


def test_a_second_run_plans_nothing_anew(settings, model, rows):
    kept = {path: path.stat().st_mtime_ns for path in (settings.cache / "research").glob("plans-*.jsonl")}
    assert kept
    again = [row.as_json() for row in retrieval(settings, model, SIZES)]
    assert again == [row.as_json() for row in rows]
    assert kept == {path: path.stat().st_mtime_ns for path in (settings.cache / "research").glob("plans-*.jsonl")}


def test_plans_of_other_code_are_made_anew(settings, model, monkeypatch):
    arms = Arms(settings, SIZES, model)
    runs, folder = arms.unseen(0, 1), settings.cache / "research"
    there = len(list(folder.glob("plans-*.jsonl")))
    for count, code in ((2, "one"), (2, "one"), (4, "two")):
        monkeypatch.setattr(research_arms, "code_digest", lambda *_, code=code, **__: code)
        arms.plans("planner", arms.hotpot, runs, None)
        react_plans(arms, arms.hotpot, runs)
        assert len(list(folder.glob("plans-*.jsonl"))) == there + count


def test_no_question_is_planned_for_by_who_learnt_from_it(settings, model):
    arms = Arms(settings, SIZES, model)
    for fold in (0, 1):
        learnt = {run.question for run in arms.halves[fold]}
        assert not learnt & {run.question for run in arms.unseen(fold)}


def test_plans_that_were_kept_outlive_a_kill(tmp_path):
    path = tmp_path / "research" / "plans.jsonl"
    append_kept(path, {"a": ("x", "y")})
    with path.open("a", encoding="utf-8") as file:
        file.write('\n{"id": "b", "ma')
    append_kept(path, {"c": ()})
    assert read_kept(path) == {"a": ("x", "y"), "c": ()}


def test_a_folder_without_the_sets_is_refused(tmp_path, model):
    with pytest.raises(InputError, match="r1searcher/hotpotqa was not found"):
        list(retrieval(BenchSettings(data=tmp_path, cache=tmp_path, quick=True), model, SIZES))


def test_names_without_a_model_are_those_that_the_question_lacks(settings, model):
    search = Arms(settings, SIZES, model).hotpot.search
    names = without_model("Who taught the man behind the orra mill?", search)
    assert "Archiorra" in names
    assert "orra" not in names


# -- ReAct ------------------------------------------------------------------------------------------------------------


def test_react_reads_actions_and_remembers_its_thoughts(model):
    react = ReAct(model)
    said = [" I look.\nAction 1: Search[orra  mill]\n", " Done.\nAction 1: Finish[x]\n", " so\nAction 1: Search[key"]
    react._written = lambda prompts, *_: said[: len(prompts)]
    lines = react.write([Transcript("who"), Transcript("what"), Transcript("how")])
    assert [one.query for one in lines] == ["orra mill", None, "key"]
    grown = Transcript("who").and_then("orra mill", [("A", "a.")], SHORT)
    asked = react._prompt(grown)
    assert "Thought 1: I look.\nAction 1: Search[orra mill]\nObservation 1: A: a.\nThought 2:" in asked


def test_react_writes_by_the_model(model):
    made = ReAct(model).write([Transcript("who"), Transcript("what is the key")])
    assert len(made) == 2


# -- answers ----------------------------------------------------------------------------------------------------------


def test_answers_have_rows_of_each_arm_and_each_share_of_noise(settings, model):
    clerk = Clerk()
    sizes = AnswerSizes(questions=2, runs=0)
    made = list(answers(settings, model, clerk, SIZES, sizes))
    systems = {row.system for row in made}
    for name in ("HotpotQA", "2Wiki"):
        for side in ("no pages", "one-shot RAG", "ReAct", "planner, taught", "recorded agent's queries"):
            assert f"{name}: {side}" in systems
        for share in (0, 50, 90):
            assert f"{name}: read by words, {share} % noise" in systems
        assert {f"{name}: from the head, {share} % noise" for share in (0, 90)} <= systems
    asked = clerk.asked
    again = list(answers(settings, model, clerk, SIZES, sizes))
    assert clerk.asked == asked  # all answers were kept
    assert [row.value for row in again] == [row.value for row in made]


def test_answers_to_other_prompts_are_asked_for_anew(settings, model, monkeypatch):
    """What a model said to an earlier wording, or cut elsewhere, is no figure of this one."""
    clerk = Clerk()
    work = Answering(Arms(settings, SIZES, model), AnswerSizes(), clerk)
    among = work.arms.hotpot
    runs = among.runs[:2]
    shown = {run.id: "the orra mill, of old" for run in runs}
    for asked in (2, 2):
        work.answers(among, runs, shown)
        assert clerk.asked == asked
    monkeypatch.setattr(research_answers, "CONCISE", "Say it in one word.")
    work.answers(among, runs, shown)
    assert clerk.asked == 4
    monkeypatch.setattr(research_answers, "ANSWER", replace(research_answers.ANSWER, max_tokens=3))
    work.answers(among, runs, shown)
    assert clerk.asked == 6


def test_whole_runs_of_other_code_are_made_anew(settings, model, monkeypatch):
    made = []
    arms = Arms(settings, SIZES, model)
    arms.kept = lambda made_by, *_: made.append(repr(made_by)) or {}
    arms.taught = lambda _: (None,)
    work = SimpleNamespace(
        arms=arms, chat=Clerk(), runs=lambda _: arms.two_wiki.runs[:1], sizes=SimpleNamespace(runs=1)
    )
    monkeypatch.setattr(research_answers, "TrainedPlanner", lambda _: None)
    monkeypatch.setattr(research_answers, "PlannerModel", lambda *_: None)
    monkeypatch.setattr(research_answers, "weights", lambda _: "w")
    for code in ("one", "two"):
        monkeypatch.setattr(research_arms, "code_digest", lambda *_, code=code, **__: code)
        with pytest.raises(KeyError):  # nothing was run
            list(research_answers.run_rows(work))
    assert len(set(made)) == 2


def test_noise_is_as_large_a_share_as_it_says_and_holds_no_answer(settings, model):
    arms = Arms(settings, SIZES, model)
    run = arms.hotpot.runs[0]
    among = arms.two_wiki.recorded
    free = sum(not among.holds(one, run) for one in among.sources)
    for share, wanted in ((0.0, 0), (0.5, 2), (0.9, 18)):
        noise = noise_for(arms.two_wiki, run, 2, share)
        assert len(noise) == min(wanted, free)
        assert not any(among.holds(one, run) for one in noise)
    assert with_noise(["a"], [], seed="x") == ["a"]
    assert sorted(with_noise(["a"], ["b", "c"], seed="x")) == ["a", "b", "c"]
    assert with_noise(["a"], list("bcdefg"), seed="x") == with_noise(["a"], list("bcdefg"), seed="x")


def test_what_is_shown_fits_the_window(settings, model):
    work = Answering(Arms(settings, SIZES, model), AnswerSizes(), Clerk())
    held = documents(work.arms.hotpot)
    pages = 10 * list(held)
    assert sum(work.chat.count_tokens(held[one].text) for one in pages) > 2 * WINDOW
    for by_words in (True, False):
        shown = work.shown(held, pages, "Archiorra pupil", by_words=by_words)
        assert WINDOW / 2 < work.chat.count_tokens(shown) <= WINDOW
    assert work.shown(held, [], "x") == ""


def test_answers_are_scored_against_the_gold(settings, model):
    runs = Arms(settings, SIZES, model).hotpot.runs[:2]
    given = {runs[0].id: "the Teachorra.", runs[1].id: "nobody"}
    shown = {runs[0].id: "", runs[1].id: f"It was {runs[1].answers[0]}."}
    found = measured(runs, given, shown)
    assert list(found["EM"].values()) == [100.0, 0.0]
    assert list(found["F1"].values()) == [100.0, 0.0]
    assert list(found["answer in what was shown"].values()) == [0.0, 100.0]


def test_the_example_is_a_whole_search():
    assert [one.query for one in example().searched] == ["Orra mill architect", "Petra Lindqvist teacher"]
