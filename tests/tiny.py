"""Language models of a few kilobytes with random weights, as transformers makes them, for tests that need attention.

qwen    Qwen2: 3 layers, 4 heads in 2 groups
gemma   Gemma 3: 4 layers, every second one full, the others see 8 tokens; 4 heads in 1 group
gemma2  Gemma 2: 3 layers, the middle one full; 4 heads in 2 groups; its attention logits are capped at 0.5, which binds

Weights are large enough that attention is far from even. All is float32 and comes from a seed.
"""

from __future__ import annotations

from inspect import signature
from pathlib import Path

import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    Gemma2Config,
    Gemma2ForCausalLM,
    Gemma3ForCausalLM,
    Gemma3TextConfig,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen2ForCausalLM,
)

from foveal.models.language import LanguageModel

KINDS = ("qwen", "gemma")
LAYERS = {"qwen": 3, "gemma": 4, "gemma2": 3}
FULL = {"qwen": (0, 1, 2), "gemma": (1, 3), "gemma2": (1,)}
"""Layers that see the whole text."""
CACHE = "cache" if "cache" in signature(Qwen2ForCausalLM.forward).parameters else "past_key_values"
"""What a model calls the cache that it is given; the second up to transformers 5.20."""
HEADS, SLIDING, CONTROL = 4, 8, ("<|end|>", "<|turn|>")

TEMPLATE = (
    "{% for m in messages %}<|turn|>{{ m.role }}\n{{ m.content }}<|end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|turn|>assistant\n{% endif %}"
)
_WORDS = (
    "the of and keeper key mill river question answer text read excerpts is in to a be very concise your Answer: 12"
)


def tiny(kind: str, folder: Path, *, seed: int = 0, positions: int = 4096, merges: int = 140) -> LanguageModel:
    """A model of `kind`, its files in `folder`. Without merges the tokenizer gives one token a byte."""
    tokenizer = _tokenizer(merges)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = _MAKERS[kind](len(tokenizer), positions)
    model.generation_config.eos_token_id = tokenizer.eos_token_id
    model.generation_config.pad_token_id = tokenizer.pad_token_id
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return LanguageModel(f"tiny-{kind}", folder, model.eval(), tokenizer, folder / "cache")


def _qwen(vocabulary: int, positions: int) -> Qwen2ForCausalLM:
    return Qwen2ForCausalLM(
        Qwen2Config(
            vocab_size=vocabulary,
            hidden_size=32,
            intermediate_size=48,
            num_hidden_layers=LAYERS["qwen"],
            num_attention_heads=HEADS,
            num_key_value_heads=2,
            max_position_embeddings=positions,
            initializer_range=0.3,
            bos_token_id=None,
        )
    )


def _gemma(vocabulary: int, positions: int) -> Gemma3ForCausalLM:
    return Gemma3ForCausalLM(
        Gemma3TextConfig(
            vocab_size=vocabulary,
            hidden_size=32,
            intermediate_size=48,
            num_hidden_layers=LAYERS["gemma"],
            num_attention_heads=HEADS,
            num_key_value_heads=1,
            head_dim=16,
            query_pre_attn_scalar=16,
            sliding_window=SLIDING,
            layer_types=["sliding_attention", "full_attention"] * 2,
            max_position_embeddings=positions,
            initializer_range=0.3,
            bos_token_id=None,
        )
    )


def _gemma2(vocabulary: int, positions: int) -> Gemma2ForCausalLM:
    config = Gemma2Config(
        vocab_size=vocabulary,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=LAYERS["gemma2"],
        num_attention_heads=HEADS,
        num_key_value_heads=2,
        head_dim=8,
        query_pre_attn_scalar=1,
        attn_logit_softcapping=0.5,
        sliding_window=SLIDING,
        max_position_embeddings=positions,
        initializer_range=0.3,
        bos_token_id=None,
    )
    config._attn_implementation = "eager"  # the only one of transformers' own that caps
    return Gemma2ForCausalLM(config)


_MAKERS = {"qwen": _qwen, "gemma": _gemma, "gemma2": _gemma2}


def _tokenizer(merges: int) -> PreTrainedTokenizerFast:
    bytewise = Tokenizer(models.BPE())
    bytewise.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bytewise.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=256 + merges, initial_alphabet=alphabet, show_progress=False)
    bytewise.train_from_iterator([f"{_WORDS} " * 4], trainer)
    bytewise.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in CONTROL])
    return PreTrainedTokenizerFast(
        tokenizer_object=bytewise, eos_token="<|end|>", pad_token="<|end|>", chat_template=TEMPLATE
    )


def byte_tokenizer(*more: str) -> PreTrainedTokenizerFast:
    """A token for each byte, `more`, and <eos>."""
    pieces = [*sorted(pre_tokenizers.ByteLevel.alphabet()), *more, "<eos>"]
    tokenizer = Tokenizer(models.BPE(vocab={piece: place for place, piece in enumerate(pieces)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<eos>")
