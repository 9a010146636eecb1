"""RetrievalHeads ranks by the heads that are named, else by one's own query scores, else by the profile."""

from __future__ import annotations

import torch
from tiny import HEADS, tiny

from foveal.attention.profiles import architecture_of, last_layer
from foveal.attention.retrieval_heads import HeadScores, by_layer
from foveal.ranking.listwise import QUERY_HEADS, RetrievalHeads


def test_the_best_heads_that_are_known_rank(tmp_path, monkeypatch):
    monkeypatch.setenv("FOVEAL_HOME", str(tmp_path / "home"))
    model = tiny("qwen", tmp_path / "model")
    assert RetrievalHeads(model).watched == last_layer(model).by_layer
    table = torch.rand(1, 3, HEADS, generator=torch.Generator().manual_seed(0))
    scores = HeadScores(table, "query", "tiny", model.fingerprint, architecture_of(model.model.config))
    scores.save_for(tmp_path / "home")
    assert RetrievalHeads(model).watched == by_layer(scores.top(QUERY_HEADS))
    assert RetrievalHeads(model, heads={1: [2]}).watched == {1: [2]}
    profile = last_layer(model)
    assert RetrievalHeads(model, profile=profile).watched == profile.by_layer
