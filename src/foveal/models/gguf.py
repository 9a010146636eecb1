"""GGUF files as folders that transformers loads: weights unpacked once, to bfloat16 safetensors.

A GGUF file (the format of llama.cpp, Ollama and LM Studio) packs weights in blocks; unpacking them at each start takes
half a minute, a safetensors folder is mapped into memory at once. Tensors pass through one at a time and in slices of
rows, so that the memory needed does not grow with the model.

Parts     gguf_file.py reads the container, gguf_layouts.py knows the architectures, gguf_positions.py their positions,
          gguf_tokens.py makes the tokenizer
Trust     none: what a file says is held against what there is, and what is written against transformers' own model,
          name by name and size by size, before a byte is
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from foveal.errors import ModelUnavailable
from foveal.models.folders import Progress
from foveal.models.gguf_file import GgufFile, Packed, read_file
from foveal.models.gguf_layouts import Layout, configuration, renamed
from foveal.models.gguf_tokens import end_ids, role_ids, tokenizer_of
from foveal.models.quiet import quiet
from foveal.registry import require

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

VERSION = 2
"""Of what is written: raised when a file comes out otherwise than before, so that users' own are unpacked anew."""

SLICE = 2**24
"""Weights unpacked at once: 64 MB as float32."""

MISTAKES = (ValueError, KeyError, IndexError, TypeError, EOFError, OverflowError, ZeroDivisionError, RuntimeError)


def convert(file: Path, folder: Path, *, on_progress: Progress | None = None) -> None:
    """Write the model of `file` into `folder`: configuration, tokenizer with chat template, weights as bfloat16.

    ModelUnavailable: the file is no GGUF, is damaged, or of an architecture, a packing or a tokenizer that is not read.
    MissingExtra: no gguf.
    """
    require("gguf", extra="offline")
    try:
        with quiet():
            read = read_file(file)
            layout, settings = configuration(read)
            tokenizer = tokenizer_of(read)
            config = _config(read, layout, settings, len(tokenizer))
            parts = [part for tensor in read.tensors.values() for part in _parts(tensor, layout, settings)]
            _require_whole(parts, config)
            _write_weights(parts, folder / "model.safetensors", on_progress)
            _write_rest(folder, config, tokenizer, end_ids(read))
    except MISTAKES as error:
        told = str(error.args[0]) if isinstance(error, KeyError) and error.args else str(error)
        raise ModelUnavailable(
            f"{file} could not be read as a GGUF model: {told.rstrip('.')}. Fetch it anew if it is damaged; else give "
            "a folder with safetensors of that model, or its hub id."
        ) from error


@dataclass(frozen=True)
class Part:
    """A tensor to write, and the packed rows that it comes from."""

    name: str
    shape: tuple[int, ...]
    kind: int
    rows: np.ndarray[Any, np.dtype[np.uint8]]
    order: np.ndarray[Any, np.dtype[np.int64]] | None  # of the rows, where it is another one
    less: float


def _parts(tensor: Packed, layout: Layout, settings: Mapping[str, Any]) -> Iterator[Part]:
    """What is written of a tensor: itself, each of its experts, or nothing, where it is a fact."""
    if tensor.name in layout.apart:
        return
    name, shape, rows = renamed(tensor.name, layout), tensor.shape, tensor.rows
    if "{}" in name:
        if shape[0] != settings["num_experts"]:
            raise ValueError(f"its {tensor.name} has {shape[0]} experts, where {settings['num_experts']} are stated")
        each = prod(shape[1:-1])
        for expert in range(shape[0]):
            part = rows[expert * each : (expert + 1) * each]
            yield Part(name.format(expert), shape[1:], tensor.kind, part, None, 0.0)
        return
    if name.endswith("shared_expert_gate.weight") and len(shape) == 1:
        shape = (1, *shape)
    order, less = None, 1.0 if layout.plus_one and name.endswith("norm.weight") else 0.0
    for kind, heads in (("q", "num_attention_heads"), ("k", "num_key_value_heads")):
        if layout.paired and f".{kind}_proj." in name:
            order = halves_apart(shape[0], settings[heads])
            rows = rows.reshape(shape[0], -1)  # of a bias, too
    yield Part(name, shape, tensor.kind, rows, order, less)


def halves_apart(rows: int, heads: int) -> np.ndarray[Any, np.dtype[np.int64]]:
    """The order that puts rows of which pairs turn together (0 with 1, 2 with 3) so that the halves of a head do."""
    import numpy as np

    if rows % (2 * heads):
        raise ValueError(f"{rows} rows of queries or keys are not those of {heads} heads")
    order: np.ndarray[Any, np.dtype[np.int64]] = np.arange(rows).reshape(heads, -1, 2).swapaxes(1, 2).ravel()
    return order


def _config(file: GgufFile, layout: Layout, settings: Mapping[str, Any], tokens: int) -> Any:
    """transformers' configuration. ValueError: one that it refuses."""
    from huggingface_hub.errors import StrictDataclassError
    from transformers import AutoConfig

    embeddings = file.tensors.get("token_embd.weight")
    blocks = {name.split(".")[1] for name in file.tensors if name.startswith("blk.")}
    if embeddings is None or len(blocks) != settings["num_hidden_layers"]:
        raise ValueError(f"it holds {len(blocks)} of its {settings['num_hidden_layers']} layers, or no embeddings")
    if embeddings.shape[0] < tokens:
        raise ValueError(f"it has embeddings for {embeddings.shape[0]} of its {tokens} tokens")
    ids = {f"{role}_token_id": place for role, place in role_ids(file).items() if role != "unk"}
    try:
        return AutoConfig.for_model(
            layout.model_type,
            architectures=[layout.model_class],
            dtype="bfloat16",
            vocab_size=embeddings.shape[0],
            **ids,
            **settings,
        )
    except StrictDataclassError as error:
        raise ValueError(f"its facts do not fit together ({error})") from error


def _require_whole(parts: Iterable[Part], config: Any) -> None:
    """ValueError: the parts are not those of transformers' model of this configuration."""
    found = {part.name: part.shape for part in parts}
    for name, shape in _wanted(config):
        there = found.pop(name, None)
        if there is None:
            raise ValueError(f"its {name} is missing")
        if there != shape:
            raise ValueError(f"its {name} has the sizes {there}, where its facts make {shape}")
    if found:
        raise ValueError(f"it holds {len(found)} tensors too many, the first is {min(found)}")


def _wanted(config: Any) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Names and sizes of the model's weights; experts one by one, as checkpoints have them."""
    import torch
    from transformers import AutoModelForCausalLM

    auto: Any = AutoModelForCausalLM
    with torch.device("meta"):
        model = auto.from_config(config)
    for name, weight in model.named_parameters():
        shape, place = tuple(weight.shape), name.rpartition(".")[0]
        if name.endswith("mlp.experts.gate_up_proj"):
            half = (shape[1] // 2, *shape[2:])
            yield from ((f"{place}.{n}.{part}_proj.weight", half) for n in range(shape[0]) for part in ("gate", "up"))
        elif name.endswith("mlp.experts.down_proj"):
            yield from ((f"{place}.{n}.down_proj.weight", shape[1:]) for n in range(shape[0]))
        elif name != "lm_head.weight" or not config.tie_word_embeddings:
            yield name, shape


def _write_rest(folder: Path, config: Any, tokenizer: Any, ends: list[int]) -> None:
    from transformers import GenerationConfig

    config.save_pretrained(folder)
    generation = GenerationConfig.from_model_config(config)
    if ends and ends != [config.eos_token_id]:
        generation.eos_token_id = ends
    generation.save_pretrained(folder)
    try:
        tokenizer.save_pretrained(folder)
    except Exception as error:  # tokenizers tells a full disk by a plain Exception
        raise OSError(str(error)) from error
    compact = tokenizer.backend_tokenizer.to_str()  # the indented form takes twice as long to read
    (folder / "tokenizer.json").write_text(compact, encoding="utf-8")


def _write_weights(parts: list[Part], path: Path, on_progress: Progress | None) -> None:
    import torch

    total = sum(2 * prod(part.shape) for part in parts)
    done = 0
    with path.open("wb") as out:
        _write_header(out, parts)
        for part in parts:
            for rows in _unpacked(part):
                # numpy has no bfloat16: its bits travel as integers
                out.write((rows - part.less).bfloat16().view(torch.int16).numpy().tobytes())
                done += 2 * rows.numel()
                if on_progress:
                    on_progress(done, total)


def _write_header(out: BinaryIO, parts: Iterable[Part]) -> None:
    """The head of a safetensors file: its length, and where each tensor lies behind it."""
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    start = 0
    for part in parts:
        end = start + 2 * prod(part.shape)
        header[part.name] = {"dtype": "BF16", "shape": list(part.shape), "data_offsets": [start, end]}
        start = end
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    out.write(len(text).to_bytes(8, "little") + text)


def _unpacked(part: Part) -> Iterator[Tensor]:
    """The part's rows as float32, in slices. ValueError: its packing is not unpacked."""
    import numpy as np
    import torch

    gguf = require("gguf", extra="offline")
    kind = gguf.GGMLQuantizationType(part.kind)
    step = max(1, SLICE * len(part.rows) // prod(part.shape))
    for first in range(0, len(part.rows), step):
        which = slice(first, first + step) if part.order is None else part.order[first : first + step]
        try:
            rows = gguf.dequantize(np.ascontiguousarray(part.rows[which]), kind)
        except NotImplementedError as error:
            raise ValueError(
                f"its {part.name} is packed as {kind.name}, which is not unpacked; take a file in Q8_0, Q6_K, Q5_K_M, "
                "Q4_K_M or F16"
            ) from error
        yield torch.from_numpy(rows.copy()).float()
