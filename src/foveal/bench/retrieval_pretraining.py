"""bench retrieval-pretraining: what training on a corpus without any query gives a model that knows nothing.

The model is MiniLM's form with weights drawn at random, so that it knows nothing of the claims: six layers of 384.
Each task trains it on SciFact's abstracts alone, no claim and no judgement; then all abstracts and test claims are
encoded, and searched by cosine, with the pooling that the task trains. The same untrained weights are measured by both
poolings. The bar: each task must find more than no pre-training by the same pooling.

A trained model is kept in the bench's cache, and a bench that was stopped goes on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch

from foveal.bench.retrieval_fusion import Judged
from foveal.bench.settings import BenchSettings
from foveal.evaluation.metrics import evaluate
from foveal.evaluation.tables import Row
from foveal.models.hub import folder_of
from foveal.models.quiet import quiet
from foveal.settings import Settings
from foveal.text.units import sentences
from foveal.training.loop import Job, LoopSettings, train
from foveal.training.precision import mixed_precision
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
from foveal.training.pretraining_contrast import MomentumContrast, PairContrast, vectors
from foveal.training.pretraining_masks import Masking

STEPS, QUICK_STEPS, BATCH = 300, 40, 64
WINDOW = 64
"""Tokens of a text while training."""

READ = 192
"""Tokens of a text when it is searched."""


def pretraining(settings: BenchSettings) -> Iterator[Row]:
    """The rows of `foveal bench retrieval-pretraining`."""
    judged = Judged.of(settings)
    tokenizer = _tokenizer()
    before = {}
    for pooling in ("mean", "cls"):
        before[pooling] = zero_shot(judged, tokenizer, fresh(settings.seed), pooling)
        yield Row.of(f"no pre-training, {pooling}", "ndcg@10", before[pooling], note="weights drawn at random")
    steps = QUICK_STEPS if settings.quick else STEPS
    for task, (make, pooling) in TASKS.items():
        module, examples = make(judged, tokenizer, settings.seed)
        trained(module, examples, tokenizer.pad_token_id, settings, f"{task}-{steps}", steps)
        encoder = _encoder(module)
        value = zero_shot(judged, tokenizer, encoder, pooling)
        note = f"{steps} steps of {BATCH}; {before[pooling]:.4f} without it, by the same pooling ({pooling})"
        yield Row.of(task, "ndcg@10", value, note=note)
        yield Row.of(task, "rise over no pre-training", value - before[pooling], at_least=1e-4)


def trained(module: Any, examples: Drawn[Any], pad_id: int, settings: BenchSettings, name: str, steps: int) -> None:
    """Train the module in place, or take what an earlier run of the bench made."""
    loop = LoopSettings(steps=steps, batch=BATCH, learning_rate=3e-4, seed=settings.seed, bfloat16=mixed_precision())
    job = Job(
        model=module,
        rows=examples,
        identity={"what": f"pre-training, {name}", "window": str(WINDOW)},
        collate=partial(collate, pad_id=pad_id),
    )
    train(job, loop, settings.cache / "training" / "runs" / "pretraining" / f"{name}-{settings.seed}")


def zero_shot(judged: Judged, tokenizer: Any, encoder: Any, pooling: str) -> float:
    """nDCG@10 of the encoder's cosines on the test claims."""
    documents = encoded(judged.texts, tokenizer, encoder, pooling)
    claims = encoded(list(judged.test.queries.values()), tokenizer, encoder, pooling)
    names, scores = list(judged.test.corpus), claims @ documents.T
    best = np.argsort(-scores, axis=1, kind="stable")[:, :100]
    run = {
        query: {names[column]: float(scores[row, column]) for column in best[row]}
        for row, query in enumerate(judged.test.queries)
    }
    return evaluate(run, judged.test.qrels, ("ndcg@10",))["ndcg@10"]


def encoded(texts: Sequence[str], tokenizer: Any, encoder: Any, pooling: str, *, batch: int = 64) -> np.ndarray:
    """Unit vectors (len(texts), D), long texts beside long ones; no dropout."""
    encoder.eval()
    order = sorted(range(len(texts)), key=lambda row: len(texts[row]))
    made = np.empty((len(texts), encoder.config.hidden_size), dtype=np.float32)
    for first in range(0, len(order), batch):
        rows = order[first : first + batch]
        read = tokenizer(
            [texts[row] for row in rows], truncation=True, max_length=READ, padding=True, return_tensors="pt"
        )
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=mixed_precision()):
            found = vectors(encoder, read["input_ids"], read["attention_mask"].bool(), pooling)
        made[rows] = found.float().numpy()
    return made


def fresh(seed: int) -> Any:
    """A BertModel of MiniLM's form, its weights drawn from the seed."""
    from transformers import AutoConfig, BertModel

    config = AutoConfig.from_pretrained(_folder())
    with torch.random.fork_rng(devices=[]), quiet():
        torch.manual_seed(seed)
        return BertModel(config, add_pooling_layer=False)


# -- tasks: judged, tokenizer, seed -> a module that gives its loss, and examples -------------------------------------

Made = tuple[Any, Drawn[Any]]


def _ict(judged: Judged, tokenizer: Any, seed: int) -> Made:
    cut = [[text[start:end] for start, end in sentences(text)] for text in _abstracts(judged)]
    passages = [one for one in cut if len(one) > 1]
    return PairContrast(fresh(seed), pooling="mean"), pair_examples(
        passages, ict, _tokens(tokenizer), seed=seed, views=9
    )


def _twins(judged: Judged, tokenizer: Any, seed: int) -> Made:
    return PairContrast(fresh(seed), pooling="mean"), pair_examples(
        _abstracts(judged), twins, _tokens(tokenizer), seed=seed, views=9
    )


def _crops(judged: Judged, tokenizer: Any, seed: int) -> Made:
    module = MomentumContrast(fresh(seed), momentum=0.99, queue=2048)  # the paper's 0.9995 moves nothing in 300 steps
    return module, crop_examples(_abstracts(judged), _tokens(tokenizer), seed=seed, views=9)


def _retromae(judged: Judged, tokenizer: Any, seed: int) -> Made:
    masks = [Masking.of(tokenizer, rate) for rate in (0.3, 0.5)]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed + 1)
        module = BottleneckAutoencoder(fresh(seed))
    return module, masked_examples(
        _abstracts(judged), _tokens(tokenizer), masks[0], decoder=masks[1], seed=seed, views=9
    )


def _condenser(judged: Judged, tokenizer: Any, seed: int) -> Made:
    mask = Masking.of(tokenizer, 0.15)
    return _head(seed), masked_examples(_abstracts(judged), _tokens(tokenizer), mask, seed=seed, views=9)


def _cocondenser(judged: Judged, tokenizer: Any, seed: int) -> Made:
    mask = Masking.of(tokenizer, 0.15)
    return CoCondenser(_head(seed)), span_examples(_abstracts(judged), _tokens(tokenizer), mask, seed=seed, views=9)


def _head(seed: int) -> Condenser:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed + 1)
        return Condenser(fresh(seed))


TASKS: dict[str, tuple[Callable[[Judged, Any, int], Made], str]] = {
    "ICT": (_ict, "mean"),
    "crops with momentum (Contriever)": (_crops, "mean"),
    "twins (SimCSE)": (_twins, "mean"),
    "RetroMAE": (_retromae, "cls"),
    "Condenser": (_condenser, "cls"),
    "coCondenser": (_cocondenser, "cls"),
}


def _encoder(module: Any) -> Any:
    """The encoder inside a task's module."""
    module = getattr(module, "condenser", module)
    return module.encoder if hasattr(module, "encoder") else module.model.encoder


def _abstracts(judged: Judged) -> list[str]:
    return [record.text for record in judged.test.corpus.values() if len(record.text) > 40]


def _tokens(tokenizer: Any) -> Tokens:
    return Tokens(tokenizer, WINDOW)


def _tokenizer() -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(_folder())


def _folder() -> str:
    return str(folder_of("minilm", Settings.load().cache, kind="encoder"))
