"""KILT (Petroni et al., NAACL 2021): its files, page-level R-precision, and recall where evidence is a set of pages.

    queries = load_kilt(Path("fever-dev-kilt.jsonl"))
    kilt_metrics({query.id: found_titles(query) for query in queries}, queries)

Layout    a line is {"id", "input", "output": [{"answer", "provenance": [{"title", "wikipedia_id", "bleu_score", …}]}],
          "meta": {"template_questions", "left_context", "mention", "right_context"}}; `.gz` is unpacked
R-precision   for a set of R gold pages the share of them among the first R found; the best of the sets counts
recall@k  a set of pages counts as one item, at the place of the last of its pages; the share of the sets that stand in
          the first k. Pages of no set count one place each
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from foveal.errors import InputError
from foveal.evaluation.files import json_lines

LEAST_BLEU = 0.5
"""What a provenance must score above to be a target of training: KILT mapped it from another edition of Wikipedia."""

LAYOUT = "Provenance is a list of objects, their bleu_score a number, and meta an object."

WHOLE = "a whole set"

MARKS = ("[START_ENT]", "[END_ENT]")

MENTION_WORDS = 384
"""Words around a mention that are kept, the mention in the middle: a model reads only the beginning of a long query."""


@dataclass(frozen=True)
class KiltQuery:
    """One line: the input, the sets of pages that answer it, the answers, and the titles that training aims at."""

    id: str
    input: str
    pages: tuple[frozenset[str], ...]
    answers: tuple[str, ...] = ()
    targets: tuple[str, ...] = ()
    templates: tuple[str, ...] = ()  # questions of zero-shot relation extraction: more inputs with the same answers


def load_kilt(path: Path, *, key: str = "title") -> list[KiltQuery]:
    """The queries of a file; `key` names pages: title, or wikipedia_id.

    InputError: damaged, an id twice, or no query.
    """
    queries, seen = [], set()
    for where, line in json_lines(path):
        try:
            query = _query(line, where, key)
        except InputError:
            raise
        except (AttributeError, TypeError, ValueError) as error:
            raise InputError(f"{where} is no query of KILT's ({error}). {LAYOUT}") from error
        if query.id in seen:
            raise InputError(f"{where} repeats the id {query.id!r}; ids must differ.")
        seen.add(query.id)
        queries.append(query)
    if not queries:
        raise InputError(f"{path} holds no query. A KILT file has one JSON object a line, with id, input and output.")
    return queries


def r_precision(found: Sequence[str], sets: Sequence[Collection[str]]) -> float:
    """The best, over the sets, of the share of a set's R pages among the first R found; 0 where there is no set."""
    ranking = list(dict.fromkeys(found))
    shares = [len(set(ranking[: len(pages)]) & pages) / len(pages) for pages in map(frozenset, sets) if pages]
    return max(shares, default=0.0)


def set_recall(found: Sequence[str], sets: Sequence[Collection[str]], k: int) -> float:
    """The share of the different sets whose pages are all found in the first k places, as places are counted above."""
    if k < 1:
        raise InputError(f"A recall got k = {k}; it needs at least 1.")
    wanted = [set(pages) for pages in dict.fromkeys(map(frozenset, sets)) if pages]
    missing = [set(pages) for pages in wanted]
    places: list[str] = []
    for page in dict.fromkeys(found):
        holding = [number for number, pages in enumerate(missing) if page in pages]
        for number in holding:
            missing[number].discard(page)
            places = [place for place in places if place != f"part of {number}"]
            places.append(f"part of {number}" if missing[number] else WHOLE)
        if not holding:
            places.append("no set's")
    return places[:k].count(WHOLE) / len(wanted) if wanted else 0.0


def kilt_metrics(found: Mapping[str, Sequence[str]], queries: Sequence[KiltQuery], *, k: int = 5) -> dict[str, float]:
    """r-precision and recall@k, means over the queries that have pages; what is not in `found` counts 0.

    InputError: no query has pages (as in KILT's test files).
    """
    judged = [query for query in queries if any(query.pages)]
    if not judged:
        raise InputError("None of the queries says which pages answer it, as in KILT's test files. Use a dev file.")
    rows = [(found.get(query.id, ()), query.pages) for query in judged]
    return {
        "r-precision": sum(r_precision(*row) for row in rows) / len(rows),
        f"recall@{k}": sum(set_recall(*row, k) for row in rows) / len(rows),
    }


def _query(line: Any, where: str, key: str) -> KiltQuery:
    if not isinstance(line, dict) or "id" not in line or not isinstance(line.get("input"), str):
        raise InputError(f"{where} is no query of KILT's; it needs an object with id and input.")
    outputs = line.get("output") or []
    if not isinstance(outputs, list) or not all(isinstance(one, dict) for one in outputs):
        raise InputError(f"{where} has {outputs!r:.60} as output; it needs a list of objects.")
    sources = [one.get("provenance") or [] for one in outputs]
    pages = [frozenset(str(page[key]).strip() for page in one if page.get(key)) for one in sources]
    aimed = [str(page["title"]) for one in sources for page in one if page.get("title") and _mapped(page)]
    meta = line.get("meta") or {}
    return KiltQuery(
        str(line["id"]),
        _input(line["input"], meta),
        tuple(one for one in pages if one),
        tuple(str(one["answer"]) for one in outputs if one.get("answer")),
        tuple(dict.fromkeys(aimed)),
        tuple(map(str, meta.get("template_questions") or ())),
    )


def _mapped(page: Mapping[str, Any]) -> bool:
    return float(page.get("bleu_score", 1.0)) > LEAST_BLEU


def marked_mention(left: str, mention: str, right: str, words: int = MENTION_WORDS) -> str:
    """A mention between its marks in what stands around it, `words` words in all."""
    middle, before, after = mention.split(), left.split(), right.split()
    room = max(0, words - len(middle))
    kept = min(len(before), max(room // 2, room - len(after)))
    return " ".join([*before[len(before) - kept :], MARKS[0], *middle, MARKS[1], *after[: room - kept]])


def _input(text: str, meta: Mapping[str, Any]) -> str:
    """The input; where a mention is to be linked, with its marks, and cut to the words around it."""
    left, opened, rest = text.partition(MARKS[0])
    mention, closed, right = rest.partition(MARKS[1])
    if opened and closed:
        return marked_mention(left, mention, right)
    if opened or not meta.get("mention"):
        return text
    left, mention, right = (str(meta.get(part) or "") for part in ("left_context", "mention", "right_context"))
    return marked_mention(left, mention, right)
