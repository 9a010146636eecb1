"""research watch run: what it says to a timer, which reads the exit status."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from foveal.cli.main import app
from foveal.errors import UnknownName


@pytest.mark.parametrize("form", [["--json"], []], ids=["json", "text"])
def test_a_look_that_failed_is_an_exit_status_in_every_form(tmp_path, monkeypatch, form):
    monkeypatch.setenv("FOVEAL_ENCODER", "none")
    told = CliRunner()
    at = ["--home", str(tmp_path / "home")]
    monkeypatch.chdir(tmp_path)  # the whole path may be cut in the message
    assert told.invoke(app, ["research", "watch", "How fast?", "--source", "dir:gone", *at]).exit_code == 0
    looked = told.invoke(
        app, ["research", "watch", "run", "--url", "http://127.0.0.1:1/v1", "--answerer", "m", *form, *at]
    )
    assert looked.exit_code == 1
    assert "gone" in looked.stdout
    if form:
        assert "gone" in json.loads(looked.stdout)[0]["error"]
    listed = told.invoke(app, ["research", "watch", "list", *at]).stdout
    assert "failed" in listed
    assert "gone" in " ".join(listed.split("How fast?")[1].split())  # why it failed
    rest = told.invoke(app, ["research", "watch", "run", *form, *at])  # it is tried again in an hour
    assert (rest.exit_code, rest.stdout.strip()) == (0, "[]" if form else "No watched question is due.")


@pytest.mark.parametrize("source", ["", "nosuch", "nosuch:place"])
def test_a_kind_of_source_that_there_is_not_is_refused_at_once(tmp_path, source):
    at = ["--home", str(tmp_path / "home")]
    done = CliRunner().invoke(app, ["research", "watch", "How fast?", "--source", source, *at])
    assert isinstance(done.exception, UnknownName)
    assert "There are: library, papers" in str(done.exception)
    assert CliRunner().invoke(app, ["research", "watch", "list", "--json", *at]).stdout.strip() == "[]"
