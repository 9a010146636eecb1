"""Pages of other sites in a browser: the API for those that are let, no page for any, and no cookie ever."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from members import PAPER, member, with_papers
from reading_site import OwnModels, served
from test_every_route import EVERY
from visitors import AT, Outbox, Visitor

from foveal.errors import InputError
from foveal.library import Library
from foveal.papers import tokens
from foveal.settings import Settings
from foveal.types import Document
from foveal.web.app import create_app
from foveal.web.other_origins import is_for_programs
from foveal.web.settings import WebSettings, load_web
from foveal.web.site import SiteSettings

THEIRS = "https://chat.example.org"
CHROMIUM = shutil.which("chromium")
PREFLIGHT = {"access-control-request-method": "POST", "access-control-request-headers": "authorization, x-stainless-os"}


def app_for(home: Path, origins: str, **options: Any) -> FastAPI:
    settings = Settings(home=home, cache=home / "cache", encoder="none")
    chosen = SiteSettings(search_per_minute=0, api_per_hour=0, **options)
    return create_app(settings, chosen, models=OwnModels(), web=WebSettings(allowed_origins=origins))


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FastAPI]:
    """A site that lets two origins."""
    made = app_for(tmp_path_factory.mktemp("origins"), f"{THEIRS}, http://localhost:3000/", writers="anyone")
    made.state.site.deliver = Outbox()
    with_papers(made.state.site.database)
    yield made
    made.state.site.close()


def cors(answer: Any) -> dict[str, str]:
    """What an answer says to pages of other sites."""
    return {name: value for name, value in answer.headers.items() if name.startswith("access-control-")}


def test_no_page_is_for_other_origins_and_every_call_is(app: FastAPI) -> None:
    browser = Visitor(app, raise_server_exceptions=False)
    known = {"paper": PAPER, "number": "1", "token": "x" * 43, "key": "2026-10-02", "which": "000000"}
    calls = 0
    for one in EVERY:
        path = one.address(known)
        if path.endswith("/events"):
            continue
        asked = {"origin": THEIRS}
        before = browser.request("OPTIONS", path, headers=asked | PREFLIGHT)
        answer = browser.request(one.method, path, headers=asked)
        program = one.path.startswith(("/api/", "/v1/"))
        calls += program
        assert is_for_programs(path) == program, one
        for told in (before, answer):
            assert ("access-control-allow-origin" in told.headers) == program, (one, told.status_code)
            assert "access-control-allow-credentials" not in told.headers
        assert (before.status_code == 204) == program, one
        if program:
            assert "Origin" in answer.headers["vary"]
            assert "set-cookie" not in answer.headers, one
    assert calls > 20
    for path in ("/static/site.css", "/", "/api", "/health", "/metrics"):
        assert cors(browser.get(path, headers={"origin": THEIRS})) == {}, path
    assert cors(browser.get("/openapi.json", headers={"origin": THEIRS}))


def test_a_browser_asks_before_and_learns_what_it_may_send(app: FastAPI) -> None:
    told = Visitor(app).request("OPTIONS", "/v1/chat/completions", headers={"origin": THEIRS} | PREFLIGHT)
    assert (told.status_code, told.text) == (204, "")
    assert told.headers["access-control-allow-origin"] == THEIRS
    assert told.headers["access-control-allow-headers"] == "authorization, x-stainless-os"
    assert set(told.headers["access-control-allow-methods"].split(", ")) == {"GET", "HEAD", "POST", "PATCH", "DELETE"}
    assert told.headers["vary"] == "Origin, Access-Control-Request-Headers"
    for path in ("/mcp", "/openapi.json"):
        assert Visitor(app).request("OPTIONS", path, headers={"origin": THEIRS} | PREFLIGHT).status_code == 204
    strange = PREFLIGHT | {"access-control-request-headers": "a: b"}
    told = Visitor(app).request("OPTIONS", "/api/ask", headers={"origin": THEIRS} | strange)
    assert told.headers["access-control-allow-headers"] == "Authorization, Content-Type"
    refused = Visitor(app).request("OPTIONS", "/v1/models", headers={"origin": THEIRS})
    assert (refused.status_code, refused.headers.get_list("allow")) == (405, ["GET"])


@pytest.mark.parametrize(
    "origin",
    [
        *("https://chat.example.org.evil.example", "http://chat.example.org", "https://chat.example.org:8443"),
        *("null", "https://evil.example", "http://localhost:3001", "http://[", ""),
    ],
)
def test_an_origin_that_is_not_named_is_told_nothing_and_changes_nothing(app: FastAPI, origin: str) -> None:
    browser = Visitor(app)
    before = browser.request("OPTIONS", "/api/library", headers={"origin": origin} | PREFLIGHT)
    assert (before.status_code, cors(before)) == (405, {})
    told = browser.get("/api/me", headers={"origin": origin})
    assert (told.status_code, cors(told), "Origin" in told.headers["vary"]) == (200, {}, True)
    assert browser.post("/api/library", json={"text": "a b c"}, headers={"origin": origin}).status_code == 403


def test_an_origin_that_is_named_calls_what_visitors_may(app: FastAPI) -> None:
    for origin in (THEIRS, "http://localhost:3000"):
        sent = Visitor(app).post("/api/ask", json={"question": ""}, headers={"origin": origin})
        assert (sent.status_code, "The question is empty" in sent.text) == (400, True)
        assert sent.headers["access-control-allow-origin"] == origin
    refused = Visitor(app).post("/v1/chat/completions", json={}, headers={"origin": THEIRS})
    assert (refused.status_code, refused.headers["access-control-allow-origin"]) == (400, THEIRS)
    assert "Retry-After" in refused.headers["access-control-expose-headers"]
    own = Visitor(app).get("/api/me", headers={"origin": AT})
    assert cors(own) == {}


def test_cookies_of_a_member_are_nobodys_in_a_page_of_another_site(tmp_path: Path) -> None:
    app = app_for(tmp_path, THEIRS, writers="members")
    browser = Visitor(app)
    browser.sign_in("ana")
    assert browser.get("/api/me").json()["login"] == "ana"
    told = browser.get("/api/me", headers={"origin": THEIRS, "sec-fetch-site": "same-site"})
    assert told.json()["login"] is None
    sent = {"origin": THEIRS, "sec-fetch-site": "same-site"}
    assert browser.post("/api/ask", json={"question": "Who?"}, headers=sent).status_code == 401
    run = browser.post("/api/research/runs", json={"question": "Who?", "sources": ["library"]}, headers=sent)
    assert (run.status_code, "set-cookie" in run.headers) == (401, False)
    secret = tokens.make(app.state.site.database, member(app.state.site.database, "bo"), "test").secret
    told = browser.get("/api/me", headers=sent | {"authorization": f"Bearer {secret}"})
    assert told.json()["login"] == "bo"
    form = {"token": browser.token(), "name": "theirs"}
    assert browser.post("/settings/tokens", data=form, headers=sent).status_code == 403
    app.state.site.close()


def test_no_cookie_is_set_that_a_program_of_ours_would_get(tmp_path: Path) -> None:
    app = app_for(tmp_path, THEIRS, writers="anyone")
    Library.open(settings=app.state.site.settings).add_documents(
        [Document.of("x:a", "The keeper keeps the mill.", "A")]
    )
    asked = {"question": "Who?", "sources": ["library"]}
    ours = Visitor(app).post("/api/research/runs", json=asked)
    theirs = Visitor(app).post("/api/research/runs", json=asked, headers={"origin": THEIRS})
    assert (ours.status_code, theirs.status_code) == (201, 201)
    assert ("set-cookie" in ours.headers, "set-cookie" in theirs.headers) == (True, False)
    app.state.site.close()


def test_any_origin_looks_and_needs_a_token_to_change_something(tmp_path: Path) -> None:
    app = app_for(tmp_path, "*", writers="anyone")
    browser = Visitor(app)
    theirs = {"origin": "https://anybody.example"}
    told = browser.get("/api/me", headers=theirs)
    assert (told.status_code, told.headers["access-control-allow-origin"]) == (200, "*")
    assert "access-control-allow-credentials" not in told.headers
    assert browser.request("OPTIONS", "/api/ask", headers=theirs | PREFLIGHT).status_code == 204
    assert browser.post("/api/library", json={"text": "a b c"}, headers=theirs).status_code == 403
    browser.sign_in("ana")  # a page of this site itself keeps its cookies
    logins = [browser.get("/api/me", headers={"origin": one}).json()["login"] for one in (AT, theirs["origin"])]
    assert logins == ["ana", None]
    secret = tokens.make(app.state.site.database, member(app.state.site.database, "bo"), "test").secret
    sent = browser.post("/api/ask", json={"question": ""}, headers=theirs | {"authorization": f"Bearer {secret}"})
    assert (sent.status_code, sent.headers["access-control-allow-origin"]) == (400, "*")
    app.state.site.close()


def test_without_the_setting_nothing_is_said(tmp_path: Path) -> None:
    app = app_for(tmp_path, "")
    told = Visitor(app).get("/api/me", headers={"origin": THEIRS})
    assert (cors(told), told.headers.get("vary")) == ({}, None)
    assert Visitor(app).request("OPTIONS", "/api/me", headers={"origin": THEIRS} | PREFLIGHT).status_code == 405
    app.state.site.close()


def test_a_mistake_of_ours_is_read_by_the_page_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    app = app_for(tmp_path, THEIRS)

    def broken(*_: object) -> None:
        raise KeyError("secret")

    monkeypatch.setattr("foveal.web.library_api.rights", broken)
    told = Visitor(app, raise_server_exceptions=False).get("/api/me", headers={"origin": THEIRS})
    assert (told.status_code, told.headers["access-control-allow-origin"]) == (500, THEIRS)
    app.state.site.close()


@pytest.mark.parametrize(
    ("given", "origins"),
    [
        ("", ()),
        ("*", ("*",)),
        ("HTTPS://Chat.Example.org:443/, http://localhost:3000", ("https://chat.example.org", "http://localhost:3000")),
        ("http://[::1]:8080,app://obsidian.md", ("http://[::1]:8080", "app://obsidian.md")),
    ],
)
def test_origins_are_as_browsers_write_them(tmp_path: Path, given: str, origins: tuple[str, ...]) -> None:
    (tmp_path / "foveal.toml").write_text(f'[web]\nallowed_origins = "{given}"\n', encoding="utf-8")
    assert load_web(Settings(home=tmp_path, cache=tmp_path)).origins == origins


@pytest.mark.parametrize(
    "given",
    [
        *("null", "chat.example.org", "https://chat.example.org/app", "https://*.example.org", "http://["),
        *("https://a:b@c.example", "*, https://chat.example.org", "http://a:x", "https://b\u00fccher.example"),
    ],
)
def test_what_is_no_origin_is_refused(given: str) -> None:
    with pytest.raises(InputError, match="allowed_origins got"):
        WebSettings(allowed_origins=given)


PAGE = b"""<!doctype html><title>waiting</title><script>
const asked = new URLSearchParams(location.search), base = asked.get("base");
const sent = {method: "POST", headers: {"content-type": "application/json", "authorization": "Bearer x"},
              body: JSON.stringify({question: ""})};
fetch(base + asked.get("path"), asked.get("get") ? {} : sent)
  .then(async answer => { document.title = answer.status + " " + (await answer.text()).slice(0, 60); })
  .catch(error => { document.title = "refused " + error.name; });
</script>"""


class _Other(BaseHTTPRequestHandler):
    """Another site, of one page."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("content-type", "text/html")
        self.end_headers()
        self.wfile.write(PAGE)

    def log_message(self, *_: object) -> None:
        """In silence."""


@pytest.fixture
def other_site() -> Iterator[str]:
    listening = ThreadingHTTPServer(("127.0.0.1", 0), _Other)
    thread = threading.Thread(target=lambda: listening.serve_forever(poll_interval=0.02))
    thread.start()
    yield f"http://127.0.0.1:{listening.server_address[1]}"
    listening.shutdown()
    thread.join()
    listening.server_close()


@pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine")
@pytest.mark.parametrize("let", [True, False])
def test_a_browser_lets_a_page_of_another_site_call_where_it_is_named(
    tmp_path: Path, other_site: str, let: bool
) -> None:
    from playwright.sync_api import sync_playwright

    app = app_for(tmp_path, other_site if let else "https://somebody.else.example", writers="anyone")
    with served(app) as base, sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page()
        page.set_default_timeout(60_000)

        def told(path: str, more: str = "") -> str:
            page.goto(f"{other_site}/?base={base}&path={path}{more}")
            page.wait_for_function("document.title !== 'waiting'")
            return str(page.title())

        asked, looked, opened = told("/api/ask"), told("/api/me", "&get=1"), told("/library", "&get=1")
        browser.close()
    assert asked.startswith('400 {"error":"The question is empty') if let else asked == "refused TypeError"
    assert looked.startswith('200 {"login":null') if let else looked == "refused TypeError"
    assert opened == "refused TypeError"
