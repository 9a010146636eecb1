"""A goal ranker learns what a goal needs of a text, stands behind a search, and is kept only if it helps."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from retrieval.shelf import hit
from training.conftest import make_encoder, topic_examples

from foveal.errors import Cancelled, InputError, ModelUnavailable
from foveal.evaluation.metrics import evaluate
from foveal.models.chat import Cancel
from foveal.nn.text_filter import TextFilter, TextFilterSettings, padded
from foveal.ranking.by_name import load_ranker
from foveal.ranking.goal_ranker import GoalRanker, GoalScorer, TokenStates
from foveal.ranking.goal_training import METRICS, GoalTraining, Presences, presence, train_goal_ranker
from foveal.ranking.judged import Judged
from foveal.retrieval.pipeline import Pipeline
from foveal.training.examples import Examples, Rows
from foveal.training.loop import LoopSettings
from foveal.training.runs import RunSettings

SENTENCES = {
    "cooking": [
        "Simmer the onions in butter until they are soft.", "Knead the dough and let it rise for an hour.",
        "Season the soup with salt, pepper and thyme.", "Roast the potatoes in a hot oven.",
        "Whisk the eggs with sugar until pale.", "Drain the pasta and stir in the sauce.",
    ],
    "sailing": [
        "Haul in the mainsail when the wind shifts.", "The keel keeps the yacht upright.",
        "Drop the anchor in the lee of the island.", "The helmsman tacked towards the harbour.",
        "Reef the sails before the storm comes.", "The hull cut through the waves.",
    ],
    "astronomy": [
        "The telescope showed the rings of Saturn.", "A supernova outshines its whole galaxy.",
        "The comet passes the sun every 76 years.", "Jupiter has four large moons.",
        "Stars form in clouds of cold gas.", "The probe left the orbit of Mars.",
    ],
    "banking": [
        "The lender raised its interest rate.", "She paid the mortgage from her savings account.",
        "The cheque was credited the next day.", "Bonds fell as inflation rose.",
        "The branch refused him an overdraft.", "Shareholders approved the dividend.",
    ],
}  # fmt: skip


@pytest.fixture
def topics():
    return topic_examples()


def scorer_of(states, width, **settings):
    torch.manual_seed(0)
    return GoalScorer(
        TextFilter(TextFilterSettings(channels=width, goal_width=width, tokens=states.tokens, **settings)), states
    )


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """A BERT of some kilobytes."""
    folder = make_encoder(tmp_path_factory.mktemp("tiny") / "encoder")
    return TokenStates.of(str(folder), 12)


def test_texts_are_padded_and_cut(tiny):
    tokens, mask = tiny.texts(["a0 f1", "f1 " * 30])
    assert tokens.shape == (2, 12, 16)
    assert mask.sum(1).tolist() == [4, 12]
    assert (tokens[0, 4:] == 0).all()
    alone, _ = tiny.texts(["a0 f1"])
    assert torch.equal(alone[0], tokens[0])
    made, real = padded([torch.ones(2, 3), torch.ones(9, 3)], 4)
    assert (made.sum((1, 2)).tolist(), real.sum(1).tolist()) == ([6, 12], [2, 4])


def test_scores_do_not_depend_on_the_batch(tiny):
    scorer = scorer_of(tiny, 16)
    pairs = [(f"a{n % 8}", f"b{n % 5} f{n % 7}") for n in range(150)]
    whole, single = scorer(pairs), [scorer([pair])[0] for pair in pairs[::29]]
    assert whole[::29] == pytest.approx(single, abs=1e-5)
    assert scorer([]) == []
    features = scorer.features("a1", [text for _, text in pairs])
    assert features.shape == (150, 10)
    assert np.allclose(scorer.features("a1", [pairs[40][1]])[0], features[40], atol=1e-5)
    with pytest.raises(InputError, match="no texts"):
        scorer.features("a1", [])


def test_it_orders_hits_and_leaves_the_rest(tiny):
    scorer = scorer_of(tiny, 16)
    hits = [hit(f"d{n}", 1.0 - n / 10, f"b{n} f{n}") for n in range(5)]
    told = scorer([("a2", one.passage.text) for one in hits[:3]])
    ranked = GoalRanker(scorer, budget=3).rank("a2", hits)
    best = sorted(range(3), key=lambda place: -told[place])
    assert [one.passage for one in ranked] == [hits[place].passage for place in [*best, 3, 4]]
    first = GoalRanker(scorer, weight=0.0).rank("a2", hits)
    assert [one.passage for one in first] == [one.passage for one in hits]
    assert GoalRanker(scorer).rank("a2", []) == []
    with pytest.raises(InputError, match=r"weight = 1\.5"):
        GoalRanker(scorer, weight=1.5)
    cancel = Cancel()
    cancel.set()
    with pytest.raises(Cancelled):
        GoalRanker(scorer).rank("a2", hits, cancel=cancel)


def test_it_is_saved_and_found_by_name(tiny, tmp_path):
    made = GoalRanker(scorer_of(tiny, 16, bottleneck="linear"), weight=0.6)
    folder = made.save(tmp_path / "models" / "mine")
    loaded = load_ranker("mine", home=tmp_path)
    hits = [hit(f"d{n}", 1.0 - n / 10, f"b{n} f{n}") for n in range(4)]
    assert [one.score for one in loaded.rank("a3", hits)] == [one.score for one in made.rank("a3", hits)]
    assert loaded.rank("a3", hits)[0].source == "mine"
    with pytest.raises(InputError, match="holds no goal ranker"):
        GoalRanker.load(tmp_path)
    told = (folder / "goal-ranker.json").read_text()
    (folder / "goal-ranker.json").write_text(told.replace(tiny.encoder.fingerprint, "0" * 64))
    with pytest.raises(ModelUnavailable, match="another"):
        GoalRanker.load(folder)
    (folder / "goal-ranker.json").write_text(told.replace(json.dumps(tiny.encoder.name), '"gone"'))
    with pytest.raises(ModelUnavailable, match="mine reads by the encoder gone, which is not there"):
        GoalRanker.load(folder)
    for wrong in (told.replace('"hidden"', '"inside"'), told.replace('"weight"', '"share"')):
        (folder / "goal-ranker.json").write_text(wrong)
        with pytest.raises(InputError, match=r"goal ranker that another version .* foveal train goal-ranker"):
            GoalRanker.load(folder)


def in_order(corpus, first=1.0):
    """A first stage that finds everything, in the order of the ids."""

    def search(queries, k):
        return [{name: first - place / 100 for place, name in enumerate(sorted(corpus)[:k])} for _ in queries]

    return search


def with_marks():
    """Of each topic three texts, of which the last by name, the one with the word f0, answers all its queries."""
    corpus = [(f"d{t}-{n}", f"b{t} {('f1 f3', 'f4 f5', 'f0 f2')[n]}") for t in range(8) for n in range(3)]
    queries = [(f"q{t}-{n}", f"a{t} f{n}") for t in range(8) for n in range(5)]
    return Examples.gathered(queries, corpus, [(name, f"d{name[1]}-2", 1) for name, _ in queries], name="marks")


def test_training_makes_it_better_than_the_first_stage(tmp_path):
    folder, examples = make_encoder(tmp_path / "encoder"), with_marks()
    judged = Judged(examples, in_order(examples.corpus), "all of them, in order")
    loop = LoopSettings(epochs=6, batch=8, learning_rate=1e-2, evaluate_every=10)
    settings = GoalTraining(tokens=12, codebook={"codes": 16, "temperature": 0.2}, loop=loop)
    run = RunSettings(home=tmp_path / "home", name="topics")
    place, report = train_goal_ranker(judged, settings, run=run, encoder=str(folder))
    before, after = report.measured["dev"]
    assert after["map"] > before["map"] + 0.1
    assert place == tmp_path / "home" / "models" / "topics"
    assert any("Codes in use" in note for note in report.notes)
    near = replace(judged, search=in_order(examples.corpus, first=1 + 1e-9))  # elsewhere last digits differ
    assert train_goal_ranker(near, settings, run=run, encoder=str(folder)) == (place, report)
    assert isinstance(load_ranker(str(place)), GoalRanker)


@pytest.mark.slow
def test_test_queries_may_have_the_ids_of_others(tmp_path):
    """What is found for them takes nothing from what is learnt."""
    folder, examples = make_encoder(tmp_path / "encoder"), with_marks()
    asked = replace(examples.only(["q0-0"]), queries={"q0-0": "a5 f1"}, judged={"q0-0": {"d5-2": 1}})

    def search(queries, k):
        return [{f"d5-{n}": 0.5 for n in range(3)} if query == "a5 f1" else every(query, k) for query in queries]

    def every(query, k):
        return in_order(examples.corpus)([query], k)[0]

    judged = Judged(examples.only([query for query in examples.queries if query != "q5-1"]), search, "in order")
    loop, told = LoopSettings(steps=2, batch=8, learning_rate=1e-2), {}
    settings = GoalTraining(tokens=12, codebook={"codes": 16}, loop=loop)
    for name, test in (("with", asked), ("without", None)):
        run = RunSettings(home=tmp_path, name=name, test=test)
        told[name] = train_goal_ranker(judged, settings, run=run, encoder=str(folder))[1]
    assert told["with"].measured["dev"] == told["without"].measured["dev"]
    assert told["with"].curves.losses == told["without"].curves.losses
    first = {"q0-0": {f"d5-{n}": 0.5 for n in range(3)}}
    assert told["with"].measured["test"][0] == evaluate(first, asked.judged, METRICS)


def test_the_loss_counts_both_answers_alike(tiny, topics):
    rows = Rows(topics, {query: [d for d in topics.corpus if topics.wrong(query, d)] for query in topics.queries}, 3)
    made = Presences(rows, tiny)
    batch = made.joined([made[0], made[1]])
    assert batch["answers"].tolist() == [1, 0, 0, 0] * 2
    assert batch["tokens"].shape == (8, 12, 16)
    logits = torch.tensor([2.0, -1, 0.5, 0, 1, 3, -2, 0])
    told = presence(lambda *_: logits, batch)
    yes, no = torch.nn.functional.softplus(-logits[[0, 4]]), torch.nn.functional.softplus(logits[[1, 2, 3, 5, 6, 7]])
    assert float(told) == pytest.approx(float((3 * yes.sum() + no.sum()) / 8))


def test_a_row_holds_a_goal_and_its_own_texts_anew_in_each_epoch(tiny, topics):
    rows = Rows(topics, {query: [d for d in topics.corpus if topics.wrong(query, d)] for query in topics.queries}, 3)
    made, count = Presences(rows, tiny), len(rows)
    for place in (0, 1, count - 1, count, 2 * count + 3):
        told = rows[place]
        assert made[place] == (told["anchor"], [told["positive"], *(told[f"negative_{n}"] for n in (1, 2, 3))])
    assert made[1][1][1:] != made[count + 1][1][1:]
    plan = made.plan(2, batch=4, seed=0)
    assert sorted(place for batch in plan for place in batch) == list(range(2 * count, 3 * count))
    goals = made.joined([made[0], made[count - 1]])["goals"]
    expected = tiny.goals([made[0][0]] * 4 + [made[count - 1][0]] * 4)
    torch.testing.assert_close(goals, expected)


def test_settings_that_it_does_not_take():
    for wrong in ({"tokens": 0}, {"negatives": 0}, {"depth": 0}):
        with pytest.raises(InputError):
            GoalTraining(**wrong)


@pytest.mark.model
def test_on_real_text_the_goal_decides_what_counts():
    """Two sentences side by side: the goal names what one is about, or neither; measured on sentences that are new."""
    states, draw = TokenStates.of("minilm", 40), np.random.default_rng(0)
    topics = list(SENTENCES)

    def mixed(count, part):
        rows = []
        for _ in range(count):
            one, other, third = (topics[int(place)] for place in draw.permutation(4)[:3])
            text = " ".join(str(draw.choice(SENTENCES[topic][part])) for topic in (one, other))
            present = bool(draw.random() < 0.5)
            rows.append((one if present else third, text, float(present)))
        return rows

    learnt, held = mixed(240, slice(0, 5)), mixed(60, slice(5, 6))
    scorer = scorer_of(states, 384, codebook={"codes": 32})
    optimiser = torch.optim.Adam(scorer.model.parameters(), lr=2e-3)
    scorer.model.train()
    goals, texts, answers = zip(*learnt, strict=True)
    tokens, told, right = *states.texts(texts), torch.tensor(answers)
    for _ in range(30):
        for rows in torch.randperm(240).split(60):
            logits = scorer.model(tokens[rows], told[rows], states.goals([goals[row] for row in rows]))
            loss = torch.nn.functional.binary_cross_entropy_with_logits(logits, right[rows])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
    scores = scorer([(goal, text) for goal, text, _ in held])
    assert np.mean([(score > 0) == bool(answer) for score, (_, _, answer) in zip(scores, held, strict=True)]) > 0.8

    class Shelf:
        """A first stage that finds all sentences nobody learnt from."""

        def search(self, queries, k):
            found = [hit(topic, 1.0, told[5]) for topic, told in SENTENCES.items()]
            return [found[:k] for _ in queries]

    searched = Pipeline([Shelf(), GoalRanker(scorer)], budgets=[4, 4])
    best = [hits[0].passage.text for hits in searched.search(topics, 4)]
    assert sum(text == SENTENCES[topic][5] for text, topic in zip(best, topics, strict=True)) >= 3
