"""Draws docs/images/act-sinks.png: what `foveal heads sinks` finds in a paragraph, in the default model.

python docs/dev/act.py
"""

from __future__ import annotations

from pathlib import Path

from foveal.attention.sink_report import find_sinks
from foveal.models.language import load_language_model

IMAGES = Path(__file__).parents[1] / "images"
TEXT = (
    "The old mill stands by the river. Nobody knows who built it, and the books of the parish are lost.\n\n"
    "In spring the water rises. The keeper opens the gate, and the wheel begins to turn; people come from far away, "
    "for its flour is the best there is. In autumn he closes it again."
)

find_sinks(load_language_model(), TEXT).picture(IMAGES / "act-sinks.png")
