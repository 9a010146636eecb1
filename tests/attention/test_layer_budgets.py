"""RetrievalAttention with unequal layers: a pyramid of the same total, dense first layers, kept texts; and the memory
that a graph of many keys takes."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tiny import CACHE

from foveal.attention import RetrievalAttention, attach, roar_graph
from foveal.attention.memory_store import keep, load
from foveal.attention.retrieval_attention import pyramid_budgets
from foveal.attention.roar_graph import RoarGraph, RoarSettings
from foveal.errors import InputError

METHOD = RetrievalAttention(index="flat", top_k=30, n_sink=8, n_local=16, tail=False)


def tokens(length: int, rows: int = 1, seed: int = 0) -> torch.Tensor:
    return torch.randint(200, (rows, length), generator=torch.Generator().manual_seed(seed))


@given(st.integers(1, 3000), st.integers(1, 80), st.floats(1, 50))
def test_budgets_fall_evenly_and_keep_the_total(mean, layers, steepness):
    steepness = min(steepness, mean)
    budgets = pyramid_budgets(mean, layers, steepness)
    assert sum(budgets) == mean * layers
    assert len(budgets) == layers
    assert min(budgets) >= 1
    last = mean / steepness
    for number, one in enumerate(budgets):
        share = number / (layers - 1) if layers > 1 else 0.5
        assert abs(one - ((1 - share) * (2 * mean - last) + share * last)) <= 1


def test_a_pyramid_by_hand():
    assert pyramid_budgets(100, 5, 4) == [175, 138, 100, 62, 25]
    assert pyramid_budgets(100, 3, 1) == [100, 100, 100]


def stepped(model, method, ids):
    """The cache behind a context and a step, and its logits."""
    memory = method.make_cache(model)
    with torch.inference_mode(), attach(model, method):
        model(input_ids=ids, **{CACHE: memory})
        return memory, model(input_ids=tokens(1, seed=5), **{CACHE: memory}).logits


def test_each_layer_looks_at_its_share_of_the_keys(attention_models, monkeypatch):
    model = attention_models["qwen"].model
    method = replace(METHOD, pyramid=3.0)
    memory = method.make_cache(model)
    assert [layer.method.top_k for layer in memory.memories] == pyramid_budgets(30, 3, 3.0) == [50, 30, 10]
    asked = []
    memory, _ = stepped(model, method, tokens(200))
    for layer in memory.memories:
        index = layer.sequences[0].hidden.index
        search = index.search
        monkeypatch.setattr(index, "search", lambda q, k, search=search: (asked.append(k), search(q, k))[1])
    with torch.inference_mode(), attach(model, method):
        model(input_ids=tokens(1), **{CACHE: memory})
    assert asked == [50, 30, 10]


def test_layers_that_slide_have_no_share(attention_models):
    model = attention_models["gemma"].model  # layers 1 and 3 of 4 see the whole text
    memory = replace(METHOD, pyramid=2.0).make_cache(model)
    assert [(layer.number, layer.method.top_k) for layer in memory.memories] == [(1, 45), (3, 15)]


@pytest.mark.parametrize("stream", ["append", "insert"])
def test_layers_before_a_number_look_at_everything(attention_models, stream):
    model, ids = attention_models["qwen"].model, tokens(200)
    _, dense = stepped(model, replace(METHOD, index="full"), ids)
    memory, all_dense = stepped(model, replace(METHOD, from_layer=3, stream=stream), ids)
    torch.testing.assert_close(all_dense, dense)
    assert memory.statistics()["index"] == "full"
    memory, found = stepped(model, replace(METHOD, from_layer=1, pyramid=3.0, stream=stream), ids)
    assert [one.kind for layer in memory.memories for one in layer.sequences] == ["full", "flat", "flat"]
    assert [layer.method.top_k for layer in memory.memories[1:]] == [50, 10]
    assert not torch.allclose(found, dense, atol=1e-3)


def test_a_kept_text_keeps_its_shares(attention_models, tmp_path):
    loaded, ids = attention_models["qwen"], tokens(160)
    method = replace(METHOD, pyramid=3.0, from_layer=1)
    folder = keep(loaded, ids[0].tolist(), tmp_path / "text", method)
    told = json.loads((folder / "manifest.json").read_text())["method"]
    assert (told["pyramid"], told["from_layer"]) == (3.0, 1)
    memory = load(folder, loaded)
    assert memory.method == method
    fresh, expected = stepped(loaded.model, method, ids)
    assert [one.method for one in memory.memories] == [one.method for one in fresh.memories]
    with torch.inference_mode(), attach(loaded.model, method):
        found = loaded.model(input_ids=tokens(1, seed=5), **{CACHE: memory}).logits
    torch.testing.assert_close(found, expected)


def test_a_text_that_was_kept_before_there_were_shares_is_the_same(attention_models, tmp_path):
    """Its manifest names neither; it is neither refused nor read anew."""
    loaded, ids = attention_models["qwen"], tokens(160)[0].tolist()
    folder = keep(loaded, ids, tmp_path / "text", METHOD)
    told = json.loads((folder / "manifest.json").read_text())["method"]
    assert not {"pyramid", "from_layer", "seed"} & told.keys()
    read = []
    keep(loaded, ids, folder, METHOD, on_progress=lambda *at: read.append(at))
    assert not read


@pytest.mark.parametrize("options", [{"pyramid": 0.5}, {"pyramid": 31.0}, {"from_layer": -1}])
def test_shares_that_cannot_be_are_refused(options):
    with pytest.raises(InputError, match=r"from_layer .* pyramid"):
        replace(METHOD, **options)


def test_a_graph_never_holds_all_products_of_its_queries(address_space_left):
    """Of 131,072 keys and 8,192 queries these would be 4 GiB; here a twelfth of both, and the room of a fourth."""
    if roar_graph.library(roar_graph.SOURCE) is None:
        pytest.skip("no compiler")
    keys, queries = torch.randn(1, 16_384, 16), torch.randn(1, 4_096, 16) + 1
    settings = RoarSettings(coordinates="centred", nearest=8, near=6, degree=8, beam=8)
    RoarGraph.build(keys[:, :512], queries[:, :64], settings)  # threads and kernels are there
    with address_space_left(4 * 16_384 * 4_096 // 4):
        graph = RoarGraph.build(keys, queries, settings)
    assert graph.links.shape == (1, 16_384, 8)
    assert graph.unreached(0) == 0
