"""What the benches of retrieval heads share: the needles, a long text that is read once and kept, questions behind it.

Needles here are of one form with many keys, drawn from a seed: "One magic number of <name> is <number>." None of the
sentences that heads were detected with are among them. An answer is right if the model's likeliest token is the gold
one at each of its tokens: what greedy decoding would say, in one pass.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from foveal.attention import AttentionMethod, Context, FlexPrefill
from foveal.attention.head_cache import OBSERVED
from foveal.attention.head_detection import placed, prompt_parts
from foveal.attention.prefill import prefill
from foveal.bench.code import code_digest
from foveal.bench.settings import BenchSettings
from foveal.evaluation.files import whole_file
from foveal.evaluation.haystack import haystack, plant_all
from foveal.evaluation.needles import FAMILY_NAMES, GIVEN_NAMES, Needle
from foveal.models.key_values import KeyValues
from foveal.models.language import LanguageModel

ASK = "Question: {question}\nAnswer:"
PREFIX = " One magic number of {name} is"
DENSE = 16_384
"""Tokens above which a text is read by FlexPrefill, whatever is done with it afterwards."""


@dataclass(frozen=True)
class Key:
    """A needle with the start of its answer, which any model goes on from."""

    needle: Needle
    prefix: str


def keys(count: int, seed: int) -> list[Key]:
    """`count` needles of different names with numbers of five digits."""
    draw = random.Random(f"keys {seed}")
    names = draw.sample([f"{one} {other}" for one in GIVEN_NAMES[:24] for other in FAMILY_NAMES[:24]], count)
    made = []
    for name in names:
        number = str(draw.randint(10_000, 99_999))
        sentence = f"One magic number of {name} is {number}."
        needle = Needle("literal", (sentence,), f"What is the magic number of {name}?", number)
        made.append(Key(needle, PREFIX.format(name=name)))
    return made


def essays(settings: BenchSettings) -> list[str]:
    """The essays, the longest first."""
    return sorted(settings.essays(), key=len, reverse=True)


class Observed:
    """An `AttentionMethod` that keeps each layer's last queries and leaves attention to another (None: dense)."""

    def __init__(self, method: AttentionMethod | None = None) -> None:
        self.method = method
        self.queries: dict[int, Tensor] = {}  # layer -> (H, T, D)

    def attend(self, query: Tensor, key: Tensor, value: Tensor, context: Context) -> Tensor | None:
        """Keep; attention goes on."""
        before = self.queries.get(context.layer)
        together = query[0] if before is None else torch.cat([before, query[0]], 1)
        self.queries[context.layer] = together[:, -OBSERVED:].clone()
        return self.method.attend(query, key, value, context) if self.method else None

    def seen(self, rows: Tensor, context: Context) -> None:
        """The model's own attention."""


@dataclass
class ReadText:
    """A text that was read: its keys and values, its last queries, and what was planted in it."""

    model: LanguageModel
    ids: list[int]
    layers: list[KeyValues]
    observed: dict[int, Tensor]
    keys: list[Key]
    places: list[list[int]]
    ask: Callable[[str], list[int]]

    def question(self, key: Key) -> tuple[list[int], list[int]]:
        """The tokens of the question with the answer's beginning, and those of the gold answer."""
        asked = self.ask(key.needle.question) + self.model.encode(key.prefix)
        return asked, self.model.encode(" " + key.needle.answer)


def read_text(settings: BenchSettings, model: LanguageModel, length: int, count: int, seed: int) -> ReadText:
    """A text of essays with `count` keys in it, read once and then taken from the cache."""
    chosen = keys(count, seed)
    texts = essays(settings)
    texts = [*texts[seed % len(texts) :], *texts[: seed % len(texts)]]
    hay = haystack(texts, length, lambda text: len(model.encode(text)))
    depths = [100 * (place + 0.5) / count for place in range(count)]
    planted = plant_all(hay, [one.needle for one in chosen], depths)
    head, ask = prompt_parts(model, planted[0].text, ASK)
    ids, places = placed(model, head, planted)
    path = settings.cache / "heads" / f"{_digest(model, ids)}.safetensors"
    layers, observed = _loaded(path, model) if path.is_file() else _read(model, ids, path)
    return ReadText(model, ids, layers, observed, chosen, places, ask)


def _digest(model: LanguageModel, ids: Sequence[int]) -> str:
    code = code_digest("foveal.attention.prefill", "foveal.attention.flexprefill", __name__, within="foveal.attention")
    return hashlib.sha256(f"{model.fingerprint} {model.dtype} {list(ids)} {code}".encode()).hexdigest()[:24]


def _read(model: LanguageModel, ids: Sequence[int], path: Path) -> tuple[list[KeyValues], dict[int, Tensor]]:
    layers = [KeyValues() for _ in range(model.model.config.num_hidden_layers)]
    watch = Observed(FlexPrefill() if len(ids) > DENSE else None)
    prefill(model.model, torch.tensor([list(ids)]), layers, method=watch)
    kept = {f"query-{number}": rows.contiguous() for number, rows in watch.queries.items()}
    for number, layer in enumerate(layers):
        kept[f"key-{number}"] = layer.keys[:, :, : layer.length].contiguous()
        kept[f"value-{number}"] = layer.values[:, :, : layer.length].contiguous()
    with whole_file(path) as partial:
        save_file(kept, partial)
    return layers, watch.queries


def _loaded(path: Path, model: LanguageModel) -> tuple[list[KeyValues], dict[int, Tensor]]:
    kept = load_file(path)
    layers = []
    for number in range(model.model.config.num_hidden_layers):
        layer = KeyValues()
        layer.update(kept[f"key-{number}"], kept[f"value-{number}"])
        layers.append(layer)
    return layers, {number: kept[f"query-{number}"] for number in range(len(layers))}


def answered(
    model: LanguageModel,
    layers: Sequence[Any],
    method: AttentionMethod | None,
    asked: Sequence[int],
    gold: Sequence[int],
) -> tuple[bool, float]:
    """Whether greedy decoding over `layers` would give `gold` behind `asked`, and the nats a token of gold."""
    ids = torch.tensor([[*asked, *gold[:-1]]])
    told = prefill(model.model, ids, layers, method=method, rows=len(gold))[0].float().log_softmax(-1)
    wanted = torch.tensor(list(gold))
    nats = -told.gather(1, wanted[:, None]).mean()
    return bool((told.argmax(-1) == wanted).all()), float(nats)
