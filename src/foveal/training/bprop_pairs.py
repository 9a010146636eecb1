"""Word sets as training input: [CLS] S [SEP] D [SEP] for both sets of a pair, the text's words masked for the MLM.

Shapes    a row is two features, the better set's first: ids (L,) and labels (L,), IGNORED where nothing is asked; a
          batch of B rows is ids (2B, L), ids_mask (2B, L), labels (2B, L) by `pretraining.collate`
Repeats   row i of epoch e is drawn from (seed, e, i) alone; of a text's pairs each epoch takes `used`, in turn
Source    B-PROP's code: 15 % of the text's tokens asked, whole words, at most 60; the text is cut to fit
"""

from __future__ import annotations

from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from foveal.errors import InputError
from foveal.models.characters import scalar
from foveal.training.bprop_sampling import Pair
from foveal.training.pretraining import Features
from foveal.training.pretraining_masks import IGNORED, Ids, Masking, mask_tokens

MOST_KEPT = 2**26
"""Tokens of texts that are kept, four bytes each: those of more texts are made anew each time."""


@dataclass(frozen=True)
class PairFeatures:
    """Makes features of a word set and a text's ids."""

    tokenizer: Any
    max_tokens: int  # of set and text together, the three special ones included
    masking: Masking | None  # None: nothing is asked
    most_masked: int = 60

    @classmethod
    def of(cls, tokenizer: Any, max_tokens: int, *, rate: float = 0.15, most_masked: int = 60) -> PairFeatures:
        """Whole words are masked where the tokenizer tells their pieces. InputError: it has no [CLS], [SEP], [MASK]."""
        if None in (tokenizer.cls_token_id, tokenizer.sep_token_id, tokenizer.mask_token_id):
            raise InputError("B-PROP's tokenizer needs the tokens [CLS], [SEP] and [MASK], as BERT's has them.")
        whole = any(piece.startswith("##") for piece in tokenizer.get_vocab())
        masking = Masking.of(tokenizer, rate, whole_words=whole)
        return cls(tokenizer, max_tokens, masking, most_masked)

    def ids(self, text: str) -> Ids:
        """As many ids of the text as could fit."""
        ids: Ids = self.tokenizer(scalar(text), add_special_tokens=False, verbose=False)["input_ids"]
        return ids[: self.max_tokens - 3]

    def of_set(self, words: Sequence[str], text: Ids, rng: np.random.Generator) -> Features:
        """The ids and labels of a set and a text; of the set at most half of the room is used."""
        room = self.max_tokens - 3
        asked = self.ids(" ".join(words))[: room // 2]
        kept = text[: room - len(asked)]
        labels = [IGNORED] * len(kept)
        if self.masking and kept:
            rate = min(self.masking.rate, self.most_masked / len(kept))
            kept, labels = mask_tokens(kept, rng, replace(self.masking, rate=rate), most=self.most_masked)
        before = [self.tokenizer.cls_token_id, *asked, self.tokenizer.sep_token_id]
        return {
            "ids": [*before, *kept, self.tokenizer.sep_token_id],
            "labels": [IGNORED] * len(before) + labels + [IGNORED],
        }


class TextTokens:
    """The ids of texts, made when they are first asked for, and kept while there is room: each pair asks for them."""

    def __init__(self, texts: Mapping[str, str], features: PairFeatures, most: int = MOST_KEPT) -> None:
        self.texts, self.features, self.room = texts, features, most
        self._kept: dict[str, array[int]] = {}

    def of(self, name: str) -> Ids:
        """As `PairFeatures.ids`."""
        kept = self._kept.get(name)
        if kept is not None:
            return kept.tolist()
        ids = self.features.ids(self.texts[name])
        if len(ids) <= self.room:
            self._kept[name] = array("I", ids)
            self.room -= len(ids)
        return ids


@dataclass(frozen=True)
class PairRows:
    """The rows of texts and their pairs. Place e · len + i is row i as it is in epoch e. InputError: no pair."""

    texts: Mapping[str, str]
    pairs: Mapping[str, Sequence[Pair]]
    features: PairFeatures
    used: int = 5
    seed: int = 0
    most_kept: int = MOST_KEPT  # tokens of texts

    def __post_init__(self) -> None:
        if self.used < 1:
            raise InputError(f"B-PROP got used={self.used} pairs of a text; it needs at least 1.")
        if not self.flat:
            raise InputError(
                "No text gave a pair of word sets, so there is nothing to learn. Give longer texts, with more "
                "different words, in a language whose words the tokenizer knows."
            )

    @cached_property
    def flat(self) -> list[tuple[str, int]]:
        """Text and number of each row."""
        return [(name, n) for name, pairs in self.pairs.items() for n in range(min(self.used, len(pairs)))]

    @cached_property
    def tokens(self) -> TextTokens:
        """The ids of the texts."""
        return TextTokens(self.texts, self.features, self.most_kept)

    def __len__(self) -> int:
        return len(self.flat)

    def pair(self, place: int) -> tuple[str, Pair]:
        """The text and the pair of a row: an epoch begins where the one before ended."""
        epoch, row = divmod(place, len(self))
        name, number = self.flat[row]
        pairs = self.pairs[name]
        return name, pairs[(epoch * self.used + number) % len(pairs)]

    def __getitem__(self, place: int) -> tuple[Features, Features]:
        name, pair = self.pair(place)
        rng = np.random.default_rng([self.seed, place])
        text = self.tokens.of(name)
        return self.features.of_set(pair.better, text, rng), self.features.of_set(pair.worse, text, rng)

    def plan(self, batch: int) -> Any:
        """Batches of an epoch's places, in an order drawn from the seed and the epoch."""

        def places(epoch: int) -> list[list[int]]:
            order = np.random.default_rng([self.seed, epoch]).permutation(len(self)) + epoch * len(self)
            return [order[first : first + batch].tolist() for first in range(0, len(self), batch)]

        return places
