"""How good an answer is: the usual metrics of question answering, each 0 to 1, the best over the gold answers.

    score("f1", "It starts on April 25.", ["April 25 , 2018"])

exact       the normalised strings are equal          (SQuAD; Rajpurkar et al., EMNLP 2016)
f1          of the bags of words                      (SQuAD)
recall      share of the gold answer's words found    (ROUGE-1 recall without stems; Lin, 2004)
f1_zh       of the bags of characters                 (LongBench's qa_f1_zh_score cuts words by jieba; here characters)
contains    the answer holds the gold one, at the edges of words
choice      the letter chosen, (A) to (D), is the right one

Normalised  lower case, no punctuation, no English article, single spaces (SQuAD's definition, which joins the parts
            of a hyphenated word); for `f1_zh` also no spaces, and full-width punctuation is punctuation
Empty       an empty string equals only an empty string
"""

from __future__ import annotations

import re
import string
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Sequence

from foveal.errors import InputError, UnknownName

ARTICLES = re.compile(r"\b(a|an|the)\b")
DROPPED = str.maketrans("", "", string.punctuation)
SPACED = "[0-9A-Za-z\u00c0-\u0dff\u10a0-\u177f\u1800-\u1fff]"
"""Characters of the scripts that set words apart by spaces: only beside these can a word be cut in two. Thai, Lao,
Tibetan, Burmese and Khmer do not."""

CHOICE = re.compile(
    r"\((?P<in_brackets>[A-Da-d])\)"
    r"|\A\W*(?P<first>[A-D])(?=[.):,\n]|\s*\Z)"
    r"|\b(?i:answer|option|choice)(?: is)?:? *(?P<named>[A-D])\b"
)


def normalised(text: str) -> str:
    """SQuAD's normal form of an answer."""
    return " ".join(ARTICLES.sub(" ", text.lower().translate(DROPPED)).split())


def normalised_zh(text: str) -> str:
    """The normal form of a Chinese answer: lower case, neither punctuation of any script nor spaces."""
    return "".join(character for character in text.lower() if not _is_dropped(character))


def chosen(answer: str) -> str | None:
    """The letter that an answer chooses: the first in brackets, that opens it ("B."), or is named ("option B")."""
    found = CHOICE.search(answer)
    return next(letter for letter in found.groups() if letter).upper() if found else None


def score(metric: str, answer: str, golds: Sequence[str]) -> float:
    """The best value of `metric` over the gold answers, in 0 to 1.

    UnknownName: no metric is called that. InputError: there is no gold answer.
    """
    if metric not in METRICS:
        raise UnknownName(f"No metric of answers is called {metric!r}. There are: {', '.join(METRICS)}.")
    if not golds:
        raise InputError("An answer came to be scored without any gold answer; give at least one.")
    return max(METRICS[metric](answer, gold) for gold in golds)


def contains(answer: str, gold: str) -> bool:
    """Whether the answer holds the gold one, both normalised; "10" does not stand in "2010", 大学 does in 厦门大学."""
    wanted, text = normalised(gold), normalised(answer)
    return re.search(whole(wanted), text) is not None if wanted else not text


def whole(wanted: str) -> str:
    """A pattern of `wanted` (not empty) where it stands without cutting a word in two."""
    before = f"(?<!{SPACED})" if re.match(SPACED, wanted[0]) else ""
    after = f"(?!{SPACED})" if re.match(SPACED, wanted[-1]) else ""
    return before + re.escape(wanted) + after


def _exact(answer: str, gold: str) -> float:
    return float(normalised(answer) == normalised(gold))


def _f1(answer: str, gold: str) -> float:
    return _bag_f1(normalised(answer).split(), normalised(gold).split())


def _f1_zh(answer: str, gold: str) -> float:
    return _bag_f1(normalised_zh(answer), normalised_zh(gold))


def _recall(answer: str, gold: str) -> float:
    found, wanted = Counter(normalised(answer).split()), Counter(normalised(gold).split())
    return (found & wanted).total() / wanted.total() if wanted else float(not found)


def _contains(answer: str, gold: str) -> float:
    return float(contains(answer, gold))


def _choice(answer: str, gold: str) -> float:
    letter = chosen(gold)
    if letter is None:
        raise InputError(f"The gold answer {gold[:60]!r} names no choice; it needs to open with (A), (B), (C) or (D).")
    return float(chosen(answer) == letter)


def _bag_f1(answer: Iterable[str], gold: Iterable[str]) -> float:
    """2PR / (P + R) of two bags, which is 2 · common / (sum of sizes)."""
    found, wanted = Counter(answer), Counter(gold)
    if not found and not wanted:
        return 1.0
    return 2 * (found & wanted).total() / (found.total() + wanted.total())


def _is_dropped(character: str) -> bool:
    plain = unicodedata.normalize("NFKC", character)  # full-width forms become ASCII
    return character.isspace() or plain in string.punctuation or unicodedata.category(character).startswith("P")


METRICS: dict[str, Callable[[str, str], float]] = {
    "exact": _exact,
    "f1": _f1,
    "recall": _recall,
    "f1_zh": _f1_zh,
    "contains": _contains,
    "choice": _choice,
}
