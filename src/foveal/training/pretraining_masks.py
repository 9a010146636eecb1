"""Which tokens of a text are asked for, and what stands in their place: BERT's masks, and RetroMAE's for its decoder.

Shapes    token ids (L,) -> ids (L,) with some changed, and labels (L,), IGNORED where nothing is asked
Source    BERT: Devlin et al., NAACL 2019 (80 % [MASK], 10 % random, 10 % kept); whole words: the same authors' code;
          enhanced decoding: RetroMAE, Xiao et al., EMNLP 2022, section 2.3
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from foveal.errors import InputError

Ids = list[int]

IGNORED = -100
"""The label of a place where nothing is asked; torch's own default."""


@dataclass(frozen=True, kw_only=True)
class Masking:
    """BERT's masking: of the tokens asked, most become [MASK], some another token, the rest stay."""

    rate: float  # share of the tokens that are asked: BERT 0.15, RetroMAE 0.3 and for its decoder 0.5 to 0.7
    mask_id: int
    vocabulary: int  # tokens that a random one is drawn from
    special: frozenset[int]  # never asked
    continues: frozenset[int] = frozenset()  # tokens that go on a word: asked together with its head; none: each alone
    masked: float = 0.8
    random: float = 0.1

    def __post_init__(self) -> None:
        if not 0 < self.rate <= 1 or min(self.masked, self.random) < 0 or self.masked + self.random > 1:
            raise InputError(
                f"Masking got rate={self.rate}, masked={self.masked}, random={self.random}; it needs a rate above 0, "
                "at most 1, and shares from 0 to 1 that add up to at most 1."
            )

    @classmethod
    def of(cls, tokenizer: Any, rate: float, *, whole_words: bool = False) -> Masking:
        """The masking for a transformers tokenizer. `whole_words` needs word pieces that begin with "##"."""
        pieces = tokenizer.get_vocab() if whole_words else {}
        continues = frozenset(number for piece, number in pieces.items() if piece.startswith("##"))
        if tokenizer.mask_token_id is None or (whole_words and not continues):
            lacking = "mask token" if tokenizer.mask_token_id is None else 'pieces that begin with "##"'
            raise InputError(f"The tokenizer has no {lacking}; masking needs one as BERT's is.")
        return cls(
            rate=rate,
            mask_id=tokenizer.mask_token_id,
            vocabulary=len(tokenizer),
            special=frozenset(tokenizer.all_special_ids),
            continues=continues,
        )


def mask_tokens(
    ids: Sequence[int], rng: np.random.Generator, masking: Masking, *, most: int | None = None
) -> tuple[Ids, Ids]:
    """The ids with some changed, and the labels: the original where it is asked, IGNORED elsewhere.

    Asked are exactly max(1, round(rate · ordinary tokens)); with whole words up to a word more, as none is cut. A word
    that would make them more than `most` is passed over, as in BERT's code.
    """
    words = _words(ids, masking)
    wanted = max(1, round(masking.rate * sum(map(len, words))))
    asked: list[int] = []
    for number in rng.permutation(len(words)):
        if len(asked) >= wanted:
            break
        if most is None or len(asked) + len(words[number]) <= most:
            asked += words[number]
    changed, labels = list(ids), [IGNORED] * len(ids)
    for place, drawn in zip(asked, rng.random(len(asked)), strict=True):
        labels[place] = ids[place]
        if drawn < masking.masked:
            changed[place] = masking.mask_id
        elif drawn < masking.masked + masking.random:
            changed[place] = int(rng.integers(masking.vocabulary))
    return changed, labels


def originals(ids: Sequence[int], special: frozenset[int]) -> Ids:
    """Labels that ask for every token but the special ones."""
    return [IGNORED if token in special else token for token in ids]


def visible(length: int, rng: np.random.Generator, rate: float) -> npt.NDArray[np.bool_]:
    """What each position of RetroMAE's enhanced decoding sees: (L, L), row sees column.

    Position 0, the sentence's vector, is seen by all; of the others each sees a draw of its own that leaves out the
    share `rate`, and itself always.
    """
    sees = np.zeros((length, length), dtype=np.bool_)
    sees[:, 0] = True
    for row in range(length):
        others = np.setdiff1d(np.arange(1, length), [row])
        sees[row, rng.choice(others, round((1 - rate) * len(others)), replace=False)] = True
    return sees


def _words(ids: Sequence[int], masking: Masking) -> list[list[int]]:
    """The places of each word's tokens; special tokens belong to none."""
    words: list[list[int]] = []
    begun = False  # whether the token before belongs to a word
    for place, token in enumerate(ids):
        if token in masking.special:
            begun = False
        elif begun and token in masking.continues:
            words[-1].append(place)
        else:
            words.append([place])
            begun = True
    return words
