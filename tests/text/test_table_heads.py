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
from foveal.text.table_heads import LEAST_SHOWN, tables_of
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
