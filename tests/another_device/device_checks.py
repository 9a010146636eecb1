"""What is computed there must be what is computed here. Run by test_another_device.py, in a process of its own."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from far import DEVICE, NAME, Far
from tiny import CACHE, KINDS, tiny
from torch import Tensor
from torch.nn.functional import normalize

from foveal import nn as layers
from foveal.attention import (
    ACT,
    DHSA,
    BlockTopK,
    DHSABlocks,
    FlexPrefill,
    HeadCache,
    LongHeads,
    RandomBlocks,
    Report,
    RetrievalAttention,
    SinkRule,
    Streaming,
    VerticalSlash,
    attach,
)
from foveal.attention.flash_decoding import last_queries
from foveal.attention.retrieval_heads import HeadScores
from foveal.nn.gating import attach as gate
from foveal.nn.next_tokens import drawn
from foveal.nn.text_filter import TextFilter, TextFilterSettings
from foveal.ranking.goal_ranker import GoalScorer
from foveal.reading.titans_training import Vectors, found_share
from foveal.research.planner_training import Likelihood, row
from foveal.research.query_writer import QueryWriter
from foveal.research.transcripts import Transcript, TranscriptSettings
from foveal.training.upper_layers import Parts

Computed = Callable[[str], list[Tensor]]
"""A device's name -> what is computed there, brought to the processor."""

METHODS = {
    "streaming": Streaming(sinks=128, recent=128),
    "vertical-slash": VerticalSlash(128, 128),
    "block-topk": BlockTopK(0.3),
    "random": RandomBlocks(0.3),
    "flexprefill": FlexPrefill(gamma=0.5, min_budget=64, dense_last=0),
    "dhsa": DHSA(budget=512, boundaries="fixed", sparse_decode=True, local=64),
    "dhsa-blocks": DHSABlocks(density=0.2),
}


@pytest.fixture(scope="module", params=KINDS)
def models(request, tmp_path_factory) -> dict[str, Any]:
    """One model on both devices."""
    here = tiny(request.param, tmp_path_factory.mktemp("models")).model
    with Far():
        return {"cpu": here, NAME: copy.deepcopy(here).to(NAME)}


@pytest.fixture(scope="module")
def ids() -> Tensor:
    return torch.randint(5, 60, (1, 700), generator=torch.Generator().manual_seed(0))


def same(computed: Computed, *, within: float = 1e-4) -> None:
    here = computed("cpu")
    with Far():
        there = computed(NAME)
    assert len(here) == len(there)
    for one, other in zip(here, there, strict=True):
        torch.testing.assert_close(other, one, atol=within, rtol=within)


def test_the_device_is_one():
    with Far():
        there = torch.ones(2, 3, device=NAME)
        assert there.device == DEVICE
        assert (there + 1).cpu().tolist() == [[2.0] * 3] * 2
        assert there.sum().item() == 6
        with pytest.raises(RuntimeError, match="two devices"):
            there + torch.ones(2, 3)
        with pytest.raises(RuntimeError, match="two devices"):
            there.masked_fill(torch.ones(2, 3, dtype=torch.bool), 0)
        with pytest.raises(TypeError, match="numpy"):
            there.numpy()
    assert torch.ones(1).device.type == "cpu"


@pytest.mark.parametrize("name", METHODS)
def test_methods(models, ids, name):
    def computed(device: str) -> list[Tensor]:
        report = Report(rows=8)
        with torch.no_grad(), attach(models[device], METHODS[name], report=report):
            told = models[device].generate(
                ids.to(device), max_new_tokens=3, do_sample=False, output_logits=True, return_dict_in_generate=True
            )
        assert report.looks
        return [*(one.cpu() for one in told.logits), torch.tensor([report.density, report.recall])]

    same(computed)


def memory_of(models, ids, method: Any) -> Computed:
    """The logits of a text, of several tokens behind it, and of one."""

    def computed(device: str) -> list[Tensor]:
        model, parts = models[device], (ids[:, :500], ids[:, 5:12], ids[:, 5:6])
        with torch.no_grad(), attach(model, method):
            cache = method.make_cache(model)
            return [model(part.to(device), **{CACHE: cache}).logits[:, -7:].cpu() for part in parts]

    return computed


@pytest.mark.parametrize("index", ["flat", "roar", "streaming", "snapkv", "full"])
def test_retrieval_attention(models, ids, index):
    same(memory_of(models, ids, RetrievalAttention(top_k=20, n_sink=16, n_local=64, index=index)))


@pytest.mark.parametrize("representation", ["attention", "mean_rope", "mean", "minmax", "random", "none"])
def test_longheads(models, ids, representation):
    if models["cpu"].config.model_type != "qwen2" and representation not in ("attention", "mean_rope"):
        return  # what differs with the kind of model is how positions turn, which these see
    method = LongHeads(attention_length=256, chunk_size=32, representation=representation)
    same(memory_of(models, ids, method))


@pytest.mark.parametrize("policy", ["razor", "duo", "headkv", "snapkv", "streaming"])
def test_head_cache(models, ids, policy):
    config = models["cpu"].config
    draw = torch.Generator().manual_seed(1)
    scores = HeadScores(torch.rand(1, config.num_hidden_layers, config.num_attention_heads, generator=draw))
    same(memory_of(models, ids, HeadCache(keep=0.7, policy=policy, scores=scores, sinks=4, recent=16)))


def test_act(models, ids):
    def computed(device: str) -> list[Tensor]:
        method = ACT({0: [0, 1], 1: [1]}, beta=0.4, rule=SinkRule(alpha=5))
        with torch.no_grad(), attach(models[device], method):
            told = models[device].generate(
                ids.to(device), max_new_tokens=3, do_sample=False, output_logits=True, return_dict_in_generate=True
            )
        return [one.cpu() for one in told.logits]

    same(computed)


def test_the_last_queries_of_a_long_text():
    draw = torch.Generator().manual_seed(0)
    query, key, value = (
        torch.randn(1, heads, count, 16, generator=draw) for heads, count in ((4, 9), (2, 5000), (2, 5000))
    )
    same(lambda device: [last_queries(*(one.to(device) for one in (query, key, value)), scale=0.25)[0].cpu()])


TITANS = [
    lambda: layers.LMM(layers.TitansSettings(dim=64, variant="lmm", window=32)),
    lambda: layers.MAC(layers.TitansSettings(dim=64, variant="mac", window=32)),
    lambda: layers.MAG(layers.TitansSettings(dim=64, variant="mag", window=32)),
    lambda: layers.MAL(layers.TitansSettings(dim=64, variant="mal", window=32)),
]
ROUTING = {"dim": 64, "heads": 4, "routing_heads": 2, "clusters": 8, "window": 32, "local_window": 32}
LAYERS = [
    *TITANS,
    lambda: layers.NeuralMemory(layers.MemorySettings(dim=64, heads=4, depth=2, chunk=16)),
    lambda: layers.Aaren(layers.AarenSettings(dim=64, heads=4)),
    lambda: layers.AarenEncoder(layers.AarenSettings(dim=64, decay=0.01, conv_kernel=4), layers=2),
    lambda: layers.GatedDelta(layers.GatedDeltaSettings(dim=64)),
    lambda: layers.RoutingAttention(layers.RoutingSettings(**ROUTING)),
]


@pytest.mark.parametrize("made", LAYERS, ids=lambda made: type(made()).__name__)
def test_layers(made):
    """A whole text with its gradient, then in two pieces, then a token."""

    def computed(device: str) -> list[Tensor]:
        torch.manual_seed(0)
        layer, x, token = made(), torch.randn(2, 100, 64), torch.randn(2, 64)
        layer, x = layer.to(device), x.to(device).requires_grad_()
        y, *_ = layer(x)
        y.pow(2).mean().backward()
        layer.eval()
        with torch.no_grad():
            first, state, *_ = layer(x[:, :37])
            rest, state, *_ = layer(x[:, 37:], state)
            last, *_ = layer.step(token.to(device), state)
        assert x.grad is not None
        return [one.detach().cpu() for one in (y, x.grad, first, rest, last)]

    same(computed)


@pytest.mark.parametrize("variant", ["lmm", "mac", "mag", "mal"])
def test_language_models(variant):
    def computed(device: str) -> list[Tensor]:
        torch.manual_seed(0)
        mixer = {"variant": variant, "window": 16}
        model = layers.TitansLM(
            layers.TitansConfig(vocab_size=256, hidden_size=64, num_hidden_layers=2, mixer=mixer)
        ).to(device)
        ids = torch.randint(256, (2, 60)).to(device)
        output = model(ids[:, :30], labels=ids[:, :30], keep_state=True)
        output.loss.backward()
        with torch.no_grad():
            behind = model(ids[:, 30:], labels=ids[:, 30:], state=output.state.detach())
            written = model.eval().generate(ids[:, :20], max_new_tokens=2)
        return [one.detach().cpu() for one in (output.loss, behind.loss, written)]

    same(computed)


def test_routing_over_a_whole_text():
    def computed(device: str) -> list[Tensor]:
        torch.manual_seed(0)
        encoder = layers.RoutingEncoder(layers.RoutingSettings(dim=64, causal=False, selection="topk"), layers=2)
        x = torch.randn(2, 300, 64).to(device)
        summary, loss = encoder.to(device).summary(x)
        (summary.sum() + loss).backward()
        return [summary.detach().cpu(), loss.detach().cpu(), encoder.read_together(x[:1]).readers.cpu()]

    same(computed)


def test_pooling_by_heads_of_rank_one():
    def computed(device: str) -> list[Tensor]:
        torch.manual_seed(0)
        pooler, states = layers.LowRankPooler(layers.LamaSettings(dim=100, heads=8)), torch.randn(2, 30, 100)
        mask = torch.arange(30) < torch.tensor([[30], [12]])
        vectors, attention = pooler.to(device)(states.to(device), mask.to(device))
        vectors.sum().backward()
        return [vectors.detach().cpu(), attention.detach().cpu()]

    same(computed)


def test_gates():
    def computed(device: str) -> list[Tensor]:
        torch.manual_seed(0)
        model, x = layers.ResNet(layers.ResNetSettings(depth=8)), torch.randn(4, 3, 32, 32)
        gate(model, "step")
        told = model.to(device)(x.to(device))
        told.sum().backward()
        return [told.detach().cpu()]

    same(computed)


class _States:
    """Token vectors of texts and vectors of goals, on the processor, as `TokenStates` gives them."""

    def texts(self, texts: list[str]) -> tuple[Tensor, Tensor]:
        draw = torch.Generator().manual_seed(len(texts))
        return torch.randn(len(texts), 6, 8, generator=draw), torch.ones(len(texts), 6, dtype=torch.bool)

    def goals(self, goals: list[str]) -> Tensor:
        return torch.randn(len(goals), 8, generator=torch.Generator().manual_seed(1 + len(goals)))


def test_a_goal_filter_measured_where_it_was_trained():
    def computed(device: str) -> list[Tensor]:
        torch.manual_seed(0)
        model = TextFilter(TextFilterSettings(channels=8, goal_width=8, tokens=6)).to(device)
        scorer = GoalScorer(model, _States())  # type: ignore[arg-type]
        scores = scorer([("mill", "a mill"), ("mill", "a comet"), ("sky", "a comet")])
        return [torch.tensor(scores), torch.from_numpy(scorer.features("mill", ["a mill", "a comet"]))]

    same(computed)


def test_a_readers_memory_measured_where_it_was_trained():
    def computed(device: str) -> list[Tensor]:
        torch.manual_seed(0)
        memory = layers.PassageMemory(layers.PassageSettings(vector=16, codes=64))
        passages = normalize(torch.randn(20, 16), dim=-1)
        some = Vectors(passages, passages, passages + 0.05 * torch.randn(20, 16), torch.arange(20))
        return [torch.tensor(found_share(memory.to(device), some, some, best=3))]

    same(computed)


def test_upper_layers_and_what_is_written_by_them(tmp_path: Path):
    """A planner as it is trained, and a query as it is written, by a model that lies elsewhere."""
    here = tiny("qwen", tmp_path / "model")

    def computed(device: str) -> list[Tensor]:
        model = copy.deepcopy(here.model).to(device)
        parts = Parts.of(model, 1, range(5, 90))
        parts.learn(rank=2, alpha=4)
        rows = [row(parts, list(range(10, 10 + count)), [3, 5, count - 1]) for count in (9, 12)]
        loss = Likelihood(parts).of(rows)
        writer = QueryWriter(replace(here, model=model), parts.model(), TranscriptSettings(), only=range(5, 90))
        written = writer.write([Transcript("Who owns the mill?")], must_search=True, temperature=0.7, seeds=[3])
        return [torch.tensor(loss), torch.tensor([len(written), *map(ord, written[0].query or "")])]

    same(computed)


def test_a_token_is_drawn_by_a_seed_of_the_processor():
    logits = torch.randn(4, 50, generator=torch.Generator().manual_seed(0))

    def computed(device: str) -> list[Tensor]:
        return [drawn(logits.to(device), 0.8, 10, torch.Generator().manual_seed(1)).cpu()]

    same(computed)


def test_weights_are_kept_from_there(tmp_path: Path):
    from safetensors.torch import load_file

    from foveal.training.checkpoints import save_weights

    layer = torch.nn.Linear(3, 2)
    with Far():
        save_weights(copy.deepcopy(layer).to(NAME), tmp_path / "there.safetensors")
    kept = load_file(tmp_path / "there.safetensors")
    assert torch.equal(kept["weight"], layer.weight)
