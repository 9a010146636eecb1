"""bench layers-stepnet: what is measured is what it says, and small arms are trained and found again."""

from __future__ import annotations

import csv
import gzip
import io
import tarfile
from contextlib import nullcontext
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from foveal.bench import layers_stepnet, layers_stepnet_images, layers_stepnet_steps, layers_stepnet_text
from foveal.bench.known_sets import SIZES
from foveal.bench.layers_stepnet import QUICK
from foveal.bench.layers_stepnet_images import Arms, as_seen, network, read, varied
from foveal.bench.settings import BenchSettings
from foveal.nn.gating import gates_of


@pytest.fixture
def data(tmp_path):
    """Pictures of two colours, which are their classes, and texts of two words."""
    from PIL import Image

    (tmp_path / "cifar10-small").mkdir()
    draw = np.random.default_rng(0)
    for name in ("train", "test"):
        with tarfile.open(tmp_path / "cifar10-small" / f"{name}.tar.gz", "w:gz") as tar:
            for place, kind in enumerate(("blue", "red")):
                for number in range(8):
                    pixels = draw.integers(0, 80, (32, 32, 3), dtype=np.uint8)
                    pixels[..., 2 - 2 * place] += 170
                    buffer = io.BytesIO()
                    Image.fromarray(pixels).save(buffer, format="JPEG")
                    member = tarfile.TarInfo(f"{kind}/{number:04d}.jpg")
                    member.size = len(buffer.getvalue())
                    tar.addfile(member, io.BytesIO(buffer.getvalue()))
    (tmp_path / "classification" / "r8").mkdir(parents=True)
    for name in ("train", "test"):
        with gzip.open(tmp_path / "classification" / "r8" / f"{name}.csv.gz", "wt", newline="") as file:
            writer = csv.writer(file)
            writer.writerows([("label", "text"), ("earn", "profit of the mill"), ("grain", "wheat, and corn")])
    return tmp_path


def test_accuracies_are_asked_of_the_photographs_that_they_are_specified_for(data, monkeypatch):
    """As many of another set, with other bytes, are another set."""
    settings = BenchSettings(data=data, cache=data / "cache")
    sizes = [layers_stepnet_images.sizes_of(data / "cifar10-small" / name) for name in layers_stepnet_images.PARTS]
    assert [count for count, _ in sizes] == [16, 16]
    monkeypatch.setattr(layers_stepnet, "stiffness", lambda *_: None)
    monkeypatch.setattr(layers_stepnet, "_gates", lambda *_: [])
    monkeypatch.setattr(Arms, "accuracy", lambda *_: 0.6)
    monkeypatch.setattr(Arms, "arm", lambda *_: None)
    asked = {}
    for known in (sizes, [sizes[0], (16, sizes[1][1] + 1)]):
        monkeypatch.setitem(SIZES, layers_stepnet_images.SET, tuple(size for part in known for size in part))
        arms = Arms(settings, replace(QUICK, learnt=16))
        rows = {row.system: row for row in layers_stepnet.images(arms, {}) if row.metric == "accuracy"}
        asked[arms.known] = {kind: rows[f"images: {kind}"].ok for kind in layers_stepnet.SPECIFIED}
        assert rows["images: StepNet pair, against none - 1 sd"].ok  # beside a peer: of any photographs
    assert asked == {True: dict.fromkeys(layers_stepnet.SPECIFIED, True),
                     False: dict.fromkeys(layers_stepnet.SPECIFIED)}  # fmt: skip
    assert "no bar here: ≥ 0.519" in rows["images: none"].note


def test_photographs_have_their_classes(data):
    rows = read(data / "cifar10-small" / "train.tar.gz", 8)
    assert rows.images.shape == (8, 3, 16, 16)
    assert rows.labels.tolist() == [0] * 4 + [1] * 4
    assert (rows.images[:4, 2].float().mean((1, 2)) > 150).all()
    assert (rows.images[4:, 0].float().mean((1, 2)) > 150).all()
    assert as_seen(rows.images).is_contiguous(memory_format=torch.channels_last)


def test_varied_images_are_moved_and_mirrored():
    image = torch.arange(1, 1 + 3 * 16 * 16).view(1, 3, 16, 16).to(torch.int32)
    seen = varied(image.expand(400, -1, -1, -1))
    padded = torch.nn.functional.pad(image, (2, 2, 2, 2))[0]
    every = [padded[:, y : y + 16, x : x + 16] for y in range(5) for x in range(5)]
    every += [one.flip(2) for one in every]
    found = [next(place for place, one in enumerate(every) if torch.equal(one, row)) for row in seen]
    assert len(set(found)) == 50
    assert 0.4 < sum(place < 25 for place in found) / 400 < 0.6


def test_arms_of_a_seed_begin_alike():
    plain, gated = network("none", 8, 3).state_dict(), network("SE", 8, 3).state_dict()
    assert all(torch.equal(gated[name], weight) for name, weight in plain.items())
    placed = network("StepNet diff", 8, 3, ["layer2.0"])
    assert list(gates_of(placed)) == ["layer2.0"]


def test_texts_may_be_packed_or_not(data):
    folder = data / "classification" / "r8"
    packed = layers_stepnet_text.read(folder)
    for path in folder.glob("*.gz"):
        path.with_suffix("").write_bytes(gzip.decompress(path.read_bytes()))
        path.unlink()
    for one, other in zip(packed, layers_stepnet_text.read(folder), strict=True):
        assert torch.equal(one.ids, other.ids)
        assert torch.equal(one.labels, other.labels)


@pytest.mark.slow
def test_an_arm_is_trained_once_and_found_again(data):
    settings = BenchSettings(data=data, cache=data / "cache", quick=True)
    scale = replace(QUICK, learnt=16, epochs=2, batch=8)
    logits = []
    for _ in range(2):
        arms = Arms(settings, scale)
        logits.append(arms.logits(arms.arm("StepNet pair", 0), arms.held))
    assert torch.equal(*logits)
    assert len(list((data / "cache" / "layers").glob("stepnet-stepnet-pair-8-0-*/done.json"))) == 1
    first = network("StepNet pair", 8, 0)
    assert not torch.equal(first.fc.weight, arms.arm("StepNet pair", 0).fc.weight)


def test_what_a_step_must_be_told_from():
    _, x, f, end = layers_stepnet_steps.decays(2000, torch.Generator().manual_seed(1))
    rate = -f / x
    exact = (1 - torch.exp(-rate)) / rate
    torch.testing.assert_close(x + exact * f, end, atol=1e-4, rtol=1e-4)
    lost = {}
    for seen in (("f",), ("x", "f")):
        model = layers_stepnet_steps.learned(seen, 0, steps=400)
        with torch.no_grad():
            lost[seen] = float((x + model(layers_stepnet_steps.told(seen, x, f))[:, 0] * f - end).square().mean())
    assert lost["f",] > 10 * lost["x", "f"]


def test_arms_learn_as_long_as_specified_and_peers_are_as_strong():
    full = layers_stepnet.FULL
    assert (full.learnt, full.epochs, full.depth, full.batch, full.seeds, full.few) == (4000, 15, 20, 64, 5, 3)
    least = {kind: layers_stepnet.least_of(kind, quick=False) for kind in layers_stepnet_images.KINDS}
    assert least["none"] == pytest.approx(0.519)
    assert least["StepNet pair"] == pytest.approx(0.55)
    assert least["CBAM"] is None
    assert layers_stepnet.least_of("none", quick=True) is None
    assert set(layers_stepnet.SPECIFIED) < set(layers_stepnet_images.KINDS)
    assert layers_stepnet.most_of("x and f") == 2e-5
    assert 0.1436 < layers_stepnet.most_of("f") < 0.147
    assert layers_stepnet.most_of("nothing: 1") is None


def test_a_stripe_falls_short(monkeypatch):
    """Steps that are the same for all images lose nothing, whichever way they are replaced."""
    monkeypatch.setattr(layers_stepnet, "stiffness", lambda *_: SimpleNamespace(steps={}))
    monkeypatch.setattr(layers_stepnet, "steps_replaced", lambda *_: nullcontext())
    seen = iter([0.5, 0.5, 0.5] * 2 + [0.5, 0.5, 0.499] * 2)

    def told(quick):
        arms = SimpleNamespace(
            scale=SimpleNamespace(seeds=1), settings=BenchSettings(quick=quick), learnt=[], held=range(1000),
            batches=lambda _: [], arm=lambda *_: None, accuracy=lambda _: next(seen),
        )  # fmt: skip
        rows = {row.system: row for row in layers_stepnet.stripe(arms)}
        return rows["images: StepNet pair, steps of another image"].ok

    assert told(quick=False) is False
    assert told(quick=False) is True


def test_a_gain_is_called_one_where_it_is_twice_its_error():
    assert layers_stepnet._gain("", [0.5, 0.6, 0.7], [0.4, 0.5, 0.6]).note.startswith("better")
    assert layers_stepnet._gain("", [0.5, 0.4, 0.7], [0.4, 0.5, 0.6]).note.startswith("equal")
    assert layers_stepnet._gain("", [0.4, 0.5, 0.6], [0.5, 0.6, 0.7]).note.startswith("worse")
    assert "too few" in layers_stepnet._gain("", [0.5, 0.6], [0.1, 0.2]).note


@pytest.mark.slow
def test_every_row_is_measured(data):
    small = replace(QUICK, learnt=16, epochs=1, batch=8, depths=(8,))
    settings = BenchSettings(data=data, cache=data / "cache")
    arms, found = Arms(settings, small), {}
    rows = [*layers_stepnet.images(arms, found), *layers_stepnet.stripe(arms), *layers_stepnet.placement(arms)]
    rows += [*layers_stepnet.depths(arms)]
    names = [row.system for row in rows]
    for part in ("images: CBAM", "StepNet pair - SRM", "steps of another image", "fastest blocks: 1", "ResNet-8"):
        assert any(part in name for name in names), part
    assert all(np.isfinite(row.value) for row in rows)
    assert set(found) == set(layers_stepnet_images.KINDS)
    texts = list(layers_stepnet_text.texts(replace(settings, quick=True)))
    assert all(row.ok for row in texts if row.ok is not None)
    assert sum(row.metric == "accuracy" for row in texts) == 4


@pytest.mark.slow
def test_what_needs_no_data_is_met():
    rows = [*layers_stepnet.exact(BenchSettings()), *layers_stepnet.equations()]
    assert all(row.ok for row in rows)
