"""Progress where no terminal is: a line at intervals, and none of what takes no time."""

import io
import time

import pytest
from rich.console import Console

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


def test_a_reading_tells_lines_on_standard_error(soon, capsys):
    assert isinstance(progress_bar(), ProgressLines)
    with Watch() as watch:
        watch.show(ReadStarted(windows=12, tokens=9000, resumed=3))
        time.sleep(0.1)
    told = capsys.readouterr()
    assert told.err.startswith("Reading windows 3 of 12, 0:00:0")
    assert told.out == ""
