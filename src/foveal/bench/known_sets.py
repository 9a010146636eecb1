"""Data sets for which figures were published, or measured before: a bar made of these is asked of that set alone.

    held_to("SciFact", found, Row.of("BM25S", "ndcg@10", value, at_least=0.6843))

Another set may lie in the same folder, in the same layout. Of it such a figure says nothing: the row is shown without
its bar, which the note tells. Bars beside a peer, a control or a limit hold for any data and do not go through here.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace

from foveal.evaluation.beir import Collection
from foveal.evaluation.tables import Row

SIZES: Mapping[str, tuple[int, ...]] = {
    "SciFact": (5_183, 300),  # documents, test queries
    "Cranfield": (1_400, 225),
    "LIMIT-small": (46, 1_000),
    "NegConstraint": (3_946, 198),
    "ObliQA": (13_012, 2_786),
    "COLIEE's R02": (81,),  # questions
    "Fake News Challenge": (25_413,),  # pairs
    "XQuAD": (240,),  # paragraphs
    "the 49 essays": (49, 643_830),  # texts, their characters
    "WikiQA": (237, 2_341),  # clean test questions, their candidates
    "HotpotQA, recorded": (4_750, 500),  # passages, questions
    "2Wiki, recorded": (5_183, 500),
    "wiki_toy": (99,),  # titles
    "CIFAR-10, 10,000 of it": (8_000, 7_369_980, 2_000, 1_842_546),  # to learn from, their bytes; to test with, theirs
    "Choi": (700, 49_105),  # documents, sentences
    "the shared terms": (306,),  # documents
    "Telugu pairs": (297,),  # of the test
    "TeClass": (3_927,),  # pairs of the test
    "Clickbait": (32_000,),  # headlines
    "Hawkes": (64, 9_984),  # sequences to test with, their events
    "Reuters-8": (5_485, 2_189),  # texts to learn from, of the test
    "Reuters-21578": (21_577,),  # dated items
    "RealtimeQA": (10_232, 607),  # dated pages, judged questions
}
"""What a set is told by: how much of everything it holds."""


def is_set(name: str, *counted: int) -> bool:
    """Whether data of these sizes are the set of that name."""
    return counted == SIZES[name]


def is_collection_of(name: str, collection: Collection) -> bool:
    """The same, of a judged collection."""
    return is_set(name, len(collection.corpus), len(collection.queries))


def held_to(name: str, found: bool, row: Row) -> Row:
    """The row with its bar where the data are (`found`) the set of that name, else without it."""
    if found or row.bar is None:
        return row
    told = f"no bar here: {row.bar} is of {name}"
    return replace(row, bar=None, ok=None, note=f"{told}; {row.note}" if row.note else told)


def all_held_to(name: str, found: bool, rows: Iterable[Row]) -> Iterator[Row]:
    """Each row so."""
    return (held_to(name, found, row) for row in rows)
