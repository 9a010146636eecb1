"""A state is a tree to PyTorch: what flattens, maps or exports outputs goes through its tensors."""

from __future__ import annotations

import warnings

import pytest
import torch
from torch.utils import _pytree as pytree

import foveal.nn as layers
from foveal.nn.states import State

LAYERS = {
    "lmm": lambda: layers.LMM(layers.TitansSettings(dim=8, variant="lmm", heads=2, memory={"heads": 2})),
    "mac": lambda: layers.MAC(layers.TitansSettings(dim=8, variant="mac", heads=2, window=16, memory={"heads": 2})),
    "mag": lambda: layers.MAG(layers.TitansSettings(dim=8, heads=2, window=4, memory={"heads": 2})),
    "aaren": lambda: layers.AarenEncoder(layers.AarenSettings(dim=8, heads=2, conv_kernel=3), layers=2),
    "routing": lambda: layers.RoutingAttention(layers.RoutingSettings(dim=8, clusters=2)),
    "delta": lambda: layers.GatedDelta(layers.GatedDeltaSettings(dim=8, heads=2)),
}


@pytest.mark.parametrize("name", LAYERS)
def test_its_leaves_are_its_tensors(name):
    state = LAYERS[name]().eval()(torch.randn(2, 6, 8))[1].detach()
    leaves, form = pytree.tree_flatten(state)
    assert [id(leaf) for leaf in leaves] == [id(one) for one in state.tensors().values()]
    again = pytree.tree_unflatten(leaves, form)
    assert type(again) is type(state)
    assert again.layout == state.layout
    assert again.tensors().keys() == state.tensors().keys()
    doubled = pytree.tree_map(lambda one: 2 * one, state)
    assert isinstance(doubled, State)
    assert all(torch.equal(doubled.tensors()[place], 2 * one) for place, one in state.tensors().items())
    places = [pytree.keystr(path).strip(".") for path, _ in pytree.tree_flatten_with_path(state)[0]]
    assert [place.replace("[", ".").replace("]", "") for place in places] == list(state.tensors())


def test_a_layer_is_mapped_over_texts():
    layer, x = LAYERS["aaren"]().eval(), torch.randn(3, 6, 8)
    y, state = torch.func.vmap(lambda text: layer(text[None]))(x)
    torch.testing.assert_close(y[:, 0], layer(x)[0])
    assert state.tensors()["layers.0.m"].shape[:2] == (3, 1)


def test_a_step_is_exported_with_its_state():
    layer = LAYERS["delta"]().eval().requires_grad_(False)
    x = torch.randn(2, 7, 8)
    _, state = layer(x[:, :6])

    class Step(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = layer

        def forward(self, token, state):
            return self.layer.step(token, state)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PyTorch's own, of how it traces
        y, after = torch.export.export(Step(), (x[:, 6], state)).module()(x[:, 6], state)
    expected, expected_state = layer.step(x[:, 6], state)
    torch.testing.assert_close(y, expected)
    assert type(after) is type(state)
    torch.testing.assert_close(after.tensors(), expected_state.tensors())
