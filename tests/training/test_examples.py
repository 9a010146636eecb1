"""Examples, their rows, and batches in which nothing is a false negative."""

from __future__ import annotations

from itertools import chain, permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from foveal.errors import InputError
from foveal.evaluation.beir import Collection, Record
from foveal.training.examples import ApartBatches, Examples, Rows, dataset, judged_half, shuffled
from foveal.training.negatives import top_negatives
from foveal.training.searches import WordSearch, run_of

QUERIES = {"q1": "where is sight sharpest", "q2": "what turns sound into signals", "q3": "sharpest sight"}
CORPUS = {"d1": "the fovea", "d2": "the cochlea", "d3": "the  fovea", "d4": "the lens"}
JUDGED = {"q1": {"d1": 1, "d4": 0}, "q2": {"d2": 2, "d1": 1}, "q3": {"d4": 1}}


@pytest.fixture
def examples() -> Examples:
    return Examples(QUERIES, CORPUS, JUDGED)


def test_what_answers_is_known_by_id_and_by_text(examples):
    assert examples.positives == {"q1": ["d1"], "q2": ["d2", "d1"], "q3": ["d4"]}
    assert examples.codes["d1"] == examples.codes["d3"] != examples.codes["d2"]
    assert [d for d in CORPUS if not examples.wrong("q1", d)] == ["d1", "d3"]  # d3 has the text of d1


def test_what_counts_neither_way_may_be_no_negative_nor_share_a_batch():
    """The rest of a document that was judged as a whole: unless an equal text was judged, either way."""
    corpus = {**CORPUS, "d5": "the lens", "d6": "the iris"}
    examples = Examples(QUERIES, corpus, JUDGED, aside={"q1": frozenset({"d2", "d5", "d3"})})
    assert [d for d in corpus if examples.wrong("q1", d)] == ["d4", "d5", "d6"]  # d5 says what d4, judged 0, says
    assert examples.wrong("q3", "d2")
    assert examples.irrelevant == {"q1": ["d4"], "q2": [], "q3": []}
    assert examples.fingerprint != Examples(QUERIES, corpus, JUDGED).fingerprint
    assert examples.only(["q3"]).aside == {}
    assert examples.only(["q1", "q3"]).aside == examples.aside
    for epoch in range(4):
        rows = Rows(examples)
        for places in ApartBatches(rows, 4)(epoch):
            pairs = [rows.pairs[place % len(rows)] for place in places]
            assert not {("q1", "d1"), ("q2", "d2")} <= set(pairs)  # d2 is aside for q1
    with pytest.raises(InputError, match="counts neither way"):
        Rows(examples, {"q1": ["d2"], "q2": ["d4"], "q3": ["d1"]}, 1)
    for aside, said in (({"q9": ["d1"]}, "'q9'"), ({"q1": ["d9"]}, "'d9'")):
        with pytest.raises(InputError, match=said):
            Examples(QUERIES, corpus, JUDGED, aside=aside)


def test_judged_wrong_ones_are_half_of_what_is_drawn():
    """One of one every other epoch; half of several; all of them where nothing else is there."""
    order = ["f1", "j1", "f2", "j2", "j3"]
    judged = {"j1", "j2", "j3"}
    assert [judged_half(order, judged, 1, epoch) for epoch in range(3)] == [["j1"], ["f1"], ["j1"]]
    assert judged_half(order, judged, 2, 0) == judged_half(order, judged, 2, 1) == ["j1", "f1"]
    assert [judged_half(order, judged, 3, epoch) for epoch in range(2)] == [["j1", "j2", "f1"], ["j1", "f1", "f2"]]
    assert judged_half(order, judged, 4, 0) == ["j1", "j2", "f1", "f2"]
    assert judged_half(order, judged, 9, 0) == ["j1", "j2", "j3", "f1", "f2"]
    assert judged_half(order, [], 2, 0) == ["f1", "j1"]
    assert judged_half([], judged, 2, 0) == []


def test_rows_hold_what_was_judged_wrong_every_other_epoch(examples):
    negatives = {"q1": ["d4", "d2"], "q2": ["d4"], "q3": ["d2", "d1"]}
    rows = Rows(examples, negatives, per_row=1, seed=3)
    assert [rows.documents(4 * epoch)[1] for epoch in range(4)] == ["d4", "d2", "d4", "d2"]


@pytest.mark.parametrize(
    ("queries", "corpus", "judged", "said"),
    [
        (QUERIES, {}, {}, "no document"),
        ({}, CORPUS, {}, "no query"),
        ({"q": " "}, CORPUS, {"q": {"d1": 1}}, "'q' .*no text"),
        ({"q": "x"}, {"d": "\n"}, {"q": {"d": 1}}, "'d' .*no text"),
        ({"q": "x"}, CORPUS, {}, "'q' .*no document of grade 1"),
        ({"q": "x"}, CORPUS, {"q": {"d1": 0}}, "'q' .*no document of grade 1"),
        ({"q": "x"}, CORPUS, {"q": {"d9": 1}}, "'d9'"),
        ({"q": "x"}, CORPUS, {"q": {"d1": 1}, "p": {"d1": 1}}, "'p'"),
    ],
)
def test_what_cannot_be_learnt_from_is_refused(queries, corpus, judged, said):
    """Bad input: an empty corpus, empty texts, a query judged nowhere, unknown ids."""
    with pytest.raises(InputError, match=said):
        Examples(queries, corpus, judged)


def test_duplicate_ids_and_grades_are_refused():
    """Bad input: duplicate ids."""
    with pytest.raises(InputError, match="'d1' names two document"):
        Examples.gathered([("q", "x")], [("d1", "a"), ("d1", "b")], [("q", "d1", 1)])
    with pytest.raises(InputError, match="'q' names two query"):
        Examples.gathered([("q", "x"), ("q", "y")], [("d1", "a")], [("q", "d1", 1)])
    with pytest.raises(InputError, match="grades 'd1' 0, and otherwise before"):
        Examples.gathered([("q", "x")], [("d1", "a")], [("q", "d1", 1), ("q", "d1", 0)])


def test_a_collection_without_what_teaches_nothing():
    corpus = {"1": Record("1", "Eyes", "see"), "2": Record("2", "", ""), "3": Record("3", "", "ears hear")}
    qrels = {"a": {"1": 1, "2": 1}, "b": {"2": 1}, "c": {"3": 0}}
    found = Examples.of(Collection("senses", corpus, {"a": "eye?", "b": "nothing?", "c": "ear?"}, qrels))
    assert found.corpus == {"1": "Eyes see", "3": "ears hear"}
    assert (found.queries, found.judged, found.name) == ({"a": "eye?"}, {"a": {"1": 1}}, "senses")


@pytest.mark.parametrize("qrels", [{}, {"a": {"1": 0}, "b": {"2": 1}}], ids=["none", "nothing relevant"])
def test_a_collection_that_teaches_nothing_at_all_is_told_as_such(qrels):
    """Bad input: unlabelled data."""
    corpus = {"1": Record("1", "", "see"), "2": Record("2", "", "")}
    said = f"senses judges {len(qrels)} queries here, and none of them has a document with text of grade 1"
    with pytest.raises(InputError, match=said):
        Examples.of(Collection("senses", corpus, {"a": "eye?", "b": "ear?"}, qrels))


def test_halves_of_surrogate_pairs_are_no_letters():
    """JSON may escape them, and a tokenizer takes none: one mark for each, and other texts as they are."""
    texts = {"d1": "see \ud83d it", "d2": "hear"}
    found = Examples({"q": "\udc00?"}, texts, {"q": {"d1": 1}})
    assert (found.queries, found.corpus) == ({"q": "\ufffd?"}, {"d1": "see \ufffd it", "d2": "hear"})
    assert texts["d1"] == "see \ud83d it"


def test_a_query_that_is_a_document_of_its_collection_is_not_told_from_itself():
    """ArguAna: what counters an argument of the corpus is asked for; the argument itself is not the answer."""
    corpus = {
        "pro": Record("pro", "Diet", "Eat  plants."),
        "con": Record("con", "Diet", "Plants lack iron."),
        "7": Record("7", "", "plants need light"),
        "ask": Record("ask", "", "Plants?"),
    }
    queries = {"pro": "eat plants.", "7": "what do plants need", "ask": "plants?"}
    qrels = {"pro": {"con": 1}, "7": {"con": 1}, "ask": {"con": 1, "ask": 0}}
    found = Examples.of(Collection("arguments", corpus, queries, qrels))
    assert not found.wrong("pro", "pro")
    assert found.wrong("7", "7")  # another text: that both are called 7 is chance
    assert found.wrong("ask", "ask")  # a person said so
    searched = run_of(WordSearch(found.corpus), found, 2)
    assert "pro" not in searched["pro"]
    assert "7" in searched["7"]
    assert top_negatives({"pro": dict.fromkeys(corpus, 1.0)}, found, depth=4)["pro"] == ["7", "ask"]


def test_a_split_shares_no_query_nor_its_text(topics):
    doubled = Examples(
        {**topics.queries, "again": topics.queries["q0-0"]}, topics.corpus, {**topics.judged, "again": {"d0-0": 1}}
    )
    train, dev = doubled.split(dev=0.3, seed=4)
    assert train.queries.keys() | dev.queries.keys() == doubled.queries.keys()
    assert not set(train.queries.values()) & set(dev.queries.values())
    assert len(dev.queries) == pytest.approx(0.3 * len(doubled.queries), abs=2)
    assert doubled.split(dev=0.3, seed=4)[1].queries == dev.queries
    assert doubled.split(dev=0.3, seed=5)[1].queries != dev.queries
    assert train.corpus == dev.corpus == doubled.corpus
    assert len({part.fingerprint for part in (doubled, train, dev)}) == 3


def test_one_query_under_two_ids_has_the_answers_of_both_and_is_held_out_as_one():
    """White space and capitals apart: what answers the one is no negative of the other, mined or in a batch."""
    queries = {"q1": "Where is sight sharpest", "q2": "where is  sight sharpest", "q3": "what hears"}
    judged = {"q1": {"d1": 1, "d2": 0}, "q2": {"d2": 1}, "q3": {"d4": 1}}
    doubled = Examples(queries, CORPUS, judged)
    for query in ("q1", "q2"):
        assert [d for d in CORPUS if doubled.wrong(query, d)] == ["d4"]
        assert top_negatives({query: {"d1": 3.0, "d2": 2.0, "d4": 1.0}}, doubled, depth=3)[query] == ["d4"]
    assert doubled.irrelevant["q1"] == []
    rows = Rows(doubled)
    for epoch in range(4):
        for places in ApartBatches(rows, 3)(epoch):
            assert not {"q1", "q2"} <= {rows.pairs[place % len(rows)][0] for place in places}
    for seed in range(4):
        assert {frozenset(part.queries) for part in doubled.split(dev=0.3, seed=seed)} == {
            frozenset({"q1", "q2"}),
            frozenset({"q3"}),
        }


def test_a_split_needs_two_queries_and_a_share():
    one = Examples({"q": "x", "p": " x"}, {"d": "a"}, {"q": {"d": 1}, "p": {"d": 1}})
    with pytest.raises(InputError, match="fewer than two different queries"):
        one.split()
    with pytest.raises(InputError, match="dev share"):
        one.split(dev=1.0)


def test_rows_hold_a_pair_and_drawn_negatives(examples):
    negatives = {"q1": ["d2", "d4"], "q2": ["d4"], "q3": ["d2", "d1"]}
    rows = Rows(examples, negatives, per_row=1, seed=3)
    assert rows.pairs == [("q1", "d1"), ("q2", "d2"), ("q2", "d1"), ("q3", "d4")]
    assert rows.column_names == ["anchor", "positive", "negative_1"]
    assert rows[1] == {"anchor": QUERIES["q2"], "positive": "the cochlea", "negative_1": "the lens"}
    epochs = {rows[0 + 4 * epoch]["negative_1"] for epoch in range(12)}
    assert epochs == {"the cochlea", "the lens"}  # another draw in another epoch
    assert rows[8] == rows[8]
    table = dataset(rows)
    assert table.column_names == rows.column_names
    assert [table[place] for place in range(4)] == [rows[place] for place in range(4)]


def test_of_answers_with_one_text_there_is_one_row():
    doubled = Examples({"q": "x"}, CORPUS, {"q": {"d3": 1, "d1": 1, "d2": 1}})
    assert Rows(doubled).pairs == [("q", "d3"), ("q", "d2")]


def test_rows_carry_what_a_teacher_says(examples):
    negatives = {"q1": ["d2"], "q2": ["d4"], "q3": ["d2"]}
    scores = {"q1": {"d1": 3, "d2": 1}, "q2": {"d2": 2, "d1": 4, "d4": 0}, "q3": {"d4": 9, "d2": -1}}
    rows = Rows(examples, negatives, per_row=1, scores=scores)
    assert [rows[place]["label"] for place in range(4)] == [[3, 1], [2, 0], [4, 0], [9, -1]]
    with pytest.raises(InputError, match=r"nothing of query 'q3' and document 'd4'"):
        Rows(examples, negatives, 1, {**scores, "q3": {"d2": -1}})[3]


def test_negatives_that_answer_or_are_too_few_are_refused(examples):
    with pytest.raises(InputError, match=r"'d3' is a negative of query 'q1', but answers it"):
        Rows(examples, {"q1": ["d3"], "q2": ["d4"], "q3": ["d1"]}, 1)
    with pytest.raises(InputError, match="'q2' has 0 negatives"):
        Rows(examples, {"q1": ["d2"]}, 1)


@st.composite
def collections(draw):
    documents = draw(st.integers(3, 8))
    texts = draw(st.lists(st.integers(0, 5), min_size=documents, max_size=documents))
    corpus = {f"d{n}": f"text {text}" for n, text in enumerate(texts)}
    judged = draw(st.lists(st.sets(st.integers(0, documents - 1), min_size=1, max_size=3), min_size=1, max_size=12))
    queries = {f"q{n}": f"query {n}" for n in range(len(judged))}
    return Examples(queries, corpus, {f"q{n}": {f"d{d}": 1 for d in one} for n, one in enumerate(judged)})


@given(collections(), st.integers(1, 5), st.integers(0, 3))
def test_no_row_answers_another_rows_query(examples, batch, epoch):
    """T1: duplicates of a positive are no in-batch negatives, by id and by text; every row comes once an epoch."""
    wrong = {q: [d for d in examples.corpus if examples.wrong(q, d)] for q in examples.queries}
    per_row = min(1, *map(len, wrong.values()))
    rows = Rows(examples, wrong, per_row)
    batches = ApartBatches(rows, batch)(epoch)
    assert sorted(place for places in batches for place in places) == [
        epoch * len(rows) + row for row in range(len(rows))
    ]
    answers = {q: {examples.corpus[d] for d in found} for q, found in examples.positives.items()}
    for places in batches:
        assert len(places) <= batch
        for one, other in permutations(places, 2):
            texts = {examples.corpus[d] for d in rows.documents(one)}
            assert not texts & answers[rows.pairs[other % len(rows)][0]]


def test_rows_that_do_not_clash_fill_their_batches(topics):
    apart = Examples(
        {f"q{n}": f"query {n}" for n in range(10)},
        {f"d{n}": f"text {n}" for n in range(10)},
        {f"q{n}": {f"d{n}": 1} for n in range(10)},
    )
    assert [len(places) for places in ApartBatches(Rows(apart), 4)(0)] == [4, 4, 2]
    assert ApartBatches(Rows(apart), 4)(0) == ApartBatches(Rows(apart), 4)(0) != ApartBatches(Rows(apart), 4, 1)(0)


def test_no_duplicates_of_sentence_transformers_would_put_two_answers_together(examples):
    """Why there are batches of our own: their sampler sees equal texts, not that q2 has two answers."""
    from sentence_transformers.base.sampler import NoDuplicatesBatchSampler

    rows = Rows(examples)
    theirs = [set(batch) for batch in NoDuplicatesBatchSampler(dataset(rows), batch_size=4, drop_last=False)]
    assert any({0, 1} <= batch for batch in theirs) or any({1, 3} <= batch for batch in theirs)
    clashing = Examples({"a": "first", "b": "second"}, CORPUS, {"a": {"d1": 1}, "b": {"d2": 1, "d1": 1}})
    pairs = Rows(clashing).pairs
    together = [
        set(batch) for batch in NoDuplicatesBatchSampler(dataset(Rows(clashing)), batch_size=3, drop_last=False)
    ]
    assert {pairs.index(("a", "d1")), pairs.index(("b", "d2"))} in together  # "d1" answers "b", too
    assert all(len(batch) == 1 for batch in ApartBatches(Rows(clashing), 3)(0))


def test_shuffled_batches_hold_each_row_once():
    batches = shuffled(10, 4, seed=1)
    assert sorted(chain.from_iterable(batches)) == list(range(10))
    assert [len(batch) for batch in batches] == [4, 4, 2]
    assert shuffled(10, 4, seed=1, epoch=1) != batches == shuffled(10, 4, seed=1)
