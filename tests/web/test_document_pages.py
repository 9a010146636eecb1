"""A document's page: every character once, exact marks, the right part, revisions, hostile texts."""

from __future__ import annotations

import re
from dataclasses import replace
from html import unescape
from itertools import pairwise
from pathlib import Path
from textwrap import fill

import pytest
from honest import document
from hypothesis import given
from hypothesis import strategies as st
from reading_site import STORY, made_app, pdf, text_of, visiting

from foveal.text.code_blocks import code_blocks
from foveal.text.headings import Heading, find_headings
from foveal.text.table_cells import grids_of
from foveal.text.topic_outline import Topic
from foveal.types import Document
from foveal.web.document_outline import code_of, nested, shown_of, tables_of
from foveal.web.document_pieces import Shown, Text, pieces_of
from foveal.web.document_text import Slice, blocks_of, borders, covering, hard_breaks, part_of, place_address

PIECES = st.lists(
    st.sampled_from(
        [
            "a word ",
            "Ärger ",
            "\n",
            "\n\n",
            "# Title\n",
            "<b>&",
            "\u3042",
            "   ",
            "\n```\n",
            "\n\n    x",
            "| a \\|",
            "\n| a | b |\n|:-|-:|\n",
            "| 1 | 2 |\n",
            'x,"y ""z""\n",',
        ]
    ),
    max_size=60,
)


@given(PIECES, st.integers(1, 50))
def test_parts_cover_the_text_and_are_small_enough(pieces, most):
    text = "".join(pieces)
    cut = borders(text, [[10, 20, 33], range(0, len(text), 7)], most)
    assert [cut[0], cut[-1]] == [0, len(text)]
    assert all(0 < after - before <= most for before, after in pairwise(cut)) or not text
    for offset in range(len(text)):
        number = part_of(cut, offset)
        assert cut[number - 1] <= offset < cut[number]


def test_a_part_ends_with_a_page_rather_than_a_passage_rather_than_a_line():
    text = "x" * 30 + "\n" + "y" * 69
    assert borders(text, [[40], [45]], 50)[1] == 40
    assert borders(text, [[10], [45]], 50)[1] == 45  # a page that ends in its first half would waste it
    assert borders(text, [[], []], 50)[1] == 31
    assert borders("z" * 100, [[], []], 50) == [0, 50, 100]


@given(PIECES, st.data(), st.booleans(), st.sampled_from(["test:x", "test:x.csv"]))
def test_every_character_is_shown_once_and_the_mark_is_exact(pieces, data, flowing, source):
    text = "".join(pieces)
    points = sorted(data.draw(st.lists(st.integers(0, len(text)), min_size=4, max_size=4)))
    start, a, b, end = points if data.draw(st.booleans()) else (0, *points[1:3], len(text))
    pages = tuple(sorted({0, *data.draw(st.lists(st.integers(0, len(text)), max_size=3))}))
    made = Document.of(source, text, "x", pages=pages, metadata={"source": source})
    places = [(0, len(text) // 3, "One"), (len(text) // 2, len(text), None)]
    code = code_blocks(text, indented=True)
    tables = grids_of(made, code)
    blocks = blocks_of(made, places, find_headings(text), start, end, (a, b), flowing=flowing, code=code, tables=tables)
    for block in blocks:
        joined = "".join(line for one in block.slices for line in one.lines)
        assert joined == text[block.start : block.end].rstrip()
    marked = "".join(line for block in blocks for one in block.slices if one.marked for line in one.lines)
    assert "".join(marked.split()) == "".join(text[a:b].split())
    shown = [one for block in blocks for one in block.slices if one.first]
    cited = [one for block in blocks for one in block.slices if one.marked]
    assert shown == ([one for one in cited if not one.hidden] or cited)[:1]
    assert bool(shown) >= bool(text[a:b].strip())
    seen = [one for piece in pieces_of(blocks, tables, text) for run in piece.runs for one in slices_of(run)]
    assert seen == [one for block in blocks for one in block.slices if one.first or not one.hidden]


def slices_of(run: Text | Shown) -> list[Slice]:
    if isinstance(run, Text):
        return run.slices
    return [one for body in run.bodies for row in body.rows for cell in row.cells for one in cell.slices]


def test_passages_with_gaps_and_overlaps_cover_the_text():
    assert list(covering([(2, 5, "A"), (4, 8, "B"), (4, 6, "C")], 10)) == [
        (0, 2, None),
        (2, 5, "A"),
        (5, 8, "B"),
        (8, 10, None),
    ]
    assert list(covering([], 0)) == []


def test_lines_that_were_broken_for_the_paper_are_joined_and_others_are_not():
    full = (
        "This line of a paragraph is as long as the paper is wide\nand it goes on here to about the same old length,\n"
    )
    items = "Next one:\n1. a list\n2. with two lines that are quite as long as the paper is wide\n3. and one\n"
    text = f"{full}end.\n\n{items}"
    breaks = hard_breaks(text, 0, len(text))
    lines = [text[a:b] for a, b in zip([0, *breaks], [*breaks, len(text)], strict=True)]
    assert lines[0] == f"{full}end.\n"
    assert "1. a list\n" in lines
    assert "3. and one\n" in lines


def test_a_line_below_a_heading_is_whole():
    long = "House and keeper and wheel and mill and river, all of them in one line that is full"
    text = "".join(f"Chapter {n}\n{long}\n" + "words go on\n" * 6 for n in range(1, 5))
    headings = [Heading(one.start(), one.end(), 1, one[0].strip()) for one in re.finditer(r"Chapter \d\n", text)]
    (block,) = blocks_of(Document.of("test:x", text, "x"), [], headings, 0, len(text), flowing=True)
    lines = [line for one in block.slices for line in one.lines]
    assert sum(line.startswith(long) for line in lines) == 4


@pytest.mark.parametrize(
    "rows",
    [
        ["Kettle North 1914 122 A. Pell", "Nine Elms North 1915 214", "Farrow South 1916 92", "310 in all 1917"],
        [f"{word} is what it begins with" for word in ("Water", "Wind", "Grain", "Stone", "Flour", "Bread", "Salt")],
    ],
    ids=["table", "verses"],
)
def test_rows_stay_lines_of_their_own(rows):
    prose = "The levels of the year are told, as the\nkeepers wrote them down; the one at\nKettle kept none.\n"
    text = "\n".join([*rows, ""]) + prose
    breaks = hard_breaks(text, 0, len(text))
    lines = [text[a:b] for a, b in pairwise([0, *breaks, len(text)])]
    assert [line.rstrip("\n") for line in lines[: len(rows)]] == rows
    assert hard_breaks(prose, 0, len(prose)) == [len(prose)]  # a capital alone makes no row


def test_topics_stand_below_those_that_are_less_deep():
    topics = [
        Topic(0, 1, 1, "A", heading=True), Topic(10, 3, 3, "C", heading=True), Topic(20, 4, 4, "", begins="Some words"),
        Topic(30, 2, 2, "B", heading=True), Topic(40, 4, 3, "Mill", begins="At the mill"),
        Topic(50, 1, 1, "D", heading=True),
    ]  # fmt: skip
    found = nested(topics, [0, 35, 60])
    assert [(one.title, one.depth, one.part, one.anchor) for one in found] == [("A", 1, 1, "h-0"), ("D", 1, 2, "h-50")]
    first, second = found[0].parts
    assert [(one.title, one.depth) for one in (first, second)] == [("C", 2), ("B", 2)]
    assert [(one.title, one.begins, one.anchor) for one in first.parts] == [("Some words", "", "p-20")]
    assert [(one.title, one.begins, one.anchor, one.depth) for one in second.parts] == [
        ("Mill", "At the mill", "p-40", 3)
    ]


# -- over the app --------------------------------------------------------------------------------------------------


@pytest.fixture
def app(tmp_path: Path):
    return made_app(tmp_path)


@pytest.fixture
def visitor(app):
    with visiting(app) as opened:
        yield opened


def marks(page: str) -> str:
    """What is marked as cited."""
    found = re.findall(r'<mark class="cited"[^>]*>(.*?)</mark>', page, re.DOTALL)
    return unescape(re.sub(r"<[^>]+>", "", "".join(found)))


def test_a_citation_opens_its_part_of_a_long_text(visitor, app):
    lines = [f"Line {n} says that {n * 7} sacks of flour & <grain> were milled." for n in range(2600)]
    made = document("long", "\n".join(lines), title="Long")
    app.state.site.library.add_documents([made])
    for n in (0, 1321, 2599):
        start = made.text.index(lines[n])
        address = place_address(made.id, start, start + len(lines[n]), made.revision)
        page = visitor.client.get(address)
        assert marks(page.text) == lines[n]
        assert len(page.content) < 300_000
        assert f'id="c-{start}-{start + len(lines[n])}"' in page.text
        assert address.endswith(f"#c-{start}-{start + len(lines[n])}")
    first, last = visitor.client.get(f"/library/{made.id}"), visitor.client.get(f"/library/{made.id}?part=999")
    parts = int(re.search(r"Part 1 of (\d+)", first.text)[1])
    assert 'rel="next"' in first.text
    assert 'rel="prev"' not in first.text
    assert f"Part {parts} of {parts}" in last.text
    assert 'rel="next"' not in last.text


def test_a_mark_over_a_border_of_parts_says_that_it_goes_on(visitor, app):
    made = document("x", "abc def\n" * 20_000, title="X")
    app.state.site.library.add_documents([made])
    page = visitor.client.get(f"/library/{made.id}?span=1000-90000").text
    assert "It goes on in the next part." in page
    assert 1000 + len(marks(page)) < 90000


def test_recognised_pages_are_said(visitor, app):
    plain, scanned = (
        replace(document(name, STORY, title=name), metadata=metadata)
        for name, metadata in (("plain", {}), ("scanned", {"kind": "pdf", "recognised_pages": 2}))
    )
    app.state.site.library.add_documents([plain, scanned])
    said = "2 pages read by text recognition, which may err"
    assert said in visitor.client.get(f"/library/{scanned.id}").text
    assert "recognition" not in visitor.client.get(f"/library/{plain.id}").text


def test_pages_of_a_pdf_are_named(visitor):
    visitor.add(("tides.pdf", pdf("Water comes twice a day.", "It goes at noon.")))
    which = visitor.only()
    page = visitor.client.get(f"/library/{which}").text
    text = unescape(re.sub(r"<[^>]+>", "", page.split("<article")[1].split(">", 1)[1].split("</article>")[0]))
    assert re.findall(r'id="page-(\d)"', page) == ["1", "2"]
    assert "2 pages" in text_of(page)
    assert "Water comes twice a day." in text
    start = len("Water comes twice a day.\n\n")
    assert "Cited: page 2" in text_of(visitor.client.get(f"/library/{which}?span={start + 2}-{start + 6}").text)


def test_a_page_of_a_pdf_is_gone_to_by_its_number(visitor, app):
    text = "".join(f"Page {n} has {'words ' * 900}.\n" for n in range(1, 41))
    pages = tuple(text.index(f"Page {n} ") for n in range(1, 41))
    made = document("long", text, title="Long", pages=(*pages[:20], *pages[19:]))  # the 20th is empty
    app.state.site.library.add_documents([made])
    form = visitor.client.get(f"/library/{made.id}").text
    assert 'name="page" min="1" max="41"' in form
    for asked, shown in ((1, 1), (20, 21), (21, 21), (41, 41)):
        answer = visitor.client.get(f"/library/{made.id}", params={"page": asked}, follow_redirects=False)
        assert answer.status_code == 303
        part, _, anchor = answer.headers["location"].partition("#")
        assert anchor == f"page-{shown}"
        assert f'id="{anchor}"' in visitor.client.get(part).text
    for wrong in ("0", "42", "x", "000000000000001"):
        answer = visitor.client.get(f"/library/{made.id}", params={"page": wrong})
        assert answer.status_code == 400
        assert "It has 41 of them." in answer.text


def test_a_search_within_one_document_finds_nothing_else(visitor, app):
    one = document("one", "# Mills\n\nThe wheel turns.\n\n" + "Water runs. " * 400, title="One")
    other = document("other", "The wheel is elsewhere.", title="Other")
    app.state.site.library.add_documents([one, other])
    page = visitor.client.get(f"/library/{one.id}").text
    where = re.search(r'name="where" value="([^"]*)"', page)[1]
    found = visitor.client.get("/library", params={"q": "wheel", "where": where, "retriever": "lexical"}).text
    assert re.findall(r'class="hit-title"[^>]*>([^<]*)<', found) == ["One"]
    assert 'name="where"' not in visitor.client.get(f"/library/{other.id}").text  # one passage: nothing to look for


def test_the_direction_of_a_text_is_its_own_and_not_that_of_its_page_number(visitor, app):
    made = document("x", "\u05d4\u05e2\u05d9\u05df " * 40, pages=(0, 80))
    app.state.site.library.add_documents([made])
    shown = visitor.client.get(f"/library/{made.id}").text
    assert "<bdi>page 1</bdi>" in shown  # what `dir="auto"` looks past
    assert re.search(r'class="passage" dir="auto"', shown)


def test_a_mail_says_who_sent_it_and_when(visitor):
    mail = b'Subject: Books\nFrom: "Ada <i>Gray" <ada@example.org>\nDate: Mon, 3 Jun 2019 09:12:00 +0000\n\nHere.\n'
    visitor.add(("books.eml", mail))
    for address in (f"/library/{visitor.only()}", "/library", "/library?q=here"):
        page = visitor.client.get(address).text
        assert "Gray" in page
        assert "<i>Gray" not in page
        assert "Jun 3, 2019" in page


def test_a_cited_revision_is_shown_though_it_was_replaced(visitor, app):
    old, new = document("x", STORY, title="The mill"), document("x", STORY.replace("Orsin", "Arvid"), title="The mill")
    library = app.state.site.library
    library.add_documents([old])
    start = STORY.index("Orsin Vale")
    cited = place_address(old.id, start, start + 10, old.revision)
    assert "earlier text" not in visitor.client.get(cited).text
    assert "Other texts" not in visitor.client.get(cited).text  # there is none
    library.add_documents([new])
    page = visitor.client.get(cited).text
    assert marks(page) == "Orsin Vale"
    assert "This is an earlier text" in text_of(page)
    assert marks(visitor.client.get(f"/library/{old.id}?span={start}-{start + 10}").text) == "Arvid Vale"
    assert re.findall(r'revision=(\w+)"><code>', visitor.client.get(f"/library/{old.id}").text) == [old.revision[:16]]
    assert re.findall(r'revision=(\w+)"><code>', page) == [new.revision[:16]]
    gone = visitor.client.get(f"/library/{old.id}?revision=abcdef123456")
    assert gone.status_code == 404
    assert "has no revision" in gone.text


@pytest.mark.parametrize("span", ["5", "5-5", "9-2", "0-999999", "-1-4", "a-b", "1-2-3", "1-2'"])
def test_a_place_that_is_none_is_refused_with_a_sentence(visitor, app, span):
    made = document("x", STORY)
    app.state.site.library.add_documents([made])
    answer = visitor.client.get(f"/library/{made.id}", params={"span": span})
    assert answer.status_code == 400
    assert "START-END" in answer.text


def test_a_revision_that_is_none_is_refused(visitor, app):
    made = document("x", STORY)
    app.state.site.library.add_documents([made])
    assert visitor.client.get(f"/library/{made.id}?revision='%20OR%201=1").status_code == 400
    assert visitor.client.get(f"/library/{made.id}?part=many").status_code == 400


def test_what_a_document_says_is_text_and_nothing_else(visitor, app):
    hostile = "# <script>alert(1)</script>\n\n<img src=x onerror=alert(2)> & \"quotes\" 'too'\n\n## Two <b>\n\ntext\n"
    made = document("x", hostile, title='"><script>alert(3)</script>', url="javascript:alert(4)")
    app.state.site.library.add_documents([made])
    for address in (f"/library/{made.id}", f"/library/{made.id}?span=0-30", "/library", "/library?q=alert"):
        page = visitor.client.get(address).text
        assert "<script>alert" not in page
        assert "<img src=x" not in page
        assert "javascript:" not in page
    shown = visitor.client.get(f"/library/{made.id}").text.split("<article")[1].split(">", 1)[1].split("</article>")[0]
    assert "".join(unescape(re.sub(r"<[^>]+>", "", shown)).split()) == "".join(hostile.split())


def test_the_marks_of_headings_are_in_the_text_and_not_in_sight(visitor, app):
    made = document("marks", "## Eyes of #1\n\nThey look.\n\n#\tLight\n\nIt falls.\n\nUnderlined\n==========\n\ntext\n")
    app.state.site.library.add_documents([made])
    page = visitor.client.get(f"/library/{made.id}").text
    hidden = re.findall(r'<span class="hashes" aria-hidden="true">([^<]*)</span>([^<]*)', page)
    assert [(marks, line.strip()) for marks, line in hidden] == [("## ", "Eyes of #1"), ("#\t", "Light")]


def test_the_marks_of_a_heading_below_a_heading_are_not_in_sight_in_a_pdf(visitor, app):
    made = document("marks", "# Eyes\n\n## Of hawks\n\nThey have two foveas.\n", pages=(0,))
    app.state.site.library.add_documents([made])
    page = visitor.client.get(f"/library/{made.id}").text
    hidden = re.findall(r'<span class="hashes" aria-hidden="true">([^<]*)</span>([^<]*)', page)
    assert [(marks, line.strip()) for marks, line in hidden] == [("# ", "Eyes"), ("## ", "Of hawks")]


def test_code_of_markdown_is_shown_as_code_and_a_mark_in_it_is_exact(visitor):
    text = "# Run\n\nSo:\n\n```sh\nfoveal add a b\n  --quiet <x>\n```\n\nOr:\n\n    make all\n\nDone.\n"
    visitor.add(("run.md", text.encode()))
    which = visitor.only()
    page = visitor.client.get(f"/library/{which}").text
    blocks = re.findall(r'<code class="block" dir="ltr">(.*?)</code>', page, re.DOTALL)
    assert [unescape(re.sub(r"<[^>]+>", "", one)) for one in blocks] == [
        "```sh\nfoveal add a b\n  --quiet <x>\n```\n",
        "    make all\n",
    ]
    assert re.findall(r'<span class="fence">([^<]*)</span>', page) == ["```sh\n", "```\n"]
    for cited in ("add a b\n  --qui", "So:\n\n```sh\nfoveal", "quiet <x>\n```\n\nOr:\n\n    make"):
        start = text.index(cited)
        assert marks(visitor.client.get(f"/library/{which}?span={start}-{start + len(cited)}").text) == cited


def test_an_indented_paragraph_of_a_plain_text_is_no_code(visitor):
    visitor.add(("verse.txt", b"He said:\n\n    The mill turns,\n    the water burns.\n"))
    assert 'class="block"' not in visitor.client.get(f"/library/{visitor.only()}").text


def rows_of(page: str, row: str = "tr", cell: str = "t[hd]") -> list[list[str]]:
    """The cells of the tables of a page, row by row."""
    found = re.findall(rf"<{row}[^>]*>(.*?)</{row}>", page, re.DOTALL)
    return [[unescape(re.sub("<[^>]+>", "", one)) for _, one in CELL.findall(line)] for line in found]


CELL = re.compile(r"<(t[hd])\b[^>]*>(.*?)</\1>", re.DOTALL)


def test_a_table_of_markdown_is_shown_as_one_and_a_mark_in_it_is_exact(visitor):
    rows = [f"| Mill {n} | {1700 + n} | by <water> \\| wind |" for n in range(60)]
    text = "\n".join(["# Mills\n\nSome:\n", "| name | built | how |", "|:--|--:|---|", *rows, "\nAfter `a | b`.\n"])
    visitor.add(("mills.md", text.encode()))
    which = visitor.only()
    page = visitor.client.get(f"/library/{which}").text
    assert page.count("<table") == 1  # over all of its passages
    assert rows_of(page) == [
        ["name", "built", "how"],
        *([f"Mill {n}", f"{1700 + n}", "by <water> | wind"] for n in range(60)),
    ]
    assert rows_of(page.split("<thead>")[1].split("</thead>")[0]) == [["name", "built", "how"]]
    assert page.count('<td class="to-end">17') == 60
    assert "After `a | b`." in text_of(page)
    anchors = re.findall(r'<tbody id="p-(\d+)">', page)
    assert len(anchors) > 1
    assert all(text[int(one) :].startswith("| Mill") for one in anchors)
    for cited, marked in (
        ("| Mill 3 |", ["Mill 3"]),
        ("9 | 1709 | by <w", ["9", "1709", "by <w"]),
        ("|---|\n| Mill 0", ["Mill 0"]),
    ):
        start = text.index(cited)
        page = visitor.client.get(f"/library/{which}?span={start}-{start + len(cited)}").text
        found = re.findall(r'<mark class="cited"[^>]*>(.*?)</mark>', page)
        assert [unescape(one) for one in found] == marked
        assert f'<mark class="cited" id="c-{start}-{start + len(cited)}" tabindex="-1">{found[0]}' in page
    start = text.index(":--|--:|")
    assert f'id="c-{start}-{start + 3}"' in visitor.client.get(f"/library/{which}?span={start}-{start + 3}").text


def test_a_table_that_goes_on_in_the_next_part_tells_its_head_again(visitor):
    rows = [f'"Mill ""{n}"", old",{n},{"x" * 60}' for n in range(1000)]
    visitor.add(("mills.csv", "\n".join(["name,no,note", *rows]).encode()))
    which = visitor.only()
    parts = [visitor.client.get(f"/library/{which}?part={n}").text for n in (1, 2)]
    assert [rows_of(one)[0] for one in parts] == [["name", "no", "note"]] * 2
    assert [one.count('<thead class="again">') for one in parts] == [0, 1]
    shown = [row for one in parts for row in rows_of(one)[1:]]
    assert shown == [[f'Mill "{n}", old', str(n), "x" * 60] for n in range(1000)]


def test_bars_that_make_no_table_are_shown_as_they_are(visitor):
    visitor.add(("bars.md", b"a | b\nc | d\n\n```\n| a | b |\n|---|---|\n| 1 | 2 |\n```\n"))
    page = visitor.client.get(f"/library/{visitor.only()}").text
    assert "<table" not in page
    assert "| 1 | 2 |" in page


def lines_of(page: str) -> list[str]:
    """The lines of the contents, as they are read."""
    nav = page.split('<nav aria-label="Contents">')[1].split("</nav>")[0]
    return [text_of(one) for one in re.findall(r"<a [^>]*>(.*?)</a>", nav, re.DOTALL)]


def anchors_of(page: str) -> list[str]:
    nav = page.split('<nav aria-label="Contents">')[1].split("</nav>")[0]
    return re.findall(r'href="[^"#]*#([^"]+)"', nav)


def test_contents_are_as_fine_as_a_reader_asks_and_each_line_leads_to_its_place(visitor, app):
    mill, tide = "The mill grinds grain and flour fills its sacks.", "A tide lifts water, and the moon pulls the sea."
    text = "\n\n".join(f"{(mill if n % 20 < 10 else tide) * 4} Day {n}." for n in range(60))
    made = document("days", text, title="Days")
    app.state.site.library.add_documents([made])
    usual = visitor.client.get(f"/library/{made.id}").text
    counts = [int(one) for one in re.findall(r'name="detail"[^>]*>([\d,]+)</button>', usual)]
    assert counts == sorted(set(counts))
    assert len(counts) > 1
    for number, count in enumerate(counts, start=1):
        page = visitor.client.get(f"/library/{made.id}?detail={number}").text
        assert len(lines_of(page)) == count
        assert re.findall(r'value="(\d+)" aria-pressed="true"', page) == [str(number)]
        assert all(f'id="{one}"' in page for one in anchors_of(page))
    assert len(lines_of(visitor.client.get(f"/library/{made.id}?detail=99").text)) == counts[-1]
    for odd in ("0", "-1", "x", "1e9", "٣"):
        assert lines_of(visitor.client.get(f"/library/{made.id}?detail={odd}").text) == lines_of(usual)


def test_headings_are_the_contents_at_first_and_parts_keep_the_detail(visitor, app):
    sections = [f"## Day {n}\n\n" + "\n\n".join(f"Tide {n}.{k} came in. " * 30 for k in range(6)) for n in range(30)]
    made = document("log", "# Log\n\n" + "\n\n".join(sections), title="Log")
    app.state.site.library.add_documents([made])
    page = visitor.client.get(f"/library/{made.id}").text
    assert lines_of(page) == ["Log", *(f"Day {n}" for n in range(30))]
    assert "detail=" not in page.split('<nav aria-label="Contents">')[1]
    finer = visitor.client.get(f"/library/{made.id}?detail=2").text
    assert len(lines_of(finer)) > 31
    assert f"/library/{made.id}?part=2&amp;detail=2" in finer
    assert '<input type="hidden" name="part" value="2">' in visitor.client.get(f"/library/{made.id}?part=2").text


def test_pages_serve_where_there_are_no_topics(visitor):
    visitor.add(("tides.pdf", pdf("Water comes.", "It goes.")))
    listed = visitor.client.get("/library").text
    page = visitor.client.get(re.search(r"/library/[0-9a-f]{32}", listed)[0]).text
    assert lines_of(page) == ["Page 1", "Page 2"]
    assert 'name="detail"' not in page


def test_lines_that_only_fit_a_width_flow_and_the_mark_stays_exact():
    prose = "The keeper climbed the stair each evening before the light went and wrote down what the weather did. " * 4
    code = "```\nlamp = light(oil, hour)\nring(bell, by=hand)\n```\n"
    text = f"{fill(prose, 60)}\n\n{code}\n{fill(prose, 60)}\n\n| lamp | oil |\n|---|---|\n| a | b |\n"
    made = document("lamp.md", text, metadata={"kind": "markdown"})
    shown = shown_of(made, 0, len(text))
    assert shown.count(prose.rstrip()) == 2
    assert code in shown
    assert shown[70:200] == shown_of(made, 70, 200)
    a = text.index("stair")
    blocks = blocks_of(made, [], [], 0, len(text), (a, a + 40), code=code_of(made), tables=tables_of(made), shown=shown)
    slices = [one for block in blocks for one in block.slices]
    assert "".join(line for one in slices for line in one.lines) == shown.rstrip()
    assert "".join(line for one in slices if one.marked for line in one.lines) == shown[a : a + 40]


def test_the_page_and_the_reasons_show_prose_that_was_wrapped_by_hand_as_paragraphs(tmp_path):
    prose = "The keeper climbed the stair each evening before the light went and wrote down what the weather did. " * 4
    with visiting(made_app(tmp_path)) as visitor:
        visitor.add(("keeper.txt", fill(prose, 60).encode()))
        (which,) = set(re.findall(r"/library/([0-9a-f]{32})", visitor.client.get("/library?q=keeper").text))
        (why,) = re.findall(r'href="(/library/[0-9a-f]+/why\?[^"]*)"', visitor.client.get("/library?q=keeper").text)
        for address in (f"/library/{which}", unescape(why)):
            assert prose.rstrip() in unescape(re.sub("<[^>]+>", "", visitor.client.get(address).text)), address


def test_a_part_of_many_passages_and_headings():
    """Of all the headings, each passage is looked up for its own alone."""
    text = "# Title\n\nWords.\n\n" * 20_000
    size = len(text) // 20_000
    headings = [Heading(at, at + 8, 1, "Title") for at in range(0, len(text), size)]
    places = [(at, at + size, "Title") for at in range(0, len(text), size)]
    blocks = blocks_of(document("d", text), places, headings, 0, len(text), flowing=True)
    assert [one.heading for one in blocks[-1].slices] == [1, None]
