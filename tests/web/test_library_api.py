"""The library's API as a program meets it: each call, what it answers, what it refuses, and that it is described so."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import pytest
from fastapi import APIRouter, Body, FastAPI
from fastapi.testclient import TestClient
from lxml import html
from members import PAPER, member, with_papers
from paper_site import select
from reading_site import STORY, Held, OwnModels, made_app, pdf

from foveal.papers import tokens
from foveal.settings import Settings
from foveal.web import api_shapes as shapes
from foveal.web.app import create_app
from foveal.web.paper_shapes import PaperDetail, PaperEntry
from foveal.web.site import SiteSettings
from foveal.web.small_forms import SmallForms


@pytest.fixture
def client(tmp_path: Path) -> Iterator[TestClient]:
    app = made_app(tmp_path, api_per_hour=0, search_per_minute=0)
    with TestClient(app, base_url="http://localhost", follow_redirects=False) as made:
        yield made


def ended(client: TestClient, begun: Any) -> dict[str, Any]:
    """A job, once it has ended."""
    assert begun.status_code == 202, begun.text
    told = shapes.Started.model_validate(begun.json())
    assert begun.headers["location"] == told.url
    until = time.monotonic() + 60
    while (found := client.get(told.url)).json()["state"] in ("waiting", "running"):
        assert found.headers["retry-after"] == "2"
        assert time.monotonic() < until, found.text
        time.sleep(0.02)
    assert "retry-after" not in found.headers
    return shapes.JobState.model_validate(found.json()).model_dump()


def added(client: TestClient) -> str:
    """The id of the story, which was added."""
    job = ended(client, client.post("/api/library/files", files=[("files", ("mill.md", STORY.encode()))]))
    return str(job["became"][0]["id"])


def test_a_program_adds_finds_asks_and_removes(client: TestClient) -> None:
    assert client.get("/api/library").json() == {"documents": [], "count": 0, "next": None}
    assert client.get("/api/library/search?q=mill").json() == {"hits": [], "note": ""}
    which = added(client)
    found = shapes.Document.model_validate(client.get(f"/api/library/{which[:8]}").json())
    assert (found.id, found.title, found.kind, found.characters) == (which, "The mill", "markdown", len(STORY))
    assert client.get("/api/library").json()["documents"] == [client.get(f"/api/library/{which}").json()]

    hits = shapes.Hits.model_validate(client.get("/api/library/search?q=keeper&k=3").json()).hits
    text = client.get(f"/api/library/{which}/text").json()["text"]
    assert text == STORY
    assert hits[0].text == text[hits[0].span.start : hits[0].span.end]

    job = ended(client, client.post("/api/ask", json={"question": "What is the keeper of the mill called?"}))
    assert (job["kind"], job["state"], job["error"]) == ("ask", "done", None)
    place = job["answer"]["citations"][0]
    assert place["quote"] in STORY
    span = place["span"]
    assert text[span["start"] : span["end"]] == place["quote"]
    assert span["document_id"] == which
    assert found.revision.startswith(place["revision"])
    asked = client.get(f"/api/library/{which}/text", params={"revision": place["revision"], **span}).json()
    assert (asked["text"], asked["next"]) == (place["quote"], None)

    named = shapes.Document.model_validate(client.patch(f"/api/library/{which}", json={"title": "Mills"}).json())
    assert (named.id, named.title, named.revision) == (which, "Mills", found.revision)
    assert client.get(f"/api/library/{which}").json()["title"] == "Mills"

    assert client.delete(f"/api/library/{which}").status_code == 204
    assert client.get(f"/api/library/{which}").status_code == 404


def test_files_texts_and_addresses_become_what_the_page_would_make_of_them(client: TestClient) -> None:
    files = [("files", ("mills.pdf", pdf("Tide mills turn."))), ("files", ("again.md", STORY.encode()))]
    became = ended(client, client.post("/api/library/files", files=files))["became"]
    assert [(one["name"], one["state"], one["count"]) for one in became] == [
        ("mills.pdf", "added", 1),
        ("again.md", "added", 1),
    ]
    text = {"text": "Words that somebody typed", "title": "Typed"}
    assert ended(client, client.post("/api/library", json=text))["became"][0]["name"] == "Typed.txt"
    assert ended(client, client.post("/api/library", json=text))["became"][0]["state"] == "unchanged"
    half = client.post("/api/library", content=b'{"text": "Half a \\ud800 character"}', headers=JSON)
    assert ended(client, half)["became"][0]["state"] == "added"
    inside = {"sources": ["http://127.0.0.1:1/secret"]}
    (skipped,) = ended(client, client.post("/api/library", json=inside))["became"]
    assert (skipped["state"], skipped["id"], skipped["count"]) == ("skipped", None, 0)
    assert skipped["said"]
    first = client.get("/api/library?limit=2").json()
    assert (len(first["documents"]), first["count"], first["next"]) == (2, 4, 2)
    assert first["documents"][1]["title"] == "Typed"
    assert client.get("/api/library?limit=2&p=2").json()["next"] is None


JSON = {"content-type": "application/json"}


def test_a_text_may_tell_how_nul_is_written(tmp_path: Path) -> None:
    said = r"In JSON the escape \u0000 stands for it, in an address %00 does."
    with TestClient(made_app(tmp_path), base_url="http://localhost") as client:
        (became,) = ended(client, client.post("/api/library", json={"text": said, "title": "Escapes"}))["became"]
        assert client.get(f"/api/library/{became['id']}/text").json()["text"] == said
        for kind in ("application/json", "application/merge-patch+json; charset=utf-8", "APPLICATION/JSON"):
            sent = client.post("/api/ask", content=rb'{"question": "a\u0000b"}', headers={"content-type": kind})
            assert (sent.status_code, "NUL" in sent.text) == (400, True)
        in_pieces = iter([b'{"question": "a\\', b"u0000b", b'"}'])
        assert "NUL" in client.post("/api/ask", content=in_pieces, headers=JSON).text


def test_nul_is_seen_in_json_that_is_not_called_so() -> None:
    app, router = FastAPI(), APIRouter(route_class=SmallForms, strict_content_type=False)

    @router.post("/")
    def told(body: Annotated[dict[str, Any], Body()]) -> dict[str, Any]:
        return body

    app.include_router(router)
    with TestClient(app) as client:
        sent = client.post("/", content=rb'{"a": "b\u0000"}')
    assert (sent.status_code, "NUL" in sent.text) == (400, True)


REFUSED: dict[str, tuple[str, str, Any, int, str]] = {
    "no question": ("POST", "/api/ask", {"question": "  "}, 400, "The question is empty"),
    "no body": ("POST", "/api/ask", None, 400, "This needs a body: a JSON object"),
    "a field too many": ("POST", "/api/ask", {"question": "Who?", "model": "x"}, 400, "model"),
    "no such retriever": ("POST", "/api/ask", {"question": "Who?", "retriever": "magic"}, 400, "magic"),
    "no filter": ("POST", "/api/ask", {"question": "Who?", "where": "so"}, 400, "so"),
    "a form": ("POST", "/api/ask", b"question=Who", 400, "JSON"),
    "NUL": ("POST", "/api/ask", {"question": "a\u0000b"}, 400, "NUL"),
    "NUL behind a backslash": ("POST", "/api/ask", {"question": "a\\\u0000b"}, 400, "NUL"),
    "nothing": ("POST", "/api/library", {}, 400, "Give either"),
    "both": ("POST", "/api/library", {"text": "a b", "sources": ["2103.00020"]}, 400, "Give either"),
    "a path": ("POST", "/api/library", {"sources": ["/etc/passwd"]}, 400, "neither a URL"),
    "a file's": ("POST", "/api/library", {"sources": ["file:///etc/passwd"]}, 400, "neither a URL"),
    "two in one": ("POST", "/api/library", {"sources": ["2103.00020 2103.00021"]}, 400, "neither a URL"),
    "too long": ("POST", "/api/library", {"text": "word " * 40_000}, 413, "160 kB"),
    "no file": ("POST", "/api/library/files", {"a": "b"}, 400, "files"),
    "no document": ("GET", "/api/library/abcdef", None, 404, "abcdef"),
    "no effort": ("POST", "/api/library/WHICH/read", {"question": "Who?", "effort": "some"}, 400, "quick"),
    "backwards": ("GET", "/api/library/WHICH/text?start=5&end=2", None, 400, "0 <= start <= end"),
    "beyond": ("GET", "/api/library/WHICH/text?start=99999", None, 400, "0 <= start <= end"),
    "no revision": ("GET", "/api/library/WHICH/text?revision=zz", None, 400, "no revision"),
    "no query": ("GET", "/api/library/search", None, 400, "parameter q"),
    "no such ranker": ("GET", "/api/library/search?q=mill&rank=magic", None, 400, "magic"),
    "no call": ("GET", "/api/nothing", None, 404, "/api lists"),
    "another method": ("PUT", "/api/library", {}, 405, "takes GET, POST, and not PUT"),
    "no job": ("GET", "/api/jobs/none", None, 404, "not kept here"),
}


@pytest.fixture(scope="module")
def refusing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[TestClient, str]]:
    app = made_app(tmp_path_factory.mktemp("refusing"), api_per_hour=0)
    with TestClient(app, base_url="http://localhost", follow_redirects=False) as client:
        yield client, added(client)


@pytest.mark.parametrize("what", sorted(REFUSED))
def test_what_is_refused_is_json_that_says_what_to_do(refusing: tuple[TestClient, str], what: str) -> None:
    client, which = refusing
    method, path, body, status, said = REFUSED[what]
    sent = {"content": body} if isinstance(body, bytes) else {"json": body}
    told = client.request(method, path.replace("WHICH", which), **sent)
    assert told.status_code == status, told.text
    assert set(told.json()) == {"error"}
    assert said in told.json()["error"]


def test_a_job_is_stopped_by_who_began_it(tmp_path: Path) -> None:
    held = Held()
    app = create_app(
        Settings(home=tmp_path, cache=tmp_path / "cache", encoder="none"),
        SiteSettings(writers="members"),
        models=OwnModels(held),
    )
    database = app.state.site.database
    clients = {
        login: TestClient(
            app,
            base_url="http://localhost",
            headers={"authorization": f"Bearer {tokens.make(database, member(database, login), 'test').secret}"},
        )
        for login in ("ana", "bo")
    }
    which = added(clients["ana"])
    begun = clients["ana"].post("/api/ask", json={"question": "Who keeps the tide mill?"})
    url = begun.json()["url"]
    assert held.began.wait(30)
    seen = clients["bo"].get(url).json()
    assert (seen["state"], seen["answer"]) == ("running", None)
    refused = clients["bo"].delete(url)
    assert (refused.status_code, "Only who asked" in refused.json()["error"]) == (403, True)
    assert clients["ana"].delete(url).status_code == 204
    assert ended(clients["ana"], begun)["state"] == "cancelled"

    assert clients["bo"].delete(f"/api/library/{which}").status_code == 403
    assert clients["ana"].delete(f"/api/library/{which}").status_code == 204
    app.state.site.close()


def test_every_call_is_described_with_what_it_answers_and_refuses(client: TestClient) -> None:
    whole = client.get("/openapi.json").json()
    shapes_known = whole["components"]["schemas"]
    assert whole["components"]["securitySchemes"]["token"]["scheme"] == "bearer"
    assert "HTTPValidationError" not in shapes_known
    assert not [name for name in shapes_known if name.startswith("Body_")]
    calls = {(method, path): call for path, methods in whole["paths"].items() for method, call in methods.items()}
    assert len(calls) >= 20
    assert len({call["operationId"] for call in calls.values()}) == len(calls)
    for key, call in calls.items():
        assert len(call["summary"].split()) > 1, key
        assert call["tags"], key
        status, first = next(iter(call["responses"].items()))
        assert status.startswith("2"), key
        assert "422" not in call["responses"], key
        assert ("403" in call["responses"]) == (key[0] != "get"), key
        assert all("Retry-After" in call["responses"][one]["headers"] for one in ("429", "503")), key
        assert "Successful Response" not in str(call["responses"]), key
        assert all(one["description"] for one in call.get("parameters", ())), key
        refusal = "ChatError" if key[1].startswith("/v1/") else "Error"
        assert call["responses"]["400"]["content"]["application/json"]["schema"]["$ref"].endswith(f"/{refusal}"), key
        if status != "204":
            kind, content = next(iter(first["content"].items()))
            assert kind != "application/json" or content["schema"], key
    page = html.fromstring(client.get("/api").text)
    assert len(select(page, ".call")) == len(calls)
    assert "Authorization" not in page.text_content()  # anyone may write here


def test_papers_have_the_shapes_that_are_described(client: TestClient) -> None:
    with_papers(client.app.state.site.database)  # type: ignore[attr-defined]
    listed = client.get("/api/daily_papers").json()
    assert len(listed) == 2
    for one in listed:
        PaperEntry.model_validate(one)
        PaperDetail.model_validate(client.get(f"/api/papers/{one['paper']['id']}").json())
    told = client.post("/api/papers", json={"id": f"https://arxiv.org/abs/{PAPER}"})  # is here: nothing is fetched
    assert (told.status_code, told.headers["location"]) == (201, f"/api/papers/{PAPER}")
    assert PaperDetail.model_validate(told.json()).id == PAPER
    assert client.post("/api/papers", json={"id": "nonsense"}).status_code == 400
