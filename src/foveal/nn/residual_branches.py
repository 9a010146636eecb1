"""The residual branches x + f(x) of a model, found by the names and types of its modules.

    for branch in residual_branches(model): branch.name, branch.channels

Known     ResNets: blocks with conv1, bn1, conv2, bn2 (conv3, bn3), and downsample or shortcut, as torchvision's, timm's
          and resnet.py's; transformers' ResNet. The branch ends after its last norm, before the addition
          Transformers: norm1, attn, norm2, mlp (timm, vision_transformer.py; DINOv2, ModernBERT, ViT by their names),
          Llama, Qwen, Mistral, Gemma and GPT-2 (causal), BERT, RoBERTa, DistilBERT (norm after the addition), and
          torch.nn.TransformerEncoderLayer. Two branches a layer: attention and MLP
Not       pre-activation ResNets, Swin v2, and what has no such names: describe those as `Branch`es of your own
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from torch import nn

from foveal.errors import InputError


@dataclass(frozen=True, eq=False, kw_only=True)
class Branch:
    """Where a branch begins and ends. The state is what `enters` gets as its argument number `argument`, through
    `projection` where there is one; f is what `leaves` gives (of a tuple the first)."""

    name: str  # as in the model: "layer1.0", "encoder.layer.3.attention"
    owner: nn.Module  # the block
    part: str = ""  # which of the block's branches; "" of its only one
    enters: nn.Module
    argument: int = 0
    leaves: nn.Module
    projection: nn.Module | None = None
    channels: int
    tokens: bool = False  # (B, T, C), not images
    causal: bool = False  # no token may know of later ones

    @property
    def block(self) -> str:
        """The block's name."""
        return self.name.removesuffix(f".{self.part}") if self.part else self.name


def residual_branches(model: nn.Module) -> list[Branch]:
    """All branches in the order of the modules. InputError: none was found; says what was looked for."""
    found: list[Branch] = []
    for name, module in model.named_modules():
        for layout in LAYOUTS.values():
            branches = list(layout(name, module))
            if branches:
                found += branches
                break
    if not found:
        raise InputError(
            f"No residual blocks were found in {type(model).__name__}. Looked for: {'; '.join(LAYOUTS)}. Describe them "
            "as foveal.nn.residual_branches.Branch, or use a model of these."
        )
    return found


def _child(module: nn.Module, *path: str) -> nn.Module | None:
    """The module at a path of names, None where there is none."""
    for name in path:
        inner = module._modules.get(name)
        if inner is None:
            return None
        module = inner
    return module


def _children(module: nn.Module, names: tuple[str, ...]) -> tuple[nn.Module, ...] | None:
    found = tuple(one for one in (_child(module, name) for name in names) if one is not None)
    return found if len(found) == len(names) else None


def _width(*modules: nn.Module) -> int | None:
    """The channels of the first module that tells."""
    for module in modules:
        count = getattr(module, "num_features", None)
        if isinstance(count, int):
            return count
        shape = getattr(module, "normalized_shape", None)
        if shape:
            return int(shape[-1])
        weight = getattr(module, "weight", None)
        if weight is not None and weight.dim() == 1:
            return int(weight.numel())
    return None


def _res_net(name: str, block: nn.Module) -> Iterator[Branch]:
    last = _child(block, "bn3") or _child(block, "bn2")
    names = list(block._modules)
    if last is None or not {"conv1", "bn1", "conv2"} <= set(names) or names.index("bn1") < names.index("conv1"):
        return
    width = _width(last)
    projection = _child(block, "downsample") or _child(block, "shortcut")
    if isinstance(projection, nn.Identity) or (isinstance(projection, nn.Sequential) and not len(projection)):
        projection = None
    if width is not None:
        leaves = _child(block, "se") or last
        yield Branch(name=name, owner=block, enters=block, leaves=leaves, projection=projection, channels=width)


def _hugging_face_res_net(name: str, block: nn.Module) -> Iterator[Branch]:
    found = _children(block, ("shortcut", "layer", "activation"))
    if found is None or not isinstance(found[1], nn.Sequential):
        return
    shortcut, layer, _ = found
    width = _width(_child(found[1][-1], "normalization") or layer)
    projection = None if isinstance(shortcut, nn.Identity) else shortcut
    if width is not None:
        yield Branch(name=name, owner=block, enters=block, leaves=layer, projection=projection, channels=width)


NORM_FIRST = (
    ("norm1", "attn", "norm2", "mlp", False),
    ("norm1", "attention", "norm2", "mlp", False),
    ("attn_norm", "attn", "mlp_norm", "mlp", False),
    ("layernorm_before", "attention", "layernorm_after", "mlp", False),
    ("ln_1", "attn", "ln_2", "mlp", True),
    ("input_layernorm", "self_attn", "post_attention_layernorm", "mlp", True),
)
"""Norm, branch, norm, branch, and whether the model is causal."""

SCALES = (("ls1", "ls2"), ("layer_scale1", "layer_scale2"))
"""What may follow a branch and belongs to it."""


def _norm_first(name: str, layer: nn.Module) -> Iterator[Branch]:
    if _child(layer, "pre_feedforward_layernorm") is not None:
        yield from _gemma(name, layer)
        return
    for *names, causal in NORM_FIRST:
        found = _children(layer, tuple(names))
        if found is None:
            continue
        norm1, attention, norm2, mlp = found
        order = list(layer._modules)
        if names[0] == "norm1" and order.index("norm1") > order.index(str(names[1])):
            return  # a norm made after its branch comes after it, too: Swin v2
        if any("norm" in other and other not in names for other in order):
            return  # a norm more, between a branch and the addition perhaps: GLM-4
        ends = next((ends for ends in (_children(layer, pair) for pair in SCALES) if ends), (attention, mlp))
        width = _width(norm2, norm1)
        if width is not None:
            starts = ((norm1, ends[0]), (norm2, ends[1]))
            yield from _two(name, layer, starts, width, causal=bool(causal))
        return


def _gemma(name: str, layer: nn.Module) -> Iterator[Branch]:
    """Norms on both sides of a branch; the second belongs to it."""
    names = (
        "input_layernorm", "post_attention_layernorm", "pre_feedforward_layernorm", "post_feedforward_layernorm"
    )  # fmt: skip
    found = _children(layer, names)
    if found is None:
        return
    width = _width(found[0])
    if width is not None:
        yield from _two(name, layer, (found[:2], found[2:]), width, causal=True)  # type: ignore[arg-type]


def _bert(name: str, layer: nn.Module) -> Iterator[Branch]:
    outputs = (_child(layer, "attention", "output"), _child(layer, "output"))
    if outputs[0] is None or outputs[1] is None:
        return
    dense = [_child(one, "dense") for one in outputs if one is not None]
    norms = [_child(one, "LayerNorm") for one in outputs if one is not None]
    if dense[0] is None or dense[1] is None or norms[0] is None or norms[1] is None:
        return
    width = _width(norms[0])
    if width is not None:
        starts = ((outputs[0], dense[0]), (outputs[1], dense[1]))
        yield from _two(name, layer, starts, width, causal=bool(getattr(layer, "is_decoder", False)), argument=1)


def _distil_bert(name: str, layer: nn.Module) -> Iterator[Branch]:
    found = _children(layer, ("attention", "ffn", "sa_layer_norm", "output_layer_norm"))
    if found is None:
        return
    attention, ffn, norm, _ = found
    width = _width(norm)
    if width is not None:
        yield from _two(name, layer, ((attention, attention), (ffn, ffn)), width)


def _torch_encoder(name: str, layer: nn.Module) -> Iterator[Branch]:
    if not isinstance(layer, nn.TransformerEncoderLayer):
        return
    if not layer.self_attn.batch_first:
        raise InputError(f"{name or type(layer).__name__} takes (tokens, batch, …); make it with batch_first=True.")
    begins = (layer.norm1, layer.norm2) if layer.norm_first else (layer.self_attn, layer.linear1)
    yield from _two(
        name, layer, ((begins[0], layer.dropout1), (begins[1], layer.dropout2)), int(layer.self_attn.embed_dim)
    )


Ends = tuple[nn.Module, nn.Module]


def _two(
    name: str, layer: nn.Module, ends: tuple[Ends, Ends], width: int, *, causal: bool = False, argument: int = 0
) -> Iterator[Branch]:
    for part, (enters, leaves) in zip(("attention", "mlp"), ends, strict=True):
        yield Branch(
            name=f"{name}.{part}" if name else part, owner=layer, part=part, enters=enters, argument=argument,
            leaves=leaves, channels=width, tokens=True, causal=causal,
        )  # fmt: skip


LAYOUTS: dict[str, Callable[[str, nn.Module], Iterator[Branch]]] = {
    "ResNet blocks (conv1, bn1, conv2, bn2, …)": _res_net,
    "transformers' ResNet (layer, shortcut, activation)": _hugging_face_res_net,
    "torch.nn.TransformerEncoderLayer": _torch_encoder,
    "layers with a norm before each branch (ViT, Llama, Qwen, Gemma, GPT-2, ModernBERT)": _norm_first,
    "BERT layers": _bert,
    "DistilBERT layers": _distil_bert,
}
