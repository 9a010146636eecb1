"""bench nn-routing, the models held against each other: they differ in where their heads look, in nothing else."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from foveal.nn.clusters import OnlineMeans
from foveal.nn.language_training import LanguageSize, config_of, made


class RandomBuckets(OnlineMeans):
    """Clusters by place, drawn once: what tells routing by content from any sparse pattern."""

    def nearest(self, x: Tensor) -> Tensor:
        """x (B, H, T, D) -> a drawn cluster for each place, the same for every row."""
        draw = torch.Generator().manual_seed(1)
        ids = torch.randint(self.clusters, (self.heads, x.shape[2]), generator=draw)
        return ids.expand(len(x), -1, -1)


def routed_model(name: str, size: LanguageSize, vocabulary: int, seed: int, *, tied: bool = True) -> Any:
    """routing, topk, random buckets, frozen clusters, local heads alone, or full attention."""
    if name == "full":
        plain = LanguageSize(layers=size.layers, width=size.width, heads=size.heads, window=size.window)
        return _made(config_of("full", plain, vocabulary=vocabulary), seed, tied=tied)
    mixer = {**size.mixer}
    if name == "local":
        mixer |= {"routing_heads": 0}
    if name == "topk":
        mixer |= {"selection": "topk"}
    sized = LanguageSize(layers=size.layers, width=size.width, heads=size.heads, window=size.window, mixer=mixer)
    model = _made(config_of("routing", sized, vocabulary=vocabulary), seed, tied=tied)
    for routed in (block.mixer.routed for block in model._stack if block.mixer.routed is not None):
        if name == "random":
            old = routed.means
            routed.means = RandomBuckets(heads=old.heads, clusters=old.clusters, width=old.means.shape[-1])
        routed.frozen = name in ("random", "frozen")
    return model


def _made(config: Any, seed: int, *, tied: bool) -> Any:
    """A model of this config; not tied, its head has weights of its own, and embeddings are drawn with a variance of 1.

    With one small matrix for both, models of recall soon told which values a text has, and on the way unlearnt which
    key stood at a question, since that key is never the answer: full attention stayed there, too.
    """
    config.tie_word_embeddings = tied
    model = made(config, seed)
    if not tied:
        with torch.no_grad():
            model.embed.weight.div_(model.embed.weight.std())
    return model
