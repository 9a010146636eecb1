"""Headline judges and writers as runs by name: resumed, measured on pairs held out, kept only if they are better.

    folder, report = train_headline_judge(pairs, JudgeSettings(), run=RunSettings(home=home))      # HOME/models/<name>
    folder, report = train_headline_writer(pairs, "gemma3-270m", run=RunSettings(home=home))

A judge is kept if its macro F1 on dev pairs, before a classifier learns from them, too, is above that of one label for
all; a writer if dev headlines are likelier than to the model that it began with. Whatever note the set carries on its
licence stands in the model's JSON, and is among the report's notes.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

from foveal.errors import InputError
from foveal.evaluation.classification import Confusion
from foveal.evaluation.headlines import TECLASS, HeadlineSet, Taxonomy
from foveal.models.language import load_language_model
from foveal.papers.headline_judgements import JudgeReport
from foveal.papers.headline_pairs import split_by_article
from foveal.papers.headline_writer import BASE, DEV_SHARE, TRAIN_ON, HeadlineWriter
from foveal.papers.headlines import HeadlineJudge, JudgeSettings
from foveal.training.headline_writers import METRIC, WriterSettings
from foveal.training.loop import Curves
from foveal.training.report import Metrics, Report, not_kept, plain_settings, seen_before
from foveal.training.runs import RunSettings, TrainingRun
from foveal.training.watch import Progress


def train_headline_judge(
    learnt: HeadlineSet,
    settings: JudgeSettings | None = None,
    *,
    run: RunSettings[HeadlineSet],
    taxonomy: Taxonomy = TECLASS,
) -> tuple[Path | None, Report]:
    """The folder of the judge (HOME/models/<name>; None if it is no better than one label for all) and the report.

    `run.dev` (default: articles held out) sets the temperature and decides; `run.test` is only measured.
    """
    settings = settings or JudgeSettings()
    dev, test = run.dev, run.test
    if dev is None:
        learnt, dev = split_by_article(learnt, share=settings.dev_share, seed=settings.fit.seed)
    _require_classes(learnt.labelled(taxonomy, settings.view))
    loop = replace(settings.pairs.loop, bfloat16=False)  # whatever it is: a run may go on where that is not as fast
    plain = asdict(replace(settings, pairs=replace(settings.pairs, loop=loop)))
    depends_on = _identity("headline judge", learnt, dev, test, json.dumps([plain, list(taxonomy.primary)]))
    here = TrainingRun.opened(run, depends_on, kind=f"headline-judge-{settings.kind}")
    if (done := here.done()) is not None:
        return done
    run.on_progress(Progress(0, 1, note=f"Fitting on {len(learnt):,} pairs"))
    started = time.perf_counter()
    judge = HeadlineJudge(settings, taxonomy).fit(
        learnt, dev, folder=here.folder / "encoder", cache=run.cache, on_progress=run.on_progress
    )
    seconds = time.perf_counter() - started
    held = {"dev": dev} | ({"test": test} if test else {})
    labels = learnt.labelled(taxonomy, settings.view)
    measured = {
        kind: _judged(judge, pairs, labels, judge.on_dev if kind == "dev" else None) for kind, pairs in held.items()
    }
    before, after = (side["macro F1"] for side in measured["dev"])
    worse = not_kept("judge", "macro F1", "dev pairs", before, after)
    known = seen_before(_texts(test), [*_texts(learnt), *_texts(dev)], "pairs") if test else ()
    notes = (*((learnt.licence,) if learnt.licence else ()), *known, *(() if after > before else (worse,)))
    curves = Curves((), ((0, dict(measured["dev"][0])), (1, dict(measured["dev"][1]))), 1, 1, "finished", seconds)
    what = f"headline judge, {settings.kind}, {settings.view} labels"
    report = Report(
        here.name, what, "one label for all", curves, measured, after > before, notes, plain_settings(settings)
    )
    with here.candidate() as made:
        here.settle(judge.save(made), report)
    return here.result(report)


def _require_classes(labels: Sequence[str]) -> None:
    """InputError: all that is learnt from has one label, which no judge can tell from another."""
    if len(set(labels)) < 2:
        raise InputError(
            f"A judge would learn from {len(labels)} pairs, all labelled {labels[0]!r}; it needs pairs of two labels "
            "or more, beside those held out to measure it. Give more labelled pairs, of all labels."
        )


def _texts(pairs: HeadlineSet) -> list[tuple[str, str]]:
    return [(one.headline, one.article) for one in pairs.pairs]


def _judged(
    judge: HeadlineJudge, pairs: HeadlineSet, learnt: Sequence[str], known: JudgeReport | None
) -> tuple[Metrics, Metrics]:
    """By the label that most pairs that were learnt from have, and by the judge: as is `known`, else as it is now."""
    most = Counter(learnt).most_common(1)[0][0]
    gold = pairs.labelled(judge.taxonomy, judge.settings.view)
    constant = Confusion.of(gold, [most] * len(gold), judge.labels)
    found = known or judge.evaluate(pairs)
    return _metrics(constant), {**_metrics(found.confusion)}


def _metrics(confusion: Confusion) -> dict[str, float]:
    return {"macro F1": confusion.macro, "weighted F1": confusion.weighted, "accuracy": confusion.accuracy}


def train_headline_writer(
    learnt: HeadlineSet,
    base: str = BASE,
    settings: WriterSettings | None = None,
    *,
    run: RunSettings[HeadlineSet],
    train_on: Sequence[str] = TRAIN_ON,
    taxonomy: Taxonomy = TECLASS,
) -> tuple[Path | None, Report]:
    """The folder of the writer (HOME/models/<name>; None if dev headlines are no likelier) and the report."""
    settings = settings or WriterSettings()
    dev = run.dev
    learnt = learnt.only(train_on, taxonomy)
    if dev is None:
        learnt, dev = split_by_article(learnt, share=DEV_SHARE, seed=settings.loop.seed)
    model = load_language_model(base, cache=run.cache)
    plain = asdict(replace(settings, loop=replace(settings.loop, bfloat16=True)))  # whatever it is, as above
    told = json.dumps([plain, list(train_on), model.fingerprint])
    depends_on = _identity("headline writer", learnt, dev, None, told)
    here = TrainingRun.opened(run, depends_on, kind=f"{Path(base).name}-headlines")
    if (done := here.done()) is not None:
        return done
    writer, curves = HeadlineWriter.fit(
        learnt, model, settings, folder=here.folder / "training", train_on=train_on, taxonomy=taxonomy, dev=dev,
        on_progress=run.on_progress,
    )  # fmt: skip
    steps = dict(curves.metrics)
    before, after = steps[0], steps[curves.best_step or 0]
    kept = after[METRIC] > before[METRIC]
    worse = not_kept("writer", METRIC, "dev headlines", before[METRIC], after[METRIC])
    notes = (*((writer.licence,) if writer.licence else ()), *(() if kept else (worse,)))
    what = f"headline writer, {writer.pairs:,} pairs of {', '.join(train_on)}"
    report = Report(here.name, what, base, curves, {"dev": (before, after)}, kept, notes, plain_settings(settings))
    with here.candidate() as made:
        here.settle(writer.save(made), report)
    return here.result(report)


def _identity(
    what: str, learnt: HeadlineSet, dev: HeadlineSet, test: HeadlineSet | None, settings: str
) -> dict[str, str]:
    tested = test.fingerprint if test else "none"
    return {
        "what": what, "pairs": learnt.fingerprint, "dev": dev.fingerprint, "test": tested, "judge or writer": settings
    }  # fmt: skip
