"""Training: examples and negatives, objectives, and the one loop that all trainable systems share.

    from foveal.training import Examples, RunSettings, train_encoder
    trained, report = train_encoder(Examples.of(load_beir(folder, "train")), "minilm", run=RunSettings(home=home))

Names load when they are used; importing this package loads nothing heavy. Needs `pip install 'foveal[train]'`.
"""

from typing import TYPE_CHECKING

from foveal.registry import at_first_use

if TYPE_CHECKING:
    from foveal.training.blockrank import train_blockrank
    from foveal.training.encoders import train_encoder
    from foveal.training.examples import Examples
    from foveal.training.late_encoders import train_late_encoder
    from foveal.training.loop import Job, train
    from foveal.training.loop_settings import LoopSettings
    from foveal.training.losses import LossSettings
    from foveal.training.rerankers import train_reranker
    from foveal.training.runs import RunSettings

_HOMES = {
    "Examples": "examples",
    "Job": "loop",
    "LoopSettings": "loop_settings",
    "LossSettings": "losses",
    "RunSettings": "runs",
    "train": "loop",
    "train_blockrank": "blockrank",
    "train_encoder": "encoders",
    "train_late_encoder": "late_encoders",
    "train_reranker": "rerankers",
}

__all__ = [
    "Examples",
    "Job",
    "LoopSettings",
    "LossSettings",
    "RunSettings",
    "train",
    "train_blockrank",
    "train_encoder",
    "train_late_encoder",
    "train_reranker",
]

if not TYPE_CHECKING:  # a type checker that saw it would take any misspelt name for something
    __getattr__ = at_first_use(__name__, _HOMES)


def __dir__() -> list[str]:
    return sorted(__all__)
