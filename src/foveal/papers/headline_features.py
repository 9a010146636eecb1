"""Numbers that say how a headline stands to its article, and the sentence that bears it out best.

    features = Features(CharacterTfIdf.fit(texts))
    found = features.of([("Five die in crash", article)])      # found.values (1, 8), found.evidence[0] a place in it

All lie in 0 to 1 and none reads a letter's meaning, so that they go over from language to language:

cosine       of TF-IDF rows of headline and article, over character 2-5-grams within words (published: mBERT's subwords)
novel_1, _2  1 - (words in fragments) / (words of the headline); fragments are found from left to right, each the
             longest run that also stands in the article and has n words or more; equal fragments count once
lead1        ROUGE-L's F1 with the article's first sentence
ext_oracle   the highest ROUGE-L F1 with one sentence: the evidence is that sentence (the first of equal ones)
sentence     the highest cosine with one sentence
numbers      share of the headline's numbers that the article lacks; numbers written as words are not read
negation     1 where headline or evidence says no, and the other does not
likelihood   how much likelier a language model finds the headline once it has read (headline_likelihood.py), by a
             logistic curve; slow, so only where it is asked for

Source       the first five: Kanumolu et al., LREC-COLING 2024; extractive fragments: Grusky et al., NAACL 2018
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from foveal.errors import UnknownName
from foveal.evaluation.headlines import check_texts
from foveal.evaluation.rouge import Places
from foveal.evaluation.scripts import script_of
from foveal.text.abbreviations import NEGATIONS
from foveal.text.ngrams import CharacterTfIdf
from foveal.text.tokens import sentences, words
from foveal.training.sparse_rows import SparseRows

FIVE = ("cosine", "novel_1", "novel_2", "lead1", "ext_oracle")
"""Those of the paper."""
PLAIN = (*FIVE, "sentence", "numbers", "negation")
"""All that need no model."""
NAMES = (*PLAIN, "likelihood")

Ints = npt.NDArray[np.int64]
Pair = tuple[str, str]
"""Headline, article."""
Likelihood = Callable[[str, str], float]
"""Headline, context of its article -> nats a token that reading the context gains."""

_NUMBER = re.compile(r"\d+(?:[.,:/]\d+)*")


class ReadArticle:
    """An article as words and sentences, read once for all headlines that are held against it."""

    def __init__(self, text: str, language: str | None = None) -> None:
        """`language` is a key of `ABBREVIATIONS`; None: by the script."""
        self.text = text
        cut = [(start, end, words(text[start:end])) for start, end in sentences(text, language)]
        self.sentences = [(start, end, tuple(held)) for start, end, held in cut if held]
        self.words = tuple(word for _, _, held in self.sentences for word in held)

    @cached_property
    def places(self) -> Mapping[str, list[int]]:
        """Word -> where it stands."""
        found: dict[str, list[int]] = {}
        for place, word in enumerate(self.words):
            found.setdefault(word, []).append(place)
        return found

    @cached_property
    def script(self) -> str:
        """Its script, as `script_of` has it."""
        return script_of(self.text)

    @cached_property
    def numbers(self) -> frozenset[str]:
        """All its numbers."""
        return frozenset(numbers_of(self.places))

    def evidence(self, headline: Sequence[str]) -> tuple[float, int | None]:
        """The highest ROUGE-L F1 of a sentence with the headline's words, and which sentence has it."""
        held = Places(headline)
        best, place = 0.0, None
        for number, (_, _, own) in enumerate(self.sentences):
            score = held.f1(own)
            if place is None or score > best:
                best, place = score, number
        return best, place


@dataclass(frozen=True)
class Extracted:
    """`values` (N, features), and for each pair the characters of its evidence; None where the article has no words."""

    names: tuple[str, ...]
    values: npt.NDArray[np.float32]
    evidence: tuple[tuple[int, int] | None, ...]


@dataclass(frozen=True)
class Features:
    """Makes the features called `names`. UnknownName: there is no such feature."""

    vocabulary: CharacterTfIdf
    names: tuple[str, ...] = PLAIN
    language: str | None = None
    likelihood: Likelihood | None = None

    def __post_init__(self) -> None:
        unknown = next((name for name in self.names if name not in NAMES), None)
        if unknown is not None:
            raise UnknownName(f"No feature of a headline is called {unknown!r}. There are: {', '.join(NAMES)}.")
        if "likelihood" in self.names and self.likelihood is None:
            raise UnknownName("The feature likelihood needs a language model; name one, or leave the feature out.")

    def of(self, pairs: Sequence[Pair]) -> Extracted:
        """The features of each pair. InputError: a text is empty, and which."""
        for place, (headline, article) in enumerate(pairs):
            check_texts(headline, article, of=f" of pair {place}" if len(pairs) > 1 else "")
        articles = {text: ReadArticle(text, self.language) for text in dict.fromkeys(text for _, text in pairs)}
        heads = {text: words(text) for text in dict.fromkeys(text for text, _ in pairs)}
        found = [articles[article].evidence(heads[headline]) for headline, article in pairs]
        columns = {name: np.zeros(len(pairs), np.float32) for name in self.names}
        self._overlaps(pairs, articles, heads, found, columns)
        self._cosines(pairs, articles, heads, columns)
        places = [
            None if at is None else articles[text].sentences[at][:2]
            for (_, text), (_, at) in zip(pairs, found, strict=True)
        ]
        if self.likelihood is not None and "likelihood" in columns:
            for row, ((headline, article), own) in enumerate(zip(pairs, places, strict=True)):
                gain = self.likelihood(headline, context_of(articles[article], own))
                columns["likelihood"][row] = 1 / (1 + np.exp(-gain))
        values = np.array([columns[name] for name in self.names], dtype=np.float32).reshape(len(self.names), len(pairs))
        return Extracted(self.names, np.ascontiguousarray(values.T), tuple(places))

    def _overlaps(
        self,
        pairs: Sequence[Pair],
        articles: Mapping[str, ReadArticle],
        heads: Mapping[str, list[str]],
        found: Sequence[tuple[float, int | None]],
        columns: Mapping[str, npt.NDArray[np.float32]],
    ) -> None:
        for row, ((headline, text), (score, at)) in enumerate(zip(pairs, found, strict=True)):
            told = overlaps(headline, heads[headline], articles[text], at) | {"ext_oracle": score}
            for name in columns.keys() & told.keys():
                columns[name][row] = told[name]

    def _cosines(
        self,
        pairs: Sequence[Pair],
        articles: Mapping[str, ReadArticle],
        heads: Mapping[str, list[str]],
        columns: Mapping[str, npt.NDArray[np.float32]],
    ) -> None:
        if not columns.keys() & {"cosine", "sentence"}:
            return
        head_of, article_of = (places_of([pair[side] for pair in pairs]) for side in (0, 1))
        rows = self.vocabulary.rows(heads.values())
        if "cosine" in columns:
            whole = self.vocabulary.rows(article.words for article in articles.values())
            columns["cosine"][:] = whole.dot(rows, article_of, head_of)
        if "sentence" in columns:
            columns["sentence"][:] = self._best_sentence(list(articles.values()), rows, article_of, head_of)

    def _best_sentence(
        self, articles: Sequence[ReadArticle], heads: SparseRows, article_of: Ints, head_of: Ints
    ) -> npt.NDArray[np.float64]:
        """The highest cosine of each pair's headline with one sentence of its article."""
        held = [self.vocabulary.rows(own for _, _, own in article.sentences) for article in articles]
        spread = np.zeros(heads.width, dtype=np.float32)
        best = np.zeros(len(head_of))
        for place in np.argsort(head_of, kind="stable"):
            row = slice(heads.start[head_of[place]], heads.start[head_of[place] + 1])
            own = held[article_of[place]]
            if not len(own.columns):
                continue
            spread[heads.columns[row]] = heads.values[row]
            products = np.concatenate([[0.0], np.cumsum(spread[own.columns] * own.values, dtype=np.float64)])
            best[place] = (products[own.start[1:]] - products[own.start[:-1]]).max()
            spread[heads.columns[row]] = 0
        return best


def overlaps(headline: str, head: Sequence[str], article: ReadArticle, evidence: int | None) -> dict[str, float]:
    """The features that look at words, of a headline and its words; `evidence` is the number of a sentence."""
    own = article.sentences[evidence][2] if evidence is not None else ()
    first = article.sentences[0][2] if article.sentences else ()
    return {
        "novel_1": novelty(head, article, 1),
        "novel_2": novelty(head, article, 2),
        "lead1": Places(head).f1(first),
        "numbers": missing_numbers(head, article),
        "negation": float(says_no(script_of(headline), head) != says_no(article.script, own)),
    }


def places_of(texts: Sequence[str]) -> Ints:
    """Which of the different texts, in order of their first coming, each text is."""
    number: dict[str, int] = {}
    return np.fromiter((number.setdefault(text, len(number)) for text in texts), np.int64, len(texts))


def fragments(headline: Sequence[str], article: ReadArticle, n: int) -> set[tuple[str, ...]]:
    """The runs of `n` words or more that headline and article share, greedily from left to right."""
    found, at = set(), 0
    while at < len(headline):
        length = longest_run(headline, at, article)
        if length >= n:
            found.add(tuple(headline[at : at + length]))
            at += length
        else:
            at += 1
    return found


def longest_run(headline: Sequence[str], at: int, article: ReadArticle) -> int:
    """Words from place `at` on that stand in a row somewhere in the article."""
    best = 0
    held, most = article.words, len(headline) - at
    for place in article.places.get(headline[at], ()):
        if best and held[place : place + best + 1] != tuple(headline[at : at + best + 1]):
            continue
        length = best or 1
        while length < most and place + length < len(held) and held[place + length] == headline[at + length]:
            length += 1
        best = max(best, length)
        if best == most:
            break
    return best


def novelty(headline: Sequence[str], article: ReadArticle, n: int) -> float:
    """The share of the headline's words that are in no fragment of `n` words or more; 1 where it has no words."""
    if not headline:
        return 1.0
    return 1 - sum(map(len, fragments(headline, article, n))) / len(headline)


def numbers_of(held: Sequence[str] | Mapping[str, object]) -> list[str]:
    """The numbers in words, in ASCII digits, without the commas between thousands."""
    found = []
    for word in held:
        for number in _NUMBER.findall(word):
            plain = "".join(str(unicodedata.decimal(one)) if one.isdecimal() else one for one in number)
            found.append(plain.replace(",", ""))
    return found


def missing_numbers(headline: Sequence[str], article: ReadArticle) -> float:
    """The share of the headline's numbers that the article lacks; 0 where it has none."""
    numbers = numbers_of(headline)
    return sum(one not in article.numbers for one in numbers) / len(numbers) if numbers else 0.0


def says_no(script: str, held: Sequence[str]) -> bool:
    """Whether one of the words says no, in the languages of a script."""
    known = NEGATIONS.get(script, frozenset())
    return any(word in known for word in held)


def context_of(article: ReadArticle, evidence: tuple[int, int] | None, characters: int = 1500) -> str:
    """The article's beginning, and its evidence where that stands further on, in at most so many characters."""
    text = article.text.strip()
    if evidence is None or evidence[1] <= characters or len(text) <= characters:
        return text[:characters]
    own = article.text[evidence[0] : evidence[1]][: characters // 2]
    return f"{text[: characters - len(own) - 3].rstrip()} … {own}"
