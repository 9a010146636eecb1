"""What a person said of search results: kept as it is given, and read from the files that others keep.

    HOME/judgements.jsonl    a judgement a line, in the order given; of one query and passage the last line counts

Kept     A line is added under a lock and forced to disk before anybody is told that it is kept. A kill leaves it whole,
         or cut off: a last line without its end was never reported, so it is passed over, and goes with the next one
Grades   0 to 3, as in `GRADES`; relevant is 1 or more, and nDCG gains the grade
Qrels    query id, document id, grade, by tabs, with BEIR's header or without; or TREC's four columns
Queries  JSON lines {"_id", "text"}, or id, tab, text
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from foveal.errors import InputError
from foveal.evaluation.appended import append, locked
from foveal.evaluation.beir import HEADER, Record, grade_of
from foveal.evaluation.files import json_lines, whole_file
from foveal.types import Span

GRADES = {0: "not relevant", 1: "touches it", 2: "relevant", 3: "just what was asked for"}

FILE = "judgements.jsonl"
"""In the home of a library."""

WRONG = (ValueError, KeyError, TypeError, OverflowError, RecursionError)
"""What a line that is no judgement raises: 1e400 is no place, and brackets may stand in brackets for ever."""


@dataclass(frozen=True, slots=True)
class Judgement:
    """A grade for a query and a passage; `revision` is that of the text that the span cuts.

    InputError: the query is empty, or the grade is none of `GRADES`.
    """

    query: str
    span: Span
    revision: str
    grade: int
    judged_at: str = ""  # in ISO format

    def __post_init__(self) -> None:
        if not self.query.strip():
            raise InputError("A judgement has an empty query. Say what was asked.")
        if self.grade not in GRADES:
            raise InputError(f"A judgement has the grade {self.grade!r}; there are {', '.join(map(str, GRADES))}.")

    @property
    def key(self) -> tuple[str, Span, str]:
        """Query, passage and text: a second judgement of these replaces the first."""
        return query_id(self.query), self.span, self.revision

    def as_json(self) -> dict[str, Any]:
        """Plain values."""
        place = {"document_id": self.span.document_id, "start": self.span.start, "end": self.span.end}
        return {
            "query": self.query, **place, "revision": self.revision, "grade": self.grade, "judged_at": self.judged_at,
        }  # fmt: skip

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> Judgement:
        """From what `as_json` gave. ValueError, KeyError, TypeError: it is no judgement."""
        span = Span(str(row["document_id"]), int(row["start"]), int(row["end"]))
        return cls(str(row["query"]), span, str(row["revision"]), int(row["grade"]), str(row.get("judged_at", "")))


def query_id(query: str) -> str:
    """The id of a query's text, white space apart: "q" and 12 hexadecimal digits."""
    return "q" + hashlib.sha256(" ".join(query.split()).encode("utf-8", "surrogatepass")).hexdigest()[:12]


# -- what is kept -----------------------------------------------------------------------------------------------------


def read_judgements(path: Path) -> list[Judgement]:
    """The judgements that count, in the order in which they were first given; none where there is no file.

    InputError: a line is no judgement, or the file cannot be read.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return []
    except OSError as error:
        raise InputError(
            f"{path} cannot be read ({error.strerror}). It holds the judgements of the library."
        ) from error
    return list(_parsed(content, path)[0].values())


def keep_judgement(path: Path, judgement: Judgement) -> Judgement | None:
    """Add a judgement; the one that it replaces, if any. On return it is on the disk.

    InputError: the file is damaged, or cannot be written. StorageFull: no space; what was kept before still is.
    """
    line = (json.dumps(judgement.as_json(), ensure_ascii=False) + "\n").encode("utf-8", "surrogatepass")
    with locked(path, instead="Choose another --home.") as file:
        known, whole, ended = _parsed(file.read(), path)
        append(file, line if ended else b"\n" + line, after=whole, path=path, again="judge this passage again")
    return known.get(judgement.key)


def _parsed(content: bytes, path: Path) -> tuple[dict[tuple[str, Span, str], Judgement], int, bool]:
    """The judgements that count, how many bytes are whole lines, and whether the last of these has its line end."""
    *lines, rest = content.split(b"\n")
    known: dict[tuple[str, Span, str], Judgement] = {}
    for number, line in enumerate(lines, start=1):
        if line.strip():
            try:
                found = Judgement.of(json.loads(line))
            except WRONG as error:
                raise InputError(f"{path}, line {number}, is no judgement ({error!r}). Mend or remove it.") from error
            known[found.key] = found
    try:
        last = Judgement.of(json.loads(rest)) if rest.strip() else None
    except WRONG:  # cut off
        return known, len(content) - len(rest), True
    if last is not None:  # whole, but for its end: a person's editor left it out
        known[last.key] = last
    return known, len(content), last is None


# -- files of others --------------------------------------------------------------------------------------------------


def read_qrels(path: Path) -> dict[str, dict[str, int]]:
    """Query id -> document id -> grade. InputError: no such file, no judgements, a wrong line, or one pair graded twice
    and differently.
    """
    qrels: dict[str, dict[str, int]] = {}
    for number, line in enumerate(_text(path).split("\n"), start=1):
        given = [one.strip() for one in line.split("\t")] if "\t" in line else line.split()
        if not given or given == HEADER:
            continue
        query, document, grade = _judged(given, f"{path}, line {number},")
        if qrels.setdefault(query, {}).setdefault(document, grade) != grade:
            raise InputError(
                f"{path}, line {number}, gives {document!r} the grade {grade} for {query!r}, an earlier line another. "
                "Keep one of them."
            )
    if not qrels:
        raise InputError(f"{path} holds no judgements. A line is: query id, document id, grade, with tabs between.")
    return qrels


def _judged(given: list[str], where: str) -> tuple[str, str, int]:
    columns = [given[0], *given[2:]] if len(given) == 4 else given  # TREC's second column says nothing
    try:
        query, document, grade = columns
        return query, document, grade_of(grade)
    except ValueError as error:
        raise InputError(
            f"{where} is {' '.join(given)!r}; it needs query id, document id and a whole grade, with tabs between."
        ) from error


def read_queries(path: Path) -> dict[str, str]:
    """Query id -> text, from JSON lines (.jsonl, .jsonl.gz) or lines of id, tab, text. InputError: no such file, a
    wrong line, an id twice, or no text.
    """
    if not path.is_file():
        raise InputError(f"{path} does not exist. It should hold the queries: JSON lines, or id, tab, text.")
    queries: dict[str, str] = {}
    for where, name, text in _queries_of_json(path) if ".jsonl" in path.name else _queries_of_tabs(path):
        if name in queries:
            raise InputError(f"{where} repeats the query id {name!r}; ids must differ.")
        if not text.strip():
            raise InputError(f"{where} has no text for the query {name!r}. Write it, or leave the line out.")
        queries[name] = text
    return queries


def _queries_of_json(path: Path) -> Iterator[tuple[str, str, str]]:
    for where, row in json_lines(path):
        if not isinstance(row, dict) or not isinstance(row.get("text"), str) or row.get("_id") is None:
            raise InputError(f'{where} is no query; each line needs {{"_id": …, "text": …}}.')
        yield where, str(row["_id"]), row["text"]


def _queries_of_tabs(path: Path) -> Iterator[tuple[str, str, str]]:
    for number, line in enumerate(_text(path).split("\n"), start=1):  # U+2028 and their like end no line of a file
        if line.strip():
            name, tab, text = line.partition("\t")
            if not tab:
                raise InputError(f"{path}, line {number}, is {line!r}; it needs a query's id, a tab, and its text.")
            yield f"{path}, line {number},", name.strip(), text.strip()


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        said = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise InputError(f"{path} cannot be read ({said}). Name a file of lines with tabs.") from error


def write_beir(
    folder: Path,
    corpus: Iterable[Record],
    queries: Mapping[str, str],
    qrels: Mapping[str, Mapping[str, int]],
    *,
    split: str = "train",
) -> Path:
    """Write a collection in BEIR's layout, as `beir.load_beir` reads it; the qrels last. InputError: `folder` is there
    and holds something.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(f"{folder} is there already, and not an empty folder. Name a new one.")
    named = ((one, {"_id": one.id, "title": one.title, "text": one.text}) for one in corpus)
    records = ({**own, **one.metadata, **own} for one, own in named)  # metadata of these names does not replace them
    _write_json_lines(folder / "corpus.jsonl", records)
    _write_json_lines(folder / "queries.jsonl", ({"_id": name, "text": text} for name, text in queries.items()))
    with whole_file(folder / "qrels" / f"{split}.tsv") as partial:
        lines = [HEADER, *([query, name, str(grade)] for query, of in qrels.items() for name, grade in of.items())]
        partial.write_text("".join("\t".join(line) + "\n" for line in lines), encoding="utf-8")
    return folder


def _write_json_lines(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    with whole_file(path) as partial, partial.open("w", encoding="utf-8", errors="backslashreplace") as file:
        file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
