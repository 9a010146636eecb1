"""research: a question that no single page answers, taken apart, searched side by side, answered with citations.

`foveal research QUESTION` is short for `foveal research ask QUESTION`. `ResearchView` shows a run in the terminal: the
graph as a tree that grows, then the words of the answer.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from typer.core import TyperGroup

from foveal.cli.asking import DEFAULT_MODEL, MODELS, Answerer, Url, language_model, not_empty, server
from foveal.cli.output import AsJson, Home, notes, print_json, results

if TYPE_CHECKING:
    from rich.live import Live
    from rich.tree import Tree

    from foveal.research.answers import Researched
    from foveal.research.events import Event
    from foveal.research.graph import Node
    from foveal.research.mindsearch import MindSearch
    from foveal.research.run import Run
    from foveal.research.state import RunState
    from foveal.settings import Settings
    from foveal.types import Document

SOURCES = "library[:RETRIEVER[+RANKER]], papers, dir:PATH, arxiv, searxng:URL, http:URL"
MARKS = {
    "waiting": ("○", "dim"),
    "running": ("◐", "cyan"),
    "finished": ("●", "green"),
    "failed": ("✗", "red"),
    "cancelled": ("–", "dim"),
    "stale": ("◌", "yellow"),
}
EVERY_S = 0.1
"""Seconds between two drawings of the tree."""


class Research(TyperGroup):
    """The group; what is no command of it is a question."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if args and args[0] not in self.commands and args[0] not in ("-h", "--help"):
            args = ["ask", *args]
        return super().parse_args(ctx, args)


app = typer.Typer(
    cls=Research,
    help="Research a question that no single page answers: foveal research QUESTION.",
    no_args_is_help=True,
)

Model = Annotated[
    str | None, typer.Option(help=f"Model on this machine: {MODELS} (default, without --url: {DEFAULT_MODEL}).")
]
SourceNames = Annotated[
    list[str] | None, typer.Option("--source", help=f"Where to search (repeatable; default: library): {SOURCES}.")
]
FrontEnd = Annotated[
    Literal["auto", "code", "json"], typer.Option(help="How the planner writes: programs, or JSON under a grammar.")
]
Parallel = Annotated[int | None, typer.Option(min=1, max=64, help="Sub-questions at a time (default: 10).")]
Turns = Annotated[int | None, typer.Option(min=1, max=50, help="Turns of the planner.")]
Tokens = Annotated[int | None, typer.Option(min=0, help="Most tokens that models read and write.")]
Seconds = Annotated[float | None, typer.Option(min=0, help="Most seconds that the run takes.")]
PageCount = Annotated[int | None, typer.Option("--pages", min=0, help="Most pages that are read.")]
TraceOf = Annotated[Path, typer.Argument(help="The trace of a run.")]


@app.callback()
def group() -> None:
    """Research a question that no single page answers."""


@app.command()
def ask(
    question: Annotated[str, typer.Argument(callback=not_empty)],
    source: SourceNames = None,
    model: Model = None,
    url: Url = None,
    answerer: Answerer = None,
    front_end: FrontEnd = "auto",
    parallel: Parallel = None,
    turns: Turns = None,
    tokens: Tokens = None,
    seconds: Seconds = None,
    pages: PageCount = None,
    trace: Annotated[Path | None, typer.Option(help="New file for the run's events (default: in HOME/runs).")] = None,
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """Answer QUESTION from many pages, with numbered citations. Ctrl-C: answer now; again: stop."""
    from foveal.settings import Settings

    settings = Settings.load(home)
    limits = {"max_parallel": parallel, "max_turns": turns}
    search = _search(settings, source, model, url, answerer, front_end, limits, _budget(tokens, seconds, pages))
    path = trace or _new_trace(settings)
    _show(listened(search.start(question, trace=path), json=as_json), path, as_json)


@app.command()
def resume(
    trace: TraceOf,
    edit: Annotated[
        list[str] | None, typer.Option(help="NAME=QUESTION: a sub-question to change, or to search again (repeatable).")
    ] = None,
    source: SourceNames = None,
    model: Model = None,
    url: Url = None,
    answerer: Answerer = None,
    front_end: FrontEnd = "auto",
    parallel: Parallel = None,
    turns: Turns = None,
    tokens: Tokens = None,
    seconds: Seconds = None,
    pages: PageCount = None,
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """Go on with the run of TRACE where it was broken off; what was searched to its end is not searched again."""
    from foveal.settings import Settings

    settings = Settings.load(home)
    edits = dict(_edit(one) for one in edit or ())
    limits = {"max_parallel": parallel, "max_turns": turns}
    search = _search(settings, source, model, url, answerer, front_end, limits, _budget(tokens, seconds, pages))
    _show(listened(search.resume(trace, edits=edits), json=as_json), trace, as_json)


@app.command()
def replay(
    trace: TraceOf,
    form: Annotated[
        Literal["answer", "tree", "mermaid", "dot", "markdown", "html", "events"],
        typer.Option("--as", help="What to show of it."),
    ] = "answer",
    as_json: AsJson = False,
) -> None:
    """Show the run of TRACE again, without a model or a network."""
    from foveal.research.state import RunState
    from foveal.research.traces import load

    events = load(trace)
    state = RunState.of(events)
    if as_json or form == "answer":
        from foveal.research.answers import researched

        _show(researched(state), trace, as_json)
    else:
        typer.echo(_form(form, state, events), nl=False)


def _form(form: str, state: RunState, events: list[Event]) -> str:
    """A run as a text of one of the forms of `replay --as`."""
    from foveal.research.answers import researched
    from foveal.research.mermaid import outline, to_dot, to_mermaid

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
        case _:
            return "".join(f"{event.line()}\n" for event in events)


# -- what the commands share ------------------------------------------------------------------------------------------


def listened(run: Run, *, json: bool = False) -> Researched:
    """Show a run until its end. Ctrl-C asks for the answer; a second one stops it."""
    after = 0
    with ResearchView(quiet=json) as view:
        while True:
            try:
                for event in run.log.follow(after):
                    after = event.id
                    view.show(event)
                return run.result()
            except KeyboardInterrupt:
                if run.stopped_by is not None:
                    run.cancel()
                    run.join(1.0)
                    raise
                run.answer_now()
                notes().print("Answering from what was found so far. Ctrl-C once more stops.")


@dataclass
class ResearchView:
    """Shows a run's events; use it as a context. Where no person looks, it shows nothing."""

    quiet: bool = False
    state: RunState | None = None
    _live: Live | None = None
    _drawn: float = field(default=0.0)

    def __enter__(self) -> ResearchView:
        from rich.live import Live

        from foveal.research.state import RunState

        self.state = RunState()
        if not self.quiet and notes().is_terminal:
            self._live = Live(console=notes(), transient=True, auto_refresh=False)
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live:
            self._live.stop()

    def show(self, event: Event) -> None:
        """Take an event in, and draw at most ten times a second."""
        if self.state is None:
            return
        self.state.apply(event)
        if self._live and time.monotonic() - self._drawn > EVERY_S:
            self._drawn = time.monotonic()
            self._live.update(self.drawn(), refresh=True)

    def drawn(self) -> Any:
        """The tree, what the planner thinks now, the answer so far."""
        from rich.console import Group
        from rich.text import Text

        state = self.state
        if state is None or not state.run:
            return Text("")
        parts: list[Any] = [tree(state)]
        if state.thought:
            parts.append(Text(_end_of(state.thought), "dim italic", overflow="ellipsis"))
        if state.answer:
            parts.append(Text(f"\n{_end_of(state.answer, lines=8)}"))
        used = state.usage
        if used:
            parts.append(Text(f"{used['calls']} calls, {used['tokens']:,} tokens, {used['pages']} pages", "dim"))
        return Group(*parts)


def tree(state: RunState) -> Tree:
    """The graph as a tree; a node that needs several hangs below the deepest of them."""
    from rich.text import Text
    from rich.tree import Tree

    from foveal.research.graph import RESPONSE, ROOT
    from foveal.research.mermaid import tree_children

    shown = Tree(Text(state.question, "bold"))

    def add(to: Tree, name: str) -> None:
        for child in tree_children(state.graph, name):
            if child != RESPONSE:
                add(to.add(_label(state.graph.nodes[child])), child)

    if ROOT in state.graph.nodes:
        add(shown, ROOT)
    return shown


def _label(node: Node) -> Any:
    from rich.text import Text

    mark, style = MARKS[node.state]
    text = Text(f"{mark} ", style).append(node.content, "" if node.state != "waiting" else "dim")
    if node.state == "running":
        read = sum("error" not in page for page in node.pages)
        doing = f"{read} of {len(node.selected)} pages" if node.selected else "; ".join(node.queries)[:60]
        text.append(f"  {doing}", "dim")
    elif node.error:
        text.append(f"  {node.error[:80]}", "red")
    return text


def _end_of(text: str, lines: int = 3) -> str:
    return "\n".join(text.strip().splitlines()[-lines:])


def _show(answer: Researched, trace: Path, as_json: bool) -> None:
    if as_json:
        print_json(answer.to_json() | {"trace": str(trace)})
        return
    results().print(answer_text(answer))
    used = answer.usage
    spent = (
        f"{used.get('pages', 0)} pages, {used.get('calls', 0)} calls, {used.get('seconds', 0.0):.1f} s; "
        if used
        else ""
    )
    notes().print(f"{spent}kept in {trace}", style="dim", markup=False, soft_wrap=True)


def answer_text(answer: Researched) -> Any:
    """The answer, its sources by their numbers, and what is missing."""
    from rich.text import Text

    from foveal.research.answers import STOPPED
    from foveal.research.citations import MARK

    text = Text(MARK.sub(lambda found: f"[{found[1]}]", answer.text))
    text.append("\n")
    for number, one in zip(answer.numbers, answer.citations, strict=True):
        text.append(f"\n[{number}] ", "cyan").append(f"“{' '.join(one.quote.split())}”\n")
        text.append(f"    {one.title} · {one.url}\n", "dim")
    for claim in answer.unsupported:
        text.append(f"\nNot borne out by what was found: “{claim}”\n", "yellow")
    for question, reason in answer.missing:
        text.append(f"\nNot found: {question} {reason}\n", "yellow")
    if answer.stopped_by:
        text.append(f"\nNot complete: {STOPPED[answer.stopped_by]}.\n", "yellow")
    return text


def _search(
    settings: Settings,
    sources: list[str] | None,
    model: str | None,
    url: str | None,
    answerer: str | None,
    front_end: str,
    limits: dict[str, int | None],
    budget: Any,
) -> MindSearch:
    """The search that the options name."""
    from foveal.research.mindsearch import MindSearch, MindSettings
    from foveal.research.sources import source_of

    chat = server(url, answerer)
    places = [source_of(one, settings, **_options(one, settings)) for one in sources or ["library"]]
    if chat is None:
        from foveal.models.local_chat import LocalChat

        chat = LocalChat(language_model(model or DEFAULT_MODEL, settings))
    own = MindSettings.of(chat, front_end=front_end).with_budget(budget)
    given: dict[str, Any] = {name: value for name, value in limits.items() if value is not None}
    return MindSearch(chat, places, settings=replace(own, limits=replace(own.limits, **given)))


def _options(source: str, settings: Settings) -> dict[str, Any]:
    return {"papers": paper_documents(settings)} if source.lower() == "papers" else {}


def paper_documents(settings: Settings) -> Iterator[Document]:
    """The papers of a home as documents: title and abstract."""
    from foveal.database import Database
    from foveal.papers.store import MOST, PaperStore
    from foveal.types import Document

    database = Database.open(settings)
    try:
        store = PaperStore(database)
        for page in range(-(-store.count() // MOST)):
            for paper in store.page(sort="listed", page=page, limit=MOST).papers:
                text = f"{paper.title}\n\n{paper.abstract}"
                yield Document.of(f"paper:{paper.id}", text, paper.title, url=paper.page_url or None)
    finally:
        database.close()


def _budget(tokens: int | None, seconds: float | None, pages: int | None) -> Any:
    from foveal.research.budget import Budget

    return Budget(tokens=tokens, seconds=seconds, pages=pages)


def _new_trace(settings: Settings) -> Path:
    import uuid

    from foveal import faults

    return settings.home / "runs" / f"research-{faults.now():%Y%m%d-%H%M%S}-{uuid.uuid4().hex[:6]}.jsonl"


def _edit(given: str) -> tuple[str, str]:
    name, found, question = given.partition("=")
    if not found or not question.strip():
        raise typer.BadParameter(f"--edit got {given!r}; it needs NAME=QUESTION.")
    return name.strip(), question.strip()
