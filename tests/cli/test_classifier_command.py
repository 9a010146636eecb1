"""train classifier, show --classifier, papers show --classifier, as a person types them; and the paper's page."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
from lxml import html
from nn.subject_texts import texts
from paper_site import records, select, site_app
from starlette.testclient import TestClient
from typer.testing import CliRunner

from foveal.cli.main import app
from foveal.database import Database
from foveal.errors import InputError, UnknownName
from foveal.nn.text_classifier_training import classifier_named
from foveal.papers.classes import labelled_papers
from foveal.papers.store import PaperStore
from foveal.papers.upserts import upsert
from foveal.settings import Settings

SMALL = ("--heads", 4, "--hidden", 8, "--epochs", 6, "--batch", 16, "--learning-rate", 0.03)


def run(*arguments: object, home: Path) -> str:
    """What is printed where all goes well."""
    done = CliRunner().invoke(app, list(map(str, arguments)), env={"FOVEAL_HOME": str(home), "COLUMNS": "120"})
    assert done.exit_code == 0, (done.output, done.exception)
    return done.stdout


def refused(*arguments: object, home: Path) -> str:
    """What is said where it does not."""
    done = CliRunner().invoke(app, list(map(str, arguments)), env={"FOVEAL_HOME": str(home)})
    assert isinstance(done.exception, InputError), done.output
    return str(done.exception)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with a classifier, a library and papers."""
    home = tmp_path_factory.mktemp("home")
    rows = "\n".join(json.dumps({"text": one.text, "topic": one.label}) for one in texts())
    (home / "texts.jsonl").write_text(rows)
    run("train", "classifier", "--data", home / "texts.jsonl", "--name", "mine", *SMALL, home=home)
    parts = {"Works": "The pump and the valve of the river pipe. ", "Kitchen": "The oven, the flour and salt. "}
    (home / "a.md").write_text("\n\n".join(f"# {title}\n\n{text * 40}" for title, text in parts.items()))
    run("add", home / "a.md", "--encoder", "none", home=home)
    with_papers = Database.open(Settings.load(home))
    upsert(with_papers, records())
    with_papers.close()
    return home


def test_it_is_trained_told_and_found_done(home):
    said = run("train", "classifier", "--data", home / "texts.jsonl", "--name", "mine", *SMALL, home=home)
    assert "text classifier, lama" in said
    assert "accuracy" in said
    assert "foveal show ID --classifier" in said


def test_the_words_of_another_encoder_are_asked_for(home):
    learn = ("train", "classifier", "--data", home / "texts.jsonl", "--name", "plain", *SMALL)
    assert "accuracy" in run(*learn, "--words-of", "none", home=home)
    done = CliRunner().invoke(
        app, [*map(str, learn), "--words-of", "nowhere"], env={"FOVEAL_HOME": str(home)}, catch_exceptions=True
    )
    assert isinstance(done.exception, UnknownName)


def test_a_documents_passages_have_their_classes(home):
    which = json.loads(run("list", "--json", home=home))[0]["id"]
    said = run("show", which, "--classifier", "mine", home=home)
    assert "head 4:" in said
    rows = [line for line in said.splitlines() if re.match(r"\d+:\d+ ", line)]
    assert len(rows) >= 2
    told = json.loads(run("show", which, "--classifier", "mine", "--json", home=home))
    assert [one["label"] for one in told["passages"]] == [row.split()[1] for row in rows]
    text = json.loads(run("show", which, "--json", home=home))["text"]
    first = told["passages"][0]
    word = max(first["words"], key=lambda one: one["weight"])
    assert text[first["start"] :][word["start"] : word["end"]] == word["text"]
    expected = classifier_named("mine", home).classify([text[first["start"] : first["end"]]])[0]
    assert first["label"] == expected.label
    assert word["text"].lower() in rows[0]
    part = run("show", which, "--classifier", "mine", "--span", f"0:{first['end']}", home=home)
    assert "The pump and the valve" in part


def test_a_paper_has_its_class(home):
    said = run("papers", "show", "2611.00001", "--classifier", "mine", home=home)
    assert "head 1:" in said
    told = json.loads(run("papers", "show", "2611.00001", "--classifier", "mine", "--json", home=home))
    assert told["label"] in told["shares"]


def test_what_does_not_fit_is_said(home):
    learn = ("train", "classifier", "--data", home / "texts.jsonl")
    assert "There are: mine" in refused("papers", "show", "2611.00001", "--classifier", "x", home=home)
    assert "give one of the two" in refused(*learn, "--papers", home=home)
    assert "No texts are named" in refused("train", "classifier", home=home)
    assert "is there already" in refused(*learn, "--name", "mine", "--seed", 1, *SMALL, home=home)


@pytest.mark.slow
def test_papers_teach_their_first_subject(home):
    with_papers = Database.open(Settings.load(home))
    found = labelled_papers(with_papers, least=3)
    papers = list(PaperStore(with_papers).all_of())
    with_papers.close()
    assert {one.label for one in found} <= {one.categories[0] for one in papers}
    assert all("\n" in one.text for one in found)
    said = run("train", "classifier", "--papers", "--steps", 2, "--name", "subjects", home=home)
    assert "text classifier" in said


def test_a_papers_page_shows_its_topic_and_where_the_heads_looked(home, tmp_path):
    app_ = site_app(tmp_path, records(9))
    site = app_.state.site

    def page_by(classifier: str):
        site.settings = replace(site.settings, classifier=classifier)
        site.__dict__.pop("classes", None)
        return html.fromstring(client.get("/papers/2611.00005").text)

    with TestClient(app_) as client:
        assert not select(page_by(""), ".topic")
        assert not select(page_by("gone"), ".topic")
        page, paper = page_by(str(home / "models" / "mine")), site.papers.get("2611.00005")
    assert select(page, ".topic summary b")[0].text in ("water", "sky", "bread")
    assert select(page, ".topic .looked")[0].text_content() == f"{paper.title}\n{paper.abstract}"
    assert len(select(page, ".topic .heads tr")) == 4
    assert select(page, ".topic .looked mark")
