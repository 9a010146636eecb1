"""Features of a word's letters: the n-grams of "#word#", as DSSM hashes words (Huang et al., CIKM 2013, section 3.2).

    LetterGrams(features=30_000).places("cat")     the places of "#ca", "cat", "at#"

DSSM, CDSSM     n = 3, about 30,000 features in the paper
DUET            n = 1 to 5, 2,000 features
Places          where there is room, trigrams of a to z and # have a place of their own, without collisions; all other
                n-grams (digits, other scripts, other lengths) share the remaining places by CRC-32. No list of n-grams
                has to be fitted or saved, and an unseen word has features, too
Sums            `LetterSums` is a matrix product with the vector of counts, without making that vector: one row is
                taken per n-gram. Texts come as lists of words, so there is no padding
"""

from __future__ import annotations

import string
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from foveal.errors import InputError
from foveal.ranking.neural.inputs import Pairs

__all__ = [
    "LetterGrams",
    "LetterSums",
    "Words",
    "keeping_angles",
    "lengths_of",
    "letters_of",
    "window_sums",
    "without_slope",
]

Words = Sequence[Sequence[str]]
"""The words of each text."""

LETTERS = string.ascii_lowercase
EDGE = "#"
OWN = 26**3 + 2 * 26**2 + 26
"""How many trigrams of letters there are: three letters, two letters at either edge, one letter alone."""


@dataclass(frozen=True)
class LetterGrams:
    """The n-grams of a word, n from `shortest` to `longest`, as places 0 to `features` - 1; checked when made."""

    features: int = 30_000
    shortest: int = 3
    longest: int = 3

    def __post_init__(self) -> None:
        if self.features < 1:
            raise InputError(f"Letter n-grams got {self.features} features; they need at least 1.")
        if not 1 <= self.shortest <= self.longest:
            raise InputError(
                f"Letter n-grams got lengths {self.shortest} to {self.longest}; they need 1 <= shortest <= longest."
            )

    def grams(self, word: str) -> list[str]:
        """The n-grams of "#word#", the short ones first; of a word shorter than n, none. An edge alone is none."""
        marked = f"{EDGE}{word.lower()}{EDGE}"
        sizes = range(self.shortest, self.longest + 1)
        cut = (marked[start : start + size] for size in sizes for start in range(len(marked) - size + 1))
        return [gram for gram in cut if gram.strip(EDGE)]

    def places(self, word: str) -> tuple[int, ...]:
        """The place of each n-gram of a word; one that comes twice is there twice."""
        return _places(self, word)

    def place(self, gram: str) -> int:
        """The place of one n-gram."""
        own = _own_place(gram) if self.features > OWN else None
        if own is not None:
            return own
        first = OWN if self.features > OWN else 0
        return first + zlib.crc32(gram.encode("utf-8", "surrogatepass")) % (self.features - first)


class LetterSums(nn.Module):
    """A linear map of counts of n-grams, (features,) -> (outputs,), without a bias."""

    def __init__(self, grams: LetterGrams, outputs: int) -> None:
        super().__init__()
        self.grams = grams
        self.table = nn.EmbeddingBag(grams.features, outputs, mode="sum")
        nn.init.xavier_uniform_(self.table.weight)

    def of_texts(self, texts: Words) -> Tensor:
        """Word lists -> (texts, outputs): the n-grams of each text's words, counted over the whole text."""
        return self._sums([list(chain.from_iterable(map(self.grams.places, words))) for words in texts])

    def of_words(self, texts: Words, length: int | None = None) -> Tensor:
        """Word lists -> (texts, words, outputs): each word's own sum; 0 after a text's last word.

        `length`: that many words, cut or filled; None: as many as the longest text has, at least 1.
        """
        size = max(1, max(map(len, texts), default=1)) if length is None else length
        rows: dict[str, int] = {"": 0}  # each word of the batch is summed once; the empty word has no n-grams
        ids = [[rows.setdefault(word, len(rows)) for word in words[:size]] for words in texts]
        table = torch.tensor([[*row, *[0] * (size - len(row))] for row in ids], dtype=torch.long)
        sums = self._sums([self.grams.places(word) for word in rows])
        return F.embedding(table.to(sums.device), sums)

    def _sums(self, bags: Sequence[Sequence[int]]) -> Tensor:
        device = self.table.weight.device
        sizes = torch.tensor([len(bag) for bag in bags], dtype=torch.long, device=device)
        places = torch.tensor(list(chain.from_iterable(bags)), dtype=torch.long, device=device)
        result: Tensor = self.table(places, sizes.cumsum(0) - sizes)
        return result


def keeping_angles(layer: nn.Linear) -> nn.Linear:
    """The layer with an orthogonal matrix and no bias, by which vectors keep their cosines, and hence their order.

    PyTorch's own start makes them shorter than its bias: after two such layers all texts have nearly the same vector.
    """
    nn.init.orthogonal_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer


def lengths_of(texts: Words, device: torch.device) -> Tensor:
    """Word lists -> (texts,): how many words each has."""
    return torch.tensor([len(words) for words in texts], dtype=torch.long, device=device)


def without_slope(vectors: Tensor, texts: Words) -> Tensor:
    """Vectors (texts, D), those of texts without words with no gradient: they begin at 0, where a cosine's is 1e8, and
    one such text would outweigh all that a batch teaches.
    """
    worded = lengths_of(texts, vectors.device) > 0
    return torch.where(worded.unsqueeze(1), vectors, vectors.detach())


def window_sums(words: Tensor, size: int) -> Tensor:
    """(B, n, size * F) -> (B, n - size + 1, F): a convolution over words whose k-th matrix gave the k-th part of F.

    At t: the sum over k of part k of word t + k.
    """
    parts = words.reshape(*words.shape[:2], size, -1)
    count = words.shape[1] - size + 1
    return torch.stack([parts[:, place : place + count, place] for place in range(size)]).sum(0)


def letters_of(pairs: Pairs, model: str) -> tuple[Words, Words]:
    """The words of the queries and of the documents. InputError: the pairs hold only ids."""
    if pairs.query_words is None or pairs.document_words is None:
        raise InputError(
            f"{model} reads the letters of words, and these pairs hold only ids. Make them by "
            "foveal.ranking.neural.inputs.pairs, which keeps the words."
        )
    return pairs.query_words, pairs.document_words


@lru_cache(maxsize=2**16)
def _places(grams: LetterGrams, word: str) -> tuple[int, ...]:
    return tuple(map(grams.place, grams.grams(word)))


def _own_place(gram: str) -> int | None:
    """The place of a trigram of letters, edges only at its ends; None for any other n-gram.

    Places in order: abc, then #ab, ab#, #a#.
    """
    letters = gram.strip(EDGE)
    if len(gram) != 3 or not letters or any(letter not in LETTERS for letter in letters):
        return None
    number = 0
    for letter in letters:
        number = 26 * number + LETTERS.index(letter)
    if len(letters) == 3:
        return number
    if len(letters) == 2:
        return 26**3 + (26**2 if gram.endswith(EDGE) else 0) + number
    return 26**3 + 2 * 26**2 + number if gram.startswith(EDGE) and gram.endswith(EDGE) else None
