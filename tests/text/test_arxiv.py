"""arXiv: its answers (written by hand in its format, served locally), its pace, its errors."""

import subprocess
import sys
from datetime import UTC, datetime
from itertools import pairwise

import pytest
from fpdf import FPDF
from servers import page, serving

from foveal.errors import FetchFailed, InputError, UnreadableSource
from foveal.text.arxiv import (
    ArxivClient,
    ArxivEntry,
    ArxivLink,
    ArxivSettings,
    FilePace,
    Pace,
    arxiv_address,
    parse_entries,
    parse_page,
)
from foveal.text.fetching import FetchSettings
from foveal.text.loading import LoadSettings, Source, load
from foveal.text.printed_pages import pages_said
from foveal.types import Span

LOCAL = FetchSettings(allow_private=True, timeout_s=5, backoff_s=0.01)

FEED = """<?xml version='1.0' encoding='UTF-8'?>
<feed xmlns="http://www.w3.org/2005/Atom" xmlns:arxiv="http://arxiv.org/schemas/atom"
      xmlns:opensearch="http://a9.com/-/spec/opensearch/1.1/">
  <id>https://arxiv.org/api/abc</id><title>arXiv Query: id_list=2101.00001</title>
  <opensearch:totalResults>{count}</opensearch:totalResults>{entries}
</feed>"""

ENTRY = """
  <entry>
    <id>http://arxiv.org/abs/{id}v2</id>
    <title>Where the eye
      looks &amp; why</title>
    <updated>2021-06-07T08:09:10Z</updated>
    <link href="https://arxiv.org/abs/{id}v2" rel="alternate" type="text/html"/>
    <link href="{pdf}" rel="related" type="application/pdf" title="pdf"/>
    <summary>  We measure $\\alpha &lt; 1$
  in the fovea.
</summary>
    <category term="cs.CV" scheme="http://arxiv.org/schemas/atom"/>
    <category term="q-bio.NC" scheme="http://arxiv.org/schemas/atom"/>
    <published>2021-01-02T03:04:05Z</published>
    <arxiv:comment>9 pages</arxiv:comment>
    <arxiv:primary_category term="cs.CV"/>
    <arxiv:journal_ref>Eyes 1 (2021) 2-3</arxiv:journal_ref>
    <arxiv:doi>10.1000/eye</arxiv:doi>
    <author><name>Ada Lovelace</name><arxiv:affiliation>London</arxiv:affiliation></author>
    <author><name>Émilie du Châtelet</name></author>
  </entry>"""

REFUSAL = """
  <entry>
    <id>https://arxiv.org/api/errors#incorrect_id_format_for_abc</id><title>Error</title>
    <summary>incorrect id format for abc</summary>
    <author><name>arXiv api core</name></author>
  </entry>"""


def feed(*entries):
    return FEED.format(count=len(entries), entries="".join(entries))


def entry(paper="2101.00001", pdf="https://arxiv.org/pdf/2101.00001v2"):
    return ENTRY.format(id=paper, pdf=pdf)


def pdf(*texts):
    made = FPDF()
    made.set_font("helvetica", size=11)
    for text in texts:
        made.add_page()
        if text:
            made.multi_cell(0, text=text)
    return page(bytes(made.output()), "application/pdf")


def client(server, **settings):
    own = ArxivSettings(base_url=server.url("/api/query"), **{"interval_s": 0.0, **settings})
    return ArxivClient(own, LOCAL, pace=Pace())


def test_an_entry_in_full():
    [found] = parse_entries(feed(entry()).encode(), "the API")
    assert found == ArxivEntry(
        id="2101.00001",
        version=2,
        title="Where the eye looks & why",
        abstract="We measure $\\alpha < 1$ in the fovea.",
        authors=("Ada Lovelace", "Émilie du Châtelet"),
        categories=("cs.CV", "q-bio.NC"),
        primary_category="cs.CV",
        published=datetime(2021, 1, 2, 3, 4, 5, tzinfo=UTC),
        updated=datetime(2021, 6, 7, 8, 9, 10, tzinfo=UTC),
        comment="9 pages",
        doi="10.1000/eye",
        journal_ref="Eyes 1 (2021) 2-3",
        pdf_url="https://arxiv.org/pdf/2101.00001v2",
        affiliations=("London", ""),
        links=(
            ArxivLink("https://arxiv.org/abs/2101.00001v2", "alternate", None),
            ArxivLink("https://arxiv.org/pdf/2101.00001v2", "related", "pdf"),
        ),
    )


def test_a_page_says_where_it_stands_among_all():
    text = feed(entry()).replace("<opensearch:totalResults>1<", "<opensearch:totalResults>207<")
    text = text.replace(
        "</opensearch:totalResults>", "</opensearch:totalResults><opensearch:startIndex>100</opensearch:startIndex>"
    )
    found = parse_page(text.encode(), "the API")
    assert (len(found.entries), found.total, found.start) == (1, 207, 100)


def test_old_ids_and_entries_with_little():
    little = '<entry><id>http://arxiv.org/abs/hep-th/9901001</id><title>T</title><category term="hep-th"/></entry>'
    [found] = parse_entries(feed(little).encode(), "the API")
    assert (found.id, found.version, found.primary_category, found.doi, found.published) == (
        "hep-th/9901001",
        1,
        "hep-th",
        None,
        None,
    )
    assert found.pdf_url == "https://arxiv.org/pdf/hep-th/9901001v1"


def test_a_paper_with_the_pages_of_its_pdf():
    routes = {"/pdf/1": pdf("Page one of the paper.", "", "Page three of the paper.")}
    with serving(routes) as server:
        routes["/api/query"] = page(feed(entry(pdf=server.url("/pdf/1"))), "application/atom+xml")
        document = client(server).document("2101.00001v2")
    head = "Where the eye looks & why\n\nWe measure $\\alpha < 1$ in the fovea.\n\n"
    assert document.text == head + "Page one of the paper.\n\nPage three of the paper."
    starts = [*document.pages, len(document.text)]
    assert [document.text[a:b].strip() for a, b in pairwise(starts)] == [
        *("Page one of the paper.", "", "Page three of the paper.")
    ]
    assert document.text[document.pages[0] :].startswith("Page one")
    assert document.page(document.text.index("three")) == 3
    assert document.title == "Where the eye looks & why"
    assert document.url == "https://arxiv.org/abs/2101.00001v2"
    assert document.published_at == datetime(2021, 1, 2, 3, 4, 5, tzinfo=UTC)
    assert document.metadata == {
        "source": "arxiv:2101.00001v2",
        "kind": "arxiv",
        "authors": "Ada Lovelace; Émilie du Châtelet",
        "categories": "cs.CV; q-bio.NC",
        "primary_category": "cs.CV",
        "version": 2,
        "updated": "2021-06-07T08:09:10+00:00",
        "comment": "9 pages",
        "doi": "10.1000/eye",
        "journal_ref": "Eyes 1 (2021) 2-3",
        "full_text": True,
    }


def test_what_is_printed_on_the_pages_of_a_paper_is_known():
    parts = ("Owls", "Cats are at home", "A fly has facets", "Fish look up", "Moles", "Two hawks", "Frogs want motion")
    numbered = (f"{number} Eyes\n{said} and see." for number, said in enumerate(parts, 211))
    routes = {"/pdf/1": pdf(*numbered)}
    with serving(routes) as server:
        routes["/api/query"] = page(feed(entry(pdf=server.url("/pdf/1"))), "application/atom+xml")
        document = client(server).document("2101.00001")
    at = document.text.index("Fish look")
    assert pages_said(document.pages, Span(document.id, at, at + 8)) == "page 4 (printed 214)"
    assert document.metadata["printed_pages"] == "1=211"


@pytest.mark.parametrize("full_text", [True, False])
def test_without_a_pdf_the_abstract_serves(full_text):
    with serving(routes := {"/scan": pdf("")}) as server:
        for path in ("/missing", "/scan"):
            routes["/api/query"] = page(feed(entry(pdf=server.url(path))), "application/atom+xml")
            document = client(server, full_text=full_text).document("2101.00001")
            assert document.text.endswith("in the fovea.")
            assert (document.pages, document.metadata["full_text"]) == ((), False)
        assert server.asked("/missing") == full_text


def test_load_takes_its_settings():
    with serving(routes := {}) as server:
        routes["/api/query"] = page(feed(entry()), "application/atom+xml")
        own = ArxivSettings(base_url=server.url("/api/query"), full_text=False, interval_s=0)
        [document] = load(Source("arxiv:2101.00001", "arxiv"), LoadSettings(fetch=LOCAL, arxiv=own))
        assert server.requests[-1].path == "/api/query?id_list=2101.00001&max_results=1"
    assert document.metadata["source"] == "arxiv:2101.00001"


def test_search_though_robots_txt_is_meant_for_crawlers():
    routes = {
        "/api/query": page(feed(entry(), entry("2101.00002")), "application/atom+xml"),
        "/robots.txt": page("User-agent: *\nDisallow: /api", "text/plain"),
    }
    with serving(routes) as server:
        found = client(server).search('all:"the fovea" AND cat:cs.CV', start=20, max_results=10)
        assert server.requests[-1].path == (
            "/api/query?search_query=all%3A%22the+fovea%22+AND+cat%3Acs.CV&start=20&max_results=10"
        )
    assert [each.id for each in found] == ["2101.00001", "2101.00002"]


@pytest.mark.parametrize(("query", "start", "results"), [(" ", 0, 10), ("a", -1, 10), ("a", 0, 0), ("a", 0, 2001)])
def test_a_search_that_cannot_be(query, start, results):
    with pytest.raises(InputError, match="arXiv's search got"):
        ArxivClient().search(query, start, results)


def test_no_ids_no_request():
    assert ArxivClient().entries([]) == []


# errors


def test_a_paper_that_is_not_there():
    refused = pytest.raises(UnreadableSource, match=r"arXiv has no paper 0000\.00000")
    with serving({"/api/query": page(feed(), "application/atom+xml")}) as server, refused:
        client(server).document("0000.00000")


@pytest.mark.parametrize("status", [200, 400])
def test_a_refused_request(status):
    refused = pytest.raises(UnreadableSource, match="incorrect id format for abc")
    with serving({"/api/query": page(feed(REFUSAL), "application/atom+xml", status=status)}) as server, refused:
        client(server).document("abc")


@pytest.mark.parametrize("answer", ["Rate exceeded.", "", "<html><p>down</html>"])
def test_an_answer_that_is_no_atom(answer):
    with serving({"/api/query": page(answer)}) as server, pytest.raises(FetchFailed, match="other than Atom"):
        client(server).document("2101.00001")


def test_a_server_in_trouble():
    with serving({"/api/query": page("", status=500)}) as server, pytest.raises(FetchFailed, match="status 500"):
        client(server).document("2101.00001")


def test_entities_of_the_answer_are_not_followed(tmp_path):
    (tmp_path / "secret").write_text("secret")
    doctype = f'<!DOCTYPE feed [<!ENTITY x SYSTEM "file://{tmp_path}/secret"><!ENTITY y "boom">]>'
    text = feed(entry()).replace("<feed", doctype + "<feed", 1).replace("looks", "&x;&y;")
    [found] = parse_entries(text.encode(), "the API")
    assert "secret" not in repr(found)
    assert "boom" not in repr(found)


# addresses and pace


@pytest.mark.parametrize(
    "given",
    [
        *(
            "arxiv:2101.00001",
            "arXiv:2101.00001",
            "https://arxiv.org/abs/2101.00001",
            "http://export.arxiv.org/pdf/2101.00001.pdf",
        ),
        *(
            "https://arxiv.org/html/2101.00001",
            "https://arxiv.org/abs/2101.00001?context=cs",
            "https://arxiv.org/abs/2101.00001/",
        ),
    ],
)
def test_one_address_for_a_paper(given):
    assert arxiv_address(given) == "arxiv:2101.00001"


@pytest.mark.parametrize("given", ["arxiv:hep-th/9901001v3", "arxiv:math.GT/0309136", "arxiv:0704.0001v1"])
def test_other_forms_of_ids(given):
    assert arxiv_address(given) == given


@pytest.mark.parametrize(
    "given",
    ["2101.00001", "arxiv:2101", "https://arxiv.org/", "https://evil.example/arxiv.org/abs/2101.00001", "arxiv:"],
)
def test_what_is_no_address_of_a_paper(given):
    assert arxiv_address(given) is None


def test_requests_keep_their_distance():
    now, slept = [100.0], []

    def sleep(seconds):
        slept.append(seconds)
        now[0] += seconds

    pace = Pace(lambda: now[0], sleep)
    with serving({"/api/query": page(feed(entry()), "application/atom+xml")}) as server:
        settings = ArxivSettings(base_url=server.url("/api/query"), interval_s=3.0, full_text=False)
        arxiv = ArxivClient(settings, LOCAL, pace=pace)
        arxiv.entries(["2101.00001"])
        now[0] += 1.0
        arxiv.search("all:eye")
        now[0] += 5.0
        arxiv.search("all:eye")
    assert slept == [2.0]


def test_requests_of_all_processes_keep_their_distance(tmp_path):
    """Two paces with one file are two processes; each call gets a turn of its own."""
    now, slept = [1000.0], []
    first, second = (FilePace(tmp_path / "a" / "pace", lambda: now[0], slept.append) for _ in range(2))
    for pace in (first, second, first):
        pace.wait(3.0)
    assert slept == [3.0, 6.0]
    now[0] += 60
    second.wait(3.0)
    assert slept == [3.0, 6.0]


@pytest.mark.parametrize("held", ["nonsense", "", "99999999999.0"])
def test_a_pace_file_that_cannot_be_right_is_begun_anew(tmp_path, held):
    (tmp_path / "pace").write_text(held)
    slept: list[float] = []
    pace = FilePace(tmp_path / "pace", lambda: 1000.0, slept.append)
    pace.wait(3.0)
    pace.wait(3.0)
    assert slept == [3.0]


def test_processes_at_once_take_turns(tmp_path):
    """By a clock that stands still every call has a turn of its own, and waits for it."""
    code = (
        "import sys; from pathlib import Path; from foveal.text.arxiv import FilePace\n"
        "pace = FilePace(Path(sys.argv[1]), lambda: 1000.0, print)\n"
        "for _ in range(40): pace.wait(3.0)"
    )
    running = [
        subprocess.Popen([sys.executable, "-c", code, str(tmp_path / "pace")], stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    waits = sorted(float(line) for one in running for line in one.communicate()[0].split())
    assert waits == [3.0 * turn for turn in range(1, 80)]  # the first goes at once
