"""Foveal reads everything and looks only where it matters.

    import foveal
    library = foveal.Library.open("~/papers")
    library.add(["reports/", "https://example.org/page", "arxiv:2103.00020"])
    for hit in library.search("where is sight sharpest?", k=5):
        print(hit.passage.text)

    with foveal.attention.attach(model, foveal.attention.FlexPrefill(gamma=0.95)):
        model.generate(**inputs)                      # any decoder of transformers

Names and packages load when they are used, so that importing this package stays light.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from foveal import (
        attention,
        errors,
        evaluation,
        models,
        nn,
        papers,
        ranking,
        reading,
        research,
        retrieval,
        text,
        training,
        types,
    )
    from foveal.library import Library
    from foveal.types import Answer, Citation, Document, Hit, Passage, Span

__version__ = "0.1.0"

_HOMES = {
    "Library": "foveal.library",
    **dict.fromkeys(("Answer", "Citation", "Document", "Hit", "Passage", "Span"), "foveal.types"),
}

__all__ = [
    "Answer",
    "Citation",
    "Document",
    "Hit",
    "Library",
    "Passage",
    "Span",
    "__version__",
    "attention",
    "errors",
    "evaluation",
    "models",
    "nn",
    "papers",
    "ranking",
    "reading",
    "research",
    "retrieval",
    "text",
    "training",
    "types",
]

if not TYPE_CHECKING:  # a type checker that saw it would take any misspelt name for something

    def __getattr__(name: str) -> object:
        if name in _HOMES:
            return getattr(import_module(_HOMES[name]), name)
        if name in __all__:
            return import_module(f"foveal.{name}")
        raise AttributeError(f"module 'foveal' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
