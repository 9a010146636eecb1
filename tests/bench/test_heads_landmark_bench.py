"""The bench of landmark attention, at a size of seconds: its peers, its data, its rows."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
import torch

from foveal.attention import LandmarkModel, LandmarkSettings, ReadSettings
from foveal.attention.landmark_training import DecoderSize, own_decoder
from foveal.bench import heads_landmark_records as bench_records
from foveal.bench import trained_arms
from foveal.bench.heads_landmark import _other_ways, novels, opened_rows, perplexity
from foveal.bench.heads_landmark_arms import FullAttention, Novels, Scale, Segments, TransformerXL
from foveal.bench.heads_landmark_exact import exact
from foveal.bench.heads_landmark_questions import ASK, RECORD, Records, RecordScale, asked_texts
from foveal.bench.heads_landmark_variants import context_miss, variants
from foveal.bench.settings import BenchSettings

SIZE = DecoderSize(layers=1, width=16, heads=2, vocabulary=300)
TINY = Scale(
    landmarks=LandmarkSettings(block=4, train_length=48), size=SIZE, steps=2, windows=2, held=800,
)  # fmt: skip
FEW = RecordScale(landmarks=LandmarkSettings(block=4, train_length=64), size=SIZE, steps=2, windows=2)


@pytest.mark.slow
def test_what_is_exact_meets_its_bars(tmp_path):
    rows = list(exact(BenchSettings(data=tmp_path, cache=tmp_path, quick=True)))
    assert len(rows) > 10
    assert all(row.ok for row in rows), [row for row in rows if not row.ok]


def test_a_transformer_xl_with_one_segment_is_full_attention():
    ids = torch.randint(300, (2, 21), generator=torch.Generator().manual_seed(0))
    full = FullAttention(own_decoder(SIZE, 300, 0, positions=64)).eval().logprobs(ids)
    xl = TransformerXL(own_decoder(SIZE, 300, 0, positions=64), 20).eval()
    torch.testing.assert_close(xl.logprobs(ids), full, atol=1e-5, rtol=1e-5)
    xl.segment = 10  # one layer: the segment before is all that is missing of the past
    torch.testing.assert_close(xl.logprobs(ids), full, atol=1e-5, rtol=1e-5)
    xl.segment = 5
    assert not torch.allclose(xl.logprobs(ids)[:, 12:], full[:, 12:], atol=1e-5)


def test_segments_of_a_lane_follow_each_other():
    rows = Segments(torch.arange(101), 5, 4)
    batches = rows.plan(0)
    for one, two in pairwise(batches):
        for before, after in zip(one, two, strict=True):
            assert rows[before][-1] == rows[after][0]
    assert sorted(int(rows[number][0]) for batch in batches for number in batch) == list(range(0, 100, 5))


def test_each_question_is_about_a_record_that_stands_before_it():
    rows = Records(56, 0)
    for number in range(50):
        told = {}
        ids = rows[number].tolist()
        assert len(ids) == 56
        for place, symbol in enumerate(ids[:-2]):
            if symbol == RECORD:
                told[ids[place + 1]] = ids[place + 2]
            if symbol == ASK:
                assert told[ids[place + 1]] == ids[place + 2]
    texts, answers, places = asked_texts(300, 12, 0, records=16)
    for text, answer, place in zip(texts.tolist(), answers.tolist(), places.tolist(), strict=True):
        assert text[place : place + 3] == [RECORD, text[-1], answer]
        assert text.count(text[-1]) == 2  # said once, asked once
    assert places.max() > 250
    assert places.min() < 50
    assert len({place % 3 for place in places.tolist()}) == 3
    assert [len(ids) - 2 - ids.index(ASK) for ids in texts.tolist()] == [0] * 12
    kinds = {number % 3 for number, symbol in enumerate(rows[0].tolist()) if symbol in (RECORD, ASK)}
    assert len(kinds) > 1  # what is asked can be told by no remainder of its distance


def _books(folder: Path) -> Path:
    (folder / "text").mkdir(parents=True)
    for book in ("war_and_peace", "moby_dick"):
        words = " ".join(f"word{number % 97} of {book} {number}." for number in range(900))
        (folder / "text" / f"{book}.txt").write_text(words, encoding="utf-8")
    return folder


@pytest.mark.slow
def test_arms_are_trained_once_and_measured(tmp_path):
    settings = BenchSettings(data=_books(tmp_path / "data"), cache=tmp_path / "cache", quick=True)
    rows = list(novels(Novels(settings, TINY)))
    assert {"landmarks, 768 tokens, k 4", "Transformer-XL, 768 tokens"} <= {row.system for row in rows}
    again = Novels(settings, TINY)
    assert len(list((tmp_path / "cache" / "landmark").iterdir())) == 3
    first = {row.system: row.value for row in rows}
    assert {row.system: row.value for row in novels(again)} == first


@pytest.mark.slow
def test_the_context_miss_token_is_trained_once_and_read_at_every_cutoff(tmp_path):
    settings = BenchSettings(data=_books(tmp_path / "data"), cache=tmp_path / "cache", quick=True)
    rows = {row.system: row for row in variants(Novels(settings, TINY), perplexity)}
    assert [row.ok for name, row in rows.items() if "groups" in name] == [True, True]
    assert rows["context-miss token, cutoff 1 / 0"].note == "100% of the looks at blocks dropped"
    assert len([name for name in rows if "cutoff" in name]) == 4
    kept = sorted(one.name.rpartition("-")[0] for one in (tmp_path / "cache" / "landmark").iterdir())
    assert kept == ["context-miss", "landmark"]
    one, again = (context_miss(Novels(settings, TINY)).state_dict() for _ in range(2))
    assert all(torch.equal(weight, again[name]) for name, weight in one.items())


def test_records_that_a_quick_run_leaves_out_are_told(tmp_path):
    (row,) = bench_records.records(BenchSettings(data=tmp_path, cache=tmp_path, quick=True), FEW)
    assert (row.system, row.ok) == ("records", None)  # no arm yet
    assert row.note.startswith("not run: a full run trains")
    assert row.as_json()["value"] is None


@pytest.mark.parametrize("other", ["code", "seed", "steps"])
def test_a_quick_run_trains_no_records_where_those_kept_are_others(tmp_path, monkeypatch, other):
    settings, scale = BenchSettings(data=tmp_path, cache=tmp_path, quick=True), FEW
    bench_records.record_model(settings, scale)
    assert bench_records.is_trained(settings, scale)
    if other == "code":
        monkeypatch.setattr(trained_arms, "digest_of", lambda *_: "of this year")
    elif other == "seed":
        settings = replace(settings, seed=1)
    else:
        scale = replace(scale, steps=scale.steps + 1)
    (row,) = bench_records.records(settings, scale)
    assert row.note.startswith("not run: a full run trains")
    assert len(list((tmp_path / "landmark").glob("records-*"))) == 1


@pytest.mark.slow
def test_records_are_asked_and_places_of_landmarks_matter(tmp_path):
    settings = BenchSettings(data=tmp_path, cache=tmp_path, quick=True)
    model = bench_records.record_model(settings, FEW)
    got = bench_records.asked(model, 150, 8, 0, ReadSettings(top_k=4))
    assert got.hits.shape == got.fake.shape == (1, 2)
    assert 0 <= got.right <= 1
    assert 0 <= got.opened <= 1
    every = bench_records.asked(model, 40, 8, 0, ReadSettings(top_k=14), told=4)
    assert every.opened == 1  # nothing is left out


def test_a_sliding_window_is_held_against_chance_where_it_cannot_have_seen():
    back = torch.arange(96) * 10
    told = back <= 100  # it answers what it saw, and no more
    none = torch.zeros(1, 1)
    row = bench_records.sliding_row(bench_records.Asked(told, back, none, none, 0.0), 1024, reach=100)
    assert (row.value, row.ok) == (0.0, True)
    assert "85 questions" in row.note
    lucky = bench_records.Asked(back % 50 == 0, back, none, none, 0.0)  # a fifth: no accident
    row = bench_records.sliding_row(lucky, 1024, reach=100)
    assert (round(row.value, 2), row.ok) == (0.2, False)
    assert bench_records.by_chance(96) == pytest.approx(0.137, abs=0.001)


def test_positions_that_are_fetched_are_those_of_all_that_a_chunk_opens():
    model = LandmarkModel(own_decoder(SIZE, 300, 0, positions=48), TINY.landmarks).eval()
    held = torch.randint(300, (400,), generator=torch.Generator().manual_seed(0))
    each, head, token = opened_rows(model, held)
    assert [row.system for row in (each, head, token)] == [
        "k 4, 400 tokens", "k 4, the same for all tokens, 400 tokens", "k 4, the same for all heads, 400 tokens",
    ]  # fmt: skip
    assert each.note.endswith("that are kept; 16 for a token and head")
    assert 16 <= head.value <= 2 * 16  # two heads, each with one choice
    assert head.value <= each.value
    cache = model.make_cache(ReadSettings(top_k=4))
    cache.watch()
    model.read(held[None], cache)
    fetched = [len(set(one.blocks.flatten().tolist())) for one in cache.trace() if one.first >= 5 * 4]
    assert each.value == pytest.approx(4 * sum(fetched) / len(fetched))


@pytest.mark.slow
def test_blocks_that_are_shut_must_be_missed(tmp_path):
    """The full run asks that a text read without its blocks is foretold no better, the quick one leaves some room."""
    books = _books(tmp_path / "data")
    for quick, bar in ((True, "≥ 0.99"), (False, "≥ 1")):
        settings = BenchSettings(data=books, cache=tmp_path / "cache", quick=quick)
        rows = {row.system: row for row in variants(Novels(settings, TINY), perplexity)}
        assert rows["context-miss token, cutoff 1 / 0"].bar == bar


@pytest.mark.slow
def test_fewer_blocks_and_one_choice_for_all_tokens_must_be_worse(tmp_path):
    """The full run asks for the order itself, the quick one leaves some room."""
    model = bench_records.record_model(BenchSettings(data=tmp_path, cache=tmp_path, quick=True), FEW)
    held = torch.randint(30, (400,), generator=torch.Generator().manual_seed(0))
    for quick, bar in ((True, "≥ 0.998"), (False, "≥ 1")):
        rows = list(_other_ways(model, held, [48, 100, 200], {200: 30.0}, quick=quick))
        assert [row.bar for row in rows] == [bar, bar, None, None, "≥ 1"]
