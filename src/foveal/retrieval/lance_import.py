"""LanceDB's import, without what nobody asks for.

LanceDB imports a client for catalogues behind HTTP, whose 200 models and 366 calls each build a validator of their
arguments then and there: a third of the import, and a fifth of a search from the shell. Pydantic can build them at
their first use (`defer_build`): here that is never, elsewhere in the process they work as they always do.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from threading import Lock
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from types import ModuleType

_ALONE = Lock()


def lancedb() -> ModuleType:
    """The module lancedb."""
    with _ALONE:
        if "lancedb" not in sys.modules:
            with _validators_built_at_first_use():
                import lance_namespace  # noqa: F401 - of all that lancedb imports, the part that has them
    return import_module("lancedb")


@contextmanager
def _validators_built_at_first_use() -> Iterator[None]:
    """Of pydantic's models and calls that are defined inside."""
    import pydantic

    plain_call, plain_config = pydantic.validate_call, pydantic.BaseModel.model_config

    def later(function: Callable[..., Any], /) -> Any:
        return plain_call(config={"defer_build": True})(function)

    pydantic.validate_call = later  # type: ignore[assignment]
    pydantic.BaseModel.model_config = {**plain_config, "defer_build": True}
    try:
        yield
    finally:
        pydantic.validate_call, pydantic.BaseModel.model_config = plain_call, plain_config
