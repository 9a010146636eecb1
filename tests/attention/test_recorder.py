"""The recorder's rows against the whole N×N matrices of transformers' eager attention."""

from __future__ import annotations

from contextlib import suppress

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tiny import CACHE, HEADS, LAYERS, SLIDING
from transformers import DynamicCache, StaticCache

from foveal.attention import Recorder, attach, watch
from foveal.attention.recorder import DeepestLayerDone, attention_rows
from foveal.errors import InputError

LENGTH = 30
ROWS = torch.tensor([[11, 29, 20], [28, 12, 29]])


def tokens(rows: int = 2, length: int = LENGTH) -> torch.Tensor:
    return torch.randint(256, (rows, length), generator=torch.Generator().manual_seed(3))


def eager(model, **inputs) -> tuple[torch.Tensor, ...]:
    """The attention (B, H, Q, K) of every layer."""
    before = model.config._attn_implementation
    model.set_attn_implementation("eager")
    try:
        with torch.inference_mode():
            return model(**inputs, output_attentions=True).attentions
    finally:
        model.set_attn_implementation(before)


def recorded(model, recorder: Recorder, **inputs) -> dict[int, torch.Tensor]:
    with suppress(DeepestLayerDone), torch.inference_mode(), attach(model, recorder=recorder) as attached:
        attached.base(**inputs)
    return recorder.attention


def all_layers(kind: str) -> dict[int, None]:
    return dict.fromkeys(range(LAYERS[kind]))


def rows_of(attention: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
    return torch.stack([one[:, own] for one, own in zip(attention, rows, strict=True)])


def assert_same(found: dict[int, torch.Tensor], matrices: tuple[torch.Tensor, ...], rows: torch.Tensor) -> None:
    assert list(found) == list(range(len(matrices)))
    for layer, matrix in enumerate(matrices):
        torch.testing.assert_close(found[layer], rows_of(matrix, rows), rtol=0, atol=1e-5)


@pytest.mark.parametrize("left", [0, 9])
def test_rows_are_those_of_eager_attention(model, kind, left):
    real = torch.ones(2, LENGTH, dtype=torch.long)
    real[0, :left] = 0
    inputs = {"input_ids": tokens(), "attention_mask": real}
    assert_same(recorded(model, Recorder(ROWS, all_layers(kind)), **inputs), eager(model, **inputs), ROWS)


@pytest.mark.parametrize("before", [3, SLIDING, 17])
def test_rows_behind_a_cache_are_those_of_eager_attention(model, kind, before):
    rows = torch.tensor([[0, LENGTH - before - 1]] * 2)

    def behind_a_cache():
        cache = DynamicCache(config=model.config)
        with torch.inference_mode():
            model(input_ids=tokens()[:, :before], **{CACHE: cache})
        return {"input_ids": tokens()[:, before:], CACHE: cache}

    found = recorded(model, Recorder(rows, all_layers(kind)), **behind_a_cache())
    assert_same(found, eager(model, **behind_a_cache()), rows)


def test_rows_over_a_static_cache_are_those_of_eager_attention(model, kind):
    real = torch.ones(2, LENGTH, dtype=torch.long)
    real[0, :9] = 0

    def inputs():
        cache = StaticCache(config=model.config, max_cache_len=LENGTH + 5)
        return {"input_ids": tokens(), "attention_mask": real, CACHE: cache}

    assert_same(recorded(model, Recorder(ROWS, all_layers(kind)), **inputs()), eager(model, **inputs()), ROWS)


def test_a_row_sees_only_what_its_layer_sees(attention_models):
    found = recorded(attention_models["gemma"].model, Recorder(ROWS, {0: None, 1: None}), input_ids=tokens())
    for b, r in ((b, r) for b in range(2) for r in range(3)):
        at = int(ROWS[b, r])
        assert torch.equal(found[0][b, 0, r].nonzero()[:, 0], torch.arange(at - SLIDING + 1, at + 1))
        assert torch.equal(found[1][b, 0, r].nonzero()[:, 0], torch.arange(at + 1))


def test_heads_come_in_the_order_asked_for(model, kind):
    heads = {1: [3, 0], LAYERS[kind] - 1: [2]}
    found = recorded(model, Recorder(ROWS, heads), input_ids=tokens())
    matrices = eager(model, input_ids=tokens())
    assert list(found) == list(heads)
    for layer, chosen in heads.items():
        torch.testing.assert_close(found[layer], rows_of(matrices[layer], ROWS)[:, chosen], rtol=0, atol=1e-5)


def test_reduce_is_what_is_kept(model):
    whole = recorded(model, Recorder(ROWS, {0: None, 1: [2]}), input_ids=tokens())
    layers = []

    def summed(layer, attention):
        layers.append(layer)
        return attention.sum((1, 2))

    found = recorded(model, Recorder(ROWS, {0: None, 1: [2]}, reduce=summed), input_ids=tokens())
    assert layers == [0, 1]
    for layer in layers:
        torch.testing.assert_close(found[layer], whole[layer].sum((1, 2)))


@pytest.mark.parametrize("stop", [True, False])
def test_stop_ends_the_pass_at_the_deepest_layer(model, kind, stop):
    run: list[int] = []
    hooks = [
        layer.register_forward_pre_hook(lambda *_, number=number: run.append(number))
        for number, layer in enumerate(model.base_model.layers)
    ]
    found = recorded(model, Recorder(ROWS, {1: None, 0: None}, stop=stop), input_ids=tokens())
    for hook in hooks:
        hook.remove()
    assert run == list(range(2 if stop else LAYERS[kind]))
    assert sorted(found) == [0, 1]


def test_rows_are_float32_whatever_the_model_computes_in(attention_models):
    half = attention_models["qwen"].model
    try:
        half.bfloat16()
        found = recorded(half, Recorder(ROWS, {0: None}), input_ids=tokens())
    finally:
        half.float()
    assert found[0].dtype == torch.float32


def test_rows_need_a_batch():
    with pytest.raises(InputError, match=r"rows of shape \(3,\), .*needs whole numbers \(batch, rows\)"):
        Recorder(torch.tensor([1, 2, 3]), {0: None})


def test_a_layer_must_be_named():
    with pytest.raises(InputError, match="no layer to watch"):
        Recorder(ROWS, {})


@pytest.mark.parametrize("head", [-1, HEADS])
def test_a_head_that_is_not_there_is_refused(model, head):
    before = model.config._attn_implementation
    with pytest.raises(InputError, match="this layer has 0 to 3"):
        recorded(model, Recorder(ROWS, {0: [head]}), input_ids=tokens())
    assert model.config._attn_implementation == before


@given(data=st.data(), groups=st.integers(1, 3), per_group=st.integers(1, 3), length=st.integers(1, 9))
def test_attention_rows_by_definition(data, groups, per_group, length):
    generator = torch.Generator().manual_seed(length)
    heads, width = groups * per_group, 4
    query = torch.randn(2, heads, length, width, generator=generator)
    key = torch.randn(2, groups, length, width, generator=generator)
    row = st.lists(st.integers(0, length - 1), min_size=2, max_size=2)
    rows = torch.tensor(data.draw(st.lists(row, min_size=2, max_size=2)))
    chosen = data.draw(st.none() | st.lists(st.integers(0, heads - 1), min_size=1, max_size=heads))
    seen = rows[:, None, :, None] >= torch.arange(length)
    found = attention_rows(query, key, rows, seen, scale=0.7, heads=chosen)
    for b in range(2):
        for place, head in enumerate(range(heads) if chosen is None else chosen):
            for r, at in enumerate(rows[b].tolist()):
                products = 0.7 * key[b, head // per_group, : at + 1] @ query[b, head, at]
                expected = torch.zeros(length)
                expected[: at + 1] = products.exp() / products.exp().sum()
                torch.testing.assert_close(found[b, place, r], expected)


@pytest.mark.parametrize(
    "rows",
    [torch.tensor([[-1], [3]]), torch.tensor([[3], [LENGTH]]), torch.tensor([[3]])],
    ids=["below", "above", "one"],
)
def test_a_row_that_is_not_there_is_refused(model, rows):
    with pytest.raises(InputError, match="was to watch the rows"):
        recorded(model, Recorder(rows, {0: None}), input_ids=tokens())
    with pytest.raises(InputError, match="was to watch the rows"):
        watch(model, tokens(), Recorder(rows, {0: None}))


def test_a_layer_that_is_not_there_is_refused(model):
    for recorder in (Recorder(ROWS, {99: None}, stop=True), Recorder(ROWS, {-1: None})):
        with pytest.raises(InputError, match="Layers"):
            watch(model, tokens(), recorder)
        with pytest.raises(InputError, match="Layers"):
            recorded(model, recorder, input_ids=tokens())


def test_rows_of_any_whole_numbers_are_taken(attention_models):
    model, ids = attention_models["qwen"].model, tokens(1)
    found = []
    for dtype in (torch.int64, torch.int32, torch.uint8):
        recorder = Recorder(torch.tensor([[3, 20]], dtype=dtype), heads={0: [1]})
        watch(model, ids, recorder)
        found.append(recorder.attention[0])
    assert all(torch.equal(one, found[0]) for one in found)
    for wrong in (torch.float32, torch.bool):
        with pytest.raises(InputError, match="whole numbers"):
            Recorder(torch.ones(1, 2, dtype=wrong), heads={0: None})


def test_rows_and_heads_that_are_none_are_refused():
    with pytest.raises(InputError, match=r"rows of list; it needs whole numbers \(batch, rows\), as a tensor"):
        Recorder([[1, 2]], {0: None})
    with pytest.raises(InputError, match=r"Heads came as \[0, 1\]; they are named by layer"):
        Recorder(ROWS, [0, 1])


def test_heads_from_an_iterator_are_watched_in_every_pass(attention_models):
    model = attention_models["qwen"].model
    recorder = Recorder(ROWS, {0: iter([2, 1])})
    for _ in range(2):
        recorded(model, recorder, input_ids=tokens())
        assert recorder.attention[0].shape[1] == 2
