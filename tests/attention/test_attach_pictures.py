"""attach on models that take pictures: the text's decoder is done by the method, the pictures' tower is left alone."""

from __future__ import annotations

import pytest
import torch
from transformers import (
    Gemma3Config,
    Gemma3ForConditionalGeneration,
    LlavaConfig,
    LlavaForConditionalGeneration,
    MllamaConfig,
    MllamaForConditionalGeneration,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
)

from foveal.attention import BlockTopK, Streaming, attach
from foveal.attention.remarks import warn_once

TEXT = {
    "vocab_size": 300, "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2,
}  # fmt: skip
SEEING = {
    "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2, "image_size": 32,
}  # fmt: skip
PICTURE = 290


def words(pictured: int) -> torch.Tensor:
    """Token ids (1, N) with a picture of so many tokens in the midst."""
    drawn = torch.randint(3, 280, (400,), generator=torch.Generator().manual_seed(0))
    return torch.cat([drawn[:200], torch.full((pictured,), PICTURE), drawn[200:]])[None]


def seen(*shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(1))


def llava():
    tower = SEEING | {"patch_size": 8, "model_type": "clip_vision_model"}
    config = LlavaConfig(
        vision_config=tower, text_config=TEXT | {"model_type": "llama"}, image_token_index=PICTURE,
        vision_feature_layer=-1, image_seq_length=16,
    )  # fmt: skip
    return LlavaForConditionalGeneration(config), {"input_ids": words(16), "pixel_values": seen(1, 3, 32, 32)}


def qwen():
    rotary = {"rope_type": "default", "mrope_section": [2, 3, 3], "rope_theta": 10_000.0}
    tower = {
        "depth": 2, "hidden_size": 32, "intermediate_size": 64, "num_heads": 2, "out_hidden_size": 64, "patch_size": 4,
        "window_size": 16, "fullatt_block_indexes": [1],
    }  # fmt: skip
    config = Qwen2_5_VLConfig(
        text_config=TEXT | {"rope_parameters": rotary}, vision_config=tower, image_token_id=PICTURE,
        vision_start_token_id=291, vision_end_token_id=292, video_token_id=293,
    )  # fmt: skip
    ids = words(16)
    given = {"image_grid_thw": torch.tensor([[1, 8, 8]]), "mm_token_type_ids": (ids == PICTURE).int()}
    return Qwen2_5_VLForConditionalGeneration(config), {"input_ids": ids, "pixel_values": seen(64, 96), **given}


def mllama():
    tower = {
        "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_global_layers": 1, "image_size": 32,
        "attention_heads": 2, "patch_size": 8, "max_num_tiles": 1, "intermediate_layers_indices": [0, 1],
        "supported_aspect_ratios": [[1, 1]], "vision_output_dim": 96,
    }  # fmt: skip
    text = TEXT | {"num_hidden_layers": 3, "cross_attention_layers": [1]}
    config = MllamaConfig(vision_config=tower, text_config=text, image_token_index=PICTURE)
    ids = words(1)
    given = {"aspect_ratio_ids": torch.ones(1, 1, dtype=torch.long), "pixel_values": seen(1, 1, 1, 3, 32, 32)}
    given["aspect_ratio_mask"] = torch.ones(1, 1, 1, dtype=torch.long)
    given["cross_attention_mask"] = torch.ones(1, ids.shape[1], 1, 1, dtype=torch.long)
    return MllamaForConditionalGeneration(config), {"input_ids": ids, **given}


def gemma():
    config = Gemma3Config(
        text_config=TEXT | {"head_dim": 16, "layer_types": ["full_attention"] * 2},
        vision_config=SEEING | {"patch_size": 4},
        mm_tokens_per_image=16, image_token_index=PICTURE, boi_token_index=291, eoi_token_index=292,
    )  # fmt: skip
    ids = words(16)
    given = {"input_ids": ids, "token_type_ids": (ids == PICTURE).int(), "pixel_values": seen(1, 3, 32, 32)}
    return Gemma3ForConditionalGeneration(config), given


def built(make):
    torch.manual_seed(0)
    model, given = make()
    return model.eval(), given


@pytest.mark.parametrize("make", [llava, qwen, mllama])
@torch.inference_mode()
def test_the_words_around_a_picture_are_done_by_the_method(make, caplog):
    model, given = built(make)
    expected = model(**given).logits
    warn_once.cache_clear()
    with attach(model, Streaming(sinks=128, recent=4096)) as attached:
        found = model(**given).logits
    assert attached.report.looks
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)
    with attach(model, BlockTopK(0.2)):
        assert not torch.allclose(model(**given).logits, expected, atol=1e-4)
    assert not caplog.records  # Mllama's tower was taken for a model that runs in another thread


@torch.inference_mode()
def test_where_a_picture_is_seen_both_ways_all_stays_dense():
    model, given = built(gemma)
    expected = model(**given).logits
    with attach(model, BlockTopK(0.2)) as attached:
        torch.testing.assert_close(model(**given).logits, expected, atol=1e-5, rtol=1e-5)
    assert attached.report.left_out == {"masks of their own": 2}
    with attach(model, BlockTopK(0.2)) as attached:
        model(input_ids=given["input_ids"].clamp(max=280))
    assert attached.report.looks
