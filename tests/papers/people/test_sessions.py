"""Signing in by link: once, in time, by the right person; and nothing that a thief could use."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from members import at_once, member
from sqlalchemy import event, select

from foveal.database import Base, Database
from foveal.errors import InputError, TooMany
from foveal.papers import sessions
from foveal.papers.accounts import find
from foveal.papers.people_schema import LoginLinkRow
from foveal.papers.sessions import SignedIn, local_path, peek, request_link, session_of, use_link

START = datetime(2026, 10, 2, 8, tzinfo=UTC)


def minutes(count: float) -> datetime:
    return START + timedelta(minutes=count)


def asked(database: Database, address: str = "ana@example.org", at: datetime = START, **more: object) -> str:
    return request_link(database, address, browser="hers", ip="192.0.2.1", at=at, **more).token  # type: ignore[arg-type]


def test_a_link_signs_in_once_and_makes_the_account(both: Database) -> None:
    token = asked(both, next_path="/papers?q=a")
    signed = use_link(both, token, browser="hers", at=minutes(14.9))
    assert (signed.is_new, signed.next_path, signed.person.email) == (True, "/papers?q=a", "ana@example.org")
    assert signed.person.verified_at == minutes(14.9)
    assert "ana" not in signed.person.login  # the address is nobody's business
    found = session_of(both, signed.token, at=minutes(15))
    assert found is not None
    assert found[0] == signed.person
    with pytest.raises(InputError, match="was used"):
        use_link(both, token, browser="hers", at=minutes(15))
    again = use_link(both, asked(both, at=minutes(20)), browser="hers", at=minutes(21))
    assert (again.is_new, again.person.id) == (False, signed.person.id)
    assert again.token != signed.token


@pytest.mark.parametrize("why", ["expired", "replaced", "unknown", "empty", "hash"])
def test_a_link_that_is_no_good_is_refused_and_not_told_why(database: Database, why: str) -> None:
    token = asked(database)
    when = minutes(1)
    if why == "expired":
        when = minutes(15)
    elif why == "replaced":
        asked(database, at=minutes(0.5))
    elif why == "hash":  # read from a stolen database
        with database.reading() as session:
            token = session.scalars(select(LoginLinkRow.token_hash)).one()
    else:
        token = {"unknown": token[:-1] + ("A" if token[-1] != "A" else "B"), "empty": ""}[why]
    assert peek(database, token, browser="hers", at=when) is None
    with pytest.raises(InputError) as told:
        use_link(database, token, browser="hers", at=when)
    assert str(told.value) == sessions.UNUSABLE


def test_looking_changes_nothing(database: Database) -> None:
    token = asked(database)
    for _ in range(50):
        assert peek(database, token, browser="a scanner", at=minutes(1)) == sessions.Peeked("ana@example.org", False)
    assert use_link(database, token, browser="hers", at=minutes(2)).is_new


def test_a_stolen_link_needs_the_address_and_can_be_tried_five_times(database: Database) -> None:
    token = asked(database)
    for guess in ("", "eve@example.org", "ana@example.com", "nonsense", "Ana@example.org"):
        with pytest.raises(InputError, match=r"another address|no e-mail address"):
            use_link(database, token, browser="a thief's", typed=guess, at=minutes(1))
    with pytest.raises(TooMany):
        use_link(database, token, browser="a thief's", typed="ana@example.org", at=minutes(1))
    assert use_link(database, token, browser="hers", at=minutes(2)).is_new  # she is not kept out by that


def test_another_browser_may_with_the_address(database: Database) -> None:
    token = asked(database)
    assert use_link(database, token, browser="her phone", typed=" ana@EXAMPLE.org", at=minutes(1)).is_new


def test_one_of_many_at_once_signs_in(both: Database) -> None:
    token = asked(both, at=datetime.now(UTC))
    answers = at_once(lambda _: use_link(both, token, browser="hers"))
    assert sum(isinstance(one, SignedIn) for one in answers) == 1
    assert all(isinstance(one, SignedIn | InputError) for one in answers)


def test_the_same_is_done_for_known_and_unknown_addresses(database: Database) -> None:
    """Time is what the statements take: they are the same ones, in the same order."""
    member(database, "bo")
    told: list[list[str]] = []

    def note(_: object, __: object, statement: str, *___: object) -> None:
        told[-1].append(statement)

    event.listen(database.engine, "before_cursor_execute", note)
    links = []
    for address in ("bo@example.org", "nobody@example.org"):
        told.append([])
        links.append(request_link(database, address, ip="192.0.2.7", open_to_all=False))
    assert told[0] == told[1]
    assert len(told[0]) > 5
    assert [link.send for link in links] == [True, False]
    assert [len(link.token) for link in links] == [43, 43]


def test_links_are_limited_by_address_and_by_network(database: Database) -> None:
    for n in range(5):
        request_link(database, "ana@EXAMPLE.org", ip=f"192.0.2.{n}", at=START)
    with pytest.raises(TooMany, match="this address"):
        request_link(database, "ana@example.org", ip="192.0.2.9", at=START)
    for n in range(20):
        request_link(database, f"p{n}@example.org", ip=f"2001:db8::{n:x}", at=START)  # one household
    with pytest.raises(TooMany, match="from here"):
        request_link(database, "q@example.org", ip="2001:db8::ffff", at=START)
    request_link(database, "q@example.org", ip="2001:db8:0:1::1", at=START)


def test_no_secret_is_in_the_database(database: Database) -> None:
    token = asked(database, at=datetime.now(UTC))
    signed = use_link(database, token, browser="hers")
    other = asked(database, "bo@example.org", at=datetime.now(UTC))
    with database.reading() as session:
        stored = [str(row) for table in Base.metadata.sorted_tables for row in session.execute(select(table))]
    assert len(stored) > 3
    assert not any(secret in row for row in stored for secret in (token, signed.token, other, "hers'"))


def test_sessions_end_after_thirty_days_or_when_told(database: Database) -> None:
    ana = member(database, "ana")
    tokens = [use_link(database, asked(database, at=START), browser="hers", at=START).token for _ in range(3)]
    assert session_of(database, tokens[0], at=START + timedelta(days=29, hours=23)) is not None
    assert session_of(database, tokens[0], at=START + timedelta(days=30)) is None
    keys = [found[1] for found in (session_of(database, token, at=START) for token in tokens) if found]
    sessions.sign_out(database, ana, keys[0])
    assert [session_of(database, token, at=START) is None for token in tokens] == [True, False, False]
    sessions.sign_out(database, replace(ana, id=ana.id + 1), keys[1])  # not theirs
    assert session_of(database, tokens[1], at=START) is not None
    sessions.sign_out(database, ana, but=keys[2])
    assert [one.id for one in sessions.sessions(database, ana, at=START)] == [keys[2]]
    assert session_of(database, "", at=START) is None
    assert session_of(database, "x" * 43, at=START) is None


def test_a_session_is_written_to_once_in_ten_minutes(database: Database) -> None:
    signed = use_link(database, asked(database), browser="hers", at=START)

    def seen() -> datetime:
        return sessions.sessions(database, signed.person, at=START)[0].seen_at

    session_of(database, signed.token, at=minutes(9))
    assert seen() == START
    session_of(database, signed.token, at=minutes(11))
    assert seen() == minutes(11)


def test_old_links_and_sessions_are_forgotten(database: Database) -> None:
    use_link(database, asked(database), browser="hers", at=START)
    asked(database, "bo@example.org", at=START + timedelta(days=31))
    with database.reading() as session:
        assert session.scalars(select(LoginLinkRow.email)).all() == ["bo@example.org"]
    assert sessions.sessions(database, find(database, "ana@example.org"), at=START) == []


@pytest.mark.parametrize(
    "path",
    ["/", "/papers", "/papers?q=a%20b&sort=votes", "/papers/hep-th/9901001#c-1", "/papers?next=https://a.example/b"],
)
def test_a_path_of_this_site_is_followed(path: str) -> None:
    assert local_path(path) == path


@pytest.mark.parametrize(
    "path",
    [
        "//evil.example",
        "///evil.example",
        "/\\evil.example",
        "\\\\evil.example",
        "https://evil.example",
        "https:evil.example",
        "HTTP://evil.example/",
        "javascript:alert(1)",
        "data:text/html,x",
        "evil.example",
        "",
        "/\t/evil.example",
        "/\n/evil.example",
        "\t//evil.example",
        " //evil.example",
        "/ /evil.example",
        "/\x00",
        "/\x7f",
        "/\u2028/evil.example",
        "/a\r\nSet-Cookie: b=c",
        "/./" + "/evil.example",
        "/..//evil.example",
        "/a/../../b",
        "/" + "a" * 600,
        "/\u3002",
        "@evil.example",
        "?next=//evil.example",
    ],
)
def test_what_could_lead_elsewhere_is_not(path: str) -> None:
    assert local_path(path) == "/"
    assert local_path(path, "/login") == "/login"
