"""Tables in PDFs become tables of Markdown, row by row; columns of prose, contents, lists, code, forms do not."""

from __future__ import annotations

from pathlib import Path

import pytest
from fpdf import FPDF
from matplotlib import get_data_path

from foveal.text.pdf import read_pdf
from foveal.text.pdf_table import Table
from foveal.text.pdf_table_columns import lines_of
from foveal.text.pdf_table_rules import Rules
from foveal.text.pdf_table_words import Row, Word
from foveal.text.segmentation import HeadingSegmenter
from foveal.types import Document

PROSE = (
    "The fovea is the small part of the retina that sees sharply. It holds the cones, which tell colours apart, and "
    "hardly any of the rods. In the dark one sees better beside it. A reader moves it in small jumps. "
)
MILLS = [
    ["Mill", "Built", "Height"],
    ["Sea mill", "1790", "14.2"],
    ["Post mill", "1650", "9.8"],
    ["Tower mill", "1812", "22.0"],
    ["Smock mill", "1726", "11.7"],
]
OWNERS = [
    ["Mill", "Owner", "Town"],
    ["Sea mill", "County of Kent", "Dover"],
    ["Post mill", "Ada Lovelace", "London"],
    ["Tower mill", "Trust for Mills", "Lewes"],
]
MANY = [["No", "Station", "Rain"], *([str(n), f"Station {n}", f"{n * 7 % 90}.5"] for n in range(1, 101))]
PLACES = (20.0, 70.0, 110.0, 150.0)  # millimetres


def started() -> FPDF:
    made = FPDF()
    made.set_font("helvetica", size=10)
    made.add_page()
    made.multi_cell(0, text=PROSE, new_x="LMARGIN", new_y="NEXT")
    return made


def drawn(made: FPDF, rows, *, top=60.0, step=6.0, right=(), bold=0, places=PLACES) -> float:
    """The cells of rows at their places, those of the columns `right` up to them; the height below the last row."""
    for n, row in enumerate(rows):
        made.set_font("helvetica", style="B" if n < bold else "", size=10)
        for column, cell in enumerate(row):
            shift = made.get_string_width(cell) if column in right else 0.0
            if cell:
                made.text(places[column] - shift, top + n * step, cell)
    made.set_font("helvetica", size=10)
    return top + len(rows) * step


def across(made: FPDF, *heights: float, left=18.0, right=170.0) -> None:
    for height in heights:
        made.line(left, height, right, height)


def read(made: FPDF) -> str:
    return read_pdf(bytes(made.output()), name="a.pdf", max_characters=10**6).text


def markdown(rows) -> str:
    lines = [f"| {' | '.join(row)} |" for row in rows]
    return "\n".join([lines[0], f"|{'---|' * len(rows[0])}", *lines[1:]])


def has_table(text: str) -> bool:
    return "|---" in text


@pytest.mark.parametrize("right", [(), (1, 2)], ids=["left", "right"])
def test_columns_of_numbers_without_any_line(right):
    made = started()
    made.set_y(drawn(made, MILLS, right=right))
    made.multi_cell(0, text=PROSE)
    text = read(made)
    assert f"\n\n{markdown(MILLS)}\n\nThe fovea" in text
    assert text.startswith("The fovea is the small part")


def test_words_between_two_ruled_lines_and_not_without_them():
    plain, ruled = started(), started()
    drawn(plain, OWNERS)
    assert not has_table(read(plain))
    drawn(ruled, OWNERS)
    across(ruled, 55.5, 61.5, 80.0)
    assert markdown(OWNERS) in read(ruled)


def test_a_caption_stands_above_its_table():
    made = started()
    made.text(20, 54, "Table 3: Mills of the county")
    drawn(made, [["Mill", "Town", "Height"], ["Sea", "Dover", "14.2"], ["Post", "London", "9.8"]])
    made.text(20, 54 + 40, "What follows is no row.")
    text = read(made)
    assert "Table 3: Mills of the county\n\n| Mill | Town | Height |\n|---|---|---|\n| Sea |" in text
    assert "| Post | London | 9.8 |\n\nWhat follows" in text


@pytest.mark.parametrize("ruled", [True, False], ids=["ruled", "apart"])
def test_cells_of_several_lines(ruled):
    made = started()
    rows = [
        ["timeout", "integer", "Seconds after which a"],
        ["", "", "request is given up"],
        ["retries", "integer", "How often it is tried"],
        ["folder", "path", "Where pages are kept;"],
        ["", "", "it may be removed at"],
        ["", "", "any time"],
    ]
    heights = [60.0, 64.5, 73.0, 81.5, 86.0, 90.5]
    drawn(made, [["Option", "Type", "What it does"]], top=52, bold=1)
    for height, row in zip(heights, rows, strict=True):
        drawn(made, [row], top=height)
    across(made, *((48, 54, 67, 76, 93) if ruled else (48, 54, 93)))
    whole = [
        ["Option", "Type", "What it does"],
        ["timeout", "integer", "Seconds after which a request is given up"],
        ["retries", "integer", "How often it is tried"],
        ["folder", "path", "Where pages are kept; it may be removed at any time"],
    ]
    assert markdown(whole) in read(made)


def test_a_head_over_several_columns_is_put_before_each_of_their_names():
    made = started()
    across(made, 50, 63, 86)
    across(made, 56.5, left=69, right=118)
    across(made, 56.5, left=129, right=178)
    places = (20.0, 70.0, 100.0, 130.0, 160.0)
    drawn(made, [["", "", "", "", ""], ["Model", "F1", "EM", "F1", "EM"]], top=55, places=places)
    made.text(88, 55, "Dense")
    made.text(147, 55, "Sparse")
    rows = [["Base", "81.2", "74.1", "80.9", "73.8"], ["Large", "84.4", "77.0", "84.6", "77.2"]]
    drawn(made, [*rows, ["Huge", "86.0", "79.3", "85.7", "79.1"]], top=68, places=places)
    assert "| Model | Dense F1 | Dense EM | Sparse F1 | Sparse EM |\n|---|---|---|---|---|\n| Base | 81.2 |" in read(
        made
    )


def test_a_row_of_one_cell_names_a_group_and_totals_below_a_line_are_a_row():
    rows = [["", "2024", "2023"], ["Assets", "", ""], ["Goodwill", "412", "398"], ["Cash", "64", "52"]]
    made = started()
    drawn(made, rows, right=(1, 2), bold=1)
    across(made, 61.5, 79.5)
    drawn(made, [["Total", "476", "450"]], top=84, right=(1, 2))
    assert markdown([*rows, ["Total", "476", "450"]]) in read(made)


def test_signs_beside_numbers_are_of_their_column():
    made = started()
    places = (20.0, 80.0, 100.0, 120.0, 140.0)
    rows = [["", "", "2024", "", "2023"], ["Cash", "$", "1,234", "$", "990"], ["Stocks", "", "431", "", "408"]]
    drawn(made, [*rows, ["Total", "$", "1,665", "$", "1,398"]], right=(2, 4), places=places, bold=1)
    assert "|  | 2024 | 2023 |\n|---|---|---|\n| Cash | $ 1,234 | $ 990 |\n| Stocks | 431 | 408 |" in read(made)


def test_a_bar_in_a_cell_is_escaped_and_a_cut_word_whole():
    made = started()
    made.multi_cell(0, text="An international one.", new_x="LMARGIN", new_y="NEXT")
    across(made, 55.5, 61.5, 82)
    drawn(made, [["Name", "Sign", "Kind"], ["Or", "a | b", "inter-"], ["", "", "national"], ["And", "a & b", "local"]])
    text = read(made)
    assert "| Or | a \\| b | international |\n| And | a & b | local |" in text


def over_pages(*, head: bool) -> FPDF:
    made = FPDF()
    for first in (1, 41, 81):
        made.add_page()
        rows = MANY[first : first + 40]
        drawn(made, [MANY[0], *rows] if head or first == 1 else rows, top=20, bold=int(head or first == 1))
        for n in range(len(rows) + 2):
            across(made, 16 + 6 * n)
    return made


@pytest.mark.parametrize("head", [True, False], ids=["head on each page", "head on the first page"])
def test_a_table_over_several_pages_is_one_and_has_one_head(head):
    found = read_pdf(bytes(over_pages(head=head).output()), name="a.pdf", max_characters=10**6)
    assert found.text == markdown(MANY)
    starts = [found.text[start:].split("\n")[0] for start in found.pages]
    assert starts == ["| No | Station | Rain |", "| 41 | Station 41 | 17.5 |", "| 81 | Station 81 | 27.5 |"]


def test_a_passage_from_the_middle_says_its_columns():
    text = read(over_pages(head=True))
    passages = HeadingSegmenter(max_tokens=100).segment(Document.of("file:///rain.pdf", text, "Rain"))
    assert len(passages) > 5
    assert {passage.heading for passage in passages[1:]} == {"No | Station | Rain"}


def test_tables_of_other_heads_or_other_columns_do_not_go_on():
    columns, rows = ((0.0, 50.0), (60.0, 90.0)), (("a", "1"), ("b", "2"))
    table = Table(("Name", "Size"), rows, columns, sure=True, size=10.0)

    def other(head=("Name", "Size"), columns=columns, *, sure=True):
        return Table(head, rows, columns, sure, 10.0)

    moved = ((20.0, 70.0), (90.0, 120.0))
    assert table.goes_on(other())
    assert table.goes_on(other(columns=moved))  # it repeats the head
    assert table.goes_on(other(()))
    assert not table.goes_on(other((), moved))
    assert not table.goes_on(other(("Name", "Weight")))
    assert table.goes_on(other(("c", "3"), sure=False))  # above a ruled line, but as the rows are
    assert not table.goes_on(other((), (*columns, (100.0, 120.0))))


def columns_of_prose(made: FPDF) -> None:
    words = PROSE.split()
    for n in range(14):
        made.text(20, 60 + 5 * n, " ".join(words[n : n + 7]))
        made.text(110, 60 + 5 * n, " ".join(words[n + 3 : n + 10]))


def contents(made: FPDF) -> None:
    drawn(made, [[f"{n}.", f"On the {word}", str(n * 9)] for n, word in enumerate(["eye", "light", "lens", "rod"], 1)])


def contents_below_a_line(made: FPDF) -> None:
    across(made, 50)
    drawn(made, [["Chapter", "", "Page"], *([f"On the {word}", "", str(9 * n)] for n, word in enumerate("abcdef"))])


def bibliography(made: FPDF) -> None:
    drawn(made, [[f"[{n}]", f"A. Author. On seeing, part {n}. 19{n}0."] for n in range(1, 8)], places=(20.0, 32.0))


def labels(made: FPDF) -> None:
    drawn(made, [[word, "has a meaning that is told beside it"] for word in ("fovea", "retina", "cone", "rod")])


def authors(made: FPDF) -> None:
    names = [["Ada Byron", "Grace Hopper", "Alan Turing"], ["University of Kent", "Navy College", "Kings College"]]
    drawn(made, [*names, ["Canterbury", "Arlington", "Cambridge"], ["ada@a.org", "g@b.org", "al@c.org"]], bold=1)


def form(made: FPDF) -> None:
    drawn(made, [["Name:", "________", "Number:", "_____"], ["Town:", "________", "Code:", "_____"]] * 3)


def equations(made: FPDF) -> None:
    drawn(made, [[f"f({n})", f"= {n}x + {n + 1}", f"({n})"] for n in range(1, 7)])


def verses(made: FPDF) -> None:
    drawn(made, [["The eye looks up", "", "It looks again"], ["and what it sees", "", "and passes by"]] * 4)


def numbers_without_names(made: FPDF) -> None:
    drawn(made, [[str(n), str(n * n), str(n**3)] for n in range(1, 8)])


def numbers_in_a_frame(made: FPDF) -> None:
    across(made, 55, 98)
    for x in (18, 65, 105, 170):
        made.line(x, 55, x, 98)
    numbers_without_names(made)


def bullets(made: FPDF) -> None:
    drawn(made, [["-", f"point {n}", f"{n}.5"] for n in range(6)], places=(20.0, 26.0, 90.0))


def program(made: FPDF) -> None:
    made.set_font("courier", size=9)
    for n in range(8):
        made.text(20, 60 + 4 * n, f"x{n}    = {n}.5      # the {n}th   {n}")


def typewritten_table(made: FPDF) -> None:
    made.set_font("courier", size=9)
    for n in range(8):
        made.text(20, 60 + 4 * n, f"Station {n}     {n}.25      {n * 3}.75" if n else "Name           first     second")


def cards(made: FPDF) -> None:
    """Texts of three lines side by side, each below its bold name, between two ruled lines."""
    across(made, 56, 86)
    words = PROSE.lower().replace(".", "").split()
    for column, left in enumerate((20.0, 75.0, 130.0)):
        made.set_font("helvetica", style="B", size=10)
        made.text(left, 62, ("The eye", "Its lens", "Its rods")[column])
        made.set_font("helvetica", size=10)
        for n in range(4):
            made.text(left, 67 + 5 * n, " ".join(words[4 * n + 9 * column :][:4]))


@pytest.mark.parametrize(
    "draw",
    [
        columns_of_prose,
        contents,
        contents_below_a_line,
        bibliography,
        labels,
        authors,
        form,
        equations,
        verses,
        numbers_without_names,
        numbers_in_a_frame,
        bullets,
        program,
        typewritten_table,
        cards,
    ],
)
def test_what_is_no_table_stays_as_it_is(draw):
    made = started()
    draw(made)
    assert not has_table(read(made))


def test_letters_from_the_right_stay_lines():
    assert has_table(read(in_dejavu(MILLS)))
    assert not has_table(read(in_dejavu([[cell.replace("mill", "טחנה") for cell in row] for row in MILLS])))


def in_dejavu(rows) -> FPDF:
    """The rows, in a font that has Hebrew letters."""
    made = FPDF()
    made.add_font("D", "", Path(get_data_path()) / "fonts/ttf/DejaVuSans.ttf")
    made.set_font("D", size=10)
    made.add_page()
    for n, row in enumerate(rows):
        for place, cell in zip(PLACES, row, strict=False):
            made.text(place, 60 + 6 * n, cell)
    return made


def test_cells_of_many_lines_do_not_cut_a_table():
    made, top = started(), 50.0
    across(made, top)
    texts = [
        ["Mill", "Owner", "Town"],
        *([f"mill {n} {'is old ' * 6}", "Kent", f"of {n} {'by sea ' * 6}"] for n in range(4)),
    ]
    for n, row in enumerate(texts):
        for place, cell in zip((20.0, 75.0, 130.0), row, strict=True):
            words = cell.split()
            for k, at in enumerate(range(0, len(words), 2)):
                made.text(place, top + 5 + 5 * k, " ".join(words[at : at + 2]))
        top += 8 if n == 0 else 40
        across(made, top)
    for x in (18, 73, 128, 170):
        made.line(x, 50, x, top)
    text = read(made)
    assert markdown([[cell.strip() for cell in row] for row in texts]) in text


def test_a_title_is_no_row_with_bars():
    made = FPDF()
    made.add_page()
    drawn(made, MILLS, bold=1)
    found = read_pdf(bytes(made.output()), name="a.pdf", max_characters=10**6)
    assert found.text.startswith("| Mill | Built")
    assert found.title == "Mill Built Height"


@pytest.mark.parametrize("above", [True, False], ids=["caption above", "caption below"])
def test_captions_keep_tables_of_one_head_apart(above):
    made = FPDF()
    for n in range(1, 6):
        made.add_page()
        made.set_font("helvetica", size=10)
        made.text(20, 20 if above else 70, f"Table {n}: Mills of the county")
        drawn(made, MILLS, top=30, bold=1)
    text = read(made)
    assert text.count("|---|---|---|") == 5
    assert all(f"Table {n}: Mills" in text for n in range(1, 6))


def test_a_heading_above_a_table_at_the_end_of_a_page_is_one():
    made = FPDF()
    for page, size in ((1, 18), (2, 14), (3, 14)):
        made.add_page()
        for word in [("Options", "Limits"), ("Options",), ("Limits",)][page - 1]:
            made.set_font("helvetica", size=10)
            made.multi_cell(0, text=PROSE * 4, new_x="LMARGIN", new_y="NEXT")
            made.set_font("helvetica", size=size)
            made.multi_cell(0, text=word, new_x="LMARGIN", new_y="NEXT")
        drawn(made, MILLS, top=made.get_y() + 6)
    assert [line for line in read(made).split("\n") if line.startswith("#")] == [
        *("# Options", "# Limits"),
        *("## Options", "## Limits"),
    ]


def test_a_blank_parts_words_however_near_they_stand():
    words = (Word(0, 5, 20.0, 50.0, 700.0), Word(6, 11, 50.5, 80.0, 700.0), Word(13, 18, 80.5, 90.0, 700.0))
    ((line,),) = [[level.pieces for level in lines_of([Row(words, 10.0)], Rules())]]
    assert [(word.start, word.end) for piece in line for word in piece.words] == [(0, 5), (6, 18)]
