"""Trains landmark attention's variants by the recipe of landmark_training.py, which stays as it is.

    chosen = LandmarkTraining(landmarks=LandmarkVariantSettings(block=32, train_length=512, miss=0.5))
    folder, report = train_variant(texts, None, chosen, home=home)             # LandmarkVariant, or MaskedLandmarks

Masked models tell a share of the window's tokens from both sides; before and after are perplexities of masked tokens,
in a window and, chunk by chunk, in a text of many. A decoder that there is learns with all of its weights: the new
vectors are no part of its low-rank changes.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import torch

from foveal.attention.landmark_masked import MaskedLandmarks
from foveal.attention.landmark_training import SCRATCH, LandmarkTraining, _base_folder, _parts, _trained, own_decoder
from foveal.attention.landmark_training import own_tokenizer as learnt_tokenizer
from foveal.attention.landmark_variants import LandmarkVariant, LandmarkVariantSettings
from foveal.errors import InputError
from foveal.models.folders import kept_fingerprint
from foveal.models.quiet import quiet
from foveal.settings import Settings
from foveal.training.loop import identity
from foveal.training.report import Report, plain_settings
from foveal.training.runs import TrainingRun
from foveal.training.watch import Progress


def train_variant(
    texts: Sequence[str],
    base: str | None,
    settings: LandmarkTraining,
    *,
    home: Path,
    name: str | None = None,
    on_progress: Callable[[Progress], None] = lambda _: None,
    anew: bool = False,
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
    text = "\n\n".join(one.strip() for one in texts if one.strip())
    if not text:
        raise InputError("There is no text to learn from.")
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]
    plain = {key: value for key, value in plain_settings(settings).items() if key != "loop"}
    depends_on = {"what": "landmark variant", "base": base or SCRATCH, "texts": digest, "landmark": json.dumps(plain)}
    if base is not None:
        depends_on["weights"] = kept_fingerprint(_base_folder(base), Settings.load().cache)
    run = TrainingRun.opened(home, name, identity(depends_on, settings.loop), kind="landmark", anew=anew)
    found = run.report()
    if found is not None:
        return run.place, found
    variant_kind = MaskedLandmarks if varied.masked else LandmarkVariant
    if base is None:
        tokenizer = learnt_tokenizer([text], settings.size.vocabulary)
        decoder = own_decoder(settings.size, len(tokenizer), settings.loop.seed, positions=varied.train_length)
        model = variant_kind(decoder, varied)
    else:
        from transformers import PreTrainedTokenizerFast

        tokenizer = PreTrainedTokenizerFast.from_pretrained(_base_folder(base), local_files_only=True)
        model = variant_kind.from_pretrained(_base_folder(base), varied)
    learnt, held = _parts(tokenizer, text, settings)
    if torch.cuda.is_available():
        model.to("cuda")
    report = _trained(model, tokenizer, learnt, held, settings, run, on_progress)
    report = replace(report, what=f"{_said(varied)}, {report.what}")
    with run.candidate() as made:
        model.save_pretrained(made)
        with quiet():
            tokenizer.save_pretrained(str(made))
        run.settle(made, report)
    return run.place, report


def _said(varied: LandmarkVariantSettings) -> str:
    parts = {"context-miss token": varied.miss, "dropped groups": varied.group_dropout, "masked tokens": varied.masked}
    return ", ".join(name for name, share in parts.items() if share) or "no variant"
