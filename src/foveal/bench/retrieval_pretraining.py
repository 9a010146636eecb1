"""bench retrieval-pretraining: what training on a corpus without any query gives a model that knows little or nothing.

ICT and crops begin with MiniLM's form, its weights drawn at random, so that it knows nothing of the claims: six layers
of 384. The tasks of masks, and SimCSE, begin with MiniLM cut down to its first three layers, which knows words but
finds little: from random weights and so few steps a masked-language loss gets no further than how frequent words are,
and SimCSE's task is solved after some steps. Each task trains on SciFact's abstracts alone, no claim and no judgement;
then all abstracts and test claims are encoded, and searched by cosine, with the pooling that the task trains. The bar:
each must find more than the weights that it began with, by the same pooling.

A trained model is kept in the bench's cache, by the hash of its abstracts and of the code that trains, and a bench that
was stopped goes on.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch

from foveal.bench.code import digest_of
from foveal.bench.retrieval_fusion import Judged
from foveal.bench.settings import BenchSettings
from foveal.bench.trained_arms import data_digest
from foveal.evaluation.metrics import evaluate
from foveal.evaluation.tables import Row
from foveal.models.hub import folder_of
from foveal.models.quiet import quiet
from foveal.settings import Settings
from foveal.text.units import sentences
from foveal.training.loop import Job, LoopSettings, identity, train
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
from foveal.training.pretraining_words import BagOfWords

WINDOW = 64
"""Tokens of a text while training."""

LAYERS = 3
"""Of MiniLM's six, where it is cut."""

READ = 192
"""Tokens of a text when it is searched."""


class Task(NamedTuple):
    """A task, and how it is trained."""

    make: Callable[[Judged, Any, Any, int], tuple[Any, Drawn[Any]]]
    """Judged, tokenizer, encoder, seed -> a module that gives its loss, and examples."""
    pooling: str
    begins: str  # a name of BEGINNINGS
    steps: int
    batch: int
    rate: float


QUICK_STEPS = 40


def pretraining(settings: BenchSettings) -> Iterator[Row]:
    """The rows of `foveal bench retrieval-pretraining`."""
    judged = Judged.of(settings)
    tokenizer = _tokenizer()
    before = {}
    for begins, begun in BEGINNINGS.items():
        for pooling in ("mean", "cls"):
            value = zero_shot(judged, tokenizer, begun(settings.seed), pooling)
            before[begins, pooling] = value
            yield Row.of(f"no pre-training, {begins}, {pooling}", "ndcg@10", value)
    for name, task in TASKS.items():
        steps = QUICK_STEPS if settings.quick else task.steps
        module, examples = task.make(judged, tokenizer, BEGINNINGS[task.begins](settings.seed), settings.seed)
        made = partial(collate, pad_id=tokenizer.pad_token_id)
        trained(module, examples, made, _abstracts(judged), settings, name, task._replace(steps=steps))
        value, was = zero_shot(judged, tokenizer, _encoder(module), task.pooling), before[task.begins, task.pooling]
        note = f"{steps} steps of {task.batch} from {task.begins}; {was:.4f} without it, by the same pooling"
        yield Row.of(name, "ndcg@10", value, note=f"{note} ({task.pooling})")
        yield Row.of(name, "rise over no pre-training", value - was, at_least=1e-4)


def trained(
    module: Any,
    examples: Drawn[Any],
    together: Callable[[list[Any]], Any],
    texts: Sequence[str],
    settings: BenchSettings,
    name: str,
    task: Task,
) -> None:
    """Train the module in place, or take what an earlier run of the bench made of these texts, by the same code.

    `together` makes a batch of examples.
    """
    loop = LoopSettings(
        steps=task.steps, batch=task.batch, learning_rate=task.rate, seed=settings.seed, bfloat16=mixed_precision()
    )
    depends_on = {
        "what": f"pre-training, {name}",
        "window": str(WINDOW),
        "texts": data_digest(*texts),
        "code": digest_of(module, together, task.make),
    }
    digest = hashlib.sha256(json.dumps(identity(depends_on, loop), sort_keys=True).encode()).hexdigest()[:12]
    job = Job(model=module, rows=examples, identity=depends_on, collate=together)
    train(job, loop, settings.cache / "training" / "runs" / "pretraining" / f"{name}-{digest}")


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


# -- where training begins --------------------------------------------------------------------------------------------


def fresh(seed: int) -> Any:
    """A BertModel of MiniLM's form, its weights drawn from the seed."""
    from transformers import AutoConfig, BertModel

    config = AutoConfig.from_pretrained(_folder())
    with torch.random.fork_rng(devices=[]), quiet():
        torch.manual_seed(seed)
        return BertModel(config, add_pooling_layer=False)


def cut() -> Any:
    """MiniLM's first LAYERS layers."""
    from transformers import BertModel

    with quiet():
        return BertModel.from_pretrained(
            _folder(), num_hidden_layers=LAYERS, add_pooling_layer=False, use_safetensors=True
        )


BEGINNINGS: dict[str, Callable[[int], Any]] = {"random weights": fresh, "MiniLM cut": lambda _: cut()}


# -- tasks ------------------------------------------------------------------------------------------------------------

Made = tuple[Any, Drawn[Any]]


def _ict(judged: Judged, tokenizer: Any, encoder: Any, seed: int) -> Made:
    parts = [[text[start:end] for start, end in sentences(text)] for text in _abstracts(judged)]
    passages = [one for one in parts if len(one) > 1]
    return PairContrast(encoder, pooling="mean"), pair_examples(passages, ict, _tokens(tokenizer), seed=seed, views=9)


def _twins(judged: Judged, tokenizer: Any, encoder: Any, seed: int) -> Made:
    return PairContrast(encoder, pooling="mean"), pair_examples(
        _abstracts(judged), twins, _tokens(tokenizer), seed=seed, views=9
    )


def _crops(judged: Judged, tokenizer: Any, encoder: Any, seed: int) -> Made:
    module = MomentumContrast(encoder, momentum=0.99, queue=2048)  # the paper's 0.9995 moves nothing in 300 steps
    return module, crop_examples(_abstracts(judged), _tokens(tokenizer), seed=seed, views=9)


def _retromae(judged: Judged, tokenizer: Any, encoder: Any, seed: int) -> Made:
    mask, decoder = (Masking.of(tokenizer, rate) for rate in (0.3, 0.5))
    return _seeded(BottleneckAutoencoder, encoder, seed), _masked(judged, tokenizer, mask, seed, decoder=decoder)


def _words(judged: Judged, tokenizer: Any, encoder: Any, seed: int) -> Made:
    examples = _masked(judged, tokenizer, Masking.of(tokenizer, 0.3), seed, words=True)
    return _seeded(BagOfWords, encoder, seed), examples


def _condenser(judged: Judged, tokenizer: Any, encoder: Any, seed: int) -> Made:
    return _seeded(Condenser, encoder, seed), _masked(judged, tokenizer, Masking.of(tokenizer, 0.15), seed)


def _cocondenser(judged: Judged, tokenizer: Any, encoder: Any, seed: int) -> Made:
    module = CoCondenser(_seeded(Condenser, encoder, seed))
    mask = Masking.of(tokenizer, 0.15)
    return module, span_examples(_abstracts(judged), _tokens(tokenizer), mask, seed=seed, views=9)


def _masked(judged: Judged, tokenizer: Any, mask: Masking, seed: int, **more: Any) -> Drawn[Any]:
    return masked_examples(_abstracts(judged), _tokens(tokenizer), mask, seed=seed, views=9, **more)


def _seeded(kind: Callable[[Any], Any], encoder: Any, seed: int) -> Any:
    """A module whose own parts are drawn from the seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed + 1)
        return kind(encoder)


TASKS = {
    "ICT": Task(_ict, "mean", "random weights", 300, 64, 3e-4),
    "crops with momentum (Contriever)": Task(_crops, "mean", "random weights", 300, 64, 3e-4),
    "twins (SimCSE)": Task(_twins, "mean", "MiniLM cut", 100, 64, 3e-5),
    "RetroMAE": Task(_retromae, "cls", "MiniLM cut", 600, 32, 3e-4),
    "bag of words": Task(_words, "cls", "MiniLM cut", 600, 32, 3e-4),
    "Condenser": Task(_condenser, "cls", "MiniLM cut", 600, 32, 3e-4),
    "coCondenser": Task(_cocondenser, "cls", "MiniLM cut", 600, 32, 3e-4),
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
