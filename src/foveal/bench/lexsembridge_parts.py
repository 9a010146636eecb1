"""bench lexsembridge, the other parts: what a bridge costs, training it with its encoder, and LIMIT.

On LIMIT the fused run has the bar that was asked for, which BM25S meets alone; a row says what the bridge adds to that.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from foveal.bench.lexsembridge_data import ARMS, DEPTH, METHODS, FineGrained
from foveal.bench.people import people
from foveal.bench.quality import bm25s_run
from foveal.bench.retrieval_late import LIMIT_METRICS, limit, limit_values
from foveal.bench.settings import BenchSettings
from foveal.evaluation.beir import Collection, Record, load_beir
from foveal.evaluation.metrics import Run, evaluate
from foveal.evaluation.speed import paired
from foveal.evaluation.tables import Row
from foveal.models import load_encoder
from foveal.models.lexsembridge import Bridge, BridgeSettings, Reading
from foveal.models.lexsembridge_reading import ENCODER, REACH
from foveal.retrieval.flat import flat_search, int8_search, quantise_int8
from foveal.retrieval.fusion import weighted_sum
from foveal.retrieval.fusion_weights import tuned_weight
from foveal.retrieval.lexsembridge import LexSemBridge
from foveal.training.encoders import EncoderSettings, dev_metrics, train_encoder
from foveal.training.examples import Examples
from foveal.training.lexsembridge import train_lexsembridge
from foveal.training.lexsembridge_settings import LexSemBridgeSettings
from foveal.training.loop import LoopSettings
from foveal.training.losses import LossSettings
from foveal.training.precision import mixed_precision
from foveal.training.runs import RunSettings
from foveal.training.searches import VectorSearch
from foveal.types import Encoder

SLOWER = 1.05
"""Times the plain encoder's time that a query may take through SLR or LLR."""

STEPS, QUICK_STEPS, WINDOW = 200, 24, 64
"""Of training encoder and bridge together; tokens of a text meanwhile."""

ABSTRACTS, QUICK_ABSTRACTS, QUICK_CLAIMS = 1500, 200, 60
"""Over which encoders that were trained are measured (each has to encode them anew), and claims with `--quick`."""


# -- costs ------------------------------------------------------------------------------------------------------------


class Largest(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Notes the most numbers that a tensor made inside has."""

    numbers = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        for one in made if isinstance(made, tuple | list) else [made]:
            if isinstance(one, torch.Tensor):
                self.numbers = max(self.numbers, one.numel())
        return made


def cost_rows(data: FineGrained) -> Iterator[Row]:
    """Time of a query, the largest tensor, the loss by int8, and whether a saved bridge is the same."""
    texts = list(data.tasks[-1].queries.values())[:64]
    corpus = list(data.corpus.values())
    for method in ("SLR", "LLR"):
        settings = BridgeSettings(method=method, reach=REACH)
        bridge = LexSemBridge.of_collection(data.encoder, corpus, data.vectors, settings)
        for count in (1, 64):
            yield speed_row(bridge, texts, count)
    for method in ("SLR", "LLR"):
        yield memory_row(method)
    bridge = LexSemBridge.of_collection(data.encoder, corpus, data.vectors)
    yield int8_row(data, bridge)
    yield saved_row(bridge, texts, "untrained bridge", encoder=data.encoder)
    used = float(np.abs(bridge.encode_query(texts) - data.encoder.encode(texts)).max())
    yield Row.of("the bridge is in use", "largest difference from the plain encoder", used, at_least=1e-3)


def saved_row(bridge: LexSemBridge, texts: Sequence[str], name: str, *, encoder: Encoder | None = None) -> Row:
    """Vectors of a bridge, and those of the folder that it was saved to, by `encoder` (None: that in the folder)."""
    with tempfile.TemporaryDirectory() as place:
        again = LexSemBridge.load(bridge.save(Path(place) / "bridge"), encoder=encoder)
        difference = float(np.abs(again.encode_query(texts) - bridge.encode_query(texts)).max())
    return Row.of(f"{name}, saved and loaded", "largest difference", difference, at_most=1e-6)


def speed_row(bridge: LexSemBridge, texts: Sequence[str], count: int) -> Row:
    """Times as fast as the plain encoder, `count` queries at a time."""
    groups = [texts[at : at + count] for at in range(0, min(len(texts), 20 * count), count)]

    def through(encode: Callable[[Sequence[str]], object]) -> Callable[[], object]:
        return lambda: [encode(group) for group in groups]

    ratio = paired(through(bridge.encoder.encode), through(bridge.encode_query), runs=9, warmup=2)
    system = f"{bridge.bridge.settings.method}, {count} at a time"
    return Row.of(system, "speed of encode_query over plain", ratio.median, at_least=1 / SLOWER, note=str(ratio))


def memory_row(method: str, *, units: int = 250_000, width: int = 384, texts: int = 64, tokens: int = 64) -> Row:
    """The largest tensor that a batch makes with 250,000 units."""
    bridge = Bridge(units, width, BridgeSettings(method=method)).eval()
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(units, (texts, tokens), generator=generator)
    reading = Reading(torch.ones(texts, width), ids, torch.ones(texts, tokens, width))
    with torch.inference_mode(), Largest() as seen:  # type: ignore[no-untyped-call]
        bridge(reading)
    note = f"{texts} texts of {tokens} tokens, {units:,} units; all texts by all units would be {texts * units:,}"
    most = texts * tokens * width
    return Row.of(f"{method}, {units:,} units", "numbers in the largest tensor", seen.numbers, at_most=most, note=note)


def int8_row(data: FineGrained, bridge: LexSemBridge) -> Row:
    """What passages of one byte a number lose on the test claims."""
    claims = data.tasks[-1]
    vectors = bridge.encode_query(list(claims.queries.values()))
    found = []
    for rows, scores in (
        flat_search(data.vectors, vectors, DEPTH),
        int8_search(quantise_int8(data.vectors), vectors, DEPTH),
    ):
        run = {
            query: {data.ids[row]: float(score) for row, score in zip(*pair, strict=True)}
            for query, *pair in zip(claims.queries, rows.tolist(), scores.tolist(), strict=True)
        }
        found.append(evaluate(run, claims.qrels, ("ndcg@10",))["ndcg@10"])
    return Row.of("int8 passages lose", "ndcg@10", found[0] - found[1], at_most=0.005, note="test claims")


# -- encoder and bridge together --------------------------------------------------------------------------------------


def both_rows(data: FineGrained) -> Iterator[Row]:
    """Three readings on the test claims over a part of the abstracts, and the plain encoder before."""
    settings, quick = data.settings, data.settings.quick
    steps, few = (QUICK_STEPS, 40) if quick else (STEPS, 200)
    part = Part.of(data, QUICK_ABSTRACTS if quick else ABSTRACTS, QUICK_CLAIMS if quick else None)
    loop = LoopSettings(
        steps=steps, batch=16, learning_rate=3e-5, seed=settings.seed, evaluate_every=steps, bfloat16=mixed_precision()
    )
    chosen = LexSemBridgeSettings(
        encoder="both", loop=loop, query_tokens=WINDOW, document_tokens=WINDOW, dev_documents=few
    )
    alike = EncoderSettings(
        arm="bm25", window=WINDOW, loop=loop, loss=LossSettings(temperature=chosen.temperature), dev_documents=few
    )
    run = RunSettings(home=data.home, dev=part.dev, test=part.test)
    folder, report = train_lexsembridge(part.learnt, data.encoder_name, chosen, run=run, vectors=part.vectors)
    losses = [loss for _, loss in report.curves.losses]
    third = max(1, len(losses) // 3)  # single batches differ more than training changes them
    first, last = fmean(losses[:third]), fmean(losses[-third:])
    fall, note = first - last, f"{steps} steps of 16; {first:.3f} in the first third, {last:.3f} in the last"
    yield Row.of("encoder and bridge", "fall of the loss", fall, at_least=1e-4, note=note)
    where = folder or data.home / "runs" / "train" / report.name / "rejected"
    yield saved_row(LexSemBridge.load(where), list(part.test.queries.values())[:64], "encoder and bridge")
    removed = VectorSearch.over(part.corpus, load_encoder(str(where / ENCODER)).encode)
    _, other = train_encoder(part.learnt, data.encoder_name, alike, run=run, vectors=part.vectors)
    values = {
        "plain encoder": report.measured["test"][0]["ndcg@10"],
        "trained with the bridge, bridge in use": report.measured["test"][1]["ndcg@10"],
        "trained with the bridge, bridge taken away": dev_metrics(part.test, removed)["ndcg@10"],
        "trained alike without a bridge": other.measured["test"][1]["ndcg@10"],
    }
    for system, value in values.items():
        yield Row.of(f"test claims: {system}", "ndcg@10", value, note=f"{len(part.corpus):,} abstracts")


@dataclass(frozen=True)
class Part:
    """Some abstracts with the plain encoder's vectors, and claims that they answer."""

    corpus: dict[str, str]
    vectors: np.ndarray
    learnt: Examples
    dev: Examples
    test: Examples

    @classmethod
    def of(cls, data: FineGrained, abstracts: int, claims: int | None) -> Part:
        """Training and test claims (`claims` of each at most), a tenth of the former as dev claims; their abstracts,
        and others up to so many."""
        train, test = (
            one.only(list(one.queries)[:claims]) for one in map(Examples.of, (data.judged.train, data.judged.test))
        )
        judged = [name for side in (train, test) for found in side.positives.values() for name in found]
        order = np.random.default_rng(data.settings.seed).permutation(len(data.ids))
        names = list(dict.fromkeys([*judged, *(data.ids[place] for place in order)]))[
            : max(abstracts, len(set(judged)))
        ]
        corpus = {name: data.corpus[name] for name in names}
        places = {name: row for row, name in enumerate(data.ids)}
        learnt, dev = (_within(one, corpus) for one in train.split(dev=0.1, seed=data.settings.seed))
        return cls(corpus=corpus, vectors=data.vectors[[places[name] for name in names]], learnt=learnt, dev=dev,
                   test=_within(test, corpus))  # fmt: skip


def _within(examples: Examples, corpus: dict[str, str]) -> Examples:
    """The same queries over these texts; what is judged and not among them (grade 0) is left out."""
    judged = {
        query: {name: grade for name, grade in found.items() if name in corpus}
        for query, found in examples.judged.items()
    }
    return Examples(examples.queries, corpus, judged, examples.name)


# -- LIMIT ------------------------------------------------------------------------------------------------------------


FUSED = 0.95
"""Recall@2 that is asked of the fused run."""


def limit_rows(settings: BenchSettings) -> Iterator[Row]:
    """The table of `retrieval-late`, and in it the bridge: for queries, for both sides, and fused with BM25S."""
    yield from limit(settings)
    collection = load_beir(settings.folder("limit-small", ("corpus.jsonl", "queries.jsonl", "qrels/test.tsv")))
    note = "untrained, from the collection; a product of numbers alone cannot pass here"
    for system, both in (("bridge, queries only", False), ("bridge, both sides", True)):
        yield from limit_values(collection, system, bridged_run(collection, settings, both=both), note)
    other = as_collection(people(24 if settings.quick else 100, seed=settings.seed))
    parts = [(bm25s_run(one, stemmed=False), bridged_run(one, settings, both=False)) for one in (other, collection)]
    weight = tuned_weight(parts[0], other.qrels, metric="recall@2", held_out=collection.qrels)
    words, bridge = parts[1]
    fused = {query: weighted_sum([words[query], bridge[query]], [1 - weight, weight]) for query in collection.queries}
    alone, together = (evaluate(run, collection.qrels, LIMIT_METRICS) for run in (words, fused))
    note = f"weight of the bridge {weight}, from {len(other.queries):,} questions about other people"
    itself = ", which meets the bar without a bridge" if alone["recall@2"] >= FUSED else ""
    said = f"{note}; BM25S alone has {alone['recall@2']:.4f}{itself}"
    yield from limit_values(collection, "bridge and BM25S, weighted", fused, said, at_least=FUSED)
    for metric in LIMIT_METRICS:
        yield Row.of("LIMIT: what the bridge adds to BM25S", metric, together[metric] - alone[metric], note=note)


def limit_bridges(data: FineGrained) -> Iterator[Row]:
    """The bridges that SciFact trained, each method for queries and for both sides; LIMIT's names are new to them."""
    collection = load_beir(data.settings.folder("limit-small", ("corpus.jsonl", "queries.jsonl", "qrels/test.tsv")))
    texts = [record.whole for record in collection.corpus.values()]
    plain = data.encoder.encode(texts)
    for arm in (arm for arm in ARMS if arm in METHODS):
        bridge = data.bridge(*data.trained(arm))
        queries = bridge.encode_query(list(collection.queries.values()))
        for sides, documents in (("queries only", plain), ("both sides", bridge.encode_query(texts))):
            run = _cosines(collection, queries, documents)
            yield from limit_values(collection, f"{arm}, {sides}", run, "trained on SciFact")


def bridged_run(collection: Collection, settings: BenchSettings, *, both: bool) -> Run:
    """Cosines of the collection's own untrained bridge."""
    texts, encoder = [record.whole for record in collection.corpus.values()], settings.encoder()
    chosen = BridgeSettings(reach=REACH, fuse_passage=both)
    bridge = LexSemBridge.of_collection(encoder, texts, settings=chosen)
    queries = bridge.encode_query(list(collection.queries.values()))
    return _cosines(collection, queries, bridge.encode_document(texts))


def _cosines(collection: Collection, queries: np.ndarray, documents: np.ndarray) -> Run:
    scores = queries @ documents.T
    return {
        query: {name: float(score) for name, score in zip(collection.corpus, row, strict=True)}
        for query, row in zip(collection.queries, scores, strict=True)
    }


def as_collection(examples: Examples) -> Collection:
    """Examples in BEIR's form."""
    corpus = {name: Record(name, "", text) for name, text in examples.corpus.items()}
    qrels = {query: dict(found) for query, found in examples.judged.items()}
    return Collection(examples.name, corpus, dict(examples.queries), qrels)
