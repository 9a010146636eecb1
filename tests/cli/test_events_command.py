"""`foveal events` and `foveal ab`, as a person uses them."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest
from typer.testing import CliRunner

from foveal.cli.events import _draw, _preferred
from foveal.cli.main import app
from foveal.evaluation.interleaving import Verdict

BASE = datetime(2023, 5, 1, tzinfo=UTC)


@pytest.fixture
def feed(tmp_path):
    rows = []
    for number in range(12):
        date = BASE + timedelta(days=number)
        title = f"Grain ship number {number} leaves port of w{number}"
        rows.append({"id": f"n{number}", "title": title, "text": "grain " * 9,
                     "published_at": date.isoformat(), "url": f"https://p{number}.example/x"})  # fmt: skip
    for number in range(5):
        date = BASE + timedelta(days=10, hours=number)
        rows.append({"id": f"q{number}", "title": f"Quake hits the coast near Elazig w{number}",
                     "text": f"Rescuers search the rubble own{number} more{number}", "published_at": date.isoformat(),
                     "url": f"https://q{number}.example/x"})  # fmt: skip
    rows.append({"id": "undated", "title": "A page without any date", "text": "nothing"})
    path = tmp_path / "feed.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def run(*arguments, home, text=None, code=0):
    done = CliRunner().invoke(app, [*map(str, arguments), "--home", str(home)], input=text, env={"COLUMNS": "80"})
    assert done.exit_code == code, (done.output, done.exception)
    return done


def test_events_of_a_feed(feed, tmp_path):
    found = json.loads(run("events", feed, "--at", "2023-05-12", "--json", home=tmp_path).stdout)
    top = found["events"][0]
    assert top["phrase"].startswith("Quake hits the coast")
    assert (top["count"], top["stage"]) == (5, "steady")
    assert found["no_evidence"]["undated"] == 1
    shown = run("events", feed, "--at", "2023-05-12", "--trending", "-k", 3, home=tmp_path).stdout
    assert "Quake hits" in shown  # the table is folded
    whole = run("events", feed, "--at", "2023-05-12", "--event", top["id"], home=tmp_path).stdout
    assert whole.count("Quake hits the coast near Elazig w") == 5
    future = json.loads(run("events", feed, "--at", "2023-05-03", "--json", home=tmp_path).stdout)
    assert future["no_evidence"]["future"] > 0
    assert not any("Quake" in event["phrase"] for event in future["events"])


@pytest.mark.parametrize(
    ("at", "said"),
    [
        ("2020-01-01", "No event by 2020-01-01: the first document is of 2023-05-01."),
        ("2025-05-12", "No event as of 2025-05-12: the last document is of 2023-05-12. As of then: --at 2023-05-12."),
    ],
)
def test_where_no_event_is_the_dates_say_why(at, said, feed, tmp_path):
    assert " ".join(run("events", feed, "--at", at, home=tmp_path).stdout.split()) == said


def test_a_date_in_the_far_future_does_not_hide_how_old_the_others_are(feed, tmp_path):
    with feed.open("a") as more:
        more.write('{"id": "wrong", "title": "A clock is wrong", "text": "x", "published_at": "2099-01-01"}\n')
    said = " ".join(run("events", feed, "--at", "2025-05-12", home=tmp_path).stdout.split())
    assert said.endswith("the last document is of 2023-05-12. As of then: --at 2023-05-12.")


def test_a_verdict_in_words_needs_enough_impressions():
    early = _preferred("hybrid", "fresh", Verdict(1, 0, 0, 0, 1.0))
    assert early == "hybrid and fresh: too early to say which is preferred (a coin parts them so with p 1)."
    sure = _preferred("hybrid", "fresh", Verdict(2, 12, 0, 0, 0.0129))
    assert sure == "fresh is preferred, by 12 to 2: a coin parts them so with p 0.013."


def test_events_whose_phrases_begin_alike_have_lines_of_their_own(tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr("foveal.evaluation.plots.lines", lambda _days, series, *_, **__: drawn.append(series))
    phrase = "The council of the old town by the river debates"
    alike = [SimpleNamespace(id=f"e{n}", phrase=f"{phrase} {n}", days={"2023-05-01": n}) for n in (1, 2)]
    _draw(alike, tmp_path / "a.png")
    assert {name: max(values) for name, values in drawn[0].items()} == {
        "e1 The council of the old town by the …": 1.0,
        "e2 The council of the old town by the …": 2.0,
    }


def test_where_nothing_is_dated_it_says_so(tmp_path):
    plain = tmp_path / "plain.jsonl"
    plain.write_text(json.dumps({"id": "a", "title": "A page without any date", "text": "nothing"}))
    assert "No event: no document is dated." in run("events", plain, home=tmp_path).stdout


def test_what_gave_no_document_is_told_not_lost(feed, tmp_path):
    with feed.open("a") as more:
        more.write('{"id": "q0", "title": "Again", "text": "x", "published_at": "2023-05-11"}\nno JSON\n')
        more.write('{"id": "blank", "title": "", "text": "", "published_at": "2023-05-11"}\n')
    done = run("events", feed, "--at", "2023-05-12", "--json", home=tmp_path)
    found = json.loads(done.stdout)
    assert found["received"] == 18
    assert len(found["skipped"]) == 3
    assert done.stderr.count("Not counted: ") == 3
    assert all(one["reason"] in done.stderr for one in found["skipped"])
    (tmp_path / "bare.jsonl").write_text("no JSON\n")
    assert "Line 1 is not JSON" in str(run("events", tmp_path / "bare.jsonl", home=tmp_path, code=1).exception)


def test_a_stream_of_titles_alone_has_events(tmp_path):
    rows = [
        {"title": f"Quake hits the coast near Elazig w{n}", "published_at": f"2023-05-11T0{n}:00"} for n in range(4)
    ]
    (tmp_path / "titles.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    done = run("events", tmp_path / "titles.jsonl", "--at", "2023-05-12", "--json", home=tmp_path)
    found = json.loads(done.stdout)
    assert (found["events"][0]["count"], found["skipped"]) == (4, [])


def test_words_that_burst_and_a_picture(feed, tmp_path):
    pytest.importorskip("matplotlib")
    words = json.loads(run("events", feed, "--bursts", "--at", "2023-06-01", "--json", home=tmp_path).stdout)
    assert "quake" in [word["term"] for word in words]
    assert "quake" in run("events", feed, "--bursts", "--at", "2023-06-01", home=tmp_path).stdout
    run("events", feed, "--at", "2023-05-12", "--picture", tmp_path / "events.png", home=tmp_path)
    assert (tmp_path / "events.png").read_bytes().startswith(b"\x89PNG")


def test_events_of_a_library_search_as_of_a_day_and_two_searches_compared(feed, tmp_path):
    home = tmp_path / "home"
    run("add", feed, "--encoder", "none", home=home)
    top = json.loads(run("events", "--at", "2023-05-12", "--json", home=home).stdout)["events"][0]
    assert (top["phrase"][:5], top["count"]) == ("Quake", 5)
    hits = json.loads(
        run("search", "quake Elazig", "--retriever", "fresh", "--at", "2023-05-12", "--json", home=home).stdout
    )["hits"]
    assert hits[0]["title"].startswith("Quake")
    said = run("search", "quake Elazig", "--retriever", "fresh", "--at", "2023-05-12", "-k", 3, home=home)
    assert "Events taken for it: Quake hits the coast" in said.stderr
    assert "--no-events searches without" in said.stderr
    early = run("search", "quake Elazig", "--retriever", "fresh", "--at", "2023-05-02", "--json", home=home).stdout
    assert not any(hit["title"].startswith("Quake") for hit in json.loads(early)["hits"])
    assert "Nothing was compared yet" in run("ab", home=home).stdout
    shown = run("ab", "quake Elazig", "--a", "lexical", "-k", 4, home=home, text="1 2\n").stdout
    assert "Quake hits the coast" in shown
    run("ab", "quake Elazig", "--a", "lexical", "-k", 2, home=home, text="\n")
    assert "too early to say" in run("ab", home=home).stdout
    tally = json.loads(run("ab", "--json", home=home).stdout)[0]
    assert (tally["a"], tally["b"], tally["tally"]["unclicked"]) == ("lexical", "fresh", 1)
    refused = CliRunner().invoke(app, ["ab", "quake", "--a", "lexical", "-k", "2", "--home", str(home)], input="9\n")
    assert "no number from 1 to 2" in str(refused.exception)
    again = CliRunner().invoke(app, ["ab", "quake", "--a", "lexical", "-k", "2", "--home", str(home)], input="9\n1\n")
    assert "'9' is no number from 1 to 2. Which were useful?" in " ".join(again.stderr.split())
    tally = json.loads(run("ab", "--json", home=home).stdout)[0]["tally"]
    assert (tally["unclicked"], tally["a"] + tally["b"]) == (2, 1)  # what was typed wrong first is not lost


def test_a_search_for_news_says_which_events_it_took_and_does_without_where_asked(feed, tmp_path):
    home, asked = tmp_path / "home", ("search", "quake Elazig", "--at", "2023-05-12", "--json", "-k", 9)
    run("add", feed, "--encoder", "none", home=home)
    found = json.loads(run(*asked, "--retriever", "fresh", home=home).stdout)
    assert found["events"][0]["phrase"].startswith("Quake hits the coast")
    assert "shared: quake, elazig" in found["events"][0]["why"]
    own, other = ([hit for hit in found["hits"] if hit["title"].startswith(word)] for word in ("Quake", "Grain"))
    assert {hit["event"] for hit in own} == {found["events"][0]["id"]}
    assert {hit["event"] for hit in other} <= {None, *(event["id"] for event in found["events"][1:])}
    ages = [hit["age_days"] for hit in own]
    assert all(1.8 < age <= 2 for age in ages)
    without = json.loads(run(*asked, "--retriever", "fresh", "--no-events", home=home).stdout)
    assert without["events"] == []
    assert without["about_now"] < found["about_now"]
    assert {hit["event"] for hit in without["hits"]} == {None}
    plain = json.loads(run("search", "quake Elazig", "--json", home=home).stdout)
    assert "events" not in plain
    assert "age_days" not in plain["hits"][0]
    refused = CliRunner().invoke(app, ["search", "quake", "--no-events", "--home", str(home)])
    assert (refused.exit_code, "--retriever fresh" in refused.output) == (2, True)
