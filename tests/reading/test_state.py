"""The state of a reading: whole or absent, refused where it is another's, and as good as never having stopped."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reading.speakers import Quoter
from tiny import tiny
from typer.testing import CliRunner

from foveal import faults
from foveal.cli import reading
from foveal.cli.main import app
from foveal.errors import Cancelled, InputError
from foveal.models.chat import Cancel
from foveal.models.threads import with_threads
from foveal.reading import Done, InfiniRetri, ReadSettings, ReadStarted, WindowRead, clock
from foveal.reading.memory import Kept
from foveal.reading.state import VERSION, State, identity, load, save

QUESTION = "Who is the keeper of the mill?"
QUICK = ReadSettings(window=80, batch_tokens=160, budget=96, floor=-1.0, follow=2, meaning=False)
IDENTITY = identity("text", ["why?"], "model", {"window": 8})
PHASES = {
    "map": QUICK, "meaning": replace(QUICK, meaning=True), "sequential": replace(QUICK, mode="sequential"),
    "effort": replace(QUICK, effort=0.6),
}  # fmt: skip


@pytest.fixture(autouse=True)
def _saved_each_time(monkeypatch):
    """A state after every batch, not every five seconds."""
    monkeypatch.setattr(clock, "SAVED_EVERY_S", 0.0)


def state() -> State:
    memory = [Kept(3, 9, "Fußé \ud800\n", 4, 0.1 + 0.2, 1, "before"), Kept(9, 12, "\0 x", 2, -1e-17, 2)]
    return State(IDENTITY, "follow", 7, 100, 200, 1.5, [memory, []])


def memories(path) -> object:
    return json.loads(path.read_text())["memories"]


def comparable(event: Done) -> Done:
    """A reading without what a clock or the memory of the process says."""
    return Done(tuple(replace(one, stats=replace(one.stats, seconds=0, peak_bytes=0)) for one in event.readings))


def finished(model, story, path=None, chosen=QUICK, questions=(QUESTION,)) -> Done:
    *_, last = InfiniRetri(model, chosen, answerer=Quoter()).stream(story, questions, path)
    return comparable(last)


# -- the file ------------------------------------------------------------------------------------------------------


def test_a_state_comes_back_as_it_was(tmp_path):
    save(tmp_path / "new" / "a.json", state())
    assert load(tmp_path / "new" / "a.json", IDENTITY) == state()
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["a.json"]


def test_where_nothing_is_there_is_no_state(tmp_path):
    assert load(tmp_path / "a.json", IDENTITY) is None
    (tmp_path / "a.json").touch()  # as `mktemp` makes it
    assert load(tmp_path / "a.json", IDENTITY) is None


OTHERS = {
    "another text": identity("other", ["why?"], "model", {"window": 8}),
    "another question": identity("text", ["how?"], "model", {"window": 8}),
    "another model": identity("text", ["why?"], "other", {"window": 8}),
    "other settings": identity("text", ["why?"], "model", {"window": 9}),
}


@pytest.mark.parametrize("said", OTHERS)
def test_the_state_of_another_reading_is_refused_and_kept(tmp_path, said):
    save(tmp_path / "a.json", state())
    with pytest.raises(InputError, match=rf"a\.json is the state of {said}.*or delete this one"):
        load(tmp_path / "a.json", OTHERS[said])
    assert load(tmp_path / "a.json", IDENTITY) == state()


def test_the_order_of_questions_counts():
    assert identity("t", ["a", "b"], "m", {}) != identity("t", ["b", "a"], "m", {})
    assert identity("t", ["a b"], "m", {}) != identity("t", ["a", "b"], "m", {})


def _changed(**fields) -> str:
    kept = {"start": 0, "end": 1, "text": "x", "tokens": 1, "score": 1.0, "window": 0, "before": ""}
    return json.dumps({"version": VERSION, "identity": IDENTITY, "memories": [[kept]], "words": []} | fields)


BROKEN = {
    "text": "hello",
    "half": _changed()[:80],
    "a list": "[]",
    "a number": "3",
    "null": "null",
    "no version": json.dumps({"identity": {}, "memories": []}),
    "no memories": json.dumps({"version": VERSION, "identity": IDENTITY, "words": []}),
    "no identity": json.dumps({"version": VERSION, "memories": [], "words": []}),
    "identity a list": _changed(identity=[1]),
    "another field": _changed(colour="red"),
    "no words": json.dumps({"version": VERSION, "identity": IDENTITY, "memories": []}),
    "words of numbers": _changed(words=[1]),
    "memories of numbers": _changed(memories=[[1]]),
    "memory with another field": _changed(memories=[[{"colour": "red"}]]),
    "bytes": "\udcff\udcfe",
}


@pytest.mark.parametrize("kind", BROKEN)
def test_what_is_no_state_is_refused_and_kept(tmp_path, kind):
    (tmp_path / "a.json").write_text(BROKEN[kind], errors="surrogateescape")
    with pytest.raises(InputError, match=r"a\.json is no state of a reading .*delete it"):
        load(tmp_path / "a.json", IDENTITY)
    assert (tmp_path / "a.json").read_text(errors="surrogateescape") == BROKEN[kind]


def test_the_state_of_another_version_says_so(tmp_path):
    (tmp_path / "a.json").write_text(_changed(version=99, colour="red"))
    with pytest.raises(InputError, match="another version of Foveal"):
        load(tmp_path / "a.json", IDENTITY)


def test_a_folder_is_no_state(tmp_path):
    (tmp_path / "a.json").mkdir()
    (tmp_path / "a.json" / "b").touch()
    with pytest.raises(InputError, match="no state of a reading"):
        load(tmp_path / "a.json", IDENTITY)


@pytest.mark.parametrize(("fault", "raised"), [("full", InputError), ("interrupt", KeyboardInterrupt)])
def test_a_write_that_fails_leaves_the_old_state(tmp_path, fault, raised):
    save(tmp_path / "a.json", state())
    with faults.injected({"reading.before-state": fault}), pytest.raises(raised):
        save(tmp_path / "a.json", State(IDENTITY))
    assert load(tmp_path / "a.json", IDENTITY) == state()
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]


def test_a_place_that_cannot_be_written_says_so(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=r"cannot be written .*name another file"):
        save(tmp_path / "file" / "a.json", state())


# -- going on ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("phase", PHASES)
def test_the_state_at_the_end_is_that_of_a_reading_without_pause(qwen, story, tmp_path, phase):
    first = finished(qwen, story, tmp_path / "a.json", PHASES[phase])
    assert first == finished(qwen, story, None, PHASES[phase])
    again = finished(qwen, story, tmp_path / "a.json", PHASES[phase])
    assert again == first  # from the state alone: nothing is read anew


@pytest.mark.parametrize("phase", PHASES)
@pytest.mark.slow
def test_cancelled_after_any_window_it_goes_on_to_the_same_memory(qwen, story, tmp_path_factory, phase):
    folder = tmp_path_factory.mktemp("states")
    whole = finished(qwen, story, folder / "whole.json", PHASES[phase])
    kept = memories(folder / "whole.json")
    reader = InfiniRetri(qwen, PHASES[phase], answerer=Quoter())

    @given(stops=st.lists(st.integers(1, 9), min_size=1, max_size=3))
    @settings(max_examples=6)
    def check(stops):
        path = folder / "-".join(map(str, [phase, *stops, time.monotonic_ns()]))
        read = 0
        for stop in stops:
            cancel, batches = Cancel(), 0
            try:
                for event in reader.stream(story, QUESTION, path, cancel=cancel):
                    if isinstance(event, ReadStarted):
                        assert event.resumed == read
                    if isinstance(event, WindowRead):
                        batches, read = batches + 1, event.window
                        if batches == stop:
                            cancel.set()
            except Cancelled:
                assert load(path, json.loads(path.read_text())["identity"]).window == read
        assert finished(qwen, story, path, PHASES[phase]) == whole
        assert memories(path) == kept

    check()


@pytest.mark.parametrize("visit", [1, 2, 3, 5])
def test_interrupted_while_a_state_is_written_it_goes_on_to_the_same_memory(qwen, story, tmp_path, visit):
    whole = finished(qwen, story, tmp_path / "whole.json")
    with faults.injected({"reading.before-state": f"interrupt@{visit}"}), pytest.raises(KeyboardInterrupt):
        finished(qwen, story, tmp_path / "a.json")
    assert (tmp_path / "a.json").exists()
    assert finished(qwen, story, tmp_path / "a.json") == whole
    assert memories(tmp_path / "a.json") == memories(tmp_path / "whole.json")


def test_interrupted_in_the_second_look_it_takes_that_look_again(qwen, story, tmp_path):
    chosen = replace(QUICK, follow=4)
    questions = (QUESTION, "Where is the river?")
    whole = finished(qwen, story, tmp_path / "whole.json", chosen, questions)
    reader, cancel = InfiniRetri(qwen, chosen, answerer=Quoter()), Cancel()
    last = len([event for event in reader.stream(story, questions) if isinstance(event, WindowRead)])
    with suppress(Cancelled):
        for number, event in enumerate(reader.stream(story, questions, tmp_path / "a.json", cancel=cancel)):
            if isinstance(event, WindowRead) and number == last:
                cancel.set()
    assert json.loads((tmp_path / "a.json").read_text())["phase"] == "follow"
    assert finished(qwen, story, tmp_path / "a.json", chosen, questions) == whole
    assert memories(tmp_path / "a.json") == memories(tmp_path / "whole.json")


def test_any_other_reading_refuses_the_state(qwen, either, story, tmp_path, reading_models):
    path = tmp_path / "a.json"
    finished(qwen, story, path)
    with pytest.raises(InputError, match="another text"):
        finished(qwen, story + " ", path)
    with pytest.raises(InputError, match="another question"):
        finished(qwen, story, path, questions=(QUESTION, "why?"))
    with pytest.raises(InputError, match="another model"):
        finished(reading_models["gemma"], story, path)
    for changed in (replace(QUICK, window=81), replace(QUICK, content_free=False), replace(QUICK, follow=1)):
        with pytest.raises(InputError, match="other settings"):
            finished(qwen, story, path, changed)


def test_another_answer_is_no_other_reading(qwen, story, tmp_path):
    finished(qwen, story, tmp_path / "a.json")
    longer = replace(QUICK, answer=replace(QUICK.answer, max_tokens=200))
    finished(qwen, story, tmp_path / "a.json", longer)


# -- a process that dies -------------------------------------------------------------------------------------------

CHILD = [
    sys.executable,
    "-c",
    "import foveal.reading.clock as clock; clock.SAVED_EVERY_S = 0; from foveal.cli.main import run; run()",
]


@pytest.fixture(scope="module")
def place(tmp_path_factory, story):
    """A folder with a tiny model and a text of some nine batches."""
    folder = tmp_path_factory.mktemp("command")
    tiny("qwen", folder / "model")
    (folder / "story.txt").write_text("\n\n".join(f"Part {number}.\n{story}" for number in range(6)))
    return folder


def arguments(place, *more: str) -> list[str]:
    options = ["--model", str(place / "model"), "--window", "500", "--budget", "96", "--follow", "1", "--json"]
    return ["read", str(place / "story.txt"), QUESTION, *options, *more]


def environment(place, **more: str) -> dict[str, str]:
    own = {"FOVEAL_HOME": str(place / "home"), "FOVEAL_CACHE": str(place / "cache"), "OMP_NUM_THREADS": "1"}
    return {**own, "COLUMNS": "100", "NO_COLOR": "1", **more}


def child(place, fault: str, *more: str) -> subprocess.Popen[str]:
    """The command in a process of its own, with a fault that will strike."""
    env = os.environ | environment(place, FOVEAL_FAULTS=fault)
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen([*CHILD, *arguments(place, *more)], env=env, **pipes)


def wait_for(condition, process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.002)


def gone_on(place, *more: str) -> dict[str, object]:
    """What the command, run to its end, prints; without what a clock or the memory of the process says."""
    done = CliRunner().invoke(app, arguments(place, *more), env=environment(place), catch_exceptions=False)
    assert done.exit_code == 0
    found = json.loads(done.stdout)
    return found | {"stats": found["stats"] | {"seconds": 0, "peak_bytes": 0}}


@pytest.fixture(scope="module")
def unbroken(place):
    with with_threads(1):
        return gone_on(place)


@pytest.mark.slow
def test_killed_while_it_writes_its_state_the_command_goes_on_to_the_same_answer(place, unbroken, tmp_path):
    process = child(place, "reading.before-state=kill@4", "--resume", str(tmp_path / "a.json"))
    out, _ = process.communicate(timeout=60)
    assert (process.returncode, out) == (-signal.SIGKILL, "")
    assert json.loads((tmp_path / "a.json").read_text())["window"] == 6
    assert gone_on(place, "--resume", str(tmp_path / "a.json")) == unbroken
    assert not (tmp_path / "a.json").exists()  # there is an answer: nothing to go on from


@pytest.mark.slow
def test_killed_anywhere_the_command_goes_on_to_the_same_answer(place, unbroken, tmp_path):
    process = child(place, "", "--resume", str(tmp_path / "a.json"))
    wait_for((tmp_path / "a.json").exists, process)
    process.kill()
    out, _ = process.communicate(timeout=60)
    assert (process.returncode, out) == (-signal.SIGKILL, "")
    assert json.loads((tmp_path / "a.json").read_text())["window"] > 0
    assert gone_on(place, "--resume", str(tmp_path / "a.json")) == unbroken


@pytest.mark.slow
def test_ctrl_c_says_how_to_go_on(place, unbroken, tmp_path):
    path = tmp_path / "a b.json"
    process = child(place, "reading.before-state=sleep:60@3", "--resume", str(path))
    wait_for(lambda: path.exists() and json.loads(path.read_text())["window"] == 4, process)
    wait_for(lambda: any(one.stat().st_size for one in tmp_path.glob(".partial-*")), process)
    time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130, said
    assert "Traceback" not in said
    assert "windows are read. To go on:" in said
    line = next(line for line in said.splitlines() if line.startswith("foveal read "))
    assert shlex.split(line)[1:] == arguments(place, "--resume", str(path))
    assert json.loads(path.read_text())["window"] == 6
    assert [one.name for one in tmp_path.iterdir()] == ["a b.json"]
    assert gone_on(place, "--resume", str(path)) == unbroken


def test_a_long_text_has_a_state_without_being_asked(place, unbroken, monkeypatch):
    """The same command alone goes on; the state lies in the home, and is gone with the answer."""
    monkeypatch.setattr(reading, "LONG", 1000)
    runs = place / "home" / "runs" / "read"
    with faults.injected({"reading.before-state": "interrupt@4"}):
        done = CliRunner().invoke(app, arguments(place), env=environment(place))
    assert done.exit_code == 130
    assert [json.loads(path.read_text())["window"] for path in runs.iterdir()] == [8]
    assert f"--resume {next(runs.iterdir())}" in done.stderr
    assert gone_on(place) == unbroken
    assert list(runs.iterdir()) == []


def test_a_home_that_cannot_be_written_to_is_no_hindrance_to_a_long_reading(place, unbroken, monkeypatch):
    monkeypatch.setattr(reading, "LONG", 1000)
    monkeypatch.setattr(os, "access", lambda _path, mode: mode != os.W_OK)
    with faults.injected({"reading.before-state": "interrupt@1"}):  # never reached
        done = CliRunner().invoke(app, arguments(place), env=environment(place))
    assert done.exit_code == 0
    assert "cannot be written to: stopped, this reading would begin again." in " ".join(done.stderr.split())
