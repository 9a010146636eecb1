"""bench heads, ranking: candidates ordered by what chosen heads look at under the query.

SciFact claims, each with the 50 abstracts that BM25 puts first, cut to 100 words and shuffled: some 7,000 tokens. All
heads are watched in one pass; sets of them are then compared: 16 drawn at random, all, the copy heads, the query heads
(found on the probes, not on SciFact), those of `foveal calibrate`; for a third of the claims also without the empty
query taken off, which is another pass; beside BM25's and MiniLM's orders.

The paper's order of sets (Llama-3.1-8B on BEIR): random 37.5, all 42.8, copy heads 43.4, query heads 47.5.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from statistics import fmean

import torch
from torch import Tensor

from foveal.attention.profiles import profile_of, whole_layers
from foveal.attention.query_heads import Example, detect_query_heads, looks
from foveal.attention.retrieval_heads import Head, find_scores, head_scores
from foveal.bench.attention_models import QWEN
from foveal.bench.rank_blockrank_data import Asked, Task, collection_task
from foveal.bench.settings import BenchSettings
from foveal.evaluation.metrics import Run, evaluate
from foveal.evaluation.tables import Row
from foveal.models.language import LanguageModel, load_language_model

WORDS = 100
KEPT = 16
DRAWS = 5
RAW = "query heads, empty query not taken off"
RAW_EVERY = 3
"""Of so many claims one is also read for RAW."""
ORDER = ("random heads", "all heads", "copy heads", "query heads")
MORE = 1e-4
"""The least that is more."""


def ranking(settings: BenchSettings) -> Iterator[Row]:
    """The rows of `foveal bench heads-ranking`."""
    model = load_language_model(QWEN)
    queries, depth = (12, 10) if settings.quick else (30, 50)
    task = collection_task(settings, "scifact", queries=queries, depth=depth, seed=settings.seed)
    runs, seconds = _runs(model, task, settings.seed)
    note = f"{len(task.asked)} queries, {depth} candidates each"
    runs |= {"BM25": task.given(), "MiniLM": task.dense(settings)}
    raw = runs.pop(RAW)
    found = {name: _quality(run, task) for name, run in runs.items()}
    drawn = [value for name, value in found.items() if name.startswith("random")]
    found["random heads"] = fmean(drawn)
    yield Row.of(f"{KEPT} random heads", "nDCG@10", fmean(drawn), note=f"{note}; {len(drawn)} draws")
    for name, value in found.items():
        if not name.startswith("random"):
            yield Row.of(name, "nDCG@10", value)
    yield from order_rows(found)
    same = {query: runs["query heads"][query] for query in raw}
    note = f"{len(raw)} of the queries: {_quality(raw, task):.3f} without"
    gained = _quality(same, task) - _quality(raw, task)
    yield Row.of("query heads: taking the empty query off", "nDCG@10 gained", gained, at_least=MORE, note=note)
    yield Row.of(f"one query with {depth} candidates, all heads watched", "seconds", fmean(seconds))


def _quality(run: Run, task: Task) -> float:
    """nDCG@10 over the queries of the run."""
    return evaluate(run, {query: task.qrels[query] for query in run}, ["ndcg@10"])["ndcg@10"]


def order_rows(found: Mapping[str, float]) -> Iterator[Row]:
    """The paper's order of sets, each set above the one before."""
    for worse, better in pairwise(ORDER):
        yield Row.of(f"{better} less {worse}", "nDCG@10", found[better] - found[worse], at_least=MORE)


def _runs(model: LanguageModel, task: Task, seed: int) -> tuple[dict[str, Run], list[float]]:
    """The candidates' scores by each set of heads, and the seconds of each query."""
    config = model.model.config
    layers = whole_layers(config)
    sets = _sets(model, seed)
    runs: dict[str, dict[str, dict[str, float]]] = {name: {} for name in sets}
    runs[RAW] = {}
    seconds = []
    for number, asked in enumerate(task.asked):
        names, example = _example(asked, seed)
        begun = time.perf_counter()
        given = looks(model, example, layers)
        seconds.append(time.perf_counter() - begun)
        for name, heads in sets.items():
            runs[name][asked.id] = _scores(given, names, heads, layers)
        if number % RAW_EVERY == 0:
            raw = looks(model, example, layers, calibrated=False)
            runs[RAW][asked.id] = _scores(raw, names, sets["query heads"], layers)
    return {name: {**run} for name, run in runs.items()}, seconds


def _sets(model: LanguageModel, seed: int) -> dict[str, Sequence[Head]]:
    query = find_scores(model, "query") or detect_query_heads(model)
    every = query.top()
    draw = random.Random(seed)
    sets: dict[str, Sequence[Head]] = {
        "query heads": query.top(KEPT),
        "copy heads": head_scores(model).top(KEPT),
        "heads of foveal calibrate": profile_of(model).heads,
        "all heads": every,
    }
    return sets | {f"random {number}": draw.sample(every, KEPT) for number in range(DRAWS)}


def _example(asked: Asked, seed: int) -> tuple[list[str], Example]:
    """The candidates in an order drawn, so that their place says nothing; no candidate is marked as gold."""
    order = random.Random(f"{seed} {asked.id}").sample(range(len(asked.names)), len(asked.names))
    texts = tuple(" ".join(asked.texts[place].split()[:WORDS]) for place in order)
    return [asked.names[place] for place in order], Example(asked.query, texts, (0,))


def _scores(given: Tensor, names: Sequence[str], heads: Sequence[Head], layers: Sequence[int]) -> dict[str, float]:
    row = {layer: number for number, layer in enumerate(layers)}
    chosen = [(row[layer], head) for layer, head in heads if layer in row]
    paid = torch.stack([given[place] for place in chosen]).mean(0)
    return dict(zip(names, paid.tolist(), strict=True))
