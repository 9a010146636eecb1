"""The Titans reader: it reads on and on with a memory of constant size, and looks up only what the memory points at.

    reader = TitansReader(load_chat("qwen2.5-coder-0.5b"))
    reader.read(document, "Who keeps the key?").citations
    for event in reader.stream(text, question, Path("mine.safetensors")): …     # kept; the next text goes on in it

One pass over a text writes the vector of each few sentences into a neural memory (nn/passage_memory.py). A question
then recalls windows of the text; these alone are opened again, their sentences ranked by the encoder, and the best of
them given to the model that answers. A text that is in the memory is not read again, whatever is asked; the memory goes
on with the next document, and a question may be answered from any of them, if it can still be opened.

Source    Behrouz, Zhong and Mirrokni, "Titans", 2025 (arXiv 2501.00663): a memory that learns while it reads. That it
          points at places, and that these are read again, is ours
Against   InfiniRetri (infiniretri.py) looks at every window with the question in hand, and reads anew for each
Limits    what is recalled blurs as the memory fills (passage_memory.py); a fact that resembles its question little is
          not pointed at; nothing is answered that no single window holds
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from foveal.errors import FovealError, InputError
from foveal.models.chat import Cancel, ChatModel
from foveal.nn.passage_memory import PassageMemory, PassageSettings
from foveal.reading import titans_memory
from foveal.reading.answering import Evidence, drafted, not_found
from foveal.reading.answering_settings import AnswerSettings
from foveal.reading.events import Answering, Done, Event, Reading, ReadStarted, ReadStats, WindowRead
from foveal.reading.memory import Kept, excerpts, in_order, scored, within
from foveal.reading.process import peak_bytes
from foveal.reading.sources import Text, questions_of, text_of
from foveal.reading.titans_memory import WINDOW, Known, Remembered
from foveal.types import Document, Encoder

if TYPE_CHECKING:
    from foveal.attention.retrieval_heads import HeadScores

log = logging.getLogger("foveal.reading.titans")

SAVED_EVERY_S = 10.0


@dataclass(frozen=True, kw_only=True)
class TitansReadSettings:
    """How a question is answered from what is remembered."""

    windows: int = 8  # windows that are recalled and opened again
    budget: int = 1024  # most tokens of what is kept of them
    floor: float = 0.2  # least cosine of a sentence that is kept
    answer: AnswerSettings = field(default_factory=AnswerSettings)

    def __post_init__(self) -> None:
        """InputError: a value out of its range."""
        if self.windows < 1 or self.budget < 32 or not -1 <= self.floor <= 1:
            raise InputError(
                f"The Titans reader got windows {self.windows}, budget {self.budget}, floor {self.floor}; it needs 1 "
                "window, 32 tokens, and a cosine."
            )


@dataclass(frozen=True)
class _Found:
    """What was found in one document: it, the text, its best sentences."""

    known: Known
    text: Text
    kept: tuple[Kept, ...]


class TitansReader:
    """A `Reader` whose memory persists."""

    def __init__(
        self,
        answerer: ChatModel,
        settings: TitansReadSettings = TitansReadSettings(),
        *,
        encoder: Encoder | None = None,
        memory: PassageMemory | None = None,
        reopen: Callable[[str], Text] | None = None,
        home: Path | None = None,
    ) -> None:
        """`reopen` opens an earlier document by its address, so that it can be quoted; `memory` may be a trained one.

        InputError: a memory for vectors of another encoder.
        """
        self.answerer, self.settings = answerer, settings
        self.reopen, self._home = reopen, home
        self.encoder = encoder or _usual_encoder()
        self.memory = memory or PassageMemory(PassageSettings(vector=self.encoder.dimension))
        if self.memory.settings.vector != self.encoder.dimension:
            raise InputError(
                f"The memory takes vectors of {self.memory.settings.vector} numbers; {self.encoder.name} gives "
                f"{self.encoder.dimension}. Train one for this encoder: foveal train titans-reader."
            )

    @cached_property
    def _copying(self) -> HeadScores | None:
        from foveal.attention.retrieval_heads import copying_heads

        return copying_heads(self.answerer, self._home)

    def read(self, document: Document | Text | str, question: str, *, state: Path | None = None) -> Reading:
        """The answer to `question` with the places that it stands at."""
        return self.read_many(document, [question], state=state)[0]

    def read_many(
        self, document: Document | Text | str, questions: Sequence[str], *, state: Path | None = None
    ) -> tuple[Reading, ...]:
        """One pass over the text for all `questions`."""
        done = [event for event in self.stream(document, questions, state) if isinstance(event, Done)]
        return done[-1].readings

    def stream(
        self,
        source: Document | Text | str,
        question: str | Sequence[str],
        state: Path | None = None,
        *,
        address: str = "",
        answer: bool = True,
        cancel: Cancel | None = None,
    ) -> Generator[Event]:
        """Read what is not remembered yet, then answer; the last event is `Done`.

        `state` names the memory's file, which is made, gone on with, and kept; `address` is what `reopen` would open
        this text by. InputError: an empty question, a file of another kind. Cancelled: what was read is kept.
        """
        questions = questions_of(question)
        text, begun, spent = text_of(source), time.perf_counter(), 0
        before = titans_memory.load(state, self.memory, self.encoder) if state else None
        before = before or titans_memory.begun(self.memory)
        remembered = titans_memory.with_document(before, text, address or text.document_id)
        for now, event in self._read(remembered, text, state, cancel):
            remembered = now
            spent = event.tokens if isinstance(event, WindowRead) else 0
            yield event
        readings = []
        for one in questions:
            if cancel:
                cancel.check()
            found = self.look_up(remembered, text, one)
            reading = self._shown(found, text, one) if found else not_found(one)
            if found and answer:
                yield Answering(reading.excerpts)
                reading = yield from self._answer(found, one, reading, cancel)
            kept = sum(each.tokens for place in found for each in place.kept)
            stats = ReadStats(
                len(remembered.known[-1].windows), remembered.known[-1].tokens, spent, kept,
                time.perf_counter() - begun, peak_bytes(),
            )  # fmt: skip
            readings.append(replace(reading, stats=stats))
        yield Done(tuple(readings))

    # -- reading -------------------------------------------------------------------------------------------------

    def _read(
        self, remembered: Remembered, text: Text, path: Path | None, cancel: Cancel | None
    ) -> Iterator[tuple[Remembered, Event]]:
        """Each batch of units as it is written, with what is then remembered."""
        present = remembered.known[-1]
        count, before = max(1, -(-text.characters // WINDOW)), present.tokens
        share = max(1, before) / max(1, present.done) if before else 0.25  # tokens of a character
        yield remembered, ReadStarted(count, int(text.characters * share), len(present.windows))
        begun = saved = time.perf_counter()
        check = cancel.check if cancel else _nothing
        try:
            for read in titans_memory.read_into(remembered, text, self.memory, self.encoder, check):
                remembered = read
                present, now = remembered.known[-1], time.perf_counter()
                if path and not present.whole and now - saved > SAVED_EVERY_S:
                    titans_memory.save(path, remembered, self.memory, self.encoder)
                    saved = now
                yield remembered, _progress(present, count, present.tokens - before, now - begun)
        finally:  # a cancel, Ctrl-C, or whoever iterates stops: nothing is read twice
            if path:
                titans_memory.save(path, remembered, self.memory, self.encoder)

    # -- looking up ----------------------------------------------------------------------------------------------

    def recalled(self, remembered: Remembered, question: str) -> list[tuple[int, float]]:
        """The windows that the memory points at for a question, by number, with their scores, the strongest first."""
        places = remembered.places
        if not len(places):
            return []
        with torch.no_grad():
            asked = torch.from_numpy(self.encoder.encode([question]))
            scores = self.memory.recall(asked, places, remembered.state)[0]
        best = scores.topk(min(self.settings.windows, len(places)))
        return [(int(places[place]), float(score)) for score, place in zip(*best, strict=True)]

    def look_up(self, remembered: Remembered, text: Text, question: str) -> list[_Found]:
        """The best sentences of the windows that are recalled, by document, the present one first."""
        by_document: dict[Known, set[int]] = {}
        for number, _ in self.recalled(remembered, question):
            by_document.setdefault(remembered.holder(number), set()).add(number)
        asked = self.encoder.encode([question])[0]
        found: list[_Found] = []
        for known, windows in by_document.items():
            opened = text if known == remembered.known[-1] else self._opened(known)
            if opened is None:
                continue
            kept: list[Kept] = []
            for window in titans_memory.sentences_in(opened, known, windows, self.encoder):
                cosines = self.encoder.encode([one.text for one in window]) @ asked
                kept += scored(window, cosines.tolist(), known.first + window[0].start // WINDOW)
            found.append(_Found(known, opened, tuple(kept)))
        return self._best(found, remembered.known[-1])

    def _best(self, found: Sequence[_Found], present: Known) -> list[_Found]:
        """The same with what fits the budget, over all documents."""
        all_kept = [
            (one.score, place, one) for place, each in enumerate(found) for one in each.kept if one.text.strip()
        ]
        left, chosen = self.settings.budget, [list[Kept]() for _ in found]
        for score, place, one in sorted(all_kept, key=lambda told: -told[0]):
            if score >= self.settings.floor and one.tokens <= left:
                chosen[place].append(one)
                left -= one.tokens
        made = [replace(each, kept=tuple(in_order(kept))) for each, kept in zip(found, chosen, strict=True) if kept]
        return sorted(made, key=lambda each: each.known != present)

    def _opened(self, known: Known) -> Text | None:
        """An earlier document, if it is still what was read."""
        if self.reopen is None:
            return None
        try:
            text = self.reopen(known.address)
        except (FovealError, OSError) as error:
            log.info("Of %s nothing is quoted: %s", known.address, error)
            return None
        return text if text.revision == known.revision else None

    # -- answering -----------------------------------------------------------------------------------------------

    def _shown(self, found: Sequence[_Found], text: Text, question: str) -> Reading:
        """The excerpts of the present document, and no answer. Those of others are quoted in citations only."""
        kept = [one for each in found for one in each.kept if each.text is text]
        return Reading("", question=question, excerpts=tuple(excerpts(in_order(kept))))

    def _answer(
        self, found: Sequence[_Found], question: str, shown: Reading, cancel: Cancel | None
    ) -> Generator[Event, None, Reading]:
        settings = self.settings.answer
        every = [one for each in found for one in each.kept]
        best = within(every, settings.context) or [max(every, key=lambda one: one.score)]
        evidence = [
            Evidence(each.text.document_id, excerpt, each.text.title, each.text.url, each.text.revision)
            for each in found
            for excerpt in excerpts(in_order([one for one in each.kept if one in best]))
        ]
        draft = yield from drafted(self.answerer, question, evidence, settings, heads=self._copying, cancel=cancel)
        top = max(one.score for one in every)
        sure = max(0.0, top) * (0.5 if draft.unsupported else 1.0) if draft.found else 0.0
        return replace(
            shown, text=draft.text, citations=draft.citations, confidence=sure, found=draft.found,
            unsupported=draft.unsupported, grounded=draft.grounded,
        )  # fmt: skip


def _usual_encoder() -> Encoder:
    from foveal.models import load_encoder

    return load_encoder("minilm")


def _nothing() -> None:
    """Nothing can cancel this reading."""


def _progress(present: Known, count: int, tokens: int, seconds: float) -> WindowRead:
    read = len(present.windows)
    rate = tokens / max(1e-9, seconds)
    share = present.tokens / max(1, present.done) * WINDOW  # tokens of a window
    return WindowRead(
        window=read, windows=max(count, read), tokens=tokens, memory_tokens=0, tokens_per_second=rate,
        seconds_left=max(0, count - read) * share / max(1e-9, rate), best=(),
    )  # fmt: skip
