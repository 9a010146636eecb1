"""Experiments of the third stage: approved, boxed in, recorded, reviewed; off by default."""

from __future__ import annotations

import socket

import pytest
from report_worlds import QUESTION, Filler, Pages

from foveal.errors import InputError, NotAllowed
from foveal.research.deep import DeepResearch
from foveal.research.events import EventLog
from foveal.research.experiment import Experiment, Limits, review, run
from foveal.research.report import STAGES

SHORT = Limits(seconds=5, memory_mb=512, file_mb=1)


def ran(code, **given):
    return run(Experiment(code=code, limits=SHORT, **given), approved=True)


def test_nothing_runs_without_a_persons_approval():
    with pytest.raises(NotAllowed, match="approved"):
        run(Experiment(code="print(1)"), approved=False)
    with pytest.raises(InputError, match="no Python"):
        Experiment(code="print(")
    with pytest.raises(InputError, match="plain name"):
        Experiment(code="1", data={"../x": "y"})


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
            "import ctypes\nctypes.CDLL(None)",
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
