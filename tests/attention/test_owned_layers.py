"""Caches that own their layers, used again and misused: forgotten texts, models that only slide, cuts, padding."""

from __future__ import annotations

import pytest
import torch
from tiny import CACHE
from transformers import MistralConfig, MistralForCausalLM

from foveal.attention import HeadCache, LongHeads, RetrievalAttention, attach
from foveal.errors import InputError

IDS = torch.randint(3, 200, (1, 60), generator=torch.Generator().manual_seed(0))
METHODS = {
    "retrieval": RetrievalAttention(index="flat", top_k=1000, n_sink=4, n_local=8),
    "longheads": LongHeads(chunk_size=8, attention_length=64),
    "heads": HeadCache(policy="streaming", keep=1.0, sinks=4),
}
"""Each looks at all that there is."""
NEAR = {"atol": 1e-4, "rtol": 1e-4}


def read(model, cache, ids: torch.Tensor) -> torch.Tensor:
    """The logits behind a text and behind one more token."""
    return torch.stack([model(some, **{CACHE: cache}).logits[0, -1] for some in (ids[:, :-1], ids[:, -1:])])


@torch.inference_mode()
@pytest.mark.parametrize("again", [31, 50])
@pytest.mark.parametrize("name", METHODS)
def test_a_cache_that_is_reset_reads_a_text_of_another_length(model, name, again):
    method = METHODS[name]
    cache = method.make_cache(model)
    with attach(model, method):
        read(model, cache, IDS[:, 9:49])
        cache.reset()
        found = read(model, cache, IDS[:, :again])
    torch.testing.assert_close(found, model(IDS[:, :again]).logits[0, -2:], **NEAR)
    assert cache.get_seq_length() == again
    assert all(layer.settled for layer in cache.layers if hasattr(layer, "settled"))


@torch.inference_mode()
@pytest.mark.parametrize("name", METHODS)
def test_a_model_whose_layers_all_slide_is_as_it_is(name):
    config = MistralConfig(
        vocab_size=300,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        sliding_window=8,
        initializer_range=0.3,
    )
    assert getattr(config, "layer_types", None) is None
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = MistralForCausalLM(config).eval()
    method = METHODS[name]
    with attach(model, method):
        found = read(model, method.make_cache(model), IDS)
    torch.testing.assert_close(found, model(IDS).logits[0, -2:], **NEAR)


@torch.inference_mode()
@pytest.mark.parametrize("name", ["retrieval", "heads"])
def test_a_cache_answers_all_heads_or_none(attention_models, name):
    model, method = attention_models["qwen"].model, METHODS[name]
    cache = method.make_cache(model)
    with (
        pytest.raises(InputError, match="answers all heads of its layers"),
        attach(model, method, heads={layer: [0] for layer in range(3)}),
    ):
        model(IDS, **{CACHE: cache})


@torch.inference_mode()
@pytest.mark.parametrize("name", ["retrieval", "longheads"])
@pytest.mark.parametrize("head", [-1, 4])
def test_a_head_that_a_layer_has_not_cannot_be_watched(attention_models, name, head):
    model, method = attention_models["qwen"].model, METHODS[name]
    cache = method.make_cache(model)
    with attach(model, method):
        model(IDS[:, :40], **{CACHE: cache})
        cache.watch({1: [0, head]})
        with pytest.raises(InputError, match="of layer 1 are watched; it has 0 to 3"):
            model(IDS[:, 40:41], **{CACHE: cache})


@torch.inference_mode()
def test_no_layer_of_it_can_be_cut_or_multiplied(model):
    for layer in METHODS["retrieval"].make_cache(model).layers:
        with pytest.raises(InputError, match="cannot be cut back"):
            layer.crop(3)
        with pytest.raises(InputError, match="several beams"):
            layer.reorder_cache(torch.tensor([0]))
        with pytest.raises(InputError, match="cannot be repeated"):
            layer.batch_repeat_interleave(2)
        with pytest.raises(InputError, match="cannot drop sequences"):
            layer.batch_select_indices(torch.tensor([0]))


@torch.inference_mode()
def test_padding_behind_the_context_is_refused(attention_models):
    model, method = attention_models["qwen"].model, METHODS["retrieval"]
    both, more = IDS.view(2, 30), IDS.view(2, 30)[:, :5]
    real = torch.ones(2, 35, dtype=torch.long)
    real[1, 30:32] = 0
    with attach(model, method):
        cache = method.make_cache(model)
        model(both, **{CACHE: cache})
        with pytest.raises(InputError, match="Padding came behind the context"):
            model(more, attention_mask=real, **{CACHE: cache})


@torch.inference_mode()
@pytest.mark.parametrize("name", METHODS)
def test_a_cache_whose_pass_was_stopped_midway_is_not_gone_on_with(attention_models, name):
    """The first layers have read a token that the last ones lack: an answer would mix two texts."""
    model, method = attention_models["qwen"].model, METHODS[name]

    def stopped(*_: object) -> None:
        raise KeyboardInterrupt

    cache = method.make_cache(model)
    with attach(model, method):
        model(IDS[:, :40], **{CACHE: cache})
        hook = model.base_model.layers[0].mlp.register_forward_hook(stopped)
        with pytest.raises(KeyboardInterrupt):
            model(IDS[:, 40:41], **{CACHE: cache})
        hook.remove()
        for place in (41, 42):
            with pytest.raises(InputError, match="stopped midway: layer 1"):
                model(IDS[:, place : place + 1], **{CACHE: cache})
        cache.reset()
        found = read(model, cache, IDS[:, :31])
    torch.testing.assert_close(found, model(IDS[:, :31]).logits[0, -2:], **NEAR)
