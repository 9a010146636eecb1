"""What event attention learns from: queries with their time and events, dated documents, and the rows of a batch.

EventExamples   examples, and for each query its moment and events, for each document its moment, names and event
EventRows       one judged pair, its query's events (left out in a share of the rows), its negatives
Batch           token ids of queries, documents and the batch's different events; who looks at which event; which
                documents may be negatives of which query: none of the event that its answer belongs to, since in-batch
                negatives of one day often report the same
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from foveal.errors import InputError
from foveal.evaluation.metrics import Run
from foveal.models.event_attention import EventText, facts_of
from foveal.training.examples import Examples, Rows
from foveal.training.searches import Floats

Tokenise = Callable[[Sequence[str], int], tuple[Tensor, Tensor]]
"""Texts and the most tokens of one -> ids (B, L), long, and which of them count (B, L), bool."""


@dataclass(frozen=True)
class DocumentFacts:
    """What is known of a document besides its text."""

    moment: float  # seconds
    event: str = ""  # that it reports; empty: none is known
    entities: frozenset[str] = frozenset()
    triple: tuple[str, str, str] = ("", "", "")  # subject, verb, object


@dataclass(frozen=True)
class EventExamples:
    """Examples with what was happening. InputError: a query lacks its moment, or a document its facts."""

    examples: Examples
    asked: Mapping[str, float]  # query -> moment, seconds
    events: Mapping[str, tuple[EventText, ...]]  # query -> events alive then, the best first
    facts: Mapping[str, DocumentFacts]

    def __post_init__(self) -> None:
        for kind, wanted, known in (
            ("query", self.examples.queries, self.asked), ("document", self.examples.corpus, self.facts),
        ):  # fmt: skip
            missing = next((name for name in wanted if name not in known), None)
            if missing is not None:
                raise InputError(
                    f"The {kind} {missing!r} has no date. Leave it out: what is not dated cannot be split."
                )

    def only(self, queries: Sequence[str]) -> EventExamples:
        """The same documents with these queries."""
        return replace(self, examples=self.examples.only(queries))

    def split(self, moment: float) -> tuple[EventExamples, EventExamples]:
        """The queries before a moment, and those from it on. InputError: a side has none."""
        names = list(self.examples.queries)
        sides = [[n for n in names if self.asked[n] < moment], [n for n in names if self.asked[n] >= moment]]
        if not all(sides):
            raise InputError(f"A split by time left {len(sides[0])} queries before and {len(sides[1])} after. Move it.")
        return self.only(sides[0]), self.only(sides[1])

    def without_events(self) -> EventExamples:
        """The same queries, none with an event."""
        return replace(self, events={})

    @cached_property
    def fingerprint(self) -> str:
        """Of examples, moments and events, and of what is known of the documents: negatives depend on it."""
        import hashlib

        digest = hashlib.sha256(self.examples.fingerprint.encode())
        for name in self.examples.queries:
            shown = [
                (one.text, *(round(value, 6) for value in facts_of(one)), one.id, one.documents)
                for one in self.events.get(name, ())
            ]
            digest.update(repr((self.asked[name], shown)).encode("utf-8", "surrogatepass"))
        for name in self.examples.corpus:
            known = self.facts[name]
            told = (known.moment, known.event, sorted(known.entities), known.triple)
            digest.update(repr(told).encode("utf-8", "surrogatepass"))
        return digest.hexdigest()

    def right_event(self, query: str, document: str) -> int:
        """The place, among the query's events, of the one that the document reports; -1: none does."""
        event = self.facts[document].event
        for place, one in enumerate(self.events.get(query, ())):
            if document in one.documents or (event and one.id == event):
                return place
        return -1


@dataclass(frozen=True)
class EventRows:
    """Rows by number; place n · len + i is row i in epoch n. Batches: `ApartBatches(rows.rows, …)`."""

    data: EventExamples
    rows: Rows
    dropout: float = 0.3  # share of rows whose events are left out
    events: int = 5  # of a query
    seed: int = 0

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, place: int) -> dict[str, Any]:
        query, positive = self.rows.pairs[place % len(self)]
        dropped = np.random.default_rng([self.seed, place, 1]).random() < self.dropout
        events = () if dropped else self.data.events.get(query, ())[: self.events]
        return {"query": query, "documents": self.rows.documents(place), "events": events, "positive": positive}


def collated(
    rows: Sequence[Mapping[str, Any]],
    data: EventExamples,
    tokenise: Tokenise,
    tokens: tuple[int, int, int],
    written: bool,
) -> dict[str, Tensor]:
    """A batch of rows of G documents each, the relevant one first; `tokens` of a query, an event, a document.

    query_ids, query_mask (B, ·); document_… (B·G, ·); event_… (E, ·); looks (B, K): rows of events, -1 none; facts
    (B, K, 3) of these; allowed (B, B·G); right (B,): row of the event that the answer reports, or -1; with `written`,
    triple_… (B, ·): what a decoder learns to write of the answers.
    """
    texts = list(dict.fromkeys(event.text for row in rows for event in row["events"])) or ["."]
    numbers = {text: number for number, text in enumerate(texts)}
    most = max([1, *(len(row["events"]) for row in rows)])
    looks = torch.full((len(rows), most), -1, dtype=torch.long)
    facts = torch.zeros(len(rows), most, 3)
    right = torch.full((len(rows),), -1, dtype=torch.long)
    for number, row in enumerate(rows):
        for place, event in enumerate(row["events"]):
            looks[number, place] = numbers[event.text]
            facts[number, place] = torch.tensor(facts_of(event))
        place = data.right_event(row["query"], row["positive"])
        if 0 <= place < len(row["events"]):
            right[number] = looks[number, place]
    documents = [name for row in rows for name in row["documents"]]
    made = {"looks": looks, "facts": facts, "right": right, "allowed": allowed(rows, data)}
    corpus, queries = data.examples.corpus, data.examples.queries
    parts = {
        "query": ([queries[row["query"]] for row in rows], tokens[0]),
        "event": (texts, tokens[1]),
        "document": ([corpus[name] for name in documents], tokens[2]),
    }
    if written:
        triples = [data.facts[row["positive"]].triple for row in rows]
        parts["triple"] = ([" ; ".join(part for part in one if part) or "." for one in triples], TRIPLE_TOKENS)
    for name, (given, most_tokens) in parts.items():
        made[f"{name}_ids"], made[f"{name}_mask"] = tokenise(given, most_tokens)
    return made


TRIPLE_TOKENS = 32
"""Of what is written of a document: 30 and the two special ones."""


def allowed(rows: Sequence[Mapping[str, Any]], data: EventExamples) -> Tensor:
    """(B, B·G): the query's own relevant document, and those that neither answer it nor report the same event."""
    documents = [name for row in rows for name in row["documents"]]
    group = len(rows[0]["documents"])
    mask = torch.ones(len(rows), len(documents), dtype=torch.bool)
    for number, row in enumerate(rows):
        event = data.facts[row["positive"]].event
        for column, name in enumerate(documents):
            same = bool(event) and data.facts[name].event == event
            if column != number * group and (same or not data.examples.wrong(row["query"], name)):
                mask[number, column] = False
    return mask


@dataclass(frozen=True)
class PastSearch:
    """Cosine over the documents dated up to each query's moment."""

    ids: Sequence[str]
    vectors: Floats
    moments: np.ndarray = field(repr=False)

    @classmethod
    def of(cls, data: EventExamples, vectors: Floats, ids: Sequence[str] | None = None) -> PastSearch:
        """Over these documents of the examples (None: all), in the order of `vectors`."""
        names = list(data.examples.corpus) if ids is None else list(ids)
        return cls(names, vectors, np.array([data.facts[name].moment for name in names]))

    def run(self, queries: Mapping[str, float], vectors: Floats, k: int) -> Run:
        """Query -> document -> cosine, the best `k` that were there at its moment."""
        found: Run = {}
        for (query, moment), vector in zip(queries.items(), vectors, strict=True):
            scores = np.where(self.moments <= moment, self.vectors @ vector, -np.inf)
            best = np.argsort(-scores, kind="stable")[:k]
            found[query] = {self.ids[row]: float(scores[row]) for row in best if np.isfinite(scores[row])}
        return found
