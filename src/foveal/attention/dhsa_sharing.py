"""What DHSA finds in the first layer of a pass, for the layers behind it: chunks, or the choice itself.

    bounds = of_first_layer(BOUNDS, key, context, make)       # made in the pass's first layer, taken in the others

Later layers of a pass come behind the first in number: a call of the same layer, or of one before it, is another pass.
What was found in another thread, or in keys of another shape, is never taken.

Source    DHSA (Xiong et al., arXiv 2510.24606): `share_boundaries` and `share_sparsity_masks` of its code
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar
from weakref import WeakKeyDictionary

from torch import Tensor

from foveal.attention.masks import Mask

if TYPE_CHECKING:
    from foveal.attention.attach import Context

    Made = TypeVar("Made")

BOUNDS, CHOICE = -1, -2
"""Where they lie in a context's memory, beside what is kept by layer."""

_PASSES: WeakKeyDictionary[Mask, dict[int, Any]] = WeakKeyDictionary()
"""Of passes without such a memory (prefill.py, watch.py), by their mask, which goes with them."""


@dataclass(frozen=True)
class _Found:
    """What one layer found in keys of that shape, and in which thread."""

    made: object
    layer: int
    shape: tuple[int, ...]
    thread: int


def of_first_layer(what: int, key: Tensor, context: Context, make: Callable[[], Made]) -> Made:
    """What the first layer of this pass made of its keys (B, G, K, d); where that is this one, made now.

    In a padded batch, whose texts come one by one, every layer makes its own.
    """
    if context.mask.real is not None:
        return make()
    kept = _PASSES.setdefault(context.mask, {}) if context.memory is None else context.memory
    shape, thread = (key.shape[0], key.shape[2]), threading.get_ident()
    found = kept.get(what)
    if not isinstance(found, _Found) or context.layer <= found.layer or (found.shape, found.thread) != (shape, thread):
        found = kept[what] = _Found(make(), context.layer, shape, thread)
    return found.made  # type: ignore[return-value]
