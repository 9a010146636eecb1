"""Hosts that a home reads nothing from: in an answer, in a report, from the command line."""

from __future__ import annotations

import json

import pytest
from report_worlds import QUESTION, Filler, Pages, page
from typer.testing import CliRunner
from worlds import model_of

from foveal.cli import research_setup
from foveal.cli.main import app
from foveal.research.deep import DeepResearch
from foveal.research.mindsearch import MindSearch, MindSettings
from foveal.research.settings import ResearchSettings, load_research

HOSTS = ("video.example",)
PAGES = (
    page("Orra mill", "The Orra mill grinds barley for the whole valley.", url="https://mills.example/orra"),
    page("A film", "The Orra mill grinds barley, says the film.", url="https://www.video.example/film"),
)


def test_hosts_of_the_settings(own_settings, monkeypatch):
    assert ResearchSettings().hosts == ()
    monkeypatch.setenv("FOVEAL_RESEARCH_DENIED", " Video.example, tube.example,,video.example")
    assert load_research(own_settings).hosts == ("video.example", "tube.example")


@pytest.mark.parametrize(("denied", "read"), [((), 2), (HOSTS, 1)])
def test_a_report_reads_nothing_from_them_and_nor_does_one_that_goes_on(denied, read):
    source = Pages(PAGES)
    research = DeepResearch(Filler(), source, denied=denied)
    run = research.start(QUESTION, mode="quick")
    run.result()
    assert len(set(source.read_urls)) == read
    source.read_urls.clear()
    research.go_on(run.log.so_far()[:3]).result()
    assert len(set(source.read_urls)) == read


def test_an_answer_of_the_command_line_leaves_them_out(tmp_path, monkeypatch):
    monkeypatch.setenv("FOVEAL_HOME", str(tmp_path))
    monkeypatch.setenv("FOVEAL_RESEARCH_DENIED", "video.example")
    source = Pages(PAGES)
    monkeypatch.setattr(research_setup, "server", lambda *_: model_of())
    monkeypatch.setattr(research_setup, "sources_of", lambda named, settings: [source])  # noqa: ARG005
    done = CliRunner().invoke(app, ["research", QUESTION, "--json"])
    assert done.exit_code == 0, done.output
    results = [one for node in json.loads(done.stdout)["graph"]["nodes"] for one in node["results"]]
    assert {one["url"] for one in results} == {"https://mills.example/orra"}
    settings = MindSettings.of(model_of()).without(HOSTS)
    assert MindSearch(model_of(), source, settings=settings).settings.search.denied == HOSTS
