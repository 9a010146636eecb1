"""Charts and diagrams (SmartArt) of Office documents, from the files that hold what they show.

    chart_blocks(root)        # ["Cells by day", "|  | rods | cones |\n|---|---|---|\n| Mon | 4 | 2 |"]
    diagram_blocks(root)      # ["- Eye", "  - Retina"]

Charts    titles, of axes too, and the values kept with the chart as a table: a row for each category, series beside one
          another; newer kinds (waterfalls, trees) by what their data say. Percentages and dates as such.
Diagrams  the words of their nodes, those below one another as lists within lists
Left out  sizes of bubbles, and what a chart draws from a file elsewhere without keeping it
Names     elements are known by their names within their namespace, as strict documents have others
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from foveal.text.code_blocks import no_heading
from foveal.text.office import table
from foveal.text.office_formulas import local
from foveal.text.pptx_paragraphs import DEEPEST, number, words_of
from foveal.text.xlsx_numbers import shown

SPARSE = 4  # times as many cells as there are texts in them: what would make a table larger than that stands apart

LONGEST = 100  # characters of a number, or of how it is shown


Points = dict[int, str]


class _Series(NamedTuple):
    name: str
    labels: Points  # of its categories
    values: Points


def chart_blocks(root: Any) -> list[str]:
    """What a chart says, as paragraphs and tables of Markdown."""
    chart = root.find("{*}chart")
    if chart is None:
        return []
    area = chart.find("{*}plotArea")
    plotted = list(area.iterchildren("*")) if area is not None else []
    titles = [_title(one.find("{*}title")) for one in (chart, *plotted)]
    series = [
        _series(one, f"Series {n}")
        for n, one in enumerate((one for kind in plotted for one in kind.iterchildren("{*}ser")), 1)
    ]
    return [no_heading(one) for one in titles if one] + list(_series_tables(series)) + list(_newer(root))


def diagram_blocks(root: Any) -> list[str]:
    """What the nodes of a diagram say, as the items of lists."""
    nodes = {
        one.get("modelId") or "": one
        for one in root.iterfind("{*}ptLst/{*}pt")
        if (one.get("type") or "node") in ("node", "asst", "doc")
    }
    below: dict[str, list[tuple[int, str]]] = {}
    for one in root.iterfind("{*}cxnLst/{*}cxn"):
        if (one.get("type") or "parOf") == "parOf" and one.get("destId") in nodes:
            below.setdefault(one.get("srcId") or "", []).append((number(one.get("srcOrd")) or 0, one.get("destId")))
    placed = {each for ones in below.values() for _, each in ones}
    found, seen = [], set[str]()
    for top in (*(one for one in nodes if one not in placed), *nodes):  # a circle has no top
        left = [(top, 0)]
        while left:
            own, level = left.pop()
            if own in seen:
                continue
            seen.add(own)
            text = _said(nodes[own].find("{*}t"))
            if text:
                found.append(f"{'  ' * min(level, DEEPEST)}- {text}")
            deeper = level + 1 if text else level
            left += [(each, deeper) for _, each in sorted(below.get(own, ()), reverse=True)]
    return found


def tables(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Rows as a table; each as one of its own where most are far shorter than the longest, and would be filled up."""
    given = sum(map(len, rows))
    if len(rows) * max(map(len, rows), default=0) > SPARSE * (given + 100):
        yield from filter(None, (table([row]) for row in rows))
    elif text := table(rows):
        yield text


def _series_tables(series: Sequence[_Series]) -> Iterator[str]:
    """Series as tables: side by side as long as their categories are the same."""
    together: list[_Series] = []
    for one in series:
        if together and one.labels and one.labels != together[0].labels:
            yield from _grid([together[0].labels], [(each.name, each.values) for each in together])
            together = []
        together.append(one)
    if together:
        yield from _grid([together[0].labels], [(each.name, each.values) for each in together])


def _grid(labels: Sequence[Points], columns: Sequence[tuple[str, Points]]) -> Iterator[str]:
    """A table of columns beside their labels; one for each where they have next to no place in common."""
    places = {place for one in labels for place in one}.union(*(points for _, points in columns))
    held = sum(map(len, labels)) + sum(len(points) for _, points in columns)
    if len(places) * (len(labels) + len(columns)) <= SPARSE * (held + 100):
        yield from tables(_rows(labels, columns, places))
    else:
        for one in columns:
            yield from tables(_rows(labels[:1], [one], one[1]))


def _rows(labels: Sequence[Points], columns: Sequence[tuple[str, Points]], places: Iterable[int]) -> list[list[str]]:
    every = [*labels, *(points for _, points in columns)]
    head = [*([""] * len(labels)), *(name for name, _ in columns)]
    rows = [[points.get(place, "") for points in every] for place in sorted(places)]
    return [head, *rows] if rows else []


def _series(part: Any, usual: str) -> _Series:
    labels = next((found for name in ("cat", "xVal") if (found := part.find(f"{{*}}{name}")) is not None), None)
    values = next((found for name in ("val", "yVal") if (found := part.find(f"{{*}}{name}")) is not None), None)
    return _Series(_named(part.find("{*}tx")) or usual, _points(labels), _points(values))


def _title(title: Any) -> str:
    if title is None:
        return ""
    own = title.find("{*}tx")
    rich = own.find("{*}rich") if own is not None else None
    return _said(rich) if rich is not None else _named(own)


def _said(body: Any) -> str:
    """What a text says, in one line."""
    return " ".join(" ".join(words_of(one) for one in body.iterchildren("{*}p")).split()) if body is not None else ""


def _named(text: Any) -> str:
    """A name that is written as such, or kept from the cells that it is drawn from."""
    if text is None:
        return ""
    written = text.findtext("{*}v") or text.findtext("{*}txData/{*}v") or ""
    return written.strip() or " ".join(_points(text).values())


def _points(part: Any) -> Points:
    """The texts or numbers that are kept below an element, by their places."""
    kept = next((one for one in _below(part) if local(one).endswith(("Cache", "Lit"))), None)
    if kept is None:
        return {}
    levels = [_texts(one) for one in kept.iterchildren("{*}lvl")]
    return _joined(levels) if levels else _texts(kept)


def _below(part: Any) -> Iterator[Any]:
    """The elements below one, and those below them."""
    for one in part.iterchildren("*") if part is not None else ():
        yield one
        yield from one.iterchildren("*")


def _texts(kept: Any) -> Points:
    usual = kept.findtext("{*}formatCode") or kept.get("formatCode") or ""
    found = {}
    for one in kept.iterchildren("{*}pt"):
        place, text = number(one.get("idx")), one.findtext("{*}v") or one.text or ""
        if place is not None and text.strip():
            found[place] = " ".join(shown(text.strip(), (one.get("formatCode") or usual)[:LONGEST]).split())
    return found


def _joined(levels: Sequence[Points]) -> Points:
    """Categories of several levels: each of the first with those that it is within, the outermost in front."""
    places = [sorted(one) for one in levels]
    found = {}
    for place in places[0]:
        words = [levels[n][ones[at - 1]] for n, ones in enumerate(places) if (at := bisect_right(ones, place))]
        found[place] = " · ".join(reversed(words))
    return found


def _newer(root: Any) -> Iterator[str]:
    """The tables of charts of newer kinds: columns for each level of categories and for each list of numbers."""
    names = {
        whose.get("val") or "": _named(one.find("{*}tx"))
        for one in root.iterfind("{*}chart/{*}plotArea/{*}plotAreaRegion/{*}series")
        for whose in one.iterchildren("{*}dataId")
    }
    for data in root.iterfind("{*}chartData/{*}data"):
        name = names.get(data.get("id") or "", "") or "Series 1"
        labels, values = (
            [_texts(one) for one in list(data.iterfind(f"{{*}}{kind}/{{*}}lvl"))[::-1]] for kind in ("strDim", "numDim")
        )
        yield from _grid(labels, [(name, one) for one in values])
