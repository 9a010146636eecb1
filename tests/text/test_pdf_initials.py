"""Large first letters of chapters, and letters that are set apart, in PDFs: both are read as words."""

import re
from contextlib import closing

import pytest
from fpdf import FPDF
from pypdfium2 import PdfDocument

from foveal.text.pdf import read_pdf
from foveal.text.pdf_initials import _apart
from foveal.text.pdf_letters import Glyphs

REST = ["he house stood on a hill above the river, and", "for as long as anyone could remember it had", "been empty."]
WHOLE = "The house stood on a hill above the river, and\nfor as long as anyone could remember it had\nbeen empty."


def read(pdf):
    return read_pdf(bytes(pdf.output()), name="a.pdf", max_characters=10**6).text


def page():
    pdf = FPDF(unit="pt", format="a4")
    pdf.add_page()
    return pdf


def write(pdf, x, y, text, size=12.0, spacing=0.0):
    pdf.set_font("times", size=size)
    pdf.set_char_spacing(spacing)
    pdf.text(x, y, text)


def chapter(pdf, initial, rest, *, top=100.0, size=40.0, left=60.0, written=True):
    """Two lines beside the initial, which stands on the second one's base line, and the others below it."""
    pdf.set_font("times", size=size)
    width = pdf.get_string_width(initial) + 6
    if written:
        write(pdf, left, top + 14, initial, size)
    for number, line in enumerate(rest):
        write(pdf, left + width if number < 2 else left, top + 14 * number, line)


@pytest.mark.parametrize(
    ("initial", "first", "said"),
    [
        ("T", "he house stood", "The house stood"),
        ("T", "HE HOUSE stood", "THE HOUSE stood"),
        ("A", "house stood", "A house stood"),
        ("A", "fter the war", "After the war"),
        ("I", "n the evening", "In the evening"),
        ("I", "had a farm", "I had a farm"),
        ('"I', "t will not last", '"It will not last'),
        ("O", "nce upon a time", "Once upon a time"),
        ("O", "Lord of the river", "O Lord of the river"),
    ],
)
def test_an_initial_goes_to_its_word(initial, first, said):
    pdf = page()
    chapter(pdf, initial, [first, *REST[1:]])
    assert read(pdf) == "\n".join((said, *REST[1:]))


def test_initials_that_the_file_holds_first():
    """As browsers write them: what floats comes before the text of the page."""
    pdf = page()
    for top, letter in ((100.0, "T"), (300.0, "W")):
        write(pdf, 60, top + 14, letter, 40)
    chapter(pdf, "T", REST, written=False)
    chapter(
        pdf,
        "W",
        ["hen he came, the gate was shut, and nobody", "knew of a key that would open it to the", "wood."],
        top=300,
        written=False,
    )
    told = read(pdf).split("\n")
    assert told[0].startswith("The house")
    assert not {"T", "W"} & set(told)
    assert any(line.startswith("When he came") for line in told)


def test_an_initial_that_stands_on_its_line():
    pdf = page()
    write(pdf, 60, 100, "T", 30)
    write(pdf, 60 + 24, 100, REST[0])
    for number, line in enumerate(REST[1:], start=1):
        write(pdf, 60, 100 + 14 * number, line)
    assert read(pdf) == WHOLE


@pytest.mark.parametrize(
    "letters",
    [
        [("B", 60, 80, 40), ("he house", 60, 120, 12)],  # the head of an index
        [("T", 60, 114, 13), ("he house stood", 90, 100, 12)],  # no larger
        [("T", 60, 114, 40), ("he house stood", 300, 100, 12)],  # far away
    ],
)
def test_other_letters_stay_alone(letters):
    pdf = page()
    for text, x, y, size in letters:
        write(pdf, x, y, text, size)
    assert {letters[0][0], letters[1][0]} <= set(read(pdf).split("\n"))


@pytest.mark.parametrize("spacing", [0.12, 0.25, 0.45])
@pytest.mark.parametrize("line", ["CHAPTER ONE", "THE KEEPER ARRIVES", "a spaced line of words that is read"])
def test_letters_that_are_set_apart(line, spacing):
    pdf = page()
    write(pdf, 60, 100, line, 14, 14 * spacing)
    for number, below in enumerate(REST):
        write(pdf, 60, 140 + 14 * number, below)
    assert line in read(pdf).split("\n")


def test_a_bold_title_whose_letters_are_set_apart_is_no_head_of_a_table():
    """Its words are as far from each other as cells are."""
    pdf = page()
    for number, title in enumerate(("The Keeper of the River", "The House on the Hill", "The Key of the Mill")):
        pdf.set_font("times", style="B", size=16)
        pdf.set_char_spacing(4)
        pdf.text(60, 80 + 200 * number, title)
        for row in range(8):
            write(pdf, 60, 120 + 200 * number + 14 * row, REST[row % 2])
    assert re.findall(r"^# .*", read(pdf), re.MULTILINE) == [
        "# The Keeper of the River", "# The House on the Hill", "# The Key of the Mill",
    ]  # fmt: skip


def test_a_title_whose_letters_are_set_apart():
    pdf = page()
    write(pdf, 60, 60, "THE HOUSE ON THE HILL", 20, 8)
    chapter(pdf, "T", REST)
    found = read_pdf(bytes(pdf.output()), name="a.pdf", max_characters=10**6)
    assert found.title == "THE HOUSE ON THE HILL"


@pytest.mark.parametrize("line", ["A B C D E F", "x y z of them", "I O U a pie", "F R S T N"])
def test_letters_that_stand_for_themselves(line):
    pdf = page()
    write(pdf, 60, 100, line, 12)
    assert read(pdf) == line


def test_names_of_columns_stay_apart():
    pdf = page()
    for number, letter in enumerate("ABCDEF"):
        write(pdf, 60 + 12 * number, 100, letter)
    assert read(pdf) == "A B C D E F"


def test_a_blank_of_pdfium_has_no_width():
    pdf = page()
    write(pdf, 60, 100, "T", 12)
    write(pdf, 75, 100, "u n", 12)
    with closing(PdfDocument(bytes(pdf.output()))) as opened:
        text = opened[0].get_textpage()
        whole, glyphs = text.get_text_range(), Glyphs.of(text)
        assert whole == "T u n"
        assert [glyphs.width_of(place) > 0 for place in (1, 3)] == [False, True]


@pytest.mark.parametrize(
    ("letter", "rest"),
    [("A", "bout"), ("A", "ugust"), ("A", "nimals"), ("A", "ll"), ("I", "t"), ("I", "deas"), ("T", "he"), ("Y", "o")],
)
def test_an_initial_begins_a_word(letter, rest):
    assert not _apart(letter, rest, {})


@pytest.mark.parametrize(
    ("letter", "rest"), [("A", "knight"), ("A", "university"), ("A", "German"), ("I", "was"), ("À", "la")]
)
def test_an_initial_is_a_word(letter, rest):
    assert _apart(letter, rest, {})


def test_the_words_of_the_page_tell_more():
    assert _apart("Y", "el río", {"el": 2})
    assert not _apart("A", "rabbit", {"arabbit": 1})


def test_letters_that_were_typed_with_blanks_stay_as_they_are():
    drawn = page()  # two letters stand a little closer, so that their blank is pdfium's own
    write(drawn, 60, 100, "N O P")
    write(drawn, 60 + drawn.get_string_width("N O P") + 2.4, 100, "A R K I N G")
    assert read(drawn) == "N O P A R K I N G"


def test_a_letter_over_the_words_of_an_index_is_none_of_theirs():
    drawn = page()
    write(drawn, 60, 110, "C", 30.0)
    write(drawn, 92, 100, "cat 17")
    write(drawn, 92, 114, "cow 19")
    assert "Ccat" not in read(drawn)
