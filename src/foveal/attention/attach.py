"""attach: the one switch between a Hugging Face decoder and the ways of looking that live in this package.

    with attach(model, recorder=Recorder(rows, heads={16: None})) as attached:
        attached.base(input_ids=ids)

One name, "foveal", is registered in transformers' attention *and* mask registries (a name known to only one of them
silently drops masks). `attach` turns the model to it and back, also when the body raises; what to do meanwhile lives in
a context variable, so that two threads, or two models, never see each other's recorder. The switch itself is the
model's: a pass that another thread has begun goes on with whichever kind of mask it began with, and the last one that
began under ours turns the model back.

Shapes    queries (B, H, Q, D), keys and values (B, G, K, D), H a multiple of G
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol
from weakref import finalize, ref

import torch
from torch import Tensor, nn
from transformers import AttentionInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS, AttentionMaskInterface

from foveal.attention.choices import check_choice, heads_of, layers_of
from foveal.attention.decoders import (
    layer_number,
    not_switched,
    require_attention,
    require_known,
    require_model,
    require_sinks,
    require_switched,
    trunk,
)
from foveal.attention.dense import dense_attention, folds, parts_keys, prefers_blocks
from foveal.attention.implementations import KEY, asked_for, mark, set_back
from foveal.attention.masks import Mask, mask_function
from foveal.attention.owned_layers import layer_of
from foveal.attention.places import note_places
from foveal.attention.recorder import Recorder, check_rows
from foveal.attention.remarks import warn_once
from foveal.attention.report import Report
from foveal.attention.rotation import Rotation, Rotations, rotations_of, unturned
from foveal.errors import InputError

log = logging.getLogger("foveal.attention")


@dataclass(frozen=True)
class Context:
    """Where an attention call stands: the layer's number and module, the model's mask, the scale of the products.

    What a method gets beside queries (B, H, Q, D) and keys and values (B, G, K, D).
    """

    layer: int
    module: nn.Module
    mask: Mask
    scale: float
    softcap: float | None = None  # the model's, of scaled scores: c * tanh(s / c)
    report: Report | None = None  # takes in what a sparse method looks at
    sparse_heads: Tensor | None = None  # (H,) bool, the heads that it may look for; None: all
    memory: dict[int, Any] | None = None  # by layer, what a method keeps from prefill to decoding; gone when detached
    rotation: Rotation | None = None  # for a method that `needs_unrotated`: what queries and keys were not turned by
    sinks: Tensor | None = None  # the model's, (H,): one more score in each head's softmax, with nothing behind it


class AttentionMethod(Protocol):
    """A way of looking: it sees every layer's attention and may compute it; None leaves it to dense attention.

    One that computes with `context.sinks` says so by a `takes_sinks` that is true; others are refused on such models.
    """

    def attend(self, query: Tensor, key: Tensor, value: Tensor, context: Context) -> Tensor | None:
        """The output (B, H, Q, D), or None."""
        ...

    def seen(self, rows: Tensor, context: Context) -> Tensor | None:
        """What the queries `rows` (B, R) see, (B, 1, R, K) bool; None where the model's own mask holds."""
        ...


@dataclass(frozen=True)
class Attached:
    """A model that is attached, and by what."""

    model: Any
    method: AttentionMethod | None
    recorder: Recorder | None
    modules: frozenset[int]
    report: Report
    layers: frozenset[int] | None = None
    heads: Mapping[int, Sequence[int] | None] | None = None
    rotations: Rotations | None = None  # of the model, if the method turns queries and keys itself
    memories: threading.local = field(default_factory=threading.local)
    thread: threading.Thread = field(default_factory=threading.current_thread)

    def context(
        self, module: nn.Module, heads: int, mask: Mask, scale: float, softcap: float | None, sinks: Tensor | None
    ) -> Context:
        """Where a call of `module`, which has so many heads, stands."""
        layer = layer_number(module)
        chosen = None
        if self.heads is not None:
            chosen = torch.zeros(heads, dtype=torch.bool)
            named = self.heads.get(layer, ())
            chosen[slice(None) if named is None else list(named)] = True
        rotation = self.rotations.for_layer(module) if self.rotations else None
        return Context(layer, module, mask, scale, softcap, self.report, chosen, self.memory, rotation, sinks)

    @property
    def memory(self) -> dict[int, Any]:
        """What the method keeps of this thread's texts: another's it would take for those before its own."""
        return self.memories.__dict__.setdefault("kept", {})  # type: ignore[no-any-return]

    def method_for(self, layer: int) -> AttentionMethod | None:
        """The method, if it is to do this layer."""
        chosen = (self.layers is None or layer in self.layers) and (self.heads is None or layer in self.heads)
        return self.method if chosen else None

    def explain(self, picture: Path | str | None = None) -> None:
        """Print what the method looked at, layer by layer; see `Report.explain`."""
        self.report.explain(picture)

    @property
    def base(self) -> Any:
        """The model without its vocabulary head: what to call when only attention is wanted."""
        return trunk(self.model)


_ACTIVE: ContextVar[tuple[Attached, ...]] = ContextVar("foveal_attached", default=())


@dataclass
class _Switched:
    """A model that is switched: what each of its configurations asked for before, and who needs it as it is."""

    before: list[tuple[Any, str | None]]
    blocks: int = 0
    masks: int = 0  # of passes of threads without a block of their own


_LOCK = threading.RLock()  # a mask may end in any place, also where this is held
_SWITCHED: dict[int, _Switched] = {}
"""By the id of a model's configuration."""


@contextmanager
def attach(
    model: Any,
    method: AttentionMethod | None = None,
    *,
    recorder: Recorder | None = None,
    layers: Iterable[int] | None = None,
    heads: Mapping[int, Iterable[int] | None] | None = None,
    report: Report | None = None,
) -> Iterator[Attached]:
    """Let `method` do, and `recorder` watch, the attention of `model` (a transformers decoder) inside the block.

    `layers`: those that the method does, the rest stays dense (range(2, 22) leaves out the first two); `heads`: the
    same by head, layer -> heads (None: all). `report` takes in what was looked at; the one made by default is
    `attached.report`. Blocks nest, the inner one counts. With checkpointing, call backward() within the block.
    InputError: the model's attention cannot be switched, or has what the method does not compute, as learned sinks; or
    there is no such layer or head.
    """
    _check(model, method)
    chosen, by_head = layers_of(layers), heads_of(heads)
    check_choice(model.config.get_text_config(), chosen, by_head)
    if recorder is not None:
        check_choice(model.config.get_text_config(), recorder.heads)
    rotations = _rotations(model, method, alone=layers is None and heads is None and recorder is None)
    modules = frozenset(id(module) for module in model.modules() if hasattr(module, "layer_idx"))
    if not modules:
        raise not_switched(model)
    attached = Attached(
        model,
        method,
        recorder,
        modules,
        Report() if report is None else report,
        chosen,
        by_head,
        rotations=rotations,
    )
    _switch(model)
    hook = rotations.module.register_forward_hook(_unturn, with_kwargs=True) if rotations else None
    _ACTIVE.set((*_ACTIVE.get(), attached))
    try:
        yield attached
    finally:
        if hook:
            hook.remove()
        # Not by a token: blocks of two models may end in any order, and one may end in another thread than it began in.
        _ACTIVE.set(tuple(one for one in _ACTIVE.get() if one is not attached))
        _restore(model)


def _check(model: Any, method: Any) -> None:
    require_model("attach", model)
    if method is not None and (isinstance(method, type) or not hasattr(method, "attend")):
        raise InputError(
            f"attach got {method!r} for a method; it needs one that is made, such as FlexPrefill(gamma=0.95). "
            "foveal.attention.method_by_name('flexprefill') makes one by its name."
        )
    require_attention(model)
    if any(getattr(part, "sinks", None) is not None for part in model.modules() if hasattr(part, "layer_idx")):
        require_sinks(model, method)


def needs_unrotated(method: AttentionMethod | None) -> bool:
    """Whether a method turns queries and keys itself."""
    return bool(getattr(method, "needs_unrotated", False))


def rotations_for(model: Any, method: Any) -> Rotations | None:
    """The rotary positions of the model, if the method turns queries and keys itself."""
    if not needs_unrotated(method):
        return None
    model = getattr(model, "get_base_model", lambda: model)()  # of what PEFT wraps
    return rotations_of(model, reach=method.reach(model.config) if hasattr(method, "reach") else None)


def _rotations(model: Any, method: AttentionMethod | None, *, alone: bool) -> Rotations | None:
    """The same, for a method that does all of the model."""
    if needs_unrotated(method) and not alone:
        raise InputError(
            f"{type(method).__name__} takes the model's positions into its own hands: it does all layers and heads, "
            "and no recorder can watch it. Attach it without layers, heads and recorder."
        )
    return rotations_for(model, method)


def _unturn(module: nn.Module, given: tuple[Any, ...], named: Mapping[str, Any], angles: Any) -> Any:
    """A forward hook: no angle at all, in the thread that the model is attached in, for a method that turns itself."""
    active = next((one for one in reversed(_ACTIVE.get()) if one.rotations and one.rotations.module is module), None)
    inner = next((one for one in reversed(_ACTIVE.get()) if active and one.model is active.model), None)
    if inner is None or inner is not active:
        return angles
    note_places(active.memory, given, named)
    return unturned(angles)


def _switch(model: Any) -> None:
    with _LOCK:
        switched = _SWITCHED.get(id(model.config))
        if switched is None:
            AttentionInterface.register(KEY, _called)
            AttentionMaskInterface.register(KEY, _mask)
            before = asked_for(model)
            try:
                model.set_attn_implementation(KEY)
                require_switched(model)
                mark(before)
            except BaseException:
                set_back(before)
                raise
            switched = _SWITCHED[id(model.config)] = _Switched(before)
        switched.blocks += 1


def _restore(model: Any) -> None:
    with _LOCK:
        _SWITCHED[id(model.config)].blocks -= 1
        _settle(id(model.config))


def _settle(key: int) -> None:
    """Set a model back, unless a block or a pass needs it as it is."""
    switched = _SWITCHED[key]
    if not switched.blocks and not switched.masks:
        del _SWITCHED[key]
        set_back(switched.before)


def _mask(**arguments: Any) -> Any:
    """What transformers calls once a pass. Only our attention understands it, so for as long as it lives in a thread
    without a block of its own the model stays switched."""
    config, mask = arguments.get("config"), mask_function(**arguments)
    mask.under = mask.under or tuple(map(ref, _ACTIVE.get()))  # weakly: a method may keep the masks that it was given
    with _LOCK:
        for key, switched in list(_SWITCHED.items()):  # one may end here, where garbage is collected
            if any(config is part for part, _ in switched.before) and key in _SWITCHED:
                if not _has_block(key):
                    switched.masks += 1
                    finalize(mask, _passed, key).atexit = False
                return mask
    if config is None or config._attn_implementation == KEY:
        return mask
    return ALL_MASK_ATTENTION_FUNCTIONS[config._attn_implementation](**arguments)  # set back since we were asked


def _has_block(key: int) -> bool:
    """Whether this thread has attached the model itself: while it computes, its block has not ended."""
    thread = threading.current_thread()
    return any(id(one.model.config) == key and one.thread is thread for one in _ACTIVE.get())


def _passed(key: int) -> None:
    with _LOCK:
        _SWITCHED[key].masks -= 1
        _settle(key)


def attached_here(model: Any) -> Attached | None:
    """What the innermost block around this call, in this thread, has attached to the model."""
    return next((one for one in reversed(_ACTIVE.get()) if one.model is model), None)


def _attached_to(module: nn.Module, mask: Mask) -> Attached | None:
    """What a pass began under: where backward() runs a part of it anew (checkpointing), the same again, whichever
    thread does that (on a GPU it is one of PyTorch's own, without any context of ours)."""
    under = [one for held in mask.under if (one := held()) is not None]
    found = next((one for one in reversed(under or _ACTIVE.get()) if id(module) in one.modules), None)
    if found is None and hasattr(module, "layer_idx"):  # else it is no decoder's, as a tower of pictures
        warn_once(
            log,
            "A model is attached in one thread and runs in another, which attends densely: each thread has its own. "
            "Start the other one by contextvars.copy_context().run to take the method along (docs/attention.md).",
        )
    return found


def _called(*given: Any, **options: Any) -> tuple[Tensor, None]:
    """What transformers calls in every layer; torch.compile makes graphs of what is around it, and none of it."""
    return _APART(*given, **options) if torch.compiler.is_compiling() else _attention(*given, **options)


def _attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Mask | Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    softcap: float | None = None,
    s_aux: Tensor | None = None,
    **options: Any,
) -> tuple[Tensor, None]:
    """The output (B, Q, H, D) of a layer; `s_aux` (H,) is what transformers calls learned sinks."""
    kind = query.device.type
    if kind != "meta" and torch.is_autocast_enabled(kind) and layer_of(key) is None:  # as PyTorch's own attention does
        wanted = torch.get_autocast_dtype(kind)
        q, k, v = (part if part.dtype == torch.float64 else part.to(wanted) for part in (query, key, value))
        with torch.autocast(kind, enabled=False):
            return _attention(module, q, k, v, attention_mask, dropout, scaling, softcap, s_aux, **options)
    scale = scaling if scaling is not None else query.shape[-1] ** -0.5
    require_known(module, options)
    causal = options.get("is_causal")
    if (
        attention_mask is None
        and s_aux is None
        and not (getattr(module, "is_causal", True) if causal is None else causal)
    ):
        return _own(module, query, key, value, None, dropout, scale, options)  # an encoder, as of images: all see all
    mask = _as_mask(attention_mask, query, key, options.get("sliding_window"))
    plain = softcap is None and s_aux is None
    attached = _attached_to(module, mask)
    if dropout and (not plain or (attached is not None and attached.method_for(layer_number(module)))):
        raise InputError(
            f"{type(module).__name__} drops attention at random ({dropout}), which is not done here. Call "
            "model.eval(), or set attention_dropout to 0."
        )
    if attached is not None:
        context = attached.context(module, query.shape[1], mask, scale, softcap, s_aux)
        output = _by_method(attached, query, key, value, context)
        if output is not None:
            return output.transpose(1, 2).contiguous(), None
    if not plain or (not dropout and _is_ours(query, key, mask)):
        output = dense_attention(query, key, value, mask, scale=scale, softcap=softcap, sinks=s_aux)
        return output.transpose(1, 2).contiguous(), None
    if mask.by_position or mask.begins:  # by the model's mask, whatever the module says of itself (BigBird-Pegasus)
        options["is_causal"] = True
    return _own(module, query, key, value, mask.dense, dropout, scale, options)


def _by_method(attached: Attached, query: Tensor, key: Tensor, value: Tensor, context: Context) -> Tensor | None:
    """What the method of this layer makes, after the recorder has looked; None: dense attention."""
    method = attached.method_for(context.layer)
    if context.sinks is not None:
        require_sinks(context.module, method)
    if attached.recorder is not None:
        record(attached.recorder, method, query, key, context)
    return method.attend(query, key, value, context) if method else None


_APART = torch.compiler.disable(_attention)  # type: ignore[no-untyped-call]


def _is_ours(query: Tensor, key: Tensor, mask: Mask) -> bool:
    """Whether `dense_attention` is faster than what transformers asks PyTorch for; builds the mask only if need be."""
    if mask.by_position and (prefers_blocks(query) or parts_keys(query, key, mask)):
        return True
    return folds(query, key) and (query.shape[2] == 1 or mask.dense is not None)


def _own(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: Tensor | None,
    dropout: float,
    scale: float,
    options: Mapping[str, Any],
) -> tuple[Tensor, None]:
    """What transformers itself computes."""
    result: tuple[Tensor, None] = sdpa_attention_forward(
        module, query, key, value, mask, dropout=dropout, scaling=scale, **options
    )
    return result


def record(recorder: Recorder, method: AttentionMethod | None, query: Tensor, key: Tensor, context: Context) -> None:
    """Let `recorder` keep its rows of this layer, if it watches it."""
    if context.layer not in recorder.heads:
        return
    if key.shape[2] != context.mask.shape[3]:
        raise InputError(
            "A recorder cannot watch a text whose keys lie in a searched cache. Watch it without the cache."
        )
    check_rows(recorder.rows, query)
    seen = method.seen(recorder.rows, context) if method else None
    seen = context.mask.rows(recorder.rows) if seen is None else seen
    recorder.record(context.layer, query, key, seen, scale=context.scale, softcap=context.softcap, sinks=context.sinks)


def _as_mask(given: Mask | Tensor | None, query: Tensor, key: Tensor, window: int | None) -> Mask:
    if isinstance(given, Mask):
        return given
    real = given if given is not None and given.ndim == 2 else None  # flash attention is told which tokens are real
    mask = Mask.causal(query.shape[0], query.shape[2], key.shape[2], window=window, real=real, device=query.device)
    if given is not None and real is None:
        mask.dense = given  # the caller made a mask of four dimensions: it holds as it is
        mask.given = True
    return mask
