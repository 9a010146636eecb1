"""bench nn-routing, the models held against each other: they differ in where their heads look, in nothing else."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from foveal.nn.clusters import OnlineMeans
from foveal.nn.language_training import LanguageSize, config_of, made


class RandomBuckets(OnlineMeans):
    """Clusters by place, drawn once: what tells routing by content from any sparse pattern.

    Each head of each layer has its own. Were they the same in all, a text would have that many fewer ways to hand a
    token on, and the control would be weaker than a sparse pattern need be.
    """

    def __init__(self, *, layer: int, heads: int, clusters: int, width: int) -> None:
        super().__init__(heads=heads, clusters=clusters, width=width)
        self.layer = layer

    def nearest(self, x: Tensor) -> Tensor:
        """x (B, H, T, D) -> a drawn cluster for each place, the same for every row and in longer texts."""
        ids = []
        for head in range(self.heads):
            draw = torch.Generator().manual_seed(1000 * (self.layer + 1) + head)
            ids.append(torch.randint(self.clusters, (x.shape[2],), generator=draw))
        return torch.stack(ids).to(x.device).expand(len(x), -1, -1)


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
    if name == "random":
        mixer |= {"commitment": 0.0}  # to the centroid of a bucket of places queries would be drawn for nothing
    sized = LanguageSize(layers=size.layers, width=size.width, heads=size.heads, window=size.window, mixer=mixer)
    model = _made(config_of("routing", sized, vocabulary=vocabulary), seed, tied=tied)
    for layer, routed in enumerate(block.mixer.routed for block in model._stack):
        if routed is None:
            continue
        if name == "random":
            old, width = routed.means, routed.means.means.shape[-1]
            routed.means = RandomBuckets(layer=layer, heads=old.heads, clusters=old.clusters, width=width)
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
