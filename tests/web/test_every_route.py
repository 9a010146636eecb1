"""What holds for every route of the site, found by asking the app for its routes: whoever adds one is tested here.

CSRF     nothing that writes takes a request from elsewhere
SSRF     no parameter of any route makes the server ask an address of this machine or of its network
XSS      no parameter comes back as markup
Leading  no parameter leads a browser to another site
Rights   what is a member's is nobody's, and what is a moderator's no member's
Crashes  no value of any parameter is a mistake of the server's
Sizes    no form but the one that takes files may be large, and no form is read in another charset than UTF-8
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

import pytest
from fastapi import FastAPI
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute
from members import PAPER, with_papers
from reading_site import STORY, OwnModels
from servers import Server, page, serving
from visitors import AT, Outbox, Visitor

from foveal.library import Library
from foveal.settings import Settings
from foveal.types import Document
from foveal.web.app import ROUTERS, create_app
from foveal.web.safety import UNSAFE
from foveal.web.signed_in import must_sign_in
from foveal.web.site import SiteSettings

ONE_CLICK = "/u/{token}"
"""The one address that is posted to from elsewhere (RFC 8058); it takes a token that nobody can guess."""

FOR_PROGRAMS = ("/api/", "/v1/")
"""Routes that programs call, without a form's token; a browser of another site is refused all the same."""

XSS = "\"'><script>alert(1)</script><svg onload=alert(1)>"
ELSEWHERE = ("https://evil.example/x", "/\\evil.example")
ODD = ("", "0", "-1", "99999999999999999999", "../../etc/passwd", "a" * 3000, "\ud7ff\u202e", "%", "null", "1e9", "{}")


@dataclass(frozen=True)
class Called:
    """One way to call the site."""

    method: str
    path: str  # as declared
    names: tuple[str, ...]  # of its parameters, but for those in the path
    in_path: tuple[str, ...]
    members: bool

    def address(self, values: dict[str, str]) -> str:
        """Its address with these values in it."""
        return re.sub(r"\{(\w+)(?::path)?\}", lambda found: values.get(found[1], "x"), self.path)


def parts(dependant: Dependant) -> Iterator[Dependant]:
    yield dependant
    for one in dependant.dependencies:
        yield from parts(one)


def every_call() -> list[Called]:
    found = []
    for name in ROUTERS:
        for route in import_module(f"foveal.web.{name}").router.routes:
            assert isinstance(route, APIRoute)
            all_of_it = list(parts(route.dependant))
            names = {one.alias for each in all_of_it for one in (*each.query_params, *each.body_params)}
            in_path = {one.alias for each in all_of_it for one in each.path_params}
            members = any(each.call is must_sign_in for each in all_of_it)
            found += [
                Called(method, route.path, tuple(sorted(names)), tuple(sorted(in_path)), members)
                for method in sorted(route.methods - {"HEAD"})
            ]
    return found


EVERY = every_call()
READS = [one for one in EVERY if one.method == "GET" and not one.path.endswith("/events")]
WRITES = [one for one in EVERY if one.method in UNSAFE and one.path != ONE_CLICK]


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FastAPI]:
    home = tmp_path_factory.mktemp("every-route")
    settings = Settings(home=home, cache=home / "cache", encoder="none")
    made = create_app(settings, SiteSettings(search_per_minute=0, api_per_hour=0), models=OwnModels())
    made.state.site.deliver = Outbox()
    with_papers(made.state.site.database)
    Library.open(settings=settings).add_documents([Document.of("x:mill", STORY, "The mill")])
    yield made
    made.state.site.close()


@pytest.fixture(scope="module")
def known(app: FastAPI) -> dict[str, str]:
    """Values of path parameters for which there is something."""
    visitor_of(app, "ana")
    document = app.state.site.library.documents()[0].id
    of_papers = {"paper": PAPER, "id": PAPER, "number": "1", "token": "x" * 43, "kind": "paper", "name": "cs.CL"}
    return of_papers | {"key": "2026-10-02", "login": "ana", "query": "look", "form": "json", "document": document}


def values_for(one: Called, known: dict[str, str]) -> dict[str, str]:
    which = known["document"] if one.path.removeprefix("/api").startswith("/library") else PAPER
    return known | {"which": which}


def visitor_of(app: FastAPI, login: str = "", role: str = "member") -> Visitor:
    made = Visitor(app, raise_server_exceptions=False)
    if login:
        made.sign_in(login, role)
    return made


def test_the_routes_were_found() -> None:
    assert len(EVERY) > 90
    assert len(WRITES) > 35
    assert {one.path for one in EVERY} >= {"/ask", "/library/add", "/research", "/admin", "/health", "/metrics"}


def test_no_write_is_taken_from_elsewhere(app: FastAPI, known: dict[str, str]) -> None:
    visitor = visitor_of(app, "csrf-admin", "admin")
    theirs = Visitor(app).token()
    for one in WRITES:
        address = one.address(values_for(one, known))
        data = dict.fromkeys(one.names, "x")
        for headers in ({"origin": "https://evil.example"}, {"sec-fetch-site": "cross-site"}, {"origin": "null"}):
            answer = visitor.request(one.method, address, data=data | {"token": visitor.token()}, headers=headers)
            assert answer.status_code in (400, 403), (one, headers, answer.status_code)
        if not one.path.startswith(FOR_PROGRAMS):
            for token in ("", theirs):
                answer = visitor.request(one.method, address, data=data | {"token": token}, headers={"origin": AT})
                assert answer.status_code in (400, 403), (one, token, answer.status_code)


@pytest.fixture(scope="module")
def canary() -> Iterator[Server]:
    with serving({"/secret": page("<p>the secret of the inside</p>")}) as server:
        yield server


def test_no_parameter_makes_the_server_ask_inside(app: FastAPI, known: dict[str, str], canary: Server) -> None:
    visitor = visitor_of(app, "ssrf-admin", "admin")
    addresses = (
        canary.url("/secret"),
        canary.url("/secret", host="localhost"),
        canary.url("/secret", host="[::ffff:127.0.0.1]"),
    )
    for address in addresses:
        for one in EVERY:
            if one.path.endswith("/events") or one.path == "/api/research/solve":
                continue
            data = dict.fromkeys(one.names, address)
            path = one.address(values_for(one, known))
            if one.method == "GET":
                visitor.get(path, params=data)
            else:
                visitor.submit(path, **data)
    for job in app.state.site.jobs.open_jobs():
        app.state.site.jobs.cancel(job)
    assert canary.requests == []
    texts = [app.state.site.library.get(entry.id).text for entry in app.state.site.library.documents()]
    assert not any("secret of the inside" in text for text in texts)


def test_no_parameter_comes_back_as_markup(app: FastAPI, known: dict[str, str]) -> None:
    visitor = visitor_of(app, "xss-admin", "admin")
    pages = 0
    for one in READS:
        for name in one.names:
            answer = visitor.get(one.address(values_for(one, known)), params={name: XSS})
            pages += answer.headers.get("content-type", "").startswith("text/html")
            assert_no_markup(answer, (one, name))
        for name in one.in_path:
            answer = visitor.get(one.address(values_for(one, known) | {name: XSS}))
            assert_no_markup(answer, (one, name))
    for one in WRITES:
        for name in one.names:
            answer = visitor.submit(one.address(values_for(one, known)), **{name: XSS})
            assert_no_markup(answer, (one, name))
    assert pages > 30


def assert_no_markup(answer: object, where: object) -> None:
    kind = answer.headers.get("content-type", "")  # type: ignore[attr-defined]
    if kind.startswith(("text/html", "image/svg", "application/xml", "application/atom")):
        text = answer.text  # type: ignore[attr-defined]
        assert "<script>alert" not in text, where
        assert "<svg onload" not in text, where
    assert answer.headers["x-content-type-options"] == "nosniff"  # type: ignore[attr-defined]


def test_no_parameter_leads_elsewhere(app: FastAPI, known: dict[str, str]) -> None:
    visitor = visitor_of(app, "led-admin", "admin")
    for address in ELSEWHERE:
        for one in EVERY:
            if one.path.endswith("/events") or one.path == "/api/research/solve":
                continue
            data = dict.fromkeys(one.names, address)
            path = one.address(values_for(one, known))
            sent = visitor.get(path, params=data) if one.method == "GET" else visitor.submit(path, **data)
            where = sent.headers.get("location", "/")
            assert re.match(r"/(?![/\\])|https?://localhost[:/]", where) or where == "http://localhost", (one, where)
            assert "evil.example" not in re.sub(r"[?#].*", "", where), (one, where)


def test_what_is_a_members_is_nobodys(app: FastAPI, known: dict[str, str]) -> None:
    nobody = visitor_of(app)
    of_members = [one for one in EVERY if one.members]
    assert len(of_members) > 25
    for one in of_members:
        path, data = one.address(values_for(one, known)), dict.fromkeys(one.names, "1")
        headers = {"origin": AT, "sec-fetch-site": "same-origin", "x-foveal-token": nobody.token()}
        given = {"params": data} if one.method == "GET" else {"data": data, "headers": headers}
        sent = nobody.request(one.method, path, **given)
        assert sent.status_code in (303, 400, 401), (one, sent.status_code)
        if sent.status_code == 303:
            assert sent.headers["location"].startswith("/login"), one


def test_what_is_a_moderators_is_no_members(app: FastAPI, known: dict[str, str]) -> None:
    member, admin = visitor_of(app, "only-member"), visitor_of(app, "real-admin", "admin")
    reserved = [one for one in EVERY if one.path.startswith(("/admin", "/desk", "/discussions/close"))]
    assert len(reserved) >= 6
    for one in reserved:
        path = one.address(values_for(one, known))
        if one.method == "GET":
            assert member.get(path).status_code == 403, one
            assert admin.get(path).status_code == 200, one
        else:
            fields = {"login": "only-member", "role": "admin", "paper": PAPER, "claimant": "1", "verdict": "grant"}
            fields |= {"day": "2026-10-02", "act": "pick", "sure": "yes"}
            assert member.submit(path, **fields).status_code in (400, 403), one


def test_where_visitors_may_only_look_they_write_nothing(tmp_path: Path, known: dict[str, str]) -> None:
    settings = Settings(home=tmp_path, cache=tmp_path / "cache", encoder="none")
    app = create_app(settings, SiteSettings(writers="nobody"), models=OwnModels())
    with_papers(app.state.site.database)
    added = Library.open(settings=settings).add_documents([Document.of("x:mill", STORY, "The mill")]).added
    visitor = visitor_of(app)
    for one in WRITES:
        if one.path.startswith(("/library", "/ask", "/research", *FOR_PROGRAMS)):
            path = one.address(known | {"which": added[0]})
            fields = {"question": "Who?", "source": "library", "pasted": "A text that is long enough"}
            headers = {"origin": AT, "sec-fetch-site": "same-origin"}
            sent = visitor.request(one.method, path, data=fields | {"token": visitor.token()}, headers=headers)
            to_sign_in = one.members and sent.headers.get("location", "").startswith("/login")
            assert sent.status_code in (400, 401, 403, 404) or to_sign_in, (one, sent.status_code)
    assert app.state.site.jobs.open_jobs() == []
    assert [entry.id for entry in app.state.site.library.documents()] == added
    app.state.site.close()


def test_no_value_of_a_parameter_is_a_mistake_of_the_server(app: FastAPI, known: dict[str, str]) -> None:
    visitor = visitor_of(app, "odd-admin", "admin")
    wrong = []

    def look(one: Called, values: dict[str, str], **given: str) -> None:
        status = visitor.get(one.address(values), params=given).status_code
        if status >= 500 and status != 503:
            wrong.append((one.path, given, status))

    for place, one in enumerate(READS):
        values = values_for(one, known)
        for odd in ODD:
            look(one, values, **dict.fromkeys(one.names, odd))
        for odd in ODD[place % 3 :: 3]:  # of each three routes in a row one gets it in its path
            for name in one.in_path:
                look(one, values | {name: odd})
    assert wrong == []


def test_no_form_is_large_but_the_one_that_takes_files(app: FastAPI, known: dict[str, str]) -> None:
    visitor = visitor_of(app, "large-admin", "admin")
    many = "application/x-www-form-urlencoded", b"&" * 300_000
    head = b'--B\r\nContent-Disposition: form-data; name="files"; filename="a.txt"\r\n\r\n'
    file = "multipart/form-data; boundary=B", head + b"a" * 300_000 + b"\r\n--B--\r\n"
    for one in WRITES:
        address = one.address(values_for(one, known))
        for kind, body in (many, file):
            answer = visitor.request(one.method, address, content=body, headers={"content-type": kind})
            taken = {"/library/add": 403, "/api/library/files": 202} if kind == file[0] else {}
            assert answer.status_code == taken.get(one.path, 413), (one, kind, answer.status_code)


@pytest.mark.parametrize(
    "charset",
    ["charset=utf-7", 'Charset="UTF-7"', "charset*=us-ascii'en'utf-7", "charset=utf-8; charset=unicode_escape"],
)
def test_no_form_is_read_in_a_charset_of_its_own(app: FastAPI, known: dict[str, str], charset: str) -> None:
    """UTF-7 writes NUL as "+AAA-", half a character as "+2AA-": no page and no database takes either."""
    visitor = visitor_of(app)
    kind = f"multipart/form-data; boundary=B; {charset}"
    for one in WRITES:
        parts = {**dict.fromkeys(one.names, "what +2AA- and +AAA- are"), "token": visitor.token()}
        body = "".join(
            f'--B\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n' for name, value in parts.items()
        )
        address = one.address(values_for(one, known))
        content = f"{body}--B--\r\n".encode()
        answer = visitor.request(one.method, address, content=content, headers={"content-type": kind, "origin": AT})
        assert answer.status_code == 415, (one, kind, answer.status_code)


@pytest.mark.parametrize("charset", ["utf-8", '"UTF-8"'])
def test_a_form_that_says_that_it_is_utf_8_is_read(app: FastAPI, charset: str) -> None:
    visitor = visitor_of(app)
    body = f'--B\r\nContent-Disposition: form-data; name="token"\r\n\r\n{visitor.token()}\r\n--B--\r\n'
    headers = {"content-type": f"multipart/form-data; charset={charset}; boundary=B", "origin": AT}
    assert "The question is empty" in visitor.request("POST", "/ask", content=body.encode(), headers=headers).text
