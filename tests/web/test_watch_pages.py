"""Watching on the site: begun at a report, looked at beside visitors' runs, mailed, ended; and by command."""

from __future__ import annotations

import email
import json
import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from email.policy import default
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from reading_site import OwnModels
from reports import QUESTION, whole_report
from research_site import key_of, words_of
from scripted_reports import ScriptedDeep, ScriptedReporter
from typer.testing import CliRunner
from visitors import Visitor

from foveal import faults
from foveal.bench.mail_data import make_home
from foveal.bench.mail_server import MailServer
from foveal.cli import research_watch
from foveal.cli.main import app as commands
from foveal.database import Database
from foveal.errors import Cancelled
from foveal.papers.accounts import find
from foveal.papers.mail.morning import outbox_of, tick
from foveal.papers.mail.subscriptions import subscriptions
from foveal.papers.upserts import upsert
from foveal.research.report import Report
from foveal.research.report_runs import ReportAsk, report_of
from foveal.research.runs import Runs
from foveal.research.watches import Watches
from foveal.research.watching import Look
from foveal.settings import Settings
from foveal.types import Document
from foveal.web.app import create_app
from foveal.web.site import SiteSettings
from foveal.web.watched import fresh_papers, looked

SLOWER = "Sparse attention takes 0.3 s on 32,000 tokens"


def later_report() -> Report:
    """The report, with another number in its first claim."""
    first, *rest = whole_report().claims
    return whole_report(claims=(replace(first, text=SLOWER), *rest))


@pytest.fixture
def server() -> Iterator[MailServer]:
    with MailServer() as running:
        yield running


@pytest.fixture
def app(tmp_path: Path, server: MailServer) -> Iterator[FastAPI]:
    database, _ = make_home(tmp_path, server.port, subscribers=0)
    database.close()
    settings = replace(Settings.load(tmp_path, environment={}), cache=tmp_path / "cache", encoder="none")
    app = create_app(settings, SiteSettings(), models=OwnModels())
    app.state.site.reporter = ScriptedReporter()
    app.state.site.library.add_documents([Document.of("https://f.example/a", "Petra designed the mill.", "a")])
    yield app
    app.state.site.close()


def watching(app: FastAPI, **fields: str) -> tuple[Visitor, str]:
    """Ana, who watches the question of a report of hers, and the report's key."""
    ana = Visitor(app)
    ana.site.deliver = lambda *_: None
    ana.sign_in("ana")
    key = key_of(ana.submit("/research", question=QUESTION, source="library", kind="report", **fields))
    while "sse-connect" in ana.get(f"/research/{key}").text:
        pass
    assert ana.submit(f"/research/{key}/watch", every="weekly").status_code == 303
    return ana, key


def test_a_question_is_watched_looked_at_mailed_and_let_go(app: FastAPI, server: MailServer) -> None:
    site = app.state.site
    ana, key = watching(app)
    assert "Each week" in ana.get(f"/research/{key}").text
    listed = words_of(ana.get("/research").text)
    assert f"Watched questions {QUESTION} each week" in listed
    assert "mailed to ana@example.org" in listed
    assert looked(site, threading.Event()) == []  # it is not due
    site.reporter.make = lambda _: later_report()
    due = faults.now() + timedelta(days=7, minutes=1)
    with faults.injected({}, clock=lambda: due):
        (look,) = looked(site, threading.Event())
        assert look.change is not None
        assert [(one.before.text, one.after.text, one.why) for one in look.change.flipped] == [
            ("Sparse attention takes 0.094 s on 32,000 tokens", SLOWER, "number")
        ]
        tick(outbox_of(site.settings, site.database), lambda: pytest.fail("no digest is due"), everybody=False)
        again = [
            email.message_from_bytes(one.raw, policy=default)
            for one in server.taken
            if one.recipient == "ana@example.org"
        ]
        (mail,) = [one for one in again if str(one["Subject"]).startswith("1 claim flipped")]
        assert looked(site, threading.Event()) == []
    newest = Watches(site.database).listed()[0].run
    assert newest != key
    assert f"https://papers.example.org/research/{newest}" in mail.get_body(("plain",)).get_content()
    assert ana.get(f"/research/{newest}").status_code == 200  # a run of hers
    data = ana.get("/settings/data.json").json()["watched_questions"]
    assert data[0]["question"] == QUESTION
    token = str(mail["List-Unsubscribe"]).split("/u/")[1].split(">")[0]
    assert ana.post(f"/u/{token}", data={"List-Unsubscribe": "One-Click"}).status_code == 200
    assert ana.submit("/research/watches/1/remove").status_code == 303
    assert Watches(site.database).listed() == []


def test_what_is_watched_asks_nobody_again_and_keeps_the_brief_that_was_looked_over(app: FastAPI) -> None:
    ana, _ = watching(app, ask="yes")
    (watch,) = Watches(ana.site.database).listed(find(ana.site.database, "ana").id)
    assert watch.options["attended"] is False
    assert ReportAsk.of(watch.options) == ReportAsk(brief=whole_report().brief)


def test_a_source_that_is_not_offered_any_more_is_not_searched_for_who_watches(
    app: FastAPI, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = app.state.site
    watching(app)
    Watches(site.database).hasten(1)
    monkeypatch.setitem(site.research.__dict__, "settings", replace(site.research.settings, sources="papers"))
    site.reporter = ScriptedReporter()
    (look,) = looked(site, threading.Event())
    assert "The source 'library' is not offered here." in look.error
    assert site.reporter.done == []


def test_a_look_by_command_is_a_run_of_who_watches(app: FastAPI, monkeypatch: pytest.MonkeyPatch) -> None:
    ana, first = watching(app)
    site = app.state.site
    watches = Watches(site.database)
    monkeypatch.setattr("foveal.cli.research_setup.sources_of", lambda *_: [])
    monkeypatch.setattr("foveal.research.report_runs.reporter_of", lambda *_: ScriptedReporter())
    monkeypatch.setattr(research_watch, "_chat", lambda *_: None)
    watches.hasten(1)
    assert watches.take(1, faults.now())
    key, _ = research_watch._researched(site.settings, watches, watches.get(1), {"seconds": 60.0})
    assert key != first
    assert ana.get(f"/research/{key}").status_code == 200  # the mail leads her there
    assert Runs(site.database).get(key).owner.person == find(site.database, "ana").id  # and it goes when she goes


def test_who_may_watch(app: FastAPI) -> None:
    ana, key = watching(app)
    assert ana.submit(f"/research/{key}/watch").status_code == 400  # watched already
    bo = Visitor(app)
    bo.sign_in("bo")
    assert bo.submit(f"/research/{key}/watch").status_code == 404
    assert bo.submit("/research/watches/1/remove").status_code == 400
    assert len(Watches(app.state.site.database).listed()) == 1
    stranger = Visitor(app)
    answer = stranger.submit(f"/research/{key}/watch")
    assert (answer.status_code, answer.headers["location"][:6]) == (303, "/login")


def test_a_stopped_server_leaves_the_look_due(app: FastAPI) -> None:
    site = app.state.site
    watching(app)
    Watches(site.database).hasten(1)
    site.reporter = ScriptedReporter(hold=("search",))
    stop = threading.Event()
    threading.Thread(target=lambda: site.reporter.begun.wait(10) and stop.set()).start()
    with pytest.raises(Cancelled):
        looked(site, stop)
    site.reporter.go.set()
    assert Watches(site.database).due(faults.now() + timedelta(seconds=1))


def test_a_question_that_is_let_go_ends_its_look_and_leaves_nothing(app: FastAPI, server: MailServer) -> None:
    site = app.state.site
    ana, key = watching(app)
    Watches(site.database).hasten(1)
    site.reporter = ScriptedReporter(make=lambda _: later_report(), hold=("search",))
    done: list[Look] = []
    looking = threading.Thread(target=lambda: done.extend(looked(site, threading.Event())))
    looking.start()
    assert site.reporter.begun.wait(10)
    assert ana.submit("/research/watches/1/remove").status_code == 303
    looking.join(10)
    assert [look.said for look in done] == ["not watched any more"]
    assert site.reporter.done == ["plan the question"]
    assert [run.key for run in Runs(site.database).listed()] == [key]  # of the look, nothing is kept
    tick(outbox_of(site.settings, site.database), lambda: pytest.fail("no digest is due"), everybody=False)
    assert not [one for one in server.taken if b"flipped" in one.raw]


def test_only_papers_that_were_listed_since_are_fresh(app: FastAPI) -> None:
    database = app.state.site.database
    from members import record

    before = faults.now()
    upsert(database, [record("2610.09999", "Late")])
    watches = Watches(database)
    fresh = fresh_papers(database, lambda *_: ["2610.09999", "0000.00000"])
    number = watches.add("One?", {"sources": ["papers"]}, report=whole_report())

    def at(moment: datetime, sources: str = "papers") -> bool:
        return fresh(replace(watches.get(number), looked_at=moment, options={"sources": [sources]}))

    assert at(before)
    assert not at(before + timedelta(hours=2))
    assert at(before + timedelta(hours=2), "library")  # it cannot be asked what is new


# -- the command line -------------------------------------------------------------------------------------------------


def run(*arguments: Any, status: int = 0) -> str:
    done = CliRunner().invoke(commands, [*map(str, arguments)])
    assert done.exit_code == status, (done.output, done.exception)
    return done.stdout


@pytest.fixture
def home(tmp_path: Path, server: MailServer, monkeypatch: pytest.MonkeyPatch) -> Path:
    database, _ = make_home(tmp_path, server.port, subscribers=0)
    database.close()
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "a.txt").write_text("Petra designed the mill.")
    monkeypatch.setenv("FOVEAL_ENCODER", "none")
    monkeypatch.setattr("foveal.research.deep.DeepResearch", ScriptedDeep)
    monkeypatch.setattr(ScriptedDeep, "MADE", [whole_report(), later_report()])
    return tmp_path


@pytest.mark.slow
def test_the_command_line_watches_and_mails(home: Path, server: MailServer) -> None:
    at = ("--home", home)
    asked = ("research", "watch")
    served = ("--url", "http://127.0.0.1:1/v1", "--answerer", "m")
    assert "No question is watched." in run(*asked, "list", *at)
    shown = run(
        *asked, QUESTION, "--source", f"dir:{home / 'notes'}", "--mode", "quick", "--mail", "eve@example.org", *at
    )
    assert "Watched as 1, weekly." in shown
    database = Database.open(Settings.load(home))
    link = email.message_from_bytes(server.taken[-1].raw, policy=default).get_content()
    from foveal.papers.mail.subscriptions import confirm

    confirm(database, link.split("/mail/confirm/")[1].split()[0])
    assert "the first report is kept" in run(*asked, "run", *served, *at)
    assert ScriptedDeep.ASKED[-1][1]["mode"] == "quick"
    assert "No watched question is due." in run(*asked, "run", *served, *at)
    told = run(*asked, "run", 1, *served, *at)
    assert "1 claim flipped" in told
    assert f"now: {SLOWER} “On 32,000 tokens" in told
    mail = email.message_from_bytes(server.taken[-1].raw, policy=default)
    assert (mail["To"], str(mail["Subject"])[:15]) == ("eve@example.org", "1 claim flipped")
    assert "/research/" not in mail.get_body(("plain",)).get_content()  # the run is on no page
    (one,) = json.loads(run(*asked, "list", "--json", *at))
    assert (one["question"], one["address"], one["error"]) == (QUESTION, "eve@example.org", "")
    assert "(mailed to eve@example.org)" in " ".join(run(*asked, "list", *at).split())
    assert [one.preferences.cadence for one in subscriptions(database)] == ["changes"]
    kept = Runs(database).listed()
    assert [one.options["watch"] for one in kept] == [1, 1]
    since = run(*asked, "Another?", "--since", kept[0].key[:8], *at)
    assert "Watched as 2" in since
    from foveal.research.state import RunState

    assert Watches(database).get(2).report == report_of(RunState.of(Runs(database).events(kept[0].key)))
    run(*asked, "remove", 1, *at)
    run(*asked, "remove", 2, *at)
    assert "No question is watched." in run(*asked, "list", *at)
    database.close()
