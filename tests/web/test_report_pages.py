"""Reports over HTTP: the form, the page while it is made and after, a quote in its place, files, whose it is."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from reading_site import Visitor, wait_for
from reports import QUESTION, TEXTS, nothing_found, whole_report
from research_site import key_of, research_app, sent, words_of
from scripted_reports import STEPS, ScriptedReporter

from foveal.research.answers import UNREAD
from foveal.research.report import Report
from foveal.research.report_exports import EXPORTS


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FastAPI]:
    made = research_app(tmp_path_factory.mktemp("home"))
    yield made
    made.state.site.close()


@pytest.fixture
def reporter(app: FastAPI) -> ScriptedReporter:
    app.state.site.reporter = ScriptedReporter()
    return app.state.site.reporter


@pytest.fixture
def client(app: FastAPI) -> TestClient:
    return TestClient(app, base_url="http://localhost", follow_redirects=False)


def begun(client: TestClient, **fields: str) -> str:
    """The key of a new report."""
    form = {"question": QUESTION, "source": "library", "kind": "report"} | fields
    return key_of(Visitor(client).post("/research", **form))


def ended(client: TestClient, key: str) -> str:
    """The page of a run, once it is over."""
    until = time.monotonic() + 30
    while "sse-connect" in (page := client.get(f"/research/{key}").text):
        assert time.monotonic() < until, page
        time.sleep(0.02)
    return page


def test_the_form_asks_for_a_report_of_a_kind(client: TestClient, reporter: ScriptedReporter) -> None:
    page = client.get("/research").text
    assert re.search(r'name="kind" value="answer" checked', page)
    assert "Quick: about 200 words" in page
    key = begun(client, mode="quick", planner="tree", minutes="2")
    page = ended(client, key)
    (ask, budget, sources), *_ = reporter.asked
    assert (ask.mode, ask.planner, budget.seconds, sources) == ("quick", "tree", 120, ("library",))
    assert "report · " in words_of(client.get("/research").text)
    wrong = Visitor(client).post("/research", question="q", source="library", kind="report", mode="endless")
    assert wrong.status_code == 400
    assert "No mode of a report is called 'endless'. There are: quick, normal, deep." in words_of(wrong.text)
    assert re.search(r'name="kind" value="report" checked', wrong.text)


def test_the_page_holds_sections_quotes_checks_conflicts_and_gaps(
    client: TestClient, reporter: ScriptedReporter
) -> None:
    key = begun(client)
    page = ended(client, key)
    shown = words_of(page)
    for part in (
        "Sparse attention on long texts",
        QUESTION,
        "Answered · 4 of 4 steps",
        "How it was made: 4 steps",
        "Searching sparse attention speed 0.5 s",
        "Planner: parallel · the parts need nothing of each other · 9 searches expected",
        "4 claims: 1 supported, 1 partly supported, 1 contradicted, 1 not checked",
        "not in the source: 9",
        "Where sources differ",
        "Not covered Energy Texts beyond [a million] tokens",
        "Integrated Research · mode normal · planner auto · 3 sources · 2 searches",
    ):
        assert part in shown, part
    for target in re.findall(r'popovertarget="([^"]+)"', page):
        assert page.count(f'popover id="{target}"') == 1
    assert "<script>alert" not in page
    assert "When</b>" not in page
    assert "A summary, not a quote." not in page
    assert client.get("/research/report.css").headers["content-type"].startswith("text/css")


def test_a_sub_question_of_the_graph_opens_beside_the_report(client: TestClient, reporter: ScriptedReporter) -> None:
    key = begun(client)
    page = ended(client, key)
    assert 'data-node="fast"' in page.partition("<svg class=")[2]
    for path in (f"/research/{key}?node=fast", f"/research/{key}/panel?node=fast"):
        panel = client.get(path).text.partition('<aside id="panel"')[2]
        assert "How fast is it?" in panel
        assert "sparse attention speed" in panel
        assert "Search anew" not in panel  # a report's sub-questions are not changed one by one


def test_a_quote_is_shown_in_its_place(client: TestClient, reporter: ScriptedReporter) -> None:
    key = begun(client)
    ended(client, key)
    panel = client.get(f"/research/{key}/panel?cite=c1-1").text
    (first, second) = panel.split('<section class="placed">')[1:]
    url, _, text = TEXTS["s1"]
    passage = re.search(r'<p class="placed-text" dir="auto">(.*?)<mark>(.*?)</mark>(.*?)</p>', first, re.S)
    assert passage
    assert "".join(passage.groups()) == text
    assert passage[2] == "On 32,000 tokens, sparse attention takes 0.094 s where dense attention takes 0.59 s."
    assert f'href="{url}#:~:text=On%2032%2C000' in first
    assert "characters 122 to 205" in first
    assert "Sparse attention takes 0.094 s on 32,000 tokens" in first  # the claim that rests on it
    assert "arxiv.org" in second
    whole = client.get(f"/research/{key}?cite=c1-1").text
    assert 'data-cite="c1-1"' in whole  # without JavaScript
    assert 'data-cite="' not in client.get(f"/research/{key}?cite=nothing").text


def test_a_source_of_the_library_is_opened_there(client: TestClient, app: FastAPI, reporter: ScriptedReporter) -> None:
    entry = app.state.site.library.documents()[0]
    document = app.state.site.library.get(entry.id)
    report = whole_report()
    record, evidence = report.sources[0], report.evidence[0]
    from dataclasses import replace

    from foveal.types import Passage, Span

    passage = Passage(Span(document.id, 0, len(document.text)), document.text)
    sources = (replace(record, document_id=document.id, revision=document.revision), *report.sources[1:])
    ours = replace(report, sources=sources, evidence=(replace(evidence, passage=passage), *report.evidence[1:]))
    reporter.make = lambda _: ours
    key = begun(client)
    ended(client, key)
    panel = client.get(f"/research/{key}/panel?cite=c1-1").text
    place = re.search(r'<a href="(/library/[^"]+)">Open it in the library</a>', panel)
    assert place
    opened = client.get(place[1].replace("&amp;", "&")).text
    marked = re.search(r"<mark[^>]*>(.*?)</mark>", opened, re.S)
    assert marked
    assert marked[1] in panel
    reporter.make = lambda _: replace(ours, evidence=tuple(replace(one, unread=True) for one in ours.evidence))
    key = begun(client)
    ended(client, key)
    panel = client.get(f"/research/{key}/panel?cite=c1-1").text  # the search's words may not stand in what we hold
    assert UNREAD in panel
    assert "Open it in the library" not in panel


@pytest.mark.parametrize("form", EXPORTS)
def test_every_form_can_be_kept(client: TestClient, reporter: ScriptedReporter, form: str) -> None:
    key = begun(client)
    ended(client, key)
    answer = client.get(f"/research/{key}/export/{form}")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith(EXPORTS[form].media_type)
    assert f'filename="sparse-attention-on-long-texts{EXPORTS[form].ending}"' in answer.headers["content-disposition"]
    if form == "ledger":
        found = Report.of_ledger(json.loads(answer.content))
        assert found.to_markdown() == client.get(f"/research/{key}/export/markdown").text
    assert client.get(f"/research/{key}/export/trace").text.count('"kind": "step"') == len(STEPS)
    assert client.get(f"/research/{key}/export/nothing").status_code == 404


def test_a_report_on_its_way_is_told_and_stopped(client: TestClient, reporter: ScriptedReporter) -> None:
    reporter.hold = ("read",)
    key = begun(client)
    wait_for(lambda: "Reading" in words_of(client.get(f"/research/{key}").text))
    page = client.get(f"/research/{key}").text
    assert f'sse-connect="/research/{key}/events' in page
    shown = words_of(page)
    assert "Searching sparse attention speed 0.5 s" in shown
    assert "Reading Where to Look goes on" in shown
    assert "http-equiv" in page  # without JavaScript it looks again
    with client.stream("GET", f"/research/{key}/events?after=0") as stream:
        reporter.go.set()
        events = sent("".join(stream.iter_text()))
    kinds = [kind for _, kind, _ in events]
    assert kinds[-2:] == ["over", "end"]
    assert {"status", "line", "steps", "body", "said"} <= set(kinds)
    assert "Where sources differ" in [data for _, kind, data in events if kind == "body"][-1]
    assert "Answered" in [data for _, kind, data in events if kind == "said"][-1]


def test_a_cancelled_report_goes_on_where_it_was(client: TestClient, reporter: ScriptedReporter) -> None:
    reporter.hold = ("write",)
    key = begun(client)
    wait_for(lambda: "Writing" in words_of(client.get(f"/research/{key}").text))
    visitor = Visitor(client)
    visitor.post(f"/research/{key}/cancel")
    page = ended(client, key)
    assert "Cancelled" in words_of(page)
    assert "There is none." in words_of(page)
    reporter.go.set()
    edit = visitor.post(f"/research/{key}/edit", node="a", question="b")
    assert edit.status_code == 400
    assert visitor.post(f"/research/{key}/go-on").status_code == 303
    assert "Where sources differ" in words_of(ended(client, key))
    assert reporter.done == [f"{kind} {name}" for kind, name in STEPS]  # none of them twice


def test_nothing_found_says_what_was_tried(client: TestClient, reporter: ScriptedReporter) -> None:
    reporter.make = lambda _: nothing_found()
    shown = words_of(ended(client, begun(client)))
    assert "This cannot be answered from these sources." in shown
    assert "Searches that were tried sparse attention speed block masks quality" in shown


def test_a_report_is_its_owners_and_can_be_asked_for_by_programs(
    app: FastAPI, client: TestClient, reporter: ScriptedReporter
) -> None:
    body: dict[str, Any] = {"question": QUESTION, "sources": ["library"], "report": {"mode": "deep"}}
    answer = client.post("/api/research/runs", json=body)
    assert answer.status_code == 201, answer.text
    key = answer.json()["run"]
    ended(client, key)
    told = client.get(f"/api/research/runs/{key}").json()
    assert (told["status"], Report.of_ledger(told["report"]).question) == ("done", QUESTION)
    assert reporter.asked[-1][0].mode == "deep"
    other = TestClient(app, base_url="http://localhost", follow_redirects=False)
    for path in ("", "?cite=c1-1", "/panel?cite=c1-1", "/export/pdf", "/answer"):
        assert other.get(f"/research/{key}{path}").status_code == 404
    Visitor(client).post(f"/research/{key}/share", shared="yes")
    assert other.get(f"/research/{key}/panel?cite=c1-1").status_code == 200
    assert client.post("/api/research/runs", json=body | {"report": {"mode": "endless"}}).status_code == 400


def test_an_answer_has_none_of_it(client: TestClient, reporter: ScriptedReporter, tmp_path: Path) -> None:
    key = begun(client, kind="answer")
    page = ended(client, key)
    assert "data-run=" in page
    assert "data-report=" not in page
    assert client.get(f"/research/{key}/export/pdf").status_code == 404
    assert reporter.asked == []
