"""Watching a question: its report is made again when there is something new, and what changed is told.

    change = compared(before, after)
    change.flipped, change.new, change.gone, change.sources       # and `change.matters`: whether to tell anybody
    look(watch, watches, research=…, fresh=…, tell=…, now=…)      # one watched question, when it is due

Same       claims of two reports are one where they share most of their words; each is paired once, the likest first
Flipped    a pair of which one says what the other denies (another number, a "not"), or whose verdict turned; and a
           claim of the report before that a passage of a new source contradicts
New        what rests on a source that the report before did not cite. Other words for what was known are no news
Gone       what is said no more, in a report that is whole, all of whose sources answered. It alone is no reason to
           write to anybody

Source     "watch mode" of the project's own list beyond the survey (arXiv 2512.02038)
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from foveal import faults
from foveal.errors import Cancelled, FovealError, UnknownRun
from foveal.research.checks import Checks, WordChecks, denied
from foveal.research.evidence import Claim, SourceRecord
from foveal.research.quantities import Anchor, numbers, readings, same_number
from foveal.research.report import Report
from foveal.research.report_parts import names_of
from foveal.research.runs import Runs
from foveal.retrieval.terms import terms

if TYPE_CHECKING:
    from foveal.research.watches import Watch, Watches

SAME = 0.55
"""Share of the words of two claims, of all that either has, from which they are one."""

HELD = ("supported", "partly")
AGAIN = timedelta(hours=1)
"""After a failure."""

UNFINISHED = ("cancelled", "error", "model")
"""Ends of a run whose report is no ground to say that anything changed."""

logger = logging.getLogger("foveal.research.watching")


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """A claim as it is told: with the words that it rests on, and where they stand."""

    text: str
    said: str  # its verdict
    quote: str = ""
    source: str = ""  # title
    url: str = ""
    date: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Flip:
    """A claim that holds no more: how it was, what stands against it; `why` is number, denial, verdict or source."""

    before: Told
    after: Told
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What is different between two reports."""

    question: str
    flipped: tuple[Flip, ...] = ()
    new: tuple[Told, ...] = ()
    gone: tuple[Told, ...] = ()
    sources: tuple[Told, ...] = ()  # new ones: their titles, without a claim

    @property
    def matters(self) -> bool:
        """Whether there is anything to tell."""
        return bool(self.flipped or self.new or self.sources)

    @property
    def counted(self) -> str:
        """In one line: "2 claims flipped, 1 new, 3 new sources"."""
        parts = [
            f"{len(self.flipped)} claim{'s' * (len(self.flipped) != 1)} flipped" if self.flipped else "",
            f"{len(self.new)} new" if self.new else "",
            f"{len(self.gone)} gone" if self.gone else "",
            f"{len(self.sources)} new source{'s' * (len(self.sources) != 1)}" if self.sources else "",
        ]
        return ", ".join(part for part in parts if part) or "nothing changed"

    def to_row(self) -> dict[str, Any]:
        """As plain values, for mails."""
        return asdict(self) | {"counted": self.counted}


def compared(before: Report, after: Report, *, checks: Checks | None = None) -> Change:
    """What changed between two reports on one question; `checks` says whether new passages contradict what was said."""
    pairs = list(_paired(before.claims, after.claims))
    old = {one.text for one, _ in pairs}
    known, paired = _names(before), {one.text for _, one in pairs}
    fresh = {record.key for record in after.sources if not known.intersection(names_of(record))}
    flips = [*_turned(pairs, before, after), *_against(before, after, fresh, checks or WordChecks())]
    flipped = {one.before.text for one in flips}
    against = [set(terms(one.after.quote)) for one in flips if one.why == "source"]
    lost = [one for one in before.claims if _label(one) in HELD and one.text not in old | flipped]
    return Change(
        question=after.question,
        flipped=tuple({one.before.text: one for one in reversed(flips)}.values())[::-1],
        new=tuple(
            _told(one, after)
            for one in after.claims
            if one.text not in paired and _label(one) in HELD and _sources(one, after) & fresh
            if not any(set(terms(one.text)) <= said for said in against)  # told already, as what stands against another
        ),
        gone=tuple(_told(one, before) for one in lost if _is_whole(after) and after.found),
        sources=tuple(
            Told(text="", said="", source=one.title, url=one.url, date=_day(one))
            for one in after.bibliography.values()
            if one.key in fresh
        ),
    )


# -- one look ---------------------------------------------------------------------------------------------------------

Research = Callable[["Watch"], tuple[str, Report]]
"""Makes the report of a watched question again: the key of its run, and the report.

FovealError: it cannot be made. Cancelled: the process is to end; or `Watches.holds` says no, and the run is deleted.
"""

Fresh = Callable[["Watch"], bool]
"""Whether there is anything that the last look did not know."""

Tell = Callable[["Watch", Change, str], None]
"""Tells who watches; the last is the key of the run."""


@dataclass(frozen=True, slots=True)
class Look:
    """What came of a look."""

    watch: int
    question: str
    change: Change | None = None  # None: there was nothing to compare
    error: str = ""
    skipped: bool = False  # nothing new: the question was not researched
    ended: bool = False  # the question was taken away meanwhile: nothing is kept or told

    @property
    def said(self) -> str:
        """In a few words."""
        if self.ended:
            return "not watched any more"
        if self.error:
            return f"failed: {self.error}"
        if self.skipped:
            return "nothing new to look at"
        return self.change.counted if self.change else "the first report is kept"


def look_at_due(
    watches: Watches,
    *,
    research: Research,
    fresh: Fresh,
    tell: Tell,
    now: datetime,
    only: int | None = None,
    checks: Checks | None = None,
) -> Iterator[Look]:
    """Look at each watched question, or one, whose time has come and that no other process looks at."""
    for watch in watches.due(now):
        taken_at = max(now, faults.now())  # looks take long: by the first one's time the last would be free again
        if only in (None, watch.id) and watches.take(watch.id, taken_at):
            yield look(watch, watches, research=research, fresh=fresh, tell=tell, now=now, checks=checks)


def look(
    watch: Watch,
    watches: Watches,
    *,
    research: Research,
    fresh: Fresh,
    tell: Tell,
    now: datetime,
    checks: Checks | None = None,
) -> Look:
    """Research a question again, keep the report, and tell what changed; the first report is only kept.

    What fails is tried again after an hour, and is told to nobody. Of a question that was taken away meanwhile nothing
    is kept or told. Cancelled: the process is to end; the look is due.
    """
    try:
        if watch.report is not None and not fresh(watch):
            watches.settle(watch.id, next_at=now + watch.pause, looked_at=now)
            return Look(watch.id, watch.question, skipped=True)
        key, report = research(watch)
        unfinished = not report.found or report.stopped_by in UNFINISHED
        old = None if unfinished else watch.report
        change = compared(old, report, checks=checks) if old is not None else None
        if not watches.holds(watch.id):
            let_go(watches, key)
            return Look(watch.id, watch.question, ended=True)
        if unfinished:
            return _failed(watch, watches, now, f"the run gave no report ({report.stopped_by or 'nothing was found'})")
        if change is not None and change.matters:
            tell(watch, change, key)
        kept = _kept(watch.report, report, change)
        watches.settle(watch.id, next_at=now + watch.pause, looked_at=now, report=kept, run=key)
        return Look(watch.id, watch.question, change)
    except FovealError as error:
        if not watches.holds(watch.id):
            return Look(watch.id, watch.question, ended=True)
        if isinstance(error, Cancelled):
            watches.settle(watch.id, next_at=now)
            raise
        return _failed(watch, watches, now, str(error))


def let_go(watches: Watches, key: str) -> None:
    """Delete the run of a look at a question that was taken away; one that went with its person is gone already."""
    with suppress(UnknownRun):
        Runs(watches.database).remove(key)


def _kept(before: Report | None, after: Report, change: Change | None) -> Report | None:
    """What the next look is held against; None: the report before.

    A report that was broken off, or of which a source did not answer, tells what it found, but what it could not find
    again is known all the same.
    """
    if before is None or change is None or _is_whole(after):
        return after
    if not change.matters:
        return None
    known = _names(after)
    left = [replace(one, key=f"before {one.key}") for one in before.sources if not known.intersection(names_of(one))]
    return replace(after, sources=(*after.sources, *left))


def _is_whole(report: Report) -> bool:
    """Whether what a report does not say was looked for."""
    return report.stopped_by is None and report.searched_all


def _failed(watch: Watch, watches: Watches, now: datetime, error: str) -> Look:
    logger.warning("the watched question %d: %s", watch.id, error)
    watches.settle(watch.id, next_at=now + min(AGAIN, watch.pause), error=error)
    return Look(watch.id, watch.question, error=error)


# -- claims -----------------------------------------------------------------------------------------------------------


def _paired(before: Sequence[Claim], after: Sequence[Claim]) -> Iterator[tuple[Claim, Claim]]:
    """Claims that are one, the likest first, each once."""
    words = [(one, set(terms(one.text))) for one in after]
    likest = sorted(
        (
            (-_likeness(own, theirs), at, to)
            for at, own in enumerate(set(terms(one.text)) for one in before)
            for to, (_, theirs) in enumerate(words)
        ),
    )
    left_before, left_after = set(range(len(before))), set(range(len(after)))
    for unlike, at, to in likest:
        if -unlike < SAME:
            return
        if at in left_before and to in left_after:
            left_before.remove(at)
            left_after.remove(to)
            yield before[at], after[to]


def _likeness(own: set[str], theirs: set[str]) -> float:
    return len(own & theirs) / len(own | theirs) if own and theirs else 0.0


def _turned(pairs: Sequence[tuple[Claim, Claim]], before: Report, after: Report) -> Iterator[Flip]:
    """Pairs that say the opposite, or of which one holds and the other does not."""
    for old, new in pairs:
        held, holds = _label(old) in HELD, _label(new) in HELD
        if held and holds and (_renumbered(old.text, new.text) or denied(old.text, new.text)):
            why = "number" if _renumbered(old.text, new.text) else "denial"
            yield Flip(before=_told(old, before), after=_told(new, after), why=why)
        elif (held and _label(new) == "contradicted") or (_label(old) == "contradicted" and holds):
            yield Flip(before=_told(old, before), after=_told(new, after), why="verdict")


def _renumbered(old: str, new: str) -> bool:
    """Whether each of two claims has a number that the other has not."""
    own, theirs = numbers(old), numbers(new)
    return any(not _is_among(one, theirs) for one in own) and any(not _is_among(one, own) for one in theirs)


def _is_among(one: Anchor, others: Sequence[Anchor]) -> bool:
    mine, theirs = readings(one), [reading for other in others for reading in readings(other)]
    return any(same_number(own, other) or same_number(other, own) for own in mine for other in theirs)


def _against(before: Report, after: Report, fresh: set[str], checks: Checks) -> Iterator[Flip]:
    """Claims of the report before that passages of new sources contradict."""
    evidence = [one for one in after.evidence if one.source in fresh]
    claims = [one for one in before.claims if _label(one) in HELD]
    records = {one.key: one for one in after.sources}
    by_document = {one.passage.span.document_id: records[one.source] for one in evidence if one.source in records}
    if not by_document or not claims:
        return
    passages = [one.passage for one in evidence]
    for claim, verdict in zip(claims, checks.check_many([(one.text, passages) for one in claims]), strict=True):
        if verdict.label == "contradicted" and verdict.where and verdict.where.document_id in by_document:
            source = by_document[verdict.where.document_id]
            against = Told(
                text="", said="contradicted", quote=verdict.quote, source=source.title, url=source.url,
                date=_day(source),
            )  # fmt: skip
            yield Flip(before=_told(claim, before), after=against, why="source")


def _told(claim: Claim, report: Report) -> Told:
    source = next(iter(report.sources_of(claim).values()), None)
    quote = claim.verdict.quote if claim.verdict else ""
    return Told(
        text=claim.text,
        said=_label(claim),
        quote=quote,
        source=source.title if source else "",
        url=source.url if source else "",
        date=_day(source) if source else "",
    )


def _label(claim: Claim) -> str:
    return claim.verdict.label if claim.verdict else ""


def _sources(claim: Claim, report: Report) -> set[str]:
    return {report.by_key[key].source for key in claim.evidence if key in report.by_key}


def _names(report: Report) -> set[str]:
    """What the sources of a report are known by."""
    return {name for record in report.sources for name in names_of(record)}


def _day(record: SourceRecord) -> str:
    return (record.published_at or "")[:10]
