"""bench report-planners: what each planner and each timing of deep research is worth to the final answer.

planners   single (one-shot RAG: the question alone), parallel, sequential, names (asks no model), tree, and ReAct, over
           recorded questions of several hops: each may ask one and the same model at most `CALLS` times, and is read at
           9 passages by it
timing     always, never, tagged, confidence, attention, consistency: one short answer each, from the 9 passages of at
           most one search. How many calls a policy needs to decide is part of what it costs, and stands beside it
memory     the planners are told from the run's memory beside what they found last, as in a run; the sequential one
           also without
noise      the pages of the sequential planner, of one-shot RAG and of ReAct with others among them, until those are 0,
           50 and 90 % of all

EM and F1 (SQuAD), whether the answer stands in what was found, searches and calls a question. The model is
Qwen2.5-Coder-0.5B, untaught: what counts are differences. `research-retrieval` has the taught planner at the same 9
passages. What was answered stays in the bench's cache, question by question.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import zip_longest
from statistics import fmean
from typing import Any

from foveal.bench.code import code_digest
from foveal.bench.research_answers import NOISE, Answering, AnswerSizes, documents, measured, noise_for, with_noise
from foveal.bench.research_arms import HELD_OUT, HOTPOT, TWO_WIKI, Arms, RecordedSet, Sizes, planning_code
from foveal.bench.research_react import ReAct
from foveal.bench.research_retrieval import ABOVE, NAMES, gain_row, react_plans, set_of
from foveal.bench.runner import SIZE
from foveal.bench.settings import BenchSettings
from foveal.errors import Cancelled
from foveal.evaluation.tables import Row
from foveal.models.chat import Cancel, ChatModel, Messages
from foveal.models.language import LanguageModel
from foveal.research.budget import Budget, Meter, Metered
from foveal.research.checks import WordChecks
from foveal.research.deep import MEMORY
from foveal.research.evidence import Evidence, SourceRecord
from foveal.research.exploring import explore
from foveal.research.judging import Judge
from foveal.research.likeness import Likeness
from foveal.research.memory_kept import KeptMemory
from foveal.research.planning import Finding, NextQuery, PlanSettings, SubQuery, parallel, sequential, single
from foveal.research.planning_names import by_names
from foveal.research.planning_tree import TreeNode, tree
from foveal.research.recorded_search import found_answer, pooled
from foveal.research.report import Brief
from foveal.research.sources import in_context
from foveal.research.timing import TIMINGS, answered, timing_of
from foveal.research.trajectories import Trajectory
from foveal.types import Document, Passage, Span

CALLS = 8
"""Calls of the model that a planner may make for a question, the answer aside."""

LOST = 2.0
"""Points that parallel planning may lose to sequential planning on HotpotQA."""

PASSAGES, OF_A_QUERY = 9, 3
DEEP = tuple(
    f"foveal.research.{one}"
    for one in ("planning", "planning_names", "planning_tree", "judging", "checks", "likeness", "memory_kept")
)
"""The code of the planners, and of what they are told."""

PLANNERS = ("single", "parallel", "sequential", "names", "tree")
NO_MEMORY = ", no memory"


@dataclass(frozen=True, kw_only=True)
class PlannerSizes:
    """How many questions of a set."""

    questions: int = 24
    sets: tuple[str, ...] = (HOTPOT, TWO_WIKI)

    @classmethod
    def of(cls, settings: BenchSettings) -> PlannerSizes:
        """Full and quick."""
        return cls(questions=3, sets=(HOTPOT,)) if settings.quick else cls()


class Limited(Metered):
    """The model, `CALLS` times. Cancelled: it was asked so often."""

    def _begin(self, messages: Messages, cancel: Cancel | None) -> None:
        if self.meter.used()["calls"] >= CALLS:
            raise Cancelled(f"A planner asked the model more than {CALLS} times.")
        super()._begin(messages, cancel)


class RecordedDesk:
    """A `planning.Desk` over a recorded corpus: no pages to read, and calls that are counted."""

    taught: NextQuery | None = None

    def __init__(
        self, among: RecordedSet, question: str, model: ChatModel, likeness: Likeness, *, remember: bool = True
    ) -> None:
        self.question, self.brief = question, Brief(goal=question)
        self.plan = PlanSettings(breadth=3, depth=2, iterations=4, plain=True)
        self.likeness, self.among = likeness, among
        self.meter = Meter(Budget())
        self.model = Limited(model, self.meter)
        self.evidence: dict[str, Evidence] = {}
        self.sources: dict[str, SourceRecord] = {}
        self.queries: list[str] = []
        self.ranked: list[list[str]] = []  # ids that each query found
        self._done: dict[tuple[str, str], Any] = {}
        self.memory = (
            KeptMemory(self.once, count=model.count_tokens, settings=MEMORY, encoder=likeness.encoder)
            if remember
            else None
        )

    @property
    def calls(self) -> int:
        """Calls so far."""
        return int(self.meter.used()["calls"])

    def once(self, kind: str, key: str, work: Callable[[ChatModel], Any]) -> Any:
        """A step, kept for as long as the question lasts."""
        if (kind, key) not in self._done:
            self._done[kind, key] = work(self.model)
        return self._done[kind, key]

    def asked(self) -> list[str]:
        """All queries so far."""
        return list(self.queries)

    def over(self) -> bool:
        """Whether the calls are used up."""
        return self.calls >= CALLS

    def lines(self, keys: Sequence[str]) -> list[str]:
        """Passages in brief."""
        return [self.evidence[key].summary for key in keys]

    def known(self, question: str, keys: Sequence[str], *, most: int = 5) -> list[str]:
        """Passages in brief, and what the memory recalls beside them."""
        own = self.lines(keys)
        return own[:most] if self.memory is None else self.memory.beside(own, question, most=most, without=keys)

    def research(self, subs: Sequence[SubQuery]) -> list[Finding]:
        """The best passages of each query."""
        found = [self._found(sub) for sub in subs]
        for one in found:
            if self.memory is None:
                break
            self.memory.take_in(one.name, [self.evidence[key] for key in one.evidence], self.sources)
        return found

    def _found(self, sub: SubQuery) -> Finding:
        self.queries.append(sub.query)
        ids = list(self.among.search(in_context(sub.query, self.question))[:PASSAGES])
        self.ranked.append(ids)
        for one in ids[:OF_A_QUERY]:
            shown = self.among.recorded.sources[one]
            text = f"{shown.title}: {shown.text}"
            self.sources[one] = SourceRecord(key=one, url=one, title=shown.title, document_id=one, revision="")
            self.evidence[one] = Evidence(
                key=one,
                source=one,
                question=sub.goal,
                passage=Passage(Span(one, 0, len(text)), text),
                summary=text[:240],
            )
        return Finding(f"search {len(self.queries)}", sub, tuple(ids[:OF_A_QUERY]))

    def found(self) -> list[str]:
        """At most 9 distinct passages: the first of each query, the second of each, …, then of the question."""
        whole = list(self.among.search(self.question))
        turns = [one for level in zip_longest(*self.ranked) for one in level if one is not None]
        lead = whole[:OF_A_QUERY] if len(self.ranked) > 1 else []
        return list(dict.fromkeys([*lead, *turns, *whole]))[:PASSAGES]


class Quiet(Judge):
    """A judge whom nobody watches."""

    def shown(self, node: TreeNode) -> None:
        """Not told."""


def planned(name: str, desk: RecordedDesk) -> list[str]:
    """The passages that a planner finds, within its calls."""
    name = name.removesuffix(NO_MEMORY)
    with suppress(Cancelled):
        if name == "tree":
            tree(desk, Quiet(desk, WordChecks()))  # type: ignore[arg-type]
        else:
            {"single": single, "parallel": parallel, "sequential": sequential, "names": by_names}[name](desk)
    return desk.found()


def planners(
    settings: BenchSettings,
    model: LanguageModel | None = None,
    chat: ChatModel | None = None,
    sizes: PlannerSizes | None = None,
) -> Iterator[Row]:
    """The rows of `foveal bench report-planners`."""
    of = sizes or PlannerSizes.of(settings)
    there = (settings.data / HELD_OUT).is_dir()
    arms = Arms(settings, Sizes.of(settings), model)
    work = Answering(arms, AnswerSizes(questions=of.questions), chat)
    yield Row.of("questions of each set", SIZE, of.questions)
    yield Row.of("calls of the model that a planner may make", SIZE, CALLS)
    for name in (*of.sets, *((HELD_OUT,) if there else ())):
        runs = list(recorded(arms, name).runs)[: of.questions]
        yield from planner_rows(work, name, runs)
        yield from timing_rows(work, name, runs)
    note = "in the data folder" if there else f"not run: the data folder has no {HELD_OUT}/ (Bamboogle)"
    yield Row.of("held-out set", "found", float(there), note=note)


def recorded(arms: Arms, name: str) -> RecordedSet:
    """A set by its folder."""
    return RecordedSet.of(arms.settings, name) if name == HELD_OUT else set_of(arms, name)


# -- planners ---------------------------------------------------------------------------------------------------------


def planner_rows(work: Answering, name: str, runs: Sequence[Trajectory]) -> Iterator[Row]:
    """Each planner, and ReAct, answered alike; then the sequential one's pages among noise."""
    among = recorded(work.arms, name)
    held = documents(among)
    pages: dict[str, dict[str, list[str]]] = {}
    seconds: dict[str, float] = {}
    for side in (*PLANNERS, f"sequential{NO_MEMORY}"):
        made = kept_plans(work, side, among, runs)
        pages[side] = {run.id: made[run.id]["found"] for run in runs}
        seconds[side] = fmean(made[run.id]["seconds"] for run in runs)
        note = f"{fmean(made[run.id]['calls'] for run in runs):.1f} calls and "
        note += f"{fmean(len(made[run.id]['queries']) for run in runs):.1f} searches a question, {seconds[side]:.1f} s"
        queries = {run.id: made[run.id]["queries"] for run in runs}
        yield from answer_rows(work, name, f"planner {side}", runs, pages[side], queries, held, note)
    yield gain(work, name, runs, pages)
    faster = {"at_most": 2.0 if work.arms.settings.quick else 1.0} if name == HOTPOT else {}
    took = seconds["parallel"] / seconds["sequential"]
    note = "all at one machine: a served model answers what is asked side by side sooner"
    system = f"{NAMES.get(name, name)}: planner parallel / sequential"
    yield Row.of(system, "seconds of planning", took, note=note, **faster)
    react = react_queries(work, among, runs)
    found = {run.id: _pooled(among, run.question, react[run.id]) for run in runs}
    yield from answer_rows(work, name, "ReAct", runs, found, react, held, f"{_mean(react):.1f} searches a question")
    for side, of in (("planner sequential", pages["sequential"]), ("one-shot RAG", pages["single"]), ("ReAct", found)):
        yield from noise_rows(work, name, side, runs, of)


def react_queries(work: Answering, among: RecordedSet, runs: Sequence[Trajectory]) -> Mapping[str, Sequence[str]]:
    """ReAct's queries by the planners' own model, as often as they may ask it; by the bench's where it is served."""
    model = getattr(work.chat, "language_model", None)
    if model is None:
        return react_plans(work.arms, among, runs)

    def make(part: Sequence[Trajectory]) -> list[tuple[str, ...]]:
        plans = explore(
            ReAct(model), among.search, [run.question for run in part], most=CALLS,
            settings=work.arms.sizes.planner.transcript,
        )  # fmt: skip
        return [plan.queries for plan in plans]

    return work.arms.kept(["ReAct", CALLS, work.chat.name, planning_code(ReAct.__module__)], among, runs, make)


def gain(
    work: Answering, name: str, runs: Sequence[Trajectory], pages: Mapping[str, Mapping[str, Sequence[str]]]
) -> Row:
    """What reading between the searches is worth. Bars: above 0 where questions depend on each other; on HotpotQA
    parallel, which is faster, may lose 2 points at most. In the quick run a question more or less is no matter."""
    among = recorded(work.arms, name)
    recall = {
        side: {run.id: 100 * found_answer(among.recorded, run, pages[side][run.id]) for run in runs}
        for side in ("sequential", "parallel")
    }
    row = gain_row(
        f"{NAMES.get(name, name)}: planner sequential, less parallel", recall["sequential"], recall["parallel"], None
    )
    if name == TWO_WIKI:
        return row
    slack = 100 / len(runs) if work.arms.settings.quick else 0.0
    bar = {"at_most": LOST + slack} if name == HOTPOT else {"at_least": ABOVE - slack}
    return Row.of(row.system, row.metric, row.value, note=row.note, **bar)


def kept_plans(work: Answering, side: str, among: RecordedSet, runs: Sequence[Trajectory]) -> dict[str, Any]:
    """Run -> queries, passages and calls of a planner; what was planned before is read from the cache."""
    likeness = Likeness(work.arms.settings.encoder())

    def make(part: Sequence[Trajectory]) -> list[tuple[str, ...]]:
        made: list[tuple[str, ...]] = []
        for run in part:
            remember = not side.endswith(NO_MEMORY)
            desk = RecordedDesk(among, run.question, work.chat, likeness, remember=remember)
            begun = time.perf_counter()
            found = planned(side, desk)
            took = time.perf_counter() - begun
            made.append((json.dumps({"found": found, "queries": desk.queries, "calls": desk.calls, "seconds": took}),))
        return made

    made_by = ["deep planner", side, CALLS, work.chat.name, code_digest(__name__), planning_code(*DEEP)]
    rows = work.arms.kept(made_by, among, runs, make)
    return {name: json.loads(one[0]) for name, one in rows.items()}


def answer_rows(
    work: Answering, name: str, side: str, runs: Sequence[Trajectory], found: Mapping[str, Sequence[str]],
    queries: Mapping[str, Sequence[str]], held: Mapping[str, Document], note: str,
) -> Iterator[Row]:  # fmt: skip
    """Answers from passages: EM, F1, and whether the answer stood in all nine."""
    among = recorded(work.arms, name)
    shown = {run.id: work.shown(held, found[run.id], " ".join((run.question, *queries[run.id]))) for run in runs}
    rows = measured(runs, work.answers(among, runs, shown), shown)
    whole = {run.id: "\n".join(held[one].text for one in found[run.id]) for run in runs}
    recall = measured(runs, dict.fromkeys(whole, ""), whole)["answer in what was shown"]
    yield Row.of(f"{NAMES.get(name, name)}: {side}", "recall, 9 passages", fmean(recall.values()), note=note)
    for metric in ("EM", "F1"):
        yield Row.of(f"{NAMES.get(name, name)}: {side}", metric, fmean(rows[metric].values()), note=note)


def noise_rows(
    work: Answering, name: str, system: str, runs: Sequence[Trajectory], pages: Mapping[str, Sequence[str]]
) -> Iterator[Row]:
    """F1 with more and more pages that do not help."""
    among = recorded(work.arms, name)
    other = set_of(work.arms, TWO_WIKI if name == HOTPOT else HOTPOT)
    held = documents(among, other)
    for share in NOISE:
        shown = {}
        for run in runs:
            mixed = with_noise(pages[run.id], noise_for(other, run, len(pages[run.id]), share), seed=run.id)
            shown[run.id] = work.shown(held, mixed, run.question)
        rows = measured(runs, work.answers(among, runs, shown), shown)
        side = f"{NAMES.get(name, name)}: {system}, {100 * share:.0f} % noise"
        for metric, values in rows.items():
            yield Row.of(side, metric, fmean(values.values()))


# -- timing -----------------------------------------------------------------------------------------------------------


def timing_rows(work: Answering, name: str, runs: Sequence[Trajectory]) -> Iterator[Row]:
    """Each policy's answers, its searches and calls."""
    among = recorded(work.arms, name)
    for side in TIMINGS:
        made = kept_answers(work, side, among, runs)
        given = {run.id: made[run.id]["text"] for run in runs}
        rows = measured(runs, given, given)
        searches = [len(made[run.id]["queries"]) for run in runs]
        note = f"{fmean(made[run.id]['calls'] for run in runs):.1f} calls, {fmean(searches):.2f} searches a question"
        system = f"{NAMES.get(name, name)}: timing {side}"
        yield Row.of(system, "share of questions searched for", fmean(map(bool, searches)), note=note)
        for metric in ("EM", "F1"):
            yield Row.of(system, metric, fmean(rows[metric].values()), note=note)


def kept_answers(work: Answering, side: str, among: RecordedSet, runs: Sequence[Trajectory]) -> dict[str, Any]:
    """Run -> answer, queries and calls by a policy; what was answered before is read from the cache."""

    def make(part: Sequence[Trajectory]) -> list[tuple[str, ...]]:
        return [(json.dumps(_timed(work.chat, side, among, run)),) for run in part]

    made_by = ["timing, short answers, one search", side, PASSAGES, work.chat.name, code_digest(__name__)]
    rows = work.arms.kept([*made_by, planning_code("foveal.research.timing")], among, runs, make)
    return {name: json.loads(one[0]) for name, one in rows.items()}


def _timed(chat: ChatModel, side: str, among: RecordedSet, run: Trajectory) -> dict[str, Any]:
    meter = Meter(Budget())

    def find(query: str) -> list[Passage]:
        found = among.search(query)[:PASSAGES]
        shown = [f"{among.recorded.sources[one].title}: {among.recorded.sources[one].text[:400]}" for one in found]
        return [Passage(Span(one, 0, len(text)), text) for one, text in zip(found, shown, strict=True)]

    timed = answered(
        run.question,
        timing_of(side),
        find,
        Metered(chat, meter),
        searches=1,
        passages=PASSAGES,
        tokens=24,
        short=True,
    )
    return {"text": timed.text, "queries": list(timed.queries), "calls": meter.used()["calls"]}


def _pooled(among: RecordedSet, question: str, queries: Sequence[str]) -> list[str]:
    return pooled(among.search, question, queries, budget=PASSAGES, first=OF_A_QUERY)


def _mean(plans: Mapping[str, Sequence[str]]) -> float:
    return fmean(map(len, plans.values()))
