"""bench memory-retrieval, data: one long reading, kept, with the queries of a named sample of heads.

A text with needles in it is read once by `attention.memory_store.keep`; while it is, the queries of the sample are
written beside it, and the last queries of every head. Shorter contexts are its beginnings, which a causal model reads
alike. Both lie in the bench's cache: a run that was stopped goes on with the next layer.

Needles   literal ones at six depths; four of the form "One magic number of <name> is <number>.", each of them asked for
          (RULER's niah_multikey_1); and a pass key (its niah_single), 1 to 50,000
Index     flat, by which the search is measured head by head; or graphs of all heads, for whole answers
Sample    layers 2, 4, 6, 8, 11, 14, 16, 18, 20, 22, heads 1, 4, 9, 12 of each: 40 pairs, two heads of each group
Tests     the last 256 queries of a context of `length` tokens; the index holds what stands before them, less the window
"""

from __future__ import annotations

import hashlib
import json
import random
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from foveal.attention import FlexPrefill, RetrievalAttention
from foveal.attention.attach import Context
from foveal.attention.later_queries import later_queries
from foveal.attention.memory_layers import OBSERVED, owner_of
from foveal.attention.memory_store import forget, keep
from foveal.attention.roar_graph import SOURCE
from foveal.attention.rotation import rotations_of
from foveal.bench.code import code_digest, native_digest
from foveal.bench.heads_data import keys
from foveal.bench.memory_longheads_heads import KEY
from foveal.bench.settings import BenchSettings
from foveal.evaluation.files import whole_file
from foveal.evaluation.haystack import Planted, haystack, plant_all
from foveal.evaluation.needles import Needle, make
from foveal.models.language import LanguageModel, load_language_model
from foveal.reading.prompts import Prompt, prompt_of
from foveal.reading.tokens import PlainTokens

MODEL = "qwen2.5-coder-0.5b"
LAYERS = (2, 4, 6, 8, 11, 14, 16, 18, 20, 22)
HEADS = (1, 4, 9, 12)
QUICK_LAYERS = (2, 8, 14, 20)
TESTS, SINKS, LOCAL = 256, 128, 512
SHORT, LONG = 12_288, 131_072
DENSE_UP_TO = 32_768
"""Tokens up to which a text is read densely; a longer one is read by FlexPrefill, which says so in the notes."""

KEEPING = ("flexprefill", "key_index", "later_queries", "memory_layers", "memory_parts", "roar_graph")
"""Modules of `foveal.attention` that what is kept depends on."""

NEEDLES, KEYS = 6, 4
DEPTHS = (10, 25, 40, 55, 70, 85)
KEY_DEPTHS = (18, 33, 62, 78)
PASSKEY_DEPTH = 48
KINDS = ("literal", "multi-key", "passkey")


@dataclass(frozen=True)
class Case:
    """One head at one length, all float32: keys and values (n, D), training queries (T, D) as they were asked and as
    graphs learn from them, tests (256, D); n hidden keys stand between the sinks and the last ones, both apart (w, D).
    """

    layer: int
    head: int
    keys: Tensor
    values: Tensor
    as_asked: Tensor
    training: Tensor
    tests: Tensor
    window_keys: Tensor
    window_values: Tensor


@dataclass(frozen=True)
class ReadText:
    """A text that was read and kept."""

    model: LanguageModel
    folder: Path
    queries: Path
    ids: Sequence[int]
    planted: Sequence[Planted]
    prompt: Prompt
    tokens: int
    dense: bool

    def of_kind(self, kind: str) -> list[Planted]:
        """The needles of one of KINDS."""
        return [one for one in self.planted if one.needle.kind == kind]

    def observed(self, layer: int) -> Tensor:
        """The last queries (H, T, D) of all heads of a layer, float32."""
        return torch.from_numpy(np.load(self.queries / f"last-{layer:02}.npy")).view(torch.bfloat16).float()

    @cached_property
    def seconds(self) -> float:
        """Processor seconds of the reading, by those of the layers that were timed."""
        told: dict[str, float] = json.loads((self.queries / "seconds.json").read_text(encoding="utf-8"))
        return sum(told.values()) / len(told) * int(self.model.model.config.num_hidden_layers)

    def group(self, layer: int, group: int) -> tuple[Tensor, Tensor]:
        """All keys and values (N, D) of a group, float32."""
        place, parts = self.folder / f"layer-{layer:02}", []
        for name in ("keys", "values"):
            hidden = torch.from_numpy(np.load(place / f"{name}.npy", mmap_mode="c")[group]).view(torch.bfloat16).float()
            window = torch.from_numpy(np.load(place / f"window_{name}.npy", mmap_mode="c")[group])
            parts.append(torch.cat([window[:SINKS], hidden, window[SINKS:]]))
        return parts[0], parts[1]

    def case(self, layer: int, head: int, length: int) -> Case:
        """The head `head` of the sample in the first `length` tokens."""
        share = self.model.model.config.num_attention_heads // self.model.model.config.num_key_value_heads
        keys, values = self.group(layer, head // share)
        stored = np.load(self.queries / f"layer-{layer:02}.npy", mmap_mode="c")[HEADS.index(head), :length]
        queries = torch.from_numpy(np.array(stored)).view(torch.bfloat16).float()
        end = length - TESTS
        ends = torch.cat([torch.arange(SINKS), torch.arange(end - LOCAL, end)])
        inside = slice(SINKS, end - LOCAL)
        asked, rotation = queries[SINKS:end], rotations_of(self.model.model).at(layer)
        return Case(
            layer,
            head,
            keys[inside],
            values[inside],
            asked,
            later_queries(asked, torch.arange(SINKS, end), rotation, end),
            queries[end:],
            keys[ends],
            values[ends],
        )


def read_text(
    settings: BenchSettings,
    length: int,
    *,
    layers: Sequence[int] = LAYERS,
    index: str = "flat",
    model: LanguageModel | None = None,
) -> ReadText:
    """A text of nearly `length` tokens, read by the bench's model (or `model`), or found in the cache."""
    model = model or load_language_model(MODEL, dtype="bfloat16")
    plain = PlainTokens(model)
    prompt = prompt_of(model, plain)
    planted = _planted(settings, length, plain)
    ids = [*prompt.head, *plain.encode(planted[0].text)][:length]
    dense = length <= DENSE_UP_TO
    method = asdict(recording(Path(), layers, dense=dense, index=index))
    read_by = f"{model.fingerprint} {layers} {method} {kept_by()}"
    key = hashlib.sha256(read_by.encode() + np.asarray(ids, np.int64).tobytes()).hexdigest()[:16]
    folder, queries = (settings.cache / "memory" / f"{length}-{key}{end}" for end in ("", "-queries"))
    queries.mkdir(parents=True, exist_ok=True)
    every = range(int(model.model.config.num_hidden_layers))
    asked = [f"layer-{layer:02}.npy" for layer in layers] + [f"last-{layer:02}.npy" for layer in every]
    if folder.is_dir() and not all((queries / name).is_file() for name in asked):
        forget(folder)  # somebody has removed what was asked
    keep(model, ids, folder, recording(queries, layers, dense=dense, index=index))
    return ReadText(model, folder, queries, ids, planted, prompt, len(ids), dense)


def kept_by() -> str:
    """A hash of the code that a text is read and indexed by: by other code it is read anew."""
    modules = (f"foveal.attention.{one}" for one in KEEPING)
    return f"{code_digest(__name__, *modules)}-{native_digest(SOURCE)}"


def _planted(settings: BenchSettings, length: int, plain: PlainTokens) -> list[Planted]:
    """Needles of each kind in Python's manual, where that is long enough, else in a book."""
    from pydoc_data.topics import topics

    from foveal.bench.read import long_text

    text = "\n\n".join(topics.values()) if length <= 4 * DENSE_UP_TO // 2 else long_text(settings)
    made = needles(settings.seed)
    whole = haystack([text], length - 64 * len(made), lambda piece: len(plain.encode(piece)))
    return plant_all(whole, made, [*DEPTHS, *KEY_DEPTHS, PASSKEY_DEPTH])


def needles(seed: int) -> list[Needle]:
    """Those of a text: literal ones, keys of one form, and a pass key."""
    several = [replace(one.needle, kind="multi-key") for one in keys(KEYS, seed)]
    key = str(random.Random(f"passkey {seed}").randint(1, 50_000))
    single = Needle("passkey", (KEY.format(key=key).strip(),), "What is the pass key?", key)
    return [*make("literal", NEEDLES, seed=seed), *several, single]


def recording(folder: Path, layers: Sequence[int], *, dense: bool, index: str = "flat") -> RetrievalAttention:
    """A method that writes what the sample asks while the text is read, all heads' last queries, and the seconds by
    layer."""

    class Recording(RetrievalAttention):
        """The same settings, so a kept text is that of any other."""

        def attend(self, query: Tensor, key: Tensor, value: Tensor, context: Context) -> Tensor | None:
            owner = owner_of(key)
            if owner is not None and not owner.settled:
                _note_seconds(folder, context.layer)
                _note_queries(folder / f"last-{context.layer:02}.npy", query[0, :, -OBSERVED:])
                if context.layer in layers:
                    _note_queries(folder / f"layer-{context.layer:02}.npy", query[0, list(HEADS)])
            return super().attend(query, key, value, context)

    return Recording(index=index, n_sink=SINKS, n_local=LOCAL, prompts=None if dense else FlexPrefill())


def _note_queries(path: Path, queries: Tensor) -> None:
    with whole_file(path) as beside, beside.open("wb") as file:
        np.save(file, queries.bfloat16().contiguous().view(torch.int16).numpy(), allow_pickle=False)


_since: dict[Path, float] = {}


def _note_seconds(folder: Path, layer: int) -> None:
    """Processor seconds since the layer before, kept by layer, so that a reading that was stopped adds up."""
    now, path = time.process_time(), folder / "seconds.json"
    told: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    if folder in _since:
        told[str(layer)] = now - _since[folder]
    _since[folder] = now
    with whole_file(path) as beside:
        beside.write_text(json.dumps(told), encoding="utf-8")
