"""bench layers-codebook, selective: what is left of a view after the filter, and what each setting of it does.

Views    BabyAI-GoToLocal-v0 by random walks, eight of an episode: 7,000, the last 1,500 of them held out
         but for what is left of an episode that was learnt from
Task     in which of 49 cells the goal is, or that it is not in view: 50 classes, by E' and two layers
Probes   linear, on E and on E': is the goal in view (accuracy), which of 18 kinds of object are (mean F1). A filter
         that keeps what the goal needs gains on the first, and loses on the second

Arms share data, seed, steps and form; three seeds (--quick: one). Adam with a constant rate: all nets sit on a plateau
for some ten epochs (.577: always "absent"), which a rate that falls would make longer.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from functools import cache
from pathlib import Path
from statistics import fmean
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from foveal.bench.code import digest_of
from foveal.bench.nn_aaren_recall import Told, cell
from foveal.bench.nn_aaren_tables import seeds_of, spread
from foveal.bench.settings import BenchSettings
from foveal.evaluation.tables import Row
from foveal.models.dtypes import native_bfloat16
from foveal.nn.codebook import usage_in
from foveal.nn.goal_agent import Eye, EyeSettings
from foveal.nn.grid_plans import COLOURS, FORWARD, THINGS
from foveal.nn.gridworlds import SHADES, SIDE, World
from foveal.training.probes import LinearProbe

BENCH = "layers-codebook"
WORLD, VIEWS, OF_EPISODE, LEARNT = "BabyAI-GoToLocal-v0", 7000, 8, 5500
BATCH, RATE, GRADIENT, EPOCHS = 128, 1e-3, 0.5, 14
ABSENT = SIDE * SIDE
DOOR = 4
"""MiniGrid's number of the first of `THINGS`; the others follow."""
ARMS = ("none", "codebook", "linear")
SHARPER = "codebook, sharper"
FORMS: dict[str, dict[str, Any]] = {
    **{arm: {"bottleneck": arm} for arm in ARMS},
    SHARPER: {"bottleneck": "codebook", "codebook": {"temperature": 0.1}},
}
"""Arms of agents and texts -> settings. Logits divided by a tenth: the shares are not nearly even at first."""
GOAL_GAIN, OBJECT_LOSS = 0.03, 0.04
SPECIFIED = {"none": 0.752, "codebook": 0.969, "linear": 0.993}
"""Accuracy as specified, of one seed, the lower of its last epochs."""
BELOW, WEAKER = 0.01, 0.03
"""By which the codebook may stay below that, as seeds do; and the others: one that is weaker still is no peer."""
OBJECTS = [kind * SHADES + colour for kind in (5, 6, 7) for colour in range(SHADES)]
"""Numbers of cells with a key, a ball or a box of each colour."""

ABLATIONS: dict[str, dict[str, Any]] = {
    "1 code": {"codes": 1}, "16 codes": {"codes": 16}, "of 2 numbers": {"code_dim": 2},
    "of 64 numbers": {"code_dim": 64}, "dropout 0": {"dropout": 0.0}, "dropout .5": {"dropout": 0.5},
    "random codes": {"kind": "random"}, "binary codes": {"kind": "binary"}, "top 16": {"indexing": "topk"},
    "gumbel": {"indexing": "gumbel"},
}  # fmt: skip


class Views(NamedTuple):
    """What was seen, with what goal, and where the goal was (49: nowhere)."""

    cells: Tensor  # (N, 49)
    goals: Tensor  # (N, 2)
    places: Tensor  # (N,)
    episodes: Tensor  # (N,)

    def part(self, begin: int, end: int) -> Views:
        """Some of them."""
        return Views(*(one[begin:end] for one in self))

    def split(self, count: int) -> tuple[Views, Views]:
        """The first ones, and those of later episodes."""
        apart = int((self.episodes <= self.episodes[count - 1]).sum())
        return self.part(0, count), self.part(apart, len(self.cells))

    def answers(self) -> tuple[Tensor, Tensor]:
        """Is the goal in view (N, 1); which objects are (N, 18)."""
        seen = torch.stack([(self.cells == code).any(1) for code in OBJECTS], 1)
        return (self.places < ABSENT)[:, None], seen


@cache
def views(count: int, seed: int) -> Views:
    """By random walks."""
    world, draw = World(WORLD), torch.Generator().manual_seed(seed)
    cells: list[Tensor] = []
    goals: list[Tensor] = []
    places: list[int] = []
    episodes: list[int] = []
    episode = 0
    while len(cells) < count:
        world.reset(1_000_000 * (seed + 1) + episode)
        episode += 1
        colour, thing = world.task.fields
        code = (DOOR + thing) * SHADES + colour
        for _ in range(OF_EPISODE):
            found = (world.codes == code).nonzero()[0]
            cells.append(torch.from_numpy(world.codes.copy()))
            goals.append(torch.tensor([colour, thing]))
            places.append(int(found[0]) if len(found) else ABSENT)
            episodes.append(episode)
            _, over = world.step(int(torch.randint(FORWARD + 1, (), generator=draw)))
            if over is not None:
                break
    told = (torch.tensor(one[:count]) for one in (places, episodes))
    return Views(torch.stack(cells[:count]), torch.stack(goals[:count]), *told)


class Finder(nn.Module):
    """Where is the goal?"""

    def __init__(self, bottleneck: str, book: Mapping[str, Any], seed: int) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.eye = Eye(EyeSettings(goals=(len(COLOURS) + 1, len(THINGS)), bottleneck=bottleneck, codebook=book))
        width = self.eye.filter.settings.width
        self.head = nn.Sequential(nn.Linear(width, 128), nn.ReLU(), nn.Linear(128, ABSENT + 1))

    def forward(self, cells: Tensor, goals: Tensor) -> Tensor:
        """Logits (N, 50)."""
        told: Tensor = self.head(self.eye(cells, goals))
        return told


def selective(settings: BenchSettings) -> Iterator[Row]:
    """Accuracy and probes of the three arms, then the ablations."""
    found = {arm: [_cell(settings, arm, {}, seed) for seed in seeds_of(settings, headline=True)] for arm in ARMS}
    data = _views(settings)
    share = float((data.places == ABSENT).float().mean())
    yield Row.of("views, always absent", "accuracy", share, note=f"{len(data.cells):,} views of {WORLD}")
    yield from accuracies(found, quick=settings.quick)
    yield from _probes(found, settings)
    if not settings.quick:
        yield from _ablations(settings, found["codebook"][0])


def accuracies(found: Mapping[str, list[Told]], *, quick: bool) -> Iterator[Row]:
    """Of each arm: in the full run at least what is specified, of the codebook at least what no filter has, too."""
    means = {arm: fmean(one["accuracy"] for one in cells) for arm, cells in found.items()}
    for arm, cells in found.items():
        ours = arm == "codebook"
        bars = [means["none"]] if ours else []
        if not quick:
            bars.append(SPECIFIED[arm] - (BELOW if ours else WEAKER))
        at_least = max(bars, default=None)
        note = spread([one["accuracy"] for one in cells])
        if arm == "linear":
            note += "; the control: as narrow, without codes"
        yield Row.of(f"views, {arm}", "accuracy", means[arm], at_least=at_least, note=note)


def _probes(found: Mapping[str, list[Told]], settings: BenchSettings) -> Iterator[Row]:
    slack = 0.02 if settings.quick else 0.0
    for arm, cells in found.items():
        gain, loss = (GOAL_GAIN - slack, slack - OBJECT_LOSS) if arm == "codebook" else (None, None)
        yield probed(f"views, {arm}, goal in view", "accuracy", "goal", cells, at_least=gain)
        yield probed(f"views, {arm}, 18 objects", "F1", "objects", cells, at_most=loss)


def probed(system: str, metric: str, asked: str, cells: Sequence[Told], **bars: float | None) -> Row:
    """What a probe tells more of E' than of E, as the mean of cells."""
    before, after = (fmean(one["probes"][asked][place] for one in cells) for place in (0, 1))
    return Row.of(system, f"{metric} of a probe, E' - E", after - before, note=f"{before:.3f} to {after:.3f}", **bars)


def used_by(model: nn.Module, batches: Iterable[Sequence[Tensor]]) -> Told:
    """Usage of the codebook in `model`, for a cell; nothing where it has none."""
    used = usage_in(model, batches)
    return {} if used is None else {"usage": {**asdict(used), "alarms": list(used.alarms())}}


def used_note(used: Mapping[str, Any]) -> str:
    """Usage in words."""
    told = (
        f"codes in use {used['perplexity_marginal']:.1f}, by one input {used['perplexity_per_sample']:.1f}, "
        f"{used['dead_codes']} dead"
    )
    return f"{told}; ALARM" if used["alarms"] else told


def _ablations(settings: BenchSettings, usual: Told) -> Iterator[Row]:
    for name, book in {"as usual": {}, **ABLATIONS}.items():
        told = usual if not book else _cell(settings, "codebook", book, settings.seed)
        goal, objects = (told["probes"][asked][1] for asked in ("goal", "objects"))
        note = f"{used_note(told['usage'])}; goal {goal:.3f}, objects {objects:.3f}"
        yield Row.of(f"views, codebook, {name}", "accuracy", told["accuracy"], note=note)


def _views(settings: BenchSettings) -> Views:
    return views(VIEWS, settings.seed)


def _cell(settings: BenchSettings, arm: str, book: Mapping[str, Any], seed: int) -> Told:
    known_by = {
        "arm": arm, "book": dict(book), "seed": seed, "views": VIEWS, "learnt": LEARNT, "epochs": EPOCHS, "rate": RATE,
        "data": settings.seed,
    }  # fmt: skip
    code = digest_of(Finder(arm, book, seed), LinearProbe.fit)

    def made(_: Path) -> Told:
        return _found(_views(settings), arm, book, seed)

    return cell(settings, f"views-{arm}", known_by, made, code=code, bench=BENCH)


def _found(data: Views, arm: str, book: Mapping[str, Any], seed: int) -> Told:
    """A trained arm's accuracy, probes and usage."""
    model = Finder(arm, book, seed)
    learnt, held = data.split(LEARNT)
    _trained(model, learnt, seed)
    with torch.no_grad():
        accuracy = float((model(held.cells, held.goals).argmax(-1) == held.places).float().mean())
        parts = [(model.eye.joint(one.cells, one.goals), model.eye(one.cells, one.goals)) for one in (learnt, held)]
    goal, objects = (list(one) for one in zip(learnt.answers(), held.answers(), strict=True))
    probes: dict[str, list[float]] = {"goal": [], "objects": []}
    for before, after in zip(*parts, strict=True):  # E, then E'
        probes["goal"].append(LinearProbe.fit(before, goal[0]).accuracy(after, goal[1]))
        probes["objects"].append(LinearProbe.fit(before, objects[0], balanced=True).f1(after, objects[1]))
    return {"accuracy": accuracy, "probes": probes, **used_by(model.eye, [(held.cells, held.goals)])}


def _trained(model: Finder, data: Views, seed: int) -> None:
    """In place; ends in eval mode."""
    draw = torch.Generator().manual_seed(seed)
    optimiser = torch.optim.Adam(model.parameters(), lr=RATE, fused=True)
    model.train()
    for _ in range(EPOCHS):
        for rows in torch.split(torch.randperm(len(data.cells), generator=draw), BATCH):
            with torch.autocast("cpu", torch.bfloat16, enabled=native_bfloat16()):
                logits = model(data.cells[rows], data.goals[rows])
            loss = F.cross_entropy(logits.float(), data.places[rows])
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(model.parameters(), GRADIENT)
            optimiser.step()
    model.eval()
