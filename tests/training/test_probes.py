"""A linear probe reads what a plane can tell, and nothing else."""

from __future__ import annotations

import pytest
import torch

from foveal.errors import InputError
from foveal.training.probes import LinearProbe


def test_it_finds_planes_whatever_the_scale():
    torch.manual_seed(0)
    x = torch.randn(600, 8) * torch.tensor([1, 10, 1e-3, 5, 1, 1, 100, 1]) + 7
    y = torch.stack([x[:, 0] > 7, x[:, 2] > 7, torch.rand(600) < 0.5], 1)
    probe = LinearProbe.fit(x[:400], y[:400])
    assert probe.accuracy(x[400:, :], y[400:])  # a number
    told = probe.told(x[400:])
    right = (told == y[400:]).float().mean(0)
    assert right[:2].min() > 0.95
    assert right[2] < 0.65


def test_f1_by_hand():
    probe = LinearProbe(torch.zeros(3), torch.ones(3), torch.eye(3), torch.zeros(3))
    x = torch.tensor([[1.0, 1, 1], [1, -1, 1], [-1, -1, 1]])
    y = torch.tensor([[True, False, False], [False, True, False], [True, False, False]])
    # first: told 1 1 0, right 1 0 1: 2·1 / (2 + 2); second: told 1 0 0, right 0 1 0: 0; third has no yes
    assert probe.f1(x, y) == pytest.approx((0.5 + 0) / 2)


def test_it_is_the_minimum():
    torch.manual_seed(0)
    x, y = torch.randn(80, 3), torch.rand(80, 2) < 0.4
    probe = LinearProbe.fit(x, y)
    z = ((x - probe.mean) / probe.spread).double()
    weight, bias = probe.weight.double().requires_grad_(), probe.bias.double().requires_grad_()
    logits = z @ weight + bias
    loss = (torch.nn.functional.softplus(logits) - y * logits).sum() + 0.5 * weight.square().sum()
    loss.backward()
    assert max(float(weight.grad.abs().max()), float(bias.grad.abs().max())) < 1e-2


def test_shapes_that_do_not_fit():
    for x, y in ((3, 2), (2,)), ((0, 2), (0, 1)), ((3,), (3, 1)):
        with pytest.raises(InputError):
            LinearProbe.fit(torch.zeros(x), torch.zeros(y))


def test_balanced_rare_answers_count_as_much():
    """As if each had been there as often as the others: four times, where one of five is a yes."""
    torch.manual_seed(0)
    y = (torch.arange(2000) % 5 == 0)[:, None]
    x = torch.randn(2000, 1) + 0.5 * y
    repeated = torch.cat([torch.arange(2000), *[y[:, 0].nonzero()[:, 0]] * 3])
    told, right = LinearProbe.fit(x, y, balanced=True), LinearProbe.fit(x[repeated], y[repeated])
    torch.testing.assert_close(told.weight[0] / told.spread, right.weight[0] / right.spread, rtol=0.01, atol=0)
    assert LinearProbe.fit(x, y).told(x).float().mean() < 0.1
    assert 0.3 < told.told(x).float().mean() < 0.7
