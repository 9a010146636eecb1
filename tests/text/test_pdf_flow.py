"""Notes and figures of a PDF stand beside the sentences that they would interrupt, on the page that they were on."""

import pytest
from fpdf import FPDF

from foveal.text.pdf import read_pdf
from foveal.text.pdf_flow import flowing
from foveal.text.pdf_headings import Line

FULL = "The eye turns to what matters and sees it as sharply as it can"


def lines(*texts, size=10.0, weight=400):
    return [Line(text, size, weight) for text in texts]


def small(*texts):
    return lines(*texts, size=8.0)


def told(pages):
    """The texts of each page's lines, without blank ones."""
    return [[line.text for line in page if line.text] for page in flowing(pages)]


BODY = lines(f"{FULL}.", f"{FULL} and", "that is all.", f"{FULL} which")
NOTE = small("1 See the letter of the", "quartermaster.")
REST = lines("is what it does.", f"{FULL}.", FULL, f"{FULL}.")


def test_a_note_at_the_foot_stands_before_the_paragraph_that_goes_on_over_the_page():
    first, second = told([[*BODY, *NOTE, *lines("7")], [*REST, *lines("8")]])
    assert first == [*(line.text for line in [*BODY[:3], *NOTE, *BODY[3:]]), "7"]
    assert second == [*(line.text for line in REST), "8"]


def test_notes_that_end_alike_are_moved_whole():
    page = [*BODY, *NOTE]
    assert told([page, [*REST, *page], [*REST, *page], REST])[1] == [
        line.text for line in [*REST, *BODY[:3], *NOTE, *BODY[3:]]
    ]


def test_a_note_of_a_page_whose_sentence_ends_stays():
    ended = [*BODY, *lines("is what it does.")]
    assert told([[*ended, *NOTE], REST]) == [[line.text for line in [*ended, *NOTE]], [line.text for line in REST]]


def test_a_sentence_within_a_paragraph_is_kept_whole_too():
    body = lines(FULL, f"{FULL}.", FULL, FULL)
    assert told([[*body, *NOTE], REST])[0] == [line.text for line in [*body[:2], *NOTE, *body[2:]]]


def test_a_paragraph_is_kept_whole_rather_than_a_sentence():
    body = lines("that is all.", FULL, f"{FULL}.", FULL)
    assert told([[*body, *NOTE], REST])[0] == [line.text for line in [body[0], *NOTE, *body[1:]]]
    rest = lines(f"is it {FULL}.", FULL, "and that is all.", FULL)
    table = small("Table 3: Cells of each eye", "left 5")
    assert told([BODY, [*table, *rest]])[1] == [line.text for line in [*rest[:3], *table, *rest[3:]]]


def test_a_note_and_a_figure_around_the_same_page_end_are_moved_both():
    table = small("Table 3: Cells of each eye", "left 5")
    first, second = told([[*BODY, *NOTE], [*table, *REST]])
    assert first == [line.text for line in [*BODY[:3], *NOTE, *BODY[3:]]]
    assert second == [line.text for line in [REST[0], *table, *REST[1:]]]


def test_a_small_line_with_a_number_at_the_top_is_no_note():
    page = [*small("34 Of Ships"), *REST]
    assert told([BODY, page])[1] == [line.text for line in page]


def test_a_figure_at_the_top_stands_behind_the_paragraph_that_goes_on_there():
    table = small("Eye Cells", "left 5", "right 7", "Table 3: Cells of each eye")
    first, second = told([BODY, [*table, *REST]])
    assert first == [line.text for line in BODY]
    assert second == [line.text for line in [REST[0], *table, *REST[1:]]]


def test_a_caption_in_letters_of_the_text_is_known_by_its_name():
    caption = lines("Figure 3: The eye of a", "sailor, seen from below.")
    assert told([BODY, [*caption, *REST]])[1] == [line.text for line in [REST[0], *caption, *REST[1:]]]


def test_what_stands_between_two_columns_is_moved_too():
    page = [*BODY, *NOTE, *REST]
    assert told([page])[0] == [line.text for line in [*BODY[:3], *NOTE, *BODY[3:], *REST]]


@pytest.mark.parametrize("block", [small("x = y + z (1)"), small("where it stood"), lines("Stations", "Oldham")])
def test_what_is_no_note_or_figure_stays(block):
    page = [*BODY, *block, *REST]
    assert told([page])[0] == [line.text for line in page]


def test_a_head_is_left_where_it_is():
    heads = [*small("A Book of Seeing"), *small("Of Ships"), *small("A Book of Seeing"), *small("A Book of Seeing")]
    table = small("Table 3: Cells of each eye", "left 5")
    pages = [[head, *BODY[:3], *lines(f"{FULL} {word}")] for head, word in zip(heads, "abcd", strict=True)]
    pages[1:2] = [[heads[1], *table, *REST, *lines("Of Ships", size=14.0), *BODY]]
    assert told(pages)[1][:5] == ["Of Ships", REST[0].text, *(line.text for line in table), REST[1].text]


def test_a_page_without_the_end_of_a_sentence_stays():
    body = lines(*[FULL] * 6)
    assert told([[*body, *NOTE], REST])[0] == [line.text for line in [*body, *NOTE]]


def test_a_pdf_with_notes_and_a_hyphen_at_the_foot():
    pdf = FPDF(format=(120, 60))
    pdf.set_auto_page_break(False)
    for body, note in (
        (("The fovea sees sharply.", "The eye turns to what matters to it, and that is expre-"), "1 See the letter."),
        (("ssion enough for us.", "Nothing else is said of it here, and nothing else is meant."), ""),
    ):
        pdf.add_page()
        pdf.set_font("helvetica", size=11)
        for number, line in enumerate(body):
            pdf.text(10, 10 + 6 * number, line)
        pdf.set_font("helvetica", size=7)
        pdf.text(10, 50, note)
    found = read_pdf(bytes(pdf.output()), name="a.pdf", max_characters=10**6)
    assert found.text == (
        "The fovea sees sharply.\n\n1 See the letter.\n\nThe eye turns to what matters to it, and that is expression\n"
        "enough for us.\n\nNothing else is said of it here, and nothing else is meant."
    )
    assert found.text[found.pages[1] :].startswith("enough")
