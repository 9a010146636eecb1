"""Queries made of passages that nobody asked about."""

from __future__ import annotations

import re

import pytest

from foveal.errors import InputError
from foveal.training.negatives import filled
from foveal.training.pseudo_queries import COMMON, Piece, PseudoSettings, pseudo_examples

PIECES = [
    Piece("e1", "eyes", "The fovea sees most sharply of all. It is small indeed. Rods are found elsewhere.",
          "On human eyes", "The retina and its parts"),
    Piece("e2", "eyes", "Light enters the eye through the cornea first. Then the lens bends it.", "On human eyes",
          "Introduction to this book"),
    Piece("n1", "ears", "The cochlea turns sound into signals for nerves. It is coiled.", "On human ears",
          "Introduction to this book"),
    Piece("n2", "ears", "One sentence that stands alone and is long.", "On human ears", "On human ears"),
    Piece("blank", "ears", " \n", "On human ears", ""),
]  # fmt: skip


def sentences(text: str) -> list[tuple[int, int]]:
    return [match.span() for match in re.finditer(r"[^.]+\.\s*", text)]


def asked(kinds: tuple[str, ...], **options) -> dict[str, set[str]]:
    found = pseudo_examples(PIECES, sentences, PseudoSettings(kinds=kinds, **options))
    return {found.queries[query]: set(grades) for query, grades in found.judged.items()}


def test_a_title_asks_for_all_passages_of_its_document():
    assert asked(("title",)) == {"On human eyes": {"e1", "e2"}, "On human ears": {"n1", "n2"}}


def test_a_heading_asks_for_its_passages_and_one_of_many_documents_names_its_own():
    """T12: queries where there are none; "Introduction" alone asks for nothing."""
    assert asked(("heading",)) == {
        "The retina and its parts": {"e1"},
        "On human eyes Introduction to this book": {"e2"},
        "On human ears Introduction to this book": {"n1"},
    }


@pytest.mark.parametrize("kept", [0.0, 1.0])
def test_a_sentence_asks_for_the_passage_that_it_was_taken_from(kept):
    """T13 as data: the inverse cloze task, with and without the sentence left in."""
    found = pseudo_examples(PIECES, sentences, PseudoSettings(kinds=("sentence",), kept=kept))
    assert set(found.corpus) == {"e1", "e2", "n1", "n2"}
    for query, text in found.queries.items():
        (document,) = found.judged[query]
        original = next(piece.text for piece in PIECES if piece.id == document)
        assert text in original
        assert len(text.split()) >= 6
        assert (text in found.corpus[document]) is (kept == 1.0)
        if kept == 0.0:
            assert sorted((text + " " + found.corpus[document]).split()) == sorted(original.split())
    assert "n2" not in {document for grades in found.judged.values() for document in grades}  # nothing would be left


def test_passages_ask_where_no_space_parts_words():
    """Words counted by spaces would make one of each sentence, and no library in Chinese could ask."""
    text = "视网膜是眼睛后部的一层组织。它把光变成神经信号。中央凹是视觉最敏锐的地方。"
    pieces = [Piece(f"p{n}", f"d{n}", f"{'眼耳鼻'[n]}的第一章。{text}", "眼睛的结构和功能", "第一章") for n in range(3)]
    found = pseudo_examples(pieces, lambda one: [m.span() for m in re.finditer("[^。]+。", one)])
    queries = set(found.queries.values())
    assert {"眼睛的结构和功能", "眼睛的结构和功能 第一章"} < queries
    assert queries & {f"{one}。" for one in text.split("。")}
    assert "第一章" not in queries


def test_a_passage_that_holds_the_sentence_too_counts_neither_way():
    """It would be taken for a negative that says just what was asked for."""
    shared = "All rights to this text are reserved by us."
    pieces = [Piece(f"p{n}", f"d{n}", f"{shared} Of part {n} this sentence speaks.  {shared}") for n in range(6)]
    others = [Piece(f"o{n}", "o", f"Of other {n} this sentence speaks. It says no more of {n}.") for n in range(60)]
    found = pseudo_examples([*pieces, *others], sentences, PseudoSettings(kinds=("sentence",), kept=0.0))
    (query,) = (name for name, text in found.queries.items() if text == shared)
    gave = set(found.judged[query])
    assert 0 < len(gave) < 6
    assert set(found.aside[query]) == {one.id for one in pieces} - gave
    assert found.aside.keys() == {query}
    assert not any(found.wrong(query, one.id) for one in pieces)


@pytest.mark.parametrize("count", [8, COMMON, 3 * COMMON])
def test_a_sentence_of_many_passages_asks_for_none(count):
    """Of few passages it would leave no negatives, and a training on them was refused."""
    shared = "All rights to this text are reserved by us."
    pieces = [Piece(f"p{n}", f"d{n}", f"{shared} Of part {n} this sentence speaks.") for n in range(count)]
    found = pseudo_examples(pieces, sentences, PseudoSettings(kinds=("sentence",)))
    assert shared not in found.queries.values()
    assert found.aside == {}
    assert filled({}, found, 3)


def test_about_one_passage_in_ten_keeps_its_sentence():
    many = [
        Piece(f"p{n}", "d", f"Number {n} is what this sentence says. Another one follows number {n}. And more words.")
        for n in range(400)
    ]
    found = pseudo_examples(many, sentences, PseudoSettings(kinds=("sentence",)))
    stays = [found.queries[q] in found.corpus[d] for q, grades in found.judged.items() for d in grades]
    assert 0.06 < sum(stays) / len(stays) < 0.14


def test_the_same_seed_makes_the_same_queries():
    made = [pseudo_examples(PIECES, sentences, PseudoSettings(seed=seed)).fingerprint for seed in (0, 0, 3)]
    assert made[0] == made[1] != made[2]


def test_at_most_as_many_as_asked_for():
    assert len(asked(("title", "heading", "sentence"), most=2)) == 2


def test_what_gives_no_query_is_an_error():
    """Bad input: unlabeled data of which nothing can be made."""
    with pytest.raises(InputError, match="No query could be made"):
        pseudo_examples([Piece("a", "d", "Short.")], sentences)
    with pytest.raises(InputError, match="heading, title, sentence"):
        PseudoSettings(kinds=("gossip",))
    with pytest.raises(InputError, match="'e1' names two"):
        pseudo_examples([PIECES[0], PIECES[0]], sentences)
