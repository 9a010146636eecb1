"""Passages from the middle of a table: their headings say what the columns are called, their spans stay as they are."""

from __future__ import annotations

import time
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from foveal.library import Library
from foveal.registry import SEGMENTERS
from foveal.retrieval.indexing import indexed_text
from foveal.settings import Settings
from foveal.text.headings import LONGEST_TITLE
from foveal.text.html import read_html
from foveal.text.segmentation import HeadingSegmenter
from foveal.text.segmenter_by_name import make_segmenter
from foveal.text.table_heads import LEAST_SHOWN, LONGEST_ROW, path_without, rows_in, tables_of
from foveal.types import Document

ROWS = [f"Mill No. {n},{1800 + n},{n * 3.5:.1f},Hamburg" for n in range(80)]
HEAD = "name,built,height in m,place"


def document(text, name="mills.csv"):
    return Document.of(f"file:///{name}", text, "Mills", metadata={"source": f"file:///{name}", "kind": "text"})


def columns(text, name="mills.csv"):
    return [table.columns for table in tables_of(document(text, name))]


def ruled(rows, head="| name | built | place |"):
    return "\n".join([head, "|---|---:|:---|", *rows])


MARKED = ruled([f"| Mill {n} | {1800 + n} | Hamburg on the Elbe |" for n in range(60)])


@pytest.mark.parametrize("name", [one for one in SEGMENTERS if one not in ("dp", "depth", "same-topic", "graphseg")])
def test_every_passage_among_rows_tells_its_columns_and_stays_where_it_was(name):
    made = document("\n".join([HEAD, *ROWS]))
    found = make_segmenter(name, None).segment(made)
    assert found[0].heading is None
    assert {one.heading for one in found[1:]} <= {"name | built | height in m | place"}
    assert all(made.text[one.span.start : one.span.end] == one.text for one in found)
    assert all(a.span.end == b.span.start for a, b in pairwise(found))
    assert len(found) > 1 or name == "whole"


def test_a_row_is_found_by_the_name_of_its_column(tmp_path):
    (tmp_path / "mills.csv").write_text("\n".join([HEAD, *ROWS]))
    library = Library.open(settings=Settings(home=tmp_path / "home", cache=Settings.load().cache), encoder="none")
    library.add([tmp_path / "mills.csv"])
    hit = library.search("height of No. 57", k=1)[0]
    assert "Mill No. 57," in hit.passage.text
    assert hit.passage.heading == "name | built | height in m | place"
    assert library.get(hit.passage.span.document_id).quote(hit.passage.span) == hit.passage.text
    assert "height in m" in indexed_text(library.get(hit.passage.span.document_id), hit.passage)


def test_a_table_of_markdown_stands_below_its_heading_and_ends_with_its_rows():
    text = f"# Sea mills\n\nA word before.\n\n{MARKED}\n\n## After\n\n" + "More words that are said. " * 60
    found = HeadingSegmenter(max_tokens=100).segment(document(text, "mills.md"))
    headings = list(dict.fromkeys(one.heading for one in found))
    assert headings == ["Sea mills", "Sea mills > name | built | place", "Sea mills > After"]
    assert all((one.heading or "").endswith("place") == one.text.startswith("| Mill") for one in found)


def test_a_table_of_a_web_page_is_one_too():
    rows = "".join(f"<tr><td>Mill {n}</td><td>{1800 + n}</td></tr>" for n in range(60))
    words = "Some words stand here before the table begins, and they go on a little."
    body = f"<h1>Mills</h1><p>{words}</p><table><tr><th>name</th><th>built</th></tr>{rows}</table><p>{words}</p>"
    text = read_html(f"<html><body><article>{body}</article></body></html>".encode(), name="a").text
    found = HeadingSegmenter(max_tokens=80).segment(document(text, "a.html"))
    assert "Mills > name | built" in {one.heading for one in found}


@pytest.mark.parametrize(
    ("text", "name", "expected"),
    [
        ("a;b\n1,5;2\n2,5;3", "x.csv", ("a", "b")),
        ("a\tb\nx, y\t2", "x.tsv", ("a", "b")),
        ("a\tb\nx, y\t2", "x.tsv.gz", ("a", "b")),
        ("a,b\n1,2", "data.csv.txt", ("a", "b")),
        ('"last, first",born\n"Lovelace, Ada",1815', "x.csv", ("last, first", "born")),
        ('"two\nlines",born\nAda,1815', "x.csv", ("two lines", "born")),
        ("Mills of 1900\n\nname,built\na,1\nb,2\nc,3", "x.csv", ("name", "built")),
        ("country,2019,2020\nPeru,5,6\nChad,7,8", "x.csv", ("country", "2019", "2020")),
        (",name\n0,Ada\n1,Bob", "x.csv", ("name",)),
    ],
    ids=["semicolons", "tabs", "packed", "an upload", "quoted", "over lines", "words above", "years", "no name"],
)
def test_heads_that_are_known(text, name, expected):
    assert columns(text, name) == [expected]


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("Ada,36\nBob,40\nEve,22", "x.csv"),
        ("name,age", "x.csv"),
        ("", "x.csv"),
        ("one word to a line\nand another", "x.csv"),
        ('a,b\n"never closed', "x.csv"),
        ("a,b\n1,2", "x.txt"),
        ("| a |\n|---|\n| 1 |", "x.md"),
        ("| a | b |\n|---|---|", "x.md"),
        ("| a | b |\n|---|---|---|\n| 1 | 2 |", "x.md"),
        ("| Ada | 36 |\n|---|---|\n| Bob | 40 |", "x.md"),
        ("|---|---|\n| Bob | 40 |", "x.md"),
    ],
    ids=[
        "no head",
        "no rows",
        "empty",
        "no cells",
        "open",
        "text",
        "one column",
        "head alone",
        "uneven",
        "data",
        "top",
    ],
)
def test_what_names_no_columns(text, name):
    assert columns(text, name) == []


def test_many_columns_leave_room_for_the_path():
    head = ",".join(f"column {n}" for n in range(90))
    found = make_segmenter("headings", None).segment(document("\n".join([head, *[",".join(["x"] * 90)] * 40])))
    assert LEAST_SHOWN < len(found[-1].heading) <= LONGEST_TITLE
    assert found[-1].heading.startswith("column 0 | column 1")
    assert found[-1].heading.endswith("…")


def test_cells_keep_their_marks():
    text = ruled([f"| Mill {n} | {n} | x |" for n in range(4)], head=r"| **name** | a \| b | [place](https://x.org) |")
    assert columns(text, "x.md") == [("name", "a | b", "place")]


def test_rules_among_rows_take_no_longer():
    text = "| a | b |\n|---|---|\n" * 30_000
    begun = time.perf_counter()
    assert len(list(tables_of(document(text, "x.md")))) == 1
    assert time.perf_counter() - begun < 2


@given(st.text(alphabet='ab1,;|-"\n\t ', max_size=200), st.sampled_from(["x.csv", "x.tsv", "x.md"]))
def test_any_text_is_cut_as_it_was(text, name):
    made = document(text, name)
    found = HeadingSegmenter(max_tokens=8, min_tokens=2).segment(made)
    assert "".join(one.text for one in found) == text
    assert all(0 < table.start <= table.end <= len(text) for table in tables_of(made))


@pytest.mark.parametrize(
    ("text", "name", "head"),
    [
        ("\n".join([HEAD, *ROWS]), "mills.csv", HEAD),
        ("\n".join([HEAD, *ROWS]).replace(",", "\t"), "mills.tsv", HEAD.replace(",", "\t")),
        (f"# Mills\n\nWords.\n\n{MARKED}\n\nWords.", "mills.md", "| name | built | place |"),
    ],
    ids=["csv", "tsv", "markdown"],
)
def test_rows_from_the_middle_know_the_head_that_they_lack(text, name, head):
    made = document(text, name)
    row = text.index("No. 40" if "No. 40" in text else "Mill 40")
    below = rows_in(made, text.rindex("\n", 0, row) + 1, len(text))
    assert below.head == head
    assert text[below.start :].startswith(("Mill No. 40", "| Mill 40"))
    assert text[: below.end].rstrip().endswith(("Hamburg", "Elbe |"))
    above = rows_in(made, 0, row)
    assert (above.head, text[above.start :].startswith(head), above.end) == ("", True, row)


def test_prose_has_no_rows_and_a_wide_head_is_cut():
    assert rows_in(document("A word | and another.\n\nMore.", "x.md"), 0, 20) is None
    wide = document("\n".join([",".join(f"column {n}" for n in range(90)), *[",".join("x" * 90)] * 9]))
    found = rows_in(wide, len(wide.text) - 100, len(wide.text))
    assert len(found.head) <= LONGEST_ROW + 2
    assert found.head.endswith("…")


@pytest.mark.parametrize("above", [[], ["Sea mills"], ["Sea mills", "Wide > deep"], ["x" * 110]])
def test_the_path_of_headings_is_told_from_the_columns(above):
    titles = "\n\n".join(f"{'#' * level} {title}\n\nWords." for level, title in enumerate(above, 1))
    made = document(f"{titles}\n\n{MARKED}", "mills.md")
    (table,) = tables_of(made)
    last = HeadingSegmenter(max_tokens=60, min_tokens=1).segment(made)[-1]
    assert path_without(table, last.heading) == " > ".join(above)
    assert path_without(table, "Another > heading") == "Another > heading"


@pytest.mark.parametrize(
    ("head", "row", "told"),
    [
        ("name,built,place", 'Kettle,"1790, or so",', "name: Kettle; built: 1790, or so"),
        (",name,built", "3,Ada,1815", "3; name: Ada; built: 1815"),
        ("name,built", "Kettle,1790,more", "Kettle,1790,more"),
        ("name,built", 'a\rb,"1790', 'a b,"1790'),
    ],
    ids=["quoted and empty", "a column without a name", "other cells", "no row"],
)
def test_a_row_is_told_cell_by_cell(head, row, told):
    others = "\n".join(",".join("x" * len(head.split(","))) for _ in range(3))
    (table,) = tables_of(document(f"{head}\n{others}\n"))
    assert table.told(row) == told


def test_a_row_of_markdown_is_told_cell_by_cell():
    (table,) = tables_of(document("| **name** | built |  |\n|---|---|---|\n| a | 1 | b |\n", "mills.md"))
    assert table.told("| Kettle \\| Pan | 1790 | Hamburg |") == "name: Kettle \\| Pan; built: 1790; Hamburg"
