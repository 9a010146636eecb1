"""Words of every script: marks stay with their letters, and ASCII is cut as rouge-score cuts it."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from foveal.evaluation.scripts import script_of, word_count, word_runs, words
from foveal.retrieval.terms import terms
from foveal.text.languages import word_cutter


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Don't! re-open 3,000_x", ["don", "t", "re", "open", "3", "000", "x"]),
        ("ప్రమాదంలో ఐదుగురు", ["ప్రమాదంలో", "ఐదుగురు"]),
        ("हिन्दी में समाचार।", ["हिन्दी", "में", "समाचार"]),
        ("東京で雨", ["東", "京", "で", "雨"]),
        ("กินข้าว", ["กิ", "น", "ข้", "า", "ว"]),
        ("שלום, עולם!", ["שלום", "עולם"]),
        ("مرحباً بالعالم؟", ["مرحباً", "بالعالم"]),
        ("హైదరాబాద్\u200cలో", ["హైదరాబాద్లో"]),
        ("e\u0301te\u0301", ["été"]),
        ("\u200b\u200d ... —", []),
        ("", []),
    ],
)
def test_words(text, expected):
    assert words(text) == expected


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("re-open 3,000 doors", 3),
        ("", 0),
        ("तेलुगु में समाचार।", 3),
        ("सी में 東京", 3),
        ("视网膜的结构和功能。", 4),
        ("第一章", 1),
        ("ページ 12 の下", 3),
        ("กินข้าวกับเพื่อนที่บ้าน", 7),
    ],
)
def test_words_are_counted_where_no_space_parts_them(text, count):
    assert word_count(text) == count


@given(st.text(st.characters(max_codepoint=126), max_size=60))
def test_ascii_words_are_runs_of_letters_and_digits(text):
    assert words(text) == re.findall("[a-z0-9]+", text.lower())


@given(st.text(max_size=60))
def test_no_text_is_refused_and_words_hold_no_space(text):
    assert all(word and not any(one.isspace() for one in word) for word in words(text))


@pytest.mark.parametrize(
    ("text", "script"),
    [("Hello", "LATIN"), ("తెలుగు abc", "TELUGU"), ("東京 a", "CJK"), ("12 !", ""), ("", ""), ("नमस्ते", "DEVANAGARI")],
)
def test_the_script_of_most_letters(text, script):
    assert script_of(text) == script


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("హైదరాబాద్ snake_case", ["హైదరాబాద్", "snake_case"]),
        ("ete\u0301 — 3,5", ["ete\u0301", "3", "5"]),
        ("I \u2764\ufe0f it", ["I", "it"]),
    ],
)
def test_runs_keep_words_that_have_marks_whole(text, expected):
    assert word_runs(text) == expected


def test_terms_and_plain_words_of_a_language_with_vowel_signs_are_whole_words():
    assert terms("హైదరాబాద్ వార్తలు") == word_cutter("plain")("హైదరాబాద్ వార్తలు") == ["హైదరాబాద్", "వార్తలు"]
