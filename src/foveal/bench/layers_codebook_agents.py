"""bench layers-codebook, agents: three families of MiniGrid, by one agent with no filter, codebook, linear 10.

learning    success on 200 fixed seeds after every 20,000 frames (--quick: 50, 2,500); the area under that curve,
            frames to 80 %
efficiency  success, SPL, SEL and length of other episodes, beside actions at random
sharper     reaching also by a codebook of temperature .1 (full run)
look        kinds and colours of what is seen are exchanged, and only what stands before the filter learns anew (in the
            arm without one the same weights); the reaching agents, all arms

Three seeds (--quick: one, reaching alone, fewer frames). 300,000 frames an agent, then 60,000 to see anew, as
specified; after 40,000 the codebook still sits on its plateau. The paper has 500 million.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from statistics import fmean

from foveal.bench.code import code_digest
from foveal.bench.layers_codebook_views import ARMS, BENCH, FORMS
from foveal.bench.nn_aaren_recall import Told, cell, cell_folder
from foveal.bench.nn_aaren_tables import seeds_of, spread
from foveal.bench.settings import BenchSettings
from foveal.evaluation.tables import Row
from foveal.nn.agent_training import (
    FINAL,
    METRIC,
    AgentTraining,
    adapt,
    agent_for,
    learned,
    load_agent,
    measured,
    save_agent,
)
from foveal.nn.grid_plans import REACH
from foveal.nn.gridworlds import FAMILIES, Look
from foveal.training.loop import Curves
from foveal.training.ppo import PPOSettings
from foveal.training.precision import mixed_precision
from foveal.training.report import plain_settings

FRAMES, OFTEN_MEASURED = 300_000, 20_000
QUICK, ANEW, ANEW_QUICK = 25_000, 60_000, 10_000
OFTEN, REACHED = 0.8, 0.9
LOOK = Look.drawn(7)


def agents(settings: BenchSettings) -> Iterator[Row]:
    """The rows of all families, then of the other look."""
    for family in (REACH,) if settings.quick else FAMILIES:
        seeds = seeds_of(settings, headline=True)
        arms = FORMS if family == REACH and not settings.quick else ARMS
        found = {arm: [_cell(settings, family, arm, seed) for seed in seeds] for arm in arms}
        yield from _learning(family, found)
        yield from _efficiency(settings, family, found)
    yield from _look(settings)


def training_of(settings: BenchSettings, arm: str, seed: int) -> AgentTraining:
    """How an arm is trained."""
    frames = QUICK if settings.quick else FRAMES
    stretch = min(frames // 10, OFTEN_MEASURED)
    ppo = PPOSettings(frames=frames, stretch=stretch, seed=seed, bfloat16=mixed_precision())
    return AgentTraining(form=FORMS[arm], ppo=ppo, episodes=50 if settings.quick else 200)


def _learning(family: str, found: Mapping[str, Sequence[Told]]) -> Iterator[Row]:
    areas = {arm: fmean(area(one["curve"]) for one in cells) for arm, cells in found.items()}
    for arm, cells in found.items():
        at_least = areas["none"] if arm == "codebook" else None
        reached = [to_reach(one["curve"], OFTEN) for one in cells]
        told = ", ".join("never" if frames is None else f"{frames:,}" for frames in reached)
        note = f"{spread([area(one['curve']) for one in cells])}; frames to {OFTEN:.0%}: {told}"
        yield Row.of(f"{family}, {arm}", "area under success", areas[arm], at_least=at_least, note=note)
    ratio = fmean(one["ratio spread"] for one in found["codebook"])
    note = "of the first pass, last stretch; 0 without dropout"
    yield Row.of(f"{family}, codebook, policy ratio", "spread", ratio, note=note)


def _efficiency(settings: BenchSettings, family: str, found: Mapping[str, Sequence[Told]]) -> Iterator[Row]:
    chance = found["none"][0]["chance"]
    yield Row.of(f"{family}, random actions", METRIC, chance[METRIC], note=_told(chance))
    plain = fmean(one["reached"]["SEL"] for one in found["none"])
    for arm, cells in found.items():
        means = {name: fmean(one["reached"][name] for one in cells) for name in cells[0]["reached"]}
        note = f"{_told(means)}; {spread([one['reached'][METRIC] for one in cells])}"
        bar = REACHED - (0.1 if settings.quick else 0)  # the controls', too: agents that fail say nothing of filters
        yield Row.of(f"{family}, {arm}", METRIC, means[METRIC], at_least=bar, note=note)
        at_least = plain - (0.05 if settings.quick else 0) if arm == "codebook" else None
        yield Row.of(f"{family}, {arm}", "SEL", means["SEL"], at_least=at_least)


def _told(values: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {values[name]:.3f}" for name in ("SPL", "SEL")) + f", {values['steps']:.1f} steps"


def area(curve: Sequence[tuple[int, float]]) -> float:
    """The mean height of a curve (frames, success), by trapezia, over its frames."""
    if len(curve) < 2:
        return curve[0][1]
    parts = [(b[0] - a[0]) * (a[1] + b[1]) / 2 for a, b in pairwise(curve)]
    return sum(parts) / (curve[-1][0] - curve[0][0])


def to_reach(curve: Sequence[tuple[int, float]], height: float) -> int | None:
    """The first frames at which the curve is so high; None: never."""
    return next((int(frames) for frames, value in curve if value >= height), None)


# -- cells -------------------------------------------------------------------------------------------------------------


def _place(settings: BenchSettings, family: str, arm: str, seed: int) -> Path:
    """Of a cell's agent: in the cell's own folder, so that what is adapted is the agent whose figures stand there."""
    known_by = _known_by(training_of(settings, arm, seed), family)
    return cell_folder(settings, f"{family}-{arm}-{seed}", known_by, code=_code(), bench=BENCH) / "agent"


def _known_by(training: AgentTraining, family: str) -> dict[str, object]:
    return {"training": plain_settings(training), "environment": FAMILIES[family]}


def _code() -> str:
    """A hash of agents, their worlds and how they learn."""
    own = code_digest("foveal.nn.agent_training", within="foveal.nn")
    return f"{own} {code_digest('foveal.training.ppo')}"


def _cell(settings: BenchSettings, family: str, arm: str, seed: int) -> Told:
    training, name = training_of(settings, arm, seed), FAMILIES[family]
    kept = _place(settings, family, arm, seed)

    def made(folder: Path) -> Told:
        agent = agent_for(name, training.form, seed)
        curves = learned(agent, name, training, folder)
        agent.eval()
        told = {
            "curve": _curve(curves), "ratio spread": curves.metrics[-1][1]["ratio spread"], "seconds": curves.seconds,
            "reached": measured(agent, name, FINAL, 2 * training.episodes),
            "chance": measured(None, name, FINAL, 2 * training.episodes),
        }  # fmt: skip
        shutil.rmtree(kept, ignore_errors=True)
        save_agent(agent, name, kept)
        shutil.rmtree(folder)
        return told

    return cell(settings, f"{family}-{arm}-{seed}", _known_by(training, family), made, code=_code(), bench=BENCH)


def _curve(curves: Curves) -> list[tuple[int, float]]:
    return [(frames, values[METRIC]) for frames, values in curves.metrics]


# -- another look ------------------------------------------------------------------------------------------------------


def _look(settings: BenchSettings) -> Iterator[Row]:
    """Success before and after learning to see anew."""
    seeds = seeds_of(settings, headline=True)
    found = {arm: [_adapted(settings, arm, seed) for seed in seeds] for arm in ARMS}
    plain = fmean(one["after"][METRIC] for one in found["none"])
    for arm, cells in found.items():
        after = [one["after"][METRIC] for one in cells]
        at_least = plain - (0.05 if settings.quick else 0) if arm == "codebook" else None
        before = fmean(one["before"][METRIC] for one in cells)
        note = f"{before:.3f} before; {cells[0]['learnt']:,} weights learn; {spread(after)}"
        yield Row.of(f"{REACH}, another look, {arm}", METRIC, fmean(after), at_least=at_least, note=note)


def _adapted(settings: BenchSettings, arm: str, seed: int) -> Told:
    usual, name = training_of(settings, arm, seed), FAMILIES[REACH]
    frames = ANEW_QUICK if settings.quick else ANEW
    training = replace(usual, ppo=replace(usual.ppo, frames=frames, stretch=frames // 2))
    _cell(settings, REACH, arm, seed)
    kept = _place(settings, REACH, arm, seed)

    def made(folder: Path) -> Told:
        agent, _ = load_agent(kept)
        before = measured(agent, name, FINAL, 2 * training.episodes, LOOK)
        adapt(agent, name, training, folder, look=LOOK, depends_on=f"{arm} {seed}")
        agent.eval()
        after = measured(agent, name, FINAL, 2 * training.episodes, LOOK)
        shutil.rmtree(folder)
        learnt = sum(one.numel() for one in agent.parameters() if one.requires_grad)
        return {"before": before, "after": after, "learnt": learnt}

    known_by = {**_known_by(training, REACH), "agent": plain_settings(usual), "look": LOOK}
    return cell(settings, f"look-{arm}-{seed}", known_by, made, code=_code(), bench=BENCH)
