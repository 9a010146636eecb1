"""A GGUF file of a few kilobytes, with weights of each kind, for tests."""

from __future__ import annotations

from pathlib import Path

import gguf
import numpy as np
from transformers.convert_slow_tokenizer import bytes_to_unicode

HIDDEN, FEED_FORWARD, HEAD, LAYERS = 64, 96, 32, 2

QWEN_TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def write_gguf(path: Path, architecture: str, *, generator: np.random.Generator) -> dict[str, np.ndarray]:
    """Write a small model; its weights as given to the file, by their names there."""
    writer = gguf.GGUFWriter(path, architecture)
    writer.add_context_length(256)
    writer.add_embedding_length(HIDDEN)
    writer.add_block_count(LAYERS)
    writer.add_feed_forward_length(FEED_FORWARD)
    writer.add_head_count(2)
    writer.add_head_count_kv(1)
    writer.add_key_length(HEAD)
    writer.add_layer_norm_rms_eps(1e-6)
    writer.add_rope_freq_base(1e6)
    tokens = add_gemma_tokens(writer) if architecture == "gemma3" else add_qwen_tokens(writer)
    if architecture == "gemma3":
        writer.add_sliding_window(32)
    tensors = {name: generator.normal(size=shape).astype(np.float32) for name, shape in _shapes(architecture, tokens)}
    for name, weights in tensors.items():
        kind = _kind(name)
        packed = weights if kind == gguf.GGMLQuantizationType.F32 else gguf.quants.quantize(weights, kind)
        writer.add_tensor(name, packed, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return tensors


def _kind(name: str) -> gguf.GGMLQuantizationType:
    if name.endswith(("norm.weight", ".bias")):
        return gguf.GGMLQuantizationType.F32
    if "ffn" in name:
        return gguf.GGMLQuantizationType.Q4_0
    return gguf.GGMLQuantizationType.F16 if "attn_v" in name else gguf.GGMLQuantizationType.Q8_0


def _shapes(architecture: str, tokens: int) -> list[tuple[str, tuple[int, ...]]]:
    shapes: list[tuple[str, tuple[int, ...]]] = [
        ("token_embd.weight", (tokens, HIDDEN)),
        ("output_norm.weight", (HIDDEN,)),
    ]
    for layer in range(LAYERS):
        block = {
            "attn_norm.weight": (HIDDEN,),
            "attn_q.weight": (2 * HEAD, HIDDEN),
            "attn_k.weight": (HEAD, HIDDEN),
            "attn_v.weight": (HEAD, HIDDEN),
            "attn_output.weight": (HIDDEN, 2 * HEAD),
            "ffn_norm.weight": (HIDDEN,),
            "ffn_gate.weight": (FEED_FORWARD, HIDDEN),
            "ffn_up.weight": (FEED_FORWARD, HIDDEN),
            "ffn_down.weight": (HIDDEN, FEED_FORWARD),
        }
        if architecture == "qwen2":
            block |= {"attn_q.bias": (2 * HEAD,), "attn_k.bias": (HEAD,), "attn_v.bias": (HEAD,)}
        else:
            block |= {"attn_q_norm.weight": (HEAD,), "attn_k_norm.weight": (HEAD,)}
        if architecture == "gemma3":
            block |= {"post_attention_norm.weight": (HIDDEN,), "post_ffw_norm.weight": (HIDDEN,)}
        shapes += [(f"blk.{layer}.{name}", shape) for name, shape in block.items()]
    return shapes


def add_qwen_tokens(writer: gguf.GGUFWriter) -> int:
    alphabet = list(bytes_to_unicode().values())
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    tokens = [*alphabet, "th", "the", *special]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("qwen2")
    writer.add_token_list(tokens)
    writer.add_token_types([1] * (len(tokens) - 3) + [3] * 3)
    writer.add_token_merges(["t h", "th e"])
    writer.add_bos_token_id(tokens.index("<|endoftext|>"))
    writer.add_eos_token_id(tokens.index("<|im_end|>"))
    writer.add_add_bos_token(False)
    writer.add_chat_template(QWEN_TEMPLATE)
    return len(tokens)


def add_gemma_tokens(writer: gguf.GGUFWriter) -> int:
    special = ["<pad>", "<eos>", "<bos>", "<unk>", "<end_of_turn>"]
    letters = ["\u2581", *"abcdefghijklmnopqrstuvwxyz.\n", "th", "the"]
    tokens = [*special, *(f"<0x{byte:02X}>" for byte in range(256)), *letters]
    writer.add_tokenizer_model("llama")
    writer.add_tokenizer_pre("default")
    writer.add_token_list(tokens)
    writer.add_token_scores([-float(place) for place in range(len(tokens))])
    writer.add_token_types([3] * 5 + [6] * 256 + [1] * len(letters))
    for add, token_id in ((writer.add_pad_token_id, 0), (writer.add_eos_token_id, 1), (writer.add_bos_token_id, 2)):
        add(token_id)
    writer.add_unk_token_id(3)
    writer.add_add_bos_token(True)
    writer.add_add_space_prefix(False)
    return len(tokens)
