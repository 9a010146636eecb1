"""Summaries that are used again: what a searcher found out is kept, and a run that asks the same gets it at once.

    memory = Summaries(database, source="library", encoder=load_encoder(), model=model.name)
    MindSearch(model, source, memory=memory)

Same       two questions to one model, of the same sources, searched in the same way, with the same answers of what they
           build on, that are written alike
           (`alike`: names, numbers, question words, and a stem for each other word) and whose vectors are `least` near.
           Vectors alone will not do: to MiniLM "when was she born" and "where was she born" are as near as
           paraphrases are (docs/research.md). In other scripts only the same words are the same question
Fresh      for `days`; what is older is deleted. Nothing notices a source that changed meanwhile
Whole      a summary comes with its sources and their passages, so that its citations resolve as before

Source     the idea is MindSearch's node (arXiv 2407.20183) kept across runs; off unless asked for
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Protocol

from sqlalchemy import delete, select
from sqlalchemy.exc import SQLAlchemyError

from foveal import faults
from foveal.errors import InputError
from foveal.research.citations import MARK, Origin
from foveal.research.graph import same_question
from foveal.research.schema import SummaryRow
from foveal.research.searcher import Summary
from foveal.types import Encoder, Passage, Span

if TYPE_CHECKING:
    import numpy as np

    from foveal.database import Database
    from foveal.research.prompts import Problem
    from foveal.research.sources import Source
    from foveal.settings import Settings

MOST = 2000
"""Summaries of one place that are compared, the youngest first."""

logger = logging.getLogger("foveal.research.reuse")

_WORD = re.compile(r"[^\W_]+")


def _listed(words: str) -> frozenset[str]:
    return frozenset(words.split())


_FRAME = _listed(
    "who whom whose when where why how many much long old far often did do does by no not never without except neither "
    "nor none least most more less than first last before after"
)
"""Words that turn a question into another one."""

_EMPTY = _listed(
    "what which is are was were has have had can could in on at of from for to the a an s and it its there name"
)
"""Words that say nothing of what is asked for."""

STEM = 5
"""Letters that two words share if one may stand for the other; a shorter word must be equal."""


@dataclass(frozen=True, kw_only=True)
class ReuseSettings:
    """When a summary is used again."""

    least: float = 0.9  # cosine of the questions' vectors, above 0, at most 1; docs/research.md: what it lets by
    days: float = 7.0  # for which it counts as fresh

    def __post_init__(self) -> None:
        """InputError: a value out of its range."""
        if not 0 < self.least <= 1 or self.days <= 0:
            raise InputError(f"{self} needs a likeness above 0 and up to 1, and days above 0.")


@dataclass(frozen=True)
class Recalled:
    """A summary of an earlier run; `question` is what was asked then."""

    summary: Summary
    question: str
    at: datetime


class Memory(Protocol):
    """Where a run looks before it searches. It never raises: without it the run searches."""

    def recall(self, problem: Problem) -> Recalled | None:
        """What is known of it."""
        ...

    def keep(self, problem: Problem, summary: Summary) -> None:
        """Remember what was found."""
        ...


@dataclass
class Summaries:
    """A `Memory` in the SQL database. Without an encoder only the very same question is the same."""

    database: Database
    source: str  # what is searched, and how
    encoder: Encoder | None = None
    settings: ReuseSettings = field(default_factory=ReuseSettings)
    model: str = ""  # that answers: another one's words, and mistakes, are not this one's

    def recall(self, problem: Problem) -> Recalled | None:
        """The youngest summary of the same question, or of the question most like it that counts as the same."""
        try:
            return self._recalled(problem)
        except SQLAlchemyError as error:
            logger.warning("earlier summaries cannot be read: %s", error)
            return None

    def _recalled(self, problem: Problem) -> Recalled | None:
        youngest = faults.now() - timedelta(days=self.settings.days)
        wanted = select(SummaryRow).where(SummaryRow.place == self._place(problem), SummaryRow.at >= youngest)
        with self.database.reading() as session:
            rows = list(session.scalars(wanted.order_by(SummaryRow.at.desc(), SummaryRow.id.desc()).limit(MOST)))
        found = next((row for row in rows if same_question(row.question, problem.question)), None)
        found = found or self._alike(problem.question, rows)
        return Recalled(_summary(json.loads(found.found)), found.question, found.at) if found else None

    def keep(self, problem: Problem, summary: Summary) -> None:
        """Remember a summary that holds something, and forget what is old."""
        if summary.error or not summary.answer:
            return
        row = SummaryRow(
            place=self._place(problem),
            question=problem.question.replace("\x00", ""),
            vector=b"" if self.encoder is None else self._vector(problem.question).tobytes(),
            found=json.dumps(_told(summary)),
        )
        old = faults.now() - timedelta(days=self.settings.days)
        try:
            with self.database.writing() as session:
                session.execute(delete(SummaryRow).where(SummaryRow.at < old))
                session.add(row)
        except SQLAlchemyError as error:
            logger.warning("a summary is not remembered: %s", error)

    def _alike(self, question: str, rows: list[SummaryRow]) -> SummaryRow | None:
        import numpy as np

        rows = [row for row in rows if row.vector and alike(row.question, question)]
        if self.encoder is None or not rows:
            return None
        likeness = np.stack([np.frombuffer(row.vector, np.float32) for row in rows]) @ self._vector(question)
        best = int(likeness.argmax())
        return rows[best] if likeness[best] >= self.settings.least else None

    def _vector(self, question: str) -> np.ndarray:
        import numpy as np

        assert self.encoder is not None
        vector = np.asarray(self.encoder.encode([question])[0], np.float32)
        return vector / max(float(np.linalg.norm(vector)), 1e-12)

    def _place(self, problem: Problem) -> str:
        """Sources, models and what the question builds on, as one key: questions of other places never meet."""
        before = [[" ".join(MARK.sub("", text).split()).casefold() for text in pair] for pair in problem.before]
        encoder = getattr(self.encoder, "name", "") if self.encoder is not None else ""
        return sha256(json.dumps([self.source, self.model, encoder, before]).encode()).hexdigest()


def alike(one: str, other: str) -> bool:
    """Whether two questions may ask the same, by their writing; False where it tells nothing (other scripts)."""
    frame, names, words = _read(one)
    frame_too, names_too, words_too = _read(other)
    same_words = all(_has_partner(word, words_too) for word in words) and all(
        _has_partner(word, words) for word in words_too
    )
    return frame == frame_too and names == names_too and same_words and all(map(_is_latin, (one, other)))


def _read(question: str) -> tuple[frozenset[str], list[str], set[str]]:
    """Question words and the like; names and numbers, in their order; all other words that say something."""
    words = _WORD.findall(question)
    folded = [word.casefold() for word in words]
    frame = _FRAME.intersection(folded)
    names = [
        folded[place]
        for place, word in enumerate(words)
        if any(letter.isupper() or letter.isdigit() for letter in word) and folded[place] not in _FRAME | _EMPTY
    ]
    return frame, names, set(folded) - _FRAME - _EMPTY - set(names)


def _has_partner(word: str, others: set[str]) -> bool:
    return word in others or (len(word) >= STEM and any(one[:STEM] == word[:STEM] for one in others))


def _is_latin(text: str) -> bool:
    letters = [one for one in text if one.isalpha()]
    return sum(one < "\u0250" for one in letters) >= 0.8 * max(1, len(letters))


def _told(summary: Summary) -> dict[str, Any]:
    origins = {
        str(index): {
            "url": one.url,
            "title": one.title,
            "summary": one.summary,
            "revision": one.revision,
            "stated": one.stated,
            "unread": one.unread,
            "passages": [[p.span.document_id, p.span.start, p.span.end, p.text] for p in one.passages],
        }
        for index, one in summary.origins.items()
    }
    return {"answer": summary.answer, "origins": origins}


def _summary(told: Mapping[str, Any]) -> Summary:
    origins = {int(index): _origin(one) for index, one in told["origins"].items()}
    return Summary(str(told["answer"]), origins)


def _origin(told: Mapping[str, Any]) -> Origin:
    passages = tuple(Passage(Span(document, start, end), text) for document, start, end, text in told["passages"])
    return Origin(
        url=told["url"], title=told["title"], summary=told["summary"], revision=told["revision"], passages=passages,
        stated=told.get("stated", ""), unread=told.get("unread", False),
    )  # fmt: skip


def memory_of(database: Database, sources: Sequence[Source], model: str, settings: Settings) -> Summaries:
    """The summaries of a home, with its encoder ("none": only the very same question is the same)."""
    from foveal.models import load_encoder

    encoder = None if settings.encoder == "none" else load_encoder(settings.encoder, cache=settings.cache)
    searched = json.dumps([[one.name, *_ways(one, settings)] for one in sources])
    return Summaries(database, searched, encoder, model=model)


def _ways(source: Source, settings: Settings) -> tuple[str, str]:
    """The retriever and the ranker of a source that has any, which its name does not tell."""
    retriever, rank = (getattr(source, part, None) for part in ("retriever", "rank"))
    if rank is None and retriever is None and hasattr(source, "rank"):
        rank = settings.ranker  # orders every search that names neither
    return retriever or "", rank if isinstance(rank, str) else type(rank).__name__ if rank else ""
