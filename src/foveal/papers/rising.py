"""Rising topics: what the stream of listed papers talks about more than it used to, named by the words they share.

    refresh(database)                # mine anew if papers were listed since; the schedule and `papers update` call it
    kept(database).topics            # what the page of trending papers shows: never mined for a request

How        the listings of 60 days, in order, become events (retrieval/events.py): papers with like titles and abstracts
           are put together, and counted by day against what is usual, over half-lives of 7 and 28 days
Rising     at least 3 papers of 2 groups (organisation, else first author), the last within 3 days, a burst above 1;
           none in the first week of listings
Name       the longest run of words that at least half of the titles share; else the title in the middle
Score      burst · 2^(-age / 2 days) · sqrt(groups / papers): a topic that one group alone writes about counts less
Against    trending.py orders single papers by votes, remarks and stars; here nobody has to have voted
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime, time, timedelta
from hashlib import sha256

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from foveal import faults
from foveal.database import Database
from foveal.papers.kept_rows import keep
from foveal.papers.plain_titles import plain_tex
from foveal.papers.schema import AuthorRow, KeptRow, ListingRow, PaperRow
from foveal.retrieval.bursts import BurstSettings
from foveal.retrieval.event_clusters import ClusterSettings
from foveal.retrieval.event_items import FilterSettings, Item, event_terms
from foveal.retrieval.event_snapshots import Event
from foveal.retrieval.events import EventSettings, EventStore
from foveal.retrieval.words import FUNCTION_WORDS

NAME = "rising topics"
DAYS, MOST_PAPERS = 60, 20_000
FEWEST_PAPERS, FEWEST_GROUPS, LATELY, BURST = 3, 2, 3, 1.0
FIRST_DAYS = 7
"""Days of listings without which nothing is usual, and so nothing rises."""

TOPICS, SHOWN = 6, 6
"""Topics that are kept, and papers of each."""

EDGELESS = frozenset(["across", "beyond", "over", "through", "toward", "towards", "under", "via", "within", "without"])
EDGELESS |= FUNCTION_WORDS
"""Words that no name begins or ends with, in lower case."""

LONGEST_NAME = 4
"""Words of a name."""

HALF_LIFE_DAYS = 2.0
SETTINGS = EventSettings(
    trend_half_life_days=HALF_LIFE_DAYS,
    filter=FilterSettings(min_words=2, bulletins=True),
    clusters=ClusterSettings(alive_days=7.0),
    bursts=BurstSettings(bin_hours=24, fast_hours=48, slow_days=(7.0, 28.0)),
)


@dataclass(frozen=True, kw_only=True)
class Topic:
    """A topic that rises, and the numbers that say so."""

    name: str
    stage: str  # new, growing, steady or fading
    count: int  # papers
    groups: int
    burst: float
    age_days: float  # since its last paper
    score: float
    days: tuple[tuple[str, int], ...]  # papers by day, the last ones
    papers: tuple[tuple[str, str], ...]  # id and title, the newest first
    words: tuple[str, ...]

    def explained(self) -> list[tuple[str, float, str]]:
        """(term, value, meaning): the score is their product."""
        written = f"{self.count} papers of {self.groups} groups, against what is usual on such days"
        age = f"its last paper was listed {self.age_days:.1f} days ago; half as much after {HALF_LIFE_DAYS:g}"
        return [
            ("burst", self.burst, written),
            ("age", 2 ** (-self.age_days / HALF_LIFE_DAYS), age),
            ("groups", (self.groups / self.count) ** 0.5, "the root of groups by papers: one group alone counts less"),
        ]


@dataclass(frozen=True)
class Rising:
    """What was mined, and when; `topics` is empty where nothing rises."""

    topics: tuple[Topic, ...] = ()
    made_at: datetime | None = None


def refresh(database: Database, *, now: datetime | None = None) -> bool:
    """Mine anew if a paper was listed, or a day has begun, since the last time; whether it was."""
    moment = now or faults.now()
    state = _state(database, moment)
    with database.reading() as session:
        row = session.get(KeptRow, NAME)
        if row is not None and row.made_of == state:
            return False
    topics = mined(database, now=moment)
    keep(database, NAME, made_of=state, made_at=moment, value=json.dumps([asdict(one) for one in topics]))
    return True


def kept(database: Database) -> Rising:
    """What the last `refresh` found; nothing before the first."""
    with database.reading() as session:
        row = session.get(KeptRow, NAME)
        return Rising(tuple(_topic_of(one) for one in json.loads(row.value)), row.made_at) if row else Rising()


def forget(session: Session, paper: str) -> None:
    """Name a paper that is taken away no more; the next `refresh` mines anew."""
    row = session.get(KeptRow, NAME)
    if row is None:
        return
    topics = json.loads(row.value)
    for topic in topics:
        topic["papers"] = [one for one in topic["papers"] if one[0] != paper]
    row.value, row.made_of = json.dumps([one for one in topics if one["papers"]]), ""


def mined(database: Database, *, now: datetime, settings: EventSettings = SETTINGS) -> list[Topic]:
    """The topics that rise at a moment, the first first."""
    stream = list(_stream(database, now))
    if not stream or now - moment_of(stream[0]) < timedelta(days=FIRST_DAYS):
        return []  # nothing is usual yet
    store = EventStore(settings)
    for item in stream:
        store.add(item, moment_of(item))
    found = [_topic(event, now) for event in store.events(now) if _rises(event, now)]
    named = {one.name.casefold(): one for one in sorted(found, key=lambda one: (one.score, one.name))}
    return sorted(named.values(), key=lambda one: (-one.score, one.name))[:TOPICS]


def name_of(titles: Sequence[str], otherwise: str) -> str:
    """What most of the titles say in the same words: the longest run, of equally long ones the most frequent."""
    best, rank = otherwise, (0, 0)
    counted: Counter[tuple[str, ...]] = Counter()
    written: dict[tuple[str, ...], Counter[str]] = {}
    for title in titles:
        for key, words in dict(_runs(title)).items():
            counted[key] += 1
            written.setdefault(key, Counter())[words] += 1
    for key, count in counted.items():
        if 2 * count >= len(titles) and count >= 2 and (len(key), count) > rank:
            best, rank = written[key].most_common(1)[0][0], (len(key), count)
    return best


def _runs(title: str) -> Iterator[tuple[tuple[str, ...], str]]:
    """Runs of a title's words that begin and end with a word of meaning, within a clause: folded, and as written."""
    written = title.split()
    words = [word.strip("()[]{}.,:;!?\"'“”’‘") for word in written]
    folded = ["-".join(event_terms(word)) for word in words]
    for start in range(len(words)):
        for end in range(start + 1, min(start + LONGEST_NAME, len(words)) + 1):
            edges = folded[start], folded[end - 1]
            if all(edge and edge not in EDGELESS for edge in edges):
                yield tuple(folded[start:end]), " ".join(words[start:end])
            if written[end - 1].rstrip("\"'”’)]")[-1:] in (",", ":", ";", "?", "!"):
                break  # "… Shift, Part 2" is no "Shift Part"


def _rises(event: Event, now: datetime) -> bool:
    lately = now - event.last_seen <= timedelta(days=LATELY)
    return event.count >= FEWEST_PAPERS and len(event.sources) >= FEWEST_GROUPS and event.burst > BURST and lately


def _topic(event: Event, now: datetime) -> Topic:
    papers = tuple(zip(event.documents, event.titles, strict=True))
    age = max(0.0, (now - event.last_seen).total_seconds() / 86_400)
    return Topic(
        name=name_of(event.titles, event.phrase),
        stage=event.stage,
        count=event.count + event.duplicates,
        groups=len(event.sources),
        burst=event.burst,
        age_days=age,
        score=event.score,
        days=tuple(event.days.items())[-14:],
        papers=papers[:SHOWN],
        words=event.terms,
    )


def _stream(database: Database, now: datetime) -> Iterator[Item]:
    """The listed papers of the last days, each once, at the noon of its day."""
    today = now.astimezone(UTC).date()
    first = func.min(ListingRow.day).label("day")
    wanted = (
        select(PaperRow.id, PaperRow.title, PaperRow.abstract, PaperRow.organisation_id, AuthorRow.name_key, first)
        .join(ListingRow, ListingRow.paper_id == PaperRow.id)
        .outerjoin(AuthorRow, (AuthorRow.paper_id == PaperRow.id) & (AuthorRow.position == 0))
        .where(PaperRow.withdrawn.is_(False))
        .group_by(PaperRow.id, PaperRow.title, PaperRow.abstract, PaperRow.organisation_id, AuthorRow.name_key)
        .having(first.between(today - timedelta(days=DAYS), today))
        .order_by(first.desc(), PaperRow.id)
        .limit(MOST_PAPERS)
    )
    with database.reading() as session:
        rows = session.execute(wanted).all()
    for which, title, abstract, organisation, author, day in reversed(rows):
        yield Item(which, plain_tex(title), abstract, _noon(day, now), organisation or author or "")


def moment_of(item: Item) -> datetime:
    """When an item of the stream was listed."""
    assert item.published_at is not None
    return item.published_at


def _noon(day: date, now: datetime) -> datetime:
    return min(now, datetime.combine(day, time(12), UTC))


def _state(database: Database, now: datetime) -> str:
    """What the result depends on."""
    counted = select(func.count(), func.max(ListingRow.listed_at)).select_from(ListingRow)
    with database.reading() as session:
        count, last = session.execute(counted).one()
    return sha256(f"{count} {last} {now.date()} {SETTINGS}".encode()).hexdigest()


def _topic_of(plain: dict[str, object]) -> Topic:
    lists: Iterable[str] = ("days", "papers", "words")
    return Topic(**{**plain, **{name: tuple(_tuple(one) for one in plain[name]) for name in lists}})  # type: ignore[arg-type, attr-defined]


def _tuple(value: object) -> object:
    return tuple(value) if isinstance(value, list) else value
