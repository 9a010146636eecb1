"""Retrieval collections in the layout of BEIR (Thakur et al., NeurIPS 2021, Datasets and Benchmarks).

    corpus.jsonl          {"_id", "title", "text"}, the title may be missing; what else a line carries is metadata
    queries.jsonl         {"_id", "text"}
    qrels/<split>.tsv     the header `query-id corpus-id score`, then one judgement a line, the grade a whole number;
                          more columns may stand beside them

Each may be compressed (`.gz`). A judgement of an unknown query or document is an error, not a miss.
"""

from __future__ import annotations

import gzip
import json
import re
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from foveal.errors import InputError
from foveal.evaluation.files import present

HEADER = ["query-id", "corpus-id", "score"]


@dataclass(frozen=True, slots=True)
class Record:
    """One document of a collection."""

    id: str
    title: str
    text: str
    metadata: Mapping[str, Any] = field(default_factory=dict)

    @property
    def whole(self) -> str:
        """Title, a space, text: what BEIR's published figures index and encode."""
        return f"{self.title} {self.text}".strip()


@dataclass(frozen=True)
class Collection:
    """Documents, the queries that are judged in one split, and their judgements; in the order of the files."""

    name: str
    corpus: dict[str, Record]
    queries: dict[str, str]
    qrels: dict[str, dict[str, int]]


def load_beir(folder: Path, split: str = "test") -> Collection:
    """The collection in `folder`, with the judgements of qrels/<split>.tsv and the queries that they judge.

    InputError: a file is missing or damaged, a line is not as the layout says, or an id is doubled or unknown.
    """
    corpus = load_corpus(folder)
    texts = {identity: _text(row, "text", where) for identity, row, where in _rows(folder, "queries.jsonl")}
    qrels: dict[str, dict[str, int]] = {}
    for where, query, document, grade in _judgements(folder / "qrels" / f"{split}.tsv"):
        for kind, identity, known in (("query", query, texts), ("document", document, corpus)):
            if identity not in known:
                raise InputError(f"{where} judges {kind} {identity!r}, which {folder} does not hold. Mend one of them.")
        if qrels.setdefault(query, {}).setdefault(document, grade) != grade:
            raise InputError(f"{where} gives {document!r} grade {grade}, an earlier line another. Keep one of them.")
    return Collection(folder.name, corpus, {query: texts[query] for query in qrels}, qrels)


def load_corpus(folder: Path) -> dict[str, Record]:
    """The documents of the collection in `folder`, by id. InputError: as `load_beir`."""
    found = {identity: _record(identity, row, where) for identity, row, where in _rows(folder, "corpus.jsonl")}
    if not found:
        raise InputError(f"{_present(folder, 'corpus.jsonl')} holds no document. Fill it, or name another folder.")
    return found


def _record(identity: str, row: dict[str, Any], where: str) -> Record:
    metadata = {name: value for name, value in row.items() if name not in ("_id", "title", "text")}
    return Record(identity, _text(row, "title", where) if "title" in row else "", _text(row, "text", where), metadata)


def _text(row: dict[str, Any], name: str, where: str) -> str:
    if not isinstance(row.get(name), str):
        raise InputError(f"{where} has {row.get(name)!r} as {name!r}; it needs a string.")
    return str(row[name])


def _rows(folder: Path, name: str) -> Iterator[tuple[str, dict[str, Any], str]]:
    """Id, content and place (for errors) of each line of a JSON-lines file."""
    seen = set()
    for where, line in _lines(_present(folder, name)):
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise InputError(f"{where} is not JSON ({error}). Each line must be one object.") from error
        if not isinstance(row, dict):
            raise InputError(f"{where} holds a {type(row).__name__}; each line must be one object with `_id`.")
        identity = _text(row, "_id", where)
        if identity in seen:
            raise InputError(f"{where} repeats the id {identity!r}; ids must differ.")
        seen.add(identity)
        yield identity, row, where


def _judgements(path: Path) -> Iterator[tuple[str, str, str, int]]:
    """Place, query, document and grade of each line of a qrels file."""
    path = present(path.parent, path.name)
    if not path.is_file():
        path = path.with_suffix("")
        splits = ", ".join(sorted(found.name.partition(".tsv")[0] for found in path.parent.glob("*.tsv*"))) or "none"
        raise InputError(f"{path} does not exist. The splits of this collection: {splits}.")
    lines = _lines(path)
    where, header = next(lines, (f"{path} (empty)", ""))
    columns = header.split("\t")
    if not set(HEADER) <= set(columns):
        raise InputError(f"{where} is {header!r}; a qrels file opens with {' '.join(HEADER)}, tabs between them.")
    for where, line in lines:
        try:
            named = dict(zip(columns, line.split("\t"), strict=True))
            query, document, grade = (named[name] for name in HEADER)
            judgement = where, query, document, grade_of(grade)
        except ValueError as error:
            raise InputError(f"{where} is {line!r}; it needs query id, document id, whole grade, by tabs.") from error
        yield judgement


def grade_of(text: str) -> int:
    """A whole grade, "2" or "2.0", as tables of numbers are often written. ValueError: it is none."""
    return int(re.sub(r"(?<=\d)\.0+\s*\Z", "", text))


def _present(folder: Path, name: str) -> Path:
    for path in (folder / name, folder / f"{name}.gz"):
        if path.is_file():
            return path
    raise InputError(
        f"{folder} holds neither {name} nor {name}.gz. A collection in BEIR's layout has corpus.jsonl, queries.jsonl "
        "and qrels/<split>.tsv."
    )


def _lines(path: Path) -> Iterator[tuple[str, str]]:
    """Place and text of each line that is not blank."""
    opener = gzip.open if path.suffix == ".gz" else open
    try:
        with opener(path, "rt", encoding="utf-8-sig") as file:
            for number, line in enumerate(file, 1):
                if line.strip():
                    yield f"{path}, line {number},", line.rstrip("\n")
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read ({error}). It is cut off or not UTF-8: fetch it again.") from error
