"""Where a model looks: sparse attention on Hugging Face decoders, the switch (`attach`), and what watches (`Recorder`).

    with foveal.attention.attach(model, FlexPrefill(gamma=0.95)) as attached:
        model.generate(**inputs)                      # any forward pass attends by the method
    print(attached.report)                            # what was looked at, and what was left out
    foveal.attention.watch(model, ids, recorder)      # what chosen rows look at, from one pass

Names load when they are used, and PyTorch and transformers with them; importing this package loads nothing heavy.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import fields
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any

from foveal.errors import InputError, UnknownName
from foveal.registry import CACHES, EDITS, MEMORIES, METHODS, at_first_use, lookup

if TYPE_CHECKING:
    from foveal.attention.act import ACT
    from foveal.attention.act_files import Calibration, load_calibration
    from foveal.attention.attach import AttentionMethod, Context, attach
    from foveal.attention.blocks import Blocks
    from foveal.attention.dhsa import DHSA
    from foveal.attention.dhsa_blocks import DHSABlocks
    from foveal.attention.flexprefill import FlexPrefill
    from foveal.attention.head_cache import HeadCache, RoleCache
    from foveal.attention.head_masking import MaskHeads
    from foveal.attention.kernel import block_attention
    from foveal.attention.landmark import landmark_attention
    from foveal.attention.landmark_cache import LandmarkCache, ReadSettings
    from foveal.attention.landmark_masked import MaskedLandmarks
    from foveal.attention.landmark_model import LandmarkModel, LandmarkSettings
    from foveal.attention.landmark_variants import LandmarkVariant, LandmarkVariantSettings, VariantReadSettings
    from foveal.attention.longheads import LongHeads
    from foveal.attention.longheads_cache import LongHeadsCache
    from foveal.attention.method import BlockMethod
    from foveal.attention.patterns import BlockTopK, Dense, RandomBlocks, Streaming, VerticalSlash
    from foveal.attention.recorder import Recorder
    from foveal.attention.report import Report
    from foveal.attention.retrieval_attention import RetrievalAttention, RetrievalCache
    from foveal.attention.retrieval_heads import HeadScores, find_scores, head_scores
    from foveal.attention.shared_prefix import SharedPrefix
    from foveal.attention.sinks import SinkRule
    from foveal.attention.watch import watch

_HOMES = {
    "ACT": "act",
    **dict.fromkeys(("Calibration", "load_calibration"), "act_files"),
    **dict.fromkeys(("AttentionMethod", "Context", "attach"), "attach"),
    "Blocks": "blocks",
    "DHSA": "dhsa",
    "DHSABlocks": "dhsa_blocks",
    "FlexPrefill": "flexprefill",
    **dict.fromkeys(("HeadCache", "RoleCache"), "head_cache"),
    "MaskHeads": "head_masking",
    "block_attention": "kernel",
    "landmark_attention": "landmark",
    **dict.fromkeys(("LandmarkCache", "ReadSettings"), "landmark_cache"),
    "MaskedLandmarks": "landmark_masked",
    **dict.fromkeys(("LandmarkModel", "LandmarkSettings"), "landmark_model"),
    **dict.fromkeys(("LandmarkVariant", "LandmarkVariantSettings", "VariantReadSettings"), "landmark_variants"),
    "LongHeads": "longheads",
    "LongHeadsCache": "longheads_cache",
    "BlockMethod": "method",
    **dict.fromkeys(("BlockTopK", "Dense", "RandomBlocks", "Streaming", "VerticalSlash"), "patterns"),
    "Recorder": "recorder",
    "Report": "report",
    **dict.fromkeys(("RetrievalAttention", "RetrievalCache"), "retrieval_attention"),
    **dict.fromkeys(("HeadScores", "find_scores", "head_scores"), "retrieval_heads"),
    "SharedPrefix": "shared_prefix",
    "SinkRule": "sinks",
    "watch": "watch",
}

__all__ = [
    "ACT",
    "DHSA",
    "DHSABlocks",
    "AUTO",
    "CACHES",
    "Calibration",
    "EDITS",
    "MEMORIES",
    "METHODS",
    "AttentionMethod",
    "BlockMethod",
    "BlockTopK",
    "Blocks",
    "Context",
    "Dense",
    "FlexPrefill",
    "LongHeads",
    "LongHeadsCache",
    "LandmarkCache",
    "LandmarkModel",
    "LandmarkSettings",
    "LandmarkVariant",
    "LandmarkVariantSettings",
    "MaskedLandmarks",
    "HeadCache",
    "HeadScores",
    "MaskHeads",
    "RandomBlocks",
    "ReadSettings",
    "Recorder",
    "Report",
    "RetrievalAttention",
    "RetrievalCache",
    "RoleCache",
    "SharedPrefix",
    "SinkRule",
    "Streaming",
    "VariantReadSettings",
    "VerticalSlash",
    "attach",
    "block_attention",
    "landmark_attention",
    "cache_by_name",
    "find_scores",
    "head_scores",
    "load_calibration",
    "memory_by_name",
    "method_by_name",
    "method_for",
    "methods",
    "watch",
]

if not TYPE_CHECKING:  # a type checker that saw it would take any misspelt name for something
    __getattr__ = at_first_use(__name__, _HOMES)


def __dir__() -> list[str]:
    return sorted(__all__)


AUTO, LONG = "auto", 16_384
"""The name of the choice by length, and the tokens from which it is FlexPrefill: what is shorter stays exact."""

DENSE = "dense"
"""Everything is looked at: no method is needed."""


def method_for(name: str, tokens: int) -> BlockMethod | None:
    """The method called `name` for a text of `tokens`; "auto" is dense attention (None) below `LONG`.

    Options may stand behind the name, as in "flexprefill:gamma=0.9,tau=0"; behind "auto" those of FlexPrefill. Errors
    as those of `method_by_name`; InputError: what stands there are no options.
    """
    called, _, behind = name.partition(":")
    method = method_by_name("flexprefill" if called == AUTO else called, **_options(behind))
    return None if called == DENSE or (called == AUTO and tokens < LONG) else method


def _options(given: str) -> dict[str, object]:
    """Of "name=value,name=value" the values, each a number, true, false, or else a word."""
    found: dict[str, object] = {}
    for one in filter(None, given.split(",")):
        option, equals, value = one.partition("=")
        if not equals or not option.strip():
            raise InputError(
                f"The options {given!r} of a method are none; write NAME=VALUE, as in flexprefill:gamma=0.9."
            )
        try:
            found[option.strip().replace("-", "_")] = json.loads(value)
        except json.JSONDecodeError:
            found[option.strip().replace("-", "_")] = value.strip()
    return found


def methods() -> dict[str, str]:
    """The names of the methods, sparse, memories, smaller caches, edits, each with the first line of what it is."""
    tables: Mapping[str, str] = METHODS | MEMORIES | CACHES | EDITS
    found = {name: lookup(tables, name, kind="attention method") for name in tables}
    return {name: (made.__doc__ or "").strip().splitlines()[0] for name, made in found.items()}


def method_by_name(name: str, **options: object) -> BlockMethod:
    """The method called `name` with these options. UnknownName: there is none. InputError: it has no such option."""
    if name not in METHODS:
        raise UnknownName(_no_block_method(name))
    method: BlockMethod = _made(METHODS, name, options)
    return method


def _no_block_method(name: str) -> str:
    """What to say of a name that is none of METHODS: it may be that of a method of another kind."""
    makers = {"memory_by_name": MEMORIES, "cache_by_name": CACHES, "load_calibration": EDITS}
    maker = next((maker for maker, table in makers.items() if name in table), None)
    if maker:
        kept = f"foveal prefill SOURCE --keep --attention {name}, then foveal read SOURCE … --attention {name}"
        edited = f"foveal read SOURCE … --attention {name}, or {name}:FILE"
        used = {"memory_by_name": kept, "cache_by_name": "it is for Python alone", "load_calibration": edited}
        return (
            f"{name} is no choice of blocks: foveal.attention.{maker} makes it; on the command line: {used[maker]}. "
            f"Choices of blocks are: {', '.join(METHODS)}."
        )
    others = ", ".join(other for table in makers.values() for other in table)
    return (
        f"No attention method is called {name!r}. There are: {', '.join(METHODS)}; and, as kept texts, smaller caches "
        f"and edits, {others}."
    )


def memory_by_name(name: str, **options: object) -> RetrievalAttention | LongHeads:
    """The memory called `name`; errors as those of `method_by_name`."""
    memory: RetrievalAttention | LongHeads = _made(MEMORIES, name, options)
    return memory


def cache_by_name(name: str, **options: object) -> HeadCache:
    """The smaller cache called `name`; errors as those of `method_by_name`."""
    method: HeadCache = _made(CACHES, name, options)
    return method


def _made(table: Mapping[str, str], name: str, options: Mapping[str, object]) -> Any:
    made = lookup(table, name, kind="attention method")
    known = {field.name for field in fields(made)}
    unknown = sorted(set(options) - known)
    if unknown:
        raise InputError(f"{name} has no option {', '.join(unknown)}. It has: {', '.join(sorted(known)) or 'none'}.")
    kinds = {field.name: str(field.type) for field in fields(made)}
    for option, value in options.items():
        if not _is(value, kinds[option]):
            raise InputError(f"{name} got {option}={value!r}; it needs {_said(kinds[option])}.")
    try:
        return made(**options)
    except TypeError as error:  # a word where a number is due
        given = ", ".join(f"{option}={value!r}" for option, value in options.items())
        raise InputError(f"{name} cannot be made with {given}: {error}.") from error


def _is(value: object, kind: str) -> bool:
    """Whether it is what the annotation `kind` says, as far as a word or a number can be told from it."""
    if value is None:
        return "None" in kind
    if "float" in kind or "int" in kind:
        number = isinstance(value, Real if "float" in kind else Integral)  # NumPy's are such, too
        return number and not isinstance(value, bool)
    plain = int if kind == "bool" else str if kind.startswith(("str", "Literal")) else None
    return isinstance(value, plain) if plain else not isinstance(value, str | int | float | list | dict)


def _said(kind: str) -> str:
    number = "a number" if "float" in kind else "a whole number" if "int" in kind else None
    return number or {"bool": "true or false", "str": "a word"}.get(kind, f"{kind}, which no word or number stands for")
