"""Encoders by name: an offline wheel, a folder, or a hub id.

The BERT family (most small sentence encoders) is computed by `bert.py`, which starts many times faster; any other
architecture goes through sentence-transformers, an extra.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from foveal.errors import ModelUnavailable, UnknownName
from foveal.models.characters import has_known_token, require_several, scalar
from foveal.models.dtypes import dtype_name, native_bfloat16
from foveal.models.folders import fingerprint, written_at
from foveal.models.hub import folder_of, whole_name
from foveal.models.quiet import in_a_line, quiet
from foveal.registry import require
from foveal.settings import Settings
from foveal.types import Encoder

if TYPE_CHECKING:
    import numpy as np
    import torch


DTYPES = ("bfloat16", "int8", "float32")


def load_encoder(
    name: str | Path = "minilm",
    *,
    dtype: str | torch.dtype | None = None,
    cache: Path | None = None,
    home: Path | None = None,
) -> Encoder:
    """The encoder called `name`: one of `foveal models`, one of your own (`home`/models; default: the home of the
    settings), a folder, or a hub id such as "BAAI/bge-small-en-v1.5".

    `dtype` is "bfloat16", "int8" (texts of the BERT family, where bytes are faster; else as float32) or "float32"
    (default: bfloat16 where the processor has it natively, else int8). Loaded once a process.
    UnknownName: no such name, folder or id. ModelUnavailable: it cannot be read or fetched. InputError: another dtype.
    """
    name, dtype = str(name), dtype_name(dtype, DTYPES, kind="an encoder")
    folder = folder_of(name, cache or Settings.load().cache, kind="encoder", home=home)
    written = written_at(folder)
    return _loaded(folder, whole_name(name) or name, dtype, written)


def encoder_of(made: Path, name: str, *, cache: Path | None = None) -> Encoder:
    """The encoder called `name`, which the model in the folder `made` reads by. ModelUnavailable: it is gone, or as of
    `load_encoder`.
    """
    try:
        return load_encoder(name, cache=cache)
    except UnknownName as gone:
        raise ModelUnavailable(
            f"What was trained in {made} reads by the encoder {name}, which is not there. Put it back, or train anew."
        ) from gone


@lru_cache(maxsize=4)
def _loaded(folder: Path, name: str, dtype: str | None, written: int) -> Encoder:  # noqa: ARG001
    """`written`: when its files were; a model that is trained anew in its place is loaded anew."""
    from safetensors import SafetensorError

    from foveal.models.bert import BertEncoder, supports

    try:
        if supports(folder):
            return BertEncoder(folder, name=name, dtype=_torch_type(dtype))
        if not (folder / "config.json").is_file():
            raise ModelUnavailable(
                f"{folder} holds no model: there is no config.json in it. Name a model's own folder."
            )
        return SentenceTransformerEncoder(folder, name=name, dtype=dtype)
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        raise ModelUnavailable(
            f"{folder} could not be loaded as an encoder ({in_a_line(error)}). Name one, or fetch or unpack it anew."
        ) from error


def _torch_type(dtype: str | None) -> torch.dtype | None:
    if dtype is None:
        return None
    import torch

    named: torch.dtype = getattr(torch, dtype)
    return named


class SentenceTransformerEncoder:
    """An `Encoder` over any model that sentence-transformers loads."""

    def __init__(self, folder: Path, *, name: str | None = None, dtype: str | None = None) -> None:
        """Load the model; MissingExtra where sentence-transformers is not installed."""
        module = require("sentence_transformers", extra="train")
        import torch

        named = None if dtype == "int8" else _torch_type(dtype)
        chosen = named or (torch.bfloat16 if dtype is None and native_bfloat16() else torch.float32)
        self.name = name or folder.name
        with quiet():
            self._model: Any = module.SentenceTransformer(
                str(folder), model_kwargs={"dtype": chosen, "use_safetensors": True}
            )
        self.dimension: int = int(self._model.get_embedding_dimension())
        self.max_tokens: int = int(self._model.max_seq_length or 512)
        self.fingerprint = fingerprint(folder, seed=str(self.max_tokens))

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """Unit vectors (len(texts), dimension), float32. InputError: one text instead of several."""
        import numpy as np
        import torch

        require_several(texts)
        if len(texts) == 0:  # an array of texts has no truth value
            return np.empty((0, self.dimension), dtype=np.float32)
        vectors = self._model.encode(
            list(map(scalar, texts)), normalize_embeddings=True, convert_to_tensor=True, show_progress_bar=False
        )
        result: np.ndarray = torch.nn.functional.normalize(vectors.float(), dim=-1).cpu().numpy()
        return result

    def token_offsets(self, text: str) -> list[tuple[int, int]]:
        """Start and end character of each token of `text`, uncut, without special tokens."""
        tokens = self._uncut(scalar(text), return_offsets_mapping=True, add_special_tokens=False, verbose=False)
        return [tuple(pair) for pair in tokens["offset_mapping"]]

    @cached_property
    def _uncut(self) -> Any:
        """A tokenizer of its own: the model's, told not to cut or pad, would not do so in another thread's batch."""
        tokenizer = copy.deepcopy(self._model.tokenizer)
        if backend := getattr(tokenizer, "backend_tokenizer", None):
            backend.no_truncation()
            backend.no_padding()
        return tokenizer

    def knows(self, text: str) -> bool:
        """As `BertEncoder.knows`."""
        return has_known_token(self._model.tokenizer, text)
