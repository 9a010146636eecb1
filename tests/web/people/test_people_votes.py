"""Votes over HTTP: with and without JavaScript, signed in or not, ten thousand times."""

from __future__ import annotations

import pytest
from fastapi import FastAPI
from members import OTHER, PAPER
from sqlalchemy import func, select
from visitors import Visitor

from foveal.database import Database
from foveal.papers.schema import VoteRow


def rows(database: Database) -> int:
    with database.reading() as session:
        return session.scalar(select(func.count()).select_from(VoteRow)) or 0


def test_a_form_votes_and_leads_back(visitor: Visitor, database: Database) -> None:
    visitor.sign_in("ana")
    for _ in range(2):
        voted = visitor.submit(f"/vote/{PAPER}", came_from="/papers/date/2026-10-02?sort=votes")
        assert (voted.status_code, voted.headers["location"]) == (303, "/papers/date/2026-10-02?sort=votes")
    assert rows(database) == 1
    page = visitor.get(f"/discussion/{PAPER}").text
    assert 'aria-pressed="true" aria-label="Vote for Where to Look (1 now)"' in page
    assert f'action="/unvote/{PAPER}"' in page
    assert visitor.submit(f"/unvote/{PAPER}").headers["location"] == "/login"
    assert rows(database) == 0


def test_htmx_gets_the_button_back(visitor: Visitor, database: Database) -> None:
    visitor.sign_in("ana")
    part = visitor.submit(f"/vote/{OTHER}", hx=True)
    assert part.status_code == 200
    assert part.text.lstrip().startswith("<form")
    assert "Vote for Strings &lt;and&gt; Branes (1 now)" in part.text
    headers = {"x-foveal-token": visitor.token(), "hx-request": "true"}
    part = visitor.request("DELETE", f"/vote/{OTHER}", headers=headers)
    assert 'aria-pressed="false"' in part.text
    assert rows(database) == 0


def test_a_visitor_is_sent_to_sign_in_and_back(visitor: Visitor, database: Database) -> None:
    sent = visitor.submit(f"/vote/{PAPER}", came_from="/papers?q=a%20b")
    assert (sent.status_code, sent.headers["location"]) == (303, "/login?next=/papers%3Fq%3Da%2520b")
    part = visitor.submit(f"/vote/{PAPER}", came_from="/papers", hx=True)
    assert (part.status_code, part.headers["hx-redirect"]) == (401, "/login?next=/papers")
    asked = visitor.post(f"/vote/{PAPER}", data={"token": visitor.token()}, headers={"accept": "application/json"})
    assert (asked.status_code, asked.json()) == (401, {"error": "Sign in first."})
    assert rows(database) == 0


@pytest.mark.parametrize(
    "paper", ["2605.09999", "../../etc/passwd", "%2e%2e%2fsettings", "<script>", "x" * 5_000, "%00", "é"]
)
def test_what_is_no_paper_is_said_to_be_none(visitor: Visitor, paper: str) -> None:
    visitor.sign_in("ana")
    for path in ("/vote/", "/unvote/", "/discussion/", "/read/", "/claim/"):
        answer = visitor.submit(path + paper, text="x", position=0)
        assert answer.status_code in (400, 404), path
        assert "<script>" not in answer.text.split("</head>")[1]


def test_a_session_cannot_vote_more_than_sixty_times_a_minute(visitor: Visitor, database: Database) -> None:
    flood(visitor, database, 80)


@pytest.mark.slow
def test_ten_thousand_votes_from_one_session(visitor: Visitor, database: Database) -> None:
    flood(visitor, database, 10_000)


def flood(visitor: Visitor, database: Database, times: int) -> None:
    import time

    visitor.sign_in("ana")
    headers = {"x-foveal-token": visitor.token(), "hx-request": "true"}
    started = time.monotonic()
    answers = [visitor.post(f"/{'un' if n % 2 else ''}vote/{PAPER}", headers=headers) for n in range(times)]
    seconds = time.monotonic() - started
    good = sum(answer.status_code == 200 for answer in answers)
    refused = [answer for answer in answers if answer.status_code == 429]
    assert good + len(refused) == times
    assert good <= 60 + seconds + 1
    assert 1 <= int(refused[0].headers["retry-after"]) <= 2
    assert rows(database) <= 1


def test_votes_of_two_people_count_apart(app: FastAPI, database: Database) -> None:
    for login in ("ana", "bo"):
        visitor = Visitor(app)
        visitor.sign_in(login)
        visitor.submit(f"/vote/{PAPER}")
    assert rows(database) == 2
