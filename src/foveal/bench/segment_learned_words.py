"""bench segment-learned, the paper's baselines of words: what a pair says without any encoder.

Bag of words    the 25,000 commonest words as tf-idf rows of unit length, (1 + ln tf) ln(N / df), through 768 and 512
Word vectors    their mean, or their mean by idf, through 300 and 300; GloVe is not here: a word's vector is the mean of
                its pieces in the encoder's table
Model           rectified layers, u and v; log-odds W [u; v; |u - v|], cross-entropy (Aumiller et al., ICAIL 2021)
Training        10 epochs in batches of 32, as the reference code; its rate is not known: Adam at 1e-3. The pairs are
                those of the cross-encoder
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

from foveal.bench.segment_learned_arms import Arms
from foveal.bench.segment_learned_figures import at_rate, rows_of
from foveal.evaluation.tables import Row
from foveal.models.hub import folder_of
from foveal.models.word_vectors import word_vectors
from foveal.settings import Settings
from foveal.text.units import words
from foveal.training.same_topic_heads import Floats, Paragraphs, gap_scores
from foveal.training.same_topic_pairs import Corpus, Pairs

MOST_WORDS, EPOCHS, BATCH, RATE = 25_000, 10, 32, 1e-3


@dataclass(frozen=True)
class Kind:
    """How words count, the two layers' sizes, and whether words have vectors."""

    counted: str  # "tf-idf", "mean" or "idf"
    sizes: tuple[int, int]
    vectors: bool = True


KINDS = {
    "bag of words": Kind("tf-idf", (768, 512), vectors=False),
    "word vectors, mean": Kind("mean", (300, 300)),
    "word vectors, mean by idf": Kind("idf", (300, 300)),
}

Held = tuple[list[int], list[float]]
"""Columns of a text's words, and how much each counts."""


def word_rows(name: str, arms: Arms, seeds: int) -> Iterator[Row]:
    """The figures of each baseline at the true rate, the means over seeds; no bar."""
    folder = folder_of(arms.base, Settings.load().cache, kind="encoder")
    for title, kind in KINDS.items():
        figures = []
        for seed in range(seeds):
            corpus, few = arms.data.parts.few(arms.wanted(seed), arms.scale.pairs)
            head = word_head(kind, corpus, few, folder, seed=seed)
            figures.append(at_rate([gap_scores(head, one.paragraphs, 1) for one in arms.test], arms.test))
        yield from rows_of(f"{name}: {title}", figures)


@dataclass(frozen=True)
class WordColumns:
    """Word -> its column and ln(N / df)."""

    columns: Mapping[str, tuple[int, float]]

    @classmethod
    def of(cls, texts: Sequence[str]) -> WordColumns:
        """The words of the texts, those that most texts have first."""
        holding = Counter(word for text in texts for word in set(plain_words(text)))
        common = sorted(holding, key=lambda word: (-holding[word], word))[:MOST_WORDS]
        return cls({word: (at, math.log(len(texts) / holding[word])) for at, word in enumerate(common)})

    def row(self, text: str, counted: str) -> Held:
        """The text's known words: of unit length by tf-idf, else shares that sum to 1."""
        counts = Counter(word for word in plain_words(text) if word in self.columns)
        columns = [self.columns[word][0] for word in counts]
        if counted == "tf-idf":
            weights = [(1 + math.log(count)) * self.columns[word][1] for word, count in counts.items()]
            whole = math.hypot(*weights)
        else:
            weights = [count * (self.columns[word][1] if counted == "idf" else 1.0) for word, count in counts.items()]
            whole = sum(weights)
        return columns, [weight / (whole or 1.0) for weight in weights]


class WordModel(nn.Module):
    """Rows of words to u (n, narrow); `table` (words, d): vectors that stay as they are."""

    def __init__(self, count: int, sizes: tuple[int, int], table: Tensor | None) -> None:
        super().__init__()
        wide, narrow = sizes
        if table is None:
            self.bag, self.first = nn.EmbeddingBag(max(1, count), wide, mode="sum"), None
        else:
            self.bag = nn.EmbeddingBag.from_pretrained(table, mode="sum", freeze=True)
            self.first = nn.Linear(table.shape[1], wide)
        self.shift = nn.Parameter(torch.zeros(wide))
        self.second = nn.Linear(wide, narrow)
        self.head = nn.Linear(3 * narrow, 1)

    def forward(self, rows: Sequence[Held]) -> Tensor:
        """u of n texts."""
        columns = torch.tensor([one for held, _ in rows for one in held], dtype=torch.long)
        weights = torch.tensor([one for _, held in rows for one in held], dtype=torch.float32)
        starts = torch.tensor(np.cumsum([0, *(len(held) for held, _ in rows[:-1])]), dtype=torch.long)
        summed = self.bag(columns, starts, per_sample_weights=weights)
        wide = torch.relu((summed if self.first is None else self.first(summed)) + self.shift)
        return torch.relu(self.second(wide))

    def log_odds(self, left: Tensor, right: Tensor) -> Tensor:
        """That the section goes on, (n,)."""
        odds: Tensor = self.head(torch.cat([left, right, (left - right).abs()], dim=-1))[:, 0]
        return odds


@dataclass(frozen=True)
class WordHead:
    """A `Head` of same-topic models over words alone."""

    counted: str
    known: WordColumns
    model: WordModel
    kind: str = "words"
    far: bool = False

    def score(self, read: Paragraphs, distance: int) -> Floats:
        """Log-odds (n - distance,)."""
        with torch.inference_mode():
            vectors = self.model([self.known.row(text, self.counted) for text in read.texts])
            made: Floats = self.model.log_odds(vectors[:-distance], vectors[distance:]).numpy()
        return made

    def arrays(self) -> Mapping[str, Floats]:
        """None: it is measured, and not saved."""
        return {}


def word_head(kind: Kind, corpus: Corpus, pairs: Pairs, folder: Path, *, seed: int) -> WordHead:
    """A baseline, learnt from pairs of a corpus; `folder` holds the encoder whose table has the words' vectors."""
    known = WordColumns.of(corpus.texts)
    rows = {at: known.row(corpus.texts[at], kind.counted) for at in {*pairs.left.tolist(), *pairs.right.tolist()}}
    table = table_of(folder, list(known.columns)) if kind.vectors else None
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = WordModel(len(known.columns), kind.sizes, table)
    optimiser = torch.optim.Adam([one for one in model.parameters() if one.requires_grad], lr=RATE)
    draw = np.random.default_rng(seed)
    same, weight = torch.from_numpy(pairs.same.astype(np.float32)), torch.from_numpy(pairs.weight)
    for _ in range(EPOCHS):
        order = draw.permutation(len(pairs))
        for chosen in filter(len, np.split(order, range(BATCH, len(order), BATCH))):
            vectors = model([rows[at] for side in (pairs.left, pairs.right) for at in side[chosen].tolist()])
            odds = model.log_odds(*vectors.split(len(chosen)))
            loss = binary_cross_entropy_with_logits(odds, same[chosen], weight=weight[chosen])
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
    return WordHead(kind.counted, known, model)


def table_of(folder: Path, vocabulary: Sequence[str]) -> Tensor:
    """Vectors (words, d), of deviation 1; 0 for a word that the encoder cannot spell."""
    places, means = word_vectors(folder, vocabulary)
    table = torch.zeros(len(vocabulary), means.shape[1])
    table[list(places)] = means.float() / means.float().std().clamp(min=1e-6)
    return table


def plain_words(text: str) -> list[str]:
    """The words of a text in small letters, marks left out."""
    return [text[start:end].lower() for start, end in words(text) if text[start].isalnum()]
