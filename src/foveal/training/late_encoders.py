"""Trains a model of token vectors for late interaction: an encoder with a linear head, by MaxSim.

    folder, report = train_late_encoder(examples, "minilm", LateEncoderSettings(), run=RunSettings(home=home))
    load_token_model(str(folder))                     # from then on a model of token vectors like any other

Model      E(text) W, rows of unit length; documents without punctuation; queries padded by [MASK] where asked (A2;
           ColBERT: Khattab and Zaharia, SIGIR 2020). sentence-transformers' MultiVectorEncoder, its loss and trainer
Negatives  what words find, one a row, and the other rows' documents
Guard      as for one-vector encoders (encoders.py): the model that the run began with, its head drawn at random, and
           the new one search the whole corpus for the dev queries; it is kept only if it finds more
"""

from __future__ import annotations

import string
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from foveal.errors import InputError
from foveal.evaluation.metrics import Run, evaluate
from foveal.models.folders import fingerprint
from foveal.models.hub import folder_of
from foveal.ranges import COUNT, INSIDE, NOT_NEGATIVE, POSITIVE, Range, require_settings
from foveal.registry import require
from foveal.training import model_folders
from foveal.training.examples import ApartBatches, Examples, Rows, check_corpus
from foveal.training.first_stage import dev_part, kept_negatives
from foveal.training.loop import Job, LoopSettings, identity, train
from foveal.training.loop_settings import without_loop
from foveal.training.report import Report, beside, not_kept, plain_settings, told_cut
from foveal.training.runs import RunSettings, TrainingRun
from foveal.training.searches import Search, WordSearch, run_of
from foveal.training.watch import Progress

METRICS = ("ndcg@10", "recall@100")


@dataclass(frozen=True, kw_only=True)
class LateEncoderSettings:
    """How a model of token vectors is trained."""

    dimension: int = 128  # of a token's vector
    query_tokens: int = 0  # a query is padded by [MASK] to so many tokens; ColBERT has 32
    negatives: int = 1  # of a row, drawn anew each epoch from those that words find, down to `depth`; 0: none
    depth: int = 30
    temperature: float = 1.0  # MaxSim, a sum over the query's tokens, is divided by it
    window: int | None = None  # tokens of a text that are read while training; None: as many as the base reads
    dev_share: float = 0.1
    dev_documents: int = 1000  # that stand for the corpus while training
    loop: LoopSettings = field(default_factory=lambda: LoopSettings(learning_rate=3e-5))

    def __post_init__(self) -> None:
        require_settings(
            "Training token vectors", self, dimension=COUNT, query_tokens=NOT_NEGATIVE, negatives=NOT_NEGATIVE,
            depth=COUNT, temperature=POSITIVE, window=Range(3), dev_share=INSIDE, dev_documents=COUNT,
        )  # fmt: skip


def late_model(folder: Path, settings: LateEncoderSettings) -> Any:
    """A MultiVectorEncoder over the encoder in `folder`, its head's rows orthogonal, drawn from the loop's seed."""
    module = require("sentence_transformers", extra="train")
    parts = require("sentence_transformers.multi_vector_encoder.modules", extra="train")
    base = model_folders.sentence_transformer(folder)
    transformer = base[0]
    if settings.query_tokens:
        transformer.query_expansion = {"strategy": "fixed", "attend": False, "length": settings.query_tokens}
    width = int(transformer.get_embedding_dimension())
    if settings.dimension > width:
        raise InputError(
            f"Token vectors of {settings.dimension} numbers were asked for; {folder} has {width} to give. Ask for at "
            f"most {width} (--dimension), or take a wider encoder."
        )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.loop.seed)
        weights = nn.init.orthogonal_(torch.empty(settings.dimension, width))
    of_tokens = {"module_input_name": "token_embeddings"}
    dense = require("sentence_transformers.base.modules.dense", extra="train").Dense(
        width, settings.dimension, bias=False, activation_function=nn.Identity(), init_weight=weights, **of_tokens
    )
    unit = require("sentence_transformers.base.modules", extra="train").Normalize(**of_tokens)
    known = transformer.tokenizer.get_vocab()
    mask = parts.MultiVectorMask(skiplist_words=[one for one in string.punctuation if one in known])
    return module.MultiVectorEncoder(modules=[transformer, dense, mask, unit])


def train_late_encoder(
    examples: Examples,
    base: str = "minilm",
    settings: LateEncoderSettings | None = None,
    *,
    run: RunSettings[Examples],
) -> tuple[Path | None, Report]:
    """The folder of the model (HOME/models/<name>; None if it finds no more than untrained) and the report.

    Else as `encoders.train_encoder`.
    """
    settings = settings or LateEncoderSettings()
    dev, test = run.dev, run.test
    check_corpus(examples, dev, test)
    folder = folder_of(base, run.cache_at, kind="encoder")
    model_folders.require_window(folder, settings.window)
    learnt, dev = examples.beside(dev, settings.dev_share)
    depends_on = {
        "what": "late encoder",
        "base": fingerprint(folder),
        "examples": learnt.fingerprint,
        "dev": dev.fingerprint,
        "test": test.fingerprint if test else "none",
        "model": without_loop(settings),
    }
    here = TrainingRun.opened(run, identity(depends_on, settings.loop), kind=f"{Path(base).name}-late")
    if (done := here.done()) is not None:
        return done
    model = late_model(folder, settings)
    judged = {"dev": dev} | ({"test": test} if test else {})
    run.on_progress(Progress(0, 0, note=f"Encoding {len(examples.corpus):,} documents"))
    before = _found(model, judged)
    words, count, seed = WordSearch(examples.corpus), settings.negatives, settings.loop.seed
    negatives = kept_negatives(here.folder, words, learnt, depth=settings.depth, spare=50, count=count, seed=seed)
    rows = Rows(learnt, negatives, count, seed=seed)
    part = dev_part(dev, words, settings.dev_documents)
    job = Job(
        model=model,
        rows=rows,
        loss=_loss(model, settings),
        identity=depends_on,
        evaluate=lambda now: late_metrics(dev, late_search(now, part)),
        plan=ApartBatches(rows, settings.loop.batch, settings.loop.seed),
    )
    with model_folders.window(model, settings.window):
        curves = train(job, settings.loop, here.folder, on_progress=run.on_progress)
    measured, told = beside(judged, before, _found(model, judged), METRICS)
    old, new = (values[METRICS[0]] for values in measured["dev"])
    kept = new > old
    worse = not_kept("new model", METRICS[0], "dev queries", old, new)
    cut = told_cut(examples, _counting(model), int(model.max_seq_length) - 2)
    notes = (*cut, *(() if kept else (worse,)), *told)
    before_it = f"{base}, the head not trained"
    report = Report(here.name, "token vectors", before_it, curves, measured, kept, notes, plain_settings(settings))
    with here.candidate() as made:
        here.settle(model_folders.save_model(model, made), report)
    return here.result(report)


def late_search(model: Any, corpus: Mapping[str, str]) -> Search:
    """A `Search` over these texts by MaxSim, all compared; encoded now, by the model as it is."""
    ids, quiet = list(corpus), {"show_progress_bar": False, "convert_to_numpy": False}
    documents = model.encode_document(list(corpus.values()), **quiet)

    def search(queries: Sequence[str], k: int) -> list[dict[str, float]]:
        scores = model.similarity(model.encode_query(list(queries), **quiet), documents).float()
        best = scores.topk(min(k, len(ids)), dim=1)
        return [
            {ids[row]: float(score) for row, score in zip(rows, values, strict=True)}
            for rows, values in zip(best.indices.tolist(), best.values.tolist(), strict=True)
        ]

    return search


def late_metrics(examples: Examples, search: Search) -> dict[str, float]:
    """nDCG@10 and recall@100 of a search over the queries of `examples`."""
    return evaluate(run_of(search, examples, 100), examples.judged, METRICS)


def _found(model: Any, judged: Mapping[str, Examples]) -> dict[str, Run]:
    """What is found for each set of queries, over the corpus that they share."""
    search = late_search(model, next(iter(judged.values())).corpus)
    return {kind: run_of(search, queries, 100) for kind, queries in judged.items()}


def _counting(model: Any) -> Callable[[str], int]:
    quiet = {"add_special_tokens": False, "verbose": False}
    return lambda text: len(model.tokenizer(text, **quiet)["input_ids"])


def _loss(model: Any, settings: LateEncoderSettings) -> nn.Module:
    losses = require("sentence_transformers.multi_vector_encoder.losses", extra="train")
    made: nn.Module = losses.MultiVectorMultipleNegativesRankingLoss(model, scale=1 / settings.temperature)
    return made
