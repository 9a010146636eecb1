"""Pre-training tasks without labels: from texts to batches, each task a pure draw from one text and a generator.

    ict      a sentence -> the rest of its passage               Lee et al., ACL 2019; in 10 % the sentence stays in
    bfs      a sentence of a page's first section -> a passage of the page              Chang et al., ICLR 2020
    wlp      the same sentence -> a passage of a page that links to it                  Chang et al., ICLR 2020
    twins    a text -> itself; dropout makes the two differ      SimCSE: Gao et al., EMNLP 2021
    crops    two random crops of one text                        Contriever: Izacard et al., TMLR 2022
    spans    two pieces of one text, masked                      coCondenser: Gao and Callan, ACL 2022
    masked   a text masked as in BERT (Devlin et al., 2019), and once more for a decoder (RetroMAE, SimLM, LexMAE), or
             with all its words beside it (bag of words)

Shapes    features of one example: lists of token ids; `collate` makes them (B, L) int64, `<name>_mask` (B, L) bool,
          labels of -100 where nothing is asked, `item` (B,) the number of the text, `sees` (B, L, L) bool
Repeats   example i is drawn from (seed, i) alone: in any order, by any worker, after a resume, it is the same.
          `views` is how often each text comes, each time drawn anew; a training runs over the examples once
Modules   pretraining_contrast.py (pairs, crops), pretraining_condenser.py (masked, spans), pretraining_bottleneck.py,
          pretraining_words.py (masked)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt

from foveal.errors import InputError
from foveal.training.pretraining_masks import IGNORED, Ids, Masking, mask_tokens, originals, visible

Features = dict[str, Any]
Example = Features | tuple[Features, ...]
Item = TypeVar("Item")

PADDED = ("ids", "first", "second")
"""Features that get a mask beside them."""


class Pair(NamedTuple):
    """A made-up query, and the text that it should find."""

    first: str
    second: str


@dataclass(frozen=True)
class Page:
    """A page with its parts: the sentences of its first section, and all of its passages."""

    first_section: Sequence[str]
    passages: Sequence[str]

    def __post_init__(self) -> None:
        if not self.first_section or not self.passages:
            raise InputError(
                f"A page got {len(self.first_section)} sentences in its first section and {len(self.passages)} "
                "passages; it needs one of each. Leave out pages without text."
            )


# -- pairs of texts --------------------------------------------------------------------------------------------------


def ict(sentences: Sequence[str], rng: np.random.Generator, *, keep: float = 0.1) -> Pair:
    """Inverse cloze task: one sentence, and its passage without it; with it by probability `keep`."""
    if len(sentences) < 2:
        raise InputError(f"The inverse cloze task got {len(sentences)} sentences; it needs a passage of two or more.")
    place = int(rng.integers(len(sentences)))
    kept = rng.random() < keep
    rest = [one.strip() for number, one in enumerate(sentences) if kept or number != place]
    return Pair(sentences[place].strip(), " ".join(rest))


def bfs(page: Page, rng: np.random.Generator) -> Pair:
    """Body first selection. A passage that holds the sentence itself is taken only where there is no other (ours)."""
    sentence = _one_of(page.first_section, rng).strip()
    others = [passage for passage in page.passages if sentence not in passage]
    return Pair(sentence, _one_of(others or page.passages, rng))


def wlp(link: tuple[Page, Page], rng: np.random.Generator) -> Pair:
    """Wiki link prediction, from (a page, one that links to it): see `linked`."""
    page, linking = link
    return Pair(_one_of(page.first_section, rng).strip(), _one_of(linking.passages, rng))


def linked(pages: Mapping[str, Page], links: Sequence[tuple[str, str]]) -> list[tuple[Page, Page]]:
    """Links (from, to), by the pages' ids, as (the page linked to, the page that links); each once, none to itself."""
    unknown = sorted({name for link in links for name in link} - pages.keys())
    if unknown:
        raise InputError(f"Links name {len(unknown)} pages that are not given, such as {unknown[0]!r}. Leave them out.")
    return [(pages[target], pages[source]) for source, target in dict.fromkeys(links) if source != target]


def twins(text: str, rng: np.random.Generator) -> Pair:  # noqa: ARG001
    """The text twice: nothing is drawn here, a model in training draws its dropout."""
    return Pair(text, text)


# -- pieces of token lists -------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Crops:
    """How crops are drawn; the defaults are Contriever's."""

    shortest: float = 0.05  # share of the text's tokens
    longest: float = 0.5  # share of the text's tokens
    deleted: float = 0.1  # probability that a token of a crop is left out

    def __post_init__(self) -> None:
        if not 0 < self.shortest <= self.longest <= 1 or not 0 <= self.deleted < 1:
            raise InputError(f"{self} needs 0 < shortest <= longest <= 1 and 0 <= deleted < 1.")


def crop(ids: Sequence[int], rng: np.random.Generator, crops: Crops) -> Ids:
    """A random piece of the ids, some of them left out, at least one kept."""
    length = max(1, round(len(ids) * rng.uniform(crops.shortest, crops.longest)))
    piece = window(ids, rng, length)
    kept = [token for token in piece if rng.random() >= crops.deleted]
    return kept or [_one_of(piece, rng)]


def window(ids: Sequence[int], rng: np.random.Generator, length: int) -> Ids:
    """`length` ids in a row, from a random place; all of them where there are no more."""
    start = int(rng.integers(max(0, len(ids) - length) + 1))
    return list(ids[start : start + length])


def spans(ids: Sequence[int], rng: np.random.Generator, length: int) -> tuple[Ids, Ids]:
    """Two different pieces of `length` ids (of half of the ids, where they are too few), in random order."""
    size = min(length, (len(ids) + 1) // 2)
    starts = range(0, len(ids), size)
    first, second = (starts[place] for place in rng.choice(len(starts), 2, replace=False))
    return list(ids[first : first + size]), list(ids[second : second + size])


# -- examples and batches --------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Tokens:
    """Texts to token ids by a transformers tokenizer, [CLS] before and [SEP] behind."""

    tokenizer: Any
    max_tokens: int = 128  # of a text, the two special ones included

    def __post_init__(self) -> None:
        if self.max_tokens < 3 or None in (self.tokenizer.cls_token_id, self.tokenizer.sep_token_id):
            raise InputError(
                f"Pre-training got max_tokens={self.max_tokens} and a tokenizer with [CLS] "
                f"{self.tokenizer.cls_token_id} and [SEP] {self.tokenizer.sep_token_id}; it needs at least 3 tokens, "
                "and a tokenizer that has both, as BERT's."
            )

    @property
    def room(self) -> int:
        """Tokens of a text that fit between the two special ones."""
        return self.max_tokens - 2

    def plain(self, text: str) -> Ids:
        """The ids of the text, uncut, without special ones."""
        ids: Ids = self.tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]
        return ids

    def framed(self, ids: Sequence[int]) -> Ids:
        """[CLS], as many ids as fit, [SEP]."""
        return [self.tokenizer.cls_token_id, *ids[: self.room], self.tokenizer.sep_token_id]

    def all_plain(self, texts: Sequence[str], *, least: int) -> list[Ids]:
        """`plain` of each. InputError: no text, or one of fewer than `least` tokens."""
        if not texts:
            raise InputError("Pre-training got no text; it needs at least one.")
        read = [self.plain(text) for text in texts]
        short = [place for place, ids in enumerate(read) if len(ids) < least]
        if short:
            raise InputError(
                f"Text {short[0]} ({texts[short[0]]!r:.60}) has {len(read[short[0]])} tokens, and {len(short)} texts "
                f"in all have fewer than the {least} that this task needs. Leave them out."
            )
        return read


@dataclass(frozen=True)
class Drawn(Generic[Item]):
    """Examples drawn from items; what a torch DataLoader or a Trainer takes as a data set.

    Example i comes from item i modulo their number, by a generator of (seed, i).
    """

    items: Sequence[Item]
    draw: Callable[[Item, int, np.random.Generator], Example]  # gets the item and its number
    seed: int
    views: int = 1

    def __post_init__(self) -> None:
        if not self.items or self.views < 1:
            raise InputError(f"Pre-training got {len(self.items)} items and views={self.views}; it needs one of each.")

    def __len__(self) -> int:
        return len(self.items) * self.views

    def __getitem__(self, number: int) -> Example:
        if not 0 <= number < len(self):
            raise IndexError(number)
        place = number % len(self.items)
        return self.draw(self.items[place], place, np.random.default_rng((self.seed, number)))


def pair_examples(
    items: Sequence[Item],
    task: Callable[[Item, np.random.Generator], Pair],
    tokens: Tokens,
    *,
    seed: int,
    views: int = 1,
) -> Drawn[Item]:
    """Features first, second, item. `task` is ict (items: lists of sentences), bfs (Pages), wlp (`linked`), twins."""

    def draw(item: Item, place: int, rng: np.random.Generator) -> Features:
        first, second = (tokens.framed(ids) for ids in tokens.all_plain(task(item, rng), least=1))
        return {"first": first, "second": second, "item": place}

    return Drawn(items, draw, seed, views)


def crop_examples(texts: Sequence[str], tokens: Tokens, *, seed: int, views: int = 1) -> Drawn[Ids]:
    """Features first, second, item: two crops of each text. InputError: a text without tokens."""
    drawn = Crops()

    def draw(ids: Ids, place: int, rng: np.random.Generator) -> Features:
        first, second = (tokens.framed(crop(ids, rng, drawn)) for _ in range(2))
        return {"first": first, "second": second, "item": place}

    return Drawn(tokens.all_plain(texts, least=1), draw, seed, views)


def masked_examples(
    texts: Sequence[str],
    tokens: Tokens,
    masking: Masking,
    *,
    seed: int,
    views: int = 1,
    decoder: Masking | None = None,
    enhanced: bool = False,
    words: bool = False,
) -> Drawn[Ids]:
    """Features ids, labels; with `decoder` also decoder_ids, decoder_labels, masked by a draw of their own.

    A text too long gives a random window. `words`: also word_labels, all tokens of the text as it was. `enhanced`
    (RetroMAE): decoder_ids are the text itself, all of it is asked, and `sees` says what each position may look at, by
    the decoder's rate. InputError: a text without tokens.
    """
    if enhanced and decoder is None:
        raise InputError("Enhanced decoding needs a decoder's masking, whose rate is the share that is not seen.")

    def draw(ids: Ids, place: int, rng: np.random.Generator) -> Features:  # noqa: ARG001
        framed = tokens.framed(window(ids, rng, tokens.room))
        asked: Features = dict(zip(("ids", "labels"), mask_tokens(framed, rng, masking), strict=True))
        if words:
            asked["word_labels"] = originals(framed, masking.special)
        if decoder is None:
            return asked
        if enhanced:
            sees = visible(len(framed), rng, decoder.rate)
            labels = originals(framed, decoder.special)
            return asked | {"decoder_ids": framed, "decoder_labels": labels, "sees": sees}
        names = ("decoder_ids", "decoder_labels")
        return asked | dict(zip(names, mask_tokens(framed, rng, decoder), strict=True))

    return Drawn(tokens.all_plain(texts, least=1), draw, seed, views)


def span_examples(texts: Sequence[str], tokens: Tokens, masking: Masking, *, seed: int, views: int = 1) -> Drawn[Ids]:
    """Two features ids, labels, item for each text, one after the other in a batch: two masked pieces of it.

    InputError: a text of fewer than two tokens.
    """

    def draw(ids: Ids, place: int, rng: np.random.Generator) -> tuple[Features, ...]:
        pieces = spans(ids, rng, tokens.room)
        masked = (mask_tokens(tokens.framed(piece), rng, masking) for piece in pieces)
        return tuple({"ids": changed, "labels": labels, "item": place} for changed, labels in masked)

    return Drawn(tokens.all_plain(texts, least=2), draw, seed, views)


def collate(examples: Sequence[Example], *, pad_id: int) -> dict[str, Any]:
    """Examples as tensors, padded on the right: the keyword arguments of a module's forward. See the shapes above."""
    import torch

    rows = [row for example in examples for row in (example if isinstance(example, tuple) else (example,))]
    batch: dict[str, Any] = {}
    for name in rows[0]:
        values = [row[name] for row in rows]
        if name == "item":
            batch[name] = torch.tensor(values)
        elif name == "sees":
            batch[name] = torch.from_numpy(_square(values))
        else:
            batch[name] = torch.from_numpy(_padded(values, IGNORED if name.endswith("labels") else pad_id))
        if name in PADDED:
            ones = [[1] * len(value) for value in values]
            batch[f"{name}_mask"] = torch.from_numpy(_padded(ones, 0)).bool()
    return batch


def _padded(rows: Sequence[Ids], padding: int) -> npt.NDArray[np.int64]:
    padded = np.full((len(rows), max(map(len, rows))), padding, dtype=np.int64)
    for number, row in enumerate(rows):
        padded[number, : len(row)] = row
    return padded


def _square(rows: Sequence[npt.NDArray[np.bool_]]) -> npt.NDArray[np.bool_]:
    """Padded positions see the first one only: a row that saw nothing would be no softmax."""
    size = max(map(len, rows))
    squares = np.zeros((len(rows), size, size), dtype=np.bool_)
    squares[:, :, 0] = True
    for number, row in enumerate(rows):
        squares[number, : len(row), : len(row)] = row
    return squares


def _one_of(choices: Sequence[Any], rng: np.random.Generator) -> Any:
    return choices[int(rng.integers(len(choices)))]
