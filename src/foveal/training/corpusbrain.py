"""Teaches a model to write the title of the document that answers a query, from the documents alone (CorpusBrain).

    lessons = Lessons.of_corpus(TitledCorpus.of(texts), PairSettings())             # or of_pairs: judged queries
    folder, report = train_corpusbrain(lessons, judge=title_metrics, run=RunSettings(home=home, dev=dev))
    load_title_model(folder)                          # of models/title_models.py; retrieval/generative.py searches

Loss      label-smoothed cross entropy of the title's tokens given the source, teacher forcing; all tasks mixed
Model     any encoder-decoder or causal model of transformers by name; a sentence encoder ("minilm"), over which a small
          decoder is set; None: a small encoder-decoder from random weights (training/small_seq2seq.py has both)
Judge     (model, titles, pairs) -> metrics, "r-precision" among them. Searching for titles lies above training, so it
          is given: `retrieval.title_measures.title_metrics`
Source    Chen et al., CIKM 2022: BART-large, Adam, 3e-5, 240,000 steps, batches by tokens; here batches by rows, 1e-3
          for random weights, and the dev pairs choose the step. Fine-tuning has the same loss
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import astuple, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from foveal.errors import InputError
from foveal.models.bert import supports
from foveal.models.folders import fingerprint
from foveal.models.hub import folder_of
from foveal.models.offline import OFFLINE
from foveal.models.title_models import MOST_TOKENS, Seq2SeqTitles, TitleModel, learned_about, load_title_model
from foveal.ranges import BELOW_ONE, COUNT, Range, require_settings
from foveal.training.corpusbrain_pairs import PairSettings, TitledCorpus, TitlePair
from foveal.training.examples import in_parts, shuffled
from foveal.training.loop import Job, LoopSettings, identity, train
from foveal.training.loop_settings import without_loop
from foveal.training.report import Report, not_kept, plain_settings
from foveal.training.runs import RunSettings, TrainingRun
from foveal.training.small_seq2seq import SmallSettings, over_encoder, small_seq2seq

METRIC = "r-precision"
Judge = Callable[[TitleModel, Sequence[str], Sequence[TitlePair]], Mapping[str, float]]

ALIKE, ALIKE_SOURCES = 16, 4
"""Batches whose rows are put in order of their sources' lengths together, and, of these, batches in order of their
targets' lengths: a batch has little padding on either side."""


@dataclass(frozen=True, kw_only=True)
class CorpusBrainSettings:
    """How a model of titles is trained."""

    smoothing: float = 0.1  # of the labels
    max_query: int = 384  # tokens of a query that are read, in training and search
    dev_pairs: int = 300  # that are looked at while training
    frozen_encoder: bool = False  # what reads stays as it is, and what writes learns
    small: SmallSettings = field(default_factory=SmallSettings)  # where there is no base
    loop: LoopSettings = field(
        default_factory=lambda: LoopSettings(epochs=30, batch=64, learning_rate=1e-3, warm_up=0.05, weight_decay=0.01)
    )

    def __post_init__(self) -> None:
        require_settings("CorpusBrain", self, smoothing=BELOW_ONE, max_query=Range(8), dev_pairs=COUNT)


@dataclass(frozen=True)
class Lessons:
    """What is learned: the titles, and for each pass its pairs."""

    titles: Sequence[str]
    draw: Callable[[int], list[TitlePair]]  # pass, from 0 -> pairs
    fingerprint: str
    texts: Sequence[str] = ()  # from which a vocabulary may be learned
    documents: Mapping[str, str] = field(default_factory=dict)  # id -> title, where it is known which each is of

    @classmethod
    def of_corpus(cls, corpus: TitledCorpus, settings: PairSettings | None = None) -> Lessons:
        """The tasks of `settings` over a corpus, drawn anew in each pass."""
        settings = settings or PairSettings()
        known = f"{corpus.fingerprint} {settings}"
        texts = [part for text in corpus.texts for part in (text.title, *text.paragraphs)]
        titles = corpus.titles
        return cls(list(titles.values()), partial(corpus.pairs, settings), known, texts, titles)

    @classmethod
    def of_pairs(cls, pairs: Sequence[TitlePair], titles: Sequence[str]) -> Lessons:
        """The same pairs in each pass: judged queries. InputError: none, or one names a title that is not there."""
        unknown = {title for pair in pairs for title in pair.titles} - set(titles)
        if not pairs or unknown:
            said = f"title {min(unknown)!r}, which no document has" if unknown else "no pairs"
            raise InputError(f"Training got {said}. Give queries with titles of the collection.")
        sources = [pair.source for pair in pairs]
        return cls(list(titles), lambda _: list(pairs), pairs_digest(pairs, titles), [*titles, *sources])

    @classmethod
    def of_titles(cls, titles: Sequence[str]) -> Lessons:
        """Each title is the source of itself: what a model knows that has read no text."""
        return cls.of_pairs([TitlePair(title, (title,), "title") for title in titles], titles)


class TitleRows:
    """Rows for the loop: (source, tokens of the target). Row i of pass p stands at p * len + i."""

    def __init__(self, lessons: Lessons, model: TitleModel) -> None:
        """Draw the first pass. InputError: it is empty."""
        self.lessons, self.model = lessons, model
        self._drawn: dict[int, list[tuple[str, list[int]]]] = {}
        self._ids = dict(zip(lessons.titles, model.title_ids(lessons.titles), strict=True))
        self._count = len(self.drawn(0))
        if not self._count:
            raise InputError("No pair could be made of this collection. It needs titles and texts, or links for HIP.")

    def drawn(self, number: int) -> list[tuple[str, list[int]]]:
        """The rows of a pass; the last two passes are kept."""
        if number not in self._drawn:
            for old in [one for one in self._drawn if one < number - 1]:
                del self._drawn[old]
            self._drawn[number] = [(pair.source, self._target(pair.titles)) for pair in self.lessons.draw(number)]
        return self._drawn[number]

    def _target(self, titles: Sequence[str]) -> list[int]:
        """As `TitleModel.target`, of titles whose tokens are known; of these as many as twice `MOST_TOKENS` hold."""
        written = self._ids[titles[0]][:-1]
        for title in titles[1:]:
            longer = [*written, *self.model.separator, *self._ids[title][:-1]]
            if len(longer) >= 2 * MOST_TOKENS:
                break
            written = longer
        return [*written, self.model.end]

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, place: int) -> tuple[str, list[int]]:
        number, at = divmod(place, self._count)
        rows = self.drawn(number)
        return rows[at % len(rows)]


@dataclass(frozen=True)
class AlikeBatches:
    """The batches of a pass: rows whose sources and targets are about as long, in an order that the seed gives."""

    rows: TitleRows
    batch: int
    seed: int

    def __call__(self, epoch: int) -> list[list[int]]:
        drawn = self.rows.drawn(epoch)
        sources, targets = ([len(row[side]) for row in drawn] for side in (0, 1))
        batches: list[Sequence[int]] = []
        for group in shuffled(len(self.rows), self.batch * ALIKE, self.seed, epoch=epoch):
            ordered = sorted(group, key=lambda place: sources[place % len(drawn)])
            for alike in in_parts(ordered, self.batch * ALIKE_SOURCES):
                batches += in_parts(sorted(alike, key=lambda place: targets[place % len(drawn)]), self.batch)
        order, base = np.random.default_rng((self.seed, epoch)).permutation(len(batches)), epoch * len(self.rows)
        return [[base + place for place in batches[number]] for number in order]


def train_corpusbrain(
    lessons: Lessons,
    base: str | None = None,
    settings: CorpusBrainSettings | None = None,
    *,
    run: RunSettings[Sequence[TitlePair]],
    judge: Judge,
) -> tuple[Path | None, Report]:
    """The folder of the model (HOME/models/<name>; None if it finds no more than before) and the report.

    `run.dev` must be given. Where `base` was trained here, its titles count as learned, too. A run that was stopped
    goes on when the same is asked for. InputError: no pairs; as in `loop.train`.
    """
    settings = settings or CorpusBrainSettings()
    dev, test = run.dev, run.test
    if not dev:
        raise InputError("Training got no dev pairs; it needs some to choose the best weights (`hold_out` makes some).")
    folder = None if base is None else base_folder(base, run.cache_at)
    shown = plain_settings(settings)
    depends_on = {
        "what": "corpusbrain",
        "base": fingerprint(folder) if folder else f"small {pairs_digest([], lessons.texts)}",
        "lessons": lessons.fingerprint,
        "titles": pairs_digest([], lessons.titles),
        "dev": pairs_digest(dev),
        "test": pairs_digest(test) if test else "none",
        "model": without_loop(settings),
    }
    known_by = identity(depends_on, settings.loop)
    here = TrainingRun.opened(run, known_by, kind=f"{Path(base or 'small').name}-corpusbrain")
    if (done := here.done()) is not None:
        return done
    model = begun(lessons, folder, settings, run.cache)
    require_told_apart(model, lessons.titles)
    judged = {"dev": dev} | ({"test": test} if test else {})
    before = {kind: dict(judge(model, lessons.titles, pairs)) for kind, pairs in judged.items()}
    rows = TitleRows(lessons, model)
    part = _part(dev, settings)
    job = Job(
        model=model.model,
        rows=rows,
        loss=lambda _, batch: model.loss(batch, smoothing=settings.smoothing),
        identity=depends_on,
        evaluate=lambda _: judge(model, lessons.titles, part),
        metric=METRIC,
        plan=AlikeBatches(rows, settings.loop.batch, settings.loop.seed),
        collate=lambda batch: model.collate(*zip(*batch, strict=True)),
    )
    curves = train(job, settings.loop, here.folder, on_progress=run.on_progress)
    table = {kind: (before[kind], dict(judge(model, lessons.titles, pairs))) for kind, pairs in judged.items()}
    was, now = (values[METRIC] for values in table["dev"])
    note = () if now > was else (not_kept("model", METRIC, "dev pairs", was, now),)
    report = Report(here.name, "titles", base or "random weights", curves, table, now > was, note, shown)
    known = learned_about(folder) if folder else {}
    learned = list(dict.fromkeys([*known.get("titles", []), *lessons.titles]))
    documents = {**known.get("documents", {}), **lessons.documents}
    with here.candidate() as made:
        here.settle(model.save(made, learned=learned, documents=documents), report)
    return here.result(report)


def begun(
    lessons: Lessons, folder: Path | None, settings: CorpusBrainSettings, cache: Path | None = None
) -> TitleModel:
    """The model that a run begins with: that of a folder, one over an encoder, or a small one from random weights."""
    drawn = {"max_query": settings.max_query, "seed": settings.loop.seed}
    if folder is None:
        model: TitleModel = small_seq2seq(lessons.texts, settings.small, **drawn)
    elif supports(folder):
        model = over_encoder(folder, settings.small, **drawn)
    else:
        model = load_title_model(folder, cache=cache, max_query=settings.max_query)
    if settings.frozen_encoder:
        if model.kind != Seq2SeqTitles.kind:
            raise InputError("frozen_encoder was asked for, and a causal model has no encoder. Leave it out.")
        model.model.get_encoder().requires_grad_(False)
    return model


def naming_model(base: str | None, cache: Path) -> TitleModel | None:
    """The model by whose tokens titles must differ before `base` learns them (`retrieval.corpusbrain.told_apart`).

    None without a base: the vocabulary of a small model is of bytes, and tells all titles apart.
    """
    if base is None:
        return None
    return begun(Lessons([], lambda _: [], ""), base_folder(base, cache), CorpusBrainSettings(), cache)


def taught(base: str | None, cache: Path) -> dict[str, str]:
    """The documents, by id, that a base was taught here, and the names that it knows them by; none without a base."""
    found: dict[str, str] = {} if base is None else learned_about(base_folder(base, cache)).get("documents", {})
    return found


def require_told_apart(model: TitleModel, titles: Sequence[str]) -> None:
    """InputError: the model writes two of the titles alike, as an uncased one "Rome" and "ROME"."""
    owners: dict[tuple[int, ...], str] = {}
    for title, ids in zip(titles, map(tuple, model.title_ids(titles)), strict=True):
        if ids in owners:
            raise InputError(
                f"The titles {owners[ids]!r} and {title!r} have the same tokens, so this model cannot tell them apart. "
                "Make them differ: retrieval.corpusbrain's told_apart sets numbers behind them."
            )
        owners[ids] = title


def base_folder(base: str, cache: Path) -> Path:
    """The folder of a base: by folder or hub id, or a name of `foveal models`."""
    kind = OFFLINE[base].kind if base in OFFLINE else "language model"
    return folder_of(base, cache, kind=kind)


def pairs_digest(pairs: Sequence[TitlePair], titles: Sequence[str] = ()) -> str:
    """SHA-256 over pairs and titles."""
    told: list[Any] = [[astuple(pair) for pair in pairs], list(titles)]
    return hashlib.sha256(json.dumps(told).encode()).hexdigest()


def _part(dev: Sequence[TitlePair], settings: CorpusBrainSettings) -> list[TitlePair]:
    """The dev pairs that are looked at while training."""
    order = np.random.default_rng(settings.loop.seed).permutation(len(dev))[: settings.dev_pairs]
    return [dev[place] for place in sorted(order.tolist())]
