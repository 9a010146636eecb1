"""Model folders that may be loaded: weights as safetensors, no pickles, no code of their own.

    require_safe(folder)        # before anything of it is read; ModelUnavailable says what is wrong

Why        A pickle runs whatever its maker put in when it is read; so do modules that a folder names or brings. Weights
           as safetensors, or as GGUF that we convert (gguf.py), are numbers and nothing else
Asked      never: transformers, which would ask on the terminal whether to run a folder's code, may not (quiet.py)
Never      torch.load, pickle, joblib, `trust_remote_code`: tests/models/test_safe_folders.py reads the source for them
But        optimiser and random states of our own checkpoints (training/checkpoints.py), which transformers reads with
           `weights_only`; they are written by this user into their own home, and are no result
"""

from __future__ import annotations

import json
from pathlib import Path

from foveal.errors import ModelUnavailable

PICKLED = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle", ".joblib")
"""Endings of files that hold pickles, or may."""

OWN_MODULES = "sentence_transformers."


def require_safe(folder: Path) -> None:
    """ModelUnavailable: the folder's weights are pickles, or it names code that is not sentence-transformers' own."""
    _require_known(folder)
    modules = _modules(folder)
    for place in (folder, *(folder / path for _, path in modules if path)):
        pickled = sorted(path for path in place.glob("*") if path.suffix in PICKLED and path.is_file())
        if pickled and not any(place.glob("*.safetensors")):
            raise ModelUnavailable(
                f"{place} holds its weights as {pickled[0].name}, a pickle, which can run anything when it is read. "
                "Take a copy with safetensors; most models have one."
            )
    foreign = [kind for kind, _ in modules if not kind.startswith(OWN_MODULES)]
    if foreign:
        raise ModelUnavailable(
            f"{folder} asks for the module {foreign[0][:80]!r}, which is not one of sentence-transformers. Code of a "
            "model is not run; take another model."
        )


def _require_known(folder: Path) -> None:
    """ModelUnavailable: the configuration names code of the model's own, of a kind that transformers does not have."""
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return  # there is none, or whoever loads it says what is wrong with it
    if not isinstance(config, dict) or not config.get("auto_map"):
        return
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    if config.get("model_type") not in CONFIG_MAPPING:  # else transformers' own code is taken
        raise ModelUnavailable(
            f"{folder} is a model of the kind {str(config.get('model_type'))[:80]!r}, which comes with code of its "
            "own. Code of a model is not run; take another model."
        )


def _modules(folder: Path) -> list[tuple[str, str]]:
    """The classes that a folder of sentence-transformers is made of, and the folders of these."""
    path = folder / "modules.json"
    if not path.is_file():
        return []
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        return [(str(one["type"]), str(one.get("path", ""))) for one in found]
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise ModelUnavailable(f"{path} cannot be read ({type(error).__name__}). Fetch the model anew.") from error
