"""Encoders whose vectors are weights over a vocabulary, by name: a folder, or a hub id.

    transformers           a masked-language model (its own head gives the logits): SPLADE's pooling, `SpladeEncoder`
    sentence-transformers  a folder with modules.json, as its SparseEncoder saves: `SentenceTransformersSparse`, by
                           the extra; also its inference-free queries and its sparse auto-encoders (CSR)

`load_sparse_encoder` takes the second where there is a modules.json. A SPLADE folder of sentence-transformers is one of
transformers, too: without the extra, `SpladeEncoder(folder)` reads it and gives the same weights.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from foveal.errors import InputError, ModelUnavailable
from foveal.models.characters import has_known_token, scalar
from foveal.models.folders import fingerprint
from foveal.models.hub import folder_of
from foveal.models.quiet import quiet
from foveal.registry import require
from foveal.retrieval.sparse_lists import Floats, Ints, SparseVectors
from foveal.settings import Settings


class SparseEncoder(Protocol):
    """Texts to weights over a vocabulary, all of 0 or more."""

    name: str
    vocabulary: int

    @property
    def fingerprint(self) -> str:
        """Changes whenever the same text would get another vector."""
        ...

    def encode(self, texts: Sequence[str], *, queries: bool = False) -> SparseVectors:
        """A vector for each text, in the order given; some models read queries in another way than documents."""
        ...


def load_sparse_encoder(name: str, *, cache: Path | None = None) -> SparseEncoder:
    """The sparse encoder in a folder, or by a hub id such as "naver/splade-v3".

    UnknownName: no such folder or id. MissingExtra: it needs sentence-transformers. ModelUnavailable: it is none.
    """
    folder = folder_of(name, cache or Settings.load().cache, kind="encoder")
    try:
        if (folder / "modules.json").is_file():
            if _gives_weights(folder):
                return SentenceTransformersSparse(folder, name=name)
            raise ModelUnavailable(
                f"{folder} holds an encoder that makes one vector of a text, no weights of words. Search by it with "
                "foveal admin encoder, or name a SPLADE model."
            )
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        if any(kind.endswith("ForMaskedLM") for kind in config.get("architectures") or ()):
            return SpladeEncoder(folder, name=name)
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise ModelUnavailable(
            f"{folder} could not be loaded as a sparse encoder ({type(error).__name__}: {error}). Fetch it anew."
        ) from error
    raise ModelUnavailable(
        f"{folder} holds no sparse encoder: it has no modules.json, and its model is no masked-language model. Train "
        "one with foveal.training.sparse, or name another folder."
    )


def _gives_weights(folder: Path) -> bool:
    """Whether a folder's parts are those of a sparse encoder: of any other sentence-transformers would make one, whose
    numbers are no words' weights.
    """
    parts = json.loads((folder / "modules.json").read_text(encoding="utf-8"))
    return any(sign in part["type"].lower() for part in parts for sign in ("sparse", "splade"))


class SpladeEncoder:
    """SPLADE's weights from any masked-language model of transformers; queries and documents are read alike."""

    def __init__(
        self,
        folder: Path,
        *,
        name: str | None = None,
        max_tokens: int = 256,
        most: int | None = None,
        batch: int = 16,
    ) -> None:
        """`max_tokens` of a text are read; `most` keeps only that many weights of a vector, the highest."""
        if max_tokens < 3 or batch < 1 or (most is not None and most < 1):
            raise InputError(
                f"A sparse encoder got max_tokens={max_tokens}, most={most}, batch={batch}; it needs at least 3, 1, 1."
            )
        with quiet():
            from transformers import AutoModelForMaskedLM, AutoTokenizer

            self._tokenizer: Any = AutoTokenizer.from_pretrained(folder)
            self._model: Any = AutoModelForMaskedLM.from_pretrained(folder, use_safetensors=True).eval()
        self.max_tokens = min(max_tokens, _places(self._model) or max_tokens)
        self.name, self.most, self.batch = name or folder.name, most, batch
        self.vocabulary = int(self._model.config.vocab_size)
        self.fingerprint = fingerprint(folder, seed=f"splade {self.max_tokens} {most}")

    def knows(self, text: str) -> bool:
        """Whether `text` has a token that the model knows."""
        return has_known_token(self._tokenizer, text)

    def encode(self, texts: Sequence[str], *, queries: bool = False) -> SparseVectors:  # noqa: ARG002
        """Vectors (len(texts), vocabulary)."""
        order = sorted(range(len(texts)), key=lambda row: -len(texts[row]))  # of one length together: little padding
        rows: dict[int, tuple[Ints, Floats]] = {}
        for first in range(0, len(order), self.batch):
            part = order[first : first + self.batch]
            made = self._encode([texts[row] for row in part])
            rows.update((row, made.row(place)) for place, row in enumerate(part))
        return SparseVectors.of_rows([rows[row] for row in range(len(texts))], self.vocabulary)

    def _encode(self, texts: Sequence[str]) -> SparseVectors:
        import torch

        from foveal.training.sparse import splade

        read = self._tokenizer(
            list(map(scalar, texts)), padding=True, truncation=True, max_length=self.max_tokens, return_tensors="pt"
        )
        with torch.inference_mode():
            weights = splade(self._model(**read).logits.float(), read["attention_mask"].bool()).numpy()
        return SparseVectors.of_dense(weights if self.most is None else highest(weights, self.most))


class SentenceTransformersSparse:
    """Any model that sentence-transformers' SparseEncoder loads."""

    def __init__(self, folder: Path, *, name: str | None = None) -> None:
        """MissingExtra where sentence-transformers is not installed."""
        module = require("sentence_transformers", extra="train")
        with quiet():
            self._model: Any = module.SparseEncoder(str(folder), device="cpu", model_kwargs={"use_safetensors": True})
        self.name = name or folder.name
        # What the model states as its dimension may be that of its hidden states.
        self.vocabulary = int(self._model.encode_document(["a"], show_progress_bar=False).shape[1])
        self.fingerprint = fingerprint(folder, seed="sentence-transformers sparse")

    def knows(self, text: str) -> bool:
        """Whether `text` has a token that the model knows."""
        return has_known_token(self._model.tokenizer, text)

    def encode(self, texts: Sequence[str], *, queries: bool = False) -> SparseVectors:
        """Vectors (len(texts), vocabulary). InputError: the model gives weights below 0."""
        if not texts:
            return SparseVectors.of_rows([], self.vocabulary)
        encode = self._model.encode_query if queries else self._model.encode_document
        found = encode(
            list(map(scalar, texts)), show_progress_bar=False, convert_to_sparse_tensor=True, save_to_cpu=True
        ).coalesce()
        rows, terms = found.indices().numpy()
        starts = np.searchsorted(rows, np.arange(len(texts) + 1))
        values = found.values().float().numpy()
        pairs = [(terms[at:end], values[at:end]) for at, end in pairwise(starts)]
        return SparseVectors.of_rows(pairs, self.vocabulary)


def _places(model: Any) -> int | None:
    """Tokens that a model has positions for; None: any number."""
    places = getattr(model.config, "max_position_embeddings", None)
    tables = [part for name, part in model.named_modules() if name.endswith(".position_embeddings")]
    padding = next((table.padding_idx for table in tables if getattr(table, "padding_idx", None) is not None), -1)
    return places and int(places) - padding - 1  # RoBERTa's kin count positions from the one behind that of padding


def highest(weights: np.ndarray, most: int) -> np.ndarray:
    """(N, V) with all but the `most` highest weights of each row at 0; of equal ones the first terms stay."""
    order = np.argsort(-weights, axis=1, kind="stable")[:, :most]
    cut = np.zeros_like(weights)
    np.put_along_axis(cut, order, np.take_along_axis(weights, order, axis=1), axis=1)
    return cut
