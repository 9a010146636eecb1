"""Queries made of passages that nobody asked about."""

from __future__ import annotations

import re

import pytest

from foveal.errors import InputError
from foveal.training.pseudo_queries import Piece, PseudoSettings, pseudo_examples

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
