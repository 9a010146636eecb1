"""Documents with sections to pairs of paragraphs: no leak, no paragraph with itself, both answers alike."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from foveal.errors import InputError, UnknownName
from foveal.training.same_topic_pairs import (
    Corpus,
    Sectioned,
    adjacent,
    balanced,
    consecutive,
    deduplicated,
    fingerprint,
    pairs_of,
    random_paragraph,
    section,
    shuffled_within,
    split_by_group,
)


def made(name, sizes, *, group=None, topics=None, prefix=""):
    """A document whose paragraphs say where they stand."""
    texts = [f"{prefix}{name} section {at} paragraph {n}" for at, size in enumerate(sizes) for n in range(size)]
    numbers = [at for at, size in enumerate(sizes) for _ in range(size)]
    named = tuple((topics or {}).get(at, "") for at in numbers) if topics else ()
    return Sectioned(name, group or name, tuple(texts), tuple(numbers), named)


DOCUMENTS = [
    made("a", [3, 4, 1], topics={0: "Fees", 1: "Law", 2: "Fees"}),
    made("b", [5, 3], topics={0: "Law", 1: "Fees"}),
    made("c", [6]),
]


def told(corpus, pairs):
    return {
        (corpus.texts[a], corpus.texts[b], bool(s)) for a, b, s in zip(pairs.left, pairs.right, pairs.same, strict=True)
    }


def test_adjacent_pairs_are_the_true_gaps_and_both_answers_weigh_alike():
    corpus = Corpus.of(DOCUMENTS)
    pairs = adjacent(corpus)
    expected = set()
    for one in DOCUMENTS:
        for at in range(len(one.paragraphs) - 1):
            same = one.sections[at] == one.sections[at + 1]
            expected.add((one.paragraphs[at], one.paragraphs[at + 1], same))
    assert told(corpus, pairs) == expected
    assert pairs.weight[pairs.same].sum() == pytest.approx(pairs.weight[~pairs.same].sum())
    assert pairs.weight.mean() == pytest.approx(1)


@given(st.lists(st.lists(st.integers(1, 6), min_size=1, max_size=5), min_size=1, max_size=4), st.integers(0, 99))
def test_consecutive_pairs_stay_in_their_document_and_never_pair_a_paragraph_with_itself(sizes, seed):
    corpus = Corpus.of([made(str(at), own) for at, own in enumerate(sizes)])
    pairs = consecutive(corpus, np.random.default_rng(seed))
    assert (pairs.left != pairs.right).all()
    assert (corpus.document[pairs.left] == corpus.document[pairs.right]).all()
    assert ((corpus.section[pairs.left] == corpus.section[pairs.right]) == pairs.same).all()
    for at in np.unique(pairs.left):
        size = int((corpus.section == corpus.section[at]).sum())
        own = pairs.left == at
        assert size >= 3
        assert int((own & pairs.same).sum()) == min(3, (size - 1) // 2)
        assert int((own & ~pairs.same).sum()) == min(3, int((corpus.document == corpus.document[at]).sum()) - size)


def test_random_pairs_follow_the_topics_across_documents():
    corpus = Corpus.of(DOCUMENTS)
    assert corpus.topics == ("fees", "law")
    pairs = random_paragraph(corpus, np.random.default_rng(0))
    assert ((corpus.topic[pairs.left] == corpus.topic[pairs.right]) == pairs.same).all()
    assert (corpus.topic[pairs.left] >= 0).all()
    assert (corpus.document[pairs.left] != corpus.document[pairs.right]).any()
    assert (pairs.left != pairs.right).all()


@given(st.lists(st.integers(-1, 3), min_size=1, max_size=30), st.sets(st.integers(0, 29)), st.integers(0, 99))
def test_random_pairs_are_drawn_from_all_of_the_topic_and_all_of_others(topics, blocked, seed):
    column = np.array(topics)
    texts = tuple(f"text {at}" for at in range(len(topics)))
    corpus = Corpus(texts, column, column, column, blocked=frozenset(blocked))
    pairs, rng, expected = random_paragraph(corpus, np.random.default_rng(seed)), np.random.default_rng(seed), []
    known = np.array([at for at in range(len(topics)) if topics[at] >= 0 and at not in blocked], dtype=np.int64)
    for at in known:
        alike = known[(column[known] == topics[at]) & (known != at)]
        unlike = known[column[known] != topics[at]]
        for pool, same in ((alike, True), (unlike, False)):
            chosen = rng.choice(pool, size=min(3, len(pool)), replace=False)
            expected += [(at, other, same) for other in chosen]
    assert list(zip(pairs.left, pairs.right, pairs.same, strict=True)) == expected


def test_section_pairs_are_of_whole_sections():
    corpus = Corpus.of(DOCUMENTS)
    whole, pairs = pairs_of("section", corpus, seed=0)
    assert whole.texts[0] == "\n\n".join(DOCUMENTS[0].paragraphs[:3])
    assert len(whole.texts) == 6
    assert told(whole, pairs) == told(whole, section(corpus, np.random.default_rng(0)))
    assert ((whole.topic[pairs.left] == whole.topic[pairs.right]) == pairs.same).all()
    with pytest.raises(UnknownName, match="consecutive, random_paragraph, section"):
        pairs_of("by luck", corpus, seed=0)


def test_topics_of_one_document_only_are_none():
    assert Corpus.of([*DOCUMENTS, made("d", [2], topics={0: "Whales"})]).topics == ("fees", "law")


def test_equal_texts_and_paragraphs_of_held_out_documents_are_in_no_pair():
    twin = Sectioned("d", "d", ("Same text.", "same  TEXT.", "Other.", "More."), (0, 0, 1, 1))
    corpus = Corpus.of([twin, DOCUMENTS[1]])
    assert ("Same text.", "same  TEXT.", True) not in told(corpus, adjacent(corpus))
    held = Sectioned("e", "e", (" other. ", "Unseen."), (0, 1))
    blocked = corpus.without([held])
    assert blocked.blocked == {2}
    left = {text for pair in told(blocked, adjacent(blocked)) for text in pair[:2]}
    assert "Other." not in left
    assert {"More.", "Unseen."}.isdisjoint(left)
    for draw in (consecutive, random_paragraph):
        pairs = draw(blocked, np.random.default_rng(0))
        assert 2 not in {*pairs.left.tolist(), *pairs.right.tolist()}


def test_groups_are_never_split():
    documents = [made(f"{group}{n}", [2, 3], group=group) for group in "abcdef" for n in range(3)]
    for seed in range(5):
        rest, held = split_by_group(documents, 0.3, seed=seed)
        assert {one.group for one in rest}.isdisjoint(one.group for one in held)
        assert sorted(one.name for one in (*rest, *held)) == sorted(one.name for one in documents)
        assert 1 <= len({one.group for one in held}) <= 3
    assert split_by_group(documents, 0.3, seed=1) == split_by_group(documents, 0.3, seed=1)
    rest, held = split_by_group(documents[:6], 0.99, seed=0)
    assert rest
    assert held
    with pytest.raises(InputError, match="--group"):
        split_by_group(documents[:3], 0.3, seed=0)


def test_documents_that_say_the_same_are_kept_once():
    again = Sectioned("z", "z", tuple(text.upper() for text in DOCUMENTS[0].paragraphs), DOCUMENTS[0].sections)
    assert deduplicated([*DOCUMENTS, again]) == DOCUMENTS
    assert fingerprint(DOCUMENTS) != fingerprint(DOCUMENTS[::-1])


def test_shuffled_documents_keep_their_sections_and_texts():
    shuffled = shuffled_within(DOCUMENTS, seed=3)
    for one, other in zip(DOCUMENTS, shuffled, strict=True):
        assert sorted(one.paragraphs) == sorted(other.paragraphs)
        assert one.sections == other.sections
    assert shuffled != DOCUMENTS


def test_pairs_can_be_drawn_and_added():
    corpus = Corpus.of(DOCUMENTS)
    pairs = adjacent(corpus)
    few = pairs.drawn(5, np.random.default_rng(0))
    assert len(few) == 5
    assert told(corpus, few) <= told(corpus, pairs)
    assert len(few + pairs) == 5 + len(pairs)
    assert pairs.drawn(10**6, np.random.default_rng(0)) is pairs
    assert balanced(few).weight.mean() == pytest.approx(1)


def test_a_document_whose_sections_do_not_fit_is_refused():
    with pytest.raises(InputError, match="must not fall"):
        Sectioned("x", "x", ("a", "b"), (1, 0))
    with pytest.raises(InputError, match="2 paragraphs"):
        Sectioned("x", "x", ("a", "b"), (0,))
    assert made("x", [2, 3, 1]).masses == [2, 3, 1]
    assert made("x", [2, 1]).same.tolist() == [True, False]
