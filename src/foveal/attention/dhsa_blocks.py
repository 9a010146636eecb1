"""DHSA's second version: blocks of keys for each head and block of queries, without chunks and without a predictor.

    with attach(model, DHSABlocks(density=0.125)):
        model.generate(**inputs)

Each block of 128 queries looks at the same number of key blocks of 32 tokens, a share of the text; the first block and
those of its own queries are always among them, and what comes before so many is seen whole. The others are chosen by

    lines    what the last 128 queries look at, exactly: the most looked-at columns and distances, each half a budget of
             tokens. A column counts for its block, a distance for every block that the queries touch at it
    means    the products of the means of both blocks

Shapes    queries (B, H, Q, d), keys (B, G, K, d) -> blocks (B, H, query blocks of 128, key blocks of 32)
Source    DHSA (Xiong et al., arXiv 2510.24606 v2, ICML 2026): the masks DHSA_vs ("lines") and DHSA_a ("means") of its
          code. Here what is later is left out before anything is chosen (its DHSA_topk chooses first)
Against   dhsa.py, the first version, scores chunks that follow the text; patterns.VerticalSlash keeps lines themselves
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

import torch
from torch import Tensor
from torch.nn.functional import pad

from foveal.attention.blocks import BLOCK, Blocks
from foveal.attention.dhsa import DENSITY, KEY_BLOCK
from foveal.attention.estimates import check_finite, largest, last_masses, to_blocks
from foveal.attention.method import BlockMethod
from foveal.errors import InputError

if TYPE_CHECKING:
    from foveal.attention.attach import Context


@dataclass(frozen=True)
class DHSABlocks(BlockMethod):
    """A share of the key blocks for each head and block of queries, without a predictor (Xiong et al., 2026).

    The second version of DHSA (arXiv 2510.24606 v2). InputError: a value out of its range.
    """

    density: float = DENSITY  # key blocks of each block of queries, as a share of the text's
    evidence: Literal["lines", "means"] = "lines"  # what they are chosen by
    dense_tail: int = BLOCK  # tokens at the end that look at everything
    name: ClassVar[str] = "dhsa-blocks"
    key_block: ClassVar[int] = KEY_BLOCK  # type: ignore[misc]

    def __post_init__(self) -> None:
        """InputError: a value out of its range."""
        if not 0 < self.density <= 1 or self.dense_tail < 0 or self.evidence not in ("lines", "means"):
            raise InputError(
                f"DHSABlocks got density {self.density}, evidence {self.evidence!r}, dense_tail {self.dense_tail}; it "
                "chooses a share above 0 and at most 1 by 'lines' or 'means', and a tail has 0 tokens or more."
            )

    def count_for(self, keys: int) -> int:
        """Key blocks of each block of queries: at least the first one and those of its own."""
        return max(1 + self.query_block // self.key_block, int(self.density * keys / self.key_block))

    def prefill(self, query: Tensor, key: Tensor, context: Context) -> Blocks | None:
        """The blocks of each head; None where they are all there are.

        InputError: queries and keys that do not fit, or hold NaN or infinity.
        """
        rows, columns = self.grid(query, key)
        count, step = self.count_for(key.shape[2]), self.query_block // self.key_block
        if count >= len(columns):
            return None
        if self.evidence == "means":
            scores = self.mean_scores(query, key, context.scale)
        else:
            scores = self._by_lines(query, key, context, rows, columns)
        causal = columns < rows[:, None] + step
        always = causal & ((columns == 0) | (columns >= rows[:, None]))
        ranked = scores.masked_fill(~causal, -torch.inf).masked_fill(always, torch.inf)
        keep = largest(ranked, count) | self.last(query, key, self.dense_tail)
        return self.blocks(keep & causal, query, key)

    def _by_lines(self, query: Tensor, key: Tensor, context: Context, rows: Tensor, columns: Tensor) -> Tensor:
        """What the last queries' lines give each block (B, H, query blocks, key blocks)."""
        masses = last_masses(query, key, self.query_block, scale=context.scale, softcap=context.softcap)
        check_finite(query, key, *masses)
        half = max(1, self.count_for(key.shape[2]) * self.key_block // 2)
        vertical, slash = (mass * largest(mass, min(half, mass.shape[-1])) for mass in masses)
        sums = pad(slash.cumsum(-1), (1, 0))  # of the distances before each
        nearest = rows[:, None] * self.key_block - (columns + 1) * self.key_block + 1  # of a row's and a block's tokens
        after = nearest + self.query_block + self.key_block - 1
        near, far = (place.clamp(0, sums.shape[-1] - 1) for place in (nearest, after))
        return to_blocks(vertical, self.key_block)[:, :, None] + sums[..., far] - sums[..., near]
