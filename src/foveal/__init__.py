"""Foveal reads everything and looks only where it matters.

    import foveal
    library = foveal.Library.open("~/papers")
    library.add(["reports/", "https://example.org/page", "arxiv:2103.00020"])
    for hit in library.search("where is sight sharpest?", k=5):
        print(hit.passage.text)

Names load when they are used, so that importing this package stays light.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from foveal.library import Library as Library
    from foveal.types import (
        Answer as Answer,
    )
    from foveal.types import (
        Citation as Citation,
    )
    from foveal.types import (
        Document as Document,
    )
    from foveal.types import (
        Hit as Hit,
    )
    from foveal.types import (
        Passage as Passage,
    )
    from foveal.types import (
        Span as Span,
    )

__version__ = "0.1.0"

_HOMES = {
    "Library": "foveal.library",
    **dict.fromkeys(("Answer", "Citation", "Document", "Hit", "Passage", "Span"), "foveal.types"),
}
_MODULES = ("errors", "models", "types")

__all__ = ["Answer", "Citation", "Document", "Hit", "Library", "Passage", "Span", "__version__", "errors", "models"]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    if name in _MODULES:
        return import_module(f"foveal.{name}")
    raise AttributeError(f"module 'foveal' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES, *_MODULES})
