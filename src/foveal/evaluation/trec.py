"""Rankings in the files of trec_eval, so that those of other systems are measured here, and ours by its own program.

    run = read_run(Path("theirs.run"))                  # {query: {document: score}}, what `metrics.evaluate` takes
    write_run(Path("ours.run"), run, tag="hybrid")

Run      a line is `query Q0 document rank score tag`, white space between; as in trec_eval the score counts and the
         rank does not. `.gz` is unpacked
Qrels    `judgements.read_qrels` reads TREC's four columns and BEIR's three; `write_qrels` writes TREC's
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from pathlib import Path

from foveal.errors import InputError
from foveal.evaluation.files import text_in, whole_file
from foveal.evaluation.metrics import Qrels, Run, ranked

COLUMNS = "query Q0 document rank score tag"


def read_run(path: Path) -> Run:
    """Query id -> document id -> score.

    InputError: no such file, no line, a line of another form, a score that is not finite, or a document twice.
    """
    run: Run = {}
    for number, line in enumerate(text_in(path).split("\n"), start=1):
        columns = line.split()
        if not columns:
            continue
        where = f"{path}, line {number},"
        if len(columns) != 6:
            raise InputError(f"{where} is {line.strip()!r:.80}; it needs six columns: {COLUMNS}.")
        query, _, document, _, score, _ = columns
        found = run.setdefault(query, {})
        if document in found:
            raise InputError(f"{where} has the document {document!r} a second time for {query!r}. Keep one of them.")
        found[document] = _score(score, where)
    if not run:
        raise InputError(f"{path} holds no ranking. A line is: {COLUMNS}.")
    return run


def write_run(path: Path, run: Mapping[str, Mapping[str, float]], *, tag: str = "foveal") -> None:
    """Write a run, whole or not at all, each query's documents in the order in which they are measured.

    InputError: an id or the tag holds white space, or is empty, or a score is not finite.
    """
    lines = []
    for query, scores in run.items():
        for rank, document in enumerate(ranked(scores, query), start=1):
            if not math.isfinite(scores[document]):
                raise InputError(
                    f"Query {query!r} has {scores[document]} as the score of {document!r}; make it finite."
                )
            lines.append((query, "Q0", document, str(rank), repr(float(scores[document])), tag))
    _write(path, lines)


def write_qrels(path: Path, qrels: Qrels) -> None:
    """Write judgements in TREC's four columns, whole or not at all. InputError: as `write_run`."""
    _write(path, [(query, "0", name, str(grade)) for query, found in qrels.items() for name, grade in found.items()])


def _write(path: Path, lines: Iterable[tuple[str, ...]]) -> None:
    text = []
    for line in lines:
        wrong = next((column for column in line if column.split() != [column]), None)
        if wrong is not None:
            raise InputError(
                f"{wrong!r} cannot stand in a file of trec_eval: white space parts its columns. Rename it."
            )
        text.append(" ".join(line) + "\n")
    with whole_file(path) as partial:
        partial.write_text("".join(text), encoding="utf-8")


def _score(given: str, where: str) -> float:
    try:
        score = float(given)
    except ValueError:
        score = math.nan
    if not math.isfinite(score):
        raise InputError(f"{where} has the score {given!r}; it needs a finite number.")
    return score
