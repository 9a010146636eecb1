"""Judged queries over a library, as encoders and rankers learn from them: its passages, what is right, a first stage.

    shelf = Shelf.of(library)                                  its passages
    judged = of_judgements(shelf, read_judgements(path))       what a person said of search results
    judged = of_qrels(shelf, queries, qrels)                   what a file says
    judged = of_headings(shelf)                                nobody judged: headings, titles and sentences ask
    judged = of_beir(folder, "train")                          no library, but a folder in BEIR's layout

Names      A passage is "<document>:<start>-<end>"; a span that is none stands for the passage that holds most of it. A
           document is its id, the beginning of one, its path or address, or the name of its file (with or without the
           ending), where only one document has it
Documents  Passages are ranked, so a judged document stands for the one of its passages that the first stage puts first
           (its opening where none is found), as in Dai and Callan, SIGIR 2019. The other passages of a relevant one
           are neither right nor wrong for that query: the first stage gives none, no training takes them as negatives
Stage      what finds the candidates that a ranker orders: the library's own search, as it is deployed
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, cached_property
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

from foveal.errors import InputError, UnknownDocument
from foveal.evaluation.beir import load_beir
from foveal.evaluation.judgements import Judgement, query_id
from foveal.retrieval.hybrid import DENSE_WEIGHT
from foveal.retrieval.indexing import indexed_text
from foveal.retrieval.rows import Entry
from foveal.retrieval.store import Store
from foveal.retrieval.words import plain_quotes
from foveal.text.files import path_of
from foveal.text.units import sentences
from foveal.training.examples import Examples
from foveal.training.pseudo_queries import Piece, PseudoSettings, pseudo_examples
from foveal.training.searches import Search, VectorSearch, WordSearch, blended
from foveal.types import Document, Encoder, Hit, Retriever, Segmenter, Span, document_id

DEPTH = 100
"""Found passages among which that of a judged document is looked for."""

NAMED = 5
"""Unknown ids that an error names."""

FEWEST = 2
"""Queries that can be parted into some to learn from and some to measure by."""

_PLACE = re.compile(r"(.+):(\d+)[-:](\d+)", re.DOTALL)


class Documents(Protocol):
    """What holds documents in passages (a `Library` does)."""

    store: Store

    @property
    def segmenter(self) -> Segmenter: ...
    def documents(self) -> list[Entry]: ...
    def get(self, which: str, *, revision: str | None = None) -> Document: ...
    def find(self, which: str) -> list[Entry]: ...


@dataclass(frozen=True)
class Judged:
    """What is learnt from, and the first stage that finds what will be ranked."""

    examples: Examples
    search: Search
    stage: str  # what the first stage is called
    headings: Mapping[str, str] = field(default_factory=dict)  # of the documents that have one
    indexed: Mapping[str, str] = field(default_factory=dict)  # of a library's passages what its search encodes of each
    notes: tuple[str, ...] = ()  # what was left out, and why


@dataclass(frozen=True)
class Shelf:
    """A library's passages, by id and by place."""

    library: Documents
    pieces: Mapping[str, Piece]
    revisions: Mapping[str, str]  # of each document's text now
    indexed: Mapping[str, str] = field(default_factory=dict)  # passage -> what the library's search encodes of it

    @classmethod
    def of(cls, library: Documents) -> Shelf:
        """All passages that hold text; the library cuts its documents anew, as it did when they were added."""
        pieces, revisions, indexed = {}, {}, {}
        for document in library.store.texts():
            revisions[document.id] = document.revision
            for passage in library.segmenter.segment(document):
                if passage.text.strip():
                    name = name_of(passage.span)
                    pieces[name] = Piece(name, document.id, passage.text, document.title, passage.heading or "")
                    indexed[name] = indexed_text(document, passage)
        return cls(library, pieces, revisions, indexed)

    @cached_property
    def places(self) -> dict[str, list[Span]]:
        """Document -> where its passages stand, in order."""
        found: dict[str, list[Span]] = defaultdict(list)
        for name, piece in self.pieces.items():
            start, _, end = name[len(piece.document) + 1 :].partition("-")
            found[piece.document].append(Span(piece.document, int(start), int(end)))
        return found

    @cached_property
    def files(self) -> dict[str, str]:
        """Name of a file, with and without its ending -> the document; only those that name one alone."""
        found: dict[str, set[str]] = defaultdict(set)
        for entry in self.library.documents():
            if entry.source.startswith("file://"):
                path = path_of(entry.source)
                for name in (path.name, path.stem):
                    found[name].add(entry.id)
        return {name: ids.pop() for name, ids in found.items() if len(ids) == 1}

    @cached_property
    def collections(self) -> list[str]:
        """The sources that hold several documents, such as a file of JSON lines."""
        held = Counter(entry.source for entry in self.library.documents())
        return [source for source, count in held.items() if count > 1]

    def record(self, name: str) -> str | None:
        """The document that a source of several calls so; None where none does, or two do."""
        found = {one for source in self.collections if (one := document_id(f"{source}#{name}")) in self.revisions}
        return found.pop() if len(found) == 1 else None

    @property
    def texts(self) -> dict[str, str]:
        """Passage -> its text."""
        return {name: piece.text for name, piece in self.pieces.items()}

    @property
    def headings(self) -> dict[str, str]:
        """Passage -> the headings above it, for those that have one."""
        return {name: piece.heading for name, piece in self.pieces.items() if piece.heading}

    def at(self, span: Span) -> str | None:
        """The passage that holds most of a span; None where none holds anything of it."""
        if name_of(span) in self.pieces:
            return name_of(span)
        shared = {
            one: min(one.end, span.end) - max(one.start, span.start) for one in self.places.get(span.document_id, ())
        }
        best = max(shared, key=lambda one: shared[one], default=None)
        return name_of(best) if best is not None and shared[best] > 0 else None

    def now(self, judgement: Judgement) -> str | None:
        """The passage that a judgement is of, in today's text; None where that text is gone."""
        span, today = judgement.span, self.revisions.get(judgement.span.document_id)
        if today is None or today.startswith(judgement.revision):
            return self.at(span) if today else None
        try:
            before = self.library.get(span.document_id, revision=judgement.revision).text
        except UnknownDocument:
            return None
        text = self.library.get(span.document_id).text
        start = text.find(before[span.start : span.end])
        return self.at(Span(span.document_id, start, start + len(span))) if start >= 0 and len(span) else None


def name_of(span: Span) -> str:
    """The id of a passage, as qrels write it."""
    return f"{span.document_id}:{span.start}-{span.end}"


def place_of(name: str) -> Span | None:
    """The span that `name_of` made a name of; None where it is no such name."""
    found = _PLACE.fullmatch(name)
    if found is None or "-" not in name[len(found[1]) :] or int(found[2]) >= int(found[3]):
        return None
    return Span(found[1], int(found[2]), int(found[3]))


# -- from a library ---------------------------------------------------------------------------------------------------


def of_judgements(
    shelf: Shelf, judgements: Iterable[Judgement], retriever: Retriever, *, stage: str = "the library's search"
) -> Judged:
    """What a person said of search results. InputError: fewer than two queries have a relevant passage."""
    texts: dict[str, str] = {}
    grades: dict[str, dict[str, int]] = defaultdict(dict)
    gone = 0
    for one in judgements:
        passage = shelf.now(one)
        if passage is None:
            gone += 1
        else:
            query = query_id(one.query)
            texts.setdefault(query, one.query)
            grades[query][passage] = one.grade
    left = "{} are of passages that the library no longer holds, and are left out"
    notes = [f"Judgements: {left.format(gone)}."] if gone else []
    return _judged(shelf, texts, grades, {}, retriever, stage, notes)


def of_qrels(
    shelf: Shelf,
    queries: Mapping[str, str],
    qrels: Mapping[str, Mapping[str, int]],
    retriever: Retriever,
    *,
    stage: str = "the library's search",
) -> Judged:
    """What a file says of passages or documents of the library. InputError: a query or document is unknown (they are
    named), or fewer than two queries have a relevant one.
    """
    if strange := [query for query in qrels if query not in queries]:
        raise InputError(
            f"The judgements name {_some('query', 'queries', strange)} without a text: {_named(strange)}. Give the "
            "texts by --queries, or leave those judgements out."
        )
    known = {name: _resolved(shelf, name) for name in dict.fromkeys(name for of in qrels.values() for name in of)}
    if strange := [name for name, found in known.items() if found is None]:
        raise InputError(
            f"The judgements name {_some('document', 'documents', strange)} that the library does not hold: "
            f"{_named(strange)}. A document is named by its id (`foveal list --json` shows it), its path or address, "
            "a file's name that no other has, or what its record or mail is called there; a passage is ID:START-END."
        )
    passages: dict[str, dict[str, int]] = defaultdict(dict)
    documents: dict[str, dict[str, int]] = defaultdict(dict)
    for query, judged in qrels.items():
        for name, grade in judged.items():
            found = known[name]
            assert found is not None
            graded = (passages if found in shelf.pieces else documents)[query]
            graded[found] = max(grade, graded.get(found, grade))
    return _judged(shelf, {query: queries[query] for query in qrels}, passages, documents, retriever, stage, [])


def of_headings(shelf: Shelf, encoder: Encoder | None) -> Judged:
    """Queries made of the library's headings, titles and sentences; its words, and vectors by `encoder`, find for them.

    The first stage is not the library's own, which would find a sentence where it was taken out; and no heading is
    given beside a text, since it may be the query. InputError: there is no passage, or none that could ask.
    """
    if not shelf.pieces:
        raise InputError("The library holds no passage to learn from. Fill it: foveal add FILE_OR_FOLDER")
    examples = pseudo_examples(list(shelf.pieces.values()), sentences, PseudoSettings(), name="library")
    search, stage = words_and_vectors(examples.corpus, encoder)
    made = f"{len(examples.queries):,} queries were made of headings, titles and sentences; nobody judged them."
    return Judged(examples, search, stage, notes=(made,))


def _judged(
    shelf: Shelf,
    texts: Mapping[str, str],
    passages: Mapping[str, Mapping[str, int]],
    documents: Mapping[str, Mapping[str, int]],
    retriever: Retriever,
    stage: str,
    notes: list[str],
) -> Judged:
    """Judgements of passages and of whole documents as examples over the library's passages."""
    judged = {query: dict(passages.get(query, {})) for query in texts}
    aside: dict[str, set[str]] = defaultdict(set)  # query -> passages that count neither way
    asked = [query for query in texts if documents.get(query)]
    found = library_search(retriever, shelf.pieces)([texts[query] for query in asked], DEPTH) if asked else []
    for query, ranking in zip(asked, found, strict=True):
        for document, grade in documents[query].items():
            names = dict.fromkeys(name_of(span) for span in shelf.places[document])
            best = next((name for name in ranking if name in names), next(iter(names)))
            judged[query].setdefault(best, grade)
            aside[query].update(name for name in names if grade > 0 and name not in judged[query])
    kept = {query: grades for query, grades in judged.items() if any(grade > 0 for grade in grades.values())}
    if dropped := len(judged) - len(kept):
        notes = [*notes, f"{dropped} of {len(judged)} judged queries have no relevant passage; they teach nothing."]
    if len(kept) < FEWEST:
        count = f"{len(kept)} {'has' if len(kept) == 1 else 'have'}"
        raise InputError(
            f"Of {len(judged)} judged queries {count} a relevant passage (a grade of 1 or more): too few to learn from "
            "some and measure by others. Judge more (foveal judge), or let headings ask (--judgements none)."
        )
    left_out = {query: frozenset(names) for query, names in aside.items() if names and query in kept}
    examples = Examples({query: texts[query] for query in kept}, shelf.texts, kept, "library", left_out)
    by_text: dict[str, set[str]] = defaultdict(set)
    for query, left in left_out.items():
        by_text[texts[query]].update(left)
    search = library_search(retriever, shelf.pieces, by_text)
    return Judged(examples, search, stage, shelf.headings, shelf.indexed, tuple(notes))


def as_encoded(judged: Judged) -> Examples:
    """The examples with each passage as the library's search encodes it, below its title and headings: what an encoder
    that will search there is to learn from. Where headings ask, they do not stand in the texts that they ask for.
    """
    corpus = judged.examples.corpus
    return (
        replace(judged.examples, corpus=dict(judged.indexed))
        if judged.indexed.keys() == corpus.keys()
        else judged.examples
    )


def vectors_of(store: Store, corpus: Mapping[str, str], encoder: Encoder) -> npt.NDArray[np.float32] | None:
    """The vectors (N, D) of texts by `encoder`: of the same texts those of the library, the others made now.

    None: its vectors are not this encoder's, or it has none of these.
    """
    if store.settings.get("fingerprint") != encoder.fingerprint:
        return None
    held = {name_of(span): vector for span, text, vector in store.encoded() if corpus.get(name_of(span)) == text}
    if not held:
        return None
    missing = [name for name in corpus if name not in held]
    if missing:
        held |= zip(missing, encoder.encode([corpus[name] for name in missing]), strict=True)
    return np.stack([held[name] for name in corpus])


def library_search(
    retriever: Retriever, pieces: Mapping[str, Piece], aside: Mapping[str, set[str]] | None = None
) -> Search:
    """A library's retriever as a training search; passages that lie `aside` for a query's text are not given.

    Each query is searched as deep as a person's is, and deeper only where what lies aside took the places. Quotes of
    word processors bind, as they did when a person searched by them.
    """
    left = aside or {}

    def given(query: str, asked: str, hits: Sequence[Hit], k: int) -> dict[str, float]:
        apart, depth = left.get(query, ()), k
        while True:
            scores = {name_of(hit.passage.span): hit.score for hit in hits}
            known = [name for name in scores if name in pieces and name not in apart]
            if len(known) >= k or len(hits) < depth or depth >= k + len(apart):
                return {name: scores[name] for name in known[:k]}
            depth = min(2 * depth, k + len(apart))
            hits = retriever.search([asked], depth)[0]

    def search(queries: Sequence[str], k: int) -> list[dict[str, float]]:
        asked = [plain_quotes(query) for query in queries]
        found = zip(queries, asked, retriever.search(asked, k), strict=True)
        return [given(query, plain, hits, k) for query, plain, hits in found]

    return search


def _resolved(shelf: Shelf, name: str) -> str | None:
    """The passage or document that qrels name; None where there is none, or more than one."""
    if name in shelf.pieces:
        return name
    if (document := _document(shelf, name)) is not None:
        return document if document in shelf.places else None
    place = _PLACE.fullmatch(name)
    document = _document(shelf, place[1]) if place else None
    if place is None or document is None or not int(place[2]) < int(place[3]):
        return None
    return shelf.at(Span(document, int(place[2]), int(place[3])))


def _document(shelf: Shelf, name: str) -> str | None:
    if name in shelf.revisions:
        return name
    if (record := shelf.record(name)) is not None:
        return record
    try:
        found = shelf.library.find(name)
    except InputError:
        return shelf.files.get(name)
    return found[0].id if len(found) == 1 else None


def _some(one: str, many: str, names: Sequence[str]) -> str:
    return f"a {one}" if len(names) == 1 else f"{len(names)} {many}"


def _named(names: Sequence[str]) -> str:
    rest = len(names) - NAMED
    return ", ".join(map(repr, names[:NAMED])) + (f" and {rest} more" if rest > 0 else "")


# -- from a folder ----------------------------------------------------------------------------------------------------


def of_beir(folder: Path, split: str, encoder: Encoder | None, *, name: str = "") -> Judged:
    """A collection in BEIR's layout, searched by words, and by vectors of `encoder`, blended as a library blends them.

    InputError: as `load_beir`, or no query with a relevant document. `name` is what the encoder is called.
    """
    examples = Examples.of(load_beir(folder, split))
    search, stage = words_and_vectors(examples.corpus, encoder, name)
    return Judged(examples, search, stage)


def words_and_vectors(corpus: Mapping[str, str], encoder: Encoder | None, name: str = "") -> tuple[Search, str]:
    """A first stage over texts in memory, and what it is called; words alone where there is no encoder."""
    words = WordSearch(corpus)
    if encoder is None:
        return words, "words"

    @cache
    def both() -> Search:  # texts are encoded when something is searched: some that learn from them never do
        parts: list[Search] = [words, VectorSearch.over(corpus, encoder.encode)]
        return blended(parts, [1 - DENSE_WEIGHT, DENSE_WEIGHT])

    called = f"words and {name or encoder.name} ({encoder.fingerprint[:8]})"
    return lambda queries, k: both()(queries, k), called
