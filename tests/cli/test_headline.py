"""`foveal headline` and `train headline-…`: labels, evidence, votes that are kept, files with both headlines."""

from __future__ import annotations

import json

import pytest
from papers.test_headline_judge import article, pairs
from tiny import tiny
from typer.testing import CliRunner

from foveal.cli.main import app
from foveal.errors import InputError, UnknownName
from foveal.evaluation.votes import read_votes

pytestmark = pytest.mark.usefixtures("undrawn")


def run(*arguments, typed="", status=0):
    done = CliRunner().invoke(app, [*map(str, arguments)], input=typed)
    assert done.exit_code == status, (done.output, done.exception)
    return done.stdout


def error(*arguments):
    done = CliRunner().invoke(app, [*map(str, arguments)])
    assert done.exit_code == 1
    return done.exception


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("headlines")
    rows = [
        {"id": one.id, "headline": one.headline, "article": one.article, "label": one.label} for one in pairs(24).pairs
    ]
    (place / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (place / "article.txt").write_text(article(3))
    return place


@pytest.fixture(scope="module")
def home(folder):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("foveal.training.report.picture", lambda _, path, **__: path)
        shown = run("train", "headline-judge", folder / "pairs.jsonl", "--name", "mine", "--home", folder / "home")
    assert "macro F1" in shown
    assert "Use it: foveal headline judge" in shown
    return folder / "home"


def test_judge_with_and_without_a_judge(folder, home):
    headline = "Minister opened new park in Tirupati"
    asked = ("headline", "judge", headline, folder / "article.txt")
    shown = run(*asked)
    assert "the minister opened a new park" in shown
    assert "No judge was named" in shown
    told = json.loads(run(*asked, "--judge", "mine", "--home", home, "--json"))
    assert told["label"] == "MREL"
    assert told["licence"] == ""
    assert run(*asked, "--judge", "mine", "--home", home).startswith("MREL, moderately related: supported, but")
    assert json.loads(run(*asked, "--json"))["features"]["ext_oracle"] > 0.3


def test_judge_reads_standard_input_and_names_what_is_empty(home, folder):
    assert "Evidence: Five die." in run("headline", "judge", "Five die", "-", typed="Rain. Five die.")
    assert "headline is empty" in str(error("headline", "judge", " ", folder / "article.txt"))
    assert isinstance(
        error("headline", "judge", "a", folder / "article.txt", "--judge", "no", "--home", home), UnknownName
    )


def test_eval_names_its_rows(folder, home):
    told = json.loads(run("headline", "eval", folder / "pairs.jsonl", "--judge", "mine", "--home", home, "--json"))
    assert told["labels"] == ["HREL", "MREL", "LREL"]
    assert told["macro"] > 0.9
    (folder / "bad.csv").write_text("headline,body\na,b\n")
    assert "lacks the column article" in str(error("headline", "eval", folder / "bad.csv", "--judge", "none"))
    assert "called HREL" in run("headline", "eval", folder / "pairs.jsonl", "--judge", "mine", "--home", home)


def test_votes_are_kept_at_once_and_a_person_goes_on_where_they_stopped(folder, tmp_path):
    votes = tmp_path / "votes.jsonl"
    asked = ("headline", "annotate", folder / "pairs.jsonl", "--votes", votes, "--annotator")
    shown = run(*asked, "asha", typed="1\n9\n2\nb\n3\ns\nq\n")
    assert shown.count("How to label") == 1  # a wrong key brings no page
    assert "'9' is none of the keys (? shows what they mean)." in shown
    assert [(one.item, one.label) for one in read_votes(votes)] == [("h0", "HREL"), ("m0", "MREL"), ("m0", "LREL")]
    assert "Labelled 2 of 72" in shown
    assert "1 of 70" in run(*asked, "asha", typed="q\n")
    assert "1 of 72" in run(*asked, "ravi", typed="q\n")


def test_agreement_and_the_majoritys_labels(folder, tmp_path):
    votes, out = tmp_path / "votes.jsonl", tmp_path / "labelled.jsonl"
    for name, keys in (("a", "1\n2\n3\n1\n"), ("b", "1\n2\n1\n1\n"), ("c", "1\n2\n2\n3\n")):
        run("headline", "annotate", folder / "pairs.jsonl", "--votes", votes, "--annotator", name, typed=keys)
    told = json.loads(run("headline", "agree", votes, "--pairs", folder / "pairs.jsonl", "--out", out, "--json"))
    assert told["majority"] == {"h0": "HREL", "m0": "MREL", "l0": None, "h1": "HREL"}
    assert (told["unanimous"], told["items"], told["unlabelled"]) == (0.5, 4, 1)
    agreeing, chance = (1 + 1 + 0 + 1 / 3) / 4, (6**2 + 4**2 + 2**2) / 12**2
    assert told["kappa"] == pytest.approx((agreeing - chance) / (1 - chance))
    assert [json.loads(line)["label"] for line in out.read_text().splitlines()] == ["HREL", "MREL", "HREL"]
    assert "Fleiss' kappa" in run("headline", "agree", votes)
    assert isinstance(error("headline", "agree", tmp_path / "none.jsonl"), InputError)


def test_votes_stay_with_their_headlines(tmp_path):
    """Where an id, or the number of a row without one, means another headline by now; or labels are of another view."""
    votes, file = tmp_path / "pairs.csv.votes.jsonl", tmp_path / "pairs.csv"
    rows = ["headline,article", "Five die,Five die in a crash.", "Park opens,A park opened."]
    file.write_text("\n".join(rows))
    asked = ("headline", "annotate", file, "--annotator")
    assert "no name" in str(error(*asked, " "))
    assert "Nothing was labelled of 2." in run(*asked, "asha", typed="q\n")
    run(*asked, " asha ", typed="1\n3\n")
    assert [(one.headline, one.annotator) for one in read_votes(votes)] == [
        ("Five die", "asha"),
        ("Park opens", "asha"),
    ]
    assert "votes of another view, such as 'HREL'" in str(error(*asked, "ravi", "--view", "sub"))
    run(*asked, "ravi", typed="1\n2\n")
    moved = tmp_path / "moved.csv"
    moved.write_text("\n".join([rows[0], "New,New.", *rows[1:]]))
    for one in (
        error("headline", "annotate", moved, "--votes", votes, "--annotator", "asha"),
        error("headline", "agree", votes, "--pairs", moved, "--out", tmp_path / "out.jsonl"),
    ):
        assert "the vote on '0' is on 'Five die', and that id is now that of 'New'" in str(one)
    named = tmp_path / "named.csv"
    named.write_text("id,headline,article\na,h,b\na,h,b\n")
    assert "No pair of --pairs has a vote" in str(
        error("headline", "agree", votes, "--pairs", named, "--out", tmp_path / "out.jsonl")
    )
    assert "Labelled 1 of 1" in run("headline", "annotate", named, "--annotator", "asha", typed="1\n")
    named.write_text("id,headline,article\na,h,b\na,other,b\n")
    assert "The id 'a' is that of two pairs: 'h' and 'other'" in str(
        error("headline", "annotate", named, "--annotator", "b")
    )


def test_who_labels_alone_gets_the_labels_but_no_kappa(tmp_path):
    file, votes, out = (tmp_path / name for name in ("pairs.csv", "pairs.csv.votes.jsonl", "out.jsonl"))
    file.write_text("headline,article\nFive die,Five die in a crash.\nPark opens,A park opened.\nWet,Rain.\n")
    run("headline", "annotate", file, "--annotator", "asha", typed="1\n3\nq\n")
    assert "No item has two votes" in str(error("headline", "agree", votes))
    shown = run("headline", "agree", votes, "--pairs", file, "--out", out)
    assert "One vote each, so nothing can be said of agreement" in shown
    assert "majority: HREL 1, MREL 0, LREL 1" in shown
    assert "kappa" not in json.loads(run("headline", "agree", votes, "--pairs", file, "--out", out, "--json"))
    told = [json.loads(line) for line in out.read_text().splitlines()]
    assert [(one["headline"], one["label"]) for one in told] == [("Five die", "HREL"), ("Park opens", "LREL")]


def test_write_prints_headlines_and_keeps_the_authors(folder, home, tmp_path):
    model = tiny("qwen", tmp_path / "qwen")
    shown = run("headline", "write", folder / "article.txt", "--writer", model.folder, "-n", 2)
    assert 1 <= len(shown.splitlines()) <= 2
    few = tmp_path / "few.jsonl"
    lines = (folder / "pairs.jsonl").read_text().splitlines(keepends=True)
    few.write_text("".join(lines[:3]))
    out = tmp_path / "out.jsonl"
    asked = ("headline", "write", few, "--writer", model.folder, "--out", out)
    assert "needs --judge" in str(error(*asked))
    assert "needs --judge" in str(error("headline", "write", few, "--writer", "none"))  # before a model is looked for
    assert "--out is for a file" in str(error("headline", "write", folder / "article.txt", "--out", out))
    assert "Wrote 3 pairs" in run(*asked, "--judge", "mine", "--home", home)
    shown = json.loads(run(*asked, "--judge", "mine", "--home", home, "--json"))
    assert (shown["pairs"], shown["out"]) == (3, str(out))
    told = [json.loads(line) for line in out.read_text().splitlines()]
    assert [one["headline"] for one in told] == [json.loads(line)["headline"] for line in lines[:3]]
    assert few.read_text() == "".join(lines[:3])


def test_a_file_that_was_broken_off_goes_on_where_it_was(folder, home, tmp_path, monkeypatch):
    from foveal.papers import headline_rewriting

    model = tiny("qwen", tmp_path / "qwen")
    few, out = tmp_path / "few.jsonl", tmp_path / "both.jsonl"
    few.write_text("".join((folder / "pairs.jsonl").read_text().splitlines(keepends=True)[:5]))
    asked = ("headline", "write", few, "--writer", model.folder, "--judge", "mine", "--home", home, "--out")
    run(*asked, tmp_path / "whole.jsonl")
    before, done = headline_rewriting.rewrite, []

    def rewritten(writer, headline, *given, **more):
        if len(done) == 3:
            raise KeyboardInterrupt
        done.append(headline)
        return before(writer, headline, *given, **more)

    monkeypatch.setattr(headline_rewriting, "rewrite", rewritten)
    stopped = CliRunner().invoke(app, [*map(str, (*asked, out))])
    assert stopped.exit_code == 130
    assert "both.jsonl.part; the same command goes on" in stopped.stderr.replace("\n", "")
    part = tmp_path / "both.jsonl.part"
    assert len(part.read_text().splitlines()) == 1 + 3
    assert not out.exists()
    with part.open("a") as file:
        file.write('{"id": "cut o')  # as a kill leaves it
    assert "holds what another command has done" in str(error(*asked, out, "-n", 2))
    monkeypatch.setattr(headline_rewriting, "rewrite", lambda *given, **more: done.append(1) or before(*given, **more))
    assert "Wrote 5 pairs" in run(*asked, out)
    assert len(done) == 5
    assert out.read_text() == (tmp_path / "whole.jsonl").read_text()
    assert not part.exists()


def test_train_a_writer(folder, tmp_path):
    model = tiny("qwen", tmp_path / "qwen")
    told = json.loads(
        run("train", "headline-writer", folder / "pairs.jsonl", "--base", model.folder, "--article-tokens", 16,
            "--steps", 4, "--batch", 2, "--learning-rate", 0.01, "--name", "w", "--home", tmp_path / "home", "--json")
    )  # fmt: skip
    assert told["name"] == "w"
    assert "log-likelihood" in told["measured"]["dev"][0]
