"""The compiled sums of clusters against the plain ones: the same clusters, numbers and files, to the last bit."""

from __future__ import annotations

import math
from collections import Counter
from datetime import datetime, timedelta
from types import SimpleNamespace

import numpy as np
import pytest

from foveal.models.compiled import library
from foveal.retrieval import event_clusters, event_index_compiled
from foveal.retrieval.event_clusters import ClusterSettings, Member, StreamClusters, StreamTerms
from foveal.retrieval.event_index import PlainIndex
from foveal.retrieval.event_index_compiled import CompiledIndex
from foveal.retrieval.event_items import DAY, FilterSettings, Item, NearDuplicates
from foveal.retrieval.event_native import SOURCE, agrees, native
from foveal.retrieval.events import EventSettings, EventStore

BASE = datetime(2023, 5, 1, 12)


@pytest.fixture(autouse=True)
def _compiler():
    if library(SOURCE) is None:
        pytest.skip("needs a C++ compiler")


def clusters_from(compiled_from, settings):
    made = StreamClusters(settings)
    made.compiled_from = compiled_from
    return made


def drawn_members(seed, count):
    """Some topics, many words that came equally often, some items without any, and at times one late by days."""
    draw, stream = np.random.default_rng(seed), StreamTerms(vocabulary=300)
    for number in range(count):
        topic = int(draw.integers(15))
        title = [f"t{topic}-{draw.integers(7)}" for _ in range(4)] + [f"ä{draw.integers(90)}", f"\ud83d{topic}"]
        text = [f"x{int(word)}" for word in draw.integers(400, size=25) ** 2 // 400]
        vector = stream.vector(title, text) if draw.random() > 0.02 else {}
        at = number * DAY / 10 - (draw.random() < 0.1) * 5 * DAY
        yield Member(f"m{number}", " ".join(title), f"s{number % 50}", at, vector, (f"name {topic}",))


def encode(titles):
    """A vector by a title's topic: some clusters mean the same."""
    rows = np.array([[float(ord(title[1])), float(len(title)), 1.0] for title in titles], dtype=np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def same(one, other):
    """Two states, the terms by which clusters are found in any order."""
    states = [clusters.state() for clusters in (one, other)]
    for state in states:
        state["holding"] = {term: dict(held) for term, held in state["holding"]}
        for cluster in state["live"]:
            cluster["terms in order"] = list(cluster["centroid"]), list(cluster["heavy"])
    assert states[0] == states[1]
    for name, cluster in one.live.items():
        assert cluster.sums.top(5) == other.live[name].sums.top(5)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("kept", [12, 256])
def test_random_streams_give_the_same_clusters_to_the_last_bit(seed, kept):
    settings = ClusterSettings(
        centroid_terms=kept,
        heavy_terms=6,
        compared=3,
        members=8,
        threshold=0.12,
        split_cosine=0.25,
        merge_cosine=0.99,
        alive_days=2.0,
    )
    plain, compiled, late = (clusters_from(start, settings) for start in (math.inf, 0, 5))
    nights = Counter()
    for number, member in enumerate(drawn_members(seed, 400)):
        heavy = plain.index.heaviest(member.vector)
        assert heavy == compiled.index.heaviest(member.vector)
        names = [clusters.add(member).id for clusters in (plain, compiled, late)]
        assert names[1:] == names[:1] * 2
        if number % 7 == 0:
            for clusters in (plain, compiled, late):
                clusters.again(clusters.live[names[0]], "again", member.at + DAY)
        if number % 40 == 39:  # a night
            done = []
            for clusters in (plain, compiled, late):
                gone = [(one.id, one.sums.centroid, one.sums.heavy) for one in clusters.expired(member.at)]
                cut = [(one.id, new.id) for one, new in clusters.split()]
                done.append((gone, cut, clusters.merge(encode)))
                clusters.rest()
            assert done[0] == done[1] == done[2]
            same(plain, compiled)
            same(plain, late)
            nights.update(dict(zip(("gone", "cut", "merged"), map(len, done[0]), strict=True)))
    assert min(nights.values()) > 0
    assert isinstance(plain.index, PlainIndex)
    assert isinstance(compiled.index, CompiledIndex)
    assert isinstance(late.index, CompiledIndex)
    assert len(plain.index) == len(compiled.index)
    term = next(term for term, _ in plain.index.state())
    assert plain.index.of(term) == compiled.index.of(term) != {}


WHO = ("Lawmakers", "Regulators", "Striking miners", "The central bank", "Voters in Chile", "Rescuers", "A cargo ship")
WHAT = ("reject", "approve", "delay", "halt", "welcome", "question", "investigate", "repair")
WHOM = (
    "the pension reform in Paris", "a merger of two airlines", "talks on the grain corridor", "the rate rise of March",
    "a bridge over the Danube", "the launch from Florida", "new rules for chatbots", "the quake's damage in Elazig",
)  # fmt: skip


def news(count, seed=0):
    """Headlines and first sentences as feeds bring them: stories for some days, copies, price lists, late ones."""
    draw = np.random.default_rng(seed)
    for number in range(count):
        hour = number * 0.5
        whom = WHOM[int(hour // 40 + draw.integers(3)) % len(WHOM)]
        who, what = draw.choice(WHO), draw.choice(WHAT)
        title = f"{who} {what} {whom}" if number % 11 else f"Gold futures close {number} at noon"
        text = f"{title}, officials said. {' '.join(draw.choice(WHO + WHAT, 12))} {whom} {number % 17}."
        date = BASE + timedelta(hours=hour - (30 if number % 13 == 0 else 0))
        yield Item(f"n{number}", f"{title} - Daily Planet", text, date, f"{who[:3].lower()}.example")


def test_news_give_the_same_events_and_files_go_from_one_way_to_the_other(tmp_path):
    items = list(news(400))
    chosen = ClusterSettings(centroid_terms=30, threshold=0.4)
    settings = EventSettings(filter=FilterSettings(remembered=300), clusters=chosen)
    stores = []
    for first, then in ((math.inf, math.inf), (math.inf, 0), (0, math.inf), (5, 5)):
        store = EventStore(settings)
        store.clusters.compiled_from = store.duplicates.compiled_from = first
        names = [store.add(item, item.published_at + timedelta(days=1)) for item in items[:200]]
        store = EventStore.restored(store.snapshot(tmp_path / "events.json.gz"), settings)
        store.clusters.compiled_from = store.duplicates.compiled_from = then
        names += [store.add(item, item.published_at + timedelta(days=1)) for item in items[200:]]
        now = items[-1].published_at
        stores.append((names, store.events(now), store.trending(now), dict(store.closed), store.sizes()))
    assert all(one == stores[0] for one in stores[1:])
    assert len(set(stores[0][0])) > 8
    assert stores[0][2]


def test_numbers_of_terms_that_are_gone_are_given_out_again(monkeypatch):
    monkeypatch.setattr(event_index_compiled, "SPARE", 20)
    clusters = clusters_from(0, ClusterSettings(alive_days=1))
    for day in range(40):
        for number in range(5):
            vector = {f"d{day}-{number}-{place}": math.sqrt(1 / 8) for place in range(8)}
            clusters.add(Member(f"{day}-{number}", "", "", day * DAY, vector))
        clusters.expired(day * DAY)
        clusters.rest()
        assert all(f"d{day}-0-{place}" in clusters.live[f"e{5 * day + 1}"].centroid for place in range(8))
    assert len(clusters.live) <= 10
    assert len(clusters.index._terms.names) < 300  # of 1,600


def test_without_a_compiler_the_plain_index_goes_on(monkeypatch):
    monkeypatch.setattr(event_clusters, "native", lambda: None)
    clusters = clusters_from(3, ClusterSettings())
    for number in range(9):
        clusters.add(Member(f"m{number}", "", "", 0.0, {f"w{number}": 1.0}))
    assert isinstance(clusters.index, PlainIndex)
    assert len(clusters.live) == 9


def test_minima_and_shingles_are_the_same_by_either_way():
    draw, plain, compiled = np.random.default_rng(3), NearDuplicates(remembered=90), NearDuplicates(remembered=90)
    plain.compiled_from, compiled.compiled_from = math.inf, 0
    for number in range(400):
        words = [f"w{int(word)}" for word in draw.integers(30, size=int(draw.integers(40)))]
        words = words if number % 5 else [*words, *words, "Élan", "\ud83d"]
        assert plain.seen(words, f"n{number}") == compiled.seen(words, f"n{number}")
    assert plain.state() == compiled.state()
    assert plain._keys == compiled._keys
    assert len(plain) == 90


def test_a_compiler_that_sums_up_otherwise_is_not_trusted():
    calls = native()
    assert agrees(calls)
    assert not agrees(SimpleNamespace(product=lambda a, b, n: math.nextafter(calls.product(a, b, n), math.inf)))
