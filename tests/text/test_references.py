"""Sources as BibTeX, CSL-JSON and RIS: each field once, names as people write them, and nothing that ends a field."""

from __future__ import annotations

import json
import re
from datetime import UTC, date, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from foveal.errors import InputError
from foveal.text.references import FORMS, Reference, bibtex, csl, form_of, names_in, ris

SEEN = datetime(2026, 11, 2, tzinfo=UTC)
PAPER = Reference.of(
    title="Looking & seeing",
    metadata={
        "source": "arxiv:2605.01234v2", "kind": "arxiv", "authors": "Ada Lovelace; Charles Babbage",
        "doi": "10.1/x", "primary_category": "cs.CL",
    },
    published_at=datetime(2026, 5, 3, tzinfo=UTC), url="https://arxiv.org/abs/2605.01234v2", added_at=SEEN,
    places=("page 3 (characters 120 to 180)", "page 7 (characters 900 to 950)"), revision="0123456789abcdef" * 4,
)  # fmt: skip
NOTE = "Cited: page 3 (characters 120 to 180); page 7 (characters 900 to 950). text 0123456789abcdef"


def test_bibtex_in_full():
    assert bibtex([PAPER]) == "\n".join([
        "@misc{lovelace2026looking,", "  title = {{Looking \\& seeing}},",
        "  author = {Ada Lovelace and Charles Babbage},", "  year = {2026},", "  month = may,", "  doi = {10.1/x},",
        "  eprint = {2605.01234},", "  archiveprefix = {arXiv},", "  primaryclass = {cs.CL},",
        "  url = {https://arxiv.org/abs/2605.01234v2},", "  urldate = {2026-11-02},", f"  note = {{{NOTE}}},", "}", "",
    ])  # fmt: skip


def test_csl_in_full():
    assert json.loads(csl([PAPER])) == [
        {
            "id": "lovelace2026looking",
            "type": "article",
            "title": "Looking & seeing",
            "author": [{"family": "Lovelace", "given": "Ada"}, {"family": "Babbage", "given": "Charles"}],
            "issued": {"date-parts": [[2026, 5, 3]]},
            "publisher": "arXiv",
            "number": "arXiv:2605.01234",
            "DOI": "10.1/x",
            "URL": "https://arxiv.org/abs/2605.01234v2",
            "accessed": {"date-parts": [[2026, 11, 2]]},
            "note": NOTE,
        }
    ]


def test_ris_in_full():
    lines = ris([PAPER]).split("\r\n")
    assert lines[:4] == ["TY  - UNPB", "TI  - Looking & seeing", "AU  - Lovelace, Ada", "AU  - Babbage, Charles"]
    assert "DA  - 2026/05/03" in lines
    assert f"N1  - {NOTE}" in lines
    assert lines[-2:] == ["ER  - ", ""]


def test_a_file_is_named_where_no_address_leads_to_it_and_a_page_when_it_was_read():
    made = Reference.of(title="", metadata={"kind": "pdf"}, url="file:///books/x.pdf", file="x_1.pdf", added_at=SEEN)
    assert (made.title, made.url, made.file, made.seen) == ("Untitled", "", "x_1.pdf", None)
    assert "  howpublished = {x\\_1.pdf}," in bibtex([made])
    assert json.loads(csl([made]))[0]["type"] == "document"
    page = Reference.of(title="A page", metadata={"kind": "url"}, url="https://e.org/%7Ba", file="y", added_at=SEEN)
    assert (page.file, page.seen) == ("", date(2026, 11, 2))
    assert json.loads(csl([page]))[0]["type"] == "webpage"
    assert "TY  - ELEC" in ris([page])


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("Ada Lovelace", ["Ada Lovelace"]),
        ("Lovelace, Ada", ["Ada Lovelace"]),
        ("Lovelace, Ada; Babbage, Charles", ["Ada Lovelace", "Charles Babbage"]),
        ("Ada Lovelace and Charles Babbage", ["Ada Lovelace", "Charles Babbage"]),
        ("Ada Lovelace, Charles Babbage, Mary Somerville", ["Ada Lovelace", "Charles Babbage", "Mary Somerville"]),
        ("Ada Lovelace, Charles Babbage and Mary Somerville", ["Ada Lovelace", "Charles Babbage", "Mary Somerville"]),
        ("Ada Lovelace, Charles Babbage, and Mary Somerville", ["Ada Lovelace", "Charles Babbage", "Mary Somerville"]),
        ("Lovelace, Ada et Babbage, Charles", ["Ada Lovelace", "Charles Babbage"]),
        ("de la Cruz, Juana Inés; García Márquez, G. J.", ["Juana Inés de la Cruz", "G. J. García Márquez"]),
        ("Ada <ada@example.org>", ["Ada"]),
        ("Sandy Anderson", ["Sandy Anderson"]),
        ("清少納言", ["清少納言"]),
        ("Smith, John, Jr.", ["John Smith Jr."]),
        ("Ada Lovelace, Jr.", ["Ada Lovelace Jr."]),
        ("Ada Lovelace Sr., Charles Babbage, III, and Mary Somerville, PhD", [
            "Ada Lovelace Sr.", "Charles Babbage III", "Mary Somerville PhD",
        ]),
        ("King, Jr., Martin Luther; Babbage, Charles, IV", ["Martin Luther King Jr.", "Charles Babbage IV"]),
        ("Ada Lovelace, Jr., M.D. and Charles Babbage, Ph.D.", ["Ada Lovelace Jr. M.D.", "Charles Babbage Ph.D."]),
        ("Lovelace Jr., Ada", ["Ada Lovelace Jr."]),
        ("Islam, MD", ["MD Islam"]),
        ("Islam, Md", ["Md Islam"]),
        ("Lovelace, Jr.", ["Lovelace Jr."]),
        ("Lovelace,", ["Lovelace"]),
        ("José Ortega y Gasset und Ada Lovelace", ["José Ortega y Gasset", "Ada Lovelace"]),
        ("", []),
    ],
    ids=[
        "one", "turned", "two turned", "and", "commas", "commas, and", "commas, and a comma", "turned, et",
        "two words turned", "mail", "and within", "one word", "of three parts", "suffix", "suffixes", "suffix within",
        "two suffixes", "suffix turned", "given", "given, small", "suffix alone", "a comma", "y within", "none",
    ],
)  # fmt: skip
def test_names_in_a_line(said, expected):
    assert list(names_in(said)) == expected


def test_a_suffix_has_its_place_in_each_format():
    made = [Reference.of(title="On sight", metadata={"authors": one}) for one in ("Ada Lovelace, Jr.", "Lovelace, Jr.")]
    assert re.findall(r"@misc\{(.+),", bibtex(made)) == ["lovelacesight", "lovelacesight-2"]
    assert re.findall("author = .*", bibtex(made)) == ["author = {Lovelace, Jr., Ada},", "author = {Lovelace Jr.},"]
    assert [one["author"] for one in json.loads(csl(made))] == [
        [{"family": "Lovelace", "given": "Ada", "suffix": "Jr."}],
        [{"literal": "Lovelace Jr."}],
    ]
    assert re.findall(r"AU  - ([^\r]*)", ris(made)) == ["Lovelace, Ada, Jr.", "Lovelace Jr."]


def test_an_article_of_a_journal_is_one_though_it_is_a_preprint_too():
    made = Reference.of(
        title="On sight", url="http://e.example/{a}\\b", published_at=datetime(1912, 1, 2, tzinfo=UTC), metadata={
            "source": "ARXIV:1912.00001", "authors": "Ada Lovelace", "journal_ref": "Eyes 1 (1912)", "doi": "10.1/x",
            "primary_category": "cs.CV",
        },
    )  # fmt: skip
    told = bibtex([made]).splitlines()
    assert told[0] == "@article{lovelace1912sight,"
    assert {"  journal = {Eyes 1 (1912)},", "  eprint = {1912.00001},", "  primaryclass = {cs.CV},"} <= set(told)
    assert "  url = {http://e.example/%7Ba%7D%5Cb}," in told
    [item] = json.loads(csl([made]))
    assert (item["type"], item["container-title"], item["number"]) == (
        "article-journal", "Eyes 1 (1912)", "arXiv:1912.00001"
    )  # fmt: skip
    assert "publisher" not in item
    lines = ris([made]).split("\r\n")
    assert lines[0] == "TY  - JOUR"
    assert {"PY  - 1912", "JO  - Eyes 1 (1912)", "DO  - 10.1/x", "M3  - arXiv:1912.00001"} <= set(lines)
    assert "UR  - http://e.example/{a}\\b" in lines


@pytest.mark.parametrize(
    ("kind", "authors", "kinds"),
    [
        ("epub", "Ada Lovelace", ["@book{lovelacenotes,", "book", "BOOK"]),
        ("epub", "", ["@misc{anonymousnotes,", "book", "BOOK"]),
        ("mail", "Plato", ["@misc{platonotes,", "personal_communication", "PCOMM"]),
    ],
    ids=["a book", "a book of nobody", "a mail"],
)
def test_a_book_and_a_mail_are_said_to_be_one(kind, authors, kinds):
    made = Reference.of(title="Notes", metadata={"kind": kind, "author": authors, "primary_category": "x"}, file="n")
    [item] = json.loads(csl([made]))
    told = ris([made]).split("\r\n")
    assert [bibtex([made]).splitlines()[0], item["type"], told[0].removeprefix("TY  - ")] == kinds
    assert item.get("author") == {"Plato": [{"literal": "Plato"}], "": None}.get(
        authors, [{"family": "Lovelace", "given": "Ada"}]
    )
    assert (item["source"], "L1  - n" in told, made.category) == ("n", True, "")


def test_so_many_authors_are_written_and_signs_that_nobody_sees_are_not():
    assert len(names_in("; ".join(f"Ada Lovelace {number}" for number in range(1200)))) == 1000
    made = Reference.of(title="On\u202e\x00 sight", metadata={})
    assert made.title == "On sight"
    noted = Reference(title="Notes", authors=("清少納言",), abstract="Of {all}.")
    assert json.loads(csl([noted]))[0]["abstract"] == "Of {all}."
    assert "清少納言" in csl([noted])
    assert "  abstract = {Of \\{all\\}.}," in bibtex([noted])
    assert "AB  - Of {all}.\r\n" in ris([noted])


def test_keys_differ_and_an_organisation_stays_whole():
    many = bibtex([PAPER, PAPER, Reference(title="Laws", authors=("Ministry of Food and Fish",))])
    assert re.findall(r"@misc\{(.+),", many) == ["lovelace2026looking", "lovelace2026looking-2", "fishlaws"]
    assert "author = {{Ministry of Food and Fish}}" in many
    assert [one["id"] for one in json.loads(csl([PAPER, PAPER]))] == ["lovelace2026looking", "lovelace2026looking-2"]


def test_forms_by_the_ending_of_a_file():
    assert [form_of(name) for name in ("a.bib", "b.JSON", "c.x.ris")] == ["bibtex", "csl", "ris"]
    with pytest.raises(InputError, match=r"'a\.txt'.*\.bib \(BibTeX\), \.json \(CSL-JSON\), \.ris \(RIS\)"):
        form_of("a.txt")


odd = st.text(alphabet="aB {}\\%$\n\r\x00&,;é\u202e", max_size=12)


@given(odd, odd, odd)
def test_nothing_in_a_source_ends_its_record(title, author, place):
    made = Reference.of(title=title, metadata={"author": author, "doi": title}, file=author, places=(place,))
    told = [one.write([made, made]) for one in FORMS.values()]
    assert len(json.loads(told[1])) == 2
    assert told[2].count("ER  - \r\n") == 2
    assert all(line[2:6] == "  - " for line in told[2].removesuffix("\r\n").split("\r\n"))
    assert len(re.findall(r"^@", told[0], re.MULTILINE)) == 2
    bare = re.sub(r"\\textbackslash\{\}|\\[{}]", "", told[0])
    depth = 0
    for one in bare:
        depth += (one == "{") - (one == "}")
        assert depth >= 0
    assert depth == 0
