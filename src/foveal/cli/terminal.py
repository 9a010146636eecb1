"""The console that all is printed with: a page, a title or a model's words cannot steer the terminal they are shown in.

A control character of a text (ESC, with which colours, the window's title and the clipboard are set) is left out where
it is printed; rich's own control segments pass. A line that is too long for the terminal goes on below its own first
letter, as far in as it began.
"""

from __future__ import annotations

from collections.abc import Iterable

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.text import Text

from foveal.cli.characters import CONTROL, plain


class PlainConsole(Console):
    """A console of rich that shows the texts of others without their control characters."""

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """The segments of a renderable; their widths stay, since control characters have none."""
        options = options or self.options
        if isinstance(renderable, Text) and not (options.no_wrap or renderable.no_wrap):
            renderable = _hung(self, renderable, options)
        for one in super().render(renderable, options):
            yield one if one.control or not CONTROL.search(one.text) else Segment(plain(one.text), one.style)


def _hung(console: Console, text: Text, options: ConsoleOptions) -> Text:
    """`text` with its indented lines broken where the room ends, so that what follows stands as far in."""
    width, overflow = options.max_width, text.overflow or options.overflow
    if text.cell_len <= width:
        return text
    lines, broken = list[Text](), False
    for line in text.split(allow_blank=True):
        inner = line.plain.lstrip(" ")
        indent = len(line) - len(inner)
        if not (0 < indent <= width // 2 and line.cell_len > width):
            lines.append(line)
            continue
        broken = True
        for piece in line[indent:].wrap(console, width - indent, overflow=overflow):
            piece.pad_left(indent)
            lines.append(piece)
    if not broken:
        return text
    return text.blank_copy("\n").join(lines)
