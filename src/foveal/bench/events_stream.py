"""bench events, the stream: clusters against labels, bursts on Reuters, planted bursts, speed, memory, repeatability.

Clusters   pages of realtimeqa from where its questions begin; the label of a page is the one question whose gold it is
Bursts     Reuters-21578: the strongest single days of title words; the automaton against all 2^T paths
Planted    a stream without any burst (pages at random dates) into which stories are put: what is found, and what else
Stream     documents a second through filter, clusters and bursts; a long synthetic stream in constant memory; twice
           the same, and the same after a restart
"""

from __future__ import annotations

import itertools
import os
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np

from foveal.bench.events_data import FROM, News
from foveal.bench.known_sets import held_to, is_set
from foveal.bench.settings import BenchSettings
from foveal.errors import InputError
from foveal.evaluation.clustering import BCubed, b_cubed
from foveal.evaluation.files import json_lines, present
from foveal.evaluation.tables import Row, largest
from foveal.retrieval.burst_terms import TermCounts, strongest_bins
from foveal.retrieval.bursts import cheapest_path, state_costs
from foveal.retrieval.event_clusters import ClusterSettings, Encode
from foveal.retrieval.event_items import DAY, FilterSettings, Item, seconds
from foveal.retrieval.events import EventSettings, EventStore

F1, SHUFFLED = 0.85, 0.02
KNOWN_DAYS = {
    "greenspan": "1987-06-02", "volcker": "1987-06-02", "louvre": "1987-10-19", "texaco": "1987-04-13",
    "saudi": "1987-03-15", "prime": "1987-04-01",
}  # fmt: skip
LEAST_WORDS = 4
"""Of a title that the long stream is made of."""
RATE, MILLION, QUICK_LONG = 2000.0, 1_000_000, 60_000
A_DAY, QUICK_A_DAY = 2000, 200
"""Documents of a day of the long stream: two fifths of it are longer than an event lives, also in the quick run."""

PLANTED, PRECISION, BURST_DAYS = 30, 0.9, 2
EVERYTHING = FilterSettings(min_words=1, max_words=1000, bulletins=True, jaccard=2.0)
"""No item is refused: every page that has a label gets a cluster."""


def stream(settings: BenchSettings) -> Iterator[Row]:
    """The rows of `foveal bench events-stream`."""
    news = News(settings)
    yield from cluster_rows(news)
    reuters = load_reuters(settings)
    yield from burst_rows(reuters)
    yield from automaton_rows(settings)
    yield from planted_rows(news.items, settings)
    yield from repeat_rows(reuters[: 1500 if settings.quick else 4000])
    yield from cost_rows(reuters, settings)


def load_reuters(settings: BenchSettings) -> list[Item]:
    """The dated items of Reuters-21578, in order."""
    folder = settings.folder("news", ("reuters21578.jsonl",))
    path = present(folder, "reuters21578.jsonl")
    found = (_dated_item(where, row) for where, row in json_lines(path))
    items = [item for item in found if item is not None]
    if not any(len(item.title.split()) >= LEAST_WORDS for item in items):
        raise InputError(f"{path} holds no dated item whose title has {LEAST_WORDS} words. Give it others.")
    return sorted(items, key=lambda item: item.published_at or FROM)


def _dated_item(where: str, row: Any) -> Item | None:
    """An item; None: it has no date. InputError: it is in another layout."""
    try:
        if not row.get("published_at"):
            return None
        moment = datetime.fromisoformat(row["published_at"])
        moment = moment.astimezone(UTC).replace(tzinfo=None) if moment.tzinfo else moment
        return Item(row["_id"], str(row.get("title") or ""), row["text"], moment, "Reuters")
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise InputError(f"{where} is no dated item ({error!r}); it needs _id, title, text, published_at.") from error


# -- clusters ---------------------------------------------------------------------------------------------------------


def cluster_rows(news: News) -> Iterator[Row]:
    """B-cubed at some thresholds, by titles only, with merging at night, in another order within the day."""
    items = [item for item in news.items if item.published_at is not None and item.published_at >= news.begins_at]
    labels = labels_of(news, {item.id for item in items})
    start = time.perf_counter()
    plain = clustered(items, labels)
    note = f"{len(items):,} pages, {len(labels):,} labelled, {time.perf_counter() - start:.1f} s"
    note = f"precision {plain.precision:.3f}, recall {plain.recall:.3f}; {note}"
    row = Row.of(f"single pass, threshold {ClusterSettings.threshold}", "B-cubed F1", plain.f1, at_least=F1, note=note)
    yield held_to("RealtimeQA", news.known, row)
    for row in threshold_rows(items, labels, quick=news.settings.quick):
        yield held_to("RealtimeQA", news.known, row)
    titles = clustered([replace(item, text="") for item in items], labels)
    yield Row.of("titles only", "B-cubed F1", titles.f1)
    merged = clustered(items, labels, ClusterSettings(), news.encode)
    yield Row.of("with merging and cutting at night", "B-cubed F1", merged.f1, at_least=plain.f1 - 1e-9,
                 note=f"precision {merged.precision:.3f}, recall {merged.recall:.3f}; must not be lower")  # fmt: skip
    other = clustered(shuffled_days(items, news.settings.seed), labels)
    yield Row.of("order within a day drawn anew", "change of F1", abs(other.f1 - plain.f1), at_most=SHUFFLED)


def threshold_rows(items: Sequence[Item], labels: dict[str, str], *, quick: bool) -> Iterator[Row]:
    """Other thresholds, and the one that is best on the labels of the first half of the time, on those of the second.

    The second half's score is the one that no label chose.
    """
    half = sorted(item.published_at or FROM for item in items if item.id in labels)[len(labels) // 2]
    late = {item.id for item in items if (item.published_at or FROM) >= half}
    early, later = ({page: labels[page] for page in labels if (page in late) is side} for side in (False, True))
    scores = {}
    for threshold in (0.15, 0.17) if quick else (0.10, 0.13, 0.15, 0.17, 0.20, 0.30):
        settings = ClusterSettings(threshold=threshold, merge_cosine=2.0, split_cosine=-1.0)
        found = clusters_of(items, settings)
        scores[threshold] = b_cubed(early, found).f1, b_cubed(later, found).f1
        yield Row.of(f"single pass, threshold {threshold}", "B-cubed F1", b_cubed(labels, found).f1)
    chosen = max(scores, key=lambda threshold: scores[threshold][0])
    note = f"{chosen} is best on {len(early):,} pages before {half.date()} ({scores[chosen][0]:.3f})"
    yield Row.of(f"threshold chosen on the first half, {len(later):,} later pages", "B-cubed F1", scores[chosen][1],
                 at_least=F1, note=note)  # fmt: skip


def labels_of(news: News, pages: set[str]) -> dict[str, str]:
    """Page -> question, for those that are gold of just one."""
    asking: dict[str, list[str]] = {}
    for query, found in news.collection.judged.items():
        for page, grade in found.items():
            if grade > 0 and page in pages:
                asking.setdefault(page, []).append(query)
    return {page: queries[0] for page, queries in asking.items() if len(queries) == 1}


def clustered(
    items: Sequence[Item],
    labels: dict[str, str],
    settings: ClusterSettings | None = None,
    encode: Encode | None = None,
) -> BCubed:
    """B-cubed of the clusters (default: neither merged nor cut at night)."""
    return b_cubed(labels, clusters_of(items, settings, encode))


def clusters_of(
    items: Sequence[Item], settings: ClusterSettings | None = None, encode: Encode | None = None
) -> dict[str, str]:
    """Item -> its event at the end of the stream (default: neither merged nor cut at night)."""
    chosen = settings or ClusterSettings(merge_cosine=2.0, split_cosine=-1.0)
    store = EventStore(EventSettings(filter=EVERYTHING, clusters=chosen), encode=encode)
    found = {}
    for item in items:
        found[item.id] = store.add(item, item.published_at or FROM)
    return {name: store._today(str(event)) for name, event in found.items()}


def shuffled_days(items: Sequence[Item], seed: int) -> list[Item]:
    """The items in the order of their days, and within a day in one drawn from the seed."""
    draw = np.random.default_rng(seed).random(len(items))
    order = sorted(range(len(items)), key=lambda row: ((items[row].published_at or FROM).date(), draw[row]))
    return [items[row] for row in order]


# -- bursts -----------------------------------------------------------------------------------------------------------


def burst_rows(items: Sequence[Item]) -> Iterator[Row]:
    """Which of the known words are among the 20 strongest days, and what a list without normalising shows."""
    counts = TermCounts.of(items)
    found = {burst.term: burst.start.date().isoformat() for burst in strongest_bins(counts, 20)}
    right = [term for term, day in KNOWN_DAYS.items() if found.get(term) == day]
    row = Row.of("Reuters, the 20 strongest days", "known words among them", len(right), at_least=len(KNOWN_DAYS),
                 note=", ".join(f"{term} {day[5:]}" for term, day in found.items()))  # fmt: skip
    yield held_to("Reuters-21578", is_set("Reuters-21578", len(items)), row)
    busy, busiest = Counter(item.published_at.date().isoformat() for item in items if item.published_at).most_common(1)[
        0
    ]
    raw = TermCounts.of(items, bulletins=True)
    for normalised in (True, False):
        listed = strongest_bins(raw, 20, normalised=normalised)
        of_busy = sum(burst.start.date().isoformat() == busy for burst in listed)
        name = "normalised" if normalised else "not normalised"
        note = f"{busy} has {busiest:,} items; bulletins kept: {', '.join(burst.term for burst in listed[:8])}"
        yield Row.of(f"Reuters, {name}", "words of the busiest day", of_busy, note=note)


def automaton_rows(settings: BenchSettings) -> Iterator[Row]:
    """The automaton's path against the cheapest of all."""
    draw = np.random.default_rng(settings.seed)
    worst, most = 0.0, 9 if settings.quick else 14
    for length in range(1, most + 1):
        totals = draw.integers(0, 40, size=length).tolist()
        counts = [int(draw.integers(0, total + 1)) if draw.random() < 0.4 else total // 8 for total in totals]
        worst = largest(worst, abs(cheapest_path(counts, totals).cost - cheapest_of_all(counts, totals)))
    yield Row.of(
        "the automaton's path", "cost above the cheapest of all", worst, at_most=1e-9, note=f"up to {most} bins"
    )


def cheapest_of_all(counts: Sequence[int], totals: Sequence[int]) -> float:
    """The least cost over all paths of two states, each looked at."""
    used = [place for place, total in enumerate(totals) if total]
    if not used or not sum(counts):
        return 0.0
    costs, up = state_costs(counts, totals)[used], float(np.log(len(used)))
    best = np.inf
    for path in itertools.product((0, 1), repeat=len(used)):
        rises = sum(max(0, b - a) for a, b in itertools.pairwise((0, *path)))
        best = min(best, rises * up + sum(costs[place, state] for place, state in enumerate(path)))
    return float(best)


# -- planted bursts ---------------------------------------------------------------------------------------------------


def planted_rows(items: Sequence[Item], settings: BenchSettings) -> Iterator[Row]:
    """Stories put into a stream that has none: the share of what is found that was planted, and of those the found."""
    feed, planted = planted_stream(items, settings)
    store, grown = EventStore(), dict[str, set[str]]()
    day: datetime | None = None
    for item in feed:
        moment = item.published_at or FROM
        if day is not None and moment.date() != day.date():
            _note_grown(store, day, grown)
        day = moment
        store.add(item, moment)
    if day is not None:
        _note_grown(store, day, grown)
    stories = {name: {planted[one] for one in held if one in planted} for name, held in grown.items()}
    right = [name for name, held in grown.items() if sum(one in planted for one in held) * 2 > len(held)]
    found = {story for name in right for story in stories[name]}
    note = f"{len(grown)} growing events, {len(feed):,} documents"
    count = len(set(planted.values()))
    yield Row.of("planted bursts", "precision", len(right) / max(1, len(grown)), at_least=PRECISION, note=note)
    yield Row.of("planted bursts", "recall", len(found) / count, note=f"of {count} stories")


def planted_stream(items: Sequence[Item], settings: BenchSettings) -> tuple[list[Item], dict[str, str]]:
    """Pages at random dates of 120 days, and stories of 10 variants within two days; item -> story."""
    draw = np.random.default_rng(settings.seed)
    base = datetime(2022, 1, 1)
    order = draw.permutation(len(items))
    background = [items[row] for row in order[: 1500 if settings.quick else 4000]]
    feed = [replace(item, published_at=base + timedelta(days=float(draw.random() * 120))) for item in background]
    planted: dict[str, str] = {}
    for number, row in enumerate(order[-PLANTED:].tolist()):
        start = base + timedelta(days=float(20 + 95 * draw.random()))
        words = items[row].text.split()
        for variant in range(10):
            at = int(draw.integers(max(1, len(words) - 60)))
            text = " ".join([*words[:25], *words[at : at + 40]])
            name = f"planted-{number}-{variant}"
            title = " ".join(word for word in items[row].title.split() if draw.random() < 0.9) or items[row].title
            moment = start + timedelta(hours=float(48 * draw.random()))
            feed.append(Item(name, title, text, moment, f"source{variant}"))
            planted[name] = f"story {number}"
    return sorted(feed, key=lambda item: (item.published_at or base, item.id)), planted


def _note_grown(store: EventStore, moment: datetime, grown: dict[str, set[str]]) -> None:
    """What came in the last two days to the events that grow at the end of a day: a burst is not its event's past."""
    since = seconds(moment) - BURST_DAYS * DAY
    for cluster in store.alive(seconds(moment)):
        if cluster.count >= 3 and (event := store.get(cluster.id, moment)).stage == "growing":
            late = {member.id for member in cluster.members if member.at > since}
            grown.setdefault(event.id, set()).update(late & set(event.documents))


# -- the stream itself ------------------------------------------------------------------------------------------------


def repeat_rows(items: Sequence[Item]) -> Iterator[Row]:
    """Twice the same, and the same after a restart in the middle."""
    end = items[-1].published_at or FROM
    first, second = (EventStore().extend(items).events(end) for _ in range(2))
    yield Row.of(
        "replayed", "events that differ", sum(a != b for a, b in itertools.zip_longest(first, second)), at_most=0
    )
    half = EventStore().extend(items[: len(items) // 2])
    with tempfile.TemporaryDirectory() as place:
        half.snapshot(Path(place) / "events.json.gz")
        again = EventStore.restored(Path(place) / "events.json.gz").extend(items[len(items) // 2 :]).events(end)
    note = f"{len(first):,} events of {len(items):,} documents"
    differ = sum(a != b for a, b in itertools.zip_longest(first, again))
    yield Row.of("restarted", "events that differ", differ, at_most=0, note=note)


def cost_rows(items: Sequence[Item], settings: BenchSettings) -> Iterator[Row]:
    """Documents a second on Reuters, and a long stream made of it: speed and memory from two fifths on to the end."""
    start = time.perf_counter()
    store = EventStore().extend(items)
    took = time.perf_counter() - start
    note = f"{len(items):,} documents, {sum(store.reasons.values()):,} of them no new evidence"
    yield Row.of("Reuters", "documents a second", len(items) / took, at_least=RATE, note=note)
    count, a_day = (QUICK_LONG, QUICK_A_DAY) if settings.quick else (MILLION, A_DAY)
    long = EventStore()
    spent, sizes, memory = 0.0, dict[str, int](), 0.0
    for done, part in long_stream(items, count, seed=settings.seed, a_day=a_day):
        start = time.perf_counter()
        long.extend(part)
        spent += time.perf_counter() - start
        if not memory and done >= 0.4 * count:
            sizes, memory = long.sizes(), resident_mib()
    name, now = f"stream of {count:,}", long.sizes()
    yield Row.of(
        name, "documents a second", count / spent, at_least=RATE, note=f"made of Reuters' items, {a_day:,} a day"
    )
    grown = resident_mib() / memory if memory else float("nan")
    yield Row.of(
        name, "memory at the end over that at two fifths", grown, at_most=1.1, note=f"{resident_mib():.0f} MiB"
    )
    growth = max(now[kind] / max(1, sizes[kind]) for kind in ("clusters", "members", "features", "texts", "terms"))
    yield Row.of(name, "largest growth of a table since two fifths", growth, at_most=1.25,
                 note=", ".join(f"{kind} {value:,}" for kind, value in now.items()))  # fmt: skip


def long_stream(
    items: Sequence[Item], count: int, *, seed: int, part: int = 5000, a_day: int = A_DAY
) -> Iterator[tuple[int, list[Item]]]:
    """`count` items, so many a day: a title with words of another in it, a text cut from two; how many came so far."""
    draw = np.random.default_rng(seed)
    base = datetime(2020, 1, 1)
    titled = [item for item in items if len(item.title.split()) >= LEAST_WORDS]
    for first in range(0, count, part):
        rows = draw.integers(len(titled), size=(part, 2))
        made = []
        for offset, (one, other) in enumerate(rows[: count - first].tolist()):
            a, b = titled[one], titled[other]
            words, more = a.title.split(), b.title.split()
            words[offset % len(words)] = more[offset % len(more)]
            text = f"{a.text[:150]} {b.text[:150]}"
            moment = base + timedelta(days=(first + offset) / a_day)
            made.append(Item(f"s{first + offset}", " ".join(words), text, moment, f"source{one % 40}"))
        yield first + len(made), made


def resident_mib() -> float:
    """The memory that this process holds now."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20
