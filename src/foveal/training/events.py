"""Trains event attention with its encoder: many tasks, two stages, hard negatives, events that are sometimes left out.

    folder, report = train_events(fine, "minilm", EventTrainingSettings(), coarse=coarse, run=RunSettings(home=home))
    EventEncoder.load(folder)                         # of retrieval/event_encoder.py, which searches with it

Stage 1    coarse data (titles and texts of the stream itself; else the fine queries), negatives of the batch
Stage 2    fine data, negatives of four kinds that the model of stage 1 finds (`event_negatives.py`)
Both       the losses of `event_losses.py`; in 30 % of the rows events are left out, so that a query without any is
           learnt, too; documents of the answer's own event are no negatives
Time       a query sees documents up to its moment only, in mining (but for the kind "later") and in measuring
Guard      kept only if it finds more for dev queries than the base encoder without events
Source     Yang et al., 2023, arXiv 2312.00372 (two stages, several tasks, hard negatives: its abstract)
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from foveal.errors import InputError
from foveal.evaluation.metrics import evaluate
from foveal.models import load_encoder
from foveal.models.event_attention import EventAttentionSettings
from foveal.models.event_reading import ENCODER, write_event_model
from foveal.models.hub import folder_of
from foveal.ranges import COUNT, INSIDE, NOT_NEGATIVE, SHARE, Range, require_one_of, require_settings
from foveal.training import checkpoints, model_folders
from foveal.training.event_losses import margin_loss, own_negatives, scaled_info_nce
from foveal.training.event_model import EventModel, gathered
from foveal.training.event_negatives import KINDS, event_negatives, mixed
from foveal.training.event_rows import EventExamples, EventRows, PastSearch, collated
from foveal.training.examples import ApartBatches, Negatives, Rows
from foveal.training.loop import Curves, Job, LoopSettings, identity, train
from foveal.training.negatives import Teacher, filled, topics
from foveal.training.report import Metrics, Report, not_kept, plain_settings
from foveal.training.runs import RunSettings, TrainingRun
from foveal.training.searches import Floats
from foveal.training.watch import Progress
from foveal.types import Encoder

METRICS = ("mrr@10", "recall@10")
NEW_LAYERS = 15.0
"""Times the learning rate that the layers get which begin from nothing: 3e-4 beside 2e-5."""

Batch = Mapping[str, Tensor]
Encoded = Callable[[Encoder, Sequence[str]], Floats]
"""The vectors of texts by an encoder."""


@dataclass(frozen=True, kw_only=True)
class EventTrainingSettings:
    """How event attention is trained."""

    attention: EventAttentionSettings = field(default_factory=EventAttentionSettings)
    stages: int = 2  # 1: without the fine data's hard negatives
    margin: float = 1.0  # weights of the losses beside L_qd; 0: without
    query_event: float = 0.5
    event_document: float = 0.5
    writing: float = 0.2
    dropout: float = 0.3  # share of rows without events
    negatives: str = "hard"  # of stage 2; "random": the control
    per_row: int = 1
    depth: int = 10  # of each kind
    kinds: tuple[str, ...] = KINDS
    topics: int = 40  # into which documents are parted, for the kinds "type" and "off-topic"
    document_tokens: int = 64
    dev_share: float = 0.15  # the last queries by time, where no dev queries are given
    dev_documents: int = 1000  # that stand for all while training
    frozen_layers: int = 0  # lowest layers of the encoder that stay as they are, its embeddings included
    first: LoopSettings = field(default_factory=lambda: LoopSettings(epochs=1))
    second: LoopSettings = field(default_factory=lambda: LoopSettings(epochs=3))

    def __post_init__(self) -> None:
        require_settings(
            "Training on events", self, stages=Range(1, 2), margin=NOT_NEGATIVE, query_event=NOT_NEGATIVE,
            event_document=NOT_NEGATIVE, writing=NOT_NEGATIVE, dropout=SHARE, per_row=COUNT, depth=COUNT,
            topics=COUNT, document_tokens=Range(3), dev_share=INSIDE, dev_documents=COUNT, frozen_layers=NOT_NEGATIVE,
        )  # fmt: skip
        require_one_of("Training on events", self, "negatives", ("hard", "random"))


def train_events(
    fine: EventExamples,
    base: str = "minilm",
    settings: EventTrainingSettings | None = None,
    *,
    run: RunSettings[EventExamples],
    coarse: EventExamples | None = None,
    teacher: Teacher | None = None,
    teacher_name: str = "a teacher",
    encoded: Encoded | None = None,
    fit: Callable[[Path, EventExamples], None] | None = None,
) -> tuple[Path | None, Report]:
    """The folder of the model (HOME/models/<name>; None if it finds no more than its base) and the report.

    Without `run.dev` the last queries by time are held out. `teacher`, a cross-encoder say, guards against negatives
    that answer; a run is known by its name. `encoded` gives the documents' vectors (N, d) for measuring, from a cache,
    say; None: made here. `fit`, given the model's folder and the dev queries, adds what a search is fused by (searching
    lies above training: `retrieval.fresh_fitting.write_fitted`). A run that was stopped goes on. InputError: dev or
    test has other documents. UnknownName, ModelUnavailable: the base, or it is not of the BERT family.
    """
    settings = settings or EventTrainingSettings()
    dev, test = run.dev, run.test
    cache = run.cache_at
    learnt = fine
    if dev is None:
        learnt, dev = fine.split(late_moment(fine, settings.dev_share))
    for other in (dev, test):
        if other is not None and other.examples.corpus.keys() != fine.examples.corpus.keys():
            raise InputError("Dev and test queries must have the documents of the examples. Use EventExamples.only.")
    folder = folder_of(base, cache, kind="encoder")
    depends_on = _identity(settings, load_encoder(base, cache=cache).fingerprint, learnt, coarse, dev, test)
    depends_on |= {"teacher": teacher_name} if teacher else {}
    here = TrainingRun.opened(run, identity(depends_on, settings.second), kind=f"{Path(base).name}-events")
    if (done := here.done()) is not None:
        return done
    model = EventModel.of(folder, settings.attention, writer=settings.writing > 0, seed=settings.second.seed)
    _freeze(model, settings.frozen_layers)
    curves = _stage(1, model, coarse or learnt, {}, dev, settings, here, depends_on, run.on_progress)
    if settings.stages == 2:
        negatives = _negatives(here, model, learnt, settings, teacher, cache)
        curves = _stage(2, model, learnt, negatives, dev, settings, here, depends_on, run.on_progress)
    with here.candidate() as made:
        made.mkdir(parents=True)
        model_folders.save_model(model.encoder, made / ENCODER)
        encoder = load_encoder(str(made / ENCODER), cache=cache)
        write_event_model(made, model.attention, encoder, copy_encoder=False)
        sides = {"dev": dev} | ({"test": test} if test else {})
        measured = _measured(sides, base, model, made / ENCODER, cache, encoded)
        before, after = (values[METRICS[0]] for values in measured["dev"])
        kept = after > before
        what = f"event attention, {settings.stages} stages, {settings.negatives} negatives"
        notes = () if kept else (not_kept("model", METRICS[0], "dev queries", before, after),)
        report = Report(here.name, what, base, curves, measured, kept, notes, plain_settings(settings))
        if kept and fit is not None:
            fit(made, dev)
        here.settle(made, report)
    for stage in (1, 2):
        checkpoints.keep_best(here.folder / f"stage-{stage}", None)
    return here.result(report)


def event_loss(model: EventModel, batch: Batch, settings: EventTrainingSettings) -> Tensor:
    """L_qd + w1 L_margin + w2 L_qe + w3 L_ed + w4 L_gen of a batch (see `event_rows.collated`)."""
    states = {side: model(batch[f"{side}_ids"], batch[f"{side}_mask"]) for side in ("query", "event", "document")}
    masks = {side: batch[f"{side}_mask"] for side in states}
    documents, events = (model.plain(states[side], masks[side]) for side in ("document", "event"))
    seen = gathered(states["event"], masks["event"], batch["looks"], batch["facts"])
    queries = model.looked(states["query"], masks["query"], seen)
    group = len(documents) // len(queries)
    targets = torch.arange(len(queries), device=queries.device) * group
    allowed, right = batch["allowed"], batch["right"]
    loss = scaled_info_nce(queries, documents, targets, allowed)
    if settings.margin:
        loss = loss + settings.margin * margin_loss(queries, documents, targets, own_negatives(allowed, group))
    if settings.query_event:
        alone = model.plain(states["query"], masks["query"])
        loss = loss + settings.query_event * scaled_info_nce(alone, events, right)
    if settings.event_document:
        own = torch.where(right >= 0, targets, right)
        found = scaled_info_nce(events[right.clamp(min=0)], documents, own, allowed)
        loss = loss + settings.event_document * found
    if settings.writing and model.writer is not None:
        answers = states["document"][targets], masks["document"][targets]
        wrote, views = model.writer(*answers, batch["triple_ids"], batch["triple_mask"])
        if model.attention.project is not None:
            views = model.attention.documents(views)
        own_columns = allowed[:, targets]
        told = scaled_info_nce(queries, views, torch.arange(len(queries), device=queries.device), own_columns)
        loss = loss + settings.writing * (wrote + told)
    return loss


def measure(data: EventExamples, documents: PastSearch, queries: Floats) -> dict[str, float]:
    """MRR@10 and recall@10 of query vectors over documents, of which each query sees those up to its moment."""
    asked = {query: data.asked[query] for query in data.examples.queries}
    return evaluate(documents.run(asked, queries, 100), data.examples.judged, METRICS)


# -- parts ------------------------------------------------------------------------------------------------------------


def _stage(
    number: int,
    model: EventModel,
    data: EventExamples,
    negatives: Negatives,
    dev: EventExamples,
    settings: EventTrainingSettings,
    run: TrainingRun,
    depends_on: Mapping[str, str],
    on_progress: Callable[[Progress], None],
) -> Curves:
    loop = settings.first if number == 1 else settings.second
    on_progress(Progress(0, 0, note=f"Stage {number}: {len(data.examples.queries):,} queries"))
    rows = Rows(data.examples, negatives, settings.per_row if negatives else 0, seed=loop.seed)
    own = EventRows(data, rows, settings.dropout, settings.attention.events, loop.seed)
    tokens = (settings.attention.query_tokens, settings.attention.event_tokens, settings.document_tokens)

    def collate(chosen: list[Any]) -> dict[str, Tensor]:
        return collated(chosen, data, model.tokenise, tokens, written=model.writer is not None)

    job = Job(
        model=model,
        rows=own,
        loss=lambda trained, batch: event_loss(trained, batch, settings),
        identity={**depends_on, "stage": str(number)},
        evaluate=_part_of_corpus(dev, settings),
        metric=METRICS[0],
        plan=ApartBatches(rows, loop.batch, loop.seed),
        collate=collate,
        rates={"attention.": NEW_LAYERS, "writer.": NEW_LAYERS / 3},
    )
    return train(job, loop, run.folder / f"stage-{number}", on_progress=on_progress)


def _part_of_corpus(dev: EventExamples, settings: EventTrainingSettings) -> Callable[[Any], Mapping[str, float]]:
    """Evaluation while training: the answers, and of the other documents those dated nearest to the dev queries."""
    answers = dict.fromkeys(name for found in dev.examples.positives.values() for name in found)
    middle = float(np.median([dev.asked[query] for query in dev.examples.queries]))
    near = sorted(dev.examples.corpus, key=lambda name: (abs(dev.facts[name].moment - middle), name))
    part = list(dict.fromkeys([*answers, *near]))[: max(len(answers), settings.dev_documents)]
    events = [dev.events.get(query, ()) for query in dev.examples.queries]

    def measured(model: Any) -> Mapping[str, float]:
        vectors = model.encoded([dev.examples.corpus[name] for name in part], settings.document_tokens)
        asked = model.queries(list(dev.examples.queries.values()), events)
        return measure(dev, PastSearch.of(dev, vectors, part), asked)

    return measured


def _negatives(
    run: TrainingRun,
    model: EventModel,
    data: EventExamples,
    settings: EventTrainingSettings,
    teacher: Teacher | None,
    cache: Path,
) -> Negatives:
    """What the model of stage 1 finds wrong, kept in the run's folder: a second start finds the same."""
    path = run.folder / "negatives.json"
    kept = checkpoints.read(path)
    if kept is None:
        found: Negatives = {}
        if settings.negatives == "hard":
            documents = _documents(run, model, list(data.examples.corpus.values()), cache)
            events = [data.events.get(query, ()) for query in data.examples.queries]
            queries = model.queries(list(data.examples.queries.values()), events)
            about = topics(documents, min(settings.topics, len(documents)), seed=settings.second.seed)
            by_kind = event_negatives(
                data, queries, documents, about.tolist(), depth=settings.depth, kinds=settings.kinds, teacher=teacher
            )
            found = mixed(by_kind, settings.second.seed, settings.depth * len(settings.kinds))
        kept = filled(found, data.examples, max(settings.per_row, settings.depth), seed=settings.second.seed)
        checkpoints.write(path, kept)
    return kept


def _documents(run: TrainingRun, model: EventModel, texts: Sequence[str], cache: Path) -> Floats:
    """Vectors of all documents as the model is now, by the encoder as a search loads it: several times as fast."""
    place = run.folder / "mining-encoder"
    model_folders.save_model(model.encoder, place, replace=True)
    try:
        return _projected(model, load_encoder(str(place), cache=cache).encode(texts))
    finally:
        shutil.rmtree(place, ignore_errors=True)


def _measured(
    sides: Mapping[str, EventExamples], base: str, model: EventModel, made: Path, cache: Path, encoded: Encoded | None
) -> dict[str, tuple[Metrics, Metrics]]:
    """Of each side the base's metrics without events, and those of the model as it was saved."""
    corpus = next(iter(sides.values())).examples.corpus
    plain, new = load_encoder(base, cache=cache), load_encoder(str(made), cache=cache)
    texts = list(corpus.values())
    vectors: Encoded = encoded or (lambda encoder, given: encoder.encode(given))
    before, after = vectors(plain, texts), _projected(model, vectors(new, texts))
    found: dict[str, tuple[Metrics, Metrics]] = {}
    for name, data in sides.items():
        asked = list(data.examples.queries.values())
        events = [data.events.get(query, ()) for query in data.examples.queries]
        found[name] = (
            measure(data, PastSearch.of(data, before), plain.encode(asked)),
            measure(data, PastSearch.of(data, after), model.queries(asked, events)),
        )
    return found


def _projected(model: EventModel, vectors: Floats) -> Floats:
    with torch.no_grad():
        given = torch.from_numpy(vectors).to(model.attention.age.device)
        made: Floats = model.attention.documents(given).cpu().numpy()
    return made


def _freeze(model: EventModel, layers: int) -> None:
    if not layers:
        return
    bert = model.encoder[0].auto_model
    for part in (bert.embeddings, *list(bert.encoder.layer)[:layers]):
        part.requires_grad_(False)


def late_moment(data: EventExamples, share: float) -> float:
    """The moment (seconds) from which on the last `share` of the queries lie."""
    moments = sorted(data.asked[query] for query in data.examples.queries)
    return moments[min(len(moments) - 1, max(1, round((1 - share) * len(moments))))]


def _identity(
    settings: EventTrainingSettings,
    base: str,
    learnt: EventExamples,
    coarse: EventExamples | None,
    dev: EventExamples,
    test: EventExamples | None,
) -> dict[str, str]:
    first = replace(settings.first, bfloat16=True)  # whatever it is: a run may go on where that is not as fast
    chosen = asdict(replace(settings, first=first, second=LoopSettings()))
    sides: Sequence[tuple[str, EventExamples | None]] = (
        ("fine", learnt),
        ("coarse", coarse),
        ("dev", dev),
        ("test", test),
    )
    return {
        "what": "events",
        "base": base,
        "settings of events": json.dumps(chosen, sort_keys=True),
        **{name: data.fingerprint if data else "none" for name, data in sides},
    }
