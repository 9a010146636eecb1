"""A report that asks first: its questions back and its brief on the page, skipped, wrong, in two tabs, after a kill."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from reading_site import Visitor
from research.report_worlds import PAGES, Filler
from research_site import ended, key_of, research_app, words_of

from foveal.research.report import Brief
from foveal.research.runs import Runs
from foveal.web.research_work import ResearchWork

QUESTION = "What does the mill grind?"
BRIEF = {
    "goal": "What the Orra mill grinds",
    "cover": "- the wheel of the Orra mill\n\n- its price",
    "without": "bridges",
    "since": "1995-01-01",
    "until": "",
    "format": "points",
    "words": "120",
}


def site(home: Path, *, unclear: bool = True) -> FastAPI:
    """The app over the pages of the mills, and a large model that asks back."""
    asked = {"clear": not unclear, "questions": ["Which mill?", "Since when?"] if unclear else []}
    app = research_app(home, Filler({"Clarify": lambda _: asked}), facts={})
    app.state.site.library.add_documents(list(PAGES))
    return app


@pytest.fixture
def app(tmp_path: Path) -> Iterator[FastAPI]:
    made = site(tmp_path)
    yield made
    made.state.site.close()


@pytest.fixture
def client(app: FastAPI) -> Iterator[TestClient]:
    with TestClient(app, base_url="http://localhost", follow_redirects=False) as opened:
        yield opened


def begun(client: TestClient, **fields: str) -> str:
    """The key of a report that asks first."""
    form = {"question": QUESTION, "source": "library", "kind": "report", "mode": "quick", "ask": "yes"} | fields
    return key_of(Visitor(client).post("/research", **form))


def said(client: TestClient, key: str, do: str, **fields: Any) -> Any:
    """What a form of the run's page is answered by."""
    return Visitor(client).post(f"/research/{key}/scope", do=do, **fields)


def report(client: TestClient, key: str) -> Any:
    """The ledger of a run's report."""
    return client.get(f"/api/research/runs/{key}").json()["report"]


def test_a_run_waits_for_answers_and_then_for_its_brief(client: TestClient, app: FastAPI) -> None:
    assert re.search(r'name="ask" value="yes" checked', client.get("/research").text)
    key = begun(client)
    page = ended(client, key)
    assert "Waits for you" in words_of(page)
    assert "Which mill?" in page
    assert "Go on</button>" in page
    assert 'id="act-go-on"' not in page
    assert app.state.site.jobs.open_jobs() == []  # it holds no turn
    assert "report · Waits for you" in words_of(client.get("/research").text)
    assert said(client, key, "answers", answer=["the one at Orra", ""]).status_code == 303
    page = ended(client, key)
    assert "What does the mill grind?" in page
    assert re.search(r'<textarea name="cover"[^>]*>what it grinds</textarea>', page)
    asked = [one for one in app.state.site.models.speaker.prompts if "Write the brief" in one]
    assert len(asked) == 1
    assert "Which mill? the one at Orra" in asked[0]
    assert "Since when?" not in asked[0]
    assert not any(name in app.state.site.models.speaker.calls for name in ("Goals", "Summarised"))
    assert said(client, key, "brief", **BRIEF).status_code == 303
    page = ended(client, key)
    assert "Answered" in words_of(page)
    told = words_of(page)
    assert "was judged against What the Orra mill grinds It must cover the wheel of the Orra mill its price" in told
    assert "It leaves out bridges About 120 words, in points · sources since 1995-01-01" in told
    made = report(client, key)
    assert Brief.from_row(made["brief"]) == Brief(
        goal="What the Orra mill grinds", must_cover=("the wheel of the Orra mill", "its price"),
        out_of_scope=("bridges",), since="1995-01-01", format="points", words=120,
    )  # fmt: skip
    assert {one["title"] for one in made["sources"]} == {"River mills"}  # those of before 1995 go
    assert all(line.startswith("- ") for line in made["sections"][-1]["text"].splitlines())
    assert [one for one in made["queries"] if one.startswith(("the wheel", "its price"))]
    assert '<li dir="auto">' in page.partition('<article id="body"')[2]


def test_both_can_be_skipped(client: TestClient) -> None:
    key = begun(client)
    ended(client, key)
    assert said(client, key, "begin").status_code == 303
    assert "Answered" in words_of(ended(client, key))
    assert report(client, key)["brief"]["must_cover"] == ["what it grinds"]
    silent = begun(client, ask="")
    assert "Answered" in words_of(ended(client, silent))


def test_a_brief_that_cannot_be_used_is_shown_again_with_what_was_written(client: TestClient) -> None:
    key = begun(client)
    ended(client, key)
    said(client, key, "answers", answer=["", ""])
    ended(client, key)
    for wrong, told in (
        ({"since": "last year"}, "wrong or unknown: since."),
        ({"words": "9000"}, "give one from 50 to 5,000."),
        ({"goal": " "}, "The question is empty."),
        ({"cover": "x" * 300}, "12 lines of 200 characters"),
        ({"format": "poem"}, "wrong or unknown: format."),
    ):
        answer = said(client, key, "brief", **BRIEF | wrong)
        assert answer.status_code == 400
        assert told in words_of(answer.text)
        assert "bridges</textarea>" in answer.text  # what else was written stays
    assert "Waits for you" in words_of(client.get(f"/research/{key}").text)


def test_what_a_second_tab_says_is_not_lost_without_a_word_and_others_say_nothing(
    client: TestClient, app: FastAPI
) -> None:
    key = begun(client)
    ended(client, key)
    other = TestClient(app, base_url="http://localhost", follow_redirects=False)
    assert said(other, key, "begin").status_code == 404
    Visitor(client).post(f"/research/{key}/share", shared="yes")
    shared = other.get(f"/research/{key}").text
    assert "It waits for who asked." in words_of(shared)
    assert "/scope" not in shared
    assert said(other, key, "begin").status_code == 403
    for first in ("answers", "begin"):
        assert said(client, key, first, answer=["the one at Orra", ""]).status_code == 303
        ended(client, key)
        again = said(client, key, "answers", answer=["the other mill"])
        assert again.status_code == 400
        assert "does not wait for you any more" in words_of(again.text)


def test_what_was_said_outlives_the_process(tmp_path: Path) -> None:
    app = site(tmp_path)
    with TestClient(app, base_url="http://localhost", follow_redirects=False) as client:
        key = begun(client)
        ended(client, key)
        cookies = dict(client.cookies)
    app.state.site.close()
    later = site(tmp_path)
    with TestClient(later, base_url="http://localhost", follow_redirects=False, cookies=cookies) as client:
        assert "Which mill?" in client.get(f"/research/{key}").text
        desk = later.state.site.research
        work = ResearchWork(key, *_parts(desk, key))
        remade = ResearchWork.remade(later.state.site, work.to_row(), None)
        assert remade.said == work.said
        remade.taken_over(desk.site.jobs.start(remade, key=key))  # as by the process that takes it over
        assert "Answered" in words_of(ended(client, key))
        assert report(client, key)["brief"]["goal"] == "the other"
    later.state.site.close()


def _parts(desk: Any, key: str) -> tuple[Any, ...]:
    from foveal.research.scope import Said
    from foveal.web.research_work import Asked

    asked = Asked.of(Runs(desk.site.database).get(key))
    return (
        asked,
        desk,
        {},
        "lane",
        None,
        "research",
        False,
        Said(brief=Brief(goal="the other", words=100)),
        desk.state(key).last,
    )


def test_a_program_may_bring_its_brief(client: TestClient) -> None:
    body = {
        "question": QUESTION,
        "sources": ["library"],
        "report": {"mode": "quick", "brief": {"must_cover": ["oats"]}},
    }
    key = client.post("/api/research/runs", json=body).json()["run"]
    ended(client, key)
    assert report(client, key)["brief"] | {"words": 0} == {
        "goal": QUESTION, "must_cover": ["oats"], "out_of_scope": [], "since": "", "until": "", "language": "",
        "format": "", "words": 0,
    }  # fmt: skip
    assert report(client, key)["brief"]["words"] == 200
    wrong = client.post("/api/research/runs", json=body | {"report": {"brief": {"colour": "red"}}})
    assert (wrong.status_code, "colour" in wrong.text) == (400, True)
