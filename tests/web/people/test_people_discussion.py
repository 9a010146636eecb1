"""Remarks over HTTP: written, answered, changed, hidden; what is shown to whom."""

from __future__ import annotations

import re

import pytest
from fastapi import FastAPI
from members import OTHER, PAPER
from sqlalchemy import update
from visitors import Visitor

from foveal.database import Database
from foveal.papers import discussion, follows, moderation, sessions
from foveal.papers.accounts import find
from foveal.papers.schema import AuthorRow

PAGE = f"/discussion/{PAPER}"


def test_a_remark_is_written_answered_changed_and_taken_back(app: FastAPI, visitor: Visitor) -> None:
    visitor.sign_in("ana")
    said = visitor.submit(PAGE, PAGE, text="In $O(n)$, **see** <b>there</b>")
    assert (said.status_code, said.headers["location"]) == (303, f"{PAGE}#c-1")
    page = visitor.get(PAGE).text
    assert '<math display="inline" alttext="O(n)">' in page
    assert "<strong>see</strong> &lt;b&gt;there&lt;/b&gt;" in page
    assert re.search(r'<time datetime="\d{4}-\d\d-\d\dT[\d:]+\+00:00" title="[^"]+ UTC">just now</time>', page)

    other = Visitor(app)
    other.sign_in("bo")
    assert other.submit(PAGE, PAGE, text="An answer", parent=1).status_code == 303
    answer = next(one for one in discussion.discussion(app.state.site.database, PAPER).remarks if one.id == 1)
    assert [one.id for one in answer.answers] == [2]
    assert other.get("/remarks/2").headers["location"] == f"{PAGE}?order=old#c-2"
    for act in ("edit", "delete"):
        assert other.submit(f"/remarks/1/{act}", PAGE, text="x").status_code == 403
    assert other.get("/remarks/1/edit").status_code == 403
    assert "<strong>see</strong>" in visitor.get(PAGE).text

    assert "In $O(n)$, **see** &lt;b&gt;there&lt;/b&gt;</textarea>" in visitor.get("/remarks/1/edit").text
    changed = visitor.submit("/remarks/1/edit", "/remarks/1/edit", text="Other words")
    assert changed.headers["location"] == f"{PAGE}#c-1"
    assert "Other words" in other.get(PAGE).text
    assert visitor.submit("/remarks/1/delete", PAGE).status_code == 303
    page = other.get(PAGE).text
    assert "Other words" not in page
    assert "deleted by its author" in page


def test_an_author_who_is_hidden_is_named_nowhere(app: FastAPI, visitor: Visitor) -> None:
    database = app.state.site.database
    person = visitor.sign_in("ana")
    follows.follow(database, person, "category", "cs.CL")
    with database.writing() as session:
        session.execute(update(AuthorRow).where(AuthorRow.name == "Léa Martin").values(status="hidden"))
    feed = re.search(r'href="(/following/feed/[^"]+)"', visitor.get("/following").text)
    assert feed
    of_paper = [f"/papers/{PAPER}{more}" for more in ("", "/bibtex", "/ris", ".md")]
    for path in (PAGE, *of_paper, f"/claim/{PAPER}", "/following", feed[1]):
        text = visitor.get(path).text
        assert re.search("Bo Li|Li, Bo", text), path
        assert "Martin" not in text, path
    assert '<option value="1">Bo Li' in visitor.get(f"/claim/{PAPER}").text  # its place among all


def test_htmx_gets_the_discussion_back(visitor: Visitor) -> None:
    visitor.sign_in("ana")
    part = visitor.submit(PAGE, PAGE, hx=True, text="Hello")
    assert part.text.lstrip().startswith('<section id="community"')
    assert "Hello" in part.text
    part = visitor.submit("/remarks/1/delete", PAGE, hx=True)
    assert "Hello" not in part.text


def test_a_preview_keeps_nothing(visitor: Visitor, database: Database) -> None:
    visitor.sign_in("ana")
    for hx in (False, True):
        shown = visitor.submit(PAGE, PAGE, hx=hx, text="**Soon** <script>", preview="yes")
        assert "<strong>Soon</strong> &lt;script&gt;" in shown.text
        assert "**Soon** &lt;script&gt;</textarea>" in shown.text
    assert discussion.discussion(database, PAPER).count == 0


def test_visitors_read_and_are_asked_to_sign_in(app: FastAPI, visitor: Visitor) -> None:
    visitor.sign_in("ana")
    visitor.submit(PAGE, PAGE, text="For all to read")
    other = Visitor(app)
    page = other.get(PAGE).text
    assert "For all to read" in page
    assert f'href="/login?next={PAGE}"' in page
    assert "<textarea" not in page
    assert "/remarks/1/rate" not in page
    assert other.submit(PAGE, PAGE, text=" ").headers["location"] == f"/login?next={PAGE}"
    assert other.submit("/remarks/1/rate", PAGE, value=1).headers["location"] == f"/login?next={PAGE}"
    assert "ana@example.org" not in page


@pytest.mark.parametrize("path", [PAGE, "/remarks/1/edit"])
@pytest.mark.parametrize("hx", [False, True])
def test_what_is_sent_after_the_session_ended_is_shown_again_and_not_kept(
    visitor: Visitor, database: Database, path: str, hx: bool
) -> None:
    person = visitor.sign_in("ana")
    visitor.submit(PAGE, PAGE, text="Short")
    sessions.sign_out(database, person)
    said = "An hour's work, <b>lost</b>"
    answer = visitor.submit(path, PAGE, hx=hx, text=said)
    assert answer.status_code == (200 if hx else 401)  # HTMX shows no other
    assert answer.text.lstrip().startswith('<section id="community"' if hx else "<!doctype html>")
    assert "this was not taken" in answer.text
    assert f'href="/login?next={PAGE}"' in answer.text
    assert "An hour&#39;s work, &lt;b&gt;lost&lt;/b&gt;</textarea>" in answer.text
    assert ["Short" in one.html for one in discussion.discussion(database, PAPER).remarks] == [True]


def test_moderators_hide_restore_and_close(app: FastAPI, visitor: Visitor, database: Database) -> None:
    visitor.sign_in("ana")
    visitor.submit(PAGE, PAGE, text="Buy this")
    assert visitor.submit("/remarks/1/hide", PAGE).status_code == 403
    assert visitor.submit("/discussions/close", PAGE, paper=PAPER).status_code == 403
    mo = Visitor(app)
    mo.sign_in("mo", "moderator")
    assert mo.submit("/remarks/1/hide", PAGE, reason="advertising").status_code == 303
    assert "Buy this" not in visitor.get(PAGE).text
    assert "Buy this" in mo.get(PAGE).text
    assert "Buy this" in mo.get("/admin").text
    mo.submit("/remarks/1/restore", "/admin")
    assert "Buy this" in visitor.get(PAGE).text
    mo.submit("/discussions/close", PAGE, paper=PAPER)
    assert "This discussion is closed" in visitor.get(PAGE).text
    refused = visitor.submit(PAGE, PAGE, text="One more thing")
    assert refused.status_code == 403
    assert "is closed" in refused.text
    acts = [act.action for act in moderation.audit(database)]
    assert acts[:3] == ["close discussion", "restore remark", "hide remark"]


def test_ratings_move_a_remark_up(app: FastAPI, visitor: Visitor) -> None:
    visitor.sign_in("ana")
    for text in ("First", "Second"):
        visitor.submit(PAGE, PAGE, text=text)
    other = Visitor(app)
    other.sign_in("bo")
    assert other.submit("/remarks/2/rate", PAGE, value=1).status_code == 303
    page = visitor.get(PAGE).text
    assert page.index("Second") < page.index("First")
    assert "1 of 1 found it helpful" in page
    assert visitor.submit("/remarks/2/rate", PAGE, value=1).status_code == 403
    assert other.submit("/remarks/2/rate", PAGE, value=7).status_code == 400
    assert other.submit("/remarks/2/rate", PAGE, value="many").status_code == 400


def test_eleven_remarks_are_one_too_many(visitor: Visitor) -> None:
    visitor.sign_in("ana")
    answers = [visitor.submit(PAGE, PAGE, text=f"Remark {n}") for n in range(11)]
    assert [answer.status_code for answer in answers] == [303] * 10 + [429]
    assert 0 < int(answers[-1].headers["retry-after"]) <= 60


@pytest.mark.parametrize(
    ("path", "status"),
    [
        (f"{PAGE}?order=worst", 400),
        (f"{PAGE}?page=-1", 400),
        (f"{PAGE}?page=many", 400),
        ("/discussion/2605.09999", 404),
        ("/discussion/nonsense", 400),
        ("/remarks/99", 404),
        ("/remarks/abc", 400),
        ("/remarks/99999999999999999999", 400),
        ("/people/nobody", 404),
        ("/people/" + "x" * 500, 404),
    ],
)
def test_what_is_not_there_is_a_clear_page(visitor: Visitor, path: str, status: int) -> None:
    answer = visitor.get(path)
    assert answer.status_code == status
    assert '<section class="empty">' in answer.text


def test_an_old_id_with_a_slash_has_a_discussion_too(visitor: Visitor) -> None:
    visitor.sign_in("ana")
    said = visitor.submit(f"/discussion/{OTHER}", f"/discussion/{OTHER}", text="Strings")
    assert said.headers["location"] == f"/discussion/{OTHER}#c-1"
    assert "Strings &lt;and&gt; Branes" in visitor.get(f"/discussion/{OTHER}").text


def test_a_person_has_a_page_without_their_address(app: FastAPI, visitor: Visitor, database: Database) -> None:
    visitor.sign_in("ana")
    visitor.submit(PAGE, PAGE, text="Said in public")
    page = Visitor(app).get("/people/ANA").text
    assert "Said in public" in page
    assert find(database, "ana").email not in page


def test_what_is_done_on_a_page_of_remarks_leaves_that_page(
    app: FastAPI, visitor: Visitor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(discussion, "THREADS", 2)
    database, ana = app.state.site.database, visitor.sign_in("ana")
    for number in range(3):
        discussion.remark(database, ana, PAPER, f"Remark {number}")
    assert visitor.get("/remarks/3").headers["location"] == f"{PAGE}?order=old&page=1#c-3"
    other = Visitor(app)
    other.sign_in("bo")
    for query, shown in (
        ("?order=new&page=1", [1]),
        ("?order=new", [3, 2]),
        ("?order=odd&page=x", [1, 2]),
        ("", [1, 2]),
    ):
        part = other.submit("/remarks/1/rate", f"{PAGE}{query}", hx=True, value=0).text
        assert [int(one) for one in re.findall(r'id="c-(\d+)"', part)] == shown
