"""Words that are marked are those that the index finds: stems by Snowball's rules, held against Lance."""

from __future__ import annotations

import pytest

from foveal.library import Library
from foveal.retrieval.asked_words import asked_places
from foveal.retrieval.stems import stem
from foveal.types import Document

BY_HAND = {
    "regulations": "regul", "regulation": "regul", "caresses": "caress", "ponies": "poni", "ties": "tie", "cats": "cat",
    "agreed": "agre", "feed": "feed", "plastered": "plaster", "motoring": "motor", "sing": "sing", "hopping": "hop",
    "hoping": "hope", "adding": "add", "conflated": "conflat", "happy": "happi", "say": "say", "relational": "relat",
    "rationalize": "ration", "hopefulness": "hope", "goodness": "good", "adoption": "adopt", "rate": "rate",
    "controlling": "control", "generalized": "general", "organization": "organiz", "university": "universiti",
    "skies": "sky", "news": "news", "dying": "die", "biologists": "biolog", "reader's": "reader", "yes": "yes",
    "ab": "ab", "naïve": "naïve", "東京": "東京", "x1s": "x1s",
}  # fmt: skip


@pytest.mark.parametrize("word", sorted(BY_HAND))
def test_words_lose_their_endings(word):
    assert stem(word) == BY_HAND[word]


def test_what_the_index_finds_is_marked(tmp_path):
    words = [
        "internal", "organization", "adding", "oncologists", "university", "regulations", "evening", "happily", "café",
        "Läufer", "generously",
    ]  # fmt: skip
    library = Library.open(tmp_path, encoder="none")
    library.add_documents(Document.of(f"test:{word}", f"Here is {word} of it.\n", "t") for word in words)
    asked = ["internally", "organized", "added", "oncology", "universities", "regulate", "evenings", "happy", "cafe",
             "laufer", "generous", "organic", "past"]  # fmt: skip
    for query in asked:
        hits = library.search(query, len(words))
        found = {hit.passage.text.split()[2] for hit in hits}
        marked = {word for word in words if asked_places(f"Here is {word} of it.", query)}
        assert found <= marked, query


@pytest.mark.parametrize(
    ("text", "query", "marked"),
    [
        ("It was regulated by regulations.", "regulation", ["regulated", "regulations"]),
        ("Reading is what readers do.", "read", ["Reading", "readers"]),
        ("The cat and a catalogue.", "the cat", ["cat"]),
        ("to be or not", "to be", ["to", "be"]),
        ("How is it regulated?", "how does one regulate", ["regulated"]),
    ],
    ids=["stems", "goes-on", "short", "common-alone", "question"],
)
def test_words_that_are_marked(text, query, marked):
    assert [text[start:end] for start, end in asked_places(text, query)] == marked
