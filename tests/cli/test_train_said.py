"""What a training says at its end is of this run and this home: remarks, what was only measured, how it is used."""

import csv

import pytest
from typer.testing import CliRunner

from foveal.cli.main import app
from foveal.errors import InputError
from foveal.evaluation.headlines import TECLASS_COLUMNS
from foveal.training.loop import Curves
from foveal.training.report import Report

REPORT = Report("mine", "a model", "a base", Curves((), (), 0, None, "finished", 0.0), {}, True, ("a note",))
WIDE = {"COLUMNS": "400", "NO_COLOR": "1"}


def shown(*arguments):
    done = CliRunner().invoke(app, ["train", *map(str, arguments)], env=WIDE, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.stdout


@pytest.fixture
def beir(tmp_path):
    folder = tmp_path / "beir"
    (folder / "qrels").mkdir(parents=True)
    (folder / "corpus.jsonl").write_text("".join(f'{{"_id": "d{n}", "text": "text {n}"}}\n' for n in range(6)))
    (folder / "queries.jsonl").write_text("".join(f'{{"_id": "q{n}", "text": "query {n}"}}\n' for n in range(4)))
    for split, count in (("train", 4), ("test", 1)):
        lines = ["query-id\tcorpus-id\tscore", *(f"q{n}\td{n}\t1" for n in range(count))]
        (folder / "qrels" / f"{split}.tsv").write_text("\n".join(lines) + "\n")
    return folder


def test_a_bridge_says_which_queries_it_did_not_learn_from(beir, tmp_path, monkeypatch):
    monkeypatch.setattr("foveal.training.lexsembridge.train_lexsembridge", lambda *_, **__: (tmp_path, REPORT))
    given = ["--data", beir, "--test-split", "test", "--spans", 0, "--keywords", 0, "--home", tmp_path]
    told = shown("lexsembridge", *given)
    assert "1 queries of train are asked in test, too, and were not learnt from." in told
    assert "a note" in told


def test_what_a_bprop_and_a_memory_are_used_by_is_found_in_their_home(beir, tmp_path, monkeypatch):
    """Elsewhere than in the usual home a name alone is found by nobody."""
    made = tmp_path / "home" / "models" / "mine"
    for name in ("foveal.training.bprop.pretrain_bprop", "foveal.reading.titans_training.train_reader"):
        monkeypatch.setattr(name, lambda *_, **__: (made, REPORT))
    monkeypatch.setattr("foveal.models.load_encoder", lambda *_, **__: None)
    home = ["--home", tmp_path / "home"]
    assert shown("bprop", "--data", beir, *home).rstrip().endswith(f"reranker --base mine --home {tmp_path / 'home'}")
    told = shown("titans-reader", "--data", beir / "corpus.jsonl", *home)
    assert told.rstrip().endswith(f"--memory mine --home {tmp_path / 'home'}")


def test_a_judge_is_measured_by_the_test_pairs_of_a_folder_that_has_some(tmp_path, monkeypatch):
    """Of TeClass's own folder `--test` took those that are to be learnt from."""
    for name in ("training", "development", "test"):
        with (tmp_path / f"{name}.csv").open("w", newline="") as file:
            csv.writer(file).writerows([TECLASS_COLUMNS, (f"{name}_1", "http://x", "an article", "a line", "HREL")])
    seen = []

    def nothing(_, __, *, run):
        seen.append([one.id for one in run.test.pairs])
        raise InputError("nothing is trained here")

    monkeypatch.setattr("foveal.papers.headline_training.train_headline_judge", nothing)
    pairs = tmp_path / "pairs.csv"
    pairs.write_text("headline,article,label\nh,a,HREL\ng,b,LREL\n")
    for asked in ([pairs, "--test", tmp_path], [tmp_path], [tmp_path, "--test", pairs]):
        done = CliRunner().invoke(app, ["train", "headline-judge", *map(str, asked), "--home", str(tmp_path / "home")])
        assert "nothing is trained" in str(done.exception)
    assert seen == [["test_1"], ["test_1"], ["0", "1"]]
