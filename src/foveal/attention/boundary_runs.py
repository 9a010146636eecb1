"""Trains the boundary predictor of DHSA for a model of one's own, on one's own texts, and keeps it if it helps.

    folder, report = train_boundaries(load_language_model("./my-model"), texts, run=RunSettings(home=home))

The model reads some windows of the texts once; of each, keys and labels of a few layers lie in files of the run, so
that a run that was stopped while it read goes on with the next window. The predictor then learns from the files, by the
one loop of foveal.training. The end of the texts is only measured: the predictor is kept, as HOME/models/NAME, if the
keys that are chosen by its chunks, a quarter of those that are not looked at anyway, hold more of the model's attention
than by fixed chunks, those of DHSA and as many as were predicted. From then on DHSA finds it there (own_boundaries.py).

Needs     about texts × layers × length × C × 2 bytes on the disk while it trains (48 × 12 × 2,048 × 128: 300 MB)
Source    labels, loss and predictor: DHSA (Xiong et al., arXiv 2510.24606); see boundary_training.py
Against   `train_boundary_predictor` does the same in memory, by a loop of its own; it made the shipped ones
"""

from __future__ import annotations

import hashlib
import re
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from foveal.attention.attach import Context
from foveal.attention.blocks import BLOCK
from foveal.attention.boundaries import BoundaryPredictor, Origin, fixed_boundaries
from foveal.attention.boundary_training import (
    Metrics,
    Recipe,
    Sample,
    TokenText,
    capture,
    chosen_layers,
    found_in,
    measure,
    sample_loss,
    sample_of,
)
from foveal.attention.dhsa import DHSA
from foveal.attention.estimates import capped
from foveal.attention.own_boundaries import FILE
from foveal.attention.profiles import architecture_of
from foveal.errors import InputError
from foveal.evaluation.files import whole_file
from foveal.models.quiet import quiet
from foveal.ranges import COUNT, INSIDE, require_settings
from foveal.training.loop import Job, LoopSettings, identity, train
from foveal.training.loop_settings import without_loop
from foveal.training.report import Report, plain_settings
from foveal.training.runs import RunSettings, TrainingRun
from foveal.training.watch import Progress

if TYPE_CHECKING:
    from foveal.models.language import LanguageModel

METRIC, KIND = "f1", "boundaries"
SHARE, MEASURED = 0.25, "a quarter of the keys"
"""Of the keys that are neither among the first nor the last ones: what is chosen where chunks are measured."""
SHORTEST = 512
"""Tokens below which a window tells nothing of chunks: the first and last keys are looked at anyway."""
CHARACTERS = 6
"""Of a token, about; rather too many."""
SENTENCE = re.compile(r"[.!?][\"')\]]*(?=\s)|\S(?=\s*\n\s*\n)")


@dataclass(frozen=True, kw_only=True)
class BoundaryTraining:
    """How a predictor is trained and measured; checked when made. InputError: a number that cannot be."""

    recipe: Recipe = field(default_factory=lambda: Recipe(layers_per_text=12))  # `loop` has its epochs and rate
    texts: int = 48  # windows of `recipe.length` tokens that are learnt from, spread evenly
    held: int = 8  # windows that are only measured
    held_out: float = 0.1  # share of the texts, their end, from which these are
    loop: LoopSettings = field(
        default_factory=lambda: LoopSettings(
            epochs=Recipe().epochs, batch=1, learning_rate=Recipe().learning_rate, warm_up=0.05
        )
    )

    def __post_init__(self) -> None:
        require_settings("A training of boundaries", self, texts=COUNT, held=COUNT, held_out=INSIDE)
        if self.recipe.length < SHORTEST:
            raise InputError(
                f"A training of boundaries got length {self.recipe.length}; windows of {SHORTEST} tokens or more."
            )


def train_boundaries(
    model: LanguageModel,
    texts: Sequence[str],
    settings: BoundaryTraining | None = None,
    *,
    run: RunSettings[Any],
) -> tuple[Path, Report]:
    """Train on texts, and keep the predictor as HOME/models/NAME if its chunks serve better than fixed ones.

    Stopped, the same call goes on. InputError: too little text, a model that cannot be attached, or a run of that name
    that is another one.
    """
    settings = settings or BoundaryTraining()
    text = "\n\n".join(one.strip() for one in texts if one.strip())
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]
    depends_on = {
        "what": KIND, "base": model.name, "weights": model.fingerprint, "texts": digest, KIND: without_loop(settings),
        "layers": str(chosen_layers(model.model)),
    }  # fmt: skip
    here = TrainingRun.opened(run, identity(depends_on, settings.loop), kind=KIND)
    done = here.report()
    if done is not None:
        return here.place, done
    cut = len(text) - round(settings.held_out * len(text))
    learnt = windows(model, text[:cut], settings.texts, settings.recipe.length)
    held = windows(model, text[cut:], settings.held, settings.recipe.length)
    if not learnt or not held:
        raise InputError(
            f"The texts have {len(text):,} characters, of which the last {len(text) - cut:,} are held out; a window of "
            f"{SHORTEST} tokens of each is not there. Give more text, or hold out another share."
        )
    predictor, report = _trained(model, learnt, held, settings, here, run.on_progress)
    with here.candidate() as made:
        predictor.save(made / FILE, _origin(model, report))
        here.settle(made, report)
    shutil.rmtree(here.folder / "samples", ignore_errors=True)
    return here.place, report


def _origin(model: LanguageModel, report: Report) -> Origin:
    told = {f"{of} {name}": value for of, (_, after) in report.measured.items() for name, value in after.items()}
    architecture = architecture_of(model.model.config)
    return Origin(model=model.name, fingerprint=model.fingerprint, architecture=architecture, metrics=told)


# -- what is learnt from -----------------------------------------------------------------------------------------------


def windows(model: LanguageModel, text: str, count: int, length: int) -> list[TokenText]:
    """At most `count` windows of `length` tokens, spread evenly over the text, none over another; a shorter one counts
    from `SHORTEST` tokens on."""
    count = max(1, min(count, len(text) // (CHARACTERS * length)))
    each = len(text) // count
    found = []
    for number in range(count):
        some = text[number * each : (number + 1) * each][: 4 * CHARACTERS * length]
        with quiet():
            told = model.tokenizer(some, add_special_tokens=False, return_offsets_mapping=True)
        last = {one.end() - 1 for one in SENTENCE.finditer(some)}
        offsets = told.offset_mapping[:length]
        ends = [place for place, (start, end) in enumerate(offsets) if any(at in last for at in range(start, end))]
        found.append(TokenText(told.input_ids[:length], ends))
    return [one for one in found if len(one.ids) >= SHORTEST]


@dataclass(frozen=True, eq=False)
class Samples:
    """Layers of windows, read from their files one at a time."""

    folder: Path
    texts: int
    layers: int  # of each window

    def __len__(self) -> int:
        return self.texts * self.layers

    def __getitem__(self, number: int) -> dict[str, Tensor]:
        text, which = divmod(number, self.layers)
        with safe_open(self.folder / f"{text}.safetensors", "pt") as file:
            return {part: file.get_tensor(f"{part}.{which}") for part in ("key", "rho")}

    def all(self, device: torch.device) -> Iterator[Sample]:
        """One after the other."""
        for number in range(len(self)):
            yield Sample(**{part: one.to(device) for part, one in self[number].items()})


def read_samples(
    model: Any,
    texts: Sequence[TokenText],
    folder: Path,
    recipe: Recipe,
    seed: int,
    on_read: Callable[[int, int], None],
) -> Samples:
    """Let a decoder read what is not read yet. Of each window a few layers are kept, drawn by its number."""
    layers = chosen_layers(model)
    count = min(len(layers), recipe.layers_per_text or len(layers))
    for number, text in enumerate(texts):
        place = folder / f"{number}.safetensors"
        if not place.exists():
            drawn = sorted(np.random.default_rng([seed, number]).permutation(layers)[:count].tolist())
            parts: dict[str, Tensor] = {}

            def keep(
                query: Tensor,
                key: Tensor,
                context: Context,
                drawn: list[int] = drawn,
                parts: dict[str, Tensor] = parts,
            ) -> None:
                if context.layer in drawn:
                    sample, which = sample_of(query, key, context, window=recipe.window), drawn.index(context.layer)
                    parts[f"key.{which}"] = sample.key.cpu().contiguous()
                    parts[f"rho.{which}"] = sample.rho.float().cpu()

            capture(model, text.ids, keep)
            with whole_file(place) as partial:
                save_file(parts, str(partial))
        on_read(number + 1, len(texts))
    return Samples(folder, len(texts), count)


# -- learning and measuring --------------------------------------------------------------------------------------------


def _trained(
    model: LanguageModel,
    learnt: Sequence[TokenText],
    held: Sequence[TokenText],
    settings: BoundaryTraining,
    run: TrainingRun,
    on_progress: Callable[[Progress], None],
) -> tuple[BoundaryPredictor, Report]:
    recipe, seed = settings.recipe, settings.loop.seed

    def told(done: int, total: int) -> None:
        on_progress(Progress(done, total, note=f"Reading {total:,} windows of text …" if done == 1 else ""))

    place = run.folder / "samples"
    rows = read_samples(model.model, learnt, place / "learnt", recipe, seed, told)
    dev = read_samples(model.model, held, place / "held", recipe, seed, told)
    key = rows[0]["key"]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        predictor = BoundaryPredictor(
            key.shape[1] * key.shape[3],
            window=recipe.window, hidden=recipe.hidden, heads=recipe.heads, encoder=recipe.encoder,
            standardise=recipe.standardise, gated=recipe.gated,
        )  # fmt: skip

    def loss(learning: Any, batch: Mapping[str, Any]) -> Tensor:
        return torch.stack([sample_loss(learning, Sample(**one), recipe) for one in batch["samples"]]).mean()

    def evaluate(learning: Any) -> dict[str, float]:
        return {METRIC: found_in(learning, dev.all(next(learning.parameters()).device)).f1}

    job = Job(
        predictor, rows, loss, metric=METRIC, evaluate=evaluate, collate=lambda some: {"samples": list(some)},
        identity={key: value for key, value in run.known_by.items() if key != "settings"},
    )  # fmt: skip
    curves = train(job, settings.loop, run.folder, on_progress=on_progress)
    predictor = predictor.to(model.device).eval()
    masses = masses_kept(model.model, predictor, held)
    found = measure(model.model, predictor, held, length=recipe.length, seed=seed)
    report = Report(
        run.name, f"boundaries of DHSA's chunks, encoder {recipe.encoder}", model.name, curves,
        _measured(masses, found),
        masses["predicted"] > _fixed(masses), _notes(masses, found), plain_settings(settings),
    )  # fmt: skip
    return predictor, report


def _measured(masses: Mapping[str, float], found: Metrics) -> dict[str, tuple[dict[str, float], dict[str, float]]]:
    """Before: what there is without a predictor."""
    best = found[_best(found)]
    before, after = (
        {name: value for name, value in asdict(one).items() if name in ("f1", "overlap")}
        for one in (best, found["predictor"])
    )
    return {
        MEASURED: ({"mass kept": _fixed(masses)}, {"mass kept": masses["predicted"]}),
        "boundaries": (before, after),
    }


def _notes(masses: Mapping[str, float], found: Metrics) -> tuple[str, ...]:
    return (
        f"Before: the better of fixed chunks of {DHSA.chunk} tokens, {masses['fixed']:.4f}, and of as many as were "
        f"predicted, {masses['as many']:.4f} (DHSA(boundaries='fixed', chunk=16), or near it).",
        f"Boundaries before: {_best(found)}, the best of random, fixed, sentences' ends and cosine.",
    )


def _fixed(masses: Mapping[str, float]) -> float:
    return max(masses["fixed"], masses["as many"])


def _best(found: Metrics) -> str:
    return max((name for name in found if name != "predictor"), key=lambda name: found[name].f1)


def masses_kept(model: Any, predictor: BoundaryPredictor, texts: Sequence[TokenText]) -> dict[str, float]:
    """The share of a model's attention that first and last keys and a quarter of the others hold, token by token, the
    mean over texts and layers that see the whole text: the others chosen by predicted chunks, by fixed ones, and by as
    many fixed ones as predicted.
    """
    told: dict[str, list[float]] = {name: [] for name in ("predicted", "fixed", "as many")}

    def see(query: Tensor, key: Tensor, context: Context) -> None:
        if context.mask.slides:
            return
        keys = key.shape[2]
        anyway = DHSA.local + DHSA.sink
        method = DHSA(budget=anyway + round(SHARE * (keys - anyway)), dense_tail=0, predictor=predictor)
        cuts = {"predicted": method.cut(query, key, context)}
        cuts["fixed"] = replace(method, boundaries="fixed", predictor=None).cut(query, key, context)
        cuts["as many"] = fixed_boundaries(keys, -(-keys // (len(cuts["predicted"]) - 1))).to(key.device)
        for name, bounds in cuts.items():
            told[name].append(mass_kept(query, key, method.token_keep(query, key, bounds), context))

    for text in texts:
        capture(model, text.ids, see)
    if not told["predicted"]:
        raise InputError("Every layer of this model slides over the text: DHSA has nothing to choose in it.")
    return {name: fmean(values) for name, values in told.items()}


def mass_kept(query: Tensor, key: Tensor, keep: Tensor, context: Context) -> float:
    """The attention of the text's second half of queries that lies in `keep` (1, H, query blocks, K), on average."""
    heads, length = query.shape[1], query.shape[2]
    keys = key[0].float().repeat_interleave(heads // key.shape[1], 0)
    places, total, rows = torch.arange(length, device=query.device), 0.0, 0
    for number in range(keep.shape[2] // 2, keep.shape[2]):
        some = slice(number * BLOCK, min((number + 1) * BLOCK, length))
        scores = capped(query[0, :, some].float() @ keys.mT * context.scale, context.softcap)
        weights = scores.masked_fill_(places > places[some, None], -torch.inf).softmax(-1)
        total += float((weights * keep[0, :, number, None]).sum())
        rows += heads * weights.shape[1]
    return total / rows
