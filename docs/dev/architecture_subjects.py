"""A small decoder that architectures.py checks, the ways of reading with it, and how far one result is from another.

    subject = Subject.of("gemma2", window=64)
    distance(WAYS["pieces"](other), subject.own("pieces"))

Shapes    logits (texts, tokens, words), but of padded texts (real tokens, words) and of what is written (steps, texts,
          words)
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from inspect import signature
from itertools import pairwise
from typing import Any

import torch
from small_decoders import decoder
from torch import Tensor

LENGTH, PADDED, WRITTEN = 300, 20, 3
CUTS = (0, 130, 131, 290, LENGTH)
TOLERANCE, CLOSEST = 1e-4, 1e-3


class Untried(Exception):
    """The model itself cannot do it, or does not tell what to compare with."""


class Different(Exception):
    """What came is of another kind than what was expected."""


@dataclass
class Subject:
    """A decoder that is checked, and what it computes by itself."""

    kind: str
    window: int | None
    model: Any
    tolerance: float = TOLERANCE
    _own: dict[str, Tensor | Exception] = field(default_factory=dict)

    @classmethod
    def of(cls, kind: str, window: int | None) -> Subject:
        """A small one. Raises what transformers raises where it cannot be made or run."""
        subject = cls(kind, window, decoder(kind, window=window))
        if not torch.isfinite(subject.own("whole")).all():
            raise Different("its logits are not finite")
        subject.tolerance = min(max(TOLERANCE, 20 * _rounding(subject)), CLOSEST)
        return subject

    def own(self, way: str) -> Tensor:
        """What the model itself computes. Untried: it cannot."""
        if way not in self._own:
            reading = WAYS[way]
            try:
                with torch.inference_mode():
                    self._own[way] = reading(self.model)
            except Exception as error:  # whatever transformers says: there is nothing to compare with
                self._own[way] = error
        if isinstance(found := self._own[way], Exception):
            raise Untried(f"the model itself cannot: {type(found).__name__}: {found}") from found
        return found

    def fresh(self) -> Any:
        """The same model again, for what changes it."""
        return decoder(self.kind, window=self.window)


def ids(rows: int, length: int = LENGTH, seed: int = 0) -> Tensor:
    """The same tokens each time."""
    return torch.randint(4, 100, (rows, length), generator=torch.Generator().manual_seed(seed))


def distance(found: Tensor, expected: Tensor) -> float:
    """The greatest error, in units of what is expected's spread where that is above 1."""
    if found.shape != expected.shape:
        raise Different(f"it has the shape {tuple(found.shape)} in place of {tuple(expected.shape)}")
    finite = torch.isfinite(expected)
    if not torch.equal(torch.isfinite(found), finite):
        raise Different("other numbers are infinite, or none")
    return float((found[finite] - expected[finite]).abs().max()) / max(1.0, float(expected[finite].std()))


def _rounding(subject: Subject) -> float:
    """How far logits move when the embeddings are rounded otherwise: what no computation can be held to."""
    table = subject.model.get_input_embeddings()
    if table is None or not hasattr(table, "weight"):
        return 0.0
    kept = table.weight.detach().clone()
    noise = torch.randn(kept.shape, generator=torch.Generator().manual_seed(0))
    table.weight.copy_(kept * (1 + 1e-7 * noise))
    with torch.inference_mode():
        moved = distance(WAYS["whole"](subject.model), subject.own("whole"))
    table.weight.copy_(kept)
    return moved


# -- ways of reading ---------------------------------------------------------------------------------------------------


def cache_name(model: Any) -> str:
    """What the model calls the cache that it is given; the second up to transformers 5.20."""
    return "cache" if "cache" in signature(model.forward).parameters else "past_key_values"


def takes_positions(model: Any) -> bool:
    """Whether it can be told where tokens stand."""
    return "position_ids" in signature(model.forward).parameters


def in_pieces(model: Any, held: Any = None) -> Tensor:
    """Logits of a text that is read piece by piece, one of them a single token, into the cache `held` or its own."""
    found = []
    for start, end in pairwise(CUTS):
        given = {} if held is None else {cache_name(model): held}
        output = model(input_ids=ids(1)[:, start:end], use_cache=True, **given)
        names = ("cache", "past_key_values", "cache_params")
        held = next((one for name in names if (one := getattr(output, name, None)) is not None), None)
        found.append(output.logits)
    return torch.cat(found, 1)


def padded(model: Any, *, left: bool) -> Tensor:
    """Logits of the real tokens of two texts, the first of which is padded."""
    real = _real(left=left)
    told = {"position_ids": (real.cumsum(-1) - 1).clamp(min=0)} if takes_positions(model) else {}
    return model(input_ids=ids(2), attention_mask=real, use_cache=False, **told).logits[real.bool()]


def packed(model: Any) -> Tensor:
    """Logits of two texts in a row, told apart by their positions alone."""
    if not takes_positions(model):
        raise Untried("it takes no positions")
    places = torch.cat([torch.arange(200), torch.arange(LENGTH - 200)])[None]
    return model(input_ids=ids(1), position_ids=places, use_cache=False).logits


def written(model: Any, *, rows: int = 1, real: Tensor | None = None, **asked: Any) -> Tensor:
    """The logits of what it writes, or its beams' scores."""
    text = ids(rows)
    wanted = "scores" if "num_beams" in asked else "logits"
    output = model.generate(
        text,
        attention_mask=torch.ones_like(text) if real is None else real,
        max_new_tokens=WRITTEN,
        do_sample=False,
        return_dict_in_generate=True,
        **{f"output_{wanted}": True},
        **asked,
    )
    return torch.stack(output[wanted])


def _real(*, left: bool) -> Tensor:
    real = torch.ones(2, LENGTH, dtype=torch.long)
    real[0, slice(None, PADDED) if left else slice(-PADDED, None)] = 0
    return real


WAYS: dict[str, Callable[[Any], Tensor]] = {
    "whole": lambda model: model(input_ids=ids(1)).logits,
    "batch": lambda model: model(input_ids=ids(2), use_cache=False).logits,
    "padded left": partial(padded, left=True),
    "padded right": partial(padded, left=False),
    "packed": packed,
    "pieces": in_pieces,
    "written": written,
    "written, padded": lambda model: written(model, rows=2, real=_real(left=True)),
    "written, static cache": partial(written, cache_implementation="static", disable_compile=True),
    "beams": partial(written, num_beams=2),
}
