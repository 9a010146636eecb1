"""The spec's list of what must not work (§7 and check 4), on every route of people."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from importlib import import_module

import pytest
from fastapi import FastAPI
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute
from lxml import html as parser
from members import PAPER
from visitors import AT, Visitor

from foveal.database import Database
from foveal.papers import discussion
from foveal.web.app import ROUTERS
from foveal.web.safety import HEADERS, UNSAFE, guarded
from foveal.web.signed_in import ours

MODULES = (
    "login_pages", "people_pages", "collection_pages", "vote_routes", "discussion_routes", "admin_pages", "desk_pages",
    "mail_pages", "mail_settings",
)  # fmt: skip
ONE_CLICK = "/u/{token}"
"""The one address that a provider of mail posts to, without cookie or form token (RFC 8058)."""
FIELDS = {
    "text": "Written by a stranger",
    "email": "ana@example.org",
    "link": "x",
    "login": "eve",
    "which": "others",
    "kind": "query",
    "value": "1",
    "words": "survey",
    "sure": "ana",
    "paper": PAPER,
    "role": "admin",
    "claimant": "1",
    "verdict": "grant",
    "day": "2026-10-02",
    "act": "pick",
    "position": "0",
}


def routes() -> Iterator[tuple[str, str]]:
    """Method and address of every route of people that is not a plain GET."""
    for name in MODULES:
        for route in import_module(f"foveal.web.{name}").router.routes:
            assert isinstance(route, APIRoute)
            for method in sorted(route.methods & UNSAFE if route.path != ONE_CLICK else ()):
                yield method, route.path.replace("{paper:path}", PAPER).format(number=1, token="x" * 43, login="eve")


WRITES = sorted(set(routes()))


def everything(database: Database) -> str:
    from sqlalchemy import select

    from foveal.database import Base

    with database.reading() as session:
        seen = {"session_key"}  # when it was last used
        tables = [table for table in Base.metadata.sorted_tables if table.name not in seen]
        return str([[tuple(row) for row in session.execute(select(table))] for table in tables])


def test_there_are_routes_that_write() -> None:
    assert len(WRITES) >= 20
    assert ("POST", f"/vote/{PAPER}") in WRITES
    assert ("DELETE", f"/vote/{PAPER}") in WRITES


def test_every_route_of_the_site_that_writes_asks_where_a_request_comes_from_but_one() -> None:
    """Those of other modules, too: whoever adds one and forgets is told here."""
    asks_nobody = [
        route.path
        for name in ROUTERS
        for route in import_module(f"foveal.web.{name}").router.routes
        if isinstance(route, APIRoute) and route.methods & UNSAFE and not {guarded, ours} & set(calls(route.dependant))
    ]
    assert asks_nobody == [ONE_CLICK]


def calls(dependant: Dependant) -> Iterator[object]:
    """All that runs before a route."""
    yield dependant.call
    for one in dependant.dependencies:
        yield from calls(one)


def forgeries(ours: str, others: str) -> list[tuple[dict[str, str], str]]:
    """Headers and token: none, another browser's, a cut one; a forged origin; another site or port."""
    here = {"origin": AT, "sec-fetch-site": "same-origin"}
    return [
        (here, ""),
        (here, others),
        (here, ours[:-1]),
        ({"origin": "https://evil.example"}, ours),
        ({"origin": "null"}, ours),
        ({"origin": "http://["}, ours),
        ({"origin": "http://localhost:1"}, ours),
        ({"origin": "http://localhost.evil.example"}, ours),
        ({"sec-fetch-site": "cross-site"}, ours),
        ({"sec-fetch-site": "same-site", "origin": AT}, ours),
    ]


def test_nothing_is_written_but_by_our_own_pages(app: FastAPI, visitor: Visitor, database: Database) -> None:
    """By any route that writes, with the token in the form or in the header."""
    visitor.sign_in("root-a", "admin")
    visitor.submit(f"/discussion/{PAPER}", text="A remark to act upon")
    forged = forgeries(visitor.token(), Visitor(app).token())
    before = everything(database)
    for method, path in WRITES:
        for headers, token in forged:
            in_form = {"data": {**FIELDS, "token": token}, "headers": headers}
            for body in (in_form, {"headers": {**headers, "x-foveal-token": token}}):
                assert visitor.request(method, path, **body).status_code in (400, 403), (method, path, headers, token)
    assert everything(database) == before


def test_a_body_that_is_too_large_is_refused_before_it_is_read(visitor: Visitor) -> None:
    headers = {"content-type": "application/x-www-form-urlencoded"}
    for method, path in WRITES:
        started = time.process_time()
        answer = visitor.request(method, path, content=b"text=" + b"a" * 300_000, headers=headers)
        assert answer.status_code == 413, (method, path)
        pieces = (b"a=" + b"b" * 60_000 + b"&" for _ in range(50))  # says no length
        assert visitor.request(method, path, content=pieces, headers=headers).status_code in (403, 413), (method, path)
        assert time.process_time() - started < 2


def test_a_get_changes_nothing(app: FastAPI, visitor: Visitor, database: Database) -> None:
    visitor.sign_in("root-a", "admin")
    visitor.submit(f"/discussion/{PAPER}", text="A remark to act upon")
    before = everything(database)
    for _, path in WRITES:
        answer = visitor.get(path, params=FIELDS)
        assert answer.status_code in (200, 303, 400, 404, 405, 410), path
    assert everything(database) == before


def test_every_page_carries_the_headers_and_no_inline_script_or_style(app: FastAPI, visitor: Visitor) -> None:
    visitor.sign_in("root-a", "admin")
    visitor.submit(f"/discussion/{PAPER}", text="A *remark*")
    paths = ("/settings", "/following", "/admin", "/admin/claims", "/desk", f"/claim/{PAPER}", f"/discussion/{PAPER}")
    for path in (*paths, "/people/root-a", "/remarks/1/edit"):
        answer = visitor.get(path)
        assert answer.status_code == 200, path
        assert answer.headers.items() >= HEADERS.items()
        assert not re.search(r"<script(?![^>]* src=)|<style|\sstyle=|\son\w+=|javascript:", answer.text), path
        assert answer.headers["cache-control"] == f"private, no-{'cache' if 'people' in path else 'store'}", path
    assert 'content="' in Visitor(app).get("/login").text


def live(html: str) -> list[str]:
    """What would run, or send something by itself, in a page: as a browser reads it."""
    found = []
    for element in parser.fromstring(html).iter():
        names = [
            name for name in element.attrib if name.startswith("on") or element.get(name, "").startswith("javascript:")
        ]
        sends = element.get("hx-trigger") or element.get("hx-post") == "/settings/delete"
        if names or sends or (element.tag == "script" and not element.get("src", "").startswith("/static/")):
            found.append(parser.tostring(element, encoding="unicode")[:200])
    return found


def test_what_is_live_is_seen() -> None:
    for html in (
        "<p onclick=x>a</p>",
        "<script>x</script>",
        "<a href='javascript:x'>a</a>",
        "<b hx-trigger=load>a</b>",
    ):
        assert live(f"<body>{html}</body>")


@pytest.mark.parametrize(
    "text",
    [
        "<script>alert(1)</script>",
        "<svg/onload=alert(1)>",
        "[a](javascript:alert(1))",
        "![a](data:image/svg+xml,<svg onload=alert(1)>)",
        "<a href=x hx-post=/settings/delete hx-trigger=load>a</a>",
        "$\\text{<img src=x onerror=alert(1)>}$",
        "</textarea><script>alert(1)</script>",
    ],
)
def test_hostile_remarks_are_text_wherever_they_are_shown(app: FastAPI, visitor: Visitor, text: str) -> None:
    visitor.sign_in("root-a", "admin")
    page = f"/discussion/{PAPER}"
    visitor.submit("/settings/name", login="root-a", name=f"{text[:60]}")
    assert visitor.submit(page, text=text).status_code == 303
    clean = visitor.get("/settings").text
    for shown in (
        visitor.get(page),
        visitor.get("/people/root-a"),
        visitor.get("/remarks/1/edit"),
        visitor.submit(page, text=text, preview="yes"),
        visitor.submit("/remarks/1/hide", came_from="/admin", reason=text) and visitor.get("/admin"),
    ):
        assert live(shown.text) == []
    assert "<script>alert" not in clean


def test_hostile_papers_are_text_in_our_pages(visitor: Visitor, database: Database) -> None:
    from members import record

    from foveal.papers.upserts import upsert

    evil = "<script>alert(1)</script>\x00\x0b \u202e $x$"
    upsert(database, [record("2605.04444", evil, abstract=evil, authors=())])
    visitor.sign_in("root-a", "admin")
    visitor.submit("/follow", kind="category", value="cs.CL")
    for path in ("/discussion/2605.04444", "/claim/2605.04444", "/desk", "/following"):
        assert "<script>alert" not in visitor.get(path).text
    address = visitor.get("/following").text.split("/following/feed/")[1].split(".xml")[0]
    import feedparser

    feed = feedparser.parse(visitor.get(f"/following/feed/{address}.xml").content)
    assert not feed.bozo
    assert "alert(1)" in feed.entries[0].title + feed.entries[1].title


def test_an_hour_of_markdown_takes_no_hour(visitor: Visitor, database: Database) -> None:
    visitor.sign_in("ana")
    page = f"/discussion/{PAPER}"
    for text in ("[" * 10_000, "![a](" * 2_000, "> " * 5_000, "*a_ " * 2_500, "$\\frac{" * 1_400, "<" * 10_000):
        started = time.process_time()
        assert visitor.submit(page, text=text).status_code == 303
        assert time.process_time() - started < 2
    assert visitor.submit(page, text="a" * 10_001).status_code == 400
    assert visitor.submit(page, text="[" * 1_000_000).status_code == 413
    assert discussion.discussion(database, PAPER).count == 6
    assert len(visitor.get(page).content) < 400_000


@pytest.mark.parametrize("header", ["referer", "hx-current-url"])
def test_an_address_that_is_none_leads_to_a_page_of_ours(visitor: Visitor, header: str) -> None:
    visitor.sign_in("ana")
    headers = {"sec-fetch-site": "same-origin", header: "http://["}
    answer = visitor.post("/mute", data={"words": "survey", "token": visitor.token()}, headers=headers)
    assert (answer.status_code, answer.headers["location"]) == (303, "/settings")
