"""The console that all is printed with: a page, a title or a model's words cannot steer the terminal they are shown in.

A control character of a text (ESC, with which colours, the window's title and the clipboard are set) is left out where
it is printed; rich's own control segments pass.
"""

from __future__ import annotations

from collections.abc import Iterable

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment

from foveal.cli.characters import CONTROL, plain


class PlainConsole(Console):
    """A console of rich that shows the texts of others without their control characters."""

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """The segments of a renderable; their widths stay, since control characters have none."""
        for one in super().render(renderable, options):
            yield one if one.control or not CONTROL.search(one.text) else Segment(plain(one.text), one.style)
