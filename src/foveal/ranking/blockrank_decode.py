"""Decoding a document's ID, under the constraint that it is one, exactly: every ID as a branch of one tree.

The tokens of all IDs form a tree behind the prompt (" [" has been read). One pass reads each of its inner nodes, which
see the prompt and their own ancestors. At a node the model's distribution is cut to the tokens that may follow, so an
ID's likelihood is the product along its path; the likelihoods of all IDs sum to 1. The greedy path of it is greedy
decoding, and no beam can lose an ID.

An ID ends where "]" or "," follows: the answer is a list, and a model that is about to name a second document writes
"[1, 10]". By "]" alone 1 would lose to 10 whatever the model thinks of it.

Against    Gupta et al., section 3.4, decode greedily, or by a beam of 10 for a list
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from foveal.ranking.blockrank_forward import read
from foveal.ranking.blockrank_plan import Ask
from foveal.ranking.blockrank_prompt import Prompter, Segments

if TYPE_CHECKING:
    from foveal.models.chat import Cancel

ID_TOKENS = 8
"""Room for an ID behind the prompt."""

Path = tuple[int, ...]


@dataclass(frozen=True)
class IdTree:
    """`follow`: what may come after each beginning of an ID; `nodes`: those that must be read, parents first."""

    follow: dict[Path, list[int]]
    nodes: list[Path]

    @classmethod
    def of(cls, ids: Sequence[Path], ends: Sequence[int]) -> IdTree:
        """Of these IDs, each followed by any of the tokens `ends`."""
        follow: dict[Path, set[int]] = {}
        for tokens in ids:
            for place, token in enumerate(tokens):
                follow.setdefault(tokens[:place], set()).add(token)
            follow.setdefault(tokens, set()).update(ends)
        asked = [path for path, tokens in follow.items() if len(tokens) > 1 and not tokens <= set(ends)]
        needed = {path[:size] for path in asked for size in range(1, len(path) + 1)}
        return cls({path: sorted(tokens) for path, tokens in follow.items()}, sorted(needed, key=lambda p: (len(p), p)))

    def branches(self) -> tuple[tuple[int, int], ...]:
        """The nodes as `Segments.branches`: token and parent."""
        number = {path: place for place, path in enumerate(self.nodes)}
        return tuple((path[-1], number.get(path[:-1], -1)) for path in self.nodes)

    def likelihood(self, ids: Path, ends: Sequence[int], logits: Tensor) -> float:
        """Of one ID, by logits (1 + nodes, vocabulary): those at the prompt's end, then at each node."""
        row = {(): 0, **{path: place for place, path in enumerate(self.nodes, start=1)}}
        total = torch.zeros((), dtype=torch.float32)
        for place in range(len(ids) + 1):
            allowed, right = self.follow[ids[:place]], {ids[place]} if place < len(ids) else set(ends)
            if not right.issuperset(allowed):
                told = logits[row[ids[:place]], allowed].float().log_softmax(0).cpu()
                total = total + told[[number for number, token in enumerate(allowed) if token in right]].logsumexp(0)
        return float(total.exp())


def id_likelihoods(
    model: Any, prompter: Prompter, segments: Segments, *, full: bool = False, cancel: Cancel | None = None
) -> list[float]:
    """The likelihood of each document's ID as the answer; `full` as in `Ask`. Documents of one ID share it evenly."""
    ids = [tuple(prompter.plain(document.number)) for document in segments.documents]
    if len(set(ids)) == 1:
        return [1 / len(ids)] * len(ids)
    tree = IdTree.of(ids, prompter.ends)
    found = read(model, replace(segments, branches=tree.branches()), Ask(rows="query", full=full), cancel=cancel)
    assert found.logits is not None
    logits = found.logits[segments.signal[-1] - segments.signal[0] :]
    told = {tokens: tree.likelihood(tokens, prompter.ends, logits) for tokens in set(ids)}
    return [told[tokens] / ids.count(tokens) for tokens in ids]
