"""Learned sinks (gpt-oss): one more score in each head's softmax, with nothing behind it.

`families.of` draws them large, so that half of the attention goes there; what ignores them is far off.
"""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from families import WORDS, of
from tiny import CACHE
from torch import Tensor
from transformers import DynamicCache

from foveal.attention import (
    ACT,
    BlockMethod,
    Dense,
    FlexPrefill,
    HeadCache,
    LandmarkModel,
    LongHeads,
    MaskHeads,
    Recorder,
    Report,
    RetrievalAttention,
    attach,
    watch,
)
from foveal.attention.attach import Context
from foveal.attention.dense import dense_attention
from foveal.attention.dhsa import DHSA
from foveal.attention.head_detection import PaidWatch
from foveal.attention.kernel import with_sinks
from foveal.attention.masks import Mask
from foveal.attention.memory_parts import Scores
from foveal.attention.nearest_attention import Runs, nearest_attention
from foveal.errors import InputError
from foveal.ranking.blockrank_forward import read
from foveal.ranking.blockrank_plan import Ask
from foveal.ranking.blockrank_prompt import DocumentTokens, Segments

IDS = torch.randint(4, WORDS, (1, 300), generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="module")
def model():
    return of("gpt_oss", num_hidden_layers=4, layer_types=["sliding_attention", "full_attention"] * 2)


def drawn(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(sum(shape)))


def by_definition(q: Tensor, k: Tensor, v: Tensor, seen: Tensor, sinks: Tensor, softcap: float | None = None) -> Tensor:
    """exp(s_ij) / (exp(sink) + sum_j exp(s_ij)), row by row of each head."""
    group = q.shape[1] // k.shape[1]
    out = torch.zeros(*q.shape[:3], v.shape[3])
    for h in range(q.shape[1]):
        scores = q[0, h] @ k[0, h // group].T * 0.3
        weights = (scores if softcap is None else softcap * (scores / softcap).tanh()).exp() * seen
        out[0, h] = weights @ v[0, h // group] / (sinks[h].exp() + weights.sum(-1, keepdim=True))
    return out


@pytest.mark.parametrize("softcap", [None, 1.5])
@pytest.mark.parametrize("queries", [1, 5, 90])
@pytest.mark.parametrize("own", [False, True], ids=["causal", "a mask of one's own"])
def test_dense_attention_is_the_definition(queries, softcap, own):
    q, k, v, sinks = drawn(1, 4, queries, 8), drawn(1, 2, 90, 8), drawn(1, 2, 90, 6), drawn(4) * 3
    mask = Mask.causal(1, queries, 90)
    seen = torch.ones(queries, 90, dtype=torch.bool).tril(90 - queries)
    if own:
        seen = seen & (drawn(queries, 90) > 0)
        mask.dense, mask.given = seen[None, None], True
    found = dense_attention(q, k, v, mask, scale=0.3, softcap=softcap, sinks=sinks)
    torch.testing.assert_close(found, by_definition(q, k, v, seen, sinks, softcap), rtol=1e-4, atol=1e-5)


def test_a_query_that_sees_nothing_gets_nothing():
    output, sums = with_sinks(torch.zeros(1, 2, 3, 4), torch.full((1, 2, 3), -torch.inf), torch.tensor([0.5, -2.0]))
    assert not output.any()
    assert torch.equal(sums, torch.tensor([[[0.5] * 3, [-2.0] * 3]]))


def test_gradients_reach_the_sinks():
    q, k, v = (drawn(1, 2, 40, 8).mul(number).requires_grad_() for number in (1, 2, 3))
    sinks = drawn(2).requires_grad_()
    seen = torch.ones(40, 40, dtype=torch.bool).tril()
    found = torch.autograd.grad(
        dense_attention(q, k, v, Mask.causal(1, 40, 40), scale=0.3, sinks=sinks).square().sum(), (q, k, v, sinks)
    )
    wanted = torch.autograd.grad(by_definition(q, k, v, seen, sinks).square().sum(), (q, k, v, sinks))
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-3)


def test_the_nearest_keys_are_attended_with_sinks():
    q, k, v, sinks = drawn(1, 4, 1, 8), drawn(1, 2, 90, 8), drawn(1, 2, 90, 8), drawn(4) * 3
    scores = torch.stack([q[0, h, 0] @ k[0, h // 2].T for h in range(4)])
    found = nearest_attention(q, k, v, Runs.whole(4, 90), count=20, scale=0.3, sinks=sinks)
    for h in range(4):
        seen = torch.zeros(1, 90, dtype=torch.bool)
        seen[0, scores[h].topk(20).indices] = True
        torch.testing.assert_close(found[:, h], by_definition(q, k, v, seen, sinks)[:, h], rtol=1e-4, atol=1e-5)


class Some(BlockMethod):
    """Drawn blocks, kept for the definition."""

    query_block = key_block = 32
    least = 1

    def prefill(self, query, key, context):  # noqa: ARG002
        rows, columns = self.grid(query, key)
        self.kept = self.blocks(drawn(1, query.shape[1], len(rows), len(columns)) > 0, query, key)
        return self.kept


def test_a_sparse_method_keeps_to_its_blocks_and_the_report_to_tokens():
    """A report's recall is of the attention that tokens get, with sinks or without."""
    q, k, v, sinks = drawn(1, 4, 300, 8), drawn(1, 2, 300, 8), drawn(1, 2, 300, 8), drawn(4) * 3
    method, told = Some(), []
    for given in (sinks, None):
        report = Report()
        context = Context(0, torch.nn.Identity(), Mask.causal(1, 300, 300), 0.3, report=report, sinks=given)
        found = method.attend(q, k, v, context)
        told.append(report.looks[0].recall)
        wanted = sinks if given is not None else torch.full((4,), -torch.inf)
        for h, seen in enumerate(method.kept.seen().expand(1, 4, -1, -1)[0]):
            torch.testing.assert_close(found[:, h], by_definition(q, k, v, seen, wanted)[:, h], rtol=1e-4, atol=1e-5)
    assert torch.equal(*told)
    assert 0.2 < told[0].mean() < 0.95


# -- on a model of that kind -------------------------------------------------------------------------------------------


def logits(model, **inputs) -> Tensor:
    with torch.inference_mode():
        return model(**inputs).logits


def test_recorded_rows_are_the_models_own_weights(model):
    rows = torch.tensor([[5, 150, 299]])
    recorder = Recorder(rows, {0: None, 1: [3, 0]})
    watch(model, IDS, recorder)
    told = of("gpt_oss", num_hidden_layers=4, layer_types=["sliding_attention", "full_attention"] * 2)
    told.set_attn_implementation("eager")
    with torch.inference_mode():
        wanted = told(IDS, output_attentions=True).attentions
    assert recorder.attention[1].sum(-1).mean() < 0.8
    torch.testing.assert_close(recorder.attention[0], wanted[0][:, :, rows[0]], rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(recorder.attention[1], wanted[1][:, [3, 0]][:, :, rows[0]], rtol=1e-4, atol=1e-6)


def stepped(model, method) -> Tensor:
    """Logits of a prompt of 280 tokens and twenty more, one at a time."""
    cuts = pairwise((0, *range(280, 301)))
    with attach(model, method):
        cache = method.make_cache(model)
        return torch.cat([logits(model, input_ids=IDS[:, a:b], **{CACHE: cache}) for a, b in cuts], 1)


SMALL = {"n_sink": 4, "n_local": 16}


@pytest.mark.parametrize(
    "method",
    [
        RetrievalAttention(index="flat", top_k=1000, **SMALL),
        RetrievalAttention(index="roar", top_k=1000, **SMALL),
        RetrievalAttention(index="full", **SMALL),
        HeadCache(policy="snapkv", keep=1.0),
    ],
    ids=["flat", "roar", "full", "snapkv"],
)
def test_a_cache_that_keeps_all_gives_what_the_model_gives(model, method):
    torch.testing.assert_close(stepped(model, method), logits(model, input_ids=IDS), rtol=1e-3, atol=1e-3)


def test_a_heads_smaller_cache_counts_its_sink_once(model):
    """Of a head that keeps few tokens the output is the definition's over those."""
    method = HeadCache(policy="streaming", keep=0.2, sinks=4)
    with attach(model, method):
        cache = method.make_cache(model)
        logits(model, input_ids=IDS, **{CACHE: cache})
        layer = cache.layers[1]
        store = layer.stores[0]
        keys, values = store.keys[None].clone(), store.values[None].clone()
        asked, sinks = drawn(2, 1, 8), drawn(2) * 3
        found = store.attend(asked, Scores(0.3), sinks)
    seen = torch.ones(1, keys.shape[2], dtype=torch.bool)
    wanted = by_definition(asked[None], keys, values, seen, sinks)
    torch.testing.assert_close(found[None], wanted, rtol=1e-4, atol=1e-5)


def test_heads_of_such_a_model_can_be_masked(model):
    with attach(model, MaskHeads([])):
        torch.testing.assert_close(logits(model, input_ids=IDS), logits(model, input_ids=IDS), rtol=0, atol=0)
    expected = logits(model, input_ids=IDS)
    attention = model.model.layers[1].self_attn
    with attach(model, MaskHeads([(1, 2)])):
        masked = logits(model, input_ids=IDS)
    assert not torch.allclose(masked, expected, atol=1e-3)
    kept = attention.o_proj.weight.data.clone()
    try:
        attention.o_proj.weight.data[:, 16:24] = 0  # what head 2 would have said
        torch.testing.assert_close(masked, logits(model, input_ids=IDS), rtol=1e-4, atol=1e-4)
    finally:
        attention.o_proj.weight.data.copy_(kept)


def test_a_step_over_chosen_chunks_counts_them(model):
    """Where the chunks are all, a step is dense; where they are not, something is missing."""
    expected = logits(model, input_ids=IDS)[:, -1]

    def last(budget: int) -> Tensor:
        method, cache = (
            DHSA(boundaries="fixed", budget=budget, sink=8, local=8, sparse_decode=True),
            DynamicCache(config=model.config),
        )
        with attach(model, method):
            logits(model, input_ids=IDS[:, :-1], **{CACHE: cache})
            return logits(model, input_ids=IDS[:, -1:], **{CACHE: cache})[:, -1]

    torch.testing.assert_close(last(299), expected, rtol=0.05, atol=0.05)
    assert not torch.allclose(last(160), expected, atol=1e-3)


def test_a_prompt_of_documents_is_read_with_sinks(model):
    """As one text it is what the model reads; in blocks, a document's masses do not hang on its place."""
    lead, one, two, tail = (tuple(map(int, part)) for part in torch.split(IDS[0, :130], [20, 40, 50, 20]))
    made = [DocumentTokens(name, ids, (None,) * len(ids)) for name, ids in (("1", one), ("2", two))]
    prompt, turned = (Segments(lead, tuple(order), tail, (19,), 110) for order in (made, made[::-1]))
    found = read(model, prompt, Ask(rows="query", full=True))
    torch.testing.assert_close(found.logits[-1], logits(model, input_ids=IDS[:, :130])[0, -1], rtol=1e-3, atol=1e-3)
    ask = Ask(layers=(3,))
    masses = [read(model, each, ask).scores(3) for each in (prompt, turned)]
    torch.testing.assert_close(masses[0], masses[1].flip(0), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    "method",
    [ACT({1: [0]}), LongHeads(chunk_size=16, attention_length=128), PaidWatch([1])],
    ids=lambda one: type(one).__name__,
)
def test_what_does_not_compute_them_is_refused(model, method):
    before = model.config._attn_implementation
    told = f"GptOssForCausalLM has learned attention sinks, which {type(method).__name__} does not"
    with pytest.raises(InputError, match=told), attach(model, method):
        pass
    assert model.config._attn_implementation == before
    with attach(of("llama"), method):
        pass


def test_a_landmark_model_is_refused():
    with pytest.raises(InputError, match="learned attention sinks"):
        LandmarkModel(of("gpt_oss", sliding_window=512))


@pytest.mark.parametrize("method", [None, Dense(), FlexPrefill()], ids=["none", "dense", "flexprefill"])
def test_attention_that_is_dropped_at_random_is_refused(method):
    model = of("gpt_oss", attention_dropout=0.1).train()
    with attach(model, method), pytest.raises(InputError, match="drops attention at random"):
        model(IDS)
