"""What sources make of answers: equal to feedparser and the arxiv package where they read them, by hand elsewhere."""

from __future__ import annotations

import json
import time
from datetime import UTC, date, datetime
from html import escape

import feedparser
import pytest
from clocks import NOON, moved
from hypothesis import given
from hypothesis import strategies as st
from papers.arxiv_answers import (
    DELETED,
    ERROR,
    IN_ARXIV,
    IN_DC,
    IN_RAW,
    ODD,
    PagedApi,
    atom,
    entry,
    item,
    oai,
    oai_error,
    oai_record,
    rss,
)
from servers import page, serving

from foveal.bench.papers_ingest import Recorded, by_feedparser, equal_share, fields_of, pairs, recorded_rows
from foveal.database import Database
from foveal.errors import FetchFailed, InputError, UnreadableSource
from foveal.papers.records import Linked, Named, PaperRecord
from foveal.papers.sources import Connection, WebSource, arxiv_api, hf
from foveal.papers.sources.arxiv_api import ArxivApi, ids_of, is_withdrawn, query_of, record_of, repository_in
from foveal.papers.sources.arxiv_feed import ArxivFeed
from foveal.papers.sources.feed import Feed, plain, read_feed
from foveal.papers.sources.hf import HfPapers
from foveal.papers.sources.json_feed import items_of_json
from foveal.papers.sources.library_documents import LONGEST, LibraryDocuments, abstract_of
from foveal.papers.sources.oai import Oai
from foveal.papers.store import PaperStore
from foveal.papers.upserts import upsert
from foveal.registry import PAPER_SOURCES, lookup
from foveal.settings import Settings
from foveal.text.arxiv import parse_entries, parse_page
from foveal.text.dates import aware, day_of
from foveal.text.fetching import FetchSettings

SINCE, TODAY = date(2026, 9, 29), date(2026, 10, 2)


# arXiv's API


def test_every_field_is_that_of_feedparser_and_of_the_arxiv_package():
    """Over real HTTP: the package asks the same server for itself."""
    query = "http://x/?id_list=2609.00001%2C2609.00002&sortBy=relevance&sortOrder=descending&start=0&max_results=100"
    late = "http://x/?search_query=all%3Aeye&sortBy=relevance&sortOrder=descending&start=10&max_results=10"
    wrong = "http://x/?search_query=all%3Aeye&sortBy=relevance&sortOrder=descending&start=-1&max_results=10"
    from foveal.bench.papers_ingest import query_key

    recorded = [
        Recorded(query_key(query), 200, atom(entry(), *ODD)),
        Recorded(query_key(late), 200, atom(*ODD, total=14, start=10, size=10)),
        Recorded(query_key(wrong), 400, atom(ERROR)),
    ]
    rows = {row.metric: row for row in recorded_rows(recorded)}
    assert rows["fields equal to feedparser's"].note == rows["fields equal to arxiv's"].note == "9 entries"
    assert [row.ok for row in rows.values() if row.metric != "size"] == [True] * 5


def test_the_comparison_sees_one_wrong_field_and_a_missing_entry():
    content = atom(entry(), *ODD)
    ours, theirs = parse_page(content, "x").entries, by_feedparser(content)
    assert equal_share(pairs(ours, theirs)) == 1.0
    wrong = [{**theirs[0], "comment": "another"}, *theirs[1:]]
    assert equal_share(pairs(ours, wrong)) == pytest.approx(1 - 1 / sum(map(len, theirs)))
    assert equal_share(pairs(ours[:-1], theirs)) < 1.0
    assert equal_share(pairs(ours, theirs[:-1])) < 1.0
    assert fields_of(ours[1])["title"] == "Attention in $O(n)$ for all a < b"


def test_an_entry_as_a_record():
    found = [record_of(one) for one in parse_entries(atom(entry(), *ODD), "x")]
    assert found[0] == PaperRecord(
        id="2609.00001",
        title="Where to Look",
        abstract="We choose where to look.",
        authors=(Named(name="Léa Martin", affiliation="Somewhere; Elsewhere & Co"), Named(name="Bo Li")),
        published_at=datetime(2026, 9, 29, 8, 0, 1, tzinfo=UTC),
        updated_at=datetime(2026, 9, 30, 17, 59, 46, tzinfo=UTC),
        categories=("cs.CL", "cs.AI"),
        url="https://arxiv.org/abs/2609.00001",
        listed_on=SINCE,
        source="arxiv",
    )
    assert [(one.id, one.version) for one in found[1:]] == [
        *(("2609.00002", 3), ("hep-th/9901001", 1), ("math.GT/0309136", 2), ("2609.00003", 2))
    ]
    assert (found[2].title, found[2].doi, found[2].journal_ref) == ("0", "10.1000/eye", "Eyes 1 (2021) 2-3")
    assert found[2].links == (Linked(kind="page", url="https://doi.org/10.1000/eye", title="doi"),)
    assert found[3].repo_url == "https://github.com/a/b.c"
    assert [one.withdrawn for one in found] == [False, False, False, False, True]


def test_behind_the_most_that_a_query_gives_it_is_asked_anew_from_there(monkeypatch):
    monkeypatch.setattr(arxiv_api, "MOST", 200)
    api = ArxivApi()
    url = api.first_url("cs.*", since=date(2026, 9, 1), today=TODAY).replace("start=0", "start=100")
    found = api.read(atom(entry(), *ODD, total=500, start=100), url)
    assert found.next_url == api.first_url("cs.*", since=SINCE, today=TODAY).replace("202609290000", "202609290800")
    assert api.read(atom(entry(), total=200, start=100), url).next_url is None
    same = found.next_url.replace("start=0", "start=100")
    later = same.replace("202609290800", "202610010000")
    for one in (same, later):
        assert api.read(atom(entry(), total=500, start=100), one).next_url is None  # it would never end


def test_questions_to_the_api():
    api = ArxivApi()
    url = api.first_url("cs.CL", since=SINCE, today=TODAY)
    assert "search_query=%28cat%3Acs.CL%29+AND+submittedDate%3A%5B202609290000+TO+202610022359%5D" in url
    assert url.endswith("&sortBy=submittedDate&sortOrder=ascending&start=0&max_results=100")
    assert "id_list=2609.00001%2Chep-th%2F9901001&start=0&max_results=2" in api.first_url(
        "id: https://arxiv.org/abs/2609.00001v2, hep-th/9901001", since=SINCE, today=TODAY
    )
    assert [query_of(one) for one in ("cs.*", "hep-th", " ti:eye  AND abs:look", "retrieval")] == [
        *("cat:cs.*", "cat:hep-th", "ti:eye AND abs:look", "retrieval")
    ]
    for wrong in ("", "  "):
        with pytest.raises(InputError, match="empty query"):
            query_of(wrong)
    for wrong in ("", "doc-0123456789ab", "2609"):
        with pytest.raises(InputError, match=r"[Nn]o paper|is no paper's id"):
            ids_of(wrong)


def test_pages_follow_each_other_and_an_empty_one_is_noticed():
    api = ArxivApi()
    url = api.first_url("cs.CL", since=SINCE, today=TODAY)
    read = api.read(atom(*[entry()] * 3, total=250), url)
    assert read.next_url == url.replace("start=0", "start=100")
    assert not read.empty
    assert api.read(atom(total=250, start=100), read.next_url).empty
    assert not api.read(atom(total=0), url).empty
    last = api.read(atom(entry(), total=250, start=200), url.replace("start=0", "start=200"))
    assert (last.next_url, last.empty) == (None, False)


def test_repositories_and_withdrawals_in_words():
    assert repository_in("See http://www.github.com/a-b/c.git, or https://gitlab.com/x/y") == "https://github.com/a-b/c"
    assert repository_in("our code at https://github.com/a-b/c_d.") == "https://github.com/a-b/c_d"
    assert repository_in("https://github.com/only") == repository_in("") == ""
    assert is_withdrawn(None, "This paper has been withdrawn.")
    for said in (
        "Withdrawn due to an error in Theorem 2",
        "Paper withdrawn",
        "12 pages. This manuscript is withdrawn, since Lemma 3 is wrong",
        "The preprint has been withdrawn because of a dispute",
        "withdrawn from arXiv",
    ):
        assert is_withdrawn(said, "We show."), said
    for said in ("This paper was withdrawn from ICLR 2026", "Withdrawn submission to ICLR", "Money withdrawn, 9 pages"):
        assert not is_withdrawn(said, "We show."), said
    assert not is_withdrawn(
        "9 pages", "Troops have been withdrawn; we study this paper has been withdrawn as a phrase."
    )


# feeds


def test_arxivs_feed_keeps_what_is_new():
    content = rss(
        item("2610.00001"),
        item("2610.00002", "cross"),
        item("2609.00003", "replace", 2),
        item("2609.1", "replace-cross"),
    )
    source = ArxivFeed()
    url = source.first_url("cs.CL+cs.IR", since=SINCE, today=TODAY)
    assert url == "https://rss.arxiv.org/rss/cs.CL+cs.IR"
    [found] = source.read(content, url).records
    assert found == PaperRecord(
        id="2610.00001",
        title="Paper 2610.00001",
        abstract="We look & see $a < b$.",
        authors=(Named(name="Léa Martin"), Named(name="Bo Li")),
        categories=("cs.CL", "cs.IR"),
        published_at=datetime(2026, 10, 2, 4, tzinfo=UTC),
        updated_at=datetime(2026, 10, 2, 4, tzinfo=UTC),
        journal_ref="J 1",
        doi="10.1/x",
        licence="http://creativecommons.org/licenses/by/4.0/",
        url="https://arxiv.org/abs/2610.00001",
        listed_on=TODAY,
        source="arxiv-feed",
    )
    crossed = source.first_url("cs.CL cross", since=SINCE, today=TODAY)
    assert [one.id for one in source.read(content, crossed).records] == ["2610.00001", "2610.00002"]
    assert source.read(rss(), url).records == source.read(None, url).records == ()
    for wrong in ("", "cs.CL cs.IR", "../x", "cs.CL?x=1"):
        with pytest.raises(InputError, match="they need categories"):
            source.first_url(wrong, since=SINCE, today=TODAY)


def test_arxivs_feed_tells_that_a_paper_which_is_here_was_withdrawn(tmp_path):
    said = {"abstract": "This paper has been withdrawn by the author due to an error in Lemma 3."}
    content = rss(
        item("2609.00001", "replace", 2, **said),
        item("2609.00002", "replace-cross", 2, **said),
        item("2609.00003", "replace", 2),
        item("2609.00004", "replace", 2, **said),
    )
    database = Database.open(Settings(home=tmp_path, cache=tmp_path))
    before = datetime(2026, 9, 1, tzinfo=UTC)
    upsert(
        database,
        [
            PaperRecord(
                id=f"2609.0000{one}", title=f"Paper {one}", abstract="We look.", published_at=before, source="arxiv"
            )
            for one in (1, 2, 3)
        ],
    )
    done = upsert(database, ArxivFeed().read(content, "https://rss.arxiv.org/rss/cs.CL").records)
    assert (done.added, done.updated) == ([], ["2609.00001", "2609.00002"])
    papers = PaperStore(database).many([f"2609.0000{one}" for one in (1, 2, 3, 4)])
    assert [(one.withdrawn, one.version) for one in papers] == [(True, 2), (True, 2), (False, 1)]
    assert {(one.published_at, one.listed_on) for one in papers} == {(before, None)}
    database.close()


PLAIN_ATOM = b"""<?xml version="1.0"?><feed xmlns="http://www.w3.org/2005/Atom" xml:base="http://example.org/blog/">
<title>A blog</title><updated>2026-10-01T10:00:00Z</updated><id>tag:x</id>
<entry><title type="html">Where to &lt;i&gt;look&lt;/i&gt;</title><id>tag:1</id>
<link rel="self" href="/self"/><link href="one"/>
<updated>2026-10-01T10:00:00Z</updated><published>2026-09-30T10:00:00+02:00</published>
<summary type="html">&lt;p&gt;First &amp;amp; second.&lt;/p&gt;&lt;p&gt;Third
&lt;/p&gt;&lt;script&gt;x()&lt;/script&gt;</summary>
<author><name>Ana Sol</name><email>a@example.org</email></author><author><name>Bo Li</name></author>
<category term="reading"/></entry>
<entry><title>a &lt; b and AT&amp;T</title><id>tag:2</id><link href="https://arxiv.org/abs/2609.00001v3"/>
<updated>2026-10-01T10:00:00Z</updated><content>Only content.</content></entry></feed>"""

PLAIN_RSS = b"""<rss version="2.0" xmlns:dc="http://purl.org/dc/elements/1.1/"><channel><title>News</title>
<link>http://example.org</link>
<item><title>One</title><link>http://example.org/1</link><guid>g1</guid><pubDate>Thu, 01 Oct 2026 10:00:00 GMT</pubDate>
<description>&lt;b&gt;Bold&lt;/b&gt; words</description>
<dc:creator>Ana Sol</dc:creator><category>a</category><category>b</category></item>
<item><title>Two</title><guid>http://example.org/2</guid><description>Words</description></item></channel></rss>"""

PLAIN_RDF = b"""<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#" xmlns="http://purl.org/rss/1.0/"
xmlns:dc="http://purl.org/dc/elements/1.1/"><channel rdf:about="http://example.org"><title>Old</title></channel>
<item rdf:about="http://example.org/1"><title>One</title><link>http://example.org/1</link><dc:date>2026-10-01</dc:date>
<dc:creator>Ana Sol</dc:creator><description>Words</description></item></rdf:RDF>"""


@pytest.mark.parametrize("content", [PLAIN_ATOM, PLAIN_RSS, PLAIN_RDF, rss(item("2610.00001"), item("2610.00002"))])
def test_any_feed_is_read_as_feedparser_reads_it(content):
    theirs = feedparser.parse(content).entries
    ours = read_feed(content, "http://example.org/feed")
    assert len(ours) == len(theirs) > 0
    for mine, other in zip(ours, theirs, strict=True):
        assert mine.title == plain(other.title) or mine.title == other.title
        assert mine.id == other.get("id", other.get("link"))
        assert mine.link == other.link or mine.link.endswith(other.link)
        theirs_of = (author.name for author in other.get("authors", []))
        assert ", ".join(mine.authors) == ", ".join(theirs_of)  # theirs leaves arXiv's in one string
        assert mine.categories == tuple(tag.term for tag in other.get("tags", []))
        theirs_at = dict.get(other, "published_parsed") or dict.get(other, "updated_parsed")  # get() of theirs warns
        ours_at = mine.published or mine.updated
        assert (ours_at and ours_at.astimezone(UTC).timetuple()[:6]) == (theirs_at and theirs_at[:6])


def test_items_of_any_site_as_papers():
    first, second = Feed().read(PLAIN_ATOM, "http://example.org/feed").records
    assert (first.id, first.title, first.abstract) == ("", "Where to look", "First & second. Third")
    assert (first.url, first.published_at) == ("http://example.org/blog/one", datetime(2026, 9, 30, 8, tzinfo=UTC))
    assert first.authors == (Named(name="Ana Sol"), Named(name="Bo Li"))
    assert (second.id, second.version, second.title, second.abstract) == (
        "2609.00001",
        1,  # whatever version its address names: a feed does not know
        "a < b and AT&T",
        "Only content.",
    )
    with pytest.raises(InputError, match="begins with http"):
        Feed().first_url("file:///etc/passwd", since=SINCE, today=TODAY)


def test_of_a_feeds_tags_arxivs_subjects_are_kept_and_a_title_that_was_taken_back_is_seen():
    tags = ("cs.CL", "News", "hep-th", "astro-ph.GA", "cs.cl", "Uncategorized", "cs.CL", "physics.comp-ph", "econ")
    entry = "<entry><title>{}</title><link href='https://example.org/{}'/>{}</entry>"
    named = "".join(f"<category term='{tag}'/>" for tag in tags)
    titles = (
        "A Look",
        "RETRACTED: A Look",
        "[Withdrawn] Another",
        "Retracted papers: a survey",
        "Retracted-paper search",
    )
    body = "".join(entry.format(title, place, named) for place, title in enumerate(titles))
    found = (
        Feed().read(f"<feed xmlns='http://www.w3.org/2005/Atom'>{body}</feed>".encode(), "https://example.org").records
    )
    assert found[0].categories == ("cs.CL", "hep-th", "astro-ph.GA", "physics.comp-ph")
    assert [one.withdrawn for one in found] == [False, True, True, False, False]


def test_marks_of_a_feed_that_turn_words_around_are_not_kept():
    turned = "Fast \u202esrekcarT\u2066 of {}\u200f"
    rss = (
        f"<rss><channel><item><title>{turned.format('Ana')}</title><author>{turned.format('Bo')}</author>"
        f"<description>{turned.format('Cy')}</description></item></channel></rss>"
    )
    item = {"title": turned.format("Ana"), "summary": turned.format("Cy"), "authors": [{"name": turned.format("Bo")}]}
    feed = json.dumps({"version": "https://jsonfeed.org/version/1.1", "title": "x", "items": [item]})
    for content in (rss, feed):
        (one,) = Feed().read(content.encode(), "https://example.org/feed").records
        told = (one.title, one.authors[0].name, one.abstract)
        assert told == tuple(f"Fast srekcarT of {name}" for name in ("Ana", "Bo", "Cy"))


def test_an_author_of_rss_is_a_name_and_no_address():
    """By the rules of RSS it is an address, with the name in parentheses; pages would show it to everybody."""
    given = ("lea@example.org (L\u00e9a Martin)", "Bo Li &lt;bo@example.org&gt;", "ana@example.org", "Cy Ito, Dana Abe")
    items = "".join(f"<item><title>One</title><author>{one}</author></item>" for one in given)
    both = "<item><title>Two</title><author>cy@x.org (Cy)</author><creator>Cy</creator><creator>Bo</creator></item>"
    found = read_feed(f"<rss><channel>{items}{both}</channel></rss>".encode(), "http://example.org/feed")
    assert [one.authors for one in found] == [("Léa Martin",), ("Bo Li",), (), ("Cy Ito", "Dana Abe"), ("Cy", "Bo")]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("Léa Martin (lea@example.org)", "Léa Martin"),
        ("mailto:ana@example.org, bo@example.org", ""),
        ('"Li, Bo" <bo@example.org>', "Li, Bo"),
        ("Vision Team @ Example (Paris)", "Vision Team @ Example (Paris)"),
    ],
)
def test_no_kind_of_feed_shows_the_address_of_an_author(given, expected):
    told = escape(given, quote=False)
    inside = (f"<author>{told}</author>", f"<creator>{told}</creator>", f"<author><name>{told}</name></author>")
    items = "".join(f"<item><title>One</title>{one}</item>" for one in inside)
    found = read_feed(f"<rss><channel>{items}</channel></rss>".encode(), "http://example.org/feed")
    feed = {"version": "https://jsonfeed.org/version/1.1", "items": [{"title": "One", "authors": [{"name": given}]}]}
    [other] = items_of_json(json.dumps(feed).encode(), "http://example.org/feed")[0]
    assert {one.authors for one in (*found, other)} == {(expected,) if expected else ()}


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("for n<m and k>2 it holds", "for n<m and k>2 it holds"),
        ("<p>if a<b and c>d</p><p class='x'>so</p>", "if a<b and c>d so"),
        ("<a href='x'>ours</a> &amp; x<y, see <http://x.org>", "ours & x<y, see <http://x.org>"),
        ("<script async src='x'>evil()</script>ok <em >a</em ><br/>b<!-- c -->", "ok a b"),
        ("<jats:p>One</jats:p>", "One"),
        (f"see <a\n{' ' * 20}href='x'\n{' ' * 20}>ours</a\n{' ' * 20}>", "see ours"),
    ],
)
def test_a_sign_of_less_is_no_tag(given, expected):
    assert plain(given) == expected


def test_an_entry_in_xhtml_keeps_its_words_apart_and_leads_from_its_own_base():
    entry = (
        '<entry xml:base="/dir/"><title type="xhtml"><div xmlns="http://www.w3.org/1999/xhtml">On <i>looking</i></div>'
        '</title><link href="1"/><content type="xhtml"><div xmlns="http://www.w3.org/1999/xhtml"><p>One</p><p>Two<br/>'
        "thr<b>ee</b></p></div></content></entry>"
    )
    feed = f'<feed xmlns="http://www.w3.org/2005/Atom">{entry}<entry><title>B</title><link href="2"/></entry></feed>'
    first, second = Feed().read(feed.encode(), "http://example.org/feed").records
    assert (first.title, first.abstract, first.url) == ("On looking", "One Two three", "http://example.org/dir/1")
    assert second.url == "http://example.org/2"
    bare = "<rss><channel><item><title>C</title><description><p>One</p><p>Two</p></description></item></channel></rss>"
    assert Feed().read(bare.encode(), "http://example.org/feed").records[0].abstract == "One Two"


@pytest.mark.parametrize(
    "content", [b"", b"   ", b"<html><p>down</p></html>", b"plain words", b"<?xml version='1.0'?>"]
)
def test_what_is_no_feed_is_said(content):
    with pytest.raises(FetchFailed, match="Check the address"):
        read_feed(content, "http://example.org/feed")


def test_a_page_in_the_place_of_a_feed_leads_to_the_feed():
    link = '<link rel="alternate" type="application/{}+xml" href="{}">'
    site = f"<!doctype html><html><head>{link.format('rss', '/news.xml')}{link.format('atom', 'x')}</head><p>Lab</html>"
    for content in (site, site.removeprefix("<!doctype html>"), f"\ufeff\n{site}"):
        with pytest.raises(FetchFailed, match=r"a web page, .* names its feed: http://example.org/news.xml\. Put"):
            read_feed(content.encode(), "http://example.org/lab/")
    for content, said in (
        (b"<!DOCTYPE html><p>Sign in", "a web page, not"),
        (b'[{"version": "1.1"}]', "something else"),
        (b"", "no"),
    ):
        with pytest.raises(FetchFailed, match=f"answered with {said}"):
            read_feed(content, "http://example.org/lab/")


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        ("é".encode("latin-1"), "application/xml; charset=iso-8859-1"),
        ("é".encode("latin-1"), "application/xml"),
        (b'<?xml version="1.0" encoding="utf-8"?>' + "é".encode("latin-1"), "application/xml; charset=no-such-thing"),
        (b'<?xml version="1.0" encoding="iso-8859-1"?>' + "é".encode("latin-1"), "application/xml; charset=utf-8"),
        ("é".encode("utf-16"), "application/xml"),
        ("é".encode(), "application/xml; charset=iso-8859-1"),
        ("é".encode("cp437"), "application/xml; charset=cp437"),
    ],
    ids=["told", "untold", "wrong", "named", "utf-16", "utf-8", "of its own"],
)
def test_a_feed_in_another_encoding_than_it_says_is_read(content, kind):
    around = "<rss><channel><item><title>Id{}e claire</title></item></channel></rss>"
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        body = around.format("é").encode("utf-16")
    else:
        head, letter = content[: content.find(b">") + 1], content.rpartition(b">")[2]
        body = head + around.encode().replace(b"{}", letter)
    with serving({"/feed": page(body, kind)}) as server:
        source = Feed(Connection(fetch=FetchSettings(allow_private=True)))
        answer = source.get(server.url("/feed"))
        assert [one.title for one in source.read(answer.content, server.url("/feed")).records] == ["Idée claire"]


ERRORS = ["&nbsp;", "Q&A", "a & b", "&#0;", "\x01", "&unknown;", "<b>x", "&copy", "&;", "<![CDATA[ & "]


@pytest.mark.parametrize("error", ERRORS, ids=range(len(ERRORS)))
def test_an_error_in_one_item_leaves_the_others_whole(error):
    """The parser dropped every &amp; and &lt; behind it: words lost their marks, addresses their parameters."""
    end = "]]>" if "CDATA" in error else ""
    odd = f"<item><title>Odd {error}{end}</title><link>http://example.org/1</link></item>"
    whole = (
        "<item><title>R&amp;D of a &lt; b</title><link>http://example.org/?id=5&amp;page=2</link>"
        "<description>&lt;p&gt;First&lt;/p&gt; &lt;p&gt;second &#8212; third&lt;/p&gt;</description></item>"
    )
    told = Feed().read(f"<rss><channel>{odd}{whole}</channel></rss>".encode(), "http://example.org/feed").records
    assert (told[-1].title, told[-1].url) == ("R&D of a < b", "http://example.org/?id=5&page=2")
    assert told[-1].abstract == "First second — third"


def test_an_ampersand_that_begins_no_entity_stands_for_itself():
    """Many sites write addresses so."""
    words = (
        "<title>AT&T &eacute;t&eacute; &amp;&apos; Q&A &unknown;</title><link>http://x.org/?id=5&page=2&x=&#38;y</link>"
        "<guid><![CDATA[http://x.org/?a=1&b=2]]></guid>"
    )
    feed = f"<rss><channel><item>{words}</item></channel></rss>"
    [told] = read_feed(feed.encode(), "http://x.org/feed")
    assert (told.title, told.link, told.id) == (
        *("AT&T été &' Q&A &unknown;", "http://x.org/?id=5&page=2&x=&y", "http://x.org/?a=1&b=2"),
    )
    assert read_feed(feed.replace("&", "&amp;").encode("utf-16"), "http://x.org/feed")[0].title.startswith("AT&T")
    unclosed = b"<rss><channel><item><title>a & b</title></item>" + b"<![CDATA[ & " * 100_000
    assert [one.title for one in read_feed(unclosed, "x")] == ["a & b"]


@pytest.mark.parametrize("cut", [b"/1</li", b"One", b"<item>", b"http"])
def test_an_item_in_which_a_feed_breaks_off_is_left_out(cut):
    item = "<item><title>{0}</title><link>http://example.org/{1}</link></item>"
    feed = f"<rss><channel>{item.format('Two', 2)}{item.format('One', 1)}</channel></rss>".encode()
    ends = feed.rfind(cut) + len(cut)
    read = Feed().read(feed[:ends], "http://example.org/feed")
    assert [one.title for one in read.records] == ["Two"]
    assert [one.endswith("breaks off in the midst of its last item.") for one in read.left_out] == [True]
    for whole in (
        feed,
        feed[: -len("</channel></rss>")],
        feed[: -len("</channel></rss>")] + b"<item",
        feed + b"<item/>",
    ):
        assert [one.title for one in Feed().read(whole, "http://example.org/feed").records] == ["Two", "One"]


def test_an_entry_of_atom_in_which_a_feed_breaks_off_is_left_out():
    entry = '<entry><title>{0}</title><link href="http://example.org/{0}"/><summary>It is long.</summary></entry>'
    feed = f'<feed xmlns="http://www.w3.org/2005/Atom">{entry.format("One")}{entry.format("Two")}'.encode()
    read = Feed().read(feed[: -len("long.</summary></entry>")], "http://example.org/feed")
    assert ([one.title for one in read.records], len(read.left_out)) == (["One"], 1)


def test_one_wrong_byte_of_a_feed_in_utf_8_costs_one_letter():
    body = "<rss><channel><item><title>Idées très claires {}</title></item></channel></rss>".encode().replace(
        b"{}", b"\xff"
    )
    with serving({"/feed": page(body, "application/xml")}) as server:
        source = Feed(Connection(fetch=FetchSettings(allow_private=True)))
        [record] = source.read(source.get(server.url("/feed")).content, server.url("/feed")).records
    assert record.title.startswith("Idées très claires")


def test_entities_of_a_feed_are_not_followed(tmp_path):
    (tmp_path / "secret").write_text("secret")
    doctype = f'<!DOCTYPE rss [<!ENTITY x SYSTEM "file://{tmp_path}/secret">]>'
    content = f"{doctype}<rss><channel><item><title>One &x;</title></item></channel></rss>".encode()
    assert "secret" not in repr(read_feed(content, "x"))


# what is wrong in one item


def feed_item(title: str, link: str = "http://example.org/1", told: str = "") -> str:
    return f"<item><title>{title}</title><link>{link}</link>{told}</item>"


def a_feed(*items: str) -> bytes:
    return f"<rss><channel>{''.join(items)}</channel></rss>".encode()


def test_a_bad_item_is_left_out_and_the_rest_goes_on():
    far = "<pubDate>Mon, 01 Jan 20000000000000000000 00:00:00 GMT</pubDate>"
    content = a_feed(feed_item("Broken", "http://["), feed_item("Far", told=far), feed_item("Good"))
    read = Feed().read(content, "http://example.org/feed")
    assert [(one.title, one.published_at, one.listed_on) for one in read.records] == [
        ("Far", None, None),
        ("Good", None, None),
    ]
    assert read.left_out == ("Invalid IPv6 URL",)
    assert [one.title for one in read_feed(content, "x")] == ["Far", "Good"]
    based = PLAIN_ATOM.replace(b'xml:base="http://example.org/blog/"', b'xml:base="http://["')
    assert len(Feed().read(based, "http://example.org/feed").records) == 2
    with pytest.raises(InputError, match="begins with http"):
        Feed().first_url("http://[", since=SINCE, today=TODAY)


def test_a_bad_item_of_arxivs_own_interfaces_is_left_out():
    nameless = item("2610.00002").replace("oai:arXiv.org:2610.00002v1", "x").replace("arXiv:2610.00002v1 ", "")
    read = ArxivFeed().read(rss(nameless, item("2610.00001")), "https://rss.arxiv.org/rss/cs.CL")
    assert ([one.id for one in read.records], len(read.left_out)) == (["2610.00001"], 1)
    url = ArxivApi().first_url("cs.CL", since=SINCE, today=TODAY)
    read = ArxivApi().read(atom(entry(version=0), entry("2609.00002")), url)
    assert ([one.id for one in read.records], len(read.left_out)) == (["2609.00002"], 1)
    read = ArxivApi().read(atom(entry(version=0), total=250), url)
    assert (read.records, read.empty, read.next_url) == ((), False, url.replace("start=0", "start=100"))
    wrong = IN_RAW.replace('version="v1"', 'version="vx"')
    undated = IN_RAW.replace('version="v1"', 'version="v2"').replace("<date>Tue, 29 Sep 2026 08:00:01 GMT</date>", "")
    read = Oai().read(oai(oai_record(wrong), oai_record(undated, "2609.00002")), "x")
    assert ([(one.id, one.version) for one in read.records], len(read.left_out)) == ([("2609.00002", 2)], 1)


MODEL_LINK = Linked(kind="model", url="https://huggingface.co/a/\ufffdm", title="a/\ufffdm")


@pytest.mark.parametrize(
    ("told", "found"),
    [
        ({"organization": "text"}, {"organisation": "text"}),
        ({"organization": ["text"]}, {"organisation": ""}),
        ({"submittedOnDailyBy": "ana"}, {"submitted_by": ""}),
        ({"submittedOnDailyBy": {"user": "@ana"}}, {"submitted_by": "ana"}),  # a login of that site, not of ours
        ({"submittedOnDailyBy": {"user": "a\0na \ud800"}}, {"submitted_by": "ana \ufffd"}),
        ({"linkedModels": [{"id": "a/\ud800m"}, {"id": 7}]}, {"links": (MODEL_LINK,)}),
        ({"ai_keywords": 7, "linkedModels": "a/m", "authors": 5}, {"keywords": (), "links": (), "authors": ()}),
        ({"githubRepo": "http://[", "upvotes": 10**30}, {"repo_url": "", "votes": None}),
    ],
)
def test_a_paper_whose_keys_hold_something_else_is_read_without_them(told, found):
    [record] = hf.records([{"paper": {**LISTED["paper"], **told}, "submittedBy": 3}])
    assert {name: getattr(record, name) for name in found} == found
    assert (record.id, record.title) == ("2609.00001", "Where to Look")


def test_an_entry_of_another_shape_is_left_out_of_what_the_web_says():
    """By hand (`hf.records`) it is named, as ever."""
    url = "http://x/api/daily_papers?date=2026-09-29#2026-09-29"
    read = HfPapers().read(json.dumps([LISTED, {"x": 1}, {"id": "no id", "title": "T"}]).encode(), url)
    assert ([one.id for one in read.records], len(read.left_out)) == (["2609.00001"], 2)
    assert read.left_out[0].startswith("Entry 2 is no paper")
    with pytest.raises(FetchFailed, match="other than JSON"):
        HfPapers().read(b"[" * 200_000, url)


def test_html_without_an_end_is_read_in_no_time():
    begun = time.process_time()
    plain("<p " * 40_000)
    plain("a <b" * 10**6)
    assert time.process_time() - begun < 2


# dates


@pytest.mark.parametrize(
    ("told", "day"),
    [
        ("2099-01-01T00:00:00Z", TODAY),  # ahead: today
        ("0001-01-01T00:00:00Z", None),  # Go's zero date
        ("1970-01-01T00:00:00Z", None),
        ("2026-09-30T23:30:00-05:00", date(2026, 10, 1)),  # the day in UTC, not in the feed's zone
        ("2026-10-01T01:30:00+05:00", date(2026, 9, 30)),
        ("0001-01-01T00:00:00+01:00", None),  # before the calendar begins, in UTC
    ],
)
def test_dates_of_a_feed_are_not_believed_whatever_they_say(told, day):
    with moved():
        [found] = Feed().read(a_feed(feed_item("One", told=f"<pubDate>{told}</pubDate>")), "x").records
    assert found.listed_on == day
    assert (found.published_at is None) == (day in (None, TODAY))


@given(st.text() | st.floats() | st.integers() | st.from_regex(r"[A-Z][a-z]{2}, \d+ Jan \d+ \d+:\d+:\d+ [+-]\d+"))
def test_whatever_stands_for_a_date_is_one_that_a_database_can_keep_or_none(value):
    found = aware(value)
    assert found is None or found.astimezone(UTC) == found
    day = day_of(found, NOON.date())
    assert day is None or date(1990, 1, 1) <= day <= NOON.date()


# OAI-PMH


@pytest.mark.parametrize("form", [IN_ARXIV, IN_RAW, IN_DC])
def test_a_record_in_each_form(form):
    read = Oai().read(oai(oai_record(form), DELETED, token="1001|3"), "x")
    [found] = read.records
    assert read.next_url == "https://oaipmh.arxiv.org/oai?verb=ListRecords&resumptionToken=1001%7C3"
    assert (found.id, found.title, found.comment, found.url) == (
        *("2609.00001", "Where to Look", "9 pages", "https://arxiv.org/abs/2609.00001"),
    )
    assert found.published_at is not None
    assert found.updated_at is not None
    assert (found.published_at.date(), found.updated_at.date(), found.listed_on) == (SINCE, date(2026, 9, 30), SINCE)


def test_what_only_one_form_tells():
    found, raw, dc = (Oai().read(oai(oai_record(form)), "x").records[0] for form in (IN_ARXIV, IN_RAW, IN_DC))
    assert found.abstract == "We choose $a < b$. Then we look."
    assert found.authors == (
        Named(name="Léa N. Martin Jr", affiliation="Somewhere"),
        Named(name="The Eye Collaboration"),
    )
    assert (found.categories, found.doi, found.journal_ref) == (("cs.CL", "cs.AI"), "10.1/x", "J 1")
    assert (raw.version, raw.published_at) == (2, datetime(2026, 9, 29, 8, 0, 1, tzinfo=UTC))
    assert [one.name for one in raw.authors] == ["Léa Martin", "Bo Li", "Ana Sol"]
    assert [one.name for one in dc.authors] == ["Léa Martin", "Bo Li"]
    assert (dc.doi, dc.abstract) == ("10.1/x", "We choose.")


def test_questions_to_oai_and_its_refusals():
    source = Oai()
    assert source.first_url("cs:cs:CL", since=SINCE, today=TODAY) == (
        "https://oaipmh.arxiv.org/oai?verb=ListRecords&metadataPrefix=arXiv&from=2026-09-29&set=cs%3Acs%3ACL"
    )
    assert "metadataPrefix=oai_dc&from=2026-09-29" in source.first_url("oai_dc", since=SINCE, today=TODAY)
    with pytest.raises(InputError, match="needs a set"):
        source.first_url("cs:cs:CL and more", since=SINCE, today=TODAY)
    assert source.read(oai_error("noRecordsMatch"), "x").records == ()
    with pytest.raises(UnreadableSource, match="badResumptionToken: lapsed"):
        source.read(oai_error("badResumptionToken", "lapsed"), "x")
    for wrong in (b"<html/>", b"Retry later", b""):
        with pytest.raises(FetchFailed):
            source.read(wrong, "x")


# JSON in the shapes of the hub's API

LISTED = {
    "paper": {
        "id": "2609.00001",
        "authors": [
            {"_id": "1", "name": "Léa Martin", "hidden": False},
            {"_id": "2", "name": "Bo Li", "hidden": False, "status": "claimed_verified", "user": {"user": "boli"}},
            {"_id": "3", "name": "Not Shown", "hidden": True},
        ],
        "publishedAt": "2026-09-29T08:00:01.000Z",
        "submittedOnDailyAt": "2026-10-01T01:02:03.000Z",
        "title": "Where to\n  Look",
        "submittedOnDailyBy": {"_id": "9", "user": "ana-s", "fullname": "Ana Sol", "type": "user"},
        "summary": "We choose\nwhere to look.",
        "upvotes": 7,
        "discussionId": "d",
        "githubRepo": "https://github.com/a/b",
        "githubRepoAddedBy": "auto",
        "githubStars": 42,
        "projectPage": "https://a.example.org",
        "ai_summary": "It looks.",
        "ai_keywords": ["looking", "sight"],
        "organization": {"_id": "o", "name": "lab", "fullname": "The Laboratory", "avatar": "x"},
    },
    "publishedAt": "2026-10-01T00:00:00.000Z",
    "title": "Where to Look",
    "summary": "We choose",
    "thumbnail": "https://cdn.example.org/t.png",
    "numComments": 3,
    "submittedBy": {"_id": "9", "name": "ana-s", "fullname": "Ana Sol"},
    "isAuthorParticipating": False,
}


def test_a_listing_with_both_its_traps():
    [found] = hf.records([LISTED], day=date(2026, 10, 1))
    assert found == PaperRecord(
        id="2609.00001",
        title="Where to Look",
        abstract="We choose where to look.",
        authors=(Named(name="Léa Martin"), Named(name="Bo Li")),
        organisation="The Laboratory",
        published_at=datetime(2026, 9, 29, 8, 0, 1, tzinfo=UTC),
        project_url="https://a.example.org",
        repo_url="https://github.com/a/b",
        repo_stars=42,
        votes=7,
        comments=3,
        summary="It looks.",
        summary_model="huggingface.co",
        keywords=("looking", "sight"),
        thumbnail="https://cdn.example.org/t.png",
        listed_on=date(2026, 10, 1),
        submitted_by="ana-s",
        source="hf",
    )


def test_optional_keys_are_absent():
    [found] = hf.records({"id": "2609.00001", "title": "T", "summary": "S", "publishedAt": "2026-09-29T08:00:01.000Z"})
    assert (found.votes, found.comments, found.repo_url, found.summary, found.summary_model) == (None, None, "", "", "")
    [outer] = hf.records(
        [{"paper": {"id": "2609.00001", "title": "T"}, "submittedBy": {"name": "ana-s"}, "numComments": 0}]
    )
    assert (outer.submitted_by, outer.comments, outer.listed_on) == ("ana-s", 0, None)


def test_a_single_paper_has_links():
    told = {
        **LISTED["paper"],
        "linkedModels": [{"id": "a/m"}],
        "linkedDatasets": [{"id": "a/d"}],
        "linkedSpaces": [{"id": "a/s"}],
    }
    [found] = hf.records(told)
    assert [(link.kind, link.url) for link in found.links] == [
        ("model", "https://huggingface.co/a/m"),
        ("dataset", "https://huggingface.co/datasets/a/d"),
        ("demo", "https://huggingface.co/spaces/a/s"),
    ]
    assert (found.submitted_by, found.listed_on) == ("ana-s", date(2026, 10, 1))


def test_flat_rows_of_an_archive():
    row = {
        "title": "T",
        "abstract": "A\nb",
        "authors": ["Léa Martin"],
        "upvotes": 3,
        "published_at": "2026-02-24T18:59:30.000Z",
    }
    for key in ("id", "arxiv_id"):
        [found] = hf.records([{**row, key: "2602.00001v2"}])
        assert (found.id, found.abstract, found.votes, found.listed_on) == ("2602.00001", "A b", 3, date(2026, 2, 24))
    assert hf.records([{**row, "authors": "Léa Martin, Bo Li"}])[0].authors == (
        Named(name="Léa Martin"),
        Named(name="Bo Li"),
    )


@pytest.mark.parametrize("held", [[1], [{"paper": 3}], {"x": 1}, "text", [{"title": None}]])
def test_json_of_another_shape_is_refused(held):
    with pytest.raises(InputError, match="Entry 1 is no paper"):
        hf.records(held)


def test_addresses_that_are_none_are_left_out():
    [found] = hf.records([{"id": "2609.00001", "title": "T", "githubRepo": "javascript:alert(1)", "upvotes": -3}])
    assert (found.repo_url, found.votes) == ("", None)


def test_the_days_of_a_listing_follow_each_other():
    source = HfPapers(Connection(base_url="http://x/api"))
    url = source.first_url("", since=SINCE, today=date(2026, 9, 30))
    assert url == "http://x/api/daily_papers?date=2026-09-29&limit=100#2026-09-30"
    full = json.dumps([LISTED] * 100).encode()
    assert source.read(full, url).next_url == "http://x/api/daily_papers?date=2026-09-29&limit=100&p=1#2026-09-30"
    following = source.read(b"[]", url).next_url
    assert following == "http://x/api/daily_papers?date=2026-09-30&limit=100#2026-09-30"
    assert source.read(b'{"error": "no such day"}', following).next_url is None
    assert source.read(None, url).next_url == following
    assert source.first_url("2609.00001", since=SINCE, today=TODAY) == "http://x/api/papers/2609.00001"
    with pytest.raises(FetchFailed, match="other than JSON"):
        source.read(b"<html>", url)


# the library


def test_abstracts_that_texts_hold():
    long = "We look for what holds. " * 10
    assert abstract_of(f"# T\n\n## Abstract\n\n{long}\n\n## 1 Introduction\n\nMore.") == long.strip()
    assert abstract_of(f"T\n\nAbstract. {long}\nIndex Terms: a, b") == long.strip()
    assert abstract_of(f"T\n\nAbstract—{long}\n\n1 Introduction\n") == long.strip()
    assert abstract_of(f"# T\n\nAna Sol\n\n{long}\n\nMore.", "T") == long.strip()
    assert abstract_of("") == abstract_of("# Only\n\nshort\n\nlines") == ""
    cut = abstract_of("One sentence of some words stands here. " * 200)
    assert len(cut) <= LONGEST
    assert cut.endswith("here.")


def test_documents_of_the_library_as_papers(tmp_path):
    from foveal.library import Library
    from foveal.types import Document

    library = Library.open(tmp_path, encoder="none")
    words = "We look for what holds in texts of any length, and say where it stands. " * 3
    told = {
        "source": "arxiv:2609.00001v2",
        "authors": "Léa Martin; Bo Li",
        "categories": "cs.CL; cs.AI",
        "primary_category": "cs.CL",
    }
    library.add_documents(
        [
            Document.of(
                "arxiv:2609.00001v2",
                f"Where to Look\n\n{words}\n\nPage one",
                "Where to Look",
                metadata={**told, "version": 2},
            ),
            Document.of(
                "https://example.org/r",
                f"# Report\n\n{words}",
                "Report",
                url="https://example.org/r",
                metadata={"version": "2.1, draft", "source": f"arxiv:{'9' * 70}"},  # which is nobody's id
            ),
        ]
    )
    paper, report = sorted(LibraryDocuments(library).records(), key=lambda one: one.title, reverse=True)
    assert (paper.id, paper.version, paper.abstract, paper.categories) == (
        "2609.00001",
        2,
        words.strip(),
        ("cs.CL", "cs.AI"),
    )
    assert [one.name for one in paper.authors] == ["Léa Martin", "Bo Li"]
    assert report.id.startswith("doc-")
    assert (report.url, report.abstract, report.source) == ("https://example.org/r", words.strip(), "library")
    assert report.version == 1
    assert [one.title for one in LibraryDocuments(library).records("https://example.org/r")] == ["Report"]


def test_every_name_resolves_and_what_is_asked_over_http_says_how():
    for name in PAPER_SOURCES:
        made = lookup(PAPER_SOURCES, name, kind="source")
        assert made.name == name
        assert isinstance(made, type)
        assert isinstance(made(), WebSource) == (name not in ("library", "pasted")) if name != "library" else True


def test_the_paged_api_of_these_tests_answers_in_pages():
    api = PagedApi(3)
    assert (len(api.papers), api.papers[-1]) == (3, "2609.00002")
