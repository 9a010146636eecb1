"""bench heads-act, gain: does it help? Heads are searched on some data sets, confirmed there on other examples, and
tested on other sets, beside controls.

arms    the model as it is; calibrated; as many heads drawn (5 draws); as many other columns of the same heads; all
        candidate heads; beta 0 and 0.7; the strongest copy heads (retrieval_heads.py) in place of those that were found
tests   SST-2, TREC, AG News; XQuAD with four options (the paper's greedy letter) and in words (F1)

Asked: a point of accuracy on average, its bootstrap interval above 0, and more than 95 % of what drawn heads reach.
Where no head passes the search, the calibration is empty and gains nothing; the strongest heads are then tried all the
same, so that the controls say something, and so called. Trials and answers are kept as they come: a stopped run goes
on.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from foveal import __version__
from foveal.attention.act import ACT
from foveal.attention.act_controls import OURS, PLAIN, arms
from foveal.attention.act_evaluation import Compared, Scored, accuracy, answered, compared, scored
from foveal.attention.act_files import Calibration
from foveal.attention.act_search import SearchSettings, search_heads, search_key
from foveal.attention.retrieval_heads import by_layer, head_scores
from foveal.bench.heads_act_data import search_parts, test_examples, words
from foveal.bench.settings import BenchSettings
from foveal.evaluation.files import stored_lines, write_lines
from foveal.evaluation.labelled import Labelled
from foveal.evaluation.plots import blank, plain, saved
from foveal.evaluation.tables import Row
from foveal.models.language import LanguageModel

UNCONFIRMED = 8
"""Heads that are tried where none was confirmed."""
ASKED = 1.0
"""Points of accuracy."""
CHANCE = {"sst2": 1 / 2, "trec": 1 / 6, "ag_news": 1 / 4}


@dataclass(frozen=True)
class Cell:
    """One arm on one test set: for each example how right, and the nats of the right label."""

    arm: str
    task: str
    right: list[float]
    nats: list[float]

    @property
    def found(self) -> list[Scored]:
        """As scored."""
        return [Scored(*one) for one in zip(self.right, self.nats, strict=True)]


def gain_rows(settings: BenchSettings, model: LanguageModel) -> Iterator[Row]:
    """Search, validation, test and controls."""
    made = searched(settings, model)
    yield from _search_rows(settings, made)
    confirmed = bool(made.heads)
    if not confirmed:
        best = sorted(made.gains, key=lambda one: -one.shrunk)[:UNCONFIRMED]
        made = replace(made, heads=tuple((one.layer, one.head) for one in best))
    cells = _cells(settings, model, made)
    yield from _test_rows(cells, confirmed)
    yield from _word_rows(settings, model, made, confirmed)


def searched(settings: BenchSettings, model: LanguageModel) -> Calibration:
    """The calibration of the model by the search sets."""
    each, validation = (8, 24) if settings.quick else (32, 80)
    own, others = search_parts(settings, each, validation)
    asked = SearchSettings(seed=settings.seed, strategy="halving" if settings.quick else "exhaustive")
    store = settings.cache / "act" / f"search-{search_key(model, own, asked)}-{asked.strategy}.jsonl"
    return search_heads(model, own, others, asked, store=store)


def _search_rows(settings: BenchSettings, made: Calibration) -> Iterator[Row]:
    told = made.measured
    yield Row.of("heads tried", "count", told["heads_tried"], note=f"{told['examples']:.0f} examples of 3 data sets")
    yield Row.of("heads that gain alone", "count", told["heads_passed"], note="false-discovery rate 0.1")
    helped = [one for one in made.gains if one.low > 0]
    harmed = [one for one in made.gains if one.high < 0]
    yield Row.of("heads whose sinks harm", "count", len(helped), note="95 % interval of the gain above 0, uncorrected")
    yield Row.of("heads whose sinks help", "count", len(harmed), note="the same below 0")
    sets = ", ".join(
        f"{name.rsplit('_', 1)[1]}: {value:+.4f}"
        for name, value in told.items()
        if name.startswith("validation_gain_") and name.rsplit("_", 1)[1].isdigit()
    )
    yield Row.of(
        "heads confirmed together",
        "count",
        len(made.heads),
        note=f"nats gained in validation by size: {sets}" if sets else "",
    )
    histogram(made, settings.cache / "pictures" / "heads-act-gain.png")


def histogram(made: Calibration, path: Path) -> Path:
    """PNG: how many heads gain how much, as measured and as drawn towards their mean."""
    figure = blank(8, 4.5)
    axis = figure.subplots()
    gains = np.array([[one.gain, one.shrunk] for one in made.gains])
    edges = np.linspace(gains.min(), gains.max(), 41)
    axis.hist(gains[:, 0], bins=edges, label="measured", color="#56b4e9")
    axis.hist(gains[:, 1], bins=edges, label="drawn towards the mean", color="#d55e00", histtype="step", linewidth=1.8)
    axis.axvline(0, color="black", linewidth=0.8)
    axis.set(
        title=plain(f"Each head of {made.model} calibrated alone"),
        xlabel="nats gained per example (right of 0: its sinks harm; left: they help)",
        ylabel="heads",
        yscale="symlog",
    )
    axis.legend(frameon=False)
    return saved(figure, path)


def _cells(settings: BenchSettings, model: LanguageModel, made: Calibration) -> dict[tuple[str, str], Cell]:
    """Every arm on every test set; those of a run that was stopped are taken from its file."""
    tests = test_examples(settings, 24 if settings.quick else 340)
    methods = _arms(settings, model, made)
    store = settings.cache / "act" / f"test-{_digest(model, made, tests)}.jsonl"
    done = {(cell.arm, cell.task): cell for cell in stored_lines(store, Cell, what="cells of heads-act")}
    for task, examples in tests.items():
        for name, method in methods.items():
            if (name, task) not in done:
                found = scored(model, examples, method)
                done[name, task] = Cell(name, task, [one.right for one in found], [one.nats for one in found])
                write_lines(store, done.values())
    return done


def _arms(settings: BenchSettings, model: LanguageModel, made: Calibration) -> Mapping[str, ACT | None]:
    found = arms(model, made, draws=2 if settings.quick else 5)
    copying = head_scores(model).top(len(made.heads))
    return found | {"copy heads instead": ACT(by_layer(copying), beta=made.beta, rule=made.rule)}


def _digest(model: LanguageModel, made: Calibration, tests: Mapping[str, Sequence[Labelled]]) -> str:
    told = (
        model.fingerprint,
        made.heads,
        made.beta,
        made.rule,
        {name: list(own) for name, own in tests.items()},
        __version__,
    )
    return hashlib.sha256(repr(told).encode()).hexdigest()[:16]


def _test_rows(cells: Mapping[tuple[str, str], Cell], confirmed: bool) -> Iterator[Row]:
    names, tasks = (list(dict.fromkeys(key[axis] for key in cells)) for axis in (0, 1))
    for task in tasks:
        own = cells[PLAIN, task].found
        note = f"{len(own)} examples; by chance {CHANCE[task]:.2f}"
        yield Row.of(f"{PLAIN}, {task}", "right", accuracy(own), at_least=CHANCE[task], note=note)
    every = {name: [one for task in tasks for one in cells[name, task].found] for name in names}
    for name in names[1:]:
        less = compared(every[name], every[PLAIN], seed=0)
        each = ", ".join(
            f"{task} {100 * (accuracy(cells[name, task].found) - accuracy(cells[PLAIN, task].found)):+.1f}"
            for task in tasks
        )
        note = f"{_interval(less)}, p {less.p:.3f}; nats {less.nats.mean:+.4f}; {each}"
        told = name if confirmed or name != OURS else f"{UNCONFIRMED} strongest heads, not confirmed"
        yield Row.of(told, "points gained, mean of all test examples", 100 * less.accuracy.mean, note=note)
    yield from _verdict(every, confirmed)


def _interval(less: Compared) -> str:
    return f"{100 * less.accuracy.low:+.2f} to {100 * less.accuracy.high:+.2f}"


def _verdict(every: Mapping[str, Sequence[Scored]], confirmed: bool) -> Iterator[Row]:
    """What is asked of the method as it ships: an empty calibration gains 0."""
    drawn = [100 * (accuracy(own) - accuracy(every[PLAIN])) for name, own in every.items() if "draw" in name]
    if confirmed:
        less = compared(every[OURS], every[PLAIN], seed=0).accuracy
        mean, low = 100 * less.mean, 100 * less.low
    else:
        mean = low = 0.0
    count = len(every[PLAIN])
    yield Row.of("calibrated as searched", "points gained", mean, at_least=ASKED, note=f"{count} test examples")
    yield Row.of("calibrated as searched", "points gained, lower bound", low, at_least=0.001)
    best = float(np.quantile(drawn, 0.95))
    note = f"drawn heads: {', '.join(f'{one:+.2f}' for one in drawn)}"
    yield Row.of("calibrated less drawn heads' 95th percentile", "points", mean - best, at_least=0.001, note=note)


def _word_rows(settings: BenchSettings, model: LanguageModel, made: Calibration, confirmed: bool) -> Iterator[Row]:
    """XQuAD: four options, and in words, token by token."""
    options, open_ = words(settings, 8 if settings.quick else 80)
    method = ACT(by_layer(made.heads), beta=made.beta, rule=made.rule)
    told = "calibrated" if confirmed else f"{UNCONFIRMED} strongest heads, not confirmed"
    pairs = {
        "xquad, four options": (
            scored(model, options, scoring="greedy"),
            scored(model, options, method, scoring="greedy"),
        ),
        "xquad, in words, F1": (answered(model, open_), answered(model, open_, method)),
    }
    for name, (before, after) in pairs.items():
        less = compared(after, before, seed=0)
        note = f"{len(before)} questions; {PLAIN} {accuracy(before):.3f}; {_interval(less)}"
        yield Row.of(f"{told}, {name}", "points gained", 100 * less.accuracy.mean, note=note)
