"""research watch: a question is researched again and again, and only what changed is told: here, and by mail.

`foveal research watch QUESTION` is short for `… watch add QUESTION`. The web app looks at watched questions while it
runs; without it, `foveal research watch run` does, from cron or by hand.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from typer.core import TyperGroup

from foveal.cli.asking import DEFAULT_MODEL, MODELS, Answerer, Url, language_model, not_empty, server
from foveal.cli.output import AsJson, Home, notes, print_json, results

if TYPE_CHECKING:
    from foveal.database import Database
    from foveal.models.chat import ChatModel
    from foveal.research.report import Report
    from foveal.research.watches import Watch, Watches
    from foveal.research.watching import Look, Told
    from foveal.settings import Settings


class Watching(TyperGroup):
    """The group; what is no command of it is a question."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if args and args[0] not in self.commands and args[0] not in ("-h", "--help"):
            args = ["add", *args]
        return super().parse_args(ctx, args)


app = typer.Typer(
    cls=Watching,
    help="Research a question again and again, and tell only what changed: foveal research watch QUESTION.\n\n"
    "Its options: foveal research watch add --help.",
    no_args_is_help=True,
)

Number = Annotated[int, typer.Argument(metavar="NUMBER", min=1, help="A number of `research watch list`.")]


@app.callback()
def group() -> None:
    """Research a question again and again, and tell only what changed."""


@app.command()
def add(
    question: Annotated[str, typer.Argument(callback=not_empty)],
    source: Annotated[
        list[str] | None, typer.Option("--source", help="Where to search, as of `foveal research` (default: papers).")
    ] = None,
    mode: Annotated[Literal["quick", "normal", "deep"], typer.Option(help="How thorough each report is.")] = "quick",
    planner: Annotated[
        Literal["auto", "single", "parallel", "sequential", "tree"], typer.Option(help="How it searches.")
    ] = "auto",
    every: Annotated[Literal["daily", "weekly"], typer.Option(help="How often it is looked at.")] = "weekly",
    since: Annotated[
        str | None, typer.Option("--since", metavar="RUN", help="A kept run whose report later ones are held against.")
    ] = None,
    mail: Annotated[
        str | None, typer.Option(help="Address that hears of changes, once its owner has confirmed it.")
    ] = None,
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """Watch QUESTION: the first look, or RUN, is what later reports are held against."""
    from foveal.research.report_runs import ReportAsk
    from foveal.research.sources import require_named
    from foveal.research.watches import Watches
    from foveal.settings import Settings

    settings = Settings.load(home)
    for one in source or ():
        require_named(one)
    with _opened(settings) as database:
        report, run = _report_of(database, since) if since else (None, "")
        options = {"sources": source or ["papers"]} | ReportAsk(mode=mode, planner=planner).options()
        address = _asked_for(settings, database, mail) if mail else ""
        number = Watches(database).add(question, options, every=every, address=address, report=report, run=run)
    if as_json:
        print_json({"watch": number})
    else:
        results().print(
            f"Watched as {number}, {every}. `foveal research watch run` looks when it is due.", markup=False
        )


@app.command("list")
def show(home: Home = None, as_json: AsJson = False) -> None:
    """The watched questions of the home; of the web app, too."""
    from foveal.research.watches import Watches
    from foveal.settings import Settings

    with _opened(Settings.load(home)) as database:
        found = Watches(database).listed(reports=False)
    if as_json:
        names = ("id", "question", "every", "address", "run", "looked_at", "due_at", "error")
        print_json([{name: getattr(one, name) for name in names} for one in found])
        return
    from rich.markup import escape
    from rich.table import Table

    table = Table("number", "every", "last look", "next look", "question", box=None, pad_edge=False)
    for one in found:
        last = "failed" if one.error else f"{one.looked_at:%Y-%m-%d}" if one.looked_at else "not yet"
        question = escape(one.question[:200]) + (f" [dim](mailed to {escape(one.address)})[/]" if one.address else "")
        question += f"\n[red]{escape(one.error)}[/]" if one.error else ""
        table.add_row(str(one.id), one.every, last, f"{one.due_at:%Y-%m-%d %H:%M}", question)
    results().print(table if found else "No question is watched. Watch one: foveal research watch QUESTION")


@app.command()
def remove(number: Number, home: Home = None, as_json: AsJson = False) -> None:
    """Watch question NUMBER no more."""
    from foveal.research.watches import Watches
    from foveal.settings import Settings

    with _opened(Settings.load(home)) as database:
        Watches(database).remove(number)
    print_json({"removed": number}) if as_json else notes().print(f"Question {number} is not watched any more.")


@app.command()
def run(
    number: Annotated[int | None, typer.Argument(min=1, help="Look at this one now, whether or not it is due.")] = None,
    model: Annotated[
        str | None, typer.Option(help=f"Model on this machine: {MODELS} (default, without --url: {DEFAULT_MODEL}).")
    ] = None,
    url: Url = None,
    answerer: Answerer = None,
    seconds: Annotated[float, typer.Option(min=1, help="Most seconds that one report takes.")] = 900.0,
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """Look at the questions that are due: research them again, tell what changed, send the mails about it."""
    from foveal.settings import Settings

    settings = Settings.load(home)
    if model is not None:
        from foveal.models.hub import require_known

        require_known(model, kind="language model", home=settings.home)
    with _opened(settings) as database:
        named = {"model": model, "url": url, "answerer": answerer, "seconds": seconds}
        looks = _looks(settings, database, number, named)
    if as_json:
        print_json([_look_json(one) for one in looks])
    else:
        for look in looks:
            _show(look)
    if not (looks or as_json):
        results().print("No watched question is due.")
    if any(look.error for look in looks):
        raise typer.Exit(1)


# -- parts ------------------------------------------------------------------------------------------------------------


@contextmanager
def _opened(settings: Settings) -> Iterator[Database]:
    from foveal.database import Database

    database = Database.open(settings)
    try:
        yield database
    finally:
        database.close()


def _report_of(database: Database, which: str) -> tuple[Report, str]:
    """The report of a kept run, and its key. InputError: it has none."""
    from foveal.errors import InputError
    from foveal.research.report_runs import report_of
    from foveal.research.runs import Runs
    from foveal.research.state import RunState

    runs = Runs(database)
    key = runs.find(which).key
    report = report_of(RunState.of(runs.events(key)))
    if report is None:
        raise InputError(f"The run {key[:8]} has no report. Make one: foveal research QUESTION --report")
    return report, key


def _asked_for(settings: Settings, database: Database, address: str) -> str:
    """The address as it is kept; its owner is asked, unless they have agreed already."""
    from foveal.cli.digest import deliverer
    from foveal.papers.mail.changes import ask_for_changes
    from foveal.papers.mail.links import Links
    from foveal.papers.mail.schedule import CHANGES
    from foveal.papers.mail.settings import load_mail
    from foveal.papers.mail.subscriptions import subscriptions
    from foveal.papers.mail_addresses import canonical
    from foveal.papers.secrets import secret_of

    mail = load_mail(settings).complete()
    known = subscriptions(database, state="confirmed", address=address)
    if not any(one.preferences.cadence == CHANGES for one in known):
        deliver = deliverer(settings)
        ask_for_changes(database, secret_of(settings.home), address, deliver=deliver, links=Links(mail.url))
        notes().print(f"A link to confirm was mailed to {address}; nothing else is sent before it was opened.")
    return canonical(address)


def _looks(settings: Settings, database: Database, number: int | None, named: Mapping[str, Any]) -> list[Look]:
    """What came of the looks that are due, or of one; mails about them leave at the end."""
    from foveal import faults
    from foveal.papers.mail.delivery import send
    from foveal.papers.mail.morning import outbox_of
    from foveal.papers.mail.settings import load_mail
    from foveal.research.watches import Watches
    from foveal.research.watching import look_at_due
    from foveal.web.watched import fresh_papers, told_by_mail

    watches = Watches(database)
    if number is not None:
        watches.hasten(number)
    outbox = outbox_of(settings, database) if load_mail(settings).host else None
    fresh = fresh_papers(database, lambda question, k: _papers(settings, question, k))
    found = list(
        look_at_due(
            watches,
            research=lambda watch: _researched(settings, watches, watch, named),
            fresh=fresh if number is None else lambda _: True,
            tell=told_by_mail(outbox),
            now=faults.now(),
            only=number,
        )
    )
    if outbox is not None and (sent := send(outbox)).planned + sent.sent + bool(sent.stopped):
        notes().print(sent.stopped or f"{sent.sent} mails were sent.", markup=False)
    return found


def _researched(settings: Settings, watches: Watches, watch: Watch, named: Mapping[str, Any]) -> tuple[str, Report]:
    """The report of a watched question, made anew: the key of its run, and the report.

    Cancelled: by Ctrl-C; or the question was taken away, and its run with it.
    """
    from foveal.cli.research_setup import sources_of
    from foveal.cli.research_view import ResearchView
    from foveal.errors import Cancelled, FovealError
    from foveal.research.budget import Budget
    from foveal.research.report_runs import ReportAsk, report_of, reporter_of
    from foveal.research.runs import Owner, Runs
    from foveal.research.state import RunState
    from foveal.research.watching import let_go

    ask = ReportAsk.of(watch.options) or ReportAsk()
    places = sources_of(watch.options.get("sources") or ["papers"], settings)
    reporter = reporter_of(_chat(settings, named), places, ask, Budget(seconds=named["seconds"]), settings)
    runs = Runs(watches.database)
    options = dict(watch.options) | {"watch": watch.id}
    key = runs.new(watch.question, options=options, owner=Owner(person=watch.owner))  # who is told of it may see it
    notes().print(f"Researching: {watch.question}", style="dim", markup=False)
    with runs.keep(key) as keeper:
        run = reporter.start(watch.question, key=key, keepers=[keeper])
        try:
            with ResearchView() as view:
                for event in run.log.follow():
                    view.show(event)
                    if not watches.holds(watch.id):
                        run.cancel()
            run.join()
        except KeyboardInterrupt:
            run.cancel()
            run.join(5.0)
            raise Cancelled("Stopped; the question stays due.") from None
    if not watches.holds(watch.id):
        let_go(watches, key)
        raise Cancelled("The question is not watched any more.")
    if run.failure is not None:
        raise run.failure
    report = report_of(RunState.of(run.log.so_far()))
    if report is None:
        raise FovealError("The run ended without a report.")
    return key, report


def _chat(settings: Settings, named: Mapping[str, Any]) -> ChatModel:
    chat = server(named["url"], named["answerer"], settings)
    if chat is not None:
        return chat
    from foveal.models.local_chat import LocalChat

    return LocalChat(language_model(named["model"] or DEFAULT_MODEL, settings))


def _papers(settings: Settings, question: str, k: int) -> Sequence[str]:
    from foveal.cli.research_setup import paper_search

    return [hit.paper.id for hit in paper_search(settings).search(question, k).hits]


def _show(look: Look) -> None:
    """What came of a look, for a person."""
    from rich.text import Text

    results().print(Text(f"{look.watch}  {look.question}", "bold"))
    results().print(Text(f"   {look.said}", "red" if look.error else ""))
    change = look.change
    for flip in change.flipped if change else ():
        results().print(Text(f"   ↻ {flip.before.text}", "yellow"))
        results().print(Text(f"     now: {_line(flip.after)}"), soft_wrap=True)
    for sign, style, told in (("+", "green", change.new), ("−", "red", change.gone)) if change else ():
        for one in told:
            results().print(Text(f"   {sign} {_line(one)}", style), soft_wrap=True)
    for one in change.sources if change else ():
        results().print(Text(f"   new source: {_line(one)}"))


def _line(one: Told) -> str:
    """What is said, its quote, and its source."""
    said = " ".join(part for part in (one.text, f"“{one.quote}”" if one.quote else "") if part)
    return " · ".join(part for part in (said, one.source, one.date, one.url) if part)


def _look_json(look: Look) -> dict[str, Any]:
    return {
        "watch": look.watch,
        "question": look.question,
        "said": look.said,
        "error": look.error,
        "skipped": look.skipped,
        "change": look.change.to_row() if look.change else None,
    }
