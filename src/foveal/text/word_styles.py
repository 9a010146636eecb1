"""The styles of a Word document, read once for all who ask: which is based on which, and what each says itself.

styles = Styles.of(root)                   # None is a document without any
styles.inherited({"Code": "Courier"})      # {"Code": "Courier", "CodeSmall": "Courier"}, which is based on it
styles.usual                               # that of paragraphs which name none; "" where there is none
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

DEEPEST = 9
"""Styles that may be based on each other."""

_W = "{http://schemas.openxmlformats.org/wordprocessingml/2006/main}"
Said = TypeVar("Said")


@dataclass(frozen=True)
class Styles:
    """Elements of styles by their ids."""

    elements: Mapping[str, Any] = field(default_factory=dict)
    based: Mapping[str, str] = field(default_factory=dict)  # on which each is; "" on none
    usual: str = ""
    defaults: Any = None  # the element of what runs are where no style says it

    @classmethod
    def of(cls, root: Any) -> Styles:
        """Those of a file of styles; of two with one id the last."""
        if root is None:
            return cls()
        elements = {style.get(f"{_W}styleId") or "": style for style in root.iter(f"{_W}style")}
        above = {name: style.find(f"{_W}basedOn") for name, style in elements.items()}
        based = {name: one.get(f"{_W}val") or "" if one is not None else "" for name, one in above.items()}
        usual = [name for name, style in elements.items() if _is_usual(style)]
        return cls(elements, based, usual[-1] if usual else "", root.find(f"{_W}docDefaults/{_W}rPrDefault"))

    def chain(self, style: str) -> Iterator[str]:
        """A style, and those that it is based on, the nearest first."""
        for _ in range(DEEPEST + 1):
            yield style
            style = self.based.get(style, "")
            if not style:
                return

    def inherited(self, said: Mapping[str, Said]) -> dict[str, Said]:
        """What some styles say, and for each other one what the nearest says that it is based on."""
        nearest = ((style, next((one for one in self.chain(style) if one in said), None)) for style in self.based)
        return {**said, **{style: said[one] for style, one in nearest if one is not None}}


def _is_usual(style: Any) -> bool:
    """Whether a style is that of paragraphs which name none."""
    return style.get(f"{_W}default") in ("1", "true", "on") and style.get(f"{_W}type") == "paragraph"
