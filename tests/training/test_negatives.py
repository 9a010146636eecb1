"""Choosing negatives: static, filtered, denoised, drawn by SimANS, by topics; and those that follow the model."""

from __future__ import annotations

import math
from itertools import chain

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from foveal.errors import InputError
from foveal.training.dynamic_negatives import Adore, Refresh
from foveal.training.examples import Examples
from foveal.training.negatives import (
    balanced,
    below_positive,
    denoised,
    filled,
    simans,
    spread,
    taught,
    top_negatives,
    topic_batches,
    topics,
    with_pseudo_positives,
)
from foveal.training.searches import run_of

CORPUS = {f"d{n}": f"text {n}" for n in range(8)} | {"twin": "text 0", "copy": "text 5"}
EXAMPLES = Examples({"q": "query", "p": "other"}, CORPUS, {"q": {"d0": 1, "d1": 1}, "p": {"d7": 1}})
RUN = {"q": {"twin": 9.0, "d2": 8.0, "d0": 7.0, "d5": 6.0, "copy": 5.5, "d3": 5.0, "gone": 4.0}, "p": {"d7": 1.0}}


def test_static_negatives_are_the_top_without_what_answers():
    """T4: by id and by text; of equal texts the first; what the corpus lacks is passed over."""
    assert top_negatives(RUN, EXAMPLES, depth=5) == {"q": ["d2", "d5", "d3"], "p": []}
    assert top_negatives(RUN, EXAMPLES, depth=2, skip=1) == {"q": ["d5"], "p": []}
    with pytest.raises(InputError, match="skip < depth"):
        top_negatives(RUN, EXAMPLES, depth=2, skip=2)


def test_what_was_judged_wrong_comes_first_in_every_pool():
    """Found or not, at whatever rank, and where a filter left it out; what counts neither way comes in none."""
    judged = {"q": {"d0": 1, "d3": 0, "d6": 0, "d1": 1}, "p": {"d7": 1}}
    examples = Examples(EXAMPLES.queries, CORPUS, judged, aside={"q": {"d2"}})
    found = top_negatives(RUN, examples, depth=1)
    assert found == {"q": ["d3", "d6", "d5"], "p": []}
    assert top_negatives(RUN, examples, depth=2, skip=1)["q"] == ["d3", "d6"]  # ranks are of what nobody judged
    for seed in range(5):
        whole = filled({"q": ["d5"], "p": []}, examples, 4, seed=seed)
        assert whole["q"][:3] == ["d3", "d6", "d5"]
        assert "d2" not in whole["q"]
    with pytest.raises(InputError, match="'q' was to get 7 negatives, but only 6"):
        filled({}, examples, 7)  # d3 to d7, and the copy of d5


def test_a_run_lacks_what_counts_neither_way():
    examples = Examples(EXAMPLES.queries, CORPUS, EXAMPLES.judged, aside={"q": {"d2", "d5"}})
    asked = []

    def search(queries, k):
        asked.append(k)
        return [dict(list(RUN["q"].items())[:k]) for _ in queries]

    found = run_of(search, examples, 3)
    assert asked == [5]
    assert found == {"q": {"twin": 9.0, "d0": 7.0, "copy": 5.5}, "p": {"twin": 9.0, "d2": 8.0, "d0": 7.0}}
    assert run_of(search, EXAMPLES, 3)["q"] == dict(list(RUN["q"].items())[:3])


SCORES = {"q": {"d0": 0.8, "d1": 0.6, "d2": 0.95, "d3": 0.59, "d4": 0.5, "d5": -0.2}}
POOL = {"q": ["d2", "d3", "d4", "d5"]}


@given(st.floats(0, 1), st.floats(0, 1), st.floats(-1, 1))
def test_margin_filters_by_their_definition(margin, relative, highest):
    """T6: below the query's lowest relevant document by an absolute and a relative margin, and a highest score."""
    kept = below_positive(POOL, SCORES, EXAMPLES, margin=margin, relative=relative, highest=highest)["q"]
    for document in POOL["q"]:
        score = SCORES["q"][document]
        assert (document in kept) is (score <= 0.6 - margin and score <= 0.6 - relative * 0.6 and score <= highest)


def test_margin_filters_need_a_relevant_documents_score():
    with pytest.raises(InputError, match="No relevant document of query 'q'"):
        below_positive(POOL, {"q": dict.fromkeys(POOL["q"], 0.0)}, EXAMPLES)
    with pytest.raises(InputError, match="below 0"):
        below_positive(POOL, SCORES, EXAMPLES, margin=-1)


def test_denoised_by_a_teachers_bounds():
    """T6: below 0.1 a negative, above 0.9 a pseudo-positive, between them nothing."""
    found = denoised(POOL, SCORES)
    assert found.negatives == {"q": ["d5"]}
    assert found.pseudo_positives == {"q": ["d2"]}
    at_bounds = denoised({"q": ["d3", "d4"]}, {"q": {"d3": 0.1, "d4": 0.9}})
    assert (at_bounds.negatives, at_bounds.pseudo_positives) == ({"q": []}, {})
    more = with_pseudo_positives(EXAMPLES, found.pseudo_positives)
    assert more.positives == {"q": ["d2", "d0", "d1"], "p": ["d7"]}
    with pytest.raises(InputError, match="bounds"):
        denoised(POOL, SCORES, lower=1, upper=0)


def test_simans_draws_near_the_relevant_document():
    """T6: SimANS, by exp(-a (s - s+ - b)^2) without return; the first draw has just these odds."""
    a, b, rounds = 6.0, -0.1, 4000
    firsts = [simans(POOL, SCORES, EXAMPLES, count=2, a=a, b=b, seed=seed)["q"] for seed in range(rounds)]
    weights = {d: math.exp(-a * (SCORES["q"][d] - 0.7 - b) ** 2) for d in POOL["q"]}
    for document, weight in weights.items():
        share = sum(drawn[0] == document for drawn in firsts) / rounds
        assert share == pytest.approx(weight / sum(weights.values()), abs=0.03)
    assert all(len(set(drawn)) == 2 for drawn in firsts)
    with pytest.raises(InputError, match="SimANS"):
        simans(POOL, SCORES, EXAMPLES, count=0)


def test_pools_are_filled_with_what_does_not_answer():
    whole = filled({"q": ["d2"]}, EXAMPLES, 4, seed=1)
    assert whole["q"][0] == "d2"
    assert all(len(set(pool)) == 4 and all(EXAMPLES.wrong(q, d) for d in pool) for q, pool in whole.items())
    assert whole == filled({"q": ["d2"]}, EXAMPLES, 4, seed=1)
    with pytest.raises(InputError, match=r"'q' was to get 20 negatives, but only 7 .* Ask for fewer"):
        filled({}, EXAMPLES, 20)
    with pytest.raises(InputError, match=r"'q' was to get 1 negatives, but every document answers it, .* Leave it"):
        filled({}, Examples({"q": "?"}, {"a": "x", "b": "y"}, {"q": {"a": 1, "b": 1}}), 1)


def test_a_teacher_is_asked_once_for_each_pair():
    asked = []

    def teacher(pairs):
        asked.extend(pairs)
        return [len(text) for _, text in pairs]

    scores = taught(EXAMPLES, {"q": ["d2", "d0"], "p": []}, teacher)
    assert {q: set(said) for q, said in scores.items()} == {"q": {"d0", "d1", "d2"}, "p": {"d7"}}
    assert len(asked) == len(set(asked)) == 4
    for wrong in (lambda _: [1.0], lambda pairs: [math.nan] * len(pairs)):
        with pytest.raises(InputError, match="finite score"):
            taught(EXAMPLES, {}, wrong)


def test_a_teachers_scores_are_brought_to_a_spread():
    even = spread({"q": {"a": 1.0, "b": 3.0}, "p": {"a": 10.0, "b": 14.0, "c": 12.0}}, 2.0)
    variance = np.mean([np.var(list(one.values())) for one in even.values()])
    assert math.sqrt(variance) == pytest.approx(2.0)
    assert even["q"]["b"] / even["q"]["a"] == pytest.approx(3.0)
    assert spread({"q": {"a": 1.0}}, 2.0) == {"q": {"a": 1.0}}


def test_topics_are_the_clusters_that_there_are():
    """T7: k-means over query vectors."""
    generator = np.random.default_rng(0)
    centres = np.eye(4, 6) * 10
    truth = generator.integers(4, size=60)
    vectors = (centres[truth] + generator.normal(size=(60, 6)) * 0.1).astype(np.float32)
    found = [topics(vectors, 4, seed=seed) for seed in range(5)]
    pairs = [len(set(zip(truth, one, strict=True))) for one in found]
    assert 4 in pairs  # one cluster for each centre, from a good start
    assert (topics(vectors, 60, seed=0) < 60).all()
    with pytest.raises(InputError, match="61 topics"):
        topics(vectors, 61)


def test_each_query_is_of_the_topic_whose_mean_is_nearest():
    """T7: Lloyd's iterations, to their end; a topic that nothing is nearest to stays where it was."""
    vectors = np.random.default_rng(3).normal(size=(80, 5)).astype(np.float32)
    found = topics(vectors, 6, rounds=100)
    assert set(found) == set(range(6))
    means = np.stack([vectors[found == topic].mean(0) for topic in range(6)])
    assert np.array_equal(np.linalg.norm(vectors[:, None] - means, axis=2).argmin(1), found)
    assert not np.array_equal(topics(vectors, 6, rounds=1), found)
    twice = np.repeat(vectors[:3], 2, axis=0)
    assert {tuple(topics(twice, 6)[place : place + 2] - topics(twice, 6)[place]) for place in (0, 2, 4)} == {(0, 0)}


@given(st.lists(st.integers(0, 3), min_size=1, max_size=30), st.integers(1, 7), st.integers(0, 5))
def test_topic_batches_hold_one_topic_and_each_query_once(clusters, batch, seed):
    """T7: batches of one topic."""
    batches = topic_batches(clusters, batch, seed=seed)
    assert sorted(chain.from_iterable(batches)) == list(range(len(clusters)))
    for places in batches:
        assert len(places) <= batch
        assert len({clusters[place] for place in places}) == 1


def test_balanced_pairs_come_from_every_bin_equally():
    """T7: pairs balanced over margin bins, though hard pairs are rare."""
    margins = [0.01 * n for n in range(2)] + [9.0 + 0.001 * n for n in range(500)]
    drawn = balanced(margins, 2000, bins=10, seed=0)
    assert sum(place < 2 for place in drawn) / 2000 == pytest.approx(0.5, abs=0.05)
    assert set(balanced([1.0, 1.0], 50)) == {0, 1}
    with pytest.raises(InputError, match="bins"):
        balanced([], 3)


def test_ance_mines_anew_every_m_steps_and_goes_on_from_a_checkpoint():
    """T5: what the rows read changes in place; a model is searched in eval mode and left as it was."""
    model, seen = nn.Linear(1, 1), []

    def search(now):
        seen.append(now.training)
        return {"q": {f"d{2 + len(seen)}": 1.0, "d0": 2.0}, "p": {}}

    negatives = {"q": ["d2"], "p": ["d2"]}
    refresh = Refresh(EXAMPLES, negatives, search, every=3, depth=5)
    state = torch.get_rng_state()
    for step in range(1, 8):
        refresh.at_step(step, model.train())
    assert torch.equal(torch.get_rng_state(), state)
    assert (refresh.done, seen, model.training) == ([3, 6], [False, False], True)
    assert negatives["q"][0] == "d4"
    assert len(negatives["p"]) == 1
    again = Refresh(EXAMPLES, {"q": ["d2"], "p": ["d2"]}, search, every=3)
    again.restore(refresh.state())
    assert (again.negatives, again.done) == (negatives, [3, 6])
    with pytest.raises(InputError, match="refresh"):
        Refresh(EXAMPLES, {}, search, every=0)


class Embedding(nn.Module):
    """A "SentenceTransformer" whose vectors are rows of a table."""

    def __init__(self, rows: int, dimension: int) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.table = nn.Parameter(torch.randn(rows, dimension, generator=generator))

    def forward(self, features: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        return {"sentence_embedding": self.table[features["input_ids"][:, 0]]}


def test_adore_trains_queries_against_the_hardest_of_all_documents():
    """T5: ADORE; the loss by its definition, and no gradient to the documents."""
    model = Embedding(3, 4)
    documents = torch.randn(9, 4, generator=torch.Generator().manual_seed(1), requires_grad=True)
    loss = Adore(model, documents, [[0], [1, 2], [8]], k=3, temperature=0.5)
    ids = torch.tensor([[1], [2]])
    value = loss([{"input_ids": ids}], torch.tensor([[1], [2]]))
    expected = []
    for row, answers in ((1, [1, 2]), (2, [8])):
        query = model.table[row].detach() / model.table[row].detach().norm()
        scores = [float(query @ (d / d.norm())) / 0.5 for d in documents.detach()]
        hardest = sorted((s for n, s in enumerate(scores) if n not in answers), reverse=True)[:3]
        each = [-math.log(math.exp(scores[a]) / (math.exp(scores[a]) + sum(map(math.exp, hardest)))) for a in answers]
        expected.append(sum(each) / len(each))
    assert float(value.detach()) == pytest.approx(sum(expected) / 2, abs=1e-5)
    value.backward()
    assert documents.grad is None
    assert model.table.grad[1:].abs().sum() > 0 == model.table.grad[0].abs().sum()
    with pytest.raises(InputError, match="ADORE"):
        Adore(model, documents, [[]])


def test_adore_learns_to_find():
    """T5: a few steps on frozen documents raise the answers to the top."""
    model = Embedding(4, 6)
    documents = torch.randn(40, 6, generator=torch.Generator().manual_seed(2))
    loss = Adore(model, documents, [[n] for n in range(4)], k=10)
    optimiser = torch.optim.Adam(model.parameters(), lr=0.1)
    for _ in range(40):
        optimiser.zero_grad()
        loss([{"input_ids": torch.arange(4)[:, None]}], torch.arange(4)).backward()
        optimiser.step()
    scores = nn.functional.normalize(model.table, dim=-1) @ loss.documents.T
    assert scores.argmax(-1).tolist() == [0, 1, 2, 3]
