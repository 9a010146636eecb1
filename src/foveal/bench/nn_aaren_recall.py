"""bench nn-aaren: the negative control, and a novel read byte by byte.

recall    four pairs of a key and a value, then keys in any order; at each the value is asked for. 32 tokens, 16 keys,
          16 values: 0.06 by chance, 0.25 by guessing among the four seen. Causal attention solves it; no layer whose
          query is not made of the input can. An "Aaren" that solves it would be attention in disguise
novel     War and Peace, the last 200,000 bytes streamed: bits a byte. Attention sees windows of 1,024, each by halves

Arms of a kind share data, seed, steps, width and learning rate. Each is a cell that is kept; a stopped one goes on.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from foveal.bench.code import digest_of
from foveal.bench.read import text_of, texts_of
from foveal.bench.settings import BenchSettings
from foveal.errors import InputError
from foveal.evaluation.tables import Row
from foveal.nn.causal_attention import StreamSettings, encoder_of, positions
from foveal.nn.window_attention import WindowAttention, WindowSettings
from foveal.training import checkpoints
from foveal.training.loop import Job, LoopSettings, train

PAIRS, TOKENS, KEYS = 4, 32, 16
FORGETS, SOLVES = 0.4, 0.95

Told = dict[str, Any]


def cell_folder(
    settings: BenchSettings, name: str, known_by: Mapping[str, Any], *, code: str, bench: str = "nn-aaren"
) -> Path:
    """Where what was told under this name and of this is kept; `code`: a hash of what makes it (code.py)."""
    told = {**known_by, "code": code, "torch": torch.__version__}
    digest = hashlib.sha256(json.dumps(told, sort_keys=True, default=str).encode()).hexdigest()[:16]
    return settings.cache / bench / f"{name}-{digest}"


def cell(
    settings: BenchSettings,
    name: str,
    known_by: Mapping[str, Any],
    make: Callable[[Path], Told],
    *,
    code: str,
    bench: str = "nn-aaren",
) -> Told:
    """What was told under this name and of this, from the cache, or made in a folder in which a training may go on.

    By other code it is made anew: a mend in a layer is not to be hidden by figures from before.
    """
    folder = cell_folder(settings, name, known_by, code=code, bench=bench)
    kept = checkpoints.read(folder / "told.json")
    if kept is None:
        kept = make(folder / "run")
        checkpoints.write(folder / "told.json", kept)
        for weights in (folder / "run").glob("*.safetensors"):
            weights.unlink()
    return kept


# -- recall ------------------------------------------------------------------------------------------------------------


class Pairs:
    """Sequences of recall by number: tokens (32,) and the answer at each, -100 where nothing is asked."""

    def __init__(self, count: int, seed: int) -> None:
        self.count, self.seed = count, seed

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, number: int) -> tuple[Tensor, Tensor]:
        draw = torch.Generator().manual_seed(1_000_003 * self.seed + number)
        keys = torch.randperm(KEYS, generator=draw)[:PAIRS]
        values = torch.randint(KEYS, (PAIRS,), generator=draw)
        asked = torch.randint(PAIRS, (TOKENS - 2 * PAIRS,), generator=draw)
        tokens = torch.cat([torch.stack([keys, KEYS + values], 1).flatten(), keys[asked]])
        answers = torch.cat([torch.full((2 * PAIRS,), -100), values[asked]])
        return tokens, answers


class Recaller(nn.Module):
    """Two layers of a mixer between an embedding with places and the values."""

    def __init__(self, mixer: str, seed: int) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.embed, self.place = nn.Embedding(2 * KEYS, 64), nn.Embedding(TOKENS, 64)
        self.encoder: Any
        if mixer == "window":
            self.encoder = _Windows(8)
        else:
            self.encoder = encoder_of(StreamSettings(mixer=mixer, dim=64, layers=2, dropout=0.0))  # type: ignore[arg-type]
        self.head = nn.Linear(64, KEYS)

    def forward(self, tokens: Tensor) -> Tensor:
        """(B, T) -> logits of values (B, T, 16)."""
        x = self.embed(tokens) + self.place.weight[: tokens.shape[1]]
        told: Tensor = self.head(self.encoder(x)[0])
        return told


class _Windows(nn.Module):
    """The same block around sliding windows."""

    def __init__(self, window: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            nn.ModuleDict({
                "before": nn.LayerNorm(64), "mixer": WindowAttention(WindowSettings(dim=64, window=window)),
                "feed": nn.Sequential(nn.LayerNorm(64), nn.Linear(64, 256), nn.ReLU(), nn.Linear(256, 64)),
            })
            for _ in range(2)
        )  # fmt: skip
        self.norm = nn.LayerNorm(64)

    def forward(self, x: Tensor) -> tuple[Tensor, None]:
        for one in self.layers:
            x = x + one["mixer"](one["before"](x))[0]  # type: ignore[index]
            x = x + one["feed"](x)  # type: ignore[index]
        return self.norm(x), None


def recall(settings: BenchSettings) -> Iterator[Row]:
    """Accuracy of each mixer, after the same training."""
    steps = 1000 if settings.quick else 2000
    loop = LoopSettings(
        steps=steps, batch=64, learning_rate=2e-3, warm_up=0.05, evaluate_every=steps, checkpoint_every=500,
        seed=settings.seed,
    )  # fmt: skip
    for mixer in ("aaren", "attention", "gru", "window"):
        made, code = partial(_recalled, mixer, loop), digest_of(Recaller(mixer, loop.seed))
        told = cell(settings, f"recall-{mixer}", {"loop": loop, "mixer": mixer}, made, code=code)
        bounds = {"aaren": {"at_most": FORGETS}, "attention": {"at_least": SOLVES}}.get(mixer, {})
        note = "the negative control: more would be attention in disguise" if mixer == "aaren" else ""
        yield Row.of(f"recall of 4 pairs, {mixer}", "accuracy", told["accuracy"], **bounds, note=note)


def _recalled(mixer: str, loop: LoopSettings, folder: Path) -> Told:
    model = Recaller(mixer, loop.seed)
    job = Job(
        model, Pairs((loop.steps or 1) * loop.batch, loop.seed), _asked, {"what": f"recall {mixer}"}, collate=_pairs
    )
    train(job, loop, folder)
    model.cpu()  # the loop may leave it on a GPU
    held = _pairs([Pairs(2000, loop.seed + 1)[place] for place in range(2000)])
    with torch.no_grad():
        told = model(held["tokens"]).argmax(-1)
    there = held["answers"] >= 0
    return {"accuracy": float((told[there] == held["answers"][there]).float().mean())}


def _pairs(rows: list[tuple[Tensor, Tensor]]) -> dict[str, Tensor]:
    return {"tokens": torch.stack([one for one, _ in rows]), "answers": torch.stack([one for _, one in rows])}


def _asked(model: Any, batch: Mapping[str, Tensor]) -> Tensor:
    return F.cross_entropy(model(batch["tokens"]).flatten(0, 1), batch["answers"].flatten(), ignore_index=-100)


# -- a novel -----------------------------------------------------------------------------------------------------------

BOOK = "war_and_peace.txt"
BYTES = {
    "aaren": StreamSettings(dropout=0.0),
    "aaren, decay 0.05, kernel 4": StreamSettings(dropout=0.0, decay=0.05, conv_kernel=4),
    "attention": StreamSettings(mixer="attention", dropout=0.0),
    "gru": StreamSettings(mixer="gru", dropout=0.0),
}


class ByteModel(nn.Module):
    """The next byte; attention is told places within its window, the others stream without."""

    def __init__(self, settings: StreamSettings, seed: int) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.settings, self.embed = settings, nn.Embedding(256, settings.dim)
        self.encoder, self.head = encoder_of(settings), nn.Linear(settings.dim, 256)

    def forward(self, ids: Tensor, state: Any = None) -> tuple[Tensor, Any]:
        """(B, T) -> logits (B, T, 256) and the state."""
        x = self.embed(ids)
        if self.settings.mixer == "attention":
            x = x + positions(ids.shape[1], self.settings.dim).to(x.device)
        y, state = self.encoder(x, state)
        return self.head(y), state


class Bytes:
    """Windows of a text that begin anywhere, by number."""

    def __init__(self, text: Tensor, length: int, count: int, seed: int) -> None:
        self.text, self.length, self.count, self.seed = text, length, count, seed

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, number: int) -> Tensor:
        draw = torch.Generator().manual_seed(1_000_003 * self.seed + number)
        at = int(torch.randint(len(self.text) - self.length, (), generator=draw))
        return self.text[at : at + self.length + 1].long()


def novel(settings: BenchSettings) -> Iterator[Row]:
    """Bits a byte of text that was not learnt from; no bar: Aaren is expected to be behind attention."""
    length, steps, held = (256, 60, 20_000) if settings.quick else (1024, 400, 200_000)
    (path,) = texts_of(settings, [BOOK])
    title = "War and Peace" if path.name == BOOK else path.stem
    text = torch.frombuffer(bytearray(text_of(path).encode()), dtype=torch.uint8)
    if len(text) < 2 * (held + length):
        raise InputError(
            f"{path} has {len(text):,} bytes; this bench needs {2 * (held + length):,}. Name a longer one."
        )
    loop = LoopSettings(
        steps=steps, batch=8, learning_rate=2e-3, warm_up=0.1, evaluate_every=steps, checkpoint_every=100,
        seed=settings.seed,
    )  # fmt: skip
    for name, stream in BYTES.items():
        book = hashlib.sha256(text.numpy().tobytes()).hexdigest()
        known_by = {"loop": loop, "stream": stream, "length": length, "held": held, "book": book}

        def made(folder: Path, stream: StreamSettings = stream) -> Told:
            model = ByteModel(stream, loop.seed)
            rows = Bytes(text[:-held], length, steps * loop.batch, loop.seed)
            job = Job(model, rows, _next_byte, {"what": f"bytes {stream}"}, collate=_stacked)
            train(job, loop, folder)
            return {"bits": bits(model.cpu(), text[-held:].long(), length)}

        code = digest_of(ByteModel(stream, loop.seed))
        told = cell(settings, f"bytes-{stream.mixer}", known_by, made, code=code)
        note = f"{steps * loop.batch * length:,} bytes learnt from, {held:,} streamed"
        yield Row.of(f"{title}, {name}", "bits a byte", told["bits"], note=note)


def _stacked(rows: list[Tensor]) -> dict[str, Tensor]:
    return {"ids": torch.stack(rows)}


def _next_byte(model: Any, batch: Mapping[str, Tensor]) -> Tensor:
    logits, _ = model(batch["ids"][:, :-1])
    return F.cross_entropy(logits.flatten(0, 1), batch["ids"][:, 1:].flatten())


@torch.no_grad()
def bits(model: ByteModel, text: Tensor, length: int) -> float:
    """A byte's bits: a stream in pieces; attention has for each half window the half before it."""
    nats, state = 0.0, None
    half = length // 2
    for at in range(0, len(text) - 1, half):
        right = text[at + 1 : at + half + 1]
        if model.settings.mixer == "attention":
            first = max(0, at - half)
            logits = model(text[None, first : at + len(right)])[0][0, -len(right) :]
        else:
            logits, state = model(text[None, at : at + len(right)], state)
            logits = logits[0]
        nats += float(F.cross_entropy(logits, right, reduction="sum"))
    return nats / (len(text) - 1) / math.log(2)
