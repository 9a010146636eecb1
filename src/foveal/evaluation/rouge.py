"""ROUGE-1, ROUGE-2 and ROUGE-L (Lin, 2004) for texts of any script.

    rouge("రోడ్డు ప్రమాదంలో ఐదుగురు మృతి", "ప్రమాదంలో ఐదుగురు మృతి")["rougeL"].f1

Words are those of `scripts.words`: letters with their marks. On ASCII the figures are those of the package rouge-score
without its stemmer, which deletes every letter of another script.

L of ROUGE-L is the longest common subsequence, by bits: one word of the one text is one step over all of the other
(Crochemore et al., 2001; Hyyrö, 2004), V <- (V + (V & M)) | (V & ~M), with M the places where the word stands. A word
that does not occur changes nothing and is passed over.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from foveal.evaluation.scripts import words

KINDS = ("rouge1", "rouge2", "rougeL")


@dataclass(frozen=True, slots=True)
class Overlap:
    """Shares of the written text that the reference has (precision), and of the reference that was written (recall)."""

    precision: float
    recall: float

    @property
    def f1(self) -> float:
        """2 P R / (P + R); 0 where both are 0."""
        both = self.precision + self.recall
        return 2 * self.precision * self.recall / both if both else 0.0


def rouge(written: str, reference: str) -> dict[str, Overlap]:
    """Kind of `KINDS` -> overlap of `written` with `reference`."""
    one, other = words(written), words(reference)
    return {"rouge1": rouge_n(one, other, 1), "rouge2": rouge_n(one, other, 2), "rougeL": rouge_l(one, other)}


def rouge_n(written: Sequence[str], reference: Sequence[str], n: int) -> Overlap:
    """The overlap of runs of `n` words, each counted as often as both have it."""
    one, other = (Counter(zip(*(text[at:] for at in range(n)), strict=False)) for text in (written, reference))
    shared = (one & other).total()
    return Overlap(shared / max(1, one.total()), shared / max(1, other.total()))


def rouge_l(written: Sequence[str], reference: Sequence[str]) -> Overlap:
    """The overlap by the longest common subsequence; 0 where a text has no word."""
    if not written or not reference:
        return Overlap(0.0, 0.0)
    shared = Places(written).common(reference)
    return Overlap(shared / len(written), shared / len(reference))


class Places:
    """A text, held ready for the longest common subsequence with many others."""

    def __init__(self, text: Sequence[str]) -> None:
        self.length = len(text)
        masks: dict[str, int] = {}
        for place, word in enumerate(text):
            masks[word] = masks.get(word, 0) | 1 << place
        self._masks: Mapping[str, int] = masks
        self._all = (1 << self.length) - 1

    def common(self, other: Iterable[str]) -> int:
        """Words of the longest common subsequence with `other`."""
        masks, row = self._masks, self._all
        for word in other:
            mask = masks.get(word)
            if mask is not None:
                met = row & mask
                row = (row + met) | (row - met)
        return self.length - (row & self._all).bit_count()

    def f1(self, other: Sequence[str]) -> float:
        """ROUGE-L's F1 with `other`: 2 L / (both lengths together)."""
        both = self.length + len(other)
        return 2 * self.common(other) / both if self.length and other else 0.0
