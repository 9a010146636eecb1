"""What holds for every request, whatever the route: hosts, headers, sizes, tokens, errors."""

from __future__ import annotations

import stat
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi import APIRouter, Depends, FastAPI, Request
from fastapi.testclient import TestClient
from lxml import html
from members import at_once

from foveal.database import Database
from foveal.errors import FetchFailed, InputError, UnknownPaper
from foveal.settings import Settings
from foveal.web.app import create_app
from foveal.web.pages import compact, page
from foveal.web.safety import COOKIE, HEADERS, SESSION, guarded
from foveal.web.site import SiteSettings

ERRORS = {"input": InputError("give <b>less</b>"), "unknown": UnknownPaper("not here"), "far": FetchFailed("too slow")}

router = APIRouter()


@router.get("/form")
def form(request: Request) -> object:
    return page(request, "error.html", {"status": 200, "message": "a form"})


@router.post("/write", dependencies=[Depends(guarded)])
async def write(request: Request) -> dict[str, int]:
    return {"bytes": len(await request.body()) if "x-foveal-token" in request.headers else 0}


@router.post("/act", dependencies=[Depends(guarded)])
def act() -> str:
    return "done"


@router.get("/fails/{kind}")
def fails(kind: str) -> None:
    raise ERRORS[kind]


@router.get("/breaks")
def breaks() -> None:
    raise RuntimeError("the secret of the inside")


@router.get("/number/{n}")
def number(n: int) -> int:
    return n


@pytest.fixture
def app(tmp_path: Path) -> FastAPI:
    made = create_app(Settings(home=tmp_path, cache=tmp_path), SiteSettings(max_upload_mb=1))
    made.include_router(router)
    return made


@pytest.fixture
def client(app: FastAPI) -> Iterator[TestClient]:
    with TestClient(app, base_url="http://localhost") as opened:
        yield opened


def token(client: TestClient) -> str:
    return client.get("/form").text.split('data-token="')[1].split('"')[0]


def test_every_answer_carries_the_headers(client: TestClient) -> None:
    for path in ("/form", "/nowhere", "/static/foveal.css", "/fails/far"):
        answer = client.get(path)
        assert {name: answer.headers[name] for name in HEADERS} == HEADERS
    assert "unsafe" not in HEADERS["content-security-policy"]


def test_a_name_that_is_not_ours_is_refused(client: TestClient) -> None:
    refused = client.get("/form", headers={"host": "evil.example"})
    assert refused.status_code == 400
    assert "--name papers.example.org" in refused.text


def test_a_form_of_our_own_page_may_write(client: TestClient) -> None:
    form_token = token(client)
    assert client.post("/write", data={"token": form_token}).status_code == 200
    assert client.post("/write", headers={"x-foveal-token": form_token}).status_code == 200


def test_what_htmx_sends_waits_for_its_turn_too(app: FastAPI, client: TestClient) -> None:
    headers, gate = {"x-foveal-token": token(client)}, app.state.gates["write"]
    assert client.post("/act", headers=headers, data={"value": "1"}).status_code == 200
    gate.room, gate.inside, gate.waiting = 1, 1, 0
    assert client.post("/act", headers=headers, data={"value": "1"}).status_code == 503


@pytest.mark.parametrize(
    "headers",
    [
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
        {"origin": "https://evil.example"},
        {"origin": "null"},
        {"origin": "http://localhost.evil.example"},
    ],
)
def test_a_page_of_others_may_not_write_even_with_a_token(client: TestClient, headers: dict[str, str]) -> None:
    answer = client.post("/write", headers={"x-foveal-token": token(client), **headers})
    assert answer.status_code == 403
    assert "does not come from a page of this site" in answer.text


def test_without_its_own_token_nothing_is_written(app: FastAPI, client: TestClient) -> None:
    mine = token(client)
    with TestClient(app, base_url="http://localhost") as other:
        assert other.post("/write", headers={"x-foveal-token": mine}).status_code == 403  # no cookie
        token(other)
        assert other.post("/write", headers={"x-foveal-token": mine}).status_code == 403  # another browser's
    assert client.post("/write").status_code == 403
    assert client.post("/write", data={"token": mine[:-1] + "é"}).status_code == 403


def test_pages_that_were_asked_for_before_there_was_a_cookie_may_all_write(app: FastAPI, client: TestClient) -> None:
    first = token(client)
    with TestClient(app, base_url="http://localhost") as beside:  # a second tab: its answer comes last
        second = token(beside)
        client.cookies.update(beside.cookies)
    assert [client.post("/write", headers={"x-foveal-token": one}).status_code for one in (first, second)] == [200, 200]
    client.cookies.set(SESSION, "somebody's")
    assert [client.post("/write", headers={"x-foveal-token": one}).status_code for one in (first, second)] == [403, 200]


def test_a_request_for_the_head_alone_is_measured_by_its_route(app: FastAPI, client: TestClient) -> None:
    assert client.head("/number/7").status_code == 200
    assert 'method="HEAD",route="/number/{n}"' in app.state.measures.text().decode()


def test_a_part_of_the_site_is_opened_once_though_many_ask(app: FastAPI, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = []

    def slow(settings: Settings) -> Database:
        opened.append(settings)
        time.sleep(0.05)
        return Database(None)  # type: ignore[arg-type]

    monkeypatch.setattr("foveal.web.site.Database.open", slow)
    app.state.site.__dict__.pop("database", None)
    found = at_once(lambda _: app.state.site.database, times=4)
    assert (len(opened), len(set(map(id, found)))) == (1, 1)
    app.state.site.__dict__.pop("database")


def test_the_cookie_is_out_of_reach_of_scripts(client: TestClient) -> None:
    said = client.get("/form").headers["set-cookie"].lower()
    assert said.startswith(COOKIE)
    assert "httponly" in said
    assert "samesite=lax" in said
    assert "set-cookie" not in client.get("/form").headers  # it has one now


def test_a_body_that_is_too_large_is_refused(client: TestClient) -> None:
    headers = {"x-foveal-token": token(client)}
    assert client.post("/write", content=b"x" * 2**20, headers=headers).json() == {"bytes": 2**20}
    assert client.post("/write", content=b"x" * (2**20 + 1), headers=headers).status_code == 413
    pieces = (b"x" * 2**18 for _ in range(5))  # says no length
    assert client.post("/write", content=pieces, headers=headers).status_code == 413


@pytest.mark.parametrize(("kind", "status"), [("input", 400), ("unknown", 404), ("far", 503)])
def test_an_error_of_ours_is_a_page_or_json(client: TestClient, kind: str, status: int) -> None:
    answer = client.get(f"/fails/{kind}")
    assert answer.status_code == status
    assert answer.headers["content-type"].startswith("text/html")
    assert "<b>less" not in answer.text
    asked = client.get(f"/fails/{kind}", headers={"accept": "application/json"})
    assert (asked.status_code, asked.json()) == (status, {"error": str(ERRORS[kind])})


def test_a_mistake_of_ours_is_a_page_too_and_gives_nothing_away(app: FastAPI) -> None:
    client = TestClient(app, base_url="http://localhost", raise_server_exceptions=False)
    answer = client.get("/breaks")
    assert answer.status_code == 500
    assert "<h1>That went wrong</h1>" in answer.text
    assert "secret" not in answer.text
    assert {name: answer.headers[name] for name in HEADERS} == HEADERS
    asked = client.get("/breaks", headers={"accept": "application/json"})
    assert (asked.status_code, list(asked.json())) == (500, ["error"])


def test_what_may_work_later_can_be_tried_again(client: TestClient) -> None:
    assert 'href="/fails/far?a=1&amp;b=2">Try again' in client.get("/fails/far?a=1&b=2").text
    assert "Try again" not in client.get("/fails/unknown").text
    assert "Try again" not in client.post("/fails/far").text


@pytest.mark.parametrize("path", ["/library", "/ask", "/research", "/login", "/papers/trending", "/nowhere"])
def test_every_page_says_what_a_link_to_it_shows(client: TestClient, path: str) -> None:
    page = html.fromstring(client.get(path).text)
    told = {one.get("property"): one.get("content") for one in page.xpath("//meta[starts-with(@property, 'og:')]")}
    assert len(told) == len(page.xpath("//meta[starts-with(@property, 'og:')]"))
    assert told["og:title"]
    assert told["og:description"]
    assert told["og:image"] == "http://localhost/cards/site.png"


def test_a_parameter_that_cannot_be_read_is_named(client: TestClient) -> None:
    answer = client.get("/number/many")
    assert answer.status_code == 400
    assert "The parameter n cannot be read" in answer.text
    answer = client.post("/api/research/runs", content="{", headers={"content-type": "application/json"})
    assert (answer.status_code, "The body is no JSON: " in answer.json()["error"]) == (400, True)


def test_the_secret_is_made_once_and_is_its_owners(tmp_path: Path) -> None:
    create_app(Settings(home=tmp_path, cache=tmp_path))
    path = tmp_path / "secret.key"
    secret = path.read_bytes()
    create_app(Settings(home=tmp_path, cache=tmp_path))
    assert path.read_bytes() == secret
    assert len(secret) == 32
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.parametrize(
    ("number", "text"),
    [
        *((0, "0"), (131, "131"), (999, "999"), (1540, "1.54k"), (86_100, "86.1k"), (2_300_000, "2.3m")),
        *((999_499, "999k"), (999_500, "1m"), (999_499_999, "999m"), (999_500_000, "1b"), (10**10, "10b")),
    ],
)
def test_large_numbers_are_short(number: int, text: str) -> None:
    assert compact(number) == text
