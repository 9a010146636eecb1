"""The folder of a model with landmarks: a decoder's own files, its learnt vectors, and landmark.json, written last.

landmark.safetensors     the landmark; a variant has vectors besides (landmark_variants.py, landmark_masked.py)
landmark.json            the settings and the version of their kind; a folder with it is whole
"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from torch import Tensor

from foveal.errors import InputError, ModelUnavailable
from foveal.evaluation.files import whole_file
from foveal.models.quiet import quiet

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

    Kind = TypeVar("Kind", bound=DataclassInstance)

TOLD_IN, LANDMARK = "landmark.json", "landmark.safetensors"


def save_settings(folder: Path, settings: DataclassInstance, version: int | str) -> None:
    """Write landmark.json, whole or not at all."""
    with whole_file(folder / TOLD_IN) as partial:
        partial.write_text(json.dumps({"version": version, **asdict(settings)}, indent=2) + "\n", "utf-8")


def kept_settings(folder: Path, kind: type[Kind], version: int | str, otherwise: str) -> Kind | None:
    """What landmark.json holds; None: there is none.

    ModelUnavailable: it is damaged, holds a value that cannot be, or is of another version: `otherwise` says what then.
    """
    path = folder / TOLD_IN
    if not path.is_file():
        return None
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
        found = told.pop("version")
        if found == version:
            return kind(**told)
    except (ValueError, TypeError, KeyError, AttributeError, InputError) as error:
        raise ModelUnavailable(f"{path} is damaged ({error}). Train or copy the model anew.") from error
    raise ModelUnavailable(f"{path} is of version {found!r}; {version!r} is read here. {otherwise}")


def save_vector(path: Path, vector: Tensor) -> None:
    """Write a learnt vector, whole or not at all."""
    from safetensors.torch import save_file

    with whole_file(path) as partial:
        save_file({"landmark": vector.detach().cpu().contiguous()}, str(partial))


def vector_in(path: Path, shape: torch.Size) -> Tensor:
    """A learnt vector that is kept in a file. ModelUnavailable: it is missing, damaged, or of another width."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        found = load_file(str(path))["landmark"]
    except (OSError, KeyError, SafetensorError) as error:
        raise ModelUnavailable(f"{path} is missing or damaged ({error}). Train or copy the model anew.") from error
    if found.shape != shape:
        raise ModelUnavailable(f"{path} holds a vector {tuple(found.shape)}; the decoder needs {tuple(shape)}.")
    return found


def decoder_in(folder: Path, dtype: torch.dtype) -> Any:
    """A decoder of transformers. ModelUnavailable: it cannot be loaded, or lacks weights."""
    from safetensors import SafetensorError
    from transformers import AutoModelForCausalLM

    try:
        with quiet():
            found: Any = AutoModelForCausalLM.from_pretrained(
                folder, dtype=dtype, local_files_only=True, use_safetensors=True, output_loading_info=True
            )
    except (OSError, ValueError, KeyError, RuntimeError, ImportError, SafetensorError) as error:
        raise ModelUnavailable(
            f"{folder} could not be loaded as a decoder ({error}). Fetch or train it anew."
        ) from error
    model, loaded = found
    if loaded["missing_keys"]:
        raise ModelUnavailable(f"{folder} lacks weights, the first is {min(loaded['missing_keys'])}. Train it anew.")
    return model
