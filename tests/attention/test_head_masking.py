"""Masked heads: zeroed or even, in every pass or only in decoding; what an ablation reports."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
import torch
from tiny import CACHE

from foveal.attention import MaskHeads, attach
from foveal.attention.head_ablation import TOGETHER, AblationSettings, _needles, ablate
from foveal.attention.retrieval_heads import HeadScores
from foveal.errors import InputError

HOST = ["The mill is old. The river is in the mill. The keeper reads the text in the mill. It is very old. "]
IDS = torch.randint(3, 90, (2, 20), generator=torch.Generator().manual_seed(0))


def by_hand(model, heads, mode):
    """The definition: the heads' part of what goes into the output projection is 0, or the mean of what they see."""
    handles = []
    config = model.config
    width = model.model.layers[0].self_attn.head_dim
    group = config.num_attention_heads // config.num_key_value_heads

    for layer, head in heads:
        module = model.model.layers[layer].self_attn
        values = {}

        def keep(_, __, output, values=values):
            values["v"] = output

        def put(_, given, values=values, head=head, module=module):
            x = given[0].clone()
            own = slice(head * width, (head + 1) * width)
            if mode == "zero":
                x[..., own] = 0
            else:
                v = values["v"].view(*x.shape[:2], -1, width)[:, :, head // group]
                window = getattr(module, "sliding_window", None) or 10**9
                for row in range(x.shape[1]):
                    x[:, row, own] = v[:, max(0, row + 1 - window) : row + 1].mean(1)
            return (x,)

        handles += [module.v_proj.register_forward_hook(keep), module.o_proj.register_forward_pre_hook(put)]
    try:
        with torch.inference_mode():
            return model(input_ids=IDS).logits
    finally:
        for handle in handles:
            handle.remove()


@pytest.mark.parametrize("mode", ["zero", "uniform"])
def test_masked_heads_say_nothing_or_the_mean(model, mode):
    heads = [(0, 1), (1, 0), (1, 3)]
    with torch.inference_mode(), attach(model, MaskHeads(heads, mode=mode)):
        ours = model(input_ids=IDS).logits
    torch.testing.assert_close(ours, by_hand(model, heads, mode), atol=2e-5, rtol=1e-4)
    with torch.inference_mode():
        plain = model(input_ids=IDS).logits
    assert (ours - plain).abs().max() > 1e-3


def test_in_decoding_only_what_was_read_before_keeps_its_paths(model):
    method = MaskHeads([(1, 0), (1, 1), (1, 2), (1, 3)], phase="decode")
    with torch.inference_mode():
        plain = model(input_ids=IDS[:, :-1], use_cache=True)
        with attach(model, method):
            read = model(input_ids=IDS[:, :-1], use_cache=True)
            step = model(input_ids=IDS[:, -1:], **{CACHE: read.past_key_values}).logits
        free = model(input_ids=IDS[:, -1:], **{CACHE: plain.past_key_values}).logits
    torch.testing.assert_close(read.logits, plain.logits)
    assert (step - free).abs().max() > 1e-3


@torch.inference_mode()
def test_of_the_heads_only_those_that_the_method_is_attached_for_are_masked(model):
    method = MaskHeads([(1, 0), (1, 2)])
    with attach(model, method, heads={1: [2, 3]}):
        ours = model(input_ids=IDS).logits
    with attach(model, MaskHeads([(1, 2)])):
        torch.testing.assert_close(ours, model(input_ids=IDS).logits)


def test_what_cannot_be_masked_is_told(model):
    with pytest.raises(InputError, match="modes are zero, uniform"):
        MaskHeads([(0, 0)], mode="gone")
    for wrong, said in (
        ((0, 4), "it has 0 to 3"),
        ((0, -1), "it has 0 to 3"),
        ((99, 0), "layers"),
        ((-1, 0), "layers"),
    ):
        with pytest.raises(InputError, match=said), attach(model, MaskHeads([wrong])):
            model(input_ids=IDS)


def test_an_ablation_masks_the_strongest_and_others(attention_models):
    model = attention_models["qwen"]
    scores = HeadScores(torch.tensor([[[0.9, 0, 0, 0], [0, 0.4, 0, 0], [0, 0, 0, 0.0]]]))
    steps: list[int] = []
    settings = AblationSettings(counts=(1, 2), needles=2, length=160, draws=2)
    found = ablate(model, scores, settings, texts=HOST, on_step=lambda done, _: steps.append(done))
    assert [one.name for one in found] == [
        "none", "1 strongest", "1 others, draw 1", "1 others, draw 2",
        "2 strongest", "2 others, draw 1", "2 others, draw 2",
    ]  # fmt: skip
    assert [one.heads for one in found] == [0, 1, 1, 1, 2, 2, 2]
    assert steps[-1] == 14
    assert len({one.nats for one in found}) == 7  # each mask changes what is said
    with pytest.raises(InputError, match="3 layers with 4 heads"):
        ablate(attention_models["gemma"], scores, settings)
    with pytest.raises(InputError, match="at least one head"):
        AblationSettings(counts=())
    with pytest.raises(InputError, match="4096 positions"):
        ablate(model, scores, replace(settings, length=4200), texts=HOST)


def test_nobody_has_two_codes_in_one_text(monkeypatch):
    monkeypatch.setattr("foveal.attention.head_ablation.GIVEN_NAMES", ("Ada", "Ben"))
    monkeypatch.setattr("foveal.attention.head_ablation.FAMILY_NAMES", ("Holm", "Moor"))
    asked = [needle.question for needle, _ in _needles(40, random.Random(0))]
    assert len(asked) == 40
    texts = [asked[start : start + TOGETHER] for start in range(0, 40, TOGETHER)]
    assert all(len(set(own)) == len(own) for own in texts)
    assert len({tuple(own) for own in texts}) > 5
