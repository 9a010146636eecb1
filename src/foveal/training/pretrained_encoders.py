"""Trains an encoder on texts alone, by a task that needs no query, and keeps it only if it finds more than its base.

    run = RunSettings(home=home)
    folder, report = pretrain_encoder(texts, "minilm", PretrainingSettings(task="ict"), sentences=sentences, run=run)
    train_encoder(examples, str(folder), …)                    # from there judged queries, or load_encoder(str(folder))

Tasks     ict, simcse, contriever train the pooling that the base has; condenser, cocondenser, retromae, bow train
          [CLS], which the new folder pools by. `pretraining.py` and the modules that it names say what each task is;
          BFS and WLP need pages and links, SimLM and LexMAE more models: these are put together by hand
Guard     a sentence is taken out of each text; those of some texts, which are not trained on, ask for what is left of
          them among all texts. `dev` in their place: judged queries over other texts, a better judge of what people ask
Source    Zhao et al., arXiv 2211.14876 (survey), section on pre-training
"""

from __future__ import annotations

import hashlib
import json
import math
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from foveal.errors import InputError, ModelUnavailable, UnknownName
from foveal.models import load_encoder
from foveal.models.bert import pooling_of, supports
from foveal.models.hub import folder_of
from foveal.ranges import BELOW_ONE, COUNT, INSIDE, POSITIVE, RATE, Range, require_settings
from foveal.training import checkpoints, model_folders
from foveal.training.bprop_model import masked_head
from foveal.training.encoders import METRICS, dev_metrics
from foveal.training.examples import Examples
from foveal.training.first_stage import dev_part
from foveal.training.loop import Job, LoopSettings, identity, train
from foveal.training.loop_settings import without_loop
from foveal.training.pretraining import (
    Drawn,
    Tokens,
    collate,
    crop_examples,
    ict,
    masked_examples,
    pair_examples,
    span_examples,
    twins,
)
from foveal.training.pretraining_bottleneck import BottleneckAutoencoder
from foveal.training.pretraining_condenser import CoCondenser, Condenser
from foveal.training.pretraining_contrast import MomentumContrast, PairContrast
from foveal.training.pretraining_masks import Masking
from foveal.training.pretraining_words import BagOfWords
from foveal.training.pseudo_queries import Piece, PseudoSettings, Sentences, pseudo_examples
from foveal.training.report import Report, not_kept, plain_settings
from foveal.training.runs import RunSettings, TrainingRun
from foveal.training.searches import VectorSearch
from foveal.training.watch import Progress

CONTRASTIVE, OF_CLS = ("ict", "simcse", "contriever"), ("condenser", "cocondenser", "retromae", "bow")
TASKS = (*CONTRASTIVE, *OF_CLS)


@dataclass(frozen=True, kw_only=True)
class PretrainingSettings:
    """How an encoder is pre-trained; checked when made."""

    task: str = "ict"
    window: int = 128  # tokens of a text while training
    mask_rate: float = 0.3  # of the tokens that an encoder guesses (BERT, Condenser: 0.15; RetroMAE: 0.3)
    decoder_rate: float = 0.5  # of RetroMAE's decoder: 0.5 to 0.7
    temperature: float = 0.05  # of the contrastive tasks
    momentum: float = 0.999  # of contriever's copy
    queue: int = 4096  # its keys
    held_out: float = 0.1  # share of the texts whose sentences ask
    held_out_texts: int = 200  # at most
    dev_documents: int = 1000  # that stand for all texts while training
    loop: LoopSettings = field(default_factory=lambda: LoopSettings(epochs=3, batch=64, learning_rate=3e-5))

    def __post_init__(self) -> None:
        if self.task not in TASKS:
            raise UnknownName(f"No pre-training task is called {self.task!r}. There are: {', '.join(TASKS)}.")
        require_settings(
            "Pre-training", self, window=Range(3), mask_rate=RATE, decoder_rate=RATE, temperature=POSITIVE,
            momentum=BELOW_ONE, queue=COUNT, held_out=INSIDE, held_out_texts=COUNT, dev_documents=COUNT,
        )  # fmt: skip


def pretrain_encoder(
    texts: Mapping[str, str],
    base: str = "minilm",
    settings: PretrainingSettings | None = None,
    *,
    run: RunSettings[Examples],
    sentences: Sentences,
) -> tuple[Path | None, Report]:
    """The folder of the encoder (HOME/models/<name>; None if it finds no more than its base) and the report.

    `sentences` cuts a text (`text.units.sentences`). `run.dev`: judged queries over a corpus of their own, which decide
    in place of sentences held out. A run that was stopped goes on. InputError: too few texts, or none of two sentences.
    ModelUnavailable: the base is no sentence encoder of the BERT family. Else as `encoders.train_encoder`.
    """
    settings = settings or PretrainingSettings()
    dev = run.dev
    cache = run.cache_at
    folder, encoder = folder_of(base, cache, kind="encoder"), load_encoder(base, cache=cache)
    if not supports(folder):
        raise ModelUnavailable(
            f"{base} is no sentence encoder of the BERT family, which these tasks need. Begin with one, such as minilm."
        )
    learnt, dev = _parted(texts, sentences, settings) if dev is None else (list(_filled(texts).values()), dev)
    settings = replace(settings, loop=in_steps(settings.loop, len(learnt)))
    depends_on = {
        "what": "encoder, pre-training",
        "base": encoder.fingerprint,
        "texts": hashlib.sha256(json.dumps(learnt).encode()).hexdigest(),
        "dev": dev.fingerprint,
        "pre-training": without_loop(settings),
    }
    known_by = identity(depends_on, settings.loop)
    here = TrainingRun.opened(run, known_by, kind=f"{Path(base).name}-{settings.task}")
    if (done := here.done()) is not None:
        return done
    run.on_progress(Progress(0, 0, note=f"Encoding {len(dev.corpus):,} documents"))
    before = VectorSearch.over(dev.corpus, encoder.encode)
    model, pooling = _begun(folder, here.folder / "begun", settings)
    module, rows = _task(model, pooling, folder, learnt, sentences, settings)
    part = dev_part(dev, before, settings.dev_documents)
    job = Job(
        model=module,
        rows=rows,
        identity=depends_on,
        evaluate=lambda _: dev_metrics(dev, VectorSearch.over(part, model_folders.encoding(model))),
        metric=METRICS[0],
        collate=partial(collate, pad_id=model.tokenizer.pad_token_id),
    )
    curves = train(job, settings.loop, here.folder, on_progress=run.on_progress)
    with here.candidate() as made:
        model_folders.save_model(model, made)
        after = VectorSearch.over(dev.corpus, load_encoder(str(made), cache=cache).encode)
        measured = dev_metrics(dev, before), dev_metrics(dev, after)
        was, now = (one[METRICS[0]] for one in measured)
        note = () if now > was else (not_kept("new model", METRICS[0], "dev queries", was, now),)
        what = f"encoder, pre-training: {settings.task}"
        report = Report(here.name, what, base, curves, {"dev": measured}, now > was, note, plain_settings(settings))
        here.settle(made, report)
    shutil.rmtree(here.folder / "begun", ignore_errors=True)
    return here.result(report)


# -- what is learnt from, and what asks -------------------------------------------------------------------------------


def in_steps(loop: LoopSettings, texts: int) -> LoopSettings:
    """The loop in steps, measured after each pass over so many texts, where nothing else is said."""
    steps = loop.steps or max(1, math.ceil(loop.epochs * texts / loop.batch))
    return replace(loop, steps=steps, evaluate_every=loop.evaluate_every or min(steps, math.ceil(texts / loop.batch)))


def _filled(texts: Mapping[str, str]) -> dict[str, str]:
    filled = {name: " ".join(text.split()) for name, text in texts.items() if text.strip()}
    if len(filled) < 2:
        raise InputError(f"Pre-training got {len(filled)} texts; it needs two at least. Give a collection.")
    return filled


def _parted(
    texts: Mapping[str, str], sentences: Sentences, settings: PretrainingSettings
) -> tuple[list[str], Examples]:
    """The texts that are trained on, and sentences of the others, the same for every seed, that ask for the rest."""
    filled = _filled(texts)
    pieces = [Piece(name, name, text) for name, text in filled.items()]
    every = pseudo_examples(pieces, sentences, PseudoSettings(kinds=("sentence",), kept=0.0))
    order = [list(every.queries)[place] for place in np.random.default_rng(0).permutation(len(every.queries))]
    order.sort(key=lambda query: len(every.aside.get(query, ())))  # a footer's texts would all go with it
    out = order[: max(1, min(round(settings.held_out * len(filled)), settings.held_out_texts))]
    held = {document for query in out for document in (*every.positives[query], *every.aside.get(query, ()))}
    learnt = [text for name, text in filled.items() if name not in held]
    if not learnt:
        raise InputError(f"All {len(filled)} texts would be held out, and none be left to learn from. Give more.")
    return learnt, every.only(out)


# -- the model, and its task ------------------------------------------------------------------------------------------


def _begun(folder: Path, place: Path, settings: PretrainingSettings) -> tuple[Any, str]:
    """The SentenceTransformer that is trained, and its pooling: [CLS] where the task trains that, else the base's."""
    pooling = "cls" if settings.task in OF_CLS else pooling_of(folder)
    if pooling is None:
        raise InputError(
            f"{folder} pools in a way that is not pre-trained here; name an encoder that takes mean or CLS."
        )
    if pooling != pooling_of(folder):
        shutil.rmtree(place, ignore_errors=True)
        shutil.copytree(folder, place)
        width = (checkpoints.read(folder / "config.json") or {})["hidden_size"]
        checkpoints.write(
            place / "1_Pooling" / "config.json", {"word_embedding_dimension": width, "pooling_mode_cls_token": True}
        )
        folder = place
    return model_folders.sentence_transformer(folder), pooling


def _task(
    model: Any, pooling: str, folder: Path, texts: Sequence[str], sentences: Sentences, settings: PretrainingSettings
) -> tuple[Any, Drawn[Any]]:
    """The module that gives the loss, and its examples: each pass draws anew."""
    encoder, tokens = model[0].auto_model, Tokens(model.tokenizer, min(settings.window, int(model.max_seq_length)))
    loop, seed, masks = settings.loop, settings.loop.seed, partial(Masking.of, model.tokenizer)

    def drawn(items: int) -> int:
        """Views of each item: more examples than the steps take, so that no batch is a part of one."""
        return 1 + math.ceil((loop.steps or 1) * loop.batch / items)

    views = drawn(len(texts))
    examples: Drawn[Any]
    module: Any
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if settings.task == "ict":
            cut = [[text[start:end] for start, end in sentences(text)] for text in texts]
            cut = [[part for part in parts if any(map(str.isalnum, part))] for parts in cut]  # others may have no token
            passages = [parts for parts in cut if len(parts) > 1]
            if not passages:
                raise InputError("No text has two sentences, of which one could ask for the other. Take another task.")
            module = _pairs(encoder, pooling, settings)
            examples = pair_examples(passages, ict, tokens, seed=seed, views=drawn(len(passages)))
        elif settings.task == "simcse":
            module = _pairs(encoder, pooling, settings)
            examples = pair_examples(texts, twins, tokens, seed=seed, views=views)
        elif settings.task == "contriever":
            module = MomentumContrast(
                encoder, pooling=pooling, temperature=settings.temperature, momentum=settings.momentum,
                queue=settings.queue,
            )  # fmt: skip
            examples = crop_examples(texts, tokens, seed=seed, views=views)
        elif settings.task == "retromae":
            module = _with_head(BottleneckAutoencoder(encoder), folder)
            decoder = masks(settings.decoder_rate)
            examples = masked_examples(
                texts, tokens, masks(settings.mask_rate), seed=seed, views=views, decoder=decoder
            )  # fmt: skip
        elif settings.task == "bow":
            module = _with_head(BagOfWords(encoder), folder)
            examples = masked_examples(texts, tokens, masks(settings.mask_rate), seed=seed, views=views, words=True)
        else:
            condenser = _with_head(Condenser(encoder), folder)
            module = CoCondenser(condenser) if settings.task == "cocondenser" else condenser
            make = span_examples if settings.task == "cocondenser" else masked_examples
            examples = make(texts, tokens, masks(settings.mask_rate), seed=seed, views=views)
    return module, examples


def _pairs(encoder: Any, pooling: str, settings: PretrainingSettings) -> PairContrast:
    return PairContrast(encoder, pooling=pooling, temperature=settings.temperature)


def _with_head(module: Any, folder: Path) -> Any:
    """The module, with the base's masked-language head where it has one; else that is a fresh one."""
    head = masked_head(folder)
    if head is not None:
        module.model.transform.load_state_dict(head.transform.state_dict())
        module.model.bias.data.copy_(head.bias.data)
    return module
