"""A2: models of token vectors, trained end to end on a collection that a tiny BERT can learn."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from foveal.errors import InputError
from foveal.retrieval.late import TokenVectors, maxsim
from foveal.retrieval.late_tokens import TrainedTokens, load_token_model
from foveal.training.late_encoders import LateEncoderSettings, late_model, late_search, train_late_encoder
from foveal.training.loop import LoopSettings
from foveal.training.runs import RunSettings

pytestmark = pytest.mark.usefixtures("undrawn")

LOOP = LoopSettings(epochs=4, batch=8, learning_rate=0.03, evaluate_every=30, checkpoint_every=100)
FAST = LateEncoderSettings(dimension=8, depth=8, dev_share=0.3, temperature=0.2, loop=LOOP)


def trained(topics, base, home, settings=FAST, **run):
    return train_late_encoder(topics, str(base), settings, run=RunSettings(home=home, **run))


def test_a_late_model_learns_and_is_loaded_by_its_folder(topics, tiny_encoder, tmp_path):
    learnt, test = topics.split(dev=0.2, seed=9)
    folder, report = trained(learnt, tiny_encoder, tmp_path, test=test)
    before, after = report.measured["dev"]
    assert report.kept
    assert folder == tmp_path / "models" / report.name
    assert after["ndcg@10"] > before["ndcg@10"] + 0.2
    assert report.measured["test"][1]["ndcg@10"] > report.measured["test"][0]["ndcg@10"]
    model = load_token_model(str(folder))
    assert isinstance(model, TrainedTokens)
    assert model.dimension == 8
    vectors = model.documents(["b1 f2, f3!"])[0]
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(np.ones(len(vectors)), abs=1e-5)
    assert not list(folder.rglob("*.bin")) + list(folder.rglob("*.pt"))
    again = trained(learnt, tiny_encoder, tmp_path, test=test, on_progress=lambda _: pytest.fail("it trained"))
    assert again == (folder, report)


def test_the_search_is_maxsim_over_all(topics, tiny_encoder):
    model = late_model(tiny_encoder, FAST)
    found = late_search(model, topics.corpus)(list(topics.queries.values()), 5)
    plain = {"show_progress_bar": False, "convert_to_numpy": True}
    documents = TokenVectors.of(list(model.encode_document(list(topics.corpus.values()), **plain)))
    queries = TokenVectors.of(list(model.encode_query(list(topics.queries.values()), **plain)))
    scores = maxsim(queries, documents)
    names = list(topics.corpus)
    for row, ranking in enumerate(found):
        assert len(ranking) == 5
        for name, score in ranking.items():
            assert score == pytest.approx(scores[row, names.index(name)], abs=1e-4)
        assert max(ranking.values()) == pytest.approx(scores[row].max(), abs=1e-4)


def test_the_head_is_the_seeds_and_queries_are_padded_where_asked(tiny_encoder):
    model = late_model(tiny_encoder, replace(FAST, query_tokens=12))
    again, other = late_model(tiny_encoder, FAST), late_model(tiny_encoder, replace(FAST, loop=replace(LOOP, seed=1)))
    head = model[1].linear.weight.detach().numpy()
    np.testing.assert_allclose(head @ head.T, np.eye(8), atol=1e-5)
    assert np.array_equal(head, again[1].linear.weight.detach().numpy())
    assert not np.array_equal(head, other[1].linear.weight.detach().numpy())
    assert model.encode_query(["a1 f2"], show_progress_bar=False)[0].shape == (12, 8)
    assert again.encode_query(["a1 f2"], show_progress_bar=False)[0].shape == (4, 8)


def test_what_was_judged_wrong_is_a_negative_and_what_counts_neither_way_is_none(topics, tiny_encoder, tmp_path):
    """Words find neither: queries and texts share no word but fillers."""
    far = {query: f"d{(int(query[1]) + 4) % 8}-0" for query in topics.queries}
    judged = {query: {**topics.judged[query], far[query]: 0} for query in topics.queries}
    aside = {query: {d for d in topics.corpus if d[1] == str((int(query[1]) + 1) % 8)} for query in topics.queries}
    once = replace(FAST, dev_documents=10, loop=replace(LOOP, steps=1))
    trained(replace(topics, judged=judged, aside=aside), tiny_encoder, tmp_path, once, name="once")
    pools = json.loads((tmp_path / "runs" / "train" / "once" / "negatives.json").read_text())
    assert pools
    for query, pool in pools.items():
        assert pool[0] == far[query]
        assert not set(pool) & aside[query]


def test_a_worse_model_is_not_kept(topics, tiny_encoder, tmp_path):
    hopeless = replace(FAST, loop=replace(LOOP, steps=2, learning_rate=1e-12, evaluate_every=1))
    folder, report = trained(topics, tiny_encoder, tmp_path, hopeless, name="hopeless")
    assert folder is None
    assert "not kept" in report.notes[0]
    assert (tmp_path / "runs" / "train" / "hopeless" / "rejected").is_dir()


@pytest.mark.parametrize(
    ("wrong", "says"),
    [({"dimension": 0}, "dimension = 0"), ({"temperature": 0}, "temperature = 0"), ({"window": 2}, "window = 2")],
)
def test_settings_that_cannot_be_trained_with_are_refused(wrong, says):
    with pytest.raises(InputError, match=says):
        LateEncoderSettings(**wrong)


def test_a_window_beyond_the_positions_is_refused_before_a_run_begins(topics, tiny_encoder, tmp_path):
    with pytest.raises(InputError, match=r"window of 1,000 tokens .* positions for"):
        trained(topics, tiny_encoder, tmp_path, replace(FAST, window=1000))
    assert not (tmp_path / "runs").exists()


def test_a_head_wider_than_the_encoder_is_refused(tiny_encoder):
    with pytest.raises(InputError, match=r"has 16 to give. Ask for at most 16"):
        late_model(tiny_encoder, replace(FAST, dimension=32))


def test_other_corpora_are_refused(topics, tiny_encoder, tmp_path):
    other = replace(topics, corpus={**topics.corpus, "more": "f1 f2"})
    with pytest.raises(InputError, match="must have the corpus"):
        trained(topics, tiny_encoder, tmp_path, test=other)
