"""PPO's parts against their definitions by hand, and a run that goes on after a kill as if there had been none."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from foveal.errors import InputError, StorageFull
from foveal.training.ppo import Actor, PPOSettings, advantages, learn, policy_loss, train_ppo, value_loss


def by_definition(rewards, values, ends, last, discount, trace):
    """A_t as the sum over later steps of (discount · trace)^k d_{t+k}, up to the episode's end."""
    steps = len(rewards)
    after = [*values[1:], last]
    surprise = [
        rewards[t] + (0 if ends[t] else discount * after[t]) - values[t] for t in range(steps)
    ]  # what came, more than was expected
    found = []
    for t in range(steps):
        total, weight = 0.0, 1.0
        for later in range(t, steps):
            total += weight * surprise[later]
            if ends[later]:
                break
            weight *= discount * trace
        found.append(total)
    return found


def test_advantages_by_hand():
    rewards, values = torch.tensor([[1.0], [0.0], [2.0]]), torch.tensor([[0.5], [1.0], [0.25]])
    ends = torch.tensor([[False], [True], [False]])
    told = advantages(rewards, values, ends, torch.tensor([4.0]), 0.5, 0.5)
    # d = 1 + .5·1 - .5 = 1;  0 - 1 = -1 (an end);  2 + .5·4 - .25 = 3.75;  A_0 = 1 + .25·(-1)
    assert told[:, 0].tolist() == [0.75, -1.0, 3.75]


def test_advantages_of_many_environments():
    draw = np.random.default_rng(0)
    rewards, values, last = draw.normal(size=(9, 4)), draw.normal(size=(9, 4)), draw.normal(size=4)
    ends = draw.random((9, 4)) < 0.3
    told = advantages(*(torch.tensor(one) for one in (rewards, values, ends, last)), 0.97, 0.9)
    for env in range(4):
        right = by_definition(rewards[:, env], values[:, env], ends[:, env], last[env], 0.97, 0.9)
        assert np.allclose(told[:, env], right)


def test_the_losses_by_hand():
    ratio, gain = torch.tensor([1.5, 0.5, 1.5, 0.9]), torch.tensor([1.0, 1.0, -1.0, -1.0])
    # min(1.5, 1.2), min(.5, .8), min(-1.5, -1.2), min(-.9, -.9)
    assert float(policy_loss(ratio, gain, 0.2)) == pytest.approx(-(1.2 + 0.5 - 1.5 - 0.9) / 4)
    # (3 - 1)² against (1 + .2 - 1)²;  (0 - 2)² against (.8 - 2)²
    told = value_loss(torch.tensor([3.0, 0.0]), torch.tensor([1.0, 1.0]), torch.tensor([1.0, 2.0]), 0.2)
    assert float(told) == pytest.approx(0.5 * (4 + 4) / 2)


class Corridors:
    """Five cells in a row; the goal is one end or the other, and it is seen: right or left until it is there."""

    count = 8

    def reset(self, seed):
        self.draw = np.random.default_rng(seed)
        self.at, self.goal, self.steps = np.zeros(8, int), np.zeros(8, int), np.zeros(8, int)
        for place in range(8):
            self._begin(place)
        return self._seen()

    def step(self, actions):
        self.at = np.clip(self.at + np.where(actions == 1, 1, -1), 0, 4)
        self.steps += 1
        rewards = np.where(self.at == 4 * self.goal, 1.0, -0.05).astype(np.float32)
        ends = (self.at == 4 * self.goal) | (self.steps >= 10)
        for place in np.nonzero(ends)[0]:
            self._begin(place)
        return self._seen(), rewards, ends

    def _begin(self, place):
        self.at[place], self.goal[place], self.steps[place] = 2, self.draw.integers(2), 0

    def _seen(self):
        return (torch.from_numpy(np.stack([self.at, self.goal], 1)).float(),)


class Small(nn.Module):
    """Two layers, a memory that is only carried, and dropout."""

    def __init__(self, dropout=0.0):
        super().__init__()
        torch.manual_seed(0)
        self.body = nn.Sequential(nn.Linear(2, 16), nn.Tanh(), nn.Dropout(dropout))
        self.actor, self.critic = nn.Linear(16, 2), nn.Linear(16, 1)

    def begin(self, rows):
        return torch.zeros(rows, 1)

    def act(self, seen, state, starts):
        x = self.body(seen[0])
        return self.actor(x), self.critic(x)[..., 0], state.masked_fill(starts[:, None], 0) + 1

    def unroll(self, seen, starts, state):
        return self.act(seen, state, starts.any(0))[:2]


def of_success(policy):
    worlds, won, done = Corridors(), 0, 0
    state, starts, seen = policy.begin(8), torch.ones(8, dtype=torch.bool), worlds.reset(99)
    for _ in range(30):
        logits, _, state = policy.act(seen, state, starts)
        seen, rewards, ends = worlds.step(logits.argmax(-1).numpy())
        won, done, starts = won + int((rewards == 1).sum()), done + int(ends.sum()), torch.from_numpy(ends)
    return {"success": won / max(1, done)}


SMALL = PPOSettings(frames=4800, environments=8, rollout=20, learning_rate=1e-2, stretch=1600, minibatches=2)


def run(folder, policy=None, settings=SMALL, **options):
    policy = policy or Small()
    given = {"identity": {"what": "corridors"}, "evaluate": of_success, "metric": "success", **options}
    return policy, train_ppo(policy, Corridors(), settings, folder, **given)


def test_it_learns_to_go_where_the_goal_is(tmp_path):
    _, curves = run(tmp_path)
    assert curves.metrics[0][1]["success"] < 0.9
    assert curves.metrics[-1][1]["success"] == 1
    assert (curves.steps, [frames for frames, _ in curves.metrics]) == (4800, [0, 1600, 3200, 4800])
    assert curves.metrics[-1][1]["ratio spread"] < 1e-6


def test_a_run_that_was_killed_goes_on_as_if_it_had_not_been(tmp_path):
    few = replace(SMALL, frames=960, stretch=320)
    whole, curves = run(tmp_path / "whole", Small(0.1), few)
    shown = []

    def stop(progress):
        shown.append(progress)
        if progress.step > 400:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "cut", Small(0.1), few, on_progress=stop)
    again, on = run(tmp_path / "cut", Small(0.1), few)
    assert on.resumed_at == 320
    assert on.losses == curves.losses
    assert on.metrics == curves.metrics
    for name, value in whole.state_dict().items():
        assert torch.equal(again.state_dict()[name], value), name
    assert shown[0].steps == 960


def test_a_full_disk_is_told_and_leaves_nothing_half(tmp_path, monkeypatch):
    few = replace(SMALL, frames=320, stretch=320)

    def full(_, place):
        raise RuntimeError(f"[enforce fail at inline_container.cc] {place}: No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(torch, "save", full)
        with pytest.raises(StorageFull, match="Make room"):
            run(tmp_path, settings=few)
    assert not list(tmp_path.glob("checkpoint-*"))
    assert run(tmp_path, settings=few)[1].steps == 320


def test_another_run_is_refused(tmp_path):
    run(tmp_path, settings=replace(SMALL, frames=160, stretch=160))
    with pytest.raises(InputError, match="of another run"):
        run(tmp_path, identity={"what": "something else"})


def test_dropout_is_left_out_while_acting():
    worlds, policy = Corridors(), Small(0.5)
    spreads = {}
    for plain in (True, False):
        settings = PPOSettings(environments=8, rollout=20, acts_plain=plain)
        torch.manual_seed(0)
        actor = Actor(policy, worlds, settings, 0)
        rollout = actor.rollout()
        with torch.no_grad():
            policy.eval()
            told = policy.unroll(rollout.seen, rollout.starts, rollout.state)[0].log_softmax(-1)
        apart = (told.gather(-1, rollout.actions[..., None])[..., 0] - rollout.told).abs().max()
        assert (apart < 1e-6) == plain
        spreads[plain] = learn(policy, torch.optim.Adam(policy.parameters(), lr=0.0), rollout, settings).spread
    assert min(spreads.values()) > 1e-3  # what is learnt with has dropout, either way


def test_what_it_does_not_take():
    for wrong in ({"frames": 0}, {"clip": 0}, {"discount": 1.5}, {"minibatches": 0}, {"learning_rate": math.nan}):
        with pytest.raises(InputError):
            PPOSettings(**wrong)
    with pytest.raises(InputError, match="two steps or more"):
        PPOSettings(environments=1, rollout=1)
