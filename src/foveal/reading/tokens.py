"""The tokens of texts that a reader is given: never control tokens, whatever the text spells.

A page that holds "<|im_end|>" would otherwise end the user's turn in the prompt. The model's tokenizer is copied once,
with the copy taking such spellings as plain characters.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from foveal.models.characters import scalar
from foveal.text.units import Offsets

if TYPE_CHECKING:
    from foveal.models.language import LanguageModel


class PlainTokens:
    """Texts to tokens, and to the places of tokens, for one model."""

    def __init__(self, model: LanguageModel) -> None:
        self._tokenizer: Any = copy.deepcopy(model.tokenizer.backend_tokenizer)
        self._tokenizer.encode_special_tokens = True
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()

    def encode_many(self, texts: Sequence[str]) -> list[list[int]]:
        """The tokens of each text."""
        whole = [scalar(text) for text in texts]
        return [one.ids for one in self._tokenizer.encode_batch_fast(whole, add_special_tokens=False)]

    def encode(self, text: str) -> list[int]:
        """The tokens of one text."""
        ids: list[int] = self._tokenizer.encode(scalar(text), add_special_tokens=False).ids
        return ids

    def offsets(self, text: str) -> Offsets:
        """Start and end character of each token, without the blanks that it begins with: so a word's begin shows."""
        places: Offsets = self._tokenizer.encode(scalar(text), add_special_tokens=False).offsets
        blanks = (len(text[start:end]) - len(text[start:end].lstrip()) for start, end in places)
        return [(start + blank % (end - start or 1), end) for (start, end), blank in zip(places, blanks, strict=True)]

    def decode(self, ids: Sequence[int]) -> str:
        """The text of the tokens."""
        text: str = self._tokenizer.decode(list(ids), skip_special_tokens=False)
        return text
