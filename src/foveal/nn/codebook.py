"""The task-conditioned codebook: a soft choice among a few codes lets through only what the goal needs.

    logits = W_phi relu(E) + b_phi;   P = softmax(logits / t);   P' = dropout(P);   h = P' C;   E' = W_up h + b_up

    layer = TaskCodebook(CodebookSettings(width=1568))
    y = layer(x)                            # in place of x, anywhere in a network; trained by the task's loss alone
    layer.look(x).code                      # what is let through, 10 numbers
    usage(layer, batches).alarms()          # is the codebook in use at all?

Shapes    E (…, width) -> E' (…, width); P (…, codes); C (codes, code_dim); h (…, code_dim)
Needs     the goal inside E: what is chosen cannot depend on what comes in later (goal_filter.py joins the two)
Against   vector quantisation takes the nearest code and learns by a loss of its own; here nothing is nearest, no loss
          is added, and h is a mixture (without dropout within the hull of the codes)
Dropout   falls on shares, scaled by 1 / (1 - p), not brought to sum 1 again: it keeps the codes from collapsing
Source    Eftekhar et al., ICLR 2024 (arXiv 2311.04193), section 3; variants as in the authors' code. The linear
          bottleneck is the control that the paper lacks; the autoencoder adds a layer of 64 on each side of it
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from foveal.errors import InputError
from foveal.nn.inputs import require_numbers, require_result
from foveal.ranges import BELOW_ONE, COUNT, POSITIVE, require_one_of, require_settings

INDEXINGS = ("softmax", "topk", "gumbel")
KINDS = ("learned", "random", "binary")
BOTTLENECKS = ("codebook", "linear", "autoencoder", "none")
AROUND = 64
"""Width of the autoencoder's layers around the narrow one."""

SAYS_LITTLE, MOSTLY_DEAD, SELDOM = 0.05, 0.9, 0.1
"""Alarms: nats told of the input; share of dead codes; what a code needs of an even share not to be dead."""


@dataclass(frozen=True, kw_only=True)
class CodebookSettings:
    """The codebook's shape.

    Checked when made. InputError: a value out of its range.
    """

    width: int  # of E
    codes: int = 256  # one alone lets nothing through
    code_dim: int = 10  # numbers that are let through
    dropout: float = 0.1  # of shares, in training
    indexing: Literal["softmax", "topk", "gumbel"] = "softmax"  # topk: the largest shares; gumbel: one code, drawn
    topk: int = 16  # shares that are kept with indexing = "topk", as they are
    kind: Literal["learned", "random", "binary"] = "learned"  # random: codes stay as drawn; binary: their signs
    temperature: float = 1.0  # that logits are divided by; in training "gumbel" adds its noise first

    def __post_init__(self) -> None:
        require_settings(
            "A codebook", self, width=COUNT, codes=COUNT, code_dim=COUNT, topk=COUNT, dropout=BELOW_ONE,
            temperature=POSITIVE,
        )  # fmt: skip
        require_one_of("A codebook", self, "indexing", INDEXINGS)
        require_one_of("A codebook", self, "kind", KINDS)
        if self.indexing == "topk" and self.topk > self.codes:
            raise InputError(f"A codebook got topk = {self.topk} of {self.codes} codes; there are no more.")


class Looked(NamedTuple):
    """What a codebook did: E' (…, width), the shares after dropout (…, codes), h (…, code_dim)."""

    output: Tensor
    shares: Tensor
    code: Tensor


class TaskCodebook(nn.Module):
    """A codebook between an encoder and a head: E (…, width) -> E' (…, width), a soft mixture of few codes.

    Eftekhar et al., ICLR 2024 (arXiv 2311.04193), section 3.
    """

    codes: Tensor

    def __init__(self, settings: CodebookSettings) -> None:
        super().__init__()
        self.settings = settings
        self.phi = nn.Linear(settings.width, settings.codes)
        self.up = nn.Linear(settings.code_dim, settings.width)
        drawn = torch.randn(settings.codes, settings.code_dim)
        if settings.kind == "learned":
            self.codes = nn.Parameter(drawn)
        else:
            self.register_buffer("codes", drawn if settings.kind == "random" else 2.0 * (drawn > 0) - 1)

    def forward(self, x: Tensor) -> Tensor:
        """E (…, width) -> E' of the same shape. InputError: as `look`."""
        return self.look(x).output

    def look(self, x: Tensor) -> Looked:
        """E (…, width) -> E' with the shares and h.

        InputError: another width, what is no number, or numbers so large that the shares would be none.
        """
        shares = self.shares(x)
        code = shares @ self.codes.to(shares.dtype)
        return Looked(self.up(code.to(self.up.weight.dtype)), shares, code)

    def shares(self, x: Tensor) -> Tensor:
        """P' (…, codes); in eval mode, but for `topk`, they sum to 1."""
        settings = self.settings
        if x.dim() < 1 or x.shape[-1] != settings.width:
            raise InputError(f"A codebook got an input of shape {tuple(x.shape)}; it needs (…, {settings.width}).")
        require_numbers("A codebook", x)
        logits = self.phi(F.relu(x))
        logits = logits if logits.dtype == torch.float64 else logits.float()
        sharp = require_result("A codebook", logits / settings.temperature)
        if settings.indexing == "gumbel" and self.training:
            return F.gumbel_softmax(logits, tau=settings.temperature, hard=True)
        if settings.indexing == "gumbel":
            return _hard(sharp)
        shares = F.dropout(sharp.softmax(-1), settings.dropout, self.training)
        if settings.indexing == "topk":
            least = shares.topk(settings.topk, -1)
            shares = torch.zeros_like(shares).scatter(-1, least.indices, least.values)
        return shares

    def shown(self) -> Tensor:
        """(codes, width): what each code alone would let through."""
        shown: Tensor = self.up(self.codes.to(self.up.weight.dtype))
        return shown

    def extra_repr(self) -> str:
        """The settings."""
        return str(self.settings)


def _hard(logits: Tensor) -> Tensor:
    """The likeliest code alone, with the gradient of the softmax."""
    soft = logits.softmax(-1)
    return F.one_hot(logits.argmax(-1), logits.shape[-1]).to(soft.dtype) + soft - soft.detach()


class LinearBottleneck(nn.Module):
    """E' = W_up (W_down relu(E) + b_down) + b_up, (…, width) -> (…, width): as narrow as the codebook, without codes.

    The control that the codebook's paper lacks. It reads relu(E), as the codebook does, so that they differ in the
    codes alone.
    """

    def __init__(self, width: int, narrow: int = 10, *, around: int = 0) -> None:
        """`around` puts a ReLU layer of that width on each side of the narrow one: an autoencoder's form."""
        super().__init__()
        if min(width, narrow) < 1:
            raise InputError(f"A bottleneck got width = {width} and narrow = {narrow}; it needs at least 1.")
        self.width = width
        down: list[nn.Module] = [nn.ReLU(), nn.Linear(width, around or narrow)]
        up: list[nn.Module] = [nn.Linear(around or narrow, width)]
        if around:
            down += [nn.ReLU(), nn.Linear(around, narrow)]
            up = [nn.Linear(narrow, around), nn.ReLU(), *up]
        self.down, self.up = nn.Sequential(*down), nn.Sequential(*up)

    def forward(self, x: Tensor) -> Tensor:
        """E (…, width) -> E' of the same shape. InputError: another width, what is no number, or becomes none."""
        if x.dim() < 1 or x.shape[-1] != self.width:
            raise InputError(f"A bottleneck got an input of shape {tuple(x.shape)}; it needs (…, {self.width}).")
        require_numbers("A bottleneck", x)
        return require_result("A bottleneck", self.up(self.down(x)))


def bottleneck_of(name: str, settings: CodebookSettings) -> nn.Module:
    """The codebook, or what stands for it in a comparison, as narrow. InputError: nothing is called so."""
    if name == "codebook":
        return TaskCodebook(settings)
    if name == "linear":
        return LinearBottleneck(settings.width, settings.code_dim)
    if name == "autoencoder":
        return LinearBottleneck(settings.width, settings.code_dim, around=AROUND)
    if name == "none":
        return nn.Identity()
    raise InputError(f"No bottleneck is called {name!r}. There are: {', '.join(BOTTLENECKS)}.")


# -- usage -------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Usage:
    """How a codebook of `codes` codes was used over some inputs."""

    codes: int
    inputs: int
    perplexity_marginal: float  # e^H of the mean shares: codes in use over all inputs
    perplexity_per_sample: float  # e^(mean H): codes that one input mixes
    dead_codes: int  # those with less than a tenth of an even share
    largest: float  # the mean share of the code that is used most

    @property
    def information(self) -> float:
        """Nats that the shares tell of the input: H of their mean less their mean H. 0: all inputs choose alike."""
        return max(0.0, math.log(self.perplexity_marginal) - math.log(self.perplexity_per_sample))

    def alarms(self) -> tuple[str, ...]:
        """What is wrong, in a sentence each, and what may be done; nothing where the codebook works."""
        found = []
        if self.information < SAYS_LITTLE:
            found.append(
                f"The codebook has collapsed: its shares tell {self.information:.3f} nats of the input, so that all "
                "inputs come out nearly alike. Train longer, lower the temperature, or take fewer codes."
            )
        if self.dead_codes > MOSTLY_DEAD * self.codes:
            found.append(
                f"{self.dead_codes} of {self.codes} codes are dead, one has {self.largest:.0%} of all shares. Raise "
                "the dropout, or take fewer codes."
            )
        return tuple(found)


@torch.no_grad()
def usage(layer: TaskCodebook, batches: Iterable[Tensor]) -> Usage:
    """How `layer` is used over batches of E (…, width), without dropout. InputError: there are none."""
    training = layer.training
    layer.eval()
    total, entropy, count = torch.zeros(layer.settings.codes, dtype=torch.float64), 0.0, 0
    try:
        for batch in batches:
            shares = layer.shares(batch).double().reshape(-1, layer.settings.codes)
            shares = shares / shares.sum(-1, keepdim=True)  # those that topk keeps are less than a whole
            total += shares.sum(0).cpu()
            entropy += float(torch.special.entr(shares).sum())
            count += len(shares)
    finally:
        layer.train(training)
    if not count:
        raise InputError("Usage of a codebook got no inputs; give at least one.")
    mean = total / total.sum()
    return Usage(
        codes=len(mean),
        inputs=count,
        perplexity_marginal=float(torch.special.entr(mean).sum().exp()),
        perplexity_per_sample=math.exp(entropy / count),
        dead_codes=int((mean < SELDOM / len(mean)).sum()),
        largest=float(mean.max()),
    )


def parameters_of(settings: CodebookSettings) -> int:
    """Numbers that a codebook adds to a network, codes that are not learnt among them."""
    phi = settings.codes * (settings.width + 1)
    up = settings.width * (settings.code_dim + 1)
    return phi + settings.codes * settings.code_dim + up


def usage_in(model: nn.Module, batches: Iterable[Sequence[Any]]) -> Usage | None:
    """Usage of the codebook inside `model`, over what reaches it in a call with each batch; None where it has none."""
    layer = next((one for one in model.modules() if isinstance(one, TaskCodebook)), None)
    if layer is None:
        return None
    seen: list[Tensor] = []

    def reached() -> Iterator[Tensor]:
        for batch in batches:
            seen.clear()
            model(*batch)
            yield from tuple(seen)

    hook = layer.phi.register_forward_pre_hook(lambda _, given: seen.append(given[0].detach()))
    try:
        return usage(layer, reached())
    finally:
        hook.remove()
