"""bench nn-titans and nn-routing: the made tasks are what they say, and small arms are trained and kept."""

from __future__ import annotations

import math
from datetime import datetime
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from foveal.bench import (
    nn_peers,
    nn_routing,
    nn_routing_arms,
    nn_routing_encoder,
    nn_routing_images,
    nn_titans,
    nn_titans_reader,
)
from foveal.bench.nn_language import Novels, Scale, clozes, count_of, expansion_for
from foveal.bench.nn_tasks import MOTIFS, Motifs, Needles, Recall, learn, right_share
from foveal.bench.settings import BenchSettings
from foveal.evaluation.series import Table
from foveal.nn.language_training import LanguageSize, encoded
from foveal.nn.next_tokens import IGNORED
from foveal.training.loop import LoopSettings
from foveal.training.windows import collate

DAYS = datetime.fromisoformat("2016-07-01"), datetime.fromisoformat("2016-07-02")
FILLER = encoded("It rained on the mill and on the river, day after day, until the snow came. " * 200)[0]


def test_what_is_asked_was_told():
    for number in range(20):
        row = Recall(length=32, pairs=4, vocabulary=32, seed=0)[number]
        told = dict(zip(row["ids"][:8:2].tolist(), row["ids"][1:8:2].tolist(), strict=True))
        assert len(set(told.values())) == 4  # a guess among those in the text is right once in four
        where = (row["targets"] != IGNORED).nonzero()[:, 0]
        assert len(where) == 4
        assert {int(row["ids"][at]): int(row["targets"][at]) for at in where} == told
        often = Recall(length=64, pairs=4, vocabulary=32, seed=0, asked=5)[number]
        there = often["targets"] != IGNORED
        assert sorted(often["ids"][there].tolist()) == sorted(often["ids"][:8:2].tolist() * 5)
        many = Recall(length=16, pairs=4, vocabulary=32, seed=0, asked=5)[number]  # more than there is room for
        assert int((many["targets"] != IGNORED).sum()) == 4
        far = Recall(length=128, pairs=4, vocabulary=32, seed=0, within=32, after=64)[number]
        asked = (far["targets"] != IGNORED).nonzero()[:, 0]
        assert asked.min() >= 64
        assert far["ids"][32:64].eq(0).all()


def test_needles_stand_where_their_depth_says():
    row = Needles(FILLER, 256, seed=0, depth=0.5)[3]
    text = bytes(row["ids"].tolist()).decode()
    where = (row["targets"] != IGNORED).nonzero()[:, 0]
    digits = bytes(row["targets"][where].tolist()).decode()
    assert len(digits) == 3
    assert text.count(f" is {digits}. ") == 2
    assert torch.equal(row["targets"][where], row["ids"][where + 1])
    assert 80 < text.index(digits) < 170
    several = Needles(FILLER, 256, seed=0)[3]
    assert int((several["targets"] != IGNORED).sum()) == 12


@pytest.mark.parametrize("length", [256, 512, 1024, 2048])
def test_no_needle_is_handed_on_by_windows(length):
    reach = nn_titans.NEEDLE_SIZE.layers * (nn_titans.NEEDLE_SIZE.window - 1)
    depths = nn_titans.depths_of(length)
    assert depths[:3] == [0.0, 0.25, 0.5]
    assert (0.9 in depths) == (length >= 1024)
    for depth in depths:
        rows = Needles(FILLER, length, seed=0, depth=depth)
        row = rows[3]
        asked = int((row["targets"] != IGNORED).nonzero()[0])
        told = bytes(row["ids"].tolist()).index(bytes(row["targets"][asked : asked + 3].tolist()))
        assert asked - told == rows.apart(depth) > reach


def test_motifs_are_what_the_labels_say():
    for number in range(30):
        row, plain = Motifs(128, 0, parts=True)[number], Motifs(128, 0)[number]
        text = "".join("ACGT"[int(one)] for one in row["ids"][:-3])
        kinds = [int(one) - 5 for one in row["targets"][-3:]]
        for part, half in enumerate((text[:30], text[60:])):
            assert MOTIFS[kinds[part]][part] in half
        assert kinds[2] == int(kinds[0] == kinds[1])
        assert torch.equal(plain["ids"], row["ids"])
        assert int((plain["targets"] != IGNORED).sum()) == 1  # in the test nothing but the last is asked
        assert plain["targets"][-1] == row["targets"][-1]


@pytest.mark.slow
def test_an_arm_is_trained_once_and_found_again(tmp_path):
    settings = BenchSettings(cache=tmp_path, quick=True)
    size = LanguageSize(layers=1, width=16, heads=2, window=8)
    rows, shares = Recall(16, 2, 16, 0), []
    for _ in range(2):
        model = nn_titans.model_of("lmm", 16, size, 0)
        learn(settings, "small", model, rows, steps=3, batch=4, rate=1e-3)
        shares.append(right_share(model, rows, 16))
    assert shares[0] == shares[1]
    assert len(list((tmp_path / "nn").glob("small-*/done.json"))) == 1


def test_a_stage_that_follows_is_found_again(tmp_path):
    settings, size = BenchSettings(cache=tmp_path, quick=True), LanguageSize(layers=1, width=16, heads=2, window=8)
    for _ in range(2):
        model = nn_titans.model_of("lmm", 16, size, 0)
        for stage in ("first", "second"):
            learn(settings, "small", model, Recall(16, 2, 16, 0), steps=1, batch=4, rate=1e-3, told=stage)
    assert len(list((tmp_path / "nn").glob("small-*/done.json"))) == 2


def books(folder):
    """Two novels of one kind of sentence."""
    (folder / "text").mkdir()
    names = ["Natasha", "Pierre", "Andrew", "Sonya", "Boris", "Helene", "Anatole", "Dolokhov", "Denisov", "Rostov"]
    book = " ".join(f"then, {names[n * 7 % 10]} went to see {names[n * 3 % 10]} by the river." for n in range(400))
    for name in ("war_and_peace.txt", "moby_dick.txt"):
        (folder / "text" / name).write_text(book)


@pytest.mark.slow
def test_novels_are_measured(tmp_path):
    books(tmp_path)
    size = LanguageSize(layers=1, width=16, heads=2, window=16)
    scale = Scale(size=size, length=64, steps=2, batch=2, held=2048)
    arms = Novels(BenchSettings(data=tmp_path, cache=tmp_path / "cache"), scale)
    model = arms.arm("lmm")
    told = nn_titans.measured(arms, model)
    assert set(told) == {"", ", as a stream", ", updates off", ", as a stream, updates off"}
    assert all(0 < one < 10 for one in told.values())
    assert math.isfinite(arms.rare_nats(model))
    asked = clozes(arms.data, 3, 512, 0)
    assert asked
    for one in asked:
        assert one.words[0] in one.context[:-64]
        assert one.words[0] not in one.context[-64:]
        assert len(set(one.words)) == 10
    assert 0 <= nn_titans.cloze_share(model, asked) <= 1


@pytest.mark.slow
@pytest.mark.parametrize("quick", [True, False])
def test_routing_is_held_to_its_controls_on_novels(tmp_path, monkeypatch, quick):
    books(tmp_path)
    monkeypatch.setattr(nn_routing, "there", lambda _: False)
    size = LanguageSize(layers=2, width=16, heads=2, window=16, mixer={"clusters": 4})
    scale = Scale(size=size, length=384, steps=1, batch=2, held=2048)
    arms = Novels(BenchSettings(data=tmp_path, cache=tmp_path / "cache", quick=quick), scale)
    rows = list(nn_routing.novels(arms))
    told = bars(rows)
    assert told["novels: routing / random, words that come again", "nats per byte"] == ("≤ 1.1" if quick else "≤ 1")
    least = "≥ 0.9" if quick else "≥ 1"
    assert told["novels: topk / routing, token by token", "bits per character"] == least
    found = {row.system: row for row in rows}
    assert found["novels: topk, token by token"].note == "10 places"
    assert "novels: topk, at once, at the same places" in found
    assert found["novels: full / routing, words that come again"].bar is None
    rates = {row.system for row in rows if row.metric == "bytes a second, learning" and row.value > 0}
    assert rates == {f"novels: {name}" for name in ("full", "local", "routing", "random", "topk")}


@torch.no_grad()
def test_places_are_told_from_their_prefix_alone():
    size = LanguageSize(layers=2, width=16, heads=2, window=8, mixer={"clusters": 4, "window": 16})
    windows = torch.randint(31, (3, 400), generator=torch.Generator().manual_seed(0))
    assert list(nn_routing.places_of(windows)) == [128, 256, 384]
    for name, same in (("routing", True), ("topk", False)):
        model = nn_routing_arms.routed_model(name, size, 31, 0).eval()
        alone, at_once = nn_routing.one_by_one(model, windows), nn_routing.all_at_once(model, windows)
        each = [
            float(torch.nn.functional.cross_entropy(model(one[None, :place]).logits[0, -1:], one[place : place + 1]))
            for one in windows for place in (128, 256, 384)
        ]  # fmt: skip
        assert alone == pytest.approx(sum(each) / 9, rel=1e-4)
        assert (at_once == pytest.approx(alone, rel=1e-5)) == same


def untrained(monkeypatch, module):
    """The arms of a bench as they were drawn; the steps that each would have learnt for."""
    steps = {}

    def learn(settings, name, model, rows, *, steps: int, told="", seen=steps, **_):
        seen.setdefault(told or name, []).append((steps, settings.seed, rows.seed))
        return model.eval()

    monkeypatch.setattr(module, "learn", learn)
    return steps


def bars(rows):
    """What is asked of which row."""
    return {(row.system, row.metric): row.bar for row in rows if row.bar is not None}


def test_arms_of_routing_recall_learn_alike_and_are_not_tied(monkeypatch):
    model = nn_routing_arms.routed_model("routing", nn_routing.RECALL_SIZE, 64, 0, tied=False)
    assert model.head.weight is not model.embed.weight
    assert model.embed.weight.std().item() == pytest.approx(1.0)
    steps = untrained(monkeypatch, nn_routing)
    monkeypatch.setattr(nn_routing, "right_share", lambda *_: 0.5)
    rows = list(nn_routing.recall(BenchSettings(quick=True, seed=3)))
    assert {tuple(one) for one in steps.values()} == {((400, 3, 3),), ((200, 3, 3),)}
    told = bars(rows)
    assert told["local, 128 tokens, pairs 64 ago", "recalled"] == "≤ 0.25"
    assert told["routing, 128 tokens, pairs 64 ago", "recalled"] == "≥ 0.05"
    assert told["full, 32 tokens", "recalled"] == "≥ 0.8"
    assert ("routing - random", "recalled") in told
    steps.clear()
    monkeypatch.setattr(nn_routing, "STAGES", nn_routing.STAGES[:1])
    told = bars(nn_routing.recall(BenchSettings()))
    assert sorted(seed for one in steps.values() for _, seed, _ in one) == [0] * 5 + [1, 2]
    assert told["local, 32 tokens, pairs None ago", "recalled"] == "≤ 0.16"


def test_what_tells_texts_apart_learns_from_its_own_batches(monkeypatch):
    def a_step(settings, bench, name, model, rows, loss, plan, loop, told, *, together=collate):
        loss(model, together([rows[number] for number in plan(0)[0][:2]])).backward()
        assert model.head.weight.grad.abs().sum() > 0
        model.eval()

    monkeypatch.setattr(nn_routing_encoder, "trained", a_step)
    monkeypatch.setattr(nn_routing_encoder, "LENGTH", 64)
    monkeypatch.setattr(nn_routing_encoder, "ASKED", 4)
    monkeypatch.setattr(nn_routing_encoder, "_read", lambda *_: FILLER)
    found = {row.system for row in nn_routing_encoder.encoder(BenchSettings(quick=True))}
    assert "encoder, routing less full attention" in found


def test_the_memory_and_its_controls_learn_for_as_long(monkeypatch):
    steps = untrained(monkeypatch, nn_titans)
    monkeypatch.setattr(nn_titans, "right_share", lambda *_, **__: 0.5)
    told = bars(nn_titans.recall(BenchSettings()))
    short = {name: [many for many, _, _ in every if many in (600, 2000)] for name, every in steps.items()}
    assert short["lmm"] == [600] * 3
    assert short["lmm, updates off"] == short["window"] == [600]
    assert sorted(seed for many, seed, rows in steps["lmm"] if many == 600 and seed == rows) == [0, 1, 2]
    assert told["lmm, 4 pairs in 32 tokens", "recalled"] == "≥ 0.995"
    for quick in (True, False):
        told = bars(nn_titans.motifs(BenchSettings(quick=quick)))
        for name in ("lmm, updates off", "window"):
            assert told[f"lmm - {name}, DNA motifs", "right"] == ("≥ -0.1" if quick else "≥ 0.05")
    asked = [seed for told, every in steps.items() if told.startswith("lmm, ((32,") for _, seed, _ in every]
    assert sorted(set(asked)) == [0, 1, 2]


def test_mag_and_a_window_are_compared_by_three_seeds(monkeypatch):
    seen = []
    monkeypatch.setattr(Novels, "arm", lambda arms, name: seen.append((arms.settings.seed, name)) or name)
    monkeypatch.setattr(Novels, "window_bits", lambda _, model: {"mag": 1.0, "window": 2.0}[model])
    assert list(nn_titans._again(Novels(BenchSettings(seed=4), Scale()))) == [0.5, 0.5]
    assert seen == [(5, "mag"), (5, "window"), (6, "mag"), (6, "window")]
    assert list(nn_titans._again(Novels(BenchSettings(quick=True), Scale()))) == []


@pytest.mark.parametrize("quick", [True, False])
def test_needles_are_told_by_depth(monkeypatch, quick):
    steps = untrained(monkeypatch, nn_titans)
    monkeypatch.setattr(nn_titans, "right_share", lambda _, rows, *__, **___: rows.depth)
    arms = SimpleNamespace(learnt=FILLER, held=FILLER)
    rows = list(nn_titans.needles(BenchSettings(quick=quick), arms))
    found = {row.system: row for row in rows}
    seeds = {
        name: sorted({seed for told, every in steps.items() if told.startswith(f"{name},") for _, seed, _ in every})
        for name in ("mag", "window")
    }
    assert seeds == {"mag": [0] if quick else [0, 1, 2], "window": [0]}
    assert found["window, a key in 256 bytes"].value == pytest.approx(0.25)  # of depths 0, 0.25, 0.5
    assert "by depth 0: 0.00, 0.25: 0.25, 0.5: 0.50; chance" in found["window, a key in 256 bytes"].note
    asleep, awake = ("≤ 0.3", "≥ 0.15") if quick else ("≤ 0.2", "≥ 0.9")
    for name in ("window", "mag, updates off in the test"):
        assert found[f"{name}, a key in 512 bytes"].bar == asleep
    assert found["mag, a key in 512 bytes"].bar == awake


@pytest.mark.slow
def test_a_memory_forecasts_beside_itself_asleep(tmp_path):
    rows = np.arange(1200)
    values = np.stack([np.sin(rows / 4), np.cos(rows / 7)], 1).astype(np.float32)
    table, settings = Table("made", ("a", "b"), values, DAYS), BenchSettings(cache=tmp_path / "cache")
    loop = LoopSettings(steps=2, batch=4, learning_rate=1e-3, evaluate_every=2)
    told = [nn_titans._forecast(settings, table, 8, name, loop) for name in ("lmm", nn_titans.ASLEEP, "lmm")]
    assert told[0] == told[2]
    assert told[0]["parameters"] == told[1]["parameters"]
    assert told[0]["told"]["mse"] != told[1]["told"]["mse"]


def test_the_dev_part_chooses_how_each_forecaster_is_trained(monkeypatch):
    steps = {name: nn_titans.loops_of(name, 200) for name in ("lmm", nn_titans.ASLEEP, "gru", nn_titans.LINEAR)}
    assert steps["lmm"] == steps[nn_titans.ASLEEP] == steps["gru"] == steps[nn_titans.LINEAR][:-1]
    assert {(loop.steps, loop.learning_rate) for loop in steps["lmm"]} == {(200, rate) for rate in nn_titans.RATES}
    assert steps[nn_titans.LINEAR][-1] == nn_titans.FORECASTING  # as nn-aaren trains it

    def told(settings, table, horizon, name, loop):
        dev = abs(loop.learning_rate - 5e-3)
        return {"told": {"mse": 1 - dev, "mae": 0.5, nn_titans.DEV_MSE: dev}}

    monkeypatch.setattr(nn_titans, "_forecast", told)
    found, loop = nn_titans._chosen(BenchSettings(), None, 96, "lmm", steps["lmm"])
    assert (found["mse"], loop.learning_rate) == (1, 5e-3)  # the worse test figure: it decides nothing


def test_random_buckets_go_by_place_alone():
    size = LanguageSize(layers=2, width=16, heads=2, window=8, mixer={"clusters": 4})
    model = nn_routing_arms.routed_model("random", size, 31, 0).train()
    means = model.blocks[1].mixer.routed.means
    one, other = torch.randn(2, 1, 20, 8), torch.randn(2, 1, 20, 8)
    assert torch.equal(means.nearest(one), means.nearest(other))
    ids = torch.randint(31, (2, 20))
    told = model(ids, labels=ids)
    assert int(means.updates) == 0
    alone = torch.nn.functional.cross_entropy(told.logits[:, :-1].flatten(0, 1), ids[:, 1:].flatten())
    assert told.loss.item() == pytest.approx(alone.item())  # nothing draws queries to a bucket's centroid


def test_random_buckets_are_others_in_each_head_and_layer_and_the_same_in_longer_texts():
    mixer = {"heads": 4, "routing_heads": 2, "clusters": 16}
    size = LanguageSize(layers=4, width=32, heads=4, window=8, mixer=mixer)
    model = nn_routing_arms.routed_model("random", size, 31, 0)
    means = [block.mixer.routed.means for block in model.blocks if block.mixer.routed is not None]
    buckets = torch.cat([one.nearest(torch.zeros(1, 2, 200, 8))[0] for one in means])
    assert len(buckets) == 4
    for one in range(4):
        for other in range(one):
            assert (buckets[one] == buckets[other]).float().mean() < 0.2
    shorter = torch.cat([one.nearest(torch.zeros(1, 2, 90, 8))[0] for one in means])
    assert torch.equal(shorter, buckets[:, :90])


def test_arms_of_the_novels_are_equally_large(monkeypatch):
    arms = Novels(BenchSettings(), nn_titans.QUICK_NOVELS)
    monkeypatch.setattr(Novels, "learn", lambda *given: given[2:])
    names = ("window", "full", "gru", "delta", "lmm", "mag", "mac", "mal")
    found = {name: arms.arm(name) for name in names}
    counts = {name: count_of(model) for name, (model, _) in found.items()}
    assert max(counts.values()) / min(counts.values()) < 1.01
    assert found["mag"][0].config.expansion == pytest.approx(8 / 3, rel=0.01)
    assert found["window"][0].config.expansion > 3
    told = found["window"][1]
    assert "MLPs times" in told  # an arm of another width is another arm
    assert told != found["mag"][1]


def test_a_peers_mlps_may_be_as_wide_as_makes_it_equally_large():
    mixers = [torch.nn.Linear(16, 16) for _ in range(2)]
    usual = nn_peers.peer_model(mixers, width=16, vocabulary=31, seed=0)
    wide = expansion_for(usual, 20_000)
    assert count_of(nn_peers.peer_model(mixers, width=16, vocabulary=31, seed=0, expansion=wide)) == pytest.approx(
        20_000, rel=0.01
    )


def test_peers_begin_the_same_and_as_large_as_asked(monkeypatch):
    monkeypatch.setattr(nn_peers, "TitansPeer", lambda **_: torch.nn.Linear(32, 32))
    size = LanguageSize(layers=2, width=32, heads=2)
    one, other = (nn_peers.titans_model(size, 60_000, seed=3) for _ in range(2))
    assert count_of(one[0]) == pytest.approx(60_000, rel=0.01)
    assert all(torch.equal(*pair) for pair in zip(one[0].parameters(), other[0].parameters(), strict=True))
    assert one[1] == other[1]
    monkeypatch.setattr(nn_routing, "RoutingPeer", lambda *, dim, **_: torch.nn.Linear(dim, 5 * dim))
    mixer = {"window": 16, "clusters": 4, "local_window": 16}
    arms = Novels(BenchSettings(), Scale(size=LanguageSize(layers=2, width=32, heads=2, mixer=mixer)))
    ours = nn_routing_arms.routed_model("routing", arms.scale.size, 256, 0)
    assert count_of(nn_routing.peer(arms)[0]) == pytest.approx(count_of(ours), rel=0.01)


def test_a_memory_that_other_code_trained_is_trained_anew(tmp_path, monkeypatch):
    homes = []

    def train_reader(*_, run):
        homes.append(run.home)
        return tmp_path, SimpleNamespace(kept=True)

    monkeypatch.setattr(nn_titans_reader, "train_reader", train_reader)
    monkeypatch.setattr(nn_titans_reader, "load_memory", lambda *_: None)
    for code in ("before", "before", "mended"):
        monkeypatch.setattr(nn_titans_reader, "digest_of", lambda *_, code=code: code)
        nn_titans_reader._trained(BenchSettings(cache=tmp_path), "", SimpleNamespace(dimension=64))
    assert homes[0] == homes[1] != homes[2]


def test_a_peers_better_rate_counts(monkeypatch):
    """Our rate was chosen with our layers."""
    scale = Scale(size=LanguageSize(layers=1, width=16, heads=2), rate=3e-3)
    bits = {3e-3: 2.5, 1e-3: 2.0}
    monkeypatch.setattr(nn_titans, "there", lambda _: True)
    monkeypatch.setattr(nn_titans, "titans_model", lambda *_: (torch.nn.Linear(2, 2), "peer"))
    monkeypatch.setattr(Novels, "learn", lambda arms, *_: arms.scale.rate)
    monkeypatch.setattr(Novels, "window_bits", lambda _, rate: bits[round(rate, 6)])
    rows = {row.system: row for row in nn_titans._peer(Novels(BenchSettings(), scale), {"lmm": 2.1})}
    assert rows["peer: titans-pytorch"].value == 2.0
    assert "2.500 and 2.000" in rows["peer: titans-pytorch"].note
    assert rows["novels: lmm / titans-pytorch"].ok is False  # it had been met by the worse rate
    monkeypatch.setattr(nn_routing, "there", lambda _: True)
    monkeypatch.setattr(nn_routing, "peer", lambda _: (None, "peer"))
    monkeypatch.setattr(nn_routing, "one_by_one", lambda rate, _: bits[round(rate, 6)])
    monkeypatch.setattr(nn_routing, "bytes_a_second", lambda *_: 1.0)
    arms = Novels(BenchSettings(), scale)
    arms.__dict__["data"] = b"a"
    monkeypatch.setattr(Novels, "windows", lambda _: None)
    rows = {row.system: row for row in nn_routing._peer_bits(arms, 1.0, None)}
    assert rows["peer: routing-transformer, token by token"].value == pytest.approx(2.0 / math.log(2))


def test_a_memorys_speed_stands_beside_a_gru_and_a_window(monkeypatch):
    ran = []
    monkeypatch.setattr(nn_titans, "trained_once", lambda layer, x: ran.append((type(layer).__name__, *x.shape)))
    monkeypatch.setattr(nn_titans, "there", lambda _: False)
    found = {row.system for row in nn_titans.speed(BenchSettings(quick=True)) if row.metric == "tokens/s"}
    names = ("GRU of 128", "attention, window 64", "memory, chunks of 64")
    assert found == {f"{name}, forward and backward of 4,096" for name in names}
    assert set(ran) == {(name, 1, 4096, 128) for name in ("Recurrent", "WindowAttention", "NeuralMemory")}


def test_bytes_are_counted_behind_bytes_of_their_colour():
    """Each colour goes on as it was: then the one before tells all, but at a row's beginning."""
    learnt = torch.tensor([[one, 100 + one, 200 + one] * 20 for one in (1, 2)] * 500)
    bits = nn_routing_images.counted_bits(learnt, learnt[:2])
    assert 0 < bits < 0.2
    assert nn_routing_images.counted_bits(learnt, learnt[:2], apart=1) == pytest.approx(bits, abs=0.1)
    other = torch.tensor([[1, 101, 201, 2, 102, 202]])
    assert nn_routing_images.counted_bits(learnt, other) > 3


def test_a_peer_that_is_not_installed_says_so():
    row = nn_peers.not_run(("no_such_peer", "not run: pip install no-such-peer"), "tokens/s")
    assert row.ok is None
    assert "pip install" in row.note
    assert not nn_peers.there(("no_such_peer", ""))


@pytest.mark.slow
def test_cost_and_clusters_are_measured():
    rows = list(nn_routing.clusters(BenchSettings(quick=True)))
    assert rows[0].ok
