"""bench lexsembridge, images: a crop finds the image that it was cut from, with and without the bridge.

Data       CIFAR-10's small copy: 2,000 test images are searched, the training images fit encoder and codebook
Encoder    made on the spot: each patch by its principal components, an image by their mean and deviation. It is a weak
           one; the bridge takes any
Bridges    untrained, from the searched images' vectors; trained on crops of training images; and the control, trained
           alike with another image's patches in place of a crop's own
"""

from __future__ import annotations

import hashlib
import io
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from foveal.bench.lexsembridge_data import trained_by
from foveal.bench.settings import BenchSettings
from foveal.errors import InputError
from foveal.evaluation.fine_grained import SHARES, crop, recall_at_1
from foveal.evaluation.tables import Row
from foveal.models.lexsembridge import Bridge, BridgeSettings, Reading
from foveal.registry import require
from foveal.retrieval.flat import Floats
from foveal.retrieval.lexsembridge_vision import Image, PatchUnits, VisionBridge, patches
from foveal.training.lexsembridge_frozen import fit_on_vectors, joined, placed
from foveal.training.loop import LoopSettings

EDGE, STEP, COMPONENTS = 6, 3, 32
LEARNT, SEARCHED, QUICK = 2000, 2000, 400
"""Images that fit encoder and codebook, and that are searched; the latter with `--quick`."""


@dataclass(frozen=True)
class PatchEncoder:
    """Images to unit vectors (n, 2 C): mean and deviation of C principal components over an image's patches."""

    mean: Floats  # (P,), of a patch
    axes: Floats  # (P, C)
    centre: Floats  # (2 C,)
    scale: Floats  # (2 C,)

    @classmethod
    def fit(cls, images: Sequence[Image], *, components: int = COMPONENTS) -> PatchEncoder:
        """Principal axes of the images' patches, and the spread of the images' own numbers."""
        every = np.concatenate([patches(image, EDGE, STEP) for image in images])
        mean = every.mean(axis=0)
        centred = every - mean
        axes = np.linalg.eigh(centred.T @ centred)[1][:, ::-1][:, :components].astype(np.float32)
        raw = cls(mean, axes, np.zeros(2 * components, np.float32), np.ones(2 * components, np.float32))._raw(images)
        return cls(mean, axes, raw.mean(axis=0), raw.std(axis=0) + 1e-6)

    def encode(self, images: Sequence[Image]) -> Floats:
        """Vectors (len(images), 2 C), float32."""
        made = (self._raw(images) - self.centre) / self.scale
        vectors: Floats = (made / np.maximum(np.linalg.norm(made, axis=1, keepdims=True), 1e-9)).astype(np.float32)
        return vectors

    def _raw(self, images: Sequence[Image]) -> Floats:
        rows = []
        for image in images:
            projected = (patches(_at_least(image, EDGE), EDGE, STEP) - self.mean) @ self.axes
            rows.append(np.concatenate([projected.mean(axis=0), projected.std(axis=0)]))
        return np.array(rows, dtype=np.float32)


def images(settings: BenchSettings) -> Iterator[Row]:
    """Recall@1 of crops, plain and bridged, and of the control."""
    folder, quick = settings.data / "cifar10-small", settings.quick
    learnt = load(folder / "train.tar.gz", LEARNT // 4 if quick else LEARNT)
    searched = load(folder / "test.tar.gz", QUICK if quick else SEARCHED)
    yield from image_rows(learnt, searched, settings)


def image_rows(
    learnt: Sequence[Image], searched: Sequence[Image], settings: BenchSettings, *, units: int = 256, steps: int = 300
) -> Iterator[Row]:
    """The rows over images to learn from and to search."""
    encoder = PatchEncoder.fit(learnt)
    codebook = PatchUnits.fit(learnt, edge=EDGE, step=STEP, count=units, seed=settings.seed)
    stored = encoder.encode(searched)
    collection = VisionBridge.of_collection(codebook, searched, stored)
    systems = {
        "untrained bridge": collection,
        "trained bridge": trained(learnt, encoder, codebook, settings, steps, shuffled=False),
        "control": trained(learnt, encoder, codebook, settings, steps, shuffled=True),
    }
    gains: dict[str, list[float]] = {name: [] for name in systems}
    for share in SHARES:
        crops = [crop(image, share) for image in searched]
        asked = encoder.encode(crops)
        plain = recall_at_1(asked, stored)
        note = f"{len(searched):,} images; mean and deviation of {COMPONENTS} components of {EDGE} x {EDGE} patches"
        yield Row.of(f"images, crop of {share:.0%}: plain encoder", "recall@1", plain, note=note)
        for name, bridge in systems.items():
            found = recall_at_1(bridge.encode_query(crops, asked), stored)
            gains[name].append(found - plain)
            yield Row.of(f"images, crop of {share:.0%}: {name}", "recall@1", found, note=NOTES[name])
    metric, means = "recall@1, mean of all crops", {name: float(np.mean(values)) for name, values in gains.items()}
    yield Row.of("images: gain of the untrained bridge", metric, means["untrained bridge"], at_least=1e-4)
    yield Row.of("images: gain of the trained bridge", metric, means["trained bridge"], at_least=0.005)
    over = means["trained bridge"] - means["control"]
    yield Row.of("images: trained bridge over the control", metric, over, at_least=1e-4)


NOTES = {
    "untrained bridge": "W from the searched images' own vectors",
    "trained bridge": "W and c from crops of training images",
    "control": "trained alike, each image with another one's patches",
}


def trained(
    learnt: Sequence[Image],
    encoder: PatchEncoder,
    codebook: PatchUnits,
    settings: BenchSettings,
    steps: int,
    *,
    shuffled: bool,
) -> VisionBridge:
    """A bridge trained on crops of these images, a fifth of which choose the step. `shuffled`: by others' patches."""
    made = VisionBridge(codebook, Bridge(codebook.size, 2 * len(encoder.axes[0]), BridgeSettings()))
    cut = len(learnt) * 4 // 5
    vectors = encoder.encode(learnt)

    def asked(images: Sequence[Image], share: float) -> list[Reading]:
        crops = [crop(image, share) for image in images]
        readings = made.readings(crops, encoder.encode(crops))
        if not shuffled:
            return readings
        order = np.random.default_rng(settings.seed).permutation(len(readings))
        return [replace(reading, ids=readings[other].ids) for reading, other in zip(readings, order, strict=True)]

    chosen = {share: joined(asked(learnt[cut:], share)) for share in SHARES}

    def measure(bridge: Any) -> Mapping[str, float]:
        made = [bridge(placed(reading, bridge)).cpu().numpy() for reading in chosen.values()]
        found = [recall_at_1(one, vectors[cut:]) for one in made]
        return {"recall@1": float(np.mean(found))}

    readings = [reading for share in SHARES for reading in asked(learnt[:cut], share)]
    loop = LoopSettings(
        steps=steps, batch=128, learning_rate=3e-3, seed=settings.seed, evaluate_every=max(1, steps // 6)
    )
    name = f"images-{len(learnt)}-{steps}-{settings.seed}" + ("-shuffled" if shuffled else "")
    digest = hashlib.sha256(vectors.tobytes() + codebook.centroids.tobytes() + trained_by().encode()).hexdigest()
    fit_on_vectors(
        made.bridge, readings, [*range(cut)] * len(SHARES), vectors[:cut], loop,
        settings.cache / "training" / "runs" / "lexsembridge" / f"{name}-{digest[:8]}",
        evaluate=measure, metric="recall@1", identity={"images": digest, "shuffled": str(shuffled)},
    )  # fmt: skip
    return made


def load(path: Path, count: int) -> list[Image]:
    """`count` images of a tar, evenly from all of it. InputError: it is not there."""
    if not path.is_file():
        raise InputError(f"{path} is not there; the images are CIFAR-10's small copy. Name its folder by FOVEAL_DATA.")
    pillow = require("PIL.Image", extra="bench")
    with tarfile.open(path) as tar:
        members = sorted((one for one in tar.getmembers() if one.isfile()), key=lambda one: one.name)
        places = np.linspace(0, len(members) - 1, min(count, len(members))).astype(int)
        read = [tar.extractfile(members[place]) for place in places]
        return [
            np.asarray(pillow.open(io.BytesIO(file.read())).convert("RGB"), dtype=np.uint8)
            for file in read
            if file is not None
        ]


def _at_least(image: Image, edge: int) -> Image:
    """The image, its last rows and columns repeated until a patch fits in."""
    missing = [(0, max(0, edge - length)) for length in image.shape[:2]]
    return np.pad(image, [*missing, (0, 0)], mode="edge")
