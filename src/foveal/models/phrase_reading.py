"""What reading a passage or a question for phrases means: tokens, words, windows, places, states.

Shapes    a text is n tokens without special ones; their states (n, D), the question's pooled to (D,)
Shared    by search (retrieval/phrases.py) and training (training/phrases.py), so that both see the same
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from tokenizers import Tokenizer
from torch import Tensor

from foveal.errors import InputError
from foveal.models.bert_torch import BATCH_TOKENS, batches

Floats = npt.NDArray[np.float32]
Ids = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]
Hidden = Callable[[Tensor, Tensor], Tensor]
"""Token ids (B, L) and which of them count (B, L) -> hidden states (B, L, D)."""


@dataclass(frozen=True)
class Read:
    """The tokens of a text, without special ones. A phrase begins where a word begins, and ends where one ends."""

    ids: list[int]
    offsets: Ids  # (n, 2), start and end character
    begins: Bools  # (n,)
    ends: Bools  # (n,)


def read(tokenizer: Tokenizer, texts: Sequence[str]) -> list[Read]:
    """The tokens of each text, uncut; a combining mark belongs to the token before it."""
    # A lone surrogate is no character to a tokenizer; it becomes one question mark, so that every offset holds.
    whole = [text.encode("utf-8", "replace").decode("utf-8") for text in texts]
    made = []
    for text, encoding in zip(whole, tokenizer.encode_batch(whole, add_special_tokens=False), strict=True):
        offsets = np.array(encoding.offsets, dtype=np.int64).reshape(-1, 2)
        for place in offsets:
            while place[1] < len(text) and unicodedata.combining(text[place[1]]):
                place[1] += 1
        words = np.array([-1 if word is None else word for word in encoding.word_ids], dtype=np.int64)
        new = words[1:] != words[:-1]
        edge = [True] * bool(len(words))
        made.append(Read(encoding.ids, offsets, np.array([*edge, *new], bool), np.array([*new, *edge], bool)))
    return made


def windows(count: int, room: int) -> list[tuple[int, int, int, int]]:
    """Windows of at most `room` of `count` tokens: first and last (excluded), and those whose states are taken there.

    Windows share a quarter; each token is taken from the one where it stands farther from the edge.
    """
    starts = [*range(0, max(1, count - room), max(1, room - room // 4)), *([count - room] if count > room else [])]
    ends = [min(count, start + room) for start in starts]
    cuts = [0, *((start + end) // 2 for start, end in zip(starts[1:], ends, strict=False)), count]
    return list(zip(starts, ends, cuts, cuts[1:], strict=False))


def framed(tokenizer: Tokenizer, ids: Sequence[int]) -> list[int]:
    """[CLS], the ids, [SEP]."""
    first, last = tokenizer.token_to_id("[CLS]"), tokenizer.token_to_id("[SEP]")
    if first is None or last is None:
        raise InputError("The tokenizer has no [CLS] and [SEP]; phrases need an encoder of the BERT family.")
    return [first, *ids, last]


def token_states(
    texts: Sequence[Read], tokenizer: Tokenizer, hidden: Hidden, *, room: int, over: Callable[..., Iterable[Any]] = map
) -> list[Floats]:
    """Hidden states (n, D) of the tokens of each text, `room` tokens at a time. `over` is map, or one of a pool."""
    cut = [(row, *window) for row, text in enumerate(texts) for window in windows(len(text.ids), room)]
    groups = list(batches([last - first + 2 for _, first, last, _, _ in cut], BATCH_TOKENS))

    def states(places: Sequence[int]) -> list[Floats]:
        asked = [framed(tokenizer, texts[row].ids[first:last]) for row, first, last, _, _ in (cut[p] for p in places)]
        found = _states(asked, hidden)[0].numpy()
        kept = [(cut[p][3] - cut[p][1] + 1, cut[p][4] - cut[p][1] + 1) for p in places]
        return [found[number, first:last] for number, (first, last) in enumerate(kept)]

    made: dict[int, Floats] = {}
    for places, found in zip(groups, over(states, groups), strict=True):
        made.update(zip(places, found, strict=True))
    parts: list[list[Floats]] = [[] for _ in texts]
    for place, (row, *_) in enumerate(cut):
        parts[row].append(made[place])
    return [np.concatenate(rows) for rows in parts]


def question_states(
    texts: Sequence[str], tokenizer: Tokenizer, hidden: Hidden, *, room: int, pooling: str
) -> list[Floats]:
    """The vector m (D) of each question, of which the first `room` tokens count."""
    asked = [framed(tokenizer, one.ids[:room]) for one in read(tokenizer, texts)]
    vectors: dict[int, Floats] = {}
    for places in batches([len(ids) for ids in asked], BATCH_TOKENS):
        found = pooled(*_states([asked[place] for place in places], hidden), pooling)
        vectors.update(zip(places, found.numpy(), strict=True))
    return [vectors[place] for place in range(len(texts))]


def pooled(states: Tensor, mask: Tensor, pooling: str) -> Tensor:
    """States (B, L, D) and which count (B, L) -> (B, D): their mean, or the first."""
    if pooling == "cls":
        return states[:, 0]
    counts = mask[:, :, None].to(states)
    return (states * counts).sum(1) / counts.sum(1)


def window_scores(starts: Floats, ends: Floats, room: Ids, longest: int) -> Floats:
    """Scores (N, longest) of the phrases of 1, 2, … tokens from each token on, by start and end scores (N,).

    `room` (N,) is how many tokens of its passage there are from each on; what goes beyond has -inf.
    """
    padded = np.concatenate([ends, np.full(longest - 1, -np.inf, dtype=np.float32)])
    scores: Floats = starts[:, None] + np.lib.stride_tricks.sliding_window_view(padded, longest)
    scores[np.arange(longest) >= room[:, None]] = -np.inf
    return scores


def _states(asked: Sequence[Sequence[int]], hidden: Hidden) -> tuple[Tensor, Tensor]:
    """Hidden states (B, L, D) of rows of ids, and what of them is no padding (B, L)."""
    ids, mask = padded_ids(asked)
    with torch.inference_mode():
        return hidden(ids, mask).float().cpu(), mask


def padded_ids(rows: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
    """Rows as (B, L), and what of it is no padding."""
    lengths = torch.tensor([len(row) for row in rows])
    ids = torch.zeros(len(rows), int(lengths.max()), dtype=torch.long)
    for number, row in enumerate(rows):
        ids[number, : len(row)] = torch.as_tensor(row)
    return ids, torch.arange(ids.shape[1]) < lengths[:, None]
