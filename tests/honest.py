"""Small honest implementations of the protocols, for tests of what is built on them."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from foveal.retrieval.lexical import LexicalRetriever
from foveal.types import Document, Hit, Passage, Span


@dataclass(frozen=True)
class HashedWords:
    """An Encoder: each word has a fixed direction, a text is the sum of its words. Similar words are not similar."""

    dimension: int = 64
    max_tokens: int = 256
    name: str = "hashed-words"
    salt: str = ""

    @property
    def fingerprint(self) -> str:
        return f"hashed-words-{self.dimension}{self.salt}"

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        vectors = np.array([self._sum(text) for text in texts], dtype=np.float32).reshape(len(texts), self.dimension)
        return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9)

    def token_offsets(self, text: str) -> list[tuple[int, int]]:
        return [found.span() for found in re.finditer(r"\w+|[^\w\s]", text)]

    def _sum(self, text: str) -> np.ndarray:
        words = re.findall(r"\w+", text.lower())[: self.max_tokens] or ["<empty>"]
        return np.sum([self._direction(word) for word in words], axis=0)

    def _direction(self, word: str) -> np.ndarray:
        seed = int.from_bytes(hashlib.sha256((self.salt + word).encode()).digest()[:4], "big")
        return np.random.default_rng(seed).standard_normal(self.dimension)


@dataclass(frozen=True)
class Lines:
    """A Segmenter: each line, with its line end, is a passage."""

    def segment(self, document: Document) -> list[Passage]:
        passages, start = [], 0
        for line in document.text.splitlines(keepends=True):
            passages.append(Passage(Span(document.id, start, start + len(line)), line))
            start += len(line)
        return passages


@dataclass(frozen=True)
class ReversedRetriever:
    """A Retriever that gives what the lexical one gives, the worst first."""

    lexical: LexicalRetriever

    @classmethod
    def over(cls, collection, where):
        return cls(LexicalRetriever.over(collection, where))

    def search(self, queries: Sequence[str], k: int) -> list[list[Hit]]:
        return [hits[::-1] for hits in self.lexical.search(queries, k)]


def document(name: str, text: str, **origin: object) -> Document:
    """A document at a made-up address."""
    return Document.of(f"test:{name}", text, str(origin.pop("title", name)), **origin)
