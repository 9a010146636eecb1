"""Beam search that can only write titles: those that a model finds the most probable, for many queries at once.

    score(title) = (1 / |y|^alpha) sum over t of log p(y_t | y_<t, query)        y: the title's tokens, its end included

Shapes    Q queries -> for each at most k titles by number, best first. A live beam is a row: its query, its node in the
          tree, and the sum so far; a step is one forward pass over all rows of all queries, slices of the tree's
          arrays, and one sort. No token of it is walked in Python
Exact     probabilities are those over the whole vocabulary: what the tree forbids is left out, and what it allows is
          not scaled up (else a title that is long and the only one would cost nothing). With as many beams as titles,
          the ranking is that of scoring every title. With fewer, one whose first tokens are unlikely can be lost
Tails     where one title is left under a beam, its remaining tokens are scored in one pass, and the beam is free. Of a
          query whose rows stand in one (`TitleState.seen`) whole trees are, where as many beams are left as titles
Bound     what cannot enter the best k any more, whatever followed, is not gone on with; no ranking is changed by it
Source    GENRE: De Cao et al., ICLR 2021; CorpusBrain: Chen et al., CIKM 2022 (10 beams, alpha 1). The tails are ours
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from foveal.errors import InputError
from foveal.models.title_models import CausalTitles, TitleModel
from foveal.models.title_states import TitleState, padded
from foveal.retrieval.title_trie import Ids, TitleTrie

Floats = npt.NDArray[np.float64]

NUMBERS_AT_ONCE = 2**26
"""Logits that one forward pass may make: bounds the memory where the vocabulary is large."""


NUMBERS_IN_CACHE = 2**20
"""Logits that are summed at a time: what is made of them on the way stays in the processor's cache."""


BEAMS_AT_ONCE = 512
"""Beams of all queries that are searched for together: each holds what the model knows of its query. One query may have
more, of which an encoder's share is held once."""


ROWS_AT_ONCE = 128
"""Rows of such a pass: what was found meanwhile rules out many of those that wait."""


TOKENS_AT_ONCE = 256
"""Tokens of a pass over trees: enough for products to be as fast as they get."""


PADDING = 32
"""Tokens of padding in such a pass: to read the weights once more costs about as much."""


@dataclass(frozen=True, kw_only=True)
class BeamSettings:
    """How titles are searched for."""

    beams: int = 10
    alpha: float = 1.0  # 0 favours short titles, 1 long ones; tune it on dev queries
    first_beams: int | None = None  # of the first token, which decides most; None: as many as later
    queries_at_once: int = 8

    def __post_init__(self) -> None:
        if min(self.beams, self.queries_at_once, self.first_beams or 1) < 1 or not self.alpha >= 0:
            raise InputError(
                f"A search for titles got beams={self.beams}, first_beams={self.first_beams}, queries_at_once="
                f"{self.queries_at_once}, alpha={self.alpha}; it needs at least 1 of each, and alpha of 0 or more."
            )


class Written(NamedTuple):
    """A title that was found: its number, its score, and the log-probability of all its tokens together."""

    title: int
    score: float
    log_probability: float


@dataclass
class _Found:
    """What was found for the queries of a batch, and what would enter the best k."""

    alpha: float
    k: int
    titles: list[list[Written]]
    least: Floats = field(init=False)  # (Q,): the k-th best score, -inf while there are fewer

    def __post_init__(self) -> None:
        self.least = np.full(len(self.titles), -np.inf)

    def add(self, queries: Ids, titles: Ids, totals: Floats, lengths: Ids) -> None:
        """Note titles that are written to their ends."""
        scores = totals / lengths.astype(np.float64) ** self.alpha
        for query, title, score, total in zip(*map(np.ndarray.tolist, (queries, titles, scores, totals)), strict=True):
            self.titles[query].append(Written(title, score, total))
        for query in np.unique(queries).tolist():
            if len(self.titles[query]) >= self.k:
                self.least[query] = sorted((one.score for one in self.titles[query]), reverse=True)[self.k - 1]

    def open(self, queries: Ids, totals: Floats, longest: Ids | int) -> npt.NDArray[np.bool_]:
        """Which beams may still enter: more tokens only take from the sum, and length divides at most by `longest`."""
        may: npt.NDArray[np.bool_] = totals / np.asarray(longest, np.float64) ** self.alpha >= self.least[queries]
        return may

    def best(self) -> list[list[Written]]:
        """The best k of each query; equal scores by number."""
        return [sorted(found, key=lambda one: (-one.score, one.title))[: self.k] for found in self.titles]


@dataclass(frozen=True)
class _Beams:
    """Beams in rows: the row of the state that each goes on from, its query, node and sum."""

    parents: Ids
    queries: Ids
    nodes: Ids
    totals: Floats

    def only(self, rows: npt.NDArray[np.bool_] | Ids) -> _Beams:
        return _Beams(self.parents[rows], self.queries[rows], self.nodes[rows], self.totals[rows])


def search_titles(
    model: TitleModel, trie: TitleTrie, queries: Sequence[str], k: int = 10, settings: BeamSettings | None = None
) -> list[list[Written]]:
    """For each query at most `k` titles of the tree, best first.

    InputError: k < 1, an empty tree, or the tree of another model's tokens.
    """
    settings = settings or BeamSettings()
    if k < 1 or not len(trie):
        raise InputError(f"A search for titles got k={k} and {len(trie)} titles; it needs at least 1 of each.")
    require_same_tokens(model, trie)
    order = sorted(range(len(queries)), key=lambda place: len(queries[place]))  # alike in length: little is padding
    found: dict[int, list[Written]] = {}
    together = queries_together(model, settings)
    for first in range(0, len(order), together):
        places = order[first : first + together]
        batch = _search(model, trie, [queries[place] for place in places], k, settings)
        found.update(zip(places, batch, strict=True))
    return [found[place] for place in range(len(queries))]


def queries_together(model: TitleModel, settings: BeamSettings) -> int:
    """Queries that are searched for at once, so that their beams fit into the memory."""
    beams = max(settings.beams, settings.first_beams or 0)
    fitting = min(BEAMS_AT_ONCE, NUMBERS_AT_ONCE // model.vocabulary) // beams
    return max(1, min(settings.queries_at_once, fitting))


def require_same_tokens(model: TitleModel, trie: TitleTrie) -> None:
    """InputError: the tree was made for another model."""
    if trie.end != model.end or trie.fingerprint not in ("", model.fingerprint):
        raise InputError(
            f"The tree of titles is of another model's tokens (end {trie.end}, fingerprint {trie.fingerprint[:12]!r}; "
            f"the model's: {model.end}, {model.fingerprint[:12]!r}). Build it with this model: "
            "TitleTrie.of(model.title_ids(titles), model.end)."
        )


@torch.no_grad()
def _search(
    model: TitleModel, trie: TitleTrie, queries: Sequence[str], k: int, settings: BeamSettings
) -> list[list[Written]]:
    state, logits = model.begin(queries)
    everyone = np.arange(len(queries))
    live = _Beams(everyone, everyone, np.zeros(len(queries), np.int64), np.zeros(len(queries)))
    found = _Found(settings.alpha, k, [[] for _ in queries])
    width, written = settings.first_beams or settings.beams, 0
    while len(live.nodes):
        grown = _grown(trie, live, logits, width)
        width, written = settings.beams, written + 1
        ends = trie.title[grown.nodes] >= 0
        ended = grown.only(ends)
        lengths = np.full(len(ended.nodes), written)
        found.add(ended.queries, trie.title[ended.nodes].astype(np.int64), ended.totals, lengths)
        under = np.where(ends, 0, trie.below[grown.nodes])
        last = under == 1
        if isinstance(model, CausalTitles) and state.seen is not None:  # of one query
            if under.sum() <= width:  # beams are left for all titles that may come: none of them is cut off
                last = under > 0
            _write_trees(model, trie, state, grown.only(last), written, found)
        else:
            _write_tails(model, trie, state, grown.only(last), written, found)
        live = grown.only(~ends & ~last)
        live = live.only(found.open(live.queries, live.totals, trie.longest))
        if len(live.nodes):
            tokens = trie.token[live.nodes].astype(np.int64)[:, None]
            state, logits = model.advance(state, _on(model, live.parents), _on(model, tokens))
            logits = logits[:, -1]
            live = _Beams(np.arange(len(live.nodes)), live.queries, live.nodes, live.totals)
    return found.best()


def _grown(trie: TitleTrie, live: _Beams, logits: Tensor, width: int) -> _Beams:
    """All that the tree allows behind each beam, of which the best `width` of each query stay."""
    rows, nodes = trie.children(live.nodes)
    totals = live.totals[rows] + log_probabilities(logits, rows, trie.token[nodes])
    queries = live.queries[rows]
    order = np.lexsort((nodes, -totals, queries))
    begins = np.searchsorted(queries[order], np.arange(int(live.queries.max()) + 1))
    rank = np.arange(len(order)) - begins[queries[order]]
    kept = order[rank < width]
    return _Beams(live.parents[rows[kept]], queries[kept], nodes[kept], totals[kept])


def _write_tails(
    model: TitleModel, trie: TitleTrie, state: TitleState, beams: _Beams, written: int, found: _Found
) -> None:
    """Score what remains of titles that are the only ones under their nodes."""
    tokens, counts, titles = trie.tails(beams.nodes)
    fed = np.concatenate([trie.token[beams.nodes].astype(np.int64)[:, None], tokens], axis=1)
    for piece in _pieces(counts, model):
        rows = piece[found.open(beams.queries[piece], beams.totals[piece], written + counts[piece])]
        if not len(rows):
            continue
        span = int(counts[rows].max())
        _, logits = model.advance(state, _on(model, beams.parents[rows]), _on(model, fed[rows, :span]))
        at = np.repeat(np.arange(len(rows)), span)
        chosen = log_probabilities(logits.flatten(0, 1), np.arange(len(at)), tokens[rows, :span].ravel())
        counted = np.arange(span) < counts[rows][:, None]
        totals = beams.totals[rows] + np.where(counted, chosen.reshape(len(rows), span), 0.0).sum(axis=1)
        found.add(beams.queries[rows], titles[rows], totals, written + counts[rows])


def _write_trees(
    model: CausalTitles, trie: TitleTrie, state: TitleState, beams: _Beams, written: int, found: _Found
) -> None:
    """Score all titles under some nodes, what they have in common once, without padding: many tokens in one pass."""
    nodes, above, roots = trie.under(beams.nodes)
    depths = _down(above, np.zeros(len(nodes), np.int64), 1)
    most, sizes = np.zeros(len(beams.nodes), np.int64), np.bincount(roots, minlength=len(beams.nodes))
    np.maximum.at(most, roots, depths)
    order = np.argsort(-beams.totals, kind="stable")  # what is found first rules out much of what waits
    for piece in np.split(order, np.flatnonzero(np.diff(np.cumsum(sizes[order]) // TOKENS_AT_ONCE)) + 1):
        rows = piece[found.open(beams.queries[piece], beams.totals[piece], written + most[piece])]
        if len(rows):
            _write_tree(model, trie, state, beams.only(rows), written, found)


def _write_tree(
    model: CausalTitles, trie: TitleTrie, state: TitleState, beams: _Beams, written: int, found: _Found
) -> None:
    """Read the trees depth by depth: a node's probability is told by the token above it."""
    nodes, above, roots = trie.under(beams.nodes)
    inner = np.flatnonzero(trie.title[nodes] < 0)  # what is read; ends are only written
    number = np.full(len(nodes), -1)
    number[inner] = np.arange(len(inner))
    over = np.where(above >= 0, number[above], -1)  # among those that are read
    gained, held = np.zeros(len(nodes)), len(state.together)
    step = max(1, min(TOKENS_AT_ONCE, NUMBERS_AT_ONCE // model.vocabulary))
    for first in range(0, len(inner), step):
        part = inner[first : first + step]
        here = np.where(over[part] >= first, over[part] - first, -1)  # behind one of this pass
        behind = np.where(over[part] >= 0, held + over[part], beams.parents[roots[part]])
        behind[here >= 0] = 0
        tokens = trie.token[nodes[part]].astype(np.int64)
        state, logits = model.grow(state, _on(model, behind), _on(model, tokens), here.tolist())
        next_ones = np.flatnonzero((over >= first) & (over < first + len(part)))
        gained[next_ones] = log_probabilities(logits, over[next_ones] - first, trie.token[nodes[next_ones]])
    totals = beams.totals[roots] + _down(above, np.zeros(len(nodes)), gained)
    ends = trie.title[nodes] >= 0
    lengths = written + _down(above, np.zeros(len(nodes), np.int64), 1)[ends]
    found.add(beams.queries[roots[ends]], trie.title[nodes[ends]].astype(np.int64), totals[ends], lengths)


def _down(above: Ids, begun: npt.NDArray[Any], gained: npt.NDArray[Any] | int) -> npt.NDArray[Any]:
    """Sums of `gained` from the top of a tree down to each node (C,), of which the one above stands before it."""
    summed, more = begun.copy(), np.broadcast_to(gained, begun.shape)
    for place in np.flatnonzero(above >= 0).tolist():
        summed[place] = summed[above[place]] + more[place]
    return summed


def score_titles(
    model: TitleModel, queries: Sequence[str], sequences: Sequence[Sequence[int]]
) -> list[npt.NDArray[np.float64]]:
    """For each query the log-probability (N,) of each sequence, its end included, by teacher forcing: exact."""
    if not sequences:
        return [np.empty(0) for _ in queries]
    scores = []
    counts = np.array([len(one) for one in sequences])
    targets = padded(sequences, model.end).numpy()
    for query in queries:
        state, logits = model.begin([query])
        first = log_probabilities(logits, np.zeros(len(counts), np.int64), targets[:, 0])
        totals = np.array(first)
        for rows in _pieces(counts - 1, model):
            span = int(counts[rows].max()) - 1
            parents = np.zeros(len(rows), np.int64)
            _, behind = model.advance(state, _on(model, parents), _on(model, targets[rows, :span]))
            chosen = log_probabilities(
                behind.flatten(0, 1), np.arange(len(rows) * span), targets[rows, 1 : span + 1].ravel()
            )
            counted = np.arange(1, span + 1) < counts[rows][:, None]
            totals[rows] += np.where(counted, chosen.reshape(len(rows), span), 0.0).sum(axis=1)
        scores.append(totals)
    return scores


def log_probabilities(logits: Tensor, rows: Ids, tokens: npt.NDArray[np.integer]) -> Floats:
    """log p of `tokens` (C,) by the logits (R, V) of `rows` (C,), over the whole vocabulary, in float32."""
    at, chosen = (torch.from_numpy(np.array(one, dtype=np.int64)).to(logits.device) for one in (rows, tokens))
    pieces = torch.split(logits, max(1, NUMBERS_IN_CACHE // logits.shape[-1]))
    whole = torch.cat([piece.float().logsumexp(-1) for piece in pieces])
    found: Floats = (logits[at, chosen].float() - whole[at]).double().cpu().numpy()
    return found


def _pieces(counts: Ids, model: TitleModel) -> Iterator[Ids]:
    """Rows that are written together: about as long, and few enough for the memory."""
    order = np.argsort(counts, kind="stable")
    begin = 0
    for end in range(1, len(order) + 1):
        if end < len(order):
            longest = max(1, int(counts[order[end]]))  # with the next row
            rows = end + 1 - begin
            padding = rows * longest - int(counts[order[begin : end + 1]].sum())
            if rows <= ROWS_AT_ONCE and padding <= PADDING and rows * longest * model.vocabulary <= NUMBERS_AT_ONCE:
                continue
        yield order[begin:end]
        begin = end


def _on(model: TitleModel, ids: Ids) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(ids)).to(model.device)
