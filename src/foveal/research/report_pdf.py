"""A report as PDF, set by Typst: tagged for screen readers, with an outline, and every number a link to its source.

    pdf_of(report)          # bytes

Font      Libertinus Serif, which Typst brings; what it lacks is taken from the system's fonts
Safety    the template reads the report as JSON: what pages and models wrote is text, whatever it holds
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib.resources import files
from typing import Any

from foveal.research.report import Report
from foveal.research.report_blocks import Block, Runs
from foveal.research.report_charts import chart_of
from foveal.research.report_html import web_place
from foveal.research.report_view import Check, Cite, Quote, ReportView, ShownSection

COLOURS = {"supported": "#15703c", "partly": "#9a5300", "": "#5b6472"}


def pdf_of(report: Report) -> bytes:
    """The report as a PDF file. MissingExtra: Typst is not installed."""
    from foveal.registry import require

    typst = require("typst", extra="research")
    template = (files(__package__) / "templates" / "report.typ").read_bytes()
    values = json.dumps(_values(ReportView.of(report)), ensure_ascii=False).encode("utf-8", "replace").decode()
    made: bytes = typst.compile(template, sys_inputs={"report": values})
    return made


def _values(view: ReportView) -> dict[str, Any]:
    """All that the template shows."""
    report = view.report
    return {
        "title": view.title,
        "question": view.asked,
        "language": _language(report.brief.language),
        "about": view.about,
        "state": view.state,
        "found": report.found,
        "queries": list(report.queries) or ["none"],
        "sections": [_section(one, view) for one in view.sections],
        "turning": _section(view.turning, view) if view.turning else None,
        "conflicts": [
            {
                "about": one.about,
                "preferred": one.preferred,
                "weighed": one.weighed,
                "pairs": [list(map(_party, pair)) for pair in one.pairs],
            }
            for one in view.conflicts
        ],
        "not_covered": list(report.not_covered),
        "counted": view.counted,
        "checks": list(map(_check, view.checks)),
        "sources": [_source(number, quotes, view) for number, _, quotes in view.sources],
        "experiment": dict(view.experiment) if view.experiment else None,
    }


def _section(one: ShownSection, view: ReportView) -> dict[str, Any]:
    return {"heading": one.heading, "blocks": [_block(block, cites) for block, cites in view.numbered(one)]}


def _language(given: str) -> str:
    """A two-letter code as Typst takes it; English where the brief names the language in words, or none."""
    return given.lower() if len(given) == 2 and given.isascii() and given.isalpha() else "en"


def _block(block: Block, cites: Mapping[int, Cite]) -> dict[str, Any]:
    at, rows = 0, []
    for row in block.rows:
        cells = []
        for cell in row:
            cells.append({"runs": _runs(cell, cites, at)})
            at += len(cell)
        rows.append(cells)
    chart = chart_of(block) if rows else None
    bars = [
        {"name": bar.name, "shown": bar.shown, "share": chart.share(bar), "offset": chart.offset(bar)}
        for bar in (chart.bars if chart else ())
        if chart
    ]
    return {
        "kind": block.kind,
        "level": block.level,
        "number": block.number,
        "runs": _runs(block.runs, cites, 0) if not rows else [],
        "rows": rows,
        "chart": {"title": chart.title, "bars": bars} if chart else None,
    }


def _runs(runs: Runs, cites: Mapping[int, Cite], first: int) -> list[dict[str, Any]]:
    return [
        {
            "text": run.text,
            "style": sorted(run.style),
            "numbers": list(cites[first + place].numbers) if first + place in cites else [],
        }
        for place, run in enumerate(runs)
    ]


def _quote(one: Quote) -> dict[str, str]:
    return {"text": one.text, "where": one.where, "title": one.source.title}


def _party(one: Quote | None) -> dict[str, Any] | None:
    """A side of a conflict; None where it has no more to say."""
    return None if one is None else _quote(one) | {"dated": one.dated, "numbers": [one.number] if one.number else []}


def _check(one: Check) -> dict[str, Any]:
    return {
        "claim": one.claim,
        "numbers": [number for number in one.numbers if number],
        "said": one.said,
        "colour": COLOURS.get(one.label, "#b3261e"),
        "score": "" if one.score is None else f"{one.score:.2f}",
        "lacking": one.lacking,
        "quote": f"“{one.quotes[0].text}”" if one.quotes else "nothing is cited",
    }


def _source(number: int, quotes: tuple[Quote, ...], view: ReportView) -> dict[str, Any]:
    record = view.report.bibliography[number]
    authors = ", ".join(record.authors[:6]) + (" et al." if len(record.authors) > 6 else "")
    date = record.published_at[:10] if record.published_at else "no date"
    return {
        "number": number,
        "title": record.title,
        "address": web_place(quotes[0]) if quotes else "",
        "about": " · ".join(part for part in (authors, date, record.trust, record.licence, record.url) if part),
        "quotes": list(map(_quote, quotes)),
    }
