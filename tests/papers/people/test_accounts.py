"""Addresses, logins, names and roles."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from members import at_once, member

from foveal.database import Database
from foveal.errors import InputError, NotAllowed, UnknownName, UnknownPaper
from foveal.papers import accounts, follows, personal_data
from foveal.papers.accounts import Person
from foveal.papers.mail_addresses import canonical
from foveal.papers.moderation import audit


@pytest.mark.parametrize(
    ("given_address", "expected"),
    [
        ("ana@example.org", "ana@example.org"),
        ("  Ana+Papers@EXAMPLE.Org ", "Ana+Papers@example.org"),
        ("ana@straße.example", "ana@xn--strae-oqa.example"),
        ("ana@BÜCHER.example", "ana@xn--bcher-kva.example"),
        ("o'neil.b-c_d@a.b.example", "o'neil.b-c_d@a.b.example"),
    ],
)
def test_only_the_domain_is_changed(given_address: str, expected: str) -> None:
    assert canonical(given_address) == expected
    assert canonical(expected) == expected


@pytest.mark.parametrize(
    "address",
    [
        "",
        "ana",
        "@example.org",
        "ana@",
        "ana@localhost",
        "ana@192.0.2.1",
        "a b@example.org",
        "ana@exa mple.org",
        "ana@example..org",
        ".ana@example.org",
        "ana.@example.org",
        "a..b@example.org",
        "ana@-a.example",
        "ana@example.org\r\nBcc: eve@example.org",
        "ana\x00@example.org",
        "ana@evil.example@example.org>",
        "<ana@example.org>",
        "Ana <ana@example.org>",
        "ana,eve@example.org",
        "an\u202ea@example.org",
        "a" * 65 + "@example.org",
        "ana@" + "a." * 150 + "org",
        "ana@\u2024example.org".replace("example", ""),
    ],
)
def test_what_is_no_address_is_refused(address: str) -> None:
    with pytest.raises(InputError, match="no e-mail address"):
        canonical(address)


@given(st.text(max_size=60))
def test_any_text_is_an_address_or_refused(text: str) -> None:
    try:
        address = canonical(text)
    except InputError:
        return
    assert canonical(address) == address
    assert address.isascii()
    assert not set(address) & set(' \r\n<>,;"\\')


def test_capitals_before_the_at_are_another_person(database: Database) -> None:
    accounts.add(database, "ana@example.org", login="ana")
    accounts.add(database, "Ana@example.org", login="ana2")
    with pytest.raises(InputError, match="has an account already"):
        accounts.add(database, "ana@EXAMPLE.org")
    assert accounts.find(database, "Ana@Example.org").login == "ana2"


def test_of_many_at_once_with_one_address_one_is_added(both: Database) -> None:
    answers = at_once(lambda _: accounts.add(both, "ana@example.org"), times=6)
    assert sum(isinstance(one, Person) for one in answers) == 1
    assert len(accounts.people(both)) == 1


@pytest.mark.parametrize("login", ["", "a", "1abc", "a_b", "Ana B", "admin", "deleted", "deleted-7", "a--b", "a" * 41])
def test_a_login_that_is_none_is_refused(database: Database, login: str) -> None:
    ana = member(database, "ana")
    with pytest.raises(InputError, match="cannot be a login"):
        accounts.rename(database, ana, login=login, name="")


def test_a_login_is_taken_once(database: Database) -> None:
    ana, _ = member(database, "ana"), member(database, "bo")
    with pytest.raises(InputError, match="is taken"):
        accounts.rename(database, ana, login="BO", name="")
    assert accounts.rename(database, ana, login="ana-f", name="  Ana\u202e  \x00Ferreira\n").name == "Ana Ferreira"
    assert accounts.find(database, "ANA-F").shown == "Ana Ferreira"
    with pytest.raises(UnknownPaper, match="Nobody here"):
        accounts.find(database, "ana")


def test_ones_own_login_in_capitals_is_no_other(database: Database) -> None:
    ana = member(database, "ana")
    assert accounts.rename(database, ana, login=" Ana", name="Ana F.").shown == "Ana F."
    assert accounts.find(database, "ana").login == "ana"


def test_who_is_muted_stays_muted_under_another_login(database: Database) -> None:
    ana, bo, cy = (member(database, one) for one in ("ana", "bo", "cy"))
    for who, words in ((bo, "@ana"), (cy, "@ana"), (cy, "@ana-f"), (cy, "@anatomy")):
        follows.mute(database, who, words)
    accounts.rename(database, ana, login="ana-f", name="")
    assert (follows.mutes(database, bo), follows.mutes(database, cy)) == (["@ana-f"], ["@ana-f", "@anatomy"])
    personal_data.erase(database, ana)
    assert (follows.mutes(database, bo), follows.mutes(database, cy)) == ([], ["@anatomy"])


@pytest.mark.parametrize("name", ["=?utf-8?q?x=0d=0aReply-To:_evil@x.org?=", "a =\u200b?utf-8?q?b?="])
def test_a_name_that_mail_would_decode_is_refused(database: Database, name: str) -> None:
    ana = member(database, "ana")
    with pytest.raises(InputError, match=r"Leave =\? out"):
        accounts.rename(database, ana, login="ana", name=name)
    assert accounts.rename(database, ana, login="ana", name="a = b?").name == "a = b?"


def test_roles_are_given_by_admins_and_written_down(database: Database) -> None:
    root, ana = member(database, "root-a", "admin"), member(database, "ana", "moderator")
    with pytest.raises(NotAllowed, match="by an admin only"):
        accounts.set_role(database, "ana", "admin", by=ana)
    with pytest.raises(NotAllowed, match="the only admin"):
        accounts.set_role(database, "root-a", "member", by=root)
    with pytest.raises(UnknownName, match="There are: member, curator, moderator, admin"):
        accounts.set_role(database, "ana", "king", by=root)
    made = accounts.set_role(database, "ana", "curator", by=root)
    assert (made.may("curate"), made.may("moderate"), made.may("administer")) == (True, False, False)
    first = audit(database)[0]
    assert (first.actor, first.action, first.target, first.detail) == (
        "root-a",
        "set role",
        "person:ana",
        "moderator -> curator",
    )
    assert [act.target for act in audit(database, target="person:ana")] == ["person:ana", "person:ana"]
