"""A model of transformers by its name, decoder or encoder, and texts cut to what it takes: for `foveal stiffness`."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from foveal.errors import InputError, ModelUnavailable, UnknownName
from foveal.models.gguf_file import is_gguf
from foveal.models.hub import ANY, folder_of
from foveal.models.language import load_language_model
from foveal.models.offline import OFFLINE
from foveal.models.quiet import quiet
from foveal.settings import Settings

LANGUAGE_MODEL, ENCODER = "language model", "encoder"

OWN = "foveal-"
"""How the kinds of models begin that Foveal gives to transformers: stream models, text classifiers."""


@dataclass(frozen=True, eq=False)
class Opened:
    """A model, and the tokenizer that turns text into its ids."""

    name: str
    model: Any  # transformers.PreTrainedModel, in eval mode
    tokenizer: Any  # tokenizers.Tokenizer
    special: bool  # whether the texts that it knows begin and end with tokens of their own


def opened(name: str, settings: Settings) -> Opened:
    """The model called `name`, one that was trained into the home, too. UnknownName, ModelUnavailable: as of any."""
    kind, source = _found(name, settings)
    if kind == LANGUAGE_MODEL:
        loaded = load_language_model(source, cache=settings.cache)
        return Opened(name, loaded.model, loaded.tokenizer.backend_tokenizer, special=False)
    return _encoder(name, folder_of(source, settings.cache, kind=ENCODER))


def _found(name: str, settings: Settings) -> tuple[str, str]:
    """A decoder or an encoder, as the list of models says, or the folder's configuration; and where it is."""
    if name in OFFLINE:
        return OFFLINE[name].kind, name
    if is_gguf(Path(name)):
        return LANGUAGE_MODEL, name
    folder = folder_of(name, settings.cache, kind=ANY, home=settings.home)
    try:
        told = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelUnavailable(f"{folder} holds no model: its config.json cannot be read ({error}).") from error
    if str(told.get("model_type")).startswith(OWN):
        raise UnknownName(
            f"{name} is built of foveal.nn's layers ({told['model_type']}), whose blocks are not told apart; name a "
            "decoder or an encoder of transformers."
        )
    made_for = " ".join(told.get("architectures") or [])
    decodes = "CausalLM" in made_for or "ConditionalGeneration" in made_for
    return LANGUAGE_MODEL if decodes else ENCODER, str(folder)


def _encoder(name: str, folder: Path) -> Opened:
    import transformers
    from tokenizers import Tokenizer

    try:
        with quiet():
            model = transformers.AutoModel.from_pretrained(folder, dtype=torch.float32, use_safetensors=True).eval()
        tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    except Exception as error:  # transformers has no error of its own for a folder that is no model
        raise ModelUnavailable(f"{folder} could not be loaded ({type(error).__name__}: {error}).") from error
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return Opened(name, model, tokenizer, special=True)


def text_of(path: Path | None) -> str:
    """The file's text; without one that of Python's manual that comes with Python."""
    if path is None:
        from pydoc_data.topics import topics

        return "\n\n".join(topics[name] for name in sorted(topics))
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read as text ({error}). Name a UTF-8 text file.") from error


def batches(model: Opened, text: str, *, windows: int, tokens: int) -> list[dict[str, Tensor]]:
    """At most so many windows of at most so many tokens, from the beginning of the text, one a batch: ids, mask (1, T).

    InputError: a text of fewer than two tokens, or more tokens than the model takes.
    """
    most = getattr(model.model.config.get_text_config(), "max_position_embeddings", None)
    tables = (one for name, one in model.model.named_modules() if name.endswith("position_embeddings"))
    padding = getattr(next(tables, None), "padding_idx", None)
    if most is not None and padding is not None:
        most -= padding + 1  # models like RoBERTa count positions from behind the padding's
    if most is not None and tokens > most:
        raise InputError(f"{model.name} takes {most} tokens, and {tokens} were asked for; ask for fewer.")
    encoding = model.tokenizer.encode(text[: 16 * windows * tokens], add_special_tokens=False)
    ids = list(encoding.ids)
    ends = model.tokenizer.encode("", add_special_tokens=True).ids if model.special else []
    own = tokens - len(ends)
    if len(ids) < 2:
        raise InputError(f"The text has {len(ids)} tokens; give a text of two tokens or more.")
    if own < 1:
        raise InputError(
            f"{model.name} puts {len(ends)} tokens of its own around a text, and {tokens} were asked for; ask for "
            f"{len(ends) + 1} or more."
        )
    count = max(1, min(windows, len(ids) // own))
    step = len(ids) // count
    half = -(-len(ends) // 2)
    made = []
    for number in range(count):
        row = torch.tensor([[*ends[:half], *ids[number * step : number * step + own], *ends[half:]]])
        row = row.to(model.model.device)
        made.append({"input_ids": row, "attention_mask": torch.ones_like(row)})
    return made
