"""Evaluation: metrics, tasks and tables; it knows no system.

    from foveal.evaluation import evaluate
    evaluate(run, qrels, ("ndcg@10", "recall@100"))      # {query: {document: score}}, {query: {document: grade}}

metrics         of rankings, as trec_eval defines them, and a paired test; kilt, legal, rouge, segmentation: of theirs
beir            collections in the BEIR layout; kilt, legal, longdoc, headlines, labelled read others
needle, ruler   facts hidden in long texts; haystack.py plants them, babilong.py asks for several
speed, tables   timings side by side, and the rows that a bench prints; plots.py draws

Names load when they are used; importing this package loads nothing heavy.
"""

from typing import TYPE_CHECKING

from foveal.registry import at_first_use

if TYPE_CHECKING:
    from foveal.evaluation.beir import load_beir
    from foveal.evaluation.metrics import compare, evaluate, per_query, ranked
    from foveal.evaluation.segmentation import pk, windowdiff

_HOMES = {
    "compare": "metrics",
    "evaluate": "metrics",
    "load_beir": "beir",
    "per_query": "metrics",
    "pk": "segmentation",
    "ranked": "metrics",
    "windowdiff": "segmentation",
}

__all__ = ["compare", "evaluate", "load_beir", "per_query", "pk", "ranked", "windowdiff"]

if not TYPE_CHECKING:  # a type checker that saw it would take any misspelt name for something
    __getattr__ = at_first_use(__name__, _HOMES)


def __dir__() -> list[str]:
    return sorted(__all__)
