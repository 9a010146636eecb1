"""What a sparse method looked at and what it left out: by layer and head, as a table, and as a picture.

density   kept blocks as a share of those that dense attention visits (the causal ones)
recall    the share of the attention's mass that lies in what was kept, measured exactly on a few rows of queries
seconds   choosing the blocks, and looking at them

    with attach(model, FlexPrefill()) as attached:
        model(input_ids=ids)
    print(attached.report)
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from foveal.attention.blocks import Blocks
from foveal.attention.estimates import capped
from foveal.errors import InputError
from foveal.evaluation.tables import as_text

if TYPE_CHECKING:
    from rich.table import Table

ROWS = 16
MOST = 10_000
"""Looks that a report keeps, of some hundred prompts: a model that serves stays attached for as long as it runs."""

BLOCK_BYTES = 2**28
"""Of the blocks that a report keeps for pictures; those of one layer of a long prompt take tens of megabytes."""


@dataclass(frozen=True)
class Look:
    """One call of one layer; per head (H,), on the processor whatever device attends."""

    layer: int
    queries: int
    keys: int
    density: Tensor
    recall: Tensor
    selecting: float
    attending: float
    notes: Mapping[str, Tensor]  # what the method says of each head, such as the pattern that it chose
    keep: Tensor | None = None  # (H, query blocks, key blocks) bool


@dataclass
class Report:
    """Collects the last `most` looks of all layers: density and recall by head (shares, 0 to 1), and seconds.

    `keep_blocks` holds the blocks themselves too, for pictures: those of the last looks that fit in `block_bytes`, of
    one at least. `rows` is how many queries of a look recall is measured on, exactly.
    """

    keep_blocks: bool = False
    rows: int = ROWS
    most: int = MOST
    block_bytes: int = BLOCK_BYTES
    looks: list[Look] = field(default_factory=list)
    count: int = 0  # looks in all, also those that are let go
    left_out: Counter[str] = field(default_factory=Counter)  # why prompts were left to dense attention, by layer
    _held: deque[tuple[int, int]] = field(default_factory=deque, repr=False)  # looks with blocks: number, bytes
    _bytes: int = field(default=0, repr=False)
    _let_go: int = field(default=0, repr=False)  # looks that stayed without their blocks

    def add(
        self,
        layer: int,
        query: Tensor,
        key: Tensor,
        blocks: Blocks,
        sums: Tensor,
        *,
        scale: float,
        seconds: tuple[float, float],
        softcap: float | None = None,
    ) -> None:
        """Take in one call: queries (B, H, Q, D), keys (B, G, K, D), the kernel's log-sum-exp (B, H, Q)."""
        heads = query.shape[1]
        shares = torch.full((heads,), torch.nan, dtype=torch.float32)
        if self.rows:
            shares = recall(query, key, sums, scale=scale, rows=self.rows, softcap=softcap)
        self._keep(
            Look(
                layer,
                query.shape[2],
                key.shape[2],
                blocks.density().mean(0).expand(heads).cpu(),
                shares,
                *seconds,
                {name: note.float().mean(0).expand(heads).cpu() for name, note in blocks.notes.items()},
                blocks.keep[0].expand(heads, -1, -1).cpu() if self.keep_blocks else None,
            )
        )

    def add_dense(self, layer: int, query: Tensor, key: Tensor, *, seconds: tuple[float, float]) -> None:
        """Take in one call of a method that looked at everything after all."""
        whole = torch.ones(query.shape[1], dtype=torch.float32)
        self._keep(Look(layer, query.shape[2], key.shape[2], whole, whole, *seconds, {}))

    def _keep(self, look: Look) -> None:
        self.count += 1
        self.looks.append(look)
        if len(self.looks) > self.most:
            del self.looks[: -self.most]
        if look.keep is not None:
            self._hold(look.keep)

    def _hold(self, keep: Tensor) -> None:
        """Count the last look's blocks, and let go of the oldest where all take too much."""
        self._held.append((self.count, keep.untyped_storage().nbytes()))
        self._bytes += self._held[-1][1]
        while self._bytes > self.block_bytes and len(self._held) > 1:
            number, size = self._held.popleft()
            self._bytes -= size
            place = number - self.count + len(self.looks) - 1
            if place >= 0:
                self.looks[place], self._let_go = replace(self.looks[place], keep=None), self._let_go + 1

    @property
    def density(self) -> float:
        """Mean over heads and calls of the method; 1 where it was never asked.

        Layers that it was not to do, and those that slide over the text, are not among them.
        """
        return fmean(float(look.density.mean()) for look in self.looks) if self.looks else 1.0

    @property
    def recall(self) -> float:
        """Mean over calls and heads."""
        return fmean(float(look.recall.mean()) for look in self.looks) if self.looks else 1.0

    @property
    def why_dense(self) -> str:
        """What was left to dense attention, and how often: once for each layer and pass."""
        told = [f"{why} ({count:,} times)" for why, count in self.left_out.most_common()]
        return "; ".join(told) or "the method was to choose for no prompt"

    def table(self) -> Table:
        """A row for each layer and call."""
        from rich.table import Table

        names = sorted({name for look in self.looks for name in look.notes})
        if not self.looks:
            return self._nothing()
        held = f"{len(self.looks):,}" if self.count <= self.most else f"The last {self.most:,} of {self.count:,}"
        blocks = f"blocks of the last {len(self._held):,}" if self._let_go else ""
        sizes = {(look.queries, look.keys) for look in self.looks}
        alike = "".join(f"{of:,} queries at {at:,} keys" for of, at in sizes) if len(sizes) == 1 else ""
        title = f"{held} looks, density {self.density:.3f}, recall {self.recall:.3f}"
        told = "\n".join(part for part in (title, alike, blocks) if part)
        table = Table(title=told, box=None, pad_edge=False, collapse_padding=True)  # 80 columns hold FlexPrefill's
        numbers = () if alike else ("queries", "keys")
        noted = [name.replace("-", "\n") for name in names]
        for column in ("layer", *numbers, "density", "of heads", "recall", *noted, "ms to\nchoose", "ms to\nlook"):
            table.add_column(column, justify="right")
        for look in self.looks:
            low, high = float(look.density.min()), float(look.density.max())
            table.add_row(
                str(look.layer),
                *(() if alike else (f"{look.queries:,}", f"{look.keys:,}")),
                f"{float(look.density.mean()):.3f}",
                f"{low:.2f}–{high:.2f}",
                f"{float(look.recall.mean()):.3f}",
                *(f"{float(look.notes[name].mean()):.2f}" if name in look.notes else "" for name in names),
                f"{look.selecting * 1000:,.0f}",
                f"{look.attending * 1000:,.0f}",
            )
        return table

    def _nothing(self) -> Table:
        """Why nothing was looked at."""
        from rich.table import Table

        table = Table(box=None, pad_edge=False, show_header=False)
        table.add_row(f"All dense: {self.why_dense}.")
        return table

    def __str__(self) -> str:
        """The table as text."""
        return as_text(self.table())

    def explain(self, picture: Path | str | None = None) -> None:
        """Print the table by the program's own console; with `picture` draw the blocks there, if they were kept."""
        from rich import get_console

        get_console().print(self.table())
        if picture is not None:
            self.picture(picture)

    def picture(self, path: Path | str, *, layers: Sequence[int] | None = None) -> Path:
        """Draw the blocks that each head of each layer looked at, as PNG. InputError: there are none; it says why."""
        from foveal.evaluation.plots import grids

        looks = [look for look in self.looks if look.keep is not None and (layers is None or look.layer in layers)]
        if not looks:
            raise InputError(f"There is nothing to draw: {self._why_no_blocks(layers)}.")
        calls: Counter[int] = Counter()
        panels = {}
        for look in looks:
            assert look.keep is not None
            calls[look.layer] += 1
            call = f", call {calls[look.layer]}" if calls[look.layer] > 1 else ""  # of several texts or passes
            for head, keep in enumerate(look.keep):
                panels[f"layer {look.layer}, head {head}{call}\ndensity {float(look.density[head]):.2f}"] = keep.numpy()
        last = f", of the last {len(self._held):,} looks" if self._let_go else ""
        return grids(
            panels,
            Path(path),
            columns=len(looks[0].density),
            title=f"Blocks looked at (dark): queries down, keys across{last}",
        )

    def _why_no_blocks(self, layers: Sequence[int] | None) -> str:
        """Why there are none, of these layers, and what to do."""
        if not self.looks:
            return f"all was dense, {self.why_dense}"
        if not self.keep_blocks:
            return "attach(…, report=Report(keep_blocks=True)) keeps the blocks"
        held = sorted({look.layer for look in self.looks if look.keep is not None})
        if not held:
            return "the chosen blocks were so many that looking everywhere would take no longer, and that was done"
        return f"no blocks were chosen in the layers {list(layers or ())}; there are those of layers {held}"


@torch.no_grad()  # a report that is kept while a model is trained must hold no graph
def recall(
    query: Tensor, key: Tensor, sums: Tensor, *, scale: float, rows: int = ROWS, softcap: float | None = None
) -> Tensor:
    """The share (H,) of softmax mass in what was looked at, from its log-sum-exp `sums` (B, H, Q) and that of all keys.

    Exact for the rows that are looked into, which are spread over the queries.
    """
    queries, keys = query.shape[2], key.shape[2]
    group = query.shape[1] // key.shape[1]
    chosen = torch.linspace(0, queries - 1, min(rows, queries), dtype=torch.float32, device=query.device).round().long()
    asked = query[:, :, chosen].float().reshape(len(query), key.shape[1], group * len(chosen), -1) * scale
    scores = (asked @ key.float().transpose(-1, -2)).view(len(query), -1, len(chosen), keys)
    hidden = torch.arange(keys, device=query.device) > (chosen + keys - queries)[:, None]
    full = capped(scores, softcap).masked_fill_(hidden, -torch.inf).logsumexp(-1)
    shares: Tensor = (sums[:, :, chosen] - full).exp().clamp(max=1.0).mean((0, 2))
    return shares.cpu()
