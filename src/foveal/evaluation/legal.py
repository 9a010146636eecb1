"""Statute retrieval: collections of articles with judged questions, and how answers to them are scored.

    collection = load_obliqa(folder, "test")             BEIR's layout, or the data set's own files
    collection = load_coliee(code, [pairs, ...])         a civil code as text, questions as COLIEE's XML
    legal_scores(run, collection.qrels, most=1)          P, R and F2 of the first; MAP, recall, nDCG
    paired_bootstrap(f2_of_one, f2_of_other)             whether the difference is more than chance

ObliQA    ObliQA_<split>.json: [{QuestionID, Question, Passages: [{DocumentID, PassageID, Passage}]}], and
          StructuredRegulatoryDocuments/*.json: [{ID, DocumentID, PassageID, Passage}]
COLIEE    the code: lines "Part I …", "Chapter …", "Section …", "Subsection …", "Division …" open headings; "(Title)"
          alone on a line is the title of the next article; "Article N …" begins one; each further line is a paragraph.
          The pairs: <pair id="…"><t1>Article N …</t1><t2>question</t2></pair>; the articles of t1 answer it
F2        5 P R / (4 P + R) of each question, 0 where nothing right was given; then the mean. Not F2 of the means

Neither set is part of the project; COLIEE's is given out under an agreement. A judgement of an article or question
that is not there is an error, not a miss.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from foveal.errors import InputError
from foveal.evaluation.beir import load_beir
from foveal.evaluation.metrics import Qrels, evaluate, ranked

METRICS = ("map", "recall@5", "recall@10", "recall@20", "recall@30", "ndcg@20")
"""What `legal_scores` gives beside precision, recall and F2 of the first answers."""

LEVELS = ("Part", "Chapter", "Section", "Subsection", "Division")
"""Headings of a code, the highest first."""

_HEADING = re.compile(rf"({'|'.join(LEVELS)})\s+(?:[IVXLC]+|\d+(?:-\d+)*)\b(?!\s*,)")
_TITLE = re.compile(r"\(([^()]*)\)")
_ARTICLE = re.compile(r"Article\s+(\S+)\s*(.*)")


@dataclass(frozen=True, slots=True)
class Article:
    """An article, section or rule: its text with a sentence or clause a line, and the path of headings above it."""

    id: str
    text: str
    heading: str | None = None

    def __post_init__(self) -> None:
        if not self.text.strip():
            raise InputError(f"Article {self.id!r} holds no sentence. Leave it out, or give its text.")


@dataclass(frozen=True)
class LegalCollection:
    """Articles and questions by id, and which article answers which question (grade 1 or more).

    InputError: a judged article or question is not there, or a question has no text.
    """

    name: str
    articles: Mapping[str, Article]
    queries: Mapping[str, str]
    qrels: Mapping[str, Mapping[str, int]]

    def __post_init__(self) -> None:
        for query, judged in self.qrels.items():
            if not self.queries.get(query, "").strip():
                raise InputError(
                    f"{self.name} judges question {query!r}, which has no text there. Give it, or drop it."
                )
            if unknown := [article for article in judged if article not in self.articles]:
                raise InputError(
                    f"{self.name} judges article {unknown[0]!r} for question {query!r}, but holds no such article. "
                    "Mend the judgement, or add the article."
                )


def articles_of(articles: Sequence[Article]) -> dict[str, Article]:
    """The articles by id, in order. InputError: an id comes twice."""
    found: dict[str, Article] = {}
    for article in articles:
        if article.id in found:
            raise InputError(f"Two articles are called {article.id!r}; ids must differ. Rename one, or leave it out.")
        found[article.id] = article
    return found


# -- ObliQA ----------------------------------------------------------------------------------------------------------


def load_obliqa(folder: Path, split: str = "test") -> LegalCollection:
    """ObliQA's passages and the questions of a split, in either layout; passages without text are left out, with what
    judges them. InputError: files are missing or damaged, or a judgement names what is not there.
    """
    if any((folder / f"corpus.jsonl{end}").is_file() for end in ("", ".gz")):
        return _from_beir(folder, split)
    ids: dict[tuple[str, str], list[str]] = defaultdict(list)
    texts: dict[str, str] = {}
    for where, row in _rows(sorted((folder / "StructuredRegulatoryDocuments").glob("*.json")), folder):
        name, text = str(_field(row, "ID", where)), str(_field(row, "Passage", where))
        if name in texts:
            raise InputError(f"{where} repeats the ID {name!r}; ids must differ.")
        texts[name] = text
        ids[_place(row, where)].append(name)
    queries: dict[str, str] = {}
    qrels: dict[str, dict[str, int]] = {}
    for where, row in _rows([folder / f"ObliQA_{split}.json"], folder):
        query = str(_field(row, "QuestionID", where))
        if query in queries:
            raise InputError(f"{where} repeats the QuestionID {query!r}; ids must differ.")
        queries[query] = str(_field(row, "Question", where))
        named = [_named(passage, ids, texts, where) for passage in _field(row, "Passages", where)]
        qrels[query] = {name: 1 for name in named if texts[name].strip()}
    articles = {name: Article(name, text) for name, text in texts.items() if text.strip()}
    kept = {query: judged for query, judged in qrels.items() if judged}
    return LegalCollection("obliqa", articles, {query: queries[query] for query in kept}, kept)


def _from_beir(folder: Path, split: str) -> LegalCollection:
    found = load_beir(folder, split)
    articles = {
        name: Article(name, record.text, record.title or None)
        for name, record in found.corpus.items()
        if record.text.strip()
    }
    qrels = {query: {d: grade for d, grade in judged.items() if d in articles} for query, judged in found.qrels.items()}
    kept = {query: judged for query, judged in qrels.items() if any(grade > 0 for grade in judged.values())}
    return LegalCollection(found.name, articles, {query: found.queries[query] for query in kept}, kept)


def _named(
    passage: Mapping[str, Any], ids: Mapping[tuple[str, str], list[str]], texts: Mapping[str, str], where: str
) -> str:
    """The id of the passage that a question names: by document and number; of several, the one with its text."""
    place = _place(passage, where)
    found = ids.get(place, [])
    if len(found) > 1:
        text = " ".join(str(_field(passage, "Passage", where)).split())
        found = [name for name in found if " ".join(texts[name].split()) == text]
    if not found:
        raise InputError(
            f"{where} names passage {place[1]!r} of document {place[0]}, which is not among the documents."
        )
    return found[0]


def _place(row: Mapping[str, Any], where: str) -> tuple[str, str]:
    return str(_field(row, "DocumentID", where)), str(_field(row, "PassageID", where))


def _rows(paths: Sequence[Path], folder: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Place (for errors) and content of each object in JSON files of lists."""
    if not paths or not all(path.is_file() for path in paths):
        raise InputError(
            f"{folder} is not ObliQA: it needs corpus.jsonl, queries.jsonl and qrels/, or ObliQA_<split>.json beside "
            "StructuredRegulatoryDocuments/*.json."
        )
    for path in paths:
        try:
            rows = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise InputError(f"{path} cannot be read as JSON ({error}). Fetch it again.") from error
        if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
            raise InputError(f"{path} holds no list of objects. Fetch it again.")
        for number, row in enumerate(rows, 1):
            yield f"{path}, entry {number},", row


def _field(row: Mapping[str, Any], name: str, where: str) -> Any:
    if name not in row:
        raise InputError(f"{where} has no {name}; it has {', '.join(row) or 'nothing'}.")
    return row[name]


# -- COLIEE ----------------------------------------------------------------------------------------------------------


def load_coliee(code: Path, pairs: Sequence[Path]) -> LegalCollection:
    """A civil code and the questions of COLIEE's XML files. InputError: a file is not as the layout says, an id is
    doubled, or a question names an article that the code lacks.
    """
    try:
        articles = parse_code(code.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{code} cannot be read ({error}). Give the code as UTF-8 text.") from error
    queries: dict[str, str] = {}
    qrels: dict[str, dict[str, int]] = {}
    for path in pairs:
        for name, relevant, question in _pairs(path):
            if name in queries:
                raise InputError(f"{path} repeats the pair {name!r}; ids must differ.")
            queries[name], qrels[name] = question, dict.fromkeys(relevant, 1)
    return LegalCollection("coliee", articles, queries, qrels)


def parse_code(text: str) -> dict[str, Article]:
    """The articles of a code by number ("3", "3-2"), in order; the heading is the open ones, then the article's title.

    InputError: a number comes twice, an article has no text, or there are none.
    """
    opened: dict[str, str] = {}
    title = ""
    found: dict[str, tuple[str, list[str]]] = {}
    body: list[str] | None = None
    for line in (line.strip() for line in text.splitlines()):
        if heading := _HEADING.match(line):
            level = LEVELS.index(heading[1])
            opened = {name: held for name, held in opened.items() if LEVELS.index(name) < level} | {heading[1]: line}
            title, body = "", None
        elif named := _TITLE.fullmatch(line):
            title = named[1].strip()
        elif article := _ARTICLE.match(line):
            number = article[1].rstrip(".:")
            if number in found:
                raise InputError(f"The code has two articles {number!r}. Give each number once.")
            body = [article[2]] if article[2] else []
            found[number] = (" > ".join([*opened.values(), *([title] if title else [])]), body)
            title = ""
        elif line and body is not None:
            body.append(line)
    if not found:
        raise InputError(
            'The code holds no line that begins with "Article", so no article. Give its text, a line each.'
        )
    return {number: Article(number, "\n".join(lines), path or None) for number, (path, lines) in found.items()}


def _pairs(path: Path) -> Iterator[tuple[str, list[str], str]]:
    """Id, numbers of the relevant articles, and question of each pair of an XML file."""
    from lxml import etree

    try:
        parser = etree.XMLParser(resolve_entities=False, no_network=True)
        root = etree.parse(str(path), parser).getroot()
    except (OSError, etree.XMLSyntaxError) as error:
        raise InputError(f"{path} cannot be read as XML ({error}). Fetch it again.") from error
    for pair in root.iter("pair"):
        name = pair.get("id") or ""
        cited, question = (pair.findtext(part) or "" for part in ("t1", "t2"))
        numbers = [match[1].rstrip(".:") for line in cited.splitlines() if (match := _ARTICLE.match(line.strip()))]
        if not name or not numbers or not question.strip():
            raise InputError(
                f"{path}: the pair {name!r} cites {len(numbers)} articles and asks {question.strip()[:40]!r}; it needs "
                'an id, at least one line of t1 that begins with "Article", and a question in t2.'
            )
        yield name, list(dict.fromkeys(numbers)), " ".join(question.split())


# -- scores ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class AnswerScores:
    """How right the articles are that were given for one question."""

    precision: float
    recall: float
    f2: float


def answer_scores(answers: Mapping[str, Sequence[str]], qrels: Qrels) -> dict[str, AnswerScores]:
    """For each question of `qrels` the scores of its answers, as many as were given; none at all score 0.

    InputError: no judgements, or an article comes twice.
    """
    if not qrels:
        raise InputError("There are no judgements (the qrels are empty), so nothing can be scored.")
    scores = {}
    for query, judged in qrels.items():
        given = list(answers.get(query, ()))
        if len(set(given)) < len(given):
            raise InputError(f"Question {query!r} was answered by an article twice: {', '.join(given)}. Give it once.")
        right = {article for article, grade in judged.items() if grade > 0}
        hits = len(right & set(given))
        precision, recall = hits / max(1, len(given)), hits / max(1, len(right))
        scores[query] = AnswerScores(precision, recall, f2(precision, recall))
    return scores


def f2(precision: float, recall: float) -> float:
    """5 P R / (4 P + R); 0 where both are 0."""
    return 5 * precision * recall / (4 * precision + recall) if precision + recall else 0.0


def first_answers(run: Mapping[str, Mapping[str, float]], most: int = 1) -> dict[str, list[str]]:
    """The `most` best articles of each question, best first."""
    if most < 1:
        raise InputError(f"{most} answers to a question were asked for; it needs at least 1.")
    return {query: ranked(scores, query)[:most] for query, scores in run.items()}


def mean_scores(scores: Mapping[str, AnswerScores]) -> dict[str, float]:
    """The means over questions: precision, recall, f2."""
    names = ("precision", "recall", "f2")
    return {name: sum(getattr(one, name) for one in scores.values()) / len(scores) for name in names}


def legal_scores(run: Mapping[str, Mapping[str, float]], qrels: Qrels, *, most: int = 1) -> dict[str, float]:
    """Means over the questions of `qrels`: precision, recall and f2 of the first `most` articles, and `METRICS`."""
    answers = first_answers({query: run.get(query, {}) for query in qrels}, most)
    return mean_scores(answer_scores(answers, qrels)) | evaluate(
        {query: dict(scores) for query, scores in run.items()}, qrels, METRICS
    )


@dataclass(frozen=True, slots=True)
class Bootstrap:
    """A difference of means with its 95 % interval, and the two-sided p-value of no difference."""

    difference: float
    low: float
    high: float
    p_value: float


def paired_bootstrap(
    one: Mapping[str, float], other: Mapping[str, float], *, rounds: int = 10_000, seed: int = 0
) -> Bootstrap:
    """The mean of `one` less that of `other`, over questions drawn anew with return, `rounds` times.

    The p-value is twice the share of draws on the rarer side of 0 (Efron and Tibshirani, 1993, chapter 15), and never
    0: the difference seen counts as a draw. Nor is it below 2^(1 - N), where N questions differ: the chance that all do
    so to one side, which draws of few questions cannot tell. InputError: the questions are not the same, are none, a
    value is no finite number, or `rounds` is below 1.
    """
    if not one or one.keys() != other.keys() or rounds < 1:
        raise InputError(
            f"A paired bootstrap got {len(one)} and {len(other)} questions and {rounds} rounds; it needs the same "
            "questions on both sides, and at least one of each."
        )
    differences = np.array([one[query] - other[query] for query in one], dtype=np.float64)
    if not np.isfinite(differences).all():
        query = list(one)[int(np.isfinite(differences).argmin())]
        raise InputError(f"Question {query!r} has {one[query]} and {other[query]}; a bootstrap needs finite numbers.")
    generator = np.random.default_rng(seed)
    means = np.empty(rounds)
    for first in range(0, rounds, 1000):  # a bounded piece of memory at a time
        size = (min(1000, rounds - first), len(differences))
        means[first : first + size[0]] = differences[generator.integers(0, len(differences), size)].mean(axis=1)
    rarer = min(int((means <= 0).sum()), int((means >= 0).sum()))
    low, high = np.quantile(means, [0.025, 0.975])
    least = 0.5 ** (int(np.count_nonzero(differences)) - 1)
    p_value = min(1.0, max(least, 2 * (1 + rarer) / (1 + rounds)))
    return Bootstrap(float(differences.mean()), float(low), float(high), p_value)
