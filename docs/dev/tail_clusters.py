"""How far RetrievalAttention's output lies from full attention's, by the clusters that stand for what was not found.

    python docs/dev/tail_clusters.py                  # after `foveal bench memory-retrieval`, whose text it takes

The exact best keys of every head of the bench's sample, at 32,768 and 131,072 tokens, half of its test queries. A bench
of another version of the code reads the text anew, which takes a quarter of an hour.
"""

from __future__ import annotations

import sys
from statistics import fmean

from foveal.attention.kernel import merge
from foveal.attention.memory_parts import Scores, Tail, Window, read_found
from foveal.attention.roar_graph import Found
from foveal.attention.rows import Rows
from foveal.bench.memory_retrieval_data import HEADS, LAYERS, LONG, Case, read_text
from foveal.bench.memory_retrieval_search import _error, _over
from foveal.bench.settings import BenchSettings

KEYS = (100, 200, 300, 400)
CLUSTERS = (1, 8, 32, 64)


def errors(case: Case) -> dict[tuple[int, int], float]:
    """(best keys, clusters) -> the error of the output."""
    asked = case.tests[::2]
    scores = Scores(asked.shape[1] ** -0.5)
    seen = Window(case.window_keys[None], case.window_values[None], 0).attend(asked[:, None], scores)
    products = asked @ case.keys.T
    whole = merge([seen, _over(scores(products), case.values)])[0]
    best = products.topk(max(KEYS), 1)
    tails = {count: Tail.of(case.keys[None], case.values[None], count) for count in CLUSTERS}
    told = {}
    for k in KEYS:
        found = Found(best.indices[:, None, :k], best.values[:, None, :k], best.indices[:, :0])
        both = merge([seen, read_found(found, Rows(case.values[None]), scores)])
        lowest = scores(found.products).amin(-1)
        for count, tail in tails.items():
            output = merge([both, tail.beyond(asked[:, None], lowest, scores.scale)])[0]
            told[k, count] = _error(output, whole)
    return told


def main() -> None:
    """Print a table for each length."""
    text = read_text(BenchSettings(), LONG)
    for length in (32_768, text.tokens):
        found = [errors(text.case(layer, head, length)) for layer in LAYERS for head in HEADS]
        sys.stdout.write(f"{length:,} tokens, {len(found)} heads\n")
        for k in KEYS:
            shown = (f"{count} clusters {fmean(one[k, count] for one in found):.4f}" for count in CLUSTERS)
            sys.stdout.write(f"  {k} keys: {', '.join(shown)}\n")


if __name__ == "__main__":
    main()
