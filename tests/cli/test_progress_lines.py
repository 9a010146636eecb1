"""Progress where no terminal is: a line at intervals, and none of what takes no time."""

import io
import time

import pytest
from rich.console import Console
from rich.text import Text

from foveal.cli import progress_lines
from foveal.cli.answers import Watch
from foveal.cli.output import progress_bar
from foveal.cli.progress_lines import ProgressLines, progress_line
from foveal.reading.events import ReadStarted


@pytest.fixture
def soon(monkeypatch):
    monkeypatch.setattr(progress_lines, "FIRST", 0.01)
    monkeypatch.setattr(progress_lines, "LAST", 0.01)


def lines_after(seconds):
    told = io.StringIO()
    with ProgressLines(console=Console(file=told)) as bar:
        task = bar.add_task("Adding; passages [of a book]", total=None)
        bar.update(task, completed=1024, total=2678)
        time.sleep(seconds)
    return told.getvalue().splitlines()


def test_lines_tell_how_far_it_is(soon):
    assert lines_after(0.1)[0] == "Adding; passages [of a book] 1,024 of 2,678, 0:00:00"


def test_what_takes_no_time_says_nothing():
    assert lines_after(0) == []


def test_a_task_of_unknown_length():
    with ProgressLines(console=Console(file=io.StringIO())) as bar:
        bar.add_task("Preparing", total=None)
        assert progress_line(bar.tasks[0]) == "Preparing …, 0:00:00"


def test_a_bar_says_what_it_took_and_what_is_left(monkeypatch):
    now = [0.0]
    shown = io.StringIO()
    monkeypatch.setattr("foveal.cli.output.notes", lambda: Console(file=shown, force_terminal=True, width=120))
    bar = progress_bar()
    bar.get_time = lambda: now[0]
    task = bar.add_task("Adding", total=None)

    def line():
        with bar.console.capture() as said:
            bar.console.print(bar.make_tasks_table(bar.tasks))
        return Text.from_ansi(said.get()).plain.strip()

    assert "left" not in line()  # of what nobody knows how long it takes
    for now[0] in (0.0, 20.0, 40.0):
        bar.update(task, completed=int(now[0]), total=100)
    assert line().endswith("40/100 0:00:40 0:01:00 left")
    bar.update(task, completed=100)
    assert "left" not in line()


def test_a_bar_keeps_to_one_line_of_a_terminal(monkeypatch):
    monkeypatch.setattr("foveal.cli.output.notes", lambda: Console(force_terminal=True, width=80))
    bar, now = progress_bar(), 0.0
    bar.get_time = lambda: now
    task = bar.add_task("3 documents, 1,024 passages (52/s); passages", total=2048)
    for now in (0.0, 20.0, 40.0):
        bar.update(task, completed=int(now) * 20)
    with bar.console.capture() as said:
        bar.console.print(bar.make_tasks_table(bar.tasks))
    (line,) = Text.from_ansi(said.get()).plain.splitlines()
    assert line.rstrip().endswith("800/2048 0:00:40 0:01:03 left")


def test_a_reading_tells_lines_on_standard_error(soon, capsys):
    assert isinstance(progress_bar(), ProgressLines)
    with Watch() as watch:
        watch.show(ReadStarted(windows=12, tokens=9000, resumed=3))
        time.sleep(0.1)
    told = capsys.readouterr()
    assert told.err.startswith("Reading windows 3 of 12, 0:00:0")
    assert told.out == ""
