"""BlockRank and its kin where something is damaged, beyond a bound, or no number."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from tiny import tiny
from transformers import Qwen2Config, Qwen2ForCausalLM

from foveal.errors import InputError, ModelUnavailable
from foveal.ranking import blockrank_forward
from foveal.ranking.blockrank import KEPT, BlockRank, ordered, saved_settings
from foveal.ranking.blockrank_cache import BlockCache, Scope
from foveal.ranking.blockrank_plan import Held
from foveal.ranking.blockrank_prompt import Layout
from foveal.ranking.blockrank_training import best_layer
from foveal.ranking.by_name import load_ranker
from foveal.ranking.listwise import ListwiseRanker, RetrievalHeads
from foveal.training.blockrank import ListedDocument, RankingList
from foveal.types import Hit, Passage, Span

LAYOUT = Layout(query_offset=1024)
TEXTS = ["The key of the mill is in the river.", "the keeper", "What was read is not what was written."]
HITS = [Hit(Passage(Span(f"d{n}", 0, len(text)), text), 0.5, "test") for n, text in enumerate(TEXTS)]


@pytest.fixture(scope="module")
def qwen(tmp_path_factory):
    return tiny("qwen", tmp_path_factory.mktemp("edges"))


def test_a_cache_in_memory_holds_no_more_than_it_counts():
    """Blocks are views of all that one pass read: kept as they are, one of them would hold the whole pass."""
    cache, scope = BlockCache(most_bytes=2000), Scope({"model": "any"})
    for first in range(0, 40, 10):
        keys, values = torch.randn(3, 1, 10, 4), torch.randn(2, 1, 10, 4)
        for n, block in enumerate(zip(keys.split(1, 2), values.split(1, 2), strict=True), start=first):
            cache.put(scope, [n], block)
    held = [block for n in range(40) if (block := cache.get(scope, [n])) is not None]
    assert cache.bytes == sum(part.untyped_storage().nbytes() for block in held for part in block) <= 2000
    assert torch.equal(held[-1][0], keys[:, :, 9:])


def test_the_layer_of_full_attention_is_chosen_under_full_attention(qwen):
    documents = tuple(ListedDocument(str(n), text) for n, text in enumerate(TEXTS))
    lists = [RankingList(f"Where is the key {n}?", documents, frozenset({str(n % 3)})) for n in range(6)]
    _, reached = best_layer(qwen, lists, LAYOUT, full=True)
    for layer, told in reached.items():
        ranker = ListwiseRanker(qwen, mode="attention", layer=layer, layout=LAYOUT)
        scores = [ranker.scores(one.query, HITS) for one in lists]
        ranks = [1 + sum(n > of[m % 3] for n in of) for m, of in enumerate(scores)]
        assert told["mrr"] == pytest.approx(sum(1 / rank for rank in ranks) / len(lists))
    assert reached != best_layer(qwen, lists, LAYOUT)[1]


def test_a_layer_whose_signal_is_no_number_is_not_the_best_one(tmp_path):
    model = tiny("qwen", tmp_path)
    documents = tuple(ListedDocument(str(n), text) for n, text in enumerate(TEXTS))
    lists = [RankingList(f"Where is the key {n}?", documents, frozenset({str(n)})) for n in range(3)]
    with torch.no_grad():
        model.model.model.layers[1].self_attn.q_proj.weight.fill_(math.nan)
    chosen, reached = best_layer(model, lists, LAYOUT)
    assert chosen == 0
    assert reached[0]["mrr"] > 1 / 3
    assert [reached[layer] for layer in (1, 2)] == [{"precision@1": 0, "mrr": pytest.approx(1 / 3)}] * 2


@pytest.mark.parametrize(
    "content",
    ['{"layer": 1', "[1, 2]", "\udcff", '{"layer": 1, "layout": {"of another Foveal": 1}}', '{"layout": 3}'],
    ids=["cut off", "a list", "no text", "unknown layout", "no layout"],
)
def test_damaged_settings_are_told_and_not_replaced_by_defaults(tmp_path, content):
    folder = tmp_path / "models" / "mine"
    folder.mkdir(parents=True)
    assert saved_settings(folder) == {}
    (folder / "blockrank.json").write_bytes(content.encode("utf-8", "surrogateescape"))
    with pytest.raises(ModelUnavailable, match=r"blockrank\.json is damaged"):
        load_ranker("mine", home=tmp_path)


def test_blocks_from_files_and_from_a_pass_on_another_device_are_put_side_by_side():
    """On a GPU a file's block lies in the machine's memory, beside one that was read just now."""
    on_disk, read_now = ((torch.zeros(2, 1, size, 4), torch.zeros(1, 1, size, 4)) for size in (3, 5))
    held = Held([on_disk, tuple(part.to("meta") for part in read_now)])
    for found in (held.keys(1, torch.device("meta")), held.values(0, torch.device("meta"))):
        assert (found.device.type, found.shape) == ("meta", (1, 1, 8, 4))


@pytest.mark.parametrize("options", [{"budget": 0}, {"budget": -1}, {"document_tokens": 0}], ids=str)
def test_heads_that_would_read_no_hit_are_refused(qwen, options):
    with pytest.raises(InputError, match="Retrieval heads got"):
        RetrievalHeads(qwen, **options)


@pytest.mark.parametrize("score", [math.nan, math.inf], ids=["nan", "infinite"])
def test_scores_that_are_no_numbers_order_nothing(score):
    with pytest.raises(InputError, match="candidate 1 no finite score"):
        ordered(HITS, [0.5, score, 0.1], "blockrank", HITS)


@pytest.mark.parametrize("alone", [False, True], ids=["beside others", "the only one left"])
@pytest.mark.parametrize("wrong", ["fewer tokens", "fewer layers", "other heads", "another type"])
def test_a_kept_block_that_is_no_block_of_its_tokens_is_read_anew(qwen, tmp_path, wrong, alone):
    """The file says rightly what it was made with, and holds other numbers than it should."""
    ranker = BlockRank(qwen, layout=replace(KEPT, query_offset=1024), cache=BlockCache(tmp_path))
    expected = ranker.scores("Where is the key?", HITS)
    path = sorted(tmp_path.glob("*/*.safetensors"))[1]
    with safe_open(str(path), framework="pt") as opened:
        about, keys, values = opened.metadata(), opened.get_tensor("keys"), opened.get_tensor("values")
    change = {
        "fewer tokens": lambda part: part[:, :, 1:],
        "fewer layers": lambda part: part[1:],
        "other heads": lambda part: part[:, :1],
        "another type": torch.Tensor.half,
    }[wrong]
    save_file({"keys": change(keys).contiguous(), "values": change(values).contiguous()}, str(path), metadata=about)
    for other in tmp_path.glob("*/*.safetensors"):
        if alone and other != path:
            other.unlink()
    assert ranker.scores("Where is the key?", HITS) == pytest.approx(expected, abs=1e-6)
    with safe_open(str(path), framework="pt") as opened:
        assert torch.allclose(opened.get_tensor("keys"), keys, atol=1e-6)


def test_what_is_no_number_is_not_kept(tmp_path):
    """A library would be read for hours, and each question be refused by then."""
    model = tiny("qwen", tmp_path / "model")
    ranker = BlockRank(model, layout=replace(KEPT, query_offset=1024), cache=BlockCache(tmp_path / "kept"))
    token = ranker.prompter.plain(" keeper")[-1]
    with torch.no_grad():
        model.model.model.embed_tokens.weight[token] = math.inf
    with pytest.raises(InputError, match=r"computes what is no number of these passages .*nothing of them is kept"):
        ranker.keep(HITS)
    assert ranker.cache.bytes == 0
    assert ranker.keep([HITS[0], HITS[2]]) > 0
    segments = ranker.prompter.segments("-", TEXTS)
    held = [ranker.cache.holds(ranker._scope(segments), one.ids) for one in segments.documents]
    assert held == [True, False, True]


@pytest.mark.parametrize(
    "rope",
    [
        {"rope_type": "dynamic", "factor": 4.0},
        {"rope_type": "longrope", "short_factor": [1.0] * 4, "long_factor": [1.0, 2.0, 4.0, 8.0], "factor": 8.0,
         "original_max_position_embeddings": 512},
    ],
    ids=lambda rope: rope["rope_type"],
)  # fmt: skip
def test_a_model_whose_positions_stretch_reads_all_parts_alike(qwen, monkeypatch, rope):
    """The question stands far behind: by its position those of the documents are turned, too, as in one pass."""
    config = Qwen2Config.from_dict(qwen.model.config.to_dict() | {"rope_parameters": {"rope_theta": 1e4, **rope}})
    model = Qwen2ForCausalLM(config).eval()
    model.load_state_dict(qwen.model.state_dict())
    stretching = replace(qwen, model=model)
    for layout in (LAYOUT, replace(KEPT, query_offset=1024)):
        ranker = BlockRank(stretching, layout=layout)
        lean = ranker.scores("Where is the key?", HITS)
        with monkeypatch.context() as patched:
            patched.setattr(blockrank_forward, "supports", lambda _: False)
            assert lean == pytest.approx(ranker.scores("Where is the key?", HITS), abs=1e-5)
    with pytest.raises(InputError, match="cannot be kept"):
        BlockRank(stretching, layout=replace(KEPT, query_offset=1024), cache=BlockCache())
