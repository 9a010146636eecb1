"""What a search shows of each passage, in a terminal and as JSON."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from foveal.cli.output import below_title, results, shortened
from foveal.retrieval.asked_words import asked_found, asked_places
from foveal.text.printed_pages import pages_said, printed_at
from foveal.text.units import sentences
from foveal.types import Span, page_at

if TYPE_CHECKING:
    from rich.text import Text

    from foveal.ranking.explanation import Explanation
    from foveal.retrieval.rows import Entry
    from foveal.types import Hit

AUTHOR = 60
"""Characters of an author beside a passage."""

WIDTH, WIDEST = 110, 132
"""Characters of a line; of those that a text has already, up to which it is left as it is."""

INDENT, NARROWEST = 3, 20
"""Blanks before a line of a passage; the fewest columns that a narrow terminal has behind them."""


def hit_json(hit: Hit, entries: Mapping[str, Entry]) -> dict[str, Any]:
    """A hit; `entries` are those of its document and of the documents by way of which it was found."""
    from foveal.retrieval.rows import way_to

    span = hit.passage.span
    entry = entries[span.document_id]
    return {
        "score": hit.score,
        "retriever": hit.source,
        "title": entry.title,
        "url": entry.url,
        "source": entry.source,
        "author": entry.metadata.get("author"),
        "published": entry.published_at,
        "revision": hit.revision,
        "heading": hit.passage.heading,
        "page": page_at(entry.pages, span.start),
        "printed_page": printed_at(entry.pages, span.start) or None,
        "span": _span_json(span),
        "quote": hit.passage.text,
        "via": [{"title": one.title, "span": _span_json(place)} for place, one in way_to(hit, entries)],
    }


def _span_json(span: Span) -> dict[str, Any]:
    return {"document_id": span.document_id, "start": span.start, "end": span.end}


def _cut_for(text: str) -> Callable[[str], list[tuple[int, str]]]:
    """What cuts a passage into lines, with the offset of each: lines that a hand broke stay, else a word stands alone.

    A terminal that is narrower goes before: a line that it breaks would leave a word or two in a line of their own.
    """
    from foveal.ranking.explanation import wrapped

    own, console = max(map(len, text.splitlines()), default=0), results()
    width = own if WIDTH < own <= WIDEST else WIDTH
    if console.soft_wrap:
        return lambda part: wrapped(part, width)
    return lambda part: _in_columns(part, min(width, max(NARROWEST, console.width - INDENT)))


def _in_columns(text: str, width: int) -> list[tuple[int, str]]:
    """`wrapped`, where some letters (Chinese, emoji) take two columns of a terminal."""
    from rich.cells import cell_len

    from foveal.ranking.explanation import wrapped

    places = [at for at, letter in enumerate(text) for _ in range(max(1, cell_len(letter)))]
    if len(places) == len(text):
        return wrapped(text, width)
    columns = "".join(text[at] for at in places)  # a letter for each; one that is cut in two begins the next line
    starts = list(dict.fromkeys(places[at] for at, _ in wrapped(columns, width - 1)))
    return [(start, text[start:end]) for start, end in pairwise([*starts, len(text)])]


def hit_text(
    rank: int,
    hit: Hit,
    entry: Entry,
    query: str,
    *,
    full: bool,
    explained: Explanation | None = None,
    way: Sequence[tuple[Span, Entry]] = (),
) -> Text:
    """A passage for a terminal: title, place, the lines that hold most of what was asked for, with that marked.

    `way`: of a search in hops, the passages by way of which it was found.
    """
    from rich.text import Text

    from foveal.retrieval.rows import shown_from

    span, cut = hit.passage.span, _cut_for(hit.passage.text)
    top = 0 if full else shown_from(hit, entry)
    lines = [line for line in cut(hit.passage.text) if line[0] >= top]
    held = _held(lines, explained) if explained else _words_held(lines, asked_found(hit.passage.text, query))
    first, last = (0, len(lines)) if full else _best_lines([text for _, text in lines], held)
    begin, before = _begin(hit.passage.text, lines[first][0]) if first else (top, "")
    end, behind = _end(hit.passage.text, lines[last][0]) if last < len(lines) else (len(span), "")
    shown = [(begin + at, line) for at, line in cut(hit.passage.text[begin:end])]
    start = span.start + begin
    author = shortened(str(entry.metadata.get("author") or ""), AUTHOR)
    day = entry.published_at.date().isoformat() if entry.published_at else ""
    page = pages_said(entry.pages, Span(span.document_id, start, start))
    known = (f"{span.document_id[:8]} {start}:{span.start + end}", page, author, day)
    place = " · ".join(part for part in known if part)
    path = below_title(hit.passage.heading, entry.title)
    text = Text.assemble(
        (f"{rank}. {entry.title}", "bold"), (f" › {path}" if path else "", "cyan"), "\n",
        (f"   {place} · {hit.score:.3f}", "dim"), "\n", (_way_line(way), "dim"),
    )  # fmt: skip
    body = Text("\n".join(f"   {line.rstrip(chr(10))}" for _, line in shown).rstrip())
    if explained:
        _mark(body, shown, explained)
    else:
        _mark_words(body, shown, asked_places(hit.passage.text, query))
    body = Text.assemble("   ", before, body[3:], behind) if before or behind else body
    if explained:
        return text.append_text(body).append(f"\n   {explained}\n", "dim")
    return text.append_text(body).append("\n")


def _way_line(way: Sequence[tuple[Span, Entry]]) -> str:
    """The line that says by way of what a passage was found; "" where the query itself found it."""
    steps = [f"{entry.title} ({span.document_id[:8]} {span.start}:{span.end})" for span, entry in way]
    return f"   found by way of {', then '.join(steps)}\n" if steps else ""


def _begin(text: str, place: int) -> tuple[int, str]:
    """Where the sentence at `place` begins, if that is at most a line away; else `place`, and a mark that says so."""
    start = max(start for start, _ in sentences(text) if start <= place)
    return (start, "") if place - start <= WIDTH else (place, "… ")


def _end(text: str, place: int) -> tuple[int, str]:
    """Where the sentence before `place` ends, if that is at most a line away; else `place`, and a mark that says so."""
    end = min(end for _, end in sentences(text) if end >= place)
    return (end, "") if end - place <= WIDTH else (place, " …")


def _mark(body: Text, lines: Sequence[tuple[int, str]], explained: Explanation) -> None:
    """Colour what counted in the lines, which stand three blanks in; what counted more than half the most is bold."""
    weights = explained.of_parts.tolist()
    most, place = max(weights, default=0.0), 3
    for offset, line in lines:
        for (start, end), weight in zip(explained.parts, weights, strict=True):
            first, last = max(start, offset) - offset, min(end, offset + len(line)) - offset
            if first < last and weight > max(0.0, most / 10):
                body.stylize("bold yellow" if weight > most / 2 else "yellow", place + first, place + last)
        place += len(line.rstrip("\n")) + 4


def _held(lines: Sequence[tuple[int, str]], explained: Explanation) -> list[float]:
    """What counted in each line: the weights of the parts that begin there or go on there."""
    parts = list(zip(explained.parts, explained.of_parts.tolist(), strict=True))
    return [
        sum(weight for (start, end), weight in parts if start < offset + len(line) and end > offset)
        for offset, line in lines
    ]


def _mark_words(body: Text, lines: Sequence[tuple[int, str]], words: Sequence[tuple[int, int]]) -> None:
    """Colour the words in the lines, which stand three blanks in; one that a line's end parts, in both."""
    starts, place, moved = [offset for offset, _ in lines], 3, list[int]()
    for offset, line in lines:
        moved.append(place - offset)
        place += len(line.rstrip("\n")) + 4
    for start, end in words:
        for at in _rows(starts, start, end):
            last = starts[at] + len(lines[at][1].rstrip("\n"))
            body.stylize("yellow", moved[at] + max(start, starts[at]), moved[at] + min(end, last))


def _rows(starts: Sequence[int], start: int, end: int) -> range:
    """The lines, which begin at `starts`, that hold what stands from `start` to `end`."""
    return range(max(0, bisect_right(starts, start) - 1), bisect_left(starts, end))


def _words_held(lines: Sequence[tuple[int, str]], found: Sequence[tuple[tuple[int, int], str]]) -> list[float]:
    """How many of the words that were asked for each line holds; one that a line's end parts counts in both."""
    starts, held = [offset for offset, _ in lines], [set[str]() for _ in lines]
    for (start, end), word in found:
        for at in _rows(starts, start, end):
            held[at].add(word)
    return [len(words) for words in held]


def _best_lines(lines: Sequence[str], held: Sequence[float], count: int = 6) -> tuple[int, int]:
    """The first and last (excluded) of the `count` lines in a row that hold the most."""
    windows = [sum(held[i : i + count]) for i in range(max(1, len(lines) - count + 1))]
    best = windows.index(max(windows))
    while best + 1 < len(lines) and not lines[best].strip():
        best += 1
    return best, min(len(lines), best + count)
