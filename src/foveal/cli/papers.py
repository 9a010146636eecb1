"""papers: the daily papers from the terminal: what is new, one paper, a search, exports. Feeding: papers_feeding.py."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from foveal.cli import papers_feeding, papers_linking, papers_removing, papers_trend
from foveal.cli.classes import ClassifierName, show_paper_class
from foveal.cli.output import AsJson, Home, echo, notes, print_json, results
from foveal.cli.papers_output import by_whom, date_of, papers_database, print_papers
from foveal.registry import RANKERS, RETRIEVERS

if TYPE_CHECKING:
    from rich.text import Text

    from foveal.database import Database
    from foveal.papers.periods import Period
    from foveal.papers.store import Paper

SORTS = "votes, published, listed, discussed"
FORMATS = "bibtex, ris, csl, csv, json"

app = typer.Typer(help="The daily papers: what is new in a field.", no_args_is_help=True)
papers_feeding.register(app)
app.command()(papers_linking.link)
app.command()(papers_removing.remove)
app.command()(papers_trend.trend)

Day = Annotated[str | None, typer.Option("--day", help="A day, such as 2026-10-02, or yesterday.", show_default=False)]
Week = Annotated[str | None, typer.Option("--week", help="A week, such as 2026-W40, or last.", show_default=False)]
Month = Annotated[str | None, typer.Option("--month", help="A month, such as 2026-10, or last.", show_default=False)]
Category = Annotated[str | None, typer.Option(help="Of this category, such as cs.CL, or cs.* for all of cs.")]
AuthorName = Annotated[str | None, typer.Option("--author", help="By this author.", show_default=False)]


@app.callback()
def group() -> None:
    """The daily papers: what is new in a field."""


@app.command("list")
def list_papers(
    day: Day = None,
    week: Week = None,
    month: Month = None,
    everything: Annotated[bool, typer.Option("--all", help="Of all days.")] = False,
    sort: Annotated[str, typer.Option(help=f"Order: {SORTS}.")] = "votes",
    category: Category = None,
    author: AuthorName = None,
    with_code: Annotated[bool, typer.Option("--with-code", help="Only papers that name a repository.")] = False,
    k: Annotated[int, typer.Option("-k", min=1, max=200, help="Papers to show.")] = 30,
    page: Annotated[int, typer.Option(min=1, help="Which page of them.")] = 1,
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """List the papers of a day, week or month (default: the last day that has some)."""
    from foveal.papers.store import PaperStore

    with papers_database(home) as database:
        store = PaperStore(database)
        period = _period(store, day, week, month, everything)
        found = store.page(
            period, sort=sort, page=page - 1, limit=k, category=category, author=author, with_code=with_code
        )
        seen = _last_reading(database)
    if as_json:
        shown = period and {"kind": period.kind, "key": period.key}
        listed = [_shown(one) for one in found.papers]
        print_json({"period": shown, "total": found.total, "papers": listed, "last_reading": seen})
        return
    if period:
        counted = f"{found.total:,} paper{'s' * (found.total != 1)}"
        read = f", read {seen:%b %d %H:%M} UTC" if seen else ""
        results().print(f"[bold]{period.title}[/], {counted}{read}")
    print_papers(found.papers)


@app.command()
def show(
    paper: Annotated[str, typer.Argument(help="A paper's id, or its address at arXiv.")],
    classifier: ClassifierName = None,
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """Show one paper whole; with --classifier its class, and the words that were looked at."""
    from foveal.papers.store import PaperStore

    with papers_database(home) as database:
        found = PaperStore(database).get(paper)
    if classifier:
        show_paper_class(classifier, found, home, as_json=as_json)
    elif as_json:
        print_json(_shown(found))
    else:
        results().print(_whole(found))


@app.command()
def search(
    query: Annotated[str, typer.Argument(help="What to find; an id, words, or a question.")],
    k: Annotated[int, typer.Option("-k", min=1, max=200, help="Papers to show.")] = 10,
    retriever: Annotated[str | None, typer.Option(metavar="NAME", help=f"{', '.join(RETRIEVERS)}.")] = None,
    rank: Annotated[str | None, typer.Option(help=f"Order anew: {', '.join(RANKERS)}, or a trained model.")] = None,
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """Find papers by what they say."""
    from foveal.papers.paper_search import PaperSearch
    from foveal.settings import Settings

    with papers_database(home) as database, notes().status("Searching …") as status:
        searcher = PaperSearch.open(Settings.load(home), database=database)
        searcher.sync(lambda told: status.update(f"Indexing papers: {told.encoded or told.passages:,} done …"))
        status.update("Searching …")
        found = searcher.search(query, k=k, retriever=retriever, rank=rank)
    if as_json:
        print_json(
            {
                "query": query,
                "retriever": found.retriever,
                "ranker": found.ranker,
                "note": found.note,
                "papers": [{"score": hit.score, "paper": _shown(hit.paper)} for hit in found.hits],
            }
        )
    else:
        print_papers([hit.paper for hit in found.hits], empty="Nothing found. Try other words.")
        if found.note:
            notes().print(found.note, markup=False)


@app.command("open")
def open_paper(
    paper: Annotated[str, typer.Argument(help="A paper's id.")],
    pdf: Annotated[bool, typer.Option("--pdf", help="Open the PDF.")] = False,
    print_only: Annotated[bool, typer.Option("--print", help="Print the address only.")] = False,
    home: Home = None,
) -> None:
    """Open a paper's page in the browser."""
    from foveal.errors import InputError
    from foveal.papers.store import PaperStore

    with papers_database(home) as database:
        found = PaperStore(database).get(paper)
    address = found.pdf_url if pdf else found.page_url
    if not address:
        raise InputError(f"Of the paper {found.id} no {'PDF' if pdf else 'page'} is known: {found.title}")
    echo(f"{address}\n")
    if not print_only:
        typer.launch(address)


@app.command()
def topics(
    name: Annotated[str | None, typer.Argument(help="A topic, to be made, changed or removed.")] = None,
    query: Annotated[str | None, typer.Option(help="What it finds.", show_default=False)] = None,
    title: Annotated[str, typer.Option(help="What it is called on its page.", show_default=False)] = "",
    remove: Annotated[bool, typer.Option("--remove", help="Take it away.")] = False,
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """List the topics (searches that have a page), or change one."""
    from foveal.papers.curating import remove_topic, set_topic
    from foveal.papers.store import PaperStore

    if (remove == bool(query)) if name is not None else bool(remove or query or title):
        raise typer.BadParameter("Say of a topic, by its NAME, what it finds (--query), or take it away (--remove).")
    with papers_database(home) as database:
        if name is not None and query:
            set_topic(database, name, query=query, title=title)
        elif name is not None:
            remove_topic(database, name)
        found = PaperStore(database).topics()
    if as_json:
        print_json([{"name": one.id, "title": one.title, "query": one.query} for one in found])
        return
    for one in found:
        results().print(f"{one.id}  {one.title}: {one.query}", markup=False)
    if not found:
        results().print('No topics yet. Make one: foveal papers topics NAME --query "sparse attention"')


@app.command()
def export(
    papers: Annotated[list[str] | None, typer.Argument(help="Ids; without any, those of the period.")] = None,
    form: Annotated[str, typer.Option("--format", "-f", help=f"{FORMATS}.")] = "bibtex",
    day: Day = None,
    week: Week = None,
    month: Month = None,
    everything: Annotated[bool, typer.Option("--all", help="Of all days.")] = False,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="File (default: standard output).")] = None,
    home: Home = None,
) -> None:
    """Write papers for other programs: BibTeX, RIS, CSL-JSON (Zotero and others), CSV, JSON."""
    from foveal.errors import UnknownName
    from foveal.evaluation.files import whole_file
    from foveal.papers.exporting import EXPORTS
    from foveal.papers.store import PaperStore

    if form not in EXPORTS:
        raise UnknownName(f"No format is called {form!r}. There are: {', '.join(EXPORTS)}.")
    if papers and (day or week or month or everything):
        raise typer.BadParameter("Papers are named, so a time would change nothing. Give ids, or a time.")
    with papers_database(home) as database:
        store = PaperStore(database)
        found = [store.get(one) for one in papers or ()]
        if not papers:
            found = list(store.all_of(_period(store, day, week, month, everything)))
    if not found:
        notes().print(
            "No papers are of that time: nothing is exported. `foveal papers list --all` shows what there is."
        )
    text = EXPORTS[form](found)
    if out is None:
        echo(text)
        return
    with whole_file(out) as partial:
        partial.write_text(text, encoding="utf-8", newline="")
    notes().print(f"{len(found)} papers in {out}", markup=False)


def _shown(paper: Paper) -> Paper:
    """A paper without the authors that are hidden."""
    return replace(paper, authors=paper.named_authors)


def _whole(paper: Paper) -> Text:
    from rich.text import Text

    seen = paper.named_authors[:20]
    names, more = ", ".join(author.name for author in seen), paper.author_count - len(seen)
    about = [date_of(paper), ", ".join(paper.categories), f"{paper.all_votes} votes", f"{paper.all_comments} comments"]
    links = {"page": paper.page_url, "pdf": paper.pdf_url, "code": paper.repo_url, "project": paper.project_url}
    stars = f" ({paper.repo_stars:,} stars)" if paper.repo_stars is not None else ""
    lines = [f"{name}: {url}{stars if name == 'code' else ''}" for name, url in links.items() if url]
    return Text.assemble(
        (f"{paper.title}\n", "bold"),
        " · ".join(filter(None, (names + (f" and {more} more" if more > 0 and names else ""), by_whom(paper)))) + "\n",
        ("This paper was withdrawn.\n" if paper.withdrawn else "", "bold red"),
        (f"{paper.id} · " + " · ".join(filter(None, about)) + f" · from {paper.source}\n\n", "dim"),
        f"{paper.abstract}\n\n",
        "\n".join(filter(None, (paper.comment, ", ".join(paper.keywords), *lines))),
    )


def _period(store: Any, day: str | None, week: str | None, month: str | None, everything: bool) -> Period | None:
    from foveal import faults
    from foveal.papers.periods import Period

    given = [(kind, key) for kind, key in (("day", day), ("week", week), ("month", month)) if key]
    if len(given) + everything > 1:
        raise typer.BadParameter("Give one of --day, --week, --month, --all.")
    if everything:
        return None
    today = faults.now().date()
    if given:
        return Period.said(*given[0], today)
    return Period.around("day", store.latest_day() or today)


def _last_reading(database: Database) -> Any:
    from sqlalchemy import func, select

    from foveal.papers.browsing import brings_papers
    from foveal.papers.schema import FetchRow

    with database.reading() as session:
        return session.scalar(select(func.max(FetchRow.at)).where(FetchRow.error == "", brings_papers()))
