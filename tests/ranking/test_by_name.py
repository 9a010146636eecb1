from __future__ import annotations

import json
from dataclasses import dataclass, replace
from functools import partial
from types import SimpleNamespace

import pytest
from honest import HashedWords

from foveal.cli.train_rankers import CROSS_ENCODER, ENGINES, OF_FEATURES
from foveal.errors import InputError, ModelUnavailable, UnknownName
from foveal.library import Library
from foveal.ranking import by_name, cross_encoder
from foveal.ranking.blockrank_prompt import Layout
from foveal.ranking.by_name import load_cascade, load_ranker, require_ranker
from foveal.ranking.cross_encoder import CrossEncoderRanker
from foveal.ranking.goal_ranker import GoalRanker
from foveal.ranking.goal_training import GoalTraining
from foveal.ranking.legal import LegalSettings
from foveal.ranking.legal_ranker import LegalRanker
from foveal.ranking.neural import MODELS
from foveal.ranking.neural.ranker import Neural
from foveal.ranking.neural.training import NeuralSettings
from foveal.ranking.paraformer import Frozen, Paraformer
from foveal.ranking.sections import SectionRanker
from foveal.registry import RANKERS, lookup
from foveal.retrieval.pipeline import CANDIDATES, usual_candidates
from foveal.training import checkpoints
from foveal.training.rerankers import BESIDE, RerankerSettings


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
        ("config.json", {"model_type": "foveal-text-classifier"}, r"a text classifier \(foveal classify mine …\)"),
        ("config.json", {"model_type": "foveal-titans"}, "a language model"),
        ("judge.json", {}, r"a headline judge \(foveal headline judge … --judge mine\)"),
        ("planner.json", {}, "a planner of research"),
        ("events.json", {}, r"an event model \(foveal add .*, then foveal search … --retriever fresh:\S+/models/mine"),
        ("corpusbrain.json", {}, r"a model of titles \(foveal search … --retriever generative:mine\)"),
        ("lexsembridge.json", {}, "a bridge"),
        ("same_topic.json", {}, r"a segmenter \(foveal segment … --method same-topic:mine\)"),
        ("modules.json", {}, r"an encoder \(foveal admin encoder mine\)"),
    ],
    ids=lambda given: given if isinstance(given, str) else "",
)
def test_a_model_of_another_kind_is_called_what_it_is(tmp_path, file, told, said):
    folder = tmp_path / "models" / "mine"
    folder.mkdir(parents=True)
    (folder / file).write_text(json.dumps(told))
    with pytest.raises(UnknownName, match=f"mine is {said}.*orders nothing. Name a ranker: .*\\(there are: none\\)"):
        load_ranker("mine", home=tmp_path)


def test_the_library_orders_the_best_candidates_anew(library):
    first = [hit.passage.span for hit in library.search("fox", 6)]
    ranker = Reversing([])
    found = library.search("fox", 6, rank=ranker, candidates=4)
    assert ranker.given == [4]
    assert [hit.passage.span for hit in found] == [*first[:4][::-1], *first[4:]]
    assert found[0].source == "reversing"


def test_a_ranker_orders_as_many_as_its_weight_beside_the_search_was_fitted_over(library, monkeypatch):
    """A weight is right for lists of one length; where nobody names another number, that is what is ordered."""
    ranker = Reversing([])
    ranker.fitted_over = 3
    library.search("fox", 6, rank=ranker)
    library.search("fox", 6, rank=ranker, candidates=5)
    assert ranker.given == [3, 5]
    monkeypatch.setattr(by_name, "load_ranker", lambda *_, **__: ranker)
    monkeypatch.setattr(by_name, "require_ranker", lambda *_, **__: None)
    counts = {names: [stage.candidates for stage in load_cascade(names).stages] for names in ("a", "a:7", "a,b", " a ")}
    assert counts == {"a": [3], "a:7": [7], "a,b": [100, 20], " a ": [3]}


def test_what_trained_rankers_order_is_what_their_training_fitted_them_over(tmp_path):
    assert Neural.fitted_over == NeuralSettings().depth
    assert GoalRanker.fitted_over == GoalTraining().depth
    legal = LegalRanker(SectionRanker(Paraformer(Frozen(HashedWords()))), LegalSettings(candidates=30))
    assert usual_candidates(legal) == 30
    assert cross_encoder._beside(tmp_path) == {}
    (tmp_path / BESIDE).write_text('{"share": 0.4}')
    assert cross_encoder._beside(tmp_path) == {"share": 0.4, "fitted_over": RerankerSettings().depth}
    assert usual_candidates(Reversing([])) == CANDIDATES


def test_a_ranker_is_loaded_by_name(library, monkeypatch):
    monkeypatch.setattr(by_name, "load_ranker", lambda name, home, **_: Reversing([]) if (name, home) else None)
    assert library.search("fox", 2, rank="mine")[0].source == "reversing"


def test_a_language_model_that_was_not_trained_to_rank_is_said_to_be_none(tmp_path, monkeypatch, caplog):
    """Else who asks for it by name gets a worse order, and does not know why."""
    monkeypatch.setattr("foveal.models.language.load_language_model", lambda: SimpleNamespace(folder=tmp_path))
    load_ranker("pointwise", home=tmp_path)
    assert "not trained to rank" in caplog.text
    assert "foveal train blockrank" in caplog.text
    caplog.clear()
    load_ranker("pairwise", home=tmp_path)  # was not measured
    (tmp_path / "blockrank.json").write_text('{"layer": 1}')
    load_ranker("pointwise", home=tmp_path)
    assert not caplog.text


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
    with pytest.raises(UnknownName, match=r"No ranker is called .*its training was stopped before it kept anything"):
        load_ranker(kind, home=tmp_path)
    (tmp_path / "runs" / "train" / kind / "checkpoint-1").mkdir()
    with pytest.raises(UnknownName, match=r"No ranker is called .*its training is not done"):
        load_ranker(kind, home=tmp_path)


def test_names_and_folders_that_hold_no_ranker_are_refused(tmp_path):
    with pytest.raises(UnknownName, match="blockrank, listwise"):
        load_ranker("nobody", home=tmp_path)
    for name, report in (("worse", {"kept": False}), ("begun", None)):
        checkpoints.write(tmp_path / "runs" / "train" / name / "run.json", {"what": "toy"})
        if report:
            checkpoints.write(tmp_path / "runs" / "train" / name / "report.json", {"what": "toy", **report})
    (tmp_path / "runs" / "train" / "begun" / "checkpoint-1").mkdir()
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


def test_a_model_goes_before_a_folder_that_lies_here_by_the_same_name(tmp_path, monkeypatch):
    """Texts in law/, `foveal train legal --name law`, then `foveal search --rank law`."""
    here, home = tmp_path / "here", tmp_path / "home"
    (here / "law").mkdir(parents=True)
    (here / "papers").mkdir()
    model = home / "models" / "law"
    model.mkdir(parents=True)
    (model / "ranker.json").write_text("{}", encoding="utf-8")
    monkeypatch.chdir(here)
    monkeypatch.setattr(
        "foveal.ranking.neural.ranker.Neural.__init__", lambda self, folder: setattr(self, "at", folder)
    )
    assert load_ranker("law", home=home).at == str(model)
    assert by_name.edition("law", home) == (model.stat().st_mtime_ns,)
    for path in ("./law", str(here / "law"), "papers"):
        with pytest.raises(ModelUnavailable, match="holds no model"):
            load_ranker(path, home=home)
    with pytest.raises(ModelUnavailable, match=r"\.\. holds no model"):
        load_ranker("..", home=home)


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
