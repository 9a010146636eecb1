"""Who may do what: every route that writes, or is not everybody's, for a visitor, a member, a moderator, and at home.

The table is the definition. A route that it lacks fails the first test, whoever adds it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.routing import APIRoute
from members import PAPER, member, with_papers
from reading_site import STORY, OwnModels, text_of, wait_for
from test_every_route import EVERY, Called, parts
from visitors import AT, Visitor

from foveal.errors import DatabaseError, UnknownName
from foveal.library import Library
from foveal.papers import accounts, tokens
from foveal.papers.sessions import request_link, session_of, use_link
from foveal.research.runs import Owner
from foveal.settings import Settings
from foveal.types import Document, revision_of
from foveal.web.app import create_app
from foveal.web.job import Job
from foveal.web.rights import ACTS, Needs
from foveal.web.safety import SESSION, UNSAFE
from foveal.web.settings import WebSettings
from foveal.web.site import SiteSettings
from foveal.web.small_forms import Uploads

NUMBERS = count(1)

WHO = ("visitor", "member", "moderator", "home")
"""The first three on a site whose writers are its members; the last where `foveal serve` runs for oneself."""

LEVELS = {
    "all": frozenset(WHO),
    "writers": frozenset({"member", "moderator", "home"}),
    "keepers": frozenset({"moderator", "home"}),
    "signed in": frozenset({"member", "moderator"}),
    "moderators": frozenset({"moderator"}),
    "curators": frozenset[str](),  # and admins; none of the four is one
    "owner": frozenset[str](),  # of a run, which is somebody else's here
}

TABLE = """
all           POST /login · POST /login/link · POST /logout · POST /subscribe · POST /mail/confirm/{token}
all           POST /mail/{token} · POST /u/{token} · POST /v1/embeddings
writers       POST /library/add · POST /library/judge · POST /library/{which}/read · POST /ask · POST /research
writers       POST /api/research/runs · POST /api/research/solve · GET /papers/submit · POST /papers/submit
writers       POST /api/papers · POST /api/library · POST /api/library/files · POST /api/ask
writers       POST /api/library/{which}/read · POST /v1/chat/completions
keepers       GET /library/{which}/remove · POST /library/{which}/remove · POST /jobs/{key}/cancel
keepers       GET /library/{which}/rename · POST /library/{which}/rename · PATCH /api/library/{which}
keepers       DELETE /api/library/{which} · DELETE /api/jobs/{key}
owner         POST /research/{key}/cancel · POST /research/{key}/now · POST /research/{key}/go-on
owner         POST /research/{key}/edit · POST /research/{key}/share · POST /research/{key}/remove
owner         POST /research/{key}/scope · POST /research/{key}/watch · DELETE /api/research/runs/{key}
signed in     GET /settings · GET /settings/data.json · POST /settings/name · POST /settings/sessions
signed in     GET /settings/tokens · POST /settings/tokens · POST /settings/tokens/{number}/revoke
signed in     POST /remarks/{number}/report · POST /report/{paper:path}
signed in     POST /settings/delete · POST /settings/replies · GET /settings/mail/{number}
signed in     POST /settings/mail/{number} · POST /settings/mail/{number}/leave
signed in     GET /following · POST /following/feed · POST /follow · POST /mute · POST /read/{paper:path}
signed in     GET /claim/{paper:path} · POST /claim/{paper:path} · GET /collections · POST /collections
signed in     POST /api/collections · PATCH /api/collections/{slug} · DELETE /api/collections/{slug}
signed in     POST /api/collections/{slug}/items · PATCH /api/collections/{slug}/items/{item:path}
signed in     DELETE /api/collections/{slug}/items/{item:path}
signed in     POST /collections/{number}/notes/{paper:path}/report
moderators    POST /collections/{number}/notes/{paper:path}/hide
moderators    POST /collections/{number}/notes/{paper:path}/restore
signed in     POST /collect/{paper:path} · POST /collections/{number}/change · POST /collections/{number}/delete
signed in     POST /vote/{paper:path} · DELETE /vote/{paper:path} · POST /unvote/{paper:path}
signed in     POST /discussion/{paper:path} · GET /remarks/{number}/edit · POST /remarks/{number}/edit
signed in     POST /remarks/{number}/delete · POST /remarks/{number}/rate · POST /research/watches/{number}/remove
moderators    POST /collections/{number}/hide
moderators    POST /remarks/{number}/hide · POST /remarks/{number}/restore · POST /discussions/close
moderators    GET /admin · GET /admin/claims · POST /admin/claims · POST /admin/removed
moderators    GET /admin/reports · POST /admin/reports
moderators    GET /papers/{which:path}/remove · POST /papers/{which:path}/remove · POST /link/{paper:path}
curators      GET /desk · POST /desk · POST /admin/roles · POST /admin/people
curators      GET /admin/people/{login}/remove · POST /admin/people/{login}/remove
"""

TOLD = {
    tuple(one.split(" ", 1)): level.strip()
    for level, routes in re.findall(r"^([a-z ]+?)  +(.*)$", TABLE, re.MULTILINE)
    for one in routes.split(" · ")
}
ALL = {(one.method, one.path): one for one in EVERY}
FIELDS = {
    "login": "somebody", "role": "admin", "paper": PAPER, "claimant": "1", "verdict": "grant", "day": "2026-10-02",
    "act": "pick", "q": "mill", "start": "0", "end": "1", "revision": "x", "grade": "1", "number": "1", "value": "1",
    "url": "https://github.com/ana/look", "address": "new@example.org",
}  # fmt: skip


def test_the_table_has_every_route_that_writes_or_is_not_everybodys() -> None:
    reserved = {key for key, one in ALL.items() if one.method in UNSAFE or one.members or acts_of(one)}
    assert set(TOLD) == reserved


def acts_of(one: Called) -> set[str]:
    """The acts that a route asks for."""
    from importlib import import_module

    from foveal.web.app import ROUTERS

    routes = [route for name in ROUTERS for route in import_module(f"foveal.web.{name}").router.routes]
    found = [route for route in routes if route.path == one.path and one.method in route.methods]
    return {each.call.act for route in found for each in parts(route.dependant) if isinstance(each.call, Needs)}


def test_each_act_is_asked_for_somewhere_and_the_route_that_takes_files_asks_first() -> None:
    assert {act for one in EVERY for act in acts_of(one)} == set(ACTS)
    from foveal.web import library_api, library_pages

    routes = (*library_pages.router.routes, *library_api.router.routes)
    taken = [route for route in routes if isinstance(route, Uploads)]
    assert [(route.path, acts_of(ALL["POST", route.path])) for route in taken if isinstance(route, APIRoute)] == [
        ("/library/add", {"add"}),
        ("/api/library/files", {"add"}),
    ]
    with pytest.raises(KeyError):
        Needs("fly")


@pytest.fixture(scope="module")
def sites(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, FastAPI]]:
    """A site for its members, and one at home."""
    made = {writers: site_for(tmp_path_factory.mktemp(writers), writers) for writers in ("members", "anyone")}
    yield made
    for app in made.values():
        app.state.site.close()


def site_for(home: Path, writers: str) -> FastAPI:
    settings = Settings(home=home, cache=home / "cache", encoder="none")
    options = SiteSettings(writers=writers, search_per_minute=0, api_per_hour=0)
    app = create_app(settings, options, models=OwnModels())
    with_papers(app.state.site.database)
    return app


def mill(app: FastAPI) -> str:
    """The id of the one document; there again, where it was removed."""
    library: Library = app.state.site.library
    library.add_documents([Document.of("x:mill", STORY, "The mill")])
    return library.documents()[0].id


PROGRAMS = ("/api/", "/v1/")
FOR_PROGRAMS = sorted(key for key in TOLD if key[1].startswith(PROGRAMS))


@pytest.mark.parametrize("route", FOR_PROGRAMS, ids=lambda route: f"{route[0]} {route[1]}")
def test_a_token_may_what_its_person_may(sites: dict[str, FastAPI], route: tuple[str, str]) -> None:
    app = sites["members"]
    for who in ("member", "moderator"):
        person = member(app.state.site.database, f"program-{next(NUMBERS)}", who)
        secret = tokens.make(app.state.site.database, person, "test").secret
        program = Visitor(app, headers={"authorization": f"Bearer {secret}"})
        answer = called(program, ALL[route], program_alone=True)
        refused = answer.status_code in (401, 403) or (TOLD[route] == "owner" and answer.status_code == 404)
        assert refused == (who not in LEVELS[TOLD[route]]), (who, answer.status_code, answer.text[:200])
        assert "set-cookie" not in answer.headers


@pytest.mark.parametrize("route", sorted(TOLD), ids=lambda route: f"{route[0]} {route[1]}")
def test_who_may(sites: dict[str, FastAPI], route: tuple[str, str]) -> None:
    for who in WHO:
        browser = browser_of(sites["anyone" if who == "home" else "members"], who)
        answer = called(browser, ALL[route])
        to_sign_in = answer.headers.get("location", "").startswith("/login")
        refused = answer.status_code in (401, 403) or to_sign_in
        if TOLD[route] == "owner":
            refused = refused or answer.status_code == 404  # not even that there is such a run
        assert refused == (who not in LEVELS[TOLD[route]]), (who, answer.status_code, text_of(answer.text)[:200])


def browser_of(app: FastAPI, who: str) -> Visitor:
    """A new browser of somebody new."""
    browser = Visitor(app)
    if who in ("member", "moderator"):
        login = f"new-{next(NUMBERS)}"
        accounts.add(app.state.site.database, f"{login}@example.org", login=login, role=who)
        link = request_link(app.state.site.database, f"{login}@example.org", ip=login, browser="theirs")
        browser.cookies.set(SESSION, use_link(app.state.site.database, link.token, browser="theirs").token)
    return browser


def called(browser: Visitor, one: Called, *, program_alone: bool = False) -> Any:
    """The answer to a form of ours whose fields say little; run and job are somebody else's."""
    site = browser.site
    run = site.research.runs.new("Whose?", options={"sources": ["library"]}, owner=Owner(browser="theirs"))
    key = site.jobs.start(Idle(), whose="person 999").id if "/jobs/" in one.path else run
    which = mill(browser.app) if one.path.removeprefix("/api").startswith("/library") else PAPER
    path = one.address({"paper": PAPER, "number": "1", "token": "x" * 43, "key": key, "which": which})
    if one.path.startswith(PROGRAMS):
        headers = {} if program_alone else {"origin": AT, "sec-fetch-site": "same-origin"}
        body: dict[str, Any] = {"json": {"question": "", "inputs": ""}}
        if one.path.endswith("/files"):
            body = {"files": [("files", ("a.exe", b"\x7fELF"))]}
        return browser.request(one.method, path, headers=headers, **body)
    headers = {"origin": AT, "sec-fetch-site": "same-origin", "x-foveal-token": browser.token()}
    if one.method == "GET":
        return browser.get(path)
    return browser.request(one.method, path, data={name: FIELDS.get(name, "") for name in one.names}, headers=headers)


class Idle:
    """A job that is done at once."""

    title, lane, kind = "Idle", "idle", ""

    def page(self, key: str) -> str:
        return f"/jobs/{key}"

    def __call__(self, job: Job) -> None:
        job.said("Done.")


PAGES = {
    "/library": (r'type="file"', "Sign in to add."),
    "/ask": (r"<textarea", "Sign in to ask."),
    "/library/{which}/read": (r"<textarea", "Sign in to ask."),
    "/research": (r"<textarea", "Sign in to research."),
}
"""Pages with a form, what shows that it is there, and what stands in its place."""


def test_in_the_place_of_a_form_stands_where_to_sign_in(sites: dict[str, FastAPI]) -> None:
    members = sites["members"]
    which = mill(members)
    visitor, member, moderator = (browser_of(members, who) for who in WHO[:3])
    for path, (form, said) in PAGES.items():
        at = path.replace("{which}", which)
        page = visitor.get(at).text
        assert re.search(form, page) is None, path
        assert said in text_of(page), path
        assert f'class="button primary" href="/login?next={at}"' in page, path
        for browser in (member, moderator):
            page = browser.get(at).text
            assert re.search(form, page), path
            assert "Sign in" not in text_of(page), path
    listed = {browser: browser.get("/library").text for browser in (visitor, member, moderator)}
    remove = f"/library/{which}/remove"
    assert [remove in page for page in listed.values()] == [False, False, True]
    assert [remove in browser.get(f"/library/{which}").text for browser in listed] == [False, False, True]
    assert all(f"/library/{which}/read" in page for page in listed.values())  # a visitor learns there what it takes
    assert all("/papers/submit" in browser.get("/papers", follow_redirects=True).text for browser in listed)


def test_who_added_a_document_may_take_it_out_until_somebody_changes_it(sites: dict[str, FastAPI]) -> None:
    site = sites["members"].state.site
    ana, bo = browser_of(sites["members"], "member"), browser_of(sites["members"], "member")
    job = site.jobs.get(ana.submit("/library/add", pasted="Of the weir at the mill, by Ana").headers["location"][6:])
    wait_for(lambda: job.over)
    which = job.work.outcome[0].entry.id
    for browser, may in ((ana, True), (bo, False), (browser_of(sites["members"], "visitor"), False)):
        for page in ("/library", f"/library/{which}"):
            assert (f"/library/{which}/remove" in browser.get(page).text) == may
    assert bo.submit(f"/library/{which}/remove").status_code == 403
    there = site.library.get(which)
    other = f"{there.text} Changed."
    site.library.add_documents([replace(there, text=other, revision=revision_of(other))])
    assert ana.submit(f"/library/{which}/remove").status_code == 403
    site.library.remove(which)
    again = site.jobs.get(ana.submit("/library/add", pasted="Of the weir at the mill, by Ana").headers["location"][6:])
    wait_for(lambda: again.over)
    assert ana.submit(f"/library/{which}/remove").headers["location"] == "/library"
    assert which not in {entry.id for entry in site.library.documents()}


def test_what_is_refused_says_what_to_do(sites: dict[str, FastAPI]) -> None:
    members = sites["members"]
    which = mill(members)
    visitor, member = browser_of(members, "visitor"), browser_of(members, "member")
    refused = visitor.submit("/ask", came_from="/ask?q=who", question="Who?")
    assert refused.status_code == 403
    assert "Sign in first Sign in to ask: visitors of this site may only look." in text_of(refused.text)
    assert 'class="button primary" href="/login?next=/ask%3Fq%3Dwho"' in refused.text
    part = visitor.submit("/ask", came_from="/ask", hx=True, question="Who?")
    assert (part.status_code, part.headers["hx-redirect"]) == (403, "/login?next=/ask")
    told = visitor.post("/api/research/runs", json={"question": "Who?"})
    assert told.status_code == 401
    assert told.json()["error"].startswith("No program may research here")
    assert "Authorization: Bearer" in told.json()["error"]
    told = text_of(visitor.get(f"/library/{which}/remove").text)
    assert "Only whoever added a document, moderators and admins remove it. Sign in as one of them." in told
    told = text_of(member.submit(f"/library/{which}/remove").text)
    assert "Only whoever added a document, moderators and admins remove it. Ask one of them." in told
    assert "Sign in" not in told


def test_where_nobody_writes_a_member_is_not_called_a_visitor(tmp_path: Path) -> None:
    app = site_for(tmp_path, "nobody")
    mill(app)
    visitor, admin = Visitor(app), Visitor(app)
    admin.sign_in("ana", "admin")
    assert "Visitors may look around here, but not ask" in text_of(visitor.get("/ask").text)
    assert "Nobody may ask here, signed in or not" in text_of(admin.get("/ask").text)
    assert "Nobody may add in the browser here." in text_of(admin.get("/library").text)
    told = {browser: text_of(browser.get("/papers/submit").text) for browser in (visitor, admin)}
    assert "Visitors may look around here" in told[visitor]
    assert "Nobody may add papers here, signed in or not." in told[admin]
    assert all("foveal papers add ID" in one and "Sign in first" not in one for one in told.values())
    assert admin.submit("/ask", question="Who?").status_code == 403
    app.state.site.close()


def test_a_member_who_signs_in_comes_back_to_the_form(sites: dict[str, FastAPI]) -> None:
    mill(sites["members"])
    visitor = Visitor(sites["members"])
    visitor.sign_in("back")
    assert "<textarea" in visitor.get("/ask?q=Who").text
    assert "The question is empty" in text_of(visitor.submit("/ask", came_from="/ask", question="").text)


def test_while_sessions_cannot_be_read_nobody_is_told_to_sign_in(sites: dict[str, FastAPI], monkeypatch) -> None:
    def away(*_: object) -> None:
        raise DatabaseError("away")

    member = browser_of(sites["members"], "member")
    token = member.token()
    monkeypatch.setattr("foveal.web.signed_in.session_of", away)
    headers = {"origin": AT, "sec-fetch-site": "same-origin"}
    answer = member.post("/ask", data={"question": "Who?", "token": token}, headers=headers)
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "10")


def test_a_job_is_its_members_wherever_they_are(sites: dict[str, FastAPI]) -> None:
    site = sites["members"].state.site
    ana, bo = browser_of(sites["members"], "member"), browser_of(sites["members"], "member")
    job = site.jobs.get(ana.submit("/library/add", pasted="A text of the mill at the river").headers["location"][6:])
    assert job.whose == f"person {signed_in_as(ana)}"
    refused = bo.submit(f"/jobs/{job.id}/cancel")
    assert (refused.status_code, "So can moderators." in refused.text) == (403, True)
    assert ana.submit(f"/jobs/{job.id}/cancel").status_code == 303
    page = bo.get(f"/jobs/{job.id}")
    assert page.status_code == 200  # its page can be shared
    assert "/cancel" not in page.text


def signed_in_as(browser: Visitor) -> int:
    found = session_of(browser.site.database, browser.cookies[SESSION])
    assert found
    return found[0].id


def test_what_this_machine_began_is_stopped_by_no_stranger(sites: dict[str, FastAPI]) -> None:
    app = sites["anyone"]
    job = app.state.site.jobs.start(Idle())
    assert Visitor(app, client=("9.9.9.9", 1)).submit(f"/jobs/{job.id}/cancel").status_code == 403
    assert Visitor(app).submit(f"/jobs/{job.id}/cancel").status_code == 303


@pytest.mark.parametrize(
    ("asked", "home", "writers"),
    [("", "", "anyone"), ("", "members", "members"), ("nobody", "members", "nobody"), ("", "nobody", "nobody")],
)
def test_a_site_keeps_to_what_its_home_says_unless_it_is_told(
    tmp_path: Path, asked: str, home: str, writers: str
) -> None:
    (tmp_path / "foveal.toml").write_text(f'[web]\nwriters = "{home}"\n', encoding="utf-8")
    app = create_app(Settings(home=tmp_path, cache=tmp_path / "cache"), SiteSettings(writers=asked), models=OwnModels())
    assert app.state.site.options.writers == writers
    app.state.site.close()


def test_writers_are_named() -> None:
    for made in (SiteSettings, WebSettings):
        with pytest.raises(UnknownName, match=r"'membres'\. There are: nobody, members, anyone"):
            made(writers="membres")
