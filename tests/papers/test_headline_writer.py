"""Writers of headlines: trained on chosen labels, judged, beside the author's own, never in its place."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import pytest
from tiny import tiny

from foveal.errors import InputError, ModelUnavailable, UnknownName
from foveal.evaluation.headlines import HeadlinePair, HeadlineSet
from foveal.models.chat import GREEDY
from foveal.papers.headline_training import train_headline_writer
from foveal.papers.headline_writer import ChatWriter, HeadlineWriter, load_writer, rewrite, written_by
from foveal.papers.headlines import HeadlineJudge, JudgeSettings
from foveal.settings import Settings
from foveal.training.headline_writers import WriterSettings
from foveal.training.loop import LoopSettings
from foveal.training.runs import RunSettings

SETTINGS = WriterSettings(
    article_tokens=24, headline_tokens=10, beams=2, rank=4, loop=LoopSettings(epochs=12, batch=4, learning_rate=2e-2)
)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return tiny("qwen", tmp_path_factory.mktemp("qwen"))


def learnt():
    """Related headlines say "the key", unrelated ones "12 12"."""
    made = []
    for n in range(14):
        text = f"the keeper of {n} is in the mill. the key is here."
        made += [HeadlinePair("the key", text, "HREL"), HeadlinePair("12 12", text, "LREL")]
    return HeadlineSet("made", tuple(made), "Do not ship.")


class Speaker:
    """A ChatModel that answers by the text that it was sent, and otherwise with each seed."""

    name, context_tokens = "speaker", 4096

    def chat(self, messages, sampling=GREEDY, **_):
        article = messages[-1]["content"].rpartition("\n\n")[2]
        return f'"{article.split(".")[0]}"\nmore' if sampling.temperature == 0 else f"draw {sampling.seed % 2}"


@pytest.fixture(scope="module")
def judge():
    made = []
    for n in range(40):
        text = f"A bus crash in town{n} left {n} hurt. The road was wet."
        made += [
            HeadlinePair(f"A bus crash in town{n} left {n} hurt", text, "HREL"),
            HeadlinePair("You won't believe this", text, "LREL"),
            HeadlinePair(f"Road wet in town{n}", text, "MREL"),
        ]
    return HeadlineJudge(JudgeSettings(texts=False)).fit(HeadlineSet("made", tuple(made)))


@pytest.mark.slow
def test_what_it_learns_from_decides_what_it_writes(model, tmp_path):
    article = "the keeper of 12 is in the mill. the key is here."
    for label, expected in (("HREL", "the key"), ("LREL", "12 12")):
        writer, _ = HeadlineWriter.fit(learnt(), model, SETTINGS, folder=tmp_path / label, train_on=(label,))
        assert writer.write(article)[0].text == expected
        assert (writer.train_on, writer.licence) == ((label,), "Do not ship.")
        loaded = HeadlineWriter.load(writer.save(tmp_path / f"{label}-saved"), base=model)
        assert loaded.candidates([article, "the river"], 2) == writer.candidates([article, "the river"], 2)


@pytest.mark.slow
def test_it_is_kept_with_what_it_was_trained_on(model, tmp_path, monkeypatch):
    monkeypatch.setattr("foveal.training.report.picture", lambda _, path, **__: path)
    home = tmp_path / "home"
    folder, report = train_headline_writer(
        learnt(), str(model.folder), SETTINGS, run=RunSettings(home=home, name="mine")
    )
    assert report.notes == ("Do not ship.",)
    told = json.loads((folder / "writer.json").read_text())
    assert (told["train_on"], told["licence"]) == (["HREL"], "Do not ship.")
    assert told["pairs"] < 14
    loaded = load_writer("mine", Settings(home=home, cache=tmp_path / "cache"))
    assert loaded.write("the keeper of 3 is in the mill. the key is here.")[0].text == "the key"
    assert train_headline_writer(learnt(), str(model.folder), SETTINGS, run=RunSettings(home=home, name="mine")) == (
        folder,
        report,
    )
    mixed = replace(SETTINGS, loop=replace(SETTINGS.loop, bfloat16=not SETTINGS.loop.bfloat16))  # it may go on so
    assert train_headline_writer(learnt(), str(model.folder), mixed, run=RunSettings(home=home, name="mine")) == (
        folder,
        report,
    )
    other = tiny("qwen", tmp_path / "other", seed=1)
    with pytest.raises(ModelUnavailable, match="Train the writer anew"):
        HeadlineWriter.load(folder, base=other)


def test_candidates_are_judged_and_the_best_stands_first(judge):
    article = "A bus crash in Kadapa left 9 hurt. The road was wet."
    found = written_by(ChatWriter(Speaker()), article, 3, judge=judge)
    assert found[0].text == "A bus crash in Kadapa left 9 hurt"
    assert len(found) == 3
    shares = [one.judgement.probabilities["HREL"] for one in found]
    assert shares == sorted(shares, reverse=True)
    assert all(math.isnan(one.score) for one in found)


def test_the_authors_headline_stays(judge):
    article = "A bus crash in Kadapa left 9 hurt. The road was wet."
    found = rewrite(ChatWriter(Speaker()), "You won't believe this", article, judge)
    assert found.author.text == "You won't believe this"
    assert found.author.judgement.label == "LREL"
    assert found.written.text == "A bus crash in Kadapa left 9 hurt"
    own = rewrite(ChatWriter(Speaker()), "A bus crash in Kadapa left 9 hurt", article, judge)
    assert own.written is None


def test_wrong_input_is_refused(model, tmp_path):
    writer = HeadlineWriter(model, SETTINGS)
    with pytest.raises(InputError, match="article is empty"):
        writer.write(" ")
    with pytest.raises(InputError, match="at least 1"):
        writer.write("a", 0)
    with pytest.raises(InputError, match="nothing to save"):
        writer.save(tmp_path / "x")
    with pytest.raises(InputError, match="no label 'GOOD'"):
        HeadlineWriter.fit(learnt(), model, SETTINGS, folder=tmp_path / "run", train_on=("GOOD",))
    with pytest.raises(InputError, match="No pair of made has a label of FSE"):
        HeadlineWriter.fit(learnt(), model, SETTINGS, folder=tmp_path / "run", train_on=("FSE",))
    with pytest.raises(UnknownName, match=r"No headline writer .*foveal train headline-writer.* No language model"):
        load_writer("none", Settings(home=tmp_path, cache=tmp_path))
    with pytest.raises(ModelUnavailable, match="no headline writer"):
        HeadlineWriter.load(tmp_path)


def test_an_article_in_any_script_and_of_any_length_is_written_for(model):
    writer = HeadlineWriter(model, SETTINGS)
    for article in ("తెలుగు వార్త. ", "東京で雨。", "mill " * 10**6):
        assert len(writer.candidates([article], 2)[0]) <= 2
