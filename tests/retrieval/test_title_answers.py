"""Answers of several titles against scoring each possible answer alone, over encoder-decoders and causal models."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
from title_models import QUERIES, title_model

from foveal.errors import InputError
from foveal.retrieval.constrained_beams import BeamSettings, score_titles, search_titles
from foveal.retrieval.corpusbrain import CorpusBrain
from foveal.retrieval.title_answers import search_answers
from foveal.retrieval.title_trie import TitleTrie

NAMES = ["Paris", "Paris Hilton", "Rome", "Romeo"]
EVERY = BeamSettings(beams=10_000)


@pytest.fixture(scope="module", params=("t5", "bart", "qwen"))
def model(request, tmp_path_factory):
    return title_model(request.param, tmp_path_factory.mktemp(request.param), NAMES)


def trie_of(model, titles=NAMES):
    return TitleTrie.of(model.title_ids(titles), model.end)


def answers_by_definition(model, query, most, alpha):
    """Each row of different titles, its tokens as training has them, scored by teacher forcing."""
    rows = [row for size in range(1, most + 1) for row in permutations(range(len(NAMES)), size)]
    targets = [model.target([NAMES[title] for title in row]) for row in rows]
    totals = score_titles(model, [query], targets)[0]
    scores = totals / np.array([len(one) for one in targets]) ** alpha
    return sorted(zip(rows, scores.tolist(), totals.tolist(), strict=True), key=lambda one: -one[1])


@pytest.mark.parametrize(("most", "alpha"), [(1, 1.0), (2, 1.0), (2, 0.0), (3, 1.0)])
def test_with_enough_beams_the_ranking_is_that_of_scoring_every_answer(model, most, alpha):
    settings = BeamSettings(beams=EVERY.beams, alpha=alpha)
    found = search_answers(model, trie_of(model), QUERIES, 1000, settings, most=most)
    for query, answers in zip(QUERIES, found, strict=True):
        expected = answers_by_definition(model, query, most, alpha)
        assert {one.titles for one in answers} == {row for row, _, _ in expected}
        by_row = {row: (score, total) for row, score, total in expected}
        for one in answers:
            assert (one.score, one.log_probability) == pytest.approx(by_row[one.titles], abs=1e-3)
        assert [one.score for one in answers] == sorted((one.score for one in answers), reverse=True)


def test_fewer_answers_are_the_first_of_all(model):
    """What cannot enter the best k is not gone on with, and nothing else is lost."""
    every = search_answers(model, trie_of(model), QUERIES, 1000, EVERY, most=2)
    few = search_answers(model, trie_of(model), QUERIES, 3, EVERY, most=2)
    assert [[one.titles for one in found] for found in few] == [[one.titles for one in found[:3]] for found in every]


def test_answers_of_one_title_are_those_of_the_search_for_titles(model):
    one = search_answers(model, trie_of(model), QUERIES, 4, EVERY, most=1)
    titles = search_titles(model, trie_of(model), QUERIES, 4, EVERY)
    for found, plain in zip(one, titles, strict=True):
        assert [answer.titles for answer in found] == [(title.title,) for title in plain]
        np.testing.assert_allclose([a.score for a in found], [t.score for t in plain], atol=1e-4)


def test_few_beams_write_whole_answers_without_repeats(model):
    for found in search_answers(model, trie_of(model), QUERIES, 4, BeamSettings(beams=4, queries_at_once=2), most=4):
        assert 1 <= len(found) <= 4
        assert all(len(set(one.titles)) == len(one.titles) <= 4 for one in found)


def test_documents_are_named_in_the_order_of_their_titles(model):
    brain = CorpusBrain.of(model, {f"d{number}": title for number, title in enumerate(NAMES)})
    found = brain.retrieve_several([QUERIES[0], " "], 5, most=2, settings=EVERY)
    assert found[1] == []
    expected = answers_by_definition(model, QUERIES[0], 2, 1.0)[:5]
    assert [one.documents for one in found[0]] == [tuple(f"d{title}" for title in row) for row, _, _ in expected]
    assert [one.titles for one in found[0]] == [tuple(NAMES[title] for title in row) for row, _, _ in expected]
    np.testing.assert_allclose(np.log([one.probability for one in found[0]]), [t for _, _, t in expected], atol=1e-3)
    chosen = brain.retrieve_several(QUERIES[:1], 50, most=2, candidates=["Romeo", "Paris"], settings=EVERY)[0]
    assert {one.titles for one in chosen} == {("Romeo",), ("Paris",), ("Romeo", "Paris"), ("Paris", "Romeo")}
    assert {one.documents for one in chosen} == {("d3",), ("d0",), ("d3", "d0"), ("d0", "d3")}


def test_answers_that_cannot_be_written_are_refused(model, monkeypatch):
    trie = trie_of(model)
    for wrong in ({"k": 0}, {"most": 0}):
        with pytest.raises(InputError, match="at least 1 of each"):
            search_answers(model, trie, QUERIES, **wrong)
    with pytest.raises(InputError, match="another model's tokens"):
        search_answers(model, TitleTrie.of([[7, 9, 8]], 8), QUERIES)
    monkeypatch.setattr(model, "separator", [model.end])  # a tokenizer without " | "
    with pytest.raises(InputError, match="one title only"):
        search_answers(model, trie, QUERIES)
    assert search_answers(model, trie, QUERIES[:1], 2, most=1)
