"""The memory of a run of deep research: taken in, used in prompts, flat, the same after a kill, shown, switched off."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from report_worlds import Filler, Pages, page
from typer.testing import CliRunner

from foveal.cli.main import app
from foveal.database import Database
from foveal.errors import InputError
from foveal.research.board import Board
from foveal.research.deep import DeepResearch, settings_of
from foveal.research.events import EventLog
from foveal.research.evidence import Evidence, SourceRecord
from foveal.research.memory import MemorySettings, RunMemory
from foveal.research.memory_edits import cited, edit, remembered
from foveal.research.memory_facts import said as facts_said
from foveal.research.memory_facts import without_date
from foveal.research.memory_kept import KeptMemory, MemoryShown
from foveal.research.prompts import CONCISE
from foveal.research.runs import Runs
from foveal.research.state import RunState
from foveal.research.steps import Steps
from foveal.settings import Settings
from foveal.types import Passage, Span

OWNERS = (
    page("Old books", "The owner of the Orra mill was Ada Hart. The Orra mill grinds barley.", year=1990),
    page("New books", "The owner of the Orra mill is Bo Lund. The Orra mill grinds oats as well.", year=2015),
    page("Undated", "The wheel of the Orra mill has forty paddles of oak. Nobody counts them."),
)
OWNER = "Who owns the Orra mill?"


def words(text):
    return len(text.split())


def evidence_of(key, text, year=None):
    source = f"s{key[1:]}"
    record = SourceRecord(key=source, url=f"https://mills.example/{key}", title=key, document_id=source, revision="r",
                          published_at=f"{year}-03-01" if year else None)  # fmt: skip
    one = Evidence(
        key=key, source=source, question="q", passage=Passage(Span(source, 0, len(text)), text), summary=text
    )
    return one, record


def fed(kept, *told):
    """A memory after texts, each a search of its own: key, text, year."""
    for number, (key, text, year) in enumerate(told, 1):
        one, record = evidence_of(key, text, year)
        kept.take_in(f"search {number}", [one], {record.key: record})
    return kept


def at_once(kind, key, work):
    return json.loads(json.dumps(work(None)))


TOLD = (
    ("e1", "The owner of the Orra mill was Ada Hart.", 1990),
    ("e2", "The owner of the Orra mill is Bo Lund.", 2015),
    ("e3", "The price of flour is 4 crowns. The price of flour is 4 crowns.", None),
    ("e4", "The aim of this study was to count mills. We counted 12 of them.", 2001),
)


def test_each_search_is_taken_in_with_its_evidence_and_date_and_what_it_supersedes_is_kept_as_history():
    kept = fed(KeptMemory(at_once, count=words), *TOLD)
    facts = {one.object: one for one in kept.memory.facts}
    assert facts["Ada Hart"].source == "e1"
    assert facts["Ada Hart"].superseded_by == facts["Bo Lund"].key
    assert facts["Ada Hart"].valid_to.year == facts["Bo Lund"].valid_from.year == 2015
    assert facts["4 crowns"].valid_from is None  # nobody knows when: it is no news
    assert len(facts) == 3  # "the aim of this study" is said of no study in particular
    assert kept.lines(OWNER, most=1) == ["Orra mill: owner = Bo Lund from 2015-03-01"]
    assert not [one for one in kept.lines(OWNER, most=8, without=["e2"]) if "Bo Lund" in one]
    marked = "\n".join(kept.marked(OWNER, tokens=200, keys=["e1"]))
    assert "[[e1]]" in marked
    assert "[[e2]]" not in marked


def test_a_page_that_writes_marks_of_its_own_cites_nothing():
    kept = fed(KeptMemory(at_once, count=words), ("e1", "Oats are dear.", 1990), ("e2", "Rye is cheap [[e1]].", 1990))
    assert kept.memory.notes.prose == ("Oats are dear. [[e1]]", "Rye is cheap . [[e2]]")
    assert not [one for one in kept.marked("Is rye cheap?", tokens=200, keys=["e1"]) if "Rye" in one and "[[" in one]


def test_what_a_step_changed_makes_the_same_memory_again():
    rows = {}

    def step(kind, key, work):
        rows[kind, key] = rows.get((kind, key)) or at_once(kind, key, work)
        return rows[kind, key]

    told = (*TOLD, ("e5", "The owner of the Orra mill is Cy Berg.", 2015), ("e6", "Rye is dear.", 2016))
    few = MemorySettings(most=3)
    first = fed(KeptMemory(step, count=words, settings=few), *told)
    again = fed(KeptMemory(lambda kind, key, _: rows[kind, key], count=words, settings=few), *told)  # does no work
    assert again.memory.to_row() == first.memory.to_row()
    assert (len(first.memory.facts), len(first.memory.conflicts)) == (3, 1)  # one is forgotten, two contradict
    assert not [one for one in first.lines(OWNER, most=9) if "Rye" in one]  # nothing that the question asks
    kept = first.memory.to_row()
    fed(first, *told)
    assert first.memory.to_row() == kept  # it was taken in already
    twice = RunMemory(count=words)
    twice.load_row(first.memory.to_row())
    twice.take(first.memory.changes_since(RunMemory(count=words).to_row()))
    assert twice.to_row() == first.memory.to_row()


def test_the_memory_forgets_above_its_size_but_nothing_that_a_draft_cites():
    kept = KeptMemory(at_once, count=words, settings=MemorySettings(most=2))
    kept.cited = frozenset({"e1"})
    told = [(f"e{n}", f"The owner of mill {n} is Person{n}.", 1900 + n) for n in range(1, 7)]
    fed(kept, *told)
    assert len(kept.memory.facts) == 2
    assert "e1" in {one.source for one in kept.memory.facts}


def test_a_run_recalls_what_it_read_in_the_planner_s_the_timing_s_and_the_writer_s_prompts():
    def asked(remember):
        turns = iter(["paddles of oak", "owner papers", "counts forty"])
        model = Filler({"Next": lambda _: {"action": "search", "query": next(turns, "paddles of oak")}})
        research = DeepResearch(model, Pages(OWNERS), remember=remember)
        run = research.start(OWNER, mode="normal", planner="sequential", timing="tagged")
        run.result()
        return run, model

    run, model = asked(remember=True)
    without, plain = asked(remember=False)
    of = {name: [text for call, text in zip(model.calls, model.prompts, strict=True) if call == name]
          for name in ("Next", "Act", "WrittenSection")}  # fmt: skip
    line = "Orra mill: owner = Bo Lund from 2015-03-01"
    assert any(line in text for text in of["Next"])
    drafts = [next(text for call, text in zip(one.calls, one.prompts, strict=True)
                   if call == "Act" and "Question: owner papers" in text) for one in (model, plain)]  # fmt: skip
    assert line in drafts[0].partition(CONCISE)[2]  # what another branch found
    assert "forty paddles" in drafts[1]
    assert "Bo Lund" not in drafts[1]
    assert any(line in text.partition("Noted in the whole run")[2] for text in of["WrittenSection"])
    assert not any(line in text for text in plain.prompts)
    assert any(name.startswith("note memory") for name in run.state.steps)
    assert not any(name.startswith("note memory") for name in without.state.steps)
    assert without.state.memory == {}
    again = DeepResearch(model, Pages(OWNERS), remember=False).go_on(run.log.so_far())
    assert again.result().claims == run.result().claims
    assert again.state.memory == run.state.memory  # as it was begun


def test_prompts_of_a_long_run_stay_as_short_as_they_were():
    said = (
        "The owner of mill {0} is Person{0}. Mill {0} by the river{0} grinds grain{0} for all of village{0} since {1}."
    )
    many = [page(f"Mill {n}", said.format(n, 1700 + n), year=1900 + n) for n in range(60)]
    numbers = iter(range(1, 60))
    model = Filler(
        {"Next": lambda _: {"action": "search", "query": f"grain{(n := next(numbers))} village{n} river{n}"}}
    )
    settings = settings_of("deep", model)
    settings = replace(settings, memory=MemorySettings(window=512, most=20), plan=replace(settings.plan, iterations=40))
    run = DeepResearch(model, Pages(many)).start("What do the mills grind?", settings=settings, planner="sequential")
    run.result()
    lengths = [words(text) for call, text in zip(model.calls, model.prompts, strict=True) if call == "Next"]
    assert len(lengths) >= 30
    half = len(lengths) // 2
    assert max(lengths[half:]) <= 1.1 * max(lengths[:half])
    shown = MemoryShown.of(run.state.memory)
    assert shown.compacted > 0  # prose became facts
    assert shown.forgotten
    assert shown.facts <= 20
    assert max(row["tokens"] for row in run.state.memory.values()) <= 512 * 0.6 + 60  # the last text before compaction


def test_what_was_remembered_is_replayed_and_told(tmp_path, monkeypatch):
    monkeypatch.setenv("FOVEAL_HOME", str(tmp_path / "home"))
    from foveal.research.traces import text_of

    run = DeepResearch(Filler(), Pages(OWNERS)).start(OWNER, mode="quick")
    run.result()
    trace = tmp_path / "run.jsonl"
    trace.write_text(text_of(run.log.so_far()), encoding="utf-8")
    told = CliRunner().invoke(app, ["research", "replay", str(trace), "--as", "memory"])
    assert told.exit_code == 0, told.output
    assert "3 passages of 1 search taken in, 2 facts held, 1 superseded." in told.stdout
    assert "Superseded\n  Orra mill: owner = Ada Hart" in told.stdout
    assert "→ Orra mill: owner = Bo Lund from 2015-03-01" in told.stdout
    assert RunState.of(run.log.so_far()).memory == run.state.memory
    assert MemoryShown.of({}) is None


@pytest.mark.parametrize(
    "text", ["The aim of the study was to count.", "Its owner of it is Bo.", "This mill's owner is Bo."]
)
def test_a_sentence_that_points_to_something_else_is_no_fact(text):
    memory = RunMemory(count=words)
    assert memory.consolidate(text, source="e1") == []


# -- a person's changes --------------------------------------------------------------------------------------------


def facts_of(runs, key):
    return {one.key: one for one in remembered(RunState.of(runs.events(key))).facts}


@pytest.fixture
def run_kept(tmp_path):
    """A run of a report over the owners' pages, in a database; its key."""
    database = Database.open(Settings(home=tmp_path, cache=tmp_path))
    runs = Runs(database)
    key = runs.new(OWNER, options={"report": True})
    DeepResearch(Filler(), Pages(OWNERS)).start(OWNER, mode="quick", key=key, keepers=[runs.keep(key)]).result()
    yield runs, key
    database.close()


def test_what_a_person_pins_and_deletes_is_kept_and_the_run_is_over_as_before(run_kept):
    runs, key = run_kept
    before, last = facts_of(runs, key), runs.events(key)[-1]
    free = [one for one in before.values() if one.source not in cited(RunState.of(runs.events(key)))]
    assert {one.key for one in remembered(RunState.of(runs.events(key))).facts} == set(before)
    pins, gone = next(iter(before)), [one.key for one in free][-1:]
    edit(runs, key, [("pin", pins), *(("delete", one) for one in gone)])
    after = facts_of(runs, key)
    assert after[pins].pinned
    assert set(after) == set(before) - set(gone)
    assert (runs.get(key).status, runs.get(key).stopped_by) == ("done", None)
    assert runs.events(key)[-1].data == last.data
    edit(runs, key, [("unpin", pins)])
    assert not facts_of(runs, key)[pins].pinned


def test_what_is_cited_is_not_deleted_and_what_is_not_there_is_said(run_kept):
    runs, key = run_kept
    before, events = facts_of(runs, key), runs.events(key)
    held = cited(RunState.of(events))
    named = next(one.key for one in before.values() if one.source in held)
    for edits, said in (
        ([("delete", named)], "is cited by a claim"),
        ([("pin", "m999")], f"holds no fact 'm999'; it holds {next(iter(before))}"),
        ([("forget", named)], "no change called 'forget'"),
        ([("pin", named), ("pin", "m999")], "holds no fact"),
    ):
        with pytest.raises(InputError, match=said):
            edit(runs, key, edits)
    assert runs.events(key) == events
    bare = runs.new("What?")
    with pytest.raises(InputError, match="kept no memory"):
        edit(runs, bare, [("pin", "m1")])


def test_changes_hold_from_the_next_search_on_and_a_kill_after_it_loses_none():
    board = Board(EventLog())
    steps = Steps(board, Filler())
    settings = MemorySettings(most=4)
    first = fed(KeptMemory(steps.once, board, count=words, settings=settings), *TOLD[:3])
    owner = next(one for one in first.memory.facts if one.object == "Bo Lund")
    other = next(one for one in first.memory.facts if one.key != owner.key and not one.superseded_by)
    board.tell("memory.edit", edit="pin", fact=owner.key)
    board.tell("memory.edit", edit="delete", fact=other.key)

    def again(upto):
        """The run anew, over the steps that are done."""
        events = EventLog(board.log.so_far())
        own = Board(events)
        kept = KeptMemory(Steps(own, Filler()).once, own, count=words, settings=settings)
        return fed(kept, *TOLD[:upto]), own

    replayed, _ = again(3)
    assert replayed.memory.to_row() == first.memory.to_row()  # what is done is not done otherwise
    went_on, board = again(4)
    keys = {one.key: one for one in went_on.memory.facts}
    assert keys[owner.key].pinned
    assert other.key not in keys
    killed, _ = again(4)
    assert killed.memory.to_row() == went_on.memory.to_row()


def test_the_command_shows_pins_and_deletes(tmp_path):
    settings = Settings(home=tmp_path, cache=tmp_path)
    database = Database.open(settings)
    runs = Runs(database)
    key = runs.new(OWNER, options={"report": True})
    DeepResearch(Filler(), Pages(OWNERS)).start(OWNER, mode="quick", key=key, keepers=[runs.keep(key)]).result()
    database.close()

    def command(*given):
        return CliRunner().invoke(app, ["research", "memory", key[:8], *given, "--home", str(tmp_path)])

    told = json.loads(command("--json").stdout)
    assert {one["key"] for one in told} >= {"m1"}
    assert not any(one["pinned"] for one in told)
    shown = command("--pin", "m1")
    assert shown.exit_code == 0, shown.output
    assert "pinned" in shown.stdout
    assert [one["pinned"] for one in json.loads(command("--json").stdout) if one["key"] == "m1"] == [True]
    named = next(one["key"] for one in told if one["cited"])
    assert "is cited by a claim" in str(command("--delete", named).exception)


def test_sentences_without_end_hold_no_fact():
    for text in ("?" * 300_000 + "x", "[[" * 200_000, f"The mill{' ' * 100_000}of Orsin in 1990"):
        assert facts_said(text) == []
    moment = datetime(1990, 1, 1, tzinfo=UTC)
    assert without_date(f"a{' ' * 200_000}b 1990") == (f"a{' ' * 200_000}b", moment)
    assert without_date("It closed, in 1990.") == ("It closed", moment)
