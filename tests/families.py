"""Models of a few kilobytes of many families of transformers, with random weights that attend far from evenly.

model = of("gemma2")            # float32, from a seed; a family that this transformers has not is skipped
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

WORDS = 64

SIZES: dict[str, Any] = {
    "vocab_size": WORDS, "hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "head_dim": 8, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": None,
    "max_position_embeddings": 512,
}  # fmt: skip
_SLIDING = {"sliding_window": 32, "layer_types": ["sliding_attention", "full_attention"]}
_MLA = {
    "num_key_value_heads": 4, "head_dim": 4, "q_lora_rank": 8, "kv_lora_rank": 8, "qk_nope_head_dim": 8,
    "qk_rope_head_dim": 4, "v_head_dim": 6, "n_routed_experts": 4, "n_group": 1, "topk_group": 1,
    "num_experts_per_tok": 4, "moe_intermediate_size": 16, "first_k_dense_replace": 1,
}  # fmt: skip
_LINEAR = {"layer_types": ["linear_attention", "full_attention"]}
_GPT = {"n_embd": 16, "n_layer": 2, "n_head": 4, "n_positions": 512, "rotary_dim": 4}
_BART = {
    "d_model": 16, "decoder_layers": 2, "encoder_layers": 2, "decoder_ffn_dim": 16, "encoder_ffn_dim": 16,
    "decoder_attention_heads": 4, "encoder_attention_heads": 4, "is_decoder": True, "is_encoder_decoder": False,
}  # fmt: skip
_EYES = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
OWN: dict[str, dict[str, Any]] = {
    "bart": _BART,
    "bert": {"is_decoder": True},
    "bigbird_pegasus": _BART,
    "bloom": {"n_layer": 2, "n_head": 4},
    "cohere2": {**_SLIDING, "logit_scale": 0.5},
    "codegen": _GPT,
    "deepseek_v3": _MLA,
    "deepseek_v32": {
        **_MLA, "v_head_dim": 8, "qk_rope_head_dim": 8, "num_experts_per_tok": 2,
        "index_head_dim": 8, "index_n_heads": 2, "index_topk": 32,
    },
    "doge": {},
    "gemma2": {**_SLIDING, "query_pre_attn_scalar": 1, "attn_logit_softcapping": 0.5},
    "gemma3_text": _SLIDING,
    "gemma4_text": {
        "num_hidden_layers": 4, "layer_types": ["sliding_attention", "full_attention"] * 2, "sliding_window": 32,
        "num_kv_shared_layers": 2, "hidden_size_per_layer_input": 8, "vocab_size_per_layer_input": WORDS,
        "global_head_dim": 8,
    },
    "git": {"vision_config": _EYES},
    "gpt2": _GPT,
    "gpt_oss": {**_SLIDING, "num_local_experts": 2, "num_experts_per_tok": 2},
    "granite_swa": _SLIDING,
    "jamba": {
        "attn_layer_period": 2, "attn_layer_offset": 1, "use_mamba_kernels": False, "mamba_dt_rank": 4,
        "num_experts": 1, "num_experts_per_tok": 1,
    },
    "jetmoe": {"kv_channels": 8, "num_local_experts": 4},
    "lfm2": {"layer_types": ["conv", "full_attention"]},
    "llama4_text": {
        "intermediate_size_mlp": 16, "num_local_experts": 1, "attention_chunk_size": 32, "no_rope_layers": [1, 0],
    },
    "mamba": {},
    "mimo_v2_flash": {
        **_SLIDING, "n_routed_experts": 4, "num_experts_per_tok": 4, "moe_intermediate_size": 16, "v_head_dim": 6,
    },
    "minimax_m3_vl_text": {
        "layer_types": ["full_attention", "minimax_m3_sparse"], "num_local_experts": 4, "num_experts_per_tok": 2,
        "index_n_heads": 2, "index_head_dim": 8, "index_block_size": 16, "index_topk_blocks": 2,
    },
    "mistral": {"sliding_window": 32},
    "mixtral": {"num_local_experts": 4, "num_experts_per_tok": 4},
    "opt": {"ffn_dim": 16, "word_embed_proj_dim": 16},
    "qwen3_next": {
        **_LINEAR, "linear_num_key_heads": 2, "linear_num_value_heads": 4, "linear_key_head_dim": 8,
        "linear_value_head_dim": 8, "num_experts": 4, "num_experts_per_tok": 4, "moe_intermediate_size": 16,
        "shared_expert_intermediate_size": 16,
    },
    "roberta": {"is_decoder": True, "max_position_embeddings": 514},
    "zamba": {
        "num_hidden_layers": 4, "attention_hidden_size": 32, "num_key_value_heads": 4, "mamba_dt_rank": 4,
        "layers_block_type": ["linear_attention", "hybrid"] * 2, "use_mamba_kernels": False,
    },
}  # fmt: skip
"""What each family needs besides."""
_NOT = {"zamba": ("head_dim",), "bart": ("num_hidden_layers",), "bigbird_pegasus": ("num_hidden_layers",)}
"""And what it must not be told."""


def of(family: str, **options: Any) -> Any:
    """A small model of a family, in eval mode."""
    if family not in CONFIG_MAPPING:
        pytest.skip(f"this transformers has no {family}")
    told = SIZES | OWN.get(family, {}) | options
    config = CONFIG_MAPPING[family](**{name: value for name, value in told.items() if name not in _NOT.get(family, ())})
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = AutoModelForCausalLM.from_config(config).eval()
        for weight in model.parameters():
            if weight.dim() > 1:
                torch.nn.init.normal_(weight, 0, weight.shape[-1] ** -0.5)
        for name, weight in model.named_parameters():
            if name.endswith(".sinks"):  # as far from nothing as a text's tokens are
                torch.nn.init.normal_(weight, 3, 2)
    if hasattr(model, "generation_config"):
        model.generation_config.eos_token_id, model.generation_config.pad_token_id = None, 0
    return model
