"""What the boundary predictor of DHSA reads its windows with, by name: two sides of each window, as vectors.

attn    one self-attention over the 2w tokens, without positions or residual, then LayerNorm
stack   four of them, each LayerNorm first, with residual and dropout, then LayerNorm
cnn     no attention: a depth-wise convolution makes one vector of each side, then 1×1 to `hidden`
tokens  no attention: two layers of `hidden` on each token alone (ours; the fastest, and it learns best)

Of a side's tokens the mean is taken; `gated`: weighted by a softmax of what a bias-free scorer gives each (not in cnn).

Shapes  tokens (B, n + 2w - 1, C) -> the two sides of each of the n windows, (B, n, E) each; C features, twice
        as many as the keys have channels where these are standardised
Source  DHSA (Xiong et al., arXiv 2510.24606)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import Tensor, nn
from torch.nn.functional import avg_pool1d, gelu, scaled_dot_product_attention

_DEPTH, _DROPOUT = 4, 0.1  # of the encoder "stack"


class _Attention(nn.Module):
    """Self-attention among the tokens of a window. Queries, keys and values are made by `project`, then by window."""

    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.project = nn.Linear(channels, 3 * channels)
        self.out = nn.Linear(channels, channels)

    def forward(self, projected: Tensor) -> Tensor:
        """(B, n, 2w, 3C) to (B, n, 2w, C)."""
        batch, count, size, _ = projected.shape
        parts = projected.view(batch * count, size, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        mixed = scaled_dot_product_attention(parts[0], parts[1], parts[2])
        encoded: Tensor = self.out(mixed.transpose(1, 2).reshape(batch, count, size, -1))
        return encoded


class _Pooled(nn.Module):
    """A side's tokens (…, w, E) to its vector (…, E)."""

    def __init__(self, width: int, gated: bool) -> None:
        super().__init__()
        self.gate = nn.Linear(width, 1, bias=False) if gated else None

    def forward(self, side: Tensor) -> Tensor:
        """Their mean, or by weights that add up to 1."""
        if self.gate is None:
            return side.mean(-2)
        scores: Tensor = self.gate(side)
        return (scores.softmax(-2) * side).sum(-2)

    def sides(self, encoded: Tensor, window: int) -> tuple[Tensor, Tensor]:
        """The two sides of encoded windows (B, n, 2w, E)."""
        return self(encoded[:, :, :window]), self(encoded[:, :, window:])


class _AttentionEncoder(nn.Module):
    """Encoder "attn"; a token's projections serve all the windows that it stands in."""

    def __init__(self, channels: int, window: int, heads: int, gated: bool) -> None:
        super().__init__()
        self.window, self.pooled = window, _Pooled(channels, gated)
        self.attention = _Attention(channels, heads)
        self.norm = nn.LayerNorm(channels)

    def forward(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        projected = _windows(self.attention.project(tokens), 2 * self.window)
        return self.pooled.sides(self.norm(self.attention(projected)), self.window)


class _StackEncoder(nn.Module):
    """Encoder "stack"."""

    def __init__(self, channels: int, window: int, heads: int, gated: bool) -> None:
        super().__init__()
        self.window, self.pooled = window, _Pooled(channels, gated)
        self.blocks: Sequence[_Attention] = nn.ModuleList(_Attention(channels, heads) for _ in range(_DEPTH))  # type: ignore[assignment]
        self.norms = nn.ModuleList(nn.LayerNorm(channels) for _ in range(_DEPTH + 1))
        self.dropout = nn.Dropout(_DROPOUT)

    def forward(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        x = _windows(tokens, 2 * self.window)
        for block, norm in zip(self.blocks, self.norms, strict=False):  # the last norm follows the last block
            x = x + self.dropout(block(block.project(norm(x))))
        return self.pooled.sides(self.norms[-1](x), self.window)


class _ConvolutionEncoder(nn.Module):
    """Encoder "cnn": the depth-wise kernel is as long as a side, so each side becomes one vector."""

    def __init__(self, channels: int, window: int, hidden: int) -> None:
        super().__init__()
        self.window = window
        self.along = nn.Conv1d(channels, channels, window, groups=channels)
        self.across = nn.Linear(channels, hidden)

    def forward(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        sides = self.across(self.along(tokens.transpose(1, 2)).relu().transpose(1, 2)).relu()  # (B, n + w, hidden)
        return sides[:, : -self.window], sides[:, self.window :]


class _TokenEncoder(nn.Module):
    """Encoder "tokens"."""

    def __init__(self, channels: int, window: int, hidden: int, gated: bool) -> None:
        super().__init__()
        self.window, self.pooled = window, _Pooled(hidden, gated)
        self.first = nn.Linear(channels, hidden)
        self.second = nn.Linear(hidden, hidden)

    def forward(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        encoded = gelu(self.second(gelu(self.first(tokens))))
        if self.pooled.gate is None:
            sides = avg_pool1d(encoded.transpose(1, 2), self.window, 1).transpose(1, 2)  # (B, n + w, hidden)
        else:
            sides = self.pooled(_windows(encoded, self.window))
        return sides[:, : -self.window], sides[:, self.window :]


def _windows(tokens: Tensor, size: int) -> Tensor:
    """(B, n + size - 1, C) to (B, n, size, C), each window a token on from the one before."""
    return tokens.unfold(1, size, 1).transpose(-1, -2).contiguous()


ENCODERS: dict[str, Callable[[int, int, int, int, bool], tuple[nn.Module, int]]] = {
    "attn": lambda channels, window, _, heads, gated: (_AttentionEncoder(channels, window, heads, gated), channels),
    "cnn": lambda channels, window, hidden, *_: (_ConvolutionEncoder(channels, window, hidden), hidden),
    "stack": lambda channels, window, _, heads, gated: (_StackEncoder(channels, window, heads, gated), channels),
    "tokens": lambda channels, window, hidden, _, gated: (_TokenEncoder(channels, window, hidden, gated), hidden),
}
