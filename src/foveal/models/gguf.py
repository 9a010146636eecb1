"""GGUF files as folders that transformers loads: weights de-quantised once, to bfloat16 safetensors.

A GGUF file (the format of llama.cpp) packs weights in blocks; unpacking them at each start takes half a minute, a
safetensors folder is mapped into memory at once. Tensors pass through one at a time and in slices of rows, so that the
memory needed does not grow with the model.

Traps     Gemma's norms are stored plus one (llama.cpp multiplies by the weight, transformers by 1 + weight); the
          rotary halves of Llama's queries and keys are permuted, and scaled rotary positions stand in other keys: such
          files are refused, for a model that is nearly right would not be noticed
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from foveal.errors import ModelUnavailable
from foveal.models.folders import Progress
from foveal.models.quiet import quiet
from foveal.registry import require

if TYPE_CHECKING:
    from torch import Tensor

SLICE = 2**24
"""Weights de-quantised at once: 64 MB as float32."""

OUTER = {"token_embd": "model.embed_tokens", "output_norm": "model.norm", "output": "lm_head"}
ATTENTION = {f"attn_{letter}": f"self_attn.{letter}_proj" for letter in "qkv"}
BLOCK = {
    "attn_norm": "input_layernorm",
    **ATTENTION,
    "attn_output": "self_attn.o_proj",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
HEAD_NORMS = {"attn_q_norm": "self_attn.q_norm", "attn_k_norm": "self_attn.k_norm"}
BLOCKS = {
    "qwen2": {**BLOCK, "ffn_norm": "post_attention_layernorm"},
    "qwen3": {**BLOCK, **HEAD_NORMS, "ffn_norm": "post_attention_layernorm"},
    "gemma3": {
        **BLOCK,
        **HEAD_NORMS,
        "post_attention_norm": "post_attention_layernorm",
        "ffn_norm": "pre_feedforward_layernorm",
        "post_ffw_norm": "post_feedforward_layernorm",
    },
}
"""Architecture -> name in a block of the file -> name in a layer of transformers."""

CLASSES = {
    "qwen2": ("qwen2", "Qwen2ForCausalLM"),
    "qwen3": ("qwen3", "Qwen3ForCausalLM"),
    "gemma3": ("gemma3_text", "Gemma3ForCausalLM"),
}
CONFIG = {
    "max_position_embeddings": "context_length",
    "num_hidden_layers": "block_count",
    "hidden_size": "embedding_length",
    "intermediate_size": "feed_forward_length",
    "num_attention_heads": "attention.head_count",
    "num_key_value_heads": "attention.head_count_kv",
    "rms_norm_eps": "attention.layer_norm_rms_epsilon",
}
OPTIONAL = {"head_dim": "attention.key_length", "sliding_window": "attention.sliding_window"}
TOKEN_IDS = {"bos_token_id": "bos", "eos_token_id": "eos", "pad_token_id": "padding"}


def convert(file: Path, folder: Path, *, on_progress: Progress | None = None) -> None:
    """Write the model of `file` into `folder`: configuration, tokenizer with chat template, weights as bfloat16.

    ModelUnavailable: the file is no GGUF, is damaged, or its architecture is none of `BLOCKS`. MissingExtra: no gguf.
    """
    gguf = require("gguf", extra="offline")
    try:
        with quiet():
            reader = gguf.GGUFReader(file)
            config = configuration(reader)
            _write_weights(reader, config["architecture"], folder / "model.safetensors", on_progress)
            del reader  # it holds an object for each token
            _write_rest(file, folder, config)
    except (ValueError, KeyError, IndexError, TypeError, EOFError) as error:
        raise ModelUnavailable(
            f"{file} could not be read as a GGUF model ({type(error).__name__}: {error}). Fetch it anew, or give a "
            "folder with safetensors."
        ) from error


def configuration(reader: Any) -> dict[str, Any]:
    """What transformers calls the model's settings, from the file's metadata, and "architecture"."""
    architecture = _value(reader, "general.architecture")
    if architecture not in BLOCKS:
        raise ModelUnavailable(
            f"The GGUF file holds a model of architecture {architecture!r}; converted are: {', '.join(BLOCKS)}. "
            "Give a folder with safetensors of that model, or its hub id."
        )
    scaled = sorted(name for name in reader.fields if name.startswith(f"{architecture}.rope.scaling."))
    if scaled:
        raise ModelUnavailable(
            f"The GGUF file scales its rotary positions ({', '.join(scaled)}), which is not converted. Give a folder "
            "with safetensors of that model, or its hub id."
        )
    config = {ours: _value(reader, f"{architecture}.{theirs}") for ours, theirs in CONFIG.items()}
    optional = {ours: f"{architecture}.{theirs}" for ours, theirs in OPTIONAL.items()}
    config |= {ours: _value(reader, theirs) for ours, theirs in optional.items() if theirs in reader.fields}
    ids = {ours: f"tokenizer.ggml.{theirs}_token_id" for ours, theirs in TOKEN_IDS.items()}
    config |= {ours: _value(reader, theirs) for ours, theirs in ids.items() if theirs in reader.fields}
    return config | {
        "architecture": architecture,
        "vocab_size": len(reader.fields["tokenizer.ggml.tokens"].data),
        "tie_word_embeddings": all(tensor.name != "output.weight" for tensor in reader.tensors),
        "rope_parameters": _rope(architecture, float(_value(reader, f"{architecture}.rope.freq_base"))),
    }


def _rope(architecture: str, theta: float) -> dict[str, Any]:
    if architecture != "gemma3":
        return {"rope_type": "default", "rope_theta": theta}
    return {
        "full_attention": {"rope_type": "default", "rope_theta": theta},
        "sliding_attention": {"rope_type": "default", "rope_theta": 10_000.0},  # fixed in the architecture
    }


def _value(reader: Any, name: str) -> Any:
    if name not in reader.fields:
        raise KeyError(f"it states no {name}")
    return reader.fields[name].contents()


def _write_rest(file: Path, folder: Path, config: Mapping[str, Any]) -> None:
    from transformers import AutoConfig, GenerationConfig, PreTrainedTokenizerFast

    model_type, model_class = CLASSES[config["architecture"]]
    settings = {name: value for name, value in config.items() if name != "architecture"}
    made = AutoConfig.for_model(model_type, architectures=[model_class], dtype="bfloat16", **settings)
    made.save_pretrained(folder)
    GenerationConfig.from_model_config(made).save_pretrained(folder)
    tokenizer = PreTrainedTokenizerFast.from_pretrained(file.parent, gguf_file=file.name)
    tokenizer.save_pretrained(folder)
    compact = tokenizer.backend_tokenizer.to_str()  # the indented form takes twice as long to read
    (folder / "tokenizer.json").write_text(compact, encoding="utf-8")


def _write_weights(reader: Any, architecture: str, path: Path, on_progress: Progress | None) -> None:
    import torch

    names = [hf_name(tensor.name, architecture) for tensor in reader.tensors]
    shapes = [[int(size) for size in reversed(tensor.shape)] for tensor in reader.tensors]
    total = sum(2 * prod(shape) for shape in shapes)
    done = 0
    with path.open("wb") as out:
        _write_header(out, names, shapes)
        for tensor in reader.tensors:
            shift = 1.0 if architecture == "gemma3" and tensor.name.endswith("norm.weight") else 0.0
            for rows in _dequantised(tensor):
                # numpy has no bfloat16: its bits travel as integers
                out.write((rows - shift).bfloat16().view(torch.int16).numpy().tobytes())
                done += 2 * rows.numel()
                if on_progress:
                    on_progress(done, total)


def _write_header(out: BinaryIO, names: list[str], shapes: list[list[int]]) -> None:
    """The head of a safetensors file: its length, and where each tensor lies behind it."""
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    start = 0
    for name, shape in zip(names, shapes, strict=True):
        end = start + 2 * prod(shape)
        header[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [start, end]}
        start = end
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    out.write(len(text).to_bytes(8, "little") + text)


def hf_name(name: str, architecture: str) -> str:
    """`blk.3.attn_q.weight` -> `model.layers.3.self_attn.q_proj.weight`. ModelUnavailable: a name that is not known."""
    found = re.fullmatch(r"(?:blk\.(\d+)\.)?(\w+)\.(weight|bias)", name)
    layer, part, suffix = found.groups() if found else (None, "", "")
    ours = OUTER.get(part) if layer is None else BLOCKS[architecture].get(part)
    if ours is None:
        raise ModelUnavailable(
            f"The GGUF file holds a tensor {name}, which no {architecture} model has here. Give a folder with "
            "safetensors of that model, or its hub id."
        )
    return f"{ours}.{suffix}" if layer is None else f"model.layers.{layer}.{ours}.{suffix}"


def _dequantised(tensor: Any) -> Iterator[Tensor]:
    """The tensor's rows as float32, in slices."""
    import torch

    gguf = require("gguf", extra="offline")
    per_row = prod(int(size) for size in tensor.shape[:-1])
    step = max(1, SLICE // max(1, per_row))
    for first in range(0, len(tensor.data), step):
        yield torch.from_numpy(gguf.dequantize(tensor.data[first : first + step], tensor.tensor_type).copy()).float()
