"""Trains the memory of the Titans reader on texts alone: sentences ask for the few sentences that they were taken from.

    folder, report = train_reader(texts, load_encoder("minilm"), run=RunSettings(home=home))
    TitansReader(chat, memory=load_memory(folder, encoder))

An episode writes some passages that are passed over, without a gradient, then a stretch of a text; each of its
questions must recall its window among all of them. The gradient goes through the writing, as in training any Titans
layer: projections learn which of a passage's traits tell it apart, gates what is worth a large step. The encoder is
never changed. Of the questions, some words are left out, and half of the passages are written without the sentence
that asks, so that equal words are not all there is to go by.

Source    the inverse cloze task: Lee, Chang and Toutanova, ACL 2019 (arXiv 1906.00300); learning through the memory's
          own updates: Behrouz, Zhong and Mirrokni, 2025 (arXiv 2501.00663)
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from foveal.errors import InputError, ModelUnavailable
from foveal.nn.passage_memory import PassageMemory, PassageSettings
from foveal.ranges import BELOW_ONE, COUNT, INSIDE, NOT_NEGATIVE, Range, require_settings
from foveal.reading.sentences import blocks_of
from foveal.reading.skim import content_words
from foveal.reading.titans_memory import WINDOW, sentences_of, units_of
from foveal.text.units import sentences
from foveal.training import checkpoints
from foveal.training.loop import Job, LoopSettings, identity, train
from foveal.training.loop_settings import without_loop
from foveal.training.report import Report, plain_settings
from foveal.training.runs import RunSettings, TrainingRun
from foveal.training.watch import Progress
from foveal.types import Encoder

FOUND, CONFIG, WEIGHTS = "found", "passage_memory.json", "model.safetensors"
RECALLED = 8
"""Windows among which the right one must be, for a question to count as found."""


@dataclass(frozen=True, kw_only=True)
class ReaderTraining:
    """How a memory is trained; checked when made."""

    depth: int = 1
    codes: int = 1024
    passages: int = 20_000  # of the texts, at most, evenly spread stretches of them
    stretch: int = 128  # passages of an episode that are learnt from
    before: int = 1024  # passages that are written before them, at most
    words_left_out: float = 0.3  # of a question
    held_out: float = 0.15  # share of the passages, the last ones, that are only measured
    loop: LoopSettings = field(
        default_factory=lambda: LoopSettings(
            batch=4, steps=150, learning_rate=1e-3, warm_up=0.05, evaluate_every=25, patience=3
        )
    )

    def __post_init__(self) -> None:
        require_settings(
            "A reader's training", self, depth=COUNT, codes=COUNT, passages=COUNT, stretch=Range(8),
            before=NOT_NEGATIVE, words_left_out=BELOW_ONE, held_out=INSIDE,
        )  # fmt: skip
        if self.stretch < 8 or self.before < 0 or self.passages < 4 * self.stretch:
            raise InputError(
                f"A reader's training got stretch {self.stretch}, before {self.before}, passages {self.passages}; it "
                "needs 8 or more, 0 or more, and four stretches or more."
            )


@dataclass(frozen=True)
class Pair:
    """A passage, the same without one of its sentences, that sentence with words left out, and the window."""

    passage: str
    without: str
    question: str
    place: int


@dataclass(frozen=True, eq=False)
class Vectors:
    """The vectors of pairs, (n, D) each, and their windows (n,)."""

    passages: Tensor
    without: Tensor
    questions: Tensor
    places: Tensor

    def __len__(self) -> int:
        return len(self.places)

    def part(self, some: slice) -> Vectors:
        """Some of them, in order."""
        return Vectors(self.passages[some], self.without[some], self.questions[some], self.places[some])

    def to(self, device: torch.device) -> Vectors:
        """The same, there."""
        return Vectors(*(one.to(device) for one in (self.passages, self.without, self.questions, self.places)))


def pairs_of(texts: Sequence[str], encoder: Encoder, settings: ReaderTraining) -> list[Pair]:
    """Passages of the texts that have a sentence that can ask; windows are counted on from text to text."""
    found: list[Pair] = []
    first = 0
    for text in texts:
        for unit in units_of(sentences_of(blocks_of(text), encoder)):
            pair = _pair(unit.text, first + unit.start // WINDOW, settings)
            if pair:
                found.append(pair)
        first += -(-len(text) // WINDOW)
    if len(found) <= settings.passages:
        return found
    stretches = settings.passages // settings.stretch
    starts = np.linspace(0, len(found) - settings.stretch, stretches).astype(int)
    return [one for start in starts for one in found[start : start + settings.stretch]]


def _pair(text: str, place: int, settings: ReaderTraining) -> Pair | None:
    draw = np.random.default_rng(
        [settings.loop.seed, int(hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:8], 16)]
    )
    asking = [(a, b) for a, b in sentences(text) if len(content_words(text[a:b])) >= 4]
    if not asking:
        return None
    start, end = asking[int(draw.integers(len(asking)))]
    words = text[start:end].split()
    kept = [word for word in words if draw.random() >= settings.words_left_out] or words
    rest = (text[:start] + text[end:]).strip()
    return Pair(text, rest or text, " ".join(kept), place)


def vectors_of(pairs: Sequence[Pair], encoder: Encoder, check: Callable[[int, int], None]) -> Vectors:
    """Encode them; `check` is told how many of how many are done."""
    parts: list[list[np.ndarray]] = [[], [], []]
    for at in range(0, len(pairs), 256):
        check(at, len(pairs))
        some = pairs[at : at + 256]
        for part, name in zip(parts, ("passage", "without", "question"), strict=True):
            part.append(encoder.encode([getattr(one, name) for one in some]))
    passages, without, questions = (torch.from_numpy(np.concatenate(part)) for part in parts)
    return Vectors(passages, without, questions, torch.tensor([one.place for one in pairs]))


@dataclass(frozen=True, eq=False)
class Episodes:
    """Episodes by number: what is passed over, a stretch, its questions."""

    vectors: Vectors
    settings: ReaderTraining

    def __len__(self) -> int:
        return max(1, len(self.vectors) // self.settings.stretch)

    def __getitem__(self, number: int) -> dict[str, Tensor]:
        s, every = self.settings, self.vectors
        draw = np.random.default_rng([s.loop.seed, number])
        size = min(s.stretch, len(every) // 2)
        at = int(draw.integers(len(every) - size + 1))
        stretch = every.part(slice(at, at + size))
        count = int(draw.integers(min(s.before, len(every) - size) + 1))
        others = np.setdiff1d(np.arange(len(every)), np.arange(at, at + size))
        before = torch.from_numpy(np.sort(draw.permutation(others)[:count]))
        whole = torch.from_numpy(draw.random(size) < 0.5)[:, None]
        return {
            "before": every.passages[before], "before_places": every.places[before],
            "passages": torch.where(whole, stretch.passages, stretch.without), "places": stretch.places,
            "questions": stretch.questions,
        }  # fmt: skip


def plan_of(rows: Episodes, batch: int) -> Callable[[int], list[list[int]]]:
    """Every epoch has episodes of its own."""
    count = max(1, len(rows) // batch)

    def plan(epoch: int) -> list[list[int]]:
        first = epoch * count * batch
        return [list(range(first + at, first + at + batch)) for at in range(0, count * batch, batch)]

    return plan


def recall_loss(memory: PassageMemory, episodes: Mapping[str, list[dict[str, Tensor]]]) -> Tensor:
    """The cross entropy of each question's window among all that were written."""
    return torch.stack([_episode_loss(memory, one) for one in episodes["episodes"]]).mean()


def _episode_loss(memory: PassageMemory, episode: Mapping[str, Tensor]) -> Tensor:
    with torch.no_grad():
        state = memory.write(episode["before"], episode["before_places"])
    state = memory.write(episode["passages"], episode["places"], state)
    places, where = torch.unique(torch.cat([episode["before_places"], episode["places"]]), return_inverse=True)
    scores = memory.sharpness * memory.recall(episode["questions"], places, state)
    return F.cross_entropy(scores, where[len(episode["before"]) :])


@torch.no_grad()
def found_share(memory: PassageMemory, written: Vectors, asked: Vectors, *, best: int = RECALLED) -> float:
    """Of the questions of `asked`, the share whose window is among the `best` recalled after `written` was written."""
    written, asked = (one.to(next(memory.parameters()).device) for one in (written, asked))
    state = memory.write(written.passages, written.places)
    places = torch.unique(written.places)
    scores = memory.recall(asked.questions, places, state)
    recalled = places[scores.topk(min(best, len(places))).indices]
    return float((recalled == asked.places[:, None]).any(1).double().mean())


# -- the run -----------------------------------------------------------------------------------------------------------


def train_reader(
    texts: Sequence[str],
    encoder: Encoder,
    settings: ReaderTraining | None = None,
    *,
    run: RunSettings[Any],
) -> tuple[Path, Report]:
    """Train on texts and keep the memory as HOME/models/NAME if it finds more of the held-out end than untrained.

    Stopped, the same call goes on. InputError: too little text, or a run of that name that is another one.
    """
    settings = settings or ReaderTraining()
    digest = hashlib.sha256("\0".join(texts).encode("utf-8", "surrogatepass")).hexdigest()[:16]
    depends_on = {
        "what": "titans reader", "texts": digest, "encoder": encoder.fingerprint[:16], "reader": without_loop(settings)
    }  # fmt: skip
    here = TrainingRun.opened(run, identity(depends_on, settings.loop), kind="titans-reader")
    found = here.report()
    if found is not None:
        return here.place, found
    pairs = pairs_of(texts, encoder, settings)
    if len(pairs) < 4 * settings.stretch:
        raise InputError(
            f"The texts have {len(pairs):,} passages with a sentence that can ask; {4 * settings.stretch:,} are needed "
            f"for a stretch of {settings.stretch}. Give more text, or a shorter stretch."
        )
    steps = settings.loop.steps or 0
    told = vectors_of(
        pairs, encoder, lambda done, all_: run.on_progress(Progress(0, steps, note=f"Encoding {done:,} of {all_:,} …"))
        if done % 4096 == 0 else None,
    )  # fmt: skip
    memory = PassageMemory(PassageSettings(vector=encoder.dimension, depth=settings.depth, codes=settings.codes))
    report = _trained(memory, told, settings, here, run.on_progress)
    with here.candidate() as place:
        save_memory(memory, encoder, place)
        here.settle(place, report)
    return here.place, report


def _trained(
    memory: PassageMemory,
    told: Vectors,
    settings: ReaderTraining,
    run: TrainingRun,
    on_progress: Callable[[Progress], None],
) -> Report:
    held = round((1 - settings.held_out) * len(told))
    learnt, dev = told.part(slice(held)), told.part(slice(held, len(told)))
    rows = Episodes(learnt, settings)
    job = Job(
        memory, rows, recall_loss, metric=FOUND,
        identity={key: value for key, value in run.known_by.items() if key != "settings"},
        evaluate=lambda now: {FOUND: found_share(now, dev, dev)}, collate=lambda some: {"episodes": list(some)},
        plan=plan_of(rows, settings.loop.batch),
    )  # fmt: skip

    def measured() -> dict[str, dict[str, float]]:
        places = len(torch.unique(told.places))
        return {
            f"held-out end, {len(torch.unique(dev.places)):,} windows": {FOUND: found_share(memory, dev, dev)},
            f"the same after all the rest, {places:,} windows": {FOUND: found_share(memory, told, dev)},
        }

    memory.eval()
    before = measured()
    curves = train(job, settings.loop, run.folder, on_progress=on_progress)
    memory.eval()
    after = measured()
    first = next(iter(after))
    return Report(
        run.name, f"Titans reader's memory, found among {RECALLED} windows", "untrained", curves,
        {place: (before[place], after[place]) for place in after}, after[first][FOUND] > before[first][FOUND],
        (f"{len(told):,} passages; the memory holds {memory.init_state().nbytes / 1e6:.1f} MB, whatever is read.",),
        plain_settings(settings),
    )  # fmt: skip


# -- files -------------------------------------------------------------------------------------------------------------


def save_memory(memory: PassageMemory, encoder: Encoder, folder: Path) -> None:
    """Write a memory's weights, then what they are of."""
    folder.mkdir(parents=True, exist_ok=True)
    checkpoints.save_weights(memory, folder / WEIGHTS)
    about: dict[str, Any] = {
        "settings": asdict(memory.settings), "encoder": encoder.name, "fingerprint": encoder.fingerprint
    }  # fmt: skip
    checkpoints.write(folder / CONFIG, about)


def load_memory(folder: Path, encoder: Encoder) -> PassageMemory:
    """A trained memory. ModelUnavailable: the folder holds none.

    InputError: it was trained for another encoder, or by another version of Foveal.
    """
    about = checkpoints.read(folder / CONFIG)
    if about is None:
        raise ModelUnavailable(f"{folder} holds no memory of a reader. Train one: foveal train titans-reader.")
    with checkpoints.as_was_made(folder, "memory", "Train it anew: foveal train titans-reader."):
        if about["fingerprint"] != encoder.fingerprint:
            raise InputError(f"{folder} was trained for the encoder {about['encoder']}; here is {encoder.name}.")
        memory = PassageMemory(PassageSettings(**about["settings"]))
    checkpoints.load_weights(memory, folder / WEIGHTS)
    memory.eval()
    return memory
