"""bench heads-act, gain: does it help? Heads are searched on some data sets, confirmed there on other examples, and
tested on other sets, beside controls.

arms    the model as it is; calibrated; as many heads drawn (5 draws); as many other columns of the same heads; all
        candidate heads; beta 0 and 0.7; the strongest copy heads (retrieval_heads.py) in place of those that were found
tests   SST-2, TREC, AG News; XQuAD with four options (the paper's greedy letter) and in words (F1)
alone   what each head gains by itself, counted at a false-discovery rate over all heads; beside it heads that are
        drawn, once with their sinks and once with as many other columns, on the same examples

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
from statistics import fmean

import numpy as np

from foveal.attention.act import ACT
from foveal.attention.act_controls import OURS, PLAIN, arms
from foveal.attention.act_evaluation import (
    Compared,
    Scored,
    accuracy,
    answered,
    candidates,
    compared,
    drawn_heads,
    scored,
)
from foveal.attention.act_files import Calibration, HeadGain
from foveal.attention.act_search import SearchSettings, head_gains, search_heads, search_key, tried
from foveal.attention.retrieval_heads import by_layer, head_scores
from foveal.attention.sinks import OtherColumns
from foveal.bench.code import code_digest
from foveal.bench.heads_act_data import search_parts, test_examples, words
from foveal.bench.settings import BenchSettings
from foveal.evaluation.files import stored_lines, write_lines
from foveal.evaluation.labelled import Labelled
from foveal.evaluation.plots import blank, plain, saved
from foveal.evaluation.selection import Gain, passing
from foveal.evaluation.tables import Row
from foveal.models.language import LanguageModel

SEARCHED = 67
"""Examples of each of the three sets that heads are searched by, 200 in all; the paper has 900 of a set."""
UNCONFIRMED = 8
"""Heads that are tried where none was confirmed."""
ASKED = 1.0
"""Points of accuracy."""
RATE = 0.1
"""Share of the heads that are counted as gaining, or losing, which may do neither."""
SINKS, OTHERS = "drawn heads, their sinks", "control: drawn heads, other columns"


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


def gain_rows(settings: BenchSettings, model: LanguageModel, made: Calibration) -> Iterator[Row]:
    """What the search found, beside controls; then the tests."""
    yield from _search_rows(made)
    drawn = _drawn_gains(settings, model, search_parts(settings, 4 if settings.quick else 16, 1)[0])
    yield from _drawn_rows(drawn)
    histogram(made, drawn, settings.cache / "pictures" / "heads-act-gain.png")
    confirmed, (tested, name) = bool(made.heads), strongest(made)
    cells = _cells(settings, model, tested)
    chance = {task: 1 / len(own[0].choices) for task, own in test_examples(settings, 1).items()}
    yield from _test_rows(cells, chance, confirmed=confirmed)
    yield from _word_rows(settings, model, tested, name)


def strongest(made: Calibration) -> tuple[Calibration, str]:
    """The calibration, or where it names no head one with the strongest heads; and what that is called."""
    if made.heads:
        return made, "calibrated"
    best = sorted(made.gains, key=lambda one: -one.shrunk)[:UNCONFIRMED]
    heads = tuple((one.layer, one.head) for one in best)
    return replace(made, heads=heads), f"{len(heads)} strongest heads, not confirmed"


def searched(settings: BenchSettings, model: LanguageModel) -> Calibration:
    """The calibration of the model by the search sets."""
    each, validation = (8, 24) if settings.quick else (SEARCHED, 80)
    own, others = search_parts(settings, each, validation)
    asked = SearchSettings(seed=settings.seed, strategy="halving" if settings.quick else "exhaustive")
    store = trials_of(settings, f"search-{search_key(model, own, asked)}-{asked.strategy}")
    return search_heads(model, own, others, asked, store=store)


def trials_of(settings: BenchSettings, name: str) -> Path:
    """The file of a search's trials: by other code heads are tried anew."""
    code = code_digest("foveal.attention.act_search", within="foveal.attention")
    return settings.cache / "act" / f"{name}-{code}.jsonl"


def _search_rows(made: Calibration) -> Iterator[Row]:
    told = made.measured
    yield Row.of("heads tried", "count", told["heads_tried"], note=f"{told['examples']:.0f} examples of 3 data sets")
    yield from _counted(made.gains, int(told["examples"]))
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


def _counted(gains: Sequence[HeadGain], examples: int) -> Iterator[Row]:
    """The heads that gain, and those that lose, by calibration: corrected over heads, and as each says by itself."""
    gaining = [one.p if one.count == examples else 1.0 for one in gains]
    losing = [1 - one.p if one.count == examples and one.gain < 0 else 1.0 for one in gains]
    alone = {"harm": sum(one.low > 0 for one in gains), "help": sum(one.high < 0 for one in gains)}
    for what, p in (("harm", gaining), ("help", losing)):
        note = (
            f"false-discovery rate {RATE}, over {len(gains)} heads; by its own 95 % interval, uncorrected: "
            f"{alone[what]}, of which luck gives {0.025 * len(gains):.0f}"
        )
        yield Row.of(f"heads whose sinks {what}", "count", sum(passing(p, RATE)), note=note)


def _drawn_gains(settings: BenchSettings, model: LanguageModel, own: Sequence[Labelled]) -> dict[str, list[Gain]]:
    """Heads that are drawn, each alone, on some examples: with its sinks, and with other columns."""
    among = candidates(model)
    heads = drawn_heads(among, min(len(among), 28 if settings.quick else 98), settings.seed)
    asked = SearchSettings(seed=settings.seed)
    found = {}
    for name, chosen in ((SINKS, None), (OTHERS, OtherColumns(rule=asked.rule))):
        way = replace(asked, columns=chosen)
        store = trials_of(settings, f"drawn-{len(heads)}-{search_key(model, own, way)}")
        found[name] = head_gains(tried(model, own, heads, way, store=store), heads, way)
    return found


def _drawn_rows(drawn: Mapping[str, Sequence[Gain]]) -> Iterator[Row]:
    """How far the heads' gains lie apart, beyond what luck spreads them; sinks must matter more than other columns."""
    spread = {name: spread_of(own) for name, own in drawn.items()}
    for name, own in drawn.items():
        mean = 1000 * fmean(one.mean for one in own)
        note = f"{len(own)} heads, {own[0].count} examples; mean gain {mean:+.3f}"
        least = spread[OTHERS] if name == SINKS else None
        yield Row.of(name, "spread of gains over heads, thousandths of a nat", spread[name], at_least=least, note=note)


def spread_of(gains: Sequence[Gain]) -> float:
    """The standard deviation of gains over heads, less their own errors, in thousandths of a nat."""
    means, errors = np.array([one.mean for one in gains]), np.array([one.error for one in gains])
    return 1000 * float(np.sqrt(max(0.0, means.var(ddof=1) - (errors**2).mean())))


def histogram(made: Calibration, drawn: Mapping[str, Sequence[Gain]], path: Path) -> Path:
    """PNG: how many heads gain how much, as measured and as drawn towards their mean; and the controls."""
    figure = blank(8, 4.5)
    axis = figure.subplots()
    series = {
        "measured": [one.gain for one in made.gains],
        "drawn towards the mean": [one.shrunk for one in made.gains],
    } | {name: [one.mean for one in own] for name, own in drawn.items()}
    edges = np.linspace(*_ends([value for own in series.values() for value in own]), 41)
    for (name, own), colour in zip(series.items(), ("#56b4e9", "#d55e00", "#009e73", "#000000"), strict=False):
        how = {} if name == "measured" else {"histtype": "step", "linewidth": 1.8}
        axis.hist(own, bins=edges, weights=np.full(len(own), 1 / len(own)), label=plain(name), color=colour, **how)
    axis.axvline(0, color="black", linewidth=0.8)
    axis.set(
        title=plain(f"Each head of {made.model} calibrated alone"),
        xlabel="nats gained per example (right of 0: its sinks harm; left: they help)",
        ylabel="share of the heads",
    )
    axis.set_yscale("symlog", linthresh=0.01)
    axis.legend(frameon=False)
    return saved(figure, path)


def _ends(values: Sequence[float]) -> tuple[float, float]:
    low, high = min(values), max(values)
    return (low, high) if low < high else (low - 1e-6, high + 1e-6)


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
        code_digest("foveal.attention.act_evaluation", "foveal.attention.act_controls", within="foveal.attention"),
    )
    return hashlib.sha256(repr(told).encode()).hexdigest()[:16]


def _test_rows(cells: Mapping[tuple[str, str], Cell], chance: Mapping[str, float], *, confirmed: bool) -> Iterator[Row]:
    """Of each test set how many are right, more than by `chance`; then what each arm gains."""
    names, tasks = (list(dict.fromkeys(key[axis] for key in cells)) for axis in (0, 1))
    for task in tasks:
        own = cells[PLAIN, task].found
        note = f"{len(own)} examples; by chance {chance[task]:.2f}"
        yield Row.of(f"{PLAIN}, {task}", "right", accuracy(own), at_least=chance[task], note=note)
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


def _word_rows(settings: BenchSettings, model: LanguageModel, made: Calibration, told: str) -> Iterator[Row]:
    """XQuAD: four options, and in words, token by token."""
    options, open_ = words(settings, 8 if settings.quick else 80)
    method = ACT(by_layer(made.heads), beta=made.beta, rule=made.rule)
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
