"""Queries of 2 to 6 words as people type them for a paper that they half remember: made from its title or keywords.

    made = typed_queries([("2605.01234", "Where to Look: A Study", ("sparse attention", "retrieval"))], seed=0)
    made[0]                                  # TypedQuery(paper="2605.01234", text="look study", source="title")
    is_held_out("2605.01234")                # the half that no weight may be tuned on

Title     2 to 6 of its words in their order, without function words: a run of them, or some left out
Keywords  one or two of the paper's, up to 6 words
All in lower case and without signs, as typed. The same paper and seed give the same query. A query may fit other papers
as well: what a search reaches is to be read beside another search's figure for the same queries.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from foveal.retrieval.terms import terms

FEWEST, MOST = 2, 6
"""Words of a query."""

BY_KEYWORDS = 0.4
"""Share of the papers with keywords whose query is made of these."""

WITH_GAPS = 0.4
"""Share of the queries from titles that leave words out in between."""


@dataclass(frozen=True)
class TypedQuery:
    """A query, the paper it is for, and whether it was made of its title or its keywords."""

    paper: str
    text: str
    source: str


def typed_queries(papers: Iterable[tuple[str, str, Sequence[str]]], *, seed: int = 0) -> list[TypedQuery]:
    """A query for each (id, title, keywords) that has enough words."""
    made = (_typed(paper, title, keywords, seed) for paper, title, keywords in papers)
    return [one for one in made if one is not None]


def is_held_out(paper: str) -> bool:
    """Whether the paper belongs to the half that is for measuring only."""
    return hashlib.sha256(f"held out {paper}".encode()).digest()[0] % 2 == 0


def _typed(paper: str, title: str, keywords: Sequence[str], seed: int) -> TypedQuery | None:
    draw = random.Random(f"{seed} {paper}")
    phrases = [words for words in map(terms, keywords) if words]
    if phrases and draw.random() < BY_KEYWORDS:
        draw.shuffle(phrases)
        words = phrases[0] if len(phrases[0]) >= FEWEST else [word for phrase in phrases[:2] for word in phrase]
        source = "keywords"
    else:
        words, source = _of_title(terms(title), draw), "title"
    words = words[:MOST]
    return TypedQuery(paper, " ".join(words), source) if len(words) >= FEWEST else None


def _of_title(words: Sequence[str], draw: random.Random) -> list[str]:
    count = min(len(words), draw.randint(FEWEST, MOST))
    if draw.random() < WITH_GAPS:
        return [words[place] for place in sorted(draw.sample(range(len(words)), count))]
    first = draw.randint(0, len(words) - count)
    return list(words[first : first + count])
