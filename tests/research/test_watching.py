"""Watching: what changed between two reports, against a plain reading of them; when a question is looked at."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from reports import QUESTION, whole_report

from foveal import faults
from foveal.database import Database
from foveal.errors import Cancelled, FetchFailed, InputError
from foveal.research.checks import WordChecks, denied
from foveal.research.evidence import Claim, Evidence, SourceRecord, Verdict
from foveal.research.report import Brief, Report
from foveal.research.report_parts import NOT_SEARCHED, Section
from foveal.research.runs import Runs
from foveal.research.watches import Watch, Watches
from foveal.research.watching import Change, Look, compared, look_at_due
from foveal.settings import Settings
from foveal.types import Passage, Span, document_id

NOW = datetime(2026, 11, 2, 8, tzinfo=UTC)


def report(*said: tuple[str, str, str], texts: dict[str, str] | None = None, **more: Any) -> Report:
    """A report of claims (text, source, verdict) whose sources say what their claims say, or `texts`."""
    names = list(dict.fromkeys(name for _, name, _ in said))
    held = {name: " ".join(text for text, of, _ in said if of == name) for name in names} | (texts or {})
    keys = {name: f"s{number}" for number, name in enumerate(held, start=1)}
    sources = tuple(
        SourceRecord(
            key=key,
            url=f"https://p.example/{name}",
            title=name,
            document_id=document_id(name),
            revision="r",
            published_at="2026-10-05",
        )
        for name, key in keys.items()
    )
    evidence = tuple(
        Evidence(
            key=f"e{number}",
            source=keys[name],
            question="q",
            passage=Passage(Span(document_id(name), 0, len(held[name])), held[name]),
        )
        for number, name in enumerate(held, start=1)
    )
    by_source = {one.source: one.key for one in evidence}
    claims = tuple(
        Claim(text=text, evidence=(by_source[keys[name]],), verdict=Verdict(label=label, score=0.9, quote=text))  # type: ignore[arg-type]
        for text, name, label in said
    )
    text = " ".join(f"{one.text} [[{one.evidence[0]}]]" for one in claims)
    text += "".join(f" [[{by_source[keys[name]]}]]" for name in texts or ())
    return Report(
        question=QUESTION, brief=Brief(goal=QUESTION), title="T", sections=(Section(heading="S", text=text),),
        sources=sources, evidence=evidence, claims=claims, **more,
    )  # fmt: skip


FAST = "Sparse attention takes 0.59 seconds on texts of 32,000 tokens"
FASTER = "Sparse attention takes 0.41 seconds on texts of 32,000 tokens"
LONG = "Sparse attention takes 0.59 seconds on long texts"
MASKS = "Block masks keep a twentieth of all blocks"


def told(change: Change) -> dict[str, Any]:
    """A change in a few words."""
    return {
        "flipped": [(one.before.text, one.after.text, one.why) for one in change.flipped],
        "new": [one.text for one in change.new],
        "gone": [one.text for one in change.gone],
        "sources": [one.source for one in change.sources],
    }


NOTHING: dict[str, Any] = {"flipped": [], "new": [], "gone": [], "sources": []}


@pytest.mark.parametrize(
    ("before", "after", "flips"),
    [
        ("The new drug reduces pain in adults.", "The new drug not only reduces pain in adults, but fever.", False),
        ("The new drug reduces pain in adults.", "There is no doubt that the new drug reduces pain in adults.", False),
        ("The new drug reduces pain in adults.", "The new drug never reduces pain in adults.", True),
        ("Das neue Mittel lindert Schmerzen.", "Das neue Mittel lindert keine Schmerzen.", True),
        ("Das neue Mittel lindert Schmerzen.", "Das neue Mittel lindert nicht nur Schmerzen, sondern Fieber.", False),
        ("Die Mühle von Vasa mahlt Roggen.", "Die Mühle von Vasa mahlt Roggen, nicht Hafer.", False),
        ("Le roi a reconnu le traité.", "Le roi n'a jamais reconnu le traité.", True),
        ("The new drug only reduces pain in adults.", "The new drug not only reduces pain in adults.", True),
    ],
)
def test_what_only_sounds_like_a_denial_flips_no_claim(before: str, after: str, flips: bool) -> None:
    assert denied(before, after) is flips
    assert denied(after, before) is flips


def test_the_same_report_and_other_words_for_it_are_no_change() -> None:
    before = report((FAST, "a", "supported"), (MASKS, "b", "supported"))
    again = report(
        ("On texts of 32,000 tokens sparse attention takes 0.59 seconds", "a", "supported"), (MASKS, "b", "partly")
    )
    in_ms = report((FAST.replace("0.59 seconds", "590 ms"), "a", "supported"), (MASKS, "b", "supported"))
    for after in (before, again, in_ms):
        change = compared(before, after)
        assert told(change) == NOTHING
        assert not change.matters
        assert change.counted == "nothing changed"


@pytest.mark.parametrize(
    ("before", "after", "why"),
    [
        ((FAST, "a", "supported"), (FASTER, "a", "supported"), "number"),
        ((MASKS, "a", "supported"), ("Block masks do not keep a twentieth of all blocks", "a", "supported"), "denial"),
        ((FAST, "a", "supported"), (FAST, "a", "contradicted"), "verdict"),
        ((FAST, "a", "contradicted"), (FAST, "a", "partly"), "verdict"),
    ],
)
def test_a_claim_flips(before: tuple[str, str, str], after: tuple[str, str, str], why: str) -> None:
    change = compared(report(before), report(after))
    assert told(change) == NOTHING | {"flipped": [(before[0], after[0], why)]}
    assert change.matters
    assert change.counted == "1 claim flipped"


def test_a_verdict_that_was_never_sure_is_no_flip() -> None:
    unsure = report((FAST, "a", "unsupported"))
    assert told(compared(unsure, report((FAST, "a", "unsupported")))) == NOTHING
    assert told(compared(report((FAST, "a", "partly")), unsure)) == NOTHING  # nothing says that it is wrong


def test_a_new_source_that_says_otherwise_flips_what_the_new_report_passes_over() -> None:
    otherwise = LONG.replace("0.59", "0.41")
    before = report((LONG, "a", "supported"))
    after = report((MASKS, "b", "supported"), texts={"late": f"We measured again. {otherwise}. It rained."})
    change = compared(before, after)
    (flip,) = change.flipped
    assert (flip.before.text, flip.why, flip.after.source, flip.after.date) == (LONG, "source", "late", "2026-10-05")
    assert otherwise in flip.after.quote
    assert flip.after.url == "https://p.example/late"
    assert told(change)["gone"] == []  # it is told once
    silent = compared(before, report((MASKS, "b", "supported"), texts={"late": "It rained."}))
    assert told(silent)["flipped"] == []


def test_what_stands_against_a_claim_is_not_told_as_new_beside_it() -> None:
    against = "The release of May needs 0.41 seconds for a text of that length"
    before = report((LONG, "a", "supported"))
    both = report((against, "late", "supported"), (MASKS, "late", "supported"))

    class Against(WordChecks):
        """Finds the one sentence against all that is asked of it."""

        def check_many(self, pairs: Any) -> list[Verdict]:
            where = Span(document_id("late"), 0, len(against))
            return [Verdict(label="contradicted", score=0.0, quote=f"{against}.", where=where) for _ in pairs]

    change = compared(before, both, checks=Against())
    assert [one.after.quote for one in change.flipped] == [f"{against}."]
    assert told(change)["new"] == [MASKS]
    assert told(compared(before, both))["new"] == [against, MASKS]  # where nothing is said to stand against it


def test_new_is_what_rests_on_a_new_source_and_gone_what_a_whole_report_leaves_out() -> None:
    before = report((FAST, "a", "supported"), (MASKS, "a", "supported"))
    extra = "Quality falls by three points when masks are learnt"
    after = report(
        (FAST, "a", "supported"), (extra, "c", "supported"), ("Tokens are dear everywhere now", "a", "supported")
    )
    change = compared(before, after)
    assert told(change) == {"flipped": [], "new": [extra], "gone": [MASKS], "sources": ["c"]}
    assert change.counted == "1 new, 1 gone, 1 new source"
    partial = compared(before, replace(after, stopped_by="budget"))
    assert told(partial)["gone"] == []
    silent = compared(before, replace(after, not_covered=(f"{NOT_SEARCHED}far: Nobody is there.",)))
    assert told(silent)["gone"] == []
    lost = compared(before, report((FAST, "a", "supported")))
    assert (told(lost)["gone"], lost.matters) == ([MASKS], False)


def test_two_records_of_one_source_are_no_new_source() -> None:
    before, after = report((FAST, "a", "supported")), report((FAST, "copy", "supported"))
    moved = replace(after.sources[0], identities=("arxiv:2510.01234",))
    known = replace(before, sources=(replace(before.sources[0], identities=("arxiv:2510.01234",)),))
    assert told(compared(known, replace(after, sources=(moved,)))) == NOTHING
    assert told(compared(before, after))["sources"] == ["copy"]


# -- looks ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def watches(own_settings: Settings) -> Iterator[Watches]:
    database = Database.open(own_settings)
    yield Watches(database)
    database.close()


class Site:
    """Reports in turn, and what was told of them."""

    def __init__(self, *reports: Report | Exception) -> None:
        self.reports = list(reports)
        self.told: list[tuple[int, str, str]] = []
        self.fresh = True

    def research(self, _: Watch) -> tuple[str, Report]:
        made = self.reports.pop(0)
        if isinstance(made, Exception):
            raise made
        return f"run{len(self.reports)}", made

    def tell(self, watch: Watch, change: Change, run: str) -> None:
        self.told.append((watch.id, change.counted, run))

    def at(self, watches: Watches, now: datetime) -> list[Look]:
        """All looks that are due."""
        with faults.injected({}, clock=lambda: now):
            given: dict[str, Any] = {"research": self.research, "fresh": lambda _: self.fresh, "tell": self.tell}
            return list(look_at_due(watches, now=now, **given))


def watched(watches: Watches, **more: Any) -> int:
    with faults.injected({}, clock=lambda: NOW):
        return watches.add(QUESTION, {"sources": ["papers"]}, **more)


BEFORE, AFTER = report((FAST, "a", "supported")), report((FASTER, "a", "supported"))


def test_the_first_report_is_kept_and_the_second_told_once(watches: Watches) -> None:
    number = watched(watches)
    site = Site(BEFORE, AFTER)
    (first,) = site.at(watches, NOW)
    assert (first.change, site.told) == (None, [])
    assert site.at(watches, NOW + timedelta(days=6, hours=23)) == []
    (second,) = site.at(watches, NOW + timedelta(days=7))
    assert second.change is not None
    assert site.told == [(number, "1 claim flipped", "run0")]
    kept = watches.get(number)
    assert kept.report is not None
    assert (kept.report.claims[0].text, kept.run, kept.looked_at) == (FASTER, "run0", NOW + timedelta(days=7))
    assert site.at(watches, NOW + timedelta(days=7)) == []


def test_nothing_new_is_not_researched_and_no_change_not_told(watches: Watches) -> None:
    watched(watches, every="daily", report=BEFORE)
    site = Site(BEFORE)
    site.fresh = False
    (skipped,) = site.at(watches, NOW + timedelta(days=1))
    assert skipped.skipped
    site.fresh = True
    (same,) = site.at(watches, NOW + timedelta(days=2))
    assert same.change is not None
    assert not same.change.matters
    assert (site.told, site.reports) == ([], [])


@pytest.mark.parametrize(
    "broken", [FetchFailed("the server is away"), replace(AFTER, sections=()), replace(AFTER, stopped_by="model")]
)
def test_what_fails_is_tried_again_and_changes_nothing(watches: Watches, broken: Any) -> None:
    number = watched(watches, report=BEFORE)
    site = Site(broken, AFTER)
    later = NOW + timedelta(days=7)
    (failed,) = site.at(watches, later)
    assert failed.error
    assert (watches.get(number).error, site.told) == (failed.error, [])
    assert watches.get(number).report == BEFORE
    assert site.at(watches, later + timedelta(minutes=59)) == []
    (well,) = site.at(watches, later + timedelta(hours=1))
    assert (well.error, watches.get(number).error) == ("", "")
    assert len(site.told) == 1


def test_a_look_that_is_called_off_stays_due(watches: Watches) -> None:
    number = watched(watches)
    site = Site(Cancelled("stopped"), BEFORE)
    with pytest.raises(Cancelled):
        site.at(watches, NOW)
    assert len(site.at(watches, NOW)) == 1
    assert watches.get(number).report == BEFORE


@pytest.mark.parametrize("ends", [AFTER, replace(AFTER, sections=()), FetchFailed("the server is away")])
def test_of_a_question_that_was_taken_away_nothing_is_kept_or_told(watches: Watches, ends: Any) -> None:
    number = watched(watches, report=BEFORE)
    runs, site = Runs(watches.database), Site(ends)

    def research(watch: Watch) -> tuple[str, Report]:
        key = runs.new(watch.question)
        Watches(watches.database).remove(number)  # on a page, by another process
        try:
            return key, site.research(watch)[1]
        except FetchFailed:
            runs.remove(key)
            raise

    now = NOW + timedelta(days=7)
    (look,) = look_at_due(watches, research=research, fresh=lambda _: True, tell=site.tell, now=now)
    assert (look.said, look.error, site.told) == ("not watched any more", "", [])
    assert (runs.listed(), watches.listed()) == ([], [])


def test_one_process_looks_and_a_dead_ones_hold_is_free(watches: Watches) -> None:
    number = watched(watches)
    other = Watches(watches.database)
    assert other.take(number, NOW)
    assert not watches.take(number, NOW)
    assert Site(BEFORE).at(watches, NOW) == []
    assert watches.take(number, NOW + timedelta(hours=3))  # a machine that is no more
    watches.settle(number, next_at=NOW)
    other._holder = f"{watches._holder.split('/')[0]}/999999/dead"
    assert other.take(number, NOW)
    assert watches.take(number, NOW)


def test_a_hold_by_a_clock_that_was_far_ahead_is_free_once_it_stood_for_its_time(watches: Watches) -> None:
    number, other = watched(watches), Watches(watches.database)
    assert other.take(number, NOW + timedelta(days=300))
    assert not watches.take(number, NOW)  # it may be alive
    assert not watches.take(number, NOW + timedelta(hours=2))
    assert Watches(watches.database).take(number, NOW + timedelta(hours=3))  # by a process that has just begun, too
    assert not other.holds(number)


def test_the_last_of_many_looks_is_held_from_its_own_beginning(watches: Watches) -> None:
    """Looks take long, one after the other: from when the first began, the last would be free again at once."""
    with faults.injected({}, clock=lambda: NOW):
        numbers = [watches.add(f"Question {place}?", {}) for place in range(2)]
    other, clock, free = Watches(watches.database), [NOW], []

    def research(watch: Watch) -> tuple[str, Report]:
        clock[0] += timedelta(minutes=5)
        free.append(other.take(watch.id, clock[0]))
        clock[0] += timedelta(hours=4)
        return "run", BEFORE

    with faults.injected({}, clock=lambda: clock[0]):
        given: dict[str, Any] = {"research": research, "fresh": lambda _: True, "tell": lambda *_: None}
        assert [one.watch for one in look_at_due(watches, now=NOW, **given)] == numbers
    assert free == [False, False]


def test_to_list_what_is_watched_takes_no_reports(watches: Watches, monkeypatch: pytest.MonkeyPatch) -> None:
    number = watched(watches, report=BEFORE, run="first")
    monkeypatch.setattr(Report, "of_ledger", lambda _: pytest.fail("a report was read"))
    (shown,) = watches.listed(reports=False)
    assert (shown.id, shown.question, shown.run, shown.report) == (number, QUESTION, "first", None)


def test_who_lost_a_hold_settles_nothing(watches: Watches) -> None:
    number = watched(watches)
    other = Watches(watches.database)
    assert watches.take(number, NOW)
    assert other.take(number, NOW + timedelta(hours=3))  # the first one looks for so long
    watches.settle(number, next_at=NOW, report=BEFORE, run="late")
    kept = watches.get(number)
    assert (kept.report, kept.run) == (None, "")
    assert not watches.take(number, NOW + timedelta(hours=3))
    other.settle(number, next_at=NOW + timedelta(days=7), report=AFTER, run="kept")
    assert watches.get(number).run == "kept"


def test_what_a_report_had_no_time_to_find_again_is_no_news_later(watches: Watches) -> None:
    whole = report((FAST, "a", "supported"), (MASKS, "b", "supported"))
    short = report((FAST, "a", "supported"), stopped_by="budget")
    newer = report((FASTER, "c", "supported"), stopped_by="budget")
    last = report((FASTER, "c", "supported"), (MASKS, "b", "supported"))
    watched(watches, every="daily", report=whole)
    site = Site(short, whole, newer, last)
    for day in range(1, 5):
        site.at(watches, NOW + timedelta(days=day))
    assert [counted for _, counted, _ in site.told] == ["1 claim flipped, 1 new source"]


def test_what_a_source_that_did_not_answer_would_have_said_is_no_news_once_it_does(watches: Watches) -> None:
    silent = (f"{NOT_SEARCHED}far: Nobody is there.",)
    whole = report((FAST, "a", "supported"), (MASKS, "b", "supported"))
    short = report((FASTER, "c", "supported"), not_covered=silent)
    last = report((FASTER, "c", "supported"), (MASKS, "b", "supported"))
    watched(watches, every="daily", report=whole)
    site = Site(short, last)
    for day in (1, 2):
        site.at(watches, NOW + timedelta(days=day))
    assert [counted for _, counted, _ in site.told] == ["1 claim flipped, 1 new source"]


def test_what_can_be_watched(watches: Watches) -> None:
    number = watched(watches)
    for question, more, said in (
        (" ", {}, "1 to 2,000 characters"),
        ("x" * 2001, {}, "1 to 2,000 characters"),
        (f"  {QUESTION} ", {}, "watched already"),
        ("Another?", {"every": "hourly"}, "There are: daily, weekly"),
    ):
        with pytest.raises(InputError, match=said):
            watches.add(question, {}, **more)
    (only,) = watches.listed()
    assert (only.id, only.every, only.options, only.report) == (number, "weekly", {"sources": ["papers"]}, None)
    assert watches.listed(7) == []
    with pytest.raises(InputError, match="of yours"):
        watches.remove(number, owner=7)
    watches.remove(number)
    assert watches.add("Another?", {}) > number  # whose link would show it
    with pytest.raises(InputError, match="has the number"):
        watches.get(number)


def test_a_ledger_comes_back_whole(watches: Watches) -> None:
    whole = whole_report()
    assert watches.get(watched(watches, report=whole)).report == whole
    assert whole.ledger() == Report.of_ledger(whole.ledger()).ledger()
