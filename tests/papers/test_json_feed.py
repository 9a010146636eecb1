"""JSON Feed as a source: read as RSS and Atom are, whatever stands in it."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime
from typing import Any

import pytest

from foveal.errors import FetchFailed
from foveal.papers.records import Named, PaperRecord
from foveal.papers.sources import Reading
from foveal.papers.sources.feed import Feed, read_feed

AT = "https://example.org/lab/feed.json"
ITEM = {"id": "1", "url": "https://example.org/1", "title": "Where to Look"}


def feed(*items: Any, **more: Any) -> bytes:
    return json.dumps({"version": "https://jsonfeed.org/version/1.1", "title": "Lab", "items": items, **more}).encode()


def read(content: bytes) -> Reading:
    return Feed().read(content, AT)


def test_an_item_as_a_paper() -> None:
    whole = {
        "id": "https://example.org/1",
        "url": "/1",
        "title": "Where  to Look, if a < b & c",
        "content_text": "We look where n<m.",
        "content_html": "<p>Not read.</p>",
        "date_published": "2026-10-01T23:30:00-04:00",
        "date_modified": "2026-10-02T08:00:00Z",
        "authors": [{"name": "Ana Sol", "url": "https://example.org/ana"}, {"url": "https://example.org/x"}],
        "tags": ["eyes", 7],
        "attachments": [{"url": "https://example.org/1.mp3", "mime_type": "audio/mpeg"}],
    }
    [told] = read(feed(whole)).records
    assert told == PaperRecord(
        title="Where to Look, if a < b & c",
        abstract="We look where n<m.",
        authors=(Named(name="Ana Sol"),),
        published_at=datetime(2026, 10, 2, 3, 30, tzinfo=UTC),
        updated_at=datetime(2026, 10, 2, 8, tzinfo=UTC),
        url="https://example.org/1",
        listed_on=date(2026, 10, 2),
        source="feed",
    )


def test_what_an_item_does_not_say_is_found_elsewhere() -> None:
    by_html = {"id": "https://example.org/2", "title": "Two", "content_html": "<p>First &amp; second.</p><p>Third</p>"}
    with_summary = {**ITEM, "content_html": "<p>All.</p>", "summary": "In short.", "author": {"name": "Bo Li"}}
    content = feed(by_html, with_summary, authors=[{"name": "The Lab"}])
    first, second = read(b"\xef\xbb\xbf\n" + content).records
    assert (first.url, first.abstract, first.authors) == (
        *("https://example.org/2", "First & second. Third", (Named(name="The Lab"),)),
    )
    assert (second.abstract, second.authors) == ("In short.", (Named(name="Bo Li"),))


def test_a_link_to_arxiv_is_that_paper_and_any_other_the_items_own() -> None:
    """As another Foveal gives it: its own page, and where the paper stands."""
    arxiv, other = "https://arxiv.org/abs/2609.00001v3", "https://example.com/story"
    told = read(feed({**ITEM, "external_url": arxiv}, {**ITEM, "external_url": other}, {"title": "x", "id": arxiv}))
    assert [(one.id, one.url) for one in told.records] == [
        *(("2609.00001", arxiv), ("", ITEM["url"]), ("2609.00001", arxiv)),
    ]


def test_a_bad_item_is_left_out_and_the_others_are_stored() -> None:
    bad: list[Any] = [None, "words", [], {"title": ["x"]}, {"title": "Odd address", "url": "http://["}]
    untitled: list[Any] = [{"id": "3", "content_text": "A note without a title."}, {"title": None}, {"title": " \0 "}]
    told = read(feed(*bad, ITEM, *untitled))
    assert [one.title for one in told.records] == ["Where to Look"]
    assert len(told.left_out) == len(bad)
    assert "is no object with a title: 'words'" in told.left_out[1]


def test_odd_values_harm_nothing() -> None:
    odd = {
        "id": 7,
        "url": {"href": "x"},
        "title": "Half a pair \ud800, and a \0",
        "summary": ["x"],
        "content_html": "<script>alert(1)</script>Words" + "<div>" * 5000,
        "date_published": {"year": 2026},
        "date_modified": "9999-12-31T23:59:59-12:00",
        "authors": {"name": "Ana"},
        "author": "Ana",
        "tags": "eyes",
    }
    [told] = read(feed(odd)).records
    assert (told.title, told.abstract, told.url, told.authors) == ("Half a pair \ufffd, and a", "Words", "", ())
    assert (told.published_at, told.updated_at, told.listed_on) == (None, None, None)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b'{"version": "https://jsonfeed.org/version/1.1", "items": [', "JSON that cannot be read"),
        (b'{"a":' * 100_000, "JSON that cannot be read"),
        (b'{"version": ' + b"9" * 5000 + b"}", "JSON that cannot be read"),
        (b'{"items": []}', 'no JSON Feed: its "version" says .* the source hf'),
        (b'{"version": 1, "items": []}', "no JSON Feed"),
        (feed(items={"1": ITEM}), 'without a list of "items"'),
        (b'{"version": "https://jsonfeed.org/version/1"}', 'without a list of "items"'),
    ],
    ids=["broken off", "deep", "large number", "no version", "other version", "no list", "no items"],
)
def test_what_is_no_json_feed_is_said(content: bytes, said: str) -> None:
    with pytest.raises(FetchFailed, match=said):
        read(content)


def test_a_page_that_names_a_json_feed_leads_there() -> None:
    link = '<link rel="alternate" type="application/{}" href="{}">'
    site = f"<html><head>{link.format('json', '/wp-json')}{link.format('feed+json', '/feed.json')}</head></html>"
    with pytest.raises(FetchFailed, match=r"names its feed: https://example.org/feed.json\. Put"):
        read_feed(site.encode(), "https://example.org/lab/")
