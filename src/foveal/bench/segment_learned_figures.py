"""What bench segment-learned measures of one system on one set of documents, and of systems that need no training.

At the true rate: scores are cut at the quantile at which the documents' boundaries are as many as there are, for every
scored system alike. Depth and TextTiling stand there twice more, beside what they decide themselves: by the depth of
every gap, and of valleys alone. The best of these figures is the rival.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, pstdev

import numpy as np

from foveal.bench.segment_learned_arms import Arms
from foveal.evaluation.segmentation import accuracy_within, boundary_f1, openings_to_masses, pk, windowdiff
from foveal.evaluation.tables import Row
from foveal.text.c99 import C99
from foveal.text.embedding_segmentation import depth_boundaries, gap_similarity, segment_vectors
from foveal.text.graphseg import graph_boundaries
from foveal.text.texttiling import Scores, TextTiling, block_similarity, depths, smoothed, term_of, valleys
from foveal.text.units import words
from foveal.training.same_topic import (
    Read,
    auc,
    cosine_head,
    gaps_of,
)
from foveal.training.same_topic_heads import Floats, gap_scores

WITHIN = 3
"""Wrong gaps of a document, for acc_k."""

Masses = list[int]
Cut = Callable[[Read], list[int]]


@dataclass(frozen=True)
class Figures:
    """Of one system on one set of documents."""

    auc: float | None
    pk: float
    windowdiff: float
    f1: float
    within: float

    @classmethod
    def of(cls, found: Sequence[Masses], held: Sequence[Read], scores: Sequence[Floats] | None = None) -> Figures:
        """Means over documents; AUC over all gaps together."""
        pairs = [(masses, one.document.masses) for masses, one in zip(found, held, strict=True)]
        return cls(
            auc(scores, held) if scores is not None else None,
            100 * fmean(pk(*pair) for pair in pairs),
            100 * fmean(windowdiff(*pair) for pair in pairs),
            fmean(boundary_f1(*pair).f1 for pair in pairs),
            accuracy_within(pairs, WITHIN),
        )


def at_rate(scores: Sequence[Floats], held: Sequence[Read]) -> Figures:
    """Figures of scores that are cut where boundaries are as many as there are."""
    every = np.concatenate(list(scores))
    wanted = sum(len(one.document.masses) - 1 for one in held)
    threshold = np.sort(every)[min(wanted, len(every) - 1)]
    return Figures.of([gaps.found(float(threshold)) for gaps in gaps_of(scores, held)], held, scores)


def of_cut(cut: Cut, held: Sequence[Read], scores: Sequence[Floats] | None = None) -> Figures:
    """Figures of a system that decides by itself; `scores` of the gaps, where its AUC is asked for."""
    return Figures.of([openings_to_masses(cut(one), len(one.document.paragraphs)) for one in held], held, scores)


def decisions(cut: Cut, held: Sequence[Read]) -> list[Floats]:
    """What a system says of each gap, as scores: 0 where it cuts, else 1."""
    made = []
    for one in held:
        said = np.ones(len(one.document.paragraphs) - 1, dtype=np.float32)
        said[np.array(cut(one), dtype=np.int64) - 1] = 0
        made.append(said)
    return made


def rows_of(
    system: str, figures: Sequence[Figures], bars: Mapping[str, Mapping[str, float]] | None = None, note: str = ""
) -> Iterator[Row]:
    """The rows of one system, the means over seeds with their spread in the note."""
    for metric, name in (
        ("AUC of gaps", "auc"), ("P_k %", "pk"), ("WindowDiff %", "windowdiff"), ("boundary F1", "f1"),
        (f"documents with at most {WITHIN} wrong gaps", "within"),
    ):  # fmt: skip
        values = [getattr(one, name) for one in figures]
        if values[0] is None:
            continue
        spread = f"{len(values)} seeds, ± {pstdev(values):.3g}" if len(values) > 1 else ""
        told = "; ".join(part for part in (spread, note) if part)
        yield Row.of(system, metric, fmean(values), note=told, **dict((bars or {}).get(metric, {})))


def depth_scores(vectors: Floats, *, only_valleys: bool) -> Floats:
    """What `depth_boundaries` sees at each gap (n - 1,), lower where it is deeper; `only_valleys`: 0 elsewhere."""
    return -_steepness(gap_similarity(vectors, 8, fading=True), only_valleys)


def tiling_scores(texts: Sequence[str], *, only_valleys: bool) -> Floats:
    """The same of TextTiling: the deepest of the gaps of pseudo-sentences that it would move to this gap of texts."""
    tiling = TextTiling()
    terms = [[term_of(text[a:b]) for a, b in words(text) if text[a].isalnum()] for text in texts]
    every, size = [term for one in terms for term in one], tiling.sentence_words
    pseudo = [every[at : at + size] for at in range(0, len(every), size)]
    similarity = smoothed(block_similarity(pseudo, tiling.block), tiling.smoothing)
    ends = np.cumsum([len(one) for one in terms])
    nearest = np.abs(ends[:, None] - size * np.arange(1, 1 + len(similarity))).argmin(0)
    said = np.zeros(len(texts), dtype=np.float32)
    np.maximum.at(said, nearest, _steepness(similarity, only_valleys))
    return -said[:-1]


def _steepness(similarity: Scores, only_valleys: bool) -> Floats:
    """Depths in standard deviations of the document's own: both methods set their cut-offs in these."""
    if not len(similarity):
        return np.zeros(0, dtype=np.float32)
    depth = depths(similarity)
    steep: Floats = (depth / max(depth.std(), 1e-9)).astype(np.float32)
    return np.where(valleys(similarity), steep, np.float32(0)) if only_valleys else steep


def untrained(held: Sequence[Read], dev: Sequence[Read], arms: Arms) -> Iterator[tuple[str, Figures]]:
    """Controls that know nothing, and what needs no training; GraphSeg's threshold is the dev documents' best."""
    encoder = arms.data.encoder

    def vectors(one: Read) -> Floats:
        return one.paragraphs.vectors(encoder)

    def cut_words(one: Read) -> list[list[str]]:
        return [[text[a:b] for a, b in words(text)] for text in one.document.paragraphs]

    def tiled(one: Read) -> list[int]:
        return TextTiling().boundaries(cut_words(one))

    graph = min(
        (0.1, 0.2, 0.3, 0.4, 0.5),
        key=lambda threshold: of_cut(lambda one: graph_boundaries(vectors(one), threshold), dev).pk,
    )
    cuts: dict[str, Cut] = {
        **_knowing_nothing(held, arms.data.settings.seed),
        f"GraphSeg, threshold {graph:g}": lambda one: graph_boundaries(vectors(one), graph),
        "C99": lambda one: C99().boundaries(cut_words(one)),
        "dynamic programming, penalty 0.9": lambda one: segment_vectors(vectors(one), 0.9),
        "dynamic programming, penalty 1.2": lambda one: segment_vectors(vectors(one), 1.2),
    }
    for name, cut in cuts.items():
        yield name, of_cut(cut, held, decisions(cut, held))
    graded: dict[str, tuple[Cut, Callable[[Read, bool], Floats]]] = {
        "TextTiling": (tiled, lambda one, only: tiling_scores(one.document.paragraphs, only_valleys=only)),
        "depth": (
            lambda one: depth_boundaries(vectors(one)),
            lambda one, only: depth_scores(vectors(one), only_valleys=only),
        ),
    }
    for name, (cut, score) in graded.items():
        every, only = ([score(one, valley) for one in held] for valley in (False, True))
        yield name, of_cut(cut, held, every)
        yield f"{name}, true rate", at_rate(every, held)
        yield f"{name}, valleys, true rate", at_rate(only, held)
    yield "cosine of neighbours", at_rate([gap_scores(cosine_head(encoder), one.paragraphs, 1) for one in held], held)


def _knowing_nothing(held: Sequence[Read], seed: int) -> dict[str, Cut]:
    rng = np.random.default_rng(seed)
    rate = sum(len(one.document.masses) - 1 for one in held) / sum(len(one.document.paragraphs) - 1 for one in held)

    def random(one: Read) -> list[int]:
        drawn: list[int] = (np.flatnonzero(rng.random(len(one.document.paragraphs) - 1) < rate) + 1).tolist()
        return drawn

    def even(one: Read) -> list[int]:
        units, parts = len(one.document.paragraphs), len(one.document.masses)
        return [round(at * units / parts) for at in range(1, parts)]

    return {"no boundary": lambda _: [], "random, true rate": random, "even, true number": even}
