"""The automaton against all paths; the stream's z-score against sums written out; words of titles."""

from __future__ import annotations

import itertools
import json
import math
from datetime import datetime, timedelta

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from foveal.errors import InputError
from foveal.retrieval.burst_terms import TermCounts, strongest_bins, term_bursts
from foveal.retrieval.bursts import BurstSettings, BurstTracker, bursts, cheapest_path
from foveal.retrieval.event_items import Item


def cost_by_definition(path, counts, totals, s, gamma, states):
    """Kleinberg's formula, bin by bin; bins without documents are not there."""
    rate = sum(counts) / sum(totals)
    used = [(r, d, state) for r, d, state in zip(counts, totals, path, strict=True) if d]
    cost, before = 0.0, 0
    for r, d, state in used:
        p = min(rate * s**state, 0.9999)
        cost += max(0, state - before) * gamma * math.log(len(used))
        cost -= math.log(math.comb(d, r)) + r * math.log(p) + (d - r) * math.log(1 - p)
        before = state
    return cost


series = st.lists(st.tuples(st.integers(0, 12), st.integers(0, 12)), min_size=1, max_size=8)


@settings(max_examples=40)
@given(series, st.sampled_from([1.5, 2.0, 3.0]), st.sampled_from([0.0, 1.0, 2.5]), st.sampled_from([2, 3]))
def test_the_path_is_the_cheapest_of_all(pairs, s, gamma, states):
    counts, totals = [min(pair) for pair in pairs], [max(pair) for pair in pairs]
    found = cheapest_path(counts, totals, s=s, gamma=gamma, states=states)
    if not sum(counts):
        assert not found.states.any()
        return
    costs = [
        cost_by_definition(path, counts, totals, s, gamma, states)
        for path in itertools.product(range(states), repeat=len(counts))
        if all(state == before for before, state, d in zip((0, *path), path, totals, strict=False) if not d)
    ]
    assert found.cost == pytest.approx(min(costs), abs=1e-9)
    assert cost_by_definition(found.states, counts, totals, s, gamma, states) == pytest.approx(min(costs), abs=1e-9)


def test_a_burst_is_an_interval_with_what_the_lower_state_would_cost_more():
    counts = [1, 1, 0, 9, 8, 0, 1, 1, 1, 0]
    totals = [50] * 10
    found = bursts(counts, totals)
    assert [(one.start, one.end) for one in found] == [(3, 4)]
    low, high = ([2 if on and 3 <= t <= 4 else 0 for t in range(10)] for on in (False, True))
    assert not any(low)
    rate = sum(counts) / sum(totals)
    weight = sum(r * math.log(2 * rate / rate) + (50 - r) * math.log((1 - 2 * rate) / (1 - rate)) for r in (9, 8))
    assert found[0].weight == pytest.approx(weight)
    assert high[3] == 2
    assert bursts([0, 0], [0, 5]) == []
    assert bursts([], []) == []


def test_more_documents_of_all_kinds_are_no_burst():
    assert bursts([2, 2, 20, 2], [50, 50, 500, 50]) == []


def test_wrong_series_and_settings_are_refused():
    with pytest.raises(InputError, match="3 of 2 documents"):
        bursts([3], [2])
    with pytest.raises(InputError, match="1 counts and 2 totals"):
        bursts([1], [2, 2])
    with pytest.raises(InputError, match="s=1"):
        bursts([1], [2], s=1.0)
    with pytest.raises(InputError, match="do not fill a week"):
        BurstSettings(bin_hours=5)
    with pytest.raises(InputError, match="above 0"):
        BurstSettings(fast_hours=0)


# -- the stream -------------------------------------------------------------------------------------------------------


def z_by_definition(counts, totals, at, settings):
    """All sums over the whole history, nothing kept between bins. counts, totals: bin -> number."""
    bins = settings.open_bins
    halves = [24 * days / settings.bin_hours for days in settings.slow_days]
    usual, weight, scale, scales = 0.0, 0.0, {}, {}
    begun = min(totals) - bins + 1
    for b in range(begun, at - bins + 1):
        total = totals.get(b, 0)
        scale[b] = min(1.0, (usual + 20) / (total + 20)) if usual else 1.0
        weight = 2 ** (-1 / halves[-1]) * weight + 1
        usual += (total - usual) / weight
    last = at - bins
    level = first_sum = second = 0.0
    for b in range(last + 1, at + 1):
        w = 2 ** (-(at - b) * settings.bin_hours / settings.fast_hours)
        total = totals.get(b, 0)
        scales[b] = min(1.0, (usual + 20) / (total + 20)) if usual else 1.0
        level += w * counts.get(b, 0) * scales[b]
        first_sum += w
        second += w * w
    scores = []
    for half in halves:
        ones = sum(2 ** (-(last - b) / half) for b in range(begun, last + 1)) or 1.0
        xs = {b: counts.get(b, 0) * scale[b] for b in range(begun, last + 1)}
        mean = sum(2 ** (-(last - b) / half) * x for b, x in xs.items()) / ones
        square = sum(2 ** (-(last - b) / half) * x * x for b, x in xs.items()) / ones
        scores.append((level - first_sum * mean) / math.sqrt(second * (square - mean * mean) + first_sum * mean + 1))
    return min(scores)


def test_the_z_score_is_its_definition():
    """Over less than two weeks, before places in the week count."""
    draw, settings = np.random.default_rng(3), BurstSettings(bin_hours=24, late_hours=24, slow_days=(2.0, 9.0))
    tracker, counts, totals = BurstTracker(settings), {}, {}
    for day in range(100, 108):
        for _ in range(int(draw.integers(3, 30)) * (1 + 2 * (day == 106))):
            carries = draw.random() < (0.6 if day == 107 else 0.2)
            tracker.add(day, ["x"] if carries else ["other"])
            totals[day] = totals.get(day, 0) + 1
            counts[day] = counts.get(day, 0) + carries
        assert tracker.z("x", day) == pytest.approx(z_by_definition(counts, totals, day, settings), abs=1e-9), day


def test_the_order_within_the_open_bins_does_not_matter():
    draw = np.random.default_rng(0)
    stream = [(int(b), f"f{draw.integers(5)}") for b in np.sort(draw.integers(0, 60, 400))]
    shuffled = sorted(stream, key=lambda one: (one[0] // 4, draw.random()))
    trackers = [BurstTracker(), BurstTracker()]
    for tracker, order in zip(trackers, (stream, shuffled), strict=True):
        for at, feature in order:
            tracker.add(at, [feature])
    for number in range(5):
        one, other = (tracker.z(f"f{number}", 60) for tracker in trackers)
        assert one == pytest.approx(other)


def test_a_weekly_column_is_usual_on_its_day_and_news_on_another():
    tracker = BurstTracker(BurstSettings(bin_hours=24))
    for day in range(8 * 7 + 1):
        for number in range(20):
            tracker.add(day, ["column"] if day % 7 == 0 and number < 8 else [])
    on_its_day = tracker.z("column", 56)
    for _ in range(8):
        tracker.add(60, ["column"])
    for _ in range(12):
        tracker.add(60, [])
    assert on_its_day < 1.5
    assert tracker.z("column", 60) > 2 * max(0.1, on_its_day)


def test_a_feature_that_never_came_is_no_burst_and_memory_is_bounded():
    tracker = BurstTracker(BurstSettings(features=50))
    assert tracker.z("nothing", 5) == 0.0
    for at in range(200):
        tracker.add(at, [f"once{at}-{number}" for number in range(20)])
    tracker.advance(400)
    assert len(tracker.series) <= 100
    assert len(tracker.open) <= tracker.settings.open_bins
    assert tracker.z("once199-0", 400) == 0.0 or tracker.z("once199-0", 400) < 0


def test_a_gap_of_centuries_is_not_counted_bin_by_bin(monkeypatch):
    closed, close = [], BurstTracker._close
    monkeypatch.setattr(BurstTracker, "_close", lambda self, at: (closed.append(at), close(self, at)))
    whole, short = BurstTracker(), BurstTracker()
    whole._forgotten = 10**9
    for tracker in (whole, short):
        for at in (0, 1, 1, 29, 30, 20_000, 20_001, 20_001, 20_040):
            tracker.add(at, ["quake", f"f{at}"])
    for feature in ("quake", "f1", "f20001"):
        assert short.z(feature, 20_040) == pytest.approx(whole.z(feature, 20_040), rel=1e-12)
    assert short.slots == pytest.approx(whole.slots, rel=1e-12)
    del closed[:]
    short.add(3_000_000, ["quake"])
    assert len(closed) < 10_000
    assert short.closed == 3_000_000 - short.settings.open_bins


def test_a_tracker_goes_on_from_its_state():
    draw = np.random.default_rng(5)
    stream = [(int(b), f"f{draw.integers(9)}") for b in np.sort(draw.integers(0, 200, 900))]
    whole, half = BurstTracker(), BurstTracker()
    for at, feature in stream:
        whole.add(at, [feature])
    for at, feature in stream[:450]:
        half.add(at, [feature])
    again = BurstTracker()
    again.restore(json.loads(json.dumps(half.state())))
    for at, feature in stream[450:]:
        again.add(at, [feature])
    assert [again.z(f"f{n}", 200) for n in range(9)] == [whole.z(f"f{n}", 200) for n in range(9)]


# -- words of titles --------------------------------------------------------------------------------------------------


def test_words_burst_on_their_days_and_bulletins_do_not():
    base, items = datetime(1987, 4, 1), []
    for day in range(20):
        for number in range(10):
            title = (
                "TEXACO files for bankruptcy court" if day == 12 and number < 6 else f"Grain ships leave port {number}"
            )
            items.append(Item(f"{day}-{number}", title, published_at=base + timedelta(days=day)))
        items += [
            Item(f"{day}-b{n}", "HOG FUTURES CLOSE - TABLE 3", published_at=base + timedelta(days=day))
            for n in range(9)
        ]
    counts = TermCounts.of(items)
    assert "futures" not in counts.counts
    found = term_bursts(counts, 5)[0]
    assert (found.start.day, found.end.day, found.count) == (13, 13, 6)
    assert {one.term for one in strongest_bins(counts, 4)} >= {"texaco", "bankruptcy"}
    assert "futures" in TermCounts.of(items, bulletins=True).counts


def test_a_busy_day_is_scaled_down():
    base = datetime(1987, 4, 1)
    items = [
        Item(f"{day}-{n}", "exchange opens session again", published_at=base + timedelta(days=day))
        for day in range(20) for n in range(3000 if day == 6 else 300)
    ]  # fmt: skip
    items += [Item(f"n{n}", "louvre meeting ends", published_at=base + timedelta(days=9)) for n in range(40)]
    plain, normalised = (strongest_bins(TermCounts.of(items), 9, normalised=on) for on in (False, True))
    assert plain[0].term in ("exchange", "opens", "session", "again")
    assert normalised[0].term in ("louvre", "meeting", "ends")
