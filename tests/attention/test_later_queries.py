"""Queries asked again from behind the prompt: turned by the whole way, as the model itself would have turned them."""

from __future__ import annotations

import pytest
import torch
from tiny import CACHE

from foveal.attention import RetrievalAttention, attach, retrieval_attention
from foveal.attention.later_queries import AHEAD, later_queries
from foveal.attention.roar_graph import RoarGraph, RoarSettings, best_keys, recall
from foveal.attention.rotation import rotations_of
from foveal.errors import InputError

END = 500
SMALL = RoarSettings(queries=500, nearest=20, near=4, degree=8, beam=16, coordinates="centred")


def drawn(*shape: int, seed: int = 1) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def test_a_turned_query_is_what_the_model_would_have_asked_from_there(model):
    rotation = rotations_of(model).at(0)
    said, places = drawn(2, 120, 16), torch.arange(330, 450)
    asked = rotation(said, places)
    later = later_queries(asked, places, rotation, END)

    as_they_were = (later - asked).abs().amax((0, 2)) < 1e-6
    assert 0.35 < as_they_were.float().mean() < 0.65
    everywhere = rotation(said[:, :, None], torch.arange(END, END + AHEAD).expand(120, -1))
    nearest = (everywhere - later[:, :, None]).norm(dim=-1).amax(0).amin(1)  # of both heads at one place
    assert nearest[~as_they_were].max() < 1e-3
    assert nearest[as_they_were].median() > 0.1


def test_they_are_the_same_each_time_and_of_the_same_type(attention_models):
    rotation = rotations_of(attention_models["qwen"].model).at(0)
    asked = drawn(1, 60, 16).bfloat16()
    one, other = (later_queries(asked, torch.arange(60), rotation, 60) for _ in range(2))
    assert one.dtype == torch.bfloat16
    assert torch.equal(one, other)
    assert torch.equal(later_queries(asked, torch.arange(60), rotation, 60, share=0.0), asked)


def test_a_graph_that_learns_from_them_finds_more_for_queries_behind_the_text(attention_models):
    """Heads that say nearly always the same look at a distance, which no query within the text is at."""
    rotation = rotations_of(attention_models["qwen"].model).at(0)
    places, end = torch.arange(4000), 4000
    keys = rotation(2 + drawn(4000, 16), places)
    asked = rotation(2 + drawn(4000, 16, seed=2), places)
    tests = rotation(2 + drawn(100, 16, seed=3), torch.arange(end, end + 100))
    truth = best_keys(tests, keys, 20)
    found = {}
    for name, share in (("as asked", 0.0), ("later", 0.5)):
        queries = later_queries(asked, places, rotation, end, share=share)
        graph = RoarGraph.build(keys[None], queries[None], SMALL)
        found[name] = recall(graph.search(tests[None], 20, beam=20).ids[0], truth)
    assert found["later"] > found["as asked"] + 0.05


@pytest.mark.parametrize("padding", [0, 7])
def test_a_layer_learns_from_queries_behind_its_text(attention_models, padding, monkeypatch):
    model = attention_models["qwen"].model
    learnt: list[torch.Tensor] = []
    taken = RetrievalAttention.index_of

    def index_of(self, kind, keys, queries, scores):
        learnt.append(queries)
        return taken(self, kind, keys, queries, scores)

    monkeypatch.setattr(RetrievalAttention, "index_of", index_of)
    method = RetrievalAttention(index="roar", n_sink=2, n_local=6, top_k=8)
    ids = torch.arange(90 + padding)[None] * 7 % 100
    real = (torch.arange(90 + padding) >= padding).long()[None]
    with torch.no_grad(), attach(model, method):
        model(input_ids=ids, attention_mask=real, **{CACHE: method.make_cache(model)})
    later = list(learnt)
    learnt.clear()
    monkeypatch.setattr(RetrievalAttention, "rotations", lambda *_: None)
    with torch.no_grad(), attach(model, method):
        model(input_ids=ids, attention_mask=real, **{CACHE: method.make_cache(model)})
    assert len(later) == len(learnt) > 0
    for one, other in zip(later, learnt, strict=True):
        same = (one - other).abs().amax((0, 2)) < 1e-6
        assert one.shape == other.shape
        assert 0.3 < same.float().mean() < 0.7


def test_where_the_positions_are_not_known_queries_stay_as_they_are(attention_models, monkeypatch):
    model = attention_models["qwen"].model

    def unknown(*_: object) -> None:
        raise InputError("It turns in a way that is not known.")

    assert RetrievalAttention(index="flat").rotations(model) is None  # nothing learns from them
    assert RetrievalAttention().rotations(model) is not None
    monkeypatch.setattr(retrieval_attention, "rotations_of", unknown)
    assert RetrievalAttention().rotations(model) is None
    assert all(layer.rotation is None for layer in RetrievalAttention().make_cache(model).memories)
