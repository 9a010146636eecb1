"""How well a model of titles finds documents: R-precision and recall of what it writes for queries with known titles.

title_metrics(model, titles, pairs)               the judge of `training.corpusbrain.train_corpusbrain`
"""

from __future__ import annotations

from collections.abc import Sequence

from foveal.errors import InputError
from foveal.evaluation.kilt import r_precision
from foveal.models.title_models import TitleModel
from foveal.retrieval.constrained_beams import BeamSettings, search_titles
from foveal.retrieval.title_trie import TitleTrie
from foveal.training.corpusbrain_pairs import TitlePair

DEPTHS = (10,)


def written_titles(
    model: TitleModel,
    titles: Sequence[str],
    queries: Sequence[str],
    *,
    k: int = 10,
    settings: BeamSettings | None = None,
) -> list[list[str]]:
    """For each query the best `k` of the titles, best first."""
    trie = TitleTrie.of(model.title_ids(titles), model.end)
    found = search_titles(model, trie, queries, min(k, len(titles)), settings)
    return [[titles[one.title] for one in each] for each in found]


def title_metrics(
    model: TitleModel, titles: Sequence[str], pairs: Sequence[TitlePair], *, settings: BeamSettings | None = None
) -> dict[str, float]:
    """r-precision (for one title: how often it is written first) and recall@10 over the pairs. InputError: none."""
    if not pairs:
        raise InputError(
            "There are no queries with titles to measure by. Hold some out (`hold_out` does), or judge some."
        )
    training = model.model.training
    model.model.eval()
    k = max(*DEPTHS, *(len(pair.titles) for pair in pairs))
    found = written_titles(model, titles, [pair.source for pair in pairs], k=k, settings=settings)
    model.model.train(training)
    made = {"r-precision": [r_precision(one, [pair.titles]) for one, pair in zip(found, pairs, strict=True)]}
    for depth in DEPTHS:
        made[f"recall@{depth}"] = [
            len(set(one[:depth]) & set(pair.titles)) / len(set(pair.titles))
            for one, pair in zip(found, pairs, strict=True)
        ]
    return {name: sum(values) / len(values) for name, values in made.items()}
