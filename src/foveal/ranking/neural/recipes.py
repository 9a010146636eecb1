"""How each neural ranker learns best, as far as it was tried: what `NeuralSettings.of` starts from.

Chosen by MAP on the dev questions of WikiQA, among three learning rates and two losses, with one seed. The
softmax over one relevant text and four others did better than the hinge for nearly all, by 0.02 to 0.05 for those whose
scores are bounded. These models are small, so that they want larger steps than large ones do; on some thousand pairs
word vectors are better left as they are, which K-NRM and Conv-KNRM train in their papers, on millions of clicks.

DSSM     has millions of numbers and ranks well untrained; larger steps than these undo that within an epoch. The
         paper's 128 numbers of a text are too few to keep all angles of its counts: with 300, the size of the other
         layers, MAP is .637 in place of .630, before training .578 in place of .558
CDSSM    likewise. Where trigrams feed few filters at first it has .616, where they feed all .608 at best; with dropout,
         as MatchZoo has it, it learns by heart more slowly, and has .628
         These figures are over the dev questions and 300 of the training ones, held out; DSSM's of two seeds
K-NRM    adds up idf log(1 + x), for want of vectors of its own by which common words would match little: dev MAP .694,
         the paper's sum of log max(x, 1e-10) .689, log(1 + x) without idf .624; in Cranfield's training folds it
         orders far better by itself
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """The fields of `NeuralSettings`, and the loop's learning rate."""

    learning_rate: float = 3e-3
    loss: str = "softmax"
    train_vectors: bool | None = None  # None: as the model has it
    sizes: Mapping[str, Any] = field(default_factory=dict)


RECIPES: dict[str, Recipe] = {
    "anmm": Recipe(learning_rate=1e-2),
    "cdssm": Recipe(sizes={"output": 300, "dropout": 0.3}),
    "conv-knrm": Recipe(learning_rate=1e-2, train_vectors=False),
    "deeprank": Recipe(learning_rate=1e-2),
    "drmm": Recipe(learning_rate=1e-2),
    "drmm-tks": Recipe(learning_rate=1e-2),
    "dssm": Recipe(learning_rate=3e-4, sizes={"output": 300}),
    "knrm": Recipe(learning_rate=1e-2, train_vectors=False, sizes={"log": "log1p", "words": "idf"}),
    "match-srnn": Recipe(learning_rate=1e-2),
    "pacrr": Recipe(learning_rate=1e-2),
}
"""Name -> recipe, where it is not the common one."""


def recipe(name: str) -> Recipe:
    """The recipe of the model called `name`."""
    return RECIPES.get(name, Recipe())
