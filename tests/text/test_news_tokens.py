"""Tokens and sentences of news: numbers, signs, quotations, abbreviations, scripts without spaces."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from foveal.errors import UnknownName
from foveal.text.tokens import normalised, sentences, tokens, words


def cut(text, language=None):
    return [text[start:end] for start, end in sentences(text, language)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Rs 3,000.50 at 12:30", ["Rs", "3,000.50", "at", "12:30"]),
        ("1/2/2024, yes", ["1/2/2024", ",", "yes"]),
        ("wait... what?!", ["wait", "...", "what", "?", "!"]),
        ("$800M—really", ["$", "800M", "—", "really"]),
        ("చెప్పారు।। మరో", ["చెప్పారు", "।।", "మరో"]),
        ("హైదరాబాద్\u200cలో", ["హైదరాబాద్లో"]),
        ("end.", ["end", "."]),
        ("5.", ["5", "."]),
        ("東京、雨", ["東", "京", "、", "雨"]),
        ("\u200b", []),
    ],
)
def test_tokens(text, expected):
    assert tokens(text) == expected


@given(st.text(st.sampled_from('ab1 .,:/!?"-\t\nక్ష。東'), max_size=40))
def test_the_tokens_are_those_of_the_normalised_text(text):
    assert tokens(normalised(text)) == tokens(text)


def test_normalised():
    assert normalised('a\tb\n\n c..."d" \u200c..—') == 'a b c... "d" .. —'


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("One. Two? Three! Four\nFive", ["One.", "Two?", "Three!", "Four", "Five"]),
        ("Well... yes. No.. never", ["Well... yes.", "No.. never"]),
        ("Mr. Modi spoke. Dr. Rao left.", ["Mr. Modi spoke.", "Dr. Rao left."]),
        ("The U.S. won 3.5 points. J. Smith lost.", ["The U.S. won 3.5 points.", "J. Smith lost."]),
        ("See example.com now. Then go", ["See example.com now.", "Then go"]),
        ('He said "I came. I saw." and left. Fine.', ['He said "I came. I saw." and left.', "Fine."]),
        ('An "open quote. Two. Three', ['An "open quote.', "Two.", "Three"]),
        ('A "bee.\nCat." dog. E', ['A "bee.', 'Cat."', "dog.", "E"]),
        ("He left (soon.) Then I.", ["He left (soon.)", "Then I."]),
        ("డా. రావు వచ్చారు. ఆయన వెళ్లారు!", ["డా. రావు వచ్చారు.", "ఆయన వెళ్లారు!"]),
        ("वह आया। वह गया॥", ["वह आया।", "वह गया॥"]),
        ("雨が降った。「行く。」と言った。", ["雨が降った。", "「行く。」と言った。"]),
        ("ماذا؟ نعم۔", ["ماذا؟", "نعم۔"]),
        ("", []),
        (" \n\n ", []),
    ],
)
def test_sentences(text, expected):
    assert cut(text) == expected


def test_abbreviations_are_those_of_the_language():
    assert cut("Siehe Nr. 5 bzw. 6. Gut.", "de") == ["Siehe Nr. 5 bzw. 6.", "Gut."]
    assert cut("Siehe bzw. 6. Gut.", "es") == ["Siehe bzw.", "6.", "Gut."]
    with pytest.raises(UnknownName, match="There are: en"):
        sentences("a", "xx")


@given(st.text(max_size=80))
def test_sentences_lie_in_order_and_leave_out_white_space_alone(text):
    places = sentences(text)
    edges = [edge for place in places for edge in place]
    assert edges == sorted(edges)
    left = text
    for start, end in reversed(places):
        left = left[:start] + left[end:]
    assert not left.strip()


@pytest.mark.parametrize("text", ["“" * 300_000, "a." * 300_000, '"' * 300_001, "\n" * 300_000, "٣.٤" * 100_000])
def test_hostile_texts_take_no_longer_than_their_length(text):
    started = time.perf_counter()
    sentences(text)
    words(text)
    assert time.perf_counter() - started < 20
