"""Hard negatives for queries about news: four ways of being wrong. Pure functions over what is known of documents.

older       names of the answer, but another and older event
type        the same kind of thing, of other names
later       near the query in meaning, but published after it was asked
off-topic   as fresh as the answer, about something else
Guard       never a document of the answer's own event, nor one that answers; with a teacher none that it scores above
            the answer less a margin (RocketQA's denoising: Qu et al., NAACL 2021)
Source     the kinds are ours: Yang et al., 2023, arXiv 2312.00372, name hard negatives without saying of what kind
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import islice

import numpy as np

from foveal.errors import InputError, UnknownName
from foveal.training.event_rows import EventExamples
from foveal.training.examples import Negatives
from foveal.training.negatives import Teacher
from foveal.training.searches import Floats

DAY = 86_400.0
KINDS = ("older", "type", "later", "off-topic")
FRESH_DAYS, APART_DAYS = 14.0, 14.0
"""Days before a query in which a document is fresh; days by which an older event must lie before the answer."""


def event_negatives(
    data: EventExamples,
    queries: Floats,
    documents: Floats,
    topics: Sequence[int],
    *,
    depth: int = 10,
    kinds: Sequence[str] = KINDS,
    teacher: Teacher | None = None,
    margin: float = 0.1,
) -> dict[str, Negatives]:
    """Kind -> query -> at most `depth` documents, the hardest (off-topic: the least near) first.

    `queries` (Q, d) and `documents` (N, d) are unit vectors in the order of the examples, `topics` (N,) says what kind
    of thing a document is about. UnknownName: a kind that is none. InputError: not one vector for each.
    """
    unknown = [kind for kind in kinds if kind not in KINDS]
    if unknown:
        raise UnknownName(f"No kind of negative is called {unknown[0]!r}. There are: {', '.join(KINDS)}.")
    names = list(data.examples.corpus)
    if len(queries) != len(data.examples.queries) or not len(documents) == len(names) == len(topics):
        raise InputError(
            f"Negatives got {len(queries)} vectors for {len(data.examples.queries)} queries, and {len(documents)} and "
            f"{len(topics)} topics for {len(names)} documents; each needs one."
        )
    places = {name: row for row, name in enumerate(names)}
    found: dict[str, Negatives] = {kind: {} for kind in kinds}
    most = depth if teacher is None else 2 * depth
    for number, query in enumerate(data.examples.queries):
        order = np.argsort(-(documents @ queries[number]), kind="stable")
        right = _Right(data, query, names, places, topics)
        for kind in kinds:
            ordered = order[::-1] if kind == "off-topic" else order
            pool = (names[row] for row in ordered.tolist() if right.is_kind(kind, row))
            found[kind][query] = list(islice(pool, most))  # no row behind is looked at
    if teacher is not None:
        found = {kind: _guarded(pools, data, teacher, margin) for kind, pools in found.items()}
    return {kind: {query: pool[:depth] for query, pool in pools.items()} for kind, pools in found.items()}


class _Right:
    """What the answers of a query are like, and how a document differs from them."""

    def __init__(
        self, data: EventExamples, query: str, names: Sequence[str], places: Mapping[str, int], topics: Sequence[int]
    ) -> None:
        self.data, self.query, self.names, self.topics = data, query, names, topics
        answers = data.examples.positives[query]
        self.asked = data.asked[query]
        self.events = {data.facts[name].event for name in answers} - {""}
        self.entities = frozenset[str]().union(*(data.facts[name].entities for name in answers))
        self.earliest = min(data.facts[name].moment for name in answers)
        self.kinds = {topics[places[name]] for name in answers}

    def is_kind(self, kind: str, row: int) -> bool:
        name = self.names[row]
        facts = self.data.facts[name]
        if facts.event in self.events or not self.data.examples.wrong(self.query, name):
            return False
        shared, later = bool(facts.entities & self.entities), facts.moment > self.asked
        match kind:
            case "older":
                return shared and facts.moment <= self.earliest - APART_DAYS * DAY
            case "type":
                return not shared and not later and self.topics[row] in self.kinds
            case "later":
                return later
            case _:
                fresh = not later and facts.moment >= self.asked - FRESH_DAYS * DAY
                return fresh and not shared and self.topics[row] not in self.kinds


def _guarded(pools: Negatives, data: EventExamples, teacher: Teacher, margin: float) -> Negatives:
    """Without those that the teacher scores above the lowest of the answers less a margin."""
    texts, kept = data.examples.corpus, {}
    for query, pool in pools.items():
        answers = data.examples.positives[query]
        pairs = [(data.examples.queries[query], texts[name]) for name in (*answers, *pool)]
        scores = [float(score) for score in teacher(pairs)]
        bound = min(scores[: len(answers)]) - margin
        kept[query] = [name for name, score in zip(pool, scores[len(answers) :], strict=True) if score <= bound]
    return kept


def mixed(found: Mapping[str, Negatives], seed: int, most: int) -> Negatives:
    """One pool of at most `most` for each query, the kinds taking turns in an order drawn from the seed."""
    pools: Negatives = {}
    queries = dict.fromkeys(query for part in found.values() for query in part)
    for number, query in enumerate(queries):
        order = np.random.default_rng([seed, number]).permutation(len(found))
        lists = [list(found[kind].get(query, ())) for kind in (list(found)[place] for place in order)]
        turns = [one[depth] for depth in range(max(map(len, lists), default=0)) for one in lists if depth < len(one)]
        pools[query] = list(dict.fromkeys(turns))[:most]
    return pools
