"""Answers of one or more titles, "A | B", written along the tree of titles: behind a title the tree begins anew.

    score(answer) = (1 / |y|^alpha) sum over t of log p(y_t | y_<t, query)
    y: the tokens of its titles without their ends, the separator between them, one end behind the last

Shapes    Q queries -> for each at most k answers, best first; an answer is the numbers of its titles, as written
Exact     with as many beams as there are answers, the ranking is that of scoring each; with fewer, some are lost
Source    GENRE's code (De Cao et al., ICLR 2021) has this mode; CorpusBrain (Chen et al., CIKM 2022) trains it by ISS
          and LPS, whose targets name up to four linked documents. No title comes twice in an answer: that is ours
Speed     what the tree allows is looked up and weighed in arrays, all titles that may begin anew too; only the beams
          that stay are objects
Against   constrained_beams.py writes one title, and ends its tails in one pass; this takes a step for each token
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np
import torch

from foveal.errors import InputError
from foveal.models.title_models import TitleModel
from foveal.retrieval.constrained_beams import (
    BeamSettings,
    Floats,
    log_probabilities,
    queries_together,
    require_same_tokens,
)
from foveal.retrieval.title_trie import Ids, TitleTrie

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

    row: int  # of the state
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
        ways = _ways(model, trie, live, most)
        rows, owners = (np.array([getattr(beam, name) for beam in live])[ways.beams] for name in ("row", "query"))
        sums = totals[rows] + log_probabilities(logits, rows, ways.tokens)
        kept = _best_of_each(owners, sums, width)
        width, written = settings.beams, written + 1
        going = []
        for place in kept:
            beam, total = ways.taken(place, live, model, trie), float(sums[place])
            if ways.tokens[place] == model.end:
                found.add(beam.query, WrittenAnswer(beam.titles, total / written**settings.alpha, total))
            else:
                going.append((place, beam))
        # more tokens only take from a sum, and its length divides at most by `longest`
        going = [(place, beam) for place, beam in going if sums[place] / longest >= found.least[beam.query]]
        if not going:
            break
        places = np.array([place for place, _ in going])
        parents = torch.from_numpy(rows[places]).to(model.device)
        fed = torch.from_numpy(ways.tokens[places][:, None]).to(model.device)
        state, logits = model.advance(state, parents, fed)
        logits, totals = logits[:, -1], sums[places]
        live = [replace(beam, row=row) for row, (_, beam) in enumerate(going)]
    return found.best()


class _Ways(NamedTuple):
    """All that may be written next, in arrays (C,): behind which live beam, the token, and where in the tree it ends.

    `nodes` is -1 within a separator; behind a whole title its end, whether the answer ends there or goes on.
    """

    beams: Ids
    tokens: Ids
    nodes: Ids

    def taken(self, place: int, live: Sequence[_Beam], model: TitleModel, trie: TitleTrie) -> _Beam:
        """The beam that goes this way."""
        beam, node, parts = live[int(self.beams[place])], int(self.nodes[place]), len(model.separator)
        if node < 0:
            return replace(beam, between=(beam.between + 1) % parts)
        title = int(trie.title[node])
        if title < 0:
            return replace(beam, node=node)
        whole = replace(beam, node=0, titles=(*beam.titles, title))
        return whole if self.tokens[place] == model.end else replace(whole, between=1 % parts)


def _ways(model: TitleModel, trie: TitleTrie, live: Sequence[_Beam], most: int) -> _Ways:
    """The rest of a separator; what the tree allows; behind a title the end, and a separator if another may follow."""
    inside = np.array([place for place, beam in enumerate(live) if not beam.between], dtype=np.int64)
    between = np.array([place for place, beam in enumerate(live) if beam.between], dtype=np.int64)
    rest = np.array([model.separator[live[place].between] for place in between], dtype=np.int64)
    at, nodes = trie.children(np.array([live[place].node for place in inside], dtype=np.int64))
    beams, titles = inside[at], trie.title[nodes]
    times = np.ones(len(nodes), dtype=np.int64)  # how many ways lead behind this node: none where a title came before
    for way in np.flatnonzero(titles >= 0).tolist():
        before = live[beams[way]].titles
        times[way] = 0 if int(titles[way]) in before else 1 + (len(before) + 1 < most)
    ways = np.repeat(np.arange(len(nodes)), times)
    tokens = np.where(titles[ways] < 0, trie.token[nodes[ways]], model.end).astype(np.int64)
    tokens[1:][ways[1:] == ways[:-1]] = model.separator[0]
    return _Ways(
        np.concatenate([between, beams[ways]]),
        np.concatenate([rest, tokens]),
        np.concatenate([np.full(len(between), -1), nodes[ways]]),
    )


def _best_of_each(queries: Ids, sums: Floats, width: int) -> list[int]:
    """The places of the `width` highest sums of each query; of equal ones the first."""
    order = np.lexsort((-sums, queries))
    begins = np.searchsorted(queries[order], queries[order])
    kept: list[int] = order[np.arange(len(order)) - begins < width].tolist()
    return kept
