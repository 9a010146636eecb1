"""Keyword, part-of-passage and crop tasks against their definitions."""

from __future__ import annotations

import math
import re

import numpy as np
import pytest

from foveal.errors import InputError
from foveal.evaluation.fine_grained import (
    Keywords,
    crop,
    held_out,
    make_keyword_task,
    make_part_of_passage_task,
    recall_at_1,
)
from foveal.evaluation.metrics import evaluate

CORPUS = {
    "a": "The rods see in dim light, the rods see 1998 shapes.",
    "b": "The cones see colours in bright light.",
    "c": "The tears keep the cornea wet.",
    "d": "It is so.",
}


def rarity(term):
    holding = sum(term in re.findall(r"\w+", text.lower()) for text in CORPUS.values())
    return math.log(1 + (len(CORPUS) - holding + 0.5) / (holding + 0.5))


def test_keywords_are_the_terms_of_the_highest_tf_idf():
    task = make_keyword_task(CORPUS, 3)
    assert task.queries["keyword-3:a"].split()[0] == "rods"  # twice, in one passage only
    counts = {"rods": 2, "see": 2, "dim": 1, "shapes": 1, "light": 1}
    best = sorted(counts, key=lambda term: (-counts[term] * rarity(term), term))[:3]
    assert task.queries["keyword-3:a"].split() == best
    assert task.qrels["keyword-3:b"] == {"b": 1}
    assert all("1998" not in query for query in task.queries.values())
    assert Keywords(CORPUS).rarity["rods"] == pytest.approx(rarity("rods"))


def test_what_is_too_short_is_passed_over_and_counted():
    task = make_keyword_task(CORPUS, 3)
    assert "keyword-3:d" not in task.queries
    assert task.skipped == 1
    spans = make_part_of_passage_task(CORPUS, 8)
    assert spans.skipped == 3  # only "a" has eight words
    assert list(spans.queries) == ["P-o-P-8:a"]


def test_keywords_from_a_pool_are_drawn_from_the_seed():
    pool = make_keyword_task(CORPUS, 2, seed=1, pool=4)
    assert pool == make_keyword_task(CORPUS, 2, seed=1, pool=4)
    seen = {make_keyword_task(CORPUS, 2, seed=seed, pool=4).queries["keyword-2:a"] for seed in range(12)}
    assert len(seen) > 1
    best = Keywords(CORPUS).of("a", 4)
    assert all(set(query.split()) <= set(best) for query in seen)


def test_a_part_of_a_passage_is_a_run_of_its_tokens():
    task = make_part_of_passage_task(CORPUS, 4, seed=3)
    for query, text in task.queries.items():
        (passage,) = task.qrels[query]
        assert text in CORPUS[passage]
        assert len(re.findall(r"\w+", text)) == 4
    starts = {make_part_of_passage_task(CORPUS, 4, seed=seed).queries["P-o-P-4:a"] for seed in range(12)}
    assert len(starts) > 2
    letters = make_part_of_passage_task(
        CORPUS, 5, token_offsets=lambda text: [(place, place + 1) for place in range(len(text))]
    )
    assert all(len(text) == 5 for text in letters.queries.values())


def test_tasks_of_chosen_passages_are_judged_as_beir_judges():
    task = make_keyword_task(CORPUS, 2, passages=["b", "c"])
    run = {query: dict.fromkeys(found, 1.0) for query, found in task.qrels.items()}
    assert evaluate(run, task.qrels, ["ndcg@1", "mrr@10"]) == {"ndcg@1": 1.0, "mrr@10": 1.0}
    assert list(task.only(["c"]).queries) == ["keyword-2:c"]
    assert make_keyword_task(CORPUS, 2).only(["b", "c"]).queries == task.queries


def test_the_halves_share_nothing():
    corpus = {f"d{n}": f"text {n}" for n in range(50)}
    learnt, held = held_out(corpus, count=20, seed=4)
    assert (len(learnt), len(held)) == (10, 10)
    assert not set(learnt) & set(held)
    assert held_out(corpus, count=20, seed=4) == (learnt, held)
    assert held_out(corpus, count=20, seed=5) != (learnt, held)
    assert sorted(held_out({"a": "one", "b": "two"})) == [["a"], ["b"]]


def test_a_crop_is_the_top_left_share():
    image = np.arange(10 * 8 * 3, dtype=np.uint8).reshape(10, 8, 3)
    np.testing.assert_array_equal(crop(image, 0.5), image[:5, :4])
    assert crop(image, 0.01).shape == (1, 1, 3)
    np.testing.assert_array_equal(crop(image, 1), image)


def test_recall_at_1_is_how_often_the_own_document_is_best():
    documents = np.eye(3, dtype=np.float32)
    queries = np.array([[1, 0, 0], [1, 0.5, 0], [0, 0, 1]], dtype=np.float32)
    assert recall_at_1(queries, documents) == pytest.approx(2 / 3)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: make_keyword_task({}, 3), "no passages"),
        (lambda: make_keyword_task(CORPUS, 0), "k=0"),
        (lambda: make_keyword_task(CORPUS, 3, pool=2), "pool=2"),
        (lambda: make_part_of_passage_task(CORPUS, 0), "n=0"),
        (lambda: make_part_of_passage_task(CORPUS, 4, passages=["z"]), "'z'"),
        (lambda: held_out({"a": "one"}), "two or more"),
        (lambda: crop(np.zeros((4, 4, 3), np.uint8), 0), "share 0"),
    ],
)
def test_what_no_task_can_be_made_of_is_refused(make, says):
    with pytest.raises(InputError, match=says):
        make()
