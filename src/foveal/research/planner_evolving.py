"""A planner that learns from its own runs: it plans for questions of known answer, and learns the plans that found it.

    rounds = evolve(model, search, learned, runs, settings, EvolvingSettings(), folder=run)
    [(one.learned, one.curves, one.own) for one in rounds]

A round    several plans are drawn for each question by the planner as it stands; one is kept where its passages hold
           the answer: of these the one with the most supporting passages, then the one with the fewest queries. The
           model is then taught anew from the recorded runs and its own; held-out questions are never planned for
Drawn      of the tokens that the planner was taught among: of the others it has learnt nothing, not even to leave them
Kept       a round's own runs, in round-<n>/own.json: who was stopped does not plan again, and learns from the same ones
Source     Singh et al., 2023 (ReST-EM), as search agents use it (EvolveSearch, EXSEARCH): roll out, keep what is
           verified, learn it by likelihood, again
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from torch import nn

from foveal.models.language import LanguageModel
from foveal.ranges import COUNT, POSITIVE, require_settings
from foveal.research.exploring import Explored, Writer, explore
from foveal.research.planner_reinforcement import well_formed
from foveal.research.planner_settings import PlannerSettings
from foveal.research.planner_training import Parted, distil, learned_model, told_apart, vocabulary, weights_digest
from foveal.research.query_writer import QueryWriter
from foveal.research.recorded_search import RecordedSearch, found_answer, supporting_recall
from foveal.research.trajectories import Recorded, Step, Trajectory
from foveal.research.transcripts import Format
from foveal.training import checkpoints
from foveal.training.loop import Curves
from foveal.training.watch import Progress

AT_ONCE = 16
"""Questions that are planned for side by side."""

OWN = "own.json"

SEEN = 5
"""Passages of a search that a run notes, as recorded agents were given them."""


@dataclass(frozen=True, kw_only=True)
class EvolvingSettings:
    """How often, and from how many plans; checked when made."""

    rounds: int = 1
    samples: int = 4  # plans of a question
    temperature: float = 1.0  # at which they are drawn

    def __post_init__(self) -> None:
        """InputError: a value out of its range."""
        require_settings("A planner's own runs", self, rounds=COUNT, samples=COUNT, temperature=POSITIVE)


@dataclass(frozen=True, eq=False)
class Round:
    """What a round ended with."""

    learned: nn.ModuleDict
    curves: Curves
    own: tuple[Trajectory, ...]  # the planner's own runs that it learnt from


def drawing(
    model: LanguageModel,
    recorded: Recorded,
    learned: nn.ModuleDict,
    taught_by: Sequence[Trajectory],
    settings: PlannerSettings,
) -> QueryWriter:
    """Writes with the changes that were learnt from these runs, and with the tokens that they were learnt among."""
    form = Format(model, settings.transcript)
    only = sorted(vocabulary(form, recorded, taught_by))
    return QueryWriter(model, learned_model(model, learned, settings), settings.transcript, only=only)


def rolled_out(
    writer: Writer,
    recorded: Recorded,
    runs: Sequence[Trajectory],
    search: RecordedSearch,
    settings: PlannerSettings,
    by: EvolvingSettings,
    *,
    number: int = 0,
    on_progress: Callable[[Progress], None] = lambda _: None,
) -> list[Trajectory]:
    """The planner's own runs of round `number` that found what they were to find, at most one a question."""
    asked = [run for run in runs if run.measurable]
    made: list[Trajectory] = []
    for first in range(0, len(asked), AT_ONCE):
        group = asked[first : first + AT_ONCE]
        on_progress(Progress(0, 0, note=f"Round {number + 1}: planning for {len(asked):,} questions, {first:,} done"))
        seeds = [
            ((settings.loop.seed * 1009 + number) * 100_003 + first + place) * by.samples + one
            for place in range(len(group))
            for one in range(by.samples)
        ]
        plans = explore(
            writer, search, [run.question for run in group for _ in range(by.samples)], most=settings.most_queries,
            settings=settings.transcript, temperature=by.temperature, seeds=seeds,
        )  # fmt: skip
        for place, run in enumerate(group):
            best = _best(recorded, run, plans[place * by.samples : (place + 1) * by.samples], search, settings)
            if best is not None:
                steps = tuple(Step(query, tuple(search(query)[:SEEN])) for query in best.queries)
                made.append(replace(run, id=f"{run.id}@{number + 1}", steps=steps))
    return made


def _best(
    recorded: Recorded, run: Trajectory, plans: Sequence[Explored], search: RecordedSearch, settings: PlannerSettings
) -> Explored | None:
    """The plan that is worth learning; None where none found the answer in good form."""
    found = [(plan, plan.found(search, budget=settings.budget, first=settings.first)) for plan in plans]
    right = [(plan, ids) for plan, ids in found if well_formed(plan) and found_answer(recorded, run, ids)]
    if not right:
        return None
    return max(right, key=lambda one: (supporting_recall(run, one[1]), -len(one[0].queries)))[0]


def evolve(
    model: LanguageModel,
    search: RecordedSearch,
    learned: nn.ModuleDict,
    runs: Parted,
    settings: PlannerSettings,
    by: EvolvingSettings,
    *,
    folder: Path,
    on_progress: Callable[[Progress], None] = lambda _: None,
) -> list[Round]:
    """The rounds, each planned with the changes of the one before; fewer where a round finds nothing.

    Runs to learn from are planned for. `folder` keeps own runs and checkpoints: the same call goes on to
    the same end. InputError: `folder` is another training's.
    """
    recorded, (learnt, held) = search.recorded, runs
    rounds: list[Round] = []
    taught_by = (*held, *learnt)
    for number in range(by.rounds):
        place = folder / f"round-{number + 1}"
        depends_on = [
            model.fingerprint, recorded.fingerprint, weights_digest(learned), told_apart(recorded, taught_by),
            told_apart(recorded, learnt), asdict(settings), by.samples, by.temperature, number,
        ]  # fmt: skip
        own = kept_runs(place / OWN, depends_on)
        if own is None:
            writer = drawing(model, recorded, learned, taught_by, settings)
            own = rolled_out(writer, recorded, learnt, search, settings, by, number=number, on_progress=on_progress)
            keep_runs(place / OWN, depends_on, own)
        if not own:
            break
        taught_by = (*held, *learnt, *own)
        share = replace(settings, dev_share=len(held) / len(taught_by))  # the same runs are held out
        learned, curves = distil(
            model, recorded, taught_by, share, folder=place, search=search, on_progress=on_progress
        )
        rounds.append(Round(learned, curves, tuple(own)))
    return rounds


def keep_runs(path: Path, depends_on: Sequence[Any], runs: Sequence[Trajectory]) -> None:
    """Write a round's own runs, and a hash of what they depend on."""
    checkpoints.write(path, {"of": _hash(depends_on), "runs": [asdict(run) for run in runs]})


def kept_runs(path: Path, depends_on: Sequence[Any]) -> list[Trajectory] | None:
    """What `keep_runs` wrote; None where there is nothing, or it depended on something else."""
    found = checkpoints.read(path)
    return None if found is None or found.get("of") != _hash(depends_on) else [_run(one) for one in found["runs"]]


def _run(kept: Mapping[str, Any]) -> Trajectory:
    steps = tuple(Step(one["query"], tuple(one["passages"])) for one in kept["steps"])
    return Trajectory(kept["id"], kept["question"], tuple(kept["answers"]), steps, tuple(kept["supporting"]))


def _hash(depends_on: Sequence[Any]) -> str:
    return hashlib.sha256(json.dumps(depends_on).encode()).hexdigest()
