"""A small library whose passages are indexed by honest models of token vectors and of weighted words."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from honest import document
from retrieval.test_late import WordVectors, maxsim_by_definition, unit
from retrieval.test_store import make, put

from foveal.registry import RETRIEVERS, lookup
from foveal.retrieval import passage_models
from foveal.retrieval.filters import sql
from foveal.retrieval.passage_kinds import LatePassages, SparsePassages
from foveal.retrieval.passage_models import Asked
from foveal.retrieval.sparse_lists import SparseVectors
from foveal.retrieval.store import Store
from foveal.settings import Settings

FRUITS = ("apples", "pears", "plums", "cherries", "figs", "dates")
LINES = ("ripe {} fall early", "sour {} keep for long", "dried {} are sweet")
KINDS = ("late", "sparse")


@dataclass(frozen=True)
class PlacedWords(WordVectors):
    """WordVectors whose words look a little different in each text, as those of a model that reads the others too.

    `read` notes the texts that were read as documents.
    """

    read: list[str] = field(default_factory=list)

    def queries(self, texts):
        return [self._placed(text, vectors) for text, vectors in zip(texts, super().queries(texts), strict=True)]

    def documents(self, texts):
        self.read.extend(texts)
        return self.queries(texts)

    def _placed(self, text: str, vectors: np.ndarray) -> np.ndarray:
        seed = int(hashlib.sha256(text.encode()).hexdigest()[:8], 16)
        return unit(vectors + 0.05 * np.random.default_rng(seed).standard_normal(vectors.shape))


@dataclass(frozen=True)
class WeighedWords:
    """A SparseEncoder: each word is a number of its own, longer words weigh more. `read` as of `PlacedWords`."""

    vocabulary: int = 5000
    name: str = "weighed-words"
    salt: str = ""
    read: list[str] = field(default_factory=list)

    @property
    def fingerprint(self) -> str:
        return f"weighed-words{self.salt}"

    def encode(self, texts, *, queries=False):
        self.read.extend([] if queries else texts)
        return SparseVectors.of_dense(np.stack([self.weights(text) for text in texts]))

    def weights(self, text: str) -> np.ndarray:
        row = np.zeros(self.vocabulary, dtype=np.float32)
        for word in re.findall(r"\w+", text.lower()):
            row[int(hashlib.sha256(word.encode()).hexdigest(), 16) % self.vocabulary] = len(word)
        return row


@dataclass
class Shelf:
    """A Collection; `models` are those of its kinds of index."""

    store: Any
    settings: Settings
    models: dict[str, Any]
    encoder: Any = None

    def find(self, query: str, kind: str, k: int = 3, where: str | None = None) -> list[str]:
        """The texts of what is found."""
        name, _, model = kind.partition(":")
        options = {"model": model} if model else {}
        found = lookup(RETRIEVERS, name, kind="retriever").over(self, sql(where), **options).search([query], k)[0]
        for hit in found:
            assert self.store.text(hit.passage.span.document_id, hit.revision).quote(hit.passage.span) == (
                hit.passage.text
            )
            assert hit.source == name
        return [hit.passage.text.strip() for hit in found]

    def asked(self, kind: str, model: str | None = None) -> Asked:
        return Asked.of(self, kind, model)

    def elsewhere(self) -> Shelf:
        """The same library, as another process opens it."""
        return Shelf(Store.open(self.store.uri), self.settings, self.models)


def text_of(fruit: str) -> str:
    return "".join(line.format(fruit) + "\n" for line in LINES)


def shelf_of_fruits(settings: Settings, monkeypatch) -> Shelf:
    """Six documents of three passages each. A model of any name is `models[kind]`."""
    models = {"late": PlacedWords(), "sparse": WeighedWords()}
    for kind, made in (("late", LatePassages), ("sparse", SparsePassages)):
        monkeypatch.setitem(passage_models.KINDS, kind, (lambda *_, kind=kind: models[kind], made))
    monkeypatch.setattr(passage_models, "_loaded", passage_models._loaded.__wrapped__)
    store = make(settings.home / "library", encoder=None)
    put(store, [document(fruit, text_of(fruit)) for fruit in FRUITS])
    return Shelf(store, settings, models)


def scored_by_definition(kind: str, query: str, text: str) -> float:
    if kind == "sparse":
        return float(WeighedWords().weights(query) @ WeighedWords().weights(text))
    asked, held = PlacedWords().queries([query]), PlacedWords().documents([text])
    return maxsim_by_definition(asked[0], held[0])
