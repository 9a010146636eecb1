"""A decoder in two parts: lower layers that stay as they are and are passed once, upper layers that learn.

    parts = Parts.of(model, upper=8)
    states = parts.states(ids)                       # (N, d): what the upper layers read; kept, they serve every epoch
    logits = parts.logits(states[None], places)      # (M, V) at some places, over the tokens that may come

Why       on a processor a step of LoRA on every layer costs two passes of the whole model. Where only upper layers
          learn, nothing is passed back through the others, and what they gave need not be computed again
Shapes    states (B, L, d), padded on the right: no token sees what stands behind it, so no mask is needed
Tokens    a small model is half vocabulary. Where only some can come (those of a corpus), logits are made for these
          alone: the others' share of the probability is left out of the loss
Types     the lower layers compute as the model does, the upper ones in float32: here a step of bfloat16 backwards took
          1.6 times as long (one core of an EPYC with AVX-512 BF16; measure yours)
Needs     a decoder whose base model has embed_tokens, layers, norm and rotary_emb, as Llama, Qwen and Gemma do
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from foveal.errors import InputError
from foveal.training.low_rank import add_low_rank, merge_low_rank


@dataclass(frozen=True, eq=False)
class Parts:
    """The two parts of a model; `whole` itself is never changed."""

    whole: Any
    lower: Any  # its layers are the model's own
    upper: Any  # its layers are copies in float32
    head: nn.Linear  # float32, of these tokens alone:
    vocabulary: Tensor  # (V,), ascending

    @classmethod
    def of(cls, model: Any, upper: int, vocabulary: Iterable[int] | None = None) -> Parts:
        """`vocabulary`: tokens that may come (default: all). InputError: the model has fewer layers, or none below."""
        count = len(model.model.layers)
        if not 1 <= upper < count:
            raise InputError(f"{upper} of {count} layers were to learn; it needs 1 to {count - 1}.")
        lower = _part(model.model, range(count - upper))
        lower.norm = nn.Identity()
        top = _part(model.model, range(count - upper, count))
        top.layers = copy.deepcopy(top.layers).float()
        top.norm = copy.deepcopy(top.norm).float()
        size = model.lm_head.out_features
        allowed = sorted(set(range(size) if vocabulary is None else vocabulary))
        known = torch.tensor(allowed, dtype=torch.long, device=model.lm_head.weight.device)
        return cls(model, lower.eval(), top.eval().requires_grad_(False), _head(model.lm_head, known), known)

    @property
    def device(self) -> torch.device:
        """Where the layers lie, and what they are given must."""
        return self.vocabulary.device

    @torch.no_grad()
    def states(self, ids: Sequence[int]) -> Tensor:
        """What the lower layers make of one text: (tokens, d), of the model's own type."""
        output = self.lower(input_ids=torch.tensor([list(ids)], device=self.device), use_cache=False)
        found: Tensor = output.last_hidden_state[0]
        return found

    def logits(self, states: Tensor, places: Tensor) -> Tensor:
        """Logits (M, V) of the next token at `places` (M,), over the flattened states (B, L, d), wherever they lie."""
        states, places = states.to(self.device), places.to(self.device)
        output = self.upper(inputs_embeds=states.float(), use_cache=False)
        chosen = output.last_hidden_state.flatten(0, 1)[places]
        logits: Tensor = self.head(chosen)
        return logits

    def classes(self, tokens: Tensor) -> Tensor:
        """Tokens (M,) as columns of the logits. InputError: one that may not come."""
        tokens = tokens.to(self.device)
        found = torch.searchsorted(self.vocabulary, tokens).clamp(max=len(self.vocabulary) - 1)
        if not torch.equal(self.vocabulary[found], tokens):
            raise InputError("A token is to be learnt that the vocabulary lacks. Give a vocabulary of all texts.")
        return found

    def learn(self, *, rank: int, alpha: float, seed: int = 0) -> nn.ModuleDict:
        """Give the upper layers low-rank changes, which are returned. Call it once."""
        return add_low_rank(self.upper, rank=rank, alpha=alpha, seed=seed)

    def frozen(self) -> Parts:
        """The same with what was learnt so far added in for good: a reference that does not move."""
        upper = copy.deepcopy(self.upper)
        merge_low_rank(upper)
        return replace(self, upper=upper.eval().requires_grad_(False))

    def model(self) -> Any:
        """A whole model of the original's type with what was learnt; it shares the lower layers' weights."""
        made = _shallow(self.whole)
        made.model = _part(self.whole.model, range(len(self.whole.model.layers)))
        upper = self.frozen().upper
        for place, layer in enumerate(upper.layers, len(self.lower.layers)):
            kept = copy.deepcopy(self.whole.model.layers[place])
            kept.load_state_dict(layer.state_dict())
            made.model.layers[place] = kept
        return made.eval().requires_grad_(False)


def _part(base: Any, layers: range) -> Any:
    """A base model of only these layers, which are the model's own."""
    config = copy.deepcopy(base.config)
    config.num_hidden_layers = len(layers)
    if getattr(config, "layer_types", None):
        config.layer_types = [base.config.layer_types[place] for place in layers]
    with torch.device("meta"):
        part = type(base)(config)
    part.embed_tokens, part.norm, part.rotary_emb = base.embed_tokens, base.norm, base.rotary_emb
    part.layers = nn.ModuleList([base.layers[place] for place in layers])
    return part


def _head(whole: nn.Linear, tokens: Tensor) -> nn.Linear:
    """The rows of these tokens, in float32."""
    with torch.device("meta"):
        head = nn.Linear(whole.in_features, len(tokens), bias=whole.bias is not None)
    head.weight = nn.Parameter(whole.weight[tokens].detach().float(), requires_grad=False)
    if whole.bias is not None:
        head.bias = nn.Parameter(whole.bias[tokens].detach().float(), requires_grad=False)
    return head


def _shallow(model: Any) -> Any:
    """The same module with a table of its own, so that a part can be put in another's place."""
    made = copy.copy(model)
    made._modules = dict(model._modules)
    return made
