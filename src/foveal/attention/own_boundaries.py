"""Boundary predictors that were trained here (`foveal train boundaries`), found by the model that they are for.

    HOME/models/<name>/boundaries.safetensors

A predictor serves the models of its architecture, as a shipped one does; of several the one that was made last.
"""

from __future__ import annotations

import logging
from functools import lru_cache
from pathlib import Path
from typing import Any

from foveal.attention.boundaries import BoundaryPredictor
from foveal.attention.profiles import architecture_of
from foveal.attention.remarks import warn_once
from foveal.errors import InputError
from foveal.settings import Settings

FILE = "boundaries.safetensors"

log = logging.getLogger("foveal.attention")


def own_predictor(config: Any, home: Path | None = None) -> BoundaryPredictor | None:
    """The last one that was trained for a model of this configuration, in `home` (None: that of the settings)."""
    places = sorted(((Settings.load().home if home is None else home) / "models").glob(f"*/{FILE}"))
    found = []
    for place in places:
        made = place.stat().st_mtime_ns
        predictor = _loaded(str(place), made)
        if predictor and predictor.origin and predictor.origin.architecture == architecture_of(config):
            found.append((made, str(place), predictor))
    return max(found, key=lambda one: one[:2])[2] if found else None


@lru_cache(maxsize=8)
def _loaded(place: str, made: int) -> BoundaryPredictor | None:  # noqa: ARG001 (another file in its place is another)
    try:
        return BoundaryPredictor.load(Path(place))
    except InputError as error:  # other models need it not
        warn_once(log, "The boundary predictor %s is left out: %s", place, str(error))
        return None
