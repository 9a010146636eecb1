"""Where a text falls into chunks that its later readers use apart: DHSA's labels, predictor and cuts.

A score at position i speaks of a cut behind token i: the chunk that holds i ends there, the next starts at i + 1.

Labels    rho(i): later queries pay the `w` tokens up to i and the `w` tokens behind it unequal attention; rho is how
          many times more the one side gets than the other. `label_boundaries` measures it from queries and keys
Predictor `BoundaryPredictor` guesses rho >= 2 from the 2w keys around i alone; one serves all layers of a model
Cuts      `boundaries_from` turns either score into starts of chunks, greedily, the highest score first

Shapes    queries (B, H, L, d), keys (B, G, L, d), both after the rotary embedding, H a multiple of G; channels C = G·d
          features (B, L, 2C)  ->  scores (B, L)  ->  per text boundaries (n + 1,), 0 first and L last
Source    DHSA (Xiong et al., arXiv 2510.24606): rho, the encoders attn, cnn and stack, the fusion, the suppression
          ours: rho without any L×L matrix; tokens encoded once for all windows that share them; the encoder tokens,
          and features apart from the text's mean key, without which hardly more is learnt than how frequent boundaries
          are: keys have large offsets that attention does not see. What they do tell is which layer it is
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn.functional import cosine_similarity, pad

from foveal.attention.boundary_encoders import ENCODERS
from foveal.errors import InputError
from foveal.evaluation.files import whole_file
from foveal.models.dtypes import native_bfloat16

VERSION = 1
EPSILON = 1e-6  # added to both sides of rho, in attention mass
CUT_RATIO = 2.0  # beta: a position is a boundary from this rho on
_BLOCK_NUMBERS = 2**22  # attention weights held at once by `label_boundaries`
_POSITIONS = 1024  # windows that the predictor encodes at once
_CHANNELS = 64  # of which deviations are taken at once


# labels


def label_boundaries(
    q: Tensor, k: Tensor, *, window: int = 4, query_window: int | None = None, scale: float | None = None
) -> Tensor:
    """The ratio rho >= 1 of each position (B, L), float64; 0 where it is not defined: i < 2w - 1 and i >= L - 2w.

    `window`: w, in tokens; `query_window`: keys that a query of a sliding layer sees, its own included (None: all
    before it); `scale` of the products, default d^-1/2. Rows that see neither window add nothing, so a sliding layer's
    sums end where the paper ends them. Attention is the mean over heads, in float32 (float64 for such inputs), summed
    in float64. Time O(L²·H·d), memory O(H·L). InputError: shapes that do not fit, or fewer than 2w tokens.
    """
    _check_pair(q, k, window)
    later = _mass_from_later_rows(q, k, 2 * window, query_window, q.shape[-1] ** -0.5 if scale is None else scale)
    length, first = q.shape[2], 2 * window - 1
    end = max(first, length - 2 * window)
    past, future = later.new_zeros(2, len(later), end - first)
    for step in range(window):
        past += later[:, first - step : end - step, window + step]
        future += later[:, first + step + 1 : end + step + 1, window - step - 1]
    rho = (torch.maximum(past, future) + EPSILON) / (torch.minimum(past, future) + EPSILON)
    return pad(rho, (first, length - end))


def _check_pair(q: Tensor, k: Tensor, window: int) -> None:
    fits = q.dim() == k.dim() == 4 and q.shape[0] == k.shape[0] and q.shape[2:] == k.shape[2:]
    if not fits or q.shape[1] % k.shape[1]:
        raise InputError(
            f"Queries {tuple(q.shape)} and keys {tuple(k.shape)} do not fit; give (B, H, L, d) and (B, G, L, d) of one "
            "whole text, H a multiple of G."
        )
    if window < 1 or q.shape[2] < 2 * window:
        raise InputError(f"A window of {window} tokens was asked of {q.shape[2]}; it needs 1 to half of them.")


def _mass_from_later_rows(q: Tensor, k: Tensor, near: int, query_window: int | None, scale: float) -> Tensor:
    """(B, L, near) float64: at [c, o] the attention that key c gets from all rows >= c + o.

    Rows at least `near` behind a key are summed over; of the nearer ones each weight is kept (no differences of sums).
    """
    batch, heads, length, _ = q.shape
    far = torch.zeros(batch, length, dtype=torch.float64, device=q.device)
    band = torch.zeros(batch, length, near, dtype=torch.float64, device=q.device)
    step = max(16, _BLOCK_NUMBERS // (batch * heads * length))
    for start in range(0, length, step):
        end = min(start + step, length)
        left = 0 if query_window is None else max(0, start - query_window + 1)
        weights = _mean_attention(q[:, :, start:end], k[:, :, left:end], start - left, query_window, scale)
        far[:, left:end] += weights.tril(start - left - near).sum(1, dtype=torch.float64)
        for distance in range(near):
            shift = start - left - distance
            diagonal = weights.diagonal(shift, dim1=1, dim2=2)
            column = left + max(shift, 0)
            band[:, column : column + diagonal.shape[1], distance] = diagonal.double()
    return band.flip(-1).cumsum(-1).flip(-1) + far[..., None]


def _mean_attention(q: Tensor, k: Tensor, offset: int, query_window: int | None, scale: float) -> Tensor:
    """Attention of queries (B, H, R, d), the first at key `offset`, over keys (B, G, K, d), mean over heads: (B, R, K).

    Each sees the last `query_window` keys up to its own.
    """
    batch, heads, rows, width = q.shape
    exact = torch.promote_types(q.dtype, torch.float32)
    folded = (q.to(exact) * scale).reshape(batch, k.shape[1], -1, width)  # the heads of one group share its keys
    logits = (folded @ k.to(exact).transpose(-1, -2)).view(batch, heads, rows, -1)
    place = torch.arange(k.shape[2], device=q.device)
    distance = torch.arange(rows, device=q.device)[:, None] + offset - place
    hidden = distance < 0 if query_window is None else (distance < 0) | (distance >= query_window)
    return logits.masked_fill_(hidden, float("-inf")).softmax(-1).mean(1)


# cuts


def boundaries_from(
    scores: Tensor,
    *,
    nms: int = 8,
    per_block: int = 8,
    block: int = 128,
    threshold: float | None = None,
    forced: Sequence[int] = (),
) -> Tensor:
    """The chunks' starts and the text's end, (n + 1,) int64, of one text's scores (L,).

    The highest score above `threshold` (None: any but -inf) is cut behind, then all within `nms` tokens of it are
    dropped, and so on, until `per_block` cuts for each whole `block` tokens are made; equal scores from left to right.
    `forced` are starts in 1 … L - 1 that are cut in any case and beside that number, and drop their neighbours too.
    InputError: not one row of numbers, or a forced start outside.
    """
    if scores.dim() != 1 or not len(scores) or bool(scores.isnan().any()):
        raise InputError(f"Boundaries are cut from one text's scores (L,), all numbers; got {tuple(scores.shape)}.")
    length = len(scores)
    if any(not 0 < start < length for start in forced):
        raise InputError(f"The forced starts {list(forced)} must lie in 1 to {length - 1}.")
    values = scores.detach().double().cpu().numpy()[:-1]  # behind the last token the text ends anyway
    order = np.argsort(-values, kind="stable")
    order = order[values[order] > (float("-inf") if threshold is None else threshold)]
    kept = _suppressed((order + 1).tolist(), sorted(set(forced)), nms, length // block * per_block, length)
    return torch.tensor([0, *sorted(kept), length], device=scores.device)


def _suppressed(starts: list[int], forced: list[int], nms: int, limit: int, length: int) -> list[int]:
    """`forced`, and at most `limit` of `starts`, none within `nms` of a better one."""
    taken, dropped = bytearray(length + 1), b"\x01" * (2 * nms + 1)
    kept: list[int] = []

    def keep(start: int) -> None:
        low, high = max(0, start - nms), min(length, start + nms) + 1
        taken[low:high] = dropped[: high - low]
        kept.append(start)

    for start in forced:
        keep(start)
    limit += len(forced)
    for start in starts:
        if len(kept) >= limit:
            break
        if not taken[start]:
            keep(start)
    return kept


def fixed_boundaries(length: int, size: int) -> Tensor:
    """Chunks of `size` tokens, the last one shorter: (n + 1,) int64."""
    if length < 1 or size < 1:
        raise InputError(f"{length} tokens in chunks of {size} were asked for; both must be at least 1.")
    return torch.tensor([*range(0, length, size), length])


# predictor


@dataclass(frozen=True, kw_only=True)
class Origin:
    """The model whose keys a predictor was trained on, and how well it did on texts held out."""

    model: str  # name or hub id
    fingerprint: str  # of the model's files
    architecture: str  # see profiles.architecture_of
    metrics: dict[str, float] = field(default_factory=dict)  # by name, such as "f1" and "f1 random"


class BoundaryPredictor(nn.Module):
    """The probability that later queries will use the two sides of a position unequally, from the keys around it.

    The last w tokens up to i and the w behind it (zeros outside the text) are encoded together, pooled to l and r, and
    [l, r, |l - r|, l·r, cos(l, r)] goes through one hidden layer to a logit.

    Encoders: boundary_encoders.py.
    """

    origin: Origin | None = None

    def __init__(
        self,
        channels: int,
        *,
        window: int = 4,
        hidden: int = 256,
        heads: int = 4,
        encoder: str = "attn",
        standardise: bool = True,
        gated: bool = False,
    ) -> None:
        """`channels`: C = key heads × head size; `heads` of the encoder's attention; `standardise`, see `features`;
        `gated`, see boundary_encoders.py.

        InputError: settings that make no predictor.
        """
        super().__init__()
        if encoder not in ENCODERS:
            raise InputError(f"No boundary encoder is called {encoder!r}. There are: {', '.join(ENCODERS)}.")
        if min(channels, window, hidden, heads) < 1 or channels % heads:
            raise InputError(
                f"A predictor got channels={channels}, window={window}, hidden={hidden}, heads={heads}; all must be "
                "positive and channels a multiple of heads."
            )
        if gated and encoder == "cnn":
            raise InputError(
                "The encoder 'cnn' makes one vector of a side and has no tokens to weigh; leave out gated."
            )
        self.settings = {
            "channels": channels, "window": window, "hidden": hidden, "heads": heads, "encoder": encoder,
            "standardise": standardise, "gated": gated,
        }  # fmt: skip
        self.channels, self.window = channels, window
        self.width = 2 * channels if standardise else channels
        self.encoder, width = ENCODERS[encoder](self.width, window, hidden, heads, gated)
        self.fused = nn.Linear(4 * width + 1, hidden)
        self.score = nn.Linear(hidden, 1)

    def features(self, k: Tensor) -> Tensor:
        """Keys (B, G, L, d) of whole texts, not repeated for the query heads, as features (B, L, 2C) float32.

        The first C are the token's keys, each channel at mean 0 and deviation 1 over the text; the others are asinh of
        the text's mean key, alike for all its tokens. Without `standardise`: the keys as they are, (B, L, C).
        """
        x = k.transpose(1, 2).flatten(2)
        return self._features(x, self._offsets(x))

    def _offsets(self, x: Tensor) -> tuple[Tensor, Tensor] | None:
        """Deviation and mean (B, 1, C) of keys (B, L, C) over their text, where features take them off."""
        if not self.settings["standardise"]:
            return None
        parts = [_deviation_and_mean(part.float()) for part in torch.split(x, _CHANNELS, -1)]
        deviation, mean = (torch.cat(several, -1) for several in zip(*parts, strict=True))
        return deviation.clamp(min=1e-6), mean

    def _features(self, x: Tensor, offsets: tuple[Tensor, Tensor] | None) -> Tensor:
        if offsets is None:
            return x.float()
        deviation, mean = offsets
        return torch.cat([(x.float() - mean) / deviation, mean.asinh().expand_as(x)], dim=-1)

    def forward(self, x: Tensor) -> Tensor:
        """Features (B, L, 2C) to logits (B, L), some positions at a time. InputError: another C."""
        if x.dim() != 3 or x.shape[-1] != self.width:
            raise InputError(
                f"The boundary predictor reads features (B, L, {self.width}); got {tuple(x.shape)}. "
                "It serves only the model that it was trained on."
            )
        tokens = pad(x, (0, 0, self.window - 1, self.window))
        beyond = 2 * self.window - 1
        return torch.cat(
            [
                self._logits(tokens[:, start : min(start + _POSITIONS, x.shape[1]) + beyond])
                for start in range(0, x.shape[1], _POSITIONS)
            ],
            dim=1,
        )

    def _logits(self, tokens: Tensor) -> Tensor:
        """The n windows of tokens (B, n + 2w - 1, 2C) to logits (B, n)."""
        left, right = self.encoder(tokens)
        alike = cosine_similarity(left, right, dim=-1)[..., None]
        fused = torch.cat([left, right, (left - right).abs(), left * right, alike], dim=-1)
        logits: Tensor = self.score(self.fused(fused).relu())[..., 0]
        return logits

    @torch.no_grad()
    def predict(self, k: Tensor) -> Tensor:
        """Keys (B, G, L, d) to the probability of a boundary behind each token (B, L); leaves training mode.

        InputError: keys of another C.
        """
        self.eval()
        x = k.transpose(1, 2).flatten(2)
        if x.shape[-1] != self.channels:
            raise InputError(
                f"The boundary predictor reads {self.channels} key channels, those of the model that it was trained "
                f"on; {x.shape[-1]} came. Train one for this model (docs/dhsa.md), or cut by boundaries='fixed'."
            )
        offsets, length, before, behind = self._offsets(x), x.shape[1], self.window - 1, self.window
        logits = []
        with torch.autocast("cpu", torch.bfloat16, enabled=_in_bfloat16(k)):
            for start in range(0, length, _POSITIONS):  # all features of a long text would be its largest tensor
                first, last = start - before, min(start + _POSITIONS, length) + behind
                inside = self._features(x[:, max(0, first) : min(last, length)], offsets)
                logits.append(self._logits(pad(inside, (0, 0, max(0, -first), max(0, last - length)))))
        return torch.cat(logits, dim=1).float().sigmoid()

    def save(self, path: Path, origin: Origin, *, dtype: torch.dtype = torch.float16) -> None:
        """Write weights, settings and `origin` as one safetensors file, whole or not at all."""
        card = {"version": VERSION, **self.settings, "origin": asdict(origin)}
        weights = {name: weight.detach().to("cpu", dtype).contiguous() for name, weight in self.state_dict().items()}
        with whole_file(path) as partial:
            save_file(weights, partial, metadata={"foveal": json.dumps(card)})

    @classmethod
    def load(cls, path: Path, *, channels: int | None = None) -> BoundaryPredictor:
        """The predictor in `path`, in float32 and eval mode.

        InputError: none there, one of another version, or not one of `channels`.
        """
        card, weights = _read(path)
        try:
            if card.pop("version") != VERSION:
                raise InputError(f"{path} was written by another version of Foveal. Train the predictor anew.")
            origin = Origin(**card.pop("origin"))
            if channels not in (None, card["channels"]):
                raise InputError(
                    f"The predictor in {path} reads the {card['channels']} key channels of {origin.model}; this model "
                    f"has {channels}. Train one for it."
                )
            predictor = cls(**card).float()  # made in the default type, another while any thread loads a model
            predictor.load_state_dict({name: weight.float() for name, weight in weights.items()})
        except (RuntimeError, KeyError, TypeError, AttributeError) as error:
            raise InputError(
                f"{path} is damaged: its weights do not fit its settings. Train the predictor anew."
            ) from error
        if not all(bool(weight.isfinite().all()) for weight in weights.values()):
            raise InputError(f"{path} is damaged: some of its weights are no numbers. Train the predictor anew.")
        predictor.origin = origin
        return predictor.eval()


def _read(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """The card and the weights of a predictor's file."""
    try:
        with safe_open(path, "pt") as file:
            return json.loads(file.metadata()["foveal"]), {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except FileNotFoundError as error:
        raise InputError(f"There is no boundary predictor at {path}. Train one, or give another path.") from error
    except (SafetensorError, KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path} is no boundary predictor ({error}). Give one that Foveal saved.") from error


def _deviation_and_mean(x: Tensor) -> tuple[Tensor, Tensor]:
    """Of each channel over a text (B, L, C): (B, 1, C) twice; in two sweeps, for torch.std_mean takes its time."""
    mean = x.mean(1, keepdim=True)
    return (x - mean).square_().mean(1, keepdim=True).sqrt_(), mean


def _in_bfloat16(k: Tensor) -> bool:
    """Whether a prediction's products are made in the keys' own type: several times as fast where the processor can."""
    return k.device.type == "cpu" and k.dtype == torch.bfloat16 and native_bfloat16()
