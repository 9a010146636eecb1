"""Claims and what they cite, true and false: made from question answering, from passages, and from checked claims.

xquad      a question with its wh-phrase replaced by its answer is a statement in other words than the paragraph's;
           false: the answer exchanged for another number or name, a "not", the next paragraph of the article
recorded   the same with questions of two hops, and the two passages that bear the answer out together
wikipedia  a passage's sentence, retold (small words dropped and exchanged, clauses moved, a lead-in); false: one of
           its numbers or names exchanged, a "not", the rest of the passage without that sentence
scifact    claims that experts wrote and checked against abstracts: supported, contradicted

Each alteration changes one thing of a true claim, so that a false one is as near as it can be. Draws are by seed.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from foveal.evaluation.answers import contains
from foveal.evaluation.files import json_lines, text_in
from foveal.retrieval.terms import terms
from foveal.text.units import sentences
from foveal.types import Passage, Span


def _listed(words: str) -> list[str]:
    return words.split()


TRUE = "true"
NUMBER, NAME, NAME_NEAR, NEGATION, NEXT, CONTRADICTED = (
    "number exchanged", "name exchanged", "name exchanged for one of the passage", "negated", "next sentence cited",
    "contradicted by experts",
)  # fmt: skip
NEGATED = re.compile(r"\b(is|was|are|were|has|had|can|could|will|would|did|does|do)\b(?! not)")
_DIGITS = re.compile(r"(?<![\w.])\d[\d,]*(?:\.\d+)?(?![\w])")
_RUN = re.compile(r"(?<=[a-z,;] )[A-Z][\w'’-]+(?: (?:of |de |van |von )?[A-Z][\w'’-]+)*")
_WH = re.compile(
    r"\b(?:in |on |at |to |for |from |of |with |by )?"
    r"(?:how many|how much|how long|how old|how far|who|whom|whose|what|which|when|where|why|how)\b"
    r"(?: (?:year|years|city|country|day|date|type of|kind of|name of))?",
    re.IGNORECASE,
)


LEADS = (
    "", "", "", "The record shows that", "It is often pointed out that", "As several accounts agree,", "Notably,",
    "What stands out is this:", "For those who follow the subject,", "Seen from today,", "In short,",
)  # fmt: skip
OTHER_WORDS = dict(
    pair.split("=")
    for pair in _listed(
        "film=movie movie=film famous=well-known known=recognised located=situated near=close "
        "large=big small=little began=started started=began built=constructed founded=established "
        "created=made made=produced released=issued wrote=penned written=authored directed=helmed "
        "played=performed won=took received=got often=frequently popular=well-liked "
        "important=significant main=chief company=firm area=region town=community people=inhabitants "
        "children=offspring died=passed lived=resided moved=relocated worked=served called=named "
        "also=likewise several=various many=numerous most=nearly between=among during=throughout "
        "because=since although=though"
    )
)
"""Words that a retelling puts in the place of others."""


@dataclass(frozen=True)
class Pair:
    """A claim, the texts that it cites, and of which kind it is; `group` is what it was made from."""

    claim: str
    passages: tuple[Passage, ...]
    kind: str
    group: str

    @property
    def true(self) -> bool:
        """Whether the texts bear the claim out."""
        return self.kind == TRUE


def xquad_pairs(path: Path, *, seed: int, most: int | None = None) -> list[Pair]:
    """True and false claims from XQuAD's questions, one of each kind that can be made of a question."""
    draw = np.random.default_rng([seed, 1])
    articles = json.loads(text_in(path))["data"]
    asked = [
        (number, at, article["title"].replace("_", " "), article["paragraphs"], one)
        for number, article in enumerate(articles)
        for at, paragraph in enumerate(article["paragraphs"])
        for one in paragraph["qas"]
    ]
    names = _names(one["answers"][0]["text"] for *_, one in asked)
    chosen = [asked[place] for place in draw.permutation(len(asked))[: most or len(asked)]]
    return [pair for one in chosen for pair in _of_question(one, names, draw)]


def _of_question(asked: tuple[int, int, str, Any, Any], names: Sequence[str], draw: np.random.Generator) -> list[Pair]:
    number, at, title, paragraphs, one = asked
    group = f"xquad-{number}"
    cited = (_passage(f"{group}-{at}", paragraphs[at]["context"], title),)
    following = (_passage(f"{group}-{at}-next", paragraphs[(at + 1) % len(paragraphs)]["context"], title),)
    return from_question(one["question"], one["answers"][0]["text"], cited, following, names, draw, group)


def from_question(
    question: str,
    answer: str,
    cited: tuple[Passage, ...],
    wrong: tuple[Passage, ...],
    names: Sequence[str],
    draw: np.random.Generator,
    group: str,
) -> list[Pair]:
    """The true claim of a question and its answer, and false ones; `wrong` are passages that do not bear it out."""
    claim = statement(question, answer)
    if claim is None:
        return []
    text = "\n".join(f"{one.heading or ''} {one.text}" for one in cited)
    others: dict[str, str | None] = {}
    if other := another_number(answer, text, draw):
        others[NUMBER] = other
    elif is_name(answer):
        others[NAME] = _other_name(answer, names, text, draw)
        others[NAME_NEAR] = _other_name(answer, _names(_RUN.findall(text)), None, draw)
    pairs = [Pair(claim, cited, TRUE, group), Pair(claim, wrong, NEXT, group)]
    pairs += [Pair(str(statement(question, name)), cited, kind, group) for kind, name in others.items() if name]
    turned = negated(claim)
    return [*pairs, Pair(turned, cited, NEGATION, group)] if turned else pairs


def recorded_pairs(folder: Path, *, seed: int, most: int | None = None) -> list[Pair]:
    """True and false claims from recorded questions of several hops, which rest on two passages each.

    The two are that with the answer and the most words of the question, and that with the most of the question's
    words that this one lacks; what is wrongly cited is the second alone, with the next best in the place of the first.
    """
    draw = np.random.default_rng([seed, 3])
    texts = {row["_id"]: row for _, row in json_lines(_file(folder, "corpus.jsonl"))}
    rows = [row for _, row in json_lines(_file(folder, "queries.jsonl")) if row["judged_correct"] and row["steps"]]
    rows = [row for row in rows if " or " not in row["text"] and len(row["answers"][0]) > 3]  # no comparisons, no yes
    names = _names(row["answers"][0] for row in rows)
    pairs: list[Pair] = []
    for place in draw.permutation(len(rows)):
        row = rows[place]
        among = [texts[name] for name in dict.fromkeys(one for step in row["steps"] for one in step["passages"])]
        if chosen := _two(row["text"], row["answers"][0], among):
            cited, wrong = chosen
            pairs += from_question(row["text"], row["answers"][0], cited, wrong, names, draw, row["_id"])
        if most and len({one.group for one in pairs}) >= most:
            break
    return pairs


def _two(question: str, answer: str, among: Sequence[Any]) -> tuple[tuple[Passage, ...], tuple[Passage, ...]] | None:
    wanted = set(terms(question))

    def words(one: Any) -> set[str]:
        return wanted & set(terms(f"{one['title']} {one['text']}"))

    def holds(one: Any) -> bool:
        return contains(f"{one['title']} {one['text']}", answer)

    bearing = max((one for one in among if holds(one)), key=lambda one: len(words(one)), default=None)
    lacking = [one for one in among if not holds(one)]
    if bearing is None or len(lacking) < 2:
        return None
    other, third = sorted(lacking, key=lambda one: -len(words(one) - words(bearing)))[:2]
    first, second, spare = (_passage(one["_id"], one["text"], one["title"]) for one in (bearing, other, third))
    return (first, second), (second, spare)


def statement(question: str, answer: str) -> str | None:
    """The question with its wh-phrase replaced by the answer; None where there is no such phrase."""
    found = _WH.search(question)
    if found is None:
        return None
    said = f"{question[: found.start()]}{answer}{question[found.end() :]}".strip().rstrip("?").strip()
    return f"{said[:1].upper()}{said[1:]}."


def passage_pairs(
    texts: Iterable[tuple[str, str, str]], *, seed: int, most: int, worn_share: float = 0.25
) -> list[Pair]:
    """True and false claims from passages (id, title, text) of three sentences and more, one sentence of each."""
    draw = np.random.default_rng([seed, 2])
    rows = [row for row in texts if len(_pieces(row[2])) >= 3]
    names = _names(name for _, _, text in rows for name in _RUN.findall(text))
    pairs: list[Pair] = []
    for place in draw.permutation(len(rows))[:most]:
        pairs += _of_passage(rows[place], names, draw, worn_share)
    return pairs


def _of_passage(row: tuple[str, str, str], names: Sequence[str], draw: np.random.Generator, share: float) -> list[Pair]:
    name, title, text = row
    pieces = _pieces(text)
    said = pieces[int(draw.integers(len(pieces)))]
    if len(said.split()) < 6:
        return []
    whole = _passage(name, text, title)
    rest = _passage(f"{name}-rest", text.replace(said, "", 1), title)
    true = worn(said, draw, share)
    altered = {
        NUMBER: another_number(true, text, draw),
        NAME: _with_other_name(true, lambda old: _other_name(old, names, text, draw), draw),
        NAME_NEAR: _with_other_name(true, lambda old: _other_name(old, _names(_RUN.findall(text)), None, draw), draw),
        NEGATION: negated(true),
    }
    made = [Pair(claim, (whole,), kind, name) for kind, claim in altered.items() if claim]
    return [Pair(true, (whole,), TRUE, name), *made, Pair(true, (rest,), NEXT, name)]


def scifact_pairs(folder: Path, split: str) -> list[Pair]:
    """Claims with the abstracts that experts checked them against."""
    queries = {row["_id"]: row["text"] for _, row in json_lines(_file(folder, "queries.jsonl"))}
    texts = {row["_id"]: row for _, row in json_lines(_file(folder, "corpus.jsonl"))}
    seen: dict[tuple[str, str], str] = {}
    for _, row in json_lines(_file(folder, "evidence.jsonl")):
        if row["split"] == split:
            seen[row["query-id"], row["corpus-id"]] = row["label"]
    return [
        Pair(
            queries[query],
            (_passage(document, texts[document]["text"], texts[document]["title"]),),
            TRUE if label == "SUPPORT" else CONTRADICTED,
            f"scifact-{document}",
        )
        for (query, document), label in seen.items()
    ]


def corpus_texts(folder: Path, without: frozenset[str] = frozenset()) -> list[tuple[str, str, str]]:
    """Id, title and text of a collection's passages, but for those with a title of `without`."""
    rows = (row for _, row in json_lines(_file(folder, "corpus.jsonl")))
    return [(row["_id"], row["title"], row["text"]) for row in rows if row["title"] not in without]


def _file(folder: Path, name: str) -> Path:
    return next((folder / f"{name}{end}" for end in ("", ".gz") if (folder / f"{name}{end}").is_file()), folder / name)


# -- alterations ------------------------------------------------------------------------------------------------------


def another_number(claim: str, text: str, draw: np.random.Generator) -> str | None:
    """The claim with one of its numbers exchanged for one of like size that the text does not hold."""
    found = list(_DIGITS.finditer(claim))
    if not found:
        return None
    one = found[int(draw.integers(len(found)))]
    value = one[0].replace(",", "").rstrip(".")
    for _ in range(20):
        other = _other_digits(value, draw)
        if other not in text.replace(",", "") and other != value:
            shown = f"{int(other):,}" if "," in one[0] and other.isdigit() else other
            return f"{claim[: one.start()]}{shown}{claim[one.end() :]}"
    return None


def _other_digits(value: str, draw: np.random.Generator) -> str:
    if len(value) == 4 and value.isdigit() and 1000 <= int(value) <= 2100:
        return str(int(value) + int(draw.integers(1, 30)) * int(draw.choice([-1, 1])))
    places = [at for at, digit in enumerate(value) if digit.isdigit()]
    at = places[int(draw.integers(len(places)))]
    digit = str(draw.choice([one for one in "123456789" if one != value[at]]))
    return value[:at] + digit + value[at + 1 :]


def _with_other_name(claim: str, other: Callable[[str], str | None], draw: np.random.Generator) -> str | None:
    runs = list(_RUN.finditer(claim))
    if not runs:
        return None
    one = runs[int(draw.integers(len(runs)))]
    name = other(one[0])
    return f"{claim[: one.start()]}{name}{claim[one.end() :]}" if name else None


def _other_name(old: str, names: Sequence[str], text: str | None, draw: np.random.Generator) -> str | None:
    """A name without a word of the old one; with `text`, none whose last word stands there."""
    mine = set(old.split())
    for place in draw.permutation(len(names))[:50]:
        words = names[place].split()
        if not mine & set(words) and (text is None or words[-1] not in text):
            return str(names[place])
    return None


def negated(claim: str) -> str | None:
    """The claim with a "not" behind its first auxiliary; None where it has none, or a "not"."""
    if re.search(r"\b(?:not|never|no)\b|n't", claim):
        return None
    found = NEGATED.search(claim)
    return f"{claim[: found.end()]} not{claim[found.end() :]}" if found else None


def worn(sentence: str, draw: np.random.Generator, share: float) -> str:
    """A sentence as it is retold: some small words dropped, some exchanged, brackets out, clauses moved, a lead-in."""
    text = re.sub(r"\s*\([^)]*\)", "", sentence).strip()
    kept = [word for word in text.split() if word[:1].isupper() or re.search(r"\d", word) or draw.random() >= share]
    told = [OTHER_WORDS.get(word, word) if draw.random() < 0.7 else word for word in kept]
    clauses = " ".join(told).rstrip(".").split(", ")
    if len(clauses) == 2 and draw.random() < 0.5:
        clauses = clauses[::-1]
    said = ", ".join(clauses)
    lead = LEADS[int(draw.integers(len(LEADS)))]
    return f"{lead} {said}." if lead else f"{said[:1].upper()}{said[1:]}."


def _names(found: Iterable[str]) -> list[str]:
    return [one for one in dict.fromkeys(found) if is_name(one)]


def is_name(text: str) -> bool:
    """Whether every word but "of" and the like has a capital, and none a digit."""
    words = [word for word in text.split() if word not in ("of", "the", "de", "van", "von", "and")]
    return (
        bool(words)
        and len(words) < 6
        and all(re.fullmatch(r"[A-Z][^\W\d]*[\w'’.-]*", word) for word in words)
        and not re.search(r"\d", text)
    )


def _pieces(text: str) -> list[str]:
    return [text[start:end].strip() for start, end in sentences(text) if text[start:end].strip()]


def _passage(name: str, text: str, title: str | None = None) -> Passage:
    return Passage(Span(name, 0, len(text)), text, title)
