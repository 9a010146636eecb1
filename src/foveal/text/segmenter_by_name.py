"""A segmenter by its name, as settings and commands give it, with passages of a size that an encoder takes in whole.

make_segmenter("headings", encoder)                  # a name of registry.SEGMENTERS
make_segmenter("same-topic:mine", encoder, home=home)   # one that decides by a trained model
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from foveal.errors import InputError, UnknownName
from foveal.registry import SEGMENTERS, lookup
from foveal.types import Encoder, Segmenter

SPECIAL_TOKENS = 2
DEFAULT_TOKENS, LONGEST = 256, 512
"""Tokens of a passage where no encoder sets a limit, and where its limit is that of a whole chapter."""

TITLE_TOKENS = 40
"""Tokens kept free in a passage for the title and heading that search sees in front of it; at most half of all."""


def make_segmenter(name: str, encoder: Encoder | None, *, home: Path | None = None) -> Segmenter:
    """The segmenter called `name`, with passages of a size that the encoder takes in whole.

    "name:model" is one that decides by a model of that name, in `home` or shipped, or by that folder.
    """
    name, _, model = name.partition(":")
    kind = lookup(SEGMENTERS, name, kind="segmenter")
    options: dict[str, Any] = {}
    fields = getattr(kind, "__dataclass_fields__", {})
    if model and "model" not in fields:
        raise InputError(f"The segmenter {name} decides without a model; write {name}, not {name}:{model}.")
    if model:
        options["model"] = str(home / "models" / model) if home and (home / "models" / model).is_dir() else model
    if encoder and "token_offsets" in fields:
        options["token_offsets"] = encoder.token_offsets
    if "max_tokens" in fields:
        read = min(encoder.max_tokens, LONGEST) if encoder else DEFAULT_TOKENS
        options |= _limits(read - SPECIAL_TOKENS, fields)
    if "encoder" in fields:
        if encoder is None:
            raise InputError(f"The segmenter {name} compares vectors; it needs an encoder, such as minilm. Name one.")
        options["encoder"] = encoder
    try:
        made: Segmenter = kind(**options)
    except UnknownName:  # says itself what there is
        raise
    except InputError as error:
        limit = f"the encoder reads {encoder.max_tokens} tokens" if encoder else "no encoder"
        raise InputError(f"The segmenter {name} does not fit ({limit}): {error}") from error
    return made


def _limits(room: int, fields: Mapping[str, Any]) -> dict[str, int]:
    """Most and, where that is less than usual, fewest tokens of a passage, for a reader with room for so many."""
    most = max(room - TITLE_TOKENS, room // 2)
    least = fields["min_tokens"].default if "min_tokens" in fields else None
    return {"max_tokens": most, **({"min_tokens": most} if least is not None and least > most else {})}
