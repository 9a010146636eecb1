"""Adding: how much of `add` is the encoder's own time, and how the encoder compares with bare sentence-transformers."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

from foveal.bench.libraries import documents_of
from foveal.bench.quality import COLLECTIONS, is_collection
from foveal.bench.settings import BenchSettings
from foveal.evaluation.beir import load_beir
from foveal.evaluation.speed import paired
from foveal.evaluation.tables import Row
from foveal.library import Library
from foveal.registry import require
from foveal.settings import Settings


def adding(settings: BenchSettings) -> Iterator[Row]:
    """Rows over the first collection: its first documents added to a new library, then encoded by both encoders."""
    folder = settings.data if is_collection(settings.data) else settings.data / COLLECTIONS[0]
    documents = documents_of(load_beir(folder))[: 600 if settings.quick else 3000]
    with tempfile.TemporaryDirectory() as home:
        library = Library.open(settings=Settings(home=Path(home), cache=Settings.load().cache))
        library.encoder.encode(["warm"])
        report = library.add_documents(documents)
    seconds = report.seconds
    share = seconds["encode"] / sum(seconds.values())
    stages = ", ".join(f"{stage} {spent:.2f} s" for stage, spent in seconds.items())
    rate = report.passages / sum(seconds.values())
    yield Row.of("add", "share of time in the encoder", share, at_least=0.85, note=stages)
    yield Row.of("add", "passages per second, all stages", rate, note=f"{report.passages} passages")
    texts = [f"{document.title} {document.text}" for document in documents[: 256 if settings.quick else 1000]]
    module = require("sentence_transformers", extra="bench")
    ours = settings.encoder()
    bare = module.SentenceTransformer(str(ours.folder), model_kwargs={"dtype": ours.dtype})  # type: ignore[attr-defined]
    ratio = paired(
        lambda: bare.encode(texts, normalize_embeddings=True, convert_to_tensor=True, show_progress_bar=False),
        lambda: ours.encode(texts),
        runs=3 if settings.quick else 5,
    )
    note = f"both {str(ours.dtype).removeprefix('torch.')}, {len(texts)} texts; {ratio}"  # type: ignore[attr-defined]
    yield Row.of("encoder against sentence-transformers", "speed ratio", ratio.median, at_least=0.9, note=note)
    yield Row.of(
        "encoder", "texts per second", 1000 * len(texts) / ratio.b_ms, note="title and abstract, about 250 tokens"
    )
