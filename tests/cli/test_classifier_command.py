"""train classifier, show --classifier, papers show --classifier, as a person types them; and the paper's page."""

from __future__ import annotations

import csv
import json
import re
from collections import Counter
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


def test_texts_are_classified_as_they_are_typed(home):
    typed = ["The pump of the river pipe.", "Flour and salt for the oven."]
    told = json.loads(run("classify", "mine", *typed, "--json", home=home))
    model = classifier_named("mine", home)
    assert told == [one.as_json() for one in model.classify(typed)]
    piped = ["classify", "mine", "-", typed[1], "--json"]
    for content, expected in ((typed[0].encode(), told), (b"\xff", None)):
        done = CliRunner().invoke(app, piped, env={"FOVEAL_HOME": str(home)}, input=content)
        assert expected is None or json.loads(done.stdout) == expected
    assert "Standard input is not UTF-8" in str(done.exception)
    said = run("classify", "mine", typed[0], home=home)
    assert said.startswith(f"{told[0]['label']} ")
    assert "head 4:" in said
    assert typed[0] in said


@pytest.mark.parametrize("ending", [".csv", ".tsv", ".jsonl", ".txt"])
def test_a_file_of_texts_is_classified_row_by_row(home, tmp_path, ending):
    """Rows are written as they came, with class and share; where they have a label, it is told how many are right."""
    own = texts()[:12]
    rows = [{"id": str(n), "headline": one.text, "kind": one.label} for n, one in enumerate(own)]
    file, out = tmp_path / f"some{ending}", tmp_path / f"out{ending}"
    with file.open("w", newline="") as opened:
        if ending == ".txt":
            opened.writelines(f"{one.text}\n\n" for one in own)
        elif ending == ".jsonl":
            opened.writelines(f"{json.dumps(row)}\n" for row in rows)
        else:
            writer = csv.DictWriter(opened, list(rows[0]), delimiter="\t" if ending == ".tsv" else ",")
            writer.writeheader()
            writer.writerows(rows)
    found = [one.label for one in classifier_named("mine", home).classify([one.text for one in own])]
    right = sum(one.label == label for one, label in zip(own, found, strict=True))
    labelled = () if ending == ".txt" else ("--label", "kind")
    said = run("classify", "mine", "--data", file, *labelled, home=home)
    assert f"12 texts: {Counter(found).most_common(1)[0][0]} " in said
    assert [line.split()[0] for line in said.splitlines()[1:13]] == found
    assert (f"{right} of 12 have the class of their label: {right / 12:.1%}." in said) == bool(labelled)
    assert f"Written: {out}" in run("classify", "mine", "--data", file, "--out", out, home=home)
    delimiter = {".csv": ",", ".tsv": "\t"}.get(ending)
    with out.open(newline="") as opened:
        made = list(csv.DictReader(opened, delimiter=delimiter)) if delimiter else [json.loads(line) for line in opened]
    assert [one.pop("predicted") for one in made] == found
    assert all(0 < float(one.pop("share")) <= 1 for one in made)
    assert made == ([{"text": one.text} for one in own] if ending == ".txt" else rows)


def test_what_cannot_be_classified_is_said(home, tmp_path):
    file = tmp_path / "some.csv"
    file.write_text("headline,kind\nThe pump,water\n")
    assert "one of the two" in refused("classify", "mine", home=home)
    assert "one of the two" in refused("classify", "mine", "The pump", "--data", file, home=home)
    assert "are for a file" in refused("classify", "mine", "The pump", "--out", file, home=home)
    assert "1 of 2 texts hold no word, such as '…'" in refused("classify", "mine", "The pump", "…", home=home)
    assert "it has headline, kind, and no sort" in refused(
        "classify", "mine", "--data", file, "--label", "sort", home=home
    )
    assert "it lacks body" in refused("classify", "mine", "--data", file, "--text", "body", home=home)
    assert "There are: mine" in refused("classify", "x", "The pump", home=home)
    file.write_text("headline,kind\n,water\n")
    assert "and no text" in refused("classify", "mine", "--data", file, home=home)


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
    said = refused(*learn, "--name", "mine", "--seed", 1, *SMALL, home=home)
    assert "is there already" in said
    assert "take that one's place (--anew)" in said


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
    assert select(page, ".topic .looked")[0].get("dir") == "auto"  # as the abstract above it
