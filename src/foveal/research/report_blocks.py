"""A section's Markdown as blocks of runs, which HTML, PDF, DOCX and slides draw, each in its own way.

    blocks_of("Seeing is **sharp** [[e1]] [[e2]].")
    # (Block("paragraph", (Run("Seeing is "), Run("sharp", strong), Run(" "), Run(keys=("e1", "e2")), Run("."))),)

Marks     touching ones are one run without words; keys that are not `known` go
Words     are a model's: Markdown without HTML, links and pictures. Whoever draws a run escapes it
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import TYPE_CHECKING

from foveal.research.report_parts import KEYS, cited_keys

if TYPE_CHECKING:
    from markdown_it import MarkdownIt
    from markdown_it.token import Token

Style = frozenset[str]
"""Any of strong, em, code."""

PLAIN: Style = frozenset()
_TOUCHING = re.compile(rf"(?<![ \t])[ \t]*+{KEYS.pattern}(?:[ \t]*+{KEYS.pattern})*")
_HELD = re.compile("\ue000(\\d+)\ue001")
_NOT_OURS = dict.fromkeys((0xE000, 0xE001))
_STYLES = {"strong_open": "strong", "em_open": "em"}


@dataclass(frozen=True, slots=True)
class Run:
    """Words of one style, or a mark: `keys` of the evidence that it leads to, and no words."""

    text: str = ""
    style: Style = PLAIN
    keys: tuple[str, ...] = ()


Runs = tuple[Run, ...]


@dataclass(frozen=True, slots=True)
class Block:
    """A paragraph, heading, item, quote, code or table. `rows` are a table's, the first of them its head."""

    kind: str
    runs: Runs = ()
    level: int = 0  # of a heading, from 3; how deep an item, or a paragraph of one, stands in lists
    number: int = 0  # of an item in a numbered list
    rows: tuple[tuple[Runs, ...], ...] = ()

    @property
    def text(self) -> str:
        """Its words, without marks."""
        return "".join(run.text for run in self.runs)


def blocks_of(text: str, known: Callable[[str], bool] = lambda _: True) -> tuple[Block, ...]:
    """The blocks of a section's text."""
    groups: list[tuple[str, ...]] = []

    def held(found: re.Match[str]) -> str:
        keys = tuple(key for key in cited_keys(found[0]) if known(key))
        if not keys:
            return ""
        groups.append(keys)
        return f"\ue000{len(groups) - 1}\ue001"

    tokens = _markdown().parse(_TOUCHING.sub(held, text.translate(_NOT_OURS)))
    return tuple(_blocks(tokens, groups))


@cache
def _markdown() -> MarkdownIt:
    from markdown_it import MarkdownIt

    made = MarkdownIt("commonmark", {"html": False, "maxNesting": 20}).enable("table")
    return made.disable(["image", "link", "autolink", "reference", "html_block", "html_inline"])


def _blocks(tokens: Sequence[Token], groups: Sequence[tuple[str, ...]]) -> Iterator[Block]:
    """One block for each piece of text; what it stands in says of which kind it is."""
    walk = _Walk(groups)
    for token in tokens:
        yield from walk.take(token)


@dataclass
class _Walk:
    """Where in a section the next token stands."""

    groups: Sequence[tuple[str, ...]]
    lists: list[int] | None = None  # next number of each open list; 0: no numbers
    quotes: int = 0
    fresh: bool = False  # whether an item begins
    heading: int = 0
    rows: list[list[Runs]] | None = None

    def take(self, token: Token) -> Iterator[Block]:
        """The block that a token ends, where it does."""
        kind = token.type
        if kind in ("bullet_list_open", "ordered_list_open"):
            first = int(token.attrGet("start") or 1) if kind.startswith("ordered") else 0
            self.lists = [*(self.lists or ()), first]
        elif kind in ("bullet_list_close", "ordered_list_close"):
            self.lists = (self.lists or [0])[:-1]
        elif kind == "list_item_open":
            self.fresh = True
        elif kind in ("blockquote_open", "blockquote_close"):
            self.quotes += token.nesting
        elif kind == "heading_open":
            self.heading = min(6, int(token.tag[1:]) + 2)
        elif kind in ("fence", "code_block"):
            yield Block("code", (Run(token.content.rstrip("\n")),))
        elif kind.startswith(("table", "tr_")) or kind == "inline":
            yield from self._piece(token)

    def _piece(self, token: Token) -> Iterator[Block]:
        if token.type == "table_open":
            self.rows = []
        elif token.type == "tr_open" and self.rows is not None:
            self.rows.append([])
        elif token.type == "table_close":
            yield Block("table", rows=tuple(map(tuple, self.rows or ())))
            self.rows = None
        elif token.type == "inline":
            runs = _runs(token.children or (), self.groups)
            if self.rows:
                self.rows[-1].append(runs)
            elif runs:
                yield self._block(runs)

    def _block(self, runs: Runs) -> Block:
        if self.heading:
            block, self.heading = Block("heading", runs, level=self.heading), 0
            return block
        if self.lists:
            number, depth = self.lists[-1], len(self.lists)
            if not self.fresh:
                return Block("paragraph", runs, level=depth)
            self.fresh = False
            self.lists[-1] += number > 0
            return Block("item", runs, level=depth, number=number)
        return Block("quote" if self.quotes else "paragraph", runs)


def _runs(children: Sequence[Token], groups: Sequence[tuple[str, ...]]) -> Runs:
    """Words and marks of one piece of text; neighbours of one style are one run."""
    style: Style = PLAIN
    found: list[Run] = []
    for child in children:
        if child.type in _STYLES:
            style |= {_STYLES[child.type]}
        elif child.type.endswith("_close"):
            style -= {_STYLES[child.type.replace("_close", "_open")]}
        elif child.type in ("softbreak", "hardbreak"):
            found.append(Run(" ", style))
        else:
            own = style | {"code"} if child.type == "code_inline" else style
            found += _cut(child.content, own, groups)
    return tuple(_joined(found))


def _cut(text: str, style: Style, groups: Sequence[tuple[str, ...]]) -> Iterator[Run]:
    at = 0
    for mark in _HELD.finditer(text):
        yield Run(text[at : mark.start()], style)
        yield Run(keys=groups[int(mark[1])])
        at = mark.end()
    yield Run(text[at:], style)


def _joined(runs: Sequence[Run]) -> Iterator[Run]:
    last: Run | None = None
    for run in runs:
        if not (run.text or run.keys):
            continue
        if last and not (last.keys or run.keys) and last.style == run.style:
            last = replace(last, text=last.text + run.text)
            continue
        if last:
            yield last
        last = run
    if last:
        yield last
