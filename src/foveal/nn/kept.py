"""A model of transformers' that is saved and loaded quietly, and never loaded without a weight that it needs."""

from __future__ import annotations

import logging
from typing import Any, Literal, Self, overload

from torch import nn
from transformers import PreTrainedModel

from foveal.errors import ModelUnavailable
from foveal.models.quiet import quiet

log = logging.getLogger("foveal.nn")


class Kept(PreTrainedModel):  # type: ignore[no-untyped-call]
    """What the models of this package share: their layers draw their own weights, and files are whole."""

    supports_gradient_checkpointing = False

    def _init_weights(self, module: nn.Module) -> None:
        """Nothing: layers draw their own when they are made."""

    @overload
    @classmethod
    def from_pretrained(cls, *names: Any, output_loading_info: Literal[True], **options: Any) -> tuple[Self, Any]: ...
    @overload
    @classmethod
    def from_pretrained(cls, *names: Any, output_loading_info: Literal[False] = False, **options: Any) -> Self: ...
    @classmethod
    def from_pretrained(cls, *names: Any, output_loading_info: bool = False, **options: Any) -> Any:
        """As transformers'. ModelUnavailable: weights are missing, damaged, or of another shape."""
        from safetensors import SafetensorError

        options.pop("use_safetensors", None)  # always
        options |= {"output_loading_info": True, "ignore_mismatched_sizes": True}  # told below
        try:
            with quiet():
                loaded: Any = super().from_pretrained(*names, use_safetensors=True, **options)
        except (OSError, SafetensorError) as error:
            raise ModelUnavailable(
                f"{names[0]} could not be loaded as {cls.__name__} ({error}). Train it anew, or name another."
            ) from error
        model, told = loaded
        if lost := sorted(map(str, told["missing_keys"])):
            raise ModelUnavailable(f"{names[0]} lacks weights of {cls.__name__}: {', '.join(lost[:3])}. Train it anew.")
        if apart := sorted(told["mismatched_keys"]):
            name, there, needed = apart[0]
            raise ModelUnavailable(
                f"{names[0]} has weights of another shape than its config says: {name} is {tuple(there)}, needed is "
                f"{tuple(needed)}. Load it with the config that it was saved with, or train it anew."
            )
        if left := sorted(map(str, told["unexpected_keys"])):
            log.warning("%s has weights that %s has no place for: %s.", names[0], cls.__name__, ", ".join(left[:3]))
        return (model, told) if output_loading_info else model

    def save_pretrained(self, *names: Any, **options: Any) -> None:
        """As transformers', without its progress bars."""
        with quiet():
            super().save_pretrained(*names, **options)
