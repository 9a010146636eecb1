"""attach over architectures that differ in kind: what they compute stays the same, or an error says why not.

Each reads more tokens than a method needs to begin, in one piece, in pieces, padded, and before it writes; windows and
chunks are shorter than the text. The whole list, as swept once over all of transformers, is docs/architectures.md.
"""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from families import WORDS, of
from tiny import CACHE, byte_tokenizer
from transformers import DynamicCache, RwkvConfig
from transformers.models.mllama.configuration_mllama import MllamaTextConfig

from foveal.attention import (
    BlockTopK,
    Dense,
    LandmarkModel,
    LongHeads,
    Recorder,
    SharedPrefix,
    attach,
    shared_prefix,
    watch,
)
from foveal.attention.choices import check_choice
from foveal.attention.decoders import trunk
from foveal.attention.head_gates import GateSettings, train_gates
from foveal.attention.memory_decoding import MethodDecoder
from foveal.attention.profiles import kv_heads, last_layer, whole_layers
from foveal.attention.shared_prefix import require_side_by_side
from foveal.errors import InputError
from foveal.models.language import LanguageModel

LENGTH = 270
IDS = torch.randint(4, WORDS, (2, LENGTH), generator=torch.Generator().manual_seed(0))

EXACT = (
    "llama", "qwen3", "mistral", "gemma2", "gemma3_text", "gemma4_text", "cohere2", "mixtral", "stablelm",
    "deepseek_v3", "diffllama", "llama4_text", "qwen3_next", "jamba", "lfm2", "gpt2", "codegen", "opt", "bart", "bert",
    "gpt_oss", "granite_swa", "mimo_v2_flash",
)  # fmt: skip
"""Grouped queries, windows, capped scores, shared keys, experts, parts of heads that turn, compressed keys with values
of another width, chunks, linear layers, recurrences, convolutions, learned positions, decoders of encoders' kinds,
learned sinks."""


@pytest.fixture(scope="module")
def models():
    made = {}
    return lambda family: made.setdefault(family, of(family))


def read(model, **inputs) -> torch.Tensor:
    with torch.inference_mode():
        return model(**inputs).logits


def in_pieces(model) -> torch.Tensor:
    cache = DynamicCache(config=model.config)
    cuts = pairwise((0, 260, 261, LENGTH))
    return torch.cat([read(model, input_ids=IDS[:1, start:end], **{CACHE: cache}) for start, end in cuts], 1)


def padded(model) -> torch.Tensor:
    real = torch.ones(2, LENGTH, dtype=torch.long)
    real[0, :7] = 0
    real[1, -9:] = 0
    return read(model, input_ids=IDS, attention_mask=real, use_cache=False)[real.bool()]


def written(model) -> torch.Tensor:
    asked = {"max_new_tokens": 3, "do_sample": False, "output_logits": True, "return_dict_in_generate": True}
    return torch.stack(model.generate(IDS[:1], attention_mask=torch.ones_like(IDS[:1]), **asked).logits)


WAYS = {"pieces": in_pieces, "padded": padded, "written": written}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("family", EXACT)
def test_every_block_is_what_the_model_sees(models, family, way):
    model = models(family)
    expected = WAYS[way](model)
    with attach(model, Dense() if way != "written" else BlockTopK(density=1.0)):
        torch.testing.assert_close(WAYS[way](model), expected, rtol=1e-4, atol=1e-4)


REFUSED = {
    "mamba": "No layer of MambaForCausalLM attends",
    "bloom": "cannot be switched",
    "deepseek_v4": "puts compressed keys of its own",
    "deepseek_v32": "work on the mask",
    "doge": "work on the mask",
    "zamba": "shared by several layers",
}


@pytest.mark.parametrize("family", REFUSED)
def test_what_cannot_be_done_is_said_and_leaves_the_model_as_it_was(models, family):
    model = models(family)
    before, expected = model.config._attn_implementation, read(model, input_ids=IDS)
    with pytest.raises(InputError, match=REFUSED[family]), attach(model, Dense()):
        read(model, input_ids=IDS)
    assert model.config._attn_implementation == before
    assert torch.equal(read(model, input_ids=IDS), expected)


def test_queries_that_change_after_they_are_turned_are_not_turned_anew():
    """Dory scales each number of a query behind the turn; one that has learnt nothing scales all alike."""
    model = of("dory")
    with torch.no_grad():
        for layer in model.model.layers:
            layer.self_attn.sqk.mul_(torch.linspace(0.5, 1.5, layer.self_attn.sqk.numel()).view_as(layer.self_attn.sqk))
    with pytest.raises(InputError, match="or changes them after that"), attach(model, LongHeads(chunk_size=16)):
        read(model, input_ids=IDS)


def test_heads_are_not_counted_where_a_configuration_does_not_tell_them():
    with pytest.raises(InputError, match="does not tell num_attention_heads"):
        check_choice(RwkvConfig(), None, {0: [0]})


# -- texts side by side ------------------------------------------------------------------------------------------------

ALONE = ("gpt2", "cohere2", "deepseek_v3", "gemma2", "gpt_oss", "mixtral", "opt")
LEAKING = ("qwen3_next", "jamba", "lfm2", "bart", "roberta")


def last_question(model, ids: torch.Tensor, layout: SharedPrefix | None, rows: torch.Tensor) -> dict[int, torch.Tensor]:
    recorder = Recorder(rows, {0: None, 1: None})
    watch(model, ids, recorder, method=layout, positions=layout.positions if layout else None)
    return recorder.attention


@pytest.mark.parametrize("family", ALONE)
def test_a_question_among_others_looks_as_if_it_were_alone(models, family):
    model, ids, layout = models(family), IDS[:1, :40], SharedPrefix(torch.tensor([20]), 20, [12, 8])
    together = last_question(model, ids, layout, layout.rows(1))
    alone = last_question(model, torch.cat([ids[:, :20], ids[:, 32:]], 1), None, torch.arange(20, 28)[None])
    for layer, paid in together.items():
        found = torch.cat([paid[..., :20], paid[..., 32:]], -1)
        torch.testing.assert_close(found, alone[layer], rtol=1e-4, atol=1e-5)


def test_a_model_is_tried_in_its_own_precision(monkeypatch):
    """Within a training in mixed precision its products are rounded, so that the two ways differ by a hundredth."""
    rounded = []

    def noted(model):
        rounded.append(torch.is_autocast_enabled("cpu"))
        return trunk(model)

    monkeypatch.setattr(shared_prefix, "trunk", noted)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        require_side_by_side(of("mixtral"), "BlockRank")
    assert rounded == [False, False]


@pytest.mark.parametrize("family", LEAKING)
def test_texts_are_not_laid_side_by_side_where_they_would_meet(models, family):
    model, layout = models(family), SharedPrefix(torch.tensor([20]), 20, [12, 8])
    training = model.training
    with pytest.raises(InputError, match="reads texts side by side"):
        last_question(model, IDS[:1, :40], layout, layout.rows(1))
    with pytest.raises(InputError, match="A landmark model reads texts side by side"):
        LandmarkModel(model)
    assert model.training == training


def test_a_landmark_model_takes_no_decoder_that_looks_twice_or_takes_tokens_alone(models):
    with pytest.raises(InputError, match="attends more than once"):
        LandmarkModel(models("diffllama"))
    with pytest.raises(InputError, match="reads tokens alone"):
        LandmarkModel(of("gemma4_text", num_kv_shared_layers=0, sliding_window=512))


# -- heads -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("family", "why"),
    [("deepseek_v3", "other keys"), ("gemma4_text", "other keys"), ("jamba", "reads texts side by side")],
)
def test_gates_are_not_trained_on_keys_that_are_not_held(family, why, tmp_path):
    tokenizer = byte_tokenizer()
    model = of(family, vocab_size=len(tokenizer), vocab_size_per_layer_input=len(tokenizer))
    loaded = LanguageModel(family, tmp_path, model, tokenizer, tmp_path)
    settings = GateSettings(steps=1, length=100, texts=1, per_text=1, sinks=4, recent=16)
    with pytest.raises(InputError, match=why):
        train_gates(loaded, settings, texts=["A text of some words. "] * 20)


def test_a_model_of_text_and_images_has_the_layers_and_heads_of_its_text(tmp_path):
    text = {
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "hidden_size": 16,
        "head_dim": 8,
    }
    text |= {"vocab_size": WORDS, "intermediate_size": 16, "layer_types": ["sliding_attention", "full_attention"]}
    eyes = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    model = of("gemma3", text_config=text, vision_config={**eyes, "image_size": 28, "patch_size": 14})
    profile = last_layer(LanguageModel("gemma3", tmp_path, model, None, tmp_path))
    assert profile.heads == ((1, 0), (1, 1), (1, 2), (1, 3))
    assert kv_heads(model.config) == 2


def test_a_trunk_is_no_model_with_a_head(models):
    """transformers' own `base_model` of Llama 4 is the whole model."""
    model = models("llama4_text")
    assert model.base_model is model
    with torch.inference_mode():
        assert trunk(model)(input_ids=IDS[:, :5]).last_hidden_state.shape == (2, 5, model.config.hidden_size)


def test_layers_that_look_at_images_are_not_counted_among_those_that_see_the_text():
    assert whole_layers(MllamaTextConfig(num_hidden_layers=5, cross_attention_layers=[1, 3])) == [0, 2, 4]


def test_a_prompt_is_not_read_into_a_cache_of_another_kind():
    with pytest.raises(InputError, match="a cache of a kind of its own"):
        MethodDecoder(of("minimax", num_local_experts=2), None).read([5, 6, 7])
