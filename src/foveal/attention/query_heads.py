"""Query-focused heads: which heads of a model look at the passages that a query asks for (QRHead, EMNLP 2025).

    scores = detect_query_heads(model, examples)         # or without: the probes, hidden in paragraphs of a manual
    RetrievalHeads(model, heads=scores.top(16))          # the ranker of foveal.ranking

A prompt holds numbered passages, then what is asked; each head's look at a passage is the mean over the query's rows of
its attention, less the same under the query "N/A", summed over the passage's tokens but those far below its mean
(two standard deviations). A head's score for an example is the mass that goes to the passages that answer (metric
"mass"), or nDCG@10 of the order that it gives ("ndcg").

Nothing is decoded. All heads are watched in one pass over passages, query and empty query (SharedPrefix).

Source    arXiv 2506.09944 (score, selection of 16 heads, null query, the filter of tokens); ICR, arXiv 2410.02642
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from foveal.attention.probes import PROBES
from foveal.attention.profiles import architecture_of, require_whole_layers
from foveal.attention.recorder import Recorder
from foveal.attention.retrieval_heads import HeadScores
from foveal.attention.shared_prefix import SharedPrefix
from foveal.attention.watch import watch
from foveal.errors import InputError
from foveal.evaluation.files import json_lines
from foveal.evaluation.haystack import manual
from foveal.evaluation.metrics import per_query

if TYPE_CHECKING:
    from foveal.models.language import LanguageModel

METRICS = ("mass", "ndcg")
NO_QUERY = "N/A"
BEFORE = "Here are some paragraphs.\n\n"
ASK = "\n\nFind the paragraphs that are relevant to the query.\nQuery: {query}"
_SPLIT = "\ue000"
DEVIATIONS = 2.0
"""Below the passage's mean by so many standard deviations a token's look is dropped."""


@dataclass(frozen=True)
class Example:
    """A query, passages, and which of them (from 0) answer it."""

    query: str
    passages: tuple[str, ...]
    gold: tuple[int, ...]

    def __post_init__(self) -> None:
        """InputError: no query, no passages, or no gold passage among them."""
        if not self.query.strip() or not self.passages or not all(text.strip() for text in self.passages):
            raise InputError("An example needs a query and passages, none of them empty.")
        if not self.gold or not all(0 <= place < len(self.passages) for place in self.gold):
            raise InputError(
                f"The example {self.query[:60]!r} names the passages {list(self.gold)} as its answers; it has 0 to "
                f"{len(self.passages) - 1}."
            )


def detect_query_heads(
    model: LanguageModel,
    examples: Sequence[Example] | None = None,
    *,
    metric: str = "mass",
    on_run: Callable[[int, int], None] | None = None,
) -> HeadScores:
    """The query scores of every head of `model`; layers that slide over the text score 0.

    `on_run(done, total)` counts examples. InputError: no example, no such metric, or a prompt is too long.
    """
    if metric not in METRICS:
        raise InputError(f"Query heads are scored by {' or '.join(METRICS)}, not by {metric!r}.")
    config = model.model.config.get_text_config()
    layers = require_whole_layers(model, "none can see the passages")
    chosen = list(examples if examples is not None else probe_examples())
    if not chosen:
        raise InputError("Query heads were to be found without an example; give at least one.")
    table = torch.zeros(len(chosen), config.num_hidden_layers, config.num_attention_heads, dtype=torch.float32)
    for number, example in enumerate(chosen):
        table[number, layers] = judged(looks(model, example, layers), example, metric)
        if on_run:
            on_run(number + 1, len(chosen))
    told = {"metric": metric, "examples": len(chosen), "source": "probes" if examples is None else "given"}
    return HeadScores(table, "query", model.name, model.fingerprint, architecture_of(config), told)


def judged(scores: Tensor, example: Example, metric: str) -> Tensor:
    """What each head gets (L, H) for its scores of the passages (L, H, passages)."""
    gold = list(example.gold)
    if metric == "mass":
        return scores[..., gold].sum(-1)
    qrels = {"q": {str(place): 1 for place in gold}}
    flat = scores.reshape(-1, scores.shape[-1]).tolist()
    values = [
        per_query({"q": {str(i): score for i, score in enumerate(one)}}, qrels, ["ndcg@10"])["ndcg@10"]["q"]
        for one in flat
    ]
    return torch.tensor(values, dtype=torch.float32).view(scores.shape[:-1])


def looks(model: LanguageModel, example: Example, layers: Sequence[int], *, calibrated: bool = True) -> Tensor:
    """What every head of `layers` gives each passage (L, H, passages), less what it gives under the empty query.

    `calibrated=False`: nothing is taken off.
    """
    head, tail = _prompt(model)
    texts = [f"[{number}] {' '.join(text.split())}" for number, text in enumerate(example.passages, start=1)]
    pieces = [model.encode(text + ("\n\n" if number < len(texts) else "")) for number, text in enumerate(texts, 1)]
    prefix = [*head, *(token for piece in pieces for token in piece)]
    tails = [tail(example.query), tail(NO_QUERY)]
    if len(prefix) + max(map(len, tails)) > model.context_tokens:
        raise InputError(
            f"{len(texts)} passages take {len(prefix)} tokens, and {model.name} has {model.context_tokens} positions. "
            "Give fewer, or shorter ones."
        )
    device = model.device
    layout = SharedPrefix(torch.tensor([len(prefix)], device=device), len(prefix), [len(one) for one in tails])
    rows = torch.cat([layout.rows(number) for number in range(2)], dim=1)
    sizes = [len(one) for one in tails]

    def reduce(_: int, weights: Tensor) -> Tensor:  # (1, H, R, K) -> (H, tokens of the passages)
        asked, empty = torch.split(weights[0, :, :, len(head) : len(prefix)], sizes, dim=1)
        return (asked.mean(1) - empty.mean(1) if calibrated else asked.mean(1)).cpu()

    recorder = Recorder(rows, dict.fromkeys(layers), stop=True, reduce=reduce)
    ids = torch.tensor([[*prefix, *tails[0], *tails[1]]], device=device)
    watch(model.model, ids, recorder, method=layout, positions=layout.positions)
    paid = torch.stack([recorder.attention[layer] for layer in layers])
    return torch.stack([kept_sum(part) for part in torch.split(paid, [len(one) for one in pieces], dim=-1)], -1)


def kept_sum(paid: Tensor) -> Tensor:
    """(…, tokens) -> (…): the sum over a passage's tokens, without those far below its mean."""
    low = paid.mean(-1, keepdim=True) - DEVIATIONS * paid.std(-1, keepdim=True, correction=0)
    return paid.masked_fill(paid < low, 0.0).sum(-1)


def probe_examples(*, count: int = 10, words: int = 60, seed: int = 0) -> list[Example]:
    """An example for each probe: its facts in `count` paragraphs of Python's manual, each cut to `words` words.

    InputError: fewer paragraphs than a probe has facts, or more than there are.
    """
    draw = random.Random(seed)
    paragraphs = list(_paragraphs(words))
    least = max(len(probe.facts) for probe in PROBES)
    if not least <= count <= len(paragraphs):
        raise InputError(
            f"Probes were to stand in {count} paragraphs of {words} words; it takes {least} to {len(paragraphs)}."
        )
    made = []
    for probe in PROBES:
        passages = draw.sample(paragraphs, count)
        gold = draw.sample(range(count), len(probe.facts))
        for place, fact in zip(gold, probe.facts, strict=True):
            before, _, after = passages[place].partition(". ")
            passages[place] = f"{before}. {fact} {after}".strip()
        made.append(Example(probe.question, tuple(passages), tuple(gold)))
    return made


def _paragraphs(words: int) -> Iterator[str]:
    for text in manual():
        for paragraph in re.split(r"\n\s*\n", text):
            found = paragraph.split()
            if len(found) >= words // 2 and ". " in paragraph:
                yield " ".join(found[:words])


def _prompt(model: LanguageModel) -> tuple[list[int], Callable[[str], list[int]]]:
    """The tokens before the passages, and a function that gives those behind them for a query."""
    system = [{"role": "system", "content": ""}] if model.tokenizer.chat_template else []
    before, _, after = model.render([*system, {"role": "user", "content": BEFORE + _SPLIT}]).partition(_SPLIT)
    return model.encode(before), lambda query: model.encode(ASK.format(query=query.strip()) + after)


def read_examples(path: Path) -> list[Example]:
    """Examples from JSON lines with `query`, `passages` and `gold`. InputError: the file is damaged, or has none."""
    made = []
    for place, row in json_lines(path):
        try:
            if not isinstance(row["passages"], list) or not all(type(one) is int for one in row["gold"]):
                raise TypeError("passages must be a list, gold whole numbers")
            made.append(Example(row["query"], tuple(row["passages"]), tuple(sorted(set(row["gold"])))))
        except (KeyError, TypeError, AttributeError) as error:
            raise InputError(
                f'{place} is no example ({error}). A line is {{"query": "…", "passages": ["…", …], "gold": [0]}}.'
            ) from error
    if not made:
        raise InputError(f"{path} holds no example.")
    return made
