"""A process that searches one library and says how long it took and what it held: run by `bench scale`.

    python -m foveal.bench.scale_search FOLDER QUERIES.json      prints one line of JSON

It holds no more than a process that serves a library does: the encoder, Lance's caches, no vectors.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from foveal.evaluation.speed import percentiles
from foveal.models import load_encoder
from foveal.retrieval.dense import DenseRetriever
from foveal.retrieval.hybrid import HybridRetriever
from foveal.retrieval.lexical import LexicalRetriever
from foveal.retrieval.store import Store

K = 10
WARMUP = 50
"""Queries that are not timed: Lance reads an index from disk as it is asked for."""


def measured(folder: str, queries: list[str]) -> dict[str, Any]:
    """Latencies of the retrievers in ms, each over all queries, and the memory of this process in MiB."""
    store, encoder = Store.open(folder), load_encoder("minilm")
    lexical, dense = LexicalRetriever(store), DenseRetriever(store, encoder)
    found: dict[str, Any] = {"start_mib": held("VmRSS")}
    for name, retriever in (("hybrid", HybridRetriever(lexical, dense)), ("lexical", lexical), ("dense", dense)):
        times = percentiles(lambda query, one=retriever: one.search([query], K), queries, warmup=WARMUP)  # type: ignore[misc]
        found[name] = {"p50_ms": times.p50_ms, "p95_ms": times.p95_ms, "worst_ms": times.worst_ms}
        found[f"{name}_mib"] = held("VmRSS")
    encoding = percentiles(lambda query: encoder.encode([query]), queries)
    return found | {"encode": {"p50_ms": encoding.p50_ms, "p95_ms": encoding.p95_ms}, "peak_mib": held("VmHWM")}


def held(kind: str) -> float:
    """This process's resident memory now (VmRSS), or at most so far (VmHWM), in MiB."""
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        name, _, value = line.partition(":")
        if name == kind:
            return int(value.split()[0]) / 1024
    return float("nan")


if __name__ == "__main__":
    sys.stdout.write(json.dumps(measured(sys.argv[1], json.loads(Path(sys.argv[2]).read_text(encoding="utf-8")))))
