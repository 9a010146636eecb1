"""A planner that learns: transcripts, the parts of a model, distillation, reward, and its place in a run."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from recordings import world
from tiny import tiny
from worlds import Facts, model_of

from foveal.errors import InputError, ModelUnavailable
from foveal.research.exploring import Explored, depends, explore
from foveal.research.graph import ROOT, Graph, Node
from foveal.research.mindsearch import MindSearch
from foveal.research.planner_evolving import EvolvingSettings, rolled_out
from foveal.research.planner_reinforcement import (
    GroupLoss,
    Rewards,
    advantages,
    chosen_log_probabilities,
    reinforce,
    reward,
    worth_trying,
)
from foveal.research.planner_settings import PlannerSettings, RewardSettings
from foveal.research.planner_training import (
    Likelihood,
    Parted,
    by_length,
    collate,
    distil,
    learned_model,
    row,
    taught,
    teachable,
    tokens,
    vocabulary,
)
from foveal.research.plans import PastTurn, Turn, extended
from foveal.research.query_writer import Line, QueryWriter, Written, repeats
from foveal.research.recorded_search import RecordedSearch, found_answer, pooled
from foveal.research.trained_planner import PlannerModel, TrainedPlanner, needed, planner_folder, transcript_of
from foveal.research.trajectories import Step
from foveal.research.transcripts import Format, Transcript, TranscriptSettings, line, names_left
from foveal.training.loop import LoopSettings
from foveal.training.upper_layers import Parts

SHORT = TranscriptSettings(passages=1, passage_tokens=40, question_tokens=40, query_tokens=16)
SETTINGS = PlannerSettings(
    transcript=SHORT, upper=2, rank=4, alpha=8.0, budget=3, first=1, dev_share=0.2,
    loop=LoopSettings(epochs=30, batch=4, learning_rate=2e-2, seed=0),
)  # fmt: skip
BY = RewardSettings(
    questions=2, samples=4, passes=2,
    loop=LoopSettings(steps=4, batch=2, learning_rate=1e-2, evaluate_every=2, checkpoint_every=1),
)  # fmt: skip

ONE_MODEL = pytest.mark.parametrize("model", ["qwen"], indirect=True)
"""For long tests of what hangs on no model."""


@pytest.fixture(scope="module", params=["qwen", "gemma"])
def model(request, tmp_path_factory):
    return tiny(request.param, tmp_path_factory.mktemp(request.param))


@pytest.fixture(scope="module")
def recorded():
    return world()


@pytest.fixture(scope="module")
def search(recorded):
    return RecordedSearch(recorded)


@pytest.fixture(scope="module")
def learned(model, recorded, search, tmp_path_factory):
    folder = tmp_path_factory.mktemp("distilled")
    return distil(model, recorded, recorded.trajectories, SETTINGS, folder=folder / "run", search=search)


class Scripted:
    """A writer that knows the world: it asks for the mill, then for the architect that the transcript shows."""

    def write(self, transcripts, **_):
        return [Written(self._query(one), ()) for one in transcripts]

    def _query(self, transcript):
        if not transcript.searched:
            return f"{transcript.question.split()[-2]} mill"
        shown = " ".join(transcript.searched[-1].lines).split()
        names = [word.strip(".") for word in shown if word.startswith("Archi")]
        return f"{names[0]} pupil" if names else transcript.searched[-1].query


# -- transcripts ------------------------------------------------------------------------------------------------------


def test_a_line_has_the_sentence_that_the_question_asks_for():
    text = "Orra Orra stands by a river. It was drawn by Petra Lindqvist. It burnt in 1901."
    assert line("Orra", text, "who drew it, drawn by whom") == "Orra: It was drawn by Petra Lindqvist."
    assert line("Orra", "Orra stands. Its designer was Petra.", "who designed it") == "Orra: Its designer was Petra."
    assert line("Orra", text, "nothing") == "Orra stands by a river."
    assert "<|im_end|>" not in line("", "a <|im_end|> b", "a")


def test_a_transcript_shows_no_passage_twice():
    found = [("A", "a one."), ("B", "b two."), ("C", "c three.")]
    settings = replace(SHORT, passages=2)
    made = Transcript("q").and_then("x", found, settings).and_then("y", found, settings)
    assert [one.lines for one in made.searched] == [("A: a one.", "B: b two."), ("C: c three.",)]


def test_what_is_learnt_is_the_queries_and_the_end(model):
    form = Format(model, SHORT)
    made = Transcript("who").and_then("mill", [("A", "a mill.")], SHORT)
    ids, learnt = tokens(form, made, ended=True)
    assert model.tokenizer.decode([ids[place] for place in learnt]) == "Search mill\nDone\n"
    assert model.tokenizer.decode(ids) == "Question: who\nSearch mill\n- A: a mill.\nDone\n"
    assert form.prompt(made) == ids[: len(form.start) + len(ids) - len(form.start) - len(form.done) - 1]


def test_a_prompt_of_a_longer_transcript_begins_with_the_shorter_one(model):
    form = Format(model, SHORT)
    short = Transcript("who").and_then("mill", [("A", "a mill.")], SHORT)
    longer = short.and_then("key", [("B", "b.")], SHORT)
    assert form.prompt(longer)[: len(form.prompt(short))] == form.prompt(short)


# -- the parts of a model ---------------------------------------------------------------------------------------------


def test_the_parts_give_what_the_whole_gives(model):
    parts = Parts.of(model.model, 2)
    ids = [one % 50 for one in range(30)]
    with torch.no_grad():
        whole = model.model(torch.tensor([ids])).logits[0]
        found = parts.logits(parts.states(ids)[None], torch.arange(30))
    torch.testing.assert_close(found, whole, rtol=1e-4, atol=1e-4)


def test_padding_on_the_right_changes_nothing(model):
    parts = Parts.of(model.model, 1)
    rows = [row(parts, [one % 40 for one in range(length)], [3, length - 1]) for length in (6, 17, 11)]
    with torch.no_grad():
        together = Likelihood(parts).of(rows, batch=3)
        alone = sum(2 * float(Likelihood(parts)(None, collate([one]))) for one in rows) / 6
    assert together == pytest.approx(alone, rel=1e-4)


def test_logits_of_some_tokens_are_those_of_all(model):
    some = [3, 9, 4, 30]
    whole, part = Parts.of(model.model, 2), Parts.of(model.model, 2, some)
    states, places = whole.states(list(range(12)))[None], torch.tensor([2, 11])
    with torch.no_grad():
        torch.testing.assert_close(part.logits(states, places), whole.logits(states, places)[:, sorted(some)])
    assert part.classes(torch.tensor([30, 3, 9])).tolist() == [3, 0, 2]
    with pytest.raises(InputError, match="vocabulary lacks"):
        part.classes(torch.tensor([5]))


def test_what_was_learnt_is_in_the_model_that_is_made(model):
    parts = Parts.of(model.model, 2)
    before = {name: value.clone() for name, value in model.model.state_dict().items()}
    learned = parts.learn(rank=2, alpha=4.0)
    with torch.no_grad():
        for one in learned.values():
            one.b.normal_(std=0.1, generator=torch.Generator().manual_seed(1))
    ids = list(range(3, 20))
    with torch.no_grad():
        expected = parts.logits(parts.states(ids)[None], torch.arange(len(ids)))
        made = parts.model()(torch.tensor([ids])).logits[0]
        plain = model.model(torch.tensor([ids])).logits[0]
    torch.testing.assert_close(made, expected, rtol=1e-3, atol=1e-3)
    assert not torch.allclose(made, plain, atol=1e-2)
    assert all(torch.equal(value, before[name]) for name, value in model.model.state_dict().items())


def test_as_many_layers_as_there_are_cannot_learn(model):
    with pytest.raises(InputError, match="layers were to learn"):
        Parts.of(model.model, len(model.model.model.layers))


# -- distillation -----------------------------------------------------------------------------------------------------


def test_the_vocabulary_holds_all_that_is_learnt(model, recorded, search):
    form = Format(model, SHORT)
    known = vocabulary(form, recorded)
    for run in recorded.trajectories:
        ids, learnt = taught(form, run, search, SETTINGS)
        assert {ids[place] for place in learnt} <= known


@ONE_MODEL
def test_the_vocabulary_holds_queries_as_lines_have_them(model, recorded):
    form = Format(model, SHORT)
    broken = replace(recorded.trajectories[0], steps=(Step("orra\nkeeper", ()),))
    bare = replace(recorded, trajectories=(broken,), sources={})
    assert set(form.query("orra\nkeeper")) <= vocabulary(form, bare)


def test_the_end_is_learnt_where_a_run_ends_before_it_has_to(model, recorded, search):
    form, run = Format(model, SHORT), recorded.trajectories[0]
    short = replace(run, steps=run.steps[:1])
    for one, ends in ((run, False), (short, True)):
        ids, learnt = taught(form, one, search, SETTINGS)
        assert model.tokenizer.decode([ids[place] for place in learnt]).endswith("Done\n") == ends


def test_runs_that_find_nothing_or_ask_nothing_teach_nothing(recorded, search):
    first, second, *rest = recorded.trajectories
    blind = replace(first, steps=(replace(first.steps[0], query="river"),))
    silent = replace(second, steps=())
    assert teachable(recorded, [blind, silent, *rest], search, SETTINGS) == rest


def test_batches_hold_each_row_once_and_alike_ones_together():
    lengths = [n % 7 for n in range(50)]
    plan = by_length(lengths, 4, 0)
    assert sorted(place for batch in plan(0) for place in batch) == list(range(50))
    assert plan(0) == by_length(lengths, 4, 0)(0) != plan(1)
    spread = [max(lengths[place] for place in batch) - min(lengths[place] for place in batch) for batch in plan(0)]
    assert sum(spread) / len(spread) < 3


def test_a_planner_learns_and_leaves_its_model_as_it_was(model, recorded, search, learned):
    changes, curves = learned
    assert curves.metrics[-1][1]["log-likelihood"] > curves.metrics[0][1]["log-likelihood"] + 1
    plain = QueryWriter(model, None, SHORT)
    taught_to = QueryWriter(model, learned_model(model, changes, SETTINGS), SHORT)
    questions = [run.question for run in recorded.trajectories]
    made, plans = (explore(writer, search, questions, settings=SHORT) for writer in (taught_to, plain))
    assert [one.queries for one in made] != [one.queries for one in plans]


@ONE_MODEL
def test_a_second_call_goes_on_to_the_same_weights(model, recorded, search, learned, tmp_path):
    settings = replace(SETTINGS, loop=replace(SETTINGS.loop, epochs=2))
    whole, _ = distil(model, recorded, recorded.trajectories, settings, folder=tmp_path / "a", search=search)

    class Killed(Exception):
        pass

    def kill(progress):
        if progress.step == 4 and progress.metrics is None:
            raise Killed

    with pytest.raises(Killed):
        distil(model, recorded, recorded.trajectories, settings, folder=tmp_path / "b", search=search, on_progress=kill)
    again, _ = distil(model, recorded, recorded.trajectories, settings, folder=tmp_path / "b", search=search)
    for name, value in whole.state_dict().items():
        torch.testing.assert_close(value, again.state_dict()[name])


def test_too_few_runs_are_refused(model, recorded, tmp_path):
    with pytest.raises(InputError, match="2 recorded runs teach"):
        distil(model, recorded, recorded.trajectories[:2], SETTINGS, folder=tmp_path / "run")


# -- writing ----------------------------------------------------------------------------------------------------------


def test_a_batch_writes_what_each_row_writes_alone(model, recorded):
    writer = QueryWriter(model, None, SHORT)
    made = [Transcript(run.question) for run in recorded.trajectories[:5]]
    made[2] = made[2].and_then("orra mill", [("A", "a.")], SHORT)
    together = writer.write(made, must_search=True)
    assert together == [writer.write([one], must_search=True)[0] for one in made]


def test_a_line_is_a_query_of_one_line_or_the_end(model, recorded):
    writer = QueryWriter(model, None, SHORT)
    made = [Transcript(run.question) for run in recorded.trajectories]
    for one in writer.write(made, temperature=3.0, seeds=range(len(made))):
        text = model.tokenizer.decode(one.ids)
        assert text.count("\n") == 1
        assert text.endswith("\n")
        assert text == "Done\n" if one.query is None else text.startswith("Search")
        assert len(one.ids) <= len(writer.form.search) + SHORT.query_tokens + 1


def writer_line(writer, transcript):
    """The likeliest line with nothing barred."""
    made = Line(writer.form, writer._barred, 0, 0.0, must_search=True)
    writer._in_parts([transcript], [made], None)
    return made.written()


NAMES = ["Petra Lindqvist", "Petra", "Olof Brandt of Vasa", "Orra"]


def begun_by_definition(writer, transcript, names):
    """Token by token, the likeliest of those with which a name goes on, until one stands there whole."""
    form, ids = writer.form, []
    wanted = [list(form.name(name)) for name in names]
    while ids not in wanted:
        prompt = [*form.prompt(transcript), *form.search, *ids]
        logits = writer.model.model(torch.tensor([prompt])).logits[0, -1]
        going = {one[len(ids)] for one in wanted if one[: len(ids)] == ids and len(one) > len(ids)}
        ids.append(max(going, key=lambda token: float(logits[token])))
    return ids


@torch.no_grad()
def test_a_query_begins_with_the_likeliest_name(model, recorded):
    writer = QueryWriter(model, None, SHORT)
    made = [Transcript(run.question) for run in recorded.trajectories[:4]]
    given = [NAMES, NAMES[1:], [], NAMES[2:]]
    lines = writer.write(made, must_search=True, names=given)
    for transcript, names, one in zip(made, given, lines, strict=True):
        if names:
            begun = begun_by_definition(writer, transcript, names)
            assert list(one.ids[len(writer.form.search) :])[: len(begun)] == begun
            assert one.query.startswith(one.name)
    assert lines[2] == writer.write([made[2]], must_search=True)[0]
    assert lines[2].name is None


def test_a_name_that_begins_another_may_stand_alone_or_go_on(model):
    writer = QueryWriter(model, None, SHORT)
    line = Line(writer.form, writer._barred, 0, 0.0, must_search=True, names=["Petra", "Petra Lindqvist"])
    short, long = writer.form.name("Petra"), writer.form.name("Petra Lindqvist")
    assert long[: len(short)] == short
    free = torch.zeros(len(writer._barred))
    free[long[len(short)]] = 1.0
    other = torch.zeros(len(writer._barred))
    other[writer.form.end[0]] = 1.0
    for logits, name in ((free, "Petra Lindqvist"), (other, "Petra")):
        line = Line(writer.form, writer._barred, 0, 0.0, must_search=True, names=["Petra", "Petra Lindqvist"])
        for _ in range(len(writer.form.search) + len(short)):
            line.next(other)
        line.next(logits)
        while not line.over:
            line.next(other)
        assert line.written().name == name


def test_a_line_that_was_written_before_is_written_anew(model):
    writer = QueryWriter(model, None, SHORT)
    first = Transcript("Who taught the man behind the orra mill?")
    said = writer.write([first], must_search=True)[0]
    assert said.query is not None
    grown = first.and_then(said.query, [], SHORT, said.ids)
    assert repeats(grown, said)
    assert not repeats(first, said)
    with_both = replace(grown, searched=(*grown.searched, *grown.searched))
    for again in writer.write([grown, with_both], must_search=True):
        assert not repeats(grown, again)
        same = set(again.ids) & set(said.ids)
        assert same <= {*writer.form.search, *writer.form.end} or not repeats(grown, writer_line(writer, grown))


def test_seeds_draw_differently_and_repeat(model, recorded):
    writer = QueryWriter(model, None, SHORT)
    made = [Transcript(recorded.trajectories[0].question)] * 6
    drawn = writer.write(made, must_search=True, temperature=2.0, seeds=range(6))
    assert len({one.ids for one in drawn}) > 1
    assert drawn == writer.write(made, must_search=True, temperature=2.0, seeds=range(6))


# -- exploring --------------------------------------------------------------------------------------------------------


def test_the_planner_reads_what_was_found(recorded, search):
    questions = [run.question for run in recorded.trajectories]
    plans = explore(Scripted(), search, questions, settings=SHORT)
    assert [plan.queries for plan in plans] == [
        tuple(step.query for step in run.steps) for run in recorded.trajectories
    ]
    assert all(depends(search, plan.transcript.question, plan.queries) for plan in plans)


@pytest.mark.parametrize("evidence", ["none", "others"])
def test_without_its_own_evidence_it_finds_no_second_query_of_its_own(recorded, search, evidence):
    questions = [run.question for run in recorded.trajectories]
    plans = explore(Scripted(), search, questions, settings=SHORT, evidence=evidence)
    for plan, run in zip(plans, recorded.trajectories, strict=True):
        assert run.steps[1].query not in plan.queries


class AsksOfNames:
    """A writer that takes the first name it is given, and says what it was given."""

    def __init__(self):
        self.given = []

    def write(self, transcripts, *, names=None, **_):
        self.given.append(names)
        return [
            Written("orra mill", ()) if names is None else Written(f"{given[0]} pupil", (), given[0])
            for given in names or [None] * len(transcripts)
        ]


def test_a_later_turn_asks_of_several_names(search):
    (question,) = ["Who taught the man behind the Orra mill, Vasa or Brahe?"]
    writer = AsksOfNames()
    (plan,) = explore(writer, search, [question], named=2, settings=SHORT)
    assert len(plan.queries) == 3
    assert writer.given[0] is None
    first, second = writer.given[1][0], writer.given[2][0]
    assert first[:2] == ["Vasa", "Brahe"]  # of the question, which no query had; Orra stands in the first one
    assert any(name.startswith("Archi") for name in first)
    assert second == first[1:]
    assert plan.queries[1:] == ("Vasa pupil", "Brahe pupil")


def test_names_are_those_that_were_found_and_not_yet_asked():
    made = Transcript("Where was the director of The Orra Mill born?")
    assert names_left(made) == ["Orra Mill"]
    made = made.and_then(
        "orra mill director", [("Orra Mill", "The Orra Mill was directed by Petra Lindqvist in Vasa.")], SHORT
    )
    assert names_left(made) == ["Petra Lindqvist", "Vasa"]
    assert names_left(made.and_then("Petra Lindqvist born", [], SHORT)) == ["Vasa"]


def test_where_nothing_has_a_name_the_query_is_free(search):
    class Free(AsksOfNames):
        def write(self, transcripts, *, names=None, **_):
            self.given.append(names)
            return [Written("mill" if names is None else "wheel", ()) for _ in transcripts]

    writer = Free()
    (plan,) = explore(writer, search, ["what grinds?"], named=2, settings=SHORT, evidence="none")
    assert writer.given == [None, [[]]]
    assert plan.queries == ("mill", "wheel")


def test_a_query_that_comes_again_ends_a_plan(recorded, search):
    class Stuck(Scripted):
        def _query(self, _):
            return "orra mill"

    (plan,) = explore(Stuck(), search, ["q"], most=3, settings=SHORT)
    assert plan.queries == ("orra mill",)
    assert plan.repeated
    assert depends(search, "q", plan.queries) is None


# -- reward -----------------------------------------------------------------------------------------------------------


def test_advantages_are_deviations_of_the_group():
    assert advantages([1.0, 1.0, 1.0]) == [0.0, 0.0, 0.0]
    assert advantages([0.0, 1.0, 0.0, 1.0]) == [-1.0, 1.0, -1.0, 1.0]


def test_a_plan_is_rewarded_for_what_it_finds_and_for_its_form(recorded, search):
    run = recorded.trajectories[0]
    (good,) = explore(Scripted(), search, [run.question], settings=SHORT)
    blind = Explored(Transcript(run.question).and_then("river", [], SHORT), repeated=True)
    assert reward(run, good, search, SETTINGS, 0.2) == pytest.approx(1.2)
    assert reward(run, blind, search, SETTINGS, 0.2) == 0.0
    assert reward(run, Explored(Transcript(run.question)), search, SETTINGS, 0.2) == 0.0


def test_questions_that_need_a_plan_come_first(recorded, search):
    easy = replace(recorded.trajectories[0], question="Archiorra pupil")
    runs = [easy, *recorded.trajectories[1:]]
    assert worth_trying(recorded, runs, search, SETTINGS)[-1] == easy


def test_the_loss_is_that_of_each_plan_by_itself(model, recorded, search):
    parts, reference = Parts.of(model.model, 2), Parts.of(model.model, 2)
    learned = parts.learn(rank=2, alpha=4.0)
    with torch.no_grad():
        for one in learned.values():
            one.b.normal_(std=0.1, generator=torch.Generator().manual_seed(1))
    work = GroupLoss(model, parts, reference, search, recorded.trajectories, SETTINGS, BY, Rewards())
    form = Format(model, SHORT)
    rows = [row(parts, *taught(form, run, search, SETTINGS)) for run in recorded.trajectories[:3]]
    gains = [1.0, -0.5, 2.0]
    expected = 0.0
    for one, gain in zip(rows, gains, strict=True):
        batch = collate([one])
        now, before = chosen_log_probabilities(parts, batch), chosen_log_probabilities(reference, batch)
        divergence = (before - now).exp() - (before - now) - 1
        expected = expected + (BY.kl * divergence - gain * (now - now.detach()).exp()).mean() / len(rows)
    found = work.loss(rows, gains)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    names = list(learned.parameters())
    for one, other in zip(torch.autograd.grad(found, names), torch.autograd.grad(expected, names), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-6)


def test_the_loss_raises_the_better_plan(model, recorded, search):
    parts = Parts.of(model.model, 2)
    learned = parts.learn(rank=4, alpha=8.0)
    work = GroupLoss(model, parts, parts.frozen(), search, recorded.trajectories, SETTINGS, BY, Rewards())
    form = Format(model, SHORT)
    rows = [row(parts, *taught(form, run, search, SETTINGS)) for run in recorded.trajectories[:2]]
    optimiser = torch.optim.AdamW(learned.parameters(), 1e-2)
    with torch.no_grad():
        before = [float(chosen_log_probabilities(parts, collate([one])).mean()) for one in rows]
    for _ in range(3):
        work.loss(rows, [1.0, -1.0]).backward()
        optimiser.step()
        optimiser.zero_grad()
    with torch.no_grad():
        after = [float(chosen_log_probabilities(parts, collate([one])).mean()) for one in rows]
    assert after[0] - before[0] > after[1] - before[1] + 0.1


@ONE_MODEL
def test_reward_goes_on_from_the_distilled_planner(model, recorded, search, learned, tmp_path):
    changes, _ = learned
    held, runs = recorded.trajectories[:2], recorded.trajectories[2:]
    begun = {name: value.clone() for name, value in changes.state_dict().items()}
    made, curves, rewards = reinforce(model, search, changes, Parted(runs, held), SETTINGS, BY, folder=tmp_path / "run")
    assert sorted(rewards.means) == [1, 2, 3, 4]
    assert len(rewards.passes(2)) == 2
    assert [step for step, _ in curves.metrics] == [0, 2, 4]
    assert all(torch.equal(value, begun[name]) for name, value in changes.state_dict().items())
    assert made.state_dict().keys() == begun.keys()
    _, again, told = reinforce(model, search, changes, Parted(runs, held), SETTINGS, BY, folder=tmp_path / "run")
    assert again.metrics == curves.metrics
    assert told.means == rewards.means


# -- in a folder and in a run -----------------------------------------------------------------------------------------


def test_a_planner_is_kept_and_read_again(model, learned, tmp_path):
    planner = PlannerModel(model, SETTINGS, learned[0], 10, "mills")
    folder = planner.save(tmp_path / "models" / "mine")
    read = PlannerModel.load(planner_folder("mine", tmp_path), base=model)
    assert (read.settings, read.runs, read.source) == (SETTINGS, 10, "mills")
    made = [Transcript("Who taught the man behind the orra mill?")]
    assert read.writer.write(made) == planner.writer.write(made)
    with pytest.raises(InputError, match="not an empty folder"):
        planner.save(folder)
    with pytest.raises(InputError, match="learnt nothing"):
        PlannerModel(model).save(tmp_path / "none")
    with pytest.raises(ModelUnavailable, match="No planner is called 'other'"):
        planner_folder("other", tmp_path)
    (folder / "planner.json").write_text("{}", encoding="utf-8")
    with pytest.raises(ModelUnavailable, match="holds no planner"):
        PlannerModel.load(folder, base=model)


def test_a_planner_of_another_model_is_refused(model, learned, tmp_path):
    folder = PlannerModel(model, SETTINGS, learned[0], 10, "mills").save(tmp_path / "mine")
    other = tiny("qwen", tmp_path / "other", seed=5)
    with pytest.raises(ModelUnavailable, match="another"):
        PlannerModel.load(folder, base=other)


def searched(graph, plan, found):
    """The graph after the plan's nodes were searched."""
    graph = extended(graph, plan, most_nodes=40)
    for node in graph.searchers():
        if node.state == "waiting":
            node.state, node.results = "finished", found.get(node.content, [])
    return graph


def test_in_a_run_it_asks_one_query_a_turn_and_then_answers(model):
    planner = PlannerModel(model, SETTINGS)
    planner.__dict__["writer"] = Scripted()  # a cached property: the planner's own writer knows nothing of this world
    question = "Who taught the man behind the orra mill?"
    graph = Graph()
    graph.add(Node(ROOT, question, "root", "finished"))
    hits = [{"index": 0, "url": "u", "title": "orra mill", "summ": "Archiorra drew the orra mill."}]
    words = []
    trained = TrainedPlanner(planner)
    first = trained.plan(Turn(question=question, graph=graph), on_text=words.append)
    assert [(one.question, one.parents) for one in first.nodes] == [(question, (ROOT,)), ("orra mill", (ROOT,))]
    graph = searched(graph, first, {"orra mill": hits})
    past = (PastTurn("", ""),)
    second = trained.plan(Turn(question=question, graph=graph, past=past, number=2), on_text=words.append)
    assert [(one.question, one.parents) for one in second.nodes] == [("Archiorra pupil", ("search 1",))]
    graph = searched(graph, second, {})
    third = trained.plan(Turn(question=question, graph=graph, past=past, number=3), on_text=words.append)
    assert third.answer
    assert not third.nodes
    assert words == ["Search orra mill", "Search Archiorra pupil", "Done"]


def test_in_a_run_it_asks_of_two_names_side_by_side(model):
    planner = PlannerModel(model, SETTINGS)
    planner.__dict__["writer"] = AsksOfNames()
    question = "Who taught the man behind the orra mill?"
    graph = Graph()
    graph.add(Node(ROOT, question, "root", "finished"))
    trained, words = TrainedPlanner(planner), []
    graph = searched(graph, trained.plan(Turn(question=question, graph=graph), on_text=words.append), {
        "orra mill": [{"index": 0, "url": "u", "title": "orra mill", "summ": "It was drawn by Olof Brandt in Vasa."}]
    })  # fmt: skip
    past = (PastTurn("", ""),)
    second = trained.plan(Turn(question=question, graph=graph, past=past, number=2), on_text=words.append)
    assert [(one.name, one.question, one.parents) for one in second.nodes] == [
        ("search 2", "Olof Brandt pupil", ("search 1",)), ("search 3", "Vasa pupil", ("search 1",)),
    ]  # fmt: skip
    assert words[-1] == "Search Olof Brandt pupil\nSearch Vasa pupil"
    graph = searched(graph, second, {})
    assert trained.plan(Turn(question=question, graph=graph, number=3), on_text=words.append).answer


def test_mindsearch_runs_with_it(model):
    class Asks(Scripted):
        def _query(self, transcript):
            shown = " ".join(line for one in transcript.searched for line in one.lines)
            return "Petra Lindqvist taught" if "Petra" in shown else "mill at Orra designed"

    planner = PlannerModel(model, SETTINGS)
    planner.__dict__["writer"] = Asks()
    source = Facts()
    search = MindSearch(model_of(), source, planner=lambda _: TrainedPlanner(planner))
    run = search.start("Who taught the architect of the mill at Orra?")
    answer = run.result()
    graph = run.state.graph
    assert [node.name for node in graph.searchers()] == ["question", "search 1", "search 2"]
    assert graph.parents("search 2") == ["search 1"]
    assert {"mill at Orra designed", "Petra Lindqvist taught"} <= set(source.queries)
    assert "Olof Brandt" in answer.text
    assert answer.citations


def test_the_last_turn_answers(model):
    graph = Graph()
    graph.add(Node(ROOT, "q", "root", "finished"))
    trained = TrainedPlanner(PlannerModel(model, SETTINGS))
    assert trained.plan(Turn(question="q", graph=graph, number=5, most=5), on_text=lambda _: None).answer


def test_a_query_needs_the_nodes_that_gave_it_a_word():
    nodes = [
        Node("search 1", "orra mill", results=[{"title": "", "summ": "Archiorra drew it."}]),
        Node("search 2", "x"),
    ]
    transcript = transcript_of("Who?", nodes, SHORT)
    assert needed("Archiorra pupil", "Who?", nodes, transcript) == ("search 1",)
    assert needed("orra mill keeper", "Who?", nodes, transcript) == ()


# -- its own runs -----------------------------------------------------------------------------------------------------


class Drawing(Scripted):
    """Every other plan is the good one; the others ask for what finds nothing."""

    def write(self, transcripts, *, seeds=None, **_):
        written = zip(transcripts, seeds, strict=True)
        return [Written(self._drawn(one, seed // SETTINGS.most_queries), ()) for one, seed in written]

    def _drawn(self, transcript, seed):
        return self._query(transcript) if seed % 2 else f"nothing {len(transcript.searched)}"


def test_own_runs_are_the_plans_that_found_the_answer(recorded, search):
    by = EvolvingSettings(samples=4)
    own = rolled_out(Drawing(), recorded, recorded.trajectories, search, SETTINGS, by)
    wanted = [run for run in recorded.trajectories if run.measurable]
    assert [one.id for one in own] == [f"{run.id}@1" for run in wanted]
    for one, run in zip(own, wanted, strict=True):
        queries = [step.query for step in one.steps]
        assert "nothing" not in " ".join(queries)
        assert (one.question, one.answers, one.supporting) == (run.question, run.answers, run.supporting)
        found = pooled(search, one.question, queries, budget=SETTINGS.budget, first=SETTINGS.first)
        assert found_answer(recorded, one, found) == 1.0
        assert all(step.passages == tuple(search(step.query)[:5]) for step in one.steps)
    bad = EvolvingSettings(samples=1, temperature=0.5)
    assert len(rolled_out(Drawing(), recorded, recorded.trajectories, search, SETTINGS, bad)) < len(wanted)
