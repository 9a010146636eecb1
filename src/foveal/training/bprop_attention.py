"""What an encoder looks at in a text: the attention of its last layer that [CLS] pays to each word.

    reader = AttentionReader.load("minilm")
    reader.read(["The fovea is where sight is sharpest."])[0].paid        # one number for each word, in order

Shapes    a text of L tokens and W words; attention A (H, L, L) of one layer, row sees column -> (W,): the mean over the
          heads of the row of [CLS], summed over the pieces of a word
Needs     any transformers encoder with a fast tokenizer and [CLS] in front. Of a BERT the layers below are run as they
          are best run, and only the row of [CLS] is computed of the layer that is read; of another model all attentions
          are asked for, which needs attn_implementation="eager"
Source    B-PROP: Ma et al., SIGIR 2021. Its code lets a text see only the first pieces of its words, which no model was
          trained for: `first_only`
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from sys import intern
from typing import Any

import numpy as np
import numpy.typing as npt

from foveal.errors import InputError, UnknownName
from foveal.models.bert_torch import BATCH_TOKENS, batches, workers
from foveal.models.characters import scalar
from foveal.models.dtypes import native_bfloat16
from foveal.models.hub import folder_of
from foveal.models.quiet import quiet
from foveal.settings import Settings

Floats = npt.NDArray[np.float64]
ROWS = ("cls", "mean")
PIECES = ("sum", "first")
TEXTS_TOGETHER = 2048
"""Texts whose tokens are held at once: enough for batches of texts of about one length."""


@dataclass(frozen=True, kw_only=True)
class Reading:
    """How a text is read; checked when made."""

    max_tokens: int = 512  # of a text, [CLS] and [SEP] included; what follows is not read (see `windows`)
    layer: int = -1
    rows: str = "cls"  # whose attention: [CLS], or the mean over all tokens
    pieces: str = "sum"  # of a word's pieces: their sum, or the first one's
    first_only: bool = False  # as the reference has it: nothing looks at the other pieces of a word
    batch_tokens: int = BATCH_TOKENS  # of a forward pass, padding included

    def __post_init__(self) -> None:
        for name, value, known in (("rows", self.rows, ROWS), ("pieces", self.pieces, PIECES)):
            if value not in known:
                raise UnknownName(f"Reading attention got {name}={value!r}. There are: {', '.join(known)}.")
        if self.max_tokens < 3 or self.batch_tokens < 1:
            raise InputError(
                f"Reading attention got max_tokens={self.max_tokens}, batch_tokens={self.batch_tokens}; it needs at "
                "least 3 and 1."
            )


@dataclass(frozen=True)
class Attended:
    """The words of a text in order, in lower case, and the attention paid to each, (W,); other tokens are left out.

    `tokens` is how many were read, the two special ones not counted.
    """

    words: tuple[str, ...]
    paid: Floats
    tokens: int

    def terms(self, *, most: bool = False) -> dict[str, float]:
        """a(t): the sum over the places of each word, or the most that one of them gets."""
        found: dict[str, float] = {}
        for word, paid in zip(self.words, self.paid.tolist(), strict=True):
            before = found.get(word, 0.0)
            found[word] = max(before, paid) if most else before + paid
        return found


@dataclass(frozen=True)
class Cut:
    """A text as it is read: its tokens, and which word each belongs to: a place in `words`, or -1."""

    ids: list[int]
    owners: list[int]
    firsts: list[bool]  # whether a token is the first of its word, or no part of one
    words: list[str]


class AttentionReader:
    """Reads texts with one model."""

    def __init__(self, model: Any, tokenizer: Any, reading: Reading | None = None) -> None:
        """InputError: the tokenizer gives no words, or has no [CLS]; or there is no such layer."""
        self.model, self.tokenizer, self.reading = model.eval(), tokenizer, reading or Reading()
        if not getattr(tokenizer, "is_fast", False) or tokenizer.cls_token_id is None:
            raise InputError("Attention to words needs a fast tokenizer with a [CLS] token, as BERT's is.")
        layers, positions = model.config.num_hidden_layers, model.config.max_position_embeddings
        if not -layers <= self.reading.layer < layers:
            raise InputError(f"The model has {layers} layers; layer {self.reading.layer} is none of them.")
        self._layer = self.reading.layer % layers
        self._room = min(self.reading.max_tokens, positions) - 2

    @classmethod
    def load(
        cls, name: str = "minilm", reading: Reading | None = None, *, cache: Path | None = None, dtype: Any = None
    ) -> AttentionReader:
        """The reader of an encoder by name; `dtype` as in `load_encoder`. ModelUnavailable: it cannot be had."""
        import torch
        from transformers import AutoConfig, AutoModel, AutoTokenizer

        folder = folder_of(name, cache or Settings.load().cache, kind="encoder")
        dtype = dtype or (torch.bfloat16 if native_bfloat16() else torch.float32)
        with quiet():
            bert = AutoConfig.from_pretrained(folder).model_type == "bert"
            options = {"dtype": dtype, "attn_implementation": "sdpa" if bert else "eager"}
            return cls(
                AutoModel.from_pretrained(folder, use_safetensors=True, **options),
                AutoTokenizer.from_pretrained(folder),
                reading,
            )

    def words(self, texts: Sequence[str]) -> list[list[str]]:
        """The words that `read` reads of each text, in order."""
        return [self._cut(text).words for text in texts]

    def windows(self, text: str) -> list[str]:
        """The text in pieces that are read whole; a word that would stand in two begins the second."""
        _, offsets, numbers = self._tokens(text)
        pieces, start = [], 0
        while start < len(offsets):
            end = self._end(numbers, start)
            last = offsets[end][0] if end < len(offsets) else len(text)
            pieces.append(text[offsets[start][0] : last])
            start = end
        return pieces

    def read(self, texts: Sequence[str]) -> list[Attended]:
        """The attention of each text; one without words has none. InputError: the model gives no attention."""
        parts = (texts[first : first + TEXTS_TOGETHER] for first in range(0, len(texts), TEXTS_TOGETHER))
        return [one for part in parts for one in self._read(part)]

    def _read(self, texts: Sequence[str]) -> list[Attended]:
        cuts = [self._cut(text) for text in texts]
        paid: list[Floats] = [np.empty(0)] * len(cuts)
        planned = list(batches([len(cut.ids) for cut in cuts], self.reading.batch_tokens))
        made = workers().map(self._weights, ([cuts[row] for row in rows] for rows in planned))
        for rows, weights in zip(planned, made, strict=True):
            for row, one in zip(rows, weights, strict=True):
                paid[row] = self._by_word(cuts[row], one)
        return [Attended(tuple(cut.words), one, len(cut.ids) - 2) for cut, one in zip(cuts, paid, strict=True)]

    def _tokens(self, text: str) -> tuple[list[int], list[tuple[int, int]], list[int | None]]:
        """Ids, characters and word numbers of the text's tokens, uncut."""
        read = self.tokenizer(scalar(text), add_special_tokens=False, return_offsets_mapping=True, verbose=False)
        return read["input_ids"], read["offset_mapping"], read.word_ids(0)

    def _end(self, numbers: Sequence[int | None], start: int) -> int:
        """Where the window that begins at `start` ends: no word is cut, unless it fills the window."""
        end = min(len(numbers), start + self._room)
        whole: int = end
        while start + 1 < whole < len(numbers) and numbers[whole] is not None and numbers[whole] == numbers[whole - 1]:
            whole -= 1
        return whole if whole > start + 1 else end

    def _cut(self, text: str) -> Cut:
        ids, offsets, numbers = self._tokens(text)
        end = self._end(numbers, 0)
        return self._window(text, ids[:end], offsets[:end], numbers[:end])

    def _window(self, text: str, ids: list[int], offsets: list[tuple[int, int]], numbers: list[int | None]) -> Cut:
        spans: dict[int, tuple[int, int]] = {}
        for (start, end), number in zip(offsets, numbers, strict=True):
            if number is not None:
                spans[number] = (spans.get(number, (start, end))[0], end)
        named = {number: intern(text[start:end].strip().lower()) for number, (start, end) in spans.items()}
        kept = {number: place for place, number in enumerate(n for n, word in named.items() if is_word(word))}
        firsts = [number is None or place == 0 or numbers[place - 1] != number for place, number in enumerate(numbers)]
        return Cut(
            [self.tokenizer.cls_token_id, *ids, self.tokenizer.sep_token_id],
            [-1, *(kept.get(number, -1) if number is not None else -1 for number in numbers), -1],
            [True, *firsts, True],
            [named[number] for number in kept],
        )

    def _by_word(self, cut: Cut, weights: Floats) -> Floats:
        summed = np.zeros(len(cut.words))
        for place, (owner, first) in enumerate(zip(cut.owners, cut.firsts, strict=True)):
            if owner >= 0 and (first or self.reading.pieces == "sum"):
                summed[owner] += weights[place]
        return summed

    def _weights(self, cuts: Sequence[Cut]) -> Floats:
        """(B, L): the attention to each token, averaged over the heads; 0 for padding."""
        import torch

        length = max(len(cut.ids) for cut in cuts)
        ids = torch.full((len(cuts), length), self.tokenizer.pad_token_id or 0)
        real = torch.zeros(len(cuts), length, dtype=torch.bool)
        seen = torch.zeros(len(cuts), length, dtype=torch.bool)
        for row, cut in enumerate(cuts):
            ids[row, : len(cut.ids)] = torch.tensor(cut.ids)
            real[row, : len(cut.ids)] = True
            seen[row, : len(cut.ids)] = torch.tensor(cut.firsts) | (not self.reading.first_only)
        with torch.inference_mode():
            device = next(self.model.parameters()).device
            attention = self._attention(ids.to(device), seen.to(device)).float().mean(1).cpu()
        if self.reading.rows == "cls":
            found = attention[:, 0]
        else:  # rows of padding are no part of the text
            found = (attention * real[:, :, None]).sum(1) / real.sum(1, keepdim=True)
        weights: Floats = found.double().numpy()
        return weights

    def _attention(self, ids: Any, seen: Any) -> Any:
        """(B, H, L, L) of the layer that is read; of a BERT whose [CLS] is asked for (B, H, 1, L)."""
        from transformers import BertModel

        if isinstance(self.model, BertModel):
            return self._of_bert(ids, seen)
        read = self.model(input_ids=ids, attention_mask=seen.long(), output_attentions=True)
        if not read.attentions or read.attentions[self._layer] is None:
            raise InputError(
                f"The {type(self.model).__name__} gives no attention: its kernels keep none. Load it with "
                'attn_implementation="eager".'
            )
        return read.attentions[self._layer]

    def _of_bert(self, ids: Any, seen: Any) -> Any:
        """Queries and keys of the layer from what goes into it: nothing above it is run, and no other row."""
        bert = self.model
        hidden = bert.embeddings(input_ids=ids)
        blocked = (~seen)[:, None, None, :].to(hidden.dtype) * -1e4
        for layer in bert.encoder.layer[: self._layer]:
            hidden = layer(hidden, blocked)
            hidden = hidden[0] if isinstance(hidden, tuple) else hidden
        read = bert.encoder.layer[self._layer].attention.self
        asking = hidden[:, :1] if self.reading.rows == "cls" else hidden
        heads = bert.config.num_attention_heads
        queries, keys = (
            part.unflatten(-1, (heads, -1)).transpose(1, 2).float() for part in (read.query(asking), read.key(hidden))
        )
        scores = queries @ keys.transpose(-1, -2) / queries.shape[-1] ** 0.5
        return scores.masked_fill(~seen[:, None, None, :], -float("inf")).softmax(-1)


def is_word(text: str) -> bool:
    """Whether it is letters only, of any script, with the marks that some of them need."""
    kinds = [unicodedata.category(sign)[0] for sign in text]
    return "L" in kinds and set(kinds) <= {"L", "M"}
