"""Items of publishers' feeds as they write them: DOIs, authors in one string, abstracts; one paper by its DOI."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest

from foveal.database import Database
from foveal.papers.records import PaperRecord
from foveal.papers.sources.feed import items_of, record_of
from foveal.papers.sources.publishers import abstract_of, doi_of, names_of, version_of
from foveal.papers.store import PaperStore
from foveal.papers.upserts import upsert
from foveal.settings import Settings

DOI = "10.1101/2026.12.01.700001"
FIRST = PaperRecord(
    title="Readers look twice",
    abstract="Readers fixate what matters.",
    url="https://www.biorxiv.org/content/10.1101/2026.12.01.700001v1",
    doi=DOI,
    source="feed",
    listed_on=date(2026, 12, 1),
)


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    opened = Database.open(Settings(home=tmp_path, cache=tmp_path))
    yield opened
    opened.close()


def record(told: str, kind: str = "rss") -> PaperRecord:
    """The record of an item of RSS with the namespaces of publishers."""
    spaces = 'xmlns:dc="http://purl.org/dc/elements/1.1/" xmlns:prism="http://prismstandard.org/namespaces/basic/2.0/"'
    head = f'<rss version="2.0" {spaces}><channel><item>' if kind == "rss" else kind
    items, wrong = items_of(f"{head}{told}</item></channel></rss>".encode(), "https://example.org/feed")
    assert not wrong
    return record_of(items[0])


@pytest.mark.parametrize(
    ("told", "doi"),
    [
        ([f"doi:{DOI}"], DOI),
        ([f"https://doi.org/{DOI}"], DOI),
        (["pubmed:41000001", DOI], DOI),
        (["https://example.org/10.1101"], ""),
        ([], ""),
    ],
)
def test_a_doi(told, doi):
    assert doi_of(told) == doi


@pytest.mark.parametrize(
    ("told", "names"),
    [
        (["Müller, K., van der Berg, J. P."], ("K. Müller", "J. P. van der Berg")),
        (["Ana Sol, Bo Li and Cy Ito"], ("Ana Sol", "Bo Li", "Cy Ito")),
        (["Sol, Ana; Li, Bo"], ("Sol, Ana", "Li, Bo")),
        (["King, M. L., Jr."], ("M. L. King Jr.",)),
        (["The Mill, the River"], ("The Mill", "the River")),
        (["Vale"], ("Vale",)),
        (["Ana Sol", "Bo Li"], ("Ana Sol", "Bo Li")),
        ([], ()),
    ],
)
def test_authors(told, names):
    assert names_of(told) == names


def test_what_is_said_of_the_issue_is_no_part_of_an_abstract():
    nature = "Nature, Published online: 03 December 2026; doi:10.1038/s41586-026-1 Readers fixate what matters."
    assert abstract_of(nature) == "Readers fixate what matters."
    assert abstract_of("Publication date: March 2027 Source: Cognition, Volume 1 Author(s): Ana Sol, Bo Li") == ""
    assert abstract_of("Abstract art is looked at twice.") == "Abstract art is looked at twice."


def test_versions_of_a_preprint():
    assert version_of("https://www.medrxiv.org/content/10.1101/2026.12.01.1v3.full?rss=1") == 3
    assert version_of("https://example.org/papers/1v3") == 1


def test_an_item_of_a_preprint_server():
    told = record(
        f"<title>Readers look twice</title><link>https://www.biorxiv.org/content/{DOI}v2?rss=1</link>"
        f"<dc:creator>Sol, A., Li, B.</dc:creator><dc:identifier>doi:{DOI}</dc:identifier>"
        "<description>Readers fixate what matters.</description>"
    )
    assert (told.doi, told.version, [one.name for one in told.authors]) == (DOI, 2, ["A. Sol", "B. Li"])


def test_a_doi_of_arxiv_is_the_paper_of_arxiv():
    told = record(
        "<title>Where to Look</title><link>https://example.org/1</link><prism:doi>10.48550/arXiv.2611.00001</prism:doi>"
    )
    assert (told.id, told.doi) == ("2611.00001", "")


def test_one_paper_in_two_feeds_by_its_doi(database):
    journal = replace(FIRST, url="https://journal.example/twice", title="Readers Look Twice at Pages", doi=DOI.upper())
    upsert(database, [FIRST])
    upsert(database, [journal])
    assert PaperStore(database).count() == 1


def test_another_version_at_an_address_of_its_own_is_the_same_paper(database):
    second = replace(FIRST, url=FIRST.url[:-1] + "2", version=2, title="Readers look thrice", abstract="New.")
    upsert(database, [replace(FIRST, version=1)])
    upsert(database, [second])
    assert PaperStore(database).count() == 1


def test_two_papers_of_one_title_with_their_own_dois_are_two(database):
    upsert(database, [FIRST, replace(FIRST, url="https://journal.example/other", doi="10.1000/other")])
    assert PaperStore(database).count() == 2
