"""A chat model on this machine whose chosen heads are calibrated (act.py), in prompts and token by token.

    chat = CalibratedChat(model, load_calibration(path).method(model))

A prompt is read in one pass, for sinks are found over the whole of it; what two prompts begin with alike is read twice.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from foveal.attention.act import ACT
from foveal.attention.attach import attach
from foveal.attention.memory_decoding import MethodDecoder
from foveal.models.chat import Cancel
from foveal.models.decoding import State
from foveal.models.language import LanguageModel
from foveal.models.local_chat import LocalChat


class CalibratedDecoder(MethodDecoder):
    """Reads prompts whole, and every step, by ACT."""

    @property
    def lean(self) -> bool:
        """False: no chunks, and no rows of several conversations; each step itself runs on lean layers."""
        return False

    def prefill(self, ids: Sequence[int], *, into: State | None = None, cancel: Cancel | None = None) -> State:  # noqa: ARG002
        """The state after a prompt of at least one token."""
        if cancel:
            cancel.check()
        return self.read(ids)

    def extend(self, state: State, ids: Sequence[int], *, rows: int = 0) -> Tensor:
        """As `Decoder.extend`, calibrated."""
        with attach(self.model, self.method):
            return super().extend(state, ids, rows=rows)


class CalibratedChat(LocalChat):
    """A `ChatModel` that answers by calibrated attention; `method.counts` tells what was moved."""

    def __init__(self, language_model: LanguageModel, method: ACT) -> None:
        super().__init__(language_model)
        self.method = method
        self.decoder = CalibratedDecoder(language_model.model, method)
