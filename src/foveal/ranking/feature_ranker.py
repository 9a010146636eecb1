"""A learned ranker by name: a model of features and the words' weights it was fitted with, in a folder.

    folder, report = train_features("lambdamart", judged, run=RunSettings(home=home))  # foveal train ranker lambdamart
    FeatureRanker(folder).rank(query, hits)                                            # foveal search … --rank NAME

Its features are those of a hit alone (`features.OWN`): what the first stage gave it, words, headings, place. They need
no other search, so the ranker stands behind any, and takes milliseconds.

Source    `learned.py` and `fitting.py` have the models: pairwise, coordinate ascent, LambdaMART
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from foveal.errors import InputError
from foveal.evaluation.metrics import Run
from foveal.ranking.features import OWN, Features
from foveal.ranking.fitting import FITS, Group, ScoreModel
from foveal.ranking.judged import Judged, place_of
from foveal.ranking.learned import LearnedRanker, load_model, run_of, save_model
from foveal.retrieval.pipeline import CANDIDATES
from foveal.retrieval.terms import terms
from foveal.training.examples import Examples
from foveal.training.loop import Curves
from foveal.training.report import Report, beside, not_kept
from foveal.training.runs import TrainingRun
from foveal.training.searches import run_of as searched
from foveal.training.watch import Progress
from foveal.types import Hit, Passage, Span

if TYPE_CHECKING:
    from foveal.ranking.judged_training import Made
    from foveal.training.runs import RunSettings

METRICS = ("ndcg@10", "mrr@10")
DEPTH = CANDIDATES
"""Hits of the first stage that are learnt from, and ordered anew for the held-out queries: as many as `foveal search
--rank` gives. A hit's share of the range of scores depends on how long the list is.
"""

WORDS = 100_000
"""Words whose weights are kept; rarer ones count like the rarest of these."""

MODEL, ABOUT = "model.json", "feature-ranker.json"


class FeatureRanker:
    """A `Ranker` from a folder that `train_features` wrote."""

    def __init__(self, folder: str | Path) -> None:
        """InputError: the folder holds none."""
        place = Path(folder)
        try:
            idf = {str(word): float(weight) for word, weight in json.loads((place / ABOUT).read_text("utf-8"))["idf"]}
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise InputError(
                f"{place} holds no learned ranker ({error}). Train it anew: foveal train ranker"
            ) from error
        self._ranker = LearnedRanker(load_model(place / MODEL), Features(idf=idf))

    def rank(self, query: str, hits: Sequence[Hit]) -> list[Hit]:
        """The hits by the model's score; of equal ones the one that came first."""
        return self._ranker.rank(query, hits)


def train_features(which: str, judged: Judged, *, run: RunSettings[Examples], seed: int = 0) -> Made:
    """One of `fitting.FITS`, fitted on what the first stage finds for the learnt queries; kept if on those held out it
    orders better than the first stage. MissingExtra: lambdamart needs LightGBM. InputError: no query teaches anything.
    """
    from foveal.ranking.judged_training import parted, require_own_dev

    require_own_dev(run)
    learnt, dev = parted(judged.examples)
    known_by = {
        "what": f"features, {which}", "features": " ".join(OWN), "examples": learnt.fingerprint,
        "headings": _digest(judged.headings), "dev": dev.fingerprint,
        "test": run.test.fingerprint if run.test else "none", "first stage": judged.stage, "depth": str(DEPTH),
        "seed": str(seed),
    }  # fmt: skip
    here = TrainingRun.opened(run, known_by, kind=which)
    if (done := here.done()) is not None:
        return done
    run.on_progress(Progress(0, 0, note=f"Searching for {len(judged.examples.queries):,} queries"))
    idf = weights_of(learnt.corpus)
    features = Features(idf=idf)
    model = FITS[which](groups_of(judged, learnt, features)[0], features.names)
    sides = {"dev": dev, **({"test": run.test} if run.test else {})}
    groups = {kind: groups_of(judged, queries, features) for kind, queries in sides.items()}
    first = {kind: found for kind, (_, found) in groups.items()}
    measured, told = beside(sides, first, {kind: run_of(one, model) for kind, (one, _) in groups.items()}, METRICS)
    before, after = (values[METRICS[0]] for values in measured["dev"])
    kept = after > before
    worse = not_kept("ranker", METRICS[0], "dev queries", before, after)
    notes = (*judged.notes, *told, *(() if kept else (worse,)))
    what = f"learned ranker, {which}, over {judged.stage}"
    curves = Curves((), (), 0, None, "finished", 0.0)
    report = Report(here.name, what, "first stage", curves, measured, kept, notes, {"which": which, "seed": seed})
    with here.candidate() as made:
        here.settle(_saved(model, idf, made), report)
    return here.result(report)


def groups_of(judged: Judged, examples: Examples, features: Features) -> tuple[list[Group], Run]:
    """What the first stage finds for each query, as groups and as its run."""
    found = searched(judged.search, examples, DEPTH)
    groups = []
    for query, scores in found.items():
        names = sorted(scores, key=lambda name: (-scores[name], name))
        hits = [_hit(judged, examples, name, scores[name]) for name in names]
        grades = np.array([max(0, examples.judged[query].get(name, 0)) for name in names], dtype=np.float64)
        groups.append(Group(query, tuple(names), features(examples.queries[query], hits), grades))
    return groups, found


def _hit(judged: Judged, examples: Examples, name: str, score: float) -> Hit:
    span = place_of(name) or Span(name, 0, len(examples.corpus[name]))
    return Hit(Passage(span, examples.corpus[name], judged.headings.get(name)), score, "first stage")


def weights_of(corpus: Mapping[str, str]) -> dict[str, float]:
    """The idf, ln(N / df), of the most frequent words."""
    held: Counter[str] = Counter()
    for text in corpus.values():
        held.update(set(terms(text)))
    return {word: float(np.log(len(corpus) / count)) for word, count in held.most_common(WORDS)}


def _digest(headings: Mapping[str, str]) -> str:
    """SHA-256 over the headings of passages: a feature looks at them, and a passage's text does not hold them."""
    return hashlib.sha256(json.dumps(sorted(headings.items())).encode()).hexdigest()


def _saved(model: ScoreModel, idf: Mapping[str, float], folder: Path) -> Path:
    folder.mkdir(parents=True)
    save_model(model, folder / MODEL)
    (folder / ABOUT).write_text(json.dumps({"idf": list(idf.items())}, ensure_ascii=False), encoding="utf-8")
    return folder
