"""Pre-trains a re-ranker on texts alone, no query: which of two word sets stands for the text better? (B-PROP, PROP)

    folder, report = pretrain_bprop(texts, "minilm", BPropSettings(), run=RunSettings(home=home))
    Scorer(folder)([("query", "document")])                                   # zero-shot: the same head scores queries
    train_reranker(examples, first_stage, str(folder), run=RunSettings(home=home))   # and on labels from there
    load_encoder(str(folder))                                                 # or as an encoder to begin with

Source    B-PROP: Ma et al., SIGIR 2021; PROP: Ma et al., WSDM 2021, which draws sets by the unigram likelihood
Needs     a BERT; one without a masked-language head, as MiniLM, begins with a fresh one
Modules   bprop_attention.py (what is looked at), bprop_sampling.py (word sets), bprop_pairs.py (as input),
          bprop_model.py (scores and losses), bprop_terms.py (a text's words, for other uses)
Guard     a share of the texts is held out: how often the better set of their pairs gets the higher score
"""

from __future__ import annotations

import hashlib
import logging
import math
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from foveal.errors import InputError, UnknownName
from foveal.models.characters import scalar
from foveal.models.folders import fingerprint
from foveal.models.hub import folder_of
from foveal.ranges import BELOW_ONE, COUNT, INSIDE, NOT_NEGATIVE, RATE, Range, require_settings
from foveal.training import checkpoints, model_folders
from foveal.training.bprop_attention import AttentionReader, Reading
from foveal.training.bprop_model import ROP_LOSSES, Representative, masked_head, measured
from foveal.training.bprop_pairs import PairFeatures, PairRows
from foveal.training.bprop_sampling import (
    Choices,
    Contrast,
    Likelihood,
    Pair,
    RandomTerms,
    Sets,
    contrastive_choices,
    distribution,
    saturated,
    word_sets,
)
from foveal.training.loop import Job, LoopSettings, identity, train
from foveal.training.loop_settings import without_loop
from foveal.training.pretraining import collate
from foveal.training.report import Report, not_kept, plain_settings
from foveal.training.runs import RunSettings, TrainingRun
from foveal.training.watch import Progress

log = logging.getLogger("foveal.training")

OBJECTIVES = ("bprop", "prop")
FRESH_HEAD = 0.1
"""Weight of the masked words where the head is a fresh one: its loss begins at 10 and would drown the other."""

JUDGED, FEW = 200, 20
"""Pairs that are to decide, two of a text at least; texts held out, as long as they are a fifth of all at most.
A twentieth of a dozen texts would be one, and its two pairs a toss of coins."""

PAIRS, TERMS = "pairs.json", "terms.json"
"""Files: of a run its pairs; of a run and its model the random distribution that they were drawn against."""
METRICS = ("pairs", "masked")
"""Shares of what is held out: pairs whose better set scores higher, masked tokens that are guessed."""


@dataclass(frozen=True, kw_only=True)
class BPropSettings:
    """How a re-ranker is pre-trained; checked when made."""

    objective: str = "bprop"  # or "prop": sets by PROP's likelihood
    rop_loss: str = "hinge"
    rop_weight: float = 1.0  # 0: masked words only
    mlm_weight: float | None = None  # None: 1, as published; 0.1 where the masked-language head is a fresh one
    contrast: Contrast = field(default_factory=lambda: Contrast(temperature=0.35, unit="deviation"))
    sets: Sets = field(default_factory=lambda: Sets(margin=0.2))
    reading: Reading = field(default_factory=Reading)
    used: int = 5  # pairs of a text in an epoch
    max_tokens: int = 512  # of set and text together
    mask_rate: float = 0.15
    most_masked: int = 60
    short_tokens: int = 200  # a text with fewer is left out with the probability `short_left_out`
    short_left_out: float = 0.0  # the reference, against the many short pages of Wikipedia: 0.8
    held_out: float = 0.05  # share of the texts; of few texts more (`FEW`)
    held_out_texts: int = 200  # at most
    loop: LoopSettings = field(  # published for BERT-base: a learning rate of 2e-5; a small model learns little by that
        default_factory=lambda: LoopSettings(epochs=1, batch=32, learning_rate=1e-4, weight_decay=0.01)
    )

    def __post_init__(self) -> None:
        for kind, value, known in (("objective", self.objective, OBJECTIVES), ("loss", self.rop_loss, ROP_LOSSES)):
            if value not in known:
                raise UnknownName(f"B-PROP has no {kind} called {value!r}. There are: {', '.join(known)}.")
        require_settings(
            "B-PROP", self, rop_weight=NOT_NEGATIVE, mlm_weight=NOT_NEGATIVE, used=COUNT, max_tokens=Range(8),
            mask_rate=RATE, most_masked=COUNT, short_tokens=NOT_NEGATIVE, short_left_out=BELOW_ONE, held_out=INSIDE,
            held_out_texts=COUNT,
        )  # fmt: skip
        if self.rop_weight == 0 and self.mlm_weight == 0:
            raise InputError("B-PROP got rop_weight = 0 and mlm_weight = 0, so that nothing is learnt.")


def pretrain_bprop(
    texts: Mapping[str, str],
    base: str = "minilm",
    settings: BPropSettings | None = None,
    *,
    run: RunSettings[Any],
) -> tuple[Path | None, Report]:
    """The folder of the re-ranker (HOME/models/<name>; None if it tells held-out sets no better than before) and the
    report. `texts` by id: title, ". ", text, say. Else as `encoders.train_encoder`.

    InputError: no texts, or none that gives a pair. The folder is a cross-encoder and an encoder in one.
    """
    settings = settings or BPropSettings()
    folder = folder_of(base, run.cache_at, kind="encoder")
    texts = {key: text for key, text in texts.items() if text.strip()}
    if len(texts) < 2:
        raise InputError(f"B-PROP got {len(texts)} texts; it needs two at least: one is held out. Give a collection.")
    depends_on = {
        "what": "bprop",
        "base": fingerprint(folder),
        "texts": _digest(texts),
        "pre-training": without_loop(settings),
        "held out": "whatever the seed is",  # it was by the seed; a run that was begun so cannot go on
    }
    here = TrainingRun.opened(run, identity(depends_on, settings.loop), kind=f"{Path(base).name}-{settings.objective}")
    if (done := here.done()) is not None:
        return done
    made = model_folders.cross_encoder(folder, seed=settings.loop.seed, window=settings.max_tokens)
    model = _model(made, folder, settings)  # before the texts are read, which takes long
    run.on_progress(Progress(0, 0, note=f"Reading {len(texts):,} texts and drawing word sets …"))
    learnt, held = _rows(texts, _pairs(here.folder, folder, texts, settings), made.tokenizer, settings)
    measure = partial(measured, rows=held, bfloat16=settings.loop.bfloat16)
    job = Job(
        model=model,
        rows=learnt,
        identity=depends_on,
        evaluate=measure,
        metric=_metric(settings),
        plan=learnt.plan(settings.loop.batch),
        collate=partial(collate, pad_id=made.tokenizer.pad_token_id),
    )
    curves = train(job, settings.loop, here.folder, on_progress=run.on_progress)
    before = curves.metrics[0][1]
    after = dict(curves.metrics)[curves.best_step or 0]
    kept = after[job.metric] > before[job.metric]
    notes = (f"{len(learnt):,} pairs of {len(learnt.pairs):,} texts; {len(held):,} pairs held out.",)
    worse = not_kept("model", job.metric, "texts held out", before[job.metric], after[job.metric])
    report = Report(
        here.name, f"{settings.objective}, pre-training", base, curves, {"held out": (before, after)}, kept,
        notes if kept else (*notes, worse), plain_settings(settings),
    )  # fmt: skip
    with here.candidate() as candidate:
        model_folders.save_model(made, candidate)
        _also_an_encoder(candidate, folder)
        if (here.folder / TERMS).is_file():
            shutil.copy(here.folder / TERMS, candidate / TERMS)
        here.settle(candidate, report)
    return here.result(report)


def _model(made: Any, folder: Path, settings: BPropSettings) -> Representative:
    """The parts of a cross-encoder, with the base's masked-language head where it has one."""
    head = masked_head(folder)
    mlm = settings.mlm_weight if settings.mlm_weight is not None else (FRESH_HEAD if head is None else 1.0)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.loop.seed)
        return Representative(
            made.model, separator=made.tokenizer.sep_token_id, loss=settings.rop_loss,
            weights=(settings.rop_weight, mlm), head=head,
        )  # fmt: skip


def draw_pairs(
    texts: Mapping[str, str], reader: AttentionReader, settings: BPropSettings
) -> tuple[dict[str, list[Pair]], RandomTerms | None]:
    """The pairs of each text, and what the contrast was drawn against (None: PROP). Text n is drawn by (seed, n)."""
    rngs = [np.random.default_rng([settings.loop.seed, number]) for number in range(len(texts))]
    choices: Iterable[Choices]  # made one by one: those of a whole collection are many times its texts
    random, contrast = None, settings.contrast
    if settings.objective == "prop":
        words = reader.words(list(texts.values()))
        likelihood = Likelihood.fit(words)
        choices = map(likelihood.choices, words, rngs)
    else:
        attention = [read.terms() for read in reader.read(list(texts.values()))]
        random = RandomTerms.fit(saturated(one, contrast) for one in attention)
        choices = (contrastive_choices(distribution(one, contrast), random, contrast) for one in attention)
    pairs = {name: word_sets(one, settings.sets, rng) for name, one, rng in zip(texts, choices, rngs, strict=True)}
    without = sum(not found for found in pairs.values())
    if without:
        log.warning("%d of %d texts have too few words for a pair of word sets.", without, len(pairs))
    return pairs, random


def _pairs(run: Path, folder: Path, texts: Mapping[str, str], settings: BPropSettings) -> dict[str, list[Pair]]:
    """The pairs, kept in the run's folder: a second start finds the same."""
    kept = checkpoints.read(run / PAIRS)
    if kept is not None:
        return {
            name: [Pair(tuple(one), tuple(other), *scores) for one, other, *scores in found]
            for name, found in kept.items()
        }
    seen = min(settings.reading.max_tokens, settings.max_tokens)  # no word is drawn that training does not see
    reader = AttentionReader.load(str(folder), replace(settings.reading, max_tokens=seen))
    pairs, random = draw_pairs(texts, reader, settings)
    if random is not None:
        random.save(run / TERMS)
    checkpoints.write(run / PAIRS, pairs)
    return pairs


def _rows(
    texts: Mapping[str, str], pairs: Mapping[str, Sequence[Pair]], tokenizer: Any, settings: BPropSettings
) -> tuple[PairRows, PairRows]:
    """What is learnt from, and what is held out, the same for every seed: no text is in both."""
    features = PairFeatures.of(
        tokenizer, settings.max_tokens, rate=settings.mask_rate, most_masked=settings.most_masked
    )
    rng, names = np.random.default_rng(0), list(texts)  # one text less must not change what else is held out
    short = {name for name in names if _short(texts[name], tokenizer, rng, settings)}
    order = [names[place] for place in rng.permutation(len(names))]
    order = [name for name in order if pairs.get(name) and name not in short]
    out = max(1, min(max(round(settings.held_out * len(order)), min(FEW, len(order) // 5)), settings.held_out_texts))
    said = {" ".join(texts[name].split()) for name in order[:out]}  # one text may have several names
    left = [name for name in order[out:] if " ".join(texts[name].split()) not in said]
    learnt, held = ({name: pairs[name] for name in chosen} for chosen in (left, order[:out]))
    return (
        PairRows(texts, learnt, features, settings.used, settings.loop.seed),
        PairRows(texts, held, features, max(2, math.ceil(JUDGED / out)), settings.loop.seed),
    )


def _short(text: str, tokenizer: Any, rng: np.random.Generator, settings: BPropSettings) -> bool:
    """Whether the text is left out for its length."""
    if not settings.short_left_out or rng.random() >= settings.short_left_out:
        return False
    return len(tokenizer(scalar(text), add_special_tokens=False, verbose=False)["input_ids"]) < settings.short_tokens


def _metric(settings: BPropSettings) -> str:
    return METRICS[0] if settings.rop_weight else METRICS[1]


def _also_an_encoder(made: Path, base: Path) -> None:
    """Say how the folder's vectors are pooled: as the base's are, else by their mean."""
    pooling = checkpoints.read(base / "1_Pooling" / "config.json") or {"pooling_mode_mean_tokens": True}
    (made / "1_Pooling").mkdir(exist_ok=True)
    checkpoints.write(made / "1_Pooling" / "config.json", pooling)


def _digest(texts: Mapping[str, str]) -> str:
    digest = hashlib.sha256()
    for name, text in texts.items():
        digest.update(f"{name}\0{text}\0".encode("utf-8", "surrogatepass"))
    return digest.hexdigest()
