"""Papers like those that somebody keeps: a linear classifier over tf-idf for each tag, as arxiv-sanity-lite has it.

A tag is what one person put on one list, their own or an open one of others: what others put there is others' taste.

    TagClassifier().scores(texts, {"rl": [3, 17]})          # (N,) floats: 100 times the best tag's decision

Texts    title, abstract and authors of each paper, in one order; a tag is the places of the papers that bear it
Source   karpathy/arxiv-sanity-lite: features and classifier by its settings, which are the defaults here
Needs    scikit-learn (foveal[train]); a tag without a paper, or with all of them, teaches nothing and is left out
Against  `similar.py` needs no training and asks for one paper; this learns what the papers of a tag have in common
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from sqlalchemy import select

from foveal.database import Database
from foveal.errors import InputError
from foveal.papers.schema import AuthorRow, CollectedRow, PaperRow
from foveal.registry import require

Floats = npt.NDArray[np.float64]

SMALL = 500
"""Papers from which the bounds on how many of them have a feature hold."""


@dataclass(frozen=True, kw_only=True)
class TagClassifier:
    """The settings, of features and classifier."""

    most_features: int = 20_000
    least_papers: int = 5  # with a feature
    most_share: float = 0.1  # of papers with a feature
    c: float = 0.01  # inverse strength of regularisation
    iterations: int = 10_000

    def __post_init__(self) -> None:
        if min(self.most_features, self.least_papers, self.iterations) < 1 or not 0 < self.most_share <= 1:
            raise InputError(f"{self} needs counts of 1 or more and a share above 0, at most 1.")
        if not self.c > 0:
            raise InputError(f"A tag's classifier got c={self.c}; it needs a number above 0.")

    def features(self, texts: Sequence[str]) -> Any:
        """Rows (N, features) of a sparse matrix: words and pairs of words, tf-idf with log counts, unit length.

        Of fewer than `SMALL` texts every feature counts: a tenth of them is no measure of what all papers say.
        """
        vectorizer = require("sklearn.feature_extraction.text", extra="train").TfidfVectorizer
        small = len(texts) < SMALL
        made = vectorizer(
            max_features=self.most_features,
            ngram_range=(1, 2),
            min_df=1 if small else self.least_papers,
            max_df=1.0 if small else self.most_share,
            sublinear_tf=True,
            norm="l2",
            stop_words="english",
            strip_accents="unicode",
            token_pattern=r"(?u)\b[a-zA-Z_][a-zA-Z0-9_]+\b",
        )
        return made.fit_transform(texts)

    def decisions(self, rows: Any, marked: Sequence[int]) -> Floats:
        """How far each row lies on the side of the marked ones (N,)."""
        classifier = require("sklearn.svm", extra="train").LinearSVC
        labels = np.zeros(rows.shape[0])
        labels[list(marked)] = 1
        made = classifier(class_weight="balanced", max_iter=self.iterations, tol=1e-6, C=self.c, random_state=0)
        found: Floats = made.fit(rows, labels).decision_function(rows)
        return found

    def scores(self, texts: Sequence[str], tags: Mapping[str, Sequence[int]]) -> Floats:
        """100 times the highest decision over the tags (N,); 0 where no tag, or no text, teaches anything."""
        useful = [marked for marked in tags.values() if 0 < len(set(marked)) < len(texts)]
        if not useful:
            return np.zeros(len(texts))
        try:
            rows = self.features(texts)
        except ValueError:  # no feature is left: titles of function words, or in other letters than the source reads
            return np.zeros(len(texts))
        decisions = np.stack([self.decisions(rows, marked) for marked in useful])
        best: Floats = 100 * decisions.max(axis=0)
        return best


def tastes(database: Database, ids: Sequence[str], person_id: int) -> dict[str, float]:
    """Score of each paper of `ids` by what somebody put on lists; it is learnt over these papers and those kept."""
    own = CollectedRow.person_id == person_id
    with database.reading() as session:
        kept = session.execute(select(CollectedRow.collection_id, CollectedRow.paper_id).where(own)).all()
        wanted = list(dict.fromkeys([*ids, *(paper for _, paper in kept)]))
        rows = session.execute(
            select(PaperRow.id, PaperRow.title, PaperRow.abstract).where(PaperRow.id.in_(wanted))
        ).all()
        names = session.execute(select(AuthorRow.paper_id, AuthorRow.name).where(AuthorRow.paper_id.in_(wanted))).all()
    if not kept:
        return {}
    by: dict[str, list[str]] = {}
    for paper, name in names:
        by.setdefault(paper, []).append(name)
    places = {row.id: place for place, row in enumerate(rows)}
    texts = [" ".join([row.title, row.abstract, *by.get(row.id, ())]) for row in rows]
    tags: dict[str, list[int]] = {}
    for tag, paper in kept:
        if paper in places:
            tags.setdefault(str(tag), []).append(places[paper])
    scores = TagClassifier().scores(texts, tags)
    return {one: float(scores[places[one]]) for one in ids if one in places}
