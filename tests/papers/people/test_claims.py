"""Who is believed to have written a paper, and by what."""

from __future__ import annotations

import shutil
from datetime import UTC, datetime, timedelta

import pytest
from members import PAPER, member, record
from sqlalchemy import update

from foveal.database import Database
from foveal.errors import NotAllowed, UnknownPaper
from foveal.papers import claims, profiles
from foveal.papers.claims import address_in, claim, decide, withdraw
from foveal.papers.moderation import audit
from foveal.papers.schema import AuthorRow
from foveal.papers.store import PaperStore
from foveal.papers.upserts import upsert
from foveal.settings import Settings
from foveal.types import Document


def places(database: Database) -> list[tuple[int | None, str]]:
    return [(one.person_id, one.status) for one in PaperStore(database).get(PAPER).authors]


@pytest.mark.parametrize(
    "text",
    [
        "Mail: ana@example.org.",
        "<ANA@Example.ORG>",
        "{ana, bo}@example.org",
        "{bo,ana,cy}@example.org and others",
        "[bo | ana] @ example.org",
        "(ana/bo)@example.org",
        "ana @ example.org",
    ],
)
def test_an_address_that_stands_in_the_paper_is_seen(text: str) -> None:
    assert address_in("ana@example.org", text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "hana@example.org",
        "x.ana@example.org",
        "x-ana@example.org",
        "ana@example.org.evil.example",
        "ana@example.orgs",
        "ana@example-org",
        "ana+x@example.org",
        "{hana, bo}@example.org",
        "{ana, bo}@example.com",
        "{ana}{bo}@example.org",
        "an.a@example.org",
    ],
)
def test_one_that_only_resembles_it_is_not(text: str) -> None:
    assert not address_in("ana@example.org", text)


def test_an_address_with_signs_of_patterns_is_taken_as_it_is() -> None:
    assert not address_in("a.b@example.org", "axb@example.org a.b@exampleXorg")
    assert address_in("a.b+c@example.org", "a.b+c@example.org")
    assert not address_in("{x}@example.org", "{a}@example.org")


def test_evidence_is_believed_at_once(database: Database) -> None:
    bo = member(database, "bo", domain="lab.example")  # the listing names {bo, lea}@lab.example
    assert claim(database, bo, PAPER, 1) == "granted"
    assert places(database) == [(None, "none"), (bo.id, "claimed_verified")]
    assert audit(database)[0].action == "grant claim"
    ana = member(database, "ana")
    assert claim(database, ana, PAPER, 0) == "open"
    assert claim(database, ana, PAPER, 0, text="written by ana@example.org") == "granted"
    assert places(database)[0] == (ana.id, "claimed_verified")


def test_evidence_takes_no_place_from_another(database: Database) -> None:
    bo, lea = member(database, "bo", domain="lab.example"), member(database, "lea", domain="lab.example")
    claim(database, lea, PAPER, 0)
    assert claim(database, bo, PAPER, 0) == "open"
    assert claims.claims(database)[0].holder == "lea"
    mo = member(database, "mo", "moderator")
    decide(database, PAPER, bo.id, granted=True, by=mo)
    assert places(database)[0] == (bo.id, "claimed")
    assert [one.person.login for one in claims.claims(database, state="refused")] == ["lea"]


def test_a_moderator_decides_and_it_is_written_down(database: Database) -> None:
    ana, mo = member(database, "ana"), member(database, "mo", "moderator")
    claim(database, ana, PAPER, 0, reason="My page says so.")
    (waiting,) = claims.claims(database)
    assert (waiting.author, waiting.person.login, waiting.reason) == ("Léa Martin", "ana", "My page says so.")
    with pytest.raises(NotAllowed, match="by a moderator only"):
        decide(database, PAPER, ana.id, granted=True, by=ana)
    decide(database, PAPER, ana.id, granted=False, by=mo, reason="No.")
    assert places(database)[0] == (None, "none")
    with pytest.raises(NotAllowed, match="refused this claim"):
        claim(database, ana, PAPER, 0)
    withdraw(database, ana, PAPER)
    with pytest.raises(NotAllowed, match="refused"):
        claim(database, ana, PAPER, 0)
    decide(database, PAPER, ana.id, granted=True, by=mo)
    assert places(database)[0] == (ana.id, "claimed")
    acts = [(act.actor, act.action, act.detail) for act in audit(database, target=f"paper:{PAPER}")]
    assert acts == [("mo", "grant claim", "ana is author 1."), ("mo", "refuse claim", "ana is author 1. No.")]
    withdraw(database, ana, PAPER)
    assert places(database)[0] == (None, "none")


def test_nobody_decides_about_themselves_but_an_admin(database: Database) -> None:
    mo, root = member(database, "mo", "moderator"), member(database, "root-a", "admin")
    for person in (mo, root):
        claim(database, person, PAPER, 0)
    with pytest.raises(NotAllowed, match="another moderator"):
        decide(database, PAPER, mo.id, granted=True, by=mo)
    decide(database, PAPER, root.id, granted=True, by=root)
    with pytest.raises(UnknownPaper, match="no such claim"):
        decide(database, PAPER, 999, granted=True, by=root)


@pytest.mark.parametrize("position", [-1, 2, 10**12])
def test_a_place_that_is_not_there_is_not_claimed(database: Database, position: int) -> None:
    with pytest.raises(UnknownPaper, match="no author at that place"):
        claim(database, member(database, "ana"), PAPER, position)


def test_the_text_of_a_paper_is_the_librarys(own_settings: Settings) -> None:
    from foveal.library import Library

    assert claims.library_text(own_settings, PAPER) == ""
    settings = Settings(home=own_settings.home, cache=own_settings.cache, encoder="none")
    text = "Where to look.\n\nWrite to ana@example.org."
    Library.open(settings=settings).add_documents([Document.of(f"arxiv:{PAPER}", text, "Where to look")])
    assert claims.library_text(settings, PAPER) == text
    assert claims.library_text(settings, "2605.09999") == ""
    assert claims.library_text(settings, "title-0123456789ab") == ""


def test_a_profile_shows_the_newest_of_many_papers(database: Database) -> None:
    ana, first = member(database, "ana"), datetime(2026, 1, 1, tzinfo=UTC)
    days = range(profiles.MOST + 5)
    upsert(database, [record(f"2601.{n:05d}", f"Paper {n}", published_at=first + timedelta(days=n)) for n in days])
    with database.writing() as session:
        wrote = update(AuthorRow).where(AuthorRow.paper_id.startswith("2601."), AuthorRow.position == 0)
        session.execute(wrote.values(person_id=ana.id, status="claimed"))
    shown = [paper.id for paper in profiles.profile(database, "ana").papers]
    assert shown == [f"2601.{n:05d}" for n in reversed(days)][: profiles.MOST]


def test_a_library_that_cannot_be_asked_for_a_text_is_told_of(own_settings: Settings, caplog) -> None:
    from foveal.library import Library

    settings = Settings(home=own_settings.home, cache=own_settings.cache, encoder="none")
    Library.open(settings=settings).add_documents([Document.of(f"arxiv:{PAPER}", "Where to look.", "Where to look")])
    shutil.rmtree(settings.library / "documents.lance")
    assert claims.library_text(settings, PAPER) == ""  # a person decides
    assert "lacks its table documents" in caplog.text
