import json
import re
from dataclasses import replace

import pytest

from foveal.errors import InputError, UnknownName
from foveal.evaluation.grid import Cell, Outcome, Summary, differences, run, summary, trade_off
from foveal.evaluation.likelihood import paired
from foveal.evaluation.plots import mark_of
from foveal.evaluation.ruler import make


def count(text):
    return len(text.split())


SAMPLES = [
    sample
    for task in ("niah_single", "niah_multivalue")
    for length in (150, 300)
    for sample in make(task, 3, length, count)
]


class Reader:
    """An honest system without a model: it reads the first `share` of the context and says the numbers in it."""

    def __init__(self, share):
        self.share, self.calls = share, 0

    def __call__(self, sample):
        self.calls += 1
        read = sample.context[: round(self.share * len(sample.context))]
        return Outcome(" ".join(re.findall(r"\d{7}", read)), 2 - self.share, self.share, len(read) / 1000)


def systems():
    return {"dense": Reader(1.0), "first@0.5": Reader(0.5), "first@0.1": Reader(0.1)}


def cell(**values):
    plain = Cell("m", "s", "qa", 10, 0, 1.0, 0.5, 0.25, 2.0, "text", "key")
    return replace(plain, **values)


def test_each_sample_is_given_to_each_system():
    cells = run(systems(), SAMPLES)
    assert [(one.system, one.task, one.length, one.seed) for one in cells] == [
        (name, sample.task, sample.length, sample.seed) for sample in SAMPLES for name in systems()
    ]
    first = cells[1]
    assert (first.method, first.setting, first.density, first.gold_nats) == ("first", "0.5", 0.5, 1.5)
    assert all(one.correct == 1 for one in cells if one.method == "dense")
    assert {one.correct for one in cells if one.task == "niah_multivalue"} <= {0, 0.25, 0.5, 0.75, 1}
    assert run(systems(), [*SAMPLES, *SAMPLES]) == cells


def test_a_summary_is_the_means_of_the_cells_that_agree():
    cells = [cell(), cell(correct=0.5, gold_nats=None, density=0.75, seconds=4.0), cell(method="n", gold_nats=None)]
    assert summary(cells) == {
        ("m", "s"): Summary(2, 0.75, 0.5, 0.5, 3.0),
        ("n", "s"): Summary(1, 1.0, None, 0.25, 2.0),
    }
    assert summary(cells, ()) == {(): Summary(3, 2.5 / 3, 0.5, 1.25 / 3, 8 / 3)}
    assert [*summary(run(systems(), SAMPLES), ("length", "method"))] == [
        (length, method) for length in (150, 300) for method in ("dense", "first")
    ]
    assert summary([]) == {}
    with pytest.raises(UnknownName, match=r"'budget'.*method, setting, task"):
        summary(cells, ("budget",))


def test_a_killed_run_goes_on_and_gives_what_an_unbroken_one_does(tmp_path):
    unbroken = run(systems(), SAMPLES)
    store, seen = tmp_path / "runs" / "grid.jsonl", []

    def killed(one):
        seen.append(one)
        if len(seen) == 8:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(systems(), SAMPLES, store=store, on_cell=killed)
    assert [json.loads(line)["setting"] for line in store.read_text().splitlines()] == [one.setting for one in seen]
    again = systems()
    assert run(again, SAMPLES, store=store, on_cell=seen.append) == unbroken
    assert seen == unbroken
    assert sum(reader.calls for reader in again.values()) == len(unbroken) - 8
    assert run(again, SAMPLES, store=store) == unbroken
    assert [path.name for path in store.parent.iterdir()] == ["grid.jsonl"]


def test_a_store_grows_by_systems_and_samples_and_tells_haystacks_apart(tmp_path):
    store, dense = tmp_path / "grid.jsonl", Reader(1.0)
    run({"dense": dense}, SAMPLES[:2], store=store)
    run({"dense": dense, "dense@2": dense}, SAMPLES[:3], store=store)
    assert dense.calls == 6
    run({"dense": dense}, make("niah_single", 1, 150, count, haystack="It rained. It poured."), store=store)
    assert dense.calls == 7
    assert len(store.read_text().splitlines()) == 7


@pytest.mark.parametrize("content", ["{", '{"method": "x"}', "[]", "\udcff"])
def test_a_damaged_store_is_refused(tmp_path, content):
    store = tmp_path / "grid.jsonl"
    store.write_bytes(content.encode("utf-8", "surrogateescape"))
    with pytest.raises(InputError, match=r"grid\.jsonl holds no cells"):
        run(systems(), SAMPLES, store=store)


def test_a_grid_of_nothing_is_refused():
    with pytest.raises(InputError, match="no systems"):
        run({}, SAMPLES)
    with pytest.raises(InputError, match="no samples"):
        run(systems(), [])


def test_differences_are_of_the_same_samples():
    cells = [
        cell(method="a", setting="", sample="1", correct=1.0),
        cell(method="b", setting="2", sample="2", correct=0.25),
        cell(method="b", setting="2", sample="1", correct=0.75),
        cell(method="a", setting="", sample="3", correct=0.0, gold_nats=None),
    ]
    assert differences(cells, "a", "b@2") == [0.25]
    assert differences(cells, "b@2", "a") == [-0.25]
    with pytest.raises(InputError, match="gold_nats of 'a' was not measured"):
        differences(cells, "a", "b@2", "gold_nats")
    with pytest.raises(UnknownName, match=r"system 'b'. There are: a, b@2"):
        differences(cells, "a", "b")
    with pytest.raises(UnknownName, match=r"'luck'.*correct, gold_nats"):
        differences(cells, "a", "b@2", "luck")


def test_reading_less_is_worse_beyond_chance():
    cells = run(systems(), SAMPLES)
    assert paired(differences(cells, "first@0.1", "dense"), seed=0).high < 0
    assert paired(differences(cells, "first@0.1", "dense", "gold_nats"), seed=0).mean == pytest.approx(0.9)


@pytest.mark.parametrize("against", ["density", "seconds"])
def test_a_trade_off_shows_a_colour_for_each_method(tmp_path, against):
    pytest.importorskip("matplotlib")
    from matplotlib.image import imread

    image = imread(trade_off(run(systems(), SAMPLES), tmp_path / "t.png", against, title="Costs $5 and $6"))[:, :, :3]
    for colour in ("#0072b2", "#d55e00"):
        wanted = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        assert (abs(image - wanted).max(axis=2) < 0.02).sum() > 20


def test_a_trade_off_stands_where_its_means_are(tmp_path):
    pytest.importorskip("matplotlib")
    from matplotlib.image import imread

    def marks(correct):
        """Columns and rows, from the left and the top, of the blue of one point among orange ones that fix the axes."""
        frame = [cell(method="frame", setting=str(x), density=x, correct=x) for x in (0.0, 1.0)]
        cells = [cell(method="own", setting="", density=0.5, correct=correct), *frame]
        image = imread(trade_off(cells, tmp_path / "t.png"))[:, :, :3]
        blue = abs(image - [0, 0x72 / 255, 0xB2 / 255]).max(axis=2) < 0.02
        blue[-300:, -400:] = False  # the legend
        return blue.nonzero()

    (high, _), (low, _) = marks(0.9), marks(0.1)
    assert high.min() < low.min()


def test_a_line_runs_from_left_to_right_whatever_the_order_of_the_cells(tmp_path):
    pytest.importorskip("matplotlib")
    cells = [cell(setting=str(x), density=x, correct=x * x) for x in (0.2, 0.9, 0.5)]
    first, second = (trade_off(given, tmp_path / "t.png").read_bytes() for given in (cells, sorted(cells, key=str)))
    assert first == second


def test_what_cannot_be_drawn_is_an_error_and_leaves_no_file(tmp_path):
    for cells, name, against, message in (
        ([], "t.png", "density", "no cells"),
        ([cell()], "t.png", "correct", "'density' or 'seconds', not 'correct'"),
        ([cell()], "t.pdf", "density", r"must end in \.png"),
    ):
        with pytest.raises(InputError, match=message):
            trade_off(cells, tmp_path / name, against)
    assert list(tmp_path.iterdir()) == []


def test_no_two_methods_look_alike_however_many():
    marks = [tuple(mark_of(index).values()) for index in range(49)]
    assert len(set(marks)) == 49
    assert len({colour for colour, _ in marks[:7]}) == 7
