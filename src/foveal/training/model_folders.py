"""Models as sentence-transformers loads and saves them: quietly, without the hub, and so that the library reads them.

A trained model is a folder of safetensors and JSON. It is made beside its place and renamed into it: a kill leaves
either nothing or a whole model.
"""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from foveal.errors import InputError
from foveal.models.quiet import quiet
from foveal.registry import require
from foveal.training import checkpoints

WINDOW = 512
"""Tokens of a query and a document together that a cross-encoder reads, where its folder states no other window."""

STATED, HEAD = "sentence_bert_config.json", "ForSequenceClassification"
"""Where a folder states its window, and what the architecture of one that scores pairs is called at its end."""


def sentence_transformer(folder: Path) -> Any:
    """The SentenceTransformer in `folder`, in float32. MissingExtra: sentence-transformers is not installed."""
    module = require("sentence_transformers", extra="train")
    with _silent():
        return module.SentenceTransformer(str(folder), model_kwargs={"dtype": torch.float32, "use_safetensors": True})


def cross_encoder(folder: Path, *, seed: int, window: int | None = None) -> Any:
    """A CrossEncoder with one score, from any encoder's folder; a head that is not there is drawn from the seed.

    `window` of tokens; None: what a trained one was trained with, else `WINDOW`. Never more than it has positions for.
    """
    module = require("sentence_transformers", extra="train")
    tokens = window or _trained_window(folder) or WINDOW
    with _silent(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = module.CrossEncoder(
            str(folder),
            num_labels=1,
            max_length=tokens,
            model_kwargs={"dtype": torch.float32, "use_safetensors": True},
        )
    positions = getattr(model.model.config, "max_position_embeddings", WINDOW)
    model.max_seq_length = min(tokens, positions)
    return model


def _trained_window(folder: Path) -> int | None:
    """The window that a cross-encoder's folder states; an encoder's own is that of one text, and counts for nothing."""
    config, stated = checkpoints.read(folder / "config.json") or {}, checkpoints.read(folder / STATED) or {}
    crossed = any(str(one).endswith(HEAD) for one in config.get("architectures") or ())
    tokens = stated.get("max_seq_length") if crossed else None
    return None if tokens is None else int(tokens)


def encoding(
    model: Any, *, batch: int = 32, tokens: int | None = None
) -> Callable[[Sequence[str]], npt.NDArray[np.float32]]:
    """A function from texts to the model's unit vectors as they are now, of `tokens` tokens (None: its window)."""

    def encode(texts: Sequence[str]) -> npt.NDArray[np.float32]:
        options = {"batch_size": batch, "normalize_embeddings": True, "show_progress_bar": False}
        with window(model, tokens):
            made = model.encode(list(texts), **options)
        return np.asarray(made, dtype=np.float32)

    return encode


def require_window(folder: Path, tokens: int | None) -> None:
    """InputError: more tokens of a text are to be read than the encoder in `folder` has positions for."""
    positions = (checkpoints.read(folder / "config.json") or {}).get("max_position_embeddings")
    if tokens is not None and isinstance(positions, int) and tokens > positions:
        raise InputError(
            f"A window of {tokens:,} tokens was asked for; this encoder has positions for {positions:,}. Give at most "
            "that, or leave it out."
        )


@contextmanager
def window(model: Any, tokens: int | None) -> Iterator[None]:
    """Inside, the first `tokens` tokens of a text count (None: as many as outside)."""
    before = model.max_seq_length
    model.max_seq_length = tokens or before
    try:
        yield
    finally:
        model.max_seq_length = before


def save_model(model: Any, folder: Path, *, replace: bool = False) -> Path:
    """Write an encoder or cross-encoder, whole or not at all. InputError: the folder is taken. StorageFull: no room."""
    partial = folder.parent / f".{folder.name}-partial"
    if partial.exists():
        shutil.rmtree(partial)
    partial.mkdir(parents=True)
    with _silent(), checkpoints.room_for(partial, "The model"):
        model.save_pretrained(str(partial), create_model_card=False)
    _state_window(partial, int(model.max_seq_length))
    return moved(partial, folder, replace=replace)


def moved(made: Path, folder: Path, *, replace: bool = False) -> Path:
    """Rename a made folder into its place; where that fails what was there before stays. InputError: it is taken."""
    if folder.exists() and not replace:
        raise InputError(f"{folder} is there already, and a library may use it. Give the new model another name.")
    folder.parent.mkdir(parents=True, exist_ok=True)
    before = made.parent / f".{folder.name}-before"  # so that no reader, and no kill, finds half of it
    if folder.exists() and before.exists():
        shutil.rmtree(before)
    if folder.exists():
        folder.rename(before)
    try:
        made.rename(folder)
    except BaseException:
        if before.exists():  # of this call, or of one that a kill ended between the two renamings
            before.rename(folder)
        raise
    shutil.rmtree(before, ignore_errors=True)
    return folder


def _state_window(folder: Path, tokens: int) -> None:
    """Say how many tokens count where `models.bert` looks for it: newer sentence-transformers leave it out there."""
    path = folder / STATED
    if path.is_file():
        config = json.loads(path.read_text(encoding="utf-8"))
        path.write_text(json.dumps({**config, "max_seq_length": tokens}, indent=2) + "\n", encoding="utf-8")


@contextmanager
def _silent() -> Iterator[None]:
    """Inside, neither transformers nor sentence-transformers remarks on a new head or a conversion."""
    logger = logging.getLogger("sentence_transformers")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with quiet():
            yield
    finally:
        logger.setLevel(level)
