"""Order candidates anew: rankers that see the query and a passage together (`Ranker.rank`).

cross_encoder   one forward pass over query and passage (monoBERT, MiniLM, ...)
blockrank       a language model reads all candidates at once; where its middle layer looks is the ranking
listwise        its baselines: full attention, windows, yes or no for each passage, retrieval heads
neural/         eighteen neural rankers before BERT: K-NRM, DRMM, …; one trainer, a match matrix to show
sections        documents in sections, such as law: paraformer.py, attentive_cnn.py; legal.py: behind words
by_name         any of them by the name that a person types
cascade         cheap rankers first, dear ones for the best few, within a budget of milliseconds
explanation     which words or sentences matched, of any of them: numbers and a picture (explaining.py makes them)
learned         a model of features: scores and ranks of several retrievers, words, titles, dates

    from foveal.ranking import CrossEncoderRanker
    CrossEncoderRanker.load("cross-encoder/ms-marco-MiniLM-L6-v2").rank(query, library.search(query, k=50))

Names load when they are used; importing this package loads nothing heavy.
"""

from typing import TYPE_CHECKING

from foveal.registry import at_first_use

if TYPE_CHECKING:
    from foveal.ranking.blockrank import BlockRank
    from foveal.ranking.by_name import load_ranker
    from foveal.ranking.cascade import Cascade, Stage
    from foveal.ranking.cross_encoder import CrossEncoderRanker
    from foveal.ranking.feature_ranker import FeatureRanker
    from foveal.ranking.late_ranker import LateRanker
    from foveal.ranking.listwise import ListwiseRanker, PointwiseRanker, RetrievalHeads
    from foveal.ranking.neural.ranker import Neural
    from foveal.ranking.pairwise import PairwiseRanker
    from foveal.ranking.sections import SectionRanker

_HOMES = {
    "BlockRank": "blockrank",
    "Cascade": "cascade",
    "CrossEncoderRanker": "cross_encoder",
    "FeatureRanker": "feature_ranker",
    "LateRanker": "late_ranker",
    "ListwiseRanker": "listwise",
    "Neural": "neural.ranker",
    "PairwiseRanker": "pairwise",
    "PointwiseRanker": "listwise",
    "RetrievalHeads": "listwise",
    "SectionRanker": "sections",
    "Stage": "cascade",
    "load_ranker": "by_name",
}

__all__ = [
    "BlockRank",
    "Cascade",
    "CrossEncoderRanker",
    "FeatureRanker",
    "LateRanker",
    "ListwiseRanker",
    "Neural",
    "PairwiseRanker",
    "PointwiseRanker",
    "RetrievalHeads",
    "SectionRanker",
    "Stage",
    "load_ranker",
]

if not TYPE_CHECKING:  # a type checker that saw it would take any misspelt name for something
    __getattr__ = at_first_use(__name__, _HOMES)


def __dir__() -> list[str]:
    return sorted(__all__)
