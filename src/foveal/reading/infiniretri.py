"""InfiniRetri: read a text of any length with a small window, and keep the sentences that the question looks at.

Source    "Infinite Retrieval: Attention Enhanced LLMs in Long-Context Processing" (Ye, Wang, Wang; arXiv 2502.12962)
Needs     a local decoder whose attention can be switched; no training, no index, no second model
Differs   from the paper: heads and depth are calibrated (paper: all heads of the last layer), the empty question is
          taken off, the memory has a budget in tokens, and windows are read independently, in batches ("map"), with a
          second look at what the first finds lead to. `mode="sequential"` carries the memory from window to window as
          the paper does; `published.py` reproduces the published package
Time      linear in the text: forward tokens per token of text are about 1 + overhead / window

    reader = InfiniRetri(load_language_model())
    for event in reader.stream(document, "Who keeps the key?"): …
    reader.read(document, "Who keeps the key?").citations
"""

from __future__ import annotations

import time
from collections.abc import Generator, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from foveal.attention import AUTO
from foveal.attention.profiles import Profile, profile_of
from foveal.attention.retrieval_heads import HeadScores, copying_heads
from foveal.errors import InputError
from foveal.models.chat import Cancel, ChatModel
from foveal.reading import follow, state
from foveal.reading.answering import AnswerSettings, answered, not_found
from foveal.reading.clock import Clock
from foveal.reading.events import Answering, Done, Event, Reading, ReadStarted, ReadStats, WindowRead
from foveal.reading.looking import Batch, Looking, SpreadLooking
from foveal.reading.memory import Kept, Memory, excerpts, in_order, scored, within
from foveal.reading.process import peak_bytes
from foveal.reading.prompts import NO_QUESTION, TEMPLATE
from foveal.reading.sentences import LONGEST, Sentence, packed
from foveal.reading.sources import Text, questions_of, text_of
from foveal.reading.windows import Windows
from foveal.reading.words import Words
from foveal.types import Document

if TYPE_CHECKING:
    from torch import Tensor

    from foveal.models.language import LanguageModel


@dataclass(frozen=True, kw_only=True)
class ReadSettings:
    """How a text is read; the defaults are measured (docs/reading.md)."""

    mode: Literal["map", "sequential"] = "map"
    window: int = 768  # tokens of text in a window, at least 64
    batch_tokens: int | None = None  # tokens that go through the model at once; None: by device (looking.batch_size)
    budget: int = 1024  # most tokens of the memory
    floor: float = 0.15  # least score of a sentence that is kept (looking.py has the unit)
    follow: int = 1  # windows that a second look may fill with what the first finds lead to, 0 to 16
    effort: float = 1.0  # share of the windows that are read, those with the question's words first, above 0 to 1
    words: bool = True  # whether the question's words lift what is kept (words.py); in map mode
    content_free: bool = True  # whether what the empty question looks at is taken off
    longest: int = LONGEST  # tokens of a sentence; a longer one is cut
    template: str = TEMPLATE
    attention: str = AUTO  # how a window attends to itself: a method of foveal.attention, by name, or by its length
    row_beta: float = 1.0  # what a sink keeps in a question's rows before sentences are scored (docs/act.md), 1: all
    answer: AnswerSettings = field(default_factory=AnswerSettings)

    def __post_init__(self) -> None:
        """InputError: a value out of its range."""
        if self.mode not in ("map", "sequential"):
            raise InputError(f"The reader's mode is {self.mode!r}; there are map and sequential.")
        if self.window < 64 or (self.batch_tokens is not None and self.batch_tokens < 1) or self.longest < 8:
            raise InputError("The reader needs a window of 64 tokens, a batch of 1 and sentences of 8, or more.")
        if self.budget < 32:
            raise InputError(f"The reader's budget is {self.budget} tokens; a memory needs at least 32.")
        if not 0 <= self.follow <= 16:
            raise InputError(f"follow is {self.follow}; a second look fills 0 to 16 windows.")
        if not 0 <= self.row_beta <= 1:
            raise InputError(f"row_beta is {self.row_beta}; a sink keeps a share of its attention, 0 to 1.")
        if not 0 < self.effort <= 1:
            raise InputError(f"effort is {self.effort}; it is a share of the windows, above 0, at most 1.")


@dataclass(frozen=True)
class _Task:
    """One reading: the text, its questions, and where its state goes."""

    text: Text
    questions: tuple[str, ...]
    path: Path | None
    cancel: Cancel | None
    effort: float  # as in the settings

    def check(self) -> None:
        """Cancelled: the reading is."""
        if self.cancel:
            self.cancel.check()

    def uncancelled(self, batches: Iterable[Batch]) -> Iterator[Batch]:
        """The batches; Cancelled before the one that would follow."""
        for batch in batches:
            self.check()
            yield batch


class InfiniRetri:
    """A `Reader`. One object reads many texts; threads may share it."""

    def __init__(
        self,
        model: LanguageModel,
        settings: ReadSettings = ReadSettings(),
        *,
        answerer: ChatModel | None = None,
        profile: Profile | None = None,
        home: Path | None = None,
        looking: SpreadLooking | None = None,
    ) -> None:
        """`answerer` gives the answers (default: the model that reads); `home` holds profiles of one's own; `looking`
        scores windows elsewhere (`scale.reading.RayLooking`).

        InputError: window, memory and prompt together exceed the model's positions.
        """
        self.model = model
        self.settings = settings
        self._spread = looking
        self.looking: Looking = looking or Looking(
            model,
            profile or profile_of(model, home),
            settings.template,
            attention=settings.attention,
            row_beta=settings.row_beta,
        )
        self._answerer, self._home = answerer, home
        self._require_room([NO_QUESTION])

    @property
    def answerer(self) -> ChatModel:
        """What gives the answers."""
        if self._answerer is None:
            from foveal.models.local_chat import LocalChat

            self._answerer = LocalChat(self.model)
        return self._answerer

    @cached_property
    def _copying(self) -> HeadScores | None:
        return copying_heads(self.answerer, self._home)

    def read(self, document: Document | Text | str, question: str, *, state: Path | None = None) -> Reading:
        """The answer to `question` with the places that it stands at."""
        return self.read_many(document, [question], state=state)[0]

    def read_many(
        self, document: Document | Text | str, questions: Sequence[str], *, state: Path | None = None
    ) -> tuple[Reading, ...]:
        """One pass over the text for all `questions`: each costs its own tokens, not a reading."""
        done = [event for event in self.stream(document, questions, state) if isinstance(event, Done)]
        return done[-1].readings

    def retrieve(self, document: Document | Text | str, question: str) -> Reading:
        """The excerpts for `question`, and no answer."""
        return self.retrieve_many(document, [question])[0]

    def retrieve_many(self, document: Document | Text | str, questions: Sequence[str]) -> tuple[Reading, ...]:
        """The excerpts for each of `questions`, from one pass."""
        events = self.stream(document, questions, answer=False)
        return next(event for event in events if isinstance(event, Done)).readings

    def stream(
        self,
        source: Document | Text | str,
        question: str | Sequence[str],
        state: Path | None = None,
        *,
        answer: bool = True,
        effort: float | None = None,
        cancel: Cancel | None = None,
    ) -> Generator[Event]:
        """Read and answer, telling what happens; the last event is `Done`.

        `state` names a file that the reading can go on from; `effort` takes the place of the settings'. InputError: an
        empty question or none that is a text, a blank text, a state of another reading. Cancelled: `cancel` was set;
        the state is kept.
        """
        questions = questions_of(question)
        self._require_room(questions)
        share = self.settings.effort if effort is None else replace(self.settings, effort=effort).effort
        task = _Task(text_of(source), questions, state, cancel, share)
        begun = time.perf_counter()
        where = self._resumed(task)
        yield from self._read(task, where)
        memories = [self._memory(kept) for kept in where.memories]
        if answer:
            yield from self._answer(task, where, memories, begun)
        else:
            stats = self._stats(where, memories, begun)
            yield Done(
                tuple(
                    Reading(
                        "",
                        question=one,
                        excerpts=tuple(excerpts(memory.chosen())),
                        stats=stats,
                        found=bool(memory.kept),
                    )
                    for one, memory in zip(questions, memories, strict=True)
                )
            )

    # -- reading -------------------------------------------------------------------------------------------------

    def _resumed(self, task: _Task) -> state.State:
        who = f"{self.model.fingerprint} {self.model.dtype} {self.looking.profile.heads}"
        settings = {name: value for name, value in asdict(self.settings).items() if name != "answer"}
        settings["effort"] = task.effort
        text = task.text.revision if task.path else ""
        identity = state.identity(text, task.questions, who, settings)
        found = state.load(task.path, identity) if task.path else None
        return found or state.State(
            identity, memories=[[] for _ in task.questions], words=[Words() for _ in task.questions]
        )

    def _read(self, task: _Task, where: state.State) -> Iterator[Event]:
        """Pass over the windows that are to be read, then take the second look; `where` holds the result."""
        clock, windows = Clock(where), self._windows(task)
        count = max(1, round(windows.count() * task.effort))
        yield ReadStarted(count, int(count * self.settings.window * 0.95), where.window)
        if where.phase == "read":
            numbered = enumerate(windows.read(task.questions))
            settled = where.copy()
            try:
                for batch, scores in self._scored(_batches(numbered, self._batch_size(), skip=where.window), task):
                    self._take(batch, scores, task.questions, where)
                    where.seconds = clock.seconds()
                    settled = where.copy()
                    self._saved(task, settled, clock)
                    yield self._progress(where, max(count, where.window), clock)
            except BaseException:  # a cancel, Ctrl-C, or whoever iterates stops: no window is read twice
                self._saved(task, settled, clock, force=True)
                raise
            where.phase = "follow"
            self._saved(task, where, clock, force=True)
        if where.phase == "follow" and self.settings.follow and self.settings.mode == "map":
            self._follow(task, windows, where)
        if where.phase == "follow" and self.settings.words and self.settings.mode == "map":
            where.memories = [
                words.lifted(question, kept)
                for question, words, kept in zip(task.questions, where.words, where.memories, strict=True)
            ]
        where.seconds = clock.seconds()
        where.phase = "done"
        self._saved(task, where, clock, force=True)

    def _scored(self, batches: Iterable[Batch], task: _Task) -> Iterator[tuple[Batch, list[Tensor] | None]]:
        """Batches with their windows' scores; None in sequence, where scores depend on what was kept before."""
        free, asked = self.settings.content_free, task.uncancelled(batches)
        if self.settings.mode == "sequential":
            yield from ((batch, None) for batch in asked)
        elif self._spread is not None:
            yield from self._spread.over(asked, task.questions, content_free=free)
        else:
            for batch in asked:
                windows = [window for _, window in batch]
                yield batch, self.looking.scores(windows, task.questions, content_free=free)

    def _take(self, batch: Batch, scores: list[Tensor] | None, questions: Sequence[str], where: state.State) -> None:
        """Keep of a batch of windows what is worth it for each question."""
        if scores is None:
            self._take_in_turn(batch, questions, where)
        else:
            self._note(batch, scores, dict(enumerate(questions)), where, words=where.words)
        where.window += len(batch)
        where.tokens += sum(len(sentence) for _, window in batch for sentence in window)

    def _take_in_turn(self, batch: Batch, questions: Sequence[str], where: state.State) -> None:
        """The paper's loop: what was kept stands before the new window, and all of it competes anew."""
        for number, window in batch:
            for place, question in enumerate(questions):
                held = {(one.start, one.end): one.before for one in in_order(where.memories[place])}
                shown = [*(self._again(one) for one in in_order(where.memories[place])), *window]
                scores = self.looking.scores([shown], [question], content_free=self.settings.content_free)[0][0]
                kept = [
                    replace(one, before=held.get((one.start, one.end), one.before))
                    for one in scored(shown, scores.tolist(), number)
                    if one.score >= self.settings.floor
                ]
                where.memories[place] = in_order(within(kept, self.settings.budget))
                where.forward_tokens += sum(map(len, shown)) + self._overhead([question])

    def _follow(self, task: _Task, windows: Windows, where: state.State) -> None:
        """Look again, with the best finds behind the question, where the words of these finds stand."""
        found = [follow.asked(one, kept) for one, kept in zip(task.questions, where.memories, strict=True)]
        least = max(follow.LEAST_WINDOW, self.settings.longest)
        fitting = [one and one.with_room(self._room, least) for one in found]
        asked = {place: one for place, one in enumerate(fitting) if one}
        if not asked:
            return
        size = min(self.settings.follow * self.settings.window, max(follow.LEAST, where.tokens // follow.SHARE))
        chosen = windows.chosen([one.text for one in asked.values()])
        gathered = follow.gathered(lambda: windows.plain(chosen), list(asked.values()), size, windows.tokenised)
        for (place, one), sentences in zip(asked.items(), gathered, strict=True):
            window = min(self.settings.window, self._room(one.text))
            for batch in _batches(enumerate(packed(iter(sentences), window)), self._batch_size()):
                task.check()
                read = [window for _, window in batch]
                scores = self.looking.scores(read, [one.text], content_free=self.settings.content_free)
                self._note(batch, scores, {place: one.text}, where)

    def _note(
        self,
        batch: Batch,
        scores: Sequence[Tensor],
        questions: dict[int, str],
        where: state.State,
        *,
        words: Sequence[Words] | None = None,
    ) -> None:
        """Keep of a batch of scored windows what is worth it for some questions, by their places.

        `words` takes note of what the sentences hold.
        """
        windows = [window for _, window in batch]
        for (number, window), by_question in zip(batch, scores, strict=True):
            for place, values in zip(questions, by_question.tolist(), strict=True):
                memory = self._memory(where.memories[place])
                read = list(scored(window, values, number))
                memory.add(read)
                where.memories[place] = memory.kept
                if words and self.settings.words:
                    words[place].add(questions[place], read)
        tokens = sum(len(sentence) for window in windows for sentence in window)
        where.forward_tokens += tokens + len(batch) * self._overhead(list(questions.values()))

    def _answer(self, task: _Task, where: state.State, memories: Sequence[Memory], begun: float) -> Iterator[Event]:
        readings = []
        for question, memory in zip(task.questions, memories, strict=True):
            stats = self._stats(where, memories, begun)
            if not memory.kept:
                readings.append(replace(not_found(question), stats=stats))
                continue
            chosen = memory.chosen()
            yield Answering(tuple(excerpts(chosen)))
            reading = yield from answered(
                self.answerer,
                task.text,
                question,
                chosen,
                self.settings.answer,
                heads=self._copying,
                cancel=task.cancel,
            )
            readings.append(replace(reading, stats=self._stats(where, memories, begun)))
        yield Done(tuple(readings))

    # -- small parts ---------------------------------------------------------------------------------------------

    def _windows(self, task: _Task) -> Windows:
        settings = self.settings
        return Windows(task.text, self.looking.tokens, settings.window, settings.longest, task.effort, task.check)

    def _require_room(self, questions: Sequence[str]) -> None:
        """InputError: window, memory and a question exceed the model's positions."""
        settings = self.settings
        memory = settings.budget if settings.mode == "sequential" else 0
        question = max(self.looking.prompt.overhead([one]) for one in questions)
        needed = memory + max(settings.window, settings.longest) + question
        if needed > self.model.context_tokens:
            raise InputError(
                f"Window, memory and question take {needed:,} tokens; {self.model.name} has "
                f"{self.model.context_tokens:,} positions. Choose a smaller window or budget."
            )

    def _room(self, question: str) -> int:
        """Tokens of text that the model's positions leave beside a question."""
        return self.model.context_tokens - self.looking.prompt.overhead([question])

    def _overhead(self, questions: Sequence[str]) -> int:
        """Tokens that a window takes beside its text."""
        return self.looking.prompt.overhead([*questions, NO_QUESTION] if self.settings.content_free else questions)

    def _batch_size(self) -> int:
        if self.settings.mode == "sequential":
            return 1
        return self.looking.batch_size(self.settings.window, self.settings.batch_tokens)

    def _memory(self, kept: list[Kept]) -> Memory:
        return Memory(self.settings.budget, self.settings.floor, kept, max((one.score for one in kept), default=0.0))

    def _again(self, one: Kept) -> Sentence:
        return Sentence(one.start, one.end, one.text, tuple(self.looking.tokens.encode(one.text)))

    def _progress(self, where: state.State, count: int, clock: Clock) -> WindowRead:
        best = [max(memory, key=lambda one: one.score) for memory in where.memories if memory]
        memories = [self._memory(memory) for memory in where.memories]
        return WindowRead(
            window=where.window,
            windows=count,
            tokens=where.tokens,
            memory_tokens=max(memory.tokens for memory in memories),
            tokens_per_second=clock.rate(),
            seconds_left=clock.left(count),
            best=tuple(excerpts([one])[0] for one in best if one.text.strip()),
        )

    def _stats(self, where: state.State, memories: Sequence[Memory], begun: float) -> ReadStats:
        return ReadStats(
            windows=where.window,
            tokens=where.tokens,
            forward_tokens=where.forward_tokens,
            memory_tokens=max(memory.tokens for memory in memories),
            seconds=time.perf_counter() - begun,
            peak_bytes=peak_bytes(),
        )

    def _saved(self, task: _Task, where: state.State, clock: Clock, *, force: bool = False) -> None:
        if task.path and (force or clock.due()):
            state.save(task.path, where)


def _batches(
    windows: Iterable[tuple[int, list[Sentence]]], size: int, *, skip: int = 0
) -> Iterator[list[tuple[int, list[Sentence]]]]:
    """Windows in batches, the first `skip` of them left out; a batch is the same however a reading was broken off."""
    batch: list[tuple[int, list[Sentence]]] = []
    for place, one in enumerate(windows):
        if place < skip:
            continue
        batch.append(one)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch
