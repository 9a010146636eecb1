"""Where a pass says that its tokens stand, for a method that counts them itself.

A model is told positions, or counts them; a method that turns queries and keys in its place counts, too. Both must say
the same: `position_ids` that jump, begin anew (packed texts) or go on elsewhere than the cache ends are refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from foveal.errors import InputError

PLACES = -3
"""Where they lie in a context's memory, beside what is kept by layer."""


@torch.compiler.disable  # type: ignore[untyped-decorator]
def note_places(memory: dict[int, Any], given: tuple[Any, ...], named: Mapping[str, Any]) -> None:
    """Keep where the rows of a pass begin, as its rotary module is told it by `given` and `named`."""
    places = named.get("position_ids", given[1] if len(given) > 1 else None)
    memory[PLACES] = _begun(places) if isinstance(places, Tensor) and places.numel() else None


def _begun(places: Tensor) -> tuple[int, ...]:
    """The first place of each row of places (…, Q); none where one does not go on by ones."""
    goes_on = places.shape[-1] == 1 or bool((places.diff(dim=-1) == 1).all())  # a step waits for a GPU once, not twice
    return tuple(places[..., 0].flatten().tolist()) if goes_on else ()


def check_places(memory: Mapping[int, Any] | None, read: int, begun: tuple[int, ...] | None) -> tuple[int, ...] | None:
    """How far a pass's tokens, noted in `memory`, stand from the `read` ones before them, row by row; `begun`: the same
    of earlier passes.

    None: nobody told. InputError: they do not go on by ones, or not where those before end.
    """
    places = (memory or {}).get(PLACES)
    if places is None:
        return begun
    apart = tuple(dict.fromkeys(place - read for place in places))  # rows that begin alike are one
    if not apart or begun not in (None, apart):
        raise InputError(
            "The method counts tokens itself, and position_ids came that jump, begin anew or do not go on where the "
            "cache ends. Leave them out; send packed texts one at a time, and each into a cache of its own."
        )
    return apart
