"""The parts of `foveal bench rank-cascade`: a search of one claim at a time, and the rankers that stand behind it.

first        BM25S and exact MiniLM, fused by the shipped weight
learned      LambdaMART over the first's best 100: scores and ranks of both, of token vectors too in a whole run, words
late         token vectors of 128 numbers, trained on the training claims (`retrieval-late` trains them, too), beside
             BM25S, over the same 100; in a whole run
reranker     a cross-encoder on MiniLM, trained on what the first gets wrong
blockrank    the default language model, trained in the layout whose blocks can be kept, by the contrast of attention

The training claims are parted: most of them teach, the rest, the dev claims, set weights and choose stages. No test
claim does either. The trained token vectors know the claims that learning to rank is fitted on, and would be trusted
too much as a feature of it; so they are a stage, which dev claims weigh. What is trained or read lies in the bench's
cache, by the hash of what made it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from importlib.metadata import version
from typing import Any

import numpy as np
import torch

from foveal.bench.code import code_digest
from foveal.bench.retrieval_fusion import DEPTH, Judged
from foveal.bench.retrieval_late import claims_model, claims_vectors, token_vectors
from foveal.bench.settings import BenchSettings
from foveal.models.dtypes import native_bfloat16
from foveal.models.language import load_language_model
from foveal.ranking.blockrank import KEPT, BlockRank, default_layer
from foveal.ranking.blockrank_cache import BlockCache
from foveal.ranking.blockrank_training import fine_tune
from foveal.ranking.cross_encoder import CrossEncoderRanker
from foveal.ranking.features import Features
from foveal.ranking.fitting import FITS, Group
from foveal.ranking.learned import LearnedRanker, judged_groups
from foveal.registry import require
from foveal.retrieval.fusion import weighted_sum
from foveal.retrieval.fusion_weights import tuned_weight
from foveal.retrieval.hybrid import DENSE_WEIGHT
from foveal.retrieval.late import TokenModel
from foveal.retrieval.late_tokens import load_token_model
from foveal.retrieval.terms import inverse_document_frequencies
from foveal.training.blockrank import BlockRankSettings, lists_of
from foveal.training.examples import Examples
from foveal.training.loop import LoopSettings
from foveal.training.negatives import filled, top_negatives
from foveal.training.precision import mixed_precision
from foveal.training.rerankers import RerankerSettings, train_reranker
from foveal.training.runs import RunSettings
from foveal.training.searches import run_of
from foveal.types import Hit, Passage, Ranker, Span

LEARNED, LATE, CROSS, BLOCK = "learned", "token vectors", "cross-encoder", "blockrank"
"""What the rankers are called."""
LATE_FIRST = "token vectors and BM25S"
"""The second where it stands behind the first stage, its order alone."""
WINDOW = 192
"""Tokens of claim and abstract that the cross-encoder reads: what is longer is cut."""
BASE = "minilm"
"""What the cross-encoder begins as."""
TRAINING = (
    *(f"foveal.training.{one}" for one in ("rerankers", "blockrank", "negatives", "searches")),
    *("foveal.ranking.blockrank_training", "foveal.ranking.blockrank_forward"),
    *("foveal.models.bert_torch", "foveal.models.language", "foveal.models.lean"),
    "foveal.evaluation.metrics",
)
"""Modules by which is trained; and what they import of their packages."""
SEARCHING = (__name__, "foveal.retrieval.fusion")
"""Those of the first stage."""


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """How much of everything."""

    learnt: int | None = None  # training claims; None: all
    asked: int | None = None  # test claims
    dev: float = 0.1  # share of the training claims; in a whole run the very claims that `late` was not trained on
    tokens: bool = True  # whether MiniLM's token vectors are a source of learning to rank
    late: bool = False  # whether trained token vectors are a stage
    ranked: int = 100  # candidates of learning to rank
    best: int = 20  # of the cross-encoder and BlockRank
    epochs: float = 1  # of the cross-encoder
    lists: int = 96  # that BlockRank learns from
    documents: int = 8  # of a list
    dev_lists: int = 20
    document_tokens: int = 128  # of a document for BlockRank, its frame among them
    budgets: tuple[float, ...] = (50, 100, 300, 1000)  # milliseconds


FULL = Sizes(late=True)
QUICK = Sizes(
    learnt=150, asked=40, dev=0.1, tokens=False, best=10, epochs=0.5, lists=8, documents=6, dev_lists=4,
    document_tokens=96,
)  # fmt: skip


# -- the first stage ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Found:
    """What the parts of the first stage found for a claim, best first, and both as one."""

    bm25: list[Hit]
    minilm: list[Hit]
    fused: list[Hit]


class First:
    """A `Retriever` over whole abstracts for one query after another; it remembers the last one's parts."""

    def __init__(self, judged: Judged, settings: BenchSettings) -> None:
        self._bm25s: Any = require("bm25s", extra="bench")
        stemmer = require("Stemmer", extra="bench").Stemmer("english")
        self._quiet = {"stopwords": "en", "stemmer": stemmer, "show_progress": False}
        self._index = self._bm25s.BM25(k1=1.5, b=0.75)
        self._index.index(self._bm25s.tokenize(judged.texts, **self._quiet), show_progress=False)
        self.encoder = settings.encoder()
        self._vectors = settings.cached_vectors(("scifact", "corpus"), judged.texts, self.encoder)
        names = list(judged.test.corpus)
        self.rows = {name: row for row, name in enumerate(names)}
        self._passages = [
            Passage(Span(name, 0, len(text)), text) for name, text in zip(names, judged.texts, strict=True)
        ]
        self._last: tuple[str, Found] | None = None

    def search(self, queries: Sequence[str], k: int) -> list[list[Hit]]:
        """For each query the best `k`."""
        return [self.found(query).fused[:k] for query in queries]

    def __call__(self, queries: Sequence[str], k: int) -> list[dict[str, float]]:
        """The same as document ids with scores: a `training.searches.Search`."""
        return [{hit.passage.span.document_id: hit.score for hit in hits} for hits in self.search(queries, k)]

    def found(self, query: str) -> Found:
        """All parts, looked up once for a query and what is asked of it next."""
        if self._last is None or self._last[0] != query:
            self._last = query, self._find(query)
        return self._last[1]

    def _find(self, query: str) -> Found:
        depth = min(DEPTH, len(self._passages))
        tokens = self._bm25s.tokenize([query], **self._quiet)
        rows, scores = self._index.retrieve(tokens, k=depth, show_progress=False)
        words = dict(zip(rows[0].tolist(), scores[0].tolist(), strict=True))
        cosines = self._vectors @ self.encoder.encode([query])[0]
        nearest = np.argsort(-cosines, kind="stable")[:depth].tolist()
        meaning = dict(zip(nearest, cosines[nearest].tolist(), strict=True))
        both = weighted_sum([words, meaning], [1 - DENSE_WEIGHT, DENSE_WEIGHT])
        parts = ((words, "bm25"), (meaning, "minilm"), (both, "hybrid"))
        return Found(*(self._hits(scored, source) for scored, source in parts))

    def _hits(self, scored: dict[int, float], source: str) -> list[Hit]:
        order = sorted(scored, key=lambda row: (-scored[row], row))
        return [Hit(self._passages[row], scored[row], source) for row in order]


@dataclass(frozen=True)
class Part:
    """A `Retriever` that gives what one part of the first stage found."""

    first: First
    name: str

    def search(self, queries: Sequence[str], k: int) -> list[list[Hit]]:
        """For each query the best `k`."""
        return [getattr(self.first.found(query), self.name)[:k] for query in queries]


@dataclass(frozen=True)
class Tokens:
    """A `Retriever`: the first stage's best, in the order of their token vectors (MaxSim)."""

    first: First
    model: TokenModel
    vectors: Any  # TokenVectors of all documents
    ranked: int

    def search(self, queries: Sequence[str], k: int) -> list[list[Hit]]:
        """For each query the best `k` of the first's best."""
        return [self._ordered(query)[:k] for query in queries]

    def scores(self, query: str, hits: Sequence[Hit]) -> list[float]:
        """The MaxSim of each hit."""
        asked = self.model.queries([query])[0].T
        rows = [self.first.rows[hit.passage.span.document_id] for hit in hits]
        return [float((self.vectors[row] @ asked).max(0).sum()) for row in rows]

    def _ordered(self, query: str) -> list[Hit]:
        hits = self.first.found(query).fused[: self.ranked]
        pairs = zip(hits, self.scores(query, hits), strict=True)
        scored = [replace(hit, score=score, source="tokens") for hit, score in pairs]
        return sorted(scored, key=lambda hit: -hit.score)


@dataclass(frozen=True)
class Late:
    """A `Ranker`: MaxSim beside BM25S, each laid over 0 to 1 among the hits."""

    tokens: Tokens
    share: float  # of MaxSim

    def rank(self, query: str, hits: Sequence[Hit]) -> list[Hit]:
        """The hits by both."""
        late, words = self.both(query, hits)
        summed = weighted_sum([words, late], [1 - self.share, self.share])
        ranked = [replace(hit, score=summed[hit.passage.span.document_id], source="late") for hit in hits]
        return sorted(ranked, key=lambda hit: -hit.score)

    def both(self, query: str, hits: Sequence[Hit]) -> tuple[dict[str, float], dict[str, float]]:
        """MaxSim of the hits, and BM25S of those that hold a word of the query; by their ids."""
        names = [hit.passage.span.document_id for hit in hits]
        late = dict(zip(names, self.tokens.scores(query, hits), strict=True))
        found = self.tokens.first.found(query).bm25
        words = {hit.passage.span.document_id: hit.score for hit in found if hit.passage.span.document_id in late}
        return late, words


@dataclass(frozen=True)
class Bfloat16:
    """A `Ranker` that multiplies in bfloat16 where the processor can: a cross-encoder then takes little over half the
    time, and its scores differ in the fourth place."""

    ranker: Ranker

    def rank(self, query: str, hits: Sequence[Hit]) -> list[Hit]:
        """As the ranker itself."""
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=native_bfloat16()):
            return self.ranker.rank(query, hits)


# -- the rankers -------------------------------------------------------------------------------------------------------


@dataclass
class Parts:
    """The first stage and the rankers, made when they are asked for; `notes` says how."""

    judged: Judged
    settings: BenchSettings
    sizes: Sizes
    notes: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.first = First(self.judged, self.settings)
        known = Examples.of(self.judged.train)
        known = known.only(list(known.queries)[: self.sizes.learnt])
        self.taught, self.dev = known.split(dev=self.sizes.dev, seed=self.settings.seed)
        test = Examples.of(self.judged.test)
        self.test = test.only(list(test.queries)[: self.sizes.asked])
        self.made_by = trained_by(self.first)
        self.home = self.settings.cache / "training" / f"cascade-{self.made_by}"

    # -- learning to rank ----------------------------------------------------------------------------------------------

    @cached_property
    def features(self) -> Features:
        """Numbers of the first stage's hits."""
        sources: dict[str, Any] = {name: Part(self.first, name) for name in ("bm25", "minilm")}
        if self.sizes.tokens:
            model = load_token_model("minilm")
            vectors = token_vectors(self.settings, ("scifact", "tokens"), self.judged.texts, model)
            sources["tokens"] = Tokens(self.first, model, vectors, self.sizes.ranked)
        return Features(sources, depth=DEPTH, idf=inverse_document_frequencies(self.judged.texts))

    @cached_property
    def groups(self) -> dict[str, Group]:
        """The features of each training claim's hits, with their grades."""
        known = {**self.taught.queries, **self.dev.queries}
        judged = {**self.taught.judged, **self.dev.judged}
        one_by_one = (
            judged_groups(known, {query: judged[query]}, self.first, self.features, k=self.sizes.ranked)
            for query in known  # one at a time: the first stage remembers one query
        )
        return {group.query: group for found in one_by_one for group in found}

    def learned(self, claims: Iterable[str]) -> LearnedRanker:
        """LambdaMART fitted on these training claims."""
        model = FITS["lambdamart"]([self.groups[claim] for claim in claims], self.features.names)
        return LearnedRanker(model, self.features)

    # -- token vectors -------------------------------------------------------------------------------------------------

    @cached_property
    def late(self) -> Late | None:
        """Trained on the taught claims, its share beside BM25S from the dev claims; None if it is not to be there, or
        is no better than untrained.
        """
        if not self.sizes.late:
            return None
        folder, report, held = claims_model(self.judged, self.settings)
        if folder is None:
            return None
        model = load_token_model(str(folder))
        tokens = Tokens(self.first, model, claims_vectors(self.judged, model, self.settings), self.sizes.ranked)
        scored = {}
        for claim, text in self.dev.queries.items():
            if claim in held.queries:  # the others taught it
                scored[claim] = Late(tokens, 1.0).both(text, self.first.search([text], self.sizes.ranked)[0])
        runs = tuple({claim: both[part] for claim, both in scored.items()} for part in (1, 0))
        share = tuned_weight(runs, {claim: held.judged[claim] for claim in scored}, held_out=self.test.judged)
        before, after = (values["ndcg@10"] for values in report.measured["dev"])
        self.notes[LATE] = (
            f"128 numbers a token; dev claims {after:.3f} alone, untrained {before:.3f}; {share} of the score MaxSim, "
            f"the rest BM25S, by {len(scored)} dev claims"
        )
        return Late(tokens, share)

    # -- a cross-encoder -----------------------------------------------------------------------------------------------

    @cached_property
    def reranker(self) -> Bfloat16:
        """Trained on the taught claims. It stands beside the scores before it, so it is used even if alone it is no
        better than the first stage."""
        loop = LoopSettings(
            epochs=self.sizes.epochs, batch=8, learning_rate=1e-4, seed=self.settings.seed, bfloat16=mixed_precision()
        )
        chosen = RerankerSettings(
            window=WINDOW, depth=self.sizes.best, negatives=3, dev_queries=20, dev_depth=10, loop=loop
        )
        folder, report = train_reranker(
            self.taught,
            self.first,
            BASE,
            chosen,
            first_stage_name="BM25S and MiniLM, fused",
            run=RunSettings(home=self.home, dev=self.dev),
        )
        before, after = (values["ndcg@10"] for values in report.measured["dev"])
        self.notes[CROSS] = (
            f"{report.curves.steps} steps of 8 claims with 3 wrong abstracts each; dev claims {after:.3f}, the first "
            f"stage {before:.3f}"
        )
        folder = folder or self.home / "runs" / "train" / report.name / "rejected"
        return Bfloat16(CrossEncoderRanker.load(str(folder), max_tokens=WINDOW, overflow="cut", share=1.0))

    # -- BlockRank -----------------------------------------------------------------------------------------------------

    @cached_property
    def blockrank(self) -> BlockRank:
        """Trained on lists of the taught claims, its blocks kept in the cache; untrained where that ranks better."""
        layout = replace(KEPT, document_tokens=self.sizes.document_tokens)
        model = load_language_model(dtype="float32")
        layer = default_layer(model.model.config)
        loop = LoopSettings(epochs=1, batch=8, learning_rate=1e-4, seed=self.settings.seed, bfloat16=mixed_precision())
        chosen = BlockRankSettings(
            objective="aux", documents=self.sizes.documents, dev_lists=self.sizes.dev_lists, loop=loop
        )
        order = np.random.default_rng(self.settings.seed).permutation(len(self.taught.queries))
        claims = list(self.taught.queries)
        taught = self.taught.only(claims[place] for place in order[: self.sizes.lists])
        dev = self.dev.only(list(self.dev.queries)[: self.sizes.dev_lists])
        folder, report = fine_tune(
            model,
            self._lists(taught, self.sizes.best),
            chosen,
            layer=layer,
            layout=layout,
            run=RunSettings(home=self.home, dev=self._lists(dev, self.sizes.documents)),
        )
        cache = BlockCache(self.settings.cache / "blocks" / f"{report.name}-{self.made_by}")
        before, after = (values["mrr@10"] for values in report.measured["dev"])
        used = "" if folder else "; not used"
        self.notes[BLOCK] = (
            f"layer {layer}, {len(taught.queries)} lists of {self.sizes.documents}; MRR of {len(dev.queries)} dev "
            f"lists {after:.3f}, untrained {before:.3f}{used}"
        )
        if folder is None:
            return BlockRank(load_language_model(), layout=layout, cache=cache)
        return BlockRank.load(str(folder), cache=cache)

    def _lists(self, examples: Examples, wrong: int) -> list[Any]:
        found = top_negatives(run_of(self.first, examples, 2 * wrong), examples, depth=2 * wrong)
        found = {query: names[:wrong] for query, names in found.items()}
        return lists_of(examples, filled(found, examples, wrong, seed=self.settings.seed))


def trained_by(first: First) -> str:
    """By what the cross-encoder and BlockRank are trained, and blocks are read: by other code both are trained anew, as
    they are behind another first stage, which their runs know by name alone."""
    code = " ".join(code_digest(*TRAINING, within=f"foveal.{one}") for one in ("training", "ranking", "models"))
    whole = f"{code} {code_digest(*SEARCHING)} {first.encoder.fingerprint} {DENSE_WEIGHT} {version('bm25s')}"
    return hashlib.sha256(whole.encode()).hexdigest()[:16]


def kept_blocks(ranker: BlockRank, hits: Iterable[Hit], at_once: int = 32) -> Iterator[int]:
    """Read the blocks of all these passages that are not kept yet; how many are done, as it goes."""
    different = list({hit.passage.span: hit for hit in hits}.values())
    for first in range(0, len(different), at_once):
        ranker.keep(different[first : first + at_once])
        yield min(first + at_once, len(different))
