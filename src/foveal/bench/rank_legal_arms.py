"""bench rank-legal: what is trained, and how much is run in full and in quick mode."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from foveal.ranking.attentive_cnn import AttentiveCNNSettings
from foveal.ranking.legal_training import HEAD_RATE
from foveal.ranking.paraformer import PAPER, ParaformerSettings
from foveal.training.articles import FROM_SCRATCH, FROZEN, TUNED, ArticleTraining

CUT, SENTENCES = "sentences", 24
"""How an article is cut, chosen on dev questions with the untrained model, and how many sentences of it are read: of
ObliQA's answers 99.9 % have no more."""


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """How much is run, and how far below its bar a figure over few questions may lie."""

    counts: Mapping[int, tuple[float, float]]  # training questions -> epochs of Paraformer, and of the Attentive CNN
    compared: int  # questions that Paraformer's variants are trained on; one of `counts`
    steps_dev: int  # dev questions that choose among steps
    dev: int  # dev questions that weight and rule are tuned on
    test: int
    candidates: int
    planted: int  # made articles, at most
    cnn: AttentiveCNNSettings
    cut: str = CUT
    slack: float = 0.0  # taken from recall, F2 and gains before they are held against a bar
    times: float = 5.0  # a random order's recall that the Attentive CNN finds alone
    sure: float = 0.05  # the highest p of Paraformer's gain


FULL = Sizes(
    counts={100: (4, 20), 500: (2, 12), 10_000: (1, 8)},
    compared=500,
    steps_dev=60,
    dev=300,
    test=1_000,
    candidates=200,
    planted=300,
    cnn=AttentiveCNNSettings(dimension=256, filters=256),
)
QUICK = Sizes(
    counts={16: (1, 4), 48: (1, 4)},
    compared=48,
    steps_dev=10,
    dev=20,
    test=40,
    candidates=30,
    planted=40,
    cnn=AttentiveCNNSettings(dimension=64, filters=64, attention_units=32),
    slack=0.1,
    times=1.0,
    sure=1.0,
)


@dataclass(frozen=True)
class Arm:
    """A model and how it is trained; `learns`: Paraformer's encoder with it."""

    model: ParaformerSettings | AttentiveCNNSettings
    training: ArticleTraining
    learns: bool = False


def arms(sizes: Sizes) -> dict[str, Arm]:
    """The models that are trained, by name: Paraformer in groups of 17 articles, the Attentive CNN in groups of 33.

    The rows of a batch share their random negatives, so it is the hard ones that cost: few of them are.
    """
    learns = ParaformerSettings(head_rate=HEAD_RATE)
    tuned = replace(TUNED, hard=4, random=12, metric="ndcg@20", candidates=TUNED.dev_depth)
    frozen = replace(FROZEN, metric="ndcg@20", candidates=FROZEN.dev_depth)
    scratch = replace(
        FROM_SCRATCH,
        hard=8,
        random=24,
        dev_queries=sizes.steps_dev,
        dev_depth=sizes.candidates,
        candidates=sizes.candidates,
    )
    return {
        "Paraformer": Arm(learns, tuned, learns=True),
        "Paraformer, mean in place of attention": Arm(replace(learns, attention="mean"), tuned, learns=True),
        "Paraformer, published head": Arm(
            replace(PAPER, head_rate=50.0), replace(tuned, objective="pairs"), learns=True
        ),
        "Paraformer, frozen encoder": Arm(ParaformerSettings(), frozen),
        "Paraformer, published head, frozen encoder": Arm(PAPER, replace(frozen, objective="pairs")),
        "Attentive CNN": Arm(sizes.cnn, scratch),
    }


RATES = {
    "Paraformer, published head, frozen encoder": 1e-3,
    "Paraformer, frozen encoder": 1e-4,
    "Attentive CNN": 1e-3,
}
"""Learning rates; that of the encoders that learn is 3e-5."""
