"""Odd data for models of streams: what is padded, what is out of range, what another version made."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from nn.streams import drawn
from typer.testing import CliRunner

from foveal.cli.main import app
from foveal.errors import InputError, UnknownName
from foveal.evaluation.event_sequences import Events
from foveal.nn.causal_attention import StreamSettings
from foveal.nn.classifier import ClassifierSettings, StreamClassifier
from foveal.nn.event_model import EventModel, EventModelSettings, event_forecasting
from foveal.nn.forecaster import Forecaster, ForecasterSettings
from foveal.nn.stream_training import load_model, save_model

SMALL = StreamSettings(dim=16, heads=2, layers=1, dropout=0.0)


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


def test_padding_of_a_series_may_be_no_number():
    settings = ClassifierSettings(encoder=SMALL, classes=("a", "b"), mean=(0.0,), spread=(1.0,))
    model, x = StreamClassifier(settings).eval(), drawn(2, 7, 1).float()
    mask = torch.arange(7) < torch.tensor([[7], [3]])
    padded = x.masked_fill(~mask[..., None], torch.nan)
    torch.testing.assert_close(model(padded, mask), model(x, mask))
    with pytest.raises(InputError, match="NaN in row 1, token 3"):
        model(padded)
    with pytest.raises(InputError, match="no tokens"):
        model(x[:, :0])


@pytest.mark.parametrize(
    "wrong", [{"layers": 2.5}, {"layers": 0}, {"feed_forward": 1.5}, {"mixer": "gru", "dim": 8.0}], ids=str
)
def test_an_encoder_of_no_whole_number_is_refused(wrong):
    name, value = list(wrong.items())[-1]
    with pytest.raises(InputError, match=rf"A stream encoder got {name} = {value}; it needs"):
        StreamSettings(**{"dim": 16, **wrong})


def test_events_are_read_at_an_odd_width():
    encoder = StreamSettings(dim=9, heads=3, layers=1, dropout=0.0)
    model = EventModel(EventModelSettings(encoder=encoder, components=2, marks=2)).eval()
    told = model(torch.tensor([[0.0, 1.0, 2.0]]), torch.tensor([[0, 1, 0]]))
    assert torch.isfinite(told.means).all()


@pytest.mark.parametrize("unit", [1e-300, 1e33])
def test_times_beyond_float32_ask_for_another_unit(unit):
    rows = [Events(np.arange(1.0, 6.0) * unit, np.zeros(5, np.int64))] * 3
    with pytest.raises(InputError, match="another unit"):
        event_forecasting(rows, rows[:1])


def test_a_model_of_another_version_is_named(tmp_path):
    plain = ForecasterSettings(input=8, horizon=2, patch=4, encoder=None, mean=(0.0,), spread=(1.0,))
    folder = save_model(Forecaster(plain), "forecast", tmp_path / "one")
    told = json.loads((folder / "stream.json").read_text())
    for settings in ({**told["settings"], "of tomorrow": 1}, {"input": 8}, None):
        (folder / "stream.json").write_text(json.dumps({**told, "settings": settings}))
        with pytest.raises(InputError, match="another version"):
            load_model(folder)


@pytest.mark.parametrize("task", ["forecast", "decide"])
def test_a_test_file_that_would_be_passed_over_is_refused(task, tmp_path):
    """The command trained, and measured something else than the file that was named."""
    named = str(tmp_path / "own.csv")
    command = ["train", "aaren", task, "--data", named, "--test-data", named]
    said = CliRunner().invoke(app, command, env={"FOVEAL_HOME": str(tmp_path)}).exception
    assert isinstance(said, InputError)
    assert f"The task {task} takes no --test-data" in str(said)


@pytest.mark.parametrize("task", ["forecast", "classify"])
def test_a_mixer_that_is_not_there_is_told_all_that_are(task, tmp_path):
    said = CliRunner().invoke(app, ["train", "aaren", task, "--mixer", "nope", "--home", str(tmp_path)]).exception
    assert isinstance(said, UnknownName)
    assert "'nope'. There are: aaren, attention, gru, lmm; of forecast and decide also linear." in str(said)
