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
    breaks = words.replace(" ", "\n"), words.replace("-", "-\n"), words.replace(" and ", "-and-")
    for form in (words, words.upper(), words.replace("-", " "), words.replace("-", "\u2011"), *breaks):
        assert in_digits(f"He brought {form} sacks, and left.") == {str(number)}
        assert in_digits(f"The {form}") == {str(number)}


@pytest.mark.parametrize(
    "text",
    [
        "one of them", "zero", "someone often tends", "nineteen forty-two", "twenty twenty", "two thirds", "two-thirds",
        "the twenty-first", "forty-second", "two dozen", "two million", "two and a half", "two point five",
        "3.5 million and two", "two hundreds", "two three", "five hundred hundred", "ten hundred", "hundred",
        "twenty eleven", "two hundred and two hundred", "two million, five", "two millionths", "fiveteen",
        "twenty-nineteenth", "3 hundred", "4 two", "thousand", "two 1/2 miles", "two \u00bd",
        "the nineteen-forties", "the nineteen twenties", "nineteen oh five", "nineteen-ought-six",
        "two-and-a-half years", "two and one-half", "two and three-quarters", "two and five eighths",
        "six and an eighth", "five-and-twenty men", "four and twenty blackbirds", "one-and-twenty", "thirty and five",
        "four score and seven years", "threescore and ten", "two hundred and first", "two and a half to three million",
        "ten or twelve million", "five\u2013six dozen", "two lakh", "of the two hundred, fifty are red",
        "two thousand, three hundred",
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
    assert in_digits("between twenty-five and thirty, or twelve and twenty") == {"25", "30", "12", "20"}
    assert in_digits("two thousand, and fifty; two o'clock, six and eightpence") == {"2050", "2", "6"}


def test_the_longest_number_and_a_longer_run():
    nines = "nine hundred and ninety nine"
    assert in_digits(f"The {nines} thousand and {nines}") == {"999999"}
    assert in_digits("a hundred " * 3000 + "hundred " * 3000) == set()


@pytest.mark.parametrize(
    ("text", "last"),
    [
        ("two or three hundred eels", "300"),
        ("two- to three-hundred", "300"),
        ("between five and six thousand", "6000"),
        ("two, three or four hundred", "400"),
        ("one hundred to two hundred thousand", "200000"),
    ],
)
def test_the_scale_of_the_last_number_is_that_of_all(text, last):
    assert in_digits(text) == {last}
    assert in_digits("five hundred to six hundred") == {"500", "600"}


def test_words_that_other_languages_have_count_beside_english_ones():
    assert in_digits("There are ten, four of them here, and eleven elsewhere.") == {"10", "4", "11"}
    assert in_digits("Forty-four") == {"44"}


@pytest.mark.parametrize(
    "text", ["Ten młyn stoi nad rzeką, a on we wsi.", "Le four est chaud.", "Seven insan.", "Eleven gick hem."]
)
def test_a_word_of_another_language_is_no_number(text):
    assert in_digits(text) == set()


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("3,000 and 1,234,567.5, then", "3000 and 1234567.5, then"),
        ("3,00 12,3456 0,123 1,2,3 1.5,000 12,345,67", None),
        ("3,000km, 共3,000人, \u00a33,000m, approx.3,000", "3000km, 共3000人, \u00a33000m, approx.3000"),
        ("in 1,000, or 2,000.", "in 1000, or 2000."),
        ("3.000 3 000", None),
    ],
)
def test_commas_of_thousands_go(text, plain):
    assert unseparated(text) == (plain or text)
