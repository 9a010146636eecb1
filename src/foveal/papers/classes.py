"""The class of a paper by its title and abstract, as a classifier that somebody trained names it; papers to learn from.

    texts = labelled_papers(database)                       # title and abstract, with the first subject
    found = PaperClasses(model, "subjects").of(paper)       # Classified, or None: nothing to read

Off unless foveal.toml names a classifier: classifier = "subjects" (foveal train classifier --papers --name subjects).
Nothing is stored: a paper is classified when its page is asked for, in milliseconds.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from foveal.database import Database
from foveal.errors import InputError
from foveal.evaluation.labelled import LabelledText
from foveal.papers.store import Paper, PaperStore

if TYPE_CHECKING:
    from foveal.nn.classified import Classified
    from foveal.nn.text_classifier import TextClassifier

LEAST = 10
"""Papers that a subject must have to be learnt."""


def text_of(paper: Paper) -> str:
    """What is read of a paper."""
    return f"{paper.title}\n{paper.abstract}"


def labelled_papers(database: Database, *, least: int = LEAST) -> list[LabelledText]:
    """Each paper with its first subject, where `least` papers have it. InputError: fewer than two subjects are left."""
    papers = [one for one in PaperStore(database).all_of() if one.categories and one.abstract.strip()]
    counts = Counter(one.categories[0] for one in papers)
    kept = {subject for subject, count in counts.items() if count >= least}
    if len(kept) < 2:
        raise InputError(
            f"{len(papers)} papers here have a subject, and {len(kept)} subjects have {least} papers or more; it needs "
            "two. Read more papers first (foveal papers update), or learn from files (--data)."
        )
    return [LabelledText(text_of(one), one.categories[0]) for one in papers if one.categories[0] in kept]


@dataclass(frozen=True)
class PaperClasses:
    """A classifier and its name."""

    model: TextClassifier
    name: str

    def of(self, paper: Paper) -> Classified | None:
        """The paper's class; None where it has no word."""
        text = text_of(paper)
        return self.model.classify([text])[0] if self.model.has_words(text) else None
