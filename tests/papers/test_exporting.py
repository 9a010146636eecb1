"""Papers to BibTeX, RIS and CSV, and a person's data: all of it out, all of it away, and nothing of anybody else's."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from foveal.database import Database
from foveal.papers.exporting import EXPORTS, as_csv, as_json, bibtex, csl, ris
from foveal.papers.records import Named, PaperRecord
from foveal.papers.store import Paper, PaperStore
from foveal.papers.upserts import upsert
from foveal.settings import Settings

RECORD = PaperRecord(
    id="2609.00001",
    title="Léa & Bo: 100 % of $a_b < c$ in {braces}_x",
    abstract="We look at $O(n)$ & more.\nOr so.",
    authors=(Named(name="Léa N. Martin"), Named(name="The Eye Collaboration")),
    categories=("cs.CL", "cs.AI"),
    published_at=datetime(2026, 9, 29, tzinfo=UTC),
    doi="10.1/x",
    source="arxiv",
    listed_on=date(2026, 10, 2),
    submitted_by="ana",
)


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    opened = Database.open(Settings(home=tmp_path, cache=tmp_path))
    upsert(opened, [RECORD, replace(RECORD, id="2609.00002", journal_ref="Eyes 1 (2021)", title="=SUM(A1)")])
    yield opened
    opened.close()


@pytest.fixture
def papers(database: Database) -> list[Paper]:
    return PaperStore(database).many(["2609.00001", "2609.00002"])


def test_bibtex_in_full(papers):
    first, second = bibtex(papers).split("\n\n")
    assert first == "\n".join(
        [
            "@misc{martin2026braces,",
            r"  title = {{Léa \& Bo: 100 \% of $a_b < c$ in \{braces\}\_x}},",
            "  author = {Léa N. Martin and The Eye Collaboration},",
            "  year = {2026},",
            "  month = sep,",
            "  doi = {10.1/x},",
            "  eprint = {2609.00001},",
            "  archiveprefix = {arXiv},",
            "  primaryclass = {cs.CL},",
            "  url = {https://arxiv.org/abs/2609.00001},",
            "  abstract = {We look at $O(n)$ \\& more. Or so.},",
            "}",
        ]
    ).replace("more. Or", "more.\nOr")
    assert second.startswith("@article{martin2026,\n")


def test_keys_differ(papers):
    keys = re.findall(r"@misc\{(.+),", bibtex([papers[0]] * 3))
    assert keys == ["martin2026braces", "martin2026braces-2", "martin2026braces-3"]


@given(st.text(alphabet="a{}\\$%&#_~^\n é", max_size=40))
def test_braces_close_whatever_a_title_holds(title):
    """A brace that does not would swallow the rest of the file."""
    from foveal.text.bibtex import tex

    depth = 0
    for one in re.sub(r"\\[{}\\]", "", tex(title)):
        depth += (one == "{") - (one == "}")
        assert depth >= 0
    assert depth == 0


def test_ris_in_full(papers):
    lines = ris(papers).split("\r\n")
    assert lines[:4] == ["TY  - UNPB", f"TI  - {RECORD.title}", "AU  - Martin, Léa N.", "AU  - Collaboration, The Eye"]
    assert "AB  - We look at $O(n)$ & more. Or so." in lines
    assert [line for line in lines if line.startswith("TY")] == ["TY  - UNPB", "TY  - JOUR"]
    assert lines.count("ER  - ") == 2


def test_csl_in_full(papers):
    first, second = json.loads(csl(papers))
    assert first == {
        "id": "martin2026braces",
        "type": "article",
        "title": RECORD.title,
        "author": [{"family": "Martin", "given": "Léa N."}, {"family": "Collaboration", "given": "The Eye"}],
        "issued": {"date-parts": [[2026, 9, 29]]},
        "publisher": "arXiv",
        "number": "arXiv:2609.00001",
        "DOI": "10.1/x",
        "URL": "https://arxiv.org/abs/2609.00001",
        "abstract": RECORD.abstract,
    }
    assert (second["type"], second["container-title"]) == ("article-journal", "Eyes 1 (2021)")


def test_a_paper_that_was_withdrawn_is_cited_as_such(papers):
    gone = [replace(papers[0], withdrawn=True), papers[1]]
    assert bibtex(gone).count("  note = {Withdrawn},\n") == 1
    assert ris(gone).count("\r\nN1  - Withdrawn\r\n") == 1
    assert [one.get("note") for one in json.loads(csl(gone))] == ["Withdrawn", None]
    assert [row["withdrawn"] for row in csv.DictReader(io.StringIO(as_csv(gone)))] == ["yes", ""]


def test_csv_reads_back_and_holds_no_formula(papers):
    rows = list(csv.DictReader(io.StringIO(as_csv(papers))))
    assert [row["title"] for row in rows] == [RECORD.title, "'=SUM(A1)"]
    assert (rows[0]["authors"], rows[0]["published"], rows[0]["listed"]) == (
        *("Léa N. Martin; The Eye Collaboration", "2026-09-29", "2026-10-02"),
    )
    assert rows[0]["abstract"] == RECORD.abstract


def test_json_reads_back_and_nothing_is_an_empty_file(papers):
    assert [one["id"] for one in json.loads(EXPORTS["json"](papers))] == ["2609.00001", "2609.00002"]
    assert (bibtex([]), ris([]), json.loads(EXPORTS["json"]([]))) == ("", "", [])


# people


def test_an_author_who_is_hidden_is_cited_nowhere(papers):
    first, second = papers[0].authors
    paper = replace(papers[0], authors=(replace(first, status="hidden"), second))
    told = [bibtex([paper]), ris([paper]), as_csv([paper])]
    assert all("Martin" not in one and "martin" not in one and "Collaboration" in one for one in told)


def test_an_author_whose_name_is_blank_stops_no_reference(papers):
    blank = replace(papers[0], authors=(replace(papers[0].authors[0], name=" "), *papers[0].authors[1:]))
    assert bibtex([blank]).startswith("@misc{collaboration2026braces,")
    assert bibtex([replace(papers[0], authors=blank.authors[:1])]).startswith("@misc{anonymous2026braces,")


def test_an_author_who_is_hidden_is_in_no_export(papers):
    hidden = replace(papers[0], authors=(replace(papers[0].authors[0], status="hidden"), *papers[0].authors[1:]))
    assert "Martin" in as_json([papers[0]])
    assert not [name for name, export in EXPORTS.items() if "Martin" in export([hidden])]
