"""What a judge learns from: pairs parted by article, and headlines with a number changed, which nothing bears out."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from itertools import cycle, islice

import numpy as np

from foveal.evaluation.headlines import HeadlineSet
from foveal.papers.headline_features import Ints, Pair
from foveal.training.examples import held_out

_NUMBER = re.compile(r"\d{1,15}")


def split_by_article(pairs: HeadlineSet, *, share: float, seed: int = 0) -> tuple[HeadlineSet, HeadlineSet]:
    """Pairs to learn from, and those of a share of the articles, drawn from the seed. InputError: one article only."""
    held = held_out(sorted({one.article for one in pairs.pairs}), share, seed, what="articles")
    sides = [tuple(one for one in pairs.pairs if (one.article in held) == out) for out in (False, True)]
    return replace(pairs, pairs=sides[0]), replace(pairs, pairs=sides[1])


def changed_number(headline: str, article: str, generator: np.random.Generator) -> str | None:
    """The headline with one of its numbers changed to one that the article lacks; None where it has no number."""
    numbers = list(_NUMBER.finditer(headline))
    if not numbers:
        return None
    chosen = numbers[int(generator.integers(len(numbers)))]
    value = int(chosen[0])
    there = set(map(int, _NUMBER.findall(article)))
    other = next(one for one in range(value + 1 + int(generator.integers(9)), 10**30) if one not in there)
    return headline[: chosen.start()] + str(other) + headline[chosen.end() :]


def with_changed_numbers(pairs: Sequence[Pair], classes: Ints, label: int, seed: int) -> tuple[list[Pair], Ints]:
    """With copies of the best headlines that have a number, the number changed, called `label`.

    Few headlines have one, so each is copied again, with other numbers, until there are as many as best headlines:
    what bears the label for nothing but a number must not drown among all others.
    """
    generator = np.random.default_rng(seed)
    best = [pair for pair, its in zip(pairs, classes, strict=True) if its == 0]
    numbered = [(headline, article) for headline, article in best if _NUMBER.search(headline)]
    added = []
    for headline, article in islice(cycle(numbered), len(best)):
        other = changed_number(headline, article, generator)
        assert other is not None
        added.append((other, article))
    return [*pairs, *added], np.concatenate([classes, np.full(len(added), label, dtype=np.int64)])
