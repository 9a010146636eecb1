"""PDFs: pages lie where their offsets say, lines read, and what cannot be read says why."""

import gc
import io
import re
import warnings
from contextlib import closing
from datetime import UTC, datetime

import pytest
from fpdf import FPDF
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from pypdfium2 import PdfDocument

from foveal.errors import UnreadableSource
from foveal.text.pdf import read_pdf
from foveal.text.pdf_lines import is_heading, joined

WORDS = "The fovea is the small part of the retina that sees sharply and the eye turns it to what matters"


def made(pages, *, title=None, heading=None, password=None):
    pdf = FPDF()
    pdf.set_font("helvetica", size=11)
    if title:
        pdf.set_title(title)
    pdf.set_author("Ada")
    pdf.set_creation_date(datetime(2020, 1, 2, 3, 4, 5, tzinfo=UTC))
    for text in pages:
        pdf.add_page()
        if heading:
            pdf.set_font(size=22)
            pdf.multi_cell(0, text=heading, new_x="LMARGIN", new_y="NEXT")
            pdf.set_font(size=11)
        if text:
            pdf.multi_cell(0, text=text)
    if password:
        pdf.set_encryption(owner_password="owner", user_password=password)
    return bytes(pdf.output())


def read(content, **given):
    return read_pdf(content, name="a.pdf", **{"max_characters": 10**6, **given})


def test_each_page_begins_at_its_offset():
    found = read(made([f"Page {name}. {WORDS}." for name in ("one", "two", "three")]))
    starts = [*found.pages, len(found.text)]
    for name, start, end in zip(("one", "two", "three"), starts, starts[1:], strict=False):
        assert found.text[start:end].startswith(f"Page {name}.")
        assert found.text[start:end].count("Page") == 1


def test_each_page_is_told_and_who_hears_may_end_it():
    told = list[tuple[int, int]]()
    read(made(["one", "two", "three"]), on_page=lambda done, of: told.append((done, of)))
    assert told == [(1, 3), (2, 3), (3, 3)]

    def stop(done, _of):
        told.append((done, 0))
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        read(made(["one", "two", "three"]), on_page=stop)
    assert told[3:] == [(1, 0), (2, 0)]
    assert read(made(["one"])).pages == (0,)  # pdfium is free again


def test_a_page_without_text_begins_where_the_next_one_does():
    found = read(made([f"Page one. {WORDS}.", "", f"Page three. {WORDS}."]))
    assert found.pages[1] == found.pages[2] == found.text.index("Page three")


def test_a_page_that_was_turned_is_read_from_its_first_line():
    with closing(PdfDocument(made([f"One. {WORDS}. " * 4]))) as pdf:
        plain = read(saved(pdf))
        with closing(pdf[0]) as page:
            page.set_rotation(90)
        assert read(saved(pdf)).text == plain.text
    assert plain.text.startswith("One. The fovea")


def saved(pdf):
    held = io.BytesIO()
    pdf.save(held)
    return held.getvalue()


def test_pages_that_are_but_pictures_are_told(caplog):
    pdf = FPDF()
    pdf.set_font("helvetica", size=11)
    for n in range(4):
        pdf.add_page()
        if n % 2:
            pdf.image(Image.new("L", (50, 70), 200), w=180)
        else:
            pdf.multi_cell(0, text=f"Page {n + 1}. {WORDS}." if n else "")
    found = read(bytes(pdf.output()))
    assert found.pages == (0, 0, 0, len(found.text))
    [said] = caplog.messages
    assert "a.pdf: 2 of its 4 pages are pictures without text (the first is page 2)" in said  # page 1 is but empty
    caplog.clear()
    read(made([WORDS, "", WORDS]))
    assert not caplog.messages


def test_damaged_pages_are_told(caplog):
    whole = made([f"Page {n}. {WORDS}." for n in (1, 2, 3)])
    kids = re.search(rb"/Kids \[[^\]]*\]", whole).group()
    second = re.findall(rb"\d+ 0 R", kids)[1]
    found = read(whole.replace(kids, kids.replace(second, b"9" * (len(second) - 4) + b" 0 R")))
    assert ("Page 1" in found.text, "Page 2" in found.text, "Page 3" in found.text) == (True, False, True)
    assert found.unread == 1
    [said] = caplog.messages
    assert "a.pdf: 1 of its 3 pages are damaged (the first is page 2)" in said


@pytest.mark.parametrize("width", [180, 30], ids=["scan", "logo"])
def test_scans_with_a_head_and_a_stamp_are_told_and_slides_are_not(width, caplog):
    pdf = FPDF()
    pdf.set_font("helvetica", size=11)
    for n in range(6):
        pdf.add_page()
        pdf.text(20, 8, f"Dvorak v. Meridian, bundle page {n + 1}")
        pdf.text(20, 290, f"MER{n + 4711:06}")
        if n < 4:
            pdf.image(Image.new("L", (50, 70), 200), x=10, y=15, w=width)
        else:
            pdf.multi_cell(0, text=f"Page {n + 1}. {WORDS}.")
        if n == 3:  # a slide: a picture behind words of its own
            pdf.text(60, 100, "What we have learnt")
    read(bytes(pdf.output()))
    assert ["3 of its 6 pages are pictures" in said for said in caplog.messages] == [True] * (width == 180)


def test_properties():
    found = read(made([WORDS], title="A study of sight"))
    assert (found.title, found.author) == ("A study of sight", "Ada")
    assert found.created == datetime(2020, 1, 2, 3, 4, 5, tzinfo=UTC)


@pytest.mark.parametrize("poor", ["Microsoft Word - draft.doc", "untitled", "paper.dvi", "order.html", "1234", None])
def test_without_a_real_title_the_largest_line_serves(poor):
    assert read(made([WORDS], title=poor, heading="Seeing what matters")).title == "Seeing what matters"


def test_a_title_of_two_lines_below_a_running_head():
    pdf = FPDF()
    pdf.add_page()
    for size, line in ((9, "Journal of Seeing"), (20, "Where the eye looks"), (20, "and why it matters"), (11, WORDS)):
        pdf.set_font("helvetica", size=size)
        pdf.multi_cell(0, text=line, new_x="LMARGIN", new_y="NEXT")
    assert read(bytes(pdf.output())).title == "Where the eye looks and why it matters"


def test_without_larger_letters_the_first_line_serves():
    assert read(made(["A plain first line\n" + WORDS])).title == "A plain first line"


def test_a_scan_is_named_as_such():
    with pytest.raises(UnreadableSource, match=r"2 pages without text\. They are probably scans\."):
        read(made(["", ""]))


def test_a_locked_pdf():
    with pytest.raises(UnreadableSource, match="locked with a password"):
        read(made([WORDS], password="secret"))


def test_a_pdf_that_only_restricts_printing_is_read():
    pdf = FPDF()
    pdf.add_page()
    pdf.set_font("helvetica", size=11)
    pdf.multi_cell(0, text=WORDS)
    pdf.set_encryption(owner_password="owner")
    assert "fovea" in read(bytes(pdf.output())).text


@pytest.mark.parametrize("content", [b"%PDF-1.4 and then nothing", b"%PDF-1.7\n" + b"\0" * 500, b""])
def test_a_damaged_pdf(content):
    with pytest.raises(UnreadableSource, match="damaged or cut short"):
        read(content)


@given(st.data())
def test_a_pdf_with_damage_anywhere_is_read_or_refused(data):
    content = bytearray(SMALL)
    for _ in range(data.draw(st.integers(1, 30))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    try:
        found = read(bytes(content))
    except UnreadableSource:
        return
    assert all(0 <= page <= len(found.text) for page in found.pages)
    assert "\0" not in found.text


SMALL = made([WORDS])


def test_more_text_than_the_limit_is_refused():
    with pytest.raises(UnreadableSource, match="more than 100 characters"):
        read(made([WORDS * 10]), max_characters=100)


def test_handles_are_closed():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        read(made([WORDS]))
        with pytest.raises(UnreadableSource):
            read(made([""]))
        gc.collect()


# The lines of a page, as pdfium gives them: \r\n between lines, U+FFFE for a hyphen with its line break.


@pytest.mark.parametrize(
    ("page", "expected"),
    [
        ("we read pa\ufffepers, and more\r\nwords", "we read papers,\nand more\nwords"),
        ("a black-box\r\nthe black\ufffebox model", "a black-box\nthe black-box\nmodel"),
        ("left of it\r\non hand\r\nthe left\ufffehand side", "left of it\non hand\nthe left-hand\nside"),
        ("PaSa\ufffe7b is\r\nGPT\ufffe4o", "PaSa-7b\nis\nGPT-4o"),
        ("the state-of-the\ufffeart in the art", "the state-of-the-art\nin the art"),
        ("a car went\r\nwith car\ufffe" + "riages", "a car went\nwith carriages"),
        ("typed hyphen-\r\nation", "typed hyphenation"),
        ("state-of-the\ufffeart methods", "state-of-the-art\nmethods"),
        ("a well-estab\ufffelished rule", "a well-established\nrule"),
        ("add-in\ufffemenu in the menu", "add-in-menu\nin the menu"),
        ("non-in\ufffevasive in part", "non-invasive\nin part"),
        ("at ICLR 2023 1\r\n, and ICML", "at ICLR 2023 1, and ICML"),
        ("old \x02 mark wo\x02rd here", "old - mark word\nhere"),
    ],
)
def test_hyphens_and_breaks(page, expected):
    assert joined([page])[0] == expected


LINES = "\r\n".join([WORDS] * 3)


def test_a_short_last_line_ends_a_paragraph():
    text, _ = joined([f"{LINES}\r\nends here.\r\nAnother one begins\r\n{LINES}"])
    assert "ends here.\n\nAnother one" in text


@pytest.mark.parametrize("heading", ["2 Related Work", "3.1.2 The second set", "Abstract", "REFERENCES", "Appendix B"])
def test_headings_stand_apart(heading):
    assert is_heading(heading)
    text, _ = joined([f"{LINES}\r\nends here.\r\n{heading}\r\n{LINES}"])
    assert f"ends here.\n\n{heading}\n\n{WORDS}" in text


@pytest.mark.parametrize(
    "line", ["D. White and others", "3 of them went home,", "2.5 times as many were seen. Then", WORDS]
)
def test_what_is_no_heading(line):
    assert not is_heading(line)


def test_a_heading_without_number_stands_apart():
    text, _ = joined([f"{LINES}\r\nends here. 37\r\nAttribution methods\r\n{LINES}"])
    assert f"ends here. 37\n\nAttribution methods\n\n{WORDS}" in text


def test_page_numbers_that_count_go_and_a_sentence_runs_on():
    pages = [f"{LINES}\r\nand {name} goes on\r\n{number}" for number, name in ((7, "a"), (8, "b"), (9, "c"))]
    text, offsets = joined([page.replace(WORDS, WORDS.lower(), 1) for page in pages])
    assert "goes on\nthe fovea" in text
    assert not any(line.strip() in ("7", "8", "9") for line in text.split("\n"))
    assert [text[offset:].startswith("the fovea") for offset in offsets] == [True] * 3


@pytest.mark.parametrize("form", ["- {} -", "\u2013 {} \u2013", "- {} \ufffe", "{} / 19", "{}/19", "[{}]", "| {}"])
def test_page_numbers_between_signs_go(form):
    text, _ = joined([f"{LINES}\r\nand {name} goes on\r\n{form.format(n)}" for n, name in enumerate("abcd", 6)])
    assert [line for line in text.split("\n") if not any(map(str.isalpha, line))] == [""] * 3


def test_page_numbers_of_letters_go_where_they_count_and_stay_elsewhere():
    def paged(*numbers):
        return joined([f"{LINES}\r\nand {name} goes on\r\n{n}" for name, n in zip("abcdef", numbers, strict=False)])[0]

    for numbers in (("vii", "viii", "ix", "x"), ("I", "II", "III", "1", "2", "3")):
        assert not set(paged(*numbers).split("\n")) & set(numbers)
    assert {"x", "v", "i"} <= set(paged("x", "v", "i", "x").split("\n"))
    for kept in (("1.", "2.", "3.", "4."), ("2019/20", "2020/21", "2021/22", "2022/23")):
        assert set(kept) <= set(paged(*kept).split("\n"))


@pytest.mark.parametrize("blank", ["", " ", "\u00a0\r\n "], ids=["empty", "space", "spaces"])
def test_a_page_of_blanks_begins_where_the_next_one_does(blank):
    text, offsets = joined(["The first page.", blank, "The third page.", blank])
    assert offsets == (0, text.index("The third"), text.index("The third"), len(text))


def running(count, head="A Book of Seeing", foot="page {} of 9", *, skip=()):
    pages = [
        f"{head}\r\nPage {name}: {LINES}\r\n{WORDS} {name}\r\n{foot.format(n)}"
        for n, name in enumerate("abcdefghi"[:count], 1)
    ]
    return [page.replace(head, "Seldom", 1) if n in skip else page for n, page in enumerate(pages)]


def test_lines_that_run_along_the_pages_stay_where_they_stand_first():
    text, offsets = joined(running(6))
    assert (text.count("A Book of Seeing"), text.count("of 9")) == (1, 1)
    assert text.count(WORDS) == 24
    assert all(text[offset:].startswith("Page ") for offset in offsets[1:])


def test_a_head_that_begins_with_the_pages_number_runs_along():
    pages = [page.replace("A Book", f"{n} A Book", 1) for n, page in enumerate(running(6), 12)]
    assert joined(pages)[0].count("A Book of Seeing") == 1


def test_a_pages_number_behind_its_head_goes():
    pages = [page.replace("Seeing\r\n", f"Seeing\r\n{n}\r\n", 1) for n, page in enumerate(running(6), 12)]
    assert [line for line in joined(pages)[0].split("\n") if line.isdecimal()] == ["12"]  # its head stays


def test_a_head_on_every_other_page_runs_along_too():
    assert joined(running(9, skip=(1, 3, 5, 7)))[0].count("A Book of Seeing") == 1


def test_a_head_that_was_said_before_goes_where_it_stands_first_too():
    cover = f"Ada Brook\r\nof Oldham\r\nA Book of Seeing\r\n{WORDS}\r\nOldham\r\n1850"
    text, offsets = joined([cover, *running(6)])
    assert text.count("A Book of Seeing") == 1
    assert text.index("A Book of Seeing") < offsets[1]
    invoices = [f"Invoice\r\nof Ada\r\n{WORDS}", *(f"Invoice 4711\r\n{LINES}\r\nEnd {n}" for n in "abcde")]
    assert joined(invoices)[0].count("Invoice 4711") == 1


def test_a_head_that_repeats_a_heading_goes_on_few_pages_too():
    pages = [
        f"Of Ships\r\n{LINES}\r\nearly",  # before the heading: no head of its chapter
        f"# 3 Of Ships\r\n{LINES}\r\none",
        f"14 Chapter 3: Of Ships\r\n{LINES}\r\ntwo",
        f"3 Of Ships\r\n{LINES}\r\nthree",
        f"Of ships we say more\r\n{LINES}\r\nfour",
    ]
    assert [line for line in joined(pages)[0].split("\n") if "ships" in line.lower()] == [
        "Of Ships",
        "# 3 Of Ships",
        "Of ships we say more",
    ]


def test_the_end_of_a_sentence_does_not_run_along():
    pages = [f"Page {n}\r\n{LINES}\r\n{WORDS} {n}\r\nof the river." for n in "abcdef"]
    assert joined(pages)[0].count("of the river.") == 6


@pytest.mark.parametrize(
    ("pages", "expected"),
    [
        (["some probabil\ufffe", "ity of rain"], "some probability\nof rain"),
        (["some probabil\ufffe3", "ity of rain.\r\n4", "words.\r\n5"], "some probability\nof rain.\n\nwords."),
        (["a well-known and well\ufffe", "known man"], "a well-known and well-known\nman"),
        (
            ["the sea, a sea, a bird, the bird of a sea\ufffe", "bird of"],
            "the sea, a sea, a bird, the bird of a sea-bird\nof",
        ),
        (["the COVID\ufffe", "19 of"], "the COVID-\n\n19 of"),
    ],
)
def test_a_word_cut_at_a_pages_end_is_whole_there(pages, expected):
    text, offsets = joined(pages)
    assert text == expected
    assert text[offsets[1] :].split()[0] in ("of", "man", "19")


def test_a_word_cut_within_a_heading_is_mended_and_the_heading_stays_one_line():
    text, _ = joined([f"# On proba\ufffe bility and chance\r\n{LINES}", f"Of proba\ufffebility again.\r\n{WORDS}"])
    assert text.startswith("# On probability and chance\n")


def test_dots_that_lead_to_a_number_are_one_mark():
    text, _ = joined(["1 Of ships . . . . . . . . . 12\r\n2 Of whales.......... 14\r\nA word .... and another...."])
    assert text == "1 Of ships … 12\n2 Of whales … 14\nA word .... and another...."


@pytest.mark.parametrize(("below", "between"), [("Ahab stood", "\n"), ("Figure 3: Ahab", "\n\n"), ("4 Ahab", "\n\n")])
def test_a_sentence_goes_on_over_a_pages_end_with_a_name(below, between):
    text, offsets = joined([f"{WORDS}.\r\n{WORDS}\r\n{WORDS}", f"{below} there, {WORDS}.\r\n{WORDS}."])
    assert text[: offsets[1]].endswith(f" matters{between}")


@pytest.mark.parametrize(
    "pages",
    [
        running(3),
        running(9, skip=(2, 3, 6, 7)),
        *([f"{marks} A Book of Seeing\r\n{LINES}\r\nEnd {n}" for n in "abcde"] for marks in ("#", "##")),
    ],
)
def test_lines_that_do_not_run_along_stay(pages):
    assert joined(pages)[0].count("A Book of Seeing") == sum("A Book of Seeing" in page for page in pages)


def test_a_line_with_another_number_on_each_page_stays():
    numbers = (4711, 4790, 5012, 5013, 6001, 6001)
    pages = [f"Invoice {n} of 2024\r\n{LINES} {n % 97}\r\n{WORDS} {n}\r\nTotal due: {3 * n} euro" for n in numbers]
    text, _ = joined(pages)
    assert all(text.count(f"Invoice {n} of 2024") == 1 for n in numbers)
    assert text.count("Total due") == 5
    heads = [page.replace("A Book", f"Chapter {2 + (n > 4)}: A Book") for n, page in enumerate(running(9))]
    assert [joined(heads)[0].count(f"Chapter {n}: A Book of Seeing") for n in (2, 3)] == [1, 1]


def test_a_number_among_page_numbers_stays():
    text, _ = joined([f"words\r\n{number}" for number in (7, 8, 42, 10)])
    assert [line for line in text.split("\n") if line.isdecimal()] == ["42"]


def test_the_number_at_the_foot_of_a_chapters_first_page_goes():
    """As LaTeX and Texinfo print books: in the head of all other pages, left or right of what runs along."""
    heads = ["", "38 Seeing", "Light 39", "", "Rods 41", "42 Seeing", "Cones 43", "", "Night 45"]
    said = "the eye goes on"
    pages = [
        f"{head}\r\n{LINES}\r\n{said}" if head else f"{LINES}\r\n{said}\r\n{n}" for n, head in enumerate(heads, 37)
    ]
    for page in (0, 3, 7):  # a sentence goes on behind it
        pages[page + 1] = pages[page + 1].replace(WORDS, WORDS.lower(), 1)
    pages[4] += "\r\n1790"  # a number of its own stays
    text, _ = joined(pages)
    assert not {"37", "40", "44"} & set(text.split("\n"))
    assert "1790" in text.split("\n")
    for lone in (["words", "words\r\n8", "words"], ["7 eyes see\r\nwords", "words\r\n8", "words"]):
        assert "8" in joined(lone)[0].split("\n")


def test_numbers_that_do_not_count_stay():
    text, _ = joined(["words\r\n17", "words\r\n4", "words\r\n99"])
    assert [line for line in text.split("\n") if line.isdecimal()] == ["17", "4", "99"]


@given(st.lists(st.text(st.sampled_from("ab .1\r\n\ufffe\x02-\x0cA"), max_size=40), max_size=6))
def test_offsets_are_in_order_and_no_mark_is_left(pages):
    text, offsets = joined(pages)
    assert len(offsets) == len(pages)
    assert list(offsets) == sorted(offsets)
    assert all(0 <= offset <= len(text) for offset in offsets)
    assert not set(text) & set("\r\x02\x0c\ufffe\uffff")
