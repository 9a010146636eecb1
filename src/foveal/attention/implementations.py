"""What the configurations of a model name as their attention: found, switched to ours, and set back.

A model has a configuration of its own and some of its parts (text, images), which may attend in another way each. What
is copied or pickled while it is switched, nobody sets back: a copy has what stood there before from the start.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

from transformers import PreTrainedModel

KEY = "foveal"
"""Our name in transformers' registries."""


class Switched(str):
    """`KEY` as it stands in a configuration; a copy of it is what stood there before."""

    __slots__ = ("before",)
    before: str | None

    def __deepcopy__(self, _: Any) -> str | None:
        return self.before

    def __reduce__(self) -> tuple[Any, ...]:
        return copy.copy, (self.before,)


def asked_for(model: Any) -> list[tuple[Any, str | None]]:
    """The configurations of a model: its own and those of its parts, each with the attention that it names."""
    held = [model.config, *(part.config for part in model.modules() if isinstance(part, PreTrainedModel))]
    found: dict[int, Any] = {}
    while held:
        config = held.pop(0)
        if id(config) not in found:
            found[id(config)] = config
            held += [part for name in config.sub_configs if (part := getattr(config, name, None)) is not None]
    return [(config, config._attn_implementation) for config in found.values()]


def mark(before: Sequence[tuple[Any, str | None]]) -> None:
    """Let each configuration that was switched tell its copies what it named before."""
    for config, implementation in before:
        if config._attn_implementation == KEY:
            key = Switched(KEY)
            key.before = implementation
            config._attn_implementation = {"": key}


def set_back(before: Sequence[tuple[Any, str | None]]) -> None:
    """Let them all name what they did."""
    for config, implementation in before:
        config._attn_implementation = {"": implementation}  # a mapping: of a bare name its parts would get the same
