"""Small models of transformers written as llama.cpp's converter writes them: what foveal.models.gguf has to undo.

Names are llama.cpp's own (the gguf package); what its converter does to the numbers is written out here, plainly.
"""

from __future__ import annotations

import math
from copy import deepcopy
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import torch
from models.tiny_gguf import add_gemma_tokens, add_qwen_tokens
from transformers import AutoConfig, AutoModelForCausalLM

HIDDEN, LAYERS, CONTEXT = 64, 2, 256
TOKENS = 261  # of tiny_gguf's vocabulary in Qwen's manner
GEMMA_TOKENS = 292

SIZES: dict[str, Any] = {
    "hidden_size": HIDDEN,
    "intermediate_size": 96,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": CONTEXT,
    "vocab_size": TOKENS,
    "rms_norm_eps": 1e-5,
    "tie_word_embeddings": False,
    "pad_token_id": None,
}
FACTORS = {"short": [1.0 + 0.1 * n for n in range(6)], "long": [1.0 + 2.0 * n for n in range(6)]}


def _rope(kind: str = "default", **more: Any) -> dict[str, Any]:
    return {"rope_parameters": {"rope_type": kind, "rope_theta": 10_000.0, **more}}


LLAMA3 = {"factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 8192}
EXPERTS = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 32}
CAPS = {"attn_logit_softcapping": 20.0, "final_logit_softcapping": 10.0}

MODELS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "llama": ("llama", "llama", _rope() | {"head_dim": 32}),
    "llama-3": ("llama", "llama", _rope("llama3", **LLAMA3) | {"head_dim": 32, "tie_word_embeddings": True}),
    "llama-biased": ("llama", "llama", _rope("linear", factor=4.0) | {"attention_bias": True, "mlp_bias": True}),
    "qwen2": ("qwen2", "qwen2", _rope()),
    "qwen3-yarn": (
        "qwen3",
        "qwen3",
        _rope("yarn", factor=4.0, original_max_position_embeddings=64) | {"head_dim": 32},
    ),
    "qwen2moe": ("qwen2moe", "qwen2_moe", _rope() | EXPERTS | {"shared_expert_intermediate_size": 64}),
    "qwen3moe": ("qwen3moe", "qwen3_moe", _rope() | EXPERTS | {"head_dim": 32, "norm_topk_prob": True}),
    "gemma2": (
        "gemma2",
        "gemma2",
        _rope() | CAPS | {"head_dim": 32, "query_pre_attn_scalar": 32, "sliding_window": 16, "num_hidden_layers": 4},
    ),
    "gemma2-27b": (
        "gemma2",
        "gemma2",
        _rope() | CAPS | {"head_dim": 32, "query_pre_attn_scalar": 16, "sliding_window": 16, "num_hidden_layers": 46},
    ),
    "gemma3-linear": (
        "gemma3",
        "gemma3_text",
        {
            "head_dim": 32,
            "query_pre_attn_scalar": 32,
            "sliding_window": 16,
            "num_hidden_layers": 7,
            "rope_parameters": {
                "full_attention": {"rope_type": "linear", "rope_theta": 1e6, "factor": 8.0},
                "sliding_attention": {"rope_type": "default", "rope_theta": 10_000.0},
            },
        },
    ),
    "phi3": ("phi3", "phi3", _rope() | {"original_max_position_embeddings": CONTEXT, "sliding_window": 64}),
    "phi3-long": (
        "phi3",
        "phi3",
        _rope(
            "longrope",
            partial_rotary_factor=0.75,
            short_factor=FACTORS["short"],
            long_factor=FACTORS["long"],
            original_max_position_embeddings=64,
        )
        | {"original_max_position_embeddings": 64},
    ),
    "olmo2": ("olmo2", "olmo2", _rope()),
    "granite": (
        "granite",
        "granite",
        _rope()
        | {"embedding_multiplier": 3.0, "residual_multiplier": 0.5, "attention_multiplier": 0.1, "logits_scaling": 2.0},
    ),
}
"""Name -> architecture in a file, type of transformers, settings."""

STATED = {
    "head_dim": "attention.key_length",
    "sliding_window": "attention.sliding_window",
    "attn_logit_softcapping": "attn_logit_softcapping",
    "final_logit_softcapping": "final_logit_softcapping",
    "embedding_multiplier": "embedding_scale",
    "residual_multiplier": "residual_scale",
    "attention_multiplier": "attention.scale",
    "logits_scaling": "logit_scale",
    "num_experts": "expert_count",
    "num_experts_per_tok": "expert_used_count",
    "moe_intermediate_size": "expert_feed_forward_length",
    "shared_expert_intermediate_size": "expert_shared_feed_forward_length",
}


def tiny(name: str) -> Any:
    """A model of random weights that are numbers of bfloat16, in float32."""
    _, kind, settings = MODELS[name]
    sizes = SIZES | ({"vocab_size": GEMMA_TOKENS, "tie_word_embeddings": True} if "gemma" in name else {})
    torch.manual_seed(len(name))
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(kind, **deepcopy(sizes | settings))).float().eval()
    with torch.no_grad():
        for key, weight in model.named_parameters():
            plain = "norm" in key and "gemma" not in name
            weight.copy_((plain + torch.randn_like(weight) * (0.1 if weight.ndim > 1 else 0.2)).bfloat16().float())
    return model


def write_model(path: Path, name: str, model: Any, *, eot: int | None = None, **facts: Any) -> None:
    """The model as a GGUF file in float32; `facts` are added, or stated instead (None: not at all).

    `eot`: the id of the token that ends a turn.
    """
    architecture, config = MODELS[name][0], model.config
    writer = gguf.GGUFWriter(path, architecture)
    stated = _facts(config) | facts
    for key, value in stated.items():
        if value is not None:
            _add(writer, f"{architecture}.{key}", value)
    if "gemma" in name:
        add_gemma_tokens(writer)
    else:
        add_qwen_tokens(writer)
    if eot is not None:
        writer.add_eot_token_id(eot)
    names = gguf.get_tensor_name_map(_member(architecture), config.num_hidden_layers)
    for key, weight in model.named_parameters():
        for hf_name, rows in _written(key, weight.detach().numpy(), architecture, config):
            ours = names.get_name(hf_name, try_suffixes=(".weight", ".bias"))
            assert ours, hf_name
            writer.add_tensor(ours, np.ascontiguousarray(rows))
    for key, numbers in _factors(config).items():
        writer.add_tensor(key, np.array(numbers, dtype=np.float32))
    for step in (writer.write_header_to_file, writer.write_kv_data_to_file, writer.write_tensors_to_file):
        step()
    writer.close()


def _member(architecture: str) -> gguf.MODEL_ARCH:
    return next(key for key, value in gguf.MODEL_ARCH_NAMES.items() if value == architecture)


def _add(writer: gguf.GGUFWriter, key: str, value: Any) -> None:
    adds = {bool: writer.add_bool, int: writer.add_uint32, float: writer.add_float32, str: writer.add_string}
    writer.add_array(key, value) if isinstance(value, list) else adds[type(value)](key, value)


def _facts(config: Any) -> dict[str, Any]:
    told = {
        "context_length": config.max_position_embeddings,
        "block_count": config.num_hidden_layers,
        "embedding_length": config.hidden_size,
        "feed_forward_length": config.intermediate_size,
        "attention.head_count": config.num_attention_heads,
        "attention.head_count_kv": config.num_key_value_heads,
        "attention.layer_norm_rms_epsilon": config.rms_norm_eps,
    }
    told |= {key: getattr(config, ours) for ours, key in STATED.items() if getattr(config, ours, None) is not None}
    if "attention.key_length" in told:
        told["attention.value_length"] = told["attention.key_length"]
    rope = config.rope_parameters
    rope = rope.get("full_attention", rope)
    told["rope.freq_base"] = float(rope["rope_theta"])
    if rope["rope_type"] in ("linear", "yarn"):
        told |= {"rope.scaling.type": rope["rope_type"], "rope.scaling.factor": rope["factor"]}
    if rope["rope_type"] == "yarn":
        told["rope.scaling.original_context_length"] = rope["original_max_position_embeddings"]
    if config.model_type == "phi3":
        dims = config.hidden_size // config.num_attention_heads
        told["rope.dimension_count"] = int(dims * rope["partial_rotary_factor"])
        told["rope.scaling.original_context_length"] = config.original_max_position_embeddings
        told["attention.sliding_window"] = config.sliding_window or 0
    if rope["rope_type"] == "longrope":
        longer = config.max_position_embeddings / config.original_max_position_embeddings
        by_length = math.sqrt(1 + math.log(longer) / math.log(config.original_max_position_embeddings))
        told["rope.scaling.attn_factor"] = by_length
    return told


def _factors(config: Any) -> dict[str, list[float]]:
    """The tensors that tell how positions are stretched."""
    rope = config.rope_parameters
    if rope.get("rope_type") == "longrope":
        return {f"rope_factors_{length}.weight": rope[f"{length}_factor"] for length in ("short", "long")}
    if rope.get("rope_type") != "llama3":
        return {}
    factors = []
    for n in range(0, config.head_dim, 2):
        wavelength = 2 * math.pi * rope["rope_theta"] ** (n / config.head_dim)
        if wavelength < 8192 / 4:
            factors.append(1.0)
        elif wavelength > 8192 / 1:
            factors.append(rope["factor"])
        else:
            smooth = (8192 / wavelength - 1) / (4 - 1)
            factors.append(1 / ((1 - smooth) / rope["factor"] + smooth))
    return {"rope_freqs.weight": factors}


def _written(key: str, weight: np.ndarray, architecture: str, config: Any) -> list[tuple[str, np.ndarray]]:
    """What the converter makes of one tensor."""
    if key.endswith("experts.gate_up_proj"):
        gate, up = np.split(weight, 2, axis=1)
        return [(key.replace("gate_up", part) + ".weight", half) for part, half in (("gate", gate), ("up", up))]
    if key.endswith("experts.down_proj"):
        return [(key + ".weight", weight)]
    if architecture.startswith("gemma") and key.endswith("norm.weight"):
        return [(key, weight + 1)]
    if "shared_expert_gate" in key:
        return [(key, weight[0])]
    if architecture in ("llama", "granite") and (".q_proj." in key or ".k_proj." in key):
        heads = config.num_attention_heads if ".q_proj." in key else config.num_key_value_heads
        return [(key, paired(weight, heads))]
    return [(key, weight)]


def paired(weight: np.ndarray, heads: int) -> np.ndarray:
    """Row n of the first half of each head, then row n of its second half, and so on."""
    rows = []
    size = len(weight) // heads
    for head in range(heads):
        for n in range(size // 2):
            rows += [weight[head * size + n], weight[head * size + size // 2 + n]]
    return np.stack(rows)
