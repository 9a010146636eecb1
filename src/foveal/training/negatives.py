"""Which documents a query is told apart from: chosen from what was found and what a teacher says. Pure functions.

Shapes     a run is query -> document -> score (higher is better); negatives are query -> documents, the hardest first
Judged     what a person graded 0 comes before all else in every pool, found or not; what counts neither way in none
Static     the top k of a first search without what is relevant (T4; DPR: Karpukhin et al., EMNLP 2020)
Denoised   a candidate counts as negative only if a teacher scores it low, and as positive if it scores it high (T6;
           RocketQA: Qu et al., NAACL 2021); or if it stays by a margin below the relevant document
SimANS     candidates near the relevant document's score are drawn most often (Zhou et al., EMNLP 2022, industry)
TAS-B      batches of queries of one topic, pairs balanced over a teacher's margins (T7; Hofstätter et al., SIGIR 2021)
Dynamic    negatives that follow the model as it learns are in `dynamic_negatives.py`
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from foveal.errors import InputError
from foveal.training.examples import Examples, Negatives, Scores

Teacher = Callable[[Sequence[tuple[str, str]]], Sequence[float]]
"""(query text, document text) pairs -> scores, higher is better (`rerankers.Scorer` is one)."""


def top_negatives(run: Scores, examples: Examples, *, depth: int, skip: int = 0) -> Negatives:
    """What was judged wrong, what was found of it first, then the found documents of rank `skip` + 1 to `depth` that
    answer nothing, for each query (T4).
    """
    if not 0 <= skip < depth:
        raise InputError(f"Negatives were asked for from rank {skip + 1} to {depth}; give 0 <= skip < depth.")
    pools = {}
    for query in examples.queries:
        found = run.get(query, {})
        pools[query] = [*_judged(found, examples, query), *_wrong(found, examples, query)[skip:depth]]
    return pools


def below_positive(
    negatives: Negatives,
    scores: Scores,
    examples: Examples,
    *,
    margin: float = 0.0,
    relative: float = 0.0,
    highest: float = math.inf,
) -> Negatives:
    """Those that a teacher scores below each query's lowest relevant document, by a margin.

    Kept is d with score(d) <= min(s+ - margin, s+ - relative·|s+|, highest), s+ the lowest score of a relevant
    document. InputError: the teacher scored no relevant document of a query.
    """
    if margin < 0 or relative < 0:
        raise InputError(f"A filter got margin {margin} and relative {relative}; neither may be below 0.")
    kept = {}
    for query, pool in negatives.items():
        lowest = min(_positive_scores(scores, examples, query))
        bound = min(lowest - margin, lowest - relative * abs(lowest), highest)
        kept[query] = [document for document in pool if scores[query][document] <= bound]
    return kept


@dataclass(frozen=True)
class Denoised:
    """Candidates after a teacher looked at them: sure negatives, and what it takes for relevant though nobody said."""

    negatives: Negatives
    pseudo_positives: dict[str, list[str]]


def denoised(negatives: Negatives, scores: Scores, *, lower: float = 0.1, upper: float = 0.9) -> Denoised:
    """Candidates whose score is below `lower`, and those above `upper`; what lies between is left out (T6)."""
    if lower > upper:
        raise InputError(f"Denoising got the bounds {lower} and {upper}; the first must not be above the second.")
    sure = {q: [d for d in pool if scores[q][d] < lower] for q, pool in negatives.items()}
    found = {q: [d for d in pool if scores[q][d] > upper] for q, pool in negatives.items()}
    return Denoised(sure, {query: documents for query, documents in found.items() if documents})


def with_pseudo_positives(examples: Examples, found: Mapping[str, Sequence[str]]) -> Examples:
    """The examples with these documents judged relevant, too; what is judged already stays as it is."""
    judged = {query: {**dict.fromkeys(found.get(query, ()), 1), **examples.judged[query]} for query in examples.queries}
    return replace(examples, judged=judged)


def simans(
    negatives: Negatives,
    scores: Scores,
    examples: Examples,
    *,
    count: int,
    a: float = 1.0,
    b: float = 0.0,
    seed: int = 0,
) -> Negatives:
    """`count` of each query's candidates, drawn without return by weights exp(-a (s(d) - s(d+) - b)^2); s(d+) is the
    mean over its relevant documents. The first drawn comes first.
    """
    if count < 1 or a < 0:
        raise InputError(f"SimANS got count {count} and a = {a}; it needs at least one, and an a from 0 on.")
    generator = np.random.default_rng(seed)
    drawn = {}
    for query, pool in negatives.items():
        centre = float(np.mean(_positive_scores(scores, examples, query))) + b
        logits = np.array([-a * (scores[query][document] - centre) ** 2 for document in pool])
        noise = generator.gumbel(size=len(pool))  # the largest of logit + noise are such a draw
        order = np.argsort(-(logits + noise), kind="stable")[:count]
        drawn[query] = [pool[place] for place in order]
    return drawn


def filled(negatives: Negatives, examples: Examples, count: int, *, seed: int = 0) -> Negatives:
    """Each pool, what was judged wrong put first though a filter left it out, brought to `count` by random documents
    that do not answer the query.

    InputError: the corpus has too few of those.
    """
    generator = np.random.default_rng(seed)
    ids = list(examples.corpus)
    whole: Negatives = {}
    for query in examples.queries:
        judged, found = examples.irrelevant[query], negatives.get(query, [])
        told = [document for document in found if document in judged]
        pool = [*dict.fromkeys([*told, *judged, *found])]
        held = set(pool)
        for place in generator.permutation(len(ids)) if len(pool) < count else ():
            document = ids[place]
            if document not in held and examples.wrong(query, document):
                pool.append(document)
            if len(pool) == count:
                break
        if len(pool) < count:
            such = f"only {len(pool)} documents do not answer it. Ask for fewer"
            none = "every document answers it, or counts neither way. Leave it out"
            raise InputError(
                f"Query {query!r} was to get {count} negatives, but {such if pool else none}, or add documents."
            )
        whole[query] = pool
    return whole


def taught(examples: Examples, candidates: Negatives, teacher: Teacher) -> dict[str, dict[str, float]]:
    """What the teacher says of each query with its candidates and its relevant documents.

    InputError: it gives another number of scores, or one that is no number.
    """
    asked = [
        (query, document)
        for query in examples.queries
        for document in dict.fromkeys([*examples.positives[query], *candidates.get(query, [])])
    ]
    said = [float(score) for score in teacher([(examples.queries[q], examples.corpus[d]) for q, d in asked])]
    if len(said) != len(asked) or not all(map(math.isfinite, said)):
        raise InputError(
            f"A teacher gave {len(said)} scores for {len(asked)} pairs, or one that is no number. It must give a "
            "finite score for each."
        )
    scores: dict[str, dict[str, float]] = defaultdict(dict)
    for (query, document), score in zip(asked, said, strict=True):
        scores[query][document] = score
    return dict(scores)


def spread(scores: Scores, to: float) -> dict[str, dict[str, float]]:
    """Scores scaled so that within a query they spread by `to` (root of the mean variance): teachers differ in scale,
    and a student's cosines over a temperature have a scale of their own.
    """
    variances = [np.var(list(one.values())) for one in scores.values() if len(one) > 1]
    now = math.sqrt(float(np.mean(variances))) if variances else 0.0
    factor = to / now if now > 0 else 1.0
    return {query: {document: factor * score for document, score in one.items()} for query, one in scores.items()}


# -- topic-aware, balanced batches (TAS-B) ----------------------------------------------------------------------------


def topics(vectors: npt.NDArray[np.float32], count: int, *, seed: int = 0, rounds: int = 25) -> npt.NDArray[np.int64]:
    """The k-means cluster (N,) of each vector (N, D), by Lloyd's iterations from `count` of the vectors."""
    if not 1 <= count <= len(vectors):
        raise InputError(f"{len(vectors)} queries were to be put into {count} topics; give 1 to {len(vectors)}.")
    generator = np.random.default_rng(seed)
    centres = vectors[generator.choice(len(vectors), count, replace=False)].copy()
    nearest = np.full(len(vectors), -1, dtype=np.int64)
    for _ in range(rounds):
        distances = (centres**2).sum(1) - 2 * vectors @ centres.T
        found = distances.argmin(1)
        if np.array_equal(found, nearest):
            break
        nearest = found
        for topic in range(count):
            if (nearest == topic).any():
                centres[topic] = vectors[nearest == topic].mean(0)
    return nearest


def topic_batches(clusters: Sequence[int], batch: int, *, seed: int = 0) -> list[list[int]]:
    """All places in batches of at most `batch`, each of one topic, in an order drawn from the seed (T7)."""
    if batch < 1:
        raise InputError(f"Batches of {batch} were asked for; a batch needs at least one.")
    generator = np.random.default_rng(seed)
    of_topic: dict[int, list[int]] = defaultdict(list)
    for place in generator.permutation(len(clusters)):
        of_topic[int(clusters[place])].append(int(place))
    cut = [members[first : first + batch] for members in of_topic.values() for first in range(0, len(members), batch)]
    return [cut[number] for number in generator.permutation(len(cut))]


def balanced(margins: Sequence[float], count: int, *, bins: int = 10, seed: int = 0) -> list[int]:
    """`count` places, a bin of the margins' range drawn for each and then a place in it, so that easy and hard pairs
    come equally often (T7). A place may come again.
    """
    if not len(margins) or count < 0 or bins < 1:
        raise InputError(f"{count} of {len(margins)} pairs were to be drawn from {bins} bins; give some of each.")
    generator = np.random.default_rng(seed)
    values = np.asarray(margins, dtype=np.float64)
    width = (values.max() - values.min()) / bins
    bin_of = (
        np.minimum(((values - values.min()) / width).astype(int), bins - 1) if width > 0 else np.zeros(len(values), int)
    )
    members = [np.flatnonzero(bin_of == number) for number in np.unique(bin_of)]
    return [int(generator.choice(members[number])) for number in generator.integers(len(members), size=count)]


def _judged(found: Mapping[str, float], examples: Examples, query: str) -> list[str]:
    """What was judged wrong, the best found first, then what was not found."""
    return sorted(examples.irrelevant[query], key=lambda name: -found.get(name, -math.inf))


def _wrong(found: Mapping[str, float], examples: Examples, query: str) -> list[str]:
    """The found documents that nobody judged and that do not answer the query, best first; of equal texts the first."""
    judged = {examples.codes[document] for document in examples.irrelevant[query]}
    kept: dict[int, str] = {}
    for document in sorted(found, key=lambda name: (-found[name], name)):
        if document in examples.corpus and examples.wrong(query, document):
            kept.setdefault(examples.codes[document], document)
    return [document for code, document in kept.items() if code not in judged]


def _positive_scores(scores: Scores, examples: Examples, query: str) -> list[float]:
    known = scores.get(query, {})
    found = [known[document] for document in examples.positives[query] if document in known]
    if not found:
        raise InputError(
            f"No relevant document of query {query!r} was scored, so none can be compared with it. Score those, too: "
            "negatives.taught."
        )
    return found
