from __future__ import annotations

import numpy as np
import pytest
from honest import HashedWords, document
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from retrieval.shelf import Shelf, Words, names
from retrieval.test_store import make, put

from foveal.errors import InputError
from foveal.models import load_encoder
from foveal.retrieval.dense import DenseRetriever
from foveal.retrieval.feedback import ExpansionRetriever, FeedbackRetriever, relevance_model, rm3, rocchio
from foveal.retrieval.towers import Prefixed, Towers

NUMBERS = st.floats(-4, 4, width=32)


@settings(max_examples=50)
@given(
    arrays(np.float32, 5, elements=NUMBERS),
    arrays(np.float32, st.tuples(st.integers(0, 4), st.just(5)), elements=NUMBERS),
    arrays(np.float32, st.tuples(st.integers(0, 4), st.just(5)), elements=NUMBERS),
)
def test_rocchio_is_its_sentence(query, found, missed):
    """P6: q' = a q + b mean(found) - c mean(not found), of unit length."""
    moved = rocchio(query, found, missed, a=0.5, b=2.0, c=0.25)
    expected = [
        0.5 * float(query[i])
        + (2.0 * sum(map(float, found[:, i])) / len(found) if len(found) else 0)
        - (0.25 * sum(map(float, missed[:, i])) / len(missed) if len(missed) else 0)
        for i in range(5)
    ]
    length = sum(x * x for x in expected) ** 0.5
    if length > 1e-3:
        assert moved == pytest.approx([x / length for x in expected], abs=1e-4)
    assert np.isfinite(moved).all()


def test_rocchio_of_nothing_is_the_query():
    query = np.array([0.6, 0.8], dtype=np.float32)
    assert rocchio(query, np.empty((0, 2), dtype=np.float32)) == pytest.approx(query)
    assert np.array_equal(rocchio(query, -query[None], a=1.0, b=1.0), query)
    with pytest.raises(InputError, match=r"needs \(D,\) and"):
        rocchio(query, np.ones((2, 3), dtype=np.float32))


def test_a_relevance_model_spelled_out():
    """P6: RM1, words of the top passages by weight."""
    model = relevance_model(["mill mill wheel", "river"], [3.0, 1.0])
    assert model == pytest.approx({"mill": 0.75 * 2 / 3, "wheel": 0.75 / 3, "river": 0.25})
    by_idf = relevance_model(["mill mill wheel", "river"], [3.0, 1.0], {"mill": 0.1, "wheel": 2.0})
    assert by_idf == pytest.approx({"mill": 0.05 / 0.55, "wheel": 0.5 / 0.55, "river": 0.0})
    moved_up = relevance_model(["mill", "river", "wheel"], [-1.0, 1.0, 0.0])
    assert moved_up == pytest.approx({"mill": 0.0, "river": 2 / 3, "wheel": 1 / 3})
    assert relevance_model(["mill", "river"], [0.0, 0.0]) == pytest.approx({"mill": 0.5, "river": 0.5})
    assert relevance_model([], []) == {}


def test_rm3_keeps_the_query_s_share():
    """P6: RM3 mixes the query's words with the best of what was found."""
    weights = rm3("old mill", ["mill wheel wheel wheel river"], [1.0], words=2, original=0.4)
    assert weights == pytest.approx({"old": 0.2, "mill": 0.2 + 0.6 * 1 / 4, "wheel": 0.6 * 3 / 4})
    assert rm3("old mill", [], []) == pytest.approx({"old": 0.5, "mill": 0.5})
    assert rm3("", ["river"], [1.0]) == {"river": 1.0}


@given(st.text("abc ", max_size=12), st.lists(st.text("abcd ", max_size=12), max_size=4), st.floats(0, 1))
def test_rm3_is_a_distribution(query, texts, original):
    weights = rm3(query, texts, [1.0] * len(texts), original=original)
    assert not weights or sum(weights.values()) == pytest.approx(1)
    assert all(weight >= 0 for weight in weights.values())


TEXTS = {
    "asked": "zebra habitat savanna",
    "near": "savanna habitat grassland acacia",
    "far": "grassland acacia lion",
    "other": "steam engine boiler",
}


def test_feedback_by_vectors_is_a_search_with_the_moved_vector():
    """P6: the second search has Rocchio's vector of the query and the best passages."""
    shelf = Shelf(TEXTS)
    retriever = FeedbackRetriever(shelf.encoder, shelf.nearest, passages=2, a=1.0, b=0.5)
    query = shelf.encoder.encode(["zebra"])[0]
    best = np.argsort(-(shelf.vectors @ query))[:2]
    moved = query + 0.5 * shelf.vectors[best].mean(axis=0)
    moved /= np.linalg.norm(moved)
    found, nothing, steam = retriever.search(["zebra", "  ", "steam"], 3)
    assert [one.score for one in found] == pytest.approx(sorted(shelf.vectors @ moved, reverse=True)[:3], abs=1e-6)
    assert (nothing, steam[0].source, names(steam)[0]) == ([], "feedback", "other")


def test_feedback_finds_what_shares_no_word_with_the_query():
    """P6: a passage that only the found passages lead to rises."""
    shelf = Shelf(TEXTS | {f"noise{i}": f"word{i} thing{i}" for i in range(30)})
    plain = names(shelf.search(["zebra"], 40)[0])
    fed = names(FeedbackRetriever(shelf.encoder, shelf.nearest, passages=1, b=2.0).search(["zebra"], 40)[0])
    assert fed.index("near") < plain.index("near")
    assert fed[0] == "asked"


def test_without_weight_for_the_passages_feedback_is_the_plain_search(tmp_path):
    store = make(tmp_path / "library")
    put(store, [document("fruit", "a line of apples\nb line of pears\nc line of plums\n")])
    encoder = HashedWords()

    class Collection:
        def __init__(self):
            self.store, self.encoder = store, encoder

    plain = DenseRetriever(store, encoder).search(["pears"], 3)[0]
    fed = FeedbackRetriever.over(Collection(), None, b=0.0).search(["pears"], 3)[0]
    assert [one.passage for one in fed] == [one.passage for one in plain]
    assert [one.score for one in fed] == pytest.approx([one.score for one in plain], abs=1e-6)
    moved = FeedbackRetriever.over(Collection(), None, b=4.0).search(["pears"], 3)[0]
    assert [one.score for one in moved] != pytest.approx([one.score for one in plain], abs=1e-3)


def test_expansion_mixes_both_searches():
    """P6: where scores are sums over words, the mix is a search for the words of both."""
    shelf = Words(TEXTS)
    retriever = ExpansionRetriever(shelf, passages=1, words=2, original=0.5)
    found, nothing = retriever.search(["zebra", ""], 4)
    assert shelf.asked == [("zebra", 200), ("", 200), ("habitat savanna", 200), ("", 200)]
    # zebra: asked 1 (min-max 1). habitat savanna: asked 2, near 2 (both 1).
    assert [(one.passage.span.document_id, one.score) for one in found] == [("asked", 1.0), ("near", 0.5)]
    assert ({one.source for one in found}, nothing) == ({"expansion"}, [])
    assert names(retriever.search(["zebra"], 1)[0]) == ["asked"]


def test_a_phrase_is_not_expanded():
    """P6: what a quoted phrase forbids, feedback does not bring in."""
    shelf = Words(TEXTS)
    found = ExpansionRetriever(shelf, passages=1).search(['"zebra"'], 4)[0]
    assert names(found) == ["asked"]
    assert shelf.asked[1][0] == ""
    assert found[0].source == "words"


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (lambda: FeedbackRetriever(HashedWords(), lambda _vector, _k: [], passages=0), "at least 1 passage"),
        (lambda: FeedbackRetriever(HashedWords(), lambda _vector, _k: [], a=0, b=0), "not both 0"),
        (lambda: ExpansionRetriever(Words(TEXTS), words=0), "at least 1 word"),
        (lambda: ExpansionRetriever(Words(TEXTS), original=1.5), "share from 0 to 1"),
        (lambda: ExpansionRetriever(Words(TEXTS), passages=9, depth=3), "1 <= passages <= depth"),
        (lambda: relevance_model(["a"], []), "one finite score a text"),
        (lambda: relevance_model(["a"], [float("nan")]), "one finite score a text"),
        (lambda: ExpansionRetriever(Words(TEXTS)).search(["a"], 0), "at least 1"),
        (lambda: FeedbackRetriever(HashedWords(), lambda _vector, _k: []).search(["a"], 0), "at least 1"),
    ],
)
def test_wrong_settings_are_refused(made, message):
    with pytest.raises(InputError, match=message):
        made()


# -- two sides of a bi-encoder ---------------------------------------------------------------------------------------


def test_a_prefix_stands_before_each_text_and_in_the_fingerprint():
    """A1: instruction prefixes per side."""
    encoder = HashedWords()
    query = Prefixed(encoder, "query: ")
    assert np.array_equal(query.encode(["mill", ""]), encoder.encode(["query: mill", "query: "]))
    assert query.max_tokens == encoder.max_tokens - 2  # "query" and ":"
    assert query.token_offsets("mill wheel") == [(0, 4), (5, 10)]
    assert len({one.fingerprint for one in (encoder, query, Prefixed(encoder, "passage: "))}) == 3
    assert Prefixed(encoder, "").fingerprint == encoder.fingerprint


def test_towers_index_by_one_side_and_search_by_the_other(tmp_path):
    """A1: separate towers; scores are cosines of the two sides' vectors."""
    towers = Towers(Prefixed(HashedWords(), "passage "), Prefixed(HashedWords(), "query "))
    store = make(tmp_path / "library", encoder=towers)
    put(store, [document("fruit", "a line of apples\nb line of pears\n")], encoder=towers)
    best = DenseRetriever(store, towers.queries).search(["pears"], 2)[0]
    assert best[0].passage.text == "b line of pears\n"
    vectors = HashedWords().encode(["query pears", "passage fruit b line of pears\n"])
    assert best[0].score == pytest.approx(float(vectors[0] @ vectors[1]), abs=1e-5)
    others = [Towers(towers.queries, towers.documents), Towers(towers.documents, HashedWords()), towers.documents]
    assert towers.fingerprint not in [other.fingerprint for other in others]
    assert (towers.dimension, towers.name, towers.max_tokens) == (64, "hashed-words", 255)
    with pytest.raises(InputError, match="into one space"):
        Towers(HashedWords(), HashedWords(dimension=8))


@pytest.mark.model
def test_real_vectors_lead_from_found_to_related():
    """P6 on MiniLM: with the passage found for a jargon word, a passage on its subject beats one that shares a word."""
    texts = {
        "definition": "The okapi is a forest giraffe of the Congo that eats leaves.",
        "related": "Giraffes of Congo forests browse on leaves.",
        "word": "The Okapi framework is a set of tools for localising software.",
        "noise": "The stock exchange closed lower on Friday.",
    }
    shelf = Shelf(texts, load_encoder("minilm"))
    plain = {name: one.score for one in shelf.search(["okapi animal"], 4)[0] for name in names([one])}
    fed = FeedbackRetriever(shelf.encoder, shelf.nearest, passages=1).search(["okapi animal"], 4)[0]
    after = {name: one.score for one in fed for name in names([one])}
    assert names(fed)[0] == "definition"
    assert after["related"] - after["word"] > plain["related"] - plain["word"]
