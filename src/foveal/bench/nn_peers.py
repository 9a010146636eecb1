"""bench nn, the peers: the layers of titans-pytorch and routing-transformer in the blocks of our language models.

Embedding, blocks, MLPs and head are the same, so that what differs is the mixer alone. Nothing here depends on the
packages: they may lie in a folder of their own that PYTHONPATH names; without them their rows say so.

titans-pytorch        its NeuralMemory with an MLP of the same depth and width; gradients are taken anew each chunk
                      (`batch_size`), as ours are. Its gates are per chunk, its error is a mean over features, and a
                      token reads the weights of the chunk before its own
routing-transformer   its SelfAttention with local and clustered heads. Its selection is the paper's, which sees what is
                      to come: its parallel likelihood is none
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor, nn

from foveal.bench.nn_language import expansion_for
from foveal.evaluation.tables import Row
from foveal.nn.baseline_models import BaselineConfig
from foveal.nn.language_models import StreamLM
from foveal.nn.language_training import LanguageSize, made

TITANS = ("titans_pytorch", "not run: pip install titans-pytorch")
ROUTING = ("routing_transformer", "not run: pip install routing-transformer")

PEER_RATES = (1.0, 1 / 3)
"""Times the rate of our arms. Ours was chosen with our layers: a peer learns at both, and its better result counts."""


def there(peer: tuple[str, str]) -> bool:
    """Whether a peer's package can be imported."""
    return find_spec(peer[0]) is not None


def not_run(peer: tuple[str, str], metric: str) -> Row:
    """A row that says that the peer is not installed."""
    return Row(f"peer: {peer[0].replace('_', '-')}", metric, math.nan, None, None, note=peer[1])


@contextmanager
def quietly() -> Iterator[None]:
    """Peers use what PyTorch deprecates; their warnings are not ours to show."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


class TitansPeer(nn.Module):
    """The package's NeuralMemory as a mixer."""

    def __init__(self, *, dim: int, heads: int, depth: int, expansion: float, chunk: int) -> None:
        super().__init__()
        with quietly():
            package = import_module("titans_pytorch")
            inner = package.MemoryMLP(dim // heads, depth=depth, expansion_factor=expansion)
            self.memory = package.NeuralMemory(
                dim=dim, dim_head=dim // heads, heads=heads, chunk_size=chunk, batch_size=chunk, model=inner,
                qk_rmsnorm=True, default_step_transform_max_lr=1e-1, activation=nn.SiLU(), max_grad_norm=1.0,
            )  # fmt: skip

    def forward(self, x: Tensor, state: Any = None, mask: Tensor | None = None) -> tuple[Tensor, None]:  # noqa: ARG002
        """x (B, T, dim) -> (B, T, dim)."""
        with quietly():
            y: Tensor = self.memory(x)[0]
        return y, None


class RoutingPeer(nn.Module):
    """The package's SelfAttention as a mixer; its centroids are updated once the weights have changed."""

    def __init__(self, *, dim: int, heads: int, local: int, length: int, window: int, local_window: int) -> None:
        super().__init__()
        with quietly():
            package = import_module("routing_transformer.routing_transformer")
            self.attention = package.SelfAttention(
                dim, 1, length, heads, local, window, local_attn_window_size=local_window, causal=True
            )
        self._means = [one for one in self.attention.modules() if type(one).__name__ == "Kmeans"]

    def forward(self, x: Tensor, state: Any = None, mask: Tensor | None = None) -> tuple[Tensor, None, Tensor]:  # noqa: ARG002
        """x (B, T, dim) -> (B, T, dim), no state, the commitment loss."""
        with quietly(), torch.autocast(x.device.type, enabled=False):
            for one in self._means:
                if self.training and one.new_means is not None:
                    _updated(one)
            y, loss = self.attention(x)
        return y, None, loss


def _updated(means: Any) -> None:
    """Its own update, whose call of `add_` newer PyTorch may refuse."""
    means.means.data.mul_(means.ema_decay).add_(means.new_means, alpha=1 - means.ema_decay)
    means.new_means, means.num_new_means = None, 0


def told_of(found: Sequence[float]) -> str:
    """What a peer reached at each rate, for a note."""
    return " and ".join(f"{one:.3f}" for one in found)


def titans_model(size: LanguageSize, numbers: int, seed: int) -> tuple[StreamLM, str]:
    """titans-pytorch in our blocks, with about so many numbers to learn; and what it is."""

    def made_with(expansion: float | None) -> StreamLM:
        def mixer(_: int) -> nn.Module:
            return TitansPeer(dim=size.width, heads=size.heads, depth=2, expansion=2.0, chunk=16)

        mixers = drawn_from(seed, mixer, size.layers)
        return peer_model(mixers, width=size.width, vocabulary=256, seed=seed, expansion=expansion)

    wide = expansion_for(made_with(None), numbers)
    return made_with(wide), f"peer, depth 2, expansion 2, chunk 16, MLPs times {wide:g}"


def drawn_from(seed: int, mixer: Callable[[int], nn.Module], layers: int) -> list[nn.Module]:
    """The mixer of each layer, its weights drawn from the seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return [mixer(layer) for layer in range(layers)]


def peer_model(
    mixers: list[nn.Module], *, width: int, vocabulary: int, seed: int, expansion: float | None = None
) -> StreamLM:
    """One of our language models with these mixers, a block each; `expansion` of its MLPs, None: the usual one."""
    config = BaselineConfig(
        kind="gru", vocab_size=vocabulary, hidden_size=width, num_hidden_layers=len(mixers), mixer={}
    )
    config.expansion = config.expansion if expansion is None else expansion
    model = made(config, seed)
    for block, mixer in zip(model.blocks, mixers, strict=True):
        block.mixer = mixer
    return model
