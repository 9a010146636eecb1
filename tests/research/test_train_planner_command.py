"""`foveal train planner`, and a planner that is named where there is none."""

from __future__ import annotations

import json

import pytest
from recordings import world, written
from tiny import tiny
from typer.testing import CliRunner

from foveal.cli.main import app


@pytest.fixture
def run(tmp_path):
    def invoke(*arguments):
        return CliRunner().invoke(app, [*map(str, arguments), "--home", str(tmp_path / "home")])

    return invoke


def test_a_planner_is_trained_and_told_of(run, tmp_path, monkeypatch):
    monkeypatch.setenv("FOVEAL_CACHE", str(tmp_path / "cache"))
    folder = written(world(), tmp_path / "mills")
    tiny("qwen", tmp_path / "base")
    given = ("train", "planner", folder, "--base", tmp_path / "base", "--reward-steps", 0)
    made = run(*given, "--epochs", 1, "--layers", 1, "--name", "mine", "--json")
    assert made.exit_code == 0, made.output
    told = json.loads(made.stdout)
    assert told["name"] == "mine"
    assert told["what"].startswith("planner, ")
    assert (tmp_path / "home" / "runs" / "train" / "mine" / "curves.png").is_file()
    assert (told["model"] is not None) == told["kept"]


@pytest.mark.slow
def test_rounds_stand_in_the_report(run, tmp_path, monkeypatch):
    monkeypatch.setenv("FOVEAL_CACHE", str(tmp_path / "cache"))
    folder = written(world(), tmp_path / "mills")
    tiny("qwen", tmp_path / "base")
    given = ("train", "planner", folder, "--base", tmp_path / "base", "--reward-steps", 0, "--rounds", 1)
    made = run(*given, "--epochs", 1, "--layers", 1, "--name", "mine", "--json")
    assert made.exit_code == 0, made.output
    told = json.loads(made.stdout)
    assert told["settings"]["evolving"]["rounds"] == 1
    assert told["settings"]["reward"] is None


def test_a_folder_that_is_no_recording_is_refused(run, tmp_path):
    made = run("train", "planner", tmp_path)
    assert made.exit_code == 1
    assert "corpus.jsonl" in str(made.exception)


def test_a_planner_that_is_not_there_is_named(run, tmp_path):
    (tmp_path / "a.txt").write_text("The mill.", encoding="utf-8")
    model = ("--url", "http://127.0.0.1:9/v1", "--answerer", "x")
    made = run("research", "Who?", "--source", f"dir:{tmp_path}", "--planner", "none", *model)
    assert made.exit_code == 1
    assert "No planner is called 'none'" in str(made.exception)
