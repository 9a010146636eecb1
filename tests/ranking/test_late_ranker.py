"""Late interaction as a ranker: MaxSim beside the search's score, vectors kept, a trained model by its name."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from training.conftest import make_encoder

from foveal.errors import Cancelled, InputError
from foveal.models.chat import Cancel
from foveal.ranking.by_name import load_ranker
from foveal.ranking.late_ranker import KeptVectors, LateRanker
from foveal.retrieval.late_tokens import is_multi_vector
from foveal.training.late_encoders import LateEncoderSettings, late_model
from foveal.training.model_folders import save_model
from foveal.types import Hit, Passage, Span

TEXTS = ("red mill by the river", "blue mill", "red fox at night", "the river at night", "a mill")


class Words:
    """A `TokenModel`: a word's vector is drawn from its hash, so that equal words are equal and others are not."""

    name, dimension, fingerprint = "words", 16, "words"

    def __init__(self):
        self.read: list[str] = []

    def queries(self, texts):
        return [self._rows(text) for text in texts]

    def documents(self, texts):
        self.read += texts
        return self.queries(texts)

    def _rows(self, text):
        seeds = [int(hashlib.sha256(word.encode()).hexdigest()[:8], 16) for word in text.split()]
        rows = np.stack([np.random.default_rng(seed).standard_normal(self.dimension) for seed in seeds])
        return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def hits(texts=TEXTS, scores=None):
    return [
        Hit(Passage(Span(f"d{n}", 0, len(text)), text), (scores or range(len(texts), 0, -1))[n], "words")
        for n, text in enumerate(texts)
    ]


def names(found):
    return [hit.passage.span.document_id for hit in found]


def plain(model, query, text):
    """MaxSim by its definition."""
    q, d = model._rows(query), model._rows(text)
    return sum(max(float(one @ other) for other in d) for one in q)


def test_scores_are_maxsim():
    model = Words()
    found = LateRanker(model).scores("red river", [*TEXTS, " "])
    assert found[:-1] == pytest.approx(
        [plain(model, "red river", text) for text in TEXTS], abs=2e-3
    )  # kept in two bytes
    assert found[-1] == 0


def test_the_blend_is_both_scores_over_0_to_1():
    model, share = Words(), 0.65
    late = np.array([plain(model, "red river", text) for text in TEXTS])
    own = np.array([5, 4, 3, 2, 1.0])
    wanted = share * (late - late.min()) / np.ptp(late) + (1 - share) * (own - own.min()) / np.ptp(own)
    found = LateRanker(model).rank("red river", hits())
    assert names(found) == [f"d{n}" for n in np.argsort(-wanted)]
    assert [hit.score for hit in found] == pytest.approx(sorted(wanted, reverse=True), abs=1e-3)
    assert {hit.source for hit in found} == {"late"}
    alone = LateRanker(model, share=1.0).rank("red river", hits())
    scaled = (late - late.min()) / np.ptp(late)
    assert [hit.score for hit in alone] == pytest.approx(sorted(scaled, reverse=True), abs=2e-3)


def test_what_is_beyond_the_budget_follows_below():
    model = Words()
    found = LateRanker(model, budget=2).rank("night", hits())
    assert names(found)[2:] == ["d2", "d3", "d4"]
    assert set(model.read) == set(TEXTS[:2])
    assert [hit.score for hit in found] == sorted((hit.score for hit in found), reverse=True)


def test_all_that_is_given_is_read_where_no_budget_is_said():
    model, many = Words(), [f"word{n} night" for n in range(120)]
    found = LateRanker(model).rank("word119", hits(many))
    assert len(model.read) == 120
    assert names(found)[0] == "d119"


def test_passages_are_read_once_and_the_oldest_go():
    model = Words()
    ranker = LateRanker(model)
    first = ranker.rank("red river", hits())
    assert ranker.rank("red river", hits()) == first
    assert sorted(model.read) == sorted(TEXTS)
    kept = KeptVectors(most=2 * 5 * 16 * 2)  # two texts of five words
    for text in ("a b c d e", "f g h i j", "k l m n o"):
        kept.put(text, model._rows(text))
    assert kept.get("a b c d e") is None
    assert kept.get("k l m n o") == pytest.approx(model._rows("k l m n o"), abs=1e-3)
    kept.put("k l m n o", model._rows("k l m n o"))
    assert kept.get("f g h i j") is not None  # kept twice counts once


def test_odd_candidates():
    ranker = LateRanker(Words())
    assert ranker.rank("red", []) == []
    assert names(ranker.rank("red", hits(("red mill",)))) == ["d0"]
    assert ranker.rank(" ", hits()) == hits()
    odd = [*hits(("red mill", "\n")), *hits(("red mill",), [float("nan")])]
    found = ranker.rank("red", odd)
    assert len(found) == 3
    assert all(np.isfinite(hit.score) for hit in found)


def test_it_is_cancelled_between_batches():
    model, cancel = Words(), Cancel()
    cancel.set()
    with pytest.raises(Cancelled):
        LateRanker(model).rank("red", hits(), cancel=cancel)
    assert not model.read


@pytest.mark.parametrize("wrong", [{"share": 0}, {"share": 1.1}, {"budget": 0}])
def test_wrong_settings(wrong):
    with pytest.raises(InputError, match="share above 0"):
        LateRanker(Words(), **wrong)


def test_a_trained_model_by_its_name(tmp_path):
    folder = tmp_path / "models" / "mine"
    folder.parent.mkdir()
    save_model(late_model(make_encoder(tmp_path / "little"), LateEncoderSettings(dimension=8)), folder)
    assert is_multi_vector(folder)
    ranker = load_ranker("mine", home=tmp_path)
    assert isinstance(ranker, LateRanker)
    found = ranker.rank("b1 f2", hits(("b1 f2", "f3 f4", "b1 f3")))
    assert sorted(names(found)) == ["d0", "d1", "d2"]
    scores = ranker.scores("b1 f2", ["b1 f2", "f3 f4"])
    assert scores[0] > scores[1]
