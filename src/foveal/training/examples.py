"""What a retriever learns from: queries, texts, judgements of both, and the rows that a loss reads.

Examples   query id -> query; document id -> text; query id -> document id -> grade, relevant from 1 on; and documents
           that count neither way for a query, so that they are no negatives of it
Rows       {"anchor", "positive", "negative_1" … "negative_n", "label"}: one judged pair, with as many of its query's
           negatives as asked for, drawn anew in each epoch, half of them judged wrong where some are; the label is what
           a teacher says of these documents
Batches    rows of one batch are negatives of each other, so two rows of which one holds a document that is relevant
           to the other's query are kept apart: by id, and by text where one text, or one query, stands under two ids.
           The sampler NO_DUPLICATES of sentence-transformers sees equal texts only, not that a query has two answers
Source     in-batch negatives and their mistakes: Qu et al. (RocketQA), NAACL 2021; the layout: `evaluation.beir`
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, TypeVar

import numpy as np

from foveal.errors import InputError
from foveal.evaluation import beir
from foveal.models.characters import scalar
from foveal.registry import require
from foveal.training.misspelling import misspelt

T = TypeVar("T")
Negatives = dict[str, list[str]]
"""Query id -> ids of documents that do not answer it, the hardest first."""
Scores = Mapping[str, Mapping[str, float]]
"""Query id -> document id -> what a teacher says of them, higher is better."""


@dataclass(frozen=True)
class Examples:
    """Queries, texts, and which text answers which query. Halves of surrogate pairs in them, which no tokenizer takes,
    become U+FFFD. InputError: see `_checked`.
    """

    queries: Mapping[str, str]
    corpus: Mapping[str, str]
    judged: Mapping[str, Mapping[str, int]]
    name: str = "examples"
    aside: Mapping[str, Collection[str]] = field(default_factory=dict)  # query -> documents that count neither way

    def __post_init__(self) -> None:
        _checked(self)
        for name in ("queries", "corpus"):
            texts: Mapping[str, str] = getattr(self, name)
            if any(scalar(text) != text for text in texts.values()):
                object.__setattr__(self, name, {key: scalar(text) for key, text in texts.items()})

    @classmethod
    def of(cls, collection: beir.Collection) -> Examples:
        """A collection in BEIR's layout, each document as title, space, text.

        Left out, since nothing can be learnt from them: documents without text (their judgements, too), and queries
        without a relevant document. Aside lies a query's own document, under its id and with its words, unless it is
        judged (ArguAna asks with documents of its corpus). BEIR goes by the id alone, which elsewhere is chance.
        InputError: no query is left, and as for `Examples`.
        """
        corpus = {name: record.whole for name, record in collection.corpus.items() if record.whole}
        judged = {
            query: {document: grade for document, grade in grades.items() if document in corpus}
            for query, grades in collection.qrels.items()
        }
        judged = {query: grades for query, grades in judged.items() if any(grade > 0 for grade in grades.values())}
        if not judged:
            raise InputError(
                f"{collection.name} judges {len(collection.qrels):,} queries here, and none of them has a document "
                "with text of grade 1 or more, so nothing can be learnt from it. Judge some, or name another split."
            )
        queries = {query: collection.queries[query] for query in judged}
        own = (query for query in queries if query in corpus and query not in judged[query])
        aside = {query: [query] for query in own if _says(collection.corpus[query], queries[query])}
        return cls(queries, corpus, judged, collection.name, aside)

    @classmethod
    def gathered(
        cls,
        queries: Iterable[tuple[str, str]],
        corpus: Iterable[tuple[str, str]],
        judgements: Iterable[tuple[str, str, int]],
        *,
        name: str = "examples",
    ) -> Examples:
        """From (id, text) pairs and (query id, document id, grade) triples. InputError: an id comes twice."""
        judged: dict[str, dict[str, int]] = {}
        for query, document, grade in judgements:
            if judged.setdefault(query, {}).setdefault(document, grade) != grade:
                raise InputError(
                    f"Query {query!r} grades {document!r} {grade}, and otherwise before. Keep one of them."
                )
        return cls(_once("query", queries), _once("document", corpus), judged, name)

    @cached_property
    def positives(self) -> dict[str, list[str]]:
        """Query id -> its relevant documents, the highest grade first."""
        return {
            query: sorted((d for d, grade in grades.items() if grade > 0), key=lambda d: -grades[d])
            for query, grades in self.judged.items()
        }

    @cached_property
    def codes(self) -> dict[str, int]:
        """Document id -> a number that documents of one text share (white space apart)."""
        first: dict[str, int] = {}
        return {name: first.setdefault(" ".join(text.split()), len(first)) for name, text in self.corpus.items()}

    @cached_property
    def answers(self) -> dict[str, frozenset[int]]:
        """Query id -> codes of all texts that answer it, under whichever id they or its words stand."""
        found: dict[str, set[int]] = defaultdict(set)
        for query, documents in self.positives.items():
            found[words_of(self.queries[query])].update(self.codes[document] for document in documents)
        return {query: frozenset(found[words_of(self.queries[query])]) for query in self.positives}

    @cached_property
    def spared(self) -> dict[str, frozenset[int]]:
        """Query id -> codes of all texts that may be no negatives: what answers it, and what counts neither way."""
        kept = dict(self.answers)
        for query, documents in self.aside.items():
            judged = {self.codes[document] for document in self.judged[query]}
            kept[query] |= {self.codes[document] for document in documents} - judged
        return kept

    @cached_property
    def irrelevant(self) -> dict[str, list[str]]:
        """Query id -> documents that were judged and do not answer it; of equal texts the first."""
        found = {}
        for query, grades in self.judged.items():
            wrong = [document for document, grade in grades.items() if grade <= 0 and self.wrong(query, document)]
            first = {self.codes[document]: document for document in reversed(wrong)}
            found[query] = [document for document in wrong if first[self.codes[document]] == document]
        return found

    def wrong(self, query: str, document: str) -> bool:
        """Whether the document may be a negative of the query: neither it nor an equal text is relevant to it, nor
        counts neither way.
        """
        return self.codes[document] not in self.spared[query]

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 over queries, texts and judgements: another one means other data."""
        digest = hashlib.sha256()
        for part in (self.queries, self.corpus, self.judged):
            for key, value in part.items():
                shown = value if isinstance(value, str) else repr(sorted(value.items()))
                digest.update(f"{key}\0{shown}\0".encode("utf-8", "surrogatepass"))
            digest.update(b"\1")
        for query in sorted(self.aside):
            digest.update(f"{query}\0{sorted(self.aside[query])}\0".encode("utf-8", "surrogatepass"))
        return digest.hexdigest()

    def only(self, queries: Iterable[str]) -> Examples:
        """The same corpus with these queries, in their order here."""
        chosen = set(queries)
        kept = [query for query in self.queries if query in chosen]
        return replace(
            self,
            queries={query: self.queries[query] for query in kept},
            judged={query: self.judged[query] for query in kept},
            aside={query: self.aside[query] for query in kept if query in self.aside},
        )

    def beside(self, dev: Examples | None, share: float) -> tuple[Examples, Examples]:
        """What is learnt from, and what chooses: `dev`, or a share of these queries, which then are not learnt from."""
        return self.split(dev=share) if dev is None else (self, dev)

    def split(self, *, dev: float = 0.1, seed: int = 0) -> tuple[Examples, Examples]:
        """Training and dev queries over the same corpus; no query is in both, nor are two of the same words.

        `dev` is the share of dev queries, at least one. `seed` draws them; trainings leave it out, so that two of them
        can be compared. InputError: fewer than two texts of queries.
        """
        if not 0 < dev < 1:
            raise InputError(f"A split got a dev share of {dev}; it needs to lie between 0 and 1.")
        held = held_out(map(words_of, self.queries.values()), dev, seed, what="queries")
        out = [query for query, text in self.queries.items() if words_of(text) in held]
        return self.only(self.queries.keys() - set(out)), self.only(out)


def held_out(names: Iterable[str], share: float, seed: int, *, what: str) -> set[str]:
    """A share of different names, drawn from the seed: at least one of them, and not all.

    InputError: fewer than two; `what` they are.
    """
    different = list(dict.fromkeys(names))
    if len(different) < 2:
        raise InputError(f"There are fewer than two different {what}, so none can be held out. Give more.")
    order = np.random.default_rng(seed).permutation(len(different))
    return {different[place] for place in order[: max(1, min(len(different) - 1, round(share * len(different))))]}


def words_of(query: str) -> str:
    """A query but for white space and capitals: two that share this ask the same."""
    return " ".join(query.casefold().split())


def _says(record: beir.Record, query: str) -> bool:
    """Whether the query is this document, with its title or without."""
    return words_of(query) in (words_of(record.text), words_of(record.whole))


def check_corpus(examples: Examples, *others: Examples | None) -> None:
    """InputError: one of the others has another corpus."""
    if any(other is not None and other.corpus.keys() != examples.corpus.keys() for other in others):
        raise InputError("Dev and test queries must have the corpus of the examples. Use Examples.only or split.")


@dataclass(frozen=True)
class Rows:
    """The rows of examples, one for each relevant pair. Place n · len + i is row i as it is in epoch n.

    `negatives` may be changed between two looks (ANCE does): a row is made when it is looked at. InputError: a query
    has fewer than `per_row` negatives (see `negatives.filled`), or a teacher's score is missing.
    """

    examples: Examples
    negatives: Negatives = field(default_factory=dict)
    per_row: int = 0
    scores: Scores | None = None
    seed: int = 0
    typos: float = 0.0  # share of the queries that are misspelt, drawn for each row and epoch

    def __post_init__(self) -> None:
        for query in self.examples.queries if self.per_row else ():
            pool = self.negatives.get(query, [])
            if len(pool) < self.per_row:
                raise InputError(
                    f"Query {query!r} has {len(pool)} negatives, but a row was to hold {self.per_row}. Ask for fewer, "
                    "or fill up with others: negatives.filled."
                )
            wrong = next((d for d in pool if not self.examples.wrong(query, d)), None)
            if wrong is not None:
                raise InputError(
                    f"Document {wrong!r} is a negative of query {query!r}, but answers it, or counts neither way. "
                    "Leave it out."
                )

    @cached_property
    def pairs(self) -> list[tuple[str, str]]:
        """Query and relevant document of each row; of documents with one text the first."""
        found = []
        for query, documents in self.examples.positives.items():
            first = {self.examples.codes[document]: document for document in reversed(documents)}
            found += [(query, document) for document in documents if first[self.examples.codes[document]] == document]
        return found

    @property
    def column_names(self) -> list[str]:
        """The columns of a row, in order."""
        label = ["label"] if self.scores is not None else []
        return ["anchor", "positive", *(f"negative_{n + 1}" for n in range(self.per_row)), *label]

    def __len__(self) -> int:
        return len(self.pairs)

    def documents(self, place: int) -> list[str]:
        """The row's documents: the relevant one, then the negatives drawn for that epoch."""
        epoch, row = divmod(place, len(self))
        query, positive = self.pairs[row]
        pool = self.negatives[query] if self.per_row else []
        order = np.random.default_rng([self.seed, place]).permutation(len(pool))
        judged = self.examples.irrelevant[query]
        return [positive, *judged_half([pool[number] for number in order], judged, self.per_row, epoch)]

    def __getitem__(self, place: int) -> dict[str, Any]:
        query, _ = self.pairs[place % len(self)]
        documents = self.documents(place)
        texts = [self._asked(query, place), *(self.examples.corpus[document] for document in documents)]
        row: dict[str, Any] = dict(zip(self.column_names, texts, strict=False))
        if self.scores is not None:
            row["label"] = [_score(self.scores, query, document) for document in documents]
        return row

    def _asked(self, query: str, place: int) -> str:
        text = self.examples.queries[query]
        if self.typos and np.random.default_rng([self.seed, place, 1]).random() < self.typos:
            return misspelt(text, seed=(self.seed, place))
        return text


def judged_half(order: Sequence[T], judged: Iterable[T], count: int, epoch: int) -> list[T]:
    """The first `count` of what was drawn, half of them from what was judged wrong, where there is so much of it.

    A half of an odd number is rounded up in the first epoch, down in the second, and so on by turns: a single negative
    is then a judged one every other time. Found ones say what a search confuses, judged ones what a person told.
    """
    known = frozenset(judged)
    told, others = [one for one in order if one in known], [one for one in order if one not in known]
    half = min((count + 1 - epoch % 2) // 2, len(told))
    return [*told[:half], *others[: count - half], *told[half:]][:count]


def dataset(rows: Rows) -> Any:
    """The rows of the first epoch as a `datasets.Dataset`, for trainers that want one."""
    return require("datasets", extra="train").Dataset.from_list([rows[place] for place in range(len(rows))])


@dataclass(frozen=True)
class ApartBatches:
    """Batches of rows in which no row's document answers another row's query, or counts neither way for it:
    `plan(epoch)` gives their places.

    Every row comes once an epoch, in an order drawn from the seed and the epoch. Where many rows share an answer there
    are more batches, and smaller ones.
    """

    rows: Rows
    batch: int
    seed: int = 0

    def __call__(self, epoch: int) -> list[list[int]]:
        """The batches of that epoch."""
        count = len(self.rows)
        spared, codes = self.rows.examples.spared, self.rows.examples.codes
        full: list[list[int]] = []
        open_ones: list[tuple[list[int], set[int], set[int]]] = []  # places, texts in it, texts that are spared
        for row in np.random.default_rng([self.seed, epoch]).permutation(count):
            place = epoch * count + int(row)
            texts = {codes[document] for document in self.rows.documents(place)}
            right = spared[self.rows.pairs[row][0]]
            fits = (one for one in open_ones if texts.isdisjoint(one[2]) and right.isdisjoint(one[1]))
            chosen = next(fits, None)
            if chosen is None:
                chosen = ([], set(), set())
                open_ones.append(chosen)
            chosen[0].append(place)
            chosen[1].update(texts)
            chosen[2].update(right)
            if len(chosen[0]) == self.batch:
                full.append(chosen[0])
                open_ones.remove(chosen)
        return full + [places for places, _, _ in open_ones]


def _score(scores: Scores, query: str, document: str) -> float:
    try:
        return float(scores[query][document])
    except KeyError as missing:
        raise InputError(
            f"The teacher said nothing of query {query!r} and document {document!r}. Score all negatives and the "
            "relevant documents first: negatives.taught."
        ) from missing


def _once(kind: str, pairs: Iterable[tuple[str, str]]) -> dict[str, str]:
    found: dict[str, str] = {}
    for name, text in pairs:
        if name in found:
            raise InputError(f"The id {name!r} names two {kind} texts. Ids must differ: rename one.")
        found[name] = text
    return found


def _checked(examples: Examples) -> None:
    """InputError: no text or query, an empty one, a query without a relevant document, or an unknown id."""
    for kind, texts in (("document", examples.corpus), ("query", examples.queries)):
        if not texts:
            raise InputError(f"{examples.name} holds no {kind}, so nothing can be learnt from it. Give at least one.")
        blank = next((name for name, text in texts.items() if not text.strip()), None)
        if blank is not None:
            raise InputError(f"The {kind} {blank!r} of {examples.name} has no text. Leave it out, or write it.")
    unknown = examples.judged.keys() - examples.queries.keys()
    if unknown:
        raise InputError(f"{examples.name} judges the query {sorted(unknown)[0]!r}, which it does not hold.")
    if strange := sorted(examples.aside.keys() - examples.queries.keys()):
        raise InputError(f"{examples.name} sets documents aside for the query {strange[0]!r}, which it does not hold.")
    for query in examples.queries:
        grades = examples.judged.get(query, {})
        for document in (*grades, *examples.aside.get(query, ())):
            if document not in examples.corpus:
                raise InputError(f"Query {query!r} judges the document {document!r}, which {examples.name} lacks.")
        if not any(grade > 0 for grade in grades.values()):
            raise InputError(
                f"Query {query!r} of {examples.name} has no document of grade 1 or more. Judge one, or leave the query "
                "out. For texts without any queries: pseudo_queries."
            )


def shuffled(count: int, batch: int, seed: int = 0, *, epoch: int = 0) -> list[list[int]]:
    """Row numbers 0 to count - 1 in batches, in an order drawn from the seed and the epoch."""
    return in_parts(np.random.default_rng([seed, epoch]).permutation(count).tolist(), batch)


def shuffled_anew(count: int, batch: int, seed: int = 0, *, epoch: int = 0) -> list[list[int]]:
    """As `shuffled`, each epoch with numbers of its own, so that what is drawn for a row is drawn anew in each."""
    return [[epoch * count + row for row in rows] for rows in shuffled(count, batch, seed, epoch=epoch)]


def alike_in_length(lengths: Sequence[int], batch: int, pool: int, seed: int = 0, *, epoch: int = 0) -> list[list[int]]:
    """As `shuffled`, rows of like length together, so that little is padded: sorted within `pool` batches of an order
    that is drawn, and the batches drawn again."""
    draw = np.random.default_rng([seed, epoch])
    pools = in_parts(draw.permutation(len(lengths)).tolist(), pool * batch)
    batches = [part for one in pools for part in in_parts(sorted(one, key=lengths.__getitem__), batch)]
    return [batches[place] for place in draw.permutation(len(batches))]


def in_parts(rows: Sequence[T], size: int) -> list[list[T]]:
    """The rows in their order, `size` at a time."""
    return [list(rows[first : first + size]) for first in range(0, len(rows), size)]
