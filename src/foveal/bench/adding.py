"""Adding: how much of `add` is the encoder's own time, and how the encoder compares with bare sentence-transformers.

The first collection's first records are written to a JSONL file and added as a person would: the share is that of the
whole call, loading and indexing included. Both encoders then get the very passages that the library holds.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from foveal.bench.quality import collections
from foveal.bench.settings import BenchSettings
from foveal.evaluation.beir import load_beir
from foveal.evaluation.speed import paired
from foveal.evaluation.tables import Row
from foveal.library import Library
from foveal.registry import require
from foveal.retrieval.indexing import indexed_text
from foveal.settings import Settings


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


def _against_sentence_transformers(texts: list[str], settings: BenchSettings) -> Iterator[Row]:
    module = require("sentence_transformers", extra="bench")
    ours: Any = settings.encoder()
    bare = module.SentenceTransformer(str(ours.folder), model_kwargs={"dtype": ours.dtype, "use_safetensors": True})
    ratio = paired(
        lambda: bare.encode(texts, normalize_embeddings=True, convert_to_tensor=True, show_progress_bar=False),
        lambda: ours.encode(texts),
        runs=3 if settings.quick else 5,
    )
    note = f"both {str(ours.dtype).removeprefix('torch.')}, the library's passages ({len(texts)}); {ratio}"
    yield Row.of("encoder against sentence-transformers", "speed ratio", ratio.median, at_least=0.9, note=note)
    rate = 1000 * len(texts) / ratio.b_ms
    yield Row.of("encoder", "passages per second", rate, note="titles and about 150 tokens each")
