"""BERT's forward pass in torch, for many texts.

Shapes    token ids (B, L) -> hidden states (B, L, D) -> mean or first token, scaled to unit length (B, D)
Speed     texts are sorted by length and batched by tokens, so that little is spent on padding and a batch's
          activations stay in the cache; batches run side by side, one thread each, so that no core waits for another
          inside a layer; bfloat16 where the processor multiplies it natively, pooling in float32
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from threading import Barrier
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from safetensors.torch import load_file
from torch import Tensor

BATCH_TOKENS = 1024
"""Tokens of a batch, padding included: larger batches were slower on every processor tried (they leave the cache)."""


def native_bfloat16() -> bool:
    """Whether the processor multiplies bfloat16 matrices natively (AMX or AVX-512 BF16)."""
    probes = ("_is_amx_tile_supported", "_is_avx512_bf16_supported")
    return any(getattr(torch.cpu, probe, lambda: False)() for probe in probes)


@dataclass(frozen=True)
class Layer:
    """The weights of one block: (weight, bias) of each product and norm; queries, keys and values are one product."""

    qkv: tuple[Tensor, Tensor]
    attended: tuple[Tensor, Tensor]
    attended_norm: tuple[Tensor, Tensor]
    up: tuple[Tensor, Tensor]
    down: tuple[Tensor, Tensor]
    down_norm: tuple[Tensor, Tensor]


class TorchBert:
    """The weights of a folder, and its forward pass."""

    def __init__(self, folder: Path, config: Mapping[str, Any], pooling: str, dtype: torch.dtype | None = None) -> None:
        """Load the weights as `dtype` (default: bfloat16 where native, else float32)."""
        self.dtype = dtype or (torch.bfloat16 if native_bfloat16() else torch.float32)
        self._config, self._pooling, self._dimension = config, pooling, int(config["hidden_size"])
        self.weights = {k.removeprefix("bert."): v for k, v in load_file(folder / "model.safetensors").items()}
        self._layers = [self._layer(i) for i in range(config["num_hidden_layers"])]

    def vectors(self, texts: Sequence[Sequence[int]]) -> np.ndarray:
        """Token ids of each text -> unit vectors (len(texts), D), float32."""
        vectors = np.empty((len(texts), self._dimension), dtype=np.float32)
        cut = list(batches([len(ids) for ids in texts], BATCH_TOKENS))
        made = workers(len(cut)).map(self._vectors, ([texts[row] for row in rows] for rows in cut))
        for rows, batch in zip(cut, made, strict=True):
            vectors[rows] = batch.numpy()
        return vectors

    @torch.inference_mode()
    def _vectors(self, texts: Sequence[Sequence[int]]) -> Tensor:
        length = max(map(len, texts))
        ids = torch.zeros(len(texts), length, dtype=torch.long)
        for row, own in enumerate(texts):
            ids[row, : len(own)] = torch.tensor(own)
        mask = torch.arange(length) < torch.tensor([len(own) for own in texts])[:, None]
        return pooled(self.hidden(ids, mask), mask, self._pooling)

    def hidden(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Token ids (B, L) and which of them count (B, L) -> last hidden states (B, L, D)."""
        w, eps = self.weights, self._config["layer_norm_eps"]
        heads = self._config["num_attention_heads"]
        batch, length = ids.shape
        x = w["embeddings.word_embeddings.weight"][ids].float() + w["embeddings.token_type_embeddings.weight"][0]
        x = x + w["embeddings.position_embeddings.weight"][:length]  # in float32, as weights stored in halves are read
        norm = w["embeddings.LayerNorm.weight"], w["embeddings.LayerNorm.bias"]
        x = F.layer_norm(x, norm[0].shape, norm[0].float(), norm[1].float(), eps).to(self.dtype)
        seen = None if bool(mask.all()) else mask[:, None, None, :]
        for layer in self._layers:
            q, k, v = F.linear(x, *layer.qkv).view(batch, length, 3, heads, -1).permute(2, 0, 3, 1, 4)
            attended = F.scaled_dot_product_attention(q, k, v, attn_mask=seen)
            attended = F.linear(attended.transpose(1, 2).reshape(batch, length, -1), *layer.attended)
            x = F.layer_norm(x + attended, (self._dimension,), *layer.attended_norm, eps)
            grown = F.linear(F.gelu(F.linear(x, *layer.up)), *layer.down)
            x = F.layer_norm(x + grown, (self._dimension,), *layer.down_norm, eps)
        return x

    def _layer(self, index: int) -> Layer:
        block = f"encoder.layer.{index}."

        def pair(name: str) -> tuple[Tensor, Tensor]:
            return tuple(self.weights[f"{block}{name}.{kind}"].to(self.dtype) for kind in ("weight", "bias"))  # type: ignore[return-value]

        projections = [pair(f"attention.self.{name}") for name in ("query", "key", "value")]
        return Layer(
            qkv=(torch.cat([w for w, _ in projections]), torch.cat([b for _, b in projections])),
            attended=pair("attention.output.dense"),
            attended_norm=pair("attention.output.LayerNorm"),
            up=pair("intermediate.dense"),
            down=pair("output.dense"),
            down_norm=pair("output.LayerNorm"),
        )


def workers(count: int = 2) -> ThreadPoolExecutor:
    """The threads for that many batches.

    They work in the order of asking, so a single batch (a query) has threads of its own: it must not wait for a whole
    collection that somebody else is encoding.
    """
    return _pool("one" if count == 1 else "many")


@lru_cache(2)
def _pool(use: str) -> ThreadPoolExecutor:
    """As many threads as torch would use, each of which computes alone.

    Torch's own threads meet after each operation and spin while they wait. For a short query that meeting costs more
    than the work, and on a busy machine 100 times more (measured: 590 ms instead of 3).
    """
    count = torch.get_num_threads()
    ready = Barrier(count + 1)

    def alone() -> None:
        torch.get_num_threads()  # the first call in a thread sets the count that torch remembers
        torch.set_num_threads(1)  # from then on OpenMP keeps this one for the thread
        ready.wait()

    pool = ThreadPoolExecutor(count, thread_name_prefix=f"foveal-encoder-{use}")
    for _ in range(count):
        pool.submit(alone)
    ready.wait()
    torch.set_num_threads(count)  # torch also remembers it for threads to come: those are not ours
    return pool


def batches(lengths: Sequence[int], tokens: int) -> Iterator[list[int]]:
    """Rows in batches of at most `tokens` tokens after padding (at least one row each), the longest first."""
    order = sorted(range(len(lengths)), key=lambda row: -lengths[row])
    start = 0
    while start < len(order):
        size = max(1, tokens // max(1, lengths[order[start]]))
        yield order[start : start + size]
        start += size


def pooled(hidden: Tensor, mask: Tensor, pooling: str | None) -> Tensor:
    """Hidden states (B, L, D) -> unit vectors (B, D), in float32: the mean over the tokens that count, or the first."""
    hidden = hidden.float()
    if pooling == "cls":
        return F.normalize(hidden[:, 0], dim=-1)
    counts = mask[:, :, None].float()
    return F.normalize((hidden * counts).sum(1) / counts.sum(1), dim=-1)
