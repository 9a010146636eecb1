"""The pages of papers over a filled home: what each shows, where its links lead, what it says when there is nothing."""

from __future__ import annotations

import gc
import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path

import pytest
from lxml import html
from members import member
from paper_site import NOW, TODAY, day_address, records, select, site_app
from starlette.testclient import TestClient

from foveal.library import Library
from foveal.papers import discussion, removing
from foveal.papers.curating import pick
from foveal.papers.periods import Period
from foveal.papers.records import Named, PaperRecord
from foveal.papers.store import PaperStore
from foveal.papers.upserts import Fetched, upsert
from foveal.web import papers_views as views
from foveal.web.papers_pages import FOUND

EMPTY = TODAY - timedelta(days=2)
VIEWS = [
    day_address(TODAY),
    day_address(EMPTY),
    views.period_address(Period.around("week", TODAY)),
    views.period_address(Period.around("month", TODAY)),
    "/papers?q=sparse+attention",
    "/papers?q=zebrafish",
    "/papers/trending",
    "/papers/rankings",
    "/papers/2611.00001",
    "/papers/2611.00001/similar",
    "/papers/2612.99999",
    "/papers/submit",
    "/papers/submit?id=2101.00001",
    "/topics",
    "/topics/sparse",
    "/categories/cs.CL",
    "/organisations/northlight-lab",
    "/collections/1",
    "/api",
]


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    with TestClient(site_app(tmp_path_factory.mktemp("pages"))) as opened:
        yield opened


def tree(client: TestClient, path: str) -> html.HtmlElement:
    return html.fromstring(client.get(path).text)


def links(page: html.HtmlElement, within: str) -> list[str]:
    return [one.get("href") for one in select(page, f"{within} a") if one.get("href")]


@pytest.mark.parametrize("path", VIEWS)
def test_every_view_is_a_whole_page_with_one_heading_and_sized_pictures(client: TestClient, path: str):
    answer = client.get(path)
    assert answer.status_code == (404 if "99999" in path else 200)
    page = html.fromstring(answer.text)
    assert len(select(page, "h1")) == 1
    assert select(page, "h1")[0].text_content().strip()
    assert all(one.get("width") and one.get("height") and one.get("alt") is not None for one in select(page, "img"))
    assert len(answer.content) <= 120 * 1024
    assert not select(page, "[style],[onclick]")
    assert all(one.get("src") for one in select(page, "script"))
    ids = [one.get("id") for one in select(page, "[id]")]
    assert len(ids) == len(set(ids))
    assert select(page, 'link[rel="canonical"]')[0].get("href").startswith("http://testserver/")


def test_every_link_to_this_site_leads_somewhere(client: TestClient):
    found = {
        link.removeprefix("http://testserver").split("#")[0]
        for path in VIEWS
        for link in links(tree(client, path), "body")
    }
    ours = {link for link in found if link.startswith("/") and not link.startswith(("/library", "/ask"))}
    papers = {link for link in ours if re.match("/(papers/2611|authors)", link)}
    assert len(ours) > 100
    for link in sorted(ours - papers)[::2] + sorted(papers)[::25]:
        assert client.get(link).status_code == 200, link


def test_the_first_page_is_the_latest_day(client: TestClient):
    answer = client.get("/", follow_redirects=True)
    assert answer.url.path == day_address(TODAY)
    assert [one.status_code for one in answer.history] == [307, 307]


def test_a_day_shows_its_papers_by_votes_each_once(client: TestClient):
    page = tree(client, day_address(TODAY))
    shown = [one.get("href") for one in select(page, "article.card h3 a")]
    wanted = sorted(
        (
            paper
            for paper in PaperStore(client.app.state.site.database).page(limit=200).papers
            if paper.listed_on == TODAY
        ),
        key=lambda paper: (-paper.all_votes, paper.id),
    )
    assert shown == [f"/papers/{paper.id}" for paper in wanted][:50]
    first = select(page, "article.card .votes")[0]
    assert first.get("title") == f"{views.votes_told(wanted[0])}. Sign in to vote"
    assert select(first, "b")[0].text == str(wanted[0].all_votes)


def test_no_votes_are_a_dash(tmp_path: Path):
    client = TestClient(site_app(tmp_path, [replace(records()[0], votes=0), replace(records()[5], votes=0)]))
    shown = [one.text for one in select(tree(client, day_address(TODAY)), ".votes b")]
    assert shown == ["1", "1"]  # the vote of a person here
    with client.app.state.site.database.writing() as session:
        from foveal.papers.schema import VoteRow

        session.query(VoteRow).delete()
    assert [one.text for one in select(tree(client, day_address(TODAY)), ".votes b")] == ["–", "–"]


def test_the_chip_skips_no_day_and_none_lies_in_the_future(client: TestClient):
    day = TODAY - timedelta(days=1)
    assert links(tree(client, day_address(day)), ".chip-nav") == [day_address(EMPTY), day_address(TODAY)]
    assert links(tree(client, day_address(TODAY)), ".chip-nav") == [day_address(day)]
    assert not any(link > day_address(TODAY) for link in links(tree(client, day_address(TODAY)), ".strip"))


def test_a_clock_that_is_set_moves_the_pages_today(client: TestClient, monkeypatch: pytest.MonkeyPatch):
    tomorrow = day_address(TODAY + timedelta(days=1))
    assert f'href="{tomorrow}"' not in client.get(day_address(TODAY)).text
    monkeypatch.setenv("FOVEAL_CLOCK", "86400")
    assert f'<a href="{tomorrow}" rel="next"' in client.get(day_address(TODAY)).text


def test_an_empty_day_offers_the_nearest_that_have_papers(client: TestClient):
    page = tree(client, day_address(EMPTY))
    days = {record.listed_on for record in records()}
    before, after = max(one for one in days if one and one < EMPTY), min(one for one in days if one and one > EMPTY)
    assert links(page, ".near") == [day_address(before), day_address(after)]


@pytest.mark.parametrize(("path", "unit"), [("date", "day"), ("week", "week"), ("month", "month")])
def test_a_period_without_its_date_is_the_newest(client: TestClient, path: str, unit: str):
    answer = client.get(f"/papers/{path}", follow_redirects=False)
    assert answer.headers["location"] == views.period_address(Period.around(unit, TODAY))


def test_week_and_month_hold_the_days_of_their_rule(client: TestClient):
    store = PaperStore(client.app.state.site.database)
    for kind in ("week", "month"):
        period = Period.around(kind, TODAY)
        listed = sum(period.first <= paper.listed_on <= period.last for paper in store.page(limit=200).papers)
        assert select(tree(client, views.period_address(period)), ".list-head h2")[0].text == f"{listed} papers"


def test_pages_of_a_list_join_without_gap_or_double(client: TestClient):
    seen: list[str] = []
    path: str | None = views.period_address(Period.around("month", TODAY))
    if sum(record.listed_on.month == TODAY.month for record in records()) <= 50:
        path = "/categories/cs.CL"
    while path:
        page = tree(client, path)
        seen += [one.get("href") for one in select(page, "article.card h3 a")]
        more = select(page, '#more a[rel="next"]')
        path = more[0].get("href") if more else None
        if more:
            assert more[0].get("hx-get") == path
            assert more[0].get("hx-push-url") == "true"
            assert select(page, more[0].get("hx-select").replace(" > *", ""))
    assert len(seen) == len(set(seen)) > 50


def test_orders_and_the_filter_are_links(client: TestClient):
    page = tree(client, "/categories/cs.CL?code=yes&sort=discussed")
    store = PaperStore(client.app.state.site.database)
    wanted = store.page(category="cs.CL", with_code=True, sort="discussed")
    assert [one.get("href") for one in select(page, "article.card h3 a")] == [f"/papers/{p.id}" for p in wanted.papers]
    assert select(page, '.choices [aria-current="true"]')[0].text == "Most discussed"
    assert links(page, ".choices")[:3] == [
        "/categories/cs.CL?sort=votes&code=yes",
        "/categories/cs.CL?sort=discussed&code=yes",
        "/categories/cs.CL?code=yes",
    ]
    assert select(page, ".toggle")[0].get("href") == "/categories/cs.CL?sort=discussed"


def test_a_long_day_is_read_as_a_list_and_so_are_the_days_beside_it(client: TestClient):
    address = f"{day_address(TODAY)}?look=list&sort=discussed"
    page, cards = tree(client, address), tree(client, f"{day_address(TODAY)}?sort=discussed")
    assert not list(select(page, ".card img"))
    named = [[one.text_content() for one in select(shown, ".card h3")] for shown in (page, cards)]
    assert named[0] == named[1] != []
    (toggle,) = [one for one in select(page, ".toggle") if one.text_content() == "As a list"]
    assert (toggle.get("aria-current"), toggle.get("href")) == ("true", f"{day_address(TODAY)}?sort=discussed")
    days = [one.get("href") for one in (*select(page, ".strip a"), *select(page, ".chip-nav a"))]
    assert days
    assert all(one.endswith("?look=list") for one in days)  # the order is this day's
    assert client.get(f"{day_address(TODAY)}?look=tiles").status_code == 400


def test_a_search_marks_the_whole_abstract_and_passes_choices_on(client: TestClient):
    page = tree(client, "/papers?q=sparse+attention&category=cs.CL&year=2026&rank=blockrank&p=1")
    asked = client.app.state.site.search.asked[-1]
    assert asked == {
        "query": "sparse attention", "k": FOUND, "page": 1,
        "category": "cs.CL", "year": 2026, "rank": "blockrank", "retriever": None, "author": None,
    }  # fmt: skip
    assert {one.text.lower() for one in select(page, ".result mark")} <= {"sparse", "attention"}
    assert "ordered by blockrank" in select(page, ".how")[0].text_content()
    off = {one.text.split(":")[0]: one.get("href") for one in select(page, ".filters a")}
    assert "category" not in off["category"]
    assert "year=2026" in off["category"]
    abstract = select(page, ".result .abstract")[0].text_content()
    assert len(abstract) > 300
    assert "…" not in abstract


def test_nothing_found_says_what_to_do(client: TestClient):
    assert select(tree(client, "/papers?q=zebrafish"), ".empty h2")[0].text == "Nothing found"
    assert client.get("/papers?q=%20").url.path == day_address(TODAY)


def test_trending_is_one_list_and_says_why(client: TestClient):
    page = tree(client, "/papers/trending")
    shown = [one.get("href") for one in select(page, "article.row h2 a")]
    assert len(shown) == len(set(shown)) == 40
    assert "votes here and elsewhere" in select(page, "article.row .why")[0].text_content()


def test_every_order_can_be_chosen_and_shows_what_went_in(client: TestClient):
    page = tree(client, "/papers/rankings?by=stars")
    assert [one.text for one in select(page, ".order-names a")] == ["foveal", "stars"]
    assert select(page, ".order-names [aria-current]")[0].text == "stars"
    assert len(select(page, ".ranked li table")) == 10
    answer = client.get("/papers/rankings?by=luck")
    assert answer.status_code == 400
    assert "There are: foveal, stars" in html.fromstring(answer.text).text_content()


def test_a_paper_shows_what_is_known_and_nothing_that_is_not(client: TestClient):
    page = tree(client, "/papers/2611.00001")
    first = records()[0]
    assert select(page, "h1")[0].text_content() == re.sub(r"\$(.*?)\$", r"\1", first.title) or "$" in first.title
    assert [one.text for one in select(page, ".authors a")] == [one.name for one in first.authors]
    assert {"long texts"} <= {one.text_content() for one in select(page, ".abstract a.keyword")}
    text = select(page, ".paper")[0].text_content()
    assert "What version 2 changed in version 1" in text
    assert "Sign in to comment" in text
    assert any("A second study confirms it" in one.text for one in select(page, ".diff ins"))
    assert "invented/reader-1b" in text
    assert "not a link" not in text
    assert "https://arxiv.org/pdf/2611.00001v2" in links(page, ".paper-do")
    assert not select(page, ".paper form, .paper textarea")


def test_a_paper_that_was_withdrawn_is_marked_wherever_it_stands(tmp_path: Path):
    client = TestClient(site_app(tmp_path, [replace(records()[0], withdrawn=True), records()[1]]))
    which = records()[0].id
    for path in (day_address(TODAY), "/papers/trending", "/papers?q=attention"):
        marked = [one.getparent().getparent() for one in select(tree(client, path), ".pill.withdrawn")]
        assert [[a.get("href") for a in select(one, "h2 a, h3 a")] for one in marked] == [[f"/papers/{which}"]], path
    told = client.get("/feed/day.json").json()["items"]
    assert [one["url"].endswith(which) for one in told if "was withdrawn" in one["content_html"]] == [True]
    assert "- State: withdrawn" in client.get(f"/papers/{which}.md").text


def test_a_paper_is_listed_by_whoever_listed_it_on_the_day_that_is_named(tmp_path: Path):
    earlier = replace(records()[0], listed_on=TODAY - timedelta(days=2), submitted_by="")
    client = TestClient(site_app(tmp_path, [earlier]))
    pick(client.app.state.site.database, earlier.id, TODAY, by="@ana")
    facts = " ".join(select(tree(client, f"/papers/{earlier.id}"), ".paper-facts")[0].text_content().split())
    assert f"Listed on {Period.around('day', earlier.listed_on).title}" in facts
    assert "by ana" not in facts


def test_a_day_with_very_many_papers_fits_into_the_strip_of_a_phone(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
):
    site = client.app.state.site
    monkeypatch.setattr(site.papers, "days", lambda *_: {TODAY: 10_024})
    shown = [one.text for one in select(tree(client, day_address(TODAY)), ".strip b")]
    assert "10k" in shown


def test_a_paper_of_another_site_says_where_it_is_read(tmp_path: Path):
    given = replace(records()[0], id="", title="Elsewhere", source="feed", url="https://www.lab.example/p/1")
    client = TestClient(site_app(tmp_path, [replace(records()[5], listed_on=EMPTY)]))
    upsert(client.app.state.site.database, [given])
    (card,) = select(tree(client, day_address(TODAY)), ".card h3 a")
    (button,) = select(tree(client, card.get("href")), ".paper-do a.primary")
    assert (button.text, button.get("href")) == ("Read it at lab.example", "https://www.lab.example/p/1")
    assert views.site_name(f"https://{'a' * 40}.example") == views.site_name("mailto:ana@lab.example") == ""


def test_remarks_of_other_sites_are_more_only_where_there_are_some_here(tmp_path: Path):
    app = site_app(tmp_path, [replace(records()[0], comments=11)])
    here = f"/papers/{records()[0].id}"
    assert "11 comments on other sites." in TestClient(app).get(here).text
    database = app.state.site.database
    discussion.remark(database, member(database, "ana"), records()[0].id, "As here.")
    assert "11 more comments on other sites." in TestClient(app).get(here).text


def test_a_summary_names_its_model(client: TestClient):
    summed = next(record for record in records() if record.summary)
    box = select(tree(client, f"/papers/{summed.id}"), ".summary")[0].text_content()
    assert "Summary by qwen2.5-0.5b" in box


def test_a_version_or_address_leads_to_the_paper(client: TestClient):
    assert client.get("/papers/2611.00001v1", follow_redirects=False).headers["location"] == "/papers/2611.00001"


def test_an_unknown_paper_can_be_added(client: TestClient):
    answer = client.get("/papers/2612.99999")
    assert answer.status_code == 404
    assert "/papers/submit?id=2612.99999" in links(html.fromstring(answer.text), ".empty")


def test_a_paper_is_shown_then_confirmed_then_listed(tmp_path: Path):
    client = TestClient(site_app(tmp_path, records(12)))
    page = tree(client, "/papers/submit?id=https://arxiv.org/abs/2101.00001v3")
    form = select(page, ".confirm form")[0]
    given = {one.get("name"): one.get("value") for one in select(form, "input")}
    assert given["id"] == "2101.00001"
    assert client.post("/papers/submit", data={"id": "2101.00001"}).status_code == 403  # no token
    answer = client.post("/papers/submit", data=given)
    assert answer.url.path == "/papers/2101.00001"
    assert "Fetched 2101.00001" in answer.text
    assert client.app.state.site.papers.get("2101.00001").listed_on == TODAY
    assert client.post("/papers/submit", data=given).status_code == 200  # twice is once
    assert "already" in client.get("/papers/submit?id=2101.00001").text


def test_a_site_that_is_only_read_takes_no_papers(tmp_path: Path):
    client = TestClient(site_app(tmp_path, records(12), writers="nobody"))
    assert client.get("/papers/submit").status_code == 403
    assert client.post("/papers/submit", data={"id": "2101.00001"}).status_code == 403
    assert "/papers/submit" not in links(tree(client, "/papers/2612.99999"), "body")


def test_an_empty_home_says_how_to_begin(tmp_path: Path):
    client = TestClient(site_app(tmp_path, [replace(records()[0], listed_on=None)]))
    page = tree(client, "/papers")
    assert "foveal papers update" in page.text_content()
    assert client.get(day_address(TODAY)).status_code == 200


def test_a_source_that_fails_leaves_the_last_papers_with_their_time(tmp_path: Path):
    client = TestClient(site_app(tmp_path, records(12)))
    database = client.app.state.site.database
    assert "Fetched" not in client.get(day_address(TODAY)).text
    upsert(database, [], fetched=Fetched(source="arxiv", url="https://export.example/"))
    good = tree(client, day_address(TODAY)).text_content()
    assert "Fetched" in good
    assert "failed" not in good
    upsert(
        database, [], fetched=Fetched(source="arxiv-feed", url="https://rss.example/", status=503, error="no answer")
    )
    page = tree(client, day_address(TODAY))
    assert "Fetching from arxiv-feed failed" in page.text_content()
    assert "Fetched" in page.text_content()
    assert len(select(page, "article.card")) == 12


def test_votes_of_a_visitor_lead_to_signing_in_and_back(client: TestClient):
    first = select(tree(client, day_address(TODAY)), "a.votes")[0]
    assert first.get("href") == f"/login?next={day_address(TODAY)}"
    assert first.get("title").endswith("Sign in to vote")


def test_two_thousand_authors_are_counted_not_listed(tmp_path: Path):
    crowd = tuple(Named(name=f"Author {number}") for number in range(2000))
    many = PaperRecord(id="2611.90000", title="A Collaboration", authors=crowd, source="arxiv", listed_on=TODAY)
    client = TestClient(site_app(tmp_path, [records()[0], many]))
    page = tree(client, "/papers/2611.90000")
    assert len(select(page, ".authors a")) == views.AUTHORS_SHOWN + 1
    assert select(page, ".authors")[0].text_content().split()[-3:] == ["and", "1,960", "more"]
    assert "Author 0, Author 1 +1,998" in client.get(day_address(TODAY)).text
    assert "Author 1999" in client.get("/papers/2611.90000?authors=all").text
    assert len(client.get("/api/papers/2611.90000").json()["authors"]) == 2000


def test_a_page_that_a_browser_has_is_not_sent_again(client: TestClient):
    first = client.get(day_address(TODAY))
    again = client.get(day_address(TODAY), headers={"if-none-match": first.headers["etag"]})
    assert again.status_code == 304
    assert not again.content
    assert first.headers["cache-control"] == "private, no-cache"
    assert "Cookie" in first.headers["vary"]


def test_pictures_are_kept_for_long_where_their_address_has_their_hash(client: TestClient):
    address = select(tree(client, day_address(TODAY)), ".picture img")[0].get("src")
    answer = client.get(address)
    assert answer.headers["content-type"] == "image/svg+xml"
    assert answer.headers["cache-control"] == "public, max-age=31536000"
    assert client.get(address.split("?")[0]).headers["cache-control"] == "public, max-age=86400"
    assert client.get("/papers/2611.00001/thumbnail.png").status_code == 404


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/papers/date/2026-02-30", 400),
        ("/papers/week/2026-W60", 400),
        ("/papers/month/2026-13", 400),
        ("/papers/date/today", 400),
        (f"{day_address(TODAY)}?sort=luck", 400),
        (f"{day_address(TODAY)}?code=no", 400),
        (f"{day_address(TODAY)}?p=-1", 400),
        ("/papers?q=x&year=20x6", 400),
        ("/papers?q=x&year=0000", 400),
        ("/papers/no-such-id", 400),
        ("/topics/none", 404),
        ("/categories/none", 404),
        ("/authors/none", 404),
        ("/organisations/none", 404),
        ("/collections/2", 404),
        ("/collections/x", 400),
        ("/papers/submit?id=x", 400),
    ],
)
def test_what_cannot_be_shown_is_said_in_a_page_and_in_json(client: TestClient, path: str, status: int):
    answer = client.get(path)
    assert answer.status_code == status
    said = select(html.fromstring(answer.text), ".empty p")[0].text
    assert len(said) > 20
    assert client.get(path, headers={"accept": "application/json"}).json() == {"error": said}


def test_a_pdf_of_the_library_has_its_first_page_as_its_picture(tmp_path: Path):
    from fpdf import FPDF

    document = FPDF()
    document.add_page()
    document.set_font("helvetica", size=20)
    document.cell(text="A report of our own, with some words to find")
    document.output(str(tmp_path / "report.pdf"))
    app = site_app(tmp_path / "home", records(3))
    app.state.site.library = library = Library.open(settings=replace(app.state.site.settings, encoder="none"))
    library.add([tmp_path / "report.pdf"])
    own = f"doc-{library.documents()[0].id}"
    paper = PaperRecord(id=own, title="A report", source="library", listed_on=TODAY)
    upsert(app.state.site.database, [paper, replace(paper, id="doc-0123456789abcdef", title="Gone")])
    client = TestClient(app)
    first = client.get(f"/papers/{own}/thumbnail.svg")
    assert first.headers["content-type"] == "image/png"
    assert "max-age=31536000" in first.headers["cache-control"]
    pictures = [one.get("src") for one in select(tree(client, day_address(TODAY)), ".picture img")]
    assert any(one.startswith(f"/papers/{own}/thumbnail.png?") for one in pictures)
    assert client.get("/papers/doc-0123456789abcdef/thumbnail.svg").headers["content-type"] == "image/svg+xml"


def test_what_lives_for_ever_is_not_walked_while_the_app_serves(tmp_path: Path):
    before = gc.get_freeze_count()
    with TestClient(site_app(tmp_path, records(12))) as client:
        assert gc.get_freeze_count() > 10_000
        assert client.get(day_address(TODAY)).status_code == 200
    assert gc.get_freeze_count() <= before


def test_dates_are_read_as_people_write_them():
    assert views.long_title(Period.of("week", "2026-W01")) == "Week 1 of 2026, December 29 to January 4"
    assert views.long_title(Period.of("week", "2026-W40")) == "Week 40 of 2026, September 28 to October 4"
    assert views.long_title(Period.of("week", "2026-W02")) == "Week 2 of 2026, January 5 to 11"
    assert views.long_title(Period.of("day", "2026-10-02")) == "Friday, October 2, 2026"
    counts = {date(2026, 10, 2): 31}
    strip = views.strip(Period.of("day", "2026-10-02"), counts, date(2026, 10, 3))
    assert [(one.name, one.count, bool(one.href)) for one in strip[4:]] == [
        ("Fri 2", 31, True), ("Sat 3", 0, True), ("Sun 4", 0, False)
    ]  # fmt: skip


def test_published_days_are_shown_with_their_year_where_it_is_another(client: TestClient):
    assert NOW.year == TODAY.year
    assert "Published" in select(tree(client, "/papers/2611.00002"), ".paper-facts")[0].text_content()


def test_the_search_that_was_made_is_the_one_that_is_marked(client: TestClient):
    """Where there are no vectors the usual search is one of words."""
    page = tree(client, "/papers?q=sparse+attention")
    assert "lexical search" in select(page, ".how")[0].text_content()
    assert select(page, '.choices [aria-current="true"]')[0].text == "words"


def test_the_address_that_a_paper_had_before_its_id_was_known_leads_to_it(tmp_path: Path) -> None:
    pasted = PaperRecord(title="Pasted First", abstract="Words.", source="pasted", listed_on=TODAY)
    own = TestClient(site_app(tmp_path, [*records(), pasted]))
    database = own.app.state.site.database
    [old] = [paper.id for paper in PaperStore(database).all_of() if paper.title == "Pasted First"]
    assert own.get(f"/papers/{old}").status_code == 200
    upsert(database, [replace(pasted, id="2611.70000", source="arxiv")])
    answer = own.get(f"/papers/{old}", follow_redirects=False)
    assert (answer.status_code, answer.headers["location"]) == (308, "/papers/2611.70000")
    upsert(database, [replace(pasted, id="2611.70000", source="arxiv", version=2, title="Pasted, Then Renamed")])
    answer = own.get(f"/papers/{old}", follow_redirects=False)
    assert (answer.status_code, answer.headers["location"]) == (308, "/papers/2611.70000")
    assert own.get(f"/api/papers/{old}").json()["title"] == "Pasted, Then Renamed"
    assert own.get(f"/papers/title-{'0' * 32}").status_code == 404
    removing.remove(database, "2611.70000", reason="spam")
    assert [own.get(f"/papers/{one}").status_code for one in (old, "2611.70000")] == [410, 410]
    assert "was removed here" in own.get(f"/api/papers/{old}").json()["error"]
    removing.readmit(database, "2611.70000")
    upsert(database, [replace(pasted, id="2611.70000", source="arxiv")])
    removing.remove(database, "2611.70000", same_as=records()[0].id)
    answer = own.get(f"/papers/{old}", follow_redirects=False)
    assert (answer.status_code, answer.headers["location"]) == (308, f"/papers/{records()[0].id}")
