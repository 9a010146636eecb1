"""What event attention reads of a text, and its folder: hidden states of an encoder, save and load.

Folder     events.json (settings, the encoder's fingerprint), events.safetensors (the block), encoder/ (the encoder that
           was trained with it: documents are encoded by it alone)
Needs      an encoder of the BERT family (`bert.py`), which gives hidden states
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from foveal.errors import InputError, ModelUnavailable
from foveal.evaluation.files import whole_file
from foveal.models.dtypes import usual_type
from foveal.models.event_attention import EventAttention, settings_of
from foveal.types import Encoder

ABOUT, WEIGHTS, ENCODER = "events.json", "events.safetensors", "encoder"


def token_states(encoder: Encoder, texts: Sequence[str], tokens: int) -> list[Tensor]:
    """The last hidden states (L, d), float32, of the first `tokens` tokens of each text, special ones included.

    ModelUnavailable: the encoder is not of the BERT family.
    """
    from foveal.models.bert import BertEncoder
    from foveal.models.bert_torch import BATCH_TOKENS, batches, workers

    if not isinstance(encoder, BertEncoder):
        raise ModelUnavailable(
            f"{encoder.name} does not give hidden states, which event attention reads; encoders of the BERT family do, "
            "such as minilm."
        )
    read = [_cut(one.ids, tokens) for one in encoder.tokens(texts)]

    def made(places: Sequence[int]) -> Tensor:
        lengths = torch.tensor([len(read[place]) for place in places])
        ids = torch.zeros(len(places), int(lengths.max()), dtype=torch.long)
        for row, place in enumerate(places):
            ids[row, : len(read[place])] = torch.tensor(read[place])
        mask = torch.arange(ids.shape[1]) < lengths[:, None]
        with torch.inference_mode():
            return encoder.hidden(ids, mask).float()

    groups = list(batches([len(ids) for ids in read], BATCH_TOKENS))
    found: dict[int, Tensor] = {}
    for places, hidden in zip(groups, workers(len(groups)).map(made, groups), strict=True):
        found |= {place: hidden[row, : len(read[place])].clone() for row, place in enumerate(places)}
    return [found[place] for place in range(len(read))]


def _cut(ids: Sequence[int], tokens: int) -> list[int]:
    """The first tokens, the closing one kept."""
    return list(ids) if len(ids) <= tokens else [*ids[: tokens - 1], ids[-1]]


def write_event_model(folder: Path, attention: EventAttention, encoder: Encoder, *, copy_encoder: bool = True) -> Path:
    """Write the block into `folder`; `copy_encoder`: the encoder's folder, too."""
    from safetensors.torch import save_file

    own = getattr(encoder, "folder", None)
    if copy_encoder and own is not None and not (folder / ENCODER).exists():
        shutil.copytree(own, folder / ENCODER)
    folder.mkdir(parents=True, exist_ok=True)
    with whole_file(folder / WEIGHTS) as partial:
        save_file({name: value.contiguous() for name, value in attention.state_dict().items()}, partial)
    about = {
        "settings": asdict(attention.settings),
        "dimension": attention.dimension,
        "encoder": encoder.name,
        "fingerprint": encoder.fingerprint,
    }
    with whole_file(folder / ABOUT) as partial:
        partial.write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")
    return folder


def read_event_model(folder: Path, encoder: Encoder | None = None) -> tuple[EventAttention, Encoder]:
    """The block and its encoder: the one in the folder, else `encoder`, else by the name that is stated.

    ModelUnavailable: files are missing or damaged. InputError: the encoder is not the one that it was trained with.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    from foveal.models.encoders import encoder_of, load_encoder

    try:
        about: dict[str, Any] = json.loads((folder / ABOUT).read_text(encoding="utf-8"))
        state = load_file(folder / WEIGHTS)
        with usual_type():
            attention = EventAttention(int(about["dimension"]), settings_of(about["settings"]))
        attention.load_state_dict(state)
        name, stated = str(about["encoder"]), str(about["fingerprint"])
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
        raise ModelUnavailable(
            f"{folder} lacks the files of an event model, or they are damaged ({type(error).__name__}: {error}). Train "
            "it anew: foveal train events."
        ) from error
    if (folder / ENCODER).is_dir():
        encoder = load_encoder(str(folder / ENCODER))
    encoder = encoder or encoder_of(folder, name)
    if encoder.fingerprint != stated:
        raise InputError(
            f"The event model in {folder} was trained with the encoder {name} ({stated[:12]}); {encoder.name} is "
            f"another one now ({encoder.fingerprint[:12]}). Use its own encoder, or train one for this."
        )
    return attention.eval(), encoder
