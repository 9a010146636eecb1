"""What a calibration is held against: the model as it is, other heads, all heads, other columns, other betas."""

from __future__ import annotations

from foveal.attention.act import ACT
from foveal.attention.act_evaluation import candidates, drawn_heads
from foveal.attention.act_files import Calibration
from foveal.attention.retrieval_heads import by_layer
from foveal.attention.sinks import OtherColumns
from foveal.models.language import LanguageModel

PLAIN, OURS, EVERY, COLUMNS = "as it is", "calibrated", "all candidate heads", "other columns of the same heads"

BETAS = (0.0, 0.7)
"""Others, of the same heads."""


def arms(model: LanguageModel, made: Calibration, *, draws: int = 5) -> dict[str, ACT | None]:
    """Name -> method: the model as it is first, then the calibration, then the controls.

    Random heads are as many as the calibration names; where it names none there is nothing to draw, and only all heads
    are tried beside the model as it is.
    """
    heads, rule, beta = by_layer(made.heads), made.rule, made.beta
    among = candidates(model)
    found: dict[str, ACT | None] = {PLAIN: None, OURS: ACT(heads, beta=beta, rule=rule)}
    if heads:
        for draw in range(draws):
            drawn = by_layer(drawn_heads(among, min(len(among), len(made.heads)), draw))
            found[f"{len(made.heads)} heads, draw {draw + 1}"] = ACT(drawn, beta=beta, rule=rule)
        found[COLUMNS] = ACT(heads, beta=beta, rule=rule, columns=OtherColumns(rule=rule))
        for other in BETAS:
            found[f"calibrated, beta {other:g}"] = ACT(heads, beta=other, rule=rule)
    found[EVERY] = ACT(by_layer(among), beta=beta, rule=rule)
    return found
