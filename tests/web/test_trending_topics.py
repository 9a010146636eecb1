"""What stands beside papers on pages and in feeds: rising topics, judged titles; kept, never made by a request."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import pytest
from lxml import html
from paper_site import NOW, TODAY, day_address, records, select, site_app, with_rising
from starlette.testclient import TestClient

from foveal.papers import rising, trend_forecast
from foveal.papers.schema import HeadlineRow

LINE = "A reader <b>finds</b> it"


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    app = site_app(tmp_path_factory.mktemp("beside"), records(20))
    with TestClient(app) as opened:
        database = app.state.site.database
        with_rising(database)
        with database.writing() as session:
            session.add(
                HeadlineRow(
                    paper_id="2611.00001", made_of="x", label="LREL", share=0.8, sure=True, judge="mine", written=LINE,
                    writer="gemma", evidence="It looks twice.",
                )
            )  # fmt: skip
        yield opened


def test_rising_topics_stand_above_what_trends_and_are_only_read(client, monkeypatch):
    monkeypatch.setattr(rising, "mined", lambda *_, **__: pytest.fail("mined in a request"))
    page = html.fromstring(client.get("/papers/trending").text)
    (block,) = select(page, "section.rising")
    said = " ".join(block.text_content().split())
    assert "Worked out 3 hours ago" in said
    assert "State <space> models growing" in said
    assert "4 papers of 3 groups" in said
    assert "5.00 burst: 4 papers of 3 groups" in said
    assert "3.60 score" in said
    addresses = [one.get("href") for one in select(block, "a")]
    assert addresses[:2] == ["/papers?q=State%20%3Cspace%3E%20models", "/papers/2611.00001"]
    assert [one.get("aria-label") for one in select(block, "svg")] == ["Papers by day: 2026-11-25 1, 2026-11-26 3"]
    assert not select(html.fromstring(client.get("/papers/trending?p=1").text), "section.rising")


def test_lines_show_only_where_a_judge_is_named_and_never_as_the_title(client):
    site = client.app.state.site
    paths = ("/papers/2611.00001", "/papers/trending", "/feed/day.xml", "/feed/day.json")
    site.__dict__["judges_titles"] = False
    for path in paths:
        assert "In short, by" not in client.get(path).text
    site.__dict__["judges_titles"] = True
    for path in paths:
        text = client.get(path).text
        assert "In short, by" in text
        assert LINE not in text  # escaped
    page = html.fromstring(client.get("/papers/2611.00001").text)
    assert select(page, "p.in-short")[0].text_content().split() == ["In", "short,", "by", "gemma", *LINE.split()]
    assert select(page, "h1")[0].text_content() == html.fromstring(site.papers.get("2611.00001").title).text_content()
    judged = " ".join(select(page, "details.judged")[0].text_content().split())
    assert "mine, a model, takes it for least related: not what the article says (80 %)" in judged
    assert "It looks twice." in judged
    assert "In short" not in client.get(day_address(TODAY)).text


def test_papers_to_come_stand_on_the_page_of_a_subject_a_topic_and_what_trends(client, tmp_path, monkeypatch):
    assert trend_forecast.refresh(client.app.state.site.database, tmp_path, now=NOW + timedelta(days=1))
    for address in ("/categories/cs.CL", "/topics/sparse"):
        (block,) = select(html.fromstring(client.get(address).text), "section.outlook")
        said = " ".join(block.text_content().split())
        assert "expected in the next 7 days" in said
        assert "The seasonal mean" in said
        assert len(select(block, "svg rect.to-come")) == 7
    page = html.fromstring(client.get("/papers/trending").text)
    assert "no model is trained on this home’s history yet" in page.text_content()
    assert select(html.fromstring(client.get("/categories/cs.CL?p=1").text), "section.outlook") == []
    assert select(page, "#to-come")
    monkeypatch.setattr(trend_forecast.Forecasts, "changing", lambda _: [])  # all are too small to say
    assert not select(html.fromstring(client.get("/papers/trending").text), "#to-come")
