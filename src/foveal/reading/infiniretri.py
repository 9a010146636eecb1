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
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from itertools import accumulate, pairwise
from pathlib import Path
from typing import TYPE_CHECKING

from foveal.attention.profiles import Profile, profile_of
from foveal.attention.retrieval_heads import HeadScores, copying_heads
from foveal.errors import InputError
from foveal.models.chat import Cancel, ChatModel, is_small
from foveal.reading import follow, state
from foveal.reading.answering import answered, not_found
from foveal.reading.clock import Clock
from foveal.reading.events import Answering, Done, Event, Reading, ReadStarted, ReadStats, WindowRead
from foveal.reading.likeness import KNOWN, Meaning, known_encoder, nothing_answers
from foveal.reading.looking import Batch, Looking, SpreadLooking
from foveal.reading.memory import Kept, Memory, excerpts, in_order, scored, within
from foveal.reading.process import peak_bytes
from foveal.reading.prompts import NO_QUESTION
from foveal.reading.read_settings import ReadSettings
from foveal.reading.sentences import Sentence, packed
from foveal.reading.sources import Text, questions_of, text_of
from foveal.reading.windows import Windows, batches
from foveal.reading.witnesses import Witnesses
from foveal.types import Document, Encoder

if TYPE_CHECKING:
    from torch import Tensor

    from foveal.models.language import LanguageModel


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

    def uncancelled(self, unread: Iterable[Batch]) -> Iterator[Batch]:
        """The batches; Cancelled before the one that would follow."""
        for batch in unread:
            self.check()
            yield batch


class InfiniRetri:
    """A `Reader`. One object reads many texts; threads may share it."""

    def __init__(
        self,
        model: LanguageModel,
        settings: ReadSettings | None = None,
        *,
        answerer: ChatModel | None = None,
        profile: Profile | None = None,
        home: Path | None = None,
        looking: SpreadLooking | None = None,
        encoder: Encoder | None = None,
    ) -> None:
        """`answerer` gives the answers (default: the model that reads); `home` holds profiles of one's own; `looking`
        scores windows elsewhere (`scale.reading.RayLooking`); `encoder` says what is like the question (default: the
        one whose cosines are known, likeness.py, where it is installed).

        InputError: window, memory and prompt together exceed the model's positions.
        """
        self.model = model
        self.settings = settings = settings or ReadSettings()
        self._spread = looking
        self.looking: Looking = looking or Looking(
            model,
            profile or profile_of(model, home),
            settings.template,
            attention=settings.attention,
            row_beta=settings.row_beta,
            int8=settings.int8,
        )
        self._answerer, self._home, self._encoder = answerer, home, encoder
        self._require_room([NO_QUESTION])

    @property
    def answerer(self) -> ChatModel:
        """What gives the answers."""
        if self._answerer is None:
            from foveal.models.local_chat import LocalChat

            self._answerer = LocalChat(self.model)
        return self._answerer

    @cached_property
    def _meaning(self) -> Meaning | None:
        if not self.settings.meaning or self.settings.mode == "sequential":
            return None
        encoder = self._encoder or known_encoder(self._home)
        return Meaning(encoder) if encoder and encoder.name == KNOWN else None

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
                        details=_told(memory),
                    )
                    for one, memory in zip(questions, memories, strict=True)
                )
            )

    # -- reading -------------------------------------------------------------------------------------------------

    def _resumed(self, task: _Task) -> state.State:
        who = f"{self.model.fingerprint} {self.model.dtype} {self.looking.profile.heads}"
        who += " int8" if self.looking.rough else ""
        settings = {name: value for name, value in asdict(self.settings).items() if name not in ("answer", "int8")}
        settings["effort"] = task.effort
        settings["meaning"] = self._meaning and self._meaning.encoder.fingerprint
        text = task.text.revision if task.path else ""
        identity = state.identity(text, task.questions, who, settings)
        found = state.load(task.path, identity) if task.path else None
        return found or state.State(
            identity, memories=[[] for _ in task.questions], witnesses=[Witnesses() for _ in task.questions]
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
                for batch, scores in self._scored(batches(numbered, self._batch_size(), skip=where.window), task):
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
        if where.phase == "follow" and self._witnessed:
            where.memories = [
                witnesses.lifted(question, kept, words=self.settings.words)
                for question, witnesses, kept in zip(task.questions, where.witnesses, where.memories, strict=True)
            ]
        where.seconds = clock.seconds()
        where.phase = "done"
        self._saved(task, where, clock, force=True)

    def _scored(self, unread: Iterable[Batch], task: _Task) -> Iterator[tuple[Batch, list[Tensor] | None]]:
        """Batches with their windows' scores; None in sequence, where scores depend on what was kept before."""
        free, asked = self.settings.content_free, task.uncancelled(unread)
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
            self._note(batch, scores, questions, range(len(questions)), where, witnesses=where.witnesses)
            where.forward_tokens += len(batch) * self._overhead(questions)
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
            for batch in batches(enumerate(packed(iter(sentences), window)), self._batch_size()):
                task.check()
                read = [window for _, window in batch]
                scores = self.looking.scores(read, [one.text], content_free=self.settings.content_free)
                self._note(batch, scores, task.questions, [place], where)
                where.forward_tokens += len(batch) * self._overhead([one.text])

    def _note(
        self,
        batch: Batch,
        scores: Sequence[Tensor],
        questions: Sequence[str],
        places: Sequence[int],
        where: state.State,
        *,
        witnesses: Sequence[Witnesses] | None = None,
    ) -> None:
        """Keep of a batch of scored windows what is worth it for the questions at some places.

        `witnesses` take note of what the sentences hold.
        """
        likes = self._likes([window for _, window in batch], [questions[place] for place in places])
        for (number, window), by_question, alike in zip(batch, scores, likes, strict=True):
            for place, values, like in zip(places, by_question.tolist(), alike, strict=True):
                memory = self._memory(where.memories[place])
                read = list(scored(window, values, number, like))
                memory.add(read)
                where.memories[place] = memory.kept
                if witnesses and self._witnessed:
                    witnesses[place].add(questions[place], read)
        where.forward_tokens += sum(len(sentence) for _, window in batch for sentence in window)

    def _likes(self, windows: Sequence[Sequence[Sentence]], questions: Sequence[str]) -> list[list[list[float]]]:
        """Of each window and question the cosines of its sentences; zeros where none are told."""
        if self._meaning is None:
            return [[[0.0] * len(window)] * len(questions) for window in windows]
        found = self._meaning.cosines(questions, [one.text for window in windows for one in window])
        ends = list(accumulate(map(len, windows), initial=0))
        return [found[:, start:end].tolist() for start, end in pairwise(ends)]

    @property
    def _witnessed(self) -> bool:
        """Whether anything beside attention has a say."""
        return self.settings.mode == "map" and (self.settings.words or self._meaning is not None)

    def _answer(self, task: _Task, where: state.State, memories: Sequence[Memory], begun: float) -> Iterator[Event]:
        readings = []
        for question, memory in zip(task.questions, memories, strict=True):
            stats = self._stats(where, memories, begun)
            if not memory.kept:
                readings.append(replace(not_found(question), stats=stats))
                continue
            chosen = memory.chosen()
            yield Answering(tuple(excerpts(chosen)))
            told = _told(memory)
            if is_small(self.answerer) and nothing_answers(**told, least=self.settings.likeness):
                nearest = tuple(excerpts(chosen))
                readings.append(replace(not_found(question), excerpts=nearest, stats=stats, details=told))
                continue
            reading = yield from answered(
                self.answerer,
                task.text,
                question,
                chosen,
                self.settings.answer,
                heads=self._copying,
                cancel=task.cancel,
            )
            readings.append(replace(reading, stats=self._stats(where, memories, begun), details=told))
        yield Done(tuple(readings))

    # -- small parts ---------------------------------------------------------------------------------------------

    def _windows(self, task: _Task) -> Windows:
        settings = self.settings
        # What no memory holds could not be kept at all; by itself a part may have some tokens more.
        longest = min(settings.longest, settings.budget * 3 // 4)
        return Windows(task.text, self.looking.tokens, settings.window, longest, task.effort, task.check)

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


def _told(memory: Memory) -> dict[str, float]:
    """Of what was kept the greatest likeness, 0 where it is not known, and the best score."""
    return {"nearest": max((one.like for one in memory.kept), default=0.0), "looked_at": memory.top}
