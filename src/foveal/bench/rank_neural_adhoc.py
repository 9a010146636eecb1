"""bench rank-neural, ad-hoc search: small rankers over the best 100 that BM25 finds, alone and beside it.

Cranfield   five folds: each fold's queries are tested by rankers that were trained on the other four, of which a fifth
            of the queries (dev) chooses the weights; how much BM25 counts beside the ranker comes from the same four
SciFact     the second collection, by its own split: claims of the training part learn and choose, the others test
Vectors     of words: those of MiniLM's table beside those learnt from the collection's own texts, 100 numbers of each
Bars        DRMM and K-NRM beside BM25 at least 0.01 nDCG@10 above BM25 alone, on both; DSSM and ARC-I by themselves
            must lose to BM25: if they win, something leaks
Control     judgements moved to other documents of the same 100: what learns from those must gain nothing on BM25, by
            the same fit of the weight, and order not half as well as what learns from the real ones
Not run     CISI and Vaswani, which the data folder does not hold: rows without a value or a bar, which say so
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean

import numpy as np

from foveal.bench.quality import bm25s_run
from foveal.bench.rank_neural_runs import Trained, Words, spread, trained
from foveal.bench.settings import BenchSettings
from foveal.evaluation.beir import Collection, load_beir
from foveal.evaluation.metrics import Run, per_query, randomisation_p_value
from foveal.evaluation.tables import Row
from foveal.ranking.neural.training import NeuralSettings
from foveal.retrieval.fusion import weighted_sum
from foveal.retrieval.fusion_weights import tuned_weight
from foveal.training.examples import Examples

METRIC = "ndcg@10"
DEPTH, FOLDS, DEV = 100, 5, 0.2
SEEDS = (0, 1, 2)
BESIDE = ("drmm", "knrm")
"""Rankers that must add to BM25."""

PURE = ("dssm", "arc-i")
"""Rankers of the texts' vectors alone, which must lose to BM25."""

GAIN = 0.01
MISSING = {"CISI": "1,460 abstracts and 112 questions", "Vaswani": "11,429 abstracts and 93 questions"}


@dataclass(frozen=True)
class Part:
    """Queries to learn from, to choose by, and to test with; no query is in two of them."""

    learn: Examples
    dev: Examples
    test: Examples


@dataclass(frozen=True)
class AdHoc:
    """A collection, what BM25 finds in it (the best `DEPTH`), and its parts."""

    name: str
    examples: Examples
    found: Run
    parts: tuple[Part, ...]

    @property
    def tested(self) -> list[str]:
        """The queries of all tests."""
        return [query for part in self.parts for query in part.test.queries]

    def values(self, run: Run) -> dict[str, float]:
        """nDCG@10 of each tested query."""
        return per_query(run, {query: self.examples.judged[query] for query in self.tested}, (METRIC,))[METRIC]


def adhoc(settings: BenchSettings) -> Iterator[Row]:
    """The rows of each collection; `--quick`: Cranfield."""
    for made in (cranfield,) if settings.quick else (cranfield, scifact):
        yield from of_collection(made(settings), settings)
    for name in MISSING:
        note = f"not run, and no bar is set: the data folder does not hold its {MISSING[name]}"
        yield Row.of(f"{name}: DRMM, K-NRM beside BM25S", f"{METRIC}, gain", float("nan"), note=note)


def cranfield(settings: BenchSettings) -> AdHoc:
    """Cranfield in folds drawn from the seed."""
    collection = load_beir(settings.folder("cranfield", ("corpus.jsonl", "queries.jsonl", "qrels/test.tsv")))
    examples = Examples.of(collection)
    queries = list(examples.queries)
    fold = np.random.default_rng(settings.seed).permutation(len(queries)) % FOLDS
    parts = []
    for number in range(FOLDS):
        test = {query for query, one in zip(queries, fold, strict=True) if one == number}
        learn, dev = examples.only(set(queries) - test).split(dev=DEV, seed=settings.seed)
        parts.append(Part(learn, dev, examples.only(test)))
    return AdHoc(collection.name, examples, found_by_words(collection, examples), tuple(parts))


def scifact(settings: BenchSettings) -> AdHoc:
    """SciFact by its own split."""
    files = ("corpus.jsonl", "queries.jsonl", "qrels/train.tsv", "qrels/test.tsv")
    folder = settings.folder("scifact", files)
    train, test = load_beir(folder, "train"), load_beir(folder, "test")
    both = Collection(test.name, test.corpus, {**train.queries, **test.queries}, {**train.qrels, **test.qrels})
    examples = Examples.of(both)
    learn, dev = examples.only(train.queries).split(dev=DEV, seed=settings.seed)
    part = Part(learn, dev, examples.only(test.queries))
    return AdHoc(test.name, examples, found_by_words(both, examples), (part,))


def found_by_words(collection: Collection, examples: Examples) -> Run:
    """What BM25S finds for each judged query, the best `DEPTH` of the texts that are not empty."""
    run = bm25s_run(collection)
    best = {query: sorted(run[query].items(), key=_best_first) for query in examples.queries}
    return {query: dict([one for one in found if one[0] in examples.corpus][:DEPTH]) for query, found in best.items()}


# -- arms -------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Arm:
    """What one ranker, trained with one seed, does to the tested queries: by itself, and beside BM25."""

    alone: Run
    fused: Run
    weights: tuple[float, ...]  # of the ranker, by part
    made: tuple[Trained, ...]


def arm(model: str, data: AdHoc, words: Words, settings: BenchSettings, seed: int, *, moved: bool = False) -> Arm:
    """Train and test part by part. `moved`: learn from judgements that were moved."""
    alone: Run = {}
    fused: Run = {}
    weights, made = [], []
    for part in data.parts:
        learn, dev = part.learn, part.dev
        if moved:
            learn, dev = (with_moved(one, data.found, seed) for one in (learn, dev))
        splits = {"train": learn, "dev": dev, "learnt": learn, "test": part.test}
        one = trained(model, words, splits, data.found, chosen(model, settings, seed), settings)
        seen = {**one.runs["learnt"], **one.runs["dev"]}
        judged = {query: data.examples.judged[query] for query in seen}
        weight = tuned_weight((data.found, seen), judged, metric=METRIC, held_out=part.test.queries)
        for query, scores in one.runs["test"].items():
            alone[query] = scores
            fused[query] = weighted_sum([data.found[query], scores], [1 - weight, weight])
        weights.append(weight)
        made.append(one)
    return Arm(alone, fused, tuple(weights), tuple(made))


def chosen(model: str, settings: BenchSettings, seed: int) -> NeuralSettings:
    """How a ranker is trained on some hundred queries and abstracts; word vectors stay as they are."""
    made = NeuralSettings.of(model)
    return replace(
        made,
        query_length=30,
        document_length=200,
        content_only=True,
        train_vectors=False,
        loop=replace(made.loop, epochs=4 if settings.quick else 10, seed=settings.seed + seed),
    )


def with_moved(examples: Examples, found: Mapping[str, Mapping[str, float]], seed: int) -> Examples:
    """The same queries; as many documents as were relevant, drawn from those that were found, are so instead."""
    generator = np.random.default_rng(seed)
    judged = {}
    for query, documents in examples.positives.items():
        names = list(found[query])
        drawn = generator.permutation(len(names))[: len(documents)]
        judged[query] = {names[place]: 1 for place in drawn}
    return Examples(examples.queries, examples.corpus, judged, f"{examples.name}, moved")


# -- rows -------------------------------------------------------------------------------------------------------------


def of_collection(data: AdHoc, settings: BenchSettings) -> Iterator[Row]:
    """BM25, the rankers that must add to it, those that must lose to it, and the control."""
    asked = [data.examples.queries[query] for query in data.examples.queries if query not in set(data.tested)]
    words = Words.of(data.examples.corpus.values(), asked, learnt=True)
    level = data.values(data.found)
    note = f"stems, stop words out; its best {DEPTH} are ordered anew; {len(data.tested)} queries"
    yield Row.of(f"{data.name}: BM25S", METRIC, fmean(level.values()), note=note)
    seeds = SEEDS[:1] if settings.quick else SEEDS
    real = {}
    for model in BESIDE:
        arms = [arm(model, data, words, settings, seed) for seed in seeds]
        real[model] = over_seeds(data, [one.alone for one in arms])
        yield from beside_rows(model, data, arms, level)
    for model in PURE:
        one = arm(model, data, words, settings, SEEDS[0])
        values = over_seeds(data, [one.alone])
        note = f"alone {fmean(values.values()):.4f}, BM25S {fmean(level.values()):.4f}; p {_p_value(level, values):.2g}"
        below = fmean(level.values()) - fmean(values.values())
        yield Row.of(f"{data.name}: {model} alone", f"{METRIC}, below BM25S", below, at_least=1e-4, note=note)
    for model in BESIDE[:1] if settings.quick else BESIDE:
        yield from control_rows(model, data, words, settings, real[model], level)


def beside_rows(model: str, data: AdHoc, arms: Sequence[Arm], level: Mapping[str, float]) -> Iterator[Row]:
    """A ranker alone, and beside BM25."""
    alone = over_seeds(data, [one.alone for one in arms])
    fused = over_seeds(data, [one.fused for one in arms])
    first = arms[0].made[0]
    seconds = fmean(made.seconds for one in arms for made in one.made)
    note = f"{first.parameters:,} numbers trained, {seconds:.0f} s each time"
    yield Row.of(f"{data.name}: {model} alone", METRIC, fmean(alone.values()), note=note)
    each = [fmean(data.values(one.fused).values()) for one in arms]
    weights = sorted({weight for one in arms for weight in one.weights})
    note = f"its weight {weights[0]} to {weights[-1]}, from queries not tested; {len(arms)} seed(s){spread(each)}"
    yield Row.of(f"{data.name}: {model} beside BM25S", METRIC, fmean(fused.values()), note=note)
    gain = fmean(fused.values()) - fmean(level.values())
    note = f"p {_p_value(fused, level):.2g}"
    yield Row.of(f"{data.name}: {model} beside BM25S", f"{METRIC}, gain", gain, at_least=GAIN, note=note)


def control_rows(
    model: str,
    data: AdHoc,
    words: Words,
    settings: BenchSettings,
    real: Mapping[str, float],
    level: Mapping[str, float],
) -> Iterator[Row]:
    """The same ranker, taught by moved judgements."""
    arms = [arm(model, data, words, settings, seed, moved=True) for seed in (SEEDS[:1] if settings.quick else SEEDS)]
    alone = fmean(over_seeds(data, [one.alone for one in arms]).values())
    chance, learnt = fmean(by_chance(data).values()), fmean(real.values())
    note = f"{METRIC} {alone:.4f}; in random order {chance:.4f}, taught by the real ones {learnt:.4f}"
    share = (alone - chance) / (learnt - chance) if learnt > chance else float("nan")  # of nothing there is no share
    name = f"{data.name}: {model}, judgements moved"
    yield Row.of(name, "share of what is learnt", share, at_most=0.5, note=note)
    gain = fmean(over_seeds(data, [one.fused for one in arms]).values()) - fmean(level.values())
    yield Row.of(name, f"{METRIC}, gain", gain, at_most=GAIN / 2, note="beside BM25S, its weight fitted to real ones")


def over_seeds(data: AdHoc, runs: Sequence[Run]) -> dict[str, float]:
    """nDCG@10 of each tested query, the mean over runs."""
    each = [data.values(run) for run in runs]
    return {query: fmean(values[query] for values in each) for query in each[0]}


def by_chance(data: AdHoc, draws: int = 20) -> dict[str, float]:
    """nDCG@10 of each tested query where what was found stands in random order."""
    generator = np.random.default_rng(0)
    runs = [
        {query: dict(zip(data.found[query], generator.random(DEPTH).tolist(), strict=False)) for query in data.tested}
        for _ in range(draws)
    ]
    return over_seeds(data, runs)


def _p_value(one: Mapping[str, float], other: Mapping[str, float]) -> float:
    differences = np.array([value - other[query] for query, value in one.items()])
    return randomisation_p_value(differences, rounds=10_000, seed=0)


def _best_first(item: tuple[str, float]) -> tuple[float, str]:
    return -item[1], item[0]
