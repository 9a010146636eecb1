"""Models of streams: each road to the same numbers, against plain definitions; recipes that learn, stop and go on."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from nn.streams import drawn, in_pieces, token_by_token

from foveal.errors import InputError
from foveal.evaluation.event_sequences import Events
from foveal.evaluation.series import Labelled, Table
from foveal.nn.causal_attention import CausalAttention, StreamSettings, encoder_of, last_real
from foveal.nn.classifier import ClassifierSettings, StreamClassifier, classification, held_out
from foveal.nn.counts import CountForecaster, CountSettings, targets
from foveal.nn.decision_data import Trajectory, collected, episode, read_trajectories, write_trajectories
from foveal.nn.decisions import DecisionSettings, deciding, returns
from foveal.nn.event_model import EventModel, EventModelSettings, collate, event_forecasting, nats
from foveal.nn.forecaster import Forecaster, ForecasterSettings, forecasting
from foveal.nn.stream_training import fit, in_batches, load_model, save_model
from foveal.training.loop import LoopSettings
from foveal.training.runs import RunSettings

SMALL = StreamSettings(dim=16, heads=2, layers=2, dropout=0.0)


def small(mixer: str) -> StreamSettings:
    return StreamSettings(mixer=mixer, dim=16, heads=2, layers=2, dropout=0.0)


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


# -- encoders ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mixer", ["aaren", "attention", "gru", "lmm"])
def test_an_encoder_streams(mixer):
    encoder, x = encoder_of(small(mixer)).double(), drawn(2, 13, 16)
    whole, _ = encoder(x)
    torch.testing.assert_close(token_by_token(encoder, x)[0], whole)
    torch.testing.assert_close(in_pieces(encoder, x, [1, 6, 6])[0], whole)


def test_causal_attention_is_masked_softmax():
    layer, x = CausalAttention(SMALL.layer).double(), drawn(1, 7, 16)
    q, k, v = (one(x)[0].view(7, 2, 8).transpose(0, 1) for one in (layer.w_q, layer.w_k, layer.w_v))
    rows = []
    for t in range(7):
        share = ((k[:, : t + 1] @ q[:, t, :, None])[..., 0] / math.sqrt(8)).softmax(-1)
        rows.append((share[..., None] * v[:, : t + 1]).sum(1).flatten())
    torch.testing.assert_close(layer(x)[0][0], layer.w_o(torch.stack(rows)))


@pytest.mark.parametrize("mixer", ["aaren", "attention", "gru", "lmm"])
def test_padding_on_the_right_changes_nothing(mixer):
    encoder, x = encoder_of(small(mixer)).double(), drawn(2, 9, 16)
    mask = torch.arange(9) < torch.tensor([9, 4])[:, None]
    padded = last_real(encoder(x.masked_fill(~mask[..., None], 7.0), None, mask)[0], mask)
    torch.testing.assert_close(padded[1], encoder(x[1:, :4])[0][0, -1])
    torch.testing.assert_close(padded[0], encoder(x[:1])[0][0, -1])


@pytest.mark.parametrize("mixer", ["aaren", "attention", "gru", "lmm"])
def test_a_state_of_another_batch_or_layer_is_named(mixer):
    encoder, x = encoder_of(small(mixer)), drawn(2, 5, 16).float()
    _, state = encoder(x)
    for other in (
        StreamSettings(mixer=mixer, dim=16, heads=2, layers=3),
        StreamSettings(mixer=mixer, dim=32, heads=2, layers=2),
        StreamSettings(mixer="gru" if mixer == "aaren" else "aaren", dim=16, heads=2, layers=2),
    ):
        _, theirs = encoder_of(other)(drawn(2, 5, other.dim).float())
        for ask in (lambda theirs=theirs: encoder(x, theirs), lambda theirs=theirs: encoder.step(x[:, 0], theirs)):
            with pytest.raises(InputError, match="this layer needs"):
                ask()
    for ask in (lambda: encoder(x[:1], state), lambda: encoder.step(x[:1, 0], state)):
        with pytest.raises(InputError, match="2 rows; the input has 1"):
            ask()


def test_a_state_of_causal_attention_is_of_its_heads_and_width():
    layer, x = CausalAttention(small("attention").layer), drawn(2, 5, 16).float()
    _, state = layer(x)
    for dim, heads, words in ((16, 4, "4 heads of 4"), (32, 2, "2 heads of 16")):
        other = CausalAttention(StreamSettings(mixer="attention", dim=dim, heads=heads).layer)
        with pytest.raises(InputError, match=f"this layer needs .*{words}"):
            other(drawn(2, 5, dim).float(), state)
    with pytest.raises(InputError, match="2 rows; the input has 3"):
        layer(drawn(3, 5, 16).float(), state)
    with pytest.raises(InputError, match="2 rows; the input has 3"):
        layer.step(drawn(3, 16).float(), state)


def test_a_peer_takes_no_decay():
    with pytest.raises(InputError, match="Aaren's"):
        StreamSettings(mixer="gru", decay=0.1)


# -- forecasts ---------------------------------------------------------------------------------------------------------


def waves(rows: int = 400) -> Table:
    time = np.arange(rows)[:, None]
    values = np.sin(2 * np.pi * time / np.array([12, 20])) * [1, 5] + [0, 40]
    moments = tuple(datetime(2026, 1, 1) + timedelta(hours=at) for at in range(rows))
    return Table("waves.csv", ("a", "b"), values.astype(np.float32), moments)


def test_a_forecaster_learns_is_kept_and_goes_on(tmp_path):
    settings = ForecasterSettings(input=24, horizon=6, patch=4, encoder=SMALL)
    loop = LoopSettings(steps=60, batch=16, learning_rate=5e-3, evaluate_every=30)
    folder, report = fit(forecasting(waves(), settings), loop, run=RunSettings(home=tmp_path, name="waves"))
    before, after = report.measured["test"]
    assert after["mse"] < 0.3 * before["mse"]
    seen = {step: one["mse"] for step, one in report.curves.metrics}
    assert seen[report.curves.best_step] == min(seen.values()) == pytest.approx(report.measured["dev"][1]["mse"])
    model = load_model(folder, task="forecast")
    table = waves()
    told = model.forecast(table.values[:200])
    assert np.abs(told - table.values[200:206]).mean(0).max() < 2  # in the table's units: one swings by 5 around 40
    again, same = fit(forecasting(waves(), settings), loop, run=RunSettings(home=tmp_path, name="waves"))
    assert (again, same.measured) == (folder, report.measured)
    with pytest.raises(InputError, match="another name"):
        fit(forecasting(waves(300), settings), loop, run=RunSettings(home=tmp_path, name="waves"))
    with pytest.raises(InputError, match="needs 24 or more"):
        model.forecast(table.values[:10])
    with pytest.raises(InputError, match="for 'forecast'; needed"):
        load_model(folder, task="events")


def test_dlinear_is_two_maps_of_the_window():
    model = Forecaster(ForecasterSettings(input=24, horizon=6, encoder=None)).double()
    x = drawn(1, 24, 1)
    series = x[0, :, 0] - x.mean()
    padded = torch.cat([series[:1].expand(12), series, series[-1:].expand(12)])
    slow = torch.stack([padded[at : at + 25].mean() for at in range(24)])
    expected = model.slow(slow) + model.quick(series - slow) + x.mean()
    torch.testing.assert_close(model(x)[0, :, 0], expected)


def test_patches_may_overlap():
    model = Forecaster(ForecasterSettings(input=24, horizon=6, patch=8, stride=4, encoder=SMALL)).double().eval()
    seen = []
    model.encoder.register_forward_hook(lambda _, given, __: seen.append(given[0]))
    x = drawn(1, 24, 1)
    model(x)
    scaled = (x[0, :, 0] - x.mean()) / (x.var(unbiased=False) + 1e-5).sqrt()
    expected = [model.embed(scaled[at : at + 8]) for at in (0, 4, 8, 12, 16)]
    torch.testing.assert_close(seen[0][0] - model.places, torch.stack(expected))


def test_too_few_rows_and_broken_patches_are_refused():
    with pytest.raises(InputError, match="too few"):
        forecasting(waves(60), ForecasterSettings(input=24, horizon=30, encoder=SMALL))
    newest_first = replace(waves(400), moments=waves(400).moments[::-1])
    with pytest.raises(InputError, match="back in time"):
        forecasting(newest_first, ForecasterSettings(input=24, horizon=8, encoder=SMALL))
    with pytest.raises(InputError, match="whole patches"):
        ForecasterSettings(input=20, patch=8)
    with pytest.raises(InputError, match="patch = 8, 3 rows apart; it needs whole patches"):
        ForecasterSettings(input=24, patch=8, stride=3)
    with pytest.raises(InputError, match="NaN in row 0, token 3"):
        Forecaster(ForecasterSettings(input=8, encoder=SMALL))(torch.full((1, 8, 1), float("nan")).index_fill_(
            1, torch.tensor([0, 1, 2]), 1.0))  # fmt: skip


# -- classes -----------------------------------------------------------------------------------------------------------


def tones(count: int, seed: int) -> Labelled:
    draw = np.random.default_rng(seed)
    series, labels = [], []
    for at in range(count):
        quick = at % 2
        time = np.arange(draw.integers(12, 20))
        series.append(
            np.sin(time * (1.5 if quick else 0.3))[:, None].astype(np.float32)
            + draw.normal(0, 0.1, (len(time), 1)).astype(np.float32)
        )
        labels.append("quick" if quick else "slow")
    return Labelled(tuple(series), tuple(labels))


def test_a_classifier_learns_and_streams(tmp_path):
    recipe = classification(tones(40, 0), tones(30, 1), ClassifierSettings(encoder=SMALL))
    loop = LoopSettings(steps=60, batch=8, learning_rate=5e-3, evaluate_every=20)
    folder, report = fit(recipe, loop, run=RunSettings(home=tmp_path, name="tones"))
    assert report.measured["test"][1]["accuracy"] > 0.9
    model: StreamClassifier = load_model(folder)
    x = torch.from_numpy(tones(1, 2).series[0])[None]
    state = model.init_state(1)
    for value in x.unbind(1):
        logits, state = model.step(value, state)
    torch.testing.assert_close(logits, model(x), atol=1e-5, rtol=0)
    with pytest.raises(InputError, match="there already"):  # else it would be told how another test went
        fit(
            classification(tones(40, 0), tones(30, 2), ClassifierSettings(encoder=SMALL)),
            loop,
            run=RunSettings(home=tmp_path, name="tones"),
        )
    with pytest.raises(InputError, match="class 'loud'"):
        classification(tones(4, 0), Labelled(tones(1, 0).series, ("loud",)))
    with pytest.raises(InputError, match="one series only"):
        classification(tones(2, 0), tones(2, 1))


def test_of_every_class_one_series_is_learnt_from():
    for share in (0.1, 0.9, 1.0):
        held = held_out([0, 0, 1, 1, 1, 2], share, seed=0)
        assert not {0, 1} <= held
        assert not {2, 3, 4} <= held
        assert 5 not in held
        assert len(held) == (2 if share == 0.1 else 3)


def test_files_that_hold_no_model_are_named(tmp_path):
    plain = ForecasterSettings(input=8, horizon=2, patch=4, encoder=None, mean=(0.0,), spread=(1.0,))
    folder = save_model(Forecaster(plain), "forecast", tmp_path / "one")
    assert load_model(folder, task="forecast").settings == plain
    (folder / "model.safetensors").unlink()
    with pytest.raises(InputError, match="cannot be read"):
        load_model(folder)
    for told in ("[1]", "{}"):
        (folder / "stream.json").write_text(told)
        with pytest.raises(InputError, match="holds none"):
            load_model(folder)


# -- events ------------------------------------------------------------------------------------------------------------


def event_model(marks: int = 3) -> EventModel:
    settings = EventModelSettings(encoder=SMALL, components=4, marks=marks, mean_gap=2.0, log_mean=-0.3, log_spread=1.2)
    return EventModel(settings).double().eval()


def test_measuring_goes_where_the_model_is():
    model = event_model().to("meta")  # a device that is not the processor, and computes nothing
    assert model.init_state(2).time.device.type == "meta"
    rows = [{"x": torch.ones(2)}, {"x": torch.ones(2)}]
    for like, device in ((model, "meta"), (None, "cpu"), (lambda x: x, "cpu")):
        batches = list(in_batches(rows, lambda some: {"x": torch.stack([one["x"] for one in some])}, 1, like=like))
        assert [one["x"].device.type for one in batches] == [device, device]


def test_the_density_of_a_gap_sums_to_one_and_its_mean_is_the_expected_one():
    model = event_model()
    told = model(torch.tensor([[0.0, 1.0, 3.0]]).double(), torch.tensor([[0, 2, 1]]))
    last = type(told)(*(one[0, -1].detach() for one in told))
    edges = torch.logspace(-9, 7, 40_001, dtype=torch.float64)  # gaps in the data's unit
    middle, width = (edges[1:] + edges[:-1]) / 2, edges.diff()
    density = (-model.time_nats(last, middle)).exp() / model.settings.mean_gap  # of gaps as they are
    assert float((density * width).sum()) == pytest.approx(1, abs=1e-4)
    assert float((density * middle * width).sum()) == pytest.approx(float(model.expected(last)), rel=1e-3)


@pytest.mark.parametrize("mixer", ["aaren", "attention", "lmm"])
def test_events_one_by_one_are_told_as_all_at_once(mixer):
    settings = EventModelSettings(encoder=small(mixer), components=4, marks=3, mean_gap=2.0)
    model = EventModel(settings).double().eval()
    batch = collate([Events(np.array([5.0, 5.5, 9.0, 9.0, 12.0]), np.array([0, 2, 1, 1, 0]))])
    batch["gaps"] = batch["gaps"].double()
    time, mark, _, _ = nats(model, batch)
    state, told_time = model.init_state(1), []
    for at in range(4):
        told, state = model.step(batch["gaps"][:, at], batch["marks"][:, at], state, first=at == 0)
        told_time.append(model.time_nats(told, batch["gaps"][:, at + 1]))
    torch.testing.assert_close(torch.cat(told_time), time)
    assert torch.isfinite(time).all()  # two events at one time
    assert len(mark) == 4


def test_a_clock_that_has_run_for_long_still_moves():
    """After a million mean gaps a float32 clock moves by sixteenths; here by what came, alone and all at once."""
    model = EventModel(EventModelSettings(encoder=small("aaren"), components=4, marks=3)).eval()
    late, mark = 2.0**24, torch.zeros(1, dtype=torch.long)
    seen = []
    with torch.no_grad():
        for begin in (0.0, late):
            told, reading = model.step(torch.zeros(1), mark, model.init_state(1), first=True)
            reading = reading._replace(time=reading.time + begin)
            for _ in range(8):
                told, reading = model.step(torch.full((1,), 0.25), mark, reading)
            seen.append(float(reading.time) - begin)
        assert seen == [2.0, 2.0]
        assert told.weights.dtype == torch.float32
        gaps = torch.tensor([[0.0, late, *[0.25] * 8]])
        tokens = []
        model.encoder.register_forward_pre_hook(lambda _, given: tokens.append(given[0]))
        model(gaps, torch.zeros(1, 10, dtype=torch.long))
        phase = tokens[0][0, 3:] - tokens[0][0, 2]  # of gaps alike, so that only the clock tells them apart
    turns = model.turns.double()
    times = late + 0.25 * torch.arange(1, 9, dtype=torch.float64)
    angles = times[:, None] * turns
    known = torch.stack([angles.sin(), angles.cos()], -1).flatten(1)
    torch.testing.assert_close(phase.double(), known[1:] - known[0], atol=1e-5, rtol=0)


@pytest.mark.slow
def test_an_event_model_beats_a_constant_rate(tmp_path):
    draw = np.random.default_rng(0)
    made = []
    for _ in range(24):
        marks = np.arange(30) % 2  # after a 0 always a 1, and soon; after a 1 a 0, and late
        gaps = np.where(marks[:-1] == 0, 0.1, 3.0) * draw.lognormal(0, 0.1, 29)
        made.append(Events(np.concatenate([[0], gaps.cumsum()]), marks))
    recipe = event_forecasting(made[:20], made[20:], EventModelSettings(encoder=SMALL, components=4))
    loop = LoopSettings(steps=60, batch=8, learning_rate=1e-2, evaluate_every=30)
    _, report = fit(recipe, loop, run=RunSettings(home=tmp_path, name="ticks"))
    before, after = report.measured["test"]
    assert after["nll"] < before["nll"] - 1
    assert after["accuracy"] == 1
    assert after["rmse"] < 0.5 * before["rmse"]


def test_marks_that_were_not_learnt_are_named():
    model = event_model()
    gaps, marks = torch.ones(1, 2, dtype=torch.float64), torch.tensor([[0, 3]])
    with pytest.raises(InputError, match=r"marks of 0 to 3; it was made for whole numbers from 0 to 2"):
        model(gaps, marks)
    with pytest.raises(InputError, match="marks of 3 to 3"):
        model.step(gaps[:, 0], marks[:, 1], model.init_state(1))
    with pytest.raises(InputError, match=r"gaps \(1, 2\) and marks \(1, 1\)"):
        model(gaps, marks[:, :1])
    of_names = Events(np.arange(3.0), np.array([0, 1, 123_456_789_012]))
    with pytest.raises(InputError, match="A mark is 123,456,789,012"):
        event_forecasting([of_names] * 3, [of_names])


# -- decisions ---------------------------------------------------------------------------------------------------------


@dataclass
class Steps:
    """An environment whose observation says which of two buttons pays; ten steps an episode."""

    rng: np.random.Generator = field(default_factory=lambda: np.random.default_rng(0))
    action_space: SimpleNamespace = field(default_factory=SimpleNamespace)
    observation_space: SimpleNamespace = field(default_factory=lambda: SimpleNamespace(shape=(2,)))
    spec: SimpleNamespace = field(default_factory=lambda: SimpleNamespace(max_episode_steps=10))
    at: int = 0

    def __post_init__(self):
        self.action_space = SimpleNamespace(n=2, seed=lambda _: None, sample=lambda: int(self.rng.integers(2)))

    def seen(self):
        self.right = int(self.rng.integers(2))
        return np.array([self.right, self.at / 10], np.float32)

    def reset(self, seed=None):
        self.rng, self.at = np.random.default_rng(seed), 0
        return self.seen(), {}

    def step(self, action):
        self.at += 1
        reward = float(action == self.right)
        return self.seen(), reward, self.at == 10, False, {}

    def close(self):
        pass


def right_button(observation):
    return int(observation[0])


@pytest.mark.slow
def test_a_decision_model_learns_to_reach_what_is_wanted(tmp_path, monkeypatch):
    monkeypatch.setattr("foveal.nn.decisions.CONTROLLERS", {"steps": right_button})
    data = collected(Steps(), right_button, 30, seed=0)
    recipe = deciding("steps", data, DecisionSettings(encoder=SMALL, context=5), windows=2000, make=lambda _: Steps())
    loop = LoopSettings(steps=80, batch=16, learning_rate=5e-3, evaluate_every=40)
    folder, report = fit(recipe, loop, run=RunSettings(home=tmp_path, name="steps"))
    before, after = report.measured["test"]
    assert after["normalised return"] > 90 > before["normalised return"]
    model = load_model(folder)
    assert np.mean(returns(model, "steps", range(5), make=lambda _: Steps(), stream=True)) > 8


def test_acting_from_a_state_is_acting_from_the_whole_past():
    settings = DecisionSettings(
        encoder=SMALL, observations=2, actions=2, steps=10, best=10.0, scale=10.0, mean=(0.0, 0.0), spread=(1.0, 1.0)
    )
    from foveal.nn.decisions import DecisionModel

    model = DecisionModel(settings).eval()
    to_go, seen, done = drawn(1, 6).float(), drawn(1, 6, 2).float(), torch.tensor([[0, 1, 1, 0, 1, 0]])
    whole = model(to_go, seen, done, torch.arange(6)[None])
    state, told = model.begin(1), []
    for at in range(6):
        before = done[:, at - 1] if at else None
        one, state = model.step(to_go[:, at], seen[:, at], at, state, before)
        told.append(one)
    torch.testing.assert_close(torch.stack(told, 1), whole, atol=1e-5, rtol=0)
    changed = model(to_go, seen, done.index_fill(1, torch.tensor([5]), 1), torch.arange(6)[None])
    torch.testing.assert_close(changed, whole)  # an action is not told from itself


def test_trajectories_are_read_as_they_were_written(tmp_path):
    one = episode(Steps(), right_button, 3)
    write_trajectories(tmp_path / "some.jsonl", [one])
    (found,) = read_trajectories(tmp_path / "some.jsonl")
    np.testing.assert_array_equal(found.observations, one.observations)
    np.testing.assert_array_equal(found.to_go, [sum(one.rewards[at:]) for at in range(10)])
    (tmp_path / "bad.jsonl").write_text(json.dumps({"observations": [[1]], "actions": [1, 2], "rewards": [1]}))
    with pytest.raises(InputError, match="for each step"):
        read_trajectories(tmp_path / "bad.jsonl")
    for rewards in ([float("nan")] * 2, [[1.0], [1.0]]):
        told = {"observations": [[1], [2]], "actions": [0, 1], "rewards": rewards}
        (tmp_path / "bad.jsonl").write_text(json.dumps(told))
        with pytest.raises(InputError, match="for each step"):
            read_trajectories(tmp_path / "bad.jsonl")


@pytest.mark.parametrize(
    ("observed", "actions"), [(5, [0, 1]), (2, [0, 2]), (2, [0, -1]), (2, [0, 0.5]), (2, ["a", "b"]), (2, [[0], [1]])]
)
def test_trajectories_that_the_environment_could_not_have_seen_are_refused(observed, actions):
    one = Trajectory(np.zeros((2, observed), np.float32), np.asarray(actions), np.zeros(2, np.float32))
    with pytest.raises(InputError, match="2 numbers a step and takes a whole number from 0 to 1"):
        deciding("steps", [one], make=lambda _: Steps())


@dataclass
class Levers(Steps):
    """The same with two levers, of bounds of their own; the first is paid for."""

    def __post_init__(self):
        low, high = np.array([-1.0, 0.0], np.float32), np.array([2.0, 1.0], np.float32)
        self.taken: list[np.ndarray] = []
        self.action_space = SimpleNamespace(shape=(2,), low=low, high=high, seed=lambda _: None, sample=lambda: low)

    def step(self, action):
        self.taken.append(np.asarray(action))
        self.at += 1
        return self.seen(), float(action[0]), self.at == 10, False, {}


def test_actions_that_are_numbers_lie_within_each_ones_bounds():
    made: list[Levers] = []

    def make(_):
        made.append(Levers())
        return made[-1]

    one = Trajectory(np.zeros((10, 2), np.float32), np.full((10, 2), 0.5), np.ones(10, np.float32))
    model = deciding("levers", [one], DecisionSettings(encoder=SMALL), windows=4, make=make).model
    assert model.settings.highest == 2.0
    with torch.no_grad():
        model.act.bias.copy_(torch.tensor([9.0, -9.0]))  # 2 and -2
    returns(model, "levers", [0], make=make)
    np.testing.assert_allclose(made[-1].taken, [[2.0, 0.0]] * 10, atol=1e-3)
    with torch.no_grad():
        model.act.bias.copy_(torch.tensor([0.3, -6.0]))  # the second is always 0 in the end: that is what was done
    for stream in (False, True):
        returns(model, "levers", [0], make=make, stream=stream)
    assert all(action[1] == 0 for action in made[-1].taken)
    np.testing.assert_allclose(made[-1].taken, made[-2].taken, atol=1e-4)
    wide = replace(one, actions=np.zeros((10, 3)))
    with pytest.raises(InputError, match="takes 2 numbers"):
        deciding("levers", [wide], make=make)


@pytest.mark.parametrize("name", ["observation_space", "action_space"])
def test_environments_that_show_no_list_of_numbers_are_refused(name):
    def make(_):
        made = Steps()
        setattr(made, name, SimpleNamespace(shape=None if name == "observation_space" else (2,)))
        return made

    one = Trajectory(np.zeros((2, 1), np.float32), np.zeros(2), np.zeros(2, np.float32))
    with pytest.raises(InputError, match="needs a list of numbers that is seen"):
        deciding("steps", [one], make=make)


# -- counts ------------------------------------------------------------------------------------------------------------


def test_counts_day_by_day_are_told_as_all_at_once():
    model = CountForecaster(CountSettings()).double().eval()
    torch.nn.init.normal_(model.head.weight, std=0.3)
    counts, votes = drawn(3, 40).abs().mul(9).round(), drawn(3, 40, seed=1).abs().round()
    weekdays = (torch.arange(40) % 7).expand(3, -1)
    whole, last = model(counts, votes, weekdays)
    state = model.init_state(3)
    for at in range(40):
        told, state = model.step(counts[:, at], votes[:, at], weekdays[:, at], state)
        for one, other in zip(told, whole, strict=True):
            torch.testing.assert_close(one, other[:, at])
    assert state.nbytes == last.nbytes == model.init_state(3).nbytes
    assert (told.low <= told.expected).all()
    assert (told.expected <= told.high).all()


def test_an_untrained_model_tells_the_seasonal_mean():
    counts = torch.arange(60.0)[None]
    told, _ = CountForecaster(CountSettings())(counts, torch.zeros(1, 60), (torch.arange(60) % 7)[None])
    expected = torch.tensor([float(np.mean([60 + ahead - 7 * week for week in (1, 2, 3, 4)])) for ahead in range(7)])
    torch.testing.assert_close(told.expected[0, -1, :-1], expected + 0.05)
    torch.testing.assert_close(told.expected[0, -1, -1], expected.sum() + 0.05)
    few = torch.tensor([1.0, 1, 1, 1, 0, 1, 2])  # after three days: their mean, or the one of that weekday
    torch.testing.assert_close(told.expected[0, 2, :7], few + 0.05)


def test_targets_are_the_next_days_and_their_sum():
    later, there = targets(torch.tensor([[1.0, 2, 3, 4, 5]]), 2)
    assert later[0, :3].tolist() == [[2, 3, 5], [3, 4, 7], [4, 5, 9]]
    assert there[0].all(-1).tolist() == [True, True, True, False, False]
    assert there[0, 3].tolist() == [True, False, False]
