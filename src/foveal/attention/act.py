"""ACT: a model whose chosen heads give less to attention sinks, for more accurate answers without training.

    with attach(model, ACT({9: [8, 13]}, beta=0.4)) as attached:
        model.generate(**inputs)
    attached.method.counts[9, 8]                     # rows, sinks and mass that were moved: that it really ran

In each chosen head, what later tokens swallow (punctuation, line ends, filler; never the first token) is multiplied by
`beta`, and what is freed goes to all other tokens in proportion (sinks.py has the equations). Sinks are found afresh in
each text. Which heads: `act_search.py`, from labelled examples; a file of them: `act_files.py`.

prefill    one pass over the chosen heads for column sums, then only the sinks' columns; all others attend densely
decoding   column sums and row counts of all rows so far go on from token to token. They are known by the keys of the
           text that they are of: a cache that is cut back, or another text, finds its own sums, or begins anew
identical  beta = 1, no chosen heads, a text without sinks, rows before the first sink, padding

Shapes    queries (B, H, Q, D), keys and values (B, G, K, D); any batch, padding on either side, sliding layers
Refused   static caches and masks of the caller's own; caches that are searched or cut. Beams lose their sums
Source    Yu et al., ICML 2024 (arXiv 2406.15765). Its code is wrong beyond the first pass; decoding here is ours
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from threading import Lock
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor

from foveal.attention.dense import dense_attention
from foveal.attention.owned_layers import layer_of
from foveal.attention.retrieval_heads import heads_here
from foveal.attention.sinks import Chooser, Columns, Heads, Looked, SinkRule, edited, looked
from foveal.errors import InputError

if TYPE_CHECKING:
    from foveal.attention.attach import Context

BETA = 0.4
REMEMBERED = 8
"""Texts whose sums are kept for each layer, and as many single tokens behind them: an answer may be longer, and what it
answers is gone back to, for another question."""


@dataclass
class Count:
    """What was done in one head: rows that went through it, those that were changed, sinks found, attention moved."""

    passes: int = 0
    rows: int = 0
    changed: int = 0
    sinks: int = 0
    mass: float = 0.0  # sum over rows of (1 - beta) w

    @property
    def moved(self) -> float:
        """The share of a row's attention that was moved, on average over all rows."""
        return self.mass / self.rows if self.rows else 0.0


@dataclass(frozen=True, eq=False)
class _Text:
    """The sums of a text so far, known by its last keys and by the sum of its keys, both (B, G, D)."""

    last: Tensor
    total: Tensor
    columns: Columns


class ACT:
    """Chosen heads give `beta` of what sinks took; the rest goes to all other tokens in proportion.

    Attention calibration (Yu et al., ICML 2024, arXiv 2406.15765), in prompts and in decoding; nothing is trained.
    """

    name: ClassVar[str] = "act"

    def __init__(
        self,
        heads: Mapping[int, Sequence[int]],
        *,
        beta: float = BETA,
        rule: SinkRule | None = None,
        columns: Chooser | None = None,
    ) -> None:
        """`heads`: layer -> query heads; `columns` says what is taken from instead of `rule` (a control).

        InputError: beta outside of 0 to 1. A head that the model does not have is an error when it is run.
        """
        if not 0 <= beta <= 1:
            raise InputError(f"ACT got beta {beta}; it is what a sink keeps of its attention, from 0 to 1.")
        self.heads = {layer: sorted(set(own)) for layer, own in heads.items() if own}
        self.beta, self.rule = beta, rule or SinkRule()
        self.columns: Chooser = columns or self.rule
        self.counts: dict[tuple[int, int], Count] = {}
        self._texts: dict[tuple[int, bool], deque[_Text]] = {}  # by layer, and whether a single row ended them
        self._lock = Lock()

    def __getstate__(self) -> dict[str, Any]:
        """For a copy, or another process: without the sums of texts, which are found anew."""
        return {**self.__dict__, "_texts": {}, "_lock": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _lock=Lock())

    def attend(self, query: Tensor, key: Tensor, value: Tensor, context: Context) -> Tensor | None:
        """The output (B, H, Q, D); None, dense attention, where nothing is to be changed."""
        chosen = self._chosen(query, context)
        if not chosen or self.beta == 1:
            return None
        if layer_of(key) is not None:
            raise InputError("ACT needs all keys of a text; a searched or smaller cache has not. Use a plain one.")
        heads = Heads.of(query, key, value, chosen, context.mask, context.scale, context.softcap)
        seen = looked(heads)
        columns = self._so_far(context, key, seen, heads.past)
        sinks = self.columns(columns)
        if not sinks.any():
            self._count(context.layer, chosen, heads, sinks, torch.zeros_like(seen.log_sum))
            return None
        output = dense_attention(query, key, value, context.mask, scale=context.scale, softcap=context.softcap)
        change = edited(heads, seen, output[:, chosen].float(), sinks, self.beta)
        self._count(context.layer, chosen, heads, sinks, change.taken)
        rows = change.taken[..., None] > 0
        told = output.clone()
        told[:, chosen] = torch.where(rows, change.output.to(output.dtype), output[:, chosen])
        return told

    def seen(self, rows: Tensor, context: Context) -> Tensor | None:  # noqa: ARG002
        """A recorder shows the model's own attention."""
        return None

    def _chosen(self, query: Tensor, context: Context) -> list[int]:
        chosen = list(heads_here(self.heads, context, query.shape[1], what="ACT"))
        if context.sparse_heads is None:
            return chosen
        return [head for head in chosen if context.sparse_heads[head]]

    def _so_far(self, context: Context, key: Tensor, seen: Looked, past: int) -> Columns:
        """The columns of these rows and of those that this text had before; they are kept for the next."""
        with self._lock:
            whole, steps = (
                self._texts.setdefault((context.layer, single), deque(maxlen=REMEMBERED)) for single in (False, True)
            )
            window, columns = context.mask.window, seen.columns
            for texts in (whole, steps):
                found = next((one for one in texts if past and _same(one, key[:, :, :past], window)), None)
                if found:
                    columns = columns.behind(found.columns, past)
                    texts.remove(found)  # and to the front: it may be gone on from more than once
                    texts.appendleft(found)
                    break
            mine = steps if past and key.shape[2] - past == 1 else whole
            mine.appendleft(_Text(key[:, :, -1].clone(), _total(key, window), columns))
            return columns

    def _count(self, layer: int, chosen: Sequence[int], heads: Heads, sinks: Tensor, taken: Tensor) -> None:
        real = heads.real_rows
        rows = int(real.sum()) if real is not None else heads.query.shape[0] * heads.query.shape[2]
        told = zip(
            chosen,
            (taken > 0).sum((0, 2)).tolist(),
            sinks.sum((0, 2)).tolist(),
            taken.sum((0, 2)).tolist(),
            strict=True,
        )
        with self._lock:
            for head, changed, found, mass in told:
                count = self.counts.setdefault((layer, head), Count())
                count.passes += 1
                count.rows += rows
                count.changed += changed
                count.sinks += found
                count.mass += (1 - self.beta) * mass


def _same(text: _Text, key: Tensor, window: int | None) -> bool:
    """Whether these keys are the text's. The last alone do not say: in the first layer they are those of a token."""
    last = key[:, :, -1]
    if last.shape != text.last.shape or not torch.equal(last, text.last):
        return False
    return torch.allclose(_total(key, window), text.total, rtol=1e-5, atol=0.05)  # sums in another order


def _total(key: Tensor, window: int | None) -> Tensor:
    """The sum (B, G, D) of the keys that any cache still holds."""
    return key[:, :, -max(1, window - 1) if window else 0 :].sum(2, dtype=torch.float32)
