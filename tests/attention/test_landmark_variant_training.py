"""Training landmark attention's variants: the recipe, what is refused, the command."""

from __future__ import annotations

import json
from dataclasses import asdict, replace

import pytest
import torch
from tiny import tiny
from typer.testing import CliRunner

from foveal.attention import LandmarkSettings, LandmarkVariant, LandmarkVariantSettings, MaskedLandmarks
from foveal.attention.landmark_training import DecoderSize, LandmarkTraining
from foveal.attention.landmark_variant_training import train_variant
from foveal.cli.main import app
from foveal.errors import InputError
from foveal.training.loop import LoopSettings
from foveal.training.runs import RunSettings

TEXT = " ".join(
    f"The keeper of the mill {number} reads the answer and keeps the river in mind." for number in range(200)
)
SMALL = LandmarkTraining(
    landmarks=LandmarkVariantSettings(block=4, train_length=32, miss=0.5, group_dropout=0.1),
    size=DecoderSize(layers=1, width=16, heads=2, vocabulary=300),
    loop=LoopSettings(batch=4, steps=6, learning_rate=3e-3),
    dev_windows=4,
)
MASKED = replace(SMALL, landmarks=LandmarkVariantSettings(block=4, train_length=32, masked=0.3))


@pytest.mark.parametrize(("chosen", "kind"), [(SMALL, LandmarkVariant), (MASKED, MaskedLandmarks)])
def test_from_scratch(tmp_path, chosen, kind):
    folder, report = train_variant([TEXT], None, chosen, run=RunSettings(home=tmp_path, name="mine"))
    before, after = report.measured["24 tokens at once"]
    assert report.kept
    assert after["perplexity"] < before["perplexity"]
    before, after = next(told for name, told in report.measured.items() if name.endswith("tokens read"))
    assert after["perplexity"] < before["perplexity"]
    assert ("masked tokens" in report.what) == (kind is MaskedLandmarks)
    model = kind.from_pretrained(folder)
    assert type(model) is kind
    assert model.settings == chosen.landmarks
    assert model.logprobs(torch.arange(60)[None]).isfinite().all()
    again, same = train_variant([TEXT], None, chosen, run=RunSettings(home=tmp_path, name="mine"))
    assert (again, same.measured) == (folder, report.measured)


def test_the_new_vector_of_a_decoder_learns_too(tmp_path):
    tiny("qwen", tmp_path / "base")
    chosen = replace(SMALL, rank=None)
    folder, _ = train_variant([TEXT], str(tmp_path / "base"), chosen, run=RunSettings(home=tmp_path, name="fine"))
    place = folder if folder.is_dir() else tmp_path / "runs" / "train" / "fine" / "rejected"
    begun = LandmarkVariant.from_pretrained(tmp_path / "base", SMALL.landmarks)
    assert not torch.equal(begun.miss, LandmarkVariant.from_pretrained(place).miss)


@pytest.mark.parametrize(
    ("changes", "base", "told"),
    [
        ({"landmarks": LandmarkSettings(block=4, train_length=32)}, None, "train_landmark"),
        ({"landmarks": MASKED.landmarks, "pass_keys": 0.2}, None, "answers nothing"),
        ({"rank": 4}, "gemma3-270m", "rank to 0"),
    ],
)
def test_what_cannot_be_trained_is_refused(tmp_path, changes, base, told):
    with pytest.raises(InputError, match=told):
        train_variant([TEXT], base, replace(SMALL, **changes), run=RunSettings(home=tmp_path))
    with pytest.raises(InputError, match="no text"):
        train_variant([" "], None, SMALL, run=RunSettings(home=tmp_path))


def test_the_command(tmp_path):
    (tmp_path / "one.txt").write_text(TEXT)
    given = ["--data", tmp_path / "one.txt", "--block", 4, "--train-length", 32, "--layers", 1, "--width", 16]
    given += ["--heads", 2, "--vocabulary", 300, "--steps", 3, "--batch", 2, "--learning-rate", 3e-3, "--masked", 0.2]
    given += ["--name", "mine", "--home", tmp_path / "home", "--json"]
    done = CliRunner().invoke(app, ["train", "landmark", *map(str, given)], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    wanted = LandmarkVariantSettings(block=4, train_length=32, masked=0.2)
    assert told["settings"]["landmarks"] == asdict(wanted)
