"""A process that runs deep research and is killed at a step; run by test_deep_steps.py.

    python deep_kills.py HOME          # for each place: a child that is killed there, a second one that goes on

None of its threads is left when it forks, so that one import serves all children. It prints a line of JSON
for each place: what the run came to, and which calls of model and source the second child made again.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

from report_worlds import PAGES, QUESTION, Filler, Pages, page

import foveal.papers.people_schema  # noqa: F401  (its tables are part of the chain)
from foveal.database import Database
from foveal.research.deep import DeepResearch, settings_of
from foveal.research.events import Event
from foveal.research.runs import Runs
from foveal.settings import Settings

PLACES = (
    ("clarify", "begun"), ("plan", "begun"), ("search", "begun"), ("search", "done"), ("read", "begun"),
    ("note", "begun"),
    ("reflect", "begun"), ("write", "begun"), ("write", "done"), ("verify", "begun"), ("report", "done"),
)  # fmt: skip
ODD = page(
    "Mill records", "The Orra mill grinds no barley for the whole valley. The wheel of the Orra mill has 12 paddles."
)


class Killing:
    """A keeper that kills its process at the first event of a place, before, or after, it is on the disk."""

    def __init__(self, keeper: Any, place: tuple[str, str] | None) -> None:
        self.keeper, self.place = keeper, place

    def write(self, event: Event) -> None:
        if self.place is None:
            self.keeper.write(event)
            return
        kind, when = self.place
        here = event.data.get("step", event.kind) == kind
        if here and when == "begun" and event.kind == "step.begun":
            os.kill(os.getpid(), signal.SIGKILL)
        self.keeper.write(event)
        if here and when == "done" and event.kind in ("step", "report"):
            os.kill(os.getpid(), signal.SIGKILL)

    def close(self) -> None:
        self.keeper.close()


def run(home: Path, key: str, place: tuple[str, str] | None, told: Path | None = None) -> None:
    """Run, or go on with, the run of a key, and write into the file `told` what it came to."""
    database = Database.open(Settings(home=home, cache=home))
    runs = Runs(database)
    model, source = Filler(), Pages((*PAGES, ODD))
    research = DeepResearch(model, source)
    events = runs.events(key)
    keeper: Any = Killing(runs.keep(key), place)
    if events:
        going = research.go_on(events, keepers=[keeper])
    else:
        settings = settings_of("normal", model)
        going = research.start(QUESTION, settings=settings, planner="tree", key=key, keepers=[keeper])
    report = going.result().ledger()
    database.close()
    if told is not None:
        steps = {name: one["output"] for name, one in going.state.steps.items()}
        made = {"calls": len(model.calls), "queries": source.queries, "reads": source.read_urls}
        row = {"report": report, "steps": steps, "again": made, "events": [one.id for one in going.log.so_far()]}
        row["memory"] = going.state.memory
        told.write_text(json.dumps(row), encoding="utf-8")


def forked(work: Any) -> int:
    """The exit status of a child that does some work."""
    child = os.fork()
    if child:
        return os.waitpid(child, 0)[1]
    try:
        work()
    except BaseException as error:
        sys.stderr.write(f"{error!r}\n")
        os._exit(1)
    os._exit(0)


def main(home: Path) -> None:
    """All places, the first one none; one database holds them all."""
    places = [None, *PLACES]
    new(home, len(places))
    DeepResearch(Filler(), Pages()).report(QUESTION, planner="tree")  # what is imported on the way, once for all
    for number, place in enumerate(places):
        key, told = f"{number:032x}", home / f"told-{number}.json"
        killed = forked(lambda key=key, place=place: run(home, key, place)) if place else None
        gone_on = forked(lambda key=key, told=told: run(home, key, None, told))
        row = json.loads(told.read_text(encoding="utf-8"))
        sys.stdout.write(json.dumps({"place": place, "killed": killed, "gone_on": gone_on} | row) + "\n")
    sys.stdout.flush()


def new(home: Path, count: int) -> None:
    """Runs of given keys."""
    from foveal.research.schema import RunRow

    database = Database.open(Settings(home=home, cache=home))
    with database.writing() as session:
        session.add_all(RunRow(id=f"{number:032x}", question=QUESTION, options="{}") for number in range(count))
    database.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
