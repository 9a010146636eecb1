"""bench research-answers: what each way to search is worth to a small model's final answer, and what noise does to it.

arms      no pages at all; one-shot RAG; ReAct; the taught planner; the recorded agent's own queries: 9 passages each,
          read alike, answered by the same model; EM and F1 (SQuAD), and whether the answer stands in what was shown
noise     the taught planner's pages with others added, until those are 0, 50, 90 % of all: what other passages of the
          other set fit the question best and do not hold its answer. Read by words, or, as control, from the head
run       whole runs of MindSearch by each planner of a small model: its own searchers, its own answer, which it writes
          from quotes; as control, from the same runs, from what the searchers said

Reading   `BestPassages` in a window of so many tokens, the same for all; the model is Qwen2.5-Coder-0.5B, which answers
          badly: what counts are differences. The answers that it gives stay in the bench's cache, question by question
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property, partial
from statistics import fmean
from typing import TYPE_CHECKING

import numpy as np

from foveal.bench.research_arms import HOTPOT, TWO_WIKI, Arms, Plans, RecordedSet, Sizes, planning_code, weights
from foveal.bench.research_retrieval import (
    ABOVE,
    NAMES,
    gain_row,
    react_plans,
    runs_of,
    set_of,
    taught_plans,
    without_model,
)
from foveal.bench.runner import SIZE
from foveal.bench.settings import BenchSettings, text_digest
from foveal.evaluation.answers import score
from foveal.evaluation.tables import Row
from foveal.models.chat import ChatModel, Sampling
from foveal.models.language import LanguageModel
from foveal.research.pages import BestPassages
from foveal.research.plan_json import JsonPlanner
from foveal.research.plan_names import NamesPlanner
from foveal.research.prompts import CONCISE, VERSION, plain_writer_messages
from foveal.research.recorded_search import pooled
from foveal.research.trained_planner import PlannerModel, TrainedPlanner
from foveal.research.trajectories import Trajectory
from foveal.types import Document

if TYPE_CHECKING:
    from foveal.research.mindsearch import MakePlanner, MindSearch

WINDOW = 800
"""Tokens of pages that the model is shown: most of nine passages."""

NOISE = (0.0, 0.5, 0.9)
ANSWER = Sampling(max_tokens=24, stop=("\n",))
WHOLE_ANSWER = Sampling(max_tokens=256)
RUNNING = tuple(f"foveal.research.{one}" for one in ("mindsearch", "text_sources", "trained_planner"))
"""The code of whole runs, beside that of plans."""

KEPT_SHARE = 0.6
"""Of the F1 without noise, that must be left at 90 % of it."""


@dataclass(frozen=True, kw_only=True)
class AnswerSizes:
    """How many questions of a set are answered."""

    questions: int = 80
    noisy: int = 40  # of them, that are also asked among noise
    runs: int = 20  # whole runs of MindSearch

    @classmethod
    def of(cls, settings: BenchSettings) -> AnswerSizes:
        """Full and quick."""
        return cls(questions=5, noisy=5, runs=0) if settings.quick else cls()


Pages = Mapping[str, Sequence[str]]
"""Run -> ids of pages."""


class Answering:
    """Questions, their pages, and what the model says."""

    def __init__(self, arms: Arms, sizes: AnswerSizes, chat: ChatModel | None = None) -> None:
        self.arms, self.sizes = arms, sizes
        self._chat = chat

    @cached_property
    def chat(self) -> ChatModel:
        """The model that answers."""
        if self._chat is not None:
            return self._chat
        from foveal.models import load_language_model
        from foveal.models.local_chat import LocalChat

        return LocalChat(load_language_model())

    def runs(self, name: str) -> list[Trajectory]:
        """The questions of a set: those whose plan is by a planner that never saw them."""
        return runs_of(self.arms, name, taught_plans(self.arms, name))[: self.sizes.questions]

    def answers(self, among: RecordedSet, runs: Sequence[Trajectory], shown: Mapping[str, str]) -> dict[str, str]:
        """Run -> the model's answer from what is `shown`; what was answered before is read from the cache."""

        asked = {run.id: prompt(run.question, shown[run.id]) for run in runs}

        def make(part: Sequence[Trajectory]) -> list[tuple[str, ...]]:
            return [(text.strip(),) for text in self.chat.chat_many([asked[run.id] for run in part], ANSWER)]

        told = [message["content"] for messages in asked.values() for message in messages]
        made_by = ["answers", text_digest(self.chat.name, told), asdict(ANSWER)]
        return {name: one[0] for name, one in self.arms.kept(made_by, among, runs, make).items()}

    def shown(self, among: Mapping[str, Document], pages: Sequence[str], wanted: str, *, by_words: bool = True) -> str:
        """What of some pages fits the window: the passages with the wanted words, or, without them, the head."""
        whole = Document.of("pages", "\n\n".join(among[one].text for one in pages), "pages")
        if not whole.text:
            return ""
        if not by_words:
            ids = whole.text.split()
            while self.chat.count_tokens(" ".join(ids)) > WINDOW:
                ids = ids[: int(len(ids) * 0.9)]
            return " ".join(ids)
        found = BestPassages().read(whole, wanted, tokens=WINDOW, count=self.chat.count_tokens)
        return "\n".join(one.text for one in found)


def prompt(question: str, shown: str) -> list[dict[str, str]]:
    """What the model is asked."""
    excerpts = f"{shown}\n\n" if shown else ""
    asked = f"{CONCISE}\n\n{excerpts}Question: {question}\n\nAnswer with the name, date or words alone:"
    return [{"role": "system", "content": ""}, {"role": "user", "content": asked}]


def documents(*sets: RecordedSet) -> dict[str, Document]:
    """All passages of some sets, each with its title before it."""
    return {
        one.id: Document.of(one.id, f"{one.title}: {one.text}", one.title)
        for among in sets
        for one in among.recorded.sources.values()
    }


def answers(
    settings: BenchSettings,
    model: LanguageModel | None = None,
    chat: ChatModel | None = None,
    sizes: Sizes | None = None,
    answered: AnswerSizes | None = None,
) -> Iterator[Row]:
    """The rows of `foveal bench research-answers`."""
    arms = Arms(settings, sizes or Sizes.of(settings), model)
    work = Answering(arms, answered or AnswerSizes.of(settings), chat)
    yield Row.of("questions of each set that are answered", SIZE, work.sizes.questions)
    for name in (HOTPOT, TWO_WIKI):
        yield from arm_rows(work, name)
    for name in (HOTPOT, TWO_WIKI):
        yield from noise_rows(work, name)
    if work.sizes.runs:
        yield from run_rows(work)


def arm_rows(work: Answering, name: str) -> Iterator[Row]:
    """Each way to search, read and answered alike."""
    arms, among, runs = work.arms, set_of(work.arms, name), work.runs(name)
    taught = taught_plans(arms, name)
    sides: dict[str, Plans | None] = {
        "no pages": None,
        "one-shot RAG": {run.id: () for run in runs},
        "names without a model": {run.id: without_model(run.question, among.search) for run in runs},
        "ReAct": react_plans(arms, among, runs),
        "planner, taught": {run.id: taught[run.id] for run in runs},
        "recorded agent's queries": among.agent(runs),
    }
    held = documents(among)
    scores: dict[str, dict[str, float]] = {}
    for side, plans in sides.items():
        shown = {run.id: _read(work, among, held, run, plans) for run in runs}
        given = work.answers(among, runs, shown)
        rows = measured(runs, given, shown)
        scores[side] = rows["F1"]
        for metric, values in rows.items():
            yield Row.of(f"{NAMES[name]}: {side}", metric, fmean(values.values()))
    least = ABOVE - arms.sizes.slack
    for side in ("one-shot RAG", "ReAct", "no pages"):
        row = gain_row(f"{NAMES[name]}: planner, taught, less {side}", scores["planner, taught"], scores[side], least)
        yield replace(row, metric="points of F1")


def _read(
    work: Answering, among: RecordedSet, held: Mapping[str, Document], run: Trajectory, plans: Plans | None
) -> str:
    if plans is None:
        return ""
    queries = plans[run.id]
    found = pooled(among.search, run.question, queries, budget=work.arms.sizes.planner.budget)
    return work.shown(held, found, " ".join((run.question, *queries)))


def measured(
    runs: Sequence[Trajectory], given: Mapping[str, str], shown: Mapping[str, str]
) -> dict[str, dict[str, float]]:
    """EM and F1 of answers, and whether an answer stood in what was shown, in points."""
    by = {run.id: run for run in runs}
    return {
        "EM": {one: 100 * score("exact", text, by[one].answers) for one, text in given.items()},
        "F1": {one: 100 * score("f1", text, by[one].answers) for one, text in given.items()},
        "answer in what was shown": {one: 100 * score("contains", shown[one], by[one].answers) for one in given},
    }


# -- noise ------------------------------------------------------------------------------------------------------------


def noise_rows(work: Answering, name: str) -> Iterator[Row]:
    """More and more pages that do not help, read by words and, as control, from the head."""
    arms, among = work.arms, set_of(work.arms, name)
    other = set_of(arms, TWO_WIKI if name == HOTPOT else HOTPOT)
    runs = work.runs(name)[: work.sizes.noisy]
    taught, held = taught_plans(arms, name), documents(among, other)
    curves: dict[bool, list[float]] = {True: [], False: []}
    for by_words in (True, False):
        for share in NOISE if by_words else (NOISE[0], NOISE[-1]):
            shown = {}
            for run in runs:
                queries = taught[run.id]
                found = pooled(among.search, run.question, queries, budget=arms.sizes.planner.budget)
                pages = with_noise(found, noise_for(other, run, len(found), share), seed=run.id)
                shown[run.id] = work.shown(held, pages, " ".join((run.question, *queries)), by_words=by_words)
            given = work.answers(among, runs, shown)
            rows = measured(runs, given, shown)
            side = f"{NAMES[name]}: {'read by words' if by_words else 'from the head'}, {100 * share:.0f} % noise"
            curves[by_words].append(fmean(rows["F1"].values()))
            for metric, values in rows.items():
                yield Row.of(side, metric, fmean(values.values()), note=f"{_pages(share)} pages")
    first, last = curves[True][0], curves[True][-1]
    bar = None if arms.settings.quick else KEPT_SHARE
    yield Row.of(f"{NAMES[name]}: read by words", "share of F1 left at 90 % noise", last / first if first else 0.0,
                 at_least=bar)  # fmt: skip
    yield Row.of(f"{NAMES[name]}: read by words, less from the head, 90 % noise", "points of F1",
                 last - curves[False][-1])  # fmt: skip


def _pages(share: float, found: int = 9) -> int:
    return found + _added(found, share)


def _added(found: int, share: float) -> int:
    """How many pages make up that share of all."""
    return round(found * share / (1 - share))


def noise_for(other: RecordedSet, run: Trajectory, found: int, share: float) -> list[str]:
    """Pages of another set that fit the question best and do not hold its answer; more, where these are too few."""
    wanted = _added(found, share)
    ranked = other.search(run.question) if wanted else []
    order = [*ranked, *other.recorded.sources]
    free = (one for one in dict.fromkeys(order) if not other.recorded.holds(one, run))
    return [one for one, _ in zip(free, range(wanted), strict=False)]


def with_noise(found: Sequence[str], noise: Sequence[str], *, seed: str) -> list[str]:
    """All pages in an order drawn by the question; without noise as they were found."""
    if not noise:
        return list(found)
    pages = [*found, *noise]
    draw = np.random.default_rng(list(seed.encode()))
    return [pages[place] for place in draw.permutation(len(pages))]


# -- whole runs -------------------------------------------------------------------------------------------------------


def run_rows(work: Answering) -> Iterator[Row]:
    """MindSearch itself over 2Wiki's passages, by each planner of a small model: plan, searchers, answer."""
    from foveal.research.mindsearch import MindSearch
    from foveal.research.text_sources import DocumentsSource

    arms, runs = work.arms, work.runs(TWO_WIKI)[: work.sizes.runs]
    taught = TrainedPlanner(PlannerModel(arms.model, arms.sizes.planner, arms.taught(0)[0]))
    planners: dict[str, MakePlanner] = {
        "planner taught": lambda _: taught,
        "names without a model": lambda _: NamesPlanner(),
        "forms, not taught": partial(JsonPlanner, question_first=True),
    }
    source = DocumentsSource(documents(arms.two_wiki).values(), name="2wiki")
    for name, planner in planners.items():
        search = MindSearch(work.chat, source, planner=planner)

        def make(part: Sequence[Trajectory], search: MindSearch = search) -> list[tuple[str, ...]]:
            return [_whole_run(work.chat, search, run.question) for run in part]

        made_by = ["whole runs", VERSION, name, work.chat.name, weights(arms.taught(0)[0]), asdict(WHOLE_ANSWER)]
        made_by.append(planning_code(*RUNNING))
        made = arms.kept(made_by, arms.two_wiki, runs, make)
        system = f"2Wiki: whole runs, {name}"
        quotes = {run.id: made[run.id][0] for run in runs}
        said = {run.id: made[run.id][1] for run in runs}
        yield from _whole_rows(system, runs, quotes)
        yield Row.of(system, "answers with a citation", fmean(float(made[run.id][2]) > 0 for run in runs))
        yield Row.of(system, "seconds a run", fmean(float(made[run.id][3]) for run in runs))
        yield from _whole_rows(f"{system}, from what searchers said", runs, said)
        row = gain_row(f"{system}, less from what searchers said", _f1(runs, quotes), _f1(runs, said), None)
        yield replace(row, metric="points of F1")


def _whole_rows(system: str, runs: Sequence[Trajectory], given: Mapping[str, str]) -> Iterator[Row]:
    held = fmean(score("contains", given[run.id], run.answers) for run in runs)
    yield Row.of(system, "answers that hold the gold one", held, note=f"{len(runs)} runs")
    yield Row.of(system, "F1", fmean(_f1(runs, given).values()), note="of whole sentences: length counts against it")


def _f1(runs: Sequence[Trajectory], given: Mapping[str, str]) -> dict[str, float]:
    return {run.id: 100 * score("f1", given[run.id], run.answers) for run in runs}


def _whole_run(chat: ChatModel, search: MindSearch, question: str) -> tuple[str, str, str, str]:
    """A run's answer, the answer that the model writes from what its searchers said, citations, and seconds."""
    run = search.start(question)
    found = run.result()
    said = plain_writer_messages(question, run.state.graph, chat, room=WHOLE_ANSWER.max_tokens)
    return found.text, chat.chat(said, WHOLE_ANSWER).strip(), str(len(found.numbers)), str(found.usage["seconds"])
