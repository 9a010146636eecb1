"""bench retrieval-training: what each way of training gains on real claims, and with a re-ranker behind it.

arms       MiniLM trained on 90 % of SciFact's 809 training claims by each arm of `TRIED`, three seeds; the rest are
           the dev claims, which choose the steps and, by the mean of the seeds, the arm. Test claims are measured only.
           A run of one core takes seven to twenty minutes
joined     the chosen arm with BM25, the weight from the dev claims
teacher    a cross-encoder trained on what the untrained hybrid gets wrong, as re-ranker beside it and alone, and, if
           it is kept, as teacher: an encoder that learns its margins (margin-MSE), and one that plays against it
           (AR2), one seed, beside the chosen arm
typos      the chosen arm, one seed, once more with half of its queries misspelt; both, and MiniLM, on misspelt claims
gradients  cached gradients (GradCache) against those of the whole batch, on MiniLM itself
Bars       the chosen arm 0.68 nDCG@10 on the test claims; it or what is made with it above 0.745; gradients within 1e-5

A run of an arm is kept in the bench's cache, by the hash of its data and settings and of the code that trains: a bench
that was stopped goes on.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import torch

from foveal.bench.code import code_digest
from foveal.bench.quality import bm25s_run
from foveal.bench.retrieval_fusion import DEPTH, Judged, fuse
from foveal.bench.settings import BenchSettings
from foveal.evaluation.metrics import Run, compare, evaluate
from foveal.evaluation.tables import Row
from foveal.models import load_encoder
from foveal.models.folders import fingerprint
from foveal.models.hub import folder_of
from foveal.retrieval.fusion_weights import tuned_weight
from foveal.retrieval.hybrid import DENSE_WEIGHT
from foveal.settings import Settings
from foveal.training import model_folders
from foveal.training.encoders import ARMS, EncoderSettings, train_encoder
from foveal.training.examples import Examples
from foveal.training.loop import LoopSettings
from foveal.training.losses import LossSettings, make_loss
from foveal.training.misspelling import misspelt
from foveal.training.precision import mixed_precision
from foveal.training.report import Report
from foveal.training.rerankers import RerankerSettings, Scorer, train_reranker
from foveal.training.runs import RunSettings
from foveal.training.searches import VectorSearch, blended

SEEDS = (0, 1, 2)
TARGET, GOAL = 0.68, 0.745
"""nDCG@10 on the test claims: of the chosen arm alone, and of the best that is made with it."""

TRIED = ("in-batch", "bm25", "mined", "filtered", "ance", "margin-mse", "kl")
"""The arms among which dev claims choose."""

WINDOW = 128
"""Tokens of a text while training: MiniLM's own training had as many."""

LEARNING = (
    *("foveal.training.encoders", "foveal.training.rerankers"),
    *("foveal.evaluation.metrics", "foveal.evaluation.scripts"),  # by which steps are chosen, and words found
)
"""What learns; and what it imports of its package."""


def training(settings: BenchSettings) -> Iterator[Row]:
    """The rows of `foveal bench retrieval-training`."""
    judged = Judged.of(settings)
    yield gradients(judged)
    data = Arms(judged, settings)
    yield Row.of("MiniLM, not trained", "ndcg@10", data.ndcg(data.base_run()), note="test claims")
    reports: dict[str, list[Report]] = {}
    for arm in ("in-batch", "mined") if settings.quick else TRIED:
        reports[arm] = [data.trained(arm, seed) for seed in (SEEDS[:1] if settings.quick else SEEDS)]
        yield from arm_rows(arm, reports[arm])
    best = max(reports, key=lambda arm: _mean(reports[arm], "dev"))
    note = f"the arm with the best dev claims ({_mean(reports[best], 'dev'):.4f} there): {best}"
    yield judged.asked(Row.of("the chosen arm", "ndcg@10", _mean(reports[best], "test"), at_least=TARGET, note=note))
    yield from joined_rows(data, best, reports[best])
    yield from typo_rows(data, best, reports[best][0])
    if not settings.quick:
        yield from reranker_rows(data, best, reports[best][0])


class Arms:
    """The data of the arms, and their runs."""

    def __init__(self, judged: Judged, settings: BenchSettings) -> None:
        self.judged, self.settings = judged, settings
        self.learnt, self.dev = Examples.of(judged.train).split(dev=0.1, seed=settings.seed)
        self.test = Examples.of(judged.test)
        self.home = settings.cache / "training" / f"retrieval-{trained_by()}"
        self.vectors = settings.cached_vectors(
            ("scifact", "corpus"), list(self.learnt.corpus.values()), settings.encoder()
        )
        self.lexical = bm25s_run(judged.whole)

    def trained(self, arm: str, seed: int) -> Report:
        """The report of an arm trained with that seed, now or before."""
        return self._trained(arm, seed)

    def misspelling(self, arm: str, seed: int) -> Report:
        """The report of an arm trained with half of its queries misspelt, now or before."""
        return self._trained(arm, seed, typos=0.5)

    def distilled(self, teacher: Path, seed: int, arm: str) -> Report:
        """The report of an encoder that the cross-encoder in a folder teaches, now or before."""
        told: dict[str, Any] = {"teacher": Scorer(teacher), "teacher_name": f"{teacher.name} {fingerprint(teacher)}"}
        return self._trained(arm, seed, **told)

    def _trained(self, arm: str, seed: int, *, typos: float = 0.0, **teacher: Any) -> Report:
        loop = LoopSettings(epochs=3, batch=32, learning_rate=3e-5, seed=seed, bfloat16=mixed_precision())
        chosen = EncoderSettings(
            arm=arm, typos=typos, negatives=ARMS[arm].negatives, window=WINDOW, dev_documents=600, loop=loop
        )
        _, report = train_encoder(
            self.learnt,
            "minilm",
            chosen,
            vectors=self.vectors,
            run=RunSettings(home=self.home, dev=self.dev, test=self.test),
            **teacher,
        )
        return report

    def run_of(self, report: Report) -> Run:
        """What the model of a report finds for all claims; the base, where the new one was no better."""
        return self._found(self.search_of(report))

    def search_of(self, report: Report) -> VectorSearch:
        """The search by the model of a report; the base's, where the new one was no better."""
        if not report.kept:
            return self.base()
        encoder = load_encoder(str(self.home / "models" / report.name))
        vectors = self.settings.cached_vectors((report.name,), list(self.learnt.corpus.values()), encoder)
        return VectorSearch(list(self.learnt.corpus), vectors, encoder.encode)

    def base_run(self) -> Run:
        """What MiniLM finds for all claims."""
        return self._found(self.base())

    def base(self) -> VectorSearch:
        """The search by MiniLM as it is."""
        return VectorSearch(list(self.learnt.corpus), self.vectors, self.settings.encoder().encode)

    def ndcg(self, run: Run) -> float:
        """nDCG@10 on the test claims."""
        return evaluate(run, self.judged.test.qrels, ("ndcg@10",))["ndcg@10"]

    def _found(self, search: VectorSearch) -> Run:
        queries = self.judged.queries
        return dict(zip(queries, search(list(queries.values()), DEPTH), strict=True))


def arm_rows(arm: str, reports: list[Report]) -> Iterator[Row]:
    """On dev and test claims, before and after: the mean of the seeds."""
    took = fmean(report.curves.seconds for report in reports)
    for kind in ("dev", "test"):
        before = reports[0].measured[kind][0]["ndcg@10"]
        after = [report.measured[kind][1]["ndcg@10"] for report in reports]
        spread = f"{len(after)} seeds, ± {stdev(after):.4f}" if len(after) > 1 else "one seed"
        note = f"before {before:.4f}; {spread}; {took:.0f} s of training each; {ARMS[arm].says}"
        yield Row.of(f"{arm}, {kind} claims", "ndcg@10", fmean(after), note=note)


def joined_rows(data: Arms, arm: str, reports: list[Report]) -> Iterator[Row]:
    """The chosen arm with BM25, each seed with a weight of its own from the dev claims."""
    test, dev = data.judged.test.qrels, {query: data.judged.train.qrels[query] for query in data.dev.queries}
    values, weights, first = [], [], ""
    for report in reports:
        run = data.run_of(report)
        weights.append(tuned_weight((data.lexical, run), dev, held_out=test))
        fused = fuse("weighted", data.lexical, run, weights[-1])
        values.append(data.ndcg(fused))
        first = first or f"p {compare(fused, run, test):.2g} against it alone"
    spread = f", ± {stdev(values):.4f}" if len(values) > 1 else ""
    note = f"weights {', '.join(map(str, weights))} from {len(dev)} dev claims{spread}; {first}"
    yield data.judged.asked(Row.of(f"{arm} and BM25, weighted", "ndcg@10", fmean(values), at_least=GOAL, note=note))


def reranker_rows(data: Arms, arm: str, beside: Report) -> Iterator[Row]:
    """A cross-encoder behind the untrained hybrid, and what an encoder learns from it, beside one of the chosen arm."""
    words = {data.judged.queries[query]: found for query, found in data.lexical.items()}
    hybrid = blended(
        [lambda queries, k: [_top(words[query], k) for query in queries], data.base()], [1 - DENSE_WEIGHT, DENSE_WEIGHT]
    )
    loop = LoopSettings(epochs=5, batch=8, learning_rate=1e-4, seed=data.settings.seed, bfloat16=mixed_precision())
    chosen = RerankerSettings(window=192, depth=30, negatives=3, dev_queries=30, loop=loop)
    folder, report = train_reranker(
        data.learnt,
        hybrid,
        "minilm",
        chosen,
        first_stage_name="BM25S and MiniLM, blended",
        run=RunSettings(home=data.home / searched_by(), dev=data.dev, test=data.test),
    )
    before, after = report.measured["test"]
    note = f"the hybrid's best {chosen.depth}; before {before['ndcg@10']:.4f}; {'' if report.kept else 'not '}kept"
    said = next(one for one in report.notes if one.startswith("Its score counts"))
    yield Row.of("re-ranker beside the hybrid", "ndcg@10", after["ndcg@10"], note=f"{note}. {said}")
    if folder is None:
        return
    for way in ("margin-mse", "adversarial"):
        yield distilled_row(data, folder, way, arm, beside)


def typo_rows(data: Arms, arm: str, beside: Report) -> Iterator[Row]:
    """One slip in each test claim: what is still found, by MiniLM, and after training with and without slips."""
    claims = {
        query: misspelt(text, seed=(data.settings.seed, number))
        for number, (query, text) in enumerate(data.test.queries.items())
    }
    report = data.misspelling(arm, SEEDS[0])
    searches = {"MiniLM": data.base(), arm: data.search_of(beside), f"{arm}, typos": data.search_of(report)}
    values = {}
    for name, search in searches.items():
        found = dict(zip(claims, search(list(claims.values()), DEPTH), strict=True))
        values[name] = data.ndcg(found)
        yield Row.of(f"{name}, misspelt claims", "ndcg@10", values[name], note="one slip in each test claim")
    gained = values[f"{arm}, typos"] - values[arm]
    lost = report.measured["test"][1]["ndcg@10"] - beside.measured["test"][1]["ndcg@10"]
    note = f"on claims as they are {lost:+.4f}"
    yield Row.of(f"{arm}, typos less without", "ndcg@10, misspelt claims", gained, at_least=0.0001, note=note)


def distilled_row(data: Arms, teacher: Path, way: str, arm: str, beside: Report) -> Row:
    """What an encoder finds that a cross-encoder taught, by its margins or as a game."""
    report = data.distilled(teacher, SEEDS[0], way)
    before, after = report.measured["test"]
    p_value = compare(data.run_of(report), data.run_of(beside), data.judged.test.qrels)
    chosen = f"the chosen arm, {arm}, {beside.measured['test'][1]['ndcg@10']:.4f} with the same seed, p {p_value:.2g}"
    note = f"before {before['ndcg@10']:.4f}; {chosen}; {'' if report.kept else 'not '}kept"
    return Row.of(f"distilled from the re-ranker, {way}", "ndcg@10", after["ndcg@10"], note=note)


def gradients(judged: Judged, rows: int = 16, tokens: int = 32) -> Row:
    """The largest difference between the gradients of the cached and the plain loss, as a share of the largest one."""
    model = model_folders.sentence_transformer(folder_of("minilm", Settings.load().cache, kind="encoder"))
    model.eval()  # no dropout: both losses must see the same vectors
    pairs = [
        (judged.train.queries[query], next(iter(found))) for query, found in list(judged.train.qrels.items())[:rows]
    ]
    columns = [[claim for claim, _ in pairs], [judged.train.corpus[name].whole for _, name in pairs]]
    with model_folders.window(model, tokens):
        found = []
        for name in ("in-batch", "cached"):
            model.zero_grad()
            features = [model.preprocess(texts) for texts in columns]
            loss = make_loss(name, model, LossSettings(mini_batch=5))(features, None)
            loss.backward()
            found.append(torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None]))
    worst = float((found[0] - found[1]).abs().max() / found[0].abs().max())
    note = f"{rows} pairs, encoded 5 at a time; float32"
    return Row.of("cached gradients", "largest difference from the whole batch", worst, at_most=1e-5, note=note)


def trained_by() -> str:
    """The code by which encoders and re-rankers learn and are measured: by other code they are trained anew. What they
    begin with, their data, settings and seed are in their own names (training/runs.py)."""
    learning = code_digest(*LEARNING, within="foveal.training")
    return f"{learning}-{code_digest('foveal.models.encoders', within='foveal.models')}"


def searched_by() -> str:
    """The search that the re-ranker learns behind, which its run knows by name alone."""
    return f"{code_digest(__name__, 'foveal.bench.quality')}-{DENSE_WEIGHT}-{version('bm25s')}"


def _mean(reports: list[Report], kind: str) -> float:
    return fmean(report.measured[kind][1]["ndcg@10"] for report in reports)


def _top(found: dict[str, float], k: int) -> dict[str, float]:
    best = sorted(found, key=lambda name: (-found[name], name))[:k]
    return {name: found[name] for name in best}
