"""Which tokens of a text swallow attention, in which heads: found in one pass, as a table and as a picture.

    report = find_sinks(model, text)
    report.counts                        # (layers, heads) sinks of each head
    report.strongest(10)                 # the columns with the highest scores
    report.picture(Path("sinks.png"))    # tokens across, layers down: in what share of heads each is a sink

Shapes    means (L, H, N) the token scores; sinks (L, H, N) bool, the first token left out; layers that slide over the
          text count only rows that see a column
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from foveal.attention.act_evaluation import prompt_ids
from foveal.attention.memory_decoding import MethodDecoder
from foveal.attention.sinks import Columns, Heads, SinkRule, looked
from foveal.errors import InputError
from foveal.evaluation.plots import heatmap

if TYPE_CHECKING:
    from foveal.attention.attach import Context
    from foveal.models.language import LanguageModel

SHOWN = 40
"""Tokens that a picture names and shows; of a longer text those that are sinks most, and are looked at most."""


@dataclass(frozen=True, slots=True)
class Sink:
    """A column that a head looks at much: its place and token, and the mean attention that it gets."""

    layer: int
    head: int
    place: int
    token: str
    score: float


class ColumnWatch:
    """An `AttentionMethod` that changes nothing, and keeps the column sums of all heads of each layer."""

    def __init__(self) -> None:
        self.columns: dict[int, Columns] = {}

    def attend(self, query: Tensor, key: Tensor, value: Tensor, context: Context) -> Tensor | None:
        """None: the model attends as it is."""
        every = list(range(query.shape[1]))
        heads = Heads.of(query, key, value, every, context.mask, context.scale, context.softcap)
        self.columns[context.layer] = looked(heads).columns
        return None

    def seen(self, rows: Tensor, context: Context) -> Tensor | None:  # noqa: ARG002
        """A recorder shows the model's own attention."""
        return None


@dataclass(frozen=True, eq=False)
class SinkReport:
    """The token scores of one text in every head."""

    model: str
    tokens: tuple[str, ...]
    columns: tuple[Columns, ...]  # of each layer, one text
    rule: SinkRule

    @cached_property
    def means(self) -> Tensor:
        """The token scores (L, H, N) float32."""
        return torch.stack([layer.means[0].cpu() for layer in self.columns])

    @cached_property
    def sinks(self) -> Tensor:
        """Which columns are sinks (L, H, N) bool."""
        return torch.stack([self.rule(layer)[0].cpu() for layer in self.columns])

    def under(self, rule: SinkRule) -> SinkReport:
        """The same text by another rule."""
        return SinkReport(self.model, self.tokens, self.columns, rule)

    @property
    def counts(self) -> Tensor:
        """Sinks of each head (L, H), the first token not counted."""
        return self.sinks.sum(-1)

    @property
    def first(self) -> Tensor:
        """The mean attention that the first token gets in each head (L, H)."""
        return self.means[..., 0]

    @property
    def share(self) -> float:
        """The share of heads with any sink beyond the first token."""
        return float((self.counts > 0).float().mean())

    def strongest(self, count: int) -> list[Sink]:
        """The sinks with the highest scores, best first."""
        scores = self.means.masked_fill(~self.sinks, -1.0).flatten()
        found = scores.topk(min(count, len(scores)))
        heads, length = self.means.shape[1:]
        made = []
        for value, flat in zip(found.values.tolist(), found.indices.tolist(), strict=True):
            if value >= 0:
                layer, head, place = flat // (heads * length), flat // length % heads, flat % length
                made.append(Sink(layer, head, place, self.tokens[place], value))
        return made

    def kinds(self, count: int) -> list[tuple[str, int]]:
        """The tokens that are sinks most often, over heads and places."""
        often: Counter[str] = Counter()
        for token, times in zip(self.tokens, self.sinks.sum((0, 1)).tolist(), strict=True):
            often[token] += times
        return [(token, times) for token, times in often.most_common(count) if times]

    def shown(self, count: int) -> list[int]:
        """The places of at most `count` tokens, in the text's order: the first, those that are sinks in most heads, and
        of equals those that are looked at most, by enough rows to tell.
        """
        worth = self.sinks.float().mean(1).sum(0)
        worth[0] = torch.inf
        enough = torch.stack([self.rule.eligible(layer)[0].cpu() for layer in self.columns]).any(0)
        attention = self.means.mean((0, 1)).masked_fill(~enough, -1.0)
        by_attention = attention.argsort(descending=True, stable=True)
        best = worth[by_attention].argsort(descending=True, stable=True)[:count]
        return sorted(by_attention[best].tolist())

    def picture(self, path: Path) -> Path:
        """PNG: for each token and layer the share of heads in which it is a sink (the first token: its attention)."""
        shares = self.sinks.float().mean(1)  # (L, N)
        shares[:, 0] = self.first.mean(1)
        places = self.shown(SHOWN)
        names = [_named(self.tokens[place], place) for place in places]
        left_out = f", {len(names)} of {len(self.tokens)} tokens" if len(names) < len(self.tokens) else ""
        return heatmap(
            shares[:, places].numpy(),
            path,
            title=f"Sinks of {self.model}{left_out}",
            x_label="token",
            y_label="layer",
            value_label="share of heads in which it is a sink (first token: its attention)",
            x_names=names,
            limits=(0.0, 1.0),
        )

    def as_json(self) -> dict[str, Any]:
        """The figures as plain values."""
        return {
            "model": self.model,
            "tokens": len(self.tokens),
            "heads_with_sinks": self.share,
            "first_token": float(self.first.mean()),
            "counts": self.counts.tolist(),
            "kinds": dict(self.kinds(20)),
        }


def find_sinks(model: LanguageModel, text: str | Sequence[int], rule: SinkRule | None = None) -> SinkReport:
    """The sinks of a text (or of its token ids), in every head. InputError: fewer tokens than the rule needs rows."""
    rule = rule or SinkRule()
    ids = prompt_ids(model, text) if isinstance(text, str) else list(text)
    if len(ids) <= rule.min_rows:
        raise InputError(
            f"The text has {len(ids)} tokens; a column counts from {rule.min_rows} rows on, so give a longer one."
        )
    if len(ids) > model.context_tokens:
        raise InputError(f"The text has {len(ids)} tokens, {model.name} {model.context_tokens} positions. Give less.")
    watch = ColumnWatch()
    MethodDecoder(model.model, watch).read(ids)
    layers = tuple(watch.columns[number] for number in sorted(watch.columns))
    return SinkReport(
        model.name,
        tuple(model.tokenizer.decode([one]) for one in ids),
        layers,
        rule,
    )


def _named(token: str, place: int) -> str:
    told = token.replace("\n", "\\n").strip() or repr(token).strip("'")
    return f"{told[:10]} {place}"
