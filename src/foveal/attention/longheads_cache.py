"""LongHeads, the cache: what all layers keep, which chunks their heads chose, and a picture of that."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from transformers.cache_utils import Cache

from foveal.attention.longheads_layers import LongHeadsLayer
from foveal.attention.owned_layers import SlidingLayer, Turn
from foveal.errors import InputError
from foveal.evaluation.tables import as_text

if TYPE_CHECKING:
    from rich.table import Table

    from foveal.attention.longheads import LongHeads

COLUMNS = 128
"""Chunks of a picture, where there are more these are put together."""


class LongHeadsCache(Cache):
    """The keys and values of a model, in chunks: a `Cache` of transformers, made by `LongHeads.make_cache`.

    `layers` are `LongHeadsLayer`s and `SlidingLayer`s. Afterwards it says which chunks each head chose.
    """

    layers: list[Any]

    def __init__(self, layers: list[LongHeadsLayer | SlidingLayer], method: LongHeads) -> None:
        super().__init__(layers=[*layers])
        self.method = method

    @classmethod
    def empty(cls, config: Any, method: LongHeads) -> LongHeadsCache:
        """A cache for a model of this configuration. InputError: it has layers of another kind."""
        from foveal.attention.retrieval_attention import windows

        turn = Turn()
        return cls(
            [
                method.layer(number, turn) if window is None else SlidingLayer(window)
                for number, window in enumerate(windows(config))
            ],
            method,
        )

    @property
    def memories(self) -> list[LongHeadsLayer]:
        """The layers that see the whole text."""
        return [layer for layer in self.layers if isinstance(layer, LongHeadsLayer)]

    def watch(self, heads: Mapping[int, Sequence[int]]) -> None:
        """From now on keep what these heads, by layer, pay to each token; and count choices from now on."""
        for layer in self.memories:
            layer.watched, layer.looked = list(heads.get(layer.number, ())), None
            if layer.text is not None:
                layer.text.forget_counts()

    def looked(self) -> Tensor:
        """What the watched heads paid to each token of the text since (tokens,)."""
        found = torch.zeros(self.get_seq_length(), dtype=torch.float32)
        for layer in self.memories:
            if layer.looked is not None:
                seen = layer.looked[: len(found)]  # a layer may not have noted the last tokens yet
                found[: len(seen)] += seen
        return found

    def choices(self) -> dict[int, Tensor]:
        """By layer, the share (H, chunks) of the queries of each head that looked at each chunk."""
        return {
            layer.number: layer.text.counts / layer.text.asked
            for layer in self.memories
            if layer.text is not None and layer.text.asked
        }

    def statistics(self) -> dict[str, Any]:
        """What was looked at, by layer and as a mean; shares are of the chunks, or tokens, that were read."""
        layers = {number: _means(shares) for number, shares in self.choices().items()}
        names = sorted({name for one in layers.values() for name in one})
        mean = {name: sum(one[name] for one in layers.values()) / len(layers) for name in names}
        asked = max((one.text.asked for one in self.memories if one.text is not None), default=0)
        return {
            "tokens": self.get_seq_length(),
            "chunk": next((one.text.shape.chunk for one in self.memories if one.text is not None), 0),
            "bytes": sum(layer.bytes for layer in self.memories),
            "mean": {"steps": float(asked), **mean} if layers else {},
            "layers": layers,
        }

    def explain(self) -> str:
        """The same as a table."""
        return as_text(self.table(), width=110)

    def table(self) -> Table:
        """A row for each layer."""
        from rich.table import Table

        told = self.statistics()
        table = Table(title=f"{told['tokens']:,} tokens in chunks of {told['chunk']}, {told['bytes'] / 1e6:,.0f} MB")
        for column in ("layer", "of the chunks a head sees", "all heads together", "heads agree"):
            table.add_column(column, justify="right")
        for number, one in told["layers"].items():
            shares = [f"{one[name]:.2%}" for name in ("seen", "covered", "agreed")]
            table.add_row(str(number), *shares)
        return table

    def picture(self, path: Path, *, title: str = "Chunks that the heads chose") -> Path:
        """A PNG of the share of the heads' looks at each chunk, by layer. InputError: nothing was chosen yet."""
        from foveal.evaluation.plots import heatmap

        choices = self.choices()
        if not choices:
            raise InputError("There is nothing to draw: no head has chosen a chunk yet.")
        count = min(COLUMNS, next(iter(choices.values())).shape[1])
        matrix = [torch.nn.functional.adaptive_max_pool1d(one.mean(0)[None], count)[0] for one in choices.values()]
        return heatmap(
            torch.stack(matrix).numpy(),
            path,
            title=title,
            x_label="chunk of the text" if count < COLUMNS else f"the text, in {COLUMNS} parts",
            y_label="layer",
            value_label="share of the heads and queries that looked there",
            y_names=[str(number) for number in choices],
            limits=(0.0, 1.0),
        )


def _means(shares: Tensor) -> dict[str, float]:
    """Of a layer's shares (H, chunks): what a head's query sees, what all heads saw, and how alike they look."""
    chosen = shares > 0
    apart = shares / shares.norm(dim=-1, keepdim=True).clamp(min=1e-9)
    alike = apart @ apart.T
    heads = len(shares)
    agreed = (alike.sum() - heads) / (heads * (heads - 1)) if heads > 1 else alike.mean()
    return {
        "seen": float(shares.sum(-1).mean() / shares.shape[1]),
        "covered": float(chosen.any(0).float().mean()),
        "agreed": float(agreed),
    }
