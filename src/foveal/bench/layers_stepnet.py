"""bench layers-stepnet: gates on residual branches, and the instruments that say where a network is stiff.

exact       gates that step by 1 change nothing, taken off they change nothing; JI against a singular value
equations   LI from 1000 to 1 where two decays say so; a solver's steps beside JI and SI (van der Pol)
mechanism   the step that makes one Euler step of dx/dt = -l x exact, learnt from x and f, from either alone, from none
sizes       parameters, operations, and the time of a training step of each kind of gate
images      ResNets for CIFAR-10's photographs with each kind of gate, fifteen epochs over five seeds
stripe      steps replaced by their mean over inputs, and by another input's
placement   gates on the fastest third of the blocks, the slowest, a third drawn
depth       FSI, accuracy and how far training comes, at several depths
text        a BERT with gates (layers_stepnet_text.py)

Needs data/cifar10-small and data/classification/r8. Not run here: CIFAR-100 with ResNet-164, ImageNet, COCO.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from statistics import fmean, stdev

import numpy as np
import torch
from torch import Tensor, nn

from foveal.bench.known_sets import held_to
from foveal.bench.layers_stepnet_images import KINDS, SET, Arms, Scale, image_loss, network
from foveal.bench.layers_stepnet_steps import errors
from foveal.bench.layers_stepnet_text import rows_of, texts
from foveal.bench.settings import BenchSettings
from foveal.errors import InputError
from foveal.evaluation.classification import spearman
from foveal.evaluation.files import present
from foveal.evaluation.output_error import far_apart
from foveal.evaluation.speed import paired
from foveal.evaluation.tables import Row, largest, least
from foveal.nn.gating import attach, detach, steps_replaced
from foveal.nn.jacobians import greatest_stretch
from foveal.nn.ode_stiffness import linear, trajectory_stiffness, van_der_pol
from foveal.nn.resnet import ResNetSettings
from foveal.nn.stiffness import Stiffness, stiffness
from foveal.training.precision import mixed_precision

SAME, NORM, FOLLOWS = 1e-6, 1e-3, 0.9
BETTER = 100.0
"""Times that the error falls where x is seen besides f."""
PARAMETERS = {"none": 272_474, "SE": 280_958, "StepNet pair": 284_990, "StepNet diff": 289_022}
"""Of a ResNet-20 for ten classes."""
SPECIFIED = {"none": 0.549, "SE": 0.561, "StepNet pair": 0.56, "StepNet diff": 0.563}
"""Accuracy on the photographs of `SET` as specified, of two seeds."""
BELOW, WEAKER = 0.01, 0.03
"""By which StepNet's may stay below that, as seeds do; and the others: one that is weaker still is no peer."""
ERRORS = {"nothing: the best one": 0.368, "x": 0.37, "f": 0.1436, "x and f": 2e-5}
"""Mean squared errors of the decays as specified; x and f: the greatest of three seeds."""
DRAWN = 1.02
"""Times these that the others' may be, as other decays are drawn: a rival that errs more makes the ratio easy."""
SHORTER = -0.965
"""Correlation of log a and log l, specified as -.97."""
ROUGH = 0.05
"""The margin of the quick run, whose networks see 4,000 photographs in all."""
ENOUGH = 3
"""Seeds below which a difference is called nothing."""
SPARSE = 3
"""One of so many blocks has a gate in a sparse placement: three of a ResNet-20's nine."""

QUICK = Scale(learnt=1000, epochs=4, depth=8, depths=(8, 14), seeds=2, few=1)
FULL = Scale(learnt=4000, epochs=15, depth=20, depths=(8, 14, 20, 32), seeds=5, few=3)


def stepnet(settings: BenchSettings) -> Iterator[Row]:
    """The rows of `foveal bench layers-stepnet`."""
    yield from exact(settings)
    yield from equations()
    yield from mechanism(settings)
    yield from sizes(settings)
    arms = Arms(settings, QUICK if settings.quick else FULL)
    classes = [int(part.labels.max()) + 1 for part in (arms.learnt, arms.held)]
    if classes[0] != classes[1] or classes[0] > ResNetSettings.classes:
        raise InputError(
            f"cifar10-small has photographs of {classes[0]} classes to learn from and of {classes[1]} to test. It "
            f"needs the same in both, at most {ResNetSettings.classes}."
        )
    found: dict[str, list[float]] = {}
    yield from images(arms, found)
    yield from stripe(arms)
    yield from placement(arms)
    yield from depths(arms)
    _classes_are_learnt(settings.folder("classification/r8", ["train.csv", "test.csv"]))
    yield from texts(settings)


def _classes_are_learnt(folder: Path) -> None:
    """InputError: texts to test with are of a class that no text to learn from is of."""
    learnt, held = ({label for label, _ in rows_of(present(folder, f"{name}.csv"))} for name in ("train", "test"))
    if unknown := sorted(held - learnt):
        raise InputError(
            f"{folder}: test.csv has the label {', '.join(unknown)}, which train.csv lacks. Mend one of them."
        )


# -- exact -------------------------------------------------------------------------------------------------------------


@torch.no_grad()
def exact(settings: BenchSettings) -> Iterator[Row]:
    """On a ResNet-20 with weights drawn."""
    torch.manual_seed(settings.seed)
    model = network("none", 20, settings.seed).eval()
    x = torch.randn(4, 3, 16, 16)
    before = model(x)
    attach(model, "constant", most=2.0)
    yield Row.of("gates that step by 1", "largest difference", far_apart(model(x), before), at_most=SAME)
    detach(model)
    yield Row.of("gates taken off", "largest difference", far_apart(model(x), before), at_most=0)
    weight = torch.randn(48, 64)
    told = float(greatest_stretch(lambda one: one @ weight.T, torch.randn(1, 64), steps=100)[0])
    norm = float(torch.linalg.matrix_norm(weight, 2))
    note = "of a linear block, 100 iterations"
    yield Row.of("JI / greatest singular value", "difference", abs(told / norm - 1), at_most=NORM, note=note)


def equations() -> Iterator[Row]:
    """Two decays by Radau, van der Pol by RK45."""
    path = trajectory_stiffness(linear([1, 1000]), [1, 1], (0, 5))
    yield Row.of("rates 1 and 1000, at the start", "LI", path.li[0], at_least=999, at_most=1001)
    yield Row.of("rates 1 and 1000, at the end", "LI", path.li[-1], at_least=0.999, at_most=1.001)
    for mu, span in ((10.0, 60.0), (100.0, 170.0)):
        path = trajectory_stiffness(van_der_pol(mu), [2, 0], (0, span), method="RK45", rtol=1e-6, atol=1e-9)
        effort = (1 / path.lengths).tolist()
        name, metric = f"van der Pol, mu = {mu:g}: 1 / step and", "Spearman"
        yield Row.of(f"{name} JI", metric, spearman(effort, path.ji[:-1].tolist()), at_least=FOLLOWS)
        fast = spearman(effort, path.si[:-1].tolist())
        yield Row.of(f"{name} SI", metric, fast, at_most=0.5, note="the control: fast is not stiff")


def mechanism(settings: BenchSettings) -> Iterator[Row]:
    """Three seeds, each against the other."""
    found = [errors(seed) for seed in range(settings.seed, settings.seed + 3)]
    for name in found[0]:
        values = [one[name].error for one in found]
        note = f"{min(values):.3g} to {max(values):.3g}"
        if found[0][name].follows is not None:
            note += f"; log a follows log l by {fmean(one[name].follows or 0 for one in found):.2f}"
        yield Row.of(f"decays, step from {name}", "mean squared error", fmean(values), at_most=most_of(name), note=note)
    ratios = [one["f"].error / one["x and f"].error for one in found]
    yield Row.of("decays: f alone / x and f, the least of 3 seeds", "error, ratio", least(*ratios), at_least=BETTER)
    follows = [one["x and f"].follows or 0.0 for one in found]
    yield Row.of("decays, step from x and f", "correlation of log a and log l", largest(*follows), at_most=SHORTER)


def most_of(seen: str) -> float | None:
    """The greatest error of a step that is told from that; None where none is specified."""
    if seen not in ERRORS:
        return None
    return ERRORS[seen] * (1 if seen == "x and f" else DRAWN)


# -- images ------------------------------------------------------------------------------------------------------------


def sizes(settings: BenchSettings) -> Iterator[Row]:
    """Of a ResNet-20 and photographs of 16 x 16."""
    from torch.utils.flop_counter import FlopCounterMode

    models = {kind: network(kind, 20, settings.seed) for kind in KINDS}
    image = torch.zeros(1, 3, 16, 16)
    for kind, model in models.items():
        count = sum(weight.numel() for weight in model.parameters())
        asked = PARAMETERS.get(kind)
        yield Row.of(f"ResNet-20: {kind}", "parameters", count, at_least=asked, at_most=asked)
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            model.eval()(image)
        yield Row.of(f"ResNet-20: {kind}", "million operations, forward", counter.get_total_flops() / 1e6)
    batch = {"images": torch.zeros(64, 3, 16, 16, dtype=torch.uint8), "labels": torch.zeros(64, dtype=torch.long)}
    plain = partial(_step, models["none"], batch)
    for kind in list(KINDS)[1:]:
        ratio = paired(plain, partial(_step, models[kind], batch), runs=5 if settings.quick else 15, warmup=2)
        yield Row.of(f"ResNet-20: {kind} / none", "time of a training step", 1 / ratio.median, note=str(ratio))


def _step(model: nn.Module, batch: dict[str, Tensor]) -> None:
    model.train()
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=mixed_precision()):
        loss = image_loss(model, batch)
    loss.backward()  # type: ignore[no-untyped-call]
    model.zero_grad()


def images(arms: Arms, found: dict[str, list[float]]) -> Iterator[Row]:
    """Accuracy by kind, and what can be said of two kinds; `found` is filled."""
    scale = arms.scale
    batches = arms.batches(arms.held)
    for kind in KINDS:
        reports = []
        for seed in range(scale.seeds):
            model = arms.arm(kind, seed)
            found.setdefault(kind, []).append(arms.accuracy(model))
            reports.append(stiffness(model, batches))
        told = ", ".join(f"{one:.4f}" for one in found[kind])
        note = f"ResNet-{scale.depth}, {len(arms.learnt):,} photographs, {scale.epochs} epochs: {told}"
        bar = least_of(kind, quick=arms.settings.quick)
        row = Row.of(f"images: {kind}", "accuracy", fmean(found[kind]), at_least=bar, note=note)
        yield held_to(SET, arms.known, row)
        yield Row.of(f"images: {kind}", "sd of the accuracy over seeds", stdev(found[kind]))
        yield from _gates(kind, reports)
    margin = ROUGH if arms.settings.quick else stdev(found["none"])
    low, name = fmean(found["none"]) - margin, "images: StepNet pair, against none - 1 sd"
    note = f"--quick: none - {ROUGH:g}" if arms.settings.quick else ""
    yield Row.of(name, "accuracy", fmean(found["StepNet pair"]), at_least=low, note=note)
    for kind in list(KINDS)[1:]:
        yield _gain(f"images: {kind} - none", found[kind], found["none"])
    for kind in ("SE", "CBAM", "ECA", "SRM", "constant"):
        yield _gain(f"images: StepNet pair - {kind}", found["StepNet pair"], found[kind])


def least_of(kind: str, *, quick: bool) -> float | None:
    """The least accuracy of an arm in the full run; None where none is specified."""
    if quick or kind not in SPECIFIED:
        return None
    return SPECIFIED[kind] - (BELOW if kind.startswith("StepNet") else WEAKER)


def _gain(name: str, ours: list[float], theirs: list[float]) -> Row:
    """A paired difference, called one only where it is twice its standard error."""
    apart = [a - b for a, b in zip(ours, theirs, strict=True)]
    error = stdev(apart) / math.sqrt(len(apart))
    mean = fmean(apart)
    verdict = "equal" if abs(mean) <= 2 * error else "better" if mean > 0 else "worse"
    if len(apart) < ENOUGH:
        verdict = "too few seeds to say"
    return Row.of(name, "accuracy", mean, note=f"{verdict}: ± {error:.4f}, {len(apart)} seeds")


def _gates(kind: str, reports: list[Stiffness]) -> Iterator[Row]:
    """Where the network is fast, how even that is, and how steps vary."""
    curve = np.mean([[block.si for block in one.blocks] for one in reports], axis=0)
    note = "SI by block: " + " ".join(f"{one:.2f}" for one in curve)
    yield Row.of(f"images: {kind}", "FSI", fmean(one.index for one in reports), note=note)
    if KINDS[kind] is None:
        return
    vary = np.mean([[block.adaptivity or 0.0 for block in one.blocks] for one in reports], axis=0)
    together = fmean(one.correlation or 0.0 for one in reports)
    note = f"by block: {' '.join(f'{one:.3f}' for one in vary)}; ranks of a follow those of |f| / |s| by {together:.2f}"
    yield Row.of(f"images: {kind}", "sd of a over images", float(vary.mean()), note=note)


def stripe(arms: Arms) -> Iterator[Row]:
    """What is lost without a step's own input: near 0 where a gate is a stripe. Means are of what was learnt from."""
    batches = arms.batches(arms.learnt)
    for kind in ("SE", "StepNet pair"):
        lost: dict[str, list[float]] = {"mean": [], "other": []}
        for seed in range(arms.scale.seeds):
            model = arms.arm(kind, seed)
            whole = arms.accuracy(model)
            means = stiffness(model, batches).steps
            draw = torch.Generator().manual_seed(seed)
            ways: dict[str, Callable[[str, Tensor], Tensor]] = {
                "mean": lambda name, steps, means=means: means[name].expand_as(steps),  # type: ignore[misc]
                "other": lambda _, steps, draw=draw: steps[torch.randperm(len(steps), generator=draw)],  # type: ignore[misc]
            }
            for way, by in ways.items():
                with steps_replaced(model, by):
                    lost[way].append(whole - arms.accuracy(model))
        note = f"{arms.scale.seeds} seeds"
        yield Row.of(
            f"images: {kind}, steps by their mean over images", "accuracy lost", fmean(lost["mean"]), note=note
        )
        told = arms.scale.seeds * len(arms.held)  # by one more, at least: a constant step loses 0 either way
        margin = ROUGH if arms.settings.quick else -0.99 / told
        bar = {"at_least": fmean(lost["mean"]) - margin} if kind == "StepNet pair" else {}
        name = f"images: {kind}, steps of another image"
        yield Row.of(name, "accuracy lost", fmean(lost["other"]), note="bar: more than by the mean", **bar)


def placement(arms: Arms) -> Iterator[Row]:
    """A third of the blocks, chosen by the speed of the plain network of the same seed on what was learnt from."""
    batches = arms.batches(arms.learnt)
    reports = [stiffness(arms.arm("none", seed), batches) for seed in range(arms.scale.few)]
    few = max(1, len(reports[0].blocks) // SPARSE)
    found: dict[str, list[float]] = {"fastest": [], "slowest": [], "drawn": []}
    for seed, report in enumerate(reports):
        order = report.fastest(len(report.blocks))
        drawn = [order[at] for at in np.random.default_rng(seed).permutation(len(order))[:few]]
        for name, blocks in (("fastest", order[:few]), ("slowest", order[-few:]), ("drawn", drawn)):
            found[name].append(arms.accuracy(arms.arm("StepNet pair", seed, placement=sorted(blocks))))
    for name, values in found.items():
        note = ", ".join(f"{one:.4f}" for one in values)
        yield Row.of(f"images: StepNet pair, {name} blocks: {few}", "accuracy", fmean(values), note=note)
    gain = fmean(a - b for a, b in zip(found["fastest"], found["slowest"], strict=True))
    least, note = (-ROUGH, f"--quick: at least -{ROUGH:g}") if arms.settings.quick else (0.0, "")
    yield Row.of("images: fastest - slowest blocks", "accuracy", gain, at_least=least, note=note)


def depths(arms: Arms) -> Iterator[Row]:
    """FSI beside accuracy and how far the training came."""
    batches, scale = arms.batches(arms.held), arms.scale
    every: list[tuple[float, float, float]] = []
    for depth in scale.depths:
        for kind in ("none", "StepNet pair"):
            seen = []
            for seed in range(scale.few):
                model = arms.arm(kind, seed, depth=depth)
                seen.append((stiffness(model, batches).index, arms.accuracy(model), arms.nats(model)))
            every += seen
            index, right, nats = (fmean(column) for column in zip(*seen, strict=True))
            name, note = f"ResNet-{depth}: {kind}", f"FSI {index:.2f}; seeds: {scale.few}"
            yield Row.of(name, "accuracy", right, note=note)
            yield Row.of(name, "nats on what was learnt from", nats, note=note)
    if len(every) > 2:
        indices, rights, nats_ = (list(column) for column in zip(*every, strict=True))
        note = f"{len(every)} networks"
        yield Row.of("FSI and accuracy, over depths", "Spearman", spearman(indices, rights), note=note)
        yield Row.of("FSI and nats learnt, over depths", "Spearman", spearman(indices, nats_), note=note)
