"""bench lexsembridge, what all its parts measure on: SciFact with its tasks, and the bridges trained there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path

import numpy as np

from foveal.bench.code import code_digest
from foveal.bench.quality import bm25s_run
from foveal.bench.retrieval_fusion import Judged
from foveal.bench.settings import BenchSettings
from foveal.evaluation.beir import Collection
from foveal.evaluation.fine_grained import Keywords, Task, held_out, make_keyword_task, make_part_of_passage_task
from foveal.evaluation.metrics import Run
from foveal.models.lexsembridge import BridgeSettings
from foveal.models.lexsembridge_reading import REACH
from foveal.retrieval.flat import flat_search
from foveal.retrieval.lexsembridge import LexSemBridge
from foveal.training.examples import Examples
from foveal.training.lexsembridge import train_lexsembridge, with_tasks
from foveal.training.lexsembridge_settings import LexSemBridgeSettings
from foveal.training.loop import LoopSettings
from foveal.training.report import Report
from foveal.training.runs import RunSettings

DEPTH = 100
PASSAGES, QUICK_PASSAGES = 1000, 200
"""Abstracts that tasks are made of, half of them held out."""

KEYWORDS, SPANS = (1, 3), (16, 32, 64)
CLAIMS = "query"
"""The task of the test claims."""

ARMS: Mapping[str, LexSemBridgeSettings] = {
    "SLR": LexSemBridgeSettings(),
    "LLR": LexSemBridgeSettings(bridge=BridgeSettings(method="LLR", reach=REACH)),
    "CLR": LexSemBridgeSettings(
        bridge=BridgeSettings(method="CLR", reach=REACH), units="tokens", init_mlm_head=True, from_corpus=False
    ),
    "SLR, published form": LexSemBridgeSettings(bridge=BridgeSettings(), units="tokens", from_corpus=False),
    "control, words exchanged": LexSemBridgeSettings(shuffled=True),
}
METHODS = ("SLR", "LLR", "CLR")
"""What bars are about. SLR and LLR are over words and begin with what the collection says of these; no bridge but the
published form is unbounded."""
PUBLISHED, CONTROL = "SLR, published form", "control, words exchanged"
"""Over tokens, W = 0 at first, log v as far apart as it comes: what is ours in SLR is what that lacks."""


def trained_by() -> str:
    """The code by which bridges are trained: by other code they are trained anew."""
    training = (f"foveal.training.lexsembridge{part}" for part in ("", "_both", "_frozen", "_losses"))
    return code_digest(*training, "foveal.models.lexsembridge", "foveal.models.lexsembridge_reading")


class FineGrained:
    """SciFact with its tasks: what is learnt from, what is held out, and the runs over them."""

    def __init__(self, settings: BenchSettings, *, passages: int | None = None) -> None:
        self.settings, self.judged, self.encoder = settings, Judged.of(settings), settings.encoder()
        train = Examples.of(self.judged.train)
        self.corpus = dict(train.corpus)
        self.ids = list(self.corpus)
        self.vectors = settings.cached_vectors(("scifact", "corpus"), list(self.corpus.values()), self.encoder)
        count = passages or (QUICK_PASSAGES if settings.quick else PASSAGES)
        self.open, self.held = held_out(self.corpus, count=count, seed=settings.seed)
        tasks = self._tasks(self.open, settings.seed + 1)
        self.learnt, self.dev = with_tasks(train, tasks).split(dev=0.1, seed=settings.seed)
        self.tasks = [*self._tasks(self.held, settings.seed), self._claims()]
        self.home = settings.cache / "training" / f"lexsembridge-{trained_by()}"

    @cached_property
    def queries(self) -> dict[str, str]:
        """All held-out queries."""
        return {query: text for task in self.tasks for query, text in task.queries.items()}

    @cached_property
    def lexical(self) -> Run:
        """BM25S over all of them."""
        found = bm25s_run(Collection("scifact", self.judged.test.corpus, self.queries, {}))
        return {query: dict(list(run.items())[:DEPTH]) for query, run in found.items()}

    def run(self, vectors: np.ndarray) -> Run:
        """The `DEPTH` nearest abstracts to the vectors of `queries`."""
        found, scores = flat_search(self.vectors, np.ascontiguousarray(vectors, dtype=np.float32), DEPTH)
        return {
            query: {self.ids[row]: float(score) for row, score in zip(rows, values, strict=True)}
            for query, rows, values in zip(self.queries, found.tolist(), scores.tolist(), strict=True)
        }

    def plain(self) -> np.ndarray:
        """The plain encoder's vectors of `queries`."""
        return self.settings.cached_vectors(("scifact", "fine-grained"), list(self.queries.values()), self.encoder)

    def trained(self, arm: str) -> tuple[Path | None, Report]:
        """An arm's folder and report, trained now or before."""
        epochs = 1 if self.settings.quick else 3
        loop = LoopSettings(epochs=epochs, batch=64, learning_rate=1e-3, seed=self.settings.seed)
        return train_lexsembridge(
            self.learnt,
            self.encoder_name,
            replace(ARMS[arm], loop=loop),
            vectors=self.vectors,
            run=RunSettings(home=self.home, dev=self.dev),
        )

    def bridge(self, folder: Path | None, report: Report) -> LexSemBridge:
        """The bridge of an arm, also of one that was not kept."""
        return LexSemBridge.load(
            folder or self.home / "runs" / "train" / report.name / "rejected", encoder=self.encoder
        )

    @property
    def encoder_name(self) -> str:
        """What `load_encoder` is asked for: the folder of the bench's encoder, or its name."""
        return str(getattr(self.encoder, "folder", self.encoder.name))

    def _tasks(self, passages: Sequence[str], seed: int) -> list[Task]:
        made = [make_keyword_task(self.corpus, k, seed, passages=passages, keywords=self._keywords) for k in KEYWORDS]
        offsets = self.encoder.token_offsets
        return made + [
            make_part_of_passage_task(self.corpus, n, seed, token_offsets=offsets, passages=passages) for n in SPANS
        ]

    @cached_property
    def _keywords(self) -> Keywords:
        return Keywords(self.corpus)

    def _claims(self) -> Task:
        test = Examples.of(self.judged.test)
        return Task(CLAIMS, dict(test.queries), {query: dict(found) for query, found in test.judged.items()})
