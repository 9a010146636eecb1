"""Trains LexSemBridge: the bridge alone over vectors that stay as they are, or bridge and encoder together.

    folder, report = train_lexsembridge(examples, "minilm", LexSemBridgeSettings(), run=RunSettings(home=home))
    LexSemBridge.load(folder)                         # of retrieval/lexsembridge.py, which searches with it

Frozen     (the default; `lexsembridge_frozen.py`) queries are read once, passages are the index's own vectors: minutes
           on two cores. W begins with what the collection says of its words, and the loss is over all passages
Both       encoder="both": gradients flow through the encoder, too (`lexsembridge_both.py`); the index is made anew
Loss       InfoNCE: -log softmax at the relevant passage of cosines over the temperature
Guard      the plain encoder and the bridge search the whole corpus for the dev queries; kept only if it finds more
Source     Zhan et al., 2025, arXiv 2508.17858. Its published saver leaves the bridge out; this one writes it
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Protocol

import numpy as np

from foveal.errors import InputError
from foveal.evaluation.fine_grained import Task
from foveal.models import load_encoder
from foveal.models.hub import folder_of
from foveal.models.lexsembridge import Bridge
from foveal.models.lexsembridge_reading import (
    Units,
    corpus_weights,
    held_units,
    made_bridge,
    units_of,
)
from foveal.training.encoders import METRICS, dev_metrics, searched_by
from foveal.training.examples import Examples, Rows, check_corpus
from foveal.training.first_stage import kept_negatives
from foveal.training.lexsembridge_both import Both
from foveal.training.lexsembridge_frozen import Frozen
from foveal.training.lexsembridge_settings import LexSemBridgeSettings
from foveal.training.loop import Job, identity, train
from foveal.training.loop_settings import without_loop
from foveal.training.report import Report, not_kept, plain_settings
from foveal.training.runs import RunSettings, TrainingRun
from foveal.training.searches import Floats, VectorSearch, WordSearch
from foveal.types import Encoder


class Trainee(Protocol):
    """What is trained: `lexsembridge_frozen.Frozen` or `lexsembridge_both.Both`."""

    def job(self, learnt: Rows, dev: Examples) -> Job: ...
    def search(self, examples: Examples) -> VectorSearch: ...
    def save(self, folder: Path) -> Path: ...


def train_lexsembridge(
    examples: Examples,
    base: str = "minilm",
    settings: LexSemBridgeSettings | None = None,
    *,
    run: RunSettings[Examples],
    vectors: Floats | None = None,
) -> tuple[Path | None, Report]:
    """The folder of the bridge (HOME/models/<name>; None if it finds no more than the plain encoder) and the report.

    `run.dev` chooses among steps and decides (default: a share of the queries held out); `run.test` is measured only.
    `vectors` (N, D) are the base's of the corpus, where they are known. Else as `encoders.train_encoder`.
    InputError: CLR with a base that has no masked-language head. ModelUnavailable: the base gives no hidden states.
    """
    settings = settings or LexSemBridgeSettings()
    dev, test = run.dev, run.test
    check_corpus(examples, dev, test)
    cache = run.cache_at
    encoder = load_encoder(base, cache=cache)
    learnt, dev = examples.beside(dev, settings.dev_share)
    depends_on = _identity(settings, encoder, learnt, dev, test)
    known_by = identity(depends_on, settings.loop)
    kind = f"{Path(base).name}-{settings.bridge.method.lower()}"
    here = TrainingRun.opened(run, known_by, kind=kind)
    if (done := here.done()) is not None:
        return done
    plain = searched_by(encoder, examples, vectors, run)
    bridge, units = begun(encoder, examples.corpus, plain.vectors, settings)
    trainee = _trainee(settings, bridge, units, encoder, plain, folder_of(base, cache, kind="encoder"))
    per_row = 0 if settings.frozen and settings.whole_corpus else settings.negatives
    words, depth, seed = WordSearch(examples.corpus), settings.depth, settings.loop.seed
    negatives = kept_negatives(here.folder, words, learnt, depth=depth, spare=50, count=per_row, seed=seed)
    rows = Rows(learnt, negatives, per_row, seed=seed)
    job = replace(trainee.job(rows, dev), identity=depends_on)
    curves = train(job, settings.loop, here.folder, on_progress=run.on_progress)
    with here.candidate() as made:
        trainee.save(made)
        measured = {
            kind: (dev_metrics(queries, plain), dev_metrics(queries, trainee.search(queries)))
            for kind, queries in (("dev", dev), ("test", test))
            if queries is not None
        }
        before, after = (values[METRICS[0]] for values in measured["dev"])
        kept = after > before
        what = f"LexSemBridge, {settings.bridge.method} over {settings.units}, encoder {settings.encoder}"
        notes = () if kept else (not_kept("bridge", METRICS[0], "dev queries", before, after),)
        report = Report(here.name, what, base, curves, measured, kept, notes, plain_settings(settings))
        here.settle(made, report)
    return here.result(report)


def with_tasks(examples: Examples, tasks: Sequence[Task]) -> Examples:
    """The examples and the tasks' queries together. InputError: an id comes twice, or asks for what is not there."""
    queries, judged = dict(examples.queries), {query: dict(found) for query, found in examples.judged.items()}
    for task in tasks:
        twice = next((query for query in task.queries if query in queries), None)
        if twice is not None:
            raise InputError(f"The query {twice!r} is there already; give the task once.")
        queries |= task.queries
        judged |= task.qrels
    return replace(examples, queries=queries, judged=judged)


def begun(
    encoder: Encoder, corpus: Mapping[str, str], vectors: Floats, settings: LexSemBridgeSettings
) -> tuple[Bridge, Units]:
    """The bridge as training finds it, and its units."""
    texts = list(corpus.values())
    units = units_of(settings.units, encoder, texts)
    bridge = made_bridge(encoder, units, settings.bridge, init_mlm_head=settings.init_mlm_head)
    if settings.from_corpus:
        bridge.weight.data.copy_(corpus_weights(held_units(encoder, units, texts), vectors, units.size))
    if settings.shuffled and units.words is not None:
        order = np.random.default_rng(settings.loop.seed).permutation(units.size)
        units = replace(units, words=tuple(units.words[place] for place in order))
    return bridge, units


# -- parts ------------------------------------------------------------------------------------------------------------


def _trainee(
    settings: LexSemBridgeSettings, bridge: Bridge, units: Units, encoder: Encoder, plain: VectorSearch, folder: Path
) -> Trainee:
    if settings.frozen:
        return Frozen(bridge, units, encoder, plain, settings)
    return Both(bridge, units, folder, settings)


def _identity(
    settings: LexSemBridgeSettings, encoder: Encoder, learnt: Examples, dev: Examples, test: Examples | None
) -> dict[str, str]:
    return {
        "what": "lexsembridge",
        "base": encoder.fingerprint,
        "examples": learnt.fingerprint,
        "dev": dev.fingerprint,
        "test": test.fingerprint if test else "none",
        "bridge": without_loop(settings),
    }
