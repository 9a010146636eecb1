"""The four variants: whole, in pieces and by token the same; nothing of the future; MAC against its definition."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from hypothesis import given, settings
from hypothesis import strategies as st
from nn.streams import assert_same_state, assert_streams, drawn, first_half_changed, turned

from foveal.errors import InputError
from foveal.nn.memory_rule import through
from foveal.nn.neural_memory import MemoryDiverged
from foveal.nn.titans import LMM, MAC, MAG, MAL, TitansSettings

KINDS = {"lmm": LMM, "mac": MAC, "mag": MAG, "mal": MAL}


def titans(variant, dtype=torch.float64, **options):
    torch.manual_seed(0)
    memory = {"heads": 2, "chunk": 4, **options.pop("memory", {})}
    given_settings = {"dim": 8, "heads": 2, "window": 8, "persistent": 3, **options}
    return KINDS[variant](TitansSettings(variant=variant, memory=memory, **given_settings)).to(dtype)


@pytest.mark.parametrize("variant", KINDS)
@given(
    tokens=st.integers(1, 30),
    window=st.sampled_from([1, 3, 8, 50]),
    chunks=st.integers(1, 3),
    persistent=st.integers(0, 5),
    cuts=st.lists(st.integers(0, 30), max_size=3),
    gate=st.sampled_from(["sigmoid", "convex"]),
    double=st.booleans(),
)
@settings(max_examples=6)
def test_whole_in_pieces_and_by_token_are_one(variant, tokens, window, chunks, persistent, cuts, gate, double):
    chunk = max(1, window // chunks) if variant != "mac" else (window if window % chunks else window // chunks)
    dtype = torch.float64 if double else torch.float32
    layer = titans(variant, dtype, window=window, persistent=persistent, gate=gate, memory={"chunk": chunk})
    close = {"atol": 1e-12, "rtol": 1e-12} if double else {"atol": 1e-5, "rtol": 1e-5}
    with torch.no_grad():
        assert_streams(layer, drawn(2, tokens, 8, dtype=dtype), [min(one, tokens) for one in cuts], **close)


@pytest.mark.parametrize("variant", KINDS)
def test_no_token_sees_what_is_to_come(variant):
    layer, x = titans(variant), drawn(2, 30, 8)
    with torch.no_grad():
        assert first_half_changed(layer, x) == 0
        whole = layer(x)[0]
        for place in (5, 13, 15, 16, 29):
            other = x.clone()
            other[:, place] += 1.0
            apart = (layer(other)[0] - whole).abs().amax((0, 2))
            assert apart[:place].max() < 1e-12
            assert apart[place] > 1e-6


def test_mac_is_its_definition_segment_by_segment():
    layer = titans("mac", window=8, memory={"chunk": 4})
    x = drawn(1, 20, 8)
    with torch.no_grad():
        torch.testing.assert_close(layer(x)[0], mac_by_definition(layer, x), atol=1e-12, rtol=1e-12)


def mac_by_definition(layer, x):
    """Row i of a segment attends to P, to what the segment's start recalls for rows up to i, and to rows up to i."""
    size, heads, given = layer.settings.window, layer.settings.heads, []
    memory = layer.memory.init_state(1)
    for segment in x.split(size, 1):
        recalled = layer.recall(segment, layer.memory.weights(memory))
        rows = []
        for i in range(segment.shape[1]):
            q = layer.attention.heads(segment[:, i : i + 1])[0][0, :, 0]
            seen = [layer.attention.heads(one)[1:] for one in (layer.persistent[None], recalled[:, : i + 1])]
            seen.append(layer.attention.heads(segment[:, : i + 1])[1:])
            keys = [seen[0][0][0]] + [turned(one[0][0], i) for one in seen[1:]]
            scores = torch.cat([torch.einsum("hd,hkd->hk", q, one) for one in keys], 1) * (8 / heads) ** -0.5
            values = torch.cat([one[1][0] for one in seen], 1)
            rows.append(torch.einsum("hk,hkd->hd", scores.softmax(-1), values).flatten())
        y = layer.attention.out(torch.stack(rows)[None])
        m, memory = layer.memory(y, memory)  # read at row i with rows up to i written, as tests of the memory show
        given.append(layer.gate(y, m))
    return layer._projected(torch.cat(given, 1), x)


def test_what_mac_recalls_is_the_memory_at_the_segments_start():
    layer = titans("mac")
    x = drawn(2, 11, 8)
    _, state = layer(x)
    assert state.phase == 3
    _, whole = layer(x[:, :8])
    for one, other in zip(state.start, layer.memory.weights(whole.memory), strict=True):
        torch.testing.assert_close(one, other)
    queries = F.normalize(F.silu(layer.ask(x)).view(2, 11, 2, 4).transpose(1, 2), dim=-1)
    expected = layer.memory.out(through(queries, state.start).transpose(1, 2).flatten(2))
    torch.testing.assert_close(layer.recall(x, state.start), expected)


@pytest.mark.parametrize("variant", ["lmm", "mag", "mal"])
def test_the_memory_has_read_the_persistent_vectors_before_the_stream(variant):
    layer = titans(variant)
    start = layer.init_state(1)
    memory = start if variant == "lmm" else start.memory
    assert memory.phase == 3
    assert any(bool(one.any()) for one in memory.drift)
    y, _ = layer(drawn(1, 9, 8))
    (slope,) = torch.autograd.grad(y.square().sum(), [layer.persistent])
    assert (slope.abs().amax(-1) > 0).all()


@pytest.mark.parametrize("variant", ["lmm", "mac", "mag", "mal"])
def test_padding_on_the_right_changes_no_row(variant):
    layer, x = titans(variant), drawn(2, 12, 8)
    mask = torch.ones(2, 12, dtype=torch.bool)
    mask[0, 7:] = False
    with torch.no_grad():
        padded, alone = layer(x, mask=mask)[0], layer(x[:1, :7])[0]
        torch.testing.assert_close(padded[:1, :7], alone)
        torch.testing.assert_close(padded[1:], layer(x[1:])[0])
        assert torch.isfinite(layer(x, mask=torch.zeros_like(mask))[0]).all()


@pytest.mark.parametrize("variant", KINDS)
def test_a_saved_state_goes_on_and_never_grows(variant, tmp_path):
    layer, x = titans(variant, torch.float32), drawn(1, 40, 8, dtype=torch.float32)
    with torch.no_grad():
        _, state = layer(x[:, :19])
        loaded = layer.init_state(1).load(state.save(tmp_path / "state.safetensors"))
        assert_same_state(loaded, state)
        torch.testing.assert_close(layer(x[:, 19:], loaded)[0], layer(x)[0][:, 19:], atol=1e-5, rtol=1e-5)
        long = layer(drawn(1, 700, 8, dtype=torch.float32))[1]
        assert layer.init_state(1).nbytes == state.nbytes == long.nbytes


@pytest.mark.parametrize("variant", KINDS)
def test_bfloat16_runs_with_a_state_in_float32(variant):
    layer, x = titans(variant, torch.float32), drawn(2, 20, 8, dtype=torch.float32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y, state = layer(x)
    memory = state if variant == "lmm" else state.memory
    assert {one.dtype for one in (*memory.drift, *memory.momentum)} == {torch.float32}
    apart = (y.float() - layer(x)[0]).abs().mean() / layer(x)[0].abs().mean()
    assert apart.item() < 0.05


def test_gradients_reach_all_weights_of_mac():
    layer = titans("mac", dim=4, heads=1, window=4, memory={"heads": 1, "chunk": 2})
    x = drawn(1, 9, 4)
    names = [name for name, _ in layer.named_parameters()]

    def loss(*weights):
        return torch.func.functional_call(layer, dict(zip(names, weights, strict=True)), (x,))[0].square().sum()

    weights = [one.detach().clone().requires_grad_() for one in layer.parameters()]
    slopes = dict(zip(names, torch.autograd.grad(loss(*weights), weights), strict=True))
    assert [name for name, one in slopes.items() if not one.any()] == []
    for name in (
        "ask.weight",
        "attention.qkv.weight",
        "memory.gates.bias",
    ):  # the rest is checked in the memory's tests
        place = names.index(name)

        def of_one(one, place=place):
            return loss(*weights[:place], one, *weights[place + 1 :])

        assert torch.autograd.gradcheck(of_one, [weights[place]], atol=1e-6), name


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"variant": "mad"}, "lmm, mac, mag, mal"),
        ({"heads": 3}, "multiple of heads"),
        ({"window": 0}, "window = 0"),
        ({"persistent": -1}, "persistent = -1"),
        ({"variant": "mac", "window": 10, "memory": {"chunk": 4}}, "whole chunks"),
        ({"memory": {"depth": 0}}, "depth = 0"),
    ],
)
def test_settings_are_checked_when_made(options, words):
    with pytest.raises(InputError, match=words):
        TitansSettings(**{"dim": 8, "heads": 2, **options})


def test_a_state_of_another_variant_is_refused():
    _, state = titans("mag")(drawn(1, 5, 8))
    for other in ("mac", "mal", "lmm"):
        with pytest.raises(InputError, match="mag"):
            titans(other)(drawn(1, 5, 8), state)
    with pytest.raises(InputError, match="window 16"):
        titans("mag", window=16)(drawn(1, 5, 8), state)


def test_what_a_memory_recalls_too_large_is_an_error_and_no_nan():
    """The memory's own numbers are finite here; the products of the attention over them are not."""
    torch.manual_seed(1)
    layer = MAL(TitansSettings(dim=16, variant="mal", window=16)).eval()
    x = 1e4 * torch.randn(2, 40, 16)
    with pytest.raises(MemoryDiverged, match="too large"), torch.no_grad():
        layer(x)
