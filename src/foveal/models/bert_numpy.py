"""BERT's forward pass in NumPy, for a query: importing torch takes a hundred times as long as the query itself.

One text after the other, in float32, on one thread: OpenBLAS' threads meet after each product, which on a busy machine
takes longer than the product. Of the word vectors only the rows of the text's words are read from the file.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import safe_open
from threadpoolctl import ThreadpoolController

PLAIN = ("F32", "F16")
"""Types of stored weights that NumPy has, too: bfloat16 it has not."""

TABLES = ("embeddings.word_embeddings.weight", "embeddings.position_embeddings.weight")
"""Of which only rows are read."""

_ALONE = threading.Lock()
"""The number of threads is the process's: who sets it back later must not set back to one."""


def reads(folder: Path) -> bool:
    """Whether the weights of `folder` are stored in types that NumPy has."""
    stored = _opened(folder)
    names = (name for name in stored.keys() if "position_ids" not in name)  # noqa: SIM118 - no mapping
    return all(stored.get_slice(name).get_dtype() in PLAIN for name in names)


def _opened(folder: Path) -> Any:
    """The stored weights, of which nothing is read yet."""
    return safe_open(folder / "model.safetensors", framework="np")


class NumpyBert:
    """The weights of a folder, and its forward pass."""

    def __init__(self, folder: Path, config: Mapping[str, Any], pooling: str) -> None:
        """KeyError, SafetensorError: there are no such weights in it."""
        self._heads, self._eps = int(config["num_attention_heads"]), np.float32(config["layer_norm_eps"])
        self._layers, self._pooling = int(config["num_hidden_layers"]), pooling
        stored = _opened(folder)
        names = {name.removeprefix("bert."): name for name in stored.keys()}  # noqa: SIM118 - no mapping
        self._words, self._positions = (stored.get_slice(names[table]) for table in TABLES)
        self._weights = {
            short: stored.get_tensor(name).astype(np.float32, copy=False)
            for short, name in names.items()
            if short.startswith(("embeddings.LayerNorm", "embeddings.token_type", "encoder."))
        }
        self._block(self._layers - 1)  # KeyError now rather than at the first query

    def vectors(self, texts: Sequence[Sequence[int]]) -> np.ndarray:
        """Token ids of each text -> unit vectors (len(texts), D)."""
        with _ALONE, _blas().limit(limits=1, user_api="blas"):
            return np.stack([self._vector(ids) for ids in texts])

    def _vector(self, ids: Sequence[int]) -> np.ndarray:
        hidden = self.hidden(ids)
        pooled = hidden[0] if self._pooling == "cls" else hidden.mean(axis=0)
        unit: np.ndarray = pooled / np.maximum(np.linalg.norm(pooled), 1e-12)
        return unit

    def hidden(self, ids: Sequence[int]) -> np.ndarray:
        """Token ids (L) -> last hidden states (L, D)."""
        words = np.concatenate([self._words[token : token + 1] for token in ids]).astype(np.float32)
        x = words + self._weights["embeddings.token_type_embeddings.weight"][0] + self._positions[: len(ids)]
        x = self._normed(x, "embeddings.LayerNorm")
        for index in range(self._layers):
            query, key, value, attended, up, down = self._block(index)
            heads = (self._split(self._product(x, name)) for name in (query, key, value))
            x = self._normed(x + self._product(self._looked(*heads), attended), attended.replace("dense", "LayerNorm"))
            grown = gelu(self._product(x, up))
            x = self._normed(x + self._product(grown, down), down.replace("dense", "LayerNorm"))
        return x

    def _block(self, index: int) -> list[str]:
        """The names of a block's products, in their order. KeyError: one is not there."""
        parts = (
            "attention.self.query", "attention.self.key", "attention.self.value", "attention.output.dense",
            "intermediate.dense", "output.dense",
        )  # fmt: skip
        names = [f"encoder.layer.{index}.{part}" for part in parts]
        for name in names:
            self._weights[f"{name}.weight"]
        return names

    def _product(self, x: np.ndarray, name: str) -> np.ndarray:
        product: np.ndarray = x @ self._weights[f"{name}.weight"].T + self._weights[f"{name}.bias"]
        return product

    def _split(self, x: np.ndarray) -> np.ndarray:
        """(L, D) -> (heads, L, D / heads)."""
        return x.reshape(len(x), self._heads, -1).transpose(1, 0, 2)

    def _looked(self, query: np.ndarray, key: np.ndarray, value: np.ndarray) -> np.ndarray:
        """Softmax attention: (heads, L, D / heads) each -> (L, D)."""
        scores = query @ key.transpose(0, 2, 1) / np.float32(math.sqrt(query.shape[-1]))
        weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
        weights /= weights.sum(axis=-1, keepdims=True)
        looked: np.ndarray = (weights @ value).transpose(1, 0, 2)
        return looked.reshape(len(looked), -1)

    def _normed(self, x: np.ndarray, name: str) -> np.ndarray:
        centred = x - x.mean(axis=-1, keepdims=True)
        spread = np.sqrt((centred * centred).mean(axis=-1, keepdims=True) + self._eps)
        normed: np.ndarray = centred / spread * self._weights[f"{name}.weight"] + self._weights[f"{name}.bias"]
        return normed


def gelu(x: np.ndarray) -> np.ndarray:
    """x times the normal distribution's share below x, to 2e-8 of that share: NumPy has no error function."""
    grown: np.ndarray = (x * np.interp(x, *_normal())).astype(np.float32)
    return grown


@lru_cache(1)
def _blas() -> ThreadpoolController:
    return ThreadpoolController()


@lru_cache(1)
def _normal(reach: float = 6.0, points: int = 16_385) -> tuple[np.ndarray, np.ndarray]:
    """A table of the normal distribution: beyond `reach` less than 1e-9 is missing."""
    places = np.linspace(-reach, reach, points)
    return places, np.array([0.5 * (1 + math.erf(place / math.sqrt(2))) for place in places.tolist()])
