"""Finding facts again: by words, by meaning, by the entities that they join, by time.

    found = lookup(facts, "Who owns the mill now?", now=now, encoder=encoder)     # [(fact, score)], best first
    lookup(facts, "Who owned the mill?", at=datetime(2021, 5, 1), now=now)        # what held then

Words      BM25 over subject, relation, object; and matter: how far the question names the subject and the relation,
           since BM25 alone puts another relation of the right subject before the right one
Meaning    cosine of the question with the fact's line, where there is an encoder
Entity     personalised PageRank (Haveliwala, WWW 2002) over the graph whose nodes are subjects and objects and whose
           edges are facts, as in HippoRAG (arXiv 2405.14831): the walk begins anew, with 1 - d = 0.5, at the nodes that
           the question names; a fact has the mean of its two ends
Time       `at` keeps the facts that held at that moment; without it all are kept, and those that still hold come first
           among equals by their recency
Score      w1 · recency + w2 · importance + w3 · relevance, each min-max normalised over the facts, all weights 1,
           recency = 0.995^hours since the last use ("Generative Agents", arXiv 2304.03442); relevance is the mean of
           what words, matter, meaning and entity say, normalised alike
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from foveal.errors import InputError
from foveal.evaluation import bm25
from foveal.research.memory_facts import Fact, named
from foveal.research.verification_signals import stems
from foveal.retrieval.terms import inverse_document_frequencies
from foveal.types import Encoder

if TYPE_CHECKING:
    from collections.abc import Mapping

Floats = npt.NDArray[np.float64]
RECENCY = 0.995
"""Of an hour."""
DAMPING = 0.5
"""Share of a step that goes on along the graph; the rest begins anew at the question's entities (HippoRAG)."""


@dataclass(frozen=True, kw_only=True)
class LookupSettings:
    """How much each part of the score counts; 0 leaves it out."""

    recency: float = 1.0
    importance: float = 1.0
    relevance: float = 1.0

    def __post_init__(self) -> None:
        """InputError: a weight is negative, or all are 0."""
        if (
            min(self.recency, self.importance, self.relevance) < 0
            or not self.recency + self.importance + self.relevance
        ):
            raise InputError(f"{self} needs weights of 0 or more, and one above 0.")


def lookup(
    facts: Sequence[Fact],
    question: str,
    *,
    now: datetime,
    at: datetime | None = None,
    k: int = 10,
    encoder: Encoder | None = None,
    vectors: Mapping[str, Any] | None = None,
    settings: LookupSettings | None = None,
) -> list[tuple[Fact, float]]:
    """The `k` facts with the highest score; `vectors` are of facts' lines, by key, where they are kept."""
    if k < 1:
        raise InputError(f"A lookup got k={k}; it needs 1 or more.")
    own = settings or LookupSettings()
    among = [one for one in facts if at is None or one.holds_at(at)]
    if not among:
        return []
    parts = [by_words(among, question), by_matter(among, question), by_entity(among, question)]
    if encoder is not None:
        parts.append(by_meaning(among, question, encoder, vectors or {}))
    relevance = sum((normalised(one) for one in parts), np.zeros(len(among)))
    total = (
        own.recency * normalised(recency(among, now))
        + own.importance * normalised(np.array([one.importance for one in among]))
        + own.relevance * normalised(relevance)
    )
    order = sorted(range(len(among)), key=lambda place: (-total[place], place))
    return [(among[place], float(total[place])) for place in order[:k]]


def normalised(values: Floats) -> Floats:
    """Values (N,) moved and scaled to 0 … 1; all 0 where they are equal."""
    low, high = float(values.min()), float(values.max())
    return (values - low) / (high - low) if high > low else np.zeros(len(values))


def recency(facts: Sequence[Fact], now: datetime) -> Floats:
    """0.995^hours since a fact was last used, or made; 0 where neither is known."""
    seen = [one.last_used or one.created for one in facts]
    hours = [max(0.0, (now - one).total_seconds() / 3600) if one else math.inf for one in seen]
    return np.array([RECENCY**one for one in hours])


def by_words(facts: Sequence[Fact], question: str) -> Floats:
    """BM25 of each fact (Robertson and Zaragoza, 2009)."""
    texts = [" ".join(stems(" ".join(one.triple))) for one in facts]
    counts = [Counter(text.split()) for text in texts]
    lengths = np.array([one.total() for one in counts], dtype=np.float64)
    rarity = inverse_document_frequencies(texts)
    norm = bm25.norm(lengths, max(1.0, float(lengths.mean())))
    scores = np.zeros(len(facts))
    for term in set(stems(question)):
        held = np.array([one[term] for one in counts], dtype=np.float64)
        scores += rarity.get(term, 0.0) * held / (held + norm)
    return scores


def by_matter(facts: Sequence[Fact], question: str) -> Floats:
    """How far the question names a fact's subject and its relation: the mean of the shares of their words, 0 to 1."""
    asked = set(stems(question))
    return np.array([(_named(one.subject, asked) + _named(one.relation, asked)) / 2 for one in facts])


def _named(part: str, asked: set[str]) -> float:
    own = set(stems(part))
    return len(own & asked) / len(own) if own else 0.0


def by_meaning(facts: Sequence[Fact], question: str, encoder: Encoder, vectors: Mapping[str, Any]) -> Floats:
    """Cosine of each fact's line with the question."""
    unknown = [one for one in facts if one.key not in vectors]
    made = (
        dict(zip((one.key for one in unknown), encoder.encode([said_plainly(one) for one in unknown]), strict=True))
        if unknown
        else {}
    )
    rows = np.stack([np.asarray(vectors[one.key] if one.key in vectors else made[one.key]) for one in facts])
    return np.asarray(rows @ np.asarray(encoder.encode([question])[0]), dtype=np.float64)


def said_plainly(fact: Fact) -> str:
    """The fact as a sentence, to encode."""
    return f"The {fact.relation} of {fact.subject} is {fact.object}."


def by_entity(facts: Sequence[Fact], question: str) -> Floats:
    """The mean PageRank of each fact's ends, begun at the entities that the question names; 0 where it names none."""
    nodes = list(dict.fromkeys(named(end) for one in facts for end in (one.subject, one.object)))
    place = {name: at for at, name in enumerate(nodes)}
    ends = [(place[named(one.subject)], place[named(one.object)]) for one in facts]
    asked = f" {named(question)} "
    begin = np.array([float(f" {name} " in asked) for name in nodes])
    if not begin.any():
        return np.zeros(len(facts))
    ranks = personalised_pagerank(len(nodes), ends, begin / begin.sum())
    return np.array([(ranks[one] + ranks[other]) / 2 for one, other in ends])


def personalised_pagerank(nodes: int, edges: Sequence[tuple[int, int]], begin: Floats, *, rounds: int = 50) -> Floats:
    """Ranks (nodes,) of a graph: r = d · P r + (1 - d) · begin, by iteration; a node without edges begins anew."""
    ranks = begin.copy()
    sources = np.array([end for pair in edges for end in pair], dtype=np.int64)
    targets = np.array([end for pair in edges for end in reversed(pair)], dtype=np.int64)
    degree = np.bincount(sources, minlength=nodes)
    for _ in range(rounds):
        share = np.divide(ranks, degree, out=np.zeros(nodes), where=degree > 0)
        passed = np.bincount(targets, weights=share[sources], minlength=nodes) if len(edges) else np.zeros(nodes)
        passed += begin * float(ranks[degree == 0].sum())
        moved = DAMPING * passed + (1 - DAMPING) * begin
        if float(np.abs(moved - ranks).sum()) < 1e-10:
            return moved
        ranks = moved
    return ranks
