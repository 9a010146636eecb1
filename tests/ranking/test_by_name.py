from __future__ import annotations

import json
from dataclasses import dataclass, replace
from functools import partial
from types import SimpleNamespace

import pytest

from foveal.cli.train_rankers import CROSS_ENCODER, ENGINES, OF_FEATURES
from foveal.errors import InputError, ModelUnavailable, UnknownName
from foveal.library import Library
from foveal.ranking import by_name
from foveal.ranking.blockrank_prompt import Layout
from foveal.ranking.by_name import load_ranker, require_ranker
from foveal.ranking.cross_encoder import CrossEncoderRanker
from foveal.ranking.neural import MODELS
from foveal.registry import RANKERS, lookup
from foveal.training import checkpoints


@dataclass
class Reversing:
    """A ranker that puts the hits in reverse order; it remembers how many it was given."""

    given: list[int]

    def rank(self, query, hits):  # noqa: ARG002
        self.given.append(len(hits))
        return [replace(hit, score=float(-n), source="reversing") for n, hit in enumerate(reversed(hits))]


@pytest.fixture
def library(tmp_path):
    texts = tmp_path / "texts"
    texts.mkdir()
    for number in range(6):
        (texts / f"{number}.txt").write_text(f"The fox number {number} is red. " + "fox " * number, encoding="utf-8")
    made = Library.open(tmp_path / "home", encoder="none")
    made.add([str(texts)])
    return made


@pytest.mark.parametrize(
    ("file", "told", "said"),
    [
        ("config.json", {"model_type": "foveal-text-classifier"}, "a text classifier"),
        ("judge.json", {}, "a headline judge"),
        ("planner.json", {}, "a planner of research"),
        ("modules.json", {}, r"an encoder \(foveal admin encoder mine\)"),
    ],
    ids=lambda given: given if isinstance(given, str) else "",
)
def test_a_model_of_another_kind_is_called_what_it_is(tmp_path, file, told, said):
    folder = tmp_path / "models" / "mine"
    folder.mkdir(parents=True)
    (folder / file).write_text(json.dumps(told))
    with pytest.raises(UnknownName, match=f"mine is {said}.*orders nothing. Rankers trained here: none"):
        load_ranker("mine", home=tmp_path)


def test_the_library_orders_the_best_candidates_anew(library):
    first = [hit.passage.span for hit in library.search("fox", 6)]
    ranker = Reversing([])
    found = library.search("fox", 6, rank=ranker, candidates=4)
    assert ranker.given == [4]
    assert [hit.passage.span for hit in found] == [*first[:4][::-1], *first[4:]]
    assert found[0].source == "reversing"


def test_a_ranker_is_loaded_by_name(library, monkeypatch):
    monkeypatch.setattr(by_name, "load_ranker", lambda name, home, **_: Reversing([]) if (name, home) else None)
    assert library.search("fox", 2, rank="mine")[0].source == "reversing"


def test_every_ranker_of_the_registry_is_there():
    for name in RANKERS:
        assert callable(lookup(RANKERS, name, kind="ranker").rank)


@pytest.mark.parametrize(
    "name",
    ["~no-such-user", "~no-such-user/model", "a" * 300, "a" * 300 + "/b", "a\0b", "", " "],
    ids=["no user", "no user's folder", "long", "long folder", "nought", "empty", "blank"],
)
def test_names_that_no_file_can_have_are_unknown(tmp_path, name):
    with pytest.raises(UnknownName, match="No ranker is called"):
        load_ranker(name, home=tmp_path)


@pytest.mark.parametrize(
    ("kind", "command"),
    [(one, "ranker") for one in (*MODELS, CROSS_ENCODER, *OF_FEATURES) if one not in RANKERS]
    + [(one, "legal") for one in ENGINES],
)
def test_a_kind_that_must_be_trained_first_says_by_which_command(tmp_path, kind, command):
    with pytest.raises(UnknownName, match=rf"^{kind} is a kind .*: foveal train {command} {kind} --name mine; then"):
        load_ranker(kind, home=tmp_path)
    checkpoints.write(tmp_path / "runs" / "train" / kind / "run.json", {"what": "toy"})
    with pytest.raises(UnknownName, match=r"No ranker is called .*its training is not done"):
        load_ranker(kind, home=tmp_path)


def test_names_and_folders_that_hold_no_ranker_are_refused(tmp_path):
    with pytest.raises(UnknownName, match="blockrank, listwise"):
        load_ranker("nobody", home=tmp_path)
    for name, report in (("worse", {"kept": False}), ("begun", None)):
        checkpoints.write(tmp_path / "runs" / "train" / name / "run.json", {"what": "toy"})
        if report:
            checkpoints.write(tmp_path / "runs" / "train" / name / "report.json", {"what": "toy", **report})
    (tmp_path / "models" / "own").mkdir(parents=True)
    (tmp_path / "models" / "own" / "ranker.json").write_text("{}")
    for name, said in (("worse", "not kept, since it was no better"), ("begun", "its training is not done")):
        with pytest.raises(UnknownName, match=rf"{said}\)\. There are: .*; trained here: own; or"):
            load_ranker(name, home=tmp_path)
    (tmp_path / "models" / "plain").mkdir(parents=True)
    with pytest.raises(ModelUnavailable, match="plain"):
        load_ranker("plain", home=tmp_path)


def test_a_folder_is_loaded_by_what_it_holds(tmp_path, monkeypatch):
    asked = []
    loaded = SimpleNamespace(layout=Layout(), mode="attention")

    def load(name, *, kind):
        asked.append((kind, name))
        return loaded

    for kind in ("blockrank.BlockRank", "listwise.ListwiseRanker", "cross_encoder.CrossEncoderRanker"):
        monkeypatch.setattr(f"foveal.ranking.{kind}.load", partial(load, kind=kind))
    for name, content in (("block", "{}"), ("full", '{"full": true}'), ("cross", None)):
        folder = tmp_path / "models" / name
        folder.mkdir(parents=True)
        if content is not None:
            (folder / "blockrank.json").write_text(content, encoding="utf-8")
        assert load_ranker(name, home=tmp_path) is loaded
    assert [kind.rpartition(".")[2] for kind, _ in asked] == ["BlockRank", "ListwiseRanker", "CrossEncoderRanker"]
    assert [name.rpartition("/")[2] for _, name in asked] == ["block", "full", "cross"]


def test_a_folder_may_come_as_a_path(tmp_path):
    for load in (partial(load_ranker, home=tmp_path), CrossEncoderRanker.load):
        with pytest.raises(UnknownName, match=r"is called '.*nothing'"):
            load(tmp_path / "nothing")


@pytest.mark.parametrize(
    "name", ["nobody", "knrm", "blockrank,nobody", "blockrank:5,", "blockrank:0,listwise"], ids=str
)
def test_a_name_is_refused_alike_with_and_without_loading(tmp_path, monkeypatch, name):
    monkeypatch.setattr("foveal.models.language.load_language_model", lambda: pytest.fail("it was loaded"))
    with pytest.raises(InputError) as refused:
        require_ranker(name, home=tmp_path)
    monkeypatch.setattr("foveal.models.language.load_language_model", lambda: None)
    with pytest.raises(InputError) as unloaded:
        load_ranker(name, home=tmp_path)
    assert str(refused.value) == str(unloaded.value)


def test_names_that_may_be_loaded_are_let_through(tmp_path):
    for name in ("blockrank", "blockrank:50,listwise:20", "cross-encoder/ms-marco-MiniLM-L6-v2"):
        require_ranker(name, home=tmp_path)
