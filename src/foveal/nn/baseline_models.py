"""The language models that ours are measured beside: the same embedding, blocks and head, another mixer.

    model = BaselineLM(BaselineConfig(kind="window", hidden_size=128, mixer={"heads": 4, "window": 64}))

kind    "window" sliding attention · "full" attention to all of the past · "gru" · "delta" the gated delta rule
"""

from __future__ import annotations

from typing import Any

from torch import nn

from foveal.errors import InputError
from foveal.nn.full_attention import FullAttention, FullSettings
from foveal.nn.gated_delta import GatedDelta, GatedDeltaSettings
from foveal.nn.language_models import StreamConfig, StreamLM, register
from foveal.nn.recurrent import Recurrent, RecurrentSettings
from foveal.nn.window_attention import WindowAttention, WindowSettings
from foveal.ranges import require_one_of

KINDS: dict[str, tuple[Any, Any]] = {
    "window": (WindowSettings, WindowAttention),
    "full": (FullSettings, FullAttention),
    "gru": (RecurrentSettings, Recurrent),
    "delta": (GatedDeltaSettings, GatedDelta),
}
"""Kind -> settings and layer."""


class BaselineConfig(StreamConfig):  # type: ignore[no-untyped-call]
    """Of BaselineLM: `mixer` holds the fields of the kind's settings that are not their defaults."""

    model_type = "foveal-baseline"
    kind: str = "window"

    def layer_settings(self, layer: int) -> Any:  # noqa: ARG002
        """The same for every layer. InputError: no such kind."""
        require_one_of("BaselineConfig", self, "kind", tuple(KINDS))
        settings = self._made(KINDS[self.kind][0])
        if not getattr(settings, "causal", True):
            raise InputError("BaselineConfig got causal = False; a language model must not see what is to come.")
        return settings


class BaselineLM(StreamLM):  # type: ignore[no-untyped-call]
    """A language model whose mixer is none of ours, by `kind`: input_ids (B, T) -> logits (B, T, vocabulary)."""

    config_class = BaselineConfig

    @staticmethod
    def mixer(config: BaselineConfig, layer: int) -> nn.Module:
        """The kind's layer."""
        made: nn.Module = KINDS[config.kind][1](config.layer_settings(layer))
        return made


register(BaselineConfig, BaselineLM)
