"""bench report-watch: a watched question is researched again as its pages change, and who asked hears what changed.

told       after each look: told where a page changed what can be said, and not where nothing did, where the same stands
           there in other words, where a page is gone, and where the look failed
planted    what is told: each claim that was made to flip or to be new; and nothing beside these
unasked    a look at a question none of whose papers are new asks nothing; one that failed is due again after an hour

Model and pages are a few rules (report_world.py); looks are weeks apart by a clock that the bench sets.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from foveal import faults
from foveal.bench.report_world import PAGES, QUESTION, Filler, Pages, page
from foveal.bench.runner import SIZE
from foveal.bench.settings import BenchSettings
from foveal.database import Database
from foveal.errors import FetchFailed
from foveal.evaluation.tables import Row, all_hold
from foveal.models.chat import Cancel
from foveal.research.deep import DeepResearch
from foveal.research.report import Report
from foveal.research.sources import Found
from foveal.research.watches import Watch, Watches
from foveal.research.watching import AGAIN, Change, Look, look_at_due
from foveal.settings import Settings
from foveal.types import Document

BEGUN = datetime(2026, 1, 5, 8, tzinfo=UTC)


@dataclass(frozen=True, kw_only=True)
class Turn:
    """A look: the pages there are by then, whether a paper is new and the search answers, and what must be told."""

    name: str
    pages: Sequence[Document]
    fresh: bool = True
    answers: bool = True
    flipped: tuple[str, ...] = ()  # words of what stands against a claim of before
    new: tuple[str, ...] = ()  # words of a claim that is new


@dataclass(kw_only=True)
class Changing(Pages):
    """Pages of a search that may be down."""

    answers: bool = True

    def search(self, query: str, k: int, *, cancel: Cancel | None = None) -> list[Found]:
        """As of pages. FetchFailed: it is down."""
        if not self.answers:
            raise FetchFailed("The search of the bench is down.")
        return super().search(query, k, cancel=cancel)


@dataclass
class Looked:
    """What came of a turn."""

    turn: Turn
    look: Look
    told: Change | None
    asked: int  # calls and searches
    due_in: timedelta


@dataclass
class Reader:
    """Who watches: research by a model of rules, and all that was told."""

    model: Filler = field(default_factory=Filler)
    source: Changing = field(default_factory=Changing)
    told: list[Change] = field(default_factory=list)

    def research(self, watch: Watch) -> tuple[str, Report]:
        """The report of now."""
        return "", DeepResearch(self.model, self.source).report(watch.question, mode="quick")

    def tell(self, watch: Watch, change: Change, run: str) -> None:  # noqa: ARG002 (what a site mails by)
        """Keep what is told."""
        self.told.append(change)

    @property
    def asked(self) -> int:
        """Calls and searches so far."""
        return len(self.model.calls) + len(self.source.queries)


def turns() -> tuple[Turn, ...]:
    """The looks behind the first, in order; what was added stays."""
    orra, petra, river, olof = PAGES
    same = page("Orra mill", orra.text.replace("It was built beside", "It stands, built, beside"), year=1990)
    wheel = page("Orra today", "The wheel of the Orra mill has 44 paddles of oak.", year=2024)
    owner = page("Orra sold", "Ada Hart has owned the Orra mill and its grain since the spring.", year=2025)
    denies = page("Orra closed", "The Orra mill grinds no barley for the whole valley.", year=2025)
    first, later = (same, petra, river, olof), (same, petra, river, olof, wheel)
    return (
        Turn(name="no paper is new", pages=PAGES, fresh=False),
        Turn(name="the same pages", pages=PAGES),
        Turn(name="a page in other words", pages=first),
        Turn(name="another number", pages=later, flipped=("44 paddles",)),
        Turn(name="the same again", pages=later),
        Turn(name="the search is down", pages=later, answers=False),
        Turn(name="a claim that is new", pages=(*later, owner), new=("Ada Hart has owned",)),
        Turn(name="a page is gone", pages=(same, petra, river, wheel, owner)),
        Turn(name="a denial", pages=(same, petra, river, wheel, owner, denies), flipped=("no barley",)),
    )


def watch_rows(settings: BenchSettings) -> Iterator[Row]:  # noqa: ARG001 (as large in --quick)
    """The rows of `foveal bench report-watch`."""
    with tempfile.TemporaryDirectory(prefix="foveal-watch-") as folder:
        yield from measured(looked(Path(folder), turns()))


def looked(home: Path, wanted: Sequence[Turn]) -> list[Looked]:
    """What came of each turn, after a first look at the world's own pages."""
    import foveal.papers.people_schema  # noqa: F401  (its tables are part of the chain)

    database, reader, now = Database.open(Settings(home=home, cache=home)), Reader(), BEGUN
    watches, found = Watches(database), []
    try:
        with faults.injected({}, clock=lambda: now):
            number = watches.add(QUESTION, {"sources": ["pages"]})
            _look(watches, reader, Turn(name="first", pages=PAGES), now)
            for turn in wanted:
                now = watches.get(number).due_at
                found.append(_look(watches, reader, turn, now))
    finally:
        database.close()
    return found


def _look(watches: Watches, reader: Reader, turn: Turn, now: datetime) -> Looked:
    reader.source.pages, reader.source.answers = turn.pages, turn.answers
    before, asked = len(reader.told), reader.asked
    (look,) = look_at_due(
        watches, research=reader.research, fresh=lambda _: turn.fresh, tell=reader.tell, now=now
    )  # fmt: skip
    told = reader.told[before] if len(reader.told) > before else None
    return Looked(turn, look, told, reader.asked - asked, watches.get(look.watch).due_at - now)


def measured(found: Sequence[Looked]) -> Iterator[Row]:
    """The rows of looks."""
    yield Row.of("looks behind the first", SIZE, len(found))
    changed = [one for one in found if one.turn.flipped or one.turn.new]
    quiet = [one for one in found if one not in changed]
    yield all_hold("looks with a change", "told", [one.told is not None for one in changed])
    loud = [one.turn.name for one in quiet if one.told is not None]
    yield Row.of("looks without a change", "told", len(loud), at_most=0, note=", ".join(loud) or f"{len(quiet)} looks")
    planted = [words in _said(one) for one in changed for words in (*one.turn.flipped, *one.turn.new)]
    yield all_hold("what was planted", "told", planted)
    beside = [text for one in found for text in _beside(one)]
    yield Row.of("what was not planted", "told", len(beside), at_most=0, note="; ".join(beside)[:200])
    stale = sum(one.asked for one in found if not one.turn.fresh)
    yield Row.of("no paper is new", "calls and searches", stale, at_most=0)
    late = [bool(one.look.error) and one.due_in == AGAIN for one in found if not one.turn.answers]
    yield all_hold("a look that failed", "is due again after an hour", late)


def _said(one: Looked) -> str:
    return "\n".join(_texts(one.told)) if one.told else ""


def _texts(change: Change) -> list[str]:
    """Each claim that is told, with the words that it rests on."""
    after = [flip.after for flip in change.flipped]
    return [f"{told.text} {told.quote}" for told in (*after, *change.new)]


def _beside(one: Looked) -> list[str]:
    wanted = (*one.turn.flipped, *one.turn.new)
    return [text for text in (_texts(one.told) if one.told else []) if not any(words in text for words in wanted)]
