"""bench layers-codebook: its checks hold for the codebook, and would not for something else; cells are kept."""

from __future__ import annotations

import csv
import gzip
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from foveal.bench import layers_codebook, layers_codebook_agents, layers_codebook_text, layers_codebook_views
from foveal.bench.settings import BenchSettings
from foveal.errors import InputError
from foveal.nn.codebook import CodebookSettings, TaskCodebook


def test_the_exact_rows_are_met():
    rows = list(layers_codebook.exact(BenchSettings(quick=True)))
    assert [row.system for row in rows if row.ok is not True] == []
    assert len(rows) == 11


def test_a_nearest_code_would_not_learn():
    class Nearest(TaskCodebook):
        """The likeliest code alone, as in vector quantisation."""

        def shares(self, x):
            return torch.nn.functional.one_hot(super().shares(x).argmax(-1), self.settings.codes).float()

    layer = Nearest(CodebookSettings(width=40))
    assert layers_codebook.learns(layer, torch.randn(8, 40)) < 4


def test_curves():
    curve = [(0, 0.2), (100, 0.6), (300, 1.0)]
    assert layers_codebook_agents.area(curve) == pytest.approx((100 * 0.4 + 200 * 0.8) / 300)
    assert layers_codebook_agents.to_reach(curve, 0.6) == 100
    assert layers_codebook_agents.to_reach(curve[:1], 0.6) is None


def test_views_say_where_the_goal_is():
    views = layers_codebook_views.views(60, 3)
    assert views.cells.shape == (60, 49)
    for cells, (colour, thing), place in zip(views.cells, views.goals, views.places, strict=True):
        code = (4 + int(thing)) * 6 + int(colour)
        there = (cells == code).nonzero()[:, 0].tolist()
        assert int(place) == (there[0] if there else 49)
    goal, objects = views.answers()
    assert 0 < goal.float().mean() < 1
    assert objects.shape == (60, 18)
    assert objects.any(1).float().mean() > 0.5
    learnt, held = views.split(20)
    assert len(learnt.cells) == 20
    assert 30 < len(held.cells) < 40  # not the rest of the episode that was learnt from last
    assert not set(learnt.episodes.tolist()) & set(held.episodes.tolist())


def test_views_are_told_as_well_as_specified_by_peers_too():
    found = {arm: [{"accuracy": value}] for arm, value in (("none", 0.72), ("codebook", 0.97), ("linear", 0.94))}
    rows = {row.system: row for row in layers_codebook_views.accuracies(found, quick=False)}
    assert [rows[f"views, {arm}"].ok for arm in found] == [False, True, False]
    found["none"][0]["accuracy"] = 0.98
    rows = {row.system: row for row in layers_codebook_views.accuracies(found, quick=False)}
    assert rows["views, codebook"].ok is False  # no better than without a filter
    quick = [row.ok for row in layers_codebook_views.accuracies(found, quick=True)]
    assert quick == [None, False, None]


def test_mixes_ask_for_a_group_that_is_there_or_not():
    groups = torch.arange(36) % 4 * 5  # groups 0, 5, 10, 15
    mixes = layers_codebook_text.mixed(groups, 200, 0)
    assert 0.35 < mixes.there.float().mean() < 0.65
    assert len(mixes.there) == 200
    for pair, goal, there, other in zip(*mixes, strict=True):
        two = set(groups[pair].tolist())
        assert len(two) == 2
        assert (int(goal) in two) == bool(there)
        assert int(other) in two - {int(goal)}
        assert int(goal) % 5 == 0
    assert torch.equal(layers_codebook_text.mixed(groups, 200, 0).posts, mixes.posts)
    assert not torch.equal(layers_codebook_text.mixed(groups, 200, 1).posts, mixes.posts)
    with pytest.raises(InputError):
        layers_codebook_text.mixed(groups % 2, 10, 0)


@pytest.mark.parametrize("packed", [False, True])
def test_posts_are_cut_behind_their_tokens(tmp_path, packed):
    path = tmp_path / ("train.csv.gz" if packed else "train.csv")
    with (gzip.open if packed else open)(path, "wt", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("label", "subject", "text"))
        writer.writerow(("a", "s", "few words"))
        writer.writerow(("b", "s", 'a "quoted"\nline ' + "word " * 80))

    def offsets(text):
        return [(at, at + 1) for at, char in enumerate(text) if not char.isspace()]

    found = layers_codebook_text.posts(path, 5, SimpleNamespace(token_offsets=offsets), 0)
    assert [group for group, _ in found] == ["b"]
    assert len(offsets(found[0][1])) == layers_codebook_text.HALF


def test_the_cosines_threshold_is_learnt():
    learnt = torch.tensor([0.1, 0.2, 0.4, 0.5]), torch.tensor([False, False, True, True])
    held = torch.tensor([0.15, 0.39, 0.41, 0.45]), torch.tensor([False, True, True, False])
    assert layers_codebook_text.cosine(learnt, held) == 0.5


def test_agents_that_were_trained_are_not_trained_again(tmp_path, monkeypatch):
    settings = BenchSettings(cache=tmp_path, quick=True)
    from foveal.nn.agent_training import AgentTraining
    from foveal.training.ppo import PPOSettings

    small = AgentTraining(
        form={"hidden": 8, "bottleneck": "linear"}, episodes=2,
        ppo=PPOSettings(frames=128, environments=4, rollout=16, stretch=64, epochs=1),
    )  # fmt: skip
    monkeypatch.setattr(layers_codebook_agents, "training_of", lambda *_: small)
    monkeypatch.setattr(layers_codebook_agents, "ANEW_QUICK", 64)
    told = layers_codebook_agents._cell(settings, "reach", "linear", 0)
    assert [frames for frames, _ in told["curve"]] == [0, 64, 128]
    assert layers_codebook_agents._cell(settings, "reach", "linear", 0)["seconds"] == told["seconds"]
    moved = layers_codebook_agents._adapted(settings, "linear", 0)
    assert moved["learnt"] < 60_000
    assert np.isfinite(moved["after"]["success"])
    place = layers_codebook_agents._place(settings, "reach", "linear", 0)
    assert (place.parent / "told.json").is_file()
    assert (place / "agent.json").is_file()


def test_the_agent_that_is_adapted_is_that_of_its_cell(tmp_path, monkeypatch):
    """Trained otherwise, or by other code, it lies elsewhere: figures and agents would else be mixed."""
    from foveal.nn.agent_training import AgentTraining

    settings, form = BenchSettings(cache=tmp_path), {"bottleneck": "linear"}
    places = []
    for episodes, code in ((2, "before"), (3, "before"), (2, "mended")):
        made = AgentTraining(form=form, episodes=episodes)
        monkeypatch.setattr(layers_codebook_agents, "training_of", lambda *_, made=made: made)
        monkeypatch.setattr(layers_codebook_agents, "_code", lambda code=code: code)
        places.append(layers_codebook_agents._place(settings, "reach", "linear", 0))
    assert len(set(places)) == 3


def test_agents_are_trained_and_looked_at_as_specified():
    training = layers_codebook_agents.training_of(BenchSettings(), "codebook", 1)
    assert (training.ppo.frames, training.ppo.stretch, training.episodes) == (300_000, 20_000, 200)
    assert (training.ppo.environments, training.ppo.rollout, training.ppo.seed) == (16, 40, 1)


def test_every_arm_of_the_agents_is_to_reach():
    ends = {"success": 0.5, "SPL": 0.5, "SEL": 0.5, "steps": 5.0}
    found = {arm: [{"reached": ends, "chance": ends}] for arm in layers_codebook_agents.ARMS}
    for quick, least in ((True, "≥ 0.8"), (False, "≥ 0.9")):
        rows = layers_codebook_agents._efficiency(BenchSettings(quick=quick), "reach", found)
        told = {row.system: row.bar for row in rows if row.metric == "success"}
        assert told == {"reach, random actions": None, **{f"reach, {arm}": least for arm in found}}
