"""Items of publishers' feeds as they write them: DOIs, authors in one string, abstracts; one paper by its DOI."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import date
from html import escape
from pathlib import Path

import pytest

from foveal.database import Database
from foveal.papers.records import PaperRecord
from foveal.papers.sources.feed import Feed, items_of, record_of
from foveal.papers.sources.publishers import abstract_of, doi_of, names_of, titled, version_of
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


def rss(*told: str) -> bytes:
    """Items of RSS with the namespaces of publishers."""
    spaces = (
        'xmlns:dc="http://purl.org/dc/elements/1.1/" xmlns:prism="http://prismstandard.org/namespaces/basic/2.0/" '
        'xmlns:content="http://purl.org/rss/1.0/modules/content/"'
    )
    items = "".join(f"<item>{one}</item>" for one in told)
    return f'<rss version="2.0" {spaces}><channel>{items}</channel></rss>'.encode()


def record(told: str) -> PaperRecord:
    """The record of an item of RSS."""
    items, wrong = items_of(rss(told), "https://example.org/feed")
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


@pytest.mark.parametrize(
    ("title", "shown"),
    [
        ("<scp>LLM</scp>s that <span class='small'>look</span> twice", "LLMs that look twice"),
        ("<sc>Sparse</sc> O<sub>2</sub> in <italic>E. coli</italic>", "Sparse O2 in E. coli"),
        ("<jats:italic>Drosophila</jats:italic> looks", "Drosophila looks"),
        ("Bound <mml:math><mml:mi>n</mml:mi><mml:mo>+</mml:mo><mml:mn>1</mml:mn></mml:math> holds", "Bound n+1 holds"),
        ("On <eos> and <unk>", "On <eos> and <unk>"),
        ("a <b and c> d", "a <b and c> d"),
    ],
)
@pytest.mark.parametrize("way", ["escaped", "cdata"])
def test_tags_of_a_publishers_title_go_and_their_text_stays(title, shown, way):
    told = escape(title) if way == "escaped" else f"<![CDATA[{title}]]>"
    assert record(f"<title>{told}</title>").title == shown


@pytest.mark.parametrize(
    ("title", "tag", "shown"),
    [
        ("v1.3", "v1.3", "owner/repo v1.3"),
        ("1.3.0", "v1.3.0", "owner/repo 1.3.0"),
        ("Release 2.0.0-rc.1", "2.0.0-rc.1", "owner/repo Release 2.0.0-rc.1"),
        ("2.0rc1", "2.0rc1", "owner/repo 2.0rc1"),
        ("nightly/2026", "nightly%2F2026", "owner/repo nightly/2026"),
        ("v1.3: faster kernels", "v1.3", "v1.3: faster kernels"),
        ("Foveal 1.3", "v1.3", "Foveal 1.3"),
    ],
)
def test_a_release_that_is_called_by_its_version_alone_names_its_repository(title, tag, shown):
    entry = (
        '<feed xmlns="http://www.w3.org/2005/Atom"><entry><id>tag:github.com,2008:Repository/1/x</id>'
        f'<link rel="alternate" type="text/html" href="https://github.com/owner/repo/releases/tag/{tag}"/>'
        f"<title>{title}</title></entry></feed>"
    )
    (one,) = Feed().read(entry.encode(), "https://github.com/owner/repo/releases.atom").records
    assert one.title == shown
    assert titled("v1.3", "https://example.org/releases/tag/v1.3") == "v1.3"


def test_the_author_of_a_feed_of_atom_is_that_of_entries_that_name_none():
    feed = (
        '<feed xmlns="http://www.w3.org/2005/Atom"><author><name>Ana Sol</name></author>'
        "<entry><title>One</title></entry><entry><title>Two</title><author><name>Bo Li</name></author></entry></feed>"
    )
    found = Feed().read(feed.encode(), "https://example.org/feed").records
    assert [[author.name for author in one.authors] for one in found] == [["Ana Sol"], ["Bo Li"]]


def test_an_item_of_pubmed_has_one_address_whenever_the_feed_is_fetched(database):
    """Without a DOI: behind the question mark stands when the feed was fetched."""
    address = "https://pubmed.ncbi.nlm.nih.gov/41000001/?utm_source=Other&amp;fc={0}&amp;ff={0}&amp;v=2.18"
    for moment in ("20261201", "20261202"):
        one = record(f"<title>Readers look twice</title><link>{address.format(moment)}</link>")
        upsert(database, [one])
    assert PaperStore(database).count() == 1
    upsert(database, [replace(one, url=one.url.replace("41000001", "41000002"))])
    assert PaperStore(database).count() == 2


def test_an_abstract_of_wiley_stands_in_the_whole_text_without_its_heading():
    told = record(
        "<title>Readers look twice</title><description>Cognition, Volume 1, Page 1-9, March 2027.</description>"
        "<content:encoded>&lt;h2&gt;Abstract&lt;/h2&gt; &lt;p&gt;Readers fixate.&lt;/p&gt;</content:encoded>"
    )
    assert told.abstract == "Readers fixate."


def test_a_doi_that_two_items_of_a_feed_give_is_of_neither():
    item = "<title>{}</title><link>https://example.org/{}</link><prism:doi>{}</prism:doi>"
    told = [("One", 1, "10.1000/journal"), ("Two", 2, "10.1000/JOURNAL"), ("Three", 3, "10.1000/own")]
    found = Feed().read(rss(*(item.format(*one) for one in told)), "https://example.org/feed").records
    assert [one.doi for one in found] == ["", "", "10.1000/own"]
    again = Feed().read(
        rss(*(item.format("One", place, "10.1000/own") for place in (1, 2))), "https://example.org/feed"
    )
    assert [one.doi for one in again.records] == ["10.1000/own"] * 2  # one paper, listed twice
