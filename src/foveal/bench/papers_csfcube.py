"""bench papers-csfcube: papers like a paper, on CSFCube (Mysore et al., NeurIPS 2021, Datasets and Benchmarks).

For each of 50 pairs of a paper and a facet some 120 papers have grades 0 to 3. Each system orders these, with the
paper's title and abstract as what it is asked (and never the facet: no system here reads it).

SPECTER          the ranking that the set ships                tf-idf      cosine, by `papers/similar.py`
tf-idf SVM       arxiv-sanity-lite's classifier, the paper     BM25        our search by words
                 itself being the one of its tag               MiniLM      our search by meaning
similar papers   what `PaperSearch.similar` orders by          hybrid      `PaperSearch.search` with the text as query
ranked           the hybrid's first 20 in the order of a ranker: MiniLM's token vectors (`rank=`), untrained. No bar

NDCG%20  gain = grade, cut at 20 % of the pool: rounded down (and up, as a row of its own). MAP and R-precision count
         grades 2 and 3. The paper itself is no part of its pool
Weights  of a paragraph 0.7 for the meaning, in both fused ones: given before any figure here was seen
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from foveal.bench.papers_data import paper_home
from foveal.bench.settings import BenchSettings
from foveal.errors import InputError
from foveal.evaluation.beir import Collection, load_beir
from foveal.evaluation.files import present, text_in
from foveal.evaluation.metrics import Run, per_query, randomisation_p_value
from foveal.evaluation.tables import Row
from foveal.papers.paper_index import head
from foveal.papers.paper_search import PaperSearch, plain
from foveal.papers.similar import Similar
from foveal.papers.taste import TagClassifier
from foveal.ranking.late_ranker import LateRanker
from foveal.retrieval.pipeline import CANDIDATES
from foveal.types import Hit, Passage, Ranker, Span

FACETS = ("background", "method", "result")
FILES = (
    "corpus.jsonl",
    "queries.jsonl",
    "qrels/test.tsv",
    *(f"specter_ranking/{facet}.json" for facet in FACETS),
)
SHARE = 0.2
RELEVANT = 2
DOWN, UP = "NDCG%20", "NDCG%20, cut rounded up"
SINGLE = ("SPECTER", "tf-idf", "tf-idf SVM", "BM25", "MiniLM")
FUSED = ("similar papers", "hybrid")
RANKED = "hybrid, its first 20 by token vectors"

Scores = Mapping[str, float]
Ordered = Callable[[str], Scores]
"""Id of a paper -> score of others, at least of all in its pools."""


@dataclass(frozen=True)
class Pools:
    """The judged papers of each pair, without the paper itself."""

    collection: Collection
    judged: dict[str, dict[str, int]]

    @classmethod
    def of(cls, collection: Collection) -> Pools:
        """The pools of a collection whose query ids are PAPER_FACET."""
        judged = {
            pair: {one: grade for one, grade in grades.items() if one != paper_of(pair)}
            for pair, grades in collection.qrels.items()
        }
        return cls(collection, judged)

    def run(self, ordered: Ordered) -> Run:
        """The pools as a system orders them; what it does not score stands last."""
        made: Run = {}
        known: dict[str, Scores] = {}
        for pair, grades in self.judged.items():
            paper = paper_of(pair)
            if paper not in known:
                known[paper] = ordered(paper)
            lowest = min(known[paper].values(), default=0.0) - 1
            made[pair] = {one: known[paper].get(one, lowest) for one in grades}
        return made

    def values(self, run: Run) -> dict[str, dict[str, float]]:
        """Metric -> pair -> value."""
        relevant = {
            pair: {one: int(grade >= RELEVANT) for one, grade in grades.items()} for pair, grades in self.judged.items()
        }
        found = per_query(run, relevant, ("map", "rprecision"))
        return {
            DOWN: self._ndcg(run, math.floor),
            UP: self._ndcg(run, math.ceil),
            "MAP": found["map"],
            "R-precision": found["rprecision"],
        }

    def _ndcg(self, run: Run, rounded: Callable[[float], int]) -> dict[str, float]:
        made: dict[str, float] = {}
        for pair, grades in self.judged.items():
            metric = f"ndcg@{max(1, rounded(SHARE * len(grades)))}"
            made |= per_query({pair: run[pair]}, {pair: grades}, (metric,))[metric]
        return made


def csfcube(settings: BenchSettings, ranker: Ranker | None = None) -> Iterator[Row]:
    """The rows of `foveal bench papers-csfcube`; `ranker` (default: MiniLM's token vectors) is that of `RANKED`."""
    folder = settings.folder("csfcube", FILES)
    pools = Pools.of(load_beir(folder))
    values = {"SPECTER": pools.values(shipped(folder, pools))}
    with paper_home(pools.collection.corpus.values(), settings, key=("csfcube", "papers")) as search:
        for name, ordered in systems(search, pools.collection, ranker or LateRanker.load("minilm")).items():
            values[name] = pools.values(pools.run(ordered))
    best = max(SINGLE, key=lambda name: mean(values[name][DOWN]))
    bar = math.nextafter(mean(values[best][DOWN]), math.inf)
    for name, metrics in values.items():
        for metric, found in metrics.items():
            fused = name in FUSED and metric == DOWN
            note = f"bar: above {best}, the best single one; {_p(found, values[best][DOWN])}" if fused else ""
            yield Row.of(name, metric, mean(found), at_least=bar if fused else None, note=note)
    yield Row.of("CSFCube", "size", len(pools.judged), note=f"pairs over {len(pools.collection.corpus)} papers")


def systems(search: PaperSearch, collection: Collection, ranker: Ranker) -> dict[str, Ordered]:
    """Each system but the shipped one, by name."""
    papers = list(collection.corpus.values())
    place = {one.id: at for at, one in enumerate(papers)}
    similar, count = Similar(search.index), len(papers)
    classifier = TagClassifier()
    features = classifier.features([f"{one.title} {one.text}" for one in papers])

    def words(paper: str) -> Scores:
        known = similar.words.refresh()
        return dict(zip(known.ids, similar.words.cosines(paper, known).tolist(), strict=True))

    def svm(paper: str) -> Scores:
        decisions = classifier.decisions(features, [place[paper]])
        return {one.id: float(decisions[at]) for at, one in enumerate(papers)}

    def found(retriever: str, **options: Any) -> Ordered:
        searcher = search.index.library.retriever(retriever, **options)

        def ordered(paper: str) -> Scores:
            record = collection.corpus[paper]
            hits = searcher.search([plain(head(record.title, record.text))], count)[0]
            named = ((search.index.paper_of(hit.passage.span.document_id), hit.score) for hit in hits)
            return {one: score for one, score in named if one is not None}

        return ordered

    def alike(paper: str) -> Scores:
        return similar.scores(paper, depth=count)[0]

    def whole(paper: str) -> Scores:
        record = collection.corpus[paper]
        return search.scores(head(record.title, record.text), count)

    def ranked(paper: str) -> Scores:
        record = collection.corpus[paper]
        return reordered(whole(paper), ranker, head(record.title, record.text), collection)

    return {
        "tf-idf": words,
        "tf-idf SVM": svm,
        "BM25": found("lexical"),
        "MiniLM": found("dense"),
        "similar papers": alike,
        "hybrid": whole,
        RANKED: ranked,
    }


def reordered(scores: Scores, ranker: Ranker, query: str, collection: Collection) -> Scores:
    """The scores, of which the best `CANDIDATES` stand in the ranker's order, above all others."""
    first = sorted(scores, key=lambda one: -scores[one])[:CANDIDATES]
    texts = {one: head(collection.corpus[one].title, collection.corpus[one].text) for one in first}
    given = [Hit(Passage(Span(one, 0, len(text)), text), scores[one], "papers") for one, text in texts.items()]
    order = [hit.passage.span.document_id for hit in ranker.rank(query, given)]
    top = max(scores.values(), default=0.0)
    return {**scores, **{one: top + len(order) - place for place, one in enumerate(order)}}


def shipped(folder: Path, pools: Pools) -> Run:
    """SPECTER's rankings: lists of (paper, distance), for each facet a file. InputError: one lacks a judged paper."""
    run: Run = {}
    for facet in FACETS:
        path = folder / "specter_ranking" / f"{facet}.json"
        for paper, ranking in json.loads(text_in(present(path.parent, path.name))).items():
            pair = f"{paper}_{facet}"
            if pair in pools.judged:
                known = {one: -float(distance) for one, distance in ranking}
                missing = pools.judged[pair].keys() - known.keys()
                if missing:
                    raise InputError(f"{path} lacks {len(missing)} papers that are judged for {pair}. Fetch it again.")
                run[pair] = {one: known[one] for one in pools.judged[pair]}
    if lacking := sorted(pools.judged.keys() - run.keys()):
        raise InputError(f"{folder / 'specter_ranking'} ranks nothing for {', '.join(lacking[:3])}. Fetch it again.")
    return run


def paper_of(pair: str) -> str:
    """The paper of PAPER_FACET."""
    return pair.rpartition("_")[0]


def mean(values: Mapping[str, float]) -> float:
    """Over the pairs."""
    return math.fsum(values.values()) / len(values)


def _p(one: Mapping[str, float], other: Mapping[str, float]) -> str:
    differences = np.array([one[pair] - other[pair] for pair in one])
    return f"p = {randomisation_p_value(differences, rounds=10_000, seed=0):.2g}"
