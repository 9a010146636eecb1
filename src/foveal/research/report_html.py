"""A report as HTML: one file that needs nothing else, its slides, and the body that the web app's page shows.

    html_of(report)                  # the whole file: light and dark, printed well, no script
    slides_of(report)                # one slide for a section, in a row; the keyboard scrolls
    body_of(view, place=…)           # the report alone, for a page that has its own frame

Numbers   buttons that open a pop-over (the `popover` attribute): by click, Enter or Space, closed by Escape, no script.
          Where a mouse hovers, it is shown, too. Where a browser knows no pop-overs, the quotes stand in the text
Safety    what pages and models wrote is escaped; the only addresses are the sources', to http and https
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cache
from importlib.resources import files
from typing import Any
from urllib.parse import quote

from markupsafe import Markup, escape

from foveal.research.answers import UNREAD
from foveal.research.report import Report
from foveal.research.report_blocks import Block, Run, Runs
from foveal.research.report_charts import Bar, Chart, chart_of
from foveal.research.report_view import Cite, Quote, ReportView, ShownSection

Place = Callable[[Quote], str]
"""The address at which a quote is shown in its source, "" for none."""

Panel = Callable[[Cite], str]
"""The address of a mark's own panel, on a page that has one."""

CLOSING = tuple(".,;:!?)")
"""What no line begins with: it stays with the number before it."""

LONGEST_KEPT = 24
"""Characters of a word that stays with the number behind it."""

MOST_POINTS = 5
"""Statements of a slide."""

_NO_HTML = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff\ufffe\uffff]")
_TAGS = (("code", "code"), ("em", "em"), ("strong", "strong"))


def html_of(report: Report) -> str:
    """The report as one file."""
    return _page("report.html", ReportView.of(report))


def slides_of(report: Report) -> str:
    """The report as slides in one file."""
    view = ReportView.of(report)
    return _page("slides.html", view, slides=[(one, _points(view, one)) for one in view.sections])


def body_of(view: ReportView, *, place: Place | None = None, panel: Panel | None = None) -> Markup:
    """Sections, checks, conflicts, sources: what is the report, without a frame."""
    rendered = _environment().get_template("body.html").render(_known(view, place or web_place, panel))
    return Markup(_shown(rendered))  # by templates that escape


def style() -> str:
    """The rules of a report's looks, over the tokens of a page (--text, --soft, --line, …)."""
    return (files(__package__) / "templates" / "report.css").read_text(encoding="utf-8")


def web_place(one: Quote) -> str:
    """The source's address with the words to be shown, "" where it is no page of the web."""
    url = one.url
    if not url.lower().startswith(("http://", "https://")) or re.search(r"[\s\"'<>]", url):
        return ""
    return url if "#" in url or one.unread else f"{url}{_fragment(one.text)}"  # unread: its words may not stand there


def _fragment(text: str) -> str:
    """What makes a browser show the quote in its page."""
    words = text.rstrip("…").split()
    parts = [" ".join(words[:6]), " ".join(words[-4:])] if len(words) > 12 else [" ".join(words)]
    told = (quote(one, safe="", errors="replace").replace("-", "%2D") for one in parts)
    return f"#:~:text={','.join(told)}" if words else ""


def _page(template: str, view: ReportView, **more: Any) -> str:
    known = _known(view, web_place, None) | {"css": Markup(_tokens() + style()), **more}
    return _shown(_environment().get_template(template).render(known))


def _shown(rendered: str) -> str:
    """The page without characters that no HTML may hold."""
    return _NO_HTML.sub("\ufffd", rendered)


def _known(view: ReportView, place: Place, panel: Panel | None) -> dict[str, Any]:
    def section(one: ShownSection) -> Markup:
        return Markup("").join(_drawn(view.numbered(one), place, panel))

    return {"view": view, "report": view.report, "section": section, "place": place, "unread": UNREAD}


def _tokens() -> str:
    return (files(__package__) / "templates" / "tokens.css").read_text(encoding="utf-8")


@cache
def _environment() -> Any:
    from foveal.registry import require

    jinja = require("jinja2", extra="research")
    loader = jinja.FunctionLoader(lambda one: (files(__package__) / "templates" / one).read_text(encoding="utf-8"))
    return jinja.Environment(
        loader=loader, autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja.StrictUndefined
    )


# -- blocks -----------------------------------------------------------------------------------------------------------


def _drawn(blocks: Iterator[tuple[Block, Mapping[int, Cite]]], place: Place, panel: Panel | None) -> Iterator[Markup]:
    """The elements of a section, lists within lists; each is written from where its own script begins."""
    lists: list[str] = []

    def closed(depth: int) -> Iterator[Markup]:
        while len(lists) > depth:
            yield Markup("</li></{}>").format(Markup(lists.pop()))

    for block, cites in blocks:
        inside = block.level if block.kind in ("item", "paragraph") else 0
        yield from closed(inside)
        if block.kind == "item":
            yield _item(lists, block)
            yield _runs(block.runs, cites, place, panel)
        elif block.kind == "table":
            yield _table(block, cites, place, panel)
        else:
            yield _element(block, _runs(block.runs, cites, place, panel))
    yield from closed(0)


def _item(lists: list[str], block: Block) -> Markup:
    if len(lists) == block.level:
        return Markup('</li><li dir="auto">')
    opened = []
    while len(lists) < block.level:
        lists.append("ol" if block.number else "ul")
        start = Markup(' start="{}"').format(block.number) if block.number > 1 else ""
        opened.append(Markup('<{}{} dir="auto"><li dir="auto">').format(Markup(lists[-1]), start))
    return Markup("").join(opened)


def _element(block: Block, inner: Markup) -> Markup:
    tags = {"quote": "blockquote", "heading": f"h{block.level or 3}"}
    if block.kind == "code":
        return Markup('<pre tabindex="0"><code>{}</code></pre>\n').format(block.text)
    tag = Markup(tags.get(block.kind, "p"))
    return Markup('<{0} dir="auto">{1}</{0}>\n').format(tag, inner)


def _table(block: Block, cites: Mapping[int, Cite], place: Place, panel: Panel | None) -> Markup:
    """A table, and the chart of its numbers, where it holds a column of them."""
    rows, at = [], 0
    for number, row in enumerate(block.rows):
        cells = []
        for cell in row:
            own = {key - at: one for key, one in cites.items() if at <= key < at + len(cell)}
            tag = Markup("th" if number == 0 else "td")
            scope = Markup(' scope="col"') if number == 0 else ""
            cells.append(Markup("<{0}{1}>{2}</{0}>").format(tag, scope, _runs(cell, own, place, panel)))
            at += len(cell)
        rows.append(Markup("<tr>{}</tr>").format(Markup("").join(cells)))
    head, body = rows[:1], Markup("").join(rows[1:])
    chart = chart_of(block)
    drawn = _chart(chart) if chart else ""
    return Markup(
        '<div class="table-frame" tabindex="0" role="group" aria-label="Table"><table><thead>{}</thead><tbody>{}'
        "</tbody></table></div>{}\n"
    ).format(Markup("").join(head), body, drawn)


def _chart(chart: Chart) -> Markup:
    """Bars, as an SVG; the table beside it says the same to who cannot see it."""
    high = 30 * len(chart.bars) + 8
    bars = [_bar(chart, bar, 30 * number + 6) for number, bar in enumerate(chart.bars)]
    return Markup(
        '<figure class="chart"><svg viewBox="0 0 640 {}" role="img" aria-label="Bar chart: {}; its numbers stand in '
        'the table above">{}</svg><figcaption>{}</figcaption></figure>'
    ).format(high, chart.title, Markup("").join(bars), chart.title)


def _bar(chart: Chart, bar: Bar, top: int) -> Markup:
    left, width = 208 + round(chart.offset(bar) * 360), max(1, round(chart.share(bar) * 360))
    return Markup(
        '<text x="200" y="{0}" text-anchor="end">{1}</text><rect x="{2}" y="{3}" width="{4}" height="18" rx="3" '
        'class="bar"/><text x="{5}" y="{0}" class="bar-value">{6}</text>'
    ).format(top + 14, _short(bar.name), left, top, width, left + width + 6, bar.shown)


def _short(text: str, most: int = 26) -> str:
    return text if len(text) <= most else text[: most - 1].rstrip() + "…"


def _runs(runs: Runs, cites: Mapping[int, Cite], place: Place, panel: Panel | None) -> Markup:
    words = [run.text for run in runs]
    marks = {}
    for number, cite in ((number, cites[number]) for number, run in enumerate(runs) if run.keys and number in cites):
        before, after = _beside(words, number)
        own = replace(runs[number - 1], text=before) if before else Run()
        inner = Markup("{}{}{}").format(_words(own), _cite(cite, place, panel), after)
        marks[number] = Markup('<span class="kept">{}</span>').format(inner) if before or after else inner
    parts = [marks.get(number) or _words(replace(run, text=words[number])) for number, run in enumerate(runs)]
    return Markup("").join(parts)


def _beside(words: list[str], number: int) -> tuple[str, str]:
    """Taken from the words around a mark: the last one before it, the sign behind it; no line is broken there."""
    before = words[number - 1].rpartition(" ")[2] if number else ""
    if len(before) > LONGEST_KEPT:
        before = ""
    if before:
        words[number - 1] = words[number - 1].removesuffix(before)
    after = words[number + 1][:1] if number + 1 < len(words) else ""
    if after not in CLOSING:
        return before, ""
    words[number + 1] = words[number + 1][1:]
    return before, after


def _words(run: Run) -> Markup:
    words = escape(run.text)
    if not words:
        return words
    for style, tag in _TAGS:
        if style in run.style:
            words = Markup("<{0}>{1}</{0}>").format(Markup(tag), words)
    return words


def _cite(cite: Cite, place: Place, panel: Panel | None) -> Markup:
    template = _environment().get_template("cite.html")
    return Markup(template.render(cite=cite, place=place, panel=panel(cite) if panel else ""))


# -- slides -----------------------------------------------------------------------------------------------------------


def _points(view: ReportView, section: ShownSection) -> list[tuple[str, Sequence[Quote]]]:
    """What a slide says of a section: the claims that were borne out best, in the order of the text."""
    claims = [
        (number, check)
        for number, (claim, check) in enumerate(zip(view.report.claims, view.checks, strict=True))
        if claim.section == section.heading and check.label in ("supported", "partly", "")
    ]
    best = sorted(claims, key=lambda one: -(one[1].score or 0.0))[:MOST_POINTS]
    if best:
        return [(check.claim, check.quotes) for _, check in sorted(best, key=lambda one: one[0])]
    blocks = [block.text for block in section.blocks if block.kind in ("paragraph", "item") and block.text.strip()]
    return [(text, ()) for text in blocks[:MOST_POINTS]]
