"""BlockRank against its definition: what sees what, where it stands, and what the pass in blocks makes of it."""

from __future__ import annotations

import copy
import os
from dataclasses import replace

import pytest
import torch
from families import of
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import SafetensorError
from tiny import FULL, tiny
from torch.nn.functional import scaled_dot_product_attention
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import GPT2Config, GPT2LMHeadModel

from foveal.attention import Recorder, attach, block_attention
from foveal.attention.recorder import attention_rows
from foveal.errors import Cancelled, InputError
from foveal.models import lean as lean_layers
from foveal.models.chat import Cancel
from foveal.models.language import LanguageModel, load_language_model
from foveal.ranking import blockrank_forward, blockrank_plan
from foveal.ranking.blockrank import KEPT, BlockRank, default_layer, full_layers
from foveal.ranking.blockrank_cache import BlockCache
from foveal.ranking.blockrank_forward import Found, read
from foveal.ranking.blockrank_kept import bytes_a_token
from foveal.ranking.blockrank_plan import Ask
from foveal.ranking.blockrank_prompt import Layout, Prompter, positions, segment_blocks, visible
from foveal.ranking.blockrank_training import best_layer
from foveal.ranking.listwise import ListwiseRanker, PointwiseRanker, RetrievalHeads, SlidingWindow
from foveal.training.blockrank import ListedDocument, RankingList
from foveal.types import Hit, Passage, Span

OFFSET = 1024
MOST = 400_000
"""Bytes of a small cache: the texts above and the instruction take a third of it, texts of like length a fifth."""
LAYOUT = Layout(query_offset=OFFSET)
QUERY = "Where is the key of the mill?"
TEXTS = [
    "The key of the mill is in the river.",
    "the keeper",
    "A very concise text: 12 excerpts of the answer and a question, read to the river.",
    "The keeper is very concise and of the mill.",
    "the key is 12",
]
KINDS = ("qwen", "gemma", "gemma2")
WAYS = ("lean", "attached")
LENGTHS = st.lists(st.integers(1, 9), min_size=2, max_size=8)


@pytest.fixture(scope="module")
def models(tmp_path_factory) -> dict[str, LanguageModel]:
    return {kind: tiny(kind, tmp_path_factory.mktemp(kind)) for kind in KINDS}


@pytest.fixture(scope="module")
def qwen(models) -> LanguageModel:
    return models["qwen"]


def hits_of(texts, headings=None) -> list[Hit]:
    headings = headings or [None] * len(texts)
    return [
        Hit(Passage(Span(f"d{n}", 0, len(text)), text, heading), 0.5, "test")
        for n, (text, heading) in enumerate(zip(texts, headings, strict=True))
    ]


def found_by(way, model, segments, ask, held=None):
    """The pass over lean layers, or through transformers, whose gradients are then thrown away."""
    if way == "lean":
        with torch.inference_mode():
            return read(model.model, segments, ask, held=held)
    with torch.enable_grad():
        return read(model.model, segments, ask, held=held)


# -- what sees what, and where it stands -------------------------------------------------------------------------------


def tokens_of(lengths):
    """(segment, place in it) of each token."""
    return [(segment, place) for segment, length in enumerate(lengths) for place in range(length)]


@given(LENGTHS)
def test_mask_by_the_definition_of_each_token(lengths):
    """Block-structured mask: every pair of tokens against the paper's three rules."""
    tokens, last, seen = tokens_of(lengths), len(lengths) - 1, visible(lengths)
    for i, (mine, here) in enumerate(tokens):
        for j, (theirs, there) in enumerate(tokens):
            inside = mine == theirs and there <= here
            document = 0 < mine < last and theirs == 0
            question = mine == last and theirs < last
            assert bool(seen[i, j]) == (inside or document or question), (i, j)


@given(LENGTHS)
def test_positions_by_the_definition_of_each_token(lengths):
    """Positions: the instruction from 0, every document from its end, the query at the offset."""
    told = positions(lengths, 100).tolist()
    for (segment, place), position in zip(tokens_of(lengths), told, strict=True):
        start = 0 if segment == 0 else 100 if segment == len(lengths) - 1 else lengths[0]
        assert position == start + place


@given(LENGTHS, st.sampled_from([2, 4, 8]))
def test_blocks_see_what_the_mask_does_and_no_block_is_kept_in_vain(lengths, block):
    """Block-structured mask through the block kernel: from where segments end, token by token the same."""
    blocks, seen = segment_blocks(lengths, block=block), visible(lengths)
    assert torch.equal(blocks.seen()[0, 0], seen)
    for row in range(0, len(seen), block):
        for column in range(0, len(seen), block):
            kept = bool(blocks.keep[0, 0, row // block, column // block])
            assert kept == bool(seen[row : row + block, column : column + block].any())


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.bfloat16, 1e-2)])
def test_the_block_kernel_gives_what_masked_attention_does(dtype, tolerance):
    """Block output equals masked SDPA: float32 to 1e-5, bfloat16 to 1e-2."""
    lengths = [40, 33, 70, 12, 55, 21]
    draw = torch.Generator().manual_seed(0)
    q, k, v = (torch.randn(1, heads, sum(lengths), 16, generator=draw).to(dtype) for heads in (4, 2, 2))
    ours, _ = block_attention(q, k, v, segment_blocks(lengths, block=32))
    theirs = scaled_dot_product_attention(q.float(), k.float(), v.float(), attn_mask=visible(lengths), enable_gqa=True)
    torch.testing.assert_close(ours.float(), theirs, atol=tolerance, rtol=tolerance)
    mask = segment_blocks(lengths, block=32).block_mask()
    assert mask.sparsity() > 30


# -- the pass against masked full attention ----------------------------------------------------------------------------


def by_definition(model, segments, layers):
    """Logits of the query's rows, and each layer's masses by document, from transformers under one T x T mask."""
    lengths = segments.lengths
    ids = torch.tensor([[*segments.instruction, *(t for one in segments.documents for t in one.ids), *segments.query]])
    places, seen = positions(lengths, segments.offset), visible(lengths)
    near = seen & (places[:, None] - places < (getattr(model.config, "sliding_window", None) or 10**9))
    masks = {
        kind: torch.zeros(seen.shape).masked_fill(~mask, torch.finfo(torch.float32).min)[None, None]
        for kind, mask in (("full_attention", seen), ("sliding_attention", near))
    }
    given_mask = masks if model.config.model_type.startswith("gemma") else masks["full_attention"]
    first = sum(lengths[:-1])
    rows = torch.tensor([[first + place for place in segments.signal]])
    recorder = Recorder(rows, dict.fromkeys(layers))
    with torch.inference_mode(), attach(model, recorder=recorder):
        logits = model(input_ids=ids, position_ids=places[None], attention_mask=given_mask, use_cache=False).logits
    masses = {}
    for layer, paid in recorder.attention.items():
        of_documents = paid[0, :, :, lengths[0] : first]
        share = (of_documents / of_documents.sum(-1, keepdim=True)).mean((0, 1))
        masses[layer] = torch.stack([part.sum() for part in share.split(lengths[1:-1])])
    return logits[0, first + segments.signal[0] :], masses


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("way", WAYS)
def test_the_pass_in_blocks_is_masked_full_attention(models, kind, way):
    """Batched path equals masked full attention to 1e-5 (float32): logits, and the signal of every full layer."""
    model = models[kind]
    segments = Prompter(model, LAYOUT).segments(QUERY, TEXTS)
    logits, masses = by_definition(model.model, segments, FULL[kind])
    found = found_by(way, model, segments, Ask(layers=FULL[kind], rows="query"))
    torch.testing.assert_close(found.logits, logits, atol=1e-5, rtol=1e-5)
    for layer in FULL[kind]:
        torch.testing.assert_close(found.scores(layer), masses[layer], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("group", [1, 60, 10_000])
def test_groups_of_any_size_give_the_same(qwen, way, group, monkeypatch):
    segments = Prompter(qwen, LAYOUT).segments(QUERY, TEXTS)
    expected = found_by(way, qwen, segments, Ask(layers=(1,)))
    monkeypatch.setitem(blockrank_plan.GROUP, "cpu", group)
    found = found_by(way, qwen, segments, Ask(layers=(1,)))
    torch.testing.assert_close(found.scores(1), expected.scores(1), atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("held", [False, True])
def test_long_prompts_through_the_block_kernel_give_the_same(qwen, held, monkeypatch):
    """The question's rows, and the branches behind them, by either kernel."""
    layout = replace(KEPT, query_offset=OFFSET)
    ranker = BlockRank(qwen, layout=layout, cache=BlockCache() if held else None)
    decoder = BlockRank(qwen, layout=LAYOUT, mode="decode")
    hits = hits_of(TEXTS)
    expected = ranker.scores(QUERY, hits), decoder.scores(QUERY, hits)
    asked = []
    monkeypatch.setattr(blockrank_forward, "LONG", 1)
    monkeypatch.setattr(blockrank_forward, "suits_blocks", lambda query: asked.append(query.shape) or True)
    assert ranker.scores(QUERY, hits) == pytest.approx(expected[0], abs=1e-5)
    assert decoder.scores(QUERY, hits) == pytest.approx(expected[1], abs=1e-5)
    assert len(asked) > 2


@pytest.mark.parametrize("way", WAYS)
def test_permutation_invariance_is_exact_and_full_attention_has_none(qwen, way):
    """Exact permutation invariance: S is permuted with the documents to 1e-4; full attention fails the same test."""
    segments = Prompter(qwen, LAYOUT).segments(QUERY, TEXTS)
    order = [3, 0, 4, 2, 1]
    moved = replace(segments, documents=tuple(segments.documents[n] for n in order))  # each keeps its ID
    for full, same in ((False, True), (True, False)):
        ask = Ask(layers=(2,), full=full)
        before, after = (found_by(way, qwen, one, ask).scores(2) for one in (segments, moved))
        assert torch.allclose(after, before[order], atol=1e-4) is same


@pytest.mark.parametrize("numbers", ["order", "text"])
def test_a_list_in_another_order(qwen, numbers):
    """With IDs by text nothing of the order reaches the model; with IDs by order, their digits do."""
    ranker = BlockRank(qwen, layout=replace(LAYOUT, numbers=numbers))
    hits = hits_of(TEXTS)
    one, other = ranker.rank(QUERY, hits), ranker.rank(QUERY, hits[::-1])
    assert (one == other) is (numbers == "text")


@pytest.mark.parametrize("way", WAYS)
def test_independence_other_documents_keys_and_values_stay_the_same_to_the_bit(qwen, way):
    """Independence: one document changed, all others' keys and values are bit-identical at every layer."""
    segments = Prompter(qwen, LAYOUT).segments(QUERY, TEXTS)
    first, *rest = segments.documents
    changed = replace(first, ids=tuple(reversed(first.ids)))
    longer = replace(first, ids=(*first.ids, *first.ids))
    before, after, other = (
        found_by(way, qwen, replace(segments, documents=(one, *rest)), Ask(keep=2)).blocks()
        for one in (first, changed, longer)
    )
    assert not torch.allclose(before[1][0], after[1][0], atol=0.1)
    for place in [0, 2, 3, 4, 5]:  # the instruction, and the documents 1 to 4
        assert all(torch.equal(one, two) for one, two in zip(before[place], after[place], strict=True)), place
        for one, two in zip(before[place], other[place], strict=True):  # products of another size round differently
            torch.testing.assert_close(one, two, atol=1e-5, rtol=1e-5)


def test_nothing_is_as_large_as_tokens_by_tokens(qwen):
    """Lists of 500, and no N x N tensor: the largest tensor of a pass grows with the tokens, not with their square."""
    ranker = BlockRank(qwen, layer=1, layout=LAYOUT)
    sizes = {}
    for count in (50, 500):
        hits = hits_of([f"{n} {TEXTS[n % 5]}" for n in range(count)])
        tokens = sum(ranker.prompter.segments(QUERY, [hit.passage.text for hit in hits]).lengths)
        for way in WAYS:
            with Largest() as largest:
                segments = ranker.prompter.segments(QUERY, [hit.passage.text for hit in hits])
                scores = found_by(way, qwen, segments, Ask(layers=(1,))).scores(1).detach()
            assert len(scores) == count
            assert float(scores.sum()) == pytest.approx(1, abs=1e-4)
            sizes[way, count] = largest.numel, tokens
    for way in WAYS:
        (small, few), (large, many) = sizes[way, 50], sizes[way, 500]
        assert large / small < 1.3 * many / few
        assert large < many**2 / 20
    assert len(ranker.rank(QUERY, hits)) == 500


class Largest(TorchDispatchMode):
    """The largest tensor that is made."""

    def __init__(self):
        super().__init__()
        self.numel = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        made = func(*args, **(kwargs or {}))
        for one in made if isinstance(made, tuple | list) else [made]:
            if isinstance(one, torch.Tensor) and not func.is_view:
                self.numel = max(self.numel, one.numel())
        return made


def test_layers_above_the_signal_are_never_run(qwen, monkeypatch):
    """Early stop after the signal's layer, in both ways; nothing is generated."""
    run = []
    call = lean_layers.Layer.__call__
    monkeypatch.setattr(lean_layers.Layer, "__call__", lambda self, *a: run.append(self) or call(self, *a))
    segments = Prompter(qwen, LAYOUT).segments(QUERY, TEXTS)
    found_by("lean", qwen, segments, Ask(layers=(1,)))
    assert len(set(run)) == 2
    found_by("attached", qwen, segments, Ask(layers=(1,)))  # the first time it is tried whether parts reach each other
    hooks = [layer.register_forward_pre_hook(lambda *_: run.append(1)) for layer in qwen.model.model.layers]
    run.clear()
    found_by("attached", qwen, segments, Ask(layers=(1,)))
    assert len(run) == 2
    for hook in hooks:
        hook.remove()
    assert qwen.model.config._attn_implementation == "sdpa"


@pytest.mark.parametrize("fused", [True, False])
def test_what_is_read_after_a_step_of_a_training_is_read_with_the_new_weights(qwen, fused):
    """Fused optimizers, transformers' default, write to weights without telling autograd."""
    segments, ask = Prompter(qwen, LAYOUT).segments(QUERY, TEXTS), Ask(layers=(1,))
    learning = copy.deepcopy(qwen.model)
    optimizer = torch.optim.AdamW(learning.parameters(), lr=0.05, fused=fused)

    def scores(model):
        with torch.no_grad():
            return read(model, segments, ask).scores(1)

    for _ in range(2):
        before = scores(learning)
        for weight in learning.parameters():
            weight.grad = torch.randn(weight.shape, generator=torch.Generator().manual_seed(0))
        optimizer.step()
        assert not torch.allclose(scores(learning), before, atol=1e-2)
        torch.testing.assert_close(scores(learning), scores(copy.deepcopy(learning)))


def test_the_signal_is_a_scaled_softmax_over_documents_tokens_alone(models):
    """Signal: scaled (and capped) logits, softmax over document tokens only, mean over heads and both tokens."""
    draw = torch.Generator().manual_seed(0)
    query, key = torch.randn(4, 2, 8, generator=draw), torch.randn(2, 7, 8, generator=draw)
    for cap in (None, 0.7):
        expected = torch.zeros(7)
        for head in range(4):
            for row in range(2):
                logits = torch.tensor([float(query[head, row] @ key[head // 2, token]) * 0.3 for token in range(7)])
                logits = logits if cap is None else cap * torch.tanh(logits / cap)
                expected += logits.softmax(0) / 8
        torch.testing.assert_close(blockrank_forward.signal(query, key, scale=0.3, softcap=cap), expected)
    told = attention_rows(
        query[None], key[None], torch.tensor([[0, 1]]), torch.ones(1, 1, 2, 7, dtype=torch.bool), scale=0.3
    )
    torch.testing.assert_close(blockrank_forward.signal(query, key, scale=0.3), told[0].mean((0, 1)))


def test_gradients_of_the_signal_reach_every_layer_up_to_its_own(tmp_path):
    """Gradients of the auxiliary loss reach all layers up to l*, and none above."""
    model = tiny("qwen", tmp_path)
    segments = Prompter(model, LAYOUT).segments(QUERY, TEXTS)
    read(model.model, segments, Ask(layers=(1,))).scores(1)[2].log().backward()
    for number, layer in enumerate(model.model.model.layers):
        for name, weight in layer.named_parameters():
            wanted = number == 0 or (number == 1 and any(part in name for part in ("q_proj", "k_proj", "input_")))
            assert (weight.grad is not None and bool(weight.grad.abs().sum() > 0)) is wanted, (number, name)


def test_gradients_are_those_of_masked_full_attention(tmp_path):
    model = tiny("qwen", tmp_path)
    segments = Prompter(model, LAYOUT).segments(QUERY, TEXTS)
    weight = model.model.model.layers[0].self_attn.k_proj.weight
    logits = read(model.model, segments, Ask(rows="query")).logits
    (ours,) = torch.autograd.grad(logits.logsumexp(-1).sum(), weight)
    lengths = segments.lengths
    ids = torch.tensor([[*segments.instruction, *(t for one in segments.documents for t in one.ids), *segments.query]])
    mask = torch.zeros(sum(lengths), sum(lengths)).masked_fill(~visible(lengths), -1e30)[None, None]
    told = model.model(input_ids=ids, position_ids=positions(lengths, OFFSET)[None], attention_mask=mask).logits
    (theirs,) = torch.autograd.grad(told[0, -len(logits) :].logsumexp(-1).sum(), weight)
    torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-4)


def test_any_decoder_that_attach_takes(qwen, tmp_path):
    """Any Hugging Face decoder: GPT-2, which has no lean layers and no rotary positions."""
    config = GPT2Config(
        vocab_size=len(qwen.tokenizer), n_embd=32, n_layer=3, n_head=4, n_positions=600, resid_pdrop=0, attn_pdrop=0
    )
    torch.manual_seed(0)
    model = LanguageModel("gpt2", tmp_path, GPT2LMHeadModel(config).eval(), qwen.tokenizer, tmp_path)
    ranker = BlockRank(model, layout=Layout(query_offset=400))
    assert ranker.depth == 2
    ranked = ranker.rank(QUERY, hits_of(TEXTS))
    assert sum(hit.score for hit in ranked) == pytest.approx(1, abs=1e-5)
    assert sorted(hit.passage.text for hit in ranker.decode(QUERY, hits_of(TEXTS))) == sorted(TEXTS)


def test_logits_are_the_models_own_whatever_stands_behind_its_layers(qwen, tmp_path):
    """Cohere scales what its head gives, others turn the states before it."""
    model = of("cohere", vocab_size=len(qwen.tokenizer), max_position_embeddings=2048, logit_scale=0.25)
    segments = Prompter(replace(qwen, model=model), LAYOUT).segments(QUERY, TEXTS)
    logits, _ = by_definition(model, segments, (1,))
    with torch.inference_mode():
        found = read(model, segments, Ask(rows="query"))
    torch.testing.assert_close(found.logits, logits, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("family", ["qwen3_next", "roberta"])
def test_documents_are_not_read_where_they_would_reach_each_other(qwen, family):
    """By layers that read on from one to the next, or by positions that are another's."""
    model = of(family, vocab_size=len(qwen.tokenizer), max_position_embeddings=2050)
    segments = Prompter(replace(qwen, model=model), LAYOUT).segments(QUERY, TEXTS)
    with pytest.raises(InputError, match="BlockRank reads texts side by side"), torch.inference_mode():
        read(model, segments, Ask(layers=(1,)))


def test_a_layer_that_never_looked_has_no_scores():
    with pytest.raises(InputError, match="Layer 3 of this model looks at no document"):
        Found([0], [4], {2: torch.ones(4)}).scores(3)


# -- the ranker --------------------------------------------------------------------------------------------------------


def test_rank_gives_all_hits_best_first_and_scores_that_sum_to_one(qwen):
    ranker = BlockRank(qwen, layout=LAYOUT)
    hits = hits_of(TEXTS)
    ranked = ranker.rank(QUERY, hits)
    scores = [hit.score for hit in ranked]
    assert scores == sorted(scores, reverse=True)
    assert sum(scores) == pytest.approx(1, abs=1e-5)
    assert {hit.passage.span for hit in ranked} == {hit.passage.span for hit in hits}
    assert {hit.source for hit in ranked} == {"blockrank"}
    assert hits == hits_of(TEXTS)  # the caller's are as they were
    another = dict(zip(TEXTS, ranker.scores("Who is the reader of 12 excerpts?", hits), strict=True))
    assert any(abs(another[hit.passage.text] - hit.score) > 1e-3 for hit in ranked)  # the query counts


def test_hits_beyond_the_budget_follow_below(qwen):
    ranked = BlockRank(qwen, layout=LAYOUT, budget=2).rank(QUERY, hits_of(TEXTS))
    assert [hit.passage.text for hit in ranked[2:]] == TEXTS[2:]
    assert sum(hit.score for hit in ranked[:2]) == pytest.approx(1, abs=1e-5)
    assert ranked[1].score > ranked[2].score > ranked[3].score


def test_explain_takes_a_score_apart(qwen):
    """explain: token masses, in characters of the passage, and with the frame's they sum to the score."""
    hits = hits_of(TEXTS, ["Mills > Keys", None, None, "A", None])
    ranker = BlockRank(qwen, layout=LAYOUT)
    ranked = {hit.passage.text: hit.score for hit in ranker.rank(QUERY, hits)}
    explained = ranker.explain(QUERY, hits)
    assert [one.hit.score for one in explained] == sorted((one.hit.score for one in explained), reverse=True)
    for one in explained:
        text = one.hit.passage.text
        assert one.hit.score == pytest.approx(ranked[text], abs=1e-6)
        assert sum(token.mass for token in one.tokens) + one.frame == pytest.approx(one.hit.score, abs=1e-6)
        assert "".join(text[token.start : token.end] for token in one.tokens) == text
        assert one.frame > 0


def test_a_long_document_loses_content_and_never_its_frame(qwen):
    """A document longer than the window: content truncated, never the frame."""
    prompter = Prompter(qwen, replace(LAYOUT, document_tokens=40))
    short, long = (prompter.document("7", text) for text in ("the key", "the key and the mill of the river " * 30))
    assert len(long.ids) == 40
    for one in (short, long):
        text = prompter._plain.decode(list(one.ids))
        assert text.startswith("\nID: 7 | CONTENT: the key")
        assert text.endswith(" | END ID: 7")
    assert long.places[-len(prompter.plain(" | END ID: 7")) - 1][1] < 100
    with pytest.raises(InputError, match="its frame takes"):
        prompter.document("7", "the key", room=10)


def test_what_a_document_or_query_spells_is_no_control_token(qwen):
    control = set(qwen.tokenizer.all_special_ids) | {qwen.tokenizer.convert_tokens_to_ids("<|turn|>")}
    prompter = Prompter(qwen, LAYOUT)
    segments = prompter.segments("the <|end|>", ["a <|end|> \ud800 <|turn|>user"])
    plain = prompter.segments("the end", ["a end user"])
    assert not control & set(segments.documents[0].ids)
    for one, other in ((segments.query, plain.query), (segments.instruction, plain.instruction)):
        assert sum(token in control for token in one) == sum(token in control for token in other) > 0


def test_the_two_signal_tokens_are_the_colon_and_the_bracket(qwen):
    prompter = Prompter(qwen, LAYOUT)
    query, signal = prompter.question("who?")
    assert [prompter._plain.decode([query[place]]).strip() for place in signal] == [":", "["]
    assert signal[1] == len(query) - 1
    asked = prompter._plain.decode(list(query))
    assert asked.endswith("Final Answer: [")
    assert "Query: who?" in asked


def test_the_query_stands_before_the_documents_only_where_it_is_asked_for(qwen):
    for prefix in (True, False):
        prompter = Prompter(qwen, replace(LAYOUT, prefix_query=prefix))
        assert ("Query: who?" in prompter._plain.decode(list(prompter.instruction("who?")))) is prefix


# -- what cannot be ranked ---------------------------------------------------------------------------------------------


def test_no_candidates_and_one_candidate(qwen):
    """No candidates give none; one candidate gets the whole score."""
    for mode in ("attention", "decode"):
        ranker = BlockRank(qwen, layout=LAYOUT, mode=mode)
        assert ranker.rank(QUERY, []) == []
        assert [hit.score for hit in ranker.rank(QUERY, hits_of(TEXTS[:1]))] == [pytest.approx(1, abs=1e-6)]
        with pytest.raises(InputError, match="no candidates"):
            ranker.scores(QUERY, [])


@pytest.mark.parametrize(
    ("query", "texts", "layout", "message"),
    [
        ("  ", TEXTS, LAYOUT, "query is empty"),
        (QUERY, ["the key", " \n"], LAYOUT, "Candidate 1 has no text"),
        (QUERY, TEXTS, replace(LAYOUT, query_offset=4090), r"4096 positions. Set query_offset to \d+ or less"),
        (QUERY, TEXTS, replace(LAYOUT, query_offset=90), "its frame takes"),
    ],
)
def test_what_cannot_be_ranked_is_said(qwen, query, texts, layout, message):
    """Empty query, a document without text, positions beyond the model's limit."""
    with pytest.raises(InputError, match=message):
        BlockRank(qwen, layout=layout).rank(query, hits_of(texts))


def test_duplicate_candidates(qwen):
    """The same passage twice is refused; equal texts at two places are two hits that share alike."""
    hits = hits_of(TEXTS)
    with pytest.raises(InputError, match="Candidates 1 and 5 are the same passage"):
        BlockRank(qwen, layout=LAYOUT).rank(QUERY, [*hits, hits[1]])
    twice = BlockRank(qwen, layout=replace(LAYOUT, numbers="text")).scores(QUERY, hits_of([*TEXTS, TEXTS[0]]))
    assert twice[0] == pytest.approx(twice[-1], rel=1e-4)


def test_settings_that_cannot_be():
    for options, message in (
        ({"numbers": "dates"}, "order or text"),
        ({"document_tokens": 0}, "at least 1"),
        ({"query_offset": 0}, "at least 1"),
    ):
        with pytest.raises(InputError, match=message):
            Layout(**options)


def test_a_ranker_that_cannot_be(qwen):
    for options, message in (
        ({"mode": "guess"}, "attention, decode"),
        ({"budget": 0}, "at least 1"),
        ({"layer": 3}, "layers 0 to 2"),
        ({"layer": "deep"}, "'auto'"),
        ({"cache": BlockCache()}, "layout=KEPT"),
        ({"cache": BlockCache(), "layout": KEPT, "mode": "decode"}, "layout=KEPT"),
    ):
        with pytest.raises(InputError, match=message):
            BlockRank(qwen, **options)
    with pytest.raises(InputError, match="no cache"):
        BlockRank(qwen).keep(hits_of(TEXTS))


@pytest.mark.parametrize("mode", ["attention", "decode"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_call_can_be_cancelled(models, kind, mode):
    """Through lean layers, and of gemma2 through transformers."""
    cancel = Cancel()
    cancel.set()
    ranker = BlockRank(models[kind], layout=LAYOUT, mode=mode)
    for call in (ranker.rank, ranker.scores):
        with pytest.raises(Cancelled):
            call(QUERY, hits_of(TEXTS), cancel=cancel)


def test_gemma_takes_its_signal_from_a_full_layer(models):
    """Gemma 3: l* must be a full-attention layer, else InputError; "auto" finds one."""
    gemma = models["gemma"]
    assert full_layers(gemma.model.config) == [1, 3]
    assert BlockRank(gemma).depth == 3 == default_layer(gemma.model.config)
    with pytest.raises(InputError, match=r"sees only a sliding window, .*1, 3"):
        BlockRank(gemma, layer=2)
    config = replace_config(gemma.model.config, layer_types=["sliding_attention"] * 4)
    with pytest.raises(InputError, match="Every layer of this model sees only a sliding window, "):
        default_layer(config)


@pytest.mark.parametrize(
    ("kinds", "seen"),
    [
        (["chunked_attention"] * 4, "its own chunk of the text"),
        (["linear_attention", "sliding_attention"] * 2, "what linear attention sums up or a sliding window"),
        (["conv", "conv", "new_attention", "conv"], "what a convolution reaches or what 'new_attention' lets it see"),
    ],
)
def test_the_error_says_what_layers_see_that_see_no_document(kinds, seen):
    config = GPT2Config(n_layer=4)
    config.layer_types = kinds
    with pytest.raises(InputError, match=f"Every layer of this model sees only {seen}, "):
        default_layer(config)


def replace_config(config, **changes):
    return type(config)(**{**config.to_dict(), **changes})


def test_in_a_sliding_layer_a_document_sees_what_it_would_alone(models):
    """Gemma 3: in sliding layers the window is one of positions, so that a document's place in the list is nothing."""
    gemma = models["gemma"]
    prompter = Prompter(gemma, LAYOUT)
    together = prompter.segments(QUERY, TEXTS)
    for place, document in enumerate(together.documents):
        alone = replace(together, documents=(document,))
        one = found_by("lean", gemma, alone, Ask(keep=3)).blocks()[1]
        for ours, theirs in zip(found_by("lean", gemma, together, Ask(keep=3)).blocks()[1 + place], one, strict=True):
            torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)


# -- documents that are kept -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("where", ["memory", "folder"])
@pytest.mark.parametrize("kind", KINDS)
def test_kept_documents_give_what_documents_read_now_do(models, kind, where, tmp_path):
    """Cached = not cached, for the same layout; a second query reads the question alone; the bytes are told."""
    layout = replace(KEPT, query_offset=OFFSET)
    cache = BlockCache(tmp_path / "kept" if where == "folder" else None)
    plain, kept = (BlockRank(models[kind], layout=layout, cache=one) for one in (None, cache))
    hits = hits_of(TEXTS)
    told = kept.keep(hits[:3])
    assert told == cache.bytes > 0
    for query in (QUERY, "who is the keeper?"):
        assert kept.scores(query, hits) == pytest.approx(plain.scores(query, hits), abs=1e-5)
    size = cache.bytes
    assert kept.keep(hits) == size > told
    segments = plain.prompter.segments(QUERY, TEXTS)
    depth, config = kept.depth, models[kind].model.config
    width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    numbers = sum(segments.lengths[:-1]) * (2 * depth + 1) * config.num_key_value_heads * width
    assert 4 * numbers == sum(segments.lengths[:-1]) * bytes_a_token(kept)
    assert size >= 4 * numbers if where == "folder" else size == 4 * numbers


def test_a_second_process_finds_what_was_kept_and_reads_no_document(qwen, tmp_path, monkeypatch):
    """Kept on disk with the model's fingerprint: found again, not taken for another model's, mended where damaged."""
    layout, hits = replace(KEPT, query_offset=OFFSET), hits_of(TEXTS)
    expected = BlockRank(qwen, layout=layout, cache=BlockCache(tmp_path)).scores(QUERY, hits)
    seen = []
    whole = blockrank_plan.Plan.__init__
    monkeypatch.setattr(blockrank_plan.Plan, "__init__", lambda self, *a: whole(self, *a) or seen.append(len(self.ids)))
    again = BlockRank(qwen, layout=layout, cache=BlockCache(tmp_path))
    assert again.scores(QUERY, hits) == pytest.approx(expected, abs=1e-6)
    assert seen == [len(again.prompter.question(QUERY)[0])]
    damaged = sorted(tmp_path.glob("*/*.safetensors"), key=lambda path: path.stat().st_size)[0]
    damaged.write_bytes(b"not a tensor")
    assert again.scores(QUERY, hits) == pytest.approx(expected, abs=1e-6)
    assert damaged.stat().st_size > 100
    other = tiny("qwen", tmp_path / "other", seed=1)
    fresh = BlockRank(other, layout=layout).scores(QUERY, hits)
    assert fresh != pytest.approx(expected, abs=1e-3)
    assert BlockRank(other, layout=layout, cache=BlockCache(tmp_path)).scores(QUERY, hits) == pytest.approx(
        fresh, abs=1e-5
    )


def test_a_cache_in_memory_keeps_the_last_used(qwen):
    layout = replace(KEPT, query_offset=OFFSET)
    cache = BlockCache(most_bytes=60_000)
    ranker = BlockRank(qwen, layout=layout, cache=cache)
    plain = BlockRank(qwen, layout=layout)
    for n in range(4):
        hits = hits_of([f"{n} {text}" for text in TEXTS])
        assert ranker.scores(QUERY, hits) == pytest.approx(plain.scores(QUERY, hits), abs=1e-5)
        assert cache.bytes <= 60_000
    with pytest.raises(InputError, match="keeps nothing"):
        BlockCache(most_bytes=0)


def test_a_cache_in_a_folder_keeps_the_last_used(qwen, tmp_path):
    """Files beyond the limit go, those that were not used for longest; what is gone is read again."""
    layout = replace(KEPT, query_offset=OFFSET)
    cache = BlockCache(tmp_path, most_bytes=MOST)
    ranker, plain = BlockRank(qwen, layout=layout, cache=cache), BlockRank(qwen, layout=layout)
    first = hits_of(TEXTS)
    expected = plain.scores(QUERY, first)
    ranker.keep(first)
    used = {path: path.stat().st_mtime_ns for path in tmp_path.glob("*/*")}
    for n in range(6):
        ranker.scores(QUERY, hits_of([f"{n} {text}" for text in TEXTS]))
        assert all(path.is_file() for path in used)  # used each time, so they stay
        assert ranker.scores(QUERY, first) == pytest.approx(expected, abs=1e-5)
        now = {path: path.stat().st_mtime_ns for path in used}
        assert all(now[path] > used[path] for path in used)
        used = now
        assert cache.bytes <= 1.2 * MOST
    assert len(used) < len(list(tmp_path.glob("*/*"))) < 7 * len(TEXTS)


def test_a_folder_that_others_write_to_is_measured_and_cut(qwen, tmp_path):
    """What another is writing does not count and is left alone, unless it is old; a file may be gone when looked at."""
    cache = BlockCache(tmp_path, most_bytes=10**9)
    ranker = BlockRank(qwen, layout=replace(KEPT, query_offset=OFFSET), cache=cache)
    size = ranker.keep(hits_of(TEXTS))
    folder = next(tmp_path.iterdir())
    (folder / ".partial-new.safetensors").write_bytes(b"0" * 1000)
    (folder / ".partial-old.safetensors").write_bytes(b"0" * 1000)
    os.utime(folder / ".partial-old.safetensors", (1, 1))
    (folder / "gone.safetensors").symlink_to(folder / "nowhere")  # as a file that goes between listing and looking
    assert cache.bytes == size
    again = replace(ranker, cache=BlockCache(tmp_path, most_bytes=10**9))
    assert again.keep(hits_of([f"new {text}" for text in TEXTS])) > size
    assert {path.name for path in folder.glob(".partial-*")} == {".partial-new.safetensors"}


@pytest.mark.parametrize("fault", ["no folder", "full"])
def test_a_search_goes_on_where_nothing_can_be_kept(qwen, tmp_path, fault, monkeypatch, caplog):
    """Told once: keeping saves time, and no more."""
    layout, hits = replace(KEPT, query_offset=OFFSET), hits_of(TEXTS)
    if fault == "no folder":
        (tmp_path / "kept").write_text("a file")
    else:

        def full(*_, **__):
            raise SafetensorError("I/O error: No space left on device (os error 28)")

        monkeypatch.setattr("safetensors.torch.save_file", full)
    cache = BlockCache(tmp_path / "kept")
    ranker = BlockRank(qwen, layout=layout, cache=cache)
    expected = BlockRank(qwen, layout=layout).scores(QUERY, hits)
    with caplog.at_level("WARNING", "foveal.ranking"):
        for _ in range(2):
            assert ranker.scores(QUERY, hits) == pytest.approx(expected, abs=1e-5)
    assert caplog.text.count("cannot be written to") == 1
    assert cache.bytes == 0
    assert not list(tmp_path.rglob(".partial-*"))


# -- decoding ----------------------------------------------------------------------------------------------------------


def test_an_ids_likelihood_is_that_of_decoding_it_token_by_token(qwen):
    """Decoding under constraints gives only IDs that there are, and exactly their likelihoods."""
    texts = [f"{TEXTS[n % 5]} {n}" for n in range(12)]
    ranker = BlockRank(qwen, layout=LAYOUT, mode="decode")
    segments = ranker.prompter.segments(QUERY, texts)
    names = {str(n): n for n in range(12)}
    ids = {name: tuple(ranker.prompter.plain(name)) for name in names}
    ends = {ranker.prompter.plain("]")[0], ranker.prompter.plain("1, 1")[1]}  # the list ends, or names another one
    assert set(ranker.prompter.ends) == ends
    assert len(ends) == 2

    def walked(before, chance):
        """Every way on from here, by a pass of its own for each token."""
        further = {one[len(before)] for one in ids.values() if one[: len(before)] == before and one != before}
        allowed = sorted(further | (ends if before in ids.values() else set()))
        logits, _ = by_definition(qwen.model, replace(segments, query=(*segments.query, *before)), [0])
        for token, share in zip(allowed, logits[-1, allowed].softmax(0).tolist(), strict=True):
            if token in ends:
                expected[before] = expected.get(before, 0.0) + chance * share
            else:
                walked((*before, token), chance * share)

    expected = {}
    walked((), 1.0)
    found = ranker.scores(QUERY, hits_of(texts))
    assert sum(found) == pytest.approx(1, abs=1e-5)
    for name, place in names.items():
        assert found[place] == pytest.approx(expected[ids[name]], rel=1e-3, abs=1e-6)
    ranked = ranker.rank(QUERY, hits_of(texts))
    assert sorted(hit.passage.text for hit in ranked) == sorted(texts)
    assert ranked[0].source == "blockrank-decode"


# -- which layer -------------------------------------------------------------------------------------------------------


def lists(count=4):
    documents = tuple(ListedDocument(str(n), text) for n, text in enumerate(TEXTS))
    return [RankingList(f"{QUERY} {n}", documents, frozenset({str(n % 5)})) for n in range(count)]


def test_the_best_layer_is_that_of_the_best_precision(qwen):
    """layer="auto": by attention P@1 on held-out lists, each layer as it ranks by itself."""
    best, reached = best_layer(qwen, lists(), LAYOUT)
    for layer in range(3):
        ranks = []
        for one in lists():
            scores = BlockRank(qwen, layer=layer, layout=LAYOUT).scores(one.query, hits_of(TEXTS))
            ranks.append(1 + sum(score > scores[one.positives()[0]] for score in scores))
        assert reached[layer]["precision@1"] == pytest.approx(sum(rank == 1 for rank in ranks) / 4)
        assert reached[layer]["mrr"] == pytest.approx(sum(1 / rank for rank in ranks) / 4)
    assert reached[best]["precision@1"] == max(one["precision@1"] for one in reached.values())
    with pytest.raises(InputError, match="none came"):
        best_layer(qwen, [], LAYOUT)


def test_the_default_layer_lies_at_five_eighths():
    def config(layers):
        return GPT2Config(n_layer=layers)

    assert [default_layer(config(layers)) for layers in (24, 32, 3, 1)] == [15, 20, 2, 0]


# -- what it is measured against ---------------------------------------------------------------------------------------


def test_listwise_with_full_attention_is_the_models_own_forward(qwen):
    """Baseline: the same prompt under ordinary attention, by the signal and by the IDs' likelihoods."""
    segments = Prompter(qwen, LAYOUT).segments(QUERY, TEXTS, full=True)
    ids = torch.tensor([[*segments.instruction, *(t for one in segments.documents for t in one.ids), *segments.query]])
    first = sum(segments.lengths[:-1])
    recorder = Recorder(torch.tensor([[first + place for place in segments.signal]]), {2: None})
    with torch.inference_mode(), attach(qwen.model, recorder=recorder):
        logits = qwen.model(input_ids=ids).logits[0, -1]
    paid = recorder.attention[2][0, :, :, segments.lengths[0] : first]
    share = (paid / paid.sum(-1, keepdim=True)).mean((0, 1)).split(segments.lengths[1:-1])
    ranker = ListwiseRanker(qwen, mode="attention", layer=2)
    assert ranker.scores(QUERY, hits_of(TEXTS)) == pytest.approx([float(part.sum()) for part in share], abs=1e-5)
    numbers = [Prompter(qwen, LAYOUT).plain(str(n))[0] for n in range(5)]
    decoded = ListwiseRanker(qwen).scores(QUERY, hits_of(TEXTS))
    assert decoded == pytest.approx(logits[numbers].softmax(0).tolist(), abs=1e-5)
    assert ListwiseRanker(qwen).rank(QUERY, []) == []
    with pytest.raises(InputError, match="one after another"):
        ListwiseRanker(qwen).rank(QUERY, hits_of([f"{n} {TEXTS[2]}" for n in range(100)]))


def test_listwise_lets_a_model_count_its_own_positions(qwen):
    """RoBERTa's begin behind its padding's."""
    model = of("roberta", vocab_size=len(qwen.tokenizer), max_position_embeddings=2050, attn_implementation="eager")
    segments = Prompter(replace(qwen, model=model), LAYOUT).segments(QUERY, TEXTS, full=True)
    ids = torch.tensor([[*segments.instruction, *(t for one in segments.documents for t in one.ids), *segments.query]])
    first = sum(segments.lengths[:-1])
    with torch.inference_mode():
        found = model(ids, output_attentions=True)
    paid = found.attentions[1][0][:, [first + place for place in segments.signal], segments.lengths[0] : first]
    share = (paid / paid.sum(-1, keepdim=True)).mean((0, 1)).split(segments.lengths[1:-1])
    language = replace(qwen, model=model)
    ranker = ListwiseRanker(language, mode="attention", layer=1)
    assert ranker.scores(QUERY, hits_of(TEXTS)) == pytest.approx([float(part.sum()) for part in share], abs=1e-5)
    numbers = [Prompter(qwen, LAYOUT).plain(str(n))[0] for n in range(len(TEXTS))]
    decoded = found.logits[0, -1, numbers].softmax(0)
    assert ListwiseRanker(language).scores(QUERY, hits_of(TEXTS)) == pytest.approx(decoded.tolist(), abs=1e-5)


def test_pointwise_is_each_passage_read_alone(qwen):
    """Baseline: P(Yes) against No, the query read once for all."""
    ranker = PointwiseRanker(qwen)
    expected = []
    for text in TEXTS:
        segments = ranker._segments(QUERY, [text])
        ids = torch.tensor([[*segments.instruction, *segments.documents[0].ids]])
        with torch.inference_mode():
            logits = qwen.model(input_ids=ids).logits[0, -1]
        assert qwen.tokenizer.decode(ids[0]).endswith("Answer: ")  # this tokenizer parts the blank from either answer
        yes, no = (ranker.prompter.plain(word)[0] for word in ("Yes", "No"))
        expected.append(float(torch.sigmoid(logits[yes] - logits[no])))
    assert len({round(score, 4) for score in expected}) == len(TEXTS)
    assert ranker.scores(QUERY, hits_of(TEXTS)) == pytest.approx(expected, abs=1e-5)
    assert [hit.source for hit in ranker.rank(QUERY, hits_of(TEXTS))] == ["pointwise"] * 5
    assert ranker.rank(QUERY, []) == []
    with pytest.raises(InputError, match="no candidates"):
        ranker.scores(QUERY, [])
    with pytest.raises(InputError, match="empty"):
        ranker.rank(" ", hits_of(TEXTS))


class Longest:
    """Orders hits by the length of their texts, and counts what it is given."""

    def __init__(self):
        self.given = []

    def rank(self, query, hits):  # noqa: ARG002
        self.given.append(len(hits))
        return sorted(hits, key=lambda hit: -len(hit.passage.text))


@settings(max_examples=30)
@given(st.lists(st.integers(1, 40), max_size=30, unique=True), st.integers(2, 8), st.integers(1, 8))
def test_a_sliding_window_carries_the_best_to_the_front(sizes, window, stride):
    """Baseline: windows from the last candidate to the first, each ordered at once."""
    if stride > window:
        with pytest.raises(InputError, match="stride"):
            SlidingWindow(Longest(), window, stride)
        return
    inner = Longest()
    ranked = SlidingWindow(inner, window, stride).rank("q", hits_of(["x" * size for size in sizes]))
    assert sorted(len(hit.passage.text) for hit in ranked) == sorted(sizes)
    best = sorted(sizes, reverse=True)
    carried = max(1, window - stride)  # so many travel from window to window
    if stride < window:
        assert [len(hit.passage.text) for hit in ranked][:carried] == best[:carried]
    assert all(size <= window for size in inner.given)
    assert sum(hit.score for hit in ranked) == pytest.approx(1 if sizes else 0)


def test_retrieval_heads_pay_what_the_recorder_says(qwen):
    """Baseline: chosen heads under the query, less under "N/A"."""
    ranker = RetrievalHeads(qwen)
    prompter, heads = ranker.prompter, range(4)
    told = []
    for query in (QUERY, "N/A"):
        segments = prompter.segments(query, TEXTS, full=True)
        text = [*segments.instruction, *(t for one in segments.documents for t in one.ids)]
        rows = torch.arange(len(text), len(text) + len(segments.query))[None]
        recorder = Recorder(rows, {2: list(heads)})
        with torch.inference_mode(), attach(qwen.model, recorder=recorder) as attached:
            attached.base(input_ids=torch.tensor([[*text, *segments.query]]))
        paid = recorder.attention[2][0].mean((0, 1))[segments.lengths[0] : len(text)]
        told.append(torch.stack([part.sum() for part in paid.split(segments.lengths[1:-1])]))
    found = ranker.scores(QUERY, hits_of(TEXTS))
    assert found == pytest.approx((told[0] - told[1]).tolist(), abs=1e-5)
    assert len(ranker.rank(QUERY, hits_of(TEXTS))) == 5


# -- a real model ------------------------------------------------------------------------------------------------------


PASSAGES = [
    "The lighthouse at Point Arlen was built of granite in 1871 and is now a museum.",
    "Sourdough bread rises slowly because wild yeast works at its own pace.",
    "The fovea is a small pit of the retina in which sight is sharpest.",
    "Tax on imported timber was lowered by the council in the spring.",
    "A violin has four strings that are tuned in fifths.",
    "The river Tamsel floods its meadows every second winter.",
]


ASKED = {
    "When was the lighthouse at Point Arlen built?": 0,
    "In which part of the eye is sight the sharpest?": 2,
    "Which river floods its meadows?": 5,
}


@pytest.mark.model
@pytest.mark.slow
def test_a_real_model_finds_passages_before_any_training():
    """Qwen2.5-Coder-0.5B, untrained, layer 14: the signal's tokens are single, both ways agree, passages are found."""
    model = load_language_model()
    ranker = BlockRank(model, layer=14)
    query, signal = ranker.prompter.question("who?")
    assert [model.tokenizer.decode([query[place]]) for place in signal] == [":", " ["]
    assert [len(ranker.prompter.plain(piece)) for piece in (" [", "]", "7")] == [1, 1, 1]
    ranks = []
    for asked, right in ASKED.items():
        scores = ranker.scores(asked, hits_of(PASSAGES))
        ranks.append(1 + sum(score > scores[right] for score in scores))
    assert sum(1 / rank for rank in ranks) / 3 > 0.6  # by chance 0.41
    segments = ranker.prompter.segments(asked, PASSAGES)
    with torch.enable_grad():
        found = read(model.model, segments, Ask(layers=(14,))).scores(14).tolist()
    assert scores == pytest.approx(found, abs=0.01)  # bfloat16
