"""Decoders of some kilobytes of any causal architecture of transformers, with random weights that attend unevenly.

    model = decoder("gemma2", window=64)      # float32, eval mode, from a seed

A configuration is told small sizes by the names that it knows, its parts (text, images) as well; what an architecture
needs besides stands in OWN, and what it must not be told in UNTOLD. architectures.py sweeps them all.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from inspect import signature
from typing import Any

import torch
from transformers import AutoModelForCausalLM, PreTrainedConfig
from transformers.models.auto.configuration_auto import CONFIG_MAPPING
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

LAYERS = 4
WORDS = 300
WINDOWS = (
    "sliding_window", "sliding_window_size", "attention_chunk_size", "window_size", "attention_window_size",
    "local_attention",
)  # fmt: skip
LAYER_LISTS = ("layer_types", "mlp_layer_types", "layers_block_type")

_VALUES: tuple[tuple[Any, str], ...] = (
    (WORDS, "vocab_size text_vocab_size vocab_size_per_layer_input unpadded_vocab_size n_words"),
    (1024, "max_position_embeddings n_positions max_target_positions max_source_positions n_ctx max_seq_len"),
    (1024, "max_sequence_length"),
    (64, "hidden_size d_model n_embd dim embed_dim word_embed_proj_dim embedding_size model_dim lru_width hidden_dim"),
    (64, "attention_hidden_size intermediate_size ffn_dim n_inner decoder_ffn_dim encoder_ffn_dim d_inner d_ff dim_ff"),
    (64, "moe_intermediate_size shared_expert_intermediate_size intermediate_size_mlp expert_hidden_size block_ff_dim"),
    (64, "ffn_hidden_size feed_forward_size mlp_hidden_size shared_intermediate_size expert_ffn_hidden_size"),
    (64, "moe_shared_expert_intermediate_size dense_intermediate_size dff"),
    (32, "q_lora_rank kv_lora_rank index_topk"),
    (WORDS - 1, "image_token_id image_token_index"),
    (WORDS - 2, "audio_token_id audio_token_index"),
    (WORDS - 3, "video_token_id"),
    (24, "v_head_dim"),
    (16, "head_dim kv_channels dim_head attention_head_dim qk_nope_head_dim index_head_dim swa_head_dim"),
    (16, "mamba_d_head mamba_head_dim mamba_d_state state_size ssm_state_size linear_key_head_dim"),
    (16, "linear_value_head_dim hidden_size_per_layer_input query_pre_attn_scalar"),
    (8, "qk_rope_head_dim mamba_n_heads mamba_num_heads"),
    (LAYERS, "num_hidden_layers n_layer decoder_layers n_layers num_layers"),
    (4, "num_attention_heads n_head n_heads num_heads decoder_attention_heads encoder_attention_heads"),
    (4, "swa_num_attention_heads"),
    (4, "num_experts num_local_experts n_routed_experts moe_num_experts ffn_num_experts linear_num_value_heads"),
    (4, "num_experts_per_tok num_experts_per_token moe_k moe_topk moe_top_k num_experts_per_topk top_k_experts"),
    (2, "encoder_layers num_key_value_heads n_head_kv multi_query_group_num num_kv_heads index_n_heads"),
    (2, "linear_num_key_heads swa_num_key_value_heads"),
    (1, "n_group topk_group n_groups_moe first_k_dense_replace n_shared_experts moe_layer_start_index bos_token_id"),
    (1, "decoder_start_token_id"),
    (0, "pad_token_id num_kv_shared_layers"),
    (0.0, "dropout attention_dropout attn_pdrop resid_pdrop embd_pdrop hidden_dropout_prob activation_dropout"),
    (0.0, "attention_probs_dropout_prob hidden_dropout"),
    (None, "eos_token_id"),
)
SIZES: dict[str, Any] = {name: value for value, names in _VALUES for name in names.split()}
"""What is told of every size that a configuration knows. All experts are taken: none can be nearly taken."""

_MLA = {"num_key_value_heads": 4}
_TWO_KINDS = {"layer_types": ["sliding_attention", "full_attention"] * 2}
_BY_CHOICE = {**_TWO_KINDS, "use_sliding_window": True}
_DECODES = {"is_decoder": True}
_EVERY_SECOND = {"layers_block_type": ["linear_attention", "hybrid"] * 2}
_MAMBA = {"use_mamba_kernels": False, "mamba_dt_rank": 8}
_TURNED = {"rotary_dim": 8}
_ENCODERS = (
    "bert", "bert-generation", "big_bird", "camembert", "data2vec-text", "electra", "ernie", "megatron-bert", "rembert",
    "roberta", "roberta-prelayernorm", "roc_bert", "roformer", "xlm-roberta", "xlm-roberta-xl", "xmod",
)  # fmt: skip
_PAIRS = (
    "bart", "bigbird_pegasus", "blenderbot", "blenderbot-small", "marian", "mbart", "mvp", "pegasus", "plbart",
    "prophetnet", "trocr", "whisper",
)  # fmt: skip
_COMPRESSED = (
    "axk1", "axk2", "deepseek_v2", "deepseek_v3", "deepseek_v32", "dots3_note_text", "glm4_moe_lite", "glm_moe_dsa",
    "kimi_linear", "longcat_flash", "minicpm3", "sarvam_mla", "youtu",
)  # fmt: skip

_BY_HAND: dict[str, dict[str, Any]] = {
    "bamba": {"attn_layer_indices": [1, 3]},
    "cohere_compass_text": {
        **_TWO_KINDS,
        "rope_parameters": {
            kind: {"rope_type": "default", "rope_theta": 10000.0} for kind in ("sliding_attention", "full_attention")
        },
    },
    "codegen": _TURNED,
    "dbrx": {
        "attn_config": {"kv_n_heads": 2, "clip_qkv": 8.0},
        "ffn_config": {"ffn_hidden_size": 64, "moe_num_experts": 4, "moe_top_k": 4},
    },
    "dory": {"n_input_layers": 1, "n_recurrent_layers": 2, "n_output_layers": 1},
    "dots3_note_text": {
        "layer_types": ["indexed_attention", "sliding_attention"] * 2, "shared_experts_intermediate_size": 64,
        "swa_num_attention_heads": 4, "swa_num_key_value_heads": 4, "swa_q_lora_rank": 32, "swa_kv_lora_rank": 32,
        "swa_head_dim": 24, "swa_qk_nope_head_dim": 16, "swa_v_head_dim": 24,
    },
    "falcon_h1": {"mamba_d_ssm": 128},
    "gemma3n_text": {
        "laurel_rank": 8, "altup_num_inputs": 2, "num_kv_shared_layers": 2, "intermediate_size": [64] * LAYERS,
    },
    "gemma4_text": {**_TWO_KINDS, "num_kv_shared_layers": 2, "global_head_dim": 16},
    "gemma4_unified_text": {"global_head_dim": 16},
    "gpt_neo": {"attention_types": [[["global", "local"], 2]]},
    "gptj": _TURNED,
    "granitemoehybrid": {
        "layer_types": ["full_attention", "linear_attention"] * 2, "position_embedding_type": "rope",
    },
    "jamba": {**_MAMBA, "attn_layer_period": 2, "attn_layer_offset": 1},
    "kimi_linear": {"linear_num_heads": 4, "linear_head_dim": 16},
    "lfm2": {"layer_types": ["conv", "full_attention"] * 2},
    "lfm2_moe": {"layer_types": ["conv", "full_attention"] * 2, "num_dense_layers": 1},
    "longcat_flash": {"head_dim": 8, "num_layers": 2, "zero_expert_num": 2},
    "mamba2": {"num_heads": 8, "head_dim": 16},
    "minimax_m3_vl_text": {
        "layer_types": ["full_attention", "minimax_m3_sparse"] * 2, "index_block_size": 16, "index_topk_blocks": 2,
    },
    "mpt": {"attn_config": {}},
    "prophetnet": {
        "num_encoder_layers": 4, "num_decoder_layers": 4, "num_encoder_attention_heads": 4,
        "num_decoder_attention_heads": 4, "ngram": 2,
    },
    "qwen4_exp_text": {
        "indexer_n_heads": 2, "indexer_kv_heads": 1, "indexer_head_dim": 16, "indexer_budget": 32,
        "indexer_compress_ratio": 4, "hc_count": 2, "hc_lowrank": 8, "ple_embed_dim": 16, "ngram_vocab_size_base": 100,
        "heads_per_ngram": 2, "split_ngram_parts": 4,
    },
    "recurrent_gemma": {"block_types": ["recurrent", "attention"]},
    "reformer": {
        "axial_pos_shape": (16, 64), "axial_pos_embds_dim": (32, 32), "attention_head_size": 16,
        "attn_layers": ("local", "lsh"), "is_decoder": True,
    },
    "roc_bert": {"shape_vocab_size": 128, "pronunciation_vocab_size": 128},
    "xlm": {"n_langs": 2, "causal": True, "emb_dim": 64},
    "xlstm": {"qk_dim_factor": 1.0},
    "xmod": {"default_language": "en_XX"},
    "zamba": {**_MAMBA, **_EVERY_SECOND, "attention_hidden_size": 128, "num_key_value_heads": 4},
    "zamba2": {
        **_EVERY_SECOND, "use_mamba_kernels": False, "attention_hidden_size": 128, "num_key_value_heads": 4,
        "n_mamba_heads": 8, "mamba_headdim": 16,
    },
    "zaya": {"num_experts_per_tok": 1},
}  # fmt: skip


def _of_all(kinds: tuple[str, ...], told: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    return dict.fromkeys(kinds, told)


def _merged(*tables: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    kinds = dict.fromkeys(kind for table in tables for kind in table)
    return {kind: {name: v for table in tables for name, v in table.get(kind, {}).items()} for kind in kinds}


OWN: dict[str, dict[str, Any]] = _merged(
    _of_all(_ENCODERS, _DECODES),
    _of_all(_PAIRS, {"encoder_layers": 4, "is_decoder": True, "is_encoder_decoder": False}),
    _of_all(_COMPRESSED, _MLA),
    _BY_HAND,
)
"""What an architecture needs besides."""

WINDOWED: dict[str, dict[str, Any]] = {
    **dict.fromkeys(("dots1", "laguna", "mellum", "ministral", "smollm3"), _TWO_KINDS),
    **dict.fromkeys(("qwen2", "qwen2_moe", "qwen3"), _BY_CHOICE),
    "zaya": {"layer_types": ["hybrid", "hybrid_sliding"] * 2},
}
"""And where it is to have windows, which it may have and by itself has not, or has in all layers."""

_LISTS = ("layer_types", "layers_block_type")
UNTOLD: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(_COMPRESSED, ("head_dim",)),
    **dict.fromkeys(_PAIRS, ("num_hidden_layers",)),
    **dict.fromkeys(("bamba", "falcon_h1", "falcon_mamba", "jamba", "mamba", "mamba2", "recurrent_gemma"), _LISTS),
    "dots3_note_text": ("head_dim", "per_layer_config"),
    "gemma3n_text": ("activation_sparsity_pattern",),
    "gemma4_text": ("per_layer_config",),
    "gpt_bigcode": ("num_key_value_heads",),
    "gpt_neo": ("attention_layers",),
    "granitemoehybrid": ("layers_block_type",),
    "longcat_flash": ("num_hidden_layers",),
    "mpt": ("attn_pdrop",),
    "prophetnet": ("num_hidden_layers", "num_attention_heads"),
    "reformer": ("num_hidden_layers",),
    "xlstm": ("embedding_dim", "num_blocks"),
    "zamba": ("attention_head_dim", "head_dim", "layer_types"),
    "zamba2": ("attention_head_dim", "kv_channels", "layer_types", "num_query_groups", "hybrid_layer_ids"),
}
"""And what it must not be told, though it knows the name."""


def architectures() -> list[str]:
    """All that `AutoModelForCausalLM` knows, in the order of the alphabet."""
    return sorted(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES)


def windowed(kind: str) -> bool:
    """Whether a window can be told to the architecture, or to a part of it."""
    return any(name in WINDOWS for name in _names_within(sizes_of(CONFIG_MAPPING[kind], window=1)))


def decoder(kind: str, *, window: int | None = None, seed: int = 0, **options: Any) -> Any:
    """A model in eval mode, without gradients; `window`: tokens of its windows and chunks, if it has any.

    Raises what transformers raises where the architecture needs more than is known here.
    """
    config = config_of(kind, window=window, **options)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()
    draw = torch.Generator().manual_seed(seed)
    for name, weight in model.named_parameters():
        weight.requires_grad_(False)
        weight.copy_(_drawn(name, weight, draw))
    if hasattr(model, "generation_config"):
        model.generation_config.eos_token_id, model.generation_config.pad_token_id = None, 0
    return model


def config_of(kind: str, *, window: int | None = None, **options: Any) -> Any:
    """A small configuration of the architecture."""
    made = CONFIG_MAPPING[kind]
    config = made(**_told(kind, sizes_of(made, window), window) | options)
    if kind == "dbrx":
        config.attn_config.rope_theta = 10000.0  # its attention asks for what its configuration has no more
    return config


def sizes_of(made: type[PreTrainedConfig], window: int | None, depth: int = 0) -> dict[str, Any]:
    """What a class of configurations is told: SIZES by the names that it knows, `window`, and the same of its parts."""
    default = _default(made)
    told = {name: SIZES[name] for name in _known(made, default) if name in SIZES and not _listed(default, name)}
    for name in _known(made, default) if window else ():
        if name == "sliding_window" or (name in WINDOWS and (default is None or _of(default, name))):
            told[name] = window
    for name in LAYER_LISTS:
        if kinds := _of(default, name):
            different = list(dict.fromkeys(kinds))
            told[name] = [different[layer % len(different)] for layer in range(LAYERS)]
    for name, part in _parts(made, default) if depth < 3 else ():
        told[name] = _told(part.model_type, sizes_of(part, window, depth + 1), window)
    return told


def _told(kind: str, sizes: Mapping[str, Any], window: int | None) -> dict[str, Any]:
    """Sizes, but for what is not to be told, and what the kind needs besides."""
    known = {name: value for name, value in sizes.items() if name not in UNTOLD.get(kind, ())}
    return known | OWN.get(kind, {}) | (WINDOWED.get(kind, {}) if window else {})


def _default(made: type[PreTrainedConfig]) -> Any:
    try:
        return made()
    except Exception:  # some need arguments, and each says so in its own way
        return None


def _known(made: type[PreTrainedConfig], default: Any) -> set[str]:
    """The names that a configuration can be told."""
    names = set(signature(made.__init__).parameters) | set(vars(default) if default is not None else ())
    for base in made.__mro__[: made.__mro__.index(PreTrainedConfig)]:
        names |= set(getattr(base, "__annotations__", {}))
    return names - {"self", "args", "kwargs"}


def _parts(made: type[PreTrainedConfig], default: Any) -> Iterator[tuple[str, type[PreTrainedConfig]]]:
    for name, part in (made.sub_configs or {}).items():
        if part.__name__ != "AutoConfig":
            yield name, part
        elif (held := _of(default, name)) is not None:
            yield name, type(held)


def _of(config: Any, name: str) -> Any:
    try:
        return getattr(config, name, None)
    except Exception:  # what differs by layer cannot be asked for, and is no AttributeError
        return vars(config).get(name)


def _listed(default: Any, name: str) -> bool:
    return isinstance(_of(default, name), (list, tuple))


def _names_within(told: Mapping[str, Any]) -> Iterator[str]:
    for name, value in told.items():
        yield name
        if isinstance(value, Mapping):
            yield from _names_within(value)


def _drawn(name: str, weight: torch.Tensor, draw: torch.Generator) -> torch.Tensor:
    """Matrices of unit rows; vectors (norms, biases, gates) as they begin, a fifth of that away; sinks that take much.

    What stays as it begins would hide that two scales were taken in the wrong order (Dory's, behind its rotation).
    """
    noise = torch.randn(weight.shape, generator=draw)
    if weight.dim() > 1:
        return noise * weight.shape[-1] ** -0.5
    begun = torch.nan_to_num(weight, posinf=0.0, neginf=0.0)
    spread = float(begun.abs().max()) if begun.any() else 1.0
    return 3 + 2 * noise if "sink" in name else begun + 0.2 * spread * noise
