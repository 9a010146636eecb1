"""What the benches keep is known by what it was made of: other data, as many as before, are measured anew."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from foveal.bench import (
    events_arms,
    events_search_concatenation,
    headlines_writer,
    heads_landmark_arms,
    layers_codebook_text,
    layers_lama_tokens,
    layers_stepnet_images,
    layers_stepnet_text,
    lexsembridge_data,
    nn_language,
    nn_routing_images,
    nn_tasks,
    research_arms,
    retrieval_late,
    retrieval_pretraining,
    retrieval_training,
)
from foveal.bench.settings import BenchSettings
from foveal.bench.trained_arms import data_digest


def test_data_are_known_by_all_that_they_hold():
    one = torch.arange(6)
    others = (one.int(), one.view(2, 3), one.flip(0), one.bfloat16())
    assert len({data_digest(data) for data in (one, *others)}) == 5
    assert data_digest(one) == data_digest(torch.arange(6))
    assert data_digest("ab", "c") != data_digest("a", "bc")
    assert data_digest(torch.tensor(3)) != data_digest(torch.tensor(4))
    assert data_digest(one.view(2, 3).T) == data_digest(one.view(2, 3).T.contiguous())


@pytest.fixture
def told(monkeypatch):
    """What arms that are not trained say that they depend on."""
    found = []

    def trained(settings, bench, name, model, rows, loss, plan, loop, told, **_):
        found.append(told)

    for module in (
        heads_landmark_arms, layers_lama_tokens, layers_stepnet_images, layers_stepnet_text, nn_language,
        nn_routing_images, nn_tasks,
    ):  # fmt: skip
        monkeypatch.setattr(module, "trained", trained)
    return found


def stepnet_text(settings, data):
    layers_stepnet_text._learned(settings, "none", 2, 0, layers_stepnet_text.Texts(data, torch.zeros(8)), 1)


def stepnet_images(settings, data):
    arms = object.__new__(layers_stepnet_images.Arms)
    arms.settings, arms.scale = settings, layers_stepnet_images.Scale(learnt=8, epochs=1, depth=8, depths=())
    arms.learnt = layers_stepnet_images.Photographs(data, torch.zeros(8))
    arms.arm("none", 0)


def landmarks(settings, data):
    novels = heads_landmark_arms.Novels(settings, heads_landmark_arms.Scale(held=2))
    novels.__dict__["tokens"] = data.flatten()
    novels._train("landmark", torch.nn.Identity(), [], None, None, 1)


def novels(settings, data):
    arms = nn_language.Novels(settings, nn_language.Scale(held=2))
    arms.__dict__["tokens"] = data.flatten()
    arms.learn("window", torch.nn.Identity(), "")


def needles(settings, data):
    rows = nn_tasks.Needles(data.flatten(), 64, 0)
    model = SimpleNamespace(config=SimpleNamespace(to_dict=dict))
    nn_tasks.learn(settings, "needles", model, rows, steps=1, batch=1, rate=1e-3)


@pytest.mark.parametrize("arm", [stepnet_text, stepnet_images, landmarks, novels, needles])
def test_arms_of_as_many_other_rows_are_other_arms(tmp_path, told, arm):
    settings = BenchSettings(data=tmp_path, cache=tmp_path)
    rows = torch.arange(8 * 48, dtype=torch.int32).view(8, 48)
    for data in (rows, rows.clone(), rows.flip(1)):
        arm(settings, data)
    assert told[0] == told[1] != told[2]


def test_other_posts_are_another_cell(tmp_path):
    folder = tmp_path / "classification" / "20ng"
    folder.mkdir(parents=True)
    found = []
    for word in ("mill", "well"):
        for name in ("train", "test"):
            (folder / f"{name}.csv").write_text(f"label,text\na,the {word}\n")
        found.append(layers_codebook_text.digest(BenchSettings(data=tmp_path, cache=tmp_path / word)))
    assert found[0] != found[1]


def test_what_was_written_is_of_its_articles(tmp_path):
    """Bodies are numbered: another set has the same numbers. A judged few are not handed to who asks for more."""
    work = object.__new__(headlines_writer.Writing)
    work.settings, work.model = BenchSettings(data=tmp_path, cache=tmp_path), SimpleNamespace(fingerprint="f")
    loop = headlines_writer.LoopSettings()
    settings = headlines_writer.WriterSettings(loop=loop)
    work.sizes = headlines_writer.Sizes(judged=1, writer=settings)
    asked = []

    def candidates(articles, n):
        asked.append(len(articles))
        return [[(text.upper(), 0.0)] * n for text in articles]

    writer = SimpleNamespace(learned=None, settings=settings, candidates=candidates)
    work.articles = {"0": "the mill", "1": "the river"}
    assert work.written("not trained", writer) == {"0": ["THE MILL"], "1": ["THE RIVER"]}
    assert work.written("not trained", writer) == {"0": ["THE MILL"], "1": ["THE RIVER"]}
    assert asked == [2]
    work.articles = {"0": "a well", "1": "the river"}
    assert work.written("not trained", writer)["0"] == ["A WELL"]
    assert list(work.written("not trained", writer, n=4)) == ["0"]
    work.sizes = replace(work.sizes, judged=2)
    assert list(work.written("not trained", writer, n=4)) == ["0", "1"]


def test_runs_are_named_by_what_they_depend_on(tmp_path, monkeypatch):
    """A name of the bench's own would be refused for other data: nobody can tell a bench to begin anew."""
    options = []

    def train(*_, **given):
        options.append(given["run"])
        return tmp_path, SimpleNamespace(name="x")

    encoder = SimpleNamespace(folder=tmp_path, name="e")
    made = np.zeros((0, 4), np.float32)
    settings = SimpleNamespace(quick=True, seed=0, cache=tmp_path, cached_vectors=lambda *_: made)
    side = SimpleNamespace(without_events=lambda: side)
    news = SimpleNamespace(settings=settings, encoder=encoder, coarse=side, texts=[], sides=(side, side))
    news.vectors_by = lambda *_, **__: made
    for module in (events_arms, events_search_concatenation):
        monkeypatch.setattr(module, "train_events", train)
        monkeypatch.setattr(module, "learning_sides", lambda _: (side, side))
        monkeypatch.setattr(module.EventEncoder, "load", lambda _: SimpleNamespace(encoder=encoder))
    monkeypatch.setattr(events_search_concatenation, "behind", lambda one, _: one)
    events_arms.trained(news, "no events")
    events_search_concatenation.trained_to_concatenate(news, 1)
    monkeypatch.setattr(lexsembridge_data, "train_lexsembridge", train)
    data = object.__new__(lexsembridge_data.FineGrained)
    data.settings, data.encoder, data.home, data.vectors = settings, encoder, tmp_path, None
    data.learnt = data.dev = data.held = side
    data.trained("SLR")
    for module, trains in ((retrieval_training, "train_encoder"), (retrieval_late, "train_late_encoder")):
        monkeypatch.setattr(module, trains, train)
    monkeypatch.setattr(retrieval_late.Examples, "of", lambda _: SimpleNamespace(split=lambda **_: (side, side)))
    arms = object.__new__(retrieval_training.Arms)
    arms.home, arms.vectors, arms.learnt, arms.dev, arms.test = tmp_path, None, side, side, side
    arms.misspelling("mined", 0)
    retrieval_late.claims_model(SimpleNamespace(train=None, test=None), settings)
    assert len(options) == 5
    assert [run.name for run in options] == [None] * 5


def test_what_encoders_learnt_by_other_code_is_learnt_anew(tmp_path, monkeypatch):
    settings = SimpleNamespace(cache=tmp_path)
    late, rest = retrieval_late._home(settings), retrieval_training.trained_by()
    for module in (retrieval_late, retrieval_training):
        monkeypatch.setattr(module, "code_digest", lambda *modules, **_: f"other {len(modules)}")
    assert retrieval_late._home(settings) != late
    assert retrieval_training.trained_by() != rest


def test_pretraining_on_other_abstracts_or_by_other_code_is_another_run(tmp_path, monkeypatch):
    """As many texts of one task and seed: the weights that were kept would be those of the others."""
    found = []
    monkeypatch.setattr(retrieval_pretraining, "train", lambda job, _, folder: found.append((job.identity, folder)))
    task = retrieval_pretraining.TASKS["ICT"]
    settings = BenchSettings(data=tmp_path, cache=tmp_path)

    def learn(texts, name="ICT", task=task):
        retrieval_pretraining.trained(torch.nn.Linear(2, 2), [], sorted, texts, settings, name, task)

    for texts in (["the mill"], ["the mill"], ["the well"]):
        learn(texts)
    learn(["the mill"], task=task._replace(rate=1e-3))
    monkeypatch.setattr(retrieval_pretraining, "digest_of", lambda *_: "other code")
    learn(["the mill"])
    assert found[0] == found[1]
    assert len({str(folder) for _, folder in found}) == 4


def test_what_was_kept_is_read_whatever_its_letters_are(tmp_path):
    """U+2028 ends a line for `splitlines`; a kill may cut a letter in two."""
    path = tmp_path / "plans.jsonl"
    kept = {"a": ("one\u2028two", "\x85"), "b\u2029": ("größer",)}
    research_arms.append_kept(path, kept)
    torn = path.read_bytes() + '\n{"run": "c", "queries": ["ü'.encode()[:-1]
    path.write_bytes(torn)
    assert research_arms.read_kept(path) == kept
    research_arms.append_kept(path, {"d": ("next",)})
    assert research_arms.read_kept(path) == kept | {"d": ("next",)}
