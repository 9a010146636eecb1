"""Ask: a question to a whole library, answered from the passages that a search finds, each thing with its exact place.

    asker = Asker(lambda document_id, revision: library.get(document_id, revision=revision), LocalChat(model))
    for event in asker.stream("Who keeps the key?", library.search("Who keeps the key?", 8)): …      # the last is Asked

Excerpts    the best passages, whole, as many as the answerer is shown; before them the opening of a document whose
            title holds all that is asked for ("What is routing?"). Above each its headings and, of one from the middle
            of a table, the table's head, for the model alone; for a model of this machine only the rows of a table that
            the question names (named_rows.py). Or, if `looks`: around each passage a window is
            read, and the sentences that the model's own attention looks at are the excerpts (looking.py). That takes
            several times as long, and small models answer better from whole passages (docs/ask.md)
Not there   a small model that is not told to refuse answers anything. Where no sentence of the passages is near the
            question in meaning, it is not asked (likeness.py)
Citations   every one is compared with the text that is stored (answering.py)
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from foveal.attention import AUTO
from foveal.attention.profiles import profile_of
from foveal.errors import InputError, LibraryCorrupt, UnknownDocument
from foveal.models.chat import Cancel, ChatModel, is_local, is_small, require_chat
from foveal.reading.answering import Drafted, Evidence, borne_out, confidence, drafted, evidence_of, quotable
from foveal.reading.answering_settings import AnswerSettings, settings_for
from foveal.reading.events import AnswerDelta
from foveal.reading.grounding import NO_ROWS
from foveal.reading.likeness import LIKE, held_share, likeness
from foveal.reading.memory import Excerpt, Kept, excerpts, in_order, scored
from foveal.reading.named_rows import with_named_rows
from foveal.reading.sentences import Sentence, packed, read_sentences
from foveal.reading.skim import content_words
from foveal.text.units import sentences
from foveal.types import Answer, Document, Encoder, Hit, Passage, Span

if TYPE_CHECKING:
    from foveal.attention.retrieval_heads import HeadScores
    from foveal.models.language import LanguageModel
    from foveal.reading.looking import Looking

Get = Callable[[str, str | None], Document]
"""The stored document of an id and a revision."""

NOT_IN_LIBRARY = "Nothing in the library answers this."

EDGE = 600
"""Characters beside a window in which the beginning of a sentence is looked for."""

OPENING = 600
"""About how many characters say what a document is about."""


@dataclass(frozen=True, kw_only=True)
class AskSettings:
    """How a library is asked."""

    looks: bool = False  # whether a model of this machine reads around the passages and chooses sentences
    likeness: float = LIKE  # least likeness of a sentence to the question, where it is known (likeness.py); 0: any
    window: int = 512  # tokens that are read around a passage, at least 64
    batch_tokens: int | None = None  # tokens that go through the model at once; None: by device (looking.batch_size)
    floor: float = 0.7  # least score of a sentence that counts as evidence (looking.py has the unit)
    near: float = 0.1  # least score beside that of the best sentence, 0 to 1
    attention: str = AUTO  # how a window attends to itself: a method of foveal.attention, by name, or by its length
    answer: AnswerSettings = field(default_factory=AnswerSettings)

    def __post_init__(self) -> None:
        """InputError: a value out of its range."""
        if self.window < 64 or (self.batch_tokens is not None and self.batch_tokens < 1):
            raise InputError("Asking needs a window of 64 tokens, and a batch of 1.")
        if not (0 <= self.near <= 1 and 0 <= self.likeness <= 1):
            raise InputError("Asking needs shares from 0 to 1 as `near` and `likeness`.")


@dataclass(frozen=True, slots=True)
class Searched:
    """What the search found, best first."""

    hits: tuple[Hit, ...]


@dataclass(frozen=True, slots=True)
class Chosen:
    """The excerpts that the answer is made from, and the tokens that were read to choose them."""

    evidence: tuple[Evidence, ...]
    tokens: int


@dataclass(frozen=True, slots=True)
class Asked(Answer):
    """An answer from a library; the last event.

    `found` is False where the library does not hold the answer: nothing was found, nothing is near the question or
    looked at, or the model says so; `evidence` is what came nearest. `unsupported` are the sentences of the answer that
    no excerpt bears out.
    """

    question: str = ""
    evidence: tuple[Evidence, ...] = ()
    found: bool = True
    unsupported: tuple[str, ...] = ()
    seconds: float = 0.0
    grounded: float | None = None  # share of the answer that the model's heads copied from the excerpts, where known


AskEvent = Searched | Chosen | AnswerDelta | Asked


def not_in_library(question: str) -> Asked:
    """The answer where nothing was found."""
    return Asked(NOT_IN_LIBRARY, (), 0.0, question=question, found=False)


@dataclass(frozen=True)
class _Area:
    """Characters `start` to `end` of a document: what is read around one hit, or around several that lie close."""

    document: Document
    start: int
    end: int


class Asker:
    """Answers from passages that were found in a library."""

    def __init__(
        self,
        get: Get,
        answerer: ChatModel,
        reader: LanguageModel | None = None,
        settings: AskSettings | None = None,
        *,
        encoder: Encoder | None = None,
        home: Path | None = None,
    ) -> None:
        """`reader` reads around the passages, if the settings say so (default: the answerer's own model, if it is on
        this machine). `encoder` tells how near they are to the question. `home` holds attention profiles of one's own.
        """
        require_chat("Asking", answerer)
        self.settings = settings or AskSettings(answer=settings_for(answerer))
        self._get = get
        self._answerer, self._encoder = answerer, encoder
        self._heads = _copying_heads(answerer, home)
        self._looking: Looking | None = None
        reader = reader or getattr(answerer, "language_model", None)
        if reader and self.settings.looks:
            from foveal.reading.looking import Looking  # and PyTorch: a model behind a server needs none

            self._looking = Looking(reader, profile_of(reader, home), attention=self.settings.attention)

    def stream(self, question: str, hits: Sequence[Hit], *, cancel: Cancel | None = None) -> Iterator[AskEvent]:
        """Answer `question` from `hits`; the last event is `Asked`. LibraryCorrupt: a quote is not exact."""
        begun = time.perf_counter()
        documents = self._documents(hits)
        hits = [hit for hit in hits if _key(hit) in documents]
        if self._looking is None:
            hits = opened(question, hits, documents)
        passages = [] if self._looking else [_evidence(documents[_key(hit)], hit) for hit in hits]
        like = self._likeness(question, passages)
        evidence, tokens = self._chosen(question, hits, documents, passages, cancel)
        yield Chosen(tuple(evidence), tokens)
        if not evidence or (like is not None and like < self.settings.likeness):
            seconds = time.perf_counter() - begun
            yield replace(not_in_library(question), evidence=tuple(evidence), seconds=seconds)
            return
        draft = yield from drafted(
            self._answerer, question, evidence, self.settings.answer, heads=self._heads, cancel=cancel
        )
        _require_exact(draft, documents)
        yield Asked(
            draft.text if draft.found else NOT_IN_LIBRARY,
            draft.citations,
            self._confidence(evidence, like, draft),
            question=question,
            evidence=tuple(evidence),
            found=draft.found,
            unsupported=draft.unsupported,
            grounded=draft.grounded,
            seconds=time.perf_counter() - begun,
        )

    def _likeness(self, question: str, passages: Sequence[Evidence]) -> float | None:
        """How near the passages are to the question; None: attention tells, or the answerer, who may refuse."""
        if self._looking or not is_small(self._answerer):
            return None
        return likeness(question, [compared(one) for one in passages], self._encoder)

    def _confidence(self, evidence: Sequence[Evidence], like: float | None, draft: Drafted) -> float | None:
        """By what chose the evidence; None: nothing is known of how near it is to the question."""
        if self._looking:
            return confidence(max(one.excerpt.score for one in evidence), draft)
        return None if like is None else held_share(like) * borne_out(draft)

    def _documents(self, hits: Sequence[Hit]) -> dict[tuple[str, str | None], Document]:
        """The texts that the hits were found in; a document that was removed since is left out."""
        found = {}
        for key in dict.fromkeys(map(_key, hits)):
            with suppress(UnknownDocument):
                found[key] = self._get(*key)
        return found

    def _chosen(
        self,
        question: str,
        hits: Sequence[Hit],
        documents: dict[tuple[str, str | None], Document],
        passages: Sequence[Evidence],
        cancel: Cancel | None,
    ) -> tuple[list[Evidence], int]:
        if self._looking is None:
            small = is_small(self._answerer)
            return self._fitting(with_named_rows(question, passages) if small else passages), 0
        areas = self._areas(self._looking, hits, documents)
        kept, tokens = self._looked_at(self._looking, question, areas, cancel)
        least = self.settings.near * max((one.score for _, one in kept), default=0.0)
        near = [(document, one) for document, one in kept if one.score >= least]
        return _within(near, self.settings.answer.context), tokens

    def _fitting(self, passages: Sequence[Evidence]) -> list[Evidence]:
        """The passages, best first, as many as the answerer is shown."""
        left = self.settings.answer.context
        taken: list[Evidence] = []
        for one in passages:
            above = (one.title, one.heading) if self.settings.answer.titled else (one.heading,)
            shown = (*above, one.told) if one.told else (*above, one.head, one.excerpt.text)
            left -= self._answerer.count_tokens("\n".join(filter(None, shown)))
            if left < 0 and taken:
                break
            taken.append(one)
        return taken

    def _areas(
        self, looking: Looking, hits: Sequence[Hit], documents: dict[tuple[str, str | None], Document]
    ) -> list[_Area]:
        """What is read around the hits; areas of one document that overlap are one."""
        areas: list[_Area] = []
        for hit in hits:
            area = self._around(looking, documents[_key(hit)], hit.passage.span)
            for other in [one for one in areas if _overlap(one, area)]:
                areas.remove(other)
                area = _Area(area.document, min(area.start, other.start), max(area.end, other.end))
            areas.append(area)
        return areas

    def _around(self, looking: Looking, document: Document, span: Span) -> _Area:
        """About a window of tokens with the passage in its middle: whole sentences."""
        tokens = max(1, len(looking.tokens.encode(document.quote(span))))
        beside = max(0, int((self.settings.window - tokens) / 2 * len(span) / tokens))
        return _Area(document, *_whole_sentences(document.text, span.start - beside, span.end + beside, span))

    def _looked_at(
        self, looking: Looking, question: str, areas: Sequence[_Area], cancel: Cancel | None
    ) -> tuple[list[tuple[Document, Kept]], int]:
        """The sentences of `areas` that the question looks at, and the tokens read."""
        windows = [(area.document, window) for area in areas for window in self._windows(looking, area)]
        size = looking.batch_size(self.settings.window, self.settings.batch_tokens)
        found: list[tuple[Document, Kept]] = []
        for start in range(0, len(windows), size):
            if cancel:
                cancel.check()
            batch = windows[start : start + size]
            scores = looking.scores([window for _, window in batch], [question])
            for number, ((document, window), values) in enumerate(zip(batch, scores, strict=True), start):
                kept = scored(window, values[0].tolist(), number)
                found += [(document, one) for one in kept if one.score >= self.settings.floor and one.text.strip()]
        return found, sum(len(sentence) for _, window in windows for sentence in window)

    def _windows(self, looking: Looking, area: _Area) -> Iterator[list[Sentence]]:
        text = area.document.text[area.start : area.end]
        stream = read_sentences([text], looking.tokens.encode_many, looking.tokens.offsets)
        moved = (Sentence(one.start + area.start, one.end + area.start, one.text, one.ids) for one in stream)
        return packed(moved, self.settings.window)


def _copying_heads(answerer: ChatModel, home: Path | None) -> HeadScores | None:
    """Its heads that copy, where it runs on this machine; a server's model needs no PyTorch."""
    if not is_local(answerer):
        return None
    from foveal.attention.retrieval_heads import copying_heads

    return copying_heads(answerer, home)


def opened(question: str, hits: Sequence[Hit], documents: Mapping[tuple[str, str | None], Document]) -> list[Hit]:
    """The hits, before them the opening of the first of their documents whose title holds all that is asked for.

    Of a document that is about the very thing, the passages with the most of its name seldom say what it is.
    """
    asked = content_words(question)
    for hit in hits if asked else ():
        document = documents[_key(hit)]
        if asked <= content_words(document.title):
            end = _whole_sentences(document.text, 0, OPENING, Span(document.id, 0, 1))[1]
            span = Span(document.id, 0, end)
            if not document.quote(span).strip() or any(one.passage.span == span for one in hits):
                break
            return [Hit(Passage(span, document.quote(span)), hit.score, hit.source, hit.revision), *hits]
    return list(hits)


def compared(one: Evidence) -> str:
    """A passage as it is compared with a question: rows stand below their table's head, each as a paragraph."""
    if one.rows == NO_ROWS:
        return one.excerpt.text
    return "\n\n".join(f"{one.head} {one.excerpt.text[start:end]}".strip() for start, end in quotable(one))


def _evidence(document: Document, hit: Hit) -> Evidence:
    span = hit.passage.span
    return evidence_of(document, Excerpt(span.start, span.end, hit.passage.text, hit.score), hit.passage.heading)


def _key(hit: Hit) -> tuple[str, str | None]:
    return hit.passage.span.document_id, hit.revision


def _overlap(one: _Area, other: _Area) -> bool:
    return one.document is other.document and one.start < other.end and other.start < one.end


def _whole_sentences(text: str, start: int, end: int, inside: Span) -> tuple[int, int]:
    """`start` to `end` without the sentences that they cut, but with all of `inside`."""
    first, last = max(0, start - EDGE), min(len(text), end + EDGE)
    places = [(first + a, first + b) for a, b in sentences(text[first:last])]
    begins = [a for a, _ in places if a >= start or a == 0]
    ends = [b for _, b in places if b <= end or b == len(text)]
    return min([*begins, inside.start]), max([*ends, inside.end])


def _within(found: Sequence[tuple[Document, Kept]], budget: int) -> list[Evidence]:
    """The best sentences that fit `budget` tokens, joined to excerpts; the document of the best one comes first.

    The best one is taken in any case. What stands word for word in two documents is taken from one.
    """
    taken: dict[int, tuple[Document, list[Kept]]] = {}
    texts = set[str]()
    for document, one in sorted(found, key=lambda pair: -pair[1].score):
        words = " ".join(one.text.split())
        if (one.tokens <= budget or not texts) and words not in texts:  # the very best at least
            texts.add(words)
            budget -= one.tokens
            taken.setdefault(id(document), (document, []))[1].append(one)
    return [evidence_of(document, one) for document, kept in taken.values() for one in excerpts(in_order(kept))]


def _require_exact(draft: Drafted, documents: dict[tuple[str, str | None], Document]) -> None:
    """LibraryCorrupt: a citation is not what stands in its document."""
    held = {(document.id, document.revision): document for document in documents.values()}
    for citation in draft.citations:
        document = held.get((citation.span.document_id, citation.revision or ""))
        if document is None or document.quote(citation.span) != citation.quote:
            raise LibraryCorrupt(f"{citation.span} is not quoted as it stands in the library. Please report this.")
