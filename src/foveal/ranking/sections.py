"""Articles as lists of sentences: sections of any document are ranked by their sentences, and a hit says by which.

    ranker = SectionRanker.load(folder)                    a Paraformer or an Attentive CNN that was saved
    ranker.rank(query, hits)                               a `Ranker`; a hit's passage is an article
    ranker.explain(query, hits)[0].attended                its sentences with their weights, the heaviest first
    by_document(ranker.rank(query, hits))                  documents by their best section

Shapes      an article is a list of m sentences, at least one -> a score, and a weight of 0 or more for each sentence;
            the weights add up to 1
Sentences   "lines": one a line, as statutes are printed; "sentences": by their marks, over line ends (prose);
            "clauses": both. Each is a span of the document, so a weight can be shown where it belongs
Headings    are put before the first sentence, as Paraformer's authors do
"""

from __future__ import annotations

import logging
import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

from foveal.errors import InputError, UnknownName
from foveal.evaluation.legal import Article
from foveal.models.chat import Cancel
from foveal.ranking.article_models import ArticleModel, Sentences, Weighed, load_article_model
from foveal.retrieval.pipeline import followed_by, require_once
from foveal.text.units import Offsets, sentences
from foveal.types import Hit, Passage, Span, require_hits

log = logging.getLogger("foveal.ranking")

# -- sentences -------------------------------------------------------------------------------------------------------


def _lines(text: str) -> Offsets:
    starts = [0, *(at + 1 for at, character in enumerate(text) if character == "\n"), len(text)]
    return list(pairwise(starts))


def _clauses(text: str) -> Offsets:
    return [(start + a, start + b) for start, end in _lines(text) for a, b in sentences(text[start:end])]


CUTS: dict[str, Callable[[str], Offsets]] = {"lines": _lines, "sentences": sentences, "clauses": _clauses}
"""Ways of cutting a text into sentences."""


def places_of(text: str, cut: str = "sentences") -> Offsets:
    """Start and end character of each sentence, without blank space around it; blank ones are none.

    UnknownName: no way of cutting is called so.
    """
    if cut not in CUTS:
        raise UnknownName(f"No way of cutting an article is called {cut!r}. There are: {', '.join(CUTS)}.")
    found = []
    for start, end in CUTS[cut](text):
        piece = text[start:end]
        if stripped := piece.strip():
            first = start + len(piece) - len(piece.lstrip())
            found.append((first, first + len(stripped)))
    return found


def sentences_of(passage: Passage, cut: str = "sentences", *, headings: bool = True) -> tuple[Offsets, list[str]]:
    """The places of the sentences in the passage's text, and what a model reads of each: the first with the heading.

    InputError: the passage holds none.
    """
    places = places_of(passage.text, cut)
    if not places:
        raise InputError(
            f"The passage {passage.span.start} to {passage.span.end} of document {passage.span.document_id!r} holds no "
            "sentence. Leave it out, or give its text."
        )
    read = [passage.text[start:end] for start, end in places]
    if headings and passage.heading:
        read[0] = f"{passage.heading}: {read[0]}"
    return places, read


def passage_of(article: Article) -> Passage:
    """The article as a passage of a document that is just this article, named by its id."""
    return Passage(Span(article.id, 0, len(article.text)), article.text, article.heading)


def hits_of(passages: Iterable[Passage]) -> list[Hit]:
    """The passages as hits in their order: so a ranker takes the sections of a document, say those of a segmenter."""
    return [Hit(passage, -float(place), "given") for place, passage in enumerate(passages)]


# -- ranking ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class SentenceWeight:
    """A sentence of a hit: its place in the document, its text there, and its share of the attention."""

    span: Span
    text: str
    weight: float


@dataclass(frozen=True, slots=True)
class Explained:
    """A ranked hit with all its sentences in order."""

    hit: Hit
    sentences: tuple[SentenceWeight, ...]

    @property
    def attended(self) -> list[SentenceWeight]:
        """The sentences with a weight above 0, the heaviest first."""
        return sorted((one for one in self.sentences if one.weight > 0), key=lambda one: -one.weight)

    @property
    def best(self) -> SentenceWeight | None:
        """The heaviest sentence; None where the model could read nothing of the query."""
        return next(iter(self.attended), None)


@dataclass(frozen=True)
class SectionRanker:
    """A `Ranker` by an article model. What it encoded is remembered, so that an article is encoded once."""

    model: ArticleModel
    cut: str = "sentences"  # how a passage becomes sentences: a key of `CUTS`
    headings: bool = True  # whether the heading is read with the first sentence; as the model was trained
    budget: int | None = None  # hits that are scored, the rest follow below them; None: all that are given
    batch: int = 64  # articles encoded at a time
    remembered: int = 10_000  # articles whose encoded form is kept
    _kept: dict[tuple[str | None, str], Any] = field(default_factory=dict, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.cut not in CUTS or min(self.batch, self.remembered, 1 if self.budget is None else self.budget) < 1:
            raise InputError(
                f"A ranker of sections got cut={self.cut!r}, budget={self.budget}, batch={self.batch}, remembered="
                f"{self.remembered}; it needs one of {', '.join(CUTS)}, and at least 1 of the others."
            )

    @classmethod
    def load(cls, folder: Path | str, **options: Any) -> SectionRanker:
        """The ranker by the model in `folder`; `options` are the fields. ModelUnavailable: it holds none."""
        return cls(load_article_model(Path(folder)), **options)

    def rank(self, query: str, hits: Sequence[Hit], *, cancel: Cancel | None = None) -> list[Hit]:
        """The best `budget` hits by the model's score, then the rest in their order, below them.

        Where the model can read nothing of the query, the hits as they are, and a warning is logged. InputError: an
        empty query, a hit without a sentence, or a passage that comes twice. Cancelled: by `cancel`.
        """
        return followed_by([one.hit for one in self.explain(query, hits, cancel=cancel)], hits)

    def explain(self, query: str, hits: Sequence[Hit], *, cancel: Cancel | None = None) -> list[Explained]:
        """The best `budget` hits as `rank` orders them, each with the weights of its sentences; errors as there."""
        if not query.strip():
            raise InputError("A ranker of sections got an empty query; ask something.")
        taken = require_hits(hits)[: self.budget]
        require_once(taken)
        cut = [sentences_of(hit.passage, self.cut, headings=self.headings) for hit in taken]
        if not self.model.knows(query):
            log.warning("The model %s knows no word of %r; the order is left as it is.", self.model.kind, query)
            return [_explained(hit, [0.0] * len(places), places) for hit, (places, _) in zip(taken, cut, strict=True)]
        weighed = self.model.weighed(query, self._encoded(taken, [read for _, read in cut], cancel))
        said = []
        for hit, one, (places, _) in zip(taken, weighed, cut, strict=True):
            _require_finite(query, hit, one)
            scored = replace(hit, score=one.score, source=self.model.kind)
            said.append(_explained(scored, one.weights.tolist(), places))
        return sorted(said, key=lambda one: -one.hit.score)

    def _encoded(self, hits: Sequence[Hit], read: Sequence[Sentences], cancel: Cancel | None) -> list[Any]:
        """The encoded form of each hit, made anew where it is not remembered."""
        keys = [(hit.passage.heading if self.headings else None, hit.passage.text) for hit in hits]
        found = {key: kept for key in keys if (kept := self._kept.get(key)) is not None}  # another thread may let go
        new = {key: sentences for key, sentences in zip(keys, read, strict=True) if key not in found}
        for first in range(0, len(new), self.batch):
            if cancel:
                cancel.check()
            part = list(new)[first : first + self.batch]
            found.update(zip(part, self.model.encoded([new[key] for key in part]), strict=True))
        self._kept.update({key: found[key] for key in new})
        for key in list(self._kept)[: max(0, len(self._kept) - self.remembered)]:  # the oldest go
            self._kept.pop(key, None)
        return [found[key] for key in keys]


@dataclass(frozen=True, slots=True)
class RankedDocument:
    """A document by its sections: its score is that of the best one; the sections come best first."""

    document_id: str
    score: float
    sections: tuple[Hit, ...]


def by_document(hits: Iterable[Hit]) -> list[RankedDocument]:
    """The documents that hits lie in, by their best section."""
    held: dict[str, list[Hit]] = defaultdict(list)
    for hit in sorted(hits, key=lambda hit: -hit.score):
        held[hit.passage.span.document_id].append(hit)
    return [RankedDocument(name, sections[0].score, tuple(sections)) for name, sections in held.items()]


def _explained(hit: Hit, weights: Sequence[float], places: Offsets) -> Explained:
    span = hit.passage.span
    return Explained(
        hit,
        tuple(
            SentenceWeight(
                Span(span.document_id, span.start + start, span.start + end), hit.passage.text[start:end], weight
            )
            for (start, end), weight in zip(places, weights, strict=True)
        ),
    )


def _require_finite(query: str, hit: Hit, weighed: Weighed) -> None:
    if not math.isfinite(weighed.score):
        raise InputError(
            f"The model gave {hit.passage.span} the score {weighed.score} for {query!r}. Train it anew: its "
            "weights are no numbers."
        )
