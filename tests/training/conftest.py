"""A BERT of some kilobytes, and a collection that it can learn: queries and texts of a topic share no word of it."""

from __future__ import annotations

import gc
import json
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

from foveal.models.quiet import quiet
from foveal.training.examples import Examples

TOPICS, QUERIES, TEXTS = 8, 5, 3
FILLERS = [f"f{n}" for n in range(12)]
WORDS = [*(f"a{t}" for t in range(TOPICS)), *(f"b{t}" for t in range(TOPICS)), *FILLERS]
MODULES = [("", "Transformer"), ("1_Pooling", "Pooling"), ("2_Normalize", "Normalize")]


def make_encoder(folder: Path, *, dropout: float = 0.0, seed: int = 0) -> Path:
    """A sentence-transformers folder: one layer of 16 numbers, a window of 24 tokens, a token for each word."""
    vocabulary = {word: place for place, word in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS])}
    words = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    words.normalizer = normalizers.Lowercase()
    words.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    special = [("[CLS]", 2), ("[SEP]", 3)]
    words.post_processor = processors.TemplateProcessing("[CLS] $A [SEP]", "[CLS] $A [SEP] $B:1 [SEP]:1", special)
    named = {f"{name.lower()}_token": f"[{name}]" for name in ("PAD", "UNK", "CLS", "SEP", "MASK")}
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, model_max_length=24, **named)
    config = BertConfig(
        vocab_size=len(vocabulary), hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32,
        max_position_embeddings=48, hidden_dropout_prob=dropout, attention_probs_dropout_prob=dropout,
        initializer_range=0.4,
    )  # fmt: skip
    with quiet(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        BertModel(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    (folder / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": 24, "do_lower_case": False}))
    (folder / "1_Pooling").mkdir()
    pooling = {"word_embedding_dimension": 16, "pooling_mode_mean_tokens": True}
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(pooling))
    (folder / "2_Normalize").mkdir()
    listed = [
        {"idx": n, "name": str(n), "path": path, "type": f"sentence_transformers.models.{name}"}
        for n, (path, name) in enumerate(MODULES)
    ]
    (folder / "modules.json").write_text(json.dumps(listed))
    return folder


@pytest.fixture(autouse=True, scope="session")
def _no_garbage_in_the_imports() -> None:
    """Accelerate collects all garbage after each training: looking through what was imported takes half a second."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def tiny_encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import sentence_transformers  # noqa: F401

    gc.freeze()
    return make_encoder(tmp_path_factory.mktemp("tiny") / "tiny-bert")


def topic_examples() -> Examples:
    """Five queries "a<t> …" a topic, each answered by the topic's three texts "b<t> …", and by no other."""
    corpus, queries, judged = [], [], []
    for topic in range(TOPICS):
        for n in range(TEXTS):
            fill = [FILLERS[(topic + 2 * n) % 12], FILLERS[(3 * topic + n) % 12]]
            corpus.append((f"d{topic}-{n}", f"b{topic} {' '.join(fill)} {FILLERS[n]}"))
        for n in range(QUERIES):
            queries.append((f"q{topic}-{n}", f"a{topic} {FILLERS[(5 * n + topic) % 12]}"))
            judged += [(f"q{topic}-{n}", f"d{topic}-{m}", 1) for m in range(TEXTS)]
    return Examples.gathered(queries, corpus, judged, name="topics")


@pytest.fixture
def topics() -> Examples:
    return topic_examples()
