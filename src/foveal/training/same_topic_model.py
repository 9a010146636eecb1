"""A same-topic model: heads, their sum of calibrated log-odds, and the threshold below which a section ends.

    model = SameTopicModel.load(folder, encoder)
    model.log_odds(Paragraphs(texts))         # (n - 1,): log-odds that the section goes on, for each gap
    model.votes(Paragraphs(texts))            # the paper's ensemble: each head votes; a tie counts as the same

Folder    same_topic.json (heads, calibration, threshold, what it was trained on), same_topic.safetensors (all arrays),
          and for a head that is a model of its own a folder of its name. Written whole or not at all
Sum       heads are brought to log-odds by Platt's fit on documents not learnt from, added, and the sum brought to
          log-odds again: heads that agree because they read the same vectors would otherwise be too sure
Source    Aumiller et al., ICAIL 2021 (majority vote); the sum is ours
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from foveal.errors import InputError, ModelUnavailable
from foveal.evaluation.files import whole_file
from foveal.models import load_encoder
from foveal.models.encoders import encoder_of
from foveal.training import checkpoints, model_folders
from foveal.training.same_topic_fitting import Platt
from foveal.training.same_topic_heads import (
    CrossHead,
    Floats,
    Head,
    LayoutHead,
    Paragraphs,
    TopicHead,
    VectorHead,
    gap_scores,
)
from foveal.types import Encoder

ABOUT, WEIGHTS = "same_topic.json", "same_topic.safetensors"
VERSION = 1


@dataclass(frozen=True, kw_only=True)
class SameTopicModel:
    """Heads by name, what brings each to log-odds, and from where on a section ends."""

    heads: Mapping[str, Head]
    platts: Mapping[str, Platt] = field(default_factory=dict)  # of each head
    whole: Platt = field(default_factory=Platt)  # of their sum
    threshold: float = 0.0  # log-odds of the whole; below it a section ends
    thresholds: Mapping[str, float] = field(default_factory=dict)  # of each head, for the vote
    reach: int = 1  # paragraphs that a pair may be apart, for heads that can tell
    card: Mapping[str, Any] = field(default_factory=dict)  # base, data, licences, measured

    def __post_init__(self) -> None:
        if not self.heads or self.reach < 1:
            raise InputError(
                f"A same-topic model got {len(self.heads)} heads, reach={self.reach}; it needs at least "
                "one head and a reach of 1."
            )

    def head_log_odds(self, read: Paragraphs) -> dict[str, Floats]:
        """Of each head, for each gap (n - 1,)."""
        return {
            name: self.platts.get(name, Platt())(gap_scores(head, read, self.reach))
            for name, head in self.heads.items()
        }

    def log_odds(self, read: Paragraphs) -> Floats:
        """For each gap (n - 1,) the log-odds that the section goes on."""
        said = self.head_log_odds(read)
        return self.whole(np.sum(list(said.values()), axis=0, dtype=np.float32))

    def votes(self, read: Paragraphs) -> NDArray[np.bool_]:
        """For each gap (n - 1,) whether at least half of the heads say that the section goes on."""
        said = self.head_log_odds(read)
        yes = np.sum([odds >= self.thresholds.get(name, 0.0) for name, odds in said.items()], axis=0)
        same: NDArray[np.bool_] = 2 * yes >= len(said)
        return same

    def only(self, *names: str) -> SameTopicModel:
        """Some of its heads, their sum not calibrated anew."""
        return replace(self, heads={name: self.heads[name] for name in names}, whole=Platt())

    def save(self, folder: Path, *, replaced: bool = False, half: bool = False) -> Path:
        """Write the folder, whole or not at all; `half`: arrays in float16. InputError: it is there already."""
        partial = folder.parent / f".{folder.name}-partial"
        if partial.exists():
            shutil.rmtree(partial)
        partial.mkdir(parents=True)
        arrays = {
            f"{name}.{part}": np.ascontiguousarray(values, dtype=np.float16 if half else np.float32)
            for name, head in self.heads.items()
            for part, values in head.arrays().items()
        }
        with whole_file(partial / WEIGHTS) as file:  # as others may read it: safetensors alone would keep it to oneself
            save_file(arrays, str(file))
        checkpoints.write(partial / ABOUT, self._about())
        for name, head in self.heads.items():
            kept = getattr(head, "folder", None)
            if kept is not None:
                shutil.copytree(kept, partial / name)
        return model_folders.moved(partial, folder, replace=replaced)

    @classmethod
    def load(cls, folder: Path, encoder: Encoder | None) -> SameTopicModel:
        """The model in `folder` over `encoder`, which must be the one that it was trained over (None: load it).

        ModelUnavailable: there is none, or it is damaged. InputError: it needs another encoder.
        """
        told = checkpoints.read(folder / ABOUT)
        if told is None or told.get("version") != VERSION:
            raise ModelUnavailable(
                f"{folder} holds no same-topic model of this version of Foveal. Train one: foveal train segmenter"
            )
        base = fitting_encoder(told["card"], encoder, folder)
        try:
            arrays = load_file(str(folder / WEIGHTS))
            heads = {one["name"]: _head(one, arrays, base, folder) for one in told["heads"]}
        except (OSError, KeyError, ValueError, SafetensorError) as error:
            raise ModelUnavailable(
                f"{folder} is damaged ({type(error).__name__}: {error}). Train it anew: foveal train segmenter"
            ) from error
        return cls(
            heads=heads,
            platts={one["name"]: Platt(**one["platt"]) for one in told["heads"]},
            thresholds={one["name"]: one["threshold"] for one in told["heads"]},
            whole=Platt(**told["whole"]),
            **{name: told[name] for name in ("threshold", "reach", "card")},
        )

    def _about(self) -> dict[str, Any]:
        heads = [
            {
                "name": name,
                "kind": head.kind,
                "topics": list(getattr(head, "topics", ())),
                "platt": asdict(self.platts.get(name, Platt())),
                "threshold": self.thresholds.get(name, 0.0),
            }
            for name, head in self.heads.items()
        ]
        return {
            "version": VERSION,
            "heads": heads,
            "whole": asdict(self.whole),
            "threshold": self.threshold,
            "reach": self.reach,
            "card": dict(self.card),
        }


def fitting_encoder(card: Mapping[str, Any], encoder: Encoder | None, folder: Path) -> Encoder:
    """`encoder`, or the one that the card names. InputError: it is not the one that the heads were trained over.
    ModelUnavailable: it is gone.
    """
    base = encoder or encoder_of(folder, card["encoder"])
    if base.fingerprint != card["fingerprint"]:
        raise InputError(
            f"The same-topic model in {folder} was trained over the vectors of {card['encoder']}, and {base.name} "
            "gives others. Use that encoder, or train a model over this one: foveal train segmenter --encoder …"
        )
    return base


def _head(told: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]], encoder: Encoder, folder: Path) -> Head:
    """A head from what was saved of it."""
    name, kind = told["name"], told["kind"]
    own = {
        key.removeprefix(f"{name}."): np.asarray(values, dtype=np.float32)
        for key, values in arrays.items()
        if key.startswith(f"{name}.")
    }
    if kind == "topics":
        return TopicHead(encoder, own["weights"], own["biases"], tuple(told["topics"]))
    if kind == "layout":
        return LayoutHead(own["weights"], float(own["bias"][0]))
    if kind == "cross":
        from foveal.training.same_topic_tuned import pair_scorer  # sentence-transformers, only where it is needed

        return CrossHead(pair_scorer(folder / name), folder / name)
    if kind == "bi":
        tuned = load_encoder(str(folder / name))
        return VectorHead(tuned, own["weights"], float(own["bias"][0]), kind="bi", folder=folder / name)
    return VectorHead(encoder, own["weights"], float(own["bias"][0]))
