"""attach over families of transformers that do not attend as Llama does: the same output, or an error that says."""

from __future__ import annotations

import pytest
import torch
from families import of
from tiny import CACHE

from foveal.attention import Dense, HeadCache, LongHeads, RetrievalAttention, attach
from foveal.attention.masks import Mask
from foveal.errors import InputError

LENGTH = 280
IDS = torch.randint(4, 60, (1, LENGTH), generator=torch.Generator().manual_seed(0))


def logits(model) -> torch.Tensor:
    with torch.inference_mode():
        return model(input_ids=IDS).logits


# the same


@pytest.mark.parametrize("family", ["bigbird_pegasus", "diffllama"])
@pytest.mark.parametrize("method", [None, Dense()], ids=["plain", "dense"])
def test_what_attends_in_its_own_way_computes_the_same(family, method):
    """A decoder whose modules do not say that they are causal, and one that attends twice in a layer."""
    model = of(family)
    expected = logits(model)
    with attach(model, method):
        torch.testing.assert_close(logits(model), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("method", [None, Dense()], ids=["plain", "dense"])
@pytest.mark.parametrize("cache", ["dynamic", "static"])
def test_layers_that_share_keys_write_what_the_model_writes(method, cache):
    """Of its mask Gemma 4 cuts the last queries' rows: layers with shared keys read no others while it generates."""
    model = of("gemma4_text")
    asked = {"max_new_tokens": 5, "do_sample": False, "cache_implementation": cache, "disable_compile": True}
    asked |= {"output_logits": True, "return_dict_in_generate": True}
    expected = torch.stack(model.generate(IDS, **asked).logits)
    with attach(model, method):
        found = torch.stack(model.generate(IDS, **asked).logits)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("window", [None, 5])
@pytest.mark.parametrize("left", [0, 3])
def test_the_last_rows_of_a_mask_are_those_of_the_whole(window, left):
    real = torch.arange(12)[None] >= left
    mask = Mask.causal(1, 8, 12, window=window, real=real if left else None)
    last = mask[:, :, -3:, :]
    rows = torch.arange(8)[None]
    assert last.shape == (1, 1, 3, 12)
    assert last.by_position == mask.by_position
    assert torch.equal(last.rows(rows[:, :3]), mask.rows(rows)[:, :, -3:])


# refused


@pytest.mark.parametrize("family", ["doge", "git", "deepseek_v32"])
@pytest.mark.parametrize("method", [None, Dense()], ids=["plain", "dense"])
def test_models_that_work_on_their_mask_are_refused_by_name(family, method):
    model = of(family)
    expected = logits(model)
    with pytest.raises(InputError, match=f"'{family}' work on the mask"), attach(model, method):
        logits(model)
    assert torch.equal(logits(model), expected)


def test_blocks_that_a_model_chooses_itself_are_not_left_out():
    """It masks them only where attention is transformers' own; all else is handed their numbers."""
    with (
        pytest.raises(InputError, match="has a sparse attention of its own"),
        attach(model := of("minimax_m3_vl_text")),
    ):
        logits(model)


@pytest.mark.parametrize("method", [RetrievalAttention(), HeadCache(policy="snapkv", keep=0.5), LongHeads()])
@pytest.mark.parametrize(("family", "why"), [("diffllama", "attended to more than once"), ("jetmoe", "choose another")])
def test_caches_are_refused_where_keys_are_asked_for_twice_or_not_at_all(method, family, why):
    model = of(family)
    with pytest.raises(InputError, match=why), torch.inference_mode(), attach(model, method):
        model(input_ids=IDS, **{CACHE: method.make_cache(model)})


@pytest.mark.parametrize("method", [None, Dense(), LongHeads()])
def test_a_model_that_attends_to_nothing_is_refused(method):
    with pytest.raises(InputError, match="No layer of MambaForCausalLM attends"), attach(of("mamba"), method):
        pass


USES = {
    "negated": torch.neg, "and": lambda mask: mask & True, "not": lambda mask: ~mask, "less": lambda mask: 1.0 - mask,
    "cut": lambda mask: mask[0], "asked": lambda mask: mask.dtype, "added": lambda mask: torch.ones(1) + mask,
}  # fmt: skip


@pytest.mark.parametrize("use", USES.values(), ids=USES)
def test_a_mask_is_no_tensor(use):
    mask = Mask.causal(1, 4, 4)
    with pytest.raises(InputError, match="This model works on the mask"):
        use(mask)
    assert not hasattr(mask, "to")  # what is asked for is no error
    with pytest.raises(AttributeError, match="no colour"):
        mask.colour  # noqa: B018
