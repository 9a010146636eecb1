"""bench retrieval-stages: what is put around a first search, on judged collections: another search, or more candidates.

words       RM3's words from the ten best, over BM25S; SciFact's test claims and Cranfield
neighbours  adaptive re-ranking (GAR): MiniLM's cosine scores a hundred documents a claim, those that BM25S found first
            or their neighbours; beside it the same ranker over BM25S's first hundred. The bar is the paper's claim: at
            the same cost no fewer relevant documents are found
hops        a second hop with what the first found, over BM25S, and over BM25S and MiniLM fused: whether nine passages
            hold the answer, HotpotQA and 2Wiki as an agent's searches were recorded; beside it one search's first nine

No option is chosen by these figures: they are the parts' own, as a library's search has them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from foveal.bench.quality import PeerIndex
from foveal.bench.research_arms import HOTPOT, TWO_WIKI, RecordedSet
from foveal.bench.retrieval_fusion import METRICS, Judged, scifact_vectors
from foveal.bench.settings import BenchSettings
from foveal.evaluation.beir import Collection, load_beir
from foveal.evaluation.metrics import Run, compare, evaluate, randomisation_p_value
from foveal.evaluation.tables import Row
from foveal.research.recorded_search import found_answer
from foveal.research.trajectories import Trajectory
from foveal.retrieval.adaptive import adaptive, corpus_graph
from foveal.retrieval.feedback import ExpansionRetriever
from foveal.retrieval.hybrid import HybridRetriever
from foveal.retrieval.multi_hop import MultiHopRetriever
from foveal.retrieval.terms import inverse_document_frequencies
from foveal.types import Encoder, Hit, Passage, Retriever, Span

DEPTH, BUDGET, BATCH, NEIGHBOURS = 1000, 100, 16, 8
PASSAGES = 9
"""That are read for an answer."""


class Meaning:
    """A `Retriever` over whole texts by exact cosines."""

    def __init__(self, texts: Mapping[str, str], encoder: Encoder, vectors: np.ndarray) -> None:
        self._passages = [Passage(Span(name, 0, len(text)), text) for name, text in texts.items()]
        self._encoder, self._vectors = encoder, vectors

    def search(self, queries: Sequence[str], k: int) -> list[list[Hit]]:
        """The `k` nearest of each query."""
        scores = self._encoder.encode(list(queries)) @ self._vectors.T
        best = np.argsort(-scores, axis=1, kind="stable")[:, :k]
        return [
            [Hit(self._passages[row], float(own[row]), "meaning") for row in rows]
            for rows, own in zip(best, scores, strict=True)
        ]


class Words:
    """A `Retriever` over whole texts by BM25S."""

    def __init__(self, texts: Mapping[str, str]) -> None:
        self._passages = [Passage(Span(name, 0, len(text)), text) for name, text in texts.items()]
        self._index = PeerIndex(list(texts.values()))

    def search(self, queries: Sequence[str], k: int) -> list[list[Hit]]:
        """The `k` best of each query that share a word with it."""
        return [
            [
                Hit(self._passages[row], float(score), "words")
                for row, score in zip(found, given, strict=True)
                if score > 0
            ]
            for found, given in zip(*self._index.best(queries, k), strict=True)
        ]


def stages(settings: BenchSettings) -> Iterator[Row]:
    """The rows of `foveal bench retrieval-stages`."""
    judged = Judged.of(settings)
    cranfield = load_beir(settings.folder("cranfield", ("corpus.jsonl", "queries.jsonl", "qrels/test.tsv")), "test")
    for name, collection in (("SciFact", judged.test), ("Cranfield", cranfield)):
        yield from words_rows(name, _few(collection, settings))
    yield from neighbour_rows(judged, _few(judged.test, settings), settings)
    for name, folder in (("HotpotQA", HOTPOT), ("2Wiki", TWO_WIKI)):
        yield from hop_rows(name, RecordedSet.of(settings, folder), folder, settings)


def words_rows(name: str, collection: Collection) -> Iterator[Row]:
    """BM25S with and without words of what it found."""
    texts = {key: record.whole for key, record in collection.corpus.items()}
    words = Words(texts)
    expanded = ExpansionRetriever(words, depth=DEPTH, idf=inverse_document_frequencies(list(texts.values())))
    once, twice = (_run(one, collection.queries) for one in (words, expanded))
    yield from _rows(f"{name}: BM25S", once, collection, "")
    p_value = compare(twice, once, collection.qrels)
    yield from _rows(f"{name}: BM25S and RM3's words", twice, collection, f"p {p_value:.2g} against BM25S")


def neighbour_rows(judged: Judged, test: Collection, settings: BenchSettings) -> Iterator[Row]:
    """A ranker that may score `BUDGET` documents a claim, with and without the neighbours of what it scored."""
    names = list(judged.test.corpus)
    place = {name: row for row, name in enumerate(names)}
    documents, vectors = scifact_vectors(judged, settings)
    row_of = {query: row for row, query in enumerate(judged.queries)}
    claims = vectors[[row_of[query] for query in test.queries]]
    graph = corpus_graph(documents, NEIGHBOURS)
    found = Words({name: record.whole for name, record in judged.test.corpus.items()}).search(
        list(test.queries.values()), DEPTH
    )
    plain: Run = {}
    wider: Run = {}
    for query, vector, hits in zip(test.queries, claims, found, strict=True):
        first = [place[hit.passage.span.document_id] for hit in hits]
        plain[query] = {names[row]: float(documents[row] @ vector) for row in first[:BUDGET]}
        wider[query] = {names[row]: score for row, score in _with_neighbours(first, documents, vector, graph).items()}
    yield from _rows("SciFact: MiniLM over BM25S's first 100", plain, test, "")
    note = f"{NEIGHBOURS} neighbours, {BATCH} at a time; p {compare(wider, plain, test.qrels):.2g}"
    yield from _rows("SciFact: the same, adaptive", wider, test, note)
    once, twice = (evaluate(run, test.qrels, ("recall@100",))["recall@100"] for run in (plain, wider))
    yield Row.of("SciFact: adaptive, less first 100", "recall@100", twice - once, at_least=0)


def _with_neighbours(
    first: Sequence[int], documents: np.ndarray, vector: np.ndarray, graph: np.ndarray
) -> dict[int, float]:
    """Row of a document -> its cosine, of those that the budget reached."""

    def score(rows: list[int]) -> list[float]:
        return [float(documents[row] @ vector) for row in rows]

    def near(rows: list[int]) -> list[list[int]]:
        return [graph[row].tolist() for row in rows]

    return adaptive(first, score, near, budget=BUDGET, batch=BATCH)


def hop_rows(name: str, recorded: RecordedSet, key: str, settings: BenchSettings) -> Iterator[Row]:
    """Whether the answer stands in the first passages of one hop, and of two: by words, and by words and meaning."""
    runs = recorded.runs[: 20 if settings.quick else None]
    texts = {one.id: f"{one.title}\n{one.text}" for one in recorded.recorded.sources.values()}
    words, encoder = Words(texts), settings.encoder()
    vectors = settings.cached_vectors([key.replace("/", "-"), "passages"], list(texts.values()), encoder)
    both = HybridRetriever(words, Meaning(texts, encoder, vectors))
    for side, retriever in (("words", words), ("words and meaning", both)):
        held = [_held(MultiHopRetriever(retriever, hops=hops, by_rank=True), recorded, runs) for hops in (1, 2)]
        p_value = randomisation_p_value(held[1] - held[0], rounds=10_000, seed=0)
        for hops, note in (("one hop", f"{len(runs)} questions"), ("two hops", f"p {p_value:.2g} against one hop")):
            value = float(held[hops == "two hops"].mean())
            yield Row.of(f"{name}, {side}: {hops}", f"answer in {PASSAGES} passages", value, note=note)


def _held(retriever: Retriever, recorded: RecordedSet, runs: Sequence[Trajectory]) -> np.ndarray:
    """Whether the first passages of each question hold its answer: (N,)."""
    found = retriever.search([run.question for run in runs], PASSAGES)
    return np.array(
        [
            found_answer(recorded.recorded, run, [hit.passage.span.document_id for hit in hits])
            for run, hits in zip(runs, found, strict=True)
        ]
    )


def _rows(system: str, run: Run, collection: Collection, note: str) -> Iterator[Row]:
    """`note` is about the first metric."""
    for metric, value in evaluate(run, collection.qrels, METRICS).items():
        yield Row.of(system, metric, value, note=note if metric == METRICS[0] else "")


def _run(retriever: Retriever, queries: Mapping[str, str]) -> Run:
    found = retriever.search(list(queries.values()), DEPTH)
    return {
        query: {hit.passage.span.document_id: hit.score for hit in hits}
        for query, hits in zip(queries, found, strict=True)
    }


def _few(collection: Collection, settings: BenchSettings) -> Collection:
    """All of it, or the first queries of a quick run."""
    if not settings.quick:
        return collection
    kept = dict(list(collection.queries.items())[:20])
    qrels = {query: collection.qrels[query] for query in kept if query in collection.qrels}
    return Collection(collection.name, collection.corpus, {name: kept[name] for name in qrels}, qrels)
