"""How much each sentence of a window is looked at under a question: the one measurement that a reader goes by.

A batch of windows is read in one pass, every question and the empty question "N/A" behind each of them (see
`attention.shared_prefix`). Of each of the profile's heads the attention is taken that the question's rows pay to a
sentence, on average over rows and over the sentence's tokens, less what "N/A" pays there; what is left above zero is
averaged over the heads. The unit is an even spread: 1 says that because of the question a token of the sentence gets
as much attention as each would get if all of it were spread evenly over a window of `USUAL` tokens. So sentences long
and short compare. In a smaller window all tokens get more: finds and noise alike fall with the square root of its size
(seen from 12 tokens to 768), and are brought to the usual one. The pass ends at the deepest head's layer.

Source    question-to-text attention as retrieval: InfiniRetri (arXiv 2502.12962); heads and the empty question: QRHead
          (arXiv 2506.09944), ICR (arXiv 2410.02642)
"""

from __future__ import annotations

import logging
import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from foveal.attention import AUTO, Recorder, SharedPrefix, method_for, watch
from foveal.attention.profiles import Profile
from foveal.attention.remarks import warn_once
from foveal.attention.sinks import SinkRule, calibrated_rows
from foveal.errors import ModelUnavailable
from foveal.models import byte_products
from foveal.models.decoding import NO_NUMBERS
from foveal.models.lean import supports
from foveal.reading.prompts import NO_QUESTION, TEMPLATE, prompt_of
from foveal.reading.sentences import Sentence
from foveal.reading.tokens import PlainTokens

if TYPE_CHECKING:
    from foveal.models.language import LanguageModel

log = logging.getLogger("foveal.reading")

Window = Sequence[Sentence]

Batch = Sequence[tuple[int, list[Sentence]]]
"""Windows that are scored together, each with its number."""

USUAL = 768
"""Tokens of the window that scores are told for: of this one's, 1 is the even spread itself."""

BATCH = {"cpu": 1024, "cuda": 16384}
"""Tokens that go through the model at once, by device: on a CPU more of them leave the caches, and are slower."""


class Looking:
    """One model with its heads, ready to score windows."""

    def __init__(
        self,
        model: LanguageModel,
        profile: Profile,
        template: str = TEMPLATE,
        *,
        attention: str = AUTO,
        row_beta: float = 1.0,
        int8: bool = True,
    ) -> None:
        """`template` holds {context} and then {question}; `attention` names how a window attends to itself; `row_beta`
        is what a sink keeps of the rows that are scored (attention/sinks.py), 1 all of it; `int8`, whether weights are
        multiplied in int8 where that is faster (models/byte_products.py).

        UnknownName: there is no such method.
        """
        method_for(attention, 0)  # whether there is one
        self.attention, self.row_beta, self.int8 = attention, row_beta, int8
        self.model, self.template = model, template
        self.profile = profile
        self.tokens = PlainTokens(model)
        self.prompt = prompt_of(model, self.tokens, template)
        self._by_method = False  # whether any window was as long as its method needs

    @property
    def rough(self) -> bool:
        """Whether weights are multiplied in int8 here."""
        plain = self.model.elsewhere is None and self.model.dtype == torch.float32 and self.model.device.type == "cpu"
        return self.int8 and plain and byte_products.pays() and supports(self.model.model)

    def batch_size(self, window: int, tokens: int | None = None) -> int:
        """Windows of `window` tokens that go through the model at once: `tokens` of them, None for the device's."""
        return max(1, (tokens or BATCH.get(self.model.device.type, BATCH["cuda"])) // window)

    def scores(self, windows: Sequence[Window], questions: Sequence[str], *, content_free: bool = True) -> list[Tensor]:
        """For each window the score of each of its sentences under each question: (questions, sentences) float32.

        `content_free` takes off what the empty question looks at. ModelUnavailable: what the model computes is no
        number, by which every text would hold nothing.
        """
        if self.model.elsewhere is not None:
            given: list[Tensor] = self.model.elsewhere(self, windows, questions, content_free)
            return given
        asked = [*questions, NO_QUESTION] if content_free else list(questions)
        tails = [self.prompt.tail(question) for question in asked]
        texts = [[*self.prompt.head, *(token for sentence in window for token in sentence.ids)] for window in windows]
        lengths = torch.tensor([len(text) for text in texts], device=self.model.device)
        longest = max(map(len, texts))
        method = method_for(self.attention, longest)
        if method is not None:
            self._by_method = self._by_method or longest >= method.least
            if not self._by_method:  # a text's last window may be short, and most are not
                warn_once(
                    log,
                    "%s begins at %s tokens; windows that have fewer are read densely. In a text that is as long take "
                    "larger ones (foveal read --window), or leave the method out (docs/attention.md).",
                    self.attention,
                    f"{method.least:,}",
                )
        layout = SharedPrefix(lengths, longest, [len(tail) for tail in tails], method=method)
        paid = self._attention(texts, tails, layout)
        if not bool(paid.isfinite().all()):
            raise ModelUnavailable(NO_NUMBERS)
        if content_free:
            paid = paid[:, :, :-1] - paid[:, :, -1:]
        first = len(self.prompt.head)
        return [by_sentence(one[..., first:], window).mean(0) for one, window in zip(paid, windows, strict=True)]

    def _attention(self, texts: Sequence[list[int]], tails: Sequence[list[int]], layout: SharedPrefix) -> Tensor:
        """What each head's rows of each question pay to every token, on average: (B, heads, questions, N)."""
        sizes = [len(tail) for tail in tails]
        rows = torch.cat([layout.rows(number) for number in range(len(tails))], dim=1)
        heads = self.profile.by_layer

        def averaged(_: int, weights: Tensor) -> Tensor:  # (B, heads, R, K) -> (B, heads, questions, N)
            parts = torch.split(weights, sizes, dim=2)
            if self.row_beta < 1:
                parts = tuple(calibrated_rows(part, SinkRule(), self.row_beta) for part in parts)
            return torch.stack([part[..., : layout.padded].mean(2) for part in parts], dim=2).cpu()

        recorder = Recorder(rows, heads, stop=True, reduce=averaged)
        ids = torch.tensor(
            [text + [0] * (layout.padded - len(text)) + [t for tail in tails for t in tail] for text in texts],
            device=self.model.device,
        )
        watch(self.model.model, ids, recorder, method=layout, positions=layout.positions, int8=self.int8)
        return torch.cat(list(recorder.attention.values()), dim=1)


class SpreadLooking(Looking, ABC):
    """A `Looking` that has batches scored elsewhere, several at once (`scale.reading.RayLooking`)."""

    @abstractmethod
    def over(
        self, batches: Iterable[Batch], questions: Sequence[str], *, content_free: bool = True
    ) -> Iterator[tuple[Batch, list[Tensor]]]:
        """Each batch with the `scores` of its windows, in the order given."""


def by_sentence(paid: Tensor, window: Window) -> Tensor:
    """Each head's scores of the sentences, in the unit above: (heads, …, tokens and more) -> (heads, …, sentences)."""
    sizes = torch.tensor([len(sentence) for sentence in window])
    owner = torch.arange(len(window)).repeat_interleave(sizes)
    sums = paid.new_zeros(*paid.shape[:-1], len(window)).index_add_(-1, owner, paid[..., : len(owner)])
    return (sums / sizes.clamp(min=1)).clamp(min=0) * math.sqrt(len(owner) * USUAL)
