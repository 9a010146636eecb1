"""The answer of a run: written by the model from the summaries, or put together from them without one.

Whatever is written, every number in it leads to a source that a searcher cited: others are taken out before they are
shown. An answer without any number, as small models write them, is traced to what bears it out; one that nothing bears
out and that names what was nowhere read gives way to the summaries.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from foveal.errors import Cancelled, FetchFailed, InputError
from foveal.models.chat import Cancel, ChatModel, Sampling
from foveal.reading.loops import said_once, until_round
from foveal.research.answers import partial_answer
from foveal.research.board import Board, today
from foveal.research.citations import (
    Marks,
    Origin,
    cited,
    cited_as_asked,
    invented,
    resolved,
    said_by,
    says_something,
    traced,
)
from foveal.research.prompts import plain_writer_messages, unbracketed, without_marks, writer_messages
from foveal.research.state import RunState
from foveal.types import Passage, Span


@dataclass(kw_only=True)
class Writer:
    """Writes one run's answer; `bad` counts numbers that nothing stood behind."""

    question: str
    board: Board
    model: ChatModel
    cancel: Cancel
    tokens: int  # of the answer
    plain: bool  # whether the model is a small one
    bad: int = 0
    put_together: bool = False  # whether the answer was made without a model
    begun: bool = False  # whether the model said anything
    invented: bool = False  # whether that had names or numbers that were nowhere read

    def direct(self, text: str) -> bool:
        """The planner answered without a program: of the numbers that it wrote, those of its searchers stay.

        Whether it is said: not what names things that its searchers, where they found something, did not read.
        """
        seen = self.board.seen()
        shown, bad = resolved(said_once(text), _known(seen))
        if self.board.found() and self._invents(shown, seen):
            return False
        self.bad = bad
        self._say(shown)
        return True

    def write(self) -> bool:
        """Let the model write; whether it did. FetchFailed, InputError: it failed. What it began is taken back."""
        try:
            written = self._written(self.board.seen())
        except Cancelled:
            written = False
        except (FetchFailed, InputError):
            self.board.tell("answer.reset")
            raise
        if not written:
            self.board.tell("answer.reset")
        return written

    def put(self, stopped_by: str | None) -> None:
        """Put the answer together from the summaries."""
        self.put_together = True
        self._say(partial_answer(self.board.seen(), stopped_by, invented=self.invented))

    def _written(self, seen: RunState) -> bool:
        """The model's answer, word by word; a number that nothing stands behind is never shown."""
        room = min(self.tokens, self.model.context_tokens // 3)
        known = _known(seen)
        if self.plain:
            quotes = [one["quote"] for number in sorted(known) for one in seen.quotes(number)]
            messages = plain_writer_messages(self.question, seen.graph, self.model, room=room, quotes=quotes)
        else:
            messages = writer_messages(self.question, seen.graph, self.model, today=today(), room=room)
        marks = Marks(known.__contains__)
        for piece in until_round(self.model.stream(messages, Sampling(max_tokens=room), cancel=self.cancel)):
            self.begun = True
            self._say(marks.add(piece))
        self._say(marks.rest())
        said = said_once(self.board.state.answer)
        shown, more = resolved(said if self.plain else cited_as_asked(said, _origins(seen, known)), known)
        self.bad += marks.bad + more
        told = {number: " ".join(one["quote"] for one in seen.quotes(number)) for number in known}
        shown = unbracketed(shown) if self.plain else shown
        shown = traced(shown, _origins(seen, known), question=self.question, quotes=told)
        if shown != self.board.state.answer:
            # marks that a small model forgot, or that came to be as others were taken out
            self.board.tell("answer.reset")
            self._say(shown)
        return says_something(shown) and not self._invents(shown, seen)

    def _invents(self, answer: str, seen: RunState) -> bool:
        """Whether an answer cites nothing, and what it names was neither asked, nor told to the model, nor found."""
        nodes = seen.graph.searchers()
        asked = [self.question, today().isoformat(), *(node.content for node in nodes)]
        found = [one["quote"] for number in seen.refs for one in seen.quotes(number)]
        found += [node.answer for node in nodes]  # these would be shown instead
        self.invented = invented(answer, "\n".join(asked), "\n".join(found))
        return self.invented

    def _say(self, text: str) -> None:
        if text:
            self.board.tell("answer.delta", text=text)


def _known(seen: RunState) -> set[int]:
    """The numbers that the searchers' answers cite: all that an answer may."""
    return {number for node in seen.graph.searchers() for number in cited(node.answer)} & seen.refs.keys()


def _origins(seen: RunState, known: Collection[int]) -> dict[int, Origin]:
    """What stands behind each number, as far as the answer's writer saw it: quotes, and what searchers said by them."""
    texts = {number: [one["quote"] for one in seen.quotes(number)] for number in known}
    for node in seen.graph.searchers():
        for number in known:
            texts[number].append(without_marks(said_by(node.answer, number)))
    return {
        number: Origin(url="", title="", summary="", revision="", passages=tuple(map(_passage, found)))
        for number, found in texts.items()
    }


def _passage(text: str) -> Passage:
    return Passage(Span("", 0, len(text)), text)
