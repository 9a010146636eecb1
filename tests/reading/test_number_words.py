"""Numbers in words, as digits: each that is one, and none of what only looks like it."""

from __future__ import annotations

import pytest

from foveal.reading.number_words import in_digits, unseparated

SMALL_WORDS = (
    "one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen "
    "eighteen nineteen"
)
TENS_WORDS = "twenty thirty forty fifty sixty seventy eighty ninety"
SMALL, TENS = SMALL_WORDS.split(), TENS_WORDS.split()


def spelled(number: int) -> str:
    """By definition."""
    if number >= 1000:
        head, rest = divmod(number, 1000)
        return f"{spelled(head)} thousand" + (f" {spelled(rest)}" if rest else "")
    if number >= 100:
        head, rest = divmod(number, 100)
        return f"{SMALL[head - 1]} hundred" + (f" and {spelled(rest)}" if rest else "")
    if number < 20:
        return SMALL[number - 1]
    tens, ones = divmod(number, 10)
    return TENS[tens - 2] + (f"-{SMALL[ones - 1]}" if ones else "")


@pytest.mark.parametrize("number", [*range(2, 101), 105, 342, 999, 1000, 2000, 2042, 3105, 42_000, 999_999])
def test_a_number_is_what_its_words_say(number):
    words = spelled(number)
    for form in (words, words.upper(), words.replace("-", " "), words.replace("-", "\u2011"), words.replace(" ", "\n")):
        assert in_digits(f"He brought {form} sacks, and left.") == {str(number)}
        assert in_digits(form) == {str(number)}


@pytest.mark.parametrize(
    "text",
    [
        "one of them", "zero", "someone often tends", "nineteen forty-two", "twenty twenty", "two thirds", "two-thirds",
        "the twenty-first", "forty-second", "two dozen", "two million", "two and a half", "two point five",
        "3.5 million and two", "two hundreds", "two three", "five hundred hundred", "ten hundred", "hundred",
        "twenty eleven", "two hundred and two hundred", "two million, five", "two millionths", "fiveteen",
        "twenty-nineteenth", "3 hundred", "4 two", "thousand",
    ],
)  # fmt: skip
def test_what_is_no_number_or_another_gives_none(text):
    assert in_digits(text) == set()


def test_several_are_each_their_own():
    assert in_digits("Two or three of the forty-two, ten to twelve a day; a two-year-old.") == {
        "2", "3", "42", "10", "12",
    }  # fmt: skip
    assert in_digits("two seconds") == {"2"}
    assert in_digits("six\u00adty sacks") == {"60"}
    assert in_digits("two, three and four") == {"2", "3", "4"}


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("3,000 and 1,234,567.5, then", "3000 and 1234567.5, then"),
        ("3,00 12,3456 0,123 1,2,3 1.5,000 a1,000 1,000b 12,345,67", None),
        ("in 1,000, or 2,000.", "in 1000, or 2000."),
        ("3.000 3 000", None),
    ],
)
def test_commas_of_thousands_go(text, plain):
    assert unseparated(text) == (plain or text)
