"""What the benches keep is known by all that it depends on: after a change of it nothing kept is served."""

from __future__ import annotations

import ast
from dataclasses import replace
from functools import cache
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from honest import HashedWords
from tiny import tiny
from transformers import Qwen2Config

from foveal.attention import DHSA, Dense, boundaries, dhsa
from foveal.bench import (
    attention_cells,
    code,
    memory_longheads_tasks,
    rank_cascade_parts,
    read_longdoc,
    retrieval_late,
    retrieval_training,
    segment_learned_arms,
)
from foveal.bench.settings import BenchSettings
from foveal.models import load_encoder
from foveal.reading import ReadSettings
from foveal.training.same_topic_pairs import Corpus, Pairs, Sectioned

pytest.importorskip("bm25s")


PARSED = code._parsed


@cache
def imports_of(module):
    """What a module imports, which is all that is needed of it here: most are hashed many times."""
    return ast.Module([node for node in ast.walk(PARSED(module)) if isinstance(node, ast.ImportFrom)], [])


@pytest.fixture
def changed(monkeypatch):
    """Called with a module's name: from then on its code is another one. With none: as it was."""
    found = []

    def other(module):
        tree = imports_of(module)
        return ast.Module([*tree.body, ast.parse("CHANGED = 1").body[0]], []) if module in found else tree

    def change(module=None):
        found[:] = [module] if module else []
        code.code_digest.cache_clear()

    monkeypatch.setattr(code, "_parsed", other)
    change()
    yield change
    change()


def all_apart(changed, key, modules):
    """Whether the key is another one after a change of each of these modules, and else the same."""
    before = key()
    for module in modules:
        changed(f"foveal.{module}")
        assert key() != before, module
    changed()
    assert key() == before


@pytest.fixture(scope="module")
def qwen(tmp_path_factory):
    return tiny("qwen", tmp_path_factory.mktemp("keys"))


@pytest.fixture
def reader(qwen, tmp_path, monkeypatch):
    """A reader of a tiny model, for which a predictor is shipped."""
    made = boundaries.BoundaryPredictor(32, hidden=8)
    monkeypatch.setattr("foveal.bench.attention_models.shipped_predictor", lambda _: made)
    return SimpleNamespace(model=qwen, settings=BenchSettings(cache=tmp_path), predictor=made)


# -- attention ---------------------------------------------------------------------------------------------------------


def test_dhsa_s_cells_are_of_the_predictor_that_cut(reader):
    """The shipped file may be another: neither the method's settings nor any code says so."""

    def keys():
        return [attention_cells.store_of(reader, one, 4096) for one in (DHSA(), Dense(), DHSA(boundaries="fixed"))]

    before = keys()
    assert keys() == before
    with torch.no_grad():
        reader.predictor.score.bias += 0.5
    after = keys()
    assert after[0] != before[0]
    assert after[1:] == before[1:]


def test_a_predictor_of_one_s_own_is_told_by_its_weights(reader):
    one, same, other = (boundaries.BoundaryPredictor(32, hidden=8) for _ in range(3))
    same.load_state_dict(one.state_dict())
    stores = [attention_cells.store_of(reader, DHSA(predictor=own), 4096) for own in (one, same, other)]
    assert stores[0] == stores[1] != stores[2]


def test_the_shipped_predictor_is_loaded_from_its_file():
    config = Qwen2Config(num_hidden_layers=24, num_attention_heads=14, hidden_size=896)
    reader = SimpleNamespace(model=SimpleNamespace(model=SimpleNamespace(config=config)))
    found = attention_cells._cut_by(reader, DHSA())
    assert found == attention_cells._cut_by(reader, DHSA(predictor=dhsa.shipped_predictor(config)))
    assert len(found) == 16


def test_cells_are_known_by_what_chooses_looks_and_judges(reader, changed):
    loading = ("attention.own_boundaries", "attention.profiles", "attention.boundaries", "bench.attention_models")
    shared = ("attention.kernel", "attention.dense", "evaluation.ruler", "evaluation.likelihood", "models.lean")
    all_apart(changed, lambda: attention_cells.store_of(reader, DHSA(), 4096), (*loading, "attention.chunks", *shared))
    all_apart(changed, lambda: attention_cells.store_of(reader, Dense(), 4096), shared)


def test_the_cells_of_other_methods_stay_where_dhsa_changes(reader, changed):
    before = attention_cells.store_of(reader, Dense(), 4096)
    changed("foveal.attention.dhsa")
    assert attention_cells.store_of(reader, Dense(), 4096) == before


# -- LongHeads ---------------------------------------------------------------------------------------------------------


def test_longheads_cells_are_known_by_how_the_model_is_asked(tmp_path, changed):
    def key():
        return memory_longheads_tasks.Cells(tmp_path / "none.jsonl").get(("a",), lambda: (0.5, "said")).key

    asked = ("bench.memory_longheads_heads", "reading.prompts", "reading.tokens", "evaluation.answers")
    looked = ("attention.longheads_choice", "attention.memory_decoding", "models.decoding", "models.decode_step")
    all_apart(changed, key, (*asked, *looked, "models.language", "models.chat", "models.prompt_lookup"))


# -- reading -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def bench(qwen, tmp_path, monkeypatch):
    """What answers are kept for, without a model that reads."""
    monkeypatch.setattr(read_longdoc, "known_encoder", lambda: HashedWords(8))
    monkeypatch.setattr(read_longdoc, "copying_heads", lambda _: None)
    looking = SimpleNamespace(rough=False, profile=SimpleNamespace(heads=((0, 1),)))
    return SimpleNamespace(
        model=SimpleNamespace(fingerprint="f", dtype=torch.float32), encoder=HashedWords(8), read=ReadSettings(),
        settings=BenchSettings(cache=tmp_path), reader=SimpleNamespace(looking=looking, answerer=None),
    )  # fmt: skip


def test_answers_are_of_what_read_chose_and_answered(bench, monkeypatch):
    def key():
        return read_longdoc.Answers.of(bench).store

    found = [key(), key()]
    for given in (ReadSettings(template="Read: {text}"), ReadSettings(effort=0.5)):
        bench.read = given
        found.append(key())
    bench.model.dtype = torch.bfloat16
    found.append(key())
    bench.reader.looking.rough = True
    found.append(key())
    bench.reader.looking.profile.heads = ((1, 0),)
    found.append(key())
    monkeypatch.setattr(read_longdoc, "known_encoder", lambda: None)
    found.append(key())
    heads = SimpleNamespace(kind="copy", runs=torch.zeros(1, 2, 2))
    monkeypatch.setattr(read_longdoc, "copying_heads", lambda _: heads)
    found.append(key())
    heads.runs[0, 1, 1] = 1
    found.append(key())
    monkeypatch.setattr(read_longdoc, "version", lambda name: f"another {name}")
    found.append(key())
    assert found[0] == found[1]
    assert len(set(found[1:])) == len(found) - 1


def test_answers_are_known_by_the_code_of_the_whole_reading(bench, changed):
    of_reading = ("reading.prompts", "reading.follow", "reading.witnesses", "bench.readers", "bench.read_needles")
    others = ("evaluation.kept", "attention.shared_prefix", "models.local_chat", "models.decoding", "text.units")
    all_apart(changed, lambda: read_longdoc.Answers.of(bench).store, (*of_reading, *others))


# -- trained arms ------------------------------------------------------------------------------------------------------

SHARED = ("training.loop", "training.examples", "training.negatives", "training.model_folders", "evaluation.metrics")


def test_token_vectors_are_learnt_and_made_anew_by_other_code(tmp_path, changed):
    settings = BenchSettings(cache=tmp_path)
    models = ("models.encoders", "models.bert_torch", "retrieval.late_tokens")
    modules = (*SHARED, "training.searches", "training.windows", "training.first_stage", *models)
    all_apart(changed, lambda: retrieval_late._home(settings), modules)
    made = []

    def documents(texts):
        made.append(texts)
        return [np.ones((1, 4), np.float32) for _ in texts]

    model = SimpleNamespace(fingerprint="f", documents=documents)
    for module in (None, None, *models):
        changed(f"foveal.{module}" if module else None)
        retrieval_late.token_vectors(settings, ("made",), ["a", "b"], model)
    assert len(made) == 4


def test_vectors_are_encoded_anew_by_another_encoder_s_code(tmp_path, changed):
    encoder, settings = load_encoder("minilm"), BenchSettings(cache=tmp_path)

    def kept() -> int:
        settings.cached_vectors(("toy",), ["a mill"], encoder)
        return len(list((tmp_path / "vectors").iterdir()))

    assert kept() == kept() == 1
    changed("foveal.retrieval.late")
    assert kept() == 1
    changed("foveal.models.bert")
    assert kept() == 2
    changed("foveal.models.byte_products")
    assert kept() == 3
    changed()
    assert kept() == 3


def test_arms_are_trained_anew_by_other_losses_searches_or_encoders(changed):
    own = ("losses", "misspelling", "searches", "dynamic_negatives", "list_losses", "rerankers")
    modules = (*SHARED, *(f"training.{one}" for one in own), "models.encoders", "models.bert")
    all_apart(changed, retrieval_training.trained_by, modules)


def test_a_reranker_is_of_the_search_that_it_learns_behind(changed, monkeypatch):
    before = retrieval_training.searched_by()
    all_apart(changed, retrieval_training.searched_by, ("bench.quality", "bench.retrieval_training"))
    monkeypatch.setattr(retrieval_training, "DENSE_WEIGHT", 0.9)
    assert retrieval_training.searched_by() != before
    given = []
    monkeypatch.setattr(
        retrieval_training, "train_reranker", lambda *_, run, **__: given.append(run.home) or (None, report())
    )
    judged = SimpleNamespace(queries={})
    data = SimpleNamespace(
        judged=judged, lexical={}, base=lambda: None, settings=BenchSettings(), learnt=None, dev=None, test=None,
        home=BenchSettings().cache,
    )  # fmt: skip
    for weight in (0.9, 0.9, 0.5):
        monkeypatch.setattr(retrieval_training, "DENSE_WEIGHT", weight)
        list(retrieval_training.reranker_rows(data, "mined", None))
    assert given[0] == given[1] != given[2]


def report():
    measured = {"test": ({"ndcg@10": 0.5}, {"ndcg@10": 0.6})}
    return SimpleNamespace(measured=measured, kept=False, notes=("Its score counts 0.4.",))


def test_the_cascade_s_rankers_are_of_their_first_stage_and_of_all_that_trains(changed, monkeypatch):
    first = SimpleNamespace(encoder=SimpleNamespace(fingerprint="f"))

    def key():
        return rank_cascade_parts.trained_by(first)

    own = ("rerankers", "list_losses", "blockrank", "low_rank", "searches", "first_stage")
    ranking = ("ranking.blockrank_training", "ranking.blockrank_prompt", "ranking.blockrank_forward")
    search = ("bench.rank_cascade_parts", "retrieval.fusion", "models.language", "models.lean", "models.bert_torch")
    all_apart(changed, key, (*SHARED, *(f"training.{one}" for one in own), *ranking, *search))
    found = [key()]
    first.encoder.fingerprint = "g"
    found.append(key())
    monkeypatch.setattr(rank_cascade_parts, "DENSE_WEIGHT", 0.9)
    found.append(key())
    monkeypatch.setattr(rank_cascade_parts, "version", lambda _: "another")
    found.append(key())
    assert len(set(found)) == 4


@pytest.fixture
def heads(tmp_path, monkeypatch):
    """Arms of one document, the folder that they learn from, and what pairs they are given."""
    document = Sectioned("a", "a", ("one", "two", "three"), (0, 0, 1))
    corpus = Corpus.of([document], least=1)
    place = np.array([0, 1])
    weight = np.ones(2, np.float32)
    pairs = Pairs(place, place + 1, np.array([True, False]), weight)
    for name in ("base", "other"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text(f'{{"name": "{name}"}}')
    monkeypatch.setattr(segment_learned_arms, "folder_of", lambda base, *_, **__: tmp_path / base)
    arms = object.__new__(segment_learned_arms.Arms)
    parts = SimpleNamespace(few=lambda *_: (corpus, arms.pairs))
    arms.data = SimpleNamespace(
        parts=parts, encoder=SimpleNamespace(fingerprint="f"), settings=BenchSettings(cache=tmp_path)
    )
    arms.scale, arms.dev, arms.base, arms.pairs = segment_learned_arms.Scale(), (), "base", pairs
    return arms


def test_heads_are_of_their_base_their_pairs_and_all_that_trains(heads, changed):
    def key(seed=0):
        return heads.fine_tuned("cross", seed, pairs=2, epochs=1.0).path

    own = ("rerankers", "same_topic_tuned", "same_topic_heads", "same_topic_pairs", "windows")
    modules = (*SHARED[:1], "training.model_folders", *(f"training.{one}" for one in own))
    all_apart(changed, key, (*modules, "evaluation.segmentation", "models.encoders", "models.bert_torch"))
    found = [key(), key(1)]
    heads.base = "other"
    found.append(key())
    heads.pairs = replace(heads.pairs, weight=heads.pairs.weight * 2)
    found.append(key())
    assert len(set(found)) == 4
