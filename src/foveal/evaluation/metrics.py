"""Ranking metrics, as trec_eval defines them (Buckley; https://github.com/usnistgov/trec_eval), and a paired test.

    evaluate(run, qrels, ("ndcg@10", "recall@100"))     # means over all judged queries
    compare(run_a, run_b, qrels, "ndcg@10")             # two-sided p-value of the difference

Names     ndcg, map, precision, recall, success, mrr, err, each with or without a depth "@k"; rprecision, without one
Grades    relevant is a grade of at least 1; nDCG's gain is the grade itself (not 2^grade - 1), a negative one counts 0
ERR       expected reciprocal rank (Chapelle et al., CIKM 2009): a document of grade g ends the search with the chance
          (2^g - 1) / 2^G, G being the highest grade of all judgements
Ties      equal scores are ordered by document id, the largest first (byte order); scores are compared in float32,
          since trec_eval stores them so: two that differ by less than that are a tie there, and so here
Missing   a judged query without results counts 0 (trec_eval -c); results of queries without judgements are left out

Why not ranx, which was chosen first: it compiles for about 24 s in each new environment, and its order among ties is
not defined. These definitions are shorter than its isolation would be. The tests hold them equal to pytrec-eval on
runs full of ties, to 1e-9, and to ranx where scores are distinct.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping

import numpy as np
import numpy.typing as npt

from foveal.errors import InputError, UnknownName

Run = dict[str, dict[str, float]]
"""Query id -> document id -> score, higher is better."""

Qrels = Mapping[str, Mapping[str, int]]
"""Query id -> document id -> grade; what is not listed has grade 0."""

Grades = npt.NDArray[np.float64]
"""Grades of a query's results in the order of their rank, or of its judged documents, the highest first."""

EXACT_FLIPS = 2**16
"""With at most this many sign patterns the paired test looks at each of them instead of drawing some."""


def evaluate(
    run: Mapping[str, Mapping[str, float]], qrels: Qrels, metrics: str | Iterable[str] = ("ndcg@10", "recall@100")
) -> dict[str, float]:
    """The mean of each metric (or of one) over the queries of `qrels`.

    UnknownName: a metric is not one. InputError: no judgements, a score that is no number, or an id that is no text.
    """
    return {name: math.fsum(values.values()) / len(values) for name, values in per_query(run, qrels, metrics).items()}


def per_query(
    run: Mapping[str, Mapping[str, float]], qrels: Qrels, metrics: str | Iterable[str] = ("ndcg@10", "recall@100")
) -> dict[str, dict[str, float]]:
    """Metric -> query id -> value, for each query of `qrels`; errors as in `evaluate`."""
    if not qrels:
        raise InputError("There are no judgements (the qrels are empty), so nothing can be evaluated.")
    chosen = {name: _parsed(name) for name in ((metrics,) if isinstance(metrics, str) else metrics)}
    values: dict[str, dict[str, float]] = {name: {} for name in chosen}
    highest = max((grade for judged in qrels.values() for grade in judged.values()), default=0)
    for query, judged in qrels.items():
        order = ranked(run.get(query, {}), query)
        grades = np.array([max(0, judged.get(document, 0)) for document in order], dtype=np.float64)
        ideal = np.array(sorted((max(0, grade) for grade in judged.values()), reverse=True), dtype=np.float64)
        for name, (metric, depth) in chosen.items():
            if metric is _expected_reciprocal_rank:  # the only one that the scale of grades matters to
                values[name][query] = metric(grades, np.array([highest]), depth)
            else:
                values[name][query] = metric(grades, ideal, depth) if ideal.any() else 0.0
    return values


def ranked(scores: Mapping[str, float], query: str = "") -> list[str]:
    """The document ids, best first; ties in float32 by id, the largest first. `query` is named in the error."""
    try:
        with np.errstate(over="ignore"):
            keys = np.array(list(scores.values()), dtype=np.float64).astype(np.float32)
    except (ValueError, TypeError, OverflowError) as error:
        raise InputError(f"Query {query!r} has a score that is no number ({error}); scores must be numbers.") from error
    if np.isnan(keys).any():
        document = list(scores)[int(np.isnan(keys).argmax())]
        raise InputError(f"Query {query!r} has NaN as the score of document {document!r}; scores must be numbers.")
    if others := [document for document in scores if not isinstance(document, str)]:
        raise InputError(f"Query {query!r} has a document {others[0]!r}; ids are texts, such as {str(others[0])!r}.")
    pairs = zip(keys.tolist(), (document.encode("utf-8", "surrogatepass") for document in scores), scores, strict=True)
    return [document for _, _, document in sorted(pairs, reverse=True)]


def compare(
    run_a: Mapping[str, Mapping[str, float]],
    run_b: Mapping[str, Mapping[str, float]],
    qrels: Qrels,
    metric: str = "ndcg@10",
    *,
    rounds: int = 10_000,
    seed: int = 0,
) -> float:
    """Two-sided p-value of the paired randomisation test (Smucker, Allan and Carterette, CIKM 2007).

    Under the null hypothesis each query's two values may change places. The p-value is the share of such exchanges
    whose mean difference is at least as large as the one seen: of all of them where they are few (up to 16 queries),
    else of `rounds` drawn ones, the one seen included.
    """
    a, b = (per_query(run, qrels, (metric,))[metric] for run in (run_a, run_b))
    differences = np.array([a[query] - b[query] for query in qrels])
    return randomisation_p_value(differences, rounds=rounds, seed=seed)


def randomisation_p_value(differences: npt.NDArray[np.float64], *, rounds: int, seed: int) -> float:
    """The share of sign patterns of the differences (N,) under which |their sum| is at least what it is.

    InputError: no difference, one that is no finite number, or `rounds` below 1.
    """
    count = len(differences)
    if not count or not np.isfinite(differences).all() or rounds < 1:
        raise InputError(
            f"A paired test got {count} differences, {int(np.isfinite(differences).sum())} of them finite, and "
            f"{rounds} rounds; it needs at least one of each, and finite numbers only."
        )
    seen = abs(differences.sum()) - 1e-12 * max(1.0, np.abs(differences).sum())  # sums in another order may differ
    if 2**count <= EXACT_FLIPS:
        patterns = (np.arange(2**count)[:, None] >> np.arange(count)) & 1
        return float((np.abs((1.0 - 2.0 * patterns) @ differences) >= seen).mean())
    generator = np.random.default_rng(seed)
    extreme = 0
    for first in range(0, rounds, 1000):  # a bounded piece of memory at a time
        signs = 1.0 - 2.0 * generator.integers(0, 2, size=(min(1000, rounds - first), count))
        extreme += int((np.abs(signs @ differences) >= seen).sum())
    return (1 + extreme) / (1 + rounds)


def dcg(grades: Grades) -> float:
    """Discounted cumulative gain: sum of grade_i / log2(i + 1), ranks i from 1."""
    return float((grades / np.log2(np.arange(2, len(grades) + 2))).sum())


def _ndcg(grades: Grades, ideal: Grades, depth: int | None) -> float:
    return dcg(grades[:depth]) / dcg(ideal[:depth])


def _average_precision(grades: Grades, ideal: Grades, depth: int | None) -> float:
    relevant = grades[:depth] > 0
    precisions = np.cumsum(relevant) / np.arange(1, len(relevant) + 1)
    return float(precisions[relevant].sum() / np.count_nonzero(ideal))


def _precision(grades: Grades, _ideal: Grades, depth: int | None) -> float:
    return np.count_nonzero(grades[:depth]) / (depth or max(1, len(grades)))


def _recall(grades: Grades, ideal: Grades, depth: int | None) -> float:
    return np.count_nonzero(grades[:depth]) / np.count_nonzero(ideal)


def _success(grades: Grades, _ideal: Grades, depth: int | None) -> float:
    return float(grades[:depth].any())


def _reciprocal_rank(grades: Grades, _ideal: Grades, depth: int | None) -> float:
    places = np.flatnonzero(grades[:depth])
    return float(1 / (1 + places[0])) if len(places) else 0.0


def _expected_reciprocal_rank(grades: Grades, highest: Grades, depth: int | None) -> float:
    """`highest` (1,): the highest grade that there is."""
    ends = (2.0 ** grades[:depth] - 1) / 2.0 ** highest[0]
    reached = np.cumprod(np.concatenate([[1.0], 1 - ends[:-1]])) if len(ends) else ends
    return float((ends * reached / np.arange(1, len(ends) + 1)).sum())


def _r_precision(grades: Grades, ideal: Grades, _depth: int | None) -> float:
    return _recall(grades, ideal, int(np.count_nonzero(ideal)))


METRICS: dict[str, Callable[[Grades, Grades, int | None], float]] = {
    "ndcg": _ndcg,
    "map": _average_precision,
    "precision": _precision,
    "recall": _recall,
    "success": _success,
    "mrr": _reciprocal_rank,
    "err": _expected_reciprocal_rank,
    "rprecision": _r_precision,
}


def _parsed(name: str) -> tuple[Callable[[Grades, Grades, int | None], float], int | None]:
    """The metric and depth of a name such as "ndcg@10"."""
    metric, at, depth = name.partition("@")
    deep = not at or (depth.isascii() and depth.isdecimal() and int(depth) > 0 and metric != "rprecision")
    if metric not in METRICS or not deep:
        raise UnknownName(
            f"No metric is called {name!r}. There are: {', '.join(METRICS)}; a depth of at least 1 may follow, "
            'as in "ndcg@10", but not after rprecision, whose depth is the number of relevant documents.'
        )
    return METRICS[metric], int(depth) if at else None
