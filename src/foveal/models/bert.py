"""BERT sentence encoders (Devlin et al., NAACL 2019; Reimers and Gurevych, EMNLP 2019) without transformers.

Importing transformers' BERT takes 3 s, half of what a cold search may cost in all; this forward pass needs torch,
tokenizers and safetensors only, and gives sentence-transformers' vectors (tested to 1e-5 in float32).

Shapes    token ids (B, L) -> hidden states (B, L, D) -> mean or first token, scaled to unit length (B, D)
Needs     a sentence-transformers folder whose config says model_type "bert" (MiniLM, BGE, GTE, E5 of that size), with
          nothing between tokens and vector but the model and its pooling
Speed     texts are sorted by length and batched by tokens, so that little is spent on padding and a batch's
          activations stay in the cache; batches run side by side, one thread each, so that no core waits for another
          inside a layer; bfloat16 where the processor multiplies it natively, pooling in float32
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from threading import Barrier

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from safetensors.torch import load_file
from tokenizers import Encoding, Tokenizer
from torch import Tensor

from foveal.errors import ModelUnavailable
from foveal.models.characters import scalar

BATCH_TOKENS = 1024
"""Tokens of a batch, padding included: larger batches were slower on every processor tried (they leave the cache)."""

TOKENISED_AT_ONCE = 4096
"""Texts tokenised together: bounds the memory of the tokens, and is the window in which texts are sorted."""


def supports(folder: Path) -> bool:
    """Whether `folder` holds a model that this module computes exactly."""
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        pooling = _pooling(folder)
        nothing_else = _nothing_else(folder)
    except (OSError, ValueError):
        return False
    files = all((folder / name).is_file() for name in ("model.safetensors", "tokenizer.json"))
    plain = config.get("model_type") == "bert" and config.get("hidden_act") == "gelu"
    absolute = config.get("position_embedding_type", "absolute") == "absolute"
    return files and plain and absolute and pooling is not None and nothing_else


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


class BertEncoder:
    """An `Encoder` over a sentence-transformers folder of the BERT family."""

    def __init__(self, folder: Path, *, name: str | None = None, dtype: torch.dtype | None = None) -> None:
        """Load the weights as `dtype` (default: bfloat16 where native, else float32).

        ModelUnavailable: the folder holds another kind of model.
        """
        if not supports(folder):
            raise ModelUnavailable(
                f"{folder} is no BERT sentence encoder (it needs config.json with model_type bert, model.safetensors, "
                "tokenizer.json, and mean or cls pooling). Load it with sentence-transformers: load_encoder does."
            )
        self.folder = folder
        self.name = name or folder.name
        self.dtype = dtype or (torch.bfloat16 if native_bfloat16() else torch.float32)
        self._config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        self._pooling = _pooling(folder)
        self.dimension: int = self._config["hidden_size"]
        self.max_tokens: int = _max_tokens(folder, self._config)
        self._weights = {k.removeprefix("bert."): v for k, v in load_file(folder / "model.safetensors").items()}
        self._layers = [self._layer(i) for i in range(self._config["num_hidden_layers"])]

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 over all that decides a vector: weights, tokenizer, pooling and length."""
        digest = hashlib.sha256(f"{self._pooling} {self.max_tokens}".encode())
        for file in ("model.safetensors", "tokenizer.json"):
            with (self.folder / file).open("rb") as opened:
                digest.update(hashlib.file_digest(opened, "sha256").digest())
        return digest.hexdigest()

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """Unit vectors (len(texts), dimension), float32; of each text the first `max_tokens` tokens count."""
        vectors = np.empty((len(texts), self.dimension), dtype=np.float32)
        for first in range(0, len(texts), TOKENISED_AT_ONCE):
            window = [scalar(text) for text in texts[first : first + TOKENISED_AT_ONCE]]
            encodings = self._cutting_tokenizer.encode_batch(window)
            cut = list(batches([len(encoding.ids) for encoding in encodings], BATCH_TOKENS))
            made = workers(len(cut)).map(self._vectors, ([encodings[row] for row in rows] for rows in cut))
            for rows, batch in zip(cut, made, strict=True):
                vectors[[first + row for row in rows]] = batch.numpy()
        return vectors

    def token_offsets(self, text: str) -> list[tuple[int, int]]:
        """Start and end character of each token of `text`, uncut, without special tokens."""
        offsets: list[tuple[int, int]] = self._tokenizer.encode(scalar(text), add_special_tokens=False).offsets
        return offsets

    @cached_property
    def _tokenizer(self) -> Tokenizer:
        tokenizer = Tokenizer.from_file(str(self.folder / "tokenizer.json"))
        tokenizer.no_padding()
        tokenizer.no_truncation()
        return tokenizer

    @cached_property
    def _cutting_tokenizer(self) -> Tokenizer:
        tokenizer = Tokenizer.from_str(self._tokenizer.to_str())
        tokenizer.enable_truncation(self.max_tokens)
        return tokenizer

    @torch.inference_mode()
    def _vectors(self, encodings: Sequence[Encoding]) -> Tensor:
        length = max(len(encoding.ids) for encoding in encodings)
        ids = torch.zeros(len(encodings), length, dtype=torch.long)
        for row, encoding in enumerate(encodings):
            ids[row, : len(encoding.ids)] = torch.tensor(encoding.ids)
        lengths = torch.tensor([len(encoding.ids) for encoding in encodings])
        mask = torch.arange(length) < lengths[:, None]
        return pooled(self._hidden(ids, mask), mask, self._pooling)

    def _hidden(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Token ids (B, L) and which of them count (B, L) -> last hidden states (B, L, D)."""
        w, eps = self._weights, self._config["layer_norm_eps"]
        heads = self._config["num_attention_heads"]
        batch, length = ids.shape
        x = w["embeddings.word_embeddings.weight"][ids] + w["embeddings.token_type_embeddings.weight"][0]
        x = x + w["embeddings.position_embeddings.weight"][:length]
        norm = w["embeddings.LayerNorm.weight"], w["embeddings.LayerNorm.bias"]
        x = F.layer_norm(x.float(), norm[0].shape, norm[0].float(), norm[1].float(), eps).to(self.dtype)
        seen = None if bool(mask.all()) else mask[:, None, None, :]
        for layer in self._layers:
            q, k, v = F.linear(x, *layer.qkv).view(batch, length, 3, heads, -1).permute(2, 0, 3, 1, 4)
            attended = F.scaled_dot_product_attention(q, k, v, attn_mask=seen)
            attended = F.linear(attended.transpose(1, 2).reshape(batch, length, -1), *layer.attended)
            x = F.layer_norm(x + attended, (self.dimension,), *layer.attended_norm, eps)
            grown = F.linear(F.gelu(F.linear(x, *layer.up)), *layer.down)
            x = F.layer_norm(x + grown, (self.dimension,), *layer.down_norm, eps)
        return x

    def _layer(self, index: int) -> Layer:
        block = f"encoder.layer.{index}."

        def pair(name: str) -> tuple[Tensor, Tensor]:
            return tuple(self._weights[f"{block}{name}.{kind}"].to(self.dtype) for kind in ("weight", "bias"))  # type: ignore[return-value]

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


def _nothing_else(folder: Path) -> bool:
    """Whether a vector is made by these parts alone: LaBSE has a layer behind the pooling, others a prompt before."""
    path = folder / "modules.json"
    parts = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else []
    if any(str(one.get("type")).rpartition(".")[2] not in ("Transformer", "Pooling", "Normalize") for one in parts):
        return False
    path = folder / "config_sentence_transformers.json"
    prompted = path.is_file() and json.loads(path.read_text(encoding="utf-8")).get("default_prompt_name")
    return not prompted


def _pooling(folder: Path) -> str | None:
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
