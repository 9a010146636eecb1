"""The architectures of GGUF files that are read: what their tensors and facts are called, and what was done to them.

llama.cpp's converter renames, and for some architectures changes what it writes. What it did is undone here:

llama, granite    rows of queries and keys are put so that what turns together lies side by side: put back
gemma2, gemma3    norms are written plus one (llama.cpp multiplies by the weight, transformers by 1 + weight): less one
phi3              queries, keys and values stay one tensor, gate and up too, as transformers has them
*moe              the experts of a layer are one tensor: taken apart
positions         Llama 3's stretched frequencies come as factors (`rope_freqs`): the settings that give these are found

A model that is nearly right would not be noticed. So a fact that changes the computing and is not known here refuses
the file (`FOREIGN`), and what is written must be what transformers' model has, name by name and size by size (gguf.py).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from foveal.models.gguf_file import Facts, GgufFile
from foveal.models.gguf_positions import llama_rope, original_context, phi3_rope, rope

OUTER = {"token_embd": "model.embed_tokens", "output_norm": "model.norm", "output": "lm_head"}
ATTENTION = {f"attn_{letter}": f"self_attn.{letter}_proj" for letter in "qkv"}
OUT = {"attn_output": "self_attn.o_proj"}
HEAD_NORMS = {"attn_q_norm": "self_attn.q_norm", "attn_k_norm": "self_attn.k_norm"}
FEED_FORWARD = {"ffn_gate": "mlp.gate_proj", "ffn_up": "mlp.up_proj", "ffn_down": "mlp.down_proj"}
NORMS = {"attn_norm": "input_layernorm", "ffn_norm": "post_attention_layernorm"}
GEMMA_NORMS = {
    "attn_norm": "input_layernorm",
    "post_attention_norm": "post_attention_layernorm",
    "ffn_norm": "pre_feedforward_layernorm",
    "post_ffw_norm": "post_feedforward_layernorm",
}
EXPERTS = {
    "ffn_gate_inp": "mlp.gate",
    **{f"ffn_{part}_exps": f"mlp.experts.{{}}.{part}_proj" for part in ("gate", "up", "down")},
}
SHARED = {
    "ffn_gate_inp_shexp": "mlp.shared_expert_gate",
    **{f"ffn_{part}_shexp": f"mlp.shared_expert.{part}_proj" for part in ("gate", "up", "down")},
}
DENSE = {**NORMS, **ATTENTION, **OUT, **FEED_FORWARD}

STRETCHED, FOR_LONG = ("rope_freqs.weight",), ("rope_factors_long.weight", "rope_factors_short.weight")
"""Tensors that are facts: how positions are stretched."""

FOREIGN = (
    "expert_count", "expert_weights_scale", "expert_gating_func", "attention.scale",
    "attention.clamp_kqv", "attention.max_alibi_bias", "attention.sliding_window_pattern", "attn_logit_softcapping",
    "final_logit_softcapping", "logit_scale", "residual_scale", "embedding_scale",
    "rope.dimension_sections", "rope.freq_base_swa", "rope.scale_linear", "deepstack_mapping", "nextn_predict_layers",
)  # fmt: skip
"""Facts that change the computing, unless they are 0 or 1; each architecture knows some of them."""


@dataclass(frozen=True, kw_only=True)
class Layout:
    """One architecture."""

    model_type: str  # transformers' word
    model_class: str
    block: Mapping[str, str]  # name in a block of the file -> name in a layer; "{}" is the number of an expert
    settings: Callable[[Facts], dict[str, Any]]
    known: Sequence[str] = ()  # of FOREIGN
    paired: bool = False  # rows of queries and keys lie in pairs
    plus_one: bool = False  # norms are written plus one
    apart: Sequence[str] = ()  # tensors that are facts


def _llama(facts: Facts) -> dict[str, Any]:
    return {
        "rope_parameters": llama_rope(facts),
        "head_dim": facts.head_dim,
        "attention_bias": "blk.0.attn_q.bias" in facts.file.tensors,
        "mlp_bias": "blk.0.ffn_up.bias" in facts.file.tensors,
    }


def _granite(facts: Facts) -> dict[str, Any]:
    if facts.value("rope.scaling.finetuned", True) is False:
        raise ValueError("it is a Granite model without positions, which is not known")
    return _llama(facts) | {
        "embedding_multiplier": facts.number("embedding_scale", 1.0),
        "residual_multiplier": facts.number("residual_scale", 1.0),
        "attention_multiplier": facts.number("attention.scale", facts.head_dim**-0.5),
        "logits_scaling": facts.number("logit_scale"),
    }


def _phi3(facts: Facts) -> dict[str, Any]:
    return {
        "rope_parameters": phi3_rope(facts),
        "original_max_position_embeddings": original_context(facts),
        "sliding_window": facts.count("attention.sliding_window") if facts.value("attention.sliding_window") else None,
    }


def _gemma(facts: Facts, *, largest: int, pattern: int) -> dict[str, Any]:
    """`largest`: layers of the size whose scores are scaled as if its heads shared the model's width; `pattern`: one
    layer in how many sees the whole text."""
    if facts.count("attention.sliding_window_pattern", pattern) != pattern:
        raise ValueError(f"other layers than one in {pattern} see the whole text, which no {facts.architecture} has")
    wide = facts.count("block_count") == largest
    return {
        "head_dim": facts.head_dim,
        "query_pre_attn_scalar": facts.count("embedding_length") // facts.heads if wide else facts.head_dim,
        "sliding_window": facts.count("attention.sliding_window"),
    }


def _gemma2(facts: Facts) -> dict[str, Any]:
    return _gemma(facts, largest=46, pattern=2) | {
        "rope_parameters": rope(facts),
        "attn_logit_softcapping": facts.number("attn_logit_softcapping"),
        "final_logit_softcapping": facts.number("final_logit_softcapping"),
    }


def _gemma3(facts: Facts) -> dict[str, Any]:
    near = {"rope_type": "default", "rope_theta": facts.number("rope.freq_base_swa", 10_000.0)}
    return _gemma(facts, largest=62, pattern=6) | {
        "rope_parameters": {"full_attention": rope(facts), "sliding_attention": near}
    }


def _qwen(facts: Facts) -> dict[str, Any]:
    head = {"head_dim": facts.count("attention.key_length")} if facts.has("attention.key_length") else {}
    return head | {"rope_parameters": rope(facts)}


def _moe(facts: Facts) -> dict[str, Any]:
    return _qwen(facts) | {
        "num_experts": facts.count("expert_count", most=2**10),
        "num_experts_per_tok": facts.count("expert_used_count", most=2**10),
        "moe_intermediate_size": facts.count("expert_feed_forward_length"),
    }


def _qwen2_moe(facts: Facts) -> dict[str, Any]:
    shared = facts.count("expert_shared_feed_forward_length", facts.count("feed_forward_length"))
    return _moe(facts) | {"shared_expert_intermediate_size": shared, "norm_topk_prob": False}


def _olmo2(facts: Facts) -> dict[str, Any]:
    if facts.value("attention.sliding_window"):
        raise ValueError("some of its layers see a window of the text only, as those of OLMo 3, which is not known")
    return {"rope_parameters": rope(facts)}


LAYOUTS: Mapping[str, Layout] = {
    "llama": Layout(
        model_type="llama",
        model_class="LlamaForCausalLM",
        block=DENSE,
        settings=_llama,
        paired=True,
        apart=STRETCHED,
    ),
    "qwen2": Layout(model_type="qwen2", model_class="Qwen2ForCausalLM", block=DENSE, settings=_qwen),
    "qwen3": Layout(model_type="qwen3", model_class="Qwen3ForCausalLM", block={**DENSE, **HEAD_NORMS}, settings=_qwen),
    "qwen2moe": Layout(
        model_type="qwen2_moe",
        model_class="Qwen2MoeForCausalLM",
        block={**NORMS, **ATTENTION, **OUT, **EXPERTS, **SHARED},
        settings=_qwen2_moe,
        known=("expert_count",),
    ),
    "qwen3moe": Layout(
        model_type="qwen3_moe",
        model_class="Qwen3MoeForCausalLM",
        block={**NORMS, **ATTENTION, **OUT, **HEAD_NORMS, **EXPERTS},
        settings=lambda facts: _moe(facts) | {"norm_topk_prob": True},
        known=("expert_count",),
    ),
    "gemma2": Layout(
        model_type="gemma2",
        model_class="Gemma2ForCausalLM",
        block={**GEMMA_NORMS, **ATTENTION, **OUT, **FEED_FORWARD},
        settings=_gemma2,
        known=("attn_logit_softcapping", "final_logit_softcapping", "attention.sliding_window_pattern"),
        plus_one=True,
    ),
    "gemma3": Layout(
        model_type="gemma3_text",
        model_class="Gemma3ForCausalLM",
        block={**GEMMA_NORMS, **ATTENTION, **OUT, **HEAD_NORMS, **FEED_FORWARD},
        settings=_gemma3,
        known=("rope.freq_base_swa", "attention.sliding_window_pattern"),
        plus_one=True,
    ),
    "phi3": Layout(
        model_type="phi3",
        model_class="Phi3ForCausalLM",
        block={
            **NORMS,
            **OUT,
            "attn_qkv": "self_attn.qkv_proj",
            "ffn_up": "mlp.gate_up_proj",
            "ffn_down": "mlp.down_proj",
        },
        settings=_phi3,
        apart=FOR_LONG,
    ),
    "olmo2": Layout(
        model_type="olmo2",
        model_class="Olmo2ForCausalLM",
        block={
            **ATTENTION,
            **OUT,
            **HEAD_NORMS,
            **FEED_FORWARD,
            "post_attention_norm": "post_attention_layernorm",
            "post_ffw_norm": "post_feedforward_layernorm",
        },
        settings=_olmo2,
    ),
    "granite": Layout(
        model_type="granite",
        model_class="GraniteForCausalLM",
        block=DENSE,
        settings=_granite,
        known=("attention.scale", "logit_scale", "residual_scale", "embedding_scale"),
        paired=True,
        apart=STRETCHED,
    ),
}
"""Architecture -> how it is read."""

COUNTS = {
    "max_position_embeddings": "context_length",
    "hidden_size": "embedding_length",
    "num_attention_heads": "attention.head_count",
}


def configuration(file: GgufFile) -> tuple[Layout, dict[str, Any]]:
    """How the file is read, and what transformers calls its settings (without tokens).

    ValueError, KeyError: an architecture that is none of `LAYOUTS`, or facts that are missing or change the computing.
    """
    architecture = file.value("general.architecture")
    if architecture not in LAYOUTS:
        raise ValueError(f"it holds a model of architecture {str(architecture)[:60]!r}; read are {', '.join(LAYOUTS)}")
    layout, facts = LAYOUTS[architecture], Facts(file, architecture)
    _require_known(layout, facts)
    config = {ours: facts.count(theirs) for ours, theirs in COUNTS.items()}
    config["num_hidden_layers"] = facts.count("block_count", most=2**10)  # each is built, without weights
    dense = {} if not facts.has("feed_forward_length") else {"intermediate_size": facts.count("feed_forward_length")}
    return layout, config | dense | {
        "num_key_value_heads": facts.count("attention.head_count_kv", facts.heads, most=2**14),
        "rms_norm_eps": facts.number("attention.layer_norm_rms_epsilon"),
        "tie_word_embeddings": "output.weight" not in file.tensors,
        **layout.settings(facts),
    }


def _require_known(layout: Layout, facts: Facts) -> None:
    """ValueError: the file is a part of a model, or states what is computed otherwise than its architecture does."""
    if facts.file.value("split.count", 0) > 1:
        raise ValueError("it is one of several parts; join them first: llama-gguf-split --merge FIRST-PART WHOLE.gguf")
    stated = {key: facts.value(key) for key in FOREIGN if key not in layout.known and facts.has(key)}
    strange = [key for key, value in stated.items() if value not in (0, 1)]
    if facts.value("attention.causal", True) is not True:
        strange.append("attention.causal")
    if strange:
        raise ValueError(f"it states {', '.join(strange)}, which no {facts.architecture} has that is known here")
    lengths = {facts.value(key, facts.head_dim) for key in ("attention.value_length", "rope.dimension_count")}
    if layout.model_type != "phi3" and lengths != {facts.head_dim}:
        raise ValueError(f"its heads have {facts.head_dim} dimensions, of which not all are values, or not all turn")


def renamed(name: str, layout: Layout) -> str:
    """`blk.3.attn_q.weight` -> `model.layers.3.self_attn.q_proj.weight`. ValueError: a name that is not known."""
    found = re.fullmatch(r"(?:blk\.(\d{1,4})\.)?(\w+)\.(weight|bias)", name)
    layer, part, suffix = found.groups() if found else (None, "", "")
    ours = OUTER.get(part) if layer is None else layout.block.get(part)
    if ours is None:
        raise ValueError(f"it holds a tensor {name[:80]}, which no {layout.model_type} model has here")
    return f"{ours}.{suffix}" if layer is None else f"model.layers.{layer}.{ours}.{suffix}"
