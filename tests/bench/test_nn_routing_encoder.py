"""bench nn-routing, encoder: rows of the right texts and places, the same for every arm, full attention as bar."""

from __future__ import annotations

import gzip
from types import SimpleNamespace

import numpy as np
import torch

from foveal.bench import nn_routing_encoder as bench
from foveal.bench.settings import BenchSettings


def test_each_arm_is_asked_of_the_last_tenths(monkeypatch, tmp_path):
    draw = np.random.default_rng(0)
    (tmp_path / "text").mkdir()
    for number, name in enumerate(bench.TEXTS):
        letters = draw.choice(list(b"abcdefgh"[number : number + 4]), size=20_000).astype(np.uint8)
        (tmp_path / "text" / f"{name}.txt.gz").write_bytes(gzip.compress(letters.tobytes()))
    seen = {}

    def train_nothing(_, __, name, model, rows, *___, **____):
        seen[name] = rows
        assert model.encoder.blocks[0].mixer.settings.causal is False

    monkeypatch.setattr(bench, "trained", train_nothing)
    monkeypatch.setattr(bench, "ASKED", 40)
    rows = {row.system: row for row in bench.encoder(BenchSettings(data=tmp_path, cache=tmp_path, quick=True))}
    assert len(seen) == 3
    learnt = seen["encoder-routing"]
    assert [len(one) for one in learnt.texts] == [18_000] * 4
    row = learnt[7]
    assert any(
        torch.equal(row["bytes"], learnt.texts[int(row["text"])][at : at + bench.LENGTH].long())
        for at in range(18_000 - bench.LENGTH)
    )
    assert rows["encoder, letters alone"].value > 0.95
    below = rows["encoder, routing less full attention"]
    assert below.value == rows["encoder, routing"].value - rows["encoder, full attention"].value
    assert below.bar == "≥ -0.1"
    ahead = rows["encoder, routing less local heads alone"]
    assert ahead.value == rows["encoder, routing"].value - rows["encoder, local heads alone"].value
    assert ahead.bar == "≥ -0.1"
    shares = [row.value for name, row in rows.items() if name.startswith("encoder, cluster")]
    assert len(shares) == bench.SHAPE["clusters"]
    assert abs(sum(shares) - 1) < 1e-6


def test_clusters_are_told_by_the_letters_that_they_took():
    ids = torch.tensor(list(b"abababab" * 8))
    asked = [{"bytes": ids}]

    class Parted(torch.nn.Module):
        """Its clusters take the letters a, and b."""

        embedding, places, encoder = torch.nn.Embedding(256, 4), 0, torch.nn.Module()

    def read_together(_):
        read = torch.stack([ids == ord("a"), ids == ord("b")])[None, None]
        return SimpleNamespace(read=read)

    model = Parted()
    model.encoder.read_together = read_together
    rows = list(bench.took(model, asked, count=1))
    assert [(row.value, row.note) for row in rows] == [(0.5, "above all 'a'"), (0.5, "above all 'b'")]


def test_full_attention_sees_the_whole_excerpt():
    model = bench.Told(**bench.ARMS["full attention"]).eval()
    ids = torch.randint(256, (1, bench.LENGTH), generator=torch.Generator().manual_seed(0))
    other = ids.clone()
    other[0, -1] = (other[0, -1] + 1) % 256
    with torch.no_grad():
        one, two = (model.encoder(model.embedding(x) + model.places).output[0, 0] for x in (ids, other))
    assert (one - two).abs().max() > 1e-8
