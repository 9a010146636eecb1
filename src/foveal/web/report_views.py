"""What the page of a report shows: how far it is, its body with numbers that open, a quote in its place in the source.

Panel      the mark that was chosen: the passage of the source with the quote marked in it, the claims that rest on it,
           and a link to the place in the library, or to the words in the page on the web
Safety     as for the file of a report (research/report_html.py): all words are escaped
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from fastapi import HTTPException
from fastapi.responses import Response

from foveal.research.events import Event
from foveal.research.markdown import number_of
from foveal.research.memory_kept import MemoryShown
from foveal.research.report import Brief, Report
from foveal.research.report_exports import EXPORTS, file_name
from foveal.research.report_html import body_of, style, web_place
from foveal.research.report_parts import FORMATS
from foveal.research.report_runs import Progress, progress_of, report_of
from foveal.research.report_view import Check, Quote, ReportView
from foveal.research.runs import KeptRun
from foveal.research.scope import asks
from foveal.research.state import RunState
from foveal.text.wrapping import unwrapped
from foveal.web.document_text import place_address
from foveal.web.signed_in import private

Known = Callable[[Sequence[str]], Mapping[str, str]]
"""Ids of documents -> their revisions, for those that the site's library holds."""


@dataclass(frozen=True, slots=True)
class InPlace:
    """A quote within the passage that was read; its lines flow, where they were only broken to fit a width."""

    quote: Quote
    before: str
    quoted: str
    after: str
    address: str
    host: str
    claims: tuple[Check, ...]  # that cite it


def is_report(run: KeptRun, state: RunState) -> bool:
    """Whether a run is to give a report, or gave one."""
    return bool(run.options.get("report") or state.report or state.plan or state.steps)


def draft_told(draft: Mapping[str, Any]) -> str:
    """How good a draft was found to be."""
    said = f"Draft {int(draft.get('version', 0)) + 1}: {draft.get('supported', 0)} of {draft.get('claims', 0)}"
    return f"{said} statements borne out{', the best so far' if draft.get('best') else ''}"


def report_known(run: KeptRun, state: RunState, events: Sequence[Event], cite: str, known: Known) -> dict[str, Any]:
    """What the templates of a report know beside what those of all runs do."""
    report, progress = report_of(state), progress_of(events)
    view = ReportView.of(report) if report else None
    place = _place_of(report, known) if report else web_place
    drawn = (*view.sections, *((view.turning,) if view.turning else ())) if view else ()
    cites = {one.id: one for section in drawn for one in section.cites}
    chosen, waits_for = cites.get(cite), asks(state)
    return {
        "view": view,
        "progress": progress,
        "counted": _counted(progress, state),
        "memory": MemoryShown.of(state.memory),
        "asks": waits_for,
        "scope_fields": fields_of(waits_for.brief) if waits_for and waits_for.brief else {},
        "formats": FORMATS,
        "drafts": list(map(draft_told, progress.drafts)),
        "body": body_of(view, place=place, panel=lambda one: f"/research/{run.key}?cite={one.id}#panel")
        if view
        else "",
        "cite": chosen,
        "quotes": [_in_place(one, view, place) for one in chosen.quotes] if view and chosen else [],
        "downloads": [
            *((f"/research/{run.key}/export/{name}", one.title) for name, one in EXPORTS.items() if report),
            (f"/research/{run.key}/export/trace", "Trace, to replay it"),
        ],
        "line": "research/_report_line.html",
    }


def fields_of(brief: Brief) -> dict[str, str]:
    """A brief as its form shows it."""
    return {
        "goal": brief.goal, "cover": "\n".join(brief.must_cover), "without": "\n".join(brief.out_of_scope),
        "since": brief.since, "until": brief.until, "language": brief.language, "format": brief.format,
        "words": str(brief.words),
    }  # fmt: skip


def report_file(report: Report, form: str) -> Response:
    """A report as a file to keep. HTTPException 404: there is no such form."""
    if form not in EXPORTS:
        raise HTTPException(404, f"A report can be had as {', '.join(EXPORTS)}.")
    one = EXPORTS[form]
    name = {"content-disposition": f'attachment; filename="{file_name(report, form)}"'}
    return Response(one.write(report), 200, private(name), one.media_type)


def styles() -> Response:
    """The looks of a report, for its page."""
    return Response(style(), 200, {"cache-control": "public, max-age=600"}, "text/css")


def _counted(progress: Progress, state: RunState) -> str:
    """What a run has done, in one line."""
    parts = [f"{progress.over} of {len(progress.steps)} steps"] if progress.steps else []
    for count, name in ((progress.sources, "source"), (progress.evidence, "passage"), (len(progress.drafts), "draft")):
        parts += [number_of(count, name)] if count else []
    tokens = state.usage.get("tokens")
    return " · ".join([*parts, f"{tokens:,} tokens"] if tokens else parts)


def _place_of(report: Report, known: Known) -> Callable[[Quote], str]:
    """Where a quote is shown: in the library that holds its document, else on the web."""
    held = known([one.document_id for one in report.sources])

    def place(one: Quote) -> str:
        if one.document_id in held and not one.unread:
            return place_address(one.document_id, one.start, one.end, one.source.revision or None)
        return web_place(one)

    return place


def _in_place(one: Quote, view: ReportView, place: Callable[[Quote], str]) -> InPlace:
    passage = view.report.by_key[one.key].passage
    first, last = one.start - passage.span.start, one.end - passage.span.start
    address = place(one)
    host = "this library" if address.startswith("/") else urlsplit(one.url).hostname or one.url
    claims = tuple(check for check in view.checks if any(quote.key == one.key for quote in check.quotes))
    shown = unwrapped(passage.text)
    return InPlace(one, shown[:first], shown[first:last], shown[last:], address, host, claims)
