"""Texts to token vectors: from the last layer of a sentence encoder, or from a trained multi-vector model.

Shapes    texts -> one array (tokens, D) each, float32, rows of unit length
Source    ColBERT (Khattab and Zaharia, SIGIR 2020): a query is padded by [MASK] to 32 tokens, which the model turns
          into what else the query might have said; documents lose their punctuation; markers tell the two apart
Needs     `TokenEncoder` any encoder of the BERT family, as MiniLM; `TrainedTokens` sentence-transformers (an extra)

The paper's padding and markers help a model that was trained with them. They are off by default for a plain encoder.
"""

from __future__ import annotations

import hashlib
import string
import unicodedata
from collections.abc import Sequence
from dataclasses import astuple, dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from foveal.errors import InputError, ModelUnavailable
from foveal.models.characters import has_known_token, scalar
from foveal.models.hub import folder_of
from foveal.registry import require
from foveal.retrieval.late import Floats, TokenModel
from foveal.settings import Settings

if TYPE_CHECKING:
    from torch import Tensor

    from foveal.models.bert import BertEncoder

QUERY_MARKER, DOCUMENT_MARKER = "[unused0]", "[unused1]"
"""The tokens that ColBERT made its [Q] and [D] of."""


@dataclass(frozen=True, kw_only=True)
class TokenSettings:
    """How texts become tokens. All four are part of the fingerprint."""

    query_tokens: int = 0  # a query is padded by [MASK] to so many tokens, [CLS] and [SEP] included; ColBERT: 32
    attend_masks: bool = False  # whether the query's tokens see the [MASK]s that stand after them
    drop_punctuation: bool = True  # leave the vectors of a document's punctuation out
    markers: bool = False  # put [Q] or [D] after [CLS]

    def __post_init__(self) -> None:
        if self.query_tokens < 0:
            raise InputError(f"query_tokens is {self.query_tokens}; it needs 0 (no padding) or more. ColBERT has 32.")


COLBERT = TokenSettings(query_tokens=32, markers=True)
"""The paper's settings, for a model that was trained with them."""


@dataclass(frozen=True)
class Tokens:
    """The tokens of one text that have vectors; offsets are (0, 0) for a token that the text does not hold."""

    ids: npt.NDArray[np.int64]  # (n,)
    offsets: npt.NDArray[np.int64]  # (n, 2), start and end character
    vectors: Floats  # (n, D)


@dataclass(frozen=True)
class _Asked:
    """What the model sees of a text: token ids, offsets, which of them are attended to, and whose vectors are kept."""

    ids: npt.NDArray[np.int64]
    offsets: npt.NDArray[np.int64]
    attended: int  # the first so many
    kept: npt.NDArray[np.bool_]


class TokenEncoder:
    """A `TokenModel` over the hidden states of a sentence encoder of the BERT family."""

    def __init__(
        self, encoder: BertEncoder, settings: TokenSettings | None = None, *, head: Floats | None = None
    ) -> None:
        """`head` (D', D) is a linear map on the hidden states, such as 128 x 384. InputError: it does not fit."""
        import torch
        from tokenizers import Tokenizer

        self.settings = settings or TokenSettings()
        self.name = encoder.name
        self._encoder = encoder
        self._head = None if head is None else torch.from_numpy(_checked_head(head, encoder.dimension))
        self.dimension: int = encoder.dimension if head is None else len(head)
        self._tokenizer = Tokenizer.from_file(str(encoder.folder / "tokenizer.json"))
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(encoder.max_tokens - int(self.settings.markers))
        if self.settings.query_tokens > encoder.max_tokens:
            raise InputError(
                f"query_tokens is {self.settings.query_tokens}, but {self.name} takes at most {encoder.max_tokens} "
                "tokens. Set it to that or less."
            )

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 over the encoder's fingerprint, the settings and the head."""
        digest = hashlib.sha256(f"tokens {self._encoder.fingerprint} {astuple(self.settings)}".encode())
        if self._head is not None:
            digest.update(self._head.numpy().tobytes())
        return digest.hexdigest()

    def queries(self, texts: Sequence[str]) -> list[Floats]:
        """One array (tokens, dimension) a text; of a text the first `max_tokens` tokens of the encoder count."""
        return [tokens.vectors for tokens in self.query_tokens(texts)]

    def documents(self, texts: Sequence[str]) -> list[Floats]:
        """One array (tokens, dimension) a text; of a text the first `max_tokens` tokens of the encoder count."""
        return [tokens.vectors for tokens in self.document_tokens(texts)]

    def knows(self, text: str) -> bool:
        """As the encoder."""
        return self._encoder.knows(text)

    def query_tokens(self, texts: Sequence[str]) -> list[Tokens]:
        """`queries` with the tokens' ids and places."""
        return self._encoded(
            [self._as_query(encoding) for encoding in self._tokenizer.encode_batch(list(map(scalar, texts)))]
        )

    def document_tokens(self, texts: Sequence[str]) -> list[Tokens]:
        """`documents` with the tokens' ids and places."""
        return self._encoded(
            [self._as_document(encoding) for encoding in self._tokenizer.encode_batch(list(map(scalar, texts)))]
        )

    def _as_query(self, encoding: Any) -> _Asked:
        ids, offsets = self._marked(encoding, QUERY_MARKER)
        real, missing = len(ids), max(0, self.settings.query_tokens - len(ids))
        ids = np.concatenate([ids, np.full(missing, self._id("[MASK]") if missing else 0)])
        offsets = np.concatenate([offsets, np.zeros((missing, 2), dtype=np.int64)])
        attended = len(ids) if self.settings.attend_masks else real
        return _Asked(ids, offsets, attended, np.ones(len(ids), dtype=bool))

    def _as_document(self, encoding: Any) -> _Asked:
        ids, offsets = self._marked(encoding, DOCUMENT_MARKER)
        kept = ~np.isin(ids, self._punctuation) if self.settings.drop_punctuation else np.ones(len(ids), dtype=bool)
        return _Asked(ids, offsets, len(ids), kept)

    def _marked(self, encoding: Any, marker: str) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Ids and offsets of a text's tokens, with the marker after [CLS] if there are markers."""
        ids, offsets = np.array(encoding.ids, dtype=np.int64), np.array(encoding.offsets, dtype=np.int64)
        if not self.settings.markers:
            return ids, offsets
        return np.insert(ids, 1, self._id(marker)), np.insert(offsets, 1, 0, axis=0)

    def _id(self, token: str) -> int:
        found = self._tokenizer.token_to_id(token)
        if found is None:
            raise InputError(
                f"The tokenizer of {self.name} has no token {token}. Set query_tokens=0 and markers=False for it."
            )
        return int(found)

    @cached_property
    def _punctuation(self) -> npt.NDArray[np.int64]:
        """Ids of the tokens that are all punctuation."""
        vocabulary = self._tokenizer.get_vocab().items()
        return np.array([number for token, number in vocabulary if _is_punctuation(token)], dtype=np.int64)

    def _encoded(self, asked: Sequence[_Asked]) -> list[Tokens]:
        from foveal.models.bert_torch import BATCH_TOKENS, batches, workers

        vectors: list[Floats] = [np.empty((0, self.dimension), dtype=np.float32)] * len(asked)
        cut = list(batches([len(one.ids) for one in asked], BATCH_TOKENS))
        made = workers(len(cut)).map(self._vectors, ([asked[row] for row in rows] for rows in cut))
        for rows, batch in zip(cut, made, strict=True):
            for row, found in zip(rows, batch, strict=True):
                vectors[row] = found
        return [
            Tokens(one.ids[one.kept], one.offsets[one.kept], found) for one, found in zip(asked, vectors, strict=True)
        ]

    def _vectors(self, asked: Sequence[_Asked]) -> list[Floats]:
        """The kept vectors of a batch of texts."""
        import torch
        import torch.nn.functional as F  # noqa: N812

        length = max(len(one.ids) for one in asked)
        ids = torch.zeros(len(asked), length, dtype=torch.long)
        for row, one in enumerate(asked):
            ids[row, : len(one.ids)] = torch.from_numpy(one.ids)
        mask = torch.arange(length) < torch.tensor([one.attended for one in asked])[:, None]
        with torch.inference_mode():
            hidden: Tensor = self._encoder.hidden(ids, mask).float()
            hidden = hidden if self._head is None else hidden @ self._head.T
            rows = F.normalize(hidden, dim=-1).numpy()
        return [rows[row, : len(one.ids)][one.kept] for row, one in enumerate(asked)]


class TrainedTokens:
    """A `TokenModel` over a folder that sentence-transformers' MultiVectorEncoder reads, PyLate's and ColBERT's too."""

    def __init__(self, folder: Path, *, name: str | None = None) -> None:
        """Load the model, whose own settings hold. MissingExtra: sentence-transformers is not installed."""
        module = require("sentence_transformers.multi_vector_encoder", extra="train")
        from foveal.models.dtypes import native_bfloat16
        from foveal.models.folders import fingerprint
        from foveal.models.quiet import quiet

        self.name = name or folder.name
        with quiet():
            self._model: Any = module.MultiVectorEncoder(
                str(folder), local_files_only=True, model_kwargs={"use_safetensors": True}
            )
        if native_bfloat16():
            self._model.bfloat16()  # its head, too; lengths are made right below
        self.dimension: int = int(self._model.get_embedding_dimension())
        self.fingerprint = fingerprint(folder, seed="tokens")

    def knows(self, text: str) -> bool:
        """Whether `text` has a token that the model knows."""
        return has_known_token(self._model.tokenizer, text)

    def queries(self, texts: Sequence[str]) -> list[Floats]:
        """One array (tokens, dimension) a text."""
        return self._rows(self._model.encode_query(list(map(scalar, texts)), **_AS_ARRAYS)) if len(texts) else []

    def documents(self, texts: Sequence[str]) -> list[Floats]:
        """One array (tokens, dimension) a text."""
        return self._rows(self._model.encode_document(list(map(scalar, texts)), **_AS_ARRAYS)) if len(texts) else []

    def _rows(self, encoded: Sequence[Any]) -> list[Floats]:
        rows = [np.asarray(one, dtype=np.float32) for one in encoded]
        return [one / np.maximum(np.linalg.norm(one, axis=1, keepdims=True), 1e-12) for one in rows]


_AS_ARRAYS = {"convert_to_numpy": True, "normalize_embeddings": True, "show_progress_bar": False}


def load_token_model(name: str = "minilm", settings: TokenSettings | None = None) -> TokenModel:
    """The token vectors of the encoder called `name`: an offline one, a folder, or a hub id.

    A trained multi-vector model takes no settings: it brings its own. UnknownName: no such name.
    InputError: settings for a trained model. ModelUnavailable: it cannot be had, or is of another family than BERT.
    """
    from foveal.models import load_encoder
    from foveal.models.bert import BertEncoder

    folder = folder_of(name, Settings.load().cache, kind="encoder")
    if is_multi_vector(folder):
        if settings is not None:
            raise InputError(f"{name} is a trained multi-vector model with settings of its own; give none.")
        return TrainedTokens(folder, name=name)
    encoder = load_encoder(name)
    if not isinstance(encoder, BertEncoder):
        raise ModelUnavailable(
            f"{name} is neither a sentence encoder of the BERT family nor a trained multi-vector model, so its token "
            "vectors cannot be had. Name an encoder such as minilm, or a folder that MultiVectorEncoder of "
            "sentence-transformers saved."
        )
    return TokenEncoder(encoder, settings)


def is_multi_vector(folder: Path) -> bool:
    """Whether the folder holds a model of token vectors in one of the three layouts in use."""
    if (folder / "artifact.metadata").is_file():  # Stanford's ColBERT
        return True
    config = folder / "config_sentence_transformers.json"
    if not config.is_file():
        return False
    text = config.read_text(encoding="utf-8")
    return "MultiVectorEncoder" in text or '"query_prefix"' in text  # the second: PyLate


def _is_punctuation(token: str) -> bool:
    return bool(token) and all(
        char in string.punctuation or unicodedata.category(char).startswith("P") for char in token
    )


def _checked_head(head: Floats, dimension: int) -> Floats:
    if head.ndim != 2 or head.shape[1] != dimension or not np.isfinite(head).all():
        raise InputError(
            f"The head has the shape {head.shape}; it needs (new dimension, {dimension}), all numbers finite."
        )
    return np.ascontiguousarray(head, dtype=np.float32)
