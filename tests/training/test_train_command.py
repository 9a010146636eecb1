"""`foveal train`: from a folder of judged queries, and from a library that nobody judged."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path

import pytest
from typer.testing import CliRunner

from foveal.cli.main import app
from foveal.cli.training import learnt_from
from foveal.errors import InputError, ModelUnavailable, UnknownName
from foveal.library import Library
from foveal.ranking.judged import Judged
from foveal.settings import Settings
from foveal.training import encoders
from foveal.training.encoders import ARMS
from foveal.training.examples import Examples
from foveal.training.rerankers import OBJECTIVES

pytestmark = pytest.mark.usefixtures("undrawn")
LITTLE = ["--steps", "30", "--batch", "8", "--learning-rate", "0.015"]


def run(*arguments: object, home: Path) -> str:
    done = CliRunner().invoke(app, ["train", *map(str, arguments), "--home", str(home)], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.stdout


def json_lines(texts: Mapping[str, str]) -> str:
    return "".join(json.dumps({"_id": one, "text": text}) + "\n" for one, text in texts.items())


@pytest.fixture
def data(topics: Examples, tmp_path: Path) -> Path:
    """The topics in BEIR's layout: every fifth query is a test query."""
    folder = tmp_path / "topics"
    (folder / "qrels").mkdir(parents=True)
    (folder / "corpus.jsonl").write_text(json_lines(topics.corpus))
    (folder / "queries.jsonl").write_text(json_lines(topics.queries))
    for split in ("train", "test"):
        queries = [query for n, query in enumerate(topics.queries) if (n % 5 == 0) == (split == "test")]
        judged = [f"{q}\t{d}\t{grade}\n" for q in queries for d, grade in topics.judged[q].items()]
        (folder / "qrels" / f"{split}.tsv").write_text("query-id\tcorpus-id\tscore\n" + "".join(judged))
    return folder


@pytest.mark.parametrize(
    ("command", "option", "name", "said"),
    [
        ("encoder --data", "--base", "nobody", "No encoder is called 'nobody'"),
        ("encoder --data", "--base", "", "holds no model"),
        ("late --data", "--base", "nobody", "No encoder is called 'nobody'"),
        ("reranker --data", "--base", "nobody", "No encoder is called 'nobody'"),
        ("legal paraformer --data", "--base", "nobody", "No encoder is called 'nobody'"),
        ("headline-judge", "--encoder", "nobody", "No encoder is called 'nobody'"),
        ("headline-judge", "--chat", "minilm", "minilm is an encoder, no language model"),
        ("headline-writer", "--base", "minilm", "minilm is an encoder, no language model"),
        ("planner", "--base", "nobody", "No language model is called 'nobody'"),
    ],
    ids=["encoder", "folder", "late", "reranker", "legal", "judge", "likelihood", "writer", "planner"],
)
def test_a_wrong_model_to_begin_with_is_told_before_anything_is_read(command, option, name, said, tmp_path):
    given = [*command.split(), str(tmp_path / "missing"), option, name or str(tmp_path), "--home", str(tmp_path)]
    done = CliRunner().invoke(app, ["train", *given])
    assert isinstance(done.exception, UnknownName | ModelUnavailable)
    assert said in str(done.exception)


@pytest.mark.slow
def test_an_encoder_and_a_reranker_from_judged_queries(data, tiny_encoder, tmp_path):
    """The table of before and after, and where the model is; the ranker teaches an encoder."""
    home, base = tmp_path / "home", ["--base", tiny_encoder]
    named = ["--test-split", "test", "--arm", "in-batch", "--name", "mine"]
    shown = run("encoder", "--data", data, *named, *base, *LITTLE, home=home)
    assert "dev: before" in shown
    assert "test: after" in shown
    assert "home/models/mine" in "".join(shown.split())
    stage = ["--first-stage", home / "models" / "mine"]
    told = json.loads(run("reranker", "--data", data, "--json", *base, *stage, *LITTLE, home=home))
    assert told["what"].startswith("reranker, listwise, over words and ")
    teacher = told["model"] or Path(told["run"]) / "rejected"
    told = json.loads(
        run("encoder", "--data", data, "--arm", "kl", "--teacher", teacher, "--json", *base, *LITTLE, home=home)
    )
    assert told["curves"]["steps"] == 30
    assert (Path(told["run"]) / "report.json").is_file()
    assert (told["model"] is None) == (not told["kept"])


@pytest.mark.slow
def test_an_encoder_from_the_library_itself(tiny_encoder, tmp_path):
    """T12: no label anywhere; headings, titles and sentences ask."""
    home = tmp_path / "home"
    (tmp_path / "texts").mkdir()
    for n in range(6):
        text = f"# The book of a{n} and f{n}\n\n" + "".join(
            f"## On a{n} and f{part}\n\nThis b{n} says f{part} to f{part + 1}. Then b{n} is f{part} again today.\n\n"
            for part in range(3)
        )
        (tmp_path / "texts" / f"{n}.md").write_text(text)
    library = Library.open(home, encoder="none")
    library.add([tmp_path / "texts"])
    told = json.loads(run("encoder", "--arm", "in-batch", "--base", tiny_encoder, "--json", *LITTLE, home=home))
    assert told["curves"]["steps"] == 30
    with pytest.raises(InputError, match="--test-split"):
        run("encoder", "--test-split", "test", home=home)


def test_what_is_only_measured_is_not_learnt_from(data, tmp_path):
    """A test query that stands in --split too, or whose words another query there asks."""

    def given(split: str) -> tuple[Judged, Examples | None]:
        return learnt_from(
            Settings.load(tmp_path), data=data, split=split, test_split="test", judgements=None, queries=None,
            first_stage="none",
        )  # fmt: skip

    judged, test = given("train")
    assert test is not None
    assert judged.notes == ()
    before = list(judged.examples.queries)
    text = test.queries["q3-0"]
    with (data / "queries.jsonl").open("a") as file:
        file.write(json_lines({"other": f"  {text.upper().replace(' ', '  ')}"}))
    with (data / "qrels" / "train.tsv").open("a") as file:
        file.write("other\td3-0\t1\nq2-0\td2-0\t1\n")
    judged, again = given("train")
    assert again == test
    assert list(judged.examples.queries) == before
    assert judged.notes == ("2 queries of train are asked in test, too, and were not learnt from.",)
    with pytest.raises(InputError, match="nothing is left to learn from"):
        given("test")


def test_texts_that_nobody_judged_are_told_how_to_be_learnt_from(data, tmp_path):
    """Bad input: unlabelled data."""
    shutil.rmtree(data / "qrels")
    done = CliRunner().invoke(app, ["train", "encoder", "--data", str(data), "--home", str(tmp_path)])
    assert isinstance(done.exception, InputError)
    assert f"{data} judges nothing" in str(done.exception)
    assert f"foveal add {data}, then foveal train encoder" in str(done.exception)
    assert f"foveal train pretraining --data {data}" in str(done.exception)


def test_a_base_that_was_trained_in_the_home_is_found_by_its_name(data, tmp_path):
    """It was looked for in the default home: what `train bprop --home H` made, no other training of H knew."""
    made = tmp_path / "home" / "models" / "mine"
    made.mkdir(parents=True)
    (made / "config.json").write_text("{}")  # found, that is, and no model
    command = ["train", "encoder", "--data", str(data), "--base", "mine", "--home", str(tmp_path / "home")]
    said = CliRunner().invoke(app, command, env={"FOVEAL_HOME": ""}).exception
    assert isinstance(said, ModelUnavailable)
    assert f"{made} could not be loaded" in str(said)


def test_help_names_every_choice():
    """The command tree imports no training, so the names stand there once more."""
    listed = CliRunner().invoke(app, ["train", "--help"]).stdout
    assert "encoder" in listed
    assert "reranker" in listed
    shown = CliRunner(env={"COLUMNS": "200"}).invoke(app, ["train", "encoder", "--help"]).stdout
    assert all(arm in shown for arm in ARMS)
    assert all(objective in shown for objective in encoders.OBJECTIVES)
    shown = CliRunner(env={"COLUMNS": "200"}).invoke(app, ["train", "reranker", "--help"]).stdout
    assert all(objective in shown for objective in OBJECTIVES)
