"""Reporting a remark or a paper, and the moderators' list of what was reported."""

from __future__ import annotations

import pytest
from fastapi import FastAPI
from members import OTHER, PAPER
from reading_site import text_of
from visitors import Visitor

from foveal.errors import DatabaseError
from foveal.papers import claims, collecting, discussion, moderation
from foveal.papers.person import Person


@pytest.fixture
def people(app: FastAPI) -> tuple[Visitor, Visitor, Person, Person]:
    """Browsers of a member and a moderator."""
    ana, mod = Visitor(app), Visitor(app)
    return ana, mod, ana.sign_in("ana"), mod.sign_in("mod", "moderator")


def test_a_remark_is_reported_where_it_stands_and_hidden_from_the_list(
    app: FastAPI, people: tuple[Visitor, Visitor, Person, Person]
) -> None:
    ana, mod, _, moderator = people
    database = app.state.site.database
    spam = Visitor(app).sign_in("spam")
    said = discussion.remark(database, spam, PAPER, "Buy <b>this</b>")
    here = f"/discussion/{PAPER}"
    assert f'action="/remarks/{said}/report"' in ana.get(here).text
    assert f'action="/remarks/{said}/report"' not in mod.get(here).text  # who hides it at once
    assert "/report" not in Visitor(app).get(here).text
    assert "waits" not in mod.get(here).text
    done = ana.submit(f"/remarks/{said}/report", came_from=here, reason="advertising")
    assert done.headers["location"] == f"{here}#c-{said}"
    assert "Reported to the moderators" in ana.get(here).text

    assert 'class="waits" href="/admin/reports"' in mod.get(here).text
    assert 'class="waits"' not in ana.get(here).text
    page = mod.get("/admin/reports")
    assert "“advertising” ana" in text_of(page.text)
    assert "Buy &lt;b&gt;this&lt;/b&gt;" in page.text
    assert "One thing that was reported waits" in mod.get("/admin").text
    assert ana.get("/admin/reports").status_code == 403
    assert ana.submit("/admin/reports", verdict="hide", remark=said).status_code == 403

    hidden = mod.submit("/admin/reports", came_from="/admin/reports", verdict="hide", remark=said, reason="spam")
    assert hidden.headers["location"] == "/admin/reports"
    assert f'#c-{said}">Where to Look</a>, hidden' in mod.get("/admin").text  # by its title, not its number
    assert "Nothing that was reported waits" in mod.get("/admin/reports").text
    assert "Buy" not in ana.get(here).text
    act = moderation.audit(database)[0]
    assert (act.actor, act.action, act.detail) == (moderator.login, "hide remark", "spam (reported by 1)")


def test_a_paper_is_reported_and_a_moderator_sees_no_harm_in_it(
    app: FastAPI, people: tuple[Visitor, Visitor, Person, Person]
) -> None:
    ana, mod, _, _ = people
    part = ana.submit(f"/report/{OTHER}", came_from=f"/papers/{OTHER}", hx=True, reason="not a paper")
    assert (part.status_code, "You reported this paper to the moderators." in part.text) == (200, True)
    listed = mod.get("/admin/reports").text
    assert f'href="/papers/{OTHER}/remove"' in listed
    assert "Strings &lt;and&gt; Branes" in listed
    assert mod.submit("/admin/reports", verdict="hide", paper=OTHER).status_code == 400
    assert mod.submit("/admin/reports", verdict="dismiss", paper=OTHER, reason="it is one").status_code == 303
    assert "Nothing that was reported waits" in mod.get("/admin/reports").text
    assert mod.submit("/admin/reports", verdict="dismiss", paper=OTHER).status_code == 404
    assert moderation.audit(app.state.site.database)[0].target == f"paper:{OTHER}"
    again = ana.submit(f"/report/{OTHER}", reason="not a paper")
    assert (again.status_code, "A moderator has looked" in again.text) == (403, True)
    assert ana.submit(f"/report/{PAPER}", reason="").status_code == 400


def test_a_note_in_a_collection_is_reported_where_it_stands_and_hidden(
    app: FastAPI, people: tuple[Visitor, Visitor, Person, Person]
) -> None:
    ana, mod, person, _ = people
    database = app.state.site.database
    spam = Visitor(app)
    spammer = spam.sign_in("spam")
    which = collecting.make(database, person, "Reads <1>", open=True)
    collecting.put(database, spammer, which, PAPER, note="Buy <b>this</b>")
    here, at = f"/collections/{which}", f"/collections/{which}/notes/{PAPER}"
    assert f'action="{at}/report"' in ana.get(here).text
    assert f'action="{at}/hide"' in mod.get(here).text
    for reader in (Visitor(app), spam):
        assert "/notes/" not in reader.get(here).text
    done = ana.submit(f"{at}/report", came_from=here, reason="advertising")
    assert done.headers["location"] == here
    assert "Note reported to the moderators" in text_of(ana.get(here).text)
    assert ana.submit(f"{at}/hide", came_from=here).status_code == 403

    page = mod.get("/admin/reports")
    assert "A note by spam in Reads <1> , on Where to Look Buy <b>this</b> “advertising” ana" in text_of(page.text)
    assert "Buy &lt;b&gt;this&lt;/b&gt;" in page.text
    fields = {"collection": which, "paper": PAPER}
    sent = mod.submit("/admin/reports", came_from="/admin/reports", verdict="hide", reason="spam", **fields)
    assert sent.headers["location"] == "/admin/reports"
    assert "Nothing that was reported waits" in mod.get("/admin/reports").text
    for reader in (Visitor(app), spam, ana):
        assert "Buy" not in reader.get(here).text
        assert "This note was hidden by a moderator." in reader.get(here).text
    assert "only moderators see it" in mod.get(here).text
    assert "Buy &lt;b&gt;this" in mod.get("/admin").text
    assert mod.submit(f"{at}/restore", came_from="/admin").headers["location"] == "/admin"
    assert "Hidden notes" not in mod.get("/admin").text
    assert "Buy &lt;b&gt;this" in ana.get(here).text
    mod.submit(f"{at}/hide", came_from=here)
    assert "Buy" not in ana.get(here).text
    ana.submit(f"/report/{PAPER}", reason="a paper, and no note")
    assert mod.submit("/admin/reports", verdict="dismiss", paper=PAPER, reason="ok").status_code == 303
    assert mod.submit("/admin/reports", verdict="dismiss", **fields).status_code == 404


def test_claims_that_wait_are_counted_in_the_header(
    app: FastAPI, people: tuple[Visitor, Visitor, Person, Person], monkeypatch: pytest.MonkeyPatch
) -> None:
    ana, mod, person, _ = people
    claims.claim(app.state.site.database, person, PAPER, 0)
    page = mod.get("/papers", follow_redirects=True).text
    assert 'class="waits" href="/admin/claims" title="1 for a moderator to decide">1<' in page
    assert 'class="waits"' not in ana.get("/papers", follow_redirects=True).text
    assert "1 claim waits for a decision" in text_of(mod.get("/admin").text)

    def away(_: object) -> None:
        raise DatabaseError("away")

    monkeypatch.setattr("foveal.web.pages.waits", away)  # a page is not lost for a number
    page = mod.get("/library")
    assert (page.status_code, 'class="waits"' in page.text) == (200, False)
