"""bench segment-learned, WikiSeg (Koshorek et al., NAACL 2018): a rival that reads whole documents, word by word.

Model     a bidirectional LSTM over a paragraph's words, the maximum of its states; another over the document's
          paragraphs; log-odds at each gap that the section goes on
Words     the first 60 of a paragraph; word2vec is not here: vectors are those of `segment_learned_words.table_of`
Training  cross-entropy over the gaps of a document at a time, Adam at 1e-3, 5 epochs: minutes on a CPU, with states of
          64 numbers where the paper has 256. Gaps beside a paragraph that is also measured teach nothing
Cuts      where the boundary's probability is above 0.4, as published; and at the true rate, as all others
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

from foveal.bench.segment_learned_arms import Arms
from foveal.bench.segment_learned_figures import Figures, at_rate, rows_of
from foveal.bench.segment_learned_words import WordColumns, plain_words, table_of
from foveal.evaluation.tables import Row
from foveal.models.hub import folder_of
from foveal.settings import Settings
from foveal.training.same_topic import gaps_of
from foveal.training.same_topic_heads import Floats, Paragraphs, gap_scores
from foveal.training.same_topic_pairs import Corpus

WORDS, STATES, EPOCHS, RATE = 60, 64, 5, 1e-3
OWN = math.log(0.6 / 0.4)
"""Log-odds below which the boundary's probability is above 0.4."""


def wikiseg_rows(name: str, arms: Arms) -> Iterator[Row]:
    """Its figures at the true rate, and as it cuts by itself; one seed, no bar."""
    folder = folder_of(arms.base, Settings.load().cache, kind="encoder")
    head = wikiseg_head(arms.data.parts.corpus, folder, seed=0)
    scores = [gap_scores(head, one.paragraphs, 1) for one in arms.test]
    yield from rows_of(f"{name}: WikiSeg", [at_rate(scores, arms.test)])
    found = [gaps.found(OWN) for gaps in gaps_of(scores, arms.test)]
    yield from rows_of(f"{name}: WikiSeg, probability above 0.4", [Figures.of(found, arms.test)])


class WikiSegModel(nn.Module):
    """Ids of words (n, WORDS), 0 where there is none, to log-odds (n - 1,)."""

    def __init__(self, table: Tensor) -> None:
        super().__init__()
        self.table = nn.Embedding.from_pretrained(table, freeze=True, padding_idx=0)  # type: ignore[no-untyped-call]
        self.words = nn.LSTM(table.shape[1], STATES, batch_first=True, bidirectional=True)
        self.paragraphs = nn.LSTM(2 * STATES, STATES, batch_first=True, bidirectional=True)
        self.out = nn.Linear(2 * STATES, 1)

    def forward(self, ids: Tensor) -> Tensor:
        """The log-odds that the section goes on behind each paragraph but the last."""
        states, _ = self.words(self.table(ids))
        there = ids > 0
        there[:, 0] = True  # else a paragraph without words has no state
        vectors = states.masked_fill(~there.unsqueeze(-1), -torch.inf).amax(1)
        odds: Tensor = self.out(self.paragraphs(vectors[None])[0][0])[:-1, 0]
        return odds


@dataclass(frozen=True)
class WikiSegHead:
    """A `Head` that reads a document whole, so that only neighbours have a score."""

    known: WordColumns
    model: WikiSegModel
    kind: str = "wikiseg"
    far: bool = False

    def score(self, read: Paragraphs, distance: int) -> Floats:  # noqa: ARG002 (always 1: it is not `far`)
        """Log-odds (n - 1,)."""
        with torch.inference_mode():
            made: Floats = self.model(ids_of(read.texts, self.known)).numpy()
        return made

    def arrays(self) -> Mapping[str, Floats]:
        """None: it is measured, and not saved."""
        return {}


def wikiseg_head(corpus: Corpus, folder: Path, *, seed: int) -> WikiSegHead:
    """It, learnt from the documents of a corpus; `folder` holds the encoder whose table has the words' vectors."""
    known = WordColumns.of(corpus.texts)
    table = table_of(folder, list(known.columns))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = WikiSegModel(torch.cat([torch.zeros(1, table.shape[1]), table]))
    optimiser = torch.optim.Adam([one for one in model.parameters() if one.requires_grad], lr=RATE)
    documents = [np.flatnonzero(corpus.document == one) for one in np.unique(corpus.document)]
    draw = np.random.default_rng(seed)
    for _ in range(EPOCHS):
        for at in draw.permutation(len(documents)).tolist():
            own = documents[at]
            same = torch.from_numpy((corpus.section[own][1:] == corpus.section[own][:-1]).astype(np.float32))
            free = np.array([one not in corpus.blocked for one in own.tolist()])
            counted = torch.from_numpy(free[1:] & free[:-1])
            if not counted.any():
                continue
            odds = model(ids_of([corpus.texts[one] for one in own.tolist()], known))
            loss = binary_cross_entropy_with_logits(odds[counted], same[counted])
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
    return WikiSegHead(known, model)


def ids_of(texts: Sequence[str], known: WordColumns) -> Tensor:
    """The first words of each text that are known, from 1 on; 0 behind them."""
    ids = torch.zeros(len(texts), WORDS, dtype=torch.long)
    for row, text in enumerate(texts):
        held = [known.columns[word][0] + 1 for word in plain_words(text[: 40 * WORDS]) if word in known.columns][:WORDS]
        ids[row, : len(held)] = torch.tensor(held, dtype=torch.long)
    return ids
