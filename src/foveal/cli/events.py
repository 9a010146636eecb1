"""events, ab: what is going on in a library or feed, and which of two searches people prefer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from foveal.cli.output import AsJson, Home, notes, open_library, print_json, results
from foveal.cli.pictures import drawable
from foveal.errors import InputError, UnreadableSource

if TYPE_CHECKING:
    from datetime import datetime

    from foveal.evaluation.interleaving import Verdict
    from foveal.retrieval.burst_terms import TermBurst
    from foveal.retrieval.event_items import Item
    from foveal.retrieval.event_snapshots import Event
    from foveal.retrieval.events import EventStore
    from foveal.text.sources import Skipped

DRAWN = 5
"""Events in a picture."""

LEAST_DAYS = 14
"""Days that a picture shows."""

SURE = 0.05
"""The highest p at which one of two searches is said to be preferred."""

IN_LEGEND = 40
"""Characters of an event's phrase beside its line."""

SHOWN_SKIPPED = 5
"""Records that gave no document, of which it is told why."""


def register(app: typer.Typer) -> None:
    """Put this module's commands into `app`."""
    app.command()(events)
    app.command()(ab)


def events(
    source: Annotated[
        str | None, typer.Argument(help="A JSONL file or folder of dated records (default: the library).")
    ] = None,
    at: Annotated[str | None, typer.Option(help="As of this date, such as 2023-05-01 (default: now).")] = None,
    k: Annotated[int, typer.Option("-k", min=1, max=1000, help="Events to show.")] = 20,
    trending: Annotated[
        bool, typer.Option("--trending", help="What counts now, no two alike; else by burst, the strongest first.")
    ] = False,
    bursts: Annotated[
        bool, typer.Option("--bursts", help="The words of titles that burst, over the whole time, and when.")
    ] = False,
    event: Annotated[str | None, typer.Option("--event", help="Show this event whole.")] = None,
    picture: Annotated[
        Path | None,
        typer.Option(help="Draw the first events by day: a PNG.", show_default=False, callback=drawable),
    ] = None,
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """Show what is happening in dated texts: events with their burst, stage, sources and titles."""
    from foveal.text.dates import moment

    clock = moment(at)
    items, skipped = _items(source, home)
    if bursts:
        _show_bursts(_past(items, clock), k, as_json=as_json)
        return
    store = _mined(items, clock)
    found = [store.get(event, clock)] if event else store.trending(clock, k) if trending else store.events(clock, k)
    if picture and found:
        notes().print(f"Drawn: {_draw(found[:DRAWN], picture)}", markup=False)
    if as_json:
        told = {"at": clock, "received": store.received, "no_evidence": dict(store.reasons), "skipped": skipped}
        print_json({**told, "events": found})
        return
    _show_events(found, store, whole=event is not None, why=_why_none(items, clock))


def ab(
    query: Annotated[str | None, typer.Argument(help="What to find; without it the tally so far is shown.")] = None,
    a: Annotated[str, typer.Option("--a", help="One search: a retriever, or NAME:MODEL.")] = "hybrid",
    b: Annotated[str, typer.Option("--b", help="The other one.")] = "fresh",
    k: Annotated[int, typer.Option("-k", min=1, max=100, help="Passages to show.")] = 10,
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """Find by two searches at once, blind, and say which passages were useful: which search do you prefer?"""
    from foveal.evaluation.interleaving import InterleavingLog, verdict
    from foveal.retrieval.interleaved import FILE, InterleavedRetriever

    if query is not None and a == b:
        raise typer.BadParameter(f"--a and --b are both {a}; a search compared with itself says nothing.")
    library = open_library(home)
    if query is not None:
        from foveal.cli.hits import hit_text

        mixed = InterleavedRetriever.over(library, None, model=f"{a},{b}")
        found = mixed.search([query], k)[0]
        entries = library.entries([hit.passage.span.document_id for hit in found])
        console = notes() if as_json else results()
        for place, hit in enumerate(found, start=1):
            console.print(hit_text(place, hit, entries[hit.passage.span.document_id], query, full=False))
        for place in _useful(len(found)) if found else ():
            mixed.clicked(place - 1)
    log = InterleavingLog(library.settings.home / FILE)
    pairs: dict[tuple[str, str], list[Any]] = {}
    for one in log.impressions():
        pairs.setdefault((one.a, one.b), []).append(one)
    tallies = {pair: verdict(shown) for pair, shown in pairs.items()}
    if as_json:
        print_json([{"a": pair[0], "b": pair[1], "tally": tally} for pair, tally in tallies.items()])
    else:
        _show_tallies(tallies)


# -- parts ------------------------------------------------------------------------------------------------------------


def _items(source: str | None, home: Path | None) -> tuple[list[Item], list[Skipped]]:
    """Documents, and what gave none, which is told at once. UnreadableSource: there is nothing else."""
    if source is None:
        from foveal.retrieval.event_library import items_of

        with notes().status("Reading the library …"):
            return list(items_of(open_library(home, said=False).store)), []
    from foveal.retrieval.event_items import Item
    from foveal.retrieval.event_library import source_of
    from foveal.settings import Settings
    from foveal.text.loading import Skipped, discover, readable
    from foveal.text.sources import load_settings

    settings = replace(load_settings(Settings.load(home)), bare_titles=True)
    found, skipped = list[Item](), list[Skipped]()
    with notes().status("Reading …"):
        for one in discover([source], settings):
            for document in (one,) if isinstance(one, Skipped) else readable(one, settings):
                if isinstance(document, Skipped):
                    skipped.append(document)
                    continue
                where = source_of(document.url or str(document.metadata.get("source", "")))
                text = "" if document.text == document.title else document.text
                found.append(Item(document.id, document.title, text, document.published_at, where))
    if skipped and not found:
        raise UnreadableSource(skipped[0].reason)
    for lost in skipped[:SHOWN_SKIPPED]:
        notes().print(f"Not counted: {lost.reason}", markup=False, soft_wrap=True)
    if len(skipped) > SHOWN_SKIPPED:
        notes().print(f"… and {len(skipped) - SHOWN_SKIPPED:,} more were not counted; --json lists them all.")
    return found, skipped


def _past(items: Sequence[Item], clock: datetime) -> list[Item]:
    """What is dated up to `clock`, in the order of the dates; of one moment in the order given."""
    dated = [(item.published_at, item) for item in items if item.published_at is not None]
    return [item for at, item in sorted(dated, key=lambda one: one[0]) if at <= clock]


def _mined(items: Sequence[Item], clock: datetime) -> EventStore:
    """The events up to `clock`; what is not dated, or dated later, is counted as no evidence."""
    from foveal.retrieval.events import EventStore

    with notes().status("Looking for events …"):
        past = _past(items, clock)
        store, known = EventStore().extend(past), {item.id for item in past}
        for item in items:
            if item.id not in known:
                store.add(item, clock)
    return store


def _why_none(items: Sequence[Item], clock: datetime) -> str:
    """What to say where no event is found; a document of the future does not hide how old the others are."""
    dated = [item.published_at.date() for item in items if item.published_at is not None]
    if not dated:
        return "No event: no document is dated. Web pages, feeds, arXiv and JSONL with `published_at` bring dates."
    past = [item.published_at.date() for item in _past(items, clock) if item.published_at is not None]
    if not past:
        return f"No event by {clock.date()}: the first document is of {min(dated)}."
    last = past[-1]
    if last < clock.date():
        return f"No event as of {clock.date()}: the last document is of {last}. As of then: --at {last}."
    return f"No event as of {clock.date()}: nothing stands out among what is dated."


def _show_events(found: Sequence[Event], store: EventStore, *, whole: bool, why: str) -> None:
    from rich.table import Table
    from rich.text import Text

    columns = [
        ("id", [one.id for one in found]),
        ("event", [one.phrase for one in found]),
        ("stage", [one.stage for one in found]),
        ("items", [str(one.count) for one in found]),
        ("again", [str(one.duplicates or "") for one in found]),
        ("sources", [str(len(one.sources)) for one in found]),
        ("when", [_days(one) for one in found]),
        ("burst", [f"{one.burst:.1f}" for one in found]),
    ]
    alike = {"again": "", "sources": "1"}  # what says nothing where all are so: the event's words need the room
    told = [(name, values) for name, values in columns if whole or {*values} != {alike.get(name, name)}]
    table = Table(*(name for name, _ in told), box=None, pad_edge=False)
    for row in zip(*(values for _, values in told), strict=True):
        table.add_row(*map(Text, row))
    results().print(table if found else why)
    for one in found if whole else ():
        for title, document in zip(one.titles, one.documents, strict=True):
            results().print(f"   {document[:8]}  {title}", markup=False)
    refused = ", ".join(f"{count:,} {reason}" for reason, count in sorted(store.reasons.items()) if count)
    many = f"{store.received:,} document{'s' * (store.received != 1)}"
    notes().print(f"{many}; no new evidence: {refused}." if refused else f"{many}.", markup=False)


def _days(event: Event) -> str:
    """The days from the first to the last that it was seen on."""
    first, last = event.first_seen.date().isoformat(), event.last_seen.date().isoformat()
    if first == last:
        return first
    return f"{first} to {last[5:] if first[:4] == last[:4] else last}"


def _show_bursts(items: Sequence[Item], k: int, *, as_json: bool) -> None:
    from rich.table import Table
    from rich.text import Text

    from foveal.retrieval.burst_terms import TermCounts, term_bursts

    found: list[TermBurst] = term_bursts(TermCounts.of(items), k)
    if as_json:
        print_json(found)
        return
    table = Table("word", "from", "to", "titles", "weight", box=None, pad_edge=False)
    for one in found:
        days = (one.start.date().isoformat(), one.end.date().isoformat())
        table.add_row(*map(Text, (one.term, *days, str(one.count), f"{one.weight:.1f}")))
    results().print(table if found else "No word bursts.")


def _draw(found: Sequence[Event], path: Path) -> Path:
    from datetime import date, timedelta

    from foveal.evaluation.plots import lines

    days = sorted({date.fromisoformat(day) for one in found for day in one.days})
    first = min(days[0], days[-1] - timedelta(days=LEAST_DAYS - 1))
    span = [first + timedelta(days=step) for step in range((days[-1] - first).days + 1)]
    series = {
        f"{one.id} {begun(one.phrase)}": [float(one.days.get(day.isoformat(), 0)) for day in span] for one in found
    }
    return lines(span, series, path, title="Events", x_label="day", y_label="documents a day")


def begun(phrase: str) -> str:
    """The first words of a phrase, for a legend."""
    return phrase if len(phrase) <= IN_LEGEND else f"{phrase[:IN_LEGEND].rpartition(' ')[0] or phrase[:IN_LEGEND]} …"


def _useful(count: int) -> list[int]:
    """The numbers that a person types, from 1; none where the line is empty. What is no number is asked for again.

    InputError: the input ends behind such a line.
    """
    said = ""
    while True:
        notes().print(f"{said}Which were useful? Numbers with blanks between, or just Enter: ", end="", markup=False)
        try:
            words = input().replace(",", " ").split()
        except EOFError as ended:
            if said:
                raise InputError(f"{said}The search was noted without clicks; ask again.") from ended
            words = []
        wrong = next((word for word in words if not word.isdecimal() or not 1 <= int(word) <= count), None)
        if wrong is None:
            return [int(word) for word in words]
        said = f"{wrong!r} is no number from 1 to {count}. "


def _show_tallies(tallies: dict[tuple[str, str], Verdict]) -> None:
    from rich.table import Table

    table = Table("A", "B", "A won", "B won", "ties", "without click", "p", box=None, pad_edge=False)
    for (a, b), tally in tallies.items():
        counts = (str(count) for count in (tally.a, tally.b, tally.ties, tally.unclicked))
        table.add_row(a, b, *counts, f"{tally.p_value:.3g}")
    results().print(table if tallies else 'Nothing was compared yet. Begin: foveal ab "QUERY"')
    for (a, b), tally in tallies.items():
        results().print(_preferred(a, b, tally), markup=False, soft_wrap=True)


def _preferred(a: str, b: str, tally: Verdict) -> str:
    """The verdict in words: `p` is how often a coin would part them as clearly."""
    better, won, lost = (a, tally.a, tally.b) if tally.a >= tally.b else (b, tally.b, tally.a)
    if tally.p_value > SURE:
        return f"{a} and {b}: too early to say which is preferred (a coin parts them so with p {tally.p_value:.2g})."
    return f"{better} is preferred, by {won} to {lost}: a coin parts them so with p {tally.p_value:.2g}."
