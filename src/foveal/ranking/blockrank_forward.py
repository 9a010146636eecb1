"""The forward pass of BlockRank: linear in the documents, differentiable, and no deeper than what is asked of it.

    found = read(model, segments, Ask(layers=(15,)))
    found.scores(15)                                   # (documents,), sums to 1

Instruction, documents and question lie one after another in one sequence without padding, so every other part of a
layer runs on exactly the tokens there are. Attention alone takes them apart: the documents, sorted by length, become
rows of a batch, each beside the instruction's keys; the question's rows look at all. No N x N tensor is made.

Two ways   known architectures, without gradients: lean layers (models/lean.py), group by group, so that memory is that
           of the hidden states and one layer; any other decoder, and training: transformers under `attach`
Signal     softmax(q.k / sqrt(d)) over documents' tokens only, mean over heads and the signal's rows (section 3.3)
Shapes     queries (1, H, T, D), keys and values (1, G, T, D) -> masses (documents' tokens,) float32, in packed order
Windows    A sliding layer counts its window in positions: a document sees what it would alone, and the question, far
           behind, sees itself. So a signal is taken from layers that see everything only
"""

from __future__ import annotations

from dataclasses import dataclass, field
from inspect import signature
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from foveal.attention.attach import Context, attach
from foveal.attention.dense import capped_attention, dense_attention, suits_blocks
from foveal.attention.estimates import capped
from foveal.attention.flash_decoding import every_key, within
from foveal.attention.kernel import merge
from foveal.attention.masks import Mask
from foveal.attention.shared_prefix import require_side_by_side
from foveal.errors import InputError
from foveal.models.lean import Layer, lean, supports
from foveal.ranking.blockrank_plan import Ask, Held, Plan
from foveal.ranking.blockrank_prompt import Segments

if TYPE_CHECKING:
    from foveal.models.chat import Cancel

LONG = 4096
"""Keys from which on the question's rows look through the block kernel; fewer do not pay for its lists."""


@dataclass
class Found:
    """What a pass found; packed places are in `order` of the documents."""

    order: list[int]
    lengths: list[int]  # of the documents in that order
    masses: dict[int, Tensor] = field(default_factory=dict)
    logits: Tensor | None = None
    kept: dict[int, tuple[Tensor, Tensor]] = field(default_factory=dict)

    def scores(self, layer: int) -> Tensor:
        """The mass of each document (N,), in the order that they were given in; sums to 1.

        InputError: the layer never looked at them, as one that looks at images, or is run as another one (HRM).
        """
        if layer not in self.masses:
            raise InputError(f"Layer {layer} of this model looks at no document. Choose another layer, or model.")
        masses = self.masses[layer]
        owner = torch.tensor(self.order, device=masses.device).repeat_interleave(
            torch.tensor(self.lengths, device=masses.device)
        )
        return masses.new_zeros(len(self.order)).index_add(0, owner, masses)

    def of_tokens(self, layer: int) -> list[Tensor]:
        """The masses of each document's tokens, in the order that they were given in."""
        parts = torch.split(self.masses[layer], self.lengths)
        return [part for _, part in sorted(zip(self.order, parts, strict=True), key=lambda pair: pair[0])]

    def blocks(self) -> list[tuple[Tensor, Tensor]]:
        """What was kept of the instruction, then of each document as they were given: keys (layers + 1, G, L, D) and
        values (layers, G, L, D).
        """
        keys, values = (torch.cat([self.kept[n][part] for n in sorted(self.kept)]) for part in (0, 1))
        sizes = [keys.shape[2] - sum(self.lengths), *self.lengths]
        first, *rest = zip(torch.split(keys, sizes, 2), torch.split(values[:-1], sizes, 2), strict=True)
        return [first, *(pair for _, pair in sorted(zip(self.order, rest, strict=True), key=lambda one: one[0]))]


def read(model: Any, segments: Segments, ask: Ask, *, held: Held | None = None, cancel: Cancel | None = None) -> Found:
    """One pass over the prompt; with `held`, over its question alone. Differentiable where gradients are on."""
    plan = Plan(segments, ask, held, model.device)
    mixed = torch.is_autocast_enabled(model.device.type)  # lean layers' packed weights are of one type
    if not (torch.is_grad_enabled() or mixed) and supports(model):
        return _lean(model, plan, cancel)
    return _attached(model, plan, cancel)


# -- one layer's attention ---------------------------------------------------------------------------------------------


class Enough(Exception):
    """Raised in a layer that has said all that is asked for."""


@dataclass(frozen=True)
class Rule:
    """What a layer wants: its number, window, scale of the products, cap of the scores, and learned sinks (H,)."""

    layer: int
    window: int | None
    scale: float
    softcap: float | None = None
    sinks: Tensor | None = None

    @property
    def how(self) -> dict[str, Any]:
        """What attention is told besides queries, keys, values and what is seen."""
        return {"scale": self.scale, "softcap": self.softcap, "sinks": self.sinks}


class Looking:
    """The attention of one layer, part by part in the order of `Plan.slices`; keys and values come (1, G, N, D)."""

    def __init__(self, plan: Plan, rule: Rule, found: Found) -> None:
        self.plan, self.rule, self.found = plan, rule, found
        self.ends = rule.layer == plan.last
        held = plan.held
        self._keys: list[Tensor] = [held.keys(rule.layer, plan.device)] if held else []
        self._values: list[Tensor] = [held.values(rule.layer, plan.device)] if held and not self.ends else []

    def part(self, number: int, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """The output of part `number`, (1, H, N, D). Enough: nothing more is asked of this layer's part."""
        if number <= len(self.plan.groups):
            self._keys.append(key)
            self._values.append(value)
            if self.ends:
                raise Enough
            return self._lead(query, key, value) if number == 0 else self._documents(number - 1, query, key, value)
        before = self.gathered(query)
        return self._tail(query, key, value, before) if query.shape[2] else query

    def gathered(self, query: Tensor | None = None) -> Tensor:
        """The keys of lead and documents, once all are in; what is asked of the layer is noted by the tail's queries.

        Enough: that was all.
        """
        before = joined(self._keys)
        self._note(query, before)
        if self.ends:
            raise Enough
        return before

    def _lead(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        count = query.shape[2]
        if not count:
            return query
        mask = Mask.causal(1, count, count, window=self.rule.window, device=query.device)
        return dense_attention(query, key, value, mask, **self.rule.how)

    def _documents(self, number: int, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        group, before = self.plan.groups[number], self._keys[0].shape[2]
        query, key, value = (group.spread(part) for part in (query, key, value))
        keys, values = (
            torch.cat([shared[0].expand(group.rows, -1, -1, -1), own], 2)
            for shared, own in ((self._keys, key), (self._values, value))
        )
        mask = group.mask(before, self.rule.window, query.device)
        return group.joined(dense_attention(query, keys, values, mask, **self.rule.how))

    def _tail(self, query: Tensor, key: Tensor, value: Tensor, before: Tensor) -> Tensor:
        plan, rule = self.plan, self.rule
        seen = plan.seen(rule.window)
        plain = rule.softcap is None and rule.sinks is None
        if plain and rule.window is None and before.shape[2] >= LONG and suits_blocks(query):
            far = every_key(query, before, joined(self._values), scale=rule.scale)
            near = within(query, key, value, seen[..., plan.before :], scale=rule.scale)
            return merge([far, near])[0]
        keys, values = torch.cat([before, key], 2), torch.cat([*self._values, value], 2)
        if not plain:
            return capped_attention(query, keys, values, seen, **rule.how)
        shared = query.shape[1] != keys.shape[1]
        return scaled_dot_product_attention(query, keys, values, attn_mask=seen, scale=rule.scale, enable_gqa=shared)

    def _note(self, query: Tensor | None, before: Tensor) -> None:
        plan, rule = self.plan, self.rule
        documents = before[:, :, plan.instruction :]
        if rule.layer in plan.ask.layers and query is not None and query.shape[2]:
            rows = query[0][:, list(plan.segments.signal)]
            self.found.masses[rule.layer] = signal(rows, documents[0], scale=rule.scale, softcap=rule.softcap)
        if plan.ask.keep is not None and rule.layer <= plan.ask.keep:
            self.found.kept[rule.layer] = before, joined(self._values)


def joined(parts: list[Tensor]) -> Tensor:
    """The parts one after another; one alone, as kept documents are, is not copied."""
    return parts[0] if len(parts) == 1 else torch.cat(parts, 2)


def signal(query: Tensor, key: Tensor, *, scale: float, softcap: float | None = None) -> Tensor:
    """Of queries (H, R, D) over keys (G, T, D) the softmax over these T alone, its mean over heads and rows: (T,)."""
    heads, rows, width = query.shape
    folded = (query.float() * scale).reshape(key.shape[0], heads // key.shape[0] * rows, width)
    with torch.autocast(query.device.type, enabled=False):  # a training in mixed precision must not round these
        logits = capped(folded @ key.float().transpose(-1, -2), softcap)
    return logits.softmax(-1).mean((0, 1))


# -- two ways through a model ------------------------------------------------------------------------------------------


@torch.inference_mode()
def _lean(model: Any, plan: Plan, cancel: Cancel | None) -> Found:
    """By lean layers: a layer is done for all parts before the next one begins."""
    stack, found = lean(model), Found(plan.order, plan.lengths)
    ids, places = plan.tensors()
    states = [stack.embedded(ids[:, part])[0] for part in plan.slices()]
    told = stack.turns(states[0], places)  # of all at once, as transformers': one long position may stretch the others
    turns = [{kind: (cos[:, part], sin[:, part]) for kind, (cos, sin) in told.items()} for part in plan.slices()]
    for number in range(len(stack) if plan.last is None else plan.last + 1):
        layer = stack.layer(number)
        looking = Looking(plan, Rule(number, layer.window, layer.scale), found)
        for place, state in enumerate(states):
            if cancel:
                cancel.check()
            states[place] = _through(layer, state, turns[place][layer.kind], looking, place)
    if plan.ask.rows:
        found.logits = stack.logits(torch.cat(states)[plan.rows()])
    return found


def _through(layer: Layer, state: Tensor, turn: tuple[Tensor, Tensor], looking: Looking, place: int) -> Tensor:
    """The state (N, width) of part `place` after the layer; as it was where nothing more is asked."""

    def attend(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        return looking.part(place, *(part.transpose(1, 2) for part in (query, key, value))).transpose(1, 2)

    try:
        if len(state):
            return layer(state, turn, attend)
        if place > len(looking.plan.groups):
            looking.gathered()
        return state
    except Enough:
        return state


class _Packed:
    """The same as an `AttentionMethod`, for transformers."""

    takes_sinks = True

    def __init__(self, plan: Plan, found: Found, cancel: Cancel | None = None) -> None:
        self.plan, self.found, self.cancel = plan, found, cancel

    def attend(self, query: Tensor, key: Tensor, value: Tensor, context: Context) -> Tensor:
        """The output (1, H, T, D). Enough: the deepest layer that is asked for has said all."""
        if self.cancel:
            self.cancel.check()
        rule = Rule(context.layer, context.mask.window, context.scale, context.softcap, context.sinks)
        looking, parts = Looking(self.plan, rule, self.found), self.plan.slices()
        outputs = []
        for number, part in enumerate(parts):
            try:
                outputs.append(looking.part(number, query[:, :, part], key[:, :, part], value[:, :, part]))
            except Enough:
                if number == len(parts) - 1:
                    raise
        return torch.cat(outputs, 2)

    def seen(self, rows: Tensor, context: Context) -> None:
        """Nobody records this pass."""


def _attached(model: Any, plan: Plan, cancel: Cancel | None = None) -> Found:
    """By transformers' own layers: all parts of a layer at once. InputError: parts would reach each other otherwise."""
    ordinary = plan.ask.full and not plan.segments.branches
    found = Found(plan.order, plan.lengths)
    ids, places = plan.tensors()
    given = {"input_ids": ids, "use_cache": False}
    if not ordinary:  # one text counts its own positions: RoBERTa's begin behind its padding's
        require_side_by_side(model, "BlockRank")
        given["position_ids"] = places
    try:
        with attach(model, _Packed(plan, found, cancel)) as attached:
            if not plan.ask.rows:
                attached.base(**given)
                return found
            rows = plan.rows()
            if "logits_to_keep" in signature(model.forward).parameters:
                found.logits = model(**given, logits_to_keep=rows).logits[0]
            else:
                found.logits = model(**given).logits[0, rows]
    except Enough:
        pass
    return found
