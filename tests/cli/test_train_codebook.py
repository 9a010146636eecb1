"""`foveal train agent` and `train goal-ranker`, as a person types them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from training.conftest import make_encoder, topic_examples
from typer.testing import CliRunner

from foveal.cli.main import app
from foveal.errors import InputError

pytestmark = pytest.mark.usefixtures("undrawn")


def train(*arguments: object, home: Path) -> dict[str, Any]:
    done = CliRunner().invoke(
        app, ["train", *map(str, arguments), "--json", "--home", str(home)], catch_exceptions=False
    )
    assert done.exit_code == 0, done.output
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_an_agent(tmp_path):
    small = ["--frames", 640, "--episodes", 6, "--hidden", 8, "--codes", 12, "--name", "mine"]
    told = train("agent", "MiniGrid-Fetch-5x5-N2-v0", *small, home=tmp_path)
    assert told["what"] == "agent, codebook, MiniGrid-Fetch-5x5-N2-v0"
    assert told["curves"]["steps"] == 640
    assert set(told["measured"]["episodes of other seeds"][1]) == {"success", "SPL", "SEL", "steps"}
    assert (told["model"] is None) == (not told["kept"])
    assert train("agent", "MiniGrid-Fetch-5x5-N2-v0", *small, home=tmp_path) == told
    done = CliRunner().invoke(app, ["train", "agent", "MiniGrid-Empty-5x5-v0", "--home", str(tmp_path)])
    assert isinstance(done.exception, InputError)


@pytest.mark.slow
def test_a_goal_ranker(tmp_path):
    topics, folder = topic_examples(), tmp_path / "topics"
    (folder / "qrels").mkdir(parents=True)
    for name, texts in (("corpus", topics.corpus), ("queries", topics.queries)):
        lines = (json.dumps({"_id": one, "text": text}) + "\n" for one, text in texts.items())
        (folder / f"{name}.jsonl").write_text("".join(lines))
    judged = [f"{q}\t{d}\t{grade}\n" for q, grades in topics.judged.items() for d, grade in grades.items()]
    (folder / "qrels" / "train.tsv").write_text("query-id\tcorpus-id\tscore\n" + "".join(judged))
    encoder = make_encoder(tmp_path / "encoder")
    told = train(
        "goal-ranker", "--data", folder, "--base", encoder, "--first-stage", encoder, "--steps", 20, "--codes", 12,
        "--bottleneck", "linear", "--tokens", 12, home=tmp_path / "home",
    )  # fmt: skip
    assert told["what"] == "goal ranker, linear"
    assert told["curves"]["steps"] == 20
    assert set(told["measured"]["dev"][1]) == {"map", "mrr", "ndcg@10"}
    assert (told["model"] is None) == (not told["kept"])
