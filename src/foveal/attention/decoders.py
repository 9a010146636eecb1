"""Which decoders of transformers can be attached to, and what they are made of.

A model is refused before it is switched where its configuration tells that nothing here computes its attention, and in
the midst of a pass where only that shows it: by what it hands to its attention function, or by layers that are one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from foveal.errors import InputError

if TYPE_CHECKING:
    from torch import nn

UNKNOWN = {
    **dict.fromkeys(("indices", "block_indices"), "a sparse attention of its own"),
    "position_bias": "a learned bias of positions",
}
"""What a model may hand to its attention function, and only its own one understands."""

WITHOUT_ATTENTION = {"linear_attention", "conv", "mlp", "moe"}
"""Kinds of layers that look at no keys, as those of Mamba and most of Nemotron-H."""


def require_model(asked: str, model: Any) -> None:
    """InputError: what came to the function `asked` is no model of transformers."""
    if not hasattr(model, "set_attn_implementation"):
        raise InputError(
            f"{asked} got {type(model).__name__}; it needs a transformers model (AutoModelForCausalLM.from_pretrained("
            "…), or what load_language_model(…) holds as .model)."
        )


def require_attention(model: Any) -> None:
    """InputError: the model's configuration tells that no method can do its attention, or that it has none."""
    if any(getattr(part, "compressor", None) is not None for part in model.modules() if hasattr(part, "layer_idx")):
        raise InputError(
            f"{type(model).__name__} puts compressed keys of its own behind a text's, which no method here computes. "
            "Choose another model."
        )
    kinds = getattr(model.config.get_text_config(), "layer_types", None)
    if kinds and WITHOUT_ATTENTION.issuperset(kinds):
        raise InputError(
            f"No layer of {type(model).__name__} attends to keys, so there is nothing that a method could choose. Take "
            "a model with attention (Llama, Qwen, Gemma, …)."
        )


def require_switched(model: Any) -> None:
    """InputError: its decoder still attends by itself."""
    from foveal.attention.implementations import KEY  # transformers is not loaded for what reads configurations alone

    if any(one._attn_implementation != KEY for one in (model.config, model.config.get_text_config())):
        raise not_switched(model)


def not_switched(model: Any) -> InputError:
    """The error that says so."""
    return InputError(
        f"The attention of {type(model).__name__} cannot be switched: its code does not go through transformers' "
        "AttentionInterface. Use a model that does (Llama, Qwen, Gemma, Mistral, …)."
    )


def require_sinks(model: Any, method: Any) -> None:
    """InputError: the model has learned attention sinks, and the method does not compute with them."""
    if not (method is None or getattr(method, "takes_sinks", False)):
        raise InputError(
            f"{type(model).__name__} has learned attention sinks, which {type(method).__name__} does not compute. "
            "Choose another model, or another method (docs/attention.md)."
        )


def require_known(module: nn.Module, options: Mapping[str, Any]) -> None:
    """InputError: the model asks for something in its softmax that nothing here computes, or for what it pays."""
    if options.get("output_attentions") or getattr(getattr(module, "config", None), "output_attentions", False):
        raise InputError(
            "output_attentions asks for matrices of all tokens by all tokens, which an attached model never makes. "
            "Leave it out; attach(model, recorder=Recorder(rows, heads)) gives the rows that are wanted."
        )
    for name, what in UNKNOWN.items():
        if options.get(name) is not None:
            raise InputError(
                f"{type(module).__name__} has {what}, which no method here computes. Choose another model."
            )


def layer_number(module: Any) -> int:
    """The number of an attention module's layer. InputError: it is that of several, and does not tell which attends."""
    number = module.layer_idx
    if number is None or number < 0:
        raise InputError(
            f"{type(module).__name__} is shared by several layers and does not tell for which of them it attends, so "
            "no method can keep them apart. Choose another model."
        )
    return int(number)


def told(config: Any, *names: str) -> int:
    """The first of these numbers that a model's configuration has, such as num_attention_heads.

    InputError: it has none of them, or one for each layer.
    """
    try:
        return int(next(found for name in names if (found := getattr(config, name, None)) is not None))
    except (StopIteration, TypeError, RuntimeError) as error:  # to ask for what differs by layer is a RuntimeError
        raise InputError(
            f"The configuration of a {config.model_type!r} does not tell {names[-1]} for all layers alike, which this "
            "needs. Choose another model."
        ) from error


def unwrapped(model: Any) -> Any:
    """The model that PEFT has wrapped, adapters and all; any other as it is. InputError: it is fed tokens of PEFT's."""
    if not hasattr(model, "get_base_model"):
        return model
    if getattr(getattr(model, "active_peft_config", None), "is_prompt_learning", False):
        raise InputError(
            f"{type(model).__name__} puts tokens of its own before each text, which a pass over the model within would "
            "leave out. Attach it, and call it itself."
        )
    return model.get_base_model()


def trunk(model: Any) -> Any:
    """The model without its vocabulary head: what gives the last hidden states.

    transformers' own `base_model` is the whole model where this part has another name than it expects (Llama 4).
    """
    model = unwrapped(model)
    return getattr(model, "model", model) if model.base_model is model else model.base_model
