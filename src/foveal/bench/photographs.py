"""CIFAR-10's photographs as benches use them: halved in size by averaging, from tars of <class>/<number>.jpg."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from foveal.errors import InputError
from foveal.registry import require

SIDE = 16


def photographs(path: Path, most: int) -> tuple[Tensor, list[str]]:
    """At most so many, evenly spread over the tar: bytes (n, SIDE, SIDE, 3), and the class of each."""
    image = require("PIL.Image", extra="bench")
    with tarfile.open(path) as tar:
        members = [one for one in tar.getmembers() if one.name.endswith(".jpg")]
        if not members:
            raise InputError(f"{path} holds no photograph, <class>/<number>.jpg. Give it some.")
        chosen = members[:: max(1, len(members) // most)][:most]
        found = []
        for member in chosen:
            file = tar.extractfile(member)
            assert file is not None
            small = image.open(io.BytesIO(file.read())).convert("RGB").resize((SIDE, SIDE), image.Resampling.BOX)
            found.append(np.asarray(small, dtype=np.uint8))
    return torch.from_numpy(np.stack(found)), [Path(member.name).parent.name for member in chosen]
