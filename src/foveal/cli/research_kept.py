"""research: the runs that the home keeps: shown again, listed, taken in from a trace, removed; what one remembers."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from foveal.cli.output import AsJson, Home, echo, notes, print_json, results
from foveal.cli.research_report import shown_again
from foveal.cli.research_setup import Which, events_of, kept_runs
from foveal.cli.research_view import shown_answer

if TYPE_CHECKING:
    from foveal.research.events import Event
    from foveal.research.state import RunState


def register(app: typer.Typer) -> None:
    """Add the commands to `foveal research`."""
    app.command()(replay)
    app.command("list")(list_runs)
    app.command("import")(take_in)
    app.command()(remove)
    app.command()(memory)


def replay(
    which: Which,
    form: Annotated[
        Literal["answer", "tree", "mermaid", "dot", "markdown", "html", "memory", "events", "trace"],
        typer.Option("--as", help="What to show of it; `memory`: what it kept in mind; `trace` can be imported."),
    ] = "answer",
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """Show RUN again, without a model or a network."""
    from foveal.research.answers import researched
    from foveal.research.state import RunState

    events, key, trace = events_of(which, home)
    state = RunState.of(events)
    if state.report is not None and form in ("answer", "markdown", "html"):
        shown_again(state, form, as_json=as_json)
    elif as_json or form == "answer":
        shown_answer(researched(state), key, as_json, trace)
    else:
        echo(_form(form, state, events))


def list_runs(
    limit: Annotated[int, typer.Option("-n", "--limit", min=1, max=1000, help="Runs to show.")] = 20,
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """The runs of the home, the newest first; of the web app, too."""
    from foveal.settings import Settings

    with kept_runs(Settings.load(home)) as runs:
        found = runs.listed(limit=limit)
    if as_json:
        names = ("key", "question", "status", "stopped_by", "used", "created_at")
        print_json([{name: getattr(one, name) for name in names} for one in found])
        return
    from rich.markup import escape
    from rich.table import Table

    table = Table("run", "begun", "state", "question", box=None, pad_edge=False)
    for one in found:
        state = one.stopped_by or one.status
        table.add_row(one.key[:8], f"{one.created_at:%Y-%m-%d %H:%M}", state, escape(one.question[:200]))
    results().print(table if found else "No run is kept here. Ask something: foveal research QUESTION")


def take_in(
    trace: Annotated[Path, typer.Argument(help="The trace of a run.")], home: Home = None, as_json: AsJson = False
) -> None:
    """Keep the run of TRACE in the home."""
    from foveal.research.traces import load
    from foveal.settings import Settings

    events = load(trace)
    with kept_runs(Settings.load(home)) as runs:
        key = runs.take_in(events)
    print_json({"run": key}) if as_json else results().print(key)


def remove(which: Which, home: Home = None, as_json: AsJson = False) -> None:
    """Delete RUN from the home."""
    from foveal.settings import Settings

    with kept_runs(Settings.load(home)) as runs:
        key = runs.find(which).key
        runs.remove(key)
    print_json({"removed": key}) if as_json else notes().print(f"Deleted: {key}", markup=False)


def memory(
    which: Which,
    pin: Annotated[list[str] | None, typer.Option(metavar="KEY", help="Never forget this fact (repeatable).")] = None,
    unpin: Annotated[list[str] | None, typer.Option(metavar="KEY", help="Let it be forgotten again.")] = None,
    delete: Annotated[
        list[str] | None, typer.Option(metavar="KEY", help="Take out a fact that is wrong; not one that is cited.")
    ] = None,
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """Show the facts that RUN remembers, by their keys; pin or delete some, which holds once the run goes on."""
    from foveal.research.memory_edits import cited, edit, remembered
    from foveal.research.state import RunState
    from foveal.settings import Settings

    asked = [(what, key) for what, keys in (("pin", pin), ("unpin", unpin), ("delete", delete)) for key in keys or ()]
    with kept_runs(Settings.load(home)) as runs:
        key = runs.find(which).key
        if asked:
            edit(runs, key, asked)
        state = RunState.of(runs.events(key))
    facts, held = remembered(state).facts, cited(state)
    if as_json:
        print_json([one.to_row() | {"cited": one.source in held} for one in facts])
        return
    from rich.markup import escape
    from rich.table import Table

    table = Table("fact", "", "says", box=None, pad_edge=False)
    for one in facts:
        marks = {"pinned": one.pinned, "cited": one.source in held, "superseded": bool(one.superseded_by)}
        table.add_row(one.key, ", ".join(name for name, holds in marks.items() if holds), escape(one.line))
    results().print(table if facts else "This run remembers nothing.")


def _form(form: str, state: RunState, events: list[Event]) -> str:
    """A run as a text of one of the forms of `replay --as`."""
    from foveal.research.answers import researched
    from foveal.research.memory_kept import MemoryShown
    from foveal.research.mermaid import outline, to_dot, to_mermaid
    from foveal.research.traces import text_of

    match form:
        case "tree":
            return outline(state.graph) + "\n"
        case "mermaid":
            return to_mermaid(state.graph)
        case "dot":
            return to_dot(state.graph)
        case "markdown":
            return researched(state).to_markdown()
        case "html":
            return researched(state).to_html()
        case "memory":
            kept = MemoryShown.of(state.memory)
            return kept.text() if kept else "This run kept no memory.\n"
        case "trace":
            return text_of(events)
        case _:
            return "".join(f"{event.line()}\n" for event in events)
