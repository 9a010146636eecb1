"""What a training reports: the table, JSON and curves; and where its model may go."""

from __future__ import annotations

import shutil

import pytest

from foveal.errors import InputError
from foveal.training import checkpoints, model_folders
from foveal.training.loop import Curves
from foveal.training.report import Report, read_report
from foveal.training.runs import TrainingRun

CURVES = Curves(
    losses=((1, 2.0), (2, 1.5), (3, 1.0)),
    metrics=((0, {"ndcg@10": 0.5, "recall@100": 0.7}), (3, {"ndcg@10": 0.6, "recall@100": 0.8})),
    steps=3, best_step=3, ended="finished", seconds=1.5,
)  # fmt: skip
REPORT = Report(
    "mine",
    "encoder",
    "minilm",
    CURVES,
    {"dev": ({"ndcg@10": 0.5}, {"ndcg@10": 0.6})},
    True,
    ("a note",),
    {"arm": "mined"},
)


def test_before_stands_beside_after():
    assert [(row.system, row.metric, row.value, row.note) for row in REPORT.rows()] == [
        ("dev: before", "ndcg@10", 0.5, "minilm"),
        ("dev: after", "ndcg@10", 0.6, "+0.1000"),
    ]


@pytest.mark.parametrize("metrics", [CURVES.metrics, ()])
def test_it_is_saved_and_read_and_drawn(tmp_path, metrics):
    report = Report("mine", "encoder", "minilm", Curves(CURVES.losses, metrics, 3, None, "early", 1.0), {}, False)
    as_json, picture = report.save(tmp_path)
    assert read_report(tmp_path) == report
    assert as_json.is_file()
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert read_report(tmp_path / "elsewhere") is None


def test_a_models_folder_is_never_anothers(tmp_path):
    known = {"base": "minilm"}

    run = TrainingRun.opened(tmp_path, "mine", known, kind="encoder")
    assert run.report() is None
    for _ in range(2):  # the second time as after a kill between the model and its report
        with run.candidate() as made:
            made.mkdir()
            run.settle(made, REPORT)
        assert checkpoints.read(tmp_path / "models" / "mine" / "training.json") == known
        assert not list(run.folder.glob("candidate-*"))
        assert run.report() == REPORT
        (run.folder / "report.json").unlink()
    with pytest.raises(InputError, match="a library may use it"):
        TrainingRun.opened(tmp_path, "mine", {"base": "another"}, kind="encoder")
    unnamed = TrainingRun.opened(tmp_path, None, known, kind="encoder")
    assert unnamed.name.startswith("encoder-")
    assert unnamed.name != TrainingRun.opened(tmp_path, None, {"base": "another"}, kind="encoder").name
    for wrong in ("a/b", "..", ".hidden", ""):
        if wrong:
            with pytest.raises(InputError, match="plain name"):
                TrainingRun.opened(tmp_path, wrong, known, kind="encoder")


def test_a_run_begun_anew_goes_on_after_a_stop_and_takes_the_place_then(tmp_path):
    """Over a model of other settings, and without saying so again; only over the model that was there then."""

    def opened(rate: str, *, anew: bool = False) -> TrainingRun:
        return TrainingRun.opened(tmp_path, "mine", {"rate": rate}, kind="encoder", anew=anew)

    def settled(run: TrainingRun, text: str) -> None:
        with run.candidate() as made:
            made.mkdir()
            (made / "weights").write_text(text)
            run.settle(made, REPORT)

    settled(opened("1"), "first")
    opened("2", anew=True)  # and stopped
    with pytest.raises(InputError, match="a library may use it"):
        opened("3")
    settled(opened("2"), "second")
    place = tmp_path / "models" / "mine"
    assert (place / "weights").read_text() == "second"
    assert [one.name for one in place.parent.iterdir()] == ["mine"]
    assert opened("2").report() == REPORT
    opened("3", anew=True)
    checkpoints.write(place / "training.json", {"rate": "of another machine"})
    with pytest.raises(InputError, match="a library may use it"):
        opened("3")


def test_a_model_that_is_replaced_is_never_half_there(tmp_path, monkeypatch):
    """While the old one is removed the new one stands in its place already."""
    place, made = tmp_path / "models" / "mine", tmp_path / "candidate" / "model"
    for folder in (place, made):
        folder.mkdir(parents=True)
        (folder / "weights").write_text(folder.name)
    removed, removing = [], shutil.rmtree

    def remove(folder, **options):
        removed.append(((folder / "weights").read_text(), (place / "weights").read_text()))
        removing(folder, **options)

    monkeypatch.setattr(shutil, "rmtree", remove)
    model_folders.moved(made, place, replace=True)
    assert removed == [("mine", "model")]
    assert not list((tmp_path / "candidate").iterdir())
