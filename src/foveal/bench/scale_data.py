"""Libraries of any size for benchmarks: real passages, encoded, and as many jittered copies as are wanted.

A copy of a real passage has its words, one in five of them exchanged for a word of another passage, and its vector with
noise, made unit length again (cosine with the original about 0.9): so that words and vectors spread as those of so many
texts might, and no two are alike. What such a library finds means nothing; what it costs is measured.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np

from foveal.bench.latency import cut_texts
from foveal.bench.settings import BenchSettings
from foveal.errors import InputError
from foveal.retrieval.rows import Prepared, passage_rows
from foveal.retrieval.store import Store
from foveal.types import Document, Encoder, Passage, Span

REAL = 50_000
"""Real passages at most; of a smaller collection all."""

EXCHANGED = 5
"""One word in so many is exchanged in a copy."""

NOISE = 0.48
"""Length of the noise beside a unit vector: cosine 1 / sqrt(1 + NOISE²) = 0.90."""

IN_A_DOCUMENT = 50
"""Passages of a document of copies."""

AT_ONCE = 20_000
"""Passages written by one commit."""


@dataclass(frozen=True)
class Real:
    """Real passages: their texts, and vectors (N, D)."""

    texts: list[str]
    vectors: np.ndarray


def real_passages(settings: BenchSettings, count: int, encoder: Encoder) -> Real:
    """`count` passages of the data folder's texts, or all there are. InputError: fewer than 3,000."""
    cut = cut_texts(settings, count)
    texts = [passage.text for _, passages in cut for passage in passages]
    if len(texts) < 3_000:
        raise InputError(
            f"{settings.data} holds text for {len(texts):,} passages; this bench needs 3,000. Name another folder by "
            "--data."
        )
    return Real(texts, settings.cached_vectors(["scale", str(count)], texts, encoder))


def passages_of(real: Real, count: int, seed: int) -> Iterator[tuple[str, np.ndarray]]:
    """`count` texts with their vectors: the real ones first, then copies."""
    yield from islice(zip(real.texts, real.vectors, strict=True), count)
    draws, noise = random.Random(seed), np.random.default_rng(seed)
    words = [text.split() for text in real.texts]
    for number in range(len(real.texts), count):
        row = number % len(real.texts)
        vector = real.vectors[row] + NOISE * _unit(noise.standard_normal((real.vectors.shape[1],), dtype=np.float32))
        yield _exchanged(words[row], words, draws), _unit(vector)


def write(store: Store, passages: Iterator[tuple[str, np.ndarray]]) -> None:
    """Put the passages into a store as documents, `AT_ONCE` by a commit; call it inside `store.writing()`."""
    number = 0
    while chunk := list(islice(passages, AT_ONCE)):
        rows, prepared = [], []
        for first in range(0, len(chunk), IN_A_DOCUMENT):
            part = chunk[first : first + IN_A_DOCUMENT]
            document, cut = _document(number, [text for text, _ in part])
            edition = hashlib.sha256(f"{document.id}{document.revision}".encode()).hexdigest()[:32]
            vectors = np.array([vector for _, vector in part])
            texts = [passage.text for passage in cut]
            rows.append(passage_rows(store.passages_schema, document, edition, cut, texts, vectors))
            prepared.append(Prepared(document, edition, len(cut)))
            number += 1
        store.append(rows)
        store.publish(prepared)


def _document(number: int, texts: Sequence[str]) -> tuple[Document, list[Passage]]:
    document = Document.of(f"bench:scale#{number}", "\n".join(texts), f"Document {number}")
    passages, start = [], 0
    for text in texts:
        passages.append(Passage(Span(document.id, start, start + len(text)), text))
        start += len(text) + 1
    return document, passages


def _exchanged(own: Sequence[str], words: Sequence[Sequence[str]], draws: random.Random) -> str:
    changed = list(own)
    for place in range(draws.randrange(EXCHANGED), len(changed), EXCHANGED):
        changed[place] = draws.choice(words[draws.randrange(len(words))])
    return " ".join(changed)


def _unit(vector: np.ndarray) -> np.ndarray:
    unit: np.ndarray = vector / np.linalg.norm(vector)
    return unit


def power_law(values: Mapping[int, float]) -> tuple[float, float]:
    """(a, b) of the line a N^b through values by size, fitted by least squares of their logarithms."""
    sizes, found = np.log(list(values)), np.log(list(values.values()))
    slope, height = np.polyfit(sizes, found, 1)
    return float(np.exp(height)), float(slope)
