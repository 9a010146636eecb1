"""Adding: how much of `add` is the encoder's own time, and how the encoder compares with bare sentence-transformers.

The first collection's first records are written to a JSONL file and added as a person would: the share is that of the
whole call, loading and indexing included. Both encoders then get the very passages that the library holds.
"""

from __future__ import annotations

import json
import math
import tempfile
import time
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np

from foveal.bench.quality import collections
from foveal.bench.settings import BenchSettings
from foveal.evaluation.beir import Collection, load_beir
from foveal.evaluation.metrics import evaluate
from foveal.evaluation.speed import paired
from foveal.evaluation.tables import Row
from foveal.library import Library
from foveal.models import load_encoder
from foveal.registry import require
from foveal.retrieval.indexing import indexed_text
from foveal.settings import Settings

if TYPE_CHECKING:
    from foveal.models.bert import BertEncoder
    from foveal.types import Encoder


def adding(settings: BenchSettings) -> Iterator[Row]:
    """Rows over the first collection: added to a new library, then encoded by both encoders."""
    records = load_beir(collections(settings)[0]).corpus.values()
    with tempfile.TemporaryDirectory() as place:
        source = Path(place) / "records.jsonl"
        chosen = islice((one for one in records if one.text.strip()), 600 if settings.quick else 3000)
        lines = (json.dumps({"id": one.id, "title": one.title, "text": one.text}) for one in chosen)
        source.write_text("\n".join(lines), encoding="utf-8")
        library = Library.open(settings=Settings(home=Path(place), cache=Settings.load().cache))
        library.encoder.encode(["warm"])
        start = time.perf_counter()
        report = library.add([source])
        wall = time.perf_counter() - start
        documents = [library.get(one) for one in report.added[: 150 if settings.quick else 600]]
        texts = [indexed_text(one, cut) for one in documents for cut in library.segmenter.segment(one)]
    stages = ", ".join(f"{stage} {spent:.2f} s" for stage, spent in report.seconds.items())
    note = f"of {wall:.1f} s, loading included; {stages}"
    yield Row.of("add", "share of time in the encoder", report.seconds["encode"] / wall, at_least=0.85, note=note)
    yield Row.of("add", "passages per second, all stages", report.passages / wall, note=f"{report.passages} passages")
    yield from _against_sentence_transformers(texts, settings)
    yield from in_bytes(texts, load_beir(collections(settings)[0]), settings)


def _against_sentence_transformers(texts: list[str], settings: BenchSettings) -> Iterator[Row]:
    module = require("sentence_transformers", extra="bench")
    ours = cast("BertEncoder", settings.encoder())
    bare = module.SentenceTransformer(str(ours.folder), model_kwargs={"dtype": ours.dtype, "use_safetensors": True})
    ratio = paired(
        lambda: bare.encode(texts, normalize_embeddings=True, convert_to_tensor=True, show_progress_bar=False),
        lambda: ours.encode(texts),
        runs=3 if settings.quick else 5,
    )
    theirs = str(ours.dtype).removeprefix("torch.")
    note = f"{'int8 against float32' if ours.in_bytes else f'both {theirs}'}, {len(texts)} passages; {ratio}"
    yield Row.of("encoder against sentence-transformers", "speed ratio", ratio.median, at_least=0.9, note=note)
    rate = 1000 * len(texts) / ratio.b_ms
    yield Row.of("encoder", "passages per second", rate, note="titles and about 150 tokens each")


def in_bytes(texts: Sequence[str], collection: Collection, settings: BenchSettings) -> Iterator[Row]:
    """Rows on encoding in int8, where this machine does; one that says why not, elsewhere."""
    system, ours = "int8 against float32", cast("BertEncoder", settings.encoder())
    if not ours.in_bytes:
        note = "not run: the processor has bfloat16, or no VNNI; passages are encoded in the weights' own type"
        yield Row.of(system, "speed ratio", math.nan, note=note)
        return
    full = load_encoder(ours.folder, dtype="float32")
    ratio = paired(lambda: full.encode(texts), lambda: ours.encode(texts), runs=3 if settings.quick else 5)
    yield Row.of(system, "speed ratio", ratio.median, at_least=1.4, note=f"the same passages; {ratio}")
    alike = (full.encode(texts) * ours.encode(texts)).sum(1)
    yield Row.of(system, "mean cosine", float(alike.mean()), at_least=0.998, note=f"the least {alike.min():.4f}")
    found = [_found(encoder, collection, quick=settings.quick) for encoder in (full, ours)]
    note = f"{found[0]:.4f} and {found[1]:.4f}; documents whole" + (", of the unjudged a few" if settings.quick else "")
    yield Row.of(system, "ndcg@10 lost", found[0] - found[1], at_most=0.003, note=note)


def _found(encoder: Encoder, collection: Collection, *, quick: bool) -> float:
    """nDCG@10 of exact search over whole documents; `quick`: over the judged ones and 300 others."""
    judged = {one for grades in collection.qrels.values() for one in grades}
    records = sorted(collection.corpus.values(), key=lambda one: one.id not in judged)
    records = records[: len(judged) + 300 if quick else None]
    scores = encoder.encode(list(collection.queries.values())) @ encoder.encode([one.whole for one in records]).T
    best = np.argsort(-scores, axis=1, kind="stable")[:, :10]
    run = {
        query: {records[column].id: float(scores[row, column]) for column in best[row]}
        for row, query in enumerate(collection.queries)
    }
    return evaluate(run, collection.qrels, "ndcg@10")["ndcg@10"]
