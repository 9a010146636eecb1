"""The ranker of a home: a line of foveal.toml, written and taken out with all else as it was."""

from __future__ import annotations

import os
import tomllib
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from honest import document

from foveal.errors import InputError, ModelUnavailable
from foveal.library import Library
from foveal.ranking import chosen as module
from foveal.ranking.chosen import choose, chosen, load_chosen, uses
from foveal.settings import Settings

FILES = {
    "none": None,
    "empty": "",
    "values": '# mine\nencoder = "none"  # no vectors\n',
    "no newline": 'encoder = "none"',
    "tables": '\nencoder = "none"\n\n\n[web]\nlog = "json"\n\n[papers.sources]\n',
    "table alone": "[web]\nlog = 'json'\n",
    "another": 'ranker="knrm:100,other"\nsegmenter = "paragraphs"\n\n[mail]\nhost = "localhost"\n',
}


@dataclass
class Reversed:
    """A ranker that turns its hits round."""

    def rank(self, query, hits):  # noqa: ARG002
        return [replace(hit, score=float(at), source="reversed") for at, hit in enumerate(hits)][::-1]


@pytest.fixture
def loads(monkeypatch):
    """What was asked for of rankers."""
    asked = []

    def load(name, *, home, **cascade):
        asked.append(name)
        return Reversed()

    monkeypatch.setattr(module, "load_ranker", load)
    return asked


@pytest.mark.parametrize("held", sorted(FILES))
def test_the_file_says_it_with_all_else_as_it_was(held, tmp_path):
    path, text = tmp_path / "foveal.toml", FILES[held]
    if text is not None:
        path.write_text(text, encoding="utf-8")
        path.chmod(0o640)
    before = tomllib.loads(text or "")
    assert choose(tmp_path, 'a "fine" ränker') == path
    assert tomllib.loads(path.read_text("utf-8")) == before | {"ranker": 'a "fine" ränker'}
    assert Settings.load(tmp_path, environment={}).ranker == 'a "fine" ränker'
    if text is not None:
        assert path.stat().st_mode & 0o777 == 0o640
    choose(tmp_path, "mine:20,other")
    assert tomllib.loads(path.read_text("utf-8"))["ranker"] == "mine:20,other"
    choose(tmp_path, "none")
    before.pop("ranker", None)
    assert tomllib.loads(path.read_text("utf-8")) == before
    if text and "ranker" not in text:
        assert path.read_text("utf-8").rstrip("\n") == text.rstrip("\n")
    assert [one.name for one in tmp_path.iterdir()] == ["foveal.toml"]


@pytest.mark.parametrize("text", ['"ranker" = "by a quoted key"\n', 'note = """\nranker = 1\n"""\n', "not toml"])
def test_what_a_line_cannot_say_is_left_to_a_person(text, tmp_path):
    (tmp_path / "foveal.toml").write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=r"foveal\.toml"):
        choose(tmp_path, "mine")
    assert (tmp_path / "foveal.toml").read_text("utf-8") == text


def test_a_search_that_names_something_is_not_the_homes_own():
    settings = Settings(home=Path("home"), cache=Path("cache"), ranker="mine:50,other")
    assert chosen(settings) == "mine:50,other"
    assert chosen(settings, retriever="dense") == chosen(settings, rank="none") == ""
    assert chosen(settings, retriever="dense", rank="knrm") == "knrm"
    assert chosen(replace(settings, ranker="none")) == ""
    assert [uses(settings, name) for name in ("mine", "other", "mine:50", "knrm", "")] == [
        True,
        True,
        False,
        False,
        False,
    ]
    assert uses(replace(settings, ranker="odd:50"), "odd:50")


def test_the_library_is_searched_and_asked_by_it(tmp_path, loads):
    settings = Settings(home=tmp_path, cache=tmp_path, encoder="none", ranker="mine")
    library = Library.open(settings=settings)
    library.add_documents(document(f"d{n}", f"The mill number {n} stands here.") for n in range(5))
    plain = library.search("mill", rank="none")
    assert loads == []  # nor is anything loaded
    assert (
        {hit.source for hit in plain}
        == {hit.source for hit in library.search("mill", retriever="lexical")}
        == {"lexical"}
    )
    ordered = library.search("mill")
    assert [hit.passage for hit in ordered] == [hit.passage for hit in plain][::-1]
    assert library.search("mill")[0].source == "reversed"
    assert loads == ["mine"]  # once
    searched = next(library.ask_stream("mill", 3))
    assert [hit.passage for hit in searched.hits] == [hit.passage for hit in ordered[:3]]
    assert next(library.ask_stream("mill", 3, rank="none")).hits[0].source == "lexical"
    assert library.stats().ranker == "mine"


def test_an_open_home_follows_what_is_chosen_and_what_is_trained_anew(tmp_path, loads, caplog):
    choose(tmp_path, "mine")
    library = Library.open(settings=replace(Settings.load(tmp_path, environment={}), encoder="none"))
    library.add_documents([document("d", "The mill stands here.")])
    (tmp_path / "models" / "other").mkdir(parents=True)
    assert library.search("mill")[0].source == "reversed"
    choose(tmp_path, "other:20")
    assert [library.search("mill")[0].source for _ in range(2)] == ["reversed"] * 2
    assert loads == ["mine", "other:20"]
    assert library.stats().ranker == "other:20"
    assert uses(library.settings, "other")
    os.utime(tmp_path / "models" / "other", ns=(1, 1))  # as by a training that put another folder in its place
    library.search("mill")
    assert loads == ["mine", "other:20", "other:20"]
    (tmp_path / "foveal.toml").write_text("ranker = ", encoding="utf-8")  # while a person edits it
    assert chosen(library.settings) == "mine"
    assert "stay ordered as they were (mine)" in caplog.text
    choose_none = tmp_path / "foveal.toml"
    choose_none.write_text('encoder = "none"\n', encoding="utf-8")
    assert library.search("mill")[0].source == "lexical"
    choose_none.unlink()
    assert chosen(library.settings) == ""


@pytest.mark.parametrize("said", ["variable", "argument"])
def test_what_a_variable_or_an_argument_said_stays(said, tmp_path):
    choose(tmp_path, "mine")
    variables = {"FOVEAL_RANKER": "mine"} if said == "variable" else {}
    settings = Settings.load(tmp_path, environment=variables)
    if said == "argument":
        settings = replace(settings, ranker="knrm")
    choose(tmp_path, "other")
    assert chosen(settings) == settings.ranker != "other"


def test_that_its_files_are_gone_is_said_with_what_to_do(tmp_path):
    settings = Settings(home=tmp_path, cache=tmp_path, ranker="mine")
    with pytest.raises(ModelUnavailable, match=r"'mine'.*not there any more.*foveal train use none"):
        load_chosen(settings)
