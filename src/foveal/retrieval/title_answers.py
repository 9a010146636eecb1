"""Answers of one or more titles, "A | B", written along the tree of titles: behind a title the tree begins anew.

    score(answer) = (1 / |y|^alpha) sum over t of log p(y_t | y_<t, query)
    y: the tokens of its titles without their ends, the separator between them, one end behind the last

Shapes    Q queries -> for each at most k answers, best first; an answer is the numbers of its titles, as written
Exact     with as many beams as there are answers, the ranking is that of scoring each; with fewer, some are lost
Source    GENRE's code (De Cao et al., ICLR 2021) has this mode; CorpusBrain (Chen et al., CIKM 2022) trains it by ISS
          and LPS, whose targets name up to four linked documents. No title comes twice in an answer: that is ours
Against   constrained_beams.py writes one title, and ends its tails in one pass; this takes a step for each token
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import torch

from foveal.errors import InputError
from foveal.models.title_models import TitleModel
from foveal.retrieval.constrained_beams import BeamSettings, log_probabilities, queries_together, require_same_tokens
from foveal.retrieval.title_trie import TitleTrie

MOST = 5
"""Titles of an answer: as many as ISS and LPS teach."""


class WrittenAnswer(NamedTuple):
    """An answer: the numbers of its titles in order, its score, and the log-probability of all its tokens together."""

    titles: tuple[int, ...]
    score: float
    log_probability: float


@dataclass(frozen=True, slots=True)
class TitlesHit:
    """One answer of one or more documents, in the order in which their titles were written."""

    documents: tuple[str, ...]
    titles: tuple[str, ...]
    score: float  # log-probability over length to the alpha
    probability: float  # of the whole answer


def titles_hit(
    answer: WrittenAnswer, numbers: Sequence[int], documents: Sequence[str], titles: Sequence[str]
) -> TitlesHit:
    """An answer by its documents; `numbers` are the places in `documents` and `titles` of the tree's titles."""
    held = [numbers[title] for title in answer.titles]
    named, called = (tuple(of[place] for place in held) for of in (documents, titles))
    return TitlesHit(named, called, answer.score, math.exp(answer.log_probability))


@dataclass(frozen=True)
class _Beam:
    """What was written so far: behind whole `titles` the way to `node`, or `between` tokens of the separator."""

    row: int  # of the state that it goes on from
    query: int
    node: int = 0
    titles: tuple[int, ...] = ()
    between: int = 0


@dataclass
class _Found:
    """The answers of each query, and the k-th best score of each (-inf while there are fewer)."""

    k: int
    answers: list[list[WrittenAnswer]]
    least: list[float] = field(init=False)

    def __post_init__(self) -> None:
        self.least = [-np.inf] * len(self.answers)

    def add(self, query: int, answer: WrittenAnswer) -> None:
        """Note an answer that is written to its end."""
        found = self.answers[query]
        found.append(answer)
        if len(found) >= self.k:
            self.least[query] = sorted((one.score for one in found), reverse=True)[self.k - 1]

    def best(self) -> list[list[WrittenAnswer]]:
        """The best k of each query; equal scores by their titles' numbers."""
        return [sorted(found, key=lambda one: (-one.score, one.titles))[: self.k] for found in self.answers]


def search_answers(
    model: TitleModel,
    trie: TitleTrie,
    queries: Sequence[str],
    k: int = 10,
    settings: BeamSettings | None = None,
    *,
    most: int = MOST,
) -> list[list[WrittenAnswer]]:
    """For each query at most `k` answers of one to `most` titles of the tree, best first.

    InputError: k or `most` below 1, an empty tree, the tree of another model's tokens, or no token to part titles by.
    """
    settings = settings or BeamSettings()
    if min(k, most) < 1 or not len(trie):
        raise InputError(
            f"A search for answers got k={k}, most={most} and {len(trie)} titles; it needs at least 1 of each."
        )
    require_same_tokens(model, trie)
    if most > 1 and model.end in model.separator:
        raise InputError("This model has no token to part titles by, so it can write one title only (most=1).")
    found: list[list[WrittenAnswer]] = []
    together = queries_together(model, settings)
    for first in range(0, len(queries), together):
        found += _search(model, trie, queries[first : first + together], k, settings, most)
    return found


@torch.no_grad()
def _search(
    model: TitleModel, trie: TitleTrie, queries: Sequence[str], k: int, settings: BeamSettings, most: int
) -> list[list[WrittenAnswer]]:
    found = _Found(k, [[] for _ in queries])
    state, logits = model.begin(queries)
    live, totals = [_Beam(row, row) for row in range(len(queries))], np.zeros(len(queries))
    longest = (most * trie.longest + (most - 1) * len(model.separator)) ** settings.alpha
    width, written = settings.first_beams or settings.beams, 0
    while live:
        grown, rows, tokens = _grown(model, trie, live, most)
        sums = totals[rows] + log_probabilities(logits, rows, tokens)
        kept = _best_of_each([one.query for one in grown], sums, width)
        width, written = settings.beams, written + 1
        going = []
        for place in kept:
            beam, total = grown[place], float(sums[place])
            if tokens[place] == model.end:
                found.add(beam.query, WrittenAnswer(beam.titles, total / written**settings.alpha, total))
            else:
                going.append(place)
        # more tokens only take from a sum, and its length divides at most by `longest`
        going = [place for place in going if sums[place] / longest >= found.least[grown[place].query]]
        if not going:
            break
        parents = torch.tensor([grown[place].row for place in going], device=model.device)
        fed = torch.from_numpy(tokens[going][:, None]).to(model.device)
        state, logits = model.advance(state, parents, fed)
        logits, totals = logits[:, -1], sums[going]
        live = [
            _Beam(row, grown[place].query, grown[place].node, grown[place].titles, grown[place].between)
            for row, place in enumerate(going)
        ]
    return found.best()


def _grown(
    model: TitleModel, trie: TitleTrie, live: Sequence[_Beam], most: int
) -> tuple[list[_Beam], np.ndarray, np.ndarray]:
    """All that may be written next: the beams (their rows those that they go on from), rows and tokens (C,)."""
    grown: list[_Beam] = []
    tokens: list[int] = []

    def may(beam: _Beam, token: int, node: int, titles: tuple[int, ...], between: int) -> None:
        grown.append(_Beam(beam.row, beam.query, node, titles, between))
        tokens.append(token)

    separator = model.separator
    in_tree = [beam for beam in live if not beam.between]
    for beam in live:
        if beam.between:
            may(beam, separator[beam.between], 0, beam.titles, (beam.between + 1) % len(separator))
    places, nodes = trie.children(np.array([beam.node for beam in in_tree], dtype=np.int64))
    for place, node in zip(places.tolist(), nodes.tolist(), strict=True):
        beam, title = in_tree[place], int(trie.title[node])
        if title < 0:
            may(beam, int(trie.token[node]), node, beam.titles, 0)
        elif title not in beam.titles:
            titles = (*beam.titles, title)
            may(beam, model.end, node, titles, 0)
            if len(titles) < most:
                may(beam, separator[0], 0, titles, 1 % len(separator))
    return grown, np.array([beam.row for beam in grown], dtype=np.int64), np.array(tokens, dtype=np.int64)


def _best_of_each(queries: Sequence[int], sums: np.ndarray, width: int) -> list[int]:
    """The places of the `width` highest sums of each query; of equal ones the first."""
    left: dict[int, int] = {}
    kept = []
    for place in np.argsort(-sums, kind="stable").tolist():
        taken = left.get(queries[place], 0)
        if taken < width:
            left[queries[place]] = taken + 1
            kept.append(place)
    return kept
