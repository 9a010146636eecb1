"""Draws the two pictures of docs/landmark.md: the weights of a small example, and where blocks stand as a text grows.

python docs/dev/landmark.py
"""

from __future__ import annotations

import math
from pathlib import Path

import torch

from foveal.attention.landmark import is_landmark, landmark_attention
from foveal.attention.landmark_cache import LandmarkLayer, ReadSettings
from foveal.attention.landmark_training import DecoderSize, own_decoder
from foveal.attention.unrotated import Rotations
from foveal.evaluation.plots import heatmap

IMAGES = Path(__file__).parents[1] / "images"
LENGTH, BLOCK, TOP_K = 14, 4, 4

scores = 2 * torch.randn(1, 1, LENGTH, LENGTH, generator=torch.Generator().manual_seed(3))
keys = torch.eye(LENGTH)[None, None]
weights = landmark_attention(scores, keys, keys, block=BLOCK, scale=1.0)[0][0, 0]
marks = is_landmark(LENGTH, BLOCK).tolist()
names = ["landmark" if mark else f"token {place - sum(marks[:place])}" for place, mark in enumerate(marks)]
future = torch.ones(LENGTH, LENGTH, dtype=torch.bool).triu(1)
heatmap(
    weights.masked_fill(future, math.nan).tolist(), IMAGES / "landmark-weights.png",
    title="What each position looks at: blocks of 3 tokens and a landmark", x_label="looked at", y_label="looks",
    value_label="weight", x_names=names, y_names=names, limits=(0.0, 1.0),
)  # fmt: skip

layer = LandmarkLayer(
    0, BLOCK, ReadSettings(top_k=TOP_K), Rotations.take(own_decoder(DecoderSize(), 300, 0, positions=64))
)
rows = []
for stored in range(1, 10):
    layer.read = stored * BLOCK
    row = [math.nan] * (TOP_K + 2)
    moved = (layer._latest_places(torch.device("cpu")) // BLOCK).tolist()
    for block, slot in enumerate([0] * (stored - len(moved)) + moved):
        row[slot] = block + 1.0
    row[min(stored, TOP_K + 1)] = stored + 1.0
    rows.append(row)
heatmap(
    rows, IMAGES / "landmark-positions.png",
    title="Where blocks stand to be scored, k = 4", x_label="place, in blocks",
    y_label="blocks that were read", value_label="block (the last one: the local text)",
    x_names=[str(place) for place in range(TOP_K + 2)], y_names=[str(stored) for stored in range(1, 10)],
)  # fmt: skip
