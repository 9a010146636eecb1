"""Signing in and out over HTTP: the mail, the button, the cookies, and what a scanner or a thief gets."""

from __future__ import annotations

import logging
from dataclasses import replace
from urllib.parse import parse_qs, urlsplit

import pytest
from fastapi import FastAPI
from sqlalchemy import select
from visitors import AT, Outbox, Visitor

from foveal.database import Database
from foveal.papers import accounts
from foveal.papers.people_schema import LoginLinkRow
from foveal.papers.schema import now
from foveal.papers.sessions import sessions
from foveal.web.safety import COOKIE as BROWSER
from foveal.web.safety import SESSION
from foveal.web.site import in_the_log


def test_the_whole_way_in_and_out(visitor: Visitor, outbox: Outbox, database: Database) -> None:
    asked = visitor.submit("/login", email=" ana@EXAMPLE.org", next="/papers?q=a")
    assert asked.status_code == 200
    assert "ana@example.org" in asked.text
    assert [mail[0] for mail in outbox] == ["ana@example.org"]
    assert outbox.link.startswith("/login/link/")
    assert outbox.link.rpartition("/")[2] not in asked.text

    button = visitor.get(outbox.link)
    assert "As <strong>ana@example.org</strong>" in button.text
    assert (button.headers["referrer-policy"], button.headers["cache-control"]) == ("no-referrer", "private, no-store")
    key = visitor.cookies[BROWSER]
    entered = visitor.submit("/login/link", link=outbox.link.rpartition("/")[2])
    assert entered.status_code == 303
    welcome = urlsplit(entered.headers["location"])
    assert (welcome.path, parse_qs(welcome.query)["next"]) == ("/settings", ["/papers?q=a"])
    cookies = {one.partition("=")[0]: one.lower() for one in entered.headers.get_list("set-cookie")}
    assert "httponly" in cookies[SESSION]
    assert "samesite=lax" in cookies[SESSION]
    assert f"max-age={30 * 86400}" in cookies[SESSION]
    assert "secure" not in cookies[SESSION]  # on this machine, over http
    assert visitor.cookies[BROWSER] != key  # forms of before are of no use

    person = accounts.find(database, "ana@example.org")
    page = visitor.get("/settings?welcome=1")
    assert person.login in page.text
    assert visitor.get("/login?next=/following").headers["location"] == "/following"
    assert visitor.submit("/logout", came_from="/settings").status_code == 303
    assert SESSION not in visitor.cookies
    assert visitor.get("/settings").headers["location"] == "/login?next=/settings"
    assert sessions(database, person) == []


def test_who_was_added_without_a_name_is_asked_for_one_the_first_time(
    visitor: Visitor, outbox: Outbox, database: Database
) -> None:
    accounts.add(database, "bo@example.org")
    for where in ("/settings", "/papers"):
        visitor.submit("/login", email="bo@example.org", next="/papers")
        entered = visitor.submit("/login/link", link=outbox.link.rpartition("/")[2])
        assert urlsplit(entered.headers["location"]).path == where
        visitor.submit("/logout", came_from="/settings")
    accounts.add(database, "cy@example.org", name="Cy")
    visitor.submit("/login", email="cy@example.org", next="/papers")
    entered = visitor.submit("/login/link", link=outbox.link.rpartition("/")[2])
    assert entered.headers["location"] == "/papers"


@pytest.mark.parametrize(("open_to_all", "said"), [(True, "gets an account"), (False, "Only who was invited")])
def test_the_form_says_who_may_sign_in(app: FastAPI, visitor: Visitor, open_to_all: bool, said: str) -> None:
    site = app.state.site
    site.options = replace(site.options, sign_up=open_to_all)
    page = visitor.get("/login").text
    assert [one for one in ("gets an account", "Only who was invited") if one in page] == [said]


def test_over_https_the_cookies_are_secure(app: FastAPI, outbox: Outbox) -> None:
    visitor = Visitor(app)
    visitor.base_url = "https://localhost"  # type: ignore[assignment]
    token = visitor.get("/login").text.split('data-token="')[1].split('"')[0]
    visitor.post("/login", data={"email": "ana@example.org", "token": token})
    entered = visitor.post("/login/link", data={"link": outbox.link.rpartition("/")[2], "token": token})
    assert all("; secure" in one.lower() for one in entered.headers.get_list("set-cookie"))
    assert "https://localhost/login/link/" in outbox[0][2]


def test_a_scanner_that_opens_every_link_signs_nobody_in(app: FastAPI, visitor: Visitor, outbox: Outbox) -> None:
    visitor.submit("/login", email="ana@example.org")
    scanner = Visitor(app)
    for _ in range(3):
        seen = scanner.get(outbox.link)
        assert seen.status_code == 200
        assert "ana@example.org" not in seen.text
        scanner.head(outbox.link)
        scanner.request("OPTIONS", outbox.link)
    assert SESSION not in scanner.cookies
    assert accounts.people(app.state.site.database) == []
    assert visitor.submit("/login/link", link=outbox.link.rpartition("/")[2]).status_code == 303


def test_replayed_old_replaced_and_made_up_links(
    app: FastAPI, visitor: Visitor, outbox: Outbox, database: Database
) -> None:
    visitor.submit("/login", email="ana@example.org")
    first = outbox.link.rpartition("/")[2]
    visitor.submit("/login", email="ana@example.org")
    second = outbox.link.rpartition("/")[2]
    assert visitor.submit("/login/link", link=first).status_code == 400  # replaced
    assert visitor.submit("/login/link", link=second).status_code == 303
    other = Visitor(app)
    for link in (second, "x" * 43, "", "../../etc/passwd", "%00", "é"):
        answer = other.submit("/login/link", link=link, email="ana@example.org")
        assert answer.status_code == 400
        assert SESSION not in other.cookies
    assert other.get(f"/login/link/{second}").status_code == 410
    visitor.submit("/login", email="bo@example.org")
    third = outbox.link.rpartition("/")[2]
    with database.writing() as session:
        session.query(LoginLinkRow).update({"expires_at": now()})
    assert visitor.get(f"/login/link/{third}").status_code == 410
    assert visitor.submit("/login/link", link=third).status_code == 400


def test_a_stolen_link_alone_is_of_no_use(app: FastAPI, visitor: Visitor, outbox: Outbox) -> None:
    visitor.submit("/login", email="ana@example.org")
    link = outbox.link.rpartition("/")[2]
    thief = Visitor(app)
    assert "ana@example.org" not in thief.get(outbox.link).text
    for email in ("", "eve@example.org", "a@example.org", "b@example.org", "c@example.org"):
        assert thief.submit("/login/link", link=link, email=email).status_code == 400
    tried = thief.submit("/login/link", link=link, email="ana@example.org")
    assert tried.status_code == 429
    assert int(tried.headers["retry-after"]) >= 1
    assert SESSION not in thief.cookies


def test_nobody_is_signed_in_to_a_strangers_account(app: FastAPI, outbox: Outbox) -> None:
    """Mallory sends Ana a link to his account, hoping that she writes there: she would have to type his address."""
    mallory, ana = Visitor(app), Visitor(app)
    mallory.submit("/login", email="mallory@example.org")
    assert ana.submit("/login/link", link=outbox.link.rpartition("/")[2], email="ana@example.org").status_code == 400
    assert SESSION not in ana.cookies


@pytest.mark.parametrize(
    "next_path",
    ["//evil.example", "/\\evil.example", "https://evil.example", "javascript:alert(1)", "/\t/evil.example", ""],
)
def test_next_never_leads_elsewhere(visitor: Visitor, outbox: Outbox, database: Database, next_path: str) -> None:
    accounts.add(database, "ana@example.org", login="ana")
    assert 'name="next" value="/"' in visitor.get("/login", params={"next": next_path}).text
    visitor.submit("/login", email="ana@example.org", next=next_path)
    entered = visitor.submit("/login/link", link=outbox.link.rpartition("/")[2])
    assert entered.headers["location"] == "/"
    assert visitor.get("/login", params={"next": next_path}).headers["location"] == "/"
    assert visitor.get("/settings", params={"welcome": "1", "next": next_path}).status_code == 200
    for form in ("/vote/2605.01234", "/follow"):
        fields = {"kind": "query", "value": "a"} if form == "/follow" else {}
        sent = visitor.submit(form, came_from="//evil.example", **fields)
        assert urlsplit(sent.headers["location"]).netloc == ""
        assert not sent.headers["location"].startswith("//")


def test_the_answer_is_the_same_for_every_address(app: FastAPI, database: Database, outbox: Outbox) -> None:
    site = app.state.site
    site.options = replace(site.options, sign_up=False)
    accounts.add(database, "ana@example.org")
    known, unknown = (
        Visitor(app).submit("/login", email="ana@example.org"),
        Visitor(app).submit("/login", email="bob@example.org"),
    )
    assert known.status_code == unknown.status_code == 200
    assert plain(known.text).replace("ana@", "X@") == plain(unknown.text).replace("bob@", "X@")
    assert sorted(known.headers.keys()) == sorted(unknown.headers.keys())
    assert [mail[0] for mail in outbox] == ["ana@example.org"]


def plain(html: str) -> str:
    return html.replace(html.split('data-token="')[1].split('"')[0], "TOKEN")


def test_links_are_asked_for_five_times_an_hour(visitor: Visitor) -> None:
    answers = [visitor.submit("/login", email="ana@example.org") for _ in range(6)]
    assert [answer.status_code for answer in answers] == [200] * 5 + [429]
    assert 0 < int(answers[-1].headers["retry-after"]) <= 720
    assert "5 links to sign in" in answers[-1].text
    for n in range(14):
        assert visitor.submit("/login", email=f"p{n}@example.org").status_code == 200
    assert visitor.submit("/login", email="q@example.org").status_code == 429  # twenty from here, with the refused one


def test_from_an_office_more_people_ask_for_links(app: FastAPI, visitor: Visitor) -> None:
    site = app.state.site
    site.options = replace(site.options, trusted_proxies=("testclient",))
    site.web = replace(site.web, shared_addresses="203.0.113.9")
    for address, most in (("203.0.113.9", 25), ("198.51.100.1", 20)):
        visitor.headers["x-forwarded-for"] = address
        answers = [visitor.submit("/login", email=f"p{n}@{address}.example").status_code for n in range(25)]
        assert answers == [200] * most + [429] * (25 - most)


def test_behind_a_proxy_that_is_trusted_each_address_has_its_own_limit(app: FastAPI, database: Database) -> None:
    site = app.state.site
    for trusted, most in (((), 20), (("testclient",), 25)):
        site.options = replace(site.options, trusted_proxies=trusted)
        visitor, good = Visitor(app), 0
        for number in range(25):
            headers = {"x-forwarded-for": f"198.51.100.{number}", "origin": AT}
            data = {"email": f"{len(trusted)}-{number}@example.org", "token": visitor.token()}
            good += visitor.post("/login", data=data, headers=headers).status_code == 200
        assert good == most
    with database.reading() as session:
        asked_from = set(session.scalars(select(LoginLinkRow.ip)))
    assert asked_from == {"testclient", *(f"198.51.100.{number}" for number in range(25))}


@pytest.mark.parametrize(
    "email", ["", "ana", "ana@example.org\r\nBcc: eve@example.org", "<script>@example.org", "a" * 400]
)
def test_what_is_no_address_gets_a_clear_page(visitor: Visitor, outbox: Outbox, email: str) -> None:
    answer = visitor.submit("/login", email=email)
    assert answer.status_code == 400
    assert "is no e-mail address" in answer.text
    assert "<script>@" not in answer.text
    assert outbox == []


def test_without_mail_the_link_is_in_the_log(app: FastAPI, visitor: Visitor, caplog: pytest.LogCaptureFixture) -> None:
    app.state.site.deliver = in_the_log
    with caplog.at_level(logging.WARNING, "foveal.web"):
        answer = visitor.submit("/login", email="ana@example.org")
    assert "the link is in the terminal" in answer.text
    assert "http://localhost/login/link/" in caplog.text


def test_mail_that_fails_is_told_to_the_site_and_not_to_the_visitor(
    app: FastAPI, visitor: Visitor, caplog: pytest.LogCaptureFixture
) -> None:
    def fails(address: str, subject: str, text: str) -> None:
        raise ConnectionRefusedError("nobody listens")

    app.state.site.deliver = fails
    assert visitor.submit("/login", email="ana@example.org").status_code == 200
    assert "nobody listens" in caplog.text


def test_a_site_that_does_not_know_its_name_mails_no_links(app: FastAPI, visitor: Visitor, outbox: Outbox) -> None:
    site = app.state.site
    site.options = replace(site.options, hosts=("*",))
    answer = visitor.submit("/login", email="ana@example.org")
    assert answer.status_code == 400
    assert "--url" in answer.text
    site.options = replace(site.options, base_url="https://papers.example.org")
    assert visitor.submit("/login", email="ana@example.org").status_code == 200
    assert "https://papers.example.org/login/link/" in outbox[0][2]


def test_signing_in_again_ends_the_session_of_before(visitor: Visitor, outbox: Outbox, database: Database) -> None:
    person = visitor.sign_in("ana")
    before = visitor.cookies[SESSION]
    visitor.site.deliver = outbox
    visitor.submit("/login", email=person.email)
    visitor.submit("/login/link", link=outbox.link.rpartition("/")[2])
    assert visitor.cookies[SESSION] != before
    assert len(sessions(database, person)) == 1


def test_cookies_that_are_none_are_nobody(app: FastAPI) -> None:
    for cookie in ("x", "x" * 43, "x" * 5_000, "'; DROP TABLE person; --", "%00"):
        other = Visitor(app)
        other.cookies.set(SESSION, cookie)
        assert other.get("/settings").status_code == 303
        assert "Sign in" in other.get("/discussion/2605.01234").text
