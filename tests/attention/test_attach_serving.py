"""Ways in which models are served under attach: what comes out is the plain way's, or an error says why not."""

from __future__ import annotations

import copy
import pickle
import threading
from contextvars import copy_context

import pytest
import torch
from tiny import CACHE
from transformers import DynamicCache

from foveal.attention import ACT, DHSA, HeadCache, LongHeads, Streaming, attach
from foveal.attention.decoders import trunk
from foveal.errors import InputError

IDS = torch.randint(3, 250, (1, 300), generator=torch.Generator().manual_seed(0))
WIDE = LongHeads(chunk_size=32, attention_length=512)


@pytest.fixture(scope="module")
def qwen(attention_models):
    return attention_models["qwen"].model


def empty(model) -> DynamicCache:
    return DynamicCache(config=model.config)


@torch.inference_mode()
def test_few_tokens_behind_a_cache_are_exact_as_decoded_ones_are(qwen):
    """Assisted decoding verifies several at once: what it writes is to be what is written one by one."""
    found = []
    for pieces in ((5,), (1,) * 5):
        cache = empty(qwen)
        with attach(qwen, Streaming(sinks=0, recent=1)) as attached:
            qwen(input_ids=IDS, **{CACHE: cache})
            rest = IDS[:, :5].split(pieces, 1)
            found.append(torch.cat([qwen(input_ids=one, **{CACHE: cache}).logits for one in rest], 1))
    assert attached.report.looks
    torch.testing.assert_close(*found, atol=1e-4, rtol=1e-4)


@torch.inference_mode()
def test_the_last_row_of_padding_on_the_right_is_the_models_own(qwen):
    """`generate` goes on from it, whatever it says of such padding."""
    ids, real = IDS.repeat(2, 1), torch.ones(2, 300, dtype=torch.long)
    real[0, 290:] = 0
    expected = qwen(input_ids=ids, attention_mask=real).logits[:, -1]
    with attach(qwen, Streaming(sinks=128, recent=4096)) as attached:
        found = qwen(input_ids=ids, attention_mask=real).logits[:, -1]
    assert attached.report.looks
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)


@torch.inference_mode()
def test_threads_under_one_block_keep_their_own_chunks(qwen):
    """The chunks of a prompt that another thread reads meanwhile are not those of this one."""
    method = DHSA(budget=200, local=32, sink=8, boundaries="fixed", sparse_decode=True)
    held: dict[str, object] = {}
    with attach(qwen, method) as attached:
        qwen(input_ids=IDS, **{CACHE: empty(qwen)})
        mine = dict(attached.memory)

        @torch.inference_mode()
        def other():
            held["before"] = dict(attached.memory)
            qwen(input_ids=IDS.flip(1), **{CACHE: empty(qwen)})

        thread = threading.Thread(target=copy_context().run, args=(other,))
        thread.start()
        thread.join()
        assert mine
        assert {layer: id(kept) for layer, kept in attached.memory.items()} == {n: id(kept) for n, kept in mine.items()}
    assert held["before"] == {}


@pytest.mark.parametrize(
    "places",
    [
        torch.cat([torch.arange(150), torch.arange(150) + 170]),
        torch.cat([torch.arange(150), torch.arange(150)]),
    ],
    ids=["jump", "packed"],
)
@torch.inference_mode()
def test_places_that_jump_are_refused_by_what_counts_tokens_itself(qwen, places):
    with attach(qwen, WIDE), pytest.raises(InputError, match="counts tokens itself"):
        qwen(input_ids=IDS, position_ids=places[None], **{CACHE: WIDE.make_cache(qwen)})


@torch.inference_mode()
def test_places_behind_a_cache_go_on_where_it_ends(qwen):
    with attach(qwen, WIDE):
        cache = WIDE.make_cache(qwen)
        qwen(input_ids=IDS, position_ids=torch.arange(300)[None] + 7, **{CACHE: cache})
        qwen(input_ids=IDS[:, :1], position_ids=torch.tensor([[307]]), **{CACHE: cache})
        with pytest.raises(InputError, match="counts tokens itself"):
            qwen(input_ids=IDS[:, :1], position_ids=torch.tensor([[390]]), **{CACHE: cache})


@torch.inference_mode()
def test_matrices_of_attention_are_refused(qwen):
    with attach(qwen), pytest.raises(InputError, match="recorder="):
        qwen(input_ids=IDS[:, :9], output_attentions=True)


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda one: pickle.loads(pickle.dumps(one))], ids=["copy", "pickle"])
@torch.inference_mode()
def test_methods_and_caches_can_be_copied(qwen, copied):
    method = copied(ACT({1: [0, 1]}, beta=0.2))
    assert method.heads == {1: [0, 1]}
    with attach(qwen, method):
        qwen(input_ids=IDS)
    heads = HeadCache(policy="snapkv", keep=0.5)
    with attach(qwen, heads):
        cache = heads.make_cache(qwen)
        qwen(input_ids=IDS, **{CACHE: cache})
        step = {"input_ids": IDS[:, :1]}
        other = copied(cache)
        torch.testing.assert_close(qwen(**step, **{CACHE: other}).logits, qwen(**step, **{CACHE: cache}).logits)


@torch.inference_mode()
def test_a_cache_by_heads_goes_with_autocast(qwen):
    heads = HeadCache(policy="snapkv", keep=1.0)
    asked = {"max_new_tokens": 3, "min_new_tokens": 3, "do_sample": False}
    with torch.autocast("cpu", torch.bfloat16), attach(qwen, heads):
        assert qwen.generate(IDS, **asked, **{CACHE: heads.make_cache(qwen)}).shape == (1, 303)


class Wrapped:
    """What PEFT wraps a model in, as far as it is asked here."""

    def __init__(self, model, *, prompts=False):
        self.model, self.active_peft_config = model, type("Config", (), {"is_prompt_learning": prompts})

    def get_base_model(self):
        return self.model


def test_what_peft_wraps_is_looked_into(qwen):
    assert trunk(Wrapped(qwen)) is trunk(qwen)
    with pytest.raises(InputError, match="tokens of its own"):
        trunk(Wrapped(qwen, prompts=True))
