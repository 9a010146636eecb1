"""bench headlines, what has one right answer: ROUGE, Fleiss' kappa, novel n-grams; and how fast features are made."""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from importlib import import_module
from types import ModuleType

import numpy as np

from foveal.evaluation.agreement import fleiss_kappa
from foveal.evaluation.rouge import KINDS, rouge
from foveal.evaluation.tables import Row, largest
from foveal.papers.headline_features import ReadArticle, novelty
from foveal.text.tokens import words

TEXTS = 1000
TELUGU = ("రోడ్డు ప్రమాదంలో ఐదుగురు మృతి", "హైదరాబాద్‌లో భారీ వర్షం")
"""Two headlines without a word in common."""

COUNTS = (
    (0, 0, 0, 0, 14), (0, 2, 6, 4, 2), (0, 0, 3, 5, 6), (0, 3, 9, 2, 0), (2, 2, 8, 1, 1),
    (7, 7, 0, 0, 0), (3, 2, 6, 3, 0), (2, 5, 3, 2, 2), (6, 5, 2, 1, 0), (0, 2, 2, 3, 7),
)  # fmt: skip
KAPPA = 0.2099
"""Of these counts of 14 votes each, worked by hand: mean agreement 0.3780, by chance 0.2128."""


def exact_rows(seed: int) -> Iterator[Row]:
    """Rows that any machine gives alike."""
    yield from rouge_rows(seed)
    yield from kappa_rows(seed)
    yield from novelty_rows()


def rouge_rows(seed: int) -> Iterator[Row]:
    """Telugu, then English beside a plain definition and beside the package, where it is installed."""
    same, other = rouge(TELUGU[0], TELUGU[0]), rouge(TELUGU[0], TELUGU[1])
    for kind in KINDS:
        yield Row.of("ROUGE, one Telugu headline twice", kind, same[kind].f1, at_least=1, at_most=1)
        yield Row.of("ROUGE, two Telugu headlines without a shared word", kind, other[kind].f1, at_least=0, at_most=0)
    pairs = made_up(TEXTS, seed)
    ours = [rouge(*pair) for pair in pairs]
    for kind in KINDS:
        far = largest(*(abs(one[kind].f1 - plain_f1(kind, *pair)) for one, pair in zip(ours, pairs, strict=True)))
        yield Row.of(f"ROUGE beside its plain definition, {TEXTS:,} English pairs", f"{kind}, largest difference", far,
                     at_most=1e-9)  # fmt: skip
    package = _package()
    if package is None:
        note = "not run: pip install 'foveal[bench]'"
        yield Row("ROUGE beside rouge-score", "largest difference", float("nan"), note=note)
        return
    scorer = package.RougeScorer(list(KINDS), use_stemmer=False)
    theirs = [scorer.score(reference, written) for written, reference in pairs]
    for kind in KINDS:
        far = largest(*(abs(one[kind].f1 - their[kind].fmeasure) for one, their in zip(ours, theirs, strict=True)))
        yield Row.of(f"ROUGE beside rouge-score, {TEXTS:,} English pairs", f"{kind}, largest difference", far,
                     at_most=1e-9)  # fmt: skip


def _package() -> ModuleType | None:
    try:
        return import_module("rouge_score.rouge_scorer")
    except ModuleNotFoundError:
        return None


def made_up(count: int, seed: int) -> list[tuple[str, str]]:
    """Pairs of English texts of 0 to 30 words, full of repeats, capitals, signs and numbers."""
    draw = np.random.default_rng(seed)
    vocabulary = [
        *["the", "a", "of", "in", "on", "to", "it"],
        *(f"word{n}" for n in range(12)),
        "Don't",
        "U.S.",
        "3,000",
        "re-open",
        "—",
    ]
    texts = [" ".join(draw.choice(vocabulary, int(draw.integers(0, 31)))) for _ in range(2 * count)]
    return list(zip(texts[::2], texts[1::2], strict=True))


def plain_f1(kind: str, written: str, reference: str) -> float:
    """F1 as it is defined, slowly: lower case, runs of a-z and 0-9, a table for the longest common subsequence."""
    one, other = (re.findall("[a-z0-9]+", text.lower()) for text in (written, reference))
    if kind == "rougeL":
        shared, sizes = table_lcs(one, other), (len(one), len(other))
    else:
        n = int(kind[-1])
        a, b = (Counter(tuple(text[at : at + n]) for at in range(len(text) - n + 1)) for text in (one, other))
        shared, sizes = sum(min(count, b[gram]) for gram, count in a.items()), (a.total(), b.total())
    precision, recall = (shared / max(1, size) for size in sizes)
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def table_lcs(one: Sequence[str], other: Sequence[str]) -> int:
    """The longest common subsequence by the table of all prefixes."""
    row = [0] * (len(other) + 1)
    for word in one:
        before, row = row, [0]
        for at, there in enumerate(other):
            row.append(before[at] + 1 if word == there else max(before[at + 1], row[at]))
    return row[-1]


def kappa_rows(seed: int) -> Iterator[Row]:
    """A table worked by hand, and votes by chance."""
    value = fleiss_kappa(COUNTS)
    yield Row.of("Fleiss' kappa, a table worked by hand", "difference", abs((value or 0) - KAPPA), at_most=5e-5)
    votes = np.random.default_rng(seed).integers(0, 3, (5000, 3))
    by_chance = fleiss_kappa([[int((row == label).sum()) for label in range(3)] for row in votes])
    yield Row.of("Fleiss' kappa, 5,000 items voted on by chance", "absolute value", abs(by_chance or 0), at_most=0.02)


def novelty_rows() -> Iterator[Row]:
    """Cases worked by hand."""
    article = ReadArticle("Five people die in a crash. Police say the road was wet.")
    twice = "die in a crash, die in a crash"
    cases = (
        ("copied", "Police say the road was wet", 1, 0.0),
        ("no shared word", "Storm hits northern coast", 1, 1.0),
        ("one of four words shared", "Storm makes road close", 1, 0.75),
        ("no two shared in a row", "Storm makes road close", 2, 1.0),
        ("a fragment twice counts once", twice, 2, 0.5),
    )
    for name, headline, n, expected in cases:
        found = novelty(words(headline), article, n)
        yield Row.of(f"novel {n}-grams, {name}", "share", found, at_least=expected, at_most=expected)


def pairs_a_second(pairs: Sequence[tuple[str, str]]) -> tuple[float, float, float]:
    """Pairs a second of LEAD-1 and oracle by bits and by the table, and the largest difference."""
    articles = {text: ReadArticle(text) for _, text in pairs}
    held = [(words(headline), articles[text]) for headline, text in pairs]
    started = time.perf_counter()
    fast = [article.evidence(headline)[0] for headline, article in held]
    by_bits = len(pairs) / (time.perf_counter() - started)
    some = held[:: max(1, len(held) // 40)]
    started = time.perf_counter()
    slow = [max((_f1(headline, own) for _, _, own in article.sentences), default=0.0) for headline, article in some]
    by_table = len(some) / (time.perf_counter() - started)
    far = largest(*(abs(a - b) for a, b in zip(fast[:: max(1, len(held) // 40)], slow, strict=True)))
    return by_bits, by_table, far


def _f1(one: Sequence[str], other: Sequence[str]) -> float:
    return 2 * table_lcs(one, other) / (len(one) + len(other)) if one and other else 0.0
