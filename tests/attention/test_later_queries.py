"""Queries asked again from behind the prompt: turned by the whole way, as the model itself would have turned them."""

from __future__ import annotations

import copy
import sys
from dataclasses import replace

import pytest
import torch
from tiny import CACHE, tiny
from transformers import (
    Cohere2Config,
    Cohere2ForCausalLM,
    CohereConfig,
    CohereForCausalLM,
    GlmConfig,
    GlmForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
)

from foveal.attention import RetrievalAttention, attach, retrieval_attention
from foveal.attention.key_index import IndexSettings
from foveal.attention.later_queries import AHEAD, later_queries
from foveal.attention.memory_store import keep
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


# -- positions of other models -----------------------------------------------------------------------------------------

SIZES = {
    "vocab_size": 100, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "max_position_embeddings": 256, "pad_token_id": 0, "bos_token_id": None,
    "eos_token_id": None,
}  # fmt: skip
LONG = {
    "rope_type": "longrope", "factor": 4.0, "original_max_position_embeddings": 64, "rope_theta": 10_000.0,
    "short_factor": [1.0, 1.0, 1.0, 1.0], "long_factor": [1.0, 1.5, 2.0, 4.0],
}  # fmt: skip
YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 64, "rope_theta": 10_000.0}
DYNAMIC = {"rope_type": "dynamic", "factor": 2.0, "rope_theta": 10_000.0}
MADE = {
    "pairs": lambda: CohereForCausalLM(CohereConfig(**SIZES)),
    "partial": lambda: GlmForCausalLM(GlmConfig(**SIZES, head_dim=8, partial_rotary_factor=0.5)),
    "yarn": lambda: llama(YARN, 256),
    "longrope": lambda: llama(LONG, 256),
    "dynamic": lambda: llama(DYNAMIC, 64),
}


def llama(parameters: dict, window: int) -> LlamaForCausalLM:
    return LlamaForCausalLM(LlamaConfig(**SIZES | {"max_position_embeddings": window}, rope_parameters=parameters))


@pytest.mark.parametrize("tokens", [60, 200])  # before and behind where LongRoPE and dynamic models change their angles
@pytest.mark.parametrize("kind", MADE)
def test_queries_are_turned_as_each_kind_of_model_turns_in_a_text_of_that_length(kind, tokens):
    model = MADE[kind]().eval()
    cos, sin = model.model.rotary_emb(torch.zeros(1), torch.arange(tokens)[None])
    turn = sys.modules[type(model).__module__].apply_rotary_pos_emb
    places, said = torch.arange(40), drawn(1, 40, 8)

    def at(places: torch.Tensor) -> torch.Tensor:
        return turn(said[None], said[None], cos[:, places], sin[:, places])[0][0]

    rotation = RetrievalAttention().rotations(model, tokens).at(0)
    later = later_queries(at(places), places, rotation, 40, share=1.0, ahead=tokens - 40)
    everywhere = torch.stack([at(torch.full((40,), place)) for place in range(40, tokens)])
    assert (everywhere - later).norm(dim=-1).amin(0).max() < 1e-3


def test_angles_that_hang_on_a_length_which_is_not_known_turn_nothing():
    for kind in MADE:
        known = kind not in ("longrope", "dynamic")
        memory = RetrievalAttention().make_cache(MADE[kind]().eval())
        assert all((layer.rotation is not None) == known for layer in memory.memories), kind
    assert all(layer.rotation for layer in RetrievalAttention().make_cache(MADE["dynamic"](), tokens=200).memories)


@pytest.mark.parametrize("kind", ["qwen", "gemma2"])  # read layer by layer, and whole
def test_the_length_of_a_kept_text_is_known(kind, tmp_path, monkeypatch):
    told: list[int | None] = []
    rotations = RetrievalAttention.rotations

    def noted(self, model, tokens=None):
        told.append(tokens)
        return rotations(self, model, tokens)

    monkeypatch.setattr(RetrievalAttention, "rotations", noted)
    method = RetrievalAttention(index="roar", n_sink=2, n_local=6, indexes=IndexSettings(roar=SMALL))
    keep(tiny(kind, tmp_path / "model"), [one * 7 % 100 for one in range(90)], tmp_path / "text", method)
    assert told == [90]


def test_a_model_that_leaves_some_layers_unturned_learns_from_queries_as_they_are():
    layers = {"layer_types": ["sliding_attention", "full_attention"], "sliding_window": 16}
    model = Cohere2ForCausalLM(Cohere2Config(**SIZES, **layers)).eval()
    assert RetrievalAttention().rotations(model) is None


class Elsewhere(torch.nn.Module):
    """Positions that are computed on the device of their layer, whatever is asked from another, as under accelerate."""

    def __init__(self, module: torch.nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, _: torch.Tensor, positions: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return self.module(torch.zeros(1), torch.zeros(positions.shape))


def test_queries_are_turned_where_they_lie(attention_models):
    """The meta device stands for another one than that of the model's positions."""
    rotation = rotations_of(attention_models["qwen"].model).at(0)
    dispatched = replace(rotation, module=Elsewhere(rotation.module))
    later = later_queries(drawn(2, 30, 8).to("meta"), torch.arange(30), dispatched, 30)
    assert (later.device.type, later.shape) == ("meta", (2, 30, 8))


def test_positions_of_an_unknown_make_are_no_reason_to_fail(attention_models):
    model = LlamaForCausalLM(LlamaConfig(**SIZES))
    del model.model.rotary_emb.inv_freq, model.model.rotary_emb.original_inv_freq
    assert RetrievalAttention().rotations(model) is None


def test_a_model_that_is_trained_in_part_is_left_as_it_was(attention_models):
    """How it turns is tried by a pass, where it is attached."""
    model, method = copy.deepcopy(attention_models["qwen"].model).train(), RetrievalAttention()
    model.model.layers[0].eval()
    modes = [part.training for part in model.modules()]
    with attach(model, method):
        assert all(layer.rotation for layer in method.make_cache(model).memories)
    assert [part.training for part in model.modules()] == modes
