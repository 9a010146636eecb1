"""bench research-retrieval: what a plan finds at an equal number of passages, on questions that no planner learnt from.

recall     share of questions whose answer stands in one of 9 distinct passages: the question alone (what one-shot RAG
           reads), the names of its hits without a model, the question taken apart at once (no query sees what another
           found), ReAct, the planner untaught and taught, the recorded agent of 7B
controls   the taught planner without what was found (all queries from the question), and shown what another question's
           query found: a planner that reads must lose by both
depends    second queries with a word that only what the first one found could give
reward     mean reward of the passes over the same questions; recall of held-out questions afterwards
fused      the same plans, found by words and vectors together

HotpotQA is planned for by halves, each by a planner that learnt from the other; 2Wiki by a planner of HotpotQA alone.
Bars are the spec's: points above the question alone on the same questions. Bamboogle is not in the data folder: where
the folder r1searcher/bamboogle holds a held-out set of the recorded layout, dependency is held to 0.8 there; on 2Wiki
it is held to 0.8 of those plans where the recorded agent's second query depended on its first.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from statistics import fmean
from typing import Any

import numpy as np

from foveal.bench.known_sets import held_to
from foveal.bench.research_arms import HELD_OUT, HOTPOT, TWO_WIKI, Arms, Plans, RecordedSet, Sizes, planning_code
from foveal.bench.research_react import ReAct
from foveal.bench.runner import SIZE
from foveal.bench.settings import BenchSettings
from foveal.evaluation.legal import paired_bootstrap
from foveal.evaluation.tables import Row, mean
from foveal.models.language import LanguageModel
from foveal.research.exploring import depends, explore
from foveal.research.plan_names import READ, names_found
from foveal.research.recorded_search import RecordedSearch
from foveal.research.trajectories import Trajectory

NAMES: Mapping[str, str] = {HOTPOT: "HotpotQA", TWO_WIKI: "2Wiki"}
RECORDED: Mapping[str, str] = {HOTPOT: "HotpotQA, recorded", TWO_WIKI: "2Wiki, recorded"}
"""The sets in those folders of which figures were measured before."""

GAINS: Mapping[str, float] = {HOTPOT: 4.0, TWO_WIKI: 8.0}
"""Points of the taught planner above the question alone."""

ANCHORS: Mapping[str, tuple[float, float]] = {HOTPOT: (78.0, 84.9), TWO_WIKI: (63.2, 80.9)}
"""Measured for the spec: the question alone, and with the recorded agent's queries."""

NEAR = 2.0
"""Points between our search and the anchors' own BM25, whose words are cut otherwise."""

ABOVE = 0.01
"""Points that are more: a planner that writes the same queries whatever it is shown gains nothing."""

RISE = 0.001
"""Of a log-likelihood, or of a mean reward: a training that changes nothing falls short."""

DEPENDENT = 0.8


def retrieval(settings: BenchSettings, model: LanguageModel | None = None, sizes: Sizes | None = None) -> Iterator[Row]:
    """The rows of `foveal bench research-retrieval`."""
    arms = Arms(settings, sizes or Sizes.of(settings), model)
    yield from anchor_rows(arms)
    yield from taught_rows(arms)
    yield from set_rows(arms, HOTPOT)
    yield from set_rows(arms, TWO_WIKI)
    yield from control_rows(arms)
    yield from dependency_rows(arms)
    yield from reward_rows(arms)
    if not settings.quick:
        yield from fused_rows(arms)


# -- what is compared -------------------------------------------------------------------------------------------------


def set_of(arms: Arms, name: str) -> RecordedSet:
    """A set by its folder."""
    return arms.hotpot if name == HOTPOT else arms.two_wiki


def anchor_rows(arms: Arms) -> Iterator[Row]:
    """Whether the corpora and our search give what was measured for the spec, over all questions."""
    for name in (HOTPOT, TWO_WIKI):
        among = set_of(arms, name)
        yield Row.of(f"{NAMES[name]}: questions", SIZE, len(among.runs))
        yield Row.of(f"{NAMES[name]}: passages", SIZE, len(among.recorded.sources))
        sides = {"the question alone": {run.id: () for run in among.runs}, "recorded agent": among.agent(among.runs)}
        for (side, plans), anchor in zip(sides.items(), ANCHORS[name], strict=True):
            value = fmean(among.hits(plans).values())
            upper = anchor + NEAR if side == "the question alone" else None
            row = Row.of(f"{NAMES[name]}, all: {side}", "recall, 9 passages", value, at_least=anchor - NEAR,
                         at_most=upper, note=f"measured for the spec: {anchor}")  # fmt: skip
            yield held_to(RECORDED[name], among.is_set(RECORDED[name]), row)


def taught_rows(arms: Arms) -> Iterator[Row]:
    """How the distillation went."""
    for fold in range(arms.sizes.folds):
        _, curves = arms.taught(fold)
        before, after = curves.metrics[0][1], dict(curves.metrics)[curves.best_step or 0]
        (metric,) = before
        note = f"{curves.steps} steps, {curves.seconds:.0f} s; before {before[metric]:.3f}"
        yield Row.of(f"planner of half {fold + 1}", f"{metric} of held-out queries", after[metric],
                     at_least=before[metric] + RISE, note=note)  # fmt: skip


def taught_plans(arms: Arms, name: str) -> Plans:
    """The taught planner's plans of a set's measured questions, each by a planner that did not learn from it."""
    if name == TWO_WIKI:
        return arms.plans("taught", arms.two_wiki, arms.others(), arms.taught(0)[0])
    made: dict[str, tuple[str, ...]] = {}
    for fold in range(arms.sizes.folds):
        made |= arms.plans("taught", arms.hotpot, arms.unseen(fold), arms.taught(fold)[0])
    return made


def runs_of(arms: Arms, name: str, plans: Plans) -> list[Trajectory]:
    """The runs of these plans."""
    by = {run.id: run for run in set_of(arms, name).runs}
    return [by[one] for one in plans]


def set_rows(arms: Arms, name: str) -> Iterator[Row]:
    """All ways to search one set."""
    among, taught = set_of(arms, name), taught_plans(arms, name)
    runs = runs_of(arms, name, taught)
    few = runs[: arms.sizes.compared]
    sides: dict[str, Plans] = {
        "the question alone (one-shot RAG)": {run.id: () for run in runs},
        "names without a model": {run.id: without_model(run.question, among.search) for run in runs},
        "taken apart at once, not taught": arms.plans("at once", among, few, None, "none"),
        "ReAct, not taught": react_plans(arms, among, few),
        "planner, not taught": arms.plans("not taught", among, few, None),
        "planner, taught": taught,
        "recorded agent (7B)": among.agent(runs),
    }
    hits = {side: among.hits(plans) for side, plans in sides.items()}
    alone, own = hits["the question alone (one-shot RAG)"], hits["planner, taught"]
    yield Row.of(f"{NAMES[name]}: questions planned for", SIZE, len(runs))
    for side, values in hits.items():
        same = fmean(alone[one] for one in values)
        note = f"{len(values)} questions, the question alone {same:.1f}; {_lengths(sides[side])}"
        yield Row.of(f"{NAMES[name]}: {side}", "recall, 9 passages", fmean(values.values()), note=note)
    gain = GAINS[name] if among.is_set(RECORDED[name]) else ABOVE
    yield gain_row(f"{NAMES[name]}: planner, taught, less the question alone", own, alone, gain - arms.sizes.slack)
    for side in ("planner, not taught", "ReAct, not taught", "taken apart at once, not taught"):
        other = hits[side]
        yield gain_row(
            f"{NAMES[name]}: planner, taught, less {side}", {one: own[one] for one in other}, other,
            ABOVE - arms.sizes.slack,
        )  # fmt: skip


def gain_row(system: str, one: Mapping[str, float], other: Mapping[str, float], least: float | None) -> Row:
    """The difference in points, with its interval."""
    found = paired_bootstrap(one, other)
    note = f"95 %: {found.low:+.1f} to {found.high:+.1f}, {len(one)} questions"
    return Row.of(system, "points of recall", found.difference, at_least=least, note=note)


def react_plans(arms: Arms, among: RecordedSet, runs: Sequence[Trajectory]) -> Plans:
    """ReAct's queries, as many as the planner may ask."""
    writer: list[ReAct] = []

    def make(part: Sequence[Trajectory]) -> list[tuple[str, ...]]:
        writer[:] = writer or [ReAct(arms.model)]
        planner = arms.sizes.planner
        plans = explore(
            writer[0], among.search, [run.question for run in part], most=planner.most_queries,
            settings=planner.transcript,
        )  # fmt: skip
        return [plan.queries for plan in plans]

    return arms.kept(["ReAct", arms.sizes.planner.most_queries, planning_code(ReAct.__module__)], among, runs, make)


def without_model(question: str, search: RecordedSearch) -> tuple[str, ...]:
    """The names that `NamesPlanner` asks of: as many queries as a taught planner's."""
    return tuple(names_found(question, search.shown(search(question)[: 2 * READ])))


def _lengths(plans: Plans) -> str:
    counts = np.bincount([len(one) for one in plans.values()], minlength=3)
    return f"plans of 0, 1, 2 … queries: {', '.join(map(str, counts))}"


# -- does it read -----------------------------------------------------------------------------------------------------


def control_rows(arms: Arms) -> Iterator[Row]:
    """2Wiki, with what was found taken away, or another's given."""
    among, changes = arms.two_wiki, arms.taught(0)[0]
    runs = arms.others(arms.sizes.compared)
    own = among.hits(arms.plans("taught", among, runs, changes))
    for side, evidence in (("all queries at once", "none"), ("shown what another question found", "others")):
        other = among.hits(arms.plans("taught", among, runs, changes, evidence))  # type: ignore[arg-type]
        yield Row.of(f"2Wiki: planner, taught, {side}", "recall, 9 passages", fmean(other.values()))
        yield gain_row(f"2Wiki: planner, taught, less {side}", own, other, ABOVE - arms.sizes.slack)


def dependency_rows(arms: Arms) -> Iterator[Row]:
    """Plans of several queries whose second needs what the first found."""
    for name in (HOTPOT, TWO_WIKI):
        among, plans = set_of(arms, name), taught_plans(arms, name)
        runs = runs_of(arms, name, plans)
        ours = {run.id: depends(among.search, run.question, plans[run.id]) for run in runs}
        agent = {run.id: depends(among.search, run.question, among.agent([run])[run.id]) for run in runs}
        for side, found in (("planner, taught", ours), ("recorded agent", agent)):
            several = [one for one in found.values() if one is not None]
            note = f"{len(several)} plans of several queries"
            yield Row.of(f"{NAMES[name]}: {side}", "share that depends on what was found", mean(several), note=note)
        both = [bool(ours[one]) for one, needed in agent.items() if needed and ours[one] is not None]
        bar = {"at_least": DEPENDENT - arms.sizes.slack / 100} if name == TWO_WIKI else {}
        yield Row.of(f"{NAMES[name]}: planner, taught, where the agent's does", "share that depends on what was found",
                     mean(both), note=f"{len(both)} plans", **bar)  # fmt: skip
    yield held_out_row(arms)


def held_out_row(arms: Arms) -> Row:
    """Dependency on a held-out set of the recorded layout, where there is one."""
    system, metric = "held-out set: planner, taught", "share that depends on what was found"
    if not (arms.settings.data / HELD_OUT).is_dir():
        return Row.of(system, metric, float("nan"), note=f"not run: the data folder has no {HELD_OUT}/ (Bamboogle)")
    among = RecordedSet.of(arms.settings, HELD_OUT)
    runs = list(among.recorded.trajectories)[: arms.sizes.questions]
    plans = arms.plans("taught", among, runs, arms.taught(0)[0])
    found = [depends(among.search, run.question, plans[run.id]) for run in runs]
    several = [one for one in found if one is not None]
    note = f"{len(several)} plans of several queries"
    return Row.of(system, metric, mean(several), at_least=DEPENDENT - arms.sizes.slack / 100, note=note)


# -- reward and fusion ------------------------------------------------------------------------------------------------


def reward_rows(arms: Arms) -> Iterator[Row]:
    """Whether reward rises on the questions it is given for, and what becomes of held-out ones."""
    changes, curves, rewards = arms.rewarded(0)
    passes = rewards.passes(arms.sizes.reward.passes)
    note = f"by pass: {', '.join(f'{one:.3f}' for one in passes)}; {curves.steps} steps, {curves.seconds:.0f} s"
    least = passes[0] + RISE - arms.sizes.slack / 20
    yield Row.of("reward", "mean of the last pass over the same questions", passes[-1], at_least=least, note=note)
    for name, among, runs in (
        (HOTPOT, arms.hotpot, arms.unseen(0, arms.sizes.compared)),
        (TWO_WIKI, arms.two_wiki, arms.others(arms.sizes.compared)),
    ):
        before = among.hits(arms.plans("taught", among, runs, arms.taught(0)[0]))
        after = among.hits(arms.plans("rewarded", among, runs, changes))
        yield gain_row(f"{NAMES[name]}: planner after reward, less before", after, before, None)


def fused_rows(arms: Arms) -> Iterator[Row]:
    """The same plans, found by words and vectors together."""
    for name in (HOTPOT, TWO_WIKI):
        among, plans = set_of(arms, name), taught_plans(arms, name)
        fused = RecordedSearch(among.recorded, _vectors(arms.settings, name))
        runs = runs_of(arms, name, plans)
        alone = among.hits({run.id: () for run in runs}, fused)
        own = among.hits(plans, fused)
        for side, values in (("the question alone", alone), ("planner, taught", own)):
            yield Row.of(f"{NAMES[name]}, words and vectors: {side}", "recall, 9 passages", fmean(values.values()))
        yield gain_row(f"{NAMES[name]}, words and vectors: planner, taught, less the question alone", own, alone, 0.0)


def _vectors(settings: BenchSettings, name: str) -> Any:
    encoder = settings.encoder()

    def vectors(texts: Sequence[str]) -> np.ndarray:
        if len(texts) > 1:  # the corpus
            return settings.cached_vectors([name.replace("/", "-"), "passages"], texts, encoder)
        return np.asarray(encoder.encode(texts), dtype=np.float32)

    return vectors
