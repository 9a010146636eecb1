"""BERT's forward pass in torch, for many texts.

Shapes    token ids (B, L) -> hidden states (B, L, D) -> mean or first token, scaled to unit length (B, D)
Speed     texts are sorted by length and batched by tokens, so that little is spent on padding and a batch's
          activations stay in the cache; batches run side by side, one thread each, so that no core waits for another
          inside a layer; bfloat16 where the processor multiplies it natively, else int8 where it does that faster
          (`byte_products`); pooling in float32
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from threading import Barrier
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from safetensors.torch import load_file
from torch import Tensor

from foveal.models.byte_products import ByteWeight
from foveal.models.dtypes import native_bfloat16

BATCH_TOKENS = 1024
"""Tokens of a batch, padding included: larger batches were slower on every processor tried (they leave the cache)."""

FEW_TOKENS = 64
"""Of a batch, that are multiplied in full: a query's vector is exact, and bytes would gain it nothing."""


@dataclass(frozen=True)
class Layer:
    """The weights of one block: (weight, bias) of each product and norm; queries, keys and values are one product."""

    qkv: tuple[Tensor, Tensor]
    attended: tuple[Tensor, Tensor]
    attended_norm: tuple[Tensor, Tensor]
    up: tuple[Tensor, Tensor]
    down: tuple[Tensor, Tensor]
    down_norm: tuple[Tensor, Tensor]


@dataclass(frozen=True)
class Rough:
    """The products of a block in int8, or none of them. The values' is never among them: its error goes into what is
    seen as it is, and was most of a vector's, while that of queries and keys hardly changes where is looked."""

    look: ByteWeight | None = None
    attended: ByteWeight | None = None
    up: ByteWeight | None = None
    down: ByteWeight | None = None

    @classmethod
    def of(cls, layer: Layer) -> Rough | None:
        """Those of `layer`; None: they would not be faster."""
        look = layer.qkv[0][: 2 * layer.qkv[0].shape[1]]
        made = [ByteWeight.of(one) for one in (look, layer.attended[0], layer.up[0], layer.down[0])]
        return cls(*made) if all(made) else None


class TorchBert:
    """The weights of a folder, and its forward pass."""

    def __init__(self, folder: Path, config: Mapping[str, Any], pooling: str, dtype: torch.dtype | None = None) -> None:
        """Load the weights as `dtype` (default: bfloat16 where native, else int8 where faster, else float32).

        int8: `vectors` multiplies the weights in it, where that is faster; all else in float32.
        """
        int8 = dtype == torch.int8 or (dtype is None and not native_bfloat16())
        self.dtype = torch.float32 if int8 else dtype or torch.bfloat16
        self._config, self._pooling, self._dimension = config, pooling, int(config["hidden_size"])
        self.weights = {k.removeprefix("bert."): v for k, v in load_file(folder / "model.safetensors").items()}
        self._layers = [self._layer(i) for i in range(config["num_hidden_layers"])]
        self._int8 = int8

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
        rough = self._rough if self._int8 and ids.numel() > FEW_TOKENS else []
        return pooled(self._hidden(ids, mask, rough), mask, self._pooling)

    @property
    def in_bytes(self) -> bool:
        """Whether vectors of many tokens are computed in int8."""
        return self._int8 and bool(self._rough)

    @cached_property
    def _rough(self) -> list[Rough]:
        """The products of each block in int8, made when many tokens come; [] where they would not be faster."""
        made = [rough for layer in self._layers if (rough := Rough.of(layer))]
        return made if len(made) == len(self._layers) else []

    def hidden(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Token ids (B, L) and which of them count (B, L) -> last hidden states (B, L, D)."""
        return self._hidden(ids, mask, [])

    def _hidden(self, ids: Tensor, mask: Tensor, rough: Sequence[Rough]) -> Tensor:
        w, eps = self.weights, self._config["layer_norm_eps"]
        heads = self._config["num_attention_heads"]
        batch, length = ids.shape
        x = w["embeddings.word_embeddings.weight"][ids].float() + w["embeddings.token_type_embeddings.weight"][0]
        x = x + w["embeddings.position_embeddings.weight"][:length]  # in float32, as weights stored in halves are read
        norm = w["embeddings.LayerNorm.weight"], w["embeddings.LayerNorm.bias"]
        x = F.layer_norm(x, norm[0].shape, norm[0].float(), norm[1].float(), eps).to(self.dtype)
        seen = None if bool(mask.all()) else mask[:, None, None, :]
        for layer, own in zip(self._layers, rough or [Rough()] * len(self._layers), strict=True):
            q, k, v = (one.view(batch, length, heads, -1).transpose(1, 2) for one in _looking(x, layer, own.look))
            attended = F.scaled_dot_product_attention(q, k, v, attn_mask=seen).transpose(1, 2).reshape(x.shape)
            attended = _product(attended, layer.attended, own.attended)
            x = F.layer_norm(attended.add_(x), (self._dimension,), *layer.attended_norm, eps)
            grown = torch.ops.aten.gelu_(_product(x, layer.up, own.up))  # memory of its own costs as much
            shrunk = _product(grown, layer.down, own.down)
            x = F.layer_norm(shrunk.add_(x), (self._dimension,), *layer.down_norm, eps)
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


def _looking(x: Tensor, layer: Layer, look: ByteWeight | None) -> tuple[Tensor, Tensor, Tensor]:
    """Queries, keys and values, (B, L, D) each."""
    weight, bias = layer.qkv
    if look is None:
        q, k, v = F.linear(x, weight, bias).chunk(3, dim=-1)
        return q, k, v
    size = x.shape[-1]
    q, k = _product(x, (weight[: 2 * size], bias[: 2 * size]), look).chunk(2, dim=-1)
    return q, k, F.linear(x, weight[2 * size :], bias[2 * size :])


def _product(x: Tensor, layer: tuple[Tensor, Tensor], rough: ByteWeight | None) -> Tensor:
    """x (B, L, depth) -> (B, L, outputs)."""
    if rough is None:
        return F.linear(x, *layer)
    return rough(x.view(-1, x.shape[-1]), layer[1]).view(*x.shape[:-1], -1)


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
