"""What the templates of a run know, whoever looks: pages, streams and the API share it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

from foveal.research.answers import BY_ITSELF, researched
from foveal.research.citations import said_by
from foveal.research.graph import RESPONSE, ROOT
from foveal.research.runs import KeptRun
from foveal.research.state import RunState
from foveal.web.models import is_local
from foveal.web.report_views import is_report, report_known
from foveal.web.research_desk import Desk
from foveal.web.research_graph import drawn
from foveal.web.research_views import ENDED, NOTHING, Views, counted, outline
from foveal.web.site import Site

DOWNLOADS = {
    "markdown": "Answer as Markdown",
    "json": "All of it as JSON",
    "mermaid": "Graph for Mermaid",
    "trace": "Trace, to replay it",
}
"""What an answer can be had as."""


def known_of(desk: Desk, run: KeptRun, state: RunState, chosen: str) -> dict[str, Any]:
    """What does not depend on who looks. `after` is the last event that is shown."""
    job = desk.job(run.key)
    there = desk.elsewhere(run) if job is None else None
    doing = job or there
    live = doing is not None or run.status == "running"
    common = {
        "run": run,
        "state": state,
        "after": state.last,
        "live": live,
        "here": job is not None,
        "stoppable": doing is not None,
        "waits": doing is not None and doing.state == "waiting",
        "ahead": desk.site.jobs.ahead(job) if job is not None else 0,
        "working": doing.progress.text if doing is not None else "",
        "ended": ended(run, state, desk.failure(run.key)) if not live else "",
        "failed": state.search_failed,
        "question": state.question or run.question,
        "local": is_local(desk.site.models),
        "mailing": desk.site.mail is not None,
    }
    if is_report(run, state):
        log = desk.log(run.key)
        events = desk.runs.events(run.key) if log is None else log.so_far()
        views = views_of(desk.site, run)
        node = chosen if chosen in state.graph.nodes and chosen != RESPONSE else ""
        own = {
            "drawing": drawn(state.graph, selected=node) if len(state.graph.nodes) > 1 else None,
            "panel": views.panel(state, node) if node else None,
            "node_query": node_query,
        }
        return common | own | report_known(run, state, events, chosen, views.known)
    return common | _answer_known(desk, run, state, chosen, live=live)


def _answer_known(desk: Desk, run: KeptRun, state: RunState, node: str, *, live: bool) -> dict[str, Any]:
    """What the templates of an answer know beside that."""
    views, found = views_of(desk.site, run), researched(state)
    chosen = node if node in state.graph.nodes and node != RESPONSE else ROOT
    return {
        "counted": counted(state),
        "drawing": drawn(state.graph, selected=chosen),
        "outline": outline(state.graph),
        "panel": views.panel(state, chosen),
        "written": views.written(state.answer, state, "a"),
        "sources": views.sources(state, found.numbers, lambda number: said_by(state.answer, number)),
        "missing": found.missing if not live else (),
        "unsupported": found.unsupported,
        "silent": found.unsearched,
        "by_itself": BY_ITSELF if found.by_itself and not live else "",
        "node_query": node_query,
        "downloads": [(f"/research/{run.key}/export/{form}", title) for form, title in DOWNLOADS.items()],
        "line": "research/_line.html",
    }


def ended(run: KeptRun, state: RunState, failure: str) -> str:
    """How a run ended, for people."""
    if run.status == "waiting":
        return failure or "It waited when the server was stopped, and did not begin."
    if state.done is None and run.status == "done":  # it was cancelled before its turn: nothing is kept of it
        return ENDED[run.stopped_by or ""]
    if state.done is None:
        return "Broken off: the process that did it is no more. What it had found is kept."
    stopped_by = state.done.get("stopped_by") or ""
    nothing = NOTHING if state.done.get("found") is False else {}  # older runs do not say
    said = nothing.get(stopped_by) or ENDED[stopped_by]
    why = next(iter(reversed(state.errors)), "") if stopped_by in ("error", "model") else ""
    return f"{said}. {why}" if why else said


def views_of(site: Site, run: KeptRun) -> Views:
    """Views that know the library's documents, where the run may cite some."""
    if not site.has_library or not any(one.startswith("library") for one in run.options.get("sources", ())):
        return Views()
    held: dict[str, str | None] = {}

    def known(ids: Sequence[str]) -> Mapping[str, str]:
        new = [one for one in ids if one not in held]
        entries = site.library.entries(new) if new else {}
        held.update({one: entries[one].revision if one in entries else None for one in new})
        return {one: revision for one in ids if (revision := held[one]) is not None}

    return Views(known)


def node_query(name: str) -> str:
    """The part of an address that names a node."""
    return f"?node={quote(name, safe='')}"
