"""What a layer keeps: in memory of its own, of its own kind, begun anew row by row; and shapes alone on "meta"."""

from __future__ import annotations

import pytest
import torch
from nn.test_inputs import DIM, LAYERS, layer_of, tokens

from foveal.errors import InputError
from foveal.nn.causal_attention import StreamSettings, encoder_of
from foveal.nn.counts import CountForecaster, CountSettings

GROWING = ("causal attention", "full")
STATELESS = ("routing, topk", "routing, an encoder")
KEEPING = [name for name in LAYERS if name not in STATELESS]


def bytes_held(state):
    """Of all memory that the state keeps from being freed."""
    storages = [one.untyped_storage() for one in state.tensors().values()]
    return sum({one.data_ptr(): one.nbytes() for one in storages}.values())


@pytest.mark.parametrize("name", [name for name in KEEPING if name not in GROWING])
def test_a_state_holds_no_more_memory_than_it_says(name):
    with torch.no_grad():
        _, state, *_ = layer_of(name)(tokens(1, 600))
    assert bytes_held(state) <= 2 * state.nbytes + 64


def test_a_state_of_counts_holds_no_history():
    days = torch.ones(1, 500)
    with torch.no_grad():
        _, state = CountForecaster(CountSettings())(days, days, torch.zeros(1, 500, dtype=torch.long))
    assert bytes_held(state) <= 2 * state.nbytes


@pytest.mark.parametrize("name", KEEPING)
def test_a_mask_in_a_states_place_is_refused(name):
    layer, x = layer_of(name), tokens(2, 5)
    mask = torch.ones(2, 5, dtype=torch.bool)
    for wrong in (mask, "a state", (mask, mask)):
        for ask in (lambda wrong=wrong: layer(x, wrong), lambda wrong=wrong: layer.step(x[:, 0], wrong)):
            with pytest.raises(InputError, match=f"A {type(wrong).__name__} came as the state.*by its name: mask="):
                ask()


def test_a_stack_refuses_what_is_no_state():
    encoder = encoder_of(StreamSettings(dim=DIM, heads=2, layers=1))
    with pytest.raises(InputError, match=r"Tensor came as the state.*mask="):
        encoder(tokens(2, 5), torch.ones(2, 5, dtype=torch.bool))


@pytest.mark.parametrize("name", GROWING)
def test_a_state_that_grows_begins_anew_as_a_whole_only(name):
    """Of one token and none, rows of a fresh state would have been spread over all others."""
    layer = layer_of(name)
    for tokens_read in (1, 4):
        _, state = layer(tokens(2, tokens_read))
        with pytest.raises(InputError, match="gets longer with the text"):
            state.reset([1], layer.init_state(2))
    assert layer(tokens(1, 3), state.rows(torch.tensor([1])))[0].shape == (1, 3, DIM)


def test_rows_begin_anew_from_as_many_rows_or_from_one():
    layer, x = layer_of("memory"), tokens(3, 9)
    _, state = layer(x)
    for rows in (1, 3):
        again = state.reset([1], layer.init_state(rows))
        assert torch.equal(again.drift[0][1], layer.init_state(1).drift[0][0])
        assert torch.equal(again.drift[0][2], state.drift[0][2])
    first = state.reset([-3, 2], layer.init_state(1))  # counted from the end, too
    assert torch.equal(first.drift[0][0], first.drift[0][2])
    assert torch.equal(first.drift[0][1], state.drift[0][1])
    with pytest.raises(InputError, match="a start of 2 rows; it needs 3"):
        state.reset([1], layer.init_state(2))


@pytest.mark.parametrize("name", [name for name in KEEPING if name != "gru"])
def test_shapes_alone_are_told_on_meta(name):
    with torch.device("meta"):
        layer = LAYERS[name]()
        y, state, *_ = layer(torch.ones(2, 9, DIM))
        one, *_ = layer.step(torch.ones(2, DIM), state)
    assert (y.shape, one.shape) == ((2, 9, DIM), (2, DIM))
    assert {where.device.type for where in state.tensors().values()} == {"meta"}
