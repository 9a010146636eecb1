from __future__ import annotations

from dataclasses import replace

import pytest
from honest import HashedWords, document
from retrieval.test_store import make, put

from foveal import faults
from foveal.errors import InputError
from foveal.retrieval import store_search
from foveal.retrieval.dense import DenseRetriever
from foveal.retrieval.feedback import FeedbackRetriever, vector_search
from foveal.retrieval.filters import sql
from foveal.retrieval.fresh import FreshRetriever
from foveal.retrieval.fusion import reciprocal_ranks, weighted_sum
from foveal.retrieval.hybrid import HybridRetriever
from foveal.retrieval.lexical import LexicalRetriever

QUERIES = ["line two of apples", "pears", ""]


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    made = make(tmp_path_factory.mktemp("retrievers") / "library")
    fruits = ("apples", "pears", "plums", "cherries")
    put(made, [document(fruit, "".join(f"line {i} of {fruit}\n" for i in ("one", "two", "three"))) for fruit in fruits])
    return made


def test_each_query_gets_its_own_hits_best_first(store):
    for retriever in (LexicalRetriever(store), DenseRetriever(store, HashedWords())):
        apples, pears, nothing = retriever.search(QUERIES, 3)
        assert apples[0].passage.text == "line two of apples\n"
        assert all("pears" in hit.passage.text for hit in pears)
        assert nothing == []
        assert [hit.score for hit in apples] == sorted((hit.score for hit in apples), reverse=True)


@pytest.mark.parametrize("kind", ["lexical", "dense", "hybrid"])
def test_only_what_is_asked_for_is_searched_and_an_empty_query_takes_no_others_place(store, kind):
    def made(where=None):
        words, meaning = LexicalRetriever(store, where), DenseRetriever(store, HashedWords(), where)
        return {"lexical": words, "dense": meaning, "hybrid": HybridRetriever(words, meaning)}[kind]

    query = "line of apples"
    (found,) = made(sql("title=cherries")).search([query], 12)
    assert {hit.passage.text.split()[-1] for hit in found} == {"cherries"}
    (found,) = made().search([query], 12)
    assert {hit.passage.text.split()[-1] for hit in found} == {"apples", "pears", "plums", "cherries"}
    assert made().search(["", query, "  ", "pears", ""], 12) == [[], found, [], *made().search(["pears"], 12), []]


class Latin(HashedWords):
    """It has a token for no other letters."""

    def knows(self, text):
        return any(letter.isascii() and letter.isalpha() for letter in text)


@pytest.mark.parametrize("kind", ["dense", "hybrid", "feedback", "fresh"])
def test_a_query_of_no_known_token_is_nothing_to_a_search_by_meaning(store, kind):
    """Its vector would stand for nothing, and lie near some passage all the same."""
    meaning, words = DenseRetriever(store, Latin()), LexicalRetriever(store)
    made = {
        "dense": meaning,
        "hybrid": HybridRetriever(words, meaning),
        "feedback": FeedbackRetriever(Latin(), vector_search(store, None)),
        "fresh": FreshRetriever(store, Latin()),
    }[kind]
    assert made.search(["☃☃", "pears", "ሰላም"], 3) == [[], *made.search(["pears"], 3), []]
    assert DenseRetriever(store, HashedWords()).search(["☃☃"], 3) != [[]]  # an encoder that cannot tell


@pytest.mark.parametrize("side", ["words", "meaning"])
def test_each_side_of_a_hybrid_keeps_its_own_condition(store, side):
    cherries = sql("title=cherries")
    words = LexicalRetriever(store, cherries if side == "words" else None)
    meaning = DenseRetriever(store, HashedWords(), cherries if side == "meaning" else None)
    other = (meaning if side == "words" else words).search(["line of apples"], 200)[0]
    found = HybridRetriever(words, meaning, fusion="rrf").search(["line of apples"], 12)[0]
    only = [hit for hit in found if "cherries" not in hit.passage.text]
    places = {hit.passage.span: place for place, hit in enumerate(other, 1)}
    assert only
    assert [hit.score for hit in only] == [1 / (60 + places[hit.passage.span]) for hit in only]


@pytest.mark.parametrize("weight", [0.0, 1.0])
def test_a_weight_of_one_side_alone_is_that_sides_order(store, weight):
    lexical, dense = LexicalRetriever(store), DenseRetriever(store, HashedWords())
    alone = (dense if weight else lexical).search(QUERIES[:1], 3)[0]
    found = HybridRetriever(lexical, dense, dense_weight=weight).search(QUERIES[:1], 3)[0]
    assert found[0].passage == alone[0].passage


@pytest.mark.parametrize("fusion", ["rrf", "weighted"])
def test_hybrid_is_the_fusion_of_both_by_definition(store, fusion):
    lexical, dense = LexicalRetriever(store), DenseRetriever(store, HashedWords())
    hits = HybridRetriever(lexical, dense, fusion=fusion, dense_weight=0.3).search(QUERIES[:1], 5)[0]
    pair = [{hit.passage.span: hit.score for hit in one.search(QUERIES[:1], 200)[0]} for one in (lexical, dense)]
    expected = reciprocal_ranks(pair) if fusion == "rrf" else weighted_sum(pair, [0.7, 0.3])
    assert [hit.score for hit in hits] == sorted(expected.values(), reverse=True)[:5]
    assert all(expected[hit.passage.span] == hit.score and hit.source == "hybrid" for hit in hits)


@pytest.mark.parametrize("kind", ["lexical", "dense", "hybrid"])
def test_without_texts_all_else_is_the_same(store, kind):
    """For who reads the passages elsewhere: the same places, scores and order."""

    def made(texts):
        words, meaning = LexicalRetriever(store, texts=texts), DenseRetriever(store, HashedWords(), texts=texts)
        return {"lexical": words, "dense": meaning, "hybrid": HybridRetriever(words, meaning)}[kind]

    whole, bare = (made(texts).search(QUERIES[:2], 4) for texts in (True, False))
    assert all(hit.passage.text for hits in whole for hit in hits)
    without = [[replace(hit, passage=replace(hit.passage, text="")) for hit in hits] for hits in whole]
    assert bare == without


def test_rows_that_move_all_the_time_are_read_with_the_search(store, monkeypatch):
    """Compaction gives rows new numbers: the hybrid begins again, and in the end asks for texts at once."""
    retriever, tries = HybridRetriever(LexicalRetriever(store), DenseRetriever(store, HashedWords())), []
    expected = retriever.search(QUERIES, 4)
    monkeypatch.setattr(store, "_taken", lambda numbers: tries.append(numbers))
    assert retriever.search(QUERIES, 4) == expected
    assert len(tries) > 1


def test_rows_that_are_not_visible_take_no_visible_ones_place(tmp_path):
    """A large document that is being added, or that a kill left: its passages fill both rankings."""
    store = make(tmp_path / "library")
    put(store, [document(f"d{n}", f"a long line on apples and pear {n}\n") for n in range(3)], refresh=False)
    lexical, dense = LexicalRetriever(store), DenseRetriever(store, HashedWords())
    retriever, query = HybridRetriever(lexical, dense, depth=20), ["apples"]
    expected = retriever.search(query, 5)
    assert len(expected[0]) == 3
    large = document("apples", "apples\n" * 200)
    with faults.injected({"store.passages-written": "interrupt"}), pytest.raises(KeyboardInterrupt):
        put(store, [large])
    seen = set(store.numbered("pear", 20))
    for asked in ("apples", HashedWords().encode(query)[0]):
        assert seen.isdisjoint(store.numbered(asked, 20))
    hits = retriever.search(query, 5)
    assert [hit.passage for hit in hits[0]] == [hit.passage for hit in expected[0]]
    assert len(retriever.search(['"apples"'], 5)[0]) == 3


def test_numbers_of_no_row_are_told(store):
    assert store._taken([1 << 40, 5]) is None


def test_of_equally_good_rows_the_first_documents_come_first_however_many_there_are(store):
    """More than are read at first: which of them those are must not decide."""
    numbers = store.numbered(HashedWords().encode(["apples"])[0], 12)
    places = [
        one.passage.span for one in store.best(lambda: dict.fromkeys(sorted(numbers, reverse=True), 1.0), 12, depth=12)
    ]
    assert len(places) == 12
    assert places == sorted(places, key=lambda span: (span.document_id, span.start))
    for order in (sorted(numbers), sorted(numbers, reverse=True)):
        best = store.best(lambda order=order: dict.fromkeys(order, 1.0), 2, depth=12)
        assert [one.passage.span for one in best] == places[:2]
    last = max(numbers)
    found = store.best(lambda: {number: 2.0 if number == last else 1.0 for number in numbers}, 2, depth=12)
    assert [one.score for one in found] == [2.0, 1.0]


def test_where_documents_are_too_many_to_be_remembered_they_are_looked_up_some_at_a_time(store, monkeypatch):
    ids = [entry.id for entry in store.entries()]
    whole = store.current(ids)
    assert list(whole) == ids
    monkeypatch.setattr(store_search, "REMEMBERED", 3)
    monkeypatch.setattr(store_search, "LOOKED_UP", 2)
    search = store_search.StoreSearch(store.uri, store.settings)
    assert search.current(ids[:1]) == {ids[0]: whole[ids[0]]}
    assert search.current(["no such", *ids]) == whole
    assert search.current(ids[::-1]) == whole


@pytest.mark.parametrize("wrong", [{"fusion": "sum"}, {"dense_weight": 1.5}, {"depth": 0}])
def test_wrong_options_are_refused(store, wrong):
    with pytest.raises(InputError, match="Hybrid search got"):
        HybridRetriever(LexicalRetriever(store), LexicalRetriever(store), **wrong)


def test_a_phrase_holds_for_the_hybrid_too(store):
    retriever = HybridRetriever(LexicalRetriever(store), DenseRetriever(store, HashedWords()))
    found = retriever.search(['"two of apples"', "two of apples"], 10)
    assert [hit.passage.text for hit in found[0]] == ["line two of apples\n"]
    assert len(found[1]) == 10


@pytest.mark.parametrize("k", [0, -1])
def test_fewer_than_one_passage_is_refused_by_each(store, k):
    lexical, dense = LexicalRetriever(store), DenseRetriever(store, HashedWords())
    for retriever in (lexical, dense, HybridRetriever(lexical, dense)):
        with pytest.raises(InputError, match="at least 1"):
            retriever.search([""], k)


def test_one_query_is_not_read_letter_by_letter(store):
    words, meaning = LexicalRetriever(store), DenseRetriever(store, HashedWords())
    for retriever in (words, meaning, HybridRetriever(words, meaning)):
        with pytest.raises(InputError, match=r"search got one text, 'pears'; .*give \[text\]"):
            retriever.search("pears", 3)


def test_half_a_surrogate_pair_in_a_query_is_no_word(store):
    words = LexicalRetriever(store)
    assert words.search(["pears \udcff", '"\udcff"'], 3) == [words.search(["pears"], 3)[0], []]


@pytest.mark.parametrize("k", [0, -1, 2.5, float("nan"), "3", None])
def test_a_number_of_passages_that_is_none_is_refused(store, k):
    with pytest.raises(InputError, match="whole number, at least 1"):
        LexicalRetriever(store).search(["pears"], k)
