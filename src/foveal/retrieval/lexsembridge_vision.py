"""LexSemBridge for images: a crop's vector is multiplied with a positive vector made of the crop's own patches.

Shapes    an image (H, W, 3), uint8; its units are the numbers of its patches in a codebook, one for each place
Source    Zhan et al., 2025, arXiv 2508.17858. Its code takes a patch's position for its number: every image then has
          the same units, SLR's v is the same for all, and says nothing of the image. Here a patch is what it looks
          like: the nearest of some centroids, as a word is what it spells
Needs     vectors of images by any encoder; nothing here knows which
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from foveal.errors import InputError
from foveal.retrieval.flat import Floats
from foveal.retrieval.quantised import drawn, drawn_centroids, kmeans, nearest

if TYPE_CHECKING:
    from foveal.models.lexsembridge import Bridge, Reading

Image = npt.NDArray[np.uint8]
"""(H, W, 3)"""

REACH = 0.3
"""Most that log v spreads: an image has more patches than a query words. Chosen on training images of the bench."""


@dataclass(frozen=True)
class PatchUnits:
    """A codebook of patches: square ones of `edge` pixels, one at every `step` pixels."""

    centroids: Floats  # (C, edge * edge * 3)
    edge: int
    step: int

    @classmethod
    def fit(
        cls,
        images: Sequence[Image],
        *,
        edge: int = 6,
        step: int = 3,
        count: int = 512,
        sample: int = 20_000,
        seed: int = 0,
    ) -> PatchUnits:
        """The codebook of k-means over `sample` of the images' patches. InputError: too few of them."""
        if min(edge, step, count) < 1:
            raise InputError(f"Patches got edge={edge}, step={step}, count={count}; each needs to be at least 1.")
        every = np.concatenate([patches(image, edge, step) for image in images]) if len(images) else np.empty((0, 1))
        if len(every) < count:
            raise InputError(
                f"{len(every)} patches were to give a codebook of {count}. Give more images, or ask for fewer."
            )
        points = drawn(every.astype(np.float32), sample, seed)[None]
        return cls(kmeans(points, drawn_centroids(points, count, seed))[0], edge, step)

    @property
    def size(self) -> int:
        """Units that there are."""
        return len(self.centroids)

    def of_image(self, image: Image) -> list[int]:
        """The unit at each place; none where the image is smaller than a patch."""
        found = patches(image, self.edge, self.step)
        return [int(unit) for unit in nearest(found[None], self.centroids[None])[0]] if len(found) else []


class VisionBridge:
    """Vectors of images, by any encoder, and the images' patches -> bridged vectors."""

    def __init__(self, units: PatchUnits, bridge: Bridge) -> None:
        """InputError: the bridge is for another number of patches than the codebook has."""
        if bridge.size != units.size:
            raise InputError(
                f"The bridge is for {bridge.size} patches, the codebook has {units.size}; both must agree."
            )
        self.units, self.bridge = units, bridge.eval()

    @classmethod
    def of_collection(
        cls, units: PatchUnits, images: Sequence[Image], vectors: Floats, *, reach: float | None = REACH
    ) -> VisionBridge:
        """W from the images that are searched and their vectors (N, d), as for words; nothing is trained.

        `training.lexsembridge_frozen.fit_on_vectors` trains one, on crops of any images.
        """
        from foveal.models.lexsembridge import Bridge, BridgeSettings
        from foveal.models.lexsembridge_reading import corpus_weights

        bridge = Bridge(units.size, vectors.shape[1], BridgeSettings(reach=reach))
        holding = [units.of_image(image) for image in images]
        bridge.weight.data.copy_(corpus_weights(holding, vectors, units.size))
        return cls(units, bridge)

    def readings(self, images: Sequence[Image], vectors: Floats) -> list[Reading]:
        """What the bridge is told of each image, for training."""
        import torch

        from foveal.models.lexsembridge import Reading

        plain = torch.from_numpy(np.asarray(vectors, dtype=np.float32))
        ids = [torch.tensor([self.units.of_image(image)], dtype=torch.long) for image in images]
        return [Reading(plain[row : row + 1], found) for row, found in enumerate(ids)]

    def encode_query(self, images: Sequence[Image], vectors: Floats) -> Floats:
        """Unit vectors (n, d) of images whose plain vectors are given; one without a patch keeps its own direction."""
        import torch

        from foveal.models.lexsembridge import Reading
        from foveal.models.lexsembridge_reading import padded

        if len(images) != len(vectors):
            raise InputError(f"{len(images)} images came with {len(vectors)} vectors; each needs one.")
        ids = padded([self.units.of_image(image) for image in images])
        with torch.inference_mode():
            made: Floats = self.bridge(Reading(torch.from_numpy(np.asarray(vectors, dtype=np.float32)), ids)).numpy()
        return made


def patches(image: Image, edge: int, step: int) -> Floats:
    """Patches (P, edge * edge * 3) at every `step` pixels, row by row, of numbers from 0 to 1."""
    if image.ndim != 3 or image.shape[2] != 3:
        raise InputError(f"An image of shape {image.shape} came; it needs (height, width, 3).")
    if min(image.shape[:2]) < edge:
        return np.empty((0, edge * edge * 3), dtype=np.float32)
    windows = np.lib.stride_tricks.sliding_window_view(image, (edge, edge), axis=(0, 1))[::step, ::step]
    return windows.reshape(-1, 3 * edge * edge).astype(np.float32) / np.float32(255)
