"""The numbers that are printed on pages: what a file says of them, what heads and feet say, how they are told."""

from __future__ import annotations

import pickle

import pytest
from fpdf import FPDF

from foveal.text.pdf import read_pdf
from foveal.text.printed_pages import after, kept, page_called, pages_said, printed_at, printed_on, printed_on_page
from foveal.types import Document, Pages, Span

BOOK = ["Cover", "i", "ii", "iii", "1", "2", "3", "A-1", "A-2"]


def pages(labels) -> Pages:
    return Pages(range(0, 10 * len(labels), 10), kept(labels))


def test_runs_give_back_each_label():
    held = pages(BOOK)
    assert held.printed == "1=Cover; 2=i; 5=1; 8=A-1"
    assert [printed_on_page(held, number) for number in range(1, 10)] == BOOK
    letters = ["h", "i", "ii"]  # which may be letters, or Roman from the second on
    assert [printed_on_page(pages(letters), number) for number in range(1, 4)] == letters


@pytest.mark.parametrize(
    ("label", "behind"),
    [
        ("9", "10"), ("099", "100"), ("A-9", "A-10"), ("iii", "iv"), ("viii", "ix"), ("xxxix", "xl"), ("XLIX", "L"),
        ("b", "c"), ("B", "C"), ("Z", ""), ("Cover", ""), ("", ""), ("iiii", ""),
    ],
)  # fmt: skip
def test_what_follows_a_label(label, behind):
    assert after(label) == behind


def test_pages_own_numbers_are_no_labels():
    assert kept([str(number) for number in range(1, 30)]) == ""
    assert kept([""] * 9) == kept([]) == ""
    assert kept([f"{n * 7 % 101}x" for n in range(300)]) == ""  # no numbering that counts
    assert kept(["a;b", "c=d", "e" * 99]) == ""


def body(number: int) -> str:
    return f"Of the {number}th mill\nnothing is known but that it stood."


def test_numbers_that_count_along_are_read_off_heads_and_feet():
    front = ["The Mills", "Contents", *(f"{one}\n{body(1)}" for one in ("iii", "iv", "v")), f"{body(2)}\nvi"]
    front += [f"{body(3)}\nvii", f"{body(3)}\nviii"]
    chapter = [f"Light\n{body(4)}"]  # its first page has no number
    rest = [f"{n} Light\n{body(n)}" if n % 2 else f"{body(n)}\nLight {n}" for n in range(2, 20)]
    held = Pages(range(99), printed_on([*front, *chapter, *rest]))
    assert held.printed == "1=i; 9=1"
    assert printed_on_page(held, 12) == "4"


def test_plates_without_numbers_move_what_follows_only():
    texts = [f"{body(n)}\n{n}" for n in range(11, 31)] + [""] * 8 + [f"{body(n)}\n{n}" for n in range(31, 51)]
    held = Pages(range(99), printed_on(texts))
    assert [printed_on_page(held, number) for number in (1, 20, 26, 29, 48)] == ["11", "30", "", "31", "50"]


@pytest.mark.parametrize(
    "texts",
    [
        [f"{body(n)}\n{n + 1}" for n in range(20)],  # the pages' own
        [f"In {1990 + n % 3}\n{body(n)}" for n in range(20)],
        [f"{body(n)}\n7" for n in range(20)],
        [f"{body(n)}\n{n * 3 % 120} Ibid., at that place." for n in range(300)],  # notes
        [f"{n + 14} Head\n{body(n)}\n{n + 30} Ibid., there.\n{n + 1}" for n in range(9)],
        [f"{body(n)}\n{n + 5}" for n in range(3)],  # too few to be sure
        ["", ""],
        [],
    ],
)
def test_other_numbers_are_none_of_pages(texts):
    assert printed_on(texts) == ""


def test_how_places_are_told():
    held = pages(BOOK)
    assert pages_said(held, Span("d", 0, 5)) == "page 1 (printed Cover)"
    assert pages_said(held, Span("d", 45, 65)) == "pages 5 to 7 (printed 1 to 3)"
    assert pages_said(Pages([0, 10]), Span("d", 3, 15)) == "pages 1 to 2"
    assert pages_said((), Span("d", 3, 15)) == ""
    assert (printed_at(held, 15), printed_at((0, 10), 15), printed_at((), 1)) == ("i", "", "")


def test_a_page_is_found_by_what_is_printed_on_it():
    held = pages(BOOK)
    assert [page_called(held, one) for one in ("ii", "II", " 2 ", "a-1", "9", "10", "0", "", "x")] == [
        3, 3, 6, 8, None, None, None, None, None,
    ]  # fmt: skip
    assert (page_called(Pages([0, 10]), "2"), page_called((0, 10), "3")) == (2, None)


def test_a_document_knows_what_its_metadata_says():
    made = Document.of("a", "text", "Mills", pages=(0, 2), metadata={"printed_pages": "1=11"})
    assert made.pages == (0, 2)
    assert pages_said(made.pages, Span(made.id, 2, 3)) == "page 2 (printed 12)"
    again = pickle.loads(pickle.dumps(made))
    assert pages_said(again.pages, Span(made.id, 2, 3)) == "page 2 (printed 12)"
    assert pages_said(Document.of("a", "text", "Mills", pages=(0, 2)).pages, Span(made.id, 2, 3)) == "page 2"


def book(*, labels: bool, heads: bool) -> bytes:
    """A PDF of 3 pages before the first and 12 behind."""
    pdf = FPDF()
    pdf.set_font("helvetica", size=11)
    for number in range(15):
        style = {"label_style": "r" if number < 3 else "D", "label_start": 1} if labels and number in (0, 3) else {}
        pdf.add_page(**style)
        told = f"{number - 2} Of mills\n" if heads and number > 3 else ""
        pdf.multi_cell(0, text=f"{told}The mill of page number {number} stood in the valley until it burnt down.")
    return bytes(pdf.output())


@pytest.mark.parametrize(
    ("labels", "heads", "printed"),
    [(True, False, "1=i; 4=1"), (False, True, "1=; 4=1"), (True, True, "1=i; 4=1"), (False, False, "")],
)
def test_a_pdf_says_what_is_printed_on_its_pages(labels, heads, printed):
    found = read_pdf(book(labels=labels, heads=heads), name="a.pdf", max_characters=10**6)
    assert found.printed == printed


def test_a_damaged_label_is_none():
    content = book(labels=True, heads=False)
    assert b"/S /D" in content or b"/S/D" in content
    broken = content.replace(b"/St 1", b"/P <FEFFD800> /St 1", 1)
    assert broken != content
    assert read_pdf(broken, name="a.pdf", max_characters=10**6).text
