"""Language models of these layers, as transformers' own: configs, save_pretrained, from_pretrained, Trainer.

    model = TitansLM(TitansConfig(vocab_size=256, hidden_size=128, mixer={"variant": "mag", "window": 64}))
    model(input_ids, labels=input_ids).loss                       # training; state=…  goes on over a longer text
    model.generate(prompt, max_new_tokens=200, temperature=0.8)   # each new token costs the same
    model.save_pretrained(folder); TitansLM.from_pretrained(folder)

Shapes    input_ids (B, T) -> logits (B, T, vocabulary); labels are shifted inside, -100 is passed over
State     `keep_state=True` returns one; `step(ids, state)` takes one token a row; no past is read again
Padding   on the right only, as attention_mask: no token that counts sees it; no state is kept of padded rows
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import field
from typing import Any, cast

import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedConfig

from foveal.errors import InputError
from foveal.nn.aaren import Aaren, AarenSettings
from foveal.nn.inputs import require_ids, settings_of
from foveal.nn.kept import Kept
from foveal.nn.next_tokens import IGNORED, LanguageOutput, cross_entropy, drawn
from foveal.nn.norms import RMSNorm
from foveal.nn.routing import RoutingAttention, RoutingSettings
from foveal.nn.stack import Block
from foveal.nn.states import StackState, State
from foveal.nn.titans import LMM, MAC, MAG, MAL, TitansSettings
from foveal.ranges import BELOW_ONE, COUNT, NOT_NEGATIVE, POSITIVE, require_number, require_one_of, require_settings


class StreamConfig(PreTrainedConfig):  # type: ignore[no-untyped-call]
    """What all have: `mixer` holds the fields of the layer's settings that are not their defaults."""

    vocab_size: int = 256
    hidden_size: int = 128
    num_hidden_layers: int = 4
    expansion: float = 8 / 3  # of the MLP
    dropout: float = 0.0
    tie_word_embeddings: bool = True
    mixer: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self, **kwargs: Any) -> None:
        super().__post_init__(**kwargs)  # type: ignore[no-untyped-call]
        require_settings(
            type(self).__name__, self, vocab_size=COUNT, hidden_size=COUNT, num_hidden_layers=COUNT,
            expansion=POSITIVE, dropout=BELOW_ONE,
        )  # fmt: skip
        self.layer_settings(0)

    def layer_settings(self, layer: int) -> Any:
        """The settings of the mixer of a layer. InputError: a field that there is not, or a value that is refused."""
        raise NotImplementedError

    def _made(self, kind: Any, *, usual: Mapping[str, Any] | None = None, own: Mapping[str, Any] | None = None) -> Any:
        """Settings of the mixer's fields; `usual` are those that it need not name, `own` take the place of its own."""
        what, mixer = type(self).__name__, self.mixer
        if isinstance(mixer, Mapping) and mixer.get("dim", self.hidden_size) != self.hidden_size:
            raise InputError(
                f"{what} got hidden_size = {self.hidden_size} and a mixer of dim = {mixer['dim']}; they are one: leave "
                "dim out."
            )
        if isinstance(mixer, Mapping):
            mixer = {"dim": self.hidden_size, **(usual or {}), **mixer, **(own or {})}
        return settings_of(f"{what}.mixer", kind, mixer)


class TitansConfig(StreamConfig):  # type: ignore[no-untyped-call]
    """Of TitansLM: `mixer` holds fields of TitansSettings, "memory" in it those of MemorySettings.

    InputError: a field that they have not, or a value that they refuse.
    """

    model_type = "foveal-titans"

    def layer_settings(self, layer: int) -> TitansSettings:  # noqa: ARG002
        """The same for every layer."""
        settings: TitansSettings = self._made(TitansSettings)
        return settings


class AarenConfig(StreamConfig):  # type: ignore[no-untyped-call]
    """Of AarenLM: `mixer` holds fields of AarenSettings; unless said otherwise, keys see the 4 tokens up to theirs.

    InputError: a field that they have not, or a value that they refuse.
    """

    model_type = "foveal-aaren"

    def layer_settings(self, layer: int) -> AarenSettings:  # noqa: ARG002
        """The same for every layer."""
        settings: AarenSettings = self._made(AarenSettings, usual={"conv_kernel": 4})
        return settings


class RoutingConfig(StreamConfig):  # type: ignore[no-untyped-call]
    """Of RoutingTransformerLM: `mixer` holds fields of RoutingSettings; layers before `routing_from` are local only.

    InputError: a field that they have not, a value that they refuse, or one that is not causal.
    """

    model_type = "foveal-routing"
    routing_from: int = 0

    def layer_settings(self, layer: int) -> RoutingSettings:
        """Local heads alone in the first layers."""
        own = {"routing_heads": 0} if layer < self.routing_from else {}
        settings: RoutingSettings = self._made(RoutingSettings, own=own)
        if not settings.causal:
            raise InputError("RoutingConfig got causal = False; a language model must not see what is to come.")
        return settings


class StreamLM(Kept):
    """Embedding, blocks, norm, logits; the subclasses choose the mixer."""

    config_class = StreamConfig
    base_model_prefix = "model"
    _tied_weights_keys = {"head.weight": "embed.weight"}  # noqa: RUF012

    def __init__(self, config: Any) -> None:
        """Weights are drawn from torch's generator."""
        super().__init__(config)
        self.embed = nn.Embedding(config.vocab_size, config.hidden_size)
        nn.init.normal_(self.embed.weight, std=0.02)
        made = ((self.mixer(config, number), config.hidden_size) for number in range(config.num_hidden_layers))
        self.blocks = nn.ModuleList(Block(*one, expansion=config.expansion, dropout=config.dropout) for one in made)
        self.norm = RMSNorm(config.hidden_size)
        self.head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        self.post_init()  # type: ignore[no-untyped-call]

    @staticmethod
    def mixer(config: Any, layer: int) -> nn.Module:
        """The mixer of a layer."""
        raise NotImplementedError

    def get_input_embeddings(self) -> nn.Module:
        """The embedding."""
        return self.embed

    def set_input_embeddings(self, value: Any) -> None:
        """Another embedding, as `resize_token_embeddings` makes one."""
        self.embed = value

    def get_output_embeddings(self) -> nn.Module:
        """The layer that gives logits."""
        return self.head

    def set_output_embeddings(self, value: Any) -> None:
        """Another such layer."""
        self.head = value

    # -- forward --------------------------------------------------------------------------------------------------

    def init_state(self, batch: int) -> StackState:
        """Before the first token. InputError: topk routing, which has none."""
        return StackState(type(self).__name__, tuple(one.mixer.init_state(batch) for one in self._stack))

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        labels: Tensor | None = None,
        state: StackState | None = None,
        keep_state: bool = False,
    ) -> LanguageOutput:
        """Logits of input_ids (B, T), the loss of labels (B, T), the state after them.

        In training the loss has the layers' own added, such as the routing's. InputError: wrong shapes, or a state that
        would be kept of padded rows, or of topk routing, which has none.
        """
        mask = self._checked(input_ids, attention_mask, labels)
        if keep_state and mask is not None:
            raise InputError(
                f"{type(self).__name__} was asked to keep the state of padded rows, which no text goes on from. Give "
                "the rows one at a time, or those of one length together."
            )
        if keep_state and not self._streams:
            self.init_state(len(input_ids))  # it says why there is none
        layers: tuple[State | None, ...] = (None,) * len(self.blocks)
        if state is not None:
            self._fits(state)
            layers = state.layers
        x, after, losses = self.embed(input_ids.long()), [], []  # bytes are whole numbers, too
        for block, one in zip(self._stack, layers, strict=True):
            x, new, loss = block(x, one, mask, keep=keep_state)
            after.append(new)
            losses += [] if loss is None else [loss]
        logits = self.head(self.norm(x))
        if not self.training:
            losses = []  # what draws queries to their centroids is no part of what a text costs
        loss = None if labels is None else sum(losses, cross_entropy(logits, labels, mask))
        return LanguageOutput(loss, logits, StackState(type(self).__name__, tuple(after)) if keep_state else None)

    def step(self, ids: Tensor, state: StackState) -> tuple[Tensor, StackState]:
        """One token a row: ids (B,) -> logits (B, vocabulary) of the next, and the state."""
        self._fits(state)
        require_ids(type(self).__name__, "ids", ids, self.config.vocab_size)
        x, after = self.embed(ids.long()), []
        for block, one in zip(self._stack, state.layers, strict=True):
            x, new = block.step(x, one)
            after.append(new)
        return self.head(self.norm(x)), StackState(state.layout, tuple(after))

    @property
    def _stack(self) -> list[Block]:
        return cast("list[Block]", list(self.blocks))

    @property
    def _streams(self) -> bool:
        """Whether every layer has a state."""
        return all(getattr(one.mixer, "streams", True) for one in self._stack)

    def _fits(self, state: StackState) -> None:
        own, layers = type(self).__name__, len(self.blocks)
        if not isinstance(state, StackState) or (state.layout, len(state.layers)) != (own, layers):
            theirs = f"{getattr(state, 'layout', state)!r}, {len(getattr(state, 'layers', ()))} layers"
            raise InputError(f"{own} of {layers} layers got a state of {theirs}. Begin with init_state(batch).")

    def _checked(self, ids: Tensor, attention_mask: Tensor | None, labels: Tensor | None) -> Tensor | None:
        """The mask as booleans; None where all tokens count."""
        if ids.dim() != 2 or ids.shape[1] == 0:
            raise InputError(
                f"{type(self).__name__} got input_ids {tuple(ids.shape)}; it needs (batch, 1 token or more)."
            )
        for name, given in (("attention_mask", attention_mask), ("labels", labels)):
            if given is not None and given.shape != ids.shape:
                raise InputError(f"{name} is {tuple(given.shape)}; input_ids are {tuple(ids.shape)}. Make them equal.")
        require_ids(type(self).__name__, "input_ids", ids, self.config.vocab_size)
        if labels is not None:
            wanted = labels.masked_fill(labels == IGNORED, 0)
            require_ids(type(self).__name__, "labels", wanted, self.config.vocab_size)
        if attention_mask is None:
            return None
        mask = attention_mask.bool()
        if bool((mask[:, 1:] & ~mask[:, :-1]).any()):
            raise InputError(
                f"{type(self).__name__} got rows padded on the left. Set tokenizer.padding_side = 'right'."
            )
        return None if bool(mask.all()) else mask

    # -- writing --------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def generate(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        *,
        max_new_tokens: int = 50,
        eos_token_id: int | Sequence[int] | None = None,
        **how: Any,
    ) -> Tensor:
        """input_ids (B, T) -> (B, T + new). Options as `stream`.

        Rows that have written `eos_token_id`, of several any (None: the config's), go on with it, or the first of them,
        until all have. InputError: as `forward`, an end that is no token, or a mask that leaves a token out: no text
        goes on from padding.
        """
        if self._checked(input_ids, attention_mask, None) is not None:
            raise InputError(
                f"{type(self).__name__}.generate got padded rows, from which no text goes on. Give the rows one at a "
                "time, or those of one length together."
            )
        told = getattr(self.config, "eos_token_id", None) if eos_token_id is None else eos_token_id
        ends = torch.as_tensor([] if told is None else told, dtype=torch.long).flatten()
        require_ids(type(self).__name__, "eos_token_id", ends, self.config.vocab_size)
        ends = ends.to(input_ids.device)
        ended = torch.zeros(len(input_ids), dtype=torch.bool, device=input_ids.device)
        written = [input_ids]
        for ids in self.stream(input_ids, max_new_tokens=max_new_tokens, **how):
            if len(ends):
                ids = ids.masked_fill(ended, ends[0])
                ended = ended | torch.isin(ids, ends)
            written.append(ids[:, None])
            if bool(ended.all()):
                break
        return torch.cat(written, 1)

    @torch.no_grad()
    def stream(
        self,
        input_ids: Tensor,
        *,
        max_new_tokens: int = 50,
        temperature: float = 0.0,
        top_k: int | None = None,
        generator: torch.Generator | None = None,
    ) -> Iterator[Tensor]:
        """The new tokens (B,), one at a time; the likeliest, or with a temperature drawn from the `top_k` likeliest.

        A model with topk routing reads all again for each: it has no state. InputError: as `forward`, or an option out
        of its range.
        """
        require_number(type(self).__name__, "max_new_tokens", max_new_tokens, NOT_NEGATIVE, whole=True)
        output = self(input_ids, keep_state=self._streams)
        logits, state, ids = output.logits[:, -1], output.state, input_ids
        for left in range(max_new_tokens, 0, -1):
            new = drawn(logits, temperature, top_k, generator)
            yield new
            if left == 1:
                return
            if state is not None:
                logits, state = self.step(new, state)
            else:
                ids = torch.cat([ids, new[:, None]], 1)
                logits = self(ids).logits[:, -1]


class TitansLM(StreamLM):  # type: ignore[no-untyped-call]
    """A language model that goes on learning while it reads: input_ids (B, T) -> logits (B, T, vocabulary).

    Titans (Behrouz, Zhong and Mirrokni, 2025, arXiv 2501.00663).
    """

    config_class = TitansConfig

    @staticmethod
    def mixer(config: TitansConfig, layer: int) -> nn.Module:
        """The variant that the settings name."""
        settings = config.layer_settings(layer)
        require_one_of("TitansLM", settings, "variant", tuple(MIXERS))
        made: nn.Module = MIXERS[settings.variant](settings)
        return made

    def set_updates(self, on: bool) -> None:
        """Let the memories write (the default), or leave them at their first weights."""
        for block in self._stack:
            block.mixer.memory.updates = on


MIXERS: dict[str, Any] = {"lmm": LMM, "mac": MAC, "mag": MAG, "mal": MAL}


class AarenLM(StreamLM):  # type: ignore[no-untyped-call]
    """A language model whose state is a few kilobytes for ever: input_ids (B, T) -> logits (B, T, vocabulary).

    Feng et al., 2024 (arXiv 2405.13956). It cannot look back by content (aaren.py).
    """

    config_class = AarenConfig

    @staticmethod
    def mixer(config: AarenConfig, layer: int) -> nn.Module:
        """An Aaren layer."""
        return Aaren(config.layer_settings(layer))


class RoutingTransformerLM(StreamLM):  # type: ignore[no-untyped-call]
    """A language model whose routing heads look back by content: input_ids (B, T) -> logits (B, T, vocabulary).

    Roy et al., TACL 2021 (arXiv 2003.05997).
    """

    config_class = RoutingConfig

    @staticmethod
    def mixer(config: RoutingConfig, layer: int) -> nn.Module:
        """Local heads, and from `routing_from` on routing heads."""
        return RoutingAttention(config.layer_settings(layer))


def register(config: type[StreamConfig], model: type[StreamLM]) -> None:
    """Let AutoConfig and AutoModelForCausalLM find them by the `model_type` of a saved config."""
    AutoConfig.register(config.model_type, config, exist_ok=True)
    AutoModelForCausalLM.register(config, model, exist_ok=True)


register(TitansConfig, TitansLM)
register(AarenConfig, AarenLM)
register(RoutingConfig, RoutingTransformerLM)
