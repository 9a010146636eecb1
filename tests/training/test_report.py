"""What a training reports: the table, JSON and curves; and where its model may go."""

from __future__ import annotations

import shutil
import struct
from dataclasses import replace
from pathlib import Path

import pytest

from foveal.errors import InputError
from foveal.settings import Settings
from foveal.training import checkpoints, model_folders
from foveal.training.examples import Examples
from foveal.training.loop import Curves
from foveal.training.report import Report, beside, panels, picture, read_report, told_cut
from foveal.training.runs import RunSettings, TrainingRun

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


def test_a_rise_of_few_queries_is_told_beside_the_mean():
    """Three of four rise and one falls by as much: of 16 patterns of signs 10 have a sum as large (4 + 4 + 1 + 1)."""
    corpus = {name: name for name in "abcd"}
    queries = Examples({f"q{n}": f"query {n}" for n in range(4)}, corpus, {f"q{n}": {"a": 1} for n in range(4)})
    good, bad = {"a": 2.0, "b": 1.0}, {"a": 1.0, "b": 2.0}
    before = {"q0": bad, "q1": bad, "q2": bad, "q3": good}
    after = {"q0": good, "q1": good, "q2": good, "q3": bad}
    measured, notes = beside({"dev": queries}, {"dev": before}, {"dev": after}, ("mrr", "map"))
    assert measured == {"dev": ({"mrr": 0.625, "map": 0.625}, {"mrr": 0.875, "map": 0.875})}
    said = "dev: of 4 queries mrr rose for 3 and fell for 1; luck alone does as much with probability 0.62."
    assert notes == (said,)
    same = beside({"dev": queries}, {"dev": before}, {"dev": before}, ("mrr",))[1]
    assert same == ("dev: mrr is the same for each of 4 queries.",)


def test_where_all_was_right_before_it_is_told_that_nothing_can_be_better():
    corpus = {name: name for name in "ab"}
    queries = Examples({"q0": "query 0", "q1": "query 1"}, corpus, {"q0": {"a": 1}, "q1": {"a": 1}})
    good, bad = {"a": 2.0, "b": 1.0}, {"a": 1.0, "b": 2.0}
    right = {"q0": good, "q1": good}
    said = "dev: mrr was 1 before, so that nothing can be better. Judge queries that are harder."
    same = beside({"dev": queries}, {"dev": right}, {"dev": right}, ("mrr",))[1]
    assert same == (said, "dev: mrr is the same for each of 2 queries.")
    assert beside({"dev": queries}, {"dev": right}, {"dev": {"q0": good, "q1": bad}}, ("mrr",))[1][0] == said
    assert said not in beside({"dev": queries}, {"dev": {"q0": good, "q1": bad}}, {"dev": right}, ("mrr",))[1]


@pytest.mark.parametrize("metrics", [CURVES.metrics, ()])
def test_it_is_saved_and_read_and_drawn(tmp_path, metrics):
    report = Report("mine", "encoder", "minilm", Curves(CURVES.losses, metrics, 3, None, "early", 1.0), {}, False)
    as_json, picture = report.save(tmp_path)
    assert read_report(tmp_path) == report
    assert as_json.is_file()
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert read_report(tmp_path / "elsewhere") is None


def test_what_was_not_measured_in_between_is_not_drawn(tmp_path):
    nan = float("nan")
    short = replace(CURVES, losses=(), metrics=((0, {"mrr": 0.5, "map": nan}), (3, {"mrr": 0.6, "map": 0.7})))
    assert panels(short) == {"mrr": [(0, 0.5), (3, 0.6)]}  # of map there is one point
    assert panels(replace(CURVES, metrics=CURVES.metrics[:1])) == {"loss": [(1, 2.0), (2, 1.5), (3, 1.0)]}
    assert panels(replace(CURVES, losses=((3, nan),), metrics=())) == {}
    assert replace(REPORT, curves=replace(CURVES, losses=(), metrics=())).save(tmp_path)[1] is None
    assert not list(tmp_path.glob("*.png"))
    one, three = (picture(curves, tmp_path / name, title="") for curves, name in ((short, "1.png"), (CURVES, "3.png")))
    heights = [struct.unpack(">I", path.read_bytes()[20:24])[0] for path in (one, three)]  # of a PNG's first chunk
    assert heights == [420, 1140]


def test_texts_that_are_read_in_part_are_counted():
    examples = Examples({"q": "a b c", "p": "a"}, {"d": "a b", "long": "abcdef"}, {"q": {"d": 1}, "p": {"d": 1}})
    words = lambda text: len(text.split())  # noqa: E731
    assert told_cut(examples, words, 2) == ("1 of 2 queries are longer than the 2 tokens that are read of one.",)
    assert told_cut(examples, words, 3) == ()


@pytest.mark.parametrize("name", ["pairwise", "minilm", "none"])
def test_a_name_that_would_never_mean_the_model_is_refused(tmp_path, name):
    with pytest.raises(InputError, match=f"such as my-{name}"):
        TrainingRun.opened(RunSettings(home=tmp_path, name=name), {"base": "minilm"}, kind="encoder")
    assert not list(tmp_path.iterdir())


def opened(home: Path, **known: str) -> TrainingRun:
    return TrainingRun.opened(RunSettings(home=home, name="mine"), known, kind="encoder")


def test_what_differs_of_another_run_is_told_in_words(tmp_path):
    """A number by both its values; texts and weights, known by their hashes, as not the same; of settings in a row
    those that are not alike.
    """
    arm = '{"arm": "mined", "objective": "in-batch", "typos": 0.0, "negatives": %d, "depth": 30}'
    run = opened(tmp_path, seed="0", dev="a" * 64, test="none", arm=arm % 1)
    (run.folder / "negatives.json").touch()
    said = (
        r"of another run \(arm: \"negatives\": 1 there, \"negatives\": 3 now; dev: not the same; "
        r"seed: 0 there, 4 now; test: none there, b{57}… now\), so"
    )
    with pytest.raises(InputError, match=said):
        opened(tmp_path, seed="4", dev="b" * 64, test="b" * 64, arm=arm % 3)


def test_a_run_that_came_to_nothing_holds_no_name(tmp_path):
    """A wrong setting ended it before it kept anything: the command with the right one is not refused."""
    opened(tmp_path, seed="0")
    run = opened(tmp_path, seed="1")
    assert checkpoints.read(run.folder / checkpoints.RUN) == {"seed": "1"}
    (run.folder / "checkpoint-1").mkdir()
    with pytest.raises(InputError, match="of another run"):
        opened(tmp_path, seed="2")


@pytest.mark.parametrize("part", ["dev", "test"])
def test_data_that_a_training_would_not_look_at_are_refused(tmp_path, part):
    """What a run is known by tells whether it looks at them."""
    run = RunSettings(home=tmp_path, name="mine", **{part: {"q": "data"}})
    for known in ({"base": "minilm"}, {"base": "minilm", part: "none"}):
        with pytest.raises(InputError, match=f"The training of a segmenter takes no {part} data"):
            TrainingRun.opened(run, known, kind="segmenter")
    assert not list(tmp_path.iterdir())
    assert TrainingRun.opened(run, {"base": "minilm", part: "a" * 64}, kind="segmenter").done() is None


def test_a_run_may_be_measured_by_other_data(tmp_path):
    run = RunSettings(home=tmp_path, name="mine", dev=["a"], test=["b"], anew=True, cache=tmp_path / "cache")
    other = run.measured_by({"c": 1}, None)
    assert (other.dev, other.test) == ({"c": 1}, None)
    assert replace(other, dev=run.dev, test=run.test) == run
    assert run.cache_at == tmp_path / "cache"
    assert RunSettings(home=tmp_path).cache_at == Settings.load().cache


def test_a_models_folder_is_never_anothers(tmp_path):
    known = {"base": "minilm"}

    run = TrainingRun.opened(RunSettings(home=tmp_path, name="mine"), known, kind="encoder")
    assert run.report() is None
    for _ in range(2):  # the second time as after a kill between the model and its report
        with run.candidate() as made:
            made.mkdir()
            run.settle(made, REPORT)
        assert checkpoints.read(tmp_path / "models" / "mine" / "training.json") == known
        assert not list(run.folder.glob("candidate-*"))
        assert run.report() == REPORT
        assert run.done() == (tmp_path / "models" / "mine", REPORT)
        (run.folder / "report.json").unlink()
    with pytest.raises(InputError, match="a library may use it"):
        TrainingRun.opened(RunSettings(home=tmp_path, name="mine"), {"base": "another"}, kind="encoder")
    unnamed = TrainingRun.opened(RunSettings(home=tmp_path), known, kind="encoder")
    assert unnamed.name.startswith("encoder-")
    assert unnamed.name != TrainingRun.opened(RunSettings(home=tmp_path), {"base": "another"}, kind="encoder").name
    for wrong in ("a/b", "..", ".hidden", ""):
        if wrong:
            with pytest.raises(InputError, match="plain name"):
                TrainingRun.opened(RunSettings(home=tmp_path, name=wrong), known, kind="encoder")


def test_a_run_begun_anew_goes_on_after_a_stop_and_takes_the_place_then(tmp_path):
    """Over a model of other settings, and without saying so again; only over the model that was there then."""

    def opened(rate: str, *, anew: bool = False) -> TrainingRun:
        return TrainingRun.opened(RunSettings(home=tmp_path, name="mine", anew=anew), {"rate": rate}, kind="encoder")

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
