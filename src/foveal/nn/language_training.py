"""Trains a small language model of these layers on a person's own text, byte by byte, and keeps it with its figures.

    folder, report = train_language(texts, LanguageTraining(model="mag"), run=RunSettings(home=home))
    model = language_model(folder)
    written = model.generate(encoded("Call me"), max_new_tokens=200, temperature=0.8)

Bytes are the tokens: no vocabulary is learnt, and any text can be read and written. Windows begin anywhere in the text;
its end is held out, and measured twice: window by window, and as one stream whose state is carried from window to
window, which is what tells a memory from none. Of the models of Titans both are measured with the updates off, too.

Models    lmm, mac, mag, mal (titans.py) · routing (routing.py) · aaren (aaren.py)
Beside    window, full, gru, delta (baseline_models.py), which learn from the same windows
Units     bits per character: the negative log2-likelihood of the bytes over the number of characters that they spell
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from foveal.errors import InputError, ModelUnavailable
from foveal.nn.baseline_models import BaselineConfig, BaselineLM
from foveal.nn.language_models import (
    AarenConfig,
    AarenLM,
    RoutingConfig,
    RoutingTransformerLM,
    StreamLM,
    TitansConfig,
    TitansLM,
)
from foveal.nn.neural_memory import NeuralMemory
from foveal.ranges import COUNT, INSIDE, Range, require_settings
from foveal.training import checkpoints
from foveal.training.loop import Job, LoopSettings, identity, train
from foveal.training.report import Report, plain_settings
from foveal.training.runs import RunSettings, TrainingRun
from foveal.training.watch import Progress
from foveal.training.windows import Windows, batches_of, collate

METRIC, BYTES = "log-likelihood", 256
STREAMED = 16
"""Windows of the held-out text that are read as one stream."""
AT_ONCE = 16
"""Windows that are read side by side."""

FAMILIES: dict[str, tuple[Any, Any]] = {
    "foveal-titans": (TitansConfig, TitansLM),
    "foveal-routing": (RoutingConfig, RoutingTransformerLM),
    "foveal-aaren": (AarenConfig, AarenLM),
    "foveal-baseline": (BaselineConfig, BaselineLM),
}
"""What a folder's config calls its model -> config and class."""

TITANS, BASELINES = ("lmm", "mac", "mag", "mal"), ("window", "full", "gru", "delta")
MODELS = (*TITANS, "routing", "aaren", *BASELINES)


@dataclass(frozen=True, kw_only=True)
class LanguageSize:
    """The size of a model; what its mixer has besides is usual for it, or said by `mixer`."""

    layers: int = 4
    width: int = 128
    heads: int = 4
    window: int = 64  # tokens that attention sees: of a window, a segment, a block, a cluster
    mixer: Mapping[str, Any] = field(default_factory=dict)  # fields of the layer's settings, over the usual ones

    def __post_init__(self) -> None:
        require_settings("A language model", self, layers=COUNT, width=COUNT, heads=COUNT, window=COUNT)


@dataclass(frozen=True, kw_only=True)
class LanguageTraining:
    """How a model is trained; checked when made."""

    model: str = "mag"
    size: LanguageSize = field(default_factory=LanguageSize)
    length: int = 512  # bytes of a window
    held_out: float = 0.05  # share of the text, its end, that is only measured
    dev_windows: int = 64  # of it, at most
    loop: LoopSettings = field(
        default_factory=lambda: LoopSettings(
            batch=8, steps=2000, learning_rate=2e-3, warm_up=0.02, weight_decay=1e-2, evaluate_every=250
        )
    )

    def __post_init__(self) -> None:
        require_settings(
            "A language model's training", self, length=Range(2), held_out=INSIDE, dev_windows=COUNT
        )  # fmt: skip
        config_of(self.model, self.size)


SURPRISE = 2.0
"""Norm to which a memory in training shortens its errors: gates that are still to be learnt can make it diverge."""


def config_of(model: str, size: LanguageSize, *, vocabulary: int = BYTES) -> Any:
    """The config of a model by its name. InputError: no such name, or sizes that its layers refuse."""
    common: dict[str, Any] = {
        "vocab_size": vocabulary, "hidden_size": size.width, "num_hidden_layers": size.layers
    }  # fmt: skip
    attention = {"heads": size.heads, "window": size.window}
    if model in TITANS:
        memory = {"heads": size.heads, "max_surprise": SURPRISE, **size.mixer.get("memory", {})}
        mixer = {"variant": model, **attention, **size.mixer, "memory": memory}
        return TitansConfig(**common, mixer=mixer)
    if model == "routing":
        usual = {"heads": size.heads, "routing_heads": max(1, size.heads // 2), "local_window": size.window}
        mixer = {**usual, "window": size.window, **size.mixer}
        return RoutingConfig(**common, routing_from=size.layers // 2, mixer=mixer)
    if model == "aaren":
        return AarenConfig(**common, mixer={"heads": size.heads, **size.mixer})
    if model in BASELINES:
        own = {"window": attention, "gru": {}}.get(model, {"heads": size.heads})
        return BaselineConfig(**common, kind=model, mixer={**own, **size.mixer})
    raise InputError(f"No language model is called {model!r}. There are: {', '.join(MODELS)}.")


def made(config: Any, seed: int) -> StreamLM:
    """A model of this config, its weights drawn from the seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model: StreamLM = FAMILIES[config.model_type][1](config)
    return model


def language_model(folder: Path) -> StreamLM:
    """A model that was trained, ready to read. ModelUnavailable: the folder holds none of these."""
    about = checkpoints.read(folder / "config.json") or {}
    if about.get("model_type") not in FAMILIES:
        raise ModelUnavailable(
            f"{folder} holds no language model of foveal.nn (its config says {about.get('model_type')!r}). Train one: "
            "foveal train language-model."
        )
    model: StreamLM = FAMILIES[about["model_type"]][1].from_pretrained(folder, use_safetensors=True)
    model.train(False)
    return model


def encoded(text: str) -> Tensor:
    """The bytes of a text as tokens, (1, n). InputError: it is empty."""
    data = text.encode("utf-8", "surrogatepass")
    if not data:
        raise InputError("The text is empty; give at least one character to go on from.")
    return torch.frombuffer(bytearray(data), dtype=torch.uint8).long()[None]


def decoded(tokens: Tensor) -> str:
    """The text of tokens (n,); bytes that spell no character become U+FFFD."""
    return bytes(tokens.tolist()).decode("utf-8", "replace")


# -- likelihood --------------------------------------------------------------------------------------------------------


@torch.no_grad()
def window_nats(model: StreamLM, windows: Tensor) -> float:
    """Nats per byte of windows (n, length), each read by itself."""
    parts = torch.split(windows.to(model.device), AT_ONCE)
    return sum(float(_loss(model, one)) * len(one) for one in parts) / len(windows)


def _loss(model: StreamLM, ids: Tensor) -> Tensor:
    logits = model(ids).logits[:, :-1]
    return nn.functional.cross_entropy(logits.flatten(0, 1).float(), ids[:, 1:].flatten())


@torch.no_grad()
def stream_nats(model: StreamLM, text: Tensor, piece: int) -> float:
    """Nats per byte of a text (n,) read from its beginning, `piece` bytes at a time, the state carried over."""
    state, total, text = model.init_state(1), 0.0, text.to(model.device)
    for at in range(0, len(text) - 1, piece):
        ids = text[at : min(at + piece, len(text) - 1)][None]
        output = model(ids, state=state, keep_state=True)
        state = output.state
        wanted = text[at + 1 : at + 1 + ids.shape[1]]
        total += float(nn.functional.cross_entropy(output.logits[0].float(), wanted, reduction="sum"))
    return total / (len(text) - 1)


def bits_of(text: Tensor) -> float:
    """What a nat per byte of a text (n,) is in bits per character."""
    characters = int(((text & 0xC0) != 0x80).sum())  # in UTF-8 all other bytes go on with one
    return len(text) / max(1, characters) / math.log(2)


@contextmanager
def without_updates(model: StreamLM) -> Iterator[bool]:
    """Inside, the model's memories do not write; yields whether it has any. Afterwards each does as it did before."""
    memories = [one for one in model.modules() if isinstance(one, NeuralMemory)]
    before = [one.updates for one in memories]
    try:
        for one in memories:
            one.updates = False
        yield bool(memories)
    finally:
        for one, wrote in zip(memories, before, strict=True):
            one.updates = wrote


# -- training ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class _Held:
    """The end of the text, which is only measured."""

    tokens: Tensor
    length: int
    windows: int

    @property
    def bits(self) -> float:
        """Of a nat per byte, in bits per character."""
        return bits_of(self.tokens)

    def dev(self) -> Tensor:
        """Its windows (n, length), evenly spread over it."""
        every = self.tokens[: len(self.tokens) // self.length * self.length].view(-1, self.length)
        return every[torch.linspace(0, len(every) - 1, min(len(every), self.windows)).round().long()]

    def measured(self, model: StreamLM) -> dict[str, dict[str, float]]:
        """Bits per character, window by window and as a stream; with the updates off where there are any."""
        streams = all(getattr(one.mixer, "streams", True) for one in model._stack)
        streamed = self.tokens[: STREAMED * self.length]

        def told(note: str) -> dict[str, dict[str, float]]:
            found = {f"{self.length} bytes at once{note}": self.bits * window_nats(model, self.dev())}
            if streams and len(streamed) > self.length:
                name = f"{len(streamed):,} bytes as a stream{note}"
                found[name] = bits_of(streamed) * stream_nats(model, streamed, self.length)
            return {place: {"bits per character": bits} for place, bits in found.items()}

        measured = told("")
        with without_updates(model) as has_any:
            return {**measured, **told(", updates off")} if has_any else measured


def train_language(
    texts: Sequence[str],
    settings: LanguageTraining | None = None,
    *,
    run: RunSettings[Any],
) -> tuple[Path, Report]:
    """Train on texts and keep the model as HOME/models/NAME; stopped, the same call goes on.

    InputError: too little text, or a run of that name that is another one.
    """
    settings = settings or LanguageTraining()
    text = "\n\n".join(one.strip() for one in texts if one.strip())
    data = text.encode("utf-8", "surrogatepass")
    plain = {key: value for key, value in plain_settings(settings).items() if key != "loop"}
    depends_on = {
        "what": f"language model, {settings.model}",
        "texts": hashlib.sha256(data).hexdigest()[:16],
        "language": json.dumps(plain, sort_keys=True),
    }
    here = TrainingRun.opened(run, identity(depends_on, settings.loop), kind=f"language-{settings.model}")
    found = here.report()
    if found is not None:
        return here.place, found
    rows, held = _parts(data, settings)
    model = made(config_of(settings.model, settings.size), settings.loop.seed)
    report = _trained(model, rows, held, settings, here, run.on_progress)
    with here.candidate() as place:
        model.save_pretrained(place)
        here.settle(place, report)
    return here.place, report


def _parts(data: bytes, settings: LanguageTraining) -> tuple[Windows, _Held]:
    """Windows to learn from, and the held-out end. InputError: too few bytes."""
    held = max(settings.length, round(settings.held_out * len(data)))
    if len(data) < held + settings.length:
        raise InputError(
            f"The texts have {len(data):,} bytes; {settings.length:,} to learn from and {held:,} to measure need "
            f"{settings.length + held:,}. Give more text, or a shorter length."
        )
    tokens = torch.frombuffer(bytearray(data), dtype=torch.uint8)
    rows = Windows(tokens[:-held], settings.length, settings.loop.seed)
    return rows, _Held(tokens[-held:].long(), settings.length, settings.dev_windows)


def next_bytes(model: nn.Module, batch: Mapping[str, Tensor]) -> Tensor:
    """The loss of a batch of windows, what the mixers add to it included."""
    loss: Tensor = model(batch["ids"], labels=batch["ids"]).loss
    return loss


def _trained(
    model: StreamLM,
    rows: Windows,
    held: _Held,
    settings: LanguageTraining,
    run: TrainingRun,
    on_progress: Callable[[Progress], None],
) -> Report:
    model.train(False)
    dev, before = held.dev(), held.measured(model)
    job = Job(
        model, rows, next_bytes, metric=METRIC, collate=collate,
        identity={key: value for key, value in run.known_by.items() if key != "settings"},
        evaluate=lambda now: {METRIC: -held.bits * window_nats(now, dev)},
        plan=batches_of(rows, settings.loop.batch, settings.loop.seed),
    )  # fmt: skip
    curves = train(job, settings.loop, run.folder, on_progress=on_progress)
    model.train(False)
    after = held.measured(model)
    first = next(iter(after))
    count = sum(one.numel() for one in model.parameters())
    seen = curves.steps * settings.loop.batch * settings.length
    return Report(
        run.name, f"language model, {settings.model}", "weights as drawn", curves,
        {place: (before[place], after[place]) for place in after},
        after[first]["bits per character"] < before[first]["bits per character"],
        (f"{count:,} numbers learnt from {seen:,} bytes, of {len(rows.tokens):,} that there are.",),
        plain_settings(settings),
    )  # fmt: skip
