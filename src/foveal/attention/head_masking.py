"""Masking heads: take the contribution of some heads out of a model, and see what breaks.

    with attach(model, MaskHeads(scores.top(10))):
        model.generate(**inputs)

mode     zero: the heads' output is 0; uniform: they look at everything evenly (the paper's code, which sets their
         logits to 0)
phase    all: in every pass; decode: only where one token is read, so that what was read before keeps its paths (the
         paper's code)

Against   the paper's random control compares tuples with lists, so retrieval heads may be among its random ones; here
          `retrieval_heads.random_heads` draws from heads that score at most 0.1
Source    Wu et al., ICLR 2025 (arXiv 2404.15574), section 4
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, ClassVar

from torch import Tensor

from foveal.attention.dense import dense_attention
from foveal.attention.retrieval_heads import Head, by_layer, heads_here
from foveal.errors import InputError

if TYPE_CHECKING:
    from foveal.attention.attach import Context

MODES = ("zero", "uniform")
PHASES = ("all", "decode")


class MaskHeads:
    """An `AttentionMethod` under which some heads say nothing; the others attend densely.

    `heads`: (layer, head), both from 0. Wu et al., ICLR 2025 (arXiv 2404.15574), section 4.
    """

    takes_sinks: ClassVar[bool] = True

    def __init__(self, heads: Iterable[Head], *, mode: str = "zero", phase: str = "all") -> None:
        """InputError: no such mode or phase. A head that the model does not have is an error when it is run."""
        if mode not in MODES or phase not in PHASES:
            raise InputError(
                f"Masking got mode={mode!r}, phase={phase!r}; modes are {', '.join(MODES)}, phases {', '.join(PHASES)}."
            )
        self.heads = by_layer(heads)
        self.mode, self.phase = mode, phase

    def attend(self, query: Tensor, key: Tensor, value: Tensor, context: Context) -> Tensor | None:
        """The output (B, H, Q, D) with the masked heads silenced; None, dense, where none is to be."""
        masked = list(heads_here(self.heads, context, query.shape[1], what="Masking"))
        if context.sparse_heads is not None:
            masked = [head for head in masked if context.sparse_heads[head]]
        if not masked or (self.phase == "decode" and query.shape[2] > 1):
            return None
        if self.mode == "uniform":
            query = query.clone()
            query[:, masked] = 0
        how: dict[str, Any] = {"scale": context.scale, "softcap": context.softcap, "sinks": context.sinks}
        output = dense_attention(query, key, value, context.mask, **how)
        if self.mode == "zero":
            output = output.clone()
            output[:, masked] = 0
        return output

    def seen(self, rows: Tensor, context: Context) -> Tensor | None:  # noqa: ARG002
        """A recorder shows the model's own attention."""
        return None
