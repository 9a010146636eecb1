"""The API in the Hub's shapes: its own client reads it from a real server; every key by its rule; errors as JSON."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
import uvicorn
from huggingface_hub import HfApi
from huggingface_hub.errors import HfHubHTTPError
from lxml import html
from paper_site import NOW, TODAY, records, select, site_app
from starlette.testclient import TestClient

from foveal.papers.periods import Period
from foveal.web.paper_shapes import CollectionShape

BY_ID = {record.id: record for record in records()}


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return site_app(tmp_path_factory.mktemp("api"))


@pytest.fixture(scope="module")
def client(app: Any) -> TestClient:
    return TestClient(app)


@pytest.fixture(scope="module")
def hub(app: Any) -> Iterator[HfApi]:
    """The Hub's client, pointed at a real server of ours."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        server = uvicorn.Server(uvicorn.Config(app, log_level="warning", lifespan="off"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
        thread.start()
        while not server.started:
            time.sleep(0.02)
        yield HfApi(endpoint=f"http://127.0.0.1:{listening.getsockname()[1]}", token=False)
        server.should_exit = True
        thread.join(10)


def test_the_hubs_client_reads_a_day(hub: HfApi):
    found = list(hub.list_daily_papers(date=str(TODAY), limit=100))
    assert {one.id for one in found} == {record.id for record in records() if record.listed_on == TODAY}
    for one in found:
        record = BY_ID[one.id]
        assert [author.name for author in one.authors] == [author.name for author in record.authors]
        assert one.title == record.title
        assert one.comments == record.comments
        assert one.upvotes == (record.votes + (one.id in list(BY_ID)[:3]) or None)  # its client reads 0 as None
        assert abs((one.published_at - record.published_at).total_seconds()) < 1
        assert abs((one.submitted_at - NOW).total_seconds()) < 3600
        assert (one.submitted_by.username if one.submitted_by else None) is not None or not record.submitted_by
        assert (one.organization.fullname if one.organization else "") == record.organisation


def test_the_hubs_client_reads_weeks_months_pages_and_submitters(hub: HfApi):
    week = Period.around("week", TODAY)
    listed = [one for one in records() if week.first <= one.listed_on <= week.last]
    pages = [
        [one.id for one in hub.list_daily_papers(week=week.key, limit=10, p=p)] for p in range(len(listed) // 10 + 2)
    ]
    assert sorted(one for page in pages for one in page) == sorted(one.id for one in listed)
    assert pages[-1] == []
    month = Period.around("month", TODAY)
    mira = {one.id for one in records() if month.first <= one.listed_on <= month.last and one.submitted_by == "mira"}
    assert {one.id for one in hub.list_daily_papers(month=month.key, submitter="mira", limit=100)} == mira
    newest = [one.published_at for one in hub.list_daily_papers(limit=20)]
    assert newest == sorted(newest, reverse=True)
    trending = [one.upvotes or 0 for one in hub.list_daily_papers(sort="trending", date=str(TODAY), limit=100)]
    assert trending == sorted(trending, reverse=True)
    assert len(trending) == sum(r.listed_on == TODAY for r in records())


def test_the_hubs_client_reads_a_paper_a_search_and_markdown(hub: HfApi):
    one = hub.paper_info("2611.00001")
    assert one.title == BY_ID["2611.00001"].title
    assert one.summary.endswith("A second study confirms it.")
    assert one.num_total_models == 1
    assert one.linked_models[0].id == "invented/reader-1b"
    assert one.ai_keywords == list(BY_ID["2611.00001"].keywords)
    found = list(hub.list_papers(query="sparse attention", limit=5))
    assert len(found) == 5
    assert all("attention" in f"{one.title} {one.summary}".lower() for one in found)
    text = hub.read_paper("2611.00001")
    assert text.startswith(f"# {one.title}\n")
    assert "## Abstract" in text
    assert one.summary in text
    with pytest.raises(HfHubHTTPError) as refused:
        hub.paper_info("2612.99999")
    assert refused.value.response.status_code == 404


def test_the_hubs_client_reads_lists_that_people_made(hub: HfApi, client: TestClient):
    (one,) = hub.list_collections()
    assert (one.slug, one.title, one.description, one.private) == ("1", "Reads of the week", "Few, and good.", False)
    assert [item.item_type for item in one.items] == ["paper"] * 4
    whole = hub.get_collection("1")
    assert [item.item_id for item in whole.items] == [record.id for record in records()[4::-1]]  # the last added first
    assert [item.position for item in whole.items] == [0, 1, 2, 3, 4]
    assert whole.url.endswith("/collections/1")
    with pytest.raises(HfHubHTTPError) as told:
        hub.get_collection("2")  # hidden
    assert told.value.response.status_code == 404
    assert client.get("/api/collections/x").status_code == 400
    told_plainly = client.get("/api/collections/1").json()
    assert CollectionShape.model_validate(told_plainly).number_items == 5
    assert told_plainly["owner"]["name"] == "mira"


def test_traps_of_the_shape(client: TestClient):
    entries = client.get(f"/api/daily_papers?date={TODAY}&limit=100").json()
    assert any("submittedBy" in one for one in entries)
    assert any("submittedBy" not in one for one in entries)
    for entry in entries:
        inner = entry["paper"]
        assert ("submittedBy" in entry) == ("submittedOnDailyBy" in inner)
        if "submittedBy" in entry:
            assert entry["submittedBy"]["name"] == inner["submittedOnDailyBy"]["user"]
            assert "user" not in entry["submittedBy"]
            assert "name" not in inner["submittedOnDailyBy"]
        assert entry["publishedAt"] == inner["submittedOnDailyAt"] != inner["publishedAt"]
        assert ("githubRepo" in inner) == ("githubStars" in inner) == ("githubRepoAddedBy" in inner)
        assert ("ai_summary" in inner) == bool(BY_ID[inner["id"]].summary)
        assert client.get(entry["thumbnail"].removeprefix("http://testserver")).status_code == 200
    assert not any(value is None for entry in entries for part in (entry, entry["paper"]) for value in part.values())


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/api/daily_papers?date=2026-02-30", 400),
        ("/api/daily_papers?date=yesterday", 400),
        ("/api/daily_papers?week=2026-W99", 400),
        ("/api/daily_papers?month=2026-00", 400),
        ("/api/daily_papers?date=2026-10-02&week=2026-W40", 400),
        ("/api/daily_papers?sort=luck", 400),
        ("/api/daily_papers?limit=1000", 400),
        ("/api/daily_papers?p=-1", 400),
        ("/api/papers/search", 400),
        ("/api/papers/2612.99999", 404),
        ("/api/papers/2612.99999/similar", 404),
        ("/api/papers/nonsense", 400),
        ("/api/nothing", 404),
    ],
)
def test_errors_are_json_with_a_sentence(client: TestClient, path: str, status: int):
    answer = client.get(path)
    assert answer.status_code == status
    assert len(answer.json()["error"]) > 15


def test_an_empty_day_is_an_empty_list_and_answers_can_be_kept(client: TestClient):
    assert client.get(f"/api/daily_papers?date={TODAY - timedelta(days=2)}").json() == []
    first = client.get("/api/papers/2611.00002")
    assert client.get("/api/papers/2611.00002", headers={"if-none-match": first.headers["etag"]}).status_code == 304


def test_similar_papers_are_others(client: TestClient):
    near = [one["paper"]["id"] for one in client.get("/api/papers/2611.00001/similar?limit=3").json()]
    assert len(set(near)) == 3
    assert "2611.00001" not in near


def test_the_page_of_the_api_lists_what_the_description_says(client: TestClient):
    described = client.get("/openapi.json").json()["paths"]
    page = html.fromstring(client.get("/api").text)
    assert {one.text for one in select(page, ".call h3 code")} == set(described)
    assert {"/api/daily_papers", "/api/papers/search", "/api/papers/{id}", "/papers/{id}.md"} <= set(described)
    assert "1 to 100, 50 if left out" in page.text_content()
    rows = select(page, ".call tbody tr")
    assert {tuple(cell.get("colspan", "1") for cell in row) for row in rows} == {("1", "2"), ("1", "1", "1")}
    assert all(cell.text_content() for row in rows for cell in row)  # no column stays empty
