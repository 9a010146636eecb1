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

from typing import TYPE_CHECKING

from foveal.registry import LAYERS, lookup

if TYPE_CHECKING:
    from foveal.nn.aaren import Aaren, AarenBlock, AarenEncoder, AarenSettings
    from foveal.nn.baseline_models import BaselineConfig, BaselineLM
    from foveal.nn.branch_gates import ConstantStep
    from foveal.nn.channel_attention import CBAM, DIA, ECA, SRM, SqueezeExcitation
    from foveal.nn.codebook import CodebookSettings, LinearBottleneck, TaskCodebook
    from foveal.nn.gated_delta import GatedDelta, GatedDeltaSettings
    from foveal.nn.goal_filter import GoalFilter, GoalFilterSettings
    from foveal.nn.lama import LamaSettings, LowRankAttention, LowRankPooler
    from foveal.nn.language_models import (
        AarenConfig,
        AarenLM,
        RoutingConfig,
        RoutingTransformerLM,
        TitansConfig,
        TitansLM,
    )
    from foveal.nn.neural_memory import MemorySettings, NeuralMemory
    from foveal.nn.passage_memory import PassageMemory, PassageSettings
    from foveal.nn.resnet import ResNet, ResNetSettings
    from foveal.nn.routing import RoutingAttention, RoutingSettings
    from foveal.nn.routing_encoder import RoutingEncoder
    from foveal.nn.stepnet import StepAttention, StepSettings
    from foveal.nn.text_classifier import TextClassifier, TextClassifierConfig
    from foveal.nn.titans import LMM, MAC, MAG, MAL, TitansSettings
    from foveal.nn.vision_transformer import VisionSettings, VisionTransformer

__all__ = [
    "LAYERS",
    "NeuralMemory",
    "MemorySettings",
    "TitansSettings",
    "LMM",
    "MAC",
    "MAG",
    "MAL",
    "Aaren",
    "AarenBlock",
    "AarenEncoder",
    "AarenSettings",
    "RoutingAttention",
    "RoutingSettings",
    "RoutingEncoder",
    "LowRankAttention",
    "LowRankPooler",
    "LamaSettings",
    "TextClassifier",
    "TextClassifierConfig",
    "PassageMemory",
    "PassageSettings",
    "GatedDelta",
    "GatedDeltaSettings",
    "StepAttention",
    "StepSettings",
    "SqueezeExcitation",
    "ECA",
    "CBAM",
    "SRM",
    "DIA",
    "ConstantStep",
    "ResNet",
    "ResNetSettings",
    "VisionTransformer",
    "VisionSettings",
    "CodebookSettings",
    "TaskCodebook",
    "LinearBottleneck",
    "GoalFilterSettings",
    "GoalFilter",
    "BaselineConfig",
    "BaselineLM",
    "TitansConfig",
    "TitansLM",
    "AarenConfig",
    "AarenLM",
    "RoutingConfig",
    "RoutingTransformerLM",
]

if not TYPE_CHECKING:  # a type checker that saw it would take any misspelt name for a layer

    def __getattr__(name: str) -> object:
        if name in LAYERS:
            return lookup(LAYERS, name, kind="layer")
        raise AttributeError(f"module 'foveal.nn' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
