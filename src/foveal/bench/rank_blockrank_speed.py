"""bench rank-blockrank, speed: what a list costs, by the number of its documents.

line      10 to 500 documents of 150 tokens: a line through the times, and the slope of their logarithms
full      the same model under full attention, which names an ID: at 10 to 100 documents, and 3 times as long at 100
kept      the same documents kept as keys and values: 10 times as fast at 100; 500 of 200 tokens in a second
Bars      R² 0.98, slope at most 1.1; 3 times; 10 times; 1 s; the bytes a token that the docs say

The model is not trained: a pass costs the same. Times are wall-clock, of all cores; ratios are of runs in turn.
Picture: blockrank-latency.png.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice

import numpy as np

from foveal.bench.rank_blockrank_arms import Arms
from foveal.bench.settings import BenchSettings
from foveal.evaluation.beir import load_beir
from foveal.evaluation.plots import lines
from foveal.evaluation.speed import paired, percentiles
from foveal.evaluation.tables import Row
from foveal.models.language import LanguageModel
from foveal.ranking.blockrank import KEPT, BlockRank
from foveal.ranking.blockrank_cache import BlockCache
from foveal.ranking.blockrank_prompt import Layout
from foveal.ranking.listwise import ListwiseRanker
from foveal.types import Hit, Passage, Span

log = logging.getLogger("foveal.bench")

TOKENS, LONGER = 150, 200
"""Of a document."""
SIZES, FULL_SIZES = (10, 20, 50, 100, 200, 500), (10, 20, 50, 100)
QUICK_SIZES, QUICK_FULL_SIZES = (5, 10, 20, 40), (5, 10, 20)
QUERIES = (
    "Which proteins bind to the receptor?",
    "Does the drug lower blood pressure?",
    "Where are the stem cells found?",
    "What causes the loss of neurons?",
    "Which gene is expressed in the tumour?",
)
BYTES = 7936
"""A token of Qwen 0.5B, kept up to layer 15 in bfloat16, as docs/blockrank.md says."""


@dataclass(frozen=True)
class Load:
    """A model, and documents of just so many tokens."""

    model: LanguageModel
    words: tuple[str, ...]
    quick: bool

    @classmethod
    def of(cls, settings: BenchSettings) -> Load:
        """The base model over the words of SciFact's abstracts."""
        folder = settings.folder("scifact", ("corpus.jsonl", "queries.jsonl", "qrels/test.tsv"))
        texts = (record.whole for record in load_beir(folder).corpus.values())
        needed = max(SIZES) * LONGER
        words = tuple(islice((word for text in texts for word in text.split()), needed))
        return cls(Arms(settings).base, words, settings.quick)

    def hits(self, count: int, tokens: int) -> list[Hit]:
        """Documents that a layout cuts to `tokens`: they have as many words, no two the same."""
        found = []
        for number in range(count):
            start = number * tokens % max(1, len(self.words) - tokens)
            text = f"{number} " + " ".join(self.words[start : start + tokens])
            found.append(Hit(Passage(Span(f"d{number}", 0, len(text)), text), 0.0, "made"))
        return found


def speed(settings: BenchSettings) -> Iterator[Row]:
    """The rows of `foveal bench rank-blockrank-speed`."""
    load = Load.of(settings)
    blocks = BlockRank(load.model, layout=Layout(document_tokens=TOKENS))
    full = ListwiseRanker(load.model, layout=Layout(document_tokens=TOKENS))
    sizes, full_sizes = (QUICK_SIZES, QUICK_FULL_SIZES) if settings.quick else (SIZES, FULL_SIZES)
    measured = {"BlockRank": times(load, blocks, sizes)}
    yield from line_rows(measured["BlockRank"])
    measured["full attention, decoded"] = times(load, full, full_sizes, runs=1)
    for count, milliseconds in measured["full attention, decoded"].items():
        yield Row.of(f"full attention, decoded, {count} documents", "ms", milliseconds)
    yield faster_than_full(load, blocks, full, full_sizes[-1])
    yield from kept_rows(load)
    picture(measured, settings)


def times(load: Load, ranker: BlockRank | ListwiseRanker, sizes: tuple[int, ...], *, runs: int = 3) -> dict[int, float]:
    """Documents -> the median of some runs, in milliseconds; of the largest lists fewer."""
    found = {}
    for place, count in enumerate(sizes):
        log.info("%s over %d documents", type(ranker).__name__, count)
        hits = load.hits(count, TOKENS)
        again = 1 if load.quick or count > 200 else runs
        queries = [QUERIES[number % len(QUERIES)] for number in range(again)]
        told = percentiles(partial(_scores, ranker, hits), queries, warmup=1 if place == 0 else 0)
        found[count] = told.p50_ms
    return found


def _scores(ranker: BlockRank | ListwiseRanker, hits: list[Hit], query: str) -> list[float]:
    return ranker.scores(query, hits)


def line_rows(found: Mapping[int, float]) -> Iterator[Row]:
    """Each time, and how well a line goes through them."""
    for count, milliseconds in found.items():
        yield Row.of(f"BlockRank, {count} documents", "ms", milliseconds, note=f"{milliseconds / count:.1f} a document")
    slope, fit, cost, start = fitted(found)
    note = f"{cost:.1f} ms a document and {start:.0f} ms a list"
    yield Row.of("BlockRank, documents and time", "R² of a line", fit, at_least=0.98, note=note)
    yield Row.of("BlockRank, documents and time", "log-log slope", slope, at_most=1.1)


def fitted(found: Mapping[int, float]) -> tuple[float, float, float, float]:
    """Log-log slope, R² of the line, its slope and its start."""
    counts, milliseconds = (np.array(values, dtype=float) for values in (list(found), list(found.values())))
    cost, start = np.polyfit(counts, milliseconds, 1)
    left = milliseconds - (cost * counts + start)
    fit = 1 - (left**2).sum() / ((milliseconds - milliseconds.mean()) ** 2).sum()
    slope, _ = np.polyfit(np.log(counts), np.log(milliseconds), 1)
    return float(slope), float(fit), float(cost), float(start)


def faster_than_full(load: Load, blocks: BlockRank, full: ListwiseRanker, count: int) -> Row:
    """BlockRank's attention against naming an ID under full attention, over the same documents."""
    hits = load.hits(count, TOKENS)
    ratio = paired(
        lambda: full.scores(QUERIES[0], hits), lambda: blocks.scores(QUERIES[0], hits), runs=3 if load.quick else 5,
        warmup=0,
    )  # fmt: skip
    bar = 1.2 if load.quick else 3.0
    return Row.of(f"BlockRank, {count} documents", "times as fast as full", ratio.median, at_least=bar, note=str(ratio))


def kept_rows(load: Load) -> Iterator[Row]:
    """With documents kept in memory: against reading them, the longest list, and bytes."""
    count, most = (20, 40) if load.quick else (100, 500)
    layout = replace(KEPT, document_tokens=TOKENS)
    hits = load.hits(count, TOKENS)
    read = BlockRank(load.model, layout=layout)
    held = BlockRank(load.model, layout=layout, cache=BlockCache(most_bytes=2**31))
    held.keep(hits)
    ratio = paired(lambda: read.scores(QUERIES[0], hits), lambda: held.scores(QUERIES[0], hits), runs=3)
    bar = 2.0 if load.quick else 10.0
    yield Row.of(f"documents kept, {count}", "times as fast as read", ratio.median, at_least=bar, note=str(ratio))
    yield from longest_rows(load, most)


def longest_rows(load: Load, count: int) -> Iterator[Row]:
    """Kept documents of 200 tokens, for one query after another."""
    cache = BlockCache(most_bytes=2**31)
    ranker = BlockRank(load.model, layout=replace(KEPT, document_tokens=LONGER), cache=cache)
    hits = load.hits(count, LONGER)
    log.info("reading %d documents into the cache", count)
    held = ranker.keep(hits)
    told = percentiles(partial(_scores, ranker, hits), QUERIES, warmup=1)
    note = f"{LONGER} tokens each; median of {told.calls} queries, the worst {told.worst_ms:.0f} ms"
    yield Row.of(f"documents kept, {count}", "ms a query", told.p50_ms, at_most=1000, note=note)
    segments = ranker.prompter.segments(QUERIES[0], [hit.passage.text for hit in hits])
    tokens = sum(segments.lengths[:-1])
    note = f"{held / 2**20:.0f} MiB for {tokens:,} tokens, {ranker.depth + 1} layers"
    yield Row.of("documents kept", "bytes a token", held / tokens, at_most=BYTES, note=note)


def picture(measured: Mapping[str, Mapping[int, float]], settings: BenchSettings) -> None:
    """Time over documents; a line that was measured over fewer ends there."""
    counts = list(measured["BlockRank"])
    lines(
        counts,
        {name: [found.get(count, float("nan")) / 1000 for count in counts] for name, found in measured.items()},
        settings.cache / "pictures" / "blockrank-latency.png",
        title="Ranking a list of documents of 150 tokens",
        x_label="documents",
        y_label="seconds",
        logarithmic="xy",
    )
