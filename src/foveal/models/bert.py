"""BERT sentence encoders (Devlin et al., NAACL 2019; Reimers and Gurevych, EMNLP 2019) without transformers.

Importing transformers' BERT takes 3 s, and torch 1 s: most of what a search from the shell would cost in all. So two
forward passes of our own compute sentence-transformers' vectors (tested to 1e-5 in float32), and what this module does
by itself, reading a folder and cutting texts into tokens, needs neither.

bert_numpy.py   a query or two, as long as nothing else has imported torch: float32
bert_torch.py   whatever is more: batches side by side, bfloat16 where the processor multiplies it natively,
                else int8 where that is faster

Needs     a sentence-transformers folder whose config says model_type "bert" (MiniLM, BGE, GTE, E5 of that size), with
          nothing between tokens and vector but the model and its pooling
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from tokenizers import Encoding, Tokenizer

from foveal.errors import ModelUnavailable
from foveal.models.bert_numpy import NumpyBert, reads
from foveal.models.characters import require_several, scalar

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from foveal.models.bert_torch import TorchBert

TOKENISED_AT_ONCE = 4096
"""Texts tokenised together: bounds the memory of the tokens, and is the window in which texts are sorted."""

FEW_TOKENS = 256
"""Of all texts together, that NumPy still computes before torch is imported."""


def supports(folder: Path) -> bool:
    """Whether `folder` holds a model that this module computes exactly."""
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        pooling = pooling_of(folder)
        nothing_else = _nothing_else(folder)
    except (OSError, ValueError):
        return False
    files = all((folder / name).is_file() for name in ("model.safetensors", "tokenizer.json"))
    plain = config.get("model_type") == "bert" and config.get("hidden_act") == "gelu"
    absolute = config.get("position_embedding_type", "absolute") == "absolute"
    return files and plain and absolute and pooling is not None and nothing_else


class BertEncoder:
    """An `Encoder` over a sentence-transformers folder of the BERT family."""

    def __init__(self, folder: Path, *, name: str | None = None, dtype: torch.dtype | None = None) -> None:
        """Load the weights as `dtype` (default: float32 for a query or two in a process that has no torch yet, else
        bfloat16 where native, else int8 where that is faster, else float32).

        ModelUnavailable: the folder holds another kind of model.
        """
        if not supports(folder):
            raise ModelUnavailable(
                f"{folder} is no BERT sentence encoder (it needs config.json with model_type bert, model.safetensors, "
                "tokenizer.json, and mean or cls pooling). Load it with sentence-transformers: load_encoder does."
            )
        self.folder = folder
        self.name = name or folder.name
        self.pooling = str(pooling_of(folder))
        self._config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        self._asked = dtype
        self.dimension: int = self._config["hidden_size"]
        self.max_tokens: int = _max_tokens(folder, self._config)
        quick = dtype is None and not _torch_is_here() and reads(folder)
        self._quick: NumpyBert | None = NumpyBert(folder, self._config, self.pooling) if quick else None
        if not quick:
            self._whole  # noqa: B018 - what cannot be read shows now

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 over all that decides a vector: weights, tokenizer, pooling and length."""
        digest = hashlib.sha256(f"{self.pooling} {self.max_tokens}".encode())
        for file in ("model.safetensors", "tokenizer.json"):
            with (self.folder / file).open("rb") as opened:
                digest.update(hashlib.file_digest(opened, "sha256").digest())
        return digest.hexdigest()

    @property
    def dtype(self) -> torch.dtype:
        """What batches are computed in, and hidden states come in."""
        return self._whole.dtype

    @property
    def in_bytes(self) -> bool:
        """Whether vectors of many tokens are computed in int8, of which `dtype` says nothing."""
        return self._whole.in_bytes

    @property
    def weights(self) -> Mapping[str, Tensor]:
        """The weights of the file by name, without "bert." before it."""
        return self._whole.weights

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """Unit vectors (len(texts), dimension), float32; of each text the first `max_tokens` tokens count.

        InputError: one text instead of several.
        """
        return self.encode_counted(texts)[0]

    def encode_counted(self, texts: Sequence[str]) -> tuple[np.ndarray, list[int]]:
        """As `encode`, and how many tokens of each text were read, special ones included: texts are cut once."""
        require_several(texts)
        vectors, counts = np.empty((len(texts), self.dimension), dtype=np.float32), list[int]()
        for first in range(0, len(texts), TOKENISED_AT_ONCE):
            tokens = self.tokens(texts[first : first + TOKENISED_AT_ONCE])
            vectors[first : first + len(tokens)] = self._vectors(tokens)
            counts += [len(one.ids) for one in tokens]
        return vectors, counts

    def hidden(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Token ids (B, L) and which of them count (B, L) -> last hidden states (B, L, D)."""
        return self._whole.hidden(ids, mask)

    def tokens(self, texts: Sequence[str]) -> list[Encoding]:
        """The tokens of each text, with special ones, the first `max_tokens` of them."""
        found: list[Encoding] = self._cutting_tokenizer.encode_batch([scalar(text) for text in texts])
        return found

    def token_offsets(self, text: str) -> list[tuple[int, int]]:
        """Start and end character of each token of `text`, uncut, without special tokens."""
        offsets: list[tuple[int, int]] = self.tokenizer.encode(scalar(text), add_special_tokens=False).offsets
        return offsets

    def knows(self, text: str) -> bool:
        """Whether `text` has a token that the model knows: the vector of one without is that of nothing."""
        return not self._unknown.issuperset(self.tokenizer.encode(scalar(text), add_special_tokens=False).ids)

    @cached_property
    def _unknown(self) -> frozenset[int | None]:
        return frozenset(map(self.tokenizer.token_to_id, ("[UNK]", "<unk>")))

    @cached_property
    def tokenizer(self) -> Tokenizer:
        """It neither pads nor cuts."""
        tokenizer = Tokenizer.from_file(str(self.folder / "tokenizer.json"))
        tokenizer.no_padding()
        tokenizer.no_truncation()
        return tokenizer

    @cached_property
    def _cutting_tokenizer(self) -> Tokenizer:
        tokenizer = Tokenizer.from_str(self.tokenizer.to_str())
        tokenizer.enable_truncation(self.max_tokens)
        return tokenizer

    def _vectors(self, tokens: Sequence[Encoding]) -> np.ndarray:
        ids = [one.ids for one in tokens]
        quick = self._quick  # another thread may let go of it meanwhile
        if quick and not _torch_is_here() and sum(map(len, ids)) <= FEW_TOKENS:
            return quick.vectors(ids)
        return self._whole.vectors(ids)

    @cached_property
    def _whole(self) -> TorchBert:
        from foveal.models.bert_torch import TorchBert

        self._quick = None  # from now on torch computes all: its weights need not be held twice
        return TorchBert(self.folder, self._config, self.pooling, self._asked)


def _torch_is_here() -> bool:
    return "torch" in sys.modules


def _nothing_else(folder: Path) -> bool:
    """Whether a vector is made by these parts alone: LaBSE has a layer behind the pooling, others a prompt before."""
    path = folder / "modules.json"
    parts = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else []
    if any(str(one.get("type")).rpartition(".")[2] not in ("Transformer", "Pooling", "Normalize") for one in parts):
        return False
    path = folder / "config_sentence_transformers.json"
    prompted = path.is_file() and json.loads(path.read_text(encoding="utf-8")).get("default_prompt_name")
    return not prompted


def pooling_of(folder: Path) -> str | None:
    """ "mean" or "cls", as the folder says; None: it is pooled in another way."""
    config = json.loads((folder / "1_Pooling" / "config.json").read_text(encoding="utf-8"))
    modes = sorted(mode for mode, on in config.items() if mode.startswith("pooling_mode_") and on is True)
    modes = modes or [f"pooling_mode_{config.get('pooling_mode')}"]
    known = {"pooling_mode_mean_tokens": "mean", "pooling_mode_cls_token": "cls"}
    known |= {"pooling_mode_mean": "mean", "pooling_mode_cls": "cls"}
    return known.get(modes[0]) if len(modes) == 1 else None


def _max_tokens(folder: Path, config: dict[str, int]) -> int:
    path = folder / "sentence_bert_config.json"
    stated = json.loads(path.read_text(encoding="utf-8")).get("max_seq_length") if path.is_file() else None
    return min(stated or config["max_position_embeddings"], config["max_position_embeddings"])
