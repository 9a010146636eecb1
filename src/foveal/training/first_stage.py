"""What a training takes from its first stage: the negatives of its examples, and the part of a corpus that the dev
queries are measured over while it trains.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from foveal.training import checkpoints
from foveal.training.examples import Examples, Negatives
from foveal.training.negatives import filled, top_negatives
from foveal.training.searches import Search, run_of


def kept_negatives(
    folder: Path, search: Search, examples: Examples, *, depth: int, spare: int = 0, count: int, seed: int
) -> Negatives:
    """The first `depth` that `search` finds wrong among `depth` + `spare`, at least `count` for each query; kept in
    the run's folder: a second start finds the same. None at all where the count is 0.
    """
    if not count:
        return {}
    path = folder / "negatives.json"
    kept = checkpoints.read(path)
    if kept is None:
        found = top_negatives(run_of(search, examples, depth + spare), examples, depth=depth)
        kept = filled(found, examples, count, seed=seed)
        checkpoints.write(path, kept)
    return kept


def dev_part(dev: Examples, search: Search, most: int, others: Iterable[str] | None = None) -> dict[str, str]:
    """The dev queries' answers, what `search` finds for them, and the first of `others`, up to `most` documents.

    `others` names documents; it is the corpus from its beginning.
    """
    chosen = dict.fromkeys(document for documents in dev.positives.values() for document in documents)
    for found in run_of(search, dev, max(1, most // (2 * len(dev.queries)))).values():
        chosen |= dict.fromkeys(found)
    for document in dev.corpus if others is None else others:
        if len(chosen) >= most:
            break
        chosen.setdefault(document)
    return {document: dev.corpus[document] for document in chosen}
