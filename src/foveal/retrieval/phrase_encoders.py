"""Vectors for phrases: a passage's tokens, and a question's start and end, by an encoder of the BERT family.

Shapes    a passage (n, W), a question (2, W); W is the encoder's width, or twice that of its heads where that is less
Needs     an encoder that `training/phrases.py` trained; a plain one finds few answers
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
import numpy.typing as npt
import torch
from safetensors import SafetensorError
from tokenizers import Tokenizer
from torch import Tensor

from foveal.errors import InputError, ModelUnavailable
from foveal.models.hub import folder_of
from foveal.models.phrase_reading import question_states, read, token_states
from foveal.retrieval.flat import Floats, Ids
from foveal.settings import Settings
from foveal.training import checkpoints
from foveal.training.phrases import ABOUT, HEADS, POOLINGS, WEIGHTS

if TYPE_CHECKING:
    from foveal.models.bert import BertEncoder

Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class PassageTokens:
    """The tokens of one passage: vectors (n, W), places in its text (n, 2), and where a phrase may begin and end."""

    vectors: Floats
    offsets: Ids
    begins: Bools
    ends: Bools


class PhraseVectors(Protocol):
    """What an index needs of an encoder: `PhraseEncoder`, or another."""

    name: str

    @property
    def fingerprint(self) -> str:
        """Changes whenever the same text would get other vectors."""
        ...

    def passages(self, texts: Sequence[str]) -> list[PassageTokens]:
        """The tokens of each text."""
        ...

    def questions(self, texts: Sequence[str]) -> Floats:
        """Start and end vector of each text, (Q, 2, W)."""
        ...


@dataclass(frozen=True)
class PhraseHeads:
    """Four matrices (D', D), float32: of a passage's tokens, and of the question's vector."""

    start: Floats
    end: Floats
    question_start: Floats
    question_end: Floats
    pooling: str = "mean"  # of the question's tokens, or "cls"

    def __post_init__(self) -> None:
        shapes = {np.shape(getattr(self, name)) for name in HEADS}
        finite = all(np.isfinite(getattr(self, name)).all() for name in HEADS)
        if len(shapes) != 1 or len(next(iter(shapes))) != 2 or not finite or self.pooling not in POOLINGS:
            raise InputError(
                f"Phrase heads got the shapes {', '.join(map(str, shapes))} and pooling={self.pooling!r}; it needs "
                f"four matrices of one shape, all numbers finite, and one of {', '.join(POOLINGS)}."
            )

    @classmethod
    def plain(cls, dimension: int, *, pooling: str = "mean") -> PhraseHeads:
        """The untrained ones, which leave every vector as it is."""
        return cls(**dict.fromkeys(HEADS, np.eye(dimension, dtype=np.float32)), pooling=pooling)

    @classmethod
    def load(cls, folder: Path) -> PhraseHeads:
        """Those of a trained folder. ModelUnavailable: it has none, or they are damaged."""
        from safetensors.numpy import load_file

        try:
            weights, about = load_file(folder / WEIGHTS), checkpoints.read(folder / ABOUT)
            return cls(**{name: weights[name] for name in HEADS}, pooling=(about or {})["pooling"])
        except (OSError, KeyError, SafetensorError, InputError) as error:
            raise ModelUnavailable(
                f"The phrase heads in {folder} are missing or damaged ({error}). Train or fetch the model anew."
            ) from error


class PhraseEncoder:
    """`PhraseVectors` over the hidden states of a sentence encoder of the BERT family."""

    def __init__(self, encoder: BertEncoder, heads: PhraseHeads | None = None) -> None:
        """`heads`: default the plain ones. InputError: they do not fit the encoder."""
        heads = heads or PhraseHeads.plain(encoder.dimension)
        if heads.start.shape[1] != encoder.dimension:
            raise InputError(
                f"The phrase heads have the shape {heads.start.shape}; {encoder.name} needs (D', {encoder.dimension})."
            )
        self.name, self.heads, self._encoder = encoder.name, heads, encoder
        self._tokenizer = Tokenizer.from_file(str(encoder.folder / "tokenizer.json"))
        self._tokenizer.no_padding()
        self._tokenizer.no_truncation()
        self._room = encoder.max_tokens - 2

    def knows(self, text: str) -> bool:
        """Whether the vocabulary has a token of its own for anything of the text."""
        return self._encoder.knows(text)

    @property
    def dimension(self) -> int:
        """Numbers of a token's vector, W: D, or both vectors' 2 D' where that is less."""
        return self._encoder.dimension if self._folded else 2 * len(self.heads.start)

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 over the encoder's fingerprint, the pooling and the heads."""
        digest = hashlib.sha256(f"phrases {self._encoder.fingerprint} {self.heads.pooling}".encode())
        for name in HEADS:
            digest.update(np.ascontiguousarray(getattr(self.heads, name)).tobytes())
        return digest.hexdigest()

    def passages(self, texts: Sequence[str]) -> list[PassageTokens]:
        """The tokens of each text, all of them: a text longer than the encoder's window is read in several."""
        from foveal.models.bert_torch import workers

        made = read(self._tokenizer, texts)
        found = token_states(made, self._tokenizer, self._hidden, room=self._room, over=workers().map)
        if not self._folded:
            both = np.concatenate([self.heads.start, self.heads.end]).T
            found = [states @ both for states in found]
        return [
            PassageTokens(vectors, one.offsets, one.begins, one.ends) for vectors, one in zip(found, made, strict=True)
        ]

    def questions(self, texts: Sequence[str]) -> Floats:
        """Start and end vector of each text, (Q, 2, W); of a text the first `max_tokens` tokens count."""
        heads = self.heads
        states = np.zeros((len(texts), heads.start.shape[1]), dtype=np.float32)
        for row, found in enumerate(
            question_states(texts, self._tokenizer, self._hidden, room=self._room, pooling=heads.pooling)
        ):
            states[row] = found
        start, end = states @ heads.question_start.T, states @ heads.question_end.T
        if self._folded:
            return np.stack([start @ heads.start, end @ heads.end], axis=1)
        nothing = np.zeros_like(start)
        return np.stack([np.concatenate([start, nothing], 1), np.concatenate([nothing, end], 1)], axis=1)

    @property
    def _folded(self) -> bool:
        """Whether tokens are stored as the encoder gives them: (S'm) . (Sh) is the same as (S^T S'm) . h."""
        return 2 * len(self.heads.start) >= self._encoder.dimension

    def _hidden(self, ids: Tensor, mask: Tensor) -> Tensor:
        with torch.inference_mode():
            return self._encoder.hidden(ids, mask)


def load_phrase_encoder(name: str = "minilm") -> PhraseEncoder:
    """The phrase encoder called `name`: a trained one's name, its folder, or any encoder of the BERT family, untrained.

    UnknownName: no such name. ModelUnavailable: it cannot be had, or is of another family than BERT.
    """
    from foveal.models import load_encoder
    from foveal.models.bert import BertEncoder

    folder, encoder = folder_of(name, Settings.load().cache, kind="encoder"), load_encoder(name)
    if not isinstance(encoder, BertEncoder):
        raise ModelUnavailable(
            f"{name} is no sentence encoder of the BERT family, so its token vectors cannot be had. Name an encoder "
            "such as minilm, or a folder that foveal.training.phrases made."
        )
    trained = (folder / WEIGHTS).is_file() or (folder / ABOUT).is_file()
    return PhraseEncoder(encoder, PhraseHeads.load(folder) if trained else None)
