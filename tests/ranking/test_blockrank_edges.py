"""BlockRank and its kin where something is damaged, beyond a bound, or no number."""

from __future__ import annotations

import math

import pytest
import torch
from tiny import tiny

from foveal.errors import InputError, ModelUnavailable
from foveal.ranking.blockrank import ordered, saved_settings
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
