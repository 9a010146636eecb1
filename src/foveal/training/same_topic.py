"""Trains a same-topic model on documents with headings: it then finds sections where there are none.

    folder, report = train_same_topic(documents, "minilm", SameTopicSettings(), run=RunSettings(home=home))
    SameTopicModel.load(folder, encoder)      # of same_topic_model.py; text/same_topic.py cuts documents with it

Heads     vectors, topics, layout: fitted in seconds on vectors that are made once; bi, cross: fine-tuned, minutes
Pairs     all true gaps, and those of a strategy (`same_topic_pairs`); topics are learnt from paragraphs one by one
Dev       groups that nothing is learnt from choose ridge, reach, calibration and thresholds
Guard     kept only if it orders the gaps of the dev documents better (AUC) than the cosine of neighbours does
Source    Aumiller et al., ICAIL 2021; what is ours stands at each part
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np

from foveal.errors import InputError, UnknownName
from foveal.evaluation.segmentation import boundary_f1, same_auc
from foveal.models import load_encoder
from foveal.models.hub import folder_of
from foveal.ranges import COUNT, INSIDE, POSITIVE, Range, require_settings
from foveal.training.loop import Curves, LoopSettings, identity
from foveal.training.loop_settings import without_loop
from foveal.training.precision import mixed_precision
from foveal.training.report import Metrics, Report, not_kept, plain_settings
from foveal.training.runs import RunSettings, TrainingRun
from foveal.training.same_topic_fitting import Gaps, Platt, best_threshold, fit_linear, mean_pk
from foveal.training.same_topic_heads import (
    Floats,
    Head,
    LayoutHead,
    Paragraphs,
    TopicHead,
    VectorHead,
    gap_scores,
    layout_features,
    pair_features,
)
from foveal.training.same_topic_model import SameTopicModel
from foveal.training.same_topic_pairs import (
    STRATEGIES,
    Corpus,
    Pairs,
    Sectioned,
    adjacent,
    balanced,
    deduplicated,
    fingerprint,
    pairs_of,
    split_by_group,
)
from foveal.training.same_topic_tuned import KINDS as TUNED
from foveal.training.same_topic_tuned import tuned
from foveal.training.watch import Progress
from foveal.types import Encoder

HEADS = ("vectors", "topics", "layout", *TUNED)
METRIC = "auc"


@dataclass(frozen=True, kw_only=True)
class SameTopicSettings:
    """How a same-topic model is trained; checked when made."""

    heads: tuple[str, ...] = ("vectors", "topics", "layout")
    strategy: str = "consecutive"  # of the pairs besides the true gaps
    gaps: bool = True  # learn from the true gaps, too
    each: int = 3  # pairs of either answer of a paragraph
    most_pairs: int = 20_000  # besides the true gaps, drawn from the seed
    tuned_pairs: int = 8000  # of all pairs, half of them true gaps, for heads that are fine-tuned: their price
    ridges: tuple[float, ...] = (1e-3, 1e-2, 1e-1, 1.0)  # tried on the dev documents
    reaches: tuple[int, ...] = (1, 2, 3)  # tried on the dev documents
    topic_documents: int = 3  # in which a topic stands at least
    dev_share: float = 0.2  # of the paragraphs
    window: int = 256  # tokens of a pair, for a cross-encoder; of a paragraph, for a bi-encoder
    loop: LoopSettings = field(
        default_factory=lambda: LoopSettings(
            epochs=2, batch=32, learning_rate=5e-5, weight_decay=0.01, bfloat16=mixed_precision()
        )
    )

    def __post_init__(self) -> None:
        unknown = [name for name in self.heads if name not in HEADS]
        if unknown or not self.heads:
            raise UnknownName(f"No head is called {', '.join(unknown) or 'nothing'}. There are: {', '.join(HEADS)}.")
        if self.strategy not in STRATEGIES:
            raise UnknownName(f"No way to draw pairs is called {self.strategy!r}. There are: {', '.join(STRATEGIES)}.")
        require_settings(
            "Training a segmenter", self, each=COUNT, most_pairs=COUNT, tuned_pairs=COUNT, ridges=POSITIVE,
            reaches=COUNT, topic_documents=COUNT, dev_share=INSIDE, window=Range(8),
        )  # fmt: skip
        if not self.ridges or not self.reaches:
            raise InputError("Training a segmenter got no ridges or no reaches; it needs one of each to try.")


def train_same_topic(
    documents: Sequence[Sectioned],
    base: str = "minilm",
    settings: SameTopicSettings | None = None,
    *,
    run: RunSettings[Sequence[Sectioned]],
    credit: str = "",
) -> tuple[Path | None, Report]:
    """The folder of the model (HOME/models/<name>; None if it orders gaps no better than cosines do) and the report.

    Groups of documents are held out whole. `credit`: whose texts these are, and under which licence; it is kept with
    the model. A run that was stopped goes on.
    InputError: fewer than two groups, or no gap of one of the two kinds.
    """
    settings = settings or SameTopicSettings()
    dev, test = run.dev, run.test or ()
    cache = run.cache_at
    encoder = load_encoder(base, cache=cache)
    documents = deduplicated(documents)
    learnt = list(documents)
    if dev is None:
        learnt, dev = split_by_group(documents, settings.dev_share, seed=settings.loop.seed)
    depends_on = {
        "what": "same-topic",
        "base": encoder.fingerprint,
        "documents": fingerprint(learnt),
        "dev": fingerprint(dev),
        "test": fingerprint(test) if test else "none",
        "model": without_loop(settings),
    }
    here = TrainingRun.opened(run, identity(depends_on, settings.loop), kind="segmenter")
    if (done := here.done()) is not None:
        return done
    started = time.perf_counter()
    run.on_progress(Progress(0, 0, note=f"Encoding {sum(len(one.paragraphs) for one in (*learnt, *dev)):,} paragraphs"))
    parts = Parts.read(learnt, [*dev, *test], encoder)
    held, tested = parts.held[: len(dev)], parts.held[len(dev) :]
    heads, curves = fitted_heads(
        parts, held, settings, base=folder_of(base, cache, kind="encoder"), folder=here.folder, identity=depends_on,
        on_progress=run.on_progress,
    )  # fmt: skip
    card = {"encoder": encoder.name, "fingerprint": encoder.fingerprint, "documents": len(learnt), "credit": credit}
    model = calibrated(heads, held, reaches=settings.reaches, card=card)
    plain = calibrated({"cosine": cosine_head(encoder)}, held, reaches=(1,), card={})
    measured = {kind: (measure(plain, of), measure(model, of)) for kind, of in (("dev", held), ("test", tested)) if of}
    model = replace(model, card={**card, "measured": {kind: dict(after) for kind, (_, after) in measured.items()}})
    curves = replace(curves, seconds=time.perf_counter() - started)
    report = _report(here.name, model, curves, measured, notes=(_told(learnt, held),), base=base, settings=settings)
    with here.candidate() as made:
        model.save(made)
        here.settle(made, report)
    for kind in TUNED:  # what was made there is a part of the model now
        shutil.rmtree(here.folder / kind, ignore_errors=True)
    return here.result(report)


def _report(
    name: str,
    model: SameTopicModel,
    curves: Curves,
    measured: Mapping[str, tuple[Metrics, Metrics]],
    *,
    notes: tuple[str, ...],
    base: str,
    settings: SameTopicSettings,
) -> Report:
    """What is told of a training, and whether its model is kept."""
    before, after = measured["dev"]
    kept = after[METRIC] > before[METRIC]
    notes = (*notes, "Before: the cosine of neighbours. P_k is in percent, and lower is better.")
    if not kept:
        notes = (*notes, not_kept("model", METRIC, "documents held out", before[METRIC], after[METRIC]))
    what = f"same-topic model: {', '.join(model.heads)}"
    return Report(name, what, base, curves, measured, kept, notes, plain_settings(settings))


def _told(learnt: Sequence[Sectioned], held: Sequence[Read]) -> str:
    groups = len({one.group for one in learnt})
    return f"{len(learnt)} documents of {groups} groups; {len(held)} documents of other groups held out."


# -- what is read once ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Read:
    """A document and its paragraphs as they are read."""

    document: Sectioned
    paragraphs: Paragraphs


@dataclass(frozen=True)
class Parts:
    """The corpus that is learnt from with its vectors (n, d), and the documents held out."""

    corpus: Corpus
    vectors: Floats
    held: list[Read]
    encoder: Encoder

    @classmethod
    def read(cls, learnt: Sequence[Sectioned], held: Sequence[Sectioned], encoder: Encoder, least: int = 1) -> Parts:
        """All of them, encoded in one pass; what is held out is in no pair that is learnt from."""
        texts = [text for one in (*learnt, *held) for text in one.paragraphs]
        return cls.known(learnt, held, encoder, encoder.encode(Paragraphs(texts).beginnings), least)

    @classmethod
    def known(
        cls, learnt: Sequence[Sectioned], held: Sequence[Sectioned], encoder: Encoder, vectors: Floats, least: int = 1
    ) -> Parts:
        """As `read`, from the vectors of all paragraphs, in order."""
        edges = np.cumsum([0, *(len(one.paragraphs) for one in (*learnt, *held))])
        own = edges[len(learnt)]
        read = [
            Read(one, Paragraphs(one.paragraphs, {encoder.fingerprint: vectors[start:end]}))
            for one, start, end in zip(held, edges[len(learnt) : -1], edges[len(learnt) + 1 :], strict=True)
        ]
        return cls(Corpus.of(learnt, least=least).without(held), vectors[:own], read, encoder)

    def pairs(self, settings: SameTopicSettings) -> tuple[Corpus, Pairs, Floats]:
        """What is learnt from: the corpus that the pairs number, the pairs, and its vectors."""
        corpus, gaps, drawn = self._parted(settings)
        if corpus is self.corpus:
            return corpus, gaps + drawn, self.vectors
        return corpus, drawn, self.encoder.encode(Paragraphs(corpus.texts).beginnings)

    def few(self, settings: SameTopicSettings, count: int) -> tuple[Corpus, Pairs]:
        """At most `count` of the pairs, what a fine-tuning can afford, and the corpus that they number.

        Half of them are true gaps, where there are as many: a share of all would hold few of what it will be asked.
        """
        corpus, gaps, drawn = self._parted(settings)
        rng = np.random.default_rng(settings.loop.seed)
        own = gaps.drawn(max(count // 2, count - len(drawn)), rng)
        return corpus, balanced(own + drawn.drawn(count - len(own), rng))

    def _parted(self, settings: SameTopicSettings) -> tuple[Corpus, Pairs, Pairs]:
        """The corpus, its true gaps (none where they are not learnt from), and the pairs of the strategy."""
        rng = np.random.default_rng(settings.loop.seed)
        corpus, drawn = pairs_of(settings.strategy, self.corpus, seed=settings.loop.seed, each=settings.each)
        gaps = adjacent(corpus)
        learnt = settings.gaps and corpus is self.corpus
        return corpus, gaps if learnt else gaps.only(np.zeros(0, np.int64)), drawn.drawn(settings.most_pairs, rng)


# -- fitting ----------------------------------------------------------------------------------------------------------


def fitted_heads(
    parts: Parts,
    held: Sequence[Read],
    settings: SameTopicSettings,
    *,
    base: Path,
    folder: Path,
    identity: Mapping[str, str] | None = None,
    on_progress: Callable[[Progress], None] = lambda _: None,
) -> tuple[dict[str, Head], Curves]:
    """The heads that were asked for, by name, and the curves of the last one that has any."""
    corpus, pairs, vectors = parts.pairs(settings)
    if pairs.same.all() or not pairs.same.any():
        raise InputError(
            f"{len(pairs)} pairs were drawn, all of one kind; a head needs paragraphs of one section and of two. Give "
            "more documents, with at least two sections of some paragraphs each."
        )
    heads: dict[str, Head] = {}
    curves = Curves((), (), 0, None, "finished", 0.0)
    for name in settings.heads:
        head: Head | None
        if name == "vectors":
            head = vector_head(parts.encoder, vectors, pairs, held, settings.ridges)
        elif name == "topics":
            head = topic_head(parts, held, settings)
        elif name == "layout":
            head = layout_head(parts.corpus, held, settings.ridges)
        else:
            _, few = parts.few(settings, settings.tuned_pairs)
            dev = [one.document for one in held]
            head, curves = tuned(
                name, base, corpus, few, dev, settings.loop, folder / name, window=settings.window, identity=identity,
                on_progress=on_progress,
            )  # fmt: skip
        if head is not None:
            heads[name] = head
    return heads, curves


def vector_head(
    encoder: Encoder, vectors: Floats, pairs: Pairs, held: Sequence[Read], ridges: Sequence[float]
) -> VectorHead:
    """The head whose ridge orders the gaps held out best."""
    features = pair_features(vectors[pairs.left], vectors[pairs.right])
    made = []
    for ridge in ridges:
        weights, bias = fit_linear(features, pairs.same, ridge=ridge, weight=pairs.weight)
        made.append(VectorHead(encoder, weights, float(bias)))
    return max(made, key=lambda head: gap_auc(head, held))


def topic_head(parts: Parts, held: Sequence[Read], settings: SameTopicSettings) -> TopicHead | None:
    """A classifier of the topics that stand in enough documents; None where fewer than two do."""
    corpus = parts.corpus
    holding = {topic: len(set(corpus.document[corpus.topic == topic].tolist())) for topic in range(len(corpus.topics))}
    common = [topic for topic, count in holding.items() if count >= settings.topic_documents]
    chosen = np.array(
        [at for at in np.flatnonzero(np.isin(corpus.topic, common)).tolist() if at not in corpus.blocked],
        dtype=np.int64,
    )
    if len(common) < 2 or not len(chosen):
        return None
    labels = np.searchsorted(common, corpus.topic[chosen])
    made = []
    for ridge in settings.ridges:
        weights, biases = fit_linear(parts.vectors[chosen], labels, ridge=ridge / 10, classes=len(common))
        made.append(TopicHead(parts.encoder, weights, biases, tuple(corpus.topics[topic] for topic in common)))
    return max(made, key=lambda head: gap_auc(head, held))


def layout_head(corpus: Corpus, held: Sequence[Read], ridges: Sequence[float]) -> LayoutHead | None:
    """Fitted on the true gaps only: layout says nothing of paragraphs that do not follow each other."""
    pairs = adjacent(corpus)
    if not len(pairs) or pairs.same.all() or not pairs.same.any():
        return None
    texts = corpus.texts
    features = layout_features([texts[at] for at in pairs.left], [texts[at] for at in pairs.right])
    made = []
    for ridge in ridges:
        weights, bias = fit_linear(features, pairs.same, ridge=ridge, weight=pairs.weight)
        made.append(LayoutHead(weights, float(bias)))
    return max(made, key=lambda head: gap_auc(head, held))


def gap_auc(head: Head, held: Sequence[Read]) -> float:
    """AUC of a head over all gaps of the documents."""
    return auc([gap_scores(head, one.paragraphs, 1) for one in held], held)


def auc(scores: Sequence[Floats], held: Sequence[Read]) -> float:
    """AUC over all gaps of all documents together."""
    if not held:
        return 0.5
    return same_auc(np.concatenate(list(scores)), np.concatenate([one.document.same for one in held]))


# -- calibration ------------------------------------------------------------------------------------------------------


def calibrated(
    heads: Mapping[str, Head], held: Sequence[Read], *, reaches: Sequence[int], card: Mapping[str, Any]
) -> SameTopicModel:
    """The model of these heads whose reach, log-odds and thresholds fit the documents `held`. InputError: no gap."""
    answers = np.concatenate([one.document.same for one in held]) if held else np.zeros(0, np.bool_)
    if not len(answers):
        raise InputError("There is no gap to calibrate with; give held-out documents of two paragraphs or more.")

    def of_reach(reach: int) -> SameTopicModel:
        said = {name: [gap_scores(head, one.paragraphs, reach) for one in held] for name, head in heads.items()}
        platts = {name: Platt.fit(np.concatenate(scores), answers) for name, scores in said.items()}
        sums = [np.sum([platts[name](said[name][at]) for name in heads], axis=0) for at in range(len(held))]
        whole = Platt.fit(np.concatenate(sums).astype(np.float32), answers)
        thresholds = {name: best_threshold(gaps_of([platts[name](one) for one in said[name]], held)) for name in heads}
        odds = [whole(one.astype(np.float32)) for one in sums]
        return SameTopicModel(
            heads=heads, platts=platts, whole=whole, threshold=best_threshold(gaps_of(odds, held)),
            thresholds=thresholds, reach=reach, card=card,
        )  # fmt: skip

    models = [of_reach(reach) for reach in dict.fromkeys(reaches)]
    return max(models, key=lambda model: auc([model.log_odds(one.paragraphs) for one in held], held))


def gaps_of(scores: Sequence[Floats], held: Sequence[Read]) -> list[Gaps]:
    """Scores of documents beside their true masses."""
    return [Gaps(odds, one.document.masses) for odds, one in zip(scores, held, strict=True)]


def measure(model: SameTopicModel, held: Sequence[Read]) -> Metrics:
    """AUC; P_k in percent and F1 of boundaries at the model's threshold, the means over documents."""
    odds = [model.log_odds(one.paragraphs) for one in held]
    gaps = gaps_of(odds, held)
    f1 = fmean(boundary_f1(one.found(model.threshold), one.masses).f1 for one in gaps)
    return {METRIC: auc(odds, held), "P_k %": 100 * mean_pk(gaps, model.threshold), "boundary F1": f1}


def cosine_head(encoder: Encoder) -> VectorHead:
    """What is there without training: u . v, the cosine of neighbours."""
    weights = np.zeros(4 * encoder.dimension, dtype=np.float32)
    weights[encoder.dimension : 2 * encoder.dimension] = 1
    return VectorHead(encoder, weights, 0.0)
