"""`foveal train segmenter` from folders and from a library, and `foveal segment` by what it made."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from foveal.cli.main import app
from foveal.cli.train_segmenter import _parted
from foveal.errors import InputError, UnknownName
from foveal.library import Library
from foveal.settings import Settings

pytestmark = [pytest.mark.usefixtures("undrawn"), pytest.mark.model]


TOPICS = {
    "Invoices": "The invoice and its payment",
    "Courts": "A court and its judges",
    "Browsers": "The browser and its cookies",
    "Secrets": "A secret and its keepers",
    "Endings": "The end of the contract",
    "Refunds": "A refund of the price",
    "Parcels": "The parcel and its delivery",
    "Insurance": "An insurance of the car",
}
FILLERS = (
    "It rained in the hills all day.",
    "The choir sang for an hour.",
    "Bread was baked before dawn.",
    "The team lost by two goals.",
    "A ferry crossed the grey lake.",
    "Bees came to the lavender.",
)
"""What has nothing to do with the topic, so that neighbours are not alike by themselves."""


def run(*arguments: object, home: Path) -> str:
    done = CliRunner().invoke(app, [*map(str, arguments), "--home", str(home)], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.stdout


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Markdown of six companies, a folder each: sections of a topic's own words."""
    rng = np.random.default_rng(0)
    place = tmp_path_factory.mktemp("policies")
    for company in range(6):
        for number in range(2):
            text = [f"# Policy {number}\n"]
            for topic in rng.permutation(list(TOPICS))[:4].tolist():
                text.append(f"## {topic}\n")
                text += [f"{rng.choice(FILLERS)} {TOPICS[topic]}, {company}.{number}.{n}.\n" for n in range(4)]
            (place / f"c{company}").mkdir(exist_ok=True)
            (place / f"c{company}" / f"{number}.md").write_text("\n".join(text))
    return place


def headless(folder):
    text = "\n\n".join(
        f"{FILLERS[n]} {TOPICS[topic]}, {n}." for topic in ("Courts", "Refunds", "Browsers") for n in range(4)
    )
    (folder / "flat.txt").write_text(text)
    return folder / "flat.txt"


@pytest.mark.slow
def test_a_model_is_trained_told_and_cuts_a_text_without_headings(folder, tmp_path):
    home = tmp_path / "home"
    shown = run("train", "segmenter", "--data", folder, "--name", "mine", "--credit", "ours", home=home)
    assert "dev: after" in shown
    assert f"--method same-topic:mine --home {home}, or" in shown
    about = json.loads((home / "models" / "mine" / "same_topic.json").read_text())
    assert about["card"]["credit"] == "ours"
    flat = headless(tmp_path)
    method = ["--method", "same-topic:mine"]
    told = json.loads(run("segment", flat, *method, "--json", "--picture", tmp_path / "gaps.png", home=home))
    assert "".join(one["text"] for one in told["passages"]) == flat.read_text()
    assert told["tree"][0]["confidence"][0] == 1.0
    assert (tmp_path / "gaps.png").read_bytes().startswith(b"\x89PNG")
    tree = run("segment", flat, *method, home=home)
    assert "0:" in tree
    assert "It rained in the hills all day. A court" in tree


def test_a_library_teaches_and_then_uses_its_model(folder, tmp_path):
    settings = Settings(home=tmp_path, cache=Settings.load().cache)
    library = Library.open(settings=settings)
    library.add([folder])
    told = json.loads(run("train", "segmenter", "--heads", "vectors,topics", "--json", home=tmp_path))
    assert told["what"] == "same-topic model: vectors, topics"
    assert told["model"] is not None
    other = Settings(home=tmp_path / "other", cache=settings.cache)
    with pytest.raises(UnknownName, match="foveal train segmenter"):
        Library.open(settings=other, segmenter=f"same-topic:{told['name']}")
    made = Library.open(settings=other, segmenter=f"same-topic:{told['model']}")
    made.add([headless(tmp_path)])
    assert made.stats().segmenter.startswith("same-topic:")


def test_of_one_folder_single_documents_are_held_out_and_that_is_said(folder, tmp_path, monkeypatch):
    seen = []

    def train_nothing(documents, *_, **__):
        seen.extend(documents)
        raise InputError("nothing is trained here")

    monkeypatch.setattr("foveal.training.same_topic.train_same_topic", train_nothing)
    for place, groups in ((folder / "c0", 2), (folder, 6)):
        seen.clear()
        with pytest.raises(InputError, match="nothing is trained"):
            run("train", "segmenter", "--data", place, home=tmp_path)
        assert len({one.group for one in seen}) == groups
    documents, said = _parted([replace(one, group="same") for one in seen])
    assert len({one.group for one in documents}) == len(seen) == 12
    assert "All 12 documents are of one folder" in said[0]
    assert _parted(seen) == (seen, ())
    assert _parted(seen[:1]) == (seen[:1], ())


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--only-topics"], "--topics"),
        (["--heads", "guess"], "vectors, topics, layout"),
        (["--strategy", "luck"], "consecutive"),
        (["--group", "company"], "no 'company'"),
        (["--topics", "/nonexistent.json"], "holds no table"),
    ],
)
def test_wrong_options_are_said_before_anything_is_trained(folder, tmp_path, options, said):
    with pytest.raises(InputError, match=said):
        run("train", "segmenter", "--data", folder, *options, home=tmp_path)
    assert not (tmp_path / "models").exists()


def test_documents_without_headings_teach_nothing(tmp_path):
    (tmp_path / "flat").mkdir()
    headless(tmp_path / "flat")
    with pytest.raises(InputError, match="nothing to learn from"):
        run("train", "segmenter", "--data", tmp_path / "flat", home=tmp_path)


def test_a_picture_shows_the_passages_of_any_method(tmp_path):
    path = tmp_path / "headed.md"
    text = "".join(
        f"# Part {n}\n\n## First\n\n{'Words of it. ' * 30}\n\n## Second\n\n{'More. ' * 60}\n\n" for n in range(3)
    )
    path.write_text(text, encoding="utf-8")
    drawn = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("foveal.evaluation.plots.borders", lambda *told, parts, **_: drawn.append((*told, parts)))
        told = run("segment", path, "--picture", tmp_path / "a.png", "--encoder", "none", "--json", home=tmp_path)
    [(gaps, opened, length, place, parts)] = drawn
    starts = [one["start"] for one in json.loads(told)][1:]
    assert (gaps, length, place) == ((), len(text), tmp_path / "a.png")
    assert [start for start, _ in opened] == starts
    assert dict(opened)[text.index("# Part 1")] == dict(opened)[text.index("# Part 2")] == 1
    assert dict(opened)[text.index("## Second")] == 2
    begins = [text.index(f"# Part {n}") for n in range(3)]
    assert parts == [(a, b, f"Part {n}") for n, (a, b) in enumerate(pairwise([*begins, len(text)]))]
    run("segment", headless(tmp_path), "--picture", tmp_path / "b.png", "--encoder", "none", home=tmp_path)
    assert (tmp_path / "b.png").read_bytes().startswith(b"\x89PNG")


def test_a_method_without_a_model_takes_none(tmp_path):
    with pytest.raises(InputError, match="decides without a model"):
        run("segment", headless(tmp_path), "--method", "headings:mine", "--encoder", "none", home=tmp_path)
