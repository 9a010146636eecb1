"""Bi-encoders whose two sides differ: an instruction before each text, or an encoder of its own for the queries.

    Prefixed(encoder, "query: ")                     a side of E5, BGE, GTE, … as their cards ask for
    Towers(documents=…, queries=…)                   both sides: DPR's two encoders (Karpukhin et al., EMNLP 2020), or
                                                     one encoder whose query side was trained on alone (ADORE)

A store is built with `towers` (as an `Encoder` it is the documents' side, and its fingerprint is that of both), and
searched by `DenseRetriever(store, towers.queries)`. Pooling is the model folder's own: `models/bert.py` computes mean
and first-token pooling, sentence-transformers the others, last-token among them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from foveal.errors import InputError
from foveal.types import Encoder


@dataclass(frozen=True)
class Prefixed:
    """An `Encoder` that puts `prefix` before each text."""

    encoder: Encoder
    prefix: str

    @property
    def name(self) -> str:
        """The encoder's own."""
        return self.encoder.name

    @property
    def dimension(self) -> int:
        """The encoder's own."""
        return self.encoder.dimension

    @property
    def max_tokens(self) -> int:
        """What the prefix leaves of the encoder's tokens: a text may have so many, the two special ones included."""
        return self.encoder.max_tokens - len(self.encoder.token_offsets(self.prefix))

    @property
    def fingerprint(self) -> str:
        """That of the encoder and the prefix."""
        return _digest("prefixed", self.encoder.fingerprint, self.prefix) if self.prefix else self.encoder.fingerprint

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """Vectors (len(texts), dimension) of the texts with their prefix."""
        return self.encoder.encode([self.prefix + text for text in texts])

    def token_offsets(self, text: str) -> list[tuple[int, int]]:
        """Those of the text alone."""
        return self.encoder.token_offsets(text)


@dataclass(frozen=True)
class Towers:
    """Two encoders into one space. As an `Encoder` it is the documents' side."""

    documents: Encoder
    queries: Encoder

    def __post_init__(self) -> None:
        if self.documents.dimension != self.queries.dimension:
            raise InputError(
                f"The documents' encoder gives {self.documents.dimension} numbers, the queries' "
                f"{self.queries.dimension}; both must map into one space."
            )

    @property
    def name(self) -> str:
        """The documents' side's."""
        return self.documents.name

    @property
    def dimension(self) -> int:
        """Numbers of a vector."""
        return self.documents.dimension

    @property
    def max_tokens(self) -> int:
        """The documents' side's."""
        return self.documents.max_tokens

    @property
    def fingerprint(self) -> str:
        """That of both sides: an index is searched with the queries' encoder that it was made for."""
        return _digest("towers", self.documents.fingerprint, self.queries.fingerprint)

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """Vectors (len(texts), dimension) of documents."""
        return self.documents.encode(texts)

    def token_offsets(self, text: str) -> list[tuple[int, int]]:
        """The documents' side's."""
        return self.documents.token_offsets(text)


def _digest(*parts: str) -> str:
    return hashlib.sha256(repr(parts).encode("utf-8", "surrogatepass")).hexdigest()
