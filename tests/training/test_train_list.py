"""What was trained in a home is listed, and removed: runs that ended well, ended no better, or were stopped."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from typer.testing import CliRunner

from foveal.cli.main import app
from foveal.cli.training import told
from foveal.errors import InputError, LibraryCorrupt
from foveal.library import Library
from foveal.settings import Settings
from foveal.training import checkpoints
from foveal.training.kept import GONE, KEPT, NO_BETTER, NOTHING, TRAINING, UNFINISHED, lost, remove, trained
from foveal.training.loop import Curves
from foveal.training.report import Report, read_report
from foveal.training.runs import RunSettings, TrainingRun


def run(*arguments: object, home: Path) -> str:
    done = CliRunner().invoke(
        app, ["train", *map(str, arguments)], env={"FOVEAL_HOME": str(home), "COLUMNS": "160"}, catch_exceptions=False
    )
    assert done.exit_code == 0, done.output
    return done.stdout


def done(home: Path, name: str, before: float, after: float, *, anew: bool = False, **test: float) -> None:
    """A run that ended so, as trainings leave it."""
    here = TrainingRun.opened(RunSettings(home=home, name=name, anew=anew), {"what": "toy"}, kind="toy")
    measured = {"dev": ({"map": before, "mrr": 0.9}, {"map": after, "mrr": 0.1})}
    measured |= {"test": ({"map": before}, test)} if test else {}
    curves = Curves((), (), 0, None, "finished", 0.0)
    report = Report(name, f"toy {name}", "nothing", curves, measured, after > before)
    with here.candidate() as made:
        made.mkdir()
        here.settle(made, report)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    done(tmp_path, "better", 0.25, 0.5, map=0.4)
    done(tmp_path, "worse", 0.25, 0.2)
    done(tmp_path, "lost", 0.25, 0.75)
    (tmp_path / "models" / "lost" / "training.json").unlink()
    (tmp_path / "models" / "lost").rmdir()
    stopped = TrainingRun.opened(RunSettings(home=tmp_path, name="stopped"), {"what": "toy"}, kind="toy")
    (stopped.folder / "checkpoint-1").mkdir()
    TrainingRun.opened(RunSettings(home=tmp_path, name="refused"), {"what": "toy"}, kind="toy")
    (tmp_path / "runs" / "train" / "no-run").mkdir()
    return tmp_path


def test_each_run_is_listed_with_what_it_changed(home):
    found = {one.name: one for one in trained(home)}
    states = {"better": KEPT, "worse": NO_BETTER, "lost": GONE, "stopped": UNFINISHED, "refused": NOTHING}
    assert {name: one.state for name, one in found.items()} == states
    assert found["better"].told == ("map", 0.25, 0.5)
    assert found["better"].model == home / "models" / "better"
    assert (found["stopped"].told, found["stopped"].what) == (None, "toy")
    told = json.loads(run("list", "--json", home=home))
    assert [one["name"] for one in told] == [one.name for one in trained(home)]
    better = next(one for one in told if one["name"] == "better")
    assert better["decided_by"] == {"metric": "map", "before": 0.25, "after": 0.5}
    assert better["measured"]["test"] == [{"map": 0.25}, {"map": 0.4}]
    row = next(line for line in run("list", home=home).splitlines() if line.startswith("worse"))
    assert row.split()[1:-2] == ["toy", "worse", "no", "better", "map", "0.25", "0.2"]


def test_a_model_that_was_no_better_is_told_with_its_place(home, capsys):
    report = read_report(home / "runs" / "train" / "worse")
    assert report is not None
    told(report, None, "Use it: not at all", Settings.load(home), as_json=False)
    said = capsys.readouterr().out
    assert f"What was no better lies in {home / 'runs' / 'train' / 'worse' / 'rejected'}." in said
    assert "Use it" not in said


def test_a_run_begun_anew_that_is_no_better_leaves_the_model_before(home):
    done(home, "better", 0.25, 0.1, anew=True)
    found = next(one for one in trained(home) if one.name == "better")
    assert (found.state, found.model) == (NO_BETTER, home / "models" / "better")
    row = next(line for line in run("list", home=home).splitlines() if line.startswith("better"))
    assert "no better; the one before stays" in row
    assert found.model.is_dir()


def test_a_run_that_a_wrong_setting_ended_is_not_told_to_be_unfinished(home):
    """Nothing would ever finish it: the command with the right setting is another run, which takes its name."""
    assert lost("refused", home) == " (its training was stopped before it kept anything)"
    row = next(line for line in run("list", home=home).splitlines() if line.startswith("refused"))
    assert row.split()[1:4] == ["toy", "kept", "nothing"]
    done(home, "refused", 0.25, 0.5)
    assert {one.name: one.state for one in trained(home)}["refused"] == KEPT


def test_nothing_trained_is_said(tmp_path):
    assert "Nothing was trained here yet" in run("list", home=tmp_path)
    assert run("list", "--json", home=tmp_path).strip() == "[]"


def test_a_model_is_removed_with_its_run(home):
    said = run("remove", "better", home=home)
    for folder in (home / "models" / "better", home / "runs" / "train" / "better"):
        assert f"Removed: {folder}" in said
        assert not folder.exists()
    done(home, "better", 0.25, 0.3)  # the name is free again
    assert json.loads(run("remove", "stopped", "--json", home=home)) == [str(home / "runs" / "train" / "stopped")]
    with pytest.raises(InputError, match=r"There are: better, lost, refused, worse\."):
        remove(home, "../better")


def test_after_a_kill_while_a_run_is_removed_its_name_is_still_known(home, monkeypatch):
    """Else its checkpoints would be nobody's, the name taken, and nothing there to remove."""

    def killed(folder):
        for path in Path(folder).iterdir():  # what stands there is removed in any order
            if path.is_file():
                path.unlink()
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("shutil.rmtree", killed)
        with pytest.raises(KeyboardInterrupt):
            remove(home, "stopped")
    assert "stopped" in {one.name for one in trained(home)}
    assert remove(home, "stopped") == [home / "runs" / "train" / "stopped"]
    assert "stopped" not in {one.name for one in trained(home)}


def test_a_model_that_trains_or_is_searched_with_stays(home, monkeypatch):
    lock = "import sys, time\nfrom pathlib import Path\nfrom foveal.training.alone import hold\n"
    code = f"{lock}held = hold(Path(sys.argv[1]))\nprint('held', flush=True)\ntime.sleep(60)"
    folder = home / "runs" / "train" / "stopped"
    with subprocess.Popen([sys.executable, "-c", code, str(folder)], stdout=subprocess.PIPE, text=True) as other:
        try:
            assert other.stdout is not None
            assert other.stdout.readline() == "held\n"
            asked = CliRunner().invoke(app, ["train", "remove", "stopped", "--home", str(home)])
            assert "Another process" in str(asked.exception)
            assert {one.name: one.state for one in trained(home)}["stopped"] == TRAINING
        finally:
            other.kill()
    assert {one.name: one.state for one in trained(home)}["stopped"] == UNFINISHED
    assert checkpoints.read(folder / checkpoints.RUN) == {"what": "toy"}
    monkeypatch.setattr(Library, "open", lambda **_: made_with(home / "models" / "better"))
    asked = CliRunner().invoke(app, ["train", "remove", "better", "--home", str(home)])
    assert "was made with the encoder better" in str(asked.exception)
    assert (home / "models" / "better").is_dir()


def made_with(encoder: Path) -> SimpleNamespace:
    """A library of which only the encoder is known."""
    return SimpleNamespace(store=SimpleNamespace(settings={"encoder": str(encoder)}))


def test_no_model_is_removed_where_the_library_that_may_need_it_cannot_be_looked_at(home):
    Library.open(settings=Settings(home=home, cache=home / "cache", encoder="none"))
    shutil.rmtree(home / "library" / "documents.lance")
    asked = CliRunner().invoke(app, ["train", "remove", "better", "--home", str(home)])
    assert isinstance(asked.exception, LibraryCorrupt)
    assert (home / "models" / "better").is_dir()
