"""The layers that ours are measured beside: whole, in pieces and by token the same, and each is its definition."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from nn.streams import assert_same_state, assert_streams, drawn, first_half_changed

from foveal.errors import InputError
from foveal.nn.baseline_models import BaselineConfig, BaselineLM
from foveal.nn.causal_attention import StreamSettings, encoder_of
from foveal.nn.full_attention import FullAttention, FullSettings
from foveal.nn.gated_delta import GatedDelta, GatedDeltaSettings, delta_chunk
from foveal.nn.recurrent import Recurrent, RecurrentSettings

MIXERS = {"window": {"heads": 2, "window": 8}, "full": {"heads": 2}, "gru": {}, "delta": {"heads": 2, "chunk": 4}}
LAYERS = {
    "full": lambda: FullAttention(FullSettings(dim=8, heads=2)),
    "gru": lambda: Recurrent(RecurrentSettings(dim=8)),
    "delta": lambda: GatedDelta(GatedDeltaSettings(dim=8, heads=2, chunk=4)),
}


@pytest.mark.parametrize("name", LAYERS)
def test_whole_in_pieces_and_by_token_are_one(name):
    layer = LAYERS[name]().double()
    with torch.no_grad():
        for tokens, cuts in ((1, []), (4, [2]), (19, [3, 4, 11])):
            assert_streams(layer, drawn(2, tokens, 8), cuts, atol=1e-12, rtol=1e-12)
        assert first_half_changed(layer, drawn(2, 20, 8)) == 0


def test_states_that_grow_are_saved_and_loaded(tmp_path):
    of_streams = encoder_of(StreamSettings(mixer="attention", dim=8, heads=2, layers=2, dropout=0.0))
    for number, layer in enumerate((LAYERS["full"]().double(), of_streams.double())):
        _, state = layer(drawn(2, 7, 8))
        again = layer.init_state(1).load(state.save(tmp_path / f"{number}.safetensors"))
        assert_same_state(again, state)
        torch.testing.assert_close(layer.step(drawn(2, 8), again)[0], layer.step(drawn(2, 8), state)[0])
    with pytest.raises(InputError, match="holds a"):
        LAYERS["full"]().init_state(1).load(tmp_path / "1.safetensors")


def test_the_delta_rule_is_its_definition():
    q, k, v = (drawn(1, 1, 11, 4, seed=seed) for seed in range(3))
    k, write, keep = F.normalize(k, dim=-1), drawn(1, 1, 11, seed=3).sigmoid(), F.logsigmoid(drawn(1, 1, 11, seed=4))
    matrix = first = drawn(1, 1, 4, 4, seed=5)
    expected = []
    for t in range(11):
        matrix = keep[0, 0, t].exp() * matrix
        told = write[0, 0, t] * (v[0, 0, t] - matrix[0, 0] @ k[0, 0, t])
        matrix = matrix + torch.outer(told, k[0, 0, t])
        expected.append(matrix[0, 0] @ q[0, 0, t])
    y, after = delta_chunk(q, k, v, write, keep, first)
    torch.testing.assert_close(y[0, 0], torch.stack(expected), atol=1e-12, rtol=1e-12)
    torch.testing.assert_close(after, matrix, atol=1e-12, rtol=1e-12)


def test_full_attention_is_softmax_over_the_past_and_padding_changes_no_row():
    layer, x = LAYERS["full"]().double(), drawn(2, 9, 8)
    mask = torch.ones(2, 9, dtype=torch.bool)
    mask[0, 5:] = False
    with torch.no_grad():
        padded = layer(x, mask=mask)[0]
        torch.testing.assert_close(padded[:1, :5], layer(x[:1, :5])[0])
        torch.testing.assert_close(padded[1:], layer(x[1:])[0])
        assert torch.isfinite(layer(x, mask=torch.zeros_like(mask))[0]).all()
        first = layer(x[:, :1])[0]  # the first token sees itself alone
        torch.testing.assert_close(first, layer.out(layer.qkv(x[:, :1])[..., 16:]))


def test_padding_writes_nothing_into_the_delta_rule():
    layer, x = LAYERS["delta"]().double(), drawn(1, 9, 8)
    mask = torch.arange(9)[None] < 5
    with torch.no_grad():
        torch.testing.assert_close(layer(x, mask=mask)[1].matrix, layer(x[:, :5])[1].matrix)
        left = layer(x, mask=mask.flip(1))  # the convolution mixed what was padded into the first real tokens
        torch.testing.assert_close(left[0][:, 4:], layer(x[:, 4:])[0])
        assert_same_state(left[1], layer(x[:, 4:])[1])


@pytest.mark.parametrize("kind", MIXERS)
def test_a_language_model_streams_and_is_loaded_as_it_was_saved(kind, tmp_path):
    torch.manual_seed(0)
    config = BaselineConfig(kind=kind, vocab_size=31, hidden_size=16, num_hidden_layers=2, mixer=MIXERS[kind])
    model = BaselineLM(config).eval()
    ids = torch.randint(31, (2, 15))
    with torch.no_grad():
        whole = model(ids, keep_state=True)
        first = model(ids[:, :7], keep_state=True)
        rest = model(ids[:, 7:], state=first.state, keep_state=True)
    torch.testing.assert_close(torch.cat([first.logits, rest.logits], 1), whole.logits, atol=1e-5, rtol=1e-5)
    assert_same_state(rest.state, whole.state, atol=1e-5, rtol=1e-5)
    model.save_pretrained(tmp_path)
    loaded = BaselineLM.from_pretrained(tmp_path)
    assert torch.equal(loaded.generate(ids, max_new_tokens=4), model.generate(ids, max_new_tokens=4))


def test_wrong_settings_are_named():
    for make, words in (
        (lambda: BaselineConfig(kind="mamba"), "window, full, gru, delta"),
        (lambda: BaselineConfig(kind="window", mixer={"causal": False}), "to come"),
        (lambda: FullSettings(dim=6, heads=2), "even width"),
        (lambda: GatedDeltaSettings(dim=8, conv_kernel=-1), "conv_kernel = -1"),
        (refused_state, "init_state"),
    ):
        with pytest.raises(InputError, match=words):
            make()


def refused_state():
    _, state = FullAttention(FullSettings(dim=8, heads=2))(drawn(1, 3, 8).float())
    FullAttention(FullSettings(dim=8, heads=4))(drawn(1, 3, 8).float(), state)
