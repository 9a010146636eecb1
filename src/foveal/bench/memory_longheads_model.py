"""bench memory-longheads, model: a small decoder that was trained for a window of 256 bytes, and for no more.

Python's manual, a byte a token, with a key somewhere in it: a sign of each of two alphabets of 32, above the bytes of
the text. Wherever later in the window the byte `ASK` stands, the key follows; the first one stands at any distance.
Whoever looks back can say it, one of 1,024. The model is a Llama of transformers with grouped queries; recipe and text
are its name in the bench's cache.

Shapes    windows (rows, 256) of bytes
"""

from __future__ import annotations

import hashlib
import json
import logging
import random
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from foveal.bench.settings import BenchSettings
from foveal.evaluation.files import whole_file
from foveal.models.quiet import quiet
from foveal.training.loop import Job, LoopSettings, train
from foveal.training.precision import mixed_precision

log = logging.getLogger("foveal.bench")

WINDOW = 256
ASK, SIGNS, ALPHABET, PARTS = 127, 128, 32, 2
"""The byte that asks, the first sign, signs of an alphabet, and alphabets."""


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """What decides the small model."""

    layers: int = 2
    width: int = 96
    head: int = 32
    heads: int = 4
    groups: int = 2
    spread: float = 0.1  # of the first weights
    asks: int = 4  # of a window
    steps: int = 1000
    batch: int = 16
    learning_rate: float = 4e-3
    seed: int = 0
    version: int = 4  # of the data


def manual() -> tuple[bytes, bytes]:
    """Python's manual as ASCII: what is trained on, and the last sixth, which is not."""
    from pydoc_data.topics import topics

    whole = "\n\n".join(topics.values()).encode("ascii", "ignore").replace(bytes([ASK]), b"")
    cut = len(whole) * 5 // 6
    return whole[:cut], whole[cut:]


def key_of(draw: random.Random) -> bytes:
    """A sign of each alphabet."""
    return bytes(SIGNS + part * ALPHABET + draw.randrange(ALPHABET) for part in range(PARTS))


def windows(recipe: Recipe, count: int) -> Tensor:
    """(count, 256) uint8: text with a key in it, and places that ask for it."""
    text, draw, made = manual()[0], random.Random(recipe.seed), bytearray()
    left = WINDOW - PARTS - recipe.asks * (1 + PARTS)
    for _ in range(count):
        key, start = key_of(draw), draw.randrange(len(text) - left)
        told = [key, *[bytes([ASK]) + key] * recipe.asks]
        cuts = _cuts(draw, left, recipe.asks)
        parts = zip([0, *cuts], cuts, told, strict=False)
        made += b"".join(text[start + a : start + b] + one for a, b, one in parts)
        made += text[start + cuts[-1] : start + left]
    return torch.frombuffer(made, dtype=torch.uint8).view(count, WINDOW).clone()


def _cuts(draw: random.Random, left: int, asks: int) -> list[int]:
    """Where the key, and what asks for it, are put into `left` bytes, ascending.

    The first to ask stands at every distance equally often. Were all drawn alike, of 16,000 windows three would ask for
    a key more than 200 bytes back; and those who ask later may look at an answer that is nearer than the key.
    """
    far = draw.randrange(left + 1)
    first = draw.randrange(left + 1 - far) + far
    return [first - far, first, *sorted(draw.choices(range(first, left + 1), k=asks - 1))]


def untrained(recipe: Recipe) -> Any:
    """The model as it begins."""
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=256,
        hidden_size=recipe.width,
        intermediate_size=recipe.width * 11 // 4,
        num_hidden_layers=recipe.layers,
        num_attention_heads=recipe.heads,
        head_dim=recipe.head,
        num_key_value_heads=recipe.groups,
        max_position_embeddings=WINDOW,
        tie_word_embeddings=True,
        initializer_range=recipe.spread,
        bos_token_id=None,
        eos_token_id=None,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        return LlamaForCausalLM(config)


def place_of(settings: BenchSettings, recipe: Recipe) -> Path:
    """Where a model lies, by its recipe and its text: each Python has a manual of its own."""
    learnt = hashlib.sha256(b"\0".join(manual())).hexdigest()
    key = hashlib.sha256(json.dumps([asdict(recipe), learnt], sort_keys=True).encode()).hexdigest()[:16]
    return settings.cache / "memory" / f"small-{key}"


def small_model(settings: BenchSettings, recipe: Recipe | None = None) -> Any:
    """The trained model in float32, from the cache, or trained now (some minutes); a run that was stopped goes on."""
    from transformers import LlamaForCausalLM

    recipe = recipe or Recipe()
    folder = place_of(settings, recipe)
    if not (folder / "whole").is_file():
        log.info("training the small model, %d steps; later runs read it from the cache", recipe.steps)
        model = untrained(recipe)
        learn(model, recipe, folder / "run")
        with quiet():
            model.save_pretrained(folder)
        with whole_file(folder / "whole") as beside:
            beside.write_text(folder.name, encoding="utf-8")
    with quiet():
        loaded: Any = LlamaForCausalLM.from_pretrained(folder, local_files_only=True, use_safetensors=True)
    return loaded.eval()


def _batch(rows: Sequence[Tensor]) -> dict[str, Tensor]:
    ids = torch.stack(list(rows)).long()
    return {"input_ids": ids, "labels": ids}


def learn(model: Any, recipe: Recipe, run: Path) -> None:
    """Train the model in place."""
    rows = windows(recipe, recipe.steps * recipe.batch)
    loop = LoopSettings(
        steps=recipe.steps,
        batch=recipe.batch,
        learning_rate=recipe.learning_rate,
        warm_up=0.05,
        weight_decay=0.01,
        seed=recipe.seed,
        checkpoint_every=200,
        bfloat16=mixed_precision(),
    )
    told = hashlib.sha256(rows.numpy().tobytes()).hexdigest()
    job = Job(
        model,
        rows,
        identity={"recipe": json.dumps(asdict(recipe)), "data": told},
        collate=_batch,
    )
    train(job, loop, run)
