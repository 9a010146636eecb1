"""Programs with a token: their person below /api/ and /v1/ alone; no cookie, no form's token, no other's limits."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from members import member
from reading_site import OwnModels, text_of
from visitors import AT, Visitor

from foveal.errors import DatabaseError
from foveal.papers import accounts, personal_data, tokens
from foveal.papers.schema import now
from foveal.settings import Settings
from foveal.web.app import create_app
from foveal.web.site import SiteSettings


@pytest.fixture
def app(tmp_path: Path) -> Iterator[FastAPI]:
    settings = Settings(home=tmp_path, cache=tmp_path / "cache", encoder="none")
    made = create_app(settings, SiteSettings(writers="members", api_per_hour=12), models=OwnModels())
    yield made
    made.state.site.close()


def program(app: FastAPI, secret: str = "", **headers: str) -> TestClient:
    """A client that knows no cookies, as curl does not."""
    sent = {"authorization": f"Bearer {secret}"} if secret else {}
    return TestClient(app, base_url=AT, follow_redirects=False, headers=sent | headers)


def token_of(app: FastAPI, login: str = "ana", role: str = "member") -> str:
    database = app.state.site.database
    return tokens.make(database, member(database, login, role), "test").secret


def test_a_program_with_a_token_is_its_person_and_gets_no_cookie(app: FastAPI) -> None:
    client = program(app, token_of(app))
    told = client.get("/api/me")
    assert told.json() == {
        "login": "ana",
        "name": "",
        "role": "member",
        "may": {"add": True, "submit": True, "ask": True, "read": True, "research": True, "judge": True}
        | {"remove": False, "rename": False},
    }
    begun = client.post("/api/library", json={"text": "A text of the mill at the river"})
    assert begun.status_code == 202
    run = client.post("/api/research/runs", json={"question": "Who?", "sources": ["library"]})
    assert run.status_code in (201, 400), run.text
    assert "set-cookie" not in told.headers | begun.headers | run.headers
    assert not client.cookies
    job = app.state.site.jobs.get(begun.json()["job"])
    assert job.whose == f"person {accounts.find(app.state.site.database, 'ana').id}"
    assert program(app).get("/api/me").json()["login"] is None


@pytest.mark.parametrize("why", ["unknown", "revoked", "expired", "of nobody", "long"])
def test_a_token_that_is_no_good_is_401_even_where_nobody_needs_one(app: FastAPI, why: str) -> None:
    database = app.state.site.database
    ana = member(database, "ana")
    at = now() - timedelta(days=31) if why == "expired" else None
    made = tokens.make(database, ana, "test", days=30, at=at)
    secret = {"unknown": made.secret[:-2], "long": made.secret * 5}.get(why, made.secret)
    if why == "revoked":
        tokens.revoke(database, ana, made.token.id)
    elif why == "of nobody":
        personal_data.erase(database, ana)
    for path in ("/api/me", "/api/daily_papers"):
        told = program(app, secret).get(path)
        assert told.status_code == 401, path
        assert told.json()["error"].startswith("This token is not known here")
        assert told.headers["www-authenticate"] == 'Bearer error="invalid_token"'


def test_tokens_of_others_are_nobodys_business(app: FastAPI) -> None:
    for header in ("Bearer hf_abc", "Bearer eyJhbGciOi", "Basic YTpi", "Bearer"):
        assert program(app, authorization=header).get("/api/daily_papers").status_code == 200
        assert program(app, authorization=header).get("/api/me").json()["login"] is None


def test_a_token_opens_no_page_and_changes_no_account(app: FastAPI) -> None:
    client = program(app, token_of(app, role="admin"))
    assert client.get("/settings").headers["location"] == "/login?next=/settings"
    assert client.get("/settings/tokens").status_code == 303
    told = client.post("/settings/tokens", data={"name": "another"})
    assert told.status_code == 403
    assert "taken below /api/ and /v1/ alone" in told.text
    assert client.get("/admin").status_code == 303


def test_who_has_no_token_learns_where_they_come_from(app: FastAPI) -> None:
    for method, path, body in (("POST", "/api/ask", {"question": "Who?"}), ("POST", "/api/library", {"text": "a b"})):
        told = program(app).request(method, path, json=body)
        assert (told.status_code, told.headers["www-authenticate"]) == (401, "Bearer")
        assert "/settings/tokens" in told.json()["error"]


def test_a_page_of_another_site_cannot_use_who_is_signed_in_but_a_program_is_not_asked(app: FastAPI) -> None:
    browser = Visitor(app)
    browser.sign_in("bo")
    theirs = {"origin": "https://evil.example", "sec-fetch-site": "cross-site"}
    assert browser.post("/api/library", json={"text": "a b c"}, headers=theirs).status_code == 403
    assert browser.post("/api/library", json={"text": "a b c"}).status_code == 202
    sent = program(app, token_of(app), **theirs).post("/api/library", json={"text": "a b d"})
    assert sent.status_code == 202


def test_the_tokens_of_a_person_share_a_limit_and_leave_the_address_its_own(app: FastAPI) -> None:
    first = program(app, token_of(app))
    ana = accounts.find(app.state.site.database, "ana")
    second = program(app, tokens.make(app.state.site.database, ana, "second").secret)
    statuses = [client.get("/api/me").status_code for client in (first, second) * 6]
    assert statuses == [200] * 12
    refused = second.get("/api/me")
    assert (refused.status_code, 240 < int(refused.headers["retry-after"]) <= 300) == (429, True)
    assert "with your tokens" in refused.json()["error"]
    assert program(app, token_of(app, "bo")).get("/api/me").status_code == 200
    assert program(app).get("/api/daily_papers").status_code == 200


def test_guesses_of_tokens_count_for_the_address_and_no_log_names_a_token(
    app: FastAPI, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    secret = token_of(app)
    guessing = program(app, f"{secret}x")
    assert [guessing.get("/api/daily_papers").status_code for _ in range(13)] == [401] * 12 + [429]
    assert program(app, secret).get("/api/me").status_code == 200
    assert program(app, secret).post("/api/library", json={"sources": ["nothing"]}).status_code == 400
    assert secret not in caplog.text


def test_while_tokens_cannot_be_read_a_program_is_told_to_come_again(
    app: FastAPI, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = program(app, token_of(app))

    def away(*_: object) -> None:
        raise DatabaseError("away")

    monkeypatch.setattr("foveal.web.signed_in.person_of_token", away)
    told = client.post("/api/library", json={"text": "a b c"})
    assert (told.status_code, told.headers["retry-after"]) == (503, "10")


def test_a_person_makes_sees_and_revokes_tokens_in_the_browser(app: FastAPI) -> None:
    browser = Visitor(app)
    browser.sign_in("ana")
    assert 'href="/settings/tokens"' in browser.get("/settings").text
    assert "None yet." in text_of(browser.get("/settings/tokens").text)
    made = browser.submit("/settings/tokens", came_from="/settings/tokens", name="<b>import", days=30)
    assert (made.status_code, made.headers["cache-control"]) == (200, "private, no-store")
    secret = made.text.split('value="foveal_')[1].split('"')[0]
    assert program(app, f"foveal_{secret}").get("/api/me").json()["login"] == "ana"
    page = browser.get("/settings/tokens").text
    assert secret not in page
    assert "&lt;b&gt;import" in page
    assert "used just now" in text_of(page)
    number = page.split("/settings/tokens/")[1].split("/")[0]
    other = Visitor(app)
    other.sign_in("bo")
    assert other.submit(f"/settings/tokens/{number}/revoke").status_code == 404
    assert browser.submit(f"/settings/tokens/{number}/revoke").headers["location"] == "/settings/tokens"
    assert program(app, f"foveal_{secret}").get("/api/me").status_code == 401
    refused = browser.submit("/settings/tokens", name=" ")
    assert (refused.status_code, "A token needs a name" in refused.text) == (400, True)


@pytest.mark.parametrize(("writers", "said"), [("nobody", "here a token only looks"), ("anyone", "needs no token")])
def test_where_a_token_is_of_no_use_its_page_says_so(tmp_path: Path, writers: str, said: str) -> None:
    settings = Settings(home=tmp_path, cache=tmp_path / "cache", encoder="none")
    app = create_app(settings, SiteSettings(writers=writers), models=OwnModels())
    browser = Visitor(app)
    browser.sign_in("ana")
    assert said in browser.get("/settings/tokens").text
    app.state.site.close()
