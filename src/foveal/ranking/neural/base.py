"""What all neural rankers have in common: three tags, word vectors, a score for each pair, and a match matrix to show.

Shapes    `Pairs` of B -> scores (B,), higher is better; match matrix (B, m, n), 0 where there is no word
Source    the tags: Guo et al., "A Deep Look into Neural Ranking Models", IP&M 2020, section 4

A model is a class with a frozen dataclass of settings beside it, `<Class>Settings`, whose fields are plain values.
Fields called `query_length` and `document_length`, where a model needs them, are set to the lengths that texts are cut
at. More padding changes no score (by more than 1e-6), nor does the batch that a pair is in.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, ClassVar, Literal

from torch import Tensor, nn

from foveal.ranges import BELOW_ONE, COUNT, require_settings
from foveal.ranking.neural.inputs import Pairs
from foveal.ranking.neural.matches import cosine_matches
from foveal.ranking.neural.vectors import WordVectors


class NeuralRanker(nn.Module):
    """A score for query and document.

    symmetric     both sides have the same structure: they may change places, with the weights that belong to them
    focus         "representation": each side is read without the other first; "interaction": words are compared first
    granularity   "multiple": phrases or passages count beside words
    """

    name: ClassVar[str]
    symmetric: ClassVar[bool]
    focus: ClassVar[Literal["representation", "interaction", "hybrid"]]
    granularity: ClassVar[Literal["single", "multiple"]]
    needs_words: ClassVar[bool] = False  # it reads `Pairs.query_words` and `document_words`
    bounded: ClassVar[bool] = False  # scores lie within -1 to 1 (a cosine, a tanh): logistic losses scale them up
    middle: ClassVar[float] = 0.0  # the score of an even chance: 0.5 where scores lie within 0 to 1
    trains_vectors: ClassVar[bool] = False  # its word vectors are trained where nothing else is asked for

    def __init__(self, vectors: WordVectors, settings: Any = None) -> None:
        """`settings` is the model's own dataclass; each model puts its default there."""
        super().__init__()
        self.vectors = vectors
        self.settings = settings

    def forward(self, pairs: Pairs) -> Tensor:
        """Scores (B,)."""
        raise NotImplementedError

    def explain(self, pairs: Pairs) -> Tensor:
        """(B, m, n): how well each word of the query matches each of the document; here by the cosine."""
        return cosine_matches(self.vectors(pairs.query), self.vectors(pairs.document), pairs)

    def term_scores(self, pairs: Pairs) -> Tensor | None:  # noqa: ARG002
        """(B, m): what each word of the query adds to the score, where a model's score is such a sum; else None."""
        return None


def perceptron(sizes: Sequence[int], dropout: float = 0.0) -> nn.Sequential:
    """Linear layers from `sizes[0]` to `sizes[-1]` numbers, with ReLU and dropout between them."""
    layers: list[nn.Module] = []
    for inner, outer in pairwise(sizes):
        layers += [nn.ReLU(), nn.Dropout(dropout)] if layers else []
        layers.append(nn.Linear(inner, outer))
    return nn.Sequential(*layers)


def require_sizes(model: str, settings: Any, *names: str) -> None:
    """InputError: a field of that name is no whole number of at least 1, or `dropout` is no share below 1."""
    more = {"dropout": BELOW_ONE} if hasattr(settings, "dropout") else {}
    require_settings(model, settings, **dict.fromkeys(names, COUNT), **more)
