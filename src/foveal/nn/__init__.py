"""Layers to build models from: of sequences, trained in parallel and run as a stream of constant state; of features.

    from foveal.nn import TitansConfig, TitansLM
    model = TitansLM(TitansConfig(vocab_size=256, mixer={"variant": "mag"}))

NeuralMemory, LMM, MAC, MAG, MAL   Titans: a memory that learns while it reads (neural_memory.py, titans.py)
Aaren, AarenBlock, AarenEncoder    attention as a recurrence (aaren.py, scan.py)
RoutingAttention, RoutingEncoder   attention within clusters of content (routing.py, routing_encoder.py, clusters.py)
LowRankAttention, LowRankPooler    LAMA: many cheap attention heads over a text, with their maps (lama.py)
TextClassifier                     the class of a text, and the words that were looked at (text_classifier.py)
TaskCodebook, GoalFilter           what a goal lets through of features (codebook.py, goal_filter.py)
StepAttention, SqueezeExcitation, …   gates on residual branches (stepnet.py, channel_attention.py, gating.py)
ResNet, VisionTransformer          small networks for images (resnet.py, vision_transformer.py)
TitansLM, AarenLM, RoutingTransformerLM   language models with transformers' saving and training (language_models.py)

Names load when they are used; importing this package loads nothing heavy.
"""

from __future__ import annotations

from typing import Any

from foveal.registry import LAYERS, lookup

__all__ = ["LAYERS"]


def __getattr__(name: str) -> Any:
    if name in LAYERS:
        return lookup(LAYERS, name, kind="layer")
    raise AttributeError(f"module 'foveal.nn' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *LAYERS})
