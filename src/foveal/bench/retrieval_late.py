"""bench retrieval-late: late interaction on real claims, the index that looks at few documents, and LIMIT.

SciFact   MaxSim over MiniLM's token vectors, all documents scored: the truth; the index at 2, 4 and 8 bits and MUVERA
          against it by recall, scored documents, size and time; pooled tokens; fused with BM25, and as a feature of
          learning to rank beside BM25 and one vector, both from the training claims; a head of 128 trained there,
          and with BM25, by a weight from training claims that it was not trained on
LIMIT     who likes what (46 people, 1,000 questions): one vector, token vectors as they are, and token vectors trained
          on other people who like other things (bench/people.py)
Bars      recall@10 of 0.98 of the exact result at a tenth of the scored documents; recall@2 of 0.6 on LIMIT-small; the
          trained vectors with BM25 above 0.745 nDCG@10

Token vectors of the corpus are kept in the cache (1 GB, two bytes a number), as are the trained models, by the hash of
their data and settings and of the code that trains.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from foveal.bench.code import code_digest
from foveal.bench.known_sets import held_to, is_collection_of
from foveal.bench.people import people, shared
from foveal.bench.quality import bm25s_run, flat_run
from foveal.bench.retrieval_fusion import Judged, Replay, dense_run, fuse
from foveal.bench.settings import BenchSettings, text_digest
from foveal.evaluation.beir import Collection, load_beir
from foveal.evaluation.files import whole_file
from foveal.evaluation.metrics import Run, compare, evaluate
from foveal.evaluation.speed import paired
from foveal.evaluation.tables import Row, largest
from foveal.ranking.features import Features
from foveal.ranking.fitting import FITS
from foveal.ranking.late_ranker import KeptVectors, LateRanker
from foveal.ranking.learned import judged_groups, run_of
from foveal.retrieval.fusion_weights import tuned_weight
from foveal.retrieval.hybrid import DENSE_WEIGHT
from foveal.retrieval.late import Floats, Ids, TokenModel, TokenVectors, maxsim, maxsim_search
from foveal.retrieval.late_index import LateIndex, LateIndexSettings
from foveal.retrieval.late_scores import pooled_tokens
from foveal.retrieval.late_tokens import load_token_model
from foveal.retrieval.muvera import Muvera, rescored
from foveal.retrieval.terms import inverse_document_frequencies
from foveal.training.examples import Examples
from foveal.training.late_encoders import LateEncoderSettings, train_late_encoder
from foveal.training.loop import LoopSettings
from foveal.training.precision import mixed_precision
from foveal.training.report import Report
from foveal.training.runs import RunSettings
from foveal.types import Hit, Passage, Span

RECALL, FEWER = 0.98, 10.0
"""What the index must find of the exact best ten, and how many times fewer documents it may score."""

GOAL = 0.745
"""nDCG@10 on SciFact that trained token vectors with BM25 must pass."""

TRAINING = ("foveal.training.late_encoders", "foveal.evaluation.metrics", "foveal.evaluation.scripts")
"""By what token vectors are learnt, and the steps chosen; and what that imports of its package."""

ENCODING = ("foveal.retrieval.late_tokens", "foveal.retrieval.late", "foveal.models.encoders")
"""By what token vectors are made."""

DEPTH = 1000
RANKED = 50
"""Hits of a library's search that the trained vectors order."""


def late(settings: BenchSettings) -> Iterator[Row]:
    """The rows of `foveal bench retrieval-late`."""
    yield from scifact(settings)
    yield from limit(settings)


# -- SciFact ----------------------------------------------------------------------------------------------------------


def scifact(settings: BenchSettings) -> Iterator[Row]:
    """The exact search, the indexes against it, and what it adds to other searches."""
    judged = Judged.of(settings)
    model = load_token_model("minilm")
    documents = token_vectors(settings, ("scifact", "tokens"), judged.texts, model)
    names, claims = list(judged.test.corpus), list(judged.test.queries)
    queries = TokenVectors.of(model.queries(list(judged.test.queries.values())))
    yield double_loop_row(documents, queries)
    found, scores = maxsim_search(documents, queries, DEPTH)
    run = _as_run(claims, names, found, scores)
    yield from judged.rows("MiniLM, one vector", dense_run(judged, settings))
    yield from judged.rows("token vectors, all scored", run, note=f"{len(documents.vectors):,} vectors of 384")
    yield from index_rows(judged, documents, queries, found, settings)
    yield from muvera_rows(documents, queries, found)
    halved = TokenVectors.of([pooled_tokens(documents[row], 2) for row in range(len(documents))])
    pooled = _as_run(claims, names, *maxsim_search(halved, queries, DEPTH))
    yield from judged.rows("token vectors, half of them", pooled, note="each text's clustered to half as many")
    if not settings.quick:
        yield from joined_rows(judged, documents, model, settings)
        yield from trained_on_claims(judged, settings)


def double_loop_row(documents: TokenVectors, queries: TokenVectors, *, asked: int = 3, texts: int = 20) -> Row:
    """The largest difference of our scores from the sum of each query token's best product, one pair after another."""
    few = TokenVectors.of([queries[row] for row in range(min(asked, len(queries)))])
    held = TokenVectors.of([documents[row] for row in range(min(texts, len(documents)))])
    differences = [
        abs(sum(max(float(one @ other) for other in held[d].astype(np.float64)) for one in few[q]) - score)
        for q, row in enumerate(maxsim(few, held).tolist())
        for d, score in enumerate(row)
    ]
    note = f"{len(few)} claims with {len(held)} abstracts, products in float64"
    return Row.of("MaxSim against a double loop", "largest difference", largest(*differences), at_most=1e-5, note=note)


def index_rows(
    judged: Judged, documents: TokenVectors, queries: TokenVectors, truth: Ids, settings: BenchSettings
) -> Iterator[Row]:
    """The index at each number of bits; the bars are about the default."""
    default = LateIndexSettings().bits
    for bits in (default,) if settings.quick else (2, 4, 8):
        yield from _of_bits(judged, documents, queries, truth, bits, asked=bits == default)


def _of_bits(
    judged: Judged, documents: TokenVectors, queries: TokenVectors, truth: Ids, bits: int, *, asked: bool
) -> Iterator[Row]:
    names, system = list(judged.test.corpus), f"index, {bits} bits"
    start = time.perf_counter()
    index = LateIndex.build(names, documents, fingerprint="bench", settings=LateIndexSettings(bits=bits))
    built = time.perf_counter() - start
    found = index.search_counted([queries[row] for row in range(len(queries))], 100)
    ids = [[name for name, _ in hits] for hits, _ in found]
    best = [[names[row] for row in rows] for rows in truth]
    size = index.stats()
    note = f"{size.centroids:,} centroids, {size.bytes_per_document / 1024:.0f} KB a document, built in {built:.0f} s"
    bar = RECALL if asked else None
    yield Row.of(system, "recall@10 of the exact best", _recall(ids, best, 10), at_least=bar, note=note)
    yield Row.of(system, "recall@100 of the exact best", _recall(ids, best, 100))
    scored, candidates = (
        float(np.mean([getattr(looked, stage) for _, looked in found])) for stage in ("scored", "candidates")
    )
    note = f"{scored:.0f} of {len(names):,} documents scored, of {candidates:.0f} candidates"
    bar = FEWER if asked else None
    yield Row.of(system, "times fewer documents scored", len(names) / scored, at_least=bar, note=note)
    run = {query: dict(hits) for query, (hits, _) in zip(judged.test.queries, found, strict=True)}
    yield from judged.rows(system, run)
    yield _time_row(system, documents, queries, lambda query: index.search([query], 10))


def muvera_rows(documents: TokenVectors, queries: TokenVectors, truth: Ids) -> Iterator[Row]:
    """One long vector a text, its best candidates scored exactly."""
    encoding = Muvera(dimension=documents.vectors.shape[1])
    start = time.perf_counter()
    encoded = encoding.documents(documents)
    note = (
        f"{encoding.size:,} numbers a text, the best 200 scored exactly, encoded in {time.perf_counter() - start:.0f} s"
    )
    found = rescored(documents, queries, encoding, encoded, k=10)[0]
    yield Row.of(
        "MUVERA", "recall@10 of the exact best", _recall(found.tolist(), truth[:, :10].tolist(), 10), note=note
    )

    def search(query: Floats) -> object:
        return rescored(documents, TokenVectors.of([query]), encoding, encoded, k=10)

    yield _time_row("MUVERA", documents, queries, search)


def joined_rows(judged: Judged, documents: TokenVectors, model: TokenModel, settings: BenchSettings) -> Iterator[Row]:
    """Token vectors with BM25, and with BM25 and one vector by learning to rank; the training claims decide."""
    names, claims = list(judged.test.corpus), list(judged.queries)
    asked = TokenVectors.of(model.queries(list(judged.queries.values())))
    late_run = _as_run(claims, names, *maxsim_search(documents, asked, DEPTH))
    lexical, dense = bm25s_run(judged.whole), dense_run(judged, settings)
    weight = tuned_weight((lexical, late_run), judged.train.qrels, held_out=judged.test.qrels)
    fused = fuse("weighted", lexical, late_run, weight)
    p_value = compare(fused, {query: late_run[query] for query in judged.test.qrels}, judged.test.qrels)
    note = f"weight of the token vectors {weight}, from the training claims; p {p_value:.2g} against them alone"
    yield from judged.rows("token vectors and BM25, weighted", fused, note=note)
    sources = {
        name: Replay.of(run, judged, name) for name, run in (("bm25", lexical), ("minilm", dense), ("tokens", late_run))
    }
    features = Features(sources, depth=DEPTH, idf=inverse_document_frequencies(judged.texts))
    first = Replay.of(fused, judged, "fused")
    train, test = (judged_groups(one.queries, one.qrels, first, features) for one in (judged.train, judged.test))
    for name in FITS:
        model_of_features = FITS[name](train, features.names)
        run = run_of(test, model_of_features)
        note = f"{len(features.names)} features; p {compare(run, fused, judged.test.qrels):.2g} against the line above"
        yield from judged.rows(f"all three, learned, {name}", run, note=note)


def trained_on_claims(judged: Judged, settings: BenchSettings) -> Iterator[Row]:
    """A head of 128 numbers, trained with the encoder on the training claims."""
    folder, report, dev = claims_model(judged, settings)
    before, after = report.measured["test"]
    note = f"a head drawn at random: {before['ndcg@10']:.4f}; window 128 while training"
    system = "token vectors of 128, trained on the claims"
    yield Row.of(system, "ndcg@10", after["ndcg@10"], note=note)
    if folder is not None:
        yield from trained_and_words(judged, folder, dev, f"{system}, and BM25, weighted", settings)


def claims_model(judged: Judged, settings: BenchSettings) -> tuple[Path | None, Report, Examples]:
    """The model that was trained on nine tenths of the training claims, now or before, its report, and the claims that
    it was not trained on.
    """
    loop = LoopSettings(epochs=3, batch=16, learning_rate=3e-5, seed=settings.seed, bfloat16=mixed_precision())
    trained = LateEncoderSettings(window=128, loop=loop)
    learnt, dev = Examples.of(judged.train).split(dev=trained.dev_share, seed=settings.seed)
    run = RunSettings(home=_home(settings), dev=dev, test=Examples.of(judged.test))
    folder, report = train_late_encoder(learnt, "minilm", trained, run=run)
    return folder, report, dev


def claims_vectors(judged: Judged, model: TokenModel, settings: BenchSettings) -> TokenVectors:
    """That model's vectors of all documents."""
    return token_vectors(settings, ("scifact", "tokens", "trained"), judged.texts, model)


def trained_and_words(
    judged: Judged, folder: Path, dev: Examples, system: str, settings: BenchSettings
) -> Iterator[Row]:
    """The trained vectors with BM25; the claims that were held out from training give the weight."""
    model, names = load_token_model(str(folder)), list(judged.test.corpus)
    documents = claims_vectors(judged, model, settings)
    asked = {**dev.queries, **judged.test.queries}
    queries = TokenVectors.of(model.queries(list(asked.values())))
    run = _as_run(list(asked), names, *maxsim_search(documents, queries, DEPTH))
    words, held = bm25s_run(judged.whole), {query: judged.train.qrels[query] for query in dev.queries}
    lexical = {query: words[query] for query in run}
    weight = tuned_weight((lexical, run), held, held_out=judged.test.qrels)
    fused, alone = fuse("weighted", lexical, run, weight), {query: run[query] for query in judged.test.qrels}
    p_value = compare(fused, alone, judged.test.qrels)
    note = f"weight of the token vectors {weight}, from {len(held)} held-out claims; p {p_value:.2g} against them alone"
    yield from map(judged.asked, judged.rows(system, fused, note=note, at_least=GOAL))
    yield ranked(judged, LateRanker(model), documents, settings)


def ranked(judged: Judged, ranker: LateRanker, documents: TokenVectors, settings: BenchSettings) -> Row:
    """What `foveal search --rank` does: the best of a library's own search, ordered by the trained vectors."""
    texts = dict(zip(judged.test.corpus, judged.texts, strict=True))
    kept = KeptVectors(most=2**32)
    for row, text in enumerate(judged.texts):
        kept.put(text, documents[row])
    ranker = replace(ranker, kept=kept, budget=RANKED)
    hybrid = fuse("weighted", bm25s_run(judged.whole), dense_run(judged, settings), DENSE_WEIGHT)
    run: Run = {}
    for query in judged.test.qrels:
        names = sorted(hybrid[query], key=lambda name: -hybrid[query][name])[:100]
        hits = [
            Hit(Passage(Span(name, 0, len(texts[name])), texts[name]), hybrid[query][name], "made") for name in names
        ]
        found = ranker.rank(judged.test.queries[query], hits)
        run[query] = {hit.passage.span.document_id: hit.score for hit in found}
    before = evaluate({query: hybrid[query] for query in run}, judged.test.qrels, ("ndcg@10",))["ndcg@10"]
    value = evaluate(run, judged.test.qrels, ("ndcg@10",))["ndcg@10"]
    note = f"as search --rank does: the best {ranker.budget}, {ranker.share} of it MaxSim; before {before:.4f}"
    return Row.of("the hybrid's hits, ordered by them", "ndcg@10", value, at_least=before + 1e-4, note=note)


# -- LIMIT ------------------------------------------------------------------------------------------------------------


LIMIT_METRICS = ("recall@2", "recall@10")


def limit_values(collection: Collection, system: str, run: Run, note: str = "", **bars: float) -> Iterator[Row]:
    """Both metrics of a system on LIMIT."""
    values = evaluate(run, collection.qrels, LIMIT_METRICS)
    row = Row.of(f"LIMIT: {system}", "recall@2", values["recall@2"], note=note, **bars)
    yield held_to("LIMIT-small", is_collection_of("LIMIT-small", collection), row)
    yield Row.of(f"LIMIT: {system}", "recall@10", values["recall@10"])


def limit(settings: BenchSettings) -> Iterator[Row]:
    """Recall@2 of one vector, of token vectors, and of token vectors trained on other people."""
    collection = load_beir(settings.folder("limit-small", ("corpus.jsonl", "queries.jsonl", "qrels/test.tsv")))
    rows = partial(limit_values, collection)
    yield from rows("BM25S, not stemmed", bm25s_run(collection, stemmed=False), "measured for the spec: 0.9905")
    yield from rows("MiniLM, one vector", flat_run(collection, settings), at_least=0.15, at_most=0.175)
    yield from rows("token vectors", _late_run(collection, load_token_model("minilm")), "not trained")
    learnt = people(24 if settings.quick else 100, seed=settings.seed)
    found = shared(learnt, (record.whole for record in collection.corpus.values()))
    yield Row.of("LIMIT: training texts", "names and things shared with LIMIT", found, at_most=0)
    loop = LoopSettings(
        steps=60 if settings.quick else 300,
        batch=16,
        learning_rate=1e-4,
        seed=settings.seed,
        bfloat16=mixed_precision(),
    )
    trained = LateEncoderSettings(negatives=0, loop=loop, dev_share=0.05)
    folder, report = train_late_encoder(learnt, "minilm", trained, run=RunSettings(home=_home(settings)))
    model = load_token_model(str(folder)) if folder else load_token_model("minilm")
    note = f"{report.curves.steps} steps of 16 on {len(learnt.corpus)} other people, 128 numbers a token"
    yield from rows("token vectors, trained", _late_run(collection, model), note, at_least=0.6)


def _late_run(collection: Collection, model: TokenModel) -> Run:
    documents = TokenVectors.of(model.documents([record.whole for record in collection.corpus.values()]))
    queries = TokenVectors.of(model.queries(list(collection.queries.values())))
    names, scores = list(collection.corpus), maxsim(queries, documents)
    return {
        query: {name: float(score) for name, score in zip(names, row, strict=True)}
        for query, row in zip(collection.queries, scores, strict=True)
    }


# -- parts ------------------------------------------------------------------------------------------------------------


def token_vectors(
    settings: BenchSettings, key_parts: Sequence[str], texts: Sequence[str], model: TokenModel
) -> TokenVectors:
    """The texts' token vectors, encoded once, then read from the cache: two bytes a number there, unit length here."""
    folder = settings.cache / "vectors"
    made_by = f"{model.fingerprint} {code_digest(*ENCODING, within='foveal.models')}"
    name = f"{'-'.join(key_parts)}-{text_digest(made_by, texts)[:24]}"
    path, starts_path = folder / f"{name}.npy", folder / f"{name}-starts.npy"
    if not path.is_file() or not starts_path.is_file():
        made = TokenVectors.of(model.documents(texts))
        _save(starts_path, made.starts)
        _save(path, made.vectors.astype(np.float16))
    vectors = np.load(path, allow_pickle=False).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return TokenVectors(vectors, np.load(starts_path, allow_pickle=False))


def _save(path: Path, array: np.ndarray) -> None:
    with whole_file(path) as partial:
        np.save(partial, array, allow_pickle=False)


def _home(settings: BenchSettings) -> Path:
    """Where trained models lie: by other code they are trained anew. What they begin with, their data, settings and
    seed are in their own names (training/runs.py)."""
    code = f"{code_digest(*TRAINING, within='foveal.training')}-{code_digest(*ENCODING, within='foveal.models')}"
    return settings.cache / "training" / f"late-{code}"


def _as_run(queries: Sequence[str], names: Sequence[str], rows: Ids, scores: Floats) -> Run:
    return {
        query: {names[row]: float(score) for row, score in zip(found, values, strict=True)}
        for query, found, values in zip(queries, rows, scores, strict=True)
    }


def _recall(found: Sequence[Sequence[object]], truth: Sequence[Sequence[object]], k: int) -> float:
    """The mean share of the true best `k` among the first `k` found."""
    pairs = zip(found, truth, strict=True)
    return float(np.mean([len(set(ids[:k]) & set(true[:k])) / k for ids, true in pairs]))


def _time_row(system: str, documents: TokenVectors, queries: TokenVectors, search: Callable[[Floats], object]) -> Row:
    """Times as fast as scoring all documents, one query at a time."""
    few = [queries[row] for row in range(min(5, len(queries)))]
    ratio = paired(
        lambda: [maxsim_search(documents, TokenVectors.of([query]), 10) for query in few],
        lambda: [search(query) for query in few],
    )
    return Row.of(system, "speed over scoring all", ratio.median, note=str(ratio))
