"""Tasks that ask for exact words: keywords of a passage, a span of it, a crop of an image; made from any collection.

    keyword          the terms of a passage with the highest tf-idf; the one relevant passage is that one
    part of passage  `length` tokens in a row of a passage, from a place drawn from the seed
    crop             the top-left part of an image, a share of its width and height

Source    the tasks of LexSemBridge: Zhan et al., 2025, arXiv 2508.17858 (P-o-P-n: n of 16, 32, 64, 128, 256)
Form      queries and judgements as in `beir.Collection`; a query's id is its passage's with the task's name before it
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from foveal.errors import InputError
from foveal.evaluation import bm25
from foveal.evaluation.scripts import run_pattern, word_runs

Offsets = Callable[[str], Sequence[tuple[int, int]]]
"""Text -> start and end of each token, such as `Encoder.token_offsets`."""

SHARES = (0.1, 0.2, 0.3, 0.5, 0.8)


@dataclass(frozen=True)
class Task:
    """Queries, what is relevant to each, and how many passages were passed over because they are too short."""

    name: str
    queries: dict[str, str]
    qrels: dict[str, dict[str, int]]
    skipped: int = 0

    def only(self, passages: Iterable[str]) -> Task:
        """The queries that these passages answer."""
        kept = set(passages)
        chosen = {query: found for query, found in self.qrels.items() if found.keys() & kept}
        return Task(self.name, {query: self.queries[query] for query in chosen}, chosen, self.skipped)


@dataclass(frozen=True)
class Keywords:
    """The tf-idf of a collection's terms: words of three letters or more that are no plain numbers."""

    corpus: Mapping[str, str]

    @cached_property
    def rarity(self) -> dict[str, float]:
        """Term -> its `bm25.idf` among the passages."""
        counts = Counter(term for text in self.corpus.values() for term in set(_terms(text)))
        total = len(self.corpus)
        return {term: bm25.idf(total, n) for term, n in counts.items()}

    def of(self, passage: str, count: int) -> list[str]:
        """The `count` terms of a passage with the highest tf-idf, the highest first; ties by the alphabet."""
        held = Counter(_terms(self.corpus[passage]))
        return sorted(held, key=lambda term: (-held[term] * self.rarity[term], term))[:count]


def make_keyword_task(
    corpus: Mapping[str, str],
    k: int = 3,
    seed: int = 0,
    *,
    passages: Sequence[str] | None = None,
    pool: int | None = None,
    keywords: Keywords | None = None,
) -> Task:
    """Each of `passages` (default: all) is asked for by `k` of its terms: the best ones, or `k` drawn from the best
    `pool` where that is given. A passage with fewer than `k` terms is passed over.

    InputError: no passage, `k` below 1, or a pool smaller than it.
    """
    chosen = _chosen(corpus, passages)
    if k < 1 or (pool is not None and pool < k):
        raise InputError(f"A keyword task got k={k}, pool={pool}; it needs at least 1, and a pool of k or more.")
    found, generator = keywords or Keywords(corpus), np.random.default_rng(seed)
    asked = {}
    for passage in chosen:
        terms = found.of(passage, pool or k)
        if len(terms) >= k:
            drawn = sorted(generator.permutation(len(terms))[:k]) if pool else range(k)
            asked[passage] = " ".join(terms[place] for place in drawn)
    return _task(f"keyword-{k}", asked, len(chosen))


def make_part_of_passage_task(
    corpus: Mapping[str, str],
    n: int,
    seed: int = 0,
    *,
    token_offsets: Offsets | None = None,
    passages: Sequence[str] | None = None,
) -> Task:
    """Each of `passages` (default: all) is asked for by `n` of its tokens in a row; shorter ones are passed over.

    `token_offsets`: an encoder's, whose tokens are counted; without it, words. InputError: no passage, `n` below 1.
    """
    chosen = _chosen(corpus, passages)
    if n < 1:
        raise InputError(f"A part-of-passage task got n={n}; it needs at least 1 token.")
    offsets_of, generator, asked = token_offsets or _words, np.random.default_rng(seed), {}
    for passage in chosen:
        offsets = offsets_of(corpus[passage])
        if len(offsets) >= n:
            first = int(generator.integers(len(offsets) - n + 1))
            asked[passage] = corpus[passage][offsets[first][0] : offsets[first + n - 1][1]]
    return _task(f"P-o-P-{n}", asked, len(chosen))


def held_out(corpus: Mapping[str, str], *, count: int = 1000, seed: int = 0) -> tuple[list[str], list[str]]:
    """`count` passages drawn from the collection (or all, if fewer): the half to learn from, and the half held out.

    InputError: fewer than two passages.
    """
    if min(len(corpus), count) < 2:
        raise InputError(f"Of {len(corpus)} passages {count} were to be halved; it needs two or more.")
    names = list(corpus)
    drawn = [names[place] for place in np.random.default_rng(seed).permutation(len(names))[:count]]
    return drawn[len(drawn) // 2 :], drawn[: len(drawn) // 2]


def crop(image: npt.NDArray[np.uint8], share: float) -> npt.NDArray[np.uint8]:
    """The top-left part of an image (H, W, C): `share` of its height and width, a pixel at least."""
    if not 0 < share <= 1:
        raise InputError(f"A crop got the share {share}; it needs to be above 0, and at most 1.")
    height, width = (max(1, round(share * edge)) for edge in image.shape[:2])
    return image[:height, :width]


def recall_at_1(queries: npt.NDArray[np.float32], documents: npt.NDArray[np.float32]) -> float:
    """The share of queries (N, D) whose highest product is with the document, of (N, D), of the same number."""
    return float(((queries @ documents.T).argmax(axis=1) == np.arange(len(queries))).mean())


def _task(name: str, asked: Mapping[str, str], chosen: int) -> Task:
    queries = {f"{name}:{passage}": query for passage, query in asked.items()}
    qrels = {f"{name}:{passage}": {passage: 1} for passage in asked}
    return Task(name, queries, qrels, chosen - len(queries))


def _chosen(corpus: Mapping[str, str], passages: Sequence[str] | None) -> list[str]:
    chosen = list(corpus if passages is None else passages)
    if not chosen:
        raise InputError("There are no passages to make a task of. Give a collection with at least one.")
    unknown = next((passage for passage in chosen if passage not in corpus), None)
    if unknown is not None:
        raise InputError(f"The task was to ask for {unknown!r}, which the collection does not hold.")
    return chosen


def _terms(text: str) -> list[str]:
    return [word for word in word_runs(text.lower()) if len(word) > 2 and not word.isdigit()]


def _words(text: str) -> list[tuple[int, int]]:
    return [found.span() for found in run_pattern().finditer(text)]
