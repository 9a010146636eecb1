"""Trains landmark attention's variants by the recipe of landmark_training.py, which stays as it is.

    chosen = LandmarkTraining(landmarks=LandmarkVariantSettings(block=32, train_length=512, miss=0.5))
    folder, report = train_variant(texts, None, chosen, run=RunSettings(home=home))   # or MaskedLandmarks

Masked models tell a share of the window's tokens from both sides; before and after are perplexities of masked tokens,
in a window and, chunk by chunk, in a text of many. A decoder that there is learns with all of its weights: the new
vectors are no part of its low-rank changes.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from foveal.attention.landmark_masked import MaskedLandmarks
from foveal.attention.landmark_training import LandmarkTraining, trained
from foveal.attention.landmark_variants import LandmarkVariant, LandmarkVariantSettings
from foveal.errors import InputError
from foveal.training.report import Report
from foveal.training.runs import RunSettings


def train_variant(
    texts: Sequence[str],
    base: str | None,
    settings: LandmarkTraining,
    *,
    run: RunSettings[Any],
) -> tuple[Path, Report]:
    """As `train_landmark`, of settings whose `landmarks` are `LandmarkVariantSettings`. InputError: they are not, they
    mask tokens and ask for pass keys, or the changes of a decoder were to be of low rank.
    """
    varied = settings.landmarks
    if not isinstance(varied, LandmarkVariantSettings):
        raise InputError(
            "A variant is trained by LandmarkVariantSettings; for plain landmarks there is train_landmark."
        )
    if varied.masked and settings.pass_keys:
        raise InputError("A model of masked tokens answers nothing, so it cannot learn pass keys. Leave them out.")
    if base is not None and settings.rank is not None:
        raise InputError("A variant's new vectors learn together with all of a decoder's weights: set the rank to 0.")
    if not any(one.strip() for one in texts):
        raise InputError("There is no text to learn from.")
    kind = MaskedLandmarks if varied.masked else LandmarkVariant
    return trained(kind, "landmark variant", texts, base, settings, run, said=_said(varied))


def _said(varied: LandmarkVariantSettings) -> str:
    parts = {"context-miss token": varied.miss, "dropped groups": varied.group_dropout, "masked tokens": varied.masked}
    return ", ".join(name for name, share in parts.items() if share) or "no variant"
