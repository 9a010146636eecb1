"""What any trained ranker is given some day: no candidates, one, the same twice, an empty query, an empty passage."""

from __future__ import annotations

import math

import pytest
from tiny import tiny
from training.conftest import make_encoder

from foveal.errors import InputError
from foveal.ranking.blockrank import BlockRank
from foveal.ranking.blockrank_prompt import Layout
from foveal.ranking.cascade import Cascade, Stage
from foveal.ranking.cross_encoder import CrossEncoderRanker
from foveal.ranking.explaining import WordWeights, explain
from foveal.ranking.listwise import ListwiseRanker, PointwiseRanker, RetrievalHeads, SlidingWindow
from foveal.ranking.neural import MODELS, build
from foveal.ranking.neural.inputs import Vocabulary
from foveal.ranking.neural.ranker import Neural
from foveal.ranking.neural.scorer import Scorer
from foveal.ranking.neural.vectors import WordVectors
from foveal.ranking.pairwise import PairwiseRanker
from foveal.retrieval.pipeline import Pipeline
from foveal.training import model_folders
from foveal.types import Hit, Passage, Span

RANKERS = ["cross-encoder", *MODELS]


def hit(name: str, text: str, score: float = 1.0) -> Hit:
    return Hit(Passage(Span(name, 0, len(text)), text), score, "words")


@pytest.fixture(scope="module")
def rankers(tmp_path_factory):
    folder = make_encoder(tmp_path_factory.mktemp("bert") / "little")
    made = {"cross-encoder": CrossEncoderRanker(model_folders.cross_encoder(folder, seed=0))}
    vocabulary = Vocabulary.of_texts(["red mill f1", "blue mill f2"], min_frequency=1)
    for name in MODELS:
        model = build(name, WordVectors.random(len(vocabulary), 20))
        made[name] = Neural(Scorer(model, vocabulary, query_length=20, document_length=40))
    return made


@pytest.mark.parametrize("name", RANKERS)
def test_odd_candidates_and_queries_have_an_order_and_finite_scores(rankers, name):
    ranker = rankers[name]
    assert ranker.rank("red f1", []) == []
    alone = ranker.rank("red f1", [hit("a", "red mill f1")])
    assert [one.passage.span.document_id for one in alone] == ["a"]
    hits = [hit("a", "red mill f1", 2.0), hit("b", "red mill f1"), hit("c", " "), hit("d", "f2 " * 300)]
    for query in ("red f1", "", "zebra"):
        found = ranker.rank(query, hits)
        assert sorted(one.passage.span.document_id for one in found) == ["a", "b", "c", "d"]
        assert all(math.isfinite(one.score) for one in found)
        scores = {one.passage.span.document_id: one.score for one in found}
        assert scores["a"] == pytest.approx(scores["b"], abs=1e-5)  # equal texts at two places
    twice = ranker.rank("red f1", [hits[0], hits[0]])
    assert len(twice) == 2
    assert twice[0].score == pytest.approx(twice[1].score, abs=1e-5)


@pytest.mark.parametrize("name", RANKERS)
def test_plain_texts_are_refused_with_what_to_give(rankers, name):
    for texts in (["red mill", "blue mill"], [hit("a", "red mill"), "blue mill"], "red mill"):
        with pytest.raises(InputError, match=r"got the text '(red|blue) mill'.*Hit\.of\(text\)"):
            rankers[name].rank("red", texts)


def test_rankers_made_of_others_refuse_plain_texts_too():
    class First:
        def rank(self, query, hits):  # noqa: ARG002
            return list(hits)

    for ranker in (PairwiseRanker(None, prefers=lambda *_: 1.0), Cascade([Stage(First(), 5)])):
        with pytest.raises(InputError, match=r"Hit\.of\(text\)"):
            ranker.rank("red", ["red mill", "blue mill"])


OF_LANGUAGE = ["blockrank", "blockrank decode", "listwise", "pointwise", "sliding window", "retrieval heads"]


@pytest.fixture(scope="module")
def readers(tmp_path_factory):
    """The rankers that a language model makes."""
    model, layout = tiny("qwen", tmp_path_factory.mktemp("tiny")), Layout(query_offset=1024)
    made = (
        BlockRank(model, layout=layout),
        BlockRank(model, layout=layout, mode="decode"),
        ListwiseRanker(model, layout=layout),
        PointwiseRanker(model),
        SlidingWindow(BlockRank(model, layout=layout)),
        RetrievalHeads(model, heads={1: [0]}),
    )
    return dict(zip(OF_LANGUAGE, made, strict=True))


@pytest.mark.parametrize("name", OF_LANGUAGE)
def test_language_models_refuse_plain_texts_too(readers, name):
    told = r"got the text '(red|blue) mill'.*Hit\.of\(text\)"
    for texts in (["red mill", "blue mill"], [hit("a", "red mill"), "blue mill"], "red mill"):
        for way in ("rank", "scores", "explain"):
            if asked := getattr(readers[name], way, None):
                with pytest.raises(InputError, match=told):
                    asked("red", texts)
    assert len(readers[name].rank("red", [hit("a", "red mill"), hit("b", "blue mill")])) == 2


def test_plain_texts_are_not_explained():
    with pytest.raises(InputError, match=r"Hit\.of\(text\)"):
        explain("red", ["red mill"], words=WordWeights.of(["red mill"]))


class Doubling:
    """A retriever that gives its only passage twice."""

    def search(self, queries, k):
        return [[hit("a", "red mill f1"), hit("a", "red mill f1")][:k] for _ in queries]


def test_a_search_in_stages_refuses_a_passage_that_comes_twice(rankers):
    with pytest.raises(InputError, match="a passage twice"):
        Pipeline([Doubling(), rankers["knrm"]], [2, 2]).search(["red"], 2)
