"""The characters that a tokenizer takes: what is no character, half of a surrogate pair, it refuses with a TypeError.

A shell's argument with stray bytes brings such halves, and JSON may escape them.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from foveal.errors import InputError

_HALVES = re.compile(r"[\ud800-\udfff]")


def scalar(text: str) -> str:
    """`text` with lone surrogates, which are no characters, replaced one for one by U+FFFD: every offset holds."""
    return text if text.isascii() else _HALVES.sub("\ufffd", text)


def require_several(texts: Sequence[str]) -> None:
    """InputError: one text where several are due, which would be read letter by letter."""
    if isinstance(texts, str):
        raise InputError(f"encode got one text, {texts[:40]!r}; it needs several: give [text] for a single one.")
