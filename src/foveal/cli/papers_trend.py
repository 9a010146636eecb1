"""papers trend: how many papers of each subject and topic the next days are expected to bring."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from foveal.cli.output import AsJson, Home, notes, print_json, results

if TYPE_CHECKING:
    from foveal.papers.trend_forecast import Forecast, Forecasts

BARS = " ▁▂▃▄▅▆▇█"


def trend(
    which: Annotated[
        str | None, typer.Argument(help="A subject (cs.CL) or a topic; without it those of some size, by growth.")
    ] = None,
    k: Annotated[int, typer.Option("-k", min=1, help="Lines to show.")] = 20,
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """Show how many papers are expected of each subject and topic, with a band (`train aaren papers` trains it)."""
    from foveal.cli.papers_output import papers_database
    from foveal.errors import UnknownName
    from foveal.papers.trend_forecast import kept, refresh
    from foveal.settings import Settings

    settings = Settings.load(home)
    with papers_database(home) as database:
        with notes().status("Counting …"):
            refresh(database, settings.home)
        found = kept(database)
    if which is not None:
        one = next(
            (one for one in found.series if which.casefold() in (one.key.casefold(), one.title.casefold())), None
        )
        if one is None:
            there = ", ".join(one.title for one in found.series[:30]) or "none: no day with papers is over yet"
            raise UnknownName(f"Nothing that is counted is called {which!r}. There are: {there}.")
        found_series: tuple[Forecast, ...] = (one,)
    else:
        found_series = tuple(found.changing(k) or found.changing(k, fewest=0.0))  # a small home shows what it has
    if as_json:
        print_json({"by": found.by, "why": found.why, "last": found.last, "series": found_series})
    elif which is not None:
        _one(found, found_series[0])
    else:
        _all(found, found_series)


def _all(found: Forecasts, series: tuple[Forecast, ...]) -> None:
    from rich.table import Table
    from rich.text import Text

    from foveal.papers.trend_forecast import shown

    if not series:
        results().print("No day with papers is over yet. `foveal papers update` fetches some.")
        return
    table = Table("subject or topic", box=None, pad_edge=False)
    table.add_column("last 28 days", no_wrap=True, min_width=28)
    for heading in ("last 7", "next 7", "8 of 10 times"):
        table.add_column(heading, justify="right")
    for one in series:
        whole = one.whole
        band = f"{shown(whole.low)} to {shown(whole.high)}"
        table.add_row(*map(Text, (one.title, bars(one.recent[-28:]), str(one.before), shown(whole.mean), band)))
    results().print(table)
    results().print(_told(found), markup=False, soft_wrap=True)


def _one(found: Forecasts, one: Forecast) -> None:
    from rich.table import Table
    from rich.text import Text

    from foveal.papers.trend_forecast import shown

    console = results()
    console.print(f"{one.title}: {bars(one.recent[-56:])}", markup=False)
    table = Table("day", box=None, pad_edge=False)
    for heading in ("expected", "8 of 10 times"):
        table.add_column(heading, justify="right")
    named = [(f"{found.day(at):%a %b %d}", day) for at, day in enumerate(one.days)]
    for name, day in (*named, (f"all {len(one.days)} days", one.whole)):
        table.add_row(Text(name), shown(day.mean), f"{shown(day.low)} to {shown(day.high)}")
    console.print(table)
    console.print(_told(found), markup=False, soft_wrap=True)


def _told(found: Forecasts) -> str:
    return f"{found.told} Counted to the end of {found.last} (UTC)."


def bars(counts: tuple[int, ...]) -> str:
    """A sign for each count, as high as it is beside the highest."""
    most = max((*counts, 1))
    return "".join(BARS[-(-count * (len(BARS) - 1) // most)] for count in counts)
