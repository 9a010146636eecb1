"""Matching, the block of attention, BM25 of the past, the fresh and the interleaved search of a library."""

from __future__ import annotations

import json
import math
import shutil
from collections import Counter
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from honest import HashedWords, document
from retrieval.test_store import make, put
from training.conftest import make_encoder

from foveal import faults
from foveal.errors import InputError, ModelUnavailable, UnknownName
from foveal.evaluation.interleaving import InterleavingLog
from foveal.evaluation.metrics import evaluate
from foveal.library import Library
from foveal.models import load_encoder
from foveal.models.event_attention import (
    EventAttention,
    EventAttentionSettings,
    EventStates,
    EventText,
    joined,
)
from foveal.models.event_reading import token_states
from foveal.retrieval import event_encoder, event_library, fresh_fitting
from foveal.retrieval.dated_collections import DatedCollection
from foveal.retrieval.event_encoder import EventEncoder
from foveal.retrieval.event_items import Item, seconds
from foveal.retrieval.event_matching import (
    EventMatcher,
    MatchSettings,
    NeedClassifier,
    best_of,
    has_time_words,
    need_features,
)
from foveal.retrieval.events import EventStore
from foveal.retrieval.fresh import FreshRetriever
from foveal.retrieval.fresh_fitting import (
    READINESS,
    WEIGHTS,
    Asked,
    PastPages,
    PastSearcher,
    asked_later,
    fit_fusion,
    judged_later,
)
from foveal.retrieval.fresh_fusion import FreshSettings, Fusion, fused
from foveal.retrieval.interleaved import FILE, InterleavedRetriever
from foveal.retrieval.past_lexical import PastIndex
from foveal.retrieval.remade import Remade
from foveal.retrieval.terms import terms
from foveal.settings import Settings
from foveal.text.dates import moment

BASE = datetime(2023, 5, 1, tzinfo=UTC)
TITLES = (
    ("Quake hits the coast near Elazig", "Rescuers search the rubble after a strong quake struck the coast."),
    ("Central bank raises its rate again", "The central bank lifted the interest rate by half a point."),
    ("Striker scores three goals in the final", "The striker led the team to the cup with three goals."),
)


def a_stream(aware=True):
    base = BASE if aware else BASE.replace(tzinfo=None)
    return [
        Item(f"d{story}-{n}", f"{title} word{n}", f"{text} own{n}", base + timedelta(days=10 * story, hours=n), f"s{n}")
        for story, (title, text) in enumerate(TITLES) for n in range(3)
    ]  # fmt: skip


# -- matching ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("encode", [None, HashedWords(dimension=256).encode])
def test_a_query_gets_the_events_of_its_time(encode):
    store = EventStore(encode=encode).extend(a_stream())
    matcher = EventMatcher(store, encode)
    now = BASE + timedelta(days=20, hours=5)
    found = matcher.matches("who scores goals in the final", now)
    assert found[0].event.text.startswith("Striker scores")
    assert found[0].event.age_days == pytest.approx(3 / 24)
    assert set(found[0].event.documents) == {"d2-0", "d2-1", "d2-2"}
    assert {"score", "goal", "final"} <= set(found[0].shared)
    assert "Striker" in found[0].why
    assert not any("Quake" in match.event.text for match in matcher.matches("quake coast Elazig", now))  # 20 days old
    assert matcher.matches("", now) == []
    assert matcher.matches("zebra crossing paint", now) == []
    strict = EventMatcher(store, encode, MatchSettings(least_burst=1e9))
    assert strict.matches("who scores goals in the final", now) == []
    assert len(EventMatcher(store, encode, MatchSettings(k=1, least=-1)).matches("bank goals final rate", now)) == 1
    with pytest.raises(InputError, match="k=0"):
        MatchSettings(k=0)


def test_need_is_learnt_from_both_kinds():
    draw = np.random.default_rng(0)
    features = [
        [float(draw.random() / 2 + label / 2), float(draw.random()), float(label), 0.0, 0.5] for label in (0, 0, 1) * 30
    ]
    labels = [bool(row[2]) for row in features]
    fitted = NeedClassifier.fit(features, labels)
    assert [fitted.probability(row) >= 0.5 for row in features] == labels
    slope = gradient(fitted, features, labels)
    np.testing.assert_allclose(slope, 0, atol=1e-6)  # where the penalised likelihood is highest
    with pytest.raises(InputError, match="both kinds"):
        NeedClassifier.fit(features, [True] * len(labels))
    usual = NeedClassifier()
    assert usual.probability([0, 0, 0, 0, 0.6]) < 0.2 < 0.8 < usual.probability([0.8, 1.5, 0.2, 0, 0.8])
    assert usual.probability([0, 0, 0, 0, 0.6]) < 0.5 < usual.probability([0, 0, 0, 1, 0.6])  # "this week" is meant
    assert has_time_words("latest election result")
    assert not has_time_words("why is the sky blue")
    assert need_features("who won today", [], 0.5, 0.25) == [0.0, 0.0, 0.5, 1.0, 0.25]
    years = {"who won in 2019": -1, "who won in 2022": 0, "who won in 2019 and today": 1, "who wins in 2024": 1}
    assert {query: need_features(query, [], 0.5, 0.25, year=2023)[3] for query in years} == years
    assert best_of([1.0, 2.0], [8.0, 2.0]) == 0.25
    assert best_of([], [8.0]) == best_of([3.0], []) == 0.0


@pytest.mark.parametrize(
    ("query", "since", "says"),
    [
        ("new rate of the central bank", None, True),
        ("mills of New York", None, False),
        ("the new york office and its new head", None, True),
        ("the crisis of 2008", None, True),
        ("the crisis of 2008", 2023, False),
        ("the crisis of 2008 this week", 2023, True),
        ("选举2023年", 2023, True),
        ("part gpt2023x", None, False),
    ],
)
def test_a_name_with_new_and_a_year_gone_by_are_no_words_of_now(query, since, says):
    """Who names 2008 in 2023 asks for what is old, and no recency may push it down."""
    assert has_time_words(query, since) is says


def gradient(fitted, features, labels, penalty=1.0):
    """Of the penalised negative log-likelihood in which both kinds weigh the same, by the definition."""
    rows = np.array([[*row, 1.0] for row in features])
    theta = np.array([*fitted.weights, fitted.bias])
    p = 1 / (1 + np.exp(-rows @ theta))
    weights = np.array([len(labels) / 2 / labels.count(label) for label in labels])
    drawn = np.array([*fitted.weights, 0.0]) - np.array([*NeedClassifier().weights, 0.0])
    return rows.T @ (weights * (p - np.array(labels, float))) + penalty * drawn


# -- the block --------------------------------------------------------------------------------------------------------

WIDTH = 8


def random_block(**options):
    block = EventAttention(WIDTH, EventAttentionSettings(heads=2, **options))
    generator = torch.Generator().manual_seed(4)
    with torch.no_grad():
        for parameter in block.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.5)
    return block.eval()


def random_input():
    generator = torch.Generator().manual_seed(5)
    queries = torch.randn(3, 4, WIDTH, generator=generator)
    states = torch.randn(3, 5, WIDTH, generator=generator)
    mask = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 0, 0, 0], [0] * 5]).bool()
    facts = torch.rand(3, 5, 3, generator=generator) * torch.tensor([9.0, 4.0, 1.0])
    return queries, EventStates(states, mask, facts)


def looked_by_definition(block, query, states, facts):
    """One query, token by token and head by head, as the formulas say."""
    heads, size = block.settings.heads, WIDTH // block.settings.heads
    out = torch.zeros_like(query)
    for token in range(len(query)):
        parts = []
        for head in range(heads):
            rows = slice(head * size, (head + 1) * size)
            q = block.query.weight[rows] @ (query[token] + block.kind[0])
            scores = torch.stack([
                q @ (block.key.weight[rows] @ (state + block.kind[1])) / math.sqrt(size)
                - block.age * age + block.burst * torch.log(1 + burst) + block.match * similarity
                for state, (age, burst, similarity) in zip(states, facts, strict=True)
            ])  # fmt: skip
            shares = scores.exp() / scores.exp().sum()
            parts.append(sum(s * (block.value.weight[rows] @ state) for s, state in zip(shares, states, strict=True)))
        c = block.out.weight @ torch.cat(parts)
        g = (
            1.0
            if block.gate is None
            else torch.sigmoid(block.gate.weight @ torch.cat([query[token], c]) + block.gate.bias)
        )
        x = query[token] + g * c
        x = (x - x.mean()) / (x.var(unbiased=False) + 1e-5).sqrt() * block.norm.weight + block.norm.bias
        grown = torch.nn.functional.gelu(block.up.weight @ x + block.up.bias)
        out[token] = x + block.down.weight @ grown + block.down.bias
    return out


@pytest.mark.parametrize("gate", [True, False])
def test_the_block_is_its_formulas(gate):
    block, (queries, events) = random_block(gate=gate), random_input()
    with torch.no_grad():
        found = block(queries, events)
        for row, count in enumerate((5, 2)):
            expected = looked_by_definition(block, queries[row], events.states[row, :count], events.facts[row, :count])
            torch.testing.assert_close(found[row], expected, atol=1e-5, rtol=1e-5)
    assert torch.equal(found[2], queries[2])  # no event: as it was, bit by bit


def test_without_any_event_nothing_is_computed_and_gradients_are_numbers():
    block, (queries, events) = random_block(), random_input()
    nothing = EventStates(events.states, torch.zeros_like(events.mask), events.facts)
    assert block(queries, nothing) is queries
    block(queries.requires_grad_(), events).square().sum().backward()
    assert all(torch.isfinite(p.grad).all() for p in block.parameters() if p.grad is not None)
    assert float(block.age.grad) != 0
    assert float(block.burst.grad) != 0
    assert float(block.match.grad) != 0
    assert torch.isfinite(queries.grad).all()


def test_an_untrained_block_begins_with_what_fits_best_and_old_events_count_less():
    block, (queries, events) = EventAttention(WIDTH, EventAttentionSettings(heads=2)), random_input()
    assert float(torch.sigmoid(block.gate.bias.detach()).mean()) == pytest.approx(1 / (1 + 1 / math.e))
    with torch.no_grad():
        alike = events.states[:, :1].repeat(1, 5, 1)
        for fact, falls in ((0, True), (1, False), (2, False)):
            facts = torch.zeros(3, 5, 3)
            facts[..., fact] = torch.arange(5.0) / 5
            weights = block.attention(queries, EventStates(alike, events.mask, facts))[0, 0, 0]
            assert weights.tolist() == sorted(weights.tolist(), reverse=falls)
            assert len(set(weights.tolist())) == 5
    assert not block.attention(queries, events)[2].any()
    with pytest.raises(InputError, match="do not divide"):
        EventAttention(10, EventAttentionSettings(heads=4))
    with pytest.raises(InputError, match="heads=0"):
        EventAttentionSettings(heads=0)


def test_events_are_put_one_after_the_other():
    states = [torch.ones(2, WIDTH), torch.full((3, WIDTH), 2.0)]
    found = joined(
        [[(states[0], EventText("a", 1.0, 2.0)), (states[1], EventText("b", 3.0, 4.0, similarity=0.5))], []], WIDTH
    )
    assert found.states[0, :, 0].tolist() == [1, 1, 2, 2, 2]
    assert found.facts[0].tolist() == [[1, 2, 0]] * 2 + [[3, 4, 0.5]] * 3
    assert found.mask.sum(1).tolist() == [5, 0]


# -- the encoder ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def bert(tmp_path_factory):
    return load_encoder(str(make_encoder(tmp_path_factory.mktemp("bert") / "tiny")), dtype="float32")


def small(**options):
    return EventAttentionSettings(heads=2, **options)


def test_without_events_a_query_has_the_plain_encoders_vector(bert, tmp_path):
    model = EventEncoder.untrained(bert, small())
    texts = ["a1 f1 f2", "b2 f3", ""]
    events = [EventText("b1 f1", 0.5, 2.0), EventText("b3", 3.0, 0.0)]
    np.testing.assert_array_equal(model.encode_query(texts), bert.encode(texts))
    np.testing.assert_array_equal(model.encode_query(texts, [(), (), events]), bert.encode(texts))
    looked = model.encode_query(texts, [events, (), ()])
    assert np.abs(looked[0] - bert.encode(texts)[0]).max() > 1e-3
    np.testing.assert_array_equal(looked[1:], bert.encode(texts)[1:])
    np.testing.assert_allclose(np.linalg.norm(looked, axis=1), 1, atol=1e-5)
    alone = model.encode_query(texts[:1], [events])  # whatever else is in the batch
    np.testing.assert_allclose(alone[0], looked[0], atol=1e-5)
    shares = model.weights("a1 f1", events)
    assert sum(shares) == pytest.approx(1, abs=1e-5)
    place = model.save(tmp_path / "model")
    again = EventEncoder(bert, EventEncoder.load(place).attention)  # loaded by itself the encoder is in bfloat16
    np.testing.assert_allclose(again.encode_query(texts, [events, (), ()]), looked, atol=1e-6)
    with pytest.raises(InputError, match="there already"):
        model.save(place)
    (place / "events.safetensors").unlink()
    with pytest.raises(ModelUnavailable, match="foveal train events"):
        EventEncoder.load(place)
    with pytest.raises(InputError, match="each needs one"):
        model.encode_query(texts, [()])
    with pytest.raises(InputError, match="belong together"):
        EventEncoder(bert, EventAttention(WIDTH, small()))
    with pytest.raises(ModelUnavailable, match="BERT family"):
        token_states(HashedWords(), ["a"], 8)


def test_states_are_cut_and_only_so_many_events_are_looked_at(bert):
    assert [len(states) for states in token_states(bert, ["a1 f1 f2 f3 f4", "b1"], 4)] == [4, 3]
    stray, told = token_states(bert, ["a1 \udcff", "a1 \ufffd"], 8)  # a shell's stray byte is no character
    assert torch.equal(stray, told)
    one = EventEncoder.untrained(bert, small(events=1))
    events = [EventText("b1 f1"), EventText("b3 f2")]
    np.testing.assert_array_equal(one.encode_query(["a1"], [events]), one.encode_query(["a1"], [events[:1]]))
    narrow = EventEncoder.untrained(bert, small(projection=4))
    assert narrow.encode_document(["a1"]).shape == narrow.encode_query(["a1"], [events]).shape == (1, 4)


def test_events_beyond_those_that_are_kept_are_read_again(bert, monkeypatch):
    monkeypatch.setattr(event_encoder, "KEPT", 2)
    model = EventEncoder.untrained(bert, small())
    events = [EventText(f"b{n} f{n}") for n in range(6)]
    for first in (0, 3, 1):  # the oldest go while some of them are asked for
        some = events[first : first + 3]
        for _ in range(2):
            assert sum(model.weights("a1", some)) == pytest.approx(1, abs=1e-5)
        fresh = EventEncoder.untrained(bert, small())
        np.testing.assert_allclose(model.encode_query(["a1"], [some]), fresh.encode_query(["a1"], [some]), atol=1e-5)
        assert len(model._states) <= 2


@pytest.mark.model
def test_minilm_looks_at_events(tmp_path):
    model = EventEncoder.untrained(load_encoder("minilm"))
    events = [EventText("Brazil holds presidential run-off vote", 0.5, 3.0)]
    pages = model.encode_document(["Lula wins Brazil's presidential run-off", "Tips for growing tomatoes at home"])
    before, after = (pages @ model.encode_query(["who won the vote"], one)[0] for one in (None, [events]))
    assert after[0] - after[1] > before[0] - before[1]


# -- BM25 of the past -------------------------------------------------------------------------------------------------


def bm25_by_definition(query, texts, moments, at, since=-math.inf):
    there = [number for number, when in enumerate(moments) if when <= at]
    counts = {number: Counter(terms(texts[number])) for number in there}
    mean = sum(sum(one.values()) for one in counts.values()) / len(there)
    scores = {}
    for number in there:
        score = 0.0
        for term in set(terms(query)):
            holding = sum(term in one for one in counts.values())
            tf = counts[number][term]
            norm = 1.5 * (1 - 0.75 + 0.75 * sum(counts[number].values()) / mean)
            score += math.log(1 + (len(there) - holding + 0.5) / (holding + 0.5)) * tf / (tf + norm)
        scores[number] = score if moments[number] >= since else 0.0
    return {number: score for number, score in scores.items() if score > 0}


def test_bm25_of_the_past_knows_nothing_of_the_future():
    draw = np.random.default_rng(0)
    texts = [" ".join(f"w{draw.integers(12)}" for _ in range(int(draw.integers(1, 15)))) for _ in range(60)]
    moments = draw.integers(0, 30, 60).astype(float).tolist()
    index = PastIndex(texts, moments)
    for at, since in ((29.0, -math.inf), (14.0, -math.inf), (14.0, 8.0), (2.5, 0.0)):
        expected = bm25_by_definition("w1 w3 w1 unknown", texts, moments, at, since)
        found = index.search("w1 w3 w1 unknown", at, 100, since=since)
        assert found == pytest.approx(expected)
        assert list(found.values()) == sorted(found.values(), reverse=True)
    assert index.search("w1", -1.0, 5) == {}
    assert PastIndex([], []).search("w1", 5.0, 3) == {}
    with pytest.raises(InputError, match="k = 0"):
        index.search("w1", 1.0, 0)
    with pytest.raises(InputError, match="each needs one"):
        PastIndex(["a"], [])


# -- a library's search -----------------------------------------------------------------------------------------------


@pytest.fixture
def library(own_settings):
    made = Library.open(settings=own_settings, encoder="none")
    documents = [
        document(item.id, f"{item.title}. {item.text}", title=item.title, published_at=item.published_at, url=f"https://{item.source}.example/{item.id}")
        for item in a_stream()
    ]  # fmt: skip
    text = "Striker scores three goals in the final of year"
    old = [document(f"old{n}", f"{text} {n}", published_at=BASE - timedelta(days=300 + n)) for n in range(3)]
    undated = [document("undated", "Striker scores three goals, says a page without a date")]
    made.add_documents([*documents, *old, *undated])
    return made


def titles(library, hits):
    entries = library.entries([hit.passage.span.document_id for hit in hits])
    return [entries[hit.passage.span.document_id].title for hit in hits]


def test_fresh_finds_what_is_new_and_nothing_of_the_future(library):
    query = "striker scores goals in the final"
    now = library.search(query, 7, retriever="fresh", at="2023-05-21")
    assert {hit.source for hit in now} == {"fresh"}
    assert all(title.startswith("Striker") for title in titles(library, now)[:3])
    past = titles(library, library.search(query, 9, retriever="fresh", at="2023-05-10"))
    assert any(title.startswith("old") for title in past)
    assert not any(title.startswith("Striker") for title in past)
    assert "undated" in past
    before = titles(library, library.search("striker", 9, retriever="fresh", at=BASE - timedelta(days=3000)))
    assert before == ["undated"]
    plain = library.retriever("fresh", at="2023-05-21", events=False)
    gone, present = plain.explained(["striker of 2019", "striker of 2023"], 3)
    assert gone.need < present.need  # else alike
    found = library.retriever("fresh", at="2023-05-21").explained([query], 3)[0]
    assert found.matches[0].event.text.startswith("Striker")
    assert found.need > 0.3
    off = library.retriever("fresh", at="2023-05-21", events=False, need=0.0).explained([query], 3)[0]
    assert (off.matches, off.need) == ((), 0.0)
    assert library.search("  ", 3, retriever="fresh", at="2023-05-21") == []
    with pytest.raises(InputError, match="no date"):
        library.search(query, retriever="fresh", at="yesterday")


def test_a_search_tells_what_it_took_the_query_to_be_about(library):
    told = []
    query = "striker scores goals in the final"
    hits = library.search(query, 7, retriever="fresh", at="2023-05-21", tell=told.append)
    [found] = told
    assert found.hits == hits
    assert found.said.startswith(f"About something of now: {found.need:.0%}. Events taken for it: Striker scores")
    event = {hit.passage.span.document_id: found.match_of(hit) for hit in hits}
    reported = {name: match and match.event.text[:7] for name, match in event.items()}
    names = dict(zip(event, titles(library, hits), strict=True))
    assert reported == {name: "Striker" if names[name].startswith("Striker scores") else None for name in event}
    assert {"Striker", None} == set(reported.values())
    library.search(query, 7, retriever="fresh", at="2023-05-21", tell=told.append, events=False)
    assert told[1].said.endswith("Events taken for it: none.")


@dataclass(frozen=True)
class CountingWords(HashedWords):
    asked: list[str] = field(default_factory=list, compare=False)

    def encode(self, texts):
        self.asked.extend(texts)
        return super().encode(texts)


def test_a_second_search_reads_no_event_again(tmp_path):
    words = CountingWords()
    store = make(tmp_path / "library", encoder=words)
    names = [f"Town {n} wins cup {n} at home" for n in range(9)]
    put(store, [document(name, f"{name}\n", published_at=BASE, title=name) for name in names], encoder=words)
    [first] = FreshRetriever(store, words, "2023-05-02").explained(["cup 4"], 3)
    assert first.matches[0].event.text == names[4]
    before = len(words.asked)
    FreshRetriever(store, words, "2023-05-02").explained(["cup 5"], 3)
    assert set(words.asked[before:]) == {"cup 5"}


def test_a_search_without_events_does_not_look_for_them(library, monkeypatch):
    read, times = event_library.items_of, []
    monkeypatch.setattr(event_library, "items_of", lambda store: times.append(store) or read(store))
    monkeypatch.setattr(event_library, "_mined", Remade())
    library.retriever("fresh", at="2023-05-21", events=False).explained(["striker"], 3)
    assert times == []
    library.retriever("fresh", at="2023-05-21").explained(["striker"], 3)
    assert len(times) == 1


@pytest.mark.parametrize("fusion", ["rrf", "z-score", "weighted"])
def test_quoted_words_bind_vectors_and_events_too(tmp_path, fusion):
    words = HashedWords()
    store = make(tmp_path / "library", encoder=words)
    pages = [
        document(f"d{n}", f"striker scores {n} goals\ngoals of the striker {n}\n", published_at=BASE) for n in range(4)
    ]
    put(store, pages, encoder=words)
    for at in ("2023-05-02", "2024-05-02"):
        fresh = FreshRetriever(store, words, at, settings=FreshSettings(fusion=fusion))
        phrase, absent, free = fresh.search(
            ['"goals of the striker"', '"striker of the goals"', "striker of goals"], 20
        )
        assert {hit.passage.text[:8] for hit in phrase} == {"goals of"}
        assert len(phrase) == 4
        assert absent == []
        assert len(free) == 8


def test_vectors_too_find_nothing_of_the_future_and_what_where_selects_alone(tmp_path):
    words = HashedWords()
    store = make(tmp_path / "library", encoder=words)
    days = {"past": 0, "other": 0, "today": 1.5, "future": 9}
    dates = {name: BASE + timedelta(days=day) for name, day in days.items()}
    put(store, [document(name, f"striker scores {name}\n", published_at=dates[name]) for name in days], encoder=words)
    at = (BASE + timedelta(days=1)).date().isoformat()  # the whole day counts
    for where, titles in ((None, {"past", "other", "today"}), ("title != 'other'", {"past", "today"})):
        [found] = FreshRetriever(store, words, at, where=where).search(["striker"], 9)
        assert {store.entry(hit.passage.span.document_id).title for hit in found} == titles


@pytest.mark.parametrize("at", ["0001-01-01", "9999-12-31", datetime(1, 1, 1, tzinfo=UTC)])
def test_a_moment_at_the_calendars_end_is_refused(library, at):
    with pytest.raises(InputError, match="years 2 to 9998"):
        library.search("striker", retriever="fresh", at=at)


def test_the_first_and_the_last_moment_are_searched(library):
    assert titles(library, library.search("striker", 9, retriever="fresh", at="0002-01-01")) == ["undated"]
    longest = FreshSettings(fresh_days=1e7)
    assert len(library.search("striker", 9, retriever="fresh", at="9998-12-31", settings=longest)) == 7


def test_where_holds_and_now_is_the_clock(library):
    with faults.injected({}, clock=lambda: BASE + timedelta(days=20, hours=6)):
        assert titles(library, library.search("striker goals", 1, retriever="fresh"))[0].startswith("Striker")
    hits = library.search("striker goals", 9, retriever="fresh", at="2023-05-21", where="title~old")
    assert {title[:3] for title in titles(library, hits)} == {"old"}


def test_the_recency_prior_is_its_formula(library):
    fresh = library.retriever("fresh", settings=FreshSettings(fusion="z-score"))
    assert isinstance(fresh, FreshRetriever)
    for age, need in ((0.0, 1.0), (7.0, 1.0), (14.0, 0.5), (None, 0.8)):
        recent = 0.1 if age is None else 0.1 + 0.9 * 2 ** (-age / 7)
        assert fresh.prior(age, need) == pytest.approx(1 - need + need * recent)
    assert fresh.search(["striker goals"], 3)[0]
    assert moment("2023-05-01") == datetime(2023, 5, 2, tzinfo=UTC) - timedelta(microseconds=1)
    assert moment(datetime(2023, 5, 1)).tzinfo is UTC
    with pytest.raises(InputError, match="fusion='sum'"):
        FreshSettings(fusion="sum")
    with pytest.raises(InputError, match="need=3"):
        library.search("striker goals", 3, retriever="fresh", need=3)


def test_a_model_searches_a_library_that_its_encoder_made(bert, tmp_path):
    store = make(tmp_path / "library", encoder=bert)
    pages = [document(f"d{n}", f"b{n} f{n} f1\n", published_at=BASE + timedelta(days=n)) for n in range(5)]
    put(store, pages, encoder=bert)
    made = SimpleNamespace(store=store, encoder=bert, settings=Settings(home=tmp_path, cache=tmp_path))
    model = EventEncoder.untrained(made.encoder, small())
    found = FreshRetriever.over(made, None, at="2023-05-05", model=model).search(["b3 f3"], 2)[0]
    assert found[0].passage.text == "b3 f3 f1\n"
    model.save(tmp_path / "models" / "mine")
    other = EventEncoder.untrained(load_encoder(str(make_encoder(tmp_path / "other", seed=1))), small())
    with pytest.raises(InputError, match="Make one with the model's own"):
        FreshRetriever.over(made, None, model=other)
    with pytest.raises(UnknownName, match="mine"):
        FreshRetriever.over(made, None, model="yours")


def test_a_model_that_was_trained_anew_in_its_place_is_loaded_anew(bert, tmp_path):
    place = tmp_path / "models" / "mine"
    for age in (0.05, 0.5):
        shutil.rmtree(place, ignore_errors=True)
        EventEncoder.untrained(bert, small(age=age)).save(place)
        first = event_encoder.loaded("mine", tmp_path)
        assert float(first.attention.age.detach()) == pytest.approx(age)
        assert event_encoder.loaded("mine", tmp_path) is first


def test_a_weighted_sum_is_its_formula():
    words, fresh_words = {"a": 4.0, "b": 2.0, "c": 0.0}, {"b": 3.0, "c": 1.0}
    vectors, fresh_vectors = {"c": 0.9, "a": 0.1}, {"c": 0.5, "b": 0.3}
    settings = FreshSettings(fusion="weighted", weight=0.75)
    found = fused([words, fresh_words, vectors, fresh_vectors], 0.5, settings, expanded=False)
    assert found == pytest.approx({
        "a": 0.25 * 1 + 0.125 * 0 + 0.75 * 0 + 0.375 * 0,
        "b": 0.25 * 0.5 + 0.125 * 1 + 0.75 * 0 + 0.375 * 0,
        "c": 0.25 * 0 + 0.125 * 0 + 0.75 * 1 + 0.375 * 1,
    })  # fmt: skip
    assert fused([words, fresh_words], 0.0, settings, expanded=False) == pytest.approx({"a": 0.25, "b": 0.125, "c": 0})
    event = {"d": 2.0, "a": 1.0}
    with_event = fused([words, fresh_words, event], 0.5, settings, expanded=True)
    assert with_event["d"] == pytest.approx(0.15 * 0.5)
    assert with_event["a"] == pytest.approx(0.25)
    with pytest.raises(InputError, match="weight=2"):
        FreshSettings(weight=2)


FITTED = Fusion(0.8, NeedClassifier((1.0, 2.0, 3.0, 4.0, 5.0), -0.5))


def test_what_was_fitted_goes_with_the_model_and_is_searched_by(bert, tmp_path):
    store = make(tmp_path / "library", encoder=bert)
    pages = [document(f"d{n}", f"b{n} f{n} f1\n", published_at=BASE + timedelta(days=n)) for n in range(5)]
    put(store, pages, encoder=bert)
    made = SimpleNamespace(store=store, encoder=bert, settings=Settings(home=tmp_path, cache=tmp_path))
    EventEncoder(bert, EventAttention(bert.dimension, small()), FITTED).save(tmp_path / "models" / "mine")
    model = EventEncoder.load("mine", home=tmp_path)
    assert model.fusion == FITTED
    fresh = FreshRetriever.over(made, None, at="2023-05-05", model=EventEncoder(bert, model.attention, FITTED))
    assert fresh.need == FITTED.need
    assert fresh.settings == FreshSettings(fusion="weighted", weight=0.8)
    found = fresh.explained(["b3 f3"], 5)[0]
    assert found.hits[0].passage.text == "b3 f3 f1\n"
    only = replace(fresh, settings=FreshSettings(fusion="weighted", weight=1.0), need=0.0).search(["b3 f3"], 5)[0]
    nearest = [one.passage.span for one in store.nearest(bert.encode(["b3 f3"])[0], 5)]
    assert [hit.passage.span for hit in only] == nearest  # of vectors alone, whatever the time
    chosen = FreshRetriever.over(made, None, model=fresh.model, need=1.0, settings=FreshSettings(depth=7))
    assert (chosen.need, chosen.settings) == (1.0, FreshSettings(depth=7))
    plain = FreshRetriever.over(made, None, model=EventEncoder(bert, model.attention))
    assert (plain.need, plain.settings) == (NeedClassifier(), FreshSettings())
    path = tmp_path / "models" / "mine" / "fusion.json"
    for damaged in ("{", '{"weight": 2, "need": {"weights": [1, 1, 1, 1, 1], "bias": 0}}', '{"weight": 0.5}'):
        path.write_text(damaged)
        with pytest.raises(ModelUnavailable, match="Train the event model anew, or remove the file"):
            EventEncoder.load("mine", home=tmp_path)
    path.unlink()
    assert EventEncoder.load("mine", home=tmp_path).fusion is None


@pytest.mark.parametrize("right", ["words", "vectors"])
def test_the_weight_goes_to_what_finds_the_answers(right):
    items = a_stream(aware=False)
    pages = PastPages([*items, Item("undated", "no date")])
    assert pages.ids == [item.id for item in items]
    asked = {f"q{n}": f"own{n % 3} {TITLES[n // 3][0]}" for n in range(9)}
    answers = [f"d{n // 3}-{n % 3}" for n in range(9)]
    if right == "vectors":
        answers = answers[::-1]
    at = dict.fromkeys(asked, seconds(BASE) + 30 * 86400)
    aimed = dict(zip(asked.values(), answers, strict=True))
    documents = np.eye(len(items), dtype=np.float32)

    def encode(texts, _):
        return documents[[pages.ids.index(aimed[text]) for text in texts]]

    search = PastSearcher(
        pages, documents, encode if right == "vectors" else lambda texts, _: documents[::-1][: len(texts)]
    )
    now, later = (Asked(asked, {name: one + days * 86400 for name, one in at.items()}, {}) for days in (-9, 365))
    judged = {name: {answer: 1} for name, answer in zip(asked, answers, strict=True)}
    found = fit_fusion(search, now, later, judged)
    assert found.weight >= 0.5 if right == "vectors" else found.weight < 0.5
    years = {"then": "striker of 2023", "gone": "striker of 2019"}
    named = search.features(Asked(years, dict.fromkeys(years, seconds(BASE)), {}), FreshSettings())
    assert [row[3] for row in named.values()] == [1.0, -1.0]
    rows = [list(search.features(one, FreshSettings()).values()) for one in (now, later)]
    assert min(map(found.need.probability, rows[0])) > max(map(found.need.probability, rows[1]))
    first = NeedClassifier.fit([*rows[0], *rows[1]], [True] * 9 + [False] * 9)

    def value(asked, need, weight):
        return evaluate(search.run(asked, need, FreshSettings(weight=weight)), judged, ("mrr@10", "recall@10"))

    values = {}
    for weight in WEIGHTS:
        before = value(later, 0.0, weight)["recall@10"]
        for moved in READINESS:
            need = replace(first, bias=first.bias + moved)
            harmless = value(later, need, weight)["recall@10"] >= 0.99 * before
            values[weight, need.bias] = (harmless, sum(value(now, need, weight).values()) / 2)
    best = max(values.values())
    assert min(values.values()) < best
    chosen = values[found.weight, found.need.bias]
    assert chosen[0] == best[0]
    assert chosen[1] > best[1] - 0.5 / 9**0.5  # a standard error of values between 0 and 1


def test_what_is_fitted_stays_near_what_is_set_by_hand():
    """Among settings that no question tells apart, and among those that harm least where all do."""
    need = NeedClassifier()
    rows = {0.5: (0.0, [1, 0, 1, 0]), 0.6: (0.0, [1, 1, 1, 0]), 0.9: (0.0, [1, 1, 1, 1]), 1.0: (0.3, [2, 2, 2, 2])}
    tried = [
        fresh_fitting._Choice(Fusion(weight, need), 10 * abs(weight - 0.5), np.array(values, np.float32), lost)
        for weight, (lost, values) in rows.items()
    ]
    assert fresh_fitting._steadiest(tried).fusion.weight == 0.6  # .9 is better by chance; .5 is clearly worse
    assert fresh_fitting._steadiest(tried[:1]).fusion.weight == 0.5
    harmful = [replace(one, lost=one.lost + 0.02 * one.steps + 0.02) for one in tried]
    assert fresh_fitting._steadiest(harmful).fusion.weight == 0.5
    before, after = np.array([1, 1, 0, 1], np.float32), np.array([1, 1, 0, 0], np.float32)
    assert fresh_fitting._lost(before, before) == 0
    assert fresh_fitting._lost(before, after) == pytest.approx((0.25 + 0.25) / 0.75)  # above the mean loss


def test_questions_of_later_do_not_say_when_and_leave_nothing_of_the_future():
    asked = {
        "early": ("Who won the cup?", BASE), "said": ("Who won the cup this week?", BASE),
        "late": ("Which bank raised its rate?", BASE + timedelta(days=100)), "unjudged": ("Who lost?", BASE),
    }  # fmt: skip
    news = DatedCollection((), asked, {name: {"d": 1} for name in ("early", "said", "late")})
    moved = asked_later(news, {"late": asked["late"]})
    assert moved == {"early, 90 days later": ("Who won the cup?", BASE + timedelta(days=90))}
    assert judged_later(news).keys() > moved.keys() | {"late"}
    year = asked_later(news, {"early": asked["early"]})  # none fits before it
    assert year == {"early, 365 days later": ("Who won the cup?", BASE + timedelta(days=365))}
    assert judged_later(news).keys() > year.keys()


def test_an_old_question_keeps_its_old_answer_while_other_things_go_on():
    """What fits some week's texts badly and an old one well is about the old one."""
    old = Item("old", "Harbour ferry sank near the northern lighthouse", "", BASE, "s")
    news = [
        Item(f"n{n}", f"Council debates harbour budget {n}", "", BASE + timedelta(days=200 + n), "s") for n in range(5)
    ]
    pages = PastPages([old, *news])
    documents = np.eye(6, dtype=np.float32)
    search = PastSearcher(pages, documents, lambda texts, _: documents[:1].repeat(len(texts), axis=0))
    for days, need in ((206, False), (1, True)):
        asked = Asked({"q": "harbour ferry sank lighthouse"}, {"q": seconds(BASE) + days * 86400}, {})
        [found] = search.run(asked, NeedClassifier(), FreshSettings()).values()
        assert max(found, key=lambda page: found[page]) == "old"
        assert (search.needs(asked, NeedClassifier(), FreshSettings())["q"] > 0.5) is need


# -- the switch -------------------------------------------------------------------------------------------------------


def test_two_searches_are_mixed_and_clicks_are_kept(library):
    mixed = library.retriever("interleaved:lexical,fresh")
    assert isinstance(mixed, InterleavedRetriever)
    hits = mixed.search(["striker goals"], 4)[0]
    assert len(hits) == 4
    assert {hit.source for hit in hits} == {"interleaved"}
    assert len({hit.passage.span for hit in hits}) == 4
    mixed.clicked(0)
    log = InterleavingLog(library.settings.home / FILE)
    shown = log.impressions()[0]
    assert (shown.a, shown.b, shown.clicks) == ("lexical", "fresh", (0,))
    assert json.loads(log.path.read_text().splitlines()[0])["shown"]["query"] == "striker goals"
    for model in ("lexical", "lexical,interleaved"):
        with pytest.raises(InputError, match="two other retrievers"):
            library.retriever("interleaved", model=model)
    with pytest.raises(InputError, match="no query 3"):
        mixed.clicked(0, 3)


def test_a_log_is_counted_once_and_then_goes_on(library, tmp_path, monkeypatch):
    """The number of an impression is part of its draw, whoever searched before."""

    def teams(log, times):
        drawn = []
        for _ in range(times):
            mixed = InterleavedRetriever.over(library, None, model="lexical,fresh", log=log)
            mixed.search(["striker goals", "bank"], 4)
            drawn += [one.teams for one in mixed.impressions]
        return drawn

    first, second = tmp_path / "a.jsonl", tmp_path / "b.jsonl"
    drawn = teams(first, 3)
    assert len(set(drawn)) > 1
    with first.open("a") as file:
        file.write('{"clicked": {"id": "none", "place": 0}}\n{"shown": {"cut sho')
    monkeypatch.setattr(InterleavingLog, "impressions", None)  # which reads the whole of it
    assert teams(second, 3) == drawn
    later = teams(second, 1)
    assert teams(first, 1) == later
    first.write_text("")
    assert teams(first, 3) == drawn
