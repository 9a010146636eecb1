"""How a trained planner reads a search so far, and what of it is learnt: the queries, and when to stop.

    Question: Who taught the architect of the Orra mill?
    Search Orra mill architect                                   <- learnt
    - Orra mill: The mill was designed by Petra Lindqvist.
    - Petra Lindqvist: Petra Lindqvist (1811-1870) was an architect in Vasa.
    Search Petra Lindqvist teacher                               <- learnt; or `Done`

A transcript only ever grows, so that one pass over it teaches every query of a run, each from what stood before it.
Of a passage one sentence is shown: the one with the most of the question's and the query's words (those that begin
alike count: "director", "directed"), with its title where it does not begin with it. Tokens are made line by line,
alike in training and in use.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from foveal.errors import InputError
from foveal.models.language import LanguageModel
from foveal.research.anchors import is_adjective, names_of
from foveal.research.prompts import as_data
from foveal.retrieval.terms import terms
from foveal.text.units import sentences

ALIKE = 5
"""Letters in which two words are alike that count as one."""

Shown = tuple[str, str]
"""Title and text of a passage."""


@dataclass(frozen=True, kw_only=True)
class TranscriptSettings:
    """How much of a search is read."""

    passages: int = 3  # of a query that are shown
    passage_tokens: int = 56  # of one of them
    question_tokens: int = 96
    query_tokens: int = 24

    def __post_init__(self) -> None:
        """InputError: a value below 1."""
        if min(self.passages, self.passage_tokens, self.question_tokens, self.query_tokens) < 1:
            raise InputError(f"{self} needs 1 passage, and 1 token of each part, or more.")


@dataclass(frozen=True)
class Searched:
    """A query, and one line for each passage that is shown of it."""

    query: str
    lines: tuple[str, ...]
    ids: tuple[int, ...] = ()  # the query's line in tokens, as a planner drew them; empty: as the text gives them


@dataclass(frozen=True)
class Transcript:
    """A question and what was searched for it so far."""

    question: str
    searched: tuple[Searched, ...] = ()

    def and_then(
        self, query: str, found: Sequence[Shown], settings: TranscriptSettings, ids: Sequence[int] = ()
    ) -> Transcript:
        """The same after one more search; `found` are its passages, the best first."""
        lines = [line(title, text, f"{self.question} {query}") for title, text in found]
        told = {line for one in self.searched for line in one.lines}
        new = [one for one in dict.fromkeys(lines) if one not in told]
        return Transcript(self.question, (*self.searched, Searched(query, tuple(new[: settings.passages]), tuple(ids))))


@dataclass(frozen=True)
class Piece:
    """Tokens that stand together; `learnt` ones a planner writes itself."""

    ids: tuple[int, ...]
    learnt: bool = False


class Format:
    """Transcripts as tokens of a model."""

    def __init__(self, model: LanguageModel, settings: TranscriptSettings | None = None) -> None:
        """InputError: the tokenizer begins both words that a planner may write alike, so that none can be chosen."""
        self.model = model
        self.settings = settings or TranscriptSettings()
        self.search, self.done, self.end = (tuple(model.encode(text)) for text in ("Search", "Done", "\n"))
        if self.search[0] == self.done[0] or len(self.end) != 1:
            raise InputError(f"The tokenizer of {model.name} cannot tell a plan's lines apart. Take another model.")
        bos = model.tokenizer.bos_token_id
        begins = bos is not None and model.tokenizer("a")["input_ids"][:1] == [bos]
        self.start = (int(bos),) if begins else ()

    def prompt(self, transcript: Transcript, example: Transcript | None = None) -> list[int]:
        """All tokens up to the line that is to be written; `example` is one that is shown before, to its end."""
        shown = [] if example is None else [*self.pieces(example, ended=True), Piece(self.end)]
        parts = [*shown, *self.pieces(transcript)]
        return [*self.start, *(token for piece in parts for token in piece.ids)]

    def pieces(self, transcript: Transcript, *, ended: bool = False) -> Iterator[Piece]:
        """The lines; `ended`: with the one that says that no more is searched."""
        settings = self.settings
        yield Piece((*self._cut(f"Question: {plain(transcript.question)}", settings.question_tokens), *self.end))
        for one in transcript.searched:
            yield Piece(one.ids or self.query(one.query), learnt=True)
            for shown in one.lines:
                yield Piece((*self._cut(f"- {shown}", settings.passage_tokens), *self.end))
        if ended:
            yield Piece((*self.done, *self.end), learnt=True)

    def query(self, text: str) -> tuple[int, ...]:
        """The line of a query."""
        return (*self.search, *self.name(text), *self.end)

    def name(self, text: str) -> tuple[int, ...]:
        """What stands behind the word `Search`: a query, or how it begins."""
        return tuple(self._cut(f" {plain(text)}", self.settings.query_tokens))

    def _cut(self, text: str, most: int) -> list[int]:
        # 12 characters a token are more than any script takes: no long text is tokenised for its first words
        return self.model.encode(text[: 12 * most])[:most]


def names_left(transcript: Transcript) -> list[str]:
    """The names to ask of: those of the question that stand in no query, then those of the lines that are shown, but
    for the question's. None that is a part of one before it, and no country's adjective."""
    asked = {word for one in transcript.searched for word in terms(one.query)}
    known = asked | set(terms(transcript.question))
    given = [(name, asked) for name in names_of(transcript.question)]
    given += [(name, known) for one in transcript.searched for shown in one.lines for name in names_of(shown)]
    kept: dict[str, set[str]] = {}
    for name, before in given:
        words = set(terms(name))
        if not (words <= before or is_adjective(name) or any(words <= one for one in kept.values())):
            kept[name] = words
    return list(kept)


def line(title: str, text: str, wanted: str) -> str:
    """What is shown of a passage: its title, and the sentence with the most of the `wanted` words."""
    title, body = plain(title), plain(text)
    while title and body.startswith(f"{title} {title}"):  # encyclopaedias say the title before the text
        body = body[len(title) :].lstrip()
    found = [body[start:end].strip() for start, end in sentences(body)] or [body]
    asked = _beginnings(wanted) - _beginnings(title)
    best = max(found, key=lambda one: len(asked & _beginnings(one)))
    return best if not title or best.startswith(title) else f"{title}: {best}"


def _beginnings(text: str) -> set[str]:
    return {word[:ALIKE] for word in terms(text)}


def plain(text: str) -> str:
    """A text as it may stand in a line: of one line, and without what steers a model."""
    return re.sub(r"\s+", " ", as_data(text)).strip()
