"""The characters that a tokenizer takes: what is no character, half of a surrogate pair, it refuses with a TypeError.

A shell's argument with stray bytes brings such halves, and JSON may escape them. Characters that it takes, and has no
token for, all become the same one, which stands for nothing.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

from foveal.errors import InputError

Found = TypeVar("Found")

_HALVES = re.compile(r"[\ud800-\udfff]")


def one_text(given: object, what: str) -> str:
    """`given`, which is a text. InputError: it is something else; `what` says what it was given for."""
    if not isinstance(given, str):
        raise InputError(f"{what} has to be one text (a str); this got {given!r:.60}.")
    return given


def scalar(text: str) -> str:
    """`text` with lone surrogates, which are no characters, replaced one for one by U+FFFD: every offset holds."""
    return text if text.isascii() else _HALVES.sub("\ufffd", text)


def is_read(model: object, text: str) -> bool:
    """Whether a model reads anything of a text: not of an empty one, nor, where it can tell by `knows(text)`, of one
    without a token that it knows.
    """
    knows = getattr(model, "knows", None)
    return bool(text.strip()) and (knows is None or bool(knows(text)))


def each_read(
    model: object, queries: Sequence[str], find: Callable[[list[str]], Iterable[Found]]
) -> list[Found | None]:
    """What `find` gives for those of the queries that the model reads (`is_read`), in one call; None for the others."""
    read = [is_read(model, query) for query in queries]
    asked = [query for query, one in zip(queries, read, strict=True) if one]
    found = iter(find(asked))
    return [next(found) if one else None for one in read]


def has_known_token(tokenizer: Any, text: str) -> bool:
    """Whether a tokenizer of transformers has a token of its own for anything of `text`.

    A fast one is asked as it is set: transformers would set it to cut nothing, in the midst of another thread's batch.
    """
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        ids = tokenizer(scalar(text), add_special_tokens=False, verbose=False)["input_ids"]
    else:
        found = backend.encode(scalar(text), add_special_tokens=False)
        ids = [one for one, counts in zip(found.ids, found.attention_mask, strict=True) if counts]
    return bool(set(ids) - {tokenizer.unk_token_id})


def require_several(texts: Sequence[str], verb: str = "encode") -> None:
    """InputError: one text where several are due, which would be read letter by letter."""
    if isinstance(texts, str):
        raise InputError(f"{verb} got one text, {texts[:40]!r}; it needs several: give [text] for a single one.")
