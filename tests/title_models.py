"""Models of titles of some kilobytes with random weights, and what they say by the plain definition."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from tiny import tiny

from foveal.models.quiet import quiet
from foveal.models.title_models import IGNORED, CausalTitles, Seq2SeqTitles, TitleModel
from foveal.training.small_seq2seq import SmallSettings, own_tokenizer, small_seq2seq

TITLES = ["Paris", "Paris Saint-Germain", "Rome", "The river Po", "The river Rhine", "Romeo", "Paris Hilton"]
QUERIES = ["a club that plays in the capital", "water", "who loved Juliet?"]
TINY = SmallSettings(vocabulary=300, width=16, inner=32, heads=2, encoder_layers=1, decoder_layers=1)
KINDS = ("t5", "bart", "qwen", "gemma")


def title_model(kind: str, folder: Path, texts: Sequence[str] = TITLES) -> TitleModel:
    """A model of that kind whose answers differ clearly."""
    if kind == "t5":
        made = small_seq2seq(texts, TINY, max_query=32, seed=1)
        with torch.no_grad():
            for weight in made.model.parameters():
                weight.mul_(1.7)
        return made
    if kind == "bart":
        return _bart(texts)
    with quiet():
        model = tiny(kind, folder)
    return CausalTitles(model.model, model.tokenizer, end="\n", max_query=32)


def _bart(texts: Sequence[str]) -> Seq2SeqTitles:
    """BART begins each text, and so each title, by <s>; its decoder starts with </s>."""
    from tokenizers import processors
    from transformers import BartConfig, BartForConditionalGeneration

    tokenizer = own_tokenizer(texts, 300)
    begin, end = (("<unk>", 2), ("</s>", 1))
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        f"{begin[0]} $A {end[0]}", f"{begin[0]} $A {end[0]} $B {end[0]}", [begin, end]
    )
    config = BartConfig(
        vocab_size=len(tokenizer), d_model=16, encoder_layers=1, decoder_layers=1, encoder_attention_heads=2,
        decoder_attention_heads=2, encoder_ffn_dim=32, decoder_ffn_dim=32, max_position_embeddings=64, init_std=0.5,
        pad_token_id=0, bos_token_id=2, eos_token_id=1, decoder_start_token_id=1, forced_bos_token_id=None,
        forced_eos_token_id=None,
    )  # fmt: skip
    with quiet(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        return Seq2SeqTitles(BartForConditionalGeneration(config).eval(), tokenizer, max_query=32)


def token_scores(model: TitleModel, query: str, title: str) -> list[float]:
    """log p of each token of a title, the end included, by one forward pass over all of it, nothing kept."""
    target = model.title_ids([title])[0]
    batch = model.collate([query], [target])
    given = {name: value for name, value in batch.items() if name != "labels"}
    if isinstance(model, Seq2SeqTitles):
        given["decoder_input_ids"] = torch.tensor([[model.start, *target[:-1]]])
        at = range(len(target))
    else:
        at = range(given["input_ids"].shape[1] - len(target) - 1, given["input_ids"].shape[1] - 1)
    with torch.no_grad():
        logits = model.model(**given).logits[0].double()
    assert batch["labels"][0, -len(target) :].tolist() == target
    assert set(batch["labels"][0, : -len(target)].tolist()) <= {IGNORED}
    return logits.log_softmax(-1)[list(at), target].tolist()


def plain_scores(model: TitleModel, query: str, titles: Sequence[str]) -> np.ndarray:
    """The log-probability of each title."""
    return np.array([sum(token_scores(model, query, title)) for title in titles])
