"""Removing a paper over HTTP: who may, what is asked first, what its address says then, and letting it back."""

from __future__ import annotations

import pytest
from fastapi import FastAPI
from members import OTHER, PAPER, record, today
from visitors import Visitor

from foveal.database import Database
from foveal.errors import UnknownPaper
from foveal.papers import curating, removing
from foveal.papers.store import PaperStore
from foveal.papers.upserts import upsert

ASKED = f"/papers/{PAPER}/remove"


def test_a_moderator_is_asked_and_then_it_is_gone(app: FastAPI, visitor: Visitor, database: Database) -> None:
    visitor.sign_in("mo", "moderator")
    assert f'href="{ASKED}"' in visitor.get(f"/papers/{PAPER}").text
    visitor.submit(f"/vote/{PAPER}")
    page = visitor.get(ASKED).text
    assert "Remove this paper?" in page
    assert "with 1 vote and 0 remarks" in page
    assert PaperStore(database).get(PAPER)  # looking removes nothing
    done = visitor.submit(ASKED, ASKED, reason="spam <b>")
    assert (done.status_code, done.headers["location"]) == (303, "/admin#removed")
    stranger = Visitor(app)
    for reader, said in ((visitor, "letting it back"), (stranger, "This paper was removed")):
        answer = reader.get(f"/papers/{PAPER}")
        assert (answer.status_code, said in answer.text) == (410, True)
    assert "spam" not in stranger.get(f"/papers/{PAPER}").text
    assert stranger.get(f"/api/papers/{PAPER}").status_code == 404
    assert PAPER not in stranger.get("/feed/day.xml").text
    assert "Where to Look" not in stranger.get("/papers", follow_redirects=True).text
    assert visitor.get(ASKED).status_code == 404


@pytest.mark.parametrize("role", ["member", "curator"])
def test_others_neither_see_the_button_nor_can_press_it(visitor: Visitor, database: Database, role: str) -> None:
    visitor.sign_in("kim", role)
    assert ASKED not in visitor.get(f"/papers/{PAPER}").text
    assert visitor.get(ASKED).status_code == 403
    assert visitor.submit(ASKED, ASKED).status_code == 403
    removing.remove(database, PAPER)
    assert visitor.submit("/admin/removed", "/admin", paper=PAPER).status_code == 403
    assert removing.removed(database)


def test_nobody_adds_it_before_a_moderator_lets_it_back(app: FastAPI, visitor: Visitor, database: Database) -> None:
    removing.remove(database, PAPER, reason="asked for <b>by</b> its author")
    app.state.site.parts.fetch = lambda database, _, paper: upsert(database, [record(paper)]) and paper
    for answer in (visitor.get(f"/papers/submit?id={PAPER}"), visitor.submit("/papers/submit", id=PAPER)):
        assert (answer.status_code, "was removed here on" in answer.text) == (403, True)
    visitor.sign_in("mo", "moderator")
    assert "asked for &lt;b&gt;by&lt;/b&gt; its author" in visitor.get("/admin").text
    assert visitor.submit("/admin/removed", "/admin#removed", paper=PAPER).status_code == 303
    assert visitor.submit("/papers/submit", id=PAPER).headers["location"] == f"/papers/{PAPER}"
    assert visitor.get(f"/papers/{PAPER}").status_code == 200
    assert "let paper back" in visitor.get("/admin").text


def test_a_moderator_takes_a_paper_off_a_day_on_its_page(visitor: Visitor, database: Database) -> None:
    visitor.sign_in("mo", "moderator")
    page = f"/papers/{PAPER}"
    curating.pick(database, PAPER, today())  # also what a curator chose
    assert "Take it off this day" in visitor.get(page).text
    assert "Choose for a day" not in visitor.get(page).text
    done = visitor.submit("/desk", page, day=today().isoformat(), act="unlist", paper=PAPER)
    assert (done.status_code, done.headers["location"]) == (303, page)
    assert "It is on no day" in visitor.get(page).text
    assert "Where to Look" not in visitor.get(f"/papers/date/{today()}").text
    assert visitor.submit("/desk", page, day=today().isoformat(), act="pick", paper=PAPER).status_code == 403


def test_who_voted_is_named_to_those_who_are_signed_in(app: FastAPI, visitor: Visitor) -> None:
    visitor.sign_in("ana")
    visitor.submit(f"/vote/{PAPER}")
    assert 'href="/people/ana" title="ana"' in visitor.get(f"/papers/{PAPER}").text
    assert "/people/ana" not in Visitor(app).get(f"/papers/{PAPER}").text


def test_the_address_of_another_entry_leads_to_the_paper(visitor: Visitor, database: Database) -> None:
    visitor.sign_in("mo", "moderator")
    assert visitor.submit(f"/papers/{OTHER}/remove", same_as=OTHER).status_code == 400
    assert visitor.submit(f"/papers/{OTHER}/remove", same_as="2699.00001").status_code == 404
    done = visitor.submit(f"/papers/{OTHER}/remove", same_as=f"https://arxiv.org/abs/{PAPER}v2")
    assert done.headers["location"] == f"/papers/{PAPER}"
    moved = visitor.get(f"/papers/{OTHER}")
    assert (moved.status_code, moved.headers["location"]) == (308, f"/papers/{PAPER}")
    with pytest.raises(UnknownPaper):
        PaperStore(database).get(OTHER)
