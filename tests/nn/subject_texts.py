"""Invented texts of common words in which two words of a subject stand; the label is the subject."""

from __future__ import annotations

import numpy as np

from foveal.evaluation.labelled import LabelledText

SUBJECTS = {
    "water": ("pump", "valve", "pipe", "river", "flow"),
    "sky": ("star", "moon", "comet", "orbit", "cloud"),
    "bread": ("flour", "oven", "dough", "yeast", "salt"),
}
COMMON = (
    "the",
    "old",
    "keeper",
    "of",
    "house",
    "wrote",
    "that",
    "it",
    "was",
    "there",
    "again",
    "nobody",
    "knew",
    "why",
)


def texts(count: int = 150, *, seed: int = 0, labels: dict[str, str] | None = None) -> list[LabelledText]:
    """As many, the subjects in turn; `labels` gives them other names."""
    draw, made = np.random.default_rng(seed), []
    for number in range(count):
        subject = list(SUBJECTS)[number % 3]
        words = draw.choice(COMMON, 12).tolist()
        for place in draw.permutation(12)[:2]:
            words[place] = str(draw.choice(SUBJECTS[subject]))
        made.append(LabelledText(" ".join(words).capitalize() + ".", (labels or {}).get(subject, subject)))
    return made
