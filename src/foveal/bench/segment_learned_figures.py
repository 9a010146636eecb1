"""What bench segment-learned measures of one system on one set of documents, and of systems that need no training.

At the true rate: scores are cut at the quantile at which the documents' boundaries are as many as there are, for every
scored system alike.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, pstdev

import numpy as np

from foveal.bench.segment_learned_arms import Arms
from foveal.evaluation.segmentation import accuracy_within, boundary_f1, openings_to_masses, pk, windowdiff
from foveal.evaluation.tables import Row
from foveal.text.embedding_segmentation import depth_boundaries, gap_similarity, segment_vectors
from foveal.text.graphseg import graph_boundaries
from foveal.text.texttiling import TextTiling, depths
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


def untrained(held: Sequence[Read], dev: Sequence[Read], arms: Arms) -> Iterator[tuple[str, Figures]]:
    """Controls that know nothing, and what needs no training; GraphSeg's threshold is the dev documents' best."""
    encoder, seed = arms.data.encoder, arms.data.settings.seed
    rng = np.random.default_rng(seed)
    rate = sum(len(one.document.masses) - 1 for one in held) / sum(len(one.document.paragraphs) - 1 for one in held)

    def vectors(one: Read) -> Floats:
        return one.paragraphs.vectors(encoder)

    def random(one: Read) -> list[int]:
        drawn: list[int] = (np.flatnonzero(rng.random(len(one.document.paragraphs) - 1) < rate) + 1).tolist()
        return drawn

    def even(one: Read) -> list[int]:
        units, parts = len(one.document.paragraphs), len(one.document.masses)
        return [round(at * units / parts) for at in range(1, parts)]

    def tiled(one: Read) -> list[int]:
        return TextTiling().boundaries([[text[a:b] for a, b in words(text)] for text in one.document.paragraphs])

    graph = min(
        (0.1, 0.2, 0.3, 0.4, 0.5),
        key=lambda threshold: of_cut(lambda one: graph_boundaries(vectors(one), threshold), dev).pk,
    )
    cuts: dict[str, Cut] = {
        "no boundary": lambda _: [],
        "random, true rate": random,
        "even, true number": even,
        "TextTiling": tiled,
        f"GraphSeg, threshold {graph:g}": lambda one: graph_boundaries(vectors(one), graph),
        "depth": lambda one: depth_boundaries(vectors(one)),
        "dynamic programming, penalty 0.9": lambda one: segment_vectors(vectors(one), 0.9),
        "dynamic programming, penalty 1.2": lambda one: segment_vectors(vectors(one), 1.2),
    }
    graded = {"depth": [-depths(gap_similarity(vectors(one), 8, fading=True)).astype(np.float32) for one in held]}
    for name, cut in cuts.items():
        yield name, of_cut(cut, held, graded[name] if name in graded else decisions(cut, held))
    yield "cosine of neighbours", at_rate([gap_scores(cosine_head(encoder), one.paragraphs, 1) for one in held], held)
