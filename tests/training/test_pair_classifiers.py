"""An encoder that learns two texts' class: windows of long texts, training that resumes, saving."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from foveal.errors import InputError, ModelUnavailable
from foveal.training.loop import LoopSettings
from foveal.training.pair_classifiers import (
    ClassedPairs,
    PairClassifier,
    PairSettings,
    class_loss,
    macro_f1,
    train_pairs,
)

pytestmark = pytest.mark.usefixtures("undrawn")
FILL = " ".join(["f1 f2 f3 f4 f5"] * 12)


@pytest.fixture(scope="module")
def rows():
    """Class 0: the first text has a1 and the second b1; else class 1."""
    pairs, classes = [], []
    for n in range(96):
        topic, other = n % 2, (n // 2) % 2
        pairs.append((f"a{topic} f{n % 12}", f"f{n % 7} b{other} f{n % 5}"))
        classes.append(int(not (topic and other)))
    return ClassedPairs(tuple(pairs), tuple(classes))


@pytest.fixture(scope="module")
def classifier(tiny_encoder):
    return PairClassifier.load(tiny_encoder, count=3, seed=1, tokens=24)


def test_windows_cover_a_long_text_and_begin_with_what_the_first_text_shares(classifier):
    text = f"{FILL} a3 b3 a4 {FILL}"
    windows = classifier.windows_of("a3 b3", text)
    assert {"a3", "b3"} <= set(windows[0].split())
    assert set(" ".join(windows).split()) == set(text.split())
    assert all(window in text for window in windows)
    assert len(classifier.batch([("a3 b3", windows[0])])["input_ids"][0]) <= 24
    assert classifier.windows_of("a3 b3", "f1 f2") == ["f1 f2"]


def test_the_two_texts_are_joined_as_the_tokenizer_joins_pairs(classifier):
    batch = classifier.batch([("a3", "b3"), ("a3", "b3 f1 f2")])
    assert batch["input_ids"][0][:5].tolist() == [2, *classifier.tokenizer.convert_tokens_to_ids(["a3"]), 3,
                                                  *classifier.tokenizer.convert_tokens_to_ids(["b3"]), 3]  # fmt: skip
    assert batch["attention_mask"].sum(1).tolist() == [5, 7]


def test_of_a_long_text_the_least_unrelated_window_counts(classifier):
    text = f"{FILL} a3 b3 {FILL}"
    windows = classifier.windows_of("a3", text)[:4]
    one_by_one = classifier.decisions([("a3", window) for window in windows])
    shares = np.exp(one_by_one) / np.exp(one_by_one).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(classifier.decisions([("a3", text)])[0], one_by_one[shares[:, -1].argmin()], atol=1e-5)
    assert classifier.decisions([]).shape == (0, 3)


def test_it_learns_is_saved_and_is_the_same_when_loaded(rows, tiny_encoder, tmp_path):
    settings = PairSettings(tokens=24, loop=LoopSettings(epochs=15, batch=16, learning_rate=1e-2, seed=0))
    model, curves = train_pairs(rows, rows, str(tiny_encoder), settings, count=2, folder=tmp_path / "run")
    assert macro_f1(model, [rows[n] for n in range(96)], 2) > 0.9
    assert curves.metrics[0][1]["macro F1"] < 0.8
    again, _ = train_pairs(rows, rows, str(tiny_encoder), settings, count=2, folder=tmp_path / "run")
    loaded = PairClassifier.load(model.save(tmp_path / "model"), tokens=24)
    for other in (again, loaded):
        np.testing.assert_allclose(other.decisions(rows.pairs), model.decisions(rows.pairs), atol=1e-5)


def test_wrong_input_is_refused(rows, tiny_encoder, tmp_path):
    with pytest.raises(InputError, match="some of each"):
        train_pairs(rows, ClassedPairs((), ()), str(tiny_encoder), count=2, folder=tmp_path / "run")
    with pytest.raises(InputError, match="overlap = 1"):
        PairSettings(overlap=1)
    (tmp_path / "empty").mkdir()
    with pytest.raises(ModelUnavailable, match="could not be loaded"):
        PairClassifier.load(tmp_path / "empty")


class Elsewhere(nn.Module):
    """A model whose weights lie on another device, as on a GPU: what it is given has to lie there, too."""

    def __init__(self, config):
        super().__init__()
        self.weight, self.config = nn.Parameter(torch.zeros(3, device="meta")), config

    def forward(self, **given):
        assert {part.device.type for part in given.values()} == {"meta"}
        return SimpleNamespace(logits=self.weight.expand(len(given["input_ids"]), 3))


class Fetched(Elsewhere):
    """The same; its numbers can be read once they are fetched."""

    def forward(self, **given):
        fetched = torch.zeros(len(super().forward(**given).logits), 3)
        return SimpleNamespace(logits=SimpleNamespace(float=lambda: SimpleNamespace(cpu=lambda: fetched)))


def test_a_model_on_another_device_is_given_what_lies_there(classifier):
    model = Fetched(classifier.model.config)
    far = PairClassifier(model, classifier.tokenizer, tokens=24)
    assert far.device.type == "meta"
    assert far.decisions([("a1", f"{FILL} b1"), ("a2", "b2")]).shape == (2, 3)


def test_the_classes_weights_lie_where_the_labels_do(classifier):
    batch = {name: part.to("meta") for name, part in classifier.batch([("a1", "b1"), ("a2", "b2")]).items()}
    batch["labels"] = torch.tensor([0, 2], device="meta")
    loss = class_loss(Elsewhere(classifier.model.config), batch, weights=torch.ones(3))
    assert (loss.device.type, loss.shape) == ("meta", ())
