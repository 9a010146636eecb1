"""Who asked says what a report is to be: a run that waits for them, points that must be covered, the form, a file."""

from __future__ import annotations

import json

import pytest
from report_worlds import PAGES, QUESTION, Filler, Pages
from typer.testing import CliRunner

from foveal.cli.main import app
from foveal.errors import InputError
from foveal.research.deep import DeepResearch
from foveal.research.report import Brief
from foveal.research.report_parts import LEAD
from foveal.research.scope import Asks, Said, asks

UNCLEAR = {"Clarify": lambda _: {"clear": False, "questions": ["Which mill?"]}}
POINT = "what it costs to have rye ground"


def waiting(run):
    """What a run that has ended waits for."""
    with pytest.raises(InputError, match="waits for answers"):
        run.result()
    return asks(run.state)


def test_an_attended_run_ends_where_it_asks_and_goes_on_with_what_is_said():
    model, source = Filler(UNCLEAR), Pages()
    research = DeepResearch(model, source)
    run = research.start(QUESTION, mode="quick", attended=True)
    assert waiting(run) == Asks(("Which mill?",))
    again = research.go_on(run.log.so_far())  # nothing was said: it asks still, and asks no model
    assert waiting(again) == Asks(("Which mill?",))
    assert model.calls == ["Clarify"]
    answered = research.go_on(again.log.so_far(), said=Said(answers=("the one at Orra",)))
    drafted = waiting(answered)
    assert drafted is not None
    assert drafted.brief is not None
    assert drafted.brief.must_cover == ("what it grinds",)
    assert source.queries == []
    brief = Brief(goal="What the Orra mill grinds", words=120)
    done = research.go_on(answered.log.so_far(), said=Said(brief=brief))
    assert done.result().brief == brief
    assert asks(done.state) is None
    assert model.calls.count("Scope") == 1
    ended = research.go_on(done.log.so_far())  # a run that waits no more is as any other
    assert ended.result().brief == brief


def test_days_that_an_answer_takes_back_and_a_goal_of_blanks_make_no_brief_that_cannot_be_used():
    said = {"Scope": lambda _: {"goal": "   ", "must_cover": ["    ", "what it grinds"], "out_of_scope": ["   "]}}
    research = DeepResearch(Filler(UNCLEAR | said), Pages())
    run = research.start("What was built at the Orra mill since 2020?", mode="quick", attended=True)
    assert waiting(run) == Asks(("Which mill?",))
    drafted = waiting(research.go_on(run.log.so_far(), said=Said(answers=("that of reports until 2015",))))
    assert drafted is not None
    assert drafted.brief is not None
    assert (drafted.brief.since, drafted.brief.until) == ("", "2015-12-31")
    assert drafted.brief.goal.startswith("What was built at the Orra mill")
    assert (drafted.brief.must_cover, drafted.brief.out_of_scope) == (("what it grinds",), ())


def test_an_attended_run_with_nothing_to_ask_shows_its_brief_and_begins_when_told_to():
    research = DeepResearch(Filler(), Pages())
    run = research.start(QUESTION, mode="quick", attended=True)
    shown = waiting(run)
    assert shown is not None
    assert shown.brief is not None
    report = research.go_on(run.log.so_far(), said=Said()).result()
    assert report.brief == shown.brief
    at_a_terminal = research.start(QUESTION, mode="quick", attended=True)
    waiting(at_a_terminal)
    assert research.go_on(at_a_terminal.log.so_far(), ask=lambda _: None).result().found


@pytest.mark.parametrize("planner", ["single", "parallel", "sequential"])
def test_what_a_persons_brief_must_cover_is_searched_for_whatever_the_planner(planner):
    source = Pages()
    brief = Brief(goal=QUESTION, must_cover=(POINT,), words=300)
    run = DeepResearch(Filler(), source).start(QUESTION, mode="quick", planner=planner, brief=brief)
    report = run.result()
    assert f"{POINT} {QUESTION}" in source.queries
    assert len(source.queries) <= run.state.plan["searches"]
    assert POINT not in report.not_covered  # it is told of a page
    assert not any(one.startswith(POINT) for one in _queries_without(planner))


def _queries_without(planner):
    source = Pages()
    DeepResearch(Filler(), source).report(QUESTION, mode="quick", planner=planner)
    return source.queries


def test_a_report_in_points_is_written_and_told_so():
    model = Filler()
    report = DeepResearch(model, Pages()).report(
        QUESTION, mode="quick", brief=Brief(goal=QUESTION, format="points", words=200)
    )
    told = dict(zip(model.calls, model.prompts, strict=True))["WrittenSection"]
    assert "Each sentence stands by itself, as an item of a list." in told
    for section in report.sections:
        lines = section.text.splitlines()
        assert lines
        assert all(line.startswith("- ") and line.endswith("]]") for line in lines)
    assert "\n- The Orra mill grinds barley" in report.to_markdown()
    plain = Filler()
    prose = DeepResearch(plain, Pages()).report(QUESTION, mode="quick", brief=Brief(goal=QUESTION, words=200))
    assert not any(one.text.startswith("- ") for one in prose.sections)
    assert not any("item of a list" in one for one in plain.prompts)
    with pytest.raises(InputError, match="unknown: format"):
        Brief.from_row({"goal": "g", "format": "poem"})


def test_the_command_takes_a_brief_from_a_file_and_keeps_it(tmp_path, monkeypatch):
    from foveal.cli import research_setup

    monkeypatch.setenv("FOVEAL_HOME", str(tmp_path / "home"))
    texts = tmp_path / "texts"
    texts.mkdir()
    for one in PAGES:
        (texts / f"{one.title}.txt").write_text(one.text, encoding="utf-8")
    monkeypatch.setattr(research_setup, "server", lambda *_: Filler(UNCLEAR))
    file = tmp_path / "brief.json"
    given = ("--report", "--source", f"dir:{texts}", "--mode", "quick", "--brief", str(file))
    file.write_text(json.dumps({"must_cover": [POINT], "format": "points"}), encoding="utf-8")
    command = CliRunner()
    done = command.invoke(app, ["research", QUESTION, *given, "--json"])
    assert done.exit_code == 0, done.output
    ledger = json.loads(done.stdout)
    assert ledger["brief"] | {"must_cover": [POINT], "format": "points", "words": 200} == ledger["brief"]
    assert ledger["brief"]["goal"] == QUESTION
    assert "up to 4 searches, about 200 words" in done.stderr
    kept = json.loads(command.invoke(app, ["research", "list", "--json"]).stdout)
    assert len(kept) == 1
    for text, said in (
        ('{"colour": "red"}', "unknown: colour"),
        ("goal", "cannot be read"),
        ("[]", "no brief"),
    ):
        file.write_text(text, encoding="utf-8")
        wrong = command.invoke(app, ["research", QUESTION, *given])
        assert wrong.exit_code == 1
        assert said in str(wrong.exception)
    both = command.invoke(app, ["research", QUESTION, *given, "--clarify"])
    assert "Leave one of them out" in str(both.exception)
    assert command.invoke(app, ["research", QUESTION, "--brief", str(file)]).exit_code == 2


def test_what_the_short_answer_says_word_for_word_stands_there_alone():
    report = DeepResearch(Filler(), Pages()).report(QUESTION, mode="quick", brief=Brief(goal=QUESTION, words=200))
    assert report.sections[0].heading == LEAD
    said = [one.text for one in report.claims]
    assert len(said) > 3
    assert len(said) == len(set(said))
