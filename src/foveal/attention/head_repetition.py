"""Heads that go by what was there before: told from a text that repeats itself, without needles and without answers.

    scores = detect_repeats(model)                            # HeadScores of the kind "repeats"
    HeadCache(policy="razor", keep=0.4, scores=scores)        # RazorAttention, with the heads that it would protect

Tokens are drawn at random and repeated a few times. In each row but those of the first copy, a head's echo is the
attention that it pays to the same token in the copies before, its induction what it pays to the tokens that followed
there; each is the mean over rows. A head scores its induction; the best 1 % by echo score their echo where that is
more. So the order of scores begins with the heads that RazorAttention leaves their whole cache.

Shapes    a text of copies × tokens; no (N, N) is made: rows are gone through in blocks, in float32
Needs     a text that fits the model; layers that slide over the text score 0
Source    RazorAttention (arXiv 2407.15891): 2,500 tokens, 4 times; the 14 % with the best induction and the 1 % with
          the best echo are protected. There is no code of it; what share is protected, `HeadCache.keep` says here
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from foveal.attention.memory_decoding import MethodDecoder
from foveal.attention.profiles import architecture_of, require_whole_layers
from foveal.attention.retrieval_heads import HeadScores
from foveal.attention.sinks import Heads
from foveal.errors import InputError

if TYPE_CHECKING:
    from foveal.attention.attach import Context
    from foveal.models.language import LanguageModel

ECHOING = 0.01
"""Share of the heads, at least one, that are scored by their echo."""


@dataclass(frozen=True, kw_only=True)
class RepeatSettings:
    """The text: how many tokens are drawn, and how often they stand in it."""

    tokens: int = 2500
    copies: int = 4
    seed: int = 0

    def __post_init__(self) -> None:
        """InputError: a value out of its range."""
        if self.tokens < 2 or self.copies < 2:
            raise InputError(
                f"A text was to repeat {self.tokens} tokens {self.copies} times; it needs at least 2 tokens, twice."
            )


class RepeatWatch:
    """An `AttentionMethod` that changes nothing, and sums what heads pay to earlier copies of each row's token."""

    def __init__(self, layers: Sequence[int], period: int) -> None:
        """Watch `layers` of a text in which the same tokens come again after `period` of them."""
        self.layers, self.period = frozenset(layers), period
        self.echo: dict[int, Tensor] = {}  # layer -> (H,) means over rows
        self.induction: dict[int, Tensor] = {}

    def attend(self, query: Tensor, key: Tensor, value: Tensor, context: Context) -> None:
        """Look; dense attention goes on."""
        if context.layer in self.layers:
            every = list(range(query.shape[1]))
            heads = Heads.of(query, key, value, every, context.mask, context.scale, context.softcap)
            found = paid_to_copies(heads, self.period)
            self.echo[context.layer], self.induction[context.layer] = (part.cpu() for part in found)

    def seen(self, rows: Tensor, context: Context) -> None:
        """The model's own attention."""


def paid_to_copies(heads: Heads, period: int) -> tuple[Tensor, Tensor]:
    """What each head of one text pays to the same token `period` before, twice as far and so on, and to the tokens that
    follow these: (h,) each, means over the rows that have such a token."""
    sums = heads.query.new_zeros(2, heads.query.shape[1])
    count = heads.key.shape[2]
    back = period * torch.arange(1, -(-count // period), device=sums.device)
    for block, end in heads.blocks():
        weights = heads.scores(block, end)[0].softmax(-1)
        rows = torch.arange(block.start, block.stop, device=sums.device)[:, None]
        there = rows >= back
        for which, places in enumerate((rows - back, rows - back + 1)):
            paid = weights.gather(2, places.clamp(min=0).expand(len(weights), -1, -1))
            sums[which] += paid.masked_fill(~there, 0.0).sum((1, 2))
    echo, induction = sums / max(1, count - period)
    return echo, induction


def detect_repeats(model: LanguageModel, settings: RepeatSettings | None = None) -> HeadScores:
    """The scores of every head of `model`; layers that slide over the text score 0.

    InputError: every layer slides, or the text does not fit the model.
    """
    settings = settings or RepeatSettings()
    config = model.model.config.get_text_config()
    layers = require_whole_layers(model, "none can see a copy far behind")
    count = settings.tokens * settings.copies
    if count > model.context_tokens:
        raise InputError(
            f"{settings.tokens} tokens {settings.copies} times are {count}, and {model.name} has "
            f"{model.context_tokens} positions. Repeat at most {model.context_tokens // settings.copies} tokens."
        )
    watch = RepeatWatch(layers, settings.tokens)
    MethodDecoder(model.model, watch).read(drawn_tokens(model, settings) * settings.copies)
    table = torch.zeros(1, config.num_hidden_layers, config.num_attention_heads, dtype=torch.float32)
    echo, induction = (torch.stack([told[layer] for layer in layers]) for told in (watch.echo, watch.induction))
    table[0, layers] = ranked(echo, induction)
    return HeadScores(table, "repeats", model.name, model.fingerprint, architecture_of(config), asdict(settings))


def ranked(echo: Tensor, induction: Tensor) -> Tensor:
    """Scores (L, H): the induction, and of the heads with the best echo that, where it is more."""
    count = max(1, round(ECHOING * echo.numel()))
    best = torch.zeros(echo.numel(), dtype=torch.bool)
    best[echo.flatten().argsort(descending=True, stable=True)[:count]] = True
    return torch.where(best.view(echo.shape), torch.maximum(echo, induction), induction)


def drawn_tokens(model: LanguageModel, settings: RepeatSettings) -> list[int]:
    """Tokens of the vocabulary, drawn alike, none of which is a sign of its own."""
    special = set(model.tokenizer.all_special_ids)
    known = torch.tensor([one for one in range(len(model.tokenizer)) if one not in special])
    draw = torch.Generator().manual_seed(settings.seed)
    return known[torch.randint(len(known), (settings.tokens,), generator=draw)].tolist()
