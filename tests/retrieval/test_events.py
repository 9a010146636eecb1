"""The event store: what is evidence, what belongs together, what bursts; wrong clocks; the same after a restart."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from foveal.errors import InputError
from foveal.retrieval import event_items
from foveal.retrieval.event_clusters import ClusterSettings, Member, StreamClusters, StreamTerms
from foveal.retrieval.event_cuts import two_parts
from foveal.retrieval.event_index import PlainSums, cosine, length_without, most
from foveal.retrieval.event_items import (
    DAY,
    LOOKED_AT,
    FilterSettings,
    Item,
    ItemFilter,
    NearDuplicates,
    entities,
    event_terms,
    is_bulletin,
    jaccard,
    language_of,
    seconds,
    shingles,
    template,
)
from foveal.retrieval.event_phrases import trimmed, triple, written
from foveal.retrieval.events import EVENT, EventSettings, EventStore
from foveal.retrieval.terms import terms

BASE = datetime(2023, 5, 1, 12)
STORIES = (
    ("Quake hits the coast near Elazig", "Rescuers search the rubble in Elazig after a strong quake struck the coast"),
    ("Central bank raises its rate again", "The central bank lifted the interest rate by half a point on inflation"),
    ("Striker scores three goals in final", "The striker led the team to the cup with goals in the final at Wembley"),
)


def item(name, story=0, *, hours=0.0, title=None, text=None, source="one.example"):
    date = None if hours is None else BASE + timedelta(hours=hours)
    return Item(
        name, STORIES[story][0] if title is None else title, text or f"{STORIES[story][1]} {name}", date, source
    )


def varied(name, story, hours, number, source=None):
    """A report of its own: the story's words in another order, with some of its own."""
    words = STORIES[story][0].split()
    turned = " ".join([*words[number % 3 :], *words[: number % 3], f"word{number}"])
    text = " ".join([*STORIES[story][1].split()[number % 4 :], f"own{number}", f"more{number}"])
    return item(name, story, hours=hours, title=turned, text=text, source=source or f"s{number}.example")


def feed():
    """Three stories over four days, among other titles that have nothing in common."""
    draw, made = np.random.default_rng(1), []
    for number in range(60):
        words = " ".join(f"w{draw.integers(5000)}" for _ in range(6))
        made.append(item(f"noise{number}", hours=float(draw.random() * 96), title=words, text=words[::-1]))
    for story, start in ((0, 30), (1, 50), (2, 70)):
        made += [varied(f"s{story}-{n}", story, start + 3 * n, n) for n in range(6)]
    return sorted(made, key=lambda one: one.published_at)


NOW = BASE + timedelta(hours=96)


# -- what is evidence -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("title", "reason"),
    [
        ("", "no title"), ("   ", "no title"), ("Too short", "too short"), (" ".join(["word"] * 41), "too long"),
        ("HONG KONG EXCHS NOON - APR 7", "bulletin"), ("Best deals on phones: 50% off today only", "bulletin"),
        ("12.5 13.5 14.5 per cent 11 10 9", "bulletin"), ("SMITH CORP 4TH QTR NET RISES", "bulletin"),
        ("Quake hits the coast near Elazig", None), ("Bank cuts prices of its shares in half", None),
    ],
)  # fmt: skip
def test_what_is_no_evidence_is_told_with_its_reason(title, reason):
    assert ItemFilter().refused(Item("a", title), len(title.split()), 0) == reason


def test_of_a_title_without_end_the_beginning_is_looked_at():
    """Some rules take the square of its length: a page with such a title held up all searches for hours."""
    assert is_bulletin("oil prices close")
    assert not is_bulletin("Quake hits the coast " + "x" * LOOKED_AT + " oil prices close")
    assert not is_bulletin("a b c " + "div." * 100_000)


def test_a_title_that_comes_each_day_with_other_numbers_is_a_bulletin():
    keep = ItemFilter()
    titles = [f"Ship movements at the port of Ghent {day} May" for day in range(1, 6)]
    assert [keep.refused(Item("a", title), 9, day) for day, title in enumerate(titles)] == [
        None,
        None,
        *["bulletin"] * 3,
    ]
    seldom = ItemFilter()
    assert [
        seldom.refused(Item("a", f"Quake of 5.{day} shakes the coast of Chile"), 9, day) for day in (0, 90, 180, 270)
    ] == [None] * 4  # each is news
    assert seldom.refused(Item("a", "Quake of 6.1 shakes the coast of Chile"), 9, 271) is None
    assert seldom.refused(Item("a", "Quake of 6.2 shakes the coast of Chile"), 9, 272) == "bulletin"
    assert template("Cases on 3 May: 1,204") == template("Cases on 14 June: 99")
    same_day = ItemFilter()
    assert [same_day.refused(Item("a", titles[0]), 9, 7) for _ in range(5)] == [None] * 5


def test_news_that_comes_around_midnight_in_any_order_is_of_two_days():
    keep = ItemFilter()
    assert [keep.refused(Item("a", "Quake hits the coast of Chile"), 6, day) for day in (7, 8, 7, 8, 7)] == [None] * 5


def test_a_template_loses_months_and_no_words_that_begin_like_them():
    assert template("Report for Sept 3, October 4 and may 5") == template("Report for March 1, Dec 2 and June 9")
    winners = [f"{name} wins a stage of the tour" for name in ("Martin", "Julian", "Augustin", "Mayor", "Novak")]
    assert len({template(title) for title in winners}) == len(winners)
    keep = ItemFilter()
    assert [keep.refused(Item("a", title), 7, day) for day, title in enumerate(winners)] == [None] * 5


def test_only_chosen_languages_pass_where_they_can_be_told():
    german = Item("a", "Die Zentralbank hat den Zins um einen halben Punkt erhöht")
    keep = ItemFilter(FilterSettings(languages=("en",)))
    assert keep.refused(german, 10, 0) == "language"
    assert keep.refused(Item("b", "Quake hits coast near Elazig"), 5, 0) is None
    found = {
        "the bank of the river and in the sea": "en",
        "地震がトルコを襲った": "ja",
        "地震袭击土耳其东部": "zh",
        "xyz": None,
    }
    assert {text: language_of(text) for text in found} == found


@settings(max_examples=40)
@given(st.lists(st.sampled_from("abcdefgh"), min_size=3, max_size=40), st.integers(0, 3))
def test_shingles_and_jaccard_are_their_definition(words, changes):
    other = list(words)
    for place in range(changes):
        other[place % len(other)] = "z"
    sets = [set(itertools.pairwise(itertools.pairwise(text))) for text in (words, other)]
    expected = len(sets[0] & sets[1]) / len(sets[0] | sets[1])
    assert jaccard(shingles(words), shingles(other)) == pytest.approx(expected)


def test_keys_of_a_text_are_the_least_of_each_order_and_its_grams_stand_once():
    draw, index = np.random.default_rng(4), NearDuplicates()
    for length in (1, 2, 3, 4, 60, 300):
        words = [f"w{number}" for number in draw.integers(4 if length < 300 else 50, size=length)]
        own = shingles(words)
        assert own.tolist() == sorted(set(own.tolist()))
        orders = [
            [(int(gram) * int(times) + int(plus)) % 2**64 >> 32 for gram in own]
            for times, plus in zip(index._multiply, index._plus, strict=True)
        ]
        least = np.array([min(order) for order in orders], dtype=np.uint32)
        expected = [bytes([band]) + least[4 * band : 4 * band + 4].tobytes() for band in range(12)]
        assert list(index._keys_of(own)) == expected


TITLE_WORDS = "Live Updates spot Fixing CLOSE gmt 4th QTR shr vs net May Sept 3.5% off best deals Monday today's quiz -"


@settings(max_examples=60)
@given(st.lists(st.sampled_from([*TITLE_WORDS.split(), "Élan", "ſept", "\u0130"]), min_size=1, max_size=9))
def test_patterns_find_the_same_in_lower_case_as_in_any(words):
    title = " ".join(words)
    if title.isascii():
        assert bool(event_items._BULLETIN.plain.search(title.lower())) == bool(event_items._BULLETIN.any.search(title))
    numbers = sum(any(sign.isdigit() for sign in word) for word in words)
    assert is_bulletin(title) == (bool(event_items._BULLETIN.any.search(title)) or numbers > len(words) / 2)
    varied = event_items._VARIES.any.sub(" ", title.lower())
    assert template(title) == event_items._NOT_WORDS.sub(" ", varied).strip()


def test_nearly_the_same_text_is_found_and_what_is_remembered_is_bounded():
    index = NearDuplicates(remembered=20)
    texts = [[f"w{number}-{place}" for place in range(40)] for number in range(30)]
    assert [index.seen(words, f"t{number}") for number, words in enumerate(texts)] == [None] * 30
    assert len(index) == 20
    near = [*texts[25][:38], "new", "words"]
    assert index.seen(near, "again") == "t25"
    assert index.seen(texts[2], "old") is None  # forgotten
    assert index.seen(texts[26][:20], "half") is None
    copy = NearDuplicates(remembered=20)
    copy.restore(index.state())
    assert copy.seen(near, "once more") == "t25"
    assert index.seen([], "empty") is None


def test_terms_of_an_event_are_the_searches_terms_without_plurals():
    for text in ("The Quakes hit 3 coasts, glass and bus", "Über Züge und die Häuser", "地震 hits"):
        expected = [w[:-1] if len(w) > 3 and w.endswith("s") and not w.endswith("ss") else w for w in terms(text)]
        assert event_terms(text) == expected
    assert event_terms("") == []


def test_names_are_runs_of_capitals_and_a_title_in_capitals_has_none():
    assert entities("Police in New York arrest Sam Bankman-Fried over fraud") == ("new york", "sam bankman-fried")
    assert entities("STANDARD OIL TO FORM FINANCIAL UNIT") == ()
    assert entities("Every Word Begins With Capitals Here") == ()
    assert entities("The Bank of Van Dyck  and others met Sam") == ("the bank of van dyck", "sam")
    apart = "said" + " " * 300_000  # in each of which a pattern that parts blanks in two ways looks for its end
    assert entities(f"police in New York {apart}that they arrest Sam {apart}over fraud") == ("new york", "sam")


# -- weights and clusters ---------------------------------------------------------------------------------------------


def test_weights_are_the_formula_with_counts_so_far():
    stream = StreamTerms()
    stream.vector(["quake", "coast"], ["coast"])
    found = stream.vector(["quake", "quake", "bank"], ["rate", "quake"])
    tf = {"quake": 2.5, "bank": 1.0, "rate": 0.5}
    df = {"quake": 2, "bank": 1, "rate": 1}
    weights = {word: (1 + math.log(tf[word])) * math.log((1 + 2) / df[word]) for word in tf}
    length = math.sqrt(sum(weight**2 for weight in weights.values()))
    assert found == pytest.approx({word: weight / length for word, weight in weights.items()})
    assert stream.vector([], []) == {}


def test_a_vector_is_that_of_one_word_after_the_other_to_the_last_bit():
    draw, stream, df = np.random.default_rng(6), StreamTerms(vocabulary=40), Counter()
    for number in range(1, 80):
        title, text = ([f"w{int(n)}" for n in draw.integers(300, size=size) ** 2 // 300] for size in (6, 30))
        counts: dict[str, float] = {}
        for words, share in ((title, 1.0), (text, 0.5)):
            for word in words:
                counts[word] = counts.get(word, 0.0) + share
        df.update(counts.keys())
        if len(df) > 80:
            df = Counter(dict(sorted(df.items(), key=lambda one: (-one[1], one[0]))[:40]))
        weights = {word: (1 + math.log(tf)) * math.log((1 + number) / df.get(word, 1)) for word, tf in counts.items()}
        length = math.sqrt(sum(weight * weight for weight in weights.values()))
        found = stream.vector(title, text)
        assert list(found.items()) == [(word, weight / length) for word, weight in weights.items()]
        assert stream.frequencies == df


@pytest.mark.parametrize("kept", [10, 200])
def test_no_cosine_lies_above_its_bound(kept):
    draw, stream, clusters = (
        np.random.default_rng(7),
        StreamTerms(),
        StreamClusters(ClusterSettings(centroid_terms=kept)),
    )
    for number in range(300):
        title, text = ([f"w{int(n)}" for n in draw.integers(90, size=size)] for size in (6, 20))
        vector = stream.vector(title, text)
        heavy = clusters.index.heaviest(vector)
        assert heavy == sorted(vector, key=lambda term: (-vector[term], term))[:12]
        rest = length_without(heavy, vector)
        assert rest == pytest.approx(
            math.sqrt(sum(vector[term] ** 2 for term in vector if term not in heavy)), abs=1e-4
        )
        for cluster in clusters.live.values():
            found, bound = cosine(cluster.sums, vector), most(cluster.sums, vector, heavy, rest)
            assert found <= bound <= found + rest + 1e-6
            assert cluster.sums.top(5) == tuple(sorted(cluster.centroid, key=cluster.centroid.get, reverse=True)[:5])
        clusters.add(Member(f"m{number}", "", "", 0.0, vector), heavy)
    assert most(PlainSums(), {"a": 1.0}, ["a"], 0.0) >= 0


def joined_by_definition(members, settings):
    """Every live cluster that shares a heavy term is compared in full."""
    clusters = []  # [number, sum, first, last, heavy terms]
    placed = []
    for member in members:
        heavy = sorted(member.vector, key=lambda term: (-member.vector[term], term))[: settings.heavy_terms]
        best, highest = None, settings.threshold
        for cluster in clusters:
            gap = max(0.0, member.at - cluster[3], cluster[2] - member.at) / DAY
            if not set(heavy) & cluster[4] or gap > settings.alive_days:
                continue
            length = math.sqrt(sum(weight**2 for weight in cluster[1].values()))
            cosine = sum(weight * cluster[1].get(term, 0.0) for term, weight in member.vector.items()) / length
            if cosine * 2 ** (-gap / settings.half_life_days) > highest + 1e-12:
                best, highest = cluster, cosine * 2 ** (-gap / settings.half_life_days)
        if best is None:
            best = [len(clusters) + 1, Counter(), member.at, member.at, set()]
            clusters.append(best)
        best[1].update(member.vector)
        best[2], best[3] = min(best[2], member.at), max(best[3], member.at)
        best[4] |= set(heavy)
        placed.append(f"e{best[0]}")
    return placed


@pytest.mark.parametrize("seed", range(6))
def test_joining_with_bounds_is_joining_by_comparing_with_all(seed):
    draw, stream = np.random.default_rng(seed), StreamTerms()
    members = []
    for number in range(150):
        topic = int(draw.integers(12))
        words = [f"t{topic}-{draw.integers(6)}" for _ in range(5)] + [f"x{draw.integers(60)}" for _ in range(4)]
        vector = stream.vector(words, [f"x{draw.integers(60)}" for _ in range(20)])
        members.append(Member(f"m{number}", " ".join(words), "s", number * DAY / 4, vector))
    settings = ClusterSettings(heavy_terms=4)
    clusters = StreamClusters(settings)
    assert [clusters.add(member).id for member in members] == joined_by_definition(members, settings)
    for cluster in clusters.live.values():
        assert cluster.sums.squared == pytest.approx(sum(weight**2 for weight in cluster.centroid.values()))
        for term in cluster.sums.heavy:
            assert clusters.index.of(term)[cluster.id] == cluster.centroid[term]
        pairs = [
            sum(w * b.vector.get(t, 0.0) for t, w in a.vector.items())
            for a, b in itertools.permutations(cluster.members, 2)
        ]
        if pairs:
            assert cluster.coherence == pytest.approx(sum(pairs) / len(pairs))


def test_a_cluster_that_fell_apart_is_cut_and_what_means_the_same_becomes_one():
    vectors = [{"a": 1.0}, {"b": 1.0}, {"a": 0.8, "c": 0.6}, {"b": 0.8, "d": 0.6}, {"a": 1.0}]
    assert sorted(two_parts(vectors)) == [1, 3]
    assert two_parts(vectors[:1]) == []
    clusters = StreamClusters(ClusterSettings(split_cosine=0.5))
    one = clusters._open(0.0)
    for number, vector in enumerate(vectors):
        clusters._join(one, Member(f"m{number}", f"title {number}", "s", float(number), vector), list(vector))
    one.peak = 3.5
    clusters.again(one, "other", 2 * 86400.0)
    ((old, new),) = clusters.split()
    assert (old.duplicates, old.sources, old.days) == (1, {"s": 3, "other": 1}, {0: 3, 2: 1})
    assert (new.duplicates, new.sources, new.days) == (0, {"s": 2}, {0: 2})
    assert (old.peak, new.peak) == (3.5, 0.0)  # of that name it stays the highest burst so far
    assert {member.id for member in new.members} == {"m1", "m3"}
    assert (old.id, old.count, new.count, set(clusters.live)) == ("e1", 3, 2, {"e1", "e2"})
    assert list(clusters.index.of("b")) == ["e2"]
    assert clusters.merge(lambda titles: np.ones((len(titles), 4), np.float32) / 2) == [("e1", "e2")]
    assert clusters.live["e1"].count == 5
    assert list(clusters.index.of("b")) == ["e1"]


# -- the store --------------------------------------------------------------------------------------------------------


def test_stories_become_events_that_trend_and_noise_does_not():
    store = EventStore().extend(feed())
    top = store.trending(NOW, 3)
    assert {event.documents[0].partition("-")[0] for event in top} == {"s0", "s1", "s2"}
    best = top[0]
    assert best.count == 6
    assert len(best.sources) == 6
    assert best.burst > 2
    assert any(word in best.phrase for word in ("goals", "rate", "Quake"))
    events = store.events(NOW)
    assert sum(event.count for event in events) + sum(store.reasons.values()) == store.received
    assert [event.burst for event in events] == sorted((event.burst for event in events), reverse=True)
    assert store.get(best.id, NOW) == next(event for event in events if event.id == best.id)


def test_at_a_moment_before_the_first_document_there_is_nothing():
    store = EventStore().extend(feed())
    assert store.events(BASE - timedelta(days=3)) == []
    assert EventStore().trending(BASE) == []
    early = store.events(BASE + timedelta(hours=40))
    assert not any(name.startswith(("s1", "s2")) for event in early for name in event.documents)


def test_near_duplicates_count_for_their_event_and_are_no_items():
    store = EventStore()
    first = store.add(item("a"), BASE)
    again = store.add(item("b", text=f"{STORIES[0][1]} a", source="two.example"), BASE)
    assert first == again
    event = store.get(first, BASE)
    assert (event.count, event.duplicates, len(event.sources)) == (1, 1, 2)
    assert store.reasons["duplicate"] == 1
    assert sum(event.days.values()) == 2


def test_a_burst_of_near_duplicates_alone_is_noted_at_night():
    store, now = EventStore(), BASE
    store.add(item("first"), now)
    for number in range(30):  # a day later: what came so far is over
        now = BASE + timedelta(days=1, minutes=number)
        store.add(item(f"copy{number}", hours=24 + number / 60, text=item("first").text, source=f"s{number}"), now)
    [event] = store.events(now)
    assert (event.count, event.duplicates) == (1, 30)
    assert event.burst > 10
    for days in range(2, 9):  # until no bin of that day is open any more
        now = BASE + timedelta(days=days)
        store.add(item(f"other{days}", 1 + days % 2, hours=24 * days), now)
    assert store.get(event.id, now).burst == pytest.approx(event.burst)


def test_a_near_duplicate_that_comes_late_may_have_been_the_first():
    store = EventStore()
    store.add(item("a", hours=5), BASE + timedelta(hours=5))
    store.add(item("b", hours=2, text=item("a").text), BASE + timedelta(hours=6))
    [event] = store.events(BASE + timedelta(hours=6))
    assert (event.duplicates, event.first_seen) == (1, BASE + timedelta(hours=2))


def test_an_entry_that_is_delivered_again_is_no_burst(tmp_path):
    """A feed is polled each hour, and has the same entry for days; also one that was a near-duplicate of another."""
    store = EventStore()
    entries = [item("a"), item("b", text=f"{STORIES[0][1]} a", source="two.example"), item("c", 1, hours=1)]
    for hour in range(10):
        for one in entries:
            store.add(one, BASE + timedelta(hours=hour + 1))
        if hour == 5:
            store = EventStore.restored(store.snapshot(tmp_path / "events.json.gz"))
    [first, second] = sorted(store.events(BASE + timedelta(hours=11)), key=lambda event: int(event.id[1:]))
    assert (first.count, first.duplicates, sum(first.days.values())) == (1, 1, 2)
    assert (second.count, second.duplicates) == (1, 0)
    assert +store.reasons == Counter({"again": 27, "duplicate": 1})
    assert store.received == 30
    once = EventStore()
    for one in entries:
        once.add(one, BASE + timedelta(hours=1))
    assert [event.burst for event in once.events(BASE + timedelta(hours=11))] == [
        event.burst for event in store.events(BASE + timedelta(hours=11))
    ]
    few = EventStore(EventSettings(filter=FilterSettings(remembered=2)))
    for one in (item("a"), item("b", 1), item("a"), item("c", 2), item("a"), item("b", 1)):
        few.add(one, BASE + timedelta(hours=1))
    assert few.reasons["again"] == 2  # "b" is forgotten, "a" was kept by coming again
    assert few.sizes()["ids"] == 2


def test_an_entry_of_the_future_waits_once():
    store = EventStore()
    for hour in range(3):
        store.add(item("f", hours=72), BASE + timedelta(hours=hour))
    assert store.sizes()["waiting"] == 1
    assert store.reasons == Counter({"again": 2, "future": 1})
    store.add(item("later", 1, hours=80), BASE + timedelta(hours=80))
    assert store.reasons["future"] == 0
    assert sum(event.count for event in store.events(BASE + timedelta(hours=80))) == 2


def test_what_waits_is_known_by_its_id_without_a_look_at_all_that_wait(tmp_path):
    looks = 0

    class Name(str):
        def __eq__(self, other):
            nonlocal looks
            looks += 1
            return str.__eq__(self, other)

        __hash__ = str.__hash__

    store = EventStore(EventSettings(quarantine=50))
    for number in range(60):
        store.add(item(Name(f"f{number}"), hours=100 - number), BASE)
    assert looks < 60
    assert [one.id for _, _, one in store._waiting] == [f"f{number}" for number in reversed(range(10, 60))]
    store.add(item("f0", hours=100), BASE)  # was forgotten, and is again
    assert store.reasons == Counter({"future": 61, "future, forgotten": 11})
    again = EventStore.restored(store.snapshot(tmp_path / "events"), EventSettings(quarantine=50))
    again.add(item("f20", hours=80), BASE)
    assert again.reasons["again"] == 1
    assert again.sizes()["waiting"] == 50


def test_a_wrong_date_does_not_make_the_rest_of_a_stream_late():
    items = [
        item("a"),
        item("wrong", hours=24 * 365 * 76, title="Prices of the far future are out"),
        item("b", 1, hours=1),
    ]
    believed = EventStore().extend(items)
    assert believed.reasons["late"] == 1
    store = EventStore().extend(items, now=BASE + timedelta(hours=2))
    assert +store.reasons == Counter({"future": 1})
    assert sum(event.count for event in store.events(BASE + timedelta(hours=2))) == 2
    undated = item("none", hours=None)
    assert EventStore().extend([undated, *items, undated], now=BASE + timedelta(hours=2)).reasons["undated"] == 2


def test_wrong_clocks_lose_nothing():
    store = EventStore()
    store.add(item("a", hours=0), BASE)
    assert store.add(item("future", 1, hours=30), BASE) is None
    assert store.reasons["future"] == 1
    assert store.sizes()["waiting"] == 1
    skewed = store.add(item("skewed", 2, hours=0.5), BASE)  # half an hour ahead: a wrong clock
    assert skewed is not None
    assert store.get(skewed, BASE).last_seen == BASE  # so it is seen now, and not in half an hour
    assert store.add(item("undated", 1, hours=None), BASE) is None
    store.add(
        item("later", 2, hours=40, title="Another thing entirely happens now", text="x y z"), BASE + timedelta(hours=40)
    )
    assert store.reasons["future"] == 0  # its time came
    assert store.event_of("future") is not None
    assert store.add(varied("late", 0, 0, 5), BASE + timedelta(hours=41)) is not None  # 40 hours late
    assert store.add(varied("too late", 0, -20, 4), BASE + timedelta(hours=41)) is None
    assert +store.reasons == Counter({"undated": 1, "late": 1})


def test_what_waits_comes_in_at_its_time_whatever_came_first():
    store = EventStore()
    for name, story, hours in (("far", 1, 30), ("near", 0, 10)):
        assert store.add(item(name, story, hours=hours), BASE) is None
    store.add(item("now", 2, hours=11), BASE + timedelta(hours=11))
    assert store.event_of("near") is not None
    assert store.event_of("far") is None


def test_a_burst_that_more_sources_report_is_the_higher():
    def burst(sources):
        store = EventStore()
        for n in range(6):
            moment = BASE + timedelta(hours=40 + n)
            event = store.add(varied(f"s{n}", 0, 40 + n, n, source=f"s{n % sources}.example"), moment)
        return store.burst_at(store.clusters.live[event], seconds(BASE + timedelta(hours=46)))

    assert burst(1) > 0
    assert burst(4) / burst(1) == pytest.approx(math.log(5) / math.log(2))


def test_what_is_reported_again_once_its_event_is_over_is_an_event_of_its_own():
    store, text, day = EventStore(), STORIES[0][1], 24.0
    first = store.add(item("a", text=text), BASE)
    store.add(item("b", 1, hours=20 * day), BASE + timedelta(days=20))
    again = store.add(item("c", hours=20 * day + 1, text=text), BASE + timedelta(days=20, hours=1))
    assert again not in (None, first)
    assert store.reasons["duplicate"] == 0
    assert store.get(first, BASE + timedelta(days=21)).stage == "closed"


def test_a_late_item_is_counted_on_its_own_day():
    close = EventSettings(clusters=ClusterSettings(threshold=0.03))
    ordered, late = (EventStore(close) for _ in range(2))
    items = [varied(f"s{n}", 0, 6 * n, n) for n in range(6)]
    ordered.extend(items)
    for one in [*items[:2], *items[3:], items[2]]:
        late.add(one, items[-1].published_at)
    a, b = (store.events(NOW)[0] for store in (ordered, late))
    assert (a.days, a.count) == (b.days, b.count)
    assert a.burst == pytest.approx(b.burst)


def test_naive_and_aware_dates_are_not_mixed():
    store = EventStore()
    store.add(item("a"), BASE)
    for moment in (BASE.replace(tzinfo=UTC), datetime.now(UTC)):
        with pytest.raises(ValueError, match="naive"):
            store.add(item("b", 1), moment)
    with pytest.raises(InputError, match="aware"):
        store.add(Item("c", STORIES[0][0], "", BASE.replace(tzinfo=UTC)), BASE)


def test_a_question_or_an_item_that_was_refused_does_not_decide_for_the_stream():
    store, aware = EventStore(), BASE.replace(tzinfo=UTC)
    assert store.events(BASE) == store.trending(BASE) == []
    with pytest.raises(InputError, match="zone"):
        store.add(replace(item("a"), published_at=aware), BASE)
    assert store.add(replace(item("a"), published_at=aware), aware) == "e1"
    with pytest.raises(InputError, match="zone"):
        store.events(BASE)


def test_twice_the_same_stream_gives_the_same_and_so_does_a_restart(tmp_path):
    items = feed()
    encode = hashed
    first, second = (EventStore(encode=encode).extend(items).events(NOW) for _ in range(2))
    assert first == second
    for cut in (1, 30, 60):
        half = EventStore(encode=encode).extend(items[:cut])
        half.add(item("tomorrow", 1, hours=200), items[cut - 1].published_at)
        half.snapshot(tmp_path / "events.json.gz")
        again = EventStore.restored(tmp_path / "events.json.gz", encode=encode)
        assert again.sizes() == half.sizes()
        for store in (half, again):
            store.extend(items[cut:])
        assert again.events(NOW) == half.events(NOW) == first
        assert again.reasons == half.reasons
    with pytest.raises(InputError, match="holds no events"):
        EventStore.restored(tmp_path / "nothing.gz")
    (tmp_path / "events.json.gz").write_bytes(b"junk")
    with pytest.raises(InputError, match="Mine them anew"):
        EventStore.restored(tmp_path / "events.json.gz")


@pytest.mark.parametrize("place", [0.3, 0.6, 0.9])
def test_a_file_that_was_damaged_anywhere_is_said_to_be(tmp_path, place):
    whole = EventStore().extend(feed()).snapshot(tmp_path / "events.json.gz").read_bytes()
    at = int(place * len(whole))
    for flip in range(1, 256, 17):
        (tmp_path / "damaged.gz").write_bytes(whole[:at] + bytes([whole[at] ^ flip]) + whole[at + 1 :])
        with pytest.raises(InputError, match="Mine them anew"):
            EventStore.restored(tmp_path / "damaged.gz")


def test_a_title_with_half_a_letter_is_kept_as_it_is(tmp_path):
    title = "Quake \ud83d hits the coast of Chile"
    store = EventStore().extend([item("a", hours=0, title=title)])
    again = EventStore.restored(store.snapshot(tmp_path / "events.json.gz"))
    assert again.events(NOW)[0].titles == (title,)


def test_events_grow_fade_and_close():
    store = EventStore().extend([varied(f"s{n}", 0, 2 * n, n) for n in range(5)])
    name = store.events(BASE + timedelta(hours=9))[0].id
    stages = [store.get(name, BASE + timedelta(hours=hours)).stage for hours in (9, 60, 200)]
    assert stages == ["growing", "steady", "fading"]
    store.add(item("other", 1, hours=24 * 20), BASE + timedelta(days=20))
    assert store.get(name, BASE + timedelta(days=20)).stage == "closed"
    counted = {feature.removeprefix(EVENT) for feature in store.bursts.series.rows if feature.startswith(EVENT)}
    assert counted <= store.clusters.live.keys()  # of what is over nothing is counted any more
    with pytest.raises(InputError, match="No event is called 'e99'"):
        store.get("e99", BASE)


def test_memory_is_bounded_on_a_long_stream():
    small = EventSettings(
        filter=FilterSettings(remembered=50),
        clusters=ClusterSettings(vocabulary=200, members=5, centroid_terms=20),
        closed=10,
        quarantine=3,
    )
    store, draw, sizes = EventStore(small), np.random.default_rng(0), []
    for number in range(1500):
        words = " ".join(f"w{draw.integers(3000)}" for _ in range(8))
        moment = BASE + timedelta(hours=2 * number)
        store.add(Item(f"i{number}", words, words[::-1], moment, f"s{number % 90}"), moment)
        if number % 4 == 0:
            store.add(Item(f"f{number}", words, "", moment + timedelta(days=900), ""), moment)
        if number in (700, 1499):
            sizes.append(store.sizes())
    assert all(sizes[1][kind] <= max(60, 1.3 * sizes[0][kind]) for kind in sizes[0]), sizes
    assert store.reasons["future, forgotten"] == 375 - 3


def test_an_empty_day_and_titles_without_words_do_no_harm():
    store = EventStore(EventSettings(filter=FilterSettings(min_words=1)))
    store.add(item("a", title="!!! ... ???", text="…"), BASE)
    store.add(varied("b", 0, 24 * 5, 1), BASE + timedelta(days=5))
    assert store.events(BASE + timedelta(days=5))[0].count == 1
    assert store.trending(BASE + timedelta(days=9)) is not None


def hashed(texts):
    from honest import HashedWords

    return HashedWords().encode(list(texts))


# -- phrases ----------------------------------------------------------------------------------------------------------


def test_phrases_lose_their_source_and_have_three_parts():
    assert trimmed("Quake hits Elazig - BBC News", source="bbc.co.uk") == "Quake hits Elazig"
    assert (
        trimmed("Quake hits Elazig | World | The Example Times")
        == ["Quake hits Elazig", "World", "The Example Times"][0]
    )
    assert trimmed("No separator here") == "No separator here"
    assert triple("Strong quake hits Elazig province") == ("Strong quake", "hits", "Elazig province")
    assert triple("Quake in Turkey") == ("Quake in Turkey", "", "")


def test_a_language_model_writes_a_phrase_under_a_grammar():
    class Speaker:
        def parse(self, messages, schema):
            assert "- one\n- two" in messages[0]["content"]
            return schema(who="Quake", did_what="hits", to_whom_and_when="Elazig")

    assert written(Speaker(), ["one", "two"]) == "Quake hits Elazig"


def test_moments_without_a_zone_are_utc():
    assert seconds(datetime(1970, 1, 2)) == DAY
    assert seconds(datetime(1970, 1, 2, tzinfo=UTC)) == DAY
