"""A model of transformers' that is saved and loaded quietly, and never loaded without a weight that it needs."""

from __future__ import annotations

from typing import Any

from torch import nn
from transformers import PreTrainedModel

from foveal.errors import ModelUnavailable
from foveal.models.quiet import quiet


class Kept(PreTrainedModel):  # type: ignore[no-untyped-call]
    """What the models of this package share: their layers draw their own weights, and files are whole."""

    supports_gradient_checkpointing = False

    def _init_weights(self, module: nn.Module) -> None:
        """Nothing: layers draw their own when they are made."""

    @classmethod
    def from_pretrained(cls, *names: Any, **options: Any) -> Any:
        """As transformers'. ModelUnavailable: weights are missing, damaged, or of another shape."""
        from safetensors import SafetensorError

        wanted = options.pop("output_loading_info", False)
        options.pop("use_safetensors", None)  # always
        try:
            with quiet():
                loaded: Any = super().from_pretrained(*names, use_safetensors=True, output_loading_info=True, **options)
        except (OSError, SafetensorError) as error:
            raise ModelUnavailable(
                f"{names[0]} could not be loaded as {cls.__name__} ({error}). Train it anew, or name another."
            ) from error
        model, told = loaded
        lost = sorted({*map(str, told["missing_keys"]), *map(str, told["mismatched_keys"])})
        if lost:
            raise ModelUnavailable(f"{names[0]} lacks weights of {cls.__name__}: {', '.join(lost[:3])}. Train it anew.")
        return (model, told) if wanted else model

    def save_pretrained(self, *names: Any, **options: Any) -> None:
        """As transformers', without its progress bars."""
        with quiet():
            super().save_pretrained(*names, **options)
