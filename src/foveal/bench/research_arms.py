"""What the parts of bench research share: the recorded sets, planners trained on one half, and plans that are kept.

Folds     each HotpotQA question is planned for by a planner that learnt from the other half; 2Wiki, which no planner
          ever saw, by the planner of the first half
Kept      trained changes and each question's plan lie in the bench's cache, by the hash of what made them, of a plan
          the code as well: a run that was stopped goes on with the next question
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from foveal.bench.code import code_digest
from foveal.bench.known_sets import is_set
from foveal.bench.settings import BenchSettings
from foveal.evaluation.answers import normalised
from foveal.models.language import LanguageModel, load_language_model
from foveal.research.exploring import Evidence, explore
from foveal.research.planner_reinforcement import Rewards, reinforce
from foveal.research.planner_settings import BASE, PlannerSettings, RewardSettings
from foveal.research.planner_training import distil, held_out, learned_model, teachable
from foveal.research.query_writer import QueryWriter
from foveal.research.recorded_search import RecordedSearch, found_answer, pooled
from foveal.research.trajectories import Recorded, Trajectory, halves, load_recorded
from foveal.research.transcripts import Transcript, TranscriptSettings

FILES = ("corpus.jsonl", "queries.jsonl")
HOTPOT, TWO_WIKI, HELD_OUT = "r1searcher/hotpotqa", "r1searcher/2wiki", "r1searcher/bamboogle"
PLANNING = ("foveal.research.exploring", "foveal.research.query_writer", "foveal.research.recorded_search")
BATCH = 16
"""Questions planned for together; after each batch their plans are kept."""


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """How much is run."""

    planner: PlannerSettings = field(default_factory=PlannerSettings)
    reward: RewardSettings = field(default_factory=RewardSettings)
    learnt: int | None = None  # runs of a half that are learnt from, at most
    questions: int | None = None  # of a set, that are planned for; None: all
    compared: int = 120  # of a set, for slower baselines and controls
    folds: int = 2
    slack: float = 0.0  # by which bars are lowered, in points

    @classmethod
    def of(cls, settings: BenchSettings) -> Sizes:
        """Full and quick."""
        if not settings.quick:
            return cls()
        usual, by = PlannerSettings(), RewardSettings()
        reward = replace(by, questions=2, samples=4, passes=2, loop=replace(by.loop, steps=4))
        return cls(planner=usual, reward=reward, learnt=96, questions=32, compared=16, folds=1, slack=10.0)


Plans = Mapping[str, tuple[str, ...]]
"""Run -> the queries of its plan."""


@dataclass
class RecordedSet:
    """A recorded set, its search, and the questions of it that are measured."""

    recorded: Recorded
    runs: list[Trajectory]
    search: RecordedSearch

    @classmethod
    def of(cls, settings: BenchSettings, name: str) -> RecordedSet:
        """InputError: it is not in the data folder."""
        recorded = load_recorded(settings.folder(name, FILES))
        runs = [run for run in recorded.trajectories if run.measurable]
        return cls(recorded, runs, RecordedSearch(recorded))

    def is_set(self, name: str) -> bool:
        """Whether this is the recorded set of that name, of which figures were measured before."""
        return is_set(name, len(self.recorded.sources), len(self.recorded.trajectories))

    def hits(self, plans: Plans, search: Callable[[str], Sequence[str]] | None = None) -> dict[str, float]:
        """Run -> whether the passages of its plan hold the answer, in points."""
        by = {run.id: run for run in self.runs}
        found = {name: pooled(search or self.search, by[name].question, queries) for name, queries in plans.items()}
        return {name: 100 * found_answer(self.recorded, by[name], ids) for name, ids in found.items()}

    def agent(self, runs: Sequence[Trajectory]) -> Plans:
        """The recorded agent's own queries."""
        return {run.id: tuple(step.query for step in run.steps) for run in runs}


class Arms:
    """Planners and plans, each made at the first call ever."""

    def __init__(self, settings: BenchSettings, sizes: Sizes, model: LanguageModel | None = None) -> None:
        self.settings, self.sizes = settings, sizes
        self._model = model

    @cached_property
    def model(self) -> LanguageModel:
        """The model that learns."""
        return self._model or load_language_model(BASE)

    @cached_property
    def hotpot(self) -> RecordedSet:
        """Learnt from, by halves."""
        return RecordedSet.of(self.settings, HOTPOT)

    @cached_property
    def two_wiki(self) -> RecordedSet:
        """Never learnt from."""
        return RecordedSet.of(self.settings, TWO_WIKI)

    @cached_property
    def halves(self) -> tuple[tuple[Trajectory, ...], tuple[Trajectory, ...]]:
        """HotpotQA's runs."""
        return halves(self.hotpot.recorded, seed=self.settings.seed)

    def unseen(self, fold: int, most: int | None = None) -> list[Trajectory]:
        """HotpotQA's measured questions that the planner of that half did not learn from."""
        return [run for run in self.halves[1 - fold] if run.measurable][: most or self.sizes.questions]

    def others(self, most: int | None = None) -> list[Trajectory]:
        """2Wiki's measured questions, drawn alike in every run."""
        ordered = sorted(
            self.two_wiki.runs, key=lambda run: hashlib.sha256(normalised(run.question).encode()).hexdigest()
        )
        return ordered[: most or self.sizes.questions]

    # -- planners -----------------------------------------------------------------------------------------------------

    def taught(self, fold: int) -> tuple[Any, Any]:
        """The changes that a planner learnt from one half, and how it went."""
        runs = self.halves[fold][: self.sizes.learnt]
        planner = self.sizes.planner
        key = _key(
            "distilled in context",
            [run.id for run in runs],
            self.hotpot.recorded.fingerprint,
            asdict(planner),
            self.model.fingerprint,
        )
        folder = self.settings.cache / "research" / f"planner-{key}"
        return distil(self.model, self.hotpot.recorded, runs, planner, folder=folder, search=self.hotpot.search)

    def rewarded(self, fold: int) -> tuple[Any, Any, Rewards]:
        """The changes after reward on the same half, how it went, and the rewards."""
        changes, _ = self.taught(fold)
        planner, search = self.sizes.planner, self.hotpot.search
        runs = teachable(self.hotpot.recorded, self.halves[fold][: self.sizes.learnt], search, planner)
        parted = held_out(runs, planner.dev_share)
        key = _key("rewarded", weights(changes), asdict(self.sizes.reward), asdict(planner), self.model.fingerprint)
        folder = self.settings.cache / "research" / f"planner-{key}"
        return reinforce(self.model, search, changes, parted, planner, self.sizes.reward, folder=folder)

    def writer(self, changes: Any) -> QueryWriter:
        """The model with these changes; None: as it is, with one example before each question."""
        if changes is None:
            return QueryWriter(self.model, None, self.sizes.planner.transcript, example=example())
        learned = learned_model(self.model, changes, self.sizes.planner)
        return QueryWriter(self.model, learned, self.sizes.planner.transcript)

    # -- plans --------------------------------------------------------------------------------------------------------

    def plans(
        self, name: str, among: RecordedSet, runs: Sequence[Trajectory], changes: Any, evidence: Evidence = "found"
    ) -> Plans:
        """Each run's plan by the model with these changes."""
        planner = self.sizes.planner
        made_by = [name, None if changes is None else weights(changes), evidence, planner.most_queries, planner.named]
        made_by.append(planning_code())
        writer: list[QueryWriter] = []

        def make(part: Sequence[Trajectory]) -> list[tuple[str, ...]]:
            writer[:] = writer or [self.writer(changes)]
            plans = explore(
                writer[0], among.search, [run.question for run in part], most=planner.most_queries,
                named=planner.named, settings=planner.transcript, evidence=evidence,
            )  # fmt: skip
            return [plan.queries for plan in plans]

        return self.kept(made_by, among, runs, make)

    def kept(
        self,
        made_by: Sequence[Any],
        among: RecordedSet,
        runs: Sequence[Trajectory],
        make: Callable[[Sequence[Trajectory]], Sequence[tuple[str, ...]]],
    ) -> dict[str, tuple[str, ...]]:
        """What `make` gives for each run; what was made before is read from the cache."""
        transcript = asdict(self.sizes.planner.transcript)
        key = _key(made_by, among.recorded.fingerprint, transcript, self.model.fingerprint)
        path = self.settings.cache / "research" / f"plans-{key}.jsonl"
        known = read_kept(path)
        left = [run for run in runs if run.id not in known]
        for first in range(0, len(left), BATCH):
            part = left[first : first + BATCH]
            found = {run.id: tuple(made) for run, made in zip(part, make(part), strict=True)}
            append_kept(path, found)
            known |= found
        return {run.id: known[run.id] for run in runs}


def read_kept(path: Path) -> dict[str, tuple[str, ...]]:
    """Plans that were kept; a line that a kill cut short, be it within a letter, counts as none.

    Lines end with a line feed alone: texts hold other signs that Python takes for line ends.
    """
    found: dict[str, tuple[str, ...]] = {}
    if path.is_file():
        for content in path.read_bytes().split(b"\n"):
            try:
                line = json.loads(content)
            except ValueError:
                continue
            found[line["id"]] = tuple(line["made"])
    return found


def append_kept(path: Path, made: Mapping[str, Sequence[str]]) -> None:
    """Add to the plans that are kept."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [json.dumps({"id": name, "made": list(one)}, ensure_ascii=False) for name, one in made.items()]
    with path.open("a", encoding="utf-8") as file:
        file.write("".join(f"\n{line}" for line in lines))  # first the break: a line cut short spoils only itself


def example() -> Transcript:
    """One search, to its end, that a model is shown which was never taught."""
    settings = TranscriptSettings()
    mill = ("Orra mill", "The mill at Orra was designed by Petra Lindqvist in 1842.")
    architect = ("Petra Lindqvist", "Petra Lindqvist was taught by Olof Brandt in Vasa.")
    made = Transcript("Who taught the architect of the Orra mill?").and_then("Orra mill architect", [mill], settings)
    return made.and_then("Petra Lindqvist teacher", [architect], settings)


def planning_code(*others: str) -> str:
    """A hash of the code that makes plans over recorded searches, and of other modules of research beside it."""
    searching = code_digest("foveal.retrieval.past_lexical", "foveal.retrieval.terms", within="foveal.retrieval")
    return searching + code_digest(*PLANNING, *others, within="foveal.research")


def weights(changes: Any) -> str:
    """A hash of what was learnt."""
    digest = hashlib.sha256()
    for value in changes.state_dict().values():
        digest.update(np.ascontiguousarray(value.detach().float().numpy()).tobytes())
    return digest.hexdigest()[:24]


def _key(*parts: Any) -> str:
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()[:24]
