"""bench nn-titans and nn-routing: the made tasks are what they say, and small arms are trained and kept."""

from __future__ import annotations

import math

import pytest
import torch

from foveal.bench import nn_peers, nn_routing, nn_titans
from foveal.bench.nn_language import Novels, Scale, clozes
from foveal.bench.nn_tasks import MOTIFS, Motifs, Needles, Recall, learn, right_share
from foveal.bench.settings import BenchSettings
from foveal.nn.language_models import IGNORED
from foveal.nn.language_training import LanguageSize, encoded

FILLER = encoded("It rained on the mill and on the river, day after day, until the snow came. " * 200)[0]


def test_what_is_asked_was_told():
    for number in range(20):
        row = Recall(length=32, pairs=4, vocabulary=32, seed=0)[number]
        told = dict(zip(row["ids"][:8:2].tolist(), row["ids"][1:8:2].tolist(), strict=True))
        where = (row["targets"] != IGNORED).nonzero()[:, 0]
        assert len(where) == 4
        assert {int(row["ids"][at]): int(row["targets"][at]) for at in where} == told
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


def test_motifs_agree_where_the_label_says():
    for number in range(30):
        row = Motifs(128, 0)[number]
        text = "".join("ACGT"[int(one)] for one in row["ids"][:-1])
        kinds = [
            {kind for kind, motifs in enumerate(MOTIFS) if motifs[part] in half}
            for part, half in enumerate((text[:30], text[60:]))
        ]
        assert int(row["targets"][-1]) in {5 + int(a == b) for a in kinds[0] for b in kinds[1]}


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


def test_novels_are_measured(tmp_path):
    (tmp_path / "text").mkdir()
    names = ["Natasha", "Pierre", "Andrew", "Sonya", "Boris", "Helene", "Anatole", "Dolokhov", "Denisov", "Rostov"]
    book = " ".join(f"then, {names[n * 7 % 10]} went to see {names[n * 3 % 10]} by the river." for n in range(400))
    for name in ("war_and_peace.txt", "moby_dick.txt"):
        (tmp_path / "text" / name).write_text(book)
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


def test_random_buckets_go_by_place_alone():
    size = LanguageSize(layers=2, width=16, heads=2, window=8, mixer={"clusters": 4})
    model = nn_routing.routed_model("random", size, 31, 0).train()
    means = model.blocks[1].mixer.routed.means
    one, other = torch.randn(2, 1, 20, 8), torch.randn(2, 1, 20, 8)
    assert torch.equal(means.nearest(one), means.nearest(other))
    model(torch.randint(31, (2, 20)))
    assert int(means.updates) == 0


def test_a_peer_that_is_not_installed_says_so():
    row = nn_peers.not_run(("no_such_peer", "not run: pip install no-such-peer"), "tokens/s")
    assert row.ok is None
    assert "pip install" in row.note
    assert not nn_peers.there(("no_such_peer", ""))


@pytest.mark.slow
def test_cost_and_clusters_are_measured():
    rows = list(nn_routing.clusters(BenchSettings(quick=True)))
    assert rows[0].ok
