"""Gates of key-value heads: which of them need the whole text, learnt by doing without (DuoAttention, ICLR 2025).

    gates = train_gates(model)                               # HeadScores of the kind "gates"
    HeadCache(keep=0.4, scores=gates)

Each key-value head has a gate a in [0, 1], 1 at first; its output is a · (all tokens) + (1 - a) · (the first and last
ones). With the model frozen, the gates are trained on questions about numbers hidden in a text, to keep the last hidden
states of the answers as they are while the sum of the gates falls: where a head is needed, its gate stays up.

    loss = |h - h_full|² / |h_full|² over the answer's tokens + penalty · mean gate

Copy scores say who writes a fact down; a question also needs the heads that find it, and gates rank both.

Source    arXiv 2410.10819: gates, loss, AdamW. Ours: the text is read exactly once, and only questions pass through the
          gates (as they will once a cache is cut), which makes a step cheap; the distance is relative; 72 steps at a
          rate of 0.05, not 2,000 at 0.02
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from foveal.attention.attach import attach
from foveal.attention.estimates import capped
from foveal.attention.head_detection import prompt_parts
from foveal.attention.memory_decoding import MethodDecoder
from foveal.attention.profiles import architecture_of, kv_heads, require_whole_layers
from foveal.attention.retrieval_heads import HeadScores
from foveal.attention.shared_prefix import require_side_by_side
from foveal.errors import InputError
from foveal.evaluation.haystack import haystack, manual, plant_all
from foveal.evaluation.needles import Needle

if TYPE_CHECKING:
    from foveal.attention.attach import Context
    from foveal.models.language import LanguageModel

RATE, PENALTY = 0.05, 0.05
QUESTION = "Question: {question}\nAnswer:"
_THINGS = ("locker", "room", "badge", "permit", "parcel", "account", "file", "ticket", "vault", "engine")
_OWNERS = (
    "the baker",
    "the pilot",
    "the tailor",
    "the archivist",
    "the nurse",
    "the mason",
    "the florist",
    "the judge",
)


@dataclass(frozen=True, kw_only=True)
class GateSettings:
    """How gates are trained."""

    steps: int = 72
    length: int = 1280  # tokens of a text
    texts: int = 3
    per_text: int = 8  # numbers hidden in each
    sinks: int = 64  # what a head with its gate at 0 sees
    recent: int = 256
    seed: int = 0

    def __post_init__(self) -> None:
        """InputError: a value out of its range."""
        if min(self.steps, self.texts, self.per_text, self.recent) < 1 or self.sinks < 0:
            raise InputError("Gates need at least one step, text, number in a text and recent token.")
        if self.per_text > len(_THINGS) * len(_OWNERS):
            raise InputError(
                f"Gates got {self.per_text} numbers for a text; there are {len(_THINGS) * len(_OWNERS)} different ones."
            )
        if self.length < 2 * (self.sinks + self.recent):
            raise InputError(
                f"Gates got texts of {self.length} tokens with {self.sinks} + {self.recent} that every head sees; give "
                "at least twice as many."
            )


@dataclass(frozen=True)
class _Lesson:
    """A question behind a text: ids of question and answer, and how many of them are the answer."""

    text: int
    ids: list[int]
    answer: int


class Gated:
    """An `AttentionMethod` for questions behind a text that was read: heads see it by their gates."""

    def __init__(self, gates: Tensor, layers: Sequence[int], sinks: int, recent: int) -> None:
        """`gates` (layers, G), those of `layers`."""
        self.gates = gates
        self.row = {layer: row for row, layer in enumerate(layers)}
        self.sinks, self.recent = sinks, recent
        self.text: list[tuple[Tensor, Tensor]] = []  # keys and values (1, G, N, D) of each layer

    def attend(self, query: Tensor, key: Tensor, value: Tensor, context: Context) -> Tensor:
        """The output (1, H, Q, D)."""
        before, told = self.text[context.layer]
        if (before.shape[1], before.shape[3], told.shape[3]) != (key.shape[1], key.shape[3], value.shape[3]):
            raise _not_held(type(context.module).__name__)
        keys, values = torch.cat([before, key], 2).float(), torch.cat([told, value], 2).float()
        groups, count, rows = keys.shape[1], keys.shape[2], query.shape[2]
        folded = query.float().view(1, groups, -1, rows, query.shape[3])
        scores = capped(folded @ keys[:, :, None].transpose(-1, -2) * context.scale, context.softcap)
        places = torch.arange(count, device=query.device)
        distance = places[count - rows :, None] - places
        seen = distance >= 0
        if context.mask.window is not None:
            seen &= distance < context.mask.window
        full = scores.masked_fill(~seen, -torch.inf).softmax(-1) @ values[:, :, None]
        if context.layer in self.row:
            near = seen & ((distance < self.recent) | (places < self.sinks))
            short = scores.masked_fill(~near, -torch.inf).softmax(-1) @ values[:, :, None]
            gate = self.gates[self.row[context.layer]].clamp(0, 1)[None, :, None, None, None]
            full = gate * full + (1 - gate) * short
        return full.reshape(1, -1, rows, value.shape[3]).to(query.dtype)

    def seen(self, rows: Tensor, context: Context) -> None:
        """The model's own attention."""


def train_gates(
    model: LanguageModel,
    settings: GateSettings | None = None,
    *,
    texts: Sequence[str] | None = None,
    on_step: Callable[[int, int, float], None] | None = None,
) -> HeadScores:
    """The gate of every head of `model` (those of one key-value head are equal), 0 where a layer slides over the text.

    `texts`: what the numbers are hidden in (default: Python's manual). `on_step(done, total, loss)` is told of each
    step. InputError: no layer sees the whole text, or a text with its question does not fit the model.
    """
    settings = settings or GateSettings()
    config = model.model.config.get_text_config()
    layers = require_whole_layers(model, "no head ever needs all of it")
    require_side_by_side(model.model, "A gate's training")  # a question, too, is read by what is kept of its text: keys
    caches, lessons = _lessons(model, settings, list(texts or manual()))
    ones = torch.ones(len(layers), kv_heads(config), dtype=torch.float32, device=model.model.device)
    gates = ones.requires_grad_()
    method = Gated(gates, layers, settings.sinks, settings.recent)
    optimiser = torch.optim.AdamW([gates], lr=RATE, weight_decay=0.0)
    with attach(model.model, method) as attached:
        wanted = _wanted(attached.base, method, caches, lessons)
        for step, lesson in enumerate(_drawn(lessons, settings)):
            method.text = caches[lesson.text]
            told = _hidden(attached.base, method, lesson)
            goal = wanted[lessons.index(lesson)]
            loss = (told - goal).square().sum() / goal.square().sum() + PENALTY * gates.clamp(0, 1).mean()
            optimiser.zero_grad()
            loss.backward(inputs=[gates])  # type: ignore[no-untyped-call]  # of the model nothing is learnt
            optimiser.step()
            with torch.no_grad():
                gates.clamp_(0, 1)
            if on_step:
                on_step(step + 1, settings.steps, float(loss.detach()))
    table = torch.zeros(1, config.num_hidden_layers, config.num_attention_heads, dtype=torch.float32)
    table[0, layers] = gates.detach().cpu().repeat_interleave(table.shape[2] // gates.shape[1], 1)
    told_settings = {name: getattr(settings, name) for name in ("steps", "length", "texts", "sinks", "recent", "seed")}
    return HeadScores(table, "gates", model.name, model.fingerprint, architecture_of(config), told_settings)


def _lessons(
    model: LanguageModel, settings: GateSettings, texts: Sequence[str]
) -> tuple[list[list[tuple[Tensor, Tensor]]], list[_Lesson]]:
    """Keys and values of each text, and the questions behind them."""
    draw = random.Random(settings.seed)
    caches, lessons = [], []
    for number in range(settings.texts):
        needles = _needles(settings.per_text, draw)
        start = 11 * number % len(texts)
        hay = haystack([*texts[start:], *texts[:start]], settings.length, lambda text: len(model.encode(text)))
        depths = [5 + 90 * (place + 0.5) / len(needles) for place in range(len(needles))]
        planted = plant_all(hay, needles, depths)
        head, ask = prompt_parts(model, planted[0].text, QUESTION)
        ids = model.encode(head)
        for needle in needles:
            gold = model.encode(f" {needle.answer}")
            lessons.append(_Lesson(number, [*ask(needle.question), *gold], len(gold)))
        longest = len(ids) + max(len(one.ids) for one in lessons)
        if longest > model.context_tokens:
            raise InputError(
                f"Text, question and answer take {longest} tokens, and {model.name} has {model.context_tokens} "
                "positions. Train gates on shorter texts."
            )
        state = MethodDecoder(model.model).read(ids)
        caches.append(_held(model, state.cache.layers))
    return caches, lessons


def _held(model: LanguageModel, layers: Sequence[Any]) -> list[tuple[Tensor, Tensor]]:
    """Keys and values (1, G, N, D) of each layer. InputError: one has none of its own."""
    held = [layer for layer in layers if getattr(layer, "keys", None) is not None]
    if len(held) < model.model.config.get_text_config().num_hidden_layers:
        raise _not_held(type(model.model).__name__)
    ends = [layer.get_seq_length() for layer in held]
    return [
        (layer.keys[:, :, :end].clone(), layer.values[:, :, :end].clone())
        for layer, end in zip(held, ends, strict=True)
    ]


def _not_held(name: str) -> InputError:
    return InputError(
        f"{name} attends to other keys than each layer caches (DeepSeek's compressed ones, those that layers of Gemma "
        "4 share), and no gate can weigh what is not held. Choose another model."
    )


def _needles(count: int, draw: random.Random) -> list[Needle]:
    pairs = draw.sample([f"{thing} of {owner}" for thing in _THINGS for owner in _OWNERS], count)
    made = []
    for pair in pairs:
        code = "-".join(str(draw.randint(100, 999)) for _ in range(2))
        made.append(
            Needle("literal", (f"The number of the {pair} is {code}.",), f"What is the number of the {pair}?", code)
        )
    return made


@torch.no_grad()
def _wanted(
    base: Any, method: Gated, caches: Sequence[list[tuple[Tensor, Tensor]]], lessons: Sequence[_Lesson]
) -> list[Tensor]:
    """The hidden states of the answers where every gate is 1."""
    found = []
    for lesson in lessons:
        method.text = caches[lesson.text]
        found.append(_hidden(base, method, lesson))
    return found


def _hidden(base: Any, method: Gated, lesson: _Lesson) -> Tensor:
    """The last hidden states (answer, width) of the rows that produce the answer, float32."""
    ids = torch.tensor([lesson.ids], device=base.device)
    held = method.text[0][0].shape[2]
    positions = torch.arange(held, held + ids.shape[1], device=ids.device)[None]
    out = base(input_ids=ids, position_ids=positions, use_cache=False).last_hidden_state[0]
    rows: Tensor = out[-lesson.answer - 1 : -1].float()
    return rows


def _drawn(lessons: Sequence[_Lesson], settings: GateSettings) -> Iterator[_Lesson]:
    """One lesson for each step, all of them before any comes again."""
    draw = random.Random(settings.seed)
    order: list[_Lesson] = []
    for _ in range(settings.steps):
        order = order or draw.sample(lessons, len(lessons))
        yield order.pop()
