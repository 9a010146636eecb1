"""Trains a decoder to use landmarks: a small one from scratch on some texts, or one that there is, by low-rank changes.

    run = RunSettings(home=home)
    folder, report = train_landmark(texts, None, LandmarkTraining(), run=run)                   # from scratch
    folder, report = train_landmark(texts, "qwen2.5-coder-0.5b", LandmarkTraining(), run=run)   # goes on from it

Both are plain next-token training inside a short window with landmarks put in; nothing longer is ever seen, and no
cache is in the loop. Windows begin anywhere in the text. A share of them may hold a pass key: a sentence with a number
somewhere, and at the end the question for it, so that a model learns to look for what it is asked for.

A model that there is learns low-rank changes of its linear layers and the landmark; merged, it is a decoder of the same
shape. All of its weights learn where `rank` is None.

Shapes    windows (B, T) of ordinary tokens, T = LandmarkSettings.window_tokens
Source    arXiv 2305.16300, sections 4.1 and 4.2, its recipes scaled down; pass keys: Mohtashami and Jaggi, section 4.2
Against   the paper's rates fall by a cosine to a fifth, its second beta is 0.95, its gradients are not clipped; here it
          is the one loop of foveal.training: rates fall in a line to 0, PyTorch's betas, gradients clipped at 1
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from foveal.attention.landmark_model import LandmarkModel, LandmarkSettings
from foveal.errors import InputError
from foveal.models.folders import kept_fingerprint
from foveal.models.hub import folder_of
from foveal.models.quiet import quiet
from foveal.ranges import COUNT, INSIDE, SHARE, Range, require_settings
from foveal.settings import Settings
from foveal.training import windows
from foveal.training.loop import Job, LoopSettings, identity, train
from foveal.training.loop_settings import without_loop
from foveal.training.low_rank import add_low_rank, merge_low_rank
from foveal.training.report import Report, plain_settings
from foveal.training.runs import RunSettings, TrainingRun
from foveal.training.watch import Progress
from foveal.training.windows import batches_of, collate

METRIC, SCRATCH = "log-likelihood", "scratch"
LONGER = 16
"""Windows of the text that is read from beginning to end, when a model is measured."""

KEYS = (10_000, 99_999)
SAID, ASKED = " The pass key is {key}. Remember it. {key} is the pass key. ", " What is the pass key? The pass key is"


@dataclass(frozen=True, kw_only=True)
class DecoderSize:
    """A decoder from scratch: Llama's layers."""

    layers: int = 6
    width: int = 256
    heads: int = 4
    vocabulary: int = 2048  # tokens, learned from the texts

    def __post_init__(self) -> None:
        require_settings("A decoder", self, layers=COUNT, width=COUNT, heads=COUNT, vocabulary=Range(300))
        if self.width % (2 * self.heads):
            raise InputError(f"{self} needs heads of an even width.")


@dataclass(frozen=True, kw_only=True)
class LandmarkTraining:
    """How a model is trained; checked when made."""

    landmarks: LandmarkSettings = field(default_factory=lambda: LandmarkSettings(block=32, train_length=512))
    size: DecoderSize = field(default_factory=DecoderSize)  # from scratch
    rank: int | None = 16  # of the changes of a model that there is; None: all its weights learn
    pass_keys: float = 0.0  # share of the windows that hold one
    held_out: float = 0.02  # share of the tokens, the last ones, that are only measured
    dev_windows: int = 32  # at most, of those
    loop: LoopSettings = field(
        default_factory=lambda: LoopSettings(batch=8, steps=2000, learning_rate=2e-3, warm_up=0.02, weight_decay=1e-3)
    )

    def __post_init__(self) -> None:
        require_settings("A landmark training", self, rank=COUNT, pass_keys=SHARE, held_out=INSIDE, dev_windows=COUNT)

    @classmethod
    def usual(cls, *, fine_tuned: bool) -> LandmarkTraining:
        """What a small decoder from scratch, or one that there is, is trained with unless it is told otherwise."""
        if not fine_tuned:
            return cls()
        loop = LoopSettings(batch=4, steps=400, learning_rate=1e-4, warm_up=0.03)
        return cls(landmarks=LandmarkSettings(), loop=loop)


# -- what is learnt from -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class PassKeys:
    """Texts with a number in them that is asked for at the end, as tokens."""

    tokenizer: Any

    def encode(self, text: str) -> list[int]:
        """The tokens of `text`, with none around it."""
        ids: list[int] = self.tokenizer(text, add_special_tokens=False)["input_ids"]
        return ids

    def window(self, filler: Tensor, draw: np.random.Generator, *, depth: float | None = None) -> tuple[Tensor, int]:
        """Of filler (T,) as many tokens, the key and the question in their place; and how many tokens the answer has.

        InputError: the window is too short for them. `depth`: where in the filler the key stands, 0 to 1; None: drawn.
        """
        key = str(int(draw.integers(KEYS[0], KEYS[1] + 1)))
        said, asked, answer = (self.encode(one.format(key=key)) for one in (SAID, ASKED, " {key}"))
        left = len(filler) - len(said) - len(asked) - len(answer)
        if left < 0:
            raise InputError(
                f"A window of {len(filler)} tokens is too short for a pass key, which takes {len(filler) - left}. Use "
                "longer windows, or no pass keys."
            )
        at = round((draw.random() if depth is None else depth) * left)
        parts = filler[:at], torch.tensor(said), filler[at:left], torch.tensor(asked + answer)
        return torch.cat([part.long() for part in parts]), len(answer)


@dataclass(frozen=True, eq=False)
class Windows(windows.Windows):
    """Windows of a text, of which a share holds a pass key."""

    pass_keys: PassKeys | None = None
    share: float = 0.0

    def __getitem__(self, number: int) -> Tensor:
        window, draw = self.drawn(number)
        if self.pass_keys is not None and draw.random() < self.share:
            return self.pass_keys.window(window, draw)[0]
        return window


def own_tokenizer(texts: Sequence[str], vocabulary: int) -> Any:
    """Byte pairs learned from the texts, each digit a token."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    made = Tokenizer(models.BPE())
    split = [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    made.pre_tokenizer = pre_tokenizers.Sequence(split)
    made.decoder = decoders.ByteLevel()
    end = "<|end|>"
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), special_tokens=[end],
        show_progress=False,
    )  # fmt: skip
    made.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=made, eos_token=end)  # type: ignore[no-untyped-call]


def own_decoder(size: DecoderSize, vocabulary: int, seed: int, *, positions: int) -> Any:
    """A decoder of Llama's layers, its weights drawn from the seed."""
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=vocabulary, hidden_size=size.width, intermediate_size=8 * size.width // 3,
        num_hidden_layers=size.layers, num_attention_heads=size.heads, num_key_value_heads=size.heads,
        max_position_embeddings=positions, tie_word_embeddings=True, bos_token_id=None, eos_token_id=0,
        initializer_range=size.width**-0.5,
    )  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return LlamaForCausalLM(config)


# -- training ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class WindowLoss:
    """The loss of a window's tokens. The loop may know only what learns of the model, and so cast nothing else."""

    model: LandmarkModel
    bfloat16: bool = False  # whether the loop cannot bring mixed precision about by itself

    def __call__(self, learning: nn.Module, batch: Tensor | Mapping[str, Tensor]) -> Tensor:
        ids = batch["ids"] if isinstance(batch, Mapping) else batch
        self.model.train(learning.training)
        with torch.autocast(ids.device.type, torch.bfloat16) if self.bfloat16 else nullcontext():
            loss: Tensor = self.model(ids, labels=ids).loss
        return loss

    @torch.no_grad()
    def nats(self, windows: Sequence[Tensor], batch: int = 8) -> float:
        """The mean over windows of one length."""
        parts = (torch.stack(list(windows[at : at + batch])) for at in range(0, len(windows), batch))
        told = [float(self.model(ids := part.to(self.model.device), labels=ids).loss) * len(part) for part in parts]
        return sum(told) / len(windows)


def train_landmark(
    texts: Sequence[str],
    base: str | None,
    settings: LandmarkTraining | None = None,
    *,
    run: RunSettings[Any],
) -> tuple[Path, Report]:
    """Train on texts, and keep the model as HOME/models/NAME if it foretells the held-out end better than before.

    `base`: a decoder by name; None: from scratch. Stopped, the same call goes on. InputError: too little text, or a
    run of that name that is another one.
    """
    return trained(LandmarkModel, "landmark", texts, base, settings or LandmarkTraining(), run)


def trained(
    kind: type[LandmarkModel], what: str, texts: Sequence[str], base: str | None, settings: LandmarkTraining,
    run: RunSettings[Any], *, said: str = "",
) -> tuple[Path, Report]:  # fmt: skip
    """A model of that kind, as `train_landmark` says. `what` tells its runs from those of other kinds; `said`: what is
    special about it, for the report.
    """
    text = "\n\n".join(one.strip() for one in texts if one.strip())
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]
    depends_on = {"what": what, "base": base or SCRATCH, "texts": digest, "landmark": without_loop(settings)}
    if base is not None:  # another model may be trained anew under that name, while this run is stopped
        depends_on["weights"] = kept_fingerprint(_base_folder(base), Settings.load().cache)
    here = TrainingRun.opened(run, identity(depends_on, settings.loop), kind="landmark")
    found = here.report()
    if found is not None:
        return here.place, found
    model, tokenizer = _begun(kind, text, base, settings)
    learnt, held = _parts(tokenizer, text, settings)
    if torch.cuda.is_available():
        model.to("cuda")  # the loop moves what learns, which may be a part of it alone
    report = _trained(model, tokenizer, learnt, held, settings, here, run.on_progress)
    report = replace(report, what=f"{said}, {report.what}" if said else report.what)
    with here.candidate() as made:
        model.save_pretrained(made)
        with quiet():
            tokenizer.save_pretrained(str(made))
        here.settle(made, report)
    return here.place, report


def _base_folder(base: str) -> Path:
    return folder_of(base, Settings.load().cache, kind="language model")


def _begun(
    kind: type[LandmarkModel], text: str, base: str | None, settings: LandmarkTraining
) -> tuple[LandmarkModel, Any]:
    """The model before it learns, and its tokenizer."""
    if base is None:
        if not text:
            raise InputError("There is no text to learn from.")
        tokenizer = own_tokenizer([text], settings.size.vocabulary)
        made = own_decoder(settings.size, len(tokenizer), settings.loop.seed, positions=settings.landmarks.train_length)
        return kind(made, settings.landmarks), tokenizer
    from transformers import PreTrainedTokenizerFast

    folder = _base_folder(base)
    tokenizer = PreTrainedTokenizerFast.from_pretrained(folder, local_files_only=True)
    return kind.from_pretrained(folder, settings.landmarks), tokenizer


def _parts(tokenizer: Any, text: str, settings: LandmarkTraining) -> tuple[Windows, Tensor]:
    """Windows to learn from, and the held-out tokens. InputError: too few tokens."""
    length = settings.landmarks.window_tokens
    with quiet():
        ids = torch.tensor(tokenizer.backend_tokenizer.encode(text, add_special_tokens=False).ids, dtype=torch.int32)
    held = max(length + 1, round(settings.held_out * len(ids)))
    if len(ids) < held + length:
        raise InputError(
            f"The texts have {len(ids):,} tokens, of which {held:,} are held out; a window of {length} to learn from "
            "is not left. Give more text, a shorter train_length, or hold out less."
        )
    keys = PassKeys(tokenizer) if settings.pass_keys else None
    made = Windows(ids[:-held], length, settings.loop.seed, keys, settings.pass_keys)
    if keys is not None:
        keys.window(ids[:length], np.random.default_rng(0))  # too short a window is found out now
    return made, ids[-held:].long()


def _trained(
    model: LandmarkModel,
    tokenizer: Any,
    learnt: Windows,
    held: Tensor,
    settings: LandmarkTraining,
    run: TrainingRun,
    on_progress: Callable[[Progress], None],
) -> Report:
    fine = run.known_by["base"] != SCRATCH
    learning: nn.Module = model
    if fine and settings.rank is not None:
        changes = add_low_rank(model.base, rank=settings.rank, alpha=2.0 * settings.rank, seed=settings.loop.seed)
        learning = nn.ModuleDict({"changes": changes, "landmark": nn.ParameterList([model.landmark])})
    loss = WindowLoss(model, settings.loop.bfloat16 and learning is not model)
    dev = list(held[: len(held) // learnt.length * learnt.length].view(-1, learnt.length)[: settings.dev_windows])
    before = _measured(model, loss, dev, held, learnt, tokenizer)
    job = Job(
        learning, learnt, loss, metric=METRIC,
        identity={key: value for key, value in run.known_by.items() if key != "settings"},
        evaluate=lambda _: {METRIC: -loss.nats(dev)}, collate=collate,
        plan=batches_of(learnt, settings.loop.batch, settings.loop.seed),
    )  # fmt: skip
    curves = train(job, settings.loop, run.folder, on_progress=on_progress)
    if learning is not model:
        merge_low_rank(model.base)
    model.eval()
    after = _measured(model, loss, dev, held, learnt, tokenizer)
    window = f"{learnt.length} tokens at once"
    return Report(
        run.name, f"landmark attention, {'low-rank changes' if learning is not model else 'all weights'}",
        run.known_by["base"], curves, {place: (before[place], after[place]) for place in after},
        after[window]["perplexity"] < before[window]["perplexity"],
        (f"{sum(one.numel() for one in learning.parameters()):,} numbers were learnt.",), plain_settings(settings),
    )  # fmt: skip


def _measured(
    model: LandmarkModel, loss: WindowLoss, dev: Sequence[Tensor], held: Tensor, learnt: Windows, tokenizer: Any
) -> dict[str, dict[str, float]]:
    """Perplexity within a window, and of the text read from its beginning; pass keys found at both lengths."""
    model.eval()
    told = {f"{learnt.length} tokens at once": {"perplexity": math.exp(loss.nats(dev))}}
    longer = held[None, : LONGER * learnt.length].to(model.device)
    if longer.shape[1] > learnt.length:
        nats = -float(model.logprobs(longer).mean())
        told[f"{longer.shape[1]:,} tokens read"] = {"perplexity": math.exp(nats)}
    if learnt.share:
        for times in (1, 4, LONGER):
            found = pass_keys_found(model, PassKeys(tokenizer), learnt.tokens, times * learnt.length)
            told[f"pass keys, {times * learnt.length:,} tokens read"] = {"digits right": found}
    return told


@torch.no_grad()
def pass_keys_found(
    model: LandmarkModel,
    keys: PassKeys,
    filler: Tensor,
    length: int,
    *,
    count: int = 8,
) -> float:
    """The share of the answers' tokens that are the likeliest where they stand, of `count` texts of `length` tokens."""
    right: list[bool] = []
    for number in range(count):
        draw = np.random.default_rng([0, number, length])
        at = int(draw.integers(max(1, len(filler) - length + 1)))
        some = filler[at : at + length] if len(filler) >= length else filler.repeat(length // len(filler) + 1)[:length]
        ids, answer = keys.window(some, draw, depth=(number + 0.5) / count)
        ids = ids.to(model.device)
        states = torch.cat(list(model.states(ids[None, :-1], model.make_cache())), 1)[:, -answer:]
        right += (model.logits(states).argmax(-1)[0] == ids[-answer:]).tolist()
    return sum(right) / len(right)
