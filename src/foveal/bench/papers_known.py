"""bench papers-known: papers that somebody knows are there, found again by half an abstract or by a few typed words.

half an abstract   the first half of its words as the query: the paper should stand first
typed              2 to 6 words made from a title or keywords (`papers/paper_queries.py`), in lower case, of papers that
                   no weight was chosen on; what a query fits besides is not judged, so the figures are to be read
                   beside BM25S over title, abstract and keywords, the peer in the same run

The collection is CSFCube's 4,205 abstracts. MRR over the first 50 papers; recall@10 = share of queries whose paper is
among the first 10. Bars: 0.98 for half an abstract (given); typed: the MRR no less than the peer's, recall@10 no less
but for one standard error (0.008 where it is 0.93 of 1,000 queries).
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Sequence
from typing import Any

from foveal.bench.papers_csfcube import FILES
from foveal.bench.papers_data import paper_home
from foveal.bench.settings import BenchSettings
from foveal.evaluation.beir import Collection, Record, load_beir
from foveal.evaluation.metrics import Qrels, Run, compare, evaluate
from foveal.evaluation.tables import Row
from foveal.papers.extracts import keyphrases
from foveal.papers.paper_queries import is_held_out, typed_queries
from foveal.papers.paper_search import PaperSearch
from foveal.registry import require

METRICS = ("mrr", "recall@10")
DEPTH = 50
HALVES, QUICK_HALVES = 1000, 100
TYPED, QUICK_TYPED = 1000, 300
KEYWORDS = 8
"""Of a paper, from which queries are made; the set has none of its own."""


def known(settings: BenchSettings) -> Iterator[Row]:
    """The rows of `foveal bench papers-known`."""
    collection = load_beir(settings.folder("csfcube", FILES[:3]))
    papers = drawn(collection, QUICK_HALVES if settings.quick else HALVES, settings.seed)
    keywords = {one.id: keyphrases(one.text, one.title, KEYWORDS) for one in collection.corpus.values()}
    with paper_home(collection.corpus.values(), settings, key=("csfcube", "papers"), keywords=keywords) as search:
        yield from _halves(search, papers)
        typed = [one for one in collection.corpus.values() if is_held_out(one.id)]
        yield from _typed(search, collection, keywords, typed, QUICK_TYPED if settings.quick else TYPED, settings.seed)


def drawn(collection: Collection, count: int, seed: int) -> list[Record]:
    """So many papers whose abstracts have 40 words or more, by chance."""
    long = [one for one in collection.corpus.values() if len(one.text.split()) >= 40]
    return random.Random(seed).sample(long, min(count, len(long)))


def _halves(search: PaperSearch, papers: Sequence[Record]) -> Iterator[Row]:
    queries = {one.id: first_half(one.text) for one in papers}
    qrels = {one.id: {one.id: 1} for one in papers}
    for retriever in (None, "lexical", "dense"):
        values = evaluate(run_of(search, queries, retriever), qrels, METRICS)
        name = retriever or "default (hybrid)"
        bar = 0.98 if retriever is None else None
        yield Row.of(f"half an abstract: {name}", "mrr", values["mrr"], at_least=bar, note=f"{len(papers)} abstracts")


def _typed(
    search: PaperSearch, collection: Collection, keywords: dict[str, list[str]], papers: Sequence[Record], count: int,
    seed: int,
) -> Iterator[Row]:  # fmt: skip
    made = typed_queries([(one.id, one.title, keywords[one.id]) for one in papers], seed=seed)
    chosen = random.Random(seed).sample(made, min(count, len(made)))
    queries = {one.paper: one.text for one in chosen}
    qrels: Qrels = {paper: {paper: 1} for paper in queries}
    peer = bm25s_run(collection, keywords, queries)
    values = evaluate(peer, qrels, METRICS)
    note = f"the peer, {len(queries)} queries"
    margin = math.sqrt(values["recall@10"] * (1 - values["recall@10"]) / len(queries))
    yield from (Row.of("typed: BM25S", metric, value, note=note) for metric, value in values.items())
    for retriever in (None, "lexical", "dense"):
        run = run_of(search, queries, retriever)
        p_value = compare(run, peer, qrels, "mrr")
        for metric, value in evaluate(run, qrels, METRICS).items():
            bar = values[metric] - margin * (metric != "mrr") if retriever is None else None
            yield Row.of(
                f"typed: {retriever or 'default (hybrid)'}", metric, value, at_least=bar, note=f"p = {p_value:.2g}"
            )


def run_of(search: PaperSearch, queries: dict[str, str], retriever: str | None) -> Run:
    """What a search finds for each query, as a run."""
    found = {query: search.search(text, DEPTH, retriever=retriever).hits for query, text in queries.items()}
    return {query: {hit.paper.id: -float(rank) for rank, hit in enumerate(hits)} for query, hits in found.items()}


def first_half(abstract: str) -> str:
    """The first half of its words."""
    words = abstract.split()
    return " ".join(words[: len(words) // 2])


def bm25s_run(collection: Collection, keywords: dict[str, list[str]], queries: dict[str, str]) -> Run:
    """BM25S (Lù, 2024) over title, abstract and keywords: stems, English stop words out, k1 1.5, b 0.75."""
    bm25s: Any = require("bm25s", extra="bench")
    quiet = {
        "stopwords": "en",
        "stemmer": require("Stemmer", extra="bench").Stemmer("english"),
        "show_progress": False,
    }
    papers = list(collection.corpus.values())
    index = bm25s.BM25(k1=1.5, b=0.75)
    texts = [f"{one.whole} {' '.join(keywords[one.id])}" for one in papers]
    index.index(bm25s.tokenize(texts, **quiet), show_progress=False)
    tokens = bm25s.tokenize(list(queries.values()), **quiet)
    found, scores = index.retrieve(tokens, k=min(DEPTH, len(papers)), show_progress=False)
    return {
        query: {papers[column].id: float(score) for column, score in zip(found[row], scores[row], strict=True)}
        for row, query in enumerate(queries)
    }
