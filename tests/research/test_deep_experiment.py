"""Experiments of the third stage: approved, boxed in, recorded, reviewed; off by default."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from report_worlds import QUESTION, Filler, Pages

from foveal.errors import Cancelled, InputError, NotAllowed
from foveal.models.chat import Cancel
from foveal.research.budget import Budget
from foveal.research.deep import DeepResearch
from foveal.research.events import EventLog
from foveal.research.experiment import Experiment, Limits, review, run
from foveal.research.report_parts import STAGES

SHORT = Limits(seconds=5, memory_mb=512, file_mb=1)


def ran(code, **given):
    return run(Experiment(code=code, limits=SHORT, **given), approved=True)


def test_nothing_runs_without_a_persons_approval():
    with pytest.raises(NotAllowed, match="approved"):
        run(Experiment(code="print(1)"), approved=False)
    with pytest.raises(InputError, match="no Python"):
        Experiment(code="print(")
    for name in ("../x", "", "a\0b", ".hidden", "experiment.py"):  # the last would be run in the code's place
        with pytest.raises(InputError, match="plain name"):
            Experiment(code="1", data={name: "y"})


def test_code_data_and_seed_are_recorded_and_repeat_the_output():
    code = (
        "import random, csv\nrows = [*csv.reader(open('runs.csv'))]\nprint(len(rows), random.random(), hash('x'), SEED)"
    )
    one, other = (ran(code, data={"runs.csv": "a,b\n1,2\n"}, seed=7) for _ in range(2))
    assert (one.status, one.output) == ("done", other.output)
    assert one.output.startswith("2 ")
    assert one.output.endswith(" 7\n")
    assert ran(code, data={"runs.csv": "a,b\n1,2\n"}, seed=8).output != one.output
    assert (one.code, one.seed, len(one.data["runs.csv"])) == (code, 7, 64)
    assert one.box in ("namespace", "refusal")


def test_the_box_keeps_the_network_other_files_and_processes_out(tmp_path):
    (tmp_path / "secret.txt").write_text("secret")
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        for code in (
            f"import socket\nsocket.create_connection(('127.0.0.1', {port}))",
            f"print(open({str(tmp_path / 'secret.txt')!r}).read())",
            f"open({str(tmp_path / 'made.txt')!r}, 'w').write('x')",
            f"import os\nos.remove({str(tmp_path / 'secret.txt')!r})",
            "import subprocess\nsubprocess.run(['true'])",
            "import os\nos.system('true')",
            "import os\nos.fork()",
            "import _posixsubprocess\n_posixsubprocess.fork_exec([b'/bin/true'], [b'/bin/true'])",
            "import ctypes\nctypes.CDLL(None)",
            f"import sqlite3\nsqlite3.connect({str(tmp_path / 'made.db')!r}).execute('create table t (a)')",
            f"import os\nos.utime({str(tmp_path / 'secret.txt')!r})",
            "for n in range(1000): open(f'{n}.txt', 'w').close()",
        ):
            outcome = ran(code)
            assert outcome.status == "failed", code
            assert "PermissionError" in outcome.errors, code
            assert "secret" not in outcome.output
    assert [one.name for one in tmp_path.iterdir()] == ["secret.txt"]


def test_the_box_ends_what_takes_too_long_or_too_much():
    late = run(Experiment(code="while True: pass", limits=Limits(seconds=1)), approved=True)
    assert late.status == "out of time"
    assert late.seconds < 4
    assert "MemoryError" in ran("x = bytearray(2**30)").errors
    assert ran("open('big', 'wb').write(b'x' * 2**22)").status == "failed"
    assert len(ran("print('x' * 100_000)").output) == 20_000


def test_the_last_of_the_errors_is_kept_however_much_stands_before_it():
    noisy = "import sys\nfor _ in range(3000): print('warning ' * 5, file=sys.stderr)\nraise ValueError('in the end')"
    outcome = ran(noisy)
    assert outcome.errors.rstrip().endswith("ValueError: in the end")
    assert outcome.box in ("namespace", "refusal")
    assert len(outcome.errors) == 20_000


def test_processor_time_that_is_over_is_said_to_be_over(tmp_path):
    code = "from foveal.research.experiment_box import limited\nlimited(1, 1024, 1)\nwhile True: pass"
    ended = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, timeout=60, check=False)
    assert ended.returncode == -signal.SIGXCPU


def test_an_experiment_is_cancelled_within_a_second():
    cancel, begun = Cancel(), time.monotonic()
    cancel.set()
    with pytest.raises(Cancelled):
        run(Experiment(code="import time\ntime.sleep(60)"), approved=True, cancel=cancel)
    assert time.monotonic() - begun < 1.0


ORPHAN = """
from foveal.research.experiment import Experiment, run
run(Experiment(code="import os, time\\nopen('pid', 'w').write(str(os.getpid()))\\ntime.sleep(600)"), approved=True)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="Only Linux ends a process with its parent.")
def test_an_experiment_ends_with_the_process_that_began_it(tmp_path):
    parent = subprocess.Popen([sys.executable, "-c", ORPHAN], env=os.environ | {"TMPDIR": str(tmp_path)})
    until = time.monotonic() + 60
    while not (pids := [one.read_text() for one in tmp_path.glob("*/pid")]) or not pids[0]:
        assert time.monotonic() < until
        time.sleep(0.02)
    parent.kill()
    parent.wait()
    while _is_alive(int(pids[0])):
        assert time.monotonic() < until, "it goes on"
        time.sleep(0.02)


def _is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.parametrize("stop", ["cancelled", "budget"])
def test_a_run_that_is_stopped_during_its_experiment_still_gives_its_report(stop):
    planned = Experiment(code="import time\ntime.sleep(60)")
    budget = Budget(seconds=2.0) if stop == "budget" else None
    going = DeepResearch(Filler(), Pages()).start(QUESTION, mode="quick", experiment=planned, budget=budget)
    while stop == "cancelled" and not any("experiment" in one for one in going.state.busy):
        time.sleep(0.01)
    begun = time.monotonic()
    if stop == "cancelled":
        going.cancel()
    report = going.result(timeout=30)
    assert stop == "budget" or time.monotonic() - begun < 1.5
    assert (report.stopped_by, report.found, report.experiment) == (stop, True, None)


def test_a_reviewers_pass_scores_the_draft():
    outcome = ran("print(42)")
    verdict = {"score": 4, "strengths": ["It runs."], "weaknesses": ["It shows nothing."]}
    model = Filler({"Review": lambda _: verdict})
    found = review(model, "# Report\n\nThe answer is 42.", outcome)
    assert found is not None
    assert found.model_dump() == verdict
    assert "print(42)" in model.prompts[0]
    assert "The answer is 42." in model.prompts[0]


def test_a_report_has_an_experiment_only_when_it_is_given_one_and_does_it_once():
    verdict = {"score": 6, "strengths": ["It runs."], "weaknesses": []}
    research = DeepResearch(Filler({"Review": lambda _: verdict}), Pages())
    assert research.report(QUESTION, mode="quick").experiment is None
    planned = Experiment(code="import time\nprint(time.time())", limits=SHORT)
    run_ = research.start(QUESTION, mode="quick", experiment=planned)
    report = run_.result()
    assert report.stage == 3
    assert STAGES[3] == "Full-stack AI Scientist"
    assert report.experiment["status"] == "done"
    assert report.experiment["review"]["score"] == 6
    assert "time.time()" in report.to_markdown()
    assert "6 of 10" in report.to_markdown()
    again = research.go_on(EventLog(run_.log.so_far()).so_far()).result()
    assert again.experiment == report.experiment  # it was not run a second time
