"""Feeds and what search engines ask: read by feedparser, valid by the rules of both formats, and not sent twice."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import feedparser
import pytest
from lxml import etree, html
from paper_site import TODAY, records, select, site_app
from starlette.testclient import TestClient

from foveal import faults
from foveal.papers import curating
from foveal.papers.records import Named, PaperRecord
from foveal.papers.upserts import upsert
from foveal.web import feeds

FEEDS = (
    "day", "week", "month", "trending", "q/sparse attention", "q/a%01%3Cb%3E%26/c", "topic/sparse", "category/cs.CL",
    "organisation/northlight-lab", "author/ada-abara",
)  # fmt: skip
ODD = PaperRecord(
    id="2611.80000",
    title="Bad \x0b bytes <b>and</b>\nlines $x<y$",
    abstract="A <script>alert(1)</script> & \x00 more \ud800.".replace("\ud800", "\ufffe"),
    authors=(Named(name="Ada Abara"), Named(name="O'Neil \x1f & Co")),
    published_at=datetime(2026, 1, 2, tzinfo=UTC),
    categories=("cs.CL",),
    source="hf",
    listed_on=TODAY,
)


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> TestClient:
    return TestClient(site_app(tmp_path_factory.mktemp("feeds"), [*records(), ODD]))


@pytest.mark.parametrize("name", FEEDS)
def test_atom_is_what_feedparser_and_the_rules_want(client: TestClient, name: str):
    answer = client.get(f"/feed/{name}.xml")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("application/atom+xml")
    feed = feedparser.parse(answer.content)
    assert not feed.bozo
    assert feed.version == "atom10"
    assert feed.feed.title
    assert feed.feed.id.startswith("tag:testserver,2026:")
    hrefs = {link.rel: link.href for link in feed.feed.links}
    assert hrefs["self"].startswith("http://testserver/feed/")
    assert client.get(hrefs["alternate"]).status_code == 200
    assert len({entry.id for entry in feed.entries}) == len(feed.entries)
    for entry in feed.entries:
        assert entry.title
        assert entry.updated_parsed >= entry.published_parsed
        assert entry.link.startswith("http://testserver/papers/")
    if "%" not in name:
        assert feed.entries


def test_each_feed_has_an_id_of_its_own_and_keeps_it(client: TestClient):
    names = ("day", "week", "month", "trending", "q/landmark%20retrieval", "q/needle%3F", "q/100%25", "topic/sparse")
    feeds = [feedparser.parse(client.get(f"/feed/{name}.xml").content).feed for name in names]
    assert [feed.id for feed in feeds] == [f"tag:testserver,2026:feed/{name}" for name in names]
    selves = [next(link.href for link in feed.links if link.rel == "self") for feed in feeds]
    assert selves == [f"http://testserver/feed/{name}.xml" for name in names]


@pytest.mark.parametrize("name", FEEDS)
def test_json_feed_has_what_its_version_wants(client: TestClient, name: str):
    answer = client.get(f"/feed/{name}.json")
    assert answer.headers["content-type"].startswith("application/feed+json")
    feed = answer.json()
    assert feed["version"] == "https://jsonfeed.org/version/1.1"
    assert feed["title"]
    assert feed["home_page_url"].startswith("http://testserver/")
    assert "/feed/" in feed["feed_url"]
    for item in feed["items"]:
        assert isinstance(item["id"], str)
        assert item["content_html"].startswith("<p>")
        assert all(value not in (None, "", []) for value in item.values())
        for name_ in ("date_published", "date_modified"):
            if name_ in item:
                assert datetime.fromisoformat(item[name_]).tzinfo is not None


def test_both_formats_hold_the_same_papers_in_the_same_order(client: TestClient):
    for name in ("day", "category/cs.CL", "trending"):
        atom = [entry.id for entry in feedparser.parse(client.get(f"/feed/{name}.xml").content).entries]
        assert atom == [item["id"] for item in client.get(f"/feed/{name}.json").json()["items"]]


def test_words_of_strangers_are_words_in_a_feed(client: TestClient):
    entry = next(one for one in _entries(client, "author/ada-abara") if one.id.endswith("2611.80000"))
    assert "<script" not in entry.content[0].value
    assert "alert(1)" in entry.content[0].value
    assert [author.name for author in entry.authors] == ["Ada Abara", "O'Neil & Co"]


@pytest.mark.parametrize("name", ["q/sparse attention", "topic/sparse"])
def test_what_only_the_meaning_finds_is_in_no_feed(tmp_path, name: str):
    app = site_app(tmp_path, records(3))
    search = app.state.site.search
    found = search.search("sparse attention", 3)
    one, *others = found.hits
    app.state.site.search = SimpleNamespace(
        search=lambda *_: replace(found, hits=(one, *(replace(other, holds=False) for other in others)))
    )
    assert len(others) >= 1
    entries = feedparser.parse(TestClient(app).get(f"/feed/{name}.xml").content).entries
    assert [entry.id for entry in entries] == [f"tag:testserver,2026:paper/{one.paper.id}"]


def test_the_day_feed_holds_a_week_so_that_a_daily_reader_misses_nothing(client: TestClient):
    wanted = {record.id for record in [*records(), ODD] if (TODAY - record.listed_on).days < 7}
    assert {entry.id.rsplit("/", 1)[1] for entry in _entries(client, "day")} == wanted


@pytest.mark.parametrize("path", ["/feed/day.xml", "/feed/day.json", "/feed/topic/sparse.xml"])
def test_what_a_reader_has_is_not_sent_again(client: TestClient, path: str):
    first = client.get(path)
    known = {"if-none-match": f'"other", {first.headers["etag"]}'}
    assert client.get(path, headers=known).status_code == 304
    assert client.get(path, headers={"if-modified-since": first.headers["last-modified"]}).status_code == 304
    assert client.get(path, headers={"if-modified-since": "Thu, 01 Jan 2015 00:00:00 GMT"}).status_code == 200
    assert client.get(path, headers={"if-modified-since": "nonsense"}).status_code == 200
    wrong = {"if-none-match": '"other"', "if-modified-since": first.headers["last-modified"]}
    assert client.get(path, headers=wrong).status_code == 200  # the tag decides
    assert client.get(path).content == first.content


def test_an_old_paper_that_a_curator_picks_comes_to_those_who_ask_by_time(tmp_path):
    old = replace(ODD, id="2401.00001", title="Old", listed_on=TODAY - timedelta(days=90))
    own = TestClient(site_app(tmp_path, [*records(), old]))
    known = {"if-modified-since": own.get("/feed/day.xml").headers["last-modified"]}
    later = datetime.now(UTC) + timedelta(seconds=5)
    with faults.injected({}, clock=lambda: later):
        curating.pick(own.app.state.site.database, old.id, TODAY)
    answer = own.get("/feed/day.xml", headers=known)
    assert answer.status_code == 200
    assert b"paper/2401.00001" in answer.content


def test_subjects_and_names_are_escaped_in_addresses(tmp_path):
    odd = replace(ODD, authors=(Named(name="李 明"),), categories=("Machine learning & AI", "Café", "AI/ML"))
    own = TestClient(site_app(tmp_path, [odd]))
    assert "http://testserver/categories/Machine%20learning%20%26%20AI" in _addresses(own, "/sitemap/0.xml")
    assert all(one.isascii() and " " not in one for one in _addresses(own, "/sitemap/0.xml"))
    assert own.get("/categories/AI/ML/").status_code == 200
    of = ("category/Machine%20learning%20%26%20AI", "category/Caf%C3%A9", "category/AI/ML", "category/AI%2FML")
    for name in (*of, "author/%E6%9D%8E-%E6%98%8E"):
        page = own.get(f"/feed/{name}.json").json()["home_page_url"]
        assert page.isascii()
        shown = own.get(page)
        assert shown.status_code == 200
        assert f"http://testserver/feed/{name.replace('%2F', '/')}.xml" in shown.text


@pytest.mark.parametrize(
    "path", ["/feed/year.xml", "/feed/day.pdf", "/feed/topic/none.xml", "/feed/author/none.json", "/feed/x/y.xml"]
)
def test_a_feed_that_is_not_there_says_so(client: TestClient, path: str):
    assert client.get(path).status_code == 404


@pytest.mark.parametrize(("ending", "begins"), [("bib", "@"), ("ris", "TY  - "), ("csl", "[")])
def test_every_list_is_taken_along_as_references(client: TestClient, ending: str, begins: str):
    for name in ("category/cs.CL", "topic/sparse", "q/attention", "week", "collection/1"):
        answer = client.get(f"/feed/{name}.{ending}")
        assert answer.text.lstrip().startswith(begins), name
        titles = [item["title"] for item in client.get(f"/feed/{name}.json").json()["items"]]
        assert answer.text.count(begins) >= (len(titles) if ending == "ris" else 1)
    page = client.get("/categories/cs.CL").text
    assert 'href="http://testserver/feed/category/cs.CL.bib">BibTeX' in page
    assert "/feed/collection/1.bib" not in client.get("/collections/1").text  # it has all of its papers


def test_pages_name_their_feeds(client: TestClient):
    for path in ("/papers/trending", "/categories/cs.CL", "/papers?q=sparse", "/topics/sparse", "/authors/ada-abara"):
        page = html.fromstring(client.get(path).text)
        feeds = list(select(page, 'link[rel="alternate"]'))
        assert {one.get("type") for one in feeds} == {"application/atom+xml", "application/feed+json"}
        for one in feeds:
            assert client.get(one.get("href")).status_code == 200


def test_the_eye_is_at_the_addresses_that_browsers_and_phones_guess(client: TestClient):
    icon, touch = client.get("/favicon.ico"), client.get("/apple-touch-icon.png")
    assert (icon.status_code, icon.headers["content-type"], icon.content[:6]) == (
        200,
        "image/x-icon",
        b"\0\0\1\0\3\0",
    )
    assert (touch.status_code, touch.headers["content-type"], touch.content[:4]) == (200, "image/png", b"\x89PNG")
    assert client.get("/favicon.ico", headers={"if-none-match": icon.headers["etag"]}).status_code == 304


def test_robots_and_the_sitemap_lead_to_all_papers(client: TestClient):
    robots = client.get("/robots.txt").text
    assert "Sitemap: http://testserver/sitemap.xml" in robots
    assert "Disallow: /api/" in robots
    parts = _addresses(client, "/sitemap.xml")
    assert [part.rsplit("/", 1)[1] for part in parts] == ["0.xml", "1.xml"]
    papers = _addresses(client, parts[1])
    assert {one.rsplit("/", 1)[1] for one in papers} == {record.id for record in [*records(), ODD]}
    lists = _addresses(client, parts[0])
    assert f"http://testserver/papers/date/{TODAY}" in lists
    assert "http://testserver/topics/sparse" in lists
    for one in [*lists, *papers[::20]]:
        assert client.get(one).status_code == 200
    assert client.get("/sitemap/2.xml").status_code == 404


def test_a_paper_that_changes_while_the_sitemap_is_read_pushes_none_out_of_it(tmp_path, monkeypatch):
    monkeypatch.setattr(feeds, "PART", 20)
    own = TestClient(site_app(tmp_path, records()))
    first, *others = _addresses(own, "/sitemap.xml")[1:]
    papers = _addresses(own, first)
    changed = next(one for one in records() if papers[0].endswith(one.id))
    upsert(own.app.state.site.database, [replace(changed, title="Another title", version=2)])
    for part in others:
        papers += _addresses(own, part)
    assert sorted(one.rsplit("/", 1)[1] for one in papers) == sorted(one.id for one in records())


def test_previews_are_told_what_a_page_is(client: TestClient):
    page = html.fromstring(client.get("/papers/2611.00003").text)
    told = {one.get("property"): one.get("content") for one in select(page, "meta[property]")}
    assert told["og:type"] == "article"
    assert told["og:title"] == records()[2].title
    assert told["og:url"] == "http://testserver/papers/2611.00003"
    assert told["og:description"]


def _entries(client: TestClient, name: str) -> list[Any]:
    return list(feedparser.parse(client.get(f"/feed/{name}.xml").content).entries)


def _addresses(client: TestClient, path: str) -> list[str]:
    root = etree.fromstring(client.get(path).content)
    return [one.text for one in root.iter("{*}loc")]
