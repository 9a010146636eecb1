"""bench report-kills: a run of deep research that is killed goes on as if it had not been, and pays for nothing twice.

killed    a process is killed (SIGKILL) at each kind of step, as it begins or once it is on the disk; another goes on
          with what is in the database. Its report, its steps and its memory must be those of a run that nobody killed
paid      what is asked of model and source again: nothing behind the report, a part behind the searches; an experiment
          that ended is not run again
two       runs at once of one DeepResearch, of two questions: each the report that it gives alone

Model and pages are a few rules (report_world.py), so that two runs differ by what the machinery does alone. Times, and
the name of a run, are left out of what is compared.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from foveal.bench.report_world import PAGES, QUESTION, Filler, Pages, page
from foveal.bench.runner import SIZE
from foveal.bench.settings import BenchSettings
from foveal.database import Database
from foveal.errors import FovealError
from foveal.evaluation.tables import Row, all_hold
from foveal.research.deep import DeepResearch, settings_of
from foveal.research.events import Event
from foveal.research.experiment import Experiment
from foveal.research.runs import Runs
from foveal.research.state import RunState
from foveal.settings import Settings

PLACES = (
    ("clarify", "begun"), ("plan", "begun"), ("search", "begun"), ("search", "done"), ("read", "begun"),
    ("note", "begun"), ("reflect", "begun"), ("write", "begun"), ("write", "done"), ("verify", "begun"),
    ("experiment", "begun"), ("experiment", "done"), ("report", "done"),
)  # fmt: skip
"""Kind of a step, and whether the kill comes as it begins or once it is on the disk."""

ODD = page(
    "Mill records", "The Orra mill grinds no barley for the whole valley. The wheel of the Orra mill has 12 paddles."
)
FALLOW = page("Fallow mill", "The Fallow mill grinds rye. Karin Ek designed the Fallow mill in 1903.")
COUNTED = Experiment(code="print(12 + 40, 'paddles')", seed=3)
"""What each run runs, as if a person had approved it."""

OTHER = "What does the Fallow mill grind and who designed the Fallow mill?"
TIMES = ("created_at", "fetched_at", "seconds")
WAIT_S = 300.0


def kill_rows(settings: BenchSettings) -> Iterator[Row]:  # noqa: ARG001 (as large in --quick)
    """The rows of `foveal bench report-kills`."""
    with tempfile.TemporaryDirectory(prefix="foveal-kills-") as folder:
        whole, *killed = told_of_runs(Path(folder))
    yield Row.of("places at which a run is killed", SIZE, len(killed))
    yield from compared(whole, killed)
    yield from two_rows()


def compared(whole: Mapping[str, Any], killed: Sequence[Mapping[str, Any]]) -> Iterator[Row]:
    """Runs that were killed, beside the one that was not."""
    really = [one["killed"] == signal.SIGKILL and one["gone_on"] == 0 for one in killed]
    yield all_hold("killed runs", "were killed, and went on to their end", really)
    for metric, part in (("the same report", "report"), ("the same steps", "steps"), ("the same memory", "memory")):
        same = [without_times(one[part]) == without_times(whole[part]) for one in killed]
        yield all_hold("killed runs", metric, same)
    gapless = [one["events"] == list(range(1, len(one["events"]) + 1)) for one in killed]
    yield all_hold("killed runs", "events numbered without a gap", gapless)
    again = {tuple(one["place"]): one["again"] for one in killed}
    behind = again["report", "done"]
    paid = behind["calls"] + len(behind["queries"]) + len(behind["reads"])
    yield Row.of("killed behind its report", "calls, searches and pages paid for again", paid, at_most=0)
    ran = again["experiment", "done"]["experiments"]
    yield Row.of("killed behind its experiment", "experiments run again", ran, at_most=0)
    writing = again["write", "begun"]
    searched = len(writing["queries"]) + len(writing["reads"])
    yield Row.of("killed as it began to write", "searches and pages paid for again", searched, at_most=0)
    share = writing["calls"] / max(1, whole["again"]["calls"])
    yield Row.of("killed as it began to write", "share of all calls that were left", share, at_most=0.9)


def two_rows() -> Iterator[Row]:
    """Runs at once, beside each alone."""
    research = DeepResearch(Filler(), Pages((*PAGES, FALLOW)))
    questions = (QUESTION, OTHER)
    alone = {one: without_times(_named_alike(research.report(one).ledger())) for one in questions}
    runs = [research.start(one) for one in questions * 3]
    same = [without_times(_named_alike(run.result().ledger())) == alone[run.question] for run in runs]
    own = [set(RunState.of(run.log.so_far()).evidence) == {one.key for one in run.result().evidence} for run in runs]
    apart = alone[QUESTION] != alone[OTHER]
    yield all_hold("two questions, six runs at once", "each as it is alone", [*same, *own, apart])


def _named_alike(ledger: dict[str, Any]) -> dict[str, Any]:
    """A report's ledger without the name of its run."""
    return ledger | {"key": ""}


def without_times(value: Any) -> Any:
    """Plain values without what is another in each run."""
    if isinstance(value, Mapping):
        return {name: without_times(one) for name, one in value.items() if name not in TIMES}
    return [without_times(one) for one in value] if isinstance(value, list) else value


# -- in a process of its own ------------------------------------------------------------------------------------------


def told_of_runs(home: Path) -> list[dict[str, Any]]:
    """What each run came to, the one that nobody killed first. FovealError: the process that runs them broke."""
    command = [sys.executable, "-c", "import sys; from foveal.bench.report_kills import main; main(sys.argv[1])"]
    done = subprocess.run([*command, str(home)], capture_output=True, text=True, timeout=WAIT_S, check=False)
    if done.returncode:
        said = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
        raise FovealError(f"The runs of the bench did not come to their end ({said}). Run the bench again with -v.")
    return [json.loads(line) for line in done.stdout.splitlines()]


def main(folder: str) -> None:
    """Print a line of JSON for each place: a child that is killed there, and what a second one that goes on came to.

    No thread is left when this forks, so that one import serves all children; one database holds their runs.
    """
    home, places = Path(folder), [None, *PLACES]
    _new(home, len(places))
    once = DeepResearch(Filler(), Pages()).start(QUESTION, planner="tree", experiment=COUNTED)
    once.result()  # what is imported on the way, once for all
    for number, place in enumerate(places):
        key, told = f"{number:032x}", home / f"told-{number}.json"
        killed = _forked(partial(_run, home, key, place)) if place else None
        gone_on = _forked(partial(_run, home, key, None, told))
        row = json.loads(told.read_text(encoding="utf-8"))
        sys.stdout.write(json.dumps({"place": place, "killed": killed, "gone_on": gone_on} | row) + "\n")
    sys.stdout.flush()


class _Killing:
    """A keeper that kills its process at the first event of a place, before, or after, it is on the disk."""

    def __init__(self, keeper: Any, place: tuple[str, str] | None) -> None:
        self.keeper, self.place = keeper, place

    def write(self, event: Event) -> None:
        """Keep it, and be gone if this is the place."""
        kind, when = self.place or ("", "")
        here = event.data.get("step", event.kind) == kind
        if here and when == "begun" and event.kind == "step.begun":
            os.kill(os.getpid(), signal.SIGKILL)
        self.keeper.write(event)
        if here and when == "done" and event.kind in ("step", "report"):
            os.kill(os.getpid(), signal.SIGKILL)

    def close(self) -> None:
        """No more comes."""
        self.keeper.close()


def _run(home: Path, key: str, place: tuple[str, str] | None, told: Path | None = None) -> None:
    """Run, or go on with, the run of a key, and write into the file `told` what it came to."""
    database = Database.open(Settings(home=home, cache=home))
    runs, model, source = Runs(database), Filler(), Pages((*PAGES, ODD))
    research, events = DeepResearch(model, source), runs.events(key)
    keeper: Any = _Killing(runs.keep(key), place)
    if events:
        going = research.go_on(events, keepers=[keeper])
    else:
        settings = settings_of("normal", model)
        asked: dict[str, Any] = {"settings": settings, "planner": "tree", "experiment": COUNTED}
        going = research.start(QUESTION, key=key, keepers=[keeper], **asked)
    report = _named_alike(going.result().ledger())
    own = going.log.so_far(len(events))
    database.close()
    if told is not None:
        steps = {name: one["output"] for name, one in going.state.steps.items()}
        run = sum(one.kind == "step.begun" and one.data["step"] == "experiment" for one in own)
        made = {"calls": len(model.calls), "queries": source.queries, "reads": source.read_urls, "experiments": run}
        row = {"report": report, "steps": steps, "again": made, "events": [one.id for one in going.log.so_far()]}
        told.write_text(json.dumps(row | {"memory": going.state.memory}), encoding="utf-8")


def _forked(work: Callable[[], None]) -> int:
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


def _new(home: Path, count: int) -> None:
    """Runs of given keys."""
    import foveal.papers.people_schema  # noqa: F401  (its tables are part of the chain)
    from foveal.research.schema import RunRow

    database = Database.open(Settings(home=home, cache=home))
    with database.writing() as session:
        session.add_all(RunRow(id=f"{number:032x}", question=QUESTION, options="{}") for number in range(count))
    database.close()
