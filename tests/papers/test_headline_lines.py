"""Lines beside titles: off without a judge, judged once, kept with names, shown everywhere, the title never changed."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from clocks import NOON, Clock, moved
from sqlalchemy import select

from foveal.database import Database
from foveal.errors import InputError, UnknownName
from foveal.evaluation.headlines import HeadlinePair, HeadlineSet
from foveal.papers.headline_lines import (
    UNTRAINED,
    HeadlineSettings,
    digest_line,
    headline_settings,
    judge_new,
    lines_of,
)
from foveal.papers.headlines import HeadlineJudge, JudgeSettings
from foveal.papers.records import PaperRecord
from foveal.papers.schedule import Schedule
from foveal.papers.schema import HeadlineRow
from foveal.papers.store import PaperStore
from foveal.papers.upserts import upsert
from foveal.settings import Settings

ABSTRACT = "Sparse readers find a page in two looks. We measure {n} libraries. The code is public."


@pytest.fixture(autouse=True)
def clock() -> Iterator[Clock]:
    with moved() as held:
        yield held


@pytest.fixture(scope="module")
def judge() -> HeadlineJudge:
    made = []
    for n in range(40):
        text = f"A bus crash in town{n} left {n} hurt. The road was wet."
        made += [
            HeadlinePair(f"A bus crash in town{n} left {n} hurt", text, "HREL"),
            HeadlinePair("You won't believe this", text, "LREL"),
            HeadlinePair(f"Road wet in town{n}", text, "MREL"),
        ]
    return HeadlineJudge(JudgeSettings(texts=False)).fit(HeadlineSet("made", tuple(made), "Research only."))


class FirstSentence:
    """A writer that takes an article's first sentence."""

    def candidates(self, articles, n=1):
        return [[(article.split(".")[0], -1.0), ("Nothing of it", -2.0)][:n] for article in articles]


@pytest.fixture
def home(tmp_path: Path, judge: HeadlineJudge) -> Settings:
    judge.save(tmp_path / "models" / "mine")
    return Settings(home=tmp_path, cache=tmp_path / "cache")


@pytest.fixture
def database(home: Settings) -> Iterator[Database]:
    opened = Database.open(home)
    upsert(opened, [record(1, "Sparse readers find a page in two looks"), record(2, "You won't believe this")])
    yield opened
    opened.close()


def record(n: int, title: str, **more: object) -> PaperRecord:
    known = {"abstract": ABSTRACT.format(n=n), "source": "arxiv", "listed_on": NOON.date()}
    return PaperRecord(id=f"2610.{n:05d}", title=title, **{**known, **more})  # type: ignore[arg-type]


def with_writer(chosen: HeadlineSettings, settings: Settings) -> tuple[HeadlineJudge, FirstSentence]:
    return HeadlineJudge.load(settings.home / "models" / "mine"), FirstSentence()


BOTH = HeadlineSettings(judge="mine", writer="first-sentence", candidates=2)


def test_without_a_judge_nothing_is_loaded_and_it_says_how_to_train_one(home, database):
    told = judge_new(database, home, load=lambda *_: pytest.fail("loaded"))
    assert (told.judged, told.off) == ([], UNTRAINED)
    assert "foveal train headline-judge" in told.off
    assert Schedule(database, home).tick(threading.Event()) == []
    assert lines_of(database, ["2610.00001"]) == {}


def test_titles_are_judged_once_and_kept_with_their_evidence(home, database):
    (home.home / "foveal.toml").write_text('[headlines]\njudge = "mine"\n')
    told = judge_new(database, home)
    assert sorted(told.judged) == ["2610.00001", "2610.00002"]
    assert (told.written, told.left, told.licence) == (0, 0, "Research only.")
    lines = lines_of(database, ["2610.00001", "2610.00002", "2610.00009"])
    assert [lines[one].label for one in sorted(lines)] == ["HREL", "LREL"]
    assert lines["2610.00001"].evidence == "Sparse readers find a page in two looks."
    assert lines["2610.00001"].judge == "mine"
    assert "core fact" in lines["2610.00001"].meaning
    assert judge_new(database, home, load=lambda *_: pytest.fail("loaded")).judged == []
    last = home.home / "models" / "mine" / "judge.json"
    os.utime(last, ns=(0, last.stat().st_mtime_ns + 10**9))  # trained anew, under its name
    assert len(judge_new(database, home).judged) == 2
    assert judge_new(database, home, load=lambda *_: pytest.fail("loaded")).judged == []


def test_a_written_line_stands_beside_a_title_only_where_it_is_better(home, database):
    told = judge_new(database, home, chosen=BOTH, load=with_writer)
    assert told.written == 1
    lines, store = lines_of(database, ["2610.00001", "2610.00002"]), PaperStore(database)
    assert (lines["2610.00001"].written, lines["2610.00001"].writer) == ("", "")
    assert lines["2610.00002"].written == "Sparse readers find a page in two looks"
    assert lines["2610.00002"].writer == "first-sentence"
    assert store.get("2610.00002").title == "You won't believe this"
    line = digest_line(database)
    assert line(store.get("2610.00001")) is None
    assert line(store.get("2610.00002")) == (
        "Sparse readers find a page in two looks (written by first-sentence, judged by mine)"
    )


def test_what_changes_is_judged_anew_and_what_was_broken_off_goes_on(home, database):
    stop = threading.Event()
    told = judge_new(database, home, chosen=BOTH, load=with_writer, stop=stop, on_judged=lambda _: stop.set())
    assert (len(told.judged), told.left, told.stopped) == (1, 1, True)
    assert len(judge_new(database, home, chosen=BOTH, load=with_writer).judged) == 1
    upsert(database, [record(2, "Another title", version=2)])
    assert judge_new(database, home, chosen=BOTH, load=with_writer).judged == ["2610.00002"]
    assert len(judge_new(database, home, chosen=replace(BOTH, writer=""), load=with_writer).judged) == 2
    with database.reading() as session:
        assert len(session.scalars(select(HeadlineRow)).all()) == 2


def test_only_the_papers_listed_last_and_so_many_at_a_time(home, database, clock):
    upsert(database, [record(n, f"Title {n}") for n in range(3, 8)])
    upsert(database, [record(9, "No abstract", abstract=""), record(10, "Gone", withdrawn=True)])
    told = judge_new(database, home, chosen=replace(BOTH, most=4), load=with_writer)
    assert (len(told.judged), told.left) == (4, 3)
    clock.now = NOON.replace(day=20)
    assert judge_new(database, home, chosen=BOTH, load=with_writer).left == 0


@pytest.mark.parametrize("wrong", [{"judge": "nobody"}, {"writer": "nobody"}])
def test_a_wrong_name_is_said_where_there_is_nothing_to_judge(home, database, clock, wrong):
    clock.now = NOON.replace(day=20)
    chosen = replace(HeadlineSettings(judge="mine"), **wrong)
    with pytest.raises(UnknownName, match=r"No headline (judge|writer) is called 'nobody'"):
        judge_new(database, home, chosen=chosen)
    assert judge_new(database, home, chosen=HeadlineSettings(judge="mine")).left == 0  # nothing is loaded


def test_wrong_settings_are_named(home, database, caplog):
    file = home.home / "foveal.toml"
    for text, said in (
        ('judge = "mine"\nmost = 0', "above 0"),
        ('writer = "x"', "a judge where"),
        ("colour = 1", "colour"),
    ):
        file.write_text(f"[headlines]\n{text}\n")
        with pytest.raises(InputError, match=said):
            headline_settings(home.home)
    file.write_text('[headlines]\njudge = "nobody"\n')
    with pytest.raises(UnknownName, match="There are: mine"):
        judge_new(database, home)
    schedule = Schedule(database, home)
    for _ in range(3):  # it goes on, says so, and does not say it at every look
        assert schedule.tick(threading.Event()) == []
    assert caplog.text.count("titles are not judged") == 1
