"""bench nn-titans: what the neural memory is good for, beside windows, a GRU, the gated delta rule, and itself asleep.

writing    32 pairs written and looked up, a key written twice (nn_exact.py)
recall     associative recall after training, updates on and off; in the full run also at 128 tokens, with a memory of
           one layer, without momentum, without forgetting
needles    three digits told in a novel and asked for again, by length and depth, beyond what windows can hand on
motifs     DNA-like letters: do an early and a late motif belong together?
forecasts  ETTh1, 96 rows in, in patches of 16 every 8 rows, the mean over four horizons, beside DLinear, a GRU, and the
           memory asleep in training too; the dev part chooses each arm's rate
novels     bits per character, the read stream, words that come again, a cloze, of models equally large
           (nn_language.py)
stream     2,000,000 bytes (--quick: 200,000) through the model of the novels: bytes of state, time of a piece
speed      forward and backward of 4,096 tokens, beside titans-pytorch at the same size, a GRU, and a window
reader     facts in a novel that `read --reader titans` finds again, beside a list of all vectors (nn_titans_reader.py)

Headline rows (the memory's recall and motifs, MAG's needles, MAG against a window) are means of three seeds. Arms are
trained once and kept in the bench's cache; the quick run trains fewer and shorter. Not run here: the paper's models
(170M to 760M parameters, 15B tokens), and RULER, BABILong and GenomicsBenchmarks, which need these.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from statistics import fmean
from typing import Any

import torch

from foveal.bench import nn_exact
from foveal.bench.nn_aaren_recall import Told
from foveal.bench.nn_aaren_tables import HORIZONS, LINEAR, missing, seeds_of, spread, with_mixer
from foveal.bench.nn_aaren_tables import trained as forecast_trained
from foveal.bench.nn_language import Novels, Scale, cloze_share, clozes, count_of, measured
from foveal.bench.nn_peers import PEER_RATES, TITANS, TitansPeer, not_run, quietly, there, titans_model, told_of
from foveal.bench.nn_tasks import Motifs, Needles, Recall, learn, right_share
from foveal.bench.nn_titans_reader import reader
from foveal.bench.settings import BenchSettings
from foveal.errors import InputError
from foveal.evaluation.series import Table, read_table
from foveal.evaluation.speed import paired
from foveal.evaluation.tables import Row, largest
from foveal.nn.causal_attention import StreamSettings
from foveal.nn.forecaster import FORECASTING, ForecasterSettings, forecasting
from foveal.nn.language_training import SURPRISE, LanguageSize, config_of, made, without_updates
from foveal.nn.neural_memory import MemorySettings, NeuralMemory
from foveal.nn.recurrent import Recurrent, RecurrentSettings
from foveal.nn.stream_training import DEV, Recipe
from foveal.nn.window_attention import WindowAttention, WindowSettings
from foveal.training.loop import LoopSettings

FASTER = 1.5
"""Times as many tokens a second as the peer."""

ASLEEP = "lmm, updates off"
"""The memory's own control: it writes nothing, in training and in the test."""

CLOZE = 2048
"""Bytes that are read before a word that was left out."""

QUICK_NOVELS = Scale(
    size=LanguageSize(layers=2, width=64, heads=4, window=32), length=512, steps=90, batch=4, held=16_384
)


def titans(settings: BenchSettings) -> Iterator[Row]:
    """The rows of `foveal bench nn-titans`."""
    yield from nn_exact.writing(settings)
    yield from recall(settings)
    yield from motifs(settings)
    arms = Novels(settings, QUICK_NOVELS if settings.quick else Scale())
    yield from needles(settings, arms)
    try:
        yield from forecasts(settings)
    except InputError as error:  # the table is not there
        yield missing("ETTh1, lmm", error)
    yield from novels(arms)
    yield from stream(arms)
    yield from speed(settings)
    yield from reader(arms)


# -- recall ------------------------------------------------------------------------------------------------------------

RECALL_SIZE = LanguageSize(layers=2, width=64, heads=2, window=8)
RECALL_MEMORY: Mapping[str, Any] = {"heads": 2, "chunk": 8, "theta_max": 0.2, "max_surprise": None}


def model_of(name: str, vocabulary: int, size: LanguageSize, seed: int, **memory: Any) -> Any:
    """A model by its name; `updates=False` puts its memories to sleep, in training too."""
    updates = memory.pop("updates", True)
    mixer = {"memory": {**RECALL_MEMORY, **memory}} if name in ("lmm", "mac", "mag", "mal") else {}
    sized = LanguageSize(layers=size.layers, width=size.width, heads=size.heads, window=size.window, mixer=mixer)
    model = made(config_of(name, sized, vocabulary=vocabulary), seed)
    if not updates:
        model.set_updates(False)  # type: ignore[operator]
    return model


RECALLED = 0.995
"""What is 1.00 in two digits: the specification's figure is of as many digits, and of some thousand questions."""


def recall(settings: BenchSettings) -> Iterator[Row]:
    """Of 4 pairs in 32 tokens, then of 8 in 128; the memory and its controls learn for as long."""
    rows, quick = Recall(length=32, pairs=4, vocabulary=32, seed=settings.seed), settings.quick
    bars: dict[str, dict[str, float]] = {
        "lmm": {"at_least": 0.95 if quick else RECALLED}, ASLEEP: {"at_most": 0.4 if quick else 0.3},
        "window": {"at_most": 0.4},
    }  # fmt: skip
    for name in bars if quick else (*bars, "gru", "delta", "full"):
        many = 2000 if name == "full" else 600
        seeds = seeds_of(settings, headline=name == "lmm")
        got = [_recalled(replace(settings, seed=seed), name, replace(rows, seed=seed), many) for seed in seeds]
        note = f"{many} steps of 64 rows; {spread(got)}"
        yield Row.of(f"{name}, 4 pairs in 32 tokens", "recalled", fmean(got), note=note, **bars.get(name, {}))
    if quick:
        return
    longer = Recall(length=128, pairs=8, vocabulary=64, seed=settings.seed)  # without SURPRISE a memory diverged here
    ablations: dict[str, dict[str, Any]] = {
        "lmm": {}, ASLEEP: {}, "lmm, one layer": {"depth": 1}, "lmm, no momentum": {"momentum": False},
        "lmm, no forgetting": {"decay": False}, "window": {}, "gru": {}, "delta": {},
    }  # fmt: skip
    for name, options in ablations.items():
        least = 0.95 if name == "lmm" else None
        most = 0.4 if name in (ASLEEP, "window") else None
        share = _recalled_long(settings, name, longer, max_surprise=SURPRISE, **options)
        note = f"{sum(steps for *_, steps in GROWING)} steps, of short rows first"
        yield Row.of(f"{name}, 8 pairs in 128 tokens", "recalled", share, at_least=least, at_most=most, note=note)


def _recalled(settings: BenchSettings, name: str, rows: Recall, steps: int) -> float:
    kind, off = name.split(",")[0], "off" in name
    model = model_of(kind, rows.vocabulary, RECALL_SIZE, settings.seed, updates=not off)
    learn(settings, f"recall-{kind}", model, rows, steps=steps, batch=64, rate=2e-3, told=name)
    return right_share(model, rows, 256)


GROWING = ((16, 2, 1, 200), (32, 4, 1, 300), (64, 8, 3, 100), (128, 8, 7, 200))
"""Tokens, pairs, times each is asked for, and steps: of eight pairs alone no arm learnt in 500 steps which is which."""


def _recalled_long(settings: BenchSettings, name: str, rows: Recall, **options: Any) -> float:
    """As `_recalled`, learnt from short rows first."""
    kind, off = name.split(",")[0], "off" in name
    model = model_of(kind, rows.vocabulary, RECALL_SIZE, settings.seed, updates=not off, **options)
    for length, pairs, asked, steps in GROWING:
        stage = replace(rows, length=length, pairs=pairs, asked=asked)
        told, batch = f"{name}, {GROWING}, to {length}", 64 if length <= 32 else 32
        learn(settings, f"recall-{kind}", model, stage, steps=steps, batch=batch, rate=4e-3, told=told)
    return right_share(model, rows, 256)


# -- motifs ------------------------------------------------------------------------------------------------------------

ASKED, MORE = 512, 0.05
"""Texts of the test; what the memory must be ahead of its controls."""
COURSE = ((32, 64, 300), (64, 64, 150), (128, 32, 150), (256, 32, 150))
QUICK_COURSE = ((32, 32, 80), (128, 32, 40))
"""Letters, rows of a step, steps: of 256 letters alone no arm learnt anything in 700 steps."""


def motifs(settings: BenchSettings) -> Iterator[Row]:
    """The early motif is 100 letters or more before the late one, beyond every window here."""
    course, found = QUICK_COURSE if settings.quick else COURSE, {}
    controls = (ASLEEP, "window")
    for name in ("lmm", *controls) if settings.quick else ("lmm", *controls, "gru"):
        seeds = seeds_of(settings, headline=name == "lmm")
        got = [_told_apart(replace(settings, seed=seed), name, course) for seed in seeds]
        letters, steps = course[-1][0], sum(steps for *_, steps in course)
        note = f"{letters} letters, {steps} steps, of short rows first; chance 0.5; {spread(got)}"
        found[name] = fmean(got)
        most = 0.65 if name == "window" else None
        yield Row.of(f"{name}, DNA motifs", "right", found[name], at_most=most, note=note)
    for name in controls:
        least = -0.1 if settings.quick else MORE
        yield Row.of(f"lmm - {name}, DNA motifs", "right", found["lmm"] - found[name], at_least=least)


def _told_apart(settings: BenchSettings, name: str, course: Sequence[tuple[int, int, int]]) -> float:
    # steps of 0.2 in chunks of 8 are not stable for sure (NeuralMemory), and this text is long
    kind, awake = name.split(",")[0], "off" not in name
    model = model_of(kind, 9, RECALL_SIZE, settings.seed, updates=awake, theta_max=0.1, max_surprise=SURPRISE)
    for length, batch, steps in course:
        stage, told = Motifs(length, settings.seed, parts=True), f"{name}, {course}, to {length}"
        learn(settings, f"motifs-{kind}", model, stage, steps=steps, batch=batch, rate=3e-3, told=told)
    return right_share(model, Motifs(course[-1][0], settings.seed), ASKED)


# -- needles -----------------------------------------------------------------------------------------------------------

NEEDLE_SIZE = LanguageSize(layers=2, width=64, heads=2, window=32)
DEPTHS = (0.0, 0.25, 0.5, 0.75, 0.9)
"""Where a key is told, of the text before the question."""
CONVOLVED = 4
"""Tokens that a memory's keys are mixed from: they reach beyond a window, asleep too."""


def depths_of(length: int) -> list[float]:
    """Those from which nothing can be handed on by windows and convolutions, layer by layer: a test of memory alone."""
    handed = NEEDLE_SIZE.layers * (NEEDLE_SIZE.window + CONVOLVED)
    rows = Needles(torch.empty(0), length, seed=0)
    return [depth for depth in DEPTHS if rows.apart(depth) > handed]


def needles(settings: BenchSettings, arms: Novels) -> Iterator[Row]:
    """Trained on short texts first, then on longer ones; measured on longer still, one key at each of some depths."""
    names = ["mag", "window"] if settings.quick else ["mag", "mac", "lmm", "window", "gru", "delta"]
    stages = ((128, 120), (256, 20)) if settings.quick else ((128, 500), (256, 250))
    lengths = (256, 512) if settings.quick else (256, 512, 1024, 2048)
    found: dict[str, list[list[dict[float, float]]]] = {}  # of each arm, seed and length the share at each depth
    for name in names:
        for seed in seeds_of(settings, headline=name == "mag"):
            for how, by_length in _needles(replace(settings, seed=seed), arms, name, stages, lengths).items():
                found.setdefault(f"{name}{how}", []).append(by_length)
    asleep, awake = (0.3, 0.15) if settings.quick else (0.2, 0.9)
    means: dict[str, float] = {}  # at the shortest length
    for name, by_seed in found.items():
        for place, length in enumerate(lengths):
            own = [by_length[place] for by_length in by_seed]
            shares = {depth: fmean(one[depth] for one in own) for depth in own[0]}
            means.setdefault(name, fmean(shares.values()))
            bar: dict[str, float] = {"at_most": asleep} if "off" in name or name == "window" else {}
            if name in ("mag", "mac") and length <= 1024:
                bar = {"at_least": awake}
            depths = ", ".join(f"{depth:g}: {share:.2f}" for depth, share in shares.items())
            note = f"by depth {depths}; chance 0.1; {spread([fmean(one.values()) for one in own])}"
            yield Row.of(f"{name}, a key in {length:,} bytes", "digits right", fmean(shares.values()), note=note, **bar)
    on, off = means["mag"], means["mag, updates off in the test"]
    yield Row.of("mag / the same with updates off", "digits right, gained", on - off, at_least=0.15)


def _needles(
    settings: BenchSettings, arms: Novels, name: str, stages: Sequence[tuple[int, int]], lengths: Sequence[int]
) -> dict[str, list[dict[float, float]]]:
    """Of a trained arm the shares at each length, by depth; where it has updates, without them too."""
    model = model_of(name, 256, NEEDLE_SIZE, settings.seed, chunk=16, theta_max=0.1, max_surprise=SURPRISE)
    for length, steps in stages:
        rows, told = Needles(arms.learnt, length, settings.seed), f"{name}, {stages}, to {length}"
        learn(settings, f"needles-{name}", model, rows, steps=steps, batch=32, rate=3e-3, told=told)
    found = {"": [_digits(arms, model, length, settings) for length in lengths]}
    with without_updates(model) as has_any:
        if has_any:
            found[", updates off in the test"] = [_digits(arms, model, one, settings) for one in lengths]
    return found


def _digits(arms: Novels, model: Any, length: int, settings: BenchSettings) -> dict[float, float]:
    """By depth."""
    count = 16 if settings.quick else 32
    return {
        depth: right_share(model, Needles(arms.held, length, settings.seed + 1, depth=depth), count, batch=16)
        for depth in depths_of(length)
    }


# -- forecasts ---------------------------------------------------------------------------------------------------------

SERIES = StreamSettings(dim=32, heads=2, layers=2, dropout=0.2)
"""The encoder of all arms but DLinear, which has none."""
PATCH, STRIDE = 16, 8
"""Values of a token, and rows from one to the next, as specified."""

RATES = 1e-3, 5e-3
"""The dev part chooses one for each arm and horizon: after few steps no rate is right for a linear map and a memory."""
DEV_MSE = "mse, dev part"


def forecasts(settings: BenchSettings) -> Iterator[Row]:
    """Mean squared errors of standardised values, by the recipe of nn-aaren's tables in fewer steps."""
    table = read_table(settings.file("ett", "ETTh1.csv"))
    horizons = HORIZONS[:1] if settings.quick else HORIZONS
    steps = 60 if settings.quick else 200
    errors: dict[str, float] = {}
    for name in ("lmm", ASLEEP, "gru", LINEAR):
        chosen = [_chosen(settings, table, horizon, name, loops_of(name, steps)) for horizon in horizons]
        errors[name] = fmean(told["mse"] for told, _ in chosen)
        by_horizon = ", ".join(
            f"{horizon}: {told['mse']:.3f} ({loop.learning_rate:g}, {_long(loop)})"
            for horizon, (told, loop) in zip(horizons, chosen, strict=True)
        )
        note = f"mae {fmean(told['mae'] for told, _ in chosen):.3f}; by rows ahead (rate by the dev part) {by_horizon}"
        yield Row.of(f"ETTh1, {name}", "mse", errors[name], note=note)
    most = 1.25 if settings.quick else 1.0
    for name in (LINEAR, ASLEEP):
        yield Row.of(f"ETTh1, lmm / {name}", "mse", errors["lmm"] / errors[name], at_most=most)


def loops_of(name: str, steps: int) -> list[LoopSettings]:
    """What the dev part chooses from: the same steps at each rate; a linear map's five whole epochs cost seconds."""
    fewer = replace(FORECASTING, steps=steps, evaluate_every=steps // 2)
    loops = [replace(fewer, learning_rate=rate) for rate in RATES]
    return [*loops, FORECASTING] if name == LINEAR else loops


def _long(loop: LoopSettings) -> str:
    return f"{loop.steps} steps" if loop.steps else f"{loop.epochs:g} epochs"


def _chosen(
    settings: BenchSettings, table: Table, horizon: int, name: str, loops: Sequence[LoopSettings]
) -> tuple[dict[str, float], LoopSettings]:
    """The test metrics of an arm trained as the dev part would have it, and how that was."""
    found = [(_forecast(settings, table, horizon, name, loop)["told"], loop) for loop in loops]
    return min(found, key=lambda one: float(one[0][DEV_MSE]))


def _forecast(settings: BenchSettings, table: Table, horizon: int, name: str, loop: LoopSettings) -> Told:
    encoder = None if name == LINEAR else with_mixer(SERIES, name.split(",")[0])

    def make(seed: int) -> Recipe:
        model = ForecasterSettings(horizon=horizon, patch=PATCH, stride=STRIDE, encoder=encoder)
        recipe = forecasting(table, model, seed=seed)
        for memory in (one for one in recipe.model.modules() if isinstance(one, NeuralMemory)):
            memory.updates = name != ASLEEP
        return recipe

    measure = make(settings.seed).measure
    called = f"titans-forecast-by-dev-{name.lower().replace(', ', '-').replace(' ', '-')}-{horizon}"
    return forecast_trained(
        settings, called, make, loop, settings.seed, lambda model: {DEV_MSE: measure(model, DEV)["mse"]}
    )


# -- novels ------------------------------------------------------------------------------------------------------------


def novels(arms: Novels) -> Iterator[Row]:
    """Every mixer on the same bytes."""
    quick = arms.settings.quick
    names = ["window", "mag"] if quick else ["window", "full", "gru", "delta", "lmm", "mag", "mac", "mal"]
    asked = clozes(bytes(arms.held.tolist()), 24 if quick else 100, CLOZE, arms.settings.seed)
    bits: dict[str, float] = {}
    for name in names:
        model = arms.arm(name)
        told = measured(arms, model)
        bits |= {f"{name}{how}": value for how, value in told.items()}
        for how, value in told.items():
            note = f"{count_of(model):,} numbers learnt" if not how else ""
            yield Row.of(f"novels: {name}{how}", "bits per character", value, note=note)
        yield Row.of(f"novels: {name}, words that come again", "nats per byte", arms.rare_nats(model))
        note = f"{len(asked)} names, of ten words each; chance 0.1"
        yield Row.of(f"cloze: {name}", "right", cloze_share(model, asked), note=note)
    ahead = [bits["mag"] / bits["window"], *_again(arms)]
    note, most = f"equally large; {spread(ahead)}", 1.02 if quick else 1
    yield Row.of("novels: mag / window", "bits per character", fmean(ahead), at_most=most, note=note)
    gained = bits["mag, updates off"] / bits["mag"]
    yield Row.of("novels: mag, updates off / on", "bits per character", gained, at_least=1.0001)
    if "full" in bits:
        note = "expected at most 1; above, the memory is ahead of attention to all of the past"
        yield Row.of("novels: full / mag", "bits per character", bits["full"] / bits["mag"], note=note)
    yield from _peer(arms, bits)


def _again(arms: Novels) -> Iterator[float]:
    """MAG's bits over a window's, by the other seeds of headline rows."""
    for seed in seeds_of(arms.settings, headline=True)[1:]:
        others = Novels(replace(arms.settings, seed=seed), arms.scale)
        yield others.window_bits(others.arm("mag")) / others.window_bits(others.arm("window"))


def _peer(arms: Novels, bits: Mapping[str, float]) -> Iterator[Row]:
    metric = "bits per character"
    if arms.settings.quick or not there(TITANS):
        if not arms.settings.quick:
            yield not_run(TITANS, metric)
        return
    found = []
    for slower in PEER_RATES:
        learning, (model, told) = arms.at(slower), titans_model(arms.scale.size, arms.numbers, arms.settings.seed)
        with quietly():
            found.append(learning.window_bits(learning.learn("titans-pytorch", model, told)))
    theirs, note = min(found), f"the better of two rates, {told_of(found)}; {count_of(model):,} numbers learnt"
    yield Row.of("peer: titans-pytorch", metric, theirs, note=note)
    yield Row.of("novels: lmm / titans-pytorch", metric, bits["lmm"] / theirs, at_most=1, note="equal bytes learnt")


# -- stream ------------------------------------------------------------------------------------------------------------


@torch.no_grad()
def stream(arms: Novels) -> Iterator[Row]:
    """The books, over and over where they are too short, in pieces of 4,096 bytes."""
    model, many, piece = arms.arm("mag"), 200_000 if arms.settings.quick else 2_000_000, 4096
    state, sizes, seconds, worst = model.init_state(1), [], [], 0.0
    for at in range(0, many, piece):
        ids = arms.tokens[at % (len(arms.tokens) - piece) :][:piece].long()[None]
        begun = time.process_time()
        output = model(ids, state=state, keep_state=True)
        seconds.append(time.process_time() - begun)
        state = output.state
        sizes.append(state.nbytes)
        worst = largest(worst, float(output.logits.abs().max()))
    note = f"{state.nbytes:,} bytes after {len(sizes) * piece:,}"
    ratio = max(sizes) / min(sizes)
    yield Row.of(f"mag, {many:,} bytes streamed", "bytes of state, most / least", ratio, at_most=1, note=note)
    tenth = max(1, len(seconds) // 10)
    early, late = (min(some) for some in (seconds[1 : 1 + tenth], seconds[-tenth:]))  # the least disturbed
    note = f"{piece / late:,.0f} bytes a second"
    yield Row.of(f"mag, {many:,} bytes streamed", "time of a piece, late / early", late / early, at_most=1.1, note=note)
    yield Row.of(f"mag, {many:,} bytes streamed", "largest logit", worst, at_most=1e3, note="nothing diverges")


# -- speed -------------------------------------------------------------------------------------------------------------


def speed(settings: BenchSettings) -> Iterator[Row]:
    """A memory of 4 heads of 32, two layers, expansion 2, chunks of 64 and of 16; one row of 4,096 tokens."""
    beside: dict[str, Any] = {
        "GRU of 128": Recurrent(RecurrentSettings(dim=128)),
        "attention, window 64": WindowAttention(WindowSettings(dim=128, window=64)),
    }
    for name, layer in beside.items():
        trained_once(layer, torch.randn(1, 4096, 128))
        begun = time.perf_counter()
        trained_once(layer, torch.randn(1, 4096, 128))
        rate = 4096 / (time.perf_counter() - begun)
        yield Row.of(f"{name}, forward and backward of 4,096", "tokens/s", rate)
    for chunk in (64, 16):
        if settings.quick and chunk == 16:
            continue
        torch.manual_seed(settings.seed)
        ours = NeuralMemory(MemorySettings(dim=128, heads=4, depth=2, expansion=2, chunk=chunk))
        x = torch.randn(1, 4096, 128)
        name = f"memory, chunks of {chunk}, forward and backward of 4,096"
        if not there(TITANS):
            begun = time.perf_counter()
            trained_once(ours, x)
            yield Row.of(name, "tokens/s", 4096 / (time.perf_counter() - begun))
            yield not_run(TITANS, "tokens/s, ratio")
            continue
        theirs = TitansPeer(dim=128, heads=4, depth=2, expansion=2.0, chunk=chunk)
        ratio = paired(partial(trained_once, theirs, x), partial(trained_once, ours, x), runs=3)
        yield Row.of(name, "tokens/s", 4096 / ratio.b_ms * 1000)
        yield Row.of(f"{name}, to titans-pytorch", "tokens/s, ratio", ratio.median, at_least=FASTER, note=str(ratio))
        theirs.memory.batch_size = None
        ratio = paired(partial(trained_once, theirs, x), partial(trained_once, ours, x), runs=3)
        note = f"all its gradients at the first weights, which corrects nothing; {ratio}"
        yield Row.of(f"{name}, to titans-pytorch as it comes", "tokens/s, ratio", ratio.median, note=note)


def trained_once(layer: Callable[..., Any], x: torch.Tensor) -> None:
    """Forward and backward."""
    layer(x)[0].square().mean().backward()
